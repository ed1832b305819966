//! Chores of this repository, `cargo xtask CHORE`: one file, or folder, for each.

mod bench;
mod ci;
mod clients;
mod examples;
mod fuzz;
mod mutants;
mod process;
mod s3;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Measure Synod beside Redis and etcd.
    Bench(bench::Options),
    /// Everything a change must pass.
    Ci(ci::Options),
    /// Run real clients and frameworks against three nodes, and kill nodes under them.
    Clients(clients::Options),
    /// Run every example against a cluster of three nodes.
    Examples,
    /// Build a fuzz target and run it.
    Fuzz(fuzz::Options),
    /// Plant bugs in the product, and see them caught.
    Mutants(mutants::Options),
    /// Back up to a bucket and restore from it, with a server that speaks S3's protocol.
    S3,
    /// The rules of this house that the compiler does not know.
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Bench(options) => bench::run(&options),
        Chore::Ci(options) => ci::run(&options),
        Chore::Clients(options) => clients::run(&options),
        Chore::Examples => examples::run(),
        Chore::Fuzz(options) => fuzz::run(&options),
        Chore::Mutants(options) => mutants::run(&options),
        Chore::S3 => s3::run(),
        Chore::Tidy => tidy::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

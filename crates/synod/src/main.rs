//! The `synod` command: one file, or folder, for each of its subcommands.

<<<<<<< HEAD
mod bench;
=======
mod serve;
mod settings;
mod status;
>>>>>>> 0dc1291 (squash)

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A durable, linearizable store that speaks Redis's protocol.
#[derive(Debug, Parser)]
#[command(name = "synod", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
<<<<<<< HEAD
    /// Load a server and measure what it does.
    Bench(bench::Options),
=======
    /// Run one node of a cluster, or a node alone.
    Serve(Box<serve::Options>),
    /// Show the state of a cluster.
    Status(status::Options),
>>>>>>> 0dc1291 (squash)
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
<<<<<<< HEAD
        Command::Bench(options) => bench::run(&options),
=======
        Command::Serve(options) => serve::run(&options),
        Command::Status(options) => status::run(&options),
>>>>>>> 0dc1291 (squash)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

//! The `synod` command: one file, or folder, for each of its subcommands.

mod bench;

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
    /// Load a server and measure what it does.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bench(options) => bench::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

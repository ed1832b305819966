//! The `synod` command: one file, or folder, for each of its subcommands.

mod allocator;
mod backup;
mod bench;
mod chaos;
mod check;
mod dev;
mod export;
mod import;
mod leaders;
mod left_out;
mod limits;
mod link;
mod meter;
mod node;
mod out;
mod process;
mod restore;
mod ring;
mod serve;
mod settings;
mod sim;
mod status;

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
    /// Back up a cluster, all of it at one moment, while it serves.
    Backup(backup::Options),
    /// Load a server and measure what it does.
    Bench(bench::Options),
    /// Run a cluster of real nodes, make trouble, and check what its clients saw.
    Chaos(chaos::Options),
    /// Check a history of what clients saw: linearizable, strictly serializable?
    Check(check::Options),
    /// Run a whole cluster on this machine, to try it out.
    Dev(dev::Options),
    /// Write what a server holds to a dump that Redis loads.
    Export(export::Options),
    /// Move a Redis, or a dump of one, into a cluster.
    Import(import::Options),
    /// Add, drain, replace and list the nodes of a cluster.
    Node(node::Options),
    /// Move replicas to where the ring wants them.
    Rebalance(node::Rebalance),
    /// Restore a backup into an empty cluster.
    Restore(restore::Options),
    /// Show who would hold what, and what moves when a node comes or goes.
    Ring(ring::Options),
    /// Run one node of a cluster, or a node alone.
    Serve(Box<serve::Options>),
    /// Simulate a cluster and its misfortunes, by seed.
    Sim(sim::Options),
    /// Show the state of a cluster.
    Status(status::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Backup(options) => backup::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Chaos(options) => chaos::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Dev(options) => dev::run(&options),
        Command::Export(options) => export::run(&options),
        Command::Import(options) => import::run(&options),
        Command::Node(options) => node::run(&options),
        Command::Rebalance(options) => node::rebalance(&options),
        Command::Restore(options) => restore::run(&options),
        Command::Ring(options) => ring::run(&options),
        Command::Serve(options) => serve::run(&options),
        Command::Sim(options) => sim::run(&options),
        Command::Status(options) => status::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

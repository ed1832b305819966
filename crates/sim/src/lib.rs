//! The whole cluster in one thread, seeded: real sessions, cores, agreement, keys and storage
//! formats, on simulated time, network, disks and clients.
//!
//! ```text
//! plan ─ draws the faults of a seed ─▶ nemesis ─▶ ┌───────── world: one queue of events ─────────┐
//! workload: clients, real bytes ─────────────────▶│ machine 1 · machine 2 · machine 3   network  │
//!                                                 └──────┬───────────────────────────────────────┘
//!                  checker::replicas, after each step ◀──┴──▶ checker::check, at the end
//! ```
//!
//! What always holds: a seed and a length give the same run, event by event; [`Report::trace`] is a
//! hash of all of them. Nothing here reads a clock, and all dice are seeded.
//!
//! Not here: real processes.
//! Ideas: FoundationDB's simulation, TigerBeetle's VOPR, swarm testing (Groce et al. 2012).

pub mod checker;
mod clients;
mod clock;
pub mod coverage;
mod harm;
pub mod history;
mod limits;
mod lull;
mod machine;
mod mapping;
mod mutants;
mod nemesis;
mod network;
mod operator;
mod plan;
mod run;
mod script;
mod verdict;
pub mod workload;
mod world;

pub use coverage::{Coverage, Mark};
pub use mutants::{MUTANTS, Mutant};
pub use plan::Theme;
pub use run::{Options, Report, Violation, run, shorten};

//! Durability: the write-ahead log, snapshots and votes, on a disk that may fail.
//!
//! ```text
//! home ── lock, identity, boots          one data directory belongs to one node of one cluster
//! wal ─── records of all groups          one write and one fdatasync for whatever is waiting
//! vote ── term and vote, two copies      synced before the log's own record of them
//! snapshot ─ checked blocks, renamed     durable before the log behind it is trimmed
//!    └────────── all through `disk::Disk`: real files, or a simulated disk that fails on purpose
//! ```
//!
//! Always: what was acknowledged is found again or reported as a [`Fault`]; nothing damaged is ever
//! handed out as whole. Never here: consensus, keys, threads, clocks. The caller owns the thread.

pub mod disk;
mod error;
pub mod home;
pub mod limits;
pub mod snapshot;
pub mod store;
pub mod vote;
pub mod wal;

pub use error::{Error, Fault, Place};

/// One consensus group, as the log names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

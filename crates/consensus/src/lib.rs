//! Agreement: the replicas of one group agree on one log of opaque bytes.
//!
//! A protocol is a state machine without I/O, clock or dice: [`Replica::step`] takes one event and
//! the time, and adds what must follow to [`Effects`]. Equal events give equal effects, so a run
//! can be replayed.
//!
//! Not here: what the bytes mean (`keyspace`), how they reach a disk (`storage`), many groups on a
//! node (`node`).

mod config;
mod limits;
mod log;
pub mod quorum;
pub mod raft;
mod replica;

pub use limits::MEMBERS_MAX;
pub use replica::{
    Accept, Chunk, Config, Conflict, Effects, Entry, EntryKind, Envelope, Event, Fetch, Index,
    Message, NodeId, Options, ReadReady, Record, Replica, Role, SnapshotMeta, Status, Stored, Term,
    Token,
};

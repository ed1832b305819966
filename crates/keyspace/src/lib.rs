//! Meaning: what a log of commands does to a shard of keys.
//!
//! A [`Shard`] is a deterministic state machine: equal logs make equal shards. Time comes from the
//! log entry, dice from the number of the operation, and nothing here can be walked in an order
//! that depends on history. A command is a row of one table ([`command`]) and a function over a
//! [`Context`]; its reply is written straight into the client's buffer (`wire::Reply`).
//!
//! ```text
//! log entry ─▶ Shard::apply ─▶ command table ─▶ handler(Context, Args, Reply)
//!                                                   │
//!                                   Db ─▶ Dict ─▶ Value (types/*)
//! ```
//!
//! Not here: who may write (`consensus`), sessions and MULTI's queue (`server`), sockets, disks.

pub mod backup;
pub mod blocking;
pub mod command;
pub mod context;
pub mod cursor;
mod db;
pub mod decimal;
pub mod dict;
pub mod double;
pub mod draw;
pub mod glob;
mod introspection;
pub mod limits;
pub mod number;
pub mod op;
pub mod receipt;
mod reject;
mod settings;
pub mod shard;
mod slab;
mod snapshot;
mod str;
#[cfg(test)]
mod testing;
pub mod txn;
pub mod types;
mod value;

pub use context::{Asker, Context, Mode, OnTimeout, Scope};
pub use db::{Db, Entry};
pub use dict::Dict;
pub use reject::Reject;
pub use settings::{Settings, parse_memory};
pub use shard::{Cut, Effects, Late, Outcome, Publish, Shard};
pub use snapshot::{Loader, Saver};
pub use str::{Buffer, Str};
pub use value::Value;

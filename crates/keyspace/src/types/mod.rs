//! The types of values and the commands on them: one file, or folder, each.
//!
//! A file holds a type's data structure with its encodings, the handlers, and the rows of the
//! command table (`COMMANDS`). `COMMANDS` here gathers the rows of all files.

mod bitmap;
mod cluster;
mod connection;
mod expire;
mod generic;
mod hash;
mod list;
mod node;
mod numbered;
pub mod packed;
mod pubsub;
mod scan;
mod script;
mod server;
mod set;
mod sort;
mod stream;
mod string;
mod synod;
mod transaction;
mod zset;

pub use connection::{database_index, selects};
pub use generic::wait_timeout;
pub use hash::Hash;
pub use list::List;
pub use script::{Machine, Scripts};
pub use set::Set;
pub use stream::Stream;
pub(crate) use stream::{xread_frozen, xread_timeout};
pub(crate) use zset::Direction;
pub use zset::Zset;

use crate::command::Command;

/// The rows of all files.
pub(crate) const COMMANDS: &[&[Command]] = &[
    bitmap::COMMANDS,
    cluster::COMMANDS,
    connection::COMMANDS,
    expire::COMMANDS,
    generic::COMMANDS,
    hash::COMMANDS,
    list::COMMANDS,
    node::COMMANDS,
    pubsub::COMMANDS,
    scan::COMMANDS,
    script::COMMANDS,
    server::COMMANDS,
    set::COMMANDS,
    sort::COMMANDS,
    stream::COMMANDS,
    string::COMMANDS,
    synod::COMMANDS,
    transaction::COMMANDS,
    crate::introspection::COMMANDS,
    zset::COMMANDS,
];

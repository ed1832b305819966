//! The types of values and the commands on them: one file, or folder, each.
//!
//! A file holds a type's data structure with its encodings, the handlers, and the rows of the
//! command table (`COMMANDS`). [`COMMANDS`] here gathers the rows of all files.

mod bitmap;
mod connection;
mod generic;
mod hash;
mod list;
mod scan;
mod script;
mod server;
mod set;
mod sort;
mod string;
mod zset;

pub use hash::Hash;
pub use list::List;
pub use script::Scripts;
pub use set::Set;
pub use zset::Zset;

use crate::command::Command;

/// The rows of all files.
pub(crate) const COMMANDS: &[&[Command]] = &[
    bitmap::COMMANDS,
    connection::COMMANDS,
    generic::COMMANDS,
    hash::COMMANDS,
    list::COMMANDS,
    scan::COMMANDS,
    script::COMMANDS,
    server::COMMANDS,
    set::COMMANDS,
    sort::COMMANDS,
    string::COMMANDS,
    zset::COMMANDS,
];

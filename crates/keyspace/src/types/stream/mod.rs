//! Streams: entries in the order of their ids, appended at the end, read from any place.
//!
//! [`log`] is the data structure, `id` what names an entry, `add` the commands that change a stream,
//! `read` those that look at one or wait for more.
//!
//! What always holds: no entry's id is above `last`, and `last` never falls while entries are added.
//! A stream at a key may be empty: it remembers which ids were given.
//!
//! Not here: consumer groups, XINFO. `~` in MAXLEN and MINID trims as far as `=` does, up to LIMIT:
//! there are no nodes whose borders a shorter trim would respect.

mod add;
mod id;
mod log;
mod read;
#[cfg(test)]
mod tests;

pub use log::Stream;
pub(crate) use read::{xread_frozen, xread_timeout};

use crate::command::{Command, Flags, Group, Handler, Keys, Run};

const FAST: Flags = Flags::FAST;

/// A row of a command that changes the stream at its first argument.
const fn write(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Command {
    Command::new(name, arity, Flags::WRITE.and(flags), Keys::one(1), Run::Write(handler))
}

/// A row of a command that reads the stream at its first argument.
const fn read(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Command {
    Command::new(name, arity, Flags::READONLY.and(flags), Keys::one(1), Run::Read(handler))
}

/// The rows of this folder.
pub(crate) const COMMANDS: &[Command] = &[
    write("xadd", -5, Flags::DENYOOM.and(FAST), add::xadd).doc(
        Group::Stream,
        "5.0.0",
        "O(log(N)) for N entries, and O(log(N)) for each one trimmed",
        "Appends an entry to a stream. Creates the stream if there is none",
    ),
    write("xdel", -3, FAST, add::xdel).doc(
        Group::Stream,
        "5.0.0",
        "O(log(N)) for each id, in a stream of N entries",
        "Removes entries of a stream by their ids",
    ),
    read("xlen", 2, FAST, read::xlen).doc(
        Group::Stream,
        "5.0.0",
        "O(1)",
        "Counts the entries of a stream",
    ),
    read("xrange", -4, Flags::NONE, read::xrange).doc(
        Group::Stream,
        "5.0.0",
        "O(log(N)+M) for N entries, M of them returned",
        "Returns the entries of a stream between two ids",
    ),
    // It may wait, so it takes its place in the log although it changes nothing.
    Command::new(
        "xread",
        -4,
        Flags::READONLY.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        Keys::Find(read::xread_keys),
        Run::Write(read::xread),
    )
    .doc(
        Group::Stream,
        "5.0.0",
        "O(log(N)+M) for each stream of N entries, M of them returned",
        "Returns what came after given ids in several streams, or waits for something to come",
    ),
    read("xrevrange", -4, Flags::NONE, read::xrevrange).doc(
        Group::Stream,
        "5.0.0",
        "O(log(N)+M) for N entries, M of them returned",
        "Returns the entries of a stream between two ids, the last first",
    ),
    write("xsetid", -3, Flags::DENYOOM.and(FAST), add::xsetid).doc(
        Group::Stream,
        "5.0.0",
        "O(1)",
        "Sets the last id that a stream has given",
    ),
    write("xtrim", -4, Flags::NONE, add::xtrim).doc(
        Group::Stream,
        "5.0.0",
        "O(log(N)) for each entry removed, of N",
        "Removes the oldest entries of a stream",
    ),
];

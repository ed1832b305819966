//! Hashes: fields and their values at one key.
//!
//! [`struct@Hash`] is the data structure, `fields` the commands on named fields, `walk` those that return
//! all, some or random ones.
//!
//! What always holds: a hash at a key is never empty.

mod fieldmap;
mod fields;
mod packed;
#[cfg(test)]
mod tests;
mod walk;

pub use fieldmap::Hash;

use crate::command::{Command, Flags, Group, Handler, Keys, Run};

/// A row of a command that changes the hash at its first argument.
const fn write(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Command {
    Command::new(name, arity, Flags::WRITE.and(flags), Keys::one(1), Run::Write(handler))
}

/// A row of a command that reads the hash at its first argument.
const fn read(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Command {
    Command::new(name, arity, Flags::READONLY.and(flags), Keys::one(1), Run::Read(handler))
}

const NONE: Flags = Flags(0);
const FAST: Flags = Flags::FAST;
const GROWS_FAST: Flags = Flags::DENYOOM.and(Flags::FAST);

/// The rows of this folder.
pub(crate) const COMMANDS: &[Command] = &[
    write("hset", -4, GROWS_FAST, fields::hset).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the number of fields",
        "Sets fields of a hash and counts the new ones",
    ),
    write("hmset", -4, GROWS_FAST, fields::hmset).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the number of fields",
        "Sets fields of a hash",
    ),
    write("hsetnx", 4, GROWS_FAST, fields::hsetnx).doc(
        Group::Hash,
        "2.0.0",
        "O(1)",
        "Sets a field of a hash unless it exists",
    ),
    read("hget", 3, FAST, fields::hget).doc(
        Group::Hash,
        "2.0.0",
        "O(1)",
        "Returns the value of a field",
    ),
    read("hmget", -3, FAST, fields::hmget).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the number of fields",
        "Returns the values of several fields",
    ),
    write("hdel", -3, FAST, fields::hdel).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the number of fields",
        "Removes fields, and the hash with the last of them",
    ),
    read("hlen", 2, FAST, fields::hlen).doc(
        Group::Hash,
        "2.0.0",
        "O(1)",
        "Counts the fields of a hash",
    ),
    read("hexists", 3, FAST, fields::hexists).doc(
        Group::Hash,
        "2.0.0",
        "O(1)",
        "Tells whether a field exists",
    ),
    read("hstrlen", 3, FAST, fields::hstrlen).doc(
        Group::Hash,
        "3.2.0",
        "O(1)",
        "Returns the length of the value of a field",
    ),
    write("hincrby", 4, GROWS_FAST, fields::hincrby).doc(
        Group::Hash,
        "2.0.0",
        "O(1)",
        "Adds an integer to the value of a field",
    ),
    write("hincrbyfloat", 4, GROWS_FAST, fields::hincrbyfloat).doc(
        Group::Hash,
        "2.6.0",
        "O(1)",
        "Adds a decimal fraction to the value of a field",
    ),
    read("hgetall", 2, NONE, walk::hgetall).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the size of the hash",
        "Returns all fields and values",
    ),
    read("hkeys", 2, NONE, walk::hkeys).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the size of the hash",
        "Returns all fields",
    ),
    read("hvals", 2, NONE, walk::hvals).doc(
        Group::Hash,
        "2.0.0",
        "O(N) where N is the size of the hash",
        "Returns all values",
    ),
    read("hrandfield", -2, NONE, walk::hrandfield).doc(
        Group::Hash,
        "6.2.0",
        "O(N) where N is the number of fields returned",
        "Returns fields that were drawn by lot",
    ),
    read("hscan", -3, NONE, walk::hscan).doc(
        Group::Hash,
        "2.8.0",
        "O(1) for a call, O(N) for a whole walk, where N is the size of the hash",
        "Walks the fields and values of a hash in steps",
    ),
];

//! Lists.
//!
//! [`List`] is the data structure, `ends` the commands that push and pop, `places` those that look
//! in between, `moves` those that take from one of several lists or wait for one.
//!
//! What always holds: a list at a key is never empty.

mod chunk;
mod deque;
mod ends;
mod moves;
mod places;
#[cfg(test)]
mod tests;

pub use deque::List;

use super::numbered::numbered_keys;
use crate::command::{Command, Flags, Group, Handler, Keys, Run};

/// A row of a command that changes the list at its first argument.
const fn write(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Command {
    Command::new(name, arity, Flags::WRITE.and(flags), Keys::one(1), Run::Write(handler))
}

/// A row of a command that reads the list at its first argument.
const fn read(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Command {
    Command::new(name, arity, Flags::READONLY.and(flags), Keys::one(1), Run::Read(handler))
}

const fn keys(mut row: Command, keys: Keys) -> Command {
    row.keys = keys;
    row
}

const NONE: Flags = Flags(0);
const FAST: Flags = Flags::FAST;
const GROWS: Flags = Flags::DENYOOM;
const GROWS_FAST: Flags = Flags::DENYOOM.and(Flags::FAST);
const WAITS: Flags = Flags::NOSCRIPT.and(Flags::BLOCKING);
const TWO: Keys = Keys::Range { first: 1, last: 2, step: 1 };
const ALL_BUT_TIMEOUT: Keys = Keys::Range { first: 1, last: -2, step: 1 };

/// The rows of this folder.
pub(crate) const COMMANDS: &[Command] = &[
    write("lpush", -3, GROWS_FAST, ends::lpush).doc(
        Group::List,
        "1.0.0",
        "O(N) where N is the number of elements pushed",
        "Puts elements in front of a list. Creates the list if there is none",
    ),
    write("rpush", -3, GROWS_FAST, ends::rpush).doc(
        Group::List,
        "1.0.0",
        "O(N) where N is the number of elements pushed",
        "Puts elements at the end of a list. Creates the list if there is none",
    ),
    write("lpushx", -3, GROWS_FAST, ends::lpushx).doc(
        Group::List,
        "2.2.0",
        "O(N) where N is the number of elements pushed",
        "Puts elements in front of a list that exists",
    ),
    write("rpushx", -3, GROWS_FAST, ends::rpushx).doc(
        Group::List,
        "2.2.0",
        "O(N) where N is the number of elements pushed",
        "Puts elements at the end of a list that exists",
    ),
    write("lpop", -2, FAST, ends::lpop).doc(
        Group::List,
        "1.0.0",
        "O(N) where N is the number of elements taken",
        "Takes the first element or elements of a list",
    ),
    write("rpop", -2, FAST, ends::rpop).doc(
        Group::List,
        "1.0.0",
        "O(N) where N is the number of elements taken",
        "Takes the last element or elements of a list",
    ),
    read("llen", 2, FAST, places::llen).doc(
        Group::List,
        "1.0.0",
        "O(1)",
        "Counts the elements of a list",
    ),
    read("lrange", 4, NONE, places::lrange).doc(
        Group::List,
        "1.0.0",
        "O(S+N) where S is the distance of the first from the nearer end, N the number returned",
        "Returns the elements of a list between two places",
    ),
    read("lindex", 3, NONE, places::lindex).doc(
        Group::List,
        "1.0.0",
        "O(N) where N is the distance from the nearer end",
        "Returns the element at a place of a list",
    ),
    write("lset", 4, GROWS, places::lset).doc(
        Group::List,
        "1.0.0",
        "O(N) where N is the distance from the nearer end",
        "Replaces the element at a place of a list",
    ),
    write("linsert", 5, GROWS, places::linsert).doc(
        Group::List,
        "2.2.0",
        "O(N) where N is the number of elements in front of the pivot",
        "Puts an element before or after the first that equals a pivot",
    ),
    write("lrem", 4, NONE, places::lrem).doc(
        Group::List,
        "1.0.0",
        "O(N) where N is the length of the list",
        "Removes elements that equal a given one",
    ),
    write("ltrim", 4, NONE, places::ltrim).doc(
        Group::List,
        "1.0.0",
        "O(N) where N is the number of elements removed",
        "Removes all elements but those between two places",
    ),
    read("lpos", -3, NONE, places::lpos).doc(
        Group::List,
        "6.0.6",
        "O(N) where N is the number of elements looked at",
        "Returns the places of elements that equal a given one",
    ),
    keys(write("lmove", 5, GROWS, moves::lmove), TWO).doc(
        Group::List,
        "6.2.0",
        "O(1)",
        "Moves an element from an end of a list to an end of another and returns it",
    ),
    keys(write("rpoplpush", 3, GROWS, moves::rpoplpush), TWO).doc(
        Group::List,
        "1.2.0",
        "O(1)",
        "Moves the last element of a list to the front of another and returns it",
    ),
    keys(
        write("lmpop", -4, Flags::MOVABLEKEYS, moves::lmpop),
        Keys::Find(|args| numbered_keys(args, 1)),
    )
    .doc(
        Group::List,
        "7.0.0",
        "O(N+M) where N is the number of keys and M the number of elements taken",
        "Takes elements of the first of several lists that has any",
    ),
    keys(write("blpop", -3, WAITS, moves::blpop), ALL_BUT_TIMEOUT).doc(
        Group::List,
        "2.0.0",
        "O(N) where N is the number of keys",
        "Takes the first element of the first of several lists that has any, or waits for one",
    ),
    keys(write("brpop", -3, WAITS, moves::brpop), ALL_BUT_TIMEOUT).doc(
        Group::List,
        "2.0.0",
        "O(N) where N is the number of keys",
        "Takes the last element of the first of several lists that has any, or waits for one",
    ),
    keys(write("blmove", 6, GROWS.and(WAITS), moves::blmove), TWO).doc(
        Group::List,
        "6.2.0",
        "O(1)",
        "Moves an element from one list to another and returns it, or waits for one",
    ),
    keys(write("brpoplpush", 4, GROWS.and(WAITS), moves::brpoplpush), TWO).doc(
        Group::List,
        "2.2.0",
        "O(1)",
        "Moves the last element of a list to the front of another, or waits for one",
    ),
    keys(
        write("blmpop", -5, Flags::BLOCKING.and(Flags::MOVABLEKEYS), moves::blmpop),
        Keys::Find(|args| numbered_keys(args, 2)),
    )
    .doc(
        Group::List,
        "7.0.0",
        "O(N+M) where N is the number of keys and M the number of elements taken",
        "Takes elements of the first of several lists that has any, or waits for some",
    ),
];

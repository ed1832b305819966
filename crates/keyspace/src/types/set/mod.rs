//! Sets: the value with its two encodings, and the commands.
//!
//! `ints` and `members` are the data, `basic` the commands on one set, `random` those with dice,
//! `algebra` those on several sets. Members are walked in ascending order (integers) or in the
//! order of their hashes (a table): the same for equal sets, whatever their history.

mod algebra;
mod basic;
mod ints;
mod members;
mod random;
#[cfg(test)]
mod tests;

pub(super) use algebra::{parse_limit, store};
pub(crate) use members::Member;
pub use members::Set;
pub(super) use random::{parse_count, parse_signed_count};

use super::numbered::numbered_keys;
use crate::command::{Command, Flags, Group, Keys, Run};

const FAST_READ: Flags = Flags::READONLY.and(Flags::FAST);
const FAST_WRITE: Flags = Flags::WRITE.and(Flags::FAST);
const FAST_GROW: Flags = FAST_WRITE.and(Flags::DENYOOM);
const GROW: Flags = Flags::WRITE.and(Flags::DENYOOM);
const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };

/// The rows of this folder.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new("sadd", -3, FAST_GROW, Keys::one(1), Run::Write(basic::sadd)).doc(
        Group::Set,
        "1.0.0",
        "O(1) for each member",
        "Adds members to a set, which is created if there is none.",
    ),
    Command::new("scard", 2, FAST_READ, Keys::one(1), Run::Read(basic::scard)).doc(
        Group::Set,
        "1.0.0",
        "O(1)",
        "Counts the members of a set.",
    ),
    Command::new("sdiff", -2, Flags::READONLY, ALL, Run::Read(algebra::sdiff)).doc(
        Group::Set,
        "1.0.0",
        "O(N) for N members in all sets together",
        "Returns the members of the first set that are in none of the others.",
    ),
    Command::new("sdiffstore", -3, GROW, ALL, Run::Write(algebra::sdiffstore)).doc(
        Group::Set,
        "1.0.0",
        "O(N) for N members in all sets together",
        "Stores the members of the first set that are in none of the others.",
    ),
    Command::new("sinter", -2, Flags::READONLY, ALL, Run::Read(algebra::sinter)).doc(
        Group::Set,
        "1.0.0",
        "O(N*M) at worst, for N members in the smallest of M sets",
        "Returns the members that are in all of the sets.",
    ),
    Command::new(
        "sintercard",
        -3,
        Flags::READONLY.and(Flags::MOVABLEKEYS),
        Keys::Find(|args| numbered_keys(args, 1)),
        Run::Read(algebra::sintercard),
    )
    .doc(
        Group::Set,
        "7.0.0",
        "O(N*M) at worst, for N members in the smallest of M sets",
        "Counts the members that are in all of the sets, up to a limit.",
    ),
    Command::new("sinterstore", -3, GROW, ALL, Run::Write(algebra::sinterstore)).doc(
        Group::Set,
        "1.0.0",
        "O(N*M) at worst, for N members in the smallest of M sets",
        "Stores the members that are in all of the sets.",
    ),
    Command::new("sismember", 3, FAST_READ, Keys::one(1), Run::Read(basic::sismember)).doc(
        Group::Set,
        "1.0.0",
        "O(1)",
        "Tells whether a set has a member.",
    ),
    Command::new("smembers", 2, Flags::READONLY, Keys::one(1), Run::Read(basic::smembers)).doc(
        Group::Set,
        "1.0.0",
        "O(N) for N members",
        "Returns all members of a set.",
    ),
    Command::new("smismember", -3, FAST_READ, Keys::one(1), Run::Read(basic::smismember)).doc(
        Group::Set,
        "6.2.0",
        "O(N) for N members asked for",
        "Tells for each of several members whether a set has it.",
    ),
    Command::new(
        "smove",
        4,
        FAST_WRITE,
        Keys::Range { first: 1, last: 2, step: 1 },
        Run::Write(basic::smove),
    )
    .doc(Group::Set, "1.0.0", "O(1)", "Moves a member from one set to another."),
    Command::new("spop", -2, FAST_WRITE, Keys::one(1), Run::Write(random::spop)).doc(
        Group::Set,
        "1.0.0",
        "O(1) for one member, O(N) for a count of N",
        "Removes random members of a set and returns them.",
    ),
    Command::new("srandmember", -2, Flags::READONLY, Keys::one(1), Run::Read(random::srandmember))
        .doc(
            Group::Set,
            "1.0.0",
            "O(1) for one member, O(N) for a count of N or -N",
            "Returns random members of a set.",
        ),
    Command::new("srem", -3, FAST_WRITE, Keys::one(1), Run::Write(basic::srem)).doc(
        Group::Set,
        "1.0.0",
        "O(N) for N members to remove",
        "Removes members from a set, which goes with its last one.",
    ),
    Command::new("sscan", -3, Flags::READONLY, Keys::one(1), Run::Read(basic::sscan)).doc(
        Group::Set,
        "2.8.0",
        "O(1) for a call, O(N) for a walk over N members",
        "Walks over the members of a set, some with each call.",
    ),
    Command::new("sunion", -2, Flags::READONLY, ALL, Run::Read(algebra::sunion)).doc(
        Group::Set,
        "1.0.0",
        "O(N) for N members in all sets together",
        "Returns the members that are in any of the sets.",
    ),
    Command::new("sunionstore", -3, GROW, ALL, Run::Write(algebra::sunionstore)).doc(
        Group::Set,
        "1.0.0",
        "O(N) for N members in all sets together",
        "Stores the members that are in any of the sets.",
    ),
];

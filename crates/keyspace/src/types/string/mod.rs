//! Strings: bytes, and the numbers that they spell.
//!
//! A string is kept in one of three ways, and OBJECT ENCODING tells which: an integer if it spells
//! one, a [`Str`](crate::Str) as it was set, a [`Buffer`](crate::Buffer) once it was changed in
//! place. What goes where is decided by the command, as in Redis: SET and INCR look for integers,
//! INCRBYFLOAT and BITOP do not.
//!
//! Files: `set` and `get` whole values, with `options` for what the two share; `edit` parts of a
//! value; `count` numbers; `lcs` the longest common subsequence.

mod count;
mod edit;
mod get;
mod lcs;
mod options;
mod set;

use crate::command::{Command, Flags, Group, Keys, Run};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const GROW: Flags = Flags::WRITE.and(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.and(Flags::FAST);

const ONE: Keys = Keys::one(1);
const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };
const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };
const TWO: Keys = Keys::Range { first: 1, last: 2, step: 1 };

/// A row with one key.
const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    run: Run,
    doc: [&'static str; 3],
) -> Command {
    let [since, cost, summary] = doc;
    Command::new(name, arity, flags, ONE, run).doc(Group::String, since, cost, summary)
}

const O1: &str = "O(1)";
const APPEND_COST: &str = "O(1), amortized: a string that grows keeps room to grow.";
const PART_COST: &str = "O(N) in the length of the reply.";
const SET_COST: &str = "O(N) in the number of keys.";
const WRITE_COST: &str = "O(1) for a short value that the string has room for, else O(M) in the \
                          length of the value.";

/// The rows of this folder.
pub(crate) const COMMANDS: &[Command] = &[
    row(
        "append",
        3,
        GROW_FAST,
        Run::Write(edit::append),
        ["2.0.0", APPEND_COST, "Adds bytes to the end of a string; makes it if it is not there"],
    ),
    row(
        "decr",
        2,
        GROW_FAST,
        Run::Write(count::decr),
        ["1.0.0", O1, "Takes one from the integer at a key; counts from 0 if it is not there"],
    ),
    row(
        "decrby",
        3,
        GROW_FAST,
        Run::Write(count::decr_by),
        ["1.0.0", O1, "Takes a number from the integer at a key; counts from 0 if it is not there"],
    ),
    row("get", 2, READ_FAST, Run::Read(get::get), ["1.0.0", O1, "Returns the string at a key"]),
    row(
        "getdel",
        2,
        WRITE_FAST,
        Run::Write(get::get_del),
        ["6.2.0", O1, "Returns the string at a key and deletes the key"],
    ),
    row(
        "getex",
        -2,
        WRITE_FAST,
        Run::Write(get::get_ex),
        ["6.2.0", O1, "Returns the string at a key and sets or drops its expiry"],
    ),
    row(
        "getrange",
        4,
        READ,
        Run::Read(get::get_range),
        ["2.4.0", PART_COST, "Returns a part of the string at a key"],
    ),
    row(
        "getset",
        3,
        GROW_FAST,
        Run::Write(set::get_set),
        ["1.0.0", O1, "Returns the string at a key and sets another"],
    ),
    row(
        "incr",
        2,
        GROW_FAST,
        Run::Write(count::incr),
        ["1.0.0", O1, "Adds one to the integer at a key; counts from 0 if it is not there"],
    ),
    row(
        "incrby",
        3,
        GROW_FAST,
        Run::Write(count::incr_by),
        ["1.0.0", O1, "Adds a number to the integer at a key; counts from 0 if it is not there"],
    ),
    row(
        "incrbyfloat",
        3,
        GROW_FAST,
        Run::Write(count::incr_by_float),
        ["2.6.0", O1, "Adds a fraction to the number at a key; counts from 0 if it is not there"],
    ),
    Command::new("lcs", -3, READ, TWO, Run::Read(lcs::lcs)).doc(
        Group::String,
        "7.0.0",
        "O(N*M) in the lengths of both strings.",
        "Returns the longest common subsequence of two strings",
    ),
    Command::new("mget", -2, READ_FAST, ALL, Run::Read(get::mget)).doc(
        Group::String,
        "1.0.0",
        SET_COST,
        "Returns the strings at several keys, in one moment",
    ),
    Command::new("mset", -3, GROW, PAIRS, Run::Write(set::mset)).doc(
        Group::String,
        "1.0.1",
        SET_COST,
        "Sets the strings at several keys, in one moment",
    ),
    Command::new("msetnx", -3, GROW, PAIRS, Run::Write(set::mset_nx)).doc(
        Group::String,
        "1.0.1",
        SET_COST,
        "Sets the strings at several keys, if none of the keys is there",
    ),
    row(
        "psetex",
        4,
        GROW,
        Run::Write(set::pset_ex),
        ["2.6.0", O1, "Sets the string at a key and its expiry in milliseconds"],
    ),
    row(
        "set",
        -3,
        GROW,
        Run::Write(set::set),
        ["1.0.0", O1, "Sets the string at a key, whatever is there, or on conditions"],
    ),
    row(
        "setex",
        4,
        GROW,
        Run::Write(set::set_ex),
        ["2.0.0", O1, "Sets the string at a key and its expiry in seconds"],
    ),
    row(
        "setnx",
        3,
        GROW_FAST,
        Run::Write(set::set_nx),
        ["1.0.0", O1, "Sets the string at a key, if the key is not there"],
    ),
    row(
        "setrange",
        4,
        GROW,
        Run::Write(edit::set_range),
        ["2.2.0", WRITE_COST, "Writes over a part of the string at a key; zeros fill a gap"],
    ),
    row(
        "strlen",
        2,
        READ_FAST,
        Run::Read(get::str_len),
        ["2.2.0", O1, "Returns the length of the string at a key"],
    ),
    row(
        "substr",
        4,
        READ,
        Run::Read(get::get_range),
        ["1.0.0", PART_COST, "Returns a part of the string at a key: the old name of GETRANGE"],
    ),
];

//! Bitmaps: strings seen as bits, of which number 0 is the highest of the first byte.
//!
//! A string that a command here writes to is kept as a buffer from then on, even if no bit changed.
//!
//! Files: `bit` single bits, `range` counting and searching, `combine` BITOP, `field` integers of
//! any width at any offset.

mod bit;
mod combine;
mod field;
mod range;

use crate::command::{Command, Flags, Group, Keys, Run};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.and(Flags::FAST);
const GROW: Flags = Flags::WRITE.and(Flags::DENYOOM);

const FIELD_COST: &str = "O(1) for each operation.";

/// A row with its keys.
const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    keys: Keys,
    run: Run,
    doc: [&'static str; 3],
) -> Command {
    let [since, cost, summary] = doc;
    Command::new(name, arity, flags, keys, run).doc(Group::Bitmap, since, cost, summary)
}

/// The rows of this folder.
pub(crate) const COMMANDS: &[Command] = &[
    row(
        "bitcount",
        -2,
        READ,
        Keys::one(1),
        Run::Read(range::bit_count),
        ["2.6.0", "O(N)", "Counts the bits that are set in a string or a part of it"],
    ),
    row(
        "bitfield",
        -2,
        GROW,
        Keys::one(1),
        Run::Write(field::bit_field),
        ["3.2.0", FIELD_COST, "Reads, sets and counts integers of any width within a string"],
    ),
    row(
        "bitfield_ro",
        -2,
        READ_FAST,
        Keys::one(1),
        Run::Read(field::bit_field_ro),
        ["6.0.0", FIELD_COST, "Reads integers of any width within a string"],
    ),
    row(
        "bitop",
        -4,
        GROW,
        Keys::Range { first: 2, last: -1, step: 1 },
        Run::Write(combine::bit_op),
        ["2.6.0", "O(N)", "Combines strings bit by bit and keeps the result"],
    ),
    row(
        "bitpos",
        -3,
        READ,
        Keys::one(1),
        Run::Read(range::bit_pos),
        ["2.8.7", "O(N)", "Finds the first bit that is set, or clear, in a string"],
    ),
    row(
        "getbit",
        3,
        READ_FAST,
        Keys::one(1),
        Run::Read(bit::get_bit),
        ["2.2.0", "O(1)", "Returns one bit of a string"],
    ),
    row(
        "setbit",
        4,
        GROW,
        Keys::one(1),
        Run::Write(bit::set_bit),
        ["2.2.0", "O(1)", "Sets or clears one bit of a string, which grows to hold it"],
    ),
];

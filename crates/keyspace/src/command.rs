//! The command table: one row for each command, and what is derived from it.
//!
//! The table drives dispatch, routing, key extraction, COMMAND, COMMAND DOCS and the docs. A row is
//! data; what a command does is the function that its row names, in the file of its type.
//! Shape: Redis 7.0 `src/commands/*.json`.

use std::sync::LazyLock;

use wire::{Args, Reply};

use crate::blocking::timeout_place;
use crate::context::Context;
use crate::receipt;
use crate::reject::Reject;
use crate::types;

/// What a command does to a shard. An error takes back what was written to the reply.
pub type Handler = fn(&mut Context<'_>, Args<'_>, &mut Reply<'_>) -> Result<(), Reject>;

/// What a command answers that looks at nothing but its arguments.
pub type Answer = fn(Args<'_>, &mut Reply<'_>) -> Result<(), Reject>;

/// Where a command runs.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// On the shard, without the log: it changes nothing.
    Read(Handler),
    /// On the shard, through the log.
    Write(Handler),
    /// In the client's session, by `server`. The handler serves scripts and EXEC, if it can be
    /// called there.
    Session(Option<Handler>),
    /// Anywhere: in the session that got it, in EXEC, in a script.
    Pure(Answer),
    /// Only its subcommands run.
    Container,
}

/// The group in Redis's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Bitmap,
    Connection,
    Generic,
    Hash,
    List,
    Pubsub,
    Scripting,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    Transactions,
    Cluster,
}

impl Group {
    /// The name that COMMAND DOCS gives.
    pub fn name(self) -> &'static str {
        match self {
            Group::Bitmap => "bitmap",
            Group::Connection => "connection",
            Group::Generic => "generic",
            Group::Hash => "hash",
            Group::List => "list",
            Group::Pubsub => "pubsub",
            Group::Scripting => "scripting",
            Group::Server => "server",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::String => "string",
            Group::Transactions => "transactions",
            Group::Cluster => "cluster",
        }
    }
}

/// A set of command flags, as COMMAND INFO names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    pub const WRITE: Flags = Flags(1);
    pub const READONLY: Flags = Flags(1 << 1);
    pub const DENYOOM: Flags = Flags(1 << 2);
    pub const ADMIN: Flags = Flags(1 << 3);
    pub const PUBSUB: Flags = Flags(1 << 4);
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    pub const BLOCKING: Flags = Flags(1 << 6);
    pub const LOADING: Flags = Flags(1 << 7);
    pub const STALE: Flags = Flags(1 << 8);
    pub const FAST: Flags = Flags(1 << 9);
    pub const NO_AUTH: Flags = Flags(1 << 10);
    pub const NO_MULTI: Flags = Flags(1 << 11);
    pub const MOVABLEKEYS: Flags = Flags(1 << 12);
    pub const ALLOW_BUSY: Flags = Flags(1 << 13);
    pub const SKIP_MONITOR: Flags = Flags(1 << 14);
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 15);
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 16);
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 17);
    pub const MAY_REPLICATE: Flags = Flags(1 << 18);

    pub const NONE: Flags = Flags(0);
    /// What does not depend on the data.
    pub const ANYTIME: Flags = Flags::LOADING.and(Flags::STALE);
    /// What only makes sense in a session.
    pub const SESSION: Flags = Flags::ANYTIME.and(Flags::NOSCRIPT);

    /// Both sets together.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Are all of `other` in this set?
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where the keys are among the arguments.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    None,
    /// From `first` to `last` (negative: from the end), each `step`-th, as COMMAND INFO says it.
    Range {
        first: i32,
        last: i32,
        step: i32,
    },
    /// Found by looking at the arguments.
    Find(fn(Args<'_>) -> Vec<usize>),
}

impl Keys {
    /// Exactly one key, at `index`.
    pub const fn one(index: i32) -> Keys {
        Keys::Range { first: index, last: index, step: 1 }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// In lower case. A subcommand's own word only.
    pub name: &'static str,
    /// How many arguments with the name: exactly, or if negative at least.
    pub arity: i32,
    pub flags: Flags,
    pub keys: Keys,
    pub run: Run,
    pub group: Group,
    pub since: &'static str,
    pub complexity: &'static str,
    pub summary: &'static str,
    pub subcommands: &'static [Command],
}

impl Command {
    /// A row with the parts that matter for running it.
    pub const fn new(
        name: &'static str,
        arity: i32,
        flags: Flags,
        keys: Keys,
        run: Run,
    ) -> Command {
        let group = Group::Generic;
        let (since, complexity, summary) = ("1.0.0", "", "");
        Command {
            name,
            arity,
            flags,
            keys,
            run,
            group,
            since,
            complexity,
            summary,
            subcommands: &[],
        }
    }

    /// Adds the parts that matter for reading about it.
    pub const fn doc(
        mut self,
        group: Group,
        since: &'static str,
        complexity: &'static str,
        summary: &'static str,
    ) -> Command {
        (self.group, self.since, self.complexity, self.summary) =
            (group, since, complexity, summary);
        self
    }

    /// Adds subcommands.
    pub const fn with(mut self, subcommands: &'static [Command]) -> Command {
        self.subcommands = subcommands;
        self
    }

    /// The row of a subcommand by its name, in any case.
    pub fn subcommand(&self, word: &[u8]) -> Option<&'static Command> {
        self.subcommands.iter().find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(word))
    }

    /// Is this a fitting number of arguments?
    pub fn arity_fits(&self, count: usize) -> bool {
        let wanted = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { count >= wanted } else { count == wanted }
    }

    /// Where the keys of this call are among its arguments. Empty if it names none.
    pub fn key_positions(&self, args: Args<'_>) -> Vec<usize> {
        match self.keys {
            Keys::None => Vec::new(),
            Keys::Find(find) => find(args),
            Keys::Range { first, last, step } => {
                let count = args.len() as i32;
                let last = if last < 0 { count + last } else { last.min(count - 1) };
                (first..=last).step_by(step as usize).map(|at| at as usize).collect()
            }
        }
    }
}

/// May this call touch keys that it does not name? Scripts may, and SORT with a pattern.
pub fn roams(args: Args<'_>) -> bool {
    let args = receipt::bare(args);
    const SCRIPTS: [&str; 6] = ["eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro"];
    let sorts = args.is(0, "sort") || args.is(0, "sort_ro");
    let pattern = |at| args.is(at, "by") || args.is(at, "get");
    SCRIPTS.iter().any(|name| args.is(0, name)) || sorts && (2..args.len()).any(pattern)
}

/// May this call wait for a key?
pub fn may_block(command: &Command, args: Args<'_>) -> bool {
    let blocks = |command: &Command, args| {
        command.flags.has(Flags::BLOCKING) && timeout_place(args).is_some()
    };
    match receipt::unwrap(args) {
        None => blocks(command, args),
        Some((_, bare)) => find(bare).is_some_and(|command| blocks(command, bare)),
    }
}

/// As `may_block`, of a call whose row is not known yet.
pub fn may_wait(args: Args<'_>) -> bool {
    find(args).is_some_and(|command| may_block(command, args))
}

/// Finds the row of a call. For a container it is the row of the subcommand, if that is known.
pub fn find(args: Args<'_>) -> Option<&'static Command> {
    let command = find_name(args.get(0)?)?;
    if command.subcommands.is_empty() || args.len() < 2 {
        return Some(command);
    }
    Some(command.subcommand(args.at(1)).unwrap_or(command))
}

/// Finds the row of a command by its name, in any case.
pub fn find_name(name: &[u8]) -> Option<&'static Command> {
    let word = name_word(name);
    let mut at = index_slot(word);
    loop {
        let slot = TABLE.index[at].as_ref()?;
        let found = slot.command.name.as_bytes();
        let alike = slot.word == word && found.len() == name.len();
        if alike && (slot.word_is_enough || found.eq_ignore_ascii_case(name)) {
            return Some(slot.command);
        }
        at = (at + 1) % INDEX_SLOTS;
    }
}

/// All rows, in the order of their names.
pub fn all() -> &'static [&'static Command] {
    &TABLE.rows
}

/// Slots of the index of names: few enough are taken that nearly each name is in its own.
const INDEX_SLOTS: usize = 2048;

struct Table {
    rows: Vec<&'static Command>,
    /// An open-addressed hash table of names.
    index: Vec<Option<IndexSlot>>,
}

#[derive(Clone, Copy)]
struct IndexSlot {
    word: u64,
    /// The name is letters and not longer than its word: no other text of that length has the same.
    word_is_enough: bool,
    command: &'static Command,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut rows: Vec<&'static Command> = types::COMMANDS.iter().copied().flatten().collect();
    rows.sort_by_key(|row| row.name);
    assert!(rows.len() * 4 <= INDEX_SLOTS, "the index of names is too full");
    let mut index = vec![None; INDEX_SLOTS];
    for (row, next) in rows.iter().zip(rows.iter().skip(1).map(Some).chain([None])) {
        assert!(next.is_none_or(|n| n.name != row.name), "the command {} has two rows", row.name);
        let name = row.name.as_bytes();
        let word = name_word(name);
        let word_is_enough = name.len() < 8 && name.iter().all(u8::is_ascii_lowercase);
        let mut at = index_slot(word);
        while index[at].is_some() {
            at = (at + 1) % INDEX_SLOTS;
        }
        index[at] = Some(IndexSlot { word, word_is_enough, command: row });
    }
    Table { rows, index }
});

/// Both ends of a name and its length in one word, whatever its case: what the index hashes and
/// compares first, because a name is looked up for every call.
fn name_word(name: &[u8]) -> u64 {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let length = (name.len() as u64) << 56;
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        let ends = (u64::from_le_bytes(*first) | LOWER)
            ^ (u64::from_le_bytes(*last) | LOWER).rotate_left(29);
        return ends ^ length;
    }
    if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return (u64::from(first) | u64::from(last) << 32 | LOWER) ^ length;
    }
    let byte = |at: usize| u64::from(name.get(at).copied().unwrap_or_default());
    (byte(0) | byte(1) << 8 | byte(2) << 16 | LOWER) ^ length
}

fn index_slot(word: u64) -> usize {
    const _: () = assert!(INDEX_SLOTS.is_power_of_two());
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - INDEX_SLOTS.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::{all, find_name};

    #[test]
    fn every_name_is_found_in_any_case_and_nothing_else_is() {
        for row in all() {
            let upper = row.name.to_uppercase();
            assert_eq!(find_name(upper.as_bytes()).map(|found| found.name), Some(row.name));
            assert_eq!(find_name(row.name.as_bytes()).map(|found| found.name), Some(row.name));
            assert!(find_name(format!("{}?", row.name).as_bytes()).is_none());
        }
        // Each shares its word with a name of another length, or differs only in the bit of case.
        for name in [&b""[..], b"setetez", b"g", b"ge", b"gET\0", b"G\x45\x14", &[b'x'; 1_000]] {
            assert!(find_name(name).is_none(), "{name:?}");
        }
    }
}

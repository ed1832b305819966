//! How a command finds its keys and what it does with each: Redis's key specifications.
//!
//! A row says where keys are; the uses of keys (`RW access delete`) stand in tables here, because
//! only introspection reads them.
//! Source: Redis 7.0 `src/commands/*.json`, "key_specs".

use wire::Args;

use crate::command::{Command, Flags, Keys};

/// One way in which a command finds keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    /// The flags, apart by spaces.
    pub(super) uses: &'static str,
    pub(super) find: Find,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Find {
    /// From `first` on each `step`-th, up to `last` places behind it, or (negative) from the end.
    Range { first: i32, last: i32, step: i32 },
    /// As many as the number at `at` says, behind it.
    Counted { at: i32 },
    /// Only by reading all arguments.
    Unknown,
}

const fn one(uses: &'static str, first: i32) -> Spec {
    Spec { uses, find: Find::Range { first, last: 0, step: 1 } }
}

const fn rest(uses: &'static str, first: i32) -> Spec {
    Spec { uses, find: Find::Range { first, last: -1, step: 1 } }
}

const fn counted(uses: &'static str, at: i32) -> Spec {
    Spec { uses, find: Find::Counted { at } }
}

const fn unknown(uses: &'static str) -> Spec {
    Spec { uses, find: Find::Unknown }
}

const READ: &str = "RO access";
const MOVE: &[Spec] = &[one("RW access delete", 1), one("RW insert", 2)];
const STORE: &[Spec] = &[one("OW update", 1), rest(READ, 2)];
const STORE_COUNTED: &[Spec] = &[one("OW update", 1), counted(READ, 2)];

/// Commands that find keys in more than one way, or by counting.
const SPECIAL: &[(&str, &[Spec])] = &[
    ("bitop", &[one("OW update", 2), rest(READ, 3)]),
    ("blmove", MOVE),
    ("blmpop", &[counted("RW access delete", 2)]),
    ("brpoplpush", MOVE),
    ("bzmpop", &[counted("RW access delete", 2)]),
    ("copy", &[one(READ, 1), one("OW update", 2)]),
    ("eval", &[counted("RW access update", 2)]),
    ("eval_ro", &[counted(READ, 2)]),
    ("evalsha", &[counted("RW access update", 2)]),
    ("evalsha_ro", &[counted(READ, 2)]),
    ("fcall", &[counted("RW access update", 2)]),
    ("fcall_ro", &[counted(READ, 2)]),
    ("lmove", MOVE),
    ("lmpop", &[counted("RW access delete", 1)]),
    ("rename", &[one("RW access delete", 1), one("OW update", 2)]),
    ("renamenx", &[one("RW access delete", 1), one("OW insert", 2)]),
    ("rpoplpush", MOVE),
    ("sdiffstore", STORE),
    ("sintercard", &[counted(READ, 1)]),
    ("sinterstore", &[one("RW update", 1), rest(READ, 2)]),
    ("smove", MOVE),
    ("sort", &[one(READ, 1), unknown(READ), unknown("OW update")]),
    ("sort_ro", &[one(READ, 1), unknown(READ)]),
    ("sunionstore", STORE),
    ("xread", &[unknown(READ)]),
    ("zdiff", &[counted(READ, 1)]),
    ("zdiffstore", STORE_COUNTED),
    ("zinter", &[counted(READ, 1)]),
    ("zintercard", &[counted(READ, 1)]),
    ("zinterstore", STORE_COUNTED),
    ("zmpop", &[counted("RW access delete", 1)]),
    ("zrangestore", &[one("OW update", 1), one(READ, 2)]),
    ("zunion", &[counted(READ, 1)]),
    ("zunionstore", STORE_COUNTED),
];

/// Uses of keys that are neither plain reads nor `RW access update`.
const USES: &[(&str, &[&str])] = &[
    (
        "RO",
        &[
            "exists",
            "hexists",
            "hlen",
            "hstrlen",
            "llen",
            "memory",
            "object",
            "scard",
            "sismember",
            "strlen",
            "touch",
            "type",
            "watch",
            "xlen",
            "zcard",
        ],
    ),
    ("RM delete", &["del", "unlink"]),
    ("OW update", &["mset", "psetex", "setex"]),
    ("OW insert", &["msetnx", "setnx"]),
    ("RW access update variable_flags", &["bitfield", "set"]),
    (
        "RW access delete",
        &[
            "blpop", "brpop", "bzpopmax", "bzpopmin", "getdel", "lpop", "rpop", "spop", "zpopmax",
            "zpopmin",
        ],
    ),
    (
        "RW delete",
        &[
            "hdel",
            "lrem",
            "ltrim",
            "srem",
            "xdel",
            "xtrim",
            "zrem",
            "zremrangebylex",
            "zremrangebyrank",
            "zremrangebyscore",
        ],
    ),
    ("RW insert", &["append", "hsetnx", "linsert", "lpush", "lpushx", "rpush", "rpushx", "sadd"]),
    (
        "RW update",
        &[
            "expire",
            "expireat",
            "hmset",
            "hset",
            "lset",
            "persist",
            "pexpire",
            "pexpireat",
            "setrange",
            "xadd",
            "xsetid",
            "zadd",
        ],
    ),
    ("not_key", &["spublish", "ssubscribe", "sunsubscribe"]),
];

/// How a row finds its keys. Nothing if it has none.
pub(super) fn specs(container: Option<&Command>, row: &Command) -> Vec<Spec> {
    let family = container.unwrap_or(row).name;
    if let Some((_, specs)) = SPECIAL.iter().find(|(name, _)| *name == family) {
        return specs.to_vec();
    }
    let named = USES.iter().find(|(_, names)| names.contains(&family));
    let uses = match named {
        Some((uses, _)) => uses,
        None if row.flags.has(Flags::WRITE) => "RW access update",
        None => READ,
    };
    match row.keys {
        Keys::None => Vec::new(),
        Keys::Find(_) => vec![unknown(uses)],
        Keys::Range { first, last, step } => {
            let last = if last < 0 { last } else { last - first };
            vec![Spec { uses, find: Find::Range { first, last, step } }]
        }
    }
}

/// The first key, the last and the step, as COMMAND INFO gave them before there were
/// specifications: what the ranges cover together.
pub(super) fn legacy_range(container: Option<&Command>, row: &Command) -> (i32, i32, i32) {
    let mut range = None;
    for spec in specs(container, row) {
        let Find::Range { first, last, step } = spec.find else { break };
        let last = if last < 0 { last } else { first + last };
        range = Some(match range {
            None => (first, last, step),
            Some((start, _, step)) => (start, last, step),
        });
    }
    range.unwrap_or((0, 0, 0))
}

/// The positions of the keys of a call, each with its uses.
pub(super) fn keys_of(
    container: Option<&Command>,
    row: &Command,
    args: Args<'_>,
) -> Vec<(usize, &'static str)> {
    let specs = specs(container, row);
    let uses = |at: usize| {
        let covers = |spec: &&Spec| covers(spec.find, at as i32, args.len() as i32);
        let spec = specs.iter().find(covers).or_else(|| specs.last());
        variable_uses(row, args).unwrap_or_else(|| spec.map_or("", |spec| spec.uses))
    };
    row.key_positions(args).into_iter().map(|at| (at, uses(at))).collect()
}

fn covers(find: Find, at: i32, count: i32) -> bool {
    match find {
        Find::Range { first, last, .. } => {
            let last = if last < 0 { count + last } else { first + last };
            (first..=last).contains(&at)
        }
        Find::Counted { at: number } => at > number,
        Find::Unknown => false,
    }
}

/// What SET and BITFIELD do with their key depends on the call.
fn variable_uses(row: &Command, args: Args<'_>) -> Option<&'static str> {
    let has = |word: &str| (2..args.len()).any(|at| args.is(at, word));
    match row.name {
        "set" if (3..args.len()).any(|at| args.is(at, "get")) => Some("RW access update"),
        "set" => Some("OW update"),
        "bitfield" if has("set") || has("incrby") => Some("RW access update"),
        "bitfield" => Some(READ),
        _ => None,
    }
}

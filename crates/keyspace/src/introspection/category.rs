//! The ACL categories of a command: from its group, its flags, and a table of exceptions.

use crate::command::{Command, Flags, Group};

/// All categories of Redis 7.0, in its order.
pub(super) const ALL: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Commands whose categories are not those of their group. Subcommands follow their container.
const EXCEPTIONS: &[(&str, &[&str])] = &[
    ("asking", &["connection"]),
    ("command", &["connection"]),
    ("dbsize", &["keyspace"]),
    ("flushall", &["keyspace", "dangerous"]),
    ("flushdb", &["keyspace", "dangerous"]),
    ("info", &["dangerous"]),
    ("keys", &["keyspace", "dangerous"]),
    ("lastsave", &["admin", "dangerous"]),
    ("readonly", &["connection"]),
    ("readwrite", &["connection"]),
    ("role", &["admin", "dangerous"]),
    ("sort", &["set", "sortedset", "list", "dangerous"]),
    ("sort_ro", &["set", "sortedset", "list", "dangerous"]),
    ("swapdb", &["keyspace", "dangerous"]),
    ("wait", &["connection"]),
];

/// The categories of a row, in Redis's order.
pub(super) fn names(container: Option<&Command>, row: &Command) -> Vec<&'static str> {
    let family = container.unwrap_or(row);
    // A container itself has no category but the one of its speed.
    let is_container = !row.subcommands.is_empty() && row.name != "command";
    let exception = EXCEPTIONS.iter().find(|(name, _)| *name == family.name);
    let own: &[&str] = match exception {
        _ if is_container => &[],
        Some((_, own)) => own,
        None => of_group(row.group),
    };
    let scripting = own.contains(&"scripting");
    let implied = |name: &str| match name {
        "read" => row.flags.has(Flags::READONLY) && !scripting,
        "write" => row.flags.has(Flags::WRITE),
        "pubsub" => row.flags.has(Flags::PUBSUB),
        "admin" | "dangerous" => row.flags.has(Flags::ADMIN),
        "fast" => row.flags.has(Flags::FAST),
        "slow" => !row.flags.has(Flags::FAST),
        "blocking" => row.flags.has(Flags::BLOCKING),
        _ => false,
    };
    ALL.iter().copied().filter(|name| own.contains(name) || implied(name)).collect()
}

fn of_group(group: Group) -> &'static [&'static str] {
    match group {
        Group::Bitmap => &["bitmap"],
        Group::Connection => &["connection"],
        Group::Generic => &["keyspace"],
        Group::Hash => &["hash"],
        Group::List => &["list"],
        Group::Scripting => &["scripting"],
        Group::Set => &["set"],
        Group::SortedSet => &["sortedset"],
        Group::Stream => &["stream"],
        Group::String => &["string"],
        Group::Transactions => &["transaction"],
        Group::Cluster | Group::Pubsub | Group::Server => &[],
    }
}

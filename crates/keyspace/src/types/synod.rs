//! Synod's own commands: what Redis has no word for.
//!
//! `SYNOD.VERSIONS` and `SYNOD.SETTINGS` are reads that the session of a client makes for it
//! (WATCH, CONFIG GET), so that they are as linearizable as any other.

use stdx::Millis;
use stdx::codec::Reader;
use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::{Context, OnTimeout};
use crate::introspection::help;
use crate::limits::{BACKUP_ID_BYTES_MAX, FETCH_BYTES_MAX};
use crate::number::parse_i64;
use crate::receipt::{self, RECEIPTS};
use crate::reject::Reject;
use crate::settings::Settings;
use crate::shard::{Cut, feeds};
use crate::snapshot::{Saver, put_value, read_value};
use crate::txn::{READ_TOO_MUCH, names};

const SYNOD: &[Command] = &[
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Server,
        "7.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("snapshot", 2, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None))
        .doc(Group::Server, "7.0.0", "O(1)", "Begins a snapshot of this node's state"),
    Command::new("status", 2, Flags::SESSION, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(N) in the nodes and groups",
        "Tells the state of the cluster, as JSON",
    ),
];

const TXN: &[Command] = &[
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Server,
        "7.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("list", 2, Flags::SESSION, Keys::None, Run::Session(None)).doc(
        Group::Transactions,
        "7.0.0",
        "O(N) in the transactions",
        "Lists the transactions over several shards that are not decided everywhere",
    ),
    Command::new("resolve", 3, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None))
        .doc(Group::Transactions, "7.0.0", "O(1)", "Settles such a transaction now"),
];

const BACKUP: &[Command] = &[
    Command::new(
        "begin",
        3,
        Flags::WRITE.and(Flags::ADMIN).and(Flags::NOSCRIPT).and(Flags::NO_MULTI),
        Keys::None,
        Run::Write(begin_backup),
    )
    .doc(
        Group::Server,
        "7.0.0",
        "O(1)",
        "Begins a backup of every shard, all at one point; tells each shard's clock and sequence",
    ),
    Command::new("end", 3, BACKUP_FLAGS, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(1)",
        "Gives up what this node keeps for a backup",
    ),
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Server,
        "7.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("list", 2, BACKUP_FLAGS, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(N) in the shards",
        "Lists the backups that this node keeps the state of shards for",
    ),
    Command::new("read", 5, BACKUP_FLAGS, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(N) in the size of the part",
        "Reads the next part of a shard's backup",
    ),
];

const BACKUP_FLAGS: Flags = Flags::SESSION.and(Flags::ADMIN).and(Flags::NO_MULTI);

const ADMIN: Flags = Flags::SESSION.and(Flags::ADMIN);

const NODE: &[Command] = &[
    Command::new("add", -3, ADMIN, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(N) in the nodes",
        "Invites a node to come from an address",
    ),
    Command::new("drain", 3, ADMIN, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(N*M) in the nodes and shards",
        "Has a node hold nothing: what it holds moves to others",
    ),
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Server,
        "7.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("keep", 3, ADMIN, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(N) in the nodes",
        "Has a node that was drained or lost take its share again",
    ),
    Command::new("list", 2, Flags::SESSION, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(N*M) in the nodes and shards",
        "Lists the nodes, what they hold and what they ought to",
    ),
    Command::new("remove", 3, ADMIN, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(N) in the nodes",
        "Forgets a node that holds nothing",
    ),
    Command::new("set", -5, ADMIN, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(N) in the nodes",
        "Changes the weight or the zone of a node",
    ),
];

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new("synod", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Server, "7.0.0", "Depends on the subcommand", "Commands about the cluster")
        .with(SYNOD),
    Command::new(
        "synod.idem",
        -3,
        Flags::WRITE
            .and(Flags::DENYOOM)
            .and(Flags::NOSCRIPT)
            .and(Flags::NO_MULTI)
            .and(Flags::MOVABLEKEYS),
        Keys::Find(receipt::keys),
        Run::Write(receipt::idem),
    )
    .doc(
        Group::Transactions,
        "7.0.0",
        "Depends on the command",
        "Runs a command once for an id: a retry gets the first reply",
    ),
    Command::new("synod.node", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Server, "7.0.0", "Depends on the subcommand", "The nodes of the cluster")
        .with(NODE),
    Command::new("synod.rebalance", -1, ADMIN, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(N*M) in the nodes and shards",
        "Moves replicas to where the ring wants them, or shows what that would move",
    ),
    Command::new("synod.settings", 1, Flags::READONLY, Keys::None, Run::Read(settings)).doc(
        Group::Server,
        "7.0.0",
        "O(1)",
        "Lists the settings that all replicas share",
    ),
    Command::new(
        "synod.versions",
        -1,
        Flags::READONLY,
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Read(versions),
    )
    .doc(Group::Transactions, "7.0.0", "O(N) in the keys", "Tells the versions of keys"),
    Command::new(
        "synod.fetch",
        -2,
        Flags::READONLY,
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Read(fetch),
    )
    .doc(
        Group::Transactions,
        "7.0.0",
        "O(N) in the size of the values",
        "Tells the versions, expiries and serialized values of keys",
    ),
    Command::new(
        "synod.hold",
        -2,
        Flags::WRITE,
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Write(fetch),
    )
    .doc(
        Group::Transactions,
        "7.0.0",
        "O(N) in the size of the values",
        "As SYNOD.FETCH, for a transaction that locks the keys before it changes them",
    ),
    Command::new("synod.names", 1, Flags::READONLY, Keys::None, Run::Read(all_names)).doc(
        Group::Transactions,
        "7.0.0",
        "O(N) in the keys of the shard",
        "Tells the names of all keys of a shard, with their types and expiries",
    ),
    Command::new("synod.put", -3, Flags::WRITE.and(Flags::DENYOOM), Keys::one(1), Run::Write(put))
        .doc(
            Group::Transactions,
            "7.0.0",
            "O(N) in the size of the value",
            "Puts a value that SYNOD.FETCH told at a key, or nothing",
        ),
    Command::new(
        "synod.await",
        -2,
        Flags::WRITE.and(Flags::NOSCRIPT).and(Flags::BLOCKING),
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Write(wait),
    )
    .doc(
        Group::Transactions,
        "7.0.0",
        "O(N) in the keys",
        "Waits until one of the keys has a value",
    ),
    Command::new("synod.txn", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Transactions, "7.0.0", "Depends on the subcommand", "Transactions in doubt")
        .with(TXN),
    Command::new("synod.backup", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Server, "7.0.0", "Depends on the subcommand", "Backups of one moment")
        .with(BACKUP),
    Command::new("synod.script", 2, Flags::READONLY, Keys::None, Run::Read(script)).doc(
        Group::Scripting,
        "7.0.0",
        "O(1)",
        "Tells the source of a script by its digest",
    ),
    Command::new("synod.library", 2, Flags::READONLY, Keys::None, Run::Read(library)).doc(
        Group::Scripting,
        "7.0.0",
        "O(1)",
        "Tells the source of the library with a function",
    ),
];

fn settings(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let pairs: Vec<(&str, String)> =
        Settings::names().filter_map(|name| Some((name, cx.settings().get(name)?))).collect();
    reply.array(pairs.len() * 2);
    for (name, value) in pairs {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn versions(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        reply.int(cx.version(key) as i64);
    }
    Ok(())
}

/// For each key its version, when it expires in milliseconds (-1: never, or absent), its value.
fn fetch(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let (mut values, mut ends) = (Vec::new(), Vec::new());
    for key in args.from(1).iter() {
        let version = cx.version(key);
        let expires = cx.entry(key).map(|entry| {
            put_value(&mut values, &entry.value);
            if entry.expires == Millis::FAR { -1 } else { entry.expires.0 as i64 }
        });
        ends.push((version, expires, values.len()));
        if values.len() > FETCH_BYTES_MAX {
            return Err(Reject::text(READ_TOO_MUCH));
        }
    }
    reply.array(ends.len());
    let mut start = 0;
    for (version, expires, end) in ends {
        reply.array(3);
        reply.int(version as i64);
        reply.int(expires.unwrap_or(-1));
        match expires {
            Some(_) => reply.bulk(&values[start..end]),
            None => reply.null(),
        }
        start = end;
    }
    Ok(())
}

fn all_names(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.bulk(&names(cx.database(), cx.now())?);
    Ok(())
}

/// `SYNOD.PUT key expires value`, as `fetch` tells them, or `SYNOD.PUT key -1` to delete. No event
/// is published: whoever made the value has done that.
fn put(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    if args.len() > 4 {
        return Err(Reject::Syntax);
    }
    let expires = parse_i64(&args[2]).ok_or(Reject::NotInteger)?;
    let mut expires = u64::try_from(expires).map_or(Millis::FAR, Millis);
    if cx.db == usize::from(RECEIPTS) {
        // The gateway's clock may be behind, and does not know how much room there is here.
        expires = receipt::expiry(cx.now());
        if receipt::is_full(cx.database()) {
            return Err(receipt::FULL);
        }
    }
    match args.get(3) {
        None => {
            cx.remove(&args[1]);
        }
        Some(bytes) => {
            let mut reader = Reader::new(bytes);
            let value = read_value(&mut reader).ok().filter(|_| reader.is_empty());
            let value = value.ok_or(Reject::text("ERR the serialized value is malformed"))?;
            cx.insert_made(&args[1], value, expires);
        }
    }
    reply.ok();
    Ok(())
}

/// For a gateway whose blocking call names keys of several shards: it takes nothing.
fn wait(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let keys = || args.from(1).iter();
    let db = cx.db;
    let filled = keys().any(|key| cx.get(key).is_some_and(|value| feeds(db, value)));
    if filled || !cx.may_block() {
        reply.ok();
        return Ok(());
    }
    let keys = keys().map(<[u8]>::to_vec).collect();
    cx.block(args.iter().collect(), keys, Millis::FAR, OnTimeout::Null);
    Ok(())
}

/// `SYNOD.BACKUP BEGIN id`. The replica that was told to take it keeps the state of this very moment,
/// before anything that waits for it to end can run.
fn begin_backup(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let id = &args[2];
    if id.is_empty() || id.len() > BACKUP_ID_BYTES_MAX {
        return Err(Reject::from(format!(
            "ERR the name of a backup has 1 to {BACKUP_ID_BYTES_MAX} bytes"
        )));
    }
    reply.array(2);
    reply.int(cx.shard.clock.0 as i64);
    reply.int(cx.shard.sequence as i64);
    if std::mem::take(&mut cx.shard.takes_cut) {
        let saver = Saver::begin_backup(cx.shard);
        cx.effects.cut = Some(Cut { id: id.to_vec(), saver });
    }
    Ok(())
}

fn script(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.bulk_or_null(cx.shard.scripts.source(&args[1]));
    Ok(())
}

fn library(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.bulk_or_null(cx.shard.scripts.library_of(&args[1]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    #[test]
    fn a_version_changes_with_its_key_and_not_without() {
        let mut client = Client::new();
        let absent = client.run("synod.versions k");
        client.run("set k 1");
        let first = client.run("synod.versions k");
        assert_ne!(absent, first);
        client.run("set other 1");
        assert_eq!(client.run("synod.versions k"), first);
        client.run("incr k");
        assert_ne!(client.run("synod.versions k"), first);
    }
}

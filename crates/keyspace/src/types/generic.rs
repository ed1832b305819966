//! Commands on keys of any type: DEL, EXISTS, RENAME, COPY, MOVE, KEYS, OBJECT and their kind.
//!
//! When keys expire stands in `expire`, the walk over all keys in `scan`, SORT in `sort`.

use stdx::Millis;
use wire::{Args, Reply};

use super::connection::database_index;
use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::{Context, notify};
use crate::glob;
use crate::introspection::help;
use crate::number::integer;
use crate::reject::Reject;
use crate::str::Str;

/// The subcommands of OBJECT.
const OBJECT: &[Command] = &[
    Command::new("encoding", 3, Flags::READONLY, Keys::one(2), Run::Read(object_encoding)).doc(
        Group::Generic,
        "2.2.3",
        "O(1)",
        "Names the encoding of a value",
    ),
    Command::new("freq", 3, Flags::READONLY, Keys::one(2), Run::Read(object_freq)).doc(
        Group::Generic,
        "4.0.0",
        "O(1)",
        "Would tell how often a value is used; frequencies are not kept",
    ),
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Generic,
        "6.2.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("idletime", 3, Flags::READONLY, Keys::one(2), Run::Read(object_idletime)).doc(
        Group::Generic,
        "2.2.3",
        "O(1)",
        "Would tell when a value was used; access times are not kept",
    ),
    Command::new("refcount", 3, Flags::READONLY, Keys::one(2), Run::Read(object_refcount)).doc(
        Group::Generic,
        "2.2.3",
        "O(1)",
        "Counts the references to a value; here always one",
    ),
];

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new(
        "copy",
        -3,
        Flags::WRITE.and(Flags::DENYOOM),
        Keys::Range { first: 1, last: 2, step: 1 },
        Run::Write(copy),
    )
    .doc(
        Group::Generic,
        "6.2.0",
        "O(N) in the elements of the value",
        "Copies a value to another key",
    ),
    Command::new(
        "del",
        -2,
        Flags::WRITE,
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Write(delete),
    )
    .doc(
        Group::Generic,
        "1.0.0",
        "O(N) in the keys and in the elements of their values",
        "Deletes keys",
    ),
    Command::new(
        "exists",
        -2,
        Flags::READONLY.and(Flags::FAST),
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Read(exists),
    )
    .doc(Group::Generic, "1.0.0", "O(N) in the keys", "Counts the keys that exist"),
    Command::new("keys", 2, Flags::READONLY, Keys::None, Run::Read(keys)).doc(
        Group::Generic,
        "1.0.0",
        "O(N) in the keys of the database",
        "Lists the keys that match a pattern",
    ),
    Command::new("move", 3, Flags::WRITE.and(Flags::FAST), Keys::one(1), Run::Write(move_key)).doc(
        Group::Generic,
        "1.0.0",
        "O(1)",
        "Moves a key to another database",
    ),
    Command::new("object", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Generic, "2.2.3", "Depends on the subcommand", "Looks into a value")
        .with(OBJECT),
    Command::new("randomkey", 1, Flags::READONLY, Keys::None, Run::Read(random_key)).doc(
        Group::Generic,
        "1.0.0",
        "O(N) in the segments of the table",
        "Draws a key",
    ),
    Command::new(
        "rename",
        3,
        Flags::WRITE,
        Keys::Range { first: 1, last: 2, step: 1 },
        Run::Write(rename),
    )
    .doc(Group::Generic, "1.0.0", "O(1)", "Gives a value another key, whatever stood there"),
    Command::new(
        "renamenx",
        3,
        Flags::WRITE.and(Flags::FAST),
        Keys::Range { first: 1, last: 2, step: 1 },
        Run::Write(rename_if_free),
    )
    .doc(Group::Generic, "1.0.0", "O(1)", "Gives a value another key, unless that is taken"),
    Command::new(
        "touch",
        -2,
        Flags::READONLY.and(Flags::FAST),
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Read(exists),
    )
    .doc(
        Group::Generic,
        "3.2.1",
        "O(N) in the keys",
        "Counts the keys that exist; access times are not kept",
    ),
    Command::new("type", 2, Flags::READONLY.and(Flags::FAST), Keys::one(1), Run::Read(type_of))
        .doc(Group::Generic, "1.0.0", "O(1)", "Names the type of a value"),
    Command::new(
        "unlink",
        -2,
        Flags::WRITE.and(Flags::FAST),
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Write(delete),
    )
    .doc(
        Group::Generic,
        "4.0.0",
        "O(N) in the keys and in the elements of their values",
        "Deletes keys; here the same as DEL",
    ),
    Command::new("wait", 3, Flags::NOSCRIPT, Keys::None, Run::Session(Some(wait))).doc(
        Group::Generic,
        "3.0.0",
        "O(1)",
        "Tells how many replicas hold the writes of this connection; they do before each reply",
    ),
];

const SAME_OBJECT: Reject = Reject::text("ERR source and destination objects are the same");

/// Draws of RANDOMKEY that may meet an expired key before it takes the first live one.
const RANDOM_DRAWS_MAX: usize = 16;

fn delete(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let mut deleted = 0;
    cx.for_keys(args, 1, 1, |cx, at| {
        if cx.remove(&args[at]).is_some() {
            cx.notify(notify::GENERIC, "del", &args[at]);
            deleted += 1;
        }
    });
    reply.count(deleted);
    Ok(())
}

fn exists(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let mut count = 0;
    cx.for_keys(args, 1, 1, |cx, at| count += usize::from(cx.exists(&args[at])));
    reply.count(count);
    Ok(())
}

fn type_of(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.status(cx.get(&args[1]).map_or("none", |value| value.type_name()));
    Ok(())
}

fn rename(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    if !cx.exists(&args[1]) {
        return Err(Reject::NoKey);
    }
    if args[1] != args[2] {
        rename_key(cx, &args[1], &args[2]);
    }
    reply.ok();
    Ok(())
}

fn rename_if_free(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    if !cx.exists(&args[1]) {
        return Err(Reject::NoKey);
    }
    let free = args[1] != args[2] && !cx.exists(&args[2]);
    if free {
        rename_key(cx, &args[1], &args[2]);
    }
    reply.int(i64::from(free));
    Ok(())
}

/// Moves what stands at `source`, with its expiry, to `target`.
fn rename_key(cx: &mut Context<'_>, source: &[u8], target: &[u8]) {
    // Redis deletes the target rather than overwrite it, which its events show.
    cx.remove(target);
    let entry = cx.remove(source).expect("the caller saw the source");
    cx.insert_expiring(target, entry.value, entry.expires);
    cx.notify(notify::GENERIC, "rename_from", source);
    cx.notify(notify::GENERIC, "rename_to", target);
}

fn move_key(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let key = &args[1];
    let (source, target) = (cx.db, database_index(&args[2])?);
    if source == target {
        return Err(SAME_OBJECT);
    }
    let moves = cx.exists(key) && cx.entry_in(target, key).is_none();
    if moves {
        let entry = cx.remove(key).expect("it was seen just before");
        cx.insert_in(target, key, entry.value, entry.expires);
        cx.notify(notify::GENERIC, "move_from", key);
        cx.notify_in(target, notify::GENERIC, "move_to", key);
    }
    reply.int(i64::from(moves));
    Ok(())
}

fn copy(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let (source, target) = (&args[1], &args[2]);
    let (mut db, mut replace, mut at) = (cx.db, false, 3);
    while at < args.len() {
        if args.is(at, "replace") {
            replace = true;
        } else if args.is(at, "db") && at + 1 < args.len() {
            at += 1;
            db = database_index(&args[at])?;
        } else {
            return Err(Reject::Syntax);
        }
        at += 1;
    }
    if db == cx.db && source == target {
        return Err(SAME_OBJECT);
    }
    let Some((value, expires)) = cx.entry(source).map(|e| (e.value.clone(), e.expires)) else {
        reply.int(0);
        return Ok(());
    };
    if cx.entry_in(db, target).is_some() {
        if !replace {
            reply.int(0);
            return Ok(());
        }
        cx.remove_in(db, target);
    }
    cx.insert_in(db, target, value, expires);
    cx.notify_in(db, notify::GENERIC, "copy_to", target);
    reply.int(1);
    Ok(())
}

fn keys(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let pattern = &args[1];
    let (now, clock) = (cx.now(), cx.shard.clock);
    let (mut found, mut due, place) = (0, false, reply.defer());
    let db = cx.database();
    for (key, entry) in db.dict().iter() {
        if pattern != b"*" && !glob::matches(pattern, key) {
            continue;
        }
        if entry.expires > now {
            reply.bulk(key);
            db.met(key);
            found += 1;
        } else {
            due |= entry.expires > clock;
        }
    }
    cx.due |= due;
    reply.fill_array(place, found);
    Ok(())
}

fn random_key(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    for _ in 0..RANDOM_DRAWS_MAX {
        let mut rng = cx.rng.clone();
        let Some((key, _)) = cx.database().lots().draw(&mut rng) else { break };
        let key = key.clone();
        cx.rng = rng;
        if cx.exists(&key) {
            reply.bulk(&key);
            return Ok(());
        }
    }
    reply.bulk_or_null(first_live(cx).as_deref());
    Ok(())
}

fn first_live(cx: &mut Context<'_>) -> Option<Str> {
    let now = cx.now();
    let live = |expires: Millis| expires > now;
    let mut entries = cx.database().lots().iter();
    entries.find(|(_, entry)| live(entry.expires)).map(|(key, _)| key.clone())
}

fn object_encoding(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply.bulk_or_null(cx.get(&args[2]).map(|value| value.encoding().as_bytes()));
    Ok(())
}

fn object_refcount(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    if cx.exists(&args[2]) {
        reply.int(1)
    } else {
        reply.null()
    }
    Ok(())
}

fn object_freq(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    if cx.exists(&args[2]) {
        return Err(Reject::text(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please \
             note that when switching between policies at runtime LRU and LFU data will take some \
             time to adjust.",
        ));
    }
    reply.null();
    Ok(())
}

/// A read leaves no trace in a replicated shard, so nobody knows when a key was read last.
fn object_idletime(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    if cx.exists(&args[2]) {
        return Err(Reject::text("ERR Synod does not track when keys are read"));
    }
    reply.null();
    Ok(())
}

/// Inside EXEC nothing is replicated yet, and nobody may wait: Redis answers the same.
fn wait(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    integer(&args[1])?;
    wait_timeout(&args[2])?;
    reply.int(0);
    Ok(())
}

/// The timeout of WAIT in milliseconds.
pub fn wait_timeout(text: &[u8]) -> Result<u64, Reject> {
    let not_integer = Reject::text("ERR timeout is not an integer or out of range");
    let timeout = crate::number::parse_i64(text).ok_or(not_integer)?;
    u64::try_from(timeout).map_err(|_| Reject::text("ERR timeout is negative"))
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    #[test]
    fn keys_are_deleted_counted_and_named() {
        Client::new().check_all(&[
            ("set a 1", "+OK\r\n"),
            ("set b x", "+OK\r\n"),
            ("exists a b nokey a", ":3\r\n"),
            ("touch a nokey", ":1\r\n"),
            ("type a", "+string\r\n"),
            ("type nokey", "+none\r\n"),
            ("object encoding a", "$3\r\nint\r\n"),
            ("object encoding b", "$6\r\nembstr\r\n"),
            ("object encoding nokey", "$-1\r\n"),
            ("object refcount a", ":1\r\n"),
            ("object nosuch a", "-ERR unknown subcommand 'nosuch'. Try OBJECT HELP.\r\n"),
            ("object freq", "-ERR wrong number of arguments for 'object|freq' command\r\n"),
            ("del a nokey b", ":2\r\n"),
            ("unlink a", ":0\r\n"),
            ("dbsize", ":0\r\n"),
            ("randomkey", "$-1\r\n"),
        ]);
    }

    #[test]
    fn a_rename_takes_the_expiry_along() {
        let mut client = Client::new();
        client.check_all(&[
            ("rename a b", "-ERR no such key\r\n"),
            ("set a 1", "+OK\r\n"),
            ("rename a a", "+OK\r\n"),
            ("renamenx a a", ":0\r\n"),
            ("pexpire a 5000", ":1\r\n"),
            ("set b 2", "+OK\r\n"),
            ("renamenx a b", ":0\r\n"),
            ("rename a b", "+OK\r\n"),
            ("get b", "$1\r\n1\r\n"),
            ("pttl b", ":5000\r\n"),
            ("exists a", ":0\r\n"),
        ]);
    }

    #[test]
    fn a_copy_and_a_move_reach_other_databases() {
        let mut client = Client::new();
        client.check_all(&[
            ("set a 1", "+OK\r\n"),
            ("copy a a", "-ERR source and destination objects are the same\r\n"),
            ("copy a b db", "-ERR syntax error\r\n"),
            ("copy a b db x", "-ERR value is not an integer or out of range\r\n"),
            ("copy a b db 16", "-ERR DB index is out of range\r\n"),
            (
                "copy a b db 2147483648",
                "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n",
            ),
            ("copy a b", ":1\r\n"),
            ("copy a b", ":0\r\n"),
            ("copy a b replace", ":1\r\n"),
            ("copy nokey b", ":0\r\n"),
            ("copy a a db 1", ":1\r\n"),
            ("move a 0", "-ERR source and destination objects are the same\r\n"),
            ("move a x", "-ERR value is not an integer or out of range\r\n"),
            ("move a 1", ":0\r\n"),
            ("move b 1", ":1\r\n"),
            ("move b 1", ":0\r\n"),
            ("select 1", "+OK\r\n"),
            ("get b", "$1\r\n1\r\n"),
            ("dbsize", ":2\r\n"),
        ]);
    }

    #[test]
    fn events_are_those_of_redis() {
        let mut client = Client::new();
        client.check("config set notify-keyspace-events KEAn", "+OK\r\n");
        for line in ["set a 1", "set b 1", "rename a b", "move b 1", "copy x y", "del nokey"] {
            client.run(line);
        }
        let events: Vec<String> = client
            .effects
            .publish
            .iter()
            .filter(|event| event.channel.starts_with(b"__keyevent"))
            .map(|event| {
                let channel = String::from_utf8_lossy(&event.channel).into_owned();
                let (_, name) = channel.split_once('@').unwrap();
                format!("{name} {}", String::from_utf8_lossy(&event.message))
            })
            .collect();
        let expect = "0__:new a,0__:set a,0__:new b,0__:set b,0__:new b,0__:rename_from a,\
                      0__:rename_to b,1__:new b,0__:move_from b,1__:move_to b";
        assert_eq!(events.join(","), expect);
    }

    #[test]
    fn expired_keys_are_not_seen_by_a_read_that_the_log_cannot_confirm() {
        use crate::context::Asker;
        use crate::shard::Outcome;
        use stdx::Millis;
        use wire::{ArgsBuf, Proto};
        let mut client = Client::new();
        client.check_all(&[("set a 1", "+OK\r\n"), ("pexpire a 100", ":1\r\n")]);
        let asker = Asker { db: 0, proto: Proto::Resp2, origin: None };
        for (line, wall, expect) in [
            (&[&b"keys"[..], b"*"][..], 1_000_050, Outcome::Replied),
            (&[b"keys", b"*"], 1_000_100, Outcome::Due),
            (&[b"keys", b"b*"], 1_000_100, Outcome::Replied),
            (&[b"exists", b"a"], 1_000_100, Outcome::Due),
            (&[b"randomkey"], 1_000_100, Outcome::Due),
            (&[b"scan", b"0"], 1_000_100, Outcome::Due),
        ] {
            let args: ArgsBuf = line.iter().copied().collect();
            let mut reply = Vec::new();
            let outcome = client.shard.read(Millis(wall), 1, asker, args.args(), false, &mut reply);
            assert_eq!(outcome, expect, "{args:?} at {wall}");
        }
        client.now = 1_000_100;
        client.check("keys *", "*0\r\n");
        client.check("scan 0", "*2\r\n$1\r\n0\r\n*0\r\n");
        client.check("dbsize", ":0\r\n");
    }
}

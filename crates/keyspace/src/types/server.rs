//! Commands on whole databases and on the settings of the keyspace: FLUSHALL, SWAPDB, DBSIZE,
//! CONFIG SET, MEMORY USAGE, TIME.

use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::{Context, Mode};
use crate::introspection::help;
use crate::limits::DATABASES;
use crate::number::integer;
use crate::reject::Reject;

/// The subcommands of CONFIG.
const CONFIG: &[Command] = &[
    Command::new("get", -3, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None)).doc(
        Group::Server,
        "2.0.0",
        "O(N) in the patterns",
        "Reads settings by patterns",
    ),
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Server,
        "5.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("resetstat", 2, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None))
        .doc(Group::Server, "2.0.0", "O(1)", "Takes the counters of INFO back to zero"),
    Command::new("rewrite", 2, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None))
        .doc(Group::Server, "2.8.0", "O(1)", "Writes the settings to the configuration file"),
    Command::new(
        "set",
        -4,
        Flags::SESSION.and(Flags::ADMIN),
        Keys::None,
        Run::Session(Some(config_set)),
    )
    .doc(Group::Server, "2.0.0", "O(N) in the settings", "Changes settings"),
];

/// The subcommands of MEMORY.
const MEMORY: &[Command] = &[
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Server,
        "4.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("usage", -3, Flags::READONLY, Keys::one(2), Run::Read(memory_usage)).doc(
        Group::Server,
        "4.0.0",
        "O(N) in the samples",
        "Estimates the bytes that a key takes",
    ),
];

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] =
    &[
        Command::new("config", -2, Flags::NONE, Keys::None, Run::Container)
            .doc(Group::Server, "2.0.0", "Depends on the subcommand", "Reads and changes settings")
            .with(CONFIG),
        Command::new("dbsize", 1, Flags::READONLY.and(Flags::FAST), Keys::None, Run::Read(dbsize))
            .doc(Group::Server, "1.0.0", "O(1)", "Counts the keys of the database"),
        Command::new("flushall", -1, Flags::WRITE, Keys::None, Run::Write(flushall)).doc(
            Group::Server,
            "1.0.0",
            "O(N) in the keys",
            "Deletes all keys of all databases",
        ),
        Command::new("flushdb", -1, Flags::WRITE, Keys::None, Run::Write(flushdb)).doc(
            Group::Server,
            "1.0.0",
            "O(N) in the keys",
            "Deletes all keys of the database",
        ),
        Command::new("memory", -2, Flags::NONE, Keys::None, Run::Container)
            .doc(Group::Server, "4.0.0", "Depends on the subcommand", "Looks into memory")
            .with(MEMORY),
        Command::new("swapdb", 3, Flags::WRITE.and(Flags::FAST), Keys::None, Run::Write(swapdb))
            .doc(
                Group::Server,
                "4.0.0",
                "O(N) in the calls that wait in both",
                "Exchanges two databases",
            ),
        Command::new("time", 1, Flags::ANYTIME.and(Flags::FAST), Keys::None, Run::Read(time)).doc(
            Group::Server,
            "2.6.0",
            "O(1)",
            "Tells the time",
        ),
    ];

/// Elements that MEMORY USAGE looks at, unless the call says so: Redis's default.
const SAMPLES_DEFAULT: usize = 5;

fn flushdb(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    check_flush(args)?;
    cx.shard.flush(cx.db);
    reply.ok();
    Ok(())
}

fn flushall(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    check_flush(args)?;
    (0..DATABASES).for_each(|db| cx.shard.flush(db));
    reply.ok();
    Ok(())
}

/// ASYNC and SYNC mean the same here: the keys are gone with the reply.
fn check_flush(args: Args<'_>) -> Result<(), Reject> {
    let fits = args.len() == 1 || args.len() == 2 && (args.is(1, "sync") || args.is(1, "async"));
    if fits { Ok(()) } else { Err(Reject::Syntax) }
}

fn dbsize(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.count(cx.database().len());
    Ok(())
}

fn swapdb(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let number = |at: usize, problem| {
        let number = crate::number::parse_i64(&args[at]);
        number.and_then(|number| i32::try_from(number).ok()).ok_or_else(|| Reject::text(problem))
    };
    let first = number(1, "ERR invalid first DB index")?;
    let second = number(2, "ERR invalid second DB index")?;
    let index = |number: i32| usize::try_from(number).ok().filter(|db| *db < DATABASES);
    let (Some(first), Some(second)) = (index(first), index(second)) else {
        return Err(Reject::text("ERR DB index is out of range"));
    };
    if cx.shard.dbs[first].is_journaling() {
        return Err(Reject::text(
            "ERR SWAPDB can't run in a transaction that names keys of several shards",
        ));
    }
    if first != second {
        cx.shard.swap(first, second);
    }
    reply.ok();
    Ok(())
}

fn time(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let millis = cx.now().0;
    reply.array(2);
    reply.bulk_int((millis / 1_000) as i64);
    reply.bulk_int((millis % 1_000 * 1_000) as i64);
    Ok(())
}

/// CONFIG SET of settings of the keyspace, which a session sends through the log. All or none.
fn config_set(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    if cx.mode == Mode::Read {
        return Err(Reject::text("ERR Write commands are not allowed from read-only scripts."));
    }
    cx.shard.settings = cx.settings().with(args.from(2))?;
    reply.ok();
    Ok(())
}

fn memory_usage(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let (mut samples, mut at) = (SAMPLES_DEFAULT, 3);
    while at < args.len() {
        if !args.is(at, "samples") || at + 1 == args.len() {
            return Err(Reject::Syntax);
        }
        samples = match integer(&args[at + 1])? {
            0 => usize::MAX,
            count => usize::try_from(count).map_err(|_| Reject::Syntax)?,
        };
        at += 2;
    }
    let key = &args[2];
    match cx.entry(key) {
        Some(entry) => {
            let bytes = entry.bytes(key, samples);
            reply.count(bytes);
        }
        None => reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::op::Origin;
    use crate::snapshot::{Loader, Saver};
    use crate::testing::Client;
    use stdx::Millis;

    #[test]
    fn databases_are_flushed_and_swapped() {
        Client::new().check_all(&[
            ("set a 1", "+OK\r\n"),
            ("select 1", "+OK\r\n"),
            ("set a 2", "+OK\r\n"),
            ("set b 2", "+OK\r\n"),
            ("swapdb x 1", "-ERR invalid first DB index\r\n"),
            ("swapdb 0 x", "-ERR invalid second DB index\r\n"),
            ("swapdb 0 16", "-ERR DB index is out of range\r\n"),
            ("swapdb 1 1", "+OK\r\n"),
            ("swapdb 0 1", "+OK\r\n"),
            ("get a", "$1\r\n1\r\n"),
            ("dbsize", ":1\r\n"),
            ("flushdb now", "-ERR syntax error\r\n"),
            ("flushdb async", "+OK\r\n"),
            ("dbsize", ":0\r\n"),
            ("select 0", "+OK\r\n"),
            ("dbsize", ":2\r\n"),
            ("flushall sync", "+OK\r\n"),
            ("dbsize", ":0\r\n"),
        ]);
    }

    #[test]
    fn a_watch_sees_what_a_flush_or_a_swap_changed_and_nothing_else() {
        for (line, watched, changed) in [
            ("flushall", "there", true),
            ("flushdb", "there", true),
            ("flushdb", "absent", false),
            ("del {tag}there", "{tag}absent", false),
            ("swapdb 0 1", "there", true),
            ("swapdb 0 1", "there-in-1", true),
            ("swapdb 0 1", "absent", false),
            ("swapdb 2 3", "there", false),
        ] {
            let mut client = Client::new();
            client.run("set there 1");
            client.run("set {tag}there 1");
            client.run("copy there there db 1");
            client.run("copy there there-in-1 db 1");
            let version = |c: &Client| c.shard.version(Millis(0), 0, watched.as_bytes());
            let before = version(&client);
            assert!(!client.run(line).starts_with('-'), "{line}");
            assert_eq!(version(&client) != before, changed, "{line} {watched}");
            let after = version(&client);
            client.reload();
            assert_eq!(version(&client), after, "{line} {watched} behind a snapshot");
        }
    }

    #[test]
    fn a_snapshot_is_whole_though_databases_are_swapped_and_flushed_meanwhile() {
        let mut client = Client::new();
        for db in [0, 1, 2] {
            client.run(&format!("select {db}"));
            (0..300).for_each(|n| drop(client.run(&format!("set key:{n} {db}"))));
        }
        let (mut saver, mut bytes) = (Saver::begin(&mut client.shard), Vec::new());
        let mut step = 0;
        while !saver.step(&mut client.shard, 200, &mut bytes) {
            step += 1;
            match step {
                5 => drop(client.run("swapdb 0 1")),
                10 => drop(client.run("swapdb 1 2")),
                15 => drop(client.run("flushall")),
                _ => {}
            }
        }
        client.shard = Loader::load(&bytes).unwrap();
        for db in [0, 1, 2] {
            client.run(&format!("select {db}"));
            client.check("dbsize", ":300\r\n");
            client.check("get key:7", &format!("$1\r\n{db}\r\n"));
        }
    }

    #[test]
    fn a_key_that_arrives_serves_who_waits_for_it() {
        for line in ["rename a k", "renamenx a k", "copy a k", "move k 1", "swapdb 0 1"] {
            let mut client = Client::new();
            // A waiter of database 1 for what is moved there, of database 0 for the rest.
            client.db = usize::from(line.starts_with("move") || line.starts_with("swap"));
            client.origin = Some(Origin { node: 1, number: 7 });
            client.check("blpop k 0", "");
            client.db = 0;
            client.origin = None;
            client.check("rpush a x", ":1\r\n");
            if line.starts_with("move") || line.starts_with("swap") {
                client.check("rpush k x", ":1\r\n");
            }
            assert!(!client.run(line).starts_with('-'), "{line}");
            let [late] = &client.effects.late[..] else { panic!("{line}: nobody was served") };
            assert_eq!(late.reply, b"*2\r\n$1\r\nk\r\n$1\r\nx\r\n", "{line}");
        }
    }

    #[test]
    fn settings_change_together_or_not_at_all() {
        let mut client = Client::new();
        client.check_all(&[
            ("config set hash-max-ziplist-entries 3 zset-max-listpack-value 1kb", "+OK\r\n"),
            (
                "config set hash-max-listpack-entries 9 nosuch 1",
                "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n",
            ),
            (
                "config set list-max-listpack-size x",
                "-ERR CONFIG SET failed (possibly related to argument 'list-max-listpack-size') \
                 - argument couldn't be parsed into an integer\r\n",
            ),
            ("config set hash-max-listpack-entries 9 x", "-ERR syntax error\r\n"),
        ]);
        assert_eq!(client.shard.settings().get("hash-max-listpack-entries").unwrap(), "3");
        assert_eq!(client.shard.settings().get("zset-max-ziplist-value").unwrap(), "1024");
    }

    #[test]
    fn the_time_is_that_of_the_entry() {
        let mut client = Client::new();
        client.now = 1_700_000_000_123;
        client.check("time", "*2\r\n$10\r\n1700000000\r\n$6\r\n123000\r\n");
    }

    #[test]
    fn a_larger_value_takes_more_memory() {
        let mut client = Client::new();
        client.run("set small 1");
        client.run(&format!("set large {}", "x".repeat(10_000)));
        let usage = |client: &mut Client, line: &str| {
            let reply = client.run(line);
            reply.trim_start_matches(':').trim_end().parse::<usize>().unwrap()
        };
        assert!(usage(&mut client, "memory usage small") < 200);
        assert!(usage(&mut client, "memory usage large samples 0") > 10_000);
        client.check("memory usage nokey", "$-1\r\n");
        client.check("memory usage small samples -1", "-ERR syntax error\r\n");
    }
}

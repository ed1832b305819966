//! A backup is of one point, and what is restored from it is that point: real nodes, real files, and
//! trouble on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use wire::resp::Value;

use crate::client::{Client, bulk, bulks};
use crate::cluster::{Cluster, IsOk, StopOnDrop, synod, wait_for};

const ACCOUNTS: usize = 40;
const BALANCE: i64 = 1_000;

fn command(args: &[&str]) -> Command {
    let mut command = synod();
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs it, and returns what it said when it had done all of it.
#[track_caller]
fn done(args: &[&str]) -> String {
    said(command(args).output().unwrap(), args)
}

#[track_caller]
fn said(output: Output, args: &[&str]) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap() + &said
}

/// Runs it, and returns why it refused.
#[track_caller]
fn refused(args: &[&str]) -> String {
    let output = command(args).output().unwrap();
    assert!(!output.status.success(), "{args:?} was done");
    String::from_utf8(output.stderr).unwrap()
}

fn number(client: &mut Client, key: &str) -> i64 {
    match client.must(&["GET", key]) {
        Value::Bulk(text) => String::from_utf8(text).unwrap().parse().unwrap(),
        Value::Null => 0,
        other => panic!("{key}: {other:?}"),
    }
}

fn path(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

/// Many keys, each with a value that ends with its number.
fn fill(client: &mut Client, keys: usize, bytes: usize) {
    let value = "v".repeat(bytes);
    pipeline(client, keys, |n| vec!["SET".to_owned(), format!("fill:{n}"), format!("{value}{n}")]);
}

/// Makes so many calls, thousands in one go, and returns the replies: no errors.
fn pipeline(client: &mut Client, calls: usize, call: impl Fn(usize) -> Vec<String>) -> Vec<Value> {
    const PIPELINE: usize = 2_000;
    let mut replies = Vec::new();
    for first in (0..calls).step_by(PIPELINE) {
        let some: Vec<Vec<String>> = (first..(first + PIPELINE).min(calls)).map(&call).collect();
        let words: Vec<Vec<&str>> =
            some.iter().map(|call| call.iter().map(String::as_str).collect()).collect();
        client.send(&words.iter().map(|call| &call[..]).collect::<Vec<_>>()).unwrap();
        replies.extend(some.iter().map(|call| match client.reply().unwrap() {
            Value::Error(error) => panic!("{call:?}: {error}"),
            reply => reply,
        }));
    }
    replies
}

/// Transfers between accounts, two counters that are counted together, and two that are one behind the
/// other: until it is told to stop. Returns nothing, for all that it does is in the keys.
fn trade(client: &mut Client, seed: usize, stop: &AtomicBool, count: &AtomicU64) {
    let mut at = seed;
    while !stop.load(Ordering::Acquire) {
        at = (at * 31 + 17) % (ACCOUNTS * ACCOUNTS);
        let (from, to) =
            (format!("account:{}", at % ACCOUNTS), format!("account:{}", at / ACCOUNTS));
        let calls: [&[&str]; 4] =
            [&["MULTI"], &["DECRBY", &from, "7"], &["INCRBY", &to, "7"], &["EXEC"]];
        let twins = [format!("left:{seed}"), format!("right:{seed}")];
        let counts: [&[&str]; 4] =
            [&["MULTI"], &["INCR", &twins[0]], &["INCR", &twins[1]], &["EXEC"]];
        for calls in [calls, counts] {
            if client.send(&calls).is_err() || (0..4).any(|_| client.reply().is_err()) {
                return;
            }
        }
        let number = count.fetch_add(1, Ordering::AcqRel).to_string();
        for key in ["first", "second"] {
            // One after the other: a moment at which only the second is there never was.
            if client.call(&["SET", &format!("{key}:{seed}"), &number]).is_err() {
                return;
            }
        }
    }
}

fn check_trade(client: &mut Client, traders: usize) {
    let total: i64 = (0..ACCOUNTS).map(|n| number(client, &format!("account:{n}"))).sum();
    assert_eq!(total, ACCOUNTS as i64 * BALANCE, "money came or went");
    for seed in 1..=traders {
        let [left, right] = ["left", "right"].map(|key| number(client, &format!("{key}:{seed}")));
        assert!(left == right && left > 0, "{left} and {right} are counted together");
        let [first, second] =
            ["first", "second"].map(|key| number(client, &format!("{key}:{seed}")));
        assert!(first >= second, "{second} was written after {first}");
    }
}

fn open_accounts(client: &mut Client) {
    for n in 0..ACCOUNTS {
        client.must(&["SET", &format!("account:{n}"), &BALANCE.to_string()]);
    }
}

/// Runs traders on all nodes while `act` runs.
fn while_trading(cluster: &mut Cluster, traders: usize, act: impl FnOnce(&mut Cluster)) {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(1));
    let clients: Vec<Client> = (0..traders).map(|n| cluster.client(n % cluster.len())).collect();
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for (seed, mut client) in clients.into_iter().enumerate() {
            let (stop, count) = (&stop, &count);
            scope.spawn(move || trade(&mut client, seed + 1, stop, count));
        }
        wait_for("trade", || (count.load(Ordering::Acquire) > 20 * traders as u64).then_some(()));
        act(cluster);
    });
}

/// Something of every type, with values that are too large for one call, and what is no key.
fn put_everything(client: &mut Client) {
    for (key, kind, n) in keys() {
        client.must(&["EVAL", FILL, "1", &key, kind, n]);
    }
    client.must(&["SET", "text:large", &"\0\r\n".repeat(2_000_000)]);
    client.must(&["SET", "", "the empty key"]);
    client.must(&["APPEND", "raw", "te"]);
    client.must(&["APPEND", "raw", "xt"]);
    client.must(&["SET", "expires", "later", "PXAT", "4102444800123"]);
    client.must(&["SET", "gone", "soon", "PX", "1"]);
    client.must(&["FUNCTION", "LOAD", LIBRARY]);
    client.must(&["SCRIPT", "LOAD", "return 'kept'"]);
    client.must(&["CONFIG", "SET", "set-max-intset-entries", "7"]);
    client.must(&["SELECT", "3"]);
    client.must(&["SET", "elsewhere", "yes"]);
    client.must(&["SELECT", "0"]);
}

/// Of each type a small value and one that is too large for one call.
const KINDS: [&str; 6] = ["list", "set", "ints", "hash", "zset", "stream"];
const SIZES: [&str; 2] = ["3", "1200"];

/// The key of a kind and a size; a script for each, so that none needs several shards.
fn keys() -> impl Iterator<Item = (String, &'static str, &'static str)> {
    KINDS.iter().flat_map(|kind| SIZES.iter().map(move |n| (format!("{kind}:{n}"), *kind, *n)))
}

const FILL: &str = r#"
local key, kind, n, long = KEYS[1], ARGV[1], tonumber(ARGV[2]), string.rep('x', 1000)
for i = 1, n do
  if kind == 'list' then redis.call('rpush', key, i, 'e' .. i .. long)
  elseif kind == 'set' then redis.call('sadd', key, 'm' .. i .. long)
  elseif kind == 'ints' then redis.call('sadd', key, i * 100000)
  elseif kind == 'hash' then redis.call('hset', key, 'f' .. i, long .. i)
  elseif kind == 'zset' then redis.call('zadd', key, i / 7, 'm' .. i .. long)
  else redis.call('xadd', key, i .. '-1', 'f', i, 'g', long) end
end
if kind == 'stream' and n > 3 then redis.call('xdel', key, n .. '-1') end
"#;

const LIBRARY: &str =
    "#!lua name=mylib\nredis.register_function('answer', function() return 42 end)";

/// A hash of a value as the server itself sees it, with its encoding.
const DIGEST: &str = r#"
local key, kind, n, values = KEYS[1], ARGV[1], tonumber(ARGV[2]), {}
if kind == 'list' then values = redis.call('lrange', key, 0, -1)
elseif kind == 'set' or kind == 'ints' then values = redis.call('smembers', key); table.sort(values)
elseif kind == 'zset' then values = redis.call('zrange', key, 0, -1, 'withscores')
elseif kind == 'stream' then values = redis.call('xrange', key, '-', '+')
else
  for i = 1, n do values[#values + 1] = redis.call('hget', key, 'f' .. i) end
  values[#values + 1] = redis.call('hlen', key)
end
return redis.sha1hex(cjson.encode(values)) .. ' ' .. redis.call('object', 'encoding', key)
"#;

fn digests(client: &mut Client) -> Vec<(String, Value)> {
    let digest = |(key, kind, n): (String, &str, &str)| {
        let reply = client.must(&["EVAL", DIGEST, "1", &key, kind, n]);
        (key, reply)
    };
    keys().map(digest).collect()
}

fn check_everything(client: &mut Client, expect: &[(String, Value)]) {
    assert_eq!(digests(client), expect);
    assert_eq!(client.must(&["GET", "text:large"]), bulk(&"\0\r\n".repeat(2_000_000)));
    assert_eq!(client.must(&["PEXPIRETIME", "expires"]), Value::Int(4_102_444_800_123));
    assert_eq!(client.must(&["GET", ""]), bulk("the empty key"));
    assert_eq!(client.must(&["EXISTS", "gone"]), Value::Int(0));
    assert_eq!(client.must(&["OBJECT", "ENCODING", "raw"]), bulk("raw"));
    assert_eq!(client.must(&["FCALL", "answer", "0"]), Value::Int(42));
    let setting = client.must(&["CONFIG", "GET", "set-max-intset-entries"]);
    assert_eq!(setting, bulks(&["set-max-intset-entries", "7"]));
    // The id of the entry that was deleted is not given again.
    let reply = client.ask(&["XADD", "stream:1200", "1200-1", "a", "b"]);
    assert!(matches!(reply, Value::Error(_)), "{reply:?}");
    client.must(&["SELECT", "3"]);
    assert_eq!(client.must(&["GET", "elsewhere"]), bulk("yes"));
    client.must(&["SELECT", "0"]);
}

#[test]
fn a_backup_under_load_is_of_one_point_and_fits_another_cluster() {
    let mut cluster = Cluster::sharded(3, 4);
    let mut client = cluster.client(0);
    open_accounts(&mut client);
    put_everything(&mut client);
    let Value::Bulk(kept) = client.must(&["SCRIPT", "LOAD", "return 'kept'"]) else { panic!() };
    let kept = String::from_utf8(kept).unwrap();
    let expect = digests(&mut client);
    let dirs: Vec<PathBuf> = (0..2).map(|n| cluster.dir().join(format!("backup-{n}"))).collect();
    while_trading(&mut cluster, 4, |cluster| {
        for (node, dir) in dirs.iter().enumerate() {
            let url = format!("redis://{}", cluster.addr(node + 1));
            let said = done(&["backup", path(dir), "--from", &url]);
            assert!(said.contains("of 4 shards"), "{said}");
        }
    });
    done(&["backup", "--check", path(&dirs[0])]);
    let (one, other) = (Cluster::start(1), Cluster::sharded(3, 16));
    one.client(0).must(&["FLUSHALL"]);
    for (target, dir) in [(&one, &dirs[0]), (&other, &dirs[1])] {
        let node = target.len() - 1;
        let said = done(&["restore", path(dir), "--into", target.addr(node)]);
        assert!(
            said.contains("library of functions") && said.contains("left out: nothing"),
            "{said}"
        );
        let mut client = target.client(0);
        check_trade(&mut client, 4);
        check_everything(&mut client, &expect);
        assert_eq!(client.must(&["EVALSHA", &kept, "0"]), bulk("kept"));
        assert_eq!(client.must(&["EXISTS", "synod:restore-unfinished"]), Value::Int(0));
    }
    check_trade(&mut client, 4);
}

/// A backup that is stopped in the middle, so that something can happen to the nodes meanwhile.
struct Stopped {
    child: Child,
}

impl Stopped {
    fn start(from: &str, dir: &Path) -> Stopped {
        let mut command = command(&["backup", path(dir), "--from", from]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let has_files = || fs::read_dir(dir).ok()?.next().map(drop);
        wait_for("the first file", has_files);
        let stopped = Stopped { child };
        stopped.signal(Signal::STOP);
        assert!(!dir.join("manifest.json").exists(), "it was quicker than we are");
        stopped
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }

    fn go_on(self) -> Output {
        self.signal(Signal::CONT);
        self.child.wait_with_output().unwrap()
    }
}

#[test]
fn a_node_that_is_killed_costs_a_backup_one_try_and_a_new_leader_none() {
    let mut cluster = Cluster::sharded(3, 4);
    let mut client = cluster.client(0);
    open_accounts(&mut client);
    fill(&mut client, 100_000, 600);
    let dirs: Vec<PathBuf> = (0..2).map(|n| cluster.dir().join(format!("backup-{n}"))).collect();
    let leader = cluster.wait_until_leader();
    while_trading(&mut cluster, 3, |cluster| {
        let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
        let backup = Stopped::start(cluster.addr(others[0]), &dirs[0]);
        cluster.process(leader).signal(Signal::STOP);
        let next = cluster.wait_until_leader_among(&others);
        cluster.process(leader).signal(Signal::CONT);
        let said = said(backup.go_on(), &["backup"]);
        assert!(!said.contains("begins again"), "a new leader does no harm: {said}");

        let survivor = others.iter().find(|node| **node != next).copied().unwrap();
        let backup = Stopped::start(cluster.addr(survivor), &dirs[1]);
        cluster.kill(next);
        let said = crate::backup::said(backup.go_on(), &["backup"]);
        assert!(said.contains("begins again"), "{said}");
    });
    let target = Cluster::sharded(1, 8);
    for dir in dirs {
        let (begin, place) = (target.client(0).must(&["FLUSHALL"]), path(&dir));
        assert!(begin.is_ok().is_some());
        done(&["restore", place, "--into", target.addr(0)]);
        let mut client = target.client(0);
        let total: i64 = (0..ACCOUNTS).map(|n| number(&mut client, &format!("account:{n}"))).sum();
        assert_eq!(total, ACCOUNTS as i64 * BALANCE);
        for seed in 1..=3 {
            let key = |name| format!("{name}:{seed}");
            assert_eq!(number(&mut client, &key("left")), number(&mut client, &key("right")));
        }
        assert_eq!(number_of_fill(&mut client), 100_000);
    }
}

/// The shards that each node keeps for a backup.
fn kept(cluster: &Cluster) -> Vec<Vec<i64>> {
    let shards = |node| match cluster.client(node).must(&["SYNOD.BACKUP", "LIST"]) {
        Value::Array(list) => list
            .iter()
            .map(|entry| match entry {
                Value::Array(parts) => match parts[1] {
                    Value::Int(shard) => shard,
                    _ => panic!("{entry:?}"),
                },
                _ => panic!("{entry:?}"),
            })
            .collect(),
        other => panic!("{other:?}"),
    };
    (0..cluster.len()).map(shards).collect()
}

#[test]
fn only_leaders_keep_a_backup_and_no_start_keeps_one_again() {
    for nodes in [3, 1] {
        let mut cluster = Cluster::sharded(nodes, 4);
        cluster.client(0).must(&["SYNOD.BACKUP", "BEGIN", "b"]);
        let mut shards = kept(&cluster).concat();
        shards.sort();
        assert_eq!(shards, [0, 1, 2, 3], "each is kept once");
        cluster.kill_all();
        cluster.start_all();
        cluster.wait_until_leader();
        assert_eq!(cluster.client(0).must(&["DBSIZE"]), Value::Int(1), "every log was run again");
        assert!(kept(&cluster).concat().is_empty());
    }
}

fn number_of_fill(client: &mut Client) -> usize {
    match client.must(&["KEYS", "fill:*"]) {
        Value::Array(keys) => keys.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_million_keys_come_back_and_a_restore_that_was_cut_off_is_known_for_one() {
    const KEYS: usize = 1_000_000;
    let (source, target) = (Cluster::sharded(1, 4), Cluster::sharded(1, 2));
    fill(&mut source.client(0), KEYS, 20);
    let dir = source.dir().join("backup");
    done(&["backup", path(&dir), "--from", source.addr(0)]);
    let into = target.addr(0);
    let restore = ["restore", path(&dir), "--into", into];
    let mut child = command(&restore).spawn().unwrap();
    let mut client = target.client(0);
    wait_for("some keys", || match client.must(&["DBSIZE"]) {
        Value::Int(keys) if keys > 10_000 => Some(()),
        _ => None,
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let why = refused(&restore);
    assert!(why.contains("a restore that did not end: backup "), "{why}");
    let why = refused(&["backup", path(&source.dir().join("half")), "--from", into]);
    assert!(why.contains("a restore that did not end"), "{why}");

    let said = done(&[&restore[..], &["--start-over"]].concat());
    assert!(said.starts_with("restored 1000000 keys"), "{said}");
    assert_eq!(client.must(&["DBSIZE"]), Value::Int(KEYS as i64));
    for n in [0, 1, 499_999, 999_999] {
        let value = format!("{}{n}", "v".repeat(20));
        assert_eq!(client.must(&["GET", &format!("fill:{n}")]), bulk(&value));
    }
    let why = refused(&[&restore[..], &["--start-over"]].concat());
    assert!(why.contains("nothing is dropped"), "{why}");
    assert_eq!(client.must(&["DBSIZE"]), Value::Int(KEYS as i64));
}

#[test]
fn a_restore_and_an_import_go_on_when_a_leader_is_killed() {
    const STRINGS: usize = 200_000;
    const LISTS: usize = 50_000;
    const KEYS: usize = STRINGS + LISTS;
    let words = |call: &str| call.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let source = Cluster::sharded(1, 4);
    fill(&mut source.client(0), STRINGS, 100);
    pipeline(&mut source.client(0), LISTS, |n| words(&format!("RPUSH list:{n} a {n} b")));
    let (dir, dump) = (source.dir().join("backup"), source.dir().join("dump.rdb"));
    done(&["backup", path(&dir), "--from", source.addr(0)]);
    done(&["export", path(&dump), "--addr", source.addr(0)]);
    for what in ["restore", "import"] {
        let mut target = Cluster::sharded(3, 8);
        let leads = |node: usize| {
            let status = target.status(0)?;
            status["nodes"][node]["leads"].as_u64().filter(|leads| *leads > 0)
        };
        let wait = |node| wait_for("leaders on all nodes", || leads(node));
        assert!((0..3).map(wait).sum::<u64>() >= 8);
        let named = target.addr(0).to_owned();
        let args = match what {
            "restore" => ["restore", path(&dir), "--into", &named],
            _ => ["import", path(&dump), "--to", &named],
        };
        let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut client = target.client(0);
        let keys = wait_for("some keys", || match client.must(&["DBSIZE"]) {
            Value::Int(keys) => Some(keys as usize).filter(|keys| *keys > 10_000),
            other => panic!("{other:?}"),
        });
        assert!(keys < KEYS, "it is killed too late");
        target.kill(2);
        let said = said(child.wait_with_output().unwrap(), &args);
        assert!(said.contains("250000 keys"), "{said}");
        let lists = pipeline(&mut client, LISTS, |n| words(&format!("LRANGE list:{n} 0 -1")));
        for (n, list) in lists.into_iter().enumerate() {
            let whole = ["a", &n.to_string(), "b"].map(bulk);
            assert_eq!(list, Value::Array(whole.to_vec()), "list:{n}, once");
        }
        for n in (0..STRINGS).step_by(997) {
            let value = format!("{}{n}", "v".repeat(100));
            assert_eq!(client.must(&["GET", &format!("fill:{n}")]), bulk(&value));
        }
        let keys = wait_for("all shards", || match client.must(&["DBSIZE"]) {
            Value::Int(keys) => Some(keys as usize),
            _ => None,
        });
        assert_eq!(keys, KEYS, "no other keys");
    }
}

#[test]
fn what_is_no_whole_backup_or_no_empty_cluster_is_refused_and_nothing_changes() {
    let (source, target) = (Cluster::sharded(1, 2), Cluster::start(1));
    let mut client = target.client(0);
    client.must(&["FLUSHALL"]);
    fill(&mut source.client(0), 2_000, 100);
    let good = source.dir().join("good");
    done(&["backup", path(&good), "--from", source.addr(0)]);
    let why = refused(&["backup", path(&good), "--from", source.addr(0)]);
    assert!(why.contains("is not empty"), "{why}");

    let file = fs::read(good.join("shard-0001.synod")).unwrap();
    let manifest = fs::read_to_string(good.join("manifest.json")).unwrap();
    let mut flipped = file.clone();
    flipped[file.len() / 2] ^= 1;
    let short = &file[..file.len() - 10];
    let checksum = manifest.split("\"sha256\": \"").nth(2).unwrap();
    let lie = manifest.replace(&checksum[..8], "00000000");
    let newer = manifest.replacen("\"format\": 1", "\"format\": 7", 1);
    let bad = source.dir().join("bad");
    type Spoilt<'a> = (&'a str, Option<&'a [u8]>, &'a str);
    let cases: [Spoilt<'_>; 7] = [
        ("shard-0001.synod", Some(short), "it is cut off"),
        ("shard-0001.synod", Some(&flipped), "it is damaged"),
        ("shard-0001.synod", None, "is missing"),
        ("manifest.json", None, "is no backup"),
        ("manifest.json", Some(lie.as_bytes()), "its checksum is wrong"),
        ("manifest.json", Some(newer.as_bytes()), "is of version 7, which is not known"),
        ("manifest.json", Some(&manifest.as_bytes()[..50]), "cut off"),
    ];
    for (name, content, word) in cases {
        fs::create_dir_all(&bad).unwrap();
        for entry in fs::read_dir(&good).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, bad.join(from.file_name().unwrap())).unwrap();
        }
        fs::remove_file(bad.join(name)).unwrap();
        if let Some(content) = content {
            fs::write(bad.join(name), content).unwrap();
        }
        for args in [
            &["restore", path(&bad), "--into", target.addr(0)][..],
            &["backup", path(&bad), "--check"],
        ] {
            let why = refused(args);
            assert!(why.contains(word), "{args:?} {word}: {why}");
        }
        assert_eq!(client.must(&["DBSIZE"]), Value::Int(0), "{word}");
        fs::remove_dir_all(&bad).unwrap();
    }

    let restore = ["restore", path(&good), "--into", target.addr(0)];
    client.must(&["SELECT", "5"]);
    client.must(&["SET", "mine", "1"]);
    let why = refused(&restore);
    assert!(why.contains("has 1 keys in database 5"), "{why}");
    client.must(&["FLUSHALL"]);
    client.must(&["FUNCTION", "LOAD", LIBRARY]);
    assert!(refused(&restore).contains("has 1 libraries of functions"));
    assert!(
        refused(&["backup", path(&bad), "--from", "127.0.0.1:1"]).contains("There is no backup")
    );
    client.must(&["FUNCTION", "FLUSH"]);
    if cfg!(not(feature = "s3")) {
        let why = refused(&["restore", "s3://bucket/prefix", "--into", target.addr(0)]);
        assert!(why.contains("--features s3"), "{why}");
    }
    assert!(done(&restore).starts_with("restored 2000 keys"));
}

//! A Redis moves in, and moves out again: real dumps of a real redis-server, compared key by key.
//!
//! Where no redis-server is installed these tests say so on the terminal, and prove nothing.
//! `.ci/run` installs one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use wire::resp::Value;

use crate::client::Client;
use crate::cluster::{Cluster, Process, free_ports, synod, wait_for};

/// Collections of Redis change their encoding past these sizes: both sides of each are wanted.
const SMALL: [&str; 10] = [
    "--list-max-listpack-size",
    "8",
    "--hash-max-listpack-entries",
    "8",
    "--zset-max-listpack-entries",
    "8",
    "--set-max-intset-entries",
    "8",
    "--stream-node-max-entries",
    "5",
];

/// Every type and encoding, values with every byte, times to live, several databases, a library, and
/// what Synod lacks: a consumer group.
const FILL: &str = r#"
local bytes = {}
for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
local every = table.concat(bytes)
for _, n in ipairs({3, 300}) do
  for i = 1, n do
    redis.call('rpush', 'list:' .. n, 'e' .. i, i)
    redis.call('sadd', 'set:' .. n, 'm' .. i)
    redis.call('sadd', 'ints:' .. n, i * 100000)
    redis.call('hset', 'hash:' .. n, 'f' .. i, 'v' .. i)
    redis.call('zadd', 'zset:' .. n, i / 7, 'm' .. i)
    redis.call('xadd', 'stream:' .. n, i .. '-1', 'f', i, 'g', 'v' .. i)
  end
end
redis.call('xadd', 'stream:3', '9-1', 'other', 'fields')
redis.call('xdel', 'stream:3', '2-1')
redis.call('xadd', 'stream:none', '7-7', 'a', 'b')
redis.call('xdel', 'stream:none', '7-7')
redis.call('xgroup', 'create', 'stream:3', 'workers', '0')
redis.call('zadd', 'zset:3', 'inf', 'top', '-inf', 'bottom', 5e-324, 'least', 1e300, 'most')
redis.call('set', 'every', every)
redis.call('set', 'compressed', string.rep('abc', 10000))
redis.call('rpush', 'list:large', string.rep('x', 100000), every, '')
redis.call('hset', 'hash:large', every, string.rep('y', 300000), 'k', 1)
redis.call('set', '', 'the empty key')
for _, n in ipairs({0, -1, 127, -129, 40000, 2147483647, 2147483648}) do
  redis.call('set', 'int:' .. n, n)
end
redis.call('pexpireat', 'every', 4102444800123)
redis.call('pexpireat', 'hash:3', 4102444800456)
redis.call('select', 3)
redis.call('set', 'elsewhere', 'yes')
"#;

const LIBRARY: &str =
    "#!lua name=mylib\nredis.register_function('answer', function() return 42 end)";

/// Is there a redis-server? If not, that is said where nobody can miss it.
fn is_installed() -> bool {
    let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    let found = version.is_ok_and(|status| status.success());
    if !found {
        let text = "\nSKIPPED: redis-server is not installed, so NO import or export was tested\n";
        // Not captured, unlike what the macros print.
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    found
}

/// A redis-server whose dump lies in this folder.
struct Redis {
    _process: Process,
    addr: String,
    dir: PathBuf,
}

impl Redis {
    fn start(dir: &Path) -> Redis {
        fs::create_dir_all(dir).unwrap();
        let port = free_ports(1);
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--repl-diskless-sync-delay", "0"]).args(SMALL).arg("--dir").arg(dir);
        let process = Process::start(command.stdin(Stdio::null()), &dir.join("log"));
        let redis =
            Redis { _process: process, addr: format!("127.0.0.1:{port}"), dir: dir.to_owned() };
        let is_up = |client: &mut Client| matches!(client.call(&["PING"]), Ok(Value::Status(_)));
        wait_for("redis-server", || Client::connect(&redis.addr).ok().filter_map_up(is_up));
        redis
    }

    /// One with data of all kinds, and its dump.
    fn filled(dir: &Path) -> Redis {
        let redis = Redis::start(dir);
        let mut client = redis.client();
        client.must(&["EVAL", FILL, "0"]);
        client.must(&["FUNCTION", "LOAD", LIBRARY]);
        client.must(&["XREADGROUP", "GROUP", "workers", "me", "STREAMS", "stream:3", ">"]);
        client.must(&["SAVE"]);
        redis
    }

    fn client(&self) -> Client {
        Client::connect(&self.addr).unwrap()
    }

    fn dump(&self) -> PathBuf {
        self.dir.join("dump.rdb")
    }
}

trait FilterUp {
    fn filter_map_up(self, is_up: impl Fn(&mut Client) -> bool) -> Option<()>;
}

impl FilterUp for Option<Client> {
    fn filter_map_up(self, is_up: impl Fn(&mut Client) -> bool) -> Option<()> {
        self.is_some_and(|mut client| is_up(&mut client)).then_some(())
    }
}

/// A key of a database to its type, the time of its end and its value, as text.
type Contents = BTreeMap<(u32, String), String>;

fn contents(client: &mut Client) -> Contents {
    let mut contents = Contents::new();
    for database in [0, 3] {
        client.must(&["SELECT", &database.to_string()]);
        let Value::Array(keys) = client.must(&["KEYS", "*"]) else { panic!("KEYS lists") };
        for key in keys {
            let Value::Bulk(key) = key else { panic!("a key is a string") };
            let key = String::from_utf8(key).unwrap();
            let Value::Status(kind) = client.must(&["TYPE", &key]) else { panic!("a type") };
            let end = client.must(&["PEXPIRETIME", &key]);
            let value = value(client, &kind, &key);
            contents.insert((database, key), format!("{kind} {end:?} {value}"));
        }
    }
    contents
}

/// A value as text, whatever order a server keeps it in.
fn value(client: &mut Client, kind: &str, key: &str) -> String {
    let mut width = 1;
    let reply = match kind {
        "string" => client.must(&["GET", key]),
        "list" => client.must(&["LRANGE", key, "0", "-1"]),
        "zset" => client.must(&["ZRANGE", key, "0", "-1", "WITHSCORES"]),
        "stream" => client.must(&["XRANGE", key, "-", "+"]),
        "set" => client.must(&["SMEMBERS", key]),
        "hash" => {
            width = 2;
            client.must(&["HGETALL", key])
        }
        other => panic!("{key} is a {other}"),
    };
    let Value::Array(elements) = reply else { return format!("{reply:?}") };
    let mut texts: Vec<String> =
        elements.chunks(width).map(|element| format!("{element:?}")).collect();
    if matches!(kind, "set" | "hash") {
        texts.sort();
    }
    texts.join(" ")
}

#[track_caller]
fn check_equal(found: &Contents, expect: &Contents) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expect.keys().collect::<Vec<_>>());
    for (key, value) in expect {
        assert_eq!(&found[key], value, "{key:?}");
    }
}

fn run(args: &[&str]) -> Output {
    synod().args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs it, and returns what it said when it had done all of it.
#[track_caller]
fn done(args: &[&str]) -> String {
    let output = run(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap() + &said
}

/// Runs it, and returns why it refused.
#[track_caller]
fn refused(args: &[&str]) -> String {
    let output = run(args);
    assert!(!output.status.success(), "{args:?} was done");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_redis_moves_in_and_out_again() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.client(0).must(&["FLUSHALL"]);
    let redis = Redis::filled(&cluster.dir().join("redis"));
    let expect = contents(&mut redis.client());
    let (addr, dump) = (cluster.addr(0), redis.dump());
    let dump = dump.to_str().unwrap();

    let said = done(&["import", dump, "--to", addr]);
    check_equal(&contents(&mut cluster.client(0)), &expect);
    for line in ["1  consumer groups of streams: Synod has none yet", "1  library of functions"] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(cluster.client(0).must(&["FCALL", "answer", "0"]), Value::Int(42));
    // The stream remembers the id of the entry that is gone.
    let reply = cluster.client(0).ask(&["XADD", "stream:none", "7-7", "a", "b"]);
    assert!(matches!(reply, Value::Error(_)), "{reply:?}");

    let why = refused(&["import", dump, "--to", addr]);
    assert!(why.contains("--replace"), "{why}");
    let url = format!("redis://{}", redis.addr);
    cluster.client(0).must(&["CONFIG", "SET", "hash-max-listpack-entries", "0"]);
    for source in [&["import", &url][..], &["import", &url, "--scan"]] {
        cluster.client(0).must(&["SET", "list:3", "in the way"]);
        cluster.client(0).must(&["DEL", "int:0"]);
        cluster.client(0).must(&["RPUSH", "int:0", "in the way"]);
        let said = done(&[source, &["--to", addr, "--replace"]].concat());
        assert!(!said.contains("gives no dump"), "{said}");
        let form = cluster.client(0).must(&["OBJECT", "ENCODING", "hash:3"]);
        assert_eq!(form, Value::Bulk(b"hashtable".to_vec()), "as the target is set");
        check_equal(&contents(&mut cluster.client(0)), &expect);
    }
    let url = format!("redis://{}/3", redis.addr);
    let said = done(&["import", &url, "--to", addr, "--replace"]);
    assert!(said.starts_with("imported 1 keys"), "{said}");

    move_out(&cluster, &expect);
}

/// What the cluster holds is exported, and a Redis that loads it holds the same.
fn move_out(cluster: &Cluster, expect: &Contents) {
    let dir = cluster.dir().join("moved");
    fs::create_dir_all(&dir).unwrap();
    let place = dir.join("dump.rdb");
    let file = place.to_str().unwrap();
    let large: Vec<String> = (0..60_000).map(|n| format!("member:{n:060}")).collect();
    for part in large.chunks(1000) {
        let args = ["SADD", "set:huge"].into_iter().chain(part.iter().map(|member| &member[..]));
        cluster.client(0).must(&args.collect::<Vec<_>>());
    }
    let mut expect = expect.clone();
    let said = done(&["export", file, "--addr", cluster.addr(0)]);
    assert!(said.contains("library of functions"), "{said}");
    assert!(refused(&["export", file, "--addr", cluster.addr(0)]).contains("is there already"));
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names, std::slice::from_ref(&place), "nothing else is left behind");

    let check = Command::new("redis-check-rdb").arg(&place).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let moved = Redis::start(&dir);
    let huge = contents(&mut cluster.client(0)).remove(&(0, "set:huge".to_owned())).unwrap();
    expect.insert((0, "set:huge".to_owned()), huge);
    check_equal(&contents(&mut moved.client()), &expect);
    assert_eq!(moved.client().must(&["FCALL", "answer", "0"]), Value::Int(42));
}

#[test]
fn a_dump_that_is_damaged_changes_nothing() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.client(0).must(&["FLUSHALL"]);
    let redis = Redis::filled(&cluster.dir().join("redis"));
    let dump = fs::read(redis.dump()).unwrap();
    let mut flipped = dump.clone();
    let middle = dump.len() / 2;
    flipped[middle] ^= 1;
    let newer = [b"REDIS0012", &dump[9..]].concat();
    let longer = [&dump[..], b"*1\r\n$4\r\nPING\r\n"].concat();
    let far = b"REDIS0003\xfe\x14\x00\x01k\x01v\xff";
    for (bytes, word) in [
        (&dump[..dump.len() - 20], "cut off"),
        (&flipped[..], "at byte"),
        (&newer[..], "version 12 of the format (Redis 7.4 or later) is not known"),
        (&longer[..], "append-only"),
        (&far[..], "database 20"),
        (b"no dump at all", "no dump of Redis begins with"),
    ] {
        let path = cluster.dir().join("bad.rdb");
        fs::write(&path, bytes).unwrap();
        let why = refused(&["import", path.to_str().unwrap(), "--to", cluster.addr(0)]);
        assert!(why.contains(word), "{word}: {why}");
        assert_eq!(cluster.client(0).must(&["DBSIZE"]), Value::Int(0), "{word}");
    }
}

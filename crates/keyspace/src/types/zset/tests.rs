//! What the sorted-set commands answer.

use super::Zset;
use crate::op::Origin;
use crate::testing::{Client, shown};
use crate::value::Typed;

/// Runs a table with each encoding, and again with a reload before each line.
#[track_caller]
fn check_both(table: &[(&str, &str)]) {
    for (entries, reload) in [(128, false), (0, false), (128, true), (0, true)] {
        let mut client = Client::new();
        client.shard.settings.zset_max_listpack_entries = entries;
        for (line, expect) in table {
            client.check(line, expect);
            if reload {
                client.reload();
            }
        }
    }
}

fn bulks(words: &[&str]) -> String {
    let body: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{body}", words.len())
}

fn encoding(client: &Client, key: &str) -> &'static str {
    let entry = client.shard.databases()[0].get(key.as_bytes()).unwrap();
    Zset::of(&entry.value).unwrap().encoding()
}

const SYNTAX: &str = "-ERR syntax error\r\n";
const FLOAT: &str = "-ERR value is not a valid float\r\n";
const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

#[test]
fn scores_are_added_and_changed_as_the_options_say() {
    check_both(&[
        ("zadd z 1 a 2 b", ":2\r\n"),
        ("zadd z 3 a 2 b 4 c", ":1\r\n"),
        ("zadd z ch 5 a 2 b 6 d", ":2\r\n"),
        ("zadd z nx ch 9 a 9 e", ":1\r\n"),
        ("zadd z xx ch 9 a 9 f", ":1\r\n"),
        ("zadd z gt ch 8 a 10 e", ":1\r\n"),
        ("zadd z lt ch 8 a 11 e", ":1\r\n"),
        ("zadd z xx gt ch 9 a 9 g", ":1\r\n"),
        ("zadd z gt 1 h", ":1\r\n"),
        ("zadd none xx 1 a", ":0\r\n"),
        ("zadd none xx incr 1 a", "$-1\r\n"),
        ("zadd z incr 1.5 a", "$4\r\n10.5\r\n"),
        ("zadd z nx incr 1 a", "$-1\r\n"),
        ("zadd z gt incr -1 a", "$-1\r\n"),
        ("zadd z incr 0 a", "$4\r\n10.5\r\n"),
        ("zincrby z 2 b", "$1\r\n4\r\n"),
        ("zincrby z 2 new", "$1\r\n2\r\n"),
        ("zscore z b", "$1\r\n4\r\n"),
        ("zscore z nobody", "$-1\r\n"),
        ("zmscore z a x", "*2\r\n$4\r\n10.5\r\n$-1\r\n"),
        ("zcard z", ":7\r\n"),
        ("zrem z a b x a", ":2\r\n"),
        ("zrem z c d e h new", ":5\r\n"),
        ("zcard z", ":0\r\n"),
    ]);
}

#[test]
fn what_zadd_refuses_has_the_texts_of_redis() {
    check_both(&[
        ("zadd z 1 a 2", SYNTAX),
        ("zadd z nx ch", SYNTAX),
        ("zadd z nx xx 1 a", "-ERR XX and NX options at the same time are not compatible\r\n"),
        (
            "zadd z gt lt 1 a",
            "-ERR GT, LT, and/or NX options at the same time are not compatible\r\n",
        ),
        ("zadd z incr 1 a 2 b", "-ERR INCR option supports a single increment-element pair\r\n"),
        ("zadd z 1 a x b", FLOAT),
        ("zadd z nan a", FLOAT),
        ("zadd z \" 1\" a", FLOAT),
        ("zadd z 1e400 a", FLOAT),
        ("zadd z", "-ERR wrong number of arguments for 'zadd' command\r\n"),
        ("zcard z", ":0\r\n"),
        ("zadd z +inf a", ":1\r\n"),
        ("zincrby z -inf a", "-ERR resulting score is not a number (NaN)\r\n"),
        ("zscore z a", "$3\r\ninf\r\n"),
        ("set str x", "+OK\r\n"),
        ("zadd str 1 a", WRONG),
        ("zadd str x a", FLOAT),
        ("zadd str xx 1 a", WRONG),
        ("zincrby str 1 a", WRONG),
    ]);
}

#[test]
fn scores_are_shown_as_in_redis() {
    check_both(&[
        ("zadd z 3.2 a 1e20 b -inf c 0x10 d 1e-5 e", ":5\r\n"),
        ("zmscore z a", "*1\r\n$18\r\n3.2000000000000002\r\n"),
        ("zmscore z b", "*1\r\n$5\r\n1e+20\r\n"),
        ("zmscore z c", "*1\r\n$4\r\n-inf\r\n"),
        ("zmscore z d", "*1\r\n$2\r\n16\r\n"),
        ("zmscore z e", "*1\r\n$22\r\n1.0000000000000001e-05\r\n"),
    ]);
    let mut client = Client::resp3();
    client.check("zadd z 3.5 a inf b", ":2\r\n");
    client.check("zscore z a", ",3.5\r\n");
    client.check(
        "zrange z 0 -1 withscores",
        "*2\r\n*2\r\n$1\r\na\r\n,3.5\r\n*2\r\n$1\r\nb\r\n,inf\r\n",
    );
    client.check("zadd z incr 1 a", ",4.5\r\n");
    client.check("zscore z x", "_\r\n");
    // A packed set forgets the sign of zero, and prints large whole scores in full to ZSCAN only.
    let mut client = Client::new();
    client.check("zadd z -0 a", ":1\r\n");
    client.check("zscore z a", "$1\r\n0\r\n");
    client.check("zadd y 1e17 a", ":1\r\n");
    client.check("zscore y a", "$5\r\n1e+17\r\n");
    let scan = bulks(&["a", "100000000000000000"]);
    client.check("zscan y 0", &format!("*2\r\n$1\r\n0\r\n{scan}"));
    client.shard.settings.zset_max_listpack_entries = 0;
    client.check("zadd big -0 a", ":1\r\n");
    client.check("zscore big a", "$2\r\n-0\r\n");
}

#[test]
fn ranks_and_ranges() {
    let empty = "*0\r\n";
    check_both(&[
        ("zadd z 1 a 2 b 3 c 4 d 4 e", ":5\r\n"),
        ("zrank z a", ":0\r\n"),
        ("zrank z e", ":4\r\n"),
        ("zrevrank z e", ":0\r\n"),
        ("zrank z x", "$-1\r\n"),
        ("zrevrank none x", "$-1\r\n"),
        ("zrange z 1 -2", &bulks(&["b", "c", "d"])),
        ("zrange z 0 0 rev", &bulks(&["e"])),
        ("zrevrange z 1 2 withscores", &bulks(&["d", "4", "c", "3"])),
        ("zrange z 5 9", empty),
        ("zrange none 0 -1", empty),
        ("zrange z (1 3 byscore", &bulks(&["b", "c"])),
        ("zrange z 3 (1 byscore rev withscores", &bulks(&["c", "3", "b", "2"])),
        ("zrangebyscore z -inf +inf limit 1 2", &bulks(&["b", "c"])),
        ("zrangebyscore z -inf +inf limit 3 -1", &bulks(&["d", "e"])),
        ("zrangebyscore z -inf +inf limit 0 0", empty),
        ("zrangebyscore z -inf +inf limit -1 5", empty),
        ("zrangebyscore z -inf +inf limit 9 5", empty),
        ("zrevrangebyscore z 4 2 limit 1 2", &bulks(&["d", "c"])),
        ("zrangebyscore z 3 1", empty),
        ("zcount z 2 (4", ":2\r\n"),
        ("zcount z (4 inf", ":0\r\n"),
        ("zcount none 1 2", ":0\r\n"),
        ("zrangestore d z 1 2", ":2\r\n"),
        ("zrange d 0 -1 withscores", &bulks(&["b", "2", "c", "3"])),
        ("zrangestore d z 4 4 byscore rev limit 0 1", ":1\r\n"),
        ("zrange d 0 -1", &bulks(&["e"])),
        ("zrangestore d none 0 -1", ":0\r\n"),
        ("zcard d", ":0\r\n"),
        ("zremrangebyrank z 3 -1", ":2\r\n"),
        ("zremrangebyscore z (1 2", ":1\r\n"),
        ("zrange z 0 -1", &bulks(&["a", "c"])),
        ("zremrangebyrank z 0 9", ":2\r\n"),
        ("zremrangebyrank z 0 9", ":0\r\n"),
    ]);
}

#[test]
fn ranges_of_members() {
    check_both(&[
        ("zadd z 0 a 0 b 0 c 0 d", ":4\r\n"),
        ("zrangebylex z - +", &bulks(&["a", "b", "c", "d"])),
        ("zrangebylex z [b (d", &bulks(&["b", "c"])),
        ("zrangebylex z + -", "*0\r\n"),
        ("zrevrangebylex z (d [b", &bulks(&["c", "b"])),
        ("zrange z + [b bylex rev limit 1 1", &bulks(&["c"])),
        ("zrangebylex z [bb [c limit 0 10", &bulks(&["c"])),
        ("zlexcount z (a +", ":3\r\n"),
        ("zlexcount z [x [z", ":0\r\n"),
        ("zrangebylex z a b", "-ERR min or max not valid string range item\r\n"),
        ("zrangebylex z [a \"\"", "-ERR min or max not valid string range item\r\n"),
        ("zlexcount z -x +", "-ERR min or max not valid string range item\r\n"),
        ("zremrangebylex z [a (c", ":2\r\n"),
        ("zadd mixed 1 a 2 b 3 c 4 d", ":4\r\n"),
        ("zrangebylex mixed [b [c", &bulks(&["b", "c"])),
        ("zrevrangebylex mixed [c [b", &bulks(&["c", "b"])),
        ("zrangebylex mixed - +", &bulks(&["a", "b", "c", "d"])),
        ("zrangebylex mixed - (c", &bulks(&["a", "b"])),
        ("zrangebylex mixed [x +", "*0\r\n"),
        ("zremrangebylex z c d", "-ERR min or max not valid string range item\r\n"),
        ("zremrangebylex z - +", ":2\r\n"),
        ("zcard z", ":0\r\n"),
    ]);
}

#[test]
fn what_ranges_refuse_has_the_texts_of_redis() {
    let limit = "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or \
                 BYLEX\r\n";
    let lex = "-ERR syntax error, WITHSCORES not supported in combination with BYLEX\r\n";
    let float = "-ERR min or max is not a float\r\n";
    let integer = "-ERR value is not an integer or out of range\r\n";
    check_both(&[
        ("zadd z 1 a", ":1\r\n"),
        ("zrange z 0 -1 limit 0 1", limit),
        ("zrange z - + bylex withscores", lex),
        ("zrange z 0 -1 limit 0", SYNTAX),
        ("zrange z 0 -1 what", SYNTAX),
        ("zrange z 0 -1 byscore bylex", SYNTAX),
        ("zrangebyscore z 0 1 rev", SYNTAX),
        ("zrevrange z 0 1 byscore", SYNTAX),
        ("zrangestore d z 0 1 withscores", SYNTAX),
        ("zrange z a 1", integer),
        ("zrange z 0 1 byscore limit a 1", integer),
        ("zrange z a 1 byscore", float),
        ("zcount z nan 1", float),
        ("zremrangebyscore z x 1", float),
        ("set str x", "+OK\r\n"),
        ("zrange str 0 1", WRONG),
        ("zrange str x 1", integer),
        ("zrangestore d str 0 1", WRONG),
        ("zcount str 0 1", WRONG),
        ("zcard str", WRONG),
        ("zscan str 0", WRONG),
        ("zremrangebyrank str 0 1", WRONG),
    ]);
}

#[test]
fn elements_are_popped_from_the_ends() {
    check_both(&[
        ("zadd z 1 a 2 b 3 c 4 d 5 e 6 f", ":6\r\n"),
        ("zpopmin z", &bulks(&["a", "1"])),
        ("zpopmax z 2", &bulks(&["f", "6", "e", "5"])),
        ("zpopmax z 0", "*0\r\n"),
        ("zpopmin none", "*0\r\n"),
        ("zpopmin z -1", "-ERR value is out of range, must be positive\r\n"),
        ("zpopmin z x", "-ERR value is out of range, must be positive\r\n"),
        ("zpopmin z 1 2", SYNTAX),
        ("zmpop 2 none z min", "*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"),
        ("zmpop 1 none max", "*-1\r\n"),
        ("bzpopmax none z 0", &bulks(&["z", "d", "4"])),
        ("bzmpop 0 1 z max count 9", "*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
        ("zcard z", ":0\r\n"),
        ("bzpopmin z 0", "*-1\r\n"),
        ("bzmpop 0 1 z min", "*-1\r\n"),
        ("zmpop 0 z min", "-ERR numkeys should be greater than 0\r\n"),
        ("zmpop x z min", "-ERR numkeys should be greater than 0\r\n"),
        ("zmpop 2 z min", SYNTAX),
        ("zmpop 9223372036854775807 z min", SYNTAX),
        ("zmpop 1 z mid", SYNTAX),
        ("zmpop 1 z min count", SYNTAX),
        ("zmpop 1 z min count 0", "-ERR count should be greater than 0\r\n"),
        ("zmpop 1 z min count 1 count 1", SYNTAX),
        ("bzmpop x 1 z mid", SYNTAX),
        ("bzmpop x 1 z min", "-ERR timeout is not a float or out of range\r\n"),
        ("bzpopmin z -1", "-ERR timeout is negative\r\n"),
        ("set str x", "+OK\r\n"),
        ("zpopmin str", WRONG),
        ("zpopmin str 0", WRONG),
        ("zmpop 2 str z min", WRONG),
        ("bzpopmin str 0", WRONG),
    ]);
    let mut client = Client::resp3();
    client.run("zadd z 1 a 2 b 3 c");
    client.check("zpopmin z", "*2\r\n$1\r\na\r\n,1\r\n");
    client.check("zpopmin z 1", "*1\r\n*2\r\n$1\r\nb\r\n,2\r\n");
    client.check("bzpopmin z 0", "*3\r\n$1\r\nz\r\n$1\r\nc\r\n,3\r\n");
    client.check("zmpop 1 z min", "_\r\n");
}

#[test]
fn who_waits_is_served_by_the_next_zadd() {
    let mut client = Client::new();
    let waiting = ["bzpopmin a b 0", "bzmpop 0 1 b max count 2", "bzpopmax b 1"];
    for (number, line) in waiting.into_iter().enumerate() {
        client.origin = Some(Origin { node: 1, number: number as u64 });
        client.check(line, "");
    }
    client.origin = None;
    client.check("set a x", "+OK\r\n");
    client.check("zadd c 1 x", ":1\r\n");
    assert!(client.effects.late.is_empty(), "nothing came for anybody");
    client.reload();
    client.check("zadd b 1 x 2 y 3 z 4 w", ":4\r\n");
    let late: Vec<String> = client.effects.late.iter().map(|late| shown(&late.reply)).collect();
    let pairs = "*2\r\n$1\r\nb\r\n*2\r\n*2\r\n$1\r\nw\r\n$1\r\n4\r\n*2\r\n$1\r\nz\r\n$1\r\n3\r\n";
    assert_eq!(late, [bulks(&["b", "x", "1"]), pairs.to_string(), bulks(&["b", "y", "2"])]);
    client.check("zcard b", ":0\r\n");
    assert!(client.shard.waiters().is_empty());
}

#[test]
fn sets_are_united_intersected_and_subtracted() {
    check_both(&[
        ("zadd a 1 x 2 y 3 z", ":3\r\n"),
        ("zadd b 10 y 20 z 30 w", ":3\r\n"),
        ("sadd s y 7", ":2\r\n"),
        ("zunionstore d 2 a b", ":4\r\n"),
        ("zrange d 0 -1 withscores", &bulks(&["x", "1", "y", "12", "z", "23", "w", "30"])),
        (
            "zunion 2 a b weights 2 0.5 aggregate max withscores",
            &bulks(&["x", "2", "y", "5", "z", "10", "w", "15"]),
        ),
        ("zinter 2 a b aggregate min withscores", &bulks(&["y", "2", "z", "3"])),
        ("zinterstore d 3 a b s", ":1\r\n"),
        ("zrange d 0 -1 withscores", &bulks(&["y", "13"])),
        ("zdiff 2 a s withscores", &bulks(&["x", "1", "z", "3"])),
        ("zdiffstore d 3 a b s", ":1\r\n"),
        ("zrange d 0 -1", &bulks(&["x"])),
        ("zdiff 2 a a", "*0\r\n"),
        ("zdiffstore d 2 a a", ":0\r\n"),
        ("zcard d", ":0\r\n"),
        ("zunion 1 s withscores", &bulks(&["7", "1", "y", "1"])),
        ("zintercard 2 a b", ":2\r\n"),
        ("zintercard 2 a b limit 1", ":1\r\n"),
        ("zinter 2 a none", "*0\r\n"),
        ("zadd i inf x", ":1\r\n"),
        ("zadd j -inf x", ":1\r\n"),
        ("zunion 2 i j withscores", &bulks(&["x", "0"])),
        ("zunion 1 i weights 0 withscores", &bulks(&["x", "0"])),
        ("zinter 2 i j withscores", &bulks(&["x", "0"])),
    ]);
}

#[test]
fn what_the_algebra_refuses_has_the_texts_of_redis() {
    let integer = "-ERR value is not an integer or out of range\r\n";
    check_both(&[
        ("zadd a 1 x", ":1\r\n"),
        ("set str x", "+OK\r\n"),
        ("zunion x a", integer),
        ("zunion 0 a", "-ERR at least 1 input key is needed for 'zunion' command\r\n"),
        ("zdiffstore d 0 a", "-ERR at least 1 input key is needed for 'zdiffstore' command\r\n"),
        ("zunion 2 a", SYNTAX),
        ("zunion 1 str what", WRONG),
        ("zunion 1 a what", SYNTAX),
        ("zunion 1 a weights", SYNTAX),
        ("zunion 1 a weights x", "-ERR weight value is not a float\r\n"),
        ("zunion 1 a aggregate what", SYNTAX),
        ("zunionstore d 1 a withscores", SYNTAX),
        ("zdiff 1 a weights 1", SYNTAX),
        ("zintercard 1 a withscores", SYNTAX),
        ("zintercard 1 a limit -1", "-ERR LIMIT can't be negative\r\n"),
    ]);
}

#[test]
fn a_large_difference_is_the_same_both_ways() {
    let mut client = Client::new();
    for n in 0..600 {
        client.run(&format!("zadd big {n} m{n}"));
    }
    client.run("zadd few 1 m1 1 m3 1 m4");
    client.check("zdiffstore d 6 big few few few few few", ":597\r\n");
    client.check("zdiffstore d 2 few big", ":0\r\n");
    client.check("zdiffstore d 2 big few", ":597\r\n");
    client.check("zrank d m5", ":2\r\n");
}

#[test]
fn the_encoding_follows_the_settings() {
    let mut client = Client::new();
    for n in 0..128 {
        client.run(&format!("zadd z {n} m{n}"));
    }
    assert_eq!(encoding(&client, "z"), "listpack");
    client.run("zadd z 1 more");
    assert_eq!(encoding(&client, "z"), "skiplist");
    client.run("zrem z more");
    client.reload();
    assert_eq!(encoding(&client, "z"), "skiplist");
    client.run("zrangestore few z 0 9");
    assert_eq!(encoding(&client, "few"), "listpack");
    client.run(&format!("zadd few 1 {}", "x".repeat(64)));
    assert_eq!(encoding(&client, "few"), "listpack");
    client.run(&format!("zadd few 1 {}", "x".repeat(65)));
    assert_eq!(encoding(&client, "few"), "skiplist");
    client.run("zunionstore all 2 z few");
    assert_eq!(encoding(&client, "all"), "skiplist");
    client.run("zinterstore common 2 z z");
    assert_eq!(encoding(&client, "common"), "listpack");
}

#[test]
fn events_tell_what_happened() {
    let mut client = Client::new();
    client.shard.settings.notify = !0;
    for line in [
        "zadd a 1 x 2 y 3 z",
        "zadd a 1 x",
        "zincrby a 1 x",
        "zrem a x",
        "zpopmin a",
        "zrangestore b a 0 -1",
        "zremrangebyscore a 0 9",
        "zunionstore b 1 none",
    ] {
        client.run(line);
    }
    let events: Vec<String> = client
        .effects
        .publish
        .iter()
        .filter(|publish| publish.channel.starts_with(b"__keyevent"))
        .map(|p| {
            let channel = String::from_utf8_lossy(&p.channel).replace("__keyevent@0__:", "");
            format!("{channel} {}", String::from_utf8_lossy(&p.message))
        })
        .collect();
    let expect = [
        "new a",
        "zadd a",
        "zincr a",
        "zrem a",
        "zpopmin a",
        "new b",
        "zrangestore b",
        "zremrangebyscore a",
        "del a",
        "del b",
    ];
    assert_eq!(events, expect);
}

#[test]
fn random_members_are_fair() {
    for entries in [128, 0] {
        let mut client = Client::new();
        client.shard.settings.zset_max_listpack_entries = entries;
        client.run("zadd z 1 a 2 b 3 c 4 d 5 e");
        for draw in ["", " 2", " 4", " -3"] {
            let mut replies = String::new();
            for _ in 0..2_000 {
                replies += &client.run(&format!("zrandmember z{draw}"));
            }
            let hits = ["a", "b", "c", "d", "e"]
                .map(|m| replies.matches(&format!("\r\n{m}\r\n")).count() as f64);
            let expect = hits.iter().sum::<f64>() / 5.0;
            let chi: f64 = hits.iter().map(|h| (h - expect).powi(2) / expect).sum();
            assert!(chi < 30.0, "{draw}: {hits:?}");
        }
        client.check(
            "zrandmember z 9 withscores",
            &bulks(&["e", "5", "d", "4", "c", "3", "b", "2", "a", "1"]),
        );
        client.check("zrandmember z 0", "*0\r\n");
        client.check("zrandmember none", "$-1\r\n");
        client.check("zrandmember none 1", "*0\r\n");
        client.check("zrandmember z x", "-ERR value is not an integer or out of range\r\n");
        client.check("zrandmember z 1 what", SYNTAX);
        client.check(
            "zrandmember z -9223372036854775807 withscores",
            "-ERR value is out of range\r\n",
        );
        assert!(client.run("zrandmember z -3 withscores").starts_with("*6\r\n"));
    }
}

#[test]
fn a_scan_sees_every_element_once() {
    let mut client = Client::new();
    for n in 0..1_000 {
        client.run(&format!("zadd z {} m{n}", n % 3));
    }
    let (mut cursor, mut seen, mut turns) = ("0".to_string(), Vec::new(), 0);
    loop {
        let reply = client.run(&format!("zscan z {cursor} count 50"));
        let words: Vec<&str> = reply.split("\r\n").collect();
        cursor = words[2].to_string();
        seen.extend(words.iter().filter(|word| word.starts_with('m')).map(|w| w.to_string()));
        turns += 1;
        if cursor == "0" {
            break;
        }
        if turns == 5 {
            client.reload();
        }
    }
    assert_eq!(turns, 20);
    let total = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((total, seen.len()), (1_000, 1_000));
    client.check("zscan z 0 match nothing count 2000", "*2\r\n$1\r\n0\r\n*0\r\n");
}

#[test]
fn keys_are_found_behind_their_number() {
    let find = |line: &str| {
        let words = crate::testing::split(line);
        let args: wire::ArgsBuf = words.iter().map(Vec::as_slice).collect();
        crate::command::find(args.args()).unwrap().key_positions(args.args())
    };
    assert_eq!(find("zunionstore d 2 a b weights 1 2"), [1, 3, 4]);
    assert_eq!(find("zunion 2 a b"), [2, 3]);
    assert_eq!(find("bzmpop 0 2 a b min"), [3, 4]);
    assert_eq!(find("bzpopmin a b 0"), [1, 2]);
    assert_eq!(find("zmpop 9 a"), [0usize; 0]);
    assert_eq!(find("zunionstore d x a"), [0usize; 0]);
}

/// A replica that was restored from a snapshot has other shapes of tree and table than one that
/// applied the whole log, and must answer the same to everything.
#[test]
fn replicas_with_other_histories_answer_the_same() {
    for entries in [0, 128] {
        let (mut whole, mut restored) = (Client::new(), Client::new());
        for client in [&mut whole, &mut restored] {
            client.shard.settings.zset_max_listpack_entries = entries;
        }
        let mut rng = stdx::Rng::new(entries + 1);
        for step in 0..6_000 {
            let (member, score) = (rng.below(2_000), rng.below(50));
            let line = match rng.below(20) {
                0..5 => format!("zadd z {score} m{member} {score} n{member} 5 o{member}"),
                5..8 => format!("sadd s m{member} n{member} o{member}"),
                8 => format!("zincrby z -3 m{member}"),
                9 => format!("zrem z m{member} n{member}"),
                10 => format!("srem s m{member} n{member}"),
                11 => "spop s 2".to_string(),
                12 => "srandmember s -3".to_string(),
                13 => "zrandmember z -3 withscores".to_string(),
                14 => format!("zscan z {} count 20", member << 20),
                15 => format!("sscan s {} count 20", member << 20),
                16 => format!("zremrangebylex z [m{member} [m{}", member + 1),
                17 => format!("zpopmax z {}", rng.below(4)),
                18 => format!("zrangebyscore z {score} inf withscores limit 3 4"),
                _ => format!("memory usage {}", if score < 25 { "z" } else { "s" }),
            };
            assert_eq!(whole.run(&line), restored.run(&line), "step {step}: {line}");
            if rng.one_in(300) {
                restored.reload();
            }
        }
        assert!(whole.run("zcard z") != ":0\r\n", "something was left to compare");
    }
}

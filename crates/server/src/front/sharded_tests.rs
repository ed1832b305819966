//! What clients of a node see whose keys are in sixteen shards: what they would see with one.

use std::time::Duration;

use consensus::NodeId;
use node::Event;

use super::testing::Stage;

/// Lines of one client and what it hears.
#[track_caller]
pub(super) fn check(table: &[(&str, &str)]) {
    let mut stage = Stage::sharded(16);
    let client = stage.open();
    for (line, expect) in table {
        assert_eq!(stage.say(client, line), *expect, "{line}");
    }
    for group in stage.front.core().members() {
        assert_eq!(group.shard().parked(), 0, "somebody waits");
        group.shard().check_txns();
    }
}

#[test]
fn keys_of_several_shards_are_written_and_read_at_once() {
    check(&[
        ("mset a 1 b 2 c 3 d 4", "+OK\r\n"),
        ("mget a b nosuch c d", "*5\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n$1\r\n3\r\n$1\r\n4\r\n"),
        ("exists a b x a", ":3\r\n"),
        ("msetnx a 9 z 9", ":0\r\n"),
        ("msetnx y 8 z 9", ":1\r\n"),
        ("get z", "$1\r\n9\r\n"),
        ("del a b nosuch", ":2\r\n"),
        ("unlink y z", ":2\r\n"),
        ("dbsize", ":2\r\n"),
        ("touch c d e", ":2\r\n"),
    ]);
}

#[test]
fn a_command_moves_values_from_one_shard_to_another() {
    check(&[
        ("set a 1 px 100000", "+OK\r\n"),
        ("rename a b", "+OK\r\n"),
        ("exists a", ":0\r\n"),
        ("get b", "$1\r\n1\r\n"),
        ("pttl b", ":100000\r\n"),
        ("copy b c", ":1\r\n"),
        ("renamenx b c", ":0\r\n"),
        ("rename nosuch d", "-ERR no such key\r\n"),
        ("sadd s1 x y z", ":3\r\n"),
        ("sadd s2 y z w", ":3\r\n"),
        ("sinterstore s3 s1 s2", ":2\r\n"),
        ("scard s3", ":2\r\n"),
        ("sinter s1 s3", "*2\r\n$1\r\ny\r\n$1\r\nz\r\n"),
        ("smove s1 s2 x", ":1\r\n"),
        ("rpush l1 1 2 3", ":3\r\n"),
        ("lmove l1 l2 left right", "$1\r\n1\r\n"),
        ("rpoplpush l1 l2", "$1\r\n3\r\n"),
        ("lrange l2 0 -1", "*2\r\n$1\r\n3\r\n$1\r\n1\r\n"),
        ("set c text", "+OK\r\n"),
        (
            "lmove l1 c left left",
            "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        ),
        ("llen l1", ":1\r\n"),
        ("zadd z1 1 a 2 b", ":2\r\n"),
        ("zadd z2 10 b", ":1\r\n"),
        ("zunionstore z3 2 z1 z2", ":2\r\n"),
        ("zscore z3 b", "$2\r\n12\r\n"),
        ("set bits1 abc", "+OK\r\n"),
        ("bitop not bits2 bits1", ":3\r\n"),
        ("sort l2 store l9", ":2\r\n"),
        ("lrange l9 0 -1", "*2\r\n$1\r\n1\r\n$1\r\n3\r\n"),
    ]);
}

#[test]
fn multi_runs_over_any_keys_and_watch_sees_any_of_them() {
    check(&[
        ("multi", "+OK\r\n"),
        ("set a 1", "+QUEUED\r\n"),
        ("incr b", "+QUEUED\r\n"),
        ("lpush c x", "+QUEUED\r\n"),
        ("incr c", "+QUEUED\r\n"),
        ("mget a b", "+QUEUED\r\n"),
        (
            "exec",
            "*5\r\n+OK\r\n:1\r\n:1\r\n-WRONGTYPE Operation against a key holding the wrong kind of \
             value\r\n*2\r\n$1\r\n1\r\n$1\r\n1\r\n",
        ),
        ("watch a b c", "+OK\r\n"),
        ("multi", "+OK\r\n"),
        ("set a 2", "+QUEUED\r\n"),
        ("set b 2", "+QUEUED\r\n"),
        ("exec", "*2\r\n+OK\r\n+OK\r\n"),
        ("watch a b", "+OK\r\n"),
        ("set b 3", "+OK\r\n"),
        ("multi", "+OK\r\n"),
        ("set a 9", "+QUEUED\r\n"),
        ("exec", "*-1\r\n"),
        ("get a", "$1\r\n2\r\n"),
        ("watch b", "+OK\r\n"),
        ("set b 4", "+OK\r\n"),
        ("multi", "+OK\r\n"),
        ("rename a d", "+QUEUED\r\n"),
        ("exec", "*-1\r\n"),
        ("multi", "+OK\r\n"),
        ("flushall", "+QUEUED\r\n"),
        ("set a 5", "+QUEUED\r\n"),
        ("dbsize", "+QUEUED\r\n"),
        ("get b", "+QUEUED\r\n"),
        ("exec", "*4\r\n+OK\r\n+OK\r\n:1\r\n$-1\r\n"),
        ("dbsize", ":1\r\n"),
        ("multi", "+OK\r\n"),
        ("exec", "*0\r\n"),
    ]);
}

#[test]
fn scripts_touch_keys_that_they_do_not_name() {
    check(&[
        ("mset a 1 b 2", "+OK\r\n"),
        ("eval \"return redis.call('incr', KEYS[1])\" 1 a", ":2\r\n"),
        ("eval \"redis.call('incr', KEYS[1]) return redis.call('get', 'b')\" 1 a", "$1\r\n2\r\n"),
        ("get a", "$1\r\n3\r\n"),
        (
            "eval \"redis.call('set', KEYS[1], 'x') return redis.call('get', KEYS[2])\" 2 a b",
            "$1\r\n2\r\n",
        ),
        (
            "script load \"return redis.call('mset', 'p', 1, 'q', 2)\"",
            "$40\r\n0b2f882f2d25bec6fc8936df0a8efe61e6e049bf\r\n",
        ),
        ("evalsha 0b2f882f2d25bec6fc8936df0a8efe61e6e049bf 0", "+OK\r\n"),
        ("mget p q", "*2\r\n$1\r\n1\r\n$1\r\n2\r\n"),
        ("evalsha 0b2f882f2d25bec6fc8936df0a8efe61e6e049bf 1 a", "+OK\r\n"),
        ("mget a b", "*2\r\n$1\r\nx\r\n$1\r\n2\r\n"),
    ]);
}

#[test]
fn a_command_with_an_id_takes_effect_once_over_any_shards() {
    const OTHER: &str = "-IDEM this id belongs to another command\r\n";
    check(&[
        ("synod.idem 1 incr a", ":1\r\n"),
        ("synod.idem 1 incr a", ":1\r\n"),
        ("mset a 1 b 2 c 3", "+OK\r\n"),
        ("synod.idem 2 del a b nosuch", ":2\r\n"),
        ("mset a 1 b 2", "+OK\r\n"),
        ("synod.idem 2 del a b nosuch", ":2\r\n"),
        ("exists a b", ":2\r\n"),
        ("synod.idem 2 del a b", OTHER),
        ("synod.idem 3 mset a 7 b 8 c 9", "+OK\r\n"),
        ("set b 0", "+OK\r\n"),
        ("synod.idem 3 MSET a 7 b 8 c 9", "+OK\r\n"),
        ("get b", "$1\r\n0\r\n"),
        ("synod.idem 4 rename a d", "+OK\r\n"),
        ("synod.idem 4 rename a d", "+OK\r\n"),
        ("synod.idem 5 rename a d", "-ERR no such key\r\n"),
        ("set a 1", "+OK\r\n"),
        ("synod.idem 5 rename a d", "-ERR no such key\r\n"),
        ("rpush l1 1 2 3", ":3\r\n"),
        ("synod.idem 6 lmove l1 l2 left right", "$1\r\n1\r\n"),
        ("synod.idem 6 lmove l1 l2 left right", "$1\r\n1\r\n"),
        ("llen l1", ":2\r\n"),
        // What only reads just runs.
        ("synod.idem 6 mget a b c", "*3\r\n$1\r\n1\r\n$1\r\n0\r\n$1\r\n9\r\n"),
        (
            "synod.idem 6 ping",
            "-ERR SYNOD.IDEM can't run 'ping': it takes commands on keys, and scripts\r\n",
        ),
        (
            "synod.idem 7 eval \"redis.call('incr', KEYS[1]) return redis.call('incr', 'b')\" 1 a",
            ":1\r\n",
        ),
        (
            "synod.idem 7 eval \"redis.call('incr', KEYS[1]) return redis.call('incr', 'b')\" 1 a",
            ":1\r\n",
        ),
        ("mget a b", "*2\r\n$1\r\n2\r\n$1\r\n1\r\n"),
        (
            "synod.idem 8 eval \"return redis.call('incr', 'a') + redis.call('incr', 'b')\" 0",
            ":5\r\n",
        ),
        (
            "synod.idem 8 eval \"return redis.call('incr', 'a') + redis.call('incr', 'b')\" 0",
            ":5\r\n",
        ),
        ("synod.idem 9 eval \"return redis.call('incr', KEYS[1])\" 1 a", ":4\r\n"),
        ("synod.idem 9 eval \"return redis.call('incr', KEYS[1])\" 1 a", ":4\r\n"),
        ("multi", "+OK\r\n"),
        ("synod.idem 1 incr a", "-ERR Command not allowed inside a transaction\r\n"),
        ("discard", "+OK\r\n"),
    ]);
}

#[test]
fn a_script_with_an_id_may_be_one_that_another_shard_knows() {
    const INCR: &str = "2bab3b661081db58bd2341920e0ba7cf5dc77b25";
    let once = format!("synod.idem s evalsha {INCR} 1 c");
    check(&[
        (&once, "-NOSCRIPT No matching script. Please use EVAL.\r\n"),
        ("eval \"return redis.call('incr', KEYS[1])\" 1 b", ":1\r\n"),
        (&once, ":1\r\n"),
        (&once, ":1\r\n"),
        ("get c", "$1\r\n1\r\n"),
        ("script flush", "+OK\r\n"),
        (&once, ":1\r\n"),
    ]);
}

#[test]
fn what_a_script_returns_never_makes_it_run_again() {
    for error in ["NOSCRIPT No such thing", "ESCAPED a key of another shard is needed"] {
        let body = format!("redis.call('incr',KEYS[1]) return redis.error_reply('{error}')");
        let load = format!("script load \"{body}\"");
        let mut stage = Stage::sharded(16);
        let client = stage.open();
        let loaded = stage.say(client, &load);
        let digest = loaded.lines().nth(1).expect("a digest");
        let said = format!("-{error}\r\n");
        stage.check_all(&[
            (client, &format!("eval \"{body}\" 1 k"), &said),
            (client, &format!("evalsha {digest} 1 k"), &said),
            (client, &format!("synod.idem 1 evalsha {digest} 1 k"), &said),
            (client, &format!("synod.idem 1 evalsha {digest} 1 k"), &said),
            (client, "get k", "$1\r\n3\r\n"),
        ]);
    }
}

#[test]
fn a_command_with_an_id_that_waits_for_keys_of_several_shards_takes_once() {
    let mut stage = Stage::sharded(16);
    let (first, second, other) = (stage.open(), stage.open(), stage.open());
    assert_eq!(stage.say(first, "synod.idem x blpop a b 0"), "");
    assert_eq!(stage.say(second, "synod.idem x blpop a b 0"), "");
    stage.say(other, "rpush b 1");
    let got = "*2\r\n$1\r\nb\r\n$1\r\n1\r\n";
    let mut heard = [String::new(), String::new()];
    for _ in 0..20 {
        stage.pass(60);
        heard[0] += &stage.heard(first);
        heard[1] += &stage.heard(second);
    }
    assert_eq!(heard, [got, got]);
    stage.say(other, "rpush b 2");
    assert_eq!(stage.say(other, "synod.idem x blpop a b 0"), got);
    assert_eq!(stage.say(other, "llen b"), ":1\r\n");
}

#[test]
fn a_multi_that_rolls_back_changes_all_or_nothing() {
    const WRONG: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
    let failed = |number: usize, call: &str, why: &str| {
        format!(
            "-EXECABORT Transaction rolled back because of command {number} ({call}): {why}\r\n"
        )
    };
    let undone = "SYNOD.MULTI ROLLBACK takes commands on keys, and scripts\r\n";
    for shards in [1, 16] {
        let mut stage = Stage::sharded(shards);
        let client = stage.open();
        let mut check = |table: &[(&str, &str)]| {
            for (line, expect) in table {
                assert_eq!(stage.say(client, line), *expect, "{line} on {shards}");
            }
        };
        check(&[
            ("mset a 1 b 2 c 3", "+OK\r\n"),
            ("synod.multi rollback", "+OK\r\n"),
            ("incr a", "+QUEUED\r\n"),
            ("mset b x c y", "+QUEUED\r\n"),
            ("lpush b 1", "+QUEUED\r\n"),
            ("exec", &failed(3, "LPUSH b", WRONG)),
            ("mget a b c", "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n"),
            ("synod.multi ROLLBACK", "+OK\r\n"),
            ("incr a", "+QUEUED\r\n"),
            ("incr b", "+QUEUED\r\n"),
            ("publish news hello", "+QUEUED\r\n"),
            ("exec", "*3\r\n:2\r\n:3\r\n:0\r\n"),
            // What depends on data elsewhere, and a script.
            ("synod.multi rollback", "+OK\r\n"),
            ("rename a d", "+QUEUED\r\n"),
            ("eval \"return redis.call('incr', KEYS[1])\" 1 b", "+QUEUED\r\n"),
            ("rename a e", "+QUEUED\r\n"),
            ("exec", &failed(3, "RENAME a", "ERR no such key")),
            ("mget a b d", "*3\r\n$1\r\n2\r\n$1\r\n3\r\n$-1\r\n"),
            ("watch c", "+OK\r\n"),
            ("set c 4", "+OK\r\n"),
            ("synod.multi rollback", "+OK\r\n"),
            ("incr a", "+QUEUED\r\n"),
            ("exec", "*-1\r\n"),
            ("synod.multi rollback", "+OK\r\n"),
            ("synod.multi rollback", "-ERR MULTI calls can not be nested\r\n"),
            ("flushall", &format!("-ERR 'flushall' can't be undone: {undone}")),
            ("exec", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
            ("synod.multi rollback", "+OK\r\n"),
            ("client getname", &format!("-ERR 'getname' can't be undone: {undone}")),
            ("discard", "+OK\r\n"),
            ("multi", "+OK\r\n"),
            ("lpush b 1", "+QUEUED\r\n"),
            ("incr b", "+QUEUED\r\n"),
            ("exec", &format!("*2\r\n-{WRONG}\r\n:4\r\n")),
            ("synod.multi", "-ERR wrong number of arguments for 'synod.multi' command\r\n"),
            ("synod.multi commit", "-ERR syntax error\r\n"),
        ]);
    }
}

/// In each turn somebody changes what the run has read in the turn before.
#[test]
fn a_script_whose_keys_change_all_the_time_gets_its_turn() {
    let mut stage = Stage::sharded(16);
    let (client, other) = (stage.open(), stage.open());
    let script = b"eval \"redis.call('incr', 'b') return redis.call('incr', 'a')\" 0\r\n";
    stage.front.received(stage.moment, client, &mut script.to_vec());
    let mut turns = 0;
    while stage.front.out(client).is_none_or(|out| out.is_empty()) {
        assert!(turns < 200, "it never got its turn");
        turns += 1;
        stage.front.received(stage.moment, other, &mut b"incr a\r\n".to_vec());
        stage.turn();
        stage.moment.now = stage.moment.now + Duration::from_millis(1);
        stage.front.step(stage.moment, Event::Tick);
    }
    assert!(stage.heard(client).starts_with(':'));
    stage.settle();
    assert_eq!(stage.say(client, "get a"), format!("$2\r\n{}\r\n", turns + 1));
    assert_eq!(stage.say(client, "get b"), "$1\r\n1\r\n");
}

#[test]
fn settings_and_scans_are_of_all_shards() {
    let mut stage = Stage::sharded(16);
    let client = stage.open();
    stage.say(client, "config set list-max-listpack-size 4");
    for group in stage.front.core().members() {
        let setting = group.shard().settings().get("list-max-listpack-size");
        assert_eq!(setting.as_deref(), Some("4"));
    }
    for n in 0..100 {
        stage.say(client, &format!("set key:{n} {n}"));
    }
    let (mut cursor, mut found) = ("0".to_owned(), std::collections::BTreeSet::new());
    loop {
        let reply = stage.say(client, &format!("scan {cursor} count 7"));
        let mut words = reply.split("\r\n").filter(|word| !word.starts_with(['*', '$']));
        cursor = words.next().unwrap().to_owned();
        found.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 100);
    let keys = stage.say(client, "keys key:1*");
    assert!(keys.starts_with("*11\r\n"), "{keys}");
    let drawn: std::collections::BTreeSet<String> =
        (0..100).map(|_| stage.say(client, "randomkey")).collect();
    assert!(drawn.len() > 30, "keys of all shards: {drawn:?}");
    assert_eq!(stage.say(client, "swapdb 0 1"), "+OK\r\n");
    assert_eq!(stage.say(client, "dbsize"), ":0\r\n");
    assert_eq!(stage.say(client, "flushall"), "+OK\r\n");
}

#[test]
fn who_waits_for_keys_of_several_shards_is_served_by_any() {
    let mut stage = Stage::sharded(16);
    let (one, two, other) = (stage.open(), stage.open(), stage.open());
    stage.check_all(&[
        (one, "blpop a b c 0", ""),
        (other, "rpush b 1", ":1\r\n"),
        (one, "", "*2\r\n$1\r\nb\r\n$1\r\n1\r\n"),
        (one, "blpop a b 0", ""),
        (two, "blmove x y left right 0", ""),
        (other, "mset m 1 n 2", "+OK\r\n"),
        (other, "rpush x 5", ":1\r\n"),
        (two, "", "$1\r\n5\r\n"),
        (other, "lrange y 0 -1", "*1\r\n$1\r\n5\r\n"),
        (two, "bzpopmin z1 z2 1", ""),
    ]);
    stage.pass(1_100);
    stage.check_all(&[
        (two, "", "*-1\r\n"),
        (two, "client id", ":2\r\n"),
        (other, "client unblock 1", ":1\r\n"),
        (one, "", "*-1\r\n"),
        (other, "rpush a 7", ":1\r\n"),
        (other, "llen a", ":1\r\n"),
    ]);
}

/// Both find the element in their first try, and one of them comes too late.
#[test]
fn who_lost_a_race_waits_as_long_as_it_has_asked_for() {
    let mut stage = Stage::sharded(16);
    let (one, two, other) = (stage.open(), stage.open(), stage.open());
    for (seconds, passes) in [(0, 20), (15, 20), (1, 3)] {
        stage.say(other, "rpush b 1");
        for client in [one, two] {
            let mut line = format!("blpop a b {seconds}\r\n").into_bytes();
            stage.front.received(stage.moment, client, &mut line);
        }
        stage.settle();
        let mut heard = [String::new(), String::new()];
        for _ in 0..passes {
            stage.pass(600);
            heard[0] += &stage.heard(one);
            heard[1] += &stage.heard(two);
        }
        let got = "*2\r\n$1\r\nb\r\n$1\r\n1\r\n".to_owned();
        let loser = usize::from(heard[0] == got);
        assert_eq!(heard[1 - loser], got, "{heard:?}");
        assert_eq!(heard[loser], if seconds == 1 { "*-1\r\n" } else { "" }, "{seconds} s");
        if seconds != 1 {
            stage.say(other, "rpush a 2");
            let got = "*2\r\n$1\r\na\r\n$1\r\n2\r\n";
            assert_eq!(stage.heard([one, two][loser]), got, "it waited on");
        }
    }
}

/// Who has lost a race is about to look again: it waits all the same for whoever wants to end that.
#[test]
fn a_wait_for_keys_of_several_shards_can_be_ended_while_it_is_tried_anew() {
    let ends = [
        ("timeout", "*-1\r\n"),
        ("error", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
        ("gone", ""),
    ];
    for (how, told) in ends {
        let mut stage = Stage::sharded(16);
        let (one, two, other) = (stage.open(), stage.open(), stage.open());
        for client in [one, two] {
            assert_eq!(stage.say(client, "blpop a b 0"), "");
        }
        stage.say(other, "rpush b 1");
        let loser = if stage.heard(one).is_empty() { one } else { two };
        assert_eq!(stage.heard(loser), "", "it is tried anew");
        match how {
            "gone" => stage.front.close(stage.moment, loser),
            how => {
                let line = format!("client unblock {} {how}", loser + 1);
                assert_eq!(stage.say(other, &line), ":1\r\n");
                assert_eq!(stage.heard(loser), told);
            }
        }
        stage.pass(1_000);
        assert_eq!(stage.say(other, "rpush a 2"), ":1\r\n");
        assert_eq!(stage.say(other, "llen a"), ":1\r\n", "nobody is there to take it");
        assert!(stage.front.core().is_at_rest(), "nothing is left of any wait");
    }
}

#[test]
fn a_script_is_known_by_its_digest_wherever_it_ran() {
    const GET: &str = "fd758d1589d044dd850a6f05d52f2eefd27f033f";
    const TWO: &str = "a27e7e8a43702b7046d4f6a7ccf5b60cef6b9bd9";
    let mut stage = Stage::sharded(16);
    let client = stage.open();
    let mut check = |line: &str, expect: &str| {
        assert_eq!(stage.say(client, line), expect, "{line}");
    };
    check("mset mykey 1 b 2 c 3", "+OK\r\n");
    check(&format!("evalsha {GET} 1 b"), "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    check("eval \"return redis.call('get',KEYS[1])\" 1 mykey", "$1\r\n1\r\n");
    check(&format!("script exists {TWO} {GET}"), "*2\r\n:0\r\n:1\r\n");
    check(&format!("evalsha {GET} 1 b"), "$1\r\n2\r\n");
    check(&format!("evalsha {} 1 c", GET.to_uppercase()), "$1\r\n3\r\n");
    check(&format!("evalsha_ro {GET} 2 a c"), "$-1\r\n");
    check("eval \"return 1+1\" 0", ":2\r\n");
    check(&format!("script exists {TWO} {GET}"), "*2\r\n:1\r\n:1\r\n");
    check(&format!("evalsha {TWO} 0"), ":2\r\n");
    check(
        "eval \"return {\" 0",
        "-ERR Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'\r\n",
    );
    check("script flush", "+OK\r\n");
    check(&format!("evalsha {TWO} 0"), "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    check(&format!("evalsha {GET} 1 b"), "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    check(&format!("script exists {TWO} {GET}"), "*2\r\n:0\r\n:0\r\n");
}

#[test]
fn a_random_key_may_be_any() {
    let mut stage = Stage::sharded(16);
    let client = stage.open();
    assert_eq!(stage.say(client, "randomkey"), "$-1\r\n");
    stage.say(client, "mset foo 1 bar 2");
    let drawn: std::collections::BTreeSet<String> =
        (0..100).map(|_| stage.say(client, "randomkey")).collect();
    assert_eq!(drawn.into_iter().collect::<String>(), "$3\r\nbar\r\n$3\r\nfoo\r\n");
}

#[test]
fn a_script_over_several_shards_has_so_many_keys_at_most() {
    let write = |count: u32| {
        format!("eval \"for i=1,{count} do redis.call('set','k'..i,1) end return 1\" 0")
    };
    let refused = "-ERR a transaction over several shards may have 65536 keys at most\r\n";
    check(&[(&write(65_537), refused), ("dbsize", ":0\r\n"), (&write(100), ":1\r\n")]);
}

#[test]
fn a_script_may_draw_a_key_of_any_shard() {
    let draw = "eval \"return redis.call('randomkey')\" 0";
    let and_write = "eval \"redis.call('randomkey') return redis.call('set',KEYS[1],'x')\" 1 k";
    check(&[
        (draw, "$-1\r\n"),
        (and_write, "+OK\r\n"),
        (and_write, "+OK\r\n"),
        (draw, "$1\r\nk\r\n"),
        ("eval \"return redis.call('del', redis.call('randomkey'))\" 1 other", ":1\r\n"),
        ("dbsize", ":0\r\n"),
        ("set a 1", "+OK\r\n"),
        ("multi", "+OK\r\n"),
        ("rename a b", "+QUEUED\r\n"),
        ("randomkey", "+QUEUED\r\n"),
        ("exec", "*2\r\n+OK\r\n$1\r\nb\r\n"),
    ]);
}

#[test]
fn who_reads_streams_of_several_shards_waits_for_what_is_new_in_any() {
    let mut stage = Stage::sharded(16);
    let (one, two, other) = (stage.open(), stage.open(), stage.open());
    let of_b = "*1\r\n*2\r\n$1\r\nb\r\n*1\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n";
    stage.check_all(&[
        (other, "xadd a 3-0 f v", "$3\r\n3-0\r\n"),
        (other, "xadd b 4-0 f v", "$3\r\n4-0\r\n"),
        (one, "xread streams a b 3 4", "*-1\r\n"),
        (one, "xread streams a block $ 4", "*-1\r\n"),
        (one, "xread count 1 block 0 streams a b c $ $ 0", ""),
        (two, "xread block 700 streams a b 3-0 4-0", ""),
        (other, "xadd b 5-0 f v", "$3\r\n5-0\r\n"),
        (one, "", of_b),
        (two, "", of_b),
        // What came meanwhile to another is told as well, and `$` stays where it was.
        (one, "xread block 0 streams a b $ $", ""),
        (other, "multi", "+OK\r\n"),
        (other, "xadd b 6-0 f v", "+QUEUED\r\n"),
        (other, "xadd b 7-0 f v", "+QUEUED\r\n"),
        (other, "xdel b 6-0", "+QUEUED\r\n"),
        (other, "exec", "*3\r\n$3\r\n6-0\r\n$3\r\n7-0\r\n:1\r\n"),
        (one, "", &of_b.replace("5-0", "7-0")),
        (two, "xread block 700 streams a b $ $", ""),
        (one, "xread block 0 streams a b $ $", ""),
        (one, "", ""),
    ]);
    stage.pass(800);
    stage.check_all(&[
        (two, "", "*-1\r\n"),
        (other, "client unblock 1", ":1\r\n"),
        (one, "", "*-1\r\n"),
        (other, "set a 1", "+OK\r\n"),
        (
            one,
            "xread block 0 streams a b $ $",
            "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        ),
        (other, "synod.txn list", "*0\r\n"),
        (
            one,
            "synod.idem once xread block 0 streams c b $ $",
            "-ERR SYNOD.IDEM can't wait behind $ in streams of several shards: name the ids\r\n",
        ),
        // A retry gets what the first try got, and does not wait for more.
        (one, "synod.idem once xread block 0 streams c b 0 7-0", ""),
        (other, "xadd b 8-0 f v", "$3\r\n8-0\r\n"),
        (one, "", &of_b.replace("5-0", "8-0")),
        (two, "synod.idem once xread block 0 streams c b 0 7-0", &of_b.replace("5-0", "8-0")),
    ]);
}

#[test]
fn a_pipeline_gets_its_replies_in_order_and_a_wide_command_waits_for_what_came_before() {
    let mut stage = Stage::sharded(16);
    let client = stage.open();
    let heard = stage.send(
        client,
        b"set a 1\r\nset b 2\r\nmget a b\r\nincr a\r\ndel a b\r\nget a\r\nset c 3\r\n",
    );
    assert_eq!(heard, "+OK\r\n+OK\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n:2\r\n:2\r\n$-1\r\n+OK\r\n");
}

#[test]
fn clients_that_know_a_cluster_get_its_map() {
    let mut stage = Stage::sharded(16);
    let client = stage.open();
    let slots = stage.say(client, "cluster slots");
    assert!(slots.starts_with("*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n"), "one node has all: {slots}");
    assert!(stage.say(client, "cluster info").contains("cluster_state:ok"));
    stage.check_all(&[
        (client, "cluster keyslot foo", ":12182\r\n"),
        (client, "mset {a}1 x {a}2 y b z", "+OK\r\n"),
        (client, "cluster countkeysinslot 15495", ":2\r\n"),
        (client, "cluster countkeysinslot 99999", "-ERR Invalid slot\r\n"),
        (client, "cluster countkeysinslot x", "-ERR value is not an integer or out of range\r\n"),
        (client, "cluster getkeysinslot 15495 0", "*0\r\n"),
        (client, "cluster getkeysinslot 1 -1", "-ERR Invalid slot or number of keys\r\n"),
        (client, "asking", "+OK\r\n"),
        (client, "readonly", "+OK\r\n"),
        (client, "readwrite", "+OK\r\n"),
    ]);
    let nodes = stage.say(client, "cluster nodes");
    // A node that listens everywhere is where the client has found it.
    assert!(nodes.contains(" 127.0.0.1:1@1 myself,master - 0 0 1 connected 0-16383\n"), "{nodes}");
    let shards = stage.say(client, "cluster shards");
    assert!(shards.starts_with("*1\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n"), "{shards}");
    assert!(shards.contains("$4\r\nrole\r\n$6\r\nmaster\r\n$18\r\nreplication-offset\r\n"));
}

#[test]
fn who_follows_the_map_is_told_of_the_leader_and_nobody_else() {
    let mut stage = Stage::follower(16);
    let plain = stage.open();
    assert_eq!(stage.say(plain, "get a"), "", "it is handed on, and waits");
    let library = stage.open();
    let person = stage.open();
    stage.say(library, "client setinfo lib-name some-library");
    let slots = stage.say(library, "cluster slots");
    let expect = "*1\r\n*4\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:2\r\n";
    assert!(slots.starts_with(expect), "the leader, and this node as its replica: {slots}");
    stage.say(person, "cluster slots");
    stage.check_all(&[
        (library, "set a 1", "-MOVED 15495 127.0.0.1:2\r\n"),
        (library, "get foo", "-MOVED 12182 127.0.0.1:2\r\n"),
        (library, "ping", "+PONG\r\n"),
        (library, "readonly", "+OK\r\n"),
        (library, "set a 1", "-MOVED 15495 127.0.0.1:2\r\n"),
        (library, "mset a 1 b 2", ""),
        (person, "set a 1", ""),
        (plain, "set b 1", ""),
    ]);
}

#[test]
fn redirects_can_be_for_all_and_for_none() {
    let mut stage = Stage::follower(16);
    let client = stage.open();
    stage.check_all(&[
        (client, "config set cluster-redirects yes", "+OK\r\n"),
        (client, "set a 1", "-MOVED 15495 127.0.0.1:2\r\n"),
        (client, "multi", "+OK\r\n"),
        (client, "set a 1", "+QUEUED\r\n"),
        (client, "discard", "+OK\r\n"),
        (client, "readonly", "+OK\r\n"),
        (client, "get a", ""),
    ]);
    let client = stage.open();
    stage.say(client, "client setinfo lib-name some-library");
    stage.say(client, "cluster shards");
    stage.check_all(&[
        (client, "config set cluster-redirects no", "+OK\r\n"),
        (client, "set a 1", ""),
    ]);
}

#[test]
fn a_shard_whose_leader_is_gone_is_shown_where_it_was_asked_for() {
    let mut stage = Stage::follower(2);
    let client = stage.open();
    assert!(stage.say(client, "cluster info").contains("cluster_state:ok"));
    stage.front.step(stage.moment, Event::PeerDown(NodeId(2)));
    let slots = stage.say(client, "cluster slots");
    assert!(
        slots.starts_with("*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:1\r\n"),
        "{slots}"
    );
    let info = stage.say(client, "cluster info");
    assert!(info.contains("cluster_state:fail\r\n"), "{info}");
    assert!(info.contains("cluster_slots_fail:16384\r\n"), "{info}");
    let nodes = stage.say(client, "cluster nodes");
    assert!(nodes.contains(" 127.0.0.1:2@2 master,fail - 0 0 0 disconnected\n"), "{nodes}");
}

#[test]
fn nothing_is_in_doubt_once_all_is_decided() {
    let mut stage = Stage::sharded(4);
    let client = stage.open();
    stage.say(client, "mset a 1 b 2 c 3");
    stage.pass(3_000);
    stage.check_all(&[
        (client, "synod.txn list", "*0\r\n"),
        (client, "synod.txn resolve 1-1-1-1", "-ERR no such transaction is in doubt here\r\n"),
        (
            client,
            "synod.txn resolve x",
            "-ERR a transaction is named by four numbers: see SYNOD.TXN LIST\r\n",
        ),
    ]);
}

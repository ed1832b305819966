//! Scripts and MULTI blocks that ask for all keys of sixteen shards, or delete them.

use std::time::Duration;

use keyspace::txn::{Doubt, Standing};
use node::Event;

use super::sharded_tests::check;
use super::testing::Stage;

#[test]
fn scripts_and_multi_walk_over_all_keys() {
    let types = "eval \"local all = redis.call('scan', 0, 'type', 'list', 'count', 99) \
        return {all[1], all[2][1], #redis.call('keys', '*')}\" 0";
    let sum = "eval \"local sum = 0 for _, key in ipairs(redis.call('keys', 'n*')) do \
        sum = sum + redis.call('get', key) end return sum\" 0";
    let delete = "eval \"for _, key in ipairs(redis.call('keys', ARGV[1])) do \
        redis.call('del', key) end return redis.call('dbsize')\" 0 n1*";
    let flush = "eval \"redis.call('flushall') redis.call('set', 'a', 1) \
        return redis.call('dbsize')\" 1 z";
    let fill = "eval \"for i = 1, 500 do redis.call('set', 'n'..i, i) end return 1\" 0";
    check(&[
        ("eval \"return redis.call('dbsize')\" 0", ":0\r\n"),
        ("eval \"return redis.call('keys', '*')\" 0", "*0\r\n"),
        ("mset a 1 b 2 c 3", "+OK\r\n"),
        ("rpush l 1 2", ":2\r\n"),
        (types, "*3\r\n$1\r\n0\r\n$1\r\nl\r\n:4\r\n"),
        (fill, ":1\r\n"),
        ("eval \"return redis.call('dbsize')\" 0", ":504\r\n"),
        (sum, ":125250\r\n"),
        (delete, ":393\r\n"),
        ("exists n1 n10 n199 n200", ":1\r\n"),
        ("synod.idem once eval \"return redis.call('dbsize')\" 1 a", ":393\r\n"),
        (flush, ":1\r\n"),
        ("keys *", "*1\r\n$1\r\na\r\n"),
        ("multi", "+OK\r\n"),
        ("rename a b", "+QUEUED\r\n"),
        ("keys *", "+QUEUED\r\n"),
        ("dbsize", "+QUEUED\r\n"),
        ("flushdb", "+QUEUED\r\n"),
        ("exists b", "+QUEUED\r\n"),
        ("randomkey", "+QUEUED\r\n"),
        ("set c 3", "+QUEUED\r\n"),
        ("exec", "*7\r\n+OK\r\n*1\r\n$1\r\nb\r\n:1\r\n+OK\r\n:0\r\n$-1\r\n+OK\r\n"),
        ("keys *", "*1\r\n$1\r\nc\r\n"),
        ("synod.idem all eval \"redis.call('flushall') return 7\" 1 a", ":7\r\n"),
        ("set d 4", "+OK\r\n"),
        ("synod.idem all eval \"redis.call('flushall') return 7\" 1 a", ":7\r\n"),
        ("dbsize", ":1\r\n"),
        ("select 1", "+OK\r\n"),
        (
            "eval \"redis.call('set', 'x', 1) redis.call('flushdb') return redis.call('dbsize')\" 0",
            ":0\r\n",
        ),
        ("select 0", "+OK\r\n"),
        ("dbsize", ":1\r\n"),
        ("synod.multi rollback", "+OK\r\n"),
        ("eval \"redis.call('flushall') return redis.call('dbsize')\" 0", "+QUEUED\r\n"),
        ("incr l l", "-ERR wrong number of arguments for 'incr' command\r\n"),
        ("discard", "+OK\r\n"),
        ("dbsize", ":1\r\n"),
    ]);
}

#[test]
fn a_script_that_walks_among_large_keys_fetches_few_of_them() {
    let mut stage = Stage::sharded(16);
    let client = stage.open();
    stage.say(client, "mset c0 c1 c1 c2 c2 c3 c3 c4 c4 c5");
    for n in 0..90 {
        let line = format!("setrange {{t}}large:{n} 999999 x");
        assert_eq!(stage.say(client, &line), ":1000000\r\n");
    }
    let chain = "eval \"local n, k, d = #redis.call('keys', '*'), 'c0', 0 \
        while true do local v = redis.call('get', k) if not v then break end \
        k = v d = d + 1 end return {n, d}\" 0";
    assert_eq!(stage.say(client, chain), "*2\r\n:95\r\n:5\r\n");
    let all = "eval \"local n = 0 for _, k in ipairs(redis.call('keys', '*')) do \
        n = n + #redis.call('get', k) end return n\" 0";
    let refused =
        "-ERR a transaction over several shards read too much: at most 64 MiB, in 256 rounds\r\n";
    assert_eq!(stage.say(client, all), refused);
    assert_eq!(stage.say(client, "dbsize"), ":95\r\n");
}

#[test]
fn what_a_gateway_has_made_is_told_once() {
    let mut stage = Stage::sharded(16);
    let (client, ears) = (stage.open(), stage.open());
    stage.say(client, "config set notify-keyspace-events KEAn");
    stage.say(ears, "subscribe __keyevent@0__:new");
    stage.say(client, "eval \"redis.call('flushall') redis.call('set', 'a', 1) return 1\" 0");
    stage.say(client, "eval \"redis.call('set', 'b', redis.call('get', 'a')) return 1\" 0");
    stage.settle();
    let heard = stage.heard(ears);
    assert_eq!(heard.matches("__keyevent@0__:new").count(), 2, "{heard}");
}

#[test]
fn what_no_gateway_can_run_is_refused_whole() {
    let mut lines = vec![("set a 1".to_owned(), "+OK\r\n".to_owned())];
    for (line, name) in [
        ("script load \"return 7\"", "SCRIPT LOAD"),
        ("function flush", "FUNCTION FLUSH"),
        ("swapdb 0 1", "SWAPDB 0"),
        ("config set list-max-listpack-size 4", "CONFIG SET"),
    ] {
        let refusal = format!(
            "-ERR {name} can't run in one transaction with scripts, or with commands that need \
            keys of several shards\r\n"
        );
        lines.extend([
            ("multi".to_owned(), "+OK\r\n".to_owned()),
            (line.to_owned(), "+QUEUED\r\n".to_owned()),
            ("rename a b".to_owned(), "+QUEUED\r\n".to_owned()),
            ("exec".to_owned(), refusal),
            ("exists a b".to_owned(), ":1\r\n".to_owned()),
        ]);
    }
    lines.push(("get a".to_owned(), "$1\r\n1\r\n".to_owned()));
    let lines: Vec<_> = lines.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    check(&lines);
}

#[test]
fn a_walk_gets_its_turn_while_keys_come_and_change() {
    let mut stage = Stage::sharded(16);
    let (client, other) = (stage.open(), stage.open());
    stage.say(client, "mset a 1 b 1 c 1");
    let script = b"eval \"local sum = 0 for _, key in ipairs(redis.call('keys', '*')) do \
        sum = sum + redis.call('get', key) end return {sum, redis.call('incr', 'a')}\" 0\r\n";
    stage.front.received(stage.moment, client, &mut script.to_vec());
    let mut turns = 0;
    while stage.front.out(client).is_none_or(|out| out.is_empty()) {
        assert!(turns < 400, "it never got its turn");
        turns += 1;
        let line = format!("mset a {turns} new:{turns} 1\r\n");
        stage.front.received(stage.moment, other, &mut line.into_bytes());
        stage.turn();
        stage.moment.now = stage.moment.now + Duration::from_millis(1);
        stage.front.step(stage.moment, Event::Tick);
    }
    let heard = stage.heard(client);
    assert!(heard.starts_with("*2\r\n:"), "{heard}");
    stage.settle();
    for group in stage.front.core().members() {
        group.shard().check_txns();
        let prepared = |doubt: &Doubt| doubt.standing == Standing::Prepared;
        assert!(!group.shard().doubts().iter().any(prepared), "a lock is left");
    }
}

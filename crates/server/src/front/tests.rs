//! Sessions, as tables of what clients say and hear.

use super::testing::Stage;
use crate::config::Config;
use crate::limits::TRAIN_MAX;

/// A stage with two clients, 0 and 1.
fn two() -> Stage {
    let mut stage = Stage::new();
    assert_eq!((stage.open(), stage.open()), (0, 1));
    stage
}

#[test]
fn exec_runs_the_queue_and_gives_every_call_its_reply_in_its_place() {
    two().check_all(&[
        (0, "exec", "-ERR EXEC without MULTI\r\n"),
        (0, "multi", "+OK\r\n"),
        (0, "multi", "-ERR MULTI calls can not be nested\r\n"),
        (0, "set a 1", "+QUEUED\r\n"),
        (0, "client setname me", "+QUEUED\r\n"),
        (0, "select 3", "+QUEUED\r\n"),
        (0, "client getname", "+QUEUED\r\n"),
        (0, "set b 2", "+QUEUED\r\n"),
        (0, "lpush b x", "+QUEUED\r\n"),
        (
            0,
            "exec",
            "*6\r\n+OK\r\n+OK\r\n+OK\r\n$2\r\nme\r\n+OK\r\n\
             -WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        ),
        (0, "get b", "$1\r\n2\r\n"),
        (0, "select 0", "+OK\r\n"),
        (0, "get a", "$1\r\n1\r\n"),
    ]);
}

#[test]
fn replies_to_what_came_together_leave_together_or_after_a_while() {
    let mut stage = two();
    stage.front.take_dirty();
    stage.front.received(stage.moment, 0, &mut b"get a\r\nset a 1\r\nset b 1\r\n".to_vec());
    assert_eq!(stage.front.take_dirty(), [0; 0]);
    let until = stage.moment.now + TRAIN_MAX;
    assert!(stage.front.deadline() <= until);
    stage.moment.now = until;
    stage.turn();
    assert_eq!(stage.front.take_dirty(), [0]);
    assert_eq!(stage.front.out(0).map(std::mem::take).unwrap(), b"$-1\r\n");
    stage.settle();
    assert_eq!(stage.front.take_dirty(), [0]);
    assert_eq!(stage.heard(0), "+OK\r\n+OK\r\n");
    stage.front.received(stage.moment, 0, &mut b"get a\r\nset a 1\r\nset b 1\r\n".to_vec());
    stage.settle();
    assert_eq!(stage.front.take_dirty(), [0], "all within one while");
    stage.pass(2);
    assert_eq!(stage.front.take_dirty(), [0; 0], "and nothing is left to send");
}

#[test]
fn who_waits_for_a_key_gets_what_came_before_it_at_once() {
    let mut stage = two();
    stage.front.take_dirty();
    stage.front.received(stage.moment, 0, &mut b"set a 1\r\nblpop k 0\r\n".to_vec());
    stage.settle();
    assert_eq!(stage.front.take_dirty(), [0]);
    assert_eq!(stage.heard(0), "+OK\r\n");
}

#[test]
fn a_refused_call_spoils_the_exec_and_discard_forgets_it() {
    two().check_all(&[
        (0, "multi", "+OK\r\n"),
        (0, "set a", "-ERR wrong number of arguments for 'set' command\r\n"),
        (0, "exec", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
        (0, "multi", "+OK\r\n"),
        (0, "set a 1", "+QUEUED\r\n"),
        (
            0,
            "exec now",
            "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' \
             command\r\n",
        ),
        (0, "multi", "+OK\r\n"),
        (0, "set a 1", "+QUEUED\r\n"),
        (0, "discard", "+OK\r\n"),
        (0, "discard", "-ERR DISCARD without MULTI\r\n"),
        (0, "get a", "$-1\r\n"),
    ]);
}

#[test]
fn settings_in_exec_are_the_nodes_and_the_keyspaces_together() {
    two().check_all(&[
        (0, "multi", "+OK\r\n"),
        (0, "config set hz 11 hash-max-listpack-entries 9", "+QUEUED\r\n"),
        (0, "config get hash-max-listpack-entries", "+QUEUED\r\n"),
        (0, "config set hz often", "+QUEUED\r\n"),
        (0, "config get hz", "+QUEUED\r\n"),
        (
            0,
            "exec",
            "*4\r\n+OK\r\n*2\r\n$25\r\nhash-max-listpack-entries\r\n$1\r\n9\r\n-ERR CONFIG SET \
             failed (possibly related to argument 'hz') - argument couldn't be parsed into an \
             integer\r\n*2\r\n$2\r\nhz\r\n$2\r\n11\r\n",
        ),
    ]);
}

#[test]
fn a_watched_key_that_changes_by_another_or_by_time_aborts_the_exec() {
    let mut stage = two();
    stage.check_all(&[
        (0, "watch a", "+OK\r\n"),
        (1, "set a 1", "+OK\r\n"),
        (0, "multi", "+OK\r\n"),
        (0, "watch b", "-ERR WATCH inside MULTI is not allowed\r\n"),
        (0, "set a 2", "+QUEUED\r\n"),
        (0, "exec", "*-1\r\n"),
        (0, "watch a", "+OK\r\n"),
        (1, "set a 1", "+OK\r\n"),
        (0, "unwatch", "+OK\r\n"),
        (0, "multi", "+OK\r\n"),
        (0, "get a", "+QUEUED\r\n"),
        (0, "exec", "*1\r\n$1\r\n1\r\n"),
        (0, "set a 1 px 50", "+OK\r\n"),
        (0, "watch a", "+OK\r\n"),
    ]);
    stage.pass(60);
    stage.check_all(&[(0, "multi", "+OK\r\n"), (0, "ping", "+QUEUED\r\n"), (0, "exec", "*-1\r\n")]);
}

#[test]
fn a_key_of_a_lone_node_expires_though_nobody_asks_for_it() {
    let mut stage = two();
    stage.check_all(&[(0, "set a 1 px 50", "+OK\r\n"), (0, "dbsize", ":1\r\n")]);
    stage.pass(50);
    stage.check_all(&[(0, "dbsize", ":0\r\n")]);
}

#[test]
fn messages_reach_who_listens_and_count_who_does_even_from_exec() {
    two().check_all(&[
        (1, "subscribe news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"),
        (1, "psubscribe n*", "*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2\r\n"),
        (0, "publish news hi", ":2\r\n"),
        (
            1,
            "",
            "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n\
             *4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n",
        ),
        (1, "ping", "*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        (
            1,
            "get a",
            "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
             are allowed in this context\r\n",
        ),
        (1, "punsubscribe", "*3\r\n$12\r\npunsubscribe\r\n$2\r\nn*\r\n:1\r\n"),
        (0, "multi", "+OK\r\n"),
        (0, "publish news yo", "+QUEUED\r\n"),
        (0, "publish other yo", "+QUEUED\r\n"),
        (0, "exec", "*2\r\n:1\r\n:0\r\n"),
        (1, "", "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nyo\r\n"),
        (1, "reset", "+RESET\r\n"),
        (0, "publish news hi", ":0\r\n"),
    ]);
}

#[test]
fn a_client_that_wants_no_replies_still_hears_messages() {
    two().check_all(&[
        (1, "hello 3 setname ear", HELLO_3),
        (1, "client reply off", ""),
        (1, "subscribe c", ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"),
        (0, "publish c m", ":1\r\n"),
        (1, "", ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"),
        (1, "set a 1", ""),
        (1, "multi", ""),
        (1, "select 2", ""),
        (1, "set a 2", ""),
        (1, "exec", ""),
        (1, "client reply on", "+OK\r\n"),
        (1, "get a", "$1\r\n2\r\n"),
        (1, "client reply skip", ""),
        (1, "get a", ""),
        (1, "get a", "$1\r\n2\r\n"),
    ]);
}

const HELLO_3: &str = "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n\
                       $5\r\nproto\r\n:3\r\n$2\r\nid\r\n:2\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n\
                       $4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";

#[test]
fn a_blocked_client_is_served_unblocked_or_forgotten() {
    let mut stage = two();
    stage.check_all(&[
        (0, "blpop k 0", ""),
        (0, "ping", ""),
        (1, "rpush k v", ":1\r\n"),
        (0, "", "*2\r\n$1\r\nk\r\n$1\r\nv\r\n+PONG\r\n"),
        (0, "blpop k 0", ""),
        (1, "client unblock 1 error", ":1\r\n"),
        (0, "", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
        (1, "client unblock 1", ":0\r\n"),
        (0, "blpop k 0", ""),
        (1, "multi", "+OK\r\n"),
        (1, "client unblock 1", "+QUEUED\r\n"),
        (1, "exec", "*1\r\n:1\r\n"),
        (0, "", "*-1\r\n"),
        (0, "blpop k 0", ""),
    ]);
    stage.front.close(stage.moment, 0);
    stage.check_all(&[(1, "rpush k v", ":1\r\n"), (1, "llen k", ":1\r\n")]);
}

#[test]
fn a_pause_holds_writes_back_and_lets_reads_through() {
    let mut stage = two();
    stage.check_all(&[
        (1, "client pause 1000 write", "+OK\r\n"),
        (0, "set a 1", ""),
        (1, "get a", "$-1\r\n"),
        (1, "client unpause", "+OK\r\n"),
        (0, "", "+OK\r\n"),
        (1, "client pause 100 all", "+OK\r\n"),
        (0, "get a", ""),
    ]);
    stage.pass(100);
    stage.check_all(&[(0, "", "$1\r\n1\r\n")]);
}

#[test]
fn a_client_is_listed_with_what_it_does() {
    let mut stage = two();
    stage.check_all(&[(0, "client setname me", "+OK\r\n"), (1, "blpop k 0", "")]);
    let list = stage.say(0, "client list");
    let lines: Vec<&str> = list.lines().filter(|line| line.starts_with("id=")).collect();
    assert_eq!(lines.len(), 2);
    for (line, words) in lines.iter().zip([
        ["id=1 ", " name=me ", " flags=N ", " qbuf=13 ", " cmd=client|list "],
        ["id=2 ", " name= ", " flags=b ", " qbuf=0 ", " cmd=blpop "],
    ]) {
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    assert!(stage.say(0, "info clients").contains("\r\nblocked_clients:1\r\n"));
    stage.check_all(&[
        (0, "client kill id 2", ":1\r\n"),
        (0, "client kill id 2", ":0\r\n"),
        (0, "client kill 1.1.1.1:1", "-ERR No such client\r\n"),
    ]);
    assert!(stage.front.is_cut_off(1));
}

#[test]
fn nothing_but_auth_is_answered_before_the_password() {
    let mut config = Config::default();
    config.set_password(b"secret");
    let mut stage = Stage::with(config);
    stage.open();
    stage.check_all(&[
        (0, "get a", "-NOAUTH Authentication required.\r\n"),
        (0, "auth wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
        (0, "auth default secret", "+OK\r\n"),
        (0, "get a", "$-1\r\n"),
        (0, "reset", "+RESET\r\n"),
        (0, "get a", "-NOAUTH Authentication required.\r\n"),
    ]);
    let heard = stage.send(0, b"*11\r\n");
    assert_eq!(heard, "-ERR Protocol error: unauthenticated multibulk length\r\n");
    assert!(stage.front.is_closing(0));
}

#[test]
fn a_client_that_sends_no_more_gets_its_replies_before_it_is_closed() {
    let mut stage = two();
    stage.front.received(stage.moment, 0, &mut b"set a 1\r\nget a\r\nget".to_vec());
    assert!(!stage.front.ended(0), "a reply is owed");
    stage.settle();
    assert_eq!(stage.heard(0), "+OK\r\n$1\r\n1\r\n");
    assert!(stage.front.is_closing(0));
    stage.check_all(&[(1, "blpop k 0", "")]);
    assert!(stage.front.ended(1), "who waits for a key is not waited for");
}

#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let mut stage = two();
    stage.check_all(&[(0, "setrange k 999999 x", ":1000000\r\n")]);
    let mut line = b"get k\r\n".repeat(200_000);
    stage.front.received(stage.moment, 0, &mut line);
    stage.settle();
    assert!(stage.front.out(0).unwrap().len() < 3_000_000, "replies wait until it reads");
    assert!(!stage.front.wants_input(0), "its commands fill its buffer");
    let mut heard = 0;
    while heard < 1_000 {
        heard += stage.heard(0).matches("$1000000\r\n").count();
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_off() {
    let mut stage = two();
    stage.check_all(&[(1, "subscribe c", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")]);
    let message = "x".repeat(1_000_000);
    let call = format!("*3\r\n$7\r\npublish\r\n$1\r\nc\r\n$1000000\r\n{message}\r\n");
    for _ in 0..40 {
        stage.send(0, call.as_bytes());
    }
    assert!(stage.front.is_cut_off(1));
    assert!(!stage.front.is_cut_off(0));
}

#[test]
fn a_node_out_of_memory_takes_only_what_needs_none() {
    let mut stage = two();
    stage.front.vitals.resident_bytes = 1_000;
    stage.check_all(&[
        (0, "set a 1", "+OK\r\n"),
        (0, "config set maxmemory 100", "+OK\r\n"),
        (0, "set a 2", "-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
        (0, "get a", "$1\r\n1\r\n"),
        (0, "del a", ":1\r\n"),
        (0, "config set maxmemory 1kb", "+OK\r\n"),
        (0, "set a 2", "+OK\r\n"),
    ]);
}

#[test]
fn a_page_of_the_web_cannot_send_commands() {
    let mut stage = two();
    assert_eq!(stage.send(0, b"POST / HTTP/1.1\r\nset a 1\r\n\r\n"), "");
    assert!(stage.front.is_cut_off(0));
    stage.check_all(&[(1, "get a", "$-1\r\n")]);
}

#[test]
fn calls_are_counted_by_command_and_by_what_came_of_them() {
    let mut stage = two();
    let lines = ["set a 1", "set a", "incr b", "lpush a x", "nonsense", "multi", "get", "exec"];
    for line in lines {
        stage.say(0, line);
    }
    let info = stage.say(1, "info commandstats");
    let counts: Vec<&str> = info.lines().filter(|line| line.starts_with("cmdstat_")).collect();
    let line = |name: &str, taken: u64, refused: u64, failed: u64| {
        format!(
            "cmdstat_{name}:calls={taken},usec=0,usec_per_call=0.00,rejected_calls={refused},\
             failed_calls={failed}"
        )
    };
    let expect = [
        line("exec", 1, 0, 1),
        line("get", 0, 1, 0),
        line("incr", 1, 0, 0),
        line("lpush", 1, 0, 1),
        line("multi", 1, 0, 0),
        line("set", 1, 1, 0),
    ];
    assert_eq!(counts, expect);
    assert!(!stage.say(1, "info").contains("cmdstat_"), "only who asks for it gets it");
    stage.say(1, "config resetstat");
    let info = stage.say(1, "info commandstats");
    assert!(info.contains(&line("config|resetstat", 1, 0, 0)) && !info.contains("cmdstat_set"));
}

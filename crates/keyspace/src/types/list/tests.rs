//! Claims about lists: the data structure against a model, the commands as tables of calls.

use std::collections::VecDeque;

use proptest::prelude::*;
use stdx::Millis;
use stdx::codec::Reader;
use wire::ArgsBuf;

use super::List;
use super::chunk::{Bound, End};
use crate::context::notify;
use crate::op::{Body, Op, Origin, Unblock};
use crate::testing::{Client, shown, split};

/// What can be done to a list.
#[derive(Clone, Debug)]
enum Step {
    Push(End, Vec<u8>),
    Drop(End, usize),
    Set(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
    Remove(Vec<u8>, usize, End),
    Reload,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..20i64).prop_map(|n| n.to_string().into_bytes()),
        2 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        3 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => (50..300usize).prop_map(|len| vec![b'x'; len]),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Left), Just(End::Right)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (end(), text()).prop_map(|(end, text)| Step::Push(end, text)),
        2 => (end(), 0..6usize).prop_map(|(end, count)| Step::Drop(end, count)),
        2 => (any::<usize>(), text()).prop_map(|(at, text)| Step::Set(at, text)),
        3 => (any::<usize>(), text()).prop_map(|(at, text)| Step::Insert(at, text)),
        2 => (text(), 0..4usize, end()).prop_map(|(text, most, end)| Step::Remove(text, most, end)),
        1 => Just(Step::Reload),
    ]
}

fn remove_from_model(model: &mut VecDeque<Vec<u8>>, text: &[u8], most: usize, from: End) -> usize {
    let mut removed = 0;
    while removed < most {
        let found = match from {
            End::Left => model.iter().position(|other| other == text),
            End::Right => model.iter().rposition(|other| other == text),
        };
        let Some(at) = found else { break };
        model.remove(at);
        removed += 1;
    }
    removed
}

fn apply(step: Step, list: &mut List, model: &mut VecDeque<Vec<u8>>, bound: Bound) {
    match step {
        Step::Push(end, text) => {
            list.push(end, &text, bound);
            match end {
                End::Left => model.push_front(text),
                End::Right => model.push_back(text),
            }
        }
        Step::Drop(end, count) => {
            list.drop_at(end, count);
            for _ in 0..count {
                match end {
                    End::Left => model.pop_front(),
                    End::Right => model.pop_back(),
                };
            }
        }
        Step::Set(at, text) => {
            let at = at % (model.len() + 1);
            assert_eq!(list.set(at, &text, bound), at < model.len());
            if let Some(element) = model.get_mut(at) {
                *element = text;
            }
        }
        Step::Insert(at, text) => {
            let at = at % (model.len() + 1);
            list.insert(at, &text, bound);
            model.insert(at, text);
        }
        Step::Remove(text, most, from) => {
            let removed = list.remove_equal(&text, most, from);
            assert_eq!(removed, remove_from_model(model, &text, most, from));
        }
        Step::Reload => {
            let mut bytes = Vec::new();
            list.save(&mut bytes);
            let mut reader = Reader::new(&bytes);
            match List::load(&mut reader) {
                Ok(loaded) => *list = loaded,
                Err(_) => assert!(model.is_empty(), "only an empty list is refused"),
            }
        }
    }
}

proptest! {
    #[test]
    fn a_list_is_a_deque_of_strings(
        steps in proptest::collection::vec(step(), 0..120),
        setting in prop_oneof![Just(-1i64), Just(1), Just(3), Just(0), Just(-9)],
        tiny: bool,
    ) {
        let mut bound = Bound::of(setting);
        if tiny {
            bound.bytes = 64;
        }
        let (mut list, mut model) = (List::default(), VecDeque::new());
        for step in steps {
            apply(step, &mut list, &mut model, bound);
            list.check(bound);
            prop_assert_eq!(list.len(), model.len());
            prop_assert!(list.iter().map(|blob| blob.to_vec()).eq(model.iter().cloned()));
            prop_assert!(list.iter().rev().map(|blob| blob.to_vec()).eq(model.iter().rev().cloned()));
            for (at, text) in model.iter().enumerate() {
                prop_assert_eq!(&list.get(at).unwrap().to_vec(), text);
                let rest = list.iter_from(at).map(|blob| blob.to_vec());
                prop_assert!(rest.eq(model.iter().skip(at).cloned()));
            }
        }
    }

    #[test]
    fn malformed_bytes_are_refused_and_never_panic(
        texts in proptest::collection::vec(text(), 1..20),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let list: List = texts.iter().map(Vec::as_slice).collect();
        let mut bytes = Vec::new();
        list.save(&mut bytes);
        for cut in 0..bytes.len() {
            prop_assert!(List::load(&mut Reader::new(&bytes[..cut])).is_err());
        }
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(list) = List::load(&mut Reader::new(&bytes)) {
            prop_assert!(!list.is_empty());
        }
    }
}

#[test]
fn a_small_element_costs_no_more_than_in_redis() {
    let texts: Vec<Vec<u8>> = (0..100_000).map(|n| n.to_string().into_bytes()).collect();
    let list: List = texts.iter().map(Vec::as_slice).collect();
    // In a listpack: one byte of type, up to three of the integer, one of the length behind.
    assert!(list.memory() < 100_000 * 5 + 20_000, "{}", list.memory());
}

#[test]
fn pushes_and_pops_answer_as_redis_does() {
    let mut client = Client::new();
    client.check_all(&[
        ("lpush l a b c", ":3\r\n"),
        ("rpush l 1 2", ":5\r\n"),
        ("lrange l 0 -1", "*5\r\n$1\r\nc\r\n$1\r\nb\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\n2\r\n"),
        ("lpushx l x", ":6\r\n"),
        ("rpushx l y z", ":8\r\n"),
        ("lpushx none x", ":0\r\n"),
        ("llen none", ":0\r\n"),
        ("llen l", ":8\r\n"),
        ("llen none", ":0\r\n"),
        ("lpop l", "$1\r\nx\r\n"),
        ("rpop l", "$1\r\nz\r\n"),
        ("lpop l 0", "*0\r\n"),
        ("lpop l 2", "*2\r\n$1\r\nc\r\n$1\r\nb\r\n"),
        ("rpop l 2", "*2\r\n$1\r\ny\r\n$1\r\n2\r\n"),
        ("lpop l -1", "-ERR value is out of range, must be positive\r\n"),
        ("lpop l x", "-ERR value is out of range, must be positive\r\n"),
        ("lpop l 1 2", "-ERR wrong number of arguments for 'lpop' command\r\n"),
        ("rpop l 1 2", "-ERR wrong number of arguments for 'rpop' command\r\n"),
        ("rpop l 9", "*2\r\n$1\r\n1\r\n$1\r\na\r\n"),
        ("llen l", ":0\r\n"),
        ("lpop l", "$-1\r\n"),
        ("lpop l 1", "*-1\r\n"),
        ("lpop l 0", "*-1\r\n"),
        ("set s x", "+OK\r\n"),
        ("lpush s x", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("lpushx s x", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("lpop s", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("llen s", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    ]);
    let mut client = Client::resp3();
    client.check_all(&[("lpop l", "_\r\n"), ("lpop l 1", "_\r\n"), ("lpos l x", "_\r\n")]);
}

#[test]
fn places_count_from_either_end() {
    let mut client = Client::new();
    client.check_all(&[
        ("rpush l a b c d e", ":5\r\n"),
        ("lrange l 1 2", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"),
        ("lrange l -2 9", "*2\r\n$1\r\nd\r\n$1\r\ne\r\n"),
        ("lrange l -99 0", "*1\r\n$1\r\na\r\n"),
        ("lrange l 3 1", "*0\r\n"),
        ("lrange l 5 9", "*0\r\n"),
        ("lrange l 0 -9", "*0\r\n"),
        (
            "lrange l 0 9223372036854775807",
            "*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n",
        ),
        ("lrange l x 1", "-ERR value is not an integer or out of range\r\n"),
        ("lrange none 0 1", "*0\r\n"),
        ("lindex l 0", "$1\r\na\r\n"),
        ("lindex l -1", "$1\r\ne\r\n"),
        ("lindex l 5", "$-1\r\n"),
        ("lindex l -6", "$-1\r\n"),
        ("lindex l x", "-ERR value is not an integer or out of range\r\n"),
        ("lindex none x", "$-1\r\n"),
        ("lset l -1 E", "+OK\r\n"),
        ("lset l 5 x", "-ERR index out of range\r\n"),
        ("lset l x x", "-ERR value is not an integer or out of range\r\n"),
        ("lset none x x", "-ERR no such key\r\n"),
        ("linsert l before c B", ":6\r\n"),
        ("linsert l AFTER E F", ":7\r\n"),
        ("linsert l after none x", ":-1\r\n"),
        ("linsert none after a x", ":0\r\n"),
        ("linsert l near a x", "-ERR syntax error\r\n"),
        (
            "lrange l 0 -1",
            "*7\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nB\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\nE\r\n$1\r\nF\r\n",
        ),
        ("ltrim l 1 -2", "+OK\r\n"),
        ("ltrim l x 1", "-ERR value is not an integer or out of range\r\n"),
        ("lrange l 0 -1", "*5\r\n$1\r\nb\r\n$1\r\nB\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\nE\r\n"),
        ("ltrim l 9 1", "+OK\r\n"),
        ("llen l", ":0\r\n"),
        ("ltrim none 0 1", "+OK\r\n"),
    ]);
    client.run("rpush r a b a c a b a");
    client.check_all(&[
        ("lrem r x a", "-ERR value is not an integer or out of range\r\n"),
        ("lrem r -2 a", ":2\r\n"),
        ("lrange r 0 -1", "*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\na\r\n$1\r\nc\r\n$1\r\nb\r\n"),
        ("lrem r 1 a", ":1\r\n"),
        ("lrem r 0 b", ":2\r\n"),
        ("lrem r 5 x", ":0\r\n"),
        ("lrange r 0 -1", "*2\r\n$1\r\na\r\n$1\r\nc\r\n"),
        ("lrem r 0 a", ":1\r\n"),
        ("lrem r -9223372036854775808 c", ":1\r\n"),
        ("llen r", ":0\r\n"),
        ("lrem r 0 a", ":0\r\n"),
    ]);
}

#[test]
fn lpos_counts_matches_from_either_end() {
    let mut client = Client::new();
    client.run("rpush l a b c 1 2 3 c c");
    client.check_all(&[
        ("lpos l a", ":0\r\n"),
        ("lpos l c", ":2\r\n"),
        ("lpos l x", "$-1\r\n"),
        ("lpos l c rank 2", ":6\r\n"),
        ("lpos l c RANK -1", ":7\r\n"),
        ("lpos l c rank 4", "$-1\r\n"),
        ("lpos l c count 0", "*3\r\n:2\r\n:6\r\n:7\r\n"),
        ("lpos l c count 1", "*1\r\n:2\r\n"),
        ("lpos l c count 2 rank -1", "*2\r\n:7\r\n:6\r\n"),
        ("lpos l c count 0 rank 2", "*2\r\n:6\r\n:7\r\n"),
        ("lpos l x count 2", "*0\r\n"),
        ("lpos l c maxlen 2", "$-1\r\n"),
        ("lpos l c maxlen 3", ":2\r\n"),
        ("lpos l c maxlen 3 rank -2", ":6\r\n"),
        ("lpos l c maxlen 0 count 0", "*3\r\n:2\r\n:6\r\n:7\r\n"),
        ("lpos none c count 0", "*0\r\n"),
        ("lpos none c", "$-1\r\n"),
        ("lpos l c rank", "-ERR syntax error\r\n"),
        ("lpos l c what 1", "-ERR syntax error\r\n"),
        ("lpos l c count -1", "-ERR COUNT can't be negative\r\n"),
        ("lpos l c maxlen x", "-ERR MAXLEN can't be negative\r\n"),
        ("lpos l c rank x", "-ERR value is not an integer or out of range\r\n"),
        (
            "lpos l c rank 0",
            "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
             or use negative to start from the end of the list\r\n",
        ),
    ]);
}

#[test]
fn an_element_moves_between_lists_or_around_one() {
    let mut client = Client::new();
    client.run("rpush a 1 2 3");
    client.run("set s x");
    client.check_all(&[
        ("lmove a b left right", "$1\r\n1\r\n"),
        ("lmove a b RIGHT LEFT", "$1\r\n3\r\n"),
        ("lrange b 0 -1", "*2\r\n$1\r\n3\r\n$1\r\n1\r\n"),
        ("rpoplpush b b", "$1\r\n1\r\n"),
        ("lrange b 0 -1", "*2\r\n$1\r\n1\r\n$1\r\n3\r\n"),
        ("lmove a a left left", "$1\r\n2\r\n"),
        ("llen a", ":1\r\n"),
        ("rpoplpush a b", "$1\r\n2\r\n"),
        ("llen a", ":0\r\n"),
        ("lmove a b left left", "$-1\r\n"),
        ("lmove a b up left", "-ERR syntax error\r\n"),
        (
            "lmove b s left left",
            "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        ),
        (
            "lmove s b left left",
            "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        ),
        ("lmove none s left left", "$-1\r\n"),
        ("llen b", ":3\r\n"),
        ("lmpop 2 none b left", "*2\r\n$1\r\nb\r\n*1\r\n$1\r\n2\r\n"),
        ("lmpop 2 none b right count 9", "*2\r\n$1\r\nb\r\n*2\r\n$1\r\n3\r\n$1\r\n1\r\n"),
        ("lmpop 1 b left", "*-1\r\n"),
        (
            "lmpop 2 none s left",
            "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        ),
        ("lmpop 0 b left", "-ERR numkeys should be greater than 0\r\n"),
        ("lmpop x b left", "-ERR numkeys should be greater than 0\r\n"),
        ("lmpop 2 b left", "-ERR syntax error\r\n"),
        ("lmpop 9223372036854775807 b left", "-ERR syntax error\r\n"),
        ("lmpop 1 b left count 0", "-ERR count should be greater than 0\r\n"),
        ("lmpop 1 b left count", "-ERR syntax error\r\n"),
        ("lmpop 1 b left count 1 count 2", "-ERR syntax error\r\n"),
        ("lmpop 1 b up", "-ERR syntax error\r\n"),
    ]);
}

#[test]
fn lists_come_back_from_a_snapshot() {
    let mut client = Client::new();
    for n in 0..3_000 {
        client.run(&format!("rpush l {n} text:{n}"));
    }
    client.run(r#"rpush l "\xff\r\n""#);
    let before = client.run("lrange l 0 -1");
    client.reload();
    client.check("lrange l 0 -1", &before);
    client.check("lpop l", "$1\r\n0\r\n");
}

/// Calls under an origin of its own, so that it may wait. Returns its number.
fn call_as(client: &mut Client, number: u64, line: &str) -> String {
    client.origin = Some(Origin { node: 1, number });
    let reply = client.run(line);
    client.origin = None;
    reply
}

/// Lets several callers wait, 1 for the first.
#[track_caller]
fn wait_all(client: &mut Client, lines: &[&str]) {
    for (number, line) in (1..).zip(lines) {
        assert_eq!(call_as(client, number, line), "", "{line}");
    }
}

/// The replies to waiting callers since the last look.
fn late(client: &mut Client) -> Vec<(u64, String)> {
    let late = std::mem::take(&mut client.effects.late);
    late.iter().map(|late| (late.origin.number, shown(&late.reply))).collect()
}

#[track_caller]
fn check_late(client: &mut Client, expect: &[(u64, &str)]) {
    let late = late(client);
    let late: Vec<(u64, &str)> = late.iter().map(|(n, text)| (*n, text.as_str())).collect();
    assert_eq!(late, expect);
}

fn exec(client: &mut Client, lines: &[&str]) -> String {
    let args = |line: &&str| split(line).iter().map(Vec::as_slice).collect::<ArgsBuf>();
    let calls = lines.iter().map(|line| (0, args(line))).collect();
    apply_body(client, Body::Exec { watches: Vec::new(), calls, rollback: false })
}

fn apply_body(client: &mut Client, body: Body) -> String {
    let op = Op { proto: client.proto, origin: None, body };
    let mut reply = Vec::new();
    client.shard.apply(Millis(client.now), &op, &mut reply, &mut client.effects);
    shown(&reply)
}

#[test]
fn a_call_that_finds_something_does_not_wait() {
    let mut client = Client::new();
    client.run("rpush l a b c d e f");
    for (line, expect) in [
        ("blpop none l 0", "*2\r\n$1\r\nl\r\n$1\r\na\r\n"),
        ("brpop l none 1", "*2\r\n$1\r\nl\r\n$1\r\nf\r\n"),
        ("blmove l m left right 0", "$1\r\nb\r\n"),
        ("brpoplpush l m 0", "$1\r\ne\r\n"),
        ("blmpop 0 2 none l left count 5", "*2\r\n$1\r\nl\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n"),
    ] {
        assert_eq!(call_as(&mut client, 1, line), expect, "{line}");
    }
    client.check("lrange m 0 -1", "*2\r\n$1\r\ne\r\n$1\r\nb\r\n");
}

#[test]
fn timeouts_are_read_as_redis_reads_them() {
    let mut client = Client::new();
    client.run("set s x");
    let (float, negative, wrong) = (
        "-ERR timeout is not a float or out of range\r\n",
        "-ERR timeout is negative\r\n",
        "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    );
    for (line, expect) in [
        ("blpop s x", float),
        ("blpop s nan", float),
        ("brpop s -1", negative),
        ("blpop s inf", negative),
        ("blpop s 1e30", negative),
        ("blpop s 0", wrong),
        ("blpop none s 0", wrong),
        ("blmove s d left left x", float),
        ("blmove s d left left 0", wrong),
        ("blmove s d left up x", "-ERR syntax error\r\n"),
        ("brpoplpush s d -0.1", negative),
        ("blmpop x 0 s left", "-ERR numkeys should be greater than 0\r\n"),
        ("blmpop x 1 s left count 0", "-ERR count should be greater than 0\r\n"),
        ("blmpop x 1 s left", float),
        ("blmpop 0 1 s left", wrong),
    ] {
        assert_eq!(call_as(&mut client, 1, line), expect, "{line}");
    }
    assert!(client.shard.waiters().is_empty());
}

#[test]
fn who_may_not_wait_is_answered_as_if_the_time_were_over() {
    let mut client = Client::new();
    let expect = "*4\r\n*-1\r\n$-1\r\n$-1\r\n*-1\r\n";
    let lines = ["blpop l 0", "blmove l m left left 0", "brpoplpush l m 0", "blmpop 0 1 l left"];
    assert_eq!(exec(&mut client, &lines), expect);
    client.check("blpop l 0", "*-1\r\n");
}

#[test]
fn first_come_is_first_served() {
    let mut client = Client::new();
    wait_all(&mut client, &["blpop l 0", "brpop l 0", "blpop l 0", "blmpop 0 1 l left count 2"]);
    client.check("rpush l a b", ":2\r\n");
    check_late(
        &mut client,
        &[(1, "*2\r\n$1\r\nl\r\n$1\r\na\r\n"), (2, "*2\r\n$1\r\nl\r\n$1\r\nb\r\n")],
    );
    client.check("llen l", ":0\r\n");
    client.check("lpush l a b c d", ":4\r\n");
    check_late(
        &mut client,
        &[
            (3, "*2\r\n$1\r\nl\r\n$1\r\nd\r\n"),
            (4, "*2\r\n$1\r\nl\r\n*2\r\n$1\r\nc\r\n$1\r\nb\r\n"),
        ],
    );
    client.check("lrange l 0 -1", "*1\r\n$1\r\na\r\n");
    assert!(client.shard.waiters().is_empty());
}

#[test]
fn a_call_is_served_from_the_key_that_was_written_first() {
    let mut client = Client::new();
    wait_all(&mut client, &["blpop a b 0"]);
    exec(&mut client, &["rpush b 1", "rpush a 2"]);
    check_late(&mut client, &[(1, "*2\r\n$1\r\nb\r\n$1\r\n1\r\n")]);
    // A key that is named twice is waited for once, and a key of another type is no obstacle.
    client.run("ltrim a 1 0");
    wait_all(&mut client, &["blpop a b b c 0"]);
    client.run("set a x");
    client.run("set c x");
    check_late(&mut client, &[]);
    client.run("rpush b 1 2");
    check_late(&mut client, &[(1, "*2\r\n$1\r\nb\r\n$1\r\n1\r\n")]);
    client.check("llen b", ":1\r\n");
}

#[test]
fn what_is_gone_at_the_end_of_a_transaction_serves_nobody() {
    let mut client = Client::new();
    wait_all(&mut client, &["blpop l 0"]);
    exec(&mut client, &["lpush l a", "ltrim l 1 0"]);
    exec(&mut client, &["lpush l a", "ltrim l 1 0", "set l foo"]);
    check_late(&mut client, &[]);
    client.run("getdel l");
    exec(&mut client, &["lpush l a", "lpush l b", "lpush l c"]);
    check_late(&mut client, &[(1, "*2\r\n$1\r\nl\r\n$1\r\nc\r\n")]);
    client.check("llen l", ":2\r\n");
}

#[test]
fn a_served_move_serves_the_next() {
    let mut client = Client::new();
    wait_all(
        &mut client,
        &["blmove a b left right 0", "brpoplpush b c 0", "blmove c a left left 0", "blpop d 0"],
    );
    client.run("rpush a x");
    let moved = "$1\r\nx\r\n";
    check_late(&mut client, &[(1, moved), (2, moved), (3, moved)]);
    client.check("lrange a 0 -1", "*1\r\n$1\r\nx\r\n");
    // A target of another type is the waiter's error; the element stays.
    assert_eq!(call_as(&mut client, 9, "blmove e s left left 0"), "");
    client.run("set s x");
    client.run("rpush e 1");
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    check_late(&mut client, &[(9, wrong)]);
    client.check("llen e", ":1\r\n");
}

#[test]
fn a_list_turned_in_itself_serves_all_who_wait_to_turn_it() {
    let mut client = Client::new();
    wait_all(&mut client, &["brpoplpush l l 0", "blmove l l left right 0", "blpop l 0"]);
    client.run("rpush l 1 2 3");
    check_late(
        &mut client,
        &[(1, "$1\r\n3\r\n"), (2, "$1\r\n3\r\n"), (3, "*2\r\n$1\r\nl\r\n$1\r\n1\r\n")],
    );
    client.check("lrange l 0 -1", "*2\r\n$1\r\n2\r\n$1\r\n3\r\n");
}

#[test]
fn a_wait_ends_when_its_time_is_over_or_somebody_says_so() {
    let mut client = Client::new();
    wait_all(
        &mut client,
        &["blpop l 0.5", "blmove l m left left 0.5", "blpop l 0", "brpop l 0", "blpop l 0"],
    );
    assert_eq!(client.shard.next_due(), Some(Millis(client.now + 500)));
    client.now += 499;
    apply_body(&mut client, Body::Tick);
    check_late(&mut client, &[]);
    client.now += 1;
    apply_body(&mut client, Body::Tick);
    check_late(&mut client, &[(1, "*-1\r\n"), (2, "*-1\r\n")]);
    for (number, how) in [(3, Unblock::Timeout), (4, Unblock::Error), (5, Unblock::Gone)] {
        let target = Origin { node: 1, number };
        assert_eq!(apply_body(&mut client, Body::Unblock { target, how }), ":1\r\n");
        assert_eq!(apply_body(&mut client, Body::Unblock { target, how }), ":0\r\n");
    }
    let unblocked = "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
    check_late(&mut client, &[(3, "*-1\r\n"), (4, unblocked)]);
    client.check("rpush l a", ":1\r\n");
    client.check("llen l", ":1\r\n");
}

#[test]
fn who_waits_is_part_of_a_snapshot() {
    let mut client = Client::new();
    wait_all(&mut client, &["blpop l k 5", "blmove l m left left 0"]);
    client.reload();
    client.run("rpush l a b");
    check_late(&mut client, &[(1, "*2\r\n$1\r\nl\r\n$1\r\na\r\n"), (2, "$1\r\nb\r\n")]);
    assert_eq!(client.shard.next_due(), None);
}

#[test]
fn a_queue_of_waiters_is_not_tried_in_vain() {
    const WAITERS: u64 = 20_000;
    let mut client = Client::new();
    for number in 1..=WAITERS {
        assert_eq!(call_as(&mut client, number, "blpop l 0"), "");
    }
    // One by one: with a retry of each waiter for each push this would be 10^8 calls.
    for _ in 0..WAITERS {
        client.run("rpush l x");
    }
    assert_eq!(late(&mut client).len() as u64, WAITERS);
}

/// The keyspace events of some calls, as `event key`.
fn events(lines: &[&str]) -> Vec<String> {
    let mut client = Client::new();
    client.shard.settings.notify = notify::KEYEVENT | notify::LIST | notify::GENERIC;
    lines.iter().for_each(|line| drop(call_as(&mut client, 1, line)));
    let event = |channel: &[u8]| {
        let text = String::from_utf8_lossy(channel);
        text.rsplit(':').next().unwrap().to_string()
    };
    let publish = client.effects.publish.iter();
    publish.map(|p| format!("{} {}", event(&p.channel), shown(&p.message))).collect()
}

#[test]
fn events_come_in_the_order_of_redis() {
    for (lines, expect) in [
        (&["lpush l a b", "rpush l c", "lpushx l d"][..], &["lpush l", "rpush l", "lpush l"][..]),
        (&["lpush l a", "lpop l"], &["lpush l", "lpop l", "del l"]),
        (&["lpush l a b", "rpop l 9"], &["lpush l", "rpop l", "del l"]),
        (&["lpush l a", "lpop l 0", "lpop none"], &["lpush l"]),
        (&["lpush l a", "lset l 0 b", "linsert l before b a"], &["lpush l", "lset l", "linsert l"]),
        (&["lpush l a", "lset l 9 b", "linsert l before x a", "lrem l 0 x"], &["lpush l"]),
        (&["lpush l a", "lrem l 0 a"], &["lpush l", "lrem l", "del l"]),
        (
            &["lpush l a", "ltrim l 0 -1", "ltrim l 1 0"],
            &["lpush l", "ltrim l", "ltrim l", "del l"],
        ),
        (&["lpush l a", "lmove l m left right"], &["lpush l", "rpush m", "lpop l", "del l"]),
        (&["lpush l a", "rpoplpush l l"], &["lpush l", "lpush l", "rpop l"]),
        (&["lpush l a", "blmpop 0 1 l left"], &["lpush l", "lpop l", "del l"]),
        (&["blpop l 0", "rpush l a"], &["rpush l", "lpop l", "del l"]),
        (&["brpoplpush l m 0", "rpush l a"], &["rpush l", "lpush m", "rpop l", "del l"]),
    ] {
        assert_eq!(events(lines), expect, "{lines:?}");
    }
}

#[test]
fn keys_are_found_among_the_arguments() {
    for (line, expect) in [
        ("lpush l a", &[1][..]),
        ("blpop a b 0", &[1, 2]),
        ("blmove a b left left 0", &[1, 2]),
        ("lmpop 2 a b left", &[2, 3]),
        ("blmpop 0 2 a b left", &[3, 4]),
        ("lmpop 9 a b left", &[]),
        ("lmpop -1 a b left", &[]),
        ("blmpop 0 9223372036854775807 a b left", &[]),
    ] {
        let words = split(line);
        let args: ArgsBuf = words.iter().map(Vec::as_slice).collect();
        let row = crate::command::find(args.args()).unwrap();
        assert_eq!(row.key_positions(args.args()), expect, "{line}");
    }
}

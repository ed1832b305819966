//! What a participant does: tables of conflicts, and random histories of several shards against one.

use proptest::prelude::*;
use stdx::{Millis, Rng};
use wire::{ArgsBuf, Proto};

use super::scratch::{Done, Ran, Scratch};
use super::*;
use crate::context::{Asker, Context};
use crate::op::{Body, Op, Origin, Unblock};
use crate::shard::{Effects, Late, Outcome, Shard};
use crate::snapshot::{Loader, Saver};
use crate::testing::{shown, split};
use crate::types::Set;

/// A shard, and what followed from what was applied to it.
struct Participant {
    shard: Shard,
    effects: Effects,
    now: u64,
}

fn id(number: u64) -> TxnId {
    TxnId { born: Millis(1_000_000 + number), node: 1, number, attempt: 0 }
}

fn args(line: &str) -> ArgsBuf {
    split(line).iter().map(Vec::as_slice).collect()
}

fn prepare(txn: TxnId, span: Span, lines: &[&str]) -> Prepare {
    let calls = lines.iter().map(|line| (0, args(line))).collect();
    let (participants, compares) = (vec![1, 2], Vec::new());
    let (proto, done, rollback) = (Proto::Resp2, 0..0, false);
    Prepare {
        txn,
        proto,
        participants,
        done,
        compares,
        calls,
        span,
        rollback,
        after: None,
        unbroken: false,
    }
}

impl Participant {
    fn new() -> Participant {
        Participant { shard: Shard::new(), effects: Effects::default(), now: 1_000_000 }
    }

    fn op(&mut self, body: Body, origin: Option<u64>) -> String {
        let origin = origin.map(|number| Origin { node: 9, number });
        let (op, mut reply) = (Op { proto: Proto::Resp2, origin, body }, Vec::new());
        let outcome = self.shard.apply(Millis(self.now), &op, &mut reply, &mut self.effects);
        self.shard.check_txns();
        match outcome {
            Outcome::Parked { .. } => "(parked)".to_owned(),
            Outcome::Blocked => "(blocked)".to_owned(),
            _ => shown(&reply),
        }
    }

    fn txn(&mut self, txn: Txn) -> String {
        self.op(Body::Txn(Box::new(txn)), None)
    }

    fn prepare(&mut self, number: u64, lines: &[&str]) -> String {
        self.txn(Txn::Prepare(prepare(id(number), Span::Keys, lines)))
    }

    fn decide(&mut self, number: u64, commit: bool) -> String {
        self.txn(Txn::Decide { txn: id(number), commit })
    }

    fn call(&mut self, line: &str) -> String {
        self.op(Body::Call { db: 0, args: args(line) }, None)
    }

    /// A call that may wait, under this number.
    fn asks(&mut self, number: u64, line: &str) -> String {
        self.op(Body::Call { db: 0, args: args(line) }, Some(number))
    }

    /// A read of this replica that met a lock.
    fn hold(&mut self, number: u64, line: &str) {
        assert_eq!(self.read(line, true), None);
        let asker = Asker { db: 0, proto: Proto::Resp2, origin: None };
        assert!(self.shard.hold(number, asker, args(line).args()));
    }

    /// A read outside the log; nothing if it has to wait.
    fn read(&mut self, line: &str, behind: bool) -> Option<String> {
        let asker = Asker { db: 0, proto: Proto::Resp2, origin: None };
        let (wall, mut reply) = (Millis(self.now), Vec::new());
        let outcome = self.shard.read(wall, 1, asker, args(line).args(), behind, &mut reply);
        (outcome == Outcome::Replied).then(|| shown(&reply))
    }

    /// The replies that came late, by the numbers of those who waited.
    fn late(&mut self) -> Vec<(u64, String)> {
        let late = std::mem::take(&mut self.effects.late);
        late.iter().map(|Late { origin, reply }| (origin.number, shown(reply))).collect()
    }

    fn reload(&mut self) {
        let digest = self.shard.digest();
        let (mut saver, mut bytes) = (Saver::begin(&mut self.shard), Vec::new());
        while !saver.step(&mut self.shard, 512, &mut bytes) {}
        self.shard = Loader::load(&bytes).unwrap();
        assert_eq!(self.shard.digest(), digest, "a snapshot keeps everything");
        self.shard.check_txns();
    }
}

#[test]
fn nobody_sees_what_is_prepared_until_it_is_committed() {
    let mut shard = Participant::new();
    shard.call("set a old");
    assert_eq!(
        shard.prepare(1, &["set a new", "get a", "rpush l 1"]),
        "*3\r\n$5\r\n+OK\r\n\r\n$9\r\n$3\r\nnew\r\n\r\n$4\r\n:1\r\n\r\n"
    );
    assert_eq!(shard.asks(1, "get a"), "(parked)");
    assert_eq!(shard.asks(2, "append a x"), "(parked)");
    assert_eq!(shard.call("get other"), "$-1\r\n");
    shard.reload();
    assert_eq!(shard.decide(1, true), "*0\r\n");
    assert_eq!(shard.late(), [(1, "$3\r\nnew\r\n".into()), (2, ":4\r\n".into())]);
    assert_eq!(shard.call("lrange l 0 -1"), "*1\r\n$1\r\n1\r\n");
}

#[test]
fn no_call_overtakes_one_that_waits_for_another_key() {
    let mut shard = Participant::new();
    shard.prepare(1, &["set a x"]);
    assert_eq!(shard.asks(1, "mset a 1 b 1"), "(parked)");
    assert_eq!(shard.asks(2, "append b 2"), "(parked)", "b is free, and is the first's before");
    assert_eq!(shard.asks(3, "mget b c"), "(parked)");
    assert_eq!(shard.asks(4, "append c 4"), "(parked)", "who reads c waits");
    assert_eq!(shard.call("get d"), "$-1\r\n");
    shard.reload();
    assert_eq!(shard.asks(5, "append c 5"), "(parked)");
    assert_eq!(shard.prepare(2, &["append b x"]), "+BUSY\r\n", "nor does a transaction");
    shard.decide(1, true);
    let [four, five] = [(4, ":1\r\n".into()), (5, ":2\r\n".into())];
    let [mset, append] = [(1, "+OK\r\n".into()), (2, ":2\r\n".into())];
    let mget = (3, "*2\r\n$2\r\n12\r\n$-1\r\n".into());
    assert_eq!(shard.late(), [mset, append, mget, four, five]);
    assert_eq!(shard.call("append b 3"), ":3\r\n", "nobody waits any more");
}

#[test]
fn a_read_of_one_replica_runs_between_what_was_asked_before_and_behind_it() {
    let mut shard = Participant::new();
    shard.prepare(1, &["rpush l x"]);
    shard.hold(1, "lrange l 0 -1");
    assert_eq!(shard.asks(2, "rpush l y"), "(parked)");
    shard.hold(3, "lrange l 0 -1");
    assert_eq!(shard.asks(4, "rpush l z"), "(parked)");
    let digest = shard.shard.digest();
    shard.hold(5, "llen l");
    assert_eq!(shard.shard.digest(), digest, "it is no part of the state");
    shard.hold(6, "llen l");
    shard.shard.let_go(&[6].into());
    shard.txn(Txn::Forget { txns: Vec::new() });
    assert!(shard.effects.reads.is_empty(), "nothing was freed");
    shard.decide(1, false);
    let reads = std::mem::take(&mut shard.effects.reads);
    let reads: Vec<_> = reads.iter().map(|(number, reply)| (*number, shown(reply))).collect();
    let one = (3, "*1\r\n$1\r\ny\r\n".to_owned());
    assert_eq!(reads, [(1, "*0\r\n".into()), one, (5, ":2\r\n".into())]);
}

#[test]
fn a_read_behind_a_call_that_waits_waits_too() {
    let mut shard = Participant::new();
    shard.prepare(1, &["get k"]);
    assert_eq!(shard.read("get k", false), Some("$-1\r\n".into()), "readers share");
    assert_eq!(shard.asks(1, "set k v"), "(parked)");
    assert_eq!(shard.read("get k", false), Some("$-1\r\n".into()), "of somebody else");
    assert_eq!(shard.read("get k", true), None);
    shard.decide(1, true);
    assert_eq!(shard.read("get k", true), Some("$1\r\nv\r\n".into()));
}

#[test]
fn a_call_that_would_wait_for_keys_behind_a_transaction_ends_with_its_client() {
    let unblock = |shard: &mut Participant, number, how| {
        let target = Origin { node: 9, number };
        shard.op(Body::Unblock { target, how }, None)
    };
    let mut shard = Participant::new();
    shard.prepare(1, &["set a new", "del l"]);
    for number in 1..=5 {
        assert_eq!(shard.asks(number, "blpop l 0"), "(parked)");
    }
    assert_eq!(shard.asks(6, "rpush a x"), "(parked)");
    assert_eq!(shard.asks(7, "synod.idem id brpop l 0"), "(parked)");
    assert_eq!(unblock(&mut shard, 1, Unblock::Gone), ":1\r\n");
    assert_eq!(unblock(&mut shard, 2, Unblock::Timeout), ":1\r\n");
    assert_eq!(unblock(&mut shard, 3, Unblock::Error), ":1\r\n");
    assert_eq!(unblock(&mut shard, 6, Unblock::Gone), ":0\r\n", "it waits for no key");
    let unblocked = "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
    assert_eq!(shard.late(), [(2, "*-1\r\n".into()), (3, unblocked.into())]);
    shard.reload();
    assert_eq!(shard.op(Body::DropWaiters { node: Some(8) }, None), "");
    assert_eq!(shard.shard.waits(Some(9)).len(), 3);
    assert_eq!(shard.op(Body::DropWaiters { node: Some(9) }, None), "");
    assert_eq!(shard.shard.waits(None).len(), 0);
    shard.decide(1, true);
    assert_eq!(
        shard.late(),
        [(6, "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n".into())]
    );
    assert_eq!(shard.call("rpush l 1"), ":1\r\n");
    assert_eq!(shard.call("llen l"), ":1\r\n", "nobody is there to take it");
}

#[test]
fn one_that_wants_nothing_here_is_in_nobodys_way() {
    let mut shard = Participant::new();
    assert_eq!(shard.prepare(2, &[]), "*0\r\n");
    assert!(
        shard.txn(Txn::Prepare(prepare(id(1), Span::Survey, &["synod.names"]))).starts_with('*')
    );
    shard.reload();
    assert_eq!(shard.decide(2, true), "*0\r\n");
    assert_eq!(shard.asks(1, "set a 1"), "(parked)");
    assert_eq!(shard.decide(1, true), "*0\r\n");
    assert_eq!(shard.late(), [(1, "+OK\r\n".into())]);
}

#[test]
fn who_waits_for_a_locked_key_as_well_keeps_its_turn_at_the_others() {
    let mut shard = Participant::new();
    assert_eq!(shard.asks(1, "blpop a b 0"), "(blocked)");
    assert_eq!(shard.asks(2, "blpop a 0"), "(blocked)");
    shard.prepare(1, &["set b 1"]);
    assert_eq!(shard.call("rpush a x y"), ":2\r\n");
    let got = |element: char| format!("*2\r\n$1\r\na\r\n$1\r\n{element}\r\n");
    assert_eq!(shard.late(), [(1, got('x')), (2, got('y'))]);
}

/// Within a script a panic would be taken for an error of the call.
#[test]
fn a_key_of_another_shard_is_not_made_here() {
    let (mut shard, mut effects) = (Shard::new(), Effects::default());
    shard.set_slots(0..=16_383 / 2);
    shard.dbs[0].probe_slots(0..=16_383 / 2, false);
    let asker = Asker { db: 0, proto: Proto::Resp2, origin: None };
    let mut cx = Context::write(&mut shard, &mut effects, asker);
    assert!(cx.modify_or_new::<Set>(b"a").is_err());
    assert!(cx.modify_or_new::<Set>(b"{b}k").is_ok());
}

#[test]
fn an_aborted_one_leaves_everything_as_it_was() {
    let mut shard = Participant::new();
    shard.call("set a old px 5000");
    let before = shard.call("synod.fetch a");
    shard.prepare(1, &["set a new", "del a", "set b 1"]);
    assert_eq!(shard.asks(1, "incr b"), "(parked)");
    assert_eq!(shard.decide(1, false), "+OK\r\n");
    assert_eq!(shard.late(), [(1, ":1\r\n".into())]);
    assert_eq!(shard.call("synod.fetch a"), before);
    assert_eq!(shard.prepare(1, &["set a again"]), "+FENCED 1000000\r\n", "it comes late");
}

#[test]
fn the_older_waits_and_the_younger_dies() {
    let mut shard = Participant::new();
    shard.prepare(5, &["set a 5"]);
    assert_eq!(shard.prepare(7, &["set a 7"]), "+BUSY\r\n");
    assert_eq!(shard.prepare(3, &["set a 3"]), "(parked)");
    assert_eq!(shard.prepare(4, &["set a 4"]), "(parked)");
    shard.reload();
    shard.decide(5, true);
    let late: Vec<String> = shard.late().into_iter().map(|(_, reply)| reply).collect();
    assert_eq!(late, ["*1\r\n$5\r\n+OK\r\n\r\n", "+BUSY\r\n"], "3 has it, and 4 is younger");
    assert_eq!(shard.txn(Txn::Fence { txn: id(3) }), "+PREPARED\r\n");
    shard.decide(3, true);
    assert_eq!(shard.call("get a"), "$1\r\n3\r\n");
}

#[test]
fn a_call_over_several_keys_has_its_turn_among_transactions_that_lock_one_each() {
    let mut shard = Participant::new();
    shard.prepare(4, &["set a 4"]);
    assert_eq!(shard.asks(7, "mset a 7 b 7"), "(parked)");
    assert_eq!(shard.prepare(5, &["set b 5"]), "+BUSY\r\n", "the call waits for who is older");
    assert_eq!(shard.prepare(6, &["get b"]), "+BUSY\r\n");
    assert_eq!(shard.prepare(3, &["set b 3"]), "(parked)", "older than all who hold anything");
    let whole = |number| Txn::Prepare(prepare(id(number), Span::Whole, &["flushdb"]));
    assert_eq!(shard.txn(whole(8)), "+BUSY\r\n");
    assert!(shard.prepare(9, &["set c 9"]).starts_with('*'), "the call does not need c");
    shard.reload();
    shard.decide(4, true);
    assert_eq!(shard.late()[0], (7, "+OK\r\n".into()));
    assert_eq!(shard.txn(Txn::Fence { txn: id(3) }), "+PREPARED\r\n", "its turn was next");
    shard.decide(3, true);
    assert_eq!(shard.call("mget a b"), "*2\r\n$1\r\n7\r\n$1\r\n3\r\n");
}

#[test]
fn keys_are_locked_first_and_taken_over_without_a_gap() {
    let mut shard = Participant::new();
    shard.call("set a 1");
    let held = shard.prepare(5, &["synod.hold a b"]);
    assert!(held.contains("*3\r\n:"), "it tells what stands there: {held}");
    assert_eq!(shard.asks(1, "incr a"), "(parked)");
    assert_eq!(shard.prepare(3, &["incr a"]), "(parked)", "an older one waits");
    let next = TxnId { attempt: 1, ..id(5) };
    let one = Prepare { after: Some(id(5)), ..prepare(next, Span::Keys, &["set a 2"]) };
    shard.reload();
    assert_eq!(shard.txn(Txn::Prepare(one.clone())), "*1\r\n$5\r\n+OK\r\n\r\n");
    assert_eq!(shard.late(), [], "nobody came in between");
    assert_eq!(shard.txn(Txn::Fence { txn: id(5) }), "+COMMITTED\r\n");
    shard.txn(Txn::Decide { txn: next, commit: true });
    assert_eq!(shard.late()[0], (1, ":3\r\n".into()));
    // What was locked first and was lost since is no reason to refuse.
    let gone = Prepare { after: Some(id(8)), ..prepare(id(9), Span::Keys, &["set c 1"]) };
    assert_eq!(shard.txn(Txn::Prepare(gone)), "*1\r\n$5\r\n+OK\r\n\r\n");
}

#[test]
fn a_whole_shard_is_taken_over_from_keys_that_were_locked_first() {
    let mut shard = Participant::new();
    shard.call("set a 1");
    shard.prepare(5, &["synod.hold a"]);
    assert_eq!(shard.asks(1, "incr a"), "(parked)");
    let next = TxnId { attempt: 1, ..id(5) };
    let after = Some(id(5));
    let flush = Prepare { after, ..prepare(next, Span::Whole, &["flushall"]) };
    assert_eq!(shard.txn(Txn::Prepare(flush)), "*0\r\n", "nobody came in between");
    assert_eq!(shard.late(), []);
    shard.txn(Txn::Decide { txn: next, commit: true });
    assert_eq!(shard.late(), [(1, ":1\r\n".into())]);
}

#[test]
fn what_waited_behind_a_call_goes_on_when_its_client_is_gone() {
    let mut shard = Participant::new();
    shard.prepare(5, &["set z 5"]);
    assert_eq!(shard.asks(1, "blpop z b 0"), "(parked)");
    assert_eq!(shard.asks(2, "rpush b x"), "(parked)");
    assert_eq!(shard.prepare(3, &["rpush b y"]), "(parked)");
    let target = Origin { node: 9, number: 1 };
    shard.op(Body::Unblock { target, how: Unblock::Gone }, None);
    assert_eq!(shard.late()[0], (2, ":1\r\n".into()));
    assert_eq!(shard.txn(Txn::Fence { txn: id(3) }), "+PREPARED\r\n");
}

#[test]
fn readers_share_a_key_and_keep_writers_out() {
    let mut shard = Participant::new();
    shard.call("set a 1");
    shard.prepare(1, &["get a"]);
    assert_eq!(shard.prepare(2, &["get a"]), "*1\r\n$7\r\n$1\r\n1\r\n\r\n");
    assert_eq!(shard.call("get a"), "$1\r\n1\r\n");
    assert_eq!(shard.asks(1, "set a 2"), "(parked)");
    shard.decide(1, true);
    assert_eq!(shard.late(), []);
    shard.decide(2, false);
    assert_eq!(shard.late(), [(1, "+OK\r\n".into())]);
}

#[test]
fn a_key_that_a_transaction_has_read_does_not_expire_before_that_is_decided() {
    let mut shard = Participant::new();
    shard.call("set a 1 px 100");
    shard.prepare(1, &["get a"]);
    shard.now += 1_000;
    assert_eq!(shard.op(Body::Tick, None), "");
    assert_eq!(shard.asks(1, "get a"), "(parked)", "it is due, and it is not gone");
    assert!(shard.shard.next_due().is_none(), "no tick can do anything about it");
    shard.decide(1, true);
    assert_eq!(shard.late(), [(1, "$-1\r\n".into())]);
}

#[test]
fn what_was_compared_must_be_as_it_was() {
    let mut shard = Participant::new();
    shard.call("set a 1");
    let version = shard.shard.version(Millis(0), 0, b"a").unwrap();
    let compares = vec![Watch { db: 0, version, key: b"a".to_vec() }];
    let one = Prepare { compares, ..prepare(id(1), Span::Keys, &["set b 1"]) };
    let two = Prepare { txn: id(2), ..one.clone() };
    shard.txn(Txn::Prepare(one));
    assert_eq!(shard.asks(1, "set a 2"), "(parked)", "a compared key is locked for reading");
    shard.decide(1, false);
    assert_eq!(shard.txn(Txn::Prepare(two)), "+CHANGED\r\n");
}

#[test]
fn a_whole_shard_runs_its_calls_at_the_commit_and_repeats_the_replies() {
    let mut shard = Participant::new();
    shard.call("mset a 1 b 2");
    let whole = |number, lines| Txn::Prepare(prepare(id(number), Span::Whole, lines));
    assert_eq!(shard.txn(whole(1, &["dbsize", "flushall", "dbsize"])), "*0\r\n");
    assert_eq!(shard.asks(1, "get a"), "(parked)");
    assert_eq!(shard.asks(2, "dbsize"), "(parked)");
    assert_eq!(shard.prepare(0, &["set c 1"]), "(parked)");
    shard.reload();
    let replies = "*3\r\n$4\r\n:2\r\n\r\n$5\r\n+OK\r\n\r\n$4\r\n:0\r\n\r\n";
    assert_eq!(shard.decide(1, true), replies);
    let late: Vec<String> = shard.late().into_iter().map(|(_, reply)| reply).collect();
    assert_eq!(late, ["$-1\r\n", ":0\r\n", "*1\r\n$5\r\n+OK\r\n\r\n"]);
    shard.reload();
    assert_eq!(shard.decide(1, true), replies);
    assert_eq!(shard.txn(whole(2, &["flushall"])), "+BUSY\r\n");
}

#[test]
fn a_fence_before_the_prepare_refuses_it_and_one_behind_it_does_not() {
    let mut shard = Participant::new();
    assert_eq!(shard.txn(Txn::Fence { txn: id(1) }), "+ABORTED\r\n");
    assert_eq!(shard.prepare(1, &["set a 1"]), "+FENCED 1000000\r\n");
    shard.prepare(2, &["set a 2"]);
    assert_eq!(shard.txn(Txn::Fence { txn: id(2) }), "+PREPARED\r\n");
    assert_eq!(
        shard.prepare(2, &["set a 2"]),
        "*1\r\n$5\r\n+OK\r\n\r\n",
        "repeated, not run again"
    );
    shard.decide(2, true);
    assert_eq!(shard.txn(Txn::Fence { txn: id(2) }), "+COMMITTED\r\n");
    assert!(shard.prepare(2, &["set a 2"]).starts_with("-UNKNOWN "));
    shard.txn(Txn::Forget { txns: vec![id(2)] });
    assert_eq!(shard.shard.doubts(), []);
}

#[test]
fn tombstones_end_at_the_floor_and_below_it_nothing_is_prepared() {
    let mut shard = Participant::new();
    shard.txn(Txn::Fence { txn: id(1) });
    shard.now += 61_000;
    let late = TxnId { born: Millis(shard.now), ..id(2) };
    assert!(shard.txn(Txn::Prepare(prepare(late, Span::Keys, &["set a 1"]))).starts_with("*1"));
    assert!(shard.shard.txns.aborted.is_empty());
    assert_eq!(shard.prepare(1, &["set a 1"]), "+FENCED 1061000\r\n");
}

#[test]
fn a_blocked_client_is_served_by_a_commit() {
    let mut shard = Participant::new();
    assert_eq!(shard.asks(1, "blpop l 0"), "(blocked)");
    shard.prepare(1, &["rpush l x y"]);
    assert_eq!(shard.late(), []);
    shard.decide(1, true);
    assert_eq!(shard.late(), [(1, "*2\r\n$1\r\nl\r\n$1\r\nx\r\n".into())]);
    assert_eq!(shard.call("lrange l 0 -1"), "*1\r\n$1\r\ny\r\n");
}

#[test]
fn a_served_client_waits_on_if_its_other_key_is_locked() {
    let mut shard = Participant::new();
    assert_eq!(shard.asks(1, "blmove l target left right 0"), "(blocked)");
    shard.prepare(1, &["set target x"]);
    shard.call("rpush l a");
    assert_eq!(shard.late(), []);
    shard.decide(1, false);
    assert_eq!(shard.late(), [(1, "$1\r\na\r\n".into())]);
}

/// Runs lines on a scratch as a gateway does, and applies what comes of it to the shards.
fn at_gateway(shards: &mut [Participant], number: u64, lines: &[&str]) -> Option<Vec<String>> {
    let calls: Vec<_> = lines.iter().map(|line| (0, args(line))).collect();
    let mut scratch = Scratch::new(Millis(shards[0].now), number);
    let done = loop {
        match scratch.run(Proto::Resp2, &calls) {
            Ran::Done(done) => break done,
            Ran::Walked(dbs) => {
                for db in dbs {
                    scratch.forget();
                    shards.iter().for_each(|shard| {
                        let names = names(&shard.shard.dbs[usize::from(db)], shard.shard.clock);
                        scratch.name(db, &names.unwrap()).unwrap();
                    });
                }
            }
            Ran::Drawn(dbs) => dbs.into_iter().for_each(|db| scratch.let_draw(db)),
            Ran::Missing(keys) => {
                for key in keys {
                    let owner = &mut shards[place(&key.1)].shard;
                    let version = owner.version(Millis(0), 0, &key.1).unwrap();
                    let entry = owner.dbs[0].get(&key.1).cloned();
                    let mut value = Vec::new();
                    entry
                        .iter()
                        .for_each(|entry| crate::snapshot::put_value(&mut value, &entry.value));
                    let value = entry.is_some().then_some(&value[..]);
                    scratch.add(key, version, -1, value).unwrap();
                }
            }
        }
    };
    commit(shards, number, &done).then(|| done.replies.iter().map(|reply| shown(reply)).collect())
}

fn place(key: &[u8]) -> usize {
    usize::from(key[0]) % 2
}

fn commit(shards: &mut [Participant], number: u64, done: &Done) -> bool {
    let mut agreed = true;
    for (at, shard) in shards.iter_mut().enumerate() {
        let puts = done.puts.iter().filter(|((_, key), _)| place(key) == at);
        let puts = puts.map(|((db, _), args)| (*db, args.clone()));
        let flushes = done.flushed.iter().map(|db| (*db, args("flushdb")));
        let calls = flushes.chain(puts).collect();
        let span = if done.flushed.is_empty() { Span::Keys } else { Span::Whole };
        let compares = done.compares.iter().filter(|watch| place(&watch.key) == at);
        let compares = compares.cloned().collect();
        let one = Prepare { calls, compares, ..prepare(id(number), span, &[]) };
        agreed &= shard.txn(Txn::Prepare(one)).starts_with('*');
    }
    for shard in shards {
        shard.decide(number, agreed);
    }
    agreed
}

#[test]
fn calls_over_shards_run_on_a_scratch_with_keys_that_nobody_named() {
    let mut shards = [Participant::new(), Participant::new()];
    shards[place(b"a")].call("rpush a 1 2 3");
    shards[place(b"b")].call("set b a");
    let script =
        "eval \"return redis.call('lmove', redis.call('get', KEYS[1]), 'd', 'left', 'right')\" 1 b";
    let replies = at_gateway(&mut shards, 1, &[script, "lrange d 0 -1", "del b"]).unwrap();
    assert_eq!(replies, ["$1\r\n1\r\n", "*1\r\n$1\r\n1\r\n", ":1\r\n"]);
    assert_eq!(shards[place(b"a")].call("lrange a 0 -1"), "*2\r\n$1\r\n2\r\n$1\r\n3\r\n");
    assert_eq!(shards[place(b"d")].call("lrange d 0 -1"), "*1\r\n$1\r\n1\r\n");
    assert_eq!(shards[place(b"b")].call("exists b"), ":0\r\n");
}

#[test]
fn calls_over_shards_walk_over_all_keys_and_delete_them() {
    let mut shards = [Participant::new(), Participant::new()];
    shards[place(b"a")].call("mset a 1 a:1 2");
    shards[place(b"b")].call("rpush b x");
    shards[place(b"b")].call("set b:1 3 px 60000");
    let mut run = |number, lines: &[&str]| at_gateway(&mut shards, number, lines).unwrap();
    assert_eq!(run(1, &["dbsize", "set c 1", "dbsize"]), [":4\r\n", "+OK\r\n", ":5\r\n"]);
    let types = "eval \"local all = redis.call('scan', 0, 'type', 'list', 'count', 99) \
        return {all[1], all[2][1], #redis.call('keys', '*')}\" 0";
    assert_eq!(run(2, &[types]), ["*3\r\n$1\r\n0\r\n$1\r\nb\r\n:5\r\n"]);
    // What is touched is fetched, and what is done shows in the next walk.
    let sum = "eval \"local sum = 0 for _, key in ipairs(redis.call('keys', '?:1')) do \
        sum = sum + redis.call('get', key) redis.call('del', key) end \
        return {sum, redis.call('dbsize')}\" 0";
    assert_eq!(run(3, &[sum, "dbsize"]), ["*2\r\n:5\r\n:3\r\n", ":3\r\n"]);
    assert_eq!(run(4, &["exists a:1", "exists b:1", "get a"]), [":0\r\n", ":0\r\n", "$1\r\n1\r\n"]);
    // Of a key with a name alone no command meets a value.
    let every = "eval \"redis.call('keys', '*') local r = {} for at, name in ipairs(ARGV) do \
        r[at] = redis.pcall(name, 'b') end return #r\" 0 \
        lpop rpop spop srandmember zpopmin hgetall hrandfield zrandmember llen scard strlen xlen \
        getdel persist type object del get incr";
    shards[place(b"b")].call("rpush b x");
    assert_eq!(at_gateway(&mut shards, 40, &[every]).unwrap(), [":19\r\n"]);
    shards[place(b"b")].call("del b");
    shards[place(b"b")].call("rpush b x");
    let mut run = |number, lines: &[&str]| at_gateway(&mut shards, number, lines).unwrap();
    // What deletes all keys needs none of them; what was there before counts still.
    let renew = ["get a", "flushdb", "dbsize", "get a", "set d 1", "dbsize", "randomkey"];
    let replies = run(5, &renew);
    assert_eq!(replies[..4], ["$1\r\n1\r\n", "+OK\r\n", ":0\r\n", "$-1\r\n"]);
    assert_eq!(replies[4..], ["+OK\r\n", ":1\r\n", "$1\r\nd\r\n"]);
    assert_eq!(run(6, &["keys *"]), ["*1\r\n$1\r\nd\r\n"]);
    // A key that came between the two is deleted too.
    assert_eq!(run(7, &["flushall", "del d"]), ["+OK\r\n", ":0\r\n"]);
    assert!(shards.iter().all(|shard| shard.shard.dbs[0].is_empty()));
}

#[test]
fn a_survey_locks_all_and_is_taken_over_from_snapshots_too() {
    let mut shard = Participant::new();
    shard.call("mset a 1 b 2");
    let survey = Txn::Prepare(prepare(id(1), Span::Survey, &["synod.hold a", "dbsize"]));
    let told = shard.txn(survey.clone());
    assert!(told.starts_with("*2"), "{told}");
    assert_eq!(shard.asks(1, "set c 1"), "(parked)");
    shard.reload();
    assert_eq!(shard.txn(survey), told, "asked again, it tells the same");
    let next = TxnId { attempt: 1, ..id(1) };
    let one = Prepare { after: Some(id(1)), ..prepare(next, Span::Keys, &["set a 5"]) };
    assert!(shard.txn(Txn::Prepare(one)).starts_with("*1"));
    assert_eq!(shard.late(), [(1, "+OK\r\n".into())], "only what it changes is locked now");
    shard.txn(Txn::Decide { txn: next, commit: true });
    assert_eq!(shard.call("get a"), "$1\r\n5\r\n");
    // Somebody else has settled it, and a key has come of which it knows nothing.
    let again = TxnId { attempt: 3, ..id(1) };
    let survey = |txn| Txn::Prepare(prepare(txn, Span::Survey, &["dbsize"]));
    let then = |after| {
        let next = TxnId { attempt: 4, ..id(1) };
        let one = prepare(next, Span::Keys, &["set a 6"]);
        Txn::Prepare(Prepare { after: Some(after), unbroken: true, ..one })
    };
    assert!(shard.txn(survey(again)).starts_with("*1"));
    assert_eq!(shard.txn(Txn::Fence { txn: again }), "+PREPARED\r\n");
    shard.txn(Txn::Decide { txn: again, commit: true });
    assert_eq!(shard.call("set new x"), "+OK\r\n");
    assert_eq!(shard.txn(then(again)), "+CHANGED\r\n");
    assert_eq!(shard.call("get a"), "$1\r\n5\r\n");
    let held = TxnId { attempt: 5, ..id(1) };
    assert!(shard.txn(survey(held)).starts_with("*1"));
    let one = then(held);
    let told = shard.txn(one.clone());
    assert!(told.starts_with("*1"), "{told}");
    assert_eq!(shard.txn(one), told, "asked again, it is as it was");
    shard.txn(Txn::Decide { txn: TxnId { attempt: 4, ..id(1) }, commit: true });
    assert_eq!(shard.call("get a"), "$1\r\n6\r\n");
    let liar = Txn::Prepare(prepare(id(9), Span::Survey, &["set a 1"]));
    assert_eq!(shard.txn(liar), "-FAILED 0 ERR a survey changes nothing\r\n");
    assert_eq!(shard.call("get a"), "$1\r\n6\r\n");
}

/// One step of a random history: which transaction (or none) does what with which keys.
#[derive(Clone, Debug)]
enum Step {
    Call(u8, u8),
    Prepare(u8, Vec<(u8, u8)>),
    Decide(u8, bool),
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..3u8, 0..9u8).prop_map(|(key, value)| Step::Call(key, value)),
        (0..6u8, prop::collection::vec((0..3u8, 0..9u8), 1..3))
            .prop_map(|(txn, calls)| Step::Prepare(txn, calls)),
        (0..6u8, any::<bool>()).prop_map(|(txn, commit)| Step::Decide(txn, commit)),
        Just(Step::Reload),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Whatever is prepared, parked and decided: the state is that of the committed calls and of the
    /// plain ones, run one behind the other in the order in which they took effect, and nothing is
    /// left waiting once all is decided.
    #[test]
    fn a_shard_is_what_its_committed_calls_make_of_it(steps in steps()) {
        let mut shard = Participant::new();
        let mut sum = [0u64; 3];
        let mut prepared: std::collections::BTreeMap<u8, Vec<(u8, u8)>> = Default::default();
        let mut asked = std::collections::BTreeMap::new();
        let (mut number, mut attempts) = (0, [0u32; 6]);
        let line = |key: u8, value: u8| format!("incrby k{key} {value}");
        for step in steps {
            number += 1;
            match step {
                Step::Call(key, value) => {
                    asked.insert(number, (key, value));
                    if shard.asks(number, &line(key, value)) != "(parked)" {
                        sum[usize::from(key)] += u64::from(value);
                        asked.remove(&number);
                    }
                }
                Step::Prepare(txn, calls) if !prepared.contains_key(&txn) => {
                    attempts[usize::from(txn)] += 1;
                    let attempt = attempts[usize::from(txn)];
                    let lines: Vec<String> = calls.iter().map(|(k, v)| line(*k, *v)).collect();
                    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                    let id = TxnId { attempt, ..id(u64::from(txn)) };
                    let reply = shard.txn(Txn::Prepare(prepare(id, Span::Keys, &lines)));
                    if reply.starts_with('*') {
                        prepared.insert(txn, calls);
                    } else {
                        // Parked or refused: given up.
                        shard.txn(Txn::Decide { txn: id, commit: false });
                    }
                }
                Step::Prepare(..) => {}
                Step::Decide(txn, commit) => {
                    if let Some(calls) = prepared.remove(&txn) {
                        let id = TxnId { attempt: attempts[usize::from(txn)], ..id(u64::from(txn)) };
                        shard.txn(Txn::Decide { txn: id, commit });
                        for (key, value) in calls.iter().filter(|_| commit) {
                            sum[usize::from(*key)] += u64::from(*value);
                        }
                    }
                }
                Step::Reload => shard.reload(),
            }
            for (number, _) in shard.late() {
                if let Some((key, value)) = asked.remove(&number) {
                    sum[usize::from(key)] += u64::from(value);
                }
            }
        }
        for (txn, _) in prepared {
            let id = TxnId { attempt: attempts[usize::from(txn)], ..id(u64::from(txn)) };
            shard.txn(Txn::Decide { txn: id, commit: false });
        }
        for (number, _) in shard.late() {
            if let Some((key, value)) = asked.remove(&number) {
                sum[usize::from(key)] += u64::from(value);
            }
        }
        prop_assert!(asked.is_empty(), "somebody waits for nothing: {asked:?}");
        prop_assert_eq!(shard.shard.parked(), 0);
        for (key, sum) in sum.iter().enumerate() {
            let reply = shard.call(&format!("incrby k{key} 0"));
            prop_assert_eq!(reply, format!(":{sum}\r\n"));
        }
    }
}

/// A gateway's fetch that waited ran between two changes that waited as well: all three had the
/// version of the operation that freed the key, and the second change was written over.
#[test]
fn a_version_that_was_read_behind_a_lock_is_not_that_of_what_waited_after_it() {
    let mut shard = Participant::new();
    shard.call("rpush l 1");
    shard.prepare(1, &["get other", "llen l", "lset l 0 1"]);
    assert_eq!(shard.asks(1, "rpush l 2"), "(parked)");
    assert_eq!(shard.asks(2, "synod.versions l"), "(parked)");
    assert_eq!(shard.asks(3, "rpush l 3"), "(parked)");
    shard.decide(1, true);
    let late = shard.late();
    let version = late[1].1.trim_start_matches("*1\r\n:").trim_end().parse().unwrap();
    let compares = vec![Watch { db: 0, version, key: b"l".to_vec() }];
    let one = Prepare { compares, ..prepare(id(2), Span::Keys, &["set b 1"]) };
    assert_eq!(shard.txn(Txn::Prepare(one)), "+CHANGED\r\n");
}

/// What a commit brings serves who waits for it, though what waited for the commit is undone.
#[test]
fn an_undone_script_does_not_take_the_turn_of_a_blocked_client() {
    let mut shard = Participant::new();
    shard.shard.set_slots(0..=16_383 / 2);
    assert_eq!(shard.asks(1, "blpop {b}l 0"), "(blocked)");
    shard.prepare(1, &["rpush {b}l x", "set {b}k 1"]);
    let script = "eval \"redis.call('incr', KEYS[1]) return redis.call('get', 'a')\" 1 {b}k";
    assert_eq!(shard.asks(2, script), "(parked)");
    shard.decide(1, true);
    let late = shard.late();
    assert!(late.contains(&(1, "*2\r\n$4\r\n{b}l\r\n$1\r\nx\r\n".into())), "{late:?}");
    assert!(late.iter().any(|(number, reply)| *number == 2 && reply == "?ESCAPED"));
    assert_eq!(shard.call("get {b}k"), "$1\r\n1\r\n");
}

/// A gateway was started anew while one participant had not heard of the commit: the record of the
/// other must stay, or a recovery would take the transaction for aborted.
#[test]
fn a_gateway_that_begins_anew_does_not_make_its_former_life_forgotten() {
    let mut shard = Participant::new();
    shard.prepare(5, &["set a 1"]);
    shard.decide(5, true);
    let again = id(100);
    shard.txn(Txn::Prepare(Prepare { done: 100..100, ..prepare(again, Span::Keys, &["set b 1"]) }));
    assert_eq!(shard.txn(Txn::Fence { txn: id(5) }), "+COMMITTED\r\n");
    let next = id(101);
    shard.txn(Txn::Prepare(Prepare { done: 4..6, ..prepare(next, Span::Keys, &["set c 1"]) }));
    assert!(shard.shard.doubts().iter().all(|doubt| doubt.txn != id(5)), "now it is known");
}

#[test]
fn the_dice_of_a_scratch_are_the_callers() {
    let draw = |seed| {
        let mut scratch = Scratch::new(Millis(1), seed);
        let text: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let calls = [(0, args(&format!("sadd s {}", text.join(" ")))), (0, args("srandmember s"))];
        scratch.add((0, b"s".to_vec()), 0, -1, None).unwrap();
        let Ran::Done(done) = scratch.run(Proto::Resp2, &calls) else {
            panic!("nothing is missing")
        };
        shown(&done.replies[1])
    };
    let mut rng = Rng::new(1);
    let seeds: Vec<u64> = (0..20).map(|_| rng.below(1 << 40)).collect();
    assert!(seeds.iter().all(|seed| draw(*seed) == draw(*seed)));
    assert!(seeds.iter().any(|seed| draw(*seed) != draw(seeds[0])));
}

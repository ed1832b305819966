//! Every acknowledged write survives, whatever is killed; none is made twice.
//!
//! Writers go on through all nodes while nodes die, are stopped, and take snapshots. A reply counts
//! as acknowledged; an `UNKNOWN`, or a connection that broke, as "may have happened"; any other
//! error as "did not happen". Afterwards each counter must stand between what was acknowledged and
//! that plus what may have happened, and each acknowledged key must have its value. Meanwhile no counter may be seen lower than it was
//! known to be when the call was sent, through whatever node, and no two increments may be told the
//! same value.
//!
//! `SYNOD_ROUNDS=50` runs more rounds than the usual three.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use stdx::Rng;
use wire::resp::Value;

use crate::client::{Client, bulk};
use crate::cluster::{Cluster, IsOk, StopOnDrop};

const COUNTERS: usize = 16;
/// Writers; each uses one node as long as that lives.
const WRITERS: usize = 6;
/// Calls that a writer sends before it waits.
const PIPELINE: usize = 8;

/// One counter, as its writers know it.
#[derive(Default)]
struct Counter {
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    /// The highest value that anybody was told.
    highest: AtomicU64,
    /// The values that increments were told.
    told: Mutex<BTreeSet<u64>>,
}

/// What all writers know.
#[derive(Default)]
struct Ledger {
    counters: [Counter; COUNTERS],
    /// Keys whose SET was acknowledged.
    keys: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// A call on its way. `floor` is what the counter was known to be when it was sent.
enum Sent {
    Incr { at: usize, floor: u64 },
    Read { at: usize, floor: u64 },
    Set(String),
}

/// How many rounds this run is to have.
fn rounds() -> usize {
    std::env::var("SYNOD_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// Writes until it is told to stop; connects again whenever its connection breaks.
fn write(ledger: &Ledger, addr: &str, writer: usize) {
    let mut rng = Rng::new(writer as u64);
    let mut next_key = 0;
    while !ledger.stop.load(Ordering::Acquire) {
        let Ok(mut client) = Client::connect(addr) else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let mut sent = VecDeque::new();
        let broken = loop {
            if ledger.stop.load(Ordering::Acquire) && sent.is_empty() {
                return;
            }
            if sent.len() < PIPELINE && !ledger.stop.load(Ordering::Acquire) {
                next_key += 1;
                let (call, args) = ledger.next_call(&mut rng, format!("key:{writer}:{next_key}"));
                sent.push_back(call);
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                match client.send(&[&args]) {
                    Ok(()) if sent.len() < PIPELINE => continue,
                    Ok(()) => {}
                    Err(_) => break sent,
                }
            }
            match client.reply() {
                Ok(reply) => ledger.note(sent.pop_front().expect("a call for each reply"), reply),
                Err(_) => break sent,
            }
        };
        broken.into_iter().for_each(|call| ledger.may_have_happened(call));
    }
}

impl Ledger {
    fn next_call(&self, rng: &mut Rng, key: String) -> (Sent, Vec<String>) {
        let at = rng.below(COUNTERS as u64) as usize;
        let (floor, name) = (self.counters[at].highest.load(Ordering::Acquire), counter_key(at));
        match rng.below(5) {
            0 => (Sent::Read { at, floor }, vec!["GET".to_owned(), name]),
            1 | 2 => (Sent::Incr { at, floor }, vec!["INCR".to_owned(), name]),
            _ => (Sent::Set(key.clone()), vec!["SET".to_owned(), key.clone(), key]),
        }
    }

    fn note(&self, call: Sent, reply: Value) {
        match (call, reply) {
            (Sent::Incr { at, floor }, Value::Int(value)) => {
                let (counter, value) = (&self.counters[at], value as u64);
                assert!(value > floor, "counter {at} was {floor} and then became {value}");
                assert!(counter.told.lock().unwrap().insert(value), "{at}: {value} was told twice");
                counter.acknowledged.fetch_add(1, Ordering::Relaxed);
                counter.highest.fetch_max(value, Ordering::AcqRel);
            }
            (Sent::Read { at, floor }, reply @ (Value::Bulk(_) | Value::Null)) => {
                let value = count(reply);
                assert!(value >= floor, "counter {at} was {floor} and then {value}");
                self.counters[at].highest.fetch_max(value, Ordering::AcqRel);
            }
            (Sent::Set(key), reply) if reply.is_ok().is_some() => {
                self.keys.lock().unwrap().push(key);
            }
            (call, Value::Error(text)) if text.starts_with("UNKNOWN ") => {
                self.may_have_happened(call);
            }
            (_, Value::Error(text)) => {
                let refused = ["LOADING ", "TRYAGAIN "].iter().any(|s| text.starts_with(s));
                assert!(refused, "an error that says nothing about the outcome: {text}");
            }
            (_, other) => panic!("a reply to another call: {other:?}"),
        }
    }

    fn may_have_happened(&self, call: Sent) {
        if let Sent::Incr { at, .. } = call {
            self.counters[at].unknown.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Holds the counters and those keys against what the cluster says.
    fn check(&self, client: &mut Client, keys: &[String]) {
        for (at, counter) in self.counters.iter().enumerate() {
            let acknowledged = counter.acknowledged.load(Ordering::Acquire);
            let most = acknowledged + counter.unknown.load(Ordering::Acquire);
            let value = count(client.must(&["GET", &counter_key(at)]));
            assert!(
                (acknowledged..=most).contains(&value),
                "counter {at} is {value}, of {acknowledged} acknowledged and {most} at most"
            );
        }
        for some in keys.chunks(500) {
            let mut call = vec!["MGET"];
            call.extend(some.iter().map(String::as_str));
            let Value::Array(values) = client.must(&call) else { panic!("MGET gives an array") };
            for (key, value) in some.iter().zip(values) {
                assert_eq!(value, bulk(key), "{key} was acknowledged");
            }
        }
    }
}

fn counter_key(at: usize) -> String {
    format!("counter:{at}")
}

/// The value of a counter; 0 if it does not exist.
fn count(reply: Value) -> u64 {
    match reply {
        Value::Bulk(text) => String::from_utf8(text).unwrap().parse().unwrap(),
        Value::Null => 0,
        other => panic!("a counter is no {other:?}"),
    }
}

/// Runs writers beside `act`, and waits for them.
fn under_load(cluster: &mut Cluster, ledger: &Ledger, act: impl FnOnce(&mut Cluster)) {
    ledger.stop.store(false, Ordering::Release);
    let addrs: Vec<String> =
        (0..WRITERS).map(|writer| cluster.addr(writer % cluster.len()).to_owned()).collect();
    thread::scope(|scope| {
        for (writer, addr) in addrs.iter().enumerate() {
            scope.spawn(move || write(ledger, addr, writer));
        }
        // The writers end even if this panics: a scope waits for them.
        let stop = StopOnDrop(&ledger.stop);
        act(cluster);
        drop(stop);
    });
}

/// Waits until so many more writes are acknowledged: only then is the cluster truly under load.
fn wait_for_progress(ledger: &Ledger, writes: usize) {
    let count = || ledger.keys.lock().unwrap().len();
    let start = count();
    crate::cluster::wait_for("writes", || (count() >= start + writes).then_some(()));
}

/// Kills a node, or all of them, or stops the leader until the others have another one.
fn hurt(cluster: &mut Cluster, ledger: &Ledger, round: usize, victim: usize) {
    match round % 3 {
        0 => {
            cluster.kill(victim);
            wait_for_progress(ledger, 100);
        }
        1 => {
            let leader = cluster.wait_until_leader();
            let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
            cluster.process(leader).signal(Signal::STOP);
            cluster.wait_until_leader_among(&others);
            wait_for_progress(ledger, 100);
            cluster.process(leader).signal(Signal::CONT);
            wait_for_progress(ledger, 100);
        }
        _ => cluster.kill_all(),
    }
}

#[test]
fn every_acknowledged_write_survives_kill_9_and_none_is_made_twice() {
    let mut cluster = Cluster::start(3);
    let ledger = Ledger::default();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let (start, mut checked) = (Instant::now(), 0);
    for round in 0..rounds() {
        under_load(&mut cluster, &ledger, |cluster| {
            wait_for_progress(&ledger, 100 + rng.below(400) as usize);
            if rng.one_in(2) {
                cluster.client(rng.below(3) as usize).must(&["SYNOD", "SNAPSHOT"]);
            }
            hurt(cluster, &ledger, round, rng.below(3) as usize);
            cluster.start_all();
            wait_for_progress(&ledger, 100);
        });
        cluster.wait_until_leader();
        let keys = ledger.keys.lock().unwrap().clone();
        ledger.check(&mut cluster.client(rng.below(3) as usize), &keys[checked..]);
        checked = keys.len();
    }
    let keys = ledger.keys.lock().unwrap().clone();
    (0..3).for_each(|node| ledger.check(&mut cluster.client(node), &keys));
    let sum = |count: fn(&Counter) -> &AtomicU64| -> u64 {
        ledger.counters.iter().map(|counter| count(counter).load(Ordering::Acquire)).sum()
    };
    println!(
        "{} rounds in {:.1?}: {} keys and {} increments acknowledged, {} increments unknown",
        rounds(),
        start.elapsed(),
        keys.len(),
        sum(|counter| &counter.acknowledged),
        sum(|counter| &counter.unknown)
    );
}

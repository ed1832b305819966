//! Every acknowledged write survives, whatever is killed; none is made twice.
//!
//! Writers go on through all nodes while nodes die. A reply counts as acknowledged; an `UNKNOWN`, or
//! a connection that broke, as "may have happened"; any other error as "did not happen". Afterwards
//! each counter must stand between what was acknowledged and that plus what may have happened, and
//! each acknowledged key must have its value.
//!
//! `SYNOD_ROUNDS=50` runs more rounds than the usual three.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stdx::Rng;
use wire::resp::Value;

use crate::client::{Client, bulk};
use crate::cluster::{Cluster, IsOk};

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
}

/// What all writers know.
#[derive(Default)]
struct Ledger {
    counters: [Counter; COUNTERS],
    /// Keys whose SET was acknowledged.
    keys: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// A call on its way.
enum Sent {
    Incr(usize),
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
                let (call, result) = match rng.one_in(2) {
                    true => {
                        let at = rng.below(COUNTERS as u64) as usize;
                        (Sent::Incr(at), client.send(&[&["INCR", &format!("counter:{at}")]]))
                    }
                    false => {
                        next_key += 1;
                        let key = format!("key:{writer}:{next_key}");
                        let result = client.send(&[&["SET", &key, &key]]);
                        (Sent::Set(key), result)
                    }
                };
                sent.push_back(call);
                match result {
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
    fn note(&self, call: Sent, reply: Value) {
        match (call, reply) {
            (Sent::Incr(at), Value::Int(_)) => {
                self.counters[at].acknowledged.fetch_add(1, Ordering::Relaxed);
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
        if let Sent::Incr(at) = call {
            self.counters[at].unknown.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Holds the counters and those keys against what the cluster says.
    fn check(&self, client: &mut Client, keys: &[String]) {
        for (at, counter) in self.counters.iter().enumerate() {
            let acknowledged = counter.acknowledged.load(Ordering::Acquire);
            let most = acknowledged + counter.unknown.load(Ordering::Acquire);
            let value = match client.must(&["GET", &format!("counter:{at}")]) {
                Value::Bulk(text) => String::from_utf8(text).unwrap().parse().unwrap(),
                Value::Null => 0,
                other => panic!("counter {at}: {other:?}"),
            };
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

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Waits until so many more writes are acknowledged: only then is the cluster truly under load.
fn wait_for_progress(ledger: &Ledger, writes: usize) {
    let count = || ledger.keys.lock().unwrap().len();
    let start = count();
    crate::cluster::wait_for("writes", || (count() >= start + writes).then_some(()));
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
            if round % 3 == 2 {
                cluster.kill_all();
            } else {
                cluster.kill(rng.below(3) as usize);
                wait_for_progress(&ledger, 100);
            }
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

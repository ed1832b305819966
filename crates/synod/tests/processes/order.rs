//! What one connection pipelines, beside transactions over several shards that lock its keys.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use wire::resp::Value;

use crate::client::{Client, bulk};
use crate::cluster::Cluster;

const ROUNDS: usize = 300;

/// Keys in different shards that everybody uses.
const HOT: [&str; 3] = ["{a}hot", "{b}hot", "{c}hot"];

/// Transactions that read or write hot keys, until all others are done.
fn lock(client: &mut Client, seed: usize, stop: &AtomicBool) {
    let mut round = seed;
    while !stop.load(Ordering::Acquire) {
        round += 1;
        let [one, other] = [HOT[round % 3], HOT[(round + 1) % 3]];
        let (get, set) = (["GET", one], ["SET", other, "x"]);
        client.send(&[&["MULTI"], &get, &set, &["EXEC"]]).unwrap();
        (0..4).for_each(|_| drop(client.reply().unwrap()));
    }
}

/// Sends calls in one go, and checks the replies that are told: an array is told by its first element. A read
/// of several keys that waits at a follower may be refused.
fn pipeline(client: &mut Client, calls: &[(&[&str], Option<Value>)]) {
    let sent: Vec<&[&str]> = calls.iter().map(|(call, _)| *call).collect();
    client.send(&sent).unwrap();
    let replies: Vec<Value> = calls.iter().map(|_| client.reply().unwrap()).collect();
    for ((call, expect), reply) in calls.iter().zip(&replies) {
        let told = match reply {
            Value::Error(error) if call[0] == "MGET" && error.starts_with("LOADING") => continue,
            Value::Error(error) => panic!("{call:?}: {error}"),
            Value::Array(items) => &items[0],
            reply => reply,
        };
        assert!(
            expect.as_ref().is_none_or(|expect| expect == told),
            "{call:?} of {calls:?}: {replies:?}"
        );
    }
}

/// Calls that need a hot key and one that nobody else uses, and calls to that behind them.
fn ask(client: &mut Client, seed: usize) {
    for round in 0..ROUNDS {
        let hot = HOT[round % 3];
        let own = format!("{}own{seed}", &hot[..3]);
        let [old, first, second] = [0, 1, 2].map(|by| format!("{}", 3 * round + by));
        let set = |value| ["SET", &own, value];
        let get = ["GET", &own];
        pipeline(client, &[(&set(&old), None)]);
        let read = ["MGET", &own, hot];
        let reads: [(&[&str], _); 4] = [
            (&read, Some(bulk(&old))),
            (&set(&first), None),
            (&read, Some(bulk(&first))),
            (&set(&second), None),
        ];
        pipeline(client, &reads);
        let mset = ["MSET", &own, &first, hot, "y"];
        let writes: [(&[&str], _); 3] =
            [(&mset, None), (&set(&second), None), (&get, Some(bulk(&second)))];
        pipeline(client, &writes);
        pipeline(client, &[(&get, Some(bulk(&second)))]);
        let script = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[2])";
        let eval = ["EVAL", script, "2", &own, hot, &old];
        let around: [(&[&str], _); 4] = [
            (&get, Some(bulk(&second))),
            (&eval, None),
            (&get, Some(bulk(&old))),
            (&set(&first), None),
        ];
        pipeline(client, &around);
        pipeline(client, &[(&get, Some(bulk(&first)))]);
    }
}

#[test]
fn what_one_connection_pipelines_keeps_its_order_beside_transactions_that_lock_its_keys() {
    let cluster = Cluster::sharded(3, 8);
    for hot in HOT {
        cluster.client(0).must(&["SET", hot, "x"]);
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let lockers: Vec<_> = (0..3)
            .map(|seed| {
                let (mut client, stop) = (cluster.client(seed), &stop);
                scope.spawn(move || lock(&mut client, seed, stop))
            })
            .collect();
        let askers: Vec<_> = (0..6)
            .map(|seed| {
                let mut client = cluster.client(seed % 3);
                if seed >= 3 {
                    // Its reads are answered by this node.
                    client.must(&["READONLY"]);
                }
                scope.spawn(move || ask(&mut client, seed))
            })
            .collect();
        let asked: Vec<_> = askers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Release);
        lockers.into_iter().for_each(|locker| locker.join().unwrap());
        asked.into_iter().for_each(|asker| asker.unwrap());
    });
}

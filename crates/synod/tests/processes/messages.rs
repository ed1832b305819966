//! What reaches clients of other nodes: messages of channels, events of keys, watched keys.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stdx::Rng;
use wire::resp::Value;

use crate::client::{Client, bulk, bulks};
use crate::cluster::{Cluster, IsOk, StopOnDrop, wait_for};

#[test]
fn a_message_is_heard_on_every_node() {
    let cluster = Cluster::start(3);
    for listens in 0..3 {
        let publishes = (listens + 1) % 3;
        let mut listener = cluster.client(listens);
        listener.send(&[&["SUBSCRIBE", "news"], &["PSUBSCRIBE", "n*"]]).unwrap();
        listener.reply().unwrap();
        listener.reply().unwrap();
        let mut publisher = cluster.client(publishes);
        for text in ["one", "two"] {
            publisher.must(&["PUBLISH", "news", text]);
        }
        for text in ["one", "two"] {
            assert_eq!(listener.reply().unwrap(), bulks(&["message", "news", text]));
            assert_eq!(listener.reply().unwrap(), bulks(&["pmessage", "n*", "news", text]));
        }
    }
}

#[test]
fn events_of_keys_are_heard_on_every_node() {
    let cluster = Cluster::start(3);
    cluster.client(0).must(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    let listen = |node| {
        let mut listener = cluster.client(node);
        listener.must(&["SUBSCRIBE", "__keyspace@0__:k"]);
        listener
    };
    let mut listeners: Vec<_> = (0..3).map(listen).collect();
    let mut writer = cluster.client(1);
    writer.must(&["SET", "k", "v"]);
    writer.must(&["PEXPIRE", "k", "1"]);
    wait_for("the key's end", || (writer.must(&["EXISTS", "k"]) == Value::Int(0)).then_some(()));
    for listener in &mut listeners {
        for event in ["set", "expire", "expired"] {
            let message = bulks(&["message", "__keyspace@0__:k", event]);
            assert_eq!(listener.reply().unwrap(), message);
        }
    }
}

#[test]
fn a_watched_key_that_changes_through_another_node_ends_the_transaction() {
    let cluster = Cluster::start(3);
    let leader = cluster.wait_until_leader();
    for node in 0..3 {
        let (mut ours, mut theirs) = (cluster.client(node), cluster.client((node + 1) % 3));
        ours.must(&["SET", "k", "0"]);
        ours.must(&["WATCH", "k"]);
        theirs.must(&["SET", "k", "theirs"]);
        ours.must(&["MULTI"]);
        ours.must(&["SET", "k", "ours"]);
        assert_eq!(ours.ask(&["EXEC"]), Value::Null, "node {node}, leader {leader}");
        ours.must(&["WATCH", "k"]);
        ours.must(&["MULTI"]);
        ours.must(&["SET", "k", "ours"]);
        ours.must(&["GET", "k"]);
        let Value::Array(replies) = ours.ask(&["EXEC"]) else { panic!("an untouched key") };
        assert!(replies[0].is_ok().is_some());
        assert_eq!(replies[1], bulk("ours"));
        assert_eq!(theirs.must(&["GET", "k"]), bulk("ours"));
    }
}

#[test]
fn a_transaction_is_made_as_a_whole_or_not_at_all_while_leaders_die() {
    const ACCOUNTS: u64 = 5;
    let mut cluster = Cluster::start(3);
    let stop = AtomicBool::new(false);
    let addrs: Vec<String> = (0..3).map(|node| cluster.addr(node).to_owned()).collect();
    let transfer = |addr: &str, seed: u64| {
        let mut rng = Rng::new(seed);
        while !stop.load(Ordering::Acquire) {
            let Ok(mut client) = Client::connect(addr) else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            // Whatever happens to a transfer, it has happened as a whole or not at all.
            while !stop.load(Ordering::Acquire) {
                let [from, to] = [0; 2].map(|_| format!("account:{}", rng.below(ACCOUNTS)));
                let calls: [&[&str]; 4] =
                    [&["MULTI"], &["DECRBY", &from, "7"], &["INCRBY", &to, "7"], &["EXEC"]];
                if client.send(&calls).is_err() || (0..4).any(|_| client.reply().is_err()) {
                    break;
                }
            }
        }
    };
    let total = |client: &mut Client| {
        let names: Vec<String> = (0..ACCOUNTS).map(|at| format!("account:{at}")).collect();
        let call: Vec<&str> =
            ["MGET"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let Value::Array(values) = client.must(&call) else { panic!("MGET gives an array") };
        let number = |value| match value {
            Value::Bulk(text) => String::from_utf8(text).unwrap().parse().unwrap(),
            _ => 0i64,
        };
        let numbers: Vec<i64> = values.into_iter().map(number).collect();
        assert_eq!(numbers.iter().sum::<i64>(), 0, "{numbers:?}");
        numbers
    };
    std::thread::scope(|scope| {
        for (seed, addr) in addrs.iter().enumerate() {
            scope.spawn(move || transfer(addr, seed as u64));
        }
        let _stop = StopOnDrop(&stop);
        for _ in 0..3 {
            let leader = cluster.wait_until_leader();
            let mut client = cluster.client(cluster.a_follower(leader));
            let before = total(&mut client);
            wait_for("a transfer", || (total(&mut client) != before).then_some(()));
            cluster.kill(leader);
            cluster.wait_until_leader();
            total(&mut client);
            cluster.start_node(leader);
        }
    });
    total(&mut cluster.client(0));
}

//! What clients see while the leader dies: how long, in which order, how often.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use wire::resp::Value;

use crate::client::{Client, bulk};
use crate::cluster::{Cluster, IsOk, PATIENCE};

/// `SYNOD_ROUNDS` has as many failovers measured as the claim is about.
fn rounds() -> usize {
    std::env::var("SYNOD_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// Writes until one write is acknowledged.
fn write_again(client: &mut Client, value: &str) {
    let deadline = Instant::now() + PATIENCE;
    while client.ask(&["SET", "failover", value]).is_ok().is_none() {
        assert!(Instant::now() < deadline, "no write is acknowledged");
    }
}

#[test]
fn clients_write_again_soon_after_the_leader_was_killed() {
    let mut cluster = Cluster::start(3);
    let mut times = Vec::new();
    for round in 0..rounds() {
        let leader = cluster.wait_until_leader();
        let survivors = (0..3).filter(|node| *node != leader);
        let mut clients: Vec<Client> = survivors.map(|node| cluster.client(node)).collect();
        cluster.kill(leader);
        let killed = Instant::now();
        // The slower of the two counts.
        clients.iter_mut().for_each(|client| write_again(client, &round.to_string()));
        times.push(killed.elapsed());
        cluster.start_node(leader);
    }
    times.sort();
    println!("failover: median {:.0?} of {times:.0?}", times[times.len() / 2]);
    assert!(times[times.len() / 2] < Duration::from_secs(10), "{times:?}");
}

#[test]
fn increments_of_a_followers_client_are_made_at_most_once_and_answered_in_order() {
    let mut cluster = Cluster::start(3);
    for round in 0..2 {
        let leader = cluster.wait_until_leader();
        let mut client = cluster.client(cluster.a_follower(leader));
        let (key, calls) = (format!("counter:{round}"), 2_000);
        let (mut acknowledged, mut unknown, mut last) = (0, 0, 0);
        let mut sent = 0;
        for at in 0..calls {
            // Always some hundred on their way.
            while sent < calls && sent < at + 300 {
                client.send(&[&["INCR", &key]]).unwrap();
                sent += 1;
            }
            match client.reply().unwrap() {
                Value::Int(value) => {
                    assert!(value > last, "{value} after {last}");
                    acknowledged += 1;
                    last = value;
                }
                Value::Error(text) if text.starts_with("UNKNOWN ") => unknown += 1,
                Value::Error(text) => assert!(text.contains("was not executed"), "{text}"),
                other => panic!("{other:?}"),
            }
            if at == 500 {
                cluster.kill(leader);
            }
        }
        let Value::Bulk(text) = client.must(&["GET", &key]) else { panic!("a counter") };
        let value: i64 = String::from_utf8(text).unwrap().parse().unwrap();
        let most = acknowledged + unknown;
        assert!((acknowledged..=most).contains(&value), "{acknowledged} <= {value} <= {most}");
        assert!(value >= last, "{value} after {last}");
        cluster.start_node(leader);
    }
}

/// Sends the same until it is answered, to one node after the other.
fn ask_until_answered(cluster: &Cluster, first: usize, words: &[&str]) -> Value {
    let deadline = Instant::now() + PATIENCE;
    for node in (first..).map(|node| node % 3) {
        assert!(Instant::now() < deadline, "nobody answers {words:?}");
        match Client::connect(cluster.addr(node)).and_then(|mut client| client.call(words)) {
            Ok(Value::Error(text)) => assert!(
                ["UNKNOWN", "LOADING", "TRYAGAIN"].iter().any(|code| text.starts_with(code)),
                "{text}"
            ),
            Ok(value) => return value,
            Err(_) => {}
        }
    }
    unreachable!("nodes do not run out")
}

#[test]
fn increments_with_ids_are_made_exactly_once_though_leaders_die() {
    let mut cluster = Cluster::start(3);
    let calls = 150;
    for at in 0..calls {
        if at % 50 == 25 {
            let leader = cluster.wait_until_leader();
            cluster.kill(leader);
            cluster.start_node(leader);
        }
        let words = ["SYNOD.IDEM", &format!("id:{at}"), "INCR", "counter"];
        let first = ask_until_answered(&cluster, at, &words);
        assert_eq!(first, Value::Int(at as i64 + 1), "each counts once");
        assert_eq!(ask_until_answered(&cluster, at + 1, &words), first, "at another node");
    }
    cluster.kill_all();
    cluster.start_all();
    let words = ["SYNOD.IDEM", "id:0", "INCR", "counter"];
    assert_eq!(ask_until_answered(&cluster, 0, &words), Value::Int(1), "after all were killed");
    assert_eq!(ask_until_answered(&cluster, 0, &["GET", "counter"]), bulk(&calls.to_string()));
}

/// A call of every kind: forwarded writes, forwarded reads, and those that the node answers itself.
fn send_mixed(client: &mut Client, at: usize) {
    let (key, value) = (format!("k:{at}"), format!("v:{at}"));
    let calls: [&[&str]; 5] = [
        &["SET", &key, &value],
        &["GET", &key],
        &["ECHO", &value],
        &["APPEND", &key, "!"],
        &["GET", &key],
    ];
    client.send(&calls).unwrap();
}

/// The replies to `send_mixed`, in their order. A write that is not known may have happened.
fn check_mixed(client: &mut Client, at: usize) {
    let (value, appended) = (format!("v:{at}"), format!("v:{at}!"));
    let failed = |reply: &Value| match reply {
        Value::Error(text) => text.starts_with("UNKNOWN ") || text.starts_with("LOADING "),
        _ => false,
    };
    let set = client.reply().unwrap();
    assert!(set.is_ok().is_some() || failed(&set), "{at}: {set:?}");
    let get = client.reply().unwrap();
    assert!(get == bulk(&value) || failed(&set) || failed(&get), "{at}: {get:?}");
    assert_eq!(client.reply().unwrap(), bulk(&value), "{at}: ECHO");
    let append = client.reply().unwrap();
    let length = Value::Int(appended.len() as i64);
    assert!(append == length || failed(&set) || failed(&append), "{at}: {append:?}");
    let get = client.reply().unwrap();
    let fits = get == bulk(&appended) || failed(&append) || failed(&get);
    assert!(fits || failed(&set), "{at}: {get:?}");
}

#[test]
fn replies_to_a_mixed_pipeline_come_in_order_across_a_failover() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_until_leader();
    let mut client = cluster.client(cluster.a_follower(leader));
    let (groups, mut sent) = (600, 0);
    for at in 0..groups {
        while sent < groups && sent < at + 60 {
            send_mixed(&mut client, sent);
            sent += 1;
        }
        check_mixed(&mut client, at);
        if at == 200 {
            cluster.kill(leader);
        }
    }
}

#[test]
fn replies_come_in_order_from_a_leader_that_was_stopped_and_goes_on_as_a_follower() {
    let mut cluster = Cluster::start(3);
    for round in 0..2 {
        let leader = cluster.wait_until_leader();
        let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
        let mut client = cluster.client(leader);
        let (first, groups) = (round * 1_000, 400);
        let mut sent = 0;
        for at in 0..groups {
            while sent < groups && sent < at + 60 {
                send_mixed(&mut client, first + sent);
                sent += 1;
            }
            check_mixed(&mut client, first + at);
            if at == 150 {
                cluster.process(leader).signal(Signal::STOP);
                cluster.wait_until_leader_among(&others);
                cluster.process(leader).signal(Signal::CONT);
            }
        }
    }
}

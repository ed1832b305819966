//! Nodes that end and come back: cleanly, from a snapshot, behind the others, or after a pause.

use std::fs;

use rustix::process::Signal;
use wire::resp::Value;

use crate::client::{Client, bulk};
use crate::cluster::{Cluster, IsOk, wait_for};

/// Keys that a test writes and reads back.
const KEYS: usize = 3_000;

fn fill(client: &mut Client, prefix: &str) {
    for first in (0..KEYS).step_by(500) {
        for at in first..first + 500 {
            let (key, value) = (format!("{prefix}:{at}"), format!("value {at}"));
            client.send(&[&["SET", &key, &value]]).unwrap();
        }
        (0..500).for_each(|_| assert!(client.reply().unwrap().is_ok().is_some()));
    }
}

fn check(client: &mut Client, prefix: &str) {
    for first in (0..KEYS).step_by(500) {
        for at in first..first + 500 {
            client.send(&[&["GET", &format!("{prefix}:{at}")]]).unwrap();
        }
        for at in first..first + 500 {
            assert_eq!(client.reply().unwrap(), bulk(&format!("value {at}")), "{prefix}:{at}");
        }
    }
}

/// Has a node take a snapshot, and waits until it is durable.
fn snapshot(cluster: &Cluster, node: usize) {
    let folder = cluster.setups[node].data.join("snapshots");
    let newest = || {
        let files = fs::read_dir(&folder).ok()?.filter_map(Result::ok).map(|file| file.file_name());
        files.filter(|name| name.to_string_lossy().ends_with(".snapshot")).max()
    };
    let before = newest();
    cluster.client(node).must(&["SYNOD", "SNAPSHOT"]);
    wait_for("a snapshot", || newest().filter(|name| Some(name) != before.as_ref()));
}

fn shut_down(cluster: &mut Cluster, node: usize) {
    cluster.client(node).send(&[&["SHUTDOWN"]]).unwrap();
    cluster.wait_ended(node);
}

#[test]
fn a_clean_stop_of_all_nodes_loses_nothing() {
    let mut cluster = Cluster::start(3);
    fill(&mut cluster.client(0), "a");
    (0..3).for_each(|node| snapshot(&cluster, node));
    fill(&mut cluster.client(1), "b");
    for _ in 0..2 {
        (0..3).for_each(|node| shut_down(&mut cluster, node));
        cluster.start_all();
        cluster.wait_until_leader();
        for node in 0..3 {
            let mut client = cluster.client(node);
            check(&mut client, "a");
            check(&mut client, "b");
            assert_eq!(client.must(&["DBSIZE"]), Value::Int(2 * KEYS as i64 + 1));
        }
    }
}

#[test]
fn a_node_alone_finds_its_data_again_after_kill_9() {
    let mut cluster = Cluster::start(1);
    fill(&mut cluster.client(0), "a");
    snapshot(&cluster, 0);
    fill(&mut cluster.client(0), "b");
    cluster.kill(0);
    cluster.start_node(0);
    let mut client = cluster.client(0);
    check(&mut client, "a");
    check(&mut client, "b");
}

/// Kills leaders until this node leads.
fn make_leader(cluster: &mut Cluster, node: usize) {
    for _ in 0..50 {
        let leader = cluster.wait_until_leader();
        if leader == node {
            return;
        }
        cluster.kill(leader);
        let rest: Vec<usize> = (0..3).filter(|other| *other != leader).collect();
        cluster.wait_until_leader_among(&rest);
        cluster.start_node(leader);
    }
    panic!("node {node} was not elected in fifty elections");
}

#[test]
fn a_follower_that_was_away_catches_up_by_a_snapshot() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_until_leader();
    fill(&mut cluster.client(leader), "a");
    let away = cluster.a_follower(leader);
    cluster.kill(away);
    fill(&mut cluster.client(leader), "b");
    // With the log before the snapshot on no disk and in no memory, only the snapshot can help.
    for node in (0..3).filter(|node| *node != away) {
        snapshot(&cluster, node);
        cluster.client(node);
        shut_down(&mut cluster, node);
        cluster.start_node(node);
        cluster.wait_until_leader();
    }
    let folder = cluster.setups[away].data.join("snapshots");
    let count = || fs::read_dir(&folder).map_or(0, |files| files.count());
    assert_eq!(count(), 0);
    let mut client = cluster.client(cluster.wait_until_leader());
    cluster.start_node(away);
    // Writes go on meanwhile.
    fill(&mut client, "c");
    cluster.wait_until_leader();
    wait_for("the snapshot", || (count() > 0).then_some(()));
    make_leader(&mut cluster, away);
    let mut client = cluster.client(away);
    ["a", "b", "c"].iter().for_each(|prefix| check(&mut client, prefix));
}

#[test]
fn a_leader_that_was_stopped_serves_no_stale_read() {
    let mut cluster = Cluster::start(3);
    for round in 0..3 {
        let old = cluster.wait_until_leader();
        let others: Vec<usize> = (0..3).filter(|node| *node != old).collect();
        let (before, after) = (format!("old {round}"), format!("new {round}"));
        let mut waits: Vec<Client> = (0..20).map(|_| cluster.client(old)).collect();
        waits[0].must(&["SET", "k", &before]);
        waits.iter_mut().for_each(|client| assert_eq!(client.must(&["GET", "k"]), bulk(&before)));
        cluster.process(old).signal(Signal::STOP);
        let new = cluster.wait_until_leader_among(&others);
        cluster.client(new).must(&["SET", "k", &after]);
        // Half of them ask before it goes on, half of them right after.
        let (early, late) = waits.split_at_mut(10);
        early.iter_mut().for_each(|client| client.send(&[&["GET", "k"]]).unwrap());
        cluster.process(old).signal(Signal::CONT);
        late.iter_mut().for_each(|client| client.send(&[&["GET", "k"]]).unwrap());
        for client in &mut waits {
            assert_eq!(client.reply().unwrap(), bulk(&after));
        }
    }
}

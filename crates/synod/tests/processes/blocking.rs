//! Clients that wait for an element, on nodes that do not lead.

use wire::resp::Value;

use crate::client::{Client, bulks};
use crate::cluster::{Cluster, wait_for};

/// A client of `node` that waits for an element of `q`: the leader knows of it.
fn blocked(cluster: &Cluster, node: usize) -> Client {
    let mut waiter = cluster.client(node);
    waiter.send(&[&["BLPOP", "q", "0"]]).unwrap();
    let mut other = cluster.client(node);
    wait_for("the wait", || {
        let Value::Bulk(info) = other.must(&["INFO", "clients"]) else { panic!("INFO is text") };
        String::from_utf8_lossy(&info).contains("blocked_clients:1").then_some(())
    });
    // The node's requests reach the log in order, so the wait is in it when this is.
    other.must(&["SET", "behind", "it"]);
    waiter
}

#[test]
fn a_client_that_waits_on_a_follower_gets_its_element() {
    let cluster = Cluster::start(3);
    let leader = cluster.wait_until_leader();
    let follower = cluster.a_follower(leader);
    for pushes in 0..3 {
        let mut waiter = blocked(&cluster, follower);
        cluster.client(pushes).must(&["RPUSH", "q", "one", "two"]);
        assert_eq!(waiter.reply().unwrap(), bulks(&["q", "one"]));
        assert_eq!(waiter.must(&["BLPOP", "q", "0"]), bulks(&["q", "two"]));
    }
}

#[test]
fn who_waits_goes_on_to_wait_when_the_leader_dies() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_until_leader();
    let follower = cluster.a_follower(leader);
    let mut waiter = blocked(&cluster, follower);
    cluster.kill(leader);
    let other = (0..3).find(|node| ![leader, follower].contains(node)).unwrap();
    let next = cluster.wait_until_leader_among(&[follower, other]);
    cluster.client(next).must(&["RPUSH", "q", "one", "two"]);
    assert_eq!(waiter.reply().unwrap(), bulks(&["q", "one"]));
    assert_eq!(waiter.must(&["LRANGE", "q", "0", "-1"]), bulks(&["two"]));
}

/// Pushes an element once the leader has dropped the waiters of `node`, and finds it in the list.
fn nothing_is_swallowed(cluster: &Cluster, leader: usize, commit: u64) {
    wait_for("the end of the wait", || {
        cluster.group_number(leader, "commit").filter(|now| *now > commit)
    });
    let mut client = cluster.client(leader);
    client.must(&["RPUSH", "q", "one"]);
    assert_eq!(client.must(&["LRANGE", "q", "0", "-1"]), bulks(&["one"]));
}

#[test]
fn a_gateway_that_dies_swallows_no_element_later() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_until_leader();
    let follower = cluster.a_follower(leader);
    let _waiter = blocked(&cluster, follower);
    let commit = cluster.group_number(leader, "commit").unwrap();
    cluster.kill(follower);
    nothing_is_swallowed(&cluster, leader, commit);
}

#[test]
fn a_gateway_that_is_started_again_swallows_no_element_for_its_former_clients() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_until_leader();
    let follower = cluster.a_follower(leader);
    let _waiter = blocked(&cluster, follower);
    let commit = cluster.group_number(leader, "commit").unwrap();
    cluster.kill(follower);
    cluster.start_node(follower);
    nothing_is_swallowed(&cluster, leader, commit);
}

#[test]
fn a_client_that_hangs_up_while_it_waits_swallows_no_element() {
    let cluster = Cluster::start(3);
    let leader = cluster.wait_until_leader();
    let waiter = blocked(&cluster, cluster.a_follower(leader));
    let commit = cluster.group_number(leader, "commit").unwrap();
    drop(waiter);
    nothing_is_swallowed(&cluster, leader, commit);
}

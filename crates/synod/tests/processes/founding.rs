//! Nodes that cannot or must not become members say why, and stop.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use wire::resp::Value;

use crate::client::bulk;
use crate::cluster::{Cluster, Setup, free_ports, synod, wait_for};

/// Starts a node that must refuse, and returns what it says.
fn refusal(setup: &Setup) -> String {
    setup.start().refusal()
}

#[test]
fn nodes_with_different_lists_refuse_each_other() {
    let mut cluster = Cluster::prepare(3);
    cluster.setups[2].join[1] = "127.0.0.1:1".to_owned();
    cluster.start_node(0);
    cluster.start_node(2);
    // Whoever sees it first, neither is left to wait for the other.
    for node in [0, 2] {
        let said = cluster.process(node).refusal();
        assert!(said.contains("different lists of members"), "{said}");
        assert!(said.contains("127.0.0.1:1,"), "both lists are shown: {said}");
    }
}

#[test]
fn a_node_that_is_not_on_its_own_list_founds_nothing_and_says_what_is_wrong() {
    let mut cluster = Cluster::prepare(3);
    let stray = cluster.setups.pop().unwrap();
    for setup in &mut cluster.setups {
        setup.join.pop();
    }
    let stray = Setup { join: cluster.setups[0].join.clone(), ..stray };
    cluster.start_node(0);
    cluster.start_node(1);
    // It comes too early, or there is a cluster already, which has not invited it.
    let process = stray.start();
    let words = ["none of the addresses to join leads back to this node", "synod node add"];
    wait_for("a word", || {
        let said = process.said();
        words.iter().any(|word| said.contains(word)).then_some(())
    });
}

#[test]
fn another_secret_is_refused_and_keeps_nobody_from_the_founding() {
    let mut cluster = Cluster::prepare(2);
    let right = cluster.setups[1].secret.clone();
    cluster.setups[1].secret = "a guess".to_owned();
    cluster.start_all();
    for (node, other) in [(0, 1), (1, 0)] {
        let complaint = format!("the node at {} has another cluster secret", cluster.addr(other));
        wait_for("a complaint", || cluster.process(node).said().contains(&complaint).then_some(()));
    }
    cluster.kill(1);
    cluster.setups[1].secret = right;
    cluster.start_node(1);
    cluster.wait_until_leader();
    // A member that comes back with a wrong secret is told so, and the cluster goes on without.
    let leader = cluster.wait_until_leader();
    let addr = cluster.addr(leader).to_owned();
    cluster.kill(1 - leader);
    cluster.setups[1 - leader].secret = "a guess".to_owned();
    cluster.start_node(1 - leader);
    let complaint = format!("at {addr}: the other side has another cluster secret");
    let stray = cluster.process(1 - leader);
    wait_for("a complaint", || stray.said().contains(&complaint).then_some(()));
}

#[test]
fn a_port_in_use_is_named() {
    let cluster = Cluster::prepare(1);
    let taken = TcpListener::bind(cluster.addr(0)).unwrap();
    let said = refusal(&cluster.setups[0]);
    assert!(said.contains(&format!("cannot listen on {}", cluster.addr(0))), "{said}");
    drop(taken);
}

#[test]
fn data_of_others_is_refused() {
    let mut cluster = Cluster::start(3);
    let setup = |at: usize| cluster.setups[at].clone();
    let [first, second, third] = [setup(0), setup(1), setup(2)];

    // A second process on the same data.
    let said = refusal(&first);
    assert!(said.contains("in use"), "{said}");

    // A node whose data is gone.
    cluster.kill(2);
    fs::rename(&third.data, cluster.dir().join("away")).unwrap();
    let said = refusal(&third);
    assert!(said.contains("knows this address as node 3"), "{said}");
    assert!(said.contains("the data directory here is empty"), "{said}");

    // Another node's data.
    cluster.kill(1);
    let said = refusal(&Setup { data: cluster.dir().join("away"), ..second.clone() });
    assert!(said.contains("belongs to node 3"), "{said}");

    // Another cluster's data.
    let others = Cluster::start(1);
    let said = refusal(&Setup { join: others.setups[0].join.clone(), ..second.clone() });
    assert!(said.contains("this node belongs to the cluster of"), "{said}");

    // With everything in its place again they go on.
    fs::remove_dir_all(&third.data).unwrap();
    fs::rename(cluster.dir().join("away"), &third.data).unwrap();
    cluster.start_all();
    let leader = cluster.wait_until_leader();
    assert_eq!(cluster.client(leader).must(&["GET", "warm"]), bulk("up"));
}

#[test]
fn a_process_with_a_copy_of_another_ones_data_is_not_let_in() {
    let mut cluster = Cluster::start(3);
    let data = cluster.dir().join("copy");
    let copied = Command::new("cp").arg("-r").arg(&cluster.setups[1].data).arg(&data).status();
    assert!(copied.unwrap().success());
    let addr = format!("127.0.0.1:{}", free_ports(1));
    let twin = Setup { addr, data, ..cluster.setups[1].clone() }.start();
    let mut counted = 0;
    wait_for("the other process to be noticed", || {
        for node in 0..3 {
            counted += 1;
            assert_eq!(cluster.client(node).must(&["INCR", "count"]), Value::Int(counted));
        }
        cluster.process(0).said().contains("two processes run as node 2").then_some(())
    });
    twin.kill();
    // The one that was there first is not taken for the other when it comes back.
    cluster.kill(1);
    cluster.start_node(1);
    cluster.wait_until_leader();
    let all = wait_for("node 2", || {
        cluster.client(1).call(&["GET", "count"]).ok().filter(|v| matches!(v, Value::Bulk(_)))
    });
    assert_eq!(all, bulk(&counted.to_string()));
}

#[test]
fn a_founder_that_dies_during_the_founding_is_known_when_it_comes_back() {
    let mut cluster = Cluster::prepare(3);
    cluster.start_node(1);
    cluster.start_node(2);
    // Each is killed while the first of the list, which founds the cluster, is still missing.
    cluster.process(1);
    cluster.kill(1);
    cluster.start_node(1);
    cluster.start_node(0);
    cluster.kill(2);
    cluster.start_node(2);
    cluster.wait_until_leader();
}

#[test]
fn connections_that_say_nothing_do_not_hold_up_the_founding() {
    let mut cluster = Cluster::prepare(3);
    cluster.start_node(0);
    let connect = || wait_for("the node", || TcpStream::connect(cluster.addr(0)).ok());
    // Answered one after the other, each would cost three seconds.
    let _silent: Vec<TcpStream> = (0..20).map(|_| connect()).collect();
    cluster.start_all();
    cluster.wait_until_leader();
}

#[test]
fn an_unknown_setting_in_a_file_is_named_with_the_nearest_known_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("synod.toml");
    fs::write(&path, "heartbeat-intervall-ms = 20\n").unwrap();
    let output = synod().args(["serve", "--config"]).arg(&path).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("unknown setting 'heartbeat-intervall-ms'"), "{said}");
    assert!(said.contains("did you mean 'heartbeat-interval-ms'?"), "{said}");
}

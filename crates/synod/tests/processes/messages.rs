//! What reaches clients of other nodes: messages of channels, events of keys, watched keys.

use wire::resp::Value;

use crate::client::{bulk, bulks};
use crate::cluster::{Cluster, IsOk, wait_for};

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

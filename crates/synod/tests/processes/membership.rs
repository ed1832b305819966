//! A cluster grows, shrinks and heals while it serves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use wire::resp::Value;

use crate::client::Client;
use crate::cluster::{Cluster, Setup, StopOnDrop, synod, wait_for};

/// Nodes 0 to 2 found the cluster; the others may join it.
fn prepare(nodes: u16, more: &[&str]) -> Cluster {
    let mut cluster = Cluster::prepare(nodes);
    let founders = cluster.setups[0].join[..3].to_vec();
    for setup in &mut cluster.setups {
        setup.join.clone_from(&founders);
        setup.more = more.iter().map(|word| (*word).to_owned()).collect();
    }
    (0..3).for_each(|node| cluster.start_node(node));
    let mut client = cluster.client(0);
    wait_for("all shards", || {
        matches!(client.call(&["FLUSHALL"]), Ok(Value::Status(_))).then_some(())
    });
    cluster
}

/// Runs `synod node …`, `synod rebalance …` or `synod ring …`, which must succeed.
fn tool(cluster: &Cluster, words: &[&str]) -> String {
    let out = synod().args(words).args(["--addr", cluster.addr(0)]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{words:?}: {text} {}", String::from_utf8_lossy(&out.stderr));
    text
}

/// The number that a node says about another under a name.
fn told(cluster: &Cluster, by: usize, id: i64, name: &str) -> Option<Value> {
    let mut client = Client::connect(cluster.addr(by)).ok()?;
    let Ok(Value::Array(nodes)) = client.call(&["SYNOD.NODE", "LIST"]) else { return None };
    nodes.iter().find_map(|node| {
        let Value::Array(words) = node else { return None };
        let fields: BTreeMap<Vec<u8>, &Value> = words
            .chunks_exact(2)
            .filter_map(|pair| match &pair[0] {
                Value::Bulk(field) => Some((field.clone(), &pair[1])),
                _ => None,
            })
            .collect();
        let is_it = fields.get(&b"id"[..]) == Some(&&Value::Int(id));
        is_it.then(|| (*fields[name.as_bytes()]).clone())
    })
}

/// Clients of these nodes that count, each in a key of its own and in a pair of keys that lie on any
/// shards, until they are stopped. No reply may be an error, and no count may be lost or come twice.
fn count(addr: &str, name: &str, stop: &AtomicBool) -> i64 {
    let mut client = Client::connect(addr).unwrap();
    let (own, left, right) = (format!("own:{name}"), format!("l:{name}"), format!("r:{name}"));
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        done += 1;
        assert_eq!(client.must(&["INCR", &own]), Value::Int(done), "{own}");
        let value = done.to_string();
        client.must(&["MSET", &left, &value, &right, &value]);
        let pair = client.must(&["MGET", &left, &right]);
        let expect = Value::Bulk(value.into_bytes());
        assert_eq!(pair, Value::Array(vec![expect.clone(), expect]), "{name}");
        if done % 50 == 0 {
            let walk = "local n = 0 for _, key in ipairs(redis.call('keys', ARGV[1])) do \
                n = n + redis.call('exists', key) end return n";
            let found = client.must(&["EVAL", walk, "0", &format!("*:{name}")]);
            assert_eq!(found, Value::Int(3), "{name}");
        }
    }
    done
}

#[test]
fn a_cluster_grows_from_three_to_five_and_shrinks_again_and_no_client_hears_an_error() {
    let mut cluster = prepare(5, &["--shards", "8"]);
    let addrs: Vec<String> = (0..3).map(|node| cluster.addr(node).to_owned()).collect();
    let stop = AtomicBool::new(false);
    let counts: Vec<i64> = thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let clients: Vec<_> = (0..6)
            .map(|at| {
                let (addr, stop) = (&addrs[at % 3], &stop);
                scope.spawn(move || count(addr, &at.to_string(), stop))
            })
            .collect();
        for node in [3, 4] {
            tool(&cluster, &["node", "add", cluster.addr(node), "--no-wait"]);
            cluster.start_node(node);
            let id = node as i64 + 1;
            let active = Some(Value::Bulk(b"active".to_vec()));
            wait_for("a node to come", || {
                (told(&cluster, 0, id, "standing") == active).then_some(())
            });
        }
        assert!(tool(&cluster, &["rebalance", "--dry-run"]).contains("replicas would move"));
        tool(&cluster, &["rebalance"]);
        // Eight shards and the map on three and five nodes: each has its share, give or take one.
        wait_for("even shares", || {
            let fair = |id| matches!(told(&cluster, 4, id, "replicas"), Some(Value::Int(5..=6)));
            (1..=5).all(fair).then_some(())
        });
        let shown = tool(&cluster, &["ring", "--remove", "5", "--keys", "0"]);
        assert!(shown.contains("4 nodes, 8 shards of 2048 slots, 3 replicas"), "{shown}");
        assert!(shown.contains("node 5 goes"), "{shown}");
        // Whoever comes later serves everybody.
        let mut late = cluster.client(4);
        assert_eq!(late.must(&["INCR", "late"]), Value::Int(1));
        for node in [4, 3] {
            let id = (node + 1).to_string();
            tool(&cluster, &["node", "drain", &id]);
            wait_for("an empty node", || {
                (told(&cluster, 0, node + 1, "replicas") == Some(Value::Int(0))).then_some(())
            });
            tool(&cluster, &["node", "remove", &id]);
            let said = cluster.process(node as usize).refusal();
            assert!(said.contains("taken out of the cluster"), "{said}");
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    // What was moved is on the disks: all nodes end, and start again.
    for node in 0..3 {
        cluster.kill(node);
    }
    (0..3).for_each(|node| cluster.start_node(node));
    let mut client = cluster.client(1);
    for (at, count) in counts.iter().enumerate() {
        let key = format!("own:{at}");
        let value = wait_for("a value", || {
            client.call(&["GET", &key]).ok().filter(|v| !matches!(v, Value::Error(_)))
        });
        assert_eq!(value, Value::Bulk(count.to_string().into_bytes()), "{key}");
    }
}

#[test]
fn a_node_that_stutters_leads_nothing_until_it_runs_smoothly() {
    let mut cluster = prepare(3, &["--shards", "8"]);
    let leads = |cluster: &Cluster| match told(cluster, 0, 3, "leads") {
        Some(Value::Int(count)) => Some(count),
        _ => None,
    };
    wait_for("a share of the leaders", || leads(&cluster).filter(|count| *count > 0));
    let pid = cluster.process(2).pid();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| {
            // Not long enough to be taken for dead, or for another to be elected.
            while !stop.load(Ordering::Relaxed) {
                kill_process(pid, Signal::STOP).unwrap();
                thread::sleep(Duration::from_millis(500));
                kill_process(pid, Signal::CONT).unwrap();
                thread::sleep(Duration::from_millis(150));
            }
        });
        // And stays so for as long as it takes to hand on three: nobody gives it anything either.
        let mut since = None;
        wait_for("it to hand on what it leads", || {
            let idle = leads(&cluster) == Some(0);
            let begun = *since.get_or_insert_with(Instant::now);
            since = since.filter(|_| idle);
            (idle && begun.elapsed() > Duration::from_secs(3)).then_some(())
        });
    });
    wait_for("its share again", || leads(&cluster).filter(|count| *count > 0));
}

#[test]
fn what_a_dead_node_held_is_copied_and_it_comes_back_with_nothing() {
    let mut cluster = prepare(4, &["--shards", "4", "--replace-after-s", "2"]);
    tool(&cluster, &["node", "add", cluster.addr(3), "--no-wait"]);
    cluster.start_node(3);
    let active = Some(Value::Bulk(b"active".to_vec()));
    wait_for("the fourth node", || (told(&cluster, 0, 4, "standing") == active).then_some(()));
    let mut client = cluster.client(0);
    for at in 0..200 {
        client.must(&["SET", &format!("k{at}"), "v"]);
    }
    cluster.kill(2);
    let lost = Some(Value::Bulk(b"lost".to_vec()));
    wait_for("the third node to be given up", || {
        (told(&cluster, 0, 3, "standing") == lost).then_some(())
    });
    // Four shards and the map, each with three replicas again.
    wait_for("the copies", || {
        let held = told(&cluster, 0, 4, "replicas") == Some(Value::Int(5));
        (held && told(&cluster, 0, 3, "replicas") == Some(Value::Int(0))).then_some(())
    });
    // So another one may fail now.
    cluster.kill(1);
    let mut client = cluster.client(3);
    for at in 0..200 {
        let key = format!("k{at}");
        let value = wait_for("a value", || {
            client.call(&["GET", &key]).ok().filter(|v| !matches!(v, Value::Error(_)))
        });
        assert_eq!(value, Value::Bulk(b"v".to_vec()), "{key}");
    }
    cluster.start_node(2);
    cluster.start_node(1);
    wait_for("the third node to be taken back", || {
        (told(&cluster, 0, 3, "standing") == active).then_some(())
    });
    let data = cluster.setups[2].data.clone();
    wait_for("its old data to go", || {
        let names = std::fs::read_dir(&data).ok()?;
        let marks =
            names.flatten().filter(|name| name.file_name().to_string_lossy().starts_with("left-"));
        (marks.count() == 5).then_some(())
    });
    let mut back = cluster.client(2);
    assert_eq!(back.must(&["GET", "k7"]), Value::Bulk(b"v".to_vec()));
}

#[test]
fn a_node_takes_the_place_of_another_and_strangers_are_refused() {
    let mut cluster = prepare(5, &["--shards", "4"]);
    cluster.kill(2);
    let fresh = cluster.addr(3).to_owned();
    // One that nobody invited waits, and says how to invite it.
    cluster.start_node(3);
    let invitation = format!("synod node add {fresh}");
    wait_for("a word", || cluster.process(3).said().contains(&invitation).then_some(()));
    let twice =
        synod().args(["node", "add", cluster.addr(1), "--addr", cluster.addr(0)]).output().unwrap();
    assert!(!twice.status.success());
    assert!(String::from_utf8_lossy(&twice.stderr).contains("the address of node 2 already"));
    tool(&cluster, &["node", "replace", "3", &fresh]);
    assert_eq!(told(&cluster, 0, 4, "replicas"), Some(Value::Int(5)));
    tool(&cluster, &["node", "remove", "3"]);
    // It hears of it, and knows it from then on.
    for _ in 0..2 {
        let said = cluster.setups[2].start().refusal();
        assert!(said.contains("taken out of the cluster"), "{said}");
    }
    let mut client = cluster.client(3);
    client.must(&["SET", "a", "1"]);
    // A second process that goes by the name of the first: it has another identity.
    let data = cluster.dir().join("impostor");
    let addr = cluster.addr(4).to_owned();
    let more = ["--shards", "4", "--advertise", &fresh].map(str::to_owned).to_vec();
    let impostor = Setup { addr, data, more, ..cluster.setups[3].clone() };
    let said = impostor.start().refusal();
    assert!(said.contains("the data directory here is empty"), "{said}");
    // What would lose data is refused, and changes nothing.
    for (words, why) in [
        (["node", "drain", "1"], "2 nodes would be left, and each shard is to have 3 replicas"),
        (["node", "remove", "1"], "still holds 5 replicas"),
    ] {
        let out = synod().args(words).args(["--addr", cluster.addr(0)]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(why), "{words:?}: {said}");
    }
}

//! Which node leads which shard of a cluster: what is written there needs not be passed on.
//!
//! It is a hint. Leaders change, and every node takes every key.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use hashring::Shards;
use serde_json::Value as Json;
use wire::resp::Value;

use crate::link::{Link, info_field};

/// For a connection to a node that may be gone.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Where to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Leaders {
    /// None of what is no Synod, or does not tell.
    pub(crate) shards: Option<Shards>,
    /// The addresses of those that lead.
    pub(crate) addrs: Vec<String>,
    /// By shard, its leader's place in `addrs`; empty if there are no shards.
    of_shard: Vec<usize>,
    /// All nodes that are known, the one that said so first.
    nodes: Vec<String>,
    /// The name of their cluster.
    pub(crate) cluster: Option<String>,
}

impl Leaders {
    /// Asks the node at the other end. Where it knows no leader, or one that cannot be reached from here, it is
    /// taken itself: the addresses by which nodes know each other may be others' here.
    pub(crate) fn ask(link: &mut Link, password: Option<&str>) -> Result<Leaders, String> {
        let status = match link.call(&[b"SYNOD", b"STATUS"])? {
            Value::Bulk(text) => serde_json::from_slice(&text).unwrap_or(Json::Null),
            _ => Json::Null,
        };
        let cluster = cluster(link)?;
        let is_there =
            |addr: &str| cluster.is_some() && connect(addr, password, cluster.as_deref()).is_ok();
        // Side by side: each that does not answer takes some seconds.
        let told: BTreeSet<String> = leaders(&status).into_values().collect();
        let there = thread::scope(|scope| {
            let asks: Vec<_> =
                told.iter().map(|addr| (addr, scope.spawn(|| is_there(addr)))).collect();
            let there = asks.into_iter().filter_map(|(addr, asked)| {
                let is_there = asked.join().unwrap_or(false);
                is_there.then(|| addr.clone())
            });
            there.collect()
        });
        Ok(Leaders { cluster: cluster.clone(), ..Leaders::of(&status, link.addr(), &there) })
    }

    /// As a node at this address says, where these can be reached.
    fn of(status: &Json, addr: &str, there: &BTreeSet<String>) -> Leaders {
        let all = list(status, "nodes").filter_map(|node| node["addr"].as_str());
        let others = all.filter(|other| *other != addr).map(str::to_owned);
        let nodes = std::iter::once(addr.to_owned()).chain(others).collect();
        let mut made =
            Leaders { shards: None, addrs: Vec::new(), of_shard: Vec::new(), nodes, cluster: None };
        let count = status["map"]["shards"].as_u64().unwrap_or_default();
        made.shards = Shards::new(count as usize).ok();
        let Some(shards) = made.shards else {
            made.addrs.push(addr.to_owned());
            return made;
        };
        let mut told = leaders(status);
        for shard in shards.iter() {
            let leader = told.remove(&(shard.index() as u64)).filter(|addr| there.contains(addr));
            let leader = leader.unwrap_or_else(|| addr.to_owned());
            let place = made.addrs.iter().position(|known| *known == leader);
            made.of_shard.push(place.unwrap_or(made.addrs.len()));
            if place.is_none() {
                made.addrs.push(leader);
            }
        }
        made
    }

    /// Where to go with what is for this one, and with the same if it is gone.
    pub(crate) fn from(&self, addr: &str) -> Vec<String> {
        let others = self.nodes.iter().filter(|node| *node != addr);
        std::iter::once(addr).chain(others.map(String::as_str)).map(str::to_owned).collect()
    }

    /// The place in `addrs` of the leader of this key's shard.
    pub(crate) fn of_key(&self, key: &[u8]) -> usize {
        self.shards.map_or(0, |shards| self.of_shard[shards.of_key(key).index()])
    }
}

fn list<'a>(status: &'a Json, name: &str) -> impl Iterator<Item = &'a Json> {
    status[name].as_array().into_iter().flatten()
}

/// By shard, the address of its leader, if a node's status tells of one.
fn leaders(status: &Json) -> BTreeMap<u64, String> {
    let addr = |node: &Json| Some((node["id"].as_u64()?, node["addr"].as_str()?.to_owned()));
    let nodes: BTreeMap<u64, String> = list(status, "nodes").filter_map(addr).collect();
    let led = |group: &Json| {
        let leader = nodes.get(&group["leader"].as_u64()?)?;
        Some((group["id"].as_u64()?, leader.clone()))
    };
    list(status, "groups").filter_map(led).collect()
}

/// A connection to a node of this cluster, if that has a name. One that is gone is not waited for.
pub(crate) fn connect(
    addr: &str,
    password: Option<&str>,
    wanted: Option<&str>,
) -> Result<Link, String> {
    let mut link = Link::connect(addr, TIMEOUT)?;
    link.authenticate(None, password)?;
    if wanted.is_some() && cluster(&mut link)?.as_deref() != wanted {
        return Err(format!("{addr}: a node of another cluster"));
    }
    Ok(link)
}

/// The name of the cluster that the other end belongs to, if it is a node.
fn cluster(link: &mut Link) -> Result<Option<String>, String> {
    let Value::Bulk(info) = link.call(&[b"INFO", b"synod"])? else { return Ok(None) };
    let info = String::from_utf8_lossy(&info);
    Ok(info_field(&info, "synod_cluster").map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::Leaders;
    use serde_json::json;

    #[test]
    fn each_key_goes_to_the_leader_of_its_shard_and_else_to_the_node_that_was_named() {
        let status = json!({
            "map": { "shards": 4 },
            "nodes": [
                { "id": 1, "addr": "a:1" }, { "id": 2, "addr": "b:2" }, { "id": 3, "addr": "c:3" }
            ],
            "groups": [
                { "id": 0, "leader": 2 }, { "id": 1, "leader": 1 }, { "id": 2, "leader": null },
                { "id": 3, "leader": 3 }
            ]
        });
        let there = ["a:1", "b:2"].map(str::to_owned).into();
        let leaders = Leaders::of(&status, "named:9", &there);
        assert_eq!(leaders.addrs, ["b:2", "a:1", "named:9"]);
        assert_eq!(leaders.of_shard, [0, 1, 2, 2]);
        assert_eq!(leaders.from("b:2"), ["b:2", "named:9", "a:1", "c:3"]);
        assert_eq!(leaders.from("named:9"), ["named:9", "a:1", "b:2", "c:3"]);
        let shards = leaders.shards.unwrap();
        for key in [&b"a"[..], b"b", b"c", b"d", b"e"] {
            assert_eq!(leaders.of_key(key), leaders.of_shard[shards.of_key(key).index()]);
        }
        let plain = Leaders::of(&json!(null), "redis:6379", &there);
        assert_eq!((plain.shards, plain.of_key(b"k")), (None, 0));
        assert_eq!(plain.addrs, ["redis:6379"]);
    }
}

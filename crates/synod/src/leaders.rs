//! Which node leads which shard of a cluster: what is written there needs not be passed on.
//!
//! It is a hint. Leaders change, and every node takes every key.

use std::time::Duration;

use hashring::Shards;
use serde_json::Value as Json;
use wire::resp::Value;

use crate::link::Link;

/// For finding out whether a node can be reached at all.
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
    /// The node that said so.
    told_by: String,
}

impl Leaders {
    /// Asks the node at the other end. Where it knows no leader, or one that cannot be reached from here, it is
    /// taken itself: the addresses by which nodes know each other may be others' here.
    pub(crate) fn ask(link: &mut Link, password: Option<&str>) -> Result<Leaders, String> {
        let status = match link.call(&[b"SYNOD", b"STATUS"])? {
            Value::Bulk(text) => serde_json::from_slice(&text).unwrap_or(Json::Null),
            _ => Json::Null,
        };
        let own = cluster(link)?;
        let is_there = |addr: &str| {
            let asked = Link::connect(addr, TIMEOUT).and_then(|mut other| {
                other.authenticate(None, password)?;
                cluster(&mut other)
            });
            own.is_some() && asked.is_ok_and(|theirs| theirs == own)
        };
        Ok(Leaders::of(&status, link.addr(), is_there))
    }

    /// As a node at this address says.
    fn of(status: &Json, addr: &str, mut is_there: impl FnMut(&str) -> bool) -> Leaders {
        let count = status["map"]["shards"].as_u64().unwrap_or_default();
        let Ok(shards) = Shards::new(count as usize) else {
            return Leaders {
                shards: None,
                addrs: vec![addr.to_owned()],
                of_shard: Vec::new(),
                told_by: addr.to_owned(),
            };
        };
        let list = |name: &str| status[name].as_array().into_iter().flatten();
        // By its number, where to reach a node that leads, once it was looked for.
        let mut known = std::collections::BTreeMap::new();
        let mut reach = |node: u64| {
            let told = || list("nodes").find(|one| one["id"].as_u64() == Some(node));
            let look = || told()?["addr"].as_str().filter(|addr| is_there(addr)).map(str::to_owned);
            known.entry(node).or_insert_with(look).clone()
        };
        let mut addrs: Vec<String> = Vec::new();
        let of_shard = shards.iter().map(|shard| {
            let group = list("groups").find(|one| one["id"].as_u64() == Some(shard.index() as u64));
            let leader = group.and_then(|group| group["leader"].as_u64());
            let leader = leader.and_then(&mut reach).unwrap_or_else(|| addr.to_owned());
            addrs.iter().position(|known| *known == leader).unwrap_or_else(|| {
                addrs.push(leader);
                addrs.len() - 1
            })
        });
        let of_shard = of_shard.collect();
        Leaders { shards: Some(shards), addrs, of_shard, told_by: addr.to_owned() }
    }

    /// Where to go with what is for this one, if it is gone: all others that are known.
    pub(crate) fn from(&self, addr: &str) -> Vec<String> {
        let all = self.addrs.iter().chain([&self.told_by]).map(String::as_str);
        let mut addrs = vec![addr.to_owned()];
        for other in all {
            if !addrs.iter().any(|known| known == other) {
                addrs.push(other.to_owned());
            }
        }
        addrs
    }

    /// The place in `addrs` of the leader of this key's shard.
    pub(crate) fn of_key(&self, key: &[u8]) -> usize {
        self.shards.map_or(0, |shards| self.of_shard[shards.of_key(key).index()])
    }
}

/// The name of the cluster that the other end belongs to, if it is a node.
fn cluster(link: &mut Link) -> Result<Option<String>, String> {
    let Value::Bulk(info) = link.call(&[b"INFO", b"synod"])? else { return Ok(None) };
    let info = String::from_utf8_lossy(&info);
    let name = info.lines().find_map(|line| line.strip_prefix("synod_cluster:"));
    Ok(name.map(|name| name.trim().to_owned()))
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
        let mut asked = Vec::new();
        let leaders = Leaders::of(&status, "named:9", |addr| {
            asked.push(addr.to_owned());
            addr != "c:3"
        });
        assert_eq!(asked, ["b:2", "a:1", "c:3"], "each is looked for once");
        assert_eq!(leaders.addrs, ["b:2", "a:1", "named:9"]);
        assert_eq!(leaders.of_shard, [0, 1, 2, 2]);
        assert_eq!(leaders.from("a:1"), ["a:1", "b:2", "named:9"]);
        let shards = leaders.shards.unwrap();
        for key in [&b"a"[..], b"b", b"c", b"d", b"e"] {
            assert_eq!(leaders.of_key(key), leaders.of_shard[shards.of_key(key).index()]);
        }
        let plain = Leaders::of(&json!(null), "redis:6379", |_| false);
        assert_eq!((plain.shards, plain.of_key(b"k")), (None, 0));
        assert_eq!(plain.addrs, ["redis:6379"]);
    }
}

//! The scene of a cluster that runs, from what one of its nodes says.

use std::time::Duration;

use hashring::{Node, NodeId, Placement, Ring, Shards, Zone};
use serde_json::Value as Json;

use super::scene::{Scene, keys_of, told};
use crate::status;

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The cluster of the node at `addr`, as that sees it, with so many keys looked up.
pub(super) fn scene(addr: &str, password: Option<&str>, keys: u64) -> Result<Scene, String> {
    let json = status::ask(addr, password, TIMEOUT)?;
    read(&json, keys).map_err(|problem| format!("{addr}: {problem}"))
}

/// What SYNOD STATUS tells. Nodes that take no share are not on the circle: they were drained, lost,
/// or have not come. They may hold shards all the same, until those have moved.
fn read(json: &Json, keys: u64) -> Result<Scene, String> {
    let number = |json: &Json, name: &str| {
        json[name].as_u64().ok_or_else(|| format!("SYNOD STATUS does not tell \"{name}\""))
    };
    let list = |json: &Json, name: &str| {
        let list = json[name].as_array().cloned();
        list.ok_or_else(|| format!("SYNOD STATUS does not tell \"{name}\""))
    };
    let shards = Shards::new(number(&json["map"], "shards")? as usize).map_err(told)?;
    let mut ring = Ring::new();
    let nodes = list(json, "nodes")?;
    for node in nodes.iter().filter(|node| node["standing"] == "active") {
        let zone = Zone::new(node["zone"].as_str().unwrap_or_default()).map_err(told)?;
        let stands = Node::new(number(node, "weight")? as u32, zone).map_err(told)?;
        ring.add(NodeId(number(node, "id")? as u32), stands).map_err(told)?;
    }
    let (mut sets, mut leaders) = (Vec::new(), Vec::new());
    for group in list(json, "groups")? {
        let set = list(&group, "replicas")?;
        sets.push(set.iter().filter_map(Json::as_u64).map(|id| NodeId(id as u32)).collect());
        // 0 is nobody.
        leaders.push(NodeId(group["leader"].as_u64().unwrap_or(0) as u32));
    }
    let replicas = (number(&json["map"], "replicas")? as usize).min(ring.len()).max(1);
    let placement = Placement::of_sets(shards, replicas, sets).map_err(told)?;
    Ok(Scene { ring, placement, leaders, keys: keys_of(shards, keys) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> Json {
        let node = |id: u32, standing: &str, zone: &str| json!({"id": id, "addr": format!("127.0.0.1:{id}"), "weight": id, "zone": zone, "standing": standing});
        json!({
            "map": {"version": 7, "shards": 2, "replicas": 2},
            "nodes": [node(1, "active", "a"), node(3, "active", "b"), node(4, "draining", "b")],
            "groups": [
                {"id": 0, "leader": 3, "replicas": [1, 3]},
                {"id": 1, "leader": null, "replicas": [3, 1, 4]},
            ],
        })
    }

    #[test]
    fn a_running_cluster_is_read_as_it_is() {
        let scene = read(&status(), 1_000).unwrap();
        let nodes: Vec<(u32, u32)> =
            scene.ring.nodes().map(|(id, node)| (id.0, node.weight())).collect();
        assert_eq!(nodes, [(1, 1), (3, 3)], "who is drained takes no share");
        assert_eq!(scene.leaders, [NodeId(3), NodeId(0)]);
        assert_eq!(scene.placement.of(hashring::ShardId(1)), [NodeId(1), NodeId(3), NodeId(4)]);
        assert_eq!((scene.placement.replicas(), scene.keys.iter().sum::<u64>()), (2, 1_000));
        let shown = super::super::text::scene(&scene);
        assert!(shown.contains("2 nodes, 2 shards of 8192 slots, 2 replicas"), "{shown}");
        let next = scene.next(scene.ring.clone()).unwrap();
        assert_eq!(next.placement.of(hashring::ShardId(1)), [NodeId(1), NodeId(3)]);
    }

    #[test]
    fn what_no_node_says_is_an_error() {
        for (path, value, problem) in [
            ("/map/shards", json!(3), "power of two"),
            ("/map/replicas", json!(null), "does not tell \"replicas\""),
            ("/nodes", json!(null), "does not tell \"nodes\""),
            ("/groups", json!([]), "one set of replicas"),
        ] {
            let mut status = status();
            *status.pointer_mut(path).unwrap() = value;
            let told = read(&status, 0).unwrap_err();
            assert!(told.contains(problem), "{path}: {told}");
        }
    }
}

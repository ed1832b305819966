//! SYNOD STATUS: the cluster as one node sees it, as JSON.
//!
//! ```text
//! map     version, shards, replicas each
//! nodes   id, addr, weight, zone, standing, pid, alive, leads, operations
//! groups  id, leader, term, commit, last, hibernates, bytes, replicas, wanted, applied by node
//! ```
//!
//! A group's number is that of its shard. What stands in a log, and whether its group hibernates, a
//! node knows of its own replicas alone: others are told as 0 and false.

use std::fmt::Display;

use consensus::NodeId;
use node::map::Member;
use node::{Health, Moment, Part};

use crate::front::Front;

impl Front {
    /// See the head of this file.
    pub(crate) fn status_json(&self, moment: Moment) -> String {
        let map = self.core.map();
        let parts: Vec<Part> = self.core.parts(moment.now).collect();
        let nodes = self.core.nodes(moment.now);
        let about = object([
            ("version", map.version().to_string()),
            ("shards", map.shards().count().to_string()),
            ("replicas", map.replicas().to_string()),
        ]);
        let of_nodes = nodes.iter().map(|(id, health, alive)| {
            let leads = parts.iter().filter(|part| part.leader == Some(*id)).count();
            of_node((*id, map.members().get(id)), health, *alive, leads)
        });
        let of_groups = parts.iter().map(|part| self.of_group(part, &nodes));
        let (of_nodes, of_groups) = (array(of_nodes), array(of_groups));
        object([("map", about), ("nodes", of_nodes), ("groups", of_groups)])
    }

    fn of_group(&self, part: &Part, nodes: &[(NodeId, Health, bool)]) -> String {
        let member = self.core.member(part.group);
        let status = member.map(node::Group::status);
        let (commit, last) = status.map_or((0, 0), |status| (status.commit.0, status.last.0));
        let hibernates = member.is_some_and(node::Group::hibernates);
        let applied = nodes.iter().filter_map(|(node, health, _)| {
            let index = health.applied.iter().find(|(group, _)| *group == part.group)?.1;
            Some((node.0.to_string(), index.0.to_string()))
        });
        let applied: Vec<_> = applied.collect();
        object([
            ("id", part.group.0.to_string()),
            (
                "leader",
                part.leader.map_or_else(|| "null".to_owned(), |leader| leader.0.to_string()),
            ),
            ("term", part.term.0.to_string()),
            ("commit", commit.to_string()),
            ("last", last.to_string()),
            ("hibernates", hibernates.to_string()),
            ("bytes", part.bytes.to_string()),
            ("replicas", array(part.members.iter().map(|node| node.0))),
            ("wanted", array(self.core.map().wanted_in(part.group).iter().map(|node| node.0))),
            ("applied", object(applied.iter().map(|(node, index)| (node.as_str(), index.clone())))),
        ])
    }
}

fn of_node(
    (id, member): (NodeId, Option<&Member>),
    health: &Health,
    alive: bool,
    leads: usize,
) -> String {
    let standing = member.map(|member| member.standing.to_string()).unwrap_or_default();
    object([
        ("id", id.0.to_string()),
        ("addr", text(&health.addr)),
        ("weight", member.map_or(0, |member| member.weight).to_string()),
        ("zone", text(member.map_or("", |member| member.zone.as_str()))),
        ("standing", text(&standing)),
        ("pid", health.pid.to_string()),
        ("alive", alive.to_string()),
        ("leads", leads.to_string()),
        ("operations", health.operations.to_string()),
    ])
}

/// An object of values that are JSON already.
fn object<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields = fields.into_iter().map(|(name, value)| format!("{}:{value}", text(name)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// An array of values that are JSON already.
fn array(values: impl IntoIterator<Item: Display>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    format!("[{}]", values.join(","))
}

/// A string. No name or address here has control characters; one that had would lose them.
fn text(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    let escaped = plain.flat_map(|c| match c {
        '"' | '\\' => vec!['\\', c],
        c => vec![c],
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::{array, object, text};
    use crate::front::testing::Stage;

    #[test]
    fn values_are_put_into_objects_and_arrays() {
        let inner = object([("a \"b\"", text("c\\d\n")), ("n", "7".to_owned())]);
        assert_eq!(inner, r#"{"a \"b\"":"c\\d","n":7}"#);
        assert_eq!(array([inner, "null".to_owned()]), r#"[{"a \"b\"":"c\\d","n":7},null]"#);
        assert_eq!(object([]) + &array([0; 0]), "{}[]");
    }

    #[test]
    fn a_node_tells_of_the_map_the_nodes_and_every_shard() {
        let mut stage = Stage::sharded(4);
        let client = stage.open();
        let told = stage.say(client, "synod status");
        assert!(told.contains(r#"{"map":{"version":1,"shards":4,"replicas":1},"nodes":[{"id":1,"#));
        assert!(told.contains(r#""standing":"active""#), "{told}");
        for shard in 0..4 {
            let group = format!(r#"{{"id":{shard},"leader":1,"term":"#);
            assert!(told.contains(&group), "{group} in {told}");
        }
        assert!(told.contains(r#""replicas":[1],"wanted":[1],"applied":{"1":"#), "{told}");
    }
}

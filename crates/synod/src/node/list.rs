//! What the cluster says of its nodes, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use wire::resp::Value;

use super::say;
use crate::link::Link;

/// What a cluster says that has nothing to move.
pub(super) const IN_PLACE: &str = "everything is where it ought to be";

/// A node, as SYNOD.NODE LIST tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Node {
    pub(super) id: i64,
    pub(super) addr: String,
    pub(super) standing: String,
    pub(super) state: String,
    pub(super) zone: String,
    pub(super) weight: i64,
    /// Groups of which it has a replica, that of the map among them.
    pub(super) replicas: i64,
    /// Of which it ought to have one.
    pub(super) wanted: i64,
    /// Shards that it leads.
    pub(super) leads: i64,
}

/// Asks for all nodes.
pub(super) fn nodes(link: &mut Link) -> Result<Vec<Node>, String> {
    let Value::Array(items) = link.must(&[b"SYNOD.NODE", b"LIST"])? else {
        return Err("no list of nodes came back".to_owned());
    };
    Ok(items.iter().map(node).collect())
}

/// A map, which comes as a flat array to a client of RESP2.
pub(super) fn fields(item: &Value) -> BTreeMap<String, Value> {
    let Value::Array(words) = item else { return BTreeMap::new() };
    let pairs = words.chunks_exact(2);
    pairs.map(|pair| (text(Some(&pair[0])), pair[1].clone())).collect()
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::Bulk(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

/// A number among the fields; 0 if there is none.
pub(super) fn number(fields: &BTreeMap<String, Value>, name: &str) -> i64 {
    match fields.get(name) {
        Some(Value::Int(number)) => *number,
        _ => 0,
    }
}

fn node(item: &Value) -> Node {
    let fields = fields(item);
    Node {
        id: number(&fields, "id"),
        addr: text(fields.get("addr")),
        standing: text(fields.get("standing")),
        state: text(fields.get("state")),
        zone: text(fields.get("zone")),
        weight: number(&fields, "weight"),
        replicas: number(&fields, "replicas"),
        wanted: number(&fields, "wanted"),
        leads: number(&fields, "leads"),
    }
}

/// Runs `synod node list`.
pub(super) fn run(link: &mut Link, json: bool) -> Result<(), String> {
    let nodes = nodes(link)?;
    if json {
        let text = serde_json::to_string_pretty(&nodes).map_err(|error| error.to_string())?;
        return say(&text);
    }
    say(&table(&nodes))
}

fn table(nodes: &[Node]) -> String {
    let addr = nodes.iter().map(|node| node.addr.len()).max().unwrap_or(0).max(4);
    let zone = nodes.iter().map(|node| node.zone.len()).max().unwrap_or(0).max(4);
    let mut out = format!(
        "{:>4}  {:addr$}  {:8}  {:5}  {:zone$}  {:>6}  {:>8}  {:>6}  {:>5}\n",
        "id", "addr", "standing", "state", "zone", "weight", "replicas", "wanted", "leads"
    );
    for node in nodes {
        let _ = writeln!(
            out,
            "{:>4}  {:addr$}  {:8}  {:5}  {:zone$}  {:>6}  {:>8}  {:>6}  {:>5}",
            node.id,
            node.addr,
            node.standing,
            node.state,
            node.zone,
            node.weight,
            node.replicas,
            node.wanted,
            node.leads
        );
    }
    out
}

/// What a dry run says, a line for each shard that moves.
pub(super) fn moves(moves: &[Value]) -> String {
    if moves.is_empty() {
        return IN_PLACE.to_owned();
    }
    let mut out = String::new();
    for one in moves {
        let fields = fields(one);
        let place = |name: &str| match number(&fields, name) {
            0 => "nowhere".to_owned(),
            node => format!("node {node}"),
        };
        let shard = number(&fields, "shard");
        let _ = writeln!(out, "shard {shard:>4}  {} -> {}", place("from"), place("to"));
    }
    let _ = write!(out, "{} replicas would move", moves.len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_nodes_is_read_and_shown() {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let item = Value::Array(vec![
            bulk("id"),
            Value::Int(12),
            bulk("leads"),
            Value::Int(3),
            bulk("addr"),
            bulk("host:7379"),
            bulk("standing"),
            bulk("draining"),
        ]);
        let node = node(&item);
        assert_eq!((node.id, node.leads, node.addr.as_str()), (12, 3, "host:7379"));
        let table = table(&[node]);
        assert!(table.lines().nth(1).unwrap().contains("12  host:7379  draining"), "{table}");
    }

    #[test]
    fn a_dry_run_says_what_would_move() {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let one = Value::Array(vec![
            bulk("shard"),
            Value::Int(5),
            bulk("from"),
            Value::Int(0),
            bulk("to"),
            Value::Int(4),
        ]);
        let told = moves(&[one]);
        assert_eq!(told, "shard    5  nowhere -> node 4\n1 replicas would move");
        assert_eq!(moves(&[]), "everything is where it ought to be");
    }
}

//! The circle: nodes at many points, in proportion to their weight.
//!
//! The circle is the slot space itself, spread over 64 bits: slot 0 at the top, slot 8192 half way
//! round. A node stands at [`POINTS_PER_WEIGHT`] points for each unit of its weight, which are
//! hashes of its number alone. A slot belongs to the node at the next point clockwise; a shard
//! stands where its first slot does. When a node comes, it takes the arcs before its points and
//! nothing else changes hands; when it goes, each of its arcs falls to whoever is next.
//!
//! Always: a ring is a function of the nodes on it, not of the order in which they came.
//!
//! What this does *not* do is share evenly: with random points the fullest of ten nodes owns about
//! 15 % more of the circle than the mean. [`crate::Placement`] evens that out.
//!
//! Karger et al., "Consistent Hashing and Random Trees" (STOC 1997); many points for each node and
//! more of them for the larger: DeCandia et al., "Dynamo" (SOSP 2007), §4.2.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::{NODES_MAX, POINTS_MAX, POINTS_PER_WEIGHT, REPLICAS_MAX};
use crate::{Error, Node, NodeId, SLOTS, ShardId, Shards, Slot, Zone};

/// A place where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    place: u64,
    node: NodeId,
}

/// The nodes of a cluster on a circle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// The zones that nodes may stand in; any, if there are none.
    zones: BTreeSet<Zone>,
    nodes: BTreeMap<NodeId, Node>,
    /// Clockwise.
    points: Vec<Point>,
}

impl Ring {
    /// A ring without nodes, whose nodes may stand in any zone.
    pub fn new() -> Ring {
        Ring::default()
    }

    /// A ring whose nodes may stand in these zones only. A mistyped zone would otherwise pass for
    /// a new one, and two replicas in one room be thought apart.
    pub fn within(zones: impl IntoIterator<Item = Zone>) -> Ring {
        Ring { zones: zones.into_iter().collect(), ..Ring::default() }
    }

    /// A ring of all these nodes, which may stand in any zone.
    pub fn of(nodes: impl IntoIterator<Item = (NodeId, Node)>) -> Result<Ring, Error> {
        let mut ring = Ring::without_points(nodes)?;
        ring.points = ring.nodes.iter().flat_map(|(id, node)| points(*id, node.weight())).collect();
        ring.points.sort_unstable();
        Ok(ring)
    }

    /// Would a ring take all these nodes?
    pub fn check(nodes: impl IntoIterator<Item = (NodeId, Node)>) -> Result<(), Error> {
        Ring::without_points(nodes).map(|_| ())
    }

    fn without_points(nodes: impl IntoIterator<Item = (NodeId, Node)>) -> Result<Ring, Error> {
        let mut ring = Ring::new();
        for (id, node) in nodes {
            ring.admit(id, node)?;
        }
        Ok(ring)
    }

    /// Puts a node on the circle.
    pub fn add(&mut self, id: NodeId, node: Node) -> Result<(), Error> {
        let mut more: Vec<Point> = points(id, node.weight()).collect();
        self.admit(id, node)?;
        more.sort_unstable();
        self.points.append(&mut more);
        // Two runs in order, which the stable sort merges.
        self.points.sort();
        Ok(())
    }

    /// A node comes to the others, and its points are still to follow.
    fn admit(&mut self, id: NodeId, node: Node) -> Result<(), Error> {
        if self.nodes.contains_key(&id) {
            return Err(Error::NodeTwice { node: id });
        }
        if self.nodes.len() == NODES_MAX {
            return Err(Error::NodesTooMany);
        }
        if !self.zones.is_empty() && !self.zones.contains(node.zone()) {
            let (zone, known) = (node.zone().clone(), self.zones.clone());
            return Err(Error::ZoneUnknown { zone, known });
        }
        let all = self.nodes.values().chain([&node]);
        let points = all.map(|node| u64::from(node.weight() * POINTS_PER_WEIGHT)).sum();
        if points > POINTS_MAX as u64 {
            return Err(Error::PointsTooMany { points });
        }
        self.nodes.insert(id, node);
        Ok(())
    }

    /// Takes a node off the circle. It holds what it holds until the plan is carried out: this is
    /// how a node is drained, too.
    pub fn remove(&mut self, id: NodeId) -> Result<Node, Error> {
        let node = self.nodes.remove(&id).ok_or(Error::NodeUnknown { node: id })?;
        self.points.retain(|point| point.node != id);
        Ok(node)
    }

    /// The nodes, by number.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(&id, node)| (id, node))
    }

    /// A node, if it is on the ring.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Is there no node?
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node that owns a key's slot on the circle: no two keys of one slot part. This is plain
    /// consistent hashing, for those who keep no placement. `None` if the ring is empty.
    pub fn lookup(&self, key: &[u8]) -> Option<NodeId> {
        self.owner(Slot::of(key))
    }

    /// The node that owns a slot on the circle.
    pub fn owner(&self, slot: Slot) -> Option<NodeId> {
        let next = self.next(place_of(slot));
        self.points.get(next).map(|point| point.node)
    }

    /// The `replicas` nodes next clockwise of a shard in distinct failure zones. If there are fewer
    /// zones than that, no zone gets more of them than it must ([`Ring::zone_limit`]).
    pub fn replicas(
        &self,
        shards: Shards,
        shard: ShardId,
        replicas: usize,
    ) -> Result<Vec<NodeId>, Error> {
        let limit = self.zone_limit(replicas)?;
        let mut zones: BTreeMap<&Zone, usize> = BTreeMap::new();
        let mut found = Vec::with_capacity(replicas);
        for id in self.walk(shards, shard) {
            let of_zone = zones.entry(self.nodes[&id].zone()).or_default();
            if *of_zone < limit {
                *of_zone += 1;
                found.push(id);
            }
            if found.len() == replicas {
                break;
            }
        }
        assert_eq!(found.len(), replicas, "the limit of a zone leaves room for all replicas");
        Ok(found)
    }

    /// How many replicas of one shard a zone may hold: the least number with which all zones
    /// together have room for them. It is 1 if there are as many zones as replicas, so one zone
    /// lost costs each shard one replica, and no more than it must otherwise.
    pub fn zone_limit(&self, replicas: usize) -> Result<usize, Error> {
        let nodes = self.nodes.len();
        if !(1..=REPLICAS_MAX.min(nodes)).contains(&replicas) {
            return Err(Error::Replicas { replicas, nodes });
        }
        let mut sizes: BTreeMap<&Zone, usize> = BTreeMap::new();
        for node in self.nodes.values() {
            *sizes.entry(node.zone()).or_default() += 1;
        }
        let room = |limit: usize| sizes.values().map(|size| limit.min(*size)).sum::<usize>();
        let limit = (1..=replicas).find(|limit| room(*limit) >= replicas);
        Ok(limit.expect("as many nodes as replicas have room for them"))
    }

    /// All nodes in the order in which a walk clockwise from a shard meets them.
    pub fn walk(&self, shards: Shards, shard: ShardId) -> impl Iterator<Item = NodeId> {
        let slot = Slot::new(*shards.slots(shard).start()).expect("shards are made of slots");
        let start = self.next(place_of(slot));
        let clockwise = self.points[start..].iter().chain(&self.points[..start]);
        let mut seen = BTreeSet::new();
        clockwise.map(|point| point.node).filter(move |node| seen.insert(*node)).take(self.len())
    }

    /// The stretches of the circle and who owns them, clockwise from the top: each is the last
    /// place of a stretch, as a fraction of the circle, and its owner.
    pub fn arcs(&self) -> Vec<(f64, NodeId)> {
        let Some(first) = self.points.first() else { return Vec::new() };
        let end = Point { place: u64::MAX, node: first.node };
        let mut arcs: Vec<(f64, NodeId)> = Vec::new();
        for point in self.points.iter().chain([&end]) {
            let until = point.place as f64 / CIRCLE;
            match arcs.last_mut() {
                Some((last, node)) if *node == point.node => *last = until,
                _ => arcs.push((until, point.node)),
            }
        }
        arcs
    }

    /// The number of a node's points and the part of the circle that it owns, between 0 and 1.
    pub fn share(&self, id: NodeId) -> (usize, f64) {
        let points = self.points.iter().filter(|point| point.node == id).count();
        let starts = [0.0].into_iter().chain(self.arcs().into_iter().map(|(until, _)| until));
        let owned = |(start, (until, node)): (f64, (f64, NodeId))| {
            if node == id { until - start } else { 0.0 }
        };
        (points, starts.zip(self.arcs()).map(owned).sum())
    }

    /// The index of the first point at or after a place; the first of all, past the last.
    fn next(&self, place: u64) -> usize {
        let next = self.points.partition_point(|point| point.place < place);
        if next == self.points.len() { 0 } else { next }
    }
}

/// The length of the circle.
const CIRCLE: f64 = (1u128 << 64) as f64;

/// Where a slot is on the circle.
fn place_of(slot: Slot) -> u64 {
    u64::from(slot.number()) * (u64::MAX / SLOTS as u64 + 1)
}

/// The points of a node, by number.
fn points(node: NodeId, weight: u32) -> impl Iterator<Item = Point> {
    (0..weight * POINTS_PER_WEIGHT).map(move |number| Point { place: place(node, number), node })
}

/// Where a node's point is: the last step of splitmix64 (Steele, Lea, Flood, 2014), which is a
/// permutation of 64 bits. So no two points of all possible nodes share a place.
fn place(node: NodeId, number: u32) -> u64 {
    let mut z = (u64::from(node.0) << 32 | u64::from(number)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Ring;
    use crate::{Error, Node, NodeId, SLOTS, Shards, Slot, Zone};

    fn node(weight: u32, zone: &str) -> Node {
        Node::new(weight, Zone::new(zone).unwrap()).unwrap()
    }

    fn ring(nodes: &[(u32, u32, &str)]) -> Ring {
        let mut ring = Ring::new();
        for &(id, weight, zone) in nodes {
            ring.add(NodeId(id), node(weight, zone)).unwrap();
        }
        ring
    }

    fn owners(ring: &Ring) -> Vec<NodeId> {
        (0..SLOTS as u16).map(|slot| ring.owner(Slot::new(slot).unwrap()).unwrap()).collect()
    }

    #[test]
    fn a_ring_does_not_depend_on_the_order_of_arrival() {
        let one = ring(&[(1, 1, "a"), (2, 3, "b"), (3, 1, "c")]);
        let mut other = ring(&[(3, 1, "c"), (9, 2, "a"), (1, 1, "a"), (2, 3, "b")]);
        other.remove(NodeId(9)).unwrap();
        assert_eq!(one, other);
        let nodes = other.nodes().map(|(id, node)| (id, node.clone())).collect::<Vec<_>>();
        assert_eq!(Ring::of(nodes), Ok(one));
    }

    #[test]
    fn a_node_that_comes_takes_slots_for_itself_and_moves_no_other() {
        let mut ring = ring(&[(1, 1, "a"), (2, 1, "a"), (3, 1, "a"), (4, 1, "a")]);
        let before = owners(&ring);
        ring.add(NodeId(5), node(1, "a")).unwrap();
        let after = owners(&ring);
        let moved = before.iter().zip(&after).filter(|(old, new)| old != new);
        assert!(moved.clone().all(|(_, new)| *new == NodeId(5)));
        let part = moved.count() as f64 / SLOTS as f64;
        assert!((0.15..0.25).contains(&part), "a fifth is its fair share, not {part}");
        ring.remove(NodeId(5)).unwrap();
        assert_eq!(owners(&ring), before);
    }

    #[test]
    fn the_share_of_the_circle_follows_the_weight() {
        let ring = ring(&[(1, 1, "a"), (2, 2, "a"), (3, 5, "a")]);
        let shares: Vec<(usize, f64)> = ring.nodes().map(|(id, _)| ring.share(id)).collect();
        assert!((shares.iter().map(|(_, part)| part).sum::<f64>() - 1.0).abs() < 1e-9);
        for ((points, part), fair) in shares.into_iter().zip([1.0 / 8.0, 2.0 / 8.0, 5.0 / 8.0]) {
            assert_eq!(points as f64, fair * 8.0 * 128.0);
            assert!((part / fair - 1.0).abs() < 0.25, "{part} of {fair}");
        }
    }

    #[test]
    fn replicas_are_the_next_clockwise_in_distinct_zones() {
        let ring = ring(&[(1, 1, "a"), (2, 1, "a"), (3, 1, "b"), (4, 1, "b"), (5, 1, "c")]);
        let shards = Shards::new(64).unwrap();
        for shard in shards.iter() {
            let found = ring.replicas(shards, shard, 3).unwrap();
            let mut zones: Vec<&str> =
                found.iter().map(|id| ring.node(*id).unwrap().zone().as_str()).collect();
            zones.sort_unstable();
            assert_eq!(zones, ["a", "b", "c"]);
            let first = Slot::new(*shards.slots(shard).start()).unwrap();
            assert_eq!(Some(found[0]), ring.owner(first));
            assert_eq!(ring.walk(shards, shard).count(), 5);
        }
    }

    #[test]
    fn with_too_few_zones_none_holds_more_than_it_must() {
        for (nodes, replicas, limit) in [
            (&[(1, 1, "a"), (2, 1, "a"), (3, 1, "b"), (4, 1, "b")][..], 3, 2),
            (&[(1, 1, "a"), (2, 1, "b"), (3, 1, "b"), (4, 1, "b")], 3, 2),
            (&[(1, 1, "a"), (2, 1, "a"), (3, 1, "a")], 3, 3),
            (&[(1, 1, "a"), (2, 1, "b"), (3, 1, "c")], 3, 1),
            (&[(1, 1, "a"), (2, 1, "b"), (3, 1, "b"), (4, 1, "b"), (5, 1, "b")], 5, 4),
        ] {
            let ring = ring(nodes);
            assert_eq!(ring.zone_limit(replicas), Ok(limit), "{nodes:?}");
            let shards = Shards::default();
            for shard in shards.iter() {
                assert_eq!(ring.replicas(shards, shard, replicas).unwrap().len(), replicas);
            }
        }
    }

    #[test]
    fn nonsense_is_refused_in_words_and_changes_nothing() {
        let mut ring = ring(&[(1, 1, "a")]);
        let told = |outcome: Result<(), Error>| outcome.unwrap_err().to_string();
        assert_eq!(told(ring.add(NodeId(1), node(2, "b"))), "node 1 is on the ring already");
        assert_eq!(ring.remove(NodeId(2)).unwrap_err().to_string(), "node 2 is not on the ring");
        let shards = Shards::default();
        let error = ring.replicas(shards, crate::ShardId(0), 2).unwrap_err().to_string();
        assert_eq!(error, "2 replicas of a shard need as many nodes, and there are 1");
        let error = ring.replicas(shards, crate::ShardId(0), 0).unwrap_err().to_string();
        assert_eq!(error, "0 is no number of replicas: it must be 1 to 15");
        assert_eq!(ring.len(), 1);

        let zones = ["a", "b"].map(|name| Zone::new(name).unwrap());
        let mut named = Ring::within(zones);
        let error = told(named.add(NodeId(1), node(1, "c")));
        assert_eq!(error, "zone c is unknown; the zones are a, b");
        assert!(named.is_empty());
        assert_eq!(named.lookup(b"key"), None);
    }

    #[test]
    fn a_ring_has_a_bound_on_nodes_and_on_points() {
        let mut ring = Ring::new();
        let heavy = (1..=82).find_map(|id| ring.add(NodeId(id), node(100, "a")).err());
        assert_eq!(heavy, Some(Error::PointsTooMany { points: 82 * 12_800 }));
    }
}

//! Fair shares: how many replicas each node should hold, as exact fractions.
//!
//! In proportion to the weight, as far as that can be: a node holds a shard once at most, and a
//! zone no more of it than [`Ring::zone_limit`]. What a full node or zone can't take, the others
//! share in proportion again. Think of water poured into vessels as wide as their weights, which
//! stand in troughs that may be full before them.
//!
//! What follows, and what `target` relies on: a placement in which every node holds its fair share,
//! rounded down or up, exists. For if each shard gave each node the same part of a replica, its
//! share over the number of shards, all limits would be kept; this is a flow in a network whose
//! capacities are whole when the shares are rounded, and such a network has a whole flow too (Ford
//! and Fulkerson, 1962, with the bounds below of Hoffman, 1960).

use std::collections::BTreeMap;

use crate::{Error, NodeId, Ring, Shards, Zone};

/// A number of replicas, not rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    numerator: u64,
    denominator: u64,
}

impl Share {
    /// The fair share of each node, by number, if each shard has so many replicas.
    pub fn of_nodes(
        ring: &Ring,
        shards: Shards,
        replicas: usize,
    ) -> Result<Vec<(NodeId, Share)>, Error> {
        let zone_limit = ring.zone_limit(replicas)? as u64;
        let mut zones: BTreeMap<&Zone, usize> = BTreeMap::new();
        for (_, node) in ring.nodes() {
            let next = zones.len();
            zones.entry(node.zone()).or_insert(next);
        }
        let vessels = ring.nodes().map(|(_, node)| Vessel {
            weight: u64::from(node.weight()),
            zone: zones[node.zone()],
            share: None,
        });
        let count = shards.count() as u64;
        let mut water = Water {
            vessels: vessels.collect(),
            node_room: count,
            zone_room: vec![count * zone_limit; zones.len()],
            left: count * replicas as u64,
        };
        let shares = water.pour();
        Ok(ring.nodes().map(|(id, _)| id).zip(shares).collect())
    }

    /// So many percent less, rounded down.
    pub fn low(self, slack_percent: u64) -> usize {
        (self.numerator * 100_u64.saturating_sub(slack_percent) / (self.denominator * 100)) as usize
    }

    /// So many percent more, rounded up.
    pub fn high(self, slack_percent: u64) -> usize {
        (self.numerator * (100 + slack_percent)).div_ceil(self.denominator * 100) as usize
    }

    /// For a table.
    pub fn as_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

/// A node that is being filled; its share once that is known.
struct Vessel {
    weight: u64,
    zone: usize,
    share: Option<Share>,
}

/// Replicas that are being poured into nodes.
struct Water {
    vessels: Vec<Vessel>,
    /// What one node can hold.
    node_room: u64,
    /// What is left of each zone's room beside its full nodes.
    zone_room: Vec<u64>,
    /// What is left of the water beside full nodes and zones.
    left: u64,
}

/// Who is full next, and at which level: `room / weight`.
#[derive(Clone, Copy)]
struct Brim {
    what: Full,
    room: u64,
    weight: u64,
}

#[derive(Clone, Copy)]
enum Full {
    Node(usize),
    Zone(usize),
    /// Nobody: the water ends first.
    Nothing,
}

impl Water {
    /// Sets aside who is full, the lowest brim first, until the rest of the water fits the rest.
    fn pour(&mut self) -> Vec<Share> {
        while let Some(brim) = self.lowest_brim() {
            let filled: Vec<usize> = self.open().filter(|node| self.fills(brim, *node)).collect();
            for node in filled {
                let vessel = &mut self.vessels[node];
                let numerator = brim.room * vessel.weight;
                vessel.share = Some(Share { numerator, denominator: brim.weight });
                if let Full::Node(_) = brim.what {
                    self.zone_room[vessel.zone] -= brim.room;
                }
            }
            self.left -= brim.room;
        }
        assert_eq!(self.left, 0, "a fair share was not given away");
        let shares = self.vessels.iter().map(|vessel| vessel.share);
        shares.map(|share| share.expect("the loop ends when every node has its share")).collect()
    }

    fn open(&self) -> impl Iterator<Item = usize> {
        (0..self.vessels.len()).filter(|node| self.vessels[*node].share.is_none())
    }

    fn fills(&self, brim: Brim, node: usize) -> bool {
        match brim.what {
            Full::Node(full) => full == node,
            Full::Zone(full) => self.vessels[node].zone == full,
            Full::Nothing => true,
        }
    }

    /// `None` once every node has its share.
    fn lowest_brim(&self) -> Option<Brim> {
        let mut zone_weights = vec![0; self.zone_room.len()];
        let mut all = 0;
        for node in self.open() {
            let vessel = &self.vessels[node];
            zone_weights[vessel.zone] += vessel.weight;
            all += vessel.weight;
        }
        let rest = Brim { what: Full::Nothing, room: self.left, weight: all };
        let nodes = self.open().map(|node| Brim {
            what: Full::Node(node),
            room: self.node_room,
            weight: self.vessels[node].weight,
        });
        let zones = zone_weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
        let zones = zones.map(|(zone, &weight)| Brim {
            what: Full::Zone(zone),
            room: self.zone_room[zone],
            weight,
        });
        let lower =
            |one: &Brim, other: &Brim| (one.room * other.weight).cmp(&(other.room * one.weight));
        // Of equal levels the first, which is the rest of the water: then all is done at once.
        [rest].into_iter().chain(nodes).chain(zones).filter(|brim| brim.weight > 0).min_by(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::Share;
    use crate::{Node, NodeId, Ring, Shards, Zone};

    #[test]
    fn shares_follow_weights_as_far_as_nodes_and_zones_have_room() {
        for (nodes, replicas, expect) in [
            ("1a 1a 1a 1a 1a", 3, vec![9.6; 5]),
            ("1a 2a 1a", 1, vec![4.0, 8.0, 4.0]),
            // A node of half the weight would hold each shard 1.5 times.
            ("3a 1a 1a 1a", 3, vec![16.0, 32.0 / 3.0, 32.0 / 3.0, 32.0 / 3.0]),
            // Each zone holds each shard once.
            ("1a 1a 1b 1b 1c", 3, vec![8.0, 8.0, 8.0, 8.0, 16.0]),
            ("1a 3a 1b 1c", 3, vec![4.0, 12.0, 16.0, 16.0]),
            // Four zones, three replicas: the full zone is left out, the others share the rest.
            ("9a 1b 1c 1d", 3, vec![16.0, 32.0 / 3.0, 32.0 / 3.0, 32.0 / 3.0]),
            // A full node within a full zone.
            ("9a 1a 1a 1b 1b", 4, vec![16.0, 8.0, 8.0, 16.0, 16.0]),
            // Two zones for three replicas: two of them in one.
            ("1a 1a 1b 1b", 3, vec![12.0; 4]),
        ] {
            let mut ring = Ring::new();
            for (id, word) in (1..).zip(nodes.split(' ')) {
                let zone = Zone::new(&word[1..]).unwrap();
                let node = Node::new(word[..1].parse().unwrap(), zone).unwrap();
                ring.add(NodeId(id), node).unwrap();
            }
            let shares = Share::of_nodes(&ring, Shards::default(), replicas).unwrap();
            for ((id, share), fair) in shares.into_iter().zip(expect) {
                assert!((share.as_f64() - fair).abs() < 1e-9, "{nodes}: node {id} {share:?}");
                assert_eq!((share.low(0), share.high(0)), (fair as usize, fair.ceil() as usize));
            }
        }
    }
}

//! Who should lead each shard: one of its replicas, so that nodes lead in proportion to weight.
//!
//! A leader costs its node more than a follower does, so leaders are spread on their own. It is the
//! old leaders that are begun with. What comes out is the best there is, not only a good one: as
//! long as some chain of hand-overs from one node to another lowers the sum of `leads² / weight`,
//! the shortest one that lowers it most is taken, and when there is none, no other choice of leaders
//! has a lower sum (Harvey, Ladner, Lovász and Tamir, "Semi-matchings for bipartite graphs and load
//! balancing", 2006, for weight 1; the sum is convex in each node's leads, so the same proof goes
//! for others). Then rounds that leave the sum as it is bring old leaders back, while there are any
//! ([`crate::round`]).
//!
//! Always: no other choice has a lower sum, and none with this sum keeps more of the old leaders.
//! With equal weights, and each node at its fair share of replicas, a node leads the mean number of
//! shards, rounded down or up.

use std::collections::{BTreeMap, BTreeSet};

use crate::chain::{Handover, Walk};
use crate::round::Hops;
use crate::{Error, NodeId, Placement, Ring};

/// The node that should lead each shard, by shard. `current` says who does, by shard, and may be
/// empty. A node that is off the ring leads only what nobody else holds.
pub fn leaders(
    ring: &Ring,
    placement: &Placement,
    current: &[NodeId],
) -> Result<Vec<NodeId>, Error> {
    if placement.iter().any(|(_, set)| set.is_empty()) {
        return Err(Error::Placement { reason: "a shard that nobody holds has no leader" });
    }
    if !current.is_empty() && current.len() != placement.shards().count() {
        return Err(Error::Placement { reason: "there is not one leader a shard" });
    }
    let mut choice = Choice::new(ring, placement, current);
    choice.begin(ring, placement);
    while let Some(chain) = choice.better() {
        choice.hand_over(&chain);
    }
    while let Some(round) = choice.saving() {
        choice.hand_over(&round);
    }
    let mut leaders = vec![NodeId(0); placement.shards().count()];
    for (node, led) in choice.led.iter().enumerate() {
        for &shard in led {
            leaders[shard] = choice.ids[node];
        }
    }
    Ok(leaders)
}

/// Leaders in the making. Nodes are numbered from 0.
struct Choice {
    ids: Vec<NodeId>,
    /// 0 for a node that is off the ring.
    weight: Vec<u64>,
    /// Who may lead each shard.
    able: Vec<Vec<usize>>,
    /// Who leads each shard so far, if it may.
    old: Vec<Option<usize>>,
    /// The shards that each node leads.
    led: Vec<BTreeSet<usize>>,
}

impl Choice {
    fn new(ring: &Ring, placement: &Placement, current: &[NodeId]) -> Choice {
        let weight = |id| ring.node(id).map_or(0, |node| u64::from(node.weight()));
        let nodes: BTreeMap<NodeId, u64> =
            placement.loads().into_keys().map(|id| (id, weight(id))).collect();
        let ids: Vec<NodeId> = nodes.keys().copied().collect();
        let number = |id: &NodeId| ids.binary_search(id).expect("who holds something is numbered");
        let able = placement.iter().map(|(_, set)| {
            let on_ring = set.iter().filter(|id| nodes[id] > 0).map(number);
            let on_ring: Vec<usize> = on_ring.collect();
            if on_ring.is_empty() { set.iter().map(number).collect() } else { on_ring }
        });
        let able: Vec<Vec<usize>> = able.collect();
        let old = able.iter().enumerate().map(|(shard, able)| {
            let leader = current.get(shard).and_then(|id| ids.binary_search(id).ok());
            leader.filter(|node| able.contains(node))
        });
        Choice {
            old: old.collect(),
            able,
            led: vec![BTreeSet::new(); ids.len()],
            weight: nodes.into_values().collect(),
            ids,
        }
    }

    /// Leaves each shard to its leader, if that may lead it; else takes the node that leads least,
    /// and among equals the next clockwise.
    fn begin(&mut self, ring: &Ring, placement: &Placement) {
        let mut open = Vec::new();
        for shard in placement.shards().iter() {
            match self.old[shard.index()] {
                Some(node) => _ = self.led[node].insert(shard.index()),
                None => open.push(shard),
            }
        }
        for shard in open {
            let order: Vec<NodeId> = ring.walk(placement.shards(), shard).collect();
            let rank = |node: usize| order.iter().position(|id| *id == self.ids[node]);
            let mut able = self.able[shard.index()].clone();
            able.sort_by_key(|node| rank(*node));
            let least = able.into_iter().reduce(|best, node| {
                if self.gains(best) * self.weight[node] > self.gains(node) * self.weight[best] {
                    node
                } else {
                    best
                }
            });
            let node = least.expect("every shard has someone who may lead it");
            self.led[node].insert(shard.index());
        }
    }

    fn hand_over(&mut self, hops: &[Handover]) {
        for hop in hops {
            self.led[hop.from].remove(&hop.shard);
            self.led[hop.to].insert(hop.shard);
        }
    }

    /// What one more adds to `leads²`.
    fn gains(&self, node: usize) -> u64 {
        2 * self.led[node].len() as u64 + 1
    }

    /// What one less takes from `leads²`.
    fn loses(&self, node: usize) -> u64 {
        (2 * self.led[node].len() as u64).saturating_sub(1)
    }

    /// Does it even something out if `from` leads one less and `to` one more?
    fn evens(&self, from: usize, to: usize) -> bool {
        self.loses(from) * self.weight[to] > self.gains(to) * self.weight[from]
    }

    /// A chain of hand-overs that evens something out.
    fn better(&self) -> Option<Vec<Handover>> {
        let nodes = self.ids.len();
        let mut givers: Vec<usize> = (0..nodes).collect();
        // The fullest first: (leads, weight) as a fraction, the larger first.
        givers.sort_by(|&one, &other| {
            let load = |node: usize, by: usize| self.led[node].len() as u64 * self.weight[by];
            load(other, one).cmp(&load(one, other))
        });
        givers.into_iter().find_map(|giver| {
            let hops = |node, found: &mut Vec<Handover>| self.hops(node, found);
            let (walk, _) = Walk::new(nodes, &[giver], hops, |_| false);
            let takers = (0..nodes).filter(|node| walk.met(*node) && self.weight[*node] > 0);
            let least = takers.reduce(|best, node| {
                if self.gains(best) * self.weight[node] > self.gains(node) * self.weight[best] {
                    node
                } else {
                    best
                }
            });
            least.filter(|taker| self.evens(giver, *taker)).map(|taker| walk.chain(taker).0)
        })
    }

    /// A round that evens nothing out and brings back more old leaders than it moves.
    fn saving(&self) -> Option<Vec<Handover>> {
        let nodes = self.ids.len();
        let was = |shard: usize, node: usize| isize::from(self.old[shard] == Some(node));
        let cost = |hop: Handover| was(hop.shard, hop.from) - was(hop.shard, hop.to);
        let hops = Hops::of(nodes, |node, found| self.hops(node, found), cost);
        // One node may lead one more if another leads one less and the sum stays as it is: then the
        // one gains what the other loses. In a round there is at most one such pair.
        let equal = |one: (u64, u64), other: (u64, u64)| one.0 * other.1 == other.0 * one.1;
        let loses = |node: usize| (self.loses(node), self.weight[node]);
        let gains = |node: usize| (self.gains(node), self.weight[node]);
        let mut rates: Vec<(u64, u64)> = Vec::new();
        for node in (0..nodes).filter(|node| self.weight[*node] > 0) {
            if !rates.iter().any(|rate| equal(*rate, loses(node))) {
                rates.push(loses(node));
            }
        }
        rates.into_iter().find_map(|rate| {
            let fits = |(change, weight)| weight > 0 && equal(rate, (change, weight));
            hops.saving(|node| (fits(gains(node)), fits(loses(node))))
        })
    }

    fn hops(&self, from: usize, found: &mut Vec<Handover>) {
        for &shard in &self.led[from] {
            let others = self.able[shard].iter().filter(|node| **node != from);
            found.extend(others.map(|&to| Handover { shard, from, to }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::leaders;
    use crate::{Node, NodeId, Placement, Ring, Shards, Zone};

    fn ring(weights: &[u32]) -> Ring {
        let mut ring = Ring::new();
        for (id, weight) in (1..).zip(weights) {
            ring.add(NodeId(id), Node::new(*weight, Zone::default()).unwrap()).unwrap();
        }
        ring
    }

    fn placed(ring: &Ring, shards: usize, replicas: usize) -> Placement {
        let empty = Placement::empty(Shards::new(shards).unwrap(), replicas).unwrap();
        Placement::target(ring, &empty).unwrap()
    }

    fn counts(ring: &Ring, leaders: &[NodeId]) -> Vec<usize> {
        ring.nodes().map(|(id, _)| leaders.iter().filter(|l| **l == id).count()).collect()
    }

    #[test]
    fn leaders_hold_their_shard_and_follow_the_weight() {
        for (weights, expect) in
            [(&[1, 1, 1][..], [22, 21, 21]), (&[1, 2, 1], [16, 32, 16]), (&[1, 1, 14], [4, 4, 56])]
        {
            let ring = ring(weights);
            let placement = placed(&ring, 64, 3);
            let chosen = leaders(&ring, &placement, &[]).unwrap();
            let mut found = counts(&ring, &chosen);
            if weights == [1, 1, 1] {
                found.sort_by(|one, other| other.cmp(one));
            }
            assert_eq!(found, expect);
            assert!(placement.iter().zip(&chosen).all(|((_, set), id)| set.contains(id)));
        }
    }

    #[test]
    fn leaders_stay_where_nothing_is_evened_out_by_a_change() {
        let ring = ring(&[1; 5]);
        let placement = placed(&ring, 64, 3);
        let chosen = leaders(&ring, &placement, &[]).unwrap();
        assert_eq!(leaders(&ring, &placement, &chosen).unwrap(), chosen);
    }

    #[test]
    fn a_node_off_the_ring_leads_only_what_nobody_else_holds() {
        let mut ring = ring(&[1; 3]);
        let placement = placed(&ring, 16, 2);
        let chosen = leaders(&ring, &placement, &[]).unwrap();
        ring.remove(NodeId(1)).unwrap();
        let next = leaders(&ring, &placement, &chosen).unwrap();
        assert!(!next.contains(&NodeId(1)));
        let alone = placed(&self::ring(&[1]), 16, 1);
        assert_eq!(leaders(&ring, &alone, &[]).unwrap(), [NodeId(1); 16]);
    }

    #[test]
    fn what_has_no_leaders_is_refused() {
        let ring = ring(&[1]);
        let empty = Placement::empty(Shards::default(), 1).unwrap();
        assert!(leaders(&ring, &empty, &[]).unwrap_err().to_string().contains("nobody holds"));
        let full = placed(&ring, 16, 1);
        let error = leaders(&ring, &full, &[NodeId(1)]).unwrap_err().to_string();
        assert!(error.contains("one leader a shard"), "{error}");
    }
}

//! A placement in the making: what `target` and `savings` work on.

use std::collections::{BTreeMap, BTreeSet};

use crate::chain::Handover;
use crate::{Error, NodeId, Placement, Ring, ShardId, Share, Zone};

/// A placement in the making. Nodes and zones are numbered from 0, in the ring's order.
pub(crate) struct Draft {
    pub(crate) ids: Vec<NodeId>,
    pub(crate) zone: Vec<usize>,
    pub(crate) zone_limit: usize,
    pub(crate) replicas: usize,
    /// Fair shares, less and more the slack, rounded down and up.
    pub(crate) low: Vec<usize>,
    pub(crate) high: Vec<usize>,
    /// `rank[shard][node]`: when a walk round the circle from the shard meets the node.
    pub(crate) rank: Vec<Vec<u16>>,
    /// What was there at first, by shard: to give that away costs, all else is only a draft.
    pub(crate) old: Vec<Vec<usize>>,
    /// Replicas on nodes that are off the ring.
    pub(crate) left: usize,
    /// The nodes of each shard, and the shards of each node.
    pub(crate) holders: Vec<Vec<usize>>,
    pub(crate) held: Vec<BTreeSet<usize>>,
}

impl Draft {
    /// `current`, with bounds that leave each node so much more or less than its fair share.
    pub(crate) fn new(
        ring: &Ring,
        current: &Placement,
        slack_percent: u64,
    ) -> Result<Draft, Error> {
        let (shards, replicas) = (current.shards(), current.replicas());
        let shares = Share::of_nodes(ring, shards, replicas)?;
        let ids: Vec<NodeId> = shares.iter().map(|(id, _)| *id).collect();
        let number = |id: &NodeId| ids.binary_search(id).ok();
        let mut zones: BTreeMap<&Zone, usize> = BTreeMap::new();
        let zone = ring.nodes().map(|(_, node)| {
            let next = zones.len();
            *zones.entry(node.zone()).or_insert(next)
        });
        let zone = zone.collect();
        let rank = |shard: ShardId| {
            let mut rank = vec![0; ids.len()];
            for (met, id) in (0..).zip(ring.walk(shards, shard)) {
                rank[number(&id).expect("a walk meets nodes of the ring")] = met;
            }
            rank
        };
        let rank = shards.iter().map(rank).collect();
        let stay = |set: &[NodeId]| set.iter().filter_map(number).collect();
        let holders: Vec<Vec<usize>> = current.iter().map(|(_, set)| stay(set)).collect();
        let mut held = vec![BTreeSet::new(); ids.len()];
        for (shard, set) in holders.iter().enumerate() {
            for &node in set {
                held[node].insert(shard);
            }
        }
        Ok(Draft {
            zone,
            zone_limit: ring.zone_limit(replicas)?,
            replicas,
            low: shares.iter().map(|(_, share)| share.low(slack_percent)).collect(),
            high: shares.iter().map(|(_, share)| share.high(slack_percent)).collect(),
            rank,
            old: holders.clone(),
            left: current.iter().map(|(_, set)| set.len()).sum::<usize>()
                - holders.iter().map(Vec::len).sum::<usize>(),
            holders,
            held,
            ids,
        })
    }

    pub(crate) fn load(&self, node: usize) -> usize {
        self.held[node].len()
    }

    /// How many replicas of a shard a zone has, beside that of `but`.
    pub(crate) fn in_zone(&self, shard: usize, zone: usize, but: Option<usize>) -> usize {
        let others = self.holders[shard].iter().filter(|node| Some(**node) != but);
        others.filter(|node| self.zone[**node] == zone).count()
    }

    /// May `node` get the shard, once `from` has given it up?
    pub(crate) fn fits(&self, shard: usize, node: usize, from: Option<usize>) -> bool {
        !self.held[node].contains(&shard)
            && self.in_zone(shard, self.zone[node], from) < self.zone_limit
    }

    pub(crate) fn put(&mut self, shard: usize, node: usize) {
        assert!(self.held[node].insert(shard), "a node got a shard that it has");
        self.holders[shard].push(node);
    }

    pub(crate) fn take(&mut self, shard: usize, node: usize) {
        assert!(self.held[node].remove(&shard), "a node gave a shard that it has not");
        self.holders[shard].retain(|holder| *holder != node);
    }

    /// To whom a node can hand a shard over: to each the shard that costs least, and among those
    /// the one that meets the taker soonest on the circle.
    pub(crate) fn hops(&self, from: usize, found: &mut Vec<Handover>) {
        let mut best = vec![None; self.ids.len()];
        for &shard in &self.held[from] {
            let was = |node: usize| self.old[shard].contains(&node);
            for (to, best) in best.iter_mut().enumerate() {
                let cost = i8::from(was(from)) - i8::from(was(to));
                let key = (cost, self.rank[shard][to], shard);
                if best.is_none_or(|best| key < best) && self.fits(shard, to, Some(from)) {
                    *best = Some(key);
                }
            }
        }
        let mut all: Vec<_> = best.into_iter().enumerate().collect();
        all.sort_unstable_by_key(|(_, key)| *key);
        let hop = |(to, key): (usize, Option<(i8, u16, usize)>)| {
            key.map(|(_, _, shard)| Handover { shard, from, to })
        };
        found.extend(all.into_iter().filter_map(hop));
    }

    /// How much a hand-over adds to the replicas that must be sent: one that was there before costs
    /// one once it goes, and saves one when it comes back.
    pub(crate) fn cost(&self, step: Handover) -> isize {
        let was = |node: usize| isize::from(self.old[step.shard].contains(&node));
        was(step.from) - was(step.to)
    }

    /// The replicas that must be sent to a node that had none.
    pub(crate) fn moves(&self) -> usize {
        let all = self.holders.iter().zip(&self.old);
        all.map(|(set, old)| set.iter().filter(|node| !old.contains(node)).count()).sum()
    }

    pub(crate) fn hand_over(&mut self, chain: &[Handover]) {
        for step in chain {
            self.take(step.shard, step.from);
            self.put(step.shard, step.to);
        }
    }

    /// What always holds of a finished draft.
    pub(crate) fn check(&self) {
        for (node, id) in self.ids.iter().enumerate() {
            let (low, load, high) = (self.low[node], self.load(node), self.high[node]);
            assert!(low <= load, "node {id} holds {load}, fewer than {low}");
            assert!(load <= high, "node {id} holds {load}, more than {high}");
        }
        for (shard, set) in self.holders.iter().enumerate() {
            assert_eq!(set.len(), self.replicas, "shard {shard} lacks replicas");
            for node in set {
                let zone = self.in_zone(shard, self.zone[*node], None);
                assert!(zone <= self.zone_limit, "shard {shard} is {zone} times in one zone");
            }
        }
    }
}

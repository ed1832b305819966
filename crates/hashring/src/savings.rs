//! Rounds of hand-overs that save moves.
//!
//! A draft that is within its bounds may still have moved more than it must: one shard was given to
//! the only node that could have taken another. Then there is a *round*: nodes that each hand a
//! shard to the next, or to nobody where a node may hold one more and another one less, by which
//! more replicas come back to where they were than leave. When no such round is left, no draft
//! within the bounds has fewer moves ([`crate::round`]).
//!
//! Cost: for each round saved, `replicas of all nodes × nodes`, and at worst `nodes³`.

use crate::chain::Handover;
use crate::draft::Draft;
use crate::round::Hops;

impl Draft {
    /// Saves what can be saved.
    pub(crate) fn save(&mut self) {
        while let Some(round) = self.saving() {
            let before = self.moves();
            for step in &round {
                self.take(step.shard, step.from);
            }
            for step in &round {
                self.put(step.shard, step.to);
            }
            assert!(self.moves() < before, "a round that saves nothing was taken for one");
        }
    }

    /// A round that saves moves.
    fn saving(&self) -> Option<Vec<Handover>> {
        let hops =
            Hops::of(self.ids.len(), |node, found| self.hops(node, found), |hop| self.cost(hop));
        hops.saving(|node| self.slack(node)).map(|round| self.untangled(round))
    }

    /// May the node hold one more, one less?
    fn slack(&self, node: usize) -> (bool, bool) {
        (self.load(node) < self.high[node], self.load(node) > self.low[node])
    }

    /// A round may have two nodes give the *same* shard to two nodes of one zone, which has room for
    /// one. Let each giver serve the other taker, and there are two rounds; one of them saves.
    fn untangled(&self, mut round: Vec<Handover>) -> Vec<Handover> {
        while let Some((first, second)) = self.tangle(&round) {
            let (one, other) = (round[first], round[second]);
            let mut inner = round[first + 1..second].to_vec();
            inner.push(Handover { from: other.from, ..one });
            let mut outer = round[..first].to_vec();
            outer.push(Handover { from: one.from, ..other });
            outer.extend_from_slice(&round[second + 1..]);
            let cost: isize = inner.iter().map(|hop| self.cost(*hop)).sum();
            round = if cost < 0 { inner } else { outer };
        }
        round
    }

    /// Two hand-overs that bring a shard into a zone which has no room for all that come.
    fn tangle(&self, round: &[Handover]) -> Option<(usize, usize)> {
        round.iter().find_map(|hop| {
            let zone = self.zone[hop.to];
            let within = |node: usize| self.zone[node] == zone;
            let same = |other: &&Handover| other.shard == hop.shard;
            let enters = |other: &Handover| within(other.to) && !within(other.from);
            let leaves = |other: &Handover| within(other.from) && !within(other.to);
            let count = |wanted: &dyn Fn(&Handover) -> bool| {
                round.iter().filter(same).filter(|other| wanted(other)).count()
            };
            let after = self.in_zone(hop.shard, zone, None) + count(&enters) - count(&leaves);
            let of_shard = |index: &usize| {
                let other = &round[*index];
                other.shard == hop.shard && enters(other)
            };
            let mut entering = (0..round.len()).filter(of_shard);
            if after > self.zone_limit { entering.next().zip(entering.next()) } else { None }
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::chain::Handover;
    use crate::draft::Draft;
    use crate::{Node, NodeId, Placement, Ring, Shards, Zone};

    #[test]
    fn a_round_that_brings_a_shard_twice_into_a_zone_is_cut_in_two() {
        let mut ring = Ring::new();
        for (id, zone) in [(1, "a"), (2, "b"), (3, "c"), (4, "c")] {
            ring.add(NodeId(id), Node::new(1, Zone::new(zone).unwrap()).unwrap()).unwrap();
        }
        let sets = [[1, 2], [1, 3], [2, 4], [1, 2]].map(|set| set.map(NodeId).to_vec());
        let four = Shards::new(4).unwrap();
        let placement = Placement::of_sets(four, 2, sets.to_vec()).unwrap();
        let draft = Draft::new(&ring, &placement, 0).unwrap();
        let hop = |shard, from, to| Handover { shard, from, to };
        // Nodes count from 0: both holders of shard 0 give it to a node of zone c.
        let round = vec![hop(0, 0, 2), hop(1, 2, 1), hop(0, 1, 3), hop(2, 3, 0)];
        assert_eq!(draft.tangle(&round), Some((0, 2)));
        let cut = draft.untangled(round);
        assert_eq!(cut, [hop(0, 0, 3), hop(2, 3, 0)]);
        assert_eq!(draft.tangle(&cut), None);
    }
}

//! Who holds which shard.
//!
//! A placement is a plain value: for each shard, the nodes with a replica of it. The cluster's map
//! carries it along, and [`Placement::target`] makes the next one from it and the ring.

use std::collections::BTreeMap;

use crate::limits::REPLICAS_MAX;
use crate::{Error, NodeId, ShardId, Shards};

/// The nodes that hold each shard, and how many there ought to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    shards: Shards,
    replicas: usize,
    /// By shard; each set by the numbers of its nodes.
    sets: Vec<Vec<NodeId>>,
}

impl Placement {
    /// Shards that nobody holds yet, each to have so many replicas.
    pub fn empty(shards: Shards, replicas: usize) -> Result<Placement, Error> {
        let sets = vec![Vec::new(); shards.count()];
        Placement::of_sets(shards, replicas, sets)
    }

    /// The placement in which each shard is held by the nodes of its set. A set may have fewer or
    /// more nodes than `replicas`, as while something is on its way.
    pub fn of_sets(
        shards: Shards,
        replicas: usize,
        mut sets: Vec<Vec<NodeId>>,
    ) -> Result<Placement, Error> {
        if !(1..=REPLICAS_MAX).contains(&replicas) {
            return Err(Error::Replicas { replicas, nodes: 0 });
        }
        if sets.len() != shards.count() {
            return Err(Error::Placement { reason: "there is not one set of replicas a shard" });
        }
        for set in &mut sets {
            set.sort_unstable();
            if set.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(Error::Placement { reason: "a node holds one shard twice" });
            }
        }
        Ok(Placement { shards, replicas, sets })
    }

    /// The same, if each shard is to have another number of replicas.
    pub fn with_replicas(self, replicas: usize) -> Result<Placement, Error> {
        Placement::of_sets(self.shards, replicas, self.sets)
    }

    /// How the slots are cut.
    pub fn shards(&self) -> Shards {
        self.shards
    }

    /// How many replicas each shard is to have.
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    /// The nodes that hold a shard, by number.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn of(&self, shard: ShardId) -> &[NodeId] {
        &self.sets[shard.index()]
    }

    /// Each shard and the nodes that hold it.
    pub fn iter(&self) -> impl Iterator<Item = (ShardId, &[NodeId])> {
        self.shards.iter().zip(self.sets.iter().map(Vec::as_slice))
    }

    /// How many replicas each node holds; a node that holds none is not named.
    pub fn loads(&self) -> BTreeMap<NodeId, usize> {
        let mut loads = BTreeMap::new();
        for node in self.sets.iter().flatten() {
            *loads.entry(*node).or_default() += 1;
        }
        loads
    }
}

#[cfg(test)]
mod tests {
    use super::Placement;
    use crate::{NodeId, Shards};

    #[test]
    fn sets_that_no_cluster_has_are_refused() {
        let two = Shards::new(2).unwrap();
        let told = |sets: Vec<Vec<NodeId>>| {
            Placement::of_sets(two, 2, sets).map(|_| ()).unwrap_err().to_string()
        };
        assert!(told(vec![vec![]]).contains("one set of replicas a shard"));
        assert!(told(vec![vec![], vec![NodeId(1), NodeId(1)]]).contains("one shard twice"));
        assert!(Placement::empty(two, 16).unwrap_err().to_string().contains("1 to 15"));
    }
}

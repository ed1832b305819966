//! From one placement to another: what must move.

use crate::{Error, NodeId, Placement, ShardId};

/// A step of one shard: a node gets a replica, another gives its own up. One of them is missing
/// where a shard grows or shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub shard: ShardId,
    pub add: Option<NodeId>,
    pub remove: Option<NodeId>,
}

/// The moves that lead from one placement to the other, by shard: no fewer can. Data moves with
/// each `add`; a `remove` costs nothing. They may be done in any order, and one shard's at once.
pub fn plan(from: &Placement, to: &Placement) -> Result<Vec<Move>, Error> {
    if from.shards() != to.shards() {
        let reason = "two placements with different numbers of shards have no plan between them";
        return Err(Error::Placement { reason });
    }
    let mut moves = Vec::new();
    for (shard, new) in to.iter() {
        let old = from.of(shard);
        let mut adds = new.iter().filter(|node| !old.contains(node)).copied();
        let mut removes = old.iter().filter(|node| !new.contains(node)).copied();
        loop {
            let (add, remove) = (adds.next(), removes.next());
            if add.is_none() && remove.is_none() {
                break;
            }
            moves.push(Move { shard, add, remove });
        }
    }
    Ok(moves)
}

#[cfg(test)]
mod tests {
    use super::{Move, plan};
    use crate::{NodeId, Placement, ShardId, Shards};

    fn placement(sets: &[&[u32]]) -> Placement {
        let shards = Shards::new(sets.len()).unwrap();
        let sets = sets.iter().map(|set| set.iter().map(|id| NodeId(*id)).collect()).collect();
        Placement::of_sets(shards, 2, sets).unwrap()
    }

    #[test]
    fn a_plan_has_what_differs_and_nothing_else() {
        let from = placement(&[&[1, 2], &[2, 3], &[1, 3], &[1]]);
        let to = placement(&[&[2, 1], &[3, 4], &[1], &[2, 3]]);
        let step = |shard, add: Option<u32>, remove: Option<u32>| Move {
            shard: ShardId(shard),
            add: add.map(NodeId),
            remove: remove.map(NodeId),
        };
        let expect = [
            step(1, Some(4), Some(2)),
            step(2, None, Some(3)),
            step(3, Some(2), Some(1)),
            step(3, Some(3), None),
        ];
        assert_eq!(plan(&from, &to).unwrap(), expect);
        assert_eq!(plan(&to, &to).unwrap(), []);
        let other = placement(&[&[1, 2], &[2, 3]]);
        assert!(plan(&from, &other).unwrap_err().to_string().contains("different numbers"));
    }
}

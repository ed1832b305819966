//! The shortest chain of hand-overs from one node to another.
//!
//! A node that must give one shard away may find no taker who has room. But a full node can take it
//! if it hands another shard on, and so forth: this is an augmenting path, found by a walk that is
//! broad before it is deep, so no shorter chain exists. Nodes are numbered here, shards as well.

use std::collections::VecDeque;

/// One node hands a shard over to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handover {
    pub(crate) shard: usize,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// Whom a walk met, and how it got there.
pub(crate) struct Walk {
    met: Vec<Option<Met>>,
}

#[derive(Clone, Copy)]
enum Met {
    AtStart,
    By(Handover),
}

impl Walk {
    /// Walks from `starts` until it meets a node that `ends` the walk, and returns that one too.
    /// `hops` adds the nodes that one node can hand something over to, and what: the best first.
    pub(crate) fn new(
        nodes: usize,
        starts: &[usize],
        hops: impl Fn(usize, &mut Vec<Handover>),
        ends: impl Fn(usize) -> bool,
    ) -> (Walk, Option<usize>) {
        let mut walk = Walk { met: vec![None; nodes] };
        let (mut queue, mut found) = (VecDeque::new(), Vec::new());
        for &start in starts {
            walk.met[start] = Some(Met::AtStart);
            if ends(start) {
                return (walk, Some(start));
            }
            queue.push_back(start);
        }
        while let Some(node) = queue.pop_front() {
            hops(node, &mut found);
            for hop in found.drain(..) {
                if walk.met[hop.to].is_some() {
                    continue;
                }
                walk.met[hop.to] = Some(Met::By(hop));
                if ends(hop.to) {
                    return (walk, Some(hop.to));
                }
                queue.push_back(hop.to);
            }
        }
        (walk, None)
    }

    /// Was this node met?
    pub(crate) fn met(&self, node: usize) -> bool {
        self.met[node].is_some()
    }

    /// The chain from a start to a node that was met: the last hand-over first, so that nobody ever
    /// holds more than at the end. Also the start.
    pub(crate) fn chain(&self, to: usize) -> (Vec<Handover>, usize) {
        let (mut chain, mut node) = (Vec::new(), to);
        while let Some(Met::By(hop)) = self.met[node] {
            chain.push(hop);
            node = hop.from;
        }
        (chain, node)
    }
}

#[cfg(test)]
mod tests {
    use super::{Handover, Walk};

    #[test]
    fn the_chain_is_the_shortest_and_is_told_from_its_end() {
        let edges = [(0, 1), (1, 2), (2, 3), (0, 4), (4, 3), (5, 0)];
        let hops = |node, found: &mut Vec<Handover>| {
            let of_node = edges.iter().enumerate().filter(|(_, edge)| edge.0 == node);
            found.extend(of_node.map(|(shard, &(from, to))| Handover { shard, from, to }));
        };
        let (walk, end) = Walk::new(6, &[0], hops, |node| node == 3);
        assert_eq!(end, Some(3));
        let (chain, start) = walk.chain(3);
        assert_eq!((chain[0].from, chain[1].from, chain.len(), start), (4, 0, 2, 0));
        let (walk, end) = Walk::new(6, &[0], hops, |node| node == 5);
        assert_eq!(end, None);
        assert!(walk.met(3));
        assert!(!walk.met(5));
    }
}

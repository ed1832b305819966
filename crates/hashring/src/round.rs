//! The round of hand-overs that costs less than nothing.
//!
//! In a *round* nodes each hand a shard to the next, and the last to the first; or to a pool, which
//! stands for "one may have one more, and another one less". Where no round costs less than nothing,
//! nothing within the same bounds is cheaper: a flow whose residual network has no negative cycle is
//! one of least cost (Klein, "A primal method for minimal cost flows", 1967).

use crate::chain::Handover;

/// The cheapest hand-over from each node to each other.
pub(crate) struct Hops {
    /// `best[from][to]`, with its cost.
    best: Vec<Vec<Option<(Handover, isize)>>>,
}

/// A way from one node to another, or between a node and the pool, where nothing changes hands.
#[derive(Clone, Copy)]
enum Edge {
    Hop(Handover),
    Pool { from: usize, to: usize },
}

impl Edge {
    fn from(self) -> usize {
        match self {
            Edge::Hop(hop) => hop.from,
            Edge::Pool { from, .. } => from,
        }
    }

    fn to(self) -> usize {
        match self {
            Edge::Hop(hop) => hop.to,
            Edge::Pool { to, .. } => to,
        }
    }
}

impl Hops {
    /// Those that may be made: `hops` finds those of a node. Among several from one node to another
    /// that cost as much, the first is taken.
    pub(crate) fn of(
        nodes: usize,
        hops: impl Fn(usize, &mut Vec<Handover>),
        cost: impl Fn(Handover) -> isize,
    ) -> Hops {
        let (mut best, mut found) = (vec![vec![None; nodes]; nodes], Vec::new());
        (0..nodes).for_each(|node| hops(node, &mut found));
        for hop in found {
            let (best, cost) = (&mut best[hop.from][hop.to], cost(hop));
            if best.is_none_or(|(_, least)| cost < least) {
                *best = Some((hop, cost));
            }
        }
        Hops { best }
    }

    /// A round whose costs are less than nothing together, in order. `slack` says of a node whether
    /// it may have one more, and whether one less.
    pub(crate) fn saving(&self, slack: impl Fn(usize) -> (bool, bool)) -> Option<Vec<Handover>> {
        let hops = self.negative_cycle(slack)?.into_iter().filter_map(|edge| match edge {
            Edge::Hop(hop) => Some(hop),
            Edge::Pool { .. } => None,
        });
        Some(hops.collect())
    }

    /// By Bellman and Ford.
    fn negative_cycle(&self, slack: impl Fn(usize) -> (bool, bool)) -> Option<Vec<Edge>> {
        let nodes = self.best.len();
        let pool = nodes;
        let hops = self.best.iter().flatten().flatten();
        let mut edges: Vec<(Edge, isize)> =
            hops.map(|(hop, cost)| (Edge::Hop(*hop), *cost)).collect();
        for node in 0..nodes {
            let (more, less) = slack(node);
            if more {
                edges.push((Edge::Pool { from: node, to: pool }, 0));
            }
            if less {
                edges.push((Edge::Pool { from: pool, to: node }, 0));
            }
        }
        let mut distance = vec![0; nodes + 1];
        let mut by: Vec<Option<Edge>> = vec![None; nodes + 1];
        let mut last = None;
        for _ in 0..=nodes {
            last = None;
            for &(edge, cost) in &edges {
                if distance[edge.from()] + cost < distance[edge.to()] {
                    distance[edge.to()] = distance[edge.from()] + cost;
                    by[edge.to()] = Some(edge);
                    last = Some(edge.to());
                }
            }
            last?;
        }
        Some(cycle(&by, last?))
    }
}

/// The cycle that the way back from a node leads into.
fn cycle(by: &[Option<Edge>], mut node: usize) -> Vec<Edge> {
    let back = |node: usize| by[node].expect("what still changes after so many rounds has a cause");
    for _ in 0..by.len() {
        node = back(node).from();
    }
    let (end, mut cycle) = (node, Vec::new());
    loop {
        let edge = back(node);
        cycle.push(edge);
        node = edge.from();
        if node == end {
            break;
        }
    }
    cycle.reverse();
    cycle
}

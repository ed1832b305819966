//! A graph of transactions, and the cycles in it: whatever is on one came before itself.

use std::collections::VecDeque;

/// Why one transaction comes before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Because {
    /// It wrote what the other overwrote: appended right before it.
    Wrote { key: String, what: String },
    /// It wrote what the other read.
    WasRead { key: String, what: String },
    /// It read without what the other wrote.
    Missed { key: String, what: String },
    /// It was over before the other began.
    Earlier,
}

impl Because {
    /// One bit for each kind, so that a set of kinds is a number.
    pub(super) fn bit(&self) -> u8 {
        match self {
            Because::Wrote { .. } => WW,
            Because::WasRead { .. } => WR,
            Because::Missed { .. } => RW,
            Because::Earlier => RT,
        }
    }
}

pub(super) const WW: u8 = 1;
pub(super) const WR: u8 = 2;
pub(super) const RW: u8 = 4;
pub(super) const RT: u8 = 8;

/// An edge: its target and its reason.
pub(super) type Edge = (usize, Because);

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Graph {
    edges: Vec<Vec<Edge>>,
}

impl Graph {
    /// So many transactions, in no order.
    pub(super) fn new(nodes: usize) -> Graph {
        Graph { edges: vec![Vec::new(); nodes] }
    }

    /// `source` comes before `target`.
    pub(super) fn add(&mut self, source: usize, target: usize, because: Because) {
        if source != target {
            self.edges[source].push((target, because));
        }
    }

    fn out(&self, node: usize, kinds: u8) -> impl Iterator<Item = &Edge> {
        self.edges[node].iter().filter(move |(_, because)| because.bit() & kinds != 0)
    }

    /// A short cycle of edges of these kinds, as nodes with the edge that leads on from each.
    /// `once`: one edge of this kind is in it, and no second one.
    pub(super) fn cycle(&self, kinds: u8, once: Option<u8>) -> Option<Vec<(usize, &Edge)>> {
        let component = self.components(kinds | once.unwrap_or(0));
        let mut shortest: Option<Vec<(usize, &Edge)>> = None;
        for node in 0..self.edges.len() {
            // Without an edge to begin with, any edge of the kinds will do.
            for edge in self.out(node, once.unwrap_or(kinds)) {
                if component[node] != component[edge.0] {
                    continue;
                }
                let Some(mut path) = self.path(edge.0, node, kinds, &component) else { continue };
                path.insert(0, (node, edge));
                if shortest.as_ref().is_none_or(|found| path.len() < found.len()) {
                    shortest = Some(path);
                }
                if shortest.as_ref().is_some_and(|found| found.len() == 2) {
                    return shortest;
                }
            }
        }
        shortest
    }

    /// The shortest way from one to the other, within a component.
    fn path(
        &self,
        source: usize,
        target: usize,
        kinds: u8,
        component: &[usize],
    ) -> Option<Vec<(usize, &Edge)>> {
        let mut from: Vec<Option<(usize, &Edge)>> = vec![None; self.edges.len()];
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            if node == target {
                let mut path = Vec::new();
                let mut at = target;
                while at != source {
                    let (before, edge) = from[at]?;
                    path.push((before, edge));
                    at = before;
                }
                path.reverse();
                return Some(path);
            }
            for edge in self.out(node, kinds) {
                let is_new = edge.0 != source && from[edge.0].is_none();
                if is_new && component[edge.0] == component[source] {
                    from[edge.0] = Some((node, edge));
                    queue.push_back(edge.0);
                }
            }
        }
        None
    }

    /// The strongly connected component of each node (Tarjan 1972), without recursion: a history
    /// may be one long chain.
    fn components(&self, kinds: u8) -> Vec<usize> {
        let nodes = self.edges.len();
        let mut tarjan = Tarjan {
            index: vec![UNSEEN; nodes],
            low: vec![UNSEEN; nodes],
            component: vec![UNSEEN; nodes],
            stack: Vec::new(),
            count: 0,
            components: 0,
        };
        for root in 0..nodes {
            if tarjan.index[root] == UNSEEN {
                self.visit(root, kinds, &mut tarjan);
            }
        }
        tarjan.component
    }

    fn visit(&self, root: usize, kinds: u8, tarjan: &mut Tarjan) {
        let mut calls = vec![(root, 0)];
        while let Some((node, first)) = calls.pop() {
            if tarjan.index[node] == UNSEEN {
                tarjan.enter(node);
            }
            let edges = self.edges[node].iter().enumerate().skip(first);
            let mut edges = edges.filter(|(_, (_, because))| because.bit() & kinds != 0);
            let unseen = edges.find(|(_, (target, _))| !tarjan.fold(node, *target));
            match unseen {
                // This edge is looked at once more when its target is done, for its `low`.
                Some((at, (target, _))) => calls.extend([(node, at), (*target, 0)]),
                None => tarjan.leave(node),
            }
        }
    }
}

const UNSEEN: usize = usize::MAX;

/// What Tarjan's algorithm writes down.
struct Tarjan {
    index: Vec<usize>,
    /// The lowest index that can be reached.
    low: Vec<usize>,
    component: Vec<usize>,
    stack: Vec<usize>,
    count: usize,
    components: usize,
}

impl Tarjan {
    fn enter(&mut self, node: usize) {
        (self.index[node], self.low[node]) = (self.count, self.count);
        self.count += 1;
        self.stack.push(node);
    }

    /// Takes in what the target of an edge can reach; false if it was not visited so far.
    fn fold(&mut self, node: usize, target: usize) -> bool {
        if self.index[target] == UNSEEN {
            return false;
        }
        if self.component[target] == UNSEEN {
            self.low[node] = self.low[node].min(self.low[target]);
        }
        true
    }

    fn leave(&mut self, node: usize) {
        if self.low[node] != self.index[node] {
            return;
        }
        while let Some(member) = self.stack.pop() {
            self.component[member] = self.components;
            if member == node {
                break;
            }
        }
        self.components += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{Because, Graph, RT, RW, WR, WW};

    fn graph(nodes: usize, edges: &[(usize, usize, u8)]) -> Graph {
        let mut graph = Graph::new(nodes);
        for (source, target, kind) in edges {
            let (key, what) = (String::new(), String::new());
            let because = match *kind {
                WW => Because::Wrote { key, what },
                WR => Because::WasRead { key, what },
                RW => Because::Missed { key, what },
                _ => Because::Earlier,
            };
            graph.add(*source, *target, because);
        }
        graph
    }

    fn nodes(graph: &Graph, kinds: u8, once: Option<u8>) -> Option<Vec<usize>> {
        Some(graph.cycle(kinds, once)?.into_iter().map(|(node, _)| node).collect())
    }

    #[test]
    fn a_cycle_is_found_by_the_kinds_of_its_edges_and_the_shortest_is_shown() {
        let edges = [(0, 1, WW), (1, 2, WR), (2, 3, RW), (3, 0, WW), (2, 4, WW), (4, 0, RT)];
        let graph = graph(5, &edges);
        assert_eq!(nodes(&graph, WW, None), None);
        assert_eq!(nodes(&graph, WW | WR, None), None);
        assert_eq!(nodes(&graph, WW | WR, Some(RW)), Some(vec![2, 3, 0, 1]));
        assert_eq!(nodes(&graph, WW | WR | RT, None).map(|found| found.len()), Some(4));
        assert_eq!(nodes(&graph, WW | WR | RT, Some(RW)), Some(vec![2, 3, 0, 1]));
    }

    #[test]
    fn a_long_chain_has_no_cycle_and_no_stack_overflows() {
        let mut edges: Vec<(usize, usize, u8)> = (0..200_000).map(|n| (n, n + 1, WW)).collect();
        assert_eq!(nodes(&graph(200_001, &edges), WW, None), None);
        edges.push((200_000, 199_999, WW));
        assert_eq!(nodes(&graph(200_001, &edges), WW, None), Some(vec![199_999, 200_000]));
    }
}

//! A counted B+tree: elements in order, found by rank, by bound or by member.
//!
//! ```text
//! inner:   (low, count) (low, count) (low, count) …        low: no element of the child is below
//!              │            │            │
//! leaf:     a b c  ◀──▶  d e f g  ◀──▶  h i                count: elements below the child
//!              ▲            ▲
//! index:    hash of a member ─▶ its leaf
//! ```
//!
//! An element stands once, in its leaf: 32 bytes, and eight in the index.
//!
//! What always holds: no node but the root is empty, none is over-full, and two neighbours below one
//! parent hold together more than half of what one can, so the tree is never much larger than its
//! elements. Counts are exact. Its shape depends on history, and nothing that it answers does.
//! Bayer and McCreight, Acta Informatica 1, 1972; counts as in Knuth, volume 3, section 6.2.3.

use std::ops::Range;

use super::index::Place;
use super::item::{Item, Key, before};
use super::leaves::{LEAF_ITEMS_MAX, Leaves};
use crate::str::Str;

/// Children of an inner node.
const INNER_CHILDREN_MAX: usize = 32;

/// How full bulk loading makes a node: room for some inserts before the first splits.
const BULK_FILL_EIGHTHS: usize = 7;

/// A sorted set in a tree.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: Node,
    leaves: Leaves,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(u32),
    Inner(Vec<Child>),
}

#[derive(Clone, Debug)]
struct Child {
    /// Not above any element of this child, and above all of the child before. That of a first
    /// child is not looked at.
    low: Item,
    count: usize,
    node: Node,
}

impl Default for Tree {
    fn default() -> Tree {
        let mut leaves = Leaves::default();
        let root = Node::Leaf(leaves.add(Vec::new(), None));
        Tree { root, leaves, len: 0 }
    }
}

impl Tree {
    /// A tree of elements in ascending order, each member once.
    pub(super) fn from_sorted(items: Vec<Item>) -> Tree {
        if items.is_empty() {
            return Tree::default();
        }
        let (mut leaves, len) = (Leaves::default(), items.len());
        let mut level = Vec::with_capacity(len / 32);
        let mut items = items.into_iter();
        let mut prev = None;
        loop {
            let chunk: Vec<Item> =
                items.by_ref().take(LEAF_ITEMS_MAX * BULK_FILL_EIGHTHS / 8).collect();
            let Some(low) = chunk.first().cloned() else { break };
            let (places, count): (Vec<Place>, usize) =
                (chunk.iter().map(|item| Place::of(&item.member)).collect(), chunk.len());
            let leaf = leaves.add(chunk, prev);
            places.into_iter().for_each(|place| leaves.index.insert(place, leaf));
            level.push(Child { low, count, node: Node::Leaf(leaf) });
            prev = Some(leaf);
        }
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len() / 16 + 1);
            let mut children = level.into_iter();
            loop {
                let fill = INNER_CHILDREN_MAX * BULK_FILL_EIGHTHS / 8;
                let chunk: Vec<Child> = children.by_ref().take(fill).collect();
                let Some(first) = chunk.first() else { break };
                let (low, count) = (first.low.clone(), sum(&chunk));
                above.push(Child { low, count, node: Node::Inner(chunk) });
            }
            level = above;
        }
        let root = level.pop().expect("a tree with elements has a root").node;
        Tree { root, leaves, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.leaves.find(member).map(|item| item.score)
    }

    /// Adds an element whose member is not there.
    pub(super) fn insert(&mut self, key: Key<'_>) {
        let split = insert(&mut self.root, &mut self.leaves, Item::from(key), Edge::Right);
        self.len += 1;
        if let Some(right) = split {
            let low = Item { score: f64::NEG_INFINITY, member: Str::default() };
            let left = std::mem::replace(&mut self.root, Node::Inner(Vec::new()));
            let left = Child { low, count: self.len - right.count, node: left };
            self.root = Node::Inner(vec![left, right]);
        }
    }

    /// Takes an element out; false if it is not there.
    pub(super) fn remove(&mut self, key: Key<'_>) -> bool {
        if !remove(&mut self.root, &mut self.leaves, key) {
            return false;
        }
        self.len -= 1;
        while let Node::Inner(children) = &mut self.root {
            match children.len() {
                0 => self.root = Node::Leaf(self.leaves.add(Vec::new(), None)),
                1 => self.root = children.pop().expect("there is one").node,
                _ => break,
            }
        }
        true
    }

    /// How many elements the predicate holds for: those before a bound. It must hold for no
    /// element behind one that it does not hold for.
    pub(super) fn count_while(&self, holds: impl Fn(Key<'_>) -> bool) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Inner(children) => {
                    let at = children.partition_point(|child| holds(child.low.key()));
                    let at = at.saturating_sub(1);
                    rank += sum(&children[..at]);
                    node = &children[at].node;
                }
                Node::Leaf(leaf) => {
                    let items = &self.leaves.get(*leaf).items;
                    return rank + items.partition_point(|item| holds(item.key()));
                }
            }
        }
    }

    /// The elements of these ranks, ascending.
    pub(super) fn iter(&self, ranks: Range<usize>) -> impl Iterator<Item = Key<'_>> {
        let (mut leaf, mut at) = self.locate(ranks.start);
        (0..ranks.len()).map(move |_| {
            while at >= self.leaves.get(leaf).items.len() {
                leaf = self.leaves.next(leaf).expect("the ranks are inside the tree");
                at = 0;
            }
            at += 1;
            self.leaves.get(leaf).items[at - 1].key()
        })
    }

    /// The elements of these ranks, descending.
    pub(super) fn iter_reverse(&self, ranks: Range<usize>) -> impl Iterator<Item = Key<'_>> {
        let (mut leaf, mut at) = self.locate(ranks.end.saturating_sub(1));
        at += 1;
        (0..ranks.len()).map(move |_| {
            while at == 0 {
                leaf = self.leaves.prev(leaf).expect("the ranks are inside the tree");
                at = self.leaves.get(leaf).items.len();
            }
            at -= 1;
            self.leaves.get(leaf).items[at].key()
        })
    }

    /// Visits elements from a place of the circle of hashes on; see `Dict::scan`.
    pub(super) fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Key<'_>)) -> u64 {
        let Some(start) = Place::at(cursor) else { return 0 };
        let mut found = Vec::new();
        let next = self.leaves.index.scan(start, count, |place| {
            self.leaves.at_place(place, &mut found);
            found.drain(..).for_each(|item| visit(item.key()));
        });
        next.map_or(0, Place::cursor)
    }

    /// Does any member stand here twice? Only bytes that no `save` wrote make such a tree.
    pub(super) fn has_twins(&self) -> bool {
        let (mut found, mut twins) = (Vec::new(), false);
        self.leaves.index.scan(Place::START, usize::MAX, |place| {
            self.leaves.at_place(place, &mut found);
            twins |= found.windows(2).any(|pair| pair[0].member == pair[1].member);
            found.clear();
        });
        twins
    }

    /// About how many bytes of memory it takes, itself included; what long members take is
    /// estimated from the first `samples`. Nodes count as if they were four fifths full: what they
    /// are differs between replicas, and a script may store what it was told.
    pub(super) fn memory(&self, samples: usize) -> usize {
        let looked_at = samples.clamp(1, self.len.max(1));
        let leaves = std::iter::successors(Some(self.locate(0).0), |leaf| self.leaves.next(*leaf));
        let items = leaves.flat_map(|leaf| &self.leaves.get(leaf).items).take(looked_at);
        let texts = items.map(|item| item.member.heap_bytes()).sum::<usize>();
        let entry = (size_of::<Item>() + size_of::<u64>()) * 5 / 4;
        size_of::<Tree>() + self.len * entry + texts * self.len / looked_at
    }

    /// The leaf of a rank, and the place in it.
    fn locate(&self, mut rank: usize) -> (u32, usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return (*leaf, rank),
                Node::Inner(children) => {
                    let mut at = 0;
                    while at + 1 < children.len() && rank >= children[at].count {
                        rank -= children[at].count;
                        at += 1;
                    }
                    node = &children[at].node;
                }
            }
        }
    }
}

fn sum(children: &[Child]) -> usize {
    children.iter().map(|child| child.count).sum()
}

/// Where an element is or belongs among children.
fn child_of(children: &[Child], key: Key<'_>) -> usize {
    children.partition_point(|child| !before(key, child.low.key())).saturating_sub(1)
}

/// Is a node the last of its level? Whoever appends in order fills each node there.
#[derive(Clone, Copy, PartialEq)]
enum Edge {
    Right,
    Inside,
}

/// Puts an element below a node. One that became over-full returns its upper part.
fn insert(node: &mut Node, leaves: &mut Leaves, item: Item, edge: Edge) -> Option<Child> {
    let children = match node {
        Node::Inner(children) => children,
        Node::Leaf(leaf) => {
            let right = leaves.insert(*leaf, item)?;
            let items = &leaves.get(right).items;
            let (low, count) = (items[0].clone(), items.len());
            return Some(Child { low, count, node: Node::Leaf(right) });
        }
    };
    let at = child_of(children, item.key());
    let below = if at + 1 == children.len() { edge } else { Edge::Inside };
    let child = &mut children[at];
    let split = insert(&mut child.node, leaves, item, below);
    child.count += 1;
    let right = split?;
    child.count -= right.count;
    children.insert(at + 1, right);
    if children.len() <= INNER_CHILDREN_MAX {
        return None;
    }
    let middle = if below == Edge::Right { INNER_CHILDREN_MAX } else { children.len() / 2 };
    let upper = children.split_off(middle);
    let (low, count) = (upper[0].low.clone(), sum(&upper));
    Some(Child { low, count, node: Node::Inner(upper) })
}

/// Takes an element out from below a node; false if it is not there.
fn remove(node: &mut Node, leaves: &mut Leaves, key: Key<'_>) -> bool {
    let children = match node {
        Node::Inner(children) => children,
        Node::Leaf(leaf) => return leaves.remove(*leaf, key),
    };
    let at = child_of(children, key);
    if !remove(&mut children[at].node, leaves, key) {
        return false;
    }
    children[at].count -= 1;
    if children[at].count == 0 {
        if let Node::Leaf(leaf) = children.remove(at).node {
            leaves.release(leaf);
        }
        // What stood on both sides of the gap are neighbours from here on.
        if at > 0 {
            merge_if_small(children, leaves, at - 1);
        }
    } else {
        // Both, for it may have become smaller by two: a leaf went, and those around it were merged.
        merge_if_small(children, leaves, at);
        if at > 0 {
            merge_if_small(children, leaves, at - 1);
        }
    }
    true
}

/// Makes one child of those at `at` and behind it, if they are small.
fn merge_if_small(children: &mut Vec<Child>, leaves: &mut Leaves, at: usize) -> bool {
    let Some([left, right]) = children.get_mut(at..at + 2) else { return false };
    match (&mut left.node, &mut right.node) {
        (Node::Leaf(l), Node::Leaf(r)) => {
            if left.count + right.count > LEAF_ITEMS_MAX / 2 {
                return false;
            }
            leaves.merge(*l, *r);
        }
        (Node::Inner(l), Node::Inner(r)) => {
            if l.len() + r.len() > INNER_CHILDREN_MAX / 2 {
                return false;
            }
            // It is no longer a first child, so its bound begins to matter.
            r[0].low = right.low.clone();
            let last = l.len() - 1;
            l.append(r);
            // The last of the one and the first of the other were no neighbours so far.
            merge_if_small(l, leaves, last);
        }
        _ => unreachable!("all leaves are equally deep"),
    }
    left.count += right.count;
    children.remove(at + 1);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::zset::item::order;

    impl Tree {
        /// Bytes of memory; long members apart.
        fn bytes(&self) -> usize {
            fn inner(node: &Node) -> usize {
                let Node::Inner(children) = node else { return 0 };
                let below: usize = children.iter().map(|child| inner(&child.node)).sum();
                below + children.capacity() * size_of::<Child>()
            }
            self.leaves.bytes() + inner(&self.root)
        }

        fn check(&self) {
            let mut bounds = (None, None);
            let count = self.check_node(&self.root, &mut bounds, true).0;
            assert_eq!(count, self.len, "the count of all elements");
            assert!(!self.has_twins());
            let all: Vec<_> = self.iter(0..self.len).collect();
            assert!(all.windows(2).all(|pair| before(pair[0], pair[1])), "order");
            let mut back: Vec<_> = self.iter_reverse(0..self.len).collect();
            back.reverse();
            assert_eq!(all, back, "both directions");
            for key in all {
                assert_eq!(self.score(key.member).map(f64::to_bits), Some(key.score.to_bits()));
            }
        }

        /// Returns count and depth of a node.
        fn check_node<'a>(
            &'a self,
            node: &'a Node,
            bounds: &mut (Option<Key<'a>>, Option<Key<'a>>),
            is_root: bool,
        ) -> (usize, usize) {
            match node {
                Node::Leaf(leaf) => {
                    let items = &self.leaves.get(*leaf).items;
                    assert!(is_root || !items.is_empty(), "an empty leaf");
                    assert!(items.len() <= LEAF_ITEMS_MAX, "an over-full leaf");
                    for item in items {
                        assert!(bounds.0.is_none_or(|low| !before(item.key(), low)), "low");
                        assert!(bounds.1.is_none_or(|last| before(last, item.key())), "high");
                        bounds.1 = Some(item.key());
                    }
                    (items.len(), 0)
                }
                Node::Inner(children) => {
                    assert!(!children.is_empty() && (!is_root || children.len() > 1));
                    assert!(children.len() <= INNER_CHILDREN_MAX, "an over-full node");
                    let (mut total, mut depths) = (0, Vec::new());
                    for (at, child) in children.iter().enumerate() {
                        if at > 0 {
                            let low = child.low.key();
                            assert!(bounds.1.is_none_or(|last| before(last, low)), "low is high");
                            bounds.0 = Some(low);
                        }
                        let (count, depth) = self.check_node(&child.node, bounds, false);
                        assert_eq!(count, child.count, "the count of a child");
                        total += count;
                        depths.push(depth);
                    }
                    assert!(depths.windows(2).all(|pair| pair[0] == pair[1]), "depth");
                    let size = |child: &Child| match &child.node {
                        Node::Leaf(_) => (child.count, LEAF_ITEMS_MAX),
                        Node::Inner(children) => (children.len(), INNER_CHILDREN_MAX),
                    };
                    for pair in children.windows(2) {
                        let ((left, max), (right, _)) = (size(&pair[0]), size(&pair[1]));
                        assert!(left + right > max / 2, "two small neighbours: {left} {right}");
                    }
                    (total, depths[0] + 1)
                }
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(u16, i8),
        Remove(u16),
        /// Ascending, as a log of events.
        Append(u8),
        RemoveSpan(u16, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..3_000u16, -3..4i8).prop_map(|(member, score)| Step::Add(member, score)),
            3 => (0..3_000u16).prop_map(Step::Remove),
            1 => any::<u8>().prop_map(Step::Append),
            1 => (0..3_000u16, any::<u8>()).prop_map(|(at, count)| Step::RemoveSpan(at, count)),
        ]
    }

    /// The model: a sorted vector.
    #[derive(Default)]
    struct Model(Vec<(f64, Vec<u8>)>);

    impl Model {
        fn set(&mut self, tree: &mut Tree, score: f64, member: &[u8]) {
            self.remove(tree, member);
            let key = Key { score, member };
            let at = self.0.partition_point(|(s, m)| before(Key { score: *s, member: m }, key));
            self.0.insert(at, (score, member.to_vec()));
            tree.insert(key);
        }

        fn remove(&mut self, tree: &mut Tree, member: &[u8]) {
            let at = self.0.iter().position(|(_, other)| other == member);
            assert_eq!(tree.score(member), at.map(|at| self.0[at].0));
            if let Some(at) = at {
                let (score, _) = self.0.remove(at);
                assert!(tree.remove(Key { score, member }));
            }
        }

        fn run(&mut self, tree: &mut Tree, step: &Step) {
            match step {
                Step::Add(member, score) => {
                    self.set(tree, f64::from(*score), format!("m{member}").as_bytes());
                }
                Step::Remove(member) => self.remove(tree, format!("m{member}").as_bytes()),
                Step::Append(count) => {
                    for n in 0..*count {
                        let top = self.0.last().map_or(0.0, |(score, _)| *score);
                        self.set(tree, top + 1.0, format!("a{n}").as_bytes());
                    }
                }
                Step::RemoveSpan(at, count) => {
                    for _ in 0..*count {
                        let Some((_, member)) = self.0.get(usize::from(*at)).cloned() else {
                            break;
                        };
                        self.remove(tree, &member);
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn it_is_a_sorted_vector(
            bulk in 0..2_000u16,
            steps in prop::collection::vec(step(), 0..400),
        ) {
            let mut model = Model::default();
            let item = |n| {
                let member = Str::from(format!("m{n}").into_bytes());
                Item { score: f64::from(n % 7), member }
            };
            let mut items: Vec<Item> = (0..bulk).map(item).collect();
            items.sort_by(|a, b| order(a.key(), b.key()));
            model.0 = items.iter().map(|item| (item.score, item.member.to_vec())).collect();
            let mut tree = Tree::from_sorted(items);
            tree.check();
            for step in &steps {
                model.run(&mut tree, step);
            }
            tree.check();
            let all: Vec<_> =
                tree.iter(0..tree.len()).map(|key| (key.score, key.member.to_vec())).collect();
            prop_assert_eq!(&all, &model.0);
            for (rank, (score, member)) in model.0.iter().enumerate().step_by(37) {
                let key = Key { score: *score, member };
                prop_assert_eq!(tree.count_while(|other| before(other, key)), rank);
                prop_assert_eq!(tree.iter(rank..rank + 1).next(), Some(key));
                prop_assert_eq!(tree.iter_reverse(rank..rank + 1).next(), Some(key));
            }
            let mut seen = Vec::new();
            let mut cursor = 0;
            loop {
                cursor = tree.scan(cursor, 10, |key| seen.push((key.score, key.member.to_vec())));
                if cursor == 0 {
                    break;
                }
            }
            prop_assert_eq!(seen.len(), model.0.len());
        }
    }

    #[test]
    fn an_emptied_tree_can_be_filled_again() {
        let (mut tree, mut model) = (Tree::default(), Model::default());
        for round in 0..3 {
            for n in 0..1_000u32 {
                let score = if round == 1 { -f64::from(n) } else { f64::from(n) };
                model.set(&mut tree, score, format!("m{n}").as_bytes());
            }
            tree.check();
            for n in 0..1_000u32 {
                model.remove(&mut tree, format!("m{}", n * 7 % 1_000).as_bytes());
            }
            tree.check();
            assert_eq!(tree.len(), 0);
        }
    }

    #[test]
    fn an_element_costs_less_than_in_redis() {
        const REDIS_BYTES: usize = 107;
        let mut rng = stdx::Rng::new(1);
        let (mut random, mut ascending) = (Tree::default(), Tree::default());
        const COUNT: usize = 50_000;
        for n in 0..COUNT {
            let member = format!("member:{n:012}");
            let member = member.as_bytes();
            random.insert(Key { score: rng.fraction(), member });
            ascending.insert(Key { score: n as f64, member });
        }
        let cost = |tree: &Tree| tree.bytes() / COUNT;
        assert!(cost(&random) < REDIS_BYTES * 2 / 3, "{}", cost(&random));
        assert!(cost(&ascending) < REDIS_BYTES / 2, "{}", cost(&ascending));
    }
}

//! The leaves of the tree: elements in order, and the index from a member to its leaf.
//!
//! Leaves have numbers, so that the index can name them, and are linked in order, so that a walk
//! needs no tree. Whoever moves an element to another leaf tells the index.

use super::index::{Index, LEAVES_MAX, Place};
use super::item::{Item, Key, before};

/// Elements of a leaf: two KiB, half of which an insert moves in less than a cache miss takes.
pub(super) const LEAF_ITEMS_MAX: usize = 64;

/// No leaf: the neighbour of an end.
const NONE: u32 = u32::MAX;

/// Some neighbouring elements.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) items: Vec<Item>,
    prev: u32,
    next: u32,
}

/// All leaves of a tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaves {
    leaves: Vec<Leaf>,
    free: Vec<u32>,
    pub(super) index: Index,
}

impl Leaves {
    pub(super) fn get(&self, leaf: u32) -> &Leaf {
        &self.leaves[leaf as usize]
    }

    /// The leaf behind another.
    pub(super) fn next(&self, leaf: u32) -> Option<u32> {
        Some(self.get(leaf).next).filter(|next| *next != NONE)
    }

    /// The leaf before another.
    pub(super) fn prev(&self, leaf: u32) -> Option<u32> {
        Some(self.get(leaf).prev).filter(|prev| *prev != NONE)
    }

    /// A leaf with these elements behind `prev`.
    pub(super) fn add(&mut self, items: Vec<Item>, prev: Option<u32>) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            assert!(self.leaves.len() < LEAVES_MAX, "a leaf has a number that the index can hold");
            self.leaves.push(Leaf { items: Vec::new(), prev: NONE, next: NONE });
            (self.leaves.len() - 1) as u32
        });
        let next = prev.map_or(NONE, |prev| self.get(prev).next);
        self.leaves[number as usize] = Leaf { items, prev: prev.unwrap_or(NONE), next };
        self.link(prev.unwrap_or(NONE), number);
        self.link(number, next);
        number
    }

    fn link(&mut self, left: u32, right: u32) {
        if left != NONE {
            self.leaves[left as usize].next = right;
        }
        if right != NONE {
            self.leaves[right as usize].prev = left;
        }
    }

    /// Gives an empty leaf back.
    pub(super) fn release(&mut self, leaf: u32) {
        let Leaf { prev, next, .. } = *self.get(leaf);
        assert!(self.get(leaf).items.is_empty(), "a leaf with elements was given back");
        self.link(prev, next);
        self.leaves[leaf as usize] = Leaf { items: Vec::new(), prev: NONE, next: NONE };
        self.free.push(leaf);
    }

    /// The element with this member.
    pub(super) fn find(&self, member: &[u8]) -> Option<&Item> {
        let mut leaves = self.index.leaves(Place::of(member));
        leaves.find_map(|leaf| self.get(leaf).items.iter().find(|item| *item.member == *member))
    }

    /// Appends the elements at a place of the circle, in an order that is the same for equal sets.
    pub(super) fn at_place<'a>(&'a self, place: Place, found: &mut Vec<&'a Item>) {
        let start = found.len();
        for leaf in self.index.leaves(place) {
            found.extend(self.get(leaf).items.iter().filter(|i| Place::of(&i.member) == place));
        }
        found[start..].sort_unstable_by(|a, b| a.member.cmp(&b.member));
    }

    /// Puts an element into a leaf. A full one splits: returns the leaf behind it.
    pub(super) fn insert(&mut self, leaf: u32, item: Item) -> Option<u32> {
        let place = Place::of(&item.member);
        let items = &mut self.leaves[leaf as usize].items;
        let at = items.partition_point(|other| before(other.key(), item.key()));
        if items.len() < LEAF_ITEMS_MAX {
            insert_item(items, at, item);
            self.index.insert(place, leaf);
            return None;
        }
        // Whoever appends in order fills each leaf; any other split leaves both halves room.
        let appends = at == items.len() && self.next(leaf).is_none();
        if appends {
            let right = self.add(vec![item], Some(leaf));
            self.index.insert(place, right);
            return Some(right);
        }
        let middle = LEAF_ITEMS_MAX / 2;
        let items = &mut self.leaves[leaf as usize].items;
        let upper = items.split_off(middle);
        items.shrink_to_fit();
        let right = self.add(upper, Some(leaf));
        for moved in &self.leaves[right as usize].items {
            self.index.relocate(Place::of(&moved.member), leaf, right);
        }
        let (target, at) = if at <= middle { (leaf, at) } else { (right, at - middle) };
        insert_item(&mut self.leaves[target as usize].items, at, item);
        self.index.insert(place, target);
        Some(right)
    }

    /// Takes an element out of a leaf, if it is there.
    pub(super) fn remove(&mut self, leaf: u32, key: Key<'_>) -> bool {
        let items = &mut self.leaves[leaf as usize].items;
        let at = items.partition_point(|other| before(other.key(), key));
        if items.get(at).is_none_or(|item| item.key() != key) {
            return false;
        }
        items.remove(at);
        self.index.remove(Place::of(key.member), leaf);
        true
    }

    /// Moves all elements of `right` to the end of `left`, its neighbour, and gives `right` back.
    pub(super) fn merge(&mut self, left: u32, right: u32) {
        let mut moved = std::mem::take(&mut self.leaves[right as usize].items);
        for item in &moved {
            self.index.relocate(Place::of(&item.member), right, left);
        }
        let items = &mut self.leaves[left as usize].items;
        items.reserve_exact(moved.len());
        items.append(&mut moved);
        self.release(right);
    }

    /// Bytes of memory, for tests; long members apart.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let items: usize =
            self.leaves.iter().map(|leaf| leaf.items.capacity() * size_of::<Item>()).sum();
        items + self.leaves.capacity() * size_of::<Leaf>() + self.index.bytes()
    }
}

/// Inserts without the doubling of `Vec`, whose slack would cost more than the tree.
fn insert_item(items: &mut Vec<Item>, at: usize, item: Item) {
    const STEP: usize = 8;
    if items.len() == items.capacity() {
        items.reserve_exact(STEP);
    }
    items.insert(at, item);
}

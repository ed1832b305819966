//! From a member to the leaf that holds it: extendible hashing over small sorted segments, as in
//! `dict`, but eight bytes an entry.
//!
//! ```text
//! entry:  place on the circle of hashes (36 bits) │ leaf (28 bits)
//! ```
//!
//! The member itself stands only in the leaf, so an entry is a hint: whoever follows it compares.
//! Entries are walked in the order of their places; those that share a place lead to leaves whose
//! numbers depend on history, so a walk takes a whole place at a time and sorts its members.

use std::ops::Range;

use crate::dict;

/// Bits of a place: what is left of 64 beside a leaf's number.
const PLACE_BITS: u32 = 64 - LEAF_BITS;
const LEAF_BITS: u32 = 28;
const LEAF_MASK: u64 = (1 << LEAF_BITS) - 1;

/// Leaves that can be told apart. At half full that is four thousand million elements, far more
/// than memory holds.
pub(super) const LEAVES_MAX: usize = 1 << LEAF_BITS;

/// Entries in a segment: one KiB, moved in less time than a cache miss takes.
const SEGMENT_ENTRIES_MAX: usize = 128;

/// The directory has at most this many slots for each segment. Members whose hashes were chosen to
/// collide make a long segment, not a huge directory.
const SLOTS_PER_SEGMENT_MAX: usize = 16;

/// Where a member stands on the circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

impl Place {
    pub(super) const START: Place = Place(0);

    pub(super) fn of(member: &[u8]) -> Place {
        Place(dict::full_hash(member) >> (64 - PLACE_BITS))
    }

    /// The place that a cursor names, if there is one.
    pub(super) fn at(cursor: u64) -> Option<Place> {
        (cursor >> PLACE_BITS == 0).then_some(Place(cursor))
    }

    pub(super) fn cursor(self) -> u64 {
        self.0
    }

    fn entry(self, leaf: u32) -> u64 {
        self.0 << LEAF_BITS | u64::from(leaf)
    }
}

/// Members' places and leaves.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// Segment numbers by the top `depth` bits of the place.
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, Default)]
struct Segment {
    /// How many top bits of the place all entries here share.
    depth: u32,
    entries: Vec<u64>,
}

impl Default for Index {
    fn default() -> Index {
        Index { directory: vec![0], depth: 0, segments: vec![Segment::default()] }
    }
}

impl Index {
    /// Adds a member of `leaf`.
    pub(super) fn insert(&mut self, place: Place, leaf: u32) {
        let entry = place.entry(leaf);
        loop {
            let number = self.segment_of(place);
            if self.segments[number].entries.len() < SEGMENT_ENTRIES_MAX || !self.split(number) {
                self.segments[number].insert(entry);
                return;
            }
        }
    }

    /// Takes a member of `leaf` out.
    pub(super) fn remove(&mut self, place: Place, leaf: u32) {
        let entry = place.entry(leaf);
        let number = self.segment_of(place);
        let entries = &mut self.segments[number].entries;
        let at = entries.partition_point(|other| *other < entry);
        assert!(entries.get(at) == Some(&entry), "a member of a leaf is in the index");
        entries.remove(at);
    }

    /// A member went from one leaf to another.
    pub(super) fn relocate(&mut self, place: Place, from: u32, to: u32) {
        let (old, new) = (place.entry(from), place.entry(to));
        let number = self.segment_of(place);
        let entries = &mut self.segments[number].entries;
        let at = entries.partition_point(|other| *other < old);
        assert!(entries.get(at) == Some(&old), "a member of a leaf is in the index");
        let fits_before = at == 0 || entries[at - 1] <= new;
        let fits_behind = entries.get(at + 1).is_none_or(|next| new <= *next);
        if fits_before && fits_behind {
            entries[at] = new;
        } else {
            entries.remove(at);
            let at = entries.partition_point(|other| *other < new);
            entries.insert(at, new);
        }
    }

    /// The leaves where a member at this place may be, each once.
    pub(super) fn leaves(&self, place: Place) -> impl Iterator<Item = u32> {
        let entries = &self.segments[self.segment_of(place)].entries;
        let range = at_place(entries, place);
        let mut last = None;
        entries[range].iter().map(|entry| (entry & LEAF_MASK) as u32).filter(move |leaf| {
            let fresh = last != Some(*leaf);
            last = Some(*leaf);
            fresh
        })
    }

    /// Visits places from `start` on until those visited hold at least `count` members. Returns
    /// the next place, nothing at the end of the circle.
    pub(super) fn scan(
        &self,
        start: Place,
        count: usize,
        mut visit: impl FnMut(Place),
    ) -> Option<Place> {
        let (mut seen, mut last) = (0, None);
        let mut slot = self.slot_of(start);
        while let Some(number) = self.directory.get(slot) {
            let segment = &self.segments[*number as usize];
            let from = segment.entries.partition_point(|entry| *entry < start.entry(0));
            for entry in &segment.entries[from..] {
                let place = Place(entry >> LEAF_BITS);
                if last != Some(place) {
                    if seen >= count {
                        return Some(place);
                    }
                    visit(place);
                    last = Some(place);
                }
                seen += 1;
            }
            let span = 1usize << (self.depth - segment.depth);
            slot = (slot / span + 1) * span;
        }
        None
    }

    fn slot_of(&self, place: Place) -> usize {
        (place.0 >> (PLACE_BITS - self.depth)) as usize
    }

    fn segment_of(&self, place: Place) -> usize {
        self.directory[self.slot_of(place)] as usize
    }

    /// Splits a segment by the next bit of its places. False if it may not.
    fn split(&mut self, number: usize) -> bool {
        let at_bottom = self.segments[number].depth == self.depth;
        let slots_max = self.segments.len() * SLOTS_PER_SEGMENT_MAX;
        if at_bottom && (self.depth == PLACE_BITS || self.directory.len() >= slots_max) {
            return false;
        }
        if at_bottom {
            self.directory = self.directory.iter().flat_map(|&s| [s, s]).collect();
            self.depth += 1;
        }
        let upper_number = self.segments.len() as u32;
        let segment = &mut self.segments[number];
        segment.depth += 1;
        let depth = segment.depth;
        let bit = 1u64 << (64 - depth);
        let prefix = (segment.entries[0] >> (64 - depth)) as usize | 1;
        let middle = segment.entries.partition_point(|entry| entry & bit == 0);
        let entries = segment.entries.split_off(middle);
        segment.entries.shrink_to_fit();
        self.segments.push(Segment { depth, entries });
        let span = 1usize << (self.depth - depth);
        self.directory[prefix * span..(prefix + 1) * span].fill(upper_number);
        true
    }

    /// Bytes of memory, for tests.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let entries: usize = self.segments.iter().map(|s| s.entries.capacity() * 8).sum();
        entries + self.segments.capacity() * size_of::<Segment>() + self.directory.capacity() * 4
    }
}

impl Segment {
    /// Inserts without the doubling of `Vec`, whose slack would cost more than the entries.
    fn insert(&mut self, entry: u64) {
        const STEP: usize = 16;
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(STEP + self.entries.len() / 16);
        }
        let at = self.entries.partition_point(|other| *other < entry);
        self.entries.insert(at, entry);
    }
}

/// Which entries are at this place.
fn at_place(entries: &[u64], place: Place) -> Range<usize> {
    let start = entries.partition_point(|entry| *entry >> LEAF_BITS < place.0);
    let length = entries[start..].iter().take_while(|e| **e >> LEAF_BITS == place.0).count();
    start..start + length
}

#[cfg(test)]
mod tests {
    use super::{Index, Place, SLOTS_PER_SEGMENT_MAX};

    #[test]
    fn members_at_one_place_make_a_long_segment_and_no_huge_directory() {
        let mut index = Index::default();
        for leaf in 0..2_000 {
            index.insert(Place(5), leaf);
        }
        assert_eq!(index.leaves(Place(5)).count(), 2_000);
        assert!(index.directory.len() <= 2 * SLOTS_PER_SEGMENT_MAX * index.segments.len());
        let mut places = Vec::new();
        assert_eq!(index.scan(Place(0), 1, |place| places.push(place)), None);
        assert_eq!(places, [Place(5)]);
        for leaf in 0..2_000 {
            index.relocate(Place(5), leaf, leaf + 10_000);
            index.remove(Place(5), leaf + 10_000);
        }
        assert_eq!(index.leaves(Place(5)).count(), 0);
    }
}

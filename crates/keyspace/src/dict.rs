//! A hash table in hash order: extendible hashing over small sorted segments.
//!
//! ```text
//! hash of a key:  [ top `depth` bits ]───▶ directory ─▶ segment: hashes  a < b < c …
//!                                                               entries A   B   C …
//! ```
//!
//! A full segment splits in two; a split that needs one more bit doubles the directory, which is
//! small. So nothing ever rehashes the whole table, and no insert waits for it.
//!
//! What always holds: entries stand in the order of (hash, key), whatever their history. So every
//! replica walks a table in the same order, and a SCAN cursor is a place on the circle of hashes:
//! it means the same on every replica, across any growth, and each key that stays is returned
//! exactly once, which is more than Redis promises.
//!
//! Extendible hashing: Fagin et al., ACM TODS 4(3), 1979.

use crate::limits::SEGMENT_ENTRIES_MAX;
use crate::str::Str;

/// Hashes are cut to this many bits, so that a cursor fits a double and any client's integer.
pub const HASH_BITS: u32 = 48;

/// The seed of the hash. Fixed, so that cursors and orders agree between replicas.
const HASH_SEED: u64 = 0x5379_6e6f_6421_2117;

/// By how many entries a segment grows.
const SEGMENT_STEP: usize = 8;

/// A table from byte strings to `V`.
#[derive(Clone, Debug)]
pub struct Dict<V> {
    /// Segment numbers by the top `depth` bits of the hash.
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment<V>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Segment<V> {
    /// How many top bits of the hash all entries here share.
    depth: u32,
    hashes: Vec<u64>,
    entries: Vec<(Str, V)>,
}

/// Where a key stands, until the table changes: so that it need not be looked up twice.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    segment: u32,
    index: u32,
}

/// The hash of a key: its place on the circle.
pub fn hash(key: &[u8]) -> u64 {
    stdx::hash_bytes(HASH_SEED, key) >> (64 - HASH_BITS)
}

impl<V> Default for Dict<V> {
    fn default() -> Self {
        Dict::new()
    }
}

impl<V> Dict<V> {
    /// An empty table.
    pub fn new() -> Self {
        let segment = Segment { depth: 0, hashes: Vec::new(), entries: Vec::new() };
        Dict { directory: vec![0], depth: 0, segments: vec![segment], len: 0 }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is it empty?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where `key` stands.
    pub fn find(&self, key: &[u8]) -> Option<Place> {
        let hash = hash(key);
        let number = self.segment_of(hash);
        let index = self.segments[number].find(hash, key).ok()?;
        Some(Place { segment: number as u32, index: index as u32 })
    }

    /// The value at a place.
    pub fn at(&self, place: Place) -> &V {
        &self.segments[place.segment as usize].entries[place.index as usize].1
    }

    /// The value at a place, to change.
    pub fn at_mut(&mut self, place: Place) -> &mut V {
        &mut self.segments[place.segment as usize].entries[place.index as usize].1
    }

    /// The value at `key`.
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        self.find(key).map(|place| self.at(place))
    }

    /// The value at `key`, to change.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        self.find(key).map(|place| self.at_mut(place))
    }

    /// Is there a value at `key`?
    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Puts `value` at `key` and returns what was there.
    pub fn insert(&mut self, key: &[u8], value: V) -> Option<V> {
        let hash = hash(key);
        loop {
            let number = self.segment_of(hash);
            let segment = &mut self.segments[number];
            let at = match segment.find(hash, key) {
                Ok(at) => return Some(std::mem::replace(&mut segment.entries[at].1, value)),
                Err(at) => at,
            };
            if segment.entries.len() < SEGMENT_ENTRIES_MAX || segment.depth == HASH_BITS {
                segment.insert(at, hash, (Str::from(key), value));
                self.len += 1;
                return None;
            }
            self.split(number);
        }
    }

    /// Takes `key` out and returns its value.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        let hash = hash(key);
        let number = self.segment_of(hash);
        let segment = &mut self.segments[number];
        let at = segment.find(hash, key).ok()?;
        segment.hashes.remove(at);
        let (_, value) = segment.entries.remove(at);
        self.len -= 1;
        if self.len == 0 {
            *self = Dict::new();
        }
        Some(value)
    }

    /// All entries in the order of (hash, key).
    pub fn iter(&self) -> impl Iterator<Item = (&Str, &V)> {
        self.segments_from(0).flat_map(|s| s.entries.iter().map(|(key, value)| (key, value)))
    }

    /// The entry at place `at` in the order of `iter`, for a fair random draw.
    pub fn nth(&self, mut at: usize) -> Option<(&Str, &V)> {
        for segment in self.segments_from(0) {
            if at < segment.entries.len() {
                let (key, value) = &segment.entries[at];
                return Some((key, value));
            }
            at -= segment.entries.len();
        }
        None
    }

    /// Visits entries from the place `cursor` on, in order, until at least `count` were visited
    /// and all that share a hash with the last are visited too. Returns the next place, 0 at the
    /// end of the circle.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&Str, &V)) -> u64 {
        if cursor >> HASH_BITS != 0 {
            return 0;
        }
        let mut seen = 0;
        let mut last = None;
        for segment in self.segments_from(cursor) {
            let start = segment.hashes.partition_point(|&hash| hash < cursor);
            for (hash, (key, value)) in
                segment.hashes[start..].iter().zip(&segment.entries[start..])
            {
                if seen >= count && last != Some(*hash) {
                    return *hash;
                }
                visit(key, value);
                seen += 1;
                last = Some(*hash);
            }
        }
        0
    }

    /// The segments whose range ends behind `hash`, in hash order, each once.
    fn segments_from(&self, hash: u64) -> impl Iterator<Item = &Segment<V>> {
        let mut slot = self.slot_of(hash);
        std::iter::from_fn(move || {
            let segment = &self.segments[*self.directory.get(slot)? as usize];
            let span = 1usize << (self.depth - segment.depth);
            slot = (slot / span + 1) * span;
            Some(segment)
        })
    }

    fn slot_of(&self, hash: u64) -> usize {
        (hash >> (HASH_BITS - self.depth)) as usize
    }

    fn segment_of(&self, hash: u64) -> usize {
        self.directory[self.slot_of(hash)] as usize
    }

    /// Splits a segment by the next bit of its hashes.
    fn split(&mut self, number: usize) {
        if self.segments[number].depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&s| [s, s]).collect();
            self.depth += 1;
        }
        let upper_number = self.segments.len() as u32;
        let segment = &mut self.segments[number];
        let first_hash = segment.hashes[0];
        segment.depth += 1;
        let depth = segment.depth;
        let bit = 1u64 << (HASH_BITS - depth);
        let middle = segment.hashes.partition_point(|hash| hash & bit == 0);
        let upper = Segment {
            depth,
            hashes: segment.hashes.split_off(middle),
            entries: segment.entries.split_off(middle),
        };
        segment.hashes.shrink_to(middle + SEGMENT_STEP);
        segment.entries.shrink_to(middle + SEGMENT_STEP);
        self.segments.push(upper);
        let prefix = (first_hash >> (HASH_BITS - depth)) as usize | 1;
        let span = 1usize << (self.depth - depth);
        self.directory[prefix * span..(prefix + 1) * span].fill(upper_number);
    }
}

impl<V> Segment<V> {
    /// Where `key` is, or where it would be inserted.
    fn find(&self, hash: u64, key: &[u8]) -> Result<usize, usize> {
        let mut at = self.hashes.partition_point(|&other| other < hash);
        while at < self.hashes.len() && self.hashes[at] == hash {
            match (*self.entries[at].0).cmp(key) {
                std::cmp::Ordering::Less => at += 1,
                std::cmp::Ordering::Equal => return Ok(at),
                std::cmp::Ordering::Greater => return Err(at),
            }
        }
        Err(at)
    }

    /// Inserts without the doubling of `Vec`, whose slack would cost more than the table itself.
    fn insert(&mut self, at: usize, hash: u64, entry: (Str, V)) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(SEGMENT_STEP);
            self.hashes.reserve_exact(SEGMENT_STEP);
        }
        self.hashes.insert(at, hash);
        self.entries.insert(at, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::Dict;

    fn filled(count: u32) -> Dict<u32> {
        let mut dict = Dict::new();
        for n in 0..count {
            assert_eq!(dict.insert(format!("key:{n}").as_bytes(), n), None);
        }
        dict
    }

    #[test]
    fn what_was_inserted_is_found_and_what_was_removed_is_not() {
        let mut dict = filled(10_000);
        assert_eq!(dict.len(), 10_000);
        for n in 0..10_000 {
            assert_eq!(dict.get(format!("key:{n}").as_bytes()), Some(&n));
        }
        for n in (0..10_000).step_by(2) {
            assert_eq!(dict.remove(format!("key:{n}").as_bytes()), Some(n));
        }
        assert_eq!(dict.len(), 5_000);
        assert_eq!(dict.get(b"key:2"), None);
        assert_eq!(dict.iter().count(), 5_000);
    }

    #[test]
    fn the_order_does_not_depend_on_history() {
        let mut grown = filled(5_000);
        for n in 100..5_000u32 {
            grown.remove(format!("key:{n}").as_bytes());
        }
        let keys = |dict: &Dict<u32>| dict.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&grown), keys(&filled(100)));
    }

    #[test]
    fn a_scan_returns_each_key_once_while_the_table_grows() {
        let mut dict = filled(1_000);
        let (mut cursor, mut seen, mut extra) = (0, Vec::new(), 1_000u32);
        loop {
            cursor = dict.scan(cursor, 10, |key, &n| {
                if n < 1_000 {
                    seen.push(key.clone());
                }
            });
            if cursor == 0 {
                break;
            }
            for _ in 0..50 {
                dict.insert(format!("key:{extra}").as_bytes(), extra);
                extra += 1;
            }
        }
        let total = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), total), (1_000, 1_000));
    }
}

//! A hash table in hash order: extendible hashing over small sorted segments.
//!
//! ```text
//! hash of a key:  [ top `depth` bits ]──▶ directory ──▶ segment: items  a < b < c …    (8 bytes)
//!                                                                      │   │   │
//!                                                      slab: … B … A … C …            (entries)
//! ```
//!
//! A full segment splits in two; a split that needs one more bit doubles the directory, which is
//! small. So nothing ever rehashes the whole table, and no insert waits for it. What moves about
//! are items of hash and slab number; entries lie still, without room to spare between them. As
//! hashes are even, the place of a hash in its segment is guessed and then found a few steps away:
//! a look-up waits for one line of items and one of the entry.
//!
//! What always holds: items stand in the order of (hash, key), whatever their history. So every
//! replica walks a table in the same order, and a SCAN cursor is a place on the circle of hashes:
//! it means the same on every replica, across any growth, and each key that stays is returned
//! exactly once, which is more than Redis promises. The order in the slab depends on history:
//! nothing shows it.
//!
//! Extendible hashing: Fagin et al., ACM TODS 4(3), 1979. Here a directory that outgrows its
//! segments (many keys whose hashes begin alike) stops, and segments become longer instead.

use std::hint::black_box;

use stdx::Rng;

use crate::limits::{DIRECTORY_SLOTS_PER_SEGMENT_MAX, SEGMENT_ENTRIES_MAX};
use crate::slab::Slab;
use crate::str::Str;

/// Hashes are cut to this many bits: an item is then eight bytes, and a cursor fits a double. A
/// million keys have a hundred pairs that share a hash, a hundred million one in a hundred.
pub const HASH_BITS: u32 = 32;

/// Keys that are looked for at once by `warm`: more than waits for memory that a processor has
/// under way at a time.
pub const WARM_MAX: usize = 16;

/// Entries that are read ahead by `scan_warm`.
const SCAN_WARM_MAX: usize = 32;

/// The seed of the hash. Fixed, so that cursors and orders agree between replicas and clusters. So
/// keys can be chosen whose hashes are all the same. What that costs is bounded: they are told
/// apart by halving, so a look-up among a million takes twenty comparisons, and an insertion moves
/// their items of eight bytes, a millisecond for a million. One SCAN returns all of them.
const HASH_SEED: u64 = 0x5379_6e6f_6421_2117;

/// A table from byte strings to `V`.
#[derive(Clone, Debug)]
pub struct Dict<V> {
    /// Segment numbers by the top `depth` bits of the hash.
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment>,
    slab: Slab<(Str, V)>,
}

#[derive(Clone, Debug)]
struct Segment {
    /// How many top bits of the hash all items here share.
    depth: u32,
    items: Vec<Item>,
}

/// A key's hash, and where its entry lies.
#[derive(Clone, Copy, Debug)]
struct Item {
    hash: u32,
    number: u32,
}

const _: () = assert!(size_of::<Item>() == 8);

impl Item {
    fn hash(&self) -> u64 {
        u64::from(self.hash)
    }
}

/// Where an entry lies, until a key comes or goes: so that it need not be looked up twice.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    number: u32,
}

/// The hash of a key: its place on the circle.
pub fn hash(key: &[u8]) -> u64 {
    full_hash(key) >> (64 - HASH_BITS)
}

/// All 64 bits of it, for tables that cut it elsewhere.
pub fn full_hash(key: &[u8]) -> u64 {
    stdx::hash_bytes(HASH_SEED, key)
}

/// Reads what these look-ups, by table and hash, will wait for: level by level, so that the waits for
/// memory overlap. By itself each has three or four, one after the other. `touch` reads what lies
/// behind a value. There is nothing to see of it but time. At most `WARM_MAX` are warmed.
///
/// As Valkey 8 does before it executes a batch ("memory access amortization").
pub fn warm<V>(lookups: &[(&Dict<V>, u64)], touch: impl Fn(&V) -> usize) {
    let lookups = &lookups[..lookups.len().min(WARM_MAX)];
    if lookups.len() < 2 {
        return;
    }
    let segments = || lookups.iter().map(|(dict, hash)| (*dict, dict.segment(*hash), *hash));
    black_box(segments().map(|(_, segment, _)| segment.items.len()).sum::<usize>());
    let guessed = |(_, segment, hash): (&Dict<V>, &Segment, u64)| {
        segment.items.get(segment.guess(hash)).map_or(0, |item| item.number as usize)
    };
    black_box(segments().map(guessed).sum::<usize>());
    let (mut numbers, mut count) = ([0; WARM_MAX], 0);
    let mut dicts = [lookups.first().map(|(dict, _)| *dict); WARM_MAX];
    for (dict, segment, hash) in segments() {
        if let Some(item) = segment.items.get(segment.position(hash)) {
            (dicts[count], numbers[count]) = (Some(dict), item.number);
            count += 1;
        }
    }
    let found = || dicts[..count].iter().flatten().zip(&numbers);
    let entries = || found().map(|(dict, number)| dict.slab.get(*number));
    black_box(entries().map(|(key, _)| key.len()).sum::<usize>());
    black_box(entries().map(|(_, value)| touch(value)).sum::<usize>());
}

impl<V> Default for Dict<V> {
    fn default() -> Self {
        Dict::new()
    }
}

impl<V> Dict<V> {
    /// An empty table.
    pub fn new() -> Self {
        let segment = Segment { depth: 0, items: Vec::new() };
        Dict { directory: vec![0], depth: 0, segments: vec![segment], slab: Slab::new() }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Is it empty?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where `key` lies.
    pub fn find(&self, key: &[u8]) -> Option<Place> {
        let hash = hash(key);
        let segment = &self.segments[self.segment_of(hash)];
        let at = self.search(segment, hash, key).ok()?;
        Some(Place { number: segment.items[at].number })
    }

    /// The value at a place.
    pub fn at(&self, place: Place) -> &V {
        &self.slab.get(place.number).1
    }

    /// The value at a place, to change.
    pub fn at_mut(&mut self, place: Place) -> &mut V {
        &mut self.slab.get_mut(place.number).1
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
        self.find(key).is_some()
    }

    /// Puts `value` at `key` and returns what was there.
    pub fn insert(&mut self, key: &[u8], value: V) -> Option<V> {
        let hash = hash(key);
        loop {
            let number = self.segment_of(hash);
            let segment = &self.segments[number];
            let at = match self.search(segment, hash, key) {
                Ok(at) => {
                    let place = Place { number: segment.items[at].number };
                    return Some(std::mem::replace(self.at_mut(place), value));
                }
                Err(at) => at,
            };
            if segment.items.len() < SEGMENT_ENTRIES_MAX || !self.can_split(segment) {
                let entry = self.slab.push((Str::from(key), value));
                self.segments[number].items.insert(at, Item { hash: hash as u32, number: entry });
                return None;
            }
            self.split(number);
        }
    }

    /// Takes `key` out and returns its value.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        let hash = hash(key);
        let number = self.segment_of(hash);
        let at = self.search(&self.segments[number], hash, key).ok()?;
        let entry = self.segments[number].items.remove(at).number;
        self.renumber_last(entry);
        let (_, value) = self.slab.swap_remove(entry);
        if self.is_empty() {
            *self = Dict::new();
        }
        Some(value)
    }

    /// The last entry of the slab is about to move to `number`: tells its item.
    fn renumber_last(&mut self, number: u32) {
        let last = self.len() as u32 - 1;
        if last == number {
            return;
        }
        let hash = hash(&self.slab.get(last).0);
        let segment = self.segment_of(hash);
        let segment = &mut self.segments[segment];
        let start = segment.position(hash);
        let item = segment.items[start..].iter_mut().find(|item| item.number == last);
        item.expect("every entry has an item at its hash").number = number;
    }

    /// All entries in the order of (hash, key).
    pub fn iter(&self) -> impl Iterator<Item = (&Str, &V)> {
        self.segments_from(0).flat_map(|segment| &segment.items).map(|item| self.entry(item))
    }

    /// The entry at place `at` in the order of `iter`, for a fair random draw.
    pub fn nth(&self, mut at: usize) -> Option<(&Str, &V)> {
        for segment in self.segments_from(0) {
            if let Some(item) = segment.items.get(at) {
                return Some(self.entry(item));
            }
            at -= segment.items.len();
        }
        None
    }

    /// An entry by lot, each with the same chance. It depends on the entries alone and not on how
    /// the table came by them, so equal dice draw the same on every replica.
    ///
    /// The circle of hashes is cut into arcs of about a segment. A draw is an arc and a number; an
    /// arc with no entry of that number draws again, three times on average.
    pub fn draw(&self, rng: &mut Rng) -> Option<(&Str, &V)> {
        const ARC_ENTRIES: usize = SEGMENT_ENTRIES_MAX / 2;
        // Of even hashes no arc has more, but for one in 10^12.
        const NUMBERS: usize = 4 * ARC_ENTRIES;
        const TRIES_MAX: usize = 64;
        let len = self.len();
        if len >= ARC_ENTRIES * 2 {
            let bits = (len / ARC_ENTRIES).ilog2();
            for _ in 0..TRIES_MAX {
                let start = rng.below(1 << bits) << (HASH_BITS - bits);
                let end = start + (1 << (HASH_BITS - bits));
                let count: usize = self.arc(start, end).map(<[Item]>::len).sum();
                let mut at = rng.below(count.max(NUMBERS) as u64) as usize;
                for items in self.arc(start, end) {
                    match items.get(at) {
                        Some(item) => return Some(self.entry(item)),
                        None => at -= items.len(),
                    }
                }
            }
        }
        // Few entries, or hashes so uneven that most arcs are empty.
        if len == 0 { None } else { self.nth(rng.below(len as u64) as usize) }
    }

    /// The items whose hashes lie from `start` to below `end`.
    fn arc(&self, start: u64, end: u64) -> impl Iterator<Item = &[Item]> {
        let mut done = false;
        self.segments_from(start).map_while(move |segment| {
            if done {
                return None;
            }
            let from = segment.items.partition_point(|item| item.hash() < start);
            let to = segment.items.partition_point(|item| item.hash() < end);
            done = to < segment.items.len();
            Some(&segment.items[from..to])
        })
    }

    /// Visits entries from the place `cursor` on, in order, until at least `count` were visited
    /// and all that share a hash with the last are visited too. Returns the next place, 0 at the
    /// end of the circle.
    pub fn scan(&self, cursor: u64, count: usize, visit: impl FnMut(&Str, &V)) -> u64 {
        self.scan_warm(cursor, count, |_| 0, visit)
    }

    /// The same; `touch` reads what lies behind a value, some entries ahead, so that the waits for memory
    /// overlap.
    pub fn scan_warm(
        &self,
        cursor: u64,
        count: usize,
        touch: impl Fn(&V) -> usize,
        mut visit: impl FnMut(&Str, &V),
    ) -> u64 {
        if cursor >> HASH_BITS != 0 {
            return 0;
        }
        let mut seen = 0;
        let mut last = None;
        for segment in self.segments_from(cursor) {
            let start = segment.items.partition_point(|item| item.hash() < cursor);
            for items in segment.items[start..].chunks(SCAN_WARM_MAX) {
                self.warm_items(&items[..items.len().min(count.saturating_sub(seen))], &touch);
                for item in items {
                    if seen >= count && last != Some(item.hash()) {
                        return item.hash();
                    }
                    let (key, value) = self.entry(item);
                    visit(key, value);
                    seen += 1;
                    last = Some(item.hash());
                }
            }
        }
        0
    }

    /// Reads what a visit to these will wait for, as `warm` does.
    fn warm_items(&self, items: &[Item], touch: impl Fn(&V) -> usize) {
        black_box(items.iter().map(|item| self.entry(item).0.len()).sum::<usize>());
        black_box(items.iter().map(|item| touch(self.entry(item).1)).sum::<usize>());
    }

    fn entry(&self, item: &Item) -> (&Str, &V) {
        let (key, value) = self.slab.get(item.number);
        (key, value)
    }

    /// The place of `key` among the items of its segment, or where it would be inserted.
    fn search(&self, segment: &Segment, hash: u64, key: &[u8]) -> Result<usize, usize> {
        let at = segment.position(hash);
        let items = &segment.items[at..];
        let key_of = |item: &Item| -> &[u8] { &self.slab.get(item.number).0 };
        match items.first() {
            Some(first) if first.hash() == hash => {
                // Equal far more often than not: that is the cheaper question.
                if key_of(first) == key {
                    return Ok(at);
                }
                let alike = &items[..items.partition_point(|item| item.hash() == hash)];
                let found = alike.binary_search_by(|item| key_of(item).cmp(key));
                found.map(|place| at + place).map_err(|place| at + place)
            }
            _ => Err(at),
        }
    }

    /// The segments whose range ends behind `hash`, in hash order, each once.
    fn segments_from(&self, hash: u64) -> impl Iterator<Item = &Segment> {
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

    fn segment(&self, hash: u64) -> &Segment {
        &self.segments[self.segment_of(hash)]
    }

    fn segment_of(&self, hash: u64) -> usize {
        self.directory[self.slot_of(hash)] as usize
    }

    /// Is there a bit left to split it by, and a directory that is or may become wide enough?
    fn can_split(&self, segment: &Segment) -> bool {
        let slots_max = self.segments.len() * DIRECTORY_SLOTS_PER_SEGMENT_MAX;
        let may_double = self.directory.len() * 2 <= slots_max;
        segment.depth < HASH_BITS && (segment.depth < self.depth || may_double)
    }

    /// Splits a segment by the next bit of its hashes.
    fn split(&mut self, number: usize) {
        if self.segments[number].depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&s| [s, s]).collect();
            self.depth += 1;
        }
        let upper_number = self.segments.len() as u32;
        let segment = &mut self.segments[number];
        let first_hash = segment.items[0].hash();
        segment.depth += 1;
        let depth = segment.depth;
        let bit = 1u64 << (HASH_BITS - depth);
        let middle = segment.items.partition_point(|item| item.hash() & bit == 0);
        // Full size at once: halves grow back in step, and each size on the way would leave its
        // freed memory behind.
        let mut items = Vec::with_capacity(SEGMENT_ENTRIES_MAX);
        items.extend(segment.items.drain(middle..));
        self.segments.push(Segment { depth, items });
        let prefix = (first_hash >> (HASH_BITS - depth)) as usize | 1;
        let span = 1usize << (self.depth - depth);
        self.directory[prefix * span..(prefix + 1) * span].fill(upper_number);
    }
}

impl Segment {
    /// Where an item with this hash is, if all are even.
    fn guess(&self, hash: u64) -> usize {
        let fraction = hash << (64 - HASH_BITS) << self.depth;
        ((u128::from(fraction) * self.items.len() as u128) >> 64) as usize
    }

    /// Where the items begin whose hash is not below this one. Hashes are even, so the guess by
    /// proportion is about three items off in a full segment; an overlong one is not even.
    fn position(&self, hash: u64) -> usize {
        let items = self.items.as_slice();
        if items.len() > SEGMENT_ENTRIES_MAX {
            return items.partition_point(|item| item.hash() < hash);
        }
        let mut at = self.guess(hash);
        while at > 0 && items[at - 1].hash() >= hash {
            at -= 1;
        }
        while at < items.len() && items[at].hash() < hash {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Dict;

    fn filled(count: u32) -> Dict<u32> {
        let mut dict = Dict::new();
        for n in 0..count {
            assert_eq!(dict.insert(format!("key:{n}").as_bytes(), n), None);
        }
        dict
    }

    #[test]
    fn look_ups_are_warmed_whatever_is_there() {
        let (full, empty) = (filled(3_000), Dict::new());
        let touched = std::cell::Cell::new(0);
        let touch = |value: &u32| {
            touched.set(touched.get() + 1);
            *value as usize
        };
        for n in 0..4_000_u32 {
            let hash = super::hash(format!("key:{n}").as_bytes());
            let lookups = [(&full, hash), (&empty, hash), (&full, !hash & 0xffff_ffff)];
            super::warm(&lookups, touch);
        }
        let before = touched.get();
        super::warm(&[(&full, 7)], touch);
        assert_eq!(touched.get(), before, "one alone has nothing to overlap with");
        assert!(touched.get() >= 3_000, "each that is there, and some neighbours");
        super::warm(&[], touch);
        let many: Vec<(&Dict<u32>, u64)> = (0..99).map(|n| (&full, n << 20)).collect();
        touched.set(0);
        super::warm(&many, touch);
        assert!(touched.get() <= super::WARM_MAX);
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
    fn a_table_agrees_with_a_map_through_growth_and_decline() {
        let (mut dict, mut model) = (Dict::new(), std::collections::BTreeMap::new());
        let mut rng = stdx::Rng::new(5);
        for round in 0..100_000u32 {
            let key = format!("{}", rng.below(8_000)).into_bytes();
            let grow = round % 50_000 < 20_000;
            if rng.below(10) < if grow { 8 } else { 3 } {
                assert_eq!(dict.insert(&key, round), model.insert(key, round));
            } else {
                assert_eq!(dict.remove(&key), model.remove(&key));
            }
            assert_eq!(dict.len(), model.len());
        }
        assert!(model.iter().all(|(key, value)| dict.get(key) == Some(value)));
        assert_eq!(dict.iter().count(), model.len());
        let hashes: Vec<u64> = dict.iter().map(|(key, _)| super::hash(key)).collect();
        assert!(hashes.is_sorted());
    }

    #[test]
    fn keys_whose_hashes_begin_alike_do_not_blow_up_the_directory() {
        let mut dict = Dict::new();
        let alike = (0u64..)
            .map(|n| n.to_string())
            .filter(|key| super::hash(key.as_bytes()) >> (super::HASH_BITS - 12) == 0);
        let keys: Vec<String> = alike.take(300).collect();
        keys.iter().for_each(|key| assert_eq!(dict.insert(key.as_bytes(), ()), None));
        assert!(dict.directory.len() <= 256, "{} slots", dict.directory.len());
        assert!(keys.iter().all(|key| dict.contains(key.as_bytes())));
        assert!(keys.iter().all(|key| dict.remove(key.as_bytes()).is_some()));
    }

    #[test]
    fn keys_that_share_a_hash_are_told_apart() {
        let mut dict = filled(500_000);
        let hashes: Vec<u64> = dict.iter().map(|(key, _)| super::hash(key)).collect();
        let shared = hashes.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(shared > 5, "half a million keys have some thirty such pairs, here {shared}");
        for n in 0..500_000 {
            assert_eq!(dict.get(format!("key:{n}").as_bytes()), Some(&n));
        }
        for n in (0..500_000).rev() {
            assert_eq!(dict.remove(format!("key:{n}").as_bytes()), Some(n));
        }
        assert!(dict.is_empty());
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
    fn a_draw_is_fair_and_depends_on_the_entries_alone() {
        let (fresh, mut grown) = (filled(1_000), filled(50_000));
        for n in 1_000..50_000 {
            grown.remove(format!("key:{n}").as_bytes());
        }
        let (mut rng, mut other) = (stdx::Rng::new(3), stdx::Rng::new(3));
        let mut hits = [0u32; 1_000];
        for _ in 0..100_000 {
            let drawn = fresh.draw(&mut rng).unwrap();
            assert_eq!(grown.draw(&mut other).unwrap(), drawn);
            hits[*drawn.1 as usize] += 1;
        }
        let chi = hits.iter().map(|hits| (f64::from(*hits) - 100.0).powi(2) / 100.0).sum::<f64>();
        assert!((800.0..1_200.0).contains(&chi), "{chi}");
        for count in [1, 5, 63, 64, 65, 200] {
            assert!(filled(count).draw(&mut rng).is_some());
        }
        assert!(filled(0).draw(&mut rng).is_none());
    }

    /// What happens between two steps of a walk: so many other keys come, or go.
    #[derive(Clone, Copy, Debug)]
    enum Between {
        Come(u32),
        Go(u32),
    }

    fn between() -> impl Strategy<Value = Between> {
        prop_oneof![
            (0..300u32).prop_map(Between::Come),
            (0..300u32).prop_map(Between::Go),
            Just(Between::Come(3_000)),
            Just(Between::Go(3_000)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// The guarantee of SCAN, and more than that: never twice.
        #[test]
        fn a_walk_meets_each_key_that_stays_exactly_once_whatever_else_comes_and_goes(
            stay in 0..700u32,
            before in 0..3_000u32,
            counts in proptest::collection::vec(1..200usize, 1..20),
            others in proptest::collection::vec(between(), 1..20),
        ) {
            let mut dict = filled(stay);
            let other = |n: u32| format!("other:{n}");
            let (mut first, mut next) = (0, before);
            for n in first..next {
                dict.insert(other(n).as_bytes(), u32::MAX);
            }
            let (mut cursor, mut seen) = (0, vec![0u32; stay as usize]);
            for turn in 0.. {
                cursor = dict.scan(cursor, counts[turn % counts.len()], |_, &n| {
                    if let Some(times) = seen.get_mut(n as usize) {
                        *times += 1;
                    }
                });
                if cursor == 0 {
                    break;
                }
                // After a while nothing comes any more, so that the walk ends.
                match others[turn % others.len()] {
                    Between::Come(count) if turn < 40 => {
                        let end = next + count;
                        for n in next..end {
                            dict.insert(other(n).as_bytes(), u32::MAX);
                        }
                        next = end;
                    }
                    Between::Come(_) => {}
                    Between::Go(count) => {
                        let end = (first + count).min(next);
                        for n in first..end {
                            dict.remove(other(n).as_bytes());
                        }
                        first = end;
                    }
                }
            }
            prop_assert!(seen.iter().all(|times| *times == 1), "{seen:?}");
        }
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

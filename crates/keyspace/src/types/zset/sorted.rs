//! The value of a sorted set: a packed buffer while it is small, then a tree.

use std::ops::Range;

use stdx::codec::{Malformed, Reader, put_bytes, put_u64, put_varint};

use super::item::{Item, Key, before};
use super::packed::Packed;
use super::range::{LexRange, ScoreRange};
use super::tree::Tree;
use crate::double;
use crate::settings::Settings;
use crate::str::Str;

/// Members with scores, in order.
#[derive(Clone, Debug)]
pub struct Zset(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Packed(Packed),
    Tree(Box<Tree>),
}

/// Up to where a sorted set stays packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) entries: u64,
    pub(super) member_bytes: u64,
}

impl Limits {
    pub(super) fn of(settings: &Settings) -> Limits {
        Limits {
            entries: settings.zset_max_listpack_entries,
            member_bytes: settings.zset_max_listpack_value,
        }
    }

    fn fit(self, entries: usize, member_bytes: usize) -> bool {
        entries as u64 <= self.entries && member_bytes as u64 <= self.member_bytes
    }
}

/// Which way a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Reverse,
}

impl Default for Zset {
    fn default() -> Zset {
        Zset(Repr::Packed(Packed::default()))
    }
}

impl Zset {
    /// A sorted set of elements in ascending order, each member once.
    pub(super) fn from_sorted(items: Vec<Item>, limits: Limits) -> Zset {
        let longest = items.iter().map(|item| item.member.len()).max().unwrap_or(0);
        if !limits.fit(items.len(), longest) {
            return Zset(Repr::Tree(Box::new(Tree::from_sorted(items))));
        }
        let mut packed = Packed::default();
        items.iter().for_each(|item| packed.push(item.key()));
        Zset(Repr::Packed(packed))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(packed) => packed.len(),
            Repr::Tree(tree) => tree.len(),
        }
    }

    /// Is it empty?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name that OBJECT ENCODING gives.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Tree(_) => "skiplist",
        }
    }

    /// About how many bytes of memory it takes, itself included. Of a tree up to `samples` members
    /// are looked at and stand for the others.
    pub fn memory(&self, samples: usize) -> usize {
        size_of::<Zset>()
            + match &self.0 {
                Repr::Packed(packed) => packed.bytes(),
                Repr::Tree(tree) => tree.memory(samples),
            }
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Repr::Packed(packed) => packed.score(member),
            Repr::Tree(tree) => tree.score(member),
        }
    }

    /// How many elements stand before this member.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        match &self.0 {
            Repr::Packed(packed) => packed.rank(member),
            Repr::Tree(tree) => {
                let key = Key { score: tree.score(member)?, member };
                Some(tree.count_while(|other| before(other, key)))
            }
        }
    }

    /// Adds a member that is not there. What no longer fits a buffer becomes a tree.
    pub(super) fn insert(&mut self, key: Key<'_>, limits: Limits) {
        match &mut self.0 {
            Repr::Tree(tree) => tree.insert(key),
            Repr::Packed(packed) if limits.fit(packed.len() + 1, key.member.len()) => {
                packed.insert(key);
            }
            Repr::Packed(packed) => {
                let mut tree = Tree::from_sorted(packed.iter().map(Item::from).collect());
                tree.insert(key);
                self.0 = Repr::Tree(Box::new(tree));
            }
        }
    }

    /// Gives a member that is there another score.
    pub(super) fn change(&mut self, old: Key<'_>, score: f64) {
        let new = Key { score, member: old.member };
        match &mut self.0 {
            Repr::Packed(packed) => {
                let rank = packed.rank(old.member).expect("a member whose score was just read");
                packed.remove_ranks(rank, rank + 1);
                packed.insert(new);
            }
            Repr::Tree(tree) => {
                assert!(tree.remove(old), "a member whose score was just read");
                tree.insert(new);
            }
        }
    }

    /// Takes a member out; false if it is not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Packed(packed) => {
                let rank = packed.rank(member);
                rank.into_iter().for_each(|rank| packed.remove_ranks(rank, rank + 1));
                rank.is_some()
            }
            Repr::Tree(tree) => {
                let score = tree.score(member);
                score.is_some_and(|score| tree.remove(Key { score, member }))
            }
        }
    }

    /// Takes the elements at these ranks out.
    pub(super) fn remove_ranks(&mut self, ranks: Range<usize>) {
        match &mut self.0 {
            Repr::Packed(packed) => packed.remove_ranks(ranks.start, ranks.end),
            Repr::Tree(tree) => {
                let doomed: Vec<Item> = tree.iter(ranks).map(Item::from).collect();
                for item in &doomed {
                    assert!(tree.remove(item.key()), "an element that was just seen is there");
                }
            }
        }
    }

    /// The elements at these ranks, all below `len`, in a direction.
    pub fn iter(
        &self,
        ranks: Range<usize>,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Key<'_>> + '_> {
        match (&self.0, direction) {
            (Repr::Packed(packed), Direction::Forward) => {
                Box::new(packed.iter().skip(ranks.start).take(ranks.len()))
            }
            (Repr::Packed(packed), Direction::Reverse) => {
                let keys: Vec<_> = packed.iter().skip(ranks.start).take(ranks.len()).collect();
                Box::new(keys.into_iter().rev())
            }
            (Repr::Tree(tree), Direction::Forward) => Box::new(tree.iter(ranks)),
            (Repr::Tree(tree), Direction::Reverse) => Box::new(tree.iter_reverse(ranks)),
        }
    }

    /// The ranks of the elements with a score in this range.
    pub(super) fn in_scores(&self, range: &ScoreRange) -> Range<usize> {
        let start = self.count_while(|key| range.is_below(key.score));
        let end = self.count_while(|key| !range.is_above(key.score));
        start..end.max(start)
    }

    /// The ranks of the elements in this range of members, which means something only if all
    /// scores are equal. If they are not, the answer is what a walk in this direction finds: the
    /// first run of members in the range, so that it does not depend on how a tree grew.
    pub(super) fn in_members(&self, range: &LexRange<'_>, direction: Direction) -> Range<usize> {
        let len = self.len();
        let mut ends = self.iter(0..len, Direction::Forward).take(1);
        let mut last = self.iter(0..len, Direction::Reverse).take(1);
        let (Some(first), Some(last)) = (ends.next(), last.next()) else { return 0..0 };
        if first.score == last.score {
            let start = self.count_while(|key| range.is_below(key.member));
            let end = self.count_while(|key| !range.is_above(key.member));
            return start..end.max(start);
        }
        if range.is_below(last.member) || range.is_above(first.member) {
            return 0..0;
        }
        let run = |from: Range<usize>, holds: &dyn Fn(&[u8]) -> bool| {
            self.iter(from, direction).take_while(|key| holds(key.member)).count()
        };
        match direction {
            Direction::Forward => {
                let start = run(0..len, &|member| range.is_below(member));
                start..start + run(start..len, &|member| !range.is_above(member))
            }
            Direction::Reverse => {
                let end = len - run(0..len, &|member| range.is_above(member));
                end - run(0..end, &|member| !range.is_below(member))..end
            }
        }
    }

    fn count_while(&self, holds: impl Fn(Key<'_>) -> bool) -> usize {
        match &self.0 {
            Repr::Packed(packed) => packed.iter().take_while(|key| holds(*key)).count(),
            Repr::Tree(tree) => tree.count_while(holds),
        }
    }

    /// Visits about `count` elements from `cursor` on and returns the next cursor, 0 at the end. A
    /// packed one comes all at once.
    pub(super) fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Key<'_>)) -> u64 {
        match &self.0 {
            Repr::Packed(packed) => {
                packed.iter().for_each(visit);
                0
            }
            Repr::Tree(tree) => tree.scan(cursor, count, &mut visit),
        }
    }

    /// A score as ZSCAN shows it: Redis prints whole numbers in full as long as they are packed.
    pub(super) fn scan_text(&self, score: f64) -> String {
        const WHOLE_MAX: f64 = (i64::MAX / 2) as f64;
        let whole = score as i64;
        let is_whole = whole as f64 == score && score.abs() <= WHOLE_MAX;
        match &self.0 {
            Repr::Packed(_) if is_whole => whole.to_string(),
            _ => double::text(score),
        }
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        out.push(match &self.0 {
            Repr::Packed(_) => PACKED,
            Repr::Tree(_) => TREE,
        });
        put_varint(out, self.len() as u64);
        for key in self.iter(0..self.len(), Direction::Forward) {
            put_u64(out, key.score.to_bits());
            put_bytes(out, key.member);
        }
    }

    pub(crate) fn load(reader: &mut Reader<'_>) -> Result<Zset, Malformed> {
        let (kind, count) = (reader.byte()?, reader.length()?);
        let mut items: Vec<Item> = Vec::new();
        for _ in 0..count {
            let score = f64::from_bits(reader.u64()?);
            let item = Item { score, member: Str::from(reader.bytes()?) };
            let ascends = items.last().is_none_or(|last| before(last.key(), item.key()));
            if score.is_nan() || !ascends {
                return Err(reader.malformed());
            }
            items.push(item);
        }
        let limits = match kind {
            PACKED => Limits { entries: u64::MAX, member_bytes: u64::MAX },
            TREE => Limits { entries: 0, member_bytes: 0 },
            _ => return Err(reader.malformed()),
        };
        let twins = match kind {
            PACKED => {
                let mut members: Vec<&[u8]> = items.iter().map(|item| &*item.member).collect();
                members.sort_unstable();
                members.windows(2).any(|pair| pair[0] == pair[1])
            }
            _ => false,
        };
        if items.is_empty() || twins {
            return Err(reader.malformed());
        }
        let zset = Zset::from_sorted(items, limits);
        match &zset.0 {
            Repr::Tree(tree) if tree.has_twins() => Err(reader.malformed()),
            _ => Ok(zset),
        }
    }
}

const PACKED: u8 = 0;
const TREE: u8 = 1;

#[cfg(test)]
mod tests {
    use stdx::codec::Reader;

    use super::*;

    fn zset(members: &[(&str, f64)], limits: Limits) -> Zset {
        let mut zset = Zset::default();
        for (member, score) in members {
            zset.insert(Key { score: *score, member: member.as_bytes() }, limits);
        }
        zset
    }

    #[test]
    fn bytes_of_any_kind_are_refused_or_loaded_but_never_panic() {
        for entries in [128, 0] {
            let limits = Limits { entries, member_bytes: 64 };
            let zset = zset(&[("a", 1.5), ("b", -2.0), ("c", f64::INFINITY)], limits);
            let mut whole = Vec::new();
            zset.save(&mut whole);
            let loaded = Zset::load(&mut Reader::new(&whole)).unwrap();
            assert_eq!(loaded.encoding(), zset.encoding());
            assert!(loaded.iter(0..3, Direction::Forward).eq(zset.iter(0..3, Direction::Forward)));
            for cut in 0..whole.len() {
                assert!(Zset::load(&mut Reader::new(&whole[..cut])).is_err(), "cut at {cut}");
            }
            for kind in [PACKED, TREE] {
                let mut twins = vec![kind, 2];
                for score in [1.0f64, 2.0] {
                    twins.extend(score.to_bits().to_le_bytes());
                    twins.extend([1, b'a']);
                }
                assert!(Zset::load(&mut Reader::new(&twins)).is_err(), "a member twice");
                assert!(Zset::load(&mut Reader::new(&[kind, 0])).is_err(), "an empty one");
            }
        }
        let mut rng = stdx::Rng::new(3);
        for _ in 0..10_000 {
            let bytes: Vec<u8> = (0..rng.below(40)).map(|_| rng.below(4) as u8).collect();
            let _ = Zset::load(&mut Reader::new(&bytes));
        }
    }

    #[test]
    fn a_packed_element_costs_two_bytes_beside_its_member() {
        let mut packed = Packed::default();
        for n in 0..100 {
            packed.push(Key { score: f64::from(n % 50), member: format!("m:{n:02}").as_bytes() });
        }
        packed.remove_ranks(0, 1);
        assert_eq!(packed.bytes(), 99 * (4 + 2));
    }
}

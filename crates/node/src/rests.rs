//! Rests between the parts of something long, by what the parts take.
//!
//! Where processors are short a part takes longer than where they are idle, and then the rest behind
//! it is longer too: whoever works in the background like this leaves the larger part of what there
//! is to those that clients wait for. A processor that is shared out in slices (control groups)
//! shows that it was overdrawn by one part that takes very long among many that do not, so the
//! slowest part counts for some time.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::Index;
use stdx::Instant;

use crate::limits::{REST_MAX, RESTS};

/// For each of several pieces of work, which of them is under way and how it gets on.
#[derive(Debug)]
pub struct Rests<K> {
    works: BTreeMap<K, Pace>,
}

#[derive(Debug)]
struct Pace {
    snapshot: Index,
    /// When it was asked for last.
    asked: Instant,
    /// When the part was begun that is under way.
    begun: Option<Instant>,
    /// What a part took lately.
    slowest: Duration,
    /// How many times as long is rested. Half as many times with each snapshot more: who is at it for
    /// so long that there is a newer one must not be at it for ever.
    rests: u32,
}

/// One of which nothing was heard for so long is forgotten: a snapshot that was sent is loaded before a
/// newer one is asked for, behind others that wait, and that takes a while.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);

impl<K> Default for Rests<K> {
    fn default() -> Self {
        Rests { works: BTreeMap::new() }
    }
}

impl<K: Ord> Rests<K> {
    /// The next part of this snapshot could be begun: how long it is to wait. The first does not.
    pub fn before(&mut self, now: Instant, of: K, snapshot: Index) -> Duration {
        let is_known = |pace: &Pace| now.since(pace.asked) < FORGET_AFTER;
        if !self.works.get(&of).is_some_and(|pace| pace.snapshot == snapshot && is_known(pace)) {
            self.works.retain(|_, pace| is_known(pace));
        }
        let new =
            |rests| Pace { snapshot, asked: now, begun: None, slowest: Duration::ZERO, rests };
        let pace = self.works.entry(of).or_insert_with(|| new(RESTS));
        if pace.snapshot != snapshot {
            *pace = new(pace.rests / 2);
        }
        let took = pace.begun.take().map_or(Duration::ZERO, |begun| now.since(begun));
        pace.slowest = took.max(pace.slowest * 3 / 4);
        pace.asked = now;
        (pace.slowest * pace.rests).min(REST_MAX)
    }

    /// The next part begins.
    pub fn begin(&mut self, now: Instant, of: &K) {
        if let Some(pace) = self.works.get_mut(of) {
            pace.begun = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use consensus::Index;

    use super::*;

    #[test]
    fn a_part_is_rested_for_by_what_it_took_and_less_with_each_newer_snapshot() {
        let millis = Duration::from_millis;
        let mut rests = Rests::default();
        let mut now = Instant(1_000_000_000);
        let mut rest = |took: u64, index: u64| {
            now = now + millis(took);
            let rest = rests.before(now, 2, Index(index));
            now = now + rest;
            rests.begin(now, &2);
            rest
        };
        assert_eq!(rest(0, 5), millis(0), "the first");
        assert_eq!(rest(5, 5), millis(80));
        assert_eq!(rest(500, 5), REST_MAX);
        assert_eq!(rest(5, 6), millis(0), "the first of the next snapshot");
        assert_eq!(rest(8, 6), millis(64));
        assert_eq!(rest(1, 6), millis(48), "it was slow a while ago");
        for (index, times) in [(7, 4), (8, 2), (9, 1), (10, 0)] {
            assert_eq!(rest(5, index), millis(0));
            assert_eq!(rest(5, index), millis(5 * times));
        }
        assert_eq!(rest(3_600_000, 11), millis(0));
        assert_eq!(rest(5, 11), millis(80), "as if it were new");
    }
}

//! How long the disk of this node takes: from handing over what must be durable to hearing that it
//! is. A node whose disk is far slower than those of others leads nothing that another could lead.

use std::time::Duration;

use stdx::Instant;

use crate::limits::SLOW_DISK_MIN;
use crate::message::GroupId;

/// A sample is taken when the one before has come in: saves are many, and their disk is one.
#[derive(Clone, Copy, Debug)]
struct Sample {
    group: GroupId,
    number: u64,
    begun: Instant,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    open: Option<Sample>,
    /// A moving mean, which forgets half within some ten samples.
    mean: Duration,
}

impl Latency {
    /// Something was handed over to be saved.
    pub(crate) fn begin(&mut self, now: Instant, group: GroupId, number: u64) {
        self.open.get_or_insert(Sample { group, number, begun: now });
    }

    /// All saves of a group up to this number are durable.
    pub(crate) fn end(&mut self, now: Instant, group: GroupId, number: u64) {
        let is_it = |open: &mut Sample| open.group == group && open.number <= number;
        if let Some(sample) = self.open.take_if(is_it) {
            self.mean = (self.mean * 15 + now.since(sample.begun)) / 16;
        }
    }

    /// How long the disk takes; at least as long as what it has not done yet waits.
    pub(crate) fn at(&self, now: Instant) -> Duration {
        let waits = self.open.map_or(Duration::ZERO, |sample| now.since(sample.begun));
        self.mean.max(waits)
    }

    /// The replica of a group is gone, and what it saved with it.
    pub(crate) fn forget(&mut self, group: GroupId) {
        self.open = self.open.filter(|sample| sample.group != group);
    }
}

/// Is a disk so much slower than those of the others that its node had better not lead?
pub(crate) fn is_slow(own: Duration, mut others: Vec<Duration>) -> bool {
    others.sort_unstable();
    let Some(middle) = others.get(others.len() / 2) else { return false };
    own >= SLOW_DISK_MIN && own > *middle * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(3);

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    #[test]
    fn the_mean_follows_the_disk_and_a_save_that_hangs_counts_at_once() {
        let mut latency = Latency::default();
        for round in 0..100 {
            latency.begin(at(round * 10), GROUP, round);
            latency.begin(at(round * 10 + 1), GroupId(9), round);
            latency.end(at(round * 10 + 4), GROUP, round);
        }
        let mean = latency.at(at(1_000));
        assert!((3..=4).contains(&mean.as_millis()), "{mean:?}");
        latency.begin(at(2_000), GROUP, 200);
        assert_eq!(latency.at(at(2_500)), Duration::from_millis(500));
        latency.forget(GROUP);
        assert_eq!(latency.at(at(2_500)), mean);
    }

    #[test]
    fn only_what_is_slow_and_far_slower_than_others_is_slow() {
        let ms = Duration::from_millis;
        assert!(is_slow(ms(400), vec![ms(2), ms(40)]));
        assert!(!is_slow(ms(400), vec![ms(300), ms(200)]), "all are");
        assert!(!is_slow(ms(9), vec![ms(1), ms(1)]), "nobody would notice");
        assert!(!is_slow(ms(400), vec![]));
    }
}

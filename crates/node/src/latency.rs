//! How long this node makes others wait: for its disk, from handing over what must be durable to
//! hearing that it is; and for its loop, which comes late to what time asks for when the processor is
//! busy or the process stands still. A node that is far slower than the others leads nothing that
//! another could lead.

use std::time::Duration;

use stdx::Instant;

use crate::limits::SLOW_MIN;
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
    /// Moving means, which forget half within some ten samples.
    disk: Duration,
    turn: Duration,
}

/// A moving mean with one sample more.
fn with(mean: Duration, sample: Duration) -> Duration {
    (mean * 15 + sample) / 16
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
            self.disk = with(self.disk, now.since(sample.begun));
        }
    }

    /// The loop came so late to what was due.
    pub(crate) fn late(&mut self, by: Duration) {
        self.turn = with(self.turn, by);
    }

    /// How long others wait: for the disk at least as long as what it has not done yet.
    pub(crate) fn at(&self, now: Instant) -> Duration {
        let waits = self.open.map_or(Duration::ZERO, |sample| now.since(sample.begun));
        self.disk.max(waits).max(self.turn)
    }

    /// The replica of a group is gone, and what it saved with it.
    pub(crate) fn forget(&mut self, group: GroupId) {
        self.open = self.open.filter(|sample| sample.group != group);
    }
}

/// From which delay on is a node so much slower than most that it had better not lead?
pub(crate) fn slow_from(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    let middle = all.get(all.len().saturating_sub(1) / 2).copied().unwrap_or_default();
    SLOW_MIN.max(middle * 8)
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
    fn a_loop_that_is_late_again_and_again_counts_and_one_pause_does_not() {
        let mut latency = Latency::default();
        latency.late(Duration::from_millis(800));
        assert!(latency.at(at(0)) < SLOW_MIN);
        (0..40).for_each(|_| latency.late(Duration::from_millis(150)));
        assert!(latency.at(at(0)) > SLOW_MIN);
    }

    #[test]
    fn only_what_is_slow_and_far_slower_than_others_is_slow() {
        let ms = Duration::from_millis;
        let slow = |own, others: &[u64]| {
            let all = others.iter().chain([&own]).map(|millis| ms(*millis)).collect();
            ms(own) >= slow_from(all)
        };
        assert!(slow(400, &[2, 40]));
        assert!(slow(400, &[20]));
        assert!(!slow(400, &[300, 200]), "all are");
        assert!(!slow(9, &[1, 1]), "nobody would notice");
        assert!(!slow(400, &[]));
    }
}

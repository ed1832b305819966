//! What is counted while a load runs.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

/// Times above this count as this.
const TIME_NS_MAX: u64 = 60_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// Different error texts that are counted each for itself; the rest is "other errors".
const TEXTS_MAX: usize = 16;

/// Calls by how they ended.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Nanoseconds of each success.
    pub(super) times: Histogram<u64>,
    /// Successes in each second of the run. What is late comes behind its planned end.
    pub(super) by_second: Vec<u64>,
    /// When the run began, in nanoseconds of its clock.
    from_ns: u64,
    /// Error replies by their text.
    pub(super) errors: BTreeMap<String, u64>,
    /// Calls whose connection broke, or that had no reply when the run ended: they may have
    /// happened.
    pub(super) lost: u64,
}

impl Tally {
    pub(super) fn new(from_ns: u64) -> Tally {
        let times = Histogram::new_with_bounds(1, TIME_NS_MAX, 3).expect("the bounds are constant");
        Tally { times, by_second: Vec::new(), from_ns, errors: BTreeMap::new(), lost: 0 }
    }

    /// A call that began then has succeeded now.
    pub(super) fn success(&mut self, start_ns: u64, now_ns: u64) {
        self.times.saturating_record(now_ns.saturating_sub(start_ns));
        let second = (now_ns.saturating_sub(self.from_ns) / SECOND_NS) as usize;
        if second >= self.by_second.len() {
            self.by_second.resize(second + 1, 0);
        }
        self.by_second[second] += 1;
    }

    /// A call was answered with an error.
    pub(super) fn error(&mut self, text: &str) {
        let full = self.errors.len() >= TEXTS_MAX && !self.errors.contains_key(text);
        let text = if full { "other errors" } else { text };
        *self.errors.entry(text.to_owned()).or_default() += 1;
    }

    pub(super) fn succeeded(&self) -> u64 {
        self.times.len()
    }

    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// How many calls ended in any way.
    pub(super) fn ended(&self) -> u64 {
        self.succeeded() + self.failed() + self.lost
    }
}

/// A run and its length.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) tally: Tally,
    /// From the beginning to the last reply.
    pub(super) elapsed: Duration,
    /// What the generator itself took of the processor.
    pub(super) own_cpu: Duration,
}

/// The processor time of this process so far.
pub(super) fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::{SECOND_NS, TEXTS_MAX, Tally};

    #[test]
    fn an_error_is_no_success_and_the_texts_are_bounded() {
        let mut tally = Tally::new(0);
        tally.success(0, 5);
        (0..TEXTS_MAX * 2).for_each(|n| tally.error(&format!("ERR {n}")));
        tally.lost = 3;
        assert_eq!((tally.succeeded(), tally.failed(), tally.ended()), (1, 32, 36));
        assert_eq!(tally.errors.len(), TEXTS_MAX + 1);
        assert_eq!(tally.errors["other errors"], 16);
    }

    #[test]
    fn a_success_counts_in_the_second_of_its_reply() {
        let mut tally = Tally::new(500);
        for now_ns in [500, SECOND_NS + 499, SECOND_NS + 500, 4 * SECOND_NS] {
            tally.success(400, now_ns);
        }
        assert_eq!(tally.by_second, [2, 1, 0, 1]);
        assert_eq!(tally.times.min(), 100);
    }
}

//! The throttle: snapshots for followers are read no faster than so many bytes a second.
//!
//! Clients' writes wait for the same disk and network that a new replica is filled through. What is
//! held back here is asked for later, in its order; the leader sends nothing else to that follower
//! meanwhile, so nothing piles up.
//!
//! And between two parts for a follower that is no voter yet lies a rest by what the parts take, to be
//! read, sent, written and asked for (`rests`): on machines that are busy, or have little of a
//! processor, clients would wait for them long before what the disk and network bear is reached.

use std::collections::VecDeque;
use std::time::Duration;

use consensus::NodeId;
use stdx::Instant;

use crate::effects::SnapshotJob;
use crate::message::GroupId;
use crate::rests::Rests;

/// What may be read at once after a pause.
const BURST: Duration = Duration::from_millis(100);

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Bytes in a second; 0: as fast as it goes.
    rate: u64,
    /// Everything that was let through is paid for by then.
    paid: Instant,
    held: VecDeque<(Instant, SnapshotJob)>,
    followers: Rests<(GroupId, NodeId)>,
}

impl Throttle {
    /// One that lets through this many bytes a second; 0: all.
    pub(crate) fn new(rate: u64) -> Throttle {
        Throttle { rate, paid: Instant(0), held: VecDeque::new(), followers: Rests::default() }
    }

    /// Takes out the parts that have to wait, and puts back those whose time has come.
    pub(crate) fn pass(&mut self, now: Instant, jobs: &mut Vec<SnapshotJob>) {
        if self.rate == 0 {
            return;
        }
        let is_fetch = |job: &mut SnapshotJob| matches!(job, SnapshotJob::Fetch { .. });
        let fetches: Vec<SnapshotJob> = jobs.extract_if(.., is_fetch).collect();
        for fetch in fetches {
            let rested = self.rested(now, &fetch);
            self.held.push_back((rested, fetch));
        }
        while self.paid <= now {
            let Some(next) = self.held.iter().position(|(rested, _)| *rested <= now) else {
                return;
            };
            let Some((_, job)) = self.held.remove(next) else { return };
            let SnapshotJob::Fetch { group, target, bytes_max, .. } = &job else { return };
            self.followers.begin(now, &(*group, *target));
            let nanos = (*bytes_max as u64).saturating_mul(1_000_000_000) / self.rate;
            self.paid = self.paid.max(now - BURST) + Duration::from_nanos(nanos);
            jobs.push(job);
        }
    }

    /// When its follower has rested since the part before.
    fn rested(&mut self, now: Instant, fetch: &SnapshotJob) -> Instant {
        let SnapshotJob::Fetch { group, target, snapshot, voter, .. } = fetch else { return now };
        let rest = self.followers.before(now, (*group, *target), *snapshot);
        if *voter { now } else { now + rest }
    }

    /// When the next part may be read.
    pub(crate) fn deadline(&self) -> Instant {
        let rested = self.held.iter().map(|(rested, _)| *rested).min();
        rested.map_or(Instant::FAR, |rested| rested.max(self.paid))
    }
}

#[cfg(test)]
mod tests {
    use consensus::{Index, NodeId};

    use super::*;
    use crate::message::GroupId;

    fn fetch(offset: u64) -> SnapshotJob {
        let (group, target, snapshot) = (GroupId(0), NodeId(2), Index(5));
        SnapshotJob::Fetch { group, target, snapshot, offset, bytes_max: 1_000_000, voter: false }
    }

    /// As if each were for a follower of its own: none rests.
    fn of_another(job: &mut SnapshotJob, number: u32) {
        let SnapshotJob::Fetch { target, .. } = job else { panic!("{job:?}") };
        *target = NodeId(number);
    }

    #[test]
    fn a_second_lets_through_what_the_rate_says_and_other_jobs_do_not_wait() {
        let mut throttle = Throttle::new(10_000_000);
        let begin = Instant(1_000_000_000);
        let mut jobs: Vec<SnapshotJob> = (0..100).map(fetch).collect();
        jobs.iter_mut().zip(1..).for_each(|(job, number)| of_another(job, number));
        let reached = <_>::default();
        jobs.push(SnapshotJob::Leave { group: GroupId(1), reached });
        throttle.pass(begin, &mut jobs);
        assert!(matches!(jobs[0], SnapshotJob::Leave { .. }), "{jobs:?}");
        assert_eq!(jobs.len(), 3, "a burst of a tenth of a second");
        let (mut passed, mut now) = (jobs.len() - 1, begin);
        while now.since(begin) < Duration::from_secs(1) {
            now = throttle.deadline();
            jobs.clear();
            throttle.pass(now, &mut jobs);
            passed += jobs.len();
        }
        assert!((10..=12).contains(&passed), "{passed} MB in a second");
        let mut all = Throttle::new(0);
        jobs = (0..100).map(fetch).collect();
        all.pass(begin, &mut jobs);
        assert_eq!((jobs.len(), all.deadline()), (100, Instant::FAR));
    }
}

//! The throttle: snapshots for followers are read no faster than so many bytes a second.
//!
//! Clients' writes wait for the same disk and network that a new replica is filled through. What is
//! held back here is asked for later, in its order; the leader sends nothing else to that follower
//! meanwhile, so nothing piles up.
//!
//! And between two parts for a follower lies a rest that is some times as long as the first of them took, to be
//! read, sent, written and asked for: on machines that are busy, or have little of a processor, clients
//! would wait for that long before what the disk and network bear is reached.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use consensus::{Index, NodeId};
use stdx::Instant;

use crate::effects::SnapshotJob;
use crate::limits::{FETCH_REST_MAX, FETCH_RESTS};
use crate::message::GroupId;

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
    followers: BTreeMap<(GroupId, NodeId), Follower>,
}

/// A replica that is filled by this node.
#[derive(Debug)]
struct Follower {
    snapshot: Index,
    /// When the last part was let through.
    passed: Instant,
    /// How many times as long as a part took is rested. Half as many times with each snapshot more: who is at
    /// it for so long that there is a newer one must not be at it for ever.
    rests: u32,
}

/// One of which nothing was asked for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(60);

impl Throttle {
    /// One that lets through this many bytes a second; 0: all.
    pub(crate) fn new(rate: u64) -> Throttle {
        let (held, followers) = (VecDeque::new(), BTreeMap::new());
        Throttle { rate, paid: Instant(0), held, followers }
    }

    /// Takes out the parts that have to wait, and puts back those whose time has come.
    pub(crate) fn pass(&mut self, now: Instant, jobs: &mut Vec<SnapshotJob>) {
        if self.rate == 0 {
            return;
        }
        let is_fetch = |job: &mut SnapshotJob| matches!(job, SnapshotJob::Fetch { .. });
        let fetches: Vec<SnapshotJob> = jobs.extract_if(.., is_fetch).collect();
        if !fetches.is_empty() {
            self.followers.retain(|_, follower| now.since(follower.passed) < FORGET_AFTER);
        }
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
            if let Some(follower) = self.followers.get_mut(&(*group, *target)) {
                follower.passed = now;
            }
            let nanos = (*bytes_max as u64).saturating_mul(1_000_000_000) / self.rate;
            self.paid = self.paid.max(now - BURST) + Duration::from_nanos(nanos);
            jobs.push(job);
        }
    }

    /// When its follower has rested since the part before.
    fn rested(&mut self, now: Instant, fetch: &SnapshotJob) -> Instant {
        let SnapshotJob::Fetch { group, target, snapshot, .. } = fetch else { return now };
        let (snapshot, passed) = (*snapshot, now);
        let new = || Follower { snapshot, passed, rests: FETCH_RESTS };
        let follower = self.followers.entry((*group, *target)).or_insert_with(new);
        if follower.snapshot != snapshot {
            (follower.snapshot, follower.rests) = (snapshot, follower.rests / 2);
            return now;
        }
        now + (now.since(follower.passed) * follower.rests).min(FETCH_REST_MAX)
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
        SnapshotJob::Fetch { group, target, snapshot, offset, bytes_max: 1_000_000 }
    }

    /// As if each were for a follower of its own: none rests.
    fn of_another(job: &mut SnapshotJob, number: u32) {
        let SnapshotJob::Fetch { target, .. } = job else { panic!("{job:?}") };
        *target = NodeId(number);
    }

    #[test]
    fn a_follower_rests_by_what_a_part_took_and_less_with_each_newer_snapshot() {
        let mut throttle = Throttle::new(1 << 40);
        let millis = Duration::from_millis;
        let mut now = Instant(1_000_000_000);
        let mut rest = |took: u64, index: u64, throttle: &mut Throttle| {
            now = now + millis(took);
            let mut job = fetch(0);
            let SnapshotJob::Fetch { snapshot, .. } = &mut job else { panic!("{job:?}") };
            *snapshot = Index(index);
            let mut jobs = vec![job];
            throttle.pass(now, &mut jobs);
            let asked = now;
            if jobs.is_empty() {
                now = throttle.deadline();
                throttle.pass(now, &mut jobs);
            }
            assert_eq!(jobs.len(), 1);
            now.since(asked)
        };
        assert_eq!(rest(0, 5, &mut throttle), millis(0), "the first");
        assert_eq!(rest(5, 5, &mut throttle), millis(20));
        assert_eq!(rest(500, 5, &mut throttle), FETCH_REST_MAX);
        assert_eq!(rest(5, 6, &mut throttle), millis(0), "the first of the next snapshot");
        assert_eq!(rest(5, 6, &mut throttle), millis(10));
        rest(5, 7, &mut throttle);
        assert_eq!(rest(5, 7, &mut throttle), millis(5));
        rest(5, 8, &mut throttle);
        assert_eq!(rest(5, 8, &mut throttle), millis(0), "as fast as it goes");
        assert_eq!(rest(60_000, 9, &mut throttle), millis(0));
        assert_eq!(rest(5, 9, &mut throttle), millis(20), "as if it were new");
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

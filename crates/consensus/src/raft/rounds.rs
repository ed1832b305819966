//! Rounds: which contact with a quorum is confirmed, and when it began.
//!
//! Each message of a leader carries the number of a round, each reply returns it. Once a quorum has
//! answered to a round, everybody in that quorum followed this leader *after the round began*. Two
//! things rest on that:
//!
//! - **A lease.** Voters refuse other candidates for one election timeout after they heard a leader.
//!   So from the beginning of a confirmed round nobody else can be elected for that long, less what
//!   the clocks may drift. The beginning counts, not the answer: the message may have been heard
//!   right after it was sent.
//! - **Check-quorum.** A leader for whom no round of the last election timeout was confirmed steps
//!   down: its clients should not wait for it.
//!
//! Thesis §6.2, §6.4.1.

use std::collections::VecDeque;
use std::time::Duration;

use stdx::{Instant, planted};

#[derive(Clone, Copy, Debug)]
struct Round {
    number: u64,
    began: Instant,
}

/// The rounds of one leader in one term.
#[derive(Clone, Debug)]
pub(super) struct Rounds {
    /// Rounds that are not confirmed, oldest first.
    open: VecDeque<Round>,
    /// The newest round; 0 if there was none.
    number: u64,
    /// Rounds up to here are confirmed, or no longer count.
    settled: u64,
    /// When the newest confirmed round began: the beginning of the lease.
    lease: Option<Instant>,
    /// The quorum was last known to be there at this time.
    active: Instant,
}

impl Rounds {
    /// No rounds yet; the votes of the election count as a first contact.
    pub(super) fn new(now: Instant) -> Rounds {
        Rounds { open: VecDeque::new(), number: 0, settled: 0, lease: None, active: now }
    }

    /// The newest round.
    pub(super) fn newest(&self) -> u64 {
        self.number
    }

    /// Begins a round.
    pub(super) fn begin(&mut self, now: Instant) -> u64 {
        self.number += 1;
        self.open.push_back(Round { number: self.number, began: now });
        self.number
    }

    /// The round of a message sent at `now`: the newest, unless that began `age_max` ago. To send
    /// under an older round is safe: its beginning is before the sending.
    pub(super) fn stamp(&mut self, now: Instant, age_max: Duration) -> u64 {
        match self.open.back() {
            Some(round) if now.since(round.began) < age_max => round.number,
            _ => self.begin(now),
        }
    }

    /// A quorum has answered to `number`. Is that news?
    pub(super) fn confirm(&mut self, number: u64) -> bool {
        if number <= self.settled {
            return false;
        }
        assert!(number <= self.number, "round {number} never began");
        while let Some(round) = self.open.front().copied() {
            if round.number > number {
                break;
            }
            self.open.pop_front();
            self.lease = Some(round.began);
            self.active = self.active.max(round.began);
        }
        self.settled = number;
        true
    }

    /// The quorum is another one now: what the old one confirmed says nothing about it.
    pub(super) fn forget(&mut self, now: Instant) {
        self.open.clear();
        self.settled = self.number;
        self.lease = None;
        self.active = now;
    }

    /// Nothing was asked of the quorum for a while, and it need not have answered.
    pub(super) fn revive(&mut self, now: Instant) {
        self.active = self.active.max(now);
        if planted!("lease-in-hibernation") {
            self.lease = Some(now);
        }
    }

    /// When the lease ends that confirmed rounds give, if each lasts `lease`.
    pub(super) fn lease_end(&self, lease: Duration) -> Option<Instant> {
        self.lease.map(|began| began + lease)
    }

    /// When the quorum was last known to be there.
    pub(super) fn active(&self) -> Instant {
        self.active
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Rounds;
    use stdx::Instant;

    const TEN: Duration = Duration::from_nanos(10);

    #[test]
    fn a_lease_begins_when_the_confirmed_round_began() {
        let mut rounds = Rounds::new(Instant(100));
        assert_eq!(rounds.stamp(Instant(100), TEN), 1);
        assert_eq!(rounds.stamp(Instant(109), TEN), 1, "the round is young enough");
        assert_eq!(rounds.stamp(Instant(110), TEN), 2);
        assert_eq!(rounds.begin(Instant(111)), 3);
        assert_eq!(rounds.lease_end(TEN), None);
        assert!(rounds.confirm(2));
        assert_eq!(rounds.lease_end(TEN), Some(Instant(120)));
        assert!(!rounds.confirm(1), "old answers are no news");
        assert!(rounds.confirm(3));
        assert_eq!(rounds.active(), Instant(111));
    }

    #[test]
    fn after_a_change_of_the_quorum_only_later_rounds_count() {
        let mut rounds = Rounds::new(Instant(0));
        rounds.begin(Instant(1));
        rounds.begin(Instant(2));
        assert!(rounds.confirm(1));
        rounds.forget(Instant(5));
        assert_eq!(rounds.lease_end(TEN), None);
        assert!(!rounds.confirm(2));
        assert_eq!(rounds.stamp(Instant(5), TEN), 3);
        assert!(rounds.confirm(3));
        assert_eq!(rounds.lease_end(TEN), Some(Instant(15)));
    }
}

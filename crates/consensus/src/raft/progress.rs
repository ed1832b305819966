//! What a leader knows of one peer, and how fast it may send to it.
//!
//! ```text
//!            an append was accepted                a peer lags behind the log in memory
//!    Probe ──────────────────────▶ Replicate          Probe, Replicate ─────▶ Snapshot
//!      ▲                               │                  ▲                      │
//!      └───────────────────────────────┘                  └──────────────────────┘
//!            an append was refused                     it is installed, or refused
//! ```
//!
//! While probing, one append is under way, for nobody knows what the peer's log looks like. While
//! replicating, appends follow each other without waiting, up to a limit. While a snapshot is on
//! its way, nothing else is sent.
//!
//! A learner that lags gets one small append at a time, with a rest behind each: what it takes to put
//! them down, this node and that one take from their clients. It rests for as long as it comes nearer.

use std::collections::VecDeque;

use stdx::Instant;

use crate::limits::{LEARNER_LAG, LEARNER_REST_MAX, LEARNER_RESTS};
use crate::replica::{Index, NodeId, SnapshotMeta};

/// A snapshot on its way to a peer.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) meta: SnapshotMeta,
    /// The peer has everything before this.
    pub(super) offset: u64,
    pub(super) stage: Stage,
    /// When to send again if the peer stays silent, or to begin again after a refusal.
    pub(super) deadline: Instant,
}

/// Where the chunk at `Sending::offset` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The newest durable snapshot does not reach up to the log in memory: another is asked for.
    Wanted,
    /// Asked for; the world will answer with `Event::Fetched`.
    Fetch,
    /// Sent. `end` is where it ends, `last` whether the snapshot ends there too.
    Sent { end: u64, last: bool },
    /// The peer has all chunks and is installing them.
    Install,
    /// The peer refused; wait a little.
    Refused,
}

/// How a peer is sent to.
#[derive(Clone, Debug)]
pub(super) enum Flow {
    Probe {
        /// An append was sent in this round; the next one waits for an answer.
        sent: Option<u64>,
    },
    Replicate {
        /// Each append under way, oldest first: its last index, and the round in which the peer
        /// was last asked for an answer.
        inflight: VecDeque<(Index, u64)>,
    },
    Snapshot(Sending),
}

/// How a learner that lags is brought up to date.
#[derive(Clone, Debug)]
pub(super) struct Lessons {
    /// When the append under way was sent.
    sent: Instant,
    /// None is sent before.
    pub(super) rest_until: Instant,
    /// How many times as long as the last one took is rested.
    rests: u32,
    /// How many entries it lacked when it answered last.
    lacked: u64,
}

impl Lessons {
    fn new() -> Lessons {
        let (sent, rest_until) = (Instant(0), Instant(0));
        Lessons { sent, rest_until, rests: LEARNER_RESTS, lacked: u64::MAX }
    }

    /// An append was answered, and so many entries are lacking still.
    fn answered(&mut self, now: Instant, lacks: u64) {
        if lacks >= self.lacked {
            // More is written meanwhile than it learns.
            self.rests /= 2;
        }
        self.lacked = lacks;
        self.rest_until = now + (now.since(self.sent) * self.rests).min(LEARNER_REST_MAX);
    }
}

/// A peer, as its leader knows it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    /// Up to here its log is durable and equal to ours.
    pub(super) matched: Index,
    /// What to send next.
    pub(super) next: Index,
    pub(super) flow: Flow,
    /// The newest round that it answered to.
    pub(super) round: u64,
    /// When it last answered to anything.
    pub(super) heard: Option<Instant>,
    /// Replies to rounds up to here are from before it was added, maybe by an earlier incarnation
    /// that had another disk.
    pub(super) floor: u64,
    /// The highest commit index that was sent to it for entries that it has.
    pub(super) commit_sent: Index,
    /// It is no member any more, and is told so until then: it counts for nothing.
    pub(super) leaves: Option<Instant>,
    /// If it is a learner.
    lessons: Option<Lessons>,
}

impl Peer {
    /// A peer of which nothing is known.
    pub(super) fn new(node: NodeId, next: Index, floor: u64) -> Peer {
        Peer {
            node,
            matched: Index(0),
            next,
            flow: Flow::Probe { sent: None },
            round: 0,
            heard: None,
            floor,
            commit_sent: Index(0),
            leaves: None,
            lessons: None,
        }
    }

    /// It is a learner, or is none any more.
    pub(super) fn set_learner(&mut self, is_learner: bool) {
        if is_learner != self.lessons.is_some() {
            self.lessons = is_learner.then(Lessons::new);
        }
    }

    /// Its lessons, as long as it is a learner that lags behind a log that ends there.
    pub(super) fn lessons(&self, last: Index) -> Option<&Lessons> {
        let lags = self.matched.0 + LEARNER_LAG < last.0;
        // One that comes no nearer without any rest is sent to as anybody else.
        self.lessons.as_ref().filter(|lessons| lags && lessons.rests > 0)
    }

    /// An append leaves.
    pub(super) fn note_sent(&mut self, now: Instant) {
        if let Some(lessons) = &mut self.lessons {
            lessons.sent = now;
        }
    }

    /// When it is to be sent more, if that waits for nothing but the end of a rest.
    pub(super) fn rests_until(&self, last: Index) -> Option<Instant> {
        let Flow::Replicate { inflight } = &self.flow else { return None };
        let waits = inflight.is_empty() && self.next <= last;
        self.lessons(last).filter(|_| waits).map(|lessons| lessons.rest_until)
    }

    /// It has more than before.
    pub(super) fn note_answered(&mut self, now: Instant, last: Index) {
        let lacks = last.0.saturating_sub(self.matched.0);
        if let Some(lessons) = &mut self.lessons {
            if lacks > LEARNER_LAG {
                lessons.answered(now, lacks);
            } else {
                *lessons = Lessons::new();
            }
        }
    }

    /// The peer has everything up to `index`.
    pub(super) fn accept(&mut self, index: Index, base: Index) {
        self.matched = self.matched.max(index);
        self.next = self.next.max(Index(self.matched.0 + 1));
        match &mut self.flow {
            Flow::Replicate { inflight } => {
                while inflight.front().is_some_and(|(last, _)| *last <= index) {
                    inflight.pop_front();
                }
            }
            Flow::Probe { .. } => self.replicate(),
            Flow::Snapshot(_) if self.matched >= base => self.replicate(),
            Flow::Snapshot(_) => {}
        }
    }

    /// The peer has no entry of ours at `rejected`; it may have the one at `guess`. Is that news?
    pub(super) fn refuse(&mut self, rejected: Index, guess: Index) -> bool {
        if rejected <= self.matched || rejected >= self.next {
            return false;
        }
        match self.flow {
            Flow::Replicate { .. } => self.next = Index(self.matched.0 + 1),
            Flow::Probe { .. } if rejected.0 + 1 == self.next.0 => {
                let below = Index(rejected.0.min(guess.0 + 1));
                self.next = below.max(Index(self.matched.0 + 1));
            }
            Flow::Probe { .. } | Flow::Snapshot(_) => return false,
        }
        self.flow = Flow::Probe { sent: None };
        true
    }

    /// Begins to probe behind what the peer is known to have.
    pub(super) fn probe(&mut self) {
        self.next = Index(self.matched.0 + 1);
        self.flow = Flow::Probe { sent: None };
    }

    fn replicate(&mut self) {
        self.next = Index(self.matched.0 + 1);
        self.flow = Flow::Replicate { inflight: VecDeque::new() };
    }

    /// Asserts what always holds.
    pub(super) fn check(&self, last: Index) {
        assert!(self.matched < self.next, "what a peer has is not sent to it again");
        assert!(self.matched <= last, "a peer cannot have more than its leader");
    }
}

#[cfg(test)]
mod tests {
    use stdx::Instant;

    use super::{Flow, Peer};
    use crate::replica::{Index, NodeId};

    fn peer(matched: u64, next: u64, replicate: bool) -> Peer {
        let mut peer = Peer::new(NodeId(2), Index(next), 0);
        peer.matched = Index(matched);
        if replicate {
            peer.flow = Flow::Replicate {
                inflight: (matched + 1..next).map(|last| (Index(last), 1)).collect(),
            };
        }
        peer
    }

    #[test]
    fn a_refusal_moves_the_probe_to_where_the_logs_may_agree() {
        // (matched, next, replicating, rejected, guess) and the next index to send.
        for (matched, next, replicate, rejected, guess, expect) in [
            (0, 10, false, 9, 5, Some(6)),
            (0, 10, false, 9, 9, Some(9)),
            (0, 10, false, 9, 0, Some(1)),
            (7, 10, false, 9, 2, Some(8)),
            (0, 10, false, 5, 5, None),
            (3, 10, true, 8, 5, Some(4)),
            (3, 10, true, 3, 3, None),
            (3, 10, true, 10, 3, None),
        ] {
            let mut peer = peer(matched, next, replicate);
            let news = peer.refuse(Index(rejected), Index(guess));
            assert_eq!(news.then_some(peer.next.0), expect, "{rejected} refused, guess {guess}");
        }
    }

    #[test]
    fn a_learner_that_lags_rests_as_long_as_it_comes_nearer() {
        let at = |millis: u64| Instant(millis * 1_000_000);
        let mut peer = peer(100, 101, true);
        assert_eq!(peer.rests_until(Index(1_000)), None, "a voter gets all at once");
        peer.set_learner(true);
        let mut learn = |sent, answered, matched, last| {
            peer.note_sent(at(sent));
            peer.accept(Index(matched), Index(0));
            peer.note_answered(at(answered), Index(last));
            peer.rests_until(Index(last)).map(|until| until.since(at(answered)).as_millis())
        };
        assert_eq!(learn(0, 2, 200, 1_000), Some(32));
        assert_eq!(learn(40, 140, 300, 1_000), Some(200), "no rest is longer");
        assert_eq!(learn(400, 402, 400, 1_200), Some(16), "it lacks 800 as before");
        assert_eq!(learn(410, 412, 500, 1_400), Some(8), "it lacks more");
        assert_eq!(learn(600, 602, 501, 1_500), Some(4));
        assert_eq!(learn(610, 612, 502, 1_600), Some(2));
        assert_eq!(learn(620, 622, 503, 1_700), None, "all at once, or it never gets there");
        assert_eq!(learn(700, 702, 1_690, 1_754), None, "it does not lag");
        assert_eq!(learn(800, 802, 1_700, 2_000), Some(32), "it lags again, as if it were new");
    }

    #[test]
    fn an_answer_frees_the_appends_before_it() {
        let mut peer = peer(3, 8, true);
        peer.accept(Index(5), Index(0));
        let Flow::Replicate { inflight } = &peer.flow else { panic!("it was replicating") };
        assert_eq!(inflight, &[(Index(6), 1), (Index(7), 1)]);
        assert_eq!((peer.matched, peer.next), (Index(5), Index(8)));
    }
}

//! Linearizable reads without writing to the log.
//!
//! A read may be served by a state that has applied everything committed when the read was asked.
//! The leader knows that index once the first entry of its term is committed; what it must make
//! sure is that it still leads:
//!
//! - **By lease**: while the lease holds nobody else can have been elected. No message at all; this
//!   is the hot path.
//! - **By a round**: a quorum that answers to a round begun after the read was asked confirms it.
//!   One round serves all reads that waited for it; the next round serves those that came since.
//!
//! Thesis §6.4.

use std::collections::VecDeque;
use std::time::Duration;

use stdx::{Instant, planted};

use super::leader::{Leader, View};
use super::replica::{Replica, State};
use crate::limits::READS_MAX;
use crate::quorum;
use crate::replica::{Effects, Index, Options, ReadReady, Token};

/// Reads that wait.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Each with the index that it must see and the round that it waits for, oldest first.
    flying: VecDeque<(Token, Index, u64)>,
    /// Waiting for the next round, or for the first commit.
    queued: Vec<Token>,
}

impl Reads {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.flying.len() + self.queued.len()
    }

    /// No longer by this replica.
    pub(super) fn refuse(self, out: &mut Effects) {
        let flying = self.flying.into_iter().map(|(token, ..)| token);
        let tokens = flying.chain(self.queued);
        out.read.extend(tokens.map(|token| ReadReady { token, index: None }));
    }

    /// The rounds so far no longer count: all wait again.
    pub(super) fn restart(&mut self) {
        self.queued.extend(self.flying.drain(..).map(|(token, ..)| token));
    }

    /// All rounds up to this one are confirmed.
    fn land(&mut self, round: u64, out: &mut Effects) {
        while self.flying.front().is_some_and(|(_, _, needs)| *needs <= round) {
            let (token, index, _) = self.flying.pop_front().expect("it was looked at");
            out.read.push(ReadReady { token, index: Some(index) });
        }
    }

    /// The lease holds: nobody has to wait.
    fn answer_all(&mut self, commit: Index, out: &mut Effects) {
        self.land(u64::MAX, out);
        let ready = |token| ReadReady { token, index: Some(commit) };
        out.read.extend(self.queued.drain(..).map(ready));
    }
}

/// How long a lease lasts by our clock: the voters' clocks may run faster.
fn lease_duration(options: &Options) -> Duration {
    let timeout = options.election_timeout;
    if planted!("lease-ignores-drift") {
        return timeout;
    }
    let drift = timeout.as_nanos() * u128::from(options.clock_drift_ppm) / 1_000_000;
    timeout.saturating_sub(Duration::from_nanos(u64::try_from(drift).unwrap_or(u64::MAX)))
}

impl Leader {
    fn lease_holds(&self, view: &View<'_>, alone: bool) -> bool {
        let end = self.rounds.lease_end(lease_duration(view.options));
        let free =
            (!self.lease_void && self.transfer.is_none()) || planted!("lease-outlives-hand-over");
        let holds = end.is_some_and(|end| view.now < end);
        alone || (free && holds) || planted!("read-without-a-lease")
    }
}

impl Replica {
    /// A client wants to read.
    pub(super) fn read(&mut self, now: Instant, token: Token, out: &mut Effects) {
        let alone = self.is_alone();
        let Some((leader, view)) = self.leading(now) else {
            return out.read.push(ReadReady { token, index: None });
        };
        leader.idle.1 = now;
        let ready = view.commit >= leader.first || planted!("read-before-first-commit");
        if ready && leader.lease_holds(&view, alone) {
            return out.read.push(ReadReady { token, index: Some(view.commit) });
        }
        if leader.reads.len() >= READS_MAX {
            return out.read.push(ReadReady { token, index: None });
        }
        leader.reads.queued.push(token);
        self.serve_reads(now, false, out);
    }

    /// Answers or sends on its way what can be. `due`: a heartbeat goes out anyway, so that those who
    /// wait for a round under way (it may be lost) need not wait longer.
    pub(super) fn serve_reads(&mut self, now: Instant, due: bool, out: &mut Effects) {
        let alone = self.is_alone();
        let Some((leader, view)) = self.leading(now) else { return };
        if leader.reads.is_empty() || view.commit < leader.first {
            return;
        }
        if leader.lease_holds(&view, alone) {
            leader.reads.answer_all(view.commit, out);
        }
        let Reads { flying, queued } = &mut leader.reads;
        if queued.is_empty() || !(flying.is_empty() || due) {
            return;
        }
        let (commit, round) = (view.commit, leader.rounds.begin(now));
        flying.extend(queued.drain(..).map(|token| (token, commit, round)));
        leader.heartbeat(&view, out);
    }

    /// A peer answered: perhaps a round is confirmed now.
    pub(super) fn confirm(&mut self, now: Instant, out: &mut Effects) {
        let State::Leader(leader) = &mut self.state else { return };
        let (node, newest) = (self.options.node, leader.rounds.newest());
        let mut agreed = quorum::agreed(self.configs.current(), |id| {
            if id == node { newest } else { leader.peer(id).map_or(0, |peer| peer.round) }
        });
        if planted!("lease-of-a-minority") {
            agreed = leader.peers.iter().map(|peer| peer.round).max().unwrap_or(agreed);
        }
        if leader.rounds.confirm(agreed.min(newest)) {
            leader.reads.land(agreed, out);
            self.serve_reads(now, false, out);
        }
    }
}

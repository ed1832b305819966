//! Leader election: who may speak for the group in a term.
//!
//! A replica that hears nothing for a while first asks whether it *would* win (a pre-vote, which
//! changes nothing anywhere), and only then opens a new term and asks for votes. A majority of votes
//! makes a leader, and two majorities always share a member, so a term never has two leaders.
//!
//! A learner stands only if its refusal of a candidate may be what keeps the group without a leader
//! (`stand_in`). Neither the paper nor the thesis has this case.
//!
//! Voters refuse both kinds of candidate for one election timeout after they heard a leader, unless
//! the leader itself handed over. So a node that comes back from a partition, or was removed, does
//! not disturb; and a leader's lease is sound (see `rounds`).
//!
//! Invariant: a vote is durable before any message shows it, and before it is counted.
//! Not here: what a leader does (see `leader`).
//! Raft paper §5.2, §5.4.1; thesis §4.2.3 and §9.6.

use std::time::Duration;

use stdx::{Instant, mark, planted};

use super::leader::Leader;
use super::replica::{Needs, Replica, State};
use crate::quorum::{self, Tally};
use crate::replica::{Effects, EntryKind, Envelope, Index, Message, NodeId, Term};

/// Someone who wants to lead.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Asking first; the term is not opened yet.
    pub(super) pre: bool,
    votes: Vec<(NodeId, bool)>,
}

impl Candidate {
    fn record(&mut self, voter: NodeId, granted: bool) {
        // The first answer counts: nobody votes twice in a term.
        if !self.votes.iter().any(|(node, _)| *node == voter) {
            self.votes.push((voter, granted));
        }
    }

    fn of(&self, voter: NodeId) -> Option<bool> {
        self.votes.iter().find(|(node, _)| *node == voter).map(|(_, granted)| *granted)
    }
}

impl Replica {
    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant, out: &mut Effects) {
        match &self.state {
            _ if self.hibernates => {}
            State::Leader(_) => self.tick_leader(now, out),
            _ if now < self.election_at => {}
            _ if self.may_lead() => self.campaign(now, out),
            _ => {
                if matches!(self.state, State::Candidate(_)) {
                    self.state = State::Follower { leader: None };
                }
                self.reset_election(now);
            }
        }
    }

    /// May this replica stand for election by itself? One that a configuration removes may, as long
    /// as that is not known to be committed: it can be the only one whose log is long enough to win,
    /// and so to commit its own removal (thesis §4.2.2).
    pub(super) fn may_lead(&self) -> bool {
        self.is_able() && self.configs.may_vote(self.options.node, self.commit)
    }

    /// Nobody stands while a snapshot replaces its state, nor while it lacks what it once had.
    fn is_able(&self) -> bool {
        let has_all = (self.log.last_term(), self.log.last()) >= self.reached;
        !self.is_installing() && self.faulty.is_none() && has_all
    }

    /// A learner was asked for its vote by a candidate with an older log. So it is a voter there, by
    /// a configuration that it does not have, and its refusal may be what keeps everybody from being
    /// elected: its own log ends in a later term, of a leader that is gone. Nobody has a newer log
    /// who is there, so it stands in itself, for as long as it takes to name an heir.
    ///
    /// That is safe: it needs the majority that its own newest configuration asks for, like anybody.
    fn stand_in(&mut self, now: Instant, out: &mut Effects) {
        let learns = self.configs.current().learners.contains(&self.options.node);
        if learns && self.is_able() && matches!(self.state, State::Follower { .. }) {
            mark!("a learner stands in for voters with older logs");
            self.campaign(now, out);
        }
    }

    /// The next election is between once and twice the timeout away.
    pub(super) fn reset_election(&mut self, now: Instant) {
        self.schedule_election(now, self.options.election_timeout);
    }

    fn schedule_election(&mut self, now: Instant, base: Duration) {
        let nanos = u64::try_from(base.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.election_at = now + base + Duration::from_nanos(self.rng.below(nanos));
    }

    /// Is there a leader that others must not be helped against?
    pub(super) fn in_lease(&self, now: Instant) -> bool {
        let timeout = self.options.election_timeout;
        if planted!("vote-within-a-lease") {
            return false;
        }
        matches!(self.state, State::Leader(_))
            || self.heard.is_some_and(|heard| now < heard + timeout)
    }

    /// Asks whether this replica would win.
    fn campaign(&mut self, now: Instant, out: &mut Effects) {
        let config = self.configs.current();
        if !config.is_voter(self.options.node) && !config.learners.contains(&self.options.node) {
            mark!("a voter that is being removed stands for election");
        }
        self.state = State::Candidate(Candidate { pre: true, votes: Vec::new() });
        // Pre-votes disturb nobody: ask again sooner than an election could be repeated.
        self.schedule_election(now, self.options.election_timeout / 2);
        self.ask_votes(true, false, out);
        self.count(now, self.options.node, true, out);
    }

    /// Opens a term and asks for votes.
    fn stand(&mut self, now: Instant, force: bool, out: &mut Effects) {
        assert!(self.is_able(), "nobody stands who lacks something");
        self.term.0 += 1;
        self.vote = Some(self.options.node);
        self.state = State::Candidate(Candidate { pre: false, votes: Vec::new() });
        self.reset_election(now);
        self.ask_votes(false, force, out);
    }

    fn ask_votes(&mut self, pre: bool, force: bool, out: &mut Effects) {
        let (last_index, last_term) = (self.log.last(), self.log.last_term());
        let message = Message::Vote { pre, force, last_index, last_term };
        let source = self.options.node;
        for target in self.configs.current().members() {
            if target == source || !self.configs.current().is_voter(target) {
                continue;
            }
            if pre {
                let term = Term(self.term.0 + 1);
                out.send.push(Envelope { source, target, term, message: message.clone() });
            } else {
                self.send(target, message.clone(), Needs::Vote, out);
            }
        }
    }

    /// The disk is done with something: perhaps with this candidate's own vote, which counts then.
    pub(super) fn own_vote_saved(&mut self, now: Instant, out: &mut Effects) {
        let State::Candidate(candidate) = &self.state else { return };
        let node = self.options.node;
        if !candidate.pre && candidate.of(node).is_none() && self.vote_is_saved() {
            self.count(now, node, true, out);
        }
    }

    fn count(&mut self, now: Instant, voter: NodeId, granted: bool, out: &mut Effects) {
        let State::Candidate(candidate) = &mut self.state else { return };
        candidate.record(voter, granted);
        let pre = candidate.pre;
        match quorum::tally(self.configs.current(), |node| candidate.of(node)) {
            Tally::Pending => {}
            Tally::Won if pre => self.stand(now, false, out),
            Tally::Won if self.vote_is_saved() => self.become_leader(now, out),
            // Votes that nobody asked for; they count again when ours is durable.
            Tally::Won => {}
            Tally::Lost => self.state = State::Follower { leader: None },
        }
    }

    fn become_leader(&mut self, now: Instant, out: &mut Effects) {
        assert_eq!(self.vote, Some(self.options.node), "a leader voted for itself");
        assert!(self.vote_is_saved(), "a leader's vote is durable");
        let next = Index(self.log.last().0 + 1);
        let uncommitted_bytes = self.log.bytes_behind(self.commit);
        self.incoming = None;
        let config = self.configs.current();
        let leader = Leader::new(now, &self.options, config, next, uncommitted_bytes);
        self.state = State::Leader(Box::new(leader));
        // Earlier entries cannot be committed by counting; this one commits them all (paper §5.4.2).
        let first = self.append_own(EntryKind::Noop, bytes::Bytes::new(), out);
        assert_eq!(first, next, "the first entry of a term is its leader's");
        self.replicate(now, out);
    }

    /// `last` is the candidate's last term and index: does its log hold all that ours holds, and
    /// all that an earlier one here did?
    fn is_up_to_date(&self, last: (Term, Index)) -> bool {
        let gone = last < self.reached && !planted!("comes-back-and-votes");
        last >= (self.log.last_term(), self.log.last()) && !gone || planted!("vote-for-an-old-log")
    }

    /// Would we vote for `source` in `term`?
    pub(super) fn pre_vote_asked(
        &mut self,
        now: Instant,
        source: NodeId,
        term: Term,
        last: (Term, Index),
        out: &mut Effects,
    ) {
        let unfit = self.faulty.is_some() && !planted!("vote-of-the-forgetful");
        if self.in_lease(now) || unfit {
            return;
        }
        if term > self.term && self.is_up_to_date(last) {
            let message = Message::VoteReply { pre: true, granted: true };
            let target = source;
            out.send.push(Envelope { source: self.options.node, target, term, message });
        } else {
            // With our own term, so that a candidate that is behind catches up.
            let message = Message::VoteReply { pre: true, granted: false };
            self.send(source, message, Needs::Vote, out);
            if !self.is_up_to_date(last) {
                self.stand_in(now, out);
            }
        }
    }

    /// `source` would vote for us in `term`.
    pub(super) fn pre_vote_granted(
        &mut self,
        now: Instant,
        source: NodeId,
        term: Term,
        out: &mut Effects,
    ) {
        let State::Candidate(candidate) = &self.state else { return };
        if candidate.pre && term.0 == self.term.0 + 1 {
            self.count(now, source, true, out);
        }
    }

    /// Do we vote for `source` in this term?
    pub(super) fn vote_asked(
        &mut self,
        now: Instant,
        source: NodeId,
        force: bool,
        last: (Term, Index),
        out: &mut Effects,
    ) {
        let unfit = self.faulty.is_some() && !planted!("vote-of-the-forgetful");
        if (!force && self.in_lease(now)) || unfit {
            return;
        }
        let free = match self.vote {
            Some(vote) => vote == source || planted!("two-votes-in-a-term"),
            None => self.leader().is_none(),
        };
        let granted = free && self.is_up_to_date(last);
        if granted {
            self.vote = Some(source);
            self.reset_election(now);
        }
        self.send(source, Message::VoteReply { pre: false, granted }, Needs::Vote, out);
    }

    /// An answer to our candidature in this term, or a refusal of our pre-vote.
    pub(super) fn vote_answered(
        &mut self,
        now: Instant,
        source: NodeId,
        pre: bool,
        granted: bool,
        out: &mut Effects,
    ) {
        let State::Candidate(candidate) = &self.state else { return };
        if candidate.pre == pre {
            self.count(now, source, granted, out);
        }
    }

    /// The leader hands over: stand at once, lease or not.
    pub(super) fn timeout_now(&mut self, now: Instant, source: NodeId, out: &mut Effects) {
        let State::Follower { leader } = &self.state else { return };
        if leader.is_none_or(|leader| leader == source) && self.may_lead() {
            mark!("leadership is taken over by order");
            self.stand(now, true, out);
        }
    }
}

//! A leader: sending the log, counting what is durable, committing.
//!
//! An entry is committed when a quorum has it durable, our own disk counting like any other, and
//! it is of our term; what is before it is committed with it (paper §5.4.2, figure 8).
//!
//! Cost of one proposal: an append to each peer that keeps up (entries are shared, not copied), and
//! a compare for each voter on each answer. The leader's disk and the peers work at the same time.

use std::time::Duration;

use stdx::{Instant, mark, planted};

use super::membership::Transfer;
use super::progress::{Flow, Peer, Sending, Stage};
use super::read::Reads;
use super::replica::{Replica, State};
use super::rounds::Rounds;
use crate::limits::{LEARNER_APPEND_BYTES, ROUNDS_PER_HEARTBEAT};
use crate::log::Log;
use crate::quorum;
use crate::replica::{
    Config, Conflict, Effects, Envelope, Fetch, Index, Message, NodeId, Options, SnapshotMeta, Term,
};

/// What a leader's verbs may look at.
pub(super) struct View<'a> {
    pub(super) now: Instant,
    pub(super) term: Term,
    pub(super) commit: Index,
    pub(super) held: Index,
    pub(super) hibernates: bool,
    pub(super) log: &'a Log,
    pub(super) snapshot: &'a SnapshotMeta,
    pub(super) options: &'a Options,
}

impl View<'_> {
    /// Puts a leader's message on its way. A leader's term has long been durable.
    pub(super) fn send(&self, target: NodeId, message: Message, out: &mut Effects) {
        let source = self.options.node;
        out.send.push(Envelope { source, target, term: self.term, message });
    }
}

/// What only a leader has.
#[derive(Debug)]
pub(super) struct Leader {
    /// All members but ourselves, and those that are leaving, in order.
    pub(super) peers: Vec<Peer>,
    pub(super) rounds: Rounds,
    pub(super) reads: Reads,
    pub(super) heartbeat_at: Instant,
    /// The end of the log, and since when nothing was proposed or read.
    pub(super) idle: (Index, Instant),
    /// The first entry of this term: until it is committed, nobody knows what is.
    pub(super) first: Index,
    pub(super) uncommitted_bytes: usize,
    /// Leadership is being handed over.
    pub(super) transfer: Option<Transfer>,
    /// Somebody was told to take over, and may do so at any time: no lease in this term any more.
    pub(super) lease_void: bool,
}

impl Leader {
    /// A leader of these members, whose first entry will be at `next`.
    pub(super) fn new(
        now: Instant,
        options: &Options,
        config: &Config,
        next: Index,
        uncommitted_bytes: usize,
    ) -> Leader {
        let mut peers = config.members();
        peers.remove(&options.node);
        let mut leader = Leader {
            peers: peers.into_iter().map(|node| Peer::new(node, next, 0)).collect(),
            rounds: Rounds::new(now),
            reads: Reads::default(),
            heartbeat_at: next_beat(now, options.heartbeat_interval),
            idle: (next, now),
            first: next,
            uncommitted_bytes,
            transfer: None,
            lease_void: false,
        };
        leader.note_learners(config);
        leader
    }

    /// May a proposal of this size join those that are not committed? One always may.
    pub(super) fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.uncommitted_bytes == 0 || self.uncommitted_bytes + bytes <= bytes_max
    }

    /// Who is a learner, by this configuration.
    pub(super) fn note_learners(&mut self, config: &Config) {
        for peer in &mut self.peers {
            let learns = config.learners.contains(&peer.node);
            peer.set_learner(learns && !config.is_voter(peer.node));
        }
    }

    pub(super) fn peer(&self, node: NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.node == node)
    }

    pub(super) fn peer_mut(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.node == node)
    }

    /// The round of a message sent now.
    pub(super) fn stamp(&mut self, view: &View<'_>) -> u64 {
        let age_max = view.options.heartbeat_interval / ROUNDS_PER_HEARTBEAT;
        self.rounds.stamp(view.now, age_max)
    }

    /// Sends to every peer what it lacks.
    pub(super) fn replicate(&mut self, view: &View<'_>, out: &mut Effects) {
        let round = self.stamp(view);
        for peer in &mut self.peers {
            send_appends(peer, round, view, out);
        }
    }

    /// Sends to one peer what it lacks.
    pub(super) fn replicate_to(&mut self, node: NodeId, view: &View<'_>, out: &mut Effects) {
        let round = self.stamp(view);
        if let Some(peer) = self.peer_mut(node) {
            send_appends(peer, round, view, out);
        }
    }

    /// Goes on with learners that have rested.
    fn go_on_teaching(&mut self, view: &View<'_>, out: &mut Effects) {
        let last = view.log.last();
        let rested = |peer: &Peer| peer.rests_until(last).is_some_and(|until| until <= view.now);
        if self.peers.iter().any(rested) {
            self.replicate(view, out);
        }
    }

    /// Tells every peer that we are here, under the newest round.
    pub(super) fn heartbeat(&mut self, view: &View<'_>, out: &mut Effects) {
        let round = self.rounds.newest();
        for peer in &mut self.peers {
            send_heartbeat(peer, round, view, out);
        }
        self.heartbeat_at = next_beat(view.now, view.options.heartbeat_interval);
    }

    /// Tells the commit index to every peer that has the entries and does not know.
    pub(super) fn flush(&mut self, view: &View<'_>, out: &mut Effects) {
        let round = self.stamp(view);
        for peer in &mut self.peers {
            if peer.commit_sent < view.commit.min(peer.matched) {
                send_heartbeat(peer, round, view, out);
            }
        }
    }

    /// Notes that `node` answered to `round`. False if that says nothing: it is no peer, or the
    /// answer is from before it was one, or to a round that never was.
    pub(super) fn heard(&mut self, node: NodeId, round: u64, now: Instant) -> bool {
        let newest = self.rounds.newest();
        let Some(peer) = self.peer_mut(node) else { return false };
        if round <= peer.floor || round > newest {
            return false;
        }
        peer.round = peer.round.max(round);
        peer.heard = Some(now);
        true
    }

    /// When something is due.
    pub(super) fn deadline(&self, options: &Options, alone: bool, last: Index) -> Instant {
        let mut deadline = self.heartbeat_at;
        if alone && self.peers.is_empty() {
            deadline = Instant::FAR;
        } else if !alone {
            deadline = deadline.min(self.rounds.active() + options.election_timeout);
        }
        if let Some(transfer) = &self.transfer {
            deadline = deadline.min(transfer.deadline);
        }
        for peer in &self.peers {
            if let Flow::Snapshot(sending) = &peer.flow {
                deadline = deadline.min(sending.deadline);
            }
            deadline = deadline.min(peer.leaves.unwrap_or(Instant::FAR));
            deadline = deadline.min(peer.rests_until(last).unwrap_or(Instant::FAR));
        }
        deadline
    }

    /// Asserts what always holds.
    pub(super) fn check(&self, log: &Log) {
        assert!(self.first <= log.last(), "a leader never cuts its own entries off");
        for peer in &self.peers {
            peer.check(log.last());
        }
    }
}

/// All groups of a node beat at the same moments, so that hundreds of them share a turn of its loop and
/// a message on each link.
fn next_beat(now: Instant, interval: Duration) -> Instant {
    let nanos = u64::try_from(interval.as_nanos()).map_or(u64::MAX, |nanos| nanos.max(1));
    Instant((now.0 / nanos).saturating_add(1).saturating_mul(nanos))
}

fn send_heartbeat(peer: &mut Peer, round: u64, view: &View<'_>, out: &mut Effects) {
    // Never more than the peer has: what follows there in its log may not be ours.
    let known = if planted!("heartbeat-tells-too-much") { view.commit } else { peer.matched };
    let commit = view.commit.min(known);
    peer.commit_sent = commit;
    let message = Message::Heartbeat { commit, sequence: round, hibernate: view.hibernates };
    view.send(peer.node, message, out);
}

/// Sends entries to a peer as long as its flow allows, or begins a snapshot if the log in memory
/// does not reach back far enough.
fn send_appends(peer: &mut Peer, round: u64, view: &View<'_>, out: &mut Effects) {
    loop {
        let window = match &peer.flow {
            Flow::Probe { sent } => sent.is_none(),
            Flow::Replicate { inflight } => {
                let has_room = match peer.lessons(view.log.last()) {
                    Some(lessons) => inflight.is_empty() && lessons.rest_until <= view.now,
                    None => inflight.len() < view.options.inflight_max,
                };
                peer.next <= view.log.last() && has_room
            }
            Flow::Snapshot(_) => false,
        };
        if !window {
            return;
        }
        if peer.next <= view.log.base() {
            return begin_snapshot(peer, view, out);
        }
        let lags = peer.lessons(view.log.last()).is_some();
        let most = if lags { LEARNER_APPEND_BYTES } else { usize::MAX };
        let bytes_max = view.options.append_bytes_max.min(most);
        let last = send_append(peer, round, bytes_max, view, out);
        peer.note_sent(view.now);
        match &mut peer.flow {
            Flow::Replicate { inflight } => inflight.push_back((last, round)),
            Flow::Probe { sent } => *sent = Some(round),
            Flow::Snapshot(_) => unreachable!("nothing was sent in this state"),
        }
        if matches!(peer.flow, Flow::Replicate { .. }) {
            peer.next = Index(last.0 + 1);
        }
    }
}

/// Sends entries from `next` on and returns the index of the last. With no bytes to spend, it asks
/// only whether the peer has everything before `next`.
fn send_append(
    peer: &mut Peer,
    round: u64,
    bytes_max: usize,
    view: &View<'_>,
    out: &mut Effects,
) -> Index {
    let previous_index = Index(peer.next.0 - 1);
    let previous_term = view.log.term_at(previous_index).expect("the log reaches back to it");
    let entries = if bytes_max == 0 { Vec::new() } else { view.log.slice(peer.next, bytes_max) };
    let last = entries.last().map_or(previous_index, |entry| entry.index);
    let (commit, held, sequence) = (view.commit, view.held, round);
    peer.commit_sent = commit.min(last).max(peer.commit_sent);
    let message =
        Message::Append { previous_index, previous_term, commit, held, sequence, entries };
    view.send(peer.node, message, out);
    last
}

/// Sends the newest snapshot, or wants one that reaches up to the log in memory.
pub(super) fn begin_snapshot(peer: &mut Peer, view: &View<'_>, out: &mut Effects) {
    let meta = view.snapshot.clone();
    let (stage, deadline) = if meta.index < view.log.base() {
        mark!("a peer lacks what has left the memory and is in no snapshot");
        // Who leaves is told so until its time is over, and needs no more.
        out.wants.extend(Some(peer.node).filter(|_| peer.leaves.is_none()));
        (Stage::Wanted, view.now + view.options.election_timeout)
    } else {
        out.fetch.push(Fetch {
            target: peer.node,
            snapshot: meta.index,
            offset: 0,
            bytes_max: view.options.chunk_bytes_max,
        });
        (Stage::Fetch, Instant::FAR)
    };
    peer.flow = Flow::Snapshot(Sending { meta, offset: 0, stage, deadline });
}

impl Replica {
    /// Sends to every peer what it lacks.
    pub(super) fn replicate(&mut self, now: Instant, out: &mut Effects) {
        if let Some((leader, view)) = self.leading(now) {
            leader.replicate(&view, out);
        }
    }

    /// Tells the followers of the commit index, if they do not know it.
    pub(super) fn flush(&mut self, now: Instant, out: &mut Effects) {
        if let Some((leader, view)) = self.leading(now) {
            leader.flush(&view, out);
        }
    }

    /// Something of a leader may be due.
    pub(super) fn tick_leader(&mut self, now: Instant, out: &mut Effects) {
        let (alone, timeout) = (self.is_alone(), self.options.election_timeout);
        let Some((leader, view)) = self.leading(now) else { return };
        if !alone && now >= leader.rounds.active() + timeout {
            mark!("a leader that nobody hears steps down");
            let term = self.term;
            return self.become_follower(now, term, out);
        }
        if leader.transfer.as_ref().is_some_and(|transfer| now >= transfer.deadline) {
            mark!("a hand-over is given up");
            leader.transfer = None;
        }
        leader.peers.retain(|peer| peer.leaves.is_none_or(|at| now < at));
        leader.resend_snapshots(&view, out);
        leader.go_on_teaching(&view, out);
        if now < leader.heartbeat_at {
            return;
        }
        self.serve_reads(now, true, out);
        self.hibernates = self.may_hibernate(now);
        // Reads may have sent one just now.
        if let Some((leader, view)) = self.leading(now)
            && now >= leader.heartbeat_at
        {
            leader.stamp(&view);
            leader.heartbeat(&view, out);
        }
    }

    /// Commits what a quorum has durable.
    pub(super) fn advance(&mut self, now: Instant, out: &mut Effects) {
        let State::Leader(leader) = &self.state else { return };
        let (node, mut saved) = (self.options.node, self.log.saved());
        if planted!("leader-counts-unsynced") {
            saved = self.log.last();
        }
        let agreed = Index(quorum::agreed(self.configs.current(), |id| {
            if id == node { saved.0 } else { leader.peer(id).map_or(0, |peer| peer.matched.0) }
        }));
        let counts =
            self.log.term_at(agreed) == Some(self.term) || planted!("commit-of-a-prior-term");
        if agreed <= self.commit || !counts {
            return;
        }
        self.commit_to(agreed, out);
        self.serve_reads(now, false, out);
        self.settle_config(now, out);
    }

    /// A follower has our log up to somewhere, or says where its own is another.
    pub(super) fn append_answered(
        &mut self,
        now: Instant,
        source: NodeId,
        sequence: u64,
        result: Result<Index, Conflict>,
        out: &mut Effects,
    ) {
        let Some((leader, view)) = self.leading(now) else { return };
        if !leader.heard(source, sequence, now) {
            return;
        }
        let peer = leader.peer_mut(source).expect("it was heard");
        match result {
            Ok(index) if index <= view.log.last() => {
                let before = peer.matched;
                peer.accept(index, view.log.base());
                if peer.matched > before {
                    peer.note_answered(now, view.log.last());
                }
            }
            Ok(_) => return,
            Err(conflict) => {
                let guess = view.log.find_term(conflict.hint_index, conflict.hint_term);
                peer.refuse(conflict.rejected, guess);
            }
        }
        self.confirm(now, out);
        self.advance(now, out);
        // The commit above may have ended this leader's reign.
        if let Some((leader, view)) = self.leading(now) {
            leader.replicate_to(source, &view, out);
            leader.hand_over(&view, out);
        }
    }

    /// A follower heard us. If appends to it were lost, this is when we find out.
    pub(super) fn heartbeat_answered(
        &mut self,
        now: Instant,
        source: NodeId,
        sequence: u64,
        out: &mut Effects,
    ) {
        let Some((leader, view)) = self.leading(now) else { return };
        if !leader.heard(source, sequence, now) {
            return;
        }
        let round = leader.stamp(&view);
        let peer = leader.peer_mut(source).expect("it was heard");
        match &mut peer.flow {
            Flow::Probe { sent } => *sent = sent.filter(|asked| *asked >= sequence),
            Flow::Replicate { inflight } => {
                // It was heard in a later round than that of an append which is not answered. It
                // may be waiting for its disk; an append without entries shows which.
                let overdue = inflight.front_mut().filter(|(_, asked)| *asked < sequence);
                if let Some((_, asked)) = overdue {
                    *asked = round;
                    if peer.next > view.log.base() {
                        send_append(peer, round, 0, &view, out);
                    } else {
                        peer.probe();
                    }
                }
            }
            Flow::Snapshot(_) => {}
        }
        send_appends(peer, round, &view, out);
        self.confirm(now, out);
    }
}

//! The state of one replica, and every event, dispatched.
//!
//! Invariants: a term and a vote are durable before any message shows them; applied ≤ commit ≤
//! last; what is committed is never cut off. The other files of this folder are the verbs on this
//! state, each beside the idea that it serves.

use std::fmt;

use bytes::Bytes;
use stdx::{Instant, Rng, mark, planted};

use super::election::Candidate;
use super::hibernation::wakes;
use super::leader::{Leader, View};
use super::saves::Saves;
use super::snapshot::Incoming;
use crate::config::Configs;
use crate::limits::{INDEX_MAX, TERM_MAX};
use crate::log::{Log, entry_bytes};
use crate::replica::{
    Accept, Config, Effects, Entry, EntryKind, Envelope, Event, Index, Message, NodeId, Options,
    Record, Role, SnapshotMeta, Status, Stored, Term, Token,
};

/// What a replica is in its term.
#[derive(Debug)]
pub(super) enum State {
    Follower { leader: Option<NodeId> },
    Candidate(Candidate),
    Leader(Box<Leader>),
}

/// What must be durable before a message may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// The term and the vote.
    Vote,
    /// Everything saved so far.
    Log,
}

/// Why what was found on the disk is no log of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The entry here does not follow the one before it.
    Gap { index: Index },
    /// The entry here has a lower term than one before it, or a higher one than the replica.
    Term { index: Index },
    /// The configuration in the entry here cannot be read.
    Config { index: Index },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Gap { index } => write!(f, "the log has a gap before entry {}", index.0),
            Broken::Term { index } => write!(f, "the term of entry {} is out of order", index.0),
            Broken::Config { index } => write!(f, "the configuration at {} is malformed", index.0),
        }
    }
}

impl std::error::Error for Broken {}

/// One replica of one group, speaking Raft.
#[derive(Debug)]
pub struct Replica {
    pub(super) options: Options,
    pub(super) rng: Rng,
    pub(super) term: Term,
    pub(super) vote: Option<NodeId>,
    /// The newest term and vote that were handed out to be saved, and in which save.
    vote_record: (Term, Option<NodeId>),
    vote_save: u64,
    pub(super) saves: Saves,
    pub(super) log: Log,
    pub(super) configs: Configs,
    /// Up to here every member has the log on its disk, as far as is known: none will ask for that again,
    /// but one that loses it.
    pub(super) held: Index,
    /// The newest durable snapshot of this replica.
    pub(super) snapshot: SnapshotMeta,
    /// Up to here entries are agreed, and were handed out to be applied.
    pub(super) commit: Index,
    pub(super) applied: Index,
    /// When a leader was last heard. Other candidates are refused for a while after that.
    pub(super) heard: Option<Instant>,
    pub(super) election_at: Instant,
    /// The group hibernates, as far as is known here; see `hibernation`.
    pub(super) hibernates: bool,
    /// This replica forgot what it said in terms up to this one; see `new`.
    pub(super) faulty: Option<Term>,
    /// How far an earlier replica here had the log.
    pub(super) reached: (Term, Index),
    /// A snapshot that is arriving.
    pub(super) incoming: Option<Incoming>,
    pub(super) state: State,
}

impl Replica {
    /// A replica that finds `stored` on its disk. A group of this voter alone elects it at its
    /// first `Tick`, which is due at once.
    ///
    /// A faulty replica may have lost entries that it acknowledged, so a candidate without them
    /// could win by its vote. It keeps silent in elections until it has committed an entry of a
    /// later term than any in which it acknowledged something: the leader of that term was elected
    /// without it, so by others who have what was lost. It opens that term itself, so that a
    /// leader that counts on what was lost steps down at the first contact.
    pub fn new(options: Options, stored: Stored, now: Instant) -> Result<Replica, Broken> {
        let Stored { term, vote, snapshot, entries, faulty, reached } = stored;
        let on_disk = (term, vote);
        // A snapshot may be durable before the term in which its last entry was heard of: then nobody was
        // told anything in that term, for that waits until it is.
        let (term, vote) = if snapshot.term > term { (snapshot.term, None) } else { on_disk };
        let mut log = Log::new(snapshot.index, snapshot.term);
        let mut configs = Configs::new(snapshot.index, snapshot.config.clone());
        for entry in entries_behind(&snapshot, entries) {
            let index = entry.index;
            if index.0 != log.last().0 + 1 {
                return Err(Broken::Gap { index });
            }
            if entry.term < log.last_term() || entry.term > term {
                return Err(Broken::Term { index });
            }
            if entry.kind == EntryKind::Config {
                let config = Config::decode(&entry.data).map_err(|_| Broken::Config { index })?;
                configs.push(index, config);
            }
            log.restore(entry);
        }
        let stored = (term, vote);
        // Who comes back may have left in a term that its disk never saw: that is said once more.
        let comes_back = reached > (Term(0), Index(0));
        let vote_record = if comes_back { (Term(0), None) } else { on_disk };
        let (term, vote) = if faulty { (Term(term.0 + 1), None) } else { stored };
        let mut replica = Replica {
            faulty: faulty.then_some(stored.0),
            reached,
            rng: Rng::new(options.seed),
            options,
            term,
            vote,
            vote_record,
            vote_save: 0,
            saves: Saves::default(),
            log,
            configs,
            held: Index(0),
            commit: snapshot.index,
            applied: snapshot.index,
            snapshot,
            // A lease may rest on an answer given just before the restart. In term 0 nothing was
            // ever answered.
            heard: (term > Term(0) && !planted!("restart-forgets-lease")).then_some(now),
            election_at: now,
            hibernates: false,
            incoming: None,
            state: State::Follower { leader: None },
        };
        if !replica.is_alone() {
            replica.reset_election(now);
        }
        Ok(replica)
    }

    fn recv(&mut self, now: Instant, envelope: Envelope, out: &mut Effects) {
        let Envelope { source, target, term, message } = envelope;
        if target != self.options.node || source == target || term.0 > TERM_MAX {
            return;
        }
        // Pre-votes speak of a term that nobody is in yet.
        match message {
            Message::Vote { pre: true, last_index, last_term, .. } => {
                return self.pre_vote_asked(now, source, term, (last_term, last_index), out);
            }
            Message::VoteReply { pre: true, granted: true } => {
                return self.pre_vote_granted(now, source, term, out);
            }
            _ => {}
        }
        let counted = matches!(message, Message::VoteReply { pre: false, granted: true })
            && planted!("votes-of-an-older-term");
        if term < self.term && !counted {
            return self.recv_stale(source, &message, out);
        }
        if term > self.term && !self.follow_term(now, source, term, &message, out) {
            return;
        }
        self.recv_current(now, source, message, out);
    }

    /// A message of this replica's term.
    fn recv_current(&mut self, now: Instant, source: NodeId, message: Message, out: &mut Effects) {
        match message {
            Message::Vote { force, last_index, last_term, .. } => {
                self.vote_asked(now, source, force, (last_term, last_index), out);
            }
            Message::VoteReply { pre, granted } => {
                self.vote_answered(now, source, pre, granted, out);
            }
            Message::Append { previous_index, previous_term, commit, held, sequence, entries } => {
                let append = super::follower::Append {
                    previous: (previous_index, previous_term),
                    commit,
                    held,
                    sequence,
                    entries,
                };
                self.append_asked(now, source, append, out);
            }
            Message::AppendReply { sequence, result } => {
                self.append_answered(now, source, sequence, result, out);
            }
            Message::Heartbeat { commit, sequence, hibernate } => {
                self.heartbeat_asked(now, source, commit, sequence, out);
                if hibernate {
                    self.hibernate_behind(source, commit);
                }
            }
            Message::HeartbeatReply { sequence } => {
                self.heartbeat_answered(now, source, sequence, out);
            }
            Message::Snapshot { meta, offset, data, last, sequence } => {
                let chunk = crate::replica::Chunk { meta, offset, data, last };
                self.chunk_asked(now, source, sequence, chunk, out);
            }
            Message::SnapshotReply { snapshot, offset, done, refused, sequence } => {
                let answer = super::snapshot::Answer { snapshot, offset, done, refused };
                self.chunk_answered(now, source, sequence, answer, out);
            }
            Message::TimeoutNow => self.timeout_now(now, source, out),
        }
    }

    /// A message of an older term. Its sender should know: a leader steps down, a candidate
    /// follows the term.
    fn recv_stale(&mut self, source: NodeId, message: &Message, out: &mut Effects) {
        match message {
            Message::Append { .. } | Message::Heartbeat { .. } | Message::Snapshot { .. } => {
                self.send(source, Message::HeartbeatReply { sequence: 0 }, Needs::Vote, out);
            }
            Message::Vote { .. } => {
                let message = Message::VoteReply { pre: false, granted: false };
                self.send(source, message, Needs::Vote, out);
            }
            _ => {}
        }
    }

    /// A message of a higher term: is that a reason to follow it there?
    fn follow_term(
        &mut self,
        now: Instant,
        source: NodeId,
        term: Term,
        message: &Message,
        out: &mut Effects,
    ) -> bool {
        let follow = match message {
            // A candidate that nobody needs must not depose a leader that is well.
            Message::Vote { force, .. } => *force || !self.in_lease(now),
            Message::Append { .. }
            | Message::Heartbeat { .. }
            | Message::Snapshot { .. }
            | Message::TimeoutNow => true,
            // Someone who was removed has no say about the term.
            Message::VoteReply { .. }
            | Message::AppendReply { .. }
            | Message::HeartbeatReply { .. }
            | Message::SnapshotReply { .. } => self.configs.current().contains(source),
        };
        if follow {
            self.become_follower(now, term, out);
        }
        follow
    }

    /// Gives up whatever this replica was, for this term or a higher one.
    pub(super) fn become_follower(&mut self, now: Instant, term: Term, out: &mut Effects) {
        assert!(term >= self.term, "terms do not fall: {term:?} after {:?}", self.term);
        if term > self.term {
            self.term = term;
            self.vote = None;
        }
        if std::mem::take(&mut self.hibernates) {
            self.reset_election(now);
        }
        let before = std::mem::replace(&mut self.state, State::Follower { leader: None });
        match before {
            State::Follower { .. } => {}
            State::Candidate(_) => self.reset_election(now),
            State::Leader(leader) => {
                leader.reads.refuse(out);
                self.heard = None;
                self.reset_election(now);
            }
        }
    }

    fn saved(&mut self, now: Instant, save: u64, out: &mut Effects) {
        self.saves.finish(save, out);
        self.log.mark_saved(save);
        match &self.state {
            State::Follower { .. } => {}
            State::Candidate(_) => self.own_vote_saved(now, out),
            State::Leader(_) => self.advance(now, out),
        }
    }

    /// Sends a message of this term once what it shows is durable.
    pub(super) fn send(
        &mut self,
        target: NodeId,
        message: Message,
        needs: Needs,
        out: &mut Effects,
    ) {
        self.save_vote(out);
        let save = match needs {
            Needs::Vote if planted!("vote-before-fsync") => 0,
            Needs::Vote => self.vote_save,
            Needs::Log if planted!("ack-before-fsync") => 0,
            Needs::Log => self.saves.newest(),
        };
        let envelope = Envelope { source: self.options.node, target, term: self.term, message };
        self.saves.send_after(save, envelope, out);
    }

    /// Hands out the term and the vote to be saved, if they changed.
    pub(super) fn save_vote(&mut self, out: &mut Effects) {
        let vote = (self.term, self.vote);
        if vote != self.vote_record {
            self.vote_record = vote;
            self.vote_save =
                self.saves.push(Record::Vote { term: self.term, vote: self.vote }, out);
        }
    }

    /// Are the term and the vote durable?
    pub(super) fn vote_is_saved(&self) -> bool {
        self.vote_record == (self.term, self.vote) && self.saves.is_done(self.vote_save)
    }

    /// Appends an entry of a peer or of this leader, to memory and to the disk.
    pub(super) fn append(&mut self, entry: Entry, out: &mut Effects) {
        self.save_vote(out);
        let save = self.saves.push(Record::Entry(entry.clone()), out);
        self.log.append(entry, save);
    }

    /// Appends an entry of this leader.
    pub(super) fn append_own(&mut self, kind: EntryKind, data: Bytes, out: &mut Effects) -> Index {
        let entry = Entry { index: Index(self.log.last().0 + 1), term: self.term, kind, data };
        let (index, bytes) = (entry.index, entry_bytes(&entry));
        assert!(index.0 < INDEX_MAX, "a log does not grow this long");
        self.append(entry, out);
        let State::Leader(leader) = &mut self.state else { unreachable!("only a leader appends") };
        leader.uncommitted_bytes += bytes;
        index
    }

    fn propose(&mut self, now: Instant, token: Token, data: Bytes, out: &mut Effects) {
        let bytes = data.len() + crate::limits::ENTRY_BYTES;
        let bytes_max = self.options.uncommitted_bytes_max;
        let State::Leader(leader) = &self.state else { return out.reject.push(token) };
        if leader.transfer.is_some() || !leader.has_room(bytes, bytes_max) {
            return out.reject.push(token);
        }
        let index = self.append_own(EntryKind::Command, data, out);
        out.accept.push(Accept { token, term: self.term, index });
        self.replicate(now, out);
    }

    /// Everything up to `index` is agreed: hands it out to be applied.
    pub(super) fn commit_to(&mut self, index: Index, out: &mut Effects) {
        assert!(index >= self.commit, "a commit is not taken back: {index:?}");
        assert!(index <= self.log.last(), "cannot commit past the end: {index:?}");
        let mut bytes = 0;
        for at in self.commit.0 + 1..=index.0 {
            let entry = self.log.get(Index(at)).expect("what is not applied is in memory");
            bytes += entry_bytes(entry);
            out.apply.push(entry.clone());
        }
        self.commit = index;
        self.look_repaired();
        if let State::Leader(leader) = &mut self.state {
            leader.uncommitted_bytes -= bytes;
        }
    }

    /// Drops from memory what no member will ask for, and what is in a snapshot, but for a tail.
    fn release(&mut self) {
        let tail = self.options.tail_bytes_max;
        if self.log.bytes() <= tail {
            return;
        }
        let (mut held, saved) = (self.held, self.log.saved());
        if let State::Leader(leader) = &self.state {
            let peers = leader.peers.iter().filter(|peer| peer.leaves.is_none());
            // Who came since lacks what others had held by then.
            held = peers.map(|peer| peer.matched).min().unwrap_or(saved).min(saved);
            self.held = self.held.max(held);
        }
        self.log.trim(self.snapshot.index.max(held.min(self.applied).min(saved)), tail);
    }

    /// Something was committed: is it of a term in which nothing of ours was forgotten?
    pub(super) fn look_repaired(&mut self) {
        let term = self.log.term_at(self.commit);
        self.faulty = self.faulty.filter(|forgot| term.is_none_or(|term| term <= *forgot));
    }

    /// The leader's own state and what its verbs may look at, if this replica leads.
    pub(super) fn leading(&mut self, now: Instant) -> Option<(&mut Leader, View<'_>)> {
        let State::Leader(leader) = &mut self.state else { return None };
        let view = View {
            now,
            term: self.term,
            commit: self.commit,
            held: self.held,
            hibernates: self.hibernates,
            log: &self.log,
            snapshot: &self.snapshot,
            options: &self.options,
        };
        Some((leader, view))
    }

    /// Is this replica a quorum by itself?
    pub(super) fn is_alone(&self) -> bool {
        let node = self.options.node;
        crate::quorum::agreed(self.configs.current(), |id| u64::from(id == node)) == 1
    }

    /// Who leads in this term, if known.
    pub(super) fn leader(&self) -> Option<NodeId> {
        match &self.state {
            State::Follower { leader } => *leader,
            State::Candidate(_) => None,
            State::Leader(_) => Some(self.options.node),
        }
    }

    fn role(&self) -> Role {
        match &self.state {
            State::Leader(_) => Role::Leader,
            State::Candidate(_) => Role::Candidate,
            State::Follower { .. } => {
                let (config, node) = (self.configs.current(), self.options.node);
                let learns = config.learners.contains(&node) && !config.is_voter(node);
                if learns { Role::Learner } else { Role::Follower }
            }
        }
    }
}

/// The stored entries that continue the snapshot. If the entry at its index is another one, the
/// rest was cut off by the install of the snapshot, whether or not the disk got to do it.
fn entries_behind(snapshot: &SnapshotMeta, entries: Vec<Entry>) -> impl Iterator<Item = Entry> {
    let index = snapshot.index;
    let parted = entries.iter().any(|entry| entry.index == index && entry.term != snapshot.term);
    if parted {
        mark!("the log on the disk is older than the snapshot");
    }
    entries.into_iter().filter(move |entry| !parted && entry.index > index)
}

impl crate::replica::Replica for Replica {
    fn step(&mut self, now: Instant, event: Event, out: &mut Effects) {
        self.saves.begin_step();
        if self.hibernates && wakes(&event) {
            self.wake(now, matches!(event, Event::Recv(_)));
        }
        match event {
            Event::Tick => self.tick(now, out),
            Event::Propose { token, data } => self.propose(now, token, data, out),
            Event::Recv(envelope) => self.recv(now, envelope, out),
            Event::Saved(save) => self.saved(now, save, out),
            Event::Applied(index) => {
                assert!(index <= self.commit, "only what is committed is applied: {index:?}");
                self.applied = self.applied.max(index);
            }
            Event::Read { token } => self.read(now, token, out),
            Event::Configure { token, voters, learners } => {
                self.configure(now, token, voters, learners, out);
            }
            Event::Transfer { target } => self.transfer(now, target, out),
            Event::Wake => {}
            Event::Flush => self.flush(now, out),
            Event::Compact(meta) => self.compact(now, meta, out),
            Event::Fetched { target, snapshot, offset, data, last } => {
                let part = super::snapshot::Part { snapshot, offset, data, last };
                self.fetched(now, target, part, out);
            }
            Event::Installed { snapshot, ok } => self.installed(now, snapshot, ok, out),
        }
        self.release();
        self.save_vote(out);
    }

    fn deadline(&self) -> Instant {
        match &self.state {
            _ if self.hibernates => Instant::FAR,
            State::Leader(leader) => {
                leader.deadline(&self.options, self.is_alone(), self.log.last())
            }
            State::Candidate(_) => self.election_at,
            State::Follower { .. } if self.may_lead() => self.election_at,
            State::Follower { .. } => Instant::FAR,
        }
    }

    fn standing(&self) -> (Role, Term, Option<NodeId>) {
        (self.role(), self.term, self.leader())
    }

    fn hibernates(&self) -> bool {
        self.hibernates
    }

    fn is_handing_over(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.transfer.is_some())
    }

    fn status(&self) -> Status {
        let matched = match &self.state {
            State::Leader(leader) => {
                let members = leader.peers.iter().filter(|peer| peer.leaves.is_none());
                members.map(|peer| (peer.node, peer.matched)).collect()
            }
            _ => Vec::new(),
        };
        Status {
            role: self.role(),
            term: self.term,
            leader: self.leader(),
            commit: self.commit,
            last: self.log.last(),
            last_term: self.log.last_term(),
            first: Index(self.log.base().0 + 1),
            config: self.configs.current().clone(),
            faulty: self.faulty.is_some(),
            matched,
        }
    }

    fn check(&self) {
        self.log.check();
        assert!(self.applied <= self.commit, "only what is committed is applied");
        assert!(self.commit <= self.log.last(), "what is committed is in the log");
        assert!(self.snapshot.index <= self.commit, "a snapshot holds what is committed");
        let dropped = self.snapshot.index.max(self.applied);
        assert!(self.log.base() <= dropped, "only what is applied is dropped");
        assert!(self.configs.index() <= self.log.last(), "configurations stand in the log");
        assert!(self.log.last_term() <= self.term, "no entry is from a later term");
        let recorded = self.vote_record == (self.term, self.vote);
        let begins = self.vote_record == (Term(0), None) && self.reached > (Term(0), Index(0));
        assert!(
            recorded || begins || self.faulty.is_some(),
            "every vote is handed to the disk, in the first step of who comes back"
        );
        if self.hibernates {
            assert_eq!(self.commit, self.log.last(), "a group hibernates when all is agreed");
        }
        match &self.state {
            State::Follower { .. } => {}
            State::Candidate(candidate) => {
                assert!(!self.hibernates, "who hibernates does not stand for election");
                assert!(candidate.pre || self.vote == Some(self.options.node), "it stands itself");
            }
            State::Leader(leader) => {
                assert_eq!(self.vote, Some(self.options.node), "a leader voted for itself");
                assert!(self.saves.is_done(self.vote_save), "a leader's vote is durable");
                assert!(self.faulty.is_none(), "a faulty replica does not lead");
                assert!(self.incoming.is_none(), "a leader has all there is to have");
                leader.check(&self.log);
                let bytes = self.log.bytes_behind(self.commit);
                assert_eq!(leader.uncommitted_bytes, bytes, "uncommitted bytes are counted right");
            }
        }
    }
}

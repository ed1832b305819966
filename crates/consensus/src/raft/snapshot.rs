//! Snapshots: dropping the log before them, and sending them to followers that lag too far.
//!
//! ```text
//!   leader                                         follower
//!   Effects::fetch ─▶ Event::Fetched ─▶ Snapshot ─▶ Effects::install ┐
//!        ▲                                                            │ each chunk
//!        └────────────── offset ◀── SnapshotReply ◀───────────────────┘
//!        probe again ◀── done  ◀─── SnapshotReply ◀── Event::Installed
//! ```
//!
//! One chunk is under way to a peer; it is large, so that waiting for its answer costs little. A
//! chunk that is lost is asked for again after an election timeout, as long as the peer is heard.
//!
//! A follower with all chunks has two states in its hands. Until `Event::Installed` it appends
//! nothing and applies nothing, so that nothing is lost when the new state takes the place of the
//! old one; the configuration of the group is replaced with it.
//!
//! Raft paper §7.

use bytes::Bytes;
use stdx::{Instant, mark, planted};

use super::leader::{Leader, View, begin_snapshot};
use super::progress::{Flow, Sending, Stage};
use super::replica::{Needs, Replica};
use crate::config::Configs;
use crate::limits::{INDEX_MAX, MEMBERS_MAX};
use crate::replica::{Chunk, Effects, Fetch, Index, Message, NodeId, SnapshotMeta, Term};

/// A snapshot that is arriving.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    meta: SnapshotMeta,
    /// Its sender, and the sender's term: another leader's snapshot of the same state may be other
    /// bytes.
    origin: (NodeId, Term),
    /// Everything before this is here.
    offset: u64,
    /// The last chunk is here too; it is being installed.
    pub(super) complete: bool,
    /// The round of the newest chunk, returned when it is installed.
    sequence: u64,
}

/// The content of `Event::Fetched`.
pub(super) struct Part {
    pub(super) snapshot: Index,
    pub(super) offset: u64,
    pub(super) data: Bytes,
    pub(super) last: bool,
}

/// The content of a `SnapshotReply`.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) snapshot: Index,
    pub(super) offset: u64,
    pub(super) done: bool,
    pub(super) refused: bool,
}

impl Leader {
    /// Asks for parts again whose answer is overdue.
    pub(super) fn resend_snapshots(&mut self, view: &View<'_>, out: &mut Effects) {
        let timeout = view.options.election_timeout;
        let round = self.stamp(view);
        for peer in &mut self.peers {
            let Flow::Snapshot(sending) = &mut peer.flow else { continue };
            if view.now < sending.deadline {
                continue;
            }
            sending.deadline = view.now + timeout;
            // Nobody there: no use in sending megabytes.
            if peer.heard.is_none_or(|heard| view.now >= heard + timeout) {
                continue;
            }
            match sending.stage {
                Stage::Wanted => begin_snapshot(peer, view, out),
                Stage::Fetch => {}
                Stage::Sent { .. } => sending.fetch(peer.node, view, out),
                Stage::Install => {
                    let (meta, offset) = (sending.meta.clone(), sending.offset);
                    let (data, last, sequence) = (Bytes::new(), true, round);
                    let message = Message::Snapshot { meta, offset, data, last, sequence };
                    view.send(peer.node, message, out);
                }
                Stage::Refused => peer.probe(),
            }
        }
    }
}

impl Sending {
    /// Asks the world for the chunk at `offset`.
    fn fetch(&mut self, target: NodeId, view: &View<'_>, out: &mut Effects) {
        self.stage = Stage::Fetch;
        self.deadline = Instant::FAR;
        out.fetch.push(Fetch {
            target,
            snapshot: self.meta.index,
            offset: self.offset,
            bytes_max: view.options.chunk_bytes_max,
        });
    }
}

impl Replica {
    /// A snapshot of our own state is durable: the log before it may go.
    pub(super) fn compact(&mut self, now: Instant, meta: SnapshotMeta, out: &mut Effects) {
        if meta.index <= self.snapshot.index {
            return;
        }
        assert!(meta.index <= self.commit, "a snapshot holds what is committed: {meta:?}");
        let term = self.log.term_at(meta.index);
        assert!(term.is_none_or(|term| term == meta.term), "a snapshot of this log: {meta:?}");
        assert_eq!(self.configs.at(meta.index), Some(&meta.config), "and of its members");
        self.configs.compact(meta.index);
        self.snapshot = meta;
        let Some((leader, view)) = self.leading(now) else { return };
        for peer in &mut leader.peers {
            if matches!(&peer.flow, Flow::Snapshot(sending) if sending.stage == Stage::Wanted) {
                begin_snapshot(peer, &view, out);
            }
        }
    }

    /// The world read a part of a snapshot for a peer.
    pub(super) fn fetched(&mut self, now: Instant, target: NodeId, part: Part, out: &mut Effects) {
        let Some((leader, view)) = self.leading(now) else { return };
        let sequence = leader.stamp(&view);
        let Some(peer) = leader.peer_mut(target) else { return };
        let Flow::Snapshot(sending) = &mut peer.flow else { return };
        let asked = sending.stage == Stage::Fetch
            && sending.meta.index == part.snapshot
            && sending.offset == part.offset;
        if !asked {
            return;
        }
        if part.data.is_empty() && !part.last {
            // A newer one took its place.
            mark!("a snapshot is gone while it is being sent");
            peer.probe();
            return leader.replicate_to(target, &view, out);
        }
        let end = part.offset + part.data.len() as u64;
        sending.stage = Stage::Sent { end, last: part.last };
        sending.deadline = now + view.options.election_timeout;
        let meta = sending.meta.clone();
        let (offset, data, last) = (part.offset, part.data, part.last);
        view.send(target, Message::Snapshot { meta, offset, data, last, sequence }, out);
    }

    /// A follower tells how much of a snapshot it has.
    pub(super) fn chunk_answered(
        &mut self,
        now: Instant,
        source: NodeId,
        sequence: u64,
        answer: Answer,
        out: &mut Effects,
    ) {
        let Some((leader, view)) = self.leading(now) else { return };
        if !leader.heard(source, sequence, now) {
            return;
        }
        let peer = leader.peer_mut(source).expect("it was heard");
        if answer.done && answer.snapshot <= view.snapshot.index {
            peer.accept(answer.snapshot, view.log.base());
            if matches!(&peer.flow, Flow::Snapshot(s) if s.meta.index <= answer.snapshot) {
                // A newer snapshot is needed: the log no longer reaches back to this one.
                peer.probe();
            }
        } else if let Flow::Snapshot(sending) = &mut peer.flow
            && sending.meta.index == answer.snapshot
        {
            sending.answered(source, answer, &view, out);
        }
        self.confirm(now, out);
        self.advance(now, out);
        if let Some((leader, view)) = self.leading(now) {
            leader.replicate_to(source, &view, out);
            leader.hand_over(&view, out);
        }
    }
}

impl Sending {
    fn answered(&mut self, source: NodeId, answer: Answer, view: &View<'_>, out: &mut Effects) {
        let deadline = view.now + view.options.election_timeout;
        if answer.refused {
            mark!("a snapshot is refused by the follower");
            self.stage = Stage::Refused;
            self.deadline = deadline;
            return;
        }
        match self.stage {
            Stage::Sent { end, last: true } if answer.offset == end => {
                self.offset = end;
                self.stage = Stage::Install;
                self.deadline = deadline;
            }
            // What the peer has counts, not what we sent: it may have begun anew.
            Stage::Sent { .. } | Stage::Install if answer.offset != self.offset => {
                self.offset = answer.offset;
                self.fetch(source, view, out);
            }
            _ => {}
        }
    }
}

impl Replica {
    /// A part of a snapshot from the leader.
    pub(super) fn chunk_asked(
        &mut self,
        now: Instant,
        source: NodeId,
        sequence: u64,
        chunk: Chunk,
        out: &mut Effects,
    ) {
        if !is_sound(&chunk.meta) || chunk.meta.term > self.term || !self.follow(now, source) {
            return;
        }
        let snapshot = chunk.meta.index;
        if self.is_installing() {
            // Another one must wait until this one is in place.
            let Some(offset) = self.incoming_offset(source, &chunk.meta, sequence) else { return };
            let (done, refused) = (false, false);
            let message = Message::SnapshotReply { snapshot, offset, done, refused, sequence };
            return self.send(source, message, Needs::Vote, out);
        }
        if snapshot > self.commit && self.log.term_at(snapshot) == Some(chunk.meta.term) {
            // Our log holds all of it: it is committed, and needs no other state.
            mark!("a snapshot tells a commit that the log holds");
            self.commit_to(snapshot, out);
        }
        if snapshot <= self.commit && !planted!("old-snapshot-installed") {
            self.incoming = None;
            let message = Message::SnapshotReply {
                snapshot,
                offset: 0,
                done: true,
                refused: false,
                sequence,
            };
            return self.send(source, message, Needs::Log, out);
        }
        let offset = self.keep_chunk(source, sequence, chunk, out);
        let message =
            Message::SnapshotReply { snapshot, offset, done: false, refused: false, sequence };
        self.send(source, message, Needs::Vote, out);
    }

    /// How much of this snapshot is here, if it is the one that is arriving.
    fn incoming_offset(
        &mut self,
        source: NodeId,
        meta: &SnapshotMeta,
        sequence: u64,
    ) -> Option<u64> {
        let origin = (source, self.term);
        let incoming = self.incoming.as_mut()?;
        if incoming.meta != *meta || incoming.origin != origin {
            return None;
        }
        incoming.sequence = incoming.sequence.max(sequence);
        Some(incoming.offset)
    }

    /// Keeps a chunk if it is the next one; returns how much of the snapshot is here then.
    fn keep_chunk(
        &mut self,
        source: NodeId,
        sequence: u64,
        chunk: Chunk,
        out: &mut Effects,
    ) -> u64 {
        if self.incoming_offset(source, &chunk.meta, sequence).is_none() {
            let (meta, origin) = (chunk.meta.clone(), (source, self.term));
            self.incoming = Some(Incoming { meta, origin, offset: 0, complete: false, sequence });
        }
        let incoming = self.incoming.as_mut().expect("it was just begun");
        let end = chunk.offset.saturating_add(chunk.data.len() as u64);
        let progress = !chunk.data.is_empty() || chunk.last;
        if incoming.offset == chunk.offset && progress && end < u64::MAX {
            incoming.offset = end;
            incoming.complete = chunk.last;
            out.install.push(chunk);
        }
        incoming.offset
    }

    /// The world has installed the snapshot, or refused it.
    pub(super) fn installed(&mut self, now: Instant, snapshot: Index, ok: bool, out: &mut Effects) {
        if !self.is_installing() {
            return;
        }
        let Some(incoming) = self.incoming.take_if(|i| i.meta.index == snapshot) else { return };
        let Incoming { meta, origin, offset, sequence, .. } = incoming;
        if ok {
            assert!(meta.index > self.commit, "a snapshot does not go back: {meta:?}");
            self.log.reset(meta.index, meta.term);
            if !planted!("members-survive-a-snapshot") {
                self.configs = Configs::new(meta.index, meta.config.clone());
            }
            self.commit = meta.index;
            self.applied = meta.index;
            self.snapshot = meta;
            self.look_repaired();
        }
        self.reset_election(now);
        // Another leader did not ask, and its rounds are other ones: it will find out by itself.
        if let Some(leader) = self.leader().filter(|leader| (*leader, self.term) == origin) {
            let message = Message::SnapshotReply {
                snapshot,
                offset: if ok { 0 } else { offset },
                done: ok,
                refused: !ok,
                sequence,
            };
            self.send(leader, message, Needs::Vote, out);
        }
    }
}

/// Could a leader have made a snapshot like this?
fn is_sound(meta: &SnapshotMeta) -> bool {
    let config = &meta.config;
    let members = config.voters.len() + config.learners.len();
    (1..INDEX_MAX).contains(&meta.index.0) && !config.voters.is_empty() && members <= MEMBERS_MAX
}

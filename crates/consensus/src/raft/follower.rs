//! A follower: copying the leader's log.
//!
//! An append names the entry before its own; if ours is the same there, the logs are equal up to
//! it (log matching), and what follows is taken over. Else the answer says where they may still be
//! equal, so that the leader need not try one entry after the other.
//!
//! Entries up to the commit index are never looked at again, let alone replaced.
//! Raft paper §5.3.

use stdx::{Instant, mark, planted};

use super::replica::{Needs, Replica, State};
use crate::limits::INDEX_MAX;
use crate::replica::{Config, Conflict, Effects, Entry, EntryKind, Index, Message, NodeId, Term};

/// The content of an append.
pub(super) struct Append {
    pub(super) previous: (Index, Term),
    pub(super) commit: Index,
    pub(super) held: Index,
    pub(super) sequence: u64,
    pub(super) entries: Vec<Entry>,
}

impl Append {
    /// Do the entries follow each other, in terms that a leader of `term` can have, and can their
    /// configurations be read? A peer that is confused must not confuse us.
    fn is_sound(&self, term: Term) -> bool {
        let (mut index, mut before) = self.previous;
        index.0 < INDEX_MAX
            && before <= term
            && self.entries.iter().all(|entry| {
                let follows = entry.index.0 == index.0 + 1 && (before..=term).contains(&entry.term);
                (index, before) = (entry.index, entry.term);
                follows && (entry.kind != EntryKind::Config || Config::decode(&entry.data).is_ok())
            })
    }

    /// The index of the last entry, or of the one before if there is none.
    fn last(&self) -> Index {
        self.entries.last().map_or(self.previous.0, |entry| entry.index)
    }
}

impl Replica {
    /// A message of this term's leader: follows it. False if someone else leads in this term.
    pub(super) fn follow(&mut self, now: Instant, source: NodeId) -> bool {
        match &self.state {
            State::Leader(_) => return false,
            State::Follower { leader: Some(leader) } if *leader != source => return false,
            _ => self.state = State::Follower { leader: Some(source) },
        }
        self.heard = Some(now);
        self.reset_election(now);
        true
    }

    /// The leader is there, and tells what is committed.
    pub(super) fn heartbeat_asked(
        &mut self,
        now: Instant,
        source: NodeId,
        commit: Index,
        sequence: u64,
        out: &mut Effects,
    ) {
        if !self.follow(now, source) {
            return;
        }
        // The leader sends what it knows us to have; the bound is for one that is confused.
        self.learn_commit(commit.min(self.log.last()), out);
        self.send(source, Message::HeartbeatReply { sequence }, Needs::Vote, out);
    }

    fn learn_commit(&mut self, commit: Index, out: &mut Effects) {
        if commit > self.commit && !self.is_installing() {
            self.commit_to(commit, out);
        }
    }

    /// Is a snapshot about to replace our state?
    pub(super) fn is_installing(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.complete)
    }

    /// Entries of the leader's log.
    pub(super) fn append_asked(
        &mut self,
        now: Instant,
        source: NodeId,
        mut append: Append,
        out: &mut Effects,
    ) {
        if !append.is_sound(self.term) || !self.follow(now, source) {
            return;
        }
        self.held = self.held.max(append.held);
        let sequence = append.sequence;
        if self.is_installing() {
            // The snapshot is ahead of our log: these entries must wait, and come again.
            mark!("entries come while a snapshot is being installed");
            return;
        }
        let last = append.last();
        if append.previous.0 < self.commit {
            if last <= self.commit {
                let result = Ok(self.commit);
                let message = Message::AppendReply { sequence, result };
                return self.send(source, message, Needs::Log, out);
            }
            let known = (self.commit.0 - append.previous.0.0) as usize;
            let before = &append.entries[known - 1];
            append.previous = (before.index, before.term);
            append.entries.drain(..known);
        }
        let (previous, term) = append.previous;
        let follows = self.log.term_at(previous) == Some(term)
            || (previous <= self.log.last() && planted!("append-without-a-match"));
        if !follows {
            let result = Err(self.conflict(previous, term));
            return self.send(source, Message::AppendReply { sequence, result }, Needs::Vote, out);
        }
        self.take_over(append.entries, out);
        self.learn_commit(append.commit.min(last), out);
        self.send(source, Message::AppendReply { sequence, result: Ok(last) }, Needs::Log, out);
    }

    /// Our log is another one at `rejected`: where may it still be the leader's?
    fn conflict(&self, rejected: Index, term: Term) -> Conflict {
        let hint_index = self.log.find_term(rejected, term).max(self.commit);
        let hint_term = self.log.term_at(hint_index).unwrap_or_default();
        Conflict { rejected, hint_index, hint_term }
    }

    /// Appends the entries that are not here yet, in the place of any others.
    fn take_over(&mut self, entries: Vec<Entry>, out: &mut Effects) {
        for entry in entries {
            let here = self.log.term_at(entry.index);
            let kept = here.is_some() && planted!("tail-survives-its-leader");
            if here == Some(entry.term) || kept {
                continue;
            }
            if here.is_some() {
                assert!(entry.index > self.commit, "what is committed is never cut off: {entry:?}");
                self.log.truncate(entry.index);
                if self.configs.index() >= entry.index {
                    mark!("a configuration is taken back");
                }
                self.configs.truncate(entry.index);
            }
            if entry.kind == EntryKind::Config {
                let config = Config::decode(&entry.data).expect("it was looked at before");
                self.configs.push(entry.index, config);
            }
            self.append(entry, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use stdx::Instant;

    use super::super::Replica;
    use crate::replica::{
        Config, Effects, Entry, EntryKind, Envelope, Event, Index, Message, NodeId, Options,
        Record, Replica as _, SnapshotMeta, Stored, Term,
    };

    fn entry(index: u64, term: u64) -> Entry {
        let (index, term) = (Index(index), Term(term));
        Entry { index, term, kind: EntryKind::Command, data: Bytes::new() }
    }

    /// What the leader of a term sends: node 2, to node 1.
    fn append(term: u64, previous: (u64, u64), entries: Vec<Entry>, commit: u64) -> Event {
        let message = Message::Append {
            previous_index: Index(previous.0),
            previous_term: Term(previous.1),
            commit: Index(commit),
            held: Index(0),
            sequence: 1,
            entries,
        };
        Event::Recv(Envelope { source: NodeId(2), target: NodeId(1), term: Term(term), message })
    }

    /// A follower with a log of these terms, and what it does with an append of term 2.
    fn appended(terms: &[u64], previous: (u64, u64), entries: Vec<Entry>, commit: u64) -> Vec<u64> {
        let snapshot =
            SnapshotMeta { config: Config::of([1, 2, 3].map(NodeId)), ..SnapshotMeta::default() };
        let log = (1..).zip(terms).map(|(index, term)| entry(index, *term)).collect();
        let stored = Stored { term: Term(2), snapshot, entries: log, ..Stored::default() };
        let options = Options::new(NodeId(1), 0);
        let mut replica = Replica::new(options, stored, Instant(0)).expect("the log is sound");
        let mut out = Effects::default();
        replica.step(Instant(1), append(2, previous, entries, commit), &mut out);
        replica.check();
        out.apply.iter().map(|entry| entry.index.0).collect()
    }

    #[test]
    fn a_commit_is_learned_only_as_far_as_the_logs_are_known_to_agree() {
        // Entry 3 here may be another one than the leader's, whose commit index is 3 or more.
        assert_eq!(appended(&[1, 1, 1], (1, 1), vec![entry(2, 1)], 3), [1, 2]);
        assert_eq!(appended(&[1, 1, 1], (2, 1), vec![], 5), [1, 2]);
        assert_eq!(appended(&[1, 1, 1], (2, 1), vec![entry(3, 2)], 5), [1, 2, 3]);
        assert_eq!(appended(&[1, 1, 1], (3, 2), vec![], 3), []);
    }

    /// It left in a term of its own, as one that had lost something, and its disk knew an older one
    /// (seed 3103336: a node whose log was ahead of its term, which did not start any more).
    #[test]
    fn who_comes_back_has_its_term_on_the_disk_before_any_entry() {
        let stored = Stored {
            term: Term(7),
            vote: Some(NodeId(1)),
            reached: (Term(7), Index(u64::MAX)),
            ..Stored::default()
        };
        let mut replica = Replica::new(Options::new(NodeId(1), 0), stored, Instant(0)).unwrap();
        let mut out = Effects::default();
        replica.step(Instant(1), append(7, (0, 0), vec![entry(1, 7)], 0), &mut out);
        let vote = Record::Vote { term: Term(7), vote: Some(NodeId(1)) };
        assert_eq!(out.save, [vote, Record::Entry(entry(1, 7))]);
        replica.check();
    }

    /// It applied what others had committed while its disk had no room for the term that it was heard of in,
    /// and made a snapshot of it.
    #[test]
    fn a_term_that_only_the_snapshot_knows_is_saved_before_anything_is_said_in_it() {
        let config = Config::of([1, 2, 3].map(NodeId));
        let snapshot = SnapshotMeta { index: Index(3), term: Term(2), config };
        let (term, vote) = (Term(1), Some(NodeId(3)));
        let stored = Stored { term, vote, snapshot, ..Stored::default() };
        let mut replica = Replica::new(Options::new(NodeId(1), 0), stored, Instant(0)).unwrap();
        assert_eq!(replica.status().term, Term(2));
        let mut out = Effects::default();
        replica.step(Instant(1), append(2, (3, 2), vec![entry(4, 2)], 3), &mut out);
        let vote = Record::Vote { term: Term(2), vote: None };
        assert_eq!(out.save, [vote, Record::Entry(entry(4, 2))]);
        assert!(out.send.is_empty(), "{:?}", out.send);
        replica.check();
    }

    #[test]
    fn a_log_that_an_install_has_voided_is_left_out_at_the_start() {
        stdx::marks::take();
        let config = Config::of([1, 2, 3].map(NodeId));
        let snapshot = SnapshotMeta { index: Index(3), term: Term(2), config };
        let entries = (1..=5).map(|index| entry(index, 1)).collect();
        let stored = Stored { term: Term(2), snapshot, entries, ..Stored::default() };
        let options = Options::new(NodeId(1), 0);
        let replica = Replica::new(options, stored, Instant(0)).expect("the snapshot is sound");
        assert_eq!(replica.status().last, Index(3));
        assert!(stdx::marks::take().contains_key("the log on the disk is older than the snapshot"));
    }

    #[test]
    fn an_append_that_makes_no_sense_is_ignored() {
        assert_eq!(appended(&[1], (1, 1), vec![entry(3, 2)], 3), [], "a gap");
        assert_eq!(appended(&[1], (1, 1), vec![entry(2, 3)], 2), [], "a term to come");
        assert_eq!(appended(&[1], (1, 2), vec![entry(2, 1)], 2), [], "a term that falls");
    }
}

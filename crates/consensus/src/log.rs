//! The log in memory: its newest part, and how much of it is durable.
//!
//! ```text
//!   base │ first ............ saved │ ....... last
//!        │  entries in memory                     (commit is the protocol's, not the log's)
//!  gone: │         durable          │ on its way to the disk
//! ```
//!
//! What is applied stays for members that lag: all that one of them lacks, up to what a snapshot holds, and
//! a tail beside. Data is shared ([`bytes::Bytes`]), so that an entry costs the same whether it
//! goes to the disk, to peers or to the state machine.
//!
//! Always: indexes have no gap, terms do not fall. Not here: the disk itself, and who may append.

use std::collections::VecDeque;

use crate::limits::ENTRY_BYTES;
use crate::replica::{Entry, Index, Term};

/// What one entry counts for in limits of bytes.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    entry.data.len() + ENTRY_BYTES
}

/// A save that has been asked for: up to `last` all is durable once it is done.
#[derive(Clone, Copy, Debug)]
struct Mark {
    save: u64,
    last: Index,
}

/// The newest part of a log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The place before the first entry, and its term.
    base: (Index, Term),
    entries: VecDeque<Entry>,
    /// The sum of `entry_bytes`.
    bytes: usize,
    saved: Index,
    /// Saves under way, oldest first.
    marks: VecDeque<Mark>,
}

impl Log {
    /// An empty log behind `index`.
    pub(crate) fn new(index: Index, term: Term) -> Log {
        Log {
            base: (index, term),
            entries: VecDeque::new(),
            bytes: 0,
            saved: index,
            marks: VecDeque::new(),
        }
    }

    /// An entry that the disk already holds.
    pub(crate) fn restore(&mut self, entry: Entry) {
        self.push(entry);
        self.saved = self.last();
    }

    /// The place before the first entry in memory.
    pub(crate) fn base(&self) -> Index {
        self.base.0
    }

    /// The sum of all that is in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The index of the last entry.
    pub(crate) fn last(&self) -> Index {
        Index(self.base.0.0 + self.entries.len() as u64)
    }

    /// The term of the last entry.
    pub(crate) fn last_term(&self) -> Term {
        self.entries.back().map_or(self.base.1, |entry| entry.term)
    }

    /// All up to here is durable.
    pub(crate) fn saved(&self) -> Index {
        self.saved
    }

    /// The term at `index`, if that is known here: from the base to the last entry.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// The entry at `index`, if it is in memory.
    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.0.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The largest index from the base up to `index` whose term is `term` at most: where a log
    /// that has `term` at `index` may still agree with this one.
    pub(crate) fn find_term(&self, index: Index, term: Term) -> Index {
        let mut at = index.min(self.last());
        while at > self.base.0 && self.term_at(at).is_some_and(|here| here > term) {
            at.0 -= 1;
        }
        at
    }

    /// Copies entries from `from` on, as many as fit `bytes_max`, but at least one.
    pub(crate) fn slice(&self, from: Index, bytes_max: usize) -> Vec<Entry> {
        assert!(from > self.base.0, "{from:?} is no longer in the log");
        let start = (from.0 - self.base.0.0 - 1) as usize;
        let mut bytes = 0;
        let count = self
            .entries
            .range(start.min(self.entries.len())..)
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += entry_bytes(entry);
                first || bytes <= bytes_max
            })
            .count();
        self.entries.range(start.min(self.entries.len())..).take(count).cloned().collect()
    }

    /// The bytes of all entries behind `index`.
    pub(crate) fn bytes_behind(&self, index: Index) -> usize {
        let skip = index.0.saturating_sub(self.base.0.0) as usize;
        self.entries.iter().skip(skip).map(entry_bytes).sum()
    }

    /// Appends an entry that the save `save` makes durable.
    pub(crate) fn append(&mut self, entry: Entry, save: u64) {
        self.push(entry);
        let last = self.last();
        match self.marks.back_mut() {
            Some(mark) if mark.save == save => mark.last = last,
            mark => {
                assert!(mark.is_none_or(|mark| mark.save < save), "saves are numbered upwards");
                self.marks.push_back(Mark { save, last });
            }
        }
    }

    /// Cuts off the entry at `from` and all behind it. What was on its way to the disk there no
    /// longer counts as durable when it arrives.
    pub(crate) fn truncate(&mut self, from: Index) {
        assert!(from > self.base.0, "cannot cut before the first entry: {from:?}");
        while self.last() >= from {
            let entry = self.entries.pop_back().expect("the last entry is in memory");
            self.bytes -= entry_bytes(&entry);
        }
        let end = self.last();
        self.saved = self.saved.min(end);
        for mark in &mut self.marks {
            mark.last = mark.last.min(end);
        }
    }

    /// All saves up to and with `save` are done.
    pub(crate) fn mark_saved(&mut self, save: u64) {
        while self.marks.front().is_some_and(|mark| mark.save <= save) {
            let mark = self.marks.pop_front().expect("it was looked at");
            self.saved = self.saved.max(mark.last);
        }
        assert!(self.saved <= self.last(), "nothing behind the last entry is durable");
    }

    /// Drops entries from the front, none behind `to`, until all that is left fits `bytes_max`.
    pub(crate) fn trim(&mut self, to: Index, bytes_max: usize) {
        while self.bytes > bytes_max && self.base.0 < to {
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= entry_bytes(&entry);
            self.base = (entry.index, entry.term);
        }
        // What a durable snapshot covers is durable, whatever the log on the disk says. (All else that may
        // go is durable there.)
        self.saved = self.saved.max(to.min(self.last()));
    }

    /// Forgets everything: a snapshot took the place of the log.
    pub(crate) fn reset(&mut self, index: Index, term: Term) {
        *self = Log::new(index, term);
    }

    /// Asserts what always holds and `push` does not see: at the ends, for it is asked at every step.
    pub(crate) fn check(&self) {
        assert!(self.saved >= self.base.0, "what left the memory is durable");
        assert!(self.saved <= self.last(), "nothing behind the last entry is durable");
        let Some(first) = self.entries.front() else {
            assert_eq!(self.bytes, 0, "the bytes of the log are counted right");
            return;
        };
        assert_eq!(first.index.0, self.base.0.0 + 1, "the log begins behind its base");
        assert!(first.term >= self.base.1, "terms do not fall: {first:?}");
        assert_eq!(self.entries.back().map(|entry| entry.index), Some(self.last()), "no gap");
    }

    fn push(&mut self, entry: Entry) {
        assert_eq!(entry.index.0, self.last().0 + 1, "entries are appended without a gap");
        assert!(entry.term >= self.last_term(), "terms do not fall: {entry:?}");
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(entry);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Log, entry_bytes};
    use crate::limits::ENTRY_BYTES;
    use crate::replica::{Entry, EntryKind, Index, Term};

    fn entry(index: u64, term: u64) -> Entry {
        let data = Bytes::from_static(b"0123456789");
        Entry { index: Index(index), term: Term(term), kind: EntryKind::Command, data }
    }

    /// A log of `terms`, each appended by a save of its own.
    fn log(terms: &[u64]) -> Log {
        let mut log = Log::new(Index(0), Term(0));
        for (at, term) in (1..).zip(terms) {
            log.append(entry(at, *term), at);
        }
        check(&log);
        log
    }

    /// The invariants of the ends, and those of all that lies between them.
    fn check(log: &Log) {
        log.check();
        let each = || log.entries.iter().map(|entry| (entry.index, entry.term));
        let before = [log.base].into_iter().chain(each());
        for ((index, term), (next, later)) in before.zip(each()) {
            assert!(next.0 == index.0 + 1 && later >= term, "{next:?} of {later:?}");
        }
        assert_eq!(log.bytes, log.entries.iter().map(entry_bytes).sum::<usize>());
    }

    #[test]
    fn an_entry_is_durable_when_its_save_is_done() {
        let mut log = log(&[1, 1, 2]);
        assert_eq!(log.saved(), Index(0));
        log.mark_saved(2);
        assert_eq!(log.saved(), Index(2));
        log.mark_saved(3);
        assert_eq!(log.saved(), Index(3));
    }

    #[test]
    fn a_save_of_entries_that_were_cut_off_makes_their_successors_not_durable() {
        let mut log = log(&[1, 1, 1]);
        log.truncate(Index(2));
        log.append(entry(2, 2), 4);
        log.mark_saved(3);
        assert_eq!(log.saved(), Index(1), "the disk holds another entry at 2");
        log.mark_saved(4);
        assert_eq!(log.saved(), Index(2));
        check(&log);
    }

    #[test]
    fn a_cut_takes_durability_back() {
        let mut log = log(&[1, 1, 1]);
        log.mark_saved(3);
        log.truncate(Index(3));
        assert_eq!((log.saved(), log.last()), (Index(2), Index(2)));
    }

    #[test]
    fn a_slice_holds_what_fits_but_at_least_one() {
        let log = log(&[1, 1, 1, 1]);
        let one = ENTRY_BYTES + 10;
        for (from, bytes, expect) in [(1, 0, 1), (1, 2 * one, 2), (3, 9 * one, 2), (5, one, 0)] {
            assert_eq!(log.slice(Index(from), bytes).len(), expect, "from {from}");
        }
    }

    #[test]
    fn trimming_keeps_a_tail_and_whatever_must_not_go() {
        let one = ENTRY_BYTES + 10;
        let mut log = log(&[1, 1, 2, 2]);
        log.trim(Index(3), 2 * one);
        assert_eq!((log.base(), log.term_at(Index(2))), (Index(2), Some(Term(1))));
        log.trim(Index(3), 0);
        assert_eq!((log.base(), log.last()), (Index(3), Index(4)));
        assert_eq!(log.saved(), Index(3), "a snapshot of it is durable");
        check(&log);
    }

    #[test]
    fn a_term_is_searched_backwards_as_far_as_the_base() {
        let mut log = log(&[1, 1, 3, 3, 5]);
        for (index, term, expect) in [(5, 5, 5), (5, 4, 4), (4, 2, 2), (9, 3, 4), (4, 0, 0)] {
            assert_eq!(log.find_term(Index(index), Term(term)), Index(expect), "{index}@{term}");
        }
        log.trim(Index(3), 0);
        assert_eq!(log.find_term(Index(4), Term(2)), Index(3), "the base is the end");
    }
}

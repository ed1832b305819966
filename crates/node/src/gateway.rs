//! The gateway: requests of this node's clients, on their way to a leader elsewhere.
//!
//! A request is sent to whoever leads, with the term in which that is believed. It is done when the
//! leader's answer comes, or when this node applies its operation itself, whichever is first.
//!
//! **Never twice.** A leader appends entries of its own term only, and the terms in a log never go
//! back. So once this node has applied an entry of a later term, a request that was sent in an
//! earlier one either was applied before it or never will be: only then is it sent again. Within a
//! term it is sent again after a broken connection; the leader drops what it has taken already,
//! since numbers grow.
//!
//! **If the replica leaps** over a part of the log with a snapshot, it does not learn what became of
//! what was sent before: all that waits here becomes the guest's (`guest`), which asks.
//!
//! What always holds: numbers are sent in ascending order within a term.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use consensus::{Index, Term};
use stdx::{Instant, planted};

use crate::message::{Forwarded, Kind};
use crate::request::Ticket;

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) ticket: Ticket,
    pub(crate) kind: Kind,
    pub(crate) after: bool,
    /// The encoded operation, with this node's origin.
    pub(crate) op: Vec<u8>,
    /// The last term in which it was sent, and how far the log was applied here by then.
    pub(crate) sent: Option<(Term, Index)>,
    pub(crate) born: Instant,
}

impl Pending {
    /// One that was not sent yet.
    pub(crate) fn new(
        ticket: Ticket,
        kind: Kind,
        after: bool,
        op: Vec<u8>,
        born: Instant,
    ) -> Pending {
        Pending { ticket, kind, after, op, sent: None, born }
    }
}

/// Does a refusal come from another term than that in which a request was sent last? It may be taken
/// there.
pub(crate) fn is_late(refused: Option<Term>, sent: Option<Term>) -> bool {
    let late = refused.is_some_and(|term| sent.is_some_and(|sent| sent != term));
    late && !planted!("late-refusal-is-believed")
}

/// All of them, by number.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    pending: BTreeMap<u64, Pending>,
    unsent: BTreeSet<u64>,
    bytes: usize,
    /// Writes that the leader has answered and this replica has not applied, each with its client:
    /// those behind something that waits.
    passed: VecDeque<(u64, u64)>,
}

/// All that a gateway had when its replica leapt.
#[derive(Debug, Default)]
pub(crate) struct Leapt {
    pub(crate) pending: BTreeMap<u64, Pending>,
    /// Those that are to be sent, or sent again.
    pub(crate) unsent: BTreeSet<u64>,
    /// Writes that are answered, and may be behind reads that are not: each with its client.
    pub(crate) passed: VecDeque<(u64, u64)>,
}

impl Gateway {
    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Does none wait?
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Bytes of the operations that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a request that was not sent yet, or must be sent again.
    pub(crate) fn put(&mut self, number: u64, pending: Pending) {
        assert!(pending.sent.is_none(), "a new request was not sent yet");
        self.keep(number, pending);
        self.unsent.insert(number);
    }

    /// Adds a request that is not to be sent, as things are.
    pub(crate) fn keep(&mut self, number: u64, pending: Pending) {
        self.bytes += pending.op.len();
        let twin = self.pending.insert(number, pending);
        assert!(twin.is_none(), "the number {number} is used twice");
    }

    /// Is this request not done?
    pub(crate) fn is_pending(&self, number: u64) -> bool {
        self.pending.contains_key(&number)
    }

    /// Who waits for this request, if it is not done.
    pub(crate) fn ticket(&self, number: u64) -> Option<Ticket> {
        self.pending.get(&number).map(|pending| pending.ticket)
    }

    /// A request that was kept is to be sent after all. False if it is done.
    pub(crate) fn send(&mut self, number: u64) -> bool {
        let waits = self.is_pending(number);
        if waits {
            self.unsent.insert(number);
        }
        waits
    }

    /// Takes a request out: it is done.
    pub(crate) fn take(&mut self, number: u64) -> Option<Pending> {
        let mut number = number;
        if planted!("reply-to-wrong-request")
            && let Some((first, _)) = self.pending.first_key_value()
        {
            number = *first;
        }
        let pending = self.pending.remove(&number)?;
        self.unsent.remove(&number);
        self.bytes -= pending.op.len();
        Some(pending)
    }

    /// As `take`, by the leader's word: this replica may have applied less.
    pub(crate) fn pass(&mut self, number: u64) -> Option<Pending> {
        let pending = self.take(number)?;
        let is_behind = self.pending.first_key_value().is_some_and(|(first, _)| *first < number);
        if let (Kind::Write, true, Some(client)) =
            (pending.kind, is_behind, pending.ticket.client())
        {
            self.passed.push_back((number, client));
        }
        Some(pending)
    }

    /// A write of this number was applied here, and so all that were sent before it.
    pub(crate) fn note_applied(&mut self, number: u64) {
        while self.passed.front().is_some_and(|(passed, _)| *passed <= number) {
            self.passed.pop_front();
        }
    }

    /// An entry of `term` was applied: whatever was sent in an earlier term will never be.
    pub(crate) fn resolve(&mut self, term: Term) {
        for (number, pending) in &mut self.pending {
            if pending.sent.is_some_and(|(sent, _)| sent < term) {
                pending.sent = None;
                self.unsent.insert(*number);
            }
        }
    }

    /// Was this refused in another term than that in which it was sent last?
    pub(crate) fn asks_another(&self, number: u64, refused: Option<Term>) -> bool {
        let sent = self.pending.get(&number).and_then(|pending| pending.sent);
        is_late(refused, sent.map(|(term, _)| term))
    }

    /// The replica has leapt: takes out all, if it was to learn from the log of any, or if the state may have
    /// what was sent behind some.
    pub(crate) fn leap(&mut self) -> Leapt {
        let passed = std::mem::take(&mut self.passed);
        let is_behind = !passed.is_empty() && !planted!("leap-forgets-what-was-passed");
        if !is_behind && self.pending.values().all(|pending| pending.sent.is_none()) {
            return Leapt::default();
        }
        self.bytes = 0;
        let (pending, unsent) = (&mut self.pending, &mut self.unsent);
        Leapt { pending: std::mem::take(pending), unsent: std::mem::take(unsent), passed }
    }

    /// Takes out the reads that came before this request.
    pub(crate) fn take_reads_before(&mut self, number: u64) -> Vec<(u64, Pending)> {
        let earlier = self.pending.range(..number);
        let reads = earlier.filter(|(_, pending)| pending.kind == Kind::Read);
        let numbers: Vec<u64> = reads.map(|(number, _)| *number).collect();
        numbers.into_iter().filter_map(|number| Some((number, self.take(number)?))).collect()
    }

    /// The connection to the leader was made anew: everything goes again, in order.
    pub(crate) fn resend(&mut self) {
        self.unsent.extend(self.pending.keys().copied());
    }

    /// What is to be sent to the leader of `term`, in ascending order, up to `bytes_max` of it, by a
    /// replica that has applied so much.
    pub(crate) fn take_unsent(
        &mut self,
        term: Term,
        applied: Index,
        bytes_max: usize,
    ) -> Vec<Forwarded> {
        let (mut requests, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max {
            let Some(number) = self.unsent.pop_first() else { break };
            let pending = self.pending.get_mut(&number).expect("unsent numbers are pending");
            pending.sent = Some((term, applied));
            bytes += pending.op.len();
            let Pending { kind, after, .. } = *pending;
            requests.push(Forwarded { number, kind, after, retry: None, op: pending.op.clone() });
        }
        requests
    }

    /// Is there anything to send?
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Takes out everything, in ascending order: this node leads now. None of it may have been
    /// sent in a term that is not resolved.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (u64, Pending)> {
        self.unsent.clear();
        self.passed.clear();
        self.bytes = 0;
        std::mem::take(&mut self.pending).into_iter()
    }

    /// Takes out what came before `oldest`.
    pub(crate) fn take_overdue(&mut self, oldest: Instant) -> Vec<(u64, Pending)> {
        let overdue = self.pending.iter().filter(|(_, pending)| pending.born < oldest);
        let numbers: Vec<u64> = overdue.map(|(number, _)| *number).collect();
        numbers.into_iter().filter_map(|number| Some((number, self.take(number)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> Pending {
        Pending::new(Ticket(1), Kind::Write, false, vec![0; 3], Instant(5))
    }

    fn take_unsent(gateway: &mut Gateway, term: u64, bytes_max: usize) -> Vec<u64> {
        let requests = gateway.take_unsent(Term(term), Index(term * 10), bytes_max);
        requests.iter().map(|request| request.number).collect()
    }

    #[test]
    fn a_request_goes_again_only_when_a_later_term_was_applied() {
        let mut gateway = Gateway::default();
        gateway.put(2, pending());
        gateway.put(1, pending());
        assert_eq!(take_unsent(&mut gateway, 3, 100), [1, 2]);
        gateway.resolve(Term(3));
        assert!(take_unsent(&mut gateway, 4, 100).is_empty(), "term 3 may still apply them");
        gateway.take(1);
        gateway.resolve(Term(4));
        assert_eq!(take_unsent(&mut gateway, 4, 100), [2]);
    }

    #[test]
    fn a_new_connection_repeats_everything_in_order() {
        let mut gateway = Gateway::default();
        (1..=3).for_each(|number| gateway.put(number, pending()));
        take_unsent(&mut gateway, 1, 100);
        gateway.put(4, pending());
        gateway.resend();
        assert_eq!(take_unsent(&mut gateway, 1, 7), [1, 2, 3], "bounded");
        assert_eq!(take_unsent(&mut gateway, 1, 7), [4]);
        assert_eq!(gateway.bytes(), 12);
        assert_eq!(gateway.take_overdue(Instant(6)).len(), 4);
        assert!(gateway.is_empty());
    }

    #[test]
    fn a_leap_takes_all_and_says_which_writes_were_answered_behind_others() {
        let mut gateway = Gateway::default();
        (1..=4).for_each(|number| gateway.put(number, pending()));
        assert!(gateway.leap().pending.is_empty(), "nothing was sent");
        take_unsent(&mut gateway, 1, 100);
        gateway.pass(1).unwrap();
        gateway.pass(3).unwrap();
        gateway.put(5, pending());
        let Leapt { pending, unsent, passed } = gateway.leap();
        assert!(unsent.into_iter().eq([5]));
        let sent = pending.values().map(|pending| pending.sent);
        assert!(sent.eq([Some((Term(1), Index(10))), Some((Term(1), Index(10))), None]));
        assert!(pending.into_keys().eq([2, 4, 5]));
        assert_eq!(passed, [(3, 0)], "nothing waits before the first");
        assert!(gateway.is_empty() && gateway.bytes() == 0 && !gateway.has_unsent());
    }

    #[test]
    fn a_leap_takes_a_read_that_was_to_be_answered_here_and_is_behind_by_now() {
        let mut gateway = Gateway::default();
        gateway.keep(1, Pending { kind: Kind::Read, ..pending() });
        gateway.put(2, pending());
        take_unsent(&mut gateway, 1, 100);
        gateway.pass(2).unwrap();
        let Leapt { pending, passed, .. } = gateway.leap();
        assert!(pending.into_keys().eq([1]));
        assert_eq!(passed, [(2, 0)]);
    }

    #[test]
    fn a_write_that_was_answered_is_forgotten_once_it_is_applied_here() {
        let mut gateway = Gateway::default();
        (1..=4).for_each(|number| gateway.put(number, pending()));
        take_unsent(&mut gateway, 1, 100);
        gateway.pass(2).unwrap();
        gateway.pass(3).unwrap();
        gateway.note_applied(2);
        assert_eq!(gateway.leap().passed, [(3, 0)]);
    }
}

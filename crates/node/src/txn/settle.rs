//! The end of a transaction: what was decided is told until everybody has taken note, and what nobody
//! decided is settled by a fence.
//!
//! ```text
//! all YES, a NO ───────────────▶ Decide to each ─▶ over, when all have taken note
//!                                  ▲
//! unknown, or left by others ─▶ Fence to each ─▶ committed if one says so, or all are prepared;
//!                                                else once more, and then aborted
//! ```

use std::collections::{BTreeMap, BTreeSet};

use keyspace::txn::{Txn, TxnId};
use stdx::{Instant, mark, planted};

use super::Coordinator;
use super::plan::Plan;
use super::run::{Ask, Phase, Running, bulks};
use crate::effects::Effects;
use crate::limits::TXN_RETRY_INTERVAL;
use crate::request::Moment;
use crate::seats::Seats;

/// What the participants say when they are fenced.
#[derive(Debug, Default)]
pub(super) struct Fencing {
    standings: BTreeMap<usize, Vec<u8>>,
    /// One of them had said that it is aborted before they were asked.
    again: bool,
}

/// What follows from the standings of all participants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Commit,
    Abort,
    AskAgain,
}

#[derive(Debug)]
pub(super) struct Deciding {
    commit: bool,
    left: BTreeSet<usize>,
    /// Replies that come with the commit, of shards that were locked as a whole.
    replies: BTreeMap<usize, Vec<Vec<u8>>>,
    plan: Option<Plan>,
}

impl Coordinator {
    /// Has the present attempt aborted everywhere, beside what comes next.
    pub(super) fn abandon(&mut self, moment: Moment, run: &mut Running, groups: &mut Seats) {
        run.waits.clear();
        let participants = std::mem::take(&mut run.participants);
        self.settle_beside(moment, (run.id, participants), false, groups);
    }

    /// Frees the keys that are locked for it.
    pub(super) fn release(&mut self, moment: Moment, run: &mut Running, groups: &mut Seats) {
        if let Some(held) = run.held.take() {
            self.settle_beside(moment, held, true, groups);
        }
    }

    /// Has an attempt decided everywhere, of which nobody waits to hear.
    fn settle_beside(
        &mut self,
        moment: Moment,
        (id, participants): (TxnId, BTreeSet<usize>),
        commit: bool,
        groups: &mut Seats,
    ) {
        let serial = self.next_serial();
        let mut run = Running::new(id, Instant::FAR);
        run.participants = participants;
        self.open.insert((id.number, serial));
        self.decide(moment, serial, &mut run, (commit, None), groups);
        self.keep(serial, run);
    }

    /// Tells every participant what was decided, until each has taken note.
    pub(super) fn decide(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (commit, plan): (bool, Option<Plan>),
        groups: &mut Seats,
    ) {
        run.waits.clear();
        let left = run.participants.clone();
        let replies = BTreeMap::new();
        let deciding = Deciding { commit, left: left.clone(), replies, plan };
        (run.phase, run.wake) = (Phase::Deciding(Box::new(deciding)), Instant::FAR);
        self.tell_decision(moment, serial, run, (commit, left), groups);
    }

    fn tell_decision(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (commit, left): (bool, BTreeSet<usize>),
        groups: &mut Seats,
    ) {
        for shard in left {
            let message = (shard, Ask::Decide(shard), Txn::Decide { txn: run.id, commit });
            self.tell(moment, serial, run, message, groups);
        }
    }

    /// Those that have not taken note are told once more.
    pub(super) fn tell_again(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        groups: &mut Seats,
    ) {
        let Phase::Deciding(deciding) = &run.phase else { unreachable!("it was decided") };
        let (commit, left) = (deciding.commit, deciding.left.clone());
        run.wake = Instant::FAR;
        run.waits.clear();
        self.tell_decision(moment, serial, run, (commit, left), groups);
    }

    pub(super) fn heard_decision(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (shard, reply): (usize, &[u8]),
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        let Phase::Deciding(deciding) = &mut run.phase else { unreachable!("it was decided") };
        if reply.first() == Some(&b'-') {
            // Asked again when it is woken: a decision can be repeated.
            run.wake = moment.now + TXN_RETRY_INTERVAL;
            return;
        }
        deciding.left.remove(&shard);
        if deciding.plan.is_some() {
            let replies = bulks(reply);
            deciding.replies.insert(shard, replies);
        }
        if !deciding.left.is_empty() {
            return;
        }
        if let Some(plan) = deciding.plan.take() {
            let replies = plan.merge(&deciding.replies);
            run.reply_all(&replies, out);
        }
        let Phase::Deciding(deciding) = std::mem::replace(&mut run.phase, Phase::Over) else {
            unreachable!("it was looked at just before");
        };
        if run.recovers && deciding.commit {
            for shard in run.participants.clone() {
                let message = (shard, Ask::Forget, Txn::Forget { txns: vec![run.id] });
                self.tell(moment, serial, run, message, groups);
            }
        }
    }

    /// Asks every participant how the transaction stands, and settles that.
    pub(super) fn fence(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        groups: &mut Seats,
    ) {
        self.release(moment, run, groups);
        run.waits.clear();
        (run.phase, run.wake) = (Phase::Fencing(Fencing::default()), Instant::FAR);
        self.ask_standings(moment, serial, run, groups);
    }

    fn ask_standings(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        groups: &mut Seats,
    ) {
        for shard in run.participants.clone() {
            let message = (shard, Ask::Fence(shard), Txn::Fence { txn: run.id });
            self.tell(moment, serial, run, message, groups);
        }
    }

    pub(super) fn heard_fence(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (shard, reply): (usize, &[u8]),
        groups: &mut Seats,
    ) {
        let Phase::Fencing(fencing) = &mut run.phase else { unreachable!("it was fenced") };
        if reply.first() == Some(&b'-') {
            run.wake = moment.now + TXN_RETRY_INTERVAL;
            return;
        }
        fencing.standings.insert(shard, reply.to_vec());
        if fencing.standings.len() < run.participants.len() {
            return;
        }
        match fencing.verdict() {
            Verdict::Commit => self.decide(moment, serial, run, (true, None), groups),
            Verdict::Abort => self.decide(moment, serial, run, (false, None), groups),
            Verdict::AskAgain => {
                mark!("whether a transaction is aborted is asked once more");
                *fencing = Fencing { again: true, ..Fencing::default() };
                self.ask_standings(moment, serial, run, groups);
            }
        }
    }
}

impl Fencing {
    /// A participant that says "aborted" for want of a record never agreed and never will, or has
    /// forgotten what is decided everywhere. In the second case the others may have said "prepared" when
    /// that was still true; if they say so *afterwards*, it is the first.
    fn verdict(&self) -> Verdict {
        let is = |word: &'static [u8]| move |reply: &Vec<u8>| reply.starts_with(word);
        let mut all = self.standings.values();
        if self.standings.values().any(is(b"+COMMITTED"))
            || all.all(is(b"+PREPARED"))
            || planted!("recovery-commits-one") && self.standings.values().any(is(b"+PREPARED"))
        {
            Verdict::Commit
        } else if self.again || planted!("recovery-asks-once") {
            Verdict::Abort
        } else {
            Verdict::AskAgain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aborted_is_believed_only_if_nobody_says_committed_afterwards() {
        let fencing = |words: &[&str], again| {
            let standings = words.iter().enumerate();
            let standings = standings.map(|(shard, word)| (shard, format!("+{word}\r\n").into()));
            Fencing { standings: standings.collect(), again }.verdict()
        };
        assert_eq!(fencing(&["PREPARED", "PREPARED"], false), Verdict::Commit);
        // The second has forgotten it, perhaps, and the first was asked before that was committed.
        assert_eq!(fencing(&["PREPARED", "ABORTED"], false), Verdict::AskAgain);
        assert_eq!(fencing(&["ABORTED", "ABORTED"], false), Verdict::AskAgain);
        assert_eq!(fencing(&["COMMITTED", "ABORTED"], true), Verdict::Commit);
        assert_eq!(fencing(&["PREPARED", "ABORTED"], true), Verdict::Abort);
    }
}

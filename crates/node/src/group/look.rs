//! Reads that a follower answers itself, for clients that said READONLY.
//!
//! ```text
//! turn's reads ─▶ ReadIndex ─▶ leader: lease or round ─▶ ReadReady, its applied index
//!                                    … this replica has applied that much ─▶ answers
//! ```
//!
//! One question serves all reads of a turn. It is asked after they came, and answered by a replica that
//! led then, so whatever was acknowledged before a read came is applied before it is answered: such a
//! read is linearizable as one on the leader, and costs the leader a few bytes. Thesis §6.4.
//!
//! What always holds: these reads wait in the gateway, like all that are not answered, or (behind a lock) in
//! the shard, so that they see nothing of what their client wrote later; and they are answered in the order in which they came.
//! When one cannot be answered here (the leader changed or is silent, a key has come due), it goes to the
//! leader, and with it all that came later.

use std::collections::{BTreeSet, VecDeque};

use consensus::{Index, NodeId, Role, Term};
use keyspace::Outcome;
use stdx::{Instant, mark, planted};

use super::Group;
use crate::batch::Request;
use crate::effects::Effects;
use crate::gateway::Pending;
use crate::limits::READ_INDEX_TIMEOUT;
use crate::message::Message;
use crate::request::{Moment, Who};

/// Reads that wait for one answer of the leader.
#[derive(Debug)]
struct Look {
    question: u64,
    asked: Instant,
    /// How far this replica must have come.
    index: Option<Index>,
    /// The gateway's numbers.
    reads: Vec<u64>,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Those of this turn: nobody was asked for them yet.
    open: Vec<u64>,
    asked: VecDeque<Look>,
    /// Reads that went to the leader instead: what comes later waits for them there.
    sent_on: BTreeSet<u64>,
}

impl Group {
    /// May a read be answered here, though this replica does not lead?
    pub(super) fn may_look(&mut self) -> bool {
        let Group { gateway, looks, .. } = self;
        looks.sent_on.retain(|number| gateway.is_pending(*number));
        let (role, _, leader) = self.standing;
        role != Role::Leader && leader.is_some() && self.looks.sent_on.is_empty()
    }

    /// A read that this replica is to answer.
    pub(super) fn look(&mut self, number: u64, pending: Pending) {
        self.gateway.keep(number, pending);
        self.looks.open.push(number);
    }

    /// Ends a turn: asks the leader for the reads that came in it.
    pub(super) fn ask_index(&mut self, moment: Moment, out: &mut Effects) {
        if self.looks.open.is_empty() {
            return;
        }
        let (role, term, leader) = self.standing;
        let Some(leader) = leader.filter(|_| role != Role::Leader) else {
            return self.stop_looking();
        };
        let (question, reads) = (self.number(), std::mem::take(&mut self.looks.open));
        let mut look = Look { question, asked: moment.now, index: None, reads };
        if planted!("follower-reads-unasked") {
            look.index = Some(self.applied);
        }
        self.looks.asked.push_back(look);
        out.send.push((leader, Message::ReadIndex { group: self.id, term, question }));
        self.run_looks(moment, out);
    }

    /// A follower asks how far it must have come, of the leader of this term. If this is not it, it
    /// says nothing: the follower learns of a later term.
    pub(crate) fn asked_index(
        &mut self,
        moment: Moment,
        source: NodeId,
        (term, question): (Term, u64),
        out: &mut Effects,
    ) {
        if self.standing.0 != Role::Leader || self.standing.1 != term {
            return;
        }
        // The follower waits until it knows that this much is committed.
        self.hurry = true;
        if self.may_read(moment) {
            return self.tell_index(source, question, out);
        }
        let round = self.rounds.back_mut().expect("may_read leaves a round to wait in");
        round.questions.push((source, question));
    }

    /// Whatever was acknowledged before the question came has been applied here: a leader applies what
    /// it commits in one step, and nobody acknowledges what it has not committed.
    pub(super) fn tell_index(&self, target: NodeId, question: u64, out: &mut Effects) {
        let (group, index) = (self.id, self.applied);
        out.send.push((target, Message::ReadReady { group, question, index }));
    }

    /// The leader has answered. That is good for all that was asked before, too.
    pub(crate) fn told_index(
        &mut self,
        moment: Moment,
        question: u64,
        index: Index,
        out: &mut Effects,
    ) {
        let earlier = self.looks.asked.iter_mut().filter(|look| look.question <= question);
        earlier.for_each(|look| look.index = look.index.or(Some(index)));
        self.run_looks(moment, out);
    }

    /// Answers the reads whose time has come.
    pub(super) fn run_looks(&mut self, moment: Moment, out: &mut Effects) {
        while let Some(Look { index: Some(index), .. }) = self.looks.asked.front() {
            if *index > self.applied && !planted!("follower-reads-early") {
                mark!("a follower waits until it has applied what it is asked about");
                return;
            }
            let look = self.looks.asked.pop_front().expect("it was just looked at");
            for (at, number) in look.reads.iter().enumerate() {
                if self.answer_look(moment, *number, out) {
                    continue;
                }
                mark!("a follower cannot answer a read, and hands it on");
                self.send_on(&look.reads[at..]);
                return self.stop_looking();
            }
        }
    }

    /// Answers one read. False if this replica cannot.
    fn answer_look(&mut self, moment: Moment, number: u64, out: &mut Effects) -> bool {
        // It may have been answered when a later write of its client was applied.
        let Some(pending) = self.gateway.take(number) else { return true };
        let (mut reply, request) =
            (Vec::new(), Request { who: Who::Client(pending.ticket), number });
        match self.read_op(self.wall(moment), &pending.op, &mut reply) {
            Outcome::Replied => self.answer(request, &reply, out),
            Outcome::Locked => self.hold(moment, request, &pending.op, out),
            _ => {
                self.gateway.keep(number, pending);
                return false;
            }
        }
        true
    }

    /// All reads that wait to be answered here go to the leader.
    pub(super) fn stop_looking(&mut self) {
        let asked = std::mem::take(&mut self.looks.asked).into_iter().flat_map(|look| look.reads);
        let reads: Vec<u64> = asked.chain(std::mem::take(&mut self.looks.open)).collect();
        self.send_on(&reads);
    }

    fn send_on(&mut self, reads: &[u64]) {
        for number in reads {
            if self.gateway.send(*number) {
                self.looks.sent_on.insert(*number);
            }
        }
    }

    /// A leader that is asked and says nothing, or a state that does not catch up: the leader's own
    /// answer may be faster.
    pub(super) fn expire_looks(&mut self, moment: Moment) {
        let oldest = moment.now - READ_INDEX_TIMEOUT;
        if self.looks.asked.front().is_some_and(|look| look.asked < oldest) {
            mark!("a follower was told nothing, and hands its reads on");
            self.stop_looking();
        }
    }
}

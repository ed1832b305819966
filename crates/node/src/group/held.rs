//! Reads whose turn has come and that met a key which a transaction over several shards has locked, when what
//! their clients sent behind them may be in the log already. They wait in the shard, on this replica alone, and
//! run at their places among the calls that wait there: from a state that is later than they are, behind what
//! their clients have sent before and before what they have sent behind.
//!
//! A read of several keys may be overtaken at one of them while another is locked, for a write is held up by
//! nothing that only this replica knows. Then it is not executed, and its client is told so.
//!
//! A read that may meet a lock when it comes goes through the log instead, and waits there.

use std::collections::{BTreeMap, BTreeSet};

use keyspace::Asker;
use keyspace::op::{Body, Origin};
use stdx::{Instant, mark};
use wire::Args;

use super::Group;
use super::apply::call_of;
use crate::batch::Request;
use crate::effects::Effects;
use crate::memo::is_guest;
use crate::request::{FULL, Moment, NO_LEADER, Ticket, UNKNOWN, Who};

/// Who waits for them, by their numbers in the shard, and since when.
#[derive(Debug, Default)]
pub(super) struct HeldReads(BTreeMap<u64, (Request, Instant)>);

impl HeldReads {
    /// Is there none?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does a client of this node wait for one?
    pub(super) fn are_owed(&self) -> bool {
        self.0.values().any(|(request, _)| matches!(request.who, Who::Client(_)))
    }
}

impl Group {
    /// A read that met a locked key waits. False if too many do.
    pub(super) fn hold(
        &mut self,
        moment: Moment,
        request: Request,
        asker: Asker,
        args: Args<'_>,
    ) -> bool {
        let number = self.number();
        let holds = self.shard.hold(number, asker, args);
        if holds {
            mark!("a read waits for a transaction");
            self.held.0.insert(number, (request, moment.now));
        }
        holds
    }

    /// The same, of a read that had waited for its turn.
    pub(super) fn hold_op(
        &mut self,
        moment: Moment,
        request: Request,
        op: &[u8],
        out: &mut Effects,
    ) {
        let mut spans = Vec::new();
        let (asker, args) = call_of(op, &mut spans);
        if !self.hold(moment, request, asker, args) {
            self.answer(request, FULL, out);
        }
    }

    /// Answers those that the shard has run.
    pub(super) fn answer_held(&mut self, out: &mut Effects) {
        for (number, reply) in std::mem::take(&mut self.shard_fx.reads) {
            if let Some((request, _)) = self.held.0.remove(&number) {
                self.answer(request, &reply, out);
            }
        }
    }

    /// The reads that wait here and that came before this operation, of the same client as far as is known.
    pub(super) fn held_before(&self, request: Option<Request>, origin: Option<Origin>) -> Vec<u64> {
        if self.held.0.is_empty() {
            return Vec::new();
        }
        let is_own = |origin: &Origin| origin.node == self.node.0 && !is_guest(origin.number);
        let own = origin.filter(is_own);
        let pending = own.and_then(|origin| self.gateway.ticket(origin.number));
        let (who, number) = match (request, origin) {
            (Some(request), _) => (Some(request.who), request.number),
            (None, Some(origin)) => (pending.map(Who::Client), origin.number),
            (None, None) => return Vec::new(),
        };
        let is_early = |held: &Request| {
            let may_be = match (held.who, who) {
                (Who::Client(one), Some(Who::Client(other))) => one.client() == other.client(),
                (Who::Client(_), None) => own.is_some(),
                (Who::Node(one), Some(Who::Node(other))) => one == other,
                (Who::Node(one), None) => origin.is_some_and(|origin| origin.node == one.0),
                _ => false,
            };
            may_be && held.number < number
        };
        let early = self.held.0.iter().filter(|(_, (held, _))| is_early(held));
        early.map(|(number, _)| *number).collect()
    }

    /// An operation was applied that came behind these reads. Those that would see what it has done are not
    /// executed: their other keys are locked still.
    pub(super) fn refuse_overtaken(&mut self, early: &[u64], body: &Body, out: &mut Effects) {
        let calls = match body {
            Body::Call { db, args } => &[(*db, args.clone())][..],
            Body::Exec { calls, .. } => calls,
            _ => return,
        };
        for (db, args) in calls {
            for number in self.shard.take_overtaken(early, *db, args.args()) {
                mark!("a read that waits for a transaction is overtaken by what came behind it");
                let waits = self.held.0.remove(&number);
                waits.into_iter().for_each(|(request, _)| self.answer(request, NO_LEADER, out));
            }
        }
    }

    /// What waits in the shard for a transaction, and will not be heard of here any more.
    pub(crate) fn give_up_parked(&mut self, out: &mut Effects) {
        self.give_up_held(Instant::FAR, out);
        for origin in self.shard.parked_origins() {
            if let Some(ticket) = self.waits.remove(&origin) {
                out.replies.put(ticket, UNKNOWN);
            }
        }
    }

    /// Those that wait since before this time are not executed.
    pub(super) fn give_up_held(&mut self, oldest: Instant, out: &mut Effects) {
        let late = |_: &u64, (_, since): &mut (Request, Instant)| *since < oldest;
        let late: BTreeMap<_, _> = self.held.0.extract_if(.., late).collect();
        self.shard.let_go(&late.keys().copied().collect());
        for (request, _) in late.into_values() {
            // Another node asks the next leader by itself.
            if self.leads() || matches!(request.who, Who::Client(_)) {
                self.answer(request, NO_LEADER, out);
            }
        }
    }

    /// The leader has answered this read of a client of this node: nobody waits for it here any more.
    pub(super) fn take_held(&mut self, number: u64) -> Option<Ticket> {
        let mut held = self.held.0.iter();
        let (place, ticket) = held.find_map(|(place, (request, _))| match request.who {
            Who::Client(ticket) if request.number == number => Some((*place, ticket)),
            _ => None,
        })?;
        self.held.0.remove(&place);
        self.shard.let_go(&BTreeSet::from([place]));
        Some(ticket)
    }
}

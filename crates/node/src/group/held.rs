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

use keyspace::op::{Body, Origin};
use stdx::{Instant, mark};

use super::Group;
use super::apply::call_of;
use crate::batch::Request;
use crate::effects::Effects;
use crate::memo::is_guest;
use crate::request::{FULL, Moment, NO_LEADER, Ticket, UNKNOWN, Who};

/// One that waits, and since when.
#[derive(Debug)]
struct HeldRead {
    request: Request,
    since: Instant,
    op: Vec<u8>,
    /// The leader has answered what its client has sent behind it.
    followed: bool,
}

/// All of them, by their numbers in the shard.
#[derive(Debug, Default)]
pub(super) struct HeldReads(BTreeMap<u64, HeldRead>);

impl HeldReads {
    /// Is there none?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does a client of this node wait for one?
    pub(super) fn are_owed(&self) -> bool {
        self.0.values().any(|held| matches!(held.request.who, Who::Client(_)))
    }
}

impl Group {
    /// A read that had waited for its turn met a locked key, and waits on, unless too many do.
    pub(super) fn hold(&mut self, moment: Moment, request: Request, op: &[u8], out: &mut Effects) {
        let mut spans = Vec::new();
        let (asker, args) = call_of(op, &mut spans);
        let number = self.number();
        if !self.shard.hold(number, asker, args) {
            return self.answer(request, FULL, out);
        }
        mark!("a read waits for a transaction");
        let (since, op, followed) = (moment.now, op.to_vec(), false);
        self.held.0.insert(number, HeldRead { request, since, op, followed });
    }

    /// Answers those that the shard has run.
    pub(super) fn answer_held(&mut self, out: &mut Effects) {
        for (number, reply) in std::mem::take(&mut self.shard_fx.reads) {
            if let Some(held) = self.held.0.remove(&number) {
                self.answer(held.request, &reply, out);
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
        let early = self.held.0.iter().filter(|(_, held)| is_early(&held.request));
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
                if let Some(held) = self.held.0.remove(&number) {
                    self.answer(held.request, NO_LEADER, out);
                }
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

    /// The leader has answered this: what its client had asked before may not be asked anew.
    pub(super) fn note_followed(&mut self, number: u64, ticket: Ticket) {
        for HeldRead { request, followed, .. } in self.held.0.values_mut() {
            let is_own = |who| matches!(who, Who::Client(one) if one.client() == ticket.client());
            *followed |= request.number < number && is_own(request.who);
        }
    }

    /// The replica has leapt over the state in which they waited: those of this node's clients go to the leader,
    /// unless what was sent behind them may be seen there. Another node asks the next leader by itself.
    pub(super) fn hand_back_held(&mut self, moment: Moment, out: &mut Effects) {
        for held in std::mem::take(&mut self.held.0).into_values() {
            mark!("a read that waits for a transaction is leapt over");
            match held.request.who {
                Who::Client(_) if held.followed => self.answer(held.request, NO_LEADER, out),
                _ => self.read_elsewhere(moment, held.request, &held.op),
            }
        }
    }

    /// Those that wait since before this time are not executed.
    pub(super) fn give_up_held(&mut self, oldest: Instant, out: &mut Effects) {
        let late = |_: &u64, held: &mut HeldRead| held.since < oldest;
        let late: BTreeMap<_, _> = self.held.0.extract_if(.., late).collect();
        self.shard.let_go(&late.keys().copied().collect());
        for HeldRead { request, .. } in late.into_values() {
            // Another node asks the next leader by itself.
            if self.leads() || matches!(request.who, Who::Client(_)) {
                self.answer(request, NO_LEADER, out);
            }
        }
    }

    /// The leader has answered this read of a client of this node: nobody waits for it here any more.
    pub(super) fn take_held(&mut self, number: u64) -> Option<Ticket> {
        let mut held = self.held.0.iter();
        let (place, ticket) =
            held.find_map(|(place, HeldRead { request, .. })| match request.who {
                Who::Client(ticket) if request.number == number => Some((*place, ticket)),
                _ => None,
            })?;
        self.held.0.remove(&place);
        self.shard.let_go(&BTreeSet::from([place]));
        Some(ticket)
    }
}

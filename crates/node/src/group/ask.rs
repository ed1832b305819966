//! Requests: of this node's clients, and those that other nodes forward to their leader.

use consensus::{Event, NodeId, Role, Term};
use keyspace::dict::WARM_MAX;
use keyspace::op::{self, Body, Op, Origin, Unblock};
use keyspace::txn::Txn;
use keyspace::{Asker, Outcome};
use stdx::codec::{Malformed, Reader};
use stdx::{mark, planted};
use wire::{Args, Proto};

use super::{Group, Round};
use crate::batch::Request;
use crate::effects::Effects;
use crate::gateway::Pending;
use crate::memo::{Recall, is_guest};
use crate::message::{Forwarded, Kind, Message};
use crate::request::{Asked, Call, DISK_FULL, Exec, FULL, Moment, NO_LEADER, Ticket, UNKNOWN, Who};

impl Group {
    /// A command of one of this node's clients. A read that this replica may serve at once is
    /// answered into `reply`.
    pub(crate) fn call(&mut self, moment: Moment, call: Call<'_>, reply: &mut Vec<u8>) -> Asked {
        let number = self.number();
        let Call { ticket, db, proto, kind, after, replica, may_block, args } = call;
        let origin = Origin { node: self.node.0, number };
        if !self.takes_directly() {
            let mut op = Vec::new();
            op::put_call(&mut op, proto, Some(origin), db, args);
            let pending = Pending::new(ticket, kind, after, op, moment.now);
            if replica && kind == Kind::Read && self.may_look() {
                self.look(number, pending);
            } else {
                self.send_away(moment, number, pending);
            }
            return Asked::Waits { number };
        }
        let request = Request { who: Who::Client(ticket), number };
        match kind {
            Kind::Write if self.disk_full => {
                reply.extend_from_slice(DISK_FULL);
                Asked::Replied
            }
            Kind::Write => {
                let origin = may_block.then_some(origin);
                let put = |out: &mut Vec<u8>| op::put_call(out, proto, origin, db, args);
                self.open.push_op(moment.now, request, put);
                Asked::Waits { number }
            }
            Kind::Read => {
                let asker = Asker { db: usize::from(db), proto, origin: None };
                let put = |out: &mut Vec<u8>| op::put_call(out, proto, None, db, args);
                self.read(moment, request, after, asker, args, put, reply)
            }
        }
    }

    /// MULTI's queue of one of this node's clients.
    pub(crate) fn exec(&mut self, moment: Moment, exec: Exec) -> u64 {
        let Exec { ticket, proto, watches, calls, rollback } = exec;
        self.write(moment, Some(ticket), proto, Body::Exec { watches, calls, rollback })
    }

    /// Ends the wait of a blocked call of this node's clients, if it still waits. The reply to
    /// `ticket` says whether it did.
    pub(crate) fn unblock(
        &mut self,
        moment: Moment,
        target: u64,
        how: Unblock,
        ticket: Option<Ticket>,
    ) {
        let target = Origin { node: self.node.0, number: target };
        self.write(moment, ticket, Proto::Resp2, Body::Unblock { target, how });
    }

    /// Requests that another node believes this one should serve, as the leader of `term`. If it
    /// is not, they are dropped: the gateway learns of a later term and sends them again. A guest
    /// has to be told who leads.
    pub(crate) fn forwarded(
        &mut self,
        moment: Moment,
        source: NodeId,
        term: Term,
        requests: Vec<Forwarded>,
        out: &mut Effects,
    ) {
        if self.standing.0 != Role::Leader || self.standing.1 != term {
            if !requests.is_empty() {
                let (group, (_, term, leader)) = (self.id, self.standing);
                out.send.push((source, Message::Astray { group, term, leader }));
            }
            return;
        }
        // Nothing to be done, but to say what is committed.
        self.hurry |= requests.is_empty();
        for some in requests.chunks(WARM_MAX) {
            let reads = some.iter().filter(|request| request.kind == Kind::Read);
            let keys = reads.filter_map(|read| op::skim_key(&mut Reader::new(&read.op)));
            keyspace::shard::warm(keys.map(|(db, key)| (&self.shard, db, key)));
        }
        for forwarded in requests {
            let Ok(head) = check_op(&forwarded.op) else { continue };
            let origin = Origin { node: source.0, number: forwarded.number };
            if head.origin != Some(origin) {
                continue;
            }
            // Behind a retry other requests wait, to keep their order.
            if forwarded.retry.is_some() || !self.retries.is_empty() {
                self.retries.push((source, forwarded));
            } else {
                self.forwarded_one(moment, source, forwarded);
            }
        }
    }

    /// What guests have sent to a leader before this one, and what came behind it: by now it is
    /// known what that leader has done.
    pub(super) fn take_retries(&mut self, moment: Moment) {
        for (source, forwarded) in std::mem::take(&mut self.retries) {
            let number = forwarded.number;
            let origin = Origin { node: source.0, number };
            let reply = match (forwarded.kind, forwarded.retry) {
                // Something that this guest asked for later may be applied, and must not be seen.
                (Kind::Read, Some(floor)) if self.memo.may_have_later(origin, floor) => {
                    NO_LEADER.to_vec()
                }
                (Kind::Read, _) | (_, None) => {
                    self.forwarded_one(moment, source, forwarded);
                    continue;
                }
                (Kind::Write, Some(floor)) => match self.memo.recall(origin, floor) {
                    Recall::Replied(reply) => {
                        mark!("a guest's retry is answered from memory");
                        reply
                    }
                    Recall::Waits => continue,
                    Recall::TooLarge | Recall::Unknown => UNKNOWN.to_vec(),
                    Recall::Never => {
                        mark!("a guest's retry was never agreed on, and is taken");
                        self.take_retry(moment, source, forwarded);
                        continue;
                    }
                },
            };
            self.answer_node(source, number, reply);
        }
    }

    /// A message about a transaction, for the node's coordinator.
    pub(crate) fn transact(&mut self, moment: Moment, ticket: Ticket, proto: Proto, txn: Txn) {
        self.write(moment, Some(ticket), proto, Body::Txn(Box::new(txn)));
    }

    /// A request that goes through the log, of a client or (without a ticket) of the node itself.
    fn write(&mut self, moment: Moment, ticket: Option<Ticket>, proto: Proto, body: Body) -> u64 {
        let number = self.number();
        let origin = Some(Origin { node: self.node.0, number });
        if self.takes_directly() {
            let who = ticket.map_or(Who::Nobody, Who::Client);
            let locks = matches!(body, Body::Txn(_));
            let op = Op { proto, origin: None, body };
            let put = |out: &mut Vec<u8>| op::put_op(out, &op);
            self.open.push_op(moment.now, Request { who, number }, put);
            self.open.note_locks(locks);
        } else {
            let mut op = Vec::new();
            op::put_op(&mut op, &Op { proto, origin, body });
            let ticket = ticket.unwrap_or(Ticket::NOBODY);
            let pending = Pending::new(ticket, Kind::Write, true, op, moment.now);
            self.send_away(moment, number, pending);
        }
        number
    }

    /// May a request of a client go straight into a batch? Only on the leader, and not before
    /// those that came earlier and look for their place.
    fn takes_directly(&self) -> bool {
        self.leads() && self.gateway.is_empty() && self.settled()
    }

    fn send_away(&mut self, moment: Moment, number: u64, pending: Pending) {
        assert_eq!(pending.born, moment.now, "a request is born when it comes");
        self.gateway.put(number, pending);
    }

    /// This node leads, and everything before its reign is settled: what waited at the gateway
    /// goes into the open batch.
    pub(super) fn drain_gateway(&mut self, moment: Moment) {
        let waiting: Vec<_> = self.gateway.drain().collect();
        for (number, pending) in waiting {
            let request = Request { who: Who::Client(pending.ticket), number };
            let put = |out: &mut Vec<u8>| out.extend_from_slice(&pending.op);
            match pending.kind {
                Kind::Write => {
                    self.open.push_op(moment.now, request, put);
                    self.open.note_locks(op::is_txn(&pending.op));
                }
                Kind::Read if self.may_lock() || self.shard.has_locks() => {
                    self.open.push_op(moment.now, request, put);
                }
                Kind::Read => self.read_behind(moment, request, put),
            }
        }
    }

    /// A retry that was never agreed is taken, once: what came later may have been taken before it.
    fn take_retry(&mut self, moment: Moment, source: NodeId, forwarded: Forwarded) {
        let number = forwarded.number;
        if self.retried.insert((source, number)) {
            self.take_write(moment, source, number, &forwarded.op);
        }
    }

    /// A write that another node has forwarded goes into the open batch, if there is room.
    fn take_write(&mut self, moment: Moment, source: NodeId, number: u64, op: &[u8]) {
        if self.disk_full || !self.has_room() {
            let reply = if self.disk_full { DISK_FULL } else { FULL };
            return self.refuse_node(source, number, reply.to_vec());
        }
        // A read that was asked for earlier must not see it.
        let seen = self.seen.entry((source, is_guest(number))).or_default();
        seen.taken = seen.taken.max(number);
        let request = Request { who: Who::Node(source), number };
        self.open.push_op(moment.now, request, |out| out.extend_from_slice(op));
        self.open.note_locks(op::is_txn(op));
    }

    fn forwarded_one(&mut self, moment: Moment, source: NodeId, forwarded: Forwarded) {
        let Forwarded { number, kind, after, retry, op } = forwarded;
        match kind {
            Kind::Write => {
                let seen = self.seen.entry((source, is_guest(number))).or_default();
                if number <= seen.answered && !planted!("duplicate-taken-twice") {
                    mark!("a forwarded write comes twice");
                    return self.answer_again(source, number);
                }
                seen.answered = number;
                self.take_write(moment, source, number, &op);
            }
            // It has been here before, and a write that came after it may be applied already. A
            // gateway serves the read itself when it applies that write; a guest can't.
            Kind::Read if self.has_seen_later(source, number) => {
                if is_guest(number) || retry.is_some() {
                    self.answer_node(source, number, NO_LEADER.to_vec());
                }
            }
            Kind::Read => {
                let mut reader = Reader::new(&op);
                let Ok(head) = op::read_head(&mut reader) else { return };
                let mut spans = Vec::new();
                let Ok(db) = op::read_call(&mut reader, &mut spans) else { return };
                let asker = Asker { db: usize::from(db), proto: head.proto, origin: None };
                let (args, mut reply) = (Args::new(&op, &spans), Vec::new());
                let request = Request { who: Who::Node(source), number };
                let put = |out: &mut Vec<u8>| out.extend_from_slice(&op);
                let asked = self.read(moment, request, after, asker, args, put, &mut reply);
                if asked == Asked::Replied {
                    self.answer_node(source, number, reply);
                }
            }
        }
    }

    fn has_seen_later(&self, source: NodeId, number: u64) -> bool {
        let seen = self.seen.get(&(source, is_guest(number)));
        seen.is_some_and(|seen| number < seen.taken)
    }

    /// A node has asked again for what it was answered to: the answer was lost on its way.
    fn answer_again(&mut self, source: NodeId, number: u64) {
        let origin = Origin { node: source.0, number };
        if let Recall::Replied(reply) = self.memo.recall(origin, self.applied) {
            self.answer_node(source, number, reply);
        }
    }

    /// A read on the leader: at once if the lease holds and nothing of the same client comes
    /// before it; else where its turn comes.
    #[expect(clippy::too_many_arguments, reason = "the parts of one call, borrowed")]
    fn read(
        &mut self,
        moment: Moment,
        request: Request,
        after: bool,
        asker: Asker,
        args: Args<'_>,
        put: impl FnOnce(&mut Vec<u8>),
        reply: &mut Vec<u8>,
    ) -> Asked {
        if after && !(self.open.is_empty() && self.flight.is_empty()) {
            if self.may_meet_locks(asker, args) {
                self.open.push_op(moment.now, request, put);
            } else {
                self.read_behind(moment, request, put);
            }
            return Asked::Waits { number: request.number };
        }
        if !self.may_read(moment) {
            if self.may_meet_locks(asker, args) {
                self.open.push_op(moment.now, request, put);
                return Asked::Waits { number: request.number };
            }
            let mut op = Vec::new();
            put(&mut op);
            let round = self.rounds.back_mut().expect("may_read leaves a round to wait in");
            round.reads.push((request, op));
            return Asked::Waits { number: request.number };
        }
        self.read_seed += 1;
        let wall = self.wall(moment);
        match self.shard.read(wall, self.read_seed, asker, args, after, reply) {
            Outcome::Due => {
                self.push_tick(moment);
                if self.may_lock() {
                    self.open.push_op(moment.now, request, put);
                } else {
                    self.open.push_read(moment.now, request, put);
                }
                Asked::Waits { number: request.number }
            }
            Outcome::Locked => {
                self.open.push_op(moment.now, request, put);
                Asked::Waits { number: request.number }
            }
            Outcome::Replied => Asked::Replied,
            Outcome::Blocked | Outcome::Parked { .. } => {
                unreachable!("a read outside the log leaves nothing in the state")
            }
        }
    }

    /// May a transaction have locked the keys of a read by the time that its turn has come? Then it waits in the
    /// log, before whatever its client asks for later.
    fn may_meet_locks(&self, asker: Asker, args: Args<'_>) -> bool {
        self.may_lock() || self.shard.keeps_waiting(asker.db as u8, args)
    }

    /// Is anything on its way into the log that may lock keys?
    fn may_lock(&self) -> bool {
        self.open.locks() || self.flight.iter().any(|flight| flight.batch.locks())
    }

    /// Puts a read behind everything that was proposed so far.
    pub(super) fn read_behind(
        &mut self,
        moment: Moment,
        request: Request,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        match self.flight.back_mut() {
            Some(flight) if self.open.is_empty() => {
                flight.batch.push_read(moment.now, request, put);
            }
            _ => {
                if self.open.has_no_ops() {
                    self.push_tick(moment);
                }
                self.open.push_read(moment.now, request, put);
            }
        }
    }

    /// Does the lease hold at this moment? If not, a round that asks the others stands at the back
    /// of `rounds`. Asked once for each reading of the clock.
    pub(super) fn may_read(&mut self, moment: Moment) -> bool {
        if let Some((at, holds)) = self.lease
            && at == moment.now
            && (holds || !self.rounds.is_empty())
        {
            return holds;
        }
        let token = self.token();
        self.replica.step(moment.now, Event::Read { token }, &mut self.fx);
        let at = self.fx.read.iter().position(|ready| ready.token == token);
        let index = at.and_then(|at| self.fx.read.swap_remove(at).index);
        let holds = index.is_some_and(|index| index <= self.applied);
        if !holds {
            let (asked, reads, questions) = (moment.now, Vec::new(), Vec::new());
            self.rounds.push_back(Round { token, asked, index, reads, questions });
        }
        self.lease = Some((moment.now, holds));
        holds
    }

    /// The clock of the log must move before a read: a key has come due.
    pub(super) fn push_tick(&mut self, moment: Moment) {
        if !self.tick_pending || self.open.has_no_ops() {
            self.push_silent(moment, Body::Tick);
            self.tick_pending = true;
        }
    }

    /// An operation of the leader itself.
    pub(super) fn push_silent(&mut self, moment: Moment, body: Body) {
        let request = Request { who: Who::Nobody, number: self.number() };
        let op = Op { proto: Proto::Resp2, origin: None, body };
        self.open.push_op(moment.now, request, |out| op::put_op(out, &op));
    }

    /// Gives the reads of a round to the gateway: this replica cannot serve them.
    pub(super) fn abandon_round(&mut self, moment: Moment, token: consensus::Token) {
        let Some(at) = self.rounds.iter().position(|round| round.token == token) else { return };
        let round = self.rounds.remove(at).expect("the place was just found");
        for (request, op) in round.reads {
            self.read_elsewhere(moment, request, &op);
        }
    }

    /// A read that this replica cannot serve: the gateway of its client tries again.
    pub(super) fn read_elsewhere(&mut self, moment: Moment, request: Request, op: &[u8]) {
        let Who::Client(ticket) = request.who else { return };
        let op = crate::batch::read_op(&mut Reader::new(op));
        let op = self.with_origin(op, request.number);
        let pending = Pending::new(ticket, Kind::Read, true, op, moment.now);
        self.gateway.put(request.number, pending);
    }
}

/// Checks bytes that came from another node: exactly one operation of a kind that is forwarded.
fn check_op(bytes: &[u8]) -> Result<op::Head, Malformed> {
    let mut reader = Reader::new(bytes);
    let head = op::read_head(&mut reader)?;
    op::read_body(&mut reader, head)?;
    if reader.is_empty() { Ok(head) } else { Err(reader.malformed()) }
}

//! Applying what was committed, and answering those who wait for it.
//!
//! **Reads keep their place.** A client that sends a read and then a write must not see the write
//! in the read's reply, though the read may have lost its way meanwhile: its leader died, or its
//! round is not confirmed yet. So before a gateway's operation is applied, the reads that came to
//! that gateway before it and still wait are served from the state at this place. That is
//! linearizable on any replica: whatever was acknowledged before the read came was committed before
//! the operation, which came later, was proposed, and so stands before it in the log.

use consensus::{Config, Entry, EntryKind, Index, NodeId};
use keyspace::op::{self, Body, Op, Origin, Unblock};
use keyspace::{Asker, Late, Outcome};
use stdx::codec::Reader;
use stdx::{mark, planted};
use wire::{Args, Span};

use super::{Flight, Group};
use crate::batch::{Batch, Item, Request};
use crate::clerk::MAP_KEY;
use crate::effects::Effects;
use crate::map::Map;
use crate::memo::is_guest;
use crate::message::Answer;
use crate::request::{Moment, UNBLOCKED, Who};

impl Group {
    /// Applies one committed entry.
    pub(super) fn apply_entry(&mut self, moment: Moment, entry: &Entry, out: &mut Effects) {
        assert_eq!(entry.index.0, self.applied.0 + 1, "entries are applied in order, each once");
        assert!(entry.term >= self.applied_term, "the terms of a log never go back");
        let batch = self.claim(moment, entry);
        if entry.term > self.applied_term {
            self.gateway.resolve(entry.term);
            self.applied_term = entry.term;
        }
        self.applied = entry.index;
        self.snapshot.note_applied(moment.now, entry.data.len());
        match entry.kind {
            EntryKind::Noop => {}
            EntryKind::Config => {
                let config = Config::decode(&entry.data).expect("a committed config is whole");
                self.set_config(moment, entry.index, config);
            }
            EntryKind::Command => self.run_ops(moment, entry, batch, out),
        }
    }

    /// The batch of this node that became `entry`. Batches that the log has passed by will never
    /// be committed: their requests go again.
    fn claim(&mut self, moment: Moment, entry: &Entry) -> Option<Batch> {
        while let Some(Flight { batch, .. }) = self.flight.front() {
            let mine = batch.term == entry.term && batch.index == entry.index;
            // An entry of an earlier term may stand in its place: one that was only on others, of whom
            // one was elected.
            let lost = entry.term > batch.term || entry.index >= batch.index;
            if !mine && !lost {
                return None;
            }
            let flight = self.flight.pop_front().expect("it was just looked at");
            self.flight_bytes -= flight.entry.len();
            if mine {
                return Some(flight.batch);
            }
            mark!("a batch was not committed, and goes again");
            self.requeue(moment, flight.batch.take_apart(&flight.entry));
        }
        None
    }

    /// Runs the operations of an entry, and between them the reads that wait in its batch.
    fn run_ops(&mut self, moment: Moment, entry: &Entry, batch: Option<Batch>, out: &mut Effects) {
        const WHOLE: &str = "a committed entry is whole: its leader checked what it took";
        let mut reader = Reader::new(&entry.data);
        let mut stamp = op::read_stamp(&mut reader).expect(WHOLE);
        if planted!("expiry-by-local-clock") {
            stamp = moment.wall;
        }
        // Before its reads too: the time may have stood still since there was a leader.
        self.shard.move_clock(stamp);
        let batch = batch.unwrap_or_default();
        let mut items = batch.items.iter();
        // Only where it was proposed: what is run again after a start, or behind another leader, is
        // read by nobody here.
        let takes = self.leads() && entry.term == self.standing.1 && self.kept.is_none();
        self.shard.take_cut(takes);
        let mut warm = 0;
        while !reader.is_empty() {
            if warm == 0 {
                warm = self.warm(reader.clone());
            }
            warm -= 1;
            let request = self.reads_before_op(moment, &batch, &mut items, out);
            let head = op::read_head(&mut reader).expect(WHOLE);
            self.reads_of_gateway_before_op(moment, request, head.origin, out);
            let early = self.held_before(request, head.origin);
            let mut overtakes = None;
            let outcome = if head.is_call() {
                let mut spans = std::mem::take(&mut self.spans);
                let db = op::read_call(&mut reader, &mut spans).expect(WHOLE);
                let args = Args::new(&entry.data, &spans);
                let asker = Asker { db: usize::from(db), proto: head.proto, origin: head.origin };
                let reply = out.replies.buffer();
                let outcome = self.shard.apply_call(stamp, asker, args, reply, &mut self.shard_fx);
                if !early.is_empty() {
                    overtakes = Some(Body::Call { db, args: args.iter().collect() });
                }
                self.spans = spans;
                outcome
            } else {
                let body = op::read_body(&mut reader, head).expect(WHOLE);
                self.note_body(&body, out);
                let op = Op { proto: head.proto, origin: head.origin, body };
                let reply = out.replies.buffer();
                let outcome = self.shard.apply(stamp, &op, reply, &mut self.shard_fx);
                overtakes = Some(op.body).filter(|_| !early.is_empty());
                outcome
            };
            self.settle(request, head.origin, outcome, out);
            if let Some(body) = overtakes.filter(|_| !matches!(outcome, Outcome::Parked { .. })) {
                self.refuse_overtaken(&early, &body, out);
            }
            if let Some(cut) = self.shard_fx.cut.take() {
                self.keep_backup(moment.now, cut);
            }
        }
        self.note_clock(moment);
        for item in items {
            let Item::Read(request, range) = item else {
                unreachable!("a batch has as many operations as its entry");
            };
            self.run_read(moment, *request, batch.read_at(range.clone()), out);
        }
    }

    /// Has the keys of the operations that come next at hand. Returns how many operations those are: one
    /// at least.
    fn warm(&self, mut ahead: Reader<'_>) -> usize {
        let keys = std::iter::from_fn(|| op::skim_key(&mut ahead));
        keyspace::shard::warm(keys.map(|(db, key)| (&self.shard, db, key))).max(1)
    }

    /// Runs the reads of a batch up to its next operation, and says who asked for that.
    fn reads_before_op<'a>(
        &mut self,
        moment: Moment,
        batch: &Batch,
        items: &mut impl Iterator<Item = &'a Item>,
        out: &mut Effects,
    ) -> Option<Request> {
        for item in items {
            match item {
                Item::Op(request) => return Some(*request),
                Item::Read(request, range) => {
                    self.read_in_place(moment, *request, batch.read_at(range.clone()), out);
                }
            }
        }
        None
    }

    /// Runs the reads that came to a gateway before this operation of its clients and wait
    /// elsewhere than in the batch.
    fn reads_of_gateway_before_op(
        &mut self,
        moment: Moment,
        request: Option<Request>,
        origin: Option<Origin>,
        out: &mut Effects,
    ) {
        let own = match request {
            Some(Request { who: Who::Client(_), number }) => {
                Some(Origin { node: self.node.0, number })
            }
            _ => None,
        };
        let Some(Origin { node, number }) = own.or(origin) else { return };
        // Guests count apart: their numbers and those of replicas say nothing about each other.
        let guest = is_guest(number);
        let here = node == self.node.0 && !guest;
        let mut early = Vec::new();
        for round in &mut self.rounds {
            let before = |request: &Request| {
                let same = match request.who {
                    Who::Client(_) => here,
                    Who::Node(other) => other.0 == node,
                    Who::Nobody => false,
                };
                same && is_guest(request.number) == guest && request.number < number
            };
            early.extend(round.reads.extract_if(.., |(request, _)| before(request)));
        }
        if here {
            for (number, pending) in self.gateway.take_reads_before(number) {
                let who = Who::Client(pending.ticket);
                early.push((Request { who, number }, pending.op));
            }
        }
        for (request, op) in early {
            self.read_in_place(moment, request, &op, out);
        }
    }

    /// Operations that end waits: the clients of this node are told here, since the shard knows
    /// them only by their origins.
    fn note_body(&mut self, body: &Body, out: &mut Effects) {
        match body {
            Body::Tick => self.tick_pending = false,
            Body::DropWaiters { .. } if planted!("waiters-forgotten") => {}
            Body::DropWaiters { node } => self.drop_waiters(*node, out),
            Body::Unblock { target, how: Unblock::Gone } if self.shard.is_waiting(*target) => {
                // Should it come again, it is not to begin anew.
                self.remember(*target, UNBLOCKED);
                if let Some(ticket) = self.waits.remove(target) {
                    out.replies.put(ticket, UNBLOCKED);
                }
            }
            _ => {}
        }
    }

    /// The clients of this node, or of all, wait no longer for keys.
    fn drop_waiters(&mut self, node: Option<u32>, out: &mut Effects) {
        for origin in self.shard.waits(node) {
            // Whoever did not hear it asks again, and must not begin to wait anew.
            self.remember(origin, UNBLOCKED);
            if let Some(ticket) = self.waits.remove(&origin) {
                out.replies.put(ticket, UNBLOCKED);
            } else {
                self.answer_origin(origin, UNBLOCKED.to_vec());
            }
        }
    }

    /// Should its node ask again, what became of its request is known.
    fn remember(&mut self, origin: Origin, reply: &[u8]) {
        // Of what a leader took from its own clients its node alone knows.
        if origin.node != keyspace::txn::PARKED {
            self.memo.put_reply(self.applied, origin, reply);
        }
    }

    /// The leader tells the node that has asked.
    fn answer_origin(&mut self, origin: Origin, reply: Vec<u8>) {
        if self.leads() && origin.node != keyspace::txn::PARKED {
            self.answer_node(NodeId(origin.node), origin.number, reply);
        }
    }

    /// Gives the reply that was just written to whoever waits for it, and passes on what followed.
    fn settle(
        &mut self,
        request: Option<Request>,
        origin: Option<Origin>,
        outcome: Outcome,
        out: &mut Effects,
    ) {
        let request = request.or_else(|| self.request_of(origin));
        if let Some(origin) = origin {
            match outcome {
                Outcome::Blocked | Outcome::Parked { .. } => self.memo.put_waits(origin),
                _ => self.memo.put_reply(self.applied, origin, out.replies.open()),
            }
        }
        let origin_here = origin.filter(|origin| origin.node == self.node.0);
        match (outcome, request.map(|request| request.who)) {
            (Outcome::Blocked, who) => {
                if let (Some(origin), Some(Who::Client(ticket))) = (origin_here, who) {
                    self.waits.insert(origin, ticket);
                }
            }
            (Outcome::Parked { origin }, who) => {
                if let Some(Who::Client(ticket)) = who {
                    self.waits.insert(origin, ticket);
                }
            }
            (_, Some(Who::Client(ticket))) => out.replies.close(ticket),
            (_, Some(Who::Node(node))) => {
                let number = request.expect("there is somebody").number;
                self.answer_node(node, number, out.replies.take());
            }
            (_, Some(Who::Nobody) | None) => out.replies.discard(),
        }
        self.answer_held(out);
        for Late { origin, reply } in std::mem::take(&mut self.shard_fx.late) {
            self.settle_late(origin, reply, out);
        }
        self.publish(out);
    }

    /// Subscribers at the nodes of other replicas hear of it when those have applied it too; those at
    /// nodes that have none, by the leader that has proposed it.
    fn publish(&mut self, out: &mut Effects) {
        if self.shard_fx.publish.is_empty() {
            return;
        }
        let publish = std::mem::take(&mut self.shard_fx.publish);
        self.hurry = true;
        if self.leads() && self.is_settled() {
            out.abroad.extend(publish.iter().map(|one| (self.id, one.clone())));
        }
        out.publish.extend(publish);
    }

    /// The request of this node's gateway that this operation is, if it still waits.
    fn request_of(&mut self, origin: Option<Origin>) -> Option<Request> {
        let mine = |origin: &Origin| origin.node == self.node.0 && !is_guest(origin.number);
        let origin = origin.filter(mine)?;
        self.gateway.note_applied(origin.number);
        let pending = self.gateway.take(origin.number)?;
        Some(Request { who: Who::Client(pending.ticket), number: origin.number })
    }

    /// A blocked call has its reply. The leader tells the gateway at once; the gateway also finds
    /// out by itself.
    fn settle_late(&mut self, origin: Origin, reply: Vec<u8>, out: &mut Effects) {
        self.remember(origin, &reply);
        if let Some(ticket) = self.waits.remove(&origin) {
            out.replies.put(ticket, &reply);
        } else if let Some(request) = self.request_of(Some(origin)) {
            self.answer(request, &reply, out);
        } else {
            self.answer_origin(origin, reply);
        }
    }

    /// Answers of the leader to requests of this node's clients.
    pub(crate) fn answered(&mut self, applied: Index, answers: Vec<Answer>, out: &mut Effects) {
        self.answered = self.answered.max(applied);
        for Answer { number, reply, refused } in answers {
            if self.gateway.asks_another(number, refused) {
                continue;
            }
            let origin = Origin { node: self.node.0, number };
            let asked = || self.gateway.pass(number).map(|pending| pending.ticket);
            let ticket = self.waits.remove(&origin).or_else(asked);
            if let Some(ticket) = ticket.or_else(|| self.take_held(number)) {
                self.note_followed(number, ticket);
                out.replies.put(ticket, &reply);
            }
        }
    }

    /// Runs the reads of the rounds that are confirmed and whose index is applied.
    pub(super) fn run_rounds(&mut self, moment: Moment, out: &mut Effects) {
        let ready = |index: Option<Index>, applied| index.is_some_and(|i| i <= applied);
        while let Some(round) = self.rounds.front() {
            if !ready(round.index, self.applied) {
                return;
            }
            let round = self.rounds.pop_front().expect("it was just looked at");
            self.lease = None;
            for (request, op) in round.reads {
                self.read_into(moment, request, &op, out);
            }
            for (target, question) in round.questions {
                self.tell_index(target, question, out);
            }
        }
    }

    /// Runs a read whose turn has come, if this replica still may.
    fn run_read(&mut self, moment: Moment, request: Request, op: &[u8], out: &mut Effects) {
        if !self.leads() {
            return self.read_elsewhere(moment, request, op);
        }
        if self.may_read(moment) {
            return self.read_into(moment, request, op, out);
        }
        let round = self.rounds.back_mut().expect("may_read leaves a round to wait in");
        round.reads.push((request, op.to_vec()));
    }

    /// Runs a read whose turn has come. One that meets a key that has come due waits for the log's
    /// clock to move; where something is on its way already, which may have come after it, just before
    /// that.
    fn read_into(&mut self, moment: Moment, request: Request, op: &[u8], out: &mut Effects) {
        let mut reply = Vec::new();
        match self.read_op(self.wall(moment), op, &mut reply) {
            Outcome::Due if !self.leads() => self.read_elsewhere(moment, request, op),
            Outcome::Due if self.open.is_empty() && self.flight.is_empty() => {
                self.push_tick(moment);
                let put = |out: &mut Vec<u8>| out.extend_from_slice(op);
                self.open.push_read(moment.now, request, put);
            }
            Outcome::Due => {
                let next =
                    self.flight.front_mut().map_or(&mut self.open, |flight| &mut flight.batch);
                next.push_read_first(request, op);
            }
            Outcome::Locked => self.hold(moment, request, op, out),
            _ => self.answer(request, &reply, out),
        }
    }

    /// Runs a read at this place of the log, by the log's clock.
    fn read_in_place(&mut self, moment: Moment, request: Request, op: &[u8], out: &mut Effects) {
        let mut reply = Vec::new();
        match self.read_op(self.shard.clock(), op, &mut reply) {
            Outcome::Locked => self.hold(moment, request, op, out),
            outcome => {
                assert!(outcome == Outcome::Replied, "no key is due by the log's own clock");
                self.answer(request, &reply, out);
            }
        }
    }

    /// The map that this group has agreed on, if it keeps one.
    pub(crate) fn read_map(&mut self, moment: Moment) -> Option<Map> {
        let asker = Asker { db: 0, proto: wire::Proto::Resp2, origin: None };
        let get: wire::ArgsBuf = [&b"get"[..], MAP_KEY].into_iter().collect();
        let (wall, mut reply) = (self.wall(moment).max(self.shard.clock()), Vec::new());
        self.shard.read(wall, 0, asker, get.args(), false, &mut reply);
        let end = reply.windows(2).position(|pair| pair == b"\r\n")?;
        Map::decode(reply.get(end + 2..reply.len().checked_sub(2)?)?).ok()
    }

    pub(super) fn read_op(
        &mut self,
        wall: stdx::Millis,
        op: &[u8],
        reply: &mut Vec<u8>,
    ) -> Outcome {
        let mut spans = Vec::new();
        let (asker, args) = call_of(op, &mut spans);
        self.read_seed += 1;
        // Its client may have asked for something before.
        self.shard.read(wall, self.read_seed, asker, args, true, reply)
    }
}

/// The call that a read is, and who asks. It was checked when it came.
pub(super) fn call_of<'a>(op: &'a [u8], spans: &'a mut Vec<Span>) -> (Asker, Args<'a>) {
    const WHOLE: &str = "a read was checked when it came";
    let mut reader = Reader::new(op);
    let head = op::read_head(&mut reader).expect(WHOLE);
    let db = op::read_call(&mut reader, spans).expect(WHOLE);
    (Asker { db: usize::from(db), proto: head.proto, origin: None }, Args::new(op, spans))
}

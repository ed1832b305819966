//! A guest: the requests of this node's clients to a group of which it has no replica.
//!
//! It sends them to whoever leads, with the term in which that is believed, as a gateway does. But
//! it applies no log, so it learns what became of a request from the leader alone: by its answer,
//! or, if that leader is gone, by what the next one remembers (`memo`).
//!
//! A gateway whose replica has leapt over a part of the log is no better off, for what it had sent by
//! then: the guest adopts that, under the numbers by which it is remembered.
//!
//! Who leads, nodes say themselves (`Health::leads`), at once when it changes, and whoever is asked
//! in vain says what it knows (`Message::Astray`).
//!
//! What always holds: numbers are sent in ascending order within a term; a request that was sent to
//! a leader of an earlier term goes again only as a retry, which the leader looks up before it does
//! anything.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Index, NodeId, Term};
use keyspace::blocking::Waiter;
use keyspace::op::{self, Body, Op, Origin, Unblock};
use keyspace::txn::Txn;
use stdx::codec::Reader;
use stdx::{Instant, mark, planted};
use wire::Proto;

use crate::batch::{op_from, read_op};
use crate::effects::Effects;
use crate::gateway::{self, Leapt, is_late};
use crate::limits::{
    BATCH_BYTES, EXPIRE_INTERVAL, GATEWAY_REQUESTS_MAX, GUEST_PATIENCE, REQUEST_TIMEOUT,
    WAITING_BYTES_MAX,
};
use crate::memo::{GUEST, is_guest};
use crate::message::{Answer, Forwarded, GroupId, Kind, Message};
use crate::request::{BOOT_SHIFT, Call, Exec, Moment, NO_LEADER, Ticket, UNBLOCKED, UNKNOWN};

/// What may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    /// Only what a replica that has leapt was asked for: for the rest it is not time.
    Adopted,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    kind: Kind,
    after: bool,
    op: Vec<u8>,
    /// The first term in which it was sent, and how far the log was known by then.
    sent: Option<(Term, Index)>,
    born: Instant,
    /// It may wait for a key for ever.
    may_block: bool,
}

/// A call that waited for a key at a replica of this node.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) waiter: Waiter,
    /// When its time is over.
    pub(crate) until: Instant,
}

/// The same, once that replica is gone: what became of it is asked. If it still waited, it waits on
/// from here.
#[derive(Debug)]
struct Orphan {
    target: u64,
    ticket: Ticket,
    wait: Option<Wait>,
}

/// What a client waits for here.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    requests: usize,
    /// Reads among them that a replica has sent before it leapt. What came later waits for them: its
    /// number does not say that it did.
    adopted_reads: usize,
    /// The newest write that it has asked for.
    last_write: u64,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Guest {
    id: GroupId,
    node: NodeId,
    next_number: u64,
    pending: BTreeMap<u64, Pending>,
    unsent: BTreeSet<u64>,
    /// Those that wait for anything.
    clients: BTreeMap<u64, Client>,
    bytes: usize,
    /// By the number of the request that ends the wait.
    orphans: BTreeMap<u64, Orphan>,
    /// Under which number a call waits here that waited at a replica.
    renamed: BTreeMap<u64, u64>,
    /// The newest term that was heard of, and who leads in it, if that is known.
    leader: (Term, Option<NodeId>),
    /// How far the log is known to be committed.
    floor: Index,
    /// When to send everything once more, if nothing is heard until then.
    impatient_at: Instant,
    next_expire: Instant,
}

impl Guest {
    /// One that has asked for nothing yet.
    pub(crate) fn new(id: GroupId, node: NodeId, boot: u64) -> Guest {
        Guest {
            id,
            node,
            next_number: GUEST | boot << BOOT_SHIFT,
            pending: BTreeMap::new(),
            unsent: BTreeSet::new(),
            clients: BTreeMap::new(),
            bytes: 0,
            orphans: BTreeMap::new(),
            renamed: BTreeMap::new(),
            leader: (Term(0), None),
            floor: Index(0),
            impatient_at: Instant::FAR,
            next_expire: Instant::FAR,
        }
    }

    /// Does nothing wait?
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Does this client wait for anything here?
    pub(crate) fn serves(&self, ticket: Ticket) -> bool {
        ticket.client().is_some_and(|client| self.clients.contains_key(&client))
    }

    /// Is this a request that waits here?
    pub(crate) fn asks(&self, number: u64) -> bool {
        self.pending.contains_key(&number)
    }

    /// May it take more requests? If not, clients are held back.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < WAITING_BYTES_MAX && self.pending.len() < GATEWAY_REQUESTS_MAX
    }

    /// Who leads, as far as it was heard.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leader.1
    }

    /// How far the log is known to be committed.
    pub(crate) fn floor(&self) -> Index {
        self.floor
    }

    /// A command of one of this node's clients.
    pub(crate) fn call(&mut self, moment: Moment, call: Call<'_>) -> u64 {
        let Call { ticket, db, proto, kind, after, may_block, args, .. } = call;
        let number = self.number();
        let origin = Origin { node: self.node.0, number };
        let mut op = Vec::new();
        op::put_call(&mut op, proto, Some(origin), db, args);
        let (sent, born) = (None, moment.now);
        self.put(number, Pending { ticket, kind, after, op, sent, born, may_block });
        number
    }

    /// MULTI's queue.
    pub(crate) fn exec(&mut self, moment: Moment, exec: Exec) -> u64 {
        let Exec { ticket, proto, watches, calls, rollback } = exec;
        self.write(moment, ticket, proto, Body::Exec { watches, calls, rollback })
    }

    /// A message about a transaction.
    pub(crate) fn transact(&mut self, moment: Moment, ticket: Ticket, proto: Proto, txn: Txn) {
        self.write(moment, ticket, proto, Body::Txn(Box::new(txn)));
    }

    /// Ends the wait of a blocked call; see `Group::unblock`. Returns who waited and is not told: one
    /// that is gone.
    pub(crate) fn unblock(
        &mut self,
        moment: Moment,
        target: u64,
        how: Unblock,
        ticket: Option<Ticket>,
    ) -> Option<Ticket> {
        let target = self.renamed.get(&target).copied().unwrap_or(target);
        if let Some(orphan) = self.orphans.values_mut().find(|orphan| orphan.target == target) {
            // It begins no wait anew that somebody wants to end.
            orphan.wait = None;
        }
        // Nobody waits for it: the next leader is not to be asked for it again.
        let gone = if how == Unblock::Gone { self.take(target) } else { None };
        let target = Origin { node: self.node.0, number: target };
        let ticket = ticket.unwrap_or(Ticket::NOBODY);
        self.write(moment, ticket, Proto::Resp2, Body::Unblock { target, how });
        gone.map(|pending| pending.ticket)
    }

    /// A call waits for a key, and the replica that would hear what becomes of it is about to go. Its
    /// client is told that it was not executed once the log says so, and no earlier.
    pub(crate) fn adopt_wait(
        &mut self,
        moment: Moment,
        target: u64,
        ticket: Ticket,
        wait: Option<Wait>,
    ) {
        let origin = Origin { node: self.node.0, number: target };
        let body = Body::Unblock { target: origin, how: Unblock::Gone };
        let number = self.write(moment, Ticket::NOBODY, Proto::Resp2, body);
        self.orphans.insert(number, Orphan { target, ticket, wait });
    }

    /// Did the call of this number wait at a replica, and is it waited for here now?
    pub(crate) fn adopted(&self, target: u64) -> bool {
        self.renamed.contains_key(&target)
            || self.asks(target)
            || self.orphans.values().any(|orphan| orphan.target == target)
    }

    /// All that waits at the gateway of a replica that has leapt. What was sent keeps its number, and
    /// reads keep theirs; a write that was not gets a new one, lest the leader takes it for one that it
    /// has had, and so do the reads behind it, to stay there.
    pub(crate) fn adopt(&mut self, leapt: Leapt) {
        let Leapt { pending, unsent, passed } = leapt;
        let mut is_behind = false;
        for (number, pending) in pending {
            let gateway::Pending { ticket, kind, after, op, sent, born } = pending;
            let may_block = may_wait(&op);
            let pending = Pending { ticket, kind, after, op, sent, born, may_block };
            let is_new = kind == Kind::Write && sent.is_none();
            is_behind |= is_new;
            if is_new || is_behind && kind == Kind::Read && !planted!("adopted-read-overtakes") {
                let new = self.ask_anew(pending);
                if may_block {
                    self.renamed.insert(number, new);
                }
                continue;
            }
            self.put(number, pending);
            // Where it was sent to it need not go again.
            let is_on_its_way = sent.is_some_and(|(term, _)| term == self.leader.0);
            if is_on_its_way && !unsent.contains(&number) {
                self.unsent.remove(&number);
            }
        }
        for (number, client) in passed {
            if let Some(client) = self.clients.get_mut(&client) {
                client.last_write = client.last_write.max(number);
            }
        }
    }

    /// An answer to what a replica asked for that was here.
    pub(crate) fn answered_to_orphan(&mut self, answer: &Answer, out: &mut Effects) {
        let found = self.orphans.iter().find(|(_, orphan)| orphan.target == answer.number);
        if let Some((number, _)) = found
            && let Some(orphan) = self.orphans.remove(&number.clone())
        {
            out.replies.put(orphan.ticket, &answer.reply);
        }
    }

    /// What ends a wait was answered: did it still wait? Then it waits on, behind others. If not,
    /// somebody was told what came of it, and that was lost.
    fn end_wait(&mut self, moment: Moment, number: u64, reply: &[u8], out: &mut Effects) {
        let Some(Orphan { target, ticket, wait }) = self.orphans.remove(&number) else { return };
        match wait {
            _ if !reply.starts_with(b":1") => out.replies.put(ticket, UNKNOWN),
            None => out.replies.put(ticket, UNBLOCKED),
            Some(wait) => self.wait_on(moment, target, ticket, &wait),
        }
    }

    fn wait_on(&mut self, moment: Moment, target: u64, ticket: Ticket, wait: &Wait) {
        mark!("a call waits on where its replica was");
        let again = wait.waiter.call_for(wait.until.since(moment.now));
        let (proto, db, args) = (wait.waiter.proto, wait.waiter.db as u8, again.args());
        let (kind, after, replica, may_block) = (Kind::Write, true, false, true);
        let call = Call { ticket, db, proto, kind, after, replica, may_block, args };
        let number = self.call(moment, call);
        self.renamed.insert(target, number);
    }

    fn write(&mut self, moment: Moment, ticket: Ticket, proto: Proto, body: Body) -> u64 {
        let number = self.number();
        let origin = Some(Origin { node: self.node.0, number });
        let mut op = Vec::new();
        op::put_op(&mut op, &Op { proto, origin, body });
        let (kind, sent, born) = (Kind::Write, None, moment.now);
        self.put(number, Pending { ticket, kind, after: true, op, sent, born, may_block: false });
        number
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn put(&mut self, number: u64, pending: Pending) {
        if self.pending.is_empty() {
            self.next_expire = pending.born + EXPIRE_INTERVAL;
            self.impatient_at = pending.born + GUEST_PATIENCE;
        }
        if let Some(client) = pending.ticket.client() {
            let client = self.clients.entry(client).or_default();
            client.requests += 1;
            client.adopted_reads += usize::from(is_adopted_read(number, &pending));
            if pending.kind == Kind::Write {
                client.last_write = client.last_write.max(number);
            }
        }
        self.bytes += pending.op.len();
        self.unsent.insert(number);
        self.pending.insert(number, pending);
    }

    fn remove(&mut self, number: u64) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        self.unsent.remove(&number);
        self.bytes -= pending.op.len();
        Some(pending)
    }

    fn take(&mut self, number: u64) -> Option<Pending> {
        let pending = self.remove(number)?;
        self.renamed.retain(|_, new| *new != number);
        if self.pending.is_empty() {
            (self.next_expire, self.impatient_at) = (Instant::FAR, Instant::FAR);
        }
        if let Some(id) = pending.ticket.client()
            && let Some(client) = self.clients.get_mut(&id)
        {
            client.requests -= 1;
            let is_adopted = is_adopted_read(number, &pending);
            client.adopted_reads -= usize::from(is_adopted);
            let is_free = is_adopted && client.adopted_reads == 0;
            if client.requests == 0 {
                self.clients.remove(&id);
            } else if is_free && !planted!("held-under-its-old-number") {
                self.renumber(id);
            }
        }
        Some(pending)
    }

    /// What this client has asked for waited for its replica's reads, and goes behind what others have asked for
    /// meanwhile: the leader drops a number that is below one that it has had. A CLIENT UNBLOCK that names the old
    /// number, and is not sent yet either, finds nobody, and may be repeated.
    fn renumber(&mut self, id: u64) {
        let waits = |number: &u64| {
            let pending = &self.pending[number];
            pending.sent.is_none() && pending.ticket.client() == Some(id)
        };
        let numbers: Vec<u64> = self.unsent.range(GUEST..).copied().filter(waits).collect();
        for number in numbers {
            mark!("what waited for a replica's reads gets a new number");
            let pending = self.remove(number).expect("unsent numbers are pending");
            let renamed = self.renamed.extract_if(.., |_, new| *new == number);
            let mut names: Vec<u64> = renamed.map(|(name, _)| name).collect();
            names.extend(pending.may_block.then_some(number));
            let client = self.clients.get_mut(&id).expect("it has asked for something");
            client.requests -= 1;
            let new = self.ask_anew(pending);
            self.renamed.extend(names.into_iter().map(|name| (name, new)));
        }
    }

    /// Somebody leads in this term, or nobody that the teller knows.
    pub(crate) fn hear(&mut self, term: Term, leader: Option<NodeId>) {
        let newer = term > self.leader.0 || term == self.leader.0 && self.leader.1.is_none();
        if newer {
            self.leader = (term, leader);
            self.unsent.extend(self.pending.keys().copied());
        }
    }

    /// A node that was asked does not lead.
    pub(crate) fn hear_astray(&mut self, source: NodeId, term: Term, leader: Option<NodeId>) {
        if self.leader.1 == Some(source) && leader != Some(source) {
            self.leader.1 = None;
        }
        if leader.is_some() {
            self.hear(term, leader);
        }
    }

    /// The log is committed up to here, at least.
    pub(crate) fn hear_applied(&mut self, applied: Index) {
        self.floor = self.floor.max(applied);
    }

    /// The connection to a node was made anew: what was sent to it may be lost.
    pub(crate) fn peer_up(&mut self, peer: NodeId) {
        if self.leader.1 == Some(peer) {
            self.unsent.extend(self.pending.keys().copied());
        }
    }

    /// A node is gone.
    pub(crate) fn peer_gone(&mut self, peer: NodeId) {
        if self.leader.1 == Some(peer) {
            self.leader.1 = None;
        }
    }

    /// Sends what was not sent yet to whoever leads.
    pub(crate) fn flush(&mut self, which: Which, out: &mut Effects) {
        let Some(leader) = self.leader.1 else { return };
        if let Some((term, requests)) = self.take_unsent(which) {
            out.send.push((leader, Message::Forward { group: self.id, term, requests }));
        }
    }

    /// Is a replica's write to be sent? Then that replica's later ones wait, for its numbers ascend.
    pub(crate) fn owes_adopted(&self) -> bool {
        let mut adopted = self.unsent.range(..GUEST);
        adopted.any(|number| self.pending[number].kind == Kind::Write)
    }

    /// Is there anything to send, and somebody to send it to?
    pub(crate) fn has_unsent(&self) -> bool {
        self.leader.1.is_some() && !self.unsent.is_empty()
    }

    /// What was not sent yet, for the leader of a term, if there is one.
    pub(crate) fn take_unsent(&mut self, which: Which) -> Option<(Term, Vec<Forwarded>)> {
        let (term, Some(_)) = self.leader else { return None };
        let (mut requests, mut held, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < BATCH_BYTES {
            let Some(number) = self.unsent.pop_first() else { break };
            let pending = self.pending.get_mut(&number).expect("unsent numbers are pending");
            let client = pending.ticket.client().and_then(|client| self.clients.get(&client));
            let waits = client.is_some_and(|client| client.adopted_reads > 0);
            if is_guest(number) && (waits || which == Which::Adopted) {
                held.push(number);
                continue;
            }
            let (first, floor) = *pending.sent.get_or_insert((term, self.floor));
            bytes += pending.op.len();
            let Pending { kind, after, .. } = *pending;
            // Of an earlier leader nobody here knows what it has done, however often this one is
            // asked.
            // A replica's reads are told to nobody who does not say so: it is there to serve them.
            let retry = (first < term || is_adopted_read(number, pending)).then_some(floor);
            if retry.is_some() {
                mark!("a guest asks the next leader again");
            }
            if planted!("second-retry-is-new") {
                pending.sent = Some((term, floor));
            }
            let retry = retry.filter(|_| !planted!("guest-forgets-that-it-asked"));
            requests.push(Forwarded { number, kind, after, retry, op: pending.op.clone() });
        }
        self.unsent.extend(held);
        (!requests.is_empty()).then_some((term, requests))
    }

    /// Somebody takes this node for the leader: it is told what is known here.
    pub(crate) fn point(&self, source: NodeId, out: &mut Effects) {
        let (group, (term, leader)) = (self.id, self.leader);
        out.send.push((source, Message::Astray { group, term, leader }));
    }

    /// Answers of a leader.
    pub(crate) fn answered(
        &mut self,
        moment: Moment,
        applied: Index,
        answers: Vec<Answer>,
        out: &mut Effects,
    ) {
        self.hear_applied(applied);
        if !answers.is_empty() {
            self.impatient_at = moment.now + GUEST_PATIENCE;
        }
        for Answer { number, reply, refused } in answers {
            // It has gone, or goes, to the leader that is known now.
            if is_late(refused, Some(self.leader.0)) {
                continue;
            }
            self.end_wait(moment, number, &reply, out);
            let Some(pending) = self.pending.get(&number) else { continue };
            let refused = pending.kind == Kind::Read && reply == NO_LEADER;
            let is_late = moment.now.since(pending.born) >= REQUEST_TIMEOUT;
            let again = refused && !is_late && !self.is_followed(number, pending.ticket);
            // Before those of what waits for it.
            let new = again.then(|| self.number());
            let pending = self.take(number).expect("it was just looked up");
            if let Some(new) = new {
                mark!("a guest asks for a read anew");
                self.put_anew(new, pending);
            } else {
                out.replies.put(pending.ticket, &reply);
            }
        }
    }

    fn ask_anew(&mut self, pending: Pending) -> u64 {
        let number = self.number();
        self.put_anew(number, pending);
        number
    }

    fn put_anew(&mut self, number: u64, pending: Pending) {
        let before = read_op(&mut Reader::new(&pending.op));
        let op = op_from(before, Origin { node: self.node.0, number });
        self.put(number, Pending { op, sent: None, ..pending });
    }

    /// Has the client of this request asked for a write since? Then its read may not come behind that:
    /// one that comes anew does.
    fn is_followed(&self, number: u64, ticket: Ticket) -> bool {
        let client = ticket.client().and_then(|client| self.clients.get(&client));
        client.is_some_and(|client| client.last_write > number)
    }

    /// Tells clients that have waited too long.
    pub(crate) fn tick(&mut self, moment: Moment, out: &mut Effects) {
        if self.next_expire > moment.now {
            return;
        }
        self.next_expire = moment.now + EXPIRE_INTERVAL;
        if self.impatient_at <= moment.now {
            self.impatient_at = moment.now + GUEST_PATIENCE;
            let oldest = moment.now - GUEST_PATIENCE;
            let late = self.pending.iter().filter(|(_, pending)| pending.born < oldest);
            self.unsent.extend(late.map(|(number, _)| *number));
        }
        let oldest = moment.now - REQUEST_TIMEOUT;
        let late = |pending: &Pending| {
            let waits = pending.may_block && pending.sent.is_some();
            pending.born < oldest && !waits
        };
        let overdue = self.pending.iter().filter(|(_, pending)| late(pending));
        let numbers: Vec<u64> = overdue.map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(pending) = self.take(number) else { continue };
            self.end_wait(moment, number, UNKNOWN, out);
            let lost = pending.kind == Kind::Read || pending.sent.is_none();
            out.replies.put(pending.ticket, if lost { NO_LEADER } else { UNKNOWN });
        }
    }

    /// When `tick` has something to do.
    pub(crate) fn deadline(&self) -> Instant {
        self.next_expire
    }
}

/// Is it a read that a replica sent, or was about to, before it leapt?
fn is_adopted_read(number: u64, pending: &Pending) -> bool {
    pending.kind == Kind::Read && !is_guest(number)
}

/// May this operation wait for a key?
fn may_wait(op: &[u8]) -> bool {
    match read_op(&mut Reader::new(op)).body {
        Body::Call { args, .. } => keyspace::command::may_wait(args.args()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use keyspace::context::OnTimeout;
    use stdx::Millis;
    use wire::ArgsBuf;

    use super::*;

    const OLD: u64 = 7;
    const TICKET: Ticket = Ticket(40);

    fn moment(millis: u64) -> Moment {
        Moment { now: Instant(millis * 1_000_000), wall: Millis(millis) }
    }

    /// A guest whose replica has left while a client waited for two seconds more, and the number of
    /// what asks whether it did.
    fn bereaved() -> (Guest, u64) {
        let mut guest = Guest::new(GroupId(0), NodeId(1), 1);
        guest.hear(Term(3), Some(NodeId(2)));
        let args: ArgsBuf = ["BLPOP", "queue", "30"].iter().map(|word| word.as_bytes()).collect();
        let (keys, deadline) = (vec![b"queue".to_vec()], Millis(31_000));
        let (origin, on_timeout) = (Origin { node: 1, number: OLD }, OnTimeout::NullArray);
        let proto = Proto::Resp3;
        let waiter = Waiter { origin, proto, db: 4, args, keys, deadline, on_timeout };
        let wait = Wait { waiter, until: moment(3_000).now };
        guest.adopt_wait(moment(1_000), OLD, TICKET, Some(wait));
        let number = guest.next_number;
        (guest, number)
    }

    fn answer(guest: &mut Guest, millis: u64, number: u64, reply: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let (mut out, reply) = (Effects::default(), reply.to_vec());
        guest.answered(
            moment(millis),
            Index(9),
            vec![Answer { number, reply, refused: None }],
            &mut out,
        );
        let told = out.replies.iter().filter(|(ticket, _)| *ticket != Ticket::NOBODY);
        told.map(|(ticket, reply)| (ticket.0, reply.to_vec())).collect()
    }

    /// What was asked for last, in words.
    fn asked(guest: &Guest) -> Op {
        let (_, pending) = guest.pending.last_key_value().expect("something is asked");
        read_op(&mut Reader::new(&pending.op))
    }

    #[test]
    fn a_call_that_still_waited_waits_on_for_the_rest_of_its_time() {
        let (mut guest, number) = bereaved();
        assert_eq!(answer(&mut guest, 1_500, number, b":1\r\n"), []);
        let Op { proto: Proto::Resp3, origin: Some(origin), body: Body::Call { db: 4, args } } =
            asked(&guest)
        else {
            panic!("another call than that which waited");
        };
        let words: Vec<&[u8]> = args.args().iter().collect();
        assert_eq!(words, [&b"BLPOP"[..], b"queue", b"1.500"]);
        assert!(origin.number > number && guest.adopted(OLD));
        let reply = b"*2\r\n$5\r\nqueue\r\n$1\r\nx\r\n";
        let told = answer(&mut guest, 1_600, origin.number, reply);
        assert_eq!(told, [(TICKET.0, reply.to_vec())]);
        assert!(guest.is_empty() && !guest.adopted(OLD));
    }

    #[test]
    fn a_read_that_is_refused_is_asked_anew_unless_its_client_has_written_since() {
        for followed in [false, true] {
            let mut guest = Guest::new(GroupId(0), NodeId(1), 1);
            guest.hear(Term(3), Some(NodeId(2)));
            let args: ArgsBuf = ["GET", "k"].iter().map(|word| word.as_bytes()).collect();
            let (kind, proto, args) = (Kind::Read, Proto::Resp2, args.args());
            let (after, replica, may_block, db) = (false, false, false, 0);
            let call = Call { ticket: TICKET, db, proto, kind, after, replica, may_block, args };
            let number = guest.call(moment(1_000), call);
            if followed {
                guest.call(moment(1_001), Call { ticket: Ticket(41), kind: Kind::Write, ..call });
            }
            let told = answer(&mut guest, 1_100, number, NO_LEADER);
            if followed {
                assert_eq!(told, [(TICKET.0, NO_LEADER.to_vec())]);
                continue;
            }
            assert_eq!(told, []);
            let origin = asked(&guest).origin.unwrap();
            assert!(origin.number > number);
            let told = answer(&mut guest, 1_200, origin.number, b"$1\r\nv\r\n");
            assert_eq!(told, [(TICKET.0, b"$1\r\nv\r\n".to_vec())]);
        }
    }

    /// What a replica has left that has leapt: a read and a write that were sent to the leader of term
    /// 3 when 5 entries were applied, and a write that was not sent.
    fn leapt() -> Leapt {
        let pending = |number: u64, kind, words: &[&str], sent| {
            let args: ArgsBuf = words.iter().map(|word| word.as_bytes()).collect();
            let mut op = Vec::new();
            op::put_call(&mut op, Proto::Resp2, Some(Origin { node: 1, number }), 0, args.args());
            let (ticket, born) = (Ticket(number << 32), moment(900).now);
            (number, gateway::Pending { ticket, kind, after: false, op, sent, born })
        };
        let sent = Some((Term(3), Index(5)));
        let pending = BTreeMap::from([
            pending(10, Kind::Read, &["GET", "k"], sent),
            pending(12, Kind::Write, &["SET", "k", "v"], sent),
            pending(14, Kind::Write, &["BLPOP", "queue", "30"], None),
        ]);
        Leapt { pending, unsent: [14].into(), passed: [(11, 10), (13, 99)].into() }
    }

    fn adopter() -> Guest {
        let mut guest = Guest::new(GroupId(0), NodeId(1), 1);
        guest.hear(Term(3), Some(NodeId(2)));
        guest.adopt(leapt());
        guest
    }

    fn sends(guest: &mut Guest) -> Vec<(u64, Option<Index>)> {
        let (_, requests) = guest.take_unsent(Which::All).unwrap_or_default();
        requests.iter().map(|request| (request.number, request.retry)).collect()
    }

    #[test]
    fn what_a_replica_sent_before_it_leapt_is_asked_of_the_next_leader_under_its_number() {
        let mut guest = adopter();
        let new = guest.next_number;
        assert_eq!(sends(&mut guest), [(new, None)], "the others are on their way");
        guest.hear(Term(4), Some(NodeId(3)));
        let floor = Some(Index(5));
        assert_eq!(sends(&mut guest), [(10, floor), (12, floor), (new, Some(Index(0)))]);
        assert_eq!(answer(&mut guest, 1_000, 12, b"+OK\r\n"), [(12 << 32, b"+OK\r\n".to_vec())]);
        assert!(guest.asks(10) && !guest.asks(12));
    }

    /// Seed 6692001: its client missed what it had written.
    #[test]
    fn a_read_behind_a_write_that_gets_a_new_number_gets_one_too() {
        let mut guest = Guest::new(GroupId(0), NodeId(1), 1);
        guest.hear(Term(3), Some(NodeId(2)));
        let mut leapt = leapt();
        let read = leapt.pending.remove(&10).unwrap();
        leapt.pending.insert(16, gateway::Pending { sent: None, ..read });
        leapt.unsent.insert(16);
        guest.adopt(leapt);
        let new = guest.next_number;
        assert_eq!(sends(&mut guest), [(new - 1, None), (new, None)]);
        assert!(!guest.asks(16));
    }

    #[test]
    fn a_call_that_a_leaping_replica_had_not_sent_is_ended_under_its_old_number() {
        let mut guest = adopter();
        let new = guest.next_number;
        assert!(guest.adopted(14) && guest.adopted(12) && !guest.adopted(13));
        guest.unblock(moment(1_000), 14, Unblock::Timeout, Some(TICKET));
        let Body::Unblock { target, how: Unblock::Timeout } = asked(&guest).body else {
            panic!("its wait is not ended");
        };
        assert_eq!(target, Origin { node: 1, number: new });
    }

    #[test]
    fn a_read_behind_which_a_write_was_answered_before_the_leap_is_not_asked_anew() {
        let mut guest = adopter();
        guest.peer_up(NodeId(2));
        assert_eq!(sends(&mut guest)[0], (10, Some(Index(5))), "it says that it is a guest's");
        let told = answer(&mut guest, 1_000, 10, NO_LEADER);
        assert_eq!(told, [(10 << 32, NO_LEADER.to_vec())]);

        let mut guest = Guest::new(GroupId(0), NodeId(1), 1);
        guest.hear(Term(3), Some(NodeId(2)));
        guest.adopt(Leapt { passed: Default::default(), ..leapt() });
        assert_eq!(answer(&mut guest, 1_000, 10, NO_LEADER), []);
        assert!(!guest.asks(10), "under a new number");
    }

    #[test]
    fn what_was_to_be_sent_again_still_is_and_later_writes_wait_for_earlier_reads() {
        let mut guest = Guest::new(GroupId(0), NodeId(1), 1);
        guest.hear(Term(3), Some(NodeId(2)));
        guest.adopt(Leapt { unsent: [12, 14].into(), ..leapt() });
        assert!(guest.owes_adopted());
        let args: ArgsBuf = ["SET", "k", "w"].iter().map(|word| word.as_bytes()).collect();
        let (kind, proto, args) = (Kind::Write, Proto::Resp2, args.args());
        let (after, replica, may_block, db) = (true, false, false, 0);
        let ticket = Ticket(10 << 32 | 1);
        let call = Call { ticket, db, proto, kind, after, replica, may_block, args };
        let later = guest.call(moment(1_000), call);
        assert_eq!(guest.take_unsent(Which::Adopted).unwrap().1.len(), 1);
        assert!(!guest.owes_adopted());
        assert_eq!(sends(&mut guest), [(later - 1, None)], "the write waits for number 10");
        answer(&mut guest, 1_001, 10, b"$1\r\nv\r\n");
        assert_eq!(sends(&mut guest), [(later + 1, None)], "numbers ascend");
        assert!(!guest.asks(later));
    }

    #[test]
    fn who_waits_for_nothing_is_not_served() {
        let mut guest = adopter();
        assert!(guest.serves(Ticket(12 << 32 | 7)) && !guest.serves(Ticket(13 << 32)));
        answer(&mut guest, 1_000, 12, b"+OK\r\n");
        assert!(!guest.serves(Ticket(12 << 32)));
    }

    #[test]
    fn one_that_waited_no_more_was_answered_and_nobody_knows_how() {
        let (mut guest, number) = bereaved();
        assert_eq!(answer(&mut guest, 1_500, number, b":0\r\n"), [(TICKET.0, UNKNOWN.to_vec())]);
        assert!(guest.is_empty());
    }

    #[test]
    fn a_client_that_goes_ends_its_wait_wherever_it_is() {
        let (mut guest, number) = bereaved();
        answer(&mut guest, 1_500, number, b":1\r\n");
        let renamed = Origin { node: 1, number: guest.next_number };
        guest.unblock(moment(1_600), OLD, Unblock::Gone, None);
        let Body::Unblock { target, how: Unblock::Gone } = asked(&guest).body else {
            panic!("its wait is not ended");
        };
        assert_eq!(target, renamed);

        let (mut guest, number) = bereaved();
        guest.unblock(moment(1_200), OLD, Unblock::Gone, None);
        answer(&mut guest, 1_500, number, b":1\r\n");
        let begun = guest.pending.values().any(|pending| pending.may_block);
        assert!(!begun, "a client that is gone waits");
    }
}

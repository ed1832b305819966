//! The coordinator: transactions over several shards, for this node's clients, and the recovery of
//! those that others left undecided.
//!
//! ```text
//! calls ─┬─ pieces ──▶ Prepare to each shard ─ all YES ─▶ reply, then Commit to each
//!        │                       └─ a NO ─▶ Abort to each; busy or changed: again
//!        ├─ scratch ─▶ fetch (or hold) ⇄ run ─┬─ nothing changed: the same versions again ─▶ reply
//!        │                                    └─ Prepare with compares and puts, as above
//!        └─ roams ───▶ in its shard, unless a key turns out to be elsewhere: then scratch
//! ```
//!
//! It asks the groups as a client would, under tickets of its own, so that forwarding, leader
//! changes and repetition are the gateway's business. An answer that says "unknown" is never taken
//! for a NO: then the shards are fenced, which settles it.
//!
//! What always holds: only this coordinator numbers transactions of this node; one is committed only
//! if every participant has agreed, and aborted by decree only if one has refused.
//!
//! `shared` design: "Transactions over shards"; Sinfonia (SOSP 2007); CockroachDB's parallel commits
//! for the reply before the second round.

mod hold;
mod plan;
mod run;
mod scratch;
mod scripts;
mod settle;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use consensus::NodeId;
use hashring::Shards;
use keyspace::Publish;
use keyspace::op::Unblock;
use keyspace::txn::{Doubt, Machine, Txn, TxnId};
use stdx::{Instant, Millis, Rng};
use wire::{ArgsBuf, Proto};

use crate::effects::Effects;
use crate::limits::REQUEST_TIMEOUT;
use crate::message::Kind;
use crate::request::{Asked, BOOT_SHIFT, Call, Exec, Moment, Ticket};
use crate::seats::Seats;

pub use plan::concerns_all;
pub(crate) use plan::is_everywhere;
use run::{Ask, Phase, Running};

/// What a client wants done at once.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) ticket: Ticket,
    pub(crate) exec: Exec,
    /// One call of a client, whose reply is the reply; else MULTI's queue.
    pub(crate) is_single: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Coordinator {
    node: NodeId,
    shards: Shards,
    boot: u64,
    serial: u64,
    running: BTreeMap<u64, Running>,
    /// Transactions of this node that are not known to be decided everywhere: their numbers, and
    /// who works on them.
    open: BTreeSet<(u64, u64)>,
    /// Those of others that are being recovered.
    recovering: BTreeSet<TxnId>,
    /// What is asked of groups and not answered yet.
    asks: BTreeMap<u64, (u64, Ask)>,
    next_ask: u64,
    ready: VecDeque<(u64, Vec<u8>)>,
    wakes: BTreeSet<(Instant, u64)>,
    /// The highest time that a shard was seen to have.
    clock: Millis,
    rng: Rng,
    /// What committed transactions have published.
    publish: Vec<Publish>,
    /// Scripts at the gateway run in it, one transaction's after the other's.
    machine: Machine,
}

impl Coordinator {
    /// One that has nothing to do yet.
    pub(crate) fn new(node: NodeId, shards: Shards, boot: u64) -> Coordinator {
        Coordinator {
            node,
            shards,
            boot,
            serial: 0,
            running: BTreeMap::new(),
            open: BTreeSet::new(),
            recovering: BTreeSet::new(),
            asks: BTreeMap::new(),
            next_ask: 0,
            ready: VecDeque::new(),
            wakes: BTreeSet::new(),
            clock: Millis(0),
            rng: Rng::new(boot ^ u64::from(node.0) << 32),
            publish: Vec::new(),
            machine: Machine::default(),
        }
    }

    /// Begins what a client wants, and returns its name for `unblock`.
    pub(crate) fn begin(&mut self, moment: Moment, request: Request, groups: &mut Seats) -> u64 {
        let serial = self.next_serial();
        let id = self.name(moment, serial, groups);
        let mut run = Running::new(id, moment.now + REQUEST_TIMEOUT);
        run.client = Some(request.ticket);
        run.request = Some(Box::new(request));
        self.open.insert((id.number, serial));
        self.start(moment, serial, &mut run, groups);
        self.keep(serial, run);
        serial
    }

    /// Settles a transaction that somebody left undecided.
    pub(crate) fn recover(&mut self, moment: Moment, doubt: Doubt, groups: &mut Seats) {
        let Doubt { txn, participants, .. } = doubt;
        let mine = txn.node == self.node.0
            && self.open.range((txn.number, 0)..(txn.number + 1, 0)).next().is_some();
        if mine || !self.recovering.insert(txn) {
            return;
        }
        let serial = self.next_serial();
        let mut run = Running::new(txn, Instant::FAR);
        let participants = participants.iter().map(|shard| *shard as usize);
        run.participants = participants.filter(|shard| *shard < groups.len()).collect();
        run.recovers = true;
        self.fence(moment, serial, &mut run, groups);
        self.keep(serial, run);
    }

    /// Ends a call that waits for keys, or may. False if it is none, or has just found something.
    pub(crate) fn unblock(
        &mut self,
        moment: Moment,
        serial: u64,
        how: Unblock,
        groups: &mut Seats,
        out: &mut Effects,
    ) -> bool {
        let Some(mut run) = self.running.remove(&serial) else { return false };
        let ended = self.end_wait(moment, &mut run, how, groups, out);
        self.keep(serial, run);
        ended
    }

    /// Does this ticket belong to the coordinator?
    pub(crate) fn owns(ticket: Ticket) -> bool {
        ticket != Ticket::NOBODY && ticket.0 & ASK != 0
    }

    /// Is anything asked of a group?
    pub(crate) fn waits(&self) -> bool {
        !self.asks.is_empty()
    }

    /// A group has answered.
    pub(crate) fn answered(&mut self, ticket: Ticket, reply: &[u8]) {
        self.ready.push_back((ticket.0 & !ASK, reply.to_vec()));
    }

    /// Works on all answers. True if there were any: what follows from them is asked of the groups.
    pub(crate) fn pump(&mut self, moment: Moment, groups: &mut Seats, out: &mut Effects) -> bool {
        let worked = !self.ready.is_empty();
        while let Some((ask, reply)) = self.ready.pop_front() {
            let Some((serial, ask_kind)) = self.asks.remove(&ask) else { continue };
            let Some(mut run) = self.running.remove(&serial) else { continue };
            if run.waits.remove(&ask) {
                self.heard(moment, serial, &mut run, ask_kind, &reply, groups, out);
            }
            self.keep(serial, run);
        }
        worked
    }

    /// Takes what committed transactions have published.
    pub(crate) fn take_publish(&mut self) -> Vec<Publish> {
        std::mem::take(&mut self.publish)
    }

    /// Does what time asks for.
    pub(crate) fn tick(&mut self, moment: Moment, groups: &mut Seats, out: &mut Effects) {
        while let Some((at, serial)) =
            self.wakes.first().copied().filter(|(at, _)| *at <= moment.now)
        {
            self.wakes.remove(&(at, serial));
            let Some(mut run) = self.running.remove(&serial) else { continue };
            if run.wake == at {
                self.woken(moment, serial, &mut run, groups, out);
            }
            self.keep(serial, run);
        }
    }

    /// When `tick` has something to do.
    pub(crate) fn deadline(&self) -> Instant {
        self.wakes.first().map_or(Instant::FAR, |(at, _)| *at)
    }

    /// Is there nothing to work on, and nothing asked?
    pub(crate) fn is_at_rest(&self) -> bool {
        self.running.is_empty() && self.asks.is_empty()
    }

    /// How many transactions it works on.
    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A name whose age is right by every clock that was seen.
    fn name(&mut self, moment: Moment, serial: u64, groups: &Seats) -> TxnId {
        let clocks = groups.used().map(|(_, seat)| seat.clock()).max();
        self.clock = self.clock.max(moment.wall).max(clocks.unwrap_or_default());
        let number = self.boot << BOOT_SHIFT | serial;
        TxnId { born: self.clock, node: self.node.0, number, attempt: 0 }
    }

    /// The transactions that this start of the node began and that are decided everywhere.
    fn done(&self) -> Range<u64> {
        let first = self.boot << BOOT_SHIFT;
        let open = self.open.first().map(|(number, _)| *number);
        first..open.unwrap_or(first | (self.serial + 1))
    }

    /// Puts it back, unless it is over.
    fn keep(&mut self, serial: u64, run: Running) {
        if let Phase::Over = run.phase {
            self.open.remove(&(run.id.number, serial));
            self.recovering.remove(&run.id);
            return;
        }
        if run.wake != Instant::FAR {
            self.wakes.insert((run.wake, serial));
        }
        self.running.insert(serial, run);
    }

    /// A ticket for a question about a transaction.
    fn ticket(&mut self, serial: u64, run: &mut Running, ask: Ask) -> Ticket {
        self.next_ask += 1;
        self.asks.insert(self.next_ask, (serial, ask));
        run.waits.insert(self.next_ask);
        Ticket(ASK | self.next_ask)
    }

    /// Sends a message about the transaction to a participant.
    fn tell(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (shard, ask, txn): (usize, Ask, Txn),
        groups: &mut Seats,
    ) {
        let ticket = self.ticket(serial, run, ask);
        let proto = run.proto();
        groups[shard].transact(moment, ticket, proto, txn);
    }

    /// Calls a command in a shard. Returns its number there, if it waits.
    fn call(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        question: Question<'_>,
        groups: &mut Seats,
    ) -> Option<u64> {
        let Question { shard, ask, db, proto, kind, may_block, args } = question;
        let ticket = self.ticket(serial, run, ask);
        let (args, mut reply) = (args.args(), Vec::new());
        let call = Call { ticket, db, proto, kind, after: false, replica: false, may_block, args };
        match groups[shard].call(moment, call, &mut reply) {
            Asked::Replied => {
                self.ready.push_back((ticket.0 & !ASK, reply));
                None
            }
            Asked::Waits { number } => Some(number),
        }
    }
}

/// A command for one shard.
struct Question<'a> {
    shard: usize,
    ask: Ask,
    db: u8,
    proto: Proto,
    kind: Kind,
    may_block: bool,
    args: &'a ArgsBuf,
}

/// Marks the tickets of the coordinator.
const ASK: u64 = Ticket::OWN;

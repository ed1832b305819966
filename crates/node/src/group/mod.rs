//! One replica of one group, with the keys that it keeps and the requests that wait for it.
//!
//! ```text
//!              leads                                   does not lead
//! write ─▶ open batch ─▶ Propose ─▶ flight ─▶ apply    gateway ─▶ Forward ─▶ leader
//! read  ─▶ lease? shard : round of a read index                  ◀─ Answers / own apply
//!                                                      READONLY: shard, once it is level (`look`)
//! ```
//!
//! What always holds: requests of one client keep their order; a batch in `flight` knows its term
//! and index; an operation is proposed again only when it cannot have been committed (`gateway`).
//!
//! Not here: agreement (`consensus`), meaning (`keyspace`), many groups and peers (`core`).

mod apply;
mod ask;
mod backup;
mod held;
mod look;
mod reign;
mod snapshot;

pub use backup::{BackupPart, NoBackup};
pub use snapshot::{SnapshotOptions, SnapshotState};

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Config, Envelope, Event, Index, Message as Speech, NodeId, Replica, Role, SnapshotMeta, Status,
    Term, Token,
};
use keyspace::Shard;
use keyspace::op::{Op, Origin};
use stdx::{Instant, Millis, mark, planted};
use wire::Span;

use crate::batch::{Again, Batch, Item, Request, op_from};
use crate::effects::{Effects, Save};
use crate::gateway::{Gateway, Pending};
use crate::guest::Wait;
use crate::limits::{
    BATCH_BYTES, ENTRIES_IN_FLIGHT_MAX, EXPIRE_INTERVAL, GATEWAY_REQUESTS_MAX, REQUEST_TIMEOUT,
    WAITING_BYTES_MAX,
};
use crate::memo::Memo;
use crate::message::{Answer, Forwarded, GroupId, Kind, Message};
use crate::request::{BOOT_SHIFT, FULL, Moment, NO_LEADER, Proposing, Ticket, UNKNOWN, Who};
use held::HeldReads;
use look::Looks;
use snapshot::Snapshotting;

/// A batch that was proposed, and the entry that it became.
#[derive(Debug)]
struct Flight {
    batch: Batch,
    entry: Bytes,
}

/// Reads that wait for the replica to say from which index on they are linearizable.
#[derive(Debug)]
struct Round {
    token: Token,
    asked: Instant,
    index: Option<Index>,
    reads: Vec<(Request, Vec<u8>)>,
    /// Followers that ask, each with its number for that.
    questions: Vec<(NodeId, u64)>,
}

/// The newest numbers of writes of a gateway: what comes with a lower one has come before.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Taken or refused.
    answered: u64,
    /// Taken into a batch.
    taken: u64,
}

/// What a group is made of.
pub struct Founding {
    pub id: GroupId,
    pub node: NodeId,
    pub replica: Box<dyn Replica>,
    pub shard: Shard,
    /// The snapshot that `shard` was loaded from; index 0 for an empty one.
    pub snapshot: SnapshotMeta,
    /// The number of this start of the node: numbers of requests grow from one to the next.
    pub boot: u64,
    /// How large that snapshot is on the disk.
    pub snapshot_bytes: u64,
    pub snapshots: SnapshotOptions,
}

/// See the head of this file.
pub struct Group {
    id: GroupId,
    node: NodeId,
    replica: Box<dyn Replica>,
    shard: Shard,
    applied: Index,
    applied_term: Term,
    /// As of `applied`; where in the log it stands, at most; and since when it is known here.
    config: Config,
    config_at: Index,
    config_since: Instant,
    standing: (Role, Term, Option<NodeId>),
    open: Batch,
    flight: VecDeque<Flight>,
    flight_bytes: usize,
    rounds: VecDeque<Round>,
    gateway: Gateway,
    looks: Looks,
    held: HeldReads,
    /// The state that the leader's answers to this node's clients were from.
    answered: Index,
    /// The leader is to be asked what is committed.
    asks_commit: bool,
    /// Requests of this node's clients that wait in the shard, for a key or for transactions.
    waits: BTreeMap<Origin, Ticket>,
    /// The newest write taken from each gateway in this term; guests count apart.
    seen: BTreeMap<(NodeId, bool), Seen>,
    /// Its reign has begun, and what earlier ones left is not all applied yet.
    begins: bool,
    /// Who led last, if it was another, and who has handed its place to this replica.
    last_leader: Option<NodeId>,
    handed_by: Option<NodeId>,
    /// The nodes that are alive, as far as is known, each with the number of its start.
    alive: BTreeMap<u32, u64>,
    /// What became of the requests of other nodes.
    memo: Memo,
    /// Retries that wait until this leader knows what its predecessors have done.
    retries: Vec<(NodeId, Forwarded)>,
    /// Those that were taken in this term.
    retried: BTreeSet<(NodeId, u64)>,
    answers: BTreeMap<NodeId, Vec<Answer>>,
    /// To guests on this node, which asked before it led.
    own_answers: Vec<Answer>,
    next_number: u64,
    next_token: u64,
    read_seed: u64,
    saved: u64,
    saving: u64,
    /// The moment of the last lease check, and whether the lease held.
    lease: Option<(Instant, bool)>,
    tick_pending: bool,
    /// When a key expires next, as of this index: it is asked for at every turn, and only what is
    /// applied changes it.
    due: Cell<(Index, Option<Millis>)>,
    /// No tick is proposed before: the replica takes nothing at the moment.
    tick_at: Instant,
    /// When the clock of the log showed what; see `wall`.
    clock_seen: Option<(Instant, Millis)>,
    disk_full: bool,
    disk_low: bool,
    /// How often its place was offered to others.
    hand_overs: usize,
    /// Something was applied that other nodes should apply soon.
    hurry: bool,
    /// The disk had lost something, and the peers have not brought it back yet.
    faulty: bool,
    next_expire: Instant,
    snapshot: Snapshotting,
    /// The state that a backup is read from, and why there is none any more.
    kept: Option<backup::Kept>,
    gone: Option<(Vec<u8>, NoBackup)>,
    fx: consensus::Effects,
    shard_fx: keyspace::Effects,
    spans: Vec<Span>,
    /// The slots of its keys, if there are other groups.
    slots: Option<std::ops::RangeInclusive<u16>>,
}

impl Group {
    /// A group as it was found on the disk.
    pub fn new(founding: Founding) -> Group {
        let Founding { id, node, replica, shard, snapshot, boot, .. } = founding;
        let snapshotting =
            Snapshotting::new(snapshot.index, founding.snapshot_bytes, founding.snapshots);
        let standing = replica.standing();
        let faulty = replica.status().faulty;
        let mut group = Group {
            id,
            node,
            replica,
            shard,
            applied: snapshot.index,
            applied_term: snapshot.term,
            config: snapshot.config,
            config_at: snapshot.index,
            config_since: Instant(0),
            standing,
            open: Batch::default(),
            flight: VecDeque::new(),
            flight_bytes: 0,
            rounds: VecDeque::new(),
            gateway: Gateway::default(),
            looks: Looks::default(),
            held: HeldReads::default(),
            answered: Index(0),
            asks_commit: false,
            waits: BTreeMap::new(),
            seen: BTreeMap::new(),
            begins: false,
            last_leader: None,
            handed_by: None,
            alive: BTreeMap::from([(node.0, boot)]),
            memo: Memo::new(Index(0)),
            retries: Vec::new(),
            retried: BTreeSet::new(),
            answers: BTreeMap::new(),
            own_answers: Vec::new(),
            next_number: if planted!("numbers-used-again") {
                1 << BOOT_SHIFT
            } else {
                boot << BOOT_SHIFT
            },
            next_token: 0,
            read_seed: boot,
            saved: 0,
            saving: 0,
            lease: None,
            tick_pending: false,
            due: Cell::new((Index(u64::MAX), None)),
            tick_at: Instant(0),
            clock_seen: None,
            disk_full: false,
            disk_low: false,
            hand_overs: 0,
            hurry: false,
            faulty,
            next_expire: Instant(0),
            snapshot: snapshotting,
            kept: None,
            gone: None,
            fx: consensus::Effects::default(),
            shard_fx: keyspace::Effects::default(),
            spans: Vec::new(),
            slots: None,
        };
        group.recall_memo(Index(0));
        group
    }

    /// Its name.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The slots whose keys it keeps, if there are other groups.
    pub(crate) fn set_slots(&mut self, slots: std::ops::RangeInclusive<u16>) {
        let shards = hashring::SLOTS / slots.len();
        self.snapshot.set_shards(shards);
        self.memo.share(shards);
        self.slots = Some(slots.clone());
        self.shard.set_slots(slots);
    }

    /// The state was not reached step by step from the one at `known`, but loaded from a snapshot. What led to
    /// it is known as far as its note tells; and which requests still wait, it says itself.
    fn recall_memo(&mut self, known: Index) {
        self.memo.leap(known, self.applied, &self.shard.take_note());
        let waits = self.shard.waiters().origins().chain(self.shard.parked_origins());
        for origin in waits.filter(|origin| origin.node != keyspace::txn::PARKED) {
            mark!("a snapshot says that a guest waits");
            self.memo.put_waits(origin);
        }
    }

    /// The keys, to look at.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// How far the log is applied.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// Has this replica applied all that its clients were answered about? A leader answers before
    /// its followers know that the entry is committed.
    pub fn is_level(&self) -> bool {
        self.applied >= self.answered
    }

    /// A client waits until this replica is level: the leader is asked to say what is committed,
    /// or it would say so with the next heartbeat.
    pub fn catch_up(&mut self) {
        self.asks_commit = !self.is_level();
    }

    /// The replica, to look at.
    pub fn status(&self) -> Status {
        self.replica.status()
    }

    /// Role, term and leader.
    pub(crate) fn standing(&self) -> (Role, Term, Option<NodeId>) {
        self.standing
    }

    /// Who agrees, as of what was applied.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// This was agreed on, there in the log or before.
    fn set_config(&mut self, moment: Moment, at: Index, config: Config) {
        (self.config, self.config_at, self.config_since) = (config, at, moment.now);
    }

    /// Where in the log that stands, there or before, and since when it is known here.
    pub(crate) fn agreed(&self) -> (Index, Instant) {
        (self.config_at, self.config_since)
    }

    /// Does this replica vote, as of what was applied?
    pub(crate) fn is_voter(&self) -> bool {
        self.config.is_voter(self.node)
    }

    /// Does it vote, and has it come as far as the present leader?
    pub(crate) fn is_level_voter(&self) -> bool {
        let (_, term, leader) = self.standing;
        self.is_voter() && leader.is_some() && self.applied_term == term
    }

    /// Has it applied an entry of the present term, and so everything of the terms before it?
    pub(crate) fn is_settled(&self) -> bool {
        self.applied_term == self.standing.1
    }

    /// Does a client of this node wait for anything that will come to this replica?
    pub(crate) fn is_owed(&self) -> bool {
        let parks = || self.shard.parked_origins().iter().any(|one| self.waits.contains_key(one));
        self.has_asked() || parks()
    }

    /// Is anything that a client of this node has asked for not in the log yet, as far as is known
    /// here, or not answered?
    pub(crate) fn has_asked(&self) -> bool {
        let asked = |request: &Request| matches!(request.who, Who::Client(_));
        let batches = self.flight.iter().map(|flight| &flight.batch).chain([&self.open]);
        let mut items = batches.flat_map(|batch| &batch.items);
        let waits = items.any(|(Item::Op(request) | Item::Read(request, _))| asked(request));
        let reads = || !self.rounds.is_empty() || self.held.are_owed();
        waits || !self.gateway.is_empty() || reads()
    }

    /// Does any client of this node wait in the shard?
    pub(crate) fn has_waits(&self) -> bool {
        !self.waits.is_empty()
    }

    /// The state, of a replica that goes.
    pub(crate) fn into_state(self) -> Shard {
        self.shard
    }

    /// The newest number of a request of this node's clients.
    pub(crate) fn last_number(&self) -> u64 {
        self.next_number
    }

    /// An earlier replica here has used the numbers up to this one.
    pub(crate) fn count_on(&mut self, last: u64) {
        self.next_number = self.next_number.max(last);
    }

    /// Takes out who waits for keys, each with its call, as far as this replica knows it, and the time
    /// that is left of it.
    pub(crate) fn take_blocked(&mut self, moment: Moment) -> Vec<(u64, Ticket, Option<Wait>)> {
        let wall = self.wall(moment);
        let wait = |origin: Origin| {
            let waiter = self.shard.waiters().get(origin)?;
            let left = Duration::from_millis(waiter.deadline.0.saturating_sub(wall.0));
            Some(Wait { waiter: waiter.clone(), until: moment.now + left })
        };
        let waits = std::mem::take(&mut self.waits).into_iter();
        waits.map(|(origin, ticket)| (origin.number, ticket, wait(origin))).collect()
    }

    /// Takes out the answers of this leader to guests on its own node.
    pub(crate) fn take_own_answers(&mut self) -> (Index, Vec<Answer>) {
        (self.applied, std::mem::take(&mut self.own_answers))
    }

    /// Who leads, if known.
    pub fn leader(&self) -> Option<NodeId> {
        self.standing.2
    }

    /// Does its group hibernate, as far as is known here?
    pub fn hibernates(&self) -> bool {
        self.replica.hibernates()
    }

    /// May it take more requests? If not, clients are held back.
    pub fn has_room(&self) -> bool {
        let bytes = self.open.len() + self.flight_bytes + self.gateway.bytes();
        bytes < WAITING_BYTES_MAX && self.gateway.len() < GATEWAY_REQUESTS_MAX
    }

    /// Asserts every invariant; the simulator calls it after each step.
    pub fn check(&self) {
        self.replica.check();
        let places = self.flight.iter().map(|flight| flight.batch.index);
        assert!(places.is_sorted(), "batches under way stand in log order");
        let first = self.flight.front();
        assert!(
            first.is_none_or(|flight| flight.batch.index > self.applied),
            "a batch is under way though its place was applied"
        );
        self.shard.check_txns();
    }

    /// Feeds the replica one event and does what follows.
    pub(crate) fn step(&mut self, moment: Moment, event: Event, out: &mut Effects) {
        if let Event::Recv(Envelope { source, message: Speech::TimeoutNow, .. }) = &event {
            self.handed_by = Some(*source);
        }
        self.replica.step(moment.now, event, &mut self.fx);
        self.carry_out(moment, out);
    }

    /// All saves up to this number are durable.
    pub(crate) fn saved(&mut self, moment: Moment, number: u64, out: &mut Effects) {
        self.saved = self.saved.max(number);
        self.step(moment, Event::Saved(number), out);
    }

    /// The disk has no room, or has it again.
    pub(crate) fn set_disk_full(&mut self, now: Instant, full: bool) {
        self.disk_full = full;
        if !full {
            self.snapshot.retry_now(now);
        }
    }

    /// The log has little room, or has enough again.
    pub(crate) fn set_disk_low(&mut self, low: bool) {
        self.disk_low = low;
    }

    /// Asks for other members. Whether they are is seen in the configuration, and nowhere else.
    pub(crate) fn configure(
        &mut self,
        moment: Moment,
        voters: BTreeSet<NodeId>,
        learners: BTreeSet<NodeId>,
        out: &mut Effects,
    ) {
        let token = self.token();
        self.step(moment, Event::Configure { token, voters, learners }, out);
    }

    /// Does this replica lead?
    pub fn leads(&self) -> bool {
        self.standing.0 == Role::Leader
    }

    /// Does what time asks for.
    pub(crate) fn tick(&mut self, moment: Moment, out: &mut Effects) {
        if self.replica.deadline() <= moment.now {
            self.step(moment, Event::Tick, out);
        }
        if self.faulty && !self.replica.status().faulty {
            self.faulty = false;
            out.repaired.push(self.id);
        }
        // Whoever does not lead is spared the walk through the databases.
        let may_push = self.leads() && !self.tick_pending && self.tick_at <= moment.now;
        if may_push && self.next_due().is_some_and(|due| due <= self.wall(moment)) {
            self.push_tick(moment);
        }
        if self.next_expire <= moment.now {
            self.next_expire = moment.now + EXPIRE_INTERVAL;
            self.expire(moment, out);
        }
    }

    fn next_due(&self) -> Option<Millis> {
        if self.due.get().0 != self.applied {
            self.due.set((self.applied, self.shard.next_due()));
        }
        self.due.get().1
    }

    /// When `tick` has something to do.
    pub(crate) fn deadline(&self, moment: Moment) -> Instant {
        let mut deadline = self.replica.deadline().min(self.snapshot_deadline());
        deadline = deadline.min(self.backup_deadline());
        if let (true, Some(due)) = (self.leads() && !self.tick_pending, self.next_due()) {
            let millis = due.0.saturating_sub(self.wall(moment).0);
            let due = moment.now + std::time::Duration::from_millis(millis);
            deadline = deadline.min(due.max(self.tick_at));
        }
        if self.waits() || self.faulty { deadline.min(self.next_expire) } else { deadline }
    }

    /// Is there still work that needs no event: a snapshot to go on with?
    pub(crate) fn is_busy(&self) -> bool {
        self.snapshot.is_ready()
    }

    /// Has a turn anything to do here that waits for nothing?
    pub(crate) fn has_work(&self) -> bool {
        let sends = self.leader().is_some() && self.gateway.has_unsent();
        sends || self.is_busy() || self.has_proposal() || !is_quiet(&self.fx)
    }

    /// Ends a turn: proposes what arrived in it, or sends it to the leader, if it may: what came before
    /// goes first.
    pub(crate) fn flush(
        &mut self,
        moment: Moment,
        proposing: Proposing,
        may_send: bool,
        out: &mut Effects,
    ) {
        self.carry_out(moment, out);
        self.ask_index(moment, out);
        let (role, term, leader) = self.standing;
        let resolved = self.applied_term == term || planted!("forward-retried-too-early");
        match (role, leader) {
            (Role::Leader, _) => {
                if self.begins && resolved && !self.replica.is_handing_over() {
                    self.begin_reign(moment, out);
                }
                if resolved && !self.gateway.is_empty() {
                    self.drain_gateway(moment);
                }
                if resolved && !self.retries.is_empty() {
                    self.take_retries(moment);
                    self.carry_out(moment, out);
                }
                let is_full = self.open.len() >= BATCH_BYTES;
                if self.has_proposal() && (proposing == Proposing::Now || is_full) {
                    self.propose(moment, out);
                }
            }
            (_, Some(leader)) if resolved && leader != self.node && may_send => {
                let requests = self.gateway.take_unsent(term, self.applied, BATCH_BYTES);
                if !requests.is_empty() || self.asks_commit {
                    let forward = Message::Forward { group: self.id, term, requests };
                    out.send.push((leader, forward));
                }
            }
            _ => {}
        }
        self.asks_commit = false;
        if std::mem::take(&mut self.hurry) && self.leads() {
            self.step(moment, Event::Flush, out);
        }
        self.watch_backup(moment.now);
        for (node, answers) in std::mem::take(&mut self.answers) {
            if node == self.node {
                self.own_answers.extend(answers);
                continue;
            }
            let (group, applied) = (self.id, self.applied);
            out.send.push((node, Message::Answers { group, applied, answers }));
        }
    }

    /// Does a batch wait that may be proposed? Not while the disk is busy with the one before,
    /// unless it is full.
    pub(crate) fn has_proposal(&self) -> bool {
        let busy = self.flight.len() >= ENTRIES_IN_FLIGHT_MAX;
        let ready = self.leads() && self.settled() && !self.begins && !self.open.has_no_ops();
        // Whoever is to lead takes what waits; until then nothing is refused.
        let ready = ready && !self.replica.is_handing_over();
        ready && (!busy || self.open.len() >= BATCH_BYTES)
    }

    /// Are all batches under way of this term? Those of an earlier reign are settled by the log,
    /// and what comes after them must wait for it.
    fn settled(&self) -> bool {
        self.flight.front().is_none_or(|flight| flight.batch.term == self.standing.1)
    }

    /// Does a client wait for anything that can take too long?
    fn waits(&self) -> bool {
        let batches = self.open.is_empty() && self.flight.is_empty();
        let reads = self.rounds.is_empty() && self.held.is_empty();
        !(batches && reads && self.gateway.is_empty())
    }

    /// The wall clock, as this replica goes on with it: the machine's, but never slower than time
    /// passes since the log last showed it. A clock that was set back, or a new leader whose clock
    /// is behind, would else hold up every timeout until it has caught up.
    pub(crate) fn wall(&self, moment: Moment) -> Millis {
        if planted!("log-clock-stands-still") {
            return moment.wall.max(self.shard.clock());
        }
        let floor = self.clock_seen.map_or(Millis(0), |(since, shown)| {
            let passed = u64::try_from(moment.now.since(since).as_millis()).unwrap_or(u64::MAX);
            Millis(shown.0.saturating_add(passed))
        });
        moment.wall.max(floor)
    }

    /// The clock of the log was moved. A leader moves it itself, and keeps counting from where it
    /// began; a follower counts from the leader's newest stamp, so that their rates do not part.
    pub(super) fn note_clock(&mut self, moment: Moment) {
        let clock = self.shard.clock();
        if !self.leads() || clock > self.wall(moment) {
            self.clock_seen = Some((moment.now, clock));
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// Proposes the open batch as one entry.
    fn propose(&mut self, moment: Moment, out: &mut Effects) {
        let mut batch = std::mem::take(&mut self.open);
        let data = batch.seal(self.wall(moment).max(self.shard.clock()), &mut self.open);
        let token = self.token();
        let event = Event::Propose { token, data: data.clone() };
        self.replica.step(moment.now, event, &mut self.fx);
        match self.fx.accept.pop() {
            Some(accept) => {
                assert_eq!(accept.token, token, "a proposal is answered in its own step");
                (batch.term, batch.index) = (accept.term, accept.index);
                self.flight_bytes += data.len();
                self.flight.push_back(Flight { batch, entry: data });
            }
            None => {
                self.fx.reject.clear();
                let leads = self.replica.standing().0 == Role::Leader;
                self.give_back(moment, batch, &data, leads, out);
            }
        }
        self.carry_out(moment, out);
    }

    /// A batch that was not accepted: by a leader that is full (its clients are told), or by a
    /// replica that leads no more (they go again through the gateway).
    fn give_back(
        &mut self,
        moment: Moment,
        batch: Batch,
        entry: &[u8],
        full: bool,
        out: &mut Effects,
    ) {
        if !full {
            return self.requeue(moment, batch.take_apart(entry));
        }
        (self.tick_pending, self.tick_at) = (false, moment.now + EXPIRE_INTERVAL);
        for item in batch.items {
            let (Item::Op(request) | Item::Read(request, _)) = item;
            self.answer(request, FULL, out);
        }
    }

    /// Does what the replica's effects ask for, until nothing more follows.
    fn carry_out(&mut self, moment: Moment, out: &mut Effects) {
        loop {
            let fx = std::mem::take(&mut self.fx);
            if !fx.save.is_empty() {
                self.saving = fx.save_number;
                let (number, records, needed) = (fx.save_number, fx.save, self.is_blind());
                out.save.push(Save { group: self.id, number, records, needed });
            }
            for envelope in fx.send {
                let target = envelope.target;
                out.send.push((target, Message::Consensus { group: self.id, envelope }));
            }
            let led = self.leads();
            self.note_standing(moment);
            if led && !self.leads() && planted!("deposed-leader-says-failed") {
                self.say_failed(out);
            }
            self.receive_snapshot(fx.install, out);
            let applies = !fx.apply.is_empty();
            for entry in fx.apply {
                self.apply_entry(moment, &entry, out);
            }
            self.fetch_snapshot(fx.fetch, out);
            self.lack_snapshot(&fx.wants);
            for ready in fx.read {
                if let Some(round) = self.rounds.iter_mut().find(|r| r.token == ready.token) {
                    match ready.index {
                        Some(index) => round.index = Some(index),
                        None => self.abandon_round(moment, ready.token),
                    }
                }
            }
            self.run_rounds(moment, out);
            self.run_looks(moment, out);
            if applies {
                self.replica.step(moment.now, Event::Applied(self.applied), &mut self.fx);
            } else if is_quiet(&self.fx) {
                return;
            }
        }
    }

    /// Puts requests of this node's clients into the gateway, at their old places.
    fn requeue(&mut self, moment: Moment, again: Vec<Again>) {
        for Again { request, kind, op } in again {
            let Who::Client(ticket) = request.who else { continue };
            let op = self.with_origin(op, request.number);
            self.gateway.put(request.number, Pending::new(ticket, kind, true, op, moment.now));
        }
    }

    fn with_origin(&self, op: Op, number: u64) -> Vec<u8> {
        op_from(op, Origin { node: self.node.0, number })
    }

    /// Tells the clients whose requests have waited too long, and forgets them.
    fn expire(&mut self, moment: Moment, out: &mut Effects) {
        let oldest = moment.now - REQUEST_TIMEOUT;
        let batches = self.flight.iter_mut().map(|flight| &mut flight.batch);
        for batch in batches.chain([&mut self.open]).filter(|batch| batch.born < oldest) {
            for item in &mut batch.items {
                let (Item::Op(request) | Item::Read(request, _)) = item;
                if let Who::Client(ticket) = request.who {
                    out.replies.put(ticket, UNKNOWN);
                    request.who = Who::Nobody;
                }
            }
        }
        self.expire_looks(moment);
        self.give_up_held(oldest, out);
        for (_, pending) in self.gateway.take_overdue(oldest) {
            let lost = pending.kind == Kind::Read
                || pending.sent.is_none()
                || planted!("unknown-told-as-failed");
            out.replies.put(pending.ticket, if lost { NO_LEADER } else { UNKNOWN });
        }
        while let Some(round) = self.rounds.front().filter(|round| round.asked < oldest) {
            let reads: Vec<Request> = round.reads.iter().map(|(request, _)| *request).collect();
            self.rounds.pop_front();
            reads.into_iter().for_each(|request| self.answer(request, NO_LEADER, out));
        }
    }

    /// A lie, for a planted bug: what was proposed may still be agreed.
    fn say_failed(&mut self, out: &mut Effects) {
        for item in self.flight.iter_mut().flat_map(|flight| &mut flight.batch.items) {
            let (Item::Op(request) | Item::Read(request, _)) = item;
            if let Who::Client(ticket) = std::mem::replace(&mut request.who, Who::Nobody) {
                out.replies.put(ticket, NO_LEADER);
            }
        }
    }

    /// Gives a finished reply to whoever waits for it.
    fn answer(&mut self, request: Request, reply: &[u8], out: &mut Effects) {
        match request.who {
            Who::Nobody => {}
            Who::Client(ticket) => out.replies.put(ticket, reply),
            Who::Node(node) => self.answer_node(node, request.number, reply.to_vec()),
        }
    }

    /// Gives another node the reply to what it has forwarded; it leaves at the end of the turn.
    fn answer_node(&mut self, node: NodeId, number: u64, reply: Vec<u8>) {
        self.answers.entry(node).or_default().push(Answer { number, reply, refused: None });
    }

    /// As `answer_node`, of what is not taken in this term.
    fn refuse_node(&mut self, node: NodeId, number: u64, reply: Vec<u8>) {
        let refused = Some(self.standing.1);
        self.answers.entry(node).or_default().push(Answer { number, reply, refused });
    }
}

/// Does nothing follow?
fn is_quiet(fx: &consensus::Effects) -> bool {
    fx.save.is_empty()
        && fx.send.is_empty()
        && fx.install.is_empty()
        && fx.apply.is_empty()
        && fx.fetch.is_empty()
        && fx.wants.is_empty()
        && fx.read.is_empty()
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Group { id, node, applied, standing, .. } = self;
        write!(f, "Group {{ {id:?}, {node:?}, {applied:?}, {standing:?} }}")
    }
}

//! A core: the groups of one thread, and what the node knows of the others.
//!
//! The world comes in as one event; the consequences come out as values. Nothing here reads a
//! clock, a socket or a disk, so the driver of the server and the simulator run the same code.

mod moves;
mod peers;
mod snapshots;

pub use peers::{Part, Peer};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Index, NodeId, Replica, SnapshotMeta, Status, Stored};
use hashring::Shards;
use keyspace::blocking::timeout_place;
use keyspace::command::{self, Command};
use keyspace::dict::WARM_MAX;
use keyspace::op::Unblock;
use keyspace::txn::{Doubt, TxnId};
use keyspace::{Settings, Shard, receipt};
use stdx::{Instant, planted};
use wire::{Args, ArgsBuf};

use crate::clerk::Clerk;
use crate::effects::Effects;
use crate::group::{Founding, Group, SnapshotOptions};
use crate::latency::Latency;
use crate::limits::{
    HEALTH_INTERVAL, TXN_KEYS_MAX, TXN_RECOVERY_AFTER, TXN_RECOVERY_INTERVAL, TXN_RESCUE_AFTER,
    TXNS_MAX,
};
use crate::map::{Change, Identity, Map};
use crate::message::{GroupId, Health, Message};
use crate::request::{
    Asked, Call, Called, Exec, Moment, Proposing, Ticket, Waiting, XREAD_ONCE, too_many_keys,
};
use crate::route::{Home, home, shard_of};
use crate::seat::{Past, Seat};
use crate::seats::Seats;
use crate::throttle::Throttle;
use crate::txn::{self, Coordinator, Request};
use snapshots::Turns;

/// What happened in the world.
#[derive(Debug)]
pub enum Event {
    /// `deadline` was reached.
    Tick,
    /// A message of a peer.
    Recv { source: NodeId, message: Message },
    /// A connection to this peer stands, newly. One that was not known has joined the cluster.
    PeerUp(NodeId),
    /// The connection that this peer sends over has ended: most likely the peer has, too.
    PeerDown(NodeId),
    /// A peer was started anew: its former clients are gone.
    PeerReborn(NodeId),
    /// A peer has left the cluster for good: nothing is sent to it any more, unless a group still
    /// counts on it.
    PeerLeft(NodeId),
    /// Another node of the cluster showed this map when a link was made, or could not be: this node's own
    /// may be so old that the other is not in it.
    Shown { map: Arc<Map> },
    /// A node that was invited has come to this one, from this address.
    Came { addr: String, identity: Identity },
    /// The data of a replica that was moved away is gone.
    Left { group: GroupId },
    /// All saves of the group up to this number are durable.
    Saved { group: GroupId, number: u64 },
    /// The disk has no room for the log, or has room again.
    DiskFull(bool),
    /// The log may not grow by as much again as it has, or may again: snapshots are to cut it.
    DiskLow(bool),
    /// The node will stop: it hands on what it leads.
    Leave,
    /// These are to agree in a group. Nothing happens where the group is not led, or while it is
    /// changing already, and there is no answer: whoever wants it looks at `Group::status`, and
    /// asks again until the configuration is the one that was wished for.
    Configure { group: GroupId, voters: BTreeSet<NodeId>, learners: BTreeSet<NodeId> },
    /// The group's leader, if it is here, is to hand its place to this voter.
    Transfer { group: GroupId, target: NodeId },
    /// A part of the running snapshot is written, after the last one all of it is durable.
    PartWritten { group: GroupId, last: bool },
    /// The running snapshot could not be written.
    SnapshotFailed { group: GroupId },
    /// A part of a snapshot for a follower; empty and not the last if the snapshot is gone.
    Fetched {
        group: GroupId,
        target: NodeId,
        snapshot: Index,
        offset: u64,
        data: Bytes,
        last: bool,
    },
    /// A leader's snapshot is durable here and loaded; no shard if it was refused.
    Loaded { group: GroupId, meta: SnapshotMeta, shard: Option<Box<Shard>> },
}

/// Where a call will run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The only shard that it needs; nothing if there are several.
    shard: Option<usize>,
}

impl Route {
    /// Does it need several shards?
    pub fn is_wide(self) -> bool {
        self.shard.is_none()
    }
}

/// Makes the replica of a group, from what is on the disk.
pub type Maker = Box<dyn Fn(GroupId, Stored, Instant) -> Box<dyn Replica> + Send>;

/// What a core begins with.
pub struct Setup {
    pub node: NodeId,
    pub own: Health,
    /// The newest map that this node knows.
    pub map: Arc<Map>,
    /// Leaders bring their groups where the map wants them. Without that, whoever feeds
    /// `Event::Configure` decides.
    pub moves: bool,
    /// A node that is dead for so long holds nothing any more; zero: it does whatever happens.
    pub replace_after: Duration,
    /// Bytes of snapshots for followers that are read in a second; 0: as fast as it goes.
    pub catch_up_rate: u64,
    /// The number of this start of the node.
    pub boot: u64,
    pub snapshots: SnapshotOptions,
    /// The replicas that are on its disk.
    pub members: Vec<Founding>,
    /// The votes of those that were.
    pub past: BTreeMap<GroupId, Past>,
    pub make: Maker,
}

/// See the head of this file.
pub struct Core {
    node: NodeId,
    /// In the order of their shards, and then that of the map.
    seats: Seats,
    shards: Shards,
    map: Arc<Map>,
    moves: bool,
    replace_after: Duration,
    boot: u64,
    snapshots: SnapshotOptions,
    make: Maker,
    coordinator: Coordinator,
    clerk: Clerk,
    throttle: Throttle,
    latency: Latency,
    turns: Turns,
    /// When to look for transactions that nobody decides.
    next_recovery: Instant,
    /// No leadership is handed on before, to even leaders out.
    next_spread: Instant,
    peers: BTreeMap<NodeId, Peer>,
    next_health: Instant,
    /// The map as of which the others were last told what this node leads.
    told: u64,
    /// What the changes of the map's group were when it was last looked at.
    map_changes: u64,
    own: Health,
    disk_low: bool,
    /// What a node without any replica goes by.
    settings: Settings,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("node", &self.node).field("seats", &self.seats).finish()
    }
}

impl Core {
    /// A core with the replicas that its disk has.
    pub fn new(setup: Setup) -> Core {
        let Setup { node, own, map, moves, replace_after, boot, .. } = setup;
        let own = Health { boot, ..own };
        let (snapshots, make, mut past) = (setup.snapshots, setup.make, setup.past);
        let shards = map.shards();
        let members = setup.members.into_iter().map(|founding| (founding.id, founding));
        let mut members: BTreeMap<GroupId, Founding> = members.collect();
        let seats = map.groups().map(|id| {
            let member = members.remove(&id).map(|founding| group(shards, founding));
            Seat::new(id, node, boot, member, past.remove(&id).unwrap_or_default())
        });
        let seats = Seats::new(seats.collect());
        let mut core = Core {
            node,
            seats,
            shards,
            map,
            moves,
            replace_after,
            boot,
            snapshots,
            make,
            coordinator: Coordinator::new(node, shards, boot),
            clerk: Clerk::default(),
            throttle: Throttle::new(setup.catch_up_rate),
            disk_low: false,
            latency: Latency::default(),
            turns: Turns::default(),
            next_recovery: Instant(0),
            next_spread: Instant(0),
            peers: BTreeMap::new(),
            next_health: Instant(0),
            told: 0,
            map_changes: 0,
            own,
            settings: Settings::default(),
        };
        core.know_peers();
        core
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The newest map that this node knows.
    pub fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// What this node is to each shard, in their order.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// What this node is to each group, that of the map last.
    pub fn all_seats(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().chain([self.seats.meta()])
    }

    /// This node's replica of a group.
    pub fn member(&self, id: GroupId) -> Option<&Group> {
        self.seats[self.place_of(id)?].member()
    }

    /// As `member`, to ask something of it.
    pub fn member_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        let place = self.place_of(id)?;
        self.seats[place].member_mut()
    }

    /// This node's replicas of shards, in their order.
    pub fn members(&self) -> impl Iterator<Item = &Group> {
        let shards = self.seats.len();
        let used = self.seats.used().filter(move |(place, _)| *place < shards);
        used.filter_map(|(_, seat)| seat.member())
    }

    /// As `members`, to ask something of them.
    pub fn members_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        let shards = self.shards.count();
        self.seats.inform_all().take(shards).filter_map(Seat::member_mut)
    }

    /// The settings of the cluster, as a replica here knows them.
    pub fn settings(&self) -> &Settings {
        self.members().next().map_or(&self.settings, |member| member.shard().settings())
    }

    fn place_of(&self, id: GroupId) -> Option<usize> {
        let shards = self.shards.count();
        if id == GroupId::META {
            return Some(shards);
        }
        Some(id.0 as usize).filter(|place| *place < shards)
    }

    /// Which shard keeps a key.
    pub fn shards(&self) -> Shards {
        self.shards
    }

    /// Where a call will run. A wide one waits for all that its client asked before, and what comes
    /// later waits for it.
    pub fn route(&self, command: &Command, args: Args<'_>) -> Route {
        Route { shard: if self.shards.count() == 1 { Some(0) } else { self.place(command, args) } }
    }

    /// The other node that leads the only shard of a call, if it is known.
    pub fn leader_elsewhere(&self, route: Route) -> Option<NodeId> {
        let leader = self.seats[route.shard?].leader();
        leader.filter(|leader| *leader != self.node)
    }

    /// A command of a client; see `Group::call`.
    pub fn call(
        &mut self,
        moment: Moment,
        route: Route,
        call: Call<'_>,
        reply: &mut Vec<u8>,
    ) -> Called {
        self.own.operations += 1;
        match route.shard {
            Some(shard) => self.ask(moment, shard, call, reply),
            None => {
                let Call { ticket, db, proto, args, .. } = call;
                let calls = vec![(db, args.iter().collect())];
                let (watches, rollback) = (Vec::new(), false);
                let exec = Exec { ticket, proto, watches, calls, rollback };
                self.begin(moment, exec, true, reply)
            }
        }
    }

    /// MULTI's queue of a client.
    pub fn exec(&mut self, moment: Moment, exec: Exec, reply: &mut Vec<u8>) -> Called {
        self.own.operations += exec.calls.len() as u64;
        if self.shards.count() > 1 {
            return self.begin(moment, exec, false, reply);
        }
        let number = self.seats[0].exec(moment, exec);
        self.seats.note_asked(0);
        Called::Waits(Waiting { shard: Some(0), number })
    }

    /// Ends the wait of a blocked call; see `Group::unblock`.
    pub fn unblock(
        &mut self,
        moment: Moment,
        target: Waiting,
        how: Unblock,
        ticket: Option<Ticket>,
        out: &mut Effects,
    ) {
        let Some(shard) = target.shard else {
            let ended = self.coordinator.unblock(moment, target.number, how, &mut self.seats, out);
            if let Some(ticket) = ticket {
                out.replies.put(ticket, if ended { b":1\r\n" } else { b":0\r\n" });
            }
            return;
        };
        self.seats[shard].unblock(moment, target.number, how, ticket);
    }

    fn ask(&mut self, moment: Moment, shard: usize, call: Call<'_>, reply: &mut Vec<u8>) -> Called {
        let asked = self.seats[shard].call(moment, call, reply);
        self.seats.note_asked(shard);
        match asked {
            Asked::Replied => Called::Replied,
            Asked::Waits { number } => Called::Waits(Waiting { shard: Some(shard), number }),
        }
    }

    /// The shard that can run a call alone.
    fn place(&self, command: &Command, args: Args<'_>) -> Option<usize> {
        match home(self.shards, command, args) {
            _ if command::roams(args) => None,
            Home::One(shard) => Some(shard),
            Home::Several => None,
            Home::Keyless => (!txn::is_everywhere(command)).then_some(0),
        }
    }

    fn begin(
        &mut self,
        moment: Moment,
        exec: Exec,
        is_single: bool,
        reply: &mut Vec<u8>,
    ) -> Called {
        let keys = |(_, args): &(u8, ArgsBuf)| {
            let command = command::find(args.args());
            command.map_or(0, |command| command.key_positions(args.args()).len())
        };
        if exec.calls.iter().map(keys).sum::<usize>() + exec.watches.len() > TXN_KEYS_MAX {
            reply.extend_from_slice(&too_many_keys());
            return Called::Replied;
        }
        // Its receipt is for the call as it came, and each try would find another `$`.
        let is_endless = |(_, args): &(u8, ArgsBuf)| {
            receipt::unwrap(args.args()).is_some_and(|(_, bare)| {
                bare.is(0, "xread")
                    && timeout_place(bare).is_some()
                    && bare.iter().any(|id| id == b"$")
            })
        };
        if is_single && exec.calls.iter().any(is_endless) {
            reply.extend_from_slice(XREAD_ONCE);
            return Called::Replied;
        }
        let request = Request { ticket: exec.ticket, exec, is_single };
        let number = self.coordinator.begin(moment, request, &mut self.seats);
        self.seats.note_all_asked();
        Called::Waits(Waiting { shard: None, number })
    }

    /// Feeds one event.
    pub fn step(&mut self, moment: Moment, event: Event, out: &mut Effects) {
        match event {
            Event::Tick => self.tick(moment, out),
            Event::Recv { source, message } => self.recv(moment, source, message, out),
            Event::PeerUp(peer) => {
                if !self.moves {
                    self.peers.entry(peer).or_default();
                }
                out.send.push((peer, Message::Health(self.own_health(moment.now))));
                self.seats.inform_all().for_each(|seat| seat.peer_up(peer));
            }
            Event::PeerDown(peer) | Event::PeerReborn(peer) => {
                // It is not alive until it is heard again.
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.heard = None;
                }
                self.seats.inform_all().for_each(|seat| seat.peer_gone(moment, peer));
            }
            Event::PeerLeft(peer) => {
                self.peers.remove(&peer);
                self.seats.inform_all().for_each(|seat| seat.peer_gone(moment, peer));
            }
            Event::Shown { map } => self.adopt(map, out),
            Event::Came { addr, identity } => {
                self.change(moment, None, Change::Come { addr, identity });
            }
            Event::Left { group } => {
                self.latency.forget(group);
                if let Some(place) = self.place_of(group) {
                    self.seats[place].left();
                }
            }
            Event::DiskFull(full) => self.disk_full(moment, full, out),
            Event::DiskLow(low) => self.disk_low(low),
            Event::Leave => {
                let able = self.able(moment.now);
                let members = self.seats.inform_all().filter_map(Seat::member_mut);
                members.for_each(|group| group.hand_over(moment, &able, out));
            }
            Event::Saved { group, number } => {
                self.latency.end(moment.now, group, number);
                self.with(group, |group| group.saved(moment, number, out));
            }
            Event::Configure { group, voters, learners } => {
                self.with(group, |group| group.configure(moment, voters, learners, out));
            }
            Event::Transfer { group, target } => {
                let event = consensus::Event::Transfer { target };
                self.with(group, |group| group.step(moment, event, out));
            }
            Event::PartWritten { group, last } => {
                self.with(group, |group| group.part_written(moment, last, out));
            }
            Event::SnapshotFailed { group } => self.with(group, |one| one.snapshot_failed(moment)),
            Event::Fetched { group, target, snapshot, offset, data, last } => {
                let event = consensus::Event::Fetched { target, snapshot, offset, data, last };
                self.with(group, |group| group.step(moment, event, out));
            }
            Event::Loaded { group, meta, shard } => {
                let shard = shard.map(|shard| *shard);
                if let Some(place) = self.place_of(group) {
                    self.seats[place].loaded(moment, meta, shard, out);
                }
            }
        }
    }

    /// Ends a turn: whatever arrived in it is proposed or sent on.
    pub fn flush(&mut self, moment: Moment, proposing: Proposing, out: &mut Effects) {
        loop {
            self.seats.each_awake(|seat| seat.flush(moment, proposing, out));
            let changes = self.clerk.waits() && self.hear_clerk(moment, out);
            if self.coordinator.waits() {
                let Core { coordinator, .. } = self;
                let mine = Coordinator::owns;
                out.replies.extract(mine, |ticket, reply| coordinator.answered(ticket, reply));
            }
            if !self.coordinator.pump(moment, &mut self.seats, out) && !changes {
                break;
            }
        }
        let publish = self.coordinator.take_publish();
        if !publish.is_empty() {
            self.publish(&publish, out);
            out.publish.extend(publish);
        }
        self.publish_abroad(out);
        self.look_at_map(moment, out);
        self.take_snapshots(moment, out);
        self.rest(moment);
        self.tell_what_leads(moment, out);
        self.throttle.pass(moment.now, &mut out.snapshot);
        if let Some(save) = out.save.first() {
            self.latency.begin(moment.now, save.group, save.number);
        }
    }

    /// The end of a turn: groups that wait for something are not looked at before it comes.
    fn rest(&mut self, moment: Moment) {
        let next_recovery = self.next_recovery;
        self.seats.rest(|seat| {
            let doubts = seat.member().is_some_and(|group| group.shard().has_doubts());
            let recovery = if doubts { next_recovery } else { Instant::FAR };
            seat.deadline(moment).min(recovery)
        });
    }

    /// When to feed `Event::Tick`, if nothing else happens first.
    pub fn deadline(&self) -> Instant {
        let alone = self.peers.is_empty();
        let health = if alone { Instant::FAR } else { self.next_health };
        let own = health.min(self.coordinator.deadline()).min(self.throttle.deadline());
        own.min(self.seats.deadline())
    }

    /// All replicas that are here, that of the map among them.
    fn replicas(&self) -> impl Iterator<Item = &Group> {
        self.seats.used().filter_map(|(_, seat)| seat.member())
    }

    /// Those that may have something to do.
    fn awake(&self) -> impl Iterator<Item = &Group> {
        self.seats.awake().filter_map(Seat::member)
    }

    /// Has these keys at hand, as far as their shards are led here, for reads that come next. Returns how
    /// many were taken from `keys`, one at least.
    pub fn warm<'a>(&self, db: u8, keys: impl Iterator<Item = &'a [u8]>) -> usize {
        let mut taken = 0;
        let led = keys.take(WARM_MAX).inspect(|_| taken += 1).filter_map(|key| {
            let seat = &self.seats()[shard_of(self.shards(), key)];
            let group = seat.member().filter(|group| group.leads())?;
            Some((group.shard(), db, key))
        });
        keyspace::shard::warm(led);
        taken.max(1)
    }

    /// Does nobody wait here: no client for a key or a transaction, no transaction for a shard?
    pub fn is_at_rest(&self) -> bool {
        self.coordinator.is_at_rest() && self.members().all(|group| !group.has_waits())
    }

    /// The replicas here that lead a shard.
    fn led_shards(&self) -> impl Iterator<Item = &Group> {
        self.members().filter(|group| group.leads())
    }

    /// Is there work that waits for no event? Then the driver must not sleep.
    pub fn is_busy(&self) -> bool {
        self.awake().any(Group::is_busy)
    }

    /// Does it lead a group that others could lead?
    pub fn is_needed(&self) -> bool {
        !self.peers.is_empty() && self.replicas().any(Group::leads)
    }

    /// Would a turn that ends now propose something?
    pub fn has_proposal(&self) -> bool {
        self.awake().any(Group::has_proposal)
    }

    /// May clients ask for more?
    pub fn has_room(&self) -> bool {
        self.seats.has_room() && self.coordinator.len() < TXNS_MAX
    }

    /// Each group of which there is a replica here, as that sees it.
    pub fn groups(&self) -> Vec<(GroupId, Status)> {
        self.members().map(|group| (group.id(), group.status())).collect()
    }

    /// Asserts every invariant; the simulator calls it after each step.
    pub fn check(&self) {
        self.seats.check();
        self.replicas().for_each(Group::check);
    }

    /// A group that is not here is no error: messages may come late.
    fn with(&mut self, id: GroupId, act: impl FnOnce(&mut Group)) {
        if let Some(group) = self.member_mut(id) {
            act(group);
        }
    }

    fn tick(&mut self, moment: Moment, out: &mut Effects) {
        self.seats.wake_due(moment.now);
        let is_health = self.next_health <= moment.now;
        if is_health {
            // The machine's clock may have been set, and what waits for it is due sooner.
            self.seats.wake_all();
        }
        self.seats.each_awake(|seat| seat.tick(moment, out));
        self.coordinator.tick(moment, &mut self.seats, out);
        self.recover(moment);
        if !is_health {
            return;
        }
        if self.next_health > Instant(0) {
            self.latency.late(moment.now.since(self.next_health));
        }
        self.next_health = moment.now + HEALTH_INTERVAL;
        self.tell_health(moment, out);
        self.watch(moment, out);
        self.hand_over_if_full(moment, out);
        self.mourn(moment);
        if self.moves {
            self.move_groups(moment, out);
            self.judge_nodes(moment);
        }
    }

    /// The transactions that are not decided everywhere, with the shards that say so, as this node's
    /// replicas know them.
    pub fn doubts(&self) -> Vec<(Doubt, Vec<usize>)> {
        let mut all: BTreeMap<TxnId, (Doubt, Vec<usize>)> = BTreeMap::new();
        for (shard, seat) in self.seats().iter().enumerate() {
            for doubt in seat.member().iter().flat_map(|group| group.shard().doubts()) {
                all.entry(doubt.txn).or_insert_with(|| (doubt, Vec::new())).1.push(shard);
            }
        }
        all.into_values().collect()
    }

    /// Settles a transaction that is in doubt. False if none of this name is known here.
    pub fn resolve(&mut self, moment: Moment, txn: TxnId) -> bool {
        let doubts = self.doubts().into_iter();
        let Some((doubt, _)) = doubts.into_iter().find(|(doubt, _)| doubt.txn == txn) else {
            return false;
        };
        self.coordinator.recover(moment, doubt, &mut self.seats);
        true
    }

    /// Settles transactions that nobody has decided for too long: those of the shards led here, and
    /// later those of the others, should their leader not reach another participant's that this node
    /// does reach.
    fn recover(&mut self, moment: Moment) {
        if self.next_recovery > moment.now {
            return;
        }
        self.next_recovery = moment.now + TXN_RECOVERY_INTERVAL;
        if planted!("orphan-locks") {
            return;
        }
        let mut old = Vec::new();
        for group in self.members().filter(|group| group.shard().has_doubts()) {
            let after = if group.leads() { TXN_RECOVERY_AFTER } else { TXN_RESCUE_AFTER };
            let wall = group.wall(moment).0;
            let age = |doubt: &Doubt| Duration::from_millis(wall.saturating_sub(doubt.since.0));
            let doubts = group.shard().doubts().into_iter();
            old.extend(doubts.filter(|doubt| age(doubt) >= after));
        }
        for doubt in old {
            self.coordinator.recover(moment, doubt, &mut self.seats);
        }
    }

    fn recv(&mut self, moment: Moment, source: NodeId, message: Message, out: &mut Effects) {
        // Whatever it says: a node that was never heard could not fall silent, and the waits of
        // its clients would outlive it.
        if !self.moves || self.map.members().contains_key(&source) {
            self.peers.entry(source).or_default().heard = Some(moment.now);
        }
        match message {
            Message::Consensus { group, envelope } => {
                if envelope.source == source && envelope.target == self.node {
                    self.seat_for(moment, group, &envelope.message, out);
                    let event = consensus::Event::Recv(envelope);
                    self.with(group, |group| group.step(moment, event, out));
                }
            }
            Message::Forward { group, term, requests } => {
                if let Some(place) = self.place_of(group) {
                    self.seats[place].forwarded(moment, source, term, requests, out);
                }
            }
            Message::Answers { group, applied, answers } => {
                if let Some(place) = self.place_of(group) {
                    self.seats[place].answered(moment, applied, answers, out);
                }
            }
            Message::ReadIndex { group, term, question } => {
                let asked = (term, question);
                self.with(group, |group| group.asked_index(moment, source, asked, out));
            }
            Message::ReadReady { group, question, index } => {
                self.with(group, |group| group.told_index(moment, question, index, out));
            }
            Message::Publish(list) => out.publish.extend(list),
            Message::Health(health) => self.hear_health(moment, source, health, out),
            Message::Astray { group, term, leader } => {
                if let Some(place) = self.place_of(group) {
                    self.seats[place].hear_astray(source, term, leader);
                }
            }
            Message::Map(map) => self.adopt(map, out),
        }
    }
}

/// A group that knows its slots.
fn group(shards: Shards, founding: Founding) -> Group {
    let id = founding.id;
    let mut group = Group::new(founding);
    if shards.count() > 1 && id != GroupId::META {
        group.set_slots(shards.slots(hashring::ShardId(id.0 as u16)));
    }
    group
}

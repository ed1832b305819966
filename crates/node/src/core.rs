//! A core: the groups of one thread, and what the node knows of the others.
//!
//! The world comes in as one event; the consequences come out as values. Nothing here reads a
//! clock, a socket or a disk, so the driver of the server and the simulator run the same code.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use bytes::Bytes;
use consensus::{Index, NodeId, SnapshotMeta, Status};
use keyspace::command::{self, Command};
use keyspace::op::Unblock;
use keyspace::txn::{Doubt, TxnId};
use keyspace::{Publish, Shard};
use stdx::{Instant, planted};
use wire::{Args, ArgsBuf};

use crate::effects::Effects;
use crate::group::{Founding, Group};
use crate::limits::{
    HEALTH_INTERVAL, HEALTH_TIMEOUT, TXN_KEYS_MAX, TXN_RECOVERY_AFTER, TXN_RECOVERY_INTERVAL,
    TXNS_MAX,
};
use crate::message::{GroupId, Health, Message};
use crate::request::{
    Asked, Call, Called, Exec, Moment, Proposing, Ticket, Waiting, XREAD_WAITS, too_many_keys,
};
use hashring::Shards;

use crate::route::{Home, home};
use crate::txn::{self, Coordinator, Request};

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
    /// All saves of the group up to this number are durable.
    Saved { group: GroupId, number: u64 },
    /// The disk has no room for the log, or has room again.
    DiskFull(bool),
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

/// What this node knows of another.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    pub health: Health,
    heard: Option<Instant>,
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

/// See the head of this file.
#[derive(Debug)]
pub struct Core {
    node: NodeId,
    /// In the order of their shards.
    groups: Vec<Group>,
    shards: Shards,
    coordinator: Coordinator,
    /// When to look for transactions that nobody decides.
    next_recovery: Instant,
    peers: BTreeMap<NodeId, Peer>,
    next_health: Instant,
    own: Health,
}

impl Core {
    /// A core with its groups; `peers` are the other nodes of the cluster.
    pub fn new(node: NodeId, peers: &[NodeId], own: Health, groups: Vec<Founding>) -> Core {
        let boot = groups.first().map_or(0, |group| group.boot);
        let mut groups: Vec<Group> = groups.into_iter().map(Group::new).collect();
        let shards = Shards::new(groups.len()).expect("the shards are a power of two");
        for (shard, group) in groups.iter_mut().enumerate().filter(|_| shards.count() > 1) {
            group.set_slots(shards.slots(hashring::ShardId(shard as u16)));
        }
        let peers = peers.iter().map(|peer| (*peer, Peer::default())).collect();
        let coordinator = Coordinator::new(node, shards, boot);
        let (next_health, next_recovery) = (Instant(0), Instant(0));
        Core { node, groups, shards, coordinator, next_recovery, peers, next_health, own }
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The group of the first shard.
    pub fn group(&self) -> &Group {
        &self.groups[0]
    }

    /// All groups, in the order of their shards.
    pub fn all(&self) -> &[Group] {
        &self.groups
    }

    /// As `all`, to ask something of them.
    pub fn all_mut(&mut self) -> &mut [Group] {
        &mut self.groups
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
        let leader = self.groups[route.shard?].leader();
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
        let number = self.groups[0].exec(moment, exec);
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
            let ended = self.coordinator.unblock(moment, target.number, how, &mut self.groups, out);
            if let Some(ticket) = ticket {
                out.replies.put(ticket, if ended { b":1\r\n" } else { b":0\r\n" });
            }
            return;
        };
        self.groups[shard].unblock(moment, target.number, how, ticket);
    }

    fn ask(&mut self, moment: Moment, shard: usize, call: Call<'_>, reply: &mut Vec<u8>) -> Called {
        match self.groups[shard].call(moment, call, reply) {
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
        let waits = |(_, args): &(u8, ArgsBuf)| {
            let args = args.args();
            args.is(0, "xread") && args.iter().any(|word| word.eq_ignore_ascii_case(b"block"))
        };
        if is_single && exec.calls.iter().any(waits) {
            reply.extend_from_slice(XREAD_WAITS);
            return Called::Replied;
        }
        let request = Request { ticket: exec.ticket, exec, is_single };
        let number = self.coordinator.begin(moment, request, &mut self.groups);
        Called::Waits(Waiting { shard: None, number })
    }

    /// Sends a message to the subscribers of every other node.
    pub fn publish(&mut self, publish: &[Publish], out: &mut Effects) {
        for peer in self.peers.keys() {
            out.send.push((*peer, Message::Publish(publish.to_vec())));
        }
    }

    /// Feeds one event.
    pub fn step(&mut self, moment: Moment, event: Event, out: &mut Effects) {
        match event {
            Event::Tick => self.tick(moment, out),
            Event::Recv { source, message } => self.recv(moment, source, message, out),
            Event::PeerUp(peer) => {
                self.peers.entry(peer).or_default();
                out.send.push((peer, Message::Health(self.own_health())));
                self.groups.iter_mut().for_each(|group| group.peer_up(peer));
            }
            Event::PeerDown(peer) | Event::PeerReborn(peer) => {
                // It is not alive until it is heard again.
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.heard = None;
                }
                self.groups.iter_mut().for_each(|group| group.peer_gone(moment, peer));
            }
            Event::PeerLeft(peer) => {
                self.peers.remove(&peer);
                self.groups.iter_mut().for_each(|group| group.peer_gone(moment, peer));
            }
            Event::Saved { group, number } => {
                self.with(group, |group| group.saved(moment, number, out));
            }
            Event::DiskFull(full) => {
                self.groups.iter_mut().for_each(|group| group.set_disk_full(moment, full, out));
            }
            Event::Leave => {
                self.groups.iter_mut().for_each(|group| group.hand_over(moment, out));
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
            Event::SnapshotFailed { group } => self.with(group, Group::snapshot_failed),
            Event::Fetched { group, target, snapshot, offset, data, last } => {
                let event = consensus::Event::Fetched { target, snapshot, offset, data, last };
                self.with(group, |group| group.step(moment, event, out));
            }
            Event::Loaded { group, meta, shard } => {
                let shard = shard.map(|shard| *shard);
                self.with(group, |group| group.loaded(moment, meta, shard, out));
            }
        }
    }

    /// Ends a turn: whatever arrived in it is proposed or sent on.
    pub fn flush(&mut self, moment: Moment, proposing: Proposing, out: &mut Effects) {
        loop {
            self.groups.iter_mut().for_each(|group| group.flush(moment, proposing, out));
            if self.coordinator.waits() {
                let Core { coordinator, .. } = self;
                let mine = Coordinator::owns;
                out.replies.extract(mine, |ticket, reply| coordinator.answered(ticket, reply));
            }
            if !self.coordinator.pump(moment, &mut self.groups, out) {
                break;
            }
        }
        let publish = self.coordinator.take_publish();
        if !publish.is_empty() {
            self.publish(&publish, out);
            out.publish.extend(publish);
        }
    }

    /// When to feed `Event::Tick`, if nothing else happens first.
    pub fn deadline(&self, moment: Moment) -> Instant {
        let groups = self.groups.iter().map(|group| group.deadline(moment)).min();
        let health = if self.peers.is_empty() { Instant::FAR } else { self.next_health };
        let doubts = self.groups.iter().any(|group| group.leads() && group.shard().has_doubts());
        let recovery = if doubts { self.next_recovery } else { Instant::FAR };
        let own = health.min(recovery).min(self.coordinator.deadline());
        groups.into_iter().fold(own, Instant::min)
    }

    /// Is there work that waits for no event? Then the driver must not sleep.
    pub fn is_busy(&self) -> bool {
        self.groups.iter().any(Group::is_busy)
    }

    /// Does it lead a group that others could lead?
    pub fn is_needed(&self) -> bool {
        !self.peers.is_empty() && self.groups.iter().any(Group::leads)
    }

    /// Would a turn that ends now propose something?
    pub fn has_proposal(&self) -> bool {
        self.groups.iter().any(Group::has_proposal)
    }

    /// May clients ask for more?
    pub fn has_room(&self) -> bool {
        self.groups.iter().all(Group::has_room) && self.coordinator.len() < TXNS_MAX
    }

    /// This node and the others, each with whether it is alive.
    pub fn nodes(&self, now: Instant) -> Vec<(NodeId, Health, bool)> {
        let alive = |peer: &Peer| peer.heard.is_some_and(|at| now.since(at) < HEALTH_TIMEOUT);
        let others = self.peers.iter();
        let mut nodes: Vec<_> =
            others.map(|(node, peer)| (*node, peer.health.clone(), alive(peer))).collect();
        nodes.push((self.node, self.own_health(), true));
        nodes.sort_by_key(|(node, ..)| *node);
        nodes
    }

    /// Each group as its replica here sees it.
    pub fn groups(&self) -> Vec<(GroupId, Status)> {
        self.groups.iter().map(|group| (group.id(), group.status())).collect()
    }

    /// Asserts every invariant; the simulator calls it after each step.
    pub fn check(&self) {
        self.groups.iter().for_each(Group::check);
    }

    fn own_health(&self) -> Health {
        let applied = self.groups.iter().map(|group| (group.id(), group.applied())).collect();
        Health { applied, ..self.own.clone() }
    }

    /// A group that is not here is no error: messages may come late.
    fn with(&mut self, id: GroupId, act: impl FnOnce(&mut Group)) {
        if let Some(group) = self.groups.iter_mut().find(|group| group.id() == id) {
            act(group);
        }
    }

    fn tick(&mut self, moment: Moment, out: &mut Effects) {
        self.groups.iter_mut().for_each(|group| group.tick(moment, out));
        self.coordinator.tick(moment, &mut self.groups, out);
        self.recover(moment);
        if self.next_health > moment.now {
            return;
        }
        self.next_health = moment.now + HEALTH_INTERVAL;
        for peer in self.peers.keys() {
            out.send.push((*peer, Message::Health(self.own_health())));
        }
        self.mourn(moment);
    }

    /// The transactions that are not decided everywhere, with the shards that say so, as this node's
    /// replicas know them.
    pub fn doubts(&self) -> Vec<(Doubt, Vec<usize>)> {
        let mut all: BTreeMap<TxnId, (Doubt, Vec<usize>)> = BTreeMap::new();
        for (shard, group) in self.groups.iter().enumerate() {
            for doubt in group.shard().doubts() {
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
        self.coordinator.recover(moment, doubt, &mut self.groups);
        true
    }

    /// Settles transactions of the shards led here that nobody has decided for too long.
    fn recover(&mut self, moment: Moment) {
        if self.next_recovery > moment.now || planted!("orphan-locks") {
            return;
        }
        self.next_recovery = moment.now + TXN_RECOVERY_INTERVAL;
        let mut old = Vec::new();
        for group in self.groups.iter().filter(|group| group.leads()) {
            let wall = group.wall(moment).0;
            let age = |doubt: &Doubt| Duration::from_millis(wall.saturating_sub(doubt.since.0));
            let doubts = group.shard().doubts().into_iter();
            old.extend(doubts.filter(|doubt| age(doubt) >= TXN_RECOVERY_AFTER));
        }
        for doubt in old {
            self.coordinator.recover(moment, doubt, &mut self.groups);
        }
    }

    /// Peers that fell silent: their clients wait no longer for keys.
    fn mourn(&mut self, moment: Moment) {
        let silent =
            |peer: &Peer| peer.heard.is_some_and(|at| moment.now.since(at) >= HEALTH_TIMEOUT);
        for (node, peer) in &mut self.peers {
            if silent(peer) {
                peer.heard = None;
                self.groups.iter_mut().for_each(|group| group.peer_gone(moment, *node));
            }
        }
    }

    fn recv(&mut self, moment: Moment, source: NodeId, message: Message, out: &mut Effects) {
        // Whatever it says: a node that was never heard could not fall silent, and the waits of
        // its clients would outlive it.
        self.peers.entry(source).or_default().heard = Some(moment.now);
        match message {
            Message::Consensus { group, envelope } => {
                if envelope.source == source && envelope.target == self.node {
                    let event = consensus::Event::Recv(envelope);
                    self.with(group, |group| group.step(moment, event, out));
                }
            }
            Message::Forward { group, term, requests } => {
                self.with(group, |group| group.forwarded(moment, source, term, requests));
            }
            Message::Answers { group, applied, answers } => {
                self.with(group, |group| group.answered(applied, answers, out));
            }
            Message::ReadIndex { group, term, question } => {
                let asked = (term, question);
                self.with(group, |group| group.asked_index(moment, source, asked, out));
            }
            Message::ReadReady { group, question, index } => {
                self.with(group, |group| group.told_index(moment, question, index, out));
            }
            Message::Publish(list) => out.publish.extend(list),
            Message::Health(health) => self.peers.entry(source).or_default().health = health,
        }
    }
}

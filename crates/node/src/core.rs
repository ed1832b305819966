//! A core: the groups of one thread, and what the node knows of the others.
//!
//! The world comes in as one event; the consequences come out as values. Nothing here reads a
//! clock, a socket or a disk, so the driver of the server and the simulator run the same code.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::{Index, NodeId, SnapshotMeta, Status};
use keyspace::op::Unblock;
use keyspace::{Publish, Shard};
use stdx::Instant;

use crate::effects::Effects;
use crate::group::{Founding, Group};
use crate::limits::{HEALTH_INTERVAL, HEALTH_TIMEOUT};
use crate::message::{GroupId, Health, Message};
use crate::request::{Asked, Call, Exec, Moment, Proposing, Ticket};

/// What happened in the world.
#[derive(Debug)]
pub enum Event {
    /// `deadline` was reached.
    Tick,
    /// A message of a peer.
    Recv { source: NodeId, message: Message },
    /// A connection to this peer stands, newly.
    PeerUp(NodeId),
    /// The connection that this peer sends over has ended: most likely the peer has, too.
    PeerDown(NodeId),
    /// A peer was started anew: its former clients are gone.
    PeerReborn(NodeId),
    /// All saves of the group up to this number are durable.
    Saved { group: GroupId, number: u64 },
    /// The disk has no room for the log, or has room again.
    DiskFull(bool),
    /// The node will stop: it hands on what it leads.
    Leave,
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

/// See the head of this file.
#[derive(Debug)]
pub struct Core {
    node: NodeId,
    groups: Vec<Group>,
    peers: BTreeMap<NodeId, Peer>,
    next_health: Instant,
    own: Health,
}

impl Core {
    /// A core with its groups; `peers` are the other nodes of the cluster.
    pub fn new(node: NodeId, peers: &[NodeId], own: Health, groups: Vec<Founding>) -> Core {
        let groups: Vec<Group> = groups.into_iter().map(Group::new).collect();
        assert!(!groups.is_empty(), "a core without a group serves nobody");
        let peers = peers.iter().map(|peer| (*peer, Peer::default())).collect();
        Core { node, groups, peers, next_health: Instant(0), own }
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The group that keeps these keys: there is one.
    pub fn group(&self) -> &Group {
        &self.groups[0]
    }

    /// As `group`, to ask something of it.
    pub fn group_mut(&mut self) -> &mut Group {
        &mut self.groups[0]
    }

    /// A command of a client; see `Group::call`.
    pub fn call(&mut self, moment: Moment, call: Call<'_>, reply: &mut Vec<u8>) -> Asked {
        self.own.operations += 1;
        self.groups[0].call(moment, call, reply)
    }

    /// MULTI's queue of a client.
    pub fn exec(&mut self, moment: Moment, exec: Exec) {
        self.own.operations += exec.calls.len() as u64;
        self.groups[0].exec(moment, exec);
    }

    /// Ends the wait of a blocked call; see `Group::unblock`.
    pub fn unblock(&mut self, moment: Moment, target: u64, how: Unblock, ticket: Option<Ticket>) {
        self.groups[0].unblock(moment, target, how, ticket);
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
                out.send.push((peer, Message::Health(self.own_health())));
                self.groups.iter_mut().for_each(|group| group.peer_up(peer));
            }
            Event::PeerDown(peer) | Event::PeerReborn(peer) => {
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
        self.groups.iter_mut().for_each(|group| group.flush(moment, proposing, out));
    }

    /// When to feed `Event::Tick`, if nothing else happens first.
    pub fn deadline(&self, moment: Moment) -> Instant {
        let groups = self.groups.iter().map(|group| group.deadline(moment)).min();
        let health = if self.peers.is_empty() { Instant::FAR } else { self.next_health };
        groups.into_iter().fold(health, Instant::min)
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
        self.groups.iter().all(Group::has_room)
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
        if self.next_health > moment.now {
            return;
        }
        self.next_health = moment.now + HEALTH_INTERVAL;
        for peer in self.peers.keys() {
            out.send.push((*peer, Message::Health(self.own_health())));
        }
        self.mourn(moment);
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
            Message::Publish(list) => out.publish.extend(list),
            Message::Health(health) => self.peers.entry(source).or_default().health = health,
        }
    }
}

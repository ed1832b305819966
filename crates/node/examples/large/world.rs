//! The world around the cores: time in steps of a millisecond, a network that loses nothing, disks
//! that take a fixed time, and no files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Config, NodeId, SnapshotMeta, Stored};
use keyspace::{Loader, Shard};
use node::{
    Call, Called, Change, Core, Effects, Event, Founding, GroupId, Health, Kind, Map, Moment,
    Proposing, Setup, Shards, SnapshotJob, SnapshotOptions, Ticket,
};
use stdx::{Instant, Millis};
use wire::{ArgsBuf, Proto};

use crate::Leaders;
use crate::count::Traffic;

/// How long a message is on its way.
const NETWORK_MILLIS: u64 = 1;

/// How long a write with its flush takes, of the log or of a part of a snapshot.
const DISK_MILLIS: u64 = 2;

/// What is asked for.
pub(crate) struct Options {
    pub(crate) nodes: u32,
    pub(crate) shards: usize,
    pub(crate) seed: u64,
    pub(crate) replace_after: Duration,
    /// What clients write to each shard.
    pub(crate) kib: u64,
    /// A group that nobody used for so long hibernates; never if it is zero.
    pub(crate) hibernate_after: Duration,
}

/// A snapshot on a simulated disk.
#[derive(Default)]
struct Kept {
    meta: SnapshotMeta,
    bytes: Vec<u8>,
}

struct Machine {
    core: Core,
    dead: bool,
    /// Its own deadline.
    due: u64,
    done: BTreeMap<GroupId, (SnapshotMeta, Bytes)>,
    making: BTreeMap<GroupId, Kept>,
    coming: BTreeMap<GroupId, Kept>,
}

/// See the head of this file.
pub(crate) struct World {
    pub(crate) millis: u64,
    pub(crate) traffic: Traffic,
    /// Replicas that came to nodes that had none.
    pub(crate) joined: u64,
    machines: BTreeMap<NodeId, Machine>,
    /// What happens to whom, and when.
    coming: BTreeMap<u64, BTreeMap<NodeId, Vec<Event>>>,
    /// Calls that wait, with when they were begun.
    calls: BTreeMap<(NodeId, Ticket), u64>,
    patience: Vec<u64>,
    next_ticket: u64,
    replace_after: Duration,
    hibernate_after: Duration,
    seed: u64,
    buffer: Vec<u8>,
}

impl World {
    /// A cluster that was just founded.
    pub(crate) fn new(options: &Options) -> World {
        let founders: Vec<_> = (1..=options.nodes).map(about).collect();
        let shards = Shards::new(options.shards).expect("a power of two");
        let map = Arc::new(Map::founding(shards, 3, &founders).expect("a map of these nodes"));
        let mut world = World {
            millis: 1,
            traffic: Traffic::default(),
            joined: 0,
            machines: BTreeMap::new(),
            coming: BTreeMap::new(),
            calls: BTreeMap::new(),
            patience: Vec::new(),
            next_ticket: 1,
            replace_after: options.replace_after,
            hibernate_after: options.hibernate_after,
            seed: options.seed,
            buffer: Vec::new(),
        };
        for node in (1..=options.nodes).map(NodeId) {
            let machine = world.machine(node, map.clone(), true);
            world.machines.insert(node, machine);
        }
        world
    }

    fn machine(&self, node: NodeId, map: Arc<Map>, founds: bool) -> Machine {
        let (seed, shards) = (self.seed, map.shards().count());
        let hibernate_after = self.hibernate_after;
        let options = move |group: GroupId| {
            // As `server::start` does it.
            let seed = (seed ^ u64::from(node.0) << 32)
                .wrapping_add(u64::from(group.0).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut options = consensus::Options::new(node, seed);
            options.tail_bytes_max /= shards;
            options.hibernate_after = Some(hibernate_after).filter(|after| !after.is_zero());
            options
        };
        let make = move |group: GroupId, stored: Stored, now: Instant| {
            let replica = consensus::raft::Replica::new(options(group), stored, now);
            Box::new(replica.expect("an empty log contradicts nothing")) as Box<_>
        };
        let member = |id: GroupId| {
            let config = Config::of(map.wanted_in(id));
            let snapshot = SnapshotMeta { config, ..SnapshotMeta::default() };
            let stored = Stored { snapshot: snapshot.clone(), ..Stored::default() };
            let (replica, shard, boot) = (make(id, stored, Instant(0)), Shard::new(), 1);
            let (snapshot_bytes, snapshots) = (0, SnapshotOptions::default());
            Founding { id, node, replica, shard, snapshot, boot, snapshot_bytes, snapshots }
        };
        let held = map.groups().filter(|id| founds && map.wants(node, *id));
        let members = held.map(member).collect();
        let (addr, _) = about(node.0);
        let core = Core::new(Setup {
            node,
            own: Health { addr, ..Health::default() },
            map: map.clone(),
            moves: true,
            replace_after: self.replace_after,
            catch_up_rate: 64 << 20,
            boot: 1,
            snapshots: SnapshotOptions::default(),
            members,
            past: BTreeMap::new(),
            make: Box::new(make),
        });
        let (done, making, coming) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Machine { core, dead: false, due: 0, done, making, coming }
    }

    fn moment(&self) -> Moment {
        Moment { now: Instant(self.millis * 1_000_000), wall: Millis(self.millis) }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.millis += 1;
            let mut events = self.coming.remove(&self.millis).unwrap_or_default();
            let due = |machine: &Machine| !machine.dead && machine.due <= self.millis;
            let nodes = self.machines.iter();
            let nodes: Vec<NodeId> = nodes
                .filter(|(node, machine)| due(machine) || events.contains_key(node))
                .map(|(node, _)| *node)
                .collect();
            for node in nodes {
                self.turn(node, events.remove(&node).unwrap_or_default());
            }
        }
    }

    fn at(&mut self, millis: u64, node: NodeId, event: Event) {
        let at = self.coming.entry(self.millis + millis).or_default();
        at.entry(node).or_default().push(event);
    }

    /// One turn of a node's loop.
    fn turn(&mut self, node: NodeId, events: Vec<Event>) {
        let moment = self.moment();
        let machine = self.machines.get_mut(&node).expect("a node of the cluster");
        if machine.dead {
            return;
        }
        let mut out = Effects::default();
        for event in events {
            machine.core.step(moment, event, &mut out);
        }
        machine.core.step(moment, Event::Tick, &mut out);
        machine.core.flush(moment, Proposing::Now, &mut out);
        machine.due = machine.core.deadline().0.div_ceil(1_000_000).max(self.millis + 1);
        if machine.core.is_busy() {
            machine.due = self.millis + 1;
        }
        self.traffic.turns += 1;
        self.joined += out.joined.len() as u64;
        self.carry_out(node, out);
    }

    fn carry_out(&mut self, node: NodeId, out: Effects) {
        for save in out.save {
            let event = Event::Saved { group: save.group, number: save.number };
            self.at(DISK_MILLIS, node, event);
        }
        for job in out.snapshot {
            self.keep(node, job);
        }
        for (target, message) in out.send {
            self.buffer.clear();
            message.encode(&mut self.buffer);
            self.traffic.count(&message, self.buffer.len());
            self.at(NETWORK_MILLIS, target, Event::Recv { source: node, message });
        }
        for (ticket, reply) in out.replies.iter() {
            if let Some(begun) = self.calls.remove(&(node, ticket)) {
                assert!(!reply.starts_with(b"-"), "{}", String::from_utf8_lossy(reply));
                self.patience.push(self.millis - begun);
            }
        }
    }

    /// Does what the keeper of snapshots does.
    fn keep(&mut self, node: NodeId, job: SnapshotJob) {
        let machine = self.machines.get_mut(&node).expect("a node of the cluster");
        let event = match job {
            SnapshotJob::Begin { group, meta } => {
                machine.making.insert(group, Kept { meta, bytes: Vec::new() });
                return;
            }
            SnapshotJob::Part { group, data, last, .. } => {
                let kept = machine.making.entry(group).or_default();
                kept.bytes.extend(data);
                if last {
                    let Kept { meta, bytes } = std::mem::take(kept);
                    machine.done.insert(group, (meta, bytes.into()));
                }
                Event::PartWritten { group, last }
            }
            SnapshotJob::Fetch { group, target, snapshot, offset, bytes_max, .. } => {
                let newest = machine.done.get(&group).filter(|(meta, _)| meta.index == snapshot);
                let bytes = newest.map(|(_, bytes)| bytes.clone()).unwrap_or_default();
                let from = (offset as usize).min(bytes.len());
                let to = (from + bytes_max).min(bytes.len());
                let last = newest.is_some() && to == bytes.len();
                let data = bytes.slice(from..to);
                Event::Fetched { group, target, snapshot, offset, data, last }
            }
            SnapshotJob::Receive { group, meta, offset, data, last, .. } => {
                let kept = machine.coming.entry(group).or_default();
                kept.bytes.truncate(offset as usize);
                kept.bytes.extend(data);
                if !last {
                    return;
                }
                let bytes: Bytes = std::mem::take(&mut kept.bytes).into();
                let shard = Loader::load(&bytes).ok().map(Box::new);
                machine.done.insert(group, (meta.clone(), bytes));
                Event::Loaded { group, meta, shard }
            }
            SnapshotJob::Leave { group, .. } => {
                machine.done.remove(&group);
                Event::Left { group }
            }
        };
        self.at(DISK_MILLIS, node, event);
    }

    /// A client of a node begins a call.
    pub(crate) fn ask(&mut self, node: NodeId, args: &[&[u8]]) {
        let (moment, ticket) = (self.moment(), Ticket(self.next_ticket));
        self.next_ticket += 1;
        let args: ArgsBuf = args.iter().copied().collect();
        let args = args.args();
        let kind = if args.is(0, "get") { Kind::Read } else { Kind::Write };
        let (db, proto, after, replica, may_block) = (0, Proto::Resp2, false, false, false);
        let call = Call { ticket, db, proto, kind, after, replica, may_block, args };
        let command = keyspace::command::find(args).expect("a known command");
        let machine = self.machines.get_mut(&node).expect("a node of the cluster");
        let (route, mut reply) = (machine.core.route(command, args), Vec::new());
        match machine.core.call(moment, route, call, &mut reply) {
            Called::Replied => self.patience.push(0),
            Called::Waits(_) => {
                self.calls.insert((node, ticket), self.millis);
            }
        }
        // What it asked for is part of the node's next turn.
        machine.due = self.millis;
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        self.calls.len()
    }

    /// How long calls waited: the median and the longest.
    pub(crate) fn take_patience(&mut self) -> (u64, u64) {
        let mut all = std::mem::take(&mut self.patience);
        all.sort_unstable();
        let at = |at: usize| all.get(at).copied().unwrap_or(0);
        (at(all.len() / 2), at(all.len().saturating_sub(1)))
    }

    /// A node falls silent, for good.
    pub(crate) fn kill(&mut self, node: NodeId) {
        let machine = self.machines.get_mut(&node).expect("a node of the cluster");
        machine.dead = true;
    }

    /// The nodes that live.
    pub(crate) fn living(&self) -> Vec<NodeId> {
        self.lives().map(|(node, _)| node).collect()
    }

    fn lives(&self) -> impl Iterator<Item = (NodeId, &Core)> {
        let living = self.machines.iter().filter(|(_, machine)| !machine.dead);
        living.map(|(node, machine)| (*node, &machine.core))
    }

    /// The newest map.
    pub(crate) fn map(&self) -> Arc<Map> {
        let maps = self.lives().map(|(_, core)| core.map());
        maps.max_by_key(|map| map.version()).expect("a node lives").clone()
    }

    /// How many replicas of shards a node has.
    pub(crate) fn held(&self, node: NodeId) -> usize {
        self.machines[&node].core.members().count()
    }

    /// How many shards a node leads.
    pub(crate) fn led(&self, node: NodeId) -> usize {
        self.machines[&node].core.members().filter(|member| member.leads()).count()
    }

    /// Who leads what.
    pub(crate) fn leaders(&self) -> Leaders {
        let mut leaders = BTreeMap::new();
        for (node, core) in self.lives() {
            let led = core.members().filter(|member| member.leads());
            leaders.extend(led.map(|member| (member.id(), node)));
        }
        leaders
    }

    /// How many shards nobody leads.
    pub(crate) fn leaderless(&self) -> usize {
        let shards = self.lives().next().map_or(0, |(_, core)| core.shards().count());
        shards - self.leaders().len()
    }

    /// How many replicas hibernate.
    pub(crate) fn hibernating(&self) -> usize {
        let members = self.lives().flat_map(|(_, core)| core.members());
        members.filter(|group| group.hibernates()).count()
    }

    /// The terms of all shards, summed.
    pub(crate) fn terms(&self) -> u64 {
        let mut terms: BTreeMap<GroupId, u64> = BTreeMap::new();
        for (_, core) in self.lives() {
            for (group, status) in core.groups() {
                let term = terms.entry(group).or_default();
                *term = status.term.0.max(*term);
            }
        }
        terms.values().sum()
    }

    /// How many groups are not where the map wants them.
    pub(crate) fn unsettled(&self) -> usize {
        let map = self.map();
        let mut settled = BTreeSet::new();
        for (_, core) in self.lives() {
            for id in map.groups() {
                let Some(member) = core.member(id).filter(|member| member.leads()) else {
                    continue;
                };
                let Config { voters, outgoing, learners } = &*member.status().config;
                let is = outgoing.is_empty() && learners.is_empty();
                if is && *voters == map.wanted_in(id) {
                    settled.insert(id);
                }
            }
        }
        map.groups().count() - settled.len()
    }

    /// Changes the map, at the first node that lives.
    pub(crate) fn change(&mut self, change: Change) {
        let (moment, node) = (self.moment(), self.living()[0]);
        let machine = self.machines.get_mut(&node).expect("a node of the cluster");
        machine.core.change(moment, None, change);
        machine.due = self.millis;
    }

    fn next_node(&self) -> NodeId {
        let last = self.machines.keys().next_back().expect("a node of the cluster");
        NodeId(last.0 + 1)
    }

    /// Expects one more node.
    pub(crate) fn invite(&mut self) {
        let (addr, _) = about(self.next_node().0);
        let zone = hashring::Zone::default();
        self.change(Change::Invite { addr, weight: 1, zone, replaces: None });
    }

    /// It comes.
    pub(crate) fn come(&mut self) {
        let (node, map) = (self.next_node(), self.map());
        let (addr, identity) = about(node.0);
        let machine = self.machine(node, map, false);
        for other in self.living() {
            self.at(NETWORK_MILLIS, other, Event::PeerUp(node));
            self.at(NETWORK_MILLIS, node, Event::PeerUp(other));
        }
        self.machines.insert(node, machine);
        let first = self.living()[0];
        self.at(NETWORK_MILLIS, first, Event::Came { addr, identity });
    }
}

fn about(node: u32) -> (String, node::Identity) {
    let mut identity = [0; 16];
    identity[..4].copy_from_slice(&node.to_le_bytes());
    (format!("n{node}:1"), identity)
}

//! A small cluster in memory: replicas, their disks, a state machine that lists what it applied,
//! a network that is a list of messages, and the checks that always hold.
//!
//! The caller decides when a message arrives, a save is done or time passes, and after every step
//! the checks look at all of it: one leader in a term, equal logs, committed entries that never
//! change and are durable at a quorum, reads that miss nothing.

// Each test binary uses its own part of this module.
#![expect(dead_code, reason = "the script tests and the random test use different parts")]

mod check;
pub(crate) mod story;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consensus::{
    Chunk, Config, Effects, Entry, EntryKind, Envelope, Event, Fetch, Index, NodeId, Options,
    Record, Replica, Role, SnapshotMeta, Stored, Term, Token, quorum, raft,
};
use stdx::Instant;

pub(crate) use check::Checks;

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    pub(crate) snapshot: SnapshotMeta,
    pub(crate) snapshot_data: Bytes,
    pub(crate) log: BTreeMap<u64, Entry>,
    /// Something was lost, and is not repaired yet.
    pub(crate) faulty: bool,
}

impl Disk {
    pub(crate) fn write(&mut self, record: Record) {
        match record {
            Record::Entry(entry) => {
                self.log.split_off(&entry.index.0);
                self.log.insert(entry.index.0, entry);
            }
            Record::Vote { term, vote } => (self.term, self.vote) = (term, vote),
        }
    }

    /// The term of the entry at `index`, if the disk holds it or a snapshot of it.
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        entry.index <= self.snapshot.index
            || self.log.get(&entry.index.0).is_some_and(|here| here.term == entry.term)
    }

    fn stored(&self) -> Stored {
        Stored {
            term: self.term,
            vote: self.vote,
            snapshot: self.snapshot.clone(),
            entries: self.log.values().cloned().collect(),
            faulty: self.faulty,
            reached: Default::default(),
        }
    }
}

/// The state machine: a list of all commands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) index: Index,
    pub(crate) term: Term,
    pub(crate) config: Config,
    pub(crate) commands: Vec<Bytes>,
}

impl Machine {
    fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index.0, self.index.0 + 1, "each entry is applied once, in order");
        (self.index, self.term) = (entry.index, entry.term);
        match entry.kind {
            EntryKind::Command => self.commands.push(entry.data.clone()),
            EntryKind::Noop => {}
            EntryKind::Config => self.config = Config::decode(&entry.data).expect("it was encoded"),
        }
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { index: self.index, term: self.term, config: self.config.clone() }
    }

    fn dump(&self) -> Bytes {
        let mut out = Vec::new();
        for command in &self.commands {
            out.extend_from_slice(command);
            out.push(b'\n');
        }
        Bytes::from(out)
    }

    fn load(meta: &SnapshotMeta, data: &[u8]) -> Machine {
        let commands = data
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| Bytes::copy_from_slice(&line[..line.len() - 1]))
            .collect();
        let (index, term, config) = (meta.index, meta.term, meta.config.clone());
        Machine { index, term, config, commands }
    }
}

/// One node of the cluster; down if it has no replica.
pub(crate) struct Node {
    pub(crate) options: Options,
    pub(crate) replica: Option<raft::Replica>,
    pub(crate) disk: Disk,
    /// What was handed to the disk and is not yet durable.
    pub(crate) saving: VecDeque<(u64, Vec<Record>)>,
    pub(crate) machine: Machine,
    /// The disk as it will be once all is saved: the log in memory.
    pub(crate) memory: Disk,
    pub(crate) arriving: Vec<u8>,
    /// A snapshot that is complete, and waits to be installed.
    pub(crate) installing: Option<SnapshotMeta>,
    /// This node's clock: where it started, and how much faster than true time it runs.
    pub(crate) clock: (u64, i64),
}

/// What came out of a step, for whoever wants to tell or count it.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) effects: Effects,
    pub(crate) role: Option<Role>,
}

pub(crate) struct Cluster {
    pub(crate) now: u64,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) network: Vec<Envelope>,
    /// Snapshots asked for, if the caller answers them himself.
    pub(crate) fetches: Vec<(NodeId, Fetch)>,
    /// Who is to take a snapshot.
    wants: BTreeSet<NodeId>,
    pub(crate) checks: Checks,
    /// Lines that tell what happened.
    pub(crate) story: Vec<String>,
}

impl Cluster {
    pub(crate) fn new() -> Cluster {
        Cluster {
            now: 1_000_000_000,
            nodes: BTreeMap::new(),
            network: Vec::new(),
            fetches: Vec::new(),
            wants: BTreeSet::new(),
            checks: Checks::default(),
            story: Vec::new(),
        }
    }

    /// Adds a node that knows of this configuration, and starts it.
    pub(crate) fn add(&mut self, options: Options, config: Config) {
        let snapshot = SnapshotMeta { config: config.clone(), ..SnapshotMeta::default() };
        let disk = Disk { snapshot, ..Disk::default() };
        let id = options.node;
        let machine = Machine { config, ..Machine::default() };
        let node = Node {
            options,
            replica: None,
            memory: disk.clone(),
            disk,
            saving: VecDeque::new(),
            machine,
            arriving: Vec::new(),
            installing: None,
            clock: (0, 0),
        };
        self.nodes.insert(id, node);
        self.restart(id);
    }

    pub(crate) fn clock(&self, id: NodeId) -> Instant {
        let (origin, ppm) = self.nodes[&id].clock;
        let drift = (self.now as i128 * i128::from(ppm) / 1_000_000) as i64;
        Instant(origin + self.now.saturating_add_signed(drift))
    }

    /// The true time at which this node's clock shows `instant`, or a little after.
    pub(crate) fn true_time(&self, id: NodeId, instant: Instant) -> u64 {
        let (origin, ppm) = self.nodes[&id].clock;
        let shown = u128::from(instant.0.saturating_sub(origin));
        let rate = (1_000_000 + ppm) as u128;
        u64::try_from(shown * 1_000_000 / rate + 2).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        self.nodes[&id].replica.is_some()
    }

    pub(crate) fn replica(&self, id: NodeId) -> &raft::Replica {
        self.nodes[&id].replica.as_ref().expect("the node is up")
    }

    /// The node that leads in the highest term, if any does.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leads = |node: &&Node| {
            node.replica.as_ref().is_some_and(|replica| replica.standing().0 == Role::Leader)
        };
        let term = |node: &&Node| node.replica.as_ref().map(|replica| replica.standing().1);
        self.nodes.values().filter(leads).max_by_key(term).map(|node| node.options.node)
    }

    /// All that is not durable is lost.
    pub(crate) fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it exists");
        node.replica = None;
        node.saving.clear();
        node.installing = None;
        node.arriving.clear();
        self.checks.forget_reads_of(id);
    }

    /// The disk of a node that is down loses its log from `index` on, and its snapshot if that is
    /// behind, and knows it.
    pub(crate) fn corrupt(&mut self, id: NodeId, index: u64) {
        let node = self.nodes.get_mut(&id).expect("it exists");
        assert!(node.replica.is_none(), "a disk breaks while its node is down");
        node.disk.log.split_off(&index);
        node.disk.faulty = true;
    }

    pub(crate) fn restart(&mut self, id: NodeId) {
        let now = self.clock(id);
        let node = self.nodes.get_mut(&id).expect("it exists");
        node.memory = node.disk.clone();
        node.machine = Machine::load(&node.disk.snapshot, &node.disk.snapshot_data);
        let replica = raft::Replica::new(node.options.clone(), node.disk.stored(), now);
        node.replica = Some(replica.expect("the disk is sound"));
    }

    /// The disk finishes its oldest save.
    pub(crate) fn save_one(&mut self, id: NodeId) -> bool {
        let node = self.nodes.get_mut(&id).expect("it exists");
        let Some((number, records)) = node.saving.pop_front() else { return false };
        for record in records {
            node.disk.write(record);
        }
        self.step(id, Event::Saved(number));
        true
    }

    /// The disk finishes all it has; the replica hears of the last.
    pub(crate) fn save_all(&mut self, id: NodeId) -> bool {
        let node = self.nodes.get_mut(&id).expect("it exists");
        let mut last = None;
        while let Some((number, records)) = node.saving.pop_front() {
            for record in records {
                node.disk.write(record);
            }
            last = Some(number);
        }
        if let Some(number) = last {
            self.step(id, Event::Saved(number));
        }
        last.is_some()
    }

    /// The node writes a snapshot of what it applied.
    pub(crate) fn compact(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it exists");
        let meta = node.machine.meta();
        if meta.index <= node.disk.snapshot.index {
            return;
        }
        node.disk.snapshot = meta.clone();
        node.disk.snapshot_data = node.machine.dump();
        let keep = node.disk.log.split_off(&(meta.index.0 + 1));
        node.disk.log = keep;
        node.memory.snapshot = meta.clone();
        self.story.push(format!("{} has a snapshot {}", story::name(id), meta.index.0));
        self.step(id, Event::Compact(meta));
    }

    /// The snapshot that arrived takes the place of the state, or turns out to be bad.
    pub(crate) fn install(&mut self, id: NodeId, ok: bool) -> bool {
        let node = self.nodes.get_mut(&id).expect("it exists");
        let Some(meta) = node.installing.take() else { return false };
        assert!(node.saving.is_empty(), "the caller saves before it installs");
        let data = std::mem::take(&mut node.arriving);
        let verb = if ok { "installs" } else { "cannot install" };
        self.story.push(format!("{} {verb} snapshot {}", story::name(id), meta.index.0));
        if ok {
            node.machine = Machine::load(&meta, &data);
            node.disk.snapshot = meta.clone();
            node.disk.snapshot_data = Bytes::from(data);
            node.disk.log.clear();
            node.memory = node.disk.clone();
            self.checks.installed(&meta, &self.nodes[&id].machine);
        }
        self.step(id, Event::Installed { snapshot: meta.index, ok });
        true
    }

    /// Feeds an event to a node that is up, and does what follows.
    pub(crate) fn step(&mut self, id: NodeId, event: Event) {
        let now = self.clock(id);
        let node = self.nodes.get_mut(&id).expect("it exists");
        let Some(replica) = node.replica.as_mut() else { return };
        if let Event::Read { token } = &event {
            self.checks.read_asked(*token, id);
        }
        let before = replica.standing();
        let mut out = Effects::default();
        replica.step(now, event, &mut out);
        replica.check();
        if node.disk.faulty && !replica.status().faulty {
            node.disk.faulty = false;
            self.story.push(format!("{} is repaired", story::name(id)));
        }
        let after = replica.standing();
        if before != after {
            self.tell_standing(id);
        }
        self.carry_out(id, out);
        self.check(id);
    }

    fn carry_out(&mut self, id: NodeId, out: Effects) {
        self.tell(id, &out);
        let node = self.nodes.get_mut(&id).expect("it exists");
        for record in &out.save {
            node.memory.write(record.clone());
        }
        if !out.save.is_empty() {
            node.saving.push_back((out.save_number, out.save));
        }
        self.network.extend(out.send);
        for Chunk { meta, offset, data, last } in out.install {
            if offset == 0 {
                node.arriving.clear();
            }
            assert_eq!(node.arriving.len() as u64, offset, "chunks arrive in order");
            node.arriving.extend_from_slice(&data);
            node.installing = last.then_some(meta);
        }
        for entry in &out.apply {
            node.machine.apply(entry);
        }
        if let Some(last) = out.apply.last() {
            let index = last.index;
            self.checks.applied(id, &out.apply, &self.nodes);
            self.step(id, Event::Applied(index));
        }
        for fetch in out.fetch {
            self.fetches.push((id, fetch));
        }
        if !out.wants.is_empty() {
            self.wants.insert(id);
        }
        for read in out.read {
            self.checks.read_ready(read);
        }
    }

    /// Answers what nodes asked of their own snapshots, and takes those that are wanted.
    pub(crate) fn serve_fetches(&mut self) -> bool {
        let wants = std::mem::take(&mut self.wants);
        let any = !(self.fetches.is_empty() && wants.is_empty());
        for id in wants {
            self.compact(id);
        }
        let fetches = std::mem::take(&mut self.fetches);
        for (id, Fetch { target, snapshot, offset, bytes_max }) in fetches {
            let disk = &self.nodes[&id].disk;
            let (data, last) = if disk.snapshot.index == snapshot {
                let start = disk.snapshot_data.len().min(offset as usize);
                let end = disk.snapshot_data.len().min(start + bytes_max);
                (disk.snapshot_data.slice(start..end), end == disk.snapshot_data.len())
            } else {
                (Bytes::new(), false)
            };
            self.step(id, Event::Fetched { target, snapshot, offset, data, last });
        }
        any
    }

    pub(crate) fn deliver(&mut self, envelope: Envelope) {
        if self.nodes.contains_key(&envelope.target) {
            self.step(envelope.target, Event::Recv(envelope));
        }
    }

    fn check(&mut self, id: NodeId) {
        let Some(replica) = &self.nodes[&id].replica else { return };
        if let (Role::Leader, term, _) = replica.standing() {
            self.checks.leads(id, term, &self.nodes[&id]);
        }
    }

    /// Everything that takes a look at all nodes at once.
    pub(crate) fn check_all(&self) {
        self.checks.logs_match(&self.nodes);
    }

    pub(crate) fn propose(&mut self, id: NodeId, token: u64, data: &str) {
        let data = Bytes::copy_from_slice(data.as_bytes());
        self.step(id, Event::Propose { token: Token(token), data });
    }

    pub(crate) fn quorum_of(config: &Config, has: impl Fn(NodeId) -> bool) -> bool {
        quorum::agreed(config, |id| u64::from(has(id))) >= 1
    }

    pub(crate) fn ids(&self) -> BTreeSet<NodeId> {
        self.nodes.keys().copied().collect()
    }
}

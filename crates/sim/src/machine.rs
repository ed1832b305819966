//! A machine: a disk that outlives the process, clocks, and the node that runs on them, if it does.
//!
//! ```text
//! front.step ─▶ end_turn ─┬─ save ──▶ jobs ─▶ (time passes) ─▶ LogKeeper::commit ─▶ Saved
//!                         ├─ snapshot ▶ jobs ─▶ (time passes) ─▶ SnapshotKeeper::work ─▶ …
//!                         └─ send, output of clients ─▶ world
//! ```
//!
//! The node is started from its disk as `server::start` does it, and driven as `server::driver`
//! drives it. Power fails between any two of these steps, or inside the disk's work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use consensus::NodeId;
use node::{Event, GroupId, Health, Map, Moment, Save, SnapshotJob, SnapshotOptions};
use server::Front;
use server::arrivals::Arrivals;
use server::config::Config;
use server::keeper::{After, Done, LogKeeper, Room, SnapshotKeeper, Work};
use server::links::About;
use server::repair::{self, Refusal};
use server::start::{Present, Restore, entries, newest_map, present, restore};
use storage::disk::SimDisk;
use storage::home::{ClusterId, Home, Identity};
use storage::store::{Found, Store};

use crate::checker::replicas::OnDisk;
use crate::clock::Clock;
use crate::limits::{
    APPEND_BYTES_MAX, CHECK_EVERY, CHUNK_BYTES_MAX, DRIFT_PPM, HIBERNATE_AFTER, NOTE_BYTES,
    SEGMENT_BYTES, SMALL_DISK_PART, SNAPSHOT_LOG_BYTES, SNAPSHOT_STEP_BYTES, TAIL_BYTES_MAX,
    TURNS_PER_SECOND_MAX,
};
use crate::plan::Plan;
use crate::world::What;

/// A client's connection, at the node's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) client: usize,
    /// Which of the client's connections.
    pub(crate) number: u64,
}

/// What a machine was told when it became a node.
#[derive(Clone, Debug)]
pub(crate) enum Calling {
    /// It holds all of so many shards. `founders`: who founded the group; nobody, as far as a node
    /// knows that joins it.
    Fixed { founders: u32, shards: u32 },
    /// What it holds is written in a map, of which this is the first that it knew.
    Mapped { first: Arc<Map>, replace_after: Duration },
}

/// Work that waits for the log.
#[derive(Debug, Default)]
struct LogJobs {
    saves: Vec<Save>,
    trims: Vec<(GroupId, u64, u64)>,
    resets: Vec<(GroupId, u64, u64, Event)>,
}

impl LogJobs {
    fn is_empty(&self) -> bool {
        self.saves.is_empty() && self.trims.is_empty() && self.resets.is_empty()
    }
}

/// A node that runs.
pub(crate) struct Running {
    pub(crate) front: Front,
    _home: Home,
    log: LogKeeper,
    snapshots: SnapshotKeeper,
    jobs: LogJobs,
    /// What was done beside the log, which hears of it with the next commit.
    log_done: Vec<Done>,
    snapshot_work: VecDeque<Work>,
    /// What has found no room on the disk.
    again: Vec<SnapshotJob>,
    arrivals: Arrivals,
    /// The disk is at work on the log, on a snapshot.
    pub(crate) log_busy: bool,
    pub(crate) snapshots_busy: bool,
    log_full: bool,
    /// What follows once the resets under way are durable.
    resets: Vec<(GroupId, u64, Event)>,
    /// The world will wake it at this time.
    pub(crate) timer: u64,
    pub(crate) turn_due: bool,
    pub(crate) seal_due: bool,
    pub(crate) wires: BTreeMap<usize, Wire>,
    /// The newest connection of each client that was closed.
    closed: BTreeMap<usize, u64>,
    /// Turns in this second of the world.
    turns: (u64, u64),
}

/// See the head of this file.
pub(crate) struct Machine {
    pub(crate) id: u32,
    calling: Calling,
    pub(crate) disk: SimDisk,
    /// How large that is when nothing else takes room on it.
    disk_bytes: Option<u64>,
    /// Nothing fails, and no client may hear of an error.
    calm: bool,
    pub(crate) clock: Clock,
    /// Counts starts and ends: what was scheduled for an earlier life is void.
    pub(crate) life: u64,
    pub(crate) running: Option<Box<Running>>,
    /// It will not start again, and why.
    pub(crate) dead: Option<String>,
    pub(crate) paused_until: u64,
    /// What came to it while it was paused, each for one of its lives.
    pub(crate) waiting: Vec<(u64, What)>,
    /// Its disk was damaged behind its back.
    pub(crate) rotten: bool,
    /// That may show at a later start than the next one.
    pub(crate) latent: bool,
    /// How far it believes that clocks may part.
    pub(crate) drift_ppm: u32,
    /// What its last start told the operator.
    pub(crate) news: Vec<String>,
}

/// What came of the log's work.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) events: Vec<Event>,
    /// Logs that are void now, up to here.
    pub(crate) resets: Vec<(GroupId, u64)>,
    /// The disk is full: try again.
    pub(crate) again: bool,
}

/// Why a node did not start.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// The disk failed; it may do better next time.
    Io(String),
    /// It must not.
    Refused(Refusal),
}

impl From<storage::Error> for NotStarted {
    fn from(error: storage::Error) -> NotStarted {
        match error {
            storage::Error::Io { .. }
            | storage::Error::Sync { .. }
            | storage::Error::Full { .. }
            | storage::Error::Poisoned => NotStarted::Io(error.to_string()),
            other => NotStarted::Refused(Refusal::Disk(other)),
        }
    }
}

impl From<Refusal> for NotStarted {
    fn from(refusal: Refusal) -> NotStarted {
        match refusal {
            Refusal::Disk(error) => error.into(),
            other => NotStarted::Refused(other),
        }
    }
}

impl Machine {
    /// A machine with an empty disk, that does not run yet.
    pub(crate) fn new(id: u32, calling: Calling, seed: u64) -> Machine {
        let disk = SimDisk::new(seed.wrapping_mul(31).wrapping_add(u64::from(id)));
        Machine {
            id,
            calling,
            disk,
            disk_bytes: None,
            calm: false,
            clock: Clock::new(),
            life: 0,
            running: None,
            dead: None,
            paused_until: 0,
            waiting: Vec::new(),
            rotten: false,
            latent: false,
            drift_ppm: DRIFT_PPM,
            news: Vec::new(),
        }
    }

    /// What is told to each machine of a plan.
    pub(crate) fn follow(&mut self, plan: &Plan) {
        self.drift_ppm = plan.drift_ppm;
        (self.disk_bytes, self.calm) = (plan.disk_bytes(self.id), plan.calm.is_some());
        self.disk_has_room();
    }

    /// All of its disk is its own again.
    pub(crate) fn disk_has_room(&self) {
        self.disk.set_capacity(self.disk_bytes);
    }

    /// Where the state outgrows a small disk, whoever runs the node gives it a larger one: a log that fills what
    /// is left of it is the node's own affair, what clients store is not. What an evil has taken stays taken.
    pub(crate) fn grow_disk(&mut self) {
        let Some(bytes) = self.disk_bytes else { return };
        // The newest of a group comes last.
        let files = self.disk.sizes_below("snapshots/").into_iter();
        let named = files.filter(|(path, _)| path.ends_with(".snapshot"));
        let newest: BTreeMap<String, u64> = named
            .filter_map(|(path, size)| Some((path.split_once('-')?.0.to_owned(), size)))
            .collect();
        let is_whole = self.disk.capacity() == self.disk_bytes;
        self.disk_bytes = Some(bytes.max(newest.values().sum::<u64>() * SMALL_DISK_PART));
        if is_whole {
            self.disk_has_room();
        }
    }

    /// Whatever was planned to go wrong with its disk does not.
    pub(crate) fn forgive_disk(&self) {
        self.disk.forgive();
        self.disk_has_room();
    }

    /// Starts the node from its disk. `peers` are the other nodes of the cluster.
    pub(crate) fn start(
        &mut self,
        now: u64,
        dice: u64,
        peers: Vec<NodeId>,
    ) -> Result<Vec<(GroupId, OnDisk)>, NotStarted> {
        assert!(self.running.is_none(), "a node that runs is not started");
        let started = self.open(now, dice, peers);
        match started {
            Ok((running, on_disk)) => {
                self.life += 1;
                self.running = Some(Box::new(running));
                Ok(on_disk)
            }
            Err(error) => Err(error),
        }
    }

    fn open(
        &mut self,
        now: u64,
        dice: u64,
        peers: Vec<NodeId>,
    ) -> Result<(Running, Vec<(GroupId, OnDisk)>), NotStarted> {
        let disk: Arc<dyn storage::disk::Disk> = Arc::new(self.disk.clone());
        let mut home = Home::open(disk.clone())?;
        let node = storage::home::NodeId(self.id);
        home.claim(Identity { cluster: ClusterId(1), node })?;
        let options = storage::wal::Options { segment_bytes: segment_bytes(dice) };
        let (mut store, mut found) = Store::open(disk.clone(), options)?;
        let mut faulty = BTreeSet::new();
        self.news.clear();
        let (map, present) = self.place(&*disk, &peers, &mut store, &mut found)?;
        let peers = match &self.calling {
            Calling::Fixed { .. } => peers.len(),
            Calling::Mapped { .. } => map.members().len() - 1,
        };
        for group in present.here.keys() {
            let stored = storage::GroupId(group.0);
            let diagnosis = repair::prepare(&*disk, peers, stored, &mut store, &mut found)?;
            faulty.extend(diagnosis.faulty.then_some(*group));
            self.news.extend(diagnosis.news);
        }
        let moment = self.clock.moment(now);
        let groups: Vec<GroupId> = match &self.calling {
            Calling::Fixed { shards, .. } => (0..*shards).map(GroupId).collect(),
            Calling::Mapped { .. } => map.groups().collect(),
        };
        let here: BTreeSet<GroupId> = present.here.keys().copied().collect();
        let told = self.told(&home, map, present, faulty.clone(), dice);
        let core = restore(told, &found, moment.now)?;
        let look = |group: GroupId| {
            let on_disk = on_disk(&found, group, here.contains(&group), faulty.contains(&group))?;
            Ok((group, on_disk))
        };
        let on_disk: Result<Vec<(GroupId, OnDisk)>, String> =
            groups.into_iter().map(look).collect();
        let on_disk = on_disk.map_err(Refusal::Broken)?;
        let running = Running {
            front: Front::new(core, Config::default(), moment),
            _home: home,
            log: LogKeeper::new(store.wal),
            snapshots: SnapshotKeeper::new(store.snapshots, disk, step_bytes(dice)),
            jobs: LogJobs::default(),
            log_done: Vec::new(),
            snapshot_work: VecDeque::new(),
            again: Vec::new(),
            arrivals: Arrivals::default(),
            log_busy: false,
            snapshots_busy: false,
            log_full: false,
            resets: Vec::new(),
            timer: u64::MAX,
            turn_due: false,
            seal_due: false,
            wires: BTreeMap::new(),
            closed: BTreeMap::new(),
            turns: (0, 0),
        };
        Ok((running, on_disk))
    }

    /// The map that it knows, and what it holds.
    fn place(
        &self,
        disk: &dyn storage::disk::Disk,
        peers: &[NodeId],
        store: &mut Store,
        found: &mut Found,
    ) -> Result<(Arc<Map>, Present), NotStarted> {
        match &self.calling {
            Calling::Fixed { founders, shards } => {
                let founders: BTreeSet<NodeId> = (1..=*founders).map(NodeId).collect();
                let here = (0..*shards).map(|shard| (GroupId(shard), founders.clone())).collect();
                let nodes = peers.iter().map(|peer| peer.0).chain([self.id]).max().unwrap_or(1);
                let map = founding_map(nodes, *shards, nodes.min(15));
                Ok((map, Present { here, ..Present::default() }))
            }
            Calling::Mapped { first, .. } => {
                let map = Some(first.clone());
                let about = About { node: self.id, map, ..About::default() };
                let map = newest_map(disk, &about).map_err(NotStarted::Io)?;
                Ok((map, present(disk, &about, store, found)?))
            }
        }
    }

    fn told(
        &self,
        home: &Home,
        map: Arc<Map>,
        present: Present,
        faulty: BTreeSet<GroupId>,
        dice: u64,
    ) -> Restore {
        let raft = consensus::Options {
            tail_bytes_max: TAIL_BYTES_MAX,
            append_bytes_max: APPEND_BYTES_MAX[(dice >> 8) as usize % APPEND_BYTES_MAX.len()],
            clock_drift_ppm: self.drift_ppm,
            inflight_max: 1 + (dice % 8) as usize,
            hibernate_after: HIBERNATE_AFTER[(dice >> 32) as usize % HIBERNATE_AFTER.len()],
            chunk_bytes_max: CHUNK_BYTES_MAX[(dice >> 24) as usize % CHUNK_BYTES_MAX.len()],
            ..consensus::Options::new(NodeId(self.id), dice)
        };
        let own = Health { pid: self.id, addr: addr_of(self.id), ..Health::default() };
        let log_bytes = SNAPSHOT_LOG_BYTES[(dice >> 48) as usize % SNAPSHOT_LOG_BYTES.len()];
        // Who knows too little has to say so, unless no client may hear it.
        let draw = if self.calm { 0 } else { (dice >> 56) as usize };
        let note_bytes = NOTE_BYTES[draw % NOTE_BYTES.len()];
        let snapshots = SnapshotOptions { step_bytes: step_bytes(dice), log_bytes, note_bytes };
        let (moves, replace_after) = match &self.calling {
            Calling::Fixed { .. } => (false, Duration::ZERO),
            Calling::Mapped { replace_after, .. } => (true, *replace_after),
        };
        Restore {
            raft,
            map,
            moves,
            replace_after,
            catch_up_rate: 0,
            present,
            faulty,
            boot: home.boots(),
            own,
            snapshots,
        }
    }

    /// The process ends. `power`: so does what was not synced.
    pub(crate) fn stop(&mut self, power: bool) {
        self.life += 1;
        if power {
            self.disk.crash();
        } else {
            self.disk.kill();
        }
        self.running = None;
    }

    /// Both clocks.
    pub(crate) fn moment(&self, now: u64) -> Moment {
        self.clock.moment(now)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// It does nothing until then; what comes to it waits, in its order.
    pub(crate) fn pause(&mut self, until: u64) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Has its disk lost anything, or is it gone for good?
    pub(crate) fn is_harmed(&self) -> bool {
        self.rotten || self.dead.is_some()
    }

    /// Can it do something at this time?
    pub(crate) fn is_awake(&self, now: u64) -> bool {
        self.is_up() && self.paused_until <= now
    }

    /// What it is at the moment, in a few words.
    pub(crate) fn summary(&self) -> String {
        let (id, paused) = (self.id, self.paused_until);
        let Some(running) = &self.running else { return format!("node {id} is down") };
        let (log, snapshots, full) = (running.log_busy, running.snapshots_busy, running.log_full);
        let mut text = format!(
            "node {id}: log busy {log} full {full}, snapshots busy {snapshots}, paused until {paused}"
        );
        for seat in running.front.core().all_seats() {
            let Some(group) = seat.member() else { continue };
            let (status, applied, id) = (group.status(), group.applied(), group.id());
            text.push_str(&format!(
                ", {id:?}: {:?} in {:?} of {:?}, applied {applied:?} of {:?} {:?}, faulty {}, hibernates {}, matched {:?}, by {:?}",
                status.role,
                status.term,
                status.leader,
                status.last_term,
                status.last,
                status.faulty,
                group.hibernates(),
                status.matched,
                status.config
            ));
        }
        text
    }

    /// Does it lead this group, in its own belief?
    pub(crate) fn leads(&self, group: GroupId) -> bool {
        let group = self.running.as_ref().and_then(|running| running.group(group));
        group.is_some_and(|group| group.leader() == Some(NodeId(self.id)))
    }

    /// The newest map that it knows, while it runs.
    pub(crate) fn map(&self) -> Option<&Arc<Map>> {
        self.running.as_ref().map(|running| running.front.core().map())
    }

    /// Does it lead any group, in its own belief?
    pub(crate) fn leads_any(&self) -> bool {
        let leads = |group: &node::Group| group.leader() == Some(NodeId(self.id));
        self.running.as_ref().is_some_and(|running| running.front.core().members().any(leads))
    }
}

/// Where the node of this number is reached.
pub(crate) fn addr_of(node: u32) -> String {
    format!("node{node}:1")
}

/// The map of a cluster that begins, with the nodes from 1 on.
pub(crate) fn founding_map(nodes: u32, shards: u32, replicas: u32) -> Arc<Map> {
    let named: Vec<_> = (1..=nodes).map(|node| (addr_of(node), [node as u8; 16])).collect();
    let shards = node::Shards::new(shards as usize).expect("a power of two");
    Arc::new(Map::founding(shards, replicas, &named).expect("a map of few nodes"))
}

/// The checker's view of what was found.
fn on_disk(found: &Found, group: GroupId, here: bool, faulty: bool) -> Result<OnDisk, String> {
    let Some(group) = found.groups.get(&storage::GroupId(group.0)) else {
        return Ok(OnDisk { here, faulty, ..OnDisk::default() });
    };
    if !here {
        return Ok(OnDisk { term: group.term, vote: group.vote, ..OnDisk::default() });
    }
    let snapshot = group.snapshot.as_ref().map(|snapshot| snapshot.meta());
    let snapshot = snapshot.map_or((0, 0), |meta| (meta.index, meta.term));
    let entries = entries(group, consensus::Term(snapshot.1))?;
    Ok(OnDisk { here, faulty, term: group.term, vote: group.vote, snapshot, entries })
}

/// Bytes of a segment of the log.
fn segment_bytes(dice: u64) -> u64 {
    SEGMENT_BYTES[(dice >> 40) as usize % SEGMENT_BYTES.len()]
}

/// Bytes of a snapshot that are made or loaded in one step.
fn step_bytes(dice: u64) -> usize {
    SNAPSHOT_STEP_BYTES[(dice >> 16) as usize % SNAPSHOT_STEP_BYTES.len()]
}

impl Running {
    /// Takes the work for the disk out of the effects of a turn.
    pub(crate) fn take_work(&mut self, saves: Vec<Save>, snapshots: Vec<SnapshotJob>) {
        self.jobs.saves.extend(saves);
        self.snapshot_work.extend(snapshots.into_iter().chain(self.again.drain(..)).map(Work::Job));
    }

    /// Its replica of a group.
    pub(crate) fn group(&self, group: GroupId) -> Option<&node::Group> {
        self.front.core().member(group)
    }

    /// A connection is closed: what still arrives on it is nobody's.
    pub(crate) fn note_closed(&mut self, wire: Wire) {
        let newest = self.closed.entry(wire.client).or_default();
        *newest = wire.number.max(*newest);
    }

    /// Was this connection closed?
    pub(crate) fn has_closed(&self, wire: Wire) -> bool {
        self.closed.get(&wire.client).is_some_and(|newest| wire.number <= *newest)
    }

    /// A turn begins. A loop that never sleeps would burn a core of its machine.
    pub(crate) fn note_turn(&mut self, now: u64) -> Result<(), String> {
        let second = now / 1_000_000_000;
        let (last, count) = self.turns;
        self.turns = (second, if last == second { count + 1 } else { 1 });
        if self.turns.1 > TURNS_PER_SECOND_MAX {
            let groups = self.front.core().groups();
            return Err(format!("the loop of a node does not sleep: {groups:?}"));
        }
        Ok(())
    }

    /// Replicas that have come are noted, or wait.
    pub(crate) fn admit(
        &mut self,
        moment: Moment,
        disk: &SimDisk,
        turn: &mut node::Effects,
    ) -> Result<(), Refusal> {
        self.arrivals.admit(moment.now, disk, turn)
    }

    /// A turn ends: does all that the node holds agree?
    pub(crate) fn check_turn(&self) {
        if self.turns.1.is_multiple_of(CHECK_EVERY) {
            self.front.core().check();
        }
    }

    /// Does the log wait to be cut behind a snapshot?
    pub(crate) fn trims(&self) -> bool {
        !self.jobs.trims.is_empty()
    }

    /// All clocks go on by this much, and nothing happens meanwhile.
    pub(crate) fn sleep(&mut self, time: u64) {
        self.timer = self.timer.saturating_add(time);
    }

    /// Is there work for the log, and nobody at it?
    pub(crate) fn log_is_due(&self) -> bool {
        let waits = !self.jobs.is_empty() || !self.log_done.is_empty();
        !self.log_busy && (waits || self.log_full)
    }

    /// Is there work on snapshots, and nobody at it?
    pub(crate) fn snapshots_are_due(&self) -> bool {
        !self.snapshots_busy && !self.snapshot_work.is_empty()
    }

    /// The next work on snapshots, to look at.
    pub(crate) fn next_snapshot_work(&self) -> Option<&Work> {
        self.snapshot_work.front()
    }

    /// The log's thread wakes and takes what waits for it.
    pub(crate) fn begin_commit(&mut self) {
        self.log_busy = true;
        let LogJobs { saves, trims, resets } = std::mem::take(&mut self.jobs);
        self.log.save(saves);
        for (group, index, term) in trims {
            self.log.trim(group, index, term);
        }
        for (group, index, term, then) in resets {
            self.log.reset(group, index, term);
            self.resets.push((group, index, then));
        }
    }

    /// The log's thread writes and syncs.
    pub(crate) fn commit(&mut self) -> Result<Committed, storage::Error> {
        self.log_busy = false;
        for done in std::mem::take(&mut self.log_done) {
            self.log.accept(done)?;
        }
        let mut committed = Committed::default();
        let room = self.log.commit(&mut committed.events)?;
        self.log_full = room != Room::All;
        committed.again = self.log_full;
        if room != Room::None {
            for (group, index, then) in self.resets.drain(..) {
                committed.resets.push((group, index));
                committed.events.push(then);
                self.snapshots_busy = false;
            }
        }
        // They are done now, and heard of with the next commit.
        for chore in self.log.tidy()? {
            self.log_done.push(chore.run(&mut || {}));
        }
        Ok(committed)
    }

    /// An idle log leaves its proof.
    pub(crate) fn seal(&mut self) -> Result<(), storage::Error> {
        if self.log_busy || !self.jobs.is_empty() || self.log.has_waiting() {
            return Ok(());
        }
        self.log.seal()
    }

    /// The snapshots' thread does its next job. It goes on once the log was reset, if it must be.
    pub(crate) fn work_on_snapshot(&mut self) -> Result<Vec<Event>, storage::Error> {
        self.snapshots_busy = false;
        let (mut after, mut events) = (Vec::new(), Vec::new());
        let Some(work) = self.snapshot_work.pop_front() else { return Ok(events) };
        self.snapshots.work(work, &mut after)?;
        for after in after {
            match after {
                After::Tell(event) => events.push(event),
                After::Again(job) => self.again.push(job),
                After::Load { .. } => self.snapshot_work.push_back(Work::Load),
                After::Trim { group, index, term } => self.jobs.trims.push((group, index, term)),
                After::Reset { group, index, term, then } => {
                    self.jobs.resets.push((group, index, term, then));
                    self.snapshots_busy = true;
                }
            }
        }
        Ok(events)
    }
}

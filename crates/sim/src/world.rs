//! The world: one queue of events, one clock, and everything that happens in it.
//!
//! An event belongs to a node or a client. A node that is paused gets its events when it wakes, in
//! their order; what was scheduled for an earlier life of a node is void. All dice of the world are
//! one, so the order of the queue is the whole story.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use consensus::NodeId;
use node::{Event, Message, SnapshotJob};
use stdx::Rng;
use storage::disk::STOPPED;

use crate::checker::history::{self, Record};
use crate::checker::replicas::Replicas;
use crate::clients::Client;
use crate::coverage::{Coverage, Mark};
use crate::limits::{DIGEST_EVERY, RECOVERY_BOUND, REDIAL_INTERVAL, STORY_LINES_MAX};
use crate::machine::{Machine, NotStarted, Wire};
use crate::network::{Arrival, Network};
use crate::plan::Plan;
use crate::run::{Options, Report, Violation};
use crate::workload::{Op, Workload};

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Message(Arrival),
    /// A node ends a turn of its loop.
    Turn(u32),
    Timer(u32),
    LogDone(u32),
    LogAgain(u32),
    SnapshotDone(u32),
    Seal(u32),
    /// The reign of this node ends, for no good reason.
    EndReign(u32),
    /// A node that handed over is cut off before it knows that it was heard.
    CutOff(u32),
    ToNode {
        node: u32,
        client: usize,
        number: u64,
        bytes: Vec<u8>,
    },
    /// The client's end of a connection is closed.
    Gone {
        node: u32,
        client: usize,
        number: u64,
    },
    ToClient {
        client: usize,
        number: u64,
        bytes: Vec<u8>,
        closes: bool,
    },
    Client(usize),
    Patience {
        client: usize,
        call: u64,
    },
    Start(u32),
    Dial,
    Nemesis,
    /// A cut of the network, of this many, is over.
    Mend(u64),
    Flap {
        victim: u32,
        left: u32,
    },
    DiskHasRoom(u32),
    /// All faults end.
    Heal,
}

/// Something that will happen. `life`: only to this life of its node.
struct Scheduled {
    at: u64,
    sequence: u64,
    life: u64,
    what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Chaos,
    /// The faults have ended; operations of before are still open.
    Healing,
    /// Everything is read.
    Reading,
}

/// See the head of this file.
pub(crate) struct World {
    pub(crate) now: u64,
    queue: BinaryHeap<Scheduled>,
    sequence: u64,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) machines: Vec<Machine>,
    pub(crate) network: Network,
    pub(crate) coverage: Coverage,
    pub(crate) replicas: Replicas,
    /// Counts cuts of the network: a new one takes the place of the one before.
    pub(crate) cuts: u64,
    pub(crate) clients: Vec<Client>,
    pub(crate) workload: Workload,
    pub(crate) history: Vec<Record>,
    pub(crate) moments: u64,
    lives_known: BTreeMap<(u32, u32), u64>,
    digested: Vec<u64>,
    /// The disk of a node is at rest until then.
    pub(crate) stalled_until: Vec<u64>,
    pub(crate) phase: Phase,
    healed_at: u64,
    pub(crate) last_ops: Vec<Op>,
    length: u64,
    trace: u64,
    events: u64,
    pub(crate) operations: u64,
    story: Option<Vec<String>>,
}

pub(crate) type Checked = Result<(), String>;

impl World {
    /// The world of a seed, before its first moment.
    pub(crate) fn new(options: &Options) -> World {
        let mut rng = Rng::new(options.seed);
        let plan = Plan::draw(&mut rng);
        let nodes = plan.nodes;
        let workload = Workload::new(&mut rng);
        let mut world = World {
            now: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            machines: (1..=nodes).map(|id| Machine::new(id, nodes, options.seed)).collect(),
            network: Network::new(nodes, plan.network, plan.delay),
            coverage: Coverage::default(),
            replicas: Replicas::new(nodes),
            cuts: 0,
            clients: (0..plan.clients).map(|_| Client::default()).collect(),
            workload,
            history: Vec::new(),
            moments: 0,
            lives_known: BTreeMap::new(),
            digested: vec![0; nodes as usize + 1],
            stalled_until: vec![0; nodes as usize + 1],
            phase: Phase::Chaos,
            healed_at: u64::MAX,
            last_ops: Vec::new(),
            length: options.length.as_nanos() as u64,
            trace: 0,
            events: 0,
            operations: 0,
            story: options.trace.then(Vec::new),
            rng,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let plan = self.plan.clone();
        self.tell(|| format!("{plan:?}"));
        for node in 1..=self.plan.nodes {
            let at = self.rng.below(50_000_000);
            self.push(at, 0, What::Start(node));
        }
        for client in 0..self.clients.len() {
            let at = 200_000_000 + self.rng.below(1_000_000_000);
            self.push(at, 0, What::Client(client));
        }
        self.push(REDIAL_INTERVAL.as_nanos() as u64, 0, What::Dial);
        if !self.plan.evils.is_empty() {
            self.push(1_000_000_000, 0, What::Nemesis);
        }
        self.push(self.length, 0, What::Heal);
    }

    /// Runs to the end, or to the first thing that must not be.
    pub(crate) fn run(&mut self) -> Checked {
        while let Some(Scheduled { at, life, what, .. }) = self.queue.pop() {
            assert!(at >= self.now, "time does not go back");
            self.now = at;
            self.note(&what);
            self.happen(life, what)?;
            if self.is_over() {
                break;
            }
            if self.now > self.healed_at.saturating_add(RECOVERY_BOUND.as_nanos() as u64) {
                return Err(self.not_recovered());
            }
        }
        history::check(&self.history, &mut self.coverage)
    }

    /// What came of it.
    pub(crate) fn report(mut self, what: Option<String>) -> Report {
        let at = Duration::from_nanos(self.now);
        if let Some(what) = &what {
            self.tell(|| format!("VIOLATION: {what}"));
        }
        Report {
            violation: what.map(|what| Violation { at, what }),
            trace: self.trace,
            events: self.events,
            operations: self.operations,
            simulated: at,
            coverage: std::mem::take(&mut self.coverage),
            story: self.story.take().unwrap_or_default(),
        }
    }

    /// Adds a line to the story, if it is kept.
    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story
            && story.len() < STORY_LINES_MAX
        {
            let (seconds, micros) = (now / 1_000_000_000, now / 1_000 % 1_000_000);
            story.push(format!("{seconds:>3}.{micros:06}  {}", line()));
        }
    }

    /// Schedules something.
    pub(crate) fn push(&mut self, at: u64, life: u64, what: What) {
        self.sequence += 1;
        let at = at.max(self.now);
        self.queue.push(Scheduled { at, sequence: self.sequence, life, what });
    }

    /// Schedules something for a node as it lives now.
    pub(crate) fn push_node(&mut self, node: u32, after: u64, what: What) {
        let life = self.machine(node).life;
        self.push(self.now + after, life, what);
    }

    pub(crate) fn machine(&mut self, node: u32) -> &mut Machine {
        &mut self.machines[node as usize - 1]
    }

    /// Do faults still come?
    pub(crate) fn is_chaos(&self) -> bool {
        self.phase == Phase::Chaos
    }

    /// True with a chance of `rate` in a million, while there are faults.
    pub(crate) fn strikes(&mut self, rate: u64) -> bool {
        rate > 0 && self.is_chaos() && self.rng.below(1_000_000) < rate
    }

    fn note(&mut self, what: &What) {
        self.events += 1;
        let (kind, bytes): (u64, &[u8]) = match what {
            What::Message(arrival) => {
                (u64::from(arrival.source * 100 + arrival.target), &arrival.bytes)
            }
            What::Turn(node) => (1_000 + u64::from(*node), b""),
            What::Timer(node) => (2_000 + u64::from(*node), b""),
            What::LogDone(node) | What::LogAgain(node) => (3_000 + u64::from(*node), b""),
            What::SnapshotDone(node) => (4_000 + u64::from(*node), b""),
            What::ToNode { client, bytes, .. } => (5_000 + *client as u64, bytes),
            What::ToClient { client, bytes, .. } => (6_000 + *client as u64, bytes),
            What::Start(node) => (7_000 + u64::from(*node), b""),
            _ => (8_000, b""),
        };
        let seed = self.trace.rotate_left(5) ^ self.now ^ kind << 40;
        self.trace = stdx::hash_bytes(seed, bytes);
    }

    fn happen(&mut self, life: u64, what: What) -> Checked {
        let node = match &what {
            What::Message(arrival) => arrival.target,
            What::Turn(node)
            | What::Timer(node)
            | What::LogDone(node)
            | What::LogAgain(node)
            | What::SnapshotDone(node)
            | What::Seal(node)
            | What::EndReign(node)
            | What::CutOff(node)
            | What::ToNode { node, .. }
            | What::Gone { node, .. } => *node,
            _ => return self.happen_elsewhere(what),
        };
        let now = self.now;
        let machine = self.machine(node);
        if !machine.is_up() || (life != 0 && life != machine.life) {
            return self.missed(what);
        }
        if machine.paused_until > now {
            let until = machine.paused_until;
            self.push(until, life, what);
            return Ok(());
        }
        match what {
            What::Message(arrival) => self.arrived(arrival),
            What::Turn(node) => self.turn(node),
            What::Timer(node) => self.timer(node),
            What::LogDone(node) => self.log_done(node),
            What::LogAgain(node) => {
                self.work_on_log(node);
                Ok(())
            }
            What::SnapshotDone(node) => self.snapshot_done(node),
            What::Seal(node) => self.seal(node),
            What::EndReign(node) => {
                self.end_reign(node);
                Ok(())
            }
            What::CutOff(node) => {
                if self.is_chaos() {
                    self.isolate(node);
                }
                Ok(())
            }
            What::ToNode { node, client, number, bytes } => {
                self.client_bytes(node, Wire { client, number }, &bytes)
            }
            What::Gone { node, client, number } => {
                self.client_gone(node, Wire { client, number });
                Ok(())
            }
            _ => unreachable!("all others happen elsewhere"),
        }
    }

    fn happen_elsewhere(&mut self, what: What) -> Checked {
        match what {
            What::ToClient { client, number, bytes, closes } => {
                self.client_hears(client, number, &bytes, closes)?;
            }
            What::Client(client) => self.client_acts(client),
            What::Patience { client, call } => self.client_gives_up(client, call),
            What::Start(node) => self.start(node)?,
            What::Dial => self.dial()?,
            What::Nemesis => self.strike()?,
            What::Mend(cut) if cut == self.cuts => {
                self.tell(|| "the network is whole".to_owned());
                self.network.mend();
            }
            What::Mend(_) => {}
            What::Flap { victim, left } => self.flap(victim, left),
            What::DiskHasRoom(node) => self.machine(node).disk.set_capacity(None),
            What::Heal => self.heal()?,
            _ => unreachable!("all others happen to a node"),
        }
        Ok(())
    }

    /// It was meant for a node that is not there any more.
    fn missed(&mut self, what: What) -> Checked {
        if let What::ToNode { client, number, .. } = what {
            let delay = self.network.draw_delay(&mut self.rng);
            let (bytes, closes) = (Vec::new(), true);
            self.push(self.now + delay, 0, What::ToClient { client, number, bytes, closes });
        }
        Ok(())
    }

    // Nodes.

    /// Starts a node, if it may and does not run.
    fn start(&mut self, node: u32) -> Checked {
        let (now, dice) = (self.now, self.rng.next());
        let wary = self.is_chaos() && self.plan.evils.contains(&crate::plan::Evil::PowerInCommit);
        let halt = (wary && self.rng.one_in(4)).then(|| self.rng.below(20));
        let machine = self.machine(node);
        if machine.is_up() || machine.dead.is_some() {
            return Ok(());
        }
        if let Some(operations) = halt {
            machine.disk.halt_after(operations);
        }
        let started = machine.start(now, dice);
        match started {
            Ok(found) => {
                self.tell(|| {
                    format!(
                        "node {node} starts at term {}, snapshot {:?}",
                        found.term, found.snapshot
                    )
                });
                if halt.is_some() {
                    // What was to happen at the start did not: it happens a little later.
                    self.coverage.hit(Mark::PowerFailedInCommit);
                }
                if found.faulty {
                    self.coverage.hit(Mark::StartedFaulty);
                }
                let rotten = self.machine(node).rotten;
                if !self.replicas.started(node, &found) {
                    if rotten {
                        return self.bury(node, "it lost something, and did not see it");
                    }
                    return Err(format!("node {node} lost what was durable on its disk"));
                }
                self.schedule_turn(node);
                Ok(())
            }
            Err(NotStarted::Io(why)) => {
                self.tell(|| format!("node {node} does not start: {why}"));
                let power = halt.is_some();
                self.machine(node).stop(power);
                let after = 100_000_000 + self.rng.below(1_000_000_000);
                self.push(self.now + after, 0, What::Start(node));
                Ok(())
            }
            // The power failed while the node was clearing damage away: that is no verdict.
            Err(NotStarted::Refused(why)) if halt.is_some() && why.contains(STOPPED) => {
                self.tell(|| format!("node {node} does not start: {why}"));
                self.machine(node).stop(true);
                let after = 100_000_000 + self.rng.below(1_000_000_000);
                self.push(self.now + after, 0, What::Start(node));
                Ok(())
            }
            Err(NotStarted::Refused(why)) => {
                if !self.machine(node).rotten {
                    return Err(format!("node {node} does not start from a good disk: {why}"));
                }
                self.coverage.hit(Mark::RefusedDamage);
                self.bury(node, &why)
            }
        }
    }

    /// This node will not come back.
    fn bury(&mut self, node: u32, why: &str) -> Checked {
        self.tell(|| format!("node {node} stays down: {why}"));
        if self.machine(node).is_up() {
            self.fall(node, false);
        }
        self.machine(node).dead = Some(why.to_owned());
        Ok(())
    }

    /// A node ends, and its connections with it; it starts again later.
    pub(crate) fn fall(&mut self, node: u32, power: bool) {
        let now = self.now;
        let Some(running) = self.machine(node).running.take() else { return };
        let wires: Vec<Wire> = running.wires.values().copied().collect();
        drop(running);
        self.machine(node).stop(power);
        self.machine(node).paused_until = 0;
        for other in 1..=self.plan.nodes {
            self.network.break_link(node, other);
            self.network.break_link(other, node);
        }
        for Wire { client, number } in wires {
            let delay = self.network.draw_delay(&mut self.rng);
            let (bytes, closes) = (Vec::new(), true);
            self.push(now + delay, 0, What::ToClient { client, number, bytes, closes });
        }
        let after = if self.is_chaos() { self.rng.below(4_000_000_000) } else { 0 };
        self.push(now + after, 0, What::Start(node));
    }

    /// Power fails here.
    pub(crate) fn power_fails(&mut self, node: u32, mark: Mark) {
        self.tell(|| format!("node {node}: {}", mark.title()));
        self.coverage.hit(mark);
        self.fall(node, true);
    }

    /// The machine failed under the node, as its driver sees it.
    fn failed(&mut self, node: u32, error: &storage::Error) -> Checked {
        self.tell(|| format!("node {node} stops: {error}"));
        let is_io = matches!(
            error,
            storage::Error::Io { .. } | storage::Error::Sync { .. } | storage::Error::Poisoned
        );
        // A read that fails is told as damage, for what cannot be read cannot be relied on.
        let unreadable = self.plan.evils.contains(&crate::plan::Evil::DiskError)
            && matches!(error, storage::Error::Corrupt { reason: "it cannot be read", .. });
        if !is_io && !unreadable && !self.machine(node).rotten {
            return Err(format!("node {node} stops on a good disk: {error}"));
        }
        if error.to_string().contains("has stopped") {
            self.power_fails(node, Mark::PowerFailedInCommit);
        } else {
            self.coverage.hit(Mark::DiskError);
            self.fall(node, false);
        }
        Ok(())
    }

    /// Feeds a node one event; its turn ends a little later.
    pub(crate) fn feed(&mut self, node: u32, event: Event) -> Checked {
        let now = self.now;
        let machine = self.machine(node);
        let moment = machine.moment(now);
        let Some(running) = &mut machine.running else { return Ok(()) };
        if let Event::Loaded { meta, shard: Some(_), .. } = &event {
            let (index, term) = (meta.index.0, meta.term.0);
            let fresh = index > running.front.core().group().applied().0;
            running.front.step(moment, event);
            if fresh {
                self.coverage.hit(Mark::SnapshotInstalled);
                self.replicas.installed(node, index, term)?;
            }
        } else {
            running.front.step(moment, event);
        }
        self.schedule_turn(node);
        Ok(())
    }

    pub(crate) fn schedule_turn(&mut self, node: u32) {
        let after = self.rng.below(30_000);
        let Some(running) = &mut self.machine(node).running else { return };
        if !std::mem::replace(&mut running.turn_due, true) {
            self.push_node(node, after, What::Turn(node));
        }
    }

    fn timer(&mut self, node: u32) -> Checked {
        let now = self.now;
        let Some(running) = &mut self.machine(node).running else { return Ok(()) };
        if running.timer != now {
            return Ok(());
        }
        running.timer = u64::MAX;
        self.turn(node)
    }

    /// One turn of the driver's loop, as far as it follows from what was fed.
    fn turn(&mut self, node: u32) -> Checked {
        let now = self.now;
        let machine = self.machine(node);
        let moment = machine.moment(now);
        let Some(running) = &mut machine.running else { return Ok(()) };
        running.turn_due = false;
        if running.front.deadline(moment) <= moment.now {
            running.front.step(moment, Event::Tick);
        }
        let fx = running.front.end_turn(moment, node::Proposing::Now);
        let saves = std::mem::take(&mut fx.save);
        let snapshots = std::mem::take(&mut fx.snapshot);
        let sends = std::mem::take(&mut fx.send);
        let repaired = !std::mem::take(&mut fx.repaired).is_empty();
        running.front.core().check();
        if repaired {
            self.repaired(node);
        }
        let saves_any = !saves.is_empty();
        for save in &saves {
            if self.replicas.saving(node, save.number, &save.records)? {
                self.coverage.hit(Mark::LogCut);
            }
        }
        for job in &snapshots {
            self.note_snapshot_job(job);
        }
        if let Some(running) = &mut self.machine(node).running {
            running.take_work(saves, snapshots);
        }
        for (target, message) in sends {
            self.send(node, target, &message)?;
        }
        self.flush_clients(node);
        let commits = self.look(node)?;
        if saves_any && self.strikes(self.plan.directed.before_save) {
            self.power_fails(node, Mark::PowerFailedBeforeSave);
            return Ok(());
        }
        if commits && self.machine(node).leads() && self.strikes(self.plan.directed.cut_at_commit) {
            self.coverage.hit(Mark::CutLeaderAtCommit);
            self.isolate(node);
        }
        self.work_on_log(node);
        self.work_on_snapshots(node);
        self.set_timer(node);
        Ok(())
    }

    /// A replica that had lost something is whole again.
    fn repaired(&mut self, node: u32) {
        self.tell(|| format!("node {node} is repaired"));
        self.coverage.hit(Mark::Repaired);
        let machine = self.machine(node);
        if server::repair::done(&machine.disk) {
            machine.rotten = false;
            self.replicas.broken.retain(|broken| *broken != node);
        }
    }

    fn note_snapshot_job(&mut self, job: &SnapshotJob) {
        match job {
            SnapshotJob::Begin { .. } => self.coverage.hit(Mark::SnapshotTaken),
            SnapshotJob::Fetch { offset: 0, .. } => self.coverage.hit(Mark::SnapshotSent),
            _ => {}
        }
    }

    /// Looks at the replica. True if it has learned of a commit.
    fn look(&mut self, node: u32) -> Result<bool, String> {
        let Some(running) = &self.machines[node as usize - 1].running else { return Ok(false) };
        let group = running.front.core().group();
        let status = group.status();
        let before = self.replicas.committed();
        if self.replicas.stepped(node, &status)? {
            self.coverage.hit(Mark::LeaderElected);
            self.tell(|| format!("node {node} leads in term {}", status.term.0));
            if self.strikes(self.plan.directed.end_early) {
                self.end_early(node);
            }
        }
        let Some(running) = &self.machines[node as usize - 1].running else { return Ok(false) };
        let group = running.front.core().group();
        let applied = group.applied().0;
        if applied % DIGEST_EVERY == 0 && self.digested[node as usize] != applied {
            self.digested[node as usize] = applied;
            if self.replicas.digest(node, applied, group.shard().digest())? {
                self.coverage.hit(Mark::DigestsCompared);
            }
        }
        Ok(self.replicas.committed() > before)
    }

    fn set_timer(&mut self, node: u32) {
        /// The driver's loop sleeps no longer, whatever its deadline.
        const SLEEP_MAX: u64 = 50_000_000;
        let now = self.now;
        let machine = self.machine(node);
        let moment = machine.moment(now);
        let clock = machine.clock;
        let Some(running) = &mut machine.running else { return };
        if running.front.core().is_busy() {
            return self.schedule_turn(node);
        }
        let at = clock.world_time(now, running.front.deadline(moment)).min(now + SLEEP_MAX);
        if at < running.timer || running.timer <= now {
            running.timer = at;
            self.push_node(node, at - now, What::Timer(node));
        }
    }

    fn send(&mut self, source: u32, target: NodeId, message: &Message) -> Checked {
        if let Message::Consensus { envelope, .. } = message {
            self.replicas.sent(source, envelope)?;
        }
        let forwards = matches!(message, Message::Forward { .. });
        if forwards {
            self.coverage.hit(Mark::Forwarded);
        }
        let strict = !matches!(message, Message::Consensus { .. });
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let (at, target) = (self.now, target.0);
        let message = Arrival { at, source, target, bytes: Bytes::from(bytes) };
        let arrivals = self.network.send(&mut self.rng, &mut self.coverage, message, strict);
        for arrival in arrivals {
            self.push(arrival.at, 0, What::Message(arrival));
        }
        Ok(())
    }

    fn arrived(&mut self, arrival: Arrival) -> Checked {
        let Arrival { source, target, bytes, .. } = arrival;
        if self.network.is_cut(source, target) {
            self.coverage.hit(Mark::MessageLost);
            self.network.break_link(source, target);
            return Ok(());
        }
        let message = Message::decode(&bytes).map_err(|error| format!("a message: {error}"))?;
        self.feed(target, Event::Recv { source: NodeId(source), message })
    }

    /// Connections that broke are made anew.
    fn dial(&mut self) -> Checked {
        let now = self.now;
        for (source, target) in self.network.dialable() {
            let lives = [source, target].map(|node| {
                let machine = self.machine(node);
                let awake = machine.is_up() && machine.paused_until <= now;
                awake.then_some(machine.life)
            });
            let [Some(source_life), Some(target_life)] = lives else { continue };
            self.network.repair(source, target);
            self.linked(source, target, target_life)?;
            self.linked(target, source, source_life)?;
        }
        self.push(now + REDIAL_INTERVAL.as_nanos() as u64, 0, What::Dial);
        Ok(())
    }

    fn linked(&mut self, node: u32, peer: u32, life: u64) -> Checked {
        let known = self.lives_known.insert((node, peer), life);
        if known.is_some_and(|known| known != life) {
            self.feed(node, Event::PeerReborn(NodeId(peer)))?;
        }
        self.feed(node, Event::PeerUp(NodeId(peer)))
    }

    // Disks.

    fn disk_time(&mut self, node: u32) -> u64 {
        let (least, most) =
            (self.plan.disk.0.as_nanos() as u64, self.plan.disk.1.as_nanos() as u64);
        let time = least + self.rng.below(most - least + 1);
        time + self.stalled_until[node as usize].saturating_sub(self.now)
    }

    fn work_on_log(&mut self, node: u32) {
        let time = self.disk_time(node);
        let Some(running) = &mut self.machine(node).running else { return };
        if running.log_is_due() {
            match running.begin_commit() {
                Ok(()) => self.push_node(node, time, What::LogDone(node)),
                // It fails again, and is seen, when the commit is tried.
                Err(_) => self.push_node(node, 0, What::LogDone(node)),
            }
        }
    }

    fn log_done(&mut self, node: u32) -> Checked {
        let Some(running) = &mut self.machine(node).running else { return Ok(()) };
        let committed = match running.commit() {
            Ok(committed) => committed,
            Err(error) => return self.failed(node, &error),
        };
        for event in &committed.events {
            match event {
                Event::Saved { number, .. } => self.replicas.saved(node, *number),
                Event::DiskFull(true) => self.coverage.hit(Mark::DiskFull),
                _ => {}
            }
        }
        for index in &committed.resets {
            self.replicas.reset(node, *index);
        }
        if !committed.resets.is_empty() && self.strikes(self.plan.directed.in_install) {
            self.power_fails(node, Mark::PowerFailedInInstall);
            return Ok(());
        }
        if self.strikes(self.plan.directed.after_save) {
            self.power_fails(node, Mark::PowerFailedAfterSave);
            return Ok(());
        }
        for event in committed.events {
            self.feed(node, event)?;
        }
        if committed.again {
            self.push_node(node, 100_000_000, What::LogAgain(node));
        } else {
            self.work_on_log(node);
            self.push_node(node, 200_000_000, What::Seal(node));
        }
        Ok(())
    }

    fn seal(&mut self, node: u32) -> Checked {
        let Some(running) = &mut self.machine(node).running else { return Ok(()) };
        match running.seal() {
            Ok(()) => Ok(()),
            Err(error) => self.failed(node, &error),
        }
    }

    fn work_on_snapshots(&mut self, node: u32) {
        let time = self.disk_time(node);
        let Some(running) = &mut self.machine(node).running else { return };
        if running.snapshots_are_due() {
            running.snapshots_busy = true;
            self.push_node(node, time, What::SnapshotDone(node));
        }
    }

    fn snapshot_done(&mut self, node: u32) -> Checked {
        let directed = self.plan.directed;
        let Some(running) = &mut self.machine(node).running else { return Ok(()) };
        let (rate, mark) = match running.next_snapshot_job() {
            Some(SnapshotJob::Begin { .. } | SnapshotJob::Part { .. }) => {
                (directed.in_snapshot, Mark::PowerFailedInSnapshot)
            }
            Some(SnapshotJob::Receive { .. }) => (directed.in_install, Mark::PowerFailedInInstall),
            _ => (0, Mark::PowerFailed),
        };
        let halt = self.rng.below(8);
        let strikes = self.strikes(rate);
        let Some(running) = &mut self.machines[node as usize - 1].running else { return Ok(()) };
        if strikes {
            self.machines[node as usize - 1].disk.halt_after(halt);
            if let Some(running) = &mut self.machines[node as usize - 1].running {
                let _ = running.work_on_snapshot();
            }
            self.power_fails(node, mark);
            return Ok(());
        }
        let events = match running.work_on_snapshot() {
            Ok(events) => events,
            Err(error) => return self.failed(node, &error),
        };
        for event in events {
            self.feed(node, event)?;
        }
        self.work_on_log(node);
        self.work_on_snapshots(node);
        Ok(())
    }

    // The end.

    fn heal(&mut self) -> Checked {
        self.tell(|| "all faults end".to_owned());
        self.phase = Phase::Healing;
        self.healed_at = self.now;
        self.cuts += 1;
        self.network.mend();
        self.network.rates = crate::plan::NetworkRates::default();
        self.plan.directed = crate::plan::Directed::default();
        self.stalled_until.fill(0);
        for node in 1..=self.plan.nodes {
            let machine = self.machine(node);
            machine.disk.set_capacity(None);
            machine.paused_until = 0;
            if !machine.is_up() {
                self.push(self.now, 0, What::Start(node));
            }
        }
        self.look_whether_all_ended();
        Ok(())
    }

    /// Once nothing of before is open, everything is read.
    pub(crate) fn look_whether_all_ended(&mut self) {
        let open = self.clients.iter().any(|client| client.busy.is_some());
        if self.phase != Phase::Healing || open {
            return;
        }
        self.phase = Phase::Reading;
        self.last_ops = self.workload.last_reads();
        for client in 0..self.clients.len() {
            self.push(self.now + 1_000_000, 0, What::Client(client));
        }
    }

    fn is_over(&self) -> bool {
        let open = self.clients.iter().any(|client| client.busy.is_some());
        self.phase == Phase::Reading && self.last_ops.is_empty() && !open
    }

    fn not_recovered(&self) -> String {
        let open: Vec<&Op> =
            self.history.iter().filter(|record| record.end == u64::MAX).map(|r| &r.op).collect();
        let nodes: Vec<String> = self.machines.iter().map(Machine::summary).collect();
        let up = self.machines.iter().filter(|machine| machine.is_up()).count();
        format!(
            "not recovered {} s after all faults have ended: {up} of {} nodes are up, {} reads are \
             left, {open:?} are not answered; {}",
            RECOVERY_BOUND.as_secs(),
            self.plan.nodes,
            self.last_ops.len(),
            nodes.join("; "),
        )
    }
}

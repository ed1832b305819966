//! The state of the world, and its beat: the next event is taken and given to whoever it is for.

use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use node::GroupId;
use server::start::GROUP;
use stdx::Rng;

use super::event::Scheduled;
use super::link::LateVote;
use super::{Checked, What};
use crate::checker::replicas::AllReplicas;
use crate::clients::Client;
use crate::coverage::{Coverage, Mark};
use crate::history::History;
use crate::limits::{MOVE_BOUND, NODES_MAX, RECOVERY_BOUND, REDIAL_INTERVAL, STORY_LINES_MAX};
use crate::lull::Lull;
use crate::machine::{Calling, Machine, Wire};
use crate::mapping::Mapping;
use crate::network::Network;
use crate::operator::Wish;
use crate::plan::{Evil, Plan};
use crate::run::{Options, Report, Violation};
use crate::script::{Probe, Props, Stage};
use crate::workload::{Task, Workload};

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
    pub(crate) seed: u64,
    pub(crate) now: u64,
    /// How much of that was slept: it is no part of the run's length.
    slept: u64,
    queue: BinaryHeap<Scheduled>,
    sequence: u64,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) machines: Vec<Machine>,
    pub(crate) network: Network,
    pub(crate) coverage: Coverage,
    pub(crate) replicas: AllReplicas,
    /// Counts cuts of the network: a new one takes the place of the one before.
    pub(crate) cuts: u64,
    /// What the nodes of a cluster with a map are to do.
    pub(crate) mapping: Option<Mapping>,
    /// The group that evils are about.
    pub(crate) focus: GroupId,
    /// What the members of the group should be, if they are not.
    pub(crate) wish: Option<Wish>,
    /// A majority is spared all faults at the moment.
    pub(crate) lull: Option<Lull>,
    pub(crate) clients: Vec<Client>,
    pub(crate) workload: Workload,
    pub(crate) history: History,
    pub(super) lives_known: BTreeMap<(u32, u32), u64>,
    pub(super) digested: BTreeMap<(u32, u32), u64>,
    /// The disk of a node is at rest until then.
    pub(crate) stalled_until: Vec<u64>,
    /// The script that runs, and how many stages there were.
    pub(crate) script: Option<Stage>,
    pub(crate) scripts: u64,
    pub(crate) probe: Option<Probe>,
    /// What the script has at hand.
    pub(crate) props: Props,
    /// Votes that come when their candidate stands in a later term.
    pub(crate) late_votes: Vec<LateVote>,
    /// The newest change of members in which its leader was, or was not, cut off.
    pub(crate) change_seen: u64,
    pub(crate) phase: Phase,
    pub(super) healed_at: u64,
    pub(crate) last_tasks: Vec<Task>,
    pub(super) length: u64,
    trace: u64,
    events: u64,
    pub(crate) operations: u64,
    story: Option<Vec<String>>,
}

impl World {
    /// The world of a seed, before its first moment.
    pub(crate) fn new(options: &Options) -> World {
        let mut rng = Rng::new(options.seed);
        let plan = Plan::draw(&mut rng, options.seed);
        let nodes = plan.nodes;
        let mut workload = Workload::new(&mut rng);
        if plan.contended {
            workload.contend();
        }
        workload.undo();
        // Where hours pass, ids end.
        if !plan.evils.iter().any(|evil| matches!(evil, Evil::Jump | Evil::Sleep)) {
            workload.repeat();
        }
        let mapping = plan.mapped.map(|mapped| Mapping::new(nodes, plan.shards, mapped));
        let calling = match &mapping {
            Some(mapping) => mapping.founder(),
            None => Calling::Fixed { founders: nodes, shards: plan.shards },
        };
        let replicas = match &mapping {
            Some(mapping) => AllReplicas::of_map(&mapping.map),
            None => AllReplicas::new(nodes, plan.shards),
        };
        let machine = |id| {
            let mut machine = Machine::new(id, calling.clone(), options.seed);
            machine.follow(&plan);
            machine
        };
        let mut world = World {
            seed: options.seed,
            now: 0,
            slept: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            machines: (1..=nodes).map(machine).collect(),
            network: Network::new(NODES_MAX, plan.network, plan.delay),
            coverage: Coverage::default(),
            replicas,
            mapping,
            focus: GROUP,
            cuts: 0,
            wish: None,
            lull: None,
            clients: (0..plan.clients).map(|_| Client::default()).collect(),
            workload,
            history: History::new(),
            lives_known: BTreeMap::new(),
            digested: BTreeMap::new(),
            stalled_until: vec![0; NODES_MAX as usize + 1],
            script: None,
            scripts: 0,
            probe: None,
            props: Props::default(),
            late_votes: Vec::new(),
            change_seen: 0,
            phase: Phase::Chaos,
            healed_at: u64::MAX,
            last_tasks: Vec::new(),
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
        self.push(0, 0, What::Operate);
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
            let bound = if self.has_read_all() { MOVE_BOUND } else { RECOVERY_BOUND };
            if self.now > self.healed_at.saturating_add(bound.as_nanos() as u64) {
                return Err(self.not_recovered(bound));
            }
        }
        self.check_history()
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
            simulated: at - Duration::from_nanos(self.slept),
            coverage: std::mem::take(&mut self.coverage),
            story: self.story.take().unwrap_or_default(),
            history: std::mem::take(&mut self.history),
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

    /// The nodes are those from 1 to this. One that was removed stays among them.
    pub(crate) fn nodes(&self) -> u32 {
        self.machines.len() as u32
    }

    /// This much time passes, and nothing happens in it but that messages stay on their way.
    pub(crate) fn pass(&mut self, time: u64) {
        self.now += time;
        self.slept += time;
        let queue = std::mem::take(&mut self.queue);
        let later = |scheduled: Scheduled| match scheduled.what {
            What::Message(_) => Scheduled { at: scheduled.at.max(self.now), ..scheduled },
            _ => Scheduled { at: scheduled.at + time, ..scheduled },
        };
        self.queue = queue.into_iter().map(later).collect();
        for machine in &mut self.machines {
            machine.paused_until += time;
            if let Some(running) = &mut machine.running {
                running.sleep(time);
            }
        }
        self.stalled_until.iter_mut().for_each(|until| *until += time);
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

    /// As `strikes`, at a node, which may be spared.
    pub(crate) fn strikes_at(&mut self, node: u32, rate: u64) -> bool {
        self.strikes(rate) && !self.is_spared(node)
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
        let Some(node) = what.node() else { return self.happen_elsewhere(what) };
        let now = self.now;
        let machine = self.machine(node);
        if !machine.is_up() || (life != 0 && life != machine.life) {
            self.missed(what);
            return Ok(());
        }
        if machine.paused_until > now || !machine.waiting.is_empty() {
            let (until, first) = (machine.paused_until, machine.waiting.is_empty());
            machine.waiting.push((life, what));
            if first {
                self.push(until, 0, What::Wake(node));
            }
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
                if self.is_chaos() && self.script.is_none() && !self.is_spared(node) {
                    self.isolate(node);
                }
                Ok(())
            }
            What::PeerDown { node, peer } => self.peer_down(node, peer),
            What::LosePower(node) => {
                if self.is_chaos() && !self.is_spared(node) {
                    self.power_fails(node, Mark::PowerFailed);
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
                if !self.asker_hears(client, number, &bytes) {
                    self.client_hears(client, number, &bytes, closes)?;
                }
            }
            What::Wake(node) => self.wake(node)?,
            What::Operate => self.operate()?,
            What::Ask => self.ask_spared()?,
            What::Strobe { node, left } => self.strobe(node, left),
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
            What::DiskHasRoom(node) => self.machine(node).disk_has_room(),
            What::Script(number) => self.script_goes_on(number)?,
            What::Heal => self.heal()?,
            _ => unreachable!("all others happen to a node"),
        }
        Ok(())
    }

    /// A paused node gets what came meanwhile, unless its pause was made longer.
    fn wake(&mut self, node: u32) -> Checked {
        let until = self.machine(node).paused_until;
        if until > self.now {
            self.push(until, 0, What::Wake(node));
            return Ok(());
        }
        for (life, what) in std::mem::take(&mut self.machine(node).waiting) {
            self.happen(life, what)?;
        }
        Ok(())
    }

    /// It was meant for a node that is not there any more.
    pub(super) fn missed(&mut self, what: What) {
        if let What::ToNode { client, number, .. } = what {
            let delay = self.network.draw_delay(&mut self.rng);
            let (bytes, closes) = (Vec::new(), true);
            self.push(self.now + delay, 0, What::ToClient { client, number, bytes, closes });
        }
    }
}

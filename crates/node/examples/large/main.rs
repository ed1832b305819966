//! A cluster of a hundred nodes and a thousand shards, on one thread and in simulated time: what it
//! says while nothing happens, what an operation costs, how long it takes to heal and to grow, and
//! what moves for that.
//!
//! ```text
//! cargo run --release -p node --example large -- --nodes 100 --shards 1024
//!
//! found ─▶ elect ─▶ idle ─▶ write ─▶ read ─▶ a node dies ─▶ is given up, healed ─▶ ten more, rebalance
//! ```
//!
//! The nodes are the real cores; the network and the disks are those of `world`: a message takes a
//! millisecond, a flush two, and nothing is lost. So the figures of time are those of the protocol
//! and of the copying rounds, not of a disk's or a network's bandwidth.
//!
//! Equal arguments print the same. What it took of this machine is told apart, to stderr.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

mod count;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::NodeId;
use hashring::{Placement, Spread};
use node::{Change, GroupId, Map};
use stdx::Rng;

use count::{Traffic, cpu_seconds};
use world::{Options, World};

/// A phase that takes longer than this has failed.
const PHASE_MILLIS_MAX: u64 = 1_200_000;

/// Operations that clients begin in each millisecond of the phases of load.
const OPERATIONS_PER_MILLI: u64 = 10;

/// Bytes of a value.
const VALUE_BYTES: usize = 4_096;

fn main() {
    let mut options = Options {
        nodes: 100,
        shards: 1_024,
        seed: 1,
        replace_after: Duration::from_secs(5),
        kib: 64,
        hibernate_after: Duration::from_secs(5),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().and_then(|value| value.parse::<u64>().ok());
        match (arg.as_str(), value) {
            ("--nodes", Some(value)) => options.nodes = value as u32,
            ("--shards", Some(value)) => options.shards = value as usize,
            ("--seed", Some(value)) => options.seed = value,
            ("--kib", Some(value)) => options.kib = value,
            ("--hibernate-ms", Some(value)) => {
                options.hibernate_after = Duration::from_millis(value);
            }
            _ => {
                eprintln!(
                    "large [--nodes N] [--shards N] [--seed N] [--kib KIB_OF_EACH_SHARD] \
                     [--hibernate-ms MS, 0: never]"
                );
                std::process::exit(2);
            }
        }
    }
    Run { world: World::new(&options), dice: Rng::new(options.seed), options }.all();
}

/// The phases, one after the other.
struct Run {
    world: World,
    dice: Rng,
    options: Options,
}

impl Run {
    fn all(&mut self) {
        let Options { nodes, shards, seed, .. } = self.options;
        println!("{nodes} nodes, {shards} shards of 3 replicas, seed {seed}");
        self.phase("elect", Run::elect);
        self.phase("idle", Run::idle);
        let quiet = self.world.traffic.clone();
        self.phase("write", |run| run.load(&quiet, true));
        self.phase("read", |run| run.load(&quiet, false));
        self.phase("a node dies", Run::lose);
        self.phase("ten nodes come", Run::grow);
    }

    fn phase(&mut self, name: &str, act: impl FnOnce(&mut Run)) {
        let (began, cpu) = (self.world.millis, cpu_seconds());
        println!("\n{name}");
        act(self);
        let (millis, cpu) = (self.world.millis - began, cpu_seconds() - cpu);
        let each = cpu * 1e6 / (millis as f64 / 1e3) / f64::from(self.options.nodes);
        let mib = count::resident_bytes() >> 20;
        eprintln!(
            "  [{name}: {cpu:.1} s of CPU for {millis} ms, {each:.0} us for each node and \
             second; {mib} MiB resident]"
        );
    }

    fn elect(&mut self) {
        let millis = self.until("every shard has a leader", |world| world.leaderless() == 0);
        let terms = self.world.terms();
        row("all shards have a leader after", &format!("{millis} ms"));
        row("elections for each shard", &format!("{:.2}", terms as f64 / self.groups() as f64));
        self.world.run(3_000);
        self.tell_spread();
    }

    fn idle(&mut self) {
        const MILLIS: u64 = 4_000;
        // Until those that hibernate do.
        self.world.run(self.options.hibernate_after.as_millis() as u64 + 1_000);
        row("replicas of groups that hibernate", &self.world.hibernating().to_string());
        self.world.traffic = Traffic::default();
        self.world.run(MILLIS);
        self.world.traffic.millis = MILLIS;
        self.world.traffic.table(self.world.living().len());
    }

    /// Clients of random nodes write or read random keys.
    fn load(&mut self, quiet: &Traffic, writes: bool) {
        let keys = self.options.kib * 1024 / VALUE_BYTES as u64 * self.options.shards as u64;
        let operations = if writes { keys } else { keys.min(10_000) };
        self.world.traffic = Traffic::default();
        let began = self.world.millis;
        let mut started = 0;
        while started < operations || self.world.waiting() > 0 {
            assert!(self.world.millis - began < PHASE_MILLIS_MAX, "clients wait for ever");
            for _ in 0..OPERATIONS_PER_MILLI.min(operations - started) {
                let node = self.a_node();
                let number = if writes { started } else { self.dice.below(keys) };
                let key = format!("key:{number}");
                let value = vec![(number % 251) as u8; VALUE_BYTES];
                if writes {
                    self.world.ask(node, &[b"SET", key.as_bytes(), &value]);
                } else {
                    self.world.ask(node, &[b"GET", key.as_bytes()]);
                }
                started += 1;
            }
            self.world.run(1);
        }
        let millis = self.world.millis - began;
        let (messages, bytes) = self.world.traffic.beyond(quiet, millis);
        row("operations", &format!("{operations}, {OPERATIONS_PER_MILLI} begun in each ms"));
        row("messages for each", &format!("{:.2}", messages / operations as f64));
        row("bytes for each", &format!("{:.0}", bytes / operations as f64));
        let (median, most) = self.world.take_patience();
        row("answered after", &format!("{median} ms (median), {most} ms at most"));
    }

    fn lose(&mut self) {
        let node = self.a_node();
        let (held, led) = (self.world.held(node), self.world.led(node));
        let (before, terms) = (self.world.map(), self.world.terms());
        let quiet = self.world.leaders();
        self.world.kill(node);
        row("it held and led", &format!("{held} replicas and {led} shards"));
        let millis = self.until("leaders", |world| world.leaderless() == 0);
        row("all shards have a leader after", &format!("{millis} ms"));
        let elections = self.world.terms() - terms;
        let changed = self.world.leaders().iter().filter(|(g, n)| quiet.get(g) != Some(n)).count();
        row("elections; leaders that changed", &format!("{elections}; {changed}"));
        let patience = self.options.replace_after.as_millis();
        let given_up = |world: &World| world.map().version() > before.version();
        let lost = self.until("it is given up", given_up);
        row(
            &format!("it is given up ({patience} ms of silence)"),
            &format!("{} ms", millis + lost),
        );
        self.tell_moves(&before);
    }

    fn grow(&mut self) {
        let before = self.world.map();
        for _ in 0..10 {
            self.world.invite();
            let version = self.world.map().version();
            self.until("a node is invited", |world| world.map().version() > version);
            self.world.come();
            self.until("it has come", |world| world.map().version() > version + 1);
        }
        let version = self.world.map().version();
        self.world.change(Change::Rebalance { replicas: None });
        self.until("the map is new", |world| world.map().version() > version);
        self.tell_moves(&before);
    }

    /// Waits until everything is where the map wants it, and says what that took.
    fn tell_moves(&mut self, before: &Map) {
        self.world.traffic = Traffic::default();
        self.world.joined = 0;
        let map = self.world.map();
        let planned = hashring::plan(before.wanted(), map.wanted()).expect("one number of shards");
        let planned = planned.iter().filter(|step| step.add.is_some()).count();
        let least = Placement::least_moves(&map.ring(), before.wanted()).expect("a ring");
        let millis = self.until("every shard is whole", |world| world.unsettled() == 0);
        row("every shard is where it should be", &format!("{millis} ms later"));
        let ratio = planned as f64 / least.max(1) as f64;
        row("replicas moved", &format!("{planned}, {ratio:.2} times the least ({least})"));
        let copied = self.world.traffic.copied() as f64 / planned.max(1) as f64;
        row("copied for each", &format!("{:.0} KiB", copied / 1024.0));
        let bystanders = self.world.joined.saturating_sub(planned as u64);
        row("other replicas that were made", &bystanders.to_string());
        self.tell_spread();
        self.world.run(10_000);
        self.tell_leaders("leaders on a node 10 s later");
    }

    fn tell_spread(&self) {
        let world = &self.world;
        let loads: Vec<f64> = world.living().iter().map(|node| world.held(*node) as f64).collect();
        tell("replicas on a node", &loads);
        self.tell_leaders("leaders on a node");
    }

    fn tell_leaders(&self, what: &str) {
        let world = &self.world;
        let leads: Vec<f64> = world.living().iter().map(|node| world.led(*node) as f64).collect();
        tell(what, &leads);
    }

    fn groups(&self) -> usize {
        self.options.shards + 1
    }

    fn a_node(&mut self) -> NodeId {
        let living = self.world.living();
        living[self.dice.below(living.len() as u64) as usize]
    }

    /// Lets time pass until this holds, and returns how much.
    fn until(&mut self, what: &str, holds: impl Fn(&World) -> bool) -> u64 {
        let began = self.world.millis;
        while !holds(&self.world) {
            let millis = self.world.millis - began;
            assert!(millis < PHASE_MILLIS_MAX, "after {millis} ms not yet: {what}");
            self.world.run(10);
        }
        self.world.millis - began
    }
}

fn row(what: &str, figure: &str) {
    println!("  {what:<42} {figure}");
}

/// From the least to the most, and the most beside the mean.
fn tell(what: &str, loads: &[f64]) {
    let mean = loads.iter().sum::<f64>() / loads.len() as f64;
    let Spread { max, .. } = Spread::of(loads.iter().map(|load| (*load, mean)));
    let least = loads.iter().copied().fold(f64::MAX, f64::min);
    row(what, &format!("{least:.0} to {:.0}, {max:.2} times the mean", max * mean));
}

/// The groups that living nodes lead, by whom.
type Leaders = BTreeMap<GroupId, NodeId>;

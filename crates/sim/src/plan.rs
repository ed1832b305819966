//! What a seed has in store: which faults, how often, on how many nodes.
//!
//! Swarm testing: each seed leaves out about half of the kinds of faults, so that the others are
//! not drowned. A cluster that is always in all kinds of trouble never gets far enough to do
//! anything interesting wrong.

use std::time::Duration;

use stdx::Rng;

use crate::limits::{DRIFT_PPM, DRIFT_PPM_MAX, SMALL_DISK_BYTES};

/// What the nemesis may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Evil {
    CutSymmetric,
    CutLeader,
    CutAsymmetric,
    CutBridge,
    CutLink,
    Flap,
    Power,
    PowerInCommit,
    Kill,
    KillAll,
    Pause,
    PauseLeader,
    Drift,
    Jump,
    Stall,
    DiskError,
    DiskFull,
    Rot,
    Snapshot,
    BreakLink,
    LoseClient,
    Stalest,
    HandOver,
    PriorTerm,
    Lease,
    LeaseDrift,
    Leap,
    Unanswered,
    Strobe,
    Sleep,
    ReadErrorAtStart,
    LoseVote,
    Misdirect,
    Wipe,
    Members,
    Storm,
    // Of themes alone.
    FirstCommit,
    Slumber,
    LeapShards,
    OneDecided,
    LateFence,
    DeadWaiters,
    Renew,
    Forgetful,
    Overtaken,
    Away,
}

const EVILS: [Evil; 36] = [
    Evil::CutSymmetric,
    Evil::CutLeader,
    Evil::CutAsymmetric,
    Evil::CutBridge,
    Evil::CutLink,
    Evil::Flap,
    Evil::Power,
    Evil::PowerInCommit,
    Evil::Kill,
    Evil::KillAll,
    Evil::Pause,
    Evil::PauseLeader,
    Evil::Drift,
    Evil::Jump,
    Evil::Stall,
    Evil::DiskError,
    Evil::DiskFull,
    Evil::Rot,
    Evil::Snapshot,
    Evil::BreakLink,
    Evil::LoseClient,
    Evil::Stalest,
    Evil::HandOver,
    Evil::PriorTerm,
    Evil::Lease,
    Evil::LeaseDrift,
    Evil::Leap,
    Evil::Unanswered,
    Evil::Strobe,
    Evil::Sleep,
    Evil::ReadErrorAtStart,
    Evil::LoseVote,
    Evil::Misdirect,
    Evil::Wipe,
    Evil::Members,
    Evil::Storm,
];

/// What some seeds are about, and nothing else: one seed in three, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    PriorTerm,
    Lease,
    Drift,
    Leap,
    HandOver,
    Pause,
    Snapshot,
    Election,
    Power,
    Rot,
    Shards,
    Members,
    Moves,
    Calm,
}

/// The theme of seeds that have a map; see `is_mapped`.
const MOVES: (Theme, &[Evil]) = (
    Theme::Moves,
    &[
        Evil::Members,
        Evil::Members,
        Evil::Kill,
        Evil::Power,
        Evil::CutLeader,
        Evil::BreakLink,
        Evil::Forgetful,
        Evil::Overtaken,
        Evil::Away,
        Evil::Away,
    ],
);

/// The same, with no fault at all: replicas move, nodes come and are drained, and no client may hear of
/// an error.
const CALM: (Theme, &[Evil]) = (Theme::Calm, &[Evil::Members]);

/// Is what nodes hold written in a map, so that groups move, and nodes have none of some? One seed in
/// four.
fn is_mapped(seed: u64) -> bool {
    matches!(seed % 12, 2 | 4 | 7)
}

const THEMES: [(Theme, &[Evil]); 12] = [
    (Theme::PriorTerm, &[Evil::PriorTerm]),
    (Theme::Lease, &[Evil::Lease, Evil::Slumber]),
    (Theme::Drift, &[Evil::LeaseDrift]),
    (Theme::Leap, &[Evil::Leap, Evil::Unanswered]),
    (Theme::HandOver, &[Evil::HandOver, Evil::FirstCommit]),
    (Theme::Pause, &[Evil::PauseLeader, Evil::CutSymmetric, Evil::Jump]),
    (
        Theme::Snapshot,
        &[Evil::Snapshot, Evil::Power, Evil::CutSymmetric, Evil::BreakLink, Evil::Renew],
    ),
    (Theme::Election, &[Evil::CutLeader, Evil::CutAsymmetric, Evil::KillAll, Evil::FirstCommit]),
    (Theme::Power, &[Evil::Power, Evil::PowerInCommit, Evil::DiskError]),
    (Theme::Rot, &[Evil::Rot, Evil::Kill, Evil::Snapshot]),
    (
        Theme::Shards,
        &[
            Evil::Kill,
            Evil::CutLeader,
            Evil::CutSymmetric,
            Evil::BreakLink,
            Evil::LeapShards,
            Evil::OneDecided,
            Evil::LateFence,
            Evil::DeadWaiters,
        ],
    ),
    (Theme::Members, &[Evil::Members, Evil::Storm, Evil::Snapshot, Evil::CutLeader]),
];

const _: () = assert!(THEMES[Theme::Members as usize].0 as usize == Theme::Members as usize);

impl Theme {
    /// The seeds of this theme, in order.
    pub fn seeds(self) -> impl Iterator<Item = u64> {
        (0..).filter(move |seed| Theme::of(*seed).is_some_and(|(theme, _)| theme == self))
    }

    fn of(seed: u64) -> Option<(Theme, &'static [Evil])> {
        if is_mapped(seed) {
            return match (seed / 12) % 4 {
                0 => Some(MOVES),
                2 => Some(CALM),
                _ => None,
            };
        }
        let place = (seed / 3).checked_sub(1).filter(|_| seed.is_multiple_of(3))?;
        Some(THEMES[(place % THEMES.len() as u64) as usize])
    }
}

/// How likely the network does what to one message, in millionths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NetworkRates {
    pub(crate) loss: u64,
    pub(crate) duplicate: u64,
    pub(crate) reorder: u64,
    pub(crate) late: u64,
}

/// How likely power fails at a boundary of a save, in millionths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Directed {
    /// Before a save reaches the disk.
    pub(crate) before_save: u64,
    /// When it is durable and nobody knows.
    pub(crate) after_save: u64,
    /// When some of its messages have left, and others have not.
    pub(crate) in_send: u64,
    /// While the log is cut behind a snapshot.
    pub(crate) in_compaction: u64,
    /// While a snapshot is being written.
    pub(crate) in_snapshot: u64,
    /// While a snapshot of the leader is being installed.
    pub(crate) in_install: u64,
    /// The leader is cut off the moment that it commits.
    pub(crate) cut_at_commit: u64,
    /// The leader is cut off the moment that it begins to change the members, or when some of the
    /// others have heard of it.
    pub(crate) cut_at_change: u64,
    /// The leader is cut off, or falls, soon after it was elected.
    pub(crate) end_early: u64,
    /// A vote comes when its candidate stands again already, or a part of a snapshot comes once more,
    /// much later, or a newer snapshot takes its place while it is being sent.
    pub(crate) echo: u64,
}

/// What a cluster with a map is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped {
    pub(crate) replicas: u32,
    /// A node that is dead for so long is given up; zero: never.
    pub(crate) replace_after: Duration,
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: u32,
    /// How many groups keep the keys.
    pub(crate) shards: u32,
    /// Groups move between nodes, as a map wants it.
    pub(crate) mapped: Option<Mapped>,
    pub(crate) clients: usize,
    pub(crate) evils: Vec<Evil>,
    /// The mean time between two evils.
    pub(crate) evil_interval: Duration,
    pub(crate) network: NetworkRates,
    pub(crate) directed: Directed,
    /// One way through the network, at the least and at the most.
    pub(crate) delay: (Duration, Duration),
    /// One commit of the disk, at the least and at the most.
    pub(crate) disk: (Duration, Duration),
    /// How far two clocks may part, in parts per million.
    pub(crate) drift_ppm: u32,
    /// How likely a client's bytes trickle in, in millionths.
    pub(crate) trickle: u64,
    /// Between two operations of a client, on average.
    pub(crate) think: Duration,
    /// Nothing fails, and no client may hear of an error; a link stalls for so long at most, in
    /// nanoseconds.
    pub(crate) calm: Option<u64>,
    /// The clients mostly touch the few keys that all of them share, several at once.
    pub(crate) contended: bool,
    /// Every second node has a disk that its own log can fill.
    pub(crate) small_disks: bool,
}

impl Plan {
    /// How large the disk of a node is, if it is small.
    pub(crate) fn disk_bytes(&self, node: u32) -> Option<u64> {
        let small = self.small_disks && node % 2 == 1 && self.calm.is_none();
        small.then_some(SMALL_DISK_BYTES)
    }

    /// The plan of this seed.
    pub(crate) fn draw(rng: &mut Rng, seed: u64) -> Plan {
        let nodes = [3, 3, 3, 3, 5, 5, 4, 1][rng.below(8) as usize];
        let evils = EVILS.into_iter().filter(|_| rng.one_in(2)).collect();
        let micros = |rng: &mut Rng, least: u64, most: u64| {
            let (low, high) = ((least as f64).ln(), (most as f64).ln());
            Duration::from_micros((low + rng.fraction() * (high - low)).exp() as u64)
        };
        let delay = micros(rng, 20, 3_000);
        let disk = micros(rng, 20, 2_000);
        // One seed in four, and never one of a theme: those are about one group.
        let shards = match seed % 12 {
            1 => 2,
            5 | 10 => 4,
            _ => 1,
        };
        let plan = Plan {
            nodes,
            shards,
            mapped: None,
            clients: 3 + rng.below(8) as usize,
            evils,
            evil_interval: micros(rng, 300_000, 6_000_000),
            network: NetworkRates {
                loss: rate(rng, 100_000),
                duplicate: rate(rng, 100_000),
                reorder: rate(rng, 200_000),
                late: rate(rng, 10_000),
            },
            directed: Directed {
                before_save: rate(rng, 1_000),
                after_save: rate(rng, 1_000),
                in_send: rate(rng, 1_000),
                in_compaction: rate(rng, 500_000),
                in_snapshot: rate(rng, 300_000),
                in_install: rate(rng, 200_000),
                cut_at_commit: rate(rng, 3_000),
                cut_at_change: rate(rng, 600_000),
                end_early: rate(rng, 900_000),
                echo: rate(rng, 500_000),
            },
            delay: (delay, delay * (1 + rng.below(20) as u32)),
            disk: (disk, disk * (1 + rng.below(10) as u32)),
            drift_ppm: if rng.one_in(2) { DRIFT_PPM } else { DRIFT_PPM_MAX },
            trickle: rate(rng, 300_000),
            think: micros(rng, 10_000, 200_000),
            calm: None,
            contended: false,
            small_disks: seed % 5 < 2,
        };
        let plan = if is_mapped(seed) { plan.with_a_map(rng) } else { plan };
        match Theme::of(seed) {
            Some((theme, evils)) => plan.about(theme, evils, rng),
            None => plan,
        }
    }

    /// Groups that move, on nodes of which not all have a replica of each.
    fn with_a_map(self, rng: &mut Rng) -> Plan {
        let mut plan = Plan {
            nodes: 3 + rng.below(4) as u32,
            shards: [2, 2, 4, 8][rng.below(4) as usize],
            ..self
        };
        let seconds = [0, 2, 3, 5, 8][rng.below(5) as usize];
        let replace_after = Duration::from_secs(seconds);
        plan.mapped = Some(Mapped { replicas: 3, replace_after });
        // They know one group, of which each node has a replica.
        let scripts =
            [Evil::PriorTerm, Evil::Lease, Evil::LeaseDrift, Evil::Leap, Evil::Unanswered];
        plan.evils.retain(|evil| !scripts.contains(evil));
        plan.evils.push(Evil::Members);
        plan
    }

    /// One kind of trouble, again and again, on a cluster that is quick to get over it.
    fn about(self, theme: Theme, evils: &[Evil], rng: &mut Rng) -> Plan {
        let (evils, often) = (evils.to_vec(), 200_000 + rng.below(400_000));
        let mut plan = Plan { evils, evil_interval: Duration::from_millis(500), ..self };
        plan.network = NetworkRates::default();
        plan.directed = Directed::default();
        plan.delay = (Duration::from_micros(20), Duration::from_micros(20 + rng.below(500)));
        plan.disk = (Duration::from_micros(20), Duration::from_micros(20 + rng.below(500)));
        // Whatever a script needs it brings with it, and all that is asked must be checked.
        plan.think = plan.think.max(Duration::from_millis(100));
        match theme {
            Theme::PriorTerm | Theme::Lease => plan.nodes = 3,
            Theme::Drift => plan.drift_ppm = DRIFT_PPM_MAX,
            Theme::Snapshot => {
                // Much is written while a snapshot is.
                plan.disk = (Duration::from_micros(500), Duration::from_millis(8));
                plan.think = Duration::from_millis(30);
                (plan.directed.in_snapshot, plan.directed.in_install) = (often / 32, often / 2);
                plan.directed.echo = often;
            }
            Theme::Election => {
                plan.delay = (Duration::from_millis(1), Duration::from_millis(60));
                plan.directed.echo = often + 200_000;
                plan.directed.end_early = 300_000;
                plan.network.loss = often / 2;
            }
            Theme::Power => (plan.directed.before_save, plan.directed.after_save) = (1_000, 1_000),
            Theme::Pause => plan.nodes = 5,
            Theme::Shards => {
                (plan.nodes, plan.shards) = (3, 4);
                plan.network.late = 20_000;
                plan.think = Duration::from_millis(30);
                if rng.one_in(2) {
                    // Many want the same keys, and each has them for long.
                    (plan.clients, plan.contended) = (8, true);
                    plan.disk = (Duration::from_millis(1), Duration::from_millis(10));
                    plan.think = Duration::from_millis(10);
                }
            }
            Theme::Members => {
                plan.nodes = 3;
                (plan.directed.cut_at_change, plan.directed.end_early) = (often, often / 4);
            }
            Theme::Moves => {
                // One may hold nothing.
                plan.nodes = plan.nodes.max(4);
                plan.network.late = 20_000;
                plan.think = Duration::from_millis(30);
                plan.directed.cut_at_change = often / 2;
            }
            Theme::Calm => {
                plan.calm = Some(if rng.one_in(2) { SHORT_STALL } else { LONG_STALL });
                plan.mapped =
                    plan.mapped.map(|mapped| Mapped { replace_after: Duration::ZERO, ..mapped });
                plan.think = Duration::from_millis(30);
            }
            Theme::Leap | Theme::HandOver | Theme::Rot => plan.nodes = plan.nodes.max(3),
        }
        plan
    }
}

/// In nanoseconds: leaders stay who they are; and, for it is five times the election timeout, they do
/// not.
pub(crate) const SHORT_STALL: u64 = 250_000_000;
const LONG_STALL: u64 = 1_500_000_000;

/// Nothing, half of the time; else up to `most` millionths.
fn rate(rng: &mut Rng, most: u64) -> u64 {
    if rng.one_in(2) { 0 } else { (rng.fraction() * rng.fraction() * most as f64) as u64 }
}

//! Which misfortune comes when: the same for the same seed, nodes and kinds.
//!
//! ```text
//! one bag of all kinds, shuffled ─▶ step: begin ── hold ── end ── rest ─▶ next; an empty bag is refilled
//! ```
//!
//! So each kind comes once in each bag, and a run that is long enough has seen all of them. In
//! one step of four a second fault of another kind strikes with the first. Who leads is not known
//! here: `Aim::Leader` is looked up when the step begins, so runs of a seed differ in who is hit.

use std::time::Duration;

use clap::ValueEnum;
use stdx::Rng;

/// What can happen to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// `kill -9`, and later a start
    Kill,
    /// SIGTERM, and later a start
    Restart,
    /// SIGSTOP, and later SIGCONT
    Pause,
    /// A partition, with or without its clients
    Cut,
    /// A partition in one direction only
    OneWay,
    /// Two sides, whichever, that do not hear each other
    Split,
    /// Some nodes do not hear some others, each way by itself
    Links,
    /// Slow and lossy links
    Slow,
    /// No room on the disk
    Disk,
    /// A snapshot, so that logs are trimmed and nodes that were away need one
    Snapshot,
    /// What nodes hold moves to others, and back again
    Move,
}

impl Kind {
    pub(super) const ALL: [Kind; 11] = [
        Kind::Kill,
        Kind::Restart,
        Kind::Pause,
        Kind::Cut,
        Kind::OneWay,
        Kind::Split,
        Kind::Links,
        Kind::Slow,
        Kind::Disk,
        Kind::Snapshot,
        Kind::Move,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::Restart => "restart",
            Kind::Pause => "pause",
            Kind::Cut => "cut",
            Kind::OneWay => "one-way",
            Kind::Split => "split",
            Kind::Links => "links",
            Kind::Slow => "slow",
            Kind::Disk => "disk",
            Kind::Snapshot => "snapshot",
            Kind::Move => "move",
        }
    }

    /// One character for the timeline of the terminal.
    pub(super) fn letter(self) -> char {
        match self {
            Kind::Kill => 'k',
            Kind::Restart => 'r',
            Kind::Pause => 'p',
            Kind::Cut => 'c',
            Kind::OneWay => 'o',
            Kind::Split => 'b',
            Kind::Links => 'l',
            Kind::Slow => 's',
            Kind::Disk => 'd',
            Kind::Snapshot => 'n',
            Kind::Move => 'm',
        }
    }

    /// Milliseconds for which it holds. Some cuts outlast the ten seconds that a node lets a
    /// request wait, some pauses are shorter than a lease.
    fn hold_ms(self) -> (u64, u64) {
        match self {
            Kind::Kill => (100, 4_000),
            Kind::Restart => (10, 3_000),
            Kind::Pause => (150, 4_000),
            Kind::Cut => (1_000, 12_000),
            Kind::OneWay | Kind::Links => (1_000, 8_000),
            Kind::Split => (1_000, 12_000),
            Kind::Slow => (2_000, 7_000),
            Kind::Disk => (5_000, 10_000),
            Kind::Snapshot => (300, 1_000),
            Kind::Move => (500, 6_000),
        }
    }
}

/// Who is hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Whoever leads when it begins.
    Leader,
    /// These; they count from 0.
    Nodes(Vec<usize>),
}

/// One misfortune.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) aim: Aim,
    /// Cut: the clients are cut off, too. One way: the victims hear nothing, instead of not being
    /// heard.
    pub(super) twist: bool,
    /// Links: the first of each pair is not heard by the second.
    pub(super) ways: Vec<(usize, usize)>,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// They begin and end together.
    pub(super) faults: Vec<Fault>,
    pub(super) hold: Duration,
    pub(super) rest: Duration,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Schedule {
    dice: Rng,
    kinds: Vec<Kind>,
    bag: Vec<Kind>,
    nodes: usize,
    /// Shortens the steps of a short run.
    divisor: u64,
}

/// Runs shorter than this have shorter steps.
const SHORT: Duration = Duration::from_secs(150);

impl Schedule {
    pub(super) fn new(seed: u64, kinds: &[Kind], nodes: usize, length: Duration) -> Schedule {
        assert!(!kinds.is_empty(), "a schedule has something to draw from");
        let divisor = if length < SHORT { 3 } else { 1 };
        let (kinds, bag) = (kinds.to_vec(), Vec::new());
        Schedule { dice: Rng::new(seed), kinds, bag, nodes, divisor }
    }

    /// Draws the next step.
    pub(super) fn next_step(&mut self) -> Step {
        let kind = self.draw_kind();
        let mut faults = vec![self.draw_fault(kind)];
        let second = self.kinds[self.dice.below(self.kinds.len() as u64) as usize];
        if self.dice.one_in(4) && may_join(kind, second) {
            faults.push(self.draw_fault(second));
        }
        let (least, most) = kind.hold_ms();
        let hold = self.draw_ms(least, most);
        Step { faults, hold, rest: self.draw_ms(500, 3_500) }
    }

    fn draw_ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis((least + self.dice.below(most - least)) / self.divisor)
    }

    fn draw_kind(&mut self) -> Kind {
        if self.bag.is_empty() {
            self.bag = self.kinds.clone();
            for at in (1..self.bag.len()).rev() {
                let other = self.dice.below(at as u64 + 1) as usize;
                self.bag.swap(at, other);
            }
        }
        self.bag.pop().expect("the bag was filled")
    }

    fn draw_fault(&mut self, kind: Kind) -> Fault {
        let ways = if kind == Kind::Links { self.draw_ways() } else { Vec::new() };
        let aim = match self.dice.below(20) {
            _ if kind == Kind::Split => {
                let side = 1 + self.dice.below((self.nodes as u64 - 1).max(1)) as usize;
                Aim::Nodes(self.draw_nodes(side))
            }
            _ if kind == Kind::Links => Aim::Nodes((0..self.nodes).collect()),
            0..9 => Aim::Leader,
            9..15 => Aim::Nodes(self.draw_nodes(1)),
            15..18 => Aim::Nodes(self.draw_nodes(((self.nodes - 1) / 2).max(1))),
            // A majority: nobody is served until it ends.
            18 => Aim::Nodes(self.draw_nodes(self.nodes / 2 + 1)),
            _ => Aim::Nodes((0..self.nodes).collect()),
        };
        Fault { kind, aim, twist: self.dice.one_in(3), ways }
    }

    /// Each way between two nodes is cut or not; at least one is, if there are two.
    fn draw_ways(&mut self) -> Vec<(usize, usize)> {
        let nodes = self.nodes;
        let all = (0..nodes).flat_map(|one| (0..nodes).map(move |other| (one, other)));
        let mut ways: Vec<(usize, usize)> = all.filter(|(one, other)| one != other).collect();
        let keep = 1 + self.dice.below((ways.len() as u64 / 2).max(1)) as usize;
        while ways.len() > keep {
            let at = self.dice.below(ways.len() as u64) as usize;
            ways.swap_remove(at);
        }
        ways.sort_unstable();
        ways
    }

    fn draw_nodes(&mut self, count: usize) -> Vec<usize> {
        let mut nodes: Vec<usize> = (0..self.nodes).collect();
        while nodes.len() > count {
            let at = self.dice.below(nodes.len() as u64) as usize;
            nodes.swap_remove(at);
        }
        nodes.sort_unstable();
        nodes
    }
}

/// A node that is stopped cannot end when it is asked to; the others mix.
fn may_join(first: Kind, second: Kind) -> bool {
    let pair = [first, second];
    first != second && pair != [Kind::Pause, Kind::Restart] && pair != [Kind::Restart, Kind::Pause]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_is_the_whole_of_a_schedule() {
        let draw = |seed| {
            let mut schedule = Schedule::new(seed, &Kind::ALL, 5, LONG);
            (0..50).map(|_| schedule.next_step()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn each_bag_has_every_kind_and_names_only_nodes_that_are_there() {
        for (seed, nodes) in [(1, 1), (2, 2), (3, 3), (4, 5)] {
            let mut schedule = Schedule::new(seed, &Kind::ALL, nodes, LONG);
            for _ in 0..20 {
                let steps: Vec<Step> = Kind::ALL.iter().map(|_| schedule.next_step()).collect();
                let kinds: BTreeSet<Kind> = steps.iter().map(|step| step.faults[0].kind).collect();
                assert_eq!(kinds.len(), Kind::ALL.len());
                for fault in steps.iter().flat_map(|step| &step.faults) {
                    let Aim::Nodes(hit) = &fault.aim else { continue };
                    assert!(!hit.is_empty() && hit.iter().all(|node| *node < nodes), "{hit:?}");
                }
            }
        }
    }

    #[test]
    fn a_split_has_two_sides_of_any_size_and_links_are_between_two_nodes() {
        let (mut sides, mut counts) = (BTreeSet::new(), BTreeSet::new());
        let mut schedule = Schedule::new(6, &[Kind::Split, Kind::Links], 4, LONG);
        for fault in (0..200).flat_map(|_| schedule.next_step().faults) {
            assert!(fault.ways.iter().all(|(one, other)| one != other && one.max(other) < &4));
            match (fault.kind, fault.aim) {
                (Kind::Split, Aim::Nodes(side)) => drop(sides.insert(side.len())),
                _ => drop(counts.insert(fault.ways.len())),
            }
        }
        assert_eq!(sides, BTreeSet::from([1, 2, 3]));
        assert_eq!(counts, (1..=6).collect());
    }

    #[test]
    fn nobody_is_asked_to_end_while_it_is_stopped() {
        let mut schedule = Schedule::new(5, &[Kind::Pause, Kind::Restart], 3, LONG);
        assert!((0..200).all(|_| schedule.next_step().faults.len() == 1));
    }
}

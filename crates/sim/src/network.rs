//! The network between the nodes: connections that keep their order until they break, and a
//! weather that does not.
//!
//! ```text
//! send ─▶ cut? ─▶ broken: lost, until the connection is dialed anew ─▶ Event::PeerUp at both ends
//!    └─▶ lost · duplicated · reordered · much too late: what agreement must bear
//! ```
//!
//! A loss of anything but agreement's messages breaks the connection, as it would with TCP: whoever
//! sent it learns of it. What was on its way when a connection broke may still arrive, late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use stdx::Rng;

use crate::coverage::{Coverage, Mark};
use crate::plan::NetworkRates;

/// The way from one node to another.
#[derive(Clone, Debug, Default)]
struct Link {
    broken: bool,
    /// When the last message that keeps its order arrives.
    last_arrival: u64,
}

/// A message that will arrive.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: u64,
    pub(crate) source: u32,
    pub(crate) target: u32,
    pub(crate) bytes: Bytes,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: u32,
    links: Vec<Link>,
    /// Directions in which nothing gets through.
    cut: BTreeSet<(u32, u32)>,
    /// Directions that take longer than others, by so much.
    slow: BTreeMap<(u32, u32), u64>,
    /// Between these everything gets through, whatever is cut.
    spared: BTreeSet<u32>,
    pub(crate) rates: NetworkRates,
    delay: (Duration, Duration),
}

impl Network {
    /// Whole connections between all nodes.
    pub(crate) fn new(nodes: u32, rates: NetworkRates, delay: (Duration, Duration)) -> Network {
        let links = vec![Link::default(); ((nodes + 1) * (nodes + 1)) as usize];
        let (cut, slow, spared) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        Network { nodes, links, cut, slow, spared, rates, delay }
    }

    fn link(&mut self, source: u32, target: u32) -> &mut Link {
        &mut self.links[(source * (self.nodes + 1) + target) as usize]
    }

    /// One way through the network.
    pub(crate) fn draw_delay(&self, rng: &mut Rng) -> u64 {
        let (least, most) = (self.delay.0.as_nanos() as u64, self.delay.1.as_nanos() as u64);
        least + rng.below(most - least + 1)
    }

    /// Sends a message, which takes so long if nothing comes between. `strict`: it travels on the
    /// connection, in order, or breaks it.
    pub(crate) fn send(
        &mut self,
        rng: &mut Rng,
        coverage: &mut Coverage,
        message: Arrival,
        mut delay: u64,
        strict: bool,
    ) -> Vec<Arrival> {
        let Arrival { at: now, source, target, .. } = message;
        let strikes = |rng: &mut Rng, rate: u64| rate > 0 && rng.below(1_000_000) < rate;
        let mut rates = self.rates;
        if self.are_spared(source, target) {
            // One that is far behind may be sent one entry at a time.
            (rates, delay) = (NetworkRates::default(), self.delay.0.as_nanos() as u64);
        }
        delay += self.slow.get(&(source, target)).copied().unwrap_or(0);
        let mut arrivals = Vec::new();
        let lost = self.is_cut(source, target) || strikes(rng, rates.loss);
        if lost || self.link(source, target).broken {
            coverage.hit(Mark::MessageLost);
            if strict && !self.link(source, target).broken {
                coverage.hit(Mark::LinkBroken);
                self.link(source, target).broken = true;
            }
            return arrivals;
        }
        let at = if !strict && strikes(rng, rates.reorder) {
            coverage.hit(Mark::MessageReordered);
            now + delay + rng.below(20 * delay + 1)
        } else {
            let link = self.link(source, target);
            link.last_arrival = link.last_arrival.max(now + delay);
            link.last_arrival
        };
        if strikes(rng, rates.duplicate) {
            coverage.hit(Mark::MessageDuplicated);
            arrivals.push(Arrival { at: at + rng.below(50_000_000), ..message.clone() });
        }
        if strikes(rng, rates.late) {
            coverage.hit(Mark::MessageLate);
            // Up to the whole of a run; see also `nemesis::sleep`.
            let most = if rng.one_in(4) { 60_000_000_000 } else { 5_000_000_000 };
            let later = rng.below(most);
            arrivals.push(Arrival { at: at + later, ..message.clone() });
        }
        arrivals.push(Arrival { at, ..message });
        arrivals
    }

    /// Does nothing get through from `source` to `target`?
    pub(crate) fn is_cut(&self, source: u32, target: u32) -> bool {
        self.cut.contains(&(source, target)) && !self.are_spared(source, target)
    }

    fn are_spared(&self, source: u32, target: u32) -> bool {
        self.spared.contains(&source) && self.spared.contains(&target)
    }

    /// Between these nodes nothing is cut, lost or slow from here on, until others are named.
    pub(crate) fn spare(&mut self, nodes: BTreeSet<u32>) {
        self.spared = nodes;
    }

    /// Nothing gets through in this direction from here on.
    pub(crate) fn cut(&mut self, source: u32, target: u32) {
        self.cut.insert((source, target));
    }

    /// These two hear each other.
    pub(crate) fn join(&mut self, one: u32, other: u32) {
        self.cut.remove(&(one, other));
        self.cut.remove(&(other, one));
    }

    /// What is sent in this direction takes so much longer.
    pub(crate) fn slow_down(&mut self, source: u32, target: u32, by: u64) {
        self.slow.insert((source, target), by);
    }

    /// Everything gets through again.
    pub(crate) fn mend(&mut self) {
        self.cut.clear();
        self.slow.clear();
    }

    /// Is anything cut?
    pub(crate) fn is_whole(&self) -> bool {
        self.cut.is_empty()
    }

    /// The connection is lost.
    pub(crate) fn break_link(&mut self, source: u32, target: u32) {
        self.link(source, target).broken = true;
    }

    /// Connections that are broken and could be dialed.
    pub(crate) fn dialable(&mut self) -> Vec<(u32, u32)> {
        let mut pairs = Vec::new();
        for source in 1..=self.nodes {
            for target in 1..=self.nodes {
                let open = !self.is_cut(source, target) && !self.is_cut(target, source);
                if source != target && self.link(source, target).broken && open {
                    pairs.push((source, target));
                }
            }
        }
        pairs
    }

    /// The connection stands again.
    pub(crate) fn repair(&mut self, source: u32, target: u32) {
        self.link(source, target).broken = false;
    }
}

//! Lulls: a majority is spared all faults for a while, and must serve, whatever the others suffer.
//!
//! ```text
//! begin: a majority of good nodes is healed ─ settle ─▶ ask each of them ─ answer in time ─▶ …
//!                     the nemesis goes on, with everybody else
//! ```
//!
//! That is the promise to whoever runs the cluster, and it is checked in the middle of the chaos:
//! nodes that come back with old logs, that are cut off in one direction, or that were removed and
//! do not know it, must not disturb. One answer in time is enough: a node that is spared may still
//! be unable to hear a leader outside. Their disks and their settings are as slow as in the whole
//! run: where one must first be sent what a former leader left it behind in, entry by entry, it is
//! given time for as long as it gets on (`catches_up`).

use std::collections::{BTreeMap, BTreeSet};

use consensus::NodeId;

use crate::checker::members::is_quorum;
use crate::coverage::Mark;
use crate::limits::{LULL_ANSWER, LULL_SETTLE};
use crate::machine::Machine;
use crate::world::{Checked, What, World};

const SECOND: u64 = 1_000_000_000;

/// The connections that ask belong to clients from this number on, one for each node.
const ASKERS: usize = 1_000;

/// Asks for a script, and not for a lull.
pub(crate) const ASKER_OF_SCRIPT: usize = ASKERS - 1;

/// A lull that has begun.
#[derive(Clone, Debug)]
pub(crate) struct Lull {
    pub(crate) spared: BTreeSet<u32>,
    ends: u64,
    /// The newest question, if there was one: it is the number of its connection, so it grows from
    /// one lull to the next.
    question: Option<u64>,
    answered: bool,
    /// Entries that were missing when the time for an answer began.
    lag: u64,
}

impl World {
    /// Is this node spared all faults at the moment?
    pub(crate) fn is_spared(&self, node: u32) -> bool {
        self.lull.as_ref().is_some_and(|lull| lull.spared.contains(&node))
    }

    /// A lull begins, if a majority has lost nothing, `but` not counted. True if one does.
    pub(crate) fn begin_lull(&mut self, but: Option<u32>) -> bool {
        // Where groups move, nobody knows who will be a majority.
        if self.lull.is_some() || self.wish.is_some() || self.mapping.is_some() {
            return false;
        }
        let Some(spared) = self.draw_majority(but) else { return false };
        self.tell(|| format!("{spared:?} are spared"));
        for node in &spared {
            let machine = self.machine(*node);
            machine.forgive_disk();
            self.stalled_until[*node as usize] = 0;
            self.push(self.now, 0, What::Start(*node));
        }
        self.network.spare(spared.clone());
        let settle = LULL_SETTLE.as_nanos() as u64;
        let ends = self.now + settle + LULL_ANSWER.as_nanos() as u64 + self.rng.below(10 * SECOND);
        self.lull = Some(Lull { spared, ends, question: None, answered: true, lag: 0 });
        self.push(self.now + settle, 0, What::Ask);
        true
    }

    /// The least number of good nodes that are a quorum, whichever configuration counts.
    fn draw_majority(&mut self, but: Option<u32>) -> Option<BTreeSet<u32>> {
        let good = |world: &World, node: u32| {
            let machine = &world.machines[node as usize - 1];
            let mut groups =
                machine.running.iter().flat_map(|running| running.front.core().members());
            !machine.is_harmed() && !groups.any(|one| one.status().faulty)
        };
        let fits = |node: &u32| Some(*node) != but && good(self, *node);
        let mut nodes: Vec<u32> = (1..=self.nodes()).filter(fits).collect();
        let mut spared = BTreeSet::new();
        loop {
            let ids = spared.iter().copied().map(NodeId).collect();
            if self.replicas[server::start::GROUP]
                .configs_in_force()
                .iter()
                .all(|config| is_quorum(config, &ids))
            {
                return Some(spared);
            }
            if nodes.is_empty() {
                return None;
            }
            let at = self.rng.below(nodes.len() as u64) as usize;
            spared.insert(nodes.swap_remove(at));
        }
    }

    /// The spared are asked, and what was asked before must be answered.
    pub(crate) fn ask_spared(&mut self) -> Checked {
        let Some(mut lull) = self.lull.take() else { return Ok(()) };
        if !lull.answered && self.catches_up(&mut lull) {
            self.lull = Some(lull);
            self.push(self.now + LULL_ANSWER.as_nanos() as u64, 0, What::Ask);
            return Ok(());
        }
        if !lull.answered {
            let nodes: Vec<String> = self.machines.iter().map(Machine::summary).collect();
            return Err(format!(
                "nodes {:?} are spared all faults and do not serve within {} s; {}",
                lull.spared,
                LULL_ANSWER.as_secs(),
                nodes.join("; ")
            ));
        }
        if lull.question.is_some() {
            self.coverage.hit(Mark::MajorityServed);
        }
        if self.now >= lull.ends || !self.is_chaos() {
            self.tell(|| "nobody is spared any more".to_owned());
            self.network.spare(BTreeSet::new());
            return Ok(());
        }
        let before = lull.question.replace(self.now);
        lull.answered = false;
        lull.lag = self.lag_of(&lull.spared);
        for node in &lull.spared {
            let (node, client, bytes) = (*node, ASKERS + *node as usize, question());
            if let Some(number) = before {
                self.push_node(node, 0, What::Gone { node, client, number });
            }
            self.push_node(node, 0, What::ToNode { node, client, number: self.now, bytes });
        }
        self.lull = Some(lull);
        self.push(self.now + LULL_ANSWER.as_nanos() as u64, 0, What::Ask);
        Ok(())
    }

    /// Do those that are spared get on with what they lack of each other's logs? They must have got
    /// at least what this seed's disks and network can bring them, with the smallest appends.
    fn catches_up(&self, lull: &mut Lull) -> bool {
        let lag = self.lag_of(&lull.spared);
        let got = lull.lag.saturating_sub(lag);
        // One append at a time, each on the disk before the next comes, and each shard in its turn.
        let round = self.plan.disk.1 + 2 * self.plan.delay.1;
        let least = LULL_ANSWER.as_nanos() / (2 * u128::from(self.plan.shards) * round.as_nanos());
        lull.lag = lag;
        lag > 0 && u128::from(got) >= least
    }

    /// Entries that these nodes lack, of those that any of them has.
    fn lag_of(&self, nodes: &BTreeSet<u32>) -> u64 {
        let mut lasts: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        for node in nodes {
            let running = self.machines[*node as usize - 1].running.iter();
            for group in running.flat_map(|running| running.front.core().members()) {
                lasts.entry(group.id()).or_default().push(group.status().last.0);
            }
        }
        let lag = |lasts: &Vec<u64>| {
            let newest = lasts.iter().max().copied().unwrap_or(0);
            lasts.iter().map(|last| newest - last).sum::<u64>()
        };
        lasts.values().map(lag).sum()
    }

    /// Somebody who asked for a lull's sake hears something. True if it was.
    pub(crate) fn asker_hears(&mut self, client: usize, number: u64, bytes: &[u8]) -> bool {
        if client == ASKER_OF_SCRIPT {
            self.props.hear(number, bytes);
        }
        if let Some(lull) = &mut self.lull
            && client >= ASKERS
            && lull.question == Some(number)
        {
            lull.answered |= bytes.starts_with(b"+OK");
            if !lull.answered && bytes.starts_with(b"-") {
                // A follower that just took a snapshot does not know what became of it.
                let (node, bytes) = ((client - ASKERS) as u32, question());
                self.push_node(node, SECOND / 10, What::ToNode { node, client, number, bytes });
            }
        }
        client >= ASKER_OF_SCRIPT
    }
}

/// What those are asked that are spared.
fn question() -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::resp::encode_call(&mut bytes, &[b"SET", b"lull", b"x"]);
    bytes
}

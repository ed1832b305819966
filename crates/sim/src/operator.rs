//! The operator: who brings nodes into the group, and takes them out of it.
//!
//! ```text
//! wish ─▶ Event::Configure at the leader ─▶ (joint) ─▶ agreed as wished: the wish is fulfilled
//!   ▲          again and again, until the agreed configuration is the one that was wished for
//!   └── chance: a learner more, one promoted, one removed, one swapped, a dead one replaced
//! ```
//!
//! What always holds: a wish leaves no majority to nodes that have lost something, and a number of
//! a node is used once. A node that was removed goes on for a while, as nobody has told it; then it
//! is switched off for good.

use std::collections::BTreeSet;

use consensus::{Config, NodeId};
use node::Event;
use server::start::GROUP;

use crate::coverage::Mark;
use crate::limits::NODES_MAX;
use crate::machine::{Calling, Machine};
use crate::plan::Evil;
use crate::world::{Checked, What, World};

/// The operator looks at the group this often.
const LOOK_INTERVAL: u64 = 100_000_000;

/// What is not fulfilled by then is given up.
const PATIENCE: u64 = 20_000_000_000;

/// More members would only make each run slower.
const MEMBERS_MAX: usize = 6;

/// What the members should be.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    /// Learners become voters before they have the log.
    hasty: bool,
    since: u64,
    mark: Mark,
}

impl World {
    /// Sometimes there is something to wish for.
    pub(crate) fn want_members(&mut self) {
        if self.mapping.is_some() {
            return self.want_change();
        }
        // The operator knows one group.
        let several = self.plan.shards > 1;
        let busy = self.wish.is_some() || self.lull.is_some();
        if several || busy || self.replicas[GROUP].config().is_joint() {
            return;
        }
        let Config { mut voters, mut learners, .. } = self.replicas[GROUP].config().clone();
        let dead = self.draw_of(&voters, |machine| machine.dead.is_some());
        let dead = dead.or_else(|| self.draw_of(&learners, |machine| machine.dead.is_some()));
        let voter = self.draw_of(&voters, |_| true);
        let learner = self.draw_of(&learners, |machine| machine.dead.is_none());
        let room = voters.len() + learners.len() < MEMBERS_MAX;
        let mark = match (dead, voter, learner) {
            (Some(dead), ..) if self.rng.below(3) > 0 => {
                voters.remove(&dead);
                learners.remove(&dead);
                let Some(fresh) = self.new_node() else { return };
                learners.insert(fresh);
                Mark::NodeReplaced
            }
            (_, _, Some(learner)) if self.rng.one_in(2) => {
                learners.remove(&learner);
                voters.insert(learner);
                if let Some(voter) = voter
                    && self.rng.one_in(3)
                {
                    voters.remove(&voter);
                }
                Mark::LearnerPromoted
            }
            (_, Some(voter), _) if voters.len() > 1 && self.rng.one_in(2) => {
                voters.remove(&voter);
                if self.rng.one_in(4) {
                    learners.insert(voter);
                    Mark::VoterDemoted
                } else {
                    Mark::NodeRemoved
                }
            }
            (_, _, Some(learner)) if !room => {
                learners.remove(&learner);
                Mark::NodeRemoved
            }
            _ if room => {
                let Some(fresh) = self.new_node() else { return };
                learners.insert(fresh);
                Mark::LearnerAdded
            }
            _ => return,
        };
        if voters.is_empty() || self.harmed_of(&voters) * 2 >= voters.len() {
            return;
        }
        self.tell(|| format!("wish: voters {voters:?}, learners {learners:?}"));
        let hasty = self.rng.one_in(6);
        self.wish = Some(Wish { voters, learners, hasty, since: self.now, mark });
    }

    /// One of these nodes for which `fits`.
    fn draw_of(
        &mut self,
        nodes: &BTreeSet<NodeId>,
        fits: impl Fn(&Machine) -> bool,
    ) -> Option<NodeId> {
        let nodes: Vec<NodeId> =
            nodes.iter().copied().filter(|node| fits(self.machine(node.0))).collect();
        let at = self.rng.below(nodes.len().max(1) as u64) as usize;
        nodes.get(at).copied()
    }

    fn harmed_of(&self, nodes: &BTreeSet<NodeId>) -> usize {
        nodes.iter().filter(|node| self.machines[node.0 as usize - 1].is_harmed()).count()
    }

    /// A new machine with an empty disk, under a number that was never used.
    fn new_node(&mut self) -> Option<NodeId> {
        let node = self.nodes() + 1;
        if node > NODES_MAX {
            return None;
        }
        let calling = Calling::Fixed { founders: 0, shards: 1 };
        let mut machine = Machine::new(node, calling, self.seed);
        machine.follow(&self.plan);
        self.machines.push(machine);
        self.replicas[GROUP].join(node);
        for other in 1..node {
            self.network.break_link(node, other);
            self.network.break_link(other, node);
        }
        self.push(self.now, 0, What::Start(node));
        Some(NodeId(node))
    }

    /// May the disk of this node lose something? A good copy of everything must stay, with a
    /// majority of whoever counts.
    pub(crate) fn may_harm(&self, node: u32) -> bool {
        if self.mapping.is_some() {
            return self.may_harm_mapped(node);
        }
        let node = NodeId(node);
        let wish = self.wish.as_ref().map(|wish| &wish.voters);
        let configs = self.replicas[GROUP].configs_in_force();
        let sides = configs.iter().flat_map(|config| [&config.voters, &config.outgoing]);
        sides.chain(wish).filter(|voters| voters.contains(&node)).all(|voters| {
            let others: BTreeSet<NodeId> = voters.iter().copied().filter(|v| *v != node).collect();
            (self.harmed_of(&others) + 1) * 2 < voters.len()
        })
    }

    /// The operator looks whether the members are as they should be.
    pub(crate) fn operate(&mut self) -> Checked {
        self.push(self.now + LOOK_INTERVAL, 0, What::Operate);
        if self.mapping.is_some() {
            return self.operate_mapped();
        }
        self.retire_removed()?;
        let changes = self.is_chaos() && self.plan.evils.contains(&Evil::Members);
        if changes && self.rng.one_in(40) {
            self.want_members();
        }
        let Some(wish) = self.wish.clone() else { return Ok(()) };
        let agreed = self.replicas[GROUP].config();
        if !agreed.is_joint() && agreed.voters == wish.voters && agreed.learners == wish.learners {
            self.tell(|| "the members are as they were wished for".to_owned());
            self.coverage.hit(wish.mark);
            self.wish = None;
            return Ok(());
        }
        if self.now > wish.since + PATIENCE || !self.is_chaos() {
            self.wish = None;
            return Ok(());
        }
        let Some(leader) = self.leader() else { return Ok(()) };
        let awake = self.machines[leader as usize - 1].is_awake(self.now);
        if !awake || !(wish.hasty || self.is_ready(leader, &wish)) {
            return Ok(());
        }
        let Wish { voters, learners, .. } = wish;
        self.feed(leader, Event::Configure { group: GROUP, voters, learners })?;
        if self.strikes_at(leader, self.plan.directed.cut_at_change) {
            self.coverage.hit(Mark::CutLeaderAtChange);
            self.isolate(leader);
        }
        Ok(())
    }

    /// Have the voters to be nearly all of the leader's log?
    fn is_ready(&self, leader: u32, wish: &Wish) -> bool {
        const BEHIND_MAX: u64 = 20;
        let Some(running) = &self.machines[leader as usize - 1].running else { return false };
        let Some(status) = running.group(GROUP).map(node::Group::status) else { return false };
        let new = wish.voters.iter().filter(|node| !status.config.voters.contains(node));
        new.into_iter().all(|node| {
            let matched = status.matched.iter().find(|(peer, _)| peer == node);
            // Whoever gets no log yet is made a learner first.
            let learns = status.config.learners.contains(node);
            !learns || matched.is_some_and(|(_, index)| index.0 + BEHIND_MAX > status.last.0)
        })
    }

    /// Nodes that nobody counts on any more are switched off in the end.
    pub(crate) fn retire_removed(&mut self) -> Checked {
        if self.mapping.is_some() {
            return Ok(());
        }
        for node in 1..=self.nodes() {
            let counts = self.counts_on(node);
            let stays = self.is_chaos() && !self.rng.one_in(40);
            if counts || stays || self.machine(node).dead.is_some() {
                continue;
            }
            self.coverage.hit(Mark::NodeRetired);
            self.bury(node, "it was removed")?;
            for other in 1..=self.nodes() {
                if self.machines[other as usize - 1].is_awake(self.now) {
                    self.feed(other, Event::PeerLeft(NodeId(node)))?;
                }
            }
        }
        Ok(())
    }

    /// Is the node named by anything that may be in force, or is to be?
    pub(crate) fn counts_on(&self, node: u32) -> bool {
        let node = NodeId(node);
        if let Some(mapping) = &self.mapping {
            return mapping.map.members().contains_key(&node);
        }
        let wished = self
            .wish
            .as_ref()
            .is_some_and(|wish| wish.voters.contains(&node) || wish.learners.contains(&node));
        wished || self.replicas[GROUP].configs_in_force().iter().any(|config| config.contains(node))
    }

    /// The other nodes of the cluster, as an operator would list them for this one.
    pub(crate) fn peers_of(&self, node: u32) -> Vec<NodeId> {
        let others = (1..=self.nodes()).filter(|other| *other != node && self.counts_on(*other));
        others.map(NodeId).collect()
    }
}

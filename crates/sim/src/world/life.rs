//! Lives of nodes: how one starts from its disk, what it dies of, and when it comes back.

use storage::disk::Action;

use super::{Checked, What, World};
use crate::checker::replicas::Loss;
use crate::coverage::Mark;
use crate::machine::{NotStarted, Wire};
use crate::plan::Evil;

impl World {
    /// Starts a node, if it may and does not run.
    pub(super) fn start(&mut self, node: u32) -> Checked {
        let (now, dice) = (self.now, self.rng.next());
        let wary = self.is_chaos()
            && !self.is_spared(node)
            && self.plan.evils.contains(&Evil::PowerInCommit);
        let halt = (wary && self.rng.one_in(4)).then(|| self.rng.below(20));
        let machine = self.machine(node);
        if machine.is_up() || machine.dead.is_some() {
            return Ok(());
        }
        if let Some(operations) = halt {
            machine.disk.halt_after(operations);
        }
        let peers = self.peers_of(node);
        let started = self.machine(node).start(now, dice, peers);
        match started {
            Ok(found) => {
                self.tell(|| {
                    format!(
                        "node {node} starts at {:?}",
                        found.iter().map(|(_, one)| (one.term, one.snapshot)).collect::<Vec<_>>()
                    )
                });
                for news in std::mem::take(&mut self.machine(node).news) {
                    self.tell(|| format!("node {node}: {news}"));
                }
                if halt.is_some() {
                    // What was to happen at the start did not: it happens a little later.
                    self.coverage.hit(Mark::PowerFailedInCommit);
                }
                let faulty = found.iter().any(|(_, one)| one.faulty);
                if faulty {
                    self.coverage.hit(Mark::StartedFaulty);
                }
                let rotten = self.machine(node).rotten;
                match self.replicas.started(node, &found) {
                    Loss::Nothing => {}
                    Loss::Tail if rotten => {
                        self.coverage.hit(Mark::DamageUnseen);
                        return self.bury(node, "it lost its tail, and did not see it");
                    }
                    _ => return Err(format!("node {node} lost what was durable on its disk")),
                }
                if rotten && !faulty && !self.machine(node).latent {
                    self.machine(node).rotten = false;
                    // It was to read less than that at its start.
                    self.machine(node).disk.unplant(Action::Read);
                    self.replicas.mended(node);
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
            Err(NotStarted::Refused(why)) => {
                if !self.machine(node).rotten {
                    return Err(format!("node {node} does not start from a good disk: {why}"));
                }
                self.coverage.hit(Mark::RefusedDamage);
                self.bury(node, &why.to_string())
            }
        }
    }

    /// This node will not come back.
    pub(crate) fn bury(&mut self, node: u32, why: &str) -> Checked {
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
        for (_, what) in std::mem::take(&mut self.machine(node).waiting) {
            self.missed(what);
        }
        for other in 1..=self.nodes() {
            self.network.break_link(other, node);
            self.hang_up(node, other);
        }
        for Wire { client, number } in wires {
            let delay = self.network.draw_delay(&mut self.rng);
            let (bytes, closes) = (Vec::new(), true);
            self.push(now + delay, 0, What::ToClient { client, number, bytes, closes });
        }
        let waits = self.is_chaos() && !self.is_spared(node);
        let after = if waits { self.rng.below(4_000_000_000) } else { 0 };
        self.push(now + after, 0, What::Start(node));
    }

    /// Power fails here.
    pub(crate) fn power_fails(&mut self, node: u32, mark: Mark) {
        self.tell(|| format!("node {node}: {}", mark.title()));
        self.coverage.hit(mark);
        self.fall(node, true);
    }

    /// The machine failed under the node, as its driver sees it.
    pub(super) fn failed(&mut self, node: u32, error: &storage::Error) -> Checked {
        self.tell(|| format!("node {node} stops: {error}"));
        let is_io = matches!(
            error,
            storage::Error::Io { .. } | storage::Error::Sync { .. } | storage::Error::Poisoned
        );
        // A read that fails is told as damage, for what cannot be read cannot be relied on.
        let unreadable = self.plan.evils.contains(&Evil::DiskError)
            && matches!(error, storage::Error::Corrupt { reason: "it cannot be read", .. });
        if !is_io && !unreadable && !self.machine(node).rotten {
            return Err(format!("node {node} stops on a good disk: {error}"));
        }
        if self.machine(node).disk.has_halted() {
            self.power_fails(node, Mark::PowerFailedInCommit);
        } else {
            self.coverage.hit(match error {
                storage::Error::Sync { .. } => Mark::DiskErrorOnSync,
                storage::Error::Io { action: "read" | "open" | "list", .. } => {
                    Mark::DiskErrorOnRead
                }
                storage::Error::Corrupt { .. } => Mark::DiskErrorOnRead,
                _ => Mark::DiskErrorOnWrite,
            });
            self.fall(node, false);
        }
        Ok(())
    }
}

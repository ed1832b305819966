//! The end: all faults end, what is open is answered, and everything is read.

use std::time::Duration;

use super::{Checked, Phase, What, World};
use crate::limits::NODES_MAX;
use crate::machine::Machine;

impl World {
    pub(super) fn heal(&mut self) -> Checked {
        self.tell(|| "all faults end".to_owned());
        self.last_orders();
        self.phase = Phase::Healing;
        self.healed_at = self.now;
        self.cuts += 1;
        self.network.mend();
        self.network.rates = crate::plan::NetworkRates::default();
        self.plan.directed = crate::plan::Directed::default();
        self.stalled_until.fill(0);
        (self.wish, self.lull) = (None, None);
        // A slow network is a fault too: one that is far behind may be sent one entry at a time.
        self.network.spare((1..=NODES_MAX).collect());
        self.retire_removed()?;
        self.end_changes()?;
        for node in 1..=self.nodes() {
            let machine = self.machine(node);
            machine.forgive_disk();
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
        self.last_tasks = self.workload.last_reads();
        for client in 0..self.clients.len() {
            self.push(self.now + 1_000_000, 0, What::Client(client));
        }
    }

    /// Has everybody been answered?
    pub(super) fn has_read_all(&self) -> bool {
        let open = self.clients.iter().any(|client| client.busy.is_some());
        self.phase == Phase::Reading && self.last_tasks.is_empty() && !open
    }

    pub(super) fn is_over(&self) -> bool {
        // Whoever was answered or is gone has left nothing behind.
        let at_rest = |machine: &Machine| {
            machine.running.as_ref().is_none_or(|running| running.front.core().is_at_rest())
        };
        self.has_read_all()
            && self.mapping.as_ref().is_none_or(|mapping| mapping.placed)
            && self.machines.iter().all(at_rest)
    }

    pub(super) fn not_recovered(&self, bound: Duration) -> String {
        let open: Vec<String> = self
            .clients
            .iter()
            .filter_map(|client| client.busy.as_ref().map(|busy| busy.task.to_string()))
            .collect();
        let nodes: Vec<String> = self.machines.iter().map(Machine::summary).collect();
        let up = self.machines.iter().filter(|machine| machine.is_up()).count();
        format!(
            "not recovered {} s after all faults have ended: {up} of {} nodes are up, {} reads are \
             left, {open:?} are not answered; {}{}",
            bound.as_secs(),
            self.nodes(),
            self.last_tasks.len(),
            self.misplaced().map(|what| format!("{what}; ")).unwrap_or_default(),
            nodes.join("; "),
        )
    }
}

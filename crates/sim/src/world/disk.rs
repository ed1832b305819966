//! Disks at work: saves and snapshots take their time, and power fails at their boundaries.

use node::{Event, SnapshotJob};
use server::keeper::Work;

use super::{Checked, What, World};
use crate::coverage::Mark;

impl World {
    pub(super) fn disk_time(&mut self, node: u32) -> u64 {
        let (least, most) =
            (self.plan.disk.0.as_nanos() as u64, self.plan.disk.1.as_nanos() as u64);
        let time = least + self.rng.below(most - least + 1);
        time + self.stalled_until[node as usize].saturating_sub(self.now)
    }

    pub(super) fn work_on_log(&mut self, node: u32) {
        let time = self.disk_time(node);
        let Some(running) = &mut self.machine(node).running else { return };
        if running.log_is_due() {
            let trims = running.trims();
            if trims && self.strikes_at(node, self.plan.directed.in_compaction) {
                self.coverage.hit(Mark::PowerFailedInCompaction);
                let operations = self.rng.below(6);
                self.machine(node).disk.halt_after(operations);
            }
            let Some(running) = &mut self.machine(node).running else { return };
            running.begin_commit();
            self.push_node(node, time, What::LogDone(node));
        }
    }

    pub(super) fn log_done(&mut self, node: u32) -> Checked {
        let Some(running) = &mut self.machine(node).running else { return Ok(()) };
        let committed = match running.commit() {
            Ok(committed) => committed,
            Err(error) => return self.failed(node, &error),
        };
        for event in &committed.events {
            match event {
                Event::Saved { group, number } => self.replicas[*group].saved(node, *number),
                Event::DiskFull(true) => self.coverage.hit(Mark::DiskFull),
                _ => {}
            }
        }
        for (group, index) in &committed.resets {
            self.replicas[*group].reset(node, *index);
        }
        if !committed.resets.is_empty() && self.strikes_at(node, self.plan.directed.in_install) {
            self.power_fails(node, Mark::PowerFailedInInstall);
            return Ok(());
        }
        if self.strikes_at(node, self.plan.directed.after_save) {
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
            self.seal_later(node);
        }
        Ok(())
    }

    /// As an idle log is sealed, and one that is not idle too: whichever proof is on the disk must
    /// be a true one.
    fn seal_later(&mut self, node: u32) {
        let Some(running) = &mut self.machine(node).running else { return };
        if !std::mem::replace(&mut running.seal_due, true) {
            self.push_node(node, 200_000_000, What::Seal(node));
        }
    }

    pub(super) fn seal(&mut self, node: u32) -> Checked {
        let Some(running) = &mut self.machine(node).running else { return Ok(()) };
        running.seal_due = false;
        match running.seal() {
            Ok(()) => Ok(()),
            Err(error) => self.failed(node, &error),
        }
    }

    pub(super) fn work_on_snapshots(&mut self, node: u32) {
        let time = self.disk_time(node);
        let Some(running) = &mut self.machine(node).running else { return };
        if running.snapshots_are_due() {
            running.snapshots_busy = true;
            self.push_node(node, time, What::SnapshotDone(node));
        }
    }

    pub(super) fn snapshot_done(&mut self, node: u32) -> Checked {
        let directed = self.plan.directed;
        let Some(running) = &mut self.machine(node).running else { return Ok(()) };
        let (rate, mark) = match running.next_snapshot_work() {
            Some(Work::Job(SnapshotJob::Begin { .. } | SnapshotJob::Part { .. })) => {
                (directed.in_snapshot, Mark::PowerFailedInSnapshot)
            }
            Some(Work::Job(SnapshotJob::Receive { .. }) | Work::Load) => {
                (directed.in_install, Mark::PowerFailedInInstall)
            }
            Some(Work::Job(SnapshotJob::Leave { .. })) => {
                (directed.in_install, Mark::PowerFailedInLeave)
            }
            _ => (0, Mark::PowerFailed),
        };
        let halt = self.rng.below(8);
        let strikes = self.strikes_at(node, rate);
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
        self.machine(node).grow_disk();
        for event in events {
            self.feed(node, event)?;
        }
        self.work_on_log(node);
        self.work_on_snapshots(node);
        Ok(())
    }
}

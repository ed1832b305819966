//! Turns: what the driver of a node does with an event, up to the next one.
//!
//! ```text
//! feed ─▶ (a little later) turn: step, end_turn ─▶ checker, saves, sends, clients ─▶ timer
//! ```

use std::collections::BTreeMap;

use consensus::{EntryKind, Record, Role};
use node::{Event, GroupId, Save, SnapshotJob};
use server::start::GROUP;

use super::{Checked, What, World};
use crate::coverage::Mark;
use crate::limits::DIGEST_EVERY;

impl World {
    /// Feeds a node one event; its turn ends a little later.
    pub(crate) fn feed(&mut self, node: u32, event: Event) -> Checked {
        let now = self.now;
        let machine = self.machine(node);
        let moment = machine.moment(now);
        let Some(running) = &mut machine.running else { return Ok(()) };
        if let Event::Loaded { group, meta, shard: Some(_) } = &event {
            let (group, index, term) = (*group, meta.index.0, meta.term.0);
            let member = running.front.core().member(group);
            let fresh = member.is_some_and(|member| index > member.applied().0);
            running.front.step(moment, event);
            if fresh {
                self.coverage.hit(Mark::SnapshotInstalled);
                self.replicas[group].installed(node, index, term)?;
            }
        } else {
            running.front.step(moment, event);
        }
        self.schedule_turn(node);
        Ok(())
    }

    pub(crate) fn schedule_turn(&mut self, node: u32) {
        let after = self.rng.below(30_000);
        let Some(running) = &mut self.machine(node).running else { return };
        if !std::mem::replace(&mut running.turn_due, true) {
            self.push_node(node, after, What::Turn(node));
        }
    }

    pub(super) fn timer(&mut self, node: u32) -> Checked {
        let now = self.now;
        let Some(running) = &mut self.machine(node).running else { return Ok(()) };
        if running.timer > now {
            return Ok(());
        }
        running.timer = u64::MAX;
        self.turn(node)
    }

    /// One turn of the driver's loop, as far as it follows from what was fed.
    pub(super) fn turn(&mut self, node: u32) -> Checked {
        let now = self.now;
        let machine = self.machine(node);
        let moment = machine.moment(now);
        let Some(running) = &mut machine.running else { return Ok(()) };
        running.turn_due = false;
        running.note_turn(now)?;
        // As the driver does it: it does nothing before its time.
        running.front.step(moment, Event::Tick);
        let fx = running.front.end_turn(moment, node::Proposing::Now);
        let mut work = node::Effects {
            save: std::mem::take(&mut fx.save),
            snapshot: std::mem::take(&mut fx.snapshot),
            send: std::mem::take(&mut fx.send),
            joined: std::mem::take(&mut fx.joined),
            discarded: std::mem::take(&mut fx.discarded),
            ..node::Effects::default()
        };
        let (repaired, map) = (std::mem::take(&mut fx.repaired), fx.map.take());
        running.check_turn();
        for group in repaired {
            self.repaired(node, group);
        }
        if let Some(map) = &map {
            self.make_room_for(map);
        }
        if !self.admit(node, &mut work) {
            return Ok(());
        }
        let node::Effects { save: saves, snapshot: snapshots, send: sends, .. } = work;
        let saves_any = !saves.is_empty();
        let changes = self.mapping.is_some() && saves.iter().any(changes_members);
        for save in &saves {
            if self.replicas[save.group].saving(node, save.number, &save.records)? {
                self.coverage.hit(Mark::LogCut);
            }
        }
        for job in &snapshots {
            self.note_snapshot_job(node, job)?;
        }
        if let Some(running) = &mut self.machine(node).running {
            running.take_work(saves, snapshots);
        }
        let cut = self.strikes_at(node, self.plan.directed.in_send);
        let leaves = if cut { self.rng.below(sends.len() as u64 + 1) } else { u64::MAX };
        // What a turn has for one node is written at once, and arrives at once.
        let mut delays = BTreeMap::new();
        for (target, message) in sends.into_iter().take(leaves as usize) {
            let delay = delays.entry(target);
            let delay = *delay.or_insert_with(|| self.network.draw_delay(&mut self.rng));
            self.send(node, target, &message, delay)?;
        }
        if cut {
            self.power_fails(node, Mark::PowerFailedInSend);
            return Ok(());
        }
        self.flush_clients(node);
        if let Some(map) = map
            && !self.follow(node, &map)?
        {
            return Ok(());
        }
        self.end_turn(node, saves_any, changes)
    }

    /// A turn has shown what follows from it; the disk is still to do its part.
    fn end_turn(&mut self, node: u32, saves_any: bool, changes: bool) -> Checked {
        let commits = self.look(node)?;
        if saves_any && self.strikes_at(node, self.plan.directed.before_save) {
            self.power_fails(node, Mark::PowerFailedBeforeSave);
            return Ok(());
        }
        let focus = self.focus;
        if commits && self.machine(node).leads(focus) {
            self.script_committed(node);
        }
        if commits
            && self.machine(node).leads(focus)
            && self.strikes_at(node, self.plan.directed.cut_at_commit)
        {
            self.coverage.hit(Mark::CutLeaderAtCommit);
            self.isolate(node);
        }
        if changes
            && self.script.is_none()
            && self.strikes_at(node, self.plan.directed.cut_at_change / 4)
        {
            self.coverage.hit(Mark::CutLeaderAtChange);
            self.isolate(node);
        }
        self.work_on_log(node);
        self.work_on_snapshots(node);
        self.set_timer(node);
        Ok(())
    }

    /// A replica that had lost something is whole again.
    pub(super) fn repaired(&mut self, node: u32, group: GroupId) {
        self.tell(|| format!("node {node} is repaired in {group:?}"));
        self.coverage.hit(Mark::Repaired);
        let machine = self.machine(node);
        if server::repair::done(&machine.disk, storage::GroupId(group.0)) {
            self.replicas[group].broken.retain(|broken| *broken != node);
            self.machine(node).rotten = self.replicas.is_broken(node);
        }
    }

    pub(super) fn note_snapshot_job(&mut self, node: u32, job: &SnapshotJob) -> Checked {
        match job {
            SnapshotJob::Leave { group, .. } => {
                self.tell(|| format!("node {node} leaves {group:?}"));
                self.replicas[*group].leaves(node)?;
                self.script_left(node, *group);
            }
            SnapshotJob::Begin { .. } => self.coverage.hit(Mark::SnapshotTaken),
            SnapshotJob::Fetch { offset: 0, .. } => self.coverage.hit(Mark::SnapshotSent),
            // It has begun: a newer one takes its place.
            SnapshotJob::Fetch { .. } if self.strikes_at(node, self.plan.directed.echo / 2) => {
                self.coverage.hit(Mark::SnapshotRenewed);
                self.want_snapshot(node);
            }
            _ => {}
        }
        Ok(())
    }

    /// Looks at the replicas. True if one has learned of a commit.
    pub(super) fn look(&mut self, node: u32) -> Result<bool, String> {
        let mut commits = false;
        for group in self.replicas.groups() {
            commits |= self.look_at(node, group)?;
        }
        Ok(commits)
    }

    fn look_at(&mut self, node: u32, id: GroupId) -> Result<bool, String> {
        let Some(running) = &self.machines[node as usize - 1].running else { return Ok(false) };
        let Some(group) = running.front.core().member(id) else { return Ok(false) };
        let status = group.status();
        let before = self.replicas[id].committed();
        let stepped = self.replicas[id].stepped(node, &status);
        if stepped.map_err(|what| format!("{id:?}: {what}"))? {
            self.coverage.hit(Mark::LeaderElected);
            self.tell(|| format!("node {node} leads {id:?} in term {}", status.term.0));
            if self.strikes_at(node, self.plan.directed.end_early) {
                self.end_early(node);
            }
            self.script_elected(node);
        }
        self.release_votes(node, id, &status);
        if id == GROUP && status.role == Role::Leader {
            self.look_at_change(node);
        }
        let Some(running) = &self.machines[node as usize - 1].running else { return Ok(false) };
        let Some(group) = running.front.core().member(id) else { return Ok(false) };
        let applied = group.applied().0;
        let place = (node, id.0);
        if applied % DIGEST_EVERY == 0 && self.digested.get(&place) != Some(&applied) {
            let digest = group.shard().digest();
            self.digested.insert(place, applied);
            if self.replicas[id].digest(node, applied, digest)? {
                self.coverage.hit(Mark::DigestsCompared);
            }
        }
        Ok(self.replicas[id].committed() > before)
    }

    /// A change of members is under way. Sometimes its leader is gone when some have heard of it.
    fn look_at_change(&mut self, node: u32) {
        let Some(index) = self.replicas[GROUP].change_of(node) else { return };
        if index > self.change_seen {
            self.change_seen = index;
            if self.script.is_none() && self.strikes_at(node, self.plan.directed.cut_at_change) {
                self.coverage.hit(Mark::CutLeaderInChange);
                let most = 2 * (self.plan.delay.1 + self.plan.disk.1).as_nanos() as u64;
                let after = self.rng.below(most);
                self.push_node(node, after, What::CutOff(node));
            }
        }
    }

    pub(super) fn set_timer(&mut self, node: u32) {
        /// The driver's loop sleeps no longer, whatever its deadline.
        const SLEEP_MAX: u64 = 50_000_000;
        let now = self.now;
        let machine = self.machine(node);
        let clock = machine.clock;
        let Some(running) = &mut machine.running else { return };
        if running.front.core().is_busy() {
            return self.schedule_turn(node);
        }
        let at = clock.world_time(now, running.front.deadline()).min(now + SLEEP_MAX);
        if at < running.timer || running.timer <= now {
            running.timer = at;
            self.push_node(node, at - now, What::Timer(node));
        }
    }
}

/// Is there a change of members in it?
fn changes_members(save: &Save) -> bool {
    let changes =
        |record: &Record| matches!(record, Record::Entry(entry) if entry.kind == EntryKind::Config);
    save.records.iter().any(changes)
}

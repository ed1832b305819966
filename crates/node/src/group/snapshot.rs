//! Snapshots of a group: taken a little in each turn, sent to followers in parts, installed.

use consensus::{Chunk, Event, Fetch, Index, NodeId, SnapshotMeta, Term};
use keyspace::op::Origin;
use keyspace::{Saver, Shard};

use super::{Flight, Group, NoBackup};
use crate::effects::{Effects, Pace, SnapshotJob};
use crate::gateway::Leapt;
use crate::limits::{
    MEMO_NOTE_BYTES_MAX, MEMO_NOTES_BYTES_MAX, SNAPSHOT_IDLE_PART, SNAPSHOT_IDLE_TIME,
    SNAPSHOT_LOG_BYTES_MIN, SNAPSHOT_RETRY_TIME, SNAPSHOT_STEP_BYTES,
};
use crate::message::Kind;
use crate::request::{LEAPT, Moment, Who};
use stdx::{Instant, Millis, mark, planted};

/// What an entry costs the log beside its data.
const ENTRY_OVERHEAD_BYTES: u64 = 64;

/// When snapshots are taken, and in which steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// Bytes made in one turn.
    pub step_bytes: usize,
    /// Bytes of applied entries that are worth a snapshot, for all groups of a node together and at the least.
    pub log_bytes: u64,
    /// Bytes of replies to other nodes that go along with one, at the most.
    pub note_bytes: usize,
}

impl Default for SnapshotOptions {
    fn default() -> SnapshotOptions {
        SnapshotOptions {
            step_bytes: SNAPSHOT_STEP_BYTES,
            log_bytes: SNAPSHOT_LOG_BYTES_MIN,
            note_bytes: MEMO_NOTE_BYTES_MAX,
        }
    }
}

/// How far the snapshots of this replica have come.
#[derive(Debug)]
pub(super) struct Snapshotting {
    options: SnapshotOptions,
    /// How many groups there are.
    shards: u64,
    /// The newest that is durable here.
    newest: Index,
    /// Bytes of entries applied since the newest one was begun.
    log_bytes: u64,
    /// Bytes of the newest one: a large state is worth a long log.
    size: u64,
    wanted: Option<Pace>,
    /// It is due, and waits for its turn.
    waits: bool,
    /// A part is on its way to the disk whose snapshot is none any more, since another was installed.
    stale: bool,
    /// When the last command was applied.
    written: Instant,
    /// The last one found no room: the next is tried at this time.
    retry: Option<Instant>,
    running: Option<Running>,
    /// What the shard's `changes` was at the beginning of the newest one.
    changes: u64,
    /// When the newest one of this start of the node was durable.
    taken: Option<Millis>,
}

/// How a group's snapshots stand on this node, for INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotState {
    /// One is being taken, or will be.
    pub running: bool,
    /// Changes of keys since the newest one was begun.
    pub changes: u64,
    /// When the newest one was durable, if this start of the node took one.
    pub taken: Option<Millis>,
}

/// A snapshot that is being taken.
#[derive(Debug)]
struct Running {
    meta: SnapshotMeta,
    /// None once the last part was made.
    saver: Option<Saver>,
    /// Somebody waits for it.
    wanted: Option<Pace>,
    /// A part is on its way to the disk: the next is made when it is there.
    writes: bool,
    size: u64,
    /// What `log_bytes` was at its beginning.
    log_bytes: u64,
    /// What the shard's `changes` was at its beginning.
    changes: u64,
}

impl Snapshotting {
    pub(super) fn new(newest: Index, size: u64, options: SnapshotOptions) -> Snapshotting {
        Snapshotting {
            options,
            newest,
            shards: 1,
            log_bytes: 0,
            size,
            wanted: None,
            waits: false,
            stale: false,
            written: Instant(0),
            retry: None,
            running: None,
            changes: 0,
            taken: None,
        }
    }

    /// What logs may take is shared by so many groups.
    pub(super) fn set_shards(&mut self, shards: usize) {
        self.shards = shards as u64;
    }

    pub(super) fn note_applied(&mut self, now: Instant, entry_bytes: usize) {
        self.log_bytes += entry_bytes as u64 + ENTRY_OVERHEAD_BYTES;
        self.written = now;
    }

    /// The log has found room on the disk again: there may be some for a snapshot too.
    pub(super) fn retry_now(&mut self, now: Instant) {
        self.retry = self.retry.map(|retry| retry.min(now));
    }

    /// When one is due that is not due yet: because nothing is written any more, or because the last one
    /// found no room.
    fn deadline(&self) -> Instant {
        if let Some(retry) = self.retry {
            retry
        } else if self.log_bytes < self.idle_log() {
            Instant::FAR
        } else {
            self.written + SNAPSHOT_IDLE_TIME
        }
    }

    /// Can the next part be made now?
    pub(super) fn is_ready(&self) -> bool {
        self.running.as_ref().is_some_and(Running::is_ready)
    }

    /// Bytes of replies that go along.
    fn note_bytes(&self) -> usize {
        self.options.note_bytes.min(MEMO_NOTES_BYTES_MAX / self.shards as usize)
    }

    /// A peer waits for one: for that which is being taken, or else one is taken soon, but not before its time
    /// if the last found no room.
    fn want(&mut self, pace: Pace) {
        let running = self.running.as_mut().map(|running| &mut running.wanted);
        let wanted = running.unwrap_or(&mut self.wanted);
        *wanted = (*wanted).max(Some(pace));
    }

    /// A log that is worth a snapshot.
    fn long_log(&self) -> u64 {
        self.size.max(self.options.log_bytes / self.shards)
    }

    /// A log that is worth one if nothing is written any more.
    fn idle_log(&self) -> u64 {
        self.options.log_bytes / SNAPSHOT_IDLE_PART / self.shards
    }

    /// A log that is worth one if the disk has little room for it.
    fn short_log(&self) -> u64 {
        self.size / SNAPSHOT_IDLE_PART
    }

    /// Is too little of the running snapshot made, for what was written since it began? The log of all
    /// the `groups` of this node pays for it: where each grows like this one, and each takes a snapshot in its
    /// turn, all of them must have had their turn before this one's log is long again. It is made half as fast
    /// again. And a log that grows meanwhile is run again if the node is started anew.
    fn is_behind(&self, made: u64, groups: u64) -> bool {
        let begun = self.running.as_ref().map_or(self.log_bytes, |running| running.log_bytes);
        let (grown, long) = (self.log_bytes - begun, self.long_log());
        let size = if self.size == 0 { long } else { self.size };
        let owed =
            u128::from(grown) * u128::from(groups) * 3 / 2 * u128::from(size) / u128::from(long);
        // How large the first of a start becomes is only seen as it grows.
        u128::from(made) < owed || grown >= long.max(made) / 4
    }

    fn is_due(&self, now: Instant, disk_low: bool) -> bool {
        let long = if disk_low { self.short_log() } else { self.long_log() };
        let due = self.wanted.is_some() || self.log_bytes >= long;
        self.deadline() <= now || due && self.retry.is_none()
    }
}

impl Running {
    fn is_ready(&self) -> bool {
        self.saver.is_some() && !self.writes
    }
}

impl Group {
    /// Takes a snapshot soon, however short the log is, and even if the last one has just found no room.
    pub fn want_snapshot(&mut self) {
        (self.snapshot.wanted, self.snapshot.retry) = (Some(Pace::Full), None);
    }

    /// These peers lack what only a snapshot that is still to be taken will hold. A voter counts for more
    /// than what clients notice of it. The one that is being taken may do: if not, they will say so.
    pub(super) fn lack_snapshot(&mut self, peers: &[NodeId]) {
        for peer in peers.iter().filter(|_| !planted!("wanted-snapshot-not-taken")) {
            let is_voter = self.config.is_voter(*peer);
            self.snapshot.want(if is_voter { Pace::Full } else { Pace::Steady });
        }
    }

    /// Is nothing known to be committed beyond the newest snapshot, nor in the present term?
    pub(super) fn is_blind(&self) -> bool {
        self.applied == self.snapshot.newest && self.applied_term != self.standing.1
    }

    /// How large the newest one is, as far as this node wrote it; 0 if there is none.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.snapshot.size
    }

    /// How the snapshots stand.
    pub fn snapshot_state(&self) -> SnapshotState {
        SnapshotState {
            running: self.is_saving() || self.snapshot.waits,
            changes: self.shard.changes() - self.snapshot.changes,
            taken: self.snapshot.taken,
        }
    }

    /// Is a snapshot being taken?
    pub(crate) fn is_saving(&self) -> bool {
        self.snapshot.running.is_some()
    }

    /// Is there one to take? One that joined and was not told yet who agrees would not know what to
    /// write of it, and nobody could install that.
    fn may_save(&self) -> bool {
        let is_free = !self.is_saving() && !self.snapshot.stale && !self.config.voters.is_empty();
        is_free && self.applied > self.snapshot.newest
    }

    /// When the next one is due, if there is one to take.
    pub(super) fn snapshot_deadline(&self) -> Instant {
        let may_save = !self.snapshot.waits && self.may_save();
        if may_save { self.snapshot.deadline() } else { Instant::FAR }
    }

    /// Is a snapshot due that does not wait for its turn? It waits from now on.
    pub(crate) fn asks_to_save(&mut self, now: Instant) -> bool {
        let asks =
            !self.snapshot.waits && self.may_save() && self.snapshot.is_due(now, self.disk_low);
        self.snapshot.waits |= asks;
        asks
    }

    /// Has its log grown so much since it began to wait that it is to wait no longer? Where the disk has
    /// little room, two would take it from each other.
    pub(crate) fn must_save(&self) -> bool {
        let has_room = !self.disk_low && self.snapshot.retry.is_none();
        has_room && self.snapshot.log_bytes >= 2 * self.snapshot.long_log()
    }

    /// Its turn has come. False if there is no snapshot to take any more.
    pub(crate) fn begin_snapshot(&mut self, out: &mut Effects) -> bool {
        self.snapshot.waits = false;
        if !self.may_save() {
            return false;
        }
        let config = self.config.clone();
        let meta = SnapshotMeta { index: self.applied, term: self.applied_term, config };
        let wanted = std::mem::take(&mut self.snapshot.wanted);
        let note = self.memo.note(self.snapshot.note_bytes());
        self.snapshot.running = Some(Running {
            meta: meta.clone(),
            wanted,
            saver: Some(Saver::begin_with(&mut self.shard, &note)),
            writes: false,
            size: 0,
            log_bytes: self.snapshot.log_bytes,
            changes: self.shard.changes(),
        });
        out.snapshot.push(SnapshotJob::Begin { group: self.id, meta });
        true
    }

    /// If somebody waits for one that was not begun: how fast it is to be.
    pub(crate) fn wanted_snapshot(&self) -> Option<Pace> {
        self.snapshot.wanted
    }

    /// Makes the next part of a snapshot, if the one before is written. Somebody may wait for one of another
    /// group that is `next`.
    pub(crate) fn step_snapshot(&mut self, groups: u64, next: Option<Pace>, out: &mut Effects) {
        let Some(running) = self.snapshot.running.as_mut().filter(|one| !one.writes) else {
            return;
        };
        let Some(saver) = &mut running.saver else { return };
        let step_bytes = self.snapshot.options.step_bytes;
        let mut data = Vec::with_capacity(step_bytes * 2);
        let last = saver.step(&mut self.shard, step_bytes, &mut data);
        running.size += data.len() as u64;
        running.writes = true;
        if last {
            running.saver = None;
        }
        let (made, wanted) = (running.size, running.wanted.max(next).unwrap_or(Pace::Easy));
        let pace = if self.snapshot.is_behind(made, groups) { Pace::Full } else { wanted };
        out.snapshot.push(SnapshotJob::Part { group: self.id, data, last, pace });
    }

    /// A part of the running snapshot is written; with the last one all of it is durable.
    pub(crate) fn part_written(&mut self, moment: Moment, last: bool, out: &mut Effects) {
        self.snapshot.stale = false;
        let Some(running) = &mut self.snapshot.running else { return };
        running.writes = false;
        if !last {
            return;
        }
        let running = self.snapshot.running.take().expect("it was just looked at");
        assert!(running.saver.is_none(), "the last part was written before it was made");
        self.snapshot.newest = running.meta.index;
        self.snapshot.size = running.size;
        self.snapshot.log_bytes -= running.log_bytes;
        self.snapshot.retry = None;
        self.snapshot.changes = running.changes;
        self.snapshot.taken = Some(moment.wall);
        self.step(moment, Event::Compact(running.meta), out);
    }

    /// The running snapshot could not be written (the disk is full). It is tried again after a while, or
    /// once the log finds room.
    pub(crate) fn snapshot_failed(&mut self, moment: Moment) {
        self.snapshot.stale = false;
        let Some(running) = self.snapshot.running.take() else { return };
        mark!("a snapshot finds no room");
        self.snapshot.wanted = self.snapshot.wanted.max(running.wanted);
        self.snapshot.retry = Some(moment.now + SNAPSHOT_RETRY_TIME);
        if let Some(saver) = running.saver {
            saver.abort(&mut self.shard);
        }
    }

    pub(super) fn fetch_snapshot(&mut self, fetch: Vec<Fetch>, out: &mut Effects) {
        for Fetch { target, snapshot, offset, bytes_max } in fetch {
            let (group, voter) = (self.id, self.config.is_voter(target));
            let fetch = SnapshotJob::Fetch { group, target, snapshot, offset, bytes_max, voter };
            out.snapshot.push(fetch);
        }
    }

    pub(super) fn receive_snapshot(&mut self, chunks: Vec<Chunk>, out: &mut Effects) {
        for Chunk { meta, offset, data, last } in chunks {
            let voter = self.is_voter() || meta.config.is_voter(self.node);
            let group = self.id;
            out.snapshot.push(SnapshotJob::Receive { group, meta, offset, data, last, voter });
        }
    }

    /// A snapshot of the leader is durable here and loaded, or was refused. Returns what waited at the
    /// gateway, if some of it may be in there.
    pub(crate) fn loaded(
        &mut self,
        moment: Moment,
        meta: SnapshotMeta,
        shard: Option<Shard>,
        out: &mut Effects,
    ) -> Leapt {
        let mut leapt = Leapt::default();
        let snapshot = meta.index;
        let fits = snapshot > self.applied || planted!("old-snapshot-installed");
        let ok = fits && shard.is_some();
        if !ok {
            out.discarded.extend(shard);
        } else if let Some(shard) = shard {
            self.drop_backup(NoBackup::Replaced);
            if !planted!("install-without-the-data") {
                out.discarded.push(std::mem::replace(&mut self.shard, shard));
            }
            self.note_clock(moment);
            let old = &self.snapshot;
            let stale = old.stale || old.running.as_ref().is_some_and(|running| running.writes);
            self.snapshot = Snapshotting::new(snapshot, old.size, old.options);
            self.snapshot.stale = stale;
            if let Some(slots) = self.slots.clone() {
                self.set_slots(slots);
            }
            let applied = std::mem::replace(&mut self.applied, snapshot);
            self.recall_memo(applied);
            self.set_config(moment, snapshot, meta.config);
            leapt = self.leap(moment, meta.term, out);
        }
        self.step(moment, Event::Installed { snapshot, ok }, out);
        leapt
    }

    /// The state has leapt to `applied`: what was under way before it may or may not be in it.
    fn leap(&mut self, moment: Moment, term: Term, out: &mut Effects) -> Leapt {
        self.applied_term = term;
        for Flight { batch, entry } in std::mem::take(&mut self.flight) {
            self.flight_bytes -= entry.len();
            if batch.index > self.applied && batch.term >= term {
                self.flight_bytes += entry.len();
                self.flight.push_back(Flight { batch, entry });
            } else if batch.index > self.applied {
                self.requeue(moment, batch.take_apart(&entry));
            } else {
                for again in batch.take_apart(&entry) {
                    self.answer_leapt(again.kind, again.request.number, again.request.who, out);
                }
            }
        }
        self.hand_back_held(moment, out);
        let parked = self.shard.parked_origins();
        let waits = |origin: &Origin| {
            parked.contains(origin) || self.shard.waiters().get(*origin).is_some()
        };
        for (_, ticket) in self.waits.extract_if(.., |origin, _| !waits(origin)) {
            out.replies.put(ticket, LEAPT);
        }
        if planted!("retry-behind-a-snapshot") {
            self.gateway.resolve(Term(term.0 + 1));
            return Leapt::default();
        }
        let leapt = self.gateway.leap();
        if !leapt.pending.is_empty() {
            mark!("a snapshot leaps over requests that were sent");
        }
        leapt
    }

    fn answer_leapt(&mut self, kind: Kind, number: u64, who: Who, out: &mut Effects) {
        let request = crate::batch::Request { who, number };
        if kind == Kind::Write {
            self.answer(request, LEAPT, out);
        } else {
            self.answer(request, crate::request::NO_LEADER, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that has just begun.
    fn running(state: &Snapshotting) -> Running {
        Running {
            meta: SnapshotMeta { index: Index(1), term: Term(1), config: Default::default() },
            wanted: None,
            saver: None,
            writes: false,
            size: 0,
            log_bytes: state.log_bytes,
            changes: 0,
        }
    }

    #[test]
    fn who_waits_for_a_snapshot_waits_for_the_one_that_is_being_taken() {
        let mut state = Snapshotting::new(Index(0), 0, SnapshotOptions::default());
        state.want(Pace::Steady);
        assert!(state.wanted == Some(Pace::Steady) && state.is_due(Instant(0), false));
        let wanted = state.wanted.take();
        state.running = Some(Running { wanted, ..running(&state) });
        for pace in [Pace::Steady, Pace::Full, Pace::Steady] {
            state.want(pace);
        }
        assert_eq!(state.wanted, None, "no other is taken for it");
        assert_eq!(state.running.unwrap().wanted, Some(Pace::Full));
    }

    #[test]
    fn a_snapshot_keeps_up_with_what_all_groups_are_written_meanwhile() {
        let mut state = Snapshotting::new(Index(0), 0, SnapshotOptions::default());
        state.set_shards(16);
        // A log of 4 MiB is worth a snapshot, whose last one had 1 MiB.
        state.size = 1 << 20;
        assert_eq!(state.long_log(), 4 << 20);
        assert!(!state.is_behind(0, 16), "nothing was written");
        let step = 1 << 14;
        state.running = Some(running(&state));
        state.note_applied(Instant(1), step - ENTRY_OVERHEAD_BYTES as usize);
        // All 16 have grown by 256 KiB, a sixteenth of what is worth a snapshot.
        let owed = (1 << 20) / 16 * 3 / 2;
        assert!(state.is_behind(owed - 1, 16));
        assert!(!state.is_behind(owed, 16));
        assert!(!state.is_behind(owed / 4, 4), "the others are on other nodes");
        state.note_applied(Instant(1), 1 << 20);
        assert!(state.is_behind(1 << 20, 1), "the log has grown by a quarter of a long one");
    }
}

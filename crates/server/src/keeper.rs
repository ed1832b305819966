//! What is kept on the disk, and how: saves into the log, jobs into snapshots, without threads.
//!
//! ```text
//! Save ────────▶ LogKeeper ── append, commit ──▶ Event::Saved, DiskFull
//!                   ▲ trim, reset
//! SnapshotJob ─▶ SnapshotKeeper ───────────────▶ After: Tell · Trim · Reset
//! ```
//!
//! The driver runs each keeper on a thread of its own, the simulator both in simulated time.
//!
//! What always holds: `Saved` follows only what is durable; a full disk is told and waited out; any
//! other error is for the node to die of, before it acknowledges anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Index, SnapshotMeta, Term};
use keyspace::{Loader, Shard};
use node::{Event, GroupId, Save, SnapshotJob, message};
use stdx::codec::Reader;
use stdx::{mark, planted};
use storage::disk::Disk;
use storage::snapshot::{Meta, Progress, Receiver, Snapshot, Snapshots, Writer};
use storage::wal::{Prepare, Prepared, Record, Wal};
use storage::{Error, GroupId as StoredGroup};

use crate::presence;
use crate::repair;

/// How long a full disk is left alone before the next try.
pub(crate) const FULL_INTERVAL: Duration = Duration::from_millis(100);

/// How much of what was handed over found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// All of it is durable.
    All,
    /// What found room is durable, the rest waits for the next commit.
    Some,
    /// Nothing of it is durable; the next commit tries again.
    None,
}

/// The log and what waits for it.
#[derive(Debug)]
pub struct LogKeeper {
    wal: Wal,
    /// Saves that were not appended yet, in their order; nothing overtakes them.
    waiting: VecDeque<Save>,
    /// Logs that are void, and are not yet noted so.
    resets: VecDeque<(GroupId, u64, u64)>,
    /// What the next commit will have made durable.
    saved: BTreeMap<GroupId, u64>,
    full: bool,
}

impl LogKeeper {
    /// Keeps an open log.
    pub fn new(wal: Wal) -> LogKeeper {
        LogKeeper {
            wal,
            waiting: VecDeque::new(),
            resets: VecDeque::new(),
            saved: BTreeMap::new(),
            full: false,
        }
    }

    /// Takes saves, to be durable with the next commit.
    pub fn save(&mut self, saves: Vec<Save>) {
        self.waiting.extend(saves);
    }

    /// Does anything wait for room?
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.resets.is_empty() || !self.saved.is_empty()
    }

    /// A snapshot covers the log up to `index`. Without room for the note the log stays longer,
    /// until the next snapshot.
    pub fn trim(&mut self, group: GroupId, index: u64, term: u64) -> Result<(), Error> {
        let trim = Record::Trim { group: stored(group), index, term };
        if !spare_full(self.wal.append(&trim))? {
            return Ok(());
        }
        // Entries that wait for room may be committed, applied and in a snapshot already.
        let covered = |record: &consensus::Record| matches!(record, consensus::Record::Entry(entry) if entry.index.0 <= index);
        for save in self.waiting.iter_mut().filter(|save| save.group == group) {
            if save.records.iter().any(covered) {
                mark!("entries that wait for room are in a snapshot already");
            }
            save.records.retain(|record| !covered(record));
        }
        Ok(())
    }

    /// A snapshot has taken the place of the whole log; so it is once the next commit is durable.
    /// Entries that wait for room were of the log that is void.
    pub fn reset(&mut self, group: GroupId, index: u64, term: u64) {
        for save in self.waiting.iter_mut().filter(|save| save.group == group) {
            save.records.retain(|record| !matches!(record, consensus::Record::Entry(_)));
        }
        if !planted!("install-keeps-the-log") {
            self.resets.push_back((group, index, term));
        }
    }

    /// Appends what waits and makes all of it durable; says so in `out`.
    pub fn commit(&mut self, out: &mut Vec<Event>) -> Result<Room, Error> {
        let noted = self.append_resets()?;
        let all = noted && self.append_waiting()?;
        if !noted || !spare_full(self.wal.commit())? {
            self.note_full(true, out);
            return Ok(Room::None);
        }
        self.note_full(!all, out);
        for (group, number) in std::mem::take(&mut self.saved) {
            out.push(Event::Saved { group, number });
        }
        Ok(if all { Room::All } else { Room::Some })
    }

    /// Moves idle groups out of old segments. The result, if any, is the making of the next
    /// segments: run it anywhere and hand it to `accept`.
    pub fn tidy(&mut self) -> Result<Option<Prepare>, Error> {
        spare_full(self.wal.tidy().map(|_| ()))?;
        Ok(self.wal.prepare())
    }

    /// Takes the next segments.
    pub fn accept(&mut self, prepared: Prepared) -> Result<(), Error> {
        spare_full(self.wal.accept(prepared)).map(|_| ())
    }

    /// Leaves a proof that the log of an idle node is whole.
    pub fn seal(&mut self) -> Result<(), Error> {
        self.wal.seal()
    }

    /// False if there was no room for all.
    fn append_resets(&mut self) -> Result<bool, Error> {
        while let Some((group, index, term)) = self.resets.front().copied() {
            let group = stored(group);
            if !spare_full(self.wal.append(&Record::Reset { group, index, term }))? {
                return Ok(false);
            }
            self.resets.pop_front();
        }
        Ok(true)
    }

    /// False if there was no room for all.
    fn append_waiting(&mut self) -> Result<bool, Error> {
        while let Some(save) = self.waiting.front_mut() {
            match append_save(&mut self.wal, save)? {
                Some(_) if planted!("full-disk-ignored") => {
                    self.saved.insert(save.group, save.number);
                    self.waiting.pop_front();
                }
                Some(place) => {
                    save.records.drain(..place);
                    return Ok(false);
                }
                None => {
                    self.saved.insert(save.group, save.number);
                    self.waiting.pop_front();
                }
            }
        }
        Ok(true)
    }

    fn note_full(&mut self, full: bool, out: &mut Vec<Event>) {
        if full != self.full {
            self.full = full;
            out.push(Event::DiskFull(full));
        }
    }
}

/// Appends the records of a save; the place of the first that found no room.
fn append_save(wal: &mut Wal, save: &Save) -> Result<Option<usize>, Error> {
    let group = stored(save.group);
    for (place, record) in save.records.iter().enumerate() {
        let record = match record {
            consensus::Record::Entry(entry) => Record::Entry {
                group,
                term: entry.term.0,
                index: entry.index.0,
                kind: message::kind_byte(entry.kind),
                data: &entry.data,
            },
            consensus::Record::Vote { term, vote } => {
                Record::Vote { group, term: term.0, vote: vote.map(|node| node.0) }
            }
        };
        if !spare_full(wal.append(&record))? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// False if there was no room for it.
fn spare_full(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::Full { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What follows from a job on snapshots.
#[derive(Debug)]
pub enum After {
    /// For the core.
    Tell(Event),
    /// There was no room: the same after a while.
    Again(SnapshotJob),
    /// The log is covered up to here.
    Trim { group: GroupId, index: u64, term: u64 },
    /// The log is void; `then` is for the core once that is durable.
    Reset { group: GroupId, index: u64, term: u64, then: Event },
}

/// The snapshots, those being written and those that arrive.
#[derive(Debug)]
pub struct SnapshotKeeper {
    snapshots: Snapshots,
    /// The data directory.
    disk: Arc<dyn Disk>,
    writing: BTreeMap<GroupId, (Writer, u64, u64)>,
    receiving: BTreeMap<GroupId, Receiver>,
}

impl SnapshotKeeper {
    /// Keeps an open folder of snapshots of this data directory.
    pub fn new(snapshots: Snapshots, disk: Arc<dyn Disk>) -> SnapshotKeeper {
        SnapshotKeeper { snapshots, disk, writing: BTreeMap::new(), receiving: BTreeMap::new() }
    }

    /// Does one job; the jobs of a group come in their order.
    pub fn work(&mut self, job: SnapshotJob, out: &mut Vec<After>) -> Result<(), Error> {
        match job {
            SnapshotJob::Begin { group, meta } => self.begin(group, &meta, out),
            SnapshotJob::Part { group, data, last, .. } => self.part(group, &data, last, out),
            SnapshotJob::Fetch { group, target, snapshot, offset, bytes_max } => {
                let newest = self.snapshots.newest(stored(group));
                let found = newest.filter(|found| found.meta().index == snapshot.0);
                let data = found.map(|found| found.read(offset, bytes_max)).transpose()?;
                let data = Bytes::from(data.unwrap_or_default());
                let mut last = found.is_some_and(|f| offset + data.len() as u64 == f.bytes());
                last |= offset > 0 && data.is_empty() && planted!("truncated-snapshot-taken");
                let event = Event::Fetched { group, target, snapshot, offset, data, last };
                out.push(After::Tell(event));
                Ok(())
            }
            SnapshotJob::Receive { group, meta, offset, data, last } => {
                let chunk = consensus::Chunk { meta, offset, data, last };
                self.receive(group, chunk, out)
            }
            SnapshotJob::Leave { group, reached } => self.leave(group, reached, out),
        }
    }

    /// Everything of the group goes, but for its vote.
    fn leave(
        &mut self,
        group: GroupId,
        reached: (Term, Index),
        out: &mut Vec<After>,
    ) -> Result<(), Error> {
        match presence::leave(&*self.disk, stored(group), reached) {
            Ok(()) => {}
            Err(Error::Full { .. }) => {
                mark!("a replica goes, and there is no room to note it");
                out.push(After::Again(SnapshotJob::Leave { group, reached }));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        // If it lacked something, that is gone with the rest.
        repair::done(&*self.disk, stored(group));
        self.writing.remove(&group);
        self.receiving.remove(&group);
        self.snapshots.forget(stored(group))?;
        let (index, term, then) = (0, 0, Event::Left { group });
        out.push(After::Reset { group, index, term, then });
        Ok(())
    }

    fn begin(
        &mut self,
        group: GroupId,
        meta: &SnapshotMeta,
        out: &mut Vec<After>,
    ) -> Result<(), Error> {
        let mut about = Vec::new();
        message::put_meta(&mut about, meta);
        let (index, term) = (meta.index.0, meta.term.0);
        let begun = self.snapshots.begin(Meta { group: stored(group), index, term, data: about });
        match begun {
            Ok(writer) => {
                self.writing.insert(group, (writer, index, term));
                if planted!("trim-before-snapshot") {
                    out.push(After::Trim { group, index, term });
                }
                Ok(())
            }
            Err(error) => self.give_up(group, error, out),
        }
    }

    fn part(
        &mut self,
        group: GroupId,
        data: &[u8],
        last: bool,
        out: &mut Vec<After>,
    ) -> Result<(), Error> {
        let Some((writer, ..)) = self.writing.get_mut(&group) else { return Ok(()) };
        if let Err(error) = writer.write(data) {
            return self.give_up(group, error, out);
        }
        if last {
            let Some((writer, index, term)) = self.writing.remove(&group) else { return Ok(()) };
            match writer.finish().and_then(|snapshot| self.snapshots.keep(snapshot)) {
                Ok(()) => {}
                Err(error) => return self.give_up(group, error, out),
            }
            out.push(After::Trim { group, index, term });
        }
        out.push(After::Tell(Event::PartWritten { group, last }));
        Ok(())
    }

    /// A full disk costs the snapshot, anything else the node.
    fn give_up(&mut self, group: GroupId, error: Error, out: &mut Vec<After>) -> Result<(), Error> {
        self.writing.remove(&group);
        if !error.is_recoverable() {
            return Err(error);
        }
        out.push(After::Tell(Event::SnapshotFailed { group }));
        Ok(())
    }

    fn receive(
        &mut self,
        group: GroupId,
        chunk: consensus::Chunk,
        out: &mut Vec<After>,
    ) -> Result<(), Error> {
        let consensus::Chunk { meta, offset, data, last } = chunk;
        if offset == 0 {
            self.receiving.insert(group, self.snapshots.receive(stored(group)));
        }
        let Some(receiver) = self.receiving.get_mut(&group) else {
            // A part before this one was refused. The replica waits for an answer to the last.
            mark!("a part of a snapshot comes behind one that was refused");
            if last {
                out.push(After::Tell(Event::Loaded { group, meta, shard: None }));
            }
            return Ok(());
        };
        let snapshot = match receiver.chunk(offset, &data, last) {
            Ok(Progress::Here(_)) if !last => return Ok(()),
            Ok(Progress::Done(snapshot)) => Some(*snapshot),
            Ok(Progress::Here(_)) | Err(Error::Corrupt { .. } | Error::Full { .. }) => None,
            Err(error) => return Err(error),
        };
        self.receiving.remove(&group);
        let installed = match snapshot.filter(|snapshot| snapshot.meta().index == meta.index.0) {
            Some(snapshot) => self.install(snapshot)?,
            None => None,
        };
        let Some((shard, index, term)) = installed else {
            out.push(After::Tell(Event::Loaded { group, meta, shard: None }));
            return Ok(());
        };
        let then = Event::Loaded { group, meta, shard: Some(Box::new(shard)) };
        out.push(After::Reset { group, index, term, then });
        Ok(())
    }

    /// The snapshot takes the place of everything that the group has here.
    fn install(&mut self, snapshot: Snapshot) -> Result<Option<(Shard, u64, u64)>, Error> {
        let bytes = snapshot.load_all()?;
        let Ok(shard) = Loader::load(&bytes) else { return Ok(None) };
        let (index, term) = (snapshot.meta().index, snapshot.meta().term);
        self.snapshots.keep(snapshot)?;
        Ok(Some((shard, index, term)))
    }
}

fn stored(group: GroupId) -> StoredGroup {
    StoredGroup(group.0)
}

/// What a snapshot says about itself, read back.
pub fn snapshot_meta(snapshot: &Snapshot) -> Option<SnapshotMeta> {
    let mut reader = Reader::new(&snapshot.meta().data);
    message::read_meta(&mut reader).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{After, LogKeeper, Room, SnapshotKeeper};
    use consensus::{Entry, EntryKind, Index, Record, Term};
    use node::{Event, GroupId, Save, SnapshotJob};
    use storage::disk::SimDisk;
    use storage::store::Store;
    use storage::wal::Options;

    const GROUP: GroupId = GroupId(0);

    fn save(index: u64) -> Save {
        let data = vec![7; 4096].into();
        let entry = Entry { index: Index(index), term: Term(1), kind: EntryKind::Command, data };
        Save { group: GROUP, number: index, records: vec![Record::Entry(entry)] }
    }

    #[test]
    fn entries_that_wait_for_room_are_left_out_once_a_snapshot_holds_them() {
        let disk = SimDisk::new(1);
        let options = Options { segment_bytes: 64 * 1024 };
        let (store, _) = Store::open(Arc::new(disk.clone()), options).unwrap();
        let mut keeper = LogKeeper::new(store.wal);
        disk.set_capacity(Some(disk.used()));
        let mut events = Vec::new();
        let full = (1..1_000).find(|index| {
            keeper.save(vec![save(*index)]);
            keeper.commit(&mut events).unwrap() != Room::All
        });
        let full = full.expect("the disk is full at last");
        stdx::marks::take();
        keeper.trim(GROUP, full, 1).unwrap();
        let reached = stdx::marks::take();
        assert!(reached.contains_key("entries that wait for room are in a snapshot already"));
        disk.set_capacity(None);
        assert_eq!(keeper.commit(&mut events).unwrap(), Room::All);
        keeper.save(vec![save(full + 1)]);
        assert_eq!(keeper.commit(&mut events).unwrap(), Room::All);
    }

    #[test]
    fn a_part_of_a_snapshot_that_has_no_beginning_is_answered_if_it_is_the_last() {
        let disk = SimDisk::new(1);
        let options = Options { segment_bytes: 64 * 1024 };
        let (store, _) = Store::open(Arc::new(disk.clone()), options).unwrap();
        let mut keeper = SnapshotKeeper::new(store.snapshots, Arc::new(disk.clone()));
        let part = |last| {
            let (meta, data) = (consensus::SnapshotMeta::default(), vec![1].into());
            SnapshotJob::Receive { group: GROUP, meta, offset: 5, data, last }
        };
        let mut after = Vec::new();
        stdx::marks::take();
        keeper.work(part(false), &mut after).unwrap();
        assert!(after.is_empty());
        keeper.work(part(true), &mut after).unwrap();
        assert!(matches!(after[..], [After::Tell(Event::Loaded { shard: None, .. })]));
        let reached = stdx::marks::take();
        assert!(reached.contains_key("a part of a snapshot comes behind one that was refused"));
    }

    #[test]
    fn entries_that_wait_for_room_are_void_once_the_log_is_reset() {
        let disk = SimDisk::new(1);
        let options = Options { segment_bytes: 64 * 1024 };
        let (store, _) = Store::open(Arc::new(disk.clone()), options).unwrap();
        let mut keeper = LogKeeper::new(store.wal);
        disk.set_capacity(Some(disk.used()));
        let mut events = Vec::new();
        let full = (1..).find(|index| {
            keeper.save(vec![save(*index)]);
            keeper.commit(&mut events).unwrap() != Room::All
        });
        assert!(full.is_some_and(|index| index < 1_000));
        keeper.save(vec![save(full.unwrap() + 1)]);
        keeper.reset(GROUP, 1_000, 2);
        disk.set_capacity(None);
        assert_eq!(keeper.commit(&mut events).unwrap(), Room::All);
        keeper.save(vec![save(1_001)]);
        assert_eq!(keeper.commit(&mut events).unwrap(), Room::All);
    }
}

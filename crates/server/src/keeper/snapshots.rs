//! Jobs into snapshots: those being written, those that arrive, those that become shards.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use consensus::{Index, SnapshotMeta, Term};
use keyspace::{Loader, Shard};
use node::{Event, GroupId, SnapshotJob, message};
use stdx::codec::Reader;
use stdx::{mark, planted};
use storage::Error;
use storage::disk::Disk;
use storage::snapshot::{Meta, Progress, Reading, Receiver, Snapshot, Snapshots, Writer};

use super::stored;
use crate::presence;
use crate::repair;

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
    /// More of this snapshot is to be loaded, after a rest unless this is a voter: [`Work::Load`].
    Load { group: GroupId, index: Index, voter: bool },
}

/// What the snapshots' thread has to do.
#[derive(Debug)]
pub enum Work {
    Job(SnapshotJob),
    /// The next step of loading what came from peers: asked for by [`After::Load`].
    Load,
}

/// The snapshots, those being written and those that arrive.
#[derive(Debug)]
pub struct SnapshotKeeper {
    snapshots: Snapshots,
    /// The data directory.
    disk: Arc<dyn Disk>,
    writing: BTreeMap<GroupId, (Writer, u64, u64)>,
    receiving: BTreeMap<GroupId, Receiver>,
    /// What came from peers and is durable, to be loaded one after the other.
    loading: VecDeque<Loading>,
    /// Was the next step of it asked for?
    load_is_due: bool,
    /// Bytes of a snapshot that are loaded in one step.
    load_step_bytes: usize,
}

/// A snapshot that is becoming a shard.
#[derive(Debug)]
struct Loading {
    group: GroupId,
    meta: SnapshotMeta,
    snapshot: Snapshot,
    voter: bool,
    stage: Stage,
}

impl Loading {
    /// Voters first, and small ones before large ones.
    fn rank(&self) -> (bool, u64) {
        (!self.voter, self.snapshot.bytes())
    }
}

#[derive(Debug)]
enum Stage {
    Reads {
        reading: Reading,
        bytes: Vec<u8>,
    },
    Loads(Loader<Vec<u8>>),
    /// Nothing comes of it.
    Malformed,
    Loaded(Shard),
}

impl SnapshotKeeper {
    /// Keeps an open folder of snapshots of this data directory.
    pub fn new(
        snapshots: Snapshots,
        disk: Arc<dyn Disk>,
        load_step_bytes: usize,
    ) -> SnapshotKeeper {
        let (writing, receiving) = (BTreeMap::new(), BTreeMap::new());
        let (loading, load_is_due) = (VecDeque::new(), false);
        SnapshotKeeper {
            snapshots,
            disk,
            writing,
            receiving,
            loading,
            load_is_due,
            load_step_bytes,
        }
    }

    /// Does one piece of work; the jobs of a group come in their order.
    pub fn work(&mut self, work: Work, out: &mut Vec<After>) -> Result<(), Error> {
        let job = match work {
            Work::Job(job) => job,
            Work::Load => return self.load(out),
        };
        match job {
            SnapshotJob::Begin { group, meta } => self.begin(group, &meta, out),
            SnapshotJob::Part { group, data, last, .. } => self.part(group, &data, last, out),
            SnapshotJob::Fetch { group, target, snapshot, offset, bytes_max, .. } => {
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
            SnapshotJob::Receive { group, meta, offset, data, last, voter } => {
                let chunk = consensus::Chunk { meta, offset, data, last };
                self.receive(group, chunk, voter, out)
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
        self.loading.retain(|loading| loading.group != group);
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
        voter: bool,
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
        let Some(snapshot) = snapshot else {
            out.push(After::Tell(Event::Loaded { group, meta, shard: None }));
            return Ok(());
        };
        if snapshot.meta().index != meta.index.0 {
            self.refuse(group, meta, &snapshot, out)?;
            return Ok(());
        }
        let stage = Stage::Reads { reading: Reading::default(), bytes: Vec::new() };
        let loading = Loading { group, meta, snapshot, voter, stage };
        let later = |other: &Loading| other.rank() > loading.rank();
        let place = self.loading.iter().position(later).unwrap_or(self.loading.len());
        self.loading.insert(place, loading);
        self.ask_to_load(out);
        Ok(())
    }

    /// What came is not what it was said to be, or no state at all: a restart must not take it.
    fn refuse(
        &self,
        group: GroupId,
        meta: SnapshotMeta,
        snapshot: &Snapshot,
        out: &mut Vec<After>,
    ) -> Result<(), Error> {
        let kept = self.snapshots.newest(stored(group)).map(|newest| newest.meta().index);
        if kept != Some(snapshot.meta().index) {
            self.snapshots.discard(snapshot)?;
        }
        out.push(After::Tell(Event::Loaded { group, meta, shard: None }));
        Ok(())
    }

    /// The group of which the next step of a load is.
    pub fn loads_next(&self) -> Option<GroupId> {
        self.loading.front().map(|loading| loading.group)
    }

    /// One step at a time, however many wait.
    fn ask_to_load(&mut self, out: &mut Vec<After>) {
        if !self.load_is_due
            && let Some(Loading { group, meta, voter, .. }) = self.loading.front()
        {
            self.load_is_due = true;
            out.push(After::Load { group: *group, index: meta.index, voter: *voter });
        }
    }

    /// Loads some more of the first that waits. What waited may be of a group that has left since.
    fn load(&mut self, out: &mut Vec<After>) -> Result<(), Error> {
        self.load_is_due = false;
        let Some(Loading { group, meta, snapshot, voter, stage }) = self.loading.pop_front() else {
            return Ok(());
        };
        match stage.step(&snapshot, self.load_step_bytes)? {
            Stage::Malformed => self.refuse(group, meta, &snapshot, out)?,
            // It takes the place of everything that the group has here.
            Stage::Loaded(shard) => {
                let (index, term) = (meta.index.0, snapshot.meta().term);
                self.snapshots.keep(snapshot)?;
                let then = Event::Loaded { group, meta, shard: Some(Box::new(shard)) };
                out.push(After::Reset { group, index, term, then });
            }
            stage => self.loading.push_front(Loading { group, meta, snapshot, voter, stage }),
        }
        self.ask_to_load(out);
        Ok(())
    }
}

impl Stage {
    fn step(self, snapshot: &Snapshot, bytes_max: usize) -> Result<Stage, Error> {
        Ok(match self {
            Stage::Reads { mut reading, mut bytes } => {
                bytes.reserve_exact(snapshot.bytes() as usize - bytes.len());
                if snapshot.read_on(&mut reading, |block| bytes.extend_from_slice(block))? {
                    Stage::Reads { reading, bytes }
                } else {
                    Loader::begin(bytes).map_or(Stage::Malformed, Stage::Loads)
                }
            }
            Stage::Loads(mut loader) => match loader.step(bytes_max) {
                Ok(false) => Stage::Loads(loader),
                Ok(true) => Stage::Loaded(loader.finish()),
                Err(_) => Stage::Malformed,
            },
            done => done,
        })
    }
}

/// What a snapshot says about itself, read back.
pub fn snapshot_meta(snapshot: &Snapshot) -> Option<SnapshotMeta> {
    let mut reader = Reader::new(&snapshot.meta().data);
    message::read_meta(&mut reader).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{After, SnapshotKeeper, Work};
    use consensus::{Index, NodeId, SnapshotMeta, Term};
    use keyspace::{Saver, Shard};
    use node::{Event, GroupId, Pace, SnapshotJob};
    use storage::disk::{Disk, SimDisk};
    use storage::store::Store;
    use storage::wal::Options;

    const GROUP: GroupId = GroupId(0);

    #[test]
    fn a_part_of_a_snapshot_that_has_no_beginning_is_answered_if_it_is_the_last() {
        let mut keeper = snapshots(&SimDisk::new(1));
        let part = |last| {
            let (meta, data) = (consensus::SnapshotMeta::default(), vec![1].into());
            SnapshotJob::Receive { group: GROUP, meta, offset: 5, data, last, voter: false }
        };
        let mut after = Vec::new();
        stdx::marks::take();
        keeper.work(Work::Job(part(false)), &mut after).unwrap();
        assert!(after.is_empty());
        keeper.work(Work::Job(part(true)), &mut after).unwrap();
        assert!(matches!(after[..], [After::Tell(Event::Loaded { shard: None, .. })]));
        let reached = stdx::marks::take();
        assert!(reached.contains_key("a part of a snapshot comes behind one that was refused"));
    }

    fn snapshots(disk: &SimDisk) -> SnapshotKeeper {
        let options = Options { segment_bytes: 64 * 1024 };
        let (store, _) = Store::open(Arc::new(disk.clone()), options).unwrap();
        SnapshotKeeper::new(store.snapshots, Arc::new(disk.clone()), 1)
    }

    /// A snapshot of `index`, written by this node.
    fn write(keeper: &mut SnapshotKeeper, index: u64, state: &[u8], after: &mut Vec<After>) {
        let meta = meta(index);
        keeper.work(Work::Job(SnapshotJob::Begin { group: GROUP, meta }), after).unwrap();
        let (data, last, pace) = (state.to_vec(), true, Pace::Easy);
        let part = SnapshotJob::Part { group: GROUP, data, last, pace };
        keeper.work(Work::Job(part), after).unwrap();
    }

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta { index: Index(index), term: Term(1), ..SnapshotMeta::default() }
    }

    fn state() -> Vec<u8> {
        let (mut shard, mut bytes) = (Shard::new(), Vec::new());
        let mut saver = Saver::begin(&mut shard);
        while !saver.step(&mut shard, 512, &mut bytes) {}
        bytes
    }

    /// What another node sends of its snapshot of `index`.
    fn sent(index: u64, state: &[u8]) -> Work {
        sent_as(index, index, state)
    }

    fn sent_as(said: u64, index: u64, state: &[u8]) -> Work {
        let disk = SimDisk::new(2);
        let mut keeper = snapshots(&disk);
        let (group, target, snapshot, mut after) = (GROUP, NodeId(1), Index(index), Vec::new());
        write(&mut keeper, index, state, &mut after);
        after.clear();
        let (offset, bytes_max, voter) = (0, 1 << 20, false);
        let fetch = SnapshotJob::Fetch { group, target, snapshot, offset, bytes_max, voter };
        keeper.work(Work::Job(fetch), &mut after).unwrap();
        let Some(After::Tell(Event::Fetched { data, last, .. })) = after.pop() else {
            panic!("{after:?}")
        };
        assert!(last);
        let (meta, voter) = (meta(said), false);
        Work::Job(SnapshotJob::Receive { group, meta, offset, data, last, voter })
    }

    #[test]
    fn a_snapshot_that_came_is_loaded_in_steps_and_outlives_an_older_one_that_is_finished_meanwhile()
     {
        let disk = SimDisk::new(1);
        let (mut keeper, mut after) = (snapshots(&disk), Vec::new());
        keeper.work(sent(80, &state()), &mut after).unwrap();
        assert!(matches!(
            after[..],
            [After::Load { group: GROUP, index: Index(80), voter: false }]
        ));
        write(&mut keeper, 50, &state(), &mut after);
        after.clear();
        let mut steps = 0;
        while !matches!(after.last(), Some(After::Reset { .. })) {
            after.clear();
            keeper.work(Work::Load, &mut after).unwrap();
            steps += 1;
            assert!(steps < 100 && !after.is_empty());
        }
        assert!(steps > 2, "{steps}");
        let Some(After::Reset { index: 80, then: Event::Loaded { shard: Some(_), .. }, .. }) =
            after.pop()
        else {
            panic!("{after:?}")
        };
        drop(keeper);
        let options = Options { segment_bytes: 64 * 1024 };
        let (store, _) = Store::open(Arc::new(disk.clone()), options).unwrap();
        let newest = store.snapshots.newest(super::stored(GROUP)).unwrap();
        assert_eq!(newest.meta().index, 80);
        assert!(newest.load_all().is_ok());
    }

    #[test]
    fn what_waits_to_be_loaded_asks_for_one_step_at_a_time_and_goes_with_its_group() {
        let disk = SimDisk::new(1);
        let (mut keeper, mut after) = (snapshots(&disk), Vec::new());
        keeper.work(sent(80, &state()), &mut after).unwrap();
        keeper.work(sent(90, &state()), &mut after).unwrap();
        assert_eq!(after.len(), 1, "{after:?}");
        after.clear();
        let leave = SnapshotJob::Leave { group: GROUP, reached: (Term(1), Index(90)) };
        keeper.work(Work::Job(leave), &mut after).unwrap();
        after.clear();
        keeper.work(Work::Load, &mut after).unwrap();
        assert!(after.is_empty(), "{after:?}");
        assert_eq!(disk.list("snapshots").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_snapshot_is_refused_and_removed() {
        let disk = SimDisk::new(1);
        let (mut keeper, mut after) = (snapshots(&disk), Vec::new());
        keeper.work(sent(80, b"no state of a shard"), &mut after).unwrap();
        while matches!(after.last(), Some(After::Load { .. })) {
            after.clear();
            keeper.work(Work::Load, &mut after).unwrap();
        }
        assert!(matches!(after[..], [After::Tell(Event::Loaded { shard: None, .. })]));
        assert_eq!(disk.list("snapshots").unwrap(), Vec::<String>::new());
        after.clear();
        keeper.work(sent_as(80, 90, &state()), &mut after).unwrap();
        assert!(matches!(after[..], [After::Tell(Event::Loaded { shard: None, .. })]));
        assert_eq!(disk.list("snapshots").unwrap(), Vec::<String>::new());
    }
}

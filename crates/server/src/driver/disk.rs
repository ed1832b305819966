//! The disk's threads: one for the log, so that the next batch is built while the last is being
//! synced, and one for snapshots, which may be large.
//!
//! ```text
//! loop ── Save ──▶ log thread: append all that waits, one write, one fdatasync ──▶ Saved
//!   │                 ▲ Trim, Reset
//!   └─ SnapshotJob ─▶ snapshot thread ──▶ PartWritten, Fetched, Loaded
//! ```
//!
//! A full disk is waited out, and the loop is told; any other error ends the node, before it can
//! acknowledge anything that it does not know to be durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use consensus::SnapshotMeta;
use keyspace::Loader;
use node::{Event, GroupId, Save, SnapshotJob, message};
use stdx::codec::Reader;
use storage::snapshot::{Meta, Progress, Snapshot, Snapshots, Writer};
use storage::wal::{Prepared, Record, Wal};
use storage::{Error, GroupId as StoredGroup};

use super::{Notice, Notifier};

/// How long a full disk is left alone before the next try.
const FULL_INTERVAL: Duration = Duration::from_millis(100);

/// An idle log is sealed after this long.
const IDLE_INTERVAL: Duration = Duration::from_millis(200);

enum LogJob {
    Save(Vec<Save>),
    Trim {
        group: GroupId,
        index: u64,
        term: u64,
    },
    /// A snapshot has taken the place of the whole log; answered once that is durable.
    Reset {
        group: GroupId,
        index: u64,
        term: u64,
        done: Sender<()>,
    },
    Prepared(Prepared),
    Close,
}

/// The thread of the log.
#[derive(Debug)]
pub struct LogThread {
    jobs: Sender<LogJob>,
    thread: Option<JoinHandle<()>>,
}

impl LogThread {
    /// Begins to work on an open log.
    pub fn start(wal: Wal, notifier: Notifier) -> LogThread {
        let (jobs, queue) = mpsc::channel();
        let own = jobs.clone();
        let run = move || Log { wal, notifier, jobs: own, full: false }.run(&queue);
        let thread = thread::Builder::new().name("log".to_owned()).spawn(run);
        LogThread { jobs, thread: Some(thread.expect("a thread can be started at the start")) }
    }

    /// Makes these durable.
    pub(super) fn save(&self, saves: Vec<Save>) {
        // The thread ends only after it has told the loop of a fatal error.
        let _ = self.jobs.send(LogJob::Save(saves));
    }

    /// Finishes what waits, and ends.
    pub(super) fn close(&mut self) {
        let _ = self.jobs.send(LogJob::Close);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the log's thread works with.
struct Log {
    wal: Wal,
    notifier: Notifier,
    jobs: Sender<LogJob>,
    full: bool,
}

/// What the next commit will have made durable.
#[derive(Default)]
struct Batch {
    saved: BTreeMap<GroupId, u64>,
    resets: Vec<Sender<()>>,
    closes: bool,
}

impl Log {
    fn run(mut self, queue: &Receiver<LogJob>) {
        if let Err(error) = self.work(queue) {
            self.notifier.send(Notice::Fatal(error.to_string()));
        }
    }

    fn work(&mut self, queue: &Receiver<LogJob>) -> Result<(), Error> {
        // Saves that found no room, in their order; nothing overtakes them.
        let mut waiting = VecDeque::new();
        loop {
            let mut next = match queue.recv_timeout(IDLE_INTERVAL) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Disconnected) => return self.wal.seal(),
                Err(RecvTimeoutError::Timeout) if waiting.is_empty() => {
                    self.wal.seal()?;
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => None,
            };
            let mut batch = Batch::default();
            while let Some(job) = next {
                self.take(job, &mut waiting, &mut batch)?;
                next = queue.try_recv().ok();
            }
            if !self.commit(&mut waiting, &mut batch)? {
                thread::sleep(FULL_INTERVAL);
            }
            if batch.closes {
                return self.wal.seal();
            }
            self.tidy()?;
        }
    }

    fn take(
        &mut self,
        job: LogJob,
        waiting: &mut VecDeque<Save>,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        match job {
            LogJob::Save(saves) => waiting.extend(saves),
            // Without room for it the log stays longer, until the next snapshot.
            LogJob::Trim { group, index, term } => {
                let group = stored(group);
                spare_full(self.wal.append(&Record::Trim { group, index, term }))?;
            }
            LogJob::Reset { group, index, term, done } => {
                let group = stored(group);
                self.wal.append(&Record::Reset { group, index, term })?;
                batch.resets.push(done);
            }
            LogJob::Prepared(prepared) => {
                spare_full(self.wal.accept(prepared))?;
            }
            LogJob::Close => batch.closes = true,
        }
        Ok(())
    }

    /// Appends what waits and makes all of it durable. False if the disk has no room for all: what
    /// found room is durable, the rest waits.
    fn commit(&mut self, waiting: &mut VecDeque<Save>, batch: &mut Batch) -> Result<bool, Error> {
        let mut full = false;
        while let Some(save) = waiting.front_mut() {
            let Some(place) = self.append_save(save)? else {
                batch.saved.insert(save.group, save.number);
                waiting.pop_front();
                continue;
            };
            save.records.drain(..place);
            full = true;
            break;
        }
        // Without room nothing of the batch is durable; it stays in the log's memory, and those who
        // wait for it wait on.
        while !spare_full(self.wal.commit())? {
            self.note_full(true);
            thread::sleep(FULL_INTERVAL);
        }
        self.note_full(full);
        for (group, number) in std::mem::take(&mut batch.saved) {
            self.notifier.send(Notice::Core(Event::Saved { group, number }));
        }
        for done in batch.resets.drain(..) {
            let _ = done.send(());
        }
        Ok(!full)
    }

    /// Appends the records of a save; the place of the first that found no room.
    fn append_save(&mut self, save: &Save) -> Result<Option<usize>, Error> {
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
            if !spare_full(self.wal.append(&record))? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Tells the loop when the disk is full, and when it is not any more.
    fn note_full(&mut self, full: bool) {
        if full != self.full {
            self.full = full;
            self.notifier.send(Notice::Core(Event::DiskFull(full)));
        }
    }

    /// Has the next segments made on another thread, and idle groups moved out of old ones.
    fn tidy(&mut self) -> Result<(), Error> {
        spare_full(self.wal.tidy().map(|_| ()))?;
        let Some(prepare) = self.wal.prepare() else { return Ok(()) };
        let jobs = self.jobs.clone();
        let run = move || {
            let _ = jobs.send(LogJob::Prepared(prepare.run()));
        };
        // Without a thread the log makes its segment itself, later.
        let _ = thread::Builder::new().name("segments".to_owned()).spawn(run);
        Ok(())
    }
}

/// False if there was no room for it.
fn spare_full(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::Full { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The thread of the snapshots.
#[derive(Debug)]
pub struct SnapshotThread {
    jobs: Sender<SnapshotJob>,
}

impl SnapshotThread {
    /// Begins to work on an open folder of snapshots.
    pub fn start(snapshots: Snapshots, log: &LogThread, notifier: Notifier) -> SnapshotThread {
        let (jobs, queue) = mpsc::channel();
        let log = log.jobs.clone();
        let (writing, receiving) = (BTreeMap::new(), BTreeMap::new());
        let run = move || Keeper { snapshots, log, notifier, writing, receiving }.run(&queue);
        let thread = thread::Builder::new().name("snapshots".to_owned()).spawn(run);
        drop(thread.expect("a thread can be started at the start"));
        SnapshotThread { jobs }
    }

    /// Does this after what was asked before.
    pub(super) fn run(&self, job: SnapshotJob) {
        // The thread ends only after it has told the loop of a fatal error.
        let _ = self.jobs.send(job);
    }
}

/// What the snapshots' thread works with.
struct Keeper {
    snapshots: Snapshots,
    log: Sender<LogJob>,
    notifier: Notifier,
    writing: BTreeMap<GroupId, (Writer, u64, u64)>,
    receiving: BTreeMap<GroupId, storage::snapshot::Receiver>,
}

impl Keeper {
    fn run(mut self, queue: &Receiver<SnapshotJob>) {
        for job in queue {
            if let Err(error) = self.work(job) {
                self.notifier.send(Notice::Fatal(error.to_string()));
                return;
            }
        }
    }

    fn work(&mut self, job: SnapshotJob) -> Result<(), Error> {
        match job {
            SnapshotJob::Begin { group, meta } => self.begin(group, &meta),
            SnapshotJob::Part { group, data, last } => self.part(group, &data, last),
            SnapshotJob::Fetch { group, target, snapshot, offset, bytes_max } => {
                let newest = self.snapshots.newest(stored(group));
                let found = newest.filter(|found| found.meta().index == snapshot.0);
                let data = found.map(|found| found.read(offset, bytes_max)).transpose()?;
                let data = Bytes::from(data.unwrap_or_default());
                let last = found.is_some_and(|f| offset + data.len() as u64 == f.bytes());
                let event = Event::Fetched { group, target, snapshot, offset, data, last };
                self.notifier.send(Notice::Core(event));
                Ok(())
            }
            SnapshotJob::Receive { group, meta, offset, data, last } => {
                self.receive(group, meta, offset, &data, last)
            }
        }
    }

    fn begin(&mut self, group: GroupId, meta: &SnapshotMeta) -> Result<(), Error> {
        let mut about = Vec::new();
        message::put_meta(&mut about, meta);
        let (index, term) = (meta.index.0, meta.term.0);
        let begun = self.snapshots.begin(Meta { group: stored(group), index, term, data: about });
        match begun {
            Ok(writer) => {
                self.writing.insert(group, (writer, index, term));
                Ok(())
            }
            Err(error) => self.give_up(group, error),
        }
    }

    fn part(&mut self, group: GroupId, data: &[u8], last: bool) -> Result<(), Error> {
        let Some((writer, ..)) = self.writing.get_mut(&group) else { return Ok(()) };
        if let Err(error) = writer.write(data) {
            return self.give_up(group, error);
        }
        if last {
            let Some((writer, index, term)) = self.writing.remove(&group) else { return Ok(()) };
            match writer.finish().and_then(|snapshot| self.snapshots.keep(snapshot)) {
                Ok(()) => {}
                Err(error) => return self.give_up(group, error),
            }
            let _ = self.log.send(LogJob::Trim { group, index, term });
        }
        self.notifier.send(Notice::Core(Event::PartWritten { group, last }));
        Ok(())
    }

    /// A full disk costs the snapshot, anything else the node.
    fn give_up(&mut self, group: GroupId, error: Error) -> Result<(), Error> {
        self.writing.remove(&group);
        if !error.is_recoverable() {
            return Err(error);
        }
        self.notifier.send(Notice::Core(Event::SnapshotFailed { group }));
        Ok(())
    }

    fn receive(
        &mut self,
        group: GroupId,
        meta: SnapshotMeta,
        offset: u64,
        data: &[u8],
        last: bool,
    ) -> Result<(), Error> {
        if offset == 0 {
            self.receiving.insert(group, self.snapshots.receive(stored(group)));
        }
        let Some(receiver) = self.receiving.get_mut(&group) else { return Ok(()) };
        let snapshot = match receiver.chunk(offset, data, last) {
            Ok(Progress::Here(_)) if !last => return Ok(()),
            Ok(Progress::Done(snapshot)) => Some(*snapshot),
            Ok(Progress::Here(_)) | Err(Error::Corrupt { .. } | Error::Full { .. }) => None,
            Err(error) => return Err(error),
        };
        self.receiving.remove(&group);
        let shard = match snapshot.filter(|snapshot| snapshot.meta().index == meta.index.0) {
            Some(snapshot) => self.install(group, snapshot)?,
            None => None,
        };
        self.notifier.send(Notice::Core(Event::Loaded { group, meta, shard }));
        Ok(())
    }

    /// The snapshot takes the place of everything that the group has here.
    fn install(
        &mut self,
        group: GroupId,
        snapshot: Snapshot,
    ) -> Result<Option<Box<keyspace::Shard>>, Error> {
        let bytes = snapshot.load_all()?;
        let Ok(shard) = Loader::load(&bytes) else { return Ok(None) };
        let (index, term) = (snapshot.meta().index, snapshot.meta().term);
        self.snapshots.keep(snapshot)?;
        let (done, is_done) = mpsc::channel();
        let _ = self.log.send(LogJob::Reset { group, index, term, done });
        // No answer means that the log has failed, and the loop knows it.
        let _ = is_done.recv();
        Ok(Some(Box::new(shard)))
    }
}

fn stored(group: GroupId) -> StoredGroup {
    StoredGroup(group.0)
}

/// What a snapshot says about itself, read back.
pub(crate) fn snapshot_meta(snapshot: &Snapshot) -> Option<SnapshotMeta> {
    let mut reader = Reader::new(&snapshot.meta().data);
    message::read_meta(&mut reader).ok()
}

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
//! acknowledge anything that it does not know to be durable. What is done is `keeper`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use node::limits::SNAPSHOT_STEP_BYTES;
use node::{GroupId, Pace, Rests, Save, SnapshotJob};
use storage::Error;
use storage::disk::Disk;
use storage::snapshot::Snapshots;
use storage::wal::Wal;

use super::clock::Clock;
use super::{Notice, Notifier};
use crate::keeper::{After, Chore, Done, FULL_INTERVAL, LogKeeper, Room, SnapshotKeeper, Work};
use crate::limits::{BACKGROUND_NICE, FILL_REST, LEARNER_SNAPSHOT_REST, SNAPSHOT_REST};

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
    Done(Done),
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
        let keeper = LogKeeper::new(wal);
        let run = move || {
            let (resets, saves, closes) = (Vec::new(), Arc::default(), false);
            Log { keeper, notifier, jobs: own, resets, saves, closes }.run(&queue);
        };
        let thread = thread::Builder::new().name("log".to_owned()).spawn(run);
        LogThread { jobs, thread: Some(thread.expect("a thread can be started at the start")) }
    }

    /// Takes these and makes them durable.
    pub(super) fn save(&self, saves: &mut Vec<Save>) {
        if saves.is_empty() {
            return;
        }
        // The thread ends only after it has told the loop of a fatal error.
        let _ = self.jobs.send(LogJob::Save(std::mem::take(saves)));
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
    keeper: LogKeeper,
    notifier: Notifier,
    jobs: Sender<LogJob>,
    /// Who waits for the next commit.
    resets: Vec<Sender<()>>,
    /// Counts the saves that came.
    saves: Arc<AtomicU64>,
    closes: bool,
}

impl Log {
    fn run(mut self, queue: &Receiver<LogJob>) {
        if let Err(error) = self.work(queue) {
            self.notifier.send(Notice::Fatal(error.to_string()));
        }
    }

    fn work(&mut self, queue: &Receiver<LogJob>) -> Result<(), Error> {
        let mut room = Room::All;
        loop {
            let mut next = match queue.recv_timeout(IDLE_INTERVAL) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Disconnected) => return self.keeper.seal(),
                Err(RecvTimeoutError::Timeout) if room == Room::All => {
                    self.keeper.seal()?;
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => None,
            };
            while let Some(job) = next {
                self.take(job)?;
                next = queue.try_recv().ok();
            }
            room = self.commit()?;
            if room != Room::All {
                thread::sleep(FULL_INTERVAL);
            }
            if room != Room::None && self.closes {
                return self.keeper.seal();
            }
            self.tidy()?;
        }
    }

    fn take(&mut self, job: LogJob) -> Result<(), Error> {
        match job {
            LogJob::Save(saves) => {
                self.saves.fetch_add(1, Ordering::Relaxed);
                self.keeper.save(saves);
            }
            LogJob::Trim { group, index, term } => self.keeper.trim(group, index, term),
            LogJob::Reset { group, index, term, done } => {
                self.keeper.reset(group, index, term);
                self.resets.push(done);
            }
            LogJob::Done(done) => self.keeper.accept(done)?,
            LogJob::Close => self.closes = true,
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<Room, Error> {
        let mut events = Vec::new();
        let room = self.keeper.commit(&mut events)?;
        events.into_iter().for_each(|event| self.notifier.send(Notice::Core(event)));
        if room != Room::None {
            for done in self.resets.drain(..) {
                let _ = done.send(());
            }
        }
        Ok(room)
    }

    /// Has the next segments made on another thread, and idle groups moved out of old ones.
    fn tidy(&mut self) -> Result<(), Error> {
        self.keeper.tidy()?.into_iter().for_each(|chore| self.do_beside(chore));
        Ok(())
    }

    fn do_beside(&self, chore: Chore) {
        let (jobs, saves) = (self.jobs.clone(), self.saves.clone());
        let run = move || {
            let mut seen = saves.load(Ordering::Relaxed);
            // An idle log has no commits that could be in the way.
            let mut rest = || {
                let count = saves.load(Ordering::Relaxed);
                if count != seen {
                    thread::sleep(FILL_REST);
                }
                seen = count;
            };
            give_way();
            let _ = jobs.send(LogJob::Done(chore.run(&mut rest)));
        };
        // Without a thread the log makes its segment itself, later, and is the longer for a while.
        let _ = thread::Builder::new().name("segments".to_owned()).spawn(run);
    }
}

/// Where processors are short, this thread is to have less of them than those that clients wait for.
pub(super) fn give_way() {
    // Of no process in particular: for Linux that is this thread. Without it everything works as well.
    let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
}

/// The thread of the snapshots.
#[derive(Debug)]
pub struct SnapshotThread {
    jobs: Sender<SnapshotJob>,
}

impl SnapshotThread {
    /// Begins to work on an open folder of snapshots.
    pub fn start(
        snapshots: Snapshots,
        disk: Arc<dyn Disk>,
        log: &LogThread,
        notifier: Notifier,
    ) -> SnapshotThread {
        let (jobs, queue) = mpsc::channel();
        let keeper = SnapshotKeeper::new(snapshots, disk, SNAPSHOT_STEP_BYTES);
        let (log, later, loads) = (log.jobs.clone(), Vec::new(), Rests::default());
        let run = move || {
            give_way();
            let (gave_way, clock) = (false, Clock::new());
            Keeping { keeper, log, notifier, later, gave_way, loads, clock }.run(&queue);
        };
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
struct Keeping {
    keeper: SnapshotKeeper,
    log: Sender<LogJob>,
    notifier: Notifier,
    /// What is done after a while, and when.
    later: Vec<(Instant, Later)>,
    /// Was a job done since the next step of a load was due?
    gave_way: bool,
    loads: Rests<GroupId>,
    clock: Clock,
}

/// How long a snapshot rests behind a part.
fn rest_of(pace: Pace) -> Duration {
    match pace {
        Pace::Easy => SNAPSHOT_REST,
        Pace::Steady => LEARNER_SNAPSHOT_REST,
        Pace::Full => Duration::ZERO,
    }
}

enum Later {
    /// What had found no room on the disk.
    Job(SnapshotJob),
    /// The next step of loading a snapshot.
    Load,
    /// What follows on a part of a snapshot: the next is made once it is told that one is written.
    Follow(After),
}

impl Keeping {
    fn run(mut self, queue: &Receiver<SnapshotJob>) {
        let mut after = Vec::new();
        while let Some(work) = self.next(queue) {
            let rest = match &work {
                Work::Job(SnapshotJob::Part { last: false, pace, .. }) => rest_of(*pace),
                _ => Duration::ZERO,
            };
            if let Err(error) = self.keeper.work(work, &mut after) {
                self.notifier.send(Notice::Fatal(error.to_string()));
                return;
            }
            for after in after.drain(..) {
                if rest.is_zero() {
                    self.follow(after);
                } else {
                    self.later.push((Instant::now() + rest, Later::Follow(after)));
                }
            }
        }
    }

    /// The next piece of work: what has waited for its time, or else a new job. A load that does not
    /// rest takes turns with new jobs.
    fn next(&mut self, queue: &Receiver<SnapshotJob>) -> Option<Work> {
        loop {
            let next = self.later.iter().enumerate().min_by_key(|(_, (when, _))| *when);
            let Some((place, (when, later))) = next else {
                return queue.recv().ok().map(Work::Job);
            };
            let wait = when.saturating_duration_since(Instant::now());
            let gives_way = matches!(later, Later::Load) && !self.gave_way;
            if !wait.is_zero() || gives_way {
                match queue.recv_timeout(wait) {
                    Ok(job) => {
                        self.gave_way = wait.is_zero();
                        return Some(Work::Job(job));
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
            match self.later.remove(place).1 {
                Later::Job(job) => return Some(Work::Job(job)),
                Later::Load => {
                    self.gave_way = false;
                    if let Some(group) = self.keeper.loads_next() {
                        self.loads.begin(self.clock.moment().now, &group);
                    }
                    return Some(Work::Load);
                }
                Later::Follow(after) => self.follow(after),
            }
        }
    }

    fn follow(&mut self, after: After) {
        match after {
            After::Again(job) => {
                self.later.push((Instant::now() + FULL_INTERVAL, Later::Job(job)));
            }
            After::Load { group, index, voter } => {
                let rest = self.loads.before(self.clock.moment().now, group, index);
                let rest = if voter { Duration::ZERO } else { rest };
                self.later.push((Instant::now() + rest, Later::Load));
            }
            After::Tell(event) => self.notifier.send(Notice::Core(event)),
            After::Trim { group, index, term } => {
                let _ = self.log.send(LogJob::Trim { group, index, term });
            }
            After::Reset { group, index, term, then } => {
                let (done, is_done) = mpsc::channel();
                let _ = self.log.send(LogJob::Reset { group, index, term, done });
                // No answer means that the log has failed, and the loop knows it.
                let _ = is_done.recv();
                self.notifier.send(Notice::Core(then));
            }
        }
    }
}

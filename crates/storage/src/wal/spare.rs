//! Spares: the segments that come next, made ready before they are needed.
//!
//! The work itself is a [`Prepare`], which any thread may run. If the log cannot wait for it, it
//! cancels it or, where the file has its name already, takes the file over.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use stdx::{mark, planted};

use super::live::Segment;
use super::segment::{Header, Prepare, Prepared, Ready, Stage, path};
use super::writer::Options;
use crate::Error;
use crate::disk::{Disk, fill_zero};
use crate::limits::{PAGE_BYTES, RETIRED_MAX, SEGMENTS_ROOM, SPARES};
use crate::snapshot::Sizes;

/// The segments that count, the active one last.
pub(super) type Log = RangeInclusive<u64>;

/// What a segment is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// New entries: they leave room for the snapshots that will cut the log.
    Entries,
    /// What gives room back, as trims, resets and entries that are moved do; and what it needs: votes, the
    /// first entry of a leader, and what stands before it where nothing is known to be committed.
    Upkeep,
}

/// The files of a log beside those that count.
#[derive(Debug)]
pub(super) struct Spares {
    disk: Arc<dyn Disk>,
    options: Options,
    /// Of the snapshots, which need room to cut the log.
    sizes: Arc<Sizes>,
    /// The last segment that was wanted for entries would not have left it.
    short: bool,
    /// So it was since the last commit.
    refused: bool,
    /// The log may not grow by as much again as it has.
    low: bool,
    lacks: Lacks,
    /// In the order of use; the first one follows the active segment.
    ready: VecDeque<Ready>,
    /// Segments whose files may be written over.
    retired: Vec<u64>,
    /// Segments whose files are of no use; all are older than the log.
    surplus: Vec<u64>,
    in_flight: Option<InFlight>,
    /// Counts the jobs, so that each has a name of its own.
    jobs: u64,
}

/// Bytes that the disk lacked, and that were not given back since.
#[derive(Clone, Copy, Debug, Default)]
struct Lacks {
    /// For the last segment that was wanted for entries.
    now: u64,
    /// For as much log again.
    soon: u64,
}

/// Work that was handed out.
#[derive(Debug)]
struct InFlight {
    sequence: u64,
    /// It makes that segment; else it only deletes some.
    makes: bool,
    recycled: Option<u64>,
    stage: Arc<Mutex<Stage>>,
}

impl Spares {
    pub(super) fn new(disk: Arc<dyn Disk>, options: Options) -> Spares {
        let (ready, retired, surplus) = (VecDeque::new(), Vec::new(), Vec::new());
        let (sizes, short, refused, low, in_flight) = (Arc::default(), false, false, false, None);
        Spares {
            disk,
            options,
            sizes,
            short,
            refused,
            low,
            lacks: Lacks::default(),
            ready,
            retired,
            surplus,
            in_flight,
            jobs: 0,
        }
    }

    /// See [`Wal::leave_room`](super::Wal::leave_room).
    pub(super) fn leave_room(&mut self, sizes: Arc<Sizes>) {
        self.sizes = sizes;
    }

    /// Did the last segment that was wanted find no room?
    pub(super) fn are_short(&self) -> bool {
        self.short
    }

    /// May the log not grow by as much again as it has?
    pub(super) fn are_low(&self) -> bool {
        self.low
    }

    /// May entries not be added even to a segment that is there? It took of the room that they have to leave.
    pub(super) fn refuse_entries(&mut self, log: &Log) -> bool {
        self.note_lacking(log, 0);
        self.short
    }

    fn note_lacking(&mut self, log: &Log, more: u64) {
        let now = self.lacking(log, more);
        self.lacks = Lacks { now, soon: self.lacking(log, self.log_bytes(log)) };
        (self.short, self.low) = (now > 0, self.lacks.soon > 0);
        self.refused |= self.short;
        if self.short {
            mark!("the log leaves the rest of the disk to the next snapshot");
        }
    }

    /// There was a commit. Is nobody refused any more? What was may have become void.
    pub(super) fn forget_refusal(&mut self) {
        self.short &= std::mem::take(&mut self.refused);
    }

    fn log_bytes(&self, log: &Log) -> u64 {
        (log.end() - log.start() + 1) * self.options.segment_bytes
    }

    /// Bytes that the next snapshots would lack if this log took so much more of the disk.
    fn lacking(&self, log: &Log, more: u64) -> u64 {
        if planted!("log-fills-the-disk") {
            return 0;
        }
        self.room(log).saturating_add(more).saturating_sub(self.disk.free())
    }

    fn room(&self, log: &Log) -> u64 {
        let segment = self.options.segment_bytes;
        self.sizes.room(self.log_bytes(log)).max(SEGMENTS_ROOM * segment)
    }

    /// Gives up what the log has of the disk and does not use, as far as it lacked: other nodes may have their
    /// logs there too. Unless it is short, it keeps what will be its next spares, and those that are ready.
    fn give_back(&mut self) {
        let Lacks { mut now, mut soon } = std::mem::take(&mut self.lacks);
        let next = SPARES.saturating_sub(self.ready.len());
        while now > 0 || soon > 0 && self.retired.len() > next {
            if let Some(retired) = self.retired.pop() {
                self.surplus.push(retired);
            } else if let Some(ready) = self.ready.pop_back() {
                // At once: its number will be that of a segment to come. What cannot be deleted now is
                // found at the next start.
                let _ = self.disk.remove(&path(ready.sequence));
            } else {
                break;
            }
            now = now.saturating_sub(self.options.segment_bytes);
            soon = soon.saturating_sub(self.options.segment_bytes);
        }
    }

    /// Takes in the files that recovery found: those of `retired` segments, and those `beyond` the
    /// tail. The latter become spares if they follow it, and forget any batch that was cut.
    pub(super) fn adopt(
        &mut self,
        tail: u64,
        retired: Vec<u64>,
        beyond: &[u64],
    ) -> Result<(), Error> {
        self.retired = retired;
        let mut page = vec![0; PAGE_BYTES];
        for sequence in beyond.iter().copied() {
            let path = path(sequence);
            let file = self.disk.open(&path).map_err(|error| Error::io("open", &path, error))?;
            let capacity = file.len().map_err(|error| Error::io("read", &path, error))?;
            let read = file.read_at(0, &mut page);
            if read.is_err() || Header::decode(&page, sequence)?.is_some() {
                let zeros = vec![0; PAGE_BYTES];
                file.write_at(0, &zeros).map_err(|error| Error::io("write", &path, error))?;
                file.sync().map_err(|error| Error::sync(&path, error))?;
            }
            let follows = sequence == tail + 1 + self.ready.len() as u64;
            if follows && capacity == self.options.segment_bytes {
                self.ready.push_back(Ready { sequence, file, capacity });
            } else {
                // At once: its number will be that of a segment to come.
                self.disk.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    /// Segments that a durable commit disowned.
    pub(super) fn retire(&mut self, segments: &mut Vec<Segment>) {
        for segment in segments.drain(..) {
            let reusable = segment.capacity == self.options.segment_bytes;
            if reusable && self.retired.len() < RETIRED_MAX {
                self.retired.push(segment.sequence);
            } else if segment.capacity > 0 {
                self.surplus.push(segment.sequence);
            }
        }
    }

    /// Work to hand out, if there is any and none is out.
    pub(super) fn prepare(&mut self, log: &Log) -> Option<Prepare> {
        if self.in_flight.is_some() {
            return None;
        }
        self.give_back();
        let more = if self.retired.is_empty() { self.options.segment_bytes } else { 0 };
        // What was given back is for what did not fit.
        let has_room = !self.short && self.lacking(log, more) == 0;
        let wanted = self.ready.len() < SPARES && has_room;
        if !wanted && self.surplus.is_empty() {
            return None;
        }
        let sequence = log.end() + self.ready.len() as u64 + 1;
        let recycled = if wanted { self.retired.pop() } else { None };
        let mut job = self.job(sequence, recycled);
        job.target = wanted.then_some(sequence);
        job.surplus = std::mem::take(&mut self.surplus);
        let stage = Arc::clone(&job.stage);
        self.in_flight = Some(InFlight { sequence, makes: wanted, recycled, stage });
        if self.ready.is_empty() {
            self.hurry();
        }
        Some(job)
    }

    /// Takes what came of the work; that of a cancelled one is ignored.
    pub(super) fn accept(&mut self, prepared: Prepared) -> Result<(), Error> {
        let Some(in_flight) =
            self.in_flight.take_if(|one| Arc::ptr_eq(&one.stage, &prepared.stage))
        else {
            return Ok(());
        };
        match prepared.result {
            Ok(ready) => {
                self.ready.extend(ready);
                Ok(())
            }
            Err(error) => {
                self.retired.extend(in_flight.recycled);
                Err(error)
            }
        }
    }

    /// The segment behind this log, large enough for `wanted` bytes.
    pub(super) fn take(&mut self, log: &Log, wanted: u64, wanted_for: For) -> Result<Ready, Error> {
        let (next, segment) = (log.end() + 1, self.options.segment_bytes);
        let is_made = self.in_flight.as_ref().is_some_and(|one| one.makes);
        let is_there = !self.ready.is_empty() || !self.retired.is_empty() || is_made;
        let more = wanted.max(segment) - if is_there { segment } else { 0 };
        if wanted_for == For::Entries {
            self.note_lacking(log, more);
            if self.short {
                return Err(Error::Full { path: path(next) });
            }
        }
        let ready = match self.ready.pop_front() {
            Some(ready) => ready,
            None => self.make(next)?,
        };
        if self.ready.is_empty() {
            self.hurry();
        }
        assert_eq!(ready.sequence, next, "segments follow each other");
        self.grow(ready, wanted)
    }

    /// The one that is just being made is the last hope.
    fn hurry(&self) {
        let Some(in_flight) = &self.in_flight else { return };
        let mut stage = in_flight.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Open {
            *stage = Stage::Hurried;
        }
    }

    /// There is no spare: the one that is just being made, or one made now.
    fn make(&mut self, sequence: u64) -> Result<Ready, Error> {
        if let Some(in_flight) = self.in_flight.take() {
            let mut stage = in_flight.stage.lock().unwrap_or_else(PoisonError::into_inner);
            if *stage == Stage::Named && in_flight.sequence == sequence {
                let path = path(sequence);
                let file = self.disk.open(&path);
                let file = file.map_err(|error| Error::io("open", &path, error))?;
                return Ok(Ready { sequence, file, capacity: self.options.segment_bytes });
            }
            *stage = Stage::Cancelled;
            self.retired.extend(in_flight.recycled);
        }
        let recycled = self.retired.pop();
        let mut job = self.job(sequence, recycled);
        job.at_once = true;
        let result = job.run(&mut || {}).result;
        if result.is_err() {
            self.retired.extend(recycled);
        }
        Ok(result?.expect("nobody cancels a job of one's own"))
    }

    /// A record larger than a segment gets a larger segment.
    fn grow(&mut self, mut ready: Ready, wanted: u64) -> Result<Ready, Error> {
        if wanted <= ready.capacity {
            return Ok(ready);
        }
        let path = path(ready.sequence);
        let grown = ready
            .file
            .reserve(wanted)
            .and_then(|_| fill_zero(&*ready.file, ready.capacity, wanted))
            .map_err(|error| Error::io("extend", &path, error))
            .and_then(|()| ready.file.sync().map_err(|error| Error::sync(&path, error)));
        if let Err(error) = grown {
            // What cannot be cut now is found to be of no use at the next start.
            let _ = ready.file.set_len(ready.capacity);
            self.ready.push_front(ready);
            return Err(error);
        }
        ready.capacity = wanted;
        Ok(ready)
    }

    fn job(&mut self, target: u64, recycled: Option<u64>) -> Prepare {
        self.jobs += 1;
        Prepare {
            number: self.jobs,
            disk: Arc::clone(&self.disk),
            target: Some(target),
            bytes: self.options.segment_bytes,
            recycled,
            at_once: false,
            surplus: Vec::new(),
            stage: Arc::new(Mutex::new(Stage::Open)),
        }
    }

    /// Asserts what must always hold.
    pub(super) fn check(&self, active: u64) {
        for (at, ready) in self.ready.iter().enumerate() {
            assert_eq!(ready.sequence, active + 1 + at as u64, "spares are in order");
        }
    }
}

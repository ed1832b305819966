//! The writer: records into a batch, a batch onto the disk.
//!
//! The batch buffer begins at a page boundary of the active segment and still holds the part of that
//! page which is durable already, so that whole pages are written.

use std::collections::VecDeque;
use std::sync::Arc;

use stdx::planted;

use super::live::{Live, Mark, Segment, Vote};
use super::record::{
    CLOSES, HEAD_BYTES, Head, Record, Tag, encode, record_bytes, seed, vote_number,
};
use super::recovery::{Recovered, Restored, Tail, recover};
use super::segment::{FOLDER, Header, Prepare, Prepared, Ready, path};
use super::spare::{For, Log, Spares};
use super::tidy::Tidying;
use crate::disk::{Disk, File};
use crate::limits::{
    BATCH_BYTES_KEEP, CONTROL_BYTES, ENTRY_BYTES_MAX, GROUPS_MAX, PAGE_BYTES, SEGMENT_BYTES,
    SEGMENT_BYTES_MIN,
};
use crate::snapshot::Sizes;
use crate::vote::Votes;
use crate::{Error, Fault, GroupId, Place};

/// How the log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a segment made from here on; a multiple of a page.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: SEGMENT_BYTES }
    }
}

/// A look inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Segments that count, the active one included, and their bytes.
    pub segments: usize,
    pub bytes: u64,
    /// Segments ready to be used next.
    pub spares: usize,
    /// The group whose entries keep the oldest segment, if any but the active one is kept: a
    /// snapshot of that group frees the most.
    pub oldest: Option<GroupId>,
}

/// The write-ahead log of a core. One thread uses it.
#[derive(Debug)]
pub struct Wal {
    pub(super) disk: Arc<dyn Disk>,
    options: Options,
    pub(super) live: Live,
    votes: Votes,
    active: Active,
    /// Segments that were filled by the pending batch, oldest first.
    filled: VecDeque<Active>,
    /// The number of the pending batch.
    batch: u64,
    /// Something was appended since the last commit.
    pending: bool,
    sealed: bool,
    /// The oldest segment that counts, as the last commit says.
    first: u64,
    /// Segments that do not count any more, which no durable commit says yet.
    retiring: Vec<Segment>,
    pub(super) spares: Spares,
    /// The active segment was begun in the room that entries have to leave.
    reserved: bool,
    pub(super) tidying: Tidying,
    poisoned: bool,
}

/// The segment being written.
#[derive(Debug)]
struct Active {
    sequence: u64,
    seed: u32,
    file: Box<dyn File>,
    capacity: u64,
    /// Where in the file the buffer begins; a page boundary.
    base: u64,
    buffer: Vec<u8>,
    chain: u32,
}

impl Active {
    fn position(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    fn push(&mut self, head: &Head, data: &[u8]) {
        let offset = self.position();
        self.chain = encode(&mut self.buffer, self.seed, offset, head, data);
    }

    /// Writes the buffer in whole pages.
    fn write(&mut self) -> Result<(), Error> {
        let len = self.buffer.len();
        self.buffer.resize(len.next_multiple_of(PAGE_BYTES), 0);
        let written = self.file.write_at(self.base, &self.buffer);
        self.buffer.truncate(len);
        written.map_err(|error| Error::io("write", &path(self.sequence), error))
    }

    fn sync(&self) -> Result<(), Error> {
        let synced = self.file.sync();
        if planted!("fsync-error-ignored") {
            return Ok(());
        }
        synced.map_err(|error| Error::sync(&path(self.sequence), error))
    }

    /// Forgets the pages that are written and will not be written again.
    fn keep_last_page(&mut self) {
        let done = self.buffer.len() / PAGE_BYTES * PAGE_BYTES;
        self.buffer.drain(..done);
        self.base += done as u64;
        if self.buffer.capacity() > BATCH_BYTES_KEEP {
            self.buffer.shrink_to(PAGE_BYTES);
        }
    }
}

impl Wal {
    /// Opens the log, or makes one, and tells what it holds. Everything told is durable.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Wal, Recovered), Error> {
        assert!(options.segment_bytes >= SEGMENT_BYTES_MIN, "a segment holds its own table");
        assert!(
            options.segment_bytes.is_multiple_of(PAGE_BYTES as u64),
            "segments are whole pages"
        );
        disk.make_folder(FOLDER).map_err(|error| Error::io("make", FOLDER, error))?;
        remove_unfinished(&*disk)?;
        let (mut votes, found) = Votes::open(&disk)?;
        let (mut restored, mut recovered) = recover(&disk)?;
        if restored.tail.is_none() {
            for group in found.votes.keys() {
                let place = Place::Log { path: disk.describe(FOLDER), segment: 0, offset: 0 };
                recovered.faults.push(Fault::new(place, "the log is missing", Some(*group)));
            }
        }
        let known = votes.reconcile(&disk, found, &restored.votes, &mut recovered.faults)?;
        // A vote that only the log knows is a hint, not a vote; it stays in the log as a witness.
        let witness =
            restored.votes.clone().into_iter().filter(|(one, _)| !known.contains_key(one));
        for (group, vote) in witness.chain(known.clone()) {
            let log = recovered.groups.entry(group).or_default();
            (log.term, log.vote) = (vote.term, vote.vote);
            restored.live.groups.entry(group).or_default().vote = vote;
        }
        let closes = restored.closes;
        let mut wal = Wal::resume(disk, options, votes, restored)?;
        if let Some(number) = closes {
            wal.close(number)?;
        }
        wal.note_losses(&recovered)?;
        if wal.pending {
            // The segment may have been opened by the batch that was cut, and its table with it.
            for head in wal.table() {
                wal.append_control(head)?;
            }
            // No segment is given up here: one that tells of damage stays until the caller has heard.
            wal.end_batch(wal.first, 0)?;
        }
        Ok((wal, recovered))
    }

    fn resume(
        disk: Arc<dyn Disk>,
        options: Options,
        votes: Votes,
        restored: Restored,
    ) -> Result<Wal, Error> {
        sync_all(&*disk, &restored)?;
        let Restored { tail, mut live, batch, must_commit, retired, beyond, .. } = restored;
        let mut spares = Spares::new(Arc::clone(&disk), options);
        let fresh = tail.is_none();
        let active = match tail {
            Some(tail) => {
                spares.adopt(tail.sequence, retired, &beyond)?;
                Active::resume(&*disk, tail)?
            }
            None => {
                let before = beyond.last().copied().unwrap_or(0);
                spares.adopt(before, retired, &beyond)?;
                let ready = spares.take(&(before..=before), options.segment_bytes, For::Upkeep)?;
                let sequence = ready.sequence;
                live.open_segment(sequence, ready.capacity);
                Active::begin(ready, &Header { sequence, batch, first: sequence, chain: 0 })
            }
        };
        let first = live.first();
        Ok(Wal {
            disk,
            options,
            live,
            votes,
            active,
            filled: VecDeque::new(),
            batch,
            pending: must_commit || fresh,
            sealed: false,
            first,
            retiring: Vec::new(),
            spares,
            reserved: false,
            tidying: Tidying::default(),
            poisoned: false,
        })
    }

    /// Leaves room on the disk for the snapshots that will cut the log, and says that the disk is full when
    /// there is no more.
    pub(crate) fn leave_room(&mut self, sizes: Arc<Sizes>) {
        self.spares.leave_room(sizes);
    }

    /// Closes the batch that the log broke off in. Its commit is one record, so it is there or it is
    /// not: whatever else recovery writes is of a later batch, and would prove by a few of its pieces
    /// that the break was damage.
    fn close(&mut self, number: u64) -> Result<(), Error> {
        let next = std::mem::replace(&mut self.batch, number);
        self.end_batch(self.first, CLOSES)?;
        (self.batch, self.pending) = (next, true);
        Ok(())
    }

    /// Writes down who lost something, so that it is still known when the damage was recycled.
    fn note_losses(&mut self, recovered: &Recovered) -> Result<(), Error> {
        for group in recovered.groups.keys() {
            let lost = self.live.groups.entry(*group).or_default();
            if lost.lost || recovered.fault(*group).is_none() {
                continue;
            }
            lost.lost = true;
            self.append_control(Head::new(Tag::Lost, *group, 0, 0))?;
        }
        Ok(())
    }

    /// Adds a record to the batch. With `Error::Full` or `Error::TooLarge` this record is not in it,
    /// and all before it still are.
    pub fn append(&mut self, record: &Record<'_>) -> Result<(), Error> {
        self.append_for(For::Entries, record)
    }

    /// The same, of what no snapshot can be taken without: it may have the room that is left for one.
    pub fn append_needed(&mut self, record: &Record<'_>) -> Result<(), Error> {
        self.append_for(For::Upkeep, record)
    }

    fn append_for(&mut self, wanted_for: For, record: &Record<'_>) -> Result<(), Error> {
        self.healthy()?;
        let group = record.group();
        if !self.live.groups.contains_key(&group) && self.live.groups.len() >= GROUPS_MAX {
            let (size, max) = (GROUPS_MAX as u64 + 1, GROUPS_MAX as u64);
            return Err(Error::TooLarge { what: "number of groups", size, max });
        }
        match *record {
            Record::Entry { term, index, kind, data, .. } => {
                let head = Head { kind, ..Head::new(Tag::Entry, group, term, index) };
                self.append_entry(head, data, wanted_for)?;
                self.live.entry(group, index, record_bytes(data.len()));
            }
            Record::Vote { term, vote, .. } => {
                let before =
                    self.live.groups.get(&group).map_or_else(Vote::default, |one| one.vote);
                let vote = Vote { term, vote };
                assert!(!before.is_newer_than(&vote), "votes never go back: {before:?}, {vote:?}");
                self.votes.claim(group).inspect_err(|error| self.poisoned |= is_fatal(error))?;
                self.append_control(Head::new(Tag::Vote, group, term, vote_number(vote.vote)))?;
                self.votes.put(group, vote);
                self.live.groups.entry(group).or_default().vote = vote;
            }
            Record::Trim { index, term, .. } => {
                self.append_control(Head::new(Tag::Trim, group, term, index))?;
                self.live.trim(group, Mark { index, term });
            }
            Record::Reset { index, term, .. } => {
                self.append_control(Head::new(Tag::Reset, group, term, index))?;
                self.live.reset(group, Mark { index, term });
            }
        }
        Ok(())
    }

    fn append_entry(&mut self, head: Head, data: &[u8], wanted_for: For) -> Result<(), Error> {
        if data.len() > ENTRY_BYTES_MAX {
            let (size, max) = (data.len() as u64, ENTRY_BYTES_MAX as u64);
            return Err(Error::TooLarge { what: "entry", size, max });
        }
        let state = self.live.groups.get(&head.group);
        let (last, mark) = state.map_or((0, 0), |state| (state.last, state.mark.index));
        assert!(head.index <= last + 1, "a log has no gaps: {} behind {last}", head.index);
        assert!(head.index > mark, "what a snapshot covers is final: {} at {mark}", head.index);
        // One without data is the first of a leader: until it is there, nobody knows what is committed, and
        // nobody who has restarted can make a snapshot of that.
        if data.is_empty() {
            self.make_room(0, self.active.capacity, For::Upkeep)?;
        } else if wanted_for == For::Upkeep {
            self.make_room(data.len(), self.entry_limit(), For::Upkeep)?;
        } else {
            self.reserved = self.reserved && self.spares.refuse_entries(&self.log());
            if self.reserved {
                return Err(Error::Full { path: path(self.active.sequence) });
            }
            self.make_room(data.len(), self.entry_limit(), For::Entries)?;
        }
        self.push(head, data);
        Ok(())
    }

    /// Writes an entry of an older segment again.
    pub(super) fn append_moved(&mut self, head: Head, data: &[u8]) -> Result<(), Error> {
        self.healthy()?;
        self.make_room(data.len(), self.entry_limit(), For::Upkeep)?;
        let Head { group, kind, term, index, .. } = head;
        self.push(Head { kind, ..Head::new(Tag::Moved, group, term, index) }, data);
        self.live.moved(group, index, record_bytes(data.len()));
        Ok(())
    }

    /// Is everything up to the active segment on the disk?
    pub(super) fn is_flushed(&self) -> bool {
        self.filled.is_empty()
    }

    fn append_control(&mut self, head: Head) -> Result<(), Error> {
        self.make_room(0, self.active.capacity, For::Upkeep)?;
        self.push(head, &[]);
        Ok(())
    }

    fn push(&mut self, head: Head, data: &[u8]) {
        self.active.push(&Head { chain: self.active.chain, batch: self.batch, ..head }, data);
        self.pending = true;
    }

    /// Everything of the group up to `index` is covered by a durable snapshot. What is behind stays.
    pub fn trim(&mut self, group: GroupId, index: u64, term: u64) -> Result<(), Error> {
        self.append(&Record::Trim { group, index, term })
    }

    /// The group's log is void, and with it any fault: its repair begins. The vote stays, if there is
    /// one; a group that lost its vote must get one that cannot contradict the lost one.
    pub fn reset_group(&mut self, group: GroupId) -> Result<(), Error> {
        self.append(&Record::Reset { group, index: 0, term: 0 })
    }

    /// Makes everything appended since the last commit durable. After `Error::Full` nothing of it is,
    /// and calling again tries again. After any other error nothing is accepted any more.
    pub fn commit(&mut self) -> Result<(), Error> {
        self.healthy()?;
        self.spares.forget_refusal();
        self.live.retire(&mut self.retiring);
        let first = self.live.first();
        if !self.pending && first == self.first {
            return Ok(());
        }
        self.end_batch(first, 0)
    }

    /// Writes the batch with its commit, which says that segments from `first` on count.
    fn end_batch(&mut self, first: u64, kind: u8) -> Result<(), Error> {
        self.make_room_for_commit()?;
        let (len, chain) = (self.active.buffer.len(), self.active.chain);
        self.push(Head { kind, ..Head::new(Tag::Commit, GroupId(0), 0, first) }, &[]);
        if let Err(error) = self.flush() {
            self.poisoned |= is_fatal(&error);
            self.active.buffer.truncate(len);
            self.active.chain = chain;
            return Err(error);
        }
        self.active.keep_last_page();
        self.batch += 1;
        self.first = first;
        (self.pending, self.sealed) = (false, false);
        self.spares.retire(&mut self.retiring);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !planted!("votes-not-written") {
            self.votes.flush()?;
        }
        while let Some(filled) = self.filled.front_mut() {
            filled.write()?;
            filled.sync()?;
            self.filled.pop_front();
        }
        self.active.write()?;
        if planted!("log-without-fsync") { Ok(()) } else { self.active.sync() }
    }

    /// Leaves a proof behind the last batch that it was durable, so that damage to it is not taken
    /// for a torn tail. One write and no sync: call it when there is nothing to do, and at the end.
    pub fn seal(&mut self) -> Result<(), Error> {
        self.healthy()?;
        let room = self.active.position() + 2 * HEAD_BYTES as u64 <= self.active.capacity;
        if self.pending || self.sealed || !room {
            return Ok(());
        }
        self.push(Head::new(Tag::Seal, GroupId(0), 0, 0), &[]);
        (self.pending, self.sealed) = (false, true);
        self.active.write().inspect_err(|error| self.poisoned |= is_fatal(error))
    }

    /// Bytes that the next commit will write, about.
    pub fn pending_bytes(&self) -> usize {
        if !self.pending {
            return 0;
        }
        self.filled.iter().chain([&self.active]).map(|part| part.buffer.len()).sum()
    }

    /// Work that another thread may do ahead of time, or `None`. Hand the result to
    /// [`accept`](Wal::accept). Without it the log does the same when it cannot wait any longer.
    pub fn prepare(&mut self) -> Option<Prepare> {
        if self.poisoned { None } else { self.spares.prepare(&self.log()) }
    }

    /// Takes what came of a [`Prepare`]. `Error::Full` only means that there is no spare yet; any
    /// other error means what it means for a commit.
    pub fn accept(&mut self, prepared: Prepared) -> Result<(), Error> {
        let accepted = self.spares.accept(prepared);
        accepted.inspect_err(|error| self.poisoned |= is_fatal(error))
    }

    /// May it not grow by as much again as it has, since the disk has no room for that? Snapshots are due
    /// that cut it.
    pub fn is_low(&self) -> bool {
        self.spares.are_low()
    }

    /// How much there is, and who keeps it.
    pub fn status(&self) -> Status {
        let oldest = self.live.segments.front().filter(|_| self.live.segments.len() > 1);
        let oldest = oldest.and_then(|segment| {
            let mut groups = self.live.groups.iter();
            groups.find(|(_, state)| state.runs.iter().any(|run| run.segment == segment.sequence))
        });
        Status {
            segments: self.live.segments.len(),
            bytes: self.live.segments.iter().map(|segment| segment.capacity).sum(),
            spares: self.spares.len(),
            oldest: oldest.map(|(group, _)| *group),
        }
    }

    /// Asserts what must always hold.
    pub fn check(&self) {
        self.live.check();
        assert!(self.active.position() <= self.active.capacity, "a segment is never overfilled");
        assert!(self.active.base.is_multiple_of(PAGE_BYTES as u64), "writes are whole pages");
        self.spares.check(self.active.sequence);
    }

    fn log(&self) -> Log {
        self.live.first()..=self.active.sequence
    }

    fn healthy(&self) -> Result<(), Error> {
        if self.poisoned { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Entries end before this place of the active segment; votes and trims may go on.
    fn entry_limit(&self) -> u64 {
        self.active.capacity.saturating_sub(self.control_bytes())
    }

    fn control_bytes(&self) -> u64 {
        CONTROL_BYTES.min(self.options.segment_bytes / 8)
    }

    /// Makes sure that a record with so much data ends before `limit` of the active segment, with a
    /// commit behind it, or goes on to the next segment.
    fn make_room(&mut self, data: usize, limit: u64, wanted_for: For) -> Result<(), Error> {
        let need = (record_bytes(data) + HEAD_BYTES) as u64;
        let fits = self.active.position() + need <= limit;
        if fits { Ok(()) } else { self.next_segment(need, wanted_for) }
    }

    fn make_room_for_commit(&mut self) -> Result<(), Error> {
        let need = HEAD_BYTES as u64;
        let fits = self.active.position() + need <= self.active.capacity;
        if fits { Ok(()) } else { self.next_segment(need, For::Upkeep) }
    }

    fn next_segment(&mut self, need: u64, wanted_for: For) -> Result<(), Error> {
        let table = self.live.groups.len() as u64 * 3 * HEAD_BYTES as u64;
        let wanted = PAGE_BYTES as u64 + table + need + self.control_bytes();
        let wanted = wanted.next_multiple_of(PAGE_BYTES as u64);
        let ready = self.spares.take(&self.log(), wanted, wanted_for);
        let ready = ready.inspect_err(|error| self.poisoned |= is_fatal(error))?;
        self.live.open_segment(ready.sequence, ready.capacity);
        self.reserved = wanted_for == For::Upkeep;
        let (sequence, first, chain) = (ready.sequence, self.first, self.active.chain);
        let header = Header { sequence, batch: self.batch, first, chain };
        let next = Active::begin(ready, &header);
        let filled = std::mem::replace(&mut self.active, next);
        self.filled.push_back(filled);
        let table = self.table();
        table.into_iter().for_each(|head| self.push(head, &[]));
        Ok(())
    }

    /// What every segment tells first: the mark, the vote and the loss of each group.
    fn table(&self) -> Vec<Head> {
        let mut table = Vec::with_capacity(self.live.groups.len() * 3);
        for (group, state) in &self.live.groups {
            let Vote { term, vote } = state.vote;
            table.push(Head::new(Tag::Trim, *group, state.mark.term, state.mark.index));
            if state.lost {
                table.push(Head::new(Tag::Lost, *group, 0, 0));
            }
            if term > 0 {
                table.push(Head::new(Tag::Vote, *group, term, vote_number(vote)));
            }
        }
        table
    }
}

impl Active {
    fn begin(ready: Ready, header: &Header) -> Active {
        let Ready { sequence, file, capacity } = ready;
        let mut buffer = Vec::with_capacity(16 * PAGE_BYTES);
        header.encode(&mut buffer);
        let chain = header.chain;
        Active { sequence, seed: seed(sequence), file, capacity, base: 0, buffer, chain }
    }

    fn resume(disk: &dyn Disk, tail: Tail) -> Result<Active, Error> {
        let Tail { sequence, capacity, offset, page, chain } = tail;
        let path = path(sequence);
        let file = disk.open(&path).map_err(|error| Error::io("open", &path, error))?;
        let base = offset - page.len() as u64;
        Ok(Active { sequence, seed: seed(sequence), file, capacity, base, buffer: page, chain })
    }
}

fn is_fatal(error: &Error) -> bool {
    !error.is_recoverable()
}

/// Deletes what a crash left half made.
fn remove_unfinished(disk: &dyn Disk) -> Result<(), Error> {
    let names = disk.list(FOLDER).map_err(|error| Error::io("list", FOLDER, error))?;
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        let path = format!("{FOLDER}/{name}");
        disk.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
    }
    Ok(())
}

/// A process that was killed may have left writes and names that are not durable, and what recovery
/// tells must be.
fn sync_all(disk: &dyn Disk, restored: &Restored) -> Result<(), Error> {
    for segment in restored.live.segments.iter().filter(|segment| segment.capacity > 0) {
        let path = path(segment.sequence);
        let file = disk.open(&path).map_err(|error| Error::io("open", &path, error))?;
        file.sync().map_err(|error| Error::sync(&path, error))?;
    }
    disk.sync_folder(FOLDER).map_err(|error| Error::sync(FOLDER, error))
}

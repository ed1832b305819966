//! Recovery: from the segments on the disk to the logs of all groups.
//!
//! First the newest commit record tells the oldest segment that counts; anything older may have been
//! written over. From there the chain is walked, record by record, segment by segment. Where it
//! breaks, the walk looks for anything of a later batch (see the module's story): with it the break
//! is a fault and the walk goes on behind it, without it the break is the end of the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use stdx::{mark, planted};

use super::image::{At, Image};
use super::live::{Live, Mark, Vote};
use super::record::{CLOSES, Head, Tag, record_bytes};
use super::segment::{FOLDER, path, sequence_of};
use crate::disk::Disk;
use crate::limits::PAGE_BYTES;
use crate::{Error, Fault, GroupId, Place};

/// An activated spare has records right behind its header page; this much of one is searched.
const SPARE_SEARCH_BYTES: u64 = 64 << 10;

/// An entry as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub index: u64,
    pub term: u64,
    pub kind: u8,
    pub data: Bytes,
}

/// What one group had saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub term: u64,
    pub vote: Option<u32>,
    /// A durable snapshot covers everything up to here, or did when this was written.
    pub mark: Mark,
    /// Behind the mark, without gaps, unless the group has a fault.
    pub entries: Vec<Entry>,
}

/// A torn tail that was cut off: the machine stopped while this was being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub segment: u64,
    pub offset: u64,
}

/// What was found when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub groups: BTreeMap<GroupId, Log>,
    pub faults: Vec<Fault>,
    pub cut: Option<Cut>,
}

impl Recovered {
    /// What `group` may have lost, if anything.
    pub fn fault(&self, group: GroupId) -> Option<&Fault> {
        self.faults.iter().find(|fault| fault.touches(group))
    }
}

/// Where the log goes on.
#[derive(Debug)]
pub(super) struct Tail {
    pub sequence: u64,
    pub capacity: u64,
    pub offset: u64,
    /// The page that `offset` is in, up to it.
    pub page: Vec<u8>,
    pub chain: u32,
}

/// All that a writer needs to go on.
#[derive(Debug)]
pub(super) struct Restored {
    /// `None`: there is no log yet.
    pub tail: Option<Tail>,
    pub live: Live,
    pub batch: u64,
    /// The batch that the log broke off in is to be closed under this number, by a commit alone.
    pub closes: Option<u64>,
    /// Then the tables of the groups must be written, before anything else is.
    pub must_commit: bool,
    /// Files of segments that do not count any more.
    pub retired: Vec<u64>,
    /// Files beyond the tail, which may carry pieces of a batch that was cut.
    pub beyond: Vec<u64>,
    pub votes: BTreeMap<GroupId, Vote>,
}

/// Reads everything.
pub(super) fn recover(disk: &Arc<dyn Disk>) -> Result<(Restored, Recovered), Error> {
    let names = disk.list(FOLDER).map_err(|error| Error::io("list", FOLDER, error))?;
    let present: Vec<u64> = names.iter().filter_map(|name| sequence_of(name)).collect();
    let mut walk = Walk::new(&**disk, &present);
    let first = walk.first()?;
    if let Some(first) = first {
        walk.run(first)?;
    }
    Ok(walk.finish(first))
}

#[derive(Debug, Default)]
struct Rebuilt {
    vote: Vote,
    mark: Mark,
    entries: BTreeMap<u64, (Entry, u64)>,
    /// Damaged entries and the number of their fault, gone once they are replaced or trimmed.
    holes: BTreeMap<u64, usize>,
    /// Where an earlier start noted that the group lost something.
    lost: Option<(u64, usize)>,
}

/// What to do about a break.
enum Verdict {
    /// Nothing of a later batch exists: the log ends here.
    Cut,
    /// The walk goes on in this segment.
    Here(usize),
    /// The walk goes on in a later segment.
    Later,
}

/// How the walk of a segment ended.
enum Ended {
    /// The next segment follows.
    Next,
    /// The log ends in this one.
    Log,
    /// The log ends before this segment.
    Before,
}

struct Walk<'a> {
    disk: &'a dyn Disk,
    present: &'a [u64],
    groups: BTreeMap<GroupId, Rebuilt>,
    faults: Vec<Fault>,
    /// Faults that later records made irrelevant.
    moot: Vec<usize>,
    capacities: BTreeMap<u64, u64>,
    chain: Option<u32>,
    batch: u64,
    closed: bool,
    /// The batch was closed by a recovery that had more to write.
    unfinished: bool,
    batch_max: u64,
    tail: Option<Tail>,
    cut: Option<Cut>,
}

impl<'a> Walk<'a> {
    fn new(disk: &'a dyn Disk, present: &'a [u64]) -> Walk<'a> {
        Walk {
            disk,
            present,
            groups: BTreeMap::new(),
            faults: Vec::new(),
            moot: Vec::new(),
            capacities: BTreeMap::new(),
            chain: None,
            batch: 0,
            closed: true,
            unfinished: false,
            batch_max: 0,
            tail: None,
            cut: None,
        }
    }

    fn load(&self, sequence: u64) -> Result<Option<Image>, Error> {
        Image::load(self.disk, sequence, u64::MAX)
    }

    /// The oldest segment that counts: the newest commit that is known to be durable says so. The
    /// commit of a torn batch may stand there while the batch does not, here or in the segment in
    /// which it began, and so may one that was cut off long ago, behind records of later batches.
    fn first(&self) -> Result<Option<u64>, Error> {
        let mut opened_last = None;
        let mut newest = 0;
        for sequence in self.present.iter().rev() {
            let Some(image) = self.load(*sequence)? else { continue };
            let opened = image.header.map_or(0, |header| header.batch);
            let here = image.heads(0).map(|(_, head)| head.batch).max().unwrap_or(0);
            newest = newest.max(opened).max(here);
            let whole = match self.is_reached(*sequence, newest)? {
                true => image.chained().last().map_or(0, |(offset, _)| offset),
                false => 0,
            };
            let mut batch = 0;
            let mut first = None;
            for (offset, head) in image.heads(0) {
                let left_over = head.batch < batch;
                let durable = offset <= whole || head.batch < newest;
                batch = batch.max(head.batch);
                if head.tag == Tag::Commit && durable && !left_over {
                    first = first.max(Some(head.index));
                }
            }
            if first.is_some() {
                return Ok(first);
            }
            opened_last = opened_last.or_else(|| image.header.map(|header| header.first));
        }
        Ok(opened_last)
    }

    /// Does the chain lead into this segment, as far as `batch` is in the segments before it? One that is
    /// not there any more was recycled, after a batch that came later or was durable.
    fn is_reached(&self, sequence: u64, batch: u64) -> Result<bool, Error> {
        for sequence in (1..=sequence).rev() {
            let image = Image::load(self.disk, sequence, PAGE_BYTES as u64)?;
            let Some(header) = image.and_then(|image| image.header) else { return Ok(false) };
            if header.batch < batch {
                return Ok(true);
            }
            let Some(before) = self.load(sequence - 1)? else { return Ok(true) };
            if before.chained().last().map(|(_, head)| head.crc) != Some(header.chain) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Walks the chain from the segment `first` to the end of the log.
    fn run(&mut self, first: u64) -> Result<(), Error> {
        let last = self.present.last().copied().unwrap_or(0);
        for sequence in first..=last {
            let image = self.load(sequence)?;
            let image = image.unwrap_or_else(|| Image::missing(sequence));
            self.capacities.insert(sequence, image.bytes.len() as u64);
            match self.segment(&image)? {
                Ended::Next => {}
                Ended::Log => return Ok(()),
                Ended::Before => {
                    self.capacities.remove(&sequence);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn segment(&mut self, image: &Image) -> Result<Ended, Error> {
        let mut offset = PAGE_BYTES;
        match image.header {
            Some(header) => {
                if self.chain.is_none() {
                    self.batch = self.batch.max(header.batch);
                    self.closed = false;
                }
                self.chain = Some(header.chain);
                self.batch_max = self.batch_max.max(header.batch);
            }
            None => match self.judge(image, 0, self.next_batch(), None)? {
                Verdict::Cut => return Ok(Ended::Before),
                Verdict::Later => return Ok(Ended::Next),
                Verdict::Here(next) => offset = next,
            },
        }
        loop {
            let (batch, group) = match image.at(offset) {
                At::Record(head, data) if self.follows(&head) => {
                    self.apply(&head, data, (image.sequence, offset));
                    offset += head.record_bytes();
                    continue;
                }
                At::HeadOnly(head) if self.follows(&head) => (head.batch, Some(head)),
                _ => (self.next_batch(), None),
            };
            if group.is_none() && self.goes_on_after(image.sequence)? {
                self.end_at(image, offset);
                return Ok(Ended::Next);
            }
            match self.judge(image, offset, batch, group)? {
                Verdict::Cut => {
                    self.end_at(image, offset);
                    if group.is_some() || !self.closed || self.batch_max > self.batch {
                        mark!("a torn tail is cut off");
                        let (segment, offset) = (image.sequence, offset as u64);
                        self.cut = Some(Cut { segment, offset });
                    }
                    return Ok(Ended::Log);
                }
                Verdict::Later => {
                    self.end_at(image, image.bytes.len());
                    return Ok(Ended::Next);
                }
                Verdict::Here(next) => offset = next,
            }
        }
    }

    /// The batch that a break at this point belongs to.
    fn next_batch(&self) -> u64 {
        if self.closed { self.batch + 1 } else { self.batch }
    }

    fn follows(&self, head: &Head) -> bool {
        self.chain.is_none_or(|chain| chain == head.chain)
    }

    /// Does the chain continue in the next segment exactly from here?
    fn goes_on_after(&self, sequence: u64) -> Result<bool, Error> {
        let next = Image::chain_before(self.disk, sequence + 1)?;
        Ok(next.is_some() && next == self.chain)
    }

    /// The chain is broken at `offset`, in `batch`. `damaged` is the head of the record there, if at
    /// least that can be trusted.
    fn judge(
        &mut self,
        image: &Image,
        offset: usize,
        batch: u64,
        damaged: Option<Head>,
    ) -> Result<Verdict, Error> {
        let mut here = None;
        let mut later_batch = false;
        let behind = damaged.map_or(offset, |head| offset + head.record_bytes());
        for (at, head) in image.heads(behind) {
            self.batch_max = self.batch_max.max(head.batch);
            later_batch |= head.batch > batch;
            if here.is_none() && head.batch >= batch {
                here = Some((at, head.chain));
            }
        }
        later_batch |= image.displaced(offset).any(|head| head.batch > batch);
        let later_segment = self.later_segment(image.sequence, batch)?;
        let unreadable = image.is_unreadable(offset);
        let tail = !later_batch && !later_segment && !unreadable;
        if tail || planted!("log-cut-at-damage") {
            return Ok(Verdict::Cut);
        }
        // Only if the chain goes on right behind the damaged record is it all that was lost.
        let alone = match (damaged, here) {
            (Some(lost), Some((at, chain))) => at == behind && chain == lost.crc,
            (Some(lost), None) => {
                Image::chain_before(self.disk, image.sequence + 1)? == Some(lost.crc)
            }
            (None, _) => false,
        };
        self.report(image, offset, damaged.filter(|_| alone), unreadable);
        if let Some((at, chain)) = here {
            mark!("the log goes on behind damage");
            self.chain = Some(chain);
            (self.batch, self.closed) = (self.batch.max(batch), false);
            return Ok(Verdict::Here(at));
        }
        // A chain that no header repeats: the next start must find this break again.
        self.chain = if later_segment { None } else { self.chain.map(|chain| !chain) };
        (self.batch, self.closed) = (self.batch.max(batch), false);
        Ok(Verdict::Later)
    }

    /// Does any segment behind this one hold a piece of a batch after `batch`?
    fn later_segment(&mut self, sequence: u64, batch: u64) -> Result<bool, Error> {
        let mut found = false;
        for later in self.present.iter().copied().filter(|later| *later > sequence) {
            let Some(image) = Image::load(self.disk, later, SPARE_SEARCH_BYTES)? else { continue };
            let image = match image.header {
                Some(_) => self.load(later)?.unwrap_or(image),
                None => image,
            };
            let opened = image.header.map(|header| header.batch);
            let batches = image.heads(0).map(|(_, head)| head.batch).chain(opened);
            if let Some(newest) = batches.max() {
                self.batch_max = self.batch_max.max(newest);
                found |= newest > batch;
            }
        }
        Ok(found)
    }

    fn report(&mut self, image: &Image, offset: usize, damaged: Option<Head>, unreadable: bool) {
        let path = self.disk.describe(&path(image.sequence));
        let place = Place::Log { path, segment: image.sequence, offset: offset as u64 };
        let reason = match (offset, damaged, unreadable) {
            (_, _, true) => "it cannot be read",
            (0, _, _) if image.bytes.is_empty() => "the segment is missing",
            (0, _, _) => "the header of the segment is damaged",
            (_, Some(_), _) => "the data of a record is damaged",
            (_, None, _) => "records are damaged or missing, and later ones exist",
        };
        self.faults.push(Fault::new(place, reason, damaged.map(|head| head.group)));
        if let Some(head) = damaged.filter(|head| matches!(head.tag, Tag::Entry | Tag::Moved)) {
            let state = self.groups.entry(head.group).or_default();
            if head.tag == Tag::Entry {
                self.moot.extend(state.cut_from(head.index));
            }
            state.entries.remove(&head.index);
            state.holes.insert(head.index, self.faults.len() - 1);
        }
    }

    /// Takes in one whole record of the chain.
    fn apply(&mut self, head: &Head, data: &[u8], place: (u64, usize)) {
        self.chain = Some(head.crc);
        self.batch_max = self.batch_max.max(head.batch);
        (self.batch, self.closed) = (head.batch, head.tag == Tag::Commit);
        self.unfinished = self.closed && head.kind == CLOSES;
        if matches!(head.tag, Tag::Commit | Tag::Seal) {
            return;
        }
        let state = self.groups.entry(head.group).or_default();
        let mark = Mark { index: head.index, term: head.term };
        match head.tag {
            Tag::Entry | Tag::Moved => {
                if head.tag == Tag::Entry {
                    self.moot.extend(state.cut_from(head.index));
                }
                self.moot.extend(state.holes.remove(&head.index));
                let (index, term) = (head.index, head.term);
                let data = Bytes::copy_from_slice(data);
                let entry = Entry { index, term, kind: head.kind, data };
                state.entries.insert(index, (entry, place.0));
            }
            Tag::Vote => {
                let vote = Vote { term: head.term, vote: head.vote() };
                if vote.is_newer_than(&state.vote) {
                    state.vote = vote;
                }
            }
            Tag::Trim => self.moot.extend(state.trim(mark)),
            Tag::Reset => {
                state.entries.clear();
                self.moot.extend(std::mem::take(&mut state.holes).into_values());
                (state.mark, state.lost) = (mark, None);
                for fault in &mut self.faults {
                    fault.repaired.insert(head.group);
                }
            }
            Tag::Lost => state.lost = Some(place),
            Tag::Commit | Tag::Seal => {}
        }
    }

    fn end_at(&mut self, image: &Image, offset: usize) {
        let start = offset / PAGE_BYTES * PAGE_BYTES;
        self.tail = Some(Tail {
            sequence: image.sequence,
            capacity: image.bytes.len() as u64,
            offset: offset as u64,
            page: image.bytes[start..offset].to_vec(),
            chain: self.chain.unwrap_or(0),
        });
    }

    fn finish(mut self, first: Option<u64>) -> (Restored, Recovered) {
        let end = self.tail.as_ref().map(|tail| tail.sequence);
        let first = end.and(first).unwrap_or(u64::MAX);
        // Pieces of the batch that the log broke off in may be anywhere behind the break, so what comes
        // next is of a later one. But any piece of a later one would prove that the break is damage:
        // the batch must be closed before.
        let broken_off = self.next_batch().max(self.batch_max);
        let breaks = !self.closed || self.batch_max > self.batch;
        let batch = if breaks { broken_off + 1 } else { self.batch + 1 };
        let closes = (breaks && self.tail.is_some()).then_some(broken_off);
        let mut live = Live::default();
        for (sequence, capacity) in &self.capacities {
            if end.is_some_and(|end| *sequence <= end) {
                live.open_segment(*sequence, *capacity);
            }
        }
        let mut number = 0;
        self.faults.retain(|_| {
            number += 1;
            !self.moot.contains(&(number - 1))
        });
        let mut recovered = Recovered { cut: self.cut, ..Recovered::default() };
        let mut votes = BTreeMap::new();
        for (group, state) in std::mem::take(&mut self.groups) {
            votes.insert(group, state.vote);
            let lost = state.lost;
            let (log, whole) = state.into_log(group, &mut live);
            let (segment, offset) = lost.unwrap_or((first, 0));
            if (lost.is_some() || !whole) && !self.faults.iter().any(|fault| fault.touches(group)) {
                let path = self.disk.describe(&path(segment));
                let place = Place::Log { path, segment, offset: offset as u64 };
                let reason = match lost {
                    Some(_) => "an earlier start found damage that was not repaired",
                    None => "entries are missing",
                };
                self.faults.push(Fault::new(place, reason, Some(group)));
            }
            let state = live.groups.entry(group).or_default();
            state.lost = lost.is_some();
            recovered.groups.insert(group, log);
        }
        live.check();
        recovered.faults = self.faults;
        let (beyond, inside): (Vec<u64>, Vec<u64>) =
            self.present.iter().partition(|one| end.is_none_or(|end| **one > end));
        let restored = Restored {
            live,
            batch,
            closes,
            must_commit: breaks || self.unfinished,
            retired: inside.into_iter().filter(|one| *one < first).collect(),
            beyond,
            votes,
            tail: self.tail,
        };
        (restored, recovered)
    }
}

impl Rebuilt {
    /// The log of the group, and whether it has no gaps. Notes where its entries are.
    fn into_log(self, group: GroupId, live: &mut Live) -> (Log, bool) {
        live.reset(group, self.mark);
        let mut log = Log { mark: self.mark, ..Log::default() };
        let mut expected = self.mark.index.saturating_add(1);
        let mut whole = true;
        for (index, (entry, segment)) in self.entries {
            whole &= index == expected;
            if index > self.mark.index {
                live.found(group, index, segment, record_bytes(entry.data.len()));
                log.entries.push(entry);
            }
            expected = index.saturating_add(1);
        }
        (log, whole)
    }

    /// Entries from `index` on are void. Returns the faults that do not matter any more.
    fn cut_from(&mut self, index: u64) -> Vec<usize> {
        if self.entries.last_key_value().is_some_and(|(last, _)| *last >= index) {
            self.entries.split_off(&index);
        }
        if self.holes.is_empty() {
            return Vec::new();
        }
        self.holes.split_off(&index).into_values().collect()
    }

    /// A snapshot covers everything up to `mark`. Returns the faults that do not matter any more.
    fn trim(&mut self, mark: Mark) -> Vec<usize> {
        if mark.index > self.mark.index {
            self.mark = mark;
        }
        if self.entries.first_key_value().is_some_and(|(first, _)| *first <= mark.index) {
            self.entries = self.entries.split_off(&mark.index.saturating_add(1));
        }
        let behind = self.holes.split_off(&mark.index.saturating_add(1));
        std::mem::replace(&mut self.holes, behind).into_values().collect()
    }
}

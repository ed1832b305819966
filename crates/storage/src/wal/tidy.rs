//! Moving the few entries that pin an old segment to the end of the log.
//!
//! Segments are recycled from the oldest on, so one idle group could hold all that busy groups wrote
//! since. Its entries are written again as records that replace nothing but themselves.
//!
//! The oldest segment is read beside the append path, by a [`Survey`], which any thread may run; what
//! it has found is moved a little at a time, between commits.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};

use stdx::mark;

use super::image::{At, Image, READ_BYTES};
use super::record::{Head, Tag};
use super::segment::path;
use super::writer::Wal;
use crate::disk::Disk;
use crate::limits::{SEGMENTS_PINNED_MAX, TIDY_PART, TIDY_STEP_BYTES};
use crate::{Error, GroupId};

/// How far the oldest segment is on its way out.
#[derive(Debug, Default)]
pub(super) struct Tidying {
    /// The oldest segment that was asked about last, the active one by then, and how much was alive in the
    /// oldest if the disk had no room for another.
    asked: Option<(u64, u64, usize)>,
    /// Alive as long as somebody is at it, or has what came of it.
    out: Weak<()>,
    /// What is to be moved.
    found: Option<Found>,
}

/// Work to do beside the append path, on any thread: read the oldest segment. [`run`](Survey::run) it
/// and hand the result to [`Wal::surveyed`].
#[derive(Debug)]
pub struct Survey {
    disk: Arc<dyn Disk>,
    sequence: u64,
    /// What is alive in it, in indexes. It may be less by the time that it was read.
    runs: BTreeMap<GroupId, Vec<RangeInclusive<u64>>>,
    out: Arc<()>,
}

/// What came of a [`Survey`].
#[derive(Debug)]
pub struct Surveyed {
    sequence: u64,
    result: Result<Option<Found>, Error>,
    _out: Arc<()>,
}

/// A segment in which little is alive, and that: the last record of each entry.
#[derive(Debug)]
struct Found {
    sequence: u64,
    alive: BTreeMap<(GroupId, u64), (Head, Vec<u8>)>,
}

impl Survey {
    /// Does the work, which takes as long as reading a segment, in small steps. `rest` is called between
    /// two: it is in no hurry, and clients wait for the same disk and processor.
    pub fn run(self, rest: &mut dyn FnMut()) -> Surveyed {
        Surveyed { sequence: self.sequence, result: self.read(rest), _out: self.out }
    }

    /// Nothing if much is alive, or the segment is damaged, or was recycled meanwhile.
    fn read(&self, rest: &mut dyn FnMut()) -> Result<Option<Found>, Error> {
        let image = Image::load_slowly(&*self.disk, self.sequence, u64::MAX, rest)?;
        let Some(image) = image else { return Ok(None) };
        let next = Image::chain_before(&*self.disk, self.sequence + 1)?;
        let (mut alive, mut last, mut steps) = (BTreeMap::new(), None, 0);
        for (offset, head) in image.chained() {
            last = Some(head.crc);
            if offset / READ_BYTES > steps {
                steps = offset / READ_BYTES;
                rest();
            }
            if self.is_alive(&head) {
                alive.insert((head.group, head.index), (offset, head));
            }
        }
        let bytes: usize = alive.values().map(|(_, head)| head.record_bytes()).sum();
        // Behind damage, the last record of an entry may stand out of sight.
        if next.is_none() || last != next || bytes as u64 > image.bytes.len() as u64 / TIDY_PART {
            return Ok(None);
        }
        let records = alive.into_iter().filter_map(|(entry, (offset, head))| {
            let At::Record(_, data) = image.at(offset) else { return None };
            Some((entry, (head, data.to_vec())))
        });
        Ok(Some(Found { sequence: self.sequence, alive: records.collect() }))
    }

    fn is_alive(&self, head: &Head) -> bool {
        let mut runs = self.runs.get(&head.group).into_iter().flatten();
        matches!(head.tag, Tag::Entry | Tag::Moved) && runs.any(|run| run.contains(&head.index))
    }
}

impl Wal {
    /// Has the oldest segment read if the log is long, and little in it is alive. When much is, or it is
    /// damaged, a snapshot of [`Status::oldest`](super::Status) is the cure. One at a time; and the log is judged
    /// once for each segment that it grows by: groups that take their snapshots one after the other
    /// would have a segment read at each. On a full disk any log is long, and is judged after each.
    pub fn survey(&mut self) -> Option<Survey> {
        let oldest = *self.live.segments.front()?;
        let (short, segments) = (self.spares.are_short(), self.live.segments.len());
        let long = segments > if short { 1 } else { SEGMENTS_PINNED_MAX };
        let alive = if short { oldest.runs } else { 0 };
        let asked = Some((oldest.sequence, self.live.active(), alive));
        let is_due = long && oldest.runs > 0 && self.tidying.asked != asked;
        let is_at_it = self.tidying.out.strong_count() > 0 || self.tidying.found.is_some();
        if !is_due || is_at_it || !self.is_flushed() {
            return None;
        }
        let runs = self.live.groups.values().flat_map(|state| &state.runs);
        let alive = runs.filter(|run| run.segment == oldest.sequence).map(|run| run.bytes);
        if alive.sum::<u64>() > oldest.capacity / TIDY_PART {
            // On a full disk it is judged again as soon as any of it is not.
            self.tidying.asked = asked.filter(|_| !short);
            return None;
        }
        let out = Arc::new(());
        (self.tidying.asked, self.tidying.out) = (asked, Arc::downgrade(&out));
        let (sequence, disk) = (oldest.sequence, self.disk.clone());
        Some(Survey { disk, sequence, runs: self.runs_in(sequence), out })
    }

    /// Takes what came of a [`Survey`].
    pub fn surveyed(&mut self, surveyed: Surveyed) -> Result<(), Error> {
        if surveyed.sequence == self.live.first() {
            self.tidying.found = surveyed.result?;
        } else {
            mark!("a segment is recycled while it is read");
        }
        Ok(())
    }

    /// Moves some more of what a survey has found. True if records were appended: commit them.
    pub fn tidy(&mut self) -> Result<bool, Error> {
        let Some(found) = self.tidying.found.take() else { return Ok(false) };
        let moved = self.move_some(&found);
        let is_pinned = self.runs_in(found.sequence).values().any(|runs| !runs.is_empty());
        self.tidying.found = Some(found).filter(|_| is_pinned);
        moved
    }

    /// Is something to be moved, or to be committed that was?
    pub fn is_moving(&self) -> bool {
        self.tidying.found.is_some() || self.pending_bytes() > 0
    }

    /// What is alive in this segment.
    fn runs_in(&self, segment: u64) -> BTreeMap<GroupId, Vec<RangeInclusive<u64>>> {
        let runs = self.live.groups.iter().map(|(group, state)| {
            let runs = state.runs.iter().filter(|run| run.segment == segment);
            (*group, runs.map(|run| run.first..=run.last).collect())
        });
        runs.collect()
    }

    fn move_some(&mut self, found: &Found) -> Result<bool, Error> {
        let runs = self.runs_in(found.sequence).into_iter();
        let wanted = runs
            .flat_map(|(group, runs)| runs.into_iter().flatten().map(move |index| (group, index)));
        let mut bytes = 0;
        for entry in wanted {
            let (head, data) = found.alive.get(&entry).ok_or_else(|| Error::Corrupt {
                path: path(found.sequence),
                offset: 0,
                reason: "an entry that is still needed cannot be read",
            })?;
            match self.append_moved(*head, data) {
                Err(Error::Full { .. }) if bytes > 0 => break,
                other => other?,
            }
            bytes += head.record_bytes();
            if bytes >= TIDY_STEP_BYTES {
                break;
            }
        }
        if bytes > 0 {
            mark!("what pins an old segment is moved");
        }
        Ok(bytes > 0)
    }
}

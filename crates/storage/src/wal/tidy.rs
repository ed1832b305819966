//! Moving the few entries that pin an old segment to the end of the log.
//!
//! Segments are recycled from the oldest on, so one idle group could hold all that busy groups wrote
//! since. Its entries are written again as records that replace nothing but themselves.

use std::collections::BTreeMap;

use super::image::{At, Image};
use super::record::{Head, Tag};
use super::segment::path;
use super::writer::Wal;
use crate::limits::{PAGE_BYTES, SEGMENTS_PINNED_MAX};
use crate::{Error, GroupId};

impl Wal {
    /// Frees the oldest segment if the log is long and little in it is alive. True if records were
    /// appended: commit them. It reads one segment, so call it between commits, not in the rush. When
    /// much is alive, or the segment is damaged, it does nothing, and a snapshot of
    /// [`Status::oldest`](super::Status) is the cure. It judges the log once for each segment that this
    /// grows by: groups that take their snapshots one after the other would have it read a segment at
    /// each.
    pub fn tidy(&mut self) -> Result<bool, Error> {
        let Some(oldest) = self.live.segments.front().copied() else { return Ok(false) };
        let long = self.live.segments.len() > SEGMENTS_PINNED_MAX;
        if !long || oldest.runs == 0 || !self.is_flushed() {
            return Ok(false);
        }
        let judged = (oldest.sequence, self.live.active());
        if self.left_alone == Some(judged) {
            return Ok(false);
        }
        let moved = self.tidy_segment(oldest.sequence)?;
        self.left_alone = (!moved).then_some(judged);
        Ok(moved)
    }

    fn tidy_segment(&mut self, sequence: u64) -> Result<bool, Error> {
        let Some(image) = Image::load(&*self.disk, sequence, u64::MAX)? else {
            return Ok(false);
        };
        // Behind damage, the last record of an entry may stand out of sight.
        let next = Image::load(&*self.disk, sequence + 1, PAGE_BYTES as u64)?;
        let next = next.and_then(|image| image.header).map(|header| header.chain);
        if next.is_none() || image.chained().last().map(|(_, head)| head.crc) != next {
            return Ok(false);
        }
        let alive = self.alive(&image);
        let bytes: usize = alive.values().map(|(_, head)| head.record_bytes()).sum();
        if bytes > image.bytes.len() / 4 {
            return Ok(false);
        }
        self.move_runs(&image, &alive)
    }

    /// Where each entry that is alive in this segment stands: its last record there.
    fn alive(&self, image: &Image) -> BTreeMap<(GroupId, u64), (usize, Head)> {
        let mut alive = BTreeMap::new();
        for (offset, head) in image.chained() {
            let entry = matches!(head.tag, Tag::Entry | Tag::Moved);
            let runs = self.live.groups.get(&head.group).filter(|_| entry);
            let inside = runs.is_some_and(|state| {
                state.runs.iter().any(|run| {
                    run.segment == image.sequence && (run.first..=run.last).contains(&head.index)
                })
            });
            if inside {
                alive.insert((head.group, head.index), (offset, head));
            }
        }
        alive
    }

    fn move_runs(
        &mut self,
        image: &Image,
        alive: &BTreeMap<(GroupId, u64), (usize, Head)>,
    ) -> Result<bool, Error> {
        let mut wanted = Vec::new();
        for (group, state) in &self.live.groups {
            for run in state.runs.iter().filter(|run| run.segment == image.sequence) {
                wanted.extend((run.first..=run.last).map(|index| (*group, index)));
            }
        }
        let mut moved = false;
        for place in wanted {
            let damaged = |offset: usize| Error::Corrupt {
                path: path(image.sequence),
                offset: offset as u64,
                reason: "an entry that is still needed cannot be read",
            };
            let (offset, _) = alive.get(&place).ok_or_else(|| damaged(0))?;
            let At::Record(head, data) = image.at(*offset) else { return Err(damaged(*offset)) };
            self.append_moved(head, data)?;
            moved = true;
        }
        Ok(moved)
    }
}

//! What still counts: for each group its vote, its mark and where its entries are; for each segment
//! how many runs of entries keep it alive.
//!
//! A *run* is a stretch of one group's entries in one segment. The runs of a group are disjoint and
//! in the order of their indexes; replacing entries cuts them at the back, trimming at the front.

use std::collections::{BTreeMap, VecDeque};

use crate::GroupId;

/// A place in a group's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub index: u64,
    pub term: u64,
}

/// A term and the vote in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) term: u64,
    pub(crate) vote: Option<u32>,
}

impl Vote {
    /// Is this what must be kept, if `other` is known as well? A vote is given once in a term.
    pub(crate) fn is_newer_than(&self, other: &Vote) -> bool {
        (self.term, self.vote.is_some()) > (other.term, other.vote.is_some())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub segment: u64,
    pub first: u64,
    pub last: u64,
    /// What its records take, at the least.
    pub bytes: u64,
    /// What the largest of them takes, or took before some were cut off.
    pub largest: u64,
}

impl Run {
    fn of(segment: u64, index: u64, bytes: usize) -> Run {
        let bytes = bytes as u64;
        Run { segment, first: index, last: index, bytes, largest: bytes }
    }

    /// Is the next run a part of it?
    fn continues(&self, next: &Run) -> bool {
        self.segment == next.segment && self.last + 1 == next.first
    }

    /// Only these entries of it matter still. The others are taken to have been as large as any.
    fn cut(&mut self, first: u64, last: u64) {
        let gone = (self.last - self.first) - (last - first);
        self.bytes = self.bytes.saturating_sub(gone.saturating_mul(self.largest));
        (self.first, self.last) = (first, last);
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub vote: Vote,
    /// Everything up to here is covered by a durable snapshot.
    pub mark: Mark,
    /// The last index of the log, `mark.index` if it is empty.
    pub last: u64,
    pub runs: VecDeque<Run>,
    /// Damage took something of it, and it was not reset since.
    pub lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub sequence: u64,
    pub capacity: u64,
    /// Runs of any group in it.
    pub runs: usize,
}

/// All groups and all segments that count, the oldest first; the last one is active.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    pub segments: VecDeque<Segment>,
    pub groups: BTreeMap<GroupId, Group>,
}

impl Live {
    /// The oldest segment that counts.
    pub(super) fn first(&self) -> u64 {
        self.segments.front().map_or(0, |segment| segment.sequence)
    }

    pub(super) fn active(&self) -> u64 {
        self.segments.back().map_or(0, |segment| segment.sequence)
    }

    /// The next segment becomes the active one.
    pub(super) fn open_segment(&mut self, sequence: u64, capacity: u64) {
        if let Some(last) = self.segments.back() {
            assert_eq!(sequence, last.sequence + 1, "segments follow each other");
        }
        self.segments.push_back(Segment { sequence, capacity, runs: 0 });
    }

    /// An entry was put into the active segment, as a record of so many bytes.
    pub(super) fn entry(&mut self, group: GroupId, index: u64, bytes: usize) {
        let active = self.active();
        let state = self.groups.entry(group).or_default();
        while let Some(run) = state.runs.back_mut() {
            if run.first < index {
                run.cut(run.first, run.last.min(index - 1));
                break;
            }
            count(&mut self.segments, run.segment, false);
            state.runs.pop_back();
        }
        self.found(group, index, active, bytes);
    }

    /// The first entry of a run was written again, into the active segment.
    pub(super) fn moved(&mut self, group: GroupId, index: u64, bytes: usize) {
        let active = self.active();
        let Some(state) = self.groups.get_mut(&group) else { return };
        let at = state.runs.partition_point(|run| run.last < index);
        let Some(run) = state.runs.get_mut(at) else { return };
        assert_eq!(run.first, index, "a run moves from its first entry on");
        let source = run.segment;
        if run.first == run.last {
            state.runs.remove(at);
            count(&mut self.segments, source, false);
        } else {
            run.cut(run.first + 1, run.last);
        }
        if put(&mut state.runs, at, Run::of(active, index, bytes)) {
            count(&mut self.segments, active, true);
        }
    }

    /// An entry that recovery found in `segment`, as a record of so many bytes. Indexes come in order.
    pub(super) fn found(&mut self, group: GroupId, index: u64, segment: u64, bytes: usize) {
        let state = self.groups.entry(group).or_default();
        state.last = index;
        let end = state.runs.len();
        if put(&mut state.runs, end, Run::of(segment, index, bytes)) {
            count(&mut self.segments, segment, true);
        }
    }

    /// Entries up to `mark` do not matter any more.
    pub(super) fn trim(&mut self, group: GroupId, mark: Mark) {
        let state = self.groups.entry(group).or_default();
        if mark.index > state.mark.index {
            state.mark = mark;
        }
        state.last = state.last.max(mark.index);
        while let Some(run) = state.runs.front_mut() {
            if run.last > mark.index {
                run.cut(run.first.max(mark.index + 1), run.last);
                break;
            }
            count(&mut self.segments, run.segment, false);
            state.runs.pop_front();
        }
    }

    /// No entry of the group matters any more; its log goes on behind `mark`.
    pub(super) fn reset(&mut self, group: GroupId, mark: Mark) {
        let state = self.groups.entry(group).or_default();
        for run in state.runs.drain(..) {
            count(&mut self.segments, run.segment, false);
        }
        state.mark = mark;
        state.last = mark.index;
        state.lost = false;
    }

    /// Takes the oldest segments out that nothing keeps alive. The active one always stays.
    pub(super) fn retire(&mut self, retired: &mut Vec<Segment>) {
        while self.segments.len() > 1 && self.segments.front().is_some_and(|one| one.runs == 0) {
            retired.extend(self.segments.pop_front());
        }
    }

    /// Counts agree with the runs, and the runs with each other.
    pub(super) fn check(&self) {
        let mut runs = 0;
        for state in self.groups.values() {
            runs += state.runs.len();
            let mut before = state.mark.index;
            for run in &state.runs {
                assert!(before < run.first, "runs overlap: {before} and {}", run.first);
                assert!(run.first <= run.last, "a run has entries");
                before = run.last;
            }
            assert!(before <= state.last, "entries behind the last one");
        }
        let counted: usize = self.segments.iter().map(|segment| segment.runs).sum();
        assert_eq!(runs, counted, "every run keeps one segment alive");
    }
}

/// Puts a run of one entry at this place, or adds it to the run before. True if it is one more.
fn put(runs: &mut VecDeque<Run>, at: usize, run: Run) -> bool {
    match at.checked_sub(1).and_then(|before| runs.get_mut(before)) {
        Some(before) if before.continues(&run) => {
            (before.last, before.bytes) = (run.last, before.bytes + run.bytes);
            before.largest = before.largest.max(run.largest);
            false
        }
        _ => {
            runs.insert(at, run);
            true
        }
    }
}

fn count(segments: &mut VecDeque<Segment>, sequence: u64, up: bool) {
    let first = segments.front().map_or(0, |segment| segment.sequence);
    let at = sequence.checked_sub(first).expect("a run is in a segment that counts");
    let segment = segments.get_mut(at as usize).expect("a run is in a segment that counts");
    segment.runs = if up { segment.runs + 1 } else { segment.runs - 1 };
}

#[cfg(test)]
mod tests {
    use super::{Live, Mark, Run};
    use crate::GroupId;

    const G: GroupId = GroupId(1);

    fn filled() -> Live {
        let mut live = Live::default();
        for sequence in 1..=3 {
            live.open_segment(sequence, 1);
            (1..=3).for_each(|at| live.entry(G, (sequence - 1) * 3 + at, 40));
        }
        live
    }

    #[test]
    fn replacing_and_trimming_free_segments_from_the_oldest_on() {
        let mut live = filled();
        let mut retired = Vec::new();
        live.entry(G, 4, 40);
        live.check();
        live.retire(&mut retired);
        assert!(retired.is_empty(), "segment 2 is dead, but 1 is not");
        live.trim(G, Mark { index: 3, term: 1 });
        live.retire(&mut retired);
        assert_eq!(retired.iter().map(|one| one.sequence).collect::<Vec<_>>(), [1, 2]);
        live.reset(G, Mark { index: 9, term: 2 });
        live.retire(&mut retired);
        assert_eq!(retired.len(), 2, "the active segment stays");
        live.check();
    }

    #[test]
    fn moving_a_run_keeps_its_entries_in_order() {
        let mut live = filled();
        live.trim(G, Mark { index: 1, term: 1 });
        let run = |segment| Run { segment, first: 2, last: 3, bytes: 80, largest: 40 };
        assert_eq!(live.groups[&G].runs[0], run(1));
        live.moved(G, 2, 40);
        live.moved(G, 3, 40);
        live.check();
        let runs = &live.groups[&G].runs;
        assert_eq!(runs[0], run(3));
        assert_eq!((live.segments[0].runs, live.segments[2].runs), (0, 2));
        live.entry(G, 10, 40);
        assert_eq!(live.groups[&G].runs.len(), 3);
    }

    #[test]
    fn of_a_run_that_is_cut_no_more_is_said_to_be_alive_than_is() {
        let mut live = Live::default();
        live.open_segment(1, 1);
        live.entry(G, 1, 10_000);
        (2..=100).for_each(|index| live.entry(G, index, 40));
        live.trim(G, Mark { index: 1, term: 1 });
        assert_eq!(live.groups[&G].runs[0].bytes, 99 * 40);
        live.entry(G, 90, 40);
        assert_eq!(
            live.groups[&G].runs[0].bytes, 40,
            "the eleven that are replaced could have been large"
        );
        live.check();
    }
}

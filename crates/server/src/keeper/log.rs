//! Saves into the log, and what is to be done beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use node::{Event, GroupId, Save, message};
use stdx::{mark, planted};
use storage::Error;
use storage::wal::{Prepare, Prepared, Record, Survey, Surveyed, Wal};

use super::stored;

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
    /// Snapshots that are durable, which the log does not say yet: index and term.
    trims: BTreeMap<GroupId, (u64, u64)>,
    /// Saves that were not appended yet, in their order. Those of a group do not overtake each other; those
    /// of others do, lest a vote has to wait for room that a group's entries do not find.
    waiting: VecDeque<Save>,
    /// Logs that are void, and are not yet noted so.
    resets: VecDeque<(GroupId, u64, u64)>,
    /// What the next commit will have made durable.
    saved: BTreeMap<GroupId, u64>,
    full: bool,
    low: bool,
}

/// Work for the log that any thread may do; the result is for [`LogKeeper::accept`].
#[derive(Debug)]
pub enum Chore {
    /// The next segments are made.
    Make(Prepare),
    /// The oldest segment is read.
    Read(Survey),
}

#[derive(Debug)]
pub enum Done {
    Made(Prepared),
    Read(Surveyed),
}

impl Chore {
    /// `rest` is called between two steps, unless the log waits for it.
    pub fn run(self, rest: &mut dyn FnMut()) -> Done {
        match self {
            Chore::Make(prepare) => Done::Made(prepare.run(rest)),
            Chore::Read(survey) => Done::Read(survey.run(rest)),
        }
    }
}

impl LogKeeper {
    /// Keeps an open log.
    pub fn new(wal: Wal) -> LogKeeper {
        LogKeeper {
            wal,
            trims: BTreeMap::new(),
            waiting: VecDeque::new(),
            resets: VecDeque::new(),
            saved: BTreeMap::new(),
            full: false,
            low: false,
        }
    }

    /// Takes saves, to be durable with the next commit.
    pub fn save(&mut self, saves: Vec<Save>) {
        for save in saves {
            if save.needed {
                // So is what it stands behind.
                let before = self.waiting.iter_mut().filter(|before| before.group == save.group);
                before.for_each(|before| before.needed = true);
            }
            self.waiting.push_back(save);
        }
    }

    /// Does anything wait for room?
    pub fn has_waiting(&self) -> bool {
        let notes = !self.resets.is_empty() || !self.trims.is_empty();
        notes || !self.waiting.is_empty() || !self.saved.is_empty()
    }

    /// A snapshot covers the log up to `index`; that is noted with the next commit.
    pub fn trim(&mut self, group: GroupId, index: u64, term: u64) {
        self.trims.insert(group, (index, term));
        // Entries that wait for room may be committed, applied and in a snapshot already.
        let covered = |record: &consensus::Record| matches!(record, consensus::Record::Entry(entry) if entry.index.0 <= index);
        for save in self.waiting.iter_mut().filter(|save| save.group == group) {
            if save.records.iter().any(covered) {
                mark!("entries that wait for room are in a snapshot already");
            }
            save.records.retain(|record| !covered(record));
        }
    }

    /// A snapshot has taken the place of the whole log; so it is once the next commit is durable.
    /// Entries that wait for room were of the log that is void.
    pub fn reset(&mut self, group: GroupId, index: u64, term: u64) {
        self.trims.remove(&group);
        for save in self.waiting.iter_mut().filter(|save| save.group == group) {
            save.records.retain(|record| !matches!(record, consensus::Record::Entry(_)));
        }
        if !planted!("install-keeps-the-log") {
            self.resets.push_back((group, index, term));
        }
    }

    /// Appends what waits and makes all of it durable; says so in `out`.
    pub fn commit(&mut self, out: &mut Vec<Event>) -> Result<Room, Error> {
        let noted = self.append_resets()? && self.append_trims()?;
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

    /// Moves idle groups out of old segments, and says what is to be done beside.
    pub fn tidy(&mut self) -> Result<Vec<Chore>, Error> {
        spare_full(self.wal.tidy().map(|_| ()))?;
        let make = self.wal.prepare().map(Chore::Make);
        let read = self.wal.survey().map(Chore::Read);
        Ok(make.into_iter().chain(read).collect())
    }

    /// Takes what came of a chore.
    pub fn accept(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Made(prepared) => spare_full(self.wal.accept(prepared)).map(|_| ()),
            Done::Read(surveyed) => self.wal.surveyed(surveyed),
        }
    }

    /// Leaves a proof that the log of an idle node is whole, once nothing is to be moved any more: some
    /// of that is done first.
    pub fn seal(&mut self) -> Result<(), Error> {
        if self.wal.is_moving() {
            spare_full(self.wal.tidy().map(|_| ()))?;
            spare_full(self.wal.commit())?;
        }
        self.wal.seal()
    }

    /// False if there was no room for all.
    fn append_trims(&mut self) -> Result<bool, Error> {
        while let Some((group, (index, term))) = self.trims.pop_first() {
            let trim = Record::Trim { group: stored(group), index, term };
            if !spare_full(self.wal.append(&trim))? {
                self.trims.insert(group, (index, term));
                return Ok(false);
            }
        }
        Ok(true)
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
        let (mut left, mut stuck) = (VecDeque::new(), BTreeSet::new());
        while let Some(mut save) = self.waiting.pop_front() {
            if !stuck.contains(&save.group) {
                let appended = append_save(&mut self.wal, &save)?;
                if appended == save.records.len() || planted!("full-disk-ignored") {
                    self.saved.insert(save.group, save.number);
                    continue;
                }
                save.records.drain(..appended);
                stuck.insert(save.group);
            }
            left.push_back(save);
        }
        if left.is_empty() {
            return Ok(true);
        }
        self.waiting = left;
        Ok(false)
    }

    fn note_full(&mut self, full: bool, out: &mut Vec<Event>) {
        let low = self.wal.is_low();
        if low != self.low {
            self.low = low;
            out.push(Event::DiskLow(low));
        }
        if full != self.full {
            self.full = full;
            out.push(Event::DiskFull(full));
        }
    }
}

/// Appends the records of a save up to the first that finds no room, and counts them.
fn append_save(wal: &mut Wal, save: &Save) -> Result<usize, Error> {
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
        let appended = if save.needed { wal.append_needed(&record) } else { wal.append(&record) };
        if !spare_full(appended)? {
            return Ok(place);
        }
    }
    Ok(save.records.len())
}

/// False if there was no room for it.
fn spare_full(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::Full { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Error, LogKeeper, Room};
    use consensus::{Entry, EntryKind, Index, Record, Term};
    use node::{Event, GroupId, Save};
    use storage::disk::SimDisk;
    use storage::store::Store;
    use storage::wal::Options;

    const GROUP: GroupId = GroupId(0);

    fn save(index: u64) -> Save {
        let data = vec![7; 4096].into();
        let entry = Entry { index: Index(index), term: Term(1), kind: EntryKind::Command, data };
        Save { group: GROUP, number: index, records: vec![Record::Entry(entry)], needed: false }
    }

    /// A log whose disk is full, and the save that found no room.
    fn full() -> Result<(SimDisk, LogKeeper, u64), Error> {
        let disk = SimDisk::new(1);
        let options = Options { segment_bytes: 64 * 1024 };
        let (store, _) = Store::open(Arc::new(disk.clone()), options)?;
        let mut keeper = LogKeeper::new(store.wal);
        let room = storage::limits::SEGMENTS_ROOM * options.segment_bytes;
        disk.set_capacity(Some(disk.used() + room));
        for index in 1..1_000 {
            keeper.save(vec![save(index)]);
            if keeper.commit(&mut Vec::new())? != Room::All {
                return Ok((disk, keeper, index));
            }
        }
        panic!("the disk is full at last")
    }

    #[test]
    fn entries_that_wait_for_room_are_left_out_once_a_snapshot_holds_them() {
        let ((disk, mut keeper, full), mut events) = (full().unwrap(), Vec::new());
        stdx::marks::take();
        keeper.trim(GROUP, full, 1);
        let reached = stdx::marks::take();
        assert!(reached.contains_key("entries that wait for room are in a snapshot already"));
        disk.set_capacity(None);
        assert_eq!(keeper.commit(&mut events).unwrap(), Room::All);
        keeper.save(vec![save(full + 1)]);
        assert_eq!(keeper.commit(&mut events).unwrap(), Room::All);
    }

    /// A node starts with a log that has filled its disk, and applies nothing before it has voted or told the
    /// leader what it has: so no snapshot can cut that log (seed 280 with disks of 1 MiB).
    #[test]
    fn a_vote_does_not_wait_for_room_that_the_entries_of_another_group_do_not_find() {
        let (_disk, mut keeper, full) = full().unwrap();
        let other = GroupId(1);
        let vote = Record::Vote { term: Term(2), vote: None };
        let mut events = Vec::new();
        keeper.save(vec![
            save(full + 1),
            Save { group: other, number: 7, records: vec![vote], needed: false },
        ]);
        assert_eq!(keeper.commit(&mut events).unwrap(), Room::Some);
        assert!(
            matches!(events[..], [Event::Saved { group: GroupId(1), number: 7 }]),
            "{events:?}"
        );
        let noop = Entry {
            index: Index(1),
            term: Term(2),
            kind: EntryKind::Noop,
            data: Default::default(),
        };
        let records = vec![Record::Entry(noop)];
        keeper.save(vec![Save { group: other, number: 8, records, needed: false }]);
        assert_eq!(keeper.commit(&mut events).unwrap(), Room::Some);
        assert!(
            matches!(events[1..], [Event::Saved { group: GroupId(1), number: 8 }]),
            "{events:?}"
        );
    }

    /// Seed 6842561: two nodes were started anew, and nothing is known to be committed.
    #[test]
    fn what_no_snapshot_can_be_taken_without_has_the_room_that_is_left_for_one() {
        let ((_disk, mut keeper, full), mut events) = (full().unwrap(), Vec::new());
        keeper.save(vec![save(full + 1)]);
        assert_ne!(keeper.commit(&mut events).unwrap(), Room::All);
        events.clear();
        keeper.save(vec![Save { needed: true, ..save(full + 2) }]);
        assert_eq!(keeper.commit(&mut events).unwrap(), Room::All, "and what it stands behind");
        let is_saved =
            |event: &Event| matches!(event, Event::Saved { number, .. } if *number == full + 2);
        assert!(events.iter().any(is_saved), "{events:?}");
        keeper.save(vec![save(full + 3)]);
        assert_ne!(keeper.commit(&mut events).unwrap(), Room::All);
    }

    #[test]
    fn a_trim_that_finds_no_room_is_noted_once_there_is_some() {
        let (disk, mut keeper, full) = full().unwrap();
        let mut term = 1;
        // Votes take what is left for them.
        loop {
            let vote = Record::Vote { term: Term(term), vote: None };
            keeper.save(vec![Save {
                group: GroupId(1),
                number: term,
                records: vec![vote],
                needed: false,
            }]);
            let mut events = Vec::new();
            keeper.commit(&mut events).unwrap();
            if !events.iter().any(|event| matches!(event, Event::Saved { .. })) {
                break;
            }
            term += 1;
        }
        keeper.trim(GROUP, full, 1);
        assert_eq!(keeper.commit(&mut Vec::new()).unwrap(), Room::None);
        let segments = keeper.wal.status().segments;
        disk.set_capacity(None);
        assert_eq!(keeper.commit(&mut Vec::new()).unwrap(), Room::All);
        assert!(keeper.wal.status().segments < segments, "{segments}");
    }

    #[test]
    fn an_idle_log_is_moved_out_of_its_oldest_segment_and_sealed() {
        let disk = SimDisk::new(1);
        let options = Options { segment_bytes: 4 << 20 };
        let (store, _) = Store::open(Arc::new(disk.clone()), options).unwrap();
        let (mut keeper, mut events) = (LogKeeper::new(store.wal), Vec::new());
        let idle = GroupId(1);
        keeper.save((1..=100).map(|index| Save { group: idle, ..save(index) }).collect());
        let mut last = 0;
        while keeper.wal.status().segments <= 9 {
            last += 1;
            keeper.save(vec![save(last)]);
            keeper.commit(&mut events).unwrap();
        }
        keeper.trim(GROUP, last, 1);
        keeper.commit(&mut events).unwrap();
        let chores = keeper.tidy().unwrap();
        for chore in chores {
            keeper.accept(chore.run(&mut || {})).unwrap();
        }
        keeper.tidy().unwrap();
        assert!(keeper.wal.is_moving() && keeper.wal.pending_bytes() > 0);
        let mut seals = 0;
        while keeper.wal.is_moving() {
            keeper.seal().unwrap();
            seals += 1;
        }
        assert!((2..10).contains(&seals), "{seals}");
        assert!(keeper.wal.status().segments <= 2);
        drop(keeper);
        let (_, recovered) = Store::open(Arc::new(disk.clone()), options).unwrap();
        assert_eq!(recovered.groups[&super::stored(idle)].entries.len(), 100);
    }

    #[test]
    fn entries_that_wait_for_room_are_void_once_the_log_is_reset() {
        let ((disk, mut keeper, full), mut events) = (full().unwrap(), Vec::new());
        keeper.save(vec![save(full + 1)]);
        keeper.reset(GROUP, 1_000, 2);
        disk.set_capacity(None);
        assert_eq!(keeper.commit(&mut events).unwrap(), Room::All);
        keeper.save(vec![save(1_001)]);
        assert_eq!(keeper.commit(&mut events).unwrap(), Room::All);
    }
}

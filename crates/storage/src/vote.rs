//! Terms and votes: one file, two copies of each, in pages of their own.
//!
//! ```text
//! page 0 │ copy A of slot 0     page 1 │ copy B of slot 0     page 2 │ copy A of slot 1 …
//! copy:  magic, crc, group, zero, term, vote + 1 (0 is none)
//! ```
//!
//! Both copies are written and then synced with one fdatasync, before the log records the same vote.
//! A sector is atomic, so a crash leaves each copy old or new; one that is neither was damaged and is
//! repaired from the other. If both are damaged the vote is lost and the group is faulty: forgetting
//! a vote means voting twice. The file is extended ahead, so a vote never needs space of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crc32c::crc32c_append;
use stdx::{mark, planted};

use crate::disk::{Disk, File, fill_zero};
use crate::limits::{GROUPS_MAX, PAGE_BYTES};
use crate::wal::Vote;
use crate::{Error, Fault, GroupId, Place};

const PATH: &str = "votes";
const MAGIC: u32 = 0x45_54_4f_56;
const COPY_BYTES: usize = 32;
const SLOT_BYTES: u64 = 2 * PAGE_BYTES as u64;
/// The file grows by so many slots at once.
const SLOTS_GROWN: u32 = 8;

/// The file of votes.
#[derive(Debug)]
pub(crate) struct Votes {
    file: Box<dyn File>,
    slots: BTreeMap<GroupId, u32>,
    free: BTreeSet<u32>,
    slots_len: u32,
    /// What to write at the next flush.
    dirty: BTreeMap<GroupId, Vote>,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    Empty,
    Damaged,
    Whole(GroupId, Vote),
}

/// What was found in the file.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) votes: BTreeMap<GroupId, Vote>,
    /// There are slots of which no copy can be read.
    pub(crate) damaged: bool,
    repair: BTreeSet<GroupId>,
}

impl Votes {
    /// Opens the file, or makes it.
    pub(crate) fn open(disk: &Arc<dyn Disk>) -> Result<(Votes, Found), Error> {
        let listed = disk.list("").map_err(|error| Error::io("list", PATH, error))?;
        let file = if listed.iter().any(|name| name == PATH) {
            disk.open(PATH)
        } else {
            disk.create(PATH)
        };
        let file = file.map_err(|error| Error::io("open", PATH, error))?;
        let len = file.len().map_err(|error| Error::io("read", PATH, error))?;
        let slots_len = (len / SLOT_BYTES).min(GROUPS_MAX as u64) as u32;
        let mut votes = Votes {
            file,
            slots: BTreeMap::new(),
            free: BTreeSet::new(),
            slots_len,
            dirty: BTreeMap::new(),
        };
        let mut found = Found::default();
        for slot in 0..slots_len {
            votes.read_slot(slot, &mut found)?;
        }
        // A process that was killed may have left writes that are not durable yet.
        votes.file.sync().map_err(|error| Error::sync(PATH, error))?;
        disk.sync_folder("").map_err(|error| Error::sync("", error))?;
        Ok((votes, found))
    }

    fn read_slot(&mut self, slot: u32, found: &mut Found) -> Result<(), Error> {
        let start = u64::from(slot) * SLOT_BYTES;
        let [a, b] = [0, PAGE_BYTES as u64].map(|copy| read_copy(&*self.file, start + copy));
        let (group, vote, agree) = match (a, b) {
            (Copy::Whole(group, one), Copy::Whole(other, two)) if group == other => {
                (group, if two.is_newer_than(&one) { two } else { one }, one == two)
            }
            (Copy::Whole(group, vote), Copy::Damaged)
            | (Copy::Damaged, Copy::Whole(group, vote))
                if planted!("damaged-vote-is-none") =>
            {
                (group, Vote { vote: None, ..vote }, false)
            }
            (Copy::Whole(group, vote), Copy::Empty | Copy::Damaged)
            | (Copy::Empty | Copy::Damaged, Copy::Whole(group, vote)) => (group, vote, false),
            (Copy::Empty, Copy::Empty) => {
                self.free.insert(slot);
                return Ok(());
            }
            _ => {
                found.damaged = true;
                self.free.insert(slot);
                return Ok(());
            }
        };
        self.slots.insert(group, slot);
        found.votes.insert(group, vote);
        if !agree {
            mark!("one copy of a vote is repaired from the other");
            found.repair.insert(group);
        }
        Ok(())
    }

    /// Joins what the file and the log know. The log is the witness: a group whose vote it has seen
    /// and the file cannot show is faulty. Where the copies differ, the newest goes into both.
    pub(crate) fn reconcile(
        &mut self,
        disk: &Arc<dyn Disk>,
        found: Found,
        witness: &BTreeMap<GroupId, Vote>,
        faults: &mut Vec<Fault>,
    ) -> Result<BTreeMap<GroupId, Vote>, Error> {
        let place = Place::Vote { path: disk.describe(PATH) };
        let mut votes = found.votes;
        for (group, seen) in witness {
            match votes.get_mut(group) {
                Some(vote) if seen.term == vote.term && planted!("damaged-vote-is-none") => {}
                Some(vote) if seen.is_newer_than(vote) => {
                    mark!("the log knows a newer vote than the file of votes");
                    *vote = *seen;
                    self.dirty.insert(*group, *seen);
                }
                Some(_) => {}
                None if seen.term > 0 => {
                    mark!("both copies of a vote are lost");
                    let reason = "no copy of the term and vote can be read";
                    faults.push(Fault::new(place.clone(), reason, Some(*group)));
                }
                None => {}
            }
        }
        if found.damaged && witness.is_empty() {
            let reason = "no copy of the term and vote of some group can be read";
            faults.push(Fault::new(place, reason, None));
        }
        for group in found.repair {
            self.dirty.entry(group).or_insert_with(|| votes[&group]);
        }
        self.flush()?;
        Ok(votes)
    }

    /// Makes sure that the group has a slot, so that `put` cannot fail.
    pub(crate) fn claim(&mut self, group: GroupId) -> Result<(), Error> {
        if self.slots.contains_key(&group) {
            return Ok(());
        }
        if self.free.is_empty() {
            self.grow()?;
        }
        let slot = self.free.pop_first().expect("the file has just grown");
        self.slots.insert(group, slot);
        Ok(())
    }

    fn grow(&mut self) -> Result<(), Error> {
        let target = self.slots_len + SLOTS_GROWN;
        let (start, end) = (u64::from(self.slots_len) * SLOT_BYTES, u64::from(target) * SLOT_BYTES);
        self.file.reserve(end).map_err(|error| Error::io("extend", PATH, error))?;
        fill_zero(&*self.file, start, end).map_err(|error| Error::io("write", PATH, error))?;
        self.file.sync().map_err(|error| Error::sync(PATH, error))?;
        self.free.extend(self.slots_len..target);
        self.slots_len = target;
        Ok(())
    }

    /// Notes what to write at the next flush.
    pub(crate) fn put(&mut self, group: GroupId, vote: Vote) {
        assert!(self.slots.contains_key(&group), "a slot is claimed before a vote");
        self.dirty.insert(group, vote);
    }

    /// Makes the votes durable; no sync if there are none.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        for (group, vote) in &self.dirty {
            let start = u64::from(self.slots[group]) * SLOT_BYTES;
            let bytes = encode(*group, *vote);
            for copy in [0, PAGE_BYTES as u64] {
                self.file
                    .write_at(start + copy, &bytes)
                    .map_err(|error| Error::io("write", PATH, error))?;
            }
        }
        self.file.sync().map_err(|error| Error::sync(PATH, error))?;
        self.dirty.clear();
        Ok(())
    }
}

fn encode(group: GroupId, vote: Vote) -> [u8; COPY_BYTES] {
    let mut bytes = [0; COPY_BYTES];
    bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[8..12].copy_from_slice(&group.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&vote.term.to_le_bytes());
    let number = vote.vote.map_or(0, |node| u64::from(node) + 1);
    bytes[24..].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c_append(MAGIC, &bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn read_copy(file: &dyn File, offset: u64) -> Copy {
    let mut bytes = [0; COPY_BYTES];
    match file.read_at(offset, &mut bytes) {
        Ok(COPY_BYTES) => decode(&bytes),
        _ => Copy::Damaged,
    }
}

fn decode(bytes: &[u8; COPY_BYTES]) -> Copy {
    if bytes.iter().all(|byte| *byte == 0) {
        return Copy::Empty;
    }
    let u32_at = |at: usize| bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four));
    let u64_at =
        |at: usize| bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
    if u32_at(0) != MAGIC || u32_at(4) != crc32c_append(MAGIC, &bytes[8..]) {
        return Copy::Damaged;
    }
    let vote = u64_at(24).checked_sub(1).and_then(|node| u32::try_from(node).ok());
    Copy::Whole(GroupId(u32_at(8)), Vote { term: u64_at(16), vote })
}

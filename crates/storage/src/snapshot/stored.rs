//! Snapshots on the disk: which there are, and reading them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::{
    BLOCK_HEAD_BYTES, Checker, Defect, END, FOOTER_BYTES, Meta, VERSION, open_block,
};
use super::receive::Receiver;
use super::write::Writer;
use crate::disk::{Disk, File};
use crate::limits::SNAPSHOT_BLOCK_BYTES;
use crate::{Error, Fault, GroupId, Place};

pub(super) const FOLDER: &str = "snapshots";
const READ_BYTES: usize = 512 << 10;

/// The path of a snapshot.
pub(super) fn path(group: GroupId, index: u64) -> String {
    format!("{FOLDER}/{:08}-{index:020}.snapshot", group.0)
}

/// The group and index in a file name.
fn parse(name: &str) -> Option<(GroupId, u64)> {
    let (group, index) = name.strip_suffix(".snapshot")?.split_once('-')?;
    let (group, index) = (GroupId(group.parse().ok()?), index.parse().ok()?);
    (path(group, index).strip_prefix("snapshots/") == Some(name)).then_some((group, index))
}

/// What snapshots have of the disk, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    /// The largest of the newest ones.
    largest: AtomicU64,
    /// Of those that are being written.
    pub(super) begun: AtomicU64,
}

impl Sizes {
    /// Bytes that the next ones may take, beside those that they replace, if there are so many of log: one is
    /// whole before the one that it replaces is gone, and all may grow by what is in the log before it is cut.
    pub(crate) fn room(&self, log_bytes: u64) -> u64 {
        let begun = self.begun.load(Ordering::Relaxed);
        self.largest.load(Ordering::Relaxed).saturating_sub(begun).saturating_add(log_bytes)
    }
}

/// All snapshots of a node; the newest of each group.
#[derive(Debug)]
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    newest: BTreeMap<GroupId, Arc<Snapshot>>,
    sizes: Arc<Sizes>,
}

impl Snapshots {
    /// Opens the folder, removes what a crash left half written, and checks the newest snapshot of
    /// each group from end to end. A damaged one is a fault and stays where it is; an older one is
    /// not taken in its place, for the log behind it may be gone.
    pub fn open(disk: Arc<dyn Disk>) -> Result<(Snapshots, Vec<Fault>), Error> {
        disk.make_folder(FOLDER).map_err(|error| Error::io("make", FOLDER, error))?;
        let names = disk.list(FOLDER).map_err(|error| Error::io("list", FOLDER, error))?;
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            let path = format!("{FOLDER}/{name}");
            disk.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
        // Names sort by group and index, so the last one of a group is its newest.
        let all: BTreeMap<GroupId, u64> = names.iter().filter_map(|name| parse(name)).collect();
        let mut snapshots = Snapshots { disk, newest: BTreeMap::new(), sizes: Arc::default() };
        let mut faults = Vec::new();
        for (group, index) in all {
            match snapshots.load(group, index)? {
                Ok(snapshot) => snapshots.keep(snapshot)?,
                Err(fault) => faults.push(fault),
            }
        }
        let folder = snapshots.disk.sync_folder(FOLDER);
        folder.map_err(|error| Error::sync(FOLDER, error))?;
        Ok((snapshots, faults))
    }

    /// The newest snapshot of a group.
    pub fn newest(&self, group: GroupId) -> Option<&Arc<Snapshot>> {
        self.newest.get(&group)
    }

    /// The groups that have one.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.newest.keys().copied()
    }

    /// How large they are, now and later.
    pub(crate) fn sizes(&self) -> Arc<Sizes> {
        Arc::clone(&self.sizes)
    }

    fn note_sizes(&self) {
        let sizes = self.newest.values().map(|snapshot| snapshot.bytes);
        self.sizes.largest.store(sizes.max().unwrap_or(0), Ordering::Relaxed);
    }

    /// Begins to write one.
    pub fn begin(&self, meta: Meta) -> Result<Writer, Error> {
        Writer::begin(Arc::clone(&self.disk), meta, self.sizes())
    }

    /// Gets ready to take one from a peer.
    pub fn receive(&self, group: GroupId) -> Receiver {
        Receiver::new(Arc::clone(&self.disk), group)
    }

    /// Makes a durable snapshot the newest of its group, and removes the older ones. One that is
    /// older than the newest is removed itself.
    pub fn keep(&mut self, snapshot: Snapshot) -> Result<(), Error> {
        let Meta { group, index, .. } = snapshot.meta;
        if self.newest.get(&group).is_none_or(|newest| newest.meta.index <= index) {
            self.newest.insert(group, Arc::new(snapshot));
            self.note_sizes();
        }
        let newest = self.newest[&group].meta.index;
        let names = self.disk.list(FOLDER).map_err(|error| Error::io("list", FOLDER, error))?;
        // A newer one came from a peer and is still being loaded.
        for (one, index) in names.iter().filter_map(|name| parse(name)) {
            if one == group && index < newest {
                self.remove(one, index)?;
            }
        }
        Ok(())
    }

    /// Removes a durable snapshot that was never kept.
    pub fn discard(&self, snapshot: &Snapshot) -> Result<(), Error> {
        self.remove(snapshot.meta.group, snapshot.meta.index)?;
        self.disk.sync_folder(FOLDER).map_err(|error| Error::sync(FOLDER, error))
    }

    /// Removes every snapshot of a group, damaged ones too: before its repair, or when it moved away.
    pub fn forget(&mut self, group: GroupId) -> Result<(), Error> {
        self.newest.remove(&group);
        self.note_sizes();
        let names = self.disk.list(FOLDER).map_err(|error| Error::io("list", FOLDER, error))?;
        for (one, index) in names.iter().filter_map(|name| parse(name)) {
            if one == group {
                self.remove(one, index)?;
            }
        }
        self.disk.sync_folder(FOLDER).map_err(|error| Error::sync(FOLDER, error))
    }

    fn remove(&self, group: GroupId, index: u64) -> Result<(), Error> {
        let path = path(group, index);
        self.disk.remove(&path).map_err(|error| Error::io("remove", &path, error))
    }

    fn load(&self, group: GroupId, index: u64) -> Result<Result<Snapshot, Fault>, Error> {
        let path = path(group, index);
        let file = self.disk.open(&path).map_err(|error| Error::io("open", &path, error))?;
        file.sync().map_err(|error| Error::sync(&path, error))?;
        let mut reading = Reading::default();
        let checked = loop {
            match reading.step(&*file, &mut |_| {}) {
                Ok(true) => {}
                Ok(false) => {
                    break reading.checker.finish().map(|meta| (meta.clone(), reading.offset));
                }
                Err(defect) => break Err(defect),
            }
        };
        let reason = match checked {
            Ok((meta, bytes)) if (meta.group, meta.index) == (group, index) => {
                let seed = meta.encode(&mut Vec::new());
                return Ok(Ok(Snapshot { meta, seed, bytes, path, file }));
            }
            Ok(_) => "it is of another group or index than its name says",
            Err(Defect::Damaged(reason)) => reason,
            Err(Defect::Newer(found)) => {
                let path = self.disk.describe(&path);
                return Err(Error::Newer { path, found, known: VERSION });
            }
        };
        let path = self.disk.describe(&path);
        let place = Place::Snapshot { path, offset: reading.checker.offset };
        Ok(Err(Fault::new(place, reason, Some(group))))
    }
}

/// How far a snapshot was read.
#[derive(Debug, Default)]
pub struct Reading {
    checker: Checker,
    offset: u64,
    piece: Vec<u8>,
}

impl Reading {
    /// Reads the next piece and checks it. False at the end of the file.
    fn step(&mut self, file: &dyn File, each: &mut dyn FnMut(&[u8])) -> Result<bool, Defect> {
        self.piece.resize(READ_BYTES, 0);
        let read = file.read_at(self.offset, &mut self.piece);
        let count = read.map_err(|_| Defect::Damaged("it cannot be read"))?;
        self.checker.feed(&self.piece[..count], each)?;
        self.offset += count as u64;
        Ok(count > 0)
    }
}

/// A durable snapshot. Its file stays readable as long as this lives, even after it was replaced.
#[derive(Debug)]
pub struct Snapshot {
    meta: Meta,
    seed: u32,
    bytes: u64,
    path: String,
    file: Box<dyn File>,
}

impl Snapshot {
    pub(super) fn open(
        disk: &dyn Disk,
        meta: Meta,
        seed: u32,
        bytes: u64,
    ) -> Result<Snapshot, Error> {
        let path = path(meta.group, meta.index);
        let file = disk.open(&path).map_err(|error| Error::io("open", &path, error))?;
        Ok(Snapshot { meta, seed, bytes, path, file })
    }

    /// What it is of.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Bytes of the file, as sent to peers.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Up to `bytes_max` bytes of the *file* from `offset` on, for a peer; every block in them was
    /// checked. Fewer bytes only at the end.
    pub fn read(&self, offset: u64, bytes_max: usize) -> Result<Vec<u8>, Error> {
        let header = self.meta.header_bytes();
        let whole = (BLOCK_HEAD_BYTES + SNAPSHOT_BLOCK_BYTES) as u64;
        let end = self.bytes.min(offset.saturating_add(bytes_max as u64));
        if offset >= end {
            return Ok(Vec::new());
        }
        let start = match offset.checked_sub(header) {
            Some(behind) => header + behind / whole * whole,
            None => 0,
        };
        let mut stop = end.saturating_sub(header).next_multiple_of(whole) + header;
        // The last block and the footer are checked together.
        if stop + whole >= self.bytes {
            stop = self.bytes;
        }
        let mut bytes = vec![0; (stop - start) as usize];
        let read = self.file.read_at(start, &mut bytes);
        let count = read.map_err(|error| Error::io("read", &self.path, error))?;
        if count < bytes.len() {
            return Err(self.corrupt(start + count as u64, "it is cut short"));
        }
        self.check(start, &bytes)?;
        bytes.truncate((end - start) as usize);
        bytes.drain(..(offset - start) as usize);
        Ok(bytes)
    }

    /// Reads on, half a MiB or less: the state, in blocks, each checked before it is handed out. False
    /// if that was the end, and all of it is right.
    pub fn read_on(
        &self,
        reading: &mut Reading,
        mut each: impl FnMut(&[u8]),
    ) -> Result<bool, Error> {
        let stepped = reading.step(&*self.file, &mut each);
        let whole = stepped.and_then(|more| {
            Ok((more, more || reading.checker.finish().map(|meta| *meta == self.meta)?))
        });
        match whole {
            Ok((more, true)) => Ok(more),
            Ok((_, false)) => Err(self.corrupt(0, "its header is wrong")),
            Err(Defect::Damaged(reason)) => Err(self.corrupt(reading.checker.offset, reason)),
            Err(Defect::Newer(_)) => Err(self.corrupt(0, "its header is wrong")),
        }
    }

    /// The whole state in one piece.
    pub fn load_all(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(self.bytes as usize);
        let mut reading = Reading::default();
        while self.read_on(&mut reading, |block| bytes.extend_from_slice(block))? {}
        Ok(bytes)
    }

    /// Checks the header, blocks and footer in `bytes`, which stand at `start` of the file.
    fn check(&self, start: u64, bytes: &[u8]) -> Result<(), Error> {
        let header = self.meta.header_bytes();
        let mut at = 0;
        if start == 0 {
            let mut expected = Vec::new();
            self.meta.encode(&mut expected);
            at = expected.len();
            if bytes.get(..at) != Some(&expected) {
                return Err(self.corrupt(0, "its header is wrong"));
            }
        }
        let whole = BLOCK_HEAD_BYTES + SNAPSHOT_BLOCK_BYTES;
        while at < bytes.len() {
            let place = start + at as u64;
            let rest = &bytes[at..];
            if is_footer(rest) {
                break;
            }
            let number = (place - header) / whole as u64;
            let Some(body) = open_block(rest, self.seed, number) else {
                return Err(self.corrupt(place, "the checksum of a block is wrong"));
            };
            at += BLOCK_HEAD_BYTES + body.len();
        }
        Ok(())
    }

    fn corrupt(&self, offset: u64, reason: &'static str) -> Error {
        Error::Corrupt { path: self.path.clone(), offset, reason }
    }
}

/// The end of a file, if it looks like one.
fn is_footer(bytes: &[u8]) -> bool {
    // Its own checksum is checked by who has read all the rest.
    bytes.len() == FOOTER_BYTES && bytes.starts_with(&END.to_le_bytes())
}

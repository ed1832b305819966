//! A disk in memory that fails on purpose: seeded, so that every failure can be replayed.
//!
//! Each file has what the process sees, what is durable, and the writes between the two. A crash
//! keeps the durable part and, for each sector written since, some moment of its history: so writes
//! are lost and reordered, and a write of several sectors is torn. Names (create, rename, remove)
//! are lost from the end, as a journal loses them. Beside that there are switches and rates for
//! what disks do to the living: errors, a full disk, lost and misdirected writes, rot, stalls.
//!
//! A sector is atomic. A handle from before a crash gives errors for ever: the process is dead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stdx::Rng;

use super::inode::{Change, Inode, put};
use super::{Disk, File, Lock};
use crate::limits::{PAGE_BYTES, SECTOR_BYTES};

/// What a fault can be planted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Read,
    Write,
    Sync,
    /// Create, rename, remove, cut or claim space.
    Metadata,
}

/// How often chance strikes: once in so many calls, 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub read_error: u64,
    pub write_error: u64,
    pub sync_error: u64,
    /// A write that is confirmed and synced, and gone after the next crash.
    pub lost_write: u64,
    /// A write that lands on another page of its file.
    pub misdirected_write: u64,
    /// A sync that takes up to `stall_max` (see [`SimDisk::take_stalled`]).
    pub stall: u64,
    pub stall_max: Duration,
}

/// A simulated disk; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    rates: Rates,
    inodes: BTreeMap<u64, Inode>,
    inode_last: u64,
    names: BTreeMap<String, u64>,
    names_durable: BTreeMap<String, u64>,
    names_pending: Vec<NameChange>,
    locked: BTreeSet<String>,
    /// Crashes so far; a handle of an earlier life is dead.
    life: u64,
    operations: u64,
    halt_at: Option<u64>,
    /// After so many more actions of this kind, one fails.
    planted: Vec<(Action, u64, io::ErrorKind)>,
    /// The next write of a file of several pages lands on another of them.
    misdirects: bool,
    capacity: Option<u64>,
    stalled: Duration,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link { path: String, inode: u64 },
    Unlink { path: String },
    Rename { source: String, target: String },
}

impl NameChange {
    fn folder(&self) -> &str {
        match self {
            NameChange::Link { path, .. } | NameChange::Unlink { path } => folder_of(path),
            NameChange::Rename { target, .. } => folder_of(target),
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Link { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Unlink { path } => {
                names.remove(path);
            }
            NameChange::Rename { source, target } => {
                if let Some(inode) = names.remove(source) {
                    names.insert(target.clone(), inode);
                }
            }
        }
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    /// An empty disk with dice of its own.
    pub fn new(seed: u64) -> SimDisk {
        let state = State {
            rng: Rng::new(seed),
            rates: Rates::default(),
            inodes: BTreeMap::new(),
            inode_last: 0,
            names: BTreeMap::new(),
            names_durable: BTreeMap::new(),
            names_pending: Vec::new(),
            locked: BTreeSet::new(),
            life: 0,
            operations: 0,
            halt_at: None,
            planted: Vec::new(),
            misdirects: false,
            capacity: None,
            stalled: Duration::ZERO,
        };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Power fails and returns: what was not synced is lost, kept or torn, as the dice fall.
    pub fn crash(&self) {
        self.state().crash();
    }

    /// The process dies and the machine lives on: nothing is lost, but locks and handles are.
    pub fn kill(&self) {
        self.state().end_life();
    }

    /// How often chance strikes from here on.
    pub fn set_rates(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// The next action of this kind fails with this error. Several may be planted.
    pub fn fail_next(&self, action: Action, error: io::ErrorKind) {
        self.fail_after(action, 0, error);
    }

    /// As `fail_next`, after so many of them that go well.
    pub fn fail_after(&self, action: Action, count: u64, error: io::ErrorKind) {
        self.state().planted.push((action, count, error));
    }

    /// What was to fail in this way, and has not yet, does not.
    pub fn unplant(&self, action: Action) {
        self.state().planted.retain(|planted| planted.0 != action);
    }

    /// The next write to a file of several pages lands on another page of it.
    pub fn misdirect_next(&self) {
        self.state().misdirects = true;
    }

    /// Whatever was planned to go wrong does not; a small disk stays small.
    pub fn forgive(&self) {
        let mut state = self.state();
        (state.halt_at, state.misdirects) = (None, false);
        state.rates = Rates::default();
        state.planted.clear();
    }

    /// Bytes that fit; `None` is without end.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// See [`SimDisk::set_capacity`].
    pub fn capacity(&self) -> Option<u64> {
        self.state().capacity
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// The files whose paths begin like this, in the order of their paths, and the bytes that each uses.
    pub fn sizes_below(&self, prefix: &str) -> Vec<(String, u64)> {
        let state = self.state();
        let files = state.names.iter().filter(|(path, _)| path.starts_with(prefix));
        files.map(|(path, inode)| (path.clone(), state.inodes[inode].space())).collect()
    }

    /// After this many more changes (writes, syncs, renames …) everything fails until the next crash.
    /// The change at the border has happened in part: it is not durable yet.
    pub fn halt_after(&self, operations: u64) {
        let mut state = self.state();
        state.halt_at = Some(state.operations + operations);
    }

    /// Has `halt_after` come, and has something been refused for it?
    pub fn has_halted(&self) -> bool {
        self.state().has_halted()
    }

    /// Changes so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The time that stalls should have taken since the last call: the simulator lets it pass.
    pub fn take_stalled(&self) -> Duration {
        std::mem::take(&mut self.state().stalled)
    }

    /// Turns one bit of a file around, on the disk itself. False if the file is not that long.
    pub fn flip(&self, path: &str, offset: u64, bit: u8) -> bool {
        let mut state = self.state();
        let Some(inode) = state.inode_at(path) else { return false };
        let mask = 1 << (bit % 8);
        let mut hit = false;
        for bytes in [&mut inode.current, &mut inode.durable] {
            if let Some(byte) = bytes.get_mut(offset as usize) {
                *byte ^= mask;
                hit = true;
            }
        }
        hit
    }

    /// Turns a random bit of a random file whose path begins with `prefix`; says where. Every other
    /// time it is one of a byte that is not zero: most of a file that was made ahead says nothing.
    pub fn rot(&self, prefix: &str) -> Option<(String, u64)> {
        let (path, offset, bit) = {
            let mut state = self.state();
            let files: Vec<(String, u64)> = state
                .names
                .iter()
                .filter(|(path, _)| path.starts_with(prefix))
                .map(|(path, inode)| (path.clone(), state.inodes[inode].current.len() as u64))
                .filter(|(_, len)| *len > 0)
                .collect();
            if files.is_empty() {
                return None;
            }
            let (path, len) = files[state.rng.below(files.len() as u64) as usize].clone();
            let mut offset = state.rng.below(len);
            if state.rng.one_in(2)
                && let Some(inode) = state.inode_at(&path)
            {
                let says =
                    |at: &u64| inode.current.get(*at as usize).is_some_and(|byte| *byte != 0);
                offset = (offset..len).chain(0..offset).find(says).unwrap_or(offset);
            }
            (path, offset, state.rng.below(8) as u8)
        };
        self.flip(&path, offset, bit);
        Some((path, offset))
    }

    /// The sector at `offset` cannot be read until it is written again.
    pub fn make_unreadable(&self, path: &str, offset: u64) {
        if let Some(inode) = self.state().inode_at(path) {
            inode.unreadable.insert(offset / SECTOR_BYTES as u64);
        }
    }

    /// The contents of a file as a process sees them.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        self.state().inode_at(path).map(|inode| inode.current.clone())
    }

    /// Puts these bytes into a file, durably.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        let number = state.new_inode();
        let inode = Inode { current: bytes.to_vec(), durable: bytes.to_vec(), ..Inode::default() };
        state.inodes.insert(number, inode);
        state.names.insert(path.to_string(), number);
        state.names_durable.insert(path.to_string(), number);
    }

    /// Takes everything away: a new disk in the old machine.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.end_life();
        state.inodes.clear();
        state.names.clear();
        state.names_durable.clear();
    }

    fn handle(&self, state: &mut State, inode: u64) -> Box<dyn File> {
        if let Some(inode) = state.inodes.get_mut(&inode) {
            inode.handles += 1;
        }
        Box::new(SimFile { disk: self.clone(), inode, life: state.life })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The life ends: what was planned for it will not happen.
    fn forget_plans(&mut self) {
        self.life += 1;
        self.locked.clear();
        self.planted.clear();
        (self.halt_at, self.misdirects) = (None, false);
    }

    fn end_life(&mut self) {
        self.forget_plans();
        for change in std::mem::take(&mut self.names_pending) {
            change.apply(&mut self.names_durable);
        }
        // The kernel writes back what a dead process left.
        self.inodes.values_mut().for_each(Inode::sync);
    }

    fn crash(&mut self) {
        self.forget_plans();
        let mut kept: BTreeMap<String, usize> = BTreeMap::new();
        for change in &self.names_pending {
            *kept.entry(change.folder().to_string()).or_default() += 1;
        }
        for count in kept.values_mut() {
            *count = self.rng.below(*count as u64 + 1) as usize;
        }
        for change in std::mem::take(&mut self.names_pending) {
            if let Some(left) = kept.get_mut(change.folder())
                && *left > 0
            {
                *left -= 1;
                change.apply(&mut self.names_durable);
            }
        }
        self.names = self.names_durable.clone();
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|number, _| named.contains(number));
        for inode in self.inodes.values_mut() {
            inode.crash(&mut self.rng);
        }
    }

    /// Forgets files that have neither a name, nor may get one back, nor are open.
    fn sweep(&mut self) {
        let links = self.names_pending.iter().filter_map(|change| match change {
            NameChange::Link { inode, .. } => Some(inode),
            NameChange::Unlink { .. } | NameChange::Rename { .. } => None,
        });
        let named = self.names.values().chain(self.names_durable.values()).chain(links);
        let named: BTreeSet<u64> = named.copied().collect();
        self.inodes.retain(|number, inode| inode.handles > 0 || named.contains(number));
    }

    fn has_halted(&self) -> bool {
        self.halt_at.is_some_and(|at| self.operations > at)
    }

    fn new_inode(&mut self) -> u64 {
        self.inode_last += 1;
        self.inode_last
    }

    fn inode_at(&mut self, path: &str) -> Option<&mut Inode> {
        let number = self.names.get(path)?;
        self.inodes.get_mut(number)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|number| self.inodes[number].space()).sum()
    }

    /// Counts a change, and refuses it if the time has come or a fault was planted.
    fn admit(&mut self, action: Action) -> io::Result<()> {
        if action != Action::Read {
            self.operations += 1;
            if self.has_halted() {
                return Err(io::Error::other("the simulated machine has stopped"));
            }
        }
        let of_kind = |planted: &&mut (Action, u64, io::ErrorKind)| planted.0 == action;
        let due = self.planted.iter().position(|planted| planted.0 == action && planted.1 == 0);
        self.planted.iter_mut().filter(of_kind).for_each(|one| one.1 = one.1.saturating_sub(1));
        if let Some(at) = due {
            return Err(self.planted.remove(at).2.into());
        }
        let rate = match action {
            Action::Read => self.rates.read_error,
            Action::Write => self.rates.write_error,
            Action::Sync => self.rates.sync_error,
            Action::Metadata => 0,
        };
        if strikes(&mut self.rng, rate) {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        Ok(())
    }

    /// Is there room for a file to grow from `space` to `wanted` bytes?
    fn make_room(&self, space: u64, wanted: u64) -> io::Result<()> {
        let more = wanted.saturating_sub(space);
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

fn strikes(rng: &mut Rng, rate: u64) -> bool {
    rate > 0 && rng.one_in(rate)
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Disk for SimDisk {
    fn create(&self, path: &str) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.admit(Action::Metadata)?;
        let inode = state.new_inode();
        state.inodes.insert(inode, Inode::default());
        state.names.insert(path.to_string(), inode);
        state.names_pending.push(NameChange::Link { path: path.to_string(), inode });
        Ok(self.handle(&mut state, inode))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(&mut state, inode))
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        assert_eq!(folder_of(source), folder_of(target), "a rename stays in its folder");
        let mut state = self.state();
        state.admit(Action::Metadata)?;
        let inode = state.names.remove(source).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(target.to_string(), inode);
        let (source, target) = (source.to_string(), target.to_string());
        state.names_pending.push(NameChange::Rename { source, target });
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.admit(Action::Metadata)?;
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.names_pending.push(NameChange::Unlink { path: path.to_string() });
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.admit(Action::Read)?;
        let inside = state.names.keys().filter(|path| folder_of(path) == folder);
        Ok(inside.map(|path| path.rsplit('/').next().unwrap_or(path).to_string()).collect())
    }

    fn make_folder(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state();
        state.admit(Action::Sync)?;
        for change in std::mem::take(&mut state.names_pending) {
            if change.folder() == folder {
                change.apply(&mut state.names_durable);
            } else {
                state.names_pending.push(change);
            }
        }
        state.sweep();
        Ok(())
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Lock>>> {
        let mut state = self.state();
        if !state.locked.insert(path.to_string()) {
            return Ok(None);
        }
        let life = state.life;
        Ok(Some(Box::new(SimLock { disk: self.clone(), path: path.to_string(), life })))
    }

    fn free(&self) -> u64 {
        let state = self.state();
        state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used()))
    }

    fn describe(&self, path: &str) -> String {
        path.to_string()
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: String,
    life: u64,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locked.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    life: u64,
}

impl SimFile {
    fn with<T>(
        &self,
        action: Action,
        work: impl FnOnce(&mut State, &mut Inode) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other("a handle from before the crash"));
        }
        state.admit(action)?;
        // Taken out, so that the rest of the state can be used beside it.
        let mut inode = state.inodes.remove(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let stand_in = Inode { reserved: inode.space(), ..Inode::default() };
        state.inodes.insert(self.inode, stand_in);
        let result = work(&mut state, &mut inode);
        state.inodes.insert(self.inode, inode);
        result
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if let Some(inode) = self.disk.state().inodes.get_mut(&self.inode) {
            inode.handles -= 1;
        }
    }
}

impl File for SimFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.with(Action::Read, |_, inode| {
            let sectors = offset / SECTOR_BYTES as u64
                ..(offset + out.len() as u64).div_ceil(SECTOR_BYTES as u64);
            if inode.unreadable.range(sectors).next().is_some() {
                return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
            }
            let start = (offset as usize).min(inode.current.len());
            let count = out.len().min(inode.current.len() - start);
            out[..count].copy_from_slice(&inode.current[start..start + count]);
            Ok(count)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(Action::Write, |state, inode| {
            let mut offset = offset;
            state.make_room(inode.space(), offset + bytes.len() as u64)?;
            let lost = strikes(&mut state.rng, state.rates.lost_write);
            let pages = inode.current.len() as u64 / PAGE_BYTES as u64;
            let chance = strikes(&mut state.rng, state.rates.misdirected_write);
            if pages > 1 && (chance || std::mem::take(&mut state.misdirects)) {
                offset = offset % PAGE_BYTES as u64 + state.rng.below(pages) * PAGE_BYTES as u64;
            }
            put(&mut inode.current, offset, bytes);
            let sector = SECTOR_BYTES as u64;
            for number in offset.div_ceil(sector)..(offset + bytes.len() as u64) / sector {
                inode.unreadable.remove(&number);
            }
            inode.pending.push(Change::Write { offset, bytes: bytes.to_vec(), lost });
            Ok(())
        })
    }

    fn reserve(&self, len: u64) -> io::Result<bool> {
        self.with(Action::Metadata, |state, inode| {
            state.make_room(inode.space(), len)?;
            inode.reserved = inode.reserved.max(len);
            Ok(true)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(Action::Sync, |state, inode| {
            if strikes(&mut state.rng, state.rates.stall) {
                let nanos = state.rates.stall_max.as_nanos() as u64;
                state.stalled += Duration::from_nanos(state.rng.below(nanos + 1));
            }
            inode.sync();
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(Action::Read, |_, inode| Ok(inode.current.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(Action::Metadata, |state, inode| {
            state.make_room(inode.space(), len)?;
            inode.reserved = if len < inode.current.len() as u64 { len } else { inode.reserved };
            inode.current.resize(len as usize, 0);
            inode.pending.push(Change::Length(len));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, SimDisk};
    use crate::disk::Disk;
    use std::io::ErrorKind;

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let mut fates = [0; 3];
        for seed in 0..64 {
            let disk = SimDisk::new(seed);
            let file = disk.create("a").unwrap();
            file.write_at(0, &[1; 1024]).unwrap();
            file.sync().unwrap();
            disk.sync_folder("").unwrap();
            file.write_at(0, &[2; 1024]).unwrap();
            disk.crash();
            assert!(file.sync().is_err(), "the process is dead");
            let bytes = disk.contents("a").unwrap();
            assert_eq!(bytes.len(), 1024);
            let (head, tail) = (bytes[0], bytes[1023]);
            assert!(bytes[..512].iter().all(|byte| *byte == head), "a sector is atomic");
            fates[usize::from(head == 2) + usize::from(tail == 2)] += 1;
        }
        assert!(fates.iter().all(|count| *count > 0), "lost, torn and kept all happen: {fates:?}");
    }

    #[test]
    fn names_are_lost_from_the_end() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let disk = SimDisk::new(seed);
            disk.create("a").unwrap();
            disk.rename("a", "b").unwrap();
            disk.crash();
            seen.insert(disk.list("").unwrap());
        }
        assert_eq!(seen.len(), 3, "nothing, a, or b: {seen:?}");
    }

    #[test]
    fn planted_errors_strike_once_and_a_full_disk_refuses_growth_only() {
        let disk = SimDisk::new(1);
        let file = disk.create("a").unwrap();
        file.write_at(0, &[1; 100]).unwrap();
        disk.fail_next(Action::Sync, ErrorKind::Other);
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok());
        disk.set_capacity(Some(100));
        file.write_at(0, &[2; 100]).unwrap();
        assert_eq!(file.write_at(50, &[3; 51]).unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(file.reserve(101).is_err());
        disk.set_capacity(None);
        assert!(file.reserve(101).is_ok());
    }

    #[test]
    fn a_file_without_a_name_lives_as_long_as_it_is_open() {
        let disk = SimDisk::new(1);
        let file = disk.create("a").unwrap();
        file.write_at(0, b"x").unwrap();
        disk.sync_folder("").unwrap();
        disk.remove("a").unwrap();
        disk.sync_folder("").unwrap();
        let mut byte = [0];
        assert_eq!(file.read_at(0, &mut byte).unwrap(), 1);
        drop(file);
        disk.sync_folder("").unwrap();
        assert!(disk.state().inodes.is_empty());
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let disk = SimDisk::new(1);
        let lock = disk.lock("lock").unwrap();
        assert!(lock.is_some());
        assert!(disk.lock("lock").unwrap().is_none());
        disk.crash();
        let again = disk.lock("lock").unwrap();
        assert!(again.is_some());
        drop(lock);
        assert!(disk.lock("lock").unwrap().is_none(), "a dead process gives nothing back");
    }
}

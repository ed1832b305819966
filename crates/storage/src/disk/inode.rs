//! A simulated file: what the process sees, what is durable, and the writes between the two.

use std::collections::{BTreeMap, BTreeSet};

use stdx::Rng;

use crate::limits::SECTOR_BYTES;

#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) current: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<Change>,
    pub(super) reserved: u64,
    /// Open handles: a file without a name lives as long as it has one.
    pub(super) handles: usize,
    /// Sectors that cannot be read until they are written again.
    pub(super) unreadable: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: u64, bytes: Vec<u8>, lost: bool },
    Length(u64),
}

impl Inode {
    /// Bytes that it takes of the disk.
    pub(super) fn space(&self) -> u64 {
        self.reserved.max(self.current.len() as u64)
    }

    /// All that was written is durable now, but for what the disk lost.
    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Length(len) => self.durable.resize(len as usize, 0),
                Change::Write { lost: true, offset, bytes } => {
                    let end = offset as usize + bytes.len();
                    let longer = end.max(self.durable.len());
                    self.durable.resize(longer, 0);
                }
                Change::Write { offset, bytes, .. } => put(&mut self.durable, offset, &bytes),
            }
        }
    }

    /// Each sector takes some moment of its history; the length takes one of its own.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let pending = std::mem::take(&mut self.pending);
        let sector = SECTOR_BYTES as u64;
        let mut history: BTreeMap<u64, u64> = BTreeMap::new();
        let mut lengths = vec![self.durable.len() as u64];
        for change in &pending {
            let last = lengths[lengths.len() - 1];
            match change {
                Change::Length(len) => lengths.push(*len),
                Change::Write { offset, bytes, .. } => {
                    let end = offset + bytes.len() as u64;
                    lengths.push(last.max(end));
                    for number in offset / sector..end.div_ceil(sector) {
                        *history.entry(number).or_default() += 1;
                    }
                }
            }
        }
        for moments in history.values_mut() {
            *moments = rng.below(*moments + 1);
        }
        for change in &pending {
            let Change::Write { offset, bytes, lost } = change else { continue };
            let end = offset + bytes.len() as u64;
            for number in offset / sector..end.div_ceil(sector) {
                let Some(left) = history.get_mut(&number).filter(|left| **left > 0) else {
                    continue;
                };
                *left -= 1;
                if !lost {
                    let from = (number * sector).max(*offset);
                    let to = ((number + 1) * sector).min(end);
                    let part = &bytes[(from - offset) as usize..(to - offset) as usize];
                    put(&mut self.durable, from, part);
                }
            }
        }
        let len = lengths[rng.below(lengths.len() as u64) as usize];
        self.durable.resize(len as usize, 0);
        self.current.clone_from(&self.durable);
    }
}

/// Writes bytes at a place, extending what is there if need be.
pub(super) fn put(target: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    let end = start + bytes.len();
    if target.len() < end {
        target.resize(end, 0);
    }
    target[start..end].copy_from_slice(bytes);
}

//! Writing a snapshot: pieces in, a durable file out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stdx::planted;

use super::format::{Meta, Totals, put_block};
use super::stored::{FOLDER, Sizes, Snapshot, path};
use crate::Error;
use crate::disk::{Disk, File};
use crate::limits::{SNAPSHOT_BLOCK_BYTES, SNAPSHOT_META_BYTES_MAX};

/// Blocks gathered for one write.
const WRITE_BYTES: usize = 512 << 10;

/// A snapshot being written; it has no name until it is finished. Any thread may have it.
#[derive(Debug)]
pub struct Writer {
    disk: Arc<dyn Disk>,
    temporary: String,
    file: Box<dyn File>,
    meta: Meta,
    seed: u32,
    totals: Totals,
    /// Bytes of the block that is not full yet.
    block: Vec<u8>,
    /// Whole parts that are not written yet, and where they go.
    out: Vec<u8>,
    offset: u64,
    finished: bool,
    sizes: Arc<Sizes>,
}

impl Writer {
    pub(super) fn begin(
        disk: Arc<dyn Disk>,
        meta: Meta,
        sizes: Arc<Sizes>,
    ) -> Result<Writer, Error> {
        if meta.data.len() > SNAPSHOT_META_BYTES_MAX {
            let (size, max) = (meta.data.len() as u64, SNAPSHOT_META_BYTES_MAX as u64);
            return Err(Error::TooLarge { what: "description of a snapshot", size, max });
        }
        let temporary = format!("{FOLDER}/{:08}-{:020}.tmp", meta.group.0, meta.index);
        let file =
            disk.create(&temporary).map_err(|error| Error::io("create", &temporary, error))?;
        let mut out = Vec::with_capacity(WRITE_BYTES + 2 * SNAPSHOT_BLOCK_BYTES);
        let seed = meta.encode(&mut out);
        let (totals, block) = (Totals::default(), Vec::with_capacity(SNAPSHOT_BLOCK_BYTES));
        let (offset, finished) = (0, false);
        Ok(Writer {
            disk,
            temporary,
            file,
            meta,
            seed,
            totals,
            block,
            out,
            offset,
            finished,
            sizes,
        })
    }

    /// Adds bytes of the state. After an error the snapshot is given up: drop it.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let room = SNAPSHOT_BLOCK_BYTES - self.block.len();
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(piece);
            bytes = rest;
            if self.block.len() == SNAPSHOT_BLOCK_BYTES {
                self.end_block();
            }
            if self.out.len() >= WRITE_BYTES {
                self.write_out()?;
            }
        }
        Ok(())
    }

    /// Makes it durable under its name. Hand it to [`Snapshots::keep`](super::Snapshots::keep).
    pub fn finish(mut self) -> Result<Snapshot, Error> {
        if !self.block.is_empty() {
            self.end_block();
        }
        self.totals.encode(&mut self.out, self.seed);
        self.write_out()?;
        let file_bytes = self.offset;
        publish(&*self.disk, &*self.file, &self.temporary, &self.meta)?;
        self.finished = true;
        Snapshot::open(&*self.disk, self.meta.clone(), self.seed, file_bytes)
    }

    fn end_block(&mut self) {
        let crc = put_block(&mut self.out, self.seed, self.totals.blocks, &self.block);
        self.totals.add(self.block.len(), crc);
        self.block.clear();
    }

    fn write_out(&mut self) -> Result<(), Error> {
        let written = self.file.write_at(self.offset, &self.out);
        written.map_err(|error| Error::io("write", &self.temporary, error))?;
        self.offset += self.out.len() as u64;
        self.sizes.begun.fetch_add(self.out.len() as u64, Ordering::Relaxed);
        self.out.clear();
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sizes.begun.fetch_sub(self.offset, Ordering::Relaxed);
        if !self.finished {
            // Whatever cannot be removed now is removed at the next start.
            let _ = self.disk.remove(&self.temporary);
        }
    }
}

/// Syncs a temporary file and gives it the name of its snapshot, durably.
pub(super) fn publish(
    disk: &dyn Disk,
    file: &dyn File,
    temporary: &str,
    meta: &Meta,
) -> Result<(), Error> {
    if !planted!("snapshot-without-fsync") {
        file.sync().map_err(|error| Error::sync(temporary, error))?;
    }
    let path = path(meta.group, meta.index);
    disk.rename(temporary, &path).map_err(|error| Error::io("rename", &path, error))?;
    if planted!("rename-without-fsync") {
        return Ok(());
    }
    disk.sync_folder(FOLDER).map_err(|error| Error::sync(FOLDER, error))
}

//! The seam to the disk: a folder of named files that can be written, synced and renamed.
//!
//! Paths are relative, with `/` between their parts. What a call changed is durable only after the
//! matching sync: `File::sync` for contents and length, `Disk::sync_folder` for names. Both
//! implementations promise no more than that, and [`SimDisk`] makes sure that nobody relies on more.

mod inode;
mod real;
mod sim;

use std::fmt;
use std::io;

pub use real::RealDisk;
pub use sim::{Action, Rates, SimDisk};

/// A data directory.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes an empty file, whatever was there before.
    fn create(&self, path: &str) -> io::Result<Box<dyn File>>;
    /// Opens what is there, to read and write.
    fn open(&self, path: &str) -> io::Result<Box<dyn File>>;
    /// Gives a file another name in the same folder, in place of what had it.
    fn rename(&self, source: &str, target: &str) -> io::Result<()>;
    /// Takes a name away. Who has the file open can still read it.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// The names in a folder, sorted; none if there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// Makes a folder if there is none, durably.
    fn make_folder(&self, folder: &str) -> io::Result<()>;
    /// Makes the names in a folder durable. The root is `""`.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// Takes the lock of this file, or `None`: another process has it.
    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Lock>>>;
    /// Bytes that may still be written, about; `u64::MAX` if it does not tell.
    fn free(&self) -> u64;
    /// The path as a person would type it.
    fn describe(&self, path: &str) -> String;
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "a file's length is a question to the disk")]
pub trait File: Send + Sync + fmt::Debug {
    /// Fills `out` from `offset`; fewer bytes only at the end of the file.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Claims space for a file of `len` bytes, so that a full disk is known before any is written.
    /// `false`: this file system can't, and only writing will tell.
    fn reserve(&self, len: u64) -> io::Result<bool>;
    /// Makes contents and length durable.
    fn sync(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// Held as long as it lives.
pub trait Lock: Send + Sync + fmt::Debug {}

/// Writes zeros from `start` to `end`.
pub(crate) fn fill_zero(file: &dyn File, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; (end - start).min(1 << 20) as usize];
    let mut offset = start;
    while offset < end {
        let count = (end - offset).min(zeros.len() as u64) as usize;
        file.write_at(offset, &zeros[..count])?;
        offset += count as u64;
    }
    Ok(())
}

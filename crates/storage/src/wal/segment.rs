//! Segments: their names, their headers, and how the next ones are made ready off the append path.
//!
//! The name carries the number, and the header must agree. So a recycled file, whose header still
//! tells of its past, is plainly a spare under its new name.

use std::sync::{Arc, Mutex, PoisonError};

use crc32c::crc32c_append;

use super::record::seed;
use crate::Error;
use crate::disk::{Disk, File, fill_zero};
use crate::limits::{FILL_STEP_BYTES, PAGE_BYTES};

/// Where the log lives.
pub(super) const FOLDER: &str = "wal";
const MAGIC: &[u8; 8] = b"SYNODWAL";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;
/// The header stands twice in its page, far enough apart for one bad sector.
const HEADER_COPIES: [usize; 2] = [0, PAGE_BYTES / 2];

/// The path of a segment.
pub(super) fn path(sequence: u64) -> String {
    format!("{FOLDER}/{sequence:012}.wal")
}

/// The segment with this file name.
pub(super) fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    if digits.len() < 12 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|sequence| *sequence > 0)
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub sequence: u64,
    /// The batch that opened it.
    pub batch: u64,
    /// The oldest segment that counted then.
    pub first: u64,
    /// Checksum of the last record before it.
    pub chain: u32,
}

impl Header {
    /// Appends the header page.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + PAGE_BYTES, 0);
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.batch.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.chain.to_le_bytes());
        let crc = header_crc(&bytes, self.sequence);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        for copy in HEADER_COPIES {
            out[start + copy..start + copy + HEADER_BYTES].copy_from_slice(&bytes);
        }
    }

    /// The header of the segment `sequence`, or `None`: this page is not that. An error if it is,
    /// but of a later format.
    pub(super) fn decode(page: &[u8], sequence: u64) -> Result<Option<Header>, Error> {
        for copy in HEADER_COPIES {
            let Some(bytes) = page.get(copy..).and_then(|rest| rest.first_chunk()) else {
                continue;
            };
            if let Some((version, header)) = decode_copy(bytes, sequence) {
                if version > VERSION {
                    let path = path(sequence);
                    return Err(Error::Newer { path, found: version, known: VERSION });
                }
                return Ok(Some(header));
            }
        }
        Ok(None)
    }
}

fn header_crc(bytes: &[u8; HEADER_BYTES], sequence: u64) -> u32 {
    crc32c_append(crc32c_append(seed(sequence), &bytes[..12]), &bytes[16..])
}

fn decode_copy(bytes: &[u8; HEADER_BYTES], sequence: u64) -> Option<(u32, Header)> {
    let u32_at = |at: usize| bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four));
    let u64_at =
        |at: usize| bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
    if !bytes.starts_with(MAGIC) || u32_at(12) != header_crc(bytes, sequence) {
        return None;
    }
    let header =
        Header { sequence: u64_at(16), batch: u64_at(24), first: u64_at(32), chain: u32_at(40) };
    (header.sequence == sequence).then_some((u32_at(8), header))
}

/// A segment that can be written: a zero-filled file, or one whose past does not matter any more.
#[derive(Debug)]
pub(super) struct Ready {
    pub sequence: u64,
    pub file: Box<dyn File>,
    pub capacity: u64,
}

/// How far the making of a segment is; shared between who makes it and who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// The log has no other spare.
    Hurried,
    /// The log could not wait and made one itself.
    Cancelled,
    /// The file has its name, durably.
    Named,
}

/// Work to do beside the append path, on any thread: make the next segment ready, delete what is
/// left over. [`run`](Prepare::run) it and hand the result to [`Wal::accept`](super::Wal::accept).
#[derive(Debug)]
pub struct Prepare {
    /// One name for each attempt: a cancelled one may still be at work on its own.
    pub(super) number: u64,
    pub(super) disk: Arc<dyn Disk>,
    /// The segment to make, if any.
    pub(super) target: Option<u64>,
    pub(super) bytes: u64,
    /// A file to use again.
    pub(super) recycled: Option<u64>,
    /// The log waits for it: space that is claimed must do, zeros take too long.
    pub(super) at_once: bool,
    pub(super) surplus: Vec<u64>,
    pub(super) stage: Arc<Mutex<Stage>>,
}

/// What came of a [`Prepare`].
#[derive(Debug)]
pub struct Prepared {
    pub(super) stage: Arc<Mutex<Stage>>,
    pub(super) result: Result<Option<Ready>, Error>,
}

impl Prepare {
    /// Does the work; it may take as long as writing a segment full of zeros. `rest` is called between
    /// two steps while the log is in no hurry, so that its commits find the disk idle.
    pub fn run(self, rest: &mut dyn FnMut()) -> Prepared {
        for sequence in &self.surplus {
            // What cannot be deleted now is found again at the next start.
            let _ = self.disk.remove(&path(*sequence));
        }
        let result = match self.target {
            Some(target) => self.make(target, rest),
            // Only then is it certain that their space is free.
            None => self
                .disk
                .sync_folder(FOLDER)
                .map_err(|error| Error::sync(FOLDER, error))
                .map(|()| None),
        };
        Prepared { stage: self.stage, result }
    }

    fn make(&self, target: u64, rest: &mut dyn FnMut()) -> Result<Option<Ready>, Error> {
        let path = path(target);
        let source = match self.recycled {
            Some(recycled) => self::path(recycled),
            None => self.new_file(target, rest)?,
        };
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Cancelled {
            if self.recycled.is_none() {
                let _ = self.disk.remove(&source);
            }
            return Ok(None);
        }
        self.disk.rename(&source, &path).map_err(|error| Error::io("rename", &path, error))?;
        self.disk.sync_folder(FOLDER).map_err(|error| Error::sync(FOLDER, error))?;
        *stage = Stage::Named;
        drop(stage);
        let file = self.disk.open(&path).map_err(|error| Error::io("open", &path, error))?;
        Ok(Some(Ready { sequence: target, file, capacity: self.bytes }))
    }

    fn new_file(&self, target: u64, rest: &mut dyn FnMut()) -> Result<String, Error> {
        let path = format!("{FOLDER}/{target:012}-{}.tmp", self.number);
        let made = self.fill(&path, rest);
        if made.is_err() {
            let _ = self.disk.remove(&path);
        }
        made.map(|()| path)
    }

    fn fill(&self, path: &str, rest: &mut dyn FnMut()) -> Result<(), Error> {
        let extend = |error| Error::io("extend", path, error);
        let file = self.disk.create(path).map_err(|error| Error::io("create", path, error))?;
        if file.reserve(self.bytes).map_err(extend)? && self.at_once {
            file.set_len(self.bytes).map_err(extend)?;
            return file.sync().map_err(|error| Error::sync(path, error));
        }
        let mut at = 0;
        while at < self.bytes {
            // A little at a time: a commit of the log waits behind what the disk has to flush.
            let end = self.bytes.min(at + FILL_STEP_BYTES);
            fill_zero(&*file, at, end).map_err(|error| Error::io("write", path, error))?;
            file.sync().map_err(|error| Error::sync(path, error))?;
            at = end;
            match *self.stage.lock().unwrap_or_else(PoisonError::into_inner) {
                Stage::Cancelled => return Ok(()),
                Stage::Open if at < self.bytes && !self.at_once => rest(),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Header, path, sequence_of};

    #[test]
    fn a_name_carries_its_number() {
        assert_eq!(path(42), "wal/000000000042.wal");
        assert_eq!(sequence_of("000000000042.wal"), Some(42));
        for other in ["42.wal", "00000000004x.wal", "000000000042.tmp", "000000000000.wal"] {
            assert_eq!(sequence_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_survives_one_bad_copy_and_not_another_name() {
        let header = Header { sequence: 7, batch: 9, first: 3, chain: 5 };
        let mut page = Vec::new();
        header.encode(&mut page);
        assert_eq!(Header::decode(&page, 7).unwrap(), Some(header));
        assert_eq!(Header::decode(&page, 8).unwrap(), None);
        page[20] ^= 1;
        assert_eq!(Header::decode(&page, 7).unwrap(), Some(header));
        page[2048 + 20] ^= 1;
        assert_eq!(Header::decode(&page, 7).unwrap(), None);
        assert_eq!(Header::decode(&[], 7).unwrap(), None);
    }
}

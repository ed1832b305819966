//! The bytes of a segment as the disk gives them, and the search for records in them.
//!
//! A place that cannot be read becomes zeros and is remembered: there damage is certain.

use std::io;
use std::ops::Range;

use super::record::{HEAD_BYTES, Head, decode, decode_anywhere, seed};
use super::segment::{Header, path};
use crate::Error;
use crate::disk::{Disk, File};
use crate::limits::{PAGE_BYTES, SECTOR_BYTES};
use crc32c::crc32c;
use stdx::planted;

/// Read at once; after an error the same stretch is read again page by page.
pub(super) const READ_BYTES: usize = 256 << 10;

/// One segment in memory.
#[derive(Debug)]
pub(super) struct Image {
    pub sequence: u64,
    pub seed: u32,
    pub bytes: Vec<u8>,
    pub header: Option<Header>,
    unreadable: Vec<Range<usize>>,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At<'a> {
    /// A whole record and its data.
    Record(Head, &'a [u8]),
    /// A record of which only the head can be trusted.
    HeadOnly(Head),
    Nothing,
}

impl Image {
    /// The segment `sequence`, at most `bytes_max` of it; `None` if there is no such file.
    pub(super) fn load(
        disk: &dyn Disk,
        sequence: u64,
        bytes_max: u64,
    ) -> Result<Option<Image>, Error> {
        Image::load_slowly(disk, sequence, bytes_max, &mut || {})
    }

    /// `rest` is called between two reads.
    pub(super) fn load_slowly(
        disk: &dyn Disk,
        sequence: u64,
        bytes_max: u64,
        rest: &mut dyn FnMut(),
    ) -> Result<Option<Image>, Error> {
        let path = path(sequence);
        let file = match disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| Error::io("open", &path, error))?,
        };
        let len = file.len().map_err(|error| Error::io("read", &path, error))?.min(bytes_max);
        let mut bytes = vec![0; len as usize];
        let mut unreadable = Vec::new();
        read(&*file, &mut bytes, &mut unreadable, rest);
        Image::new(sequence, bytes, unreadable).map(Some)
    }

    /// What the header of the segment `sequence` says the chain was before it, if there is one.
    pub(super) fn chain_before(disk: &dyn Disk, sequence: u64) -> Result<Option<u32>, Error> {
        let image = Image::load(disk, sequence, PAGE_BYTES as u64)?;
        Ok(image.and_then(|image| image.header).map(|header| header.chain))
    }

    /// Heads behind `offset` that were written for another place of this segment: what a misdirected
    /// write left. A disk misses by whole sectors.
    pub(super) fn displaced(&self, offset: usize) -> impl Iterator<Item = Head> + '_ {
        let places = (offset.next_multiple_of(8)..self.bytes.len()).step_by(8);
        places.filter_map(|at| {
            let rest = &self.bytes[at..];
            if rest.get(21).is_none_or(|tag| *tag == 0) {
                return None;
            }
            let (place, head) = decode_anywhere(rest, self.seed)?;
            let missed = place.abs_diff(at as u64);
            (missed > 0 && missed.is_multiple_of(SECTOR_BYTES as u64)).then_some(head)
        })
    }

    /// Stands in for a segment that is not there.
    pub(super) fn missing(sequence: u64) -> Image {
        let (bytes, unreadable) = (Vec::new(), Vec::new());
        Image { sequence, seed: seed(sequence), bytes, header: None, unreadable }
    }

    fn new(sequence: u64, bytes: Vec<u8>, unreadable: Vec<Range<usize>>) -> Result<Image, Error> {
        let header = match bytes.get(..PAGE_BYTES) {
            Some(page) => Header::decode(page, sequence)?,
            None => None,
        };
        Ok(Image { sequence, seed: seed(sequence), bytes, header, unreadable })
    }

    /// What stands at `offset`.
    pub(super) fn at(&self, offset: usize) -> At<'_> {
        let Some(head) = self.head(offset) else { return At::Nothing };
        let start = offset + HEAD_BYTES;
        match self.bytes.get(start..offset + head.record_bytes()) {
            Some(padded) if crc32c(padded) == head.data_crc || planted!("torn-entry-believed") => {
                At::Record(head, &padded[..head.length as usize])
            }
            _ => At::HeadOnly(head),
        }
    }

    /// The head at `offset`, if there is one that can be trusted.
    pub(super) fn head(&self, offset: usize) -> Option<Head> {
        let rest = self.bytes.get(offset..)?;
        // Most places that are looked at are not heads: their tag tells without a checksum.
        if rest.get(21).is_none_or(|tag| *tag == 0) {
            return None;
        }
        decode(rest, self.seed, offset as u64)
    }

    /// Every head that can be trusted from `offset` on, whatever lies between.
    pub(super) fn heads(&self, offset: usize) -> impl Iterator<Item = (usize, Head)> + '_ {
        let mut at = offset.max(PAGE_BYTES).next_multiple_of(8);
        std::iter::from_fn(move || {
            while at + HEAD_BYTES <= self.bytes.len() {
                let here = at;
                at += 8;
                if let Some(head) = self.head(here) {
                    // Inside the data of a whole record nothing is a record.
                    if let At::Record(..) = self.at(here) {
                        at = here + head.record_bytes();
                    }
                    return Some((here, head));
                }
            }
            None
        })
    }

    /// The records from the first one on, as long as the chain holds. What a cut left behind it is
    /// never among them.
    pub(super) fn chained(&self) -> impl Iterator<Item = (usize, Head)> + '_ {
        let mut offset = PAGE_BYTES;
        let mut chain = self.header.map(|header| header.chain);
        std::iter::from_fn(move || match self.at(offset) {
            At::Record(head, _) if Some(head.chain) == chain => {
                let here = offset;
                (chain, offset) = (Some(head.crc), offset + head.record_bytes());
                Some((here, head))
            }
            _ => None,
        })
    }

    /// Is any byte of the head at `offset` unreadable?
    pub(super) fn is_unreadable(&self, offset: usize) -> bool {
        self.unreadable.iter().any(|range| range.start < offset + HEAD_BYTES && offset < range.end)
    }
}

fn read(
    file: &dyn File,
    bytes: &mut [u8],
    unreadable: &mut Vec<Range<usize>>,
    rest: &mut dyn FnMut(),
) {
    for (number, stretch) in bytes.chunks_mut(READ_BYTES).enumerate() {
        let start = number * READ_BYTES;
        if start > 0 {
            rest();
        }
        if file.read_at(start as u64, stretch).is_ok() {
            continue;
        }
        for (number, page) in stretch.chunks_mut(PAGE_BYTES).enumerate() {
            let start = start + number * PAGE_BYTES;
            if file.read_at(start as u64, page).is_err() {
                page.fill(0);
                unreadable.push(start..start + page.len());
            }
        }
    }
}

//! The doors for fuzzing: arbitrary bytes as a segment of a log, and arbitrary records in one.

use std::sync::Arc;

use super::record::{Head, Tag, encode, record_bytes, seed};
use super::recovery::Recovered;
use super::segment::{Header, path};
use super::writer::{Options, Wal};
use crate::disk::SimDisk;
use crate::limits::SEGMENT_BYTES_MIN;
use crate::{Error, GroupId};

/// Bytes of input for the head of a record.
const SCRIPT_BYTES: usize = 7;

/// Opens a log whose first segment is these bytes, and opens it once more as the first opening left
/// it. Must never panic; whatever the bytes are, the second opening finds what the first one found.
pub fn fuzz_segment(bytes: &[u8]) -> Result<Recovered, Error> {
    let disk = SimDisk::new(0);
    disk.put(&path(1), bytes);
    open_twice(&disk)
}

/// The same with a log of two segments as a writer makes it, whatever its records say, and with holes
/// and damage in it: mutation alone does not guess checksums, and would not get behind them.
pub fn fuzz_records(bytes: &[u8]) -> Result<Recovered, Error> {
    let disk = SimDisk::new(0);
    let mut script = Script { sequence: 1, batch: 1, chain: 0, segment: Vec::new() };
    script.begin();
    let mut rest = bytes;
    while let Some((step, behind)) = rest.split_first_chunk() {
        let data = &behind[..behind.len().min(usize::from(step[6] % 40))];
        rest = &behind[data.len()..];
        if step[0] & 0xc0 == 0xc0 && script.sequence == 1 {
            script.finish(&disk);
            script.sequence = 2;
            script.begin();
        }
        if script.segment.len() + record_bytes(data.len()) > SEGMENT_BYTES_MIN as usize {
            break;
        }
        script.put_record(step, data);
    }
    script.finish(&disk);
    open_twice(&disk)
}

const TAGS: [Tag; 8] =
    [Tag::Entry, Tag::Vote, Tag::Trim, Tag::Reset, Tag::Moved, Tag::Commit, Tag::Seal, Tag::Lost];

/// A writer that does what it is told.
struct Script {
    sequence: u64,
    batch: u64,
    chain: u32,
    segment: Vec<u8>,
}

impl Script {
    /// Begins a segment.
    fn begin(&mut self) {
        let Script { sequence, batch, chain, .. } = *self;
        self.segment.clear();
        Header { sequence, batch, first: 1, chain }.encode(&mut self.segment);
    }

    /// Appends a record, or something worse.
    fn put_record(&mut self, step: &[u8; SCRIPT_BYTES], data: &[u8]) {
        let [flags, tag, group, term, index, kind, _] = *step;
        let tag = TAGS[usize::from(tag) % TAGS.len()];
        // What nobody asks a writer for: a vote in term 0, two votes in a term, an entry at index 0, a
        // term of no entry.
        let (term, index) = match (tag, u64::from(index)) {
            (Tag::Vote, _) => (u64::from(term) + 1, u64::from(term) % 5),
            (Tag::Commit, _) => (0, 1),
            (Tag::Trim | Tag::Reset | Tag::Lost, 0) => (0, 0),
            (_, index) => (u64::from(term) + 1, index.max(1)),
        };
        let mut head = Head::new(tag, GroupId(u32::from(group % 4)), term, index);
        (head.kind, head.batch, head.chain) = (kind, self.batch, self.chain);
        let place = self.segment.len();
        let out = &mut self.segment;
        self.chain = encode(out, seed(self.sequence), place as u64, &head, data);
        self.batch += u64::from(tag == Tag::Commit);
        let end = out.len() - 1;
        match flags & 7 {
            5 => out[place + 20] ^= 1,
            6 => out[end] ^= 1,
            7 => out[place..].fill(0),
            _ => {}
        }
    }

    fn finish(&mut self, disk: &SimDisk) {
        self.segment.resize(SEGMENT_BYTES_MIN as usize, 0);
        disk.put(&path(self.sequence), &self.segment);
    }
}

fn open_twice(disk: &SimDisk) -> Result<Recovered, Error> {
    let options = Options { segment_bytes: SEGMENT_BYTES_MIN };
    let (wal, first) = Wal::open(Arc::new(disk.clone()), options)?;
    wal.check();
    drop(wal);
    let (wal, second) = Wal::open(Arc::new(disk.clone()), options)?;
    wal.check();
    assert_eq!(first.groups, second.groups, "opening changes nothing");
    Ok(first)
}

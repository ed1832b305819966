//! The doors for fuzzing: arbitrary bytes as a segment of a log, and arbitrary records in one.

use std::sync::Arc;

use super::record::{Head, Tag, encode, record_bytes, seed};
use super::recovery::Recovered;
use super::segment::{Header, path};
use super::writer::{Options, Wal};
use crate::disk::SimDisk;
use crate::limits::{PAGE_BYTES, SEGMENT_BYTES_MIN};
use crate::{Error, GroupId};

/// Bytes of input for the head of a record.
const SCRIPT_BYTES: usize = 8;

/// Opens a log whose first segment is these bytes, and opens it once more as the first opening left
/// it. Must never panic; whatever the bytes are, the second opening finds what the first one found.
pub fn fuzz_segment(bytes: &[u8]) -> Result<Recovered, Error> {
    let disk = SimDisk::new(0);
    disk.put(&path(1), bytes);
    open_twice(&disk)
}

/// The same with two segments of records that say what the bytes want, all with the checksums that
/// a reader expects: mutation alone does not guess those, and would not get past them.
pub fn fuzz_records(bytes: &[u8]) -> Result<Recovered, Error> {
    let disk = SimDisk::new(0);
    let (mut sequence, mut chain) = (1, 0);
    let mut segment = segment(sequence, &[0; SCRIPT_BYTES], chain);
    let mut rest = bytes;
    while let Some((script, behind)) = rest.split_first_chunk::<SCRIPT_BYTES>() {
        rest = behind;
        let [flags, tag, group, batch, term, index, kind, length] = *script;
        if flags & 0xc0 == 0xc0 && sequence == 1 {
            finish(&disk, sequence, segment);
            sequence = 2;
            segment = self::segment(sequence, script, chain);
            continue;
        }
        let data = &rest[..rest.len().min(usize::from(length % 40))];
        rest = &rest[data.len()..];
        let mut head =
            Head::new(TAGS[usize::from(tag) % TAGS.len()], GroupId(u32::from(group % 4)), 0, 0);
        (head.batch, head.term, head.index) = (u64::from(batch), u64::from(term), u64::from(index));
        (head.kind, head.chain) = (kind, if flags & 1 == 0 { chain } else { !chain });
        if segment.len() + record_bytes(data.len()) > SEGMENT_BYTES_MIN as usize {
            break;
        }
        let place = segment.len();
        chain = encode(&mut segment, seed(sequence), place as u64, &head, data);
        if flags & 2 != 0 {
            // Damage: to the head, or to what stands at the end of the record.
            let at = if flags & 4 == 0 { place + 20 } else { segment.len() - 1 };
            segment[at] ^= 1;
        }
    }
    finish(&disk, sequence, segment);
    open_twice(&disk)
}

const TAGS: [Tag; 8] =
    [Tag::Entry, Tag::Vote, Tag::Trim, Tag::Reset, Tag::Moved, Tag::Commit, Tag::Seal, Tag::Lost];

/// The beginning of a segment.
fn segment(sequence: u64, script: &[u8; SCRIPT_BYTES], chain: u32) -> Vec<u8> {
    let (batch, first) = (u64::from(script[3]), u64::from(script[1] % 4));
    let chain = if script[0] & 1 == 0 { chain } else { !chain };
    let mut bytes = Vec::with_capacity(PAGE_BYTES);
    Header { sequence, batch, first, chain }.encode(&mut bytes);
    bytes
}

fn finish(disk: &SimDisk, sequence: u64, mut bytes: Vec<u8>) {
    bytes.resize(SEGMENT_BYTES_MIN as usize, 0);
    disk.put(&path(sequence), &bytes);
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

//! Records: what the log is made of, and how one looks on the disk.
//!
//! ```text
//!  0 crc      of the rest of the head; begins with the segment's seed and the record's place
//!  4 data crc of the data and its padding
//!  8 chain    crc of the record before
//! 12 length   of the data
//! 16 group
//! 20 kind     of the entry, the caller's
//! 21 tag      what this record is: never 0, so zeros are no record
//! 22 batch    number of the commit it belongs to (48 bits)
//! 28 place    in the segment, in units of 8 bytes
//! 32 term
//! 40 index
//! 48 data, padded with zeros to a multiple of 8
//! ```
//!
//! The head has a checksum of its own, so that it can be trusted when the data or what stood before
//! it is damaged: that is how a torn tail is told from damage in the middle. It counts the segment
//! and the place in, so that neither the past of a recycled segment nor a misdirected write nor a
//! copy inside someone's data is ever taken for a record. And a misdirected write, which may have
//! buried what was acknowledged, is known for what it is: its heads name another place.

use crc32c::{crc32c, crc32c_append};

use crate::GroupId;
use crate::limits::ENTRY_BYTES_MAX;

/// One thing to make durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// An entry at or below the last index of its group replaces it and all behind it.
    Entry { group: GroupId, term: u64, index: u64, kind: u8, data: &'a [u8] },
    /// The term of a group and the vote in it. A later one replaces it.
    Vote { group: GroupId, term: u64, vote: Option<u32> },
    /// A durable snapshot covers the group up to `index`; what is behind stays.
    Trim { group: GroupId, index: u64, term: u64 },
    /// Every entry of the group is void; its log goes on behind `index`. This ends a fault.
    Reset { group: GroupId, index: u64, term: u64 },
}

/// The kind of a commit by which a recovery closes a batch that was cut, before it writes the rest.
pub(super) const CLOSES: u8 = 1;

/// Bytes of a record's head.
pub(super) const HEAD_BYTES: usize = 48;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Entry = 1,
    Vote = 2,
    Trim = 3,
    Reset = 4,
    /// An entry that moved here from an older segment: it replaces nothing but itself.
    Moved = 5,
    /// The end of a batch; `index` is the oldest segment that still counts.
    Commit = 6,
    /// Nothing: proof that the batch before is durable.
    Seal = 7,
    /// The group lost something and was not reset yet.
    Lost = 8,
}

impl Tag {
    fn of(byte: u8) -> Option<Tag> {
        use Tag::{Commit, Entry, Lost, Moved, Reset, Seal, Trim, Vote};
        let all = [Entry, Vote, Trim, Reset, Moved, Commit, Seal, Lost];
        all.into_iter().find(|tag| *tag as u8 == byte)
    }
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub crc: u32,
    pub data_crc: u32,
    pub chain: u32,
    pub length: u32,
    pub group: GroupId,
    pub kind: u8,
    pub tag: Tag,
    pub batch: u64,
    pub term: u64,
    pub index: u64,
}

impl Head {
    /// Head, data and padding.
    pub(super) fn record_bytes(&self) -> usize {
        record_bytes(self.length as usize)
    }

    /// The head of a record, all but what encoding fills in.
    pub(super) fn new(tag: Tag, group: GroupId, term: u64, index: u64) -> Head {
        let (crc, data_crc, chain, length, kind, batch) = (0, 0, 0, 0, 0, 0);
        Head { crc, data_crc, chain, length, group, kind, tag, batch, term, index }
    }

    /// The vote that a vote record carries.
    pub(super) fn vote(&self) -> Option<u32> {
        self.index.checked_sub(1).and_then(|node| u32::try_from(node).ok())
    }
}

impl Record<'_> {
    pub(super) fn group(&self) -> GroupId {
        match self {
            Record::Entry { group, .. }
            | Record::Vote { group, .. }
            | Record::Trim { group, .. }
            | Record::Reset { group, .. } => *group,
        }
    }
}

/// A vote as the number that its record carries in place of an index.
pub(super) fn vote_number(vote: Option<u32>) -> u64 {
    vote.map_or(0, |node| u64::from(node) + 1)
}

/// Bytes on disk of a record with this much data.
pub(super) fn record_bytes(data: usize) -> usize {
    HEAD_BYTES + data.next_multiple_of(8)
}

/// The seed of every checksum of a segment: its number, so that no two segments share one.
pub(super) fn seed(segment: u64) -> u32 {
    crc32c(&segment.to_le_bytes())
}

fn seed_at(seed: u32, offset: u64) -> u32 {
    seed ^ (offset as u32).rotate_left(13)
}

/// Appends a record to `out`, whose end stands at `offset` of the segment. Returns its checksum,
/// the next one's chain.
pub(super) fn encode(out: &mut Vec<u8>, seed: u32, offset: u64, head: &Head, data: &[u8]) -> u32 {
    let start = out.len();
    out.resize(start + HEAD_BYTES, 0);
    out.extend_from_slice(data);
    out.resize(start + record_bytes(data.len()), 0);
    let data_crc = crc32c(&out[start + HEAD_BYTES..]);
    let bytes = &mut out[start..start + HEAD_BYTES];
    let put = |bytes: &mut [u8], at: usize, value: &[u8]| {
        bytes[at..at + value.len()].copy_from_slice(value);
    };
    put(bytes, 4, &data_crc.to_le_bytes());
    put(bytes, 8, &head.chain.to_le_bytes());
    put(bytes, 12, &(data.len() as u32).to_le_bytes());
    put(bytes, 16, &head.group.0.to_le_bytes());
    put(bytes, 20, &[head.kind, head.tag as u8]);
    put(bytes, 22, &head.batch.to_le_bytes()[..6]);
    put(bytes, 28, &((offset / 8) as u32).to_le_bytes());
    put(bytes, 32, &head.term.to_le_bytes());
    put(bytes, 40, &head.index.to_le_bytes());
    let crc = crc32c_append(seed_at(seed, offset), &bytes[4..]);
    put(bytes, 0, &crc.to_le_bytes());
    crc
}

/// The head at the beginning of `bytes`, which stand at `offset` of the segment, if it is one.
/// The data behind it is not looked at.
pub(super) fn decode(bytes: &[u8], seed: u32, offset: u64) -> Option<Head> {
    decode_anywhere(bytes, seed).filter(|(place, _)| *place == offset).map(|(_, head)| head)
}

/// The head at the beginning of `bytes` and the place in the segment that it was written for.
pub(super) fn decode_anywhere(bytes: &[u8], seed: u32) -> Option<(u64, Head)> {
    let bytes: &[u8; HEAD_BYTES] = bytes.first_chunk()?;
    let tag = Tag::of(bytes[21])?;
    let u32_at = |at: usize| bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four));
    let u64_at =
        |at: usize| bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
    let length = u32_at(12);
    if length as usize > ENTRY_BYTES_MAX {
        return None;
    }
    let offset = u64::from(u32_at(28)) * 8;
    let crc = u32_at(0);
    if crc32c_append(seed_at(seed, offset), &bytes[4..]) != crc {
        return None;
    }
    let head = Head {
        crc,
        data_crc: u32_at(4),
        chain: u32_at(8),
        length,
        group: GroupId(u32_at(16)),
        kind: bytes[20],
        tag,
        batch: u64_at(22) & 0xffff_ffff_ffff,
        term: u64_at(32),
        index: u64_at(40),
    };
    Some((offset, head))
}

#[cfg(test)]
mod tests {
    use super::{HEAD_BYTES, Head, Tag, decode, encode, seed};
    use crate::GroupId;

    fn sample() -> Head {
        let mut head = Head::new(Tag::Entry, GroupId(7), 3, 1 << 40);
        (head.kind, head.batch, head.chain) = (2, 0xabcd_ef01_2345, 99);
        head
    }

    #[test]
    fn a_head_comes_back_and_only_at_its_place_in_its_segment() {
        let mut out = Vec::new();
        let crc = encode(&mut out, seed(5), 4096, &sample(), b"hello");
        assert_eq!(out.len(), HEAD_BYTES + 8);
        let head = decode(&out, seed(5), 4096).unwrap();
        assert_eq!((head.crc, head.length, head.batch), (crc, 5, sample().batch));
        assert_eq!((head.group, head.term, head.index), (GroupId(7), 3, 1 << 40));
        assert!(decode(&out, seed(6), 4096).is_none());
        assert!(decode(&out, seed(5), 4104).is_none());
        assert!(decode(&out[..HEAD_BYTES - 1], seed(5), 4096).is_none());
    }

    #[test]
    fn every_flipped_bit_of_a_head_is_seen() {
        let mut out = Vec::new();
        encode(&mut out, seed(5), 0, &sample(), b"");
        for bit in 0..HEAD_BYTES * 8 {
            out[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&out, seed(5), 0).is_none(), "bit {bit}");
            out[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

//! The bytes of a snapshot file, and the checker that reads them as a stream.

use crc32c::{crc32c, crc32c_append};
use stdx::planted;

use crate::GroupId;
use crate::limits::{SNAPSHOT_BLOCK_BYTES, SNAPSHOT_META_BYTES_MAX};

const MAGIC: &[u8; 8] = b"SYNODSNP";
pub(super) const VERSION: u32 = 1;
const HEADER_BYTES: usize = 40;
/// What stands before the bytes of a block: their length and checksum.
pub(super) const BLOCK_HEAD_BYTES: usize = 8;
pub(super) const FOOTER_BYTES: usize = BLOCK_HEAD_BYTES + 24;
/// In place of a block's length: the footer follows.
pub(super) const END: u32 = u32::MAX;

/// What a snapshot is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub group: GroupId,
    /// The state after applying this entry.
    pub index: u64,
    pub term: u64,
    /// The caller's: the configuration of the group.
    pub data: Vec<u8>,
}

impl Meta {
    /// Appends the header and returns the seed of the checksums of the blocks.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.group.0.to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.term.to_le_bytes());
        out.extend_from_slice(&(self.data.len() as u32).to_le_bytes());
        let crc = crc32c_append(crc32c(&out[start..]), &self.data);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&self.data);
        crc
    }

    /// Bytes before the first block.
    pub(super) fn header_bytes(&self) -> u64 {
        (HEADER_BYTES + self.data.len()) as u64
    }
}

/// Appends the block with this number.
pub(super) fn put_block(out: &mut Vec<u8>, seed: u32, number: u64, bytes: &[u8]) -> u32 {
    let crc = block_crc(seed, number, bytes);
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(bytes);
    crc
}

/// A block's checksum counts in the snapshot and its place in it.
fn block_crc(seed: u32, number: u64, bytes: &[u8]) -> u32 {
    crc32c_append(crc32c_append(seed, &number.to_le_bytes()), bytes)
}

/// What the footer sums up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub bytes: u64,
    pub blocks: u64,
    /// Chained over the checksums of all blocks.
    pub crc: u32,
}

impl Totals {
    pub(super) fn add(&mut self, bytes: usize, crc: u32) {
        self.bytes += bytes as u64;
        self.blocks += 1;
        self.crc = crc32c_append(self.crc, &crc.to_le_bytes());
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>, seed: u32) {
        let mut body = [0; FOOTER_BYTES - BLOCK_HEAD_BYTES];
        body[..8].copy_from_slice(&self.bytes.to_le_bytes());
        body[8..16].copy_from_slice(&self.blocks.to_le_bytes());
        body[16..20].copy_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&END.to_le_bytes());
        out.extend_from_slice(&block_crc(seed, u64::MAX, &body).to_le_bytes());
        out.extend_from_slice(&body);
    }
}

/// Why bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    Damaged(&'static str),
    Newer(u32),
}

/// Reads a snapshot file as a stream of pieces of any size, and believes nothing.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// What has arrived and is not a whole part yet.
    buffer: Vec<u8>,
    /// Bytes of whole parts so far: where a defect stands.
    pub offset: u64,
    pub meta: Option<Meta>,
    seed: u32,
    totals: Totals,
    short: bool,
    ended: bool,
}

impl Checker {
    /// Takes the next piece. Every block that is whole and right goes to `each`.
    pub(super) fn feed(&mut self, piece: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<(), Defect> {
        self.buffer.extend_from_slice(piece);
        let mut start = 0;
        let result = loop {
            match self.part(start, each) {
                Ok(Some(used)) => {
                    start += used;
                    self.offset += used as u64;
                }
                Ok(None) => break Ok(()),
                Err(defect) => break Err(defect),
            }
        };
        self.buffer.drain(..start);
        result
    }

    /// All was fed: was it a whole snapshot?
    pub(super) fn finish(&self) -> Result<&Meta, Defect> {
        match &self.meta {
            Some(meta) if self.ended && self.buffer.is_empty() => Ok(meta),
            Some(meta) if planted!("truncated-snapshot-taken") => Ok(meta),
            _ => Err(Defect::Damaged("it is cut short")),
        }
    }

    fn part(&mut self, start: usize, each: &mut dyn FnMut(&[u8])) -> Result<Option<usize>, Defect> {
        let bytes = &self.buffer[start..];
        if bytes.is_empty() {
            return Ok(None);
        }
        if self.ended {
            return Err(Defect::Damaged("something follows its end"));
        }
        if self.meta.is_none() {
            let Some((meta, crc)) = header(bytes)? else { return Ok(None) };
            let used = meta.header_bytes() as usize;
            (self.meta, self.seed) = (Some(meta), crc);
            return Ok(Some(used));
        }
        let Some(head) = bytes.first_chunk::<BLOCK_HEAD_BYTES>() else { return Ok(None) };
        let [length, crc] = [u32_at(head, 0), u32_at(head, 4)];
        if length == END {
            return self.footer(start, crc);
        }
        if length == 0 || length as usize > SNAPSHOT_BLOCK_BYTES {
            return Err(Defect::Damaged("the length of a block is wrong"));
        }
        if self.short {
            return Err(Defect::Damaged("a block follows a short one"));
        }
        let used = BLOCK_HEAD_BYTES + length as usize;
        let Some(body) = bytes.get(BLOCK_HEAD_BYTES..used) else { return Ok(None) };
        if block_crc(self.seed, self.totals.blocks, body) != crc {
            return Err(Defect::Damaged("the checksum of a block is wrong"));
        }
        each(body);
        self.totals.add(body.len(), crc);
        self.short = body.len() < SNAPSHOT_BLOCK_BYTES;
        Ok(Some(used))
    }

    fn footer(&mut self, start: usize, crc: u32) -> Result<Option<usize>, Defect> {
        let Some(bytes) = self.buffer.get(start..start + FOOTER_BYTES) else { return Ok(None) };
        let body = &bytes[BLOCK_HEAD_BYTES..];
        let mut expected = Vec::with_capacity(FOOTER_BYTES);
        self.totals.encode(&mut expected, self.seed);
        if block_crc(self.seed, u64::MAX, body) != crc || expected != bytes {
            return Err(Defect::Damaged("its footer is wrong"));
        }
        self.ended = true;
        Ok(Some(FOOTER_BYTES))
    }
}

/// The header at the beginning of `bytes` and its checksum; `None` if there is more to come.
fn header(bytes: &[u8]) -> Result<Option<(Meta, u32)>, Defect> {
    if !bytes.iter().zip(MAGIC).all(|(one, other)| one == other) {
        return Err(Defect::Damaged("it is not a snapshot"));
    }
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let version = u32_at(head, 8);
    if version > VERSION {
        return Err(Defect::Newer(version));
    }
    let length = u32_at(head, 32) as usize;
    if length > SNAPSHOT_META_BYTES_MAX {
        return Err(Defect::Damaged("its header is wrong"));
    }
    let Some(data) = bytes.get(HEADER_BYTES..HEADER_BYTES + length) else { return Ok(None) };
    let crc = crc32c_append(crc32c(&head[..36]), data);
    if crc != u32_at(head, 36) {
        return Err(Defect::Damaged("its header is wrong"));
    }
    let u64_at = |at: usize| head[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
    let group = GroupId(u32_at(head, 12));
    Ok(Some((Meta { group, index: u64_at(16), term: u64_at(24), data: data.to_vec() }, crc)))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

/// Checks the block with this number, as it stands in the file; returns its bytes.
pub(super) fn open_block(bytes: &[u8], seed: u32, number: u64) -> Option<&[u8]> {
    let head = bytes.first_chunk::<BLOCK_HEAD_BYTES>()?;
    let body = bytes.get(BLOCK_HEAD_BYTES..BLOCK_HEAD_BYTES + u32_at(head, 0) as usize)?;
    (block_crc(seed, number, body) == u32_at(head, 4)).then_some(body)
}

//! A small sorted set: one buffer, sorted by score, then member.
//!
//! ```text
//! entry:  member length (LEB128) │ member │ score
//! score:  a whole number: its zigzag plus one (LEB128)      any other: 0 │ 8 bytes
//! ```
//!
//! Two bytes an element beside the member, mostly. Finding is by walking, so it stays small. As in
//! Redis's listpack, a negative zero becomes zero.

use stdx::codec::{Reader, put_bytes, put_u64, put_varint};

use super::item::{Key, before};

/// A sorted set in one buffer.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    len: usize,
}

/// Whole numbers up to here are kept as such: each is one double.
const WHOLE_MAX: f64 = (1i64 << 53) as f64;

impl Packed {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all elements.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All elements in order.
    pub(super) fn iter(&self) -> Entries<'_> {
        Entries { reader: Reader::new(&self.bytes), left: self.len }
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.iter().find(|key| key.member == member).map(|key| key.score)
    }

    /// Adds an element that is not there.
    pub(super) fn insert(&mut self, new: Key<'_>) {
        let mut at = 0;
        let mut entries = self.iter();
        while let Some(key) = entries.next() {
            if before(new, key) {
                break;
            }
            at = entries.offset();
        }
        let mut entry = Vec::with_capacity(new.member.len() + 12);
        put_bytes(&mut entry, new.member);
        put_score(&mut entry, new.score);
        // A buffer of this size is copied in no time; slack would be most of its cost.
        self.bytes.reserve_exact(entry.len());
        self.bytes.splice(at..at, entry);
        self.len += 1;
    }

    /// Adds an element behind all others.
    pub(super) fn push(&mut self, new: Key<'_>) {
        put_bytes(&mut self.bytes, new.member);
        put_score(&mut self.bytes, new.score);
        self.len += 1;
    }

    /// Takes the elements at these ranks out.
    pub(super) fn remove_ranks(&mut self, start: usize, end: usize) {
        if start >= end {
            return;
        }
        let mut entries = self.iter();
        let offsets: Vec<usize> = std::iter::once(0)
            .chain(std::iter::from_fn(|| entries.next().map(|_| entries.offset())))
            .collect();
        let (from, to) = (offsets[start], offsets[end]);
        self.bytes.drain(from..to);
        self.bytes.shrink_to_fit();
        self.len -= end - start;
    }

    /// The rank of a member.
    pub(super) fn rank(&self, member: &[u8]) -> Option<usize> {
        self.iter().position(|key| key.member == member)
    }
}

fn unzigzag(code: u64) -> i64 {
    (code >> 1) as i64 ^ -((code & 1) as i64)
}

fn put_score(out: &mut Vec<u8>, score: f64) {
    let whole = score as i64;
    if whole as f64 == score && score.abs() <= WHOLE_MAX {
        put_varint(out, (whole << 1 ^ whole >> 63) as u64 + 1);
    } else {
        out.push(0);
        put_u64(out, score.to_bits());
    }
}

/// Walks over a packed sorted set.
pub(super) struct Entries<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl Entries<'_> {
    /// Where the next element begins.
    fn offset(&self) -> usize {
        self.reader.offset()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Key<'a>;

    fn next(&mut self) -> Option<Key<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut read = || {
            let member = self.reader.bytes()?;
            let score = match self.reader.varint()? {
                0 => f64::from_bits(self.reader.u64()?),
                code => unzigzag(code - 1) as f64,
            };
            Ok::<_, stdx::codec::Malformed>(Key { score, member })
        };
        Some(read().expect("the buffer holds what insert wrote"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Entries<'_> {}

//! A chunk of a list: some elements packed into one buffer, with room at both ends.
//!
//! ```text
//! bytes:  │ free │ element length │ element length │ …
//!          start ▲
//! ```
//!
//! An element is a packed string; behind it stands its length, to be read from the right, so that
//! a chunk is walked from either end. Popping at the front moves `start`; the free bytes are given
//! back once they are half of the buffer. So each end costs O(1) on average.

use crate::types::packed::{Blob, gap, grow};

/// Some elements of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    start: u32,
    count: u32,
}

/// How much a chunk may hold, from `list-max-listpack-size`. A larger element has one for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(super) bytes: usize,
    pub(super) entries: u32,
}

impl Bound {
    /// Positive: entries; -1 to -5: 4 to 64 KiB. What is outside means the nearest inside.
    pub(crate) fn of(setting: i64) -> Bound {
        const KIB: usize = 1024;
        const ENTRIES_MAX: i64 = 1 << 15;
        match setting {
            0.. => Bound { bytes: 8 * KIB, entries: setting.clamp(1, ENTRIES_MAX) as u32 },
            _ => {
                let step = (-setting - 1).clamp(0, 4);
                Bound { bytes: (4 * KIB) << step, entries: u32::MAX }
            }
        }
    }
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Left,
    Right,
}

/// How many bytes an element takes with its length behind it.
fn element_len(blob: Blob<'_>) -> usize {
    let packed = blob.packed_len();
    packed + tail_len(packed)
}

/// How many bytes the length behind an element takes: seven bits in each.
fn tail_len(packed: usize) -> usize {
    (usize::BITS - packed.leading_zeros()).div_ceil(7) as usize
}

/// Writes an element into its place.
fn put(out: &mut [u8], blob: Blob<'_>) {
    let mut packed = blob.packed_len();
    blob.pack(&mut out[..packed]);
    let tail = &mut out[packed..];
    for at in (0..tail.len()).rev() {
        let more = if at == 0 { 0 } else { 0x80 };
        tail[at] = packed as u8 & 0x7f | more;
        packed >>= 7;
    }
}

/// Where the last element of `bytes` begins.
fn last_start(bytes: &[u8]) -> usize {
    let (mut packed, mut shift, mut at) = (0, 0, bytes.len());
    loop {
        at -= 1;
        packed |= usize::from(bytes[at] & 0x7f) << shift;
        if bytes[at] & 0x80 == 0 {
            return at - packed;
        }
        shift += 7;
    }
}

/// The first element of `bytes`, and where the next begins.
fn first(bytes: &[u8]) -> (Blob<'_>, usize) {
    let (blob, packed) = Blob::unpack(bytes);
    (blob, packed + tail_len(packed))
}

impl Chunk {
    /// A chunk of one element.
    pub(super) fn of(blob: Blob<'_>) -> Chunk {
        let mut chunk = Chunk::default();
        chunk.push(End::Right, blob);
        chunk
    }

    /// How many elements there are.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// How many bytes the elements take.
    pub(super) fn used(&self) -> usize {
        self.bytes.len() - self.start as usize
    }

    /// How many bytes the buffer takes.
    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    /// Is there room for one more element?
    pub(super) fn fits(&self, blob: Blob<'_>, bound: Bound) -> bool {
        let room = self.used() + element_len(blob) <= bound.bytes;
        self.count == 0 || room && self.count < bound.entries
    }

    /// Does it hold more than it may?
    pub(super) fn overflows(&self, bound: Bound) -> bool {
        self.count > 1 && (self.used() > bound.bytes || self.count > bound.entries)
    }

    /// Gives back the room for more: nothing will be added at an end.
    pub(super) fn seal(&mut self) {
        self.drop_free();
        self.bytes.shrink_to_fit();
    }

    pub(super) fn iter(&self) -> Elements<'_> {
        Elements { bytes: self.elements() }
    }

    fn elements(&self) -> &[u8] {
        &self.bytes[self.start as usize..]
    }

    /// Adds an element at an end.
    pub(super) fn push(&mut self, end: End, blob: Blob<'_>) {
        let len = element_len(blob);
        self.count += 1;
        if end == End::Right {
            let at = self.bytes.len();
            return put(gap(&mut self.bytes, at, 0, len), blob);
        }
        if (self.start as usize) < len {
            self.free_in_front(len.max(self.used() / 4));
        }
        self.start -= len as u32;
        let start = self.start as usize;
        put(&mut self.bytes[start..start + len], blob);
    }

    /// Makes at least `room` free bytes in front.
    fn free_in_front(&mut self, room: usize) {
        let start = self.start as usize;
        grow(&mut self.bytes, room - start);
        gap(&mut self.bytes, start, 0, room - start);
        self.start = room as u32;
    }

    fn drop_free(&mut self) {
        self.bytes.drain(..self.start as usize);
        self.start = 0;
    }

    /// Drops `count` elements, which must be fewer than there are, at an end.
    pub(super) fn drop_at(&mut self, end: End, count: usize) {
        assert!(count < self.count(), "a chunk is dropped as a whole, not emptied");
        self.count -= count as u32;
        let mut rest = self.iter();
        rest.skip_at(end, count);
        let left = rest.bytes.len();
        match end {
            End::Right => self.bytes.truncate(self.start as usize + left),
            End::Left => {
                self.start = (self.bytes.len() - left) as u32;
                if self.start as usize > self.bytes.len() / 2 {
                    self.drop_free();
                }
            }
        }
        self.shrink();
    }

    /// Gives back memory once less than half of it is used.
    fn shrink(&mut self) {
        const WORTH_IT: usize = 64;
        let capacity = self.bytes.capacity();
        if capacity > WORTH_IT && self.bytes.len() < capacity / 2 {
            self.bytes.shrink_to(self.bytes.len() / 4 * 5);
        }
    }

    /// Where element `index` begins, or the end.
    fn offset(&self, index: usize) -> usize {
        let mut rest = self.iter();
        if index <= self.count() / 2 {
            rest.skip_at(End::Left, index);
            return self.bytes.len() - rest.bytes.len();
        }
        rest.skip_at(End::Right, self.count() - index);
        self.start as usize + rest.bytes.len()
    }

    /// The element at `index`.
    pub(super) fn get(&self, index: usize) -> Option<Blob<'_>> {
        (index < self.count()).then(|| first(&self.bytes[self.offset(index)..]).0)
    }

    /// Inserts an element in front of the one at `index`.
    pub(super) fn insert(&mut self, index: usize, blob: Blob<'_>) {
        let at = self.offset(index);
        put(gap(&mut self.bytes, at, 0, element_len(blob)), blob);
        self.count += 1;
    }

    /// Replaces the element at `index`.
    pub(super) fn replace(&mut self, index: usize, blob: Blob<'_>) {
        let at = self.offset(index);
        let (_, old) = first(&self.bytes[at..]);
        put(gap(&mut self.bytes, at, old, element_len(blob)), blob);
    }

    /// Cuts the chunk where its bytes are about halved, and returns the right part. Both parts
    /// have elements.
    pub(super) fn split(&mut self) -> Chunk {
        assert!(self.count > 1, "one element cannot be split");
        let half = self.used() / 2;
        let (mut rest, mut kept) = (self.iter(), 0);
        while kept == 0 || kept + 1 < self.count && self.used() - rest.bytes.len() < half {
            rest.next();
            kept += 1;
        }
        let at = self.bytes.len() - rest.bytes.len();
        let right = Chunk { bytes: self.bytes[at..].to_vec(), start: 0, count: self.count - kept };
        self.bytes.truncate(at);
        self.count = kept;
        self.shrink();
        right
    }

    /// Removes up to `most` elements that are `blob`, from an end on, and returns how many. The
    /// chunk may be empty then.
    pub(super) fn remove_equal(&mut self, blob: Blob<'_>, most: usize, from: End) -> usize {
        let (mut rest, mut found) = (self.iter(), Vec::new());
        while found.len() < most {
            let before = rest.bytes.len();
            let Some(element) = rest.next_at(from) else { break };
            if element.same(&blob) {
                // From the left `before` counts down to the end, from the right up from the start.
                let start = self.start as usize;
                found.push(match from {
                    End::Left => self.bytes.len() - before,
                    End::Right => start + rest.bytes.len(),
                });
            }
        }
        if from == End::Right {
            found.reverse();
        }
        self.cut_out(&found, element_len(blob));
        found.len()
    }

    /// Removes the elements of `len` bytes that begin at `places`, which ascend.
    fn cut_out(&mut self, places: &[usize], len: usize) {
        let Some(&first) = places.first() else { return };
        let mut to = first;
        for (n, place) in places.iter().enumerate() {
            let end = places.get(n + 1).copied().unwrap_or(self.bytes.len());
            self.bytes.copy_within(place + len..end, to);
            to += end - (place + len);
        }
        self.bytes.truncate(to);
        self.count -= places.len() as u32;
        self.shrink();
    }
}

/// Walks the elements of a chunk from either end.
#[derive(Clone, Debug)]
pub(super) struct Elements<'a> {
    bytes: &'a [u8],
}

impl<'a> Elements<'a> {
    fn next_at(&mut self, end: End) -> Option<Blob<'a>> {
        match end {
            End::Left => self.next(),
            End::Right => self.next_back(),
        }
    }
}

impl Elements<'_> {
    fn skip_at(&mut self, end: End, count: usize) {
        for _ in 0..count {
            self.next_at(end);
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Blob<'a>;

    fn next(&mut self) -> Option<Blob<'a>> {
        if self.bytes.is_empty() {
            return None;
        }
        let (blob, len) = first(self.bytes);
        self.bytes = &self.bytes[len..];
        Some(blob)
    }
}

impl<'a> DoubleEndedIterator for Elements<'a> {
    fn next_back(&mut self) -> Option<Blob<'a>> {
        if self.bytes.is_empty() {
            return None;
        }
        let at = last_start(self.bytes);
        let (blob, _) = Blob::unpack(&self.bytes[at..]);
        self.bytes = &self.bytes[..at];
        Some(blob)
    }
}

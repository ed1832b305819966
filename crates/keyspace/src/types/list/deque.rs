//! A list: a deque of chunks.
//!
//! ```text
//! chunks:  [ a b c ] ⇄ [ d e f g ] ⇄ [ h ]       each up to `list-max-listpack-size`
//! ```
//!
//! Cost: an element takes its bytes and two or so more; both ends are O(1); a place in the middle
//! is found by counting chunks from the nearer end, then elements within one.
//!
//! What always holds: no chunk is empty; `len` is the sum of their counts.
//! The idea is that of Redis's quicklist, `src/quicklist.c`. Left out: the compression of inner
//! chunks (`list-compress-depth` is remembered and does nothing).

use std::collections::VecDeque;

use stdx::codec::{Malformed, Reader, put_bytes, put_varint};

use super::chunk::{Bound, Chunk, End};
use crate::settings::Settings;
use crate::types::packed::Blob;

/// Elements in order.
#[derive(Clone, Debug)]
pub struct List {
    chunks: VecDeque<Chunk>,
    len: usize,
}

impl Default for List {
    /// With room for one chunk: most lists never have more.
    fn default() -> List {
        List { chunks: VecDeque::with_capacity(1), len: 0 }
    }
}

impl List {
    /// A list of these elements.
    pub(crate) fn of<'a>(elements: impl Iterator<Item = &'a [u8]>, settings: &Settings) -> List {
        let (mut list, bound) = (List::default(), Bound::of(settings.list_max_listpack_size));
        elements.for_each(|element| list.push(End::Right, element, bound));
        list
    }

    /// The name that OBJECT ENCODING gives.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }

    /// How many bytes of memory it takes, itself included.
    pub fn memory(&self) -> usize {
        let buffers: usize = self.chunks.iter().map(Chunk::allocated).sum();
        size_of::<List>() + self.chunks.capacity() * size_of::<Chunk>() + buffers
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is it empty?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements from left to right.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Blob<'_>> {
        self.chunks.iter().flat_map(Chunk::iter)
    }

    /// The elements from `index` on.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = Blob<'_>> {
        let (chunk, within) = self.place(index).unwrap_or((self.chunks.len(), 0));
        self.chunks.range(chunk..).flat_map(Chunk::iter).skip(within)
    }

    /// The element at an end.
    pub(crate) fn peek(&self, end: End) -> Option<Blob<'_>> {
        match end {
            End::Left => self.chunks.front()?.iter().next(),
            End::Right => self.chunks.back()?.iter().next_back(),
        }
    }

    /// The element at `index`.
    pub fn get(&self, index: usize) -> Option<Blob<'_>> {
        let (chunk, within) = self.place(index)?;
        self.chunks[chunk].get(within)
    }

    /// The chunk with the element at `index`, and the element's place within, if there is one.
    fn place(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index < self.len / 2 {
            let mut left = index;
            for (number, chunk) in self.chunks.iter().enumerate() {
                if left < chunk.count() {
                    return Some((number, left));
                }
                left -= chunk.count();
            }
        }
        let mut behind = self.len - index;
        for (number, chunk) in self.chunks.iter().enumerate().rev() {
            if behind <= chunk.count() {
                return Some((number, chunk.count() - behind));
            }
            behind -= chunk.count();
        }
        unreachable!("the counts of the chunks sum to the length of the list");
    }

    /// Adds an element at an end.
    pub(crate) fn push(&mut self, end: End, text: &[u8], bound: Bound) {
        let blob = Blob::of(text);
        self.len += 1;
        let outer = match end {
            End::Left => self.chunks.front_mut(),
            End::Right => self.chunks.back_mut(),
        };
        match outer {
            Some(chunk) if chunk.fits(blob, bound) => return chunk.push(end, blob),
            Some(full) => full.seal(),
            None => {}
        }
        match end {
            End::Left => self.chunks.push_front(Chunk::of(blob)),
            End::Right => self.chunks.push_back(Chunk::of(blob)),
        }
    }

    /// Drops `count` elements, or all if there are no more, at an end.
    pub(crate) fn drop_at(&mut self, end: End, count: usize) {
        let mut left = count.min(self.len);
        self.len -= left;
        while left > 0 {
            let outer = match end {
                End::Left => self.chunks.front_mut(),
                End::Right => self.chunks.back_mut(),
            };
            let chunk = outer.expect("no more is dropped than there is");
            if chunk.count() > left {
                return chunk.drop_at(end, left);
            }
            left -= chunk.count();
            match end {
                End::Left => self.chunks.pop_front(),
                End::Right => self.chunks.pop_back(),
            };
        }
    }

    /// Takes the element at an end.
    pub(crate) fn pop(&mut self, end: End) -> Option<Vec<u8>> {
        let element = self.peek(end)?.to_vec();
        self.drop_at(end, 1);
        Some(element)
    }

    /// Replaces the element at `index`. False if there is none.
    pub(crate) fn set(&mut self, index: usize, text: &[u8], bound: Bound) -> bool {
        let Some((chunk, within)) = self.place(index) else { return false };
        self.chunks[chunk].replace(within, Blob::of(text));
        self.relax(chunk, bound);
        true
    }

    /// Inserts an element in front of the one at `index`, or at the right end.
    pub(crate) fn insert(&mut self, index: usize, text: &[u8], bound: Bound) {
        let Some((chunk, within)) = self.place(index) else {
            return self.push(End::Right, text, bound);
        };
        self.chunks[chunk].insert(within, Blob::of(text));
        self.len += 1;
        self.relax(chunk, bound);
    }

    /// Splits a chunk that holds more than it may, until none does.
    fn relax(&mut self, number: usize, bound: Bound) {
        let mut unchecked = vec![number];
        while let Some(number) = unchecked.pop() {
            if self.chunks[number].overflows(bound) {
                let right = self.chunks[number].split();
                self.chunks.insert(number + 1, right);
                // The right part first, so that the number of the left one stays true.
                unchecked.extend([number, number + 1]);
            }
        }
    }

    /// Removes up to `most` elements that equal `text`, from an end on, and returns how many.
    pub(crate) fn remove_equal(&mut self, text: &[u8], most: usize, from: End) -> usize {
        let (blob, mut removed) = (Blob::of(text), 0);
        let mut visit = |chunk: &mut Chunk| {
            if removed < most {
                removed += chunk.remove_equal(blob, most - removed, from);
            }
        };
        match from {
            End::Left => self.chunks.iter_mut().for_each(&mut visit),
            End::Right => self.chunks.iter_mut().rev().for_each(&mut visit),
        }
        if removed > 0 {
            self.chunks.retain(|chunk| chunk.count() > 0);
        }
        self.len -= removed;
        removed
    }

    /// Checks what always holds.
    #[cfg(test)]
    pub(super) fn check(&self, bound: Bound) {
        assert!(self.chunks.iter().all(|chunk| chunk.count() > 0), "no chunk is empty");
        assert!(!self.chunks.iter().any(|chunk| chunk.overflows(bound)), "no chunk is too large");
        assert_eq!(self.chunks.iter().map(Chunk::count).sum::<usize>(), self.len);
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        let mut buffer = itoa::Buffer::new();
        put_varint(out, self.chunks.len() as u64);
        for chunk in &self.chunks {
            put_varint(out, chunk.count() as u64);
            chunk.iter().for_each(|blob| put_bytes(out, blob.text(&mut buffer)));
        }
    }

    pub(crate) fn load(reader: &mut Reader<'_>) -> Result<List, Malformed> {
        let mut list = List::default();
        for _ in 0..reader.length()? {
            let mut chunk = Chunk::default();
            for _ in 0..reader.length()? {
                chunk.push(End::Right, Blob::of(reader.bytes()?));
            }
            if chunk.count() == 0 {
                return Err(reader.malformed());
            }
            chunk.seal();
            list.len += chunk.count();
            list.chunks.push_back(chunk);
        }
        if list.is_empty() {
            return Err(reader.malformed());
        }
        Ok(list)
    }
}

/// A list of these elements, as SORT STORE makes one.
impl<'a> FromIterator<&'a [u8]> for List {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(elements: I) -> List {
        const DEFAULT_SETTING: i64 = -2;
        let mut list = List::default();
        let bound = Bound::of(DEFAULT_SETTING);
        elements.into_iter().for_each(|text| list.push(End::Right, text, bound));
        list
    }
}

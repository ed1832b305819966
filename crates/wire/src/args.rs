//! The arguments of a command, borrowed from the buffer they arrived in.
//!
//! A parser notes where each argument lies ([`Span`]) and hands out [`Args`]: two slices, no copy,
//! no allocation. [`ArgsBuf`] owns the same for a command that must wait (MULTI's queue, Lua).

use std::ops::Index;

/// Where an argument lies in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

/// A command: `args[0]` is its name.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// The arguments at `spans` of `bytes`.
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args { bytes, spans }
    }

    /// How many arguments there are, the name counted.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`, if there is one; it lives as long as the buffer.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| &self.bytes[span.start as usize..span.end as usize])
    }

    /// The argument at `index`; like indexing, but it lives as long as the buffer.
    pub fn at(&self, index: usize) -> &'a [u8] {
        let span = self.spans[index];
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// The arguments from `start` on.
    pub fn from(&self, start: usize) -> Args<'a> {
        Args { bytes: self.bytes, spans: self.spans.get(start..).unwrap_or(&[]) }
    }

    /// The arguments from `start` up to `end`, which is not among them; none beyond the last.
    pub fn range(&self, start: usize, end: usize) -> Args<'a> {
        let end = end.min(self.spans.len());
        Args { bytes: self.bytes, spans: self.spans.get(start..end).unwrap_or(&[]) }
    }

    /// All arguments in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + use<'a> {
        let bytes = self.bytes;
        self.spans.iter().map(move |span| &bytes[span.start as usize..span.end as usize])
    }

    /// Is the argument at `index` this word, whatever its case?
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The sum of the lengths of all arguments, in bytes.
    pub fn bytes_len(&self) -> usize {
        self.spans.iter().map(|span| (span.end - span.start) as usize).sum()
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];
    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}

/// Arguments that own their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgsBuf {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl ArgsBuf {
    /// No arguments yet.
    pub fn new() -> ArgsBuf {
        ArgsBuf::default()
    }

    /// Adds one argument at the end.
    pub fn push(&mut self, arg: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(arg);
        self.spans.push(Span { start, end: self.bytes.len() as u32 });
    }

    /// Drops all arguments and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// Bytes of memory kept for the arguments.
    pub(crate) fn bytes_capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// A view of them.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }
}

impl From<Args<'_>> for ArgsBuf {
    fn from(args: Args<'_>) -> ArgsBuf {
        args.iter().collect()
    }
}

impl<'a> FromIterator<&'a [u8]> for ArgsBuf {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(iter: I) -> ArgsBuf {
        let mut buf = ArgsBuf::new();
        iter.into_iter().for_each(|arg| buf.push(arg));
        buf
    }
}

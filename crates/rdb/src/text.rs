//! Several byte strings in one buffer that is used again and again.

use crate::packed::Element;

/// Where the strings of an item are put.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextBuf {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl TextBuf {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub(crate) fn push(&mut self, element: Element<'_>) {
        match element {
            Element::Bytes(bytes) => self.bytes.extend_from_slice(bytes),
            Element::Int(int) => {
                self.bytes.extend_from_slice(itoa::Buffer::new().format(int).as_bytes());
            }
        }
        self.ends.push(self.bytes.len());
    }

    /// The buffer, for one string that is appended to it.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What was appended is one string.
    pub(crate) fn close(&mut self) {
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, at: usize) -> &[u8] {
        &self.bytes[at.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[at]]
    }

    pub(crate) fn all(&self) -> Texts<'_> {
        Texts { bytes: &self.bytes, ends: &self.ends }
    }
}

/// Byte strings in a row.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Texts<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One after the other.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let text = &self.bytes[start..end];
            start = end;
            text
        })
    }
}

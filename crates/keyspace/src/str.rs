//! Byte strings: [`Str`] for what is written once, [`Buffer`] for what is changed in place.
//!
//! A `Str` is 24 bytes, of which up to 22 hold the string itself: most keys and many values are
//! that short and then cost no allocation. A `Buffer` keeps room to grow, so that APPEND, SETRANGE
//! and SETBIT cost what they change, not what is there.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

/// The longest string that needs no allocation.
const INLINE_BYTES_MAX: usize = 22;

/// An immutable byte string.
#[derive(Clone)]
pub struct Str(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Heap(Box<[u8]>),
}

const _: () = assert!(size_of::<Str>() == 24);

impl Str {
    /// How many bytes it takes beside the 24 of itself.
    pub fn heap_bytes(&self) -> usize {
        if self.is_inline() { 0 } else { self.len() }
    }

    /// Does it stand without an allocation?
    pub fn is_inline(&self) -> bool {
        matches!(self.0, Repr::Inline { .. })
    }

    /// Becomes `source`, in the memory that it has if the length is the same: overwriting is
    /// commoner than resizing, and an allocation touches two cold lines where this touches one.
    pub fn assign(&mut self, source: &[u8]) {
        match &mut self.0 {
            Repr::Heap(bytes) if bytes.len() == source.len() => bytes.copy_from_slice(source),
            _ => *self = Str::from(source),
        }
    }
}

/// A byte string that grows in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffer(Vec<u8>);

/// Up to this size a buffer doubles when it is full; beyond, it grows by a quarter, because half
/// of a large one lying idle costs more than copying it a little oftener.
const DOUBLING_BYTES_MAX: usize = 1024 * 1024;

impl Buffer {
    /// So many zero bytes, without room to grow.
    pub fn zeroed(len: usize) -> Buffer {
        Buffer(vec![0; len])
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) {
        self.reserve(self.0.len() + bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Adds zero bytes at the end until it is at least so long.
    pub fn grow(&mut self, len: usize) {
        if len > self.0.len() {
            self.reserve(len);
            self.0.resize(len, 0);
        }
    }

    /// Writes over what stands at `offset`; a gap before it is filled with zero bytes.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.grow(offset + bytes.len());
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// The memory that it holds, used or not.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn reserve(&mut self, len: usize) {
        if len > self.0.capacity() {
            let spare = if len < DOUBLING_BYTES_MAX { len } else { len / 4 };
            self.0.reserve_exact(len + spare - self.0.len());
        }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(source: Vec<u8>) -> Buffer {
        Buffer(source)
    }
}

impl From<Str> for Buffer {
    fn from(source: Str) -> Buffer {
        Buffer(match source.0 {
            Repr::Inline { .. } => source.to_vec(),
            Repr::Heap(bytes) => bytes.into_vec(),
        })
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl From<&[u8]> for Str {
    fn from(source: &[u8]) -> Str {
        if source.len() > INLINE_BYTES_MAX {
            return Str(Repr::Heap(source.into()));
        }
        let mut bytes = [0; INLINE_BYTES_MAX];
        bytes[..source.len()].copy_from_slice(source);
        Str(Repr::Inline { len: source.len() as u8, bytes })
    }
}

impl From<Vec<u8>> for Str {
    fn from(source: Vec<u8>) -> Str {
        if source.len() > INLINE_BYTES_MAX {
            return Str(Repr::Heap(source.into_boxed_slice()));
        }
        Str::from(source.as_slice())
    }
}

impl Deref for Str {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl Default for Str {
    fn default() -> Str {
        Str::from(&b""[..])
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self))
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Str) -> bool {
        **self == **other
    }
}

impl Eq for Str {}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Str) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str {
    fn cmp(&self, other: &Str) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Borrow<[u8]> for Str {
    fn borrow(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffer, Str};

    #[test]
    fn a_buffer_that_grows_byte_by_byte_moves_seldom() {
        let mut buffer = Buffer::from(Str::from(&b"x"[..]));
        let (mut moves, mut capacity) = (0, buffer.capacity());
        for _ in 0..4 << 20 {
            buffer.append(b"y");
            if buffer.capacity() != capacity {
                (moves, capacity) = (moves + 1, buffer.capacity());
            }
        }
        assert!(moves < 32, "{moves} moves");
        assert!(capacity < buffer.len() * 5 / 4 + 2, "{capacity} bytes for {}", buffer.len());
    }

    #[test]
    fn a_write_behind_the_end_leaves_zeros_between() {
        let mut buffer = Buffer::from(b"ab".to_vec());
        buffer.write(4, b"cd");
        buffer.write(1, b"B");
        assert_eq!(&*buffer, b"aB\0\0cd");
    }
}

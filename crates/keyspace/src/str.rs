//! A small byte string: 24 bytes, of which up to 22 hold the string itself.
//!
//! Most keys and many values are that short and then cost no allocation.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

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
    /// Does it stand without an allocation?
    pub fn is_inline(&self) -> bool {
        matches!(self.0, Repr::Inline { .. })
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

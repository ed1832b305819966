//! An element of a sorted set, and the order of elements: by score, then by member.

use std::cmp::Ordering;

use crate::str::Str;

/// An element, borrowed. The score is never NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key<'a> {
    pub score: f64,
    pub member: &'a [u8],
}

/// An element, owned.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) score: f64,
    pub(super) member: Str,
}

const _: () = assert!(size_of::<Item>() == 32);

impl Item {
    pub(super) fn key(&self) -> Key<'_> {
        Key { score: self.score, member: &self.member }
    }
}

impl From<Key<'_>> for Item {
    fn from(key: Key<'_>) -> Item {
        Item { score: key.score, member: Str::from(key.member) }
    }
}

/// Does `a` stand before `b`? The two zeros are equal.
pub(super) fn before(a: Key<'_>, b: Key<'_>) -> bool {
    order(a, b) == Ordering::Less
}

/// The order of two elements.
pub(super) fn order(a: Key<'_>, b: Key<'_>) -> Ordering {
    if a.score < b.score {
        Ordering::Less
    } else if a.score > b.score {
        Ordering::Greater
    } else {
        a.member.cmp(b.member)
    }
}

//! What Redis's types are, said with std's collections and no thought for speed.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Text = Vec<u8>;

#[derive(Clone, Debug)]
pub(crate) enum Thing {
    Str(Text),
    List(Vec<Text>),
    Set(BTreeSet<Text>),
    Hash(BTreeMap<Text, Text>),
    Zset(BTreeMap<Text, i64>),
}

/// A key of another type stands there.
#[derive(Debug)]
pub(crate) struct WrongType;

/// Keys, and when each expires.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) keys: BTreeMap<Text, (Thing, Option<u64>)>,
}

macro_rules! view {
    ($name:ident, $change:ident, $variant:ident, $type:ty) => {
        /// A copy of what is there, empty if there is nothing.
        pub(crate) fn $name(&self, key: &[u8]) -> Result<$type, WrongType> {
            match self.keys.get(key) {
                None => Ok(<$type>::default()),
                Some((Thing::$variant(inner), _)) => Ok(inner.clone()),
                Some(_) => Err(WrongType),
            }
        }

        /// Changes what is there; a key that is left empty goes.
        pub(crate) fn $change<R>(
            &mut self,
            key: &[u8],
            change: impl FnOnce(&mut $type) -> R,
        ) -> Result<R, WrongType> {
            let mut inner = self.$name(key)?;
            let expires = self.keys.get(key).and_then(|(_, expires)| *expires);
            let result = change(&mut inner);
            match inner.is_empty() {
                true => self.keys.remove(key),
                false => self.keys.insert(key.to_vec(), (Thing::$variant(inner), expires)),
            };
            Ok(result)
        }
    };
}

impl Model {
    view!(list, change_list, List, Vec<Text>);
    view!(set, change_set, Set, BTreeSet<Text>);
    view!(hash, change_hash, Hash, BTreeMap<Text, Text>);
    view!(zset, change_zset, Zset, BTreeMap<Text, i64>);

    /// The string at a key.
    pub(crate) fn string(&self, key: &[u8]) -> Result<Option<Text>, WrongType> {
        match self.keys.get(key) {
            None => Ok(None),
            Some((Thing::Str(text), _)) => Ok(Some(text.clone())),
            Some(_) => Err(WrongType),
        }
    }

    /// Puts a string and keeps the key's expiry.
    pub(crate) fn put_string(&mut self, key: &[u8], text: Text) {
        let expires = self.keys.get(key).and_then(|(_, expires)| *expires);
        self.keys.insert(key.to_vec(), (Thing::Str(text), expires));
    }

    /// Drops what has expired.
    pub(crate) fn pass(&mut self, now: u64) {
        self.keys.retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
    }

    /// Members with their scores, lowest first, and by their bytes where scores are equal.
    pub(crate) fn ranked(&self, key: &[u8]) -> Result<Vec<(Text, i64)>, WrongType> {
        let mut members: Vec<_> = self.zset(key)?.into_iter().collect();
        members.sort_by(|(text, score), (other, than)| (score, text).cmp(&(than, other)));
        Ok(members)
    }
}

/// The places that two indices name, negative ones counted from the end.
pub(crate) fn range(len: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    let len = len as i64;
    let place = |index: i64| if index < 0 { len + index } else { index };
    let (start, end) = (place(start).max(0), (place(end) + 1).min(len));
    if start < end { start as usize..end as usize } else { 0..0 }
}

/// As `range`, for GETRANGE: an end before the first byte means the first byte, unless both ends
/// are counted from the back and stand the wrong way round.
pub(crate) fn text_range(len: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    if len == 0 || start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let first = -(len as i64);
    range(len, start.max(first), end.max(first))
}

//! The entries of a stream in a tree by id, the texts of each in one piece.
//!
//! ```text
//! entry:  count of texts, then each: length, bytes      (fields and values in turn)
//! ```

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use stdx::codec::{Malformed, Reader, put_bytes, put_varint};

use super::id::Id;

/// See the head of the folder.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    entries: BTreeMap<Id, Box<[u8]>>,
    /// The last id that was given.
    last: Id,
    /// The highest id that was deleted by name.
    max_deleted: Id,
    /// How many entries were ever added.
    added: u64,
}

/// What a tree takes for an entry beside its texts: the id, the pointer, and room to grow.
const ENTRY_BYTES: usize = (size_of::<Id>() + size_of::<Box<[u8]>>()) * 4 / 3;

impl Stream {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The last id that was given.
    pub(super) fn last(&self) -> Id {
        self.last
    }

    /// The highest id of an entry.
    pub(super) fn top(&self) -> Option<Id> {
        self.entries.last_key_value().map(|(id, _)| *id)
    }

    /// The name that OBJECT ENCODING gives.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// About how many bytes of memory it takes, itself included; up to `samples` entries are
    /// looked at and stand for the others.
    pub fn memory(&self, samples: usize) -> usize {
        let looked_at = self.len().min(samples).max(1);
        let texts: usize = self.entries.values().take(looked_at).map(|texts| texts.len()).sum();
        size_of::<Stream>() + self.len() * ENTRY_BYTES + texts * self.len() / looked_at
    }

    /// Appends an entry; `id` must be above `last`.
    pub(super) fn add<'a>(&mut self, id: Id, texts: impl ExactSizeIterator<Item = &'a [u8]>) {
        assert!(id > self.last, "ids grow");
        let mut bytes = Vec::new();
        put_varint(&mut bytes, texts.len() as u64);
        texts.for_each(|text| put_bytes(&mut bytes, text));
        self.entries.insert(id, bytes.into_boxed_slice());
        self.last = id;
        self.added += 1;
    }

    /// Removes an entry by its id, if it is there.
    pub(super) fn delete(&mut self, id: Id) -> bool {
        let found = self.entries.remove(&id).is_some();
        if found {
            self.max_deleted = self.max_deleted.max(id);
        }
        found
    }

    /// Removes the oldest entries, as long as `unwanted` says so of the first and of how many there
    /// are, at most `limit` of them. How many it were.
    pub(super) fn trim(&mut self, limit: u64, unwanted: impl Fn(Id, usize) -> bool) -> u64 {
        let mut removed = 0;
        while removed < limit
            && let Some((first, _)) = self.entries.first_key_value()
            && unwanted(*first, self.entries.len())
        {
            self.entries.pop_first();
            removed += 1;
        }
        removed
    }

    /// XSETID. Without a value nothing is changed.
    pub(super) fn set_last(&mut self, last: Id, added: Option<u64>, max_deleted: Id) {
        self.last = last;
        self.added = added.unwrap_or(self.added);
        if max_deleted != Id::MIN {
            self.max_deleted = max_deleted;
        }
    }

    /// The entries between two ids.
    pub(super) fn range(
        &self,
        ids: RangeInclusive<Id>,
    ) -> impl DoubleEndedIterator<Item = (Id, Texts<'_>)> {
        // An interval whose ends are the wrong way round has nothing in it.
        let some = (ids.start() <= ids.end()).then(|| self.entries.range(ids));
        some.into_iter().flatten().map(|(id, bytes)| (*id, Texts::new(bytes)))
    }

    /// Calls `visit` with each entry: its id, in two numbers, and its texts.
    pub(crate) fn each(&self, mut visit: impl FnMut((u64, u64), &[&[u8]])) {
        for (id, bytes) in &self.entries {
            let texts: Vec<&[u8]> = Texts::new(bytes).collect();
            visit((id.ms, id.seq), &texts);
        }
    }

    /// The last id that was given, and the highest that was deleted by name.
    pub(crate) fn remembered_ids(&self) -> [(u64, u64); 2] {
        [self.last, self.max_deleted].map(|id| (id.ms, id.seq))
    }

    /// How many entries were ever added.
    pub(crate) fn added(&self) -> u64 {
        self.added
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        for number in [
            self.last.ms,
            self.last.seq,
            self.max_deleted.ms,
            self.max_deleted.seq,
            self.added,
            self.len() as u64,
        ] {
            put_varint(out, number);
        }
        for (id, bytes) in &self.entries {
            put_varint(out, id.ms);
            put_varint(out, id.seq);
            put_bytes(out, bytes);
        }
    }

    pub(crate) fn load(reader: &mut Reader<'_>) -> Result<Stream, Malformed> {
        let last = load_id(reader)?;
        let max_deleted = load_id(reader)?;
        let added = reader.varint()?;
        let mut stream = Stream { entries: BTreeMap::new(), last, max_deleted, added };
        for _ in 0..reader.length()? {
            let id = load_id(reader)?;
            let bytes = reader.bytes()?;
            let fits = stream.top().is_none_or(|top| top < id) && id <= last;
            if !fits || !are_texts(bytes) {
                return Err(reader.malformed());
            }
            stream.entries.insert(id, bytes.into());
        }
        Ok(stream)
    }
}

fn load_id(reader: &mut Reader<'_>) -> Result<Id, Malformed> {
    Ok(Id { ms: reader.varint()?, seq: reader.varint()? })
}

fn are_texts(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    let Ok(count) = reader.length() else { return false };
    (0..count).all(|_| reader.bytes().is_ok()) && reader.is_empty()
}

/// The fields and values of an entry, in turn.
#[derive(Clone, Debug)]
pub(super) struct Texts<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Texts<'a> {
    fn new(bytes: &'a [u8]) -> Texts<'a> {
        let mut reader = Reader::new(bytes);
        let left = reader.length().expect("an entry begins with its length");
        Texts { reader, left }
    }
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        Some(self.reader.bytes().expect("an entry has as many texts as it says"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Texts<'_> {}

//! The small form of a hash: fields and values packed in turn into one buffer.
//!
//! Searched from the left, so it is for few fields only. An element costs its bytes and one or two
//! more; the order is that of insertion.

use crate::types::packed::{Blob, gap};

/// Fields and values in turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    count: u32,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    field: usize,
    value: usize,
    end: usize,
}

impl Packed {
    /// How many fields there are.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// How many bytes the buffer takes.
    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Blob<'_>, Blob<'_>)> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (field, field_len) = Blob::unpack(rest);
            let (value, value_len) = Blob::unpack(&rest[field_len..]);
            rest = &rest[field_len + value_len..];
            Some((field, value))
        })
    }

    fn find(&self, field: Blob<'_>) -> Option<Place> {
        let mut at = 0;
        while at < self.bytes.len() {
            let (other, field_len) = Blob::unpack(&self.bytes[at..]);
            let (_, value_len) = Blob::unpack(&self.bytes[at + field_len..]);
            let value = at + field_len;
            if other.same(&field) {
                return Some(Place { field: at, value, end: value + value_len });
            }
            at = value + value_len;
        }
        None
    }

    pub(super) fn get(&self, field: &[u8]) -> Option<Blob<'_>> {
        let place = self.find(Blob::of(field))?;
        Some(Blob::unpack(&self.bytes[place.value..]).0)
    }

    /// Sets a field. True if it did not exist.
    pub(super) fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        let (field, value) = (Blob::of(field), Blob::of(value));
        let len = value.packed_len();
        if let Some(place) = self.find(field) {
            value.pack(gap(&mut self.bytes, place.value, place.end - place.value, len));
            return false;
        }
        self.push(field, value);
        true
    }

    /// Adds a field that does not exist.
    pub(super) fn push(&mut self, field: Blob<'_>, value: Blob<'_>) {
        let (at, field_len) = (self.bytes.len(), field.packed_len());
        let room = gap(&mut self.bytes, at, 0, field_len + value.packed_len());
        field.pack(&mut room[..field_len]);
        value.pack(&mut room[field_len..]);
        self.count += 1;
    }

    /// Removes a field. False if it does not exist.
    pub(super) fn remove(&mut self, field: &[u8]) -> bool {
        let Some(place) = self.find(Blob::of(field)) else { return false };
        gap(&mut self.bytes, place.field, place.end - place.field, 0);
        self.count -= 1;
        true
    }
}

//! A hash: packed while it is small, a table in hash order once it is not.
//!
//! Small means few fields and short ones: `hash-max-listpack-entries` and `-value`. A table never
//! becomes packed again. Both forms are walked in an order that is equal on every replica: packed
//! by insertion, the table by hash.

use std::collections::BTreeSet;

use stdx::Rng;
use stdx::codec::{Malformed, Reader, put_bytes, put_varint};

use super::packed::Packed;
use crate::dict::Dict;
use crate::settings::Settings;
use crate::str::Str;
use crate::types::packed::Blob;

/// Fields and their values.
#[derive(Clone, Debug)]
pub struct Hash(Form);

#[derive(Clone, Debug)]
enum Form {
    Packed(Packed),
    Table(Box<Dict<Str>>),
}

/// Up to where a hash stays packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    entries: u64,
    text: u64,
}

impl Bound {
    pub(crate) fn of(settings: &Settings) -> Bound {
        let entries = settings.hash_max_listpack_entries;
        Bound { entries, text: settings.hash_max_listpack_value }
    }
}

const PACKED: u8 = 0;
const TABLE: u8 = 1;

impl Default for Hash {
    fn default() -> Hash {
        Hash(Form::Packed(Packed::default()))
    }
}

impl Hash {
    /// The name that OBJECT ENCODING gives.
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Form::Packed(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// About how many bytes of memory it takes, itself included. Of a table up to `samples` fields
    /// are looked at and stand for the others.
    pub fn memory(&self, samples: usize) -> usize {
        let inner = match &self.0 {
            Form::Packed(packed) => packed.allocated(),
            Form::Table(dict) => {
                let entry = size_of::<u64>() + size_of::<(Str, Str)>();
                let looked_at = dict.len().min(samples).max(1);
                let heap = |(field, value): (&Str, &Str)| field.heap_bytes() + value.heap_bytes();
                let texts: usize = dict.iter().take(looked_at).map(heap).sum();
                size_of::<Dict<Str>>() + dict.len() * entry + texts * dict.len() / looked_at
            }
        };
        size_of::<Hash>() + inner
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.count(),
            Form::Table(dict) => dict.len(),
        }
    }

    /// Is it empty?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<Blob<'_>> {
        match &self.0 {
            Form::Packed(packed) => packed.get(field),
            Form::Table(dict) => dict.get(field).map(|value| Blob::Bytes(value)),
        }
    }

    /// Calls `visit` with each field and value, in the order of this form.
    pub fn each<'a>(&'a self, mut visit: impl FnMut(Blob<'a>, Blob<'a>)) {
        match &self.0 {
            Form::Packed(packed) => packed.iter().for_each(|(field, value)| visit(field, value)),
            Form::Table(dict) => {
                dict.iter().for_each(|(field, value)| visit(Blob::Bytes(field), Blob::Bytes(value)))
            }
        }
    }

    /// All fields and values, if it is packed.
    pub(crate) fn packed_pairs(&self) -> Option<Vec<(Blob<'_>, Blob<'_>)>> {
        match &self.0 {
            Form::Packed(packed) => Some(packed.iter().collect()),
            Form::Table(_) => None,
        }
    }

    /// A field and its value by lot, each with the same chance. The hash is not empty.
    pub(crate) fn draw(&self, rng: &mut Rng) -> (Blob<'_>, Blob<'_>) {
        let drawn = match &self.0 {
            Form::Packed(packed) => packed.iter().nth(rng.below(packed.count() as u64) as usize),
            Form::Table(dict) => {
                dict.draw(rng).map(|(field, value)| (Blob::Bytes(field), Blob::Bytes(value)))
            }
        };
        drawn.expect("a hash at a key is not empty")
    }

    /// Visits about `count` fields from the place `cursor` on and returns the next place, 0 at the
    /// end. A packed hash is visited as a whole.
    pub(crate) fn scan(
        &self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(Blob<'_>, Blob<'_>),
    ) -> u64 {
        match &self.0 {
            Form::Packed(packed) => {
                packed.iter().for_each(|(field, value)| visit(field, value));
                0
            }
            Form::Table(dict) => dict.scan(cursor, count, |field, value| {
                visit(Blob::Bytes(field), Blob::Bytes(value));
            }),
        }
    }

    /// Sets a field. True if it did not exist.
    pub(crate) fn set(&mut self, field: &[u8], value: &[u8], bound: Bound) -> bool {
        let long = |text: &[u8]| text.len() as u64 > bound.text;
        if long(field) || long(value) {
            self.make_table();
        }
        match &mut self.0 {
            Form::Table(dict) => dict.insert(field, Str::from(value)).is_none(),
            Form::Packed(packed) => {
                let is_new = packed.set(field, value);
                if packed.count() as u64 > bound.entries {
                    self.make_table();
                }
                is_new
            }
        }
    }

    /// Removes a field. False if it does not exist.
    pub(crate) fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.0 {
            Form::Packed(packed) => packed.remove(field),
            Form::Table(dict) => dict.remove(field).is_some(),
        }
    }

    fn make_table(&mut self) {
        let Form::Packed(packed) = &self.0 else { return };
        let mut dict = Dict::new();
        let (mut field_digits, mut value_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        for (field, value) in packed.iter() {
            let value = Str::from(value.text(&mut value_digits));
            dict.insert(field.text(&mut field_digits), value);
        }
        self.0 = Form::Table(Box::new(dict));
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        out.push(match self.0 {
            Form::Packed(_) => PACKED,
            Form::Table(_) => TABLE,
        });
        put_varint(out, self.len() as u64);
        let mut digits = itoa::Buffer::new();
        self.each(|field, value| {
            put_bytes(out, field.text(&mut digits));
            put_bytes(out, value.text(&mut digits));
        });
    }

    pub(crate) fn load(reader: &mut Reader<'_>) -> Result<Hash, Malformed> {
        let form = reader.byte()?;
        let count = reader.length()?;
        let hash = match form {
            PACKED => Form::Packed(load_packed(reader, count)?),
            TABLE => {
                let mut dict = Dict::new();
                for _ in 0..count {
                    let (field, value) = (reader.bytes()?, reader.bytes()?);
                    if dict.insert(field, Str::from(value)).is_some() {
                        return Err(reader.malformed());
                    }
                }
                Form::Table(Box::new(dict))
            }
            _ => return Err(reader.malformed()),
        };
        if count == 0 {
            return Err(reader.malformed());
        }
        Ok(Hash(hash))
    }
}

fn load_packed(reader: &mut Reader<'_>, count: usize) -> Result<Packed, Malformed> {
    let (mut packed, mut seen) = (Packed::default(), BTreeSet::new());
    for _ in 0..count {
        let (field, value) = (reader.bytes()?, reader.bytes()?);
        if !seen.insert(field) {
            return Err(reader.malformed());
        }
        packed.push(Blob::of(field), Blob::of(value));
    }
    Ok(packed)
}

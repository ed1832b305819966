//! The names of all keys of a database, with their types and expiries: what a gateway needs to run
//! KEYS, SCAN and DBSIZE, and little beside what they give.
//!
//! For each key, behind each other: its length and bytes, the number of its type as a byte, when it
//! expires, plus one, as a varint, where 0 is never, and about how many bytes its value takes.

use stdx::Millis;
use stdx::codec::{Malformed, Reader, put_bytes, put_varint};

use crate::db::{Db, Entry};
use crate::limits::NAMES_BYTES_MAX;
use crate::reject::Reject;
use crate::str::Str;
use crate::types::{Hash, List, Set, Stream, Zset};
use crate::value::{Typed, Value};

/// The number of a type; `empty` makes an empty value of it.
fn number(value: &Value) -> u8 {
    match value {
        Value::Int(_) | Value::Str(_) | Value::Buffer(_) => 0,
        Value::List(_) => 1,
        Value::Set(_) => 2,
        Value::Hash(_) => 3,
        Value::Zset(_) => 4,
        Value::Stream(_) => 5,
    }
}

/// About how many bytes it takes to tell: of replicas with equal values equal, unlike what they take in
/// memory.
fn size(value: &Value) -> u64 {
    const ELEMENT_BYTES: usize = 64;
    let bytes = match value {
        Value::Int(_) => 8,
        Value::Str(text) => text.len(),
        Value::Buffer(buffer) => buffer.len(),
        Value::List(list) => list.len() * ELEMENT_BYTES,
        Value::Set(set) => set.len() * ELEMENT_BYTES,
        Value::Hash(hash) => hash.len() * ELEMENT_BYTES,
        Value::Zset(zset) => zset.len() * ELEMENT_BYTES,
        Value::Stream(stream) => stream.len() * ELEMENT_BYTES,
    };
    bytes as u64
}

fn empty(number: u8) -> Option<Value> {
    Some(match number {
        0 => Value::Str(Str::default()),
        1 => List::default().wrap(),
        2 => Set::default().wrap(),
        3 => Hash::default().wrap(),
        4 => Zset::default().wrap(),
        5 => Stream::default().wrap(),
        _ => return None,
    })
}

/// The names of all keys that are alive at this moment; an error if they take too much room.
pub(crate) fn names(db: &Db, now: Millis) -> Result<Vec<u8>, Reject> {
    let mut out = Vec::new();
    for (key, entry) in db.dict().iter().filter(|(_, entry)| entry.expires > now) {
        put_bytes(&mut out, key);
        out.push(number(&entry.value));
        put_varint(&mut out, entry.expires.0.wrapping_add(1));
        put_varint(&mut out, size(&entry.value));
        if out.len() > NAMES_BYTES_MAX {
            return Err(Reject::text(
                "ERR too many keys for a transaction over several shards that asks for all of them",
            ));
        }
    }
    Ok(out)
}

/// Calls `each` with what `names` told: the value of a key is an empty one of its type.
pub(super) fn read(names: &[u8], mut each: impl FnMut(&[u8], Entry, u64)) -> Result<(), Malformed> {
    let mut reader = Reader::new(names);
    while !reader.is_empty() {
        let (key, number) = (reader.bytes()?, reader.byte()?);
        let expires = Millis(reader.varint()?.wrapping_sub(1));
        let value = empty(number).ok_or_else(|| reader.malformed())?;
        each(key, Entry { value, version: 0, expires }, reader.varint()?);
    }
    Ok(())
}

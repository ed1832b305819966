//! One value, by the commands of its type: as one reply, or in parts.
//!
//! Parts of a set, hash or sorted set come by its SCAN, which shows some elements twice: each is
//! taken once. Parts of a list come by place, so writes at its head meanwhile tear it.

use std::collections::HashSet;

use rdb::{Body, Kind, StreamBody, StreamEnd, StreamId};
use sha2::{Digest, Sha256};
use wire::resp::Value;

/// Names an element without keeping it: two have the same one chance in 2^64 among four billion.
pub(super) type Mark = [u8; 16];

pub(super) fn mark(bytes: &[u8]) -> Mark {
    let mut mark = [0; 16];
    mark.copy_from_slice(&Sha256::digest(bytes)[..16]);
    mark
}

/// The call that reads a whole value.
pub(super) fn whole_call(kind: Kind, key: &[u8]) -> Vec<&[u8]> {
    match kind {
        Kind::String => vec![b"GET", key],
        Kind::List => vec![b"LRANGE", key, b"0", b"-1"],
        Kind::Set => vec![b"SMEMBERS", key],
        Kind::Hash => vec![b"HGETALL", key],
        Kind::SortedSet => vec![b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
        Kind::Stream => vec![b"XRANGE", key, b"-", b"+"],
        Kind::Module(_) => unreachable!("modules are not read"),
    }
}

/// What is gathered of a value that is no string.
pub(super) enum Gathered {
    Collection(Body),
    Stream(StreamBody),
}

impl Gathered {
    pub(super) fn new(kind: Kind) -> Gathered {
        match kind {
            Kind::Stream => Gathered::Stream(StreamBody::default()),
            _ => Gathered::Collection(Body::default()),
        }
    }

    /// Bytes to be moved on.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        match self {
            Gathered::Collection(body) => body.bytes(),
            Gathered::Stream(body) => body.bytes(),
        }
    }

    /// Adds the elements of a reply; those in `seen` are left out, and put there. How many bytes the
    /// reply had is returned.
    pub(super) fn add(
        &mut self,
        kind: Kind,
        elements: &[Value],
        mut seen: Option<&mut HashSet<Mark>>,
    ) -> Result<usize, String> {
        let mut size = 0;
        let mut is_new = |element: &[u8]| match &mut seen {
            Some(seen) => seen.insert(mark(element)),
            None => true,
        };
        match (self, kind) {
            (Gathered::Stream(body), _) => {
                for entry in elements {
                    size += add_entry(body, entry)?;
                }
            }
            (Gathered::Collection(body), Kind::List) => {
                for element in elements {
                    let element = text(element)?;
                    size += element.len();
                    body.element(element);
                }
            }
            (Gathered::Collection(body), Kind::Set) => {
                for member in elements {
                    let member = text(member)?;
                    size += member.len();
                    if is_new(member) {
                        body.element(member);
                    }
                }
            }
            (Gathered::Collection(body), Kind::Hash | Kind::SortedSet) => {
                for pair in elements.chunks(2) {
                    let [first, second] = pair else { return Err("a field has no value".into()) };
                    let (first, second) = (text(first)?, text(second)?);
                    size += first.len() + second.len();
                    if !is_new(first) {
                        continue;
                    }
                    match kind {
                        Kind::Hash => body.field(first, second),
                        _ => body.member(first, score(second)?),
                    }
                }
            }
            (Gathered::Collection(_), kind) => unreachable!("a {kind} is no collection"),
        }
        Ok(size)
    }
}

fn add_entry(body: &mut StreamBody, entry: &Value) -> Result<usize, String> {
    let (id, texts) = match entry {
        Value::Array(parts) => match &parts[..] {
            [id, Value::Array(texts)] => (text(id)?, texts),
            _ => return Err("an entry of a stream has other parts".to_owned()),
        },
        _ => return Err("an entry of a stream is no array".to_owned()),
    };
    let id = stream_id(id).ok_or("an entry of a stream has no id")?;
    let texts: Result<Vec<&[u8]>, String> = texts.iter().map(text).collect();
    let texts = texts?;
    body.entry(id, texts.iter().copied());
    Ok(texts.iter().map(|text| text.len()).sum())
}

/// The bytes of a string.
pub(super) fn text(value: &Value) -> Result<&[u8], String> {
    match value {
        Value::Bulk(text) => Ok(text),
        Value::Status(text) => Ok(text.as_bytes()),
        other => Err(format!("a string was expected, and not {other:?}")),
    }
}

/// The elements of an array.
pub(super) fn list(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(format!("an array was expected, and not {other:?}")),
    }
}

fn score(text: &[u8]) -> Result<f64, String> {
    let score = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    score.ok_or_else(|| format!("the score {} is no number", String::from_utf8_lossy(text)))
}

pub(super) fn stream_id(text: &[u8]) -> Option<StreamId> {
    let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some(StreamId { ms: ms.parse().ok()?, seq: seq.parse().ok()? })
}

/// What XINFO STREAM tells that the entries do not: and how many consumer groups there are.
pub(super) fn stream_info(info: &[Value], mut end: StreamEnd) -> (StreamEnd, u64) {
    let mut groups = 0;
    for pair in info.chunks(2) {
        let [Value::Bulk(name), value] = pair else { continue };
        let id = || text(value).ok().and_then(stream_id);
        match (&name[..], value) {
            (b"last-generated-id", _) => end.last = id().unwrap_or(end.last).max(end.last),
            (b"max-deleted-entry-id", _) => end.max_deleted = id().unwrap_or_default(),
            (b"entries-added", Value::Int(added)) => end.added = end.added.max(*added as u64),
            (b"groups", Value::Int(count)) => groups = *count as u64,
            _ => {}
        }
    }
    (end, groups)
}

//! A dump's items as ordinary commands, many to a batch.
//!
//! A value that is larger than a part is written by several commands, one after the other on one
//! connection; who reads it meanwhile sees a part of it.

use hashring::Shards;
use rdb::{Expiry, Kind, StreamEnd, StreamId};
use wire::resp::{encode_arg, encode_call, encode_count};

use crate::limits::{BATCH_BYTES, PART_BYTES, PART_ELEMENTS, SMALL_STRING_BYTES};

/// Commands as they are sent.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// How many there are, and so how many replies.
    pub(crate) calls: u32,
    /// The database before its first call.
    database: u64,
    /// Some of it must not be run once more.
    once: bool,
    strings: Strings,
}

/// Strings that are written together, those of a shard in one call: that is one entry of its log, and one
/// reply. A target whose shards are not as was thought is as right, and slower.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    shards: Option<Shards>,
    /// Keys and values, encoded, and how many of them.
    groups: Vec<(Vec<u8>, usize)>,
    bytes: usize,
}

impl Strings {
    /// For a target with these shards, or one that does not tell.
    pub(crate) fn new(shards: Option<Shards>) -> Strings {
        let groups = vec![(Vec::new(), 0); shards.map_or(0, Shards::count)];
        Strings { shards, groups, bytes: 0 }
    }
}

impl Batch {
    /// A batch with room.
    pub(crate) fn new(strings: Strings, database: u64) -> Batch {
        let bytes = Vec::with_capacity(BATCH_BYTES + PART_BYTES);
        Batch { bytes, calls: 0, database, once: false, strings }
    }

    /// The database before its first call.
    pub(crate) fn database(&self) -> u64 {
        self.database
    }

    /// Is it as right to run it twice, the second time late, behind whatever comes after it? So it is where each
    /// call writes a whole value, or adds to a set, hash or sorted set what is to be in there.
    pub(crate) fn may_be_repeated(&self) -> bool {
        !self.once
    }

    /// Nothing is added any more: what is to be sent, and what the next batch begins with.
    pub(crate) fn close(mut self) -> (Batch, Strings) {
        self.write_strings();
        let strings = std::mem::take(&mut self.strings);
        (self, strings)
    }

    /// Sets a string, together with others of its shard.
    fn set(&mut self, key: &[u8], text: &[u8]) {
        let size = key.len() + text.len();
        let Some(shards) = self.strings.shards.filter(|_| size <= SMALL_STRING_BYTES) else {
            return self.call(&[b"SET", key, text]);
        };
        let place = shards.of_key(key).index();
        let (args, count) = &mut self.strings.groups[place];
        let before = args.len();
        encode_arg(args, key);
        encode_arg(args, text);
        self.strings.bytes += args.len() - before;
        *count += 2;
        if *count >= PART_ELEMENTS || args.len() >= PART_BYTES {
            self.write_group(place);
        }
    }

    /// Writes the strings that wait for others of their shards.
    pub(crate) fn write_strings(&mut self) {
        (0..self.strings.groups.len()).for_each(|place| self.write_group(place));
    }

    fn write_group(&mut self, place: usize) {
        let (args, count) = &mut self.strings.groups[place];
        if *count == 0 {
            return;
        }
        encode_count(&mut self.bytes, 1 + *count);
        encode_arg(&mut self.bytes, b"MSET");
        self.bytes.extend_from_slice(args);
        self.calls += 1;
        self.strings.bytes -= args.len();
        args.clear();
        *count = 0;
    }

    /// Adds the calls of another.
    pub(super) fn append(&mut self, other: &Batch) {
        self.bytes.extend_from_slice(&other.bytes);
        self.calls += other.calls;
        self.once |= other.once;
    }

    /// Drops what it has.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.calls, self.once) = (0, false);
    }

    /// Adds a command.
    pub(crate) fn call(&mut self, args: &[&[u8]]) {
        encode_call(&mut self.bytes, args);
        self.calls += 1;
    }

    /// Has it come to its size?
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() + self.strings.bytes >= BATCH_BYTES
    }
}

/// The value that is being written.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) kind: Kind,
    pub(crate) expiry: Option<Expiry>,
    key: Vec<u8>,
    /// Arguments behind the key, encoded, and how many.
    args: Vec<u8>,
    count: usize,
    /// Elements so far.
    pub(crate) elements: u64,
    last: StreamId,
    /// None of its calls must be run once more, or late.
    once: bool,
    number: String,
}

impl Value {
    pub(crate) fn new() -> Value {
        Value {
            kind: Kind::String,
            expiry: None,
            key: Vec::new(),
            args: Vec::new(),
            count: 0,
            elements: 0,
            last: StreamId::default(),
            once: false,
            number: String::new(),
        }
    }

    /// Begins the next value. With `replace` whatever stands at its key is deleted.
    pub(crate) fn begin(&mut self, key: rdb::Key<'_>, replace: bool, batch: &mut Batch) {
        self.key.clear();
        self.key.extend_from_slice(key.key);
        (self.kind, self.expiry) = (key.kind, key.expiry);
        (self.elements, self.last) = (0, StreamId::default());
        let is_string = self.kind == Kind::String;
        let grows = matches!(self.kind, Kind::Set | Kind::Hash | Kind::SortedSet);
        // What ends may have ended by then, and would be there again.
        self.once = !is_string && (replace || !grows || self.expiry.is_some());
        if replace && !is_string {
            self.call(&[b"UNLINK", &self.key], batch);
        }
    }

    /// Must none of its calls be run once more, or late? A string in parts is only known when the first comes.
    pub(super) fn must_run_once(&self) -> bool {
        self.once
    }

    /// Where it stands.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value of a string, or its next part.
    pub(crate) fn text(&mut self, text: &[u8], is_whole: bool, batch: &mut Batch) {
        self.elements += 1;
        self.once |= !is_whole;
        if self.elements > 1 {
            self.call(&[b"APPEND", &self.key, text], batch);
        } else if let (true, Some(Expiry(ms))) = (is_whole, self.expiry) {
            self.expiry = None;
            let ms = itoa::Buffer::new().format(ms).to_owned();
            batch.call(&[b"SET", &self.key, text, b"PXAT", ms.as_bytes()]);
        } else if is_whole && self.expiry.is_none() {
            batch.set(&self.key, text);
        } else {
            self.call(&[b"SET", &self.key, text], batch);
        }
    }

    /// Adds a command of this value.
    fn call(&self, args: &[&[u8]], batch: &mut Batch) {
        batch.once |= self.once;
        batch.call(args);
    }

    /// An element of a list or set.
    pub(crate) fn element(&mut self, element: &[u8], batch: &mut Batch) {
        self.add(&[element], batch);
    }

    /// A field of a hash.
    pub(crate) fn field(&mut self, field: &[u8], value: &[u8], batch: &mut Batch) {
        self.add(&[field, value], batch);
    }

    /// A member of a sorted set.
    pub(crate) fn member(&mut self, member: &[u8], score: f64, batch: &mut Batch) {
        let mut number = std::mem::take(&mut self.number);
        write_score(&mut number, score);
        self.add(&[number.as_bytes(), member], batch);
        self.number = number;
    }

    /// Adds to the part, which is written once it is large enough, or before it would be too large.
    fn add(&mut self, args: &[&[u8]], batch: &mut Batch) {
        let size: usize = args.iter().map(|arg| arg.len()).sum();
        if self.count > 0 && self.args.len() + size > PART_BYTES {
            self.flush(batch);
        }
        args.iter().for_each(|arg| encode_arg(&mut self.args, arg));
        self.count += args.len();
        self.elements += 1;
        if self.count >= PART_ELEMENTS || self.args.len() >= PART_BYTES {
            self.flush(batch);
        }
    }

    fn flush(&mut self, batch: &mut Batch) {
        if self.count == 0 {
            return;
        }
        let name: &[u8] = match self.kind {
            Kind::List => b"RPUSH",
            Kind::Set => b"SADD",
            Kind::SortedSet => b"ZADD",
            Kind::Hash => b"HSET",
            kind => unreachable!("a {kind} has no parts"),
        };
        batch.once |= self.once;
        encode_count(&mut batch.bytes, 2 + self.count);
        encode_arg(&mut batch.bytes, name);
        encode_arg(&mut batch.bytes, &self.key);
        batch.bytes.extend_from_slice(&self.args);
        batch.calls += 1;
        self.args.clear();
        self.count = 0;
    }

    /// An entry of a stream.
    pub(crate) fn entry<'a>(
        &mut self,
        id: StreamId,
        texts: impl ExactSizeIterator<Item = &'a [u8]>,
        batch: &mut Batch,
    ) {
        self.elements += 1;
        self.last = id;
        batch.once |= self.once;
        encode_count(&mut batch.bytes, 3 + texts.len());
        encode_arg(&mut batch.bytes, b"XADD");
        encode_arg(&mut batch.bytes, &self.key);
        encode_arg(&mut batch.bytes, id.to_string().as_bytes());
        texts.for_each(|text| encode_arg(&mut batch.bytes, text));
        batch.calls += 1;
    }

    /// What a stream remembers: it may be empty, and remember which ids it gave.
    pub(crate) fn stream_end(&mut self, end: StreamEnd, batch: &mut Batch) {
        let last = end.last.max(self.last);
        if self.elements == 0 {
            let id = last.max(StreamId { ms: 0, seq: 1 }).to_string();
            let args = [b"XADD", &self.key[..], b"MAXLEN", b"0", id.as_bytes(), b"x", b"y"];
            self.call(&args, batch);
        }
        let added = end.added.max(self.elements).min(i64::MAX as u64).to_string();
        let max_deleted = end.max_deleted.min(last).to_string();
        let last = last.to_string();
        let args = [
            b"XSETID",
            &self.key[..],
            last.as_bytes(),
            b"ENTRIESADDED",
            added.as_bytes(),
            b"MAXDELETEDID",
            max_deleted.as_bytes(),
        ];
        self.call(&args, batch);
    }

    /// The value is whole. Is there any? Redis had faults that left keys with empty values behind.
    pub(crate) fn end(&mut self, batch: &mut Batch) -> bool {
        self.flush(batch);
        if self.elements == 0 && self.kind != Kind::Stream {
            return false;
        }
        if let Some(Expiry(ms)) = self.expiry.take() {
            self.call(&[b"PEXPIREAT", &self.key, ms.to_string().as_bytes()], batch);
        }
        true
    }
}

/// The shortest text that is this number again.
fn write_score(out: &mut String, score: f64) {
    use std::fmt::Write;
    const EXACT: f64 = 1e15;
    out.clear();
    let whole = score as i64;
    if score.abs() < EXACT && (whole as f64).to_bits() == score.to_bits() {
        out.push_str(itoa::Buffer::new().format(whole));
    } else if score.is_infinite() {
        out.push_str(if score > 0.0 { "inf" } else { "-inf" });
    } else {
        write!(out, "{score:e}").expect("a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use hashring::Shards;

    use super::{Batch, PART_ELEMENTS, Strings, Value, write_score};
    use rdb::{Key, Kind, StreamId};

    #[test]
    fn small_strings_of_a_shard_are_written_together_and_large_ones_alone() {
        let shards = Shards::new(4).unwrap();
        let (mut value, mut batch) = (Value::new(), Batch::new(Strings::new(Some(shards)), 0));
        let mut put = |key: &[u8], text: &[u8], batch: &mut Batch| {
            value.begin(Key { key, kind: Kind::String, expiry: None }, false, batch);
            value.text(text, true, batch);
            assert!(value.end(batch));
        };
        (0..100).for_each(|number| put(format!("k{number}").as_bytes(), b"v", &mut batch));
        assert_eq!((batch.calls, batch.bytes.len()), (0, 0));
        put(b"large", &[b'x'; 10_000], &mut batch);
        assert_eq!(batch.calls, 1);
        (0..PART_ELEMENTS / 2).for_each(|_| put(b"{one}", b"v", &mut batch));
        assert_eq!(batch.calls, 2, "one shard has as many as a call may have");
        let (batch, strings) = batch.close();
        assert_eq!((batch.calls, strings.bytes), (6, 0));
        let whole = String::from_utf8_lossy(&batch.bytes);
        assert!((0..100).all(|number| whole.contains(&format!("\r\nk{number}\r\n$1\r\nv\r\n"))));
        assert_eq!(whole.matches("MSET").count(), 5);
    }

    #[test]
    fn what_must_not_run_twice_is_marked_in_each_batch_that_has_a_part_of_it() {
        let expiry = Some(rdb::Expiry(1 << 50));
        let id = StreamId { ms: 1, seq: 1 };
        let once = |kind: Kind, expiry, replace: bool| {
            let (mut value, mut parts) = (Value::new(), [Batch::default(), Batch::default()]);
            value.begin(Key { key: b"k", kind, expiry }, replace, &mut parts[0]);
            for batch in &mut parts {
                for _ in 0..PART_ELEMENTS {
                    match kind {
                        Kind::String => value.text(b"x", false, batch),
                        Kind::Stream => value.entry(id, [&b"f"[..], b"v"].into_iter(), batch),
                        Kind::Hash => value.field(b"f", b"v", batch),
                        Kind::SortedSet => value.member(b"m", 1.0, batch),
                        _ => value.element(b"e", batch),
                    }
                }
            }
            assert!(parts.iter().all(|batch| batch.calls > 0));
            let marks = parts.map(|batch| !batch.may_be_repeated());
            assert_eq!(marks[0], marks[1], "{kind:?}");
            marks[0]
        };
        for kind in [Kind::List, Kind::Stream, Kind::String] {
            assert!(once(kind, None, false));
        }
        for kind in [Kind::Set, Kind::Hash, Kind::SortedSet] {
            assert!(!once(kind, None, false));
            assert!(once(kind, expiry, false) && once(kind, None, true));
        }
        let (mut value, mut batch) = (Value::new(), Batch::default());
        value.begin(Key { key: b"k", kind: Kind::String, expiry }, true, &mut batch);
        value.text(b"x", true, &mut batch);
        assert!(
            batch.may_be_repeated() && batch.calls == 1,
            "a whole value takes the place of the last"
        );
    }

    #[test]
    fn a_score_is_written_as_what_it_is() {
        let cases = [(3.0, "3"), (-0.5, "-5e-1"), (f64::INFINITY, "inf"), (1e300, "1e300")];
        let mut text = String::new();
        for (score, expect) in cases {
            write_score(&mut text, score);
            assert_eq!(text, expect);
        }
        for score in [-0.0, 0.1, f64::MIN_POSITIVE, f64::MAX, 5e-324, 1e15, -1e15 - 0.5] {
            write_score(&mut text, score);
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), f64::to_bits(score), "{text}");
        }
    }
}

//! Values that are made here first, and then written by one call: it may be run twice, the second time late,
//! where the calls that make them may not, and nobody sees a part of one.

use keyspace::{Asker, Effects, Outcome, Shard, backup};
use stdx::Millis;
use wire::resp::{Limits, Parsed, Parser, Value as Reply};
use wire::{Args, ArgsBuf, Proto};

use super::calls::{Batch, Value};
use crate::limits::{HELD_BYTES_MAX, PUT_BYTES_MAX};
use crate::link::Link;

/// Before anything that expires does.
const CLOCK: Millis = Millis(1);

/// By these settings of the target a value has one form or another.
const FORMS: [&str; 6] = [
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
    "list-max-listpack-size",
    "set-max-intset-entries",
    "zset-max-listpack-entries",
    "zset-max-listpack-value",
];

/// The calls of one value, and a keyspace in which they are run.
#[derive(Default)]
pub(super) struct Held {
    /// The calls of the present value wait here.
    holds: bool,
    batch: Batch,
    shard: Shard,
}

impl Held {
    /// The values have the forms that the target would give them.
    pub(super) fn like(target: &mut Link) -> Result<Held, String> {
        let mut held = Held::default();
        for name in FORMS {
            let pair = target.must(&[b"CONFIG", b"GET", name.as_bytes()])?;
            if let Reply::Array(pair) = &pair
                && let [_, Reply::Bulk(value)] = &pair[..]
            {
                let set = [b"CONFIG", &b"SET"[..], name.as_bytes(), value];
                run(&mut held.shard, set.into_iter().collect::<ArgsBuf>().args());
            }
        }
        Ok(held)
    }

    /// The next value begins. It is held if its calls must not be run twice.
    pub(super) fn begin(&mut self, value: &mut Value, key: rdb::Key<'_>, replace: bool) {
        value.begin(key, replace, &mut self.batch);
        self.holds = value.must_run_once();
        assert!(self.holds || self.batch.bytes.is_empty(), "nothing must be deleted before");
    }

    /// Where the calls of the present value are put: here, or there.
    pub(super) fn batch<'a>(&'a mut self, other: &'a mut Batch) -> &'a mut Batch {
        if self.holds { &mut self.batch } else { other }
    }

    /// If the value is too large for one call, its calls go there.
    pub(super) fn send_large(&mut self, batch: &mut Batch) {
        if self.batch.bytes.len() > HELD_BYTES_MAX {
            self.give_up(batch);
        }
    }

    /// The value ends: what writes it goes there. Those are its calls if there is none, or too large a one, or if
    /// one of them is refused here: it will be there, and is told of.
    pub(super) fn end(&mut self, key: &[u8], batch: &mut Batch) {
        if !self.holds {
            return;
        }
        let made = self.make(key).filter(|(_, value)| value.len() <= PUT_BYTES_MAX);
        let Some((expires, value)) = made else { return self.give_up(batch) };
        let mut digits = itoa::Buffer::new();
        let expires = expires.map_or("-1", |expires| digits.format(expires.0));
        batch.call(&[b"SYNOD.PUT", key, expires.as_bytes(), &value]);
        self.batch.clear();
        self.holds = false;
    }

    fn give_up(&mut self, batch: &mut Batch) {
        batch.append(&self.batch);
        self.batch.clear();
        self.holds = false;
    }

    /// What the calls leave at the key.
    fn make(&mut self, key: &[u8]) -> Option<(Option<Millis>, Vec<u8>)> {
        let (mut parser, limits) = (Parser::new(), Limits::default());
        let mut rest = &self.batch.bytes[..];
        let mut runs = true;
        while runs && !rest.is_empty() {
            let parsed = parser.parse(rest, &limits);
            let Ok(Parsed::Complete { consumed }) = parsed else { return None };
            runs = run(&mut self.shard, parser.args(rest));
            rest = &rest[consumed..];
        }
        let made = backup::find(&self.shard, 0, key).filter(|_| runs);
        let unlink: ArgsBuf = [&b"UNLINK"[..], key].into_iter().collect();
        run(&mut self.shard, unlink.args());
        made
    }
}

/// Runs a call. Was it taken?
fn run(shard: &mut Shard, args: Args<'_>) -> bool {
    let (mut reply, mut effects) = (Vec::new(), Effects::default());
    let asker = Asker { db: 0, proto: Proto::Resp2, origin: None };
    let outcome = shard.apply_call(CLOCK, asker, args, &mut reply, &mut effects);
    outcome == Outcome::Replied && !reply.starts_with(b"-")
}

#[cfg(test)]
mod tests {
    use rdb::{Expiry, Key, Kind, StreamEnd, StreamId};

    use super::*;
    use crate::limits::PART_ELEMENTS;

    const FAR: Expiry = Expiry(1 << 50);

    /// What is written of a value of so many parts, and how it reads then, by this call.
    fn written(
        (kind, expiry, replace): (Kind, Option<Expiry>, bool),
        parts: usize,
        read: &[&str],
    ) -> (Batch, String) {
        let (mut held, mut value, mut batch) = (Held::default(), Value::new(), Batch::default());
        // One before leaves nothing behind.
        for key in [b"b", b"k"] {
            batch.clear();
            held.begin(&mut value, Key { key, kind, expiry }, replace);
            for part in 0..parts {
                let text = format!("e{part}");
                let calls = held.batch(&mut batch);
                match kind {
                    Kind::Stream => {
                        let id = StreamId { ms: 7, seq: part as u64 };
                        value.entry(id, [&b"f"[..], text.as_bytes()].into_iter(), calls);
                    }
                    Kind::Hash => value.field(text.as_bytes(), b"v", calls),
                    Kind::SortedSet => value.member(text.as_bytes(), part as f64, calls),
                    _ => value.element(text.as_bytes(), calls),
                }
                held.send_large(&mut batch);
            }
            if kind == Kind::Stream {
                let (last, added) = (StreamId { ms: 9, seq: 0 }, 5);
                let end = StreamEnd { last, added, ..StreamEnd::default() };
                value.stream_end(end, held.batch(&mut batch));
            }
            value.end(held.batch(&mut batch));
            held.end(key, &mut batch);
        }
        let (mut shard, limits, mut parser) = (Shard::new(), Limits::default(), Parser::new());
        let mut rest = &batch.bytes[..];
        while !rest.is_empty() {
            let Ok(Parsed::Complete { consumed }) = parser.parse(rest, &limits) else { panic!() };
            assert!(run(&mut shard, parser.args(rest)));
            rest = &rest[consumed..];
        }
        let read: ArgsBuf = read.iter().map(|word| word.as_bytes()).collect();
        let asker = Asker { db: 0, proto: Proto::Resp2, origin: None };
        let (mut reply, mut effects) = (Vec::new(), Effects::default());
        shard.apply_call(CLOCK, asker, read.args(), &mut reply, &mut effects);
        (batch, String::from_utf8_lossy(&reply).replace("\r\n", " "))
    }

    #[test]
    fn a_value_whose_calls_must_run_once_is_written_by_one_that_may_run_twice() {
        for (kind, expiry, replace, read, expect) in [
            (Kind::List, None, false, &["LRANGE", "k", "0", "-1"][..], "*3 $2 e0 $2 e1 $2 e2 "),
            (Kind::List, Some(FAR), true, &["PEXPIRETIME", "k"], ":1125899906842624 "),
            (Kind::Hash, None, true, &["HVALS", "k"], "*3 $1 v $1 v $1 v "),
            (Kind::Hash, Some(FAR), false, &["PEXPIRETIME", "k"], ":1125899906842624 "),
            (Kind::Set, None, true, &["SCARD", "k"], ":3 "),
            (Kind::SortedSet, None, true, &["ZRANGE", "k", "2", "2"], "*1 $2 e2 "),
            (Kind::Stream, None, false, &["XADD", "k", "9-*", "f", "v"], "$3 9-1 "),
            (Kind::Stream, None, false, &["XLEN", "k"], ":3 "),
        ] {
            let (batch, reply) = written((kind, expiry, replace), 3, read);
            assert_eq!((batch.calls, reply.as_str()), (1, expect), "{kind:?} {expiry:?} {replace}");
            assert!(batch.may_be_repeated());
        }
    }

    #[test]
    fn what_is_too_large_for_one_call_is_written_as_ever() {
        let parts = 200 * PART_ELEMENTS;
        let (batch, reply) = written((Kind::List, None, true), parts, &["LLEN", "k"]);
        assert_eq!(reply, format!(":{parts} "));
        assert!(batch.calls > 200 && !batch.may_be_repeated());
    }

    #[test]
    fn what_may_run_twice_anyway_is_not_made_here() {
        let (batch, reply) = written((Kind::Hash, None, false), 3, &["HLEN", "k"]);
        assert!(batch.may_be_repeated() && reply == ":3 ");
        assert!(String::from_utf8_lossy(&batch.bytes).contains("HSET"));
    }

    /// The target will say why.
    #[test]
    fn calls_that_are_refused_are_sent_as_they_are() {
        let (mut held, mut value, mut batch) = (Held::default(), Value::new(), Batch::default());
        held.begin(&mut value, Key { key: b"k", kind: Kind::Stream, expiry: None }, false);
        for _ in 0..2 {
            let id = StreamId { ms: 7, seq: 7 };
            value.entry(id, [&b"f"[..], b"v"].into_iter(), held.batch(&mut batch));
        }
        value.end(held.batch(&mut batch));
        held.end(b"k", &mut batch);
        assert!(batch.calls == 2 && !batch.may_be_repeated());
    }
}

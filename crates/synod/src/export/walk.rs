//! The walk over all keys of a server, and the dump that it fills.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rdb::{Expiry, Kind, Writer};
use wire::resp::{Value, encode_call};

use super::spill::Spill;
use super::value::{Gathered, Mark, list, mark, stream_info, text, whole_call};
use crate::left_out::LeftOut;
use crate::limits::{
    DATABASES_MAX, PAGE_BYTES, PAGE_KEYS, PART_BYTES, PART_ELEMENTS, READS_MAX, SPILL_BYTES,
};
use crate::link::Link;
use crate::meter::Meter;

/// The version of Redis that the dump is for.
const REDIS_VERSION: &[u8] = b"7.0.15";

/// Elements that are asked for in the first part of a large value.
const FIRST_PART_ELEMENTS: usize = 16;

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) keys: BTreeMap<Kind, u64>,
    pub(super) functions: u64,
    pub(super) bytes: u64,
    pub(super) left_out: LeftOut,
}

/// A key, and what is to be known before it is read.
struct Found {
    key: Vec<u8>,
    kind: Kind,
    expiry: Option<Expiry>,
    /// Bytes that the server thinks it takes; nothing, if it does not tell.
    usage: Option<u64>,
}

/// Why a value was not written.
enum Missed {
    /// Another type stands at the key by now: ask again.
    Changed,
    Failed(String),
}

impl From<String> for Missed {
    fn from(text: String) -> Missed {
        Missed::Failed(text)
    }
}

/// See the head of the file.
pub(super) struct Walk<'a, W: Write> {
    link: &'a mut Link,
    writer: Writer<W>,
    spill: Spill,
    written: Written,
    /// The server is older than Redis 7 and tells only how long a key has yet.
    has_only_pttl: bool,
}

impl<'a, W: Write> Walk<'a, W> {
    /// Begins a dump.
    pub(super) fn new(link: &'a mut Link, out: W, dir: &Path) -> Result<Walk<'a, W>, String> {
        let mut writer = Writer::new(out);
        let seconds = now_ms() / 1000;
        let aux: [(&[u8], &[u8]); 3] = [
            (b"redis-ver", REDIS_VERSION),
            (b"redis-bits", b"64"),
            (b"ctime", &seconds.to_string().into_bytes()),
        ];
        aux.iter().try_for_each(|(name, value)| writer.aux(name, value)).map_err(failed)?;
        let probe = link.call(&[b"PEXPIRETIME", b"synod"])?;
        let has_only_pttl = matches!(probe, Value::Error(_));
        let spill = Spill::new(dir.to_owned());
        Ok(Walk { link, writer, spill, written: Written::default(), has_only_pttl })
    }

    /// Walks over these databases, or all.
    pub(super) fn run(&mut self, wanted: Option<&BTreeSet<u64>>) -> Result<(), String> {
        self.functions()?;
        let mut sizes = Vec::new();
        for number in 0..DATABASES_MAX {
            if let Value::Error(text) =
                self.link.call(&[b"SELECT", number.to_string().as_bytes()])?
            {
                match number {
                    0 => return Err(format!("{}: {text}", self.link.addr())),
                    _ => break,
                }
            }
            if let Value::Int(size @ 1..) = self.link.must(&[b"DBSIZE"])?
                && wanted.is_none_or(|wanted| wanted.contains(&number))
            {
                sizes.push((number, size as u64));
            }
        }
        let mut meter = Meter::new("exporting", Some(sizes.iter().map(|(_, size)| size).sum()));
        for (number, size) in sizes {
            self.database(number, size, &mut meter)?;
        }
        meter.finish();
        Ok(())
    }

    /// Ends the dump.
    pub(super) fn finish(mut self) -> Result<Written, String> {
        const TRAILER_BYTES: u64 = 9;
        self.written.bytes = self.writer.len() + TRAILER_BYTES;
        self.writer.finish().map_err(failed)?;
        Ok(self.written)
    }

    fn functions(&mut self) -> Result<(), String> {
        // A server without functions has none to tell.
        let Value::Array(libraries) = self.link.call(&[b"FUNCTION", b"LIST", b"WITHCODE"])? else {
            return Ok(());
        };
        for library in libraries {
            let parts = list(library)?;
            let code = parts.chunks(2).find_map(|pair| match pair {
                [Value::Bulk(name), Value::Bulk(code)] if name == b"library_code" => Some(code),
                _ => None,
            });
            let code = code.ok_or("a library of functions has no code")?;
            self.writer.function(code).map_err(failed)?;
            self.written.functions += 1;
        }
        Ok(())
    }

    fn database(&mut self, number: u64, size: u64, meter: &mut Meter) -> Result<(), String> {
        let page_keys = PAGE_KEYS.to_string();
        self.link.must(&[b"SELECT", number.to_string().as_bytes()])?;
        self.writer.database(number, size).map_err(failed)?;
        let (mut seen, mut cursor) = (HashSet::<Mark>::new(), b"0".to_vec());
        loop {
            let reply = self.link.must(&[b"SCAN", &cursor, b"COUNT", page_keys.as_bytes()])?;
            let [next, keys] = <[Value; 2]>::try_from(list(reply)?)
                .map_err(|_| "SCAN answered with something else".to_owned())?;
            let mut page = Vec::new();
            for key in list(keys)? {
                let Value::Bulk(key) = key else { continue };
                if seen.insert(mark(&key)) {
                    page.push(key);
                }
            }
            self.page(page)?;
            let keys: u64 = self.written.keys.values().sum();
            meter.update(keys, |seconds| {
                format!("{keys} keys  {:.0} keys/s", keys as f64 / seconds.max(0.001))
            });
            cursor = text(&next)?.to_vec();
            if cursor == b"0" {
                return Ok(());
            }
        }
    }

    /// Writes keys. Those whose type changed on the way are asked for again.
    fn page(&mut self, mut keys: Vec<Vec<u8>>) -> Result<(), String> {
        for _ in 0..READS_MAX {
            let found = self.look_up(keys)?;
            keys = self.read(found)?;
            if keys.is_empty() {
                return Ok(());
            }
        }
        let reason = "keys that had another type each time they were read";
        self.written.left_out.add(reason, keys.len() as u64);
        Ok(())
    }

    /// Asks for types, expiry and sizes. Keys that are gone are not in the answer.
    fn look_up(&mut self, keys: Vec<Vec<u8>>) -> Result<Vec<Found>, String> {
        let mut calls = Vec::new();
        let expiry_call: &[u8] = if self.has_only_pttl { b"PTTL" } else { b"PEXPIRETIME" };
        for key in &keys {
            encode_call(&mut calls, &[b"TYPE", key]);
            encode_call(&mut calls, &[expiry_call, key]);
            encode_call(&mut calls, &[b"MEMORY", b"USAGE", key]);
        }
        self.link.send(&calls)?;
        let mut found = Vec::new();
        for key in keys {
            let (kind, expiry, usage) =
                (self.link.reply()?, self.link.reply()?, self.link.reply()?);
            let expiry = match expiry {
                Value::Int(ms @ 0..) if self.has_only_pttl => Some(Expiry(now_ms() + ms)),
                Value::Int(ms @ 0..) => Some(Expiry(ms)),
                _ => None,
            };
            let usage = match usage {
                Value::Int(usage) => Some(usage.max(0) as u64),
                _ => None,
            };
            let kind = match text(&kind)? {
                b"string" => Kind::String,
                b"list" => Kind::List,
                b"set" => Kind::Set,
                b"zset" => Kind::SortedSet,
                b"hash" => Kind::Hash,
                b"stream" => Kind::Stream,
                b"none" => continue,
                other => {
                    let name = String::from_utf8_lossy(other);
                    self.written.left_out.add(format!("keys of the type {name}: unknown"), 1);
                    continue;
                }
            };
            found.push(Found { key, kind, expiry, usage });
        }
        Ok(found)
    }

    /// Reads and writes values: small ones by many calls at a time, large ones each by itself.
    /// Returns the keys that are to be asked for again.
    fn read(&mut self, found: Vec<Found>) -> Result<Vec<Vec<u8>>, String> {
        let (mut again, mut small, mut bytes, mut large) = (Vec::new(), Vec::new(), 0, Vec::new());
        for key in found {
            match key.usage {
                Some(usage) if usage <= PAGE_BYTES => {
                    bytes += usage;
                    small.push(key);
                    if bytes >= PAGE_BYTES {
                        self.read_small(std::mem::take(&mut small), &mut again)?;
                        bytes = 0;
                    }
                }
                _ => large.push(key),
            }
        }
        self.read_small(small, &mut again)?;
        for key in large {
            let read = match key.kind {
                Kind::String => {
                    let reply = self.link.call(&[b"GET", &key.key])?;
                    self.whole(&key, reply)
                }
                _ => self.in_parts(&key),
            };
            settle(read, key, &mut again)?;
        }
        Ok(again)
    }

    fn read_small(&mut self, keys: Vec<Found>, again: &mut Vec<Vec<u8>>) -> Result<(), String> {
        let mut calls = Vec::new();
        for key in &keys {
            encode_call(&mut calls, &whole_call(key.kind, &key.key));
        }
        self.link.send(&calls)?;
        let mut streams = Vec::new();
        for key in keys {
            let reply = self.link.reply()?;
            if key.kind == Kind::Stream {
                // More is asked about it once all replies have come.
                streams.push((key, reply));
                continue;
            }
            let read = self.whole(&key, reply);
            settle(read, key, again)?;
        }
        for (key, reply) in streams {
            let read = self.whole(&key, reply);
            settle(read, key, again)?;
        }
        Ok(())
    }

    /// Writes the value that a reply holds.
    fn whole(&mut self, key: &Found, reply: Value) -> Result<(), Missed> {
        match reply {
            Value::Error(text) => Err(missed(text)),
            Value::Null => Ok(()),
            Value::Bulk(value) => {
                self.writer.string(&key.key, key.expiry, &value).map_err(failed)?;
                *self.written.keys.entry(key.kind).or_insert(0) += 1;
                Ok(())
            }
            reply => {
                let mut gathered = Gathered::new(key.kind);
                gathered.add(key.kind, &list(reply)?, None)?;
                self.write(key, gathered)
            }
        }
    }

    /// Writes what was gathered of a value. An empty collection was deleted meanwhile.
    fn write(&mut self, key: &Found, gathered: Gathered) -> Result<(), Missed> {
        match gathered {
            Gathered::Collection(body) if body.count() == 0 => return Ok(()),
            Gathered::Collection(mut body) => {
                let count = body.count();
                let begun = self.writer.collection(key.kind, &key.key, key.expiry, count);
                begun.map_err(failed)?;
                self.spill.pour(body.bytes(), &mut self.writer).map_err(failed)?;
            }
            Gathered::Stream(mut body) => {
                let (mut end, mut groups) = (body.end(), 0);
                match self.link.call(&[b"XINFO", b"STREAM", &key.key])? {
                    Value::Array(info) => (end, groups) = stream_info(&info, end),
                    Value::Error(text) if text.starts_with("ERR no such key") => return Ok(()),
                    _ if end.len > 0 => {}
                    // An empty stream of a server that tells no more: is it there at all?
                    _ if self.link.must(&[b"EXISTS", &key.key])? == Value::Int(0) => return Ok(()),
                    _ => {}
                }
                let nodes = body.finish();
                self.writer.stream(&key.key, key.expiry, nodes).map_err(failed)?;
                self.spill.pour(body.bytes(), &mut self.writer).map_err(failed)?;
                self.writer.stream_end(end).map_err(failed)?;
                self.written.left_out.add("consumer groups of streams", groups);
            }
        }
        *self.written.keys.entry(key.kind).or_insert(0) += 1;
        Ok(())
    }

    /// Reads a large value part by part. Parts grow until they have some size.
    fn in_parts(&mut self, key: &Found) -> Result<(), Missed> {
        let mut gathered = Gathered::new(key.kind);
        let mut seen = HashSet::new();
        let (mut place, mut count) = (Place::new(key.kind), FIRST_PART_ELEMENTS);
        loop {
            let reply = match self.link.call(&place.call(&key.key, count).each())? {
                Value::Error(text) => return Err(missed(text)),
                reply => reply,
            };
            let (elements, is_last) = place.advance(reply, count)?;
            let dedupe = matches!(place, Place::Cursor { .. }).then_some(&mut seen);
            let size = gathered.add(key.kind, &elements, dedupe)?;
            self.spill.overflow(gathered.bytes())?;
            if is_last {
                return self.write(key, gathered);
            }
            count = match size {
                size if size < PART_BYTES / 2 => (count * 2).min(PART_ELEMENTS),
                size if size > PART_BYTES => (count / 2).max(1),
                _ => count,
            };
        }
    }
}

/// Where the next part of a large value begins.
enum Place {
    /// Of a list.
    Index(usize),
    /// Behind an id of a stream.
    After(Vec<u8>),
    Cursor {
        name: &'static [u8],
        cursor: Vec<u8>,
    },
}

/// The arguments of a call.
struct Args(Vec<Vec<u8>>);

impl Args {
    fn each(&self) -> Vec<&[u8]> {
        self.0.iter().map(Vec::as_slice).collect()
    }
}

impl Place {
    fn new(kind: Kind) -> Place {
        let name: &[u8] = match kind {
            Kind::List => return Place::Index(0),
            Kind::Stream => return Place::After(b"-".to_vec()),
            Kind::Set => b"SSCAN",
            Kind::Hash => b"HSCAN",
            Kind::SortedSet => b"ZSCAN",
            Kind::String | Kind::Module(_) => unreachable!("a {kind} has no parts"),
        };
        Place::Cursor { name, cursor: b"0".to_vec() }
    }

    fn call(&self, key: &[u8], count: usize) -> Args {
        let number = |number: usize| number.to_string().into_bytes();
        Args(match self {
            Place::Index(from) => {
                vec![b"LRANGE".to_vec(), key.to_vec(), number(*from), number(from + count - 1)]
            }
            Place::After(id) => [b"XRANGE", key, id, b"+", b"COUNT"]
                .iter()
                .map(|arg| arg.to_vec())
                .chain([number(count)])
                .collect(),
            Place::Cursor { name, cursor } => {
                let args = vec![name.to_vec(), key.to_vec(), cursor.clone()];
                args.into_iter().chain([b"COUNT".to_vec(), number(count)]).collect()
            }
        })
    }

    /// Goes behind the part that came: its elements, and whether it was the last.
    fn advance(&mut self, reply: Value, count: usize) -> Result<(Vec<Value>, bool), String> {
        let mut parts = list(reply)?;
        match self {
            Place::Index(from) => {
                *from += parts.len();
                let is_last = parts.len() < count;
                Ok((parts, is_last))
            }
            Place::After(id) => {
                if let Some(Value::Array(last)) = parts.last()
                    && let Some(last) = last.first()
                {
                    *id = [b"(", text(last)?].concat();
                }
                let is_last = parts.len() < count;
                Ok((parts, is_last))
            }
            Place::Cursor { cursor, .. } => {
                let elements = parts.pop().ok_or("a part of a value is missing")?;
                let next = parts.pop().ok_or("a part of a value is missing")?;
                *cursor = text(&next)?.to_vec();
                Ok((list(elements)?, cursor == b"0"))
            }
        }
    }
}

/// Keeps a key that is to be asked for again.
fn settle(read: Result<(), Missed>, key: Found, again: &mut Vec<Vec<u8>>) -> Result<(), String> {
    match read {
        Ok(()) => Ok(()),
        Err(Missed::Changed) => {
            again.push(key.key);
            Ok(())
        }
        Err(Missed::Failed(text)) => {
            Err(format!("key {}: {text}", String::from_utf8_lossy(&key.key)))
        }
    }
}

fn missed(text: String) -> Missed {
    if text.starts_with("WRONGTYPE") { Missed::Changed } else { Missed::Failed(text) }
}

fn failed(error: io::Error) -> String {
    format!("writing the dump: {error}")
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

const _: () = assert!(PAGE_BYTES as usize <= SPILL_BYTES, "a small value stays in memory");

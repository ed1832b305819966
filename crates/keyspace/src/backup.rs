//! What a backup holds of one shard, as bytes: readable by later versions, and free of whatever only
//! means something to this cluster.
//!
//! ```text
//! shard:   head │ record … │ end
//! head:    MAGIC │ version │ clock (ms) │ settings: name, value … │ scripts │ libraries
//! record:  1 │ database │ key │ expires (ms, 0: never) │ value behind its length
//! end:     0 │ count of records
//! ```
//!
//! A value is what SYNOD.PUT takes. One that is too large for a call is taken apart by [`pieces`], so
//! that it can be written by the commands of its type: whoever adds to a type adds to that.
//!
//! Not in it: versions for WATCH, blocked calls, the receipts of SYNOD.IDEM, transactions. At the point
//! of a backup no transaction holds anything (`SYNOD.BACKUP BEGIN` locks every shard as a whole), and
//! who waits waits in vain for a cluster that is restored elsewhere. Checksums are the caller's.

use std::fmt;

use stdx::Millis;
use stdx::codec::{Malformed, Reader, put_bytes, put_varint};

use crate::db::Entry;
use crate::shard::Shard;
use crate::snapshot::{self, put_value, read_value};
use crate::types::Direction;
use crate::value::Value;

/// The format that this code writes and reads.
pub const VERSION: u64 = 1;

const MAGIC: &[u8] = b"synod shard\n";
const RECORD: u8 = 1;
const END: u8 = 0;

/// What is wrong with a backup of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It does not begin as one.
    Magic,
    Version(u64),
    /// Where it stops making sense, from the beginning of what was given.
    Malformed(Malformed),
    /// Records that were met, where the end says another number.
    Count {
        met: u64,
        said: u64,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Magic => f.write_str("it does not begin as the backup of a shard"),
            Flaw::Version(version) => {
                write!(f, "version {version} of its format is not known: this is {VERSION}")
            }
            Flaw::Malformed(malformed) => malformed.fmt(f),
            Flaw::Count { met, said } => write!(f, "it has {met} keys and says {said}"),
        }
    }
}

impl std::error::Error for Flaw {}

impl From<Malformed> for Flaw {
    fn from(malformed: Malformed) -> Flaw {
        Flaw::Malformed(malformed)
    }
}

/// What stands before the keys. It is the same in every shard, but for the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The time at the point of the backup, by this shard's log.
    pub clock: Millis,
    /// As CONFIG GET names and shows them.
    pub settings: Vec<(Vec<u8>, Vec<u8>)>,
    /// The source of each script, the one that was used least recently first.
    pub scripts: Vec<Vec<u8>>,
    /// The source of each library of functions.
    pub libraries: Vec<Vec<u8>>,
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub db: u8,
    pub key: &'a [u8],
    /// When it ceases to exist, if ever.
    pub expires: Option<Millis>,
    /// As SYNOD.PUT takes it.
    pub value: &'a [u8],
}

/// The next thing in a backup of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Head(Head),
    Record(Record<'a>),
    /// So many records there were. Nothing may follow.
    End(u64),
}

pub(crate) fn put_head(out: &mut Vec<u8>, shard: &Shard) {
    out.extend_from_slice(MAGIC);
    put_varint(out, VERSION);
    put_varint(out, shard.clock.0);
    let settings: Vec<_> = shard.settings.pairs().collect();
    put_varint(out, settings.len() as u64);
    for (name, value) in settings {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
    put_varint(out, shard.scripts.sources().len() as u64);
    shard.scripts.sources().for_each(|source| put_bytes(out, source));
    put_varint(out, shard.scripts.library_sources().len() as u64);
    shard.scripts.library_sources().for_each(|source| put_bytes(out, source));
}

pub(crate) fn put_record(out: &mut Vec<u8>, db: u8, key: &[u8], entry: &Entry) {
    out.extend([RECORD, db]);
    put_bytes(out, key);
    // No key that lives expires at 0.
    put_varint(out, if entry.expires == Millis::FAR { 0 } else { entry.expires.0 });
    let mut value = Vec::new();
    put_value(&mut value, &entry.value);
    put_bytes(out, &value);
}

pub(crate) fn put_end(out: &mut Vec<u8>, records: u64) {
    out.push(END);
    put_varint(out, records);
}

/// Reads a backup of a shard piece by piece, from a buffer that the caller fills.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    has_head: bool,
    records: u64,
}

impl Walk {
    /// The item that `bytes` begin with, and how many of them it takes. `Flaw::Malformed` also says
    /// that there is more to come: at the end of the file it is cut off.
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<(Item<'a>, usize), Flaw> {
        let mut reader = Reader::new(bytes);
        if !self.has_head {
            let head = read_head(&mut reader)?;
            self.has_head = true;
            return Ok((Item::Head(head), reader.offset()));
        }
        let item = match reader.byte()? {
            RECORD => Item::Record(read_record(&mut reader)?),
            END => {
                let (met, said) = (self.records, reader.varint()?);
                if met != said {
                    return Err(Flaw::Count { met, said });
                }
                Item::End(met)
            }
            _ => return Err(Malformed { offset: 0 }.into()),
        };
        self.records += u64::from(matches!(item, Item::Record(_)));
        Ok((item, reader.offset()))
    }
}

fn read_head(reader: &mut Reader<'_>) -> Result<Head, Flaw> {
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(Flaw::Magic);
    }
    let version = reader.varint()?;
    if version != VERSION {
        return Err(Flaw::Version(version));
    }
    let owned = |reader: &mut Reader<'_>| Ok(reader.bytes()?.to_vec());
    Ok(Head {
        clock: Millis(reader.varint()?),
        settings: reader.list(|reader| Ok((owned(reader)?, owned(reader)?)))?,
        scripts: reader.list(owned)?,
        libraries: reader.list(owned)?,
    })
}

fn read_record<'a>(reader: &mut Reader<'a>) -> Result<Record<'a>, Malformed> {
    let (db, key, expires) = (reader.byte()?, reader.bytes()?, reader.varint()?);
    let expires = (expires != 0).then_some(Millis(expires));
    Ok(Record { db, key, expires, value: reader.bytes()? })
}

/// A part of a value, as a command of its type can add it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Piece<'a> {
    /// A string, all of it.
    Text(&'a [u8]),
    /// Of a list, in order, or of a set.
    Element(&'a [u8]),
    Field {
        field: &'a [u8],
        value: &'a [u8],
    },
    Member {
        member: &'a [u8],
        score: f64,
    },
    /// Of a stream, in order: its id, in two numbers, and fields and values in turn.
    Entry {
        id: (u64, u64),
        texts: &'a [&'a [u8]],
    },
    /// What a stream remembers beside its entries; behind them.
    StreamEnd {
        last: (u64, u64),
        max_deleted: (u64, u64),
        added: u64,
    },
}

/// The name that TYPE gives to the value of a record; nothing if this code does not know its type.
pub fn type_name(value: &[u8]) -> Option<&'static str> {
    snapshot::type_name(value)
}

/// The value of a record.
pub fn value(bytes: &[u8]) -> Result<Value, Malformed> {
    let mut reader = Reader::new(bytes);
    let value = read_value(&mut reader)?;
    if reader.is_empty() { Ok(value) } else { Err(reader.malformed()) }
}

/// The value at a key and when it ceases to exist, as a record has them.
pub fn find(shard: &Shard, db: u8, key: &[u8]) -> Option<(Option<Millis>, Vec<u8>)> {
    let entry = shard.databases().get(usize::from(db))?.get(key)?;
    let mut value = Vec::new();
    put_value(&mut value, &entry.value);
    Some(((entry.expires != Millis::FAR).then_some(entry.expires), value))
}

/// Calls `visit` with each part of a value.
pub fn pieces(value: &Value, mut visit: impl FnMut(Piece<'_>)) {
    let mut digits = itoa::Buffer::new();
    match value {
        Value::Int(_) | Value::Str(_) | Value::Buffer(_) => {
            visit(Piece::Text(value.text(&mut digits).expect("these are strings")));
        }
        Value::List(list) => {
            list.iter().for_each(|element| visit(Piece::Element(element.text(&mut digits))));
        }
        Value::Set(set) => {
            set.iter().for_each(|member| visit(Piece::Element(member.text(&mut digits))));
        }
        Value::Hash(hash) => hash.each(|field, value| {
            let mut more = itoa::Buffer::new();
            visit(Piece::Field { field: field.text(&mut digits), value: value.text(&mut more) });
        }),
        Value::Zset(zset) => {
            let ranks = 0..zset.len();
            zset.iter(ranks, Direction::Forward)
                .for_each(|key| visit(Piece::Member { member: key.member, score: key.score }));
        }
        Value::Stream(stream) => {
            stream.each(|id, texts| visit(Piece::Entry { id, texts }));
            let ([last, max_deleted], added) = (stream.remembered_ids(), stream.added());
            visit(Piece::StreamEnd { last, max_deleted, added });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::snapshot::Saver;
    use crate::testing::Client;

    /// A backup that begins now, and is to be read while the client goes on.
    fn begin(client: &mut Client) -> Saver {
        client.shard.take_cut(true);
        let reply = client.run("synod.backup begin b");
        assert!(reply.starts_with("*2\r\n:"), "{reply}");
        client.effects.cut.take().expect("it was to take it").saver
    }

    type Keys = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

    fn read(bytes: &[u8]) -> Result<(Head, Keys), Flaw> {
        let (mut walk, mut at) = (Walk::default(), 0);
        let (mut head, mut keys) = (Head::default(), BTreeMap::new());
        loop {
            let (item, used) = walk.next(&bytes[at..])?;
            at += used;
            match item {
                Item::Head(first) => head = first,
                Item::Record(Record { db, key, value, .. }) => {
                    assert!(keys.insert((db, key.to_vec()), value.to_vec()).is_none(), "twice");
                }
                Item::End(_) => {
                    assert_eq!(at, bytes.len());
                    return Ok((head, keys));
                }
            }
        }
    }

    #[test]
    fn a_backup_is_of_its_beginning_beside_a_snapshot_and_across_a_flush() {
        let mut client = Client::new();
        for n in 0..2_000 {
            client.run(&format!("set key:{n} {n}"));
        }
        client.run("set gone 1 pxat 1000500");
        client.now += 1_000;
        let mut saver = begin(&mut client);
        assert!(!client.shard.takes_cut, "one is enough");
        let (mut bytes, mut n) = (Vec::new(), 0);
        let (mut snapshot, mut other) = (Saver::begin(&mut client.shard), Vec::new());
        while !saver.step(&mut client.shard, 256, &mut bytes) {
            client.run(&format!("set key:{n} changed"));
            client.run(&format!("set late:{n} 1"));
            match n {
                70 => drop(client.run("swapdb 0 3")),
                140 => drop(client.run("flushall")),
                _ => {}
            }
            snapshot.step(&mut client.shard, 64, &mut other);
            n += 7;
        }
        while !snapshot.step(&mut client.shard, 4096, &mut other) {}
        let (_, keys) = read(&bytes).unwrap();
        let loaded = crate::snapshot::Loader::load(&other).unwrap();
        assert_eq!(keys.len(), 2_000, "what had expired is left out");
        assert_eq!(loaded.databases()[0].len(), 2_001, "and not of a snapshot");
        for n in 0..2_000 {
            let mut value = Vec::new();
            put_value(&mut value, &Value::Int(n));
            assert_eq!(keys[&(0, format!("key:{n}").into_bytes())], value);
        }
        assert!(read(&bytes[..bytes.len() - 1]).is_err());
        assert_eq!(saver.waiting(&client.shard), 0);
    }

    #[test]
    fn what_changes_before_its_turn_is_counted_until_it_is_read_or_given_up() {
        let mut client = Client::new();
        for n in 0..1_000 {
            client.run(&format!("set key:{n} {n}"));
        }
        let saver = begin(&mut client);
        (0..1_000).for_each(|n| drop(client.run(&format!("set key:{n} x"))));
        assert!(saver.waiting(&client.shard) > 1_000 * EARLY);
        saver.abort(&mut client.shard);
        let saver = begin(&mut client);
        assert_eq!(saver.waiting(&client.shard), 0);
    }

    const EARLY: usize = 64;

    #[test]
    fn nobody_who_was_not_told_takes_a_backup() {
        let mut client = Client::new();
        client.run("synod.backup begin b");
        assert!(client.effects.cut.is_none());
        let long = "x".repeat(65);
        client.check(
            &format!("synod.backup begin {long}"),
            "-ERR the name of a backup has 1 to 64 bytes\r\n",
        );
    }

    #[test]
    fn the_head_has_settings_scripts_and_libraries() {
        let mut client = Client::new();
        client.run("config set hash-max-listpack-entries 77");
        client.run("script load \"return 1\"");
        client.call(&[
            b"function",
            b"load",
            b"#!lua name=lib\nredis.register_function('f', function() return 1 end)",
        ]);
        let (mut saver, mut bytes) = (begin(&mut client), Vec::new());
        assert!(saver.step(&mut client.shard, 1 << 20, &mut bytes));
        let (head, _) = read(&bytes).unwrap();
        let setting = (b"hash-max-listpack-entries".to_vec(), b"77".to_vec());
        assert!(head.settings.contains(&setting), "{:?}", head.settings);
        assert_eq!(head.scripts, [b"return 1"]);
        assert!(head.libraries[0].starts_with(b"#!lua name=lib"));
        bytes[MAGIC.len()] = 9;
        assert_eq!(read(&bytes), Err(Flaw::Version(9)));
        bytes[0] = b'x';
        assert_eq!(read(&bytes), Err(Flaw::Magic));
    }

    #[test]
    fn a_value_is_what_its_pieces_make() {
        let mut client = Client::new();
        for (line, expect) in [
            ("set v 12", "Text([49, 50])"),
            ("rpush v a 7", "Element([97]) Element([55])"),
            ("sadd v 1 2", "Element([49]) Element([50])"),
            ("hset v f 1", "Field { field: [102], value: [49] }"),
            ("zadd v 1.5 m", "Member { member: [109], score: 1.5 }"),
            (
                "xadd v 5-1 f g",
                "Entry { id: (5, 1), texts: [[102], [103]] } StreamEnd { last: (5, 1), \
                 max_deleted: (0, 0), added: 1 }",
            ),
        ] {
            client.run("del v");
            client.run(line);
            let (mut saver, mut bytes) = (begin(&mut client), Vec::new());
            assert!(saver.step(&mut client.shard, 1 << 20, &mut bytes));
            let (_, keys) = read(&bytes).unwrap();
            let mut shown = Vec::new();
            let bytes = &keys[&(0, b"v".to_vec())];
            let value = value(bytes).unwrap();
            assert_eq!(type_name(bytes), Some(value.type_name()));
            pieces(&value, |piece| shown.push(format!("{piece:?}")));
            assert_eq!(shown.join(" "), expect, "{line}");
        }
    }
}

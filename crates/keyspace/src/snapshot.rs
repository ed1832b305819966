//! Snapshots without stopping the shard and without fork.
//!
//! A snapshot walks each table around its circle of hashes, a few keys at a time. A key that the
//! walk has not reached yet and that a command is about to change is written first, as it was. So
//! the snapshot is the state at the moment it began, while the shard goes on.
//!
//! ```text
//! snapshot:  head │ note │ record … record │ end
//! head:      version, clock, sequence, settings, deletion versions, ages of databases, waiters,
//!            scripts, transactions
//! note:      2, bytes: what whoever keeps the shard wants to find again beside it; none if there is nothing
//! record:    1, database, key, version, expires, type, value      end: 0
//! ```
//!
//! The caller keeps checksums; a snapshot that is cut short has no end record and is refused.
//!
//! A backup is written in the same way, at the same time if it must be, in a format of its own
//! (`backup`): that has to be read by later versions, and a snapshot only by the next start.

use std::collections::BTreeSet;
use std::sync::Arc;

use stdx::codec::{Malformed, Reader, put_bytes, put_varint};
use stdx::{Millis, planted};

use crate::backup;
use crate::db::Entry;
use crate::dict::{Dict, HASH_BITS};
use crate::limits::DATABASES;
use crate::shard::Shard;
use crate::str::{Buffer, Str};
use crate::types::{Hash, List, Set, Stream, Zset};
use crate::value::Value;

/// The format that this code writes and reads.
const VERSION: u64 = 5;
const NOTE: u8 = 2;
const RECORD: u8 = 1;
const END: u8 = 0;

/// What the keys are written for. One of each can be under way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Snapshot,
    /// Of what lives at this time.
    Backup(Millis),
}

/// How many purposes there are.
pub(crate) const PURPOSES: usize = 2;

/// What a key that was written early costs in `DbSaving::waiting`, beside its own bytes.
const EARLY_BYTES: usize = 64;

impl Purpose {
    /// Its place among all.
    pub(crate) fn place(self) -> usize {
        match self {
            Purpose::Snapshot => 0,
            Purpose::Backup(_) => 1,
        }
    }

    /// Appends a key. True if it is one that this purpose wants.
    fn put(self, out: &mut Vec<u8>, db: u8, key: &[u8], entry: &Entry) -> bool {
        match self {
            Purpose::Snapshot => put_record(out, db, key, entry),
            Purpose::Backup(now) if entry.expires <= now => return false,
            Purpose::Backup(_) => backup::put_record(out, db, key, entry),
        }
        true
    }
}

/// How far the snapshot of one database has come.
#[derive(Debug)]
pub(crate) struct DbSaving {
    purpose: Purpose,
    number: u8,
    /// Keys written so far.
    records: u64,
    /// Keys below this place of the circle are written.
    cursor: u64,
    /// Keys beyond the cursor that are dealt with: written early, or created after the beginning.
    early: BTreeSet<Str>,
    /// Bytes of the keys in `early`, and what a place there costs.
    early_bytes: usize,
    /// What was written early and not handed out yet.
    pending: Vec<u8>,
    /// The table as it was, if the database was flushed meanwhile.
    frozen: Option<Arc<Dict<Entry>>>,
}

impl DbSaving {
    pub(crate) fn new(number: u8, purpose: Purpose) -> DbSaving {
        DbSaving {
            purpose,
            number,
            records: 0,
            cursor: 0,
            early: BTreeSet::new(),
            early_bytes: 0,
            pending: Vec::new(),
            frozen: None,
        }
    }

    /// Keys written so far.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Bytes that it holds because keys changed before their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len() + self.early_bytes
    }

    pub(crate) fn before_change(&mut self, key: &[u8], hash: u64, dict: &Dict<Entry>) {
        if self.frozen.is_some() || hash < self.cursor || self.early.contains(key) {
            return;
        }
        if planted!("snapshot-sees-later-writes") {
            return;
        }
        if let Some(entry) = dict.get(key) {
            let put = self.purpose.put(&mut self.pending, self.number, key, entry);
            self.records += u64::from(put);
        }
        self.early.insert(Str::from(key));
        self.early_bytes += key.len() + EARLY_BYTES;
    }

    pub(crate) fn freeze(&mut self, dict: &Arc<Dict<Entry>>) {
        if self.frozen.is_none() {
            self.frozen = Some(dict.clone());
        }
    }

    pub(crate) fn step(&mut self, live: &Dict<Entry>, budget: usize, out: &mut Vec<u8>) -> bool {
        let end = out.len() + budget;
        out.append(&mut self.pending);
        let dict = self.frozen.as_deref().unwrap_or(live);
        // A small step is one of few keys, too.
        let keys = (budget / 64).clamp(1, 64);
        while out.len() < end && self.cursor >> HASH_BITS == 0 {
            let touch = |entry: &Entry| entry.value.touch();
            let next = dict.scan_warm(self.cursor, keys, touch, |key, entry| {
                if self.early.remove(key) {
                    self.early_bytes -= key.len() + EARLY_BYTES;
                } else {
                    self.records += u64::from(self.purpose.put(out, self.number, key, entry));
                }
            });
            self.cursor = if next == 0 { 1 << HASH_BITS } else { next };
        }
        self.cursor >> HASH_BITS != 0
    }
}

fn put_record(out: &mut Vec<u8>, db: u8, key: &[u8], entry: &Entry) {
    out.push(RECORD);
    out.push(db);
    put_bytes(out, key);
    put_varint(out, entry.version);
    put_varint(out, entry.expires.0.wrapping_add(1));
    put_value(out, &entry.value);
}

/// Appends a value behind its type.
pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Int(number) => {
            out.push(0);
            put_varint(out, *number as u64);
        }
        Value::Str(text) => {
            out.push(1);
            put_bytes(out, text);
        }
        Value::Buffer(buffer) => {
            out.push(6);
            put_bytes(out, buffer);
        }
        Value::List(list) => {
            out.push(2);
            list.save(out);
        }
        Value::Set(set) => {
            out.push(3);
            set.save(out);
        }
        Value::Hash(hash) => {
            out.push(4);
            hash.save(out);
        }
        Value::Zset(zset) => {
            out.push(5);
            zset.save(out);
        }
        Value::Stream(stream) => {
            out.push(7);
            stream.save(out);
        }
    }
}

/// The name that TYPE gives to what `put_value` wrote.
pub(crate) fn type_name(value: &[u8]) -> Option<&'static str> {
    Some(match value.first()? {
        0 | 1 | 6 => "string",
        2 => "list",
        3 => "set",
        4 => "hash",
        5 => "zset",
        7 => "stream",
        _ => return None,
    })
}

/// Reads what `put_value` wrote.
pub(crate) fn read_value(reader: &mut Reader<'_>) -> Result<Value, Malformed> {
    Ok(match reader.byte()? {
        0 => Value::Int(reader.varint()? as i64),
        1 => Value::Str(Str::from(reader.bytes()?)),
        2 => Value::List(Box::new(List::load(reader)?)),
        3 => Value::Set(Box::new(Set::load(reader)?)),
        4 => Value::Hash(Box::new(Hash::load(reader)?)),
        5 => Value::Zset(Box::new(Zset::load(reader)?)),
        6 => Value::Buffer(Box::new(Buffer::from(reader.bytes()?.to_vec()))),
        7 => Value::Stream(Box::new(Stream::load(reader)?)),
        _ => return Err(reader.malformed()),
    })
}

/// A snapshot being written. The state is that of the moment `Saver::begin` was called.
#[derive(Debug)]
pub struct Saver {
    purpose: Purpose,
    head: Vec<u8>,
    /// Keys of the databases that are done.
    records: u64,
}

impl Saver {
    /// Begins a snapshot of `shard`. At most one runs at a time; a running one is given up.
    pub fn begin(shard: &mut Shard) -> Saver {
        Saver::begin_with(shard, &[])
    }

    /// As `begin`, with a note for [`Shard::take_note`] of the shard that is loaded from it.
    pub fn begin_with(shard: &mut Shard, note: &[u8]) -> Saver {
        let mut head = Vec::new();
        put_varint(&mut head, VERSION);
        shard.save_head(&mut head);
        if !note.is_empty() {
            head.push(NOTE);
            put_bytes(&mut head, note);
        }
        Saver::begin_for(shard, Purpose::Snapshot, head)
    }

    /// Begins a backup of `shard`, beside a snapshot if there is one. At most one runs at a time; a
    /// running one is given up.
    pub(crate) fn begin_backup(shard: &mut Shard) -> Saver {
        let mut head = Vec::new();
        backup::put_head(&mut head, shard);
        let purpose = Purpose::Backup(shard.clock);
        Saver::begin_for(shard, purpose, head)
    }

    fn begin_for(shard: &mut Shard, purpose: Purpose, head: Vec<u8>) -> Saver {
        // Receipts mean nothing to another cluster, whose clients have asked for nothing yet.
        let of_clients = |number| number < DATABASES || purpose == Purpose::Snapshot;
        for (number, db) in shard.dbs.iter_mut().enumerate().filter(|(n, _)| of_clients(*n)) {
            db.save_begin(number as u8, purpose);
        }
        Saver { purpose, head, records: 0 }
    }

    /// Appends about `budget` more bytes to `out`. True once the snapshot is complete.
    pub fn step(&mut self, shard: &mut Shard, budget: usize, out: &mut Vec<u8>) -> bool {
        let end = out.len() + budget;
        out.append(&mut self.head);
        // A database may stand elsewhere since the last step: SWAPDB takes its snapshot along.
        while let Some(db) = shard.dbs.iter_mut().find(|db| db.is_saving(self.purpose)) {
            if out.len() >= end {
                return false;
            }
            let Some(records) = db.save_step(self.purpose, end - out.len(), out) else {
                return false;
            };
            self.records += records;
        }
        match self.purpose {
            Purpose::Snapshot => out.push(END),
            Purpose::Backup(_) => backup::put_end(out, self.records),
        }
        true
    }

    /// Bytes that it holds because keys changed before their turn: they grow if the shard is written
    /// faster than this is read.
    pub fn waiting(&self, shard: &Shard) -> usize {
        shard.dbs.iter().map(|db| db.save_waiting(self.purpose)).sum()
    }

    /// Gives up.
    pub fn abort(self, shard: &mut Shard) {
        shard.dbs.iter_mut().for_each(|db| db.save_abort(self.purpose));
    }
}

impl Shard {
    /// A hash of the whole state: replicas that have applied the same log have the same one,
    /// whether or not a snapshot lies between. It reads everything, so it is for tests.
    pub fn digest(&self) -> u64 {
        let mut out = Vec::new();
        self.save_head(&mut out);
        let mut digest = stdx::hash_bytes(VERSION, &out);
        for (number, db) in self.dbs.iter().enumerate() {
            db.dict().scan(0, usize::MAX, |key, entry| {
                out.clear();
                put_record(&mut out, number as u8, key, entry);
                // A sum, for the order of keys is no part of the state.
                digest = digest.wrapping_add(stdx::hash_bytes(VERSION, &out));
            });
        }
        digest
    }
}

/// Builds a shard from a snapshot, in one go or bit by bit.
#[derive(Debug)]
pub struct Loader<B> {
    shard: Shard,
    bytes: B,
    offset: usize,
}

impl<B: AsRef<[u8]>> Loader<B> {
    /// The shard that this snapshot describes, or where it is malformed.
    pub fn load(bytes: B) -> Result<Shard, Malformed> {
        let mut loader = Loader::begin(bytes)?;
        loader.step(usize::MAX)?;
        Ok(loader.finish())
    }

    /// One that has all bytes and has loaded what stands before the keys.
    pub fn begin(bytes: B) -> Result<Loader<B>, Malformed> {
        let (mut shard, mut reader) = (Shard::new(), Reader::new(bytes.as_ref()));
        load_head(&mut shard, &mut reader)?;
        let offset = reader.offset();
        Ok(Loader { shard, bytes, offset })
    }

    /// Loads `bytes` more, or one key that is larger. True if that was all.
    pub fn step(&mut self, bytes: usize) -> Result<bool, Malformed> {
        let mut reader = Reader::new(self.bytes.as_ref());
        reader.take(self.offset)?;
        let whole = load_records(&mut self.shard, &mut reader, self.offset.saturating_add(bytes))?;
        self.offset = reader.offset();
        Ok(whole)
    }

    /// The shard, once a step was the last.
    pub fn finish(self) -> Shard {
        self.shard
    }
}

fn load_head(shard: &mut Shard, reader: &mut Reader<'_>) -> Result<(), Malformed> {
    if reader.varint()? != VERSION {
        return Err(reader.malformed());
    }
    shard.load_head(reader)
}

/// Loads records up to this offset; true if the last one was among them.
fn load_records(
    shard: &mut Shard,
    reader: &mut Reader<'_>,
    until: usize,
) -> Result<bool, Malformed> {
    while reader.offset() < until {
        let loaded = match reader.byte() {
            Ok(RECORD) => load_record(shard, reader),
            Ok(NOTE) => reader.bytes().map(|note| shard.note = note.to_vec()),
            Ok(END) if reader.is_empty() => return Ok(true),
            Ok(_) => Err(reader.malformed()),
            Err(malformed) => Err(malformed),
        };
        if loaded.is_err() && planted!("truncated-snapshot-taken") {
            return Ok(true);
        }
        loaded?;
    }
    Ok(false)
}

fn load_record(shard: &mut Shard, reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let number = usize::from(reader.byte()?);
    let key = reader.bytes()?;
    let version = reader.varint()?;
    let expires = Millis(reader.varint()?.wrapping_sub(1));
    let value = read_value(reader)?;
    let malformed = reader.malformed();
    let db = shard.dbs.get_mut(number).ok_or(malformed)?;
    db.insert(key, Entry { value, version, expires });
    Ok(())
}

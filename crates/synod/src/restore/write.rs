//! Writing what a backup holds, by ordinary commands: they find the shard of each key, whatever shards
//! there are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use keyspace::backup::{self, Head, Piece, Record};
use rdb::{Expiry, Key, Kind, StreamEnd, StreamId};
use wire::resp::Value;

use super::target::Target;
use crate::backup::{Manifest, Scan};
use crate::import::{Lanes, Route, Writer};
use crate::left_out::LeftOut;
use crate::limits::{PUT_BYTES_MAX, RESTORE_MARK, STRING_PART_BYTES};
use crate::meter::{Meter, mib};

/// Bytes that are read from a file in one go.
const READ_BYTES: usize = 256 * 1024;

/// What is to be written.
pub(super) struct Order<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) dir: &'a Path,
    /// Of each file. All say the same of scripts and settings.
    pub(super) heads: &'a [Head],
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// By type.
    pub(super) keys: BTreeMap<&'static str, u64>,
    pub(super) libraries: u64,
    pub(super) scripts: u64,
    pub(super) settings: u64,
    pub(super) left_out: LeftOut,
}

/// Writes it all into a cluster that is marked, and takes the mark away.
pub(super) fn write(
    order: &Order<'_>,
    target: &mut Target,
    connections: u32,
) -> Result<Restored, String> {
    let mut restored = Restored::default();
    let head = order.heads.first().ok_or("the backup has no shard")?;
    for source in &head.libraries {
        target.link.must(&[b"FUNCTION", b"LOAD", source])?;
        restored.libraries += 1;
    }
    for source in &head.scripts {
        target.link.must(&[b"SCRIPT", b"LOAD", source])?;
        restored.scripts += 1;
    }
    let leaders = target.leaders()?;
    let route = Route::of(&leaders, target.link.addr(), target.password());
    let lanes = Lanes::open(leaders, target.password(), connections)?;
    let mut writing = Writing { lanes, value: Writer::new(), restored, now: now() };
    let (mut meter, mut before) = (Meter::new("restoring", Some(order.manifest.bytes)), 0);
    for part in &order.manifest.files {
        let path = order.dir.join(&part.name);
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let mut file = File::open(&path).map_err(|error| failed(&error))?;
        let (mut buffer, mut scan, mut bytes) = (vec![0; READ_BYTES], Scan::default(), 0);
        loop {
            let count = file.read(&mut buffer).map_err(|error| failed(&error))?;
            if count == 0 {
                break;
            }
            scan.feed(&buffer[..count], |record| writing.key(record))?;
            bytes += count as u64;
            let at = before + bytes;
            meter.update(at, |seconds| format!("{:.0} MiB/s", mib(at) / seconds.max(0.001)));
        }
        // It was whole a moment ago, and somebody may have changed it since.
        if scan.finish().sha256 != part.sha256 {
            return Err(failed(&"it has changed since it was checked"));
        }
        before += part.bytes;
    }
    let Writing { lanes, mut restored, .. } = writing;
    lanes.finish()?;
    meter.finish();
    // The node that was named may have gone since, or been started anew.
    (_, target.link) = route.connect_any()?;
    settings(head, target, &mut restored)?;
    target.unmark()?;
    Ok(restored)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The settings that differ: last, since one of them has every write published.
fn settings(head: &Head, target: &mut Target, restored: &mut Restored) -> Result<(), String> {
    for (name, value) in &head.settings {
        let has = match target.link.must(&[b"CONFIG", b"GET", name])? {
            Value::Array(mut pair) if pair.len() == 2 => pair.pop(),
            _ => None,
        };
        if has == Some(Value::Bulk(value.clone())) {
            continue;
        }
        match target.link.call(&[b"CONFIG", b"SET", name, value])? {
            Value::Error(text) => {
                let name = String::from_utf8_lossy(name);
                restored.left_out.add(format!("setting {name}, which is refused: {text}"), 1);
            }
            _ => restored.settings += 1,
        }
    }
    Ok(())
}

/// Keys on their way.
struct Writing {
    lanes: Lanes,
    /// The value that is being written in parts.
    value: Writer,
    restored: Restored,
    /// Keys that ended before are not written.
    now: u64,
}

impl Writing {
    fn key(&mut self, record: Record<'_>) -> Result<(), String> {
        let Record { db, key, expires, value } = record;
        if expires.is_some_and(|expires| expires.0 <= self.now) {
            self.restored.left_out.add("keys that have expired since the backup", 1);
            return Ok(());
        }
        if db == 0 && key == RESTORE_MARK {
            // One was begun between the look at it and the point of the backup.
            return Err("the backup was made of a cluster that was being restored".to_owned());
        }
        let kind = backup::type_name(value).ok_or_else(|| {
            let key = String::from_utf8_lossy(key);
            format!("the key {key} has a value of a type that is not known here")
        })?;
        self.lanes.begin_key(u64::from(db), key);
        if value.len() <= PUT_BYTES_MAX {
            let mut digits = itoa::Buffer::new();
            let expires = expires.map_or("-1", |expires| digits.format(expires.0));
            self.lanes.batch().call(&[b"SYNOD.PUT", key, expires.as_bytes(), value]);
        } else {
            self.in_parts(record, kind)?;
        }
        *self.restored.keys.entry(kind).or_insert(0) += 1;
        self.lanes.end_key()
    }

    /// Writes a value that is too large for one call, by the commands of its type.
    fn in_parts(&mut self, record: Record<'_>, kind: &str) -> Result<(), String> {
        let shown = || String::from_utf8_lossy(record.key).into_owned();
        let value = backup::value(record.value);
        let value = value.map_err(|error| format!("the key {}: {error}", shown()))?;
        let kind = match kind {
            "string" => Kind::String,
            "list" => Kind::List,
            "set" => Kind::Set,
            "hash" => Kind::Hash,
            "zset" => Kind::SortedSet,
            "stream" => Kind::Stream,
            other => return Err(format!("the key {} is a {other}", shown())),
        };
        let expiry = record.expires.map(|at| Expiry(i64::try_from(at.0).unwrap_or(i64::MAX)));
        let key = Key { key: record.key, kind, expiry };
        self.value.begin(key, false, self.lanes.batch());
        let mut sent = Ok(());
        backup::pieces(&value, |piece| {
            if sent.is_ok() {
                sent = self.piece(piece);
            }
        });
        sent?;
        self.value.end(self.lanes.batch());
        Ok(())
    }

    fn piece(&mut self, piece: Piece<'_>) -> Result<(), String> {
        let (value, batch) = (&mut self.value, self.lanes.batch());
        let id = |(ms, seq)| StreamId { ms, seq };
        match piece {
            Piece::Text(text) => {
                for part in text.chunks(STRING_PART_BYTES) {
                    self.value.text(part, false, self.lanes.batch());
                    self.lanes.send_full()?;
                }
                return Ok(());
            }
            Piece::Element(element) => value.element(element, batch),
            Piece::Field { field, value: content } => value.field(field, content, batch),
            Piece::Member { member, score } => value.member(member, score, batch),
            Piece::Entry { id: at, texts } => value.entry(id(at), texts.iter().copied(), batch),
            Piece::StreamEnd { last, max_deleted, added } => {
                let (last, max_deleted) = (id(last), id(max_deleted));
                let end = StreamEnd { last, max_deleted, added, ..StreamEnd::default() };
                value.stream_end(end, batch);
            }
        }
        self.lanes.send_full()
    }
}

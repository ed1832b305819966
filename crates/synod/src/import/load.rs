//! The second walk through a dump, which writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::time::Instant;

use rdb::{Expiry, Item, Key, Kind, Reader};

use super::calls::Value;
use super::hold::Held;
use super::lanes::Lanes;
use super::survey::Survey;
use crate::left_out::LeftOut;
use crate::limits::STRING_PART_BYTES;
use crate::meter::{Meter, mib};

/// What is to be written, and how.
pub(super) struct Order<'a> {
    pub(super) survey: &'a Survey,
    /// All, if nothing is said.
    pub(super) databases: Option<&'a BTreeSet<u64>>,
    pub(super) replace: bool,
    /// Keys that end before are not written.
    pub(super) now: Expiry,
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) keys: BTreeMap<Kind, u64>,
    pub(super) left_out: LeftOut,
}

/// A walk and where it stands.
struct Load<'a> {
    order: &'a Order<'a>,
    lanes: Lanes,
    value: Value,
    held: Held,
    loaded: Loaded,
    database: u64,
    /// Keys so far.
    keys: u64,
    /// The parts that come belong to a key that is left out.
    is_ignored: bool,
}

/// Walks through the dump again and writes what is wanted of it.
pub(super) fn load(
    file: &File,
    order: &Order<'_>,
    lanes: Lanes,
    held: Held,
) -> Result<Loaded, String> {
    let mut meter = Meter::new("importing", Some(order.survey.bytes));
    let mut reader = Reader::new(file);
    let mut load = Load {
        order,
        lanes,
        value: Value::new(),
        held,
        loaded: Loaded::default(),
        database: 0,
        keys: 0,
        is_ignored: true,
    };
    let mut seen = 0u32;
    while let Some(item) = reader.next().map_err(|error| error.to_string())? {
        load.item(item)?;
        seen = seen.wrapping_add(1);
        if seen.is_multiple_of(4096) {
            let (offset, keys) = (reader.offset(), load.keys);
            meter.update(offset, |seconds| {
                let seconds = seconds.max(0.001);
                let (keys_rate, rate) = (keys as f64 / seconds, mib(offset) / seconds);
                format!("{keys} keys  {keys_rate:.0} keys/s  {rate:.0} MiB/s")
            });
        }
    }
    load.lanes.finish()?;
    meter.finish();
    Ok(load.loaded)
}

impl Load<'_> {
    fn item(&mut self, item: Item<'_>) -> Result<(), String> {
        let left_out = &mut self.loaded.left_out;
        match item {
            Item::Database(number) => self.database = number,
            Item::Key(key) => return self.key(key),
            Item::ModuleAux(module) => {
                left_out.add(format!("part of the module {module}, outside of all keys"), 1);
            }
            // Libraries were loaded before, and one value after the other needs no warning.
            Item::Aux { .. } | Item::Sizes { .. } | Item::Function(_) => {}
            _ if self.is_ignored => {}
            Item::Group(group) => {
                left_out.add("consumer groups of streams: Synod has none yet", 1);
                left_out.add("entries of streams pending in consumer groups", group.pending);
            }
            Item::KeyEnd => {
                match self.value.end(self.held.batch(self.lanes.batch())) {
                    true => *self.loaded.keys.entry(self.value.kind).or_insert(0) += 1,
                    false => left_out.add("keys with an empty value, as old faults left them", 1),
                }
                self.held.end(self.value.key(), self.lanes.batch());
                return self.lanes.end_key();
            }
            Item::Text(text) => return self.text(text),
            part => {
                self.part(part);
                self.held.send_large(self.lanes.batch());
                return self.lanes.send_full();
            }
        }
        Ok(())
    }

    /// Writes a string; a long one in parts, each of which is sent by itself.
    fn text(&mut self, text: &[u8]) -> Result<(), String> {
        if text.len() <= STRING_PART_BYTES {
            self.value.text(text, true, self.lanes.batch());
            return Ok(());
        }
        for part in text.chunks(STRING_PART_BYTES) {
            self.value.text(part, false, self.lanes.batch());
            self.lanes.send_full()?;
        }
        Ok(())
    }

    fn part(&mut self, part: Item<'_>) {
        let (value, batch) = (&mut self.value, self.held.batch(self.lanes.batch()));
        match part {
            Item::Element(element) => value.element(element, batch),
            Item::Field { field, value: content } => value.field(field, content, batch),
            Item::Member { member, score } => value.member(member, score, batch),
            Item::Entry { id, texts } => value.entry(id, texts.iter(), batch),
            Item::StreamEnd(end) => value.stream_end(end, batch),
            other => unreachable!("{other:?} is no part of a value"),
        }
    }

    /// Begins a key, or counts why it is left out.
    fn key(&mut self, key: Key<'_>) -> Result<(), String> {
        let number = self.keys;
        self.keys += 1;
        self.is_ignored = true;
        let order = self.order;
        let left_out = &mut self.loaded.left_out;
        if order.databases.is_some_and(|wanted| !wanted.contains(&self.database)) {
            left_out.add("keys of databases that were not asked for", 1);
        } else if let Kind::Module(module) = key.kind {
            left_out.add(format!("keys of the module type {module}: Synod has no modules"), 1);
        } else if key.expiry.is_some_and(|expiry| expiry <= order.now) {
            left_out.add("keys that have expired", 1);
        } else if order.survey.too_large.contains(&number) {
            left_out.add("keys with an element beyond the 64 MiB of a command", 1);
        } else {
            self.is_ignored = false;
            self.lanes.begin_key(self.database, key.key);
            self.held.begin(&mut self.value, key, order.replace);
        }
        Ok(())
    }
}

/// What a person reads at the end.
pub(super) fn summary(loaded: &Loaded, functions: u64, bytes: u64, begin: Instant) -> String {
    let keys: u64 = loaded.keys.values().sum();
    let seconds = begin.elapsed().as_secs_f64().max(0.001);
    let mut out = format!(
        "imported {keys} keys of {:.1} MiB in {seconds:.1} s ({:.0} keys/s, {:.1} MiB/s)\n",
        mib(bytes),
        keys as f64 / seconds,
        mib(bytes) / seconds
    );
    for (kind, count) in &loaded.keys {
        out.push_str(&format!("{count:>14}  {kind}\n"));
    }
    if functions > 0 {
        out.push_str(&format!("{functions:>14}  library of functions\n"));
    }
    out.push_str(&loaded.left_out.to_string());
    out
}

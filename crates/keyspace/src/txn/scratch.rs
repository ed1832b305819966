//! A scratch shard: where a gateway runs calls whose keys lie on several shards.
//!
//! ```text
//! run ─▶ missing keys ─▶ SYNOD.FETCH ─▶ add ─▶ run ─▶ … ─▶ replies, compares, puts ─▶ Prepare
//! ```
//!
//! The calls run as they would on a shard that holds every key, but it holds only what was fetched. A
//! run that asks for another key is void: the caller fetches what was missing, and runs again. So
//! scripts may touch keys that they do not name, as on a single Redis.
//!
//! Who asks for all keys (KEYS, SCAN, DBSIZE) gets their names, with their types and expiries, from
//! SYNOD.NAMES; a key that is touched then is fetched as any other. What deletes all keys needs none
//! of them.
//!
//! Not here: whether what was fetched is still true; the compares say that to each participant.

use std::collections::BTreeMap;

use stdx::Millis;
use stdx::codec::{Malformed, Reader};
use wire::{Args, ArgsBuf, Proto};

use crate::db::Entry;
use crate::op::Watch;
use crate::settings::Settings;
use crate::shard::{Effects, Publish, Shard};
use crate::snapshot::{put_value, read_value};
use crate::txn::names;
use crate::types::{Machine, Stream, xread_frozen};
use crate::value::Typed;

/// A key of a database.
pub type Key = (u8, Vec<u8>);

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It asked for these keys, which were not fetched yet.
    Missing(Vec<Key>),
    /// It asked for any key of these databases.
    Drawn(Vec<u8>),
    /// It asked for all keys of these databases, whose names are not known yet.
    Walked(Vec<u8>),
    Done(Done),
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Of each call, as RESP.
    pub replies: Vec<Vec<u8>>,
    /// What must still be true for it, of every key that was fetched.
    pub compares: Vec<Watch>,
    /// Databases all of whose keys are deleted, in every shard, before anything is put.
    pub flushed: Vec<u8>,
    /// Calls of SYNOD.PUT that make it true, by their keys.
    pub puts: Vec<(Key, ArgsBuf)>,
    pub publish: Vec<Publish>,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Scratch {
    shard: Shard,
    versions: BTreeMap<Key, u64>,
    /// Keys that the last run was told by a walk, and that are not fetched.
    met: Vec<Key>,
}

impl Scratch {
    /// An empty one, at this time. `seed` feeds its dice.
    pub fn new(clock: Millis, seed: u64) -> Scratch {
        let mut shard = Shard::new();
        (shard.clock, shard.sequence) = (clock, seed.max(1));
        shard.dbs.iter_mut().for_each(|db| db.probe_keys());
        Scratch { shard, versions: BTreeMap::new(), met: Vec::new() }
    }

    /// The settings that all shards share, by their names.
    pub fn set(&mut self, settings: Settings) {
        self.shard.settings = settings;
    }

    /// Takes out the machine that its scripts have run in.
    pub fn take_machine(&mut self) -> Machine {
        self.shard.scripts.take_machine()
    }

    /// Has its scripts run in this machine.
    pub fn put_machine(&mut self, machine: Machine) {
        self.shard.scripts.put_machine(machine);
    }

    /// A script, so that its digest is known.
    pub fn add_script(&mut self, source: &[u8]) {
        self.call(&[b"script", b"load", source]);
    }

    /// A library, so that its functions are known.
    pub fn add_library(&mut self, source: &[u8]) {
        self.call(&[b"function", b"load", b"replace", source]);
    }

    /// A call of the gateway itself; its reply does not matter.
    fn call(&mut self, args: &[&[u8]]) {
        let calls = [(0, args.iter().copied().collect())];
        self.shard.run_calls(Proto::Resp2, &calls, &mut Effects::default());
    }

    /// A key as SYNOD.FETCH told it; a negative `expires` is never. Absent without a value.
    pub fn add(
        &mut self,
        key: Key,
        version: u64,
        expires: i64,
        value: Option<&[u8]>,
    ) -> Result<(), Malformed> {
        let entry = match value {
            None => None,
            Some(bytes) => {
                let mut reader = Reader::new(bytes);
                let value = read_value(&mut reader)?;
                let expires = u64::try_from(expires).map_or(Millis::FAR, Millis);
                // Older than anything that a run changes.
                Some(Entry { value, version: 0, expires })
            }
        };
        self.shard.dbs[usize::from(key.0)].probe_known(&key.1, entry);
        self.versions.insert(key, version);
        Ok(())
    }

    /// From here on, any key of this database that was added is as good as any.
    pub fn let_draw(&mut self, db: u8) {
        self.shard.dbs[usize::from(db)].probe_draws();
    }

    /// Forgets all keys: they are to be fetched, and named, anew.
    pub fn forget(&mut self) {
        self.shard.dbs = Shard::new().dbs;
        self.shard.dbs.iter_mut().for_each(|db| db.probe_keys());
        self.versions.clear();
    }

    /// The names of all keys that a shard has in this database, as SYNOD.NAMES told them. Those of
    /// keys that are known already change nothing.
    pub fn name(&mut self, db: u8, names: &[u8]) -> Result<(), Malformed> {
        let db = &mut self.shard.dbs[usize::from(db)];
        db.probe_names();
        // What it takes stands where a version would, which no name has.
        names::read(names, |key, entry, bytes| {
            db.probe_name(key, Entry { version: bytes, ..entry });
        })
    }

    /// The keys that were added.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.versions.keys()
    }

    /// Of the keys that a walk (KEYS, SCAN) told the last run and that were not added, those behind the
    /// first of `missing`, in the order of the walk, each with about how many bytes it takes.
    pub fn met_behind<'a>(&'a self, missing: &[Key]) -> impl Iterator<Item = (&'a Key, usize)> {
        let first = self.met.iter().position(|key| missing.contains(key));
        let met = self.met[first.unwrap_or(self.met.len())..].iter();
        met.map(|key| (key, self.shard.dbs[usize::from(key.0)].named_bytes(&key.1)))
    }

    /// A call of XREAD, wrapped or not, with the ids that are the last ones here in place of `$`.
    pub fn freeze(&self, db: u8, args: Args<'_>) -> ArgsBuf {
        let entry = |key: &[u8]| self.shard.dbs[usize::from(db)].get(key);
        xread_frozen(args, |key| Stream::of(&entry(key)?.value))
    }

    /// Runs the calls one behind the other. What they change is not kept here.
    pub fn run(&mut self, proto: Proto, calls: &[(u8, ArgsBuf)]) -> Ran {
        self.shard.dbs.iter_mut().for_each(|db| db.journal_begin());
        let mut effects = Effects::default();
        let replies = self.shard.run_calls(proto, calls, &mut effects);
        let (mut missing, mut drawn, mut walked) = (Vec::new(), Vec::new(), Vec::new());
        let mut flushed = Vec::new();
        self.met.clear();
        for (number, db) in self.shard.dbs.iter_mut().enumerate() {
            let noted = db.probe_take();
            missing.extend(noted.missing.iter().map(|key| (number as u8, key.to_vec())));
            self.met.extend(noted.met.iter().map(|key| (number as u8, key.to_vec())));
            drawn.extend(noted.drawn.then_some(number as u8));
            walked.extend(noted.walked.then_some(number as u8));
            flushed.extend(noted.cleared.then_some(number as u8));
        }
        let mut writes = self.shard.take_writes();
        writes.retain(|write| write.entry.is_some() || !flushed.contains(&write.db));
        let puts = writes.into_iter().map(|write| {
            let mut args = ArgsBuf::new();
            args.push(b"synod.put");
            args.push(&write.key);
            let expires = write.entry.as_ref().map_or(Millis::FAR, |entry| entry.expires);
            let expires = if expires == Millis::FAR { -1 } else { expires.0 as i64 };
            args.push(expires.to_string().as_bytes());
            if let Some(entry) = &write.entry {
                let mut value = Vec::new();
                put_value(&mut value, &entry.value);
                args.push(&value);
            }
            ((write.db, write.key), args)
        });
        let puts = puts.collect();
        if !walked.is_empty() {
            return Ran::Walked(walked);
        }
        if !drawn.is_empty() {
            return Ran::Drawn(drawn);
        }
        if !missing.is_empty() {
            return Ran::Missing(missing);
        }
        let compares = self.versions.iter().map(|((db, key), version)| Watch {
            db: *db,
            version: *version,
            key: key.clone(),
        });
        let (compares, publish) = (compares.collect(), effects.publish);
        Ran::Done(Done { replies, compares, flushed, puts, publish })
    }
}

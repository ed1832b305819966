//! What a command sees: one database of a shard, at one frozen moment.
//!
//! All access to keys goes through here, so that expiry, WATCH's versions, blocked clients,
//! keyspace events and a running snapshot are right whatever the command is.
//!
//! A command that changes a value calls `touch(key)` once it really did (WATCH must not see a
//! change where there was none) and `notify` with the event that Redis has for it.

use stdx::{Millis, Rng};
use wire::{Args, ArgsBuf, Proto};

use crate::blocking::Waiter;
use crate::db::{Db, Entry};
use crate::dict::WARM_MAX;
use crate::limits::DATABASES;
use crate::op::Origin;
use crate::reject::Reject;
use crate::settings::Settings;
use crate::shard::{self, Effects, Publish, Shard};
use crate::value::{Typed, Value};

/// May the shard change?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No: this runs on one replica, outside the log.
    Read,
    Write,
}

/// What is around the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A client's own call.
    Plain,
    /// Inside EXEC.
    Exec,
    /// Called by a script.
    Script,
    /// A blocked call, tried again because a key became ready.
    Retry,
}

/// Classes of keyspace events: the letters of `notify-keyspace-events`.
pub mod notify {
    pub const KEYSPACE: u32 = 1; // K
    pub const KEYEVENT: u32 = 1 << 1; // E
    pub const GENERIC: u32 = 1 << 2; // g
    pub const STRING: u32 = 1 << 3; // $
    pub const LIST: u32 = 1 << 4; // l
    pub const SET: u32 = 1 << 5; // s
    pub const HASH: u32 = 1 << 6; // h
    pub const ZSET: u32 = 1 << 7; // z
    pub const EXPIRED: u32 = 1 << 8; // x
    pub const EVICTED: u32 = 1 << 9; // e
    pub const STREAM: u32 = 1 << 10; // t
    pub const KEY_MISS: u32 = 1 << 11; // m
    pub const MODULE: u32 = 1 << 12; // d
    pub const NEW: u32 = 1 << 13; // n
    /// `A`: all but key misses and new keys.
    pub const ALL: u32 =
        GENERIC | STRING | LIST | SET | HASH | ZSET | EXPIRED | EVICTED | STREAM | MODULE;
}

/// One command's view of the shard.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) shard: &'a mut Shard,
    pub(crate) effects: &'a mut Effects,
    /// The selected database.
    pub db: usize,
    pub mode: Mode,
    pub scope: Scope,
    /// Who asked, if the reply may come later.
    pub origin: Option<Origin>,
    pub proto: Proto,
    now: Millis,
    /// Dice that give the same numbers on every replica.
    pub rng: Rng,
    /// A read met a key whose time has come on this clock but not in the log.
    pub(crate) due: bool,
    /// The call waits; there is no reply yet.
    pub(crate) blocked: bool,
    /// In `Scope::Retry`: the key that became ready.
    pub(crate) ready_key: Option<&'a [u8]>,
}

/// Who asks and how, for `Context::new`.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub db: usize,
    pub proto: Proto,
    pub origin: Option<Origin>,
}

impl<'a> Context<'a> {
    /// For an operation of the log: the time is the shard's clock.
    pub(crate) fn write(
        shard: &'a mut Shard,
        effects: &'a mut Effects,
        asker: Asker,
    ) -> Context<'a> {
        let rng = Rng::new(shard.sequence);
        let now = shard.clock;
        Context::new(shard, effects, asker, Mode::Write, now, rng)
    }

    /// For a read outside the log: the time is the machine's, which may be ahead of the log's.
    pub(crate) fn read_only(
        shard: &'a mut Shard,
        effects: &'a mut Effects,
        asker: Asker,
        wall: Millis,
        seed: u64,
    ) -> Context<'a> {
        let now = wall.max(shard.clock);
        Context::new(shard, effects, asker, Mode::Read, now, Rng::new(seed))
    }

    fn new(
        shard: &'a mut Shard,
        effects: &'a mut Effects,
        asker: Asker,
        mode: Mode,
        now: Millis,
        rng: Rng,
    ) -> Context<'a> {
        let Asker { db, proto, origin } = asker;
        let (scope, due, blocked, ready_key) = (Scope::Plain, false, false, None);
        Context {
            shard,
            effects,
            db,
            mode,
            scope,
            origin,
            proto,
            now,
            rng,
            due,
            blocked,
            ready_key,
        }
    }

    /// The time, frozen for this command, transaction or script.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// The settings of the keyspace.
    pub fn settings(&self) -> &Settings {
        &self.shard.settings
    }

    /// Which shard this is, of how many.
    pub fn shard_of(&self) -> (u64, u64) {
        let Some(slots) = &self.shard.slots else { return (0, 1) };
        let width = slots.len() as u64;
        (u64::from(*slots.start()) / width, hashring::SLOTS as u64 / width)
    }

    /// The selected database as it is, expired keys included.
    pub fn database(&self) -> &Db {
        &self.shard.dbs[self.db]
    }

    /// The live entry at `key`.
    pub fn entry(&mut self, key: &[u8]) -> Option<&Entry> {
        self.entry_in(self.db, key)
    }

    /// The live entry at `key` of another database.
    pub fn entry_in(&mut self, db: usize, key: &[u8]) -> Option<&Entry> {
        let place = self.shard.dbs[db].find(key)?;
        if self.shard.dbs[db].at(place).expires <= self.now {
            self.meet_expired(db, key);
            return None;
        }
        Some(self.shard.dbs[db].at(place))
    }

    /// The live value at `key`.
    pub fn get(&mut self, key: &[u8]) -> Option<&Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The live value at `key`, to change. Follow it by `touch` if it did change.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Value> {
        self.live_mut(key).map(|entry| &mut entry.value)
    }

    /// Changes the live value at `key`, if there is one, and touches it unless that is refused:
    /// one look-up where `get_mut` and `touch` need two.
    pub fn update<T>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Value) -> Result<T, Reject>,
    ) -> Result<Option<T>, Reject> {
        let version = self.shard.sequence;
        let Some(entry) = self.live_mut(key) else { return Ok(None) };
        let result = change(&mut entry.value)?;
        entry.version = version;
        self.changed(self.db, key);
        Ok(Some(result))
    }

    fn live_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.assert_write();
        let place = self.shard.dbs[self.db].find(key)?;
        if self.shard.dbs[self.db].at(place).expires <= self.now {
            self.meet_expired(self.db, key);
            return None;
        }
        Some(self.shard.dbs[self.db].at_mut(place, key))
    }

    /// The version of `key` for WATCH. A read that meets a key of which only the machine's clock
    /// says that it has expired is done again behind the log.
    pub fn version(&mut self, key: &[u8]) -> u64 {
        let version = self.shard.version(self.now, self.db as u8, key);
        self.due |= version.is_none();
        version.unwrap_or_default()
    }

    /// Is there a live value at `key`?
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.entry(key).is_some()
    }

    /// The value at `key` as this type: nothing, or WRONGTYPE if it is another.
    pub fn read<T: Typed>(&mut self, key: &[u8]) -> Result<Option<&T>, Reject> {
        self.get(key).map(T::expect).transpose()
    }

    /// As `read`, to change.
    pub fn modify<T: Typed>(&mut self, key: &[u8]) -> Result<Option<&mut T>, Reject> {
        self.get_mut(key).map(T::expect_mut).transpose()
    }

    /// As `modify`; an empty one is put there first if there is none. Do not leave it empty.
    pub fn modify_or_new<T: Typed>(&mut self, key: &[u8]) -> Result<&mut T, Reject> {
        if self.get_mut(key).is_none() {
            self.insert(key, T::default().wrap());
        }
        let Some(entry) = self.shard.dbs[self.db].get_mut(key) else {
            // Nothing stays of it, and nobody is told.
            return Err(Reject::text(
                "ERR the key is in another shard: the gateway has to run this",
            ));
        };
        T::expect_mut(&mut entry.value)
    }

    /// Changes the value at `key`, or a new empty one that is put there, and touches it: one look-up
    /// if it is there. Do not leave it empty.
    pub fn update_or_new<T: Typed, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, Reject> {
        let mut change = Some(change);
        let updated = self.update(key, |value| {
            let value = T::expect_mut(value)?;
            Ok(change.take().map(|change| change(value)))
        })?;
        if let Some(result) = updated.flatten() {
            return Ok(result);
        }
        let change = change.take().expect("it is taken only where there is a value");
        let mut value = T::default();
        let result = change(&mut value);
        self.insert(key, value.wrap());
        Ok(result)
    }

    /// Puts a value at `key`, drops any expiry, and touches it.
    pub fn insert(&mut self, key: &[u8], value: Value) {
        self.insert_expiring(key, value, Millis::FAR);
    }

    /// Puts a value at `key` that expires at a time, and touches it.
    pub fn insert_expiring(&mut self, key: &[u8], value: Value, expires: Millis) {
        self.insert_in(self.db, key, value, expires);
    }

    /// As `insert_expiring`, in another database.
    pub fn insert_in(&mut self, db: usize, key: &[u8], value: Value, expires: Millis) {
        if self.put(db, key, value, expires) {
            self.notify_in(db, notify::NEW, "new", key);
        }
        self.changed(db, key);
    }

    /// As `insert_expiring`, of a value that was made elsewhere, where it was told that the key is new.
    pub fn insert_made(&mut self, key: &[u8], value: Value, expires: Millis) {
        self.put(self.db, key, value, expires);
        self.changed(self.db, key);
    }

    /// Puts a value. Returns whether no live one was there.
    fn put(&mut self, db: usize, key: &[u8], value: Value, expires: Millis) -> bool {
        self.assert_write();
        let version = self.shard.sequence;
        let old = self.shard.dbs[db].insert(key, Entry { value, version, expires });
        let expired = old.as_ref().is_some_and(|old| old.expires <= self.now);
        if expired {
            self.notify_in(db, notify::EXPIRED, "expired", key);
        }
        expired || old.is_none()
    }

    /// As `insert_expiring`, of a string: it takes the place of a live value without a second
    /// look-up, and of one of the same length without an allocation.
    pub fn insert_string(&mut self, key: &[u8], text: &[u8], expires: Millis) {
        self.assert_write();
        let (version, db) = (self.shard.sequence, &mut self.shard.dbs[self.db]);
        let Some(place) = db.find(key).filter(|place| db.at(*place).expires > self.now) else {
            return self.insert_expiring(key, Value::string(text), expires);
        };
        db.set_expires_at(place, key, expires);
        let entry = db.at_mut(place, key);
        entry.value.assign(text);
        entry.version = version;
        self.changed(self.db, key);
    }

    /// Does this for each `step`-th argument from `from` on, which is a key. What some of them will wait for in
    /// memory is read at once before.
    pub fn for_keys(
        &mut self,
        args: Args<'_>,
        from: usize,
        step: usize,
        mut each: impl FnMut(&mut Self, usize),
    ) {
        for first in (from..args.len()).step_by(step * WARM_MAX) {
            let some = || (first..args.len()).step_by(step).take(WARM_MAX);
            if first + step < args.len() {
                shard::warm(some().map(|at| (&*self.shard, self.db as u8, &args[at])));
            }
            some().for_each(|at| each(self, at));
        }
    }

    /// Takes the value at `key` out.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        self.remove_in(self.db, key)
    }

    /// As `remove`, in another database. An expired key is nothing.
    pub fn remove_in(&mut self, db: usize, key: &[u8]) -> Option<Entry> {
        self.assert_write();
        self.entry_in(db, key)?;
        let entry = self.shard.dbs[db].remove(key)?;
        self.shard.changes += 1;
        self.shard.note_deleted(db, key);
        Some(entry)
    }

    /// The value at `key` was changed by this operation.
    pub fn touch(&mut self, key: &[u8]) {
        self.assert_write();
        let version = self.shard.sequence;
        if let Some(entry) = self.shard.dbs[self.db].get_mut(key) {
            entry.version = version;
        }
        self.changed(self.db, key);
    }

    /// When `key` expires; `Millis::FAR` for never, nothing if there is no such key.
    pub fn expires(&mut self, key: &[u8]) -> Option<Millis> {
        self.entry(key).map(|entry| entry.expires)
    }

    /// Sets when `key` expires (`Millis::FAR`: never) and touches it.
    pub fn set_expires(&mut self, key: &[u8], expires: Millis) {
        self.assert_write();
        self.shard.dbs[self.db].set_expires(key, expires);
        self.touch(key);
    }

    /// Publishes a keyspace event, if anybody wants its class: `notify(notify::LIST, "lpush", key)`.
    pub fn notify(&mut self, class: u32, event: &str, key: &[u8]) {
        self.notify_in(self.db, class, event, key);
    }

    /// As `notify`, for a key of another database.
    pub fn notify_in(&mut self, db: usize, class: u32, event: &str, key: &[u8]) {
        let wanted = self.shard.settings.notify;
        if wanted & class == 0 || self.mode == Mode::Read || db >= DATABASES {
            return;
        }
        if wanted & notify::KEYSPACE != 0 {
            let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
            self.effects.publish.push(Publish { channel, message: event.into(), shard: false });
        }
        if wanted & notify::KEYEVENT != 0 {
            let channel = format!("__keyevent@{db}__:{event}").into_bytes();
            self.effects.publish.push(Publish { channel, message: key.into(), shard: false });
        }
    }

    /// May this call wait for a key? Not inside EXEC or a script, and not outside the log.
    pub fn may_block(&self) -> bool {
        let alone = matches!(self.scope, Scope::Plain | Scope::Retry);
        alone && self.mode == Mode::Write && self.origin.is_some()
    }

    /// Makes this call wait until one of `keys` is touched (then the whole call runs again, in
    /// `Scope::Retry`) or until `deadline` (`Millis::FAR`: for ever; then the client gets
    /// `on_timeout`). The handler returns without a reply.
    pub fn block(
        &mut self,
        args: ArgsBuf,
        keys: Vec<Vec<u8>>,
        deadline: Millis,
        on_timeout: OnTimeout,
    ) {
        assert!(self.may_block(), "a call that may not block was made to wait");
        self.blocked = true;
        if self.scope == Scope::Retry {
            return;
        }
        let origin = self.origin.expect("who may block has an origin");
        let (db, proto) = (self.db, self.proto);
        self.shard.waiters.add(Waiter { origin, proto, db, args, keys, deadline, on_timeout });
    }

    /// A key got a value: that is counted, and somebody may be waiting for it.
    fn changed(&mut self, db: usize, key: &[u8]) {
        self.shard.changes += 1;
        if self.shard.waiters.wants(db, key) {
            self.shard.waiters.mark_ready(db, key);
        }
    }

    /// A key whose time has come: in the log's time it is removed; on a mere read it is skipped,
    /// and the read is done again behind a log entry, so that no clock but the log's decides.
    fn meet_expired(&mut self, db: usize, key: &[u8]) {
        let in_log_time =
            self.shard.dbs[db].get(key).is_some_and(|e| e.expires <= self.shard.clock);
        if self.mode == Mode::Write {
            self.shard.remove_expired(db, key);
            self.notify_in(db, notify::EXPIRED, "expired", key);
        } else if !in_log_time {
            self.due = true;
        }
    }

    fn assert_write(&self) {
        assert!(self.mode == Mode::Write, "a command without the write flag changes a key");
    }
}

/// What a blocked client gets when its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    Null,
    NullArray,
}

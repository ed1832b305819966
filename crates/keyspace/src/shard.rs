//! A shard: the state that a log of operations makes.
//!
//! Equal logs make equal shards, reply bytes included. `apply` runs one operation of the log;
//! `read` runs a command that changes nothing on the replica that holds the lease.
//!
//! What always holds: `sequence` counts the operations; no key's version is above it; `clock` never
//! goes back.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use stdx::codec::{Malformed, Reader, put_varint};
use stdx::{Millis, planted};
use wire::{Args, Proto, Reply};

use crate::blocking::{Waiter, Waiters};
use crate::command::{self, Flags, Run};
use crate::context::{Asker, Context, Mode, OnTimeout, Scope, notify};
use crate::db::Db;
use crate::dict::{self, WARM_MAX};
use crate::limits::{DATABASES, DELETED_PLACES, EXPIRES_PER_TICK_MAX};
use crate::op::{Body, Op, Origin, Unblock, Watch};
use crate::reject::Reject;
use crate::settings::Settings;
use crate::snapshot::Saver;
use crate::str::Str;
use crate::txn::{Book, Held};
use crate::types::Scripts;
use crate::value::Value;

/// Something to deliver to the subscribers that are connected to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub channel: Vec<u8>,
    pub message: Vec<u8>,
    /// By SPUBLISH.
    pub shard: bool,
}

/// The reply to a call that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    pub origin: Origin,
    pub reply: Vec<u8>,
}

/// A backup that begins: the state of the shard at its operation.
#[derive(Debug)]
pub struct Cut {
    /// What the client calls it.
    pub id: Vec<u8>,
    pub saver: Saver,
}

/// What follows from an operation beside its reply.
#[derive(Debug, Default)]
pub struct Effects {
    pub publish: Vec<Publish>,
    pub late: Vec<Late>,
    /// The replies to reads that this replica was told to hold (`Shard::hold`), by their numbers.
    pub reads: Vec<(u64, Vec<u8>)>,
    /// Only on a replica that was told to take one (`Shard::take_cut`).
    pub cut: Option<Cut>,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reply is written.
    Replied,
    /// It waits for a key to get a value; a `Late` of its origin will come.
    Blocked,
    /// It waits for a transaction over several shards; a `Late` of this origin will come.
    Parked { origin: Origin },
    /// A read met a key that such a transaction has locked, or that a call before it waits for. No reply is
    /// written: propose the call, or have it held.
    Locked,
    /// A read met a key that has expired by this machine's clock, which the log does not know yet.
    /// No reply is written: propose a tick (or the call) and read behind it.
    Due,
}

/// One shard of the keyspace.
#[derive(Debug)]
pub struct Shard {
    /// Those that clients can select, and that of the receipts.
    pub(crate) dbs: Vec<Db>,
    /// The stamp of the last operation.
    pub(crate) clock: Millis,
    /// How many operations were applied.
    pub(crate) sequence: u64,
    /// How many changes of keys this replica made since it was built; for INFO, not part of the state.
    pub(crate) changes: u64,
    deleted: Deletions,
    pub(crate) waiters: Waiters,
    pub(crate) settings: Settings,
    pub(crate) scripts: Scripts,
    pub(crate) txns: Book,
    /// Reads that wait for transactions: no part of the state.
    pub(crate) held: Vec<Held>,
    /// The slots of its keys, if there are others: no part of the state.
    pub(crate) slots: Option<RangeInclusive<u16>>,
    /// The next backup that is begun is to be taken by this replica: no part of the state.
    pub(crate) takes_cut: bool,
    /// Keys that expired since this replica began; a statistic, no part of the state.
    expired: u64,
    /// What was saved beside the state that it was loaded from: no part of it.
    pub(crate) note: Vec<u8>,
}

/// By `deleted_place` the last operation that deleted a key: the version of absent keys. It takes
/// memory only where there was one: a node may have hundreds of shards.
#[derive(Debug, Default)]
struct Deletions {
    pages: Vec<Option<Box<[u64; DELETED_PAGE]>>>,
}

/// Places that take memory together.
const DELETED_PAGE: usize = 128;

impl Deletions {
    fn at(&self, place: usize) -> u64 {
        let page = self.pages.get(place / DELETED_PAGE).and_then(Option::as_ref);
        page.map_or(0, |page| page[place % DELETED_PAGE])
    }

    fn at_mut(&mut self, place: usize) -> &mut u64 {
        if self.pages.is_empty() {
            self.pages.resize(DELETED_PLACES / DELETED_PAGE, None);
        }
        let page = &mut self.pages[place / DELETED_PAGE];
        &mut page.get_or_insert_with(|| Box::new([0; DELETED_PAGE]))[place % DELETED_PAGE]
    }

    fn save(&self, out: &mut Vec<u8>) {
        for (number, page) in self.pages.iter().enumerate() {
            let versions = page.iter().flat_map(|page| page.iter().enumerate());
            for (at, version) in versions.filter(|(_, version)| **version > 0) {
                put_varint(out, (number * DELETED_PAGE + at) as u64);
                put_varint(out, *version);
            }
        }
        // There is no such place: the end.
        put_varint(out, DELETED_PLACES as u64);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Deletions, Malformed> {
        let mut deletions = Deletions::default();
        loop {
            match reader.varint()? as usize {
                DELETED_PLACES => return Ok(deletions),
                place @ ..DELETED_PLACES => *deletions.at_mut(place) = reader.varint()?,
                _ => return Err(reader.malformed()),
            }
        }
    }
}

impl Default for Shard {
    fn default() -> Self {
        Shard::new()
    }
}

/// The keys of operations that come next, by shard, database and name: what they will wait for in
/// memory is read at once. At most `WARM_MAX`; returns how many there were.
pub fn warm<'a>(keys: impl Iterator<Item = (&'a Shard, u8, &'a [u8])>) -> usize {
    let mut lookups = Vec::with_capacity(WARM_MAX);
    for (shard, db, key) in keys.take(WARM_MAX) {
        if let Some(db) = shard.dbs.get(usize::from(db)) {
            lookups.push((db.table(), dict::hash(key)));
        }
    }
    dict::warm(&lookups, |entry| entry.value.touch());
    lookups.len()
}

impl Shard {
    /// An empty shard.
    pub fn new() -> Shard {
        let dbs = (0..DATABASES).map(|_| Db::default()).chain([Db::metered()]).collect();
        Shard {
            dbs,
            clock: Millis(0),
            sequence: 0,
            changes: 0,
            deleted: Deletions::default(),
            waiters: Waiters::default(),
            settings: Settings::default(),
            scripts: Scripts::default(),
            txns: Book::default(),
            slots: None,
            held: Vec::new(),
            takes_cut: false,
            note: Vec::new(),
            expired: 0,
        }
    }

    /// How many keys have expired since this replica began.
    pub fn expired_keys(&self) -> u64 {
        self.expired
    }

    /// The slots whose keys it keeps, if there are others.
    pub fn set_slots(&mut self, slots: RangeInclusive<u16>) {
        self.slots = Some(slots);
    }

    /// Whether this replica is to take the next backup that is begun: one that follows, or that runs
    /// again what was long ago, would keep a copy that nobody reads.
    pub fn take_cut(&mut self, takes: bool) {
        self.takes_cut = takes;
    }

    /// The databases that clients can select.
    pub fn databases(&self) -> &[Db] {
        &self.dbs[..DATABASES]
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The scripts and libraries: what INFO counts of them.
    pub fn scripts(&self) -> &Scripts {
        &self.scripts
    }

    /// The calls that wait.
    pub fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// The stamp of the last operation.
    pub fn clock(&self) -> Millis {
        self.clock
    }

    /// How many changes of keys this replica made: `rdb_changes_since_last_save` in INFO.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// When a `Tick` has something to do: a key expires, or a blocked call has waited long enough.
    pub fn next_due(&self) -> Option<Millis> {
        let keys =
            (0..self.dbs.len()).filter_map(|db| self.due(db).next().map(|(at, _)| *at)).min();
        keys.into_iter().chain(self.waiters.next_deadline()).min()
    }

    /// Applies one call of the log, without an `Op` in between: the hot path.
    pub fn apply_call(
        &mut self,
        stamp: Millis,
        asker: Asker,
        args: Args<'_>,
        reply: &mut Vec<u8>,
        effects: &mut Effects,
    ) -> Outcome {
        self.advance(stamp);
        if self.keeps_waiting(asker.db as u8, args) {
            let body = Body::Call { db: asker.db as u8, args: args.iter().collect() };
            let op = Op { proto: asker.proto, origin: asker.origin, body };
            return self.park(op, &mut Reply::new(reply, asker.proto));
        }
        self.run_call(asker, args, reply, effects)
    }

    fn run_call(
        &mut self,
        asker: Asker,
        args: Args<'_>,
        reply: &mut Vec<u8>,
        effects: &mut Effects,
    ) -> Outcome {
        if self.slots.is_some() && command::roams(args) {
            self.run_roaming(asker, args, reply, effects);
            self.serve_ready(effects);
            return Outcome::Replied;
        }
        let mut cx = Context::write(self, effects, asker);
        execute(&mut cx, args, &mut Reply::new(reply, asker.proto));
        let outcome = if cx.blocked { Outcome::Blocked } else { Outcome::Replied };
        self.serve_ready(effects);
        outcome
    }

    /// Applies one operation of the log.
    pub fn apply(
        &mut self,
        stamp: Millis,
        op: &Op,
        reply: &mut Vec<u8>,
        effects: &mut Effects,
    ) -> Outcome {
        self.advance(stamp);
        if let Body::Txn(txn) = &op.body {
            let outcome = self.apply_txn(op, txn, reply, effects);
            self.serve_ready(effects);
            return outcome;
        }
        if self.txns.is_locking() && self.is_obstructed(&op.body) {
            return self.park(op.clone(), &mut Reply::new(reply, op.proto));
        }
        self.run_body(op, reply, effects)
    }

    /// Runs an operation that nothing stands in the way of.
    pub(crate) fn run_body(
        &mut self,
        op: &Op,
        reply: &mut Vec<u8>,
        effects: &mut Effects,
    ) -> Outcome {
        let Op { proto, origin, body } = op;
        let asker = |db| Asker { db, proto: *proto, origin: *origin };
        match body {
            Body::Call { db, args } => {
                return self.run_call(asker(usize::from(*db)), args.args(), reply, effects);
            }
            Body::Exec { watches, calls, rollback } => {
                let mut reply = Reply::new(reply, *proto);
                if watches.iter().any(|watch| self.is_dirty(watch)) {
                    reply.null_array();
                } else if *rollback {
                    self.exec_or_undo(asker(0), calls, &mut reply, effects);
                } else {
                    reply.array(calls.len());
                    let mut cx = Context::write(self, effects, asker(0));
                    cx.scope = Scope::Exec;
                    for (db, args) in calls {
                        cx.db = usize::from(*db);
                        execute(&mut cx, args.args(), &mut reply);
                    }
                }
                self.serve_ready(effects);
            }
            Body::Tick => self.tick(effects),
            Body::Unblock { target, how } => {
                let unblocked = self.unblock(*target, *how, effects);
                Reply::new(reply, *proto).int(i64::from(unblocked));
                self.run_parked(effects);
            }
            Body::DropWaiters { node } => {
                for origin in self.waits(*node) {
                    let dropped = self.unblock(origin, Unblock::Gone, effects);
                    assert!(dropped, "who waits is there");
                }
                self.run_parked(effects);
            }
            Body::Txn(_) => unreachable!("a message about a transaction is applied, not run"),
        }
        Outcome::Replied
    }

    /// Runs a command that changes nothing, outside the log, on a replica that may serve reads.
    /// `wall` is the machine's clock; `seed` feeds the dice of commands such as SRANDMEMBER. Behind others of
    /// its client it waits for those that are parked and need its keys.
    pub fn read(
        &mut self,
        wall: Millis,
        seed: u64,
        asker: Asker,
        args: Args<'_>,
        behind: bool,
        reply: &mut Vec<u8>,
    ) -> Outcome {
        if self.txns.is_locking() {
            let mut wants = Vec::new();
            Shard::wants_of(asker.db as u8, args, &mut wants);
            let waits = if behind { self.is_in_the_way(&wants) } else { self.obstructs(&wants) };
            if waits {
                return Outcome::Locked;
            }
        }
        let mark = reply.len();
        let mut effects = Effects::default();
        let mut cx = Context::read_only(self, &mut effects, asker, wall, seed);
        execute(&mut cx, args, &mut Reply::new(reply, asker.proto));
        if cx.due {
            reply.truncate(mark);
            return Outcome::Due;
        }
        Outcome::Replied
    }

    /// The version of a key for WATCH, as of `wall`; nothing if a key has come due that the log
    /// does not know of yet.
    pub fn version(&self, wall: Millis, db: u8, key: &[u8]) -> Option<u64> {
        let now = wall.max(self.clock);
        match self.dbs[usize::from(db)].get(key) {
            Some(entry) if entry.expires <= now && entry.expires > self.clock => None,
            _ => Some(self.version_at(self.clock, db, key)),
        }
    }

    /// An absent key has the version of the last deletion in its place; an expired one that still
    /// lies there counts as absent, and its own version as that of a deletion.
    fn version_at(&self, now: Millis, db: u8, key: &[u8]) -> u64 {
        let deleted = self.deleted.at(deleted_place(usize::from(db), key));
        let db = &self.dbs[usize::from(db)];
        match db.get(key) {
            // The lowest bit tells a live key from an absent one.
            Some(entry) if entry.expires > now => db.age(entry) << 1 | 1,
            Some(entry) => deleted.max(db.age(entry)) << 1,
            None => deleted << 1,
        }
    }

    pub(crate) fn is_dirty(&self, watch: &Watch) -> bool {
        self.version_at(self.clock, watch.db, &watch.key) != watch.version
            && !planted!("exec-ignores-watch")
    }

    /// The log shows this time: what is due by then has expired.
    pub fn move_clock(&mut self, stamp: Millis) {
        self.clock = self.clock.max(stamp);
    }

    /// Counts an operation and moves the clock.
    fn advance(&mut self, stamp: Millis) {
        self.sequence += 1;
        self.move_clock(stamp);
    }

    /// Removes a key whose time has come. Its last version becomes that of a deletion, so that a
    /// WATCH from before its creation sees that something happened, and one from after its expiry
    /// sees nothing.
    pub(crate) fn remove_expired(&mut self, db: usize, key: &[u8]) {
        let entry = self.dbs[db].remove(key).expect("an expired key was just seen");
        assert!(entry.expires <= self.clock, "a key is removed before its time");
        self.expired += u64::from(db < DATABASES);
        let deleted = self.deleted.at_mut(deleted_place(db, key));
        *deleted = (*deleted).max(self.dbs[db].age(&entry));
    }

    /// This operation deleted a key.
    pub(crate) fn note_deleted(&mut self, db: usize, key: &[u8]) {
        *self.deleted.at_mut(deleted_place(db, key)) = self.sequence;
    }

    /// Deletes every key of a database. Only keys that lived there are changed for WATCH.
    pub(crate) fn flush(&mut self, number: usize) {
        let db = &mut self.dbs[number];
        if db.escapes() {
            return;
        }
        let floor = db.floor();
        for (key, entry) in db.doomed().iter() {
            let live = entry.expires > self.clock;
            let version = if live { self.sequence } else { entry.version.max(floor) };
            let deleted = self.deleted.at_mut(deleted_place(number, key));
            *deleted = (*deleted).max(version);
        }
        db.clear();
    }

    /// Exchanges two databases. Who waits or watches stays with the number.
    pub(crate) fn swap(&mut self, first: usize, second: usize) {
        self.dbs.swap(first, second);
        for db in [first, second] {
            self.dbs[db].age_all(self.sequence);
            self.waiters.mark_database_ready(db);
        }
    }

    /// The keys of a database that expire, the soonest first. One that a transaction has locked
    /// stays until that is decided.
    fn due(&self, db: usize) -> impl Iterator<Item = &(Millis, Str)> {
        let locks = self.txns.is_locking();
        let locked = move |key: &Str| locks && self.txns.has_locked(db, key);
        self.dbs[db].due().filter(move |(_, key)| !locked(key))
    }

    fn tick(&mut self, effects: &mut Effects) {
        while let Some(waiter) = self.waiters.take_overdue(self.clock) {
            let Waiter { origin, proto, on_timeout, .. } = waiter;
            let reply = end_of_wait(proto, on_timeout, Unblock::Timeout);
            effects.late.push(Late { origin, reply });
        }
        for db in 0..self.dbs.len() {
            let due = self.due(db).take_while(|(at, _)| *at <= self.clock);
            let due = due.take(EXPIRES_PER_TICK_MAX).map(|(_, key)| key.clone());
            for key in due.collect::<Vec<Str>>() {
                self.remove_expired(db, &key);
                let asker = Asker { db, proto: Proto::Resp2, origin: None };
                Context::write(self, effects, asker).notify(notify::EXPIRED, "expired", &key);
            }
        }
    }

    fn unblock(&mut self, target: Origin, how: Unblock, effects: &mut Effects) -> bool {
        let (proto, on_timeout) = if let Some(waiter) = self.waiters.remove(target) {
            (waiter.proto, waiter.on_timeout)
        } else if let Some(op) = self.unpark(target) {
            (op.proto, OnTimeout::NullArray)
        } else {
            return false;
        };
        if how != Unblock::Gone {
            let reply = end_of_wait(proto, on_timeout, how);
            effects.late.push(Late { origin: target, reply });
        }
        true
    }

    /// Whose calls wait for keys, or may when the transactions are over that they wait for: all, or
    /// those of one node.
    pub fn waits(&self, node: Option<u32>) -> BTreeSet<Origin> {
        let parked = self.parked_waits().filter(|_| !planted!("parked-waiter-forgotten"));
        let mine = |origin: &Origin| node.is_none_or(|node| origin.node == node);
        self.waiters.origins().chain(parked).filter(mine).collect()
    }

    /// Is it one of those?
    pub fn is_waiting(&self, origin: Origin) -> bool {
        self.waiters.get(origin).is_some() || self.parked_waits().any(|parked| parked == origin)
    }

    /// Serves the calls that waited for what this operation touched. Serving one may touch more.
    pub(crate) fn serve_ready(&mut self, effects: &mut Effects) {
        loop {
            let ready = self.waiters.take_ready();
            if ready.is_empty() {
                return;
            }
            for (db, key) in ready {
                self.serve_key(db, &key, effects);
            }
        }
    }

    /// Tries the calls that wait for a key, the longest first, as long as there is something to
    /// take. One that waits for another type stays, and the next is tried.
    fn serve_key(&mut self, db: usize, key: &[u8], effects: &mut Effects) {
        let mut stayed = 0;
        while let Some(origin) = self.waiters.waiting(db, key, stayed) {
            let live = self.dbs[db].get(key).filter(|entry| entry.expires > self.clock);
            if !live.is_some_and(|entry| feeds(db, &entry.value)) {
                return;
            }
            if !self.retry(origin, key, effects) {
                stayed += 1;
            }
        }
    }

    /// Runs a waiting call again for a key that became ready. False if it goes on waiting.
    fn retry(&mut self, origin: Origin, key: &[u8], effects: &mut Effects) -> bool {
        let waiter = self.waiters.get(origin).expect("who stands in a queue waits").clone();
        let Waiter { proto, db, args, keys, .. } = waiter;
        if self.txns.is_locking() {
            // Of the keys that it waits for only this one is looked at: the others may be locked.
            let mut wants = Vec::new();
            Shard::wants_of(db as u8, args.args(), &mut wants);
            wants.retain(|want| want.key == key || !keys.contains(&want.key));
            if self.obstructs(&wants) {
                let body = Body::Call { db: db as u8, args };
                self.waiters.remove(origin);
                self.repark(Op { proto, origin: Some(origin), body });
                return true;
            }
        }
        let mut reply = Vec::new();
        let mut cx = Context::write(self, effects, Asker { db, proto, origin: Some(origin) });
        cx.scope = Scope::Retry;
        cx.ready_key = Some(key);
        execute(&mut cx, args.args(), &mut Reply::new(&mut reply, proto));
        if cx.blocked {
            return false;
        }
        // A call with an id takes nothing the second time: it would be served for ever.
        let stays = || !args.args().is(0, "synod.idem") && planted!("waiter-served-twice");
        if !stays() {
            self.waiters.remove(origin);
        }
        effects.late.push(Late { origin, reply });
        true
    }

    /// Takes out what was saved beside the state that this was loaded from; see
    /// [`Saver::begin_with`](crate::Saver::begin_with).
    pub fn take_note(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.note)
    }

    pub(crate) fn save_head(&self, out: &mut Vec<u8>) {
        put_varint(out, self.clock.0);
        put_varint(out, self.sequence);
        self.settings.save(out);
        self.deleted.save(out);
        self.dbs.iter().for_each(|db| put_varint(out, db.floor()));
        self.waiters.save(out);
        self.scripts.save(out);
        self.txns.save(out);
    }

    pub(crate) fn load_head(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        self.clock = Millis(reader.varint()?);
        self.sequence = reader.varint()?;
        self.settings = Settings::load(reader)?;
        self.deleted = Deletions::load(reader)?;
        for db in &mut self.dbs {
            db.age_all(reader.varint()?);
        }
        self.waiters = Waiters::load(reader)?;
        self.scripts = Scripts::load(reader)?;
        self.txns = Book::load(reader)?;
        Ok(())
    }
}

/// Are there calls that wait for this value? For a receipt there are, whatever is in it.
pub(crate) fn feeds(db: usize, value: &Value) -> bool {
    db >= DATABASES || value.can_be_waited_for()
}

/// Where deletions of a key are remembered. Other keys share the place, but keys with one hash tag
/// do not: they are deleted and watched together.
fn deleted_place(db: usize, key: &[u8]) -> usize {
    (dict::hash(key) as usize).wrapping_add(db * DELETED_PLACES / DATABASES) % DELETED_PLACES
}

/// What a client is told whose wait ends so.
pub fn end_of_wait(proto: Proto, on_timeout: OnTimeout, how: Unblock) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reply = Reply::new(&mut bytes, proto);
    match (how, on_timeout) {
        (Unblock::Error, _) => reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        (_, OnTimeout::Null) => reply.null(),
        (_, OnTimeout::NullArray) => reply.null_array(),
    }
    bytes
}

/// Runs a call: finds its row, checks it, and turns a `Reject` into an error reply.
pub(crate) fn execute(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let mark = reply.mark();
    if let Err(reject) = dispatch(cx, args, reply) {
        reply.rewind(mark);
        reply.error(reject.message());
    }
}

fn dispatch(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let command = check_call(args)?;
    if cx.scope == Scope::Script && command.flags.has(Flags::NOSCRIPT) {
        return Err(Reject::text("ERR This Redis command is not allowed from script"));
    }
    match command.run {
        Run::Write(_) if cx.mode == Mode::Read && command.flags.has(Flags::WRITE) => {
            Err(Reject::text("ERR Write commands are not allowed from read-only scripts."))
        }
        Run::Read(handler) | Run::Write(handler) | Run::Session(Some(handler)) => {
            handler(cx, args, reply)
        }
        Run::Pure(answer) => answer(args, reply),
        Run::Session(None) | Run::Container => {
            Err(Reject::from(format!("ERR '{}' is not allowed in this context", command.name)))
        }
    }
}

/// Finds the row of a call and checks the number of its arguments, with Redis's texts.
pub fn check_call(args: Args<'_>) -> Result<&'static command::Command, Reject> {
    let Some(command) = command::find(args) else {
        const SHOWN_BYTES_MAX: usize = 128;
        let shown = |arg: &[u8], most: usize| {
            String::from_utf8_lossy(&arg[..arg.len().min(most)]).into_owned()
        };
        let name = shown(args.get(0).unwrap_or_default(), SHOWN_BYTES_MAX);
        let mut rest = String::new();
        for arg in args.from(1).iter() {
            if rest.len() >= SHOWN_BYTES_MAX {
                break;
            }
            let arg = shown(arg, SHOWN_BYTES_MAX - rest.len());
            rest.push_str(&format!("'{arg}' "));
        }
        let text = format!("ERR unknown command '{name}', with args beginning with: {rest}");
        return Err(Reject::from(text));
    };
    if !command.subcommands.is_empty() && args.len() >= 2 {
        let word = String::from_utf8_lossy(&args[1][..args[1].len().min(128)]);
        let container = command.name.to_uppercase();
        let text = format!("ERR unknown subcommand '{word}'. Try {container} HELP.");
        return Err(Reject::from(text));
    }
    if !command.arity_fits(args.len()) {
        let base = String::from_utf8_lossy(&args[0]).to_lowercase();
        let is_sub = base != command.name;
        let name = if is_sub { format!("{base}|{}", command.name) } else { base };
        let text = format!("ERR wrong number of arguments for '{name}' command");
        return Err(Reject::from(text));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use crate::snapshot::{Loader, Saver};
    use crate::testing::Client;

    #[test]
    fn a_snapshot_is_the_state_at_its_beginning_whatever_happens_meanwhile() {
        let mut client = Client::new();
        for n in 0..1_000 {
            client.run(&format!("set key:{n} {n}"));
        }
        let (mut saver, mut bytes) = (Saver::begin(&mut client.shard), Vec::new());
        let mut n = 0;
        while !saver.step(&mut client.shard, 256, &mut bytes) {
            client.run(&format!("set key:{n} changed"));
            client.run(&format!("set late:{n} 1"));
            n += 7;
        }
        client.shard = Loader::load(&bytes).unwrap();
        assert_eq!(client.shard.databases()[0].len(), 1_000);
        for n in 0..1_000 {
            let text = n.to_string();
            client.check(&format!("get key:{n}"), &format!("${}\r\n{text}\r\n", text.len()));
        }
        assert!(Loader::load(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn a_note_goes_along_with_a_snapshot_and_is_no_part_of_the_state() {
        let mut client = Client::new();
        client.run("set k v");
        let digest = client.shard.digest();
        let (mut saver, mut bytes) = (Saver::begin_with(&mut client.shard, b"a note"), Vec::new());
        while !saver.step(&mut client.shard, 8, &mut bytes) {}
        let mut shard = Loader::load(&bytes).unwrap();
        assert_eq!((shard.digest(), shard.take_note()), (digest, b"a note".to_vec()));
        assert_eq!(shard.take_note(), b"");
    }

    #[test]
    fn any_bytes_come_back_from_a_snapshot() {
        let mut client = Client::resp3();
        client.check(r#"set "a key\xff" "line\r\n \"x\" \\""#, "+OK\r\n");
        client.reload();
        client.check(r#"get "a key\xff""#, "$12\r\nline\r\n \"x\" \\\r\n");
        client.check("get other", "_\r\n");
    }

    #[test]
    fn unknown_commands_and_wrong_counts_have_the_texts_of_redis() {
        Client::new().check_all(&[
            ("nosuch a b", "-ERR unknown command 'nosuch', with args beginning with: 'a' 'b' \r\n"),
            ("get a b", "-ERR wrong number of arguments for 'get' command\r\n"),
        ]);
    }
}

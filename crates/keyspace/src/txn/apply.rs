//! What a shard does with a message about a transaction, and with a call that meets a locked key.

use std::collections::BTreeSet;

use stdx::{Millis, planted};
use wire::{Args, ArgsBuf, Proto, Reply};

use super::book::{Book, Committed, Parked, Prepared, Stage, Write};
use super::held::Held;
use super::locks::{Access, Want};
use super::{Doubt, Prepare, Span, Standing, Txn, TxnId, rollback};
use crate::command::{self, Flags};
use crate::context::{Asker, Context, Scope};
use crate::db::Entry;
use crate::limits::{DATABASES, PARKED_MAX, TXN_TOMBSTONE_TIME};
use crate::op::{Body, Op, Origin, Watch};
use crate::receipt::{self, RECEIPTS};
use crate::shard::{Effects, Late, Outcome, Shard, execute};
use crate::str::Str;

/// Stands in an origin for "the operation with this number", where it has none of its own.
pub const PARKED: u32 = u32::MAX;

/// Begins the answer to a call that was not executed here, and which the gateway is to run otherwise:
/// no reply begins so, whatever a script returns.
pub const UNDONE: &[u8] = b"?";

/// The answer to a call that touched a key of another shard, and left nothing behind. An EVALSHA of
/// a script that this shard does not know is answered by `UNDONE` and the error.
pub const ESCAPED: &[u8] = b"?ESCAPED";

/// Begins a NO because of a call that failed; its place among those of this shard, and its error,
/// come behind.
pub const FAILED: &str = "FAILED";

const BUSY: &str = "BUSY";
const CHANGED: &str = "CHANGED";

impl Shard {
    /// Applies a message about a transaction. The clock was advanced before.
    pub(crate) fn apply_txn(
        &mut self,
        op: &Op,
        txn: &Txn,
        reply: &mut Vec<u8>,
        effects: &mut Effects,
    ) -> Outcome {
        let mut out = Reply::new(reply, op.proto);
        match txn {
            Txn::Prepare(prepare) => {
                if !self.prepare(prepare, &mut out, effects) {
                    let outcome = self.park(op.clone(), &mut out);
                    // It may have committed the one before it.
                    self.serve_ready(effects);
                    self.run_parked(effects);
                    return outcome;
                }
            }
            Txn::Decide { txn, commit: true } => self.commit(*txn, &mut out, effects),
            Txn::Decide { txn, commit: false } => {
                self.abort(*txn);
                out.ok();
            }
            Txn::Fence { txn } => self.fence(*txn, &mut out),
            Txn::Forget { txns } => {
                txns.iter().for_each(|txn| {
                    self.txns.committed.remove(txn);
                });
                out.ok();
            }
        }
        self.serve_ready(effects);
        self.run_parked(effects);
        Outcome::Replied
    }

    /// What a call needs: every key that it names.
    pub(crate) fn wants_of(db: u8, args: Args<'_>, wants: &mut Vec<Want>) {
        let Some(command) = command::find(args) else { return };
        if let Some((id, _)) = receipt::unwrap(args) {
            wants.push(Want { db: RECEIPTS, key: id.to_vec(), access: Access::Write });
        }
        let access = if command.flags.has(Flags::WRITE) { Access::Write } else { Access::Read };
        for at in command.key_positions(args) {
            wants.push(Want { db, key: args[at].to_vec(), access });
        }
    }

    /// What an operation needs, if it is one of calls. Any other waits for nobody.
    pub(super) fn wants_of_body(body: &Body) -> Option<Vec<Want>> {
        let mut wants = Vec::new();
        match body {
            Body::Call { db, args } => Shard::wants_of(*db, args.args(), &mut wants),
            Body::Exec { watches, calls, .. } => {
                for Watch { db, key, .. } in watches {
                    wants.push(Want { db: *db, key: key.clone(), access: Access::Read });
                }
                calls.iter().for_each(|(db, args)| Shard::wants_of(*db, args.args(), &mut wants));
            }
            Body::Tick | Body::Unblock { .. } | Body::DropWaiters { .. } | Body::Txn(_) => {
                return None;
            }
        }
        Some(wants)
    }

    /// Does anything stand in the way of an operation?
    pub(crate) fn is_obstructed(&self, body: &Body) -> bool {
        Shard::wants_of_body(body).is_some_and(|wants| self.is_in_the_way(&wants))
    }

    /// Is anything locked that a call needs, or does anybody wait for it who came before?
    pub(crate) fn is_in_the_way(&self, wants: &[Want]) -> bool {
        let is_queued = wants.iter().any(|want| self.txns.is_queued(want));
        is_queued && !planted!("parked-is-overtaken") || self.obstructs(wants)
    }

    /// Does any transaction stand in the way of these wants?
    pub(crate) fn obstructs(&self, wants: &[Want]) -> bool {
        let mut obstructed = false;
        self.txns.locks.obstacles(wants, |_| obstructed = true);
        // A key that is locked for reading is there until its readers are decided: its time comes
        // behind them.
        obstructed |= wants.iter().any(|Want { db, key, .. }| {
            let due = |entry: &Entry| entry.expires <= self.clock;
            self.dbs[usize::from(*db)].get(key).is_some_and(due) && self.txns.locks.has(*db, key)
        });
        obstructed && !planted!("locked-key-read")
    }

    /// Lets an operation wait until what it needs is free.
    pub(crate) fn park(&mut self, op: Op, reply: &mut Reply<'_>) -> Outcome {
        if self.txns.parked_len() >= PARKED_MAX {
            reply.error("TRYAGAIN too many commands wait for transactions, it was not executed");
            return Outcome::Replied;
        }
        let number = self.next_place();
        let origin = op.origin.unwrap_or(Origin { node: PARKED, number });
        self.txns.park(number, Parked { op, origin });
        Outcome::Parked { origin }
    }

    /// A call that waited for a key finds another one locked that it needs: it begins anew when
    /// that is free, and the time that it may wait with it.
    pub(crate) fn repark(&mut self, op: Op) {
        let origin = op.origin.expect("who waits has an origin");
        let number = self.next_place();
        self.txns.park(number, Parked { op, origin });
    }

    /// The place behind all that is parked.
    pub(super) fn next_place(&self) -> u64 {
        let last = self.txns.parked.last_key_value().map_or(0, |(number, _)| *number);
        self.sequence.max(last + 1)
    }

    /// The transactions that are not over.
    pub fn doubts(&self) -> Vec<Doubt> {
        self.txns.doubts().collect()
    }

    /// Whose operations wait for transactions.
    pub fn parked_origins(&self) -> BTreeSet<Origin> {
        self.txns.parked.values().map(|parked| parked.origin).collect()
    }

    /// Whose calls wait for transactions here, and may wait for keys when those are over.
    pub(crate) fn parked_waits(&self) -> impl Iterator<Item = Origin> {
        let parked = self.txns.parked.values();
        parked.filter(|parked| parked.may_wait()).map(|parked| parked.origin)
    }

    /// Takes out a call that may wait for keys when the transactions that it waits for are over.
    pub(crate) fn unpark(&mut self, target: Origin) -> Option<Op> {
        let is_it = |parked: &Parked| parked.origin == target && parked.may_wait();
        let (&number, _) = self.txns.parked.iter().find(|(_, parked)| is_it(parked))?;
        let parked = self.txns.unpark(number)?;
        self.txns.freed = true;
        self.close_ranks();
        Some(parked.op)
    }

    /// Would this call wait?
    pub fn keeps_waiting(&self, db: u8, args: Args<'_>) -> bool {
        if !self.txns.is_locking() {
            return false;
        }
        let mut wants = Vec::new();
        Shard::wants_of(db, args, &mut wants);
        self.is_in_the_way(&wants)
    }

    /// Has any transaction locked anything?
    pub fn has_locks(&self) -> bool {
        self.txns.is_locking()
    }

    /// Is there a transaction that is not over?
    pub fn has_doubts(&self) -> bool {
        self.txns.has_doubts()
    }

    /// How many operations wait for transactions.
    pub fn parked(&self) -> usize {
        self.txns.parked_len()
    }

    /// Asserts what must always hold between transactions and keys.
    pub fn check_txns(&self) {
        self.txns.check();
        self.check_waits();
    }

    /// Agrees or refuses, into `reply`. False: it has to wait.
    fn prepare(&mut self, prepare: &Prepare, reply: &mut Reply<'_>, effects: &mut Effects) -> bool {
        let txn = prepare.txn;
        let is_held = prepare.after.is_none_or(|before| self.txns.prepared.contains_key(&before));
        let wants = wants_of(prepare);
        let overtakes = self.overtakes(prepare, &wants);
        if let Some(before) = prepare.after {
            self.commit(before, &mut Reply::new(&mut Vec::new(), prepare.proto), effects);
        }
        let floor = Millis(self.clock.0.saturating_sub(TXN_TOMBSTONE_TIME.as_millis() as u64));
        self.txns.forget_done(txn.node, &prepare.done, floor);
        match self.txns.standing(txn) {
            Some(Standing::Prepared) => return self.agree_again(txn, reply),
            Some(Standing::Aborted) if planted!("prepare-after-rollback") => {}
            None if txn.born >= floor => {}
            // Somebody else has settled it meanwhile. No reply is left, and this is no refusal.
            Some(Standing::Committed) => {
                reply.error("UNKNOWN the transaction was settled by another node");
                return true;
            }
            _ => {
                reply.status(&format!("FENCED {}", self.clock.0));
                return true;
            }
        }
        match self.obstacle(txn, prepare.span, &wants, overtakes) {
            Obstacle::None => {}
            Obstacle::Younger => return false,
            Obstacle::Older => {
                reply.status(BUSY);
                return true;
            }
        }
        let is_broken = prepare.unbroken && !is_held;
        if is_broken || prepare.compares.iter().any(|watch| self.is_dirty(watch)) {
            reply.status(CHANGED);
            return true;
        }
        let stage = match self.stage_of(prepare) {
            Ok(stage) => stage,
            Err((at, error)) => {
                reply.error(&format!("{FAILED} {at} {error}"));
                return true;
            }
        };
        agree(&stage, reply);
        if prepare.span.is_whole() {
            self.txns.locks.lock_whole(txn);
        } else {
            self.txns.locks.lock(txn, &wants);
        }
        let (participants, since) = (prepare.participants.clone(), self.clock);
        self.txns.aborted.remove(&txn);
        self.txns.prepared.insert(txn, Prepared { participants, since, wants, stage });
        true
    }

    fn agree_again(&self, txn: TxnId, reply: &mut Reply<'_>) -> bool {
        let prepared = self.txns.prepared.get(&txn).expect("its standing was just looked up");
        agree(&prepared.stage, reply);
        true
    }

    /// Does it need what calls wait for that are parked? What the one before it holds is its own. Who needs the whole
    /// shard waits for every holder by itself, and so for whomever the calls wait for.
    fn overtakes(&self, prepare: &Prepare, wants: &[Want]) -> bool {
        let Book { locks, .. } = &self.txns;
        let is_own = |want| prepare.after.is_some_and(|before| locks.is_held_by(before, want));
        wants.iter().any(|want| self.txns.is_queued(want) && !is_own(want))
    }

    /// Who stands in the way of a transaction? A call that is parked does, and with it whoever it may wait for:
    /// every holder. Else a call over several keys might never find all of them free.
    fn obstacle(&self, txn: TxnId, span: Span, wants: &[Want], overtakes: bool) -> Obstacle {
        let of = |holder: TxnId| {
            let waits = txn.is_older_than(&holder) || planted!("wait-for-everybody");
            if waits { Obstacle::Younger } else { Obstacle::Older }
        };
        let mut worst = Obstacle::None;
        self.obstacles(span, wants, |holder| worst = worst.max(of(holder)));
        if overtakes {
            worst = worst.max(Obstacle::Younger);
            if !planted!("waits-behind-who-waits-for-older") {
                self.txns.holders().for_each(|holder| worst = worst.max(of(holder)));
            }
        }
        worst
    }

    fn obstacles(&self, span: Span, wants: &[Want], each: impl FnMut(TxnId)) {
        if span.is_whole() {
            self.txns.holders().for_each(each);
        } else {
            self.txns.locks.obstacles(wants, each);
        }
    }

    /// A transaction that is parked has something in its way, and is tried again when one that is younger has ended.
    /// So nobody waits in a circle: each would have to be older than the next.
    fn check_waits(&self) {
        for Parked { op, .. } in self.txns.parked.values() {
            let Body::Txn(txn) = &op.body else { continue };
            let Txn::Prepare(prepare) = &**txn else { continue };
            let (txn, wants) = (prepare.txn, wants_of(prepare));
            let mut waits = self.overtakes(prepare, &wants);
            self.obstacles(prepare.span, &wants, |_| waits = true);
            assert!(waits, "{txn} is parked, and nothing is in its way");
            let has_younger = self.txns.holders().any(|holder| txn.is_older_than(&holder));
            assert!(has_younger, "{txn} is parked, and nobody younger holds anything");
        }
    }

    /// What is ready once this is prepared; or which call fails, and why.
    fn stage_of(&mut self, prepare: &Prepare) -> Result<Stage, (usize, String)> {
        match prepare.span {
            Span::Keys => self.run_overlay(prepare),
            Span::Whole => {
                // That is all that can go wrong with what a gateway puts.
                let receipt = prepare.calls.iter().position(|(db, _)| *db == RECEIPTS);
                if let Some(at) = receipt
                    && receipt::is_full(&self.dbs[usize::from(RECEIPTS)])
                {
                    return Err((at, receipt::FULL.message().to_owned()));
                }
                Ok(Stage::Deferred { proto: prepare.proto, calls: prepare.calls.clone() })
            }
            Span::Survey => match self.run_overlay(prepare)? {
                Stage::Overlay { writes, replies, .. } if writes.is_empty() => {
                    Ok(Stage::Survey { replies })
                }
                _ => Err((0, "ERR a survey changes nothing".to_owned())),
            },
        }
    }

    /// Runs the calls, takes what they changed out again, and puts back what was there. Nothing is
    /// kept of calls of which one failed that may not: then it is told which, and why.
    fn run_overlay(&mut self, prepare: &Prepare) -> Result<Stage, (usize, String)> {
        self.dbs.iter_mut().for_each(|db| db.journal_begin());
        let mut effects = Effects::default();
        let replies = self.run_calls(prepare.proto, &prepare.calls, &mut effects);
        let writes = self.take_writes();
        let rollback = prepare.rollback && !planted!("failed-call-is-a-yes");
        match rollback::first_error(&replies).filter(|_| rollback) {
            Some((at, error)) => Err((at, error.to_owned())),
            None => Ok(Stage::Overlay { writes, replies, publish: effects.publish }),
        }
    }

    /// Ends the journals of all databases: takes out what was changed since they began, and puts
    /// back what was there.
    pub(super) fn take_writes(&mut self) -> Vec<Write> {
        self.waiters.take_ready();
        let mut writes = Vec::new();
        for db in 0..self.dbs.len() {
            // Nobody asks for what is undone.
            let probe = self.dbs[db].probe_aside(None);
            for (key, old) in self.dbs[db].journal_end() {
                let entry = self.dbs[db].remove(&key);
                let changed = match (&entry, &old) {
                    (Some(entry), _) => entry.version == self.sequence,
                    (None, Some(old)) => old.expires > self.clock,
                    (None, None) => false,
                };
                if let Some(old) = old {
                    self.dbs[db].insert(&key, old);
                }
                if changed {
                    writes.push(Write { db: db as u8, key: key.to_vec(), entry });
                }
            }
            self.dbs[db].probe_aside(probe);
        }
        writes
    }

    pub(super) fn run_calls(
        &mut self,
        proto: Proto,
        calls: &[(u8, ArgsBuf)],
        effects: &mut Effects,
    ) -> Vec<Vec<u8>> {
        let mut replies = Vec::with_capacity(calls.len());
        for (db, args) in calls {
            let asker = Asker { db: usize::from(*db), proto, origin: None };
            let mut cx = Context::write(self, effects, asker);
            cx.scope = Scope::Exec;
            let mut bytes = Vec::new();
            execute(&mut cx, args.args(), &mut Reply::new(&mut bytes, proto));
            replies.push(bytes);
        }
        replies
    }

    /// Runs a call that may touch keys which it does not name. If one of them is of another shard, or
    /// locked, it is all undone, and the reply is `ESCAPED`: the gateway has to run it.
    pub(crate) fn run_roaming(
        &mut self,
        asker: Asker,
        args: Args<'_>,
        reply: &mut Vec<u8>,
        effects: &mut Effects,
    ) {
        let slots = self.slots.clone().expect("a shard that is alone has nothing to escape to");
        let sees = self.txns.is_locking();
        self.dbs.iter_mut().for_each(|db| db.journal_begin());
        for db in &mut self.dbs[..DATABASES] {
            db.probe_slots(slots.clone(), sees);
        }
        let (mark, mut inner) = (reply.len(), Effects::default());
        let mut cx = Context::write(self, &mut inner, Asker { origin: None, ..asker });
        execute(&mut cx, args, &mut Reply::new(reply, asker.proto));
        let (mut escaped, mut wants) = (false, Vec::new());
        for (number, db) in self.dbs[..DATABASES].iter_mut().enumerate() {
            let noted = db.probe_take();
            db.probe_end();
            escaped |= noted.walked || noted.cleared || noted.drawn || !noted.missing.is_empty();
            let want = |key: &Str| {
                let (db, access) = (number as u8, Access::Write);
                Want { db, key: key.to_vec(), access }
            };
            wants.extend(noted.seen.iter().map(want));
        }
        if escaped || self.obstructs(&wants) {
            self.take_writes();
            reply.truncate(mark);
            reply.extend_from_slice(ESCAPED);
            return;
        }
        if reply.get(mark) == Some(&b'-') && self.scripts.lack(receipt::bare(args)) {
            reply.splice(mark..mark, UNDONE.iter().copied());
        }
        self.dbs.iter_mut().for_each(|db| drop(db.journal_end()));
        effects.publish.append(&mut inner.publish);
    }

    /// Makes a prepared transaction true.
    fn commit(&mut self, txn: TxnId, reply: &mut Reply<'_>, effects: &mut Effects) {
        let Some(Prepared { participants, wants, stage, .. }) = self.txns.prepared.remove(&txn)
        else {
            // Repeated, or forgotten since: it can't be one that this participant refused.
            match self.txns.committed.get(&txn) {
                Some(committed) => put_replies(&committed.replies, reply),
                None => reply.ok(),
            }
            return;
        };
        let mut replies = Vec::new();
        match stage {
            Stage::Overlay { writes, mut publish, .. } => {
                writes.into_iter().for_each(|write| self.fold_in(write));
                effects.publish.append(&mut publish);
            }
            Stage::Deferred { proto, calls } => {
                replies = self.run_calls(proto, &calls, effects);
            }
            Stage::Survey { .. } => {}
        }
        self.txns.free(txn, &wants);
        put_replies(&replies, reply);
        let since = self.clock;
        if !planted!("commit-leaves-no-record") {
            self.txns.committed.insert(txn, Committed { participants, since, replies });
        }
    }

    fn fold_in(&mut self, Write { db, key, entry }: Write) {
        let number = usize::from(db);
        self.changes += 1;
        match entry {
            Some(entry) => {
                let entry = Entry { version: self.sequence, ..entry };
                self.dbs[number].insert(&key, entry);
                if self.waiters.wants(number, &key) {
                    self.waiters.mark_ready(number, &key);
                }
            }
            None => {
                self.dbs[number].remove(&key);
                self.note_deleted(number, &key);
            }
        }
    }

    /// Drops a prepared transaction, and refuses it if it comes late.
    fn abort(&mut self, txn: TxnId) {
        if self.txns.committed.contains_key(&txn) {
            unreachable!("{txn:?} is committed here and was to be aborted");
        }
        if let Some(prepared) = self.txns.prepared.remove(&txn) {
            self.txns.free(txn, &prepared.wants);
        }
        self.txns.aborted.insert(txn);
        if planted!("rollback-without-record") {
            self.txns.aborted.remove(&txn);
        }
    }

    fn fence(&mut self, txn: TxnId, reply: &mut Reply<'_>) {
        let standing = self.txns.standing(txn).unwrap_or_else(|| {
            self.txns.aborted.insert(txn);
            Standing::Aborted
        });
        reply.status(match standing {
            Standing::Prepared => "PREPARED",
            Standing::Committed => "COMMITTED",
            Standing::Aborted => "ABORTED",
        });
    }

    /// If this operation has freed keys: runs what waited and can go on, in the order in which it came. Each is tried once: what
    /// runs here can lock keys, but frees none. Each counts as an operation of its own: a version
    /// that one of them reads must not be that of a change which another makes after it.
    pub(crate) fn run_parked(&mut self, effects: &mut Effects) {
        if !std::mem::take(&mut self.txns.freed) {
            return;
        }
        let mut held = std::mem::take(&mut self.held).into_iter().peekable();
        for number in self.txns.start_over() {
            let is_due = |held: &Held| held.place <= number && !planted!("read-behind-its-write");
            while let Some(held) = held.next_if(is_due) {
                self.try_held(held, effects);
            }
            let Parked { op, origin } =
                self.txns.parked.remove(&number).expect("its number was just listed");
            let mut reply = Vec::new();
            self.sequence += u64::from(!planted!("parked-share-a-version"));
            if self.try_parked(&op, &mut reply, effects) {
                if !reply.is_empty() {
                    effects.late.push(Late { origin, reply });
                }
            } else {
                self.txns.park(number, Parked { op, origin });
            }
        }
        held.for_each(|held| self.try_held(held, effects));
    }

    /// False if it has to wait on. A call that waits for a key from here on has no reply yet.
    fn try_parked(&mut self, op: &Op, reply: &mut Vec<u8>, effects: &mut Effects) -> bool {
        if let Body::Txn(txn) = &op.body {
            let Txn::Prepare(prepare) = &**txn else { unreachable!("only a Prepare waits") };
            return self.prepare(prepare, &mut Reply::new(reply, op.proto), effects);
        }
        if self.is_obstructed(&op.body) {
            return false;
        }
        self.run_body(op, reply, effects);
        true
    }
}

/// What stands in the way of a transaction, at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Obstacle {
    None,
    Younger,
    Older,
}

fn wants_of(prepare: &Prepare) -> Vec<Want> {
    let mut wants = Vec::new();
    if prepare.span.is_whole() {
        return wants;
    }
    for (db, args) in &prepare.calls {
        Shard::wants_of(*db, args.args(), &mut wants);
    }
    for Watch { db, key, .. } in &prepare.compares {
        wants.push(Want { db: *db, key: key.clone(), access: Access::Read });
    }
    wants
}

/// YES.
fn agree(stage: &Stage, reply: &mut Reply<'_>) {
    match stage {
        Stage::Overlay { replies, .. } | Stage::Survey { replies } => {
            put_replies(replies, reply);
        }
        Stage::Deferred { .. } => reply.array(0),
    }
}

fn put_replies(replies: &[Vec<u8>], reply: &mut Reply<'_>) {
    reply.array(replies.len());
    replies.iter().for_each(|one| reply.bulk(one));
}

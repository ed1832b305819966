//! Calls that run at the gateway: their keys are fetched, a scratch shard runs them, and what they
//! changed is prepared everywhere, on the condition that nothing has changed meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use keyspace::OnTimeout;
use keyspace::blocking::{Unit, awaits, timeout_place};
use keyspace::command::{self, Flags};
use keyspace::limits::FETCH_BYTES_MAX;
use keyspace::op::{Unblock, Watch};
use keyspace::receipt::{self, RECEIPTS};
use keyspace::shard::end_of_wait;
use keyspace::txn::{Done, Key, Machine, READ_TOO_MUCH, Ran, Scratch, Span, rolled_back};
use stdx::{Instant, planted};
use wire::resp::{Decoder, ReplyLimits, Value, is_null};
use wire::{Args, ArgsBuf, Proto};

use super::run::{Answer, Ask, Part, Phase, Running};
use super::{ASK, Coordinator, Question};
use crate::effects::Effects;
use crate::limits::{
    TXN_BYTES_AHEAD_MAX, TXN_CHANGES_MAX, TXN_FETCHES_MAX, TXN_KEYS_AHEAD_MAX, TXN_KEYS_AHEAD_MIN,
    TXN_KEYS_MAX, TXN_SNAPSHOT_TRIES,
};
use crate::message::Kind;
use crate::request::{Moment, too_many_keys};
use crate::route::{receipt_home, shard_of};
use crate::seats::Seats;

/// A run at the gateway.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) scratch: Scratch,
    pub(super) bytes: usize,
    fetches: u32,
    /// Keys that shards have drawn, to be fetched.
    drawn: Vec<Key>,
    /// What the run did; then it is checked, or prepared.
    pub(super) done: Option<Done>,
    checking: bool,
    changed: bool,
    /// The questions that wait for keys: where, and under which number.
    awaits: Vec<(usize, u64)>,
    /// The keys are to be locked first.
    holds: bool,
    /// Keys that were fetched because they were likely to be touched next.
    ahead: usize,
}

impl Trial {
    /// Is it looked at whether anything has changed since?
    pub(super) fn is_checking(&self) -> bool {
        self.checking
    }
}

impl Trial {
    /// A script that stops at the first key that it misses, as one that adds up what it reads, would come
    /// again for each: it gets the next ones of its walk with it, twice as many each time.
    fn likely_next(&mut self, missing: &[Key]) -> Vec<Key> {
        let count = TXN_KEYS_AHEAD_MIN << self.fetches.min(16);
        let left = TXN_KEYS_AHEAD_MAX.saturating_sub(self.ahead);
        let mut bytes = 0;
        let small = |(key, its): (&Key, usize)| {
            bytes += its;
            (bytes <= TXN_BYTES_AHEAD_MAX).then(|| key.clone())
        };
        let next = self.scratch.met_behind(missing).take(count.min(left)).map_while(small);
        let next: Vec<Key> = next.collect();
        self.ahead += next.len();
        next
    }
}

impl Running {
    /// Is it a call of SYNOD.IDEM?
    pub(super) fn is_once(&self) -> bool {
        let calls = self.request.as_ref().map(|request| &request.exec.calls[..]);
        matches!(calls, Some([(_, args)]) if receipt::unwrap(args.args()).is_some())
    }

    /// Does it only read, as far as its commands tell?
    fn reads(&self) -> bool {
        let reads = |args: Args<'_>| {
            command::find(receipt::bare(args)).is_some_and(|one| one.flags.has(Flags::READONLY))
        };
        let request = self.request.as_ref();
        request.is_some_and(|request| request.exec.calls.iter().all(|(_, args)| reads(args.args())))
    }

    /// If one of the calls has failed that may not, none of them changes anything, and that is the
    /// answer; what was read has to be true all the same.
    fn note_failure(&mut self, done: &mut Done) {
        let Some(request) = self.request.as_ref().filter(|request| request.exec.rollback) else {
            return;
        };
        let error = |reply: &Vec<u8>| {
            let text = reply.strip_prefix(b"-")?;
            Some(String::from_utf8_lossy(text.trim_ascii_end()).into_owned())
        };
        let mut errors = done.replies.iter().enumerate();
        let first = errors.find_map(|(at, reply)| Some((at, error(reply)?)));
        if let Some((at, error)) = first {
            let text = rolled_back(at, request.exec.calls[at].1.args(), &error);
            self.abort = Some(format!("-{text}\r\n").into_bytes());
            done.flushed.clear();
            done.puts.clear();
            done.publish.clear();
        }
    }
}

impl Coordinator {
    /// Begins to run the calls here.
    pub(super) fn try_out(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        groups: &mut Seats,
    ) {
        let request = run.request.as_ref().expect("what is tried was asked for");
        let seed = run.id.number.wrapping_mul(31).wrapping_add(u64::from(run.id.attempt));
        let mut scratch = Scratch::new(self.clock.max(moment.wall), seed);
        if let Some(member) = groups.used().find_map(|(_, seat)| seat.member()) {
            scratch.set(member.shard().settings().clone());
        }
        let mut keys: Vec<Key> = Vec::new();
        for Watch { db, key, .. } in &request.exec.watches {
            keys.push((*db, key.clone()));
        }
        let mut sources = Vec::new();
        for (db, args) in &request.exec.calls {
            let args = args.args();
            let Some(command) = command::find(args) else { continue };
            for at in command.key_positions(args) {
                keys.push((*db, args[at].to_vec()));
            }
            sources.extend(source_of(receipt::bare(args)));
            if let Some((id, _)) = receipt::unwrap(args) {
                keys.push((RECEIPTS, id.to_vec()));
            }
        }
        keys.sort();
        keys.dedup();
        let mut holds = run.changes >= TXN_CHANGES_MAX || !run.names.is_empty();
        if holds {
            run.keys.extend(std::mem::take(&mut keys));
            holds = !(run.keys.is_empty() && run.names.is_empty());
        }
        let trial = Trial {
            scratch,
            bytes: 0,
            fetches: 0,
            drawn: Vec::new(),
            done: None,
            checking: false,
            changed: false,
            awaits: Vec::new(),
            holds,
            ahead: 0,
        };
        run.waits.clear();
        run.phase = Phase::Trial(Box::new(trial));
        run.wake = run.deadline;
        for (ask, args) in sources {
            // Libraries are in all shards, scripts where they have run.
            let shards = if matches!(ask, Ask::Script) { groups.len() } else { 1 };
            for shard in 0..shards {
                let (ask, db, proto, kind) = (ask.clone(), 0, Proto::Resp2, Kind::Read);
                let (may_block, args) = (false, &args);
                let question = Question { shard, ask, db, proto, kind, may_block, args };
                self.call(moment, serial, run, question, groups);
            }
        }
        self.fetch(moment, serial, run, keys, groups);
    }

    /// The shard of a key that the calls touch, or of their receipt.
    pub(super) fn home_of_key(&self, run: &Running, db: u8, key: &[u8]) -> usize {
        match run.request.as_ref().and_then(|request| request.exec.calls.first()) {
            Some((_, args)) if db == RECEIPTS => receipt_home(self.shards, args.args()),
            _ => shard_of(self.shards, key),
        }
    }

    /// Asks the shards of these keys for them.
    fn fetch(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        keys: Vec<Key>,
        groups: &mut Seats,
    ) {
        let mut places: BTreeMap<(usize, u8), Vec<Vec<u8>>> = BTreeMap::new();
        for (db, key) in keys {
            places.entry((self.home_of_key(run, db, &key), db)).or_default().push(key);
        }
        for ((shard, db), keys) in places {
            let words = [&b"synod.fetch"[..]].into_iter().chain(keys.iter().map(Vec::as_slice));
            let (args, proto, kind) = (words.collect(), Proto::Resp2, Kind::Read);
            let ask = Ask::Fetch { db, keys };
            let question = Question { shard, ask, db, proto, kind, may_block: false, args: &args };
            self.call(moment, serial, run, question, groups);
        }
        if run.waits.is_empty() {
            // No key to begin with: an empty answer lets it run.
            let ask = Ask::Fetch { db: 0, keys: Vec::new() };
            let ticket = self.ticket(serial, run, ask);
            self.answered(ticket, b"*0\r\n");
        }
    }

    /// An answer to a question of a trial.
    #[expect(clippy::too_many_arguments, reason = "an answer, and all that it may concern")]
    pub(super) fn heard_trial(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        ask: Ask,
        reply: &[u8],
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        let Phase::Trial(trial) = &mut run.phase else { unreachable!("a trial has asked") };
        if let Ask::Await = ask {
            // A value, or a new leader that knows nothing of those who wait: it is tried again.
            self.stop_waiting(moment, run, groups);
            return self.start(moment, serial, run, groups);
        }
        if reply.first() == Some(&b'-') {
            // Reads, all of them: nothing was done.
            run.reply(reply, out);
            run.phase = Phase::Over;
            return;
        }
        let value = Decoder::new(ReplyLimits::default()).decode(reply);
        let Ok(Some((value, _))) = value else { unreachable!("a group answers in RESP") };
        match (ask, value) {
            (Ask::Fetch { db, keys }, Value::Array(items)) => {
                trial.bytes += reply.len();
                for (key, item) in keys.into_iter().zip(items) {
                    if !add(trial, run.request.as_deref(), (db, key), item) {
                        return run.reply_changed(out);
                    }
                }
            }
            (Ask::Versions(watches), Value::Array(items)) => {
                let same =
                    |(watch, item): (&Watch, &Value)| *item == Value::Int(watch.version as i64);
                trial.changed |= !watches.iter().zip(&items).all(same);
            }
            (Ask::Draw(db), Value::Bulk(key)) => trial.drawn.push((db, key)),
            (Ask::Script, Value::Bulk(source)) => {
                lend(&mut self.machine, &mut trial.scratch, |scratch| scratch.add_script(&source));
            }
            (Ask::Library, Value::Bulk(source)) => {
                lend(&mut self.machine, &mut trial.scratch, |scratch| scratch.add_library(&source));
            }
            _ => {}
        }
        if !run.waits.is_empty() {
            return;
        }
        if trial.checking {
            return self.checked(moment, run, out);
        }
        if !trial.drawn.is_empty() {
            let keys = std::mem::take(&mut trial.drawn);
            return self.fetch(moment, serial, run, keys, groups);
        }
        if std::mem::take(&mut trial.holds) {
            return self.hold(moment, serial, run, groups);
        }
        self.run_trial(moment, serial, run, groups, out);
    }

    /// All that was asked for is here: the calls run.
    pub(super) fn run_trial(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        let Phase::Trial(trial) = &mut run.phase else { unreachable!("a trial is run") };
        let request = run.request.as_ref().expect("what is tried was asked for");
        trial.fetches += 1;
        let Trial { scratch, .. } = &mut **trial;
        let (proto, calls) = (request.exec.proto, &request.exec.calls);
        let ran = lend(&mut self.machine, scratch, |scratch| scratch.run(proto, calls));
        let fits = trial.fetches < TXN_FETCHES_MAX && trial.bytes < FETCH_BYTES_MAX;
        let known = || trial.scratch.keys().cloned();
        let (too_many, too_much);
        let refusal: &[u8] = match ran {
            Ran::Done(done) if done.puts.len().max(done.compares.len()) <= TXN_KEYS_MAX => {
                return self.ran(moment, serial, run, done, groups, out);
            }
            Ran::Done(_) => {
                too_many = too_many_keys();
                &too_many
            }
            Ran::Missing(_) | Ran::Walked(_) if !fits => {
                too_much = format!("-{READ_TOO_MUCH}\r\n").into_bytes();
                &too_much
            }
            // Their names are true as long as all is locked, and so is what is fetched with them.
            Ran::Walked(dbs) => {
                run.keys.extend(known());
                run.names.extend(dbs);
                return self.hold_anew(moment, serial, run, groups);
            }
            Ran::Drawn(dbs) if !run.names.is_empty() => {
                run.names.extend(dbs);
                return self.hold_anew(moment, serial, run, groups);
            }
            Ran::Missing(keys) if !run.names.is_empty() => {
                let ahead = trial.likely_next(&keys);
                run.keys.extend(keys);
                run.keys.extend(ahead);
                if run.keys.len() <= TXN_KEYS_MAX {
                    return self.hold_anew(moment, serial, run, groups);
                }
                too_many = too_many_keys();
                &too_many
            }
            Ran::Missing(keys) => {
                // To wait for them with locks in hand could be to wait in a circle.
                self.release(moment, run, groups);
                return self.fetch(moment, serial, run, keys, groups);
            }
            Ran::Drawn(dbs) => {
                self.release(moment, run, groups);
                return self.draw(moment, serial, run, dbs, groups);
            }
        };
        run.reply(refusal, out);
        run.phase = Phase::Over;
        self.release(moment, run, groups);
    }

    /// RANDOMKEY: each shard draws one, and the run draws among them and what it has.
    fn draw(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        dbs: Vec<u8>,
        groups: &mut Seats,
    ) {
        let args = [&b"randomkey"[..]].into_iter().collect();
        for db in dbs {
            let Phase::Trial(trial) = &mut run.phase else { unreachable!("a trial draws") };
            trial.scratch.let_draw(db);
            for shard in 0..groups.len() {
                let (ask, proto, kind) = (Ask::Draw(db), Proto::Resp2, Kind::Read);
                let (may_block, args) = (false, &args);
                let question = Question { shard, ask, db, proto, kind, may_block, args };
                self.call(moment, serial, run, question, groups);
            }
        }
    }

    /// The calls have run: what they changed is to become true, if what they read still is.
    fn ran(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        done: Done,
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        let mut done = done;
        if self.wait_for_keys(moment, serial, run, &done, groups) {
            return;
        }
        if run.is_once() && done.puts.is_empty() && !run.reads() {
            // Its receipt was there, and that never changes.
            run.reply_all(&done.replies, out);
            run.phase = Phase::Over;
            return self.release(moment, run, groups);
        }
        if planted!("receipt-beside-the-transaction") {
            done.puts.retain(|((db, _), _)| *db != RECEIPTS);
        }
        run.note_failure(&mut done);
        let reads = done.puts.is_empty() && done.flushed.is_empty() && done.publish.is_empty();
        if reads && run.held.is_some() {
            // All of it stood there at the same time.
            run.reply_all(&done.replies, out);
            run.phase = Phase::Over;
            return self.release(moment, run, groups);
        }
        run.keys = done.compares.iter().map(|watch| (watch.db, watch.key.clone())).collect();
        let mut parts: BTreeMap<usize, Part> = BTreeMap::new();
        for watch in &done.compares {
            let home = self.home_of_key(run, watch.db, &watch.key);
            let part = parts.entry(home).or_default();
            part.compares.push(watch.clone());
        }
        if reads && run.tries < TXN_SNAPSHOT_TRIES {
            return self.check(moment, serial, run, (parts, done), groups, out);
        }
        for db in &done.flushed {
            for shard in 0..groups.len() {
                let call = (*db, [&b"flushdb"[..]].into_iter().collect());
                parts.entry(shard).or_default().calls.push(call);
            }
        }
        for ((db, key), args) in &done.puts {
            let part = parts.entry(self.home_of_key(run, *db, key)).or_default();
            part.calls.push((*db, args.clone()));
        }
        if !(run.names.is_empty() && done.flushed.is_empty()) {
            // Whoever is locked has to be told, and whoever has keys to delete them.
            (0..groups.len()).for_each(|shard| _ = parts.entry(shard).or_default());
        }
        if parts.len() <= 1 && run.held.is_none() {
            let (shard, part) = parts.pop_first().unwrap_or_default();
            let Phase::Trial(trial) = &mut run.phase else { unreachable!("a trial has run") };
            trial.done = Some(done);
            return self.alone(moment, serial, run, (shard, part), groups);
        }
        let span = if done.flushed.is_empty() { Span::Keys } else { Span::Whole };
        let answer = Answer::Known { replies: done.replies, publish: done.publish };
        self.prepare(moment, serial, run, (parts, span, answer), groups);
    }

    /// Nothing was changed: if what was read is so still, it was so at one moment in between.
    fn check(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (parts, done): (BTreeMap<usize, Part>, Done),
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        let Phase::Trial(trial) = &mut run.phase else { unreachable!("a trial has run") };
        let single = parts.is_empty() || parts.len() == 1 && trial.fetches <= 1;
        trial.done = Some(done);
        trial.checking = true;
        if single {
            return self.checked(moment, run, out);
        }
        for (shard, part) in parts {
            let mut of_db: BTreeMap<u8, Vec<Watch>> = BTreeMap::new();
            part.compares.into_iter().for_each(|one| of_db.entry(one.db).or_default().push(one));
            for (db, watches) in of_db {
                let keys = watches.iter().map(|watch| watch.key.as_slice());
                let words = [&b"synod.versions"[..]].into_iter().chain(keys);
                let (args, proto, kind) = (words.collect(), Proto::Resp2, Kind::Read);
                let (ask, may_block, args) = (Ask::Versions(watches), false, &args);
                let question = Question { shard, ask, db, proto, kind, may_block, args };
                self.call(moment, serial, run, question, groups);
            }
        }
    }

    /// All versions were looked at again.
    fn checked(&mut self, moment: Moment, run: &mut Running, out: &mut Effects) {
        let Phase::Trial(trial) = &mut run.phase else { unreachable!("a trial was checked") };
        if trial.changed && !planted!("shards-read-once") {
            run.changes += 1;
            return self.again(moment, run);
        }
        let done = trial.done.take().expect("what is checked was done");
        run.reply_all(&done.replies, out);
        run.phase = Phase::Over;
    }

    /// A blocking call that found nothing waits until one of its keys has a value. False if it is
    /// none, or has found something.
    fn wait_for_keys(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        done: &Done,
        groups: &mut Seats,
    ) -> bool {
        let Phase::Trial(trial) = &run.phase else { unreachable!("a trial waits") };
        let request = run.request.as_mut().expect("what waits was asked for");
        let is_single = request.is_single;
        let ([(db, call)], [reply]) = (&mut request.exec.calls[..], &done.replies[..]) else {
            return false;
        };
        let (db, args) = (*db, receipt::bare(call.args()));
        let Some(command) = command::find(args) else { return false };
        if !done.puts.is_empty()
            || !is_single
            || !command::may_block(command, args)
            || !is_null(reply)
        {
            return false;
        }
        if args.is(0, "xread") {
            *call = trial.scratch.freeze(db, call.args());
        }
        let (whole, args) = (call.args(), receipt::bare(call.args()));
        let places = awaits(command, args, |key| shard_of(self.shards, key)).into_iter();
        let mut places: BTreeMap<(usize, u8), ArgsBuf> =
            places.map(|(shard, words)| ((shard, db), words)).collect();
        if let Some((id, _)) = receipt::unwrap(whole) {
            // Another try may have been served.
            let words = [&b"synod.await"[..], id].into_iter().collect();
            places.insert((receipt_home(self.shards, whole), RECEIPTS), words);
        }
        let timeout = timeout_of(args);
        self.release(moment, run, groups);
        let mut awaits = Vec::new();
        for ((shard, db), args) in places {
            let (proto, kind) = (Proto::Resp2, Kind::Write);
            let (ask, may_block, args) = (Ask::Await, true, &args);
            let question = Question { shard, ask, db, proto, kind, may_block, args };
            let number = self.call(moment, serial, run, question, groups);
            awaits.extend(number.map(|number| (shard, number)));
        }
        if !run.timed {
            run.deadline = timeout.map_or(Instant::FAR, |timeout| moment.now + timeout);
            run.timed = true;
        }
        let Phase::Trial(trial) = &mut run.phase else { unreachable!("a trial waits") };
        trial.awaits = awaits;
        run.wake = run.deadline;
        true
    }

    /// The keys are waited for no more.
    fn stop_waiting(&mut self, moment: Moment, run: &mut Running, groups: &mut Seats) {
        run.waits.clear();
        let Phase::Trial(trial) = &mut run.phase else { return };
        for (shard, number) in std::mem::take(&mut trial.awaits) {
            if let Some(ticket) = groups[shard].unblock(moment, number, Unblock::Gone, None) {
                self.asks.remove(&(ticket.0 & !ASK));
            }
        }
    }

    /// Ends a call that waits for keys, or is looking what is there before it waits (again): it has
    /// done nothing yet. False for any other. One that has just found something is not kept from it;
    /// should that come to nothing it does not wait again, if its client is gone.
    pub(super) fn end_wait(
        &mut self,
        moment: Moment,
        run: &mut Running,
        how: Unblock,
        groups: &mut Seats,
        out: &mut Effects,
    ) -> bool {
        if !run.may_wait() {
            return false;
        }
        if !matches!(run.phase, Phase::Idle | Phase::Trial(_) | Phase::Scripts(_)) {
            if how == Unblock::Gone {
                (run.client, run.leaves) = (None, true);
            }
            return false;
        }
        self.stop_waiting(moment, run, groups);
        self.release(moment, run, groups);
        if how != Unblock::Gone {
            run.reply(&end_of_wait(run.proto(), OnTimeout::NullArray, how), out);
        }
        run.phase = Phase::Over;
        true
    }
}

/// Does something with a scratch that may run scripts. All scratches share one machine, which takes
/// longer to make than most scripts to run.
fn lend<R>(machine: &mut Machine, scratch: &mut Scratch, act: impl FnOnce(&mut Scratch) -> R) -> R {
    scratch.put_machine(std::mem::take(machine));
    let done = act(scratch);
    *machine = scratch.take_machine();
    done
}

/// Takes a fetched key in. False if the client watches it and it has changed.
pub(super) fn add(
    trial: &mut Trial,
    request: Option<&super::Request>,
    key: Key,
    item: Value,
) -> bool {
    let Value::Array(parts) = item else { unreachable!("SYNOD.FETCH tells three things of a key") };
    let [Value::Int(version), Value::Int(expires), value] = &parts[..] else {
        unreachable!("SYNOD.FETCH tells three things of a key");
    };
    let value = match value {
        Value::Bulk(bytes) => Some(&bytes[..]),
        _ => None,
    };
    let watches = request.map(|request| &request.exec.watches[..]).unwrap_or_default();
    let (db, name) = (key.0, key.1.clone());
    let fits =
        |watch: &Watch| watch.db != db || watch.key != name || watch.version == *version as u64;
    let fits = watches.iter().all(fits);
    let added = trial.scratch.add(key, *version as u64, *expires, value);
    added.expect("a group serializes its values whole");
    fits
}

/// What to ask for, so that a script or function of this call is known.
fn source_of(args: Args<'_>) -> Option<(Ask, ArgsBuf)> {
    let (ask, word) = if args.is(0, "evalsha") || args.is(0, "evalsha_ro") {
        (Ask::Script, &b"synod.script"[..])
    } else if args.is(0, "fcall") || args.is(0, "fcall_ro") {
        (Ask::Library, &b"synod.library"[..])
    } else {
        return None;
    };
    Some((ask, [word, args.get(1)?].into_iter().collect()))
}

/// How long a blocking call waits; nothing for ever.
fn timeout_of(args: Args<'_>) -> Option<Duration> {
    let (at, unit) = timeout_place(args)?;
    let text = std::str::from_utf8(&args[at]).ok()?;
    let number: f64 = text.parse().ok().filter(|number| *number > 0.0)?;
    let seconds = if unit == Unit::Milliseconds { number / 1_000.0 } else { number };
    Duration::try_from_secs_f64(seconds).ok()
}

//! Clients that wait for a key: first come, first served.
//!
//! Who waits is part of the state: BLPOP that finds nothing leaves a [`Waiter`] on every replica,
//! and the push that feeds it serves it in the same operation, before anything else can take the
//! element. The reply goes out as a `Late`. A new leader drops all waiters by a log entry.
//!
//! A retry looks only at the key that became ready: what else the call names may hold other types by
//! then, and Redis serves from the key that was written first, not from the one that is named first.
//!
//! What always holds: a waiter stands in the queue of each of its keys, or in none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use stdx::Millis;
use stdx::codec::{Malformed, Reader, put_bytes, put_varint};
use wire::{Args, ArgsBuf, Proto};

use crate::command::Command;
use crate::context::{Context, OnTimeout, Scope};
use crate::decimal;
use crate::limits::DATABASES;
use crate::op::Origin;
use crate::receipt::{self, RECEIPTS};
use crate::reject::Reject;
use crate::types::xread_timeout;
use crate::value::Typed;

/// A call that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub origin: Origin,
    pub proto: Proto,
    pub db: usize,
    /// The whole call, to run again.
    pub args: ArgsBuf,
    pub keys: Vec<Vec<u8>>,
    pub deadline: Millis,
    pub on_timeout: OnTimeout,
}

type Place = (usize, Vec<u8>);

impl Waiter {
    /// What it waits for: its keys, and for a call of SYNOD.IDEM the receipt.
    fn places(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let receipt = receipt::unwrap(self.args.args()).map(|(id, _)| (usize::from(RECEIPTS), id));
        self.keys.iter().map(|key| (self.db, key.as_slice())).chain(receipt)
    }

    /// The call, to be made once more somewhere else, with what is left of its time.
    pub fn call_for(&self, left: Duration) -> ArgsBuf {
        let args = self.args.args();
        if self.deadline == Millis::FAR {
            return self.args.clone();
        }
        // Nothing would be for ever.
        let millis = left.as_millis().max(1);
        let bare = receipt::bare(args);
        let (place, unit) = timeout_place(bare).expect("who waits may wait");
        let text = match unit {
            Unit::Milliseconds => millis.to_string(),
            Unit::Seconds => format!("{}.{:03}", millis / 1_000, millis % 1_000),
        };
        let at = args.len() - bare.len() + place;
        let words = args.iter().enumerate();
        words.map(|(place, word)| if place == at { text.as_bytes() } else { word }).collect()
    }
}

/// What a timeout counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

/// Where the timeout of a call stands that may wait, and what it counts; nothing if it has none, and
/// does not wait.
pub fn timeout_place(args: Args<'_>) -> Option<(usize, Unit)> {
    if args.is(0, "xread") {
        return Some((xread_timeout(args)?, Unit::Milliseconds));
    }
    let first = args.is(0, "blmpop") || args.is(0, "bzmpop");
    Some((if first { 1 } else { args.len() - 1 }, Unit::Seconds))
}

/// What waits in each shard for a call of several: for lists and sorted sets that one of the keys has a
/// value, for streams that one has entries behind the id. `shard_of` tells where a key is.
pub fn awaits(
    command: &Command,
    args: Args<'_>,
    shard_of: impl Fn(&[u8]) -> usize,
) -> BTreeMap<usize, ArgsBuf> {
    let mut positions = command.key_positions(args);
    if args.is(0, "blmove") || args.is(0, "brpoplpush") {
        // Not the target.
        positions.truncate(1);
    }
    let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in &positions {
        places.entry(shard_of(&args[*at])).or_default().push(*at);
    }
    let call = |places: &[usize]| {
        let keys = places.iter().map(|at| &args[*at]);
        if !args.is(0, "xread") {
            return [&b"synod.await"[..]].into_iter().chain(keys).collect();
        }
        let head = ["xread", "count", "1", "block", "0", "streams"].map(str::as_bytes);
        let ids = places.iter().map(|at| &args[at + positions.len()]);
        head.into_iter().chain(keys).chain(ids).collect()
    };
    places.iter().map(|(shard, places)| (*shard, call(places))).collect()
}

/// All calls of a shard that wait.
#[derive(Debug, Default)]
pub struct Waiters {
    by_origin: BTreeMap<Origin, Waiter>,
    /// Who waits for a key, the longest first; by database.
    queues: [BTreeMap<Vec<u8>, VecDeque<Origin>>; DATABASES + 1],
    deadlines: BTreeSet<(Millis, Origin)>,
    /// Keys that were touched in this operation, in order, each once.
    ready: Vec<Place>,
}

impl Waiters {
    /// How many calls wait.
    pub fn len(&self) -> usize {
        self.by_origin.len()
    }

    /// Does nobody wait?
    pub fn is_empty(&self) -> bool {
        self.by_origin.is_empty()
    }

    /// The call of this origin, if it waits.
    pub fn get(&self, origin: Origin) -> Option<&Waiter> {
        self.by_origin.get(&origin)
    }

    /// When the first of them has waited long enough.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes out the first whose time is over by `now`.
    pub fn take_overdue(&mut self, now: Millis) -> Option<Waiter> {
        let origin =
            self.deadlines.first().filter(|(at, _)| *at <= now).map(|(_, origin)| *origin)?;
        self.remove(origin)
    }

    /// Puts a call at the end of the queue of each of its keys.
    pub fn add(&mut self, waiter: Waiter) {
        let origin = waiter.origin;
        for (db, key) in waiter.places() {
            let queue = self.queues[db].entry(key.to_vec()).or_default();
            // A key that is named twice: its first mention stands last.
            if queue.back() != Some(&origin) {
                queue.push_back(origin);
            }
        }
        if waiter.deadline != Millis::FAR {
            self.deadlines.insert((waiter.deadline, origin));
        }
        let twin = self.by_origin.insert(origin, waiter);
        assert!(twin.is_none(), "one request waits once: {origin:?}");
    }

    /// Takes a call out of every queue.
    pub fn remove(&mut self, origin: Origin) -> Option<Waiter> {
        let waiter = self.by_origin.remove(&origin)?;
        self.deadlines.remove(&(waiter.deadline, origin));
        for (db, key) in waiter.places() {
            let queues = &mut self.queues[db];
            let Some(queue) = queues.get_mut(key) else { continue };
            // Mostly it is the first that is served, and a queue may be long.
            if queue.front() == Some(&origin) {
                queue.pop_front();
            } else {
                queue.retain(|other| *other != origin);
            }
            if queue.is_empty() {
                queues.remove(key);
            }
        }
        Some(waiter)
    }

    /// The call that waits turns out to be wrapped in this one.
    pub(crate) fn wrap(&mut self, origin: Origin, args: ArgsBuf) {
        let waiter = self.remove(origin).expect("who waits is there");
        self.add(Waiter { args, ..waiter });
    }

    /// Who waits, in the order of their origins.
    pub fn origins(&self) -> impl Iterator<Item = Origin> {
        self.by_origin.keys().copied()
    }

    /// Does anybody wait for this key?
    pub fn wants(&self, db: usize, key: &[u8]) -> bool {
        self.queues[db].contains_key(key)
    }

    /// Who waits for this key at place `at` of its queue; at 0 the longest.
    pub fn waiting(&self, db: usize, key: &[u8], at: usize) -> Option<Origin> {
        self.queues[db].get(key)?.get(at).copied()
    }

    /// The key was touched.
    pub fn mark_ready(&mut self, db: usize, key: &[u8]) {
        if !self.ready.iter().any(|(other, name)| *other == db && name == key) {
            self.ready.push((db, key.to_vec()));
        }
    }

    /// The keys that were touched since the last call.
    pub fn take_ready(&mut self) -> Vec<(usize, Vec<u8>)> {
        std::mem::take(&mut self.ready)
    }

    /// Databases were swapped: the waiters of both stay where they are, and whatever stands now
    /// under their keys may serve them.
    pub fn mark_database_ready(&mut self, db: usize) {
        let keys: Vec<_> = self.queues[db].keys().cloned().collect();
        keys.iter().for_each(|key| self.mark_ready(db, key));
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        // In the order in which they came: an origin's number says nothing across nodes, so the
        // queues are written too.
        put_varint(out, self.by_origin.len() as u64);
        for waiter in self.by_origin.values() {
            put_varint(out, u64::from(waiter.origin.node));
            put_varint(out, waiter.origin.number);
            out.push(u8::from(waiter.proto == Proto::Resp3));
            out.push(waiter.db as u8);
            put_varint(out, waiter.deadline.0.wrapping_add(1));
            out.push(u8::from(waiter.on_timeout == OnTimeout::NullArray));
            put_varint(out, waiter.args.args().len() as u64);
            waiter.args.args().iter().for_each(|arg| put_bytes(out, arg));
            put_varint(out, waiter.keys.len() as u64);
            waiter.keys.iter().for_each(|key| put_bytes(out, key));
        }
        put_varint(out, self.queues.iter().map(BTreeMap::len).sum::<usize>() as u64);
        let queues = self.queues.iter().enumerate();
        for (db, (key, queue)) in queues.flat_map(|(db, keys)| keys.iter().map(move |q| (db, q))) {
            out.push(db as u8);
            put_bytes(out, key);
            put_varint(out, queue.len() as u64);
            for origin in queue {
                put_varint(out, u64::from(origin.node));
                put_varint(out, origin.number);
            }
        }
    }

    pub(crate) fn load(reader: &mut Reader<'_>) -> Result<Waiters, Malformed> {
        let mut waiters = Waiters::default();
        for _ in 0..reader.length()? {
            let waiter = load_waiter(reader)?;
            if waiter.deadline != Millis::FAR {
                waiters.deadlines.insert((waiter.deadline, waiter.origin));
            }
            waiters.by_origin.insert(waiter.origin, waiter);
        }
        for _ in 0..reader.length()? {
            let db = usize::from(reader.byte()?);
            let key = reader.bytes()?.to_vec();
            let mut queue = VecDeque::new();
            for _ in 0..reader.length()? {
                let node = reader.varint()? as u32;
                queue.push_back(Origin { node, number: reader.varint()? });
            }
            let queues = waiters.queues.get_mut(db).ok_or_else(|| reader.malformed())?;
            queues.insert(key, queue);
        }
        Ok(waiters)
    }
}

/// The first of `keys` that holds a `T`, for a call that waits if there is none. Another type is an
/// error, but not in a retry, where only the key that became ready is looked at.
pub(crate) fn first_with<'k, T: Typed>(
    cx: &mut Context<'_>,
    keys: impl Iterator<Item = &'k [u8]>,
) -> Result<Option<&'k [u8]>, Reject> {
    let ready = cx.ready_key;
    for key in keys.filter(|key| ready.is_none_or(|ready| ready == *key)) {
        match (cx.get(key).map(T::of), ready) {
            (Some(Some(_)), _) => return Ok(Some(key)),
            (Some(None), None) => return Err(Reject::WrongType),
            (Some(None), Some(_)) | (None, _) => {}
        }
    }
    Ok(None)
}

/// Makes a call wait for `keys`. False if it may not: then it answers at once as if its time were
/// over.
pub(crate) fn wait<'k>(
    cx: &mut Context<'_>,
    args: Args<'_>,
    keys: impl Iterator<Item = &'k [u8]>,
    deadline: Millis,
) -> bool {
    if !cx.may_block() {
        return false;
    }
    // In a retry the call stands in its queues already.
    let (args, keys) = match cx.scope {
        Scope::Retry => (ArgsBuf::new(), Vec::new()),
        _ => (ArgsBuf::from(args), keys.map(<[u8]>::to_vec).collect()),
    };
    cx.block(args, keys, deadline, OnTimeout::NullArray);
    true
}

/// When a timeout in seconds is over; zero means never.
pub(crate) fn deadline(cx: &Context<'_>, seconds: &[u8]) -> Result<Millis, Reject> {
    let number = decimal::parse(seconds)
        .ok_or(Reject::text("ERR timeout is not a float or out of range"))?;
    match u64::try_from(number.thousandfold_ceiling()) {
        Err(_) => Err(Reject::text("ERR timeout is negative")),
        Ok(0) => Ok(Millis::FAR),
        Ok(millis) => Ok(Millis(cx.now().0.saturating_add(millis))),
    }
}

fn load_waiter(reader: &mut Reader<'_>) -> Result<Waiter, Malformed> {
    let node = reader.varint()? as u32;
    let origin = Origin { node, number: reader.varint()? };
    let proto = if reader.byte()? == 1 { Proto::Resp3 } else { Proto::Resp2 };
    let db = usize::from(reader.byte()?);
    let deadline = Millis(reader.varint()?.wrapping_sub(1));
    let on_timeout = if reader.byte()? == 1 { OnTimeout::NullArray } else { OnTimeout::Null };
    let mut args = ArgsBuf::new();
    for _ in 0..reader.length()? {
        args.push(reader.bytes()?);
    }
    let mut keys = Vec::new();
    for _ in 0..reader.length()? {
        keys.push(reader.bytes()?.to_vec());
    }
    Ok(Waiter { origin, proto, db, args, keys, deadline, on_timeout })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_made_once_more_for_the_rest_of_its_time() {
        let again = |call: &str, deadline, left| {
            let args: ArgsBuf = call.split(' ').map(str::as_bytes).collect();
            let (origin, on_timeout) = (Origin { node: 1, number: 1 }, OnTimeout::NullArray);
            let (proto, keys) = (Proto::Resp2, vec![b"k".to_vec()]);
            let waiter = Waiter { origin, proto, db: 0, args, keys, deadline, on_timeout };
            let args = waiter.call_for(Duration::from_millis(left));
            let words: Vec<_> = args.args().iter().map(String::from_utf8_lossy).collect();
            words.join(" ")
        };
        let soon = Millis(1);
        assert_eq!(again("BLPOP k l 9.5", soon, 2_050), "BLPOP k l 2.050");
        assert_eq!(again("blmpop 3 1 k left", soon, 0), "blmpop 0.001 1 k left");
        let read = "XREAD BLOCK 900 STREAMS block 0-1";
        assert_eq!(again(read, soon, 70), "XREAD BLOCK 70 STREAMS block 0-1");
        let once = "SYNOD.IDEM id BZMPOP 5 1 k MIN";
        assert_eq!(again(once, soon, 1_000), "SYNOD.IDEM id BZMPOP 1.000 1 k MIN");
        assert_eq!(again("BLMOVE a b left left 0", Millis::FAR, 5), "BLMOVE a b left left 0");
    }
}

//! Locks that a trial takes before it runs: of the keys that it is known to touch, because they had
//! changed too often, or of every shard as a whole, because it asks for the names of all keys.
//!
//! ```text
//! hold ─▶ Prepare of SYNOD.HOLD and SYNOD.NAMES ─▶ held: the scratch learns what they tell, and runs
//! ```
//!
//! What holds them changes nothing, so it is never undone: it is released by a commit, or taken over by
//! what the run has changed (`Prepare::after`).

use std::collections::BTreeMap;

use keyspace::txn::Span;
use stdx::planted;
use wire::resp::{Decoder, ReplyLimits, Value};

use super::Coordinator;
use super::run::{Answer, Part, Phase, Running};
use super::scratch::{Trial, add};
use crate::effects::Effects;
use crate::request::Moment;
use crate::seats::Seats;

impl Coordinator {
    /// More is to be locked: what is locked is freed first.
    pub(super) fn hold_anew(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        groups: &mut Seats,
    ) {
        self.release(moment, run, groups);
        self.hold(moment, serial, run, groups);
    }

    /// Locks the keys that the calls are known to touch; all, if they ask for the names of all.
    pub(super) fn hold(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        groups: &mut Seats,
    ) {
        let Phase::Trial(trial) = std::mem::replace(&mut run.phase, Phase::Idle) else {
            unreachable!("a trial locks its keys")
        };
        let mut parts: BTreeMap<usize, Part> = BTreeMap::new();
        for db in &run.names {
            for shard in 0..groups.len() {
                let call = (*db, [&b"synod.names"[..]].into_iter().collect());
                parts.entry(shard).or_default().calls.push(call);
            }
        }
        for ((shard, db), keys) in self.places_of(run) {
            let words = [&b"synod.hold"[..]].into_iter().chain(keys.iter().map(Vec::as_slice));
            parts.entry(shard).or_default().calls.push((db, words.collect()));
        }
        let locks_all = !run.names.is_empty() && !planted!("names-without-locks");
        let span = if locks_all { Span::Survey } else { Span::Keys };
        self.prepare(moment, serial, run, (parts, span, Answer::Held(trial)), groups);
    }

    /// The keys that are locked, by their shards and databases.
    fn places_of(&self, run: &Running) -> BTreeMap<(usize, u8), Vec<Vec<u8>>> {
        let mut places: BTreeMap<(usize, u8), Vec<Vec<u8>>> = BTreeMap::new();
        for (db, key) in &run.keys {
            let shard = self.home_of_key(run, *db, key);
            places.entry((shard, *db)).or_default().push(key.clone());
        }
        places
    }

    /// The keys are locked, and this is what stands there: the calls run.
    pub(super) fn held(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (mut trial, votes): (Box<Trial>, BTreeMap<usize, Vec<Vec<u8>>>),
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        run.held = Some((run.id, std::mem::take(&mut run.participants)));
        run.id.attempt += 1;
        let answers = votes.into_iter().map(|(shard, replies)| (shard, replies.into_iter()));
        let mut answers: BTreeMap<usize, _> = answers.collect();
        let mut answer = |shard| {
            let reply = answers.get_mut(&shard).and_then(Iterator::next).unwrap_or_default();
            let value = Decoder::new(ReplyLimits::default()).decode(&reply);
            let Ok(Some((value, _))) = value else { unreachable!("a group answers in RESP") };
            (value, reply.len())
        };
        if !run.names.is_empty() {
            trial.scratch.forget();
            trial.bytes = 0;
        }
        for db in &run.names {
            for shard in 0..groups.len() {
                let (Value::Bulk(names), bytes) = answer(shard) else {
                    unreachable!("SYNOD.NAMES tells them in one piece")
                };
                trial.bytes += bytes;
                trial.scratch.name(*db, &names).expect("a group writes names whole");
            }
        }
        let mut fits = true;
        for ((shard, db), keys) in self.places_of(run) {
            let (Value::Array(items), bytes) = answer(shard) else {
                unreachable!("SYNOD.HOLD tells of each key")
            };
            trial.bytes += bytes;
            for (key, item) in keys.into_iter().zip(items) {
                fits &= add(&mut trial, run.request.as_deref(), (db, key), item);
            }
        }
        run.phase = Phase::Trial(trial);
        run.wake = run.deadline;
        if fits {
            return self.run_trial(moment, serial, run, groups, out);
        }
        self.release(moment, run, groups);
        run.reply_changed(out);
    }
}

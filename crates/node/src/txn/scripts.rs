//! Scripts, which are known by their digests: each shard keeps those that ran in it, and a client must
//! not notice.
//!
//! | a call | then |
//! | --- | --- |
//! | EVALSHA, and its shard has not executed it, for it does not know the script | all shards are asked for the source; it runs as EVAL, so its shard knows it from then on |
//! | EVAL that runs at the gateway | one shard is told the script first, unless it knows it |
//! | SCRIPT EXISTS | all shards are asked; one that knows it is enough |
//! | SCRIPT LOAD, SCRIPT FLUSH | in every shard at once, as `plan` says |
//!
//! An EVAL in MULTI that runs at the gateway leaves no script behind. An EVALSHA with an id is not made an
//! EVAL, for its receipt is that of the call: it runs at the gateway.

use keyspace::command;
use wire::resp::{Decoder, ReplyLimits, Value};
use wire::{ArgsBuf, Proto};

use super::run::{Ask, Phase, Running};
use super::{Coordinator, Question};
use crate::effects::Effects;
use crate::message::Kind;
use crate::request::Moment;
use crate::seats::Seats;

/// What the shards are asked about scripts.
#[derive(Debug)]
pub(super) enum Search {
    /// Which of these digests does any of them know?
    Known(Vec<bool>),
    /// The source of a script, and what the client hears if there is none.
    Source { found: Option<Vec<u8>>, otherwise: Vec<u8> },
    /// A script is told to a shard.
    Telling,
}

impl Coordinator {
    /// Asks about scripts before the call begins, if it needs that. False if not.
    pub(super) fn begins_with_scripts(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        groups: &mut Seats,
    ) -> bool {
        let request = run.request.as_ref().expect("what begins was asked for");
        let [(_, call)] = &request.exec.calls[..] else { return false };
        if !request.is_single || run.tries > 0 {
            return false;
        }
        let args = call.args();
        if args.is(0, "script") && args.is(1, "exists") {
            let search = Search::Known(vec![false; args.len() - 2]);
            self.ask_all(moment, serial, run, (search, call.clone()), groups);
            return true;
        }
        let is_eval = args.is(0, "eval") || args.is(0, "eval_ro");
        if !is_eval || self.home_of(call).is_some() {
            return false;
        }
        let Some(source) = args.get(1) else { return false };
        // A shard with a replica here, so that the next such call sees at once that it is known.
        let shard = groups.iter().position(|seat| seat.member().is_some()).unwrap_or_default();
        let member = groups[shard].member();
        if member.is_some_and(|member| member.shard().scripts().knows(source)) {
            return false;
        }
        let args = [&b"script"[..], b"load", source].into_iter().collect();
        run.phase = Phase::Scripts(Box::new(Search::Telling));
        self.ask_shard(moment, serial, run, (shard, Kind::Write, &args), groups);
        true
    }

    /// EVALSHA found no script in its shard: another may know it.
    pub(super) fn ask_for_source(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        reply: &[u8],
        groups: &mut Seats,
    ) {
        let request = run.request.as_ref().expect("what was tried was asked for");
        let digest = request.exec.calls[0].1.args().at(1).to_vec();
        let args = [&b"synod.script"[..], &digest].into_iter().collect();
        let search = Search::Source { found: None, otherwise: reply.to_vec() };
        self.ask_all(moment, serial, run, (search, args), groups);
    }

    fn ask_all(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (search, args): (Search, ArgsBuf),
        groups: &mut Seats,
    ) {
        run.waits.clear();
        run.phase = Phase::Scripts(Box::new(search));
        for shard in 0..groups.len() {
            self.ask_shard(moment, serial, run, (shard, Kind::Read, &args), groups);
        }
    }

    fn ask_shard(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (shard, kind, args): (usize, Kind, &ArgsBuf),
        groups: &mut Seats,
    ) {
        let (ask, db, proto, may_block) = (Ask::Scripts, 0, Proto::Resp2, false);
        let question = Question { shard, ask, db, proto, kind, may_block, args };
        self.call(moment, serial, run, question, groups);
    }

    /// A shard has answered.
    pub(super) fn heard_scripts(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        reply: &[u8],
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        let Phase::Scripts(search) = &mut run.phase else { unreachable!("scripts were asked for") };
        let value = Decoder::new(ReplyLimits::default()).decode(reply);
        let value = value.ok().flatten().map(|(value, _)| value);
        match (&mut **search, value) {
            // Nothing was done: a shard that is not reached may be the one that knows it.
            (Search::Known(_) | Search::Source { .. }, Some(Value::Error(_))) => {
                run.reply(reply, out);
                run.phase = Phase::Over;
                return;
            }
            (Search::Known(known), Some(Value::Array(here))) => {
                known
                    .iter_mut()
                    .zip(here)
                    .for_each(|(known, here)| *known |= here == Value::Int(1));
            }
            (Search::Source { found, .. }, Some(Value::Bulk(source))) => *found = Some(source),
            // A script that is refused is refused again when it runs.
            _ => {}
        }
        if !run.waits.is_empty() {
            return;
        }
        let Phase::Scripts(search) = std::mem::replace(&mut run.phase, Phase::Over) else {
            unreachable!("it was looked at just before");
        };
        match *search {
            Search::Known(known) => {
                let mut all = format!("*{}\r\n", known.len()).into_bytes();
                known
                    .iter()
                    .for_each(|known| all.extend(if *known { b":1\r\n" } else { b":0\r\n" }));
                run.reply(&all, out);
            }
            Search::Source { found: Some(source), .. } => {
                name_source(run, &source);
                self.start(moment, serial, run, groups);
            }
            Search::Source { otherwise, .. } => run.reply(&otherwise, out),
            Search::Telling => self.try_out(moment, serial, run, groups),
        }
    }
}

/// Makes an EVALSHA the EVAL of this source.
fn name_source(run: &mut Running, source: &[u8]) {
    let request = run.request.as_mut().expect("what was tried was asked for");
    let (_, call) = &mut request.exec.calls[0];
    let args = call.args();
    let word: &[u8] = if command::find(args).is_some_and(|row| row.name == "evalsha_ro") {
        b"eval_ro"
    } else {
        b"eval"
    };
    *call = [word, source].into_iter().chain(args.from(2).iter()).collect();
}

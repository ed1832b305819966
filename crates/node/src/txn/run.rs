//! One transaction on its way: from the calls to the votes, and from the votes to the decision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyspace::op::{Unblock, Watch};
use keyspace::txn::{ESCAPED, FAILED, Key, Prepare, Span, Txn, TxnId, UNDONE, rolled_back};
use keyspace::{command, receipt};
use stdx::{Instant, Millis, planted};
use wire::resp::elements;
use wire::{ArgsBuf, Proto};

use super::plan::{Mode, Plan};
use super::scratch::Trial;
use super::scripts::Search;
use super::settle::{Deciding, Fencing};
use super::{Coordinator, Question, Request};
use crate::effects::Effects;
use crate::limits::TXN_BACKOFF_MAX;
use crate::message::Kind;
use crate::request::{CONTENDED, Exec, Moment, NO_LEADER, Ticket, UNKNOWN};
use crate::route::{Home, home, shard_of};
use crate::seats::Seats;

/// What is asked of a group.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// All of it lies in this shard.
    Alone,
    /// A call that may need keys from elsewhere.
    Try,
    Vote(usize),
    Decide(usize),
    Fence(usize),
    /// Whatever is answered is well.
    Forget,
    Fetch {
        db: u8,
        keys: Vec<Vec<u8>>,
    },
    Versions(Vec<Watch>),
    /// Any key of this database.
    Draw(u8),
    Script,
    Library,
    /// Who knows a script?
    Scripts,
    /// A key of this shard has a value.
    Await,
    /// Answers that belong at these places among all.
    Places(Vec<usize>),
}

/// How a participant voted.
#[derive(Clone, Debug)]
enum Vote {
    Yes(Vec<Vec<u8>>),
    /// No answer will come that says what became of it.
    Unknown,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Phase {
    /// It begins (again) when it is woken.
    Idle,
    /// One shard does it all.
    Alone(Box<Plan>),
    Trying,
    /// Answers of several shards that need not be of one moment.
    Gathering(Vec<Vec<u8>>),
    Scripts(Box<Search>),
    /// At the gateway.
    Trial(Box<Trial>),
    Preparing(Box<Preparing>),
    Fencing(Fencing),
    Deciding(Box<Deciding>),
    Over,
}

#[derive(Debug)]
pub(super) struct Preparing {
    votes: BTreeMap<usize, Vote>,
    span: Span,
    answer: Answer,
}

impl Preparing {
    /// What the client is told if somebody does not answer. What only locks changes nothing, whatever
    /// becomes of it.
    fn unknown(&self, tries: u32) -> &'static [u8] {
        match self.answer {
            Answer::Held(_) if tries > 0 => CONTENDED,
            Answer::Held(_) => NO_LEADER,
            _ => UNKNOWN,
        }
    }
}

/// What the client gets once all have agreed.
#[derive(Debug)]
pub(super) enum Answer {
    /// What the votes bring.
    Votes(Plan),
    /// What the calls said on the scratch, and what they published.
    Known { replies: Vec<Vec<u8>>, publish: Vec<keyspace::Publish> },
    /// Nothing yet: the keys are locked, and the calls can run.
    Held(Box<Trial>),
}

/// A transaction on its way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: TxnId,
    /// Who waits for the reply.
    pub(super) client: Option<Ticket>,
    pub(super) request: Option<Box<Request>>,
    pub(super) participants: BTreeSet<usize>,
    pub(super) phase: Phase,
    /// Questions of this phase that are not answered yet.
    pub(super) waits: BTreeSet<u64>,
    /// It is somebody else's.
    pub(super) recovers: bool,
    /// How often it was begun anew.
    pub(super) tries: u32,
    /// A call that waits for keys has its own deadline.
    pub(super) timed: bool,
    /// Its client is gone: it is not to wait for keys again.
    pub(super) leaves: bool,
    /// How often something had changed that it had read.
    pub(super) changes: u32,
    /// The keys that it touched when it last ran at the gateway.
    pub(super) keys: BTreeSet<Key>,
    /// The databases all of whose keys it asked for.
    pub(super) names: BTreeSet<u8>,
    /// What has locked them, and where.
    pub(super) held: Option<(TxnId, BTreeSet<usize>)>,
    /// What the client gets in place of replies: one of its calls has failed, and undoes all.
    pub(super) abort: Option<Vec<u8>>,
    pub(super) deadline: Instant,
    pub(super) wake: Instant,
}

impl Running {
    /// Is it one call that may wait for keys?
    pub(super) fn may_wait(&self) -> bool {
        let Some(request) = self.request.as_ref().filter(|request| request.is_single) else {
            return false;
        };
        matches!(&request.exec.calls[..], [(_, call)] if command::may_wait(call.args()))
    }

    pub(super) fn new(id: TxnId, deadline: Instant) -> Running {
        Running {
            id,
            client: None,
            request: None,
            participants: BTreeSet::new(),
            phase: Phase::Idle,
            waits: BTreeSet::new(),
            recovers: false,
            tries: 0,
            timed: false,
            leaves: false,
            changes: 0,
            keys: BTreeSet::new(),
            names: BTreeSet::new(),
            held: None,
            abort: None,
            deadline,
            wake: deadline,
        }
    }

    pub(super) fn proto(&self) -> Proto {
        self.request.as_ref().map_or(Proto::Resp2, |request| request.exec.proto)
    }

    /// Is it a NO if a call fails? What a gateway puts is whole or nothing, whoever asks.
    fn rolls_back(&self) -> bool {
        let request = self.request.as_ref();
        let gateway = match &self.phase {
            Phase::Trial(_) => true,
            Phase::Preparing(preparing) => !matches!(preparing.answer, Answer::Votes(_)),
            _ => false,
        };
        gateway || request.is_some_and(|request| request.exec.rollback)
    }

    /// Gives the client its reply.
    pub(super) fn reply(&mut self, reply: &[u8], out: &mut Effects) {
        if let Some(ticket) = self.client.take() {
            out.replies.put(ticket, reply);
        }
    }

    /// Gives the client the replies of its calls.
    pub(super) fn reply_all(&mut self, replies: &[Vec<u8>], out: &mut Effects) {
        if let Some(abort) = self.abort.take() {
            return self.reply(&abort, out);
        }
        let single = self.request.as_ref().is_some_and(|request| request.is_single);
        if single && let [reply] = replies {
            return self.reply(reply, out);
        }
        let mut all = format!("*{}\r\n", replies.len()).into_bytes();
        replies.iter().for_each(|reply| all.extend_from_slice(reply));
        self.reply(&all, out);
    }

    /// Tells the client that what it watched has changed.
    pub(super) fn reply_changed(&mut self, out: &mut Effects) {
        let null: &[u8] = if self.proto() == Proto::Resp3 { b"_\r\n" } else { b"*-1\r\n" };
        self.reply(null, out);
        self.phase = Phase::Over;
    }
}

impl Coordinator {
    /// Begins, or begins anew.
    pub(super) fn start(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        groups: &mut Seats,
    ) {
        run.waits.clear();
        if run.leaves {
            self.release(moment, run, groups);
            run.phase = Phase::Over;
            return;
        }
        (run.wake, run.abort) = (run.deadline, None);
        if self.begins_with_scripts(moment, serial, run, groups) {
            return;
        }
        let request = run.request.as_ref().expect("what begins was asked for");
        let calls = &request.exec.calls;
        if request.is_single
            && run.tries == 0
            && let [(db, args)] = &calls[..]
            && command::roams(args.args())
            && let Some(shard) = self.home_of(args)
        {
            let (db, proto, args) = (*db, request.exec.proto, args.clone());
            run.phase = Phase::Trying;
            let (ask, kind, may_block, args) = (Ask::Try, Kind::Write, false, &args);
            let question = Question { shard, ask, db, proto, kind, may_block, args };
            self.call(moment, serial, run, question, groups);
            return;
        }
        if request.is_single
            && let [(db, args)] = &calls[..]
            && args.args().is(0, "synod.versions")
        {
            let (db, args) = (*db, args.clone());
            return self.gather(moment, serial, run, (db, args), groups);
        }
        // The reply has to be known when the receipt is prepared.
        if calls.iter().any(|(_, args)| receipt::unwrap(args.args()).is_some()) {
            return self.try_out(moment, serial, run, groups);
        }
        let plan = Plan::of(self.shards, calls).with_dice(serial);
        if plan.mode == Mode::Scratch {
            if let Some(name) = plan.misfit {
                return self.refuse_misfit(serial, run, &name);
            }
            return self.try_out(moment, serial, run, groups);
        }
        self.prepare_plan(moment, serial, run, plan, groups);
    }

    /// Refuses a call that no scratch can run, as a shard would.
    fn refuse_misfit(&mut self, serial: u64, run: &mut Running, name: &str) {
        let refusal = format!(
            "-ERR {name} can't run in one transaction with scripts, or with commands that need \
            keys of several shards\r\n"
        );
        run.phase = Phase::Trying;
        let ticket = self.ticket(serial, run, Ask::Try);
        self.answered(ticket, refusal.as_bytes());
    }

    /// WATCH: the version of each key, from its shard.
    fn gather(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (db, args): (u8, ArgsBuf),
        groups: &mut Seats,
    ) {
        let args = args.args();
        let mut places: BTreeMap<usize, (Vec<usize>, ArgsBuf)> = BTreeMap::new();
        for (at, key) in args.from(1).iter().enumerate() {
            let place = places.entry(shard_of(self.shards, key));
            let (of, words) =
                place.or_insert_with(|| (Vec::new(), [args.at(0)].into_iter().collect()));
            of.push(at);
            words.push(key);
        }
        run.phase = Phase::Gathering(vec![Vec::new(); args.len() - 1]);
        for (shard, (of, args)) in places {
            let (ask, proto, kind) = (Ask::Places(of), Proto::Resp2, Kind::Read);
            let question = Question { shard, ask, db, proto, kind, may_block: false, args: &args };
            self.call(moment, serial, run, question, groups);
        }
    }

    fn heard_places(run: &mut Running, of: &[usize], reply: &[u8], out: &mut Effects) {
        let Phase::Gathering(answers) = &mut run.phase else {
            unreachable!("answers are gathered")
        };
        if reply.first() == Some(&b'-') {
            run.reply(reply, out);
            run.phase = Phase::Over;
            return;
        }
        for (at, element) in of.iter().zip(elements(reply).unwrap_or_default()) {
            answers[*at] = element.to_vec();
        }
        if run.waits.is_empty() {
            let mut all = format!("*{}\r\n", answers.len()).into_bytes();
            answers.iter().for_each(|answer| all.extend_from_slice(answer));
            run.reply(&all, out);
            run.phase = Phase::Over;
        }
    }

    /// The shard of a call that names its keys, if they are all in one.
    pub(super) fn home_of(&self, args: &ArgsBuf) -> Option<usize> {
        let command = keyspace::command::find(args.args())?;
        match home(self.shards, command, args.args()) {
            Home::One(shard) => Some(shard),
            _ => None,
        }
    }

    fn prepare_plan(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        mut plan: Plan,
        groups: &mut Seats,
    ) {
        let request = run.request.as_ref().expect("what is prepared was asked for");
        let watches = request.exec.watches.clone();
        let mut parts: BTreeMap<usize, Part> = BTreeMap::new();
        for (shard, pieces) in &plan.pieces {
            let calls = pieces.iter().map(|(_, db, args)| (*db, args.clone()));
            parts.entry(*shard).or_default().calls = calls.collect();
        }
        for watch in watches {
            parts.entry(shard_of(self.shards, &watch.key)).or_default().compares.push(watch);
        }
        if parts.is_empty() {
            parts.insert(0, Part::default());
        }
        if parts.len() == 1 {
            let (shard, part) = parts.pop_first().expect("there is one");
            plan.pieces.entry(shard).or_default();
            run.phase = Phase::Alone(Box::new(plan));
            return self.alone(moment, serial, run, (shard, part), groups);
        }
        let span = if plan.mode == Mode::Whole { Span::Whole } else { Span::Keys };
        self.prepare(moment, serial, run, (parts, span, Answer::Votes(plan)), groups);
    }

    /// One shard does it all: no lock, no second round.
    pub(super) fn alone(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (shard, part): (usize, Part),
        groups: &mut Seats,
    ) {
        let ticket = self.ticket(serial, run, Ask::Alone);
        let (proto, watches, calls) = (run.proto(), part.compares, part.calls);
        let rollback = run.rolls_back();
        groups[shard].exec(moment, Exec { ticket, proto, watches, calls, rollback });
    }

    /// Asks every participant whether it agrees.
    pub(super) fn prepare(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (parts, span, answer): (BTreeMap<usize, Part>, Span, Answer),
        groups: &mut Seats,
    ) {
        run.waits.clear();
        run.participants = parts.keys().copied().collect();
        run.phase = Phase::Preparing(Box::new(Preparing { votes: BTreeMap::new(), span, answer }));
        let participants: Vec<u32> = parts.keys().map(|shard| *shard as u32).collect();
        let (txn, proto, rollback) = (run.id, run.proto(), run.rolls_back());
        let after = run.held.as_ref().map(|(id, _)| *id);
        let unbroken = after.is_some() && !run.names.is_empty();
        for (shard, Part { compares, calls }) in parts {
            let (participants, done) = (participants.clone(), self.done());
            let prepare = Prepare {
                txn,
                proto,
                participants,
                done,
                compares,
                calls,
                span,
                rollback,
                after,
                unbroken,
            };
            let message = (shard, Ask::Vote(shard), Txn::Prepare(prepare));
            self.tell(moment, serial, run, message, groups);
        }
    }

    /// A group has answered a question of the present phase.
    #[expect(clippy::too_many_arguments, reason = "an answer, and all that it may concern")]
    pub(super) fn heard(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        ask: Ask,
        reply: &[u8],
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        match ask {
            Ask::Alone => self.heard_alone(moment, run, reply, out),
            Ask::Try => self.heard_try(moment, serial, run, reply, groups, out),
            Ask::Scripts => self.heard_scripts(moment, serial, run, reply, groups, out),
            Ask::Vote(shard) => {
                self.heard_vote(moment, serial, run, (shard, reply), groups, out);
            }
            Ask::Fence(shard) => self.heard_fence(moment, serial, run, (shard, reply), groups),
            Ask::Decide(shard) => {
                self.heard_decision(moment, serial, run, (shard, reply), groups, out);
            }
            Ask::Forget => {}
            Ask::Places(of) => Coordinator::heard_places(run, &of, reply, out),
            Ask::Fetch { .. }
            | Ask::Versions(_)
            | Ask::Draw(_)
            | Ask::Script
            | Ask::Library
            | Ask::Await => {
                self.heard_trial(moment, serial, run, ask, reply, groups, out);
            }
        }
    }

    /// The shard of a call that may need keys from elsewhere has executed it, or left nothing behind.
    fn heard_try(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        reply: &[u8],
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        match reply.strip_prefix(UNDONE) {
            None => {
                run.reply(reply, out);
                run.phase = Phase::Over;
            }
            // With an id the call has to stay as it is; the gateway knows all scripts.
            Some(_) if reply == ESCAPED || run.is_once() => {
                self.try_out(moment, serial, run, groups);
            }
            Some(no_script) => self.ask_for_source(moment, serial, run, no_script, groups),
        }
    }

    /// The only participant has done it, or refused.
    fn heard_alone(&mut self, moment: Moment, run: &mut Running, reply: &[u8], out: &mut Effects) {
        let is_array = reply.first() == Some(&b'*') && !reply.starts_with(b"*-1");
        match std::mem::replace(&mut run.phase, Phase::Over) {
            Phase::Alone(plan) if is_array => {
                let replies = elements(reply).unwrap_or_default();
                let replies = replies.into_iter().map(<[u8]>::to_vec).collect();
                let shard = *plan.pieces.keys().next().expect("it is alone in one");
                run.reply_all(&plan.merge(&BTreeMap::from([(shard, replies)])), out);
            }
            Phase::Alone(_) => run.reply(reply, out),
            Phase::Trial(trial) => match *trial {
                Trial { done: Some(done), .. } if is_array => {
                    self.publish.extend(done.publish);
                    run.reply_all(&done.replies, out);
                }
                _ if reply.first() == Some(&b'-') => run.reply(reply, out),
                _ => {
                    run.changes += 1;
                    self.again(moment, run);
                }
            },
            _ => unreachable!("a question of this phase"),
        }
    }

    fn heard_vote(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (shard, reply): (usize, &[u8]),
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        let Phase::Preparing(preparing) = &mut run.phase else { unreachable!("a vote was asked") };
        match reply.first() {
            Some(b'*') => {
                let replies = bulks(reply);
                preparing.votes.insert(shard, Vote::Yes(replies));
            }
            // A command may have been executed, says the gateway: so may the Prepare.
            Some(b'-') if reply.starts_with(b"-UNKNOWN") => {
                let lie = || Vote::Yes(vec![b"+OK\r\n".to_vec(); 8]);
                let vote = if planted!("unknown-vote-is-yes") { lie() } else { Vote::Unknown };
                preparing.votes.insert(shard, vote);
            }
            _ => return self.refused(moment, serial, run, (shard, reply), groups, out),
        }
        if !run.waits.is_empty() {
            return;
        }
        let unknown = |vote: &Vote| matches!(vote, Vote::Unknown);
        if preparing.votes.values().any(unknown) {
            let told = preparing.unknown(run.tries);
            run.reply(told, out);
            return self.fence(moment, serial, run, groups);
        }
        self.agreed(moment, serial, run, groups, out);
    }

    /// All have agreed: it is committed.
    fn agreed(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        let Phase::Preparing(preparing) = std::mem::replace(&mut run.phase, Phase::Idle) else {
            unreachable!("votes were counted");
        };
        let Preparing { votes, span, answer } = *preparing;
        let votes = votes.into_iter().filter_map(|(shard, vote)| match vote {
            Vote::Yes(replies) => Some((shard, replies)),
            Vote::Unknown => None,
        });
        let votes = votes.collect();
        let mut later = None;
        match answer {
            Answer::Votes(plan) if span == Span::Whole => later = Some(plan),
            Answer::Votes(plan) => run.reply_all(&plan.merge(&votes), out),
            Answer::Known { replies, publish } => {
                self.publish.extend(publish);
                run.reply_all(&replies, out);
            }
            Answer::Held(trial) => {
                return self.held(moment, serial, run, (trial, votes), groups, out);
            }
        }
        // Who has agreed has taken the keys over.
        run.held = None;
        self.decide(moment, serial, run, (true, later), groups);
    }

    /// One has refused: it is aborted, and begins anew unless the client has to know.
    fn refused(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        (shard, reply): (usize, &[u8]),
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        let tried = matches!(
            &run.phase,
            Phase::Preparing(preparing) if !matches!(preparing.answer, Answer::Votes(_))
        );
        let failure = failure_of(run, shard, reply);
        self.abandon(moment, run, groups);
        self.release(moment, run, groups);
        if let Some(failure) = failure {
            run.reply(&failure, out);
            run.phase = Phase::Over;
            return;
        }
        if let Some(clock) = reply.strip_prefix(b"+FENCED ") {
            let text = std::str::from_utf8(clock.trim_ascii()).unwrap_or_default();
            self.clock = self.clock.max(Millis(text.parse().unwrap_or_default()));
            let attempt = run.id.attempt;
            run.id = TxnId { attempt, ..self.name(moment, serial, groups) };
            return self.again(moment, run);
        }
        if reply.starts_with(b"+BUSY") || (reply.starts_with(b"+CHANGED") && tried) {
            run.changes += u32::from(reply.starts_with(b"+CHANGED"));
            return self.again(moment, run);
        }
        if reply.starts_with(b"+CHANGED") {
            return run.reply_changed(out);
        }
        run.reply(reply, out);
        run.phase = Phase::Over;
    }

    /// Begins anew after a while that grows, and differs from that of others.
    pub(super) fn again(&mut self, moment: Moment, run: &mut Running) {
        run.tries += 1;
        run.id.attempt += 1;
        let most = Duration::from_micros(200 << run.tries.min(16)).min(TXN_BACKOFF_MAX);
        let nanos = self.rng.below(most.as_nanos() as u64) + 1;
        (run.phase, run.wake) = (Phase::Idle, moment.now + Duration::from_nanos(nanos));
    }

    /// Its time has come.
    pub(super) fn woken(
        &mut self,
        moment: Moment,
        serial: u64,
        run: &mut Running,
        groups: &mut Seats,
        out: &mut Effects,
    ) {
        let late = moment.now >= run.deadline;
        if late && run.timed && self.end_wait(moment, run, Unblock::Timeout, groups, out) {
            return;
        }
        match &run.phase {
            Phase::Over => {}
            Phase::Deciding(_) => self.tell_again(moment, serial, run, groups),
            Phase::Fencing(_) => self.fence(moment, serial, run, groups),
            Phase::Preparing(preparing) if late => {
                let told = preparing.unknown(run.tries);
                run.reply(told, out);
                self.fence(moment, serial, run, groups);
            }
            // The group itself says what became of it.
            Phase::Alone(_) | Phase::Trying | Phase::Gathering(_) | Phase::Scripts(_) => {
                run.wake = Instant::FAR;
            }
            Phase::Trial(trial) if trial.done.is_some() && !trial.is_checking() => {
                run.wake = Instant::FAR;
            }
            _ if late => {
                run.reply(if run.tries > 0 { CONTENDED } else { NO_LEADER }, out);
                run.phase = Phase::Over;
            }
            Phase::Idle => self.start(moment, serial, run, groups),
            Phase::Preparing(_) | Phase::Trial(_) => run.wake = run.deadline,
        }
    }
}

/// What one participant is asked for.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) compares: Vec<Watch>,
    pub(super) calls: Vec<(u8, ArgsBuf)>,
}

/// What the client is told if a participant refused because a call failed: which of the client's
/// calls that is.
fn failure_of(run: &Running, shard: usize, reply: &[u8]) -> Option<Vec<u8>> {
    let failed = reply.strip_prefix(b"-")?.strip_prefix(FAILED.as_bytes())?;
    let failed = String::from_utf8_lossy(failed.trim_ascii());
    let (at, error) = failed.split_once(' ').unwrap_or((&failed, ""));
    let Phase::Preparing(preparing) = &run.phase else { return None };
    let text = match (&preparing.answer, &run.request) {
        (Answer::Votes(plan), Some(request)) => {
            let pieces = plan.pieces.get(&shard).map(Vec::as_slice).unwrap_or_default();
            let at =
                at.parse().ok().and_then(|at: usize| pieces.get(at)).map_or(0, |piece| piece.0);
            rolled_back(at, request.exec.calls.get(at)?.1.args(), error)
        }
        // What the gateway puts is no call of the client.
        _ => error.to_owned(),
    };
    Some(format!("-{text}\r\n").into_bytes())
}

/// The bytes of each bulk string of an array.
pub(super) fn bulks(reply: &[u8]) -> Vec<Vec<u8>> {
    let elements = elements(reply).unwrap_or_default();
    elements.into_iter().map(bulk_bytes).collect()
}

/// The bytes of a bulk string.
fn bulk_bytes(bulk: &[u8]) -> Vec<u8> {
    let start = bulk.iter().position(|byte| *byte == b'\n').map_or(bulk.len(), |at| at + 1);
    bulk[start..bulk.len().saturating_sub(2).max(start)].to_vec()
}

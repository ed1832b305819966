//! The clients of the world, and both ends of their connections.
//!
//! A client has one operation open at a time. It connects to any node that is up, stays until the
//! connection ends or its patience does, and writes down what it asked and what it heard, in one
//! count of moments for all. Every other connection begins with READONLY, so that followers answer
//! what is read over it. What has an id is tried again, at any node, until it is answered.

use wire::resp::{Decoder, ReplyLimits, Value, encode_call};

use crate::coverage::Mark;
use crate::history::{Datum, Outcome, Verb};
use crate::limits::CLIENT_PATIENCE_MAX;
use crate::machine::Wire;
use crate::plan::SHORT_STALL;
use crate::workload::{How, Next, Said, Task};
use crate::world::{Checked, Phase, What, World};

/// How often a task with an id is tried.
const TRIES_MAX: u32 = 8;

/// What a client waits for.
#[derive(Debug)]
pub(crate) struct Busy {
    /// Its place in the history.
    pub(crate) number: usize,
    pub(crate) task: Task,
    wants: usize,
    said: Vec<Said>,
    /// How often it was tried, and whether one of the tries may have taken effect.
    tries: u32,
    doubtful: bool,
    /// It is to be tried again.
    rests: bool,
    /// One of the reads at the end: it must succeed in the end.
    last: bool,
}

/// What a client has to say before it asks anything: READONLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Greeting {
    #[default]
    None,
    Due,
    /// It was said, and not answered yet.
    Said,
}

/// A client.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// Where it is connected, and by which of its connections.
    pub(crate) node: Option<u32>,
    pub(crate) number: u64,
    input: Vec<u8>,
    decoder: Decoder,
    greeting: Greeting,
    pub(crate) busy: Option<Busy>,
}

impl World {
    pub(crate) fn client_bytes(&mut self, node: u32, wire: Wire, bytes: &[u8]) -> Checked {
        let now = self.now;
        let machine = self.machine(node);
        let moment = machine.moment(now);
        let Some(running) = &mut machine.running else { return Ok(()) };
        if running.has_closed(wire) {
            return Ok(());
        }
        let known = running.wires.iter().find(|(_, one)| **one == wire).map(|(key, _)| *key);
        let key = match known {
            Some(key) => key,
            None => {
                let addr = format!("client{}:{}", wire.client, wire.number);
                let opened = running.front.open(moment, addr, format!("node{node}"));
                let key = opened.ok_or("a node has room for a few clients")?;
                running.wires.insert(key, wire);
                key
            }
        };
        running.front.received(moment, key, &mut bytes.to_vec());
        self.schedule_turn(node);
        Ok(())
    }

    pub(crate) fn client_gone(&mut self, node: u32, wire: Wire) {
        let now = self.now;
        let machine = self.machine(node);
        let moment = machine.moment(now);
        let Some(running) = &mut machine.running else { return };
        running.note_closed(wire);
        let known = running.wires.iter().find(|(_, one)| **one == wire).map(|(key, _)| *key);
        if let Some(key) = known {
            running.wires.remove(&key);
            running.front.close(moment, key);
            self.schedule_turn(node);
        }
    }

    pub(crate) fn flush_clients(&mut self, node: u32) {
        let now = self.now;
        let machine = self.machine(node);
        let moment = machine.moment(now);
        let Some(running) = &mut machine.running else { return };
        let mut outputs = Vec::new();
        for key in running.front.take_dirty() {
            let Some(out) = running.front.out(key) else { continue };
            let bytes = std::mem::take(out);
            running.front.sent(key, bytes.len());
            let closes = running.front.is_closing(key);
            let Some(wire) = running.wires.get(&key).copied() else { continue };
            if closes {
                running.wires.remove(&key);
                running.note_closed(wire);
                running.front.close(moment, key);
            }
            outputs.push((wire, bytes, closes));
        }
        outputs.iter().for_each(|(wire, bytes, _)| self.script_answers(node, wire.client, bytes));
        let delay = self.plan.delay.0.as_nanos() as u64;
        for (Wire { client, number }, bytes, closes) in outputs {
            self.push(now + delay, 0, What::ToClient { client, number, bytes, closes });
        }
    }

    /// A client does its next thing, if it has nothing open.
    pub(crate) fn client_acts(&mut self, client: usize) {
        if self.is_hushed() {
            return self.push(self.now + 20_000_000, 0, What::Client(client));
        }
        if self.clients[client].busy.as_ref().is_some_and(|busy| busy.rests) {
            return self.client_tries_again(client);
        }
        if self.clients[client].busy.is_some() || !self.client_connects(client) {
            return;
        }
        let last = self.phase != Phase::Chaos;
        let task = match self.phase {
            Phase::Chaos => self.workload.draw(&mut self.rng, client.is_multiple_of(3)),
            Phase::Healing => return,
            Phase::Reading => match self.last_tasks.pop() {
                Some(task) => task,
                None => return,
            },
        };
        let patience = 500_000_000 + self.rng.below(CLIENT_PATIENCE_MAX.as_nanos() as u64);
        let patience = if last { patience.min(3_000_000_000) } else { patience };
        self.client_does(client, task, patience);
    }

    /// Has a client do this at this node, whatever it does at the moment.
    pub(crate) fn drive(&mut self, client: usize, node: u32, task: Task) {
        if self.clients[client].busy.is_some() || self.clients[client].node != Some(node) {
            self.lose_client(client);
            self.client_connected(client, node);
        }
        self.client_does(client, task, CLIENT_PATIENCE_MAX.as_nanos() as u64);
    }

    fn client_does(&mut self, client: usize, task: Task, patience: u64) {
        let last = self.phase != Phase::Chaos;
        let node = self.clients[client].node.unwrap_or_default();
        self.tell(|| format!("client {client} to node {node}: {task}"));
        let (asked, wants) = bytes_of(&task);
        let bytes = self.with_greeting(client, asked);
        let number = self.history.begin(client as u64, self.now, task.calls.clone());
        self.clients[client].busy = Some(Busy::new(number, task, wants, last));
        self.client_sends(client, bytes);
        let call = number as u64;
        self.push(self.now + patience, 0, What::Patience { client, call });
    }

    /// What a client sends, behind what it has to say first.
    fn with_greeting(&mut self, client: usize, asked: Vec<u8>) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.clients[client].greeting == Greeting::Due {
            self.clients[client].greeting = Greeting::Said;
            encode_call(&mut bytes, &[b"READONLY"]);
        }
        bytes.extend(asked);
        bytes
    }

    /// Connects a client to some node, if it is not connected. A node that is down refuses, and the
    /// client tries again later.
    fn client_connects(&mut self, client: usize) -> bool {
        if self.clients[client].node.is_some() {
            return true;
        }
        let node = 1 + self.rng.below(u64::from(self.nodes())) as u32;
        // Once all is healed, nobody asks those that have been removed.
        let asks = self.machine(node).is_up() && (self.is_chaos() || self.counts_on(node));
        if !asks {
            let after = 10_000_000 + self.rng.below(50_000_000);
            self.push(self.now + after, 0, What::Client(client));
            return false;
        }
        self.client_connected(client, node);
        if self.rng.one_in(2) {
            self.clients[client].greeting = Greeting::Due;
        }
        true
    }

    fn client_connected(&mut self, client: usize, node: u32) {
        let client = &mut self.clients[client];
        client.number += 1;
        client.node = Some(node);
        client.input.clear();
        client.decoder = Decoder::new(ReplyLimits::default());
        client.greeting = Greeting::None;
    }

    fn client_sends(&mut self, client: usize, bytes: Vec<u8>) {
        let Client { node: Some(node), number, .. } = self.clients[client] else {
            unreachable!("whoever sends is connected")
        };
        // Its bytes keep their order, for it waits for the answer before it sends more.
        let delay = self.network.draw_delay(&mut self.rng);
        let life = self.machine(node).life;
        let mut at = self.now + delay;
        let mut bytes = bytes;
        if self.strikes(self.plan.trickle) {
            self.coverage.hit(Mark::ClientTrickled);
            let rest = bytes.split_off(self.rng.below(bytes.len() as u64) as usize);
            let bytes = std::mem::replace(&mut bytes, rest);
            self.push(at, life, What::ToNode { node, client, number, bytes });
            at += self.rng.below(300_000_000);
        }
        self.push(at, life, What::ToNode { node, client, number, bytes });
    }

    pub(crate) fn client_hears(
        &mut self,
        client: usize,
        number: u64,
        bytes: &[u8],
        closes: bool,
    ) -> Checked {
        // The nemesis sends too, and hears nothing.
        let open = |one: &Client| one.number == number && one.node.is_some();
        if !self.clients.get(client).is_some_and(open) {
            return Ok(());
        }
        self.clients[client].input.extend_from_slice(bytes);
        loop {
            let one = &mut self.clients[client];
            let decoded = one.decoder.decode(&one.input).map_err(|e| format!("a reply: {e:?}"))?;
            let Some((value, length)) = decoded else { break };
            one.input.drain(..length);
            if one.greeting == Greeting::Said {
                one.greeting = Greeting::None;
                continue;
            }
            let Some(busy) = &mut one.busy else {
                return Err(format!("client {client} did not ask for {value:?}"));
            };
            busy.said.push(said(value)?);
            if busy.said.len() == busy.wants {
                self.client_answered(client)?;
            }
        }
        if closes {
            self.clients[client].node = None;
            if let Some(busy) = &self.clients[client].busy {
                let lost = busy.task.lost();
                self.coverage.hit(Mark::ClientLost);
                self.client_tried(client, lost);
            }
        }
        Ok(())
    }

    /// A try of a client's task is over.
    fn client_tried(&mut self, client: usize, outcome: Outcome) {
        let Some(busy) = &mut self.clients[client].busy else { return };
        let is_done = matches!(outcome, Outcome::Ok(_));
        if busy.task.id.is_none() || is_done || busy.tries >= TRIES_MAX {
            if is_done && busy.tries > 1 {
                self.coverage.hit(Mark::RetryAnswered);
            }
            return self.client_ends(client, outcome);
        }
        busy.doubtful |= matches!(outcome, Outcome::Unknown(_));
        busy.rests = true;
        busy.said.clear();
        self.client_hangs_up(client);
        let after = 1_000_000 + self.rng.below(500_000_000);
        self.push(self.now + after, 0, What::Client(client));
    }

    fn client_tries_again(&mut self, client: usize) {
        if !self.client_connects(client) {
            return;
        }
        let node = self.clients[client].node.unwrap_or_default();
        let Some(busy) = &mut self.clients[client].busy else { return };
        (busy.rests, busy.tries) = (false, busy.tries + 1);
        let (number, text) = (busy.number, busy.task.to_string());
        let (asked, _) = bytes_of(&busy.task);
        let bytes = self.with_greeting(client, asked);
        self.tell(|| format!("client {client} to node {node}, again: {text}"));
        self.client_sends(client, bytes);
        let patience = 500_000_000 + self.rng.below(CLIENT_PATIENCE_MAX.as_nanos() as u64);
        self.push(self.now + patience, 0, What::Patience { client, call: number as u64 });
    }

    fn client_answered(&mut self, client: usize) -> Checked {
        let Some(busy) = &mut self.clients[client].busy else { return Ok(()) };
        match busy.task.answered(std::mem::take(&mut busy.said))? {
            Next::Ask => {
                let (bytes, wants) = bytes_of(&busy.task);
                busy.wants = wants;
                let (number, calls) = (busy.number, busy.task.calls.clone());
                self.history.amend(number, calls);
                self.client_sends(client, bytes);
            }
            Next::End(outcome) => {
                self.look_whether_calm(client, &outcome)?;
                self.client_tried(client, outcome);
            }
        }
        Ok(())
    }

    /// Where nothing fails, no node has a reason to answer with an error. But who waits for a key is told
    /// so by a leader that takes the place of one that was silent.
    fn look_whether_calm(&self, client: usize, outcome: &Outcome) -> Checked {
        let why = match outcome {
            Outcome::Unknown(why) => why,
            Outcome::Failed(why) if !BY_DESIGN.contains(&why.as_str()) => why,
            _ => return Ok(()),
        };
        let (Some(stall), Some(busy)) = (self.plan.calm, &self.clients[client].busy) else {
            return Ok(());
        };
        let waits = busy.task.calls.iter().any(|call| call.verb == Verb::BlPop);
        if waits && stall > SHORT_STALL {
            return Ok(());
        }
        Err(format!("nothing fails, and client {client} hears {why} to {}", busy.task))
    }

    fn client_ends(&mut self, client: usize, outcome: Outcome) {
        let Some(busy) = self.clients[client].busy.take() else { return };
        let outcome = match outcome {
            // The last try was refused; an earlier one may not have been.
            Outcome::Failed(why) if busy.doubtful => Outcome::Unknown(why),
            // That a try has waited in vain leaves no receipt: an earlier one may still find something.
            Outcome::Ok(_) if busy.doubtful && waited_in_vain(&busy.task, &outcome) => {
                Outcome::Unknown("an earlier try".to_owned())
            }
            outcome => outcome,
        };
        // What it watches there would spoil a later EXEC.
        if outcome == Outcome::Failed("not watched".to_owned()) {
            self.client_hangs_up(client);
        }
        self.coverage.hit(mark_of(&busy.task, &outcome));
        self.workload.note(&busy.task, &outcome);
        self.history.end(busy.number, self.now, outcome);
        let ended = self.history.operations()[busy.number].to_string();
        self.tell(|| ended);
        if matches!(self.history.operations()[busy.number].outcome, Outcome::Ok(_)) {
            self.operations += 1;
        } else if busy.last {
            self.last_tasks.push(busy.task);
        }
        let is_done = matches!(self.history.operations()[busy.number].outcome, Outcome::Ok(_));
        let think = self.plan.think.as_nanos() as u64;
        let think = if busy.last { 1_000_000 } else { self.rng.below(2 * think) };
        self.push(self.now + think, 0, What::Client(client));
        self.probe_ended(client, is_done);
        self.look_whether_all_ended();
    }

    pub(crate) fn client_gives_up(&mut self, client: usize, call: u64) {
        // Once all faults have ended, whatever is open must be answered.
        if self.phase == Phase::Healing || self.plan.calm.is_some() {
            return;
        }
        let Some(busy) = &self.clients[client].busy else { return };
        if busy.number as u64 == call && !busy.rests {
            self.coverage.hit(Mark::ClientGaveUp);
            let lost = busy.task.lost();
            self.client_hangs_up(client);
            self.client_tried(client, lost);
        }
    }

    fn client_hangs_up(&mut self, client: usize) {
        if let Some(node) = self.clients[client].node.take() {
            let number = self.clients[client].number;
            let delay = self.network.draw_delay(&mut self.rng);
            self.push_node(node, delay, What::Gone { node, client, number });
        }
    }

    /// A client closes its connection, whatever it waits for.
    pub(crate) fn lose_client(&mut self, client: usize) {
        self.client_hangs_up(client);
        if let Some(busy) = &self.clients[client].busy {
            let lost = busy.task.lost();
            self.client_ends(client, lost);
        }
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }
}

/// What a task may fail of in a cluster that is well.
const BY_DESIGN: &[&str] = &["watched", "not watched", "EXECABORT"];

impl Busy {
    fn new(number: usize, task: Task, wants: usize, last: bool) -> Busy {
        let (said, tries, doubtful, rests) = (Vec::new(), 1, false, false);
        Busy { number, task, wants, said, tries, doubtful, rests, last }
    }
}

/// A task as a client sends it, and how many replies that brings.
fn bytes_of(task: &Task) -> (Vec<u8>, usize) {
    let (mut out, commands) = (Vec::new(), task.ask());
    for words in &commands {
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        encode_call(&mut out, &words);
    }
    (out, commands.len())
}

fn waited_in_vain(task: &Task, outcome: &Outcome) -> bool {
    let waits = task.calls.iter().all(|call| call.verb == Verb::BlPop);
    waits && matches!(outcome, Outcome::Ok(results) if results.iter().all(|one| *one == Datum::Nil))
}

fn said(value: Value) -> Result<Said, String> {
    match value {
        Value::Error(text) => Ok(Said::Error(text)),
        value => datum(value).map(Said::Value),
    }
}

fn datum(value: Value) -> Result<Datum, String> {
    Ok(match value {
        Value::Null => Datum::Nil,
        Value::Status(text) => Datum::Text(text),
        Value::Int(number) => Datum::Int(number),
        Value::Bulk(text) => Datum::of(&text),
        Value::Array(items) | Value::Set(items) => {
            Datum::List(items.into_iter().map(datum).collect::<Result<_, _>>()?)
        }
        odd => return Err(format!("nobody asked for this: {odd:?}")),
    })
}

fn mark_of(task: &Task, outcome: &Outcome) -> Mark {
    match (outcome, task.how) {
        (Outcome::Unknown(_), _) => Mark::AnswerUnknown,
        (Outcome::Failed(why), How::Rollback) if why == "EXECABORT" => Mark::RolledBack,
        (Outcome::Failed(why), _) if why == "watched" => Mark::TransactionAborted,
        (Outcome::Failed(_), _) => Mark::AnswerRefused,
        (_, How::Script) => Mark::ScriptDone,
        (_, How::Walk | How::Names) => Mark::WalkDone,
        (_, How::Multi) => Mark::TransactionDone,
        _ if task.calls[0].verb == Verb::BlPop => Mark::Blocked,
        _ if task.reads() => Mark::ReadServed,
        _ => Mark::WriteServed,
    }
}

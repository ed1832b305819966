//! Our side: a shard, and what a session keeps around it: the queue of MULTI, the selected database,
//! what is watched.

use keyspace::command::{self, Run};
use keyspace::op::{Body, Op, Origin, Watch};
use keyspace::shard::{self, Effects, Outcome, Publish};
use keyspace::{Asker, Loader, Saver, Shard};
use stdx::Millis;
use wire::{Args, ArgsBuf, Proto, Reply};

use crate::grammar::Call;

/// One client of one shard.
pub(crate) struct Ours {
    shard: Shard,
    db: u8,
    proto: Proto,
    now: u64,
    /// Do reads go past the log?
    reads_aside: bool,
    queue: Option<Vec<(u8, ArgsBuf)>>,
    /// The database that a SELECT in the queue has asked for.
    queue_db: u8,
    /// A call could not be queued: EXEC will refuse.
    broken: bool,
    watches: Vec<Watch>,
    effects: Effects,
    number: u64,
}

/// How long a call that waits does, in milliseconds: longer than the timeouts of the slots.
const WAIT: u64 = 2;

impl Ours {
    pub(crate) fn new(proto: Proto, now: u64, reads_aside: bool) -> Ours {
        Ours {
            shard: Shard::new(),
            db: 0,
            proto,
            now,
            reads_aside,
            queue: None,
            queue_db: 0,
            broken: false,
            watches: Vec::new(),
            effects: Effects::default(),
            number: 0,
        }
    }

    /// Sets a setting, before anything else.
    pub(crate) fn call_line(&mut self, line: &str) -> Vec<u8> {
        self.call(&line.split(' ').map(|word| word.as_bytes().to_vec()).collect())
    }

    /// The reply to a call.
    pub(crate) fn call(&mut self, call: &Call) -> Vec<u8> {
        let args: ArgsBuf = call.iter().map(Vec::as_slice).collect();
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, self.proto);
        let args = args.args();
        let Ok(row) = shard::check_call(args) else { return self.refused(args) };
        match row.name {
            "sleep" | "debug" => {
                self.now += 3;
                reply.ok();
            }
            "multi" if self.queue.is_some() => {
                reply.error("ERR MULTI calls can not be nested");
            }
            "multi" => {
                self.queue = Some(Vec::new());
                self.queue_db = self.db;
                reply.ok();
            }
            "discard" if self.queue.take().is_some() => {
                self.broken = false;
                self.watches.clear();
                reply.ok();
            }
            "discard" => reply.error("ERR DISCARD without MULTI"),
            "exec" => self.exec(&mut out),
            "watch" if self.queue.is_some() => {
                reply.error("ERR WATCH inside MULTI is not allowed");
            }
            _ if self.queue.is_some() => {
                let queue = self.queue.as_mut().expect("it was just there");
                queue.push((self.queue_db, args.into()));
                if row.name == "select" {
                    self.queue_db = selected(args).unwrap_or(self.queue_db);
                }
                reply.status("QUEUED");
            }
            "watch" => {
                args.from(1).iter().for_each(|key| self.watch(key));
                reply.ok();
            }
            "unwatch" => {
                self.watches.clear();
                reply.ok();
            }
            _ => self.run(row, args, &mut out),
        }
        out
    }

    fn refused(&mut self, args: Args<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        self.broken |= self.queue.is_some();
        let Err(reject) = shard::check_call(args) else { unreachable!("it was just refused") };
        let mut reply = Reply::new(&mut out, self.proto);
        if args.is(0, "exec") {
            self.queue = None;
            self.broken = false;
            self.watches.clear();
            let why = reject.message().trim_start_matches("ERR ");
            reply.error(&format!("EXECABORT Transaction discarded because of: {why}"));
        } else {
            reply.error(reject.message());
        }
        out
    }

    fn exec(&mut self, out: &mut Vec<u8>) {
        let Some(calls) = self.queue.take() else {
            return Reply::new(out, self.proto).error("ERR EXEC without MULTI");
        };
        let watches = std::mem::take(&mut self.watches);
        if std::mem::take(&mut self.broken) {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return Reply::new(out, self.proto).error(text);
        }
        let op = Op {
            proto: self.proto,
            origin: None,
            body: Body::Exec { watches, calls, rollback: false },
        };
        self.shard.apply(Millis(self.now), &op, out, &mut self.effects);
        if !matches!(out.as_slice(), b"*-1\r\n" | b"_\r\n") {
            self.db = self.queue_db;
        }
    }

    fn watch(&mut self, key: &[u8]) {
        let version = self.shard.version(Millis(self.now), self.db, key);
        let version = version.unwrap_or_else(|| {
            self.tick();
            self.shard.version(Millis(self.now), self.db, key).expect("the log knows the time")
        });
        self.watches.push(Watch { db: self.db, version, key: key.to_vec() });
    }

    fn tick(&mut self) {
        let op = Op { proto: self.proto, origin: None, body: Body::Tick };
        self.shard.apply(Millis(self.now), &op, &mut Vec::new(), &mut self.effects);
    }

    fn asker(&self, origin: Option<Origin>) -> Asker {
        Asker { db: usize::from(self.db), proto: self.proto, origin }
    }

    fn run(&mut self, row: &command::Command, args: Args<'_>, out: &mut Vec<u8>) {
        // A script that was run past the log is not known to EVALSHA: docs/compatibility.md.
        let scripts = matches!(row.name, "eval_ro" | "evalsha_ro");
        if self.reads_aside && !scripts && matches!(row.run, Run::Read(_)) {
            self.read(args, out);
            return;
        }
        self.number += 1;
        let origin = Origin { node: 1, number: self.number };
        let asker = self.asker(Some(origin));
        let outcome = self.shard.apply_call(Millis(self.now), asker, args, out, &mut self.effects);
        if outcome == Outcome::Blocked {
            self.now += WAIT;
            self.tick();
            let late = self.effects.late.pop().expect("the call has waited long enough");
            assert_eq!(late.origin, origin, "one call waits at a time");
            *out = late.reply;
        }
        if row.name == "select" && out == b"+OK\r\n" {
            self.db = selected(args).expect("it was selected");
        }
    }

    fn read(&mut self, args: Args<'_>, out: &mut Vec<u8>) {
        let wall = Millis(self.now);
        self.number += 1;
        let (asker, seed) = (self.asker(None), self.number);
        if self.shard.read(wall, seed, asker, args, false, out) == Outcome::Due {
            self.tick();
            let again = self.shard.read(wall, seed, asker, args, false, out);
            assert_eq!(again, Outcome::Replied, "the log knows the time");
        }
    }

    /// What a call answers on the side, changing nothing.
    pub(crate) fn peek(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let args: ArgsBuf = words.iter().copied().collect();
        let mut out = Vec::new();
        self.read(args.args(), &mut out);
        out
    }

    /// Makes a change that no client asked for and nobody hears of.
    pub(crate) fn amend(&mut self, words: &[&[u8]]) {
        let mut effects = Effects::default();
        let args: ArgsBuf = words.iter().copied().collect();
        let asker = self.asker(None);
        let mut out = Vec::new();
        self.shard.apply_call(Millis(self.now), asker, args.args(), &mut out, &mut effects);
        assert_ne!(out.first(), Some(&b'-'), "{}", String::from_utf8_lossy(&out));
    }

    /// Saves the shard and goes on with what was loaded.
    pub(crate) fn reload(&mut self) {
        let digest = self.shard.digest();
        let mut bytes = Vec::new();
        let mut saver = Saver::begin(&mut self.shard);
        while !saver.step(&mut self.shard, 512, &mut bytes) {}
        self.shard = Loader::load(&bytes).expect("what was saved can be loaded");
        assert_eq!(digest, self.shard.digest(), "a snapshot changed the state");
    }

    /// The keyspace events so far.
    pub(crate) fn take_events(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let publish = std::mem::take(&mut self.effects.publish);
        publish.into_iter().map(|Publish { channel, message, .. }| (channel, message)).collect()
    }
}

/// The database that a SELECT names, if it exists.
fn selected(args: Args<'_>) -> Option<u8> {
    let number: u8 = std::str::from_utf8(args.at(1)).ok()?.parse().ok()?;
    (usize::from(number) < keyspace::limits::DATABASES).then_some(number)
}

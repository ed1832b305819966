//! MULTI, SYNOD.MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! The queue is the session's; EXEC sends it as one operation with the versions that WATCH saw, and
//! the shard decides. Calls that only a session can run (CLIENT, CONFIG GET …) are left out of that
//! operation; their replies are put in their places when its reply comes.

use keyspace::Reject;
use keyspace::command::{Command, Flags, Run};
use keyspace::op::Watch;
use node::{Call, Called, Exec, Kind, Moment};
use wire::resp::{Decoder, ReplyLimits, Value, elements};
use wire::{Args, ArgsBuf, Reply};

use super::config;
use crate::front::client::{Finish, Own, Purpose, Queue};
use crate::front::{Flow, Front};
use crate::limits::{QUEUE_BYTES_MAX, QUEUE_CALLS_MAX, WATCHES_MAX};

/// The read that returns the versions of keys, for WATCH.
const VERSIONS: &[u8] = b"synod.versions";

impl Front {
    pub(super) fn multi(&mut self, key: usize, rollback: bool) -> Flow {
        let session = &mut self.client(key).session;
        if session.multi.is_some() {
            let reject = Reject::text("ERR MULTI calls can not be nested");
            return self.answer(key, |_| Err(reject));
        }
        session.multi = Some(Box::new(Queue { db: session.db, rollback, ..Queue::default() }));
        self.answer(key, |reply| {
            reply.ok();
            Ok(())
        })
    }

    /// Puts a call into the queue.
    pub(in crate::front) fn queue(
        &mut self,
        key: usize,
        command: &'static Command,
        args: Args<'_>,
    ) -> Flow {
        if command.flags.has(Flags::NO_MULTI) {
            let reject = Reject::text("ERR Command not allowed inside a transaction");
            return self.refuse(key, &reject);
        }
        let part = self.part_of(command, args);
        let rollback = self.client(key).session.multi.as_ref().is_some_and(|queue| queue.rollback);
        if rollback && !can_be_undone(command, args, &part) {
            return self.refuse(key, &Reject::from(format!(
                "ERR '{}' can't be undone: SYNOD.MULTI ROLLBACK takes commands on keys, and scripts",
                command.name
            )));
        }
        let Some(queue) = &mut self.client(key).session.multi else { return Flow::Next };
        queue.bytes += args.bytes_len();
        let place = queue.count;
        if place >= QUEUE_CALLS_MAX || queue.bytes > QUEUE_BYTES_MAX {
            let reject = Reject::from(format!(
                "ERR transaction too large: at most {QUEUE_CALLS_MAX} calls and {QUEUE_BYTES_MAX} \
                 bytes"
            ));
            return self.refuse(key, &reject);
        }
        queue.count += 1;
        let joins = matches!(part, Part::Both(_));
        match part {
            Part::Shard => queue.calls.push((queue.db, ArgsBuf::from(args))),
            Part::Session => {}
            Part::Both(ref call) => queue.calls.push((queue.db, call.clone())),
        }
        if !matches!(part, Part::Shard) {
            queue.own.push(Own { place, args: ArgsBuf::from(args), joins });
        }
        if let Some(db) = keyspace::types::selects(args) {
            queue.db = db as u8;
        }
        self.answer(key, |reply| {
            reply.status("QUEUED");
            Ok(())
        })
    }

    /// Who runs a call inside EXEC.
    fn part_of(&self, command: &Command, args: Args<'_>) -> Part {
        let name =
            (keyspace::command::find_name(&args[0]).map_or("", |row| row.name), command.name);
        match (name, command.run) {
            (("config", "get"), _) if config::wants_shared(args) => {
                Part::Both([config::SETTINGS].into_iter().collect())
            }
            (("config", "set"), _) => match self.split_config(args) {
                Ok((_, shared)) if shared.args().len() > 2 => Part::Both(shared),
                _ => Part::Session,
            },
            (("publish" | "spublish", _), _) => Part::Both(ArgsBuf::from(args)),
            (_, Run::Session(None)) => Part::Session,
            _ => Part::Shard,
        }
    }

    /// An EXEC that is refused itself ends the transaction.
    pub(in crate::front) fn abort_exec(&mut self, key: usize, why: &Reject) -> Flow {
        let session = &mut self.client(key).session;
        (session.multi, session.watches) = (None, Vec::new());
        let why = why.message().trim_start_matches("ERR ");
        let text = format!("EXECABORT Transaction discarded because of: {why}");
        self.refuse(key, &Reject::from(text))
    }

    pub(super) fn exec(&mut self, moment: Moment, key: usize) -> Flow {
        let several = self.core.shards().count() > 1;
        let client = self.client(key);
        let Some(queue) = client.session.multi.take() else {
            return self.answer(key, |_| Err(Reject::text("ERR EXEC without MULTI")));
        };
        let watches = std::mem::take(&mut client.session.watches);
        if queue.refused {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return self.answer(key, |_| Err(Reject::text(text)));
        }
        let Queue { calls, db, own, rollback, .. } = *queue;
        let (ticket, proto) = (client.next_ticket(), client.session.proto);
        let silent = client.is_silent();
        let purpose = match db == client.session.db && own.is_empty() {
            true if silent => Purpose::Silence,
            true => Purpose::Reply,
            false => Purpose::Exec(Box::new(Finish { db, own, silent })),
        };
        client.held |= several || matches!(purpose, Purpose::Exec(_));
        client.owe(purpose);
        client.session.after_call();
        let mut reply = Vec::new();
        let exec = Exec { ticket, proto, watches, calls, rollback };
        if self.core.exec(moment, exec, &mut reply) == Called::Replied {
            self.settle(moment, ticket, &reply);
        }
        Flow::Next
    }

    pub(super) fn discard(&mut self, key: usize) -> Flow {
        let session = &mut self.client(key).session;
        let was = session.multi.take();
        if was.is_some() {
            session.watches.clear();
        }
        self.answer(key, |reply| {
            was.map(|_| reply.ok()).ok_or(Reject::text("ERR DISCARD without MULTI"))
        })
    }

    pub(super) fn unwatch(&mut self, key: usize) -> Flow {
        self.client(key).session.watches.clear();
        self.answer(key, |reply| {
            reply.ok();
            Ok(())
        })
    }

    /// Asks for the versions of the keys that are not watched yet; the session goes on when they
    /// are known.
    pub(super) fn watch(&mut self, moment: Moment, key: usize, args: Args<'_>) -> Flow {
        let session = &self.client(key).session;
        if session.multi.is_some() {
            let reject = Reject::text("ERR WATCH inside MULTI is not allowed");
            return self.answer(key, |_| Err(reject));
        }
        if session.watches.len() + args.len() > WATCHES_MAX {
            let reject = Reject::from(format!("ERR too many watched keys: at most {WATCHES_MAX}"));
            return self.answer(key, |_| Err(reject));
        }
        let db = session.db;
        let is_watched =
            |name: &[u8]| session.watches.iter().any(|watch| watch.db == db && watch.key == name);
        let keys: Vec<Vec<u8>> =
            args.from(1).iter().filter(|key| !is_watched(key)).map(<[u8]>::to_vec).collect();
        let call: ArgsBuf = [VERSIONS].into_iter().chain(keys.iter().map(Vec::as_slice)).collect();
        let client = self.clients[key].as_mut().expect("the client that is served is there");
        let (ticket, proto) = (client.next_ticket(), client.session.proto);
        let (kind, after, replica, may_block) = (Kind::Read, false, false, false);
        let args = call.args();
        let call = Call { ticket, db, proto, kind, after, replica, may_block, args };
        let mut reply = Vec::new();
        let command = keyspace::command::find(args).expect("it has a row");
        let route = self.core.route(command, args);
        match self.core.call(moment, route, call, &mut reply) {
            Called::Replied => self.finish_watch(key, keys, &reply),
            Called::Waits(_) => {
                client.owe(Purpose::Watch(keys));
                client.held = true;
            }
        }
        Flow::Next
    }

    /// A reply for the session has come.
    pub(in crate::front) fn finish(
        &mut self,
        moment: Moment,
        key: usize,
        purpose: Purpose,
        reply: &[u8],
    ) {
        match purpose {
            Purpose::Watch(keys) => self.finish_watch(key, keys, reply),
            Purpose::Settings(patterns) => self.finish_config(key, &patterns, reply),
            Purpose::Exec(finish) => self.finish_exec(moment, key, *finish, reply),
            Purpose::Reply | Purpose::Silence => unreachable!("these go to the client"),
        }
    }

    fn finish_watch(&mut self, key: usize, keys: Vec<Vec<u8>>, reply: &[u8]) {
        let decoded = Decoder::new(ReplyLimits::default()).decode(reply);
        let Ok(Some((Value::Array(versions), _))) = decoded else {
            self.client(key).give(|out| out.extend_from_slice(reply));
            return;
        };
        let session = &mut self.client(key).session;
        let db = session.db;
        for (key, version) in keys.into_iter().zip(versions) {
            let Value::Int(version) = version else { unreachable!("a version is a number") };
            session.watches.push(Watch { db, version: version as u64, key });
        }
        self.answer(key, |reply| {
            reply.ok();
            Ok(())
        });
    }

    /// Runs the session's part of EXEC and puts its replies between those of the shard.
    fn finish_exec(&mut self, moment: Moment, key: usize, finish: Finish, reply: &[u8]) {
        let Finish { db, own, silent } = finish;
        let is_array = reply.first() == Some(&b'*');
        let elements = is_array.then(|| elements(reply)).flatten();
        let owned = |elements: Vec<&[u8]>| elements.into_iter().map(<[u8]>::to_vec).collect();
        let elements: Option<Vec<Vec<u8>>> = elements.map(owned);
        let Some(mut elements) = elements else {
            // Aborted, or not known: nothing of the session is done.
            if !silent {
                self.client(key).give(|out| out.extend_from_slice(reply));
            }
            return;
        };
        self.client(key).session.db = db;
        for own in own {
            if own.joins {
                self.join_own(key, own.args.args(), &mut elements[own.place]);
            } else {
                elements.insert(own.place, self.run_own(moment, key, own.args.args()));
            }
        }
        if silent {
            return;
        }
        let proto = self.client(key).session.proto;
        self.client(key).give(|out| {
            let mut reply = Reply::new(out, proto);
            reply.array(elements.len());
            elements.iter().for_each(|element| reply.raw(element));
        });
    }

    /// Runs a session's call and returns its reply. It owes nothing at this moment, so every
    /// command answers at once.
    fn run_own(&mut self, moment: Moment, key: usize, args: Args<'_>) -> Vec<u8> {
        self.capture(key, |front| match keyspace::shard::check_call(args) {
            Ok(command) => drop(front.run_session(moment, key, command, args)),
            Err(reject) => drop(front.answer(key, |_| Err(reject))),
        })
    }

    /// The session's part of a call, of which the shard has done the other. An error of the shard
    /// stands.
    fn join_own(&mut self, key: usize, args: Args<'_>, element: &mut Vec<u8>) {
        if element.first() == Some(&b'-') {
            return;
        }
        if args.is(0, "config") && args.is(1, "set") {
            if let Ok((own, _)) = self.split_config(args) {
                self.config = own;
            }
            return;
        }
        let done = std::mem::take(element);
        *element = self.capture(key, |front| {
            if args.is(0, "config") {
                front.finish_config(key, &config::patterns(args), &done);
            } else {
                let count = front.count_receivers(args.is(0, "spublish"), &args[1]);
                front.answer(key, |reply| {
                    reply.count(count);
                    Ok(())
                });
            }
        });
    }

    /// What is given to a client meanwhile, instead of giving it.
    fn capture(&mut self, key: usize, run: impl FnOnce(&mut Front)) -> Vec<u8> {
        let before = std::mem::take(&mut self.client(key).out);
        self.executes = true;
        run(self);
        self.executes = false;
        std::mem::replace(&mut self.client(key).out, before)
    }
}

/// May this call stand among those that are undone if one fails? Not what the session runs when the
/// others are done, nor what changes more than keys.
fn can_be_undone(command: &Command, args: Args<'_>, part: &Part) -> bool {
    match part {
        Part::Session => false,
        Part::Both(_) => !(args.is(0, "config") && args.is(1, "set")),
        Part::Shard => !node::concerns_all(command, args),
    }
}

/// Who runs a call inside EXEC.
#[derive(Debug)]
enum Part {
    Shard,
    Session,
    /// The session, once the shard has run this.
    Both(ArgsBuf),
}

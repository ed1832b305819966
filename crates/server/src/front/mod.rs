//! The front: all clients of a node, from the bytes that they send to the bytes that they get.
//!
//! ```text
//! bytes ─▶ input ─▶ Parser ─▶ execute ─┬─▶ session command ──────────▶ out ─▶ bytes
//!                                      ├─▶ core, a read at once ─────▶ out
//!                                      └─▶ core ─▶ … ─▶ Replies ─▶ slot ─▶ out
//! ```
//!
//! No socket, thread or clock: the driver moves the bytes and reads the clock, the simulator does
//! the same with invented ones.
//!
//! What always holds: a client's commands take effect in their order, and its replies leave in that
//! order. A command that cannot run yet (its session waits for an answer, CLIENT PAUSE, no room in
//! the core) stays in `input`, and the client's later bytes behind it.

#[cfg(test)]
mod backup_tests;
mod client;
mod commands;
mod hub;
mod output;
#[cfg(test)]
mod sharded_tests;
mod stats;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk_tests;

use std::collections::VecDeque;

use keyspace::command::{Command, Flags, Run};
use keyspace::dict::WARM_MAX;
use keyspace::op::Unblock;
use keyspace::{Reject, receipt};
use node::{Call, Called, Core, Effects, Event, Kind, Moment, Proposing};
use stdx::{Instant, Millis};
use wire::resp::{Limits, Parsed, Parser, skim};
use wire::{Args, Proto, Reply};

use crate::config::Config;
use crate::limits::{BEHIND_MAX, CONNECTIONS_EXTRA};
use client::{Client, Purpose};
pub use commands::Vitals;
pub(crate) use hub::Hub;
use stats::Stats;

/// Room that is made at once for an argument that has begun to arrive. A client that announces a
/// huge one and sends nothing costs no more than this.
const ROOM_BYTES_MAX: usize = 1024 * 1024;

/// What happened to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// It was taken; the next may come.
    Next,
    /// It was told why it is not taken; the next may come.
    Refused,
    /// It cannot run before all that is owed to the client was given.
    Hold,
    /// It cannot run before CLIENT UNPAUSE.
    Pause,
    /// It cannot run before this replica has caught up with the leader's answers.
    Behind,
}

const OUT_OF_MEMORY: Reject =
    Reject::text("OOM command not allowed when used memory > 'maxmemory'.");

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    pub(crate) until: Instant,
    pub(crate) writes_only: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Front {
    pub(crate) core: Core,
    pub(crate) config: Config,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    /// Where the sequence numbers of a free place go on.
    sequences: Vec<u32>,
    hub: Hub,
    next_id: u64,
    open: usize,
    pause: Option<Pause>,
    stats: Stats,
    /// `stats.commands` when `count_operations` was last called.
    counted: u64,
    started: Moment,
    /// What the driver last read of the process.
    pub vitals: Vitals,
    /// Names this start of the node, as forty hexadecimal digits.
    pub run_id: String,
    /// Names the cluster, as 32 hexadecimal digits.
    pub cluster: String,
    fx: Effects,
    /// Clients with new output or that are closing, each once.
    dirty: Vec<usize>,
    /// Clients whose replies wait for the rest of their train, in the order of when they do so no more.
    gathering: VecDeque<(Instant, usize)>,
    /// Clients whose input may go on.
    resume: Vec<usize>,
    /// Clients that wait until the core has room.
    stalled: Vec<usize>,
    /// Clients whose INFO waits until this replica has applied what they were answered about.
    behind: Vec<usize>,
    /// When those wait no longer.
    behind_until: Option<Instant>,
    /// A session's own calls of an EXEC are run: each must answer at once.
    executes: bool,
    /// SHUTDOWN was called.
    shutdown: bool,
}

impl Front {
    /// A front without clients.
    pub fn new(core: Core, config: Config, moment: Moment) -> Front {
        Front {
            core,
            config,
            clients: Vec::new(),
            free: Vec::new(),
            sequences: Vec::new(),
            hub: Hub::default(),
            next_id: 1,
            open: 0,
            pause: None,
            stats: Stats::default(),
            counted: 0,
            started: moment,
            vitals: Vitals::default(),
            run_id: "0".repeat(40),
            cluster: "0".repeat(32),
            fx: Effects::default(),
            dirty: Vec::new(),
            gathering: VecDeque::new(),
            resume: Vec::new(),
            stalled: Vec::new(),
            behind: Vec::new(),
            behind_until: None,
            executes: false,
            shutdown: false,
        }
    }

    /// The core, to look at.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Did a client ask the node to stop?
    pub fn wants_shutdown(&self) -> bool {
        self.shutdown
    }

    /// A new client; nothing if there are too many already.
    pub fn open(&mut self, moment: Moment, addr: String, laddr: String) -> Option<usize> {
        self.stats.connections += 1;
        if self.open >= self.config.clients_max() {
            self.stats.rejected += 1;
            return None;
        }
        let key = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.sequences.push(0);
            self.clients.len() - 1
        });
        let authenticated = !self.config.needs_password();
        let mut client = Client::new(self.next_id, key as u32, self.sequences[key], authenticated);
        (client.addr, client.laddr) = (addr, laddr);
        (client.born, client.last_call) = (moment.wall, moment.now);
        self.next_id += 1;
        self.open += 1;
        self.clients[key] = Some(client);
        Some(key)
    }

    /// A client is gone, or the driver gave it up.
    pub fn close(&mut self, moment: Moment, key: usize) {
        let Some(client) = self.clients.get_mut(key).and_then(Option::take) else { return };
        if let Some(waiting) = client.blocking {
            self.core.unblock(moment, waiting, Unblock::Gone, None, &mut self.fx);
        }
        for kind in [hub::Kind::Channel, hub::Kind::Pattern, hub::Kind::Shard] {
            for name in self.hub.of(key, kind) {
                self.hub.unsubscribe(key, kind, &name);
            }
        }
        self.sequences[key] = client.next_sequence();
        self.free.push(key);
        self.open -= 1;
    }

    /// Should more be read from this client now? Not while its commands wait and fill its buffer.
    pub fn wants_input(&self, key: usize) -> bool {
        self.clients.get(key).and_then(Option::as_ref).is_some_and(Client::wants_input)
    }

    /// A client sends no more. True if nothing is left to do for it, else it is closed later.
    pub fn ended(&mut self, key: usize) -> bool {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else { return true };
        client.ended = true;
        client.is_done() && client.out.is_empty()
    }

    /// Sockets at a time, of clients and others.
    pub fn connections_max(&self) -> usize {
        self.config.clients_max() + CONNECTIONS_EXTRA
    }

    /// A connection was one too many.
    pub fn note_rejected(&mut self) {
        self.stats.connections += 1;
        self.stats.rejected += 1;
    }

    /// Bytes of a client have come. `moment` was read after them: a lease that holds then held
    /// when they were sent. The buffer comes back empty; a client keeps only what is left over, so
    /// that one who says nothing costs no buffer.
    pub fn received(&mut self, moment: Moment, key: usize, bytes: &mut Vec<u8>) {
        self.stats.input_bytes += bytes.len() as u64;
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else { return };
        if !client.input.is_empty() {
            client.input.extend_from_slice(bytes);
            bytes.clear();
            return self.pump(moment, key);
        }
        std::mem::swap(&mut client.input, bytes);
        self.pump(moment, key);
        let Some(client) = self.clients[key].as_mut() else { return };
        let rest = if client.input.is_empty() {
            Vec::new()
        } else {
            let room = client.parser.wanted().min(ROOM_BYTES_MAX);
            let mut rest = Vec::with_capacity(client.input.len().max(room));
            rest.extend_from_slice(&client.input);
            rest
        };
        *bytes = std::mem::replace(&mut client.input, rest);
        bytes.clear();
    }

    /// Feeds the core one event.
    pub fn step(&mut self, moment: Moment, event: Event) {
        self.core.step(moment, event, &mut self.fx);
    }

    /// Ends a turn: proposes what came in it, hands out what was answered, and goes on with the
    /// clients that were waiting for that, until nothing moves. What is left in `effects` is for
    /// the driver.
    pub fn end_turn(&mut self, moment: Moment, proposing: Proposing) -> &mut Effects {
        if self.pause.is_some_and(|pause| pause.until <= moment.now) {
            self.unpause();
        }
        self.end_trains(moment);
        loop {
            self.core.flush(moment, proposing, &mut self.fx);
            self.deliver(moment);
            if !self.stalled.is_empty() && self.core.has_room() {
                self.resume.append(&mut self.stalled);
            }
            if !self.behind.is_empty() && self.may_look(moment) {
                self.resume.append(&mut self.behind);
            }
            if self.resume.is_empty() {
                if self.behind.is_empty() {
                    self.behind_until = None;
                }
                return &mut self.fx;
            }
            for key in std::mem::take(&mut self.resume) {
                self.pump(moment, key);
            }
        }
    }

    /// May INFO look at the keys of this replica? Not while it is behind what its clients were
    /// answered about; but if that lasts, an old figure is better than none.
    fn may_look(&self, moment: Moment) -> bool {
        let waited = self.behind_until.is_some_and(|until| until <= moment.now);
        waited || self.core.members().all(node::Group::is_level)
    }

    /// When `Event::Tick` is due.
    pub fn deadline(&self) -> Instant {
        let core = self.core.deadline();
        let deadline = self.pause.map_or(core, |pause| core.min(pause.until));
        let gathered = self.gathering.front().map(|(until, _)| *until);
        [gathered, self.behind_until].into_iter().flatten().fold(deadline, Instant::min)
    }

    /// Runs the commands in a client's input, as far as they can run.
    fn pump(&mut self, moment: Moment, key: usize) {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else { return };
        if client.input.is_empty() {
            return;
        }
        let had_enough = !client.wants_input();
        let mut input = std::mem::take(&mut client.input);
        let mut parser = std::mem::take(&mut client.parser);
        let consumed = self.pump_bytes(moment, key, &input, &mut parser);
        // A client that closes itself is taken out by the driver, never here.
        let client = self.clients[key].as_mut().expect("no command takes its client out");
        input.drain(..consumed);
        (client.input, client.parser) = (input, parser);
        client.pumped = 0;
        client.starving |= client.input.is_empty();
        // A driver that stopped reading looks at it again.
        client.note_train();
        let reads_on = had_enough && client.wants_input();
        client.dirty |= reads_on;
        if reads_on { self.note_dirty(key) } else { self.note_replies(moment, key) }
    }

    /// Returns how many bytes were used up.
    fn pump_bytes(
        &mut self,
        moment: Moment,
        key: usize,
        input: &[u8],
        parser: &mut Parser,
    ) -> usize {
        // One command alone has nothing to overlap with.
        let (mut start, mut warm) = (0, 1);
        loop {
            let Some(client) = self.clients[key].as_mut() else { return start };
            client.starving = false;
            client.throttled = !client.has_room();
            if client.closing || client.held || client.paused || client.throttled {
                return start;
            }
            let (db, authenticated) = (client.session.db, client.session.authenticated);
            if !self.core.has_room() {
                self.stalled.push(key);
                return start;
            }
            if warm == 0 {
                warm = self.warm(db, &input[start..]);
            }
            warm -= 1;
            let limits = self.config.limits(authenticated);
            let consumed = match parser.parse(&input[start..], &limits) {
                Ok(Parsed::Complete { consumed }) => consumed,
                Ok(Parsed::Blank { consumed }) => {
                    start += consumed;
                    continue;
                }
                Ok(Parsed::Incomplete) => {
                    self.client(key).starving = true;
                    return start;
                }
                Err(error) => {
                    let client = self.client(key);
                    client.give(|out| error.encode(out));
                    client.closing = true;
                    return input.len();
                }
            };
            self.client(key).pumped = input.len() - start;
            let args = parser.args(&input[start..start + consumed]);
            match self.execute(moment, key, args) {
                Flow::Next | Flow::Refused => start += consumed,
                Flow::Hold => self.client(key).held = self.client(key).owed() > 0,
                Flow::Pause => self.client(key).paused = true,
                Flow::Behind => {
                    self.behind_until.get_or_insert(moment.now + BEHIND_MAX);
                    self.behind.push(key);
                    self.core.members_mut().for_each(node::Group::catch_up);
                    return start;
                }
            }
        }
    }

    /// Has the keys of the reads at hand with which this input begins. Returns after how many commands to
    /// look again. Writes run later, when they are agreed on.
    fn warm(&self, db: u8, input: &[u8]) -> usize {
        let mut calls = skim(input).peekable();
        let is_read = |name: &[u8]| {
            let command = keyspace::command::find_name(name);
            command.is_some_and(|command| command.flags.has(Flags::READONLY))
        };
        match calls.peek() {
            Some((name, _)) if is_read(name) => self.core.warm(db, calls.map(|(_, key)| key)),
            _ => WARM_MAX,
        }
    }

    /// Runs one command, or sees that it must wait, and counts it.
    fn execute(&mut self, moment: Moment, key: usize, args: Args<'_>) -> Flow {
        let command = match keyspace::shard::check_call(args) {
            Ok(command) => command,
            Err(_) if commands::is_http(&args[0]) => {
                let client = self.client(key);
                (client.closing, client.cut_off) = (true, true);
                return Flow::Next;
            }
            Err(reject) => {
                let known = keyspace::command::find(args);
                let place = known.map(|command| self.stats.place(stats::name(command, args)));
                let flow = match args.is(0, "exec") {
                    true => self.abort_exec(key, &reject),
                    false => self.refuse(key, &reject),
                };
                self.stats.note_call(place, flow);
                return flow;
            }
        };
        let place = self.stats.place(stats::name(command, args));
        self.client(key).call = place;
        let flow = self.run_checked(moment, key, command, args);
        self.stats.note_call(Some(place), flow);
        flow
    }

    /// Runs a command whose name and number of arguments are right.
    fn run_checked(
        &mut self,
        moment: Moment,
        key: usize,
        command: &'static Command,
        args: Args<'_>,
    ) -> Flow {
        if let Some(reject) = self.forbids(key, command, args) {
            return self.refuse(key, &reject);
        }
        if self.is_paused_for(key, moment, command, args) {
            return Flow::Pause;
        }
        let client = self.clients[key].as_mut().expect("the client that is served is there");
        client.last_call = moment.now;
        client.session.last_command = self.stats.name_at(client.call);
        self.dispatch(moment, key, command, args)
    }

    fn dispatch(
        &mut self,
        moment: Moment,
        key: usize,
        command: &'static Command,
        args: Args<'_>,
    ) -> Flow {
        if self.client(key).session.multi.is_some() && !commands::ends_multi(command) {
            return self.queue(key, command, args);
        }
        match command.run {
            Run::Read(_) => self.ask(moment, key, Kind::Read, command, args),
            Run::Write(_) if receipt::unwrap(args).is_some() => {
                self.once(moment, key, command, args)
            }
            Run::Write(_) => self.ask(moment, key, Kind::Write, command, args),
            Run::Pure(answer) => self.answer(key, |reply| answer(args, reply)),
            Run::Session(_) => self.run_session(moment, key, command, args),
            Run::Container => unreachable!("check_call refuses a container without its word"),
        }
    }

    /// SYNOD.IDEM. What changes nothing needs no receipt.
    fn once(
        &mut self,
        moment: Moment,
        key: usize,
        command: &'static Command,
        args: Args<'_>,
    ) -> Flow {
        match receipt::check(args) {
            Err(reject) => self.refuse(key, &reject),
            Ok((inner, bare)) if !matches!(inner.run, Run::Write(_)) => {
                self.dispatch(moment, key, inner, bare)
            }
            Ok(_) => self.ask(moment, key, Kind::Write, command, args),
        }
    }

    /// Asks the core.
    fn ask(
        &mut self,
        moment: Moment,
        key: usize,
        kind: Kind,
        command: &Command,
        args: Args<'_>,
    ) -> Flow {
        let may_block = keyspace::command::may_block(command, args);
        let route = self.core.route(command, args);
        let alone = may_block || route.is_wide();
        let client = self.clients[key].as_ref().expect("the client that is served is there");
        if alone && client.owed() > 0 {
            return Flow::Hold;
        }
        if client.owed() == 0
            && let Some(moved) = self.moved(moment, &client.session, (route, kind), command, args)
        {
            return self.refuse(key, &moved);
        }
        let client = self.clients[key].as_mut().expect("the client that is served is there");
        let (ticket, silent) = (client.next_ticket(), client.is_silent());
        let is_light = client.session.readonly && kind == Kind::Read && !route.is_wide();
        let replica = is_light && !client.owes_more_than_reads();
        let (after, proto, db) = (client.owed() > 0, client.session.proto, client.session.db);
        let call = Call { ticket, db, proto, kind, after, replica, may_block, args };
        let purpose = if silent { Purpose::Silence } else { Purpose::Reply };
        if after || silent {
            let mut reply = Vec::new();
            match self.core.call(moment, route, call, &mut reply) {
                Called::Replied => {
                    self.stats.note_reply(client.call, &reply);
                    client.give(|out| out.extend_from_slice(&reply));
                }
                Called::Waits(_) => {
                    client.owe(purpose);
                    client.note_read(replica);
                    client.note_asked(kind);
                    client.held |= alone;
                }
            }
        } else {
            let mark = client.out.len();
            match self.core.call(moment, route, call, &mut client.out) {
                Called::Replied => {
                    self.stats.note_reply(client.call, &client.out[mark..]);
                    client.dirty = true;
                }
                Called::Waits(waiting) => {
                    client.owe(purpose);
                    client.note_read(replica);
                    client.note_asked(kind);
                    client.held |= alone;
                    client.blocking = may_block.then_some(waiting);
                }
            }
        }
        client.session.after_call();
        Flow::Next
    }

    /// Gives a reply that needs nothing but the session. An error takes the rest back.
    fn answer(
        &mut self,
        key: usize,
        write: impl FnOnce(&mut Reply<'_>) -> Result<(), Reject>,
    ) -> Flow {
        let error = self.give(key, write);
        let call = self.client(key).call;
        self.stats.note_reply(call, &error);
        Flow::Next
    }

    /// Answers with an error; inside MULTI it also spoils the EXEC to come.
    fn refuse(&mut self, key: usize, reject: &Reject) -> Flow {
        if let Some(queue) = &mut self.client(key).session.multi {
            queue.refused = true;
        }
        let error = self.give(key, |_| Err(reject.clone()));
        self.stats.note_error(&error);
        Flow::Refused
    }

    /// Returns the error, if it was one.
    fn give(
        &mut self,
        key: usize,
        write: impl FnOnce(&mut Reply<'_>) -> Result<(), Reject>,
    ) -> Vec<u8> {
        let client = self.client(key);
        let proto = client.session.proto;
        let mut error = Vec::new();
        client.give(|out| {
            let mut reply = Reply::new(out, proto);
            let mark = reply.mark();
            if let Err(reject) = write(&mut reply) {
                reply.rewind(mark);
                reply.error(reject.message());
                error = reply.since(mark).to_vec();
            }
        });
        client.session.after_call();
        error
    }

    /// Why this client may not call this command now.
    fn forbids(&self, key: usize, command: &Command, args: Args<'_>) -> Option<Reject> {
        let session = &self.clients[key].as_ref()?.session;
        if !session.authenticated && !command.flags.has(Flags::NO_AUTH) {
            return Some(Reject::text("NOAUTH Authentication required."));
        }
        if args.bytes_len() > node::limits::COMMAND_BYTES_MAX {
            let max = node::limits::COMMAND_BYTES_MAX;
            return Some(Reject::from(format!("ERR command too large: at most {max} bytes")));
        }
        if self.is_out_of_memory() && commands::may_grow(command, args) {
            return Some(OUT_OF_MEMORY);
        }
        if session.proto == Proto::Resp2
            && session.is_subscribed()
            && !commands::allowed_to_subscribers(command)
        {
            let name = String::from_utf8_lossy(&args[0]).to_lowercase();
            return Some(Reject::from(format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT \
                 / RESET are allowed in this context"
            )));
        }
        None
    }

    /// Does the process take more memory than `maxmemory` allows?
    fn is_out_of_memory(&self) -> bool {
        let max = self.config.memory_bytes_max();
        max > 0 && self.vitals.resident_bytes > max
    }

    fn client(&mut self, key: usize) -> &mut Client {
        self.clients[key].as_mut().expect("the client that is served is there")
    }

    fn clients(&self) -> impl Iterator<Item = (usize, &Client)> {
        let all = self.clients.iter().enumerate();
        all.filter_map(|(key, client)| Some((key, client.as_ref()?)))
    }

    /// Notes how many commands came since the last call, which was `interval` ago.
    pub fn count_operations(&mut self, interval: std::time::Duration) {
        let since = self.stats.commands.saturating_sub(self.counted);
        self.counted = self.stats.commands;
        self.vitals.operations_per_second = since / interval.as_secs().max(1);
    }

    /// The wall clock at the node's start, for INFO.
    fn uptime(&self, moment: Moment) -> std::time::Duration {
        moment.now.since(self.started.now)
    }
}

/// The limits for the parser of a client.
pub(crate) fn parser_limits(authenticated: bool) -> Limits {
    let limits = if authenticated { Limits::AUTHENTICATED } else { Limits::UNAUTHENTICATED };
    let (bulk_bytes_max, command_bytes_max) =
        (node::limits::COMMAND_BYTES_MAX, crate::limits::REQUEST_BYTES_MAX);
    Limits { bulk_bytes_max, command_bytes_max, ..limits }
}

/// A wall-clock time in seconds, as INFO has it.
pub(crate) fn seconds(at: Millis) -> u64 {
    at.0 / 1_000
}

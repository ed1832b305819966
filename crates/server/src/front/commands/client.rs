//! CLIENT: what a connection says about itself, and what can be done to others.

use keyspace::Reject;
use keyspace::command::{Command, Flags};
use keyspace::number::parse_i64;
use keyspace::op::Unblock;
use node::Moment;
use std::time::Duration;
use wire::{Args, Proto};

use crate::front::client::{Client, Purpose, ReplyMode};
use crate::front::{Flow, Front, Pause};

const NO_CLIENT: Reject = Reject::text("ERR No such client");

/// Is this a fitting name for a connection?
pub(super) fn check_name(name: &[u8]) -> Result<(), Reject> {
    let text = "ERR Client names cannot contain spaces, newlines or special characters.";
    is_word(name).then_some(()).ok_or_else(|| Reject::text(text))
}

fn is_word(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Which clients CLIENT KILL and LIST mean. Every field that is set must fit.
#[derive(Debug, Default)]
struct Filter {
    ids: Vec<u64>,
    addr: Option<String>,
    laddr: Option<String>,
    user: Option<String>,
    kind: Option<&'static str>,
    skip_me: bool,
}

impl Front {
    pub(super) fn run_client(
        &mut self,
        moment: Moment,
        key: usize,
        word: &str,
        args: Args<'_>,
    ) -> Flow {
        match word {
            "id" => {
                let id = self.client(key).id;
                self.answer(key, |reply| {
                    reply.int(id as i64);
                    Ok(())
                })
            }
            "getname" => {
                let name = self.client(key).session.name.clone();
                self.answer(key, |reply| {
                    if name.is_empty() {
                        reply.null()
                    } else {
                        reply.bulk(&name)
                    }
                    Ok(())
                })
            }
            "setname" => {
                let checked = check_name(&args[2]);
                if checked.is_ok() {
                    self.client(key).session.name = args[2].to_vec();
                }
                self.done(key, checked)
            }
            "setinfo" => {
                let checked = self.set_info(key, args);
                self.done(key, checked)
            }
            "info" => {
                let line = self.describe(moment, self.clients[key].as_ref());
                self.answer(key, |reply| {
                    reply.verbatim("txt", format!("{line}\n").as_bytes());
                    Ok(())
                })
            }
            "list" => self.client_list(moment, key, args),
            "kill" => self.client_kill(key, args),
            "reply" => self.client_reply(key, args),
            "pause" => self.client_pause(moment, key, args),
            "unpause" => {
                self.unpause();
                self.done(key, Ok(()))
            }
            "unblock" => self.client_unblock(moment, key, args),
            "no-evict" | "no-touch" => self.client_switch(key, word, args),
            _ => self.done(key, Err(Reject::Syntax)),
        }
    }

    /// `OK`, or why not.
    pub(super) fn done(&mut self, key: usize, result: Result<(), Reject>) -> Flow {
        self.answer(key, |reply| {
            result?;
            reply.ok();
            Ok(())
        })
    }

    fn set_info(&mut self, key: usize, args: Args<'_>) -> Result<(), Reject> {
        if !is_word(&args[3]) {
            let option = String::from_utf8_lossy(&args[2]).into_owned();
            return Err(Reject::from(format!(
                "ERR {option} cannot contain spaces, newlines or special characters."
            )));
        }
        let session = &mut self.client(key).session;
        if args.is(2, "lib-name") {
            session.library = args[3].to_vec();
        } else if args.is(2, "lib-ver") {
            session.library_version = args[3].to_vec();
        } else {
            let option = String::from_utf8_lossy(&args[2]).into_owned();
            return Err(Reject::from(format!("ERR Unrecognized option '{option}'")));
        }
        Ok(())
    }

    /// One line of CLIENT LIST, with Redis's fields.
    fn describe(&self, moment: Moment, client: Option<&Client>) -> String {
        let Some(client) = client else { return String::new() };
        let session = &client.session;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut flags = String::new();
        for (is, flag) in [
            (session.is_subscribed(), 'P'),
            (client.waits(), 'b'),
            (session.multi.is_some(), 'x'),
            (client.closing, 'c'),
            (session.no_evict, 'e'),
            (session.no_touch, 'T'),
            (session.readonly, 'r'),
        ] {
            if is {
                flags.push(flag);
            }
        }
        let flags = if flags.is_empty() { "N".to_owned() } else { flags };
        let (container, word) = session.last_command;
        let last_command =
            if container == word { word.to_owned() } else { format!("{container}|{word}") };
        let multi = session.multi.as_ref();
        let queued = multi.map_or(-1, |queue| queue.count as i64);
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} sub={} \
             psub={} ssub={} multi={queued} qbuf={} qbuf-free={} argv-mem=0 multi-mem={} rbs=0 \
             rbp=0 obl=0 oll={} omem={} tot-mem={} events=r cmd={} user=default redir=-1 resp={} \
             lib-name={} lib-ver={}",
            client.id,
            client.addr,
            client.laddr,
            client.key() + 8,
            text(&session.name),
            moment.wall.0.saturating_sub(client.born.0) / 1_000,
            moment.now.since(client.last_call).as_secs(),
            session.db,
            session.channels,
            session.patterns,
            session.shard_channels,
            client.input.len().max(client.pumped),
            client.input.capacity() - client.input.len(),
            multi.map_or(0, |queue| queue.bytes),
            client.owed(),
            client.out.len(),
            client.input.capacity() + client.out.capacity(),
            last_command,
            if session.proto == Proto::Resp3 { 3 } else { 2 },
            text(&session.library),
            text(&session.library_version),
        )
    }

    fn client_list(&mut self, moment: Moment, key: usize, args: Args<'_>) -> Flow {
        let mut filter = Filter::default();
        let parsed = if args.len() == 2 { Ok(()) } else { filter.parse_list(args) };
        if let Err(reject) = parsed {
            return self.answer(key, |_| Err(reject));
        }
        let mut lines = String::new();
        for (_, client) in self.clients().filter(|(_, client)| filter.fits(client, None)) {
            lines.push_str(&self.describe(moment, Some(client)));
            lines.push('\n');
        }
        self.answer(key, |reply| {
            reply.verbatim("txt", lines.as_bytes());
            Ok(())
        })
    }

    fn client_kill(&mut self, key: usize, args: Args<'_>) -> Flow {
        let old_style = args.len() == 3;
        let mut filter = Filter { skip_me: !old_style, ..Filter::default() };
        if old_style {
            filter.addr = Some(String::from_utf8_lossy(&args[2]).into_owned());
        } else if let Err(reject) = filter.parse_kill(args) {
            return self.answer(key, |_| Err(reject));
        }
        let me = self.client(key).id;
        let fitting = self.clients().filter(|(_, client)| filter.fits(client, Some(me)));
        let keys: Vec<usize> = fitting.map(|(key, _)| key).collect();
        let (count, has_me) = (keys.len(), keys.contains(&key));
        for other in keys.into_iter().filter(|other| *other != key) {
            self.kill(other);
        }
        self.answer(key, |reply| {
            match (old_style, count) {
                (true, 0) => return Err(NO_CLIENT),
                (true, _) => reply.ok(),
                (false, count) => reply.count(count),
            }
            Ok(())
        });
        if has_me {
            self.client(key).closing = true;
        }
        Flow::Next
    }

    /// Closes another client at once: what it is owed is lost.
    fn kill(&mut self, key: usize) {
        let client = self.client(key);
        (client.closing, client.cut_off) = (true, true);
        self.note_dirty(key);
    }

    fn client_reply(&mut self, key: usize, args: Args<'_>) -> Flow {
        let session = &mut self.client(key).session;
        if args.is(2, "on") {
            session.reply_mode = ReplyMode::On;
            return self.done(key, Ok(()));
        }
        if args.is(2, "off") {
            session.reply_mode = ReplyMode::Off;
        } else if args.is(2, "skip") {
            if session.reply_mode != ReplyMode::Off {
                session.reply_mode = ReplyMode::Skip;
            }
        } else {
            return self.done(key, Err(Reject::Syntax));
        }
        Flow::Next
    }

    fn client_pause(&mut self, moment: Moment, key: usize, args: Args<'_>) -> Flow {
        let timeout = parse_i64(&args[2]);
        let writes_only = args.is(3, "write");
        let result = match timeout {
            _ if args.len() > 4 => Err(Reject::Syntax),
            _ if args.len() == 4 && !writes_only && !args.is(3, "all") => {
                Err(Reject::text("ERR CLIENT PAUSE mode must be WRITE or ALL"))
            }
            None => Err(Reject::text("ERR timeout is not an integer or out of range")),
            Some(millis) if millis < 0 => Err(Reject::text("ERR timeout is negative")),
            Some(millis) => {
                let until = moment.now + Duration::from_millis(millis as u64);
                // A second pause can make the first longer or stricter, never the opposite.
                let old = self.pause.filter(|pause| pause.until > moment.now);
                self.pause = Some(Pause {
                    until: old.map_or(until, |old| old.until.max(until)),
                    writes_only: writes_only && old.is_none_or(|old| old.writes_only),
                });
                Ok(())
            }
        };
        self.done(key, result)
    }

    /// Must this command wait for CLIENT UNPAUSE?
    pub(in crate::front) fn is_paused_for(
        &self,
        key: usize,
        moment: Moment,
        command: &Command,
        args: Args<'_>,
    ) -> bool {
        let Some(pause) = self.pause.filter(|pause| pause.until > moment.now) else { return false };
        if args.is(0, "client") {
            return false;
        }
        if !pause.writes_only {
            return true;
        }
        let session = self.clients[key].as_ref().map(|client| &client.session);
        let queue = session.and_then(|session| session.multi.as_ref());
        let queue_writes = command.name == "exec"
            && queue.is_some_and(|queue| {
                queue.calls.iter().any(|(_, call)| self.may_write(call.args()))
            });
        let runs_now = queue.is_none() || command.name == "exec";
        runs_now && (queue_writes || self.may_write(args))
    }

    /// Could this call change a key? A script could, unless it says that it does not.
    fn may_write(&self, args: Args<'_>) -> bool {
        let Some(command) = keyspace::command::find(args) else { return false };
        let may = command.flags.has(Flags::WRITE) || command.flags.has(Flags::MAY_REPLICATE);
        let scripts = self.core.members().next().map(|group| group.shard().scripts());
        let says_no = scripts.is_some_and(|scripts| scripts.says_no_writes(args));
        may && !super::says_no_writes(command, args) && !says_no
    }

    /// Lets the clients that CLIENT PAUSE has stopped go on.
    pub(in crate::front) fn unpause(&mut self) {
        self.pause = None;
        for key in 0..self.clients.len() {
            if let Some(client) = self.clients[key].as_mut().filter(|client| client.paused) {
                client.paused = false;
                self.resume.push(key);
            }
        }
    }

    fn client_unblock(&mut self, moment: Moment, key: usize, args: Args<'_>) -> Flow {
        let how = match args.len() {
            3 => Unblock::Timeout,
            4 if args.is(3, "timeout") => Unblock::Timeout,
            4 if args.is(3, "error") => Unblock::Error,
            _ => {
                let text = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
                return self.done(key, Err(Reject::text(text)));
            }
        };
        let Some(id) = parse_i64(&args[2]) else {
            return self.done(key, Err(Reject::NotInteger));
        };
        let target = self.clients().find(|(_, client)| client.id as i64 == id);
        let Some(waiting) = target.and_then(|(_, client)| client.blocking) else {
            return self.answer(key, |reply| {
                reply.int(0);
                Ok(())
            });
        };
        if self.executes {
            // EXEC cannot wait for more: that the other waits is as true as it was at the call.
            self.core.unblock(moment, waiting, how, None, &mut self.fx);
            return self.answer(key, |reply| {
                reply.int(1);
                Ok(())
            });
        }
        let client = self.client(key);
        let ticket = client.next_ticket();
        client.owe(if client.is_silent() { Purpose::Silence } else { Purpose::Reply });
        client.session.after_call();
        self.core.unblock(moment, waiting, how, Some(ticket), &mut self.fx);
        Flow::Next
    }

    fn client_switch(&mut self, key: usize, word: &str, args: Args<'_>) -> Flow {
        let on = match (args.is(2, "on"), args.is(2, "off")) {
            (true, _) => true,
            (_, true) => false,
            _ => return self.done(key, Err(Reject::Syntax)),
        };
        let session = &mut self.client(key).session;
        if word == "no-evict" {
            session.no_evict = on;
        } else {
            session.no_touch = on;
        }
        self.done(key, Ok(()))
    }
}

impl Filter {
    fn parse_list(&mut self, args: Args<'_>) -> Result<(), Reject> {
        if args.is(2, "type") && args.len() == 4 {
            self.kind = Some(client_kind(&args[3])?);
            return Ok(());
        }
        if !args.is(2, "id") || args.len() < 4 {
            return Err(Reject::Syntax);
        }
        for id in args.from(3).iter() {
            let id = parse_i64(id).ok_or(Reject::text("ERR Invalid client ID"))?;
            self.ids.push(id as u64);
        }
        Ok(())
    }

    fn parse_kill(&mut self, args: Args<'_>) -> Result<(), Reject> {
        if args.len() % 2 == 1 {
            return Err(Reject::Syntax);
        }
        for at in (2..args.len()).step_by(2) {
            let value = String::from_utf8_lossy(&args[at + 1]).into_owned();
            if args.is(at, "id") {
                let id = parse_i64(&args[at + 1]).filter(|id| *id > 0);
                let text = "ERR client-id should be greater than 0";
                self.ids = vec![id.ok_or_else(|| Reject::text(text))? as u64];
            } else if args.is(at, "type") {
                self.kind = Some(client_kind(&args[at + 1])?);
            } else if args.is(at, "addr") {
                self.addr = Some(value);
            } else if args.is(at, "laddr") {
                self.laddr = Some(value);
            } else if args.is(at, "user") {
                if value != "default" {
                    return Err(Reject::from(format!("ERR No such user '{value}'")));
                }
                self.user = Some(value);
            } else if args.is(at, "skipme") {
                self.skip_me = match value.to_lowercase().as_str() {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(Reject::Syntax),
                };
            } else {
                return Err(Reject::Syntax);
            }
        }
        Ok(())
    }

    fn fits(&self, client: &Client, me: Option<u64>) -> bool {
        let kind = if client.session.is_subscribed() { "pubsub" } else { "normal" };
        !client.cut_off
            && (self.ids.is_empty() || self.ids.contains(&client.id))
            && self.addr.as_ref().is_none_or(|addr| *addr == client.addr)
            && self.laddr.as_ref().is_none_or(|laddr| *laddr == client.laddr)
            && self.kind.is_none_or(|wanted| wanted == kind)
            && !(self.skip_me && me == Some(client.id))
    }
}

fn client_kind(name: &[u8]) -> Result<&'static str, Reject> {
    let kinds = ["normal", "master", "replica", "pubsub"];
    let name = name.to_ascii_lowercase();
    let name = if name == b"slave" { b"replica".to_vec() } else { name };
    kinds.into_iter().find(|kind| kind.as_bytes() == name).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&name).into_owned();
        Reject::from(format!("ERR Unknown client type '{shown}'"))
    })
}

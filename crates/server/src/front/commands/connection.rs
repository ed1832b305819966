//! AUTH, HELLO, PING, QUIT, RESET, SELECT.

use keyspace::Reject;
use keyspace::number::parse_i64;
use keyspace::types::database_index;
use wire::{Args, Proto};

use crate::front::client::{ReplyMode, Session};
use crate::front::{Flow, Front, hub};
use crate::version;

const WRONG_PASSWORD: Reject =
    Reject::text("WRONGPASS invalid username-password pair or user is disabled.");
const NO_PASSWORD: Reject = Reject::text(
    "ERR AUTH <password> called without any password configured for the default user. Are you \
     sure your configuration is correct?",
);

impl Front {
    pub(super) fn select(&mut self, key: usize, args: Args<'_>) -> Flow {
        let selected = database_index(&args[1]);
        if let Ok(db) = &selected {
            self.client(key).session.db = *db as u8;
        }
        self.done(key, selected.map(|_| ()))
    }

    pub(super) fn ping(&mut self, key: usize, args: Args<'_>) -> Flow {
        let session = &self.client(key).session;
        let as_message = session.proto == Proto::Resp2 && session.is_subscribed();
        self.answer(key, |reply| {
            if args.len() > 2 {
                return Err(Reject::text("ERR wrong number of arguments for 'ping' command"));
            }
            match args.get(1) {
                _ if as_message => {
                    reply.array(2);
                    reply.bulk(b"pong");
                    reply.bulk(args.get(1).unwrap_or_default());
                }
                Some(text) => reply.bulk(text),
                None => reply.status("PONG"),
            }
            Ok(())
        })
    }

    pub(super) fn auth(&mut self, key: usize, args: Args<'_>) -> Flow {
        let checked = match args.len() {
            2 if !self.config.needs_password() => Err(NO_PASSWORD),
            2 => self.check_password(b"default", &args[1]),
            3 => self.check_password(&args[1], &args[2]),
            _ => Err(Reject::Syntax),
        };
        if checked.is_ok() {
            self.client(key).session.authenticated = true;
        }
        self.done(key, checked)
    }

    /// There is one user, `default`. Without a password it is let in with any, as in Redis.
    fn check_password(&self, user: &[u8], password: &[u8]) -> Result<(), Reject> {
        let known = user == b"default" && self.config.is_password(password);
        known.then_some(()).ok_or(WRONG_PASSWORD)
    }

    pub(super) fn hello(&mut self, key: usize, args: Args<'_>) -> Flow {
        match self.try_hello(key, args) {
            Ok(()) => self.greet(key),
            Err(reject) => self.answer(key, |_| Err(reject)),
        }
    }

    fn try_hello(&mut self, key: usize, args: Args<'_>) -> Result<(), Reject> {
        let session = &self.client(key).session;
        let (mut proto, mut authenticated) = (session.proto, session.authenticated);
        let mut name = None;
        if let Some(version) = args.get(1) {
            let number = parse_i64(version)
                .ok_or(Reject::text("ERR Protocol version is not an integer or out of range"))?;
            proto = match number {
                2 => Proto::Resp2,
                3 => Proto::Resp3,
                _ => return Err(Reject::text("NOPROTO unsupported protocol version")),
            };
        }
        let mut at = 2;
        while at < args.len() {
            let rest = args.len() - at - 1;
            if args.is(at, "auth") && rest >= 2 {
                self.check_password(&args[at + 1], &args[at + 2])?;
                authenticated = true;
                at += 3;
            } else if args.is(at, "setname") && rest >= 1 {
                name = Some(args[at + 1].to_vec());
                super::client::check_name(&args[at + 1])?;
                at += 2;
            } else {
                let option = String::from_utf8_lossy(&args[at]).into_owned();
                return Err(Reject::from(format!("ERR Syntax error in HELLO option '{option}'")));
            }
        }
        if !authenticated {
            return Err(Reject::text(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                 HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client \
                 and select the RESP protocol version at the same time",
            ));
        }
        let session = &mut self.client(key).session;
        (session.proto, session.authenticated) = (proto, true);
        if let Some(name) = name {
            session.name = name;
        }
        Ok(())
    }

    fn greet(&mut self, key: usize) -> Flow {
        let client = self.client(key);
        let (id, proto) = (client.id, client.session.proto);
        self.answer(key, |reply| {
            reply.map(7);
            reply.bulk(b"server");
            reply.bulk(b"redis");
            reply.bulk(b"version");
            reply.bulk(version::REDIS.as_bytes());
            reply.bulk(b"proto");
            reply.int(if proto == Proto::Resp3 { 3 } else { 2 });
            reply.bulk(b"id");
            reply.int(id as i64);
            reply.bulk(b"mode");
            reply.bulk(b"standalone");
            reply.bulk(b"role");
            reply.bulk(b"master");
            reply.bulk(b"modules");
            reply.array(0);
            Ok(())
        })
    }

    pub(super) fn quit(&mut self, key: usize) -> Flow {
        self.answer(key, |reply| {
            reply.ok();
            Ok(())
        });
        self.client(key).closing = true;
        Flow::Next
    }

    pub(super) fn reset(&mut self, key: usize) -> Flow {
        for kind in [hub::Kind::Channel, hub::Kind::Pattern, hub::Kind::Shard] {
            for name in self.hub.of(key, kind) {
                self.hub.unsubscribe(key, kind, &name);
            }
        }
        let authenticated = !self.config.needs_password();
        let session = &mut self.client(key).session;
        let last_command = session.last_command;
        *session = Session { last_command, ..Session::new(authenticated) };
        session.reply_mode = ReplyMode::On;
        self.answer(key, |reply| {
            reply.status("RESET");
            Ok(())
        })
    }
}

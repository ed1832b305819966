//! CONFIG: the node's settings here, the keyspace's through the log.

use keyspace::{Reject, Settings, glob};
use node::{Call, Called, Kind, Moment};
use wire::resp::{Decoder, ReplyLimits, Value};
use wire::{Args, ArgsBuf};

use crate::config::Config;
use crate::front::client::Purpose;
use crate::front::{Flow, Front};

/// The read that returns the keyspace's settings.
pub(super) const SETTINGS: &[u8] = b"synod.settings";

impl Front {
    pub(super) fn run_config(
        &mut self,
        moment: Moment,
        key: usize,
        word: &str,
        args: Args<'_>,
    ) -> Flow {
        match word {
            "get" => self.config_get(moment, key, args),
            "set" => self.config_set(moment, key, args),
            "resetstat" => {
                self.stats.reset();
                self.answer(key, |reply| {
                    reply.ok();
                    Ok(())
                })
            }
            _ => {
                let text = "ERR The server is running without a config file";
                self.answer(key, |_| Err(Reject::text(text)))
            }
        }
    }

    /// Asks the leader for the keyspace's settings if any is wanted, and puts the node's beside.
    fn config_get(&mut self, moment: Moment, key: usize, args: Args<'_>) -> Flow {
        let patterns = patterns(args);
        if !wants_shared(args) {
            self.give_settings(key, &patterns, Vec::new());
            return Flow::Next;
        }
        let call: ArgsBuf = [SETTINGS].into_iter().collect();
        let client = self.clients[key].as_mut().expect("the client that is served is there");
        let ticket = client.next_ticket();
        let (proto, kind, args) = (client.session.proto, Kind::Read, call.args());
        let (after, replica, may_block) = (false, false, false);
        let call = Call { ticket, db: 0, proto, kind, after, replica, may_block, args };
        let mut reply = Vec::new();
        let command = keyspace::command::find(args).expect("it has a row");
        let route = self.core.route(command, args);
        match self.core.call(moment, route, call, &mut reply) {
            Called::Replied => self.finish_config(key, &patterns, &reply),
            Called::Waits(_) => {
                client.owe(Purpose::Settings(patterns));
                client.held = true;
            }
        }
        Flow::Next
    }

    /// The keyspace's settings have come.
    pub(super) fn finish_config(&mut self, key: usize, patterns: &[Vec<u8>], reply: &[u8]) {
        let decoded = Decoder::new(ReplyLimits::default()).decode(reply);
        let Ok(Some((Value::Array(list), _))) = decoded else {
            self.client(key).give(|out| out.extend_from_slice(reply));
            return;
        };
        let text = |value: &Value| match value {
            Value::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        };
        let pairs = list.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1])));
        self.give_settings(key, patterns, pairs.collect());
    }

    fn give_settings(&mut self, key: usize, patterns: &[Vec<u8>], shared: Vec<(String, String)>) {
        let own =
            Config::names().filter_map(|name| Some((name.to_owned(), self.config.get(name)?)));
        let mut pairs: Vec<_> =
            shared.into_iter().chain(own).filter(|(name, _)| is_wanted(patterns, name)).collect();
        pairs.sort();
        self.answer(key, |reply| {
            reply.map(pairs.len());
            for (name, value) in &pairs {
                reply.bulk(name.as_bytes());
                reply.bulk(value.as_bytes());
            }
            Ok(())
        });
    }

    /// Checks everything, then changes everything: the node's settings at once, the keyspace's by
    /// an operation of the log.
    fn config_set(&mut self, moment: Moment, key: usize, args: Args<'_>) -> Flow {
        let (own, shared) = match self.split_config(args) {
            Ok(split) => split,
            Err(reject) => return self.answer(key, |_| Err(reject)),
        };
        if shared.args().len() > 2
            && let Err(reject) = self.core.settings().with(shared.args().from(2))
        {
            return self.answer(key, |_| Err(reject));
        }
        self.config = own;
        if shared.args().len() == 2 {
            return self.answer(key, |reply| {
                reply.ok();
                Ok(())
            });
        }
        let command = keyspace::command::find(args).expect("CONFIG SET has a row");
        self.ask(moment, key, Kind::Write, command, shared.args())
    }

    /// The node's settings as they will be, and a CONFIG SET of the keyspace's.
    pub(super) fn split_config(&self, args: Args<'_>) -> Result<(Config, ArgsBuf), Reject> {
        if args.len() % 2 == 1 {
            return Err(Reject::text("ERR wrong number of arguments for 'config|set' command"));
        }
        let failed = |name: &str, reason: &str| {
            Reject::from(format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
            ))
        };
        let (mut own, mut seen) = (self.config.clone(), Vec::new());
        let mut shared: ArgsBuf = [&args[0], &args[1]].into_iter().collect();
        for at in (2..args.len()).step_by(2) {
            let name = String::from_utf8_lossy(&args[at]).to_lowercase();
            if seen.contains(&name) {
                return Err(failed(&name, "duplicate parameter"));
            }
            if Settings::names().any(|known| known == name) {
                shared.push(&args[at]);
                shared.push(&args[at + 1]);
            } else if Config::names().any(|known| known == name) {
                own.set(&name, &args[at + 1]).map_err(|reason| failed(&name, &reason))?;
            } else {
                return Err(Reject::from(format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
                )));
            }
            seen.push(name);
        }
        Ok((own, shared))
    }
}

/// The patterns of a CONFIG GET.
pub(super) fn patterns(args: Args<'_>) -> Vec<Vec<u8>> {
    args.from(2).iter().map(<[u8]>::to_ascii_lowercase).collect()
}

/// Does a CONFIG GET ask for any setting of the keyspace?
pub(super) fn wants_shared(args: Args<'_>) -> bool {
    let patterns = patterns(args);
    Settings::names().any(|name| is_wanted(&patterns, name))
}

fn is_wanted(patterns: &[Vec<u8>], name: &str) -> bool {
    patterns.iter().any(|pattern| glob::matches_any_case(pattern, name.as_bytes()))
}

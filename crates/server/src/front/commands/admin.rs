//! The commands about this node that belong to no other family, and SYNOD.

use keyspace::Reject;
use node::Moment;
use wire::Args;

use crate::front::{Flow, Front, seconds};

impl Front {
    pub(super) fn run_admin(
        &mut self,
        moment: Moment,
        key: usize,
        container: &str,
        word: &str,
        args: Args<'_>,
    ) -> Flow {
        match (container, word) {
            ("synod", "status") => {
                let json = self.status_json(moment);
                self.answer(key, |reply| {
                    reply.bulk(json.as_bytes());
                    Ok(())
                })
            }
            ("synod", "snapshot") | ("bgsave" | "save", _) => self.snapshot(key, container),
            ("bgrewriteaof", _) => {
                self.core.members_mut().for_each(node::Group::want_snapshot);
                self.say(key, "Background append only file rewriting started")
            }
            ("lastsave", _) => {
                let at = self.last_save();
                self.answer(key, |reply| {
                    reply.int(at as i64);
                    Ok(())
                })
            }
            ("synod.txn", "list") => self.list_doubts(key),
            ("synod.txn", "resolve") => self.resolve(moment, key, args),
            ("shutdown", _) => self.shut_down(key, args),
            ("role", _) => self.role(key),
            ("wait", _) => self.wait(key, args),
            ("slowlog", word) => self.slowlog(key, word, args),
            _ => {
                let text = format!("ERR '{word}' is not available on this server");
                self.answer(key, |_| Err(Reject::from(text)))
            }
        }
    }

    /// When the newest snapshot was durable, in seconds; before the first it is the node's start.
    pub(super) fn last_save(&self) -> u64 {
        let taken = |group: &node::Group| group.snapshot_state().taken.unwrap_or(self.started.wall);
        self.core.members().map(|group| seconds(taken(group))).min().unwrap_or_default()
    }

    fn say(&mut self, key: usize, text: &str) -> Flow {
        self.answer(key, |reply| {
            reply.status(text);
            Ok(())
        })
    }

    /// What was acknowledged is durable already; a snapshot makes the log shorter.
    fn snapshot(&mut self, key: usize, container: &str) -> Flow {
        self.core.members_mut().for_each(node::Group::want_snapshot);
        if container == "bgsave" {
            return self.say(key, "Background saving started");
        }
        self.done(key, Ok(()))
    }

    /// For each its name, how it stands, its participants, those that know it, how many keys it has
    /// locked, and since when, in milliseconds of Unix time.
    fn list_doubts(&mut self, key: usize) -> Flow {
        let doubts = self.core.doubts();
        self.answer(key, |reply| {
            reply.array(doubts.len());
            for (doubt, shards) in &doubts {
                reply.map(6);
                reply.bulk(b"id");
                reply.bulk(doubt.txn.to_string().as_bytes());
                reply.bulk(b"state");
                reply.bulk(format!("{:?}", doubt.standing).to_lowercase().as_bytes());
                reply.bulk(b"participants");
                reply.array(doubt.participants.len());
                doubt.participants.iter().for_each(|shard| reply.int(i64::from(*shard)));
                reply.bulk(b"known-by");
                reply.array(shards.len());
                shards.iter().for_each(|shard| reply.count(*shard));
                reply.bulk(b"keys-locked");
                reply.count(doubt.keys);
                reply.bulk(b"since");
                reply.int(doubt.since.0 as i64);
            }
            Ok(())
        })
    }

    fn resolve(&mut self, moment: Moment, key: usize, args: Args<'_>) -> Flow {
        let text = std::str::from_utf8(&args[2]).unwrap_or_default();
        let result = match text.parse() {
            Err(_) => {
                Err(Reject::text("ERR a transaction is named by four numbers: see SYNOD.TXN LIST"))
            }
            Ok(txn) if self.core.resolve(moment, txn) => Ok(()),
            Ok(_) => Err(Reject::text("ERR no such transaction is in doubt here")),
        };
        self.done(key, result)
    }

    fn shut_down(&mut self, key: usize, args: Args<'_>) -> Flow {
        let words = ["save", "nosave", "now", "force", "abort"];
        let known = |arg: &[u8]| words.iter().any(|w| arg.eq_ignore_ascii_case(w.as_bytes()));
        let says =
            |word: &str| args.from(1).iter().any(|a| a.eq_ignore_ascii_case(word.as_bytes()));
        let contradicts = says("save") && says("nosave") || says("abort") && args.len() > 2;
        if contradicts || !args.from(1).iter().all(known) {
            return self.done(key, Err(Reject::Syntax));
        }
        if args.is(1, "abort") {
            return self.done(key, Err(Reject::text("ERR No shutdown in progress.")));
        }
        self.shutdown = true;
        self.client(key).closing = true;
        Flow::Next
    }

    /// To a Redis client every node is a master: each takes every command.
    fn role(&mut self, key: usize) -> Flow {
        let commit: u64 = self.core.groups().iter().map(|(_, status)| status.commit.0).sum();
        self.answer(key, |reply| {
            reply.array(3);
            reply.bulk(b"master");
            reply.int(commit as i64);
            reply.array(0);
            Ok(())
        })
    }

    /// A write is on a majority before its reply, and nothing is owed at this moment: so many
    /// replicas beside the leader have all writes of this client.
    fn wait(&mut self, key: usize, args: Args<'_>) -> Flow {
        let voters = self.core.map().wanted().replicas();
        let wanted = keyspace::number::integer(&args[1]);
        let checked = wanted.and_then(|_| keyspace::types::wait_timeout(&args[2]));
        self.answer(key, |reply| {
            checked?;
            reply.count(voters / 2);
            Ok(())
        })
    }

    /// No slow calls are kept yet.
    fn slowlog(&mut self, key: usize, word: &str, args: Args<'_>) -> Flow {
        self.answer(key, |reply| {
            let count = args.get(2).map_or(Some(0), keyspace::number::parse_i64);
            match word {
                "get" if args.len() > 3 => return Err(Reject::Syntax),
                "get" if count.is_none_or(|count| count < -1) => {
                    return Err(Reject::text("ERR count should be greater than or equal to -1"));
                }
                "get" => reply.array(0),
                "len" => reply.int(0),
                _ => reply.ok(),
            }
            Ok(())
        })
    }
}

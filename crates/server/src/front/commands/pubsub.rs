//! SUBSCRIBE and its kind, PUBLISH, PUBSUB.

use keyspace::{Publish, Reject, glob};
use wire::Args;

use crate::front::hub::Kind;
use crate::front::{Flow, Front};

/// What a command of this family listens to.
fn kind_of(word: &str) -> Kind {
    match word.as_bytes().trim_ascii_start().first() {
        Some(b'p') => Kind::Pattern,
        Some(b's') if word.contains("ss") || word.starts_with("sun") => Kind::Shard,
        _ => Kind::Channel,
    }
}

impl Front {
    pub(super) fn subscribe(&mut self, key: usize, word: &'static str, args: Args<'_>) -> Flow {
        let kind = kind_of(word);
        for name in args.from(1).iter() {
            self.hub.subscribe(key, kind, name);
            let count = self.count_subscriptions(key, kind);
            self.confirm(key, word, Some(name), count);
        }
        self.client(key).session.after_call();
        Flow::Next
    }

    pub(super) fn unsubscribe(&mut self, key: usize, word: &'static str, args: Args<'_>) -> Flow {
        let kind = kind_of(word);
        let named: Vec<Vec<u8>> = args.from(1).iter().map(<[u8]>::to_vec).collect();
        let names = if named.is_empty() { self.hub.of(key, kind) } else { named };
        if names.is_empty() {
            let count = self.count_subscriptions(key, kind);
            self.confirm(key, word, None, count);
        }
        for name in names {
            self.hub.unsubscribe(key, kind, &name);
            let count = self.count_subscriptions(key, kind);
            self.confirm(key, word, Some(&name), count);
        }
        self.client(key).session.after_call();
        Flow::Next
    }

    /// Notes how much a client listens to, and returns the number that a confirmation shows:
    /// channels and patterns together, shard channels apart.
    fn count_subscriptions(&mut self, key: usize, kind: Kind) -> usize {
        let count = |kind| self.hub.of(key, kind).len();
        let (channels, patterns, shard_channels) =
            (count(Kind::Channel), count(Kind::Pattern), count(Kind::Shard));
        let session = &mut self.client(key).session;
        (session.channels, session.patterns, session.shard_channels) =
            (channels, patterns, shard_channels);
        if kind == Kind::Shard { shard_channels } else { channels + patterns }
    }

    fn confirm(&mut self, key: usize, word: &str, name: Option<&[u8]>, count: usize) {
        // Even a client that wants no replies hears what it listens to, and that it does.
        self.push(key, |reply| {
            reply.push(3);
            reply.bulk(word.as_bytes());
            reply.bulk_or_null(name);
            reply.count(count);
        });
    }

    /// How many subscriptions of this node a message to a channel meets.
    pub(super) fn count_receivers(&self, shard: bool, channel: &[u8]) -> usize {
        if shard {
            return self.hub.listeners(Kind::Shard, channel).len();
        }
        self.hub.listeners(Kind::Channel, channel).len() + self.hub.matching(channel).len()
    }

    /// Sends a message to every node, and counts the subscribers of this one, as a node of a Redis
    /// Cluster does.
    pub(super) fn publish(&mut self, key: usize, args: Args<'_>) -> Flow {
        let shard = args.is(0, "spublish");
        let publish = Publish { channel: args[1].to_vec(), message: args[2].to_vec(), shard };
        self.core.publish(std::slice::from_ref(&publish), &mut self.fx);
        let count = self.publish_here(&publish);
        self.answer(key, |reply| {
            reply.count(count);
            Ok(())
        })
    }

    pub(super) fn run_pubsub(&mut self, key: usize, word: &str, args: Args<'_>) -> Flow {
        let kind = if word.starts_with("shard") { Kind::Shard } else { Kind::Channel };
        let hub = std::mem::take(&mut self.hub);
        let flow = self.answer(key, |reply| {
            match word {
                "channels" | "shardchannels" => {
                    let wanted =
                        |name: &Vec<u8>| args.get(2).is_none_or(|glob| glob::matches(glob, name));
                    let names: Vec<_> = hub.names(kind).filter(|name| wanted(name)).collect();
                    reply.array(names.len());
                    names.iter().for_each(|name| reply.bulk(name));
                }
                "numsub" | "shardnumsub" => {
                    reply.array((args.len() - 2) * 2);
                    for name in args.from(2).iter() {
                        reply.bulk(name);
                        reply.count(hub.listeners(kind, name).len());
                    }
                }
                "numpat" => reply.count(hub.patterns()),
                _ => return Err(Reject::Syntax),
            }
            Ok(())
        });
        self.hub = hub;
        flow
    }
}

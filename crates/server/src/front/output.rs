//! Output: what clients are owed, on its way from the core to the driver.
//!
//! What always holds: a client with bytes to send is listed for the driver, or gathers the rest of a
//! train and is listed once that has come, or when it has waited long enough.

use keyspace::Publish;
use node::{Moment, Ticket};
use wire::Reply;

use super::client::{Client, key_of};
use super::{Front, hub};
use crate::limits::{OUT_BYTES_MAX, OUT_BYTES_PAUSE, SUBSCRIBER_OUT_BYTES_MAX, TRAIN_MAX};

impl Front {
    /// The bytes to send to a client.
    pub fn out(&mut self, key: usize) -> Option<&mut Vec<u8>> {
        self.clients.get_mut(key)?.as_mut().map(|client| &mut client.out)
    }

    /// Bytes of a client were sent: if it was waited for, its commands go on.
    pub fn sent(&mut self, key: usize, bytes: usize) {
        self.stats.output_bytes += bytes as u64;
        if let Some(client) = self.clients.get(key).and_then(Option::as_ref)
            && !client.input.is_empty()
            && client.out.len() < OUT_BYTES_PAUSE
        {
            self.resume.push(key);
        }
    }

    /// Should the connection be closed, once its output is sent?
    pub fn is_closing(&self, key: usize) -> bool {
        let client = self.clients.get(key).and_then(Option::as_ref);
        client.is_some_and(|client| client.closing || client.is_done())
    }

    /// Should the connection be closed at once?
    pub fn is_cut_off(&self, key: usize) -> bool {
        self.clients.get(key).and_then(Option::as_ref).is_some_and(|client| client.cut_off)
    }

    /// Takes the clients that have new output or are closing.
    pub fn take_dirty(&mut self) -> Vec<usize> {
        let dirty = std::mem::take(&mut self.dirty);
        for key in &dirty {
            if let Some(client) = &mut self.clients[*key] {
                (client.dirty, client.listed) = (false, false);
                (client.gathers_until, client.landed) = (None, false);
            }
        }
        dirty
    }

    /// Replies that have waited long enough for the rest of their train leave.
    pub(super) fn end_trains(&mut self, moment: Moment) {
        while let Some((until, key)) = self.gathering.front().copied() {
            let waits = |client: &Client| client.gathers_until == Some(until);
            let waits = self.clients[key].as_ref().is_some_and(waits);
            if waits && until > moment.now {
                return;
            }
            self.gathering.pop_front();
            if waits {
                self.note_dirty(key);
            }
        }
    }

    /// The node is about to end: no reply waits for another any more.
    pub fn end_all_trains(&mut self) {
        for (_, key) in std::mem::take(&mut self.gathering) {
            self.note_dirty(key);
        }
    }

    /// Hands out replies and messages.
    pub(super) fn deliver(&mut self, moment: Moment) {
        let mut replies = std::mem::take(&mut self.fx.replies);
        for (ticket, reply) in replies.iter() {
            self.settle(moment, ticket, reply);
        }
        replies.clear();
        if self.fx.replies.is_empty() {
            self.fx.replies = replies;
        }
        for publish in std::mem::take(&mut self.fx.publish) {
            self.publish_here(&publish);
        }
    }

    pub(super) fn settle(&mut self, moment: Moment, ticket: Ticket, reply: &[u8]) {
        let key = key_of(ticket);
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else { return };
        if let Some(call) = client.call_of(ticket) {
            self.stats.note_reply(call, reply);
        }
        let mut ready = client.settle(ticket, reply);
        while let Some((purpose, reply)) = ready {
            self.finish(moment, key, purpose, &reply);
            ready = self.clients[key].as_mut().and_then(Client::take_ready);
        }
        let Some(client) = self.clients[key].as_mut() else { return };
        if client.owed() == 0 {
            client.blocking = None;
            if client.held || !client.input.is_empty() {
                client.held = false;
                self.resume.push(key);
            }
        } else if client.throttled && client.has_much_room() {
            client.throttled = false;
            self.resume.push(key);
        }
        self.note_replies(moment, key);
    }

    /// A client has replies to come, or is to be closed: it is the driver's turn, now or once the rest of
    /// their train has come.
    pub(super) fn note_replies(&mut self, moment: Moment, key: usize) {
        let Some(client) = &mut self.clients[key] else { return };
        let gathers = client.dirty && !client.closing && client.is_midway();
        if !gathers {
            return self.note_dirty(key);
        }
        if client.gathers_until.is_none() {
            let until = moment.now + TRAIN_MAX;
            client.gathers_until = Some(until);
            self.gathering.push_back((until, key));
        }
    }

    pub(super) fn note_dirty(&mut self, key: usize) {
        let Some(client) = &mut self.clients[key] else { return };
        let limit =
            if client.session.is_subscribed() { SUBSCRIBER_OUT_BYTES_MAX } else { OUT_BYTES_MAX };
        if client.out.len() > limit {
            client.out = Vec::new();
            (client.closing, client.cut_off) = (true, true);
        }
        client.closing |= client.is_done();
        if (client.dirty || client.closing) && !client.listed {
            client.listed = true;
            self.dirty.push(key);
        }
    }

    /// Hands a message to the subscribers of this node; returns how many got it.
    pub(super) fn publish_here(&mut self, publish: &Publish) -> usize {
        let Publish { channel, message, shard } = publish;
        let kind = if *shard { hub::Kind::Shard } else { hub::Kind::Channel };
        let direct = self.hub.listeners(kind, channel);
        let matching = if *shard { Vec::new() } else { self.hub.matching(channel) };
        let word = if *shard { "smessage" } else { "message" };
        for key in &direct {
            self.push(*key, |reply| {
                reply.push(3);
                reply.bulk(word.as_bytes());
                reply.bulk(channel);
                reply.bulk(message);
            });
        }
        for (pattern, key) in &matching {
            self.push(*key, |reply| {
                reply.push(4);
                reply.bulk(b"pmessage");
                reply.bulk(pattern);
                reply.bulk(channel);
                reply.bulk(message);
            });
        }
        direct.len() + matching.len()
    }

    /// Sends a client something that it did not just ask for.
    pub(super) fn push(&mut self, key: usize, write: impl FnOnce(&mut Reply<'_>)) {
        let Some(client) = self.clients[key].as_mut() else { return };
        write(&mut Reply::new(&mut client.out, client.session.proto));
        client.dirty = true;
        self.note_dirty(key);
    }
}

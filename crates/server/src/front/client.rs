//! One client: its bytes in both directions, the replies that it is owed, and its session.
//!
//! ```text
//! slots:  [ waits │ ready │ waits ]      replies leave from the front, in the order of the calls
//! ```
//!
//! What always holds: `slots` is empty or its first slot waits; a ticket names a slot by its
//! sequence number, so that a reply to a client that is gone finds nothing.
//!
//! What a pipeline asks for at a time is a *train*: several shards answer it, each when it can, and its
//! replies leave together, for each send costs the client a wake-up and a read.

use std::collections::VecDeque;

use keyspace::op::Watch;
use node::{Kind, Ticket, Waiting};
use stdx::{Instant, Millis};
use wire::resp::Parser;
use wire::{ArgsBuf, Proto};

use crate::limits::{
    CLIENT_REQUESTS_MAX, FIRST_REPLY_BYTES, OUT_BYTES_PAUSE, REPLY_BYTES_MIN, TRAIN_BYTES,
};

/// A reply that is owed.
#[derive(Debug)]
struct Slot {
    /// The reply, if it came before those in front of it.
    reply: Option<Vec<u8>>,
    purpose: Purpose,
    /// Which command it answers, as the counters number them.
    call: u16,
    /// Reads that followers may answer need not come behind it at the leader.
    is_read: bool,
    /// The core is asked for what may be of any size.
    is_asked: bool,
}

/// What a reply is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The client.
    Reply,
    /// Nobody: CLIENT REPLY OFF or SKIP.
    Silence,
    /// The session: versions of the keys that WATCH named.
    Watch(Vec<Vec<u8>>),
    /// The session: the keyspace's settings, for a CONFIG GET of these patterns.
    Settings(Vec<Vec<u8>>),
    /// The client, once the session has done its part of EXEC.
    Exec(Box<Finish>),
}

/// The session's part of EXEC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finish {
    /// The database that is selected if EXEC was not aborted.
    pub(crate) db: u8,
    /// The calls that the session runs, in their order.
    pub(crate) own: Vec<Own>,
    /// Nobody waits for the reply: CLIENT REPLY OFF or SKIP.
    pub(crate) silent: bool,
}

/// A queued call that the session runs, or has a part in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    /// Its place among all calls.
    pub(crate) place: usize,
    pub(crate) args: ArgsBuf,
    /// The shard runs a part of it too; the session makes one reply of both.
    pub(crate) joins: bool,
}

/// MULTI's queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// What the shard runs, each call with its database.
    pub(crate) calls: Vec<(u8, ArgsBuf)>,
    /// What the session runs.
    pub(crate) own: Vec<Own>,
    /// How many calls were queued.
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    /// The database that calls to come will see.
    pub(crate) db: u8,
    /// A call was refused: EXEC will be too.
    pub(crate) refused: bool,
    /// A call that fails undoes all.
    pub(crate) rollback: bool,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReplyMode {
    #[default]
    On,
    Off,
    /// Not to the next call.
    Skip,
}

/// What a client has said about itself, and what it is in the middle of.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) db: u8,
    pub(crate) proto: Proto,
    pub(crate) authenticated: bool,
    pub(crate) name: Vec<u8>,
    pub(crate) library: Vec<u8>,
    pub(crate) library_version: Vec<u8>,
    pub(crate) multi: Option<Box<Queue>>,
    pub(crate) watches: Vec<Watch>,
    pub(crate) reply_mode: ReplyMode,
    pub(crate) no_evict: bool,
    pub(crate) no_touch: bool,
    /// READONLY: followers may answer what it reads.
    pub(crate) readonly: bool,
    /// It has asked CLUSTER SLOTS or SHARDS.
    pub(crate) asked_map: bool,
    /// How many channels, patterns and shard channels it listens to.
    pub(crate) channels: usize,
    pub(crate) patterns: usize,
    pub(crate) shard_channels: usize,
    /// The newest call: the command and, of a container, its subcommand.
    pub(crate) last_command: (&'static str, &'static str),
}

impl Session {
    pub(crate) fn new(authenticated: bool) -> Session {
        Session {
            db: 0,
            proto: Proto::Resp2,
            authenticated,
            name: Vec::new(),
            library: Vec::new(),
            library_version: Vec::new(),
            multi: None,
            watches: Vec::new(),
            reply_mode: ReplyMode::On,
            no_evict: false,
            no_touch: false,
            readonly: false,
            asked_map: false,
            channels: 0,
            patterns: 0,
            shard_channels: 0,
            last_command: ("NULL", "NULL"),
        }
    }

    /// A call was answered: CLIENT REPLY SKIP moves on.
    pub(crate) fn after_call(&mut self) {
        if self.reply_mode == ReplyMode::Skip {
            self.reply_mode = ReplyMode::On;
        }
    }

    /// Does it listen to anything?
    pub(crate) fn is_subscribed(&self) -> bool {
        self.channels + self.patterns + self.shard_channels > 0
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) addr: String,
    pub(crate) laddr: String,
    pub(crate) born: Millis,
    pub(crate) last_call: Instant,
    pub(crate) input: Vec<u8>,
    pub(crate) parser: Parser,
    pub(crate) out: Vec<u8>,
    pub(crate) session: Session,
    slots: VecDeque<Slot>,
    /// Where trains end: the sequence numbers behind their last calls, of those that are not in.
    trains: VecDeque<u32>,
    /// One has come in since the driver last looked.
    pub(crate) landed: bool,
    /// Until when replies may wait for the rest of their train.
    pub(crate) gathers_until: Option<Instant>,
    /// How many slots are `is_read`.
    reads: usize,
    /// How many reads the core has not answered, and what each is expected to bring: as much as the
    /// largest of late.
    asked: usize,
    reply_bytes: usize,
    /// Bytes of replies that came before those in front of them.
    kept: usize,
    /// Its next command waits until less is on the way.
    pub(crate) throttled: bool,
    /// The sequence number of the first slot.
    first: u32,
    /// The place of the client in the front's table.
    key: u32,
    /// The command that is being run, as the counters number them.
    pub(crate) call: u16,
    /// Its next command must wait until every reply that is owed was given.
    pub(crate) held: bool,
    /// Its next command waits for CLIENT UNPAUSE.
    pub(crate) paused: bool,
    /// The call that may wait for a key, by the core's number.
    pub(crate) blocking: Option<Waiting>,
    /// Bytes that came and wait for the call that is being run to end, that call's included.
    pub(crate) pumped: usize,
    /// The bytes of `input` are no whole command: only more of them help.
    pub(crate) starving: bool,
    /// It sends no more; it is closed once it has its replies.
    pub(crate) ended: bool,
    /// Close once `out` is sent; nothing more is read.
    pub(crate) closing: bool,
    /// Close at once: what is not sent by now is lost.
    pub(crate) cut_off: bool,
    /// `out` has grown since the driver last looked.
    pub(crate) dirty: bool,
    /// It stands in the front's list of those.
    pub(crate) listed: bool,
}

impl Client {
    /// A client at `key` of the table. Sequence numbers go on from its predecessor's there.
    pub(crate) fn new(id: u64, key: u32, first: u32, authenticated: bool) -> Client {
        Client {
            id,
            addr: String::new(),
            laddr: String::new(),
            born: Millis(0),
            last_call: Instant(0),
            input: Vec::new(),
            parser: Parser::new(),
            out: Vec::new(),
            session: Session::new(authenticated),
            slots: VecDeque::new(),
            trains: VecDeque::new(),
            landed: false,
            gathers_until: None,
            reads: 0,
            asked: 0,
            reply_bytes: FIRST_REPLY_BYTES,
            kept: 0,
            throttled: false,
            first,
            key,
            call: 0,
            held: false,
            paused: false,
            blocking: None,
            pumped: 0,
            starving: true,
            ended: false,
            closing: false,
            cut_off: false,
            dirty: false,
            listed: false,
        }
    }

    /// Its place in the front's table.
    pub(crate) fn key(&self) -> u32 {
        self.key
    }

    /// The sequence number that comes after all that were given out.
    pub(crate) fn next_sequence(&self) -> u32 {
        self.first.wrapping_add(self.slots.len() as u32)
    }

    /// How many replies are owed.
    pub(crate) fn owed(&self) -> usize {
        self.slots.len()
    }

    /// What it has asked for by now, and was not noted before, has come together.
    pub(crate) fn note_train(&mut self) {
        let end = self.next_sequence();
        if !self.slots.is_empty() && self.trains.back() != Some(&end) {
            self.trains.push_back(end);
        }
    }

    /// Had its output better wait for the rest of a train? Not if one has just come in, or if it is for
    /// a key that the client waits.
    pub(crate) fn is_midway(&self) -> bool {
        let gathers = !self.landed && !self.trains.is_empty();
        gathers && self.blocking.is_none() && self.out.len() < TRAIN_BYTES
    }

    /// The ticket that the next slot will have.
    pub(crate) fn next_ticket(&self) -> Ticket {
        Ticket(u64::from(self.key) << 32 | u64::from(self.next_sequence()))
    }

    /// Owes a reply, under `next_ticket`.
    pub(crate) fn owe(&mut self, purpose: Purpose) {
        self.push(None, purpose);
    }

    fn push(&mut self, reply: Option<Vec<u8>>, purpose: Purpose) {
        let (call, is_read, is_asked) = (self.call, false, false);
        self.slots.push_back(Slot { reply, purpose, call, is_read, is_asked });
    }

    /// The core was asked for the reply that was owed last: what a read finds may be large.
    pub(crate) fn note_asked(&mut self, kind: Kind) {
        if let Some(slot) = self.slots.back_mut().filter(|_| kind == Kind::Read) {
            slot.is_asked = true;
            self.asked += 1;
        }
    }

    /// What is not sent, and what is expected to come.
    fn bytes_under_way(&self) -> usize {
        self.out.len() + self.kept + self.asked.saturating_mul(self.reply_bytes)
    }

    /// May its next command be run? One may always be under way.
    pub(crate) fn has_room(&self) -> bool {
        let alone = self.slots.is_empty() && self.out.len() < OUT_BYTES_PAUSE;
        alone || self.bytes_under_way() < OUT_BYTES_PAUSE && self.owed() < CLIENT_REQUESTS_MAX
    }

    /// Half of that has come: it is worth while to go on.
    pub(crate) fn has_much_room(&self) -> bool {
        let (bytes, owed) = (self.bytes_under_way(), self.owed());
        bytes <= OUT_BYTES_PAUSE / 2 && owed <= CLIENT_REQUESTS_MAX / 2
    }

    /// The reply that was owed last is of a read that a follower may answer.
    pub(crate) fn note_read(&mut self, is_read: bool) {
        if let Some(slot) = self.slots.back_mut().filter(|_| is_read) {
            slot.is_read = true;
            self.reads += 1;
        }
    }

    /// Does it wait for anything but reads that followers may answer?
    pub(crate) fn owes_more_than_reads(&self) -> bool {
        self.slots.len() > self.reads
    }

    /// Which command this ticket's reply answers.
    pub(crate) fn call_of(&self, ticket: Ticket) -> Option<u16> {
        let place = (ticket.0 as u32).wrapping_sub(self.first) as usize;
        self.slots.get(place).map(|slot| slot.call)
    }

    /// Gives a reply in its turn: at once if nothing is owed, else behind what is.
    pub(crate) fn give(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.is_silent() {
            return;
        }
        if self.slots.is_empty() {
            write(&mut self.out);
            self.dirty = true;
        } else {
            let mut reply = Vec::new();
            write(&mut reply);
            self.kept += reply.len();
            self.push(Some(reply), Purpose::Reply);
            self.note_read(true);
        }
    }

    /// Should more be read from it now? If its commands wait, only as much as they may fill.
    pub(crate) fn wants_input(&self) -> bool {
        !self.closing && !self.ended && (self.starving || self.input.len() < OUT_BYTES_PAUSE)
    }

    /// Does it wait for a key, or for CLIENT UNPAUSE?
    pub(crate) fn waits(&self) -> bool {
        self.blocking.is_some() || self.paused
    }

    /// It has sent all that it will, and got all that it can.
    pub(crate) fn is_done(&self) -> bool {
        let waits_for_nothing = self.slots.is_empty() && !self.held && !self.paused;
        self.ended && (self.blocking.is_some() || waits_for_nothing && self.starving)
    }

    /// Is the reply to the current call not wanted?
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.session.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    /// A reply came from the core. Those for the session are returned, if their turn has come.
    pub(crate) fn settle(&mut self, ticket: Ticket, reply: &[u8]) -> Option<(Purpose, Vec<u8>)> {
        let place = (ticket.0 as u32).wrapping_sub(self.first) as usize;
        let slot = self.slots.get_mut(place)?;
        if std::mem::take(&mut slot.is_asked) {
            self.asked -= 1;
            let late = self.reply_bytes - self.reply_bytes / 8;
            self.reply_bytes = late.max(reply.len()).max(REPLY_BYTES_MIN);
        }
        if place > 0 || !matches!(slot.purpose, Purpose::Reply | Purpose::Silence) {
            slot.reply = Some(reply.to_vec());
            self.kept += reply.len();
            return self.take_ready();
        }
        if slot.purpose == Purpose::Reply {
            self.out.extend_from_slice(reply);
            self.dirty = true;
        }
        self.pop();
        if self.slots.is_empty() { None } else { self.take_ready() }
    }

    /// Sends what is ready at the front; stops at a reply that is for the session.
    pub(crate) fn take_ready(&mut self) -> Option<(Purpose, Vec<u8>)> {
        while let Some(reply) = self.slots.front_mut()?.reply.take() {
            self.kept -= reply.len();
            match self.pop() {
                Purpose::Reply => {
                    self.out.extend_from_slice(&reply);
                    self.dirty = true;
                }
                Purpose::Silence => {}
                purpose => return Some((purpose, reply)),
            }
        }
        None
    }

    fn pop(&mut self) -> Purpose {
        let slot = self.slots.pop_front().expect("a slot is popped after it was seen");
        self.first = self.first.wrapping_add(1);
        let first = self.first;
        let is_in = |end: &mut u32| end.wrapping_sub(first).cast_signed() <= 0;
        self.landed |= self.trains.pop_front_if(is_in).is_some();
        self.reads -= usize::from(slot.is_read);
        slot.purpose
    }
}

/// The place in the table that a ticket names.
pub(crate) fn key_of(ticket: Ticket) -> usize {
    (ticket.0 >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_in_the_order_of_the_calls_whatever_comes_first() {
        let mut client = Client::new(1, 7, 0, true);
        let tickets: Vec<Ticket> = (0..3)
            .map(|_| {
                let ticket = client.next_ticket();
                client.owe(Purpose::Reply);
                ticket
            })
            .collect();
        client.give(|out| out.extend_from_slice(b"d"));
        assert_eq!(client.settle(tickets[1], b"b"), None);
        assert!(client.out.is_empty());
        assert_eq!(client.settle(tickets[0], b"a"), None);
        assert_eq!(client.out, b"ab");
        assert_eq!(client.settle(tickets[0], b"x"), None, "a ticket is good for once");
        assert_eq!(client.settle(tickets[2], b"c"), None);
        assert_eq!(client.out, b"abcd");
        client.give(|out| out.extend_from_slice(b"e"));
        assert_eq!((client.out.as_slice(), client.owed()), (&b"abcde"[..], 0));
        assert_eq!(key_of(tickets[0]), 7);
    }

    #[test]
    fn the_replies_of_a_train_wait_for_each_other_and_not_for_the_next_train() {
        let mut client = Client::new(1, 7, u32::MAX - 1, true);
        let ask = |client: &mut Client, count: usize| -> Vec<Ticket> {
            let mut owe = |_| {
                let ticket = client.next_ticket();
                client.owe(Purpose::Reply);
                ticket
            };
            let tickets = (0..count).map(&mut owe).collect();
            client.note_train();
            tickets
        };
        let first = ask(&mut client, 3);
        let second = ask(&mut client, 2);
        client.settle(first[0], b"a");
        assert!(client.is_midway());
        client.settle(second[0], b"d");
        client.settle(first[1], b"b");
        assert!(client.is_midway());
        client.settle(first[2], b"c");
        assert_eq!((client.is_midway(), client.out.as_slice()), (false, &b"abcd"[..]));
        client.landed = false;
        client.settle(second[1], b"e");
        assert_eq!((client.is_midway(), client.owed()), (false, 0));
        client.landed = false;
        let (alone, next) = (ask(&mut client, 1), ask(&mut client, 1));
        client.settle(alone[0], b"f");
        assert!(!client.is_midway(), "one alone waits for nobody");
        client.settle(next[0], b"g");
        let silent = client.next_ticket();
        client.owe(Purpose::Silence);
        client.note_train();
        client.settle(silent, b"h");
        assert_eq!(client.trains, [0; 0], "also of calls whose replies nobody wants");
    }

    #[test]
    fn reads_that_followers_answer_need_not_wait_for_each_other_but_for_all_else() {
        let mut client = Client::new(1, 7, 0, true);
        let first = client.next_ticket();
        client.owe(Purpose::Reply);
        client.note_read(true);
        client.give(|out| out.extend_from_slice(b"pong"));
        assert!(client.owed() == 2 && !client.owes_more_than_reads());
        let write = client.next_ticket();
        client.owe(Purpose::Reply);
        client.note_read(false);
        assert!(client.owes_more_than_reads());
        client.settle(write, b"");
        client.settle(first, b"");
        assert!(client.owed() == 0 && !client.owes_more_than_reads());
    }

    #[test]
    fn as_many_reads_are_under_way_as_their_replies_may_fill() {
        fn fill(client: &mut Client) -> Vec<Ticket> {
            let mut asked = Vec::new();
            while client.has_room() {
                asked.push(client.next_ticket());
                client.owe(Purpose::Reply);
                client.note_asked(Kind::Read);
            }
            asked
        }
        let mut client = Client::new(1, 7, 0, true);
        let first = fill(&mut client);
        assert_eq!(first.len(), 16);
        first.iter().for_each(|ticket| assert_eq!(client.settle(*ticket, b":1\r\n"), None));
        let (more, small) = (fill(&mut client), client.reply_bytes);
        assert!(more.len() > 100 && more.len() * small >= OUT_BYTES_PAUSE - client.out.len());
        let large = vec![b'x'; OUT_BYTES_PAUSE / 2];
        assert_eq!(client.settle(more[1], &large), None);
        assert!(client.kept == large.len() && !client.has_much_room());
        more.iter().for_each(|ticket| assert_eq!(client.settle(*ticket, b":1\r\n"), None));
        assert_eq!((client.owed(), client.asked, client.kept), (0, 0, 0));
        client.out.clear();
        assert!(client.has_much_room());
        client.reply_bytes = 2 * OUT_BYTES_PAUSE;
        assert_eq!(fill(&mut client).len(), 1, "one may always be under way");
    }

    #[test]
    fn writes_are_not_expected_to_bring_much() {
        let mut client = Client::new(1, 7, 0, true);
        while client.has_room() {
            client.owe(Purpose::Reply);
            client.note_asked(Kind::Write);
        }
        assert_eq!(client.owed(), CLIENT_REQUESTS_MAX);
    }

    #[test]
    fn a_reply_for_the_session_is_handed_out_in_its_turn() {
        let mut client = Client::new(1, 0, u32::MAX, true);
        let first = client.next_ticket();
        client.owe(Purpose::Reply);
        let second = client.next_ticket();
        client.owe(Purpose::Watch(vec![b"k".to_vec()]));
        assert_eq!(client.settle(second, b"*1\r\n:5\r\n"), None);
        let (purpose, reply) = client.settle(first, b"+OK\r\n").unwrap();
        assert_eq!(
            (purpose, reply),
            (Purpose::Watch(vec![b"k".to_vec()]), b"*1\r\n:5\r\n".to_vec())
        );
        assert_eq!(client.out, b"+OK\r\n");
    }
}

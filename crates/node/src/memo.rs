//! What a replica remembers of the requests that came from other nodes.
//!
//! A gateway with a replica finds out by itself what became of its requests: it applies the log. A
//! guest, which has none, and a gateway whose replica has leapt over a part of the log with a
//! snapshot, can only ask the next leader. So every replica keeps the replies to what nodes asked
//! for, as it applies it, for a while; whoever leads next knows, once it has applied an entry of its
//! own term, that a request is in here or was never agreed, or is from before its memory begins. Only
//! of the last its client hears that the outcome is unknown.
//!
//! This is memory of a process, not state of the log: replicas may remember different things. But the newest
//! of it goes along with a snapshot, as a note beside the state: who is sent one may lead a moment later.
//!
//! Each request is remembered and next to none is ever asked for. So they are put down one behind the
//! other, and looked up by an index that is only made, and brought up to date, when one is asked for.
//!
//! Raft's dissertation, §6.3, keeps such replies in the state machine; replicas would then have to agree on
//! how many, though a retry is needed only when a leader is gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use consensus::Index;
use keyspace::op::Origin;
use stdx::codec::{Malformed, Reader, put_varint};
use stdx::planted;

use crate::limits::{MEMO_BYTES_MAX, MEMO_REPLY_BYTES_MAX};
use crate::request::UNBLOCKED;

/// Marks the numbers of requests of guests, which a node counts apart from those of its replica.
pub(crate) const GUEST: u64 = 1 << 63;

/// What an entry costs beside its reply, its place in the index included.
const ENTRY_BYTES: usize = 96;

/// What one costs in a note beside its reply, at the most: four numbers.
const NOTE_ENTRY_BYTES: usize = 10 + 5 + 10 + 3;

/// What can be said about a request that comes again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recall {
    Replied(Vec<u8>),
    /// It was applied, and its reply is too large to be kept.
    TooLarge,
    /// It waits in the shard, for a key or a transaction.
    Waits,
    /// It is not in the log.
    Never,
    /// It may have been applied before the memory begins.
    Unknown,
}

/// A reply, and where in the log it was given.
#[derive(Debug)]
struct Told {
    origin: Origin,
    at: Index,
    /// Its bytes in `Memo::replies`; none if it was too large.
    bytes: Option<u32>,
    /// Where those end, counted from the first that was ever kept.
    end: u64,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Memo {
    /// Bytes that it may take.
    limit: usize,
    /// All that was applied behind this place is remembered.
    since: Index,
    /// In the order of the log.
    told: VecDeque<Told>,
    replies: VecDeque<u8>,
    /// How many were told before the first that is remembered, and the bytes of their replies.
    forgotten: (u64, u64),
    /// Those that are in the shard.
    waits: BTreeSet<(u32, u64)>,
    /// Who was told as what number, up to the number `indexed`.
    index: BTreeMap<(u32, u64), u64>,
    indexed: u64,
}

/// Is it a request of a guest?
pub(crate) fn is_guest(number: u64) -> bool {
    number & GUEST != 0
}

impl Memo {
    /// One that has all of a node's memory for this.
    pub(crate) fn new(since: Index) -> Memo {
        Memo {
            limit: MEMO_BYTES_MAX,
            since,
            told: VecDeque::new(),
            replies: VecDeque::new(),
            forgotten: (0, 0),
            waits: BTreeSet::new(),
            index: BTreeMap::new(),
            indexed: 0,
        }
    }

    /// It has its share from now on, as one of so many groups.
    pub(crate) fn share(&mut self, groups: usize) {
        self.limit = MEMO_BYTES_MAX / groups;
    }

    /// The newest of it, about so many bytes, for who is sent a snapshot of this state.
    pub(crate) fn note(&self, bytes_max: usize) -> Vec<u8> {
        if planted!("snapshot-forgets-the-replies") {
            return Vec::new();
        }
        let sizes =
            self.told.iter().rev().map(|told| NOTE_ENTRY_BYTES + told.bytes.unwrap_or(0) as usize);
        let mut bytes = 0;
        let count = sizes.take_while(|size| {
            bytes += size;
            bytes <= bytes_max
        });
        let first = self.told.len() - count.count();
        let since = first.checked_sub(1).map_or(self.since, |last| self.told[last].at);
        let mut note = Vec::new();
        put_varint(&mut note, since.0);
        for told in self.told.range(first..) {
            put_varint(&mut note, told.at.0);
            put_varint(&mut note, u64::from(told.origin.node));
            put_varint(&mut note, told.origin.number);
            let reply = self.reply(told);
            put_varint(&mut note, reply.as_ref().map_or(0, |reply| reply.len() as u64 + 1));
            note.extend(reply.unwrap_or_default());
        }
        note
    }

    /// The state has leapt from `known` to `at`: what led there is known only as far as the note with it
    /// tells. Of what waits nothing is known.
    pub(crate) fn leap(&mut self, known: Index, at: Index, note: &[u8]) {
        self.waits.clear();
        // What is no note tells nothing.
        let (since, told) = read_note(note).unwrap_or((at, Vec::new()));
        if since > known {
            *self = Memo { limit: self.limit, ..Memo::new(since) };
        }
        for Noted { at, origin, reply } in told.into_iter().filter(|noted| noted.at > known) {
            self.put(at, origin, reply);
        }
    }

    /// A request waits in the shard.
    pub(crate) fn put_waits(&mut self, origin: Origin) {
        self.waits.insert((origin.node, origin.number));
    }

    /// Remembers the reply to a request that was applied at this place.
    pub(crate) fn put_reply(&mut self, at: Index, origin: Origin, reply: &[u8]) {
        if !self.waits.is_empty() {
            self.waits.remove(&(origin.node, origin.number));
        }
        self.put(at, origin, Some(reply).filter(|reply| reply.len() <= MEMO_REPLY_BYTES_MAX));
    }

    fn put(&mut self, at: Index, origin: Origin, reply: Option<&[u8]>) {
        let bytes = reply.map(|reply| reply.len() as u32);
        self.replies.extend(reply.unwrap_or_default());
        let end = self.forgotten.1 + self.replies.len() as u64;
        self.told.push_back(Told { origin, at, bytes, end });
        while self.bytes() > self.limit && self.forget() {}
    }

    fn bytes(&self) -> usize {
        (self.told.len() + self.waits.len()) * ENTRY_BYTES + self.replies.len()
    }

    /// Forgets the oldest. False if there is none.
    fn forget(&mut self) -> bool {
        let Some(oldest) = self.told.pop_front() else { return false };
        let (number, key) = (self.forgotten.0, (oldest.origin.node, oldest.origin.number));
        if self.index.get(&key) == Some(&number) {
            self.index.remove(&key);
        }
        self.replies.drain(..oldest.bytes.unwrap_or(0) as usize);
        self.forgotten = (number + 1, oldest.end);
        self.since = self.since.max(oldest.at);
        true
    }

    fn complete_index(&mut self) {
        let first = self.indexed.max(self.forgotten.0);
        let new = self.told.range((first - self.forgotten.0) as usize..);
        let keys = new.map(|told| (told.origin.node, told.origin.number));
        self.index.extend(keys.zip(first..));
        self.indexed = self.forgotten.0 + self.told.len() as u64;
    }

    /// What became of a request that was first sent when the log was known up to `floor`. Only a
    /// leader that has applied an entry of its own term may rely on `Never`.
    pub(crate) fn recall(&mut self, origin: Origin, floor: Index) -> Recall {
        self.complete_index();
        let key = (origin.node, origin.number);
        match self.index.get(&key) {
            Some(number) => match self.reply(&self.told[(number - self.forgotten.0) as usize]) {
                Some(reply) if planted!("ended-wait-forgotten") && reply == UNBLOCKED => {
                    Recall::Never
                }
                Some(reply) => Recall::Replied(reply),
                None => Recall::TooLarge,
            },
            None if self.waits.contains(&key) => Recall::Waits,
            None if self.since <= floor || planted!("memo-claims-never") => Recall::Never,
            None => Recall::Unknown,
        }
    }

    fn reply(&self, told: &Told) -> Option<Vec<u8>> {
        let end = (told.end - self.forgotten.1) as usize;
        let start = end - told.bytes? as usize;
        Some(self.replies.range(start..end).copied().collect())
    }

    /// May something be applied, behind `floor`, that this node asked for later?
    pub(crate) fn may_have_later(&mut self, origin: Origin, floor: Index) -> bool {
        self.complete_index();
        // Guests count apart.
        let guests = (origin.node, GUEST);
        let end = if is_guest(origin.number) { (origin.node + 1, 0) } else { guests };
        let later = (origin.node, origin.number + 1)..end;
        self.since > floor
            || self.index.range(later.clone()).next().is_some()
            || self.waits.range(later).next().is_some()
    }
}

/// A reply that a note tells, and where in the log it was given.
struct Noted<'a> {
    at: Index,
    origin: Origin,
    reply: Option<&'a [u8]>,
}

/// All that was told behind a place.
fn read_note(note: &[u8]) -> Result<(Index, Vec<Noted<'_>>), Malformed> {
    let mut reader = Reader::new(note);
    let (since, mut told) = (Index(reader.varint()?), Vec::new());
    while !reader.is_empty() {
        let at = Index(reader.varint()?);
        let origin = Origin { node: reader.varint32()?, number: reader.varint()? };
        let bytes = reader.length()?.checked_sub(1);
        let reply = bytes.map(|bytes| reader.take(bytes)).transpose()?;
        told.push(Noted { at, origin, reply });
    }
    Ok((since, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: u64) -> Origin {
        Origin { node: 7, number: GUEST | number }
    }

    fn replied(reply: &[u8]) -> Recall {
        Recall::Replied(reply.to_vec())
    }

    #[test]
    fn what_is_not_remembered_was_never_applied_unless_it_is_older_than_the_memory() {
        let mut memo = Memo::new(Index(10));
        memo.put_reply(Index(11), origin(1), b"+OK\r\n");
        memo.put_waits(origin(2));
        assert_eq!(memo.recall(origin(1), Index(3)), replied(b"+OK\r\n"));
        assert_eq!(memo.recall(origin(2), Index(3)), Recall::Waits);
        assert_eq!(memo.recall(origin(3), Index(10)), Recall::Never);
        assert_eq!(memo.recall(origin(3), Index(9)), Recall::Unknown);
        let mut later = |number, floor| memo.may_have_later(origin(number), Index(floor));
        assert!(later(1, 10) && !later(2, 10));
        assert!(later(2, 9), "it may be from before the memory");
        memo.put_reply(Index(13), origin(4), &vec![0; MEMO_REPLY_BYTES_MAX + 1]);
        assert_eq!(memo.recall(origin(4), Index(10)), Recall::TooLarge);
        memo.put_reply(Index(14), origin(2), b":1\r\n");
        assert_eq!(memo.recall(origin(2), Index(10)), replied(b":1\r\n"));
    }

    #[test]
    fn guests_and_replicas_of_a_node_count_apart() {
        let mut memo = Memo::new(Index(0));
        memo.put_reply(Index(1), origin(1), b"+OK\r\n");
        let replicas = Origin { node: 7, number: 1 };
        assert!(!memo.may_have_later(replicas, Index(0)));
        memo.put_reply(Index(2), Origin { node: 7, number: 2 }, b"+OK\r\n");
        assert!(memo.may_have_later(replicas, Index(0)));
        assert!(!memo.may_have_later(origin(1), Index(0)));
    }

    #[test]
    fn the_oldest_is_forgotten_first_and_then_nothing_is_claimed_of_it() {
        let mut memo = Memo::new(Index(0));
        memo.share(2);
        let reply = |number: u64| vec![number as u8; MEMO_REPLY_BYTES_MAX];
        let count = (MEMO_BYTES_MAX / 2 / MEMO_REPLY_BYTES_MAX) as u64 + 10;
        for number in 1..=count {
            memo.put_reply(Index(number), origin(number), &reply(number));
            if number == 5 {
                assert_eq!(memo.recall(origin(2), Index(0)), replied(&reply(2)));
            }
        }
        assert!(memo.bytes() <= MEMO_BYTES_MAX / 2);
        assert_eq!(memo.recall(origin(1), Index(0)), Recall::Unknown);
        assert_eq!(memo.recall(origin(count + 1), Index(count)), Recall::Never);
        let oldest = count + 1 - memo.told.len() as u64;
        assert!(oldest > 5, "the test forgets more than it has looked for");
        for number in [oldest, count - 1, count] {
            assert_eq!(memo.recall(origin(number), Index(0)), replied(&reply(number)));
        }
        assert_eq!(memo.index.len(), memo.told.len());
        memo.leap(Index(count - 1), Index(count), &[]);
        assert_eq!((memo.bytes(), memo.limit), (0, MEMO_BYTES_MAX / 2));
        memo.put_reply(Index(count + 1), origin(9), b":9\r\n");
        assert_eq!(memo.recall(origin(9), Index(count)), replied(b":9\r\n"));
    }

    #[test]
    fn who_is_sent_a_snapshot_knows_the_newest_of_what_led_there() {
        let told = |count: u64| {
            let mut memo = Memo::new(Index(0));
            memo.put_waits(origin(0));
            for number in 1..=count {
                memo.put_reply(Index(number), origin(number), format!(":{number}\r\n").as_bytes());
            }
            memo
        };
        let recall = |memo: &mut Memo, number, floor| memo.recall(origin(number), Index(floor));
        let mut memo = Memo::new(Index(0));
        memo.put_waits(origin(0));
        memo.put_waits(origin(2));
        memo.put_reply(Index(1), origin(1), b":1\r\n");
        memo.leap(Index(1), Index(3), &told(3).note(1_000));
        assert_eq!(recall(&mut memo, 1, 0), replied(b":1\r\n"));
        assert_eq!(recall(&mut memo, 2, 0), replied(b":2\r\n"), "it waits no longer");
        assert_eq!(memo.told.len(), 3, "what it knew is not told once more");
        assert_eq!(recall(&mut memo, 4, 0), Recall::Never);
        assert_eq!(recall(&mut memo, 0, 0), Recall::Never, "the state says who waits");

        // A note has its limits: what is older is not claimed to be known.
        let count = 100_000;
        let note = told(count).note(count as usize);
        assert!(note.len() <= count as usize, "{}", note.len());
        memo.leap(Index(3), Index(count), &note);
        let oldest = count + 1 - memo.told.len() as u64;
        assert!(oldest > 3 && memo.told.len() > 1_000);
        assert_eq!(recall(&mut memo, 1, 0), Recall::Unknown);
        assert_eq!(recall(&mut memo, 1, oldest - 2), Recall::Unknown);
        assert_eq!(recall(&mut memo, 1, oldest - 1), Recall::Never);
        assert_eq!(recall(&mut memo, oldest, 0), replied(format!(":{oldest}\r\n").as_bytes()));

        // A large reply is known to be too large, and a broken note tells nothing.
        let mut large = told(1);
        large.put_reply(Index(2), origin(2), &vec![0; MEMO_REPLY_BYTES_MAX + 1]);
        memo = Memo::new(Index(0));
        memo.leap(Index(0), Index(2), &large.note(1_000));
        assert_eq!(recall(&mut memo, 2, 0), Recall::TooLarge);
        memo.leap(Index(2), Index(5), &[0xff; 12]);
        assert_eq!(recall(&mut memo, 3, 4), Recall::Unknown);
        assert_eq!(recall(&mut memo, 3, 5), Recall::Never);
    }
}

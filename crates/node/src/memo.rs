//! What a replica remembers of the requests of guests: nodes that have no replica of the group.
//!
//! A gateway with a replica finds out by itself what became of its requests: it applies the log. A
//! guest can only ask the next leader. So every replica keeps the replies to what guests asked for,
//! as it applies it, for a while; whoever leads next knows, once it has applied an entry of its own
//! term, that a request is in here or was never agreed, or is from before its memory begins. Only
//! of the last the guest hears that the outcome is unknown.
//!
//! This is memory of a process, not state of the log: replicas may remember different things.
//!
//! Raft's dissertation, §6.3, keeps such replies in the state machine; they would then be in every
//! snapshot, and be taken for every request, though a retry is needed only when a leader is gone.

use std::collections::{BTreeMap, VecDeque};

use consensus::Index;
use keyspace::op::Origin;
use stdx::planted;

use crate::limits::{MEMO_BYTES_MAX, MEMO_REPLY_BYTES_MAX};
use crate::request::UNBLOCKED;

/// Marks the numbers of requests of guests, which a node counts apart from those of its replica.
pub(crate) const GUEST: u64 = 1 << 63;

/// What an entry costs beside its reply.
const ENTRY_BYTES: usize = 96;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Replied(Vec<u8>),
    /// It was applied, and its reply is too large to be kept.
    TooLarge,
    /// It waits in the shard, for a key or a transaction.
    Waits,
}

/// What can be said about a request that comes again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recall<'a> {
    Known(&'a Fate),
    /// It is not in the log.
    Never,
    /// It may have been applied before the memory begins.
    Unknown,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Memo {
    /// Bytes that it may take.
    limit: usize,
    /// All that was applied behind this place is remembered.
    since: Index,
    fates: BTreeMap<(u32, u64), Fate>,
    /// In the order in which they were settled, to forget the oldest first.
    order: VecDeque<(Origin, Index)>,
    bytes: usize,
}

/// Is it a request of a guest?
pub(crate) fn is_guest(number: u64) -> bool {
    number & GUEST != 0
}

impl Memo {
    /// One that has all of a node's memory for this.
    pub(crate) fn new(since: Index) -> Memo {
        let (fates, order, bytes) = (BTreeMap::new(), VecDeque::new(), 0);
        Memo { limit: MEMO_BYTES_MAX, since, fates, order, bytes }
    }

    /// It has its share from now on, as one of so many groups.
    pub(crate) fn share(&mut self, groups: usize) {
        self.limit = MEMO_BYTES_MAX / groups;
    }

    /// The state was not reached step by step: nothing is known of what led to it.
    pub(crate) fn restart(&mut self, at: Index) {
        (self.since, self.bytes) = (at, 0);
        self.fates.clear();
        self.order.clear();
    }

    /// Remembers what became of a request that was applied at this place.
    pub(crate) fn put(&mut self, at: Index, origin: Origin, fate: Fate) {
        let bytes = |fate: &Fate| match fate {
            Fate::Replied(reply) => ENTRY_BYTES + reply.len(),
            _ => ENTRY_BYTES,
        };
        if matches!(fate, Fate::Replied(_) | Fate::TooLarge) {
            self.order.push_back((origin, at));
        }
        self.bytes += bytes(&fate);
        if let Some(old) = self.fates.insert((origin.node, origin.number), fate) {
            self.bytes -= bytes(&old);
        }
        while self.bytes > self.limit {
            let Some((oldest, at)) = self.order.pop_front() else { return };
            let key = (oldest.node, oldest.number);
            if let Some(fate) = self.fates.remove(&key) {
                self.bytes -= bytes(&fate);
                self.since = self.since.max(at);
            }
        }
    }

    /// Remembers a reply.
    pub(crate) fn put_reply(&mut self, at: Index, origin: Origin, reply: &[u8]) {
        let fits = reply.len() <= MEMO_REPLY_BYTES_MAX;
        let fate = if fits { Fate::Replied(reply.to_vec()) } else { Fate::TooLarge };
        self.put(at, origin, fate);
    }

    /// What became of a request that was first sent when the log was known up to `floor`. Only a
    /// leader that has applied an entry of its own term may rely on `Never`.
    pub(crate) fn recall(&self, origin: Origin, floor: Index) -> Recall<'_> {
        match self.fates.get(&(origin.node, origin.number)) {
            Some(Fate::Replied(reply))
                if planted!("ended-wait-forgotten") && reply == UNBLOCKED =>
            {
                Recall::Never
            }
            Some(fate) => Recall::Known(fate),
            None if self.since <= floor || planted!("memo-claims-never") => Recall::Never,
            None => Recall::Unknown,
        }
    }

    /// May something be applied, behind `floor`, that this guest asked for later?
    pub(crate) fn may_have_later(&self, origin: Origin, floor: Index) -> bool {
        let later = (origin.node, origin.number + 1)..(origin.node + 1, 0);
        self.since > floor || self.fates.range(later).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: u64) -> Origin {
        Origin { node: 7, number: GUEST | number }
    }

    #[test]
    fn what_is_not_remembered_was_never_applied_unless_it_is_older_than_the_memory() {
        let mut memo = Memo::new(Index(10));
        memo.put_reply(Index(11), origin(1), b"+OK\r\n");
        memo.put(Index(12), origin(2), Fate::Waits);
        let known = Fate::Replied(b"+OK\r\n".to_vec());
        assert_eq!(memo.recall(origin(1), Index(3)), Recall::Known(&known));
        assert_eq!(memo.recall(origin(3), Index(10)), Recall::Never);
        assert_eq!(memo.recall(origin(3), Index(9)), Recall::Unknown);
        let later = |number, floor| memo.may_have_later(origin(number), Index(floor));
        assert!(later(1, 10) && !later(2, 10));
        assert!(later(2, 9), "it may be from before the memory");
        memo.put_reply(Index(13), origin(4), &vec![0; MEMO_REPLY_BYTES_MAX + 1]);
        assert_eq!(memo.recall(origin(4), Index(10)), Recall::Known(&Fate::TooLarge));
    }

    #[test]
    fn the_oldest_is_forgotten_first_and_then_nothing_is_claimed_of_it() {
        let mut memo = Memo::new(Index(0));
        memo.share(2);
        let reply = vec![0; MEMO_REPLY_BYTES_MAX];
        let count = (MEMO_BYTES_MAX / 2 / MEMO_REPLY_BYTES_MAX) as u64 + 10;
        for number in 1..=count {
            memo.put_reply(Index(number), origin(number), &reply);
        }
        assert!(memo.bytes <= MEMO_BYTES_MAX / 2);
        assert_eq!(memo.recall(origin(1), Index(0)), Recall::Unknown);
        assert_eq!(memo.recall(origin(count + 1), Index(count)), Recall::Never);
        assert!(matches!(memo.recall(origin(count), Index(0)), Recall::Known(_)));
        memo.restart(Index(count));
        assert_eq!(memo.bytes, 0);
    }
}

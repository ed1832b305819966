//! Transactions over shards, as one participant sees them: minitransactions on a replicated log.
//!
//! ```text
//! Prepare ─┬─▶ fenced, or a compare fails ─▶ NO
//!          ├─▶ locked by an older one ──────▶ NO (busy): the younger dies, and comes again
//!          ├─▶ locked by younger ones only ─▶ parked: the older waits
//!          ├─▶ needed by a parked call ─────▶ one or the other, as if all that is locked were in its way
//!          ├─▶ a call fails that may not ───▶ NO, with its error
//!          └─▶ runs on an overlay, locks its keys, YES with the replies
//! Decide  ───▶ folds the overlay in, or drops it; frees the keys; runs what was parked
//! ```
//!
//! **A transaction is committed if and only if its `Prepare` was applied with YES in every
//! participant.** There is no other record. Whoever finds one undecided sends `Fence` to all: a
//! participant that never saw it answers that it is aborted, and remembers that.
//!
//! What always holds: a key that a prepared transaction writes is seen and changed by nobody else;
//! who waits for a transaction is older than it (*wait-die*), or a single call, which holds nothing:
//! so nobody waits in a circle. Waiting is part of the state, like a blocked call: what is parked
//! runs in the very operation that frees its keys, in the order of arrival. Nothing overtakes a call that
//! is parked and names one of its keys. (Who waited for a key to get a value may.)
//!
//! Not here: who coordinates (`node::txn`), when recovery begins.
//! Sinfonia (SOSP 2007) §3; Rosenkrantz, Stearns, Lewis, "System level concurrency control" (1978)
//! for wait-die. Departs from Sinfonia: a participant is a group that does not forget, so there is no
//! coordinator's log; and an older transaction waits where Sinfonia's would abort.

mod apply;
mod book;
mod codec;
mod held;
mod locks;
mod names;
mod queue;
mod rollback;
mod scratch;
#[cfg(test)]
mod tests;

pub use crate::types::Machine;
pub use apply::{ESCAPED, FAILED, PARKED, UNDONE};
pub(crate) use book::Book;
pub use book::{Doubt, Standing};
pub(crate) use codec::{put_txn, read_txn};
pub(crate) use held::Held;
pub(crate) use names::names;
pub use rollback::rolled_back;
pub use scratch::{Done, Key, Ran, Scratch};

use std::ops::Range;

use stdx::Millis;
use wire::{ArgsBuf, Proto};

use crate::op::Watch;

/// What a client is told whose calls read more than `FETCH_BYTES_MAX`, or in too many rounds.
pub const READ_TOO_MUCH: &str =
    "ERR a transaction over several shards read too much: at most 64 MiB, in 256 rounds";

/// Names one attempt of a transaction. The order is the priority: the older goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId {
    /// When its first attempt began, by the gateway's clock: a later attempt keeps it, and so grows
    /// older than what comes meanwhile.
    pub born: Millis,
    /// The gateway, and its number for the transaction.
    pub node: u32,
    pub number: u64,
    pub attempt: u32,
}

impl TxnId {
    /// Is this the older one? Attempts of one transaction are equally old.
    pub fn is_older_than(&self, other: &TxnId) -> bool {
        (self.born, self.node, self.number) < (other.born, other.node, other.number)
    }
}

impl std::fmt::Display for TxnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TxnId { born, node, number, attempt } = self;
        write!(f, "{}-{node}-{number}-{attempt}", born.0)
    }
}

impl std::str::FromStr for TxnId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<TxnId, Self::Err> {
        let mut parts = text.splitn(4, '-');
        let mut part = || parts.next().unwrap_or_default();
        let (born, node) = (Millis(part().parse()?), part().parse()?);
        Ok(TxnId { born, node, number: part().parse()?, attempt: part().parse()? })
    }
}

/// What is asked of one participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    pub txn: TxnId,
    pub proto: Proto,
    /// All participants, by the numbers of their groups.
    pub participants: Vec<u32>,
    /// Every transaction of this gateway with a number in here is decided, and known everywhere. What
    /// an earlier life of the gateway began is not among them: nobody knows how far that came.
    pub done: Range<u64>,
    /// Versions that must still be those that were read. Their keys are locked too, for reading.
    pub compares: Vec<Watch>,
    /// What to run, if all agree.
    pub calls: Vec<(u8, ArgsBuf)>,
    pub span: Span,
    /// A call that fails is a NO.
    pub rollback: bool,
    /// What locked the keys for this one, and changes nothing. All have agreed to it, so it is
    /// committed; this one takes its keys over.
    pub after: Option<TxnId>,
    /// It is a NO if that has lost its locks meanwhile. Versions tell of keys that were read, and of none
    /// that has come.
    pub unbroken: bool,
}

/// How much of a shard a transaction locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The keys that its calls name. They run when it is prepared.
    Keys,
    /// All: its calls name no keys. They run when it is committed; nothing can change till then.
    Whole,
    /// All, for calls that change nothing. They run when it is prepared.
    Survey,
}

impl Span {
    /// Is all of the shard locked?
    fn is_whole(self) -> bool {
        matches!(self, Span::Whole | Span::Survey)
    }
}

/// A message about a transaction, through the log of a participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Txn {
    /// Answered by `+FENCED clock`, `+CHANGED`, `+BUSY`, `-FAILED call error`, `-UNKNOWN` if somebody
    /// has it settled already, or an array of the replies, each as bulk.
    Prepare(Prepare),
    /// Answered by `+OK`, or by the replies of a transaction that locked the whole shard.
    Decide { txn: TxnId, commit: bool },
    /// Answered by `+PREPARED`, `+COMMITTED` or `+ABORTED`.
    Fence { txn: TxnId },
    /// These are committed, and every participant knows. Answered by `+OK`.
    Forget { txns: Vec<TxnId> },
}

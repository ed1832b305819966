//! What a session asks of a group, and who waits for an answer.

use consensus::NodeId;
use keyspace::op::Watch;
use stdx::{Instant, Millis};
use wire::{Args, ArgsBuf, Proto};

use crate::message::Kind;

/// The time, as the driver reads it once for each event: monotonic for waiting and leases, wall
/// for stamps and expiry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub now: Instant,
    pub wall: Millis,
}

/// Whether a turn ends with the proposal of what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposing {
    Now,
    /// Not yet: replies leave first, and whoever asks again meanwhile is in the same entry. A full
    /// batch does not wait.
    Later,
}

/// Numbers of requests and of transactions have the node's starts from this bit on, so that they go
/// on growing from one start to the next. The mark of guests is above (`memo`).
pub(crate) const BOOT_SHIFT: u32 = 40;

/// Names a request of this node's clients. The caller chose it; it comes back with the reply.
/// Those of one client share their upper half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    /// Nobody's: a reply to it is dropped by the driver.
    pub const NOBODY: Ticket = Ticket(u64::MAX);

    /// Marks the tickets of this node's own requests.
    pub(crate) const OWN: u64 = 1 << 63;

    /// Whose it is. Nothing of the node itself comes one behind another.
    pub(crate) fn client(self) -> Option<u64> {
        (self.0 & Ticket::OWN == 0).then_some(self.0 >> 32)
    }
}

/// A command of a client, with what the reply depends on.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub ticket: Ticket,
    pub db: u8,
    pub proto: Proto,
    pub kind: Kind,
    /// The client has asked for something before that is not answered yet: it comes first.
    pub after: bool,
    /// A replica that follows may answer it, if it is a read. Then whatever the client asked before
    /// and has no answer to are such reads, too.
    pub replica: bool,
    /// The command may wait for a key: it gets an origin, to be found again.
    pub may_block: bool,
    pub args: Args<'a>,
}

/// MULTI's queue.
#[derive(Clone, Debug)]
pub struct Exec {
    pub ticket: Ticket,
    pub proto: Proto,
    pub watches: Vec<Watch>,
    pub calls: Vec<(u8, ArgsBuf)>,
    /// One call that fails undoes all.
    pub rollback: bool,
}

/// Whether a group has answered a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The reply is in the caller's buffer.
    Replied,
    /// It will be among `Effects::replies`, under its ticket. The number is for `unblock`.
    Waits { number: u64 },
}

/// A call that waits, to be ended by `Core::unblock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The shard, or nothing if it waits for keys of several.
    pub(crate) shard: Option<usize>,
    pub(crate) number: u64,
}

/// Whether a client's call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The reply is in the caller's buffer.
    Replied,
    /// It will be among `Effects::replies`, under its ticket.
    Waits(Waiting),
}

/// Who waits for the reply to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Nobody,
    /// A client of this node.
    Client(Ticket),
    /// A client of another node.
    Node(NodeId),
}

/// Replies to this node's clients, one behind the other.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    ends: Vec<(Ticket, usize)>,
}

impl Replies {
    /// Each ticket with its reply, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(ticket, end)| {
            let reply = &self.bytes[start..end];
            start = end;
            (ticket, reply)
        })
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Takes out those that `mine` claims, and gives them to `take`.
    pub(crate) fn extract(
        &mut self,
        mine: impl Fn(Ticket) -> bool,
        mut take: impl FnMut(Ticket, &[u8]),
    ) {
        if !self.ends.iter().any(|(ticket, _)| mine(*ticket)) {
            return;
        }
        let all = std::mem::take(self);
        for (ticket, reply) in all.iter() {
            if mine(ticket) {
                take(ticket, reply);
            } else {
                self.put(ticket, reply);
            }
        }
    }

    /// Drops all and keeps the memory, unless one reply made it huge.
    pub fn clear(&mut self) {
        const KEPT_BYTES_MAX: usize = 1024 * 1024;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.ends.clear();
    }

    /// The buffer, to append one reply to; `close` or `take` ends it.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What was appended since the last `close` is the reply to this ticket.
    pub(crate) fn close(&mut self, ticket: Ticket) {
        self.ends.push((ticket, self.bytes.len()));
    }

    /// What was appended since the last `close`.
    pub(crate) fn open(&self) -> &[u8] {
        let start = self.ends.last().map_or(0, |(_, end)| *end);
        &self.bytes[start..]
    }

    /// Takes out what was appended since the last `close`.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let start = self.ends.last().map_or(0, |(_, end)| *end);
        self.bytes.split_off(start)
    }

    /// Drops what was appended since the last `close`.
    pub(crate) fn discard(&mut self) {
        let start = self.ends.last().map_or(0, |(_, end)| *end);
        self.bytes.truncate(start);
    }

    /// A whole reply at once.
    pub(crate) fn put(&mut self, ticket: Ticket, reply: &[u8]) {
        self.bytes.extend_from_slice(reply);
        self.close(ticket);
    }
}

/// What a client is told when no majority answered in time.
pub(crate) const UNKNOWN: &[u8] = b"-UNKNOWN outcome unknown: no majority answered in time, the \
command may or may not have been executed\r\n";

/// What a client is told when its command never left this node.
///
/// LOADING, here and below, is Redis's word for "not executed, ask again soon", and the one that
/// client libraries know as such: redis-py and go-redis try again by themselves, and the workers of
/// Celery and RQ go on. Any other error ends them.
pub(crate) const NO_LEADER: &[u8] =
    b"-LOADING no leader was reached in time, the command was not executed\r\n";

/// What a client is told when the snapshot that this node got leaps over its command.
pub(crate) const LEAPT: &[u8] = b"-UNKNOWN outcome unknown: this node was behind and took a \
snapshot, the command may or may not have been executed\r\n";

/// What a client is told when the leader's queue is full.
pub(crate) const FULL: &[u8] =
    b"-TRYAGAIN the leader's queue is full, the command was not executed\r\n";

/// What a blocked client is told when the leader changes.
pub(crate) const UNBLOCKED: &[u8] =
    b"-LOADING the leader has changed, the command that waited was not executed\r\n";

/// What a client is told while the disk has no room.
pub(crate) const DISK_FULL: &[u8] =
    b"-DISKFULL the disk of the leader is full, the command was not executed\r\n";

/// What a client is told whose transaction met others again and again.
pub(crate) const CONTENDED: &[u8] =
    b"-TRYAGAIN other transactions held the same keys for too long, nothing was executed\r\n";

/// What a client is told whose call with an id would wait for what is new in streams of several shards.
pub(crate) const XREAD_ONCE: &[u8] =
    b"-ERR SYNOD.IDEM can't wait behind $ in streams of several shards: name the ids\r\n";

/// What a client is told whose transaction names too many keys.
pub(crate) fn too_many_keys() -> Vec<u8> {
    let most = crate::limits::TXN_KEYS_MAX;
    format!("-ERR a transaction over several shards may have {most} keys at most\r\n").into_bytes()
}

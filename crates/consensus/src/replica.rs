//! The trait that every protocol implements, and the values that go in and out.
//!
//! ```text
//! Event ─▶ Replica::step ─▶ Effects: save ─▶ send ─▶ apply ─▶ answers
//!               ▲                     │
//!               └── Event::Saved ─────┘   messages that `save` must back wait inside the replica
//! ```
//!
//! The field order of [`Effects`] is the order of work. There is no second way out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stdx::Instant;

/// One process of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A place in the log. The first entry is at 1; 0 is "before the log".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

/// A leader's reign (Raft's term, Paxos's ballot, Zab's epoch).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// Names a request of the caller, who chose it; comes back in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Opaque bytes of the state machine above.
    Command,
    /// Nothing: a new leader's first entry, or the filler of a gap.
    Noop,
    /// An encoded [`Config`].
    Config,
}

/// One agreed (or yet to be agreed) step of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub index: Index,
    pub term: Term,
    pub kind: EntryKind,
    pub data: Bytes,
}

/// Who agrees. While `outgoing` is not empty the change is joint: both majorities are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub voters: BTreeSet<NodeId>,
    /// The voters of the configuration that is being left.
    pub outgoing: BTreeSet<NodeId>,
    /// Receive the log, do not vote.
    pub learners: BTreeSet<NodeId>,
}

/// Describes a snapshot: the state after applying `index`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    pub index: Index,
    pub term: Term,
    pub config: Config,
}

/// What a replica finds on its disk when it starts.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub term: Term,
    pub vote: Option<NodeId>,
    /// The newest durable snapshot; `index` 0 and the initial config for a new group. A replica
    /// that joins a group starts with an empty config and waits to be told.
    pub snapshot: SnapshotMeta,
    /// The log behind the snapshot, without gaps. Entries that the snapshot covers may be there
    /// too: if the one at the snapshot's index has another term, none of these is used, for they
    /// are from before the snapshot was installed.
    pub entries: Vec<Entry>,
    /// Something that was durable is gone (a corrupt log). The replica then neither votes nor
    /// leads until its peers have repaired it; see [`Status::faulty`].
    pub faulty: bool,
    /// How far an earlier replica here had the log, if its data was given up when it left the
    /// group. It may have acknowledged all of that, and somebody who has not heard that it left may
    /// still count on its vote: only whoever has as much gets it.
    pub reached: (Term, Index),
}

/// Settings of a replica. All times are of the monotonic clock.
#[derive(Clone, Debug)]
pub struct Options {
    pub node: NodeId,
    /// Seeds the dice of the election timeout.
    pub seed: u64,
    pub heartbeat_interval: Duration,
    /// An election starts after a silence between once and twice this long.
    pub election_timeout: Duration,
    /// A group in which nothing was proposed or read for so long hibernates: its leader beats no
    /// more, and nobody stands for election, until somebody wakes it ([`Event::Wake`]). `None`: never.
    pub hibernate_after: Option<Duration>,
    /// How far two clocks may drift apart while an election timeout passes, in parts per million.
    pub clock_drift_ppm: u32,
    /// Bytes of entries in one append message.
    pub append_bytes_max: usize,
    /// Append messages under way to one follower.
    pub inflight_max: usize,
    /// Bytes of entries kept in memory, once they are applied, for members that lag and for those to come.
    /// More is kept only of what a member lacks, and no snapshot holds.
    pub tail_bytes_max: usize,
    /// Bytes of a snapshot in one message.
    pub chunk_bytes_max: usize,
    /// Bytes of entries that are proposed and not yet committed; past it proposals are rejected.
    pub uncommitted_bytes_max: usize,
}

impl Options {
    /// Settings for a local network. The fields are public: change what differs.
    pub fn new(node: NodeId, seed: u64) -> Options {
        Options {
            node,
            seed,
            heartbeat_interval: Duration::from_millis(50),
            election_timeout: Duration::from_millis(300),
            hibernate_after: None,
            clock_drift_ppm: 10_000,
            append_bytes_max: 1 << 20,
            inflight_max: 64,
            tail_bytes_max: 32 << 20,
            chunk_bytes_max: 256 << 10,
            uncommitted_bytes_max: 64 << 20,
        }
    }
}

/// What happened in the world.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed: `deadline()` was reached.
    Tick,
    /// Append these commands to the log, as one entry each. Answered by `Effects::accept` in order,
    /// or `Effects::reject`.
    Propose { token: Token, data: Bytes },
    /// From a peer. Duplicates, losses and reorderings are expected.
    Recv(Envelope),
    /// All that was in `Effects::save` up to and with this save number is durable. Save numbers
    /// count the `step`s whose `save` was not empty, from 1 (see [`Effects::save_number`]).
    Saved(u64),
    /// The state machine above has applied everything up to here.
    Applied(Index),
    /// Ask for a point from which a read is linearizable. Answered by `Effects::read`, in this
    /// `step` if the leader's lease holds. `now` must have been read from the clock *after* the
    /// client's request arrived, else a pause in between could hide a newer leader.
    Read { token: Token },
    /// Change who agrees, through a joint configuration. Answered like `Propose`, with the place of
    /// the first entry of the change; it is over when an entry with a configuration that is not
    /// joint was applied. Rejected while another change is under way.
    Configure { token: Token, voters: BTreeSet<NodeId>, learners: BTreeSet<NodeId> },
    /// Hand leadership to this voter.
    Transfer { target: NodeId },
    /// The node of a member has fallen silent: a hibernating group has to look for itself. Whoever
    /// lets groups hibernate watches over nodes, and feeds this.
    Wake,
    /// Tell the followers of the commit index at once, if they do not know it: for a commit that a
    /// client of theirs waits for. Without it they learn with the next append or heartbeat.
    Flush,
    /// A snapshot of the state at this applied index is durable: the log before it may go.
    Compact(SnapshotMeta),
    /// The bytes asked for in `Effects::fetch`; at the end of the snapshot `data` may be empty with
    /// `last` true. `data` empty and `last` false: the snapshot is gone.
    Fetched { target: NodeId, snapshot: Index, offset: u64, data: Bytes, last: bool },
    /// The snapshot of `Effects::install` is durable, checked and loaded (`ok`), or was refused.
    Installed { snapshot: Index, ok: bool },
}

/// A message and its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub source: NodeId,
    pub target: NodeId,
    pub term: Term,
    pub message: Message,
}

/// What replicas say to each other. `Envelope::term` is the sender's term, but for a pre-vote
/// request and its grant, where it is the term that the candidate would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Would you vote for me (`pre`), do you vote for me? `force`: leadership was handed to me, so
    /// a live leader's lease is no reason to refuse.
    Vote {
        pre: bool,
        force: bool,
        last_index: Index,
        last_term: Term,
    },
    VoteReply {
        pre: bool,
        granted: bool,
    },
    /// Entries behind `previous`. `sequence` numbers the leader's rounds for leases and reads, and
    /// returns in the reply. Up to `held` every member has the log on its disk.
    Append {
        previous_index: Index,
        previous_term: Term,
        commit: Index,
        held: Index,
        sequence: u64,
        entries: Vec<Entry>,
    },
    /// `Ok(match)` or where the logs part: the follower's hint for a fast repair.
    AppendReply {
        sequence: u64,
        result: Result<Index, Conflict>,
    },
    /// `hibernate`: it is the last for now, for a follower whose log ends at `commit`.
    Heartbeat {
        commit: Index,
        sequence: u64,
        hibernate: bool,
    },
    HeartbeatReply {
        sequence: u64,
    },
    /// A part of a snapshot.
    Snapshot {
        meta: SnapshotMeta,
        offset: u64,
        data: Bytes,
        last: bool,
        sequence: u64,
    },
    /// How much of the snapshot is here; `done` once it is installed and durable.
    SnapshotReply {
        snapshot: Index,
        offset: u64,
        done: bool,
        refused: bool,
        sequence: u64,
    },
    /// Leadership is yours: elect yourself now.
    TimeoutNow,
}

/// Why an append was refused, and where the logs may still agree (Raft paper §5.3, etcd's
/// variation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The `previous_index` of the append.
    pub rejected: Index,
    /// The follower's largest index up to `rejected` whose term is not above `previous_term`.
    pub hint_index: Index,
    /// The follower's term there.
    pub hint_term: Term,
}

/// Something to make durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Append; an entry at or below the last index replaces it and all behind it.
    Entry(Entry),
    /// The term and the vote in it. A later one replaces it.
    Vote { term: Term, vote: Option<NodeId> },
}

/// A part of a snapshot that arrived: keep it; after the last, check it, make it durable, load it
/// and answer `Event::Installed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub meta: SnapshotMeta,
    pub offset: u64,
    pub data: Bytes,
    pub last: bool,
}

/// Read this part of the snapshot at `snapshot` and answer `Event::Fetched`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub target: NodeId,
    pub snapshot: Index,
    pub offset: u64,
    pub bytes_max: usize,
}

/// A proposal got its place in the log. It is not committed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    pub token: Token,
    pub term: Term,
    pub index: Index,
}

/// A read may be served by a state that has applied `index` or more. `None`: not by this replica
/// now (it does not lead); try again or elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadReady {
    pub token: Token,
    pub index: Option<Index>,
}

/// What must follow, in the order of work.
#[derive(Debug, Default)]
pub struct Effects {
    /// Make durable, then feed `Event::Saved(save_number)`.
    pub save: Vec<Record>,
    /// The number of the newest save, valid if `save` is not empty. A caller that gathers several
    /// steps into one batch feeds back the last number only.
    pub save_number: u64,
    /// Safe to send at once.
    pub send: Vec<Envelope>,
    /// Parts of a snapshot to keep and at last to install. Installing replaces the whole state, the
    /// entries in the log on the disk included; between the last chunk and `Event::Installed` the
    /// replica saves no entry and applies none.
    pub install: Vec<Chunk>,
    /// Committed, in log order, each once.
    pub apply: Vec<Entry>,
    pub fetch: Vec<Fetch>,
    /// These peers lack entries that have left the memory, and the newest durable snapshot does not hold them
    /// either: take another, and feed [`Event::Compact`] when it is durable. Said again until then.
    pub wants: Vec<NodeId>,
    pub accept: Vec<Accept>,
    /// These will not be in the log through this replica: it does not lead, or is full.
    pub reject: Vec<Token>,
    pub read: Vec<ReadReady>,
}

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Follower,
    Candidate,
    Leader,
    Learner,
}

/// A look inside, for routing and for people.
#[derive(Clone, Debug)]
pub struct Status {
    pub role: Role,
    pub term: Term,
    /// Who leads in `term`, if known.
    pub leader: Option<NodeId>,
    pub commit: Index,
    pub last: Index,
    /// The term of the entry at `last`.
    pub last_term: Term,
    /// First index still in the log: the snapshot's + 1, or before it for followers that lag.
    pub first: Index,
    /// Shared: a status is asked for often.
    pub config: Arc<Config>,
    /// Not yet repaired: the mark on the disk that made [`Stored::faulty`] true must stay.
    pub faulty: bool,
    /// On a leader: how far each peer is known to have the log.
    pub matched: Vec<(NodeId, Index)>,
}

/// A protocol: one replica of one group.
pub trait Replica: Send {
    /// Feeds one event and adds what must follow to `out`. `now` must have been read after the
    /// event reached the process: a leader's lease rests on when it was heard.
    fn step(&mut self, now: Instant, event: Event, out: &mut Effects);
    /// When to feed `Event::Tick`, if nothing else happens first.
    fn deadline(&self) -> Instant;
    /// Role, term and leader alone, cheap enough to ask on every request.
    fn standing(&self) -> (Role, Term, Option<NodeId>);
    /// Is leadership on its way to another? Then proposals are rejected until it has arrived, or
    /// the transfer is given up.
    fn is_handing_over(&self) -> bool;
    /// Does it wait for something to happen, without beats and elections?
    fn hibernates(&self) -> bool;
    /// All of it.
    fn status(&self) -> Status;
    /// Asserts every invariant; the simulator calls it after each step.
    fn check(&self);
}

//! What follows from an event, as values, in the order of work.

use std::sync::Arc;

use bytes::Bytes;
use consensus::{Index, NodeId, Record, SnapshotMeta, Term};
use keyspace::{Publish, Shard};

use crate::map::Map;
use crate::message::{GroupId, Message};
use crate::request::Replies;

/// Everything that follows. The driver empties it after each turn of its loop.
#[derive(Debug, Default)]
pub struct Effects {
    /// Make durable, all of it in one write and one flush, then feed `Event::Saved` for each.
    pub save: Vec<Save>,
    /// Work on snapshots, in order for each group.
    pub snapshot: Vec<SnapshotJob>,
    /// Safe to send at once.
    pub send: Vec<(NodeId, Message)>,
    /// For this node's clients.
    pub replies: Replies,
    /// For this node's subscribers.
    pub publish: Vec<Publish>,
    /// For subscribers of the nodes that have no replica of a group: what its leader has applied. The core
    /// sends it when the turn ends.
    pub abroad: Vec<(GroupId, Publish)>,
    /// Replicas that their peers have repaired: they are whole again.
    pub repaired: Vec<GroupId>,
    /// Groups that have a replica here from now on: note that, durably, before anything of them is
    /// saved.
    pub joined: Vec<GroupId>,
    /// The map has changed: keep it, and link with the nodes that it names.
    pub map: Option<Arc<Map>>,
    /// States that were replaced, left, or came too late. To drop a large one takes a while: any thread may.
    pub discarded: Vec<Shard>,
}

/// Records of one group to make durable.
#[derive(Debug)]
pub struct Save {
    pub group: GroupId,
    pub number: u64,
    pub records: Vec<Record>,
    /// Until these are durable it is not known what is committed, so that no snapshot can cut the log: they may have
    /// the room that is left for one.
    pub needed: bool,
}

/// How fast a snapshot is taken: what it needs of the processor and the disk, clients lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// It only makes the log shorter.
    Easy,
    /// A replica that is to come waits for it.
    Steady,
    /// Somebody asked for it, a voter waits for it, or the log grows faster than it is made.
    Full,
}

/// Work for whoever keeps the snapshots.
#[derive(Debug)]
pub enum SnapshotJob {
    /// Begin to write a snapshot of this state; an unfinished one of the group is given up.
    Begin { group: GroupId, meta: SnapshotMeta },
    /// Append; after the last make it durable, then trim the log up to it. Answered by
    /// `Event::PartWritten`: after a rest, but for the last one and at full pace.
    Part { group: GroupId, data: Vec<u8>, last: bool, pace: Pace },
    /// Read a part for a follower. Answered by `Event::Fetched`: after a rest, unless the follower is
    /// a voter, for which the group may be waiting.
    Fetch {
        group: GroupId,
        target: NodeId,
        snapshot: Index,
        offset: u64,
        bytes_max: usize,
        voter: bool,
    },
    /// A part of a leader's snapshot arrived. After the last: check it, make it durable, load it
    /// (with rests, unless this is a voter) and answer `Event::Loaded`.
    Receive {
        group: GroupId,
        meta: SnapshotMeta,
        offset: u64,
        data: Bytes,
        last: bool,
        voter: bool,
    },
    /// The replica was moved away: note that, durably, and remove its log and its snapshots; its
    /// vote stays, and how far it had the log. Answered by `Event::Left`.
    Leave { group: GroupId, reached: (Term, Index) },
}

impl SnapshotJob {
    /// Whose it is.
    pub fn group(&self) -> GroupId {
        match self {
            SnapshotJob::Begin { group, .. }
            | SnapshotJob::Part { group, .. }
            | SnapshotJob::Fetch { group, .. }
            | SnapshotJob::Receive { group, .. }
            | SnapshotJob::Leave { group, .. } => *group,
        }
    }
}

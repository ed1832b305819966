//! Raft: one leader at a time, whose log the others copy.
//!
//! ```text
//!              silence               pre-votes               votes
//!   Follower ──────────▶ Pre-candidate ────▶ Candidate ─────────────▶ Leader
//!      ▲  ▲                    │                 │                      │
//!      │  └────────────────────┴─────────────────┘ a leader is heard,   │
//!      └────────────────────────────────────────── a higher term, or no quorum for a while
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `replica` | the state of a replica; every event, dispatched |
//! | `saves` | what is on its way to the disk, and the messages that wait for it |
//! | `election` | who may speak for the group in a term |
//! | `follower` | copying the leader's log |
//! | `leader` | sending the log, counting what is durable, committing |
//! | `progress` | what a leader knows of one peer, and how fast it may send to it |
//! | `rounds` | which contact with a quorum is confirmed: leases and check-quorum |
//! | `read` | linearizable reads, by lease or by a round |
//! | `membership` | joint changes of configuration, and leadership handed over |
//! | `snapshot` | compaction, and snapshots on their way to followers that lag too far |
//!
//! What must be durable before others may see it waits inside the replica (`saves`): votes and a
//! new term, and the replies to appends. The leader's own appends go out at once, while its disk
//! writes them; its own copy counts only when it is durable.
//!
//! The log is stored once, in the state machine's order; a commit index is not stored, it is
//! learned again after a restart.
//!
//! Raft paper (extended version): §5 election and log, §6 membership, §7 snapshots, §8 reads.
//! Ongaro's thesis: §3.10 leadership transfer, §6.4 reads and leases, §9.6 pre-vote. Flow control
//! follows the states of etcd's `tracker` (probe, replicate, snapshot).
//!
//! Not done: reads at followers (the node forwards them), hibernation of idle groups, witness
//! replicas. A node that comes back with an empty disk must come under another id, or be removed
//! and added again: what it forgot may have been counted. One that knows that it forgot something,
//! but not in which terms it spoke, has the same way; one that knows its term starts as `faulty`.

mod election;
mod follower;
mod hibernation;
mod leader;
mod membership;
mod progress;
mod read;
mod replica;
mod rounds;
mod saves;
mod snapshot;

pub use replica::{Broken, Replica};

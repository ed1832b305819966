//! Where keys are: slots, shards, and the nodes that hold them.
//!
//! Four values, each made from the one before:
//!
//! ```text
//! key ──CRC16──▶ Slot ──range──▶ ShardId ──▶ Placement: R nodes of each shard
//!                  │                            ▲
//!                  └── a place on the Ring: nodes at many points, weights, failure zones
//! ```
//!
//! A [`Ring`] says which nodes *would like* a shard: those next clockwise, in distinct zones. It is
//! a function of its nodes alone. A [`Placement`] says which nodes *have* it: each node its fair
//! share, or little more or less, and it changes as few replicas as that allows. It is carried
//! along, because a function of the nodes alone cannot be both even and still: docs/ring.md has the
//! measurement. [`plan()`] lists what must move from one placement to the next, [`leaders()`]
//! says who should lead each shard.
//!
//! Always: equal arguments give equal values on every machine. No clock, dice, I/O or order of a
//! hash map; fractions are compared as whole numbers.
//!
//! Not here: how a replica gets to its new node, when it is safe to take one away, and where the
//! map is kept. Nodes are alike but for weight and zone: load is counted in shards, not in bytes or
//! operations, so one hot shard is as heavy as an idle one.

mod chain;
mod draft;
mod error;
mod leaders;
mod limits;
mod node;
mod placement;
mod plan;
mod ring;
mod round;
mod savings;
mod shards;
mod share;
mod slot;
mod spread;
mod target;

pub use error::Error;
pub use leaders::leaders;
pub use limits::{
    MOVES_PERCENT_MAX, NODES_MAX, POINTS_MAX, POINTS_PER_WEIGHT, REPLICAS_MAX, SLACK_PERCENT,
    WEIGHT_MAX, ZONE_BYTES_MAX,
};
pub use node::{Node, NodeId, Zone};
pub use placement::Placement;
pub use plan::{Move, plan};
pub use ring::Ring;
pub use shards::{SHARDS_DEFAULT, ShardId, Shards};
pub use share::Share;
pub use slot::{SLOTS, Slot};
pub use spread::Spread;

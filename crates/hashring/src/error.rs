//! What this crate refuses, and why, in words for an operator.

use std::collections::BTreeSet;
use std::fmt;

use crate::limits::{
    NODES_MAX, POINTS_MAX, POINTS_PER_WEIGHT, REPLICAS_MAX, WEIGHT_MAX, ZONE_BYTES_MAX,
};
use crate::{NodeId, SLOTS, Zone};

/// Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The node is on the ring already.
    NodeTwice { node: NodeId },
    /// The node is not on the ring.
    NodeUnknown { node: NodeId },
    /// The ring has as many nodes as it may.
    NodesTooMany,
    /// Zero, or more than a node may weigh.
    Weight { weight: u32 },
    /// The weights of all nodes together ask for more points than a ring may have.
    PointsTooMany { points: u64 },
    /// Not the name of a zone.
    ZoneName { zone: String },
    /// The ring names its zones, and this is none of them.
    ZoneUnknown { zone: Zone, known: BTreeSet<Zone> },
    /// Not a number of shards.
    Shards { shards: usize },
    /// Not a number of replicas, or more than there are nodes.
    Replicas { replicas: usize, nodes: usize },
    /// A set of replicas that no placement has, or two placements of different clusters.
    Placement { reason: &'static str },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NodeTwice { node } => write!(f, "node {node} is on the ring already"),
            Error::NodeUnknown { node } => write!(f, "node {node} is not on the ring"),
            Error::NodesTooMany => write!(f, "the ring is full: it has {NODES_MAX} nodes"),
            Error::Weight { weight: 0 } => write!(
                f,
                "a node of weight 0 would hold nothing: remove it from the ring to empty it"
            ),
            Error::Weight { weight } => {
                write!(f, "weight {weight} is too much: the heaviest node weighs {WEIGHT_MAX}")
            }
            Error::PointsTooMany { points } => write!(
                f,
                "the weights are too large: at {POINTS_PER_WEIGHT} points for each unit they need \
                 {points} points, and a ring has {POINTS_MAX} at most; only their proportion counts"
            ),
            Error::ZoneName { zone } => write!(
                f,
                "{zone:?} is no name of a zone: 1 to {ZONE_BYTES_MAX} letters, digits, '-', '_', \
                 '.', ':' or '/'"
            ),
            Error::ZoneUnknown { zone, known } => {
                let known: Vec<&str> = known.iter().map(Zone::as_str).collect();
                write!(f, "zone {zone} is unknown; the zones are {}", known.join(", "))
            }
            Error::Shards { shards } => write!(
                f,
                "{shards} is no number of shards: it must be a power of two from 1 to {SLOTS}"
            ),
            Error::Replicas { replicas, .. } if !(1..=REPLICAS_MAX).contains(replicas) => {
                write!(f, "{replicas} is no number of replicas: it must be 1 to {REPLICAS_MAX}")
            }
            Error::Replicas { replicas, nodes } => write!(
                f,
                "{replicas} replicas of a shard need as many nodes, and there are {nodes}"
            ),
            Error::Placement { reason } => write!(f, "no placement: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

//! The limits of this crate.

/// Points on the circle for each unit of weight. The share of the circle that a node owns varies by
/// about one over the square root of its points: 9 % with 128. docs/ring.md has the measured
/// spread. More would cost memory and evenness is not decided here: a placement is even whatever
/// the points do, they only choose which shards go where.
pub const POINTS_PER_WEIGHT: u32 = 128;

/// The heaviest node. Weights tell machines of one fleet apart; who needs more than 100 to 1 has
/// two fleets. It bounds the points that one node may ask for.
pub const WEIGHT_MAX: u32 = 100;

/// Nodes on a ring: ten times the largest cluster that is simulated.
pub const NODES_MAX: usize = 1_024;

/// Points of all nodes together: 16 MiB of memory, and a lookup is 20 compares.
pub const POINTS_MAX: usize = 1 << 20;

/// Replicas of a shard. More than a dozen voters make a group slower and no safer.
pub const REPLICAS_MAX: usize = 15;

/// The name of a failure zone.
pub const ZONE_BYTES_MAX: usize = 64;

/// How far a node's replicas may be from its fair share before somebody moves for that alone, and
/// the bound of every load: no node holds more than its fair share and this much, rounded up. A
/// placement is made with no slack, and with this much only where that saves more than
/// [`MOVES_PERCENT_MAX`] allows: docs/ring.md has the measurement.
pub const SLACK_PERCENT: u64 = 10;

/// Replicas that are moved for an even placement, beside the least that a change asks for. Past it
/// a placement may be uneven by [`SLACK_PERCENT`].
pub const MOVES_PERCENT_MAX: usize = 115;

const _: () = assert!(
    NODES_MAX * POINTS_PER_WEIGHT as usize <= POINTS_MAX,
    "a full ring of nodes of weight 1 must fit"
);
const _: () = assert!(NODES_MAX <= u16::MAX as usize, "nodes are numbered in 16 bits within");

//! The figures of a simulated cluster, each with its reason.

use std::time::Duration;

/// Bytes of a segment of the log, drawn for each start of a node: small, so that segments are filled,
/// recycled and torn within a run of a minute, and a group that is idle comes to pin many.
pub(crate) const SEGMENT_BYTES: [u64; 2] = [32 * 1024, 64 * 1024];

/// Bytes of entries kept for followers that lag: small, so that snapshots are really sent.
pub(crate) const TAIL_BYTES_MAX: usize = 4 * 1024;

/// Bytes of entries in one append, drawn for each start of a node. Mostly small, down to one entry,
/// so that a follower catches up in many steps, and a leader may fall between any two of them.
pub(crate) const APPEND_BYTES_MAX: [usize; 4] = [1, 256, 1024, 64 * 1024];

/// How far two clocks may part, in parts per million: what a node believes that is not told.
pub(crate) const DRIFT_PPM: u32 = 10_000;

/// The same, at the most, for a seed that has clocks worse than any machine: what must not happen
/// between the end of a lease and the end of what it rests on has room there.
pub(crate) const DRIFT_PPM_MAX: u32 = 200_000;

/// A disk that the log of a node can fill within a minute, and that its state mostly cannot: that comes to a
/// quarter of it.
pub(crate) const SMALL_DISK_BYTES: u64 = 2 << 20;

/// So many times its snapshots it holds at the least, as `docs/operations.md` asks: where they come to half of
/// it, the next finds no room, and the disk is full in earnest.
pub(crate) const SMALL_DISK_PART: u64 = 4;

/// Bytes of a snapshot in one message, drawn for each start of a node. Mostly small, so that a
/// transfer has many parts to be cut between; sometimes all of it is one part.
pub(crate) const CHUNK_BYTES_MAX: [usize; 3] = [1024, 4 * 1024, 128 * 1024];

/// Bytes of a snapshot made in one turn, drawn for each start of a node. Mostly small, so that much
/// is written while one is made.
pub(crate) const SNAPSHOT_STEP_BYTES: [usize; 3] = [512, 4 * 1024, 128 * 1024];

/// Bytes of log that are worth a snapshot, drawn for each start of a node: so much that only what asks for one
/// gets it, or little, so that groups come to it by themselves, and wait for their turns.
pub(crate) const SNAPSHOT_LOG_BYTES: [u64; 3] = [64 << 20, 1 << 20, 64 << 10];

/// Bytes of replies that go along with a snapshot, as drawn for each start of a node.
pub(crate) const NOTE_BYTES: [usize; 3] = [32 << 10, 0, 100];

/// How long a connection between nodes that broke stays broken before it is dialed again.
pub(crate) const REDIAL_INTERVAL: Duration = Duration::from_millis(100);

/// After all faults have ended, every client must be served within this time. It has room for a
/// request that waits for its timeout of ten seconds behind a leader that is gone.
pub(crate) const RECOVERY_BOUND: Duration = Duration::from_secs(20);

/// A client that got no answer for this long gives up: it never learns what happened.
pub(crate) const CLIENT_PATIENCE_MAX: Duration = Duration::from_secs(15);

/// Operations on a key of a while before it is left alone: what is searched for an order stays small.
pub(crate) const KEY_OPERATIONS_MAX: usize = 90;

/// Operations of unknown outcome on such a key before it is left alone: each may take effect at any
/// later moment, so each doubles the search.
pub(crate) const KEY_UNKNOWN_MAX: usize = 6;

/// States that the search for an order of one part of the history looks at before it gives up.
pub(crate) const SEARCH_STATES_MAX: usize = 300_000;

/// The state of replicas is hashed at one applied index in so many.
pub(crate) const DIGEST_EVERY: u64 = 40;

/// Machines of one run, those that join included: a number of a node is never used again.
pub(crate) const NODES_MAX: u32 = 12;

/// A majority that is spared all faults serves from so long after the last of them on …
pub(crate) const LULL_SETTLE: Duration = Duration::from_secs(6);

/// … and answers within this.
pub(crate) const LULL_ANSWER: Duration = Duration::from_secs(4);

/// After all faults have ended, and all changes are done, everything is where the map wants it within
/// this time: some dozens of moves, each of which takes some rounds of a quarter of a second.
pub(crate) const MOVE_BOUND: Duration = Duration::from_secs(60);

/// Turns of a node's loop in one second of the world: under load it is some thousand.
pub(crate) const TURNS_PER_SECOND_MAX: u64 = 200_000;

/// A node is asked whether all that it holds agrees after each so many turns: it walks all of it, and
/// what is wrong there does not heal by itself.
pub(crate) const CHECK_EVERY: u64 = 8;

/// Lines of a story that are kept.
pub(crate) const STORY_LINES_MAX: usize = 200_000;

/// What a node may be told about idle groups: never, soon, and as a server is.
pub(crate) const HIBERNATE_AFTER: [Option<Duration>; 4] = [
    None,
    Some(Duration::from_millis(200)),
    Some(Duration::from_secs(1)),
    Some(Duration::from_secs(5)),
];

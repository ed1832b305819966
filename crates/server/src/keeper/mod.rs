//! What is kept on the disk, and how: saves into the log, jobs into snapshots, without threads.
//!
//! ```text
//! Save ────────▶ LogKeeper ── append, commit ──▶ Event::Saved, DiskFull
//!                   ▲ trim, reset
//! SnapshotJob ─▶ SnapshotKeeper ───────────────▶ After: Tell · Trim · Reset · Load
//! ```
//!
//! The driver runs each keeper on a thread of its own, the simulator both in simulated time.
//!
//! What always holds: `Saved` follows only what is durable; a full disk is told and waited out; any
//! other error is for the node to die of, before it acknowledges anything.

use std::time::Duration;

use node::GroupId;
use storage::GroupId as StoredGroup;

mod log;
mod snapshots;

pub use log::{Chore, Done, LogKeeper, Room};
pub use snapshots::{After, SnapshotKeeper, Work, snapshot_meta};

/// How long a full disk is left alone before the next try.
pub(crate) const FULL_INTERVAL: Duration = Duration::from_millis(100);

fn stored(group: GroupId) -> StoredGroup {
    StoredGroup(group.0)
}

//! Snapshots: the whole state of a group at one index, in a file of checked blocks.
//!
//! ```text
//! header │ magic, format, group, index, term, length of meta, crc │ meta
//! block  │ length, crc │ up to 64 KiB            all but the last one are full
//! footer │ end mark, crc │ bytes, blocks, crc of all block crcs
//! ```
//!
//! Written to a temporary file, synced, renamed, the folder synced; only then may the log be trimmed.
//! Peers are sent the file as it is, so its checksums reach from the disk of one node to that of
//! another: a truncated or altered copy never gets a name. A reader checks each block before it
//! hands it out. The newest snapshot is kept; an older one until the newest is durable.
//!
//! Not here: what the bytes mean, and when to take one.

mod format;
mod receive;
mod stored;
mod write;

pub use format::Meta;
pub use receive::{Progress, Receiver};
pub(crate) use stored::Sizes;
pub use stored::{Reading, Snapshot, Snapshots};
pub use write::Writer;

//! The write-ahead log: one for all groups of a core.
//!
//! ```text
//! wal/000000000007.wal   header page │ table of groups │ record record … commit │ record … commit │ 0…
//! wal/000000000008.wal   header page │ …                the active one: batches are added here
//! wal/000000000009.wal   a spare: zero-filled or recycled, ready
//!
//! append ─▶ batch in memory ─▶ commit = vote file if needed, one write of whole pages, one fdatasync
//! ```
//!
//! Segments are zero-filled and recycled, so that a commit changes no metadata of the file system
//! and needs no space. The log is one chain: each record carries the checksum of the one before, and
//! each segment begins with that of the last record before it, and with a table of all groups (vote
//! and trim mark), so that recycling old segments loses nothing.
//!
//! **Torn or damaged?** A batch is written only after the one before is durable. So when the chain
//! breaks inside batch *b*, any piece of a batch after *b* proves that *b* had been acknowledged:
//! that is a [`Fault`](crate::Fault). With no such piece *b* was in flight when the machine stopped,
//! and the tail is cut. Pieces prove themselves: a record's head has a checksum that counts in its
//! segment and place. Every batch ends with a commit record, so it is always known which batch a
//! break belongs to. [`Wal::seal`] leaves such a proof behind the last batch of an idle log.
//!
//! **Recycling.** Only from the oldest segment on, once all its entries are trimmed or replaced; what
//! replaced or trimmed them is then behind it and stays. A commit record names the oldest segment that
//! counts; a file is written over only after a durable commit disowned it. A group that is idle would
//! pin old segments for ever: [`Wal::survey`] finds its few entries, and [`Wal::tidy`] moves
//! them to the end.
//!
//! Cost of a commit: one copy of each record into the batch, one pass of CRC32C, one write, one
//! fdatasync, and one more fdatasync if there are votes. No allocation per record.
//!
//! Ideas: TigerBeetle's and PostgreSQL's recycled journals; "Protocol-Aware Recovery" (FAST 2018) for
//! telling damage from a crash; fjall's `poison.rs`.

mod fuzz;
mod image;
mod live;
mod record;
mod recovery;
mod segment;
mod spare;
mod tidy;
mod writer;

pub use fuzz::{fuzz_records, fuzz_segment};
pub use live::Mark;
pub(crate) use live::Vote;
pub use record::Record;
pub use recovery::{Cut, Entry, Log, Recovered};
pub use segment::{Prepare, Prepared};
pub use tidy::{Survey, Surveyed};
pub use writer::{Options, Status, Wal};

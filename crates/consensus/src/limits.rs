//! The limits of this crate. Each is far above what a healthy group needs; past it, work is refused
//! or a message is dropped, which every protocol here survives.

use std::time::Duration;

/// Messages that wait for the disk. A stalled disk must not gather replies without end; a dropped
/// reply is asked for again by the next heartbeat.
pub(crate) const HELD_MAX: usize = 4_096;

/// Reads that wait for a round or for the leader's first commit. Past it a read is answered "not
/// now", so that a leader without a quorum holds no unbounded queue.
pub(crate) const READS_MAX: usize = 65_536;

/// The highest term (or the like) that a message may carry. No group lives through 2^62 elections;
/// a higher number is noise, and following it would leave no room to count on.
pub(crate) const TERM_MAX: u64 = 1 << 62;

/// The highest index that a message may carry, for the same reason.
pub(crate) const INDEX_MAX: u64 = 1 << 62;

/// Members of one configuration, learners included. More voters than a dozen make a group slower
/// and no safer; the bound keeps a malformed configuration from asking for memory.
pub const MEMBERS_MAX: usize = 128;

/// What an entry costs in memory beside its data, for all limits that count bytes.
pub(crate) const ENTRY_BYTES: usize = 64;

/// A heartbeat interval has room for this many rounds. A finer grain renews leases earlier by a
/// little, a coarser one keeps fewer rounds to look at.
pub(crate) const ROUNDS_PER_HEARTBEAT: u32 = 4;

/// Entries that a learner may lack and be sent all as they come. One that lacks more is sent it by and by.
pub(crate) const LEARNER_LAG: u64 = 64;

/// Bytes of entries that a learner which lags is sent at a time: about a millisecond's work, in which
/// its node serves nobody.
pub(crate) const LEARNER_APPEND_BYTES: usize = 256 * 1024;

/// How many times as long as that took is rested before more is sent: a node to which several groups
/// come takes a tenth or two of its time for them, however much it has to do.
pub(crate) const LEARNER_RESTS: u32 = 16;

/// The longest such rest.
pub(crate) const LEARNER_REST_MAX: Duration = Duration::from_millis(200);

const _: () = assert!(TERM_MAX < u64::MAX / 2, "terms need room to grow");
const _: () = assert!(INDEX_MAX < u64::MAX / 2, "indexes need room to grow");

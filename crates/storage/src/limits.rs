//! The limits of storage, each with its reason.

/// The unit of a write to the log. Whole pages never make the kernel read a page of a recycled
/// segment first, and they are what it would write to the device anyway.
pub const PAGE_BYTES: usize = 4096;

/// What a disk writes whole or not at all (the smallest power-fail write unit of NVMe and SATA).
pub const SECTOR_BYTES: usize = 512;

/// One segment of the log. Large enough that switching is rare (a few times a second at full
/// speed), small enough that a new node zero-fills its first one in a few milliseconds.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// Zeros written to a new segment between two flushes: what a commit may have to wait for. Measured
/// beside commits of 64 KiB whose p99 is 160 us alone: 500 us with 1 MiB, 320 us with 256 KiB, and
/// 200 us if the filling also rests for 10 ms between two steps (see `FILL_REST` of the server).
pub const FILL_STEP_BYTES: u64 = 256 << 10;

/// A smaller segment would be mostly its own table of groups.
pub const SEGMENT_BYTES_MIN: u64 = 32 << 10;

/// The end of each segment is kept for votes, trims and the marks of commits, so that they still
/// find room when the disk is full: some 1,300 of them.
pub const CONTROL_BYTES: u64 = 64 << 10;

/// One entry: a Redis value may have 512 MiB, and a command may carry a little more than one.
pub const ENTRY_BYTES_MAX: usize = 1 << 30;

/// Groups in one log. Each costs up to 144 bytes at the start of every segment: 2.3 MiB of 16.
pub const GROUPS_MAX: usize = 16_384;

/// Segments kept ready, so that a burst does not have to wait for one to be zero-filled: at full
/// speed they last for a second.
pub const SPARES: usize = 3;

/// The log leaves room on the disk for the next snapshots, without which it could never be cut: for one like the
/// largest there is, and what all may grow by, as much as the log itself. So many segments at the least.
pub const SEGMENTS_ROOM: u64 = 4;

/// Recycled files waiting to become spares; more are deleted, to give the space back after a burst.
/// A log of a small keyspace spans up to 128 MiB between two snapshots: its files all come back.
pub const RETIRED_MAX: usize = 8;

/// Once the log spans more segments than this, what pins the oldest one may be written anew. As many come
/// between two snapshots of all groups.
pub const SEGMENTS_PINNED_MAX: usize = 8;

/// If it is no more than this part of the segment: what is written anew costs as much as a new entry, and
/// three quarters of a segment are won at the least.
pub const TIDY_PART: u64 = 4;

/// What pins the oldest segment is written anew in steps of so much, or of one entry that is larger: what a
/// commit carries beside what clients wait for.
pub const TIDY_STEP_BYTES: usize = 128 << 10;

/// The batch buffer gives its memory back after a batch larger than this.
pub const BATCH_BYTES_KEEP: usize = 4 << 20;

/// One checksummed block of a snapshot: a reader never holds more unverified bytes than this.
pub const SNAPSHOT_BLOCK_BYTES: usize = 64 << 10;

/// What a snapshot's creator may say about it (the configuration of the group).
pub const SNAPSHOT_META_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(SEGMENT_BYTES >= SEGMENT_BYTES_MIN);
const _: () = assert!(SEGMENT_BYTES_MIN.is_multiple_of(PAGE_BYTES as u64));
const _: () = assert!(SEGMENT_BYTES > CONTROL_BYTES + 144 * GROUPS_MAX as u64 + PAGE_BYTES as u64);
const _: () = assert!(ENTRY_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(PAGE_BYTES.is_multiple_of(SECTOR_BYTES));

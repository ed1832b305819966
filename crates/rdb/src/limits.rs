//! The limits of dump files, each with its reason.

/// Bytes of one string, compressed or not, and of one packed node: Redis's `proto-max-bulk-len`. No
/// value of Synod may be longer.
pub const STRING_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Bytes by which memory grows ahead of what was read: a length that is a lie costs no more.
pub const READ_AHEAD_BYTES: usize = 1024 * 1024;

/// Bytes read in one go, and over which the checksum is computed at once.
pub const BUFFER_BYTES: usize = 128 * 1024;

/// Bytes that a byte of compressed text may become: three bytes are a reference to 264.
pub const LZF_RATIO_MAX: usize = 88;

/// Entries in a node of a stream that is written: Redis's `stream-node-max-entries`.
pub const STREAM_NODE_ENTRIES_MAX: u64 = 100;

/// Bytes of such a node, past which the next one is begun: Redis's `stream-node-max-bytes`.
pub const STREAM_NODE_BYTES: usize = 4096;

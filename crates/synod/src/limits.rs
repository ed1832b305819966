//! The limits of the tools, each with its reason.

/// Bytes that one call of an import may have: a node's bound, less the name and the numbers in it.
pub(crate) const CALL_BYTES_MAX: usize = node::limits::COMMAND_BYTES_MAX - 1024;

/// Fields and values of an entry of a stream: a call may have this many arguments, and some more.
pub(crate) const ENTRY_TEXTS_MAX: usize = 1_000_000;

/// Bytes of a part of a value that is written, or read, in several calls: no call holds up those of
/// others for long.
pub(crate) const PART_BYTES: usize = 128 * 1024;

/// Elements of such a part.
pub(crate) const PART_ELEMENTS: usize = 1024;

/// Bytes of a string that are written in one call.
pub(crate) const STRING_PART_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of calls that an import sends in one go: a quarter of an entry of the log, so that an entry
/// is full while others are on their way.
pub(crate) const BATCH_BYTES: usize = 256 * 1024;

/// Batches on a connection whose replies have not all come: one is worked on while one is sent.
pub(crate) const BATCHES_IN_FLIGHT_MAX: usize = 2;

/// Bytes of all batches whose replies have not come; a larger batch is sent when no other is. A node
/// refuses what would make more than 64 MiB wait.
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Keys that an export asks for in one go.
pub(crate) const PAGE_KEYS: usize = 512;

/// Bytes of values that an export asks for in one go, by the server's own estimate. A value that has
/// no more is read in one call, so that it is from one moment.
pub(crate) const PAGE_BYTES: u64 = 2 * 1024 * 1024;

/// Bytes of a value that an export keeps in memory: the rest is in a file until its number of
/// elements, which stands before them, is known.
pub(crate) const SPILL_BYTES: usize = 8 * 1024 * 1024;

/// Databases that an export looks for: Redis is seldom given more than its 16.
pub(crate) const DATABASES_MAX: u64 = 4096;

/// How often a key is read again that had changed its type meanwhile.
pub(crate) const READS_MAX: u32 = 3;

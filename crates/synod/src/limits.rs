//! The limits of the tools, each with its reason.

use std::time::Duration;

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

/// Bytes of a key and its string, up to which it is written together with others: what a call costs beside
/// them is little for larger ones.
pub(crate) const SMALL_STRING_BYTES: usize = 4 * 1024;

/// Bytes of calls that an import sends in one go: a quarter of an entry of the log, so that an entry
/// is full while others are on their way.
pub(crate) const BATCH_BYTES: usize = 256 * 1024;

/// Bytes of the calls of a value that an import makes first, to write it by one SYNOD.PUT: small elements take
/// several times as much in calls as in the value.
pub(crate) const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Batches on a connection whose replies have not all come: one is worked on while one is sent.
pub(crate) const BATCHES_IN_FLIGHT_MAX: usize = 2;

/// Bytes of all batches whose replies have not come; a larger batch is sent when no other is. A node
/// refuses what would make more than 64 MiB wait.
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long an import goes from node to node when it is not answered: longer than a cluster takes to elect
/// a leader, or a node to start.
pub(crate) const LANE_RETRY_TIME: Duration = Duration::from_secs(60);

/// Between two such tries.
pub(crate) const LANE_PAUSE: Duration = Duration::from_millis(200);

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

/// How often a backup is begun before it is given up: nodes may fall one after the other.
pub(crate) const BACKUP_TRIES: u32 = 5;

/// Rest before it begins again, or a node is called again: an election fits into it.
pub(crate) const BACKUP_PAUSE: Duration = Duration::from_millis(500);

/// How often a node is called again to which the connection broke. One that answers goes on where it
/// was; one that does not is lost with what it kept.
pub(crate) const BACKUP_RECONNECTS_MAX: u32 = 3;

/// How long is looked for the nodes that keep a backup that has begun: they do before that is
/// answered.
pub(crate) const BACKUP_LOCATE_TIME: Duration = Duration::from_secs(2);

/// Bytes of a backup's file that are written before they are synced: a disk that is given all of it
/// at once makes the log of a node on it wait.
pub(crate) const BACKUP_SYNC_BYTES: u64 = 8 * 1024 * 1024;

/// In which time every shard of a backup must have been read from once, whatever the rate: a node gives
/// up what nobody reads for a while.
pub(crate) const BACKUP_ROUND_TIME: Duration = Duration::from_secs(10);

/// Bytes of a value that a restore or an import writes by one SYNOD.PUT. A larger one goes by the commands of its
/// type, in parts, so that no call holds up a shard.
pub(crate) const PUT_BYTES_MAX: usize = 1024 * 1024;

/// The key that stands in a cluster while it is restored. Nobody else has a reason to use it.
pub(crate) const RESTORE_MARK: &[u8] = b"synod:restore-unfinished";

/// Bytes of a part of a file on its way to a bucket, or from it, at the least: S3 wants 5 MiB, but for
/// the last.
#[cfg(feature = "s3")]
pub(crate) const S3_PART_BYTES_MIN: usize = 8 * 1024 * 1024;

/// Parts of one object: S3's own limit. Larger files have larger parts.
#[cfg(feature = "s3")]
pub(crate) const S3_PARTS_MAX: u64 = 10_000;

/// Parts that are sent at a time.
#[cfg(feature = "s3")]
pub(crate) const S3_PARTS_IN_FLIGHT_MAX: usize = 4;

/// How often a key is read again that had changed its type meanwhile.
pub(crate) const READS_MAX: u32 = 3;

const _: () = assert!(BACKUP_ROUND_TIME.as_secs() * 2 < node::limits::BACKUP_IDLE_TIME.as_secs());

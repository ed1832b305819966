//! The limits of the keyspace, each with its reason.

use std::time::Duration;

/// Databases that SELECT can reach: Redis's default.
pub const DATABASES: usize = 16;

/// Bytes of one string value: Redis's `proto-max-bulk-len`.
pub const STRING_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Items in a segment of a dictionary. Inserting moves half of them (about 250 bytes), so a segment
/// stays near the size where that costs less than a cache miss.
pub const SEGMENT_ENTRIES_MAX: usize = 64;

/// Slots of a dictionary's directory for each of its segments. Even hashes need eight at most; keys
/// that were chosen so that their hashes begin alike could otherwise make it double without end.
pub const DIRECTORY_SLOTS_PER_SEGMENT_MAX: usize = 16;

/// Places in which deletions are remembered for WATCH, 8 bytes each. Keys that share one make a
/// watch on an absent key see the deletion of another, which costs its client a retry.
pub const DELETED_PLACES: usize = 16_384;

/// Bytes of the names of all keys of one shard's database, for a transaction over several shards that
/// asks for all of them: some 500,000 keys. The gateway holds those of all shards.
pub const NAMES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of the keys' values that a gateway fetches to run a transaction over several shards: it and
/// each shard hold them while it runs.
pub const FETCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Expired keys removed by one tick, so that a mass expiry cannot stall the shard.
pub const EXPIRES_PER_TICK_MAX: usize = 4_096;

/// Bytes of a reply of random members with repetition, whose length the client sets freely: Redis
/// closes such a client at its output limit, and no use needs more.
pub const RANDOM_REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Instructions that a script may run: about half a second. Redis would let others know that it is
/// busy by then; here it is stopped, on every replica at the same instruction.
pub const SCRIPT_STEPS_MAX: i64 = 50_000_000;

/// What a command called by a script counts as, in instructions: the usual one takes half a
/// microsecond, as long as fifty of them.
pub const SCRIPT_CALL_STEPS: i64 = 50;

/// Bytes of such a command and of its reply that count as one instruction more.
pub const SCRIPT_STEP_BYTES: i64 = 16;

/// Instructions between two looks at the limits of a script: rare enough to cost nothing.
pub const SCRIPT_TICK_STEPS: u32 = 1_000;

/// Instructions that a library's code may run when it is loaded, where Redis gives it half a
/// second.
pub const LIBRARY_STEPS_MAX: i64 = 5_000_000;

/// Bytes that a script may allocate. Redis has no limit, and dies instead.
pub const SCRIPT_MEMORY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Garbage that scripts leave in their virtual machine before it is collected: some hundred small
/// scripts, so that a collection is paid by many.
pub const SCRIPT_GARBAGE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of keys and arguments, or of a command's reply, that are given to a script without a look
/// at its limit of memory, which is met again at its next step: a sixteen thousandth of that.
pub const SCRIPT_UNCHECKED_BYTES_MAX: usize = 16 * 1024;

/// Memory that one script may use before its garbage is collected while it runs.
pub const SCRIPT_GARBAGE_TICK_BYTES: usize = 32 * 1024 * 1024;

/// Source code whose compiled form is kept: some hundred scripts of the size of BullMQ's.
pub const COMPILED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Scripts that EVALSHA finds, as many as a sane application has: one that makes a script for each
/// call loses the oldest.
pub const SCRIPTS_MAX: usize = 10_000;

/// Bytes of those scripts: they are in every snapshot.
pub const SCRIPTS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of all libraries: they are in every snapshot.
pub const LIBRARIES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Levels of nested JSON or MessagePack: lua-cjson's own limit, and what a thread's stack bears.
pub const JSON_DEPTH_MAX: i32 = 1_000;

/// How long the reply to an id of SYNOD.IDEM is kept, by the clock of the log: sixty times as long as
/// a client waits for an answer before it is told that the outcome is unknown, so that it may try again
/// from another node, or after it was started anew.
pub const IDEM_WINDOW: Duration = Duration::from_secs(600);

/// Bytes of the receipts of one shard, with their places in the tables: two million small replies, which
/// is 3,000 a second all through the window. Past it new ids are refused; none is forgotten early.
pub const IDEM_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of an id: seven times a UUID as text.
pub const IDEM_ID_BYTES_MAX: usize = 256;

/// Operations of one shard that wait for transactions over several shards: as many as a thousand
/// clients with full pipelines; beyond it they are told to try again.
pub const PARKED_MAX: usize = 65_536;

/// How long an aborted transaction is remembered, and how old one may be that is still prepared: far
/// longer than a request waits for its answer, so that a late `Prepare` is always known for one.
pub const TXN_TOMBSTONE_TIME: Duration = Duration::from_secs(60);

/// Bytes of the name of a backup: a client invents it, for as long as the backup takes.
pub const BACKUP_ID_BYTES_MAX: usize = 64;

//! The limits of a node's core, each with its reason.

use std::time::Duration;

/// Bytes of operations in one log entry before it is proposed, even if the disk is busy. One append
/// of this size costs the disk about as much as one of 64 KiB costs three times (facts: 2.0k to
/// 2.8k flushes a second), and a follower gets it in one message.
pub const BATCH_BYTES: usize = 1024 * 1024;

/// Bytes of one command, its arguments together. An entry must fit the log and a peer's message.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of operations that wait, in the open batch and under way, before clients are held back.
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Requests that wait at a gateway for a leader elsewhere, before clients are held back.
pub const GATEWAY_REQUESTS_MAX: usize = 65_536;

/// Entries under way before the open batch waits and grows, unless it is full. What comes while one
/// is being committed is in the next; a second would make entries smaller, and each costs every node
/// two wake-ups and a flush.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 1;

/// How long a request waits for a majority before its client is told that the outcome is unknown
/// (or that nothing was done, if it never left this node). Several elections fit into it.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a follower waits for the leader's word on how far it must have come, and until it has,
/// before it hands a read on: several round trips of a slow network.
pub const READ_INDEX_TIMEOUT: Duration = Duration::from_millis(250);

/// How often the requests that wait are looked through for those that have waited too long.
pub const EXPIRE_INTERVAL: Duration = Duration::from_millis(100);

/// How often a node tells the others about itself.
pub const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// After so long without a word from a node its hibernating groups are woken: two words are missing.
/// An idle group then elects a leader as soon as a busy one and this much later.
pub const WATCH_TIMEOUT: Duration = Duration::from_millis(600);

/// A peer that was silent for this long is shown as not alive.
pub const HEALTH_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Bytes of applied entries after which a snapshot is taken, at the least.
pub const SNAPSHOT_LOG_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Once nothing is written, this part of it is worth a snapshot, 4 MiB: the log is on the disk until a snapshot
/// covers it, and a restart runs it again. Where the disk has little room, a log is worth one that is this part
/// of the last.
pub const SNAPSHOT_IDLE_PART: u64 = 16;

/// How long nothing must have been written for that.
pub const SNAPSHOT_IDLE_TIME: Duration = Duration::from_secs(2);

/// How long after one that found no room on the disk the next snapshot is tried: what is written of one that
/// fails is written for nothing.
pub const SNAPSHOT_RETRY_TIME: Duration = Duration::from_secs(5);

/// Bytes of a snapshot made in one turn of the loop, or loaded before a rest: about 0.2 ms of work.
pub const SNAPSHOT_STEP_BYTES: usize = 128 * 1024;

/// How many times as long as a part of a snapshot took, on its way to a new replica or to be loaded by it, is
/// rested before the next.
pub const RESTS: u32 = 16;

/// And how long at most, lest a replica that is far away takes hours.
pub const REST_MAX: Duration = Duration::from_millis(100);

/// Bytes of a backup that are read in one go, or one value that is larger. One part is made in a turn of
/// the loop: 0.15 ms in which nobody else is served.
pub const BACKUP_PART_BYTES: usize = 64 * 1024;

/// How long a backup is kept that nobody reads: a reader goes round all shards, and may have to wait
/// for its own disk.
pub const BACKUP_IDLE_TIME: Duration = Duration::from_secs(30);

/// Bytes that one shard holds for a backup because they changed before they were read. It is given up
/// beyond that: its reader is slower than the writers, and they go first.
pub const BACKUP_HELD_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Bytes of one message between peers: the largest entry, which is an open batch that was just not
/// full and one more command, and what is around it.
pub const MESSAGE_BYTES_MAX: usize = WAITING_BYTES_MAX + COMMAND_BYTES_MAX + 4 * 1024 * 1024;

/// Transactions over several shards that a node works on, before its clients are held back.
pub const TXNS_MAX: usize = 16_384;

/// Keys of one transaction over several shards: as many as MULTI may have calls. Each is locked for
/// two rounds.
pub const TXN_KEYS_MAX: usize = 65_536;

/// Rounds of fetching: a script that follows references from key to key needs one for each.
pub const TXN_FETCHES_MAX: u32 = 256;

/// Keys that a script which has walked over all of them is given with the first that it missed: the next
/// of its walk. Twice as many each time, so that it comes again some ten times, and not for each key.
pub const TXN_KEYS_AHEAD_MIN: usize = 32;

/// Keys given so, altogether: half of `TXN_KEYS_MAX`, for nobody has asked for them.
pub const TXN_KEYS_AHEAD_MAX: usize = TXN_KEYS_MAX / 2;

/// Bytes of the keys that are given so at a time: a script that touches one small key among large ones
/// fetches no more than that beside it.
pub const TXN_BYTES_AHEAD_MAX: usize = 4 * 1024 * 1024;

/// How often a read over several shards is tried without locks.
pub const TXN_SNAPSHOT_TRIES: u32 = 2;

/// How often what a transaction has read at the gateway may have changed before it is to become true:
/// then it locks its keys first, so that one whose keys many want gets its turn.
pub const TXN_CHANGES_MAX: u32 = 2;

/// The longest pause before a transaction that met another one is begun anew.
pub const TXN_BACKOFF_MAX: Duration = Duration::from_millis(50);

/// When a decision is told again to a participant that could not take note of it.
pub const TXN_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How long a transaction may be undecided before somebody else settles it: several rounds of a slow
/// network, well below the five seconds after which nobody should wait for a lock any more.
pub const TXN_RECOVERY_AFTER: Duration = Duration::from_millis(1_500);

/// How long it may be undecided before any other replica of a participant settles it: the leaders may
/// not reach each other, and this node them all. Twice what a leader waits, and still below those five
/// seconds.
pub const TXN_RESCUE_AFTER: Duration = Duration::from_millis(3_000);

/// How often a node looks for such transactions.
pub const TXN_RECOVERY_INTERVAL: Duration = Duration::from_millis(250);

/// The address of a node: a DNS name has 253 bytes at most, and a port.
pub const ADDR_BYTES_MAX: usize = 259;

/// Bytes of replies to other nodes that a node remembers, its groups together: seconds of the most that
/// they can ask. A new leader answers from them what the old one had done.
pub const MEMO_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of them that go along with the snapshots of a node's groups, together: with sixteen groups thousands of
/// replies for each, while a request is under way for a few of the newest.
pub const MEMO_NOTES_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of those of one group: they are written in one go.
pub const MEMO_NOTE_BYTES_MAX: usize = 128 * 1024;

/// The largest reply that is remembered. Who asks again for a larger one hears that the
/// outcome is unknown.
pub const MEMO_REPLY_BYTES_MAX: usize = 64 * 1024;

/// How long a guest waits for an answer before it sends a request once more. Links lose nothing
/// while they stand, and when one is made anew everything goes again at once; this is for what
/// neither side has noticed.
pub const GUEST_PATIENCE: Duration = Duration::from_secs(2);

/// Groups that one leader brings to new nodes at a time. Each sends a whole copy of its state, which
/// takes from the same disk and network that serve clients.
pub const MOVES_MAX: usize = 2;

/// Entries that a replica may lack and yet be made a voter: about what is under way in a busy group.
/// It has them a round later, and until then the others are enough.
pub const MOVE_LAG_MAX: u64 = 64;

/// A node that makes nobody wait longer than this is not called slow, however fast the others are.
pub const SLOW_MIN: Duration = Duration::from_millis(100);

/// A node whose silence is less likely than 10 to the minus this is given nothing to lead: one wrong
/// suspicion in most of a year of words each quarter of a second, and some 600 ms of silence of a node
/// that was regular.
pub const SUSPECT_PHI: f64 = 8.0;

/// A node is steady if a silence for which it would be taken for dead is no more likely than 10 to the
/// minus this: one in a thousand words, four minutes.
pub const STEADY_PHI_MIN: f64 = 3.0;

/// Times between the words of a node are taken to spread at least so much: what a busy machine's
/// scheduler does is no sign of anything.
pub const DEVIATION_MIN: Duration = Duration::from_millis(60);

/// How often at most a node hands on a group that it leads, to even leaders out: each costs its
/// clients a pause of a round or two.
pub const SPREAD_INTERVAL: Duration = Duration::from_secs(1);

/// Entries that a replica may lack, by what nodes say of themselves four times a second, and its node be
/// handed groups to lead.
pub const FILLING_LAG: u64 = 1_024;

const _: () = assert!(BATCH_BYTES < WAITING_BYTES_MAX);
const _: () = assert!(WAITING_BYTES_MAX + COMMAND_BYTES_MAX < MESSAGE_BYTES_MAX);

//! The limits of the server, each with its reason.

use std::time::Duration;

/// Clients at a time, as Redis's `maxclients`: beyond it a connection is told so and closed.
pub const CLIENTS_MAX: usize = 10_000;

/// Connections beside those of clients: links between nodes, and callers that have not said yet
/// what they are.
pub const CONNECTIONS_EXTRA: usize = 256;

/// After a silence of this long the kernel asks whether a client's machine is still there: Redis's
/// `tcp-keepalive`.
pub const KEEPALIVE: Duration = Duration::from_secs(300);

/// Files beside the clients' sockets: log segments, snapshots, links and handshakes of peers.
pub const OTHER_FILES_MAX: u64 = 256;

/// Bytes read from one socket in one go: enough for a deep pipeline, small enough to be fair.
pub const READ_BYTES: usize = 64 * 1024;

/// Bytes read from a link in one go: a few batches of entries.
pub const PEER_READ_BYTES: usize = 256 * 1024;

/// Bytes of one request as they come: the arguments of a command, and the headers of as many as a
/// command may have. Past it a client is told so and closed.
pub const REQUEST_BYTES_MAX: usize = node::limits::COMMAND_BYTES_MAX + 16 * 1024 * 1024;

/// Bytes of unsent replies at which a client's next commands wait: it does not read what it asks.
pub const OUT_BYTES_PAUSE: usize = 1024 * 1024;

/// What the reply to a client's first read is expected to bring: so few may be under way before one has
/// come that a client which reads nothing does not fill the memory.
pub const FIRST_REPLY_BYTES: usize = OUT_BYTES_PAUSE / 16;

/// The least that the reply to a read is expected to bring, however small the last ones were: so many
/// more may be under way than a pipeline is deep.
pub const REPLY_BYTES_MIN: usize = OUT_BYTES_PAUSE / 1024;

/// Bytes of unsent replies at which a client is closed: one reply may be as large as a value.
pub const OUT_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Bytes of unsent messages at which a subscriber is closed: Redis's hard limit for pub/sub.
pub const SUBSCRIBER_OUT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long a reply waits for those to what was asked for together with it: less than a network's round
/// trip in most places, more than the shards of a busy node are apart.
pub const TRAIN_MAX: Duration = Duration::from_millis(1);

/// Bytes of replies that wait for nothing: a packet is full long before.
pub const TRAIN_BYTES: usize = 16 * 1024;

/// Requests of one client under way: it may not fill the node's queue alone.
pub const CLIENT_REQUESTS_MAX: usize = 16_384;

/// Calls in MULTI's queue, and the bytes of their arguments: one log entry holds them all.
pub const QUEUE_CALLS_MAX: usize = 65_536;
/// See `QUEUE_CALLS_MAX`.
pub const QUEUE_BYTES_MAX: usize = node::limits::COMMAND_BYTES_MAX;

/// Words that errors begin with, counted each for itself: Redis's bound. A script may invent more.
pub const ERROR_CODES_MAX: usize = 128;

/// How long INFO waits until a follower has applied what its clients were answered about: a few
/// heartbeats. Cut off from its leader it answers with old figures after that.
pub const BEHIND_MAX: Duration = Duration::from_millis(500);

/// Keys that one client watches.
pub const WATCHES_MAX: usize = 65_536;

/// How long a new connection between nodes may take to prove that it knows the secret.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Calls of nodes that are answered at a time, each on a thread: more are dropped, and come again.
pub const HANDSHAKES_MAX: usize = 64;

/// How long to wait before a peer that could not be reached is tried again.
pub const REDIAL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a call of a peer may go unanswered: after a cut the next call finds the way again, while
/// the kernel would repeat the first one ever more seldom.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long what was sent to a peer may go without its acknowledgement. Then the link is given up and
/// the peer is called anew: the kernel alone would wait, after a cut, for as long again as that took.
pub const PEER_ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that wait for a peer that does not read: past it the connection is cut, and the protocol
/// repairs what was lost.
pub const PEER_OUT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long the making of a segment, or the reading of the oldest, rests between two steps while the log is busy and does not wait for it: commits
/// find the disk idle most of the time, and 25 MB of zeros a second are more than most logs grow by.
pub const FILL_REST: Duration = Duration::from_millis(10);

/// The niceness of the threads that make segments and snapshots: a tenth of a processor is left to them where
/// the loop could use all of it.
pub const BACKGROUND_NICE: i32 = 10;

/// How long a snapshot rests behind each part, unless it is behind what the log has grown by meanwhile: 2.5 MB
/// a second when nothing is written.
pub const SNAPSHOT_REST: Duration = Duration::from_millis(50);

/// How long one does that a learner waits for: 25 MB a second at the most, so that a
/// state of 100 MB is ready after four seconds.
pub const LEARNER_SNAPSHOT_REST: Duration = Duration::from_millis(5);

/// Shards of a cluster that was not told how many: enough that five nodes share them evenly, few
/// enough that an idle cluster costs nothing.
pub const SHARDS_DEFAULT: u32 = 16;

/// The most shards that a cluster can have: one core serves them all, and each costs a heartbeat, a
/// log of its own and the memory of an empty keyspace (some 200 KiB).
pub const SHARDS_MAX: u32 = 1_024;

/// The most replicas that a shard can be told to have; see `hashring`.
pub const REPLICAS_MAX: u32 = hashring::REPLICAS_MAX as u32;

/// A group that nobody used for so long hibernates. Its next user waits for one round between its
/// replicas, so it is long against the pauses of a client that is at work.
pub const HIBERNATE_AFTER: Duration = Duration::from_secs(5);

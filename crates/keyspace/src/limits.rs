//! The limits of the keyspace, each with its reason.

/// Databases that SELECT can reach: Redis's default.
pub const DATABASES: usize = 16;

/// Bytes of one string value: Redis's `proto-max-bulk-len`.
pub const STRING_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Entries in a segment of a dictionary. Inserting moves half of them (about 2 KiB, 40 ns), so a
/// segment stays near the size where that costs less than a cache miss.
pub const SEGMENT_ENTRIES_MAX: usize = 64;

/// Expired keys removed by one tick, so that a mass expiry cannot stall the shard.
pub const EXPIRES_PER_TICK_MAX: usize = 4_096;

/// Bytes of a reply of random members with repetition, whose length the client sets freely: Redis
/// closes such a client at its output limit, and no use needs more.
pub const RANDOM_REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Draws up to which a place of a table is looked up for each. A look-up walks the segments (a 45th
/// of the entries), so for more draws one walk over all entries is cheaper.
pub const NTH_DRAWS_MAX: usize = 128;

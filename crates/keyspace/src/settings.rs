//! Settings that change what the keyspace does. They are part of the state: CONFIG SET of one of
//! them goes through the log, so that every replica has the same.

use stdx::codec::{Malformed, Reader, put_varint};

/// Sizes up to which a value keeps its compact encoding, and which events are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub hash_max_listpack_entries: u64,
    pub hash_max_listpack_value: u64,
    /// Positive: entries; -1 to -5: 4 to 64 KiB.
    pub list_max_listpack_size: i64,
    pub set_max_intset_entries: u64,
    pub zset_max_listpack_entries: u64,
    pub zset_max_listpack_value: u64,
    /// The classes of `notify-keyspace-events`, as a set of `context::NOTIFY_` bits.
    pub notify: u32,
    pub list_compress_depth: u64,
    pub proto_max_bulk_len: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            hash_max_listpack_entries: 128,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            set_max_intset_entries: 512,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            notify: 0,
            list_compress_depth: 0,
            proto_max_bulk_len: crate::limits::STRING_BYTES_MAX as u64,
        }
    }
}

impl Settings {
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        for value in [
            self.hash_max_listpack_entries,
            self.hash_max_listpack_value,
            self.list_max_listpack_size as u64,
            self.set_max_intset_entries,
            self.zset_max_listpack_entries,
            self.zset_max_listpack_value,
            u64::from(self.notify),
            self.list_compress_depth,
            self.proto_max_bulk_len,
        ] {
            put_varint(out, value);
        }
    }

    pub(crate) fn load(reader: &mut Reader<'_>) -> Result<Settings, Malformed> {
        Ok(Settings {
            hash_max_listpack_entries: reader.varint()?,
            hash_max_listpack_value: reader.varint()?,
            list_max_listpack_size: reader.varint()? as i64,
            set_max_intset_entries: reader.varint()?,
            zset_max_listpack_entries: reader.varint()?,
            zset_max_listpack_value: reader.varint()?,
            notify: reader.varint()? as u32,
            list_compress_depth: reader.varint()?,
            proto_max_bulk_len: reader.varint()?,
        })
    }
}

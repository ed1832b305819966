//! The bytes that say what follows, as `rdb.h` has them.

/// Types of values.
pub(crate) const STRING: u8 = 0;
pub(crate) const LIST: u8 = 1;
pub(crate) const SET: u8 = 2;
pub(crate) const ZSET: u8 = 3;
pub(crate) const HASH: u8 = 4;
pub(crate) const ZSET_2: u8 = 5;
pub(crate) const MODULE: u8 = 6;
pub(crate) const MODULE_2: u8 = 7;
pub(crate) const HASH_ZIPMAP: u8 = 9;
pub(crate) const LIST_ZIPLIST: u8 = 10;
pub(crate) const SET_INTSET: u8 = 11;
pub(crate) const ZSET_ZIPLIST: u8 = 12;
pub(crate) const HASH_ZIPLIST: u8 = 13;
pub(crate) const LIST_QUICKLIST: u8 = 14;
pub(crate) const STREAM: u8 = 15;
pub(crate) const HASH_LISTPACK: u8 = 16;
pub(crate) const ZSET_LISTPACK: u8 = 17;
pub(crate) const LIST_QUICKLIST_2: u8 = 18;
pub(crate) const STREAM_2: u8 = 19;
pub(crate) const SET_LISTPACK: u8 = 20;
pub(crate) const STREAM_3: u8 = 21;

/// Marks between values.
pub(crate) const FUNCTION_2: u8 = 245;
pub(crate) const FUNCTION: u8 = 246;
pub(crate) const MODULE_AUX: u8 = 247;
pub(crate) const IDLE: u8 = 248;
pub(crate) const FREQ: u8 = 249;
pub(crate) const AUX: u8 = 250;
pub(crate) const RESIZEDB: u8 = 251;
pub(crate) const EXPIRETIME_MS: u8 = 252;
pub(crate) const EXPIRETIME: u8 = 253;
pub(crate) const SELECTDB: u8 = 254;
pub(crate) const EOF: u8 = 255;

/// What a length may be instead: the string is a number, or compressed.
pub(crate) const INT8: u64 = 0;
pub(crate) const INT16: u64 = 1;
pub(crate) const INT32: u64 = 2;
pub(crate) const LZF: u64 = 3;

/// Pieces of a module's value.
pub(crate) const MODULE_EOF: u64 = 0;
pub(crate) const MODULE_SINT: u64 = 1;
pub(crate) const MODULE_UINT: u64 = 2;
pub(crate) const MODULE_FLOAT: u64 = 3;
pub(crate) const MODULE_DOUBLE: u64 = 4;
pub(crate) const MODULE_STRING: u64 = 5;

/// How a node of a list is kept.
pub(crate) const NODE_PLAIN: u64 = 1;
pub(crate) const NODE_PACKED: u64 = 2;

/// Of an entry within a stream's node.
pub(crate) const ENTRY_DELETED: i64 = 1;
pub(crate) const ENTRY_SAME_FIELDS: i64 = 2;

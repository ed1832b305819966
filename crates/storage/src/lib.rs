//! Durability: the write-ahead log, snapshots and votes, on a disk that may fail.

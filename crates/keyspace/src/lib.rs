//! Meaning: what a log of commands does to a shard of keys.

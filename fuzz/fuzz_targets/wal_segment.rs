//! Segments of the write-ahead log: whatever lies on the disk, opening it never panics, and the
//! second opening finds what the first one left.
//!
//! The first byte says whether the rest is a segment as it is, or a script of records that get the
//! right checksums, to test what is behind them.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    // Damage is an answer, too.
    let _found = match kind % 2 {
        0 => storage::wal::fuzz_segment(rest),
        _ => storage::wal::fuzz_records(rest),
    };
});

//! A segment of the write-ahead log: whatever lies on the disk, opening it never panics, and the
//! second opening finds what the first one left.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Damage is an answer, too.
    let _found = storage::wal::fuzz_segment(data);
});

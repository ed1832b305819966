//! The door for fuzzing: arbitrary bytes as a segment of a log.

use std::sync::Arc;

use super::recovery::Recovered;
use super::writer::{Options, Wal};
use crate::Error;
use crate::disk::SimDisk;
use crate::limits::SEGMENT_BYTES_MIN;

/// Opens a log whose first segment is these bytes, and opens it once more as the first opening left
/// it. Must never panic; whatever the bytes are, the second opening finds what the first one found.
pub fn fuzz_segment(bytes: &[u8]) -> Result<Recovered, Error> {
    let disk = SimDisk::new(0);
    disk.put(&super::segment::path(1), bytes);
    let options = Options { segment_bytes: SEGMENT_BYTES_MIN };
    let (wal, first) = Wal::open(Arc::new(disk.clone()), options)?;
    wal.check();
    drop(wal);
    let (wal, second) = Wal::open(Arc::new(disk), options)?;
    wal.check();
    assert_eq!(first.groups, second.groups, "opening changes nothing");
    Ok(first)
}

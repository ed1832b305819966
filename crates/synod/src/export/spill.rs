//! What a value has beyond some MiB waits in a file: the number of its elements, which is known last,
//! stands before them in a dump.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use rdb::Writer;

use crate::import::nameless;
use crate::limits::{PART_BYTES, SPILL_BYTES};

/// The beginning of a value, if it is large.
pub(super) struct Spill {
    dir: PathBuf,
    file: Option<File>,
}

impl Spill {
    pub(super) fn new(dir: PathBuf) -> Spill {
        Spill { dir, file: None }
    }

    /// Moves the bytes to the file, if they are many.
    pub(super) fn overflow(&mut self, bytes: &mut Vec<u8>) -> Result<(), String> {
        if bytes.len() < SPILL_BYTES {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(nameless(&self.dir)?),
        };
        file.write_all(bytes).map_err(|error| format!("keeping a large value: {error}"))?;
        bytes.clear();
        Ok(())
    }

    /// Writes what was moved, and then the rest.
    pub(super) fn pour<W: Write>(
        &mut self,
        rest: &[u8],
        writer: &mut Writer<W>,
    ) -> std::io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.seek(SeekFrom::Start(0))?;
            let mut part = vec![0; PART_BYTES];
            loop {
                let count = file.read(&mut part)?;
                if count == 0 {
                    break;
                }
                writer.body(&part[..count])?;
            }
        }
        writer.body(rest)
    }
}

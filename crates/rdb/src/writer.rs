//! A dump that Redis 7.0 loads, in version 10.
//!
//! The order is Redis's: what the dump is, libraries, then for each database its number and its keys.

use std::io::{self, Write};

use crate::checksum::{self, Checksum};
use crate::encode::{put_length, put_stream_end, put_text};
use crate::item::{Expiry, Kind, StreamEnd};
use crate::limits::BUFFER_BYTES;
use crate::opcode;

/// The version that is written, Redis 7.0's.
const MAGIC: &[u8; 9] = b"REDIS0010";

/// Writes a dump; without `finish` it is none.
pub struct Writer<W> {
    out: W,
    /// What is yet to be written and summed.
    buffer: Vec<u8>,
    checksum: Checksum,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a dump.
    pub fn new(out: W) -> Writer<W> {
        let buffer = MAGIC.to_vec();
        Writer { out, buffer, checksum: checksum::begin(), written: 0 }
    }

    /// How many bytes the dump has.
    pub fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Is there nothing? There never is.
    pub fn is_empty(&self) -> bool {
        false
    }

    fn flush_above(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() > bytes {
            self.checksum.update(&self.buffer);
            self.out.write_all(&self.buffer)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Something about the dump.
    pub fn aux(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.buffer.push(opcode::AUX);
        put_text(&mut self.buffer, name);
        put_text(&mut self.buffer, value);
        self.flush_above(BUFFER_BYTES)
    }

    /// The code of a library of functions.
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        self.buffer.push(opcode::FUNCTION_2);
        put_text(&mut self.buffer, code);
        self.flush_above(BUFFER_BYTES)
    }

    /// The keys that follow are in this database, and about so many.
    pub fn database(&mut self, number: u64, keys: u64) -> io::Result<()> {
        self.buffer.push(opcode::SELECTDB);
        put_length(&mut self.buffer, number);
        self.buffer.push(opcode::RESIZEDB);
        put_length(&mut self.buffer, keys);
        put_length(&mut self.buffer, 0);
        self.flush_above(BUFFER_BYTES)
    }

    fn key(&mut self, byte: u8, key: &[u8], expiry: Option<Expiry>) {
        if let Some(Expiry(ms)) = expiry {
            self.buffer.push(opcode::EXPIRETIME_MS);
            self.buffer.extend_from_slice(&ms.to_le_bytes());
        }
        self.buffer.push(byte);
        put_text(&mut self.buffer, key);
    }

    /// A string.
    pub fn string(&mut self, key: &[u8], expiry: Option<Expiry>, value: &[u8]) -> io::Result<()> {
        self.key(opcode::STRING, key, expiry);
        put_text(&mut self.buffer, value);
        self.flush_above(BUFFER_BYTES)
    }

    /// Begins a list, set, hash or sorted set of so many elements; what a `Body` gathered follows.
    pub fn collection(
        &mut self,
        kind: Kind,
        key: &[u8],
        expiry: Option<Expiry>,
        count: u64,
    ) -> io::Result<()> {
        assert!(count > 0, "no key holds an empty {kind}");
        let byte = match kind {
            Kind::List => opcode::LIST,
            Kind::Set => opcode::SET,
            Kind::SortedSet => opcode::ZSET_2,
            Kind::Hash => opcode::HASH,
            Kind::String | Kind::Stream | Kind::Module(_) => {
                unreachable!("a {kind} is no collection")
            }
        };
        self.key(byte, key, expiry);
        put_length(&mut self.buffer, count);
        self.flush_above(BUFFER_BYTES)
    }

    /// Begins a stream of so many nodes; what a `StreamBody` gathered follows, and `stream_end`.
    pub fn stream(&mut self, key: &[u8], expiry: Option<Expiry>, nodes: u64) -> io::Result<()> {
        self.key(opcode::STREAM_2, key, expiry);
        put_length(&mut self.buffer, nodes);
        self.flush_above(BUFFER_BYTES)
    }

    /// What was gathered for the value that was begun, in one part or several.
    pub fn body(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(BUFFER_BYTES) {
            self.buffer.extend_from_slice(part);
            self.flush_above(BUFFER_BYTES)?;
        }
        Ok(())
    }

    /// What a stream remembers, after its nodes.
    pub fn stream_end(&mut self, end: StreamEnd) -> io::Result<()> {
        put_stream_end(&mut self.buffer, end);
        self.flush_above(BUFFER_BYTES)
    }

    /// Ends the dump with its checksum.
    pub fn finish(mut self) -> io::Result<W> {
        self.buffer.push(opcode::EOF);
        self.flush_above(0)?;
        let checksum = self.checksum.finalize();
        self.out.write_all(&checksum.to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }
}

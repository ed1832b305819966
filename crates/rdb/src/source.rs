//! The bytes of a dump in order, counted and summed as they are taken.

use std::io::{ErrorKind, Read};

use crate::checksum::{self, Checksum};
use crate::error::{Error, Reason};
use crate::limits::{BUFFER_BYTES, READ_AHEAD_BYTES, STRING_BYTES_MAX};
use crate::opcode;
use crate::text::TextBuf;

/// A length, or what stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Plain(u64),
    /// The string is encoded in this way.
    Encoded(u64),
}

pub(crate) struct Source<R> {
    input: R,
    buffer: Vec<u8>,
    /// `buffer[at..end]` is what was read from the input and not taken.
    at: usize,
    end: usize,
    /// `buffer[summed..at]` is taken and not in the checksum.
    summed: usize,
    checksum: Checksum,
    /// The offset of `buffer[0]`.
    base: u64,
    packed: Vec<u8>,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(input: R) -> Source<R> {
        Source {
            input,
            buffer: vec![0; BUFFER_BYTES],
            at: 0,
            end: 0,
            summed: 0,
            checksum: checksum::begin(),
            base: 0,
            packed: Vec::new(),
        }
    }

    /// How many bytes were taken.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// An error at this place.
    pub(crate) fn error(&self, reason: Reason) -> Error {
        Error { offset: self.offset(), reason }
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Error {
        self.error(Reason::Malformed(what))
    }

    /// The checksum of all that was taken.
    pub(crate) fn checksum(&mut self) -> u64 {
        self.sum();
        self.checksum.clone().finalize()
    }

    fn sum(&mut self) {
        self.checksum.update(&self.buffer[self.summed..self.at]);
        self.summed = self.at;
    }

    /// Reads more behind what is left; nothing comes at the end of the input.
    fn fill(&mut self) -> Result<usize, Error> {
        self.sum();
        self.buffer.copy_within(self.at..self.end, 0);
        self.base += self.at as u64;
        (self.end, self.at, self.summed) = (self.end - self.at, 0, 0);
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(Reason::Io(error))),
            }
        }
    }

    /// Are there no more bytes?
    pub(crate) fn is_at_end(&mut self) -> Result<bool, Error> {
        Ok(self.at == self.end && self.fill()? == 0)
    }

    /// The next few bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        while self.end - self.at < N {
            if self.fill()? == 0 {
                return Err(self.error(Reason::Truncated));
            }
        }
        let mut array = [0; N];
        array.copy_from_slice(&self.buffer[self.at..self.at + N]);
        self.at += N;
        Ok(array)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// Appends the next `len` bytes. Memory grows with what was read, not with what was promised.
    pub(crate) fn take(&mut self, len: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        if len > STRING_BYTES_MAX {
            return Err(self.error(Reason::TooLong(len)));
        }
        let mut missing = len as usize;
        out.reserve(missing.min(READ_AHEAD_BYTES));
        while missing > 0 {
            if self.at == self.end && self.fill()? == 0 {
                return Err(self.error(Reason::Truncated));
            }
            let part = missing.min(self.end - self.at);
            out.extend_from_slice(&self.buffer[self.at..self.at + part]);
            self.at += part;
            missing -= part;
        }
        Ok(())
    }

    pub(crate) fn length_or_encoding(&mut self) -> Result<Length, Error> {
        let first = self.byte()?;
        let low = u64::from(first & 63);
        Ok(Length::Plain(match first >> 6 {
            0 => low,
            1 => low << 8 | u64::from(self.byte()?),
            2 if first == 0x80 => u64::from(u32::from_be_bytes(self.array()?)),
            2 if first == 0x81 => u64::from_be_bytes(self.array()?),
            2 => return Err(self.malformed("a length is written in no known way")),
            _ => return Ok(Length::Encoded(low)),
        }))
    }

    pub(crate) fn length(&mut self) -> Result<u64, Error> {
        match self.length_or_encoding()? {
            Length::Plain(length) => Ok(length),
            Length::Encoded(_) => Err(self.malformed("a string stands in the place of a length")),
        }
    }

    /// Appends a string, however it is encoded.
    pub(crate) fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let int = match self.length_or_encoding()? {
            Length::Plain(len) => return self.take(len, out),
            Length::Encoded(opcode::LZF) => return self.compressed(out),
            Length::Encoded(opcode::INT8) => i32::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(opcode::INT16) => i32::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(opcode::INT32) => i32::from_le_bytes(self.array()?),
            Length::Encoded(_) => {
                return Err(self.malformed("a string is encoded in no known way"));
            }
        };
        out.extend_from_slice(itoa::Buffer::new().format(int).as_bytes());
        Ok(())
    }

    fn compressed(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let (packed_len, len) = (self.length()?, self.length()?);
        if len > STRING_BYTES_MAX {
            return Err(self.error(Reason::TooLong(len)));
        }
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        let taken = self.take(packed_len, &mut packed);
        let unpacked = taken.and_then(|()| {
            crate::lzf::unpack(&packed, len as usize, out).map_err(|what| self.malformed(what))
        });
        packed.shrink_to(BUFFER_BYTES);
        self.packed = packed;
        unpacked
    }

    /// A string as the next of `texts`.
    pub(crate) fn text(&mut self, texts: &mut TextBuf) -> Result<(), Error> {
        self.string(texts.bytes_mut())?;
        texts.close();
        Ok(())
    }

    /// Eight bytes in the order in which Redis writes times and doubles.
    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads past a string.
    pub(crate) fn skip_string(&mut self) -> Result<(), Error> {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        let skipped = match self.length_or_encoding()? {
            Length::Plain(len) => self.take(len, &mut packed),
            Length::Encoded(opcode::LZF) => {
                let (packed_len, _) = (self.length()?, self.length()?);
                self.take(packed_len, &mut packed)
            }
            Length::Encoded(opcode::INT8) => self.array::<1>().map(|_| ()),
            Length::Encoded(opcode::INT16) => self.array::<2>().map(|_| ()),
            Length::Encoded(opcode::INT32) => self.array::<4>().map(|_| ()),
            Length::Encoded(_) => Err(self.malformed("a string is encoded in no known way")),
        };
        packed.shrink_to(BUFFER_BYTES);
        self.packed = packed;
        skipped
    }
}

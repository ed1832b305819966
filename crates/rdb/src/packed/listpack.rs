//! Listpacks, read and written.
//!
//! ```text
//! bytes u32 │ elements u16 │ entry │ entry │ … │ FF          entry: encoding, data, length backwards
//!
//! 0iiiiiii                 0 to 127            1110llll l         string of up to 4095 bytes
//! 10llllll                 string up to 63     F0 llll            string, length in four bytes
//! 110iiiii i               13 bits             F1 to F4           16, 24, 32, 64 bits
//! ```
//!
//! Source: `listpack.c`.

use super::{Element, Head, Next, SHORT, at_end, int, slice, u32_le};

/// Bytes before the first entry.
const HEAD_BYTES: usize = 6;

/// What stands for a number of elements that two bytes cannot hold.
const MANY: u16 = u16::MAX;

pub(super) fn head(bytes: &[u8]) -> Result<Head, &'static str> {
    if u32_le(bytes, 0)? != bytes.len() {
        return Err("a listpack has not as many bytes as it says");
    }
    let (count, first) = slice(bytes, 4, 2)?;
    let count = u16::from_le_bytes([count[0], count[1]]);
    Ok(Head { first, count: (count != MANY).then_some(usize::from(count)) })
}

pub(super) fn next(bytes: &[u8], at: usize) -> Next<'_> {
    if at_end(bytes, at)? {
        return Ok(None);
    }
    let first = bytes[at];
    let second = || bytes.get(at + 1).map(|&byte| usize::from(byte)).ok_or(SHORT);
    let high = |mask: u8| usize::from(first & mask) << 8;
    let string = |start: usize, len: usize| {
        slice(bytes, start, len).map(|(text, end)| (Element::Bytes(text), end))
    };
    let integer = |len: usize| int(bytes, at + 1, len).map(|(int, end)| (Element::Int(int), end));
    let (element, end) = match first {
        0..=0x7f => (Element::Int(i64::from(first)), at + 1),
        0x80..=0xbf => string(at + 1, usize::from(first & 0x3f))?,
        0xc0..=0xdf => {
            let bits = (high(0x1f) | second()?) as i64;
            (Element::Int(if bits < 4096 { bits } else { bits - 8192 }), at + 2)
        }
        0xe0..=0xef => string(at + 2, high(0x0f) | second()?)?,
        0xf0 => string(at + 5, u32_le(bytes, at + 1)?)?,
        0xf1 => integer(2)?,
        0xf2 => integer(3)?,
        0xf3 => integer(4)?,
        0xf4 => integer(8)?,
        _ => return Err("an entry of a listpack is encoded in no known way"),
    };
    let next = end + backwards_len(end - at);
    match next < bytes.len() {
        true => Ok(Some((element, next))),
        false => Err(SHORT),
    }
}

/// Bytes of the length that stands behind an entry of this length, for walks from the end.
fn backwards_len(entry: usize) -> usize {
    match entry {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// A listpack that is made.
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    count: u64,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder { bytes: vec![0; HEAD_BYTES], count: 0 }
    }

    /// Appends a byte string. Those that are integers may be kept as strings: Redis takes both.
    pub(crate) fn text(&mut self, text: &[u8]) {
        let start = self.bytes.len();
        match text.len() {
            len @ 0..=63 => self.bytes.push(0x80 | len as u8),
            len @ 64..=4095 => {
                self.bytes.extend_from_slice(&[0xe0 | (len >> 8) as u8, len as u8]);
            }
            len => {
                self.bytes.push(0xf0);
                self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
            }
        }
        self.bytes.extend_from_slice(text);
        self.end_entry(start);
    }

    /// Appends an integer.
    pub(crate) fn int(&mut self, int: i64) {
        let start = self.bytes.len();
        match int {
            0..=127 => self.bytes.push(int as u8),
            _ => {
                self.bytes.push(0xf4);
                self.bytes.extend_from_slice(&int.to_le_bytes());
            }
        }
        self.end_entry(start);
    }

    /// Writes the length of the entry that began at `start` behind it, seven bits a byte, so that
    /// it can be read from its last byte on: all but the first have their highest bit set.
    fn end_entry(&mut self, start: usize) {
        let entry = self.bytes.len() - start;
        for place in (0..backwards_len(entry)).rev() {
            let bits = (entry >> (7 * place)) as u8 & 127;
            let is_first = place + 1 == backwards_len(entry);
            self.bytes.push(if is_first { bits } else { bits | 128 });
        }
        self.count += 1;
    }

    /// The whole of it.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(255);
        let len = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        let count = u16::try_from(self.count).unwrap_or(MANY);
        self.bytes[4..6].copy_from_slice(&count.to_le_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Element, Form, Packed};
    use super::Builder;

    #[test]
    fn what_is_built_is_read() {
        let ints = [0, 127, 128, -1, 4095, i64::MIN, i64::MAX];
        let lens = [0, 63, 64, 120, 127, 4095, 4096, 16_370, 16_390, 3_000_000];
        let texts: Vec<Vec<u8>> = lens.iter().map(|len| vec![b'x'; *len]).collect();
        let mut builder = Builder::new();
        ints.iter().for_each(|int| builder.int(*int));
        texts.iter().for_each(|text| builder.text(text));
        let mut packed = Packed::new();
        packed.buffer().extend_from_slice(&builder.finish());
        packed.open(Form::Listpack).unwrap();
        for int in ints {
            assert_eq!(packed.next(), Ok(Some(Element::Int(int))));
        }
        for text in &texts {
            assert_eq!(packed.next(), Ok(Some(Element::Bytes(text))));
        }
        assert_eq!(packed.next(), Ok(None));
        assert_eq!(packed.next(), Ok(None), "the end stays the end");
    }

    #[test]
    fn thirteen_bits_have_a_sign() {
        for (entry, int) in [([0xdf, 0xff], -1), ([0xd0, 0], -4096), ([0xcf, 0xff], 4095)] {
            let bytes = [10, 0, 0, 0, 1, 0, entry[0], entry[1], 2, 255];
            let mut packed = Packed::new();
            packed.buffer().extend_from_slice(&bytes);
            packed.open(Form::Listpack).unwrap();
            assert_eq!(packed.int(), Ok(int));
        }
    }
}

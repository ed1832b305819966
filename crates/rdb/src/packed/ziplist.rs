//! Ziplists, which Redis kept small collections in before version 7.
//!
//! ```text
//! bytes u32 │ last u32 │ elements u16 │ entry │ … │ FF      entry: length before, encoding, data
//!
//! 00llllll                 string up to 63     C0 D0 E0           16, 32, 64 bits
//! 01llllll l               string up to 16383  F0 FE              24, 8 bits
//! 80 LLLL                  longer string       F1 to FD           0 to 12
//! ```
//!
//! The lengths of strings have their highest byte first, all else the lowest. Source: `ziplist.c`.

use super::{Element, Head, Next, SHORT, at_end, int, slice, u32_le};

/// Past it, or unknown, the number of elements is not said.
const MANY: u16 = u16::MAX;

pub(super) fn head(bytes: &[u8]) -> Result<Head, &'static str> {
    if u32_le(bytes, 0)? != bytes.len() {
        return Err("a ziplist has not as many bytes as it says");
    }
    let (count, first) = slice(bytes, 8, 2)?;
    let count = u16::from_le_bytes([count[0], count[1]]);
    Ok(Head { first, count: (count != MANY).then_some(usize::from(count)) })
}

pub(super) fn next(bytes: &[u8], at: usize) -> Next<'_> {
    if at_end(bytes, at)? {
        return Ok(None);
    }
    // The length of the entry before, in one byte or in five.
    let at = if bytes[at] == 254 { at + 5 } else { at + 1 };
    let first = *bytes.get(at).ok_or(SHORT)?;
    let string = |start: usize, len: usize| {
        slice(bytes, start, len).map(|(text, end)| (Element::Bytes(text), end))
    };
    let integer = |len: usize| int(bytes, at + 1, len).map(|(int, end)| (Element::Int(int), end));
    let found = match first {
        0..=0x3f => string(at + 1, usize::from(first)),
        0x40..=0x7f => {
            let low = *bytes.get(at + 1).ok_or(SHORT)?;
            string(at + 2, usize::from(first & 0x3f) << 8 | usize::from(low))
        }
        0x80..=0xbf => {
            let (len, start) = slice(bytes, at + 1, 4)?;
            string(start, len.iter().fold(0, |len, &digit| len << 8 | usize::from(digit)))
        }
        0xc0 => integer(2),
        0xd0 => integer(4),
        0xe0 => integer(8),
        0xf0 => integer(3),
        0xfe => integer(1),
        0xf1..=0xfd => Ok((Element::Int(i64::from(first & 15) - 1), at + 1)),
        _ => Err("an entry of a ziplist is encoded in no known way"),
    };
    found.map(Some)
}

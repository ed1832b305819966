//! Zipmaps, which Redis kept small hashes in before version 2.6.
//!
//! ```text
//! fields u8 │ length, field │ length, unused u8, value, unused bytes │ … │ FF
//! ```
//!
//! A length below 254 is one byte; else it is 254 and four more. Source: `zipmap.c`.

use super::{Element, Head, Next, SHORT, at_end, slice, u32_le};

/// Past it the number of fields is not said.
const MANY: u8 = 254;

pub(super) fn head(bytes: &[u8]) -> Result<Head, &'static str> {
    let count = *bytes.first().ok_or(SHORT)?;
    Ok(Head { first: 1, count: (count < MANY).then_some(usize::from(count) * 2) })
}

pub(super) fn next(bytes: &[u8], at: usize, is_value: bool) -> Next<'_> {
    if at_end(bytes, at)? {
        return Ok(None);
    }
    let (len, at) = match bytes[at] {
        MANY => (u32_le(bytes, at + 1)?, at + 5),
        len => (usize::from(len), at + 1),
    };
    let (unused, at) = match is_value {
        true => (usize::from(*bytes.get(at).ok_or(SHORT)?), at + 1),
        false => (0, at),
    };
    let (text, end) = slice(bytes, at, len)?;
    Ok(Some((Element::Bytes(text), end + unused)))
}

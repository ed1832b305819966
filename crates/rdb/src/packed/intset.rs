//! Intsets: small sets of integers.
//!
//! ```text
//! width u32 (2, 4 or 8) │ count u32 │ integers of that width
//! ```
//!
//! All lowest byte first. Source: `intset.h`.

use super::{Element, Head, Next, int, u32_le};

pub(super) fn head(bytes: &[u8]) -> Result<Head, &'static str> {
    let (width, count) = (u32_le(bytes, 0)?, u32_le(bytes, 4)?);
    if !matches!(width, 2 | 4 | 8) {
        return Err("the integers of a set have no known width");
    }
    match count.checked_mul(width).and_then(|len| len.checked_add(8)) == Some(bytes.len()) {
        true => Ok(Head { first: 8, count: Some(count) }),
        false => Err("a set of integers has not as many bytes as it says"),
    }
}

pub(super) fn next(bytes: &[u8], at: usize) -> Next<'_> {
    if at == bytes.len() {
        return Ok(None);
    }
    let (int, end) = int(bytes, at, u32_le(bytes, 0)?)?;
    Ok(Some((Element::Int(int), end)))
}

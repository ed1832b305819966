//! Numbers as Redis reads and writes them.

use crate::reject::Reject;

/// A 64-bit integer in decimal: no sign but a minus, no leading zero, no space.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // Counted downwards, because the negative range is the larger one.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// As `parse_i64`, refused with Redis's text.
pub fn integer(text: &[u8]) -> Result<i64, Reject> {
    parse_i64(text).ok_or(Reject::NotInteger)
}

/// An integer of at least `least`, which is not negative; anything else is refused with this text.
pub fn at_least(text: &[u8], least: i64, refusal: &'static str) -> Result<usize, Reject> {
    let number = parse_i64(text).filter(|number| *number >= least);
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Reject::text(refusal))
}

#[cfg(test)]
mod tests {
    use super::parse_i64;

    #[test]
    fn only_canonical_integers_are_integers() {
        for (text, expect) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1x", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), expect, "{text:?}");
        }
    }
}

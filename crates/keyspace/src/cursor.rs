//! The arguments that SCAN, SSCAN, HSCAN and ZSCAN share: `cursor [MATCH pattern] [COUNT count]`.

use wire::Args;

use crate::glob;
use crate::number::integer;
use crate::reject::Reject;

/// What is to be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan<'a> {
    pub count: usize,
    pattern: Option<&'a [u8]>,
    /// The name of a type, which only SCAN takes.
    pub type_name: Option<&'a [u8]>,
}

/// Reads a cursor as C's `strtoul` does, but refuses white space in front.
pub fn parse_cursor(text: &[u8]) -> Result<u64, Reject> {
    let invalid = Reject::text("ERR invalid cursor");
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        // Redis takes the empty text for 0, and a sign alone for no number.
        return if text.is_empty() { Ok(0) } else { Err(invalid) };
    }
    let mut value = 0u64;
    for digit in digits {
        let next = value.checked_mul(10).filter(|_| digit.is_ascii_digit());
        let next = next.and_then(|value| value.checked_add(u64::from(digit - b'0')));
        value = next.ok_or_else(|| invalid.clone())?;
    }
    Ok(if negative { value.wrapping_neg() } else { value })
}

impl<'a> Scan<'a> {
    /// Reads the options from argument `from` on.
    pub fn parse(args: Args<'a>, from: usize) -> Result<Scan<'a>, Reject> {
        let scan = Scan::parse_typed(args, from)?;
        if scan.type_name.is_some() { Err(Reject::Syntax) } else { Ok(scan) }
    }

    /// As `parse`, for SCAN, which also takes `TYPE name`.
    pub fn parse_typed(args: Args<'a>, from: usize) -> Result<Scan<'a>, Reject> {
        const COUNT_DEFAULT: usize = 10;
        let mut scan = Scan { count: COUNT_DEFAULT, pattern: None, type_name: None };
        let mut at = from;
        while at < args.len() {
            let Some(operand) = args.get(at + 1) else { return Err(Reject::Syntax) };
            if args.is(at, "count") {
                let count = integer(operand)?;
                scan.count = usize::try_from(count).map_err(|_| Reject::Syntax)?;
                if scan.count == 0 {
                    return Err(Reject::Syntax);
                }
            } else if args.is(at, "match") {
                scan.pattern = (operand != b"*").then_some(operand);
            } else if args.is(at, "type") {
                scan.type_name = Some(operand);
            } else {
                return Err(Reject::Syntax);
            }
            at += 2;
        }
        Ok(scan)
    }

    /// Is this name wanted?
    pub fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

#[cfg(test)]
mod tests {
    use super::parse_cursor;

    #[test]
    fn cursors_are_read_as_by_strtoul() {
        for (text, expect) in [
            ("0", Some(0)),
            ("", Some(0)),
            ("+5", Some(5)),
            ("-1", Some(u64::MAX)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            (" 0", None),
            ("0x1", None),
            ("-", None),
        ] {
            assert_eq!(parse_cursor(text.as_bytes()).ok(), expect, "{text:?}");
        }
    }
}

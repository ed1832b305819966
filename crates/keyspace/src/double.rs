//! 64-bit floats as Redis reads and writes them: C's `strtod` and `%.17g`.
//!
//! Reading is correctly rounded, in base ten by the standard library and in base 16 here. Writing
//! prints 17 significant digits without trailing zeros, so that every double comes back as it was.

use wire::Reply;

use crate::reject::Reject;

/// Where `strtod` stopped and what it made of the text before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scan {
    pub value: f64,
    /// How many bytes were taken; 0 if there was no number.
    pub taken: usize,
    /// The number is too large or too small for a double; `value` is infinite or zero.
    pub out_of_range: bool,
}

/// Reads the longest prefix that is a number: decimal, hexadecimal, `inf` or `nan`, behind white
/// space and a sign.
pub fn scan(text: &[u8]) -> Scan {
    let space = text.iter().take_while(|byte| is_space(**byte)).count();
    let (sign, negative) = match text.get(space) {
        Some(b'-') => (1, true),
        Some(b'+') => (1, false),
        _ => (0, false),
    };
    let head = space + sign;
    let mut scan = scan_unsigned(&text[head..]);
    if scan.taken == 0 {
        return scan;
    }
    scan.taken += head;
    if negative {
        scan.value = -scan.value;
    }
    scan
}

/// A whole text that is a number, as ZADD takes a score: neither NaN nor out of range, and not
/// behind white space.
pub fn parse(text: &[u8]) -> Option<f64> {
    if text.first().is_none_or(|byte| is_space(*byte)) {
        return None;
    }
    let Scan { value, taken, out_of_range } = scan(text);
    (taken == text.len() && !out_of_range && !value.is_nan()).then_some(value)
}

/// As `parse`, refused with Redis's text.
pub fn float(text: &[u8]) -> Result<f64, Reject> {
    parse(text).ok_or(Reject::NotFloat)
}

/// Prints as C's `%.17g`; infinities as `inf` and `-inf`.
pub fn text(value: f64) -> String {
    const DIGITS: i32 = 17;
    if let Some(whole) = plain_integer(value) {
        return whole.to_string();
    }
    if !value.is_finite() || value == 0.0 {
        return match value {
            v if v.is_nan() => "nan",
            f64::INFINITY => "inf",
            f64::NEG_INFINITY => "-inf",
            _ => "-0",
        }
        .to_string();
    }
    let scientific = format!("{:.16e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the format has a decimal exponent");
    let digits = mantissa.replace('.', "");
    let sign = if value < 0.0 { "-" } else { "" };
    let cut = |fraction: &str| match fraction.trim_end_matches('0') {
        "" => String::new(),
        rest => format!(".{rest}"),
    };
    if !(-4..DIGITS).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let side = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{}e{side}{:02}", cut(rest), exponent.abs());
    }
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0{}", cut(&format!("{zeros}{digits}")));
    }
    let (whole, rest) = digits.split_at(exponent as usize + 1);
    format!("{sign}{whole}{}", cut(rest))
}

/// Writes a double as a reply; whole numbers, which most scores are, without an allocation.
pub fn reply(reply: &mut Reply<'_>, value: f64) {
    match plain_integer(value) {
        Some(whole) => reply.double(itoa::Buffer::new().format(whole)),
        None => reply.double(&text(value)),
    }
}

/// The value as an integer if 17 digits print it without a point or an exponent.
fn plain_integer(value: f64) -> Option<i64> {
    const LIMIT: f64 = 1e17;
    let whole = value as i64;
    let same = whole as f64 == value && value.abs() < LIMIT;
    (same && !(whole == 0 && value.is_sign_negative())).then_some(whole)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn scan_unsigned(text: &[u8]) -> Scan {
    let starts =
        |word: &[u8]| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    let fixed = |value, taken| Scan { value, taken, out_of_range: false };
    if starts(b"infinity") {
        return fixed(f64::INFINITY, 8);
    }
    if starts(b"inf") {
        return fixed(f64::INFINITY, 3);
    }
    if starts(b"nan") {
        return fixed(f64::NAN, 3 + nan_tail(&text[3..]));
    }
    if starts(b"0x")
        && let Some(scan) = scan_hex(&text[2..])
    {
        return Scan { taken: scan.taken + 2, ..scan };
    }
    scan_decimal(text)
}

/// The length of `(letters)` behind `nan`.
fn nan_tail(text: &[u8]) -> usize {
    if text.first() != Some(&b'(') {
        return 0;
    }
    let inside = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    let length = text[1..].iter().take_while(inside).count();
    if text.get(1 + length) == Some(&b')') { length + 2 } else { 0 }
}

fn scan_decimal(text: &[u8]) -> Scan {
    let run = |from: usize| {
        text.get(from..).unwrap_or(&[]).iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let whole = run(0);
    let mut end = whole;
    let mut digits = whole;
    if text.get(end) == Some(&b'.') {
        let fraction = run(end + 1);
        digits += fraction;
        if digits > 0 {
            end += 1 + fraction;
        }
    }
    if digits == 0 {
        return Scan { value: 0.0, taken: 0, out_of_range: false };
    }
    let mantissa_end = end;
    if let Some(b'e' | b'E') = text.get(end) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = run(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let number = std::str::from_utf8(&text[..end]).expect("digits and signs are ASCII");
    let value: f64 = number.parse().expect("this is the grammar of a decimal float");
    let is_zero = !text[..mantissa_end].iter().any(|byte| matches!(byte, b'1'..=b'9'));
    let out_of_range = value.is_infinite() || value == 0.0 && !is_zero;
    Scan { value, taken: end, out_of_range }
}

/// Digits behind `0x`; nothing if there is none, and then the `0` alone is the number.
fn scan_hex(text: &[u8]) -> Option<Scan> {
    /// Room for the sticky bit below the bits that count.
    const FULL: u64 = 1 << 59;
    let (mut mantissa, mut exponent, mut point, mut digits, mut end) = (0u64, 0i64, false, 0, 0);
    for byte in text {
        match (byte, char::from(*byte).to_digit(16)) {
            (b'.', _) if !point => point = true,
            (_, Some(digit)) => {
                digits += 1;
                if mantissa < FULL {
                    mantissa = mantissa << 4 | u64::from(digit);
                    exponent -= if point { 4 } else { 0 };
                } else {
                    mantissa |= u64::from(digit != 0);
                    exponent += if point { 0 } else { 4 };
                }
            }
            _ => break,
        }
        end += 1;
    }
    if digits == 0 {
        return None;
    }
    if let Some(b'p' | b'P') = text.get(end) {
        let (sign, negative) = match text.get(end + 1) {
            Some(b'-') => (1, true),
            Some(b'+') => (1, false),
            _ => (0, false),
        };
        let from = end + 1 + sign;
        let length = text[from.min(text.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
        if length > 0 {
            // Far beyond any exponent, and far below what could overflow.
            const EXPONENT_MAX: i64 = 1 << 40;
            let power = text[from..from + length].iter().fold(0i64, |power, digit| {
                (power * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX)
            });
            exponent += if negative { -power } else { power };
            end = from + length;
        }
    }
    let value = round_binary(mantissa, exponent);
    let out_of_range = value.is_infinite() || value == 0.0 && mantissa != 0;
    Some(Scan { value, taken: end, out_of_range })
}

/// `mantissa * 2^exponent`, rounded half to even.
fn round_binary(mantissa: u64, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let lead = i64::from(mantissa.leading_zeros());
    let mantissa = u128::from(mantissa << lead);
    let mut top = exponent - lead + 63;
    if top > 1023 {
        return f64::INFINITY;
    }
    let shift = 11 + (-1022 - top).max(0);
    if shift > 64 {
        return 0.0;
    }
    let (quotient, rest, half) =
        (mantissa >> shift, mantissa & ((1 << shift) - 1), 1u128 << (shift - 1));
    let up = rest > half || rest == half && quotient & 1 == 1;
    let quotient = quotient as u64 + u64::from(up);
    if top < -1022 {
        return f64::from_bits(quotient);
    }
    // Rounding up may have carried into the next power of two, whose fraction is zero.
    top += i64::from(quotient >> 53 == 1);
    let fraction = quotient & ((1 << 52) - 1);
    if top > 1023 { f64::INFINITY } else { f64::from_bits(((top + 1023) as u64) << 52 | fraction) }
}

#[cfg(test)]
mod tests {
    use super::{Scan, parse, scan, text};

    #[test]
    fn doubles_print_as_in_c() {
        for (value, expect) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (1.5, "1.5"),
            (0.1, "0.10000000000000001"),
            (3.2, "3.2000000000000002"),
            (-0.0001, "-0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (99999999999999984.0, "99999999999999984"),
            (1e17, "1e+17"),
            (1.2345e200, "1.2345e+200"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9007199254740993.0, "9007199254740992"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(text(value), expect);
        }
    }

    #[test]
    fn texts_are_read_as_by_strtod() {
        for (text, expect) in [
            ("1", Some(1.0)),
            ("-0", Some(-0.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("+1e2", Some(100.0)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("0x10", Some(16.0)),
            ("0x1.8p1", Some(3.0)),
            ("0x.1p-2", Some(0.015625)),
            ("0x1.fffffffffffff8p0", Some(2.0)),
            ("0x1.fffffffffffff7p0", Some(1.9999999999999998)),
            ("0x1p-1074", Some(5e-324)),
            ("0x1p-1075", None),
            ("0x1.8p-1075", Some(5e-324)),
            ("0x1p1024", None),
            ("1e309", None),
            ("1e-400", None),
            ("0e-400", Some(0.0)),
            ("1e99999999999999999999", None),
            ("nan", None),
            ("-nan(x)", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("1e", None),
            ("0x", None),
            (".", None),
            ("-", None),
            ("infx", None),
        ] {
            assert_eq!(
                parse(text.as_bytes()).map(f64::to_bits),
                expect.map(f64::to_bits),
                "{text}"
            );
        }
    }

    #[test]
    fn a_scan_stops_where_the_number_ends() {
        for (text, value, taken) in
            [(" 1x", 1.0, 2), ("0x", 0.0, 1), ("1e+", 1.0, 1), ("x", 0.0, 0), ("0xg", 0.0, 1)]
        {
            let expect = Scan { value, taken, out_of_range: false };
            assert_eq!(scan(text.as_bytes()), expect, "{text}");
        }
    }

    #[test]
    fn every_double_comes_back_from_its_text() {
        let mut rng = stdx::Rng::new(7);
        for _ in 0..10_000 {
            let value = f64::from_bits(rng.next());
            if !value.is_nan() {
                assert_eq!(parse(text(value).as_bytes()).map(f64::to_bits), Some(value.to_bits()));
            }
        }
    }
}

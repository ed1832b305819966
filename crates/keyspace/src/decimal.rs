//! Sums of decimal fractions, with the results of INCRBYFLOAT on x86-64: 80-bit extended floats.
//!
//! Redis adds C `long double`s: 64 bits of mantissa, rounded half to even, printed with 17 digits
//! behind the point and without trailing zeros. A double has 53 bits and prints other digits, so
//! the extended float is done here in integers: a text becomes an exact ratio of two big integers,
//! the ratio is cut to 64 bits, two such are added in 128 bits. Equal on every machine.
//!
//! Left out: the coarser steps of numbers below 2^-16382, which print as 0 whatever they are.

use std::cmp::Ordering;

use crate::reject::Reject;

/// The longest text that is taken for a number: the buffer that Redis has for it, less one.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;

/// The exponent beyond which a number is infinite.
const EXPONENT_MAX: i64 = 16_384;

/// Half of the least number that is not zero is two to this power.
const EXPONENT_MIN: i64 = -16_446;

/// An extended float: `mantissa * 2^exponent`, the top bit of the mantissa set unless it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    mantissa: u64,
    exponent: i64,
    infinite: bool,
}

/// The sum of two numbers in decimal, as INCRBYFLOAT prints it.
pub fn add(a: &[u8], b: &[u8]) -> Result<String, Reject> {
    let a = parse(a).ok_or(Reject::NotFloat)?;
    let b = parse(b).ok_or(Reject::NotFloat)?;
    let overflow = Reject::text("ERR increment would produce NaN or Infinity");
    a.plus(b).map(Decimal::text).ok_or(overflow)
}

/// Reads what C's `strtold` reads, if that is the whole text and neither NaN nor out of range.
pub fn parse(text: &[u8]) -> Option<Decimal> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let is = |word: &[u8]| digits.eq_ignore_ascii_case(word);
    if is(b"inf") || is(b"infinity") {
        return Some(Decimal { negative, mantissa: 0, exponent: 0, infinite: true });
    }
    let base = match digits {
        [b'0', b'x' | b'X', ..] => Base::Hex,
        _ => Base::Ten,
    };
    let scan = scan(if base == Base::Hex { &digits[2..] } else { digits }, base)?;
    let number = Decimal { negative, ..scan.value(base)? };
    Some(number)
}

impl Decimal {
    /// The sum, unless it is infinite or no number.
    pub fn plus(self, other: Decimal) -> Option<Decimal> {
        if self.infinite || other.infinite {
            return None;
        }
        let (large, small) =
            if self.rank() >= other.rank() { (self, other) } else { (other, self) };
        if small.mantissa == 0 {
            return Some(large);
        }
        let distance = large.exponent - small.exponent;
        // The larger one stands 62 bits up; what the smaller loses below leaves a sticky bit.
        let above = u128::from(large.mantissa) << 62;
        let below = shift_sticky(u128::from(small.mantissa) << 62, distance);
        let (sum, negative) = match (large.negative == small.negative, above.cmp(&below)) {
            (true, _) => (above + below, large.negative),
            (false, Ordering::Less) => (below - above, small.negative),
            (false, Ordering::Equal) => (0, false),
            (false, Ordering::Greater) => (above - below, large.negative),
        };
        let (mantissa, exponent) = round(sum, large.exponent - 62);
        let finite = exponent + 64 <= EXPONENT_MAX;
        finite.then_some(Decimal { negative, mantissa, exponent, infinite: false })
    }

    /// Is it beyond all numbers?
    pub fn is_infinite(self) -> bool {
        self.infinite
    }

    /// A thousand times the number, rounded up to an integer: seconds as milliseconds. What does
    /// not fit is `i64::MIN`, as x86-64 converts it.
    pub fn thousandfold_ceiling(self) -> i64 {
        if self.infinite {
            return i64::MIN;
        }
        let (mantissa, exponent) = round(u128::from(self.mantissa) * 1000, self.exponent);
        if mantissa == 0 {
            return 0;
        }
        let down = exponent.unsigned_abs();
        if exponent >= 0 {
            return i64::MIN;
        }
        let (whole, cut) = if down >= 64 {
            (0, true)
        } else {
            (mantissa >> down, mantissa & ((1 << down) - 1) != 0)
        };
        let size = whole + u64::from(cut && !self.negative);
        i64::try_from(size).map_or(i64::MIN, |size| if self.negative { -size } else { size })
    }

    /// Printed with at most 17 digits behind the point.
    pub fn text(self) -> String {
        assert!(!self.infinite, "an infinite number was to be printed");
        let digits = if self.exponent >= 0 {
            let mut big = Big::from(self.mantissa);
            big.shift_left(self.exponent as usize);
            big.decimal()
        } else {
            self.fraction_text()
        };
        if self.negative && digits != "0" { format!("-{digits}") } else { digits }
    }

    fn fraction_text(self) -> String {
        const SCALE: u128 = 100_000_000_000_000_000;
        let scaled = u128::from(self.mantissa) * SCALE;
        let down = self.exponent.unsigned_abs();
        let units = if down >= 128 {
            0
        } else {
            let (quotient, rest) = (scaled >> down, scaled & ((1 << down) - 1));
            let half = 1u128 << (down - 1);
            let up = rest > half || rest == half && quotient & 1 == 1;
            quotient + u128::from(up)
        };
        let text = format!("{}.{:017}", units / SCALE, units % SCALE);
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    }

    /// Orders by exponent; zero is below all.
    fn rank(self) -> i64 {
        if self.mantissa == 0 { i64::MIN } else { self.exponent }
    }
}

/// Shifts right; if bits were lost, the lowest bit that is left tells.
fn shift_sticky(value: u128, by: i64) -> u128 {
    if by >= 128 {
        return u128::from(value != 0);
    }
    let kept = value >> by;
    kept | u128::from(kept << by != value)
}

/// Cuts `value * 2^exponent` to 64 bits, half to even.
fn round(value: u128, exponent: i64) -> (u64, i64) {
    if value == 0 {
        return (0, 0);
    }
    let value_bits = 128 - value.leading_zeros();
    if value_bits <= 64 {
        let up = 64 - value_bits;
        return ((value as u64) << up, exponent - i64::from(up));
    }
    let down = value_bits - 64;
    let (kept, rest) = ((value >> down) as u64, value & ((1 << down) - 1));
    let half = 1u128 << (down - 1);
    let exponent = exponent + i64::from(down);
    if rest > half || rest == half && kept & 1 == 1 {
        return match kept.checked_add(1) {
            Some(kept) => (kept, exponent),
            None => (1 << 63, exponent + 1),
        };
    }
    (kept, exponent)
}

#[derive(Clone, Copy, PartialEq)]
enum Base {
    Ten,
    Hex,
}

/// A text taken apart: `digits * base^exponent`, where a hexadecimal exponent counts bits.
struct Scan {
    digits: Big,
    exponent: i64,
}

fn scan(text: &[u8], base: Base) -> Option<Scan> {
    let radix = if base == Base::Hex { 16 } else { 10 };
    let digit_at = |at: usize| text.get(at).and_then(|&b| char::from(b).to_digit(radix));
    let (mut digits, mut at, mut count, mut behind) = (Big::from(0), 0, 0, 0);
    let mut point = false;
    loop {
        if let Some(digit) = digit_at(at) {
            digits.multiply_add(radix, digit);
            count += 1;
            behind += i64::from(point);
        } else if !point && text.get(at) == Some(&b'.') {
            point = true;
        } else {
            break;
        }
        at += 1;
    }
    if count == 0 {
        return None;
    }
    let mark = if base == Base::Hex { b'p' } else { b'e' };
    let exponent = match text.get(at) {
        None => 0,
        Some(letter) if letter.eq_ignore_ascii_case(&mark) => scan_exponent(&text[at + 1..])?,
        Some(_) => return None,
    };
    let unit = if base == Base::Hex { 4 } else { 1 };
    Some(Scan { digits, exponent: exponent - behind * unit })
}

fn scan_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Beyond all ranges it is enough to know that it is.
    let fold = |sum: i64, byte: &u8| (sum * 10 + i64::from(byte - b'0')).min(1_000_000);
    let value = digits.iter().fold(0, fold);
    Some(if negative { -value } else { value })
}

impl Scan {
    /// The nearest extended float; nothing if it is too large or too near to zero.
    fn value(self, base: Base) -> Option<Decimal> {
        let finish =
            |mantissa, exponent| Decimal { negative: false, mantissa, exponent, infinite: false };
        if self.digits.is_zero() {
            return Some(finish(0, 0));
        }
        // No text of the allowed length comes back from beyond this.
        const REACH: i64 = 40_000;
        if self.exponent.abs() > REACH {
            return None;
        }
        let power = self.exponent.unsigned_abs() as usize;
        let (mut above, mut below) = (self.digits, Big::from(1));
        let scaled = if self.exponent >= 0 { &mut above } else { &mut below };
        match base {
            Base::Hex => scaled.shift_left(power),
            Base::Ten => (0..power).for_each(|_| scaled.multiply_add(10, 0)),
        }
        let (mantissa, exponent) = divide(above, below);
        let too_large = exponent + 64 > EXPONENT_MAX;
        let least = exponent + 63;
        let too_small = least < EXPONENT_MIN || least == EXPONENT_MIN && mantissa == 1 << 63;
        (!too_large && !too_small).then(|| finish(mantissa, exponent))
    }
}

/// The ratio of two big integers, cut to 64 bits.
fn divide(mut above: Big, mut below: Big) -> (u64, i64) {
    // Brought to where the quotient is below 2 and above 1/2; then bit after bit.
    let distance = above.bits() as i64 - below.bits() as i64;
    if distance >= 0 {
        below.shift_left(distance as usize);
    } else {
        above.shift_left(distance.unsigned_abs() as usize);
    }
    const BITS: i64 = 68;
    let mut quotient = 0u128;
    for _ in 0..BITS {
        quotient <<= 1;
        if above.compare(&below) != Ordering::Less {
            above.subtract(&below);
            quotient |= 1;
        }
        above.shift_left(1);
    }
    quotient = quotient << 1 | u128::from(!above.is_zero());
    round(quotient, distance - BITS)
}

/// A natural number of any size: 32 bits a limb, the lowest first, no zero on top.
#[derive(Clone, Debug)]
struct Big(Vec<u32>);

impl From<u64> for Big {
    fn from(value: u64) -> Big {
        let mut big = Big(vec![value as u32, (value >> 32) as u32]);
        big.trim();
        big
    }
}

impl Big {
    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> usize {
        let top = self.0.last().map_or(0, |limb| 32 - limb.leading_zeros() as usize);
        self.0.len().saturating_sub(1) * 32 + top
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&mut self, by: usize) {
        let (limbs, bits) = (by / 32, by % 32);
        if bits > 0 {
            let mut carry = 0;
            for limb in &mut self.0 {
                let wide = u64::from(*limb) << bits | carry;
                *limb = wide as u32;
                carry = wide >> 32;
            }
            if carry > 0 {
                self.0.push(carry as u32);
            }
        }
        if !self.is_zero() {
            self.0.splice(0..0, std::iter::repeat_n(0, limbs));
        }
    }

    fn compare(&self, other: &Big) -> Ordering {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Takes away what is not larger.
    fn subtract(&mut self, other: &Big) {
        let mut borrow = 0i64;
        for (at, limb) in self.0.iter_mut().enumerate() {
            let less = other.0.get(at).map_or(0, |&limb| i64::from(limb));
            let wide = i64::from(*limb) - less + borrow;
            *limb = wide as u32;
            borrow = wide >> 32;
        }
        assert!(borrow == 0, "a larger number was subtracted");
        self.trim();
    }

    fn decimal(mut self) -> String {
        const CHUNK: u64 = 1_000_000_000;
        let mut chunks = Vec::new();
        while !self.is_zero() {
            let mut rest = 0u64;
            for limb in self.0.iter_mut().rev() {
                rest = rest << 32 | u64::from(*limb);
                *limb = (rest / CHUNK) as u32;
                rest %= CHUNK;
            }
            self.trim();
            chunks.push(rest);
        }
        let Some(first) = chunks.pop() else { return "0".to_string() };
        chunks.iter().rev().fold(first.to_string(), |text, chunk| format!("{text}{chunk:09}"))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn seconds_become_milliseconds_rounded_up_as_redis_rounds_them() {
        for (text, expect) in [
            ("0", 0),
            ("-0", 0),
            ("1", 1_000),
            ("5.001", 5_001),
            ("0.0001", 1),
            ("1e-4000", 1),
            ("-0.0001", 0),
            ("-1.5", -1_500),
            ("0x1p1", 2_000),
            ("9223372036854775.807", i64::MAX),
            ("9223372036854775.808", i64::MIN),
            ("1e30", i64::MIN),
            ("inf", i64::MIN),
        ] {
            let number = super::parse(text.as_bytes()).unwrap();
            assert_eq!(number.thousandfold_ceiling(), expect, "{text}");
        }
    }

    use super::{add, parse};

    #[test]
    fn sums_are_those_of_redis_on_x86() {
        for (a, b, expect) in [
            ("0", "0.1", "0.1"),
            ("3.0", "1.1", "4.1"),
            ("10.5", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("1", "-1.1", "-0.1"),
            ("17179869184", "1.5", "17179869185.5"),
            ("0.1", "0.2", "0.3"),
            ("-0.0", "0", "0"),
            ("1e-30", "0", "0"),
            ("9007199254740993", "0.25", "9007199254740993.25"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("1e20", "1e-5", "100000000000000000000"),
            ("0x10", "0x.8p0", "16.5"),
            ("+1", ".5", "1.5"),
            ("1.", "-1", "0"),
        ] {
            assert_eq!(add(a.as_bytes(), b.as_bytes()).unwrap(), expect, "{a} + {b}");
        }
    }

    #[test]
    fn what_strtold_does_not_take_is_no_number() {
        for text in
            ["", " 1", "1 ", "nan", "1e", "0x", "e5", ".", "1e5000", "1e-5000", "--1", "1_0"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert!(parse(b"1e-4950").is_some());
        assert!(parse(b"1e4932").is_some());
    }

    #[test]
    fn an_infinite_sum_is_refused() {
        let expect = "ERR increment would produce NaN or Infinity";
        for (a, b) in [("inf", "1"), ("inf", "-inf"), ("1.1e4932", "1.1e4932")] {
            assert_eq!(add(a.as_bytes(), b.as_bytes()).unwrap_err().message(), expect);
        }
    }
}

//! Numbers as C prints them: `%.17g` for the arguments of commands, `%.14g` for JSON.

/// The decimal text of `value` with `precision` significant digits, shortest form (`%g`).
pub(super) fn format_g(value: f64, precision: usize) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    if value == value.trunc() && value.abs() < 1e14 && (value != 0.0 || !value.is_sign_negative()) {
        let digits = itoa::Buffer::new().format(value as i64).to_owned();
        if digits.len() <= precision {
            return digits;
        }
    }
    let scientific = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.unsigned_abs());
    }
    let decimals = (precision as i32 - 1 - exponent) as usize;
    without_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn without_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// As C casts a double to a 64-bit integer on x86: what does not fit becomes the smallest one.
pub(super) fn to_i64(value: f64) -> i64 {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
    if fits { value as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::{format_g, to_i64};

    #[test]
    fn numbers_print_as_in_c() {
        for (value, precision, expect) in [
            (0.0, 17, "0"),
            (-0.0, 17, "-0"),
            (1.0, 17, "1"),
            (100_000_000_000_000.0, 14, "1e+14"),
            (9_007_199_254_740_991.0, 17, "9007199254740991"),
            (1e17, 17, "1e+17"),
            (3.1, 17, "3.1000000000000001"),
            (2.25, 17, "2.25"),
            (0.1, 14, "0.1"),
            (0.0001, 14, "0.0001"),
            (0.000_01, 14, "1e-05"),
            (1.0 / 3.0, 14, "0.33333333333333"),
            (123_456.0, 3, "1.23e+05"),
            (-1.5e300, 14, "-1.5e+300"),
            (f64::INFINITY, 17, "inf"),
        ] {
            assert_eq!(format_g(value, precision), expect, "{value:e} with {precision}");
        }
    }

    #[test]
    fn what_does_not_fit_becomes_the_smallest_integer() {
        assert_eq!(to_i64(100.9), 100);
        assert_eq!(to_i64(-100.9), -100);
        assert_eq!(to_i64(1e300), i64::MIN);
        assert_eq!(to_i64(f64::NAN), i64::MIN);
    }
}

//! Glob patterns, as KEYS, SCAN and PSUBSCRIBE have them.
//!
//! `*` any bytes, `?` one byte, `[a-c]` and `[^a-c]` one byte of a set, `\` takes the next byte as
//! it is. A set that is not closed ends with the pattern. A `*` alone does not match the empty
//! string: in Redis it is the commands that treat that pattern apart.
//!
//! The match backtracks to the last `*` only, which is enough (each other part of a pattern takes
//! exactly one byte), so its time is bounded by the product of both lengths and it never recurses.

/// Does `text` match `pattern`?
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, Case::Sensitive)
}

/// As `matches`, where ASCII letters are equal in both cases.
pub fn matches_any_case(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, Case::Insensitive)
}

#[derive(Clone, Copy, PartialEq)]
enum Case {
    Sensitive,
    Insensitive,
}

fn run(pattern: &[u8], text: &[u8], case: Case) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Behind the last star: the pattern's place, and the text's place where its match begins.
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            while pattern.get(p) == Some(&b'*') {
                p += 1;
            }
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
            continue;
        }
        if let Some(next) = step(pattern, p, text[t], case) {
            (p, t) = (next, t + 1);
            continue;
        }
        let Some((star, from)) = retry else { return false };
        retry = Some((star, from + 1));
        (p, t) = (star, from + 1);
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Matches one byte against the part of the pattern at `p`; returns the place of the next part.
fn step(pattern: &[u8], p: usize, byte: u8, case: Case) -> Option<usize> {
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => step_set(pattern, p + 1, byte, case),
        b'\\' if p + 1 < pattern.len() => same(pattern[p + 1], byte, case).then_some(p + 2),
        literal => same(literal, byte, case).then_some(p + 1),
    }
}

fn step_set(pattern: &[u8], mut p: usize, byte: u8, case: Case) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match pattern.get(p..).unwrap_or(&[]) {
            [] => break,
            [b'\\', escaped, ..] => {
                // Redis compares an escaped byte of a set exactly, whatever the case rule.
                found |= *escaped == byte;
                p += 2;
            }
            [b']', ..] => {
                p += 1;
                break;
            }
            [first, b'-', last, ..] => {
                found |= in_range(*first, *last, byte, case);
                p += 3;
            }
            [literal, ..] => {
                found |= same(*literal, byte, case);
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

/// Bytes compare as signed here, as C's `char` does on the machines that Redis runs on.
fn in_range(first: u8, last: u8, byte: u8, case: Case) -> bool {
    let (low, high) = (first as i8, last as i8);
    let (low, high) = (low.min(high), low.max(high));
    let fold = |c: i8| if case == Case::Insensitive { lower(c as u8) as i8 } else { c };
    (fold(low)..=fold(high)).contains(&fold(byte as i8))
}

fn same(a: u8, b: u8, case: Case) -> bool {
    a == b || case == Case::Insensitive && lower(a) == lower(b)
}

fn lower(byte: u8) -> u8 {
    byte.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{matches, matches_any_case};

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expect) in [
            ("*", "", false),
            ("", "", true),
            ("*", "abc", true),
            ("a*", "a", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("[a", "a", true),
            ("[^", "x", true),
            ("[", "[", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a\\", "a\\", true),
            ("[\\]]", "]", true),
            ("[]a]", "a", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("a**", "a", true),
            ("**", "", false),
            ("abc", "ab", false),
            ("ab", "abc", false),
            ("HELLO", "hello", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expect, "{pattern} {text}");
        }
    }

    #[test]
    fn letters_are_equal_in_both_cases_when_asked_for() {
        assert!(matches_any_case(b"MAX*[A-C]", b"maxmemoryb"));
        assert!(!matches_any_case(b"[\\A]", b"a"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = b"a*".repeat(50);
        let text = [b"a".repeat(2_000), b"b".to_vec()].concat();
        assert!(matches(&pattern, &text));
        assert!(!matches(&[&pattern[..], b"c"].concat(), &text));
    }
}

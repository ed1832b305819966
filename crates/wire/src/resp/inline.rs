//! Inline commands: a line that a person types, split into arguments.
//!
//! Words are parted by blanks. `"…"` knows the escapes `\n \r \t \b \a \xff` and takes any other
//! character behind a backslash as it is; `'…'` knows `\'` alone. A quote may begin inside a word,
//! but must end it. Everything behind a zero byte is ignored, as in C.
//! Behaviour: `sdssplitargs` of Redis 7.0.

use crate::ArgsBuf;

/// A quote is not closed, or something other than a blank follows its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbalanced;

/// Splits `line` and appends its words to `args`.
pub fn split_args(line: &[u8], args: &mut ArgsBuf) -> Result<(), Unbalanced> {
    let end = line.iter().position(|&byte| byte == 0).unwrap_or(line.len());
    let (mut rest, mut word) = (&line[..end], Vec::new());
    loop {
        let blanks = rest.iter().take_while(|&&byte| is_space(byte)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Ok(());
        }
        word.clear();
        rest = take_word(rest, &mut word)?;
        args.push(&word);
    }
}

/// Reads one word into `word` and returns what follows it.
fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Ok(rest),
            [b'"', after @ ..] => return take_double_quoted(after, word),
            [b'\'', after @ ..] => return take_single_quoted(after, word),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn take_double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        rest = match rest {
            [] => return Err(Unbalanced),
            [b'"', after @ ..] => return end_of_quote(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        }
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        rest = match rest {
            [] => return Err(Unbalanced),
            [b'\'', after @ ..] => return end_of_quote(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        }
    }
}

fn end_of_quote(rest: &[u8]) -> Result<&[u8], Unbalanced> {
    match rest.first() {
        Some(byte) if !is_space(*byte) => Err(Unbalanced),
        _ => Ok(rest),
    }
}

/// C's `isspace`, which knows two blanks more than those that end a word.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::{Unbalanced, split_args};
    use crate::ArgsBuf;

    #[track_caller]
    fn check(line: &[u8], expect: Result<&[&[u8]], Unbalanced>) {
        let mut args = ArgsBuf::new();
        let split = split_args(line, &mut args);
        let words: Vec<&[u8]> = args.args().iter().collect();
        let shown = String::from_utf8_lossy(line);
        assert_eq!(split.map(|()| words.as_slice()), expect, "{shown}");
    }

    #[test]
    fn words_are_parted_by_blanks() {
        check(b"", Ok(&[]));
        check(b" \t\x0b ", Ok(&[]));
        check(b"  set  a\tb ", Ok(&[b"set", b"a", b"b"]));
        check(b"a\x0bb", Ok(&[b"a\x0bb"]));
        check(b"a b\0c d", Ok(&[b"a", b"b"]));
    }

    #[test]
    fn quotes_keep_blanks_and_know_escapes() {
        check(br#"a "b c" 'd e'"#, Ok(&[b"a", b"b c", b"d e"]));
        check(br#""\n\r\t\b\a\x41\xfF\q\"\\""#, Ok(&[b"\n\r\t\x08\x07A\xffq\"\\"]));
        check(br#""\x4" "\xg0""#, Ok(&[b"x4", b"xg0"]));
        check(br"'\n \' \x'", Ok(&[br"\n ' \x"]));
        check(br#""" ''"#, Ok(&[b"", b""]));
        check(br#"pre"fix x""#, Ok(&[b"prefix x"]));
        check(br"un\quoted\n", Ok(&[br"un\quoted\n"]));
    }

    #[test]
    fn an_open_quote_or_a_tail_behind_one_is_refused() {
        for line in [&br#""a"#[..], b"'a", br#""a"b"#, b"'a'b", br#""a\""#, br#"set """k""" v"#] {
            let mut args = ArgsBuf::new();
            assert_eq!(split_args(line, &mut args), Err(Unbalanced));
        }
    }
}

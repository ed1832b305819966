//! The words of JSON: tokens out of text, strings into it, with lua-cjson's leniency.
//!
//! A zero byte ends the text, as in C. Numbers are what C's `strtod` takes, unless strictness is
//! asked for.

/// A word of JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    /// What error messages call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(problem) => problem,
        }
    }
}

/// Reads tokens.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    token_at: usize,
    /// Are hexadecimal numbers, leading zeros, infinities and NaN taken?
    lenient: bool,
}

impl<'a> Parser<'a> {
    /// A parser at the start of a text.
    pub(super) fn new(text: &'a [u8], lenient: bool) -> Parser<'a> {
        Parser { text, at: 0, token_at: 0, lenient }
    }

    /// Where the next token is looked for.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Where the last token began, or the error in it is.
    pub(super) fn token_offset(&self) -> usize {
        self.token_at
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or_default()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Token {
        while matches!(self.byte(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.token_at = self.at;
        let single = match self.byte(0) {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b',' => Token::Comma,
            b':' => Token::Colon,
            0 => return Token::End,
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' if !self.lenient && self.is_invalid_number() => {
                return Token::Error("invalid number");
            }
            b'-' | b'0'..=b'9' => return self.number(),
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => return self.word(),
            _ => return Token::Error("invalid token"),
        };
        self.at += 1;
        single
    }

    fn word(&mut self) -> Token {
        let words: [(&[u8], Token); 3] = [
            (b"true", Token::Boolean(true)),
            (b"false", Token::Boolean(false)),
            (b"null", Token::Null),
        ];
        for (word, token) in words {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return token;
            }
        }
        if self.lenient && self.is_invalid_number() {
            return self.number();
        }
        Token::Error("invalid token")
    }

    /// Does this look like a number that JSON does not know?
    fn is_invalid_number(&self) -> bool {
        let rest = self.rest();
        let rest = match rest {
            [b'+', ..] => return true,
            [b'-', rest @ ..] => rest,
            _ => rest,
        };
        match rest {
            [b'0', next, ..] => next | 0x20 == b'x' || next.is_ascii_digit(),
            [first, ..] if *first <= b'9' => false,
            _ => has_prefix(rest, b"inf") || has_prefix(rest, b"nan"),
        }
    }

    fn number(&mut self) -> Token {
        match parse_number(self.rest()) {
            Some((number, length)) => {
                self.at += length;
                Token::Number(number)
            }
            None => Token::Error("invalid number"),
        }
    }

    fn string(&mut self) -> Token {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.byte(0) {
                b'"' => {
                    self.at += 1;
                    return Token::String(out);
                }
                0 => return self.fail("unexpected end of string"),
                b'\\' => {
                    let plain = match self.byte(1) {
                        escaped @ (b'"' | b'\\' | b'/') => escaped,
                        b'b' => 0x08,
                        b't' => b'\t',
                        b'n' => b'\n',
                        b'f' => 0x0c,
                        b'r' => b'\r',
                        b'u' => {
                            let Some((code, length)) = self.unicode() else {
                                return self.fail("invalid unicode escape code");
                            };
                            put_utf8(&mut out, code);
                            self.at += length;
                            continue;
                        }
                        _ => return self.fail("invalid escape code"),
                    };
                    out.push(plain);
                    self.at += 2;
                }
                byte => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn fail(&mut self, problem: &'static str) -> Token {
        self.token_at = self.at;
        Token::Error(problem)
    }

    /// The code point of an escape, or of a pair of them, and its length.
    fn unicode(&self) -> Option<(u32, usize)> {
        let code = self.hex4(2)?;
        if code & 0xf800 != 0xd800 {
            return Some((code, 6));
        }
        if code & 0x400 != 0 || self.byte(6) != b'\\' || self.byte(7) != b'u' {
            return None;
        }
        let low = self.hex4(8)?;
        if low & 0xfc00 != 0xdc00 {
            return None;
        }
        Some((((code & 0x3ff) << 10 | (low & 0x3ff)) + 0x1_0000, 12))
    }

    fn hex4(&self, ahead: usize) -> Option<u32> {
        (0..4).try_fold(0, |value, digit| {
            char::from(self.byte(ahead + digit)).to_digit(16).map(|digit| value << 4 | digit)
        })
    }
}

/// As UTF-8; halves of surrogate pairs do not come here.
fn put_utf8(out: &mut Vec<u8>, code: u32) {
    let code = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(code.encode_utf8(&mut [0; 4]).as_bytes());
}

fn has_prefix(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The number at the start of a text, as `strtod` reads it, and its length.
pub(super) fn parse_number(text: &[u8]) -> Option<(f64, usize)> {
    let (negative, sign) = match text.first() {
        Some(b'-') => (true, 1),
        Some(b'+') => (false, 1),
        _ => (false, 0),
    };
    let body = &text[sign..];
    let (value, length) = if has_prefix(body, b"infinity") {
        (f64::INFINITY, 8)
    } else if has_prefix(body, b"inf") {
        (f64::INFINITY, 3)
    } else if has_prefix(body, b"nan") {
        (f64::NAN, 3)
    } else if has_prefix(body, b"0x")
        && let Some((value, length)) = parse_hexadecimal(&body[2..])
    {
        (value, length + 2)
    } else {
        parse_decimal(body)?
    };
    Some((if negative { -value } else { value }, sign + length))
}

fn digits(text: &[u8], is_digit: fn(&u8) -> bool) -> usize {
    text.iter().take_while(|byte| is_digit(byte)).count()
}

fn parse_decimal(text: &[u8]) -> Option<(f64, usize)> {
    let whole = digits(text, u8::is_ascii_digit);
    let mut length = whole;
    let mut any = whole;
    if text.get(length) == Some(&b'.') {
        let fraction = digits(&text[length + 1..], u8::is_ascii_digit);
        any += fraction;
        length += 1 + fraction;
    }
    if any == 0 {
        return None;
    }
    length += exponent(&text[length..], b'e').map_or(0, |(_, length)| length);
    let text = std::str::from_utf8(&text[..length]).ok()?;
    Some((text.parse().ok()?, length))
}

/// An exponent and its length, sign and letter included.
fn exponent(text: &[u8], letter: u8) -> Option<(i64, usize)> {
    if text.first()?.to_ascii_lowercase() != letter {
        return None;
    }
    let sign = usize::from(matches!(text.get(1), Some(b'-' | b'+')));
    let count = digits(&text[1 + sign..], u8::is_ascii_digit);
    if count == 0 {
        return None;
    }
    let shown = &text[1 + sign..1 + sign + count];
    let value = shown.iter().fold(0i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(1_000_000)
    });
    Some((if text[1] == b'-' { -value } else { value }, 1 + sign + count))
}

fn parse_hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let whole = digits(text, u8::is_ascii_hexdigit);
    let (mut length, mut places) = (whole, 0);
    let mut shown = text[..whole].to_vec();
    if text.get(length) == Some(&b'.') {
        places = digits(&text[length + 1..], u8::is_ascii_hexdigit);
        shown.extend_from_slice(&text[length + 1..length + 1 + places]);
        length += 1 + places;
    }
    if shown.is_empty() {
        return None;
    }
    let value = shown.iter().fold(0.0, |value, digit| {
        value * 16.0 + f64::from(char::from(*digit).to_digit(16).unwrap_or_default())
    });
    let (power, more) = exponent(&text[length..], b'p').unwrap_or((0, 0));
    let power = power - 4 * places as i64;
    Some((value * 2f64.powi(power as i32), length + more))
}

/// Appends a string in quotes.
pub(super) fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'/' => out.extend_from_slice(b"\\/"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..=0x1f | 0x7f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::{Parser, Token, parse_number, put_string};

    #[test]
    fn numbers_are_those_of_strtod() {
        for (text, expect) in [
            ("1", Some((1.0, 1))),
            ("-5e3,", Some((-5_000.0, 4))),
            ("0.3e-3]", Some((0.0003, 6))),
            ("0x10", Some((16.0, 4))),
            ("0x", Some((0.0, 1))),
            ("1e", Some((1.0, 1))),
            ("-Infinity", Some((f64::NEG_INFINITY, 9))),
            (".", None),
            ("-", None),
        ] {
            assert_eq!(parse_number(text.as_bytes()), expect, "{text:?}");
        }
    }

    #[test]
    fn strings_come_back_and_broken_ones_say_where() {
        let mut out = Vec::new();
        put_string(&mut out, b"a\"\\/\x01\x7f\n\xff");
        assert_eq!(out, b"\"a\\\"\\\\\\/\\u0001\\u007f\\n\xff\"");
        assert_eq!(Parser::new(&out, true).next(), Token::String(b"a\"\\/\x01\x7f\n\xff".to_vec()));
        let pair = Parser::new(br#""\ud83d\ude00""#, true).next();
        assert_eq!(pair, Token::String("😀".as_bytes().to_vec()));
        for (text, problem) in [
            ("\"ab", "unexpected end of string"),
            ("\"a\\x\"", "invalid escape code"),
            ("\"\\ud83d\"", "invalid unicode escape code"),
        ] {
            assert_eq!(Parser::new(text.as_bytes(), true).next(), Token::Error(problem));
        }
    }
}

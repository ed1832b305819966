//! Replies as a client reads them: RESP2 and RESP3, whole or not yet.
//!
//! [`Scanner`] finds where a reply ends without building anything; [`Decoder`] waits for that end
//! and then builds a [`Value`]. So only the scanner is incremental, and the tree is built by plain
//! recursion over bytes that are known to be whole, no deeper than the scanner allowed.
//!
//! Attributes (`|`) are read and dropped. Streamed aggregates (`*?`) are refused: Redis has none.

use std::fmt;

use super::limits::ReplyLimits;

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Status(String),
    /// Its code and text, without the dash.
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    /// Not the answer to a command: a message that the server sends by itself.
    Push(Vec<Value>),
    Boolean(bool),
    Double(f64),
    BigNumber(String),
    Verbatim(Vec<u8>),
}

/// The bytes are not RESP, or more than the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// From the first byte of the reply.
    pub offset: usize,
    pub reason: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed reply at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for Malformed {}

/// A whole reply lies in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// How many bytes it has.
    pub len: usize,
    /// The byte that says what it is, such as `+`; that of a null is the one it was sent with.
    pub sigil: u8,
}

impl Scanned {
    /// Is the whole reply an error?
    pub fn is_error(&self) -> bool {
        matches!(self.sigil, b'-' | b'!')
    }

    /// Did the server send it by itself?
    pub fn is_push(&self) -> bool {
        self.sigil == b'>'
    }
}

/// Finds the ends of replies.
#[derive(Debug, Default)]
pub struct Scanner {
    limits: ReplyLimits,
    /// Where the next element begins; no end of its first line lies before `scanned`.
    at: usize,
    scanned: usize,
    sigil: u8,
    /// For each aggregate that is open, how many elements are still to come; the first is the
    /// reply itself. Empty between replies.
    open: Vec<usize>,
}

impl Scanner {
    /// A scanner at the start of a reply.
    pub fn new(limits: ReplyLimits) -> Scanner {
        Scanner { limits, ..Scanner::default() }
    }

    /// Goes on in `bytes`, whose first byte is the first of the current reply. After a whole reply
    /// the next call begins the next one: drop `len` bytes before it.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<Scanned>, Malformed> {
        if self.open.is_empty() {
            (self.at, self.scanned) = (0, 0);
            self.open.push(1);
        }
        while !self.open.is_empty() {
            if !self.scan_element(bytes)? {
                return match bytes.len() > self.limits.bytes_max {
                    true => Err(self.malformed("it is too long")),
                    false => Ok(None),
                };
            }
        }
        Ok(Some(Scanned { len: self.at, sigil: self.sigil }))
    }

    /// Passes over a scalar or the head of an aggregate, if it is there.
    fn scan_element(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        let Some(end) = self.line_end(bytes) else { return Ok(false) };
        let sigil = bytes[self.at];
        let Some(line) = bytes.get(self.at + 1..end) else {
            return Err(self.malformed("a line is empty"));
        };
        if self.open.len() == 1 && sigil != b'|' {
            self.sigil = sigil;
        }
        match sigil {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                self.at = end + 2;
                self.close();
            }
            b'$' | b'!' | b'=' => {
                let next = end + 2 + self.length(sigil, line)?.map_or(0, |len| len + 2);
                if next > self.limits.bytes_max {
                    return Err(self.malformed("it is too long"));
                }
                if next > bytes.len() {
                    return Ok(false);
                }
                if !bytes[..next].ends_with(b"\r\n") {
                    return Err(self.malformed("a string is longer than it said"));
                }
                self.at = next;
                self.close();
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let count = self.length(sigil, line)?.unwrap_or(0);
                self.at = end + 2;
                self.open_aggregate(sigil, count)?;
            }
            _ => return Err(self.malformed("no reply begins like this")),
        }
        self.scanned = self.at;
        Ok(true)
    }

    fn open_aggregate(&mut self, sigil: u8, count: usize) -> Result<(), Malformed> {
        if sigil == b'|' {
            // It stands before its element, which is still to come.
            *self.open.last_mut().expect("a reply is open while it is scanned") += 1;
        }
        let elements = if matches!(sigil, b'%' | b'|') { count.saturating_mul(2) } else { count };
        self.open.push(elements + 1);
        self.close();
        if self.open.len() > self.limits.depth_max {
            return Err(self.malformed("it is too deep"));
        }
        Ok(())
    }

    /// One element is whole; with the last one of an aggregate, that is too.
    fn close(&mut self) {
        while let Some(missing) = self.open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            self.open.pop();
        }
    }

    /// The `\r` of the line that begins at `at`, if the whole line is there.
    fn line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let from = self.scanned.max(self.at);
        let met = bytes.get(from..)?.iter().position(|&byte| byte == b'\r');
        let end = met.map_or(bytes.len(), |offset| from + offset);
        self.scanned = end;
        (end + 1 < bytes.len()).then_some(end)
    }

    /// The length in the head of a string or an aggregate; nothing for a null.
    fn length(&self, sigil: u8, line: &[u8]) -> Result<Option<usize>, Malformed> {
        if line == b"-1" && matches!(sigil, b'$' | b'*') {
            return Ok(None);
        }
        let len = std::str::from_utf8(line).ok().and_then(|text| text.parse::<usize>().ok());
        match len {
            Some(len) if len < isize::MAX as usize / 2 => Ok(Some(len)),
            _ => Err(self.malformed("its length is no number")),
        }
    }

    fn malformed(&self, reason: &'static str) -> Malformed {
        Malformed { offset: self.at, reason }
    }
}

/// Reads replies into values.
#[derive(Debug, Default)]
pub struct Decoder {
    scanner: Scanner,
}

impl Decoder {
    /// A decoder at the start of a reply.
    pub fn new(limits: ReplyLimits) -> Decoder {
        Decoder { scanner: Scanner::new(limits) }
    }

    /// As `Scanner::scan`: the reply and how many bytes it had, once it is whole.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Option<(Value, usize)>, Malformed> {
        let Some(scanned) = self.scanner.scan(bytes)? else { return Ok(None) };
        let mut builder = Builder { bytes: &bytes[..scanned.len], at: 0 };
        let value = builder.value()?;
        assert!(builder.at == scanned.len, "a reply ends where the scanner says");
        Ok(Some((value, scanned.len)))
    }
}

/// Builds a value from bytes that the scanner has found whole.
struct Builder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Builder<'a> {
    fn value(&mut self) -> Result<Value, Malformed> {
        let start = self.at;
        let (sigil, line) = self.line();
        let text = || String::from_utf8_lossy(line).into_owned();
        let malformed = |reason| Malformed { offset: start, reason };
        if line == b"-1" && matches!(sigil, b'$' | b'*') {
            return Ok(Value::Null);
        }
        Ok(match sigil {
            b'+' => Value::Status(text()),
            b'-' => Value::Error(text()),
            b'_' => Value::Null,
            b'(' => Value::BigNumber(text()),
            b':' => Value::Int(text().parse().map_err(|_| malformed("it is no integer"))?),
            b',' => Value::Double(text().parse().map_err(|_| malformed("it is no double"))?),
            b'#' if line == b"t" => Value::Boolean(true),
            b'#' if line == b"f" => Value::Boolean(false),
            b'#' => return Err(malformed("it is neither true nor false")),
            b'$' => Value::Bulk(self.string(line).to_vec()),
            b'!' => Value::Error(String::from_utf8_lossy(self.string(line)).into_owned()),
            b'=' => match self.string(line) {
                [_, _, _, b':', text @ ..] => Value::Verbatim(text.to_vec()),
                _ => return Err(malformed("its format is missing")),
            },
            b'*' => Value::Array(self.values(line)?),
            b'~' => Value::Set(self.values(line)?),
            b'>' => Value::Push(self.values(line)?),
            b'%' => Value::Map(self.pairs(line)?),
            _ => {
                self.pairs(line)?;
                self.value()?
            }
        })
    }

    fn values(&mut self, line: &[u8]) -> Result<Vec<Value>, Malformed> {
        (0..length(line)).map(|_| self.value()).collect()
    }

    fn pairs(&mut self, line: &[u8]) -> Result<Vec<(Value, Value)>, Malformed> {
        (0..length(line)).map(|_| Ok((self.value()?, self.value()?))).collect()
    }

    fn line(&mut self) -> (u8, &'a [u8]) {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\r').expect("the scanner saw its end");
        self.at += end + 2;
        (rest[0], &rest[1..end])
    }

    fn string(&mut self, line: &[u8]) -> &'a [u8] {
        let start = self.at;
        let end = start + length(line);
        self.at = end + 2;
        &self.bytes[start..end]
    }
}

/// A length that the scanner has found good.
fn length(line: &[u8]) -> usize {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The elements of an array, each as its bytes; nothing for a null array, or if it is no whole array.
pub fn elements(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let line = reply.iter().position(|&byte| byte == b'\n')? + 1;
    let count: usize = std::str::from_utf8(reply[1..line].trim_ascii()).ok()?.parse().ok()?;
    let (mut elements, mut rest) = (Vec::with_capacity(count.min(reply.len())), &reply[line..]);
    for _ in 0..count {
        let scanned = Scanner::new(ReplyLimits::default()).scan(rest).ok()??;
        let (element, behind) = rest.split_at(scanned.len);
        elements.push(element);
        rest = behind;
    }
    Some(elements)
}

/// Is this reply a null, in either protocol?
pub fn is_null(reply: &[u8]) -> bool {
    reply.starts_with(b"$-1") || reply.starts_with(b"*-1") || reply.starts_with(b"_")
}

/// Appends a command as clients send it.
pub fn encode_call(out: &mut Vec<u8>, args: &[&[u8]]) {
    encode_count(out, args.len());
    args.iter().for_each(|arg| encode_arg(out, arg));
}

/// Appends the head of a command of so many arguments, its name included.
pub fn encode_count(out: &mut Vec<u8>, args: usize) {
    put_length(out, b'*', args);
}

/// Appends an argument of a command.
pub fn encode_arg(out: &mut Vec<u8>, arg: &[u8]) {
    put_length(out, b'$', arg.len());
    out.extend_from_slice(arg);
    out.extend_from_slice(b"\r\n");
}

fn put_length(out: &mut Vec<u8>, sigil: u8, len: usize) {
    out.push(sigil);
    out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.into())
    }

    fn feed(pieces: &[&[u8]]) -> Result<Vec<Value>, Malformed> {
        let limits = ReplyLimits { depth_max: 4, bytes_max: 200 };
        let (mut decoder, mut buffer, mut values) = (Decoder::new(limits), Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some((value, len)) = decoder.decode(&buffer)? {
                values.push(value);
                buffer.drain(..len);
            }
        }
        Ok(values)
    }

    #[track_caller]
    fn check(input: &str, expect: &[Value]) {
        let input = input.as_bytes();
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(feed(&bytes).as_deref(), Ok(expect), "byte by byte");
        for cut in 0..=input.len() {
            let (head, tail) = input.split_at(cut);
            assert_eq!(feed(&[head, tail]).as_deref(), Ok(expect), "cut at {cut}");
        }
    }

    #[test]
    fn an_array_falls_into_its_elements_and_a_null_into_none() {
        let reply = b"*3\r\n:1\r\n*2\r\n+a\r\n$-1\r\n$2\r\n\r\n\r\n";
        let parts = elements(reply).unwrap();
        assert_eq!(parts, [&b":1\r\n"[..], b"*2\r\n+a\r\n$-1\r\n", b"$2\r\n\r\n\r\n"]);
        assert_eq!(elements(b"*-1\r\n"), None);
        assert_eq!(elements(b"*0\r\n"), Some(Vec::new()));
    }

    #[test]
    fn every_kind_is_read_however_it_is_cut() {
        check("+OK\r\n:-5\r\n", &[Value::Status("OK".into()), Value::Int(-5)]);
        check(
            "-ERR no\r\n!6\r\nERR no\r\n",
            &[Value::Error("ERR no".into()), Value::Error("ERR no".into())],
        );
        check("$-1\r\n*-1\r\n_\r\n", &[Value::Null, Value::Null, Value::Null]);
        check("$0\r\n\r\n$4\r\na\r\nb\r\n", &[bulk(""), bulk("a\r\nb")]);
        check(
            "#t\r\n#f\r\n,1.5\r\n,-inf\r\n(12345678901234567890\r\n=6\r\ntxt:hi\r\n",
            &[
                Value::Boolean(true),
                Value::Boolean(false),
                Value::Double(1.5),
                Value::Double(f64::NEG_INFINITY),
                Value::BigNumber("12345678901234567890".into()),
                Value::Verbatim(b"hi".to_vec()),
            ],
        );
    }

    #[test]
    fn aggregates_hold_others() {
        let nested = Value::Array(vec![Value::Array(vec![]), Value::Null, bulk("x")]);
        check(
            "*2\r\n*3\r\n*0\r\n*-1\r\n$1\r\nx\r\n:1\r\n+next\r\n",
            &[Value::Array(vec![nested, Value::Int(1)]), Value::Status("next".into())],
        );
        check(
            "%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n:2\r\n",
            &[Value::Map(vec![
                (Value::Status("a".into()), Value::Int(1)),
                (Value::Status("b".into()), Value::Set(vec![Value::Int(2)])),
            ])],
        );
        check(">1\r\n+hi\r\n", &[Value::Push(vec![Value::Status("hi".into())])]);
        check("|1\r\n+ttl\r\n:9\r\n:1\r\n|0\r\n:2\r\n", &[Value::Int(1), Value::Int(2)]);
        check(
            "*2\r\n|1\r\n+ttl\r\n:9\r\n:1\r\n:2\r\n",
            &[Value::Array(vec![Value::Int(1), Value::Int(2)])],
        );
    }

    #[test]
    fn nonsense_and_excess_are_refused() {
        for input in [
            "?\r\n",
            "\r\n",
            "*1\r\n\r\n",
            "$x\r\n",
            "$-2\r\n",
            "!-1\r\n",
            "%-1\r\n",
            "*?\r\n",
            ":x\r\n",
            "#x\r\n",
            "$1\r\nabc\r\n",
            "=1\r\nx\r\n",
            "*1\r\n*1\r\n*1\r\n*1\r\n*0\r\n",
            "$500\r\n",
            "$18446744073709551615\r\n",
            "*99999999999999999999999\r\n",
        ] {
            assert!(feed(&[input.as_bytes()]).is_err(), "{input}");
        }
        assert!(feed(&[&[b'+'; 300]]).is_err(), "a line without an end");
    }

    #[test]
    fn the_scanner_tells_errors_from_answers() {
        let mut scanner = Scanner::default();
        for (input, is_error) in [("-ERR\r\n", true), ("*1\r\n-ERR\r\n", false), ("+OK\r\n", false)]
        {
            let scanned = scanner.scan(input.as_bytes()).unwrap().unwrap();
            assert_eq!((scanned.len, scanned.is_error()), (input.len(), is_error));
        }
    }

    #[test]
    fn a_call_is_an_array_of_strings() {
        let mut out = Vec::new();
        encode_call(&mut out, &[b"GET", b""]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n");
    }
}

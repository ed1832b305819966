//! Requests: an incremental parser that says where the arguments lie.
//!
//! The caller keeps the bytes, in one buffer whose first byte begins a command, and calls `parse`
//! whenever more have come. The parser keeps offsets from that first byte, so the buffer may move
//! or grow between calls; what was understood once is not read again.
//!
//! ```text
//! *3\r\n $3\r\n SET\r\n $1\r\n k\r\n $5\r\n hello\r\n
//!               ╰─╯           ╰            ╰───╯     spans, from the command's start
//! ```
//!
//! What always holds: `at` is where the next thing to understand begins; there is no end of line
//! between `at` and `scanned`. A result does not depend on how the bytes were cut into reads.
//!
//! Cost: one pass over the headers, none over the arguments, and no allocation once `spans` has
//! grown. The line break behind an argument is skipped unread, as Redis does.

use std::fmt;

use super::inline::split_args;
use super::limits::Limits;
use crate::{Args, ArgsBuf, Span};

/// How far a buffer was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A command ends at `consumed`; `Parser::args` has it until the next `parse`.
    Complete { consumed: usize },
    /// A blank line or an array of no arguments, to be dropped without a reply.
    Blank { consumed: usize },
    /// More bytes are needed.
    Incomplete,
}

/// The client does not speak RESP, or says more than it may. It gets the text and is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    InvalidMultibulkLength,
    UnauthenticatedMultibulkLength,
    MultibulkLineTooBig,
    /// Something else stands where an argument must begin.
    ExpectedBulk(u8),
    InvalidBulkLength,
    UnauthenticatedBulkLength,
    BulkLineTooBig,
    InlineTooBig,
    UnbalancedQuotes,
    /// Redis cuts such a client off without a word.
    CommandTooBig,
}

/// Finds the arguments of one command after another.
#[derive(Debug, Default)]
pub struct Parser {
    stage: Stage,
    at: usize,
    scanned: usize,
    /// Arguments still to come.
    missing: usize,
    /// The length of the argument at `at`, once its header was read.
    bulk: Option<usize>,
    spans: Vec<Span>,
    /// The arguments of an inline command, whose escapes need bytes of their own.
    inline: ArgsBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// At the first byte of a command.
    #[default]
    Start,
    Arguments,
    DoneMultibulk,
    DoneInline,
}

/// After a command of more arguments than this, the memory for spans is given back.
const SPANS_KEPT_MAX: usize = 1024;

/// Lengths of more digits than this are read by the careful road.
const QUICK_DIGITS_MAX: usize = 9;

/// The name and the first argument of each command that stands whole in `bytes`, up to the first that is
/// no array of bulk strings or has none. They are looked at, and not checked.
pub fn skim(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (count, mut at) = skim_number(rest, b'*')?;
        let (mut name, mut first) = (&[][..], None);
        for argument in 0..count {
            let (length, start) = skim_number(at, b'$')?;
            let body = start.get(..length)?;
            at = start.get(length + 2..)?;
            match argument {
                0 => name = body,
                1 => first = Some(body),
                _ => {}
            }
        }
        rest = at;
        Some((name, first?))
    })
}

/// A number behind its mark, and what stands behind its line.
fn skim_number(bytes: &[u8], mark: u8) -> Option<(usize, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    if *first != mark {
        return None;
    }
    let mut number = 0_usize;
    while let [digit @ b'0'..=b'9', behind @ ..] = rest {
        // Longer than any that is allowed.
        number = number.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?;
        rest = behind;
    }
    rest.strip_prefix(b"\r\n").map(|rest| (number, rest))
}

impl Parser {
    /// A parser at the start of a command.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Goes on in `bytes`, whose first byte is the first of the current command. After `Complete`
    /// and `Blank` the next call begins the next command: drop `consumed` bytes before it.
    #[inline]
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        match self.stage {
            Stage::Arguments => return self.parse_arguments(bytes, limits),
            Stage::Start => {}
            Stage::DoneMultibulk | Stage::DoneInline => self.reset(),
        }
        match bytes.first() {
            None => Ok(Parsed::Incomplete),
            Some(b'*') => match self.parse_count(bytes, limits)? {
                None => Ok(Parsed::Incomplete),
                Some(0) => Ok(self.blank()),
                Some(count) => {
                    (self.stage, self.missing) = (Stage::Arguments, count);
                    self.parse_arguments(bytes, limits)
                }
            },
            Some(_) => self.parse_inline(bytes, limits),
        }
    }

    /// The arguments of the command that `parse` has just completed in the same `bytes`.
    pub fn args<'a>(&'a self, bytes: &'a [u8]) -> Args<'a> {
        match self.stage {
            Stage::DoneMultibulk => Args::new(bytes, &self.spans),
            Stage::DoneInline => self.inline.args(),
            Stage::Start | Stage::Arguments => Args::new(bytes, &[]),
        }
    }

    /// How many bytes the current command needs at least before it is worth to call `parse` again:
    /// the end of the argument that is arriving. Room for them can be made at once.
    pub fn wanted(&self) -> usize {
        self.bulk.map_or(self.at + 1, |len| self.at + len + 2)
    }

    /// The number of arguments; zero for none or fewer.
    fn parse_count(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        let count = match quick_length(bytes, b'*') {
            Some((count, line)) => {
                self.at = line;
                count
            }
            None => {
                let too_big = ProtocolError::MultibulkLineTooBig;
                let Some(end) = self.line_end(bytes, b'\r', limits, too_big)? else {
                    return Ok(None);
                };
                if end + 2 > bytes.len() {
                    return Ok(None);
                }
                let count = number(&bytes[1..end]).ok_or(ProtocolError::InvalidMultibulkLength)?;
                self.at = end + 2;
                // Too large for the machine's word is too large for the limit below, too.
                usize::try_from(count.max(0)).unwrap_or(usize::MAX)
            }
        };
        if count > limits.args_max {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if limits.unauthenticated.is_some_and(|limits| count > limits.args_max) {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        Ok(Some(count))
    }

    fn parse_arguments(&mut self, bytes: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        while self.missing > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.parse_bulk_length(bytes, limits)? {
                    Some(len) => len,
                    None => return Ok(Parsed::Incomplete),
                },
            };
            let end = self.at + len;
            if end + 2 > bytes.len() {
                self.bulk = Some(len);
                return Ok(Parsed::Incomplete);
            }
            // Within `command_bytes_max`, which is below 4 GiB.
            self.spans.push(Span { start: self.at as u32, end: end as u32 });
            (self.at, self.bulk) = (end + 2, None);
            self.missing -= 1;
        }
        self.stage = Stage::DoneMultibulk;
        Ok(Parsed::Complete { consumed: self.at })
    }

    fn parse_bulk_length(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        let start = self.at;
        let len = match quick_length(&bytes[start..], b'$') {
            Some((len, line)) => {
                self.at += line;
                len
            }
            None => {
                let too_big = ProtocolError::BulkLineTooBig;
                let Some(end) = self.line_end(bytes, b'\r', limits, too_big)? else {
                    return Ok(None);
                };
                if end + 2 > bytes.len() {
                    return Ok(None);
                }
                if bytes[start] != b'$' {
                    return Err(ProtocolError::ExpectedBulk(bytes[start]));
                }
                let len = number(&bytes[start + 1..end]).and_then(|len| usize::try_from(len).ok());
                self.at = end + 2;
                len.ok_or(ProtocolError::InvalidBulkLength)?
            }
        };
        if len > limits.bulk_bytes_max {
            return Err(ProtocolError::InvalidBulkLength);
        }
        if limits.unauthenticated.is_some_and(|limits| len > limits.bulk_bytes_max) {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        if self.at + len + 2 > limits.command_bytes_max {
            return Err(ProtocolError::CommandTooBig);
        }
        Ok(Some(len))
    }

    fn parse_inline(&mut self, bytes: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        let too_big = ProtocolError::InlineTooBig;
        let Some(end) = self.line_end(bytes, b'\n', limits, too_big)? else {
            return Ok(Parsed::Incomplete);
        };
        let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        self.inline.clear();
        split_args(line, &mut self.inline).map_err(|_| ProtocolError::UnbalancedQuotes)?;
        self.at = end + 1;
        if self.inline.args().is_empty() {
            return Ok(self.blank());
        }
        self.stage = Stage::DoneInline;
        Ok(Parsed::Complete { consumed: self.at })
    }

    fn blank(&mut self) -> Parsed {
        let consumed = self.at;
        self.reset();
        Parsed::Blank { consumed }
    }

    /// Looks for the byte that ends a line which begins at `at`. A zero byte hides all that follows
    /// it, as it does from Redis: such a line never ends and grows until it is too big.
    fn line_end(
        &mut self,
        bytes: &[u8],
        stop: u8,
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let from = self.scanned.max(self.at);
        let met = bytes[from..].iter().position(|&byte| byte == stop || byte == 0);
        self.scanned = met.map_or(bytes.len(), |offset| from + offset);
        let end = met.map(|offset| from + offset).filter(|&end| bytes[end] == stop);
        if end.unwrap_or(bytes.len()) - self.at > limits.line_bytes_max {
            return Err(too_big);
        }
        Ok(end)
    }

    #[inline]
    fn reset(&mut self) {
        (self.stage, self.at, self.scanned) = (Stage::Start, 0, 0);
        (self.missing, self.bulk) = (0, None);
        if self.spans.capacity() > SPANS_KEPT_MAX {
            self.spans = Vec::new();
        }
        self.spans.clear();
        if self.inline.bytes_capacity() > SPANS_KEPT_MAX {
            self.inline = ArgsBuf::new();
        }
    }
}

impl ProtocolError {
    /// Appends the error reply.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR Protocol error: ");
        if let ProtocolError::ExpectedBulk(byte) = self {
            out.extend_from_slice(b"expected '$', got '");
            out.push(if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte });
            out.push(b'\'');
        } else {
            out.extend_from_slice(self.text().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    fn text(&self) -> &'static str {
        match self {
            ProtocolError::InvalidMultibulkLength => "invalid multibulk length",
            ProtocolError::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            ProtocolError::MultibulkLineTooBig => "too big mbulk count string",
            ProtocolError::ExpectedBulk(_) => "expected '$'",
            ProtocolError::InvalidBulkLength => "invalid bulk length",
            ProtocolError::UnauthenticatedBulkLength => "unauthenticated bulk length",
            ProtocolError::BulkLineTooBig => "too big bulk count string",
            ProtocolError::InlineTooBig => "too big inline request",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::CommandTooBig => "too big request",
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocol error: {}", self.text())
    }
}

impl std::error::Error for ProtocolError {}

/// Reads a line such as `$12\r\n` in one pass: the number, and the length of the line. Nothing if
/// it is cut short or in any way unusual.
#[inline]
fn quick_length(bytes: &[u8], sigil: u8) -> Option<(usize, usize)> {
    let digit = |byte: u8| usize::from(byte - b'0');
    match *bytes {
        [first, ..] if first != sigil => None,
        // Nearly all are of one digit or two: with this a SET takes 25 ns, else 40.
        [_, a @ b'0'..=b'9', b'\r', _, ..] => Some((digit(a), 4)),
        [_, a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', _, ..] => Some((digit(a) * 10 + digit(b), 5)),
        [_, b'1'..=b'9', ..] => quick_long_length(&bytes[1..]),
        _ => None,
    }
}

fn quick_long_length(digits: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (offset, byte) in digits.iter().take(QUICK_DIGITS_MAX + 1).enumerate() {
        match byte {
            b'0'..=b'9' => value = value * 10 + usize::from(byte - b'0'),
            b'\r' => return (offset + 1 < digits.len()).then_some((value, offset + 3)),
            _ => return None,
        }
    }
    None
}

/// A number in the one form that Redis takes: no plus, no leading zeros, no blanks.
fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        [b'1'..=b'9', ..] => true,
        [b'0'] => text.len() == 1,
        _ => false,
    };
    if !plain {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resp::encode_call;

    #[test]
    fn commands_are_skimmed_as_far_as_they_are_whole() {
        let mut bytes = Vec::new();
        let calls: [&[&[u8]]; 4] =
            [&[b"GET", b"a"], &[b"SET", b"", b"\r\n"], &[b"PING"], &[b"GET", b"z"]];
        calls.iter().for_each(|call| encode_call(&mut bytes, call));
        let skimmed =
            |bytes| skim(bytes).map(|(name, key)| [name, key].concat()).collect::<Vec<_>>();
        assert_eq!(skimmed(&bytes), [&b"GETa"[..], b"SET"], "until one has no argument");
        assert_eq!(skimmed(&bytes[..21]), [b"GETa"], "the second is not whole");
        for odd in [
            "",
            "GET a\r\n",
            "*",
            "*2\r\n",
            "*2\r\n$-1\r\n",
            "*2\r\n$3\r\nGET\r\n$99\r\na\r\n",
            "*0\r\n",
        ] {
            assert!(skimmed(odd.as_bytes()).is_empty(), "{odd:?}");
        }
        let huge = "*99999999999999999999\r\n$18446744073709551615\r\nx\r\n";
        assert!(skimmed(huge.as_bytes()).is_empty());
        assert!(skimmed(b"*2\r\n$18446744073709551614\r\nx\r\n").is_empty());
    }

    proptest! {
        /// What is skimmed is what the parser finds, whatever the bytes are.
        #[test]
        fn what_is_skimmed_is_what_is_parsed(calls in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 1..4), 0..9), cut in 0..200_usize)
        {
            let mut bytes = Vec::new();
            for call in &calls {
                let args: Vec<&[u8]> = call.iter().map(Vec::as_slice).collect();
                encode_call(&mut bytes, &args);
            }
            bytes.truncate(cut);
            let skimmed: Vec<_> = skim(&bytes).map(|(name, key)| (name.to_vec(), key.to_vec())).collect();
            let (parsed, _) = feed(&[&bytes], &Limits::default());
            let parsed: Vec<_> = parsed.into_iter().map_while(|call| Some((call[0].clone(), call.get(1)?.clone()))).collect();
            prop_assert_eq!(skimmed, parsed);
        }
    }

    /// What a stream of bytes says: each command, then the error that ended it, if any.
    type Story = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

    /// Feeds the pieces as reads of a socket, and drops what was consumed as a server does.
    fn feed(pieces: &[&[u8]], limits: &Limits) -> Story {
        let (mut parser, mut buffer, mut commands) = (Parser::new(), Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match parser.parse(&buffer, limits) {
                    Ok(Parsed::Complete { consumed }) => {
                        commands.push(parser.args(&buffer).iter().map(<[u8]>::to_vec).collect());
                        buffer.drain(..consumed);
                    }
                    Ok(Parsed::Blank { consumed }) => drop(buffer.drain(..consumed)),
                    Ok(Parsed::Incomplete) => break,
                    Err(error) => return (commands, Some(error)),
                }
            }
        }
        (commands, None)
    }

    #[track_caller]
    fn check_with(
        input: &[u8],
        limits: &Limits,
        expect: &[&[&[u8]]],
        error: Option<ProtocolError>,
    ) {
        let owned = |command: &&[&[u8]]| command.iter().map(|arg| arg.to_vec()).collect();
        let expect: Story = (expect.iter().map(owned).collect(), error);
        let shown = String::from_utf8_lossy(&input[..input.len().min(99)]).into_owned();
        assert_eq!(feed(&[input], limits), expect, "{shown}");
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(feed(&bytes, limits), expect, "{shown} byte by byte");
        for cut in 0..input.len() {
            let (head, tail) = input.split_at(cut);
            assert_eq!(feed(&[head, tail], limits), expect, "{shown} cut at {cut}");
        }
    }

    #[track_caller]
    fn check(input: &[u8], expect: &[&[&[u8]]]) {
        check_with(input, &Limits::AUTHENTICATED, expect, None);
    }

    #[track_caller]
    fn check_error(input: &[u8], error: ProtocolError) {
        check_with(input, &Limits::AUTHENTICATED, &[], Some(error));
    }

    #[test]
    fn commands_come_out_however_the_bytes_are_cut() {
        check(b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]]);
        check(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n", &[&[b"SET", b"k", b"hello"]]);
        check(
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$12\r\nb\r\n$3\r\n*1\r\nc\r\n",
            &[&[b"GET", b"a"], &[b"GET", b"b\r\n$3\r\n*1\r\nc"]],
        );
        check(b"*2\r\n$0\r\n\r\n$3\r\n\0\r\n\r\n", &[&[b"", b"\0\r\n"]]);
        check(b"*10\r\n$1\r\na\r\n", &[]);
    }

    proptest! {
        #[test]
        fn whatever_is_sent_arrives_however_it_is_cut(
            commands in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6),
                0..6,
            ),
            cuts in proptest::collection::vec(1..40usize, 1..8),
        ) {
            let mut bytes = Vec::new();
            for command in &commands {
                let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                encode_call(&mut bytes, &args);
            }
            let (mut pieces, mut rest) = (Vec::new(), bytes.as_slice());
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(feed(&pieces, &Limits::AUTHENTICATED), (commands, None));
        }
    }

    #[test]
    fn inline_commands_and_arrays_take_turns() {
        check(b"PING\r\nset \"a b\" 'c'\n", &[&[b"PING"], &[b"set", b"a b", b"c"]]);
        check(
            b"get a\n*1\r\n$4\r\nPING\r\nget b\r\n",
            &[&[b"get", b"a"], &[b"PING"], &[b"get", b"b"]],
        );
        check(b"a\rb\r\n", &[&[b"a", b"b"]]);
        check(b"a b\0c\n", &[]);
    }

    #[test]
    fn empty_commands_are_passed_over() {
        check(b"\r\n\n  \r\n*0\r\n*-1\r\n*-10\r\nPING\r\n", &[&[b"PING"]]);
        let error = Some(ProtocolError::InvalidMultibulkLength);
        let input = b"*0\r\n*1\r\n$1\r\na\r\n*-0\r\n";
        check_with(input, &Limits::AUTHENTICATED, &[&[b"a"]], error);
    }

    #[test]
    fn nonsense_gets_the_texts_of_redis() {
        use ProtocolError::*;
        check_error(b"*3000000000\r\n", InvalidMultibulkLength);
        check_error(b"*1048577\r\n", InvalidMultibulkLength);
        check_error(b"*99999999999999999999999\r\n", InvalidMultibulkLength);
        check_error(b"*\r\n", InvalidMultibulkLength);
        check_error(b"*+1\r\n", InvalidMultibulkLength);
        check_error(b"*01\r\n", InvalidMultibulkLength);
        check_error(b"* 1\r\n", InvalidMultibulkLength);
        check_error(b"*1\r\n$-10\r\n", InvalidBulkLength);
        check_error(b"*1\r\n$2000000000\r\n", InvalidBulkLength);
        check_error(b"*1\r\n$blabla\r\n", InvalidBulkLength);
        check_error(b"*1\r\n$\r\n", InvalidBulkLength);
        check_error(b"*1\r\n$00\r\n", InvalidBulkLength);
        check_error(b"*1\r\nfoo\r\n", ExpectedBulk(b'f'));
        check_error(b"set \"\"\"test-key\"\"\" test-value\r\n", UnbalancedQuotes);
        let mut out = Vec::new();
        ExpectedBulk(b'f').encode(&mut out);
        assert_eq!(out, b"-ERR Protocol error: expected '$', got 'f'\r\n");
        out.clear();
        UnbalancedQuotes.encode(&mut out);
        assert_eq!(out, b"-ERR Protocol error: unbalanced quotes in request\r\n");
    }

    #[test]
    fn a_line_without_an_end_is_refused_once_it_is_too_long() {
        use ProtocolError::*;
        let limits = Limits { line_bytes_max: 40, ..Limits::AUTHENTICATED };
        let long = |head: &[u8], tail: &[u8]| [head, &[b'1'; 60], tail].concat();
        check_with(&long(b"", b""), &limits, &[], Some(InlineTooBig));
        check_with(&long(b"", b"\r\n"), &limits, &[], Some(InlineTooBig));
        check_with(&long(b"\0\n", b""), &limits, &[], Some(InlineTooBig));
        check_with(&long(b"*", b"\r\n"), &limits, &[], Some(MultibulkLineTooBig));
        check_with(&long(b"*\0\r\n", b""), &limits, &[], Some(MultibulkLineTooBig));
        check_with(&long(b"*1\r\n$", b""), &limits, &[], Some(BulkLineTooBig));
        check_with(&long(b"*1\r\n$\0", b"\r\n"), &limits, &[], Some(BulkLineTooBig));
        check_with(&[b' '; 40], &limits, &[], None);
    }

    #[test]
    fn before_a_password_little_is_accepted() {
        use ProtocolError::*;
        let limits = Limits::UNAUTHENTICATED;
        check_with(b"*11\r\n", &limits, &[], Some(UnauthenticatedMultibulkLength));
        check_with(b"*3000000000\r\n", &limits, &[], Some(InvalidMultibulkLength));
        check_with(b"*1\r\n$16385\r\n", &limits, &[], Some(UnauthenticatedBulkLength));
        check_with(b"*10\r\n$16384\r\n", &limits, &[], None);
        check_with(b"*1\r\n$4\r\nAUTH\r\n", &limits, &[&[b"AUTH"]], None);
    }

    #[test]
    fn a_command_is_bounded_as_a_whole() {
        let limits = Limits { command_bytes_max: 40, ..Limits::AUTHENTICATED };
        let input = b"*2\r\n$20\r\naaaaaaaaaaaaaaaaaaaa\r\n$20\r\n";
        check_with(input, &limits, &[], Some(ProtocolError::CommandTooBig));
    }

    #[test]
    fn the_room_that_an_argument_needs_is_known_from_its_header() {
        let mut parser = Parser::new();
        let limits = Limits::AUTHENTICATED;
        assert_eq!(parser.parse(b"*1\r\n$1000\r\nab", &limits), Ok(Parsed::Incomplete));
        assert_eq!(parser.wanted(), 11 + 1000 + 2);
    }
}

//! One client of one shard, for the tests of every family of commands.
//!
//! `Client::new().check("set k v", "+OK\r\n")`: the line is split as redis-cli splits it, the reply
//! is compared as bytes (those outside ASCII are shown as `\xff`).

use stdx::Millis;
use wire::{ArgsBuf, Proto};

use crate::context::Asker;
use crate::op::{Body, Op, Origin};
use crate::shard::{Effects, Outcome, Shard};
use crate::snapshot::{Loader, Saver};

/// A client that calls a shard of its own.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) shard: Shard,
    pub(crate) db: usize,
    pub(crate) proto: Proto,
    /// The stamp of the next call.
    pub(crate) now: u64,
    /// What followed from the calls so far, beside their replies.
    pub(crate) effects: Effects,
    /// Who asks: nobody, so that nothing blocks, until a test sets it.
    pub(crate) origin: Option<Origin>,
}

impl Client {
    /// A client of an empty shard, at time 1,000,000, speaking RESP2.
    pub(crate) fn new() -> Client {
        let (db, proto, effects) = (0, Proto::Resp2, Effects::default());
        Client { shard: Shard::new(), db, proto, now: 1_000_000, effects, origin: None }
    }

    /// The same, speaking RESP3.
    pub(crate) fn resp3() -> Client {
        Client { proto: Proto::Resp3, ..Client::new() }
    }

    /// Calls through the log and returns the reply; empty if the call waits.
    pub(crate) fn call(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let args: ArgsBuf = args.iter().copied().collect();
        let asker = Asker { db: self.db, proto: self.proto, origin: self.origin };
        let mut reply = Vec::new();
        let stamp = Millis(self.now);
        let outcome =
            self.shard.apply_call(stamp, asker, args.args(), &mut reply, &mut self.effects);
        assert_eq!(outcome == Outcome::Blocked, reply.is_empty(), "who waits has no reply");
        if args.args().is(0, "select") && reply == b"+OK\r\n" {
            self.db = String::from_utf8_lossy(&args.args()[1]).parse().unwrap();
        }
        reply
    }

    /// Splits a line into arguments, calls, and returns the reply as text.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let words = split(line);
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        shown(&self.call(&args))
    }

    /// Calls and compares.
    #[track_caller]
    pub(crate) fn check(&mut self, line: &str, expect: &str) {
        assert_eq!(self.run(line), expect, "{line}");
    }

    /// Calls a table of lines in turn and compares each reply.
    #[track_caller]
    pub(crate) fn check_all(&mut self, table: &[(&str, &str)]) {
        table.iter().for_each(|(line, expect)| self.check(line, expect));
    }

    /// Runs MULTI's queue, with nothing watched, and returns the reply as text.
    pub(crate) fn exec(&mut self, calls: Vec<(u8, ArgsBuf)>) -> String {
        self.apply(Body::Exec { watches: Vec::new(), calls, rollback: false })
    }

    /// As `exec`, for a queue of which one call that fails undoes all.
    pub(crate) fn exec_or_undo(&mut self, calls: Vec<(u8, ArgsBuf)>) -> String {
        self.apply(Body::Exec { watches: Vec::new(), calls, rollback: true })
    }

    /// Lets the time of the next call come.
    pub(crate) fn tick(&mut self) {
        assert_eq!(self.apply(Body::Tick), "", "a tick has no reply");
    }

    fn apply(&mut self, body: Body) -> String {
        let op = Op { proto: self.proto, origin: self.origin, body };
        let mut reply = Vec::new();
        self.shard.apply(Millis(self.now), &op, &mut reply, &mut self.effects);
        shown(&reply)
    }

    /// Replaces the shard by one that was loaded from its snapshot.
    pub(crate) fn reload(&mut self) {
        let (mut saver, mut bytes) = (Saver::begin(&mut self.shard), Vec::new());
        while !saver.step(&mut self.shard, 512, &mut bytes) {}
        let mut loader = Loader::begin(bytes).unwrap();
        while !loader.step(64).unwrap() {}
        self.shard = loader.finish();
    }
}

/// Bytes as text: ASCII stands for itself, the rest as `\xff`.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let show = |byte: &u8| match byte {
        0x80.. | 0..=8 => format!("\\x{byte:02x}"),
        _ => char::from(*byte).to_string(),
    };
    bytes.iter().map(show).collect()
}

/// Splits at spaces; `"…"` keeps spaces and knows `\n`, `\r`, `\"`, `\\` and `\xff`.
pub(crate) fn split(line: &str) -> Vec<Vec<u8>> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start().as_bytes());
    while !rest.is_empty() {
        let mut word = Vec::new();
        if rest[0] == b'"' {
            rest = quoted(&rest[1..], &mut word);
        } else {
            let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
            word.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    words
}

fn quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> &'a [u8] {
    loop {
        match rest {
            [b'"', after @ ..] => return after,
            [b'\\', b'x', high, low, after @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("a hex digit") as u8;
                word.push(digit(high) << 4 | digit(low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
            [] => panic!("a quote is not closed"),
        }
    }
}

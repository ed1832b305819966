//! One connection to a RESP server, without waiting: what is to be sent, what has come, and when
//! each call began whose reply is still to come.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Result, Write};

use mio::net::TcpStream;
use wire::resp::{Scanned, Scanner, encode_call};

use super::tally::Tally;

/// Bytes read at once; the buffer grows if one reply is larger.
const READ_BYTES: usize = 16 * 1024;

/// Bytes of an error's text that are kept.
const ERROR_TEXT_MAX: usize = 100;

/// A connection that is up, or on its way.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// It is not known yet whether anybody listens.
    pub(super) connecting: bool,
    /// A password was sent, and its reply has not come.
    authenticating: bool,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    filled: usize,
    scanner: Scanner,
    /// When each call in flight began, the oldest first.
    starts: VecDeque<u64>,
}

impl Connection {
    /// A connection that is being made.
    pub(super) fn new(stream: TcpStream, password: Option<&str>) -> Connection {
        let mut out = Vec::new();
        if let Some(password) = password {
            encode_call(&mut out, &[b"AUTH", password.as_bytes()]);
        }
        Connection {
            stream,
            connecting: true,
            authenticating: password.is_some(),
            out,
            sent: 0,
            input: vec![0; READ_BYTES],
            filled: 0,
            scanner: Scanner::default(),
            starts: VecDeque::new(),
        }
    }

    /// The socket can be written to for the first time: is it connected?
    pub(super) fn finish_connecting(&mut self) -> Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                self.connecting = false;
                self.stream.set_nodelay(true)?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How many calls have no reply yet.
    pub(super) fn in_flight(&self) -> usize {
        self.starts.len()
    }

    /// Adds a call that began at `start`; `flush` sends it.
    pub(super) fn push(&mut self, start: u64, encode: impl FnOnce(&mut Vec<u8>)) {
        self.starts.push_back(start);
        encode(&mut self.out);
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) -> Result<()> {
        while !self.connecting && self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Ok(())
    }

    /// Reads what has come and counts the calls that it ends. A read that did not fill the buffer
    /// has emptied the socket: no second one is needed to learn that.
    pub(super) fn receive(&mut self, clock: impl Fn() -> u64, tally: &mut Tally) -> Result<usize> {
        let before = self.starts.len();
        loop {
            let room = self.input.len() - self.filled;
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Err(closed()),
                Ok(count) => {
                    self.filled += count;
                    self.settle(clock(), tally)?;
                    if count < room || self.starts.is_empty() {
                        return Ok(before - self.starts.len());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(before - self.starts.len());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the calls whose replies are whole.
    fn settle(&mut self, now: u64, tally: &mut Tally) -> Result<()> {
        let mut at = 0;
        while at < self.filled {
            let rest = &self.input[at..self.filled];
            let scanned = self.scanner.scan(rest).map_err(Error::other)?;
            let Some(scanned) = scanned else { break };
            let reply = &rest[..scanned.len];
            at += scanned.len;
            if std::mem::take(&mut self.authenticating) {
                if scanned.is_error() {
                    return Err(Error::other(error_text(scanned, reply)));
                }
                continue;
            }
            let start = self.starts.pop_front();
            let start = start.ok_or_else(|| Error::other("a reply that nobody asked for"))?;
            match scanned.is_error() {
                false => tally.success(start, now),
                true => tally.error(&error_text(scanned, reply)),
            }
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        if self.filled == self.input.len() {
            self.input.resize(self.filled * 2, 0);
        }
        Ok(())
    }
}

/// What a read of nothing means.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")
}

/// The text of an error reply, of its line or of its string.
fn error_text(scanned: Scanned, reply: &[u8]) -> String {
    let body = reply.strip_suffix(b"\r\n").unwrap_or(reply);
    let head = if scanned.sigil == b'-' {
        1
    } else {
        body.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1)
    };
    let text = &body[head..];
    String::from_utf8_lossy(&text[..text.len().min(ERROR_TEXT_MAX)]).into_owned()
}

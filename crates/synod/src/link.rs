//! A connection to a RESP server that waits for its replies: for tools, not for load.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use wire::resp::{Decoder, ReplyLimits, Value, encode_call};

/// Read from the socket in one go.
const READ_BYTES: usize = 64 * 1024;

/// What INFO tells of this.
pub(crate) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// A connection and what has come on it.
#[derive(Debug)]
pub(crate) struct Link {
    /// As it was asked for; errors begin with it.
    addr: String,
    stream: TcpStream,
    decoder: Decoder,
    input: Vec<u8>,
    /// `input[..at]` was decoded.
    at: usize,
}

impl Link {
    /// Connects. Each step, and each wait for a reply, may take as long as `timeout`.
    pub(crate) fn connect(addr: &str, timeout: Duration) -> Result<Link, String> {
        let shown = |error: io::Error| format!("{addr}: {error}");
        let mut addrs = addr.to_socket_addrs().map_err(shown)?;
        let first = addrs.next().ok_or_else(|| format!("{addr}: the name has no address"))?;
        let stream = TcpStream::connect_timeout(&first, timeout).map_err(shown)?;
        stream.set_read_timeout(Some(timeout)).map_err(shown)?;
        stream.set_write_timeout(Some(timeout)).map_err(shown)?;
        stream.set_nodelay(true).map_err(shown)?;
        Ok(Link {
            addr: addr.to_owned(),
            stream,
            decoder: Decoder::new(ReplyLimits::default()),
            input: Vec::new(),
            at: 0,
        })
    }

    /// From now on each step may take as long as this.
    pub(crate) fn wait_for(&mut self, timeout: Duration) -> Result<(), String> {
        let set = self.stream.set_read_timeout(Some(timeout));
        set.and_then(|()| self.stream.set_write_timeout(Some(timeout)))
            .map_err(|error| self.failed(&error))
    }

    /// Shows a password, if there is one.
    pub(crate) fn authenticate(
        &mut self,
        user: Option<&str>,
        password: Option<&str>,
    ) -> Result<(), String> {
        let Some(password) = password else { return Ok(()) };
        match user {
            Some(user) => self.must(&[b"AUTH", user.as_bytes(), password.as_bytes()])?,
            None => self.must(&[b"AUTH", password.as_bytes()])?,
        };
        Ok(())
    }

    /// Whom this is a connection to.
    pub(crate) fn addr(&self) -> &str {
        &self.addr
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> String {
        format!("{}: {error}", self.addr)
    }

    /// Sends calls that were encoded.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = self.stream.write_all(bytes);
        written.map_err(|error| self.failed(&error))
    }

    /// Waits for the next reply, which may be an error.
    pub(crate) fn reply(&mut self) -> Result<Value, String> {
        loop {
            let decoded = self.decoder.decode(&self.input[self.at..]);
            if let Some((value, len)) = decoded.map_err(|error| self.failed(&error))? {
                self.at += len;
                return Ok(value);
            }
            self.receive()?;
        }
    }

    /// Sends a call and waits for its reply, which may be an error.
    pub(crate) fn call(&mut self, args: &[&[u8]]) -> Result<Value, String> {
        let mut bytes = Vec::new();
        encode_call(&mut bytes, args);
        self.send(&bytes)?;
        self.reply()
    }

    /// As `call`, where an error reply is a failure.
    pub(crate) fn must(&mut self, args: &[&[u8]]) -> Result<Value, String> {
        match self.call(args)? {
            Value::Error(text) => Err(self.failed(&text)),
            value => Ok(value),
        }
    }

    /// A line that is no reply, without its end: what a server says before it sends a dump.
    pub(crate) fn line(&mut self) -> Result<String, String> {
        const LINE_BYTES_MAX: usize = 64 * 1024;
        loop {
            let rest = &self.input[self.at..];
            if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let line = rest[..end].trim_ascii_end();
                let line = String::from_utf8_lossy(line).into_owned();
                self.at += end + 1;
                return Ok(line);
            }
            if rest.len() > LINE_BYTES_MAX {
                return Err(self.failed(&"a line without an end"));
            }
            self.receive()?;
        }
    }

    /// Bytes that are no reply: what has come, or else what comes next.
    pub(crate) fn bytes(&mut self, bytes: &mut Vec<u8>) -> Result<(), String> {
        if self.at == self.input.len() {
            self.receive()?;
        }
        bytes.extend_from_slice(&self.input[self.at..]);
        self.at = self.input.len();
        Ok(())
    }

    /// Reads what comes next behind what is there.
    fn receive(&mut self) -> Result<(), String> {
        self.input.drain(..self.at);
        self.at = 0;
        let from = self.input.len();
        self.input.resize(from + READ_BYTES.max(from), 0);
        let count = loop {
            match self.stream.read(&mut self.input[from..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.input.truncate(from + *count.as_ref().unwrap_or(&0));
        match count {
            Ok(0) => Err(self.failed(&"the server closed the connection")),
            Ok(_) => Ok(()),
            // What a timeout of the socket is called.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(self.failed(&"no answer in time"))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }
}

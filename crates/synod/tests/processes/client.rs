//! A client that does what it is told: it never retries, and never hides an error.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use wire::resp::{Decoder, ReplyLimits, Value, encode_call};

/// Longer than a node lets a request wait.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    decoder: Decoder,
    input: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(addr: &str) -> io::Result<Client> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Client { stream, decoder: Decoder::new(ReplyLimits::default()), input: Vec::new() })
    }

    /// Sends one call and waits for its reply.
    pub(crate) fn call(&mut self, args: &[&str]) -> io::Result<Value> {
        self.send(&[args])?;
        self.reply()
    }

    /// As `call`, for those who can rely on an answer.
    pub(crate) fn ask(&mut self, args: &[&str]) -> Value {
        self.call(args).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    /// A call that must succeed.
    pub(crate) fn must(&mut self, args: &[&str]) -> Value {
        match self.ask(args) {
            Value::Error(text) => panic!("{args:?}: {text}"),
            reply => reply,
        }
    }

    /// Sends calls in one write.
    pub(crate) fn send(&mut self, calls: &[&[&str]]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for call in calls {
            let args: Vec<&[u8]> = call.iter().map(|arg| arg.as_bytes()).collect();
            encode_call(&mut bytes, &args);
        }
        self.stream.write_all(&bytes)
    }

    /// Waits for the next reply.
    pub(crate) fn reply(&mut self) -> io::Result<Value> {
        loop {
            let decoded = self.decoder.decode(&self.input).expect("the node sends RESP");
            if let Some((value, len)) = decoded {
                self.input.drain(..len);
                return Ok(value);
            }
            let mut part = [0; 16 * 1024];
            let count = match self.stream.read(&mut part) {
                // A read with a timeout is not begun anew by the system.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.input.extend_from_slice(&part[..count]);
        }
    }
}

/// A bulk string.
pub(crate) fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

/// An array of bulk strings.
pub(crate) fn bulks(texts: &[&str]) -> Value {
    Value::Array(texts.iter().map(|text| bulk(text)).collect())
}

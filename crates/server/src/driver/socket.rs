//! One socket of the loop: what is known of its readiness, and bytes on their way out.
//!
//! Readiness is edge-triggered: the kernel says it once. A read that fills less than was offered
//! has emptied the socket, so that the usual request costs one read and one write.

use std::io::{self, ErrorKind, Write};

use mio::net::TcpStream;

/// Memory for output that a connection keeps while it has nothing to send.
const SENDING_BYTES_KEPT: usize = 16 * 1024;

/// What a read or write has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many bytes; the socket is empty (or full) for the moment.
    Some(usize),
    /// So many bytes, and there may be more.
    More(usize),
    /// The other side sends no more; it may still read.
    Ended,
    /// The other side is gone.
    Closed,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The kernel has seen the end of the other side's bytes: it does not say so again, so every
    /// read goes on until it meets that end.
    pub(super) ending: bool,
    /// Bytes on their way, sent up to `sent`.
    sending: Vec<u8>,
    sent: usize,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Socket {
        Socket {
            stream,
            readable: true,
            writable: true,
            ending: false,
            sending: Vec::new(),
            sent: 0,
        }
    }

    /// Reads to the end of `input`, as much as fits into its spare room, which is never filled with
    /// zeros first: that would cost as much as the rest of a small request.
    pub(super) fn read(&mut self, input: &mut Vec<u8>) -> Moved {
        let room = input.capacity() - input.len();
        assert!(room > 0, "a read needs room");
        match rustix::io::read(&self.stream, rustix::buffer::spare_capacity(input)) {
            Ok(0) => Moved::Ended,
            Ok(count) if count == room || self.ending => Moved::More(count),
            Ok(count) => {
                self.readable = false;
                Moved::Some(count)
            }
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {
                self.readable = false;
                Moved::Some(0)
            }
            Err(_) => Moved::Closed,
        }
    }

    /// Bytes that wait to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.sending.len() - self.sent
    }

    /// Sends what is in `out`, behind what is still on its way.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) -> Moved {
        let mut moved = 0;
        loop {
            if self.sent == self.sending.len() {
                self.sent = 0;
                self.sending.clear();
                self.sending.shrink_to(SENDING_BYTES_KEPT);
                std::mem::swap(&mut self.sending, out);
                if self.sending.is_empty() {
                    return Moved::More(moved);
                }
            }
            if !self.writable {
                return Moved::Some(moved);
            }
            match self.stream.write(&self.sending[self.sent..]) {
                Ok(count) => {
                    self.sent += count;
                    moved += count;
                }
                Err(error) if would_block(&error) => self.writable = false,
                Err(_) => return Moved::Closed,
            }
        }
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

//! Protocols: bytes to values and back, both directions, without a socket.
//!
//! [`Args`] is a command as it came, [`Reply`] appends an answer in the client's protocol to the
//! client's own buffer: between the two no tree of values is built. [`resp`] finds the commands in
//! the bytes of a client, and reads replies where we are the client.

mod args;
mod reply;
pub mod resp;

pub use args::{Args, ArgsBuf, Span};
pub use reply::{Deferred, Proto, Reply};

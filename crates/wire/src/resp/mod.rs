//! RESP, both directions: what clients send, and what a client reads.
//!
//! ```text
//! client's bytes ─▶ Parser ─▶ Args            server: spans into the buffer, nothing is copied
//! server's bytes ─▶ Decoder ─▶ Value          client: a tree, for tools and tests
//!                └▶ Scanner ─▶ kind, length   client: no tree, for the load generator
//! ```
//!
//! All of them work on a plain buffer that grows at its end, and stop and go on wherever it is cut:
//! a command of a thousand reads is looked at once, not a thousand times.
//! Not here: writing replies (`wire::Reply`), the meaning of any command.
//! Source: Redis serialization protocol specification; error texts and limits of Redis 7.0.

mod inline;
mod limits;
mod reply;
mod request;

pub use inline::{Unbalanced, split_args};
pub use limits::{Limits, ReplyLimits};
pub use reply::{
    Decoder, Malformed, Scanned, Scanner, Value, elements, encode_arg, encode_call, encode_count,
    is_null,
};
pub use request::{Parsed, Parser, ProtocolError, skim};

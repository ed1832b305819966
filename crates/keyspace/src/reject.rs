//! What a user can do wrong: part of the reply, and equal on every replica.

use std::borrow::Cow;

/// A command was refused. Nothing was changed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// The key holds another type.
    WrongType,
    /// The options are not of the command's grammar.
    Syntax,
    /// An argument is not a 64-bit integer.
    NotInteger,
    /// An argument is not a number.
    NotFloat,
    /// An index is outside.
    IndexOutOfRange,
    /// The key must exist.
    NoKey,
    /// The result would be larger than a string may be.
    TooLong,
    /// Any other: code and text as Redis has them, without the dash.
    Text(Cow<'static, str>),
}

impl Reject {
    /// A fixed text, with its code: `Reject::text("ERR no such thing")`.
    pub const fn text(text: &'static str) -> Reject {
        Reject::Text(Cow::Borrowed(text))
    }

    /// The line that the client gets, without the dash.
    pub fn message(&self) -> &str {
        match self {
            Reject::WrongType => {
                "WRONGTYPE Operation against a key holding the wrong kind of value"
            }
            Reject::Syntax => "ERR syntax error",
            Reject::NotInteger => "ERR value is not an integer or out of range",
            Reject::NotFloat => "ERR value is not a valid float",
            Reject::IndexOutOfRange => "ERR index out of range",
            Reject::NoKey => "ERR no such key",
            Reject::TooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            Reject::Text(text) => text,
        }
    }
}

impl From<String> for Reject {
    fn from(text: String) -> Reject {
        Reject::Text(Cow::Owned(text))
    }
}

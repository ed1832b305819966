//! Errors on their way from Rust through Lua.
//!
//! A function that is written in Rust returns `mlua::Error`, which Lua carries as a value of its
//! own. What a script must see instead (a text, a table with `err`, or nothing because it is over)
//! travels inside as a [`Raise`] and is unpacked wherever a script can catch an error: see
//! `prelude.lua`.

use std::fmt;

use mlua::{Error, Lua, Value};

/// The name of the prelude's chunk: its frames are not the script's.
pub(super) const PRELUDE: &str = "=(synod)";

/// How the prelude's positions begin in error texts.
const PRELUDE_POSITION: &[u8] = b"(synod):";

/// What is raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raise {
    /// A string, as `error("…")` raises it.
    Text(Vec<u8>),
    /// A table with this `err` field, code first. `counted`: a command failed, which Redis marks
    /// so that it is not counted again.
    Reply { err: Vec<u8>, counted: bool },
    /// The end of the script, which it cannot catch.
    Stop(Limit),
}

/// Which limit ended a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Steps,
    Memory,
}

impl fmt::Display for Raise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raise::Text(text) | Raise::Reply { err: text, .. } => {
                f.write_str(&String::from_utf8_lossy(text))
            }
            Raise::Stop(limit) => write!(f, "stopped at the limit of {limit:?}"),
        }
    }
}

impl std::error::Error for Raise {}

impl From<Raise> for Error {
    fn from(raise: Raise) -> Error {
        Error::external(raise)
    }
}

impl Raise {
    /// As the functions of `redis` raise their own errors: `-CODE text` as it is, any other text
    /// behind a generic `ERR`.
    pub(super) fn reply(text: &[u8]) -> Raise {
        Raise::Reply { err: error_text(text), counted: false }
    }
}

/// A text as the `err` field of an error table: the code, a space, the message.
pub(super) fn error_text(text: &[u8]) -> Vec<u8> {
    let (code, message) = match text.strip_prefix(b"-") {
        None => (&b"ERR"[..], text),
        Some(rest) => match rest.iter().position(|&byte| byte == b' ') {
            None => (&b"ERR"[..], rest),
            Some(space) => (&rest[..space], &rest[space + 1..]),
        },
    };
    let line_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = message.iter().take_while(|byte| line_break(byte)).count();
    let end = message.len() - message[start..].iter().rev().take_while(|b| line_break(b)).count();
    [code, b" ", &message[start..end]].concat()
}

/// A text behind the position of the Lua function that called this one.
pub(super) fn at_caller(lua: &Lua, text: &str) -> Error {
    let position = lua.inspect_stack(1, |debug| {
        let line = debug.current_line().filter(|line| *line > 0)?;
        Some(format!("{}:{line}: ", debug.source().short_src?))
    });
    let position = position.flatten().unwrap_or_default();
    Raise::Text(format!("{position}{text}").into_bytes()).into()
}

/// The error of Lua's own libraries for a wrong argument of this function.
pub(super) fn bad_argument(lua: &Lua, number: usize, problem: &str) -> Error {
    let name = lua.inspect_stack(0, |debug| debug.names().name.map(|name| name.into_owned()));
    let name = name.flatten().unwrap_or_else(|| "?".to_owned());
    at_caller(lua, &format!("bad argument #{number} to '{name}' ({problem})"))
}

/// What a script sees of an error: the string or the table. A stop is raised again.
pub(super) fn unpack(lua: &Lua, value: Value) -> mlua::Result<Value> {
    let Value::Error(error) = value else { return Ok(value) };
    let text = match error.downcast_ref::<Raise>() {
        Some(Raise::Text(text)) => text.clone(),
        Some(Raise::Reply { err, counted }) => {
            let table = lua.create_table()?;
            table.raw_set("err", lua.create_string(err)?)?;
            if *counted {
                table.raw_set("ignore_error_stats_update", true)?;
            }
            return Ok(Value::Table(table));
        }
        Some(stop @ Raise::Stop(_)) => return Err(stop.clone().into()),
        None if is_memory(&error) => return Err(Raise::Stop(Limit::Memory).into()),
        None => plain_text(&error).into_bytes(),
    };
    lua.create_string(text).map(Value::String)
}

/// Which limit ended the script, if this is the end of one.
pub(super) fn stop_of(error: &Error) -> Option<Limit> {
    match error.downcast_ref::<Raise>() {
        Some(Raise::Stop(limit)) => Some(*limit),
        Some(_) => None,
        None => is_memory(error).then_some(Limit::Memory),
    }
}

fn root(mut error: &Error) -> &Error {
    while let Error::CallbackError { cause, .. }
    | Error::WithContext { cause, .. }
    | Error::BadArgument { cause, .. } = error
    {
        error = cause;
    }
    error
}

fn is_memory(error: &Error) -> bool {
    matches!(root(error), Error::MemoryError(_))
}

/// An error of the binding itself, in one line.
fn plain_text(error: &Error) -> String {
    let text = match root(error) {
        Error::RuntimeError(text) => text.clone(),
        Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

/// Takes the prelude's own position from the front of a text.
pub(super) fn without_prelude(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(PRELUDE_POSITION)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest[digits..].strip_prefix(b": ")
}

#[cfg(test)]
mod tests {
    use super::{error_text, without_prelude};

    #[test]
    fn an_error_has_a_code_and_no_line_break_at_its_ends() {
        for (text, expect) in [
            ("wrong number", "ERR wrong number"),
            ("-WRONGTYPE Operation\r\n", "WRONGTYPE Operation"),
            ("-ERR", "ERR ERR"),
            ("-", "ERR "),
            ("-MY_CODE a b", "MY_CODE a b"),
        ] {
            assert_eq!(error_text(text.as_bytes()), expect.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn only_the_position_of_the_prelude_is_taken_away() {
        assert_eq!(without_prelude(b"(synod):12: bad"), Some(&b"bad"[..]));
        assert_eq!(without_prelude(b"user_script:1: bad"), None);
    }
}

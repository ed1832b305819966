//! Strings.

use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::{Context, notify};
use crate::number::parse_i64;
use crate::reject::Reject;
use crate::str::Str;
use crate::value::Value;

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] =
    &[
        Command::new("get", 2, Flags::READONLY.and(Flags::FAST), Keys::one(1), Run::Read(get)).doc(
            Group::String,
            "1.0.0",
            "O(1)",
            "Get the value of a key",
        ),
        Command::new("set", -3, Flags::WRITE.and(Flags::DENYOOM), Keys::one(1), Run::Write(set))
            .doc(Group::String, "1.0.0", "O(1)", "Set the string value of a key"),
    ];

fn get(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    match cx.get(&args[1]) {
        None => reply.null(),
        Some(Value::Str(text)) => reply.bulk(text),
        Some(Value::Int(number)) => reply.bulk_int(*number),
        Some(Value::Buffer(text)) => reply.bulk(text),
        Some(_) => return Err(Reject::WrongType),
    }
    Ok(())
}

fn set(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    if args.len() > 3 {
        return Err(Reject::Syntax);
    }
    cx.insert(&args[1], string_value(&args[2]));
    cx.notify(notify::STRING, "set", &args[1]);
    reply.ok();
    Ok(())
}

/// A string as it is kept: an integer if it is one.
fn string_value(text: &[u8]) -> Value {
    parse_i64(text).map_or_else(|| Value::Str(Str::from(text)), Value::Int)
}

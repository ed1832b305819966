//! `redis.call` and `redis.pcall`: a script runs a command on the shard that it runs on.
//!
//! The command sees the same frozen moment as the script. Its reply is written as RESP and read
//! back as Lua values.

use std::cell::RefCell;

use mlua::{Lua, MultiValue, Value};
use wire::{Args, ArgsBuf, Proto, Reply};

use super::convert::ReplyReader;
use super::number::format_g;
use super::raise::{Raise, error_text, unpack};
use super::vm::{Lift, Shared};
use crate::command::{self, Flags, Run};
use crate::context::Context;
use crate::limits::{SCRIPT_CALL_STEPS, SCRIPT_STEP_BYTES};
use crate::shard::execute;

/// The way from a running script to the shard.
#[derive(Debug)]
pub(super) struct Bridge<'b, 'cx> {
    at: RefCell<Place<'b, 'cx>>,
    shared: &'b Shared,
    /// The script may not write.
    read_only: bool,
}

#[derive(Debug)]
struct Place<'b, 'cx> {
    cx: &'b mut Context<'cx>,
    args: ArgsBuf,
    reply: Vec<u8>,
}

impl<'b, 'cx> Bridge<'b, 'cx> {
    /// A bridge to the shard of this context.
    pub(super) fn new(
        cx: &'b mut Context<'cx>,
        shared: &'b Shared,
        read_only: bool,
    ) -> Bridge<'b, 'cx> {
        let at = RefCell::new(Place { cx, args: ArgsBuf::new(), reply: Vec::new() });
        Bridge { at, shared, read_only }
    }

    /// `redis.call`: an error is raised.
    pub(super) fn call(&self, lua: &Lua, args: MultiValue) -> mlua::Result<Value> {
        self.run(lua, args).map_err(mlua::Error::from)?.read(lua, true)
    }

    /// `redis.pcall`: an error is a value.
    pub(super) fn pcall(&self, lua: &Lua, args: MultiValue) -> mlua::Result<Value> {
        match self.run(lua, args) {
            Ok(reply) => reply.read(lua, false),
            Err(raise) => unpack(lua, Value::Error(Box::new(raise.into()))),
        }
    }

    fn run(&self, _lua: &Lua, values: MultiValue) -> Result<CommandReply, Raise> {
        let mut place = self.at.borrow_mut();
        let Place { cx, args, reply } = &mut *place;
        put_args(args, values)?;
        check(args.args(), self.read_only)?;
        let proto = if self.shared.is_resp3() { Proto::Resp3 } else { Proto::Resp2 };
        cx.proto = proto;
        let mut bytes = std::mem::take(reply);
        bytes.clear();
        execute(cx, args.args(), &mut Reply::new(&mut bytes, proto));
        let moved = (args.args().bytes_len() + bytes.len()) as i64 / SCRIPT_STEP_BYTES;
        self.shared.charge(SCRIPT_CALL_STEPS + moved)?;
        Ok(CommandReply { bytes })
    }
}

/// The reply of a command, as RESP.
struct CommandReply {
    bytes: Vec<u8>,
}

impl CommandReply {
    fn read(&self, lua: &Lua, raise: bool) -> mlua::Result<Value> {
        if let (true, [b'-', line @ ..]) = (raise, &self.bytes[..]) {
            let err = error_text(&[b"-", line].concat());
            return Err(Raise::Reply { err, counted: true }.into());
        }
        let _lift = Lift::of_small(lua, self.bytes.len())?;
        ReplyReader::new(&self.bytes).read(lua)
    }
}

fn put_args(args: &mut ArgsBuf, values: MultiValue) -> Result<(), Raise> {
    if values.is_empty() {
        let text = b"Please specify at least one argument for this redis lib call";
        return Err(Raise::reply(text));
    }
    args.clear();
    for value in values {
        match value {
            Value::String(text) => args.push(&text.as_bytes()),
            Value::Integer(number) if number.unsigned_abs() < 100_000_000_000_000_000 => {
                args.push(itoa::Buffer::new().format(number).as_bytes());
            }
            Value::Integer(number) => args.push(format_g(number as f64, 17).as_bytes()),
            Value::Number(number) => args.push(format_g(number, 17).as_bytes()),
            _ => {
                let text = b"Lua redis lib command arguments must be strings or integers";
                return Err(Raise::reply(text));
            }
        }
    }
    Ok(())
}

/// What a script may not call, with the texts that Redis has for scripts.
fn check(args: Args<'_>, read_only: bool) -> Result<(), Raise> {
    let refuse = |text: &str| Err(Raise::Reply { err: text.as_bytes().to_vec(), counted: true });
    let found = command::find(args);
    let known = found.filter(|row| !(matches!(row.run, Run::Container) && args.len() > 1));
    let Some(row) = known else {
        return refuse("ERR Unknown Redis command called from script");
    };
    if !row.arity_fits(args.len()) {
        return refuse("ERR Wrong number of args calling Redis command from script");
    }
    if row.flags.has(Flags::NOSCRIPT) {
        return refuse("ERR This Redis command is not allowed from script");
    }
    if read_only && (row.flags.has(Flags::WRITE) || row.flags.has(Flags::MAY_REPLICATE)) {
        return refuse("ERR Write commands are not allowed from read-only scripts.");
    }
    Ok(())
}

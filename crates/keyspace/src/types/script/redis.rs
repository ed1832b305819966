//! The `redis` table of scripts and libraries, but for `call` and `pcall` (see `call`).
//!
//! What has no meaning here is accepted as Redis accepts it: `set_repl` (every replica applies
//! every write), `log` (a replica may not do I/O; the text is dropped), `breakpoint` and `debug`
//! (there is no debugger).

use std::sync::Arc;

use mlua::{BString, Function, Lua, MultiValue, Table, Value};
use sha1::{Digest, Sha1};

use super::arguments::Arguments;
use super::number::to_i64;
use super::prng::Prng;
use super::raise::{Raise, at_caller, error_text};
use super::shebang::{ScriptFlags, check_name};
use super::vm::Shared;
use crate::command;

/// The version of Redis whose behaviour this is.
const REDIS_VERSION: &str = "7.0.15";
const REDIS_VERSION_NUM: i64 = 0x07_00_0f;

/// A function that a library registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) name: Vec<u8>,
    pub(super) description: Option<Vec<u8>>,
    pub(super) flags: ScriptFlags,
}

/// What a library registers while its code runs.
#[derive(Debug, Default)]
pub(super) struct Registry {
    functions: Vec<Registered>,
    /// The callbacks by name; there is no table when no library is being run.
    callbacks: Option<Table>,
}

impl Registry {
    /// A library's code is about to run.
    pub(super) fn open(&mut self, lua: &Lua) -> mlua::Result<()> {
        *self = Registry { functions: Vec::new(), callbacks: Some(lua.create_table()?) };
        Ok(())
    }

    /// The code has run.
    pub(super) fn close(&mut self) -> Registry {
        std::mem::take(self)
    }

    /// What was registered, in that order.
    pub(super) fn into_functions(self) -> Vec<Registered> {
        self.functions
    }

    /// The callback of this name.
    pub(super) fn function(&self, name: &str) -> mlua::Result<Option<Function>> {
        self.callbacks.as_ref().map_or(Ok(None), |callbacks| callbacks.raw_get(name))
    }

    fn add(&mut self, function: Registered, callback: Function) -> mlua::Result<()> {
        let Some(callbacks) = &self.callbacks else { return Err(not_loading()) };
        if let Err(reject) = check_name(&function.name) {
            return Err(Raise::reply(reject.message().trim_start_matches("ERR ").as_bytes()).into());
        }
        if self.functions.iter().any(|other| other.name == function.name) {
            return Err(raise("Function already exists in the library"));
        }
        callbacks.raw_set(BString::from(&function.name[..]), callback)?;
        self.functions.push(function);
        Ok(())
    }
}

fn raise(text: &str) -> mlua::Error {
    Raise::reply(text.as_bytes()).into()
}

fn not_loading() -> mlua::Error {
    raise("redis.register_function can only be called on FUNCTION LOAD command")
}

/// The tables for EVAL, for functions and for the code of libraries.
pub(super) fn tables(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<[Table; 3]> {
    let [script, function, library] =
        [lua.create_table()?, lua.create_table()?, lua.create_table()?];
    for table in [&script, &function] {
        // Their places are taken at once: a table keeps its order when a value is replaced.
        table.raw_set("call", false)?;
        table.raw_set("pcall", false)?;
        put_common(lua, table)?;
        put_protocol(lua, table, shared)?;
    }
    script.raw_set("breakpoint", lua.create_function(|_, _: MultiValue| Ok(false))?)?;
    script.raw_set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    script.raw_set("replicate_commands", lua.create_function(|_, _: MultiValue| Ok(true))?)?;
    put_common(lua, &library)?;
    library.raw_set("register_function", register_function(lua, shared)?)?;
    Ok([script, function, library])
}

/// What libraries may use as well: the log and the version.
fn put_common(lua: &Lua, table: &Table) -> mlua::Result<()> {
    table.raw_set("log", lua.create_function(log)?)?;
    for (level, name) in
        ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"].iter().enumerate()
    {
        table.raw_set(*name, level)?;
    }
    table.raw_set("REDIS_VERSION_NUM", REDIS_VERSION_NUM)?;
    table.raw_set("REDIS_VERSION", REDIS_VERSION)
}

fn put_protocol(lua: &Lua, table: &Table, shared: &Arc<Shared>) -> mlua::Result<()> {
    let chosen = Arc::clone(shared);
    table.raw_set("setresp", lua.create_function(move |_, args| setresp(&chosen, args))?)?;
    table.raw_set("sha1hex", lua.create_function(sha1hex)?)?;
    table.raw_set("error_reply", lua.create_function(error_reply)?)?;
    table.raw_set("status_reply", lua.create_function(status_reply)?)?;
    table.raw_set("set_repl", lua.create_function(set_repl)?)?;
    for (name, value) in
        [("REPL_NONE", 0), ("REPL_AOF", 1), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)]
    {
        table.raw_set(name, value)?;
    }
    table.raw_set("acl_check_cmd", lua.create_function(acl_check_cmd)?)
}

fn log(lua: &Lua, args: MultiValue) -> mlua::Result<()> {
    let args = Arguments::new(lua, &args);
    if args.len() < 2 {
        return Err(raise("redis.log() requires two arguments or more."));
    }
    let Ok(level) = args.number(1) else {
        return Err(raise("First argument must be a number (log level)."));
    };
    if !(0..=3).contains(&to_i64(level)) {
        return Err(raise("Invalid debug level."));
    }
    Ok(())
}

fn setresp(shared: &Shared, args: MultiValue) -> mlua::Result<()> {
    if args.len() != 1 {
        return Err(raise("redis.setresp() requires one argument."));
    }
    match number_or_zero(&args) {
        2 => shared.set_resp3(false),
        3 => shared.set_resp3(true),
        _ => return Err(raise("RESP version must be 2 or 3.")),
    }
    Ok(())
}

fn set_repl(_: &Lua, args: MultiValue) -> mlua::Result<()> {
    if args.len() != 1 {
        return Err(raise("redis.set_repl() requires two arguments."));
    }
    if number_or_zero(&args) & !3 != 0 {
        let text = "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
        return Err(raise(text));
    }
    Ok(())
}

fn number_or_zero(args: &MultiValue) -> i64 {
    match args.front() {
        Some(Value::Integer(number)) => *number,
        Some(Value::Number(number)) => to_i64(*number),
        Some(Value::String(text)) => text.to_string_lossy().trim().parse::<f64>().map_or(0, to_i64),
        _ => 0,
    }
}

fn sha1hex(lua: &Lua, args: MultiValue) -> mlua::Result<String> {
    if args.len() != 1 {
        return Err(raise("wrong number of arguments"));
    }
    // What is neither string nor number counts as empty, as in Redis.
    let text = lua.coerce_string(args[0].clone())?;
    Ok(text.map_or_else(|| digest(b""), |text| digest(&text.as_bytes())))
}

/// The SHA-1 of some bytes in hexadecimal: what scripts are named by.
pub(super) fn digest(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let hash = Sha1::digest(bytes);
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn error_reply(lua: &Lua, args: MultiValue) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let err = match args.front() {
        Some(Value::String(text)) if args.len() == 1 => {
            let text = text.as_bytes();
            let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
            let dash: &[u8] = if text.starts_with(b"-") { b"" } else { b"-" };
            error_text(&[dash, &text[..end]].concat())
        }
        _ => b"ERR wrong number or type of arguments".to_vec(),
    };
    table.raw_set("err", BString::from(err))?;
    Ok(table)
}

fn status_reply(lua: &Lua, args: MultiValue) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    match args.front() {
        Some(Value::String(text)) if args.len() == 1 => table.raw_set("ok", text)?,
        _ => table.raw_set("err", "ERR wrong number or type of arguments")?,
    }
    Ok(table)
}

/// There are no users with lesser rights: whatever command there is may be called.
fn acl_check_cmd(lua: &Lua, args: MultiValue) -> mlua::Result<bool> {
    if args.is_empty() {
        return Err(raise("Please specify at least one argument for this redis lib call"));
    }
    let name = lua.coerce_string(args[0].clone())?;
    let known = name.is_some_and(|name| command::find_name(&name.as_bytes()).is_some());
    if known { Ok(true) } else { Err(raise("Invalid command passed to redis.acl_check_cmd()")) }
}

/// `redis.register_function`.
fn register_function(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<Function> {
    let shared = Arc::clone(shared);
    lua.create_function(move |lua, args: MultiValue| {
        let registry = || shared.registry.lock().expect("nothing panics while it holds it");
        if registry().callbacks.is_none() {
            return Err(not_loading());
        }
        let (function, callback) = match args.len() {
            1 => named_arguments(lua, &args[0])?,
            2 => positional_arguments(lua, &args)?,
            _ => return Err(raise("wrong number of arguments to redis.register_function")),
        };
        registry().add(function, callback)
    })
}

fn positional_arguments(lua: &Lua, args: &MultiValue) -> mlua::Result<(Registered, Function)> {
    let Some(name) = lua.coerce_string(args[0].clone())? else {
        return Err(raise("first argument to redis.register_function must be a string"));
    };
    let Value::Function(callback) = &args[1] else {
        return Err(raise("second argument to redis.register_function must be a function"));
    };
    let (name, flags) = (name.as_bytes().to_vec(), ScriptFlags::default());
    Ok((Registered { name, description: None, flags }, callback.clone()))
}

fn named_arguments(lua: &Lua, table: &Value) -> mlua::Result<(Registered, Function)> {
    let Value::Table(table) = table else {
        return Err(raise(
            "calling redis.register_function with a single argument is only applicable to Lua \
             table (representing named arguments).",
        ));
    };
    let (mut name, mut description, mut callback) = (None, None, None);
    let mut flags = ScriptFlags::default();
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let text = || {
            Ok::<_, mlua::Error>(lua.coerce_string(value.clone())?.map(|t| t.as_bytes().to_vec()))
        };
        let Some(key) = lua.coerce_string(key)? else {
            return Err(raise(
                "named argument key given to redis.register_function is not a string",
            ));
        };
        match key.as_bytes().to_ascii_lowercase().as_slice() {
            b"function_name" => {
                name = Some(text()?.ok_or_else(|| must_be("function_name", "string"))?)
            }
            b"description" => {
                description = Some(text()?.ok_or_else(|| must_be("description", "string"))?);
            }
            b"callback" => match &value {
                Value::Function(function) => callback = Some(function.clone()),
                _ => return Err(must_be("callback", "function")),
            },
            b"flags" => match &value {
                Value::Table(names) => flags = read_flags(lua, names)?,
                _ => {
                    return Err(raise(
                        "flags argument to redis.register_function must be a table representing \
                         function flags",
                    ));
                }
            },
            _ => return Err(raise("unknown argument given to redis.register_function")),
        }
    }
    let name =
        name.ok_or_else(|| raise("redis.register_function must get a function name argument"))?;
    let callback =
        callback.ok_or_else(|| raise("redis.register_function must get a callback argument"))?;
    Ok((Registered { name, description, flags }, callback))
}

fn must_be(name: &str, kind: &str) -> mlua::Error {
    raise(&format!("{name} argument given to redis.register_function must be a {kind}"))
}

fn read_flags(lua: &Lua, names: &Table) -> mlua::Result<ScriptFlags> {
    let mut flags = ScriptFlags::default();
    for at in 1.. {
        let name: Value = names.get(at)?;
        if name.is_nil() {
            break;
        }
        let name = lua.coerce_string(name)?.map(|name| name.as_bytes().to_ascii_lowercase());
        let flag = name.and_then(|name| ScriptFlags::named(&name));
        flags = flags.and(flag.ok_or_else(|| raise("unknown flag given"))?);
    }
    Ok(flags)
}

/// `math.random` on the script's own dice.
pub(super) fn random(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<Function> {
    let shared = Arc::clone(shared);
    lua.create_function(move |lua, values: MultiValue| {
        let args = Arguments::new(lua, &values);
        let drawn = shared.prng.lock().expect("nothing panics while it holds the dice").next();
        // The largest number becomes zero, so that the fraction stays below one.
        let fraction = f64::from(drawn % (i32::MAX as u32)) / f64::from(i32::MAX);
        let (low, high) = match args.len() {
            0 => return Ok(fraction),
            1 => (1, args.integer(1)? as i32),
            2 => (args.integer(1)? as i32, args.integer(2)? as i32),
            _ => return Err(at_caller(lua, "wrong number of arguments")),
        };
        if low > high {
            return Err(args.bad(args.len(), "interval is empty"));
        }
        let span = f64::from(high.wrapping_sub(low).wrapping_add(1));
        Ok((fraction * span).floor() + f64::from(low))
    })
}

/// `math.randomseed`.
pub(super) fn randomseed(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<Function> {
    let shared = Arc::clone(shared);
    lua.create_function(move |lua, values: MultiValue| {
        let seed = Arguments::new(lua, &values).integer(1)? as i32;
        *shared.prng.lock().expect("nothing panics while it holds the dice") = Prng::new(seed);
        Ok(())
    })
}

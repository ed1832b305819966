//! Lua scripts and functions: EVAL, FCALL and their kind, run inside the log's apply.
//!
//! ```text
//! EVAL ─▶ eval ─▶ Vm ─▶ the script ─▶ redis.call ─▶ shard::execute ─┐
//!           │      ▲                      ▲── Lua values ◀── RESP ◀─┘
//!           ▼      │ compiled
//!        Scripts: cache of scripts, libraries        (state: in snapshots)
//! ```
//!
//! A script sees one frozen moment and runs to its end: nobody else is served meanwhile, and
//! nothing is taken back when it fails halfway, as in Redis. Equal scripts do equal things on every
//! replica; `vm` says how, `prelude.lua` what a script can touch.
//!
//! What differs from Redis, and why:
//! - SCRIPT KILL finds nothing to kill: a script that one replica stops must stop at the same
//!   instruction on all, so a limit on steps does it.
//! - EVAL_RO and EVALSHA_RO run outside the log. A script that only EVAL_RO has seen is known to
//!   EVALSHA_RO on that node, and not to EVALSHA.
//! - What a library keeps in its own variables ends with each call: a replica that joins later
//!   could not know it.
//! - `newproxy` is absent (finalizers run when the collector likes), and `getfenv` and `setfenv`
//!   are, as in patched builds of Redis 7.0; `collectgarbage` gives 0; options of `cjson` hold for
//!   one script; `tostring` of a table counts instead of giving its address, and `pairs` refuses a table with
//!   several keys of which some are tables or functions (their order is that of their addresses).
//! - The least recently run scripts are forgotten beyond `SCRIPTS_MAX`: clients know NOSCRIPT.
//! - FUNCTION DUMP and RESTORE are absent, and so is the debugger.
//!
//! Source: Redis 7.0 `eval.c`, `script.c`, `script_lua.c`, `function_lua.c`, `functions.c`.

mod arguments;
mod bit;
mod call;
mod cjson;
mod cmsgpack;
mod convert;
mod eval;
mod function;
mod json_text;
mod number;
mod pack;
mod prng;
mod raise;
mod redis;
mod shebang;
mod state;
#[cfg(test)]
mod tests;
mod vm;

pub use state::{Machine, Scripts};

use crate::command::Command;

/// The rows of this folder.
pub(crate) const COMMANDS: &[Command] = &{
    let [eval, evalsha, eval_ro, evalsha_ro, script] = eval::COMMANDS;
    let [fcall, fcall_ro, function] = function::COMMANDS;
    [eval, evalsha, eval_ro, evalsha_ro, script, fcall, fcall_ro, function]
};

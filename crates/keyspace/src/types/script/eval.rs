//! EVAL, EVALSHA, their read-only twins, and SCRIPT.

use wire::{Args, Reply};

use super::redis::digest;
use super::shebang::{self, ScriptFlags};
use super::state::Scripts;
use super::vm::{Call, Code, Vm};
use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::{Context, Mode};
use crate::number::integer;
use crate::reject::Reject;
use crate::types::numbered::numbered_keys;

const ANY: &str = "Depends on the script that is executed.";

const RUN: Flags = Flags::NOSCRIPT.and(Flags::SKIP_MONITOR).and(Flags::STALE);
const RUN_WRITE: Flags =
    RUN.and(Flags::MAY_REPLICATE).and(Flags::NO_MANDATORY_KEYS).and(Flags::MOVABLEKEYS);
const RUN_READ: Flags =
    RUN.and(Flags::READONLY).and(Flags::NO_MANDATORY_KEYS).and(Flags::MOVABLEKEYS);

/// The flags of commands that run code: those that may write, and those that may not.
pub(super) const RUN_FLAGS: [Flags; 2] = [RUN_WRITE, RUN_READ];

/// The rows of this file.
pub(super) const COMMANDS: [Command; 5] = [
    Command::new("eval", -3, RUN_WRITE, Keys::Find(find_keys), Run::Write(eval)).doc(
        Group::Scripting,
        "2.6.0",
        ANY,
        "Execute a Lua script server side",
    ),
    Command::new("evalsha", -3, RUN_WRITE, Keys::Find(find_keys), Run::Write(evalsha)).doc(
        Group::Scripting,
        "2.6.0",
        ANY,
        "Execute a Lua script server side",
    ),
    Command::new("eval_ro", -3, RUN_READ, Keys::Find(find_keys), Run::Read(eval_ro)).doc(
        Group::Scripting,
        "7.0.0",
        ANY,
        "Execute a read-only Lua script server side",
    ),
    Command::new("evalsha_ro", -3, RUN_READ, Keys::Find(find_keys), Run::Read(evalsha_ro)).doc(
        Group::Scripting,
        "7.0.0",
        ANY,
        "Execute a read-only Lua script server side",
    ),
    Command::new("script", -2, Flags(0), Keys::None, Run::Container)
        .doc(
            Group::Scripting,
            "2.6.0",
            "Depends on subcommand.",
            "A container for Lua scripts management commands",
        )
        .with(SCRIPT),
];

const SCRIPT: &[Command] = &[
    Command::new("debug", 3, Flags::NOSCRIPT, Keys::None, Run::Read(script_debug)).doc(
        Group::Scripting,
        "3.2.0",
        "O(1)",
        "Set the debug mode for executed scripts.",
    ),
    Command::new("exists", -3, Flags::NOSCRIPT, Keys::None, Run::Read(script_exists)).doc(
        Group::Scripting,
        "2.6.0",
        "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
        "Check existence of scripts in the script cache.",
    ),
    Command::new("flush", -2, Flags::NOSCRIPT, Keys::None, Run::Write(script_flush)).doc(
        Group::Scripting,
        "2.6.0",
        "O(N) with N being the number of scripts in cache",
        "Remove all the scripts from the script cache.",
    ),
    Command::new("help", 2, Flags::LOADING.and(Flags::STALE), Keys::None, Run::Read(script_help))
        .doc(
            Group::Scripting,
            "5.0.0",
            "O(1)",
            "Show helpful text about the different subcommands",
        ),
    Command::new(
        "kill",
        2,
        Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
        Keys::None,
        Run::Read(kill),
    )
    .doc(Group::Scripting, "2.6.0", "O(1)", "Kill the script currently in execution."),
    Command::new(
        "load",
        3,
        Flags::NOSCRIPT.and(Flags::STALE),
        Keys::None,
        Run::Write(script_load),
    )
    .doc(
        Group::Scripting,
        "2.6.0",
        "O(N) with N being the length in bytes of the script body.",
        "Load the specified Lua script into the script cache.",
    ),
];

/// The keys of a call whose second argument counts them.
pub(super) fn find_keys(args: Args<'_>) -> Vec<usize> {
    numbered_keys(args, 2)
}

/// Splits what follows the count into keys and arguments.
pub(super) fn keys_and_argv<'a>(
    args: Args<'a>,
    count: i64,
) -> Result<(Args<'a>, Args<'a>), Reject> {
    if count > args.len() as i64 - 3 {
        return Err(Reject::text("ERR Number of keys can't be greater than number of args"));
    }
    let Ok(count) = usize::try_from(count) else {
        return Err(Reject::text("ERR Number of keys can't be negative"));
    };
    Ok((args.range(3, 3 + count), args.from(3 + count)))
}

/// How a script is named in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Body,
    Digest,
}

fn eval(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    run(cx, args, By::Body, false, reply)
}

fn evalsha(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    run(cx, args, By::Digest, false, reply)
}

fn eval_ro(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    run(cx, args, By::Body, true, reply)
}

fn evalsha_ro(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    run(cx, args, By::Digest, true, reply)
}

fn run(
    cx: &mut Context<'_>,
    args: Args<'_>,
    by: By,
    read_only: bool,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    const UNKNOWN: Reject = Reject::text("NOSCRIPT No matching script. Please use EVAL.");
    const DIGEST_BYTES: usize = 40;
    if by == By::Digest && args[1].len() != DIGEST_BYTES {
        return Err(UNKNOWN);
    }
    let (keys, argv) = keys_and_argv(args, integer(&args[2])?)?;
    let name = match by {
        By::Body => digest(&args[1]),
        By::Digest => String::from_utf8_lossy(&args[1]).to_ascii_lowercase(),
    };
    with_vm(cx, |cx, vm| {
        let in_log = cx.mode == Mode::Write;
        let scripts = &mut cx.shard.scripts;
        let mut known = scripts.cache.get(&name);
        if known.is_none() && !in_log {
            known = scripts.local.get(&name);
        }
        let (flags, script) = match (known.cloned(), by) {
            (Some(script), _) => {
                if in_log {
                    scripts.cache.touch(&name);
                }
                (script.flags, compile(vm, &name, &script.body)?.1)
            }
            (None, By::Digest) => return Err(UNKNOWN),
            (None, By::Body) => {
                let (flags, compiled) = compile(vm, &name, &args[1])?;
                let cache = if in_log { &mut scripts.cache } else { &mut scripts.local };
                cache.insert(&name, &args[1], flags);
                (flags, compiled)
            }
        };
        let read_only = may_only_read(flags, read_only)?;
        vm.run_script(cx, &script, Call { name: &name, keys, argv, read_only }, reply);
        Ok(())
    })
}

fn compile(vm: &mut Vm, name: &str, body: &[u8]) -> Result<(ScriptFlags, mlua::Function), Reject> {
    let (flags, text) = shebang::script(body)?;
    let code = Code { key: name, chunk: "@user_script", text };
    let compiled = vm.compile(code).map_err(|text| {
        Reject::from(format!("ERR Error compiling script (new function): {text}"))
    })?;
    Ok((flags, compiled))
}

/// Must the code be kept from writing? A code that says it may write is not run by the command
/// that does not let it.
pub(super) fn may_only_read(flags: ScriptFlags, read_only: bool) -> Result<bool, Reject> {
    let (compatible, no_writes) =
        (flags.has(ScriptFlags::COMPATIBLE), flags.has(ScriptFlags::NO_WRITES));
    if read_only && !compatible && !no_writes {
        let text = "ERR Can not execute a script with write flag using *_ro command.";
        return Err(Reject::text(text));
    }
    Ok(read_only || no_writes)
}

/// Runs something with the shard's virtual machine, and leaves the context as it was.
pub(super) fn with_vm(
    cx: &mut Context<'_>,
    run: impl FnOnce(&mut Context<'_>, &mut Vm) -> Result<(), Reject>,
) -> Result<(), Reject> {
    let mut vm = cx.shard.scripts.take_vm();
    let (db, proto, scope) = (cx.db, cx.proto, cx.scope);
    cx.scope = crate::context::Scope::Script;
    let result = run(cx, &mut vm);
    (cx.db, cx.proto, cx.scope) = (db, proto, scope);
    cx.shard.scripts.put_vm(vm);
    result
}

fn script_load(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let name = digest(&args[2]);
    with_vm(cx, |cx, vm| {
        let (flags, _) = compile(vm, &name, &args[2])?;
        cx.shard.scripts.cache.insert(&name, &args[2], flags);
        Ok(())
    })?;
    reply.bulk(name.as_bytes());
    Ok(())
}

fn script_exists(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let Scripts { cache, .. } = &cx.shard.scripts;
    reply.array(args.len() - 2);
    for name in args.from(2).iter() {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        reply.int(i64::from(cache.get(&name).is_some()));
    }
    Ok(())
}

fn script_flush(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let known = args.len() == 2 || args.len() == 3 && (args.is(2, "sync") || args.is(2, "async"));
    if !known {
        return Err(Reject::text("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    cx.shard.scripts.flush_cache();
    reply.ok();
    Ok(())
}

/// SCRIPT KILL and FUNCTION KILL: when a command is looked at, no script is running.
pub(super) fn kill(_: &mut Context<'_>, _: Args<'_>, _: &mut Reply<'_>) -> Result<(), Reject> {
    Err(Reject::text("NOTBUSY No scripts in execution right now."))
}

fn script_debug(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    if args.is(2, "no") {
        reply.ok();
        Ok(())
    } else if args.is(2, "yes") || args.is(2, "sync") {
        Err(Reject::text("ERR SCRIPT DEBUG is not supported: a script runs on every replica"))
    } else {
        Err(Reject::text("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
    }
}

fn script_help(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    help(
        args,
        &[
            "DEBUG (YES|SYNC|NO)",
            "    Set the debug mode for subsequent scripts executed.",
            "EXISTS <sha1> [<sha1> ...]",
            "    Return information about the existence of the scripts in the script cache.",
            "FLUSH [ASYNC|SYNC]",
            "    Flush the Lua scripts cache. Very dangerous on replicas.",
            "    When called without the optional mode argument, the behavior is determined by the",
            "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the scripts cache.",
            "    * SYNC: Synchronously flush the scripts cache.",
            "KILL",
            "    Kill the currently executing Lua script.",
            "LOAD <script>",
            "    Load a script into the scripts cache without executing it.",
        ],
        reply,
    );
    Ok(())
}

/// The reply of a HELP subcommand.
pub(super) fn help(args: Args<'_>, lines: &[&str], reply: &mut Reply<'_>) {
    let name = String::from_utf8_lossy(&args[0]).to_uppercase();
    reply.array(lines.len() + 3);
    reply.status(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| reply.status(line));
    reply.status("HELP");
    reply.status("    Prints this help.");
}

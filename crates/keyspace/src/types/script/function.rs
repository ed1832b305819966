//! FCALL, FCALL_RO and FUNCTION: code that is kept under a name.

use wire::{Args, Reply};

use super::eval::{RUN_FLAGS, find_keys, help, keys_and_argv, kill, may_only_read, with_vm};
use super::redis::Registered;
use super::shebang;
use super::state::{Libraries, Library, already_exists};
use super::vm::Call;
use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::Context;
use crate::glob;
use crate::number::parse_i64;
use crate::reject::Reject;

const ANY: &str = "Depends on the function that is executed.";

/// The rows of this file.
pub(super) const COMMANDS: [Command; 3] = [
    Command::new("fcall", -3, RUN_FLAGS[0], Keys::Find(find_keys), Run::Write(fcall)).doc(
        Group::Scripting,
        "7.0.0",
        ANY,
        "Invoke a function",
    ),
    Command::new("fcall_ro", -3, RUN_FLAGS[1], Keys::Find(find_keys), Run::Read(fcall_ro)).doc(
        Group::Scripting,
        "7.0.0",
        ANY,
        "Invoke a read-only function",
    ),
    Command::new("function", -2, Flags(0), Keys::None, Run::Container)
        .doc(
            Group::Scripting,
            "7.0.0",
            "Depends on subcommand.",
            "A container for function commands",
        )
        .with(FUNCTION),
];

const CHANGE: Flags = Flags::NOSCRIPT.and(Flags::WRITE);
const LOOK: Flags = Flags::NOSCRIPT.and(Flags::ALLOW_BUSY);

const FUNCTION: &[Command] = &[
    Command::new("delete", 3, CHANGE, Keys::None, Run::Write(delete)).doc(
        Group::Scripting,
        "7.0.0",
        "O(1)",
        "Delete a function by name",
    ),
    Command::new("flush", -2, CHANGE, Keys::None, Run::Write(flush)).doc(
        Group::Scripting,
        "7.0.0",
        "O(N) where N is the number of functions deleted",
        "Deleting all functions",
    ),
    Command::new("help", 2, Flags::LOADING.and(Flags::STALE), Keys::None, Run::Read(function_help))
        .doc(
            Group::Scripting,
            "7.0.0",
            "O(1)",
            "Show helpful text about the different subcommands",
        ),
    Command::new("kill", 2, LOOK, Keys::None, Run::Read(kill)).doc(
        Group::Scripting,
        "7.0.0",
        "O(1)",
        "Kill the function currently in execution.",
    ),
    Command::new("list", -2, Flags::NOSCRIPT, Keys::None, Run::Read(list)).doc(
        Group::Scripting,
        "7.0.0",
        "O(N) where N is the number of functions",
        "List information about all the functions",
    ),
    Command::new("load", -3, CHANGE.and(Flags::DENYOOM), Keys::None, Run::Write(load)).doc(
        Group::Scripting,
        "7.0.0",
        "O(1) (considering compilation time is redundant)",
        "Create a function with the given arguments (name, code, description)",
    ),
    Command::new("stats", 2, LOOK, Keys::None, Run::Read(stats)).doc(
        Group::Scripting,
        "7.0.0",
        "O(1)",
        "Return information about the function currently running (name, description, duration)",
    ),
];

fn fcall(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    run(cx, args, false, reply)
}

fn fcall_ro(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    run(cx, args, true, reply)
}

fn run(
    cx: &mut Context<'_>,
    args: Args<'_>,
    read_only: bool,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let Some((library, function)) = cx.shard.scripts.libraries.function(&args[1]) else {
        return Err(Reject::text("ERR Function not found"));
    };
    let count = parse_i64(&args[2]).ok_or(Reject::text("ERR Bad number of keys provided"))?;
    let (keys, argv) = keys_and_argv(args, count)?;
    let read_only = may_only_read(function.flags, read_only)?;
    let (code, digest) = (library.code.clone(), library.digest.clone());
    let name = String::from_utf8_lossy(&function.name).into_owned();
    with_vm(cx, |cx, vm| {
        let (_, text) = shebang::library(&code)?;
        let compiled = vm.compile(Library::code(&digest, text)).map_err(Reject::from)?;
        vm.run_function(cx, &compiled, Call { name: &name, keys, argv, read_only }, reply);
        Ok(())
    })
}

fn load(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let last = args.len() - 1;
    let mut replace = false;
    for option in args.range(2, last).iter() {
        if !option.eq_ignore_ascii_case(b"replace") {
            let option = String::from_utf8_lossy(option);
            return Err(Reject::from(format!("ERR Unknown option given: {option}")));
        }
        replace = true;
    }
    let (name, _) = shebang::library(&args[last])?;
    if !replace && cx.shard.scripts.libraries.by_name.contains_key(&name) {
        return Err(already_exists("Library", &name));
    }
    with_vm(cx, |cx, vm| {
        let library = Library::load(vm, &args[last])?;
        cx.shard.scripts.libraries.add(library, replace)
    })?;
    reply.bulk(&name);
    Ok(())
}

fn delete(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    if !cx.shard.scripts.libraries.remove(&args[2]) {
        return Err(Reject::text("ERR Library not found"));
    }
    reply.ok();
    Ok(())
}

fn flush(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    if args.len() > 3 {
        let word = String::from_utf8_lossy(&args[1][..args[1].len().min(128)]).into_owned();
        return Err(Reject::from(format!(
            "ERR unknown subcommand or wrong number of arguments for '{word}'. Try FUNCTION HELP."
        )));
    }
    if args.len() == 3 && !args.is(2, "sync") && !args.is(2, "async") {
        return Err(Reject::text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    cx.shard.scripts.libraries = Libraries::default();
    reply.ok();
    Ok(())
}

fn list(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let (mut with_code, mut pattern) = (false, None);
    let mut words = args.from(2).iter();
    while let Some(word) = words.next() {
        if !with_code && word.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"libraryname") {
            let missing = Reject::text("ERR library name argument was not given");
            pattern = Some(words.next().ok_or(missing)?);
        } else {
            let word = String::from_utf8_lossy(word);
            return Err(Reject::from(format!("ERR Unknown argument {word}")));
        }
    }
    let shown = |library: &&Library| {
        pattern.is_none_or(|pattern| glob::matches_any_case(pattern, &library.name))
    };
    let (place, mut count) = (reply.defer(), 0);
    for library in cx.shard.scripts.libraries.by_name.values().filter(shown) {
        put_library(library, with_code, reply);
        count += 1;
    }
    reply.fill_array(place, count);
    Ok(())
}

fn put_library(library: &Library, with_code: bool, reply: &mut Reply<'_>) {
    reply.map(if with_code { 4 } else { 3 });
    reply.bulk(b"library_name");
    reply.bulk(&library.name);
    reply.bulk(b"engine");
    reply.bulk(b"LUA");
    reply.bulk(b"functions");
    reply.array(library.functions.len());
    for Registered { name, description, flags } in &library.functions {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"description");
        reply.bulk_or_null(description.as_deref());
        reply.bulk(b"flags");
        reply.set(flags.names().count());
        flags.names().for_each(|flag| reply.status(flag));
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.code);
    }
}

fn stats(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.map(2);
    reply.bulk(b"running_script");
    reply.null();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.count(cx.shard.scripts.libraries());
    reply.bulk(b"functions_count");
    reply.count(cx.shard.scripts.functions());
    Ok(())
}

fn function_help(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    help(
        args,
        &[
            "LOAD [REPLACE] <FUNCTION CODE>",
            "    Create a new library with the given library name and code.",
            "DELETE <LIBRARY NAME>",
            "    Delete the given library.",
            "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
            "    Return general information on all the libraries:",
            "    * Library name",
            "    * The engine used to run the Library",
            "    * Library description",
            "    * Functions list",
            "    * Library code (if WITHCODE is given)",
            "    It also possible to get only function that matches a pattern using LIBRARYNAME \
             argument.",
            "STATS",
            "    Return information about the current function running:",
            "    * Function name",
            "    * Command used to run the function",
            "    * Duration in MS that the function is running",
            "    If no function is running, return nil",
            "    In addition, returns a list of available engines.",
            "KILL",
            "    Kill the current running function.",
            "FLUSH [ASYNC|SYNC]",
            "    Delete all the libraries.",
            "    When called without the optional mode argument, the behavior is determined by the",
            "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the libraries.",
            "    * SYNC: Synchronously flush the libraries.",
        ],
        reply,
    );
    Ok(())
}

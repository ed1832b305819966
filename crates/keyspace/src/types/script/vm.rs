//! The virtual machine that a shard's scripts run in.
//!
//! One machine for each shard, built when the first script comes and built anew whenever it is in
//! doubt: it holds nothing that the state does not. What could differ between replicas is fixed
//! here or in `prelude.lua`:
//!
//! - steps are counted from the start of a script, in ticks of `SCRIPT_TICK_STEPS` instructions, so
//!   that a script is stopped at the same instruction everywhere;
//! - garbage is collected between scripts and, within one, at a tick: no finalizer, no weak table
//!   sees the history of the machine;
//! - memory is limited. What a script may allocate differs by what lies in the machine already, at
//!   most `SCRIPT_GARBAGE_BYTES_MAX` and the compiled scripts: a script that fails within that
//!   margin of its limit might end differently on another replica. Nothing else does.
//!
//! Not covered: `math.sin`, `^` and their kind come from the C library of the machine; all nodes of
//! a cluster should run the same build. A single call of `string.find` with a hostile pattern is
//! one step, as long as it may take.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mlua::chunk::ChunkMode;
use mlua::debug::{DebugSource, HookTriggers};
use mlua::{BString, Function, Lua, LuaOptions, StdLib, Table, Value, VmState};
use wire::{Args, Reply};

use super::call::Bridge;
use super::convert::{write_error, write_value};
use super::prng::Prng;
use super::raise::{Limit, PRELUDE, Raise, at_caller, stop_of, unpack, without_prelude};
use super::redis::{Registered, Registry};
use super::{bit, cjson, cmsgpack, pack, redis};
use crate::context::Context;
use crate::limits::{
    COMPILED_BYTES_MAX, SCRIPT_GARBAGE_BYTES_MAX, SCRIPT_GARBAGE_TICK_BYTES,
    SCRIPT_MEMORY_BYTES_MAX, SCRIPT_STEPS_MAX, SCRIPT_TICK_STEPS, SCRIPT_UNCHECKED_BYTES_MAX,
};

/// What the functions of the machine share.
#[derive(Debug)]
pub(super) struct Shared {
    steps_left: AtomicI64,
    /// Memory in use after the last collection.
    collected_at: AtomicUsize,
    /// A script ran out of memory: the machine is not to be used again.
    spent: AtomicBool,
    resp3: AtomicBool,
    pub(super) prng: Mutex<Prng>,
    pub(super) json: Arc<Mutex<cjson::Config>>,
    pub(super) registry: Mutex<Registry>,
}

impl Shared {
    fn new() -> Shared {
        Shared {
            steps_left: AtomicI64::new(0),
            collected_at: AtomicUsize::new(0),
            spent: AtomicBool::new(false),
            resp3: AtomicBool::new(false),
            prng: Mutex::new(Prng::new(0)),
            json: Arc::default(),
            registry: Mutex::default(),
        }
    }

    /// Did the script choose RESP3 for itself?
    pub(super) fn is_resp3(&self) -> bool {
        self.resp3.load(Ordering::Relaxed)
    }

    /// The script chooses its protocol.
    pub(super) fn set_resp3(&self, resp3: bool) {
        self.resp3.store(resp3, Ordering::Relaxed);
    }

    /// A machine that ran out of memory once is not used again.
    fn note_stop(&self, limit: Limit) {
        if limit == Limit::Memory {
            self.spent.store(true, Ordering::Relaxed);
        }
    }

    /// Counts steps; an error once there are none left.
    pub(super) fn charge(&self, steps: i64) -> Result<(), Raise> {
        if self.steps_left.fetch_sub(steps, Ordering::Relaxed) > steps {
            return Ok(());
        }
        Err(Raise::Stop(Limit::Steps))
    }
}

/// A virtual machine with its world built.
pub(super) struct Vm {
    lua: Lua,
    shared: Arc<Shared>,
    /// The tables in which `call` and `pcall` are put for each run.
    script_redis: Table,
    function_redis: Table,
    run_script: Function,
    run_library: Function,
    run_function: Function,
    /// Compiled chunks by name. They can be made again from the state at any time.
    compiled: Table,
    compiled_bytes: usize,
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// What error messages call it: the digest of a script, the name of a function.
    pub(super) name: &'a str,
    pub(super) keys: Args<'a>,
    pub(super) argv: Args<'a>,
    pub(super) read_only: bool,
}

/// Code to compile: the name to keep it under, and what error messages call it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code<'a> {
    pub(super) key: &'a str,
    pub(super) chunk: &'static str,
    pub(super) text: &'a [u8],
}

impl Vm {
    /// Builds a machine.
    pub(super) fn new() -> Vm {
        Vm::build().expect("a fresh virtual machine has room for its world")
    }

    fn build() -> mlua::Result<Vm> {
        // Lua's own pcall and xpcall, without frames in between; a panic that they catch goes on
        // when the prelude looks at it.
        let options = LuaOptions::new().catch_rust_panics(true);
        let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, options)?;
        lua.gc_stop();
        let shared = Arc::new(Shared::new());
        let host = host(&lua, &shared)?;
        let [script_redis, function_redis, library_redis] = redis::tables(&lua, &shared)?;
        host.raw_set("script_redis", &script_redis)?;
        host.raw_set("function_redis", &function_redis)?;
        host.raw_set("library_redis", library_redis)?;
        let exports: Table = lua.load(include_str!("prelude.lua")).set_name(PRELUDE).call(host)?;
        let vm = Vm {
            script_redis,
            function_redis,
            run_script: exports.raw_get("run_script")?,
            run_library: exports.raw_get("run_library")?,
            run_function: exports.raw_get("run_function")?,
            compiled: lua.create_table()?,
            compiled_bytes: 0,
            lua,
            shared,
        };
        vm.collect()?;
        vm.lua.set_memory_limit(vm.lua.used_memory() + SCRIPT_MEMORY_BYTES_MAX)?;
        Ok(vm)
    }

    /// Is the machine fit for another script?
    pub(super) fn is_fit(&self) -> bool {
        !self.shared.spent.load(Ordering::Relaxed)
    }

    /// Bytes of memory in use.
    pub(super) fn memory(&self) -> usize {
        self.lua.used_memory()
    }

    /// Forgets all compiled code.
    pub(super) fn forget(&mut self) {
        if self.compiled.clear().is_err() {
            self.shared.spent.store(true, Ordering::Relaxed);
        }
        self.compiled_bytes = 0;
    }

    /// Compiles code, or finds it compiled. An error is Lua's text.
    pub(super) fn compile(&mut self, code: Code<'_>) -> Result<Function, String> {
        if let Ok(Value::Function(found)) = self.compiled.raw_get(code.key) {
            return Ok(found);
        }
        if self.compiled_bytes + code.text.len() > COMPILED_BYTES_MAX {
            self.forget();
        }
        let chunk = self.lua.load(code.text).set_name(code.chunk).set_mode(ChunkMode::Text);
        let function = chunk.into_function().map_err(|error| match error {
            mlua::Error::SyntaxError { message, .. } => message,
            other => other.to_string(),
        })?;
        self.compiled_bytes += code.text.len();
        self.compiled.raw_set(code.key, &function).map_err(|error| error.to_string())?;
        Ok(function)
    }

    /// Runs a compiled script and writes what it returns.
    pub(super) fn run_script(
        &self,
        cx: &mut Context<'_>,
        script: &Function,
        call: Call<'_>,
        reply: &mut Reply<'_>,
    ) {
        let outcome = self.begin(cx).and_then(|()| {
            let (keys, argv) = self.tables(call)?;
            self.with_shard(cx, &self.script_redis, call.read_only, || {
                self.run_script.call((script, keys, argv))
            })
        });
        self.finish(outcome, call.name, reply);
    }

    /// Runs a function of a compiled library and writes what it returns. The library's own code
    /// runs first, each time: what its functions keep in variables ends with the call.
    pub(super) fn run_function(
        &self,
        cx: &mut Context<'_>,
        library: &Function,
        call: Call<'_>,
        reply: &mut Reply<'_>,
    ) {
        let outcome = self.begin(cx).and_then(|()| {
            let registry = match self.register(library)? {
                Ok(registry) => registry,
                Err(problem) => return Ok((false, problem)),
            };
            let function = registry.function(call.name)?;
            let (keys, argv) = self.tables(call)?;
            self.with_shard(cx, &self.function_redis, call.read_only, || {
                self.run_function.call((function, keys, argv))
            })
        });
        self.finish(outcome, call.name, reply);
    }

    /// Runs a library's code to learn its functions. An error is Redis's text, code first.
    pub(super) fn load_library(
        &self,
        library: &Function,
        steps: i64,
    ) -> Result<Vec<Registered>, Vec<u8>> {
        let outcome = self.reset(0, steps).and_then(|()| self.register(library));
        self.tidy();
        match outcome {
            Ok(Ok(registry)) => Ok(registry.into_functions()),
            Ok(Err(problem)) => Err(self.problem_text(problem)),
            Err(error) => match stop_of(&error) {
                Some(limit) => {
                    self.shared.note_stop(limit);
                    Err(match limit {
                        Limit::Steps => b"ERR FUNCTION LOAD timeout".to_vec(),
                        Limit::Memory => stop_text(limit).into_bytes(),
                    })
                }
                None => Err(format!("ERR {error}").into_bytes()),
            },
        }
    }

    /// Runs a library's code; what it registered, or the error value.
    fn register(&self, library: &Function) -> mlua::Result<Result<Registry, Value>> {
        self.registry().open(&self.lua)?;
        let outcome: mlua::Result<(bool, Value)> = self.run_library.call(library);
        let registry = self.registry().close();
        Ok(match outcome? {
            (true, _) => Ok(registry),
            (false, problem) => Err(unpack(&self.lua, problem)?),
        })
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.shared.registry.lock().expect("nothing panics while it holds the registry")
    }

    fn begin(&self, cx: &mut Context<'_>) -> mlua::Result<()> {
        self.reset(cx.rng.next() as i32, SCRIPT_STEPS_MAX)
    }

    /// Makes the machine as it is for every script.
    fn reset(&self, seed: i32, steps: i64) -> mlua::Result<()> {
        let shared = &self.shared;
        shared.steps_left.store(steps, Ordering::Relaxed);
        shared.set_resp3(false);
        *shared.prng.lock().expect("nothing panics while it holds the dice") = Prng::new(seed);
        *shared.json.lock().expect("nothing panics while it holds them") = cjson::Config::default();
        // Setting the hook also sets its count back, so that ticks are counted from here.
        let triggers = HookTriggers::new().every_nth_instruction(SCRIPT_TICK_STEPS);
        let shared = Arc::clone(shared);
        self.lua.set_global_hook(triggers, move |lua, _| tick(lua, &shared))
    }

    /// Runs with `call` and `pcall` in place, which reach the shard.
    fn with_shard(
        &self,
        cx: &mut Context<'_>,
        redis: &Table,
        read_only: bool,
        run: impl FnOnce() -> mlua::Result<(bool, Value)>,
    ) -> mlua::Result<(bool, Value)> {
        let bridge = Bridge::new(cx, &self.shared, read_only);
        self.lua.scope(|scope| {
            let lift = Lift::of(&self.lua)?;
            redis.raw_set("call", scope.create_function(|lua, args| bridge.call(lua, args))?)?;
            redis.raw_set("pcall", scope.create_function(|lua, args| bridge.pcall(lua, args))?)?;
            drop(lift);
            run()
        })
    }

    /// The tables `KEYS` and `ARGV`.
    fn tables(&self, call: Call<'_>) -> mlua::Result<(Table, Table)> {
        let bytes = call.keys.bytes_len() + call.argv.bytes_len();
        let _lift = Lift::of_small(&self.lua, bytes)?;
        Ok((self.strings(call.keys)?, self.strings(call.argv)?))
    }

    fn strings(&self, args: Args<'_>) -> mlua::Result<Table> {
        self.lua.create_sequence_from(args.iter().map(BString::from))
    }

    /// Writes the reply, and cleans up.
    fn finish(&self, outcome: mlua::Result<(bool, Value)>, name: &str, reply: &mut Reply<'_>) {
        let mark = reply.mark();
        let written = outcome.and_then(|(ok, value)| match (ok, value) {
            (true, value) => {
                // What it makes of a value takes no more room than the value.
                let _lift = Lift::of(&self.lua)?;
                write_value(&self.lua, value, self.shared.is_resp3(), reply)
            }
            (false, value) => {
                write_error(reply, &self.failure(value, name)?);
                Ok(())
            }
        });
        if let Err(error) = written {
            reply.rewind(mark);
            let text = match stop_of(&error) {
                Some(limit) => {
                    self.shared.note_stop(limit);
                    format!("{} script: {name}", stop_text(limit))
                }
                None => format!("ERR Error running script {name}, {error}"),
            };
            write_error(reply, text.as_bytes());
        }
        self.tidy();
    }

    /// The error line of a script that failed: what it raised, and where.
    fn failure(&self, problem: Value, name: &str) -> mlua::Result<Vec<u8>> {
        let problem = unpack(&self.lua, problem)?;
        let Value::Table(table) = &problem else {
            let text = text_of(&problem).unwrap_or_else(|| b"execution failure".to_vec());
            if text == b"not enough memory" {
                return Err(Raise::Stop(Limit::Memory).into());
            }
            let text = &text[..text.len().min(100)];
            return Ok([format!("ERR Error running script {name}, ").as_bytes(), text].concat());
        };
        let (source, line): (Value, Value) = (table.raw_get("source")?, table.raw_get("line")?);
        let mut text = self.problem_text(problem);
        if let (Some(source), Some(line)) = (text_of(&source), text_of(&line)) {
            text.extend_from_slice(format!(" script: {name}, on ").as_bytes());
            text.extend_from_slice(&[&source, &b":"[..], &line, b"."].concat());
        }
        Ok(text)
    }

    /// The text of a raised value, code first.
    fn problem_text(&self, problem: Value) -> Vec<u8> {
        if let Value::Table(table) = &problem {
            let text = table.raw_get("err").ok().and_then(|err| text_of(&err));
            return text.unwrap_or_else(|| b"ERR unknown error".to_vec());
        }
        let text = text_of(&problem).unwrap_or_else(|| b"unknown error".to_vec());
        [b"ERR ", without_prelude(&text).unwrap_or(&text)].concat()
    }

    /// Collects garbage once there is enough of it to be worth the walk.
    fn tidy(&self) {
        let collected_at = self.shared.collected_at.load(Ordering::Relaxed);
        let much = self.lua.used_memory() > collected_at + SCRIPT_GARBAGE_BYTES_MAX;
        if much && self.collect().is_err() {
            self.shared.spent.store(true, Ordering::Relaxed);
        }
    }

    fn collect(&self) -> mlua::Result<()> {
        collect(&self.lua, &self.shared)
    }
}

/// The limit of memory is lifted as long as this lives. Under a limit each value that goes into the
/// machine is a protected call of Lua's, which costs several times the value itself.
#[derive(Debug)]
pub(super) struct Lift<'a> {
    lua: &'a Lua,
    limit: usize,
}

impl<'a> Lift<'a> {
    fn of(lua: &'a Lua) -> mlua::Result<Lift<'a>> {
        Ok(Lift { lua, limit: lua.set_memory_limit(0)? })
    }

    /// If that is not much: at the next step of the script the limit counts again.
    pub(super) fn of_small(lua: &'a Lua, bytes: usize) -> mlua::Result<Option<Lift<'a>>> {
        (bytes <= SCRIPT_UNCHECKED_BYTES_MAX).then(|| Lift::of(lua)).transpose()
    }
}

impl Drop for Lift<'_> {
    fn drop(&mut self) {
        self.lua.set_memory_limit(self.limit).expect("it was lifted, so it can be set");
    }
}

/// A full collection; the collector stays off otherwise.
fn collect(lua: &Lua, shared: &Shared) -> mlua::Result<()> {
    lua.gc_collect()?;
    lua.gc_stop();
    shared.collected_at.store(lua.used_memory(), Ordering::Relaxed);
    Ok(())
}

/// Another `SCRIPT_TICK_STEPS` instructions were run.
fn tick(lua: &Lua, shared: &Shared) -> mlua::Result<VmState> {
    shared.charge(i64::from(SCRIPT_TICK_STEPS))?;
    let collected_at = shared.collected_at.load(Ordering::Relaxed);
    if lua.used_memory() > collected_at + SCRIPT_GARBAGE_TICK_BYTES {
        collect(lua, shared)?;
    }
    Ok(VmState::Continue)
}

fn stop_text(limit: Limit) -> String {
    match limit {
        Limit::Steps => format!("ERR Script stopped after {SCRIPT_STEPS_MAX} steps"),
        Limit::Memory => {
            format!("ERR Script stopped because it used {SCRIPT_MEMORY_BYTES_MAX} bytes of memory")
        }
    }
}

/// A string, or a number as Lua prints it.
fn text_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(super::number::format_g(*number as f64, 14).into_bytes()),
        Value::Number(number) => Some(super::number::format_g(*number, 14).into_bytes()),
        _ => None,
    }
}

/// The functions that the prelude needs from Rust.
fn host(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    let put = |name: &str, function: Function| host.raw_set(name, function);
    const READ_ONLY: &str = "Attempt to modify a readonly table";
    let plain = |text: &str| mlua::Error::from(Raise::Text(text.as_bytes().to_vec()));
    put("readonly", lua.create_function(|lua, ()| Err::<(), _>(at_caller(lua, READ_ONLY)))?)?;
    put("readonly_plain", lua.create_function(move |_, ()| Err::<(), _>(plain(READ_ONLY)))?)?;
    put("fail", lua.create_function(move |_, text: String| Err::<(), _>(plain(&text)))?)?;
    put("missing", lua.create_function(|lua, (_, name): (Value, Value)| missing(lua, name))?)?;
    put("unpack", lua.create_function(unpack)?)?;
    let without = |lua: &Lua, text: BString| match without_prelude(&text) {
        Some(rest) => lua.create_string(rest),
        None => lua.create_string(&*text),
    };
    put("without_prelude", lua.create_function(without)?)?;
    let out_of_memory = |_: &Lua, ()| Err::<(), _>(Raise::Stop(Limit::Memory).into());
    put("out_of_memory", lua.create_function(out_of_memory)?)?;
    put("is_null", lua.create_function(|_, value: Value| Ok(value == Value::NULL))?)?;
    let unordered = |_: &Lua, ()| {
        let text = "a table with tables or functions as keys has no order that is the same on \
                    every replica";
        Err::<(), _>(Raise::Text(text.into()).into())
    };
    put("unordered", lua.create_function(unordered)?)?;
    let counted = Arc::clone(shared);
    let charge = move |_: &Lua, ()| Ok(counted.charge(i64::from(SCRIPT_TICK_STEPS))?);
    put("charge", lua.create_function(charge)?)?;
    let shared_handler = Arc::clone(shared);
    let on_error = move |lua: &Lua, problem| handler(lua, problem, &shared_handler);
    put("handler", lua.create_function(on_error)?)?;
    put("random", redis::random(lua, shared)?)?;
    put("randomseed", redis::randomseed(lua, shared)?)?;
    host.raw_set("cjson", cjson::table(lua, &shared.json)?)?;
    host.raw_set("cmsgpack", cmsgpack::table(lua)?)?;
    host.raw_set("bit", bit::table(lua)?)?;
    host.raw_set("struct", pack::table(lua)?)?;
    Ok(host)
}

fn missing(lua: &Lua, name: Value) -> mlua::Result<()> {
    let Some(name) = text_of(&name) else {
        let text = "Second argument to luaProtectedTableError must be a string or number";
        return Err(at_caller(lua, text));
    };
    let name = String::from_utf8_lossy(&name).into_owned();
    let text = format!("Script attempted to access nonexistent global variable '{name}'");
    Err(at_caller(lua, &text))
}

/// What becomes of an error that nothing in the script caught: a table with its text, and the
/// place in the script.
fn handler(lua: &Lua, problem: Value, shared: &Shared) -> mlua::Result<Table> {
    let place = place_of_error(lua);
    let problem = match unpack(lua, problem) {
        Ok(problem) => problem,
        Err(error) => match stop_of(&error) {
            Some(limit) => {
                shared.note_stop(limit);
                Value::String(lua.create_string(&stop_text(limit)[4..])?)
            }
            None => return Err(error),
        },
    };
    let table = match problem {
        Value::Table(table) => table,
        other => {
            let text = match (&other, text_of(&other)) {
                (_, Some(text)) => text,
                (Value::Nil, _) => b"nil".to_vec(),
                (Value::Boolean(value), _) => value.to_string().into_bytes(),
                _ => other.type_name().as_bytes().to_vec(),
            };
            let text = match (without_prelude(&text), &place) {
                (Some(rest), Some((source, line))) if *line > 0 => {
                    let at = format!("{}:{line}: ", source.trim_start_matches(['@', '=']));
                    [at.as_bytes(), rest].concat()
                }
                (Some(rest), _) => rest.to_vec(),
                (None, _) => text,
            };
            let table = lua.create_table()?;
            table.raw_set("err", BString::from([b"ERR ", &text[..]].concat()))?;
            table
        }
    };
    if let Some((source, line)) = place {
        table.raw_set("source", source)?;
        table.raw_set("line", line)?;
    }
    Ok(table)
}

/// Lua's stand-in for a frame that a tail call has replaced.
const TAIL_CALL: &str = "=(tail call)";

/// The function that raised the error; its caller if that is one of C or of the prelude.
fn place_of_error(lua: &Lua) -> Option<(String, i64)> {
    let frame = |level| {
        lua.inspect_stack(level, |debug| {
            let DebugSource { source, what, .. } = debug.source();
            let source = source.map(|source| source.into_owned()).unwrap_or_default();
            let line = debug.current_line().map_or(-1, |line| line as i64);
            (source, line, what == "C")
        })
    };
    let mut level = 1;
    let (mut source, mut line, is_c) = frame(level)?;
    if is_c && let Some((caller, caller_line, _)) = frame(level + 1) {
        level += 1;
        (source, line) = (caller, caller_line);
    }
    let mut in_prelude = source == PRELUDE;
    while in_prelude {
        level += 1;
        let Some((caller, caller_line, _)) = frame(level) else { break };
        (source, line) = (caller, caller_line);
        in_prelude = source == PRELUDE || source == TAIL_CALL;
    }
    Some((source, line))
}

//! The scripts and libraries of a shard: part of its state, so that every replica knows them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use stdx::Map;
use stdx::codec::{Malformed, Reader, put_bytes, put_varint};
use wire::Args;

use super::redis::{Registered, digest};
use super::shebang::{self, ScriptFlags};
use super::vm::{Code, Vm};
use crate::limits::{LIBRARIES_BYTES_MAX, LIBRARY_STEPS_MAX, SCRIPTS_BYTES_MAX, SCRIPTS_MAX};
use crate::reject::Reject;

/// All scripts and libraries, and the machine that runs them.
#[derive(Debug, Default)]
pub struct Scripts {
    pub(super) cache: Cache,
    /// Scripts that only reads outside the log brought: known to this node alone, never saved.
    pub(super) local: Cache,
    pub(super) libraries: Libraries,
    /// Not state: it can be made again at any time.
    vm: Option<Box<Vm>>,
}

/// A machine that runs scripts, without any state: it takes a while to make. It knows scripts that it
/// has run by their digests, so it may run those of another state as well.
#[derive(Debug, Default)]
pub struct Machine(Option<Box<Vm>>);

impl Scripts {
    /// Takes the machine out, if there is one.
    pub(crate) fn take_machine(&mut self) -> Machine {
        Machine(self.vm.take())
    }

    /// Runs scripts in this machine.
    pub(crate) fn put_machine(&mut self, machine: Machine) {
        if let Some(vm) = machine.0 {
            self.put_vm(vm);
        }
    }

    /// How many scripts are cached.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// Bytes of all cached scripts.
    pub fn cached_bytes(&self) -> usize {
        self.cache.bytes
    }

    /// How many libraries there are.
    pub fn libraries(&self) -> usize {
        self.libraries.by_name.len()
    }

    /// How many functions the libraries have.
    pub fn functions(&self) -> usize {
        self.libraries.functions.len()
    }

    /// Bytes of memory that the virtual machine uses on this node.
    pub fn vm_bytes(&self) -> usize {
        self.vm.as_ref().map_or(0, |vm| vm.memory())
    }

    /// Is this a call of a script or a function that is known here, and says of itself that it
    /// writes nothing?
    pub fn says_no_writes(&self, args: Args<'_>) -> bool {
        let Some(name) = args.get(1) else { return false };
        let flags = if args.is(0, "evalsha") {
            let digest = String::from_utf8_lossy(name).to_lowercase();
            let script = self.cache.get(&digest).or_else(|| self.local.get(&digest));
            script.map(|script| script.flags)
        } else if args.is(0, "fcall") {
            self.libraries.function(name).map(|(_, function)| function.flags)
        } else {
            None
        };
        flags.is_some_and(|flags| flags.has(ScriptFlags::NO_WRITES))
    }

    /// Is this script known by its digest?
    pub fn knows(&self, source: &[u8]) -> bool {
        self.cache.get(&digest(source)).is_some()
    }

    /// Is this an EVALSHA of the log that has found no script? One that ran is known.
    pub(crate) fn lack(&self, call: Args<'_>) -> bool {
        let by_digest = call.is(0, "evalsha") || call.is(0, "evalsha_ro");
        by_digest
            && call.get(1).is_some_and(|digest| {
                let digest = String::from_utf8_lossy(digest).to_ascii_lowercase();
                self.cache.get(&digest).is_none()
            })
    }

    /// The source of a script by its digest, in any case.
    pub(crate) fn source(&self, digest: &[u8]) -> Option<&[u8]> {
        let digest = String::from_utf8_lossy(digest).to_lowercase();
        let script = self.cache.get(&digest).or_else(|| self.local.get(&digest))?;
        Some(&script.body)
    }

    /// The source of the library that has this function.
    pub(crate) fn library_of(&self, function: &[u8]) -> Option<&[u8]> {
        self.libraries.function(function).map(|(library, _)| &*library.code)
    }

    /// Takes the machine out; `put_vm` brings it back.
    pub(super) fn take_vm(&mut self) -> Box<Vm> {
        self.vm.take().unwrap_or_else(|| Box::new(Vm::new()))
    }

    /// Brings the machine back, unless a script has used it up.
    pub(super) fn put_vm(&mut self, vm: Box<Vm>) {
        if vm.is_fit() {
            self.vm = Some(vm);
        }
    }

    /// Forgets all scripts.
    pub(super) fn flush_cache(&mut self) {
        self.cache = Cache::default();
        self.local = Cache::default();
        if let Some(vm) = &mut self.vm {
            vm.forget();
        }
    }

    /// The sources of the scripts, the one that was used least recently first.
    pub(crate) fn sources(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.cache.by_age.values().map(|name| {
            &*self.cache.by_digest.get(name).expect("both maps hold the same scripts").body
        })
    }

    /// The sources of the libraries.
    pub(crate) fn library_sources(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.libraries.by_name.values().map(|library| &*library.code)
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        put_varint(out, self.sources().len() as u64);
        self.sources().for_each(|source| put_bytes(out, source));
        put_varint(out, self.library_sources().len() as u64);
        self.library_sources().for_each(|source| put_bytes(out, source));
    }

    pub(crate) fn load(reader: &mut Reader<'_>) -> Result<Scripts, Malformed> {
        let mut scripts = Scripts::default();
        for _ in 0..reader.length()? {
            let body = reader.bytes()?;
            let (flags, _) = shebang::script(body).map_err(|_| reader.malformed())?;
            scripts.cache.insert(&digest(body), body, flags);
        }
        for _ in 0..reader.length()? {
            let code = reader.bytes()?;
            let mut vm = scripts.take_vm();
            let library = Library::load(&mut vm, code).map_err(|_| reader.malformed())?;
            scripts.put_vm(vm);
            scripts.libraries.add(library, false).map_err(|_| reader.malformed())?;
        }
        Ok(scripts)
    }
}

/// A cached script.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) body: Arc<[u8]>,
    pub(super) flags: ScriptFlags,
    /// When it was last used, as a count of uses of any script.
    used: u64,
}

/// Scripts by their digest. The one that was used least recently goes first.
#[derive(Default)]
pub(super) struct Cache {
    by_digest: Map<String, Script>,
    by_age: BTreeMap<u64, String>,
    uses: u64,
    bytes: usize,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("digests", &self.by_age).finish_non_exhaustive()
    }
}

impl Cache {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    /// The script with this digest, in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&Script> {
        self.by_digest.get(name)
    }

    /// A script was used: it is forgotten last.
    pub(super) fn touch(&mut self, name: &str) {
        let Some(script) = self.by_digest.get_mut(name) else { return };
        if script.used == self.uses {
            return;
        }
        self.uses += 1;
        let entry = self.by_age.remove(&script.used).expect("both maps hold the same scripts");
        script.used = self.uses;
        self.by_age.insert(self.uses, entry);
    }

    /// Adds a script, or counts a use of it.
    pub(super) fn insert(&mut self, name: &str, body: &[u8], flags: ScriptFlags) {
        if self.by_digest.contains_key(name) {
            return self.touch(name);
        }
        self.uses += 1;
        let script = Script { body: Arc::from(body), flags, used: self.uses };
        self.by_digest.insert(name.to_owned(), script);
        self.by_age.insert(self.uses, name.to_owned());
        self.bytes += body.len();
        while self.by_age.len() > 1
            && (self.by_age.len() > SCRIPTS_MAX || self.bytes > SCRIPTS_BYTES_MAX)
        {
            let Some((_, oldest)) = self.by_age.pop_first() else { return };
            let gone = self.by_digest.remove(&oldest).expect("both maps hold the same scripts");
            self.bytes -= gone.body.len();
        }
    }
}

/// A library of functions.
#[derive(Clone, Debug)]
pub(super) struct Library {
    pub(super) name: Vec<u8>,
    /// With its first line.
    pub(super) code: Arc<[u8]>,
    pub(super) digest: String,
    /// In the order of their names.
    pub(super) functions: Vec<Registered>,
}

impl Library {
    /// The library of this code, which runs once to say what functions it has.
    pub(super) fn load(vm: &mut Vm, code: &[u8]) -> Result<Library, Reject> {
        let (name, text) = shebang::library(code)?;
        let digest = digest(code);
        let chunk = Library::code(&digest, text);
        let compiled = vm
            .compile(chunk)
            .map_err(|text| Reject::from(format!("ERR Error compiling function: {text}")))?;
        let mut functions = vm.load_library(&compiled, LIBRARY_STEPS_MAX).map_err(|text| {
            let text = String::from_utf8_lossy(&text);
            Reject::from(format!("ERR Error registering functions: {text}"))
        })?;
        if functions.is_empty() {
            return Err(Reject::text("ERR No functions registered"));
        }
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Library { name, code: Arc::from(code), digest, functions })
    }

    /// What the machine compiles: the code without its first line.
    pub(super) fn code<'a>(digest: &'a str, text: &'a [u8]) -> Code<'a> {
        Code { key: digest, chunk: "@user_function", text }
    }
}

/// The libraries by name, and their functions.
#[derive(Clone, Debug, Default)]
pub(super) struct Libraries {
    pub(super) by_name: BTreeMap<Vec<u8>, Library>,
    /// The library and exact name of each function, by its name in lower case.
    functions: BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Libraries {
    /// The library that has this function, whatever the case of its letters, and the function.
    pub(super) fn function(&self, name: &[u8]) -> Option<(&Library, &Registered)> {
        let (library, name) = self.functions.get(&name.to_ascii_lowercase())?;
        let library = self.by_name.get(library)?;
        library.functions.iter().find(|function| function.name == *name).map(|f| (library, f))
    }

    /// Adds a library, in place of one of the same name if `replace`.
    pub(super) fn add(&mut self, library: Library, replace: bool) -> Result<(), Reject> {
        let old = self.by_name.get(&library.name).map_or(0, |old| old.code.len());
        if self.by_name.contains_key(&library.name) && !replace {
            return Err(already_exists("Library", &library.name));
        }
        for function in &library.functions {
            let other = self.functions.get(&function.name.to_ascii_lowercase());
            if other.is_some_and(|(owner, _)| *owner != library.name) {
                let name = String::from_utf8_lossy(&function.name);
                return Err(Reject::from(format!("ERR Function {name} already exists")));
            }
        }
        if self.bytes - old + library.code.len() > LIBRARIES_BYTES_MAX {
            return Err(Reject::from(format!(
                "ERR the libraries would hold more than {LIBRARIES_BYTES_MAX} bytes of code"
            )));
        }
        self.remove(&library.name.clone());
        self.bytes += library.code.len();
        for function in &library.functions {
            let names = (library.name.clone(), function.name.clone());
            self.functions.entry(function.name.to_ascii_lowercase()).or_insert(names);
        }
        self.by_name.insert(library.name.clone(), library);
        Ok(())
    }

    /// Drops a library. False if there is none of this name.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let Some(library) = self.by_name.remove(name) else { return false };
        self.bytes -= library.code.len();
        self.functions.retain(|_, (owner, _)| owner != name);
        true
    }
}

/// The refusal of a name that is taken.
pub(super) fn already_exists(what: &str, name: &[u8]) -> Reject {
    Reject::from(format!("ERR {what} '{}' already exists", String::from_utf8_lossy(name)))
}

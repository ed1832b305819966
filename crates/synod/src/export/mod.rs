//! `synod export`: what a server holds, as a dump that Redis 7 loads.
//!
//! ```text
//! SCAN ─▶ TYPE, PEXPIRETIME, MEMORY USAGE of a page ─▶ small: one call │ large: parts ─▶ dump
//! ```
//!
//! It asks by ordinary commands, so it can be given any server that speaks them, and it is not a copy
//! of one moment: what is written while it runs may be in the dump or not, key by key. A value of at
//! most two MiB is from one moment; a larger one may be torn by writes to it.
//!
//! The dump is written beside its place, synced, and then given its name.

mod spill;
mod value;
mod walk;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::import::Server;
use crate::left_out::LeftOut;
use crate::link::Link;
use crate::meter::mib;
use walk::Walk;

/// How long a server may take to answer: one call may read a value of 512 MiB.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The dump to be written
    file: PathBuf,
    /// Any node of the cluster
    #[arg(long, default_value = "127.0.0.1:7379", value_name = "HOST:PORT")]
    addr: String,
    /// The password, if the cluster has one
    #[arg(long, env = "SYNOD_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Only these databases [default: all]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    db_filter: Option<Vec<u64>>,
    /// Write it although there is such a file
    #[arg(long)]
    replace: bool,
}

/// Exports and tells what was done.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let begin = Instant::now();
    if options.file.exists() && !options.replace {
        let shown = options.file.display();
        return Err(format!("{shown} is there already: give another name, or --replace"));
    }
    let mut link = Link::connect(&options.addr, TIMEOUT)?;
    link.authenticate(None, options.password.as_deref())?;
    let databases: Option<BTreeSet<u64>> =
        options.db_filter.as_ref().map(|list| list.iter().copied().collect());
    let partial = Partial::create(&options.file)?;
    let dir = partial.dir().to_owned();
    let mut walk = Walk::new(&mut link, BufWriter::new(&partial.file), &dir)?;
    walk.run(databases.as_ref())?;
    let written = walk.finish()?;
    partial.keep().map_err(|error| format!("{}: {error}", options.file.display()))?;

    let keys: u64 = written.keys.values().sum();
    let seconds = begin.elapsed().as_secs_f64().max(0.001);
    let mut text = format!(
        "exported {keys} keys to {} ({:.1} MiB) in {seconds:.1} s\n",
        options.file.display(),
        mib(written.bytes)
    );
    for (kind, count) in &written.keys {
        text.push_str(&format!("{count:>14}  {kind}\n"));
    }
    if written.functions > 0 {
        text.push_str(&format!("{:>14}  library of functions\n", written.functions));
    }
    text.push_str(&written.left_out.to_string());
    io::stdout().lock().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

/// Copies what a server holds into a dump, key by key, and tells what is not in it.
pub(crate) fn copy(
    server: &Server,
    databases: Option<&BTreeSet<u64>>,
    file: &File,
    dir: &Path,
) -> Result<LeftOut, String> {
    let mut link = Link::connect(&server.addr, TIMEOUT)?;
    link.authenticate(server.user.as_deref(), server.password.as_deref())?;
    let mut walk = Walk::new(&mut link, BufWriter::new(file), dir)?;
    walk.run(databases)?;
    Ok(walk.finish()?.left_out)
}

/// A file that is not whole yet: it has another name, and goes away if it never gets its own.
struct Partial {
    file: File,
    path: PathBuf,
    place: PathBuf,
    is_kept: bool,
}

impl Partial {
    fn create(place: &Path) -> Result<Partial, String> {
        let name = place.file_name().ok_or_else(|| format!("{} is no file", place.display()))?;
        let mut partial = name.to_owned();
        partial.push(format!(".partial-{}", std::process::id()));
        let path = place.with_file_name(partial);
        let file = File::options().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Partial { file, path, place: place.to_owned(), is_kept: false })
    }

    fn dir(&self) -> &Path {
        match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        }
    }

    /// It is whole: after this it survives a loss of power under its own name.
    fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.place)?;
        self.is_kept = true;
        File::open(self.dir())?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed is seen by its name.
            let _ = fs::remove_file(&self.path);
        }
    }
}

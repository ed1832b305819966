//! `synod import`: a Redis, or a dump of one, into a cluster.
//!
//! ```text
//! file ──────────────────────────┐
//! live server ─ as its replica ──┤
//!            └─ else key by key ─┴─▶ dump ─▶ survey ─▶ target empty? ─▶ load ─▶ summary
//! ```
//!
//! Three things follow from the dump in the middle: a live server is burdened no longer than the dump
//! takes to be sent; what is damaged is found before anything is changed; and there is one way in.
//! What it costs is room for the dump, in `--spool`.
//!
//! Not here: what is written to the source after its dump was begun. Stop writing to it first.

mod calls;
mod hold;
mod lane;
mod lanes;
mod load;
mod replica;
mod source;
mod survey;

pub(crate) use calls::Value as Writer;
pub(crate) use lane::Route;
pub(crate) use lanes::Lanes;
pub(crate) use source::{Server, Source};

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use rdb::{Expiry, Item, Reader};
use wire::resp::Value;

use crate::export;
use crate::leaders::Leaders;
use crate::left_out::LeftOut;
use crate::link::Link;
use hold::Held;
use load::Order;
use survey::Survey;

/// How long the target may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// A dump (dump.rdb), or a live Redis: redis://HOST, with USER:PASSWORD@, :PORT, /DATABASE
    source: String,
    /// Any node of the cluster that takes it
    #[arg(long, default_value = "127.0.0.1:7379", value_name = "HOST:PORT")]
    to: String,
    /// The password of the cluster, if it has one
    #[arg(long, env = "SYNOD_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// The password of the source, where the URL has none
    #[arg(long, env = "SYNOD_SOURCE_PASSWORD", hide_env_values = true)]
    source_password: Option<String>,
    /// Only these databases [default: all]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    db_filter: Option<Vec<u64>>,
    /// Import although the databases have keys: those of the dump take the place of their namesakes
    #[arg(long)]
    replace: bool,
    /// Connections that write side by side
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: u32,
    /// Do not ask the source for a dump, read it key by key
    #[arg(long)]
    scan: bool,
    /// Where the dump of a live source is kept meanwhile [default: the system's folder]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

/// Imports and tells what was done.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let begin = Instant::now();
    let source = Source::parse(&options.source)?;
    let mut target = Target::connect(options)?;
    let mut databases: Option<BTreeSet<u64>> =
        options.db_filter.as_ref().map(|list| list.iter().copied().collect());
    let (mut file, shown, mut left_out) = match source {
        Source::File(path) => {
            let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            (file, path.display().to_string(), LeftOut::default())
        }
        Source::Server(mut server) => {
            server.password = server.password.or_else(|| options.source_password.clone());
            if let Some(number) = server.database {
                databases.get_or_insert_default().insert(number);
            }
            let (file, left_out) = fetch(&server, databases.as_ref(), options)?;
            (file, format!("the dump of {}", server.addr), left_out)
        }
    };
    rewind(&mut file)?;
    let survey = survey::survey(&file, &shown)?;
    target.check(&survey, databases.as_ref(), options.replace)?;
    rewind(&mut file)?;
    let functions = target.load_functions(&file, &survey, options.replace, &mut left_out)?;
    rewind(&mut file)?;
    let password = options.password.as_deref();
    let leaders = Leaders::ask(&mut target.link, password)?;
    let held = Held::like(&mut target.link)?;
    let lanes = Lanes::open(leaders, password, options.connections)?;
    let order = Order {
        survey: &survey,
        databases: databases.as_ref(),
        replace: options.replace,
        now: now(),
    };
    let mut loaded = load::load(&file, &order, lanes, held).map_err(|error| {
        format!("{error}\nA part of the dump is written. Begin again with --replace.")
    })?;
    loaded.left_out.merge(&left_out);
    let text = load::summary(&loaded, functions, survey.bytes, begin);
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

fn rewind(file: &mut File) -> Result<(), String> {
    file.seek(SeekFrom::Start(0)).map(|_| ()).map_err(|error| format!("rewinding: {error}"))
}

fn now() -> Expiry {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Expiry(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A dump of a live server.
fn fetch(
    server: &Server,
    databases: Option<&BTreeSet<u64>>,
    options: &Options,
) -> Result<(File, LeftOut), String> {
    replica::check(server)?;
    let dir = options.spool.clone().unwrap_or_else(std::env::temp_dir);
    if !options.scan {
        let mut file = nameless(&dir)?;
        match replica::receive(server, &mut file)? {
            replica::Received::Whole => return Ok((file, LeftOut::default())),
            replica::Received::Refused(why) => eprintln!(
                "{} gives no dump ({why}): it is read key by key, which is no copy of one moment",
                server.addr
            ),
        }
    }
    let file = nameless(&dir)?;
    let left_out = export::copy(server, databases, &file, &dir)?;
    Ok((file, left_out))
}

/// A file that goes away with the process: it has no name any more.
pub(crate) fn nameless(dir: &Path) -> Result<File, String> {
    let mut dice = [0; 8];
    getrandom::fill(&mut dice).map_err(|error| error.to_string())?;
    let path = dir.join(format!(".synod-{:016x}", u64::from_le_bytes(dice)));
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
    fs::remove_file(&path).map_err(failed)?;
    Ok(file)
}

/// The cluster, for what is asked before the load.
struct Target {
    link: Link,
}

impl Target {
    fn connect(options: &Options) -> Result<Target, String> {
        let mut link = Link::connect(&options.to, TIMEOUT)?;
        link.authenticate(None, options.password.as_deref())?;
        link.must(&[b"PING"])?;
        Ok(Target { link })
    }

    /// Refuses what would mix with what is there, and databases that are not.
    fn check(
        &mut self,
        survey: &Survey,
        databases: Option<&BTreeSet<u64>>,
        replace: bool,
    ) -> Result<(), String> {
        let addr = self.link.addr().to_owned();
        let wanted = |number: &u64| databases.is_none_or(|wanted| wanted.contains(number));
        for (number, keys) in survey.databases.iter().filter(|(number, _)| wanted(number)) {
            let selected = self.link.must(&[b"SELECT", number.to_string().as_bytes()]);
            selected.map_err(|error| {
                format!(
                    "the dump has {keys} keys in database {number}, and {error}. Nothing was \
                     changed. Leave them out with --db-filter"
                )
            })?;
            let size = self.link.must(&[b"DBSIZE"])?;
            if !replace && !matches!(size, Value::Int(0)) {
                let size = if let Value::Int(size) = size { size } else { 0 };
                return Err(format!(
                    "database {number} of {addr} has {size} keys. Nothing was changed. Import into \
                     an empty one, or give --replace: then the keys of the dump take the place of \
                     those with the same names, and all others stay"
                ));
            }
        }
        if survey.functions > 0 && !replace {
            let libraries = self.link.must(&[b"FUNCTION", b"LIST"])?;
            if !matches!(&libraries, Value::Array(list) if list.is_empty()) {
                return Err(format!(
                    "{addr} has libraries of functions, and so has the dump. Nothing was changed. \
                     FUNCTION FLUSH them, or give --replace: then those of the dump take the place \
                     of those with the same names"
                ));
            }
        }
        Ok(())
    }

    /// Loads the libraries, which stand before all keys. One that is refused is left out.
    fn load_functions(
        &mut self,
        file: &File,
        survey: &Survey,
        replace: bool,
        left_out: &mut LeftOut,
    ) -> Result<u64, String> {
        let (mut reader, mut met, mut loaded) = (Reader::new(file), 0, 0);
        while met < survey.functions {
            let Some(item) = reader.next().map_err(|error| error.to_string())? else { break };
            let Item::Function(code) = item else { continue };
            met += 1;
            let reply = match replace {
                true => self.link.call(&[b"FUNCTION", b"LOAD", b"REPLACE", code])?,
                false => self.link.call(&[b"FUNCTION", b"LOAD", code])?,
            };
            match reply {
                Value::Error(text) => left_out.add(format!("library that is refused: {text}"), 1),
                _ => loaded += 1,
            }
        }
        Ok(loaded)
    }
}

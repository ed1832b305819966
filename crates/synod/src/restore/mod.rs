//! `synod restore`: a backup into an empty cluster, with any number of nodes and shards.
//!
//! ```text
//! manifest ─▶ cluster empty? ─▶ every checksum ─▶ mark ─▶ libraries, scripts, keys, settings ─▶ unmark
//! ```
//!
//! Nothing is changed before everything was checked. From the first write to the last a key says that
//! the cluster holds a part of a restore: if that ends midway, the next one knows why there are keys,
//! and a backup of such a cluster is refused.
//!
//! Not here: a cluster that serves others meanwhile. They would see a part of it.

mod target;
mod write;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::backup::{self, Place};
use crate::import::Server;
use crate::meter::mib;
use target::Target;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The backup: a folder, or s3://BUCKET/PREFIX
    place: String,
    /// Any node of the cluster, which has to be empty
    #[arg(long, default_value = "redis://127.0.0.1:7379", value_name = "redis://HOST:PORT")]
    into: String,
    /// The password of the cluster, if it has one
    #[arg(long, env = "SYNOD_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Connections that write side by side
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: u32,
    /// Drop what a restore that did not end has left in the cluster, and begin anew
    #[arg(long)]
    start_over: bool,
    /// Where a backup of a bucket lies meanwhile [default: the system's folder]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

/// Restores and tells what was done.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let begin = Instant::now();
    let place = Place::parse(&options.place)?;
    let mut server = Server::node(&options.into)?;
    server.password = server.password.or_else(|| options.password.clone());
    let at_hand = backup::fetch(&place, options.spool.as_deref())?;
    let manifest = backup::manifest(at_hand.dir())?;
    let mut target = Target::connect(&server)?;
    // Who is refused should not have to wait for all the checksums.
    target.check(options.start_over)?;
    let heads = backup::verify(at_hand.dir(), &manifest)?;
    target.mark(&manifest, options.start_over)?;
    let order = write::Order { manifest: &manifest, dir: at_hand.dir(), heads: &heads };
    let restored = write::write(&order, &mut target, options.connections).map_err(|error| {
        format!("{error}\nA part of the backup is written. Begin again with --start-over")
    })?;
    let seconds = begin.elapsed().as_secs_f64().max(0.001);
    let keys: u64 = restored.keys.values().sum();
    let mut text = format!(
        "restored {keys} keys of backup {} (of {}), {:.1} MiB, in {seconds:.1} s ({:.1} MiB/s)\n",
        manifest.backup,
        manifest.point.utc,
        mib(manifest.bytes),
        mib(manifest.bytes) / seconds
    );
    for (kind, count) in &restored.keys {
        text.push_str(&format!("{count:>14}  {kind}\n"));
    }
    for (count, what) in [
        (restored.libraries, "library of functions"),
        (restored.scripts, "script"),
        (restored.settings, "setting that was another"),
    ] {
        if count > 0 {
            text.push_str(&format!("{count:>14}  {what}\n"));
        }
    }
    text.push_str(&restored.left_out.to_string());
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

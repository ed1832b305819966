//! `synod backup`: all shards at one point of the serialization order, while the cluster serves.
//!
//! ```text
//! cluster ─ take ─▶ folder: shard-0000.synod … ─ seal ─▶ manifest.json
//!                     └─ or a folder on the way ─▶ bucket: the files, then the manifest
//! ```
//!
//! A transaction over all shards makes the point; the leader of each keeps the state that its shard
//! had there, without stopping it (`node::Group::read_backup`), and it is read part by part. On the way
//! to a bucket it lies in a folder, so that the cluster keeps nothing for a slow network.
//!
//! - [`take`]: the cluster's side.
//! - `scan`, `verify`: is a file, and a backup, whole?
//! - `manifest`, `place`: what is written, and where.
//! - [`bucket`]: S3, if it was built in.
//!
//! Not here: backups of what has changed since another, and compression.

#[cfg(feature = "s3")]
mod bucket;
#[cfg(not(feature = "s3"))]
#[path = "no_bucket.rs"]
mod bucket;
mod manifest;
mod place;
mod scan;
mod take;
mod verify;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

pub(crate) use bucket::Bucket;
pub(crate) use manifest::{Manifest, utc};
pub(crate) use place::{Place, Spool};
pub(crate) use scan::Scan;
pub(crate) use verify::{manifest, verify};

use crate::import::Server;
use crate::meter::mib;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// A folder that is empty or not there yet, or s3://BUCKET/PREFIX
    place: String,
    /// Any node of the cluster
    #[arg(long, default_value = "redis://127.0.0.1:7379", value_name = "redis://HOST:PORT")]
    from: String,
    /// The password of the cluster, if it has one
    #[arg(long, env = "SYNOD_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Check a backup that is there, to the last byte, and change nothing
    #[arg(long)]
    check: bool,
    /// Read at most so much, so that others have the rest of the nodes' time [default: no limit]
    #[arg(long, value_name = "MiB/s", value_parser = rate)]
    rate: Option<f64>,
    /// Where a backup lies on its way to a bucket, or from one [default: the system's folder]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

/// A number of MiB a second.
fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "this is no number".to_owned())?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("it must be above 0".to_owned()) }
}

/// Makes a backup, or checks one, and tells what it is.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let begin = Instant::now();
    let place = Place::parse(&options.place)?;
    let manifest = match options.check {
        true => check(&place, options)?,
        false => make(&place, options)?,
    };
    let seconds = begin.elapsed().as_secs_f64().max(0.001);
    let what = if options.check { "is whole" } else { "made" };
    let text = format!(
        "backup {} {what}: {} keys of {} shards, {:.1} MiB, in {seconds:.1} s ({:.1} MiB/s)\n\
         it is of {}, cluster {}\n",
        manifest.backup,
        manifest.keys,
        manifest.shards,
        mib(manifest.bytes),
        mib(manifest.bytes) / seconds,
        manifest.point.utc,
        manifest.cluster
    );
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

fn check(place: &Place, options: &Options) -> Result<Manifest, String> {
    let at_hand = fetch(place, options.spool.as_deref())?;
    let manifest = manifest(at_hand.dir())?;
    verify(at_hand.dir(), &manifest)?;
    Ok(manifest)
}

fn make(place: &Place, options: &Options) -> Result<Manifest, String> {
    let mut server = Server::node(&options.from)?;
    server.password = server.password.or_else(|| options.password.clone());
    match place {
        Place::Folder(dir) => {
            place::create(dir)?;
            let manifest = take::take(&server, dir, options.rate)?;
            place::seal(dir, &manifest.encode())?;
            Ok(manifest)
        }
        Place::Bucket(url) => {
            let bucket = Bucket::open(url)?;
            bucket.must_be_free()?;
            let spool = Spool::new(options.spool.as_deref())?;
            let manifest = take::take(&server, spool.path(), options.rate)?;
            bucket.put_files(spool.path(), &manifest)?;
            bucket.put_manifest(&manifest.encode())?;
            Ok(manifest)
        }
    }
}

/// A backup that lies in a folder of this machine.
pub(crate) enum AtHand {
    Here(PathBuf),
    Fetched(Spool),
}

impl AtHand {
    pub(crate) fn dir(&self) -> &Path {
        match self {
            AtHand::Here(dir) => dir,
            AtHand::Fetched(spool) => spool.path(),
        }
    }
}

/// Fetches a backup from a bucket; one in a folder is there already.
pub(crate) fn fetch(place: &Place, spool: Option<&Path>) -> Result<AtHand, String> {
    match place {
        Place::Folder(dir) => Ok(AtHand::Here(dir.clone())),
        Place::Bucket(url) => {
            let bucket = Bucket::open(url)?;
            let spool = Spool::new(spool)?;
            bucket.get_manifest(spool.path())?;
            let manifest = manifest(spool.path())?;
            bucket.get_files(spool.path(), &manifest)?;
            Ok(AtHand::Fetched(spool))
        }
    }
}

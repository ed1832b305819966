//! Taking a backup: one point in all shards, then the state of each from the node that led it there.
//!
//! ```text
//! BEGIN ─▶ LIST: who keeps which shard ─▶ a thread for each node: READ, READ … ─▶ files ─▶ END
//! ```
//!
//! A node keeps a shard's state as long as somebody reads it, so a thread goes round the shards of its
//! node: none waits for another to be done. If a node dies, what it kept is gone, and all of it begins
//! again with another point; a leader that changes does no harm.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use wire::resp::{Value, encode_call};

use super::manifest::{About, Manifest, Part, file_name, hex};
use super::scan::Scan;
use crate::import::Server;
use crate::limits::{
    BACKUP_LOCATE_TIME, BACKUP_PAUSE, BACKUP_RECONNECTS_MAX, BACKUP_ROUND_TIME, BACKUP_SYNC_BYTES,
    BACKUP_TRIES, RESTORE_MARK,
};
use crate::link::{Link, info_field};
use crate::meter::{Meter, mib};
use crate::status;

/// Longer than a node lets a request wait.
const TIMEOUT: Duration = Duration::from_secs(30);

/// For what a node answers from its own memory. One that is gone must not hold up the others.
const TIMEOUT_BRIEF: Duration = Duration::from_secs(3);

/// Why a try came to nothing.
#[derive(Debug)]
enum Trouble {
    /// A node was lost, or could not be asked: another try may succeed.
    Again(String),
    Failed(String),
}

/// A cluster to read from, by the addresses that are known of it.
struct Cluster<'a> {
    server: &'a Server,
    addrs: BTreeSet<String>,
}

/// What is known of it before the backup begins.
struct Known {
    cluster: String,
    shards: usize,
    /// About how many keys it has.
    keys: u64,
}

/// Writes a backup into an empty folder, all but its manifest, at so many MiB a second at the most.
pub(super) fn take(server: &Server, dir: &Path, rate: Option<f64>) -> Result<Manifest, String> {
    let mut cluster = Cluster { server, addrs: BTreeSet::from([server.addr.clone()]) };
    let mut left = BACKUP_TRIES;
    loop {
        let outcome = attempt(&mut cluster, dir, rate);
        left -= 1;
        match outcome {
            Ok(manifest) => return Ok(manifest),
            Err(Trouble::Again(why)) if left > 0 => {
                eprintln!("the backup begins again: {why}");
                clear(dir)?;
                thread::sleep(BACKUP_PAUSE);
            }
            Err(Trouble::Again(why) | Trouble::Failed(why)) => {
                clear(dir)?;
                return Err(format!("{why}. There is no backup in {}", dir.display()));
            }
        }
    }
}

/// Takes out what a try has written.
fn clear(dir: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", dir.display());
    for entry in fs::read_dir(dir).map_err(failed)? {
        fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
    }
    Ok(())
}

fn attempt(cluster: &mut Cluster<'_>, dir: &Path, rate: Option<f64>) -> Result<Manifest, Trouble> {
    let mut link = cluster.any()?;
    let known = known(&mut link)?;
    let pace = Pace::new(rate, known.shards)?;
    if let Value::Bulk(mark) = asked(link.must(&[b"GET", RESTORE_MARK]))? {
        return Err(Trouble::Failed(format!(
            "{} holds a part of a restore that did not end ({}): that is nothing to back up",
            link.addr(),
            String::from_utf8_lossy(&mark)
        )));
    }
    cluster.meet(link.addr())?;
    let mut dice = [0; 16];
    getrandom::fill(&mut dice).map_err(|error| Trouble::Failed(error.to_string()))?;
    let id = hex(&dice);
    let clocks = begin(&mut link, &id, known.shards);
    let files = clocks.and_then(|unix_ms| Ok((unix_ms, gather(cluster, &id, &known, pace, dir)?)));
    cluster.end(&id);
    let (unix_ms, files) = files?;
    Ok(Manifest::new(About { backup: id, cluster: known.cluster, unix_ms, files }))
}

/// What could not be asked may be another time.
fn asked<T>(answer: Result<T, String>) -> Result<T, Trouble> {
    answer.map_err(Trouble::Again)
}

impl Cluster<'_> {
    fn connect(&self, addr: &str, timeout: Duration) -> Result<Link, String> {
        let mut link = Link::connect(addr, timeout)?;
        link.authenticate(self.server.user.as_deref(), self.server.password.as_deref())?;
        Ok(link)
    }

    /// A connection to the node that was named, or to another if that is gone.
    fn any(&self) -> Result<Link, Trouble> {
        let others = self.addrs.iter().filter(|addr| **addr != self.server.addr);
        let mut why = String::new();
        for addr in std::iter::once(&self.server.addr).chain(others) {
            let connected = self.connect(addr, TIMEOUT).and_then(|mut link| {
                link.must(&[b"PING"])?;
                Ok(link)
            });
            match connected {
                Ok(link) => return Ok(link),
                Err(error) if why.is_empty() => why = error,
                Err(_) => {}
            }
        }
        // A password that is wrong will be so the next time, too.
        let is_refused = why.contains("NOAUTH") || why.contains("WRONGPASS");
        Err(if is_refused { Trouble::Failed(why) } else { Trouble::Again(why) })
    }

    /// Learns the addresses of the other nodes.
    fn meet(&mut self, addr: &str) -> Result<(), Trouble> {
        let status = asked(status::ask(addr, self.server.password.as_deref(), TIMEOUT))?;
        let nodes = status["nodes"].as_array().into_iter().flatten();
        self.addrs.extend(nodes.filter_map(|node| Some(node["addr"].as_str()?.to_owned())));
        Ok(())
    }

    /// Lets all nodes drop what they keep. One that is not told drops it by itself after a while.
    fn end(&self, id: &str) {
        for addr in &self.addrs {
            if let Ok(mut link) = self.connect(addr, TIMEOUT_BRIEF) {
                let _ = link.call(&[b"SYNOD.BACKUP", b"END", id.as_bytes()]);
            }
        }
    }
}

fn known(link: &mut Link) -> Result<Known, Trouble> {
    let Value::Bulk(info) = asked(link.must(&[b"INFO", b"synod", b"keyspace"]))? else {
        return Err(Trouble::Failed(format!("{}: no Synod node answers", link.addr())));
    };
    let info = String::from_utf8_lossy(&info);
    let shards = info_field(&info, "synod_shards").and_then(|text| text.parse().ok());
    let cluster = info_field(&info, "synod_cluster").map(str::to_owned);
    let (Some(shards), Some(cluster)) = (shards, cluster) else {
        return Err(Trouble::Failed(format!("{}: no Synod node answers", link.addr())));
    };
    let keys = info.lines().filter_map(|line| {
        let (_, rest) = line.strip_prefix("db")?.split_once("keys=")?;
        rest.split(',').next()?.parse::<u64>().ok()
    });
    Ok(Known { cluster, shards, keys: keys.sum() })
}

/// Makes the point, and returns its time.
fn begin(link: &mut Link, id: &str, shards: usize) -> Result<u64, Trouble> {
    let reply = asked(link.call(&[b"SYNOD.BACKUP", b"BEGIN", id.as_bytes()]))?;
    let told = match reply {
        Value::Array(told) if told.len() == shards * 2 => told,
        Value::Error(text) if text.starts_with("ERR") => {
            return Err(Trouble::Failed(format!("{}: {text}", link.addr())));
        }
        other => return Err(Trouble::Again(format!("{}: {other:?}", link.addr()))),
    };
    let clocks = told.iter().step_by(2).filter_map(|clock| match clock {
        Value::Int(clock) => u64::try_from(*clock).ok(),
        _ => None,
    });
    Ok(clocks.max().unwrap_or_default())
}

/// Which shards each node keeps for the backup.
fn locate(
    cluster: &Cluster<'_>,
    id: &str,
    shards: usize,
) -> Result<BTreeMap<String, Vec<usize>>, Trouble> {
    let deadline = Instant::now() + BACKUP_LOCATE_TIME;
    loop {
        let (mut nodes, mut found) = (BTreeMap::<String, Vec<usize>>::new(), BTreeSet::new());
        let mut others = BTreeSet::new();
        for addr in &cluster.addrs {
            for (other, shard) in kept(cluster, addr).unwrap_or_default() {
                if other != id.as_bytes() {
                    others.insert(shard);
                } else if found.insert(shard) {
                    nodes.entry(addr.clone()).or_default().push(shard);
                }
            }
        }
        if found.len() == shards {
            return Ok(nodes);
        }
        if let Some(shard) = others.difference(&found).next() {
            return Err(Trouble::Failed(format!(
                "another backup of shard {shard} is being read, or was until half a minute ago"
            )));
        }
        if Instant::now() >= deadline {
            let why = "a shard had no leader, or changed it, as it began".to_owned();
            return Err(Trouble::Again(why));
        }
        thread::sleep(BACKUP_PAUSE / 10);
    }
}

/// The backups that a node keeps shards for.
fn kept(cluster: &Cluster<'_>, addr: &str) -> Result<Vec<(Vec<u8>, usize)>, String> {
    let reply = cluster.connect(addr, TIMEOUT_BRIEF)?.must(&[b"SYNOD.BACKUP", b"LIST"])?;
    let Value::Array(list) = reply else { return Ok(Vec::new()) };
    let one = |entry: Value| match entry {
        Value::Array(parts) => match &parts[..] {
            [Value::Bulk(id), Value::Int(shard), _] => Some((id.clone(), *shard as usize)),
            _ => None,
        },
        _ => None,
    };
    Ok(list.into_iter().filter_map(one).collect())
}

/// How fast it may go.
#[derive(Clone, Copy)]
struct Pace {
    bytes_per_second: Option<f64>,
    begin: Instant,
}

impl Pace {
    /// Refuses a rate at which a shard would wait so long for its turn that its node gives it up.
    fn new(rate: Option<f64>, shards: usize) -> Result<Pace, Trouble> {
        let round = shards as f64 * node::limits::BACKUP_PART_BYTES as f64;
        let least = round / BACKUP_ROUND_TIME.as_secs_f64();
        let bytes_per_second = rate.map(|rate| rate * 1024.0 * 1024.0);
        if bytes_per_second.is_some_and(|rate| rate < least) {
            let least = least / (1024.0 * 1024.0);
            return Err(Trouble::Failed(format!(
                "at this rate a node would give up: with {shards} shards it is {least:.2} MiB/s at \
                 the least"
            )));
        }
        Ok(Pace { bytes_per_second, begin: Instant::now() })
    }

    /// How long to rest after so many bytes.
    fn rest(&self, bytes: u64) -> Duration {
        let due = self.bytes_per_second.map_or(0.0, |rate| bytes as f64 / rate);
        Duration::from_secs_f64(due).saturating_sub(self.begin.elapsed())
    }
}

/// How far the threads are, together.
#[derive(Default)]
struct Gauge {
    keys: AtomicU64,
    bytes: AtomicU64,
    /// One has failed: the others need not go on.
    stops: AtomicBool,
}

/// Reads all shards, and returns what was written, in their order.
fn gather(
    cluster: &Cluster<'_>,
    id: &str,
    known: &Known,
    pace: Pace,
    dir: &Path,
) -> Result<Vec<Part>, Trouble> {
    let nodes = locate(cluster, id, known.shards)?;
    let (gauge, mut meter) = (Gauge::default(), Meter::new("backup", Some(known.keys)));
    let (ends, ended) = channel();
    let mut parts: Vec<Part> = Vec::new();
    let mut trouble = None;
    thread::scope(|scope| {
        let count = nodes.len();
        for (addr, shards) in nodes {
            let (ends, gauge) = (ends.clone(), &gauge);
            scope.spawn(move || {
                let read = Round { cluster, addr, id, gauge, pace, link: None }.run(shards, dir);
                // Nobody listens any more if another thread has panicked.
                let _ = ends.send(read);
            });
        }
        let mut left = count;
        while left > 0 {
            match ended.recv_timeout(Duration::from_millis(100)) {
                Ok(read) => {
                    left -= 1;
                    match read {
                        Ok(mut read) => parts.append(&mut read),
                        Err(why) => {
                            gauge.stops.store(true, Ordering::Relaxed);
                            trouble.get_or_insert(why);
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let keys = gauge.keys.load(Ordering::Relaxed);
            meter.update(keys, |seconds| {
                let rate = mib(gauge.bytes.load(Ordering::Relaxed)) / seconds.max(0.001);
                format!("{keys} keys  {rate:.0} MiB/s")
            });
        }
    });
    meter.finish();
    if let Some(trouble) = trouble {
        return Err(trouble);
    }
    parts.sort_by_key(|part| part.shard);
    Ok(parts)
}

/// A shard on its way into its file.
struct Stream {
    shard: usize,
    path: PathBuf,
    offset: u64,
    unsynced: u64,
    scan: Scan,
}

/// One node, and its shards in turn.
struct Round<'a> {
    cluster: &'a Cluster<'a>,
    addr: String,
    id: &'a str,
    gauge: &'a Gauge,
    pace: Pace,
    link: Option<Link>,
}

impl Round<'_> {
    fn run(mut self, shards: Vec<usize>, dir: &Path) -> Result<Vec<Part>, Trouble> {
        let stream = |shard| Stream {
            shard,
            path: dir.join(file_name(shard)),
            offset: 0,
            unsynced: 0,
            scan: Scan::default(),
        };
        let mut streams: VecDeque<Stream> = shards.into_iter().map(stream).collect();
        let mut done = Vec::new();
        while let Some(mut stream) = streams.pop_front() {
            if self.gauge.stops.load(Ordering::Relaxed) {
                return Err(Trouble::Again("another node was lost".to_owned()));
            }
            let (last, data) = self.receive(&stream)?;
            stream.offset += data.len() as u64;
            thread::sleep(self.pace.rest(self.gauge.bytes.load(Ordering::Relaxed)));
            // The node makes the next part while this one is written.
            if let Some(next) = streams.front().or_else(|| (!last).then_some(&stream)) {
                self.ask(next);
            }
            self.write(&mut stream, &data)?;
            if last {
                done.push(finish(stream)?);
            } else {
                streams.push_back(stream);
            }
        }
        Ok(done)
    }

    /// Asks for the next part of a shard. A connection that breaks is seen when the reply is awaited.
    fn ask(&mut self, stream: &Stream) {
        let (shard, offset) = (stream.shard.to_string(), stream.offset.to_string());
        let mut bytes = Vec::new();
        let args = [b"SYNOD.BACKUP", &b"READ"[..], self.id.as_bytes(), shard.as_bytes()];
        encode_call(&mut bytes, &[&args[..], &[offset.as_bytes()]].concat());
        if self.link.as_mut().is_some_and(|link| link.send(&bytes).is_err()) {
            self.link = None;
        }
    }

    /// The part that was asked for; over a new connection, it is asked for once more.
    fn receive(&mut self, stream: &Stream) -> Result<(bool, Vec<u8>), Trouble> {
        let mut tries = 0;
        loop {
            let reply = match &mut self.link {
                Some(link) => link.reply(),
                None => Err(String::new()),
            };
            match reply.map(part) {
                Ok(Ok(part)) => return Ok(part),
                Ok(Err(text)) => return Err(Trouble::Again(format!("{}: {text}", self.addr))),
                Err(_) => {}
            }
            match self.cluster.connect(&self.addr, TIMEOUT) {
                Ok(link) => self.link = Some(link),
                Err(why) if tries >= BACKUP_RECONNECTS_MAX => return Err(Trouble::Again(why)),
                Err(_) => thread::sleep(BACKUP_PAUSE),
            }
            tries += 1;
            if tries > BACKUP_RECONNECTS_MAX + 1 {
                let why = format!("{}: the connection breaks again and again", self.addr);
                return Err(Trouble::Again(why));
            }
            self.ask(stream);
        }
    }

    fn write(&self, stream: &mut Stream, data: &[u8]) -> Result<(), Trouble> {
        let failed = |error: &dyn std::fmt::Display| {
            Trouble::Failed(format!("{}: {error}", stream.path.display()))
        };
        let before = stream.scan.keys();
        stream.scan.feed(data, |_| Ok(())).map_err(|error| failed(&error))?;
        // Open only meanwhile: there may be more shards than a process may have files.
        let file = OpenOptions::new().create(true).append(true).open(&stream.path);
        stream.unsynced += data.len() as u64;
        let syncs = stream.unsynced >= BACKUP_SYNC_BYTES;
        let written = file.and_then(|mut file| {
            file.write_all(data)?;
            if syncs { file.sync_data() } else { Ok(()) }
        });
        written.map_err(|error| failed(&error))?;
        stream.unsynced = if syncs { 0 } else { stream.unsynced };
        self.gauge.keys.fetch_add(stream.scan.keys() - before, Ordering::Relaxed);
        self.gauge.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// A reply to READ: whether it is the last part, and the part; or the error of the node.
fn part(reply: Value) -> Result<(bool, Vec<u8>), String> {
    match reply {
        Value::Array(parts) => match <[Value; 2]>::try_from(parts) {
            Ok([Value::Int(last), Value::Bulk(data)]) => Ok((last != 0, data)),
            _ => Err("no part of a backup was answered".to_owned()),
        },
        Value::Error(text) => Err(text),
        _ => Err("no part of a backup was answered".to_owned()),
    }
}

fn finish(stream: Stream) -> Result<Part, Trouble> {
    let Stream { shard, path, scan, .. } = stream;
    let failed =
        |error: &dyn std::fmt::Display| Trouble::Failed(format!("{}: {error}", path.display()));
    let scanned = scan.finish();
    let (keys, _) = scanned.content.map_err(|error| failed(&error))?;
    let synced = OpenOptions::new().append(true).open(&path).and_then(|file| file.sync_all());
    synced.map_err(|error| failed(&error))?;
    let (name, bytes) = (file_name(shard), scanned.bytes);
    Ok(Part { name, shard, bytes, keys, sha256: scanned.sha256 })
}

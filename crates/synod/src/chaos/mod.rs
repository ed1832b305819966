//! `synod chaos`: real nodes, real clients, real misfortunes, and a judgement.
//!
//! ```text
//!   schedule ─▶ nemesis ─▶ nodes, network, disks          by seed
//!   workload ─▶ crowd of clients ─ redis crate, TCP ─▶ nodes
//!                    └─▶ history ─▶ checkers ─▶ summary, timeline, files
//! ```
//!
//! When the time is over everything is made whole, the cluster must serve within a bound, and all
//! that was written is read, twice: before and after the node that leads is asked to end, so
//! that a second copy is seen, too. Then the history is checked as the simulator's are.
//!
//! What it makes belongs to namespaces of its own or to its folder; see `ground`. It ends no process
//! but those that it started.

mod client;
mod crowd;
mod disks;
mod ground;
mod nemesis;
mod network;
mod nodes;
mod progress;
mod report;
mod schedule;
mod svg;
mod timeline;
mod verdict;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use sim::history::History;

use client::Client;
use crowd::{Book, Crowd};
use ground::Ground;
use nemesis::Nemesis;
use nodes::Nodes;
use progress::Progress;
use report::Report;
use schedule::{Kind, Schedule};
use workload::{Task, Workload};

use crate::out::print;

/// Nodes that start must serve within this time, and so must a cluster that was made whole, even
/// on a busy machine.
const SERVE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Minutes of trouble
    #[arg(long, default_value_t = 10.0, value_name = "M")]
    minutes: f64,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Chooses the faults, their order and lengths, and the operations; none: a random one
    #[arg(long)]
    seed: Option<u64>,
    /// Only these faults
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULT,…")]
    faults: Vec<Kind>,
    /// Where history, timeline and logs are left
    #[arg(long, default_value = "./synod-chaos", value_name = "DIR")]
    out: PathBuf,
    /// Use loopback even where a network of one's own is allowed
    #[arg(long)]
    loopback: bool,
    /// Set by the run itself: it is in namespaces of its own
    #[arg(long, hide = true)]
    inside: bool,
    /// A bug that the nodes are to have
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
}

/// Runs, checks, and tells. An error if anything was wrong.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if !(options.minutes.is_finite() && (0.05..=10_000.0).contains(&options.minutes)) {
        return Err("--minutes must be between 0.05 and 10000".to_owned());
    }
    if !options.inside && !options.loopback {
        // Returns only if the machine does not allow it.
        eprintln!("no namespaces here: {}", ground::enter());
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in
        [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
    {
        // The first ends the run in order, the second at once.
        signal_hook::flag::register_conditional_shutdown(signal, 1, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|error| error.to_string())?;
    }
    let seed = match options.seed {
        Some(seed) => seed,
        None => {
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
            u64::from(u32::from_le_bytes(bytes))
        }
    };
    let out = folder(&options.out)?;
    let ground = Ground::prepare(&out, usize::from(options.nodes), options.inside)?;
    #[cfg(feature = "planted")]
    let ground = match &options.plant {
        Some(name) => ground.with_flags(&["--plant", name]),
        None => ground,
    };
    let outcome = chaos(options, seed, &ground, &stop);
    match &outcome {
        Ok(report) if report.violations.is_empty() => drop(ground),
        _ => ground.keep(),
    }
    let report = outcome?;
    report.save(&out)?;
    print(&report.text(&out));
    if stop.load(Ordering::Acquire) {
        return Err("the run was ended by a signal, and its history is short".to_owned());
    }
    match report.violations.len() {
        0 => Ok(()),
        count => Err(format!("{count} violations; all is kept in {}", out.display())),
    }
}

/// An empty folder for what the run leaves. What an earlier run left is removed.
fn folder(out: &Path) -> Result<PathBuf, String> {
    const MARK: &str = "synod-chaos";
    let failed = |error: std::io::Error| format!("{}: {error}", out.display());
    if out.exists() {
        let is_empty = fs::read_dir(out).map_err(failed)?.next().is_none();
        if !is_empty && !out.join(MARK).exists() {
            let shown = out.display();
            return Err(format!("{shown} holds what no such run has left; choose another --out"));
        }
        fs::remove_dir_all(out).map_err(failed)?;
    }
    fs::create_dir_all(out).map_err(failed)?;
    fs::write(out.join(MARK), "left by synod chaos\n").map_err(failed)?;
    fs::canonicalize(out).map_err(failed)
}

/// The kinds that strike here.
fn kinds(options: &Options, ground: &Ground) -> Result<Vec<Kind>, String> {
    let possible = |kind: &Kind| match kind {
        Kind::Kill | Kind::Restart | Kind::Pause | Kind::Snapshot => true,
        // Three replicas each need somewhere to go.
        Kind::Move => ground.addrs.len() > 3,
        Kind::Cut | Kind::OneWay | Kind::Split | Kind::Links => {
            ground.network.is_some() && ground.addrs.len() > 1
        }
        Kind::Slow => ground.network.as_ref().is_some_and(network::Network::can_slow),
        Kind::Disk => !ground.disks.nodes().is_empty(),
    };
    let wanted = if options.faults.is_empty() { &Kind::ALL[..] } else { &options.faults };
    let kinds: Vec<Kind> = wanted.iter().copied().filter(possible).collect();
    if kinds.is_empty() {
        Err("none of these faults is possible here".to_owned())
    } else {
        Ok(kinds)
    }
}

fn chaos(
    options: &Options,
    seed: u64,
    ground: &Ground,
    stop: &AtomicBool,
) -> Result<Report, String> {
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let kinds = kinds(options, ground)?;
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    eprintln!("seed {seed}, {} nodes {}", options.nodes, ground.describe());
    eprintln!("faults: {}", names.join(", "));
    let mut nodes = Nodes::new(ground);
    (0..ground.addrs.len()).try_for_each(|node| nodes.start(node))?;
    if let Some(error) = unserved(&mut nodes, &ground.addrs, stop)? {
        return Err(error);
    }
    let began = Instant::now();
    let (flood, progress) = (AtomicBool::new(false), Progress::new(length, began));
    let book = Book { history: History::new(), workload: Workload::new(seed), odd: Vec::new() };
    let crowd = Crowd {
        addrs: &ground.addrs,
        book: Mutex::new(book),
        began,
        stop: AtomicBool::new(false),
        flood: &flood,
        progress: &progress,
    };
    let spans = Vec::new();
    let mut nemesis =
        Nemesis { ground, nodes, spans, began, stop, flood: &flood, progress: &progress };
    let mut schedule = Schedule::new(seed, &kinds, ground.addrs.len(), length);
    let outcome = thread::scope(|scope| {
        // Threads are waited for, so they are told to end, whatever happens here.
        let _ending = Ending(&crowd.stop);
        for process in 0..crowd.clients() {
            let crowd = &crowd;
            scope.spawn(move || crowd.client(process, seed));
        }
        scope.spawn(|| crowd.filler());
        nemesis.run(&mut schedule, began + length).map(|()| nemesis.now())
    });
    let end = outcome?;
    let mut violations = match stop.load(Ordering::Acquire) {
        true => Vec::new(),
        false => settle(&mut nemesis, &crowd, stop)?,
    };
    progress.say("checking");
    nemesis.nodes.end_all();
    violations.append(&mut nemesis.nodes.violations);
    let spans = std::mem::take(&mut nemesis.spans);
    drop(nemesis);
    let book = crowd.book.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    violations.extend(book.odd.into_iter().map(|text| format!("an odd answer: {text}")));
    let report = Report::new(seed, ground, spans, book.history, violations, (end, kinds));
    progress.finish();
    Ok(report)
}

/// Sets a flag when it goes.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Waits until every node serves, and reads all that was written, twice.
fn settle(
    nemesis: &mut Nemesis<'_>,
    crowd: &Crowd<'_>,
    stop: &AtomicBool,
) -> Result<Vec<String>, String> {
    let addrs = &nemesis.ground.addrs;
    nemesis.progress.say("all is whole again; reading everything");
    let mut violations = Vec::new();
    for round in 0..2 {
        if let Some(error) = unserved(&mut nemesis.nodes, addrs, stop)? {
            return Ok(vec![format!("all was whole again, and {error}")]);
        }
        violations.extend(read_all(crowd, addrs, stop));
        if round == 0 && !violations.is_empty() {
            break;
        }
        if let (0, Some(leader)) = (round, nemesis.leader()) {
            nemesis.nodes.end(&[leader]);
            nemesis.nodes.start(leader)?;
        }
    }
    Ok(violations)
}

/// Waits until each node serves a write; what is wrong if one does not.
fn unserved(
    nodes: &mut Nodes<'_>,
    addrs: &[String],
    stop: &AtomicBool,
) -> Result<Option<String>, String> {
    let deadline = Instant::now() + SERVE_TIMEOUT;
    for (node, addr) in addrs.iter().enumerate() {
        while let Err(error) = serves(addr) {
            if stop.load(Ordering::Acquire) {
                return Err("ended by a signal".to_owned());
            }
            if Instant::now() >= deadline {
                let (node, seconds) = (node + 1, SERVE_TIMEOUT.as_secs());
                return Ok(Some(format!("node {node} did not serve within {seconds} s: {error}")));
            }
            nodes.watch()?;
            thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(None)
}

fn serves(addr: &str) -> redis::RedisResult<()> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    nemesis::ask(addr, TIMEOUT, &["SET", "whole", "again"])
}

/// Reads all keys through one node or another; an error if one cannot be read.
fn read_all(crowd: &Crowd<'_>, addrs: &[String], stop: &AtomicBool) -> Option<String> {
    let process = crowd.clients();
    let book = || crowd.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let reads = book().workload.reads();
    let deadline = Instant::now() + SERVE_TIMEOUT + Duration::from_millis(10 * reads.len() as u64);
    let (mut connected, mut next) = (None, 0);
    for call in reads {
        let task = Task::Calls(vec![call]);
        loop {
            if Instant::now() >= deadline || stop.load(Ordering::Acquire) {
                return Some(format!("{:?} could not be read in the end", task.calls()));
            }
            let Some(client) = &mut connected else {
                connected = Client::connect(&addrs[next % addrs.len()], SERVE_TIMEOUT).ok();
                next += 1;
                continue;
            };
            let happened = crowd.operate(client, process, &task);
            if client.broken {
                connected = None;
            }
            if happened {
                break;
            }
        }
    }
    None
}

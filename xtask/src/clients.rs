//! `cargo xtask clients`: real clients and frameworks, unchanged, against three real nodes.
//!
//! The scripts lie in `tests/clients/`. Each gets a cluster of its own: `SYNOD_ADDR` is a node that
//! does not lead, `SYNOD_ADDRS` are all. A script prints what it found; a line `@kill leader` or
//! `@kill HOST:PORT` is an order to kill that node, which is started again after two seconds.
//!
//! The clients come from PyPI and npm, in the versions of `requirements.txt` and `package.json`,
//! into `target/clients`. So this needs the network, and is no part of `cargo xtask ci`. A tool that
//! is not there is a failure, never a pass.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use crate::bench::systems::{Running, System};
use crate::examples::{build, installed};
use crate::{ci, tidy};

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Only the checks whose names contain one of these words.
    words: Vec<String>,
    /// How many shards the cluster has; for clients that know Redis Cluster never fewer than 16.
    #[arg(long, default_value_t = 1)]
    shards: u32,
}

/// A script with its arguments.
#[derive(Clone, Copy, Debug)]
struct Check {
    script: &'static str,
    argument: &'static str,
}

const CHECKS: &[Check] = &[
    Check { script: "redispy.py", argument: "" },
    Check { script: "ioredis.mjs", argument: "" },
    Check { script: "redis_cli.py", argument: "" },
    Check { script: "cluster.py", argument: "" },
    Check { script: "cluster.mjs", argument: "" },
    Check { script: "cluster_node_redis.mjs", argument: "" },
    Check { script: "failover.py", argument: "leader" },
    Check { script: "failover.py", argument: "own" },
    Check { script: "failover.mjs", argument: "leader" },
    Check { script: "failover.mjs", argument: "own" },
    Check { script: "celery_jobs.py", argument: "leader" },
    Check { script: "celery_jobs.py", argument: "own" },
    Check { script: "rq_jobs.py", argument: "leader" },
    Check { script: "rq_jobs.py", argument: "own" },
];

/// What must be there, and where it comes from.
const TOOLS: &[(&str, &str)] = &[
    ("python3", "apt-get install python3 python3-venv"),
    ("node", "apt-get install nodejs"),
    ("npm", "apt-get install npm"),
    ("redis-cli", "apt-get install redis-tools"),
];

/// Shards for clients that know Redis Cluster.
const CLUSTER_SHARDS: u32 = 16;

/// How long a script may take.
const TIMEOUT: Duration = Duration::from_secs(400);

/// How long a killed node stays away.
const AWAY: Duration = Duration::from_secs(2);

/// How long a cluster may take to know its leader.
const LEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks for a leader.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Runs all checks, and fails if one did or could not be run.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let root = tidy::root();
    let missing: Vec<String> = TOOLS
        .iter()
        .filter(|(tool, _)| !installed(tool))
        .map(|(tool, remedy)| format!("{tool} is missing: {remedy}"))
        .collect();
    if !missing.is_empty() {
        return Err(format!("nothing was checked: {}", missing.join("; ")));
    }
    let bench = Bench::prepare(&root)?;
    let wanted = |check: &&Check| {
        let name = check.name();
        options.words.is_empty() || options.words.iter().any(|word| name.contains(word))
    };
    let checks: Vec<&Check> = CHECKS.iter().filter(wanted).collect();
    if checks.is_empty() {
        return Err("no check has such a name".to_owned());
    }
    let mut failed = Vec::new();
    for check in &checks {
        eprintln!("{}", check.name());
        if let Err(error) = bench.run(check, options.shards) {
            eprintln!("  FAILED  {error}");
            failed.push(check.name());
        }
    }
    if !failed.is_empty() {
        return Err(format!("of {} checks failed: {}", checks.len(), failed.join(", ")));
    }
    eprintln!("{} checks passed", checks.len());
    Ok(())
}

impl Check {
    fn name(&self) -> String {
        format!("{} {}", self.script, self.argument).trim_end().to_owned()
    }
}

/// The folder with what was installed, and the server.
struct Bench {
    scripts: PathBuf,
    target: PathBuf,
    synod: PathBuf,
}

impl Bench {
    fn prepare(root: &Path) -> Result<Bench, String> {
        let synod = build(root)?;
        let target = synod.ancestors().nth(2).ok_or("the binary lies in no target directory")?;
        let bench =
            Bench { scripts: root.join("tests/clients"), target: target.join("clients"), synod };
        let failed = |error| format!("{}: {error}", bench.target.display());
        fs::create_dir_all(bench.npm()).map_err(failed)?;
        let package = bench.npm().join("package.json");
        fs::copy(bench.scripts.join("package.json"), package).map_err(failed)?;
        if !bench.python().exists() {
            let mut venv = Command::new("python3");
            ci::finish(venv.args(["-m", "venv"]).arg(bench.target.join("venv")))?;
        }
        let mut pip = Command::new(bench.python());
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
        ci::finish(pip.arg(bench.scripts.join("requirements.txt")))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund"]);
        ci::finish(npm.current_dir(bench.npm()))?;
        Ok(bench)
    }

    fn python(&self) -> PathBuf {
        self.target.join("venv/bin/python")
    }

    fn npm(&self) -> PathBuf {
        self.target.join("npm")
    }

    /// Runs one script beside its cluster.
    fn run(&self, check: &Check, shards: u32) -> Result<(), String> {
        let knows_cluster = check.script.starts_with("cluster");
        let shards = if knows_cluster { shards.max(CLUSTER_SHARDS) } else { shards };
        let directory = tempfile::Builder::new().prefix("data-").tempdir_in(&self.target);
        let directory = directory.map_err(|error| error.to_string())?;
        let mut running = Running::start(System::Synod3, &self.synod, directory.path(), shards)?;
        let leader = wait_for_leader(&self.synod, &running)?;
        let follower = &running.addrs[(leader + 1) % running.addrs.len()];
        let log = self.target.join(format!("{}.log", check.name().replace(' ', "-")));
        let program = if check.script.ends_with(".mjs") { "node".into() } else { self.python() };
        let mut command = Command::new(program);
        command.arg(self.scripts.join(check.script));
        command.args(Some(check.argument).filter(|argument| !argument.is_empty()));
        command.current_dir(&self.scripts).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("SYNOD_ADDR", follower).env("SYNOD_ADDRS", running.addrs.join(","));
        command.env("SYNOD_NPM", self.npm()).env("SYNOD_LOG", &log);
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
        File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let printed = lines_of(child.stdout.take().ok_or("a pipe was asked for")?);
        let obeyed = self.obey(&printed, &mut running);
        if obeyed.is_err() {
            // It may have ended already, and then there is nothing to do.
            let _ended = child.kill();
        }
        let status = child.wait().map_err(|error| error.to_string())?;
        let outcome = obeyed.and_then(|()| match status.success() {
            true => Ok(()),
            false => Err(status.to_string()),
        });
        outcome.map_err(|error| {
            format!("{error}; see {}; the nodes said:\n{}", log.display(), running.last_words())
        })
    }

    /// Shows what a script prints, and does what it orders, until it is done.
    fn obey(&self, printed: &Receiver<String>, running: &mut Running) -> Result<(), String> {
        let end = Instant::now() + TIMEOUT;
        loop {
            match printed.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => match line.strip_prefix("@kill ") {
                    Some(whom) => self.kill(whom, running)?,
                    None => eprintln!("{line}"),
                },
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("not done in {} s", TIMEOUT.as_secs()));
                }
            }
        }
    }

    fn kill(&self, whom: &str, running: &mut Running) -> Result<(), String> {
        let node = match whom {
            "leader" => wait_for_leader(&self.synod, running)?,
            addr => running.addrs.iter().position(|other| other == addr).ok_or("no such node")?,
        };
        eprintln!("      kill -9 {} ({whom})", running.addrs[node]);
        running.kill(node);
        std::thread::sleep(AWAY);
        running.restart(node)
    }
}

/// The lines that are written into a pipe, as they come.
fn lines_of(pipe: std::process::ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        lines.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
    });
    receiver
}

/// What `synod status --json` prints, as far as it is of interest here.
#[derive(Debug, Deserialize)]
struct Status {
    nodes: Vec<Node>,
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: u64,
    addr: String,
}

#[derive(Debug, Deserialize)]
struct Group {
    leader: Option<u64>,
}

/// The place of the leader among the nodes.
fn wait_for_leader(synod: &Path, running: &Running) -> Result<usize, String> {
    let begin = Instant::now();
    while begin.elapsed() < LEADER_TIMEOUT {
        if let Some(leader) = running.addrs.iter().find_map(|addr| leader_of(synod, addr))
            && let Some(place) = running.addrs.iter().position(|addr| *addr == leader)
        {
            return Ok(place);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Err("no node knows the leader".to_owned())
}

fn leader_of(synod: &Path, addr: &str) -> Option<String> {
    let output = Command::new(synod).args(["status", "--json", "--addr", addr]).output().ok()?;
    let status: Status = serde_json::from_slice(&output.stdout).ok()?;
    let leader = status.groups.first()?.leader?;
    Some(status.nodes.into_iter().find(|node| node.id == leader)?.addr)
}

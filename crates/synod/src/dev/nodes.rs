//! The processes of the nodes: started, watched, started again, ended.
//!
//! What always holds: a process is ended through its `Child` only, before it was waited for, so
//! that no signal meets a stranger who has inherited its number.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::ground::Ground;

/// How long the nodes may take to end when they are asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A log that is longer than this when its node starts begins anew.
const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What has happened to a node.
#[derive(Clone, Debug)]
pub(super) enum Happened {
    Started { node: usize, pid: u32, addr: String },
    Ended { node: usize, how: ExitStatus, last_words: String },
}

/// One node.
#[derive(Debug)]
struct Node {
    child: Option<Child>,
    /// When it is to be started again.
    restart: Option<Instant>,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Nodes {
    ground: Ground,
    restart_after: Option<Duration>,
    nodes: Vec<Node>,
}

impl Nodes {
    /// Starts all of them, or none.
    pub(super) fn start(ground: &Ground, restart_after: Option<Duration>) -> Result<Nodes, String> {
        let mut nodes = Nodes { ground: ground.clone(), restart_after, nodes: Vec::new() };
        for number in 1..=ground.addrs.len() {
            // If one fails, dropping `nodes` ends those before it.
            let child = spawn(ground, number)?;
            nodes.nodes.push(Node { child: Some(child), restart: None });
        }
        Ok(nodes)
    }

    /// Where they listen.
    pub(super) fn addrs(&self) -> &[String] {
        &self.ground.addrs
    }

    /// Those that run, as starts.
    pub(super) fn started(&self) -> Vec<Happened> {
        let node = |(at, node): (usize, &Node)| {
            let (addr, pid) = (self.ground.addrs[at].clone(), node.child.as_ref()?.id());
            Some(Happened::Started { node: at + 1, pid, addr })
        };
        self.nodes.iter().enumerate().filter_map(node).collect()
    }

    /// The process of each node, if it runs.
    pub(super) fn running(&self) -> Vec<Option<u32>> {
        self.nodes.iter().map(|node| node.child.as_ref().map(Child::id)).collect()
    }

    /// Does any run, or will any?
    pub(super) fn may_go_on(&self) -> bool {
        self.nodes.iter().any(|node| node.child.is_some() || node.restart.is_some())
    }

    /// Sees who has ended, and starts those whose time has come.
    pub(super) fn tend(&mut self) -> Result<Vec<Happened>, String> {
        let mut happened = Vec::new();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let number = at + 1;
            if let Some(child) = &mut node.child {
                let ended = child.try_wait().map_err(|error| format!("node {number}: {error}"))?;
                let Some(how) = ended else { continue };
                node.child = None;
                node.restart = self.restart_after.map(|after| Instant::now() + after);
                let last_words = last_line(&self.ground.log(number));
                happened.push(Happened::Ended { node: number, how, last_words });
            } else if node.restart.is_some_and(|at| at <= Instant::now()) {
                let child = spawn(&self.ground, number)?;
                let (addr, pid) = (self.ground.addrs[at].clone(), child.id());
                (node.child, node.restart) = (Some(child), None);
                happened.push(Happened::Started { node: number, pid, addr });
            }
        }
        Ok(happened)
    }

    /// Asks all to end, and kills those that do not in time.
    pub(super) fn stop(&mut self) {
        for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
            drop(child.stdin.take());
            if let Some(pid) = Pid::from_raw(child.id() as i32) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        for node in &mut self.nodes {
            let Some(mut child) = node.child.take() else { continue };
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() >= deadline {
                    let _ = child.kill();
                    let _ = child.wait();
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the process of one node.
fn spawn(ground: &Ground, node: usize) -> Result<Child, String> {
    let failed = |error: io::Error| format!("node {node} cannot be started: {error}");
    let log = open_log(&ground.log(node)).map_err(failed)?;
    let own = std::env::current_exe().map_err(failed)?;
    // The program as it runs, even if its file was replaced by a newer one meanwhile.
    let running = Path::new("/proc/self/exe");
    let mut command = Command::new(if running.exists() { running } else { &own });
    command.arg0("synod").arg("serve");
    command.arg("--listen").arg(&ground.addrs[node - 1]);
    command.arg("--join").arg(ground.addrs.join(","));
    command.arg("--data").arg(ground.data(node));
    command.arg("--secret-file").arg(ground.secret());
    command.arg("--until-stdin-ends");
    // What is set for other nodes is not meant for these.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SYNOD_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    // Ctrl-C goes to the supervisor alone, and the nodes end in its order.
    command.process_group(0);
    command.spawn().map_err(failed)
}

fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|found| found.len() > LOG_BYTES_MAX) {
        fs::remove_file(path)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// What a node said last; nothing if that cannot be read.
fn last_line(path: &Path) -> String {
    const TAIL_BYTES: u64 = 4096;
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().last().unwrap_or_default().to_owned())
    };
    read().unwrap_or_default()
}

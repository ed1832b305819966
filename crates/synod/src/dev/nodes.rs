//! The processes of the nodes: started, watched, started again, ended.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::ground::Ground;
use crate::process::{Launch, Process, last_words};

/// How long the nodes may take to end when they are asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What has happened to a node.
#[derive(Clone, Debug)]
pub(super) enum Happened {
    Started { node: usize, pid: u32, addr: String },
    Ended { node: usize, how: ExitStatus, last_words: String },
}

/// One node.
#[derive(Debug)]
struct Node {
    child: Option<Process>,
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
        self.nodes.iter().map(|node| node.child.as_ref().map(Process::id)).collect()
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
                let ended = child.ended().map_err(|error| format!("node {number}: {error}"))?;
                let Some(how) = ended else { continue };
                node.child = None;
                node.restart = self.restart_after.map(|after| Instant::now() + after);
                let last_words = last_words(&self.ground.log(number));
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
        let running = |node: &mut Node| node.child.take();
        let mut running: Vec<Process> = self.nodes.iter_mut().filter_map(running).collect();
        running.iter_mut().for_each(Process::ask_to_end);
        let deadline = Instant::now() + STOP_TIMEOUT;
        for child in &mut running {
            child.end_by(deadline);
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the process of one node.
fn spawn(ground: &Ground, node: usize) -> Result<Process, String> {
    let launch = Launch {
        addr: ground.addrs[node - 1].clone(),
        join: ground.addrs.clone(),
        data: ground.data(node),
        log: ground.log(node),
        secret: ground.secret(),
        more: Vec::new(),
        within: Vec::new(),
    };
    launch.start().map_err(|error| format!("node {node} cannot be started: {error}"))
}

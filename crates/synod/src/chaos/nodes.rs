//! The processes of the nodes: started, killed, stopped, woken, and watched.
//!
//! A node that ends without having been told to is a violation, but for one that has to start on a
//! full disk: it may say so and end. Either is started again, as whoever looks after a server does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::ground::Ground;
use crate::process::{Process, last_words};

/// A node that was asked to end must have ended after this time, even on a busy machine.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// A node that has ended by itself is started again after this time.
const RESTART_AFTER: Duration = Duration::from_millis(500);

/// The last words of a node that cannot start on a full disk.
const NO_ROOM: &str = "no space left";

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    ground: &'a Ground,
    processes: Vec<Option<Process>>,
    /// Those that ended by themselves, and when they are started again.
    again: Vec<(usize, Instant)>,
    /// Nodes whose disks are full, or were before the rest that follows.
    pub(super) full: BTreeSet<usize>,
    /// What no node should have done.
    pub(super) violations: Vec<String>,
}

impl<'a> Nodes<'a> {
    /// All nodes of the ground, yet to be started.
    pub(super) fn new(ground: &'a Ground) -> Nodes<'a> {
        let processes = ground.addrs.iter().map(|_| None).collect();
        let (again, full) = (Vec::new(), BTreeSet::new());
        Nodes { ground, processes, again, full, violations: Vec::new() }
    }

    pub(super) fn start(&mut self, node: usize) -> Result<(), String> {
        if self.processes[node].is_none() {
            let started = self.ground.launch(node).start();
            let process = started.map_err(|error| format!("node {}: {error}", node + 1))?;
            self.processes[node] = Some(process);
        }
        Ok(())
    }

    /// As `kill -9`.
    pub(super) fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.processes[node].take() {
            let _ = process.kill();
        }
    }

    /// Asks nodes to end, and waits for it.
    pub(super) fn end(&mut self, nodes: &[usize]) {
        let mut ending = Vec::new();
        for node in nodes {
            if let Some(mut process) = self.processes[*node].take() {
                process.ask_to_end();
                ending.push((*node, process));
            }
        }
        let deadline = Instant::now() + END_TIMEOUT;
        for (node, mut process) in ending {
            let how = match process.end_by(deadline) {
                Some(how) if how.success() => continue,
                Some(how) => how.to_string(),
                None => format!("not within {} s", END_TIMEOUT.as_secs()),
            };
            let last = last_words(&self.ground.log(node));
            let node = node + 1;
            self.violations.push(format!("node {node} was asked to end and ended: {how}: {last}"));
        }
    }

    /// SIGSTOP or SIGCONT.
    pub(super) fn signal(&mut self, node: usize, signal: Signal) {
        if let Some(process) = &mut self.processes[node] {
            // One that has ended by itself is found by `watch`.
            let _ = process.signal(signal);
        }
    }

    /// Sees whether any has ended by itself, and starts it again.
    pub(super) fn watch(&mut self) -> Result<(), String> {
        for node in 0..self.processes.len() {
            let Some(process) = &mut self.processes[node] else { continue };
            let ended = process.ended().map_err(|error| format!("node {}: {error}", node + 1))?;
            let Some(how) = ended else { continue };
            let last = last_words(&self.ground.log(node));
            self.processes[node] = None;
            self.again.push((node, Instant::now() + RESTART_AFTER));
            if !(self.full.contains(&node) && last.contains(NO_ROOM)) {
                let node = node + 1;
                self.violations.push(format!("node {node} ended by itself: {how}: {last}"));
            }
        }
        let now = Instant::now();
        let (due, later) = self.again.drain(..).partition(|(_, at)| *at <= now);
        self.again = later;
        let due: Vec<(usize, Instant)> = due;
        due.into_iter().try_for_each(|(node, _)| self.start(node))
    }

    /// Wakes and ends all of them.
    pub(super) fn end_all(&mut self) {
        let all: Vec<usize> = (0..self.processes.len()).collect();
        all.iter().for_each(|node| self.signal(*node, Signal::CONT));
        self.end(&all);
    }
}

impl Drop for Nodes<'_> {
    /// Reached with nodes that run only if the run itself went wrong.
    fn drop(&mut self) {
        (0..self.processes.len()).for_each(|node| self.kill(node));
    }
}

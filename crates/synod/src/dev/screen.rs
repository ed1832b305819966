//! What a person sees: a line for each node, a status that is redrawn in place on a terminal, and
//! what to try next. On a pipe the status is a line of its own, whenever something has changed.

use std::io::{self, IsTerminal, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::ground::Ground;
use super::nodes::Happened;
use super::view::View;

/// Goes to the start of the line and empties it.
const CLEAR: &str = "\r\x1b[K";

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    first_addr: String,
    data: String,
    restart_after: u32,
    /// The processes, for the advice.
    pids: Vec<u32>,
    shown: Option<View>,
    advised: bool,
}

impl Screen {
    pub(super) fn new(ground: &Ground, restart_after: u32) -> Screen {
        Screen {
            terminal: io::stdout().is_terminal(),
            first_addr: ground.addrs[0].clone(),
            data: ground.dir.display().to_string(),
            restart_after,
            pids: vec![0; ground.addrs.len()],
            shown: None,
            advised: false,
        }
    }

    /// A line that stays, above the status.
    fn say(&mut self, text: &str) {
        self.part(text);
        if self.terminal
            && let Some(view) = &self.shown
        {
            print(&status_line(view));
        }
    }

    /// The last line: no status follows.
    pub(super) fn part(&mut self, text: &str) {
        let clear = if self.terminal { CLEAR } else { "" };
        print(&format!("{clear}{text}\n"));
    }

    /// Tells of a node that started or ended.
    pub(super) fn happened(&mut self, happened: &Happened) {
        match happened {
            Happened::Started { node, pid, addr } => {
                self.pids[node - 1] = *pid;
                self.say(&format!("node {node} pid {pid} redis {addr}"));
            }
            Happened::Ended { node, how, last_words } => {
                let then = match self.restart_after {
                    0 => "it stays down".to_owned(),
                    seconds => format!("it starts again in {seconds} s"),
                };
                self.say(&format!("node {node} ended: {}; {then}", describe(*how, last_words)));
            }
        }
    }

    /// Shows the state of the cluster.
    pub(super) fn show(&mut self, view: &View) {
        let notable = |view: &View| (view.leader, view.up);
        let changed = self.shown.as_ref().map(notable) != Some(notable(view));
        // While nodes find each other there is nothing to say.
        let begins = self.shown.is_none() && view.leader.is_none();
        if begins && !self.terminal {
            return;
        }
        self.shown = Some(view.clone());
        if self.terminal {
            print(&format!("{CLEAR}{}", status_line(view)));
        } else if changed {
            print(&format!("{}\n", status_line(view)));
        }
        if let (false, Some(leader)) = (self.advised, view.leader) {
            self.advised = true;
            let pid = self.pids.get((leader as usize).wrapping_sub(1)).copied().unwrap_or_default();
            let advice = self.advice(leader, pid);
            self.say(&advice);
        }
    }

    fn advice(&self, leader: u64, pid: u32) -> String {
        let own = std::env::args().next().unwrap_or_else(|| "synod".to_owned());
        let (addr, data) = (&self.first_addr, &self.data);
        let port = addr.rsplit_once(':').map_or("", |(_, port)| port);
        let back = match self.restart_after {
            0 => String::new(),
            seconds => format!("; it comes back after {seconds} s"),
        };
        format!(
            "\nTry in another terminal (any node takes any command):\n  \
             redis-cli -p {port} set greeting hello\n  \
             kill -9 {pid}    # node {leader}, which leads{back}\n  \
             {own} status --addr {addr}\n  \
             {own} bench --addr {addr}\n\
             Ctrl-C ends all nodes; their data stays in {data}.\n"
        )
    }
}

fn status_line(view: &View) -> String {
    let leader = view.leader.map_or_else(|| "none".to_owned(), |id| format!("node {id}"));
    let View { commit, operations_per_second, up, nodes, .. } = view;
    format!(
        "leader {leader}  commit {commit}  {operations_per_second:.0} ops/s  {up} of {nodes} nodes up"
    )
}

fn describe(how: ExitStatus, last_words: &str) -> String {
    match (how.signal(), how.code()) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(0)) => "it was shut down".to_owned(),
        _ if last_words.is_empty() => format!("{how}"),
        _ => last_words.to_owned(),
    }
}

/// Whoever reads may be gone; the nodes go on all the same.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

//! `synod dev`: three nodes under one supervisor.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, bulk};
use crate::cluster::{IsOk, PATIENCE, free_ports, synod, wait_for};

/// A supervisor, and the lines that it prints.
struct Dev {
    child: Child,
    lines: Receiver<String>,
}

impl Dev {
    fn start(dir: &Path, port: u16, more: &[&str]) -> Dev {
        let mut command = synod();
        command.arg("dev").arg("--data").arg(dir).args(["--port", &port.to_string()]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        Dev { child, lines }
    }

    /// The next line that begins like this.
    fn line(&self, start: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.starts_with(start) => return line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("no line begins with '{start}'"),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended before '{start}'"),
            }
        }
    }

    /// The process number in the next line about a node.
    fn pid(&self, node: u16, port: u16) -> Pid {
        let start = format!("node {node} pid ");
        let line = self.line(&start);
        let (pid, rest) = line[start.len()..].split_once(' ').unwrap();
        assert_eq!(rest, format!("redis 127.0.0.1:{port}"));
        Pid::from_raw(pid.parse().unwrap()).unwrap()
    }

    fn end(mut self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
        wait_for("the supervisor's end", || self.child.try_wait().unwrap());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until nobody listens on the ports of three nodes.
fn wait_until_silent(port: u16) {
    for port in port..port + 3 {
        wait_for("a node's end", || TcpListener::bind(("127.0.0.1", port)).ok());
    }
}

fn call(port: u16, args: &[&str]) -> Option<wire::resp::Value> {
    Client::connect(&format!("127.0.0.1:{port}")).ok()?.call(args).ok()
}

#[test]
fn a_killed_node_comes_back_and_a_second_start_finds_the_data() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_ports(3));
    let dev = Dev::start(dir.path(), port, &["--restart-after", "1"]);
    let pids: Vec<Pid> = (0..3).map(|at| dev.pid(at + 1, port + at)).collect();
    dev.line("leader node ");
    wait_for("a write", || call(port, &["SET", "greeting", "hello"])?.is_ok());
    kill_process(pids[1], Signal::KILL).unwrap();
    assert!(dev.line("node 2 ended").contains("killed by signal 9"));
    assert_ne!(dev.pid(2, port + 1), pids[1]);
    wait_for("node 2", || (call(port + 1, &["GET", "greeting"])? == bulk("hello")).then_some(()));
    dev.end(Signal::TERM);
    // Its own nodes are gone when it is.
    (port..port + 3).for_each(|port| drop(TcpListener::bind(("127.0.0.1", port)).unwrap()));

    let dev = Dev::start(dir.path(), port, &[]);
    dev.line("leader node ");
    wait_for("the value", || (call(port, &["GET", "greeting"])? == bulk("hello")).then_some(()));
    // Nobody can ask the nodes to end, and they do.
    dev.end(Signal::KILL);
    wait_until_silent(port);
}

#[test]
fn another_number_of_nodes_and_a_port_in_use_are_refused_before_anything_starts() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_ports(3));
    let run = |nodes: &str| {
        let mut command = synod();
        command.args(["dev", "--nodes", nodes, "--port", &port.to_string(), "--data"]);
        let output = command.arg(dir.path()).output().unwrap();
        assert!(!output.status.success());
        assert!(output.stdout.is_empty(), "a node was started");
        String::from_utf8(output.stderr).unwrap()
    };
    let taken = TcpListener::bind(("127.0.0.1", port + 2)).unwrap();
    let said = run("3");
    assert!(said.contains(&format!("port {} is in use", port + 2)), "{said}");
    drop(taken);
    let dev = Dev::start(dir.path(), port, &["--nodes", "2"]);
    dev.line("leader node ");
    dev.end(Signal::INT);
    let said = run("3");
    assert!(said.contains(&format!("--nodes 2 --port {port}")), "{said}");
}

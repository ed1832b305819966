//! A cluster of real processes, to be killed, stopped and started again.
//!
//! Every wait has a deadline and asks for what it waits for. Nothing outlives the test: a node ends
//! when its standard input does, and `Drop` kills those that are left.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use tempfile::TempDir;
use wire::resp::Value;

use crate::client::Client;

/// Whatever should happen happens within this time, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` finds what it looks for.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Ports that are free and stay so: below the range from which the kernel gives ports to outgoing
/// connections, so that a node that is started again finds its own.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const SPAN: u16 = 20_000;
    loop {
        let spread = (std::process::id() % 997) as u16 * 20;
        let offset = NEXT.fetch_add(count, Ordering::Relaxed).wrapping_add(spread) % SPAN;
        let first = FIRST + offset;
        let mut ports = first..first + count;
        if ports.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}

/// A command of the binary under test, free of settings from outside.
pub(crate) fn synod() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SYNOD_") {
            command.env_remove(name);
        }
    }
    command
}

/// How one node is started.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) addr: String,
    pub(crate) join: Vec<String>,
    pub(crate) data: PathBuf,
    pub(crate) secret: String,
    /// More flags.
    pub(crate) more: Vec<String>,
}

impl Setup {
    /// Starts the process; what it says goes to a file beside its data.
    pub(crate) fn start(&self) -> Process {
        let mut command = synod();
        command.args(["serve", "--until-stdin-ends", "--listen", &self.addr]);
        command.args(["--join", &self.join.join(","), "--secret", &self.secret]);
        if !self.more.iter().any(|word| word == "--shards") {
            // One log is easier to look at: who leads, how long it is. Others have more.
            command.args(["--shards", "1"]);
        }
        command.arg("--data").arg(&self.data).args(&self.more);
        Process::start(command.stdin(Stdio::piped()), &self.data.with_extension("log"))
    }
}

/// A process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says goes to this file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Process {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Process { child, log: log.to_owned() }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// As `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the end of a process", || self.child.try_wait().unwrap())
    }

    /// Waits until it gives up, and returns what it said.
    pub(crate) fn refusal(&mut self) -> String {
        let status = self.wait();
        assert!(!status.success(), "the process ended well: {status}");
        self.said()
    }

    /// Everything that it said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nodes that make one cluster; they count from 0 here.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) setups: Vec<Setup>,
    processes: Vec<Option<Process>>,
    dir: TempDir,
}

impl Cluster {
    /// Starts a cluster and waits until it serves.
    pub(crate) fn start(nodes: u16) -> Cluster {
        let mut cluster = Cluster::prepare(nodes);
        cluster.start_all();
        cluster.wait_until_leader();
        cluster.wait_until_linked();
        cluster
    }

    /// Starts a cluster whose keys are in so many shards.
    pub(crate) fn sharded(nodes: u16, shards: u32) -> Cluster {
        let mut cluster = Cluster::prepare(nodes);
        for setup in &mut cluster.setups {
            setup.more = vec!["--shards".to_owned(), shards.to_string()];
        }
        cluster.start_all();
        cluster.wait_until_leader();
        cluster.wait_until_linked();
        // A write to every shard: each has its leader.
        let mut client = cluster.client(0);
        wait_for("all shards", || client.call(&["FLUSHALL"]).ok()?.is_ok());
        cluster
    }

    /// A cluster whose nodes are yet to be started.
    pub(crate) fn prepare(nodes: u16) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let first = free_ports(nodes);
        let addrs: Vec<String> =
            (first..first + nodes).map(|port| format!("127.0.0.1:{port}")).collect();
        let setup = |(at, addr): (usize, &String)| Setup {
            addr: addr.clone(),
            join: addrs.clone(),
            data: dir.path().join(format!("node-{}", at + 1)),
            secret: "the same everywhere".to_owned(),
            more: Vec::new(),
        };
        let setups = addrs.iter().enumerate().map(setup).collect();
        let processes = addrs.iter().map(|_| None).collect();
        Cluster { setups, processes, dir }
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.setups.len()
    }

    /// A folder for more files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn addr(&self, node: usize) -> &str {
        &self.setups[node].addr
    }

    pub(crate) fn start_node(&mut self, node: usize) {
        assert!(self.processes[node].is_none(), "node {node} runs already");
        self.processes[node] = Some(self.setups[node].start());
    }

    /// Starts those that do not run.
    pub(crate) fn start_all(&mut self) {
        for node in 0..self.len() {
            if self.processes[node].is_none() {
                self.start_node(node);
            }
        }
    }

    pub(crate) fn kill(&mut self, node: usize) {
        self.processes[node].take().expect("the node runs").kill();
    }

    /// Kills all of them as close together as can be.
    pub(crate) fn kill_all(&mut self) {
        self.processes.iter().flatten().for_each(|process| process.signal(Signal::KILL));
        self.processes.iter_mut().filter_map(Option::take).for_each(Process::kill);
    }

    pub(crate) fn process(&mut self, node: usize) -> &mut Process {
        self.processes[node].as_mut().expect("the node runs")
    }

    /// Waits until a node that was asked to end has ended.
    pub(crate) fn wait_ended(&mut self, node: usize) {
        let status = self.process(node).wait();
        let said = self.process(node).said();
        assert!(status.success(), "node {node}: {status}: {said}");
        self.processes[node] = None;
    }

    pub(crate) fn is_running(&self, node: usize) -> bool {
        self.processes[node].is_some()
    }

    /// A client of a node that serves, or soon will.
    pub(crate) fn client(&self, node: usize) -> Client {
        wait_for("a connection", || {
            let mut client = Client::connect(self.addr(node)).ok()?;
            // A node that is still looking for the others hangs up.
            matches!(client.call(&["PING"]), Ok(Value::Status(_))).then_some(client)
        })
    }

    /// What a node says about the cluster.
    pub(crate) fn status(&self, node: usize) -> Option<Json> {
        let mut client = Client::connect(self.addr(node)).ok()?;
        match client.call(&["SYNOD", "STATUS"]) {
            Ok(Value::Bulk(text)) => serde_json::from_slice(&text).ok(),
            _ => None,
        }
    }

    /// A number out of the state of the first group, as a node tells it.
    pub(crate) fn group_number(&self, node: usize, name: &str) -> Option<u64> {
        self.status(node)?["groups"][0][name].as_u64()
    }

    /// The node that leads by its own word, if the other nodes of `among` agree.
    pub(crate) fn leader_among(&self, among: &[usize]) -> Option<usize> {
        let believed: Vec<Option<u64>> =
            among.iter().map(|node| self.group_number(*node, "leader")).collect();
        let leader = believed[0]?;
        let node = usize::try_from(leader).ok()? - 1;
        let agreed = believed.iter().all(|other| *other == Some(leader));
        (agreed && among.contains(&node)).then_some(node)
    }

    /// Waits until all nodes that run agree on who leads, and writes work.
    pub(crate) fn wait_until_leader(&self) -> usize {
        let running: Vec<usize> = (0..self.len()).filter(|node| self.is_running(*node)).collect();
        self.wait_until_leader_among(&running)
    }

    pub(crate) fn wait_until_leader_among(&self, among: &[usize]) -> usize {
        let leader = wait_for("a leader", || self.leader_among(among));
        let mut client = self.client(leader);
        wait_for("a write", || client.call(&["SET", "warm", "up"]).ok()?.is_ok());
        leader
    }

    /// Waits until every node has heard every other: messages of channels are sent once, to the
    /// nodes that are linked at the time.
    fn wait_until_linked(&self) {
        let hears_all = |node: usize| {
            let status = self.status(node)?;
            let nodes = status["nodes"].as_array()?;
            nodes.iter().all(|node| node["alive"] == true).then_some(())
        };
        (0..self.len()).for_each(|node| wait_for("links", || hears_all(node)));
    }

    /// A node that runs and does not lead.
    pub(crate) fn a_follower(&self, leader: usize) -> usize {
        let mut nodes = (0..self.len()).filter(|node| *node != leader && self.is_running(*node));
        nodes.next().expect("a follower runs")
    }
}

/// Asking a reply whether it is `OK`.
pub(crate) trait IsOk {
    fn is_ok(&self) -> Option<()>;
}

impl IsOk for Value {
    fn is_ok(&self) -> Option<()> {
        matches!(self, Value::Status(text) if text == "OK").then_some(())
    }
}

/// Tells threads to stop, also when a test fails: a scope waits for them.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

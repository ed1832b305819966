//! The systems that are compared, and how each is started.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::{ETCD_LOADS, Load, REDIS_LOADS};
use crate::process::{Process, free_ports};

/// How long a system may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Between two looks whether it serves.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum System {
    /// Redis that keeps nothing.
    Redis,
    /// Redis that syncs before it answers.
    RedisAof,
    #[value(name = "etcd-1")]
    Etcd1,
    #[value(name = "etcd-3")]
    Etcd3,
    #[value(name = "synod-1")]
    Synod1,
    #[value(name = "synod-3")]
    Synod3,
}

impl System {
    pub(crate) const ALL: [System; 6] = [
        System::Redis,
        System::RedisAof,
        System::Synod1,
        System::Etcd1,
        System::Etcd3,
        System::Synod3,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Redis => "redis, no AOF",
            System::RedisAof => "redis, AOF always",
            System::Etcd1 => "etcd, 1 node",
            System::Etcd3 => "etcd, 3 nodes",
            System::Synod1 => "synod, 1 node",
            System::Synod3 => "synod, 3 nodes",
        }
    }

    pub(crate) fn is_etcd(self) -> bool {
        matches!(self, System::Etcd1 | System::Etcd3)
    }

    fn nodes(self) -> usize {
        if matches!(self, System::Etcd3 | System::Synod3) { 3 } else { 1 }
    }

    /// What it is asked to do.
    pub(crate) fn loads(self) -> impl Iterator<Item = &'static Load> {
        let (beside_redis, beside_etcd) = match self {
            System::Redis | System::RedisAof => (true, false),
            System::Etcd1 | System::Etcd3 => (false, true),
            System::Synod1 | System::Synod3 => (true, true),
        };
        let redis = if beside_redis { REDIS_LOADS } else { &[] };
        let etcd = if beside_etcd { ETCD_LOADS } else { &[] };
        redis.iter().chain(etcd)
    }

    /// How to get it, if it is not there.
    fn remedy(self) -> &'static str {
        match self {
            System::Redis | System::RedisAof => "install it: apt-get install redis-server",
            System::Etcd1 | System::Etcd3 => "install it: apt-get install etcd-server",
            System::Synod1 | System::Synod3 => "build it: cargo build --release -p synod",
        }
    }
}

/// A system that serves.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) system: System,
    /// Where clients go.
    pub(crate) addrs: Vec<String>,
    processes: Vec<Process>,
    /// How each was started, to start it again.
    commands: Vec<Command>,
    directory: PathBuf,
}

/// What the nodes of a system need to know of each other.
struct Layout<'a> {
    directory: &'a Path,
    /// For clients.
    ports: Vec<u16>,
    /// Between nodes.
    peer_ports: Vec<u16>,
    shards: u32,
}

impl Running {
    /// Starts all nodes, with so many shards if it is Synod, and waits until each serves.
    pub(crate) fn start(
        system: System,
        synod: &Path,
        directory: &Path,
        shards: u32,
    ) -> Result<Running, String> {
        let mut ports = free_ports(system.nodes() * 2)?;
        let peer_ports = ports.split_off(system.nodes());
        let layout = Layout { directory, ports, peer_ports, shards };
        let (mut processes, mut commands) = (Vec::new(), Vec::new());
        for node in 0..system.nodes() {
            let data = directory.join(format!("node-{node}"));
            fs::create_dir(&data).map_err(|error| format!("{}: {error}", data.display()))?;
            let mut command = match system {
                System::Redis | System::RedisAof => redis_command(system, &layout),
                System::Etcd1 | System::Etcd3 => etcd_command(&layout, node),
                System::Synod1 | System::Synod3 => synod_command(synod, &layout, node),
            };
            let process = Process::start(&mut command, &directory.join(format!("log-{node}")));
            processes.push(process.map_err(|error| format!("{error}; {}", system.remedy()))?);
            commands.push(command);
        }
        let addrs = layout.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let directory = directory.to_owned();
        let mut running = Running { system, addrs, processes, commands, directory };
        running.wait()?;
        Ok(running)
    }

    /// Waits until every node serves.
    fn wait(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        for node in 0..self.addrs.len() {
            while !serves(self.system, &self.addrs[node]) {
                let why = match () {
                    () if self.processes[node].has_ended() => "ended at once",
                    () if begin.elapsed() > START_TIMEOUT => "does not serve in time",
                    () => {
                        std::thread::sleep(LOOK_INTERVAL);
                        continue;
                    }
                };
                let words = self.processes[node].last_words();
                return Err(format!("node {} {why}; it said:\n{words}", node + 1));
            }
        }
        Ok(())
    }

    /// Ends a node as a crash would.
    pub(crate) fn kill(&mut self, node: usize) {
        self.processes[node].kill();
    }

    /// Starts a node that was killed, with the data that it had.
    pub(crate) fn restart(&mut self, node: usize) -> Result<(), String> {
        let log = self.directory.join(format!("log-{node}-again"));
        self.processes[node] = Process::start(&mut self.commands[node], &log)?;
        Ok(())
    }

    /// The processor time of all nodes so far.
    pub(crate) fn cpu(&self) -> Result<Duration, String> {
        self.processes.iter().map(Process::cpu).sum()
    }

    /// The end of what each node printed.
    pub(crate) fn last_words(&self) -> String {
        let words: Vec<String> = self.processes.iter().map(Process::last_words).collect();
        words.join("\n")
    }
}

fn redis_command(system: System, layout: &Layout<'_>) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &layout.ports[0].to_string()]);
    command.arg("--dir").arg(layout.directory.join("node-0")).args(["--save", ""]);
    match system {
        System::RedisAof => command.args(["--appendonly", "yes", "--appendfsync", "always"]),
        _ => command.args(["--appendonly", "no"]),
    };
    command
}

fn etcd_command(layout: &Layout<'_>, node: usize) -> Command {
    let client = format!("http://127.0.0.1:{}", layout.ports[node]);
    let peer = |node: usize| format!("http://127.0.0.1:{}", layout.peer_ports[node]);
    let member = |node: usize| format!("n{node}={}", peer(node));
    let members: Vec<String> = (0..layout.ports.len()).map(member).collect();
    let mut command = Command::new("etcd");
    command.args(["--name", &format!("n{node}"), "--log-level", "error"]);
    command.arg("--data-dir").arg(layout.directory.join(format!("node-{node}")));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer(node)]);
    command.args(["--initial-advertise-peer-urls", &peer(node)]);
    command.args(["--initial-cluster", &members.join(",")]);
    command
}

/// The one place that knows the flags of `synod serve`.
fn synod_command(synod: &Path, layout: &Layout<'_>, node: usize) -> Command {
    let addrs: Vec<String> = layout.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let mut command = Command::new(synod);
    command.arg("serve").arg("--data").arg(layout.directory.join(format!("node-{node}")));
    command.args(["--listen", &addrs[node]]);
    if addrs.len() > 1 {
        command.args(["--join", &addrs.join(",")]);
    }
    command.args(["--shards", &layout.shards.to_string()]);
    command
}

/// Does this node do its work? A server of RESP must take a write; etcd tells its health.
fn serves(system: System, addr: &str) -> bool {
    let question = match system.is_etcd() {
        true => "GET /health HTTP/1.0\r\n\r\n",
        false => "SET bench:ready 1\r\n",
    };
    let wanted = if system.is_etcd() { "\"health\":\"true\"" } else { "+OK\r\n" };
    ask(addr, question, wanted).unwrap_or(false)
}

/// Sends `question` and reads until `wanted` has come or nothing more does.
fn ask(addr: &str, question: &str, wanted: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(question.as_bytes())?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let count = stream.read(&mut chunk)?;
        answer.extend_from_slice(&chunk[..count]);
        if String::from_utf8_lossy(&answer).contains(wanted) {
            return Ok(true);
        }
        if count == 0 || answer.starts_with(b"-") {
            return Ok(false);
        }
    }
}

//! What the nodes stand on: a network and disks of their own where the machine allows, else
//! loopback and a folder.
//!
//! ```text
//! synod chaos ─ exec ─▶ unshare ─ exec ─▶ synod chaos --inside     one process number all along
//!                                          │ its own network and mounts, which nobody else sees
//!                                          ├─ bridge `hub` ─ n1, n2, …   a network for each node
//!                                          └─ tmpfs on node-1, node-3, …  small disks
//! ```
//!
//! All of it belongs to namespaces of the run, so that the kernel takes it away with the last
//! process, whatever ended that. Root is not needed where users may have namespaces of their own.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use stdx::Rng;

use super::disks::Disks;
use super::network::Network;
use crate::process::Launch;
use crate::settings::PORT;

/// Ports below those that the kernel gives to outgoing connections, so that a node that is started
/// again finds its own.
const LOOPBACK_PORTS: std::ops::Range<u64> = 12_000..32_000;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Ground {
    dir: PathBuf,
    nodes: usize,
    /// The data are wanted when the run is over.
    kept: bool,
    pub(super) addrs: Vec<String>,
    /// Nothing on loopback.
    pub(super) network: Option<Network>,
    pub(super) disks: Disks,
    /// More flags for the nodes.
    more: Vec<String>,
}

impl Ground {
    /// Prepares everything in `dir`, which is empty. `inside`: in namespaces of our own.
    pub(super) fn prepare(dir: &Path, nodes: usize, inside: bool) -> Result<Ground, String> {
        let mut ground = Ground {
            dir: dir.to_owned(),
            nodes,
            kept: false,
            addrs: Vec::new(),
            network: None,
            disks: Disks::default(),
            more: Vec::new(),
        };
        for node in 0..nodes {
            let data = ground.data(node);
            fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        }
        make_secret(&ground.secret())?;
        if inside {
            let network = Network::make(nodes)?;
            ground.addrs = (0..nodes).map(|node| format!("{}:{PORT}", network.ip(node))).collect();
            ground.network = Some(network);
            ground.more = vec!["--insecure".to_owned()];
            // Every second node, so that some disks are real and syncs take their time.
            for node in (0..nodes).step_by(2) {
                ground.disks.make(node, &ground.data(node))?;
            }
        } else {
            ground.addrs = loopback(nodes)?;
        }
        Ok(ground)
    }

    /// The same, with more flags for the nodes.
    #[cfg(feature = "planted")]
    pub(super) fn with_flags(mut self, flags: &[&str]) -> Ground {
        self.more.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        match &self.network {
            Some(network) => format!(
                "each node in a network of its own; links are slowed by {}; small disks: nodes {}",
                network.slowness(),
                self.disks.list()
            ),
            None => "on loopback: links cannot be cut or slowed, disks cannot be filled".to_owned(),
        }
    }

    pub(super) fn data(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node-{}", node + 1))
    }

    pub(super) fn log(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node-{}.log", node + 1))
    }

    fn secret(&self) -> PathBuf {
        self.dir.join("secret")
    }

    /// How a node is started.
    pub(super) fn launch(&self, node: usize) -> Launch {
        Launch {
            addr: self.addrs[node].clone(),
            join: self.addrs.clone(),
            data: self.data(node),
            log: self.log(node),
            secret: self.secret(),
            more: self.more.iter().map(Into::into).collect(),
            within: self.network.as_ref().map_or_else(Vec::new, |network| network.within(node)),
        }
    }

    /// Leaves the data of the nodes in the folder, for whoever looks for a cause.
    pub(super) fn keep(mut self) {
        for node in 0..self.addrs.len() {
            self.disks.save(node, &self.data(node));
        }
        self.disks.remove();
        self.kept = true;
    }
}

impl Drop for Ground {
    /// Removes what the run made but the logs. Networks go with the process.
    fn drop(&mut self) {
        self.disks.remove();
        if !self.kept {
            for node in 0..self.nodes {
                let _ = fs::remove_dir_all(self.data(node));
            }
        }
        let _ = fs::remove_file(self.secret());
    }
}

/// Goes on in namespaces of our own: if that succeeds, it does not return. The error says why the
/// machine does not allow it.
pub(super) fn enter() -> String {
    let mut flags = vec!["--net", "--mount"];
    if !rustix::process::geteuid().is_root() {
        flags.push("--map-root-user");
    }
    if let Err(error) = probe(&flags) {
        return error;
    }
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return error.to_string(),
    };
    let mut command = Command::new("unshare");
    command.args(&flags).arg("--").arg(own).args(std::env::args_os().skip(1)).arg("--inside");
    command.exec().to_string()
}

/// Tries once what is going to be needed, in namespaces that go away at once.
fn probe(flags: &[&str]) -> Result<(), String> {
    const NEEDS: &str = "mount -t tmpfs none /run && ip link add hub type bridge && \
        ip netns add n && ip link add v type veth peer name eth0 netns n";
    let mut args = flags.to_vec();
    args.extend(["--", "sh", "-ec", NEEDS]);
    tool("unshare", &args)
}

/// Runs a tool of the system; the error is what it said.
pub(super) fn tool(program: &str, args: &[&str]) -> Result<(), String> {
    let shown = || format!("{program} {}", args.join(" "));
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", shown(), said.trim().lines().last().unwrap_or("it failed")))
}

/// Free ports, one after another, from a place that differs from run to run.
fn loopback(nodes: usize) -> Result<Vec<String>, String> {
    const TRIES: usize = 1000;
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
    let mut dice = Rng::new(u64::from_le_bytes(bytes));
    for _ in 0..TRIES {
        let span = LOOPBACK_PORTS.end - LOOPBACK_PORTS.start - nodes as u64;
        let first = (LOOPBACK_PORTS.start + dice.below(span)) as u16;
        let ports = first..first + nodes as u16;
        let taken: Result<Vec<_>, io::Error> =
            ports.clone().map(|port| TcpListener::bind(("127.0.0.1", port))).collect();
        if taken.is_ok() {
            return Ok(ports.map(|port| format!("127.0.0.1:{port}")).collect());
        }
    }
    Err(format!("no {nodes} free ports were found"))
}

fn make_secret(path: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = fs::OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)
}

//! A network of our own: a bridge, and behind it a network namespace for each node.
//!
//! ```text
//! clients ── hub 10.77.0.254 ──┬── n1: eth0 10.77.0.1
//!                              ├── n2: eth0 10.77.0.2
//!                              └── …
//! ```
//!
//! A link is cut in one direction by telling the sender a hardware address that nobody has: its
//! packets leave and arrive nowhere, as if a cable were broken, and neither side is told. That needs
//! no firewall. It is slowed by netem, or where the kernel has none by a narrow token bucket.

use std::ffi::OsString;

use super::ground::tool;

/// Who is nowhere.
const NOBODY: &str = "02:00:00:4d:ff:ff";

/// The clients' end.
const HUB_IP: &str = "10.77.0.254";
const HUB_MAC: &str = "02:00:00:4d:00:fe";

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Node(usize),
    Clients,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Network {
    nodes: usize,
    /// How links are slowed, in the words of `tc`.
    slow: Option<&'static [&'static str]>,
}

/// From the best to the worst.
const SLOW: &[&[&str]] = &[
    &["netem", "delay", "60ms", "40ms", "loss", "2%"],
    &["tbf", "rate", "1mbit", "burst", "3000", "latency", "400ms"],
];

impl Network {
    /// Makes it, in the namespaces that this process is in.
    pub(super) fn make(nodes: usize) -> Result<Network, String> {
        let mut network = Network { nodes, slow: None };
        // The names of networks are kept here; nobody else sees this mount.
        tool("mount", &["-t", "tmpfs", "none", "/run"])?;
        ip("link set lo up")?;
        ip("link add hub type bridge")?;
        ip(&format!("link set hub address {HUB_MAC}"))?;
        ip(&format!("addr add {HUB_IP}/24 dev hub"))?;
        ip("link set hub up")?;
        for node in 0..nodes {
            let name = name(node);
            ip(&format!("netns add {name}"))?;
            ip(&format!("link add v{name} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set v{name} master hub up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} link set eth0 address {}", mac(End::Node(node))))?;
            ip(&format!("-n {name} addr add {}/24 dev eth0", network.ip(node)))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        network.heal()?;
        let first = name(0);
        for words in SLOW {
            let add = [&["-n", &first, "qdisc", "add", "dev", "eth0", "root"], *words].concat();
            if tool("tc", &add).is_ok() {
                tool("tc", &["-n", &first, "qdisc", "del", "dev", "eth0", "root"])?;
                network.slow = Some(words);
                break;
            }
        }
        Ok(network)
    }

    pub(super) fn ip(&self, node: usize) -> String {
        address(End::Node(node))
    }

    /// How it slows links, in a word.
    pub(super) fn slowness(&self) -> &'static str {
        self.slow.map_or("nothing that this kernel has", |words| words[0])
    }

    pub(super) fn can_slow(&self) -> bool {
        self.slow.is_some()
    }

    /// What runs a command in the network of a node.
    pub(super) fn within(&self, node: usize) -> Vec<OsString> {
        ["ip", "netns", "exec", &name(node)].map(OsString::from).to_vec()
    }

    /// Whatever `source` sends to `target` is lost.
    pub(super) fn cut(&self, source: End, target: End) -> Result<(), String> {
        point(source, target, NOBODY)
    }

    /// Every link works again, in both directions.
    pub(super) fn heal(&self) -> Result<(), String> {
        let ends = || (0..self.nodes).map(End::Node).chain([End::Clients]);
        for source in ends() {
            for target in ends().filter(|target| *target != source) {
                point(source, target, &mac(target))?;
            }
        }
        Ok(())
    }

    /// Makes what a node sends slow.
    pub(super) fn slow(&self, node: usize) -> Result<(), String> {
        let Some(words) = self.slow else { return Ok(()) };
        let name = name(node);
        let set = ["-n", &name, "qdisc", "replace", "dev", "eth0", "root"];
        tool("tc", &[&set, words].concat())
    }

    /// Ends that.
    pub(super) fn hasten(&self, node: usize) -> Result<(), String> {
        tool("tc", &["-n", &name(node), "qdisc", "del", "dev", "eth0", "root"])
    }
}

fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

fn address(end: End) -> String {
    match end {
        End::Node(node) => format!("10.77.0.{}", node + 1),
        End::Clients => HUB_IP.to_owned(),
    }
}

fn mac(end: End) -> String {
    match end {
        End::Node(node) => format!("02:00:00:4d:00:{:02x}", node + 1),
        End::Clients => HUB_MAC.to_owned(),
    }
}

/// Tells `source` the hardware address of `target`.
fn point(source: End, target: End, mac: &str) -> Result<(), String> {
    let to = address(target);
    match source {
        End::Node(node) => {
            ip(&format!("-n {} neigh replace {to} lladdr {mac} dev eth0 nud permanent", name(node)))
        }
        End::Clients => ip(&format!("neigh replace {to} lladdr {mac} dev hub nud permanent")),
    }
}

fn ip(words: &str) -> Result<(), String> {
    tool("ip", &words.split(' ').collect::<Vec<_>>())
}

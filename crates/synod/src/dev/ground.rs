//! What a cluster stands on: its directory, its secret, its ports. All of it is checked before the
//! first process is started.
//!
//! ```text
//! DIR/cluster       the number of nodes and the first port: nodes know each other by their ports
//! DIR/secret        random, readable by its owner only
//! DIR/node-N        the data of a node
//! DIR/node-N.log    what it said on standard error
//! ```

use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// See the head of this file.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(super) dir: PathBuf,
    /// The addresses of the nodes, in order.
    pub(super) addrs: Vec<String>,
}

impl Ground {
    /// Checks everything and makes what is missing. The error names what is in the way.
    pub(super) fn prepare(nodes: u8, port: u16, dir: &Path) -> Result<Ground, String> {
        let last = port.checked_add(u16::from(nodes) - 1).filter(|_| port > 0);
        let last = last.ok_or_else(|| format!("there are no {nodes} ports from {port} on"))?;
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let kind = Kind { nodes, port };
        let is_known = kind.matches(dir)?;
        check_ports(port..=last)?;
        if !is_known {
            kind.save(dir)?;
        }
        make_secret(&dir.join("secret"))?;
        let addrs = (port..=last).map(|port| format!("127.0.0.1:{port}")).collect();
        Ok(Ground { dir: dir.to_owned(), addrs })
    }

    /// The file of the secret.
    pub(super) fn secret(&self) -> PathBuf {
        self.dir.join("secret")
    }

    /// The data of a node; they count from 1.
    pub(super) fn data(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node-{node}"))
    }

    /// The log of a node.
    pub(super) fn log(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node-{node}.log"))
    }
}

/// What cannot change once the nodes have met.
#[derive(Clone, Copy, Debug)]
struct Kind {
    nodes: u8,
    port: u16,
}

impl Kind {
    const FILE: &str = "cluster";

    /// Is it what the directory holds? False if that holds nothing, an error if something else.
    fn matches(self, dir: &Path) -> Result<bool, String> {
        let path = dir.join(Self::FILE);
        let found = match fs::read_to_string(&path) {
            Ok(found) if found == self.text() => return Ok(true),
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let words: Vec<&str> = found.split_whitespace().collect();
        let ["nodes", had_nodes, "port", had_port] = words[..] else {
            return Err(format!("{} is damaged", path.display()));
        };
        let Kind { nodes, port } = self;
        Err(format!(
            "{} holds a cluster of {had_nodes} nodes from port {had_port} on, not of {nodes} from \
             {port} on. Start it with --nodes {had_nodes} --port {had_port}, or choose another \
             directory with --data",
            dir.display()
        ))
    }

    fn save(self, dir: &Path) -> Result<(), String> {
        let path = dir.join(Self::FILE);
        write_whole(&path, self.text().as_bytes())
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    fn text(self) -> String {
        format!("nodes {}\nport {}\n", self.nodes, self.port)
    }
}

/// Takes all ports at once, and gives them back for the nodes to take.
fn check_ports(ports: impl Iterator<Item = u16>) -> Result<(), String> {
    let take = |port| {
        TcpListener::bind(("127.0.0.1", port)).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("port {port} is in use, and no node was started. Choose others with --port")
            }
            _ => format!("port {port} cannot be used: {error}; no node was started"),
        })
    };
    ports.map(take).collect::<Result<Vec<_>, _>>().map(drop)
}

/// The nodes prove to each other that they can read this file.
fn make_secret(path: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_whole(path, text.as_bytes()).map_err(failed)
}

/// Writes a file that only its owner may read: whole, or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A port that nobody has, with a free one behind it.
    fn free_ports() -> u16 {
        loop {
            let first = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = first.local_addr().unwrap().port();
            if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
                return port;
            }
        }
    }

    #[test]
    fn the_same_cluster_is_found_again_and_another_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let port = free_ports();
        let ground = Ground::prepare(2, port, dir.path()).unwrap();
        assert_eq!(ground.addrs.len(), 2);
        let secret = fs::read(ground.secret()).unwrap();
        assert_eq!(secret.len(), 64);
        assert_eq!(fs::metadata(ground.secret()).unwrap().permissions().mode() & 0o777, 0o600);
        Ground::prepare(2, port, dir.path()).unwrap();
        assert_eq!(fs::read(ground.secret()).unwrap(), secret);
        let error = Ground::prepare(1, port, dir.path()).unwrap_err();
        assert!(error.contains(&format!("--nodes 2 --port {port}")), "{error}");
    }

    #[test]
    fn a_port_in_use_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let port = free_ports();
        let _taken = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
        let error = Ground::prepare(2, port, dir.path()).unwrap_err();
        assert!(!dir.path().join(Kind::FILE).exists(), "nothing was settled");
        assert!(error.contains(&format!("port {} is in use", port + 1)), "{error}");
        let error = Ground::prepare(9, 65_530, dir.path()).unwrap_err();
        assert!(error.contains("no 9 ports"), "{error}");
    }
}

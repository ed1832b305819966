//! Home: a data directory belongs to one node of one cluster, and to one process at a time.
//!
//! ```text
//! LOCK    flock; names the process that holds it
//! home    text: format, cluster, node, boots, checksum; replaced as a whole by rename
//! ```
//!
//! A directory is taken with [`Home::open`], which counts the boot, and claimed for a cluster and a
//! node with [`Home::claim`]: at once if they are known, later if a node must first join. What was
//! claimed once never changes.

use std::sync::Arc;

use crc32c::crc32c;

use crate::Error;
use crate::disk::{Disk, Lock};

const LOCK: &str = "LOCK";
const PATH: &str = "home";
const TEMPORARY: &str = "home.tmp";
/// The newest layout of a data directory that this program knows.
pub const FORMAT: u32 = 1;

/// One cluster of the world; random, chosen when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

/// A node of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Whose data this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub node: NodeId,
}

/// A data directory that this process holds.
#[derive(Debug)]
pub struct Home {
    disk: Arc<dyn Disk>,
    identity: Option<Identity>,
    boots: u64,
    _lock: Box<dyn Lock>,
}

impl Home {
    /// Takes the directory and counts this boot, durably.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Home, Error> {
        let locked = disk.lock(LOCK).map_err(|error| Error::io("lock", LOCK, error))?;
        let Some(lock) = locked else {
            let owner = read(&*disk, LOCK)?.unwrap_or_default();
            let owner = String::from_utf8_lossy(&owner).into_owned();
            let owner = if owner.is_empty() { "another process".to_string() } else { owner };
            return Err(Error::InUse { path: disk.describe(""), owner });
        };
        let (identity, boots) = match read(&*disk, PATH)? {
            Some(bytes) => parse(&bytes, &disk.describe(PATH))?,
            None => (None, 0),
        };
        let home = Home { disk, identity, boots: boots + 1, _lock: lock };
        home.save()?;
        Ok(home)
    }

    /// Makes the directory this node's, or finds that it is, or says whose it is.
    pub fn claim(&mut self, wanted: Identity) -> Result<(), Error> {
        let path = self.disk.describe("");
        match self.identity {
            Some(found) if found.cluster != wanted.cluster => {
                let (found, wanted) = (found.cluster.0, wanted.cluster.0);
                Err(Error::OtherCluster { path, found, wanted })
            }
            Some(found) if found.node != wanted.node => {
                let (found, wanted) = (found.node.0, wanted.node.0);
                Err(Error::OtherNode { path, found, wanted })
            }
            Some(_) => Ok(()),
            None => {
                self.identity = Some(wanted);
                self.save().inspect_err(|_| self.identity = None)
            }
        }
    }

    /// Whose data this is, if it was claimed.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// How often the directory was opened, this time included: it tells the lives of a node apart.
    pub fn boots(&self) -> u64 {
        self.boots
    }

    fn save(&self) -> Result<(), Error> {
        let text = render(self.identity, self.boots);
        let file = self.disk.create(TEMPORARY);
        let file = file.map_err(|error| Error::io("create", TEMPORARY, error))?;
        file.write_at(0, text.as_bytes()).map_err(|error| Error::io("write", TEMPORARY, error))?;
        file.sync().map_err(|error| Error::sync(TEMPORARY, error))?;
        self.disk.rename(TEMPORARY, PATH).map_err(|error| Error::io("rename", PATH, error))?;
        self.disk.sync_folder("").map_err(|error| Error::sync("", error))
    }
}

fn read(disk: &dyn Disk, path: &str) -> Result<Option<Vec<u8>>, Error> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| Error::io("open", path, error))?,
    };
    // Far more than any version writes: whatever is longer is not ours.
    let mut bytes = vec![0; 4096];
    let len = file.read_at(0, &mut bytes).map_err(|error| Error::io("read", path, error))?;
    bytes.truncate(len);
    Ok(Some(bytes))
}

fn render(identity: Option<Identity>, boots: u64) -> String {
    let mut text = format!("synod data directory\nformat {FORMAT}\n");
    if let Some(Identity { cluster, node }) = identity {
        text.push_str(&format!("cluster {:032x}\nnode {}\n", cluster.0, node.0));
    }
    text.push_str(&format!("boots {boots}\n"));
    let crc = crc32c(text.as_bytes());
    text.push_str(&format!("checksum {crc:08x}\n"));
    text
}

fn parse(bytes: &[u8], path: &str) -> Result<(Option<Identity>, u64), Error> {
    let corrupt = |reason| Error::Corrupt { path: path.to_string(), offset: 0, reason };
    let text = std::str::from_utf8(bytes).map_err(|_| corrupt("it is not text"))?;
    let (body, checksum) =
        text.rsplit_once("checksum ").ok_or_else(|| corrupt("it has no checksum"))?;
    if checksum != format!("{:08x}\n", crc32c(body.as_bytes())) {
        return Err(corrupt("its checksum is wrong"));
    }
    let field =
        |name: &str| body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let format = field("format").and_then(|value| value.parse().ok());
    let format: u32 = format.ok_or_else(|| corrupt("it names no format"))?;
    if format > FORMAT {
        return Err(Error::Newer { path: path.to_string(), found: format, known: FORMAT });
    }
    let boots = field("boots").and_then(|value| value.parse().ok());
    let boots = boots.ok_or_else(|| corrupt("it counts no boots"))?;
    let cluster = field("cluster").map(|value| u128::from_str_radix(value, 16));
    let node = field("node").map(|value| value.parse());
    let identity = match (cluster, node) {
        (None, None) => None,
        (Some(Ok(cluster)), Some(Ok(node))) => {
            Some(Identity { cluster: ClusterId(cluster), node: NodeId(node) })
        }
        _ => return Err(corrupt("it names no cluster or node")),
    };
    Ok((identity, boots))
}

#[cfg(test)]
mod tests {
    use super::{ClusterId, Home, Identity, NodeId, PATH};
    use crate::Error;
    use crate::disk::SimDisk;
    use std::sync::Arc;

    const MINE: Identity = Identity { cluster: ClusterId(7), node: NodeId(1) };

    fn claimed() -> SimDisk {
        let disk = SimDisk::new(1);
        Home::open(Arc::new(disk.clone())).unwrap().claim(MINE).unwrap();
        disk
    }

    #[test]
    fn boots_are_counted_and_the_identity_stays() {
        let disk = claimed();
        for boots in 2..5 {
            let mut home = Home::open(Arc::new(disk.clone())).unwrap();
            assert_eq!((home.boots(), home.identity()), (boots, Some(MINE)));
            home.claim(MINE).unwrap();
            disk.crash();
        }
    }

    #[test]
    fn a_directory_of_others_is_refused() {
        let disk = claimed();
        let mut home = Home::open(Arc::new(disk.clone())).unwrap();
        let cluster = Identity { cluster: ClusterId(8), ..MINE };
        assert!(matches!(
            home.claim(cluster),
            Err(Error::OtherCluster { found: 7, wanted: 8, .. })
        ));
        let node = Identity { node: NodeId(2), ..MINE };
        assert!(matches!(home.claim(node), Err(Error::OtherNode { found: 1, wanted: 2, .. })));
        let second = Home::open(Arc::new(disk.clone()));
        assert!(matches!(second, Err(Error::InUse { .. })));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let disk = claimed();
        let len = disk.contents(PATH).unwrap().len() as u64;
        for bit in 0..len * 8 {
            disk.flip(PATH, bit / 8, (bit % 8) as u8);
            let opened = Home::open(Arc::new(disk.clone()));
            assert!(matches!(opened, Err(Error::Corrupt { .. })), "bit {bit}: {opened:?}");
            disk.flip(PATH, bit / 8, (bit % 8) as u8);
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        let disk = SimDisk::new(1);
        let body = "synod data directory\nformat 9\nboots 1\nnew thing\n";
        let text = format!("{body}checksum {:08x}\n", crc32c::crc32c(body.as_bytes()));
        disk.put(PATH, text.as_bytes());
        let opened = Home::open(Arc::new(disk));
        assert!(matches!(opened, Err(Error::Newer { found: 9, known: 1, .. })), "{opened:?}");
    }
}

//! What can go wrong below: errors that end an operation, and faults found in what was stored.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use crate::GroupId;

/// Why an operation did not happen.
#[derive(Debug)]
pub enum Error {
    /// The disk refused `action` on `path`.
    Io { action: &'static str, path: String, source: io::Error },
    /// No space. Recoverable: nothing has changed, try again when there is some.
    Full { path: String },
    /// An fsync failed: nobody knows what is on the disk. The node must stop.
    Sync { path: String, source: io::Error },
    /// An earlier write or fsync failed; nothing is accepted any more.
    Poisoned,
    /// Stored bytes are not what was written.
    Corrupt { path: String, offset: u64, reason: &'static str },
    /// Written by a newer version of this program.
    Newer { path: String, found: u32, known: u32 },
    /// The data directory belongs to another cluster.
    OtherCluster { path: String, found: u128, wanted: u128 },
    /// The data directory belongs to another node of this cluster.
    OtherNode { path: String, found: u32, wanted: u32 },
    /// Another process has the data directory.
    InUse { path: String, owner: String },
    /// More than a limit allows.
    TooLarge { what: &'static str, size: u64, max: u64 },
}

impl Error {
    /// An I/O error, told apart from "no space".
    /// The disk refused `action` on `path`, for want of space or for another reason.
    pub fn io(action: &'static str, path: &str, source: io::Error) -> Error {
        let path = path.to_string();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path },
            _ => Error::Io { action, path, source },
        }
    }

    /// A failed sync, whatever its number says: even "no space" leaves pages in an unknown state.
    pub(crate) fn sync(path: &str, source: io::Error) -> Error {
        Error::Sync { path: path.to_string(), source }
    }

    /// May the operation be tried again later on the same open files?
    pub fn is_recoverable(&self) -> bool {
        matches!(self, Error::Full { .. } | Error::TooLarge { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { action, path, source } => write!(f, "cannot {action} {path}: {source}"),
            Error::Full { path } => write!(f, "no space left for {path}"),
            Error::Sync { path, source } => write!(f, "fsync of {path} failed: {source}"),
            Error::Poisoned => write!(f, "the disk failed earlier; nothing is accepted any more"),
            Error::Corrupt { path, offset, reason } => {
                write!(f, "{path} is corrupt at offset {offset}: {reason}")
            }
            Error::Newer { path, found, known } => {
                write!(f, "{path} has format {found}; this version knows formats up to {known}")
            }
            Error::OtherCluster { path, found, wanted } => {
                write!(f, "{path} belongs to cluster {found:032x}, not to {wanted:032x}")
            }
            Error::OtherNode { path, found, wanted } => {
                write!(f, "{path} belongs to node {found}, not to node {wanted}")
            }
            Error::InUse { path, owner } => write!(f, "{path} is in use by {owner}"),
            Error::TooLarge { what, size, max } => {
                write!(f, "{what} of {size} is more than the limit of {max}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } | Error::Sync { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Where a fault was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the segment with this number, at this offset of its file.
    Log { path: String, segment: u64, offset: u64 },
    /// In the file of terms and votes.
    Vote { path: String },
    /// In a snapshot.
    Snapshot { path: String, offset: u64 },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Log { path, segment, offset } => {
                write!(f, "log segment {segment} ({path}) at offset {offset}")
            }
            Place::Vote { path } => write!(f, "vote file {path}"),
            Place::Snapshot { path, offset } => write!(f, "snapshot {path} at offset {offset}"),
        }
    }
}

/// Damage to something that had been acknowledged. A replica that it touches must neither vote nor
/// acknowledge until it is repaired from its peers; a node without peers must not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    pub reason: &'static str,
    /// The group that lost something, or `None`: any group may have.
    pub group: Option<GroupId>,
    /// Groups that were reset since: whatever they lost does not matter any more.
    pub repaired: BTreeSet<GroupId>,
}

impl Fault {
    pub(crate) fn new(place: Place, reason: &'static str, group: Option<GroupId>) -> Fault {
        Fault { place, reason, group, repaired: BTreeSet::new() }
    }

    /// May `group` have lost something here?
    pub fn touches(&self, group: GroupId) -> bool {
        self.group.is_none_or(|one| one == group) && !self.repaired.contains(&group)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)?;
        match self.group {
            Some(group) => write!(f, " (group {})", group.0),
            None => write!(f, " (any group)"),
        }
    }
}

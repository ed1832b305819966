//! Repair: a replica whose disk has lost something is refilled by its peers.
//!
//! What it had acknowledged may have been counted for a majority. So until it has everything again
//! it neither votes nor leads (`consensus::Stored::faulty`), across restarts: a file in the data
//! directory says so, from before the damage is cleared away until the replica says that it is whole.
//!
//! What cannot be repaired this way: a node alone has no peers to get anything from; a replica
//! that lost both copies of its vote cannot know what it promised.

use std::fmt;

use storage::disk::Disk;
use storage::store::{Found, Store};
use storage::{Error, Fault, GroupId, Place};

/// Stands in the data directory while the replica of this group is not whole.
fn mark_of(group: GroupId) -> String {
    format!("repairing-{}", group.0)
}

/// What was found about a replica at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// It must start as one that is to be repaired.
    pub faulty: bool,
    /// A line for the operator.
    pub news: Option<String>,
}

/// Why a replica does not start from what is on its disk.
#[derive(Debug)]
pub enum Refusal {
    /// It is damaged, and there are no peers.
    Alone(Fault),
    /// Its vote is lost.
    Vote(Fault),
    /// What is there contradicts itself.
    Broken(String),
    /// The disk failed meanwhile: no verdict on what is on it.
    Disk(Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAMAGED: &str = "the data directory is damaged, and this node does not start";
        match self {
            Refusal::Alone(fault) => write!(
                f,
                "{DAMAGED}: {fault}. It has no peers to repair it: restore the directory from a copy"
            ),
            Refusal::Vote(fault) => write!(
                f,
                "{DAMAGED}: {fault}. It has lost its vote, so it cannot take part again under its \
                 number"
            ),
            Refusal::Broken(why) => f.write_str(why),
            Refusal::Disk(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Looks for damage, and clears away what cannot be relied on.
pub fn prepare(
    disk: &dyn Disk,
    peers: usize,
    group: GroupId,
    store: &mut Store,
    found: &mut Found,
) -> Result<Diagnosis, Refusal> {
    let Some(fault) = found.faults.iter().find(|fault| fault.touches(group)).cloned() else {
        let names = disk.list("").map_err(|error| failed("list", "", error))?;
        let mark = mark_of(group);
        return Ok(Diagnosis { faulty: names.contains(&mark), news: None });
    };
    if peers == 0 {
        return Err(Refusal::Alone(fault));
    }
    let lost_vote = found
        .faults
        .iter()
        .any(|fault| fault.touches(group) && matches!(fault.place, Place::Vote { .. }));
    if lost_vote {
        return Err(Refusal::Vote(fault));
    }
    mark(disk, group)?;
    let cleared = store.wal.reset_group(group).and_then(|()| store.wal.commit());
    cleared.and_then(|()| store.snapshots.forget(group)).map_err(Refusal::Disk)?;
    if let Some(stored) = found.groups.get_mut(&group) {
        stored.entries.clear();
        stored.snapshot = None;
    }
    let news = format!("{fault}: this replica neither votes nor leads until its peers repaired it");
    Ok(Diagnosis { faulty: true, news: Some(news) })
}

/// The replica was moved away: what its disk has lost of it matters no more, unless it is the vote.
pub fn forget(found: &mut Found, group: GroupId) -> Result<(), Refusal> {
    let is_vote =
        |fault: &&Fault| fault.touches(group) && matches!(fault.place, Place::Vote { .. });
    if let Some(fault) = found.faults.iter().find(is_vote) {
        return Err(Refusal::Vote(fault.clone()));
    }
    found.faults.retain(|fault| fault.group != Some(group));
    Ok(())
}

/// There never was a replica here: what the disk has lost is nothing of this group, nor of a replica
/// that comes later and starts again beside the same damage.
pub fn acquit(store: &mut Store, found: &Found, group: GroupId) -> Result<(), Refusal> {
    if !found.faults.iter().any(|fault| fault.touches(group)) {
        return Ok(());
    }
    store.wal.reset_group(group).and_then(|()| store.wal.commit()).map_err(Refusal::Disk)
}

/// The replica is whole again. If the mark cannot be removed (false) it is repaired once more at
/// the next start, which costs time and nothing else.
pub fn done(disk: &dyn Disk, group: GroupId) -> bool {
    disk.remove(&mark_of(group)).and_then(|()| disk.sync_folder("")).is_ok()
}

fn mark(disk: &dyn Disk, group: GroupId) -> Result<(), Refusal> {
    let mark = mark_of(group);
    let file = disk.create(&mark).map_err(|error| failed("create", &mark, error))?;
    let synced = file.sync().and_then(|()| disk.sync_folder(""));
    synced.map_err(|error| failed("sync", &mark, error))
}

fn failed(action: &'static str, path: &str, source: std::io::Error) -> Refusal {
    Refusal::Disk(Error::Io { action, path: path.to_owned(), source })
}

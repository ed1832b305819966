//! Repair: a replica whose disk has lost something is refilled by its peers.
//!
//! What it had acknowledged may have been counted for a majority. So until it has everything again
//! it neither votes nor leads (`consensus::Stored::faulty`), across restarts: a file in the data
//! directory says so, from before the damage is cleared away until the replica says that it is whole.
//!
//! What cannot be repaired this way: a node alone has no peers to get anything from; a replica
//! that lost both copies of its vote cannot know what it promised.

use std::fs::{self, File};
use std::path::Path;

use storage::store::{Found, Store};
use storage::{GroupId, Place};

/// Stands in the data directory while its replica is not whole.
const MARK: &str = "repairing";

/// Looks for damage. True if the replica must start as one that is to be repaired; the error says
/// why it cannot start at all.
pub(crate) fn prepare(
    dir: &Path,
    members: usize,
    group: GroupId,
    store: &mut Store,
    found: &mut Found,
) -> Result<bool, String> {
    let Some(fault) = found.faults.iter().find(|fault| fault.touches(group)).cloned() else {
        return Ok(dir.join(MARK).exists());
    };
    if members == 1 {
        return Err(format!(
            "the data directory is damaged, and this node does not start: {fault}. It has no \
             peers to repair it: restore the directory from a copy"
        ));
    }
    let lost_vote = found
        .faults
        .iter()
        .any(|fault| fault.touches(group) && matches!(fault.place, Place::Vote { .. }));
    if lost_vote {
        return Err(format!(
            "the data directory is damaged, and this node does not start: {fault}. It has lost \
             its vote, so it cannot take part again under its number"
        ));
    }
    eprintln!("synod: {fault}: this replica neither votes nor leads until its peers repaired it");
    mark(dir).map_err(|error| format!("{}: {error}", dir.join(MARK).display()))?;
    let cleared = store.wal.reset_group(group).and_then(|()| store.wal.commit());
    cleared.and_then(|()| store.snapshots.forget(group)).map_err(|error| error.to_string())?;
    if let Some(stored) = found.groups.get_mut(&group) {
        stored.entries.clear();
        stored.snapshot = None;
    }
    Ok(true)
}

/// The replica is whole again. If the mark cannot be removed it is repaired once more at the next
/// start, which costs time and nothing else.
pub(crate) fn done(dir: &Path) {
    if fs::remove_file(dir.join(MARK)).is_ok() {
        eprintln!("synod: this replica is repaired");
        let _ = File::open(dir).and_then(|dir| dir.sync_all());
    }
}

fn mark(dir: &Path) -> std::io::Result<()> {
    File::create(dir.join(MARK))?.sync_all()?;
    File::open(dir)?.sync_all()
}

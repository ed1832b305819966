//! Small disks that can be filled: a tmpfs on the data of some nodes.
//!
//! A disk is filled by making it as small as what is on it, so that filling costs no memory. The
//! data outlive their node's process, not the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ground::tool;

/// Room for the log, its spare segments and two snapshots, with the filler's keys in them.
const DISK_BYTES: u64 = 512 << 20;

/// A node may take room between the look and the change.
const TRIES: usize = 20;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Disks {
    mounted: BTreeMap<usize, PathBuf>,
}

impl Disks {
    pub(super) fn make(&mut self, node: usize, at: &Path) -> Result<(), String> {
        let size = format!("size={DISK_BYTES},mode=700");
        tool("mount", &["-t", "tmpfs", "-o", &size, "none", &at.to_string_lossy()])?;
        self.mounted.insert(node, at.to_owned());
        Ok(())
    }

    /// The nodes that have one.
    pub(super) fn nodes(&self) -> Vec<usize> {
        self.mounted.keys().copied().collect()
    }

    pub(super) fn list(&self) -> String {
        let numbers: Vec<String> = self.mounted.keys().map(|node| (node + 1).to_string()).collect();
        numbers.join(", ")
    }

    /// Leaves no room on it.
    pub(super) fn fill(&self, node: usize) -> Result<(), String> {
        let Some(at) = self.mounted.get(&node) else { return Ok(()) };
        let mut outcome = Ok(());
        for _ in 0..TRIES {
            let found = rustix::fs::statvfs(at).map_err(|error| error.to_string())?;
            let used = (found.f_blocks - found.f_bfree) * found.f_frsize;
            outcome = resize(at, used.max(found.f_frsize));
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Gives the room back.
    pub(super) fn clear(&self, node: usize) -> Result<(), String> {
        let Some(at) = self.mounted.get(&node) else { return Ok(()) };
        resize(at, DISK_BYTES)
    }

    /// Copies what is on it beside it, for whoever looks for a cause.
    pub(super) fn save(&self, node: usize, data: &Path) {
        if let Some(at) = self.mounted.get(&node) {
            let target = data.with_extension("kept");
            let _ = tool("cp", &["-a", &at.to_string_lossy(), &target.to_string_lossy()]);
        }
    }

    pub(super) fn remove(&mut self) {
        for at in std::mem::take(&mut self.mounted).into_values() {
            let _ = tool("umount", &[&at.to_string_lossy()]);
        }
    }
}

fn resize(at: &Path, bytes: u64) -> Result<(), String> {
    let size = format!("remount,size={bytes}");
    tool("mount", &["-o", &size, &at.to_string_lossy()])
}

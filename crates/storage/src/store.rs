//! The store: log and snapshots opened together and held against each other.
//!
//! Log and snapshot of a group must fit: what the log trimmed the snapshot covers, and the log goes
//! on where the snapshot ends. What the snapshot covers is left out of the entries. A crash between
//! making a snapshot durable and trimming the log is made good here.

use std::collections::BTreeMap;
use std::sync::Arc;

use stdx::mark;

use crate::disk::Disk;
use crate::snapshot::{Meta, Snapshot, Snapshots};
use crate::wal::{Cut, Entry, Options, Record, Recovered, Wal};
use crate::{Error, Fault, GroupId, Place};

/// Everything that is kept, open for use.
#[derive(Debug)]
pub struct Store {
    pub wal: Wal,
    pub snapshots: Snapshots,
}

/// What one group has on the disk.
#[derive(Debug)]
pub struct Stored {
    pub term: u64,
    pub vote: Option<u32>,
    pub snapshot: Option<Arc<Snapshot>>,
    /// Behind the snapshot, without gaps.
    pub entries: Vec<Entry>,
    /// If not empty, the group must neither vote nor acknowledge until it was repaired from its
    /// peers, and nothing else in here can be relied on. A node without peers must not start.
    pub faults: Vec<Fault>,
}

/// What was found at the start.
#[derive(Debug)]
pub struct Found {
    pub groups: BTreeMap<GroupId, Stored>,
    /// All faults; also those that no group known here accounts for.
    pub faults: Vec<Fault>,
    /// A torn tail was cut off here: worth a line for the operator, no reason for alarm.
    pub cut: Option<Cut>,
}

impl Store {
    /// Opens log and snapshots, or makes them.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Store, Found), Error> {
        let (snapshots, damaged) = Snapshots::open(Arc::clone(&disk))?;
        let (mut wal, recovered) = Wal::open(disk, options)?;
        wal.leave_room(snapshots.sizes());
        let found = join(&snapshots, damaged, recovered, &mut wal)?;
        wal.commit()?;
        Ok((Store { wal, snapshots }, found))
    }
}

fn join(
    snapshots: &Snapshots,
    damaged: Vec<Fault>,
    recovered: Recovered,
    wal: &mut Wal,
) -> Result<Found, Error> {
    let Recovered { groups: mut logs, mut faults, cut } = recovered;
    faults.extend(damaged);
    let alone = snapshots.groups().chain(faults.iter().filter_map(|fault| fault.group));
    for group in alone {
        logs.entry(group).or_default();
    }
    let mut groups = BTreeMap::new();
    for (group, log) in logs {
        let snapshot = snapshots.newest(group).cloned();
        let covered = snapshot.as_ref().map_or(0, |snapshot| snapshot.meta().index);
        let mut entries = log.entries;
        let behind = entries.partition_point(|entry| entry.index <= covered);
        let last_covered = entries.drain(..behind).next_back();
        let gap = entries.first().is_some_and(|entry| entry.index != covered + 1);
        let touched = faults.iter().any(|fault| fault.touches(group));
        if !touched && (gap || log.mark.index > covered) {
            let place = Place::Snapshot { path: format!("of group {}", group.0), offset: 0 };
            let reason = "the snapshot that the log was trimmed for is missing";
            faults.push(Fault::new(place, reason, Some(group)));
        } else if let Some(snapshot) = snapshot.as_ref().filter(|_| !touched) {
            let Meta { index, term, .. } = *snapshot.meta();
            let fits = last_covered.is_none_or(|entry| entry.index < index || entry.term == term);
            if !fits {
                // The snapshot came from a leader that knew better than this log.
                mark!("a crash left a log that an install had voided");
                entries.clear();
                wal.append(&Record::Reset { group, index, term })?;
            } else if log.mark.index < index {
                mark!("a crash left a log that was not trimmed");
                wal.trim(group, index, term)?;
            }
        }
        let touching = faults.iter().filter(|fault| fault.touches(group)).cloned().collect();
        let (term, vote) = (log.term, log.vote);
        groups.insert(group, Stored { term, vote, snapshot, entries, faults: touching });
    }
    Ok(Found { groups, faults, cut })
}

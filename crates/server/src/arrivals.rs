//! Replicas that come to this node, and the marks that must be durable before anything rests on them.
//!
//! Where the disk is full there is no room for a mark. The replica waits then: what it would save is
//! held back in its order, and what it would say is not said, as if its disk and its links were slow.
//! Should the node end meanwhile, nobody has heard of the replica, and nothing of it is on the disk.

use std::collections::BTreeMap;

use node::{Effects, GroupId, Message, Save, SnapshotJob};
use stdx::{Instant, mark};
use storage::disk::Disk;

use crate::keeper::FULL_INTERVAL;
use crate::presence;
use crate::repair::Refusal;

/// What a replica has to do once it is noted that it is here.
#[derive(Debug, Default)]
struct Held {
    saves: Vec<Save>,
    jobs: Vec<SnapshotJob>,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Arrivals {
    held: BTreeMap<GroupId, Held>,
    next_try: Instant,
}

impl Arrivals {
    /// Notes the replicas that have come in this turn, and those that wait, and lets out of the turn
    /// only what rests on a mark.
    pub fn admit(
        &mut self,
        now: Instant,
        disk: &dyn Disk,
        turn: &mut Effects,
    ) -> Result<(), Refusal> {
        if self.next_try <= now && !self.held.is_empty() {
            self.next_try = now + FULL_INTERVAL;
            self.retry(disk, turn)?;
        }
        for group in turn.joined.drain(..) {
            if !note(disk, group)? {
                mark!("a replica comes, and there is no room to note it");
                self.held.insert(group, Held::default());
                self.next_try = now + FULL_INTERVAL;
            }
        }
        if !self.held.is_empty() {
            self.hold(turn);
        }
        Ok(())
    }

    fn retry(&mut self, disk: &dyn Disk, turn: &mut Effects) -> Result<(), Refusal> {
        let groups: Vec<GroupId> = self.held.keys().copied().collect();
        for group in groups {
            if !note(disk, group)? {
                return Ok(());
            }
            let Held { saves, jobs } = self.held.remove(&group).unwrap_or_default();
            turn.save.splice(0..0, saves);
            turn.snapshot.splice(0..0, jobs);
        }
        Ok(())
    }

    /// Takes out of a turn what is of those that wait.
    fn hold(&mut self, turn: &mut Effects) {
        for (group, held) in &mut self.held {
            held.saves.extend(turn.save.extract_if(.., |save| save.group == *group));
            held.jobs.extend(turn.snapshot.extract_if(.., |job| job.group() == *group));
        }
        turn.send.retain(|(_, message)| {
            !matches!(message, Message::Consensus { group, .. } if self.held.contains_key(group))
        });
    }
}

/// False if there was no room.
fn note(disk: &dyn Disk, group: GroupId) -> Result<bool, Refusal> {
    match presence::join(disk, storage::GroupId(group.0)) {
        Ok(()) => Ok(true),
        Err(Refusal::Disk(storage::Error::Full { .. })) => Ok(false),
        Err(refusal) => Err(refusal),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use consensus::NodeId;
    use storage::disk::SimDisk;

    use super::*;
    use crate::presence::Presence;

    const GROUP: GroupId = GroupId(3);

    /// A turn in which two groups save, send and work on snapshots.
    fn turn(number: u64) -> Effects {
        let mut turn = Effects::default();
        for group in [GROUP, GroupId(4)] {
            turn.save.push(Save { group, number, records: Vec::new(), needed: false });
            let reached = Default::default();
            turn.snapshot.push(SnapshotJob::Leave { group, reached });
            let (source, target) = (NodeId(1), NodeId(2));
            let (term, message) = (consensus::Term(1), consensus::Message::TimeoutNow);
            let envelope = consensus::Envelope { source, target, term, message };
            turn.send.push((target, Message::Consensus { group, envelope }));
        }
        turn
    }

    fn of(turn: &Effects) -> (Vec<(u32, u64)>, Vec<u32>, usize) {
        let saves = turn.save.iter().map(|save| (save.group.0, save.number)).collect();
        (saves, turn.snapshot.iter().map(|job| job.group().0).collect(), turn.send.len())
    }

    #[test]
    fn a_replica_does_nothing_before_its_mark_is_durable_and_everything_in_order_afterwards() {
        let disk = SimDisk::new(1);
        let (mut arrivals, second) = (Arrivals::default(), Duration::from_secs(1));
        disk.set_capacity(Some(0));
        let mut first = turn(1);
        first.joined.push(GROUP);
        arrivals.admit(Instant(1), &disk, &mut first).unwrap();
        assert_eq!(of(&first), (vec![(4, 1)], vec![4], 1));
        let mut next = turn(2);
        arrivals.admit(Instant(1) + second, &disk, &mut next).unwrap();
        assert_eq!(of(&next), (vec![(4, 2)], vec![4], 1));
        assert_eq!(presence::of(&disk, storage::GroupId(3)).unwrap(), Presence::Unmarked);
        disk.set_capacity(None);
        let mut last = turn(3);
        arrivals.admit(Instant(1) + second * 2, &disk, &mut last).unwrap();
        let saves = vec![(3, 1), (3, 2), (3, 3), (4, 3)];
        assert_eq!(of(&last), (saves, vec![3, 3, 3, 4], 2));
        let presence = presence::of(&disk, storage::GroupId(3)).unwrap();
        assert_eq!(presence, Presence::Joined(Default::default()));
        let mut free = turn(4);
        arrivals.admit(Instant(1) + second * 3, &disk, &mut free).unwrap();
        assert_eq!(of(&free).2, 2);
    }
}

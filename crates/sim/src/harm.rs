//! What disks do to their owners: slowness, errors, no room, and harm: loss of what was durable.
//!
//! An *atlas* keeps a good copy of everything with a majority of whoever counts (`World::may_harm`),
//! so that any loss that anybody sees is a bug. Ideas: TigerBeetle's `ClusterFaultAtlas`.

use std::io::ErrorKind;

use storage::disk::Action;

use crate::coverage::Mark;
use crate::plan::Evil;
use crate::world::{Checked, What, World};

const SECOND: u64 = 1_000_000_000;

impl World {
    /// An evil of the disk of this node.
    pub(crate) fn harm_disk(&mut self, evil: Evil, node: u32) -> Checked {
        let now = self.now;
        match evil {
            Evil::Stall => {
                self.coverage.hit(Mark::DiskStalled);
                let time = self.rng.below(2 * SECOND);
                self.stalled_until[node as usize] = now + time;
            }
            Evil::DiskError if self.machine(node).is_up() => {
                let actions = [Action::Read, Action::Write, Action::Sync, Action::Metadata];
                let action = actions[self.rng.below(4) as usize];
                self.machine(node).disk.fail_next(action, ErrorKind::Other);
            }
            Evil::DiskFull => {
                // What is prepared is still to be had, so it takes a while to fill.
                self.fill_disks();
                let room = self.rng.below(32 * 1024);
                let disk = &self.machine(node).disk;
                disk.set_capacity(Some(disk.used().saturating_sub(room)));
                let after = SECOND + self.rng.below(30 * SECOND);
                self.push(now + after, 0, What::DiskHasRoom(node));
            }
            Evil::Rot | Evil::ReadErrorAtStart | Evil::LoseVote | Evil::Misdirect | Evil::Wipe => {
                let machine = self.machine(node);
                let whole = machine.life > 0 && !machine.is_harmed();
                if whole && self.may_harm(node) {
                    self.harm(evil, node)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A client writes much, at whoever leads.
    fn fill_disks(&mut self) {
        let Some(leader) = self.leader() else { return };
        // A client of its own, that hears nothing.
        let client = self.clients();
        for _ in 0..12 {
            let value = vec![b'x'; 1_000 + self.rng.below(30_000) as usize];
            let mut bytes = Vec::new();
            wire::resp::encode_call(&mut bytes, &[b"SET", b"ballast", &value]);
            let after = self.rng.below(6 * SECOND);
            self.push_node(leader, after, What::ToNode { node: leader, client, number: 0, bytes });
        }
    }

    /// The disk loses something, and then the power fails.
    fn harm(&mut self, evil: Evil, node: u32) -> Checked {
        let mark = match evil {
            Evil::Misdirect => {
                // It is noticed at a start, if at all, so that is not long to wait for.
                self.machine(node).disk.misdirect_next();
                let after = self.rng.below(2 * SECOND);
                self.push_node(node, after, What::LosePower(node));
                Mark::WriteMisdirected
            }
            Evil::Wipe => {
                self.fall(node, true);
                self.machine(node).disk.wipe();
                Mark::DiskWiped
            }
            Evil::LoseVote => {
                self.fall(node, true);
                // A bit of each copy: both are in the first two pages of their file.
                let bit = self.rng.below(32 * 8);
                for copy in [0, storage::limits::PAGE_BYTES as u64] {
                    self.machine(node).disk.flip("votes", copy + bit / 8, (bit % 8) as u8);
                }
                Mark::VoteLost
            }
            Evil::ReadErrorAtStart => {
                self.fall(node, true);
                let count = self.rng.below(12);
                self.machine(node).disk.fail_after(Action::Read, count, ErrorKind::Other);
                Mark::ReadFailedAtStart
            }
            _ => {
                // Often there is no snapshot.
                let prefixes = ["wal/", "snapshots/", "snapshots/", "snapshots/", "votes", ""];
                let prefix = prefixes[self.rng.below(prefixes.len() as u64) as usize];
                let Some((path, offset)) = self.machine(node).disk.rot(prefix) else {
                    // The next time there is one.
                    self.want_snapshot(node);
                    return Ok(());
                };
                self.tell(|| format!("node {node}: a bit of {path} turns at {offset}"));
                self.fall(node, true);
                match prefix {
                    "wal/" => Mark::LogRotten,
                    "snapshots/" => Mark::SnapshotRotten,
                    "votes" => Mark::VotesRotten,
                    _ => Mark::DiskRotten,
                }
            }
        };
        self.tell(|| format!("node {node}: {}", mark.title()));
        self.coverage.hit(mark);
        let machine = self.machine(node);
        // A read that failed once works the next time, and what was not read was not missed.
        (machine.rotten, machine.latent) = (true, evil != Evil::ReadErrorAtStart);
        self.replicas.broken(node);
        if evil == Evil::Wipe {
            self.bury(node, "its disk was wiped")?;
            return self.come_without_data(node);
        }
        Ok(())
    }
}

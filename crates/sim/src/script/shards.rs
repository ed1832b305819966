//! Scripts about transactions over several shards.

use consensus::NodeId;
use node::{Event, GroupId};

use super::Stage;
use crate::coverage::Mark;
use crate::workload::How;
use crate::world::{Checked, World};

/// Lists of the workload, which are in several shards.
const LISTS: u64 = 4;

impl World {
    /// No node leads everything: a transaction needs several.
    pub(super) fn spread_leaders(&mut self) -> Checked {
        let groups: Vec<GroupId> = self.replicas.groups().collect();
        for (step, group) in (0..).zip(groups) {
            let target = 1 + step % self.nodes();
            let Some(leader) = self.leader_of(group).filter(|leader| *leader != target) else {
                continue;
            };
            self.feed(leader, Event::Transfer { group, target: NodeId(target) })?;
        }
        Ok(())
    }

    /// Some node that leads a shard is cut off, with transactions of its clients.
    pub(super) fn begin_leap_over_shards(&mut self) {
        let first = self.rng.below(u64::from(self.nodes())) as u32;
        let mut nodes = (0..self.nodes()).map(|step| (first + step) % self.nodes() + 1);
        let Some(gateway) = nodes.find(|node| self.machines[*node as usize - 1].leads_any()) else {
            return self.end_script();
        };
        self.cut_only(gateway);
        for client in 0..self.clients().min(4) {
            let task = self.workload.transfer(&mut self.rng);
            self.drive(client, gateway, task);
        }
        self.stage(Stage::ShardsBehind { gateway }, 900);
    }

    /// Each shard gets more than logs keep for those that lag.
    pub(super) fn fill_shards(&mut self, but: u32) {
        const KEYS: u64 = 24;
        let much = vec![b'x'; 8 * 1024];
        let Some(node) = (1..=self.nodes()).find(|node| *node != but) else { return };
        for key in 0..KEYS {
            self.whisper(node, &[b"SET", format!("whisper{key}").as_bytes(), &much]);
        }
    }

    /// Who leads the shards of the lists.
    fn leaders_of_lists(&self) -> Vec<u32> {
        let keys = (0..LISTS).map(|list| format!("list{list}"));
        keys.filter_map(|key| self.leader_of(self.group_of(&key))).collect()
    }

    /// A gateway appends to all lists; `other` leads some of them, and so does a third if it can be.
    pub(super) fn begin_one_decided(&mut self) {
        let leaders = self.leaders_of_lists();
        let at = self.rng.below(leaders.len().max(1) as u64) as usize;
        let Some(other) = leaders.get(at).copied() else { return self.end_script() };
        let is_third = |node: &u32| *node != other && leaders.contains(node);
        let third = (1..=self.nodes()).find(is_third);
        let able = |node: &u32| *node != other && Some(*node) != third;
        let Some(gateway) = (1..=self.nodes()).find(able) else { return self.end_script() };
        let (client, task) = (self.idle_client(), self.workload.append_to_all(How::Multi));
        self.drive(client, gateway, task);
        self.stage(Stage::Decided { gateway, other, client }, 1_000);
    }

    /// The gateway has answered, and what it tells `other` is lost.
    pub(super) fn one_has_decided(&mut self, gateway: u32, other: u32) {
        self.cut_both(gateway, other);
        self.coverage.hit(Mark::OneDecided);
        let third = |node: &u32| *node != gateway && *node != other;
        let node = (1..=self.nodes()).find(third).unwrap_or(other);
        let (client, task) = (self.idle_client(), self.workload.append_to_all(How::Script));
        self.drive(client, node, task);
        self.stage(Stage::Locked { node, other, client }, 40);
    }

    /// Writes to the locked lists come behind the script that waits for them; what else it reads does
    /// not change.
    pub(super) fn write_behind(&mut self, node: u32, other: u32, waits: usize) {
        let locked =
            |list: &u64| self.leader_of(self.group_of(&format!("list{list}"))) == Some(other);
        let lists: Vec<u64> = (0..LISTS).filter(locked).collect();
        let clients = (0..self.clients()).filter(|client| *client != waits);
        for (list, client) in lists.into_iter().zip(clients) {
            let [append, _] = self.workload.append_to(list);
            self.drive(client, node, append);
        }
        self.stage(Stage::Parked, 2_000);
    }
}

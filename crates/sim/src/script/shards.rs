//! Scripts about transactions over several shards.

use consensus::NodeId;
use node::{Event, GroupId};

use super::{MILLISECOND, Stage};
use crate::coverage::Mark;
use crate::workload::How;
use crate::world::{Checked, What, World};

/// Lists of the workload, which are in several shards.
const LISTS: u64 = 4;

/// The clients do nothing for so long, in milliseconds, so that no gateway has anything open.
pub(super) const HUSH_TIME: u64 = 200;

/// How long what a gateway says to a participant takes: longer than a recovery waits, and what it says
/// afterwards comes in order. It is not long enough for that participant to miss its followers.
const PREPARE_DELAY: u64 = 1_690;

/// From here on the other participant is heard late: from just before its recovery.
const UNDECIDED_TIME: u64 = 1_490;

/// How long the question of the recovery takes.
const FENCE_DELAY: u64 = 1_500;

/// In this time a gateway starts anew, and its shards find other leaders. It is less than a recovery
/// waits.
const REBIRTH_TIME: u64 = 1_000;

/// How often it is looked for the next leader, and the time between two looks, in milliseconds.
const LOOKS: u32 = 20;
const LOOK_INTERVAL: u64 = 100;

/// What locks the keys that clients are about to wait for stays undecided for so long: until the leader
/// has fallen.
const LOCK_DELAY: u64 = 300;

/// Clients that wait for keys at the leader that falls, and how long they would.
const WAITERS: usize = 3;
const WAIT_SECONDS: &[u8] = b"5";

/// A transaction over two shards, of which one hears late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late {
    gateway: u32,
    /// Leads the first, and begins a recovery.
    prompt: u32,
    /// Leads the second, and hears late what the others say.
    late: u32,
    first: GroupId,
    second: GroupId,
}

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

    /// A gateway appends to all lists, or makes new keys; `other` leads the shards of some of them, and
    /// so does a third if it can be.
    pub(super) fn begin_one_decided(&mut self) {
        let makes = self.rng.one_in(2);
        let task =
            if makes { self.workload.make_keys() } else { self.workload.append_to_all(How::Multi) };
        self.props.made = makes.then(|| task.clone());
        let groups = task.calls.iter().map(|call| self.group_of(&call.key));
        let leaders: Vec<u32> = groups.filter_map(|group| self.leader_of(group)).collect();
        let at = self.rng.below(leaders.len().max(1) as u64) as usize;
        let Some(other) = leaders.get(at).copied() else { return self.end_script() };
        let is_third = |node: &u32| *node != other && leaders.contains(node);
        let third = (1..=self.nodes()).find(is_third);
        let able = |node: &u32| *node != other && Some(*node) != third;
        let Some(gateway) = (1..=self.nodes()).find(able) else { return self.end_script() };
        let client = self.idle_client();
        self.drive(client, gateway, task);
        self.stage(Stage::Decided { gateway, other, client }, 1_000);
    }

    /// The gateway has answered, and what it tells `other` is lost.
    pub(super) fn one_has_decided(&mut self, gateway: u32, other: u32) {
        self.cut_both(gateway, other);
        self.coverage.hit(Mark::OneDecided);
        if self.rng.one_in(3) {
            self.fall(gateway, false);
            self.push(self.now + MILLISECOND, 0, What::Start(gateway));
            return self.stage(Stage::Reborn { gateway, other }, REBIRTH_TIME);
        }
        let third = |node: &u32| *node != gateway && *node != other;
        let node = (1..=self.nodes()).find(third).unwrap_or(other);
        let client = self.idle_client();
        let task = match self.props.made.take() {
            Some(made) => made.names(),
            None => self.workload.append_to_all(How::Script),
        };
        self.drive(client, node, task);
        self.stage(Stage::Locked { node, other, client }, 40);
    }

    /// The gateway has forgotten what it had decided, and asks those that know for something else.
    pub(super) fn begin_anew(&mut self, gateway: u32, other: u32) {
        let groups = self.groups_of_keys().into_iter();
        let led: Vec<GroupId> = groups
            .filter(|group| self.leader_of(*group).is_some_and(|leader| leader != other))
            .collect();
        if let [first, second, ..] = led[..] {
            self.mset_over(gateway, [first, second]);
        }
        self.stage(Stage::Rest, 1_500);
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
            self.drive(client, node, append.between_reads());
        }
        self.stage(Stage::Parked, 2_000);
    }

    /// Two shards with different leaders, and a gateway that leads neither.
    fn draw_late(&mut self) -> Option<Late> {
        let groups = self.groups_of_keys();
        let first = *groups.get(self.rng.below(groups.len() as u64) as usize)?;
        let prompt = self.leader_of(first)?;
        let mut led = groups.iter().filter_map(|group| Some((*group, self.leader_of(*group)?)));
        let (second, late) = led.find(|(_, leader)| *leader != prompt)?;
        let able = |node: &u32| {
            let is_awake = self.machines[*node as usize - 1].is_awake(self.now);
            is_awake && *node != prompt && *node != late
        };
        let gateway = (1..=self.nodes()).find(able)?;
        Some(Late { gateway, prompt, late, first, second })
    }

    /// A shard that takes no part.
    fn third(&self, late: Late) -> Option<GroupId> {
        let mut groups = self.groups_of_keys().into_iter();
        groups.find(|group| *group != late.first && *group != late.second)
    }

    pub(super) fn groups_of_keys(&self) -> Vec<GroupId> {
        self.replicas.groups().filter(|group| *group != GroupId::META).collect()
    }

    /// Keys in this group that nobody else touches, new ones in each stage.
    fn keys_of(&self, group: GroupId) -> impl Iterator<Item = String> {
        let number = self.scripts;
        let keys = (0..).map(move |key| format!("script{number}:{key}"));
        keys.filter(move |key| self.group_of(key) == group)
    }

    fn mset_over(&mut self, gateway: u32, groups: [GroupId; 2]) {
        let [one, other] = groups.map(|group| self.keys_of(group).next().expect("each has keys"));
        let mut bytes = Vec::new();
        let mset: [&[u8]; 5] = [b"MSET", one.as_bytes(), b"x", other.as_bytes(), b"x"];
        wire::resp::encode_call(&mut bytes, &mset);
        self.ask(gateway, bytes, b"+OK\r\n");
    }

    /// The second participant is asked so late that the first begins a recovery.
    pub(super) fn begin_late_fence(&mut self) {
        let late = self.draw_late().filter(|late| self.third(*late).is_some());
        let Some(late) = late else { return self.end_script() };
        self.network.slow_down(late.gateway, late.late, PREPARE_DELAY * MILLISECOND);
        self.mset_over(late.gateway, [late.first, late.second]);
        self.stage(Stage::Prepares(late), 20);
    }

    /// What comes behind the late question comes right behind it.
    pub(super) fn second_is_asked(&mut self, late: Late) {
        self.network.mend();
        self.stage(Stage::Undecided(late), UNDECIDED_TIME - 20);
    }

    /// What the recovery asks the second takes long.
    pub(super) fn fence_is_sent(&mut self, late: Late) {
        self.network.slow_down(late.prompt, late.late, FENCE_DELAY * MILLISECOND);
        let decided = PREPARE_DELAY - UNDECIDED_TIME + 250;
        self.stage(Stage::Fenced(late), decided);
    }

    /// All have taken note that it is committed. With what the gateway asks next, the second hears
    /// that it may forget that, and the first does not.
    pub(super) fn forget_at_one(&mut self, late: Late) {
        self.coverage.hit(Mark::FencedLate);
        let third = self.third(late).expect("it was there at the beginning");
        self.mset_over(late.gateway, [late.second, third]);
        self.stage(Stage::Forgotten, FENCE_DELAY);
    }

    /// Clients are to wait for keys at the node that leads their group: in half of the runs behind a
    /// transaction that holds those keys when the leader falls.
    pub(super) fn begin_dead_waiters(&mut self) {
        let late = self.draw_late().filter(|_| self.rng.one_in(2));
        let Some(late) = late else {
            let groups = self.groups_of_keys();
            let group = groups[self.rng.below(groups.len() as u64) as usize];
            let Some(leader) = self.leader_of(group) else { return self.end_script() };
            self.props.queues = self.keys_of(group).take(WAITERS).collect();
            return self.wait_for_keys(leader, group);
        };
        self.network.slow_down(late.gateway, late.late, LOCK_DELAY * MILLISECOND);
        self.props.queues = self.keys_of(late.first).take(WAITERS).collect();
        let other = self.keys_of(late.second).next().expect("each has keys");
        // It changes nothing, however often it is tried.
        let mut bytes = Vec::new();
        wire::resp::encode_call(&mut bytes, &[b"MULTI"]);
        for key in self.props.queues.iter().chain([&other]) {
            wire::resp::encode_call(&mut bytes, &[b"PERSIST", key.as_bytes()]);
        }
        wire::resp::encode_call(&mut bytes, &[b"EXEC"]);
        self.ask(late.gateway, bytes, b"");
        self.stage(Stage::LocksQueues { leader: late.prompt, group: late.first }, 20);
    }

    pub(super) fn wait_for_keys(&mut self, leader: u32, group: GroupId) {
        for key in self.props.queues.clone() {
            let mut bytes = Vec::new();
            wire::resp::encode_call(&mut bytes, &[b"BLPOP", key.as_bytes(), WAIT_SECONDS]);
            self.ask(leader, bytes, b"");
        }
        self.stage(Stage::Waits { leader, group }, 80);
    }

    pub(super) fn leader_falls(&mut self, leader: u32, group: GroupId) {
        if self.leader_of(group) != Some(leader) {
            return self.end_script();
        }
        let running = self.machines[leader as usize - 1].running.as_ref();
        let replica = running.and_then(|running| running.front.core().member(group));
        if replica.is_some_and(|replica| replica.shard().parked() >= WAITERS) {
            self.coverage.hit(Mark::WaitersParked);
        }
        self.network.mend();
        let power = self.rng.one_in(2);
        self.fall(leader, power);
        self.stage(Stage::Widowed { dead: leader, group, looks: LOOKS }, LOOK_INTERVAL);
    }

    /// What the dead have waited for comes, and it is asked at once whether it is there.
    pub(super) fn push_at_next(&mut self, dead: u32, group: GroupId, looks: u32) {
        let next = self.leader_of(group).filter(|leader| *leader != dead);
        let Some(next) = next else {
            return match looks {
                0 => self.end_script(),
                _ => self.stage(Stage::Widowed { dead, group, looks: looks - 1 }, LOOK_INTERVAL),
            };
        };
        let mut bytes = Vec::new();
        for key in std::mem::take(&mut self.props.queues) {
            wire::resp::encode_call(&mut bytes, &[b"RPUSH", key.as_bytes(), b"x"]);
            wire::resp::encode_call(&mut bytes, &[b"LLEN", key.as_bytes()]);
        }
        self.ask(next, bytes, b":0\r\n");
        self.stage(Stage::Served { dead }, 500);
    }

    pub(super) fn look_who_was_served(&mut self, dead: u32) -> Checked {
        self.end_script();
        match self.props.question.heard {
            0 => {
                self.coverage.hit(Mark::WaitersDied);
                Ok(())
            }
            lost => {
                Err(format!("{lost} clients that waited at node {dead} are served, and it is down"))
            }
        }
    }
}

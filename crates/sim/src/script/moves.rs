//! Scripts of clusters with a map: about guests, and about replicas that leave and come back.
//!
//! ```text
//! Forgetful  guest asks, hears nothing ─▶ snapshots ─▶ all who hold the group start anew ─▶ it asks again,
//!              and once more, since its connection breaks before the answer has come
//! Overtaken  clients of a guest wait ─▶ the leader thinks it gone, and says so slowly ─▶ hands over
//!              ─▶ the guest asks the next leader ─▶ hears the old one ─▶ what is waited for comes
//! Away       drained ─▶ its replicas leave ─▶ kept, heavier than all ─▶ they come back
//!              clients wait there, whom what they wait for reaches as the replica leaves; in the end
//!              it is asked to write; or one voter hears nothing, and is all that it hears at last
//! ```
//!
//! The operator's calls go the way of all others; what a script needs of the map and cannot have yet,
//! it asks for, and waits for its next turn.

use std::collections::BTreeSet;

use consensus::{Config, NodeId};
use node::{Event, GroupId, Standing};

use super::{MILLISECOND, Stage};
use crate::coverage::Mark;
use crate::history::{Call, Datum, Verb};
use crate::lull::ASKER_OF_SCRIPT;
use crate::plan::Evil;
use crate::workload::Task;
use crate::world::{Checked, What, World};

/// How often, at most, it is looked whether a node has lost its replicas, or has them again.
const LOOKS: u32 = 14;

/// And the time between two looks, in milliseconds.
const LOOK_INTERVAL: u64 = 250;

/// Within this a node answers a write to a replica that has come back, where nothing is wrong: in
/// milliseconds, and less than a request waits before its outcome is called unknown.
const ANSWERS_WITHIN: u64 = 5_000;

/// How long a guest waits for the answer of a leader that it has to ask twice, in milliseconds.
const ANSWER_DELAY: u64 = 400;

/// Clients that wait.
const WAITERS: usize = 2;

/// What a script has at hand.
#[derive(Debug, Default)]
pub(crate) struct Props {
    /// Clients wait for these keys.
    pub(super) queues: Vec<String>,
    /// Makes keys, of which another client is to see all or none.
    pub(super) made: Option<Task>,
    /// Groups that had a replica at the node that is drained.
    left: BTreeSet<GroupId>,
    /// What a node was asked at last.
    pub(super) question: Question,
}

/// Calls over a connection of its own, of which the answers that consist of one word count.
#[derive(Debug, Default)]
pub(super) struct Question {
    connection: u64,
    word: &'static [u8],
    pub(super) heard: usize,
}

impl Props {
    /// A node says something to whoever asks for the script.
    pub(crate) fn hear(&mut self, number: u64, bytes: &[u8]) {
        let Question { connection, word, heard } = &mut self.question;
        if *connection == number && !word.is_empty() {
            *heard += bytes.windows(word.len()).filter(|bytes| bytes == word).count();
        }
    }
}

impl World {
    /// The time of a stage is up.
    pub(super) fn move_goes_on(&mut self, stage: Stage) -> Checked {
        match stage {
            Stage::Gathers { evil } => self.begin_move(evil),
            Stage::Unheard { guest, group } => {
                self.holders_of(group).into_iter().for_each(|node| self.want_snapshot(node));
                self.stage(Stage::Saved { guest, group }, 300);
            }
            Stage::Saved { guest, group } => {
                self.coverage.hit(Mark::AskedTheForgetful);
                self.network.mend();
                for node in self.holders_of(group) {
                    self.network.slow_down(node, guest, ANSWER_DELAY * MILLISECOND);
                    self.fall(node, false);
                    self.push(self.now + MILLISECOND, 0, What::Start(node));
                }
                self.stage(Stage::AsksNext { guest, group, looks: LOOKS }, LOOK_INTERVAL);
            }
            Stage::AsksNext { guest, group, looks } => match self.leader_of(group) {
                Some(leader) => {
                    let asked = ANSWER_DELAY + ANSWER_DELAY / 2;
                    self.stage(Stage::AsksTwice { guest, leader }, asked);
                }
                None if looks == 0 => self.end_script(),
                None => {
                    let looks = looks - 1;
                    self.stage(Stage::AsksNext { guest, group, looks }, LOOK_INTERVAL);
                }
            },
            Stage::AsksTwice { guest, leader } => {
                self.hang_up(guest, leader);
                self.hang_up(leader, guest);
                self.network.mend();
                self.stage(Stage::Rest, 3_000);
            }
            Stage::GuestWaits { guest, group } => self.guest_is_gone(guest, group),
            Stage::GuestGone { leader, group } => {
                let Config { voters, .. } = self.replicas[group].config();
                let heir = voters.iter().copied().find(|node| node.0 != leader);
                if let Some(target) = heir {
                    self.coverage.hit(Mark::AnswerOvertaken);
                    self.feed(leader, Event::Transfer { group, target })?;
                }
                self.stage(Stage::Overtaken, 700);
            }
            Stage::Overtaken => {
                self.fill_queues(0);
                self.stage(Stage::Rest, 1_000);
            }
            Stage::Drained { node, lags, looks } => self.look_whether_empty(node, lags, looks),
            Stage::Left { node, looks } => {
                self.network.mend();
                self.stage(Stage::Drained { node, lags: None, looks }, LOOK_INTERVAL);
            }
            Stage::Kept { node, lags, step } => self.take_back(node, lags, step),
            Stage::Returns { node, lags, looks } => self.look_whether_back(node, lags, looks),
            Stage::Asked { node, lives, writes } => {
                let open = writes - self.props.question.heard;
                if open > 0 && lives == self.lives() {
                    return Err(format!(
                        "node {node} has replicas again, and does not serve {open} writes to them \
                         within {ANSWERS_WITHIN} ms"
                    ));
                }
                self.coverage.hit(Mark::ServedAfterReturn);
                self.end_script();
            }
            _ => self.end_script(),
        }
        Ok(())
    }

    fn begin_move(&mut self, evil: Evil) {
        self.props = Props::default();
        match evil {
            Evil::Forgetful => self.begin_forgetful(),
            Evil::Overtaken => self.begin_overtaken(),
            _ => self.begin_away(),
        }
    }

    /// Starts and ends of all machines: as long as this is the same, nobody has fallen.
    fn lives(&self) -> u64 {
        self.machines.iter().map(|machine| machine.life).sum()
    }

    /// The nodes that run and have a replica of this group, or have none but are members.
    fn awake_with(&self, group: GroupId, has: bool) -> Vec<u32> {
        let awake = self.machines.iter().filter(|machine| machine.is_awake(self.now));
        let fits = awake.filter(|machine| {
            let holds = machine.running.as_ref().is_some_and(|one| one.group(group).is_some());
            holds == has && self.counts_on(machine.id)
        });
        fits.map(|machine| machine.id).collect()
    }

    fn holders_of(&self, group: GroupId) -> Vec<u32> {
        self.awake_with(group, true)
    }

    /// A group of keys with a leader, and a node that has no replica of it.
    fn draw_guest(&mut self) -> Option<(u32, u32, GroupId)> {
        let groups = self.groups_of_keys();
        let first = self.rng.below(groups.len() as u64) as usize;
        let mut all = groups.iter().cycle().skip(first).take(groups.len());
        let (group, leader, guests) = all.find_map(|group| {
            let guests = self.awake_with(*group, false);
            Some((*group, self.leader_of(*group)?, guests)).filter(|found| !found.2.is_empty())
        })?;
        let at = self.rng.below(guests.len() as u64) as usize;
        Some((guests[at], leader, group))
    }

    fn begin_forgetful(&mut self) {
        let Some((guest, _, group)) = self.draw_guest() else { return self.end_script() };
        for peer in (1..=self.nodes()).filter(|peer| *peer != guest) {
            self.network.cut(peer, guest);
        }
        for client in 0..self.clients().min(3) {
            let queue = self.fresh_queue_of(&[group]);
            let task = self.workload.push(&queue);
            self.drive(client, guest, task);
        }
        self.stage(Stage::Unheard { guest, group }, 60);
    }

    fn begin_overtaken(&mut self) {
        let Some((guest, _, group)) = self.draw_guest() else { return self.end_script() };
        self.wait_at(guest, &[group]);
        self.stage(Stage::GuestWaits { guest, group }, 80);
    }

    /// The leader sees the end of the guest's connection, so it ends the waits of its clients. What
    /// it says of that takes long.
    fn guest_is_gone(&mut self, guest: u32, group: GroupId) {
        let Some(leader) = self.leader_of(group) else { return self.end_script() };
        self.network.slow_down(leader, guest, 400 * MILLISECOND);
        self.hang_up(guest, leader);
        self.stage(Stage::GuestGone { leader, group }, 30);
    }

    /// A queue that is in one of these groups.
    fn fresh_queue_of(&mut self, groups: &[GroupId]) -> String {
        let shards = node::Shards::new(self.plan.shards as usize).expect("a power of two");
        let group = |key: &str| GroupId(shards.of_key(key.as_bytes()).index() as u32);
        self.workload.fresh_queue(|key| groups.contains(&group(key)))
    }

    /// Clients wait at a node for keys of these groups.
    fn wait_at(&mut self, node: u32, groups: &[GroupId]) {
        const WAIT_MILLIS: i64 = 9_000;
        for client in 0..WAITERS.min(self.clients() - 1) {
            let queue = self.fresh_queue_of(groups);
            let wait = Call::new(Verb::BlPop, queue.clone(), vec![Datum::Int(WAIT_MILLIS)]);
            self.props.queues.push(queue);
            self.drive(client, node, Task::plain(wait));
        }
    }

    /// What clients wait for comes, from clients of other nodes than `but`.
    fn fill_queues(&mut self, but: u32) {
        let node = self.machines.iter().find(|one| one.id != but && one.is_awake(self.now));
        let Some(node) = node.map(|machine| machine.id) else { return };
        let clients = WAITERS.min(self.clients() - 1)..self.clients();
        for (queue, client) in std::mem::take(&mut self.props.queues).into_iter().zip(clients) {
            let task = self.workload.push(&queue);
            self.drive(client, node, task);
        }
    }

    /// A node that is active and holds something is drained, if the others are enough.
    fn begin_away(&mut self) {
        if let Some(words) = self.lacks_for_away() {
            self.ask_operator(0, &words);
            return self.end_script();
        }
        let able = |node: &u32| {
            let machine = &self.machines[*node as usize - 1];
            machine.is_awake(self.now) && !self.groups_on(*node).is_empty()
        };
        let able: Vec<u32> = self.standing_as(Standing::Active).into_iter().filter(able).collect();
        if able.len() < 3 {
            return self.end_script();
        }
        let first = self.rng.below(able.len() as u64) as usize;
        let (node, groups) = (able[first], self.groups_on(able[first]));
        let shares = |other: &u32| {
            *other != node && self.groups_on(*other).iter().any(|group| groups.contains(group))
        };
        let other = able.iter().cycle().skip(first).take(able.len()).copied().find(shares);
        let lags = other.filter(|_| self.rng.one_in(2));
        match lags {
            Some(lags) => self.cut_only(lags),
            None => self.wait_at(node, &groups),
        }
        self.ask_operator(node, &format!("SYNOD.NODE DRAIN {node}"));
        self.stage(Stage::Drained { node, lags, looks: LOOKS }, LOOK_INTERVAL);
    }

    /// What an operator has to ask for first, if a node is to be drained and three voters are to agree on
    /// that, of which one hears nothing.
    fn lacks_for_away(&self) -> Option<String> {
        let mapping = self.mapping.as_ref()?;
        let count = self.standing_as(Standing::Active).len();
        if count >= 3 && mapping.map.replicas() != 3 {
            return Some("SYNOD.REBALANCE REPLICAS 3".to_owned());
        }
        let idle = self.standing_as(Standing::Draining).into_iter();
        let mut idle = idle.filter(|node| self.machines[*node as usize - 1].is_awake(self.now));
        (count <= 3).then(|| idle.next().map(|node| format!("SYNOD.NODE KEEP {node}")))?
    }

    /// The nodes that stand like this in the newest map.
    fn standing_as(&self, standing: Standing) -> Vec<u32> {
        let members = self.mapping.iter().flat_map(|mapping| mapping.map.members());
        let fits = members.filter(|(_, member)| member.standing == standing);
        fits.map(|(node, _)| node.0).collect()
    }

    /// The groups of keys of which a node has a replica.
    fn groups_on(&self, node: u32) -> Vec<GroupId> {
        let running = self.machines[node as usize - 1].running.as_ref();
        let members = running.map(|one| one.front.core().members().map(node::Group::id).collect());
        members.unwrap_or_default()
    }

    /// Another node than this, which others hear, is asked for a change.
    fn ask_operator(&mut self, but: u32, words: &str) {
        let heard = |machine: &&crate::machine::Machine| {
            let (id, mut others) = (machine.id, 1..=self.nodes());
            let cut = others.all(|other| other == id || self.network.is_cut(id, other));
            machine.id != but && machine.is_awake(self.now) && !cut && self.counts_on(id)
        };
        let Some(node) = self.machines.iter().find(heard).map(|machine| machine.id) else { return };
        self.tell(|| format!("at node {node} an operator says {words}"));
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.whisper(node, &words);
    }

    /// A node numbers its requests: it has asked each leader for something.
    fn write_through(&mut self, node: u32) {
        const KEYS: u64 = 16;
        for key in 0..KEYS {
            self.whisper(node, &[b"SET", format!("whisper{key}").as_bytes(), b"x"]);
        }
    }

    fn look_whether_empty(&mut self, node: u32, lags: Option<u32>, looks: u32) {
        let now = self.now;
        if looks == 0 || !self.machine(node).is_awake(now) {
            return self.end_script();
        }
        let enough = match lags {
            // It may be unable to leave the others.
            Some(lags) => {
                let mut left = self.props.left.iter();
                left.any(|group| self.counts_in_vain(lags, node, *group))
            }
            None => !self.props.left.is_empty() && (self.groups_on(node).is_empty() || looks < 4),
        };
        if enough {
            return self.take_back(node, lags, 0);
        }
        if lags.is_none() {
            self.write_through(node);
        }
        self.stage(Stage::Drained { node, lags, looks: looks - 1 }, LOOK_INTERVAL);
    }

    /// A node takes its share again: for once so much that it has a replica of every shard.
    fn take_back(&mut self, node: u32, lags: Option<u32>, step: usize) {
        let steps = [
            format!("SYNOD.NODE SET {node} WEIGHT 50 ZONE a"),
            format!("SYNOD.NODE KEEP {node}"),
            "SYNOD.REBALANCE".to_owned(),
            format!("SYNOD.NODE SET {node} WEIGHT 1 ZONE a"),
        ];
        match steps.get(step) {
            Some(words) => {
                self.ask_operator(node, words);
                self.stage(Stage::Kept { node, lags, step: step + 1 }, 40);
            }
            None => self.stage(Stage::Returns { node, lags, looks: LOOKS }, LOOK_INTERVAL),
        }
    }

    /// A replica leaves a node.
    pub(crate) fn script_left(&mut self, node: u32, group: GroupId) {
        if let Some(Stage::Drained { node: drained, lags, looks }) = self.script
            && drained == node
        {
            self.props.left.insert(group);
            let waits = self.props.queues.iter().any(|queue| self.group_of(queue) == group);
            if waits && lags.is_none() && self.is_chaos() {
                self.coverage.hit(Mark::LeftAmidWaits);
                for other in (1..=self.nodes()).filter(|other| *other != node) {
                    self.network.cut(node, other);
                }
                self.fill_queues(node);
                self.stage(Stage::Left { node, looks }, 350);
            }
        } else if let Some(Stage::Left { node: drained, .. }) = self.script
            && drained == node
        {
            self.props.left.insert(group);
        }
    }

    /// A replica comes to a node, with nothing yet. A voter that has not heard that it was gone, and
    /// counts on it, is all that it hears from here on.
    pub(crate) fn script_joined(&mut self, node: u32, group: GroupId) {
        let (back, lags) = match self.script {
            Some(
                Stage::Returns { node, lags: Some(lags), .. }
                | Stage::Kept { node, lags: Some(lags), .. },
            ) => (node, lags),
            _ => return,
        };
        if back != node
            || !self.props.left.contains(&group)
            || !self.counts_in_vain(lags, node, group)
        {
            return;
        }
        self.coverage.hit(Mark::CameBackToLagging);
        for apart in [node, lags] {
            for other in (1..=self.nodes()).filter(|other| *other != node && *other != lags) {
                self.cut_both(apart, other);
            }
        }
        self.network.join(node, lags);
        self.stage(Stage::Rest, 2_500);
    }

    /// Would these two be a majority, as `lags` sees it, and lack what is agreed?
    fn counts_in_vain(&self, lags: u32, node: u32, group: GroupId) -> bool {
        let running = self.machines[lags as usize - 1].running.as_ref();
        let Some(status) = running.and_then(|one| one.group(group)).map(node::Group::status) else {
            return false;
        };
        let Config { voters, outgoing, .. } = &*status.config;
        let counts = [node, lags].iter().all(|one| voters.contains(&NodeId(*one)));
        let behind = status.last.0 < self.replicas[group].committed();
        counts && behind && voters.len() <= 3 && outgoing.is_empty()
    }

    fn look_whether_back(&mut self, node: u32, lags: Option<u32>, looks: u32) {
        let votes = |world: &World, group: GroupId| {
            let running = world.machines[node as usize - 1].running.as_ref();
            let status = running.and_then(|one| one.group(group)).map(node::Group::status);
            status.is_some_and(|status| status.config.voters.contains(&NodeId(node)))
        };
        let left = self.props.left.clone();
        let left = left.into_iter().filter(|group| *group != GroupId::META);
        let back: Vec<GroupId> = left.filter(|group| votes(self, *group)).collect();
        let awake = self.machines[node as usize - 1].is_awake(self.now);
        if awake && lags.is_none() && !back.is_empty() && looks + 4 < LOOKS {
            return self.ask_returned(node, &back);
        }
        if looks == 0 {
            return self.end_script();
        }
        self.stage(Stage::Returns { node, lags, looks: looks - 1 }, LOOK_INTERVAL);
    }

    /// A node is asked to write to each of the groups that have come back to it.
    fn ask_returned(&mut self, node: u32, groups: &[GroupId]) {
        let mut bytes = Vec::new();
        for group in groups {
            let key = (0..).map(|key| format!("whisper{key}"));
            let key = key.into_iter().find(|key| self.group_of(key) == *group);
            let key = key.expect("each group has keys");
            wire::resp::encode_call(&mut bytes, &[b"SET", key.as_bytes(), b"x"]);
        }
        self.ask(node, bytes, b"+OK\r\n");
        let (lives, writes) = (self.lives(), groups.len());
        self.stage(Stage::Asked { node, lives, writes }, ANSWERS_WITHIN);
    }

    /// Asks a node over a new connection, and counts the answers that are this word.
    pub(super) fn ask(&mut self, node: u32, bytes: Vec<u8>, word: &'static [u8]) {
        let before = self.props.question.connection;
        let (connection, client) = (self.now.max(before + 1), ASKER_OF_SCRIPT);
        self.props.question = Question { connection, word, heard: 0 };
        self.push_node(node, 0, What::ToNode { node, client, number: connection, bytes });
    }
}

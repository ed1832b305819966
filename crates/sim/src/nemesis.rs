//! The nemesis: who brings the faults, by chance and by aim.

use consensus::NodeId;
use node::{Event, GroupId, Shards};

use crate::coverage::Mark;
use crate::plan::Evil;
use crate::world::{Checked, What, World};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

impl World {
    /// One of the evils of the plan, and when the next comes.
    pub(crate) fn strike(&mut self) -> Checked {
        if !self.is_chaos() {
            return Ok(());
        }
        let interval = self.plan.evil_interval.as_nanos() as u64;
        let after = self.rng.below(2 * interval);
        self.push(self.now + after, 0, What::Nemesis);
        if self.script.is_some() {
            return Ok(());
        }
        let evils = self.plan.evils.len() as u64;
        let evil = self.plan.evils[self.rng.below(evils) as usize];
        let node = 1 + self.rng.below(u64::from(self.nodes())) as u32;
        self.refocus();
        if self.rng.one_in(12) {
            self.begin_lull(None);
        }
        if self.lull.is_none() || self.spares(evil, node) {
            self.tell(|| format!("evil: {evil:?} for node {node}"));
            self.do_evil(evil, node)?;
        }
        Ok(())
    }

    /// Does this evil leave alone whoever is spared? What is cut between them gets through anyway.
    fn spares(&self, evil: Evil, node: u32) -> bool {
        match evil {
            Evil::CutSymmetric
            | Evil::CutLeader
            | Evil::CutAsymmetric
            | Evil::CutBridge
            | Evil::CutLink
            | Evil::Flap
            | Evil::Snapshot
            | Evil::LoseClient
            | Evil::Drift
            | Evil::Jump
            | Evil::Strobe => true,
            Evil::KillAll
            | Evil::PauseLeader
            | Evil::Stalest
            | Evil::HandOver
            | Evil::Sleep
            | Evil::Members
            | Evil::Storm
            | Evil::PriorTerm
            | Evil::Lease
            | Evil::LeaseDrift
            | Evil::Leap
            | Evil::LeapShards
            | Evil::OneDecided
            | Evil::LateFence
            | Evil::DeadWaiters
            | Evil::FirstCommit
            | Evil::Slumber
            | Evil::Renew
            | Evil::Unanswered
            | Evil::Forgetful
            | Evil::Overtaken
            | Evil::Away => false,
            _ => !self.is_spared(node),
        }
    }

    fn do_evil(&mut self, evil: Evil, node: u32) -> Checked {
        match evil {
            Evil::CutSymmetric
            | Evil::CutLeader
            | Evil::CutAsymmetric
            | Evil::CutBridge
            | Evil::CutLink => self.cut(evil, node),
            Evil::Flap => {
                self.coverage.hit(Mark::CutFlapping);
                let left = 2 + self.rng.below(20) as u32;
                self.flap(node, left);
            }
            Evil::Power => self.power_fails(node, Mark::PowerFailed),
            Evil::PowerInCommit => {
                let operations = self.rng.below(12);
                self.machine(node).disk.halt_after(operations);
            }
            Evil::Kill => {
                self.coverage.hit(Mark::Killed);
                self.fall(node, false);
            }
            Evil::KillAll => self.kill_all(),
            Evil::Pause | Evil::PauseLeader | Evil::Stalest => self.pause(evil, node),
            Evil::Drift | Evil::Jump => self.touch_clock(evil, node),
            Evil::Strobe => {
                self.coverage.hit(Mark::ClockStrobed);
                let left = 2 * (2 + self.rng.below(20) as u32);
                self.strobe(node, left);
            }
            Evil::Sleep => self.sleep(),
            Evil::Stall
            | Evil::DiskError
            | Evil::DiskFull
            | Evil::Rot
            | Evil::ReadErrorAtStart
            | Evil::LoseVote
            | Evil::Misdirect
            | Evil::Wipe => self.harm_disk(evil, node)?,
            Evil::Snapshot => self.want_snapshots(),
            Evil::Members => self.want_members(),
            Evil::Storm => {
                self.want_members();
                if self.wish.is_some() || self.mapping.is_some() {
                    self.coverage.hit(Mark::MembersAmidSnapshots);
                }
                self.want_snapshots();
                self.hand_over()?;
            }
            Evil::HandOver => self.hand_over()?,
            Evil::BreakLink => {
                let other = 1 + self.rng.below(u64::from(self.nodes())) as u32;
                self.coverage.hit(Mark::LinkBroken);
                self.hang_up(node, other);
            }
            Evil::LoseClient => {
                let client = self.rng.below(self.clients() as u64) as usize;
                self.coverage.hit(Mark::ClientLost);
                self.lose_client(client);
            }
            _ => self.begin_script(evil),
        }
        Ok(())
    }

    /// Who leads, as far as it knows itself.
    pub(crate) fn leader(&self) -> Option<u32> {
        self.leader_of(self.focus)
    }

    /// Who leads this group, as far as it knows itself.
    pub(crate) fn leader_of(&self, group: GroupId) -> Option<u32> {
        let mut machines = self.machines.iter().rev();
        machines.find(|machine| machine.leads(group)).map(|machine| machine.id)
    }

    /// Which group keeps this key.
    pub(crate) fn group_of(&self, key: &str) -> GroupId {
        let shards = Shards::new(self.plan.shards as usize).expect("a power of two");
        GroupId(shards.of_key(key.as_bytes()).index() as u32)
    }

    fn mend_later(&mut self, least: u64, most: u64) {
        // Sometimes for longer than any request waits.
        let most = if self.rng.one_in(8) { 3 * most } else { most };
        let after = least + self.rng.below(most);
        self.cuts += 1;
        self.push(self.now + after, 0, What::Mend(self.cuts));
    }

    /// Cuts a node off from all others.
    pub(crate) fn isolate(&mut self, node: u32) {
        self.tell(|| format!("node {node} is cut off"));
        for other in (1..=self.nodes()).filter(|other| *other != node) {
            self.network.cut(node, other);
            self.network.cut(other, node);
        }
        self.mend_later(200 * MILLISECOND, 5 * SECOND);
    }

    fn cut(&mut self, evil: Evil, node: u32) {
        self.network.mend();
        let nodes = self.nodes();
        let side: Vec<bool> = (0..=nodes).map(|_| self.rng.one_in(2)).collect();
        match evil {
            Evil::CutLeader => {
                self.coverage.hit(Mark::CutLeader);
                let leader = self.leader().unwrap_or(node);
                return self.isolate(leader);
            }
            Evil::CutLink => {
                // The others hear both.
                self.coverage.hit(Mark::CutLink);
                let leader = self.leader().unwrap_or(node % nodes + 1);
                self.network.cut(leader, node);
                self.network.cut(node, leader);
            }
            Evil::CutAsymmetric => {
                self.coverage.hit(Mark::CutAsymmetric);
                let hears = self.rng.one_in(2);
                for other in (1..=nodes).filter(|other| *other != node) {
                    let (source, target) = if hears { (node, other) } else { (other, node) };
                    self.network.cut(source, target);
                }
            }
            _ => {
                let bridge = evil == Evil::CutBridge;
                let mark = if bridge { Mark::CutBridge } else { Mark::CutSymmetric };
                self.coverage.hit(mark);
                for source in 1..=nodes {
                    for target in 1..=nodes {
                        let spared = bridge && (source == node || target == node);
                        if side[source as usize] != side[target as usize] && !spared {
                            self.network.cut(source, target);
                        }
                    }
                }
            }
        }
        self.tell(|| format!("{evil:?} around node {node}: {side:?}"));
        self.mend_later(200 * MILLISECOND, 8 * SECOND);
    }

    /// A node is there and gone, again and again.
    pub(crate) fn flap(&mut self, victim: u32, left: u32) {
        if !self.is_chaos() || left == 0 {
            return;
        }
        if self.network.is_whole() {
            self.isolate(victim);
        } else {
            self.network.mend();
        }
        let after = 20 * MILLISECOND + self.rng.below(500 * MILLISECOND);
        self.push(self.now + after, 0, What::Flap { victim, left: left - 1 });
    }

    fn kill_all(&mut self) {
        self.coverage.hit(Mark::KilledAll);
        let power = self.rng.one_in(2);
        (1..=self.nodes()).for_each(|node| self.fall(node, power));
    }

    fn pause(&mut self, evil: Evil, node: u32) {
        let now = self.now;
        match evil {
            Evil::PauseLeader => {
                let Some(leader) = self.leader() else { return };
                self.coverage.hit(Mark::PausedLeaderPastLease);
                let time = 400 * MILLISECOND + self.rng.below(4 * SECOND);
                self.machine(leader).pause(now + time);
            }
            Evil::Stalest => {
                let nodes = 1..=self.nodes();
                let stalest =
                    nodes.clone().min_by_key(|node| self.replicas[self.focus].last_of(*node));
                let time = 300 * MILLISECOND + self.rng.below(400 * MILLISECOND);
                self.coverage.hit(Mark::StalestWooed);
                if let Some(leader) = self.leader() {
                    self.isolate(leader);
                }
                for node in nodes.filter(|node| Some(*node) != stalest) {
                    self.machine(node).pause(now + time);
                }
            }
            _ => {
                self.coverage.hit(Mark::Paused);
                let time = 10 * MILLISECOND + self.rng.below(2 * SECOND);
                self.machine(node).pause(now + time);
            }
        }
    }

    /// The leader hands its place to another, as one does that is about to stop.
    fn hand_over(&mut self) -> Checked {
        let Some(leader) = self.leader() else { return Ok(()) };
        if self.machine(leader).paused_until > self.now {
            return Ok(());
        }
        self.coverage.hit(Mark::HandedOver);
        if self.rng.one_in(3) {
            // The one who is to take over does nothing.
            let voters: Vec<NodeId> =
                self.replicas[self.focus].config().voters.iter().copied().collect();
            let target = voters[self.rng.below(voters.len() as u64) as usize];
            if target.0 != leader && !self.is_spared(target.0) {
                let until = self.now + SECOND;
                self.machine(target.0).pause(until);
            }
            return self.feed(leader, Event::Transfer { group: self.focus, target });
        }
        if self.rng.one_in(2) {
            let after = self.network.draw_delay(&mut self.rng) + self.rng.below(MILLISECOND);
            self.push_node(leader, after, What::CutOff(leader));
        }
        self.feed(leader, Event::Leave)
    }

    /// A new leader has hardly begun.
    pub(crate) fn end_early(&mut self, leader: u32) {
        self.coverage.hit(Mark::LeaderEndedEarly);
        let after = self.rng.below(20 * MILLISECOND);
        let life = self.machine(leader).life;
        self.push(self.now + after, life, What::EndReign(leader));
    }

    /// A reign ends: by power, or by the network, for a short while.
    pub(crate) fn end_reign(&mut self, node: u32) {
        if !self.is_chaos() || self.lull.is_some() {
            return;
        }
        match self.rng.below(3) {
            0 => return self.power_fails(node, Mark::PowerFailed),
            1 => {
                // Its followers answer, and agree to nothing yet.
                let until = self.now + self.rng.below(SECOND);
                return self.stalled_until.fill(until);
            }
            _ => {}
        }
        for other in (1..=self.nodes()).filter(|other| *other != node) {
            self.network.cut(node, other);
            self.network.cut(other, node);
        }
        self.mend_later(300 * MILLISECOND, 700 * MILLISECOND);
    }

    fn touch_clock(&mut self, evil: Evil, node: u32) {
        let now = self.now;
        if evil == Evil::Drift {
            self.coverage.hit(Mark::ClockDrifted);
            // Two clocks may part by so much: half of it each.
            let most = u64::from(self.plan.drift_ppm / 2) - 100;
            let ppm = self.rng.below(2 * most) as i64 - most as i64;
            self.machine(node).clock.drift(now, ppm);
        } else {
            self.coverage.hit(Mark::ClockJumped);
            let millis = self.rng.below(7_200_000) as i64 - 3_600_000;
            self.machine(node).clock.jump(millis);
        }
    }

    /// The wall clock goes back and forth.
    pub(crate) fn strobe(&mut self, node: u32, left: u32) {
        if left == 0 || !self.is_chaos() {
            return;
        }
        let millis = 1 + self.rng.below(4_000) as i64;
        let machine = self.machine(node);
        machine.clock.jump(if left.is_multiple_of(2) { millis } else { -millis });
        let after = 5 * MILLISECOND + self.rng.below(300 * MILLISECOND);
        self.push(self.now + after, 0, What::Strobe { node, left: left - 1 });
    }

    /// Nothing happens for hours, and then the messages arrive that were on their way before.
    fn sleep(&mut self) {
        self.coverage.hit(Mark::MessagesHoursLate);
        let hours = 1 + self.rng.below(6);
        self.tell(|| format!("everybody sleeps for {hours} h"));
        self.pass(hours * 3_600 * SECOND);
    }

    pub(crate) fn want_snapshots(&mut self) {
        for node in 1..=self.nodes() {
            if self.rng.one_in(2) {
                self.want_snapshot(node);
            }
        }
    }

    /// A client of this node asks for a snapshot.
    pub(crate) fn want_snapshot(&mut self, node: u32) {
        self.whisper(node, &[b"BGSAVE"]);
    }

    /// Asks a node for something, and does not listen to what it says.
    pub(crate) fn whisper(&mut self, node: u32, call: &[&[u8]]) {
        let mut bytes = Vec::new();
        wire::resp::encode_call(&mut bytes, call);
        // A client of its own, that hears nothing.
        let client = self.clients();
        let what = What::ToNode { node, client, number: 0, bytes };
        self.push_node(node, 0, what);
    }
}

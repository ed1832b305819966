//! Scripts: faults in several steps, each waiting for what the cluster makes of the one before.
//!
//! ```text
//! begin ─▶ stage ─▶ (a leader is elected · something is committed · time is up) ─▶ stage … ─▶ end
//! ```
//!
//! Some interleavings are so unlikely that chance would need thousands of seeds for each: they are
//! the ones that the proofs of Raft turn on. While a script runs, the other evils wait.
//!
//! | script | brings about |
//! | --- | --- |
//! | `PriorTerm` | an entry of an earlier term reaches a majority, and its leader ends (Raft paper, figure 8) |
//! | `Lease` | the last voter that keeps a lease alive is started anew, while another stands |
//! | `Drift` | a leader with a slow clock is cut off from voters with fast ones |
//! | `Leap` | a node whose forwarded requests were executed hears of it by a snapshot of a later term |
//! | `Unanswered` | the same, and it hears nothing for longer than a request waits |
//! | `LeapShards` | the same, for transactions over shards of a node that led some of them |
//! | `OneDecided` | some participants of a transaction hear that it is committed, and others do not hear from its gateway any more: what comes meanwhile waits, a script and writes behind it; or the gateway starts anew, and asks for something else |
//! | `LateFence` | a recovery's question reaches one participant after the transaction was committed, and forgotten there |
//! | `DeadWaiters` | the leader falls with clients that wait there for keys, and what they wait for comes at the next leader |
//! | `Renew` | a follower is behind; while a snapshot is sent to it, its leader takes a newer one |
//! | `FirstCommit` | a write is acknowledged and known to be agreed by nobody who is left; it is read at a new leader whose first entry is not agreed yet |
//! | `Slumber` | the clients are silent until the group hibernates, and its leader is cut off: the others must serve all the same |
//! | `Forgetful` | what a guest has asked for is done, it does not hear of it, and all replicas start anew from a snapshot of behind it |
//! | `Overtaken` | a leader's word that a guest's wait is over comes after the guest has asked the next leader |
//! | `Away` | a node loses its replicas while clients wait there for keys, and gets them back: it must serve then; or it has nothing yet when a voter that has not heard of it all stands for election |
//!
//! The last three are in `moves`, for clusters with a map; those over shards in `shards`.
//!
//! Beside them: whenever a node is elected while another still believes to lead, something is
//! written at the one and then read at the other.

mod moves;
mod shards;

use node::{Event, GroupId};

pub(crate) use moves::Props;
use shards::{HUSH_TIME, Late};

use crate::coverage::Mark;
use crate::history::{Call, Datum, Verb};
use crate::limits::{LULL_ANSWER, LULL_SETTLE};
use crate::plan::Evil;
use crate::workload::Task;
use crate::world::{Checked, What, World};

const MILLISECOND: u64 = 1_000_000;

/// Clients that read at a leader of the past what was just written at the new one.
const READERS: usize = 2;

/// How far a script has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Whoever is down starts; then the script of this evil begins.
    Gathers {
        evil: Evil,
    },
    /// Each node leads some of the shards.
    Spread {
        evil: Evil,
    },
    /// `first` was cut off with an entry of its own; somebody else will be elected.
    PriorDeposed {
        first: u32,
    },
    /// `second` was elected and cut off at once; `first` will be elected again.
    PriorAgain {
        first: u32,
        second: u32,
    },
    /// `first` leads again, and is cut off at its next commit.
    PriorCommit {
        first: u32,
        second: u32,
    },
    /// One of the others is elected.
    PriorLast,
    /// `stands` does not hear `leader` any more, and `keeps` still does.
    LeaseKept {
        leader: u32,
        keeps: u32,
    },
    /// Somebody is elected within what may be another's lease.
    LeaseOver,
    /// The clocks run apart; then `leader` is cut off.
    DriftBegun {
        leader: u32,
    },
    /// `node` is heard, and hears nothing.
    Deaf {
        node: u32,
        leaps: bool,
    },
    /// `node` is cut off, and much is written; then somebody else leads.
    Behind {
        node: u32,
    },
    /// Snapshots are taken in the later term.
    Ahead {
        node: u32,
    },
    /// `gateway` is cut off with transactions of its clients; others lead its shards.
    ShardsBehind {
        gateway: u32,
    },
    /// More is written to each shard than logs keep for those that lag.
    ShardsFull {
        gateway: u32,
    },
    /// Snapshots are taken.
    ShardsAhead,
    /// `gateway` is asked to append to all lists, and loses `other` when it answers `client`.
    Decided {
        gateway: u32,
        other: u32,
        client: usize,
    },
    /// `gateway` fell when it had answered, and `other` was not told.
    Reborn {
        gateway: u32,
        other: u32,
    },
    /// The lists that `other` leads are locked, and a script waits at `node` for them.
    Locked {
        node: u32,
        other: u32,
        client: usize,
    },
    /// Writes wait behind it.
    Parked,
    /// The clients do nothing, so that no gateway has a transaction open.
    Hush,
    /// A gateway asks for a transaction, and what it says to one participant takes longer than a
    /// recovery waits.
    Prepares(Late),
    /// It has not heard that participant.
    Undecided(Late),
    /// The other participant has begun a recovery, and its question is on the way.
    Fenced(Late),
    /// One participant has forgotten what was committed, and is about to hear that question.
    Forgotten,
    /// A transaction locks the keys that clients of the leader are about to wait for.
    LocksQueues {
        leader: u32,
        group: GroupId,
    },
    /// Clients of the leader wait for keys.
    Waits {
        leader: u32,
        group: GroupId,
    },
    /// It has fallen, and it is looked so many times more for the next.
    Widowed {
        dead: u32,
        group: GroupId,
        looks: u32,
    },
    /// What they waited for has come at the next leader.
    Served {
        dead: u32,
    },
    /// `guest` is heard by those who hold the group, and does not hear them.
    Unheard {
        guest: u32,
        group: GroupId,
    },
    /// They take snapshots, and start anew.
    Saved {
        guest: u32,
        group: GroupId,
    },
    /// The guest asks the next leader, whose answers take long.
    AsksNext {
        guest: u32,
        group: GroupId,
        looks: u32,
    },
    /// Its connection breaks before it has one.
    AsksTwice {
        guest: u32,
        leader: u32,
    },
    /// Clients of `guest` wait for keys of the group.
    GuestWaits {
        guest: u32,
        group: GroupId,
    },
    /// `leader` believes that `guest` is gone, and its answers take long.
    GuestGone {
        leader: u32,
        group: GroupId,
    },
    /// Another leads, and was asked by the guest; then the answer of the one before has come.
    Overtaken,
    /// `node` is being drained, and looked at so many times more. `lags` hears nothing of it.
    Drained {
        node: u32,
        lags: Option<u32>,
        looks: u32,
    },
    /// A replica has left `node`, which nobody hears, and what clients wait for at `node` comes.
    Left {
        node: u32,
        looks: u32,
    },
    /// `node` is to take its share again, and more than that: the operator says so in some steps.
    Kept {
        node: u32,
        lags: Option<u32>,
        step: usize,
    },
    /// It comes back.
    Returns {
        node: u32,
        lags: Option<u32>,
        looks: u32,
    },
    /// It was asked to write to what has come back, in this life.
    Asked {
        node: u32,
        lives: u64,
        writes: usize,
    },
    /// A follower is cut off, then much is written; then snapshots are taken.
    Lags {
        node: u32,
    },
    LagsFar {
        node: u32,
    },
    /// The clients do nothing, so that no gateway holds anything.
    FirstHush {
        leader: u32,
    },
    /// `leader` is asked to append to this list, and is cut off when it answers `client`.
    FirstWrite {
        leader: u32,
        client: usize,
        list: u64,
    },
    /// Somebody else is elected, and all disks stand still.
    FirstDeposed {
        leader: u32,
        list: u64,
    },
    /// `node` leads, and is heard by its followers; then it is asked for the list.
    FirstLead {
        node: u32,
        list: u64,
    },
    /// The clients do nothing, so that the group of `leader` hibernates.
    Slumber {
        leader: u32,
    },
    /// All faults have ended, clients wait for keys, and the leader changes once more.
    LastOrders,
    /// Until the time is up.
    Rest,
}

/// A write at a new leader, which is read at an old one once it was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    writer: usize,
    key: String,
    old: u32,
}

impl World {
    /// Begins a script, if the cluster is in a state for it.
    pub(crate) fn begin_script(&mut self, evil: Evil) {
        use Evil::{Away, DeadWaiters, Forgetful, LateFence, LeapShards, OneDecided, Overtaken};
        let over_shards = matches!(evil, LeapShards | OneDecided | LateFence | DeadWaiters);
        if over_shards || matches!(evil, Forgetful | Overtaken | Away) {
            return self.gather(evil);
        }
        let well = self
            .machines
            .iter()
            .filter(|one| one.dead.is_none())
            .all(|one| one.is_up() && one.paused_until <= self.now);
        let Some(leader) = self.leader().filter(|_| well && self.plan.nodes >= 3) else { return };
        let nodes = self.nodes();
        let other = |step: u32| (leader - 1 + step) % nodes + 1;
        let step = 1 + self.rng.below(u64::from(nodes) - 1) as u32;
        self.network.mend();
        match evil {
            Evil::FirstCommit => self.stage(Stage::FirstHush { leader }, 150),
            Evil::Slumber => self.stage(Stage::Slumber { leader }, 2_000),
            Evil::Renew => {
                let node = other(step);
                self.cut_only(node);
                self.stage(Stage::Lags { node }, 100);
            }
            Evil::PriorTerm if nodes == 3 => {
                self.isolate(leader);
                self.whisper(leader, &[b"SET", b"whisper", b"1"]);
                self.stage(Stage::PriorDeposed { first: leader }, 4_000);
            }
            Evil::Lease if nodes == 3 => {
                let (keeps, stands) = (other(step), other(3 - step));
                self.cut_both(leader, stands);
                let after = 500 + self.rng.below(500);
                self.stage(Stage::LeaseKept { leader, keeps }, after);
            }
            Evil::LeaseDrift => {
                let most = i64::from(self.plan.drift_ppm / 2) - 100;
                for node in 1..=nodes {
                    let (now, ppm) = (self.now, if node == leader { -most } else { most });
                    self.machine(node).clock.drift(now, ppm);
                }
                self.stage(Stage::DriftBegun { leader }, 700);
            }
            Evil::Leap | Evil::Unanswered => {
                let node = other(step);
                for peer in (1..=nodes).filter(|peer| *peer != node) {
                    self.network.cut(peer, node);
                }
                for client in 0..self.clients().min(3) {
                    let task = self.workload.append(&mut self.rng);
                    self.drive(client, node, task);
                }
                let after = 20 + self.rng.below(150);
                self.stage(Stage::Deaf { node, leaps: evil == Evil::Leap }, after);
            }
            _ => {}
        }
    }

    /// Whoever is down starts; some scripts need all who are there.
    fn gather(&mut self, evil: Evil) {
        self.network.mend();
        let mut all = true;
        for node in 1..=self.nodes() {
            let now = self.now;
            let machine = self.machine(node);
            machine.paused_until = machine.paused_until.min(now);
            if machine.dead.is_none() && !machine.is_up() {
                all = false;
                self.push(self.now, 0, What::Start(node));
            }
        }
        self.stage(Stage::Gathers { evil }, if all { 10 } else { 1_000 });
    }

    /// The next stage, which ends after so many milliseconds if nothing ends it before.
    fn stage(&mut self, stage: Stage, after: u64) {
        self.tell(|| format!("script: {stage:?}"));
        self.cuts += 1;
        self.script = Some(stage);
        self.scripts += 1;
        self.push(self.now + after * MILLISECOND, 0, What::Script(self.scripts));
    }

    fn end_script(&mut self) {
        if self.script.take().is_some() {
            self.tell(|| "script: it ends".to_owned());
            self.cuts += 1;
            self.network.mend();
        }
    }

    fn cut_both(&mut self, one: u32, other: u32) {
        self.network.cut(one, other);
        self.network.cut(other, one);
    }

    /// Cuts one off, and nothing else.
    fn cut_only(&mut self, node: u32) {
        self.network.mend();
        for other in (1..=self.nodes()).filter(|other| *other != node) {
            self.cut_both(node, other);
        }
    }

    /// A node was elected.
    pub(crate) fn script_elected(&mut self, node: u32) {
        if !self.is_chaos() || self.mapping.is_some() {
            return;
        }
        match self.script {
            Some(Stage::PriorDeposed { first }) if node != first => {
                self.cut_only(node);
                self.stage(Stage::PriorAgain { first, second: node }, 4_000);
            }
            Some(Stage::PriorAgain { first, second }) if node == first => {
                self.stage(Stage::PriorCommit { first, second }, 2_000);
            }
            Some(Stage::PriorLast) => self.end_script(),
            Some(Stage::FirstDeposed { leader, list }) if node != leader => {
                self.stalled_until.fill(self.now + 600 * MILLISECOND);
                let after = 80 + self.rng.below(200);
                self.stage(Stage::FirstLead { node, list }, after);
            }
            Some(Stage::LeaseOver) => {
                self.coverage.hit(Mark::ElectedNearLease);
                self.stage(Stage::Rest, 500);
            }
            _ => {}
        }
        let old = self.machines.iter().find(|one| one.id != node && one.leads(self.focus));
        if let Some(old) = old.map(|old| old.id)
            && self.probe.is_none()
            && self.machine(old).is_up()
            && self.rng.one_in(2)
        {
            let key = self.workload.fresh_key();
            let writer = self.idle_client();
            let value = self.workload.value();
            self.probe = Some(Probe { writer, key: key.clone(), old });
            let set = Call::new(Verb::Set, key, vec![value]);
            self.drive(writer, node, Task::plain(set));
        }
    }

    /// A leader has learned that something is agreed.
    pub(crate) fn script_committed(&mut self, node: u32) {
        if let Some(Stage::PriorCommit { first, .. }) = self.script
            && node == first
        {
            self.coverage.hit(Mark::CutAtPriorCommit);
            self.cut_only(first);
            self.stage(Stage::PriorLast, 3_000);
        }
    }

    /// The time of a stage is up.
    pub(crate) fn script_goes_on(&mut self, number: u64) -> Checked {
        if number != self.scripts || !(self.is_chaos() || self.script == Some(Stage::LastOrders)) {
            return Ok(());
        }
        match self.script {
            Some(Stage::LastOrders) => {
                self.script = None;
                if let Some(leader) = self.leader() {
                    self.feed(leader, Event::Leave)?;
                }
            }
            Some(Stage::LeaseKept { leader, keeps }) => {
                self.cut_only(leader);
                self.fall(keeps, false);
                self.push(self.now + MILLISECOND, 0, What::Start(keeps));
                self.stage(Stage::LeaseOver, 1_500);
            }
            Some(Stage::DriftBegun { leader }) => {
                self.cut_only(leader);
                self.stage(Stage::LeaseOver, 1_500);
            }
            Some(Stage::Deaf { node, leaps }) => {
                self.cut_only(node);
                if leaps {
                    self.fill_logs(node);
                    self.stage(Stage::Behind { node }, 700);
                } else {
                    self.coverage.hit(Mark::UnansweredLong);
                    let after = 10_500 + self.rng.below(1_000);
                    self.stage(Stage::Rest, after);
                }
            }
            Some(Stage::Behind { node }) => {
                if let Some(leader) = self.leader().filter(|leader| *leader != node) {
                    self.feed(leader, Event::Leave)?;
                }
                self.stage(Stage::Ahead { node }, 700);
            }
            Some(Stage::Ahead { node }) => {
                self.coverage.hit(Mark::Leapt);
                self.fill_logs(node);
                self.network.mend();
                self.stage(Stage::Rest, 1_000);
            }
            Some(Stage::Served { dead }) => self.look_who_was_served(dead)?,
            Some(stage) if self.mapping.is_some() => self.move_goes_on(stage)?,
            Some(Stage::Gathers { evil }) => {
                self.spread_leaders()?;
                self.stage(Stage::Spread { evil }, 150);
            }
            Some(stage) => self.stage_ends(stage),
            None => {}
        }
        Ok(())
    }

    /// The time of a stage is up that needs nothing of any node.
    fn stage_ends(&mut self, stage: Stage) {
        match stage {
            Stage::Spread { evil: Evil::LeapShards } => self.begin_leap_over_shards(),
            Stage::Spread { evil: Evil::LateFence } => self.stage(Stage::Hush, HUSH_TIME),
            Stage::Hush => self.begin_late_fence(),
            Stage::Reborn { gateway, other } => self.begin_anew(gateway, other),
            Stage::Prepares(late) => self.second_is_asked(late),
            Stage::Spread { evil: Evil::DeadWaiters } => self.begin_dead_waiters(),
            Stage::Spread { .. } => self.begin_one_decided(),
            Stage::Undecided(late) => self.fence_is_sent(late),
            Stage::Fenced(late) => self.forget_at_one(late),
            Stage::LocksQueues { leader, group } => self.wait_for_keys(leader, group),
            Stage::Waits { leader, group } => self.leader_falls(leader, group),
            Stage::Widowed { dead, group, looks } => self.push_at_next(dead, group, looks),
            Stage::Slumber { leader } => self.cut_off_asleep(leader),
            Stage::FirstHush { leader } => self.write_first(leader),
            Stage::FirstLead { node, list } => self.read_first(node, list),
            Stage::Locked { node, other, client } => self.write_behind(node, other, client),
            Stage::Parked | Stage::Forgotten => self.stage(Stage::Rest, 500),
            Stage::Lags { node } => {
                self.fill_logs(node);
                self.stage(Stage::LagsFar { node }, 300);
            }
            Stage::LagsFar { node } => {
                self.fill_logs(node);
                self.network.mend();
                self.stage(Stage::Rest, 1_000);
            }
            Stage::ShardsBehind { gateway } => {
                self.fill_shards(gateway);
                self.stage(Stage::ShardsFull { gateway }, 300);
            }
            Stage::ShardsFull { gateway } => {
                for node in (1..=self.nodes()).filter(|node| *node != gateway) {
                    self.want_snapshot(node);
                }
                self.stage(Stage::ShardsAhead, 400);
            }
            Stage::ShardsAhead => {
                self.coverage.hit(Mark::LeaptOverShards);
                self.network.mend();
                self.stage(Stage::Rest, 2_000);
            }
            _ => self.end_script(),
        }
    }

    /// Do the clients do nothing at the moment?
    pub(crate) fn is_hushed(&self) -> bool {
        let hushed = matches!(
            self.script,
            Some(
                Stage::Slumber { .. }
                    | Stage::FirstHush { .. }
                    | Stage::FirstWrite { .. }
                    | Stage::FirstDeposed { .. }
                    | Stage::FirstLead { .. }
                    | Stage::Locked { .. }
                    | Stage::Parked
                    | Stage::Reborn { .. }
                    | Stage::Hush
                    | Stage::Prepares(_)
                    | Stage::Undecided(_)
                    | Stage::Fenced(_)
                    | Stage::Forgotten
            )
        );
        hushed && self.is_chaos()
    }

    /// The leader of a group that hibernates is gone, and nobody in the group looks for it.
    fn cut_off_asleep(&mut self, leader: u32) {
        let focus = self.focus;
        let group = self.machine(leader).running.as_ref().and_then(|one| one.group(focus));
        if !group.is_some_and(node::Group::hibernates) || !self.begin_lull(Some(leader)) {
            return self.end_script();
        }
        self.coverage.hit(Mark::CutInHibernation);
        self.cut_only(leader);
        let after = (LULL_SETTLE + 2 * LULL_ANSWER).as_millis() as u64;
        self.stage(Stage::Rest, after);
    }

    fn write_first(&mut self, leader: u32) {
        let focus = self.focus;
        if !self.machine(leader).leads(focus) {
            return self.end_script();
        }
        let (client, list) = (self.idle_client(), self.rng.below(4));
        let [append, _] = self.workload.append_to(list);
        self.drive(client, leader, append);
        self.stage(Stage::FirstWrite { leader, client, list }, 500);
    }

    /// A node answers a client. What it has said to the others in the same turn, they do not hear.
    pub(crate) fn script_answers(&mut self, node: u32, client: usize, said: &[u8]) {
        match self.script {
            Some(Stage::FirstWrite { leader, client: asks, list })
                if (node, client) == (leader, asks) =>
            {
                self.cut_only(leader);
                self.stage(Stage::FirstDeposed { leader, list }, 2_500);
            }
            Some(Stage::Decided { gateway, other, client: asks })
                if (node, client) == (gateway, asks) && said.contains(&b'*') =>
            {
                // All that was before EXEC is answered at once.
                self.one_has_decided(gateway, other);
            }
            _ => {}
        }
    }

    fn read_first(&mut self, node: u32, list: u64) {
        let focus = self.focus;
        if self.machine(node).leads(focus) {
            self.coverage.hit(Mark::ReadBeforeFirstCommit);
            for reader in 0..self.clients().min(READERS) {
                let [_, read] = self.workload.append_to(list);
                self.drive(reader, node, read);
            }
        }
        self.stage(Stage::Rest, 800);
    }

    /// The faults are about to end: some clients wait, and must hear of what comes then.
    pub(crate) fn last_orders(&mut self) {
        self.script = None;
        if self.rng.one_in(2) {
            return;
        }
        for client in 0..self.clients().min(3) {
            let node = 1 + self.rng.below(u64::from(self.nodes())) as u32;
            let task = self.workload.wait();
            if self.machine(node).is_up() {
                self.drive(client, node, task);
            }
        }
        self.stage(Stage::LastOrders, 100);
    }

    /// More than a log keeps for those that lag is written, and snapshots are taken.
    fn fill_logs(&mut self, but: u32) {
        let much = vec![b'x'; 8 * 1024];
        for node in (1..=self.nodes()).filter(|node| *node != but) {
            let focus = self.focus;
            if self.machine(node).leads(focus) {
                self.whisper(node, &[b"SET", b"whisper", &much]);
            }
            self.want_snapshot(node);
        }
    }

    /// A client that has nothing open, or the first.
    fn idle_client(&self) -> usize {
        self.clients.iter().position(|client| client.busy.is_none()).unwrap_or(0)
    }

    /// An operation has ended. If it was a probe's write, its reads follow.
    pub(crate) fn probe_ended(&mut self, client: usize, is_done: bool) {
        let Some(Probe { writer, key, old }) = self.probe.take() else { return };
        if writer != client {
            self.probe = Some(Probe { writer, key, old });
            return;
        }
        if !is_done || !self.is_chaos() {
            return;
        }
        self.coverage.hit(Mark::ReadAtOldLeader);
        let readers = (0..self.clients()).filter(|one| *one != client).take(READERS);
        for reader in readers.collect::<Vec<_>>() {
            let get = Call::new(Verb::Get, key.clone(), Vec::<Datum>::new());
            self.drive(reader, old, Task::plain(get));
        }
    }
}

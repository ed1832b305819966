//! What always holds between the replicas, whatever the network and the disks did (Raft paper,
//! figure 3): looked at after each step.
//!
//! ```text
//! memory    the log as the replica has handed it to its disk
//! durable   the log as the disk has it: what a commit of the log has returned for
//! ```
//!
//! A promise is checked when it is made: a vote or an acknowledgement that leaves a node must be
//! backed by its durable log at that moment, not only if chance makes a crash follow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use std::ops::{Index, IndexMut};

use consensus::{Config, Entry, EntryKind, Envelope, NodeId, Record, Role, Status, Term};
use node::{GroupId, Map};

use super::members::{self, config_of};

/// What an entry is, for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    term: u64,
    hash: u64,
}

impl Known {
    fn of(entry: &Entry) -> Known {
        let kind = entry.kind as u64;
        Known { term: entry.term.0, hash: stdx::hash_bytes(kind, &entry.data) }
    }
}

/// A log from `base` on.
#[derive(Clone, Debug)]
struct Mirror {
    base: u64,
    entries: VecDeque<Known>,
    /// Who agrees, and from which entry on. The first stands at `base`.
    configs: Vec<(u64, Config)>,
}

impl Mirror {
    /// An empty log behind `base`.
    fn new(base: u64, config: Config) -> Mirror {
        Mirror { base, entries: VecDeque::new(), configs: vec![(base, config)] }
    }

    /// Who agrees, by the newest entry that says so.
    fn config(&self) -> &Config {
        &self.configs.last().expect("the first is never cut off").1
    }

    fn last(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    fn get(&self, index: u64) -> Option<Known> {
        let at = index.checked_sub(self.base + 1)?;
        self.entries.get(at as usize).copied()
    }

    /// True if something else stood there or behind it.
    fn put(&mut self, entry: &Entry) -> bool {
        let (index, known) = (entry.index.0, Known::of(entry));
        assert!(index > self.base, "what a snapshot covers is not written again: {index}");
        assert!(index <= self.last() + 1, "a log has no gaps: {index}");
        let at = (index - self.base - 1) as usize;
        let cuts = at < self.entries.len() && self.entries[at] != known;
        self.entries.truncate(at);
        self.entries.push_back(known);
        self.configs.retain(|(from, _)| *from < index);
        self.configs.extend(config_of(entry).map(|config| (index, config)));
        cuts
    }

    /// Holds the entry, or a snapshot of it.
    fn holds(&self, index: u64, known: Known) -> bool {
        index <= self.base || self.get(index) == Some(known)
    }
}

/// What is known of one node.
#[derive(Debug)]
struct View {
    /// Who agrees, as far as it knows, if its log is empty.
    founding: Config,
    memory: Mirror,
    durable: Mirror,
    vote: (u64, Option<u32>),
    /// Handed to the disk and not known to be durable.
    pending: VecDeque<(u64, Vec<Record>)>,
    /// Entries from here on became durable last, with one write.
    batch: u64,
    /// What was durable and a later leader has replaced: the term of that leader, and the last index.
    replaced: Vec<(u64, u64)>,
    commit: u64,
    /// It voted for somebody in this turn.
    voted: bool,
    /// It was told to leave the group: its data may be gone at any moment.
    leaves: bool,
}

/// What a disk has lost of what was durable on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    Nothing,
    /// Entries that were written last: damage to them looks as if power had failed.
    Tail,
    /// What nothing excuses, if the replica does not know of it.
    More,
}

impl View {
    fn new(founding: Config) -> View {
        let log = Mirror::new(0, founding.clone());
        View {
            founding,
            memory: log.clone(),
            durable: log,
            vote: (0, None),
            pending: VecDeque::new(),
            batch: 0,
            replaced: Vec::new(),
            commit: 0,
            voted: false,
            leaves: false,
        }
    }
}

/// What a node found on its disk.
#[derive(Debug, Default)]
pub(crate) struct OnDisk {
    /// There is a replica.
    pub(crate) here: bool,
    /// It has lost something, and knows it.
    pub(crate) faulty: bool,
    pub(crate) term: u64,
    pub(crate) vote: Option<u32>,
    pub(crate) snapshot: (u64, u64),
    pub(crate) entries: Vec<Entry>,
}

/// Those of all groups.
#[derive(Debug)]
pub(crate) struct AllReplicas {
    of_shards: Vec<Replicas>,
    /// Of the group that keeps the map, if there is one.
    of_map: Option<Replicas>,
}

impl AllReplicas {
    /// Empty logs of so many groups, all on nodes 1 to `nodes`.
    pub(crate) fn new(nodes: u32, shards: u32) -> AllReplicas {
        let all: BTreeSet<NodeId> = (1..=nodes).map(NodeId).collect();
        let of_shards = (0..shards).map(|_| Replicas::new(nodes, &all)).collect();
        AllReplicas { of_shards, of_map: None }
    }

    /// Empty logs of the groups of a cluster that begins, each where its first map says.
    pub(crate) fn of_map(map: &Map) -> AllReplicas {
        let nodes = map.members().len() as u32;
        let found = |group: GroupId| Replicas::new(nodes, &map.wanted_in(group));
        let of_shards = (0..map.shards().count() as u32).map(|shard| found(GroupId(shard)));
        AllReplicas { of_shards: of_shards.collect(), of_map: Some(found(GroupId::META)) }
    }

    /// The groups.
    pub(crate) fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        let meta = self.of_map.is_some().then_some(GroupId::META);
        (0..self.of_shards.len() as u32).map(GroupId).chain(meta)
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Replicas> {
        self.of_shards.iter_mut().chain(&mut self.of_map)
    }

    /// A new node, with an empty disk.
    pub(crate) fn join(&mut self, node: u32) {
        self.each().for_each(|replicas| replicas.join(node));
    }

    /// A disk has lost something: any group may have.
    pub(crate) fn broken(&mut self, node: u32) {
        self.each().for_each(|replicas| replicas.broken.push(node));
    }

    /// It turned out that nothing is missing.
    pub(crate) fn mended(&mut self, node: u32) {
        self.each().for_each(|one| one.broken.retain(|broken| *broken != node));
    }

    /// Does any group lack something on this node?
    pub(crate) fn is_broken(&self, node: u32) -> bool {
        self.of_shards.iter().chain(&self.of_map).any(|one| one.broken.contains(&node))
    }

    /// A node starts from this: what is not there any more, at worst? A group whose loss is known is
    /// repaired; the others have all that they had.
    pub(crate) fn started(&mut self, node: u32, found: &[(GroupId, OnDisk)]) -> Loss {
        let mut worst = Loss::Nothing;
        let known = found.iter().any(|(_, one)| one.faulty);
        for (group, found) in found {
            let replicas = &mut self[*group];
            worst = worst.max(replicas.started(node, found));
            if known && !found.faulty {
                replicas.broken.retain(|broken| *broken != node);
            }
        }
        worst
    }
}

impl Index<GroupId> for AllReplicas {
    type Output = Replicas;

    fn index(&self, group: GroupId) -> &Replicas {
        match &self.of_map {
            Some(replicas) if group == GroupId::META => replicas,
            _ => &self.of_shards[group.0 as usize],
        }
    }
}

impl IndexMut<GroupId> for AllReplicas {
    fn index_mut(&mut self, group: GroupId) -> &mut Replicas {
        match &mut self.of_map {
            Some(replicas) if group == GroupId::META => replicas,
            _ => &mut self.of_shards[group.0 as usize],
        }
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Replicas {
    views: BTreeMap<u32, View>,
    /// What the group has agreed on; `committed[0]` is entry 1.
    committed: Vec<Known>,
    /// The term in which whoever first knew each of them to be agreed was.
    agreed_in: Vec<Term>,
    /// Who agrees, by the group's own agreement, and from which entry on.
    configs: Vec<(u64, Config)>,
    leaders: BTreeMap<Term, u32>,
    votes: BTreeMap<(u32, Term), NodeId>,
    hashes: BTreeMap<(u64, u64), u64>,
    digests: BTreeMap<u64, u64>,
    /// Disks whose owner may have forgotten what it said; they are not asked any more.
    pub(crate) broken: Vec<u32>,
}

type Checked = Result<(), String>;

impl Replicas {
    /// Empty logs on nodes 1 to `nodes`, of which these founded the group.
    pub(crate) fn new(nodes: u32, founders: &BTreeSet<NodeId>) -> Replicas {
        let founding = Config::of(founders.iter().copied());
        let view = |node: u32| match founders.contains(&NodeId(node)) {
            true => View::new(founding.clone()),
            false => View::new(Config::default()),
        };
        Replicas {
            views: (1..=nodes).map(|node| (node, view(node))).collect(),
            committed: Vec::new(),
            agreed_in: Vec::new(),
            configs: vec![(0, founding)],
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            hashes: BTreeMap::new(),
            digests: BTreeMap::new(),
            broken: Vec::new(),
        }
    }

    /// A new node, with an empty disk, that no configuration has named yet.
    pub(crate) fn join(&mut self, node: u32) {
        let before = self.views.insert(node, View::new(Config::default()));
        assert!(before.is_none(), "the number of a node is never used again: {node}");
    }

    /// Who agrees, as the group has agreed.
    pub(crate) fn config(&self) -> &Config {
        &self.configs.last().expect("the founders are never taken back").1
    }

    /// That, and whatever came after it in some log: any of these may be what counts.
    pub(crate) fn configs_in_force(&self) -> Vec<&Config> {
        let agreed = self.configs.last().map_or(0, |(index, _)| *index);
        let logs = self.views.values().flat_map(|view| &view.memory.configs);
        let later = logs.filter(|(index, _)| *index > agreed).map(|(_, config)| config);
        [self.config()].into_iter().chain(later).collect()
    }

    /// Who agreed at this entry. Nobody has agreed on entry 0: that is where each began.
    fn config_at(&self, node: u32, index: u64) -> Config {
        if index == 0 {
            return self.views[&node].founding.clone();
        }
        let found = self.configs.iter().rev().find(|(from, _)| *from <= index);
        found.map(|(_, config)| config.clone()).unwrap_or_default()
    }

    fn view(&mut self, node: u32) -> &mut View {
        self.views.get_mut(&node).expect("nodes are known from the beginning")
    }

    /// How many entries are agreed.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.len() as u64
    }

    /// The last entry that this node handed to its disk.
    pub(crate) fn last_of(&self, node: u32) -> u64 {
        self.views[&node].memory.last()
    }

    /// Where in the log of this node a change of members stands that is under way.
    pub(crate) fn change_of(&self, node: u32) -> Option<u64> {
        let (index, config) = self.views[&node].memory.configs.last()?;
        config.is_joint().then_some(*index)
    }

    /// A replica hands records to its disk. True if they cut off some of its log.
    pub(crate) fn saving(
        &mut self,
        node: u32,
        number: u64,
        records: &[Record],
    ) -> Result<bool, String> {
        let mut cuts = false;
        for record in records {
            let Record::Entry(entry) = record else { continue };
            let known = Known::of(entry);
            let place = (entry.index.0, entry.term.0);
            let hash = *self.hashes.entry(place).or_insert(known.hash);
            if hash != known.hash {
                return Err(format!("two entries at {place:?}: node {node} has another one"));
            }
            let view = self.view(node);
            if entry.index.0 <= view.commit && view.memory.get(entry.index.0) != Some(known) {
                return Err(format!("node {node} replaces its committed entry {place:?}"));
            }
            cuts |= view.memory.put(entry);
            if entry.kind == EntryKind::Config {
                members::check_change(node, &view.memory.configs)?;
            }
        }
        self.view(node).pending.push_back((number, records.to_vec()));
        Ok(cuts)
    }

    /// All saves up to `number` are durable.
    pub(crate) fn saved(&mut self, node: u32, number: u64) {
        let view = self.view(node);
        view.batch = view.durable.last() + 1;
        while view.pending.front().is_some_and(|(one, _)| *one <= number) {
            let Some((_, records)) = view.pending.pop_front() else { break };
            for record in records {
                match record {
                    Record::Vote { term, vote } => {
                        view.vote = (term.0, vote.map(|node| node.0));
                    }
                    Record::Entry(entry) => {
                        view.batch = view.batch.min(entry.index.0);
                        let last = view.durable.last();
                        if view.durable.put(&entry) {
                            view.replaced.push((entry.term.0, last));
                        }
                    }
                }
            }
        }
    }

    /// A replica leaves its group: some agreed configuration must be without it.
    pub(crate) fn leaves(&mut self, node: u32) -> Checked {
        let config = self.config();
        let counts = |voters: &BTreeSet<NodeId>| voters.contains(&NodeId(node));
        if counts(&config.voters) || counts(&config.outgoing) {
            return Err(format!("node {node} gives up its replica, and counts in {config:?}"));
        }
        let view = self.view(node);
        view.leaves = true;
        view.memory = Mirror::new(0, Config::default());
        view.commit = 0;
        Ok(())
    }

    /// Nothing of a replica is left but its vote.
    fn left(&mut self, node: u32) {
        self.broken.retain(|broken| *broken != node);
        let view = self.view(node);
        (view.founding, view.leaves, view.commit) = (Config::default(), false, 0);
        view.replaced.clear();
        view.durable = Mirror::new(0, Config::default());
        view.memory = view.durable.clone();
        for (_, records) in &mut view.pending {
            records.retain(|record| !matches!(record, Record::Entry(_)));
        }
    }

    /// The log on the disk is void: a snapshot stands for it, or the replica has left.
    pub(crate) fn reset(&mut self, node: u32, index: u64) {
        if index == 0 && self.views[&node].leaves {
            return self.left(node);
        }
        let config = self.config_at(node, index);
        let view = self.view(node);
        view.durable = Mirror::new(index, config);
        for (_, records) in &mut view.pending {
            records.retain(|record| !matches!(record, Record::Entry(_)));
        }
    }

    /// A leader's snapshot has taken the place of the state.
    pub(crate) fn installed(&mut self, node: u32, index: u64, term: u64) -> Checked {
        let agreed = index.checked_sub(1).and_then(|at| self.committed.get(at as usize));
        if agreed.is_none_or(|agreed| agreed.term != term) {
            return Err(format!("node {node} installed a snapshot of {index} that is not agreed"));
        }
        let config = self.config_at(node, index);
        let view = self.view(node);
        view.memory = Mirror::new(index, config);
        view.commit = view.commit.max(index);
        Ok(())
    }

    /// A node starts from this: what is not there any more?
    pub(crate) fn started(&mut self, node: u32, found: &OnDisk) -> Loss {
        let view = self.view(node);
        let empty = view.durable.last() == 0 && view.founding == Config::default();
        if !found.here && (view.leaves || empty) {
            let vote = (found.term, found.vote);
            let votes = vote >= view.vote && (vote.0 > view.vote.0 || view.vote.1.is_none())
                || vote == view.vote;
            view.vote = vote;
            view.pending.clear();
            self.left(node);
            return if votes { Loss::Nothing } else { Loss::More };
        }
        self.view(node).leaves = false;
        let base = found.snapshot.0;
        let mut mirror = Mirror::new(base, self.config_at(node, base));
        for entry in &found.entries {
            mirror.put(entry);
        }
        let view = self.view(node);
        let touched = view.pending.iter().flat_map(|(_, records)| records).filter_map(|record| {
            let Record::Entry(entry) = record else { return None };
            Some(entry.index.0)
        });
        let untouched = touched.min().unwrap_or(u64::MAX);
        let old = &view.durable;
        // A snapshot that was installed, with a crash before the log was voided: what came behind an entry
        // that it contradicts was never agreed.
        let voided = old.get(base).is_some_and(|known| known.term != found.snapshot.1);
        let last = if voided { base } else { old.last() };
        let kept = (old.base + 1..=last).take_while(|index| *index < untouched);
        let lost = |index: &u64| old.get(*index).is_some_and(|known| !mirror.holds(*index, known));
        let lost = kept.into_iter().find(lost);
        let vote = (found.term, found.vote);
        let votes = vote.0 > view.vote.0 || vote == view.vote || view.vote.1.is_none();
        let votes = votes && vote.0 >= view.vote.0;
        let loss = match lost {
            _ if found.faulty => Loss::Nothing,
            None if votes => Loss::Nothing,
            Some(index) if votes && index >= view.batch => Loss::Tail,
            _ => Loss::More,
        };
        view.memory = mirror.clone();
        view.durable = mirror;
        view.vote = vote;
        view.pending.clear();
        view.commit = base;
        view.voted = false;
        view.batch = view.durable.last() + 1;
        view.replaced.clear();
        loss
    }

    /// A message leaves: is what it says durable?
    pub(crate) fn sent(&mut self, node: u32, envelope: &Envelope) -> Checked {
        use consensus::Message;
        let term = envelope.term;
        match &envelope.message {
            Message::VoteReply { pre: false, granted: true } => {
                let candidate = envelope.target;
                let vote = *self.votes.entry((node, term)).or_insert(candidate);
                if vote != candidate {
                    return Err(format!(
                        "node {node} votes for {vote:?} and {candidate:?} in {term:?}"
                    ));
                }
                self.view(node).voted = true;
                let durable = self.views[&node].vote;
                if durable.0 < term.0 || (durable.0 == term.0 && durable.1 != Some(candidate.0)) {
                    return Err(format!(
                        "node {node} shows a vote in {term:?} that is not durable"
                    ));
                }
            }
            Message::AppendReply { result: Ok(matched), .. } => {
                self.acknowledged(node, term.0, *matched)?;
            }
            Message::SnapshotReply { snapshot, done: true, .. } => {
                self.acknowledged(node, term.0, *snapshot)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// To a leader of an earlier term it may say what was true before a later one replaced it: what
    /// that one lacks, those who elected it do not have, and accept no more from the earlier.
    fn acknowledged(&self, node: u32, term: u64, index: consensus::Index) -> Checked {
        let view = &self.views[&node];
        let last = view.durable.last();
        let was = |(by, last): &(u64, u64)| *by > term && *last >= index.0;
        if index.0 > last && !view.replaced.iter().any(was) {
            return Err(format!("node {node} acknowledges {index:?}, and only {last} is durable"));
        }
        Ok(())
    }

    /// After a step: who leads, what is agreed. True if there is a new leader.
    pub(crate) fn stepped(&mut self, node: u32, status: &Status) -> Result<bool, String> {
        let mut is_new = false;
        if status.role == Role::Leader {
            let leader = *self.leaders.entry(status.term).or_insert_with(|| {
                is_new = true;
                node
            });
            if leader != node {
                return Err(format!("nodes {leader} and {node} both lead in {:?}", status.term));
            }
            if is_new {
                self.elected(node, status)?;
                self.complete(node, status.term)?;
            }
        }
        let voted = std::mem::take(&mut self.view(node).voted);
        if voted && status.faulty {
            return Err(format!("node {node} votes, and lacks what it had acknowledged"));
        }
        let before = self.views[&node].commit;
        for index in before + 1..=status.commit.0 {
            self.agreed(node, status.term, index)?;
        }
        self.view(node).commit = before.max(status.commit.0);
        self.look_at_members(node, status)?;
        Ok(is_new)
    }

    /// A majority of each side has voted for it in its term.
    fn elected(&self, node: u32, status: &Status) -> Checked {
        let (leader, term) = (NodeId(node), status.term);
        let votes = |voter: &&NodeId| {
            **voter == leader || self.votes.get(&(voter.0, term)) == Some(&leader)
        };
        for voters in [&status.config.voters, &status.config.outgoing] {
            let count = voters.iter().filter(votes).count();
            if !voters.is_empty() && count * 2 <= voters.len() {
                return Err(format!("node {node} leads in {term:?} by {count} of {voters:?}"));
            }
        }
        Ok(())
    }

    /// The configuration is the one that the log tells, and a leader changes one at a time.
    fn look_at_members(&self, node: u32, status: &Status) -> Checked {
        let memory = &self.views[&node].memory;
        if *status.config != *memory.config() {
            return Err(format!(
                "node {node} goes by {:?}, and its log says {:?}",
                status.config,
                memory.config()
            ));
        }
        let before = memory.configs.len().checked_sub(2).map_or(0, |at| memory.configs[at].0);
        if status.role == Role::Leader && before > self.committed() {
            return Err(format!(
                "node {node} changes the members again before change {before} is agreed"
            ));
        }
        Ok(())
    }

    /// Leader completeness: it has all that was agreed in earlier terms. What a later leader has agreed on
    /// says nothing about one whose votes come late, though it may be older than both.
    fn complete(&self, node: u32, term: Term) -> Checked {
        /// Looking at all of them each time would be slow, and the tail is where it goes wrong.
        const LOOK_BACK: usize = 200;
        let memory = &self.views[&node].memory;
        for (at, known) in self.committed.iter().enumerate().rev().take(LOOK_BACK) {
            let index = at as u64 + 1;
            if self.agreed_in[at] < term && !memory.holds(index, *known) {
                return Err(format!("node {node} leads in {term:?} without agreed entry {index}"));
            }
        }
        Ok(())
    }

    /// A node believes that this entry is agreed: the same one as everybody, and on a quorum.
    fn agreed(&mut self, node: u32, term: Term, index: u64) -> Checked {
        let view = &self.views[&node];
        let Some(known) = view.memory.get(index) else {
            return if index <= view.memory.base {
                Ok(())
            } else {
                Err(format!("node {node} commits entry {index}, which it does not have"))
            };
        };
        if let Some(agreed) = self.committed.get(index as usize - 1) {
            if *agreed != known {
                return Err(format!("node {node} commits another entry {index}: {known:?}"));
            }
            return Ok(());
        }
        if index as usize != self.committed.len() + 1 {
            return Err(format!("node {node} commits {index}, and nobody the one before"));
        }
        let durable = |member: &&NodeId| {
            self.broken.contains(&member.0)
                || self.views.get(&member.0).is_some_and(|view| view.durable.holds(index, known))
        };
        let holders: BTreeSet<NodeId> =
            self.views.keys().map(|node| NodeId(*node)).filter(|node| durable(&node)).collect();
        // A leader may have appended the next configuration in the same turn.
        let from = view.memory.configs.partition_point(|(from, _)| *from <= index);
        let configs = &view.memory.configs[from.saturating_sub(1)..];
        if !configs.iter().any(|(_, config)| members::is_quorum(config, &holders)) {
            return Err(format!(
                "node {node} commits entry {index}, durable on {holders:?}, by {configs:?}"
            ));
        }
        let config = view.memory.configs.iter().find(|(at, _)| *at == index).cloned();
        self.configs.extend(config);
        self.committed.push(known);
        self.agreed_in.push(term);
        Ok(())
    }

    /// The state of a node that has applied `index`. True if there was another to compare it with.
    pub(crate) fn digest(&mut self, node: u32, index: u64, digest: u64) -> Result<bool, String> {
        match self.digests.insert(index, digest) {
            None => Ok(false),
            Some(other) if other == digest => Ok(true),
            Some(_) => {
                Err(format!("node {node} has another state than others after entry {index}"))
            }
        }
    }
}

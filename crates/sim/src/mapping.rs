//! Clusters with a map: machines that come and go, what operators ask for, and what must follow.
//!
//! ```text
//! chance ─▶ SYNOD.NODE …, SYNOD.REBALANCE, at any node, several at once
//!              ADD ─▶ a machine waits at that address, and asks to be taken in, again and again
//!                       ─▶ a map that knows it ─▶ it starts, with an empty disk and that map
//! a new map at a node ─▶ kept on its disk ─▶ links end, a node that is taken out ends
//! ```
//!
//! What always holds: there is one map of each version, a node's never goes back, and nobody takes
//! the place of a node whose data is gone. A node is forgotten only when no group counts on it. In the
//! end everything is where the newest map wants it, and nothing is left elsewhere.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use consensus::{Config, NodeId};
use node::{Event, GroupId, Identity, Map, Standing};

use crate::coverage::Mark;
use crate::limits::NODES_MAX;
use crate::machine::{Calling, Machine, addr_of, founding_map};
use crate::plan::{Evil, Mapped, SHORT_STALL};
use crate::world::{Checked, Phase, World};

/// A machine that asks to be taken in.
#[derive(Clone, Debug)]
struct Comer {
    addr: String,
    identity: Identity,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// The newest that any node knows.
    pub(crate) map: Arc<Map>,
    versions: BTreeMap<u64, Arc<Map>>,
    /// The newest that each life of a node has shown.
    shown: BTreeMap<(u32, u64), u64>,
    replace_after: Duration,
    comers: Vec<Comer>,
    invited: u32,
    /// Everything is where it ought to be.
    pub(crate) placed: bool,
}

impl Mapping {
    /// A cluster that begins.
    pub(crate) fn new(nodes: u32, shards: u32, mapped: Mapped) -> Mapping {
        let map = founding_map(nodes, shards, mapped.replicas);
        Mapping {
            versions: [(map.version(), map.clone())].into(),
            map,
            shown: BTreeMap::new(),
            replace_after: mapped.replace_after,
            comers: Vec::new(),
            invited: nodes,
            placed: false,
        }
    }

    /// What its founders were told.
    pub(crate) fn founder(&self) -> Calling {
        Calling::Mapped { first: self.map.clone(), replace_after: self.replace_after }
    }

    /// Those who have come, and were not taken out.
    fn members(&self) -> impl Iterator<Item = (NodeId, Standing)> {
        let came = self.map.members().iter().filter(|(_, member)| member.identity.is_some());
        came.map(|(node, member)| (*node, member.standing))
    }

    /// Takes note of a map that a node knows by now.
    fn note(&mut self, node: u32, life: u64, map: &Arc<Map>) -> Result<bool, String> {
        let version = map.version();
        let shown = self.shown.insert((node, life), version);
        if shown.is_some_and(|shown| shown >= version) {
            return Err(format!("the map of node {node} goes from {shown:?} back to {version}"));
        }
        let known = self.versions.entry(version).or_insert_with(|| map.clone());
        if known != map {
            return Err(format!("node {node} has another map of version {version}"));
        }
        if version <= self.map.version() {
            return Ok(false);
        }
        for (id, member) in self.map.members() {
            let before = member.identity;
            let after = map.members().get(id).map(|member| member.identity);
            if before.is_some() && after.is_some_and(|after| after != before) {
                return Err(format!("somebody took the place of {id:?}"));
            }
        }
        self.map = map.clone();
        Ok(true)
    }
}

impl World {
    /// An operator asks for something, or two do.
    pub(crate) fn want_change(&mut self) {
        if !self.is_chaos() {
            return;
        }
        let count = 1 + u64::from(self.rng.one_in(3));
        for _ in 0..count {
            let Some(words) = self.draw_change() else { continue };
            let Some(node) = self.draw_awake() else { continue };
            self.tell(|| format!("at node {node} an operator says {words}"));
            let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
            self.whisper(node, &words);
        }
    }

    fn draw_awake(&mut self) -> Option<u32> {
        let awake = self.machines.iter().filter(|machine| machine.is_awake(self.now));
        let awake: Vec<u32> = awake.map(|machine| machine.id).collect();
        self.draw_from(&awake)
    }

    fn draw_from(&mut self, nodes: &[u32]) -> Option<u32> {
        let at = self.rng.below(nodes.len().max(1) as u64) as usize;
        nodes.get(at).copied()
    }

    fn draw_change(&mut self) -> Option<String> {
        let mapping = self.mapping.as_ref()?;
        let members: Vec<(NodeId, Standing)> = mapping.members().collect();
        let nodes = |fits: &dyn Fn(u32, Standing) -> bool| -> Vec<u32> {
            let fitting = members.iter().filter(|(node, standing)| fits(node.0, *standing));
            fitting.map(|(node, _)| node.0).collect()
        };
        let is_dead = |node: u32| self.machines[node as usize - 1].dead.is_some();
        let dead = nodes(&|node, _| is_dead(node));
        let active = nodes(&|_, standing| standing == Standing::Active);
        let idle = nodes(&|_, standing| standing != Standing::Active);
        let harms =
            [Evil::Rot, Evil::ReadErrorAtStart, Evil::LoseVote, Evil::Misdirect, Evil::Wipe];
        let careful = self.plan.evils.iter().any(|evil| harms.contains(evil));
        if let Some(dead) = self.draw_from(&dead)
            && self.rng.one_in(2)
        {
            return match self.rng.below(3) {
                0 => Some(format!("SYNOD.NODE DRAIN {dead}")),
                1 => Some(format!("SYNOD.NODE REMOVE {dead}")),
                _ => self.invite(&format!(" REPLACES {dead}")),
            };
        }
        let kinds = if self.plan.calm.is_some() { 9 } else { 13 };
        match self.rng.below(kinds) {
            0 | 1 => self.invite(""),
            2 | 3 => Some("SYNOD.REBALANCE".to_owned()),
            4 => {
                let least = if careful { 3 } else { 1 };
                let replicas = least + self.rng.below(6 - least);
                Some(format!("SYNOD.REBALANCE REPLICAS {replicas}"))
            }
            5 | 6 => Some(format!("SYNOD.NODE DRAIN {}", self.draw_from(&active)?)),
            7 => Some(format!("SYNOD.NODE KEEP {}", self.draw_from(&idle)?)),
            // Whose clients lose their connections.
            9 | 10 => Some(format!("SYNOD.NODE REMOVE {}", self.draw_from(&idle)?)),
            11 => {
                let old = self.draw_from(&active)?;
                self.invite(&format!(" REPLACES {old}"))
            }
            _ => {
                let (node, weight) = (self.draw_from(&active)?, 1 + self.rng.below(3));
                let zone = ["a", "b"][self.rng.below(2) as usize];
                Some(format!("SYNOD.NODE SET {node} WEIGHT {weight} ZONE {zone}"))
            }
        }
    }

    /// A machine more, if there is room for it.
    fn invite(&mut self, rest: &str) -> Option<String> {
        let mapping = self.mapping.as_mut()?;
        if mapping.invited >= NODES_MAX {
            return None;
        }
        mapping.invited += 1;
        let (addr, identity) = (addr_of(100 + mapping.invited), [mapping.invited as u8; 16]);
        mapping.comers.push(Comer { addr: addr.clone(), identity });
        Some(format!("SYNOD.NODE ADD {addr}{rest}"))
    }

    /// What goes on in a cluster with a map, ten times a second.
    pub(crate) fn operate_mapped(&mut self) -> Checked {
        if self.is_chaos() && self.script.is_none() && self.rng.one_in(40) {
            self.want_change();
        }
        if let Some(stall) = self.plan.calm.filter(|_| self.is_chaos()) {
            self.stall_some_link(stall);
            // Who lags by then gets one, and leaps over what its clients have asked for. Where leaders
            // change one may lead that has just leapt itself, and remembers nothing.
            if stall <= SHORT_STALL && self.rng.one_in(5) {
                self.want_snapshots();
            }
        }
        let comers = self.mapping.as_ref().map(|mapping| mapping.comers.clone());
        for comer in comers.unwrap_or_default() {
            self.ask_to_come(&comer)?;
        }
        if self.phase == Phase::Reading {
            let placed = self.misplaced().is_none();
            self.mapping.iter_mut().for_each(|mapping| mapping.placed = placed);
        }
        Ok(())
    }

    /// What one node says to another is held up for a while, as if one of them had much to do.
    fn stall_some_link(&mut self, stall: u64) {
        let nodes = u64::from(self.nodes());
        let [source, target] = [(); 2].map(|()| 1 + self.rng.below(nodes) as u32);
        self.network.mend();
        if source != target && self.rng.one_in(10) {
            let by = self.rng.below(stall);
            self.tell(|| format!("node {target} hears node {source} {by} ns later"));
            self.network.slow_down(source, target, by);
        }
    }

    /// A machine asks some node to be taken in, until it has been.
    fn ask_to_come(&mut self, comer: &Comer) -> Checked {
        let Some(asked) = self.draw_awake() else { return Ok(()) };
        let Some(map) = self.machine(asked).map().cloned() else { return Ok(()) };
        let Some((node, member)) = map.by_addr(&comer.addr) else { return Ok(()) };
        let Comer { addr, identity } = comer.clone();
        if member.identity.is_none() {
            return self.feed(asked, Event::Came { addr, identity });
        }
        let Some(mapping) = &mut self.mapping else { return Ok(()) };
        mapping.comers.retain(|one| one.addr != addr);
        if member.identity == Some(identity) {
            let calling =
                Calling::Mapped { first: map.clone(), replace_after: mapping.replace_after };
            let mut machine = Machine::new(node.0, calling, self.seed);
            machine.follow(&self.plan);
            self.tell(|| format!("node {} has come", node.0));
            self.coverage.hit(Mark::NodeCame);
            self.make_room(node.0);
            machine.life = self.machine(node.0).life + 1;
            *self.machine(node.0) = machine;
            self.push(self.now, 0, crate::world::What::Start(node.0));
        }
        Ok(())
    }

    /// There is a place for each node that a map names, though nobody may have come yet.
    pub(crate) fn make_room_for(&mut self, map: &Map) {
        self.make_room(map.members().keys().last().map_or(0, |node| node.0));
    }

    /// There is a place for each number of a node up to this one.
    fn make_room(&mut self, node: u32) {
        while self.nodes() < node {
            let node = self.nodes() + 1;
            assert!(node <= NODES_MAX, "not more are invited than there is room for");
            let Some(mapping) = &self.mapping else { return };
            let mut machine = Machine::new(node, mapping.founder(), self.seed);
            machine.dead = Some("nobody has come".to_owned());
            self.machines.push(machine);
            self.replicas.join(node);
            for other in 1..node {
                self.network.break_link(node, other);
                self.network.break_link(other, node);
            }
        }
    }

    /// A node calls another one that is in its map: they show each other what maps they have, and the
    /// newer one holds for both.
    pub(crate) fn show_maps(&mut self, source: u32, target: u32) -> Checked {
        let map = |node: u32| self.machines.get(node as usize - 1).and_then(Machine::map).cloned();
        let (Some(ours), Some(theirs)) = (map(source), map(target)) else { return Ok(()) };
        if !ours.members().contains_key(&NodeId(target)) {
            return Ok(());
        }
        match ours.version().cmp(&theirs.version()) {
            Ordering::Less => self.feed(source, Event::Shown { map: theirs }),
            Ordering::Greater => self.feed(target, Event::Shown { map: ours }),
            Ordering::Equal => Ok(()),
        }
    }

    /// Does each of these let the other in?
    pub(crate) fn may_link(&self, source: u32, target: u32) -> bool {
        let lets_in = |one: u32, other: u32| {
            let map = self.machines.get(one as usize - 1).and_then(Machine::map);
            map.is_some_and(|map| {
                let member = map.members().get(&NodeId(other));
                member.is_some_and(|member| member.identity.is_some())
            })
        };
        self.mapping.is_none() || lets_in(source, target) && lets_in(target, source)
    }

    /// A node notes what replicas have come to it in a turn, before anything else. False if it died of it.
    pub(crate) fn admit(&mut self, node: u32, turn: &mut node::Effects) -> bool {
        for group in &turn.joined {
            self.tell(|| format!("node {node} joins {group:?}"));
            self.coverage.hit(Mark::ReplicaJoined);
            if self.strikes_at(node, self.plan.directed.in_install) {
                let operations = self.rng.below(8);
                self.machine(node).disk.halt_after(operations);
            }
            self.script_joined(node, *group);
        }
        let now = self.now;
        let machine = self.machine(node);
        let (moment, disk) = (machine.moment(now), machine.disk.clone());
        let Some(running) = &mut machine.running else { return false };
        let Err(error) = running.admit(moment, &disk, turn) else { return true };
        self.tell(|| format!("node {node} cannot note what it has: {error}"));
        self.die_of_disk(node, Mark::PowerFailedInJoin);
        false
    }

    fn die_of_disk(&mut self, node: u32, mark: Mark) {
        if self.machine(node).disk.has_halted() {
            self.power_fails(node, mark);
        } else {
            self.fall(node, false);
        }
    }

    /// A node has another map. False if that was its end.
    pub(crate) fn follow(&mut self, node: u32, map: &Arc<Map>) -> Result<bool, String> {
        let life = self.machine(node).life;
        let Some(mapping) = &mut self.mapping else { return Ok(true) };
        let before = mapping.map.clone();
        if mapping.note(node, life, map)? {
            self.tell(|| format!("node {node} knows map {}: {}", map.version(), shown(map)));
            self.check_forgotten(&before, map)?;
        }
        let disk = self.machine(node).disk.clone();
        if server::presence::keep_map(&disk, map).is_err() && disk.has_halted() {
            self.power_fails(node, Mark::PowerFailedInCommit);
            return Ok(false);
        }
        if !map.members().contains_key(&NodeId(node)) {
            self.coverage.hit(Mark::NodeRetired);
            self.bury(node, "it was taken out")?;
            return Ok(false);
        }
        for other in 1..=self.nodes() {
            if other != node && !map.members().contains_key(&NodeId(other)) {
                self.network.break_link(node, other);
                self.network.break_link(other, node);
                self.peer_down(node, other)?;
            }
        }
        Ok(true)
    }

    /// Nobody is forgotten whom a group counts on.
    fn check_forgotten(&self, before: &Map, after: &Map) -> Checked {
        let gone = before.members().keys().filter(|node| !after.members().contains_key(node));
        for node in gone {
            for group in self.replicas.groups() {
                let Config { voters, outgoing, .. } = self.replicas[group].config();
                if voters.contains(node) || outgoing.contains(node) {
                    return Err(format!("{node:?} is forgotten, and {group:?} counts on it"));
                }
            }
        }
        Ok(())
    }

    /// Evils are about this group from here on.
    pub(crate) fn refocus(&mut self) {
        if self.mapping.is_some() {
            let groups: Vec<GroupId> = self.replicas.groups().collect();
            self.focus = groups[self.rng.below(groups.len() as u64) as usize];
        }
    }

    /// May the disk of this node lose something? One at a time, and a majority of each group must be
    /// left, of those that are wanted as well.
    pub(crate) fn may_harm_mapped(&self, node: u32) -> bool {
        let Some(mapping) = &self.mapping else { return false };
        let node = NodeId(node);
        let counts = |node: NodeId| {
            let named = |group: GroupId| {
                let configs = self.replicas[group].configs_in_force();
                let wanted = mapping.map.wants(node, group);
                wanted || configs.iter().any(|config| config.contains(node))
            };
            self.replicas.groups().any(named)
        };
        let mut others = self.machines.iter().filter(|other| other.id != node.0);
        if others.any(|other| other.is_harmed() && counts(NodeId(other.id))) {
            return false;
        }
        let spares = |voters: &BTreeSet<NodeId>| !voters.contains(&node) || voters.len() > 2;
        self.replicas.groups().all(|group| {
            let configs = self.replicas[group].configs_in_force();
            let mut sides = configs.iter().flat_map(|config| [&config.voters, &config.outgoing]);
            sides.all(spares) && spares(&mapping.map.wanted_in(group))
        })
    }

    /// A machine without its data comes under the address that it had: nobody may take it for what it
    /// was.
    pub(crate) fn come_without_data(&mut self, node: u32) -> Checked {
        let addr = self.mapping.as_ref().and_then(|mapping| {
            let member = mapping.map.members().get(&NodeId(node))?;
            Some(member.addr.clone())
        });
        let Some(addr) = addr else { return Ok(()) };
        let Some(asked) = self.draw_awake() else { return Ok(()) };
        self.coverage.hit(Mark::CameWithoutData);
        self.feed(asked, Event::Came { addr, identity: [255; 16] })
    }

    /// Nobody asks for anything any more.
    pub(crate) fn end_changes(&mut self) -> Checked {
        let Some(mapping) = &self.mapping else { return Ok(()) };
        let map = mapping.map.clone();
        for node in 1..=self.nodes() {
            let gone = !map.members().contains_key(&NodeId(node));
            if gone && self.machine(node).dead.is_none() {
                self.bury(node, "it was taken out, and did not hear of it")?;
            }
        }
        Ok(())
    }

    /// What is not where the newest map wants it.
    pub(crate) fn misplaced(&self) -> Option<String> {
        let mapping = self.mapping.as_ref()?;
        let map = &mapping.map;
        let members: Vec<&Machine> =
            mapping.members().map(|(node, _)| &self.machines[node.0 as usize - 1]).collect();
        let is_dead = |node: &NodeId| self.machines[node.0 as usize - 1].dead.is_some();
        for machine in members.iter().filter(|machine| machine.dead.is_none()) {
            let Some(running) = &machine.running else {
                return Some(format!("node {} is down", machine.id));
            };
            let core = running.front.core();
            if core.map().version() != map.version() {
                return Some(format!("node {} knows an old map", machine.id));
            }
            if let Some((doubt, shards)) = core.doubts().first() {
                return Some(format!("{doubt:?} is not decided in {shards:?}"));
            }
        }
        for group in map.groups() {
            let wanted = map.wanted_in(group);
            // Who is to take the place of one that is gone for good, an operator has to say.
            if wanted.iter().any(is_dead) {
                continue;
            }
            let Config { voters, outgoing, learners } = self.replicas[group].config();
            if *voters != wanted || !outgoing.is_empty() || !learners.is_empty() {
                return Some(format!(
                    "{group:?} is on {voters:?} {outgoing:?} {learners:?}, and wanted on {wanted:?}"
                ));
            }
            for machine in members.iter().filter(|machine| machine.dead.is_none()) {
                let has = machine.running.as_ref().is_some_and(|one| one.group(group).is_some());
                if has && !wanted.contains(&NodeId(machine.id)) {
                    return Some(format!("node {} still holds {group:?}", machine.id));
                }
            }
        }
        None
    }
}

/// A map in a few words.
fn shown(map: &Map) -> String {
    let members =
        map.members().iter().map(|(node, member)| format!("{} {}", node.0, member.standing));
    let groups = map.groups().map(|group| {
        let wanted: Vec<String> =
            map.wanted_in(group).iter().map(|node| node.0.to_string()).collect();
        wanted.join(" ")
    });
    let (members, groups): (Vec<String>, Vec<String>) = (members.collect(), groups.collect());
    format!("{}; {}", members.join(", "), groups.join(" | "))
}

//! What this node knows of the others, and what it tells them: who is alive, how far they are, what
//! they lead.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus::{Index, NodeId, Term};
use keyspace::Publish;
use stdx::Instant;

use super::Core;
use crate::effects::Effects;
use crate::group::Group;
use crate::latency::slow_from;
use crate::limits::{FILLING_LAG, HEALTH_TIMEOUT, REQUEST_TIMEOUT, WATCH_TIMEOUT};
use crate::map::Standing;
use crate::message::{GroupId, Health, Leads, Message};
use crate::request::Moment;
use crate::seat::{Seat, Word};
use crate::suspicion::Detector;

/// What this node knows of another.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    pub health: Health,
    pub(super) heard: Option<Instant>,
    /// Since when it has been silent for too long.
    pub(super) silent: Option<Instant>,
    pub(super) detector: Detector,
}

/// A group, as a node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub group: GroupId,
    pub leader: Option<NodeId>,
    pub term: Term,
    /// All who receive its log.
    pub members: BTreeSet<NodeId>,
    /// Bytes of its newest snapshot; 0 before there was one.
    pub bytes: u64,
    /// Its leader says so. Else it is only what this node's replica, or the map, would have.
    pub is_told: bool,
}

impl Peer {
    /// What it says of a group, if it leads that.
    pub(super) fn says(&self, seat: &Seat) -> Option<&Leads> {
        self.health.leads.iter().find(|leads| leads.group == seat.id())
    }

    pub(super) fn is_alive(&self, now: Instant) -> bool {
        self.heard.is_some_and(|at| now.since(at) < HEALTH_TIMEOUT)
    }
}

impl Core {
    /// This node and the others, each with whether it is alive.
    pub fn nodes(&self, now: Instant) -> Vec<(NodeId, Health, bool)> {
        let others = self.peers.iter();
        let told = |(node, peer): (&NodeId, &Peer)| {
            let mut health = peer.health.clone();
            if let Some(member) = self.map.members().get(node).filter(|_| health.addr.is_empty()) {
                health.addr.clone_from(&member.addr);
            }
            (*node, health, peer.is_alive(now))
        };
        let mut nodes: Vec<_> = others.map(told).collect();
        nodes.push((self.node, self.own_health(now), true));
        nodes.sort_by_key(|(node, ..)| *node);
        nodes
    }

    /// Each shard as this node knows it: as its leader says, or else by its own replica or the map.
    pub fn parts(&self, now: Instant) -> impl Iterator<Item = Part> {
        self.seats().iter().map(move |seat| self.part(now, seat))
    }

    /// The same, and the group of the map last.
    pub fn all_parts(&self, now: Instant) -> impl Iterator<Item = Part> {
        self.all_seats().map(move |seat| self.part(now, seat))
    }

    fn part(&self, now: Instant, seat: &Seat) -> Part {
        let (group, leader) = (seat.id(), seat.leader());
        if let Some(Leads { term, members, bytes, .. }) = self.word_on(now, seat) {
            return Part { group, leader, term, members, bytes, is_told: true };
        }
        let (term, members, bytes) = match seat.member().filter(|member| member.is_voter()) {
            Some(member) => {
                (member.standing().1, member.config().members(), member.snapshot_bytes())
            }
            None => (Term(0), self.map.wanted_in(group), 0),
        };
        Part { group, leader, term, members, bytes, is_told: false }
    }

    /// What the leader of a group says of it; nothing if it was not heard lately, or has only begun to
    /// lead.
    fn word_on(&self, now: Instant, seat: &Seat) -> Option<Leads> {
        let leader = || self.peers.get(&seat.leader()?).filter(|peer| peer.is_alive(now));
        let word = seat.leads_whom().or_else(|| leader()?.says(seat).cloned());
        word.filter(|leads| !leads.members.is_empty())
    }

    /// Is another node alive?
    pub fn is_alive(&self, now: Instant, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.is_alive(now))
    }

    /// Sends a message to the subscribers of every other node.
    pub fn publish(&mut self, publish: &[Publish], out: &mut Effects) {
        for peer in self.peers.keys() {
            out.send.push((*peer, Message::Publish(publish.to_vec())));
        }
    }

    /// Sends what groups that are led here have published to the subscribers of nodes that have no
    /// replica of them.
    pub(super) fn publish_abroad(&mut self, out: &mut Effects) {
        let mut lists: BTreeMap<NodeId, Vec<Publish>> = BTreeMap::new();
        for of_group in out.abroad.chunk_by(|(one, _), (other, _)| one == other) {
            let members = self.member(of_group[0].0).map(|member| member.config().members());
            let members = members.unwrap_or_default();
            for peer in self.peers.keys().filter(|peer| !members.contains(peer)) {
                let publish = of_group.iter().map(|(_, publish)| publish.clone());
                lists.entry(*peer).or_default().extend(publish);
            }
        }
        out.abroad.clear();
        for (peer, list) in lists {
            out.send.push((peer, Message::Publish(list)));
        }
    }

    pub(super) fn own_health(&self, now: Instant) -> Health {
        let applied = self.replicas().map(|group| (group.id(), group.applied())).collect();
        let leads = self.seats.used().filter_map(|(_, seat)| seat.leads_whom()).collect();
        let free = self.free().collect();
        let (map, delay) = (self.map.version(), self.latency.at(now));
        let unsteady = self.unsteady(now);
        Health { applied, free, leads, map, delay, unsteady, ..self.own.clone() }
    }

    /// The groups whose replicas here are not to be here, and may go as far as clients are concerned.
    fn free(&self) -> impl Iterator<Item = GroupId> {
        let free = self.seats.used().filter(|(_, seat)| seat.is_free());
        let unwanted = |group: &GroupId| self.moves && !self.map.wants(self.node, *group);
        free.map(|(_, seat)| seat.id()).filter(unwanted)
    }

    /// May another node's replica of a group that is led here go? It may if no client of that node waits
    /// for what it has asked of that replica, and when all who may have waited have given up.
    pub(super) fn may_go(&self, now: Instant, node: NodeId, group: &Group) -> bool {
        let (at, since) = group.agreed();
        let standing = self.map.members().get(&node).map(|member| member.standing);
        if standing == Some(Standing::Lost) || now.since(since) >= REQUEST_TIMEOUT {
            return true;
        }
        let Some(Peer { health, .. }) = self.peers.get(&node) else { return true };
        match health.applied.iter().find(|(id, _)| *id == group.id()) {
            Some((_, applied)) => *applied >= at && health.free.contains(&group.id()),
            None => health.map >= self.map.version(),
        }
    }

    /// The nodes that this one hears of, and irregularly.
    fn unsteady(&self, now: Instant) -> Vec<NodeId> {
        let is_unsteady = |peer: &Peer| peer.is_alive(now) && peer.detector.is_unsteady(now);
        let peers = self.peers.iter().filter(|(_, peer)| is_unsteady(peer));
        peers.map(|(node, _)| *node).collect()
    }

    /// The nodes that could take over: alive, and with room on their disks.
    pub(super) fn able(&self, now: Instant) -> BTreeSet<NodeId> {
        let able = self.peers.iter().filter(|(_, peer)| peer.is_alive(now) && !peer.health.full);
        able.map(|(node, _)| *node).collect()
    }

    /// The disk has no room for the log, or has it again.
    pub(super) fn disk_full(&mut self, moment: Moment, full: bool, out: &mut Effects) {
        let begins = full && !self.own.full;
        self.own.full = full;
        let members = self.seats.inform_all().filter_map(Seat::member_mut);
        members.for_each(|group| group.set_disk_full(moment.now, full));
        if begins {
            self.hand_over_if_full(moment, out);
        }
    }

    /// The log may not grow by as much again as it has, or may again.
    pub(super) fn disk_low(&mut self, low: bool) {
        self.disk_low = low;
        let members = self.seats.inform_all().filter_map(Seat::member_mut);
        members.for_each(|group| group.set_disk_low(low));
    }

    /// A node without room offers its places again: whoever they were offered to has not taken them.
    pub(super) fn hand_over_if_full(&mut self, moment: Moment, out: &mut Effects) {
        if !self.own.full {
            return;
        }
        let able = self.able(moment.now);
        self.seats.each_awake(|seat| {
            if let Some(member) = seat.member_mut() {
                member.hand_over(moment, &able, out);
            }
        });
    }

    /// The nodes that had better not lead: without room, far slower than most, or heard of so irregularly by most of
    /// the others that they are about to be taken for dead.
    pub(super) fn unfit(&self, now: Instant) -> BTreeSet<NodeId> {
        let own = (self.node, self.latency.at(now), self.own.full, self.unsteady(now));
        let others = self.peers.iter().filter(|(_, peer)| peer.is_alive(now));
        let others = others.map(|(node, Peer { health, .. })| {
            (*node, health.delay, health.full, health.unsteady.clone())
        });
        let alive: Vec<_> = others.chain([own]).collect();
        let slow_from = slow_from(alive.iter().map(|(_, delay, ..)| *delay).collect());
        let is_unfit = |&(node, delay, full, _): &(NodeId, Duration, bool, Vec<NodeId>)| {
            let doubters = alive.iter().filter(|(.., unsteady)| unsteady.contains(&node)).count();
            full || delay >= slow_from || doubters * 2 >= alive.len()
        };
        alive.iter().filter(|one| is_unfit(one)).map(|one| one.0).collect()
    }

    /// The nodes to which groups come that they have not yet, or of whose logs they lack much: what they are
    /// busy with the clients of what they lead would wait for.
    pub(super) fn filling(&self) -> BTreeSet<NodeId> {
        let is_filling = |(node, peer): &(&NodeId, &Peer)| {
            let applied: BTreeMap<_, _> = peer.health.applied.iter().copied().collect();
            let lacks = |seat: &Seat| {
                applied.get(&seat.id()).is_none_or(|at| at.0 + FILLING_LAG < seat.floor().0)
            };
            let comes = |seat: &&Seat| self.map.wants(**node, seat.id()) && seat.leader().is_some();
            self.seats.iter().filter(comes).any(lacks)
        };
        self.peers.iter().filter(is_filling).map(|(node, _)| *node).collect()
    }

    /// Tells the others at once if this node leads other groups than before, for whoever has no replica
    /// of one waits for that; or if replicas may go for which others wait.
    pub(super) fn tell_what_leads(&mut self, moment: Moment, out: &mut Effects) {
        let map = self.map.version();
        if self.seats.take_news() | (std::mem::replace(&mut self.told, map) != map) {
            self.tell_health(moment, out);
        }
    }

    pub(super) fn tell_health(&self, moment: Moment, out: &mut Effects) {
        let health = self.own_health(moment.now);
        for peer in self.peers.keys() {
            out.send.push((*peer, Message::Health(health.clone())));
        }
    }

    /// Hibernating groups do not watch each other: it is done for all of them here.
    pub(super) fn watch(&mut self, moment: Moment, out: &mut Effects) {
        let heard = |peer: &Peer| peer.heard.is_some_and(|at| moment.now.since(at) < WATCH_TIMEOUT);
        let silent = self.peers.iter().filter(|(_, peer)| !heard(peer));
        let silent: Vec<NodeId> = silent.map(|(node, _)| *node).collect();
        if silent.is_empty() {
            return;
        }
        self.seats.each_awake(|seat| {
            if let Some(member) = seat.member_mut() {
                member.watch(moment, &silent, out);
            }
        });
    }

    /// Peers that fell silent: their clients wait no longer for keys.
    pub(super) fn mourn(&mut self, moment: Moment) {
        for (node, peer) in &mut self.peers {
            if peer.is_alive(moment.now) {
                peer.silent = None;
                continue;
            }
            peer.silent = peer.silent.or(Some(moment.now));
            if peer.heard.take().is_some() {
                self.seats.inform_all().for_each(|seat| seat.peer_gone(moment, *node));
            }
        }
    }

    pub(super) fn hear_health(
        &mut self,
        moment: Moment,
        source: NodeId,
        health: Health,
        out: &mut Effects,
    ) {
        for member in self.seats.tell_all().filter_map(Seat::member_mut) {
            member.peer_heard(source, health.boot);
        }
        for (group, applied) in &health.applied {
            if let Some(place) = self.place_of(*group) {
                self.seats.tell(place).hear_applied(*applied);
            }
        }
        for leads in &health.leads {
            let Some(place) = self.place_of(leads.group) else { continue };
            // One with a newer map may want this node where the map here does not.
            let behind = health.map > self.map.version() || !self.moves;
            let wanted = behind || self.map.wants(self.node, leads.group);
            let applied = health.applied.iter().find(|(group, _)| *group == leads.group);
            let applied = applied.map_or(Index(0), |(_, applied)| *applied);
            let word = Word { leads, applied, wanted };
            self.seats.inform(place).hear_leader(moment, source, &word, out);
        }
        if health.map < self.map.version() {
            out.send.push((source, Message::Map(self.map.clone())));
        }
        if let Some(peer) = self.peers.get_mut(&source) {
            peer.detector.hear(moment.now);
            peer.health = health;
        }
    }
}

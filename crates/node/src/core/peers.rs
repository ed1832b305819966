//! What this node knows of the others, and what it tells them: who is alive, how far they are, what
//! they lead.

use std::collections::BTreeSet;

use consensus::{Index, NodeId};
use keyspace::Publish;
use stdx::Instant;

use super::Core;
use crate::effects::Effects;
use crate::limits::HEALTH_TIMEOUT;
use crate::message::{GroupId, Health, Leads, Message};
use crate::request::Moment;
use crate::seat::{Seat, Word};

/// What this node knows of another.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    pub health: Health,
    pub(super) heard: Option<Instant>,
    /// Since when it has been silent for too long.
    pub(super) silent: Option<Instant>,
}

/// A group, as a node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub group: GroupId,
    pub leader: Option<NodeId>,
    pub term: consensus::Term,
    /// All who receive its log.
    pub members: BTreeSet<NodeId>,
    /// Bytes of its newest snapshot; 0 before there was one.
    pub bytes: u64,
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
    /// How many replicas a node has, as the leaders of all groups say; nothing if one of them was not
    /// heard lately.
    pub fn replicas_of(&self, now: Instant, node: NodeId) -> Option<usize> {
        let has = |seat: &Seat| {
            let says =
                |leads: &Leads| (!leads.members.is_empty()).then(|| leads.members.contains(&node));
            match seat.leads_whom() {
                Some(leads) => says(&leads),
                None => says(self.leader_of(seat).filter(|peer| peer.is_alive(now))?.says(seat)?),
            }
        };
        let has: Option<Vec<bool>> = self.all_seats().map(has).collect();
        has.map(|has| has.into_iter().filter(|has| *has).count())
    }

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

    /// Each shard as this node knows it, by its own replica or by what the others say.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        self.seats().iter().map(|seat| self.part(seat))
    }

    /// The same, and the group of the map last.
    pub fn all_parts(&self) -> impl Iterator<Item = Part> {
        self.all_seats().map(|seat| self.part(seat))
    }

    /// The other node that leads a group, if it is known.
    pub(super) fn leader_of(&self, seat: &Seat) -> Option<&Peer> {
        self.peers.get(&seat.leader()?)
    }

    /// Is another node alive?
    pub(super) fn is_alive(&self, now: Instant, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.is_alive(now))
    }

    pub(super) fn part(&self, seat: &Seat) -> Part {
        let (group, leader) = (seat.id(), seat.leader());
        if let Some(member) = seat.member().filter(|member| member.is_voter()) {
            let (term, members) = (member.standing().1, member.config().members());
            return Part { group, leader, term, members, bytes: member.snapshot_bytes() };
        }
        match self.leader_of(seat).and_then(|leader| leader.says(seat)) {
            Some(Leads { term, members, bytes, .. }) if !members.is_empty() => {
                Part { group, leader, term: *term, members: members.clone(), bytes: *bytes }
            }
            _ => {
                let members = self.map.wanted_in(group);
                Part { group, leader, term: consensus::Term(0), members, bytes: 0 }
            }
        }
    }

    /// Sends a message to the subscribers of every other node.
    pub fn publish(&mut self, publish: &[Publish], out: &mut Effects) {
        for peer in self.peers.keys() {
            out.send.push((*peer, Message::Publish(publish.to_vec())));
        }
    }

    pub(super) fn own_health(&self, now: Instant) -> Health {
        let applied = self.replicas().map(|group| (group.id(), group.applied())).collect();
        let leads = self.seats.awake().filter_map(|(_, seat)| seat.leads_whom()).collect();
        let (map, disk) = (self.map.version(), self.latency.at(now));
        Health { applied, leads, map, disk, ..self.own.clone() }
    }

    /// Tells the others at once if this node leads other groups than before: whoever has no replica
    /// of one waits for that.
    pub(super) fn tell_what_leads(&mut self, moment: Moment, out: &mut Effects) {
        let mut led = 0_u64;
        for (_, seat) in self.seats.awake().filter(|(_, seat)| seat.leads()) {
            let term = seat.member().map_or(0, |member| member.standing().1.0);
            led = led.wrapping_mul(31).wrapping_add(term << 17 | u64::from(seat.id().0) << 1 | 1);
        }
        if led != self.led {
            self.led = led;
            self.tell_health(moment, out);
        }
    }

    pub(super) fn tell_health(&self, moment: Moment, out: &mut Effects) {
        let health = self.own_health(moment.now);
        for peer in self.peers.keys() {
            out.send.push((*peer, Message::Health(health.clone())));
        }
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
        for member in self.seats.inform_all().filter_map(Seat::member_mut) {
            member.peer_heard(source, health.boot);
        }
        for (group, applied) in &health.applied {
            if let Some(place) = self.place_of(*group) {
                self.seats.inform(place).hear_applied(*applied);
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
            peer.health = health;
        }
    }
}

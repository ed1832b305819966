//! Links: messages between nodes on their way, and connections that are made anew.

use bytes::Bytes;
use consensus::{NodeId, Role, Status, Term};
use node::{Event, GroupId, Message};

use super::{Checked, What, World};
use crate::coverage::Mark;
use crate::limits::REDIAL_INTERVAL;
use crate::network::Arrival;

/// How many votes are held back at a time.
const LATE_VOTES_MAX: usize = 16;

/// A vote that is held back.
#[derive(Debug)]
pub(crate) struct LateVote {
    group: GroupId,
    term: Term,
    arrival: Arrival,
}

impl World {
    /// `delay`: how long it takes, if nothing comes between.
    pub(super) fn send(
        &mut self,
        source: u32,
        target: NodeId,
        message: &Message,
        delay: u64,
    ) -> Checked {
        if let Message::Consensus { group, envelope } = message {
            self.replicas[*group].sent(source, envelope)?;
        }
        let forwards = matches!(message, Message::Forward { .. });
        if forwards {
            self.coverage.hit(Mark::Forwarded);
        }
        let says = match message {
            Message::Consensus { envelope, .. } => Some(&envelope.message),
            _ => None,
        };
        let votes = matches!(says, Some(consensus::Message::VoteReply { pre: false, .. }));
        let part = matches!(says, Some(consensus::Message::Snapshot { .. }));
        let strict = !matches!(message, Message::Consensus { .. });
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let (at, target) = (self.now, target.0);
        let sent = Arrival { at, source, target, bytes: Bytes::from(bytes) };
        let arrivals = self.network.send(&mut self.rng, &mut self.coverage, sent, delay, strict);
        for mut arrival in arrivals {
            if votes && self.strikes_at(source, self.plan.directed.echo) {
                self.coverage.hit(Mark::VoteLate);
                if self.late_votes.len() < LATE_VOTES_MAX
                    && self.rng.one_in(2)
                    && let Message::Consensus { group, envelope } = message
                {
                    let (group, term) = (*group, envelope.term);
                    self.late_votes.push(LateVote { group, term, arrival });
                    continue;
                }
                arrival.at += 200_000_000 + self.rng.below(800_000_000);
            }
            if part && self.strikes_at(source, self.plan.directed.echo) {
                self.coverage.hit(Mark::SnapshotEchoed);
                let at = arrival.at + self.rng.below(2_000_000_000);
                self.push(at, 0, What::Message(Arrival { at, ..arrival.clone() }));
            }
            self.push(arrival.at, 0, What::Message(arrival));
        }
        Ok(())
    }

    /// A node stands for election: now it gets the votes of earlier terms.
    pub(super) fn release_votes(&mut self, node: u32, group: GroupId, status: &Status) {
        if status.role != Role::Candidate || self.late_votes.is_empty() {
            return;
        }
        let now = self.now;
        let comes = |vote: &mut LateVote| {
            vote.arrival.target == node && vote.group == group && vote.term < status.term
        };
        let comes: Vec<LateVote> = self.late_votes.extract_if(.., comes).collect();
        for LateVote { arrival, .. } in comes {
            self.coverage.hit(Mark::VoteForLater);
            let at = now + self.rng.below(200_000);
            self.push(at, 0, What::Message(Arrival { at, ..arrival }));
        }
    }

    pub(super) fn arrived(&mut self, arrival: Arrival) -> Checked {
        let Arrival { source, target, bytes, .. } = arrival;
        if self.network.is_cut(source, target) {
            self.coverage.hit(Mark::MessageLost);
            self.network.break_link(source, target);
            return Ok(());
        }
        let message = Message::decode(&bytes).map_err(|error| format!("a message: {error}"))?;
        self.feed(target, Event::Recv { source: NodeId(source), message })
    }

    /// The connection that `node` sends to `other` over ends, and `other` sees it unless the way is
    /// cut.
    pub(crate) fn hang_up(&mut self, node: u32, other: u32) {
        self.network.break_link(node, other);
        if node != other && !self.network.is_cut(node, other) && self.machine(other).is_up() {
            let delay = self.network.draw_delay(&mut self.rng);
            self.push_node(other, delay, What::PeerDown { node: other, peer: node });
        }
    }

    pub(crate) fn peer_down(&mut self, node: u32, peer: u32) -> Checked {
        self.feed(node, Event::PeerDown(NodeId(peer)))
    }

    /// Connections that broke are made anew.
    pub(super) fn dial(&mut self) -> Checked {
        let now = self.now;
        for (source, target) in self.network.dialable() {
            if self.life_awake(source).is_none() || self.life_awake(target).is_none() {
                continue;
            }
            self.show_maps(source, target)?;
            if !self.may_link(source, target) {
                continue;
            }
            let lives = (self.life_awake(source), self.life_awake(target));
            let (Some(source_life), Some(target_life)) = lives else { continue };
            self.network.repair(source, target);
            self.linked(source, target, target_life)?;
            self.linked(target, source, source_life)?;
        }
        self.push(now + REDIAL_INTERVAL.as_nanos() as u64, 0, What::Dial);
        Ok(())
    }

    /// The life that a node is in, if it runs and is not paused.
    fn life_awake(&mut self, node: u32) -> Option<u64> {
        let now = self.now;
        let machine = self.machine(node);
        (machine.is_up() && machine.paused_until <= now).then_some(machine.life)
    }

    pub(super) fn linked(&mut self, node: u32, peer: u32, life: u64) -> Checked {
        let known = self.lives_known.insert((node, peer), life);
        if known.is_some_and(|known| known != life) {
            self.feed(node, Event::PeerReborn(NodeId(peer)))?;
        }
        self.feed(node, Event::PeerUp(NodeId(peer)))
    }
}

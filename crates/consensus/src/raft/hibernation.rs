//! Hibernation: a group that nobody uses costs nothing.
//!
//! A leader that was asked for nothing for a while, and whose peers all have the whole log and were
//! heard just now, beats once more and says that this was the last time. From then on no replica of
//! the group has a deadline. Nothing of safety rests on that: a lease ends by itself, so the first
//! read goes through a round, and terms and votes are what they were.
//!
//! What is given up is that replicas watch each other. The nodes do that instead, for all groups at
//! once: when the node of a member falls silent, those on the other nodes wake ([`Event::Wake`]), and
//! have a full election timeout before them. Everything that is asked of a replica wakes it too, and a
//! leader wakes its followers by the first word. Whoever misses that word stands for election some
//! time, is refused by those that hibernate as by those in a lease, and so wakes the leader.
//!
//! CockroachDB's quiescent ranges and TiKV's hibernate regions are the models; both have watches on
//! nodes. Neither the paper nor the thesis has this.

use stdx::{Instant, mark};

use super::progress::{Flow, Peer};
use super::replica::{Replica, State};
use crate::replica::{Event, Index, Message, NodeId};

/// Does this end a hibernation? Time does not, nor what is left over of the work before it.
pub(super) fn wakes(event: &Event) -> bool {
    match event {
        Event::Tick | Event::Saved(_) | Event::Applied(_) | Event::Compact(_) | Event::Flush => {
            false
        }
        Event::Recv(envelope) => !matches!(
            envelope.message,
            Message::HeartbeatReply { .. }
                | Message::AppendReply { .. }
                | Message::SnapshotReply { .. }
                | Message::VoteReply { .. }
        ),
        _ => true,
    }
}

impl Replica {
    /// As a leader: is there nothing to do, and everybody well?
    pub(super) fn may_hibernate(&mut self, now: Instant) -> bool {
        let Some(after) = self.options.hibernate_after else { return false };
        let (last, timeout) = (self.log.last(), self.options.election_timeout);
        let saved = self.log.saved();
        let settled = !self.configs.current().is_joint();
        let Some((leader, view)) = self.leading(now) else { return false };
        if leader.idle.0 != last {
            leader.idle = (last, now);
        }
        let well = |peer: &Peer| {
            let heard = peer.heard.is_some_and(|at| now.since(at) < timeout);
            let waits_for_nothing =
                matches!(&peer.flow, Flow::Replicate { inflight } if inflight.is_empty());
            heard && waits_for_nothing && peer.matched == last && peer.leaves.is_none()
        };
        let hibernates = now.since(leader.idle.1) >= after
            && view.commit == last
            && saved == last
            && settled
            && leader.transfer.is_none()
            && leader.reads.is_empty()
            && !leader.peers.is_empty()
            && leader.peers.iter().all(well);
        if hibernates {
            mark!("a group hibernates");
        }
        hibernates
    }

    /// The leader's last word for now. Whoever has something left to learn is not meant.
    pub(super) fn hibernate_behind(&mut self, leader: NodeId, commit: Index) {
        let follows = self.leader() == Some(leader) && !self.is_installing();
        let has_all = self.commit == commit && self.log.last() == commit;
        self.hibernates = follows && has_all && self.faulty.is_none();
    }

    /// Something has happened: the clocks run again, all from the beginning. `spoken`: another replica
    /// has said something, so there is no reason to think that the leader is gone.
    pub(super) fn wake(&mut self, now: Instant, spoken: bool) {
        self.hibernates = false;
        if spoken {
            self.heard = Some(now);
        }
        match &mut self.state {
            State::Leader(leader) => {
                mark!("a leader wakes its group");
                leader.rounds.revive(now);
                leader.heartbeat_at = now;
                leader.idle.1 = now;
            }
            State::Follower { .. } | State::Candidate(_) => self.reset_election(now),
        }
    }
}

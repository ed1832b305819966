//! Who leads, and who lives: what a replica does when a reign begins or ends, and when a node comes or
//! goes.

use std::collections::BTreeSet;

use consensus::{Event, NodeId, Role};
use keyspace::op::{Body, Origin};
use stdx::{mark, planted};

use super::{Flight, Group};
use crate::effects::Effects;
use crate::memo::GUEST;
use crate::request::{BOOT_SHIFT, Moment};

impl Group {
    /// Looks whether the replica's role, term or leader has changed, and acts on it.
    pub(super) fn note_standing(&mut self, moment: Moment) {
        let standing = self.replica.standing();
        if standing == self.standing {
            return;
        }
        let (was, is) = (self.standing, standing);
        self.standing = standing;
        if let Some(leader) = is.2.filter(|leader| *leader != self.node) {
            (self.last_leader, self.handed_by) = (Some(leader), None);
        }
        self.lease = None;
        self.stop_looking();
        if planted!("forward-retried-too-early") {
            self.gateway.resend();
        }
        if was.0 == Role::Leader && (is.0 != Role::Leader || is.1 != was.1) {
            self.lose_leadership(moment);
        }
        self.retries.clear();
        self.retried.clear();
        if is.0 == Role::Leader && (was.0 != Role::Leader || is.1 != was.1) {
            self.seen.clear();
            self.tick_pending = false;
            self.begins = true;
        }
    }

    /// All is applied that earlier reigns have left. Who waits goes on to wait, but for clients of
    /// nodes that are gone, or were started anew: the leader before may have had no time to say so.
    /// One that did not hand over was silent for long enough to lose its place, and counts as gone.
    /// It is an entry of its own, before anything that could serve them.
    pub(super) fn begin_reign(&mut self, moment: Moment, out: &mut Effects) {
        self.begins = false;
        // Whoever asked the leader before asks this one once it has applied as much.
        self.hurry = true;
        let boot_of = |origin: Origin| (origin.number & !GUEST) >> BOOT_SHIFT;
        let deposed = self.last_leader.filter(|last| self.handed_by != Some(*last));
        let lives = |origin: &Origin| {
            let is_deposed = deposed.is_some_and(|node| node.0 == origin.node);
            !is_deposed
                && self.alive.get(&origin.node).is_some_and(|boot| boot_of(*origin) >= *boot)
        };
        let waits = self.shard.waits(None).into_iter();
        let nodes: BTreeSet<u32> =
            waits.filter(|origin| !lives(origin)).map(|origin| origin.node).collect();
        if nodes.is_empty() || planted!("waiters-outlive-their-node") {
            return;
        }
        let asked = std::mem::take(&mut self.open);
        for node in nodes {
            self.push_silent(moment, Body::DropWaiters { node: Some(node) });
        }
        self.propose(moment, out);
        self.open = asked;
    }

    /// What was not proposed yet goes to the new leader; what was is settled by the log.
    pub(super) fn lose_leadership(&mut self, moment: Moment) {
        let open = std::mem::take(&mut self.open);
        self.requeue(moment, open.take_apart(&[]));
        if planted!("proposal-repeated-too-early") {
            self.flight_bytes = 0;
            for Flight { batch, entry } in std::mem::take(&mut self.flight) {
                self.requeue(moment, batch.take_apart(&entry));
            }
        }
        while let Some(round) = self.rounds.front() {
            let token = round.token;
            self.abandon_round(moment, token);
        }
    }

    /// A leader hands its place to the voter that has most of the log, of those that are able; of
    /// several to one after the other, time by time. It stays leader if there is none, or if that does
    /// not take it. Without room it does that, as writes that it took already may be committed by the
    /// others.
    pub(crate) fn hand_over(&mut self, moment: Moment, able: &BTreeSet<NodeId>, out: &mut Effects) {
        if !self.leads() {
            return;
        }
        let status = self.status();
        let fits = |peer: &NodeId| able.contains(peer) && status.config.is_voter(*peer);
        let voters = status.matched.iter().filter(|(peer, _)| fits(peer));
        let most = voters.clone().map(|(_, index)| *index).max();
        let best: Vec<NodeId> =
            voters.filter(|(_, index)| Some(*index) == most).map(|(peer, _)| *peer).collect();
        if best.is_empty() {
            return;
        }
        if self.disk_full {
            mark!("a leader without room hands its place on");
        }
        let target = best[self.hand_overs % best.len()];
        self.hand_overs += 1;
        self.step(moment, Event::Transfer { target }, out);
    }

    /// The connection to a peer was made anew: what was sent to it may be lost. That goes before all that comes
    /// later, also if the peer is not known to lead at the moment, and then turns out to lead still.
    pub(crate) fn peer_up(&mut self, peer: NodeId) {
        let silent = self.last_leader.filter(|_| !planted!("silent-leader-has-all"));
        if self.standing.2.or(silent) == Some(peer) {
            self.stop_looking();
            self.gateway.resend();
        }
    }

    /// Another node is gone or was started anew: its clients wait no longer, lest a push serves one
    /// that is not there. If it lives after all it tells them so when it applies this. Calls that
    /// are still on their way into the log wait as well, so it does not matter who waits by now.
    pub(crate) fn peer_gone(&mut self, moment: Moment, peer: NodeId) {
        self.alive.remove(&peer.0);
        if self.leads() {
            self.push_silent(moment, Body::DropWaiters { node: Some(peer.0) });
        }
    }

    /// These nodes are silent: whoever hibernates behind one of them, or leads one, looks for itself.
    pub(crate) fn watch(&mut self, moment: Moment, silent: &[NodeId], out: &mut Effects) {
        if !self.hibernates() || planted!("hibernation-without-a-watch") {
            return;
        }
        let matters = |node: &NodeId| match self.leads() {
            true => self.config.contains(*node),
            false => self.leader() == Some(*node),
        };
        if silent.iter().any(matters) {
            mark!("a replica wakes because a node is silent");
            self.step(moment, Event::Wake, out);
        }
    }

    /// Another node is alive: its start of this number is.
    pub(crate) fn peer_heard(&mut self, peer: NodeId, boot: u64) {
        self.alive.insert(peer.0, boot);
    }
}

//! Who belongs to the group, and handing leadership over.
//!
//! A change of voters is two entries: a joint configuration, and, once that is committed, the one
//! that ends it, which the leader appends by itself. A leader that is no voter of the final
//! configuration leads until that is committed, then hands over and steps down.
//!
//! A transfer brings the target up to date, then tells it to stand for election at once. From that
//! moment the leader's lease is void for the rest of the term, even if the transfer is given up: the
//! order to stand may still arrive, and voters obey a forced candidate.
//!
//! Raft paper §6, thesis §3.10 and §4.2.2.

use std::collections::BTreeSet;

use stdx::{Instant, mark};

use super::leader::{Leader, View};
use super::progress::Peer;
use super::replica::{Replica, State};
use crate::replica::{Accept, Config, Effects, EntryKind, Index, Message, NodeId, Token};

/// Leadership on its way to another voter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub(super) target: NodeId,
    /// When to give it up.
    pub(super) deadline: Instant,
    /// The target was told to stand.
    told: bool,
}

impl Leader {
    /// Tells the target of a transfer to stand, once it has all of our log.
    pub(super) fn hand_over(&mut self, view: &View<'_>, out: &mut Effects) {
        let Some(transfer) = self.transfer else { return };
        let ready = self.peer(transfer.target).is_some_and(|p| p.matched == view.log.last());
        if ready && !transfer.told {
            self.transfer = Some(Transfer { told: true, ..transfer });
            self.lease_void = true;
            view.send(transfer.target, Message::TimeoutNow, out);
        }
    }

    /// The members are others now. Those that leave still get the log until their removal is
    /// committed and they had time to hear of it; then they rest instead of asking for votes.
    fn reconcile(&mut self, config: &Config, node: NodeId, view: &View<'_>) {
        let members = config.members();
        // One that comes back may have another disk: nothing is known of it.
        self.peers.retain(|peer| peer.leaves.is_none() || !members.contains(&peer.node));
        for peer in self.peers.iter_mut().filter(|peer| !members.contains(&peer.node)) {
            peer.leaves = peer.leaves.or(Some(Instant::FAR));
        }
        let floor = self.rounds.newest();
        for member in members {
            if member != node && self.peer(member).is_none() {
                self.peers.push(Peer::new(member, view.log.last(), floor));
            }
        }
        self.note_learners(config);
        self.peers.sort_by_key(|peer| peer.node);
        self.rounds.forget(view.now);
        self.reads.restart();
    }
}

impl Replica {
    /// Asks for a change of members.
    pub(super) fn configure(
        &mut self,
        now: Instant,
        token: Token,
        voters: BTreeSet<NodeId>,
        learners: BTreeSet<NodeId>,
        out: &mut Effects,
    ) {
        let config = match &self.state {
            State::Leader(leader)
                if leader.transfer.is_none()
                    && self.commit >= leader.first
                    && self.configs.index() <= self.commit =>
            {
                self.configs.current().enter(voters, learners)
            }
            _ => None,
        };
        let Some(config) = config else {
            mark!("a change of members is refused");
            return out.reject.push(token);
        };
        let index = self.append_config(now, config, out);
        out.accept.push(Accept { token, term: self.term, index });
    }

    /// Appends a configuration, which is in effect from then on.
    fn append_config(&mut self, now: Instant, config: Config, out: &mut Effects) -> Index {
        let index = self.append_own(EntryKind::Config, config.encode(), out);
        self.configs.push(index, config.clone());
        let node = self.options.node;
        let (leader, view) = self.leading(now).expect("only a leader changes the members");
        leader.reconcile(&config, node, &view);
        leader.rounds.begin(now);
        leader.heartbeat(&view, out);
        leader.replicate(&view, out);
        index
    }

    /// Something was committed: perhaps a configuration, which has a sequel.
    pub(super) fn settle_config(&mut self, now: Instant, out: &mut Effects) {
        if self.configs.index() > self.commit {
            return;
        }
        let config = self.configs.current();
        if config.is_joint() {
            let config = config.leave();
            self.append_config(now, config, out);
        } else if !config.is_voter(self.options.node) {
            self.resign(now, out);
        } else if let State::Leader(leader) = &mut self.state {
            let until = now + self.options.election_timeout;
            for peer in &mut leader.peers {
                peer.leaves = peer.leaves.map(|at| at.min(until));
            }
        }
    }

    /// We are no voter any more: tells the others what is committed, names an heir, steps down.
    fn resign(&mut self, now: Instant, out: &mut Effects) {
        mark!("a leader that was removed names an heir");
        let voters = self.configs.current().voters.clone();
        let (leader, view) = self.leading(now).expect("only a leader resigns");
        leader.flush(&view, out);
        let heir = leader
            .peers
            .iter()
            .filter(|peer| voters.contains(&peer.node))
            .max_by_key(|peer| (peer.matched, std::cmp::Reverse(peer.node)));
        if let Some(heir) = heir.map(|peer| peer.node) {
            view.send(heir, Message::TimeoutNow, out);
        }
        let term = self.term;
        self.become_follower(now, term, out);
    }

    /// Hands leadership to `target`, if that is a voter and we lead.
    pub(super) fn transfer(&mut self, now: Instant, target: NodeId, out: &mut Effects) {
        let willing = self.configs.current().voters.contains(&target);
        let deadline = now + self.options.election_timeout;
        let Some((leader, view)) = self.leading(now) else { return };
        if !willing || leader.transfer.is_some() || leader.peer(target).is_none() {
            return;
        }
        leader.transfer = Some(Transfer { target, deadline, told: false });
        leader.replicate_to(target, &view, out);
        leader.hand_over(&view, out);
    }
}

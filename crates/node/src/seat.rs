//! A seat: what this node is to one group. A member, with a replica; a guest, without; and both, on
//! the way from one to the other.
//!
//! ```text
//!            the leader sends entries, the map wants it      it votes and knows the present term
//!   guest ─────────────────────────────────────▶ learning ──────────────────────▶ member
//!     ▲                                                                             │
//!     └── leaving: the data goes ◀──────────────────────────────────────────────────┘
//!            the leader says that it is out, the map does not want it
//! ```
//!
//! Requests go to the member as soon as it is ready; what the guest has asked for by then stays the
//! guest's. Numbers of guests are marked (`memo`), so an answer finds whoever asked.
//!
//! **When data may go.** Only if the group's leader, in a term that this replica knows of no later
//! one than, has *applied* a configuration without it, and the map, which the leader has no newer
//! one of, does not want it. What the leader sends is in order, so it has not been asked to come
//! back by then; and if it is later, it comes as a learner, of whom nothing is counted before it has
//! it anew. Its vote stays.

use std::collections::BTreeSet;

use consensus::{NodeId, Term};
use keyspace::op::Unblock;
use keyspace::txn::Txn;
use stdx::{Instant, Millis, planted};
use wire::Proto;

use crate::effects::{Effects, SnapshotJob};
use crate::group::Group;
use crate::guest::Guest;
use crate::memo::is_guest;
use crate::message::{Answer, Forwarded, GroupId, Leads};
use crate::request::{Asked, Call, Exec, Moment, Proposing, Ticket};
use consensus::Index;

/// The vote that a replica leaves behind when its data goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    pub term: Term,
    pub vote: Option<NodeId>,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Seat {
    id: GroupId,
    node: NodeId,
    guest: Guest,
    member: Option<Box<Group>>,
    /// The member takes the requests of clients.
    ready: bool,
    /// The data of a replica is on its way out: there can be no new one yet.
    leaving: bool,
    past: Past,
    /// The newest number of a request of a replica that was here.
    last_number: u64,
}

impl Seat {
    /// A seat as it was left.
    pub(crate) fn new(
        id: GroupId,
        node: NodeId,
        boot: u64,
        member: Option<Group>,
        past: Past,
    ) -> Seat {
        let ready = member.as_ref().is_some_and(Group::is_voter);
        let (guest, member, leaving) = (Guest::new(id, node, boot), member.map(Box::new), false);
        Seat { id, node, guest, member, ready, leaving, past, last_number: 0 }
    }

    /// The group.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// This node's replica.
    pub fn member(&self) -> Option<&Group> {
        self.member.as_deref()
    }

    /// As `member`, to feed it.
    pub fn member_mut(&mut self) -> Option<&mut Group> {
        self.member.as_deref_mut()
    }

    /// Does this node lead the group?
    pub fn leads(&self) -> bool {
        self.member().is_some_and(Group::leads)
    }

    /// Is there no replica, and does nothing wait?
    pub(crate) fn is_idle(&self) -> bool {
        self.member.is_none() && self.guest.is_empty()
    }

    /// Who leads, if known.
    pub fn leader(&self) -> Option<NodeId> {
        let known = self.member().filter(|_| self.ready).and_then(Group::leader);
        known.or_else(|| self.guest.leader())
    }

    /// The group's clock, if there is a replica here.
    pub(crate) fn clock(&self) -> Millis {
        self.member().map_or(Millis(0), |member| member.shard().clock())
    }

    /// May clients ask for more?
    pub(crate) fn has_room(&self) -> bool {
        self.guest.has_room() && self.member().is_none_or(Group::has_room)
    }

    fn asked(&mut self) -> Option<&mut Group> {
        self.member.as_deref_mut().filter(|_| self.ready)
    }

    /// A command of a client; see `Group::call`.
    pub(crate) fn call(&mut self, moment: Moment, call: Call<'_>, reply: &mut Vec<u8>) -> Asked {
        match self.asked() {
            Some(member) => member.call(moment, call, reply),
            None => Asked::Waits { number: self.guest.call(moment, call) },
        }
    }

    /// MULTI's queue of a client.
    pub(crate) fn exec(&mut self, moment: Moment, exec: Exec) -> u64 {
        match self.asked() {
            Some(member) => member.exec(moment, exec),
            None => self.guest.exec(moment, exec),
        }
    }

    /// A message about a transaction.
    pub(crate) fn transact(&mut self, moment: Moment, ticket: Ticket, proto: Proto, txn: Txn) {
        match self.asked() {
            Some(member) => member.transact(moment, ticket, proto, txn),
            None => self.guest.transact(moment, ticket, proto, txn),
        }
    }

    /// Ends the wait of a blocked call.
    pub(crate) fn unblock(
        &mut self,
        moment: Moment,
        target: u64,
        how: Unblock,
        ticket: Option<Ticket>,
    ) {
        match self.member.as_deref_mut() {
            Some(member) if !is_guest(target) => member.unblock(moment, target, how, ticket),
            _ => self.guest.unblock(moment, target, how, ticket),
        }
    }

    /// Answers of the leader.
    pub(crate) fn answered(
        &mut self,
        moment: Moment,
        applied: Index,
        answers: Vec<Answer>,
        out: &mut Effects,
    ) {
        let is_guests = |answer: &Answer| is_guest(answer.number);
        let (guests, members): (Vec<_>, Vec<_>) = answers.into_iter().partition(is_guests);
        self.guest.answered(moment, applied, guests, out);
        if let Some(member) = self.member.as_deref_mut() {
            member.answered(applied, members, out);
        }
    }

    /// Requests of another node, for the leader.
    pub(crate) fn forwarded(
        &mut self,
        moment: Moment,
        source: NodeId,
        term: Term,
        requests: Vec<Forwarded>,
        out: &mut Effects,
    ) {
        match self.member.as_deref_mut() {
            Some(member) => member.forwarded(moment, source, term, requests, out),
            None => self.guest.point(source, out),
        }
    }

    /// Somebody was asked in vain, and says who leads.
    pub(crate) fn hear_astray(&mut self, source: NodeId, term: Term, leader: Option<NodeId>) {
        self.guest.hear_astray(source, term, leader);
    }

    /// A node says how far it has applied the log.
    pub(crate) fn hear_applied(&mut self, applied: Index) {
        self.guest.hear_applied(applied);
    }

    /// A leader shows itself. `wanted`: the map, of which it has no newer one, wants this node here.
    pub(crate) fn hear_leader(
        &mut self,
        moment: Moment,
        leader: NodeId,
        says: &Leads,
        wanted: bool,
        out: &mut Effects,
    ) {
        self.guest.hear(says.term, Some(leader));
        let outside = !says.members.is_empty() && !says.members.contains(&self.node);
        if outside && !wanted {
            self.leave(moment, says.term, out);
        }
    }

    /// The group goes on without this replica, if what it knows is not newer than `term`. Its data
    /// goes, once nobody waits for it.
    fn leave(&mut self, moment: Moment, term: Term, out: &mut Effects) {
        let Some(member) = self.member.as_deref_mut() else { return };
        if member.status().term > term {
            return;
        }
        self.ready = false;
        if member.is_owed() {
            return;
        }
        for (number, ticket) in member.take_blocked() {
            out.replies.put(ticket, crate::request::UNBLOCKED);
            self.guest.unblock(moment, number, Unblock::Gone, None);
        }
        // What it voted in that term nobody looks up any more: as if it had, for itself.
        self.past = Past { term: member.status().term, vote: Some(self.node) };
        self.last_number = member.last_number();
        self.member = None;
        self.leaving = true;
        out.snapshot.push(SnapshotJob::Leave { group: self.id });
    }

    /// The data of the replica that was here is gone.
    pub(crate) fn left(&mut self) {
        self.leaving = false;
    }

    /// What a new replica here begins with; nothing if there is one, or its data is still going.
    pub(crate) fn vacancy(&self) -> Option<Past> {
        (self.member.is_none() && !self.leaving).then_some(self.past)
    }

    /// A replica that the group's leader has sent for.
    pub(crate) fn take_seat(&mut self, mut member: Group) {
        assert!(self.member.is_none() && !self.leaving, "there is one replica at most");
        if !planted!("numbers-used-again-after-a-move") {
            member.count_on(self.last_number);
        }
        (self.member, self.ready) = (Some(Box::new(member)), false);
    }

    /// The connection to a peer was made anew.
    pub(crate) fn peer_up(&mut self, peer: NodeId) {
        self.guest.peer_up(peer);
        if let Some(member) = self.member.as_deref_mut() {
            member.peer_up(peer);
        }
    }

    /// Another node is gone or was started anew.
    pub(crate) fn peer_gone(&mut self, moment: Moment, peer: NodeId) {
        self.guest.peer_gone(peer);
        if let Some(member) = self.member.as_deref_mut() {
            member.peer_gone(moment, peer);
        }
    }

    /// Does what time asks for.
    pub(crate) fn tick(&mut self, moment: Moment, out: &mut Effects) {
        self.guest.tick(moment, out);
        if let Some(member) = self.member.as_deref_mut() {
            member.tick(moment, out);
            self.ready = self.ready && member.is_voter() || member.is_level_voter();
        }
    }

    /// When `tick` has something to do.
    pub(crate) fn deadline(&self, moment: Moment) -> Instant {
        let member = self.member().map_or(Instant::FAR, |member| member.deadline(moment));
        member.min(self.guest.deadline())
    }

    /// Ends a turn.
    pub(crate) fn flush(&mut self, moment: Moment, proposing: Proposing, out: &mut Effects) {
        if !self.guest.is_empty() {
            self.flush_guest(moment, out);
        }
        let Some(member) = self.member.as_deref_mut() else { return };
        member.flush(moment, proposing, out);
        let (applied, answers) = member.take_own_answers();
        if !answers.is_empty() {
            self.guest.answered(moment, applied, answers, out);
        }
    }

    fn flush_guest(&mut self, moment: Moment, out: &mut Effects) {
        let own = self.member.as_deref_mut().filter(|member| member.leads());
        let Some(member) = own else { return self.guest.flush(out) };
        // It has asked others for what this node leads by now.
        self.guest.hear(member.status().term, Some(self.node));
        if let Some((term, requests)) = self.guest.take_unsent() {
            member.forwarded(moment, self.node, term, requests, out);
        }
    }

    /// All who receive the group's log, as its leader here has applied it.
    pub(crate) fn leads_whom(&self) -> Option<Leads> {
        let member = self.member().filter(|member| member.leads())?;
        let members: BTreeSet<NodeId> = member.config().members();
        let term = member.standing().1;
        Some(Leads { group: self.id, term, members, bytes: member.snapshot_bytes() })
    }
}

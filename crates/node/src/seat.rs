//! A seat: what this node is to one group. A member, with a replica; a guest, without; and both, on
//! the way from one to the other.
//!
//! ```text
//!            the leader sends entries, the map wants it      it votes and knows the present term
//!   guest ─────────────────────────────────────▶ learning ──────────────────────▶ member
//!     ▲                                            ▲                                │
//!     │                                            └────── it votes no more ────────┘
//!     └── leaving: the data goes ◀── the leader says that it is out, the map does not want it
//! ```
//!
//! Requests go to the member as soon as it is ready; what the guest has asked for by then stays the
//! guest's. Numbers of guests are marked (`memo`), but for those of requests that they have adopted.
//!
//! **No order is lost.** A member that votes no more learns from the log what became of what it was
//! asked for, and stays in the group until it owes nothing (`mover`). What the guest is asked for
//! meanwhile waits for that.
//!
//! **When data may go.** Only if the group's leader has *applied* a configuration without it, at a
//! place of the log behind all that this replica has, and the map, which the leader has no newer
//! one of, does not want it. So it was not asked to come back by then, or has acknowledged nothing
//! since; and if it comes back later it is a learner, of whom nothing is counted before it has it
//! anew. What stays is its vote, and how far it had the log: those who have not heard that it left
//! count on the one and the other (`consensus::Stored::reached`).

use std::collections::BTreeSet;

use consensus::{Index, NodeId, SnapshotMeta, Term};
use keyspace::Shard;
use keyspace::op::Unblock;
use keyspace::txn::Txn;
use stdx::{Instant, Millis, mark, planted};
use wire::Proto;

use crate::effects::{Effects, SnapshotJob};
use crate::group::Group;
use crate::guest::{Guest, Which};
use crate::limits::REQUEST_TIMEOUT;
use crate::memo::is_guest;
use crate::message::{Answer, Forwarded, GroupId, Leads};
use crate::request::{Asked, Call, Exec, Moment, Proposing, Ticket};

/// What a replica leaves behind when its data goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    pub term: Term,
    pub vote: Option<NodeId>,
    /// How far it had the log.
    pub reached: (Term, Index),
}

/// What others wait to hear of a seat: in which term this node leads, and whether its replica may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stand {
    leads_in: Option<Term>,
    is_free: bool,
}

/// What a leader says of its group.
pub(crate) struct Word<'a> {
    pub(crate) leads: &'a Leads,
    /// The place in the log at which it says so.
    pub(crate) applied: Index,
    /// The map, of which the leader has no newer one, wants this node in the group.
    pub(crate) wanted: bool,
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
    /// Since when the member is to go, and waits for its last answers.
    owed_since: Option<Instant>,
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
        let (owed_since, last_number) = (None, 0);
        Seat { id, node, guest, member, ready, leaving, owed_since, past, last_number }
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

    /// Is there a replica that takes no requests, and of which nobody waits for anything?
    pub(crate) fn is_free(&self) -> bool {
        !self.ready && self.member().is_some_and(|member| !member.is_owed())
    }

    /// Does this node lead the group?
    pub fn leads(&self) -> bool {
        self.member().is_some_and(Group::leads)
    }

    /// Is there no replica, and does nothing wait?
    pub(crate) fn is_idle(&self) -> bool {
        self.member.is_none() && self.guest.is_empty()
    }

    /// Has a turn anything to do here that waits for nothing?
    pub(crate) fn has_work(&self) -> bool {
        self.guest.has_unsent() || self.member().is_some_and(Group::has_work)
    }

    /// See `Stand`.
    pub(crate) fn stand(&self) -> Stand {
        let leads = self.member().filter(|member| member.leads());
        Stand { leads_in: leads.map(|member| member.standing().1), is_free: self.is_free() }
    }

    /// Who leads, if known.
    pub fn leader(&self) -> Option<NodeId> {
        let known = self.member().filter(|_| self.ready).and_then(Group::leader);
        known.or_else(|| self.guest.leader())
    }

    /// How far the log is known to be committed, at least.
    pub(crate) fn floor(&self) -> Index {
        let applied = self.member().map_or(Index(0), Group::applied);
        self.guest.floor().max(applied)
    }

    /// The group's clock, if there is a replica here.
    pub(crate) fn clock(&self) -> Millis {
        self.member().map_or(Millis(0), |member| member.shard().clock())
    }

    /// May clients ask for more?
    pub(crate) fn has_room(&self) -> bool {
        self.guest.has_room() && self.member().is_none_or(Group::has_room)
    }

    /// The member, if it is to be asked. Whoever waits for something that it has asked the guest for
    /// goes on to ask the guest.
    fn asked(&mut self, ticket: Ticket) -> Option<&mut Group> {
        let stays = self.guest.serves(ticket);
        self.member.as_deref_mut().filter(|_| self.ready && !stays)
    }

    /// A command of a client; see `Group::call`.
    pub(crate) fn call(&mut self, moment: Moment, call: Call<'_>, reply: &mut Vec<u8>) -> Asked {
        match self.asked(call.ticket) {
            Some(member) => member.call(moment, call, reply),
            None => Asked::Waits { number: self.guest.call(moment, call) },
        }
    }

    /// MULTI's queue of a client.
    pub(crate) fn exec(&mut self, moment: Moment, exec: Exec) -> u64 {
        match self.asked(exec.ticket) {
            Some(member) => member.exec(moment, exec),
            None => self.guest.exec(moment, exec),
        }
    }

    /// A message about a transaction.
    pub(crate) fn transact(&mut self, moment: Moment, ticket: Ticket, proto: Proto, txn: Txn) {
        match self.asked(ticket) {
            Some(member) => member.transact(moment, ticket, proto, txn),
            None => self.guest.transact(moment, ticket, proto, txn),
        }
    }

    /// Ends the wait of a blocked call. Returns who waited and is not told: one that is gone.
    pub(crate) fn unblock(
        &mut self,
        moment: Moment,
        target: u64,
        how: Unblock,
        ticket: Option<Ticket>,
    ) -> Option<Ticket> {
        match self.member.as_deref_mut() {
            Some(member) if !is_guest(target) && !self.guest.adopted(target) => {
                member.unblock(moment, target, how, ticket);
                None
            }
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
        let is_guests = |answer: &Answer| is_guest(answer.number) || self.guest.asks(answer.number);
        let (guests, members): (Vec<_>, Vec<_>) = answers.into_iter().partition(is_guests);
        members.iter().for_each(|answer| self.guest.answered_to_orphan(answer, out));
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

    /// A leader shows itself.
    pub(crate) fn hear_leader(
        &mut self,
        moment: Moment,
        leader: NodeId,
        word: &Word<'_>,
        out: &mut Effects,
    ) {
        self.guest.hear(word.leads.term, Some(leader));
        let members = &word.leads.members;
        let outside = !members.is_empty() && !members.contains(&self.node);
        if outside && !word.wanted {
            self.leave(moment, (word.leads.term, word.applied), out);
        } else {
            self.owed_since = None;
        }
    }

    /// The group goes on without this replica, as of a place in its log. Its data goes, once nobody
    /// waits for it.
    fn leave(&mut self, moment: Moment, place: (Term, Index), out: &mut Effects) {
        let Some(member) = self.member.as_deref_mut() else { return };
        let status = member.status();
        if (status.last_term, status.last) > place && !planted!("leaves-on-an-old-word") {
            mark!("a replica is said to be out, and has come back since");
            return;
        }
        self.ready = false;
        let since = *self.owed_since.get_or_insert(moment.now);
        if member.is_owed() {
            // What waits for a transaction may be told by nobody.
            if moment.now.since(since) >= REQUEST_TIMEOUT {
                member.give_up_parked(out);
            }
            return;
        }
        mark!("a replica leaves its data behind");
        for (number, ticket, wait) in member.take_blocked(moment) {
            mark!("a replica leaves, and its clients wait for keys");
            if planted!("leaver-lies-to-waiters") {
                out.replies.put(ticket, crate::request::UNBLOCKED);
            }
            self.guest.adopt_wait(moment, number, ticket, wait);
        }
        // What it voted in that term nobody looks up any more: as if it had, for itself. One that
        // lacked something may have acknowledged anything.
        let (term, vote) = (status.term, Some(self.node));
        let all = (term, Index(u64::MAX));
        let reached = if status.faulty { all } else { (status.last_term, status.last) };
        let reached = reached.max(self.past.reached);
        self.past = Past { term, vote, reached };
        if planted!("vote-leaves-with-the-data") {
            self.past = Past { reached, ..Past::default() };
        }
        self.last_number = member.last_number();
        out.discarded.extend(self.member.take().map(|member| member.into_state()));
        (self.leaving, self.owed_since) = (true, None);
        out.snapshot.push(SnapshotJob::Leave { group: self.id, reached });
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
        if self.past.reached > (Term(0), Index(0)) {
            mark!("a replica comes back");
        }
        (self.member, self.ready, self.owed_since) = (Some(Box::new(member)), false, None);
    }

    /// A snapshot was loaded, or refused; see `Group::loaded`. What the replica has leapt over is asked
    /// for as a guest does.
    pub(crate) fn loaded(
        &mut self,
        moment: Moment,
        meta: SnapshotMeta,
        shard: Option<Shard>,
        out: &mut Effects,
    ) {
        let Some(member) = self.member.as_deref_mut() else {
            out.discarded.extend(shard);
            return;
        };
        let leapt = member.loaded(moment, meta, shard, out);
        self.tell_guest_who_leads();
        self.guest.adopt(leapt);
    }

    /// The member hears of a new leader first.
    fn tell_guest_who_leads(&mut self) {
        let Some(member) = self.member.as_deref() else { return };
        let (_, term, leader) = member.standing();
        self.guest.hear(term, leader);
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
            let votes = self.ready && member.is_voter() || member.is_level_voter();
            self.ready = votes && self.owed_since.is_none();
        }
    }

    /// When `tick` has something to do.
    pub(crate) fn deadline(&self, moment: Moment) -> Instant {
        let member = self.member().map_or(Instant::FAR, |member| member.deadline(moment));
        member.min(self.guest.deadline())
    }

    /// Ends a turn.
    pub(crate) fn flush(&mut self, moment: Moment, proposing: Proposing, out: &mut Effects) {
        let waits = self.member().is_some_and(|member| !self.ready && member.has_asked());
        if self.guest.owes_adopted() {
            self.tell_guest_who_leads();
        }
        if waits {
            mark!("a guest waits for what its replica was asked for");
            self.flush_guest(moment, Which::Adopted, out);
        } else if !self.guest.is_empty() {
            self.flush_guest(moment, Which::All, out);
        }
        let Some(member) = self.member.as_deref_mut() else { return };
        member.flush(moment, proposing, !self.guest.owes_adopted(), out);
        let (applied, answers) = member.take_own_answers();
        if !answers.is_empty() {
            self.guest.answered(moment, applied, answers, out);
        }
    }

    fn flush_guest(&mut self, moment: Moment, which: Which, out: &mut Effects) {
        let own = self.member.as_deref_mut().filter(|member| member.leads());
        let Some(member) = own else { return self.guest.flush(which, out) };
        // It has asked others for what this node leads by now.
        self.guest.hear(member.status().term, Some(self.node));
        if let Some((term, requests)) = self.guest.take_unsent(which) {
            member.forwarded(moment, self.node, term, requests, out);
        }
    }

    /// All who receive the group's log, as its leader here has applied it; nobody before it has
    /// applied an entry of its own term: what it has applied by then may be long out of date.
    pub(crate) fn leads_whom(&self) -> Option<Leads> {
        let member = self.member().filter(|member| member.leads())?;
        let mut members: BTreeSet<NodeId> = member.config().members();
        if !member.is_settled() && !planted!("new-leader-tells-old-members") {
            members.clear();
        }
        if planted!("leaves-before-it-is-agreed") {
            members = member.status().config.members();
        }
        let term = member.standing().1;
        Some(Leads { group: self.id, term, members, bytes: member.snapshot_bytes() })
    }
}

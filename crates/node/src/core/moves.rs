//! The map, followed: which one counts, who comes and goes, and the groups that are led here brought
//! where it wants them.

use std::cell::LazyCell;
use std::sync::Arc;

use consensus::{NodeId, SnapshotMeta, Stored};
use keyspace::Shard;
use stdx::{mark, planted};

use super::Core;
use crate::clerk::Clerk;
use crate::effects::Effects;
use crate::group::Founding;
use crate::limits::{MOVES_MAX, SPREAD_INTERVAL};
use crate::map::{Change, Map, Standing};
use crate::message::{GroupId, Leads, Message};
use crate::mover::{Scene, Step};
use crate::request::{Moment, Ticket};
use crate::seat::Past;

impl Core {
    /// Changes the map. The reply to `ticket` is its new version, or why it stays as it is.
    pub fn change(&mut self, moment: Moment, ticket: Option<Ticket>, change: Change) {
        let meta = self.seats.meta_mut();
        self.clerk.begin(moment, ticket, change, meta);
    }

    /// True if there was anything to hear: what follows from it is asked of the map's group.
    pub(super) fn hear_clerk(&mut self, moment: Moment, out: &mut Effects) -> bool {
        let Core { clerk, seats, map, .. } = self;
        out.replies.extract(Clerk::owns, |ticket, reply| clerk.answered(ticket, reply));
        let meta = seats.meta_mut();
        let heard = clerk.has_heard();
        if let Some(newest) = clerk.pump(moment, map, meta, out) {
            self.adopt(newest, out);
        }
        heard
    }

    /// Looks whether the map's group, if there is a replica here, has another one by now.
    pub(super) fn look_at_map(&mut self, moment: Moment, out: &mut Effects) {
        let Some(meta) = self.seats.meta().member() else { return };
        let changes = meta.shard().changes();
        if changes == self.map_changes {
            return;
        }
        self.map_changes = changes;
        let meta = self.seats.meta_mut().member_mut();
        if let Some(map) = meta.and_then(|meta| meta.read_map(moment)) {
            self.adopt(Arc::new(map), out);
        }
    }

    /// Takes a map, if it is newer, and passes it on.
    pub(super) fn adopt(&mut self, map: Arc<Map>, out: &mut Effects) {
        let older = map.version() < self.map.version() && !planted!("map-goes-back");
        if older || map.version() == self.map.version() || map.shards() != self.shards {
            return;
        }
        self.map = map;
        // Those who are no members any more hear of that as well.
        for (peer, known) in &self.peers {
            if known.health.map < self.map.version() {
                out.send.push((*peer, Message::Map(self.map.clone())));
            }
        }
        self.know_peers();
        out.map = Some(self.map.clone());
    }

    /// The peers are those of the map.
    pub(super) fn know_peers(&mut self) {
        let Core { peers, map, node, .. } = self;
        let is_peer = |id: &NodeId| id != node && map.members().contains_key(id);
        peers.retain(|peer, _| is_peer(peer));
        for peer in map.members().keys().filter(|id| is_peer(id)) {
            peers.entry(*peer).or_default();
        }
    }

    /// Leads the groups that are led here a step nearer to what the map wants.
    pub(super) fn move_groups(&mut self, moment: Moment, out: &mut Effects) {
        let (mut steps, mut heirs, mut begun) = (Vec::new(), Vec::new(), 0);
        let alive = |node| self.is_alive(moment.now, node);
        let unfit = self.unfit(moment.now);
        let (flees, spreads) = (unfit.contains(&self.node), self.next_spread <= moment.now);
        // It looks at all shards of all nodes, so only if somebody could be handed one.
        let filling = LazyCell::new(|| self.filling());
        let burden = |node| self.burden(node).filter(|_| !unfit.contains(&node));
        for (place, seat) in self.seats.used() {
            let Some(member) = seat.member().filter(|member| member.leads()) else { continue };
            let (status, wanted) = (member.status(), self.map.wanted_in(seat.id()));
            let may_go = |node| self.may_go(moment.now, node, member);
            let (node, status, wanted, alive) = (self.node, &status, &wanted, &alive);
            let (may_go, burden, may_begin) = (&may_go, &burden, false);
            let mut scene = Scene { node, status, wanted, alive, may_go, burden, may_begin };
            let comes = scene.is_copying();
            begun += usize::from(comes);
            scene.may_begin = begun < MOVES_MAX;
            if let Some(step) = scene.next() {
                if matches!(step, Step::Transfer(_)) {
                    mark!("a leader hands over because it is not wanted");
                }
                begun += usize::from(!comes);
                steps.push((place, step));
            } else if spreads
                && (seat.id() != GroupId::META || flees)
                && scene.heir(|_| true).is_some()
            {
                let fits = |node| flees || !filling.contains(&node);
                heirs.extend(scene.heir(fits).map(|heir| (place, heir)));
            }
        }
        if let Some((place, heir)) = heirs.pop() {
            self.next_spread = moment.now + SPREAD_INTERVAL;
            steps.push((place, Step::Transfer(heir)));
        }
        for (place, step) in steps {
            let Some(member) = self.seats[place].member_mut() else { continue };
            match step {
                Step::Configure { voters, learners } => {
                    member.configure(moment, voters, learners, out);
                }
                Step::Transfer(target) => {
                    member.step(moment, consensus::Event::Transfer { target }, out);
                }
            }
        }
    }

    /// How many shards a node leads, for its weight; nothing if it is to lead none.
    pub(super) fn burden(&self, node: NodeId) -> Option<f64> {
        let member = self.map.members().get(&node)?;
        if member.standing != Standing::Active {
            return None;
        }
        let led = if node == self.node {
            self.led_shards().count()
        } else {
            let of_shard = |leads: &&Leads| leads.group != GroupId::META;
            self.peers.get(&node)?.health.leads.iter().filter(of_shard).count()
        };
        Some(led as f64 / f64::from(member.weight))
    }

    /// Whoever leads the map's group gives up nodes that are dead for too long, and takes them back
    /// when they live.
    pub(super) fn judge_nodes(&mut self, moment: Moment) {
        if self.replace_after.is_zero() || !self.seats.meta().leads() {
            return;
        }
        let mut changes = Vec::new();
        for (node, peer) in &self.peers {
            let standing = self.map.members().get(node).map(|member| member.standing);
            let silent = peer.silent.is_some_and(|at| moment.now.since(at) >= self.replace_after);
            match standing {
                Some(Standing::Active) if silent => changes.push(Change::Lose { node: *node }),
                Some(Standing::Lost) if peer.is_alive(moment.now) => {
                    changes.push(Change::Keep { node: *node });
                }
                _ => {}
            }
        }
        for change in changes {
            // What the map refuses (too few would be left) is looked at once, not in every round.
            if self.map.changed(&change).is_ok() {
                self.change(moment, None, change);
            }
        }
    }

    /// A leader sends what only a replica takes: there is one from now on, if the map wants it.
    pub(super) fn seat_for(
        &mut self,
        moment: Moment,
        group: GroupId,
        message: &consensus::Message,
        out: &mut Effects,
    ) {
        use consensus::Message::{Append, Heartbeat, Snapshot};
        let (true, Some(place)) = (self.moves, self.place_of(group)) else { return };
        let leads = matches!(message, Append { .. } | Heartbeat { .. } | Snapshot { .. });
        let Some(past) = self.seats[place].vacancy().filter(|_| leads) else { return };
        if !self.map.wants(self.node, group) {
            return;
        }
        let Past { term, vote, reached } = past;
        let stored = Stored { term, vote, reached, ..Stored::default() };
        let founding = Founding {
            id: group,
            node: self.node,
            replica: (self.make)(group, stored, moment.now),
            shard: Shard::new(),
            snapshot: SnapshotMeta::default(),
            boot: self.boot,
            snapshot_bytes: 0,
            snapshots: self.snapshots,
        };
        let mut member = super::group(self.shards, founding);
        member.set_disk_full(moment.now, self.own.full);
        member.set_disk_low(self.disk_low);
        self.seats[place].take_seat(member);
        out.joined.push(group);
    }
}

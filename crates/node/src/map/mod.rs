//! The map: who the nodes of the cluster are, and which of them are to hold each shard.
//!
//! ```text
//! Change ─▶ Map::changed ─▶ the next version ─▶ the meta group's log ─▶ every node
//!                                                                        │ mover: leaders bring
//!                                                                        ▼ their groups there
//! ```
//!
//! The map says what *ought* to be. What *is* stands in each group's log, as its configuration; the
//! leader of a group leads it to what the map says (`mover`), so a leader that dies in the middle
//! is no loss, and nobody has to know how far a move has come. An old map misleads nobody: requests
//! find their leader by what nodes say about themselves, and this only takes longer.
//!
//! What always holds: versions grow by one; a number of a node is never given twice; a shard is
//! wanted only on nodes that have come, so a wrong address holds nothing.

mod change;
mod codec;

use std::collections::{BTreeMap, BTreeSet};

use consensus::NodeId;
use hashring::{Placement, Ring, ShardId, Shards, Zone};

use crate::message::GroupId;

pub use change::{Change, Refusal};

/// Sixteen bytes that a node draws before it joins: they tell it from any other that comes under its
/// address, and from itself without its data.
pub type Identity = [u8; 16];

/// What is to become of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its address is known, and nobody has come from there yet.
    Invited,
    /// It takes its share.
    Active,
    /// It is to hold nothing: an operator wants it gone.
    Draining,
    /// It was dead for too long: its shards are held by others now. When it comes back it is active
    /// again, and holds nothing.
    Lost,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where clients and the other nodes reach it.
    pub addr: String,
    pub weight: u32,
    pub zone: Zone,
    pub standing: Standing,
    /// Nobody's before it has come.
    pub identity: Option<Identity>,
    /// It takes the place of this node once it has come.
    pub replaces: Option<NodeId>,
}

/// See the head of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    version: u64,
    /// The number of the next node that comes.
    next: u32,
    /// How many replicas a shard is to have, if there are as many nodes.
    replicas: u32,
    members: BTreeMap<NodeId, Member>,
    /// Who is to hold the map itself.
    meta: BTreeSet<NodeId>,
    wanted: Placement,
}

/// The most nodes that hold the map: more would make its group slower, and no safer.
pub const META_REPLICAS_MAX: usize = 5;

impl Map {
    /// The map of a cluster that begins: its nodes, with the numbers from 1 on. Every founder makes
    /// the same.
    pub fn founding(
        shards: Shards,
        replicas: u32,
        founders: &[(String, Identity)],
    ) -> Result<Map, hashring::Error> {
        let member = |(addr, identity): &(String, Identity)| Member {
            addr: addr.clone(),
            weight: 1,
            zone: Zone::default(),
            standing: Standing::Active,
            identity: Some(*identity),
            replaces: None,
        };
        let members: BTreeMap<_, _> = (1..).map(NodeId).zip(founders.iter().map(member)).collect();
        let wanted = Placement::empty(shards, 1)?;
        let next = founders.len() as u32 + 1;
        let map = Map { version: 1, next, replicas, members, meta: BTreeSet::new(), wanted };
        map.placed()
    }

    /// Counts the changes, from 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How the slots are cut.
    pub fn shards(&self) -> Shards {
        self.wanted.shards()
    }

    /// How many replicas a shard is to have, if there are as many nodes.
    pub fn replicas(&self) -> u32 {
        self.replicas
    }

    /// All nodes.
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// Which nodes are to hold each shard.
    pub fn wanted(&self) -> &Placement {
        &self.wanted
    }

    /// Which nodes are to be in a group.
    pub fn wanted_in(&self, group: GroupId) -> BTreeSet<NodeId> {
        if group == GroupId::META {
            return self.meta.clone();
        }
        let set = self.wanted.of(ShardId(group.0 as u16)).iter();
        set.map(|node| NodeId(node.0)).collect()
    }

    /// Is this node to be in a group?
    pub fn wants(&self, node: NodeId, group: GroupId) -> bool {
        if group == GroupId::META {
            return self.meta.contains(&node);
        }
        self.wanted.of(ShardId(group.0 as u16)).contains(&hashring::NodeId(node.0))
    }

    /// May this node lead? One that is to go, or is thought dead, may not be handed anything.
    pub fn is_active(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| member.standing == Standing::Active)
    }

    /// The node with this address.
    pub fn by_addr(&self, addr: &str) -> Option<(NodeId, &Member)> {
        let mut members = self.members.iter();
        members.find(|(_, member)| member.addr == addr).map(|(node, member)| (*node, member))
    }

    /// All groups of the cluster.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        let shards = self.shards().count() as u32;
        (0..shards).map(GroupId).chain([GroupId::META])
    }

    /// The circle of the nodes that take a share.
    pub fn ring(&self) -> Ring {
        let active = self.standing_where(|member| member.standing == Standing::Active);
        active.and_then(Ring::of).expect("a change that the ring does not take is refused")
    }

    /// These members, as the ring sees them.
    fn standing_where(
        &self,
        fits: impl Fn(&Member) -> bool,
    ) -> Result<Vec<(hashring::NodeId, hashring::Node)>, hashring::Error> {
        let members = self.members.iter().filter(|(_, member)| fits(member));
        let stands = members.map(|(node, member)| {
            let stands = hashring::Node::new(member.weight, member.zone.clone())?;
            Ok((hashring::NodeId(node.0), stands))
        });
        stands.collect()
    }

    /// The same with everything where the ring wants it.
    fn placed(&self) -> Result<Map, hashring::Error> {
        let ring = self.ring();
        let replicas = ring.len().min(self.replicas as usize).max(1);
        let now = self.wanted.clone().with_replicas(replicas)?;
        let wanted = Placement::target(&ring, &now)?;
        Ok(Map { meta: self.meta_of(), wanted, ..self.clone() })
    }

    /// Who is to hold the map: who does, if it may, and then the lowest numbers.
    fn meta_of(&self) -> BTreeSet<NodeId> {
        let active = || self.members.keys().copied().filter(|node| self.is_active(*node));
        let count = match active().count() {
            count if count >= META_REPLICAS_MAX => META_REPLICAS_MAX,
            count => count.min(3),
        };
        let stay = active().filter(|node| self.meta.contains(node));
        let come = active().filter(|node| !self.meta.contains(node));
        stay.chain(come).take(count).collect()
    }

    /// The replicas that are wanted on a node, the map among them.
    pub fn load_of(&self, node: NodeId) -> usize {
        self.groups().filter(|group| self.wants(node, *group)).count()
    }
}

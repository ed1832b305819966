//! What an operator, or the cluster itself, may change about the nodes, and what is refused.

use std::fmt;

use consensus::NodeId;
use hashring::{Placement, Zone};

use super::{Identity, Map, Member, Standing};
use crate::limits::ADDR_BYTES_MAX;

/// One step from a map to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node may come from this address.
    Invite { addr: String, weight: u32, zone: Zone, replaces: Option<NodeId> },
    /// It has come.
    Come { addr: String, identity: Identity },
    /// A node is to take more or less than others, or stands elsewhere.
    Set { node: NodeId, weight: u32, zone: Zone },
    /// A node is to hold nothing.
    Drain { node: NodeId },
    /// A node is to take its share again.
    Keep { node: NodeId },
    /// A node was dead for too long.
    Lose { node: NodeId },
    /// A node that holds nothing is forgotten.
    Remove { node: NodeId },
    /// Everything is to be where the ring wants it; with another number of replicas, if given.
    Rebalance { replicas: Option<u32> },
}

/// Why a change was refused. Nothing is changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Ring(hashring::Error),
    /// No such node.
    Unknown(NodeId),
    /// Nobody was invited to come from there.
    Uninvited(String),
    /// Not an address.
    Addr(String),
    /// Another node has this address.
    AddrTaken {
        addr: String,
        node: NodeId,
    },
    /// The node has come before, with its data, which is not what came now.
    DataGone {
        node: NodeId,
    },
    /// What is left would be less than shards have replicas.
    TooFew {
        left: usize,
        replicas: usize,
    },
    /// It is the only node that takes a share.
    Last,
    /// It still holds this many replicas.
    Holds {
        node: NodeId,
        replicas: usize,
    },
    /// Its standing does not allow that.
    Standing {
        node: NodeId,
        standing: Standing,
        wanted: &'static str,
    },
    /// Nothing would change.
    Nothing(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Ring(error) => write!(f, "{error}"),
            Refusal::Unknown(node) => write!(f, "there is no node {}", node.0),
            Refusal::Uninvited(addr) => write!(
                f,
                "the cluster expects no node at {addr}: `synod node add {addr}` invites it"
            ),
            Refusal::Addr(addr) => write!(
                f,
                "{addr:?} is no address of a node: host:port, {ADDR_BYTES_MAX} bytes at most"
            ),
            Refusal::AddrTaken { addr, node } => {
                write!(f, "{addr} is the address of node {} already", node.0)
            }
            Refusal::DataGone { node } => write!(
                f,
                "the cluster knows this address as node {}, which has come before; the data \
                 directory of the one that comes now is not that node's. Restore it, or take the \
                 node out (`synod node drain {0}`, `synod node remove {0}`) and add it anew",
                node.0
            ),
            Refusal::TooFew { left, replicas } => write!(
                f,
                "{left} nodes would be left, and each shard is to have {replicas} replicas: add \
                 a node first, or ask for fewer replicas (`synod rebalance --replicas {left}`)"
            ),
            Refusal::Last => write!(f, "it is the only node that is left to hold anything"),
            Refusal::Holds { node, replicas } => write!(
                f,
                "node {} still holds {replicas} replicas: drain it first, and wait until it is \
                 empty",
                node.0
            ),
            Refusal::Standing { node, standing, wanted } => {
                write!(f, "node {} is {standing}: {wanted}", node.0)
            }
            Refusal::Nothing(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Standing::Invited => "invited",
            Standing::Active => "active",
            Standing::Draining => "draining",
            Standing::Lost => "lost",
        })
    }
}

impl From<hashring::Error> for Refusal {
    fn from(error: hashring::Error) -> Refusal {
        Refusal::Ring(error)
    }
}

impl Map {
    /// The map after a change.
    pub fn changed(&self, change: &Change) -> Result<Map, Refusal> {
        let mut map = Map { version: self.version + 1, ..self.clone() };
        match change {
            Change::Invite { addr, weight, zone, replaces } => {
                map.invite(addr, *weight, zone, *replaces)?;
            }
            Change::Come { addr, identity } => return map.come(addr, *identity),
            Change::Set { node, weight, zone } => {
                let member = map.member(*node)?;
                (member.weight, member.zone) = (*weight, zone.clone());
                map.check_ring()?;
            }
            Change::Drain { node } => return map.drain(*node),
            Change::Keep { node } => {
                let member = map.member(*node)?;
                if !matches!(member.standing, Standing::Draining | Standing::Lost) {
                    let (node, standing) = (*node, member.standing);
                    let wanted = "only one that is drained or lost can be kept";
                    return Err(Refusal::Standing { node, standing, wanted });
                }
                member.standing = Standing::Active;
            }
            Change::Lose { node } => return map.lose(*node),
            Change::Remove { node } => map.remove(*node)?,
            Change::Rebalance { replicas } => return map.rebalance(self, *replicas),
        }
        Ok(map)
    }

    fn member(&mut self, node: NodeId) -> Result<&mut Member, Refusal> {
        self.members.get_mut(&node).ok_or(Refusal::Unknown(node))
    }

    /// The ring must take everyone who may come to stand on it.
    pub(super) fn check_ring(&self) -> Result<(), Refusal> {
        Ok(hashring::Ring::check(self.standing_where(|_| true)?)?)
    }

    fn invite(
        &mut self,
        addr: &str,
        weight: u32,
        zone: &Zone,
        replaces: Option<NodeId>,
    ) -> Result<(), Refusal> {
        let port = addr.rsplit_once(':').and_then(|(host, port)| {
            (!host.is_empty()).then(|| port.parse::<u16>().ok().filter(|port| *port > 0))?
        });
        if port.is_none() || addr.len() > ADDR_BYTES_MAX {
            return Err(Refusal::Addr(addr.chars().take(ADDR_BYTES_MAX).collect()));
        }
        if let Some((node, _)) = self.by_addr(addr) {
            return Err(Refusal::AddrTaken { addr: addr.to_owned(), node });
        }
        if let Some(old) = replaces {
            let standing = self.member(old)?.standing;
            if standing == Standing::Invited {
                let wanted = "it holds nothing that another could take over";
                return Err(Refusal::Standing { node: old, standing, wanted });
            }
        }
        let (addr, zone, standing) = (addr.to_owned(), zone.clone(), Standing::Invited);
        let member = Member { addr, weight, zone, standing, identity: None, replaces };
        self.members.insert(NodeId(self.next), member);
        self.next += 1;
        self.check_ring()
    }

    fn come(mut self, addr: &str, identity: Identity) -> Result<Map, Refusal> {
        let Some((node, _)) = self.by_addr(addr) else {
            return Err(Refusal::Uninvited(addr.to_owned()));
        };
        let member = self.member(node)?;
        match member.identity {
            Some(known) if known == identity => return Err(Refusal::Nothing("it has come before")),
            Some(_) => return Err(Refusal::DataGone { node }),
            None => {}
        }
        (member.identity, member.standing) = (Some(identity), Standing::Active);
        let Some(old) = member.replaces.take() else { return Ok(self) };
        // It takes the other's place: nothing else has to move.
        if let Some(gone) = self.members.get_mut(&old) {
            gone.standing = Standing::Draining;
            return Ok(self.placed()?);
        }
        Ok(self)
    }

    /// How many replicas shards have, and would not have with so few nodes.
    fn check_left(&self) -> Result<(), Refusal> {
        let (left, replicas) = (self.ring().len(), self.wanted.replicas());
        if left == 0 {
            return Err(Refusal::Last);
        }
        if left < replicas {
            return Err(Refusal::TooFew { left, replicas });
        }
        Ok(())
    }

    fn drain(mut self, node: NodeId) -> Result<Map, Refusal> {
        let member = self.member(node)?;
        if member.standing == Standing::Draining {
            return Err(Refusal::Nothing("it is drained already"));
        }
        if member.standing == Standing::Invited {
            let (standing, wanted) = (Standing::Invited, "it holds nothing; remove it");
            return Err(Refusal::Standing { node, standing, wanted });
        }
        member.standing = Standing::Draining;
        self.check_left()?;
        Ok(self.placed()?)
    }

    /// What it held is to be held by others, as far as there are any.
    fn lose(mut self, node: NodeId) -> Result<Map, Refusal> {
        let member = self.member(node)?;
        if member.standing != Standing::Active {
            return Err(Refusal::Nothing("it takes no share"));
        }
        member.standing = Standing::Lost;
        self.check_left()?;
        Ok(self.placed()?)
    }

    fn remove(&mut self, node: NodeId) -> Result<(), Refusal> {
        let standing = self.member(node)?.standing;
        let replicas = self.load_of(node);
        if replicas > 0 {
            return Err(Refusal::Holds { node, replicas });
        }
        if standing == Standing::Active {
            let wanted = "drain it first, so that nothing is given to it meanwhile";
            return Err(Refusal::Standing { node, standing, wanted });
        }
        self.members.remove(&node);
        for member in self.members.values_mut() {
            member.replaces = member.replaces.filter(|old| *old != node);
        }
        Ok(())
    }

    fn rebalance(mut self, before: &Map, replicas: Option<u32>) -> Result<Map, Refusal> {
        if let Some(replicas) = replicas {
            let nodes = self.ring().len();
            if replicas as usize > nodes {
                return Err(hashring::Error::Replicas { replicas: replicas as usize, nodes }.into());
            }
            Placement::empty(self.shards(), replicas as usize)?;
            self.replicas = replicas;
        }
        let map = self.placed()?;
        if (&map.wanted, &map.meta, map.replicas) == (&before.wanted, &before.meta, before.replicas)
        {
            return Err(Refusal::Nothing("everything is where it ought to be"));
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hashring::Shards;

    use super::*;
    use crate::message::GroupId;

    fn founding(nodes: u8, replicas: u32) -> Map {
        let founders: Vec<_> = (1..=nodes).map(|n| (format!("n{n}:1"), [n; 16])).collect();
        Map::founding(Shards::new(16).unwrap(), replicas, &founders).unwrap()
    }

    fn invite(addr: &str) -> Change {
        let (addr, zone) = (addr.to_owned(), Zone::default());
        Change::Invite { addr, weight: 1, zone, replaces: None }
    }

    fn come(addr: &str, number: u8) -> Change {
        Change::Come { addr: addr.to_owned(), identity: [number; 16] }
    }

    fn refused(map: &Map, change: &Change) -> String {
        map.changed(change).unwrap_err().to_string()
    }

    #[test]
    fn a_cluster_of_three_grows_to_five_and_shrinks_again() {
        let three = founding(3, 3);
        assert!(three.groups().all(|group| three.wanted_in(group).len() == 3));
        let mut map = three.clone();
        for number in [4, 5] {
            let addr = format!("n{number}:1");
            map = map.changed(&invite(&addr)).unwrap();
            assert_eq!(map.wanted(), three.wanted(), "nobody came yet");
            map = map.changed(&come(&addr, number)).unwrap();
            assert_eq!(map.wanted(), three.wanted(), "nobody asked for it yet");
        }
        let five = map.changed(&Change::Rebalance { replicas: None }).unwrap();
        let loads: Vec<usize> = five.wanted().loads().into_values().collect();
        assert_eq!(loads.iter().sum::<usize>(), 48);
        assert!(loads.iter().all(|load| (9..=10).contains(load)), "{loads:?}");
        assert_eq!(five.wanted_in(GroupId::META).len(), 5);
        assert_eq!(
            refused(&five, &Change::Rebalance { replicas: None }),
            "everything is where it ought to be"
        );
        let four = five.changed(&Change::Drain { node: NodeId(1) }).unwrap();
        let three = four.changed(&Change::Drain { node: NodeId(5) }).unwrap();
        let left: BTreeSet<NodeId> = [2, 3, 4].map(NodeId).into();
        assert!(three.groups().all(|group| three.wanted_in(group) == left));
        let gone = three.changed(&Change::Remove { node: NodeId(1) }).unwrap();
        assert_eq!(gone.members().len(), 4);
        let again = gone.changed(&invite("n1:1")).unwrap();
        assert_eq!(again.by_addr("n1:1").unwrap().0, NodeId(6), "a number is never given twice");
    }

    #[test]
    fn what_would_lose_data_or_mislead_is_refused_and_nothing_is_changed() {
        let map = founding(3, 3);
        let told = refused(&map, &Change::Drain { node: NodeId(1) });
        assert!(told.contains("2 nodes would be left, and each shard is to have 3"), "{told}");
        let told = refused(&map, &Change::Remove { node: NodeId(1) });
        assert!(told.contains("still holds 17 replicas"), "{told}");
        assert!(refused(&map, &Change::Drain { node: NodeId(9) }).contains("no node 9"));
        assert!(refused(&map, &invite("n2:1")).contains("the address of node 2 already"));
        for addr in ["n4", "n4:", ":1", "n4:0", "n4:70000"] {
            assert!(refused(&map, &invite(addr)).contains("no address of a node"), "{addr}");
        }
        assert!(refused(&map, &come("n9:1", 9)).contains("synod node add n9:1"));
        assert!(refused(&map, &come("n2:1", 9)).contains("is not that node's"));
        assert!(refused(&map, &come("n2:1", 2)).contains("has come before"));
        let heavy = Change::Set { node: NodeId(1), weight: 0, zone: Zone::default() };
        assert!(refused(&map, &heavy).contains("weight 0 would hold nothing"));
        let more = Change::Rebalance { replicas: Some(4) };
        assert!(refused(&map, &more).contains("4 replicas of a shard need as many nodes"));
        let alone = founding(1, 3);
        assert!(refused(&alone, &Change::Drain { node: NodeId(1) }).contains("the only node"));
        assert!(refused(&alone, &Change::Lose { node: NodeId(1) }).contains("the only node"));
    }

    #[test]
    fn a_node_that_replaces_another_takes_what_that_held_and_nothing_else_moves() {
        let map = founding(5, 3);
        let (addr, zone) = ("n6:1".to_owned(), Zone::default());
        let old = Some(NodeId(2));
        let invite = Change::Invite { addr, weight: 1, zone, replaces: old };
        let map = map.changed(&invite).unwrap();
        let after = map.changed(&come("n6:1", 6)).unwrap();
        assert_eq!(after.load_of(NodeId(2)), 0);
        for group in after.groups() {
            let (was, is) = (map.wanted_in(group), after.wanted_in(group));
            let expect: BTreeSet<NodeId> =
                was.iter().map(|node| if *node == NodeId(2) { NodeId(6) } else { *node }).collect();
            assert_eq!(is, expect, "{group:?}");
        }
    }

    #[test]
    fn what_a_lost_node_held_is_held_by_others_and_it_comes_back_with_nothing() {
        let map = founding(5, 3).changed(&Change::Lose { node: NodeId(3) }).unwrap();
        assert_eq!(map.load_of(NodeId(3)), 0);
        assert!(map.wanted().iter().all(|(_, set)| set.len() == 3));
        let back = map.changed(&Change::Keep { node: NodeId(3) }).unwrap();
        assert_eq!((back.load_of(NodeId(3)), back.is_active(NodeId(3))), (0, true));
    }
}

//! The map as bytes: in the meta group's log, between nodes, in the data directory.

use std::collections::{BTreeMap, BTreeSet};

use consensus::NodeId;
use hashring::{Placement, Shards, Zone};
use stdx::codec::{Malformed, Reader, put_bytes, put_varint};

use super::{Identity, Map, Member, Standing};

/// The layout. Another one is refused.
const FORMAT: u8 = 1;

impl Map {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        put_varint(out, self.version);
        put_varint(out, u64::from(self.next));
        put_varint(out, u64::from(self.replicas));
        put_varint(out, self.members.len() as u64);
        for (node, member) in &self.members {
            put_varint(out, u64::from(node.0));
            put_member(out, member);
        }
        put_nodes(out, self.meta.iter().map(|node| node.0));
        put_varint(out, self.wanted.replicas() as u64);
        put_varint(out, self.shards().count() as u64);
        for (_, set) in self.wanted.iter() {
            put_nodes(out, set.iter().map(|node| node.0));
        }
    }

    /// Reads what `encode` wrote, to the end of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Map, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != FORMAT {
            return Err(reader.malformed());
        }
        let version = reader.varint()?;
        let (next, replicas) = (reader.varint32()?, reader.varint32()?);
        let members: BTreeMap<NodeId, Member> = reader
            .list(|reader| Ok((NodeId(reader.varint32()?), read_member(reader)?)))?
            .into_iter()
            .collect();
        let meta: BTreeSet<NodeId> = read_nodes(&mut reader)?.into_iter().map(NodeId).collect();
        let each = reader.varint()? as usize;
        let sets = reader.list(|reader| {
            Ok(read_nodes(reader)?.into_iter().map(hashring::NodeId).collect::<Vec<_>>())
        })?;
        let shards = Shards::new(sets.len()).map_err(|_| reader.malformed())?;
        let wanted = Placement::of_sets(shards, each, sets).map_err(|_| reader.malformed())?;
        let map = Map { version, next, replicas, members, meta, wanted };
        let known = |node: NodeId| map.members.contains_key(&node);
        let placed = map.groups().all(|group| map.wanted_in(group).into_iter().all(known));
        let numbered = map.members.keys().all(|node| node.0 < next);
        if reader.is_empty() && placed && numbered && map.check_ring().is_ok() {
            Ok(map)
        } else {
            Err(reader.malformed())
        }
    }
}

fn put_nodes(out: &mut Vec<u8>, nodes: impl ExactSizeIterator<Item = u32>) {
    put_varint(out, nodes.len() as u64);
    nodes.for_each(|node| put_varint(out, u64::from(node)));
}

fn read_nodes(reader: &mut Reader<'_>) -> Result<Vec<u32>, Malformed> {
    reader.list(Reader::varint32)
}

fn put_member(out: &mut Vec<u8>, member: &Member) {
    let Member { addr, weight, zone, standing, identity, replaces } = member;
    put_bytes(out, addr.as_bytes());
    put_varint(out, u64::from(*weight));
    put_bytes(out, zone.as_str().as_bytes());
    out.push(match standing {
        Standing::Invited => 0,
        Standing::Active => 1,
        Standing::Draining => 2,
        Standing::Lost => 3,
    });
    put_bytes(out, identity.as_ref().map_or(&[], |identity| &identity[..]));
    put_varint(out, replaces.map_or(0, |node| u64::from(node.0)));
}

fn read_member(reader: &mut Reader<'_>) -> Result<Member, Malformed> {
    let text = |reader: &mut Reader<'_>| {
        let bytes = reader.bytes()?.to_vec();
        String::from_utf8(bytes).map_err(|_| reader.malformed())
    };
    let addr = text(reader)?;
    let weight = reader.varint32()?;
    let zone = Zone::new(&text(reader)?).map_err(|_| reader.malformed())?;
    let standing = match reader.byte()? {
        0 => Standing::Invited,
        1 => Standing::Active,
        2 => Standing::Draining,
        3 => Standing::Lost,
        _ => return Err(reader.malformed()),
    };
    let identity = match reader.bytes()? {
        [] => None,
        bytes => Some(Identity::try_from(bytes).map_err(|_| reader.malformed())?),
    };
    let replaces = Some(reader.varint32()?).filter(|node| *node > 0).map(NodeId);
    Ok(Member { addr, weight, zone, standing, identity, replaces })
}

#[cfg(test)]
mod tests {
    use super::super::Change;
    use super::*;

    #[test]
    fn a_map_comes_back_and_a_damaged_one_is_refused() {
        let founders: Vec<_> = (1..=5).map(|n| (format!("n{n}:1"), [n; 16])).collect();
        let map = Map::founding(Shards::new(8).unwrap(), 3, &founders).unwrap();
        let (addr, zone) = ("n9:9".to_owned(), Zone::new("b").unwrap());
        let replaces = Some(NodeId(2));
        let map = map.changed(&Change::Invite { addr, weight: 7, zone, replaces }).unwrap();
        let map = map.changed(&Change::Lose { node: NodeId(4) }).unwrap();
        let mut bytes = Vec::new();
        map.encode(&mut bytes);
        assert_eq!(Map::decode(&bytes), Ok(map));
        for cut in 0..bytes.len() {
            assert!(Map::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        bytes[0] = FORMAT + 1;
        assert!(Map::decode(&bytes).is_err());
    }
}

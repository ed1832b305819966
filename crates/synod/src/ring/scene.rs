//! What there is to see: nodes, who holds and leads each shard, keys; and a change of it.

use std::collections::BTreeMap;

use hashring::{Move, Node, NodeId, Placement, Ring, ShardId, Shards, Share, Zone, leaders, plan};

use super::Options;

/// A cluster as its map has it.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) ring: Ring,
    pub(super) placement: Placement,
    pub(super) leaders: Vec<NodeId>,
    /// Keys, by shard.
    pub(super) keys: Vec<u64>,
}

/// What a table has of one node.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: NodeId,
    pub(super) weight: u32,
    pub(super) zone: Zone,
    pub(super) points: usize,
    /// The part of the circle that it owns.
    pub(super) circle: f64,
    pub(super) replicas: usize,
    pub(super) fair: f64,
    pub(super) leads: usize,
    /// Keys of the shards that it holds.
    pub(super) keys: u64,
}

impl Scene {
    /// The cluster that the options tell of, as it is when it is founded.
    pub(super) fn new(options: &Options) -> Result<Scene, String> {
        let shards = Shards::new(options.shards).map_err(told)?;
        let ring = ring(options)?;
        let placement = Placement::empty(shards, options.replicas).map_err(told)?;
        let keys = keys_of(shards, options.keys);
        Scene { ring: Ring::new(), placement, leaders: Vec::new(), keys }.next(ring)
    }

    /// The same cluster once its nodes are those of `ring`.
    pub(super) fn next(&self, ring: Ring) -> Result<Scene, String> {
        let placement = Placement::target(&ring, &self.placement).map_err(told)?;
        let leaders = leaders(&ring, &placement, &self.leaders).map_err(told)?;
        Ok(Scene { ring, placement, leaders, keys: self.keys.clone() })
    }

    /// A row for each node.
    pub(super) fn rows(&self) -> Vec<Row> {
        let (shards, replicas) = (self.placement.shards(), self.placement.replicas());
        let shares = Share::of_nodes(&self.ring, shards, replicas).unwrap_or_default();
        let rows = self.ring.nodes().zip(shares).map(|((id, node), (_, share))| {
            let (points, circle) = self.ring.share(id);
            let held = self.placement.iter().filter(|(_, set)| set.contains(&id));
            let held: Vec<ShardId> = held.map(|(shard, _)| shard).collect();
            Row {
                id,
                weight: node.weight(),
                zone: node.zone().clone(),
                points,
                circle,
                replicas: held.len(),
                fair: share.as_f64(),
                leads: self.leaders.iter().filter(|leader| **leader == id).count(),
                keys: held.iter().map(|shard| self.keys[shard.index()]).sum(),
            }
        });
        rows.collect()
    }
}

/// So many keys, by shard.
pub(super) fn keys_of(shards: Shards, count: u64) -> Vec<u64> {
    let mut keys = vec![0; shards.count()];
    for number in 0..count {
        keys[shards.of_key(format!("key:{number}").as_bytes()).index()] += 1;
    }
    keys
}

pub(super) fn told(error: hashring::Error) -> String {
    error.to_string()
}

fn ring(options: &Options) -> Result<Ring, String> {
    let count = options.nodes as usize;
    // Before that many are made.
    if count + options.add.unwrap_or(0) as usize > hashring::NODES_MAX {
        return Err(told(hashring::Error::NodesTooMany));
    }
    for (found, what) in [(options.weights.len(), "weights"), (options.zones.len(), "zones")] {
        if found != 0 && found != count {
            return Err(format!("{found} {what} for {count} nodes: name one for each, or none"));
        }
    }
    let node = |number: u32| {
        let place = number as usize;
        let weight = options.weights.get(place).copied().unwrap_or(1);
        let zone = options.zones.get(place).map_or_else(|| Ok(Zone::default()), |z| Zone::new(z));
        Ok((NodeId(number + 1), Node::new(weight, zone?)?))
    };
    let nodes = (0..options.nodes).map(node).collect::<Result<Vec<_>, hashring::Error>>();
    nodes.and_then(Ring::of).map_err(told)
}

/// The zone with the fewest nodes; of equals the first by name.
pub(super) fn emptiest_zone(ring: &Ring) -> Zone {
    let mut sizes: BTreeMap<&Zone, usize> = BTreeMap::new();
    for (_, node) in ring.nodes() {
        *sizes.entry(node.zone()).or_default() += 1;
    }
    let emptiest = sizes.into_iter().min_by_key(|(_, size)| *size);
    emptiest.map(|(zone, _)| zone.clone()).unwrap_or_default()
}

/// From one scene to the next.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) came: Vec<NodeId>,
    pub(super) went: Vec<NodeId>,
    pub(super) moves: Vec<Move>,
    pub(super) replicas: usize,
    pub(super) replicas_moved: usize,
    /// The least that loads allow, zones aside.
    pub(super) replicas_least: usize,
    pub(super) shards_touched: usize,
    pub(super) shards: usize,
    pub(super) leaders_moved: usize,
    /// Keys, once for each replica.
    pub(super) keys: u64,
    pub(super) keys_moved: u64,
}

impl Change {
    pub(super) fn between(before: &Scene, after: &Scene) -> Result<Change, String> {
        let only = |one: &Ring, other: &Ring| {
            let ids = one.nodes().map(|(id, _)| id);
            ids.filter(|id| other.node(*id).is_none()).collect()
        };
        let moves = plan(&before.placement, &after.placement).map_err(told)?;
        let added: Vec<ShardId> =
            moves.iter().filter(|step| step.add.is_some()).map(|step| step.shard).collect();
        let mut touched = added.clone();
        touched.dedup();
        let leaders = before.leaders.iter().zip(&after.leaders);
        let (shards, replicas) = (after.placement.shards().count(), after.placement.replicas());
        Ok(Change {
            came: only(&after.ring, &before.ring),
            went: only(&before.ring, &after.ring),
            replicas: shards * replicas,
            replicas_moved: added.len(),
            replicas_least: Placement::least_moves(&after.ring, &before.placement).map_err(told)?,
            shards_touched: touched.len(),
            shards,
            leaders_moved: leaders.filter(|(old, new)| old != new).count(),
            keys: after.keys.iter().sum::<u64>() * replicas as u64,
            keys_moved: added.iter().map(|shard| after.keys[shard.index()]).sum(),
            moves,
        })
    }

    /// Did the node get this shard by it?
    pub(super) fn brought(&self, shard: ShardId, node: NodeId) -> bool {
        self.moves.iter().any(|step| step.shard == shard && step.add == Some(node))
    }
}

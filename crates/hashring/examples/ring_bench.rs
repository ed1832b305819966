//! What a placement is worth beside other ways to find a node for a key:
//! `cargo run --release -p hashring --example ring_bench`.
//!
//! Four tables: lookups a second; how even keys are on ten nodes and how many move when one comes
//! or goes; the same for the replicas of shards; how even circles of so many points are. The other
//! ways are written out below, for equal nodes. docs/ring.md has the result and what it says.

#![expect(clippy::disallowed_types, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use hashring::{Node, NodeId, Placement, Ring, Shards, Spread, Zone, leaders, plan};
use stdx::{Rng, hash_bytes};

const KEYS: usize = 1_000_000;
const SHARDS: usize = 1_024;
const REPLICAS: usize = 3;

fn main() -> Result<(), hashring::Error> {
    let keys: Vec<String> = (0..KEYS).map(|number| format!("user:{number}")).collect();
    eprintln!("a million keys, 10 nodes; 11 when one comes, 9 when node 4 goes\n");
    eprintln!("way                   lookups/s  max/mean  stddev  moved when one comes, goes");
    let (ten, eleven, nine) = (nodes(10, None), nodes(11, None), nodes(10, Some(4)));
    row("modulo", &keys, [&ten[..], &eleven, &nine], modulo);
    row("jump hash", &keys, [&ten[..], &eleven, &swapped(&ten, 4)], jump);
    row("rendezvous hash", &keys, [&ten[..], &eleven, &nine], rendezvous);
    let rings = [ring_of(&ten)?, ring_of(&eleven)?, ring_of(&nine)?];
    let owner = |ring: &Ring, key: &[u8]| ring.lookup(key).map_or(0, |node| node.0);
    row("ring without bounds", &keys, [&rings[0], &rings[1], &rings[2]], owner);
    let map = Map::first(&rings[0])?;
    let maps = [&map, &map.next(&rings[1])?, &map.next(&rings[2])?];
    row("ring and placement", &keys, maps, |map, key| map.lookup(key));
    eprintln!(
        "{:<20}  {:>9}  {:>8}  {:>6}  {:>7}  {:>7}",
        "least", "", "1.000", "", "9.09%", "10.00%"
    );

    let hundred = nodes(100, None);
    eprintln!("\n100 nodes             lookups/s");
    rate("modulo", &keys, &hundred[..], modulo);
    rate("jump hash", &keys, &hundred[..], jump);
    rate("rendezvous hash", &keys[..KEYS / 10], &hundred[..], rendezvous);
    let ring = ring_of(&hundred)?;
    rate("ring without bounds", &keys, &ring, owner);
    rate("ring and placement", &keys, &Map::first(&ring)?, |map, key| map.lookup(key));
    replicas(5, 16)?;
    replicas(10, SHARDS)?;
    points();
    Ok(())
}

fn nodes(count: u32, without: Option<u32>) -> Vec<u32> {
    (1..=count).filter(|node| Some(*node) != without).collect()
}

/// Jump hash knows numbered buckets and can drop only the last: it takes the place of the one that
/// goes.
fn swapped(nodes: &[u32], without: u32) -> Vec<u32> {
    let mut nodes = nodes.to_vec();
    nodes.swap_remove(without as usize - 1);
    nodes
}

fn modulo(nodes: &[u32], key: &[u8]) -> u32 {
    nodes[(hash_bytes(0, key) % nodes.len() as u64) as usize]
}

/// Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014.
fn jump(nodes: &[u32], key: &[u8]) -> u32 {
    let (mut seed, mut bucket, mut next) = (hash_bytes(0, key), 0, 0.0);
    while next < nodes.len() as f64 {
        bucket = next as usize;
        seed = seed.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = (bucket as f64 + 1.0) * ((1u64 << 31) as f64 / ((seed >> 33) as f64 + 1.0));
    }
    nodes[bucket]
}

/// Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998: the node whose
/// hash with the key is highest.
fn rendezvous(nodes: &[u32], key: &[u8]) -> u32 {
    let hash = hash_bytes(0, key);
    nodes.iter().copied().max_by_key(|node| mix(hash ^ mix(u64::from(*node)))).unwrap_or(0)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn ring_of(nodes: &[u32]) -> Result<Ring, hashring::Error> {
    let mut ring = Ring::new();
    for &node in nodes {
        ring.add(NodeId(node), Node::new(1, Zone::default())?)?;
    }
    Ok(ring)
}

/// What a node of a cluster keeps: who holds and who leads each shard.
struct Map {
    placement: Placement,
    leaders: Vec<NodeId>,
}

impl Map {
    fn first(ring: &Ring) -> Result<Map, hashring::Error> {
        let placement = Placement::empty(Shards::new(SHARDS)?, REPLICAS)?;
        Map { placement, leaders: Vec::new() }.next(ring)
    }

    fn next(&self, ring: &Ring) -> Result<Map, hashring::Error> {
        let placement = Placement::target(ring, &self.placement)?;
        let leaders = leaders(ring, &placement, &self.leaders)?;
        Ok(Map { placement, leaders })
    }

    fn lookup(&self, key: &[u8]) -> u32 {
        self.leaders[self.placement.shards().of_key(key).index()].0
    }
}

/// One way: rate, spread over the first of `worlds`, keys that move to the second and the third.
fn row<W: ?Sized>(name: &str, keys: &[String], worlds: [&W; 3], way: impl Fn(&W, &[u8]) -> u32) {
    let per_second = measure(keys, worlds[0], &way);
    let homes = worlds
        .map(|world| -> Vec<u32> { keys.iter().map(|key| way(world, key.as_bytes())).collect() });
    let mut loads = [0.0; 11];
    for node in &homes[0] {
        loads[*node as usize] += 1.0;
    }
    let spread = Spread::of(loads[1..].iter().map(|load| (*load, KEYS as f64 / 10.0)));
    let moved = |to: &Vec<u32>| homes[0].iter().zip(to).filter(|(one, two)| one != two).count();
    let percent = |count: usize| 100.0 * count as f64 / KEYS as f64;
    eprintln!(
        "{name:<20}  {:>8.1}M  {:>8.3}  {:>6.3}  {:>6.2}%  {:>6.2}%",
        per_second / 1e6,
        spread.max,
        spread.deviation,
        percent(moved(&homes[1])),
        percent(moved(&homes[2])),
    );
}

fn rate<W: ?Sized>(name: &str, keys: &[String], world: &W, way: impl Fn(&W, &[u8]) -> u32) {
    eprintln!("{name:<20}  {:>8.1}M", measure(keys, world, &way) / 1e6);
}

/// Lookups a second, hashing of the key included: of the best of many short stretches, so that what
/// else the machine does is left out.
fn measure<W: ?Sized>(keys: &[String], world: &W, way: impl Fn(&W, &[u8]) -> u32) -> f64 {
    const STRETCH: usize = 5_000;
    let stretch = |keys: &[String]| {
        let begin = Instant::now();
        for key in keys {
            black_box(way(world, black_box(key.as_bytes())));
        }
        keys.len() as f64 / begin.elapsed().as_secs_f64()
    };
    keys.chunks_exact(STRETCH).map(stretch).fold(0.0, f64::max)
}

type Way = fn(&Ring, Shards, &Placement) -> Result<Placement, hashring::Error>;

/// Replicas: spread, and moves over the least when a node comes and when one goes, on so many
/// circles of so many nodes.
fn replicas(nodes: usize, shards: usize) -> Result<(), hashring::Error> {
    const CIRCLES: u64 = 50;
    eprintln!(
        "\n{nodes} nodes, {shards} shards, {REPLICAS} replicas; {CIRCLES} circles\n{:<22}  max/mean  \
         worst  moved/least when one comes, goes",
        "way",
    );
    let shards = Shards::new(shards)?;
    let ways: [(&str, Way); 5] = [
        ("ring without bounds", |ring, shards, _| bounded(ring, shards, f64::INFINITY)),
        ("bounded, slack 25%", |ring, shards, _| bounded(ring, shards, 0.25)),
        ("bounded, slack 10%", |ring, shards, _| bounded(ring, shards, 0.1)),
        ("bounded, slack 0", |ring, shards, _| bounded(ring, shards, 0.0)),
        ("placement", |ring, _, from| Placement::target(ring, from)),
    ];
    for (name, way) in ways {
        let (mut mean, mut worst, mut moved) = (0.0, 0.0_f64, [0.0; 2]);
        for seed in 0..CIRCLES {
            let mut rng = Rng::new(seed);
            let ids: Vec<u32> = (0..=nodes).map(|_| rng.next() as u32).collect();
            let ring = ring_of(&ids[..nodes])?;
            let first = way(&ring, shards, &Placement::empty(shards, REPLICAS)?)?;
            let fair = (shards.count() * REPLICAS) as f64;
            let loads = first.loads().into_values().map(|load| load as f64);
            let spread = Spread::of(loads.map(|load| (load, fair / nodes as f64)));
            mean += spread.max / CIRCLES as f64;
            worst = worst.max(spread.max);
            let held = first.loads().get(&NodeId(ids[0])).copied().unwrap_or(0);
            let leasts = [fair / (nodes as f64 + 1.0), held as f64];
            let nexts = [ring_of(&ids)?, ring_of(&ids[1..nodes])?];
            for ((moved, next), least) in moved.iter_mut().zip(nexts).zip(leasts) {
                let moves = plan(&first, &way(&next, shards, &first)?)?;
                let added = moves.iter().filter(|step| step.add.is_some()).count();
                *moved += added as f64 / least / CIRCLES as f64;
            }
        }
        eprintln!("{name:<22}  {mean:>8.3}  {worst:>5.3}  {:>16.3}  {:>5.3}", moved[0], moved[1]);
    }
    Ok(())
}

/// A function of the nodes alone: shard by shard, the next nodes clockwise that are below the bound
/// (Mirrokni, Thorup and Zadimoghaddam, 2018).
fn bounded(ring: &Ring, shards: Shards, slack: f64) -> Result<Placement, hashring::Error> {
    let fair = (shards.count() * REPLICAS) as f64 / ring.len() as f64;
    let bound = ((1.0 + slack) * fair).ceil();
    let mut loads = std::collections::BTreeMap::<NodeId, f64>::new();
    let mut sets = Vec::new();
    for shard in shards.iter() {
        let mut set = Vec::new();
        for node in ring.walk(shards, shard) {
            let load = loads.entry(node).or_default();
            if *load < bound && set.len() < REPLICAS {
                *load += 1.0;
                set.push(node);
            }
        }
        sets.push(set);
    }
    Placement::of_sets(shards, REPLICAS, sets)
}

/// Circles of ten nodes with so many points each, a hundred for each line.
fn points() {
    eprintln!("\npoints of a node  max/mean, mean of 100 circles  worst  stddev");
    for points in [1, 8, 32, 64, 128, 256, 512, 1_024] {
        let mut rng = Rng::new(points);
        let (mut max, mut worst, mut deviation) = (0.0, 0.0_f64, 0.0);
        for _ in 0..100 {
            let mut circle: Vec<(u64, usize)> =
                (0..10 * points).map(|point| (rng.next(), (point % 10) as usize)).collect();
            circle.sort_unstable();
            let mut owned = [0.0; 10];
            let mut before = circle[circle.len() - 1].0;
            for (place, node) in circle {
                owned[node] += place.wrapping_sub(before) as f64 / (u64::MAX as f64);
                before = place;
            }
            let spread = Spread::of(owned.map(|part| (part, 0.1)));
            max += spread.max / 100.0;
            worst = worst.max(spread.max);
            deviation += spread.deviation / 100.0;
        }
        eprintln!("{points:>16}  {max:>29.3}  {worst:>5.3}  {deviation:>6.3}");
    }
}

//! What a placement promises, over random clusters that grow and shrink.
//!
//! Weights, zones, numbers of nodes, shards and replicas are drawn; the numbers of nodes are drawn
//! too, since they decide the circle, so each case is another circle.

#![expect(clippy::unwrap_used, reason = "tests")]

use hashring::{
    Error, Move, Node, NodeId, Placement, Ring, SLACK_PERCENT, Shards, Share, Zone, leaders, plan,
};
use proptest::prelude::*;
use stdx::Rng;

/// Moves beside the least that loads allow: the promise of the issue.
const MOVES_MAX: f64 = 1.15;

fn node(weight: u32, zone: u32) -> Node {
    Node::new(weight, Zone::new(&format!("z{zone}")).unwrap()).unwrap()
}

fn ring_of(nodes: &[(u32, u32, u32)]) -> Ring {
    let mut ring = Ring::new();
    for &(id, weight, zone) in nodes {
        ring.add(NodeId(id), node(weight, zone)).unwrap();
    }
    ring
}

fn first(ring: &Ring, shards: usize, replicas: usize) -> Placement {
    let empty = Placement::empty(Shards::new(shards).unwrap(), replicas).unwrap();
    Placement::target(ring, &empty).unwrap()
}

fn added(moves: &[Move]) -> usize {
    moves.iter().filter(|step| step.add.is_some()).count()
}

/// Goes to the placement of the ring as it is and checks all that is promised of the way. Returns
/// the moves and the least.
fn step(ring: &Ring, from: &Placement) -> (Placement, usize, usize) {
    let least = Placement::least_moves(ring, from).unwrap();
    let to = Placement::target(ring, from).unwrap();
    check_bounds(ring, &to);
    let moves = plan(from, &to).unwrap();
    check_plan(from, &to, &moves);
    assert_eq!(Placement::target(ring, &to).unwrap(), to, "a target is its own target");
    (to, added(&moves), least)
}

fn check_bounds(ring: &Ring, placement: &Placement) {
    let (shards, replicas) = (placement.shards(), placement.replicas());
    let loads = placement.loads();
    for (id, share) in Share::of_nodes(ring, shards, replicas).unwrap() {
        let load = loads.get(&id).copied().unwrap_or(0);
        assert!(
            (share.low(SLACK_PERCENT)..=share.high(SLACK_PERCENT)).contains(&load),
            "{id}: {load} of {share:?}"
        );
    }
    let limit = ring.zone_limit(replicas).unwrap();
    for (shard, set) in placement.iter() {
        assert_eq!(set.len(), replicas, "shard {shard}");
        for zone in set.iter().map(|id| ring.node(*id).unwrap().zone()) {
            let same = set.iter().filter(|id| ring.node(**id).unwrap().zone() == zone).count();
            assert!(same <= limit, "shard {shard} is {same} times in zone {zone}");
        }
    }
}

/// A plan, carried out, leads from one to the other.
fn check_plan(from: &Placement, to: &Placement, moves: &[Move]) {
    let mut sets: Vec<Vec<NodeId>> = from.iter().map(|(_, set)| set.to_vec()).collect();
    for step in moves {
        let set = &mut sets[step.shard.index()];
        set.retain(|id| Some(*id) != step.remove);
        set.extend(step.add);
    }
    assert_eq!(Placement::of_sets(to.shards(), to.replicas(), sets).as_ref(), Ok(to));
}

/// A cluster that is to change, and the dice for how.
#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    shards: usize,
    replicas: usize,
    weights: u32,
    zones: u32,
}

fn case() -> impl Strategy<Value = Case> {
    (any::<u64>(), 4u32..=10, 1usize..=5, 1u32..=4, 1u32..=7).prop_map(
        |(seed, bits, replicas, weights, zones)| Case {
            seed,
            shards: 1 << bits,
            replicas,
            weights,
            zones,
        },
    )
}

impl Case {
    fn draw(&self, rng: &mut Rng) -> (NodeId, Node) {
        let id = NodeId(rng.below(1 << 32) as u32);
        let weight = 1 + rng.below(u64::from(self.weights)) as u32;
        (id, node(weight, rng.below(u64::from(self.zones)) as u32))
    }

    /// Nodes come and go; returns all moves and all leasts, step by step.
    fn run(&self, steps: usize) -> Vec<(usize, usize)> {
        let mut rng = Rng::new(self.seed);
        let mut ring = Ring::new();
        while ring.len() < self.replicas.max(3) {
            let (id, node) = self.draw(&mut rng);
            ring.add(id, node).unwrap();
        }
        let mut placement = first(&ring, self.shards, self.replicas);
        check_bounds(&ring, &placement);
        let mut costs = Vec::new();
        for _ in 0..steps {
            if rng.one_in(2) && ring.len() > self.replicas {
                let place = rng.below(ring.len() as u64) as usize;
                let (id, _) = ring.nodes().nth(place).unwrap();
                ring.remove(id).unwrap();
            } else {
                let (id, node) = self.draw(&mut rng);
                ring.add(id, node).unwrap();
            }
            let (next, moves, least) = step(&ring, &placement);
            placement = next;
            costs.push((moves, least));
        }
        costs
    }
}

/// Most that a step may cost: the promise, but for one move where the least is a handful.
fn allowed(least: usize) -> usize {
    ((least as f64 * MOVES_MAX).ceil() as usize).max(least + 1)
}

/// Nine replicas of the node that goes, and no way to give each to one of the two nodes that may
/// have it so that all four hold twelve: one more is moved (found by chance, and tried out by hand).
#[test]
fn a_move_more_than_the_least_is_made_where_the_least_would_be_uneven() {
    let ids = [1_808_121_375, 2_327_769_904, 2_597_942_630, 3_577_346_996, 4_217_594_648];
    let nodes = ids.map(|id| (id, 1, 0));
    let mut placement = first(&ring_of(&nodes[..3]), 16, 3);
    for count in [4, 5] {
        placement = step(&ring_of(&nodes[..count]), &placement).0;
    }
    let (next, moves, least) = step(&ring_of(&nodes[1..]), &placement);
    assert_eq!((moves, least), (10, 9));
    assert!(next.loads().values().all(|load| *load == 12));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every bound holds at every step (`step` sees to it); and moves are near the least.
    #[test]
    fn nodes_come_and_go_within_bounds_and_at_little_cost(case in case()) {
        let costs = case.run(6);
        let moves: usize = costs.iter().map(|(moves, _)| moves).sum();
        let least: usize = costs.iter().map(|(_, least)| least).sum();
        prop_assert!(moves <= allowed(least), "{moves} moves, {least} at the least: {costs:?}");
    }

    /// Where weights are equal and there is one zone, the least is a figure that everybody can work
    /// out: a node that comes gets its fair share, what a node that goes held is given to others. Of
    /// few shards those cannot always be dealt out evenly, as a node holds a shard once.
    #[test]
    fn three_nodes_become_five_and_three_again_with_the_least_moves(
        ids in proptest::collection::btree_set(any::<u32>(), 5),
        bits in 4u32..=10,
    ) {
        let nodes: Vec<(u32, u32, u32)> = ids.into_iter().map(|id| (id, 1, 0)).collect();
        let all = 3usize << bits;
        let mut placement = first(&ring_of(&nodes[..3]), 1 << bits, 3);
        for count in [4, 5] {
            let (next, moves, least) = step(&ring_of(&nodes[..count]), &placement);
            prop_assert_eq!(moves, all / count);
            prop_assert_eq!(moves, least);
            placement = next;
        }
        for from in [1, 2] {
            let held = placement.loads()[&NodeId(nodes[from - 1].0)];
            let (next, moves, _) = step(&ring_of(&nodes[from..]), &placement);
            prop_assert!((held..=allowed(held)).contains(&moves), "{} of {}", moves, held);
            placement = next;
        }
    }

    /// The same in three zones, which leave a placement little freedom.
    #[test]
    fn zones_and_weights_cost_little_from_three_nodes_to_five_and_back(
        ids in proptest::collection::btree_set(any::<u32>(), 5),
        weights in proptest::collection::vec(1u32..=3, 5),
        bits in 4u32..=10,
    ) {
        let nodes: Vec<(u32, u32, u32)> =
            (0..).zip(ids.into_iter().zip(weights)).map(|(n, (id, w))| (id, w, n % 3)).collect();
        let mut placement = first(&ring_of(&nodes[..3]), 1 << bits, 3);
        for count in [4, 5, 4, 3] {
            let (next, moves, least) = step(&ring_of(&nodes[..count]), &placement);
            prop_assert!(moves <= allowed(least), "{} nodes: {} of {}", count, moves, least);
            placement = next;
        }
    }

    /// Equal nodes lead the mean number of shards, rounded down or up, and who leads goes on when
    /// nothing has changed.
    #[test]
    fn leaders_are_even_and_stay(
        ids in proptest::collection::btree_set(any::<u32>(), 4..=9),
        bits in 4u32..=10,
        replicas in 2usize..=4,
    ) {
        let nodes: Vec<(u32, u32, u32)> = ids.into_iter().map(|id| (id, 1, 0)).collect();
        let count = nodes.len();
        let fewer = ring_of(&nodes[1..]);
        prop_assume!(replicas < count);
        let placement = first(&fewer, 1 << bits, replicas);
        let old = leaders(&fewer, &placement, &[]).unwrap();
        let ring = ring_of(&nodes);
        let (placement, _, _) = step(&ring, &placement);
        let new = leaders(&ring, &placement, &old).unwrap();
        let fair = (1usize << bits) / count;
        for (id, _, _) in &nodes {
            let leads = new.iter().filter(|leader| **leader == NodeId(*id)).count();
            prop_assert!((fair..=fair + 1).contains(&leads), "node {} leads {}", id, leads);
        }
        prop_assert_eq!(&leaders(&ring, &placement, &new).unwrap(), &new);
    }

    /// All choices of leaders are tried: none is more even, and none that is as even keeps more of
    /// the old leaders.
    #[test]
    fn no_choice_of_leaders_is_better(
        weights in proptest::collection::vec(0u32..=3, 2..=5),
        sets in proptest::collection::vec(any::<(u8, u8, u8)>(), 8),
        old in proptest::option::of(proptest::collection::vec(0u32..5, 8)),
    ) {
        let mut ring = Ring::new();
        for (id, weight) in (0u32..).zip(&weights) {
            if *weight > 0 {
                ring.add(NodeId(id), node(*weight, 0)).unwrap();
            }
        }
        // Two or three of the nodes, whether they are on the ring or not.
        let count = weights.len() as u8;
        let sets = sets.into_iter().map(|(one, other, third)| {
            let first = one % count;
            let second = (first + 1 + other % (count - 1)) % count;
            let third = third % count;
            let mut set = vec![NodeId(first.into()), NodeId(second.into())];
            if !set.contains(&NodeId(third.into())) {
                set.push(NodeId(third.into()));
            }
            set
        });
        let sets: Vec<Vec<NodeId>> = sets.collect();
        let shards = Shards::new(8).unwrap();
        let placement = Placement::of_sets(shards, 2, sets.clone()).unwrap();
        let old: Vec<NodeId> = old.unwrap_or_default().into_iter().map(NodeId).collect();
        let chosen = leaders(&ring, &placement, &old).unwrap();
        let able: Vec<Vec<NodeId>> = sets.iter().map(|set| {
            let on_ring: Vec<NodeId> =
                set.iter().copied().filter(|id| ring.node(*id).is_some()).collect();
            if on_ring.is_empty() { set.clone() } else { on_ring }
        }).collect();
        for (id, able) in chosen.iter().zip(&able) {
            prop_assert!(able.contains(id));
        }
        // Six is a multiple of every weight. Who is off the ring leads what nobody else can.
        let badness = |leaders: &[NodeId]| {
            let square = |(id, node): (NodeId, &Node)| {
                let leads = leaders.iter().filter(|leader| **leader == id).count();
                leads * leads * 6 / node.weight() as usize
            };
            let moved = old.iter().zip(leaders).filter(|(old, new)| old != new).count();
            (ring.nodes().map(square).sum::<usize>(), moved)
        };
        let choices: usize = able.iter().map(Vec::len).product();
        let best = (0..choices).map(|mut number| {
            let choice: Vec<NodeId> = able.iter().map(|able| {
                let one = able[number % able.len()];
                number /= able.len();
                one
            }).collect();
            badness(&choice)
        }).min();
        prop_assert_eq!(Some(badness(&chosen)), best);
    }
}

#[test]
fn a_hundred_nodes_and_a_thousand_shards_heal_with_the_least_moves() {
    let nodes: Vec<(u32, u32, u32)> = (1..=100).map(|id| (id, 1, id % 5)).collect();
    let placement = first(&ring_of(&nodes), 1_024, 3);
    let (_, moves, least) = step(&ring_of(&nodes[1..]), &placement);
    assert_eq!((moves, least), (placement.loads()[&NodeId(1)], moves));
}

#[test]
fn another_number_of_replicas_is_a_change_like_any_other() {
    let ring = ring_of(&[(1, 1, 0), (2, 1, 1), (3, 1, 2), (4, 1, 3), (5, 1, 4)]);
    let three = first(&ring, 64, 3);
    let (five, moves, _) = step(&ring, &three.clone().with_replicas(5).unwrap());
    assert_eq!(moves, 2 * 64);
    let (_, moves, _) = step(&ring, &five.with_replicas(3).unwrap());
    assert_eq!(moves, 0, "to drop a replica sends nothing");
}

#[test]
fn fewer_nodes_than_replicas_are_refused() {
    let placement = first(&ring_of(&[(1, 1, 0), (2, 1, 0), (3, 1, 0)]), 16, 3);
    let error = Placement::target(&ring_of(&[(1, 1, 0), (2, 1, 0)]), &placement).unwrap_err();
    assert_eq!(error, Error::Replicas { replicas: 3, nodes: 2 });
}

//! Raft under chance: messages lost, late, twice and out of order; nodes that crash and forget what
//! was not durable; slow disks; drifting clocks; partitions; changes of members; compaction. After
//! every step the checks of `support` hold; and when all is healed, the group works again.
//!
//! A seed replays exactly. `RAFT_SEEDS=1000` runs more of them, `RAFT_SEED=7` runs one.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use consensus::{Config, Envelope, Event, NodeId, Options, Replica, Role, Token};
use stdx::Rng;
use support::Cluster;

const MS: u64 = 1_000_000;

/// How likely each fault is, once in so many times; drawn anew for each seed, 0 for never.
struct Faults {
    lose: u64,
    twice: u64,
    late: u64,
    crash: u64,
    cut: u64,
    change: u64,
    transfer: u64,
    compact: u64,
    corrupt: u64,
    refuse: u64,
    save_ms_max: u64,
    drift_ppm: u32,
}

impl Faults {
    fn draw(rng: &mut Rng) -> Faults {
        let mut rate = |often: u64, seldom: u64| match rng.below(3) {
            0 => 0,
            1 => often,
            _ => seldom,
        };
        Faults {
            lose: rate(5, 40),
            twice: rate(8, 50),
            late: rate(10, 100),
            crash: rate(400, 2_000),
            cut: rate(300, 1_000),
            change: rate(200, 1_000),
            transfer: rate(200, 1_000),
            compact: rate(30, 200),
            corrupt: rate(3, 10),
            refuse: rate(3, 10),
            save_ms_max: 1 + rate(30, 5),
            drift_ppm: [0, 1_000, 100_000][rng.below(3) as usize],
        }
    }
}

/// Branches that the simulator of the whole cluster hardly ever comes to.
const RARE: [&str; 4] = [
    "a snapshot is gone while it is being sent",
    "a snapshot is refused by the follower",
    "a snapshot tells a commit that the log holds",
    "entries come while a snapshot is being installed",
];

struct World {
    seed: u64,
    cluster: Cluster,
    rng: Rng,
    faults: Faults,
    /// Messages and when they arrive.
    network: Vec<(u64, Envelope)>,
    /// When each node's disk finishes next, and when a node that is down comes back.
    disk_at: Vec<u64>,
    up_at: Vec<u64>,
    /// Pairs that cannot talk.
    cuts: BTreeSet<(NodeId, NodeId)>,
    token: u64,
    healed: bool,
    /// The clients have gone home.
    closed: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let faults = Faults::draw(&mut rng);
        let nodes = 5;
        let voters = [1, 2, 3, 5][rng.below(4) as usize];
        let mut cluster = Cluster::new();
        for id in (1..=nodes).map(NodeId) {
            let config = Config::of((1..=voters).map(NodeId));
            let config = if id.0 <= voters { config } else { Config::default() };
            cluster.add(options(id, seed, &faults, &mut rng), config);
            let half = i64::from(faults.drift_ppm) / 2;
            let drift = rng.below(2 * half as u64 + 1) as i64 - half;
            let node = cluster.nodes.get_mut(&id).expect("it was added");
            node.clock = (rng.below(1_000) * MS, drift);
            cluster.restart(id);
        }
        let slots = nodes as usize + 1;
        let (disk_at, up_at) = (vec![0; slots], vec![0; slots]);
        let (network, cuts) = (Vec::new(), BTreeSet::new());
        World {
            seed,
            cluster,
            rng,
            faults,
            network,
            disk_at,
            up_at,
            cuts,
            token: 0,
            healed: false,
            closed: false,
        }
    }

    fn chance(&mut self, rate: u64) -> bool {
        rate != 0 && !self.healed && self.rng.one_in(rate)
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(1 + self.rng.below(self.cluster.nodes.len() as u64) as u32)
    }

    /// One millisecond.
    fn turn(&mut self) {
        self.cluster.now += MS;
        self.post();
        self.arrivals();
        for id in self.cluster.ids() {
            self.node_turn(id);
        }
        self.cluster.serve_fetches();
        self.nemesis();
        if !self.closed {
            self.clients();
        }
        if self.cluster.now.is_multiple_of(100 * MS) {
            self.watch();
        }
        self.cluster.story.clear();
    }

    /// Gives new messages their time of arrival, or none.
    fn post(&mut self) {
        for envelope in std::mem::take(&mut self.cluster.network) {
            let copies = 1 + u64::from(self.chance(self.faults.twice));
            for _ in 0..copies {
                if self.chance(self.faults.lose) {
                    continue;
                }
                let delay = if self.chance(self.faults.late) {
                    self.rng.below(5_000)
                } else {
                    self.rng.below(4)
                };
                self.network.push((self.cluster.now + delay * MS, envelope.clone()));
            }
        }
    }

    fn arrivals(&mut self) {
        let now = self.cluster.now;
        let mut due: Vec<_> = self.network.extract_if(.., |(at, _)| *at <= now).collect();
        due.sort_by_key(|(at, _)| *at);
        for (_, envelope) in due {
            let way = (envelope.source, envelope.target);
            if !self.cuts.contains(&way) {
                self.cluster.deliver(envelope);
            }
        }
    }

    fn node_turn(&mut self, id: NodeId) {
        let slot = id.0 as usize;
        if !self.cluster.is_up(id) {
            if self.cluster.now >= self.up_at[slot] || self.healed {
                self.cluster.restart(id);
            }
            return;
        }
        if self.cluster.replica(id).deadline() <= self.cluster.clock(id) {
            self.cluster.step(id, Event::Tick);
        }
        if self.cluster.now >= self.disk_at[slot] {
            let save_ms_max = if self.healed { 1 } else { self.faults.save_ms_max };
            self.disk_at[slot] = self.cluster.now + self.rng.below(save_ms_max) * MS;
            if self.rng.one_in(2) {
                self.cluster.save_all(id);
            } else {
                self.cluster.save_one(id);
            }
        }
        let ready = self.cluster.nodes[&id].saving.is_empty();
        if ready && self.rng.one_in(10) {
            let ok = !self.chance(self.faults.refuse);
            self.cluster.install(id, ok);
        }
        if self.chance(self.faults.compact) {
            self.cluster.compact(id);
        }
    }

    fn nemesis(&mut self) {
        if self.chance(self.faults.crash) {
            // The leader is worth more.
            let id = self.cluster.leader().filter(|_| self.rng.one_in(2));
            let id = id.unwrap_or_else(|| self.any_node());
            self.cluster.crash(id);
            if self.may_corrupt() && self.chance(self.faults.corrupt) {
                let index = self.rng.below(self.cluster.checks.committed.len() as u64 + 1);
                self.cluster.corrupt(id, index);
            }
            self.up_at[id.0 as usize] = self.cluster.now + self.rng.below(1_000) * MS;
        }
        if self.chance(self.faults.cut) {
            self.cuts.clear();
            for _ in 0..self.rng.below(4) {
                let (one, both) = (self.any_node(), self.rng.one_in(2));
                for other in self.cluster.ids() {
                    self.cuts.insert((one, other));
                    if both {
                        self.cuts.insert((other, one));
                    }
                }
            }
        }
        if self.chance(self.faults.transfer) {
            let (id, target) = (self.any_node(), self.any_node());
            self.cluster.step(id, Event::Transfer { target });
        }
        if self.chance(self.faults.change) {
            self.change_members();
        }
    }

    /// A group of three survives one disk at a time; in a change it may be smaller than it looks.
    fn may_corrupt(&self) -> bool {
        let whole = self.cluster.nodes.values().all(|node| !node.disk.faulty);
        whole
            && self.faults.change == 0
            && self.cluster.nodes[&NodeId(3)].disk.snapshot.config.voters.len() >= 3
    }

    fn change_members(&mut self) {
        let Some(id) = self.cluster.leader() else { return };
        let mut voters = BTreeSet::new();
        let mut learners = BTreeSet::new();
        for node in self.cluster.ids() {
            match self.rng.below(4) {
                0 => {}
                1 => drop(learners.insert(node)),
                _ => drop(voters.insert(node)),
            }
        }
        self.token += 1;
        let token = Token(self.token);
        self.cluster.step(id, Event::Configure { token, voters, learners });
    }

    /// Nodes watch each other for groups that hibernate: where anything fails, all look.
    fn watch(&mut self) {
        let down = self.cluster.nodes.values().any(|node| node.replica.is_none());
        if down || !self.cuts.is_empty() || self.chance(50) {
            for id in self.cluster.ids() {
                self.cluster.step(id, Event::Wake);
            }
        }
    }

    fn clients(&mut self) {
        // Now and then they are at rest.
        if self.cluster.now / (250 * MS) % 4 == 3 {
            return;
        }
        self.token += 1;
        let id = self.cluster.leader().filter(|_| self.rng.below(8) > 0);
        let id = id.unwrap_or_else(|| self.any_node());
        match self.rng.below(6) {
            0 | 1 => self.cluster.propose(id, self.token, &format!("c{}", self.token)),
            2 | 3 => self.cluster.step(id, Event::Read { token: Token(self.token) }),
            4 => self.cluster.step(id, Event::Flush),
            _ => {}
        }
    }

    /// No faults from here on: the group must elect, commit and tell everybody.
    fn heal(&mut self) {
        self.healed = true;
        self.cuts.clear();
        for _ in 0..6_000 {
            self.turn();
        }
        let leader = self.cluster.leader().unwrap_or_else(|| {
            for id in self.cluster.ids() {
                eprintln!("{id:?} {:?}", self.cluster.replica(id).status());
            }
            panic!("seed {}: no leader", self.seed)
        });
        let reads = self.cluster.checks.reads_served;
        let before = self.cluster.checks.committed.len();
        for _ in 0..1_000 {
            self.turn();
        }
        let checks = &self.cluster.checks;
        assert!(checks.committed.len() > before + 50, "seed {}: writes hang", self.seed);
        assert!(checks.reads_served > reads + 50, "seed {}: reads hang", self.seed);
        let status = self.cluster.replica(leader).status();
        assert!(!status.config.is_joint(), "seed {}: a change hangs", self.seed);
        // A follower under the smallest limits copies one entry for each round trip.
        self.closed = true;
        for _ in 0..10_000 {
            self.turn();
        }
        let target = self.cluster.checks.committed.len();
        for member in status.config.members() {
            let applied = self.cluster.nodes[&member].machine.index.0 as usize;
            let options = &self.cluster.nodes[&leader].options;
            assert!(
                applied == target,
                "seed {}: {member:?} is at {applied} of {target}: {options:?}",
                self.seed
            );
        }
    }
}

fn options(id: NodeId, seed: u64, faults: &Faults, rng: &mut Rng) -> Options {
    Options {
        heartbeat_interval: Duration::from_millis(30),
        election_timeout: Duration::from_millis(150),
        clock_drift_ppm: faults.drift_ppm,
        append_bytes_max: 1 + rng.below(600) as usize,
        inflight_max: 1 + rng.below(8) as usize,
        tail_bytes_max: rng.below(5_000) as usize,
        chunk_bytes_max: 50 + rng.below(2_000) as usize,
        uncommitted_bytes_max: 4_000,
        hibernate_after: [None, Some(Duration::from_millis(50))][rng.below(2) as usize],
        ..Options::new(id, seed ^ u64::from(id.0))
    }
}

/// Runs one seed and returns a digest of all that happened.
fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for turn in 0..8_000 {
        world.turn();
        if turn % 50 == 0 {
            world.cluster.check_all();
        }
    }
    world.heal();
    world.cluster.check_all();
    let checks = &world.cluster.checks;
    stdx::hash_bytes(checks.reads_served, format!("{:?}", checks.committed).as_bytes())
}

#[test]
fn chance_breaks_no_promise_and_the_group_recovers() {
    if let Ok(seed) = std::env::var("RAFT_SEED") {
        run(seed.parse().unwrap());
        return;
    }
    stdx::marks::take();
    let seeds = std::env::var("RAFT_SEEDS").map_or(48, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed} failed: RAFT_SEED={seed} runs it alone");
    }
    let reached = stdx::marks::take();
    for place in RARE {
        assert!(seeds < 48 || reached.contains_key(place), "never reached: {place}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(run(1), run(1));
}

/// A world in which nothing fails.
fn quiet(hibernate_after: Option<Duration>) -> World {
    let mut world = World::new(3);
    world.healed = true;
    for id in world.cluster.ids() {
        let node = world.cluster.nodes.get_mut(&id).expect("it is one of them");
        node.options.hibernate_after = hibernate_after;
        world.cluster.restart(id);
    }
    for _ in 0..3_000 {
        world.turn();
    }
    world
}

/// Do all members sleep?
fn all_hibernate(world: &World) -> bool {
    let leader = world.cluster.leader().expect("it does not cease to lead");
    let members = world.cluster.replica(leader).status().config.members();
    let asleep = |id: &NodeId| {
        let replica = world.cluster.replica(*id);
        replica.hibernates() && replica.deadline() == stdx::Instant::FAR
    };
    members.iter().all(asleep)
}

#[test]
fn a_group_without_work_hibernates_and_whatever_is_asked_wakes_it() {
    let mut world = quiet(Some(Duration::from_millis(500)));
    let leader = world.cluster.leader().unwrap();
    assert!(!all_hibernate(&world), "its clients are never silent for so long");
    world.closed = true;
    let settle = |world: &mut World| (0..1_000).for_each(|_| world.turn());
    settle(&mut world);
    assert!(all_hibernate(&world));

    world.cluster.propose(leader, 1 << 40, "woken");
    (0..100).for_each(|_| world.turn());
    assert!(!all_hibernate(&world), "for as long as before");
    let place = world.cluster.replica(leader).status().commit;
    settle(&mut world);
    assert!(all_hibernate(&world));
    for id in world.cluster.replica(leader).status().config.members() {
        assert_eq!(world.cluster.replica(id).status().commit, place, "{id:?} has the entry");
    }

    let served = world.cluster.checks.reads_served;
    world.cluster.step(leader, Event::Read { token: Token(1 << 41) });
    assert_eq!(world.cluster.checks.reads_served, served, "the lease is over: a round is asked");
    (0..100).for_each(|_| world.turn());
    assert_eq!(world.cluster.checks.reads_served, served + 1);
    assert_eq!(world.cluster.replica(leader).status().term.0, 1, "nobody was elected anew");
}

#[test]
fn a_follower_that_missed_the_last_word_wakes_the_leader_and_deposes_nobody() {
    let mut world = quiet(Some(Duration::from_millis(500)));
    let leader = world.cluster.leader().unwrap();
    world.closed = true;
    (0..1_000).for_each(|_| world.turn());
    let members = world.cluster.replica(leader).status().config.members();
    let follower = members.into_iter().find(|id| *id != leader).unwrap();
    // It forgets: what it does not know it would have missed.
    world.cluster.restart(follower);
    (0..3_000).for_each(|_| world.turn());
    assert!(all_hibernate(&world), "all are asleep again");
    assert_eq!(world.cluster.replica(leader).standing().1.0, 1, "in the term of before");
}

#[test]
fn a_quiet_group_elects_once_and_serves_by_lease() {
    let mut world = quiet(None);
    let leader = world.cluster.leader().unwrap();
    let (role, term, _) = world.cluster.replica(leader).standing();
    assert_eq!((role, term.0), (Role::Leader, 1), "one election is enough");
    let served = world.cluster.checks.reads_served;
    world.cluster.step(leader, Event::Read { token: Token(u64::MAX) });
    assert_eq!(world.cluster.checks.reads_served, served + 1, "in the same step");
}

//! One node with four shards: when which of them takes a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use consensus::{Config, Index, NodeId, Options, SnapshotMeta, Stored, Term};
use keyspace::Shard;
use node::limits::{SNAPSHOT_IDLE_PART, SNAPSHOT_RETRY_TIME};
use node::{
    Call, Core, Effects, Event, Founding, Group, GroupId, Health, Kind, Map, Moment, Pace,
    Proposing, Setup, Shards, SnapshotJob, SnapshotOptions, Ticket,
};
use stdx::{Instant, Millis};
use wire::{ArgsBuf, Proto};

const NODE: NodeId = NodeId(1);
const SHARDS: u32 = 4;
const OPTIONS: SnapshotOptions =
    SnapshotOptions { step_bytes: 1, log_bytes: 1 << 20, note_bytes: 1_000 };

/// A core whose log is instant and whose snapshots are written when a test says so.
struct World {
    millis: u64,
    core: Core,
    jobs: Vec<SnapshotJob>,
}

impl World {
    fn new() -> World {
        let snapshot = SnapshotMeta { config: Config::of([NODE]), ..SnapshotMeta::default() };
        let founding = |group: u32| {
            let stored = Stored { snapshot: snapshot.clone(), ..Stored::default() };
            let options = Options::new(NODE, u64::from(group));
            let replica = consensus::raft::Replica::new(options, stored, Instant(0));
            Founding {
                id: GroupId(group),
                node: NODE,
                replica: Box::new(replica.expect("an empty log contradicts nothing")),
                shard: Shard::new(),
                snapshot: snapshot.clone(),
                boot: 1,
                snapshot_bytes: 0,
                snapshots: OPTIONS,
            }
        };
        let shards = Shards::new(SHARDS as usize).expect("four is a power of two");
        let map = Map::founding(shards, 1, &[("n1:1".to_owned(), [1; 16])]);
        let core = Core::new(Setup {
            node: NODE,
            own: Health::default(),
            map: Arc::new(map.expect("one node makes a map")),
            moves: false,
            replace_after: Duration::ZERO,
            catch_up_rate: 0,
            boot: 1,
            snapshots: OPTIONS,
            members: (0..SHARDS).map(founding).collect(),
            past: BTreeMap::new(),
            make: Box::new(|_, _, _| unreachable!("no replica comes here")),
        });
        let mut world = World { millis: 1, core, jobs: Vec::new() };
        (0..2_000).for_each(|_| world.step(Event::Tick));
        assert!(world.core.members().all(Group::leads));
        world
    }

    /// One with keys in all shards, each of which is asked for a snapshot.
    fn wanting() -> World {
        let mut world = World::new();
        (0..64).for_each(|key| world.set(&format!("k{key}")));
        world.core.members_mut().for_each(Group::want_snapshot);
        world.step(Event::Tick);
        world
    }

    fn moment(&self) -> Moment {
        Moment { now: Instant(self.millis * 1_000_000), wall: Millis(self.millis) }
    }

    fn step(&mut self, event: Event) {
        self.millis += 1;
        let mut out = Effects::default();
        self.core.step(self.moment(), event, &mut out);
        self.finish(out);
    }

    fn finish(&mut self, mut out: Effects) {
        self.core.flush(self.moment(), Proposing::Now, &mut out);
        self.core.check();
        self.jobs.extend(out.snapshot);
        for save in out.save {
            self.step(Event::Saved { group: save.group, number: save.number });
        }
    }

    fn set(&mut self, key: &str) {
        self.set_to(key, "v");
    }

    fn set_to(&mut self, key: &str, value: &str) {
        let args: ArgsBuf = ["SET", key, value].iter().map(|word| word.as_bytes()).collect();
        let (args, proto, kind, ticket) = (args.args(), Proto::Resp2, Kind::Write, Ticket(1));
        let (db, after, replica, may_block) = (0, false, false, false);
        let command = keyspace::command::find(args).expect("a known command");
        let route = self.core.route(command, args);
        let call = Call { ticket, db, proto, kind, after, replica, may_block, args };
        self.core.call(self.moment(), route, call, &mut Vec::new());
        self.finish(Effects::default());
    }

    /// Says that all parts are written that were made; returns whose snapshots were begun by then.
    fn write(&mut self) -> Vec<GroupId> {
        let mut begun = Vec::new();
        for job in std::mem::take(&mut self.jobs) {
            match job {
                SnapshotJob::Begin { group, .. } => begun.push(group),
                SnapshotJob::Part { group, last, .. } => {
                    self.step(Event::PartWritten { group, last });
                }
                other => panic!("nobody asked for {other:?}"),
            }
        }
        begun
    }

    /// Each group has its turn, and finds no room.
    fn fail_all(&mut self) {
        let mut failed = BTreeSet::new();
        while !self.jobs.is_empty() {
            for job in std::mem::take(&mut self.jobs) {
                if let SnapshotJob::Begin { group, .. } = job {
                    failed.insert(group);
                    self.step(Event::SnapshotFailed { group });
                }
            }
        }
        assert_eq!(failed.len(), SHARDS as usize, "{failed:?}");
    }

    fn running(&self) -> usize {
        self.core.members().filter(|group| group.snapshot_state().running).count()
    }
}

#[test]
fn groups_take_snapshots_one_after_the_other() {
    let mut world = World::wanting();
    assert_eq!(world.running(), SHARDS as usize, "who waits for its turn counts");
    let mut begun = world.write();
    assert_eq!(begun.len(), 1);
    for _ in 0..1_000 {
        let more = world.write();
        assert!(more.len() <= 1, "{more:?} at once");
        begun.extend(more);
    }
    begun.sort();
    assert_eq!(begun, (0..SHARDS).map(GroupId).collect::<Vec<_>>(), "each once");
    assert_eq!(world.running(), 0);
}

#[test]
fn the_state_that_a_snapshot_replaces_and_one_that_came_too_late_are_for_the_driver_to_drop() {
    let mut world = World::new();
    (0..64).for_each(|key| world.set(&format!("k{key}")));
    let (group, mut out) = (GroupId(0), Effects::default());
    let meta =
        |index| SnapshotMeta { index: Index(index), term: Term(1), config: Config::of([NODE]) };
    for index in [1, 1_000] {
        let (meta, shard) = (meta(index), Some(Box::new(Shard::new())));
        world.core.step(world.moment(), Event::Loaded { group, meta, shard }, &mut out);
    }
    let changes: Vec<u64> = out.discarded.iter().map(Shard::changes).collect();
    assert!(changes.len() == 2 && changes[0] == 0 && changes[1] > 0, "{changes:?}");
}

#[test]
fn a_snapshot_that_fails_makes_room_for_the_next() {
    let mut world = World::wanting();
    world.fail_all();
    assert_eq!(world.running(), 0);
}

#[test]
fn a_snapshot_that_found_no_room_is_tried_again_after_a_while_and_once_the_log_has_room() {
    let mut world = World::wanting();
    world.fail_all();
    let failed = world.millis;
    while world.write().is_empty() {
        world.step(Event::Tick);
    }
    let waited = Duration::from_millis(world.millis - failed);
    let expected = SNAPSHOT_RETRY_TIME - Duration::from_millis(10)..SNAPSHOT_RETRY_TIME;
    assert!(expected.contains(&waited), "{waited:?}");
    (0..1_000).for_each(|_| drop(world.write()));
    assert_eq!(world.running(), 0);

    (0..64).for_each(|key| world.set(&format!("k{key}")));
    world.step(Event::DiskFull(true));
    world.core.members_mut().for_each(Group::want_snapshot);
    world.step(Event::Tick);
    world.fail_all();
    assert_eq!((world.running(), world.write()), (0, Vec::new()));
    world.step(Event::DiskFull(false));
    assert_eq!((world.running(), world.write().len()), (SHARDS as usize, 1), "one at a time");
}

#[test]
fn a_disk_with_little_room_makes_a_shorter_log_worth_a_snapshot() {
    let mut world = World::new();
    let idle = OPTIONS.log_bytes / SNAPSHOT_IDLE_PART / u64::from(SHARDS);
    world.set_to("a", &"v".repeat(idle as usize));
    assert_eq!(world.running(), 0);
    world.step(Event::DiskLow(true));
    assert_eq!(world.running(), SHARDS as usize, "none of them has one");
    world.step(Event::DiskLow(false));
    (0..100_000).for_each(|_| drop(world.write()));
    assert_eq!(world.running(), 0);

    world.set_to("a", &"v".repeat(idle as usize / 2));
    assert_eq!(world.running(), 0);
    world.step(Event::DiskLow(true));
    assert_eq!((world.running(), world.write().len()), (1, 1));
}

#[test]
fn one_that_somebody_waits_for_comes_first_and_the_one_before_it_makes_haste() {
    let mut world = World::new();
    (0..64).for_each(|key| world.set(&format!("k{key}")));
    world.step(Event::DiskLow(true));
    assert_eq!(world.running(), SHARDS as usize, "no log is too short now");
    let mut begun = Vec::new();
    let mut paces: Vec<Pace> = Vec::new();
    for turn in 0..1_000 {
        if turn == 3 {
            let last = world.core.members_mut().last();
            last.expect("there are four").want_snapshot();
        }
        for job in &world.jobs {
            match job {
                SnapshotJob::Begin { group, .. } => begun.push(group.0),
                SnapshotJob::Part { pace, .. } => paces.push(*pace),
                _ => {}
            }
        }
        world.write();
    }
    assert_eq!(begun, [0, 3, 1, 2]);
    let hasty = paces.iter().position(|pace| *pace == Pace::Full).expect("somebody waits");
    let parts = paces.iter().filter(|pace| **pace == Pace::Full).count();
    assert!(paces[..hasty].iter().all(|pace| *pace == Pace::Easy) && hasty >= 3, "{paces:?}");
    assert!(paces[hasty..hasty + parts].iter().all(|pace| *pace == Pace::Full), "{paces:?}");
    assert!(parts > 10, "the rest of the first and all of the one that is waited for: {parts}");
}

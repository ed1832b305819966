//! Snapshots: durable before they have a name, whole or refused, on a disk that forgets.

use std::sync::Arc;

use stdx::Rng;
use storage::disk::{Disk, RealDisk, SimDisk};
use storage::snapshot::{Meta, Progress, Snapshot, Snapshots};
use storage::store::Store;
use storage::wal::{Options, Record};
use storage::{Error, GroupId};

const G: GroupId = GroupId(3);

fn meta(index: u64) -> Meta {
    Meta { group: G, index, term: 2, data: b"config".to_vec() }
}

fn state(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..len).map(|_| rng.next() as u8).collect()
}

fn open(disk: &SimDisk) -> Snapshots {
    let (snapshots, faults) = Snapshots::open(Arc::new(disk.clone())).expect("the disk works");
    assert_eq!(faults, []);
    snapshots
}

fn save(snapshots: &mut Snapshots, index: u64, bytes: &[u8]) -> Result<(), Error> {
    let mut writer = snapshots.begin(meta(index))?;
    for piece in bytes.chunks(10_007) {
        writer.write(piece)?;
    }
    snapshots.keep(writer.finish()?)
}

fn name(index: u64) -> String {
    format!("snapshots/00000003-{index:020}.snapshot")
}

#[test]
fn a_snapshot_comes_back_whole_whatever_its_length() {
    for len in [0, 1, 65_535, 65_536, 65_537, 131_072, 700_000] {
        let disk = SimDisk::new(1);
        let bytes = state(len as u64, len);
        save(&mut open(&disk), 7, &bytes).unwrap();
        let snapshots = open(&disk);
        let newest = snapshots.newest(G).unwrap();
        assert_eq!(newest.meta(), &meta(7));
        assert_eq!(newest.load_all().unwrap(), bytes, "{len} bytes");
    }
}

fn send(source: &Snapshot, target: &mut Snapshots, piece: usize) -> Snapshot {
    let mut receiver = target.receive(G);
    loop {
        let bytes = source.read(receiver.here(), piece).expect("the source is whole");
        let last = receiver.here() + bytes.len() as u64 == source.bytes();
        match receiver.chunk(receiver.here(), &bytes, last).expect("the pieces are whole") {
            Progress::Here(_) => {}
            Progress::Done(snapshot) => return *snapshot,
        }
    }
}

#[test]
fn a_peer_receives_the_same_snapshot_in_pieces_of_any_size() {
    let (one, two) = (SimDisk::new(1), SimDisk::new(2));
    let bytes = state(1, 200_000);
    let mut source = open(&one);
    save(&mut source, 7, &bytes).unwrap();
    let source = source.newest(G).unwrap();
    for piece in [1_000, 65_536, 100_001, 1 << 20] {
        let mut target = open(&two);
        let snapshot = send(source, &mut target, piece);
        target.keep(snapshot).unwrap();
        assert_eq!(open(&two).newest(G).unwrap().load_all().unwrap(), bytes);
        assert_eq!(one.contents(&name(7)), two.contents(&name(7)));
    }
}

#[test]
fn pieces_that_repeat_or_skip_change_nothing_and_offset_zero_begins_anew() {
    let disk = SimDisk::new(1);
    let mut snapshots = open(&disk);
    save(&mut snapshots, 7, &state(1, 100_000)).unwrap();
    let source = Arc::clone(snapshots.newest(G).unwrap());
    let all = source.read(0, usize::MAX).unwrap();
    let other = SimDisk::new(2);
    let target = open(&other);
    let mut receiver = target.receive(G);
    assert!(matches!(receiver.chunk(500, &all[500..900], false), Ok(Progress::Here(0))));
    for _ in 0..2 {
        assert!(matches!(receiver.chunk(0, &all[..1000], false), Ok(Progress::Here(1000))));
        assert!(matches!(receiver.chunk(500, &all[500..1500], false), Ok(Progress::Here(1500))));
        assert!(matches!(receiver.chunk(100, &all[100..200], false), Ok(Progress::Here(1500))));
        assert!(matches!(receiver.chunk(9000, &all[9000..9100], true), Ok(Progress::Here(1500))));
    }
    assert!(matches!(receiver.chunk(1500, &all[1500..], true), Ok(Progress::Done(_))));
}

#[test]
fn a_truncated_or_altered_copy_never_gets_a_name() {
    let disk = SimDisk::new(1);
    let mut snapshots = open(&disk);
    save(&mut snapshots, 7, &state(1, 1_000)).unwrap();
    let all = snapshots.newest(G).unwrap().read(0, usize::MAX).unwrap();
    let other = SimDisk::new(2);
    let target = open(&other);
    let mut receiver = target.receive(G);
    for cut in 0..all.len() {
        let result = receiver.chunk(0, &all[..cut], true);
        assert!(matches!(result, Err(Error::Corrupt { .. })), "cut at {cut}");
    }
    for bit in 0..all.len() * 8 {
        let mut altered = all.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let result = receiver.chunk(0, &altered, true);
        assert!(matches!(result, Err(Error::Corrupt { .. } | Error::Newer { .. })), "bit {bit}");
    }
    let mut stranger = target.receive(GroupId(4));
    assert!(matches!(stranger.chunk(0, &all, true), Err(Error::Corrupt { .. })));
    assert_eq!(other.list("snapshots").unwrap(), Vec::<String>::new());
}

#[test]
fn a_damaged_newest_snapshot_is_reported_and_no_older_one_takes_its_place() {
    let disk = SimDisk::new(1);
    let mut snapshots = open(&disk);
    save(&mut snapshots, 7, &state(1, 200_000)).unwrap();
    let old = disk.contents(&name(7)).unwrap();
    save(&mut snapshots, 9, &state(2, 200_000)).unwrap();
    let handle = Arc::clone(snapshots.newest(G).unwrap());
    assert!(disk.contents(&name(7)).is_none(), "the older one is gone");
    disk.put(&name(7), &old);
    disk.flip(&name(9), 100_000, 5);
    let (snapshots, faults) = Snapshots::open(Arc::new(disk.clone())).unwrap();
    assert_eq!((faults.len(), faults[0].group), (1, Some(G)));
    assert!(snapshots.newest(G).is_none());
    assert!(matches!(handle.load_all(), Err(Error::Corrupt { .. })));
    assert!(matches!(handle.read(90_000, 20_000), Err(Error::Corrupt { .. })));
    assert!(handle.read(0, 50_000).is_ok(), "other blocks can still be sent");
}

#[test]
fn a_crash_leaves_the_old_snapshot_or_the_new_one_and_the_log_fits() {
    for seed in 0..300 {
        let disk = SimDisk::new(seed);
        let mut rng = Rng::new(seed);
        let options = Options { segment_bytes: 32 << 10 };
        let mut acknowledged = 0;
        let mut index = 0;
        for _ in 0..4 {
            disk.halt_after(rng.below(80));
            let _ = life(&disk, options, &mut acknowledged, &mut index);
            disk.crash();
            let (_, found) = Store::open(Arc::new(disk.clone()), options).unwrap();
            assert_eq!(found.faults, [], "seed {seed}");
            let names = disk.list("snapshots").unwrap();
            assert!(names.iter().all(|name| name.ends_with(".snapshot")), "{names:?}");
            let last = found.groups.get(&G).map_or(0, |group| {
                let snapshot = group.snapshot.as_ref().map_or(0, |one| one.meta().index);
                group.entries.last().map_or(snapshot, |entry| entry.index)
            });
            assert!(last >= acknowledged, "seed {seed}: {last} of {acknowledged}");
            (index, acknowledged) = (last, last);
        }
    }
}

/// Appends entries; every tenth becomes the index of a snapshot behind which the log is trimmed.
fn life(
    disk: &SimDisk,
    options: Options,
    acknowledged: &mut u64,
    index: &mut u64,
) -> Result<(), Error> {
    let (mut store, found) = Store::open(Arc::new(disk.clone()), options)?;
    assert_eq!(found.faults, []);
    loop {
        *index += 1;
        let data = &[1; 700];
        let entry = Record::Entry { group: G, term: 2, index: *index, kind: 0, data };
        store.wal.append(&entry)?;
        store.wal.commit()?;
        *acknowledged = *index;
        if index.is_multiple_of(10) {
            save(&mut store.snapshots, *index, &state(*index, 3_000))?;
            store.wal.trim(G, *index, 2)?;
        }
    }
}

#[test]
fn a_snapshot_that_the_log_was_trimmed_for_must_be_there() {
    let disk = SimDisk::new(1);
    let options = Options { segment_bytes: 32 << 10 };
    let (mut acknowledged, mut index) = (0, 0);
    disk.halt_after(150);
    assert!(life(&disk, options, &mut acknowledged, &mut index).is_err());
    disk.kill();
    let (_, found) = Store::open(Arc::new(disk.clone()), options).unwrap();
    assert_eq!(found.groups[&G].faults, []);
    for name in disk.list("snapshots").unwrap() {
        disk.remove(&format!("snapshots/{name}")).unwrap();
    }
    let (_, found) = Store::open(Arc::new(disk.clone()), options).unwrap();
    assert_eq!(found.groups[&G].faults.len(), 1);
}

#[test]
fn everything_works_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let real = || Arc::new(RealDisk::new(folder.path().join("data")).unwrap());
    let options = Options { segment_bytes: 64 << 10 };
    for life in 0..4_u64 {
        let mut home = storage::home::Home::open(real()).unwrap();
        assert_eq!(home.boots(), life + 1);
        let second = storage::home::Home::open(real());
        assert!(second.unwrap_err().to_string().contains(&std::process::id().to_string()));
        let cluster = storage::home::ClusterId(5);
        let node = storage::home::NodeId(1);
        home.claim(storage::home::Identity { cluster, node }).unwrap();
        let (mut store, found) = Store::open(real(), options).unwrap();
        assert_eq!(found.faults, []);
        let expected = life * 100;
        if life > 0 {
            let group = &found.groups[&G];
            assert_eq!(group.term, life);
            assert_eq!(group.snapshot.as_ref().unwrap().meta().index, expected - 10);
            assert_eq!(group.entries.len(), 10);
        }
        let (term, vote) = (life + 1, Some(1));
        store.wal.append(&Record::Vote { group: G, term, vote }).unwrap();
        for index in expected + 1..=expected + 100 {
            let data = &[1; 2_000];
            let entry = Record::Entry { group: G, term, index, kind: 0, data };
            store.wal.append(&entry).unwrap();
            store.wal.commit().unwrap();
            if let Some(job) = store.wal.prepare() {
                let done = std::thread::spawn(move || job.run(&mut || {})).join().unwrap();
                store.wal.accept(done).unwrap();
            }
        }
        save(&mut store.snapshots, expected + 90, &state(life, 300_000)).unwrap();
        store.wal.trim(G, expected + 90, term).unwrap();
        store.wal.commit().unwrap();
        store.wal.seal().unwrap();
    }
}

/// The state of a crash right after a snapshot became durable, before the log heard of it.
fn crashed_before_the_log_knew(entries: u64, term: u64, index: u64) -> Store {
    let disk = SimDisk::new(1);
    let options = Options { segment_bytes: 32 << 10 };
    let (mut store, _) = Store::open(Arc::new(disk.clone()), options).expect("the disk works");
    for index in 1..=entries {
        let entry = Record::Entry { group: G, term, index, kind: 0, data: b"x" };
        store.wal.append(&entry).expect("there is room");
    }
    store.wal.commit().expect("the disk works");
    save(&mut store.snapshots, index, b"state").expect("the disk works");
    drop(store);
    disk.crash();
    let (mut store, found) = Store::open(Arc::new(disk.clone()), options).expect("it works");
    let group = &found.groups[&G];
    assert_eq!(group.faults, []);
    let next = group.entries.last().map_or(index, |entry| entry.index) + 1;
    // The log goes on where the group does.
    let entry = Record::Entry { group: G, term: 2, index: next, kind: 0, data: b"x" };
    store.wal.append(&entry).expect("there is room");
    store.wal.commit().expect("the disk works");
    let (store, again) = Store::open(Arc::new(disk), options).expect("the disk works");
    let mut expected: Vec<u64> = group.entries.iter().map(|entry| entry.index).collect();
    expected.push(next);
    let indexes: Vec<u64> = again.groups[&G].entries.iter().map(|entry| entry.index).collect();
    assert_eq!((indexes, again.faults), (expected, vec![]));
    store
}

#[test]
fn a_snapshot_that_the_log_has_not_heard_of_is_held_against_it() {
    // Ahead of the log; inside it and agreeing; inside it and from a leader that knew better.
    for (entries, term, index) in [(5, 2, 50), (60, 2, 50), (60, 1, 50)] {
        crashed_before_the_log_knew(entries, term, index).wal.check();
    }
    assert!(stdx::marks::take().contains_key("a crash left a log that an install had voided"));
}

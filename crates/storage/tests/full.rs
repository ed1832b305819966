//! Full disks, failing syncs, long logs: what is refused, what still works, what is given back.

use std::io::ErrorKind;
use std::sync::Arc;

use storage::disk::{Action, Disk, SimDisk};
use storage::limits::{
    FILL_STEP_BYTES, SEGMENTS_PINNED_MAX, SEGMENTS_ROOM, SPARES, TIDY_STEP_BYTES,
};
use storage::snapshot::Meta;
use storage::store::Store;
use storage::wal::{Options, Record, Recovered, Wal};
use storage::{Error, GroupId};

const SMALL: Options = Options { segment_bytes: 32 << 10 };

fn open(disk: &SimDisk) -> (Wal, Recovered) {
    let (wal, recovered) = Wal::open(Arc::new(disk.clone()), SMALL).expect("the disk works");
    assert_eq!(recovered.faults, []);
    (wal, recovered)
}

fn entry(group: u32, index: u64, data: &[u8]) -> Record<'_> {
    Record::Entry { group: GroupId(group), term: 1, index, kind: 0, data }
}

fn last(recovered: &Recovered, group: u32) -> u64 {
    recovered.groups[&GroupId(group)].entries.last().map_or(0, |entry| entry.index)
}

#[test]
fn a_full_disk_refuses_entries_takes_votes_and_trims_and_recovers() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    wal.append(&Record::Vote { group: GroupId(1), term: 1, vote: None }).unwrap();
    wal.append(&entry(1, 1, &[1; 1000])).unwrap();
    wal.commit().unwrap();
    disk.set_capacity(Some(disk.used()));
    let mut index = 2;
    let refused = loop {
        match wal.append(&entry(1, index, &[1; 1000])) {
            Ok(()) => index += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Full { .. }), "{refused}");
    assert!(wal.append(&entry(1, index, &[1; 1000])).is_err(), "still full");
    wal.commit().unwrap();
    wal.append(&Record::Vote { group: GroupId(1), term: 7, vote: Some(3) }).unwrap();
    wal.trim(GroupId(1), 5, 1).unwrap();
    wal.commit().unwrap();
    wal.check();
    let (_, found) = open(&disk);
    assert_eq!(last(&found, 1), index - 1);
    assert_eq!((found.groups[&GroupId(1)].term, found.groups[&GroupId(1)].mark.index), (7, 5));
    disk.set_capacity(None);
    wal.append(&entry(1, index, &[1; 1000])).unwrap();
    wal.commit().unwrap();
    assert_eq!(last(&open(&disk).1, 1), index);
}

#[test]
fn trimming_makes_room_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    for index in 1..=60 {
        wal.append(&entry(1, index, &[1; 1000])).unwrap();
        wal.commit().unwrap();
    }
    disk.set_capacity(Some(disk.used() + SEGMENTS_ROOM * SMALL.segment_bytes));
    let mut index = 61;
    for _ in 0..300 {
        if wal.append(&entry(1, index, &[1; 1000])).is_ok() {
            index += 1;
        } else {
            wal.trim(GroupId(1), index - 1, 1).unwrap();
        }
        wal.commit().unwrap();
        wal.check();
    }
    assert!(index > 250, "full a few times, never stuck: {index}");
    assert_eq!(last(&open(&disk).1, 1), index - 1);
}

#[test]
fn a_write_refused_for_space_changes_nothing_and_can_be_tried_again() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    wal.append(&entry(1, 1, b"one")).unwrap();
    wal.commit().unwrap();
    wal.append(&entry(1, 2, b"two")).unwrap();
    disk.fail_next(Action::Write, ErrorKind::StorageFull);
    assert!(matches!(wal.commit(), Err(Error::Full { .. })));
    assert_eq!(last(&open(&disk).1, 1), 1);
    wal.append(&entry(1, 3, b"three")).unwrap();
    wal.commit().unwrap();
    assert_eq!(last(&open(&disk).1, 1), 3);
}

#[test]
fn after_a_failed_sync_nothing_is_accepted() {
    for action in [Action::Sync, Action::Write] {
        let disk = SimDisk::new(1);
        let (mut wal, _) = open(&disk);
        wal.append(&entry(1, 1, b"x")).unwrap();
        disk.fail_next(action, ErrorKind::Other);
        let failed = wal.commit().unwrap_err();
        assert!(!failed.is_recoverable(), "{failed}");
        assert!(matches!(wal.commit(), Err(Error::Poisoned)));
        assert!(matches!(wal.append(&entry(1, 2, b"x")), Err(Error::Poisoned)));
        assert!(matches!(wal.seal(), Err(Error::Poisoned)));
    }
}

#[test]
fn no_space_at_a_sync_is_no_reason_to_try_again() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    wal.append(&entry(1, 1, b"x")).unwrap();
    disk.fail_next(Action::Sync, ErrorKind::StorageFull);
    assert!(matches!(wal.commit(), Err(Error::Sync { .. })));
    assert!(matches!(wal.commit(), Err(Error::Poisoned)));
}

#[test]
fn a_commit_is_one_write_and_one_sync_and_a_vote_costs_one_sync_more() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    wal.append(&Record::Vote { group: GroupId(1), term: 1, vote: None }).unwrap();
    wal.commit().unwrap();
    let before = disk.operations();
    (1..=100).for_each(|index| wal.append(&entry(1, index, b"x")).unwrap());
    wal.commit().unwrap();
    assert_eq!(disk.operations() - before, 2);
    wal.commit().unwrap();
    assert_eq!(disk.operations() - before, 2, "nothing to do is nothing done");
    wal.append(&Record::Vote { group: GroupId(1), term: 2, vote: None }).unwrap();
    wal.commit().unwrap();
    assert_eq!(disk.operations() - before, 2 + 3 + 2, "two copies and a sync, a write and a sync");
}

#[test]
fn an_idle_group_does_not_pin_the_log() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    (1..=3).for_each(|index| wal.append(&entry(9, index, b"idle")).unwrap());
    for index in 1..=1000 {
        wal.append(&entry(1, index, &[1; 1000])).unwrap();
        if index % 10 == 0 {
            wal.trim(GroupId(1), index - 5, 1).unwrap();
        }
        wal.commit().unwrap();
        if let Some(survey) = wal.survey() {
            assert!(wal.survey().is_none(), "one at a time");
            wal.surveyed(survey.run(&mut || {})).unwrap();
        }
        wal.tidy().unwrap();
    }
    wal.commit().unwrap();
    wal.check();
    assert!(wal.status().segments <= 6, "{:?}", wal.status());
    let (_, found) = open(&disk);
    let idle = &found.groups[&GroupId(9)].entries;
    assert_eq!(idle.iter().map(|entry| entry.index).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(idle.iter().all(|entry| &entry.data[..] == b"idle"));
    wal.append(&entry(9, 4, b"awake")).unwrap();
    wal.append(&entry(9, 2, b"other")).unwrap();
    wal.commit().unwrap();
    assert_eq!(last(&open(&disk).1, 9), 2);
}

#[test]
fn the_group_that_keeps_the_log_long_is_named() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    assert_eq!(wal.status().oldest, None);
    for index in 1..=100 {
        wal.append(&entry(5, index, &[1; 1000])).unwrap();
    }
    wal.commit().unwrap();
    assert_eq!(wal.status().oldest, Some(GroupId(5)));
}

#[test]
fn a_recycled_segment_shows_nothing_of_its_past() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    for index in 1..=500 {
        wal.append(&entry(1, index, &[index as u8; 500])).unwrap();
        wal.trim(GroupId(1), index - 1, 1).unwrap();
        wal.commit().unwrap();
        if let Some(job) = wal.prepare() {
            wal.accept(job.run(&mut || {})).unwrap();
        }
        if index % 50 == 0 {
            let (_, found) = open(&disk);
            assert_eq!(last(&found, 1), index);
            assert_eq!(found.cut, None);
        }
    }
    assert!(disk.list("wal").unwrap().len() <= 8, "{:?}", disk.list("wal"));
}

#[test]
fn a_prepared_segment_is_used_and_a_late_one_is_ignored() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    let job = wal.prepare().unwrap();
    assert!(wal.prepare().is_none(), "one at a time");
    // The log cannot wait: it makes its own.
    (1..=40).for_each(|index| wal.append(&entry(1, index, &[1; 1000])).unwrap());
    wal.commit().unwrap();
    wal.accept(job.run(&mut || {})).unwrap();
    wal.check();
    while let Some(job) = wal.prepare() {
        wal.accept(job.run(&mut || {})).unwrap();
    }
    assert_eq!(wal.status().spares, SPARES);
    (41..=100).for_each(|index| wal.append(&entry(1, index, &[1; 1000])).unwrap());
    wal.commit().unwrap();
    wal.check();
    assert_eq!(last(&open(&disk).1, 1), 100);
}

#[test]
fn making_a_segment_rests_unless_the_log_has_no_other() {
    let disk = SimDisk::new(1);
    let (mut wal, _) =
        Wal::open(Arc::new(disk), Options { segment_bytes: 4 * FILL_STEP_BYTES }).unwrap();
    let mut rests = Vec::new();
    while let Some(job) = wal.prepare() {
        let mut count = 0;
        wal.accept(job.run(&mut || count += 1)).unwrap();
        rests.push(count);
    }
    assert_eq!(rests, [0, 3, 3], "the first is wanted at once; no rest follows the last step");
}

#[test]
fn an_entry_larger_than_a_segment_gets_a_larger_segment() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    let large = vec![7; 200_000];
    wal.append(&entry(1, 1, b"small")).unwrap();
    wal.append(&entry(1, 2, &large)).unwrap();
    wal.append(&entry(1, 3, b"small")).unwrap();
    wal.commit().unwrap();
    let (mut wal, found) = open(&disk);
    assert_eq!(found.groups[&GroupId(1)].entries[1].data, large);
    for index in 4..200 {
        wal.append(&entry(1, index, &[1; 1000])).unwrap();
        wal.trim(GroupId(1), index, 1).unwrap();
        wal.commit().unwrap();
        if let Some(job) = wal.prepare() {
            wal.accept(job.run(&mut || {})).unwrap();
        }
    }
    assert!(disk.used() < 500_000, "the large file is given back: {}", disk.used());
}

#[test]
fn an_old_segment_is_read_once_for_each_segment_that_the_log_grows_by() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    wal.append(&entry(2, 1, &[2; 1000])).unwrap();
    let mut index = 0;
    while wal.status().segments <= SEGMENTS_PINNED_MAX {
        index += 1;
        wal.append(&entry(1, index, &[1; 1000])).unwrap();
        wal.commit().unwrap();
    }
    assert!(wal.survey().is_none(), "all of it is alive: that is known without reading it");
    wal.trim(GroupId(1), index, 1).unwrap();
    wal.commit().unwrap();
    assert!(wal.survey().is_none(), "it was looked at");
    let segments = wal.status().segments;
    while wal.status().segments == segments {
        index += 1;
        wal.append(&entry(1, index, &[1; 1000])).unwrap();
        wal.commit().unwrap();
    }
    drop(wal.survey().unwrap());
    assert!(wal.survey().is_none(), "once for each segment, even if nobody did it");
    while wal.status().segments == segments + 1 {
        index += 1;
        wal.append(&entry(1, index, &[1; 1000])).unwrap();
        wal.commit().unwrap();
    }
    let survey = wal.survey().unwrap();
    while wal.status().segments == segments + 2 {
        index += 1;
        wal.append(&entry(1, index, &[1; 1000])).unwrap();
        wal.commit().unwrap();
        assert!(wal.survey().is_none(), "one at a time");
    }
    disk.fail_next(Action::Read, ErrorKind::Other);
    assert!(
        wal.surveyed(survey.run(&mut || {})).is_err(),
        "now it is read, from a disk that fails"
    );
}

/// A log that is long because of one segment, of which little is alive: so many entries of group 9.
fn pinned(disk: &SimDisk, options: Options, entries: u64, bytes: usize) -> Result<Wal, Error> {
    let (mut wal, _) = Wal::open(Arc::new(disk.clone()), options)?;
    (1..=entries).try_for_each(|index| wal.append(&entry(9, index, &vec![9; bytes])))?;
    let data = vec![1; options.segment_bytes as usize / 32];
    let mut index = 0;
    while wal.status().segments <= SEGMENTS_PINNED_MAX {
        index += 1;
        wal.append(&entry(1, index, &data))?;
        wal.commit()?;
    }
    wal.trim(GroupId(1), index, 1)?;
    wal.commit()?;
    Ok(wal)
}

#[test]
fn what_pins_a_segment_is_moved_a_little_at_a_time() {
    let disk = SimDisk::new(1);
    let options = Options { segment_bytes: 2 << 20 };
    let mut wal = pinned(&disk, options, 10, 50_000).unwrap();
    let (survey, mut rests) = (wal.survey().unwrap(), 0);
    wal.surveyed(survey.run(&mut || rests += 1)).unwrap();
    assert_eq!(rests, 7 + 7, "2 MiB in steps of 256 KiB, read and looked through");
    let mut steps = 0;
    while wal.tidy().unwrap() {
        steps += 1;
        assert!(wal.pending_bytes() < TIDY_STEP_BYTES + 2 * 50_000, "{}", wal.pending_bytes());
        wal.commit().unwrap();
    }
    assert_eq!(steps, 4, "three entries in each");
    assert!(wal.status().segments <= 2, "{:?}", wal.status());
    let (_, found) = Wal::open(Arc::new(disk.clone()), options).unwrap();
    assert_eq!(found.groups[&GroupId(9)].entries.len(), 10);
}

#[test]
fn what_was_trimmed_or_replaced_while_its_segment_was_read_is_not_moved() {
    let disk = SimDisk::new(1);
    let mut wal = pinned(&disk, SMALL, 5, 100).unwrap();
    let survey = wal.survey().unwrap();
    wal.trim(GroupId(9), 2, 1).unwrap();
    wal.commit().unwrap();
    let surveyed = survey.run(&mut || {});
    wal.append(&entry(9, 4, b"other")).unwrap();
    wal.surveyed(surveyed).unwrap();
    assert!(wal.tidy().unwrap());
    wal.commit().unwrap();
    wal.check();
    let (_, found) = open(&disk);
    let entries = &found.groups[&GroupId(9)].entries;
    assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(&entries[1].data[..], b"other");
}

#[test]
fn a_segment_that_was_recycled_while_it_was_read_is_of_no_use() {
    let disk = SimDisk::new(1);
    let mut wal = pinned(&disk, SMALL, 5, 100).unwrap();
    let survey = wal.survey().unwrap();
    wal.trim(GroupId(9), 5, 1).unwrap();
    wal.commit().unwrap();
    while let Some(job) = wal.prepare() {
        wal.accept(job.run(&mut || {})).unwrap();
    }
    wal.surveyed(survey.run(&mut || {})).unwrap();
    assert!(!wal.tidy().unwrap());
    wal.check();
}

/// A store on a disk of this size whose log has filled it, and the first entry that found no room.
fn filled(disk: &SimDisk, capacity: u64) -> (Store, u64) {
    disk.set_capacity(Some(capacity));
    let (mut store, _) = Store::open(Arc::new(disk.clone()), SMALL).expect("the disk works");
    let mut index = store.snapshots.newest(GroupId(1)).map_or(1, |one| one.meta().index + 1);
    loop {
        let found_room = store.wal.append(&entry(1, index, &[1; 1000])).is_ok();
        store.wal.commit().expect("what was appended fits");
        let made = store.wal.prepare().map(|prepare| prepare.run(&mut || {}));
        if !found_room && made.is_none() {
            return (store, index);
        }
        made.map_or(Ok(()), |made| store.wal.accept(made)).expect("no spare is begun without room");
        index += u64::from(found_room);
    }
}

fn write_snapshot(store: &mut Store, index: u64, bytes: usize) -> Result<(), Error> {
    let meta = Meta { group: GroupId(1), index, term: 1, data: Vec::new() };
    let mut writer = store.snapshots.begin(meta)?;
    writer.write(&vec![7; bytes])?;
    let snapshot = writer.finish()?;
    store.snapshots.keep(snapshot)?;
    store.wal.trim(GroupId(1), index, 1)?;
    store.wal.commit()
}

#[test]
fn a_log_that_fills_the_disk_leaves_room_for_the_snapshot_that_cuts_it() {
    let (disk, all, segment) = (SimDisk::new(1), 2 << 20, SMALL.segment_bytes);
    let (mut store, index) = filled(&disk, all);
    let log = |store: &Store| store.wal.status().bytes;
    assert!((log(&store)..log(&store) + 2 * segment).contains(&disk.free()), "as much as the log");
    assert!(store.wal.is_low());
    let large = log(&store) as usize / 2;
    write_snapshot(&mut store, index - 1, large).unwrap();
    drop(store);

    // And as much as the largest snapshot takes until it has taken the place of the last, also after a restart.
    let (mut store, index) = filled(&disk, all);
    let room = log(&store) + large as u64;
    assert!((room - segment..room + segment).contains(&disk.free()), "{} of {room}", disk.free());
    let grown = log(&store) as usize;
    write_snapshot(&mut store, index - 1, large + grown / 2).unwrap();
    drop(store);
    let (store, last) = filled(&disk, all);
    assert!(last > index + 100, "the log goes on: {last} behind {index}");
    assert!(disk.free() + segment >= log(&store) + (large + grown / 2) as u64);
}

#[test]
fn where_the_disk_has_little_room_old_files_are_given_back_before_anybody_is_refused() {
    let (disk, segment) = (SimDisk::new(1), SMALL.segment_bytes);
    let (mut wal, _) = open(&disk);
    let prepare = |wal: &mut Wal| {
        while let Some(prepare) = wal.prepare() {
            wal.accept(prepare.run(&mut || {})).unwrap();
        }
    };
    let grow = |wal: &mut Wal, index: &mut u64, segments: usize| {
        while wal.status().segments < segments {
            wal.append(&entry(1, *index, &[1; 1000])).unwrap();
            wal.commit().unwrap();
            *index += 1;
        }
    };
    let mut index = 1;
    grow(&mut wal, &mut index, 8);
    wal.trim(GroupId(1), index - 1, 1).unwrap();
    wal.commit().unwrap();
    prepare(&mut wal);
    let files = |disk: &SimDisk| disk.list("wal").unwrap();
    assert_eq!((wal.status().segments, wal.status().spares), (1, SPARES));
    assert_eq!(files(&disk).len() - 1 - SPARES, 4, "files may be written over");

    // When the second segment is begun, one is lacking for as much log again.
    disk.set_capacity(Some(disk.used() + SEGMENTS_ROOM * segment));
    grow(&mut wal, &mut index, 2);
    assert!(wal.is_low());
    prepare(&mut wal);
    assert_eq!((files(&disk).len(), wal.status().spares), (2 + SPARES + 2, SPARES));
    // With the third once more. The next spare is made of one that is left, and none is made anew.
    let made = disk.operations();
    grow(&mut wal, &mut index, 3);
    prepare(&mut wal);
    assert_eq!((files(&disk).len(), wal.status().spares), (3 + SPARES, SPARES));
    assert!(disk.operations() - made < 200, "no file is filled with zeros");

    // An entry that needs more than the log has.
    wal.trim(GroupId(1), index - 1, 1).unwrap();
    wal.commit().unwrap();
    disk.set_capacity(Some(disk.used() + (SEGMENTS_ROOM + 1) * segment));
    let large = vec![1; 4 * segment as usize];
    let refused = wal.append(&entry(1, index, &large));
    assert!(matches!(refused, Err(Error::Full { .. })) && !wal.is_low());
    prepare(&mut wal);
    wal.append(&entry(1, index, &large)).unwrap();
    wal.commit().unwrap();
    assert_eq!(last(&open(&disk).1, 1), index);

    // One that is refused and never comes again keeps no spares away.
    index += 1;
    while wal.append(&entry(1, index, &large)).is_ok() {
        wal.commit().unwrap();
        index += 1;
    }
    wal.commit().unwrap();
    prepare(&mut wal);
    wal.trim(GroupId(1), index - 1, 1).unwrap();
    let before = wal.status().spares;
    prepare(&mut wal);
    assert_eq!(wal.status().spares, before, "what is given back is for what was refused");
    wal.commit().unwrap();
    prepare(&mut wal);
    assert!(wal.status().spares > before);
}

#[test]
fn what_a_snapshot_has_taken_already_is_not_left_once_more() {
    let disk = SimDisk::new(1);
    let (mut store, index) = filled(&disk, 4 << 20);
    let large = 512 << 10;
    write_snapshot(&mut store, index - 1, large).unwrap();
    drop(store);
    let (store, index) = filled(&disk, 4 << 20);
    let meta = Meta { group: GroupId(1), index: index - 1, term: 1, data: Vec::new() };
    let mut writer = store.snapshots.begin(meta).unwrap();
    writer.write(&vec![7; large]).unwrap();
    let mut wal = store.wal;
    disk.set_capacity(Some((4 << 20) + 3 * SMALL.segment_bytes));
    wal.append(&entry(1, index, &[1; 1000])).unwrap();
    drop(writer);
}

#[test]
fn votes_and_trims_may_have_the_room_that_is_left_for_a_snapshot_and_entries_may_not() {
    let disk = SimDisk::new(1);
    let (mut store, index) = filled(&disk, 2 << 20);
    let (before, free) = (store.wal.status().segments, disk.free());
    for term in 1..600 {
        store.wal.append(&Record::Vote { group: GroupId(1), term, vote: None }).unwrap();
        store.wal.commit().unwrap();
    }
    assert!(store.wal.status().segments > before && disk.free() < free);
    let refused = store.wal.append(&entry(1, index, &[1; 1000]));
    assert!(
        matches!(refused, Err(Error::Full { .. })),
        "there is place in the segment of the votes"
    );
    // The first entry of a leader has no data.
    store.wal.append(&entry(1, index, &[])).unwrap();
    store.wal.trim(GroupId(1), index, 1).unwrap();
    store.wal.commit().unwrap();
    store.wal.append(&entry(1, index + 1, &[1; 1000])).unwrap();
    store.wal.commit().unwrap();
    assert_eq!(last(&open(&disk).1, 1), index + 1);
}

#[test]
fn on_a_full_disk_a_short_log_is_moved_out_of_its_oldest_segment_too() {
    let disk = SimDisk::new(1);
    let idle = Record::Entry { group: GroupId(2), term: 1, index: 1, kind: 0, data: &[2; 1000] };
    let (mut wal, _) = open(&disk);
    wal.append(&idle).unwrap();
    wal.commit().unwrap();
    drop(wal);
    let capacity = disk.used() + (SEGMENTS_ROOM + 3) * SMALL.segment_bytes;
    let (mut store, index) = filled(&disk, capacity);
    let segments = store.wal.status().segments;
    assert!((2..=SEGMENTS_PINNED_MAX).contains(&segments), "{segments}");
    assert!(store.wal.survey().is_none(), "too much is alive in it");
    let refused = store.wal.append(&entry(1, index, &[1; 1000]));
    assert!(refused.is_err(), "it comes again and again");
    store.wal.trim(GroupId(1), index - 1, 1).unwrap();
    store.wal.commit().unwrap();
    assert_eq!(store.wal.status().segments, segments, "one entry pins it");
    let survey = store.wal.survey().expect("less is alive in it now");
    store.wal.surveyed(survey.run(&mut || {})).unwrap();
    assert!(store.wal.tidy().unwrap());
    store.wal.commit().unwrap();
    assert!(store.wal.status().segments < segments);
    if store.wal.append(&entry(1, index, &[1; 1000])).is_err() {
        let made = store.wal.prepare().expect("what is not used is given back").run(&mut || {});
        store.wal.accept(made).unwrap();
        store.wal.append(&entry(1, index, &[1; 1000])).unwrap();
    }
    store.wal.commit().unwrap();
    assert_eq!(last(&open(&disk).1, 2), 1);
}

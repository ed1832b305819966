//! Damage to the log and the votes: seen, named, never believed, and gone after a repair.

use std::sync::Arc;

use storage::disk::{Disk, SimDisk};
use storage::limits::SEGMENTS_PINNED_MAX;
use storage::wal::{Options, Record, Recovered, Wal};
use storage::{GroupId, Place};

const SMALL: Options = Options { segment_bytes: 32 << 10 };
const FIRST: &str = "wal/000000000001.wal";

fn open(disk: &SimDisk) -> (Wal, Recovered) {
    let (wal, recovered) = Wal::open(Arc::new(disk.clone()), SMALL).expect("the disk works");
    wal.check();
    (wal, recovered)
}

fn append(wal: &mut Wal, group: u32, index: u64, data: &[u8]) {
    let group = GroupId(group);
    wal.append(&Record::Entry { group, term: 1, index, kind: 0, data }).expect("there is room");
}

fn vote(wal: &mut Wal, group: u32, term: u64, vote: Option<u32>) {
    wal.append(&Record::Vote { group: GroupId(group), term, vote }).expect("there is room");
}

fn indexes(recovered: &Recovered, group: u32) -> Vec<u64> {
    let log = recovered.groups.get(&GroupId(group));
    log.map_or_else(Vec::new, |log| log.entries.iter().map(|entry| entry.index).collect())
}

/// Four batches of two groups, the first entry at the returned offset of the first segment.
fn filled() -> (SimDisk, u64) {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    for index in 1..=4 {
        append(&mut wal, 1, index, b"the first group");
        append(&mut wal, 2, index, b"the second group");
        wal.commit().expect("the disk works");
    }
    // The header page, then the commit that opened the log.
    (disk, 4096 + 48)
}

const RECORD: u64 = 48 + 16;
const BATCH: u64 = 2 * RECORD + 48;

#[test]
fn every_flipped_bit_is_a_torn_tail_or_a_fault_and_never_believed() {
    let (disk, _) = filled();
    let (_, whole) = open(&disk);
    let bytes = disk.contents(FIRST).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let mut faults = 0;
    for bit in 0..(end as u64 + 100) * 8 {
        let offset = bit / 8;
        // The middle of the header page holds nothing.
        if (64..2048).contains(&offset) || (2112..4096).contains(&offset) {
            continue;
        }
        let disk = SimDisk::new(1);
        disk.put("votes", b"");
        disk.put(FIRST, &bytes);
        disk.flip(FIRST, offset, (bit % 8) as u8);
        let (_, found) = open(&disk);
        for (group, log) in &found.groups {
            let expected = &whole.groups[group].entries;
            if found.fault(*group).is_none() {
                assert_eq!(log.entries[..], expected[..log.entries.len()], "bit {bit}");
                let lost = expected.len() - log.entries.len();
                // Only the last batch may look torn: nothing proves that it was durable.
                assert!(lost <= 1, "bit {bit}: {lost} entries vanished");
                assert!(
                    lost == 0 || found.cut.is_some() || offset > end as u64 - BATCH,
                    "bit {bit}"
                );
            }
            for entry in &log.entries {
                assert!(expected.contains(entry), "bit {bit}: {entry:?} was never written");
            }
        }
        faults += found.faults.len();
    }
    assert!(faults > 0, "damage in the middle is a fault");
}

#[test]
fn damaged_data_touches_its_group_alone_and_the_rest_goes_on() {
    let (disk, first) = filled();
    disk.flip(FIRST, first + BATCH + 48, 0);
    let (_, found) = open(&disk);
    let [fault] = &found.faults[..] else { panic!("one fault: {:?}", found.faults) };
    assert_eq!(fault.group, Some(GroupId(1)));
    let place = Place::Log { path: FIRST.to_string(), segment: 1, offset: first + BATCH };
    assert_eq!(fault.place, place);
    assert!(fault.touches(GroupId(1)) && !fault.touches(GroupId(2)));
    assert_eq!(indexes(&found, 2), [1, 2, 3, 4]);
    assert_eq!(found.cut, None);
}

#[test]
fn a_damaged_head_may_have_been_of_any_group() {
    let (disk, first) = filled();
    disk.flip(FIRST, first + BATCH + 16, 0);
    let (_, found) = open(&disk);
    assert!(found.fault(GroupId(1)).is_some() && found.fault(GroupId(2)).is_some());
}

#[test]
fn a_fault_stays_until_its_group_is_reset_even_when_the_damage_is_recycled() {
    let (disk, first) = filled();
    disk.flip(FIRST, first + BATCH + 16, 0);
    let (mut wal, _) = open(&disk);
    wal.reset_group(GroupId(2)).unwrap();
    wal.commit().unwrap();
    let (mut wal, found) = open(&disk);
    assert!(found.fault(GroupId(1)).is_some());
    assert!(found.fault(GroupId(2)).is_none(), "{:?}", found.faults);
    // The log moves on until the damaged segment is gone.
    wal.trim(GroupId(1), 4, 1).unwrap();
    for index in 1..200 {
        append(&mut wal, 2, index, &[7; 1000]);
        wal.trim(GroupId(2), index, 1).unwrap();
        wal.commit().unwrap();
    }
    let (mut wal, found) = open(&disk);
    assert!(disk.contents(FIRST).is_none(), "the first segment was recycled");
    assert!(found.fault(GroupId(1)).is_some(), "and its damage is remembered");
    assert!(found.fault(GroupId(2)).is_none());
    wal.reset_group(GroupId(1)).unwrap();
    wal.commit().unwrap();
    assert_eq!(open(&disk).1.faults, []);
}

#[test]
fn damage_to_what_was_replaced_or_trimmed_does_not_matter() {
    let (disk, first) = filled();
    let (mut wal, _) = open(&disk);
    append(&mut wal, 1, 2, b"instead");
    wal.trim(GroupId(2), 2, 1).unwrap();
    wal.commit().unwrap();
    disk.flip(FIRST, first + BATCH + 48, 0);
    disk.flip(FIRST, first + BATCH + RECORD + 48, 0);
    let (_, found) = open(&disk);
    assert_eq!(found.faults, []);
    assert_eq!((indexes(&found, 1), indexes(&found, 2)), (vec![1, 2], vec![3, 4]));
}

#[test]
fn a_seal_proves_that_the_last_batch_was_durable() {
    let (disk, first) = filled();
    let last = first + 3 * BATCH;
    disk.flip(FIRST, last + 48, 0);
    let (_, found) = open(&disk);
    assert_eq!((found.faults.len(), found.cut.is_some()), (0, true), "it looks torn");
    let (disk, _) = filled();
    let (mut wal, _) = open(&disk);
    wal.seal().unwrap();
    wal.seal().unwrap();
    disk.flip(FIRST, last + 48, 0);
    let (_, found) = open(&disk);
    assert!(found.fault(GroupId(1)).is_some());
}

#[test]
fn a_missing_segment_and_a_damaged_header_are_faults() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    for index in 1..=90 {
        append(&mut wal, 1, index, &[1; 1000]);
        wal.commit().unwrap();
    }
    assert!(wal.status().segments >= 3);
    disk.kill();
    let second = "wal/000000000002.wal";
    let bytes = disk.contents(second).unwrap();
    disk.remove(second).unwrap();
    let (_, found) = open(&disk);
    let place = Place::Log { path: second.to_string(), segment: 2, offset: 0 };
    assert!(found.faults.iter().any(|fault| fault.place == place), "{:?}", found.faults);
    disk.put(second, &bytes);
    disk.flip(second, 20, 0);
    assert!(open(&disk).1.faults.iter().all(|fault| fault.reason.starts_with("an earlier start")));
    disk.flip(second, 2048 + 20, 0);
    let (_, found) = open(&disk);
    assert!(found.faults.iter().any(|fault| fault.place == place), "{:?}", found.faults);
}

#[test]
fn an_unreadable_sector_is_a_fault_even_at_the_tail() {
    let (disk, first) = filled();
    disk.make_unreadable(FIRST, first + 3 * BATCH);
    let (_, found) = open(&disk);
    assert!(found.fault(GroupId(1)).is_some());
    let (_, found) = open(&disk);
    assert!(found.fault(GroupId(1)).is_some(), "and still is at the next start");
}

#[test]
fn one_damaged_copy_of_a_vote_is_repaired_from_the_other() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    vote(&mut wal, 1, 5, Some(2));
    wal.commit().unwrap();
    for copy in [0, 4096] {
        disk.flip("votes", copy + 17, 3);
        let (_, found) = open(&disk);
        assert_eq!(found.faults, []);
        let log = &found.groups[&GroupId(1)];
        assert_eq!((log.term, log.vote), (5, Some(2)));
    }
}

#[test]
fn a_vote_that_the_log_has_seen_is_not_forgotten_when_its_file_lost_the_write() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    vote(&mut wal, 1, 5, Some(2));
    wal.commit().unwrap();
    let old = disk.contents("votes").unwrap();
    vote(&mut wal, 1, 6, Some(3));
    wal.commit().unwrap();
    disk.put("votes", &old);
    stdx::marks::take();
    let (_, found) = open(&disk);
    let log = &found.groups[&GroupId(1)];
    assert_eq!((log.term, log.vote, found.faults.len()), (6, Some(3), 0));
    assert!(stdx::marks::take().contains_key("the log knows a newer vote than the file of votes"));
}

#[test]
fn a_vote_without_a_readable_copy_is_a_fault_until_the_group_votes_anew() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    vote(&mut wal, 1, 5, Some(2));
    vote(&mut wal, 2, 6, None);
    wal.commit().unwrap();
    disk.flip("votes", 17, 3);
    disk.flip("votes", 4096 + 17, 3);
    for _ in 0..2 {
        let (_, found) = open(&disk);
        let fault = found.fault(GroupId(1)).expect("the vote is lost");
        assert!(matches!(fault.place, Place::Vote { .. }) || fault.reason.contains("earlier"));
        assert!(found.fault(GroupId(2)).is_none());
        assert_eq!(found.groups[&GroupId(2)].term, 6);
    }
    let (mut wal, _) = open(&disk);
    wal.reset_group(GroupId(1)).unwrap();
    vote(&mut wal, 1, 9, None);
    wal.commit().unwrap();
    let (_, found) = open(&disk);
    assert_eq!((found.faults.len(), found.groups[&GroupId(1)].term), (0, 9));
}

#[test]
fn a_vanished_log_or_vote_file_is_a_fault() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    vote(&mut wal, 1, 5, Some(2));
    append(&mut wal, 1, 1, b"x");
    wal.commit().unwrap();
    disk.kill();
    let votes = disk.contents("votes").unwrap();
    disk.put("votes", b"");
    assert!(open(&disk).1.fault(GroupId(1)).is_some());
    disk.wipe();
    disk.put("votes", &votes);
    assert!(open(&disk).1.fault(GroupId(1)).is_some());
    assert!(open(&disk).1.fault(GroupId(1)).is_some(), "and still is at the next start");
}

#[test]
fn arbitrary_bytes_are_read_without_panic() {
    let (disk, _) = filled();
    let mut bytes = disk.contents(FIRST).unwrap();
    let whole = storage::wal::fuzz_segment(&bytes).unwrap();
    assert_eq!(indexes(&whole, 2), [1, 2, 3, 4]);
    for cut in (0..200).chain(4000..5000) {
        let _ = storage::wal::fuzz_segment(&bytes[..cut]);
    }
    let mut rng = stdx::Rng::new(7);
    for _ in 0..2_000 {
        let at = rng.below(bytes.len() as u64) as usize;
        bytes[at] = rng.next() as u8;
        let _ = storage::wal::fuzz_segment(&bytes[..5000]);
    }
}

#[test]
fn what_a_damaged_last_batch_has_moved_is_still_where_it_was() {
    let disk = SimDisk::new(1);
    let (mut wal, _) = open(&disk);
    (1..=3).for_each(|index| append(&mut wal, 9, index, b"an idle group"));
    let mut index = 0;
    while wal.status().segments <= SEGMENTS_PINNED_MAX {
        index += 1;
        append(&mut wal, 1, index, &[1; 1000]);
        wal.commit().unwrap();
    }
    wal.trim(GroupId(1), index, 1).unwrap();
    wal.commit().unwrap();
    let survey = wal.survey().unwrap();
    wal.surveyed(survey.run(&mut || {})).unwrap();
    let active = format!("wal/{:012}.wal", SEGMENTS_PINNED_MAX + 1);
    // One batch moves them, goes on in the next segment, and frees the first one.
    assert!(wal.tidy().unwrap());
    (index + 1..index + 40).for_each(|index| append(&mut wal, 1, index, &[1; 1000]));
    wal.commit().unwrap();
    assert_eq!(wal.status().segments, 2);
    drop(wal);
    let bytes = disk.contents(&active).unwrap();
    let moved = bytes.windows(13).position(|bytes| bytes == b"an idle group").unwrap();
    disk.flip(&active, moved as u64, 0);
    let (_, recovered) = open(&disk);
    // Nothing proves that this batch was durable, so it counts as torn, with all that it said.
    assert_eq!(recovered.faults, []);
    assert_eq!(indexes(&recovered, 9), [1, 2, 3]);
}

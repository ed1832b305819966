//! The log on a disk that fails on purpose.

use std::collections::BTreeMap;
use std::sync::Arc;

use stdx::Rng;
use storage::disk::{Rates, SimDisk};
use storage::wal::{Log, Options, Record, Recovered, Survey, Surveyed, Wal};
use storage::{Error, GroupId};

const SMALL: Options = Options { segment_bytes: 32 << 10 };

fn open(disk: &SimDisk) -> (Wal, Recovered) {
    let (wal, recovered) = Wal::open(Arc::new(disk.clone()), SMALL).expect("the disk is well");
    wal.check();
    (wal, recovered)
}

fn entry(group: u32, index: u64, term: u64, data: &[u8]) -> Record<'_> {
    Record::Entry { group: GroupId(group), term, index, kind: 1, data }
}

/// What a group should hold, kept beside the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    groups: BTreeMap<GroupId, ModelGroup>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ModelGroup {
    vote: (u64, Option<u32>),
    mark: u64,
    entries: BTreeMap<u64, (u64, Vec<u8>)>,
}

impl ModelGroup {
    fn last(&self) -> u64 {
        self.entries.last_key_value().map_or(self.mark, |(index, _)| *index)
    }
}

impl Model {
    fn apply(&mut self, record: &Record<'_>) {
        match *record {
            Record::Entry { group, term, index, data, .. } => {
                let state = self.groups.entry(group).or_default();
                state.entries.split_off(&index);
                state.entries.insert(index, (term, data.to_vec()));
            }
            Record::Vote { group, term, vote } => {
                self.groups.entry(group).or_default().vote = (term, vote);
            }
            Record::Trim { group, index, .. } => {
                let state = self.groups.entry(group).or_default();
                state.mark = state.mark.max(index);
                state.entries = state.entries.split_off(&(index + 1));
            }
            Record::Reset { group, index, .. } => {
                let state = self.groups.entry(group).or_default();
                (state.mark, state.entries) = (index, BTreeMap::new());
            }
        }
    }

    fn of(recovered: &Recovered) -> Model {
        let groups = recovered.groups.iter().map(|(group, log)| (*group, of_log(log))).collect();
        Model { groups }
    }

    /// The same but for votes, which are durable a moment before the log is.
    fn without_votes(&self) -> Model {
        let mut copy = self.clone();
        copy.groups.values_mut().for_each(|group| group.vote = (0, None));
        copy.groups.retain(|_, group| *group != ModelGroup::default());
        copy
    }

    fn vote(&self, group: GroupId) -> (u64, Option<u32>) {
        self.groups.get(&group).map_or((0, None), |group| group.vote)
    }
}

fn of_log(log: &Log) -> ModelGroup {
    let entries = log.entries.iter();
    ModelGroup {
        vote: (log.term, log.vote),
        mark: log.mark.index,
        entries: entries.map(|one| (one.index, (one.term, one.data.to_vec()))).collect(),
    }
}

/// A random record that a consensus core could ask for.
fn random<'a>(rng: &mut Rng, model: &Model, data: &'a [u8]) -> Record<'a> {
    // One is idle most of the time: it pins old segments.
    let group = GroupId(if rng.one_in(50) { 2 } else { rng.below(2) as u32 });
    let state = model.groups.get(&group).cloned().unwrap_or_default();
    let term = state.vote.0.max(1);
    match rng.below(20) {
        0 => Record::Vote { group, term: state.vote.0 + 1, vote: None },
        1 => {
            let vote = state.vote.1.unwrap_or_else(|| rng.below(3) as u32);
            Record::Vote { group, term: state.vote.0.max(1), vote: Some(vote) }
        }
        2 if state.last() > state.mark => {
            let index = state.mark + 1 + rng.below(state.last() - state.mark);
            Record::Trim { group, index, term }
        }
        3 if rng.one_in(4) => Record::Reset { group, index: state.last() + rng.below(5), term },
        4 if state.last() > state.mark => {
            let index = state.mark + 1 + rng.below(state.last() - state.mark);
            Record::Entry { group, term, index, kind: 1, data }
        }
        _ => Record::Entry { group, term, index: state.last() + 1, kind: 1, data },
    }
}

/// The oldest segment, read beside the log: it takes as long as it takes.
#[derive(Default)]
enum Reading {
    #[default]
    None,
    Asked(Survey),
    Read(Surveyed),
}

impl Reading {
    fn go_on(&mut self, wal: &mut Wal, rng: &mut Rng) -> Result<(), Error> {
        if !rng.one_in(4) {
            return Ok(());
        }
        *self = match std::mem::take(self) {
            Reading::None => wal.survey().map_or(Reading::None, Reading::Asked),
            Reading::Asked(survey) => Reading::Read(survey.run(&mut || {})),
            Reading::Read(surveyed) => {
                wal.surveyed(surveyed)?;
                Reading::None
            }
        };
        Ok(())
    }
}

/// One life of a process: random batches until the machine stops. `acknowledged` holds what was
/// committed; returns every state that may be found after the crash.
fn live(disk: &SimDisk, rng: &mut Rng, acknowledged: &mut Model) -> Result<Vec<Model>, Error> {
    let (mut wal, recovered) = Wal::open(Arc::new(disk.clone()), SMALL)?;
    assert_eq!(recovered.faults, [], "a crash is never taken for damage");
    let found = Model::of(&recovered);
    *acknowledged = found;
    let mut reading = Reading::default();
    let data = [rng.next() as u8; 3000];
    loop {
        let mut possible = vec![acknowledged.clone()];
        let mut model = acknowledged.clone();
        for _ in 0..rng.below(6) + 1 {
            let len = if rng.one_in(10) { 3000 } else { rng.below(200) };
            let record = random(rng, &model, &data[..len as usize]);
            if wal.append(&record).is_err() {
                return Ok(possible);
            }
            model.apply(&record);
            possible.push(model.clone());
        }
        if rng.one_in(3)
            && let Some(job) = wal.prepare()
            && wal.accept(job.run(&mut || {})).is_err()
        {
            return Ok(possible);
        }
        if wal.commit().is_err() {
            return Ok(possible);
        }
        *acknowledged = model;
        let tidied = reading.go_on(&mut wal, rng).and_then(|()| wal.tidy());
        if tidied.is_err() || (rng.one_in(4) && wal.seal().is_err()) {
            return Ok(vec![acknowledged.clone()]);
        }
        wal.check();
    }
}

fn crash_at_every_boundary(seed: u64) {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::new(seed);
    let mut acknowledged = Model::default();
    let mut possible = vec![Model::default()];
    for _ in 0..30 {
        disk.halt_after(rng.below(60));
        // If it stops while opening, what was possible before still is.
        if let Ok(after) = live(&disk, &mut rng, &mut acknowledged) {
            possible = after;
        }
        if rng.one_in(4) {
            disk.kill();
        } else {
            disk.crash();
        }
        // Power fails in the middle of the recovery, too, perhaps again and again.
        while rng.one_in(2) {
            disk.halt_after(rng.below(30));
            drop(Wal::open(Arc::new(disk.clone()), SMALL));
            disk.crash();
        }
        let (wal, recovered) = open(&disk);
        drop(wal);
        assert_eq!(recovered.faults, [], "seed {seed}");
        let found = Model::of(&recovered);
        let at = possible.iter().position(|one| one.without_votes() == found.without_votes());
        assert!(at.is_some(), "seed {seed}: {found:#?}\nis none of\n{possible:#?}");
        for group in (0..3).map(GroupId) {
            let before = possible[0].vote(group);
            let vote = found.vote(group);
            assert!(
                (vote.0, vote.1.is_some()) >= (before.0, before.1.is_some()),
                "seed {seed}: the vote of {group:?} went back from {before:?} to {vote:?}"
            );
        }
        possible = vec![found];
    }
}

#[test]
fn what_was_committed_survives_every_crash() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(120);
    stdx::marks::take();
    (0..seeds).for_each(crash_at_every_boundary);
    let reached = stdx::marks::take();
    for mark in ["what pins an old segment is moved", "a segment is recycled while it is read"] {
        let count = reached.get(mark).copied().unwrap_or(0);
        assert!(count > 2 || seeds < 120, "{mark}: {reached:?}");
    }
}

#[test]
fn entries_and_votes_come_back() {
    let disk = SimDisk::new(1);
    let (mut wal, recovered) = open(&disk);
    assert_eq!(recovered, Recovered::default());
    (1..=3).for_each(|index| wal.append(&entry(1, index, 1, b"old")).unwrap());
    wal.append(&Record::Vote { group: GroupId(1), term: 2, vote: Some(0) }).unwrap();
    wal.append(&entry(1, 2, 2, b"new")).unwrap();
    wal.commit().unwrap();
    wal.append(&entry(1, 3, 2, b"lost")).unwrap();
    disk.crash();
    let (_, recovered) = open(&disk);
    let log = &recovered.groups[&GroupId(1)];
    assert_eq!((log.term, log.vote), (2, Some(0)));
    let terms: Vec<u64> = log.entries.iter().map(|entry| entry.term).collect();
    assert_eq!(terms, [1, 2]);
    assert_eq!(&log.entries[1].data[..], b"new");
}

/// Lives on a disk that lies: writes vanish or land elsewhere, bits rot, reads fail. A group without
/// a fault must hold a state that it once had; nothing panics.
fn never_believes_what_was_not_written(seed: u64, struck: &mut [u32; 2]) {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::new(seed);
    let mut history = vec![Model::default()];
    // What it was before the last batch, which may be of an earlier life: if that batch rots and no
    // proof lies behind it, it is taken for torn (see `Wal::seal`).
    let mut older = Vec::new();
    for _ in 0..12 {
        let rates = [
            Rates { lost_write: 40, ..Rates::default() },
            Rates { misdirected_write: 40, ..Rates::default() },
            Rates { read_error: 400, ..Rates::default() },
            Rates::default(),
        ];
        disk.set_rates(rates[rng.below(4) as usize]);
        disk.halt_after(20 + rng.below(80));
        let _ = write_history(&disk, &mut rng, &mut history);
        disk.crash();
        disk.set_rates(Rates::default());
        if rng.one_in(2) {
            for _ in 0..rng.below(3) + 1 {
                disk.rot(["wal/", "votes", ""][rng.below(3) as usize]);
            }
        }
        let (mut wal, recovered) = open(&disk);
        let found = Model::of(&recovered).without_votes();
        for group in (0..3).map(GroupId) {
            if recovered.fault(group).is_some() {
                struck[0] += 1;
                wal.reset_group(group).expect("the disk is well");
                continue;
            }
            struck[1] += 1;
            let state = |model: &Model| model.without_votes().groups.get(&group).cloned();
            let now = found.groups.get(&group).cloned();
            let once = older.iter().chain(&history).any(|model| state(model) == now);
            let indexes = |state: Option<ModelGroup>| {
                state.map(|state| (state.mark, state.entries.into_keys().collect::<Vec<_>>()))
            };
            assert!(
                once,
                "seed {seed}: {group:?} never was {:?} but {:?}; {:?}, cut {:?}",
                indexes(now),
                history.last().map(|model| indexes(state(model))),
                recovered.faults,
                recovered.cut
            );
        }
        wal.commit().expect("the disk is well");
        drop(wal);
        let now = Model::of(&open(&disk).1);
        let lived = std::mem::replace(&mut history, vec![now]);
        if lived.len() > 1 {
            older = lived;
        }
    }
}

/// Random batches until something fails; every state between two records goes into the history.
fn write_history(disk: &SimDisk, rng: &mut Rng, history: &mut Vec<Model>) -> Result<(), Error> {
    let (mut wal, recovered) = Wal::open(Arc::new(disk.clone()), SMALL)?;
    let mut model = Model::of(&recovered);
    if !recovered.faults.is_empty() {
        return Ok(());
    }
    let mut reading = Reading::default();
    let data = [rng.next() as u8; 3000];
    loop {
        for _ in 0..rng.below(6) + 1 {
            let len = if rng.one_in(10) { 3000 } else { rng.below(200) };
            let record = random(rng, &model, &data[..len as usize]);
            wal.append(&record)?;
            model.apply(&record);
            history.push(model.clone());
        }
        wal.commit()?;
        reading.go_on(&mut wal, rng)?;
        wal.tidy()?;
        wal.check();
    }
}

#[test]
fn a_lying_disk_is_never_believed() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(100);
    let mut struck = [0; 2];
    (0..seeds).for_each(|seed| never_believes_what_was_not_written(seed, &mut struck));
    assert!(struck.iter().all(|count| *count > 100), "faults and their absence: {struck:?}");
}

//! What the clients saw, held against what one machine that never fails could have shown them.
//!
//! The moments are numbers of a single count, so "ended before it began" is exact. Operations of
//! unknown outcome count as possibly done, at any later moment; refused ones as never done: if
//! their effect is seen all the same, that is a lie.

use std::collections::{BTreeMap, BTreeSet};

use super::register::{self, Act, Operation, Verdict};
use super::versions::{self, Seen};
use crate::coverage::{Coverage, Mark};
use crate::workload::{ACCOUNTS, Op, Outcome};

/// One operation of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) client: usize,
    pub(crate) op: Op,
    pub(crate) call: u64,
    /// `u64::MAX` while it has not ended, and if it never will.
    pub(crate) end: u64,
    pub(crate) outcome: Outcome,
}

impl Record {
    fn is_refused(&self) -> bool {
        self.outcome == Outcome::Refused
    }

    fn is_unknown(&self) -> bool {
        self.outcome == Outcome::Unknown
    }

    fn end(&self) -> u64 {
        if self.is_unknown() { u64::MAX } else { self.end }
    }

    fn seen(&self, version: u64, writes: bool) -> Seen {
        Seen { call: self.call, end: self.end(), version, writes }
    }
}

type Checked = Result<(), String>;
type ByKey<'a> = BTreeMap<&'a str, Vec<&'a Record>>;

/// Checks a whole history. The error says what cannot have been.
pub(crate) fn check(records: &[Record], coverage: &mut Coverage) -> Checked {
    let mut families: [ByKey<'_>; 5] = Default::default();
    let mut bank = Vec::new();
    for record in records {
        let (family, key) = match &record.op {
            Op::Set { key, .. }
            | Op::Get { key }
            | Op::GetSet { key, .. }
            | Op::Del { key }
            | Op::Cas { key, .. } => (0, key),
            Op::Incr { key } | Op::Count { key } => (1, key),
            Op::Push { key, .. } | Op::Range { key } => (2, key),
            Op::Add { key, .. } | Op::Remove { key, .. } | Op::Members { key } => (3, key),
            Op::Enqueue { key, .. } | Op::Take { key } | Op::Left { key } => (4, key),
            Op::Transfer { .. } | Op::Audit | Op::Journal => {
                bank.push(record);
                continue;
            }
            Op::Fill { .. } => continue,
        };
        families[family].entry(key).or_default().push(record);
    }
    let [registers, counters, lists, sets, queues] = families;
    let named = |key: &str, checked: Checked| checked.map_err(|error| format!("{key}: {error}"));
    for (key, records) in registers {
        named(key, check_register(&records, coverage))?;
    }
    for (key, records) in counters {
        named(key, check_counter(&records))?;
    }
    for (key, records) in lists {
        named(key, check_list(&records))?;
    }
    for (key, records) in sets {
        named(key, check_set(&records))?;
    }
    for (key, records) in queues {
        named(key, check_queue(&records))?;
    }
    named("bank", check_bank(&bank))
}

fn check_register(records: &[&Record], coverage: &mut Coverage) -> Checked {
    let mut operations = Vec::new();
    for record in records {
        if record.is_refused() || (record.is_unknown() && record.op.reads()) {
            continue;
        }
        let unknown = record.is_unknown();
        let act = match (&record.op, &record.outcome) {
            (Op::Get { .. }, Outcome::Value(found)) => Act::Read(*found),
            (Op::Set { value, .. }, _) => Act::Write(Some(*value)),
            (Op::Del { .. }, Outcome::Int(0)) => Act::Read(None),
            (Op::Del { .. }, _) => Act::Write(None),
            (Op::GetSet { value, .. }, Outcome::Value(found)) => {
                Act::Swap { found: *found, wrote: Some(*value) }
            }
            (Op::GetSet { value, .. }, _) => Act::Write(Some(*value)),
            (Op::Cas { value, expected: Some(expected), .. }, outcome) => {
                if *outcome == Outcome::Aborted {
                    continue;
                }
                Act::Replace { expected: *expected, wrote: Some(*value) }
            }
            // Its first part was never answered, so it has written nothing.
            (Op::Cas { expected: None, .. }, _) if unknown => continue,
            _ => return Err(format!("an odd answer: {record:?}")),
        };
        operations.push(Operation { call: record.call, end: record.end(), act });
    }
    if operations.len() > 128 {
        coverage.hit(Mark::SearchUndecided);
        return Ok(());
    }
    match register::check(&operations) {
        Verdict::Linearizable => Ok(()),
        Verdict::Undecided => {
            coverage.hit(Mark::SearchUndecided);
            Ok(())
        }
        Verdict::Impossible => {
            operations.sort_by_key(|operation| operation.call);
            Err(format!("no order explains these answers: {operations:?}"))
        }
    }
}

fn check_counter(records: &[&Record]) -> Checked {
    let (mut seen, mut unknown, mut largest) = (Vec::new(), 0, 0);
    for record in records.iter().filter(|record| !record.is_refused()) {
        match (&record.op, &record.outcome) {
            (Op::Incr { .. }, Outcome::Int(count)) => seen.push(record.seen(*count as u64, true)),
            (Op::Count { .. }, Outcome::Int(count)) => seen.push(record.seen(*count as u64, false)),
            (Op::Incr { .. }, Outcome::Unknown) => unknown += 1,
            _ => {}
        }
    }
    let acknowledged = seen.iter().filter(|one| one.writes).count() as u64;
    for one in &seen {
        largest = largest.max(one.version);
    }
    if largest > acknowledged + unknown {
        return Err(format!("{largest} after {acknowledged} and perhaps {unknown} increments"));
    }
    versions::check(&seen)
}

fn check_list(records: &[&Record]) -> Checked {
    let ids = |record: &&&Record| matches!(record.outcome, Outcome::Ids(_));
    let longest = records.iter().filter(ids).max_by_key(|record| match &record.outcome {
        Outcome::Ids(items) => items.len(),
        _ => 0,
    });
    let empty = Vec::new();
    let all = match longest.map(|record| &record.outcome) {
        Some(Outcome::Ids(items)) => items,
        _ => &empty,
    };
    let places: BTreeMap<u64, u64> = all.iter().zip(1..).map(|(item, at)| (*item, at)).collect();
    if places.len() != all.len() {
        return Err(format!("an item is there twice: {all:?}"));
    }
    let mut seen = Vec::new();
    let mut known = BTreeSet::new();
    for record in records {
        match (&record.op, &record.outcome) {
            (Op::Range { .. }, Outcome::Ids(items)) => {
                if !all.starts_with(items) {
                    return Err(format!("{items:?} is no beginning of {all:?}"));
                }
                seen.push(record.seen(items.len() as u64, false));
            }
            (Op::Push { item, .. }, outcome) => {
                let place = places.get(item).copied();
                known.insert(*item);
                match (outcome, place) {
                    (Outcome::Refused, Some(_)) => {
                        return Err(format!("{item} was refused and is there"));
                    }
                    (Outcome::Int(length), place)
                        if place.is_none_or(|at| at != *length as u64) =>
                    {
                        // Without a full read at the end it may only be too new to be seen.
                        if place.is_some() || (*length as usize) <= all.len() {
                            return Err(format!("{item} was put at {length} and is at {place:?}"));
                        }
                        seen.push(record.seen(*length as u64, true));
                    }
                    (_, Some(at)) => seen.push(record.seen(at, true)),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if let Some(stranger) = all.iter().find(|item| !known.contains(item)) {
        return Err(format!("nobody put {stranger} there"));
    }
    versions::check(&seen)
}

/// What is known of one member.
#[derive(Default)]
struct Member<'a> {
    adds: Vec<&'a Record>,
    removes: Vec<&'a Record>,
}

fn check_set(records: &[&Record]) -> Checked {
    let mut members: BTreeMap<u64, Member<'_>> = BTreeMap::new();
    for record in records.iter().filter(|record| !record.is_refused()) {
        match &record.op {
            Op::Add { item, .. } => members.entry(*item).or_default().adds.push(record),
            Op::Remove { item, .. } => members.entry(*item).or_default().removes.push(record),
            _ => {}
        }
    }
    for read in records {
        let Outcome::Ids(items) = &read.outcome else { continue };
        let found: BTreeSet<u64> = items.iter().copied().collect();
        for item in &found {
            let added = members.get(item).is_some_and(|m| m.adds.iter().any(|a| a.call < read.end));
            if !added {
                return Err(format!("nobody added {item}, and it is there"));
            }
        }
        for (item, member) in &members {
            let added = member.adds.iter().map(|add| add.end()).min().unwrap_or(u64::MAX);
            let may_be_gone = member.removes.iter().any(|remove| remove.call < read.end);
            if added < read.call && !may_be_gone && !found.contains(item) {
                return Err(format!("{item} was added before {} and is not there", read.call));
            }
            let gone = member.removes.iter().any(|remove| {
                let after_add = member.adds.iter().all(|add| add.end() < remove.call);
                remove.end() < read.call && after_add
            });
            if gone && found.contains(item) {
                return Err(format!("{item} was removed before {} and is there", read.call));
            }
        }
    }
    Ok(())
}

fn check_queue(records: &[&Record]) -> Checked {
    let mut pushed: BTreeMap<u64, &Record> = BTreeMap::new();
    let mut taken: BTreeMap<u64, &Record> = BTreeMap::new();
    let mut unknown_takes = 0;
    let mut left: Option<&Record> = None;
    for record in records {
        match (&record.op, &record.outcome) {
            (Op::Enqueue { item, .. }, _) => {
                pushed.insert(*item, record);
            }
            (Op::Take { .. }, Outcome::Value(Some(item))) if taken.contains_key(item) => {
                return Err(format!("{item} was taken twice"));
            }
            (Op::Take { .. }, Outcome::Value(Some(item))) => {
                taken.insert(*item, record);
            }
            (Op::Take { .. }, Outcome::Unknown) => unknown_takes += 1,
            (Op::Left { .. }, Outcome::Ids(_)) => left = Some(record),
            _ => {}
        }
    }
    for (item, take) in &taken {
        let Some(push) = pushed.get(item) else { return Err(format!("nobody put {item} there")) };
        if push.is_refused() {
            return Err(format!("{item} was refused and taken"));
        }
        if push.call > take.end {
            return Err(format!("{item} was taken before it was put there"));
        }
    }
    let Some(Record { outcome: Outcome::Ids(items), call, .. }) = left else { return Ok(()) };
    let found: BTreeSet<u64> = items.iter().copied().collect();
    if found.len() != items.len() {
        return Err(format!("an item is there twice: {items:?}"));
    }
    if let Some(item) = found.iter().find(|item| taken.get(item).is_some_and(|t| t.end() < *call)) {
        return Err(format!("{item} was taken and is still there"));
    }
    let is_lost = |(item, push): &(&u64, &&Record)| {
        let acknowledged = matches!(push.outcome, Outcome::Int(_));
        acknowledged && !taken.contains_key(item) && !found.contains(item)
    };
    let lost: Vec<u64> = pushed.iter().filter(is_lost).map(|(item, _)| *item).collect();
    if lost.len() > unknown_takes {
        return Err(format!("{lost:?} are lost, and only {unknown_takes} may have been taken"));
    }
    Ok(())
}

fn check_bank(records: &[&Record]) -> Checked {
    let mut transfers = BTreeMap::new();
    let mut journal: &[u64] = &[];
    for record in records {
        match (&record.op, &record.outcome) {
            (Op::Transfer { item, .. }, _) => {
                transfers.insert(*item, *record);
            }
            (Op::Journal, Outcome::Ids(items)) if items.len() > journal.len() => journal = items,
            _ => {}
        }
    }
    // The balances after each transfer.
    let mut states = vec![vec![0i64; ACCOUNTS as usize]];
    let mut places = BTreeMap::new();
    for (at, entry) in journal.iter().enumerate() {
        let record = transfers.get(entry).ok_or_else(|| format!("nobody made transfer {entry}"))?;
        let Op::Transfer { source, target, amount, .. } = record.op else { continue };
        if record.is_refused() {
            return Err(format!("transfer {entry} was refused and is there"));
        }
        if places.insert(*entry, at as u64 + 1).is_some() {
            return Err(format!("transfer {entry} was made twice"));
        }
        let mut state = states[at].clone();
        state[source as usize] -= amount;
        state[target as usize] += amount;
        states.push(state);
    }
    let whole =
        |record: &Record| matches!((&record.op, &record.outcome), (Op::Journal, Outcome::Ids(_)));
    let is_whole = records.iter().any(|record| whole(record));
    let mut seen = Vec::new();
    for record in records {
        match (&record.op, &record.outcome) {
            (Op::Audit, Outcome::Balances(balances, version)) => {
                let total: i64 = balances.iter().sum();
                if total != 0 {
                    return Err(format!("money was made: {balances:?}"));
                }
                let expected = states.get(*version as usize);
                if is_whole && expected.is_some_and(|expected| expected != balances) {
                    return Err(format!("after {version}: {balances:?}, not {expected:?}"));
                }
                seen.push(record.seen(*version, false));
            }
            (Op::Transfer { item, .. }, Outcome::Balances(_, version)) => {
                if is_whole && places.get(item) != Some(version) {
                    return Err(format!("transfer {item} was made at {version} and is not there"));
                }
                seen.push(record.seen(*version, true));
            }
            (Op::Transfer { item, .. }, Outcome::Unknown) => {
                seen.extend(places.get(item).map(|place| record.seen(*place, true)));
            }
            (Op::Journal, Outcome::Ids(items)) => {
                seen.push(record.seen(items.len() as u64, false));
            }
            _ => {}
        }
    }
    versions::check(&seen)
}

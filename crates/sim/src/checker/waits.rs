//! Whoever waits for an item gets one that comes: BLPOP must not end with nothing while an item lies
//! there that nobody takes until later.
//!
//! An order of all answers does not show this: the list was empty at some moment of the wait, and
//! that explains the answer. What betrays it is time. The wait lasts for so long at least, and an
//! item that was surely there before its end, and was taken only later or never, should have ended
//! it. So this asks for clocks that are known to be good.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::model::ClockBound;
use crate::history::{Datum, Operation, Verb};

/// What is known of a list.
#[derive(Default)]
struct List<'a> {
    /// Items that were put there for sure, each by one operation.
    pushed: BTreeMap<&'a Datum, &'a Operation>,
    /// Who took them.
    taken: BTreeMap<&'a Datum, &'a Operation>,
    /// Waits that ended with nothing, and how long they were to be, in nanoseconds.
    waits: Vec<(&'a Operation, u64)>,
    /// Something was taken, perhaps, and nobody knows what; or it is used in other ways.
    unclear: bool,
}

/// Looks for a wait that should have ended otherwise.
pub(super) fn check(history: &[Operation], clock: ClockBound) -> Option<Violation> {
    let mut lists: BTreeMap<&str, List<'_>> = BTreeMap::new();
    for operation in history.iter().filter(|operation| !operation.is_failed()) {
        for (at, call) in operation.calls.iter().enumerate() {
            let list = lists.entry(&call.key).or_default();
            let result = operation.results().map(|results| &results[at]);
            match (call.verb, result) {
                (Verb::Append | Verb::LPush, Some(_)) => {
                    let before = list.pushed.insert(&call.args[0], operation);
                    list.unclear |= before.is_some();
                }
                (Verb::BlPop, Some(Datum::Nil)) => {
                    let millis = call.args[0].int().unwrap_or(0).max(0) as u64;
                    list.waits.push((operation, millis * 1_000_000));
                }
                (Verb::LPop | Verb::RPop, Some(Datum::Nil)) => {}
                (Verb::LPop | Verb::RPop | Verb::BlPop, Some(item)) => {
                    let _ = list.taken.insert(item, operation);
                }
                (Verb::Append | Verb::LPush | Verb::Range | Verb::LLen, _) => {}
                _ => list.unclear = true,
            }
        }
    }
    lists.into_iter().filter(|(_, list)| !list.unclear).find_map(|(key, list)| {
        let (wait, item) = list.missed(clock)?;
        let what = format!(
            "{key}: {wait}, and {item} was there: {}, taken by {}",
            list.pushed[item],
            list.taken.get(item).map_or_else(|| "nobody".to_owned(), ToString::to_string),
        );
        Some(Violation::new("a client that waits is not woken", what))
    })
}

impl List<'_> {
    /// A wait, and an item that should have ended it.
    fn missed(&self, clock: ClockBound) -> Option<(&Operation, &Datum)> {
        // By when an item was surely there.
        let mut items: Vec<(u64, &Datum)> =
            self.pushed.iter().map(|(item, push)| (push.end_time(), *item)).collect();
        items.sort_unstable();
        let mut waits = self.waits.clone();
        let until = |wait: &(&Operation, u64)| {
            let due = (wait.0.start.time + wait.1).saturating_sub(clock.early);
            due.min(wait.0.end_time())
        };
        waits.sort_by_key(until);
        let mut items = items.into_iter().peekable();
        // Those that are there, by when somebody began to take them.
        let mut there: BTreeSet<(u64, &Datum)> = BTreeSet::new();
        for wait in &waits {
            while let Some((_, item)) = items.next_if(|(end, _)| *end < until(wait)) {
                let taken = self.taken.get(item).map_or(u64::MAX, |take| take.start.index);
                there.insert((taken, item));
            }
            if let Some((taken, item)) = there.last()
                && *taken > wait.0.end_index()
            {
                return Some((wait.0, item));
            }
        }
        None
    }
}

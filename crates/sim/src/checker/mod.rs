//! The checkers: what must hold of the replicas after each step, and of what the clients saw.
//!
//! ```text
//! replicas   looks inside: mirrors each log from the records that are handed to the disk
//!   members    which nodes are a quorum, and that no change leaves two of them apart
//! check      looks from outside: knows only what was asked, what was answered, in which order
//!   linear     an order of each key, or of keys that are touched together, by search on a model
//!   serial     cycles among the transactions on lists, as Elle finds them
//!   versions   counters of any length: each answer names its place
//!   waits      whoever waits for an item gets one that comes
//! ```
//!
//! Neither knows how the other decides, so a bug has to fool both. `check` takes a history from
//! anywhere: the simulator, real processes, a file.

mod graph;
mod linear;
pub(crate) mod members;
mod model;
pub(crate) mod replicas;
mod serial;
mod versions;
mod waits;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::{Call, History, Operation, Verb};
use linear::Found;
pub use model::ClockBound;

/// How much is looked at, and what is known of clocks.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// States that the search of one part of a history may look at.
    pub states_max: usize,
    /// Operations of a part that is searched at all.
    pub operations_max: usize,
    /// How far the clock of expiry may be off. `None`: what can expire may be gone at any time,
    /// early or late, but only once.
    pub clock: Option<ClockBound>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { states_max: 1_000_000, operations_max: 20_000, clock: None }
    }
}

impl Rules {
    /// Clocks are off by so much at the most: keys that expire are held to it.
    pub fn with_clock(self, early: Duration, late: Duration) -> Rules {
        let (early, late) = (early.as_nanos() as u64, late.as_nanos() as u64);
        Rules { clock: Some(ClockBound { early, late }), ..self }
    }
}

/// Something that cannot have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What kind of thing: `linearizability`, or a class of Elle's.
    pub class: String,
    pub what: String,
}

impl Violation {
    fn new(class: &str, what: String) -> Violation {
        Violation { class: class.to_owned(), what }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.class, self.what)
    }
}

/// What came of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// Parts of which nobody can say, by their keys. Their search grew too large.
    pub undecided: Vec<String>,
    /// Parts: keys that operations touch together.
    pub parts: usize,
    pub operations: usize,
    /// Transactions on lists, which were held against each other.
    pub transactions: usize,
}

/// Checks a whole history.
pub fn check(history: &History, rules: &Rules) -> Verdict {
    let parts = parts(history);
    let mut verdict = Verdict {
        parts: parts.len(),
        operations: history.operations().len(),
        ..Verdict::default()
    };
    let serial = serial::check(history.operations());
    verdict.transactions = serial.transactions;
    verdict.violations.extend(serial.violation);
    let waits = rules.clock.and_then(|clock| waits::check(history.operations(), clock));
    verdict.violations.extend(waits);
    for (keys, operations) in parts {
        let is_list = |call: &Call| {
            let appends = matches!(call.verb, Verb::Append | Verb::Range);
            appends && serial.keys.contains(call.key.as_str())
        };
        // The cycles have said all there is to say of these.
        if operations.iter().all(|operation| operation.calls.iter().all(is_list)) {
            continue;
        }
        let named = |what: String| Violation::new("linearizability", format!("{keys}: {what}"));
        let counted = versions::check_counter(&operations);
        if let Some(Err(what)) = counted {
            verdict.violations.push(named(what));
            continue;
        }
        let found = match operations.len() {
            length if length > rules.operations_max => Found::Undecided,
            _ => linear::search(&operations, rules.states_max, rules.clock),
        };
        match found {
            Found::Order => {}
            Found::Impossible(what) => verdict.violations.push(named(what)),
            // Its versions have been held against each other.
            Found::Undecided if counted.is_some() => {}
            Found::Undecided => verdict.undecided.push(keys),
        }
    }
    verdict
}

/// Operations by the keys that they share, directly or over others; each part with its keys' names.
fn parts(history: &History) -> Vec<(String, Vec<&Operation>)> {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut parents: Vec<usize> = Vec::new();
    let root = |parents: &mut Vec<usize>, mut at: usize| {
        while parents[at] != at {
            parents[at] = parents[parents[at]];
            at = parents[at];
        }
        at
    };
    for operation in history.operations() {
        let mut first = None;
        for call in &operation.calls {
            let next = parents.len();
            let key = *names.entry(&call.key).or_insert(next);
            if key == next {
                parents.push(next);
            }
            let key = root(&mut parents, key);
            let first = root(&mut parents, *first.get_or_insert(key));
            parents[key] = first;
        }
    }
    let mut parts: BTreeMap<usize, (Vec<&str>, Vec<&Operation>)> = BTreeMap::new();
    for (name, at) in &names {
        parts.entry(root(&mut parents, *at)).or_default().0.push(name);
    }
    for operation in history.operations() {
        let at = root(&mut parents, names[operation.calls[0].key.as_str()]);
        parts.entry(at).or_default().1.push(operation);
    }
    parts.into_values().map(|(keys, operations)| (keys.join(", "), operations)).collect()
}

#[cfg(test)]
mod tests;

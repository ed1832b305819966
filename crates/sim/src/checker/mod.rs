//! The checkers: what must hold of the replicas after each step, and of what the clients saw.
//!
//! ```text
//! replicas   looks inside: mirrors each log from the records that are handed to the disk
//! check      looks from outside: knows only what was asked, what was answered, in which order
//!   linear     an order of each key, or of keys that are touched together, by search on a model
//!   serial     cycles among the transactions on lists, as Elle finds them
//!   versions   counters of any length: each answer names its place
//! ```
//!
//! Neither knows how the other decides, so a bug has to fool both. `check` takes a history from
//! anywhere: the simulator, real processes, a file.

mod graph;
mod linear;
mod model;
pub(crate) mod replicas;
mod serial;
mod versions;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::{History, Operation, Verb};
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
    for (keys, operations) in parts {
        let counted = versions::check_counter(&operations);
        let lists = operations.iter().all(|one| one.calls.iter().all(|call| is_list(call.verb)));
        let searched = if operations.len() > rules.operations_max {
            linear::Found::Undecided
        } else {
            linear::search(&operations, rules.states_max, rules.clock)
        };
        let named = |what: String| Violation::new("linearizability", format!("{keys}: {what}"));
        match (counted, searched) {
            (Some(Err(what)), _) => verdict.violations.push(named(what)),
            (_, linear::Found::Impossible(what)) => verdict.violations.push(named(what)),
            // Versions and cycles have said all there is to say.
            (Some(Ok(())), linear::Found::Undecided) => {}
            (None, linear::Found::Undecided) if lists => {}
            (None, linear::Found::Undecided) => verdict.undecided.push(keys),
            (_, linear::Found::Order) => {}
        }
    }
    verdict
}

fn is_list(verb: Verb) -> bool {
    matches!(verb, Verb::Append | Verb::Range)
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

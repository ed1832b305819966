//! Are these transactions strictly serializable? By looking for cycles, as Elle does (Kingsbury and
//! Alvaro, VLDB 2020), on lists that are only appended to: a list that was read tells the whole
//! order of its writes.
//!
//! ```text
//! ww  appended right before      G0        a cycle of ww alone
//! wr  appended what was read     G1c       ww and wr
//! rw  read without what came     G-single  with one rw: a read from a state that never was
//! rt  was over before            G2        with more of them: write skew
//! ```
//!
//! Each is looked for without `rt` first and then with it: the same class "in real time" means
//! serializable and not strictly so, which is what a stale read is. Before all cycles: `internal` (a
//! transaction that does not see its own appends), G1a (something was read that did not happen),
//! G1b (a state in the middle of a transaction was read), lists that contradict each other, and
//! what was put somewhere else than the answer said.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::graph::{Because, Graph, RT, RW, WR, WW};
use crate::history::{Call, Datum, Operation, Verb};

/// Of a list: all of its items in their order, as far as anybody saw it.
#[derive(Debug, Default)]
struct List<'a> {
    order: &'a [Datum],
    /// Who appended what.
    writers: BTreeMap<&'a Datum, usize>,
    /// Where an item is.
    places: BTreeMap<&'a Datum, usize>,
}

/// The transactions of a history, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Checked<'a> {
    /// The lists that this is about.
    pub(super) keys: BTreeSet<&'a str>,
    pub(super) transactions: usize,
    pub(super) violation: Option<Violation>,
}

/// Checks the transactions on lists that are only appended to, each item once.
pub(super) fn check(history: &[Operation]) -> Checked<'_> {
    let keys = appended(history);
    let is_in = |operation: &&Operation| {
        operation.calls.iter().any(|call| keys.contains(call.key.as_str()))
    };
    let operations: Vec<&Operation> = history.iter().filter(is_in).collect();
    let violation = check_those(&operations, &keys).err();
    Checked { transactions: operations.len(), violation, keys }
}

/// The keys of those lists.
fn appended(history: &[Operation]) -> BTreeSet<&str> {
    let (mut keys, mut others, mut items) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for call in history.iter().flat_map(|operation| &operation.calls) {
        let key = call.key.as_str();
        let is_fine = match call.verb {
            // Of two that are equal nobody can tell which was read.
            Verb::Append => items.insert((key, &call.args[0])),
            Verb::Range | Verb::LLen => true,
            _ => false,
        };
        keys.insert(key);
        if !is_fine {
            others.insert(key);
        }
    }
    keys.difference(&others).copied().collect()
}

fn check_those(operations: &[&Operation], keys: &BTreeSet<&str>) -> Result<(), Violation> {
    let lists = lists(operations, keys)?;
    operations.iter().try_for_each(|operation| check_one(operation, operations, &lists))?;
    match anomaly(operations, &graph(operations, &lists)) {
        None => Ok(()),
        Some(violation) => Err(violation),
    }
}

/// The first cycle, by its class.
fn anomaly(operations: &[&Operation], graph: &Graph) -> Option<Violation> {
    let searches = [
        ("G0", WW, None),
        ("G1c", WW | WR, None),
        ("G-single", WW | WR, Some(RW)),
        ("G2", WW | WR | RW, None),
        ("G0 in real time", WW | RT, None),
        ("G1c in real time", WW | WR | RT, None),
        ("G-single in real time", WW | WR | RT, Some(RW)),
        ("G2 in real time", WW | WR | RW | RT, None),
    ];
    searches.into_iter().find_map(|(class, kinds, once)| {
        let cycle = graph.cycle(kinds, once)?;
        let steps = cycle.into_iter().map(|(at, (next, because))| {
            let (one, other) = (operations[at], operations[*next]);
            match because {
                Because::Wrote { key, what } => {
                    format!("{one}\n      appended to {key} right before {what} of {other}")
                }
                Because::WasRead { key, what } => {
                    format!("{one}\n      appended {what} to {key}, read by {other}")
                }
                Because::Missed { key, what } => {
                    format!("{one}\n      read {key} without {what} of {other}")
                }
                Because::Earlier => format!("{one}\n      was over before {other} began"),
            }
        });
        let steps: Vec<String> = steps.collect();
        Some(Violation::new(class, format!("a cycle:\n    {}", steps.join("\n    "))))
    })
}

fn lists<'a>(
    operations: &[&'a Operation],
    keys: &BTreeSet<&'a str>,
) -> Result<BTreeMap<&'a str, List<'a>>, Violation> {
    let mut lists: BTreeMap<&str, List<'_>> =
        keys.iter().map(|key| (*key, List::default())).collect();
    for (at, operation) in operations.iter().enumerate() {
        for (place, call) in operation.calls.iter().enumerate() {
            let Some(list) = lists.get_mut(call.key.as_str()) else { continue };
            if call.verb == Verb::Append {
                list.writers.insert(&call.args[0], at);
            }
            let read = operation.results().and_then(|results| results[place].list());
            if let Some(read) = read.filter(|read| read.len() > list.order.len()) {
                list.order = read;
            }
        }
    }
    for (key, list) in &mut lists {
        for (place, item) in list.order.iter().enumerate() {
            if list.places.insert(item, place).is_some() {
                let what = format!("{key} has {item} twice: {}", shown(list.order));
                return Err(Violation::new("duplicate", what));
            }
        }
    }
    Ok(lists)
}

fn shown(items: &[Datum]) -> String {
    Datum::List(items.to_vec()).to_string()
}

/// What can be said of one transaction by itself.
fn check_one(
    operation: &Operation,
    all: &[&Operation],
    lists: &BTreeMap<&str, List<'_>>,
) -> Result<(), Violation> {
    let Some(results) = operation.results() else { return Ok(()) };
    let mut own: BTreeMap<&str, Vec<&Datum>> = BTreeMap::new();
    for (call, result) in operation.calls.iter().zip(results) {
        let Some(list) = lists.get(call.key.as_str()) else { continue };
        let told = |class: &str, what: String| {
            Err(Violation::new(class, format!("{what} ({}): {operation}", call.key)))
        };
        let own = own.entry(&call.key).or_default();
        match (call.verb, result) {
            (Verb::Append, Datum::Int(length)) => {
                own.push(&call.args[0]);
                let (item, place) = (&call.args[0], *length as usize);
                let found = list.places.get(item).map(|place| place + 1);
                let should_be_there = place <= list.order.len();
                if found.is_some_and(|found| found != place) || (found.is_none() && should_be_there)
                {
                    let order = shown(list.order);
                    return told("lost or moved", format!("{item} is not at {place} of {order}"));
                }
            }
            (Verb::Append, _) => own.push(&call.args[0]),
            (Verb::Range, Datum::List(items)) => {
                if !list.order.starts_with(items) {
                    let order = shown(list.order);
                    return told("incompatible order", format!("this is no beginning of {order}"));
                }
                if !items.iter().rev().zip(own.iter().rev()).all(|(one, other)| one == *other)
                    || items.len() < own.len()
                {
                    return told("internal", "its own appends are not at the end".to_owned());
                }
                let before = &items[..items.len() - own.len()];
                check_read(before, &call.key, all, list).map_err(|(class, what)| {
                    Violation::new(class, format!("{what}: {operation}"))
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a transaction read of others.
fn check_read(
    items: &[Datum],
    key: &str,
    all: &[&Operation],
    list: &List<'_>,
) -> Result<(), (&'static str, String)> {
    for item in items {
        let Some(writer) = list.writers.get(item) else {
            return Err(("garbage", format!("nobody appended {item} to {key}")));
        };
        if all[*writer].is_failed() {
            return Err(("G1a", format!("{item} was read, of {}", all[*writer])));
        }
    }
    let Some(last) = items.last() else { return Ok(()) };
    let writer = all[list.writers[last]];
    let appends = |call: &&Call| call.verb == Verb::Append && call.key == key;
    let end = writer.calls.iter().rfind(appends).map(|call| &call.args[0]);
    if end == Some(last) {
        return Ok(());
    }
    Err(("G1b", format!("{last} was read as the last of {key}, amidst {writer}")))
}

fn because(key: &str, item: &Datum) -> (String, String) {
    (key.to_owned(), item.to_string())
}

fn graph(operations: &[&Operation], lists: &BTreeMap<&str, List<'_>>) -> Graph {
    let mut graph = Graph::new(operations.len());
    for (key, list) in lists {
        for pair in list.order.windows(2) {
            if let [Some(one), Some(other)] = [&pair[0], &pair[1]].map(|i| list.writers.get(i)) {
                let (key, what) = because(key, &pair[1]);
                graph.add(*one, *other, Because::Wrote { key, what });
            }
        }
        // What nobody has read so far comes behind all that somebody has read.
        if let Some(last) = list.order.last().and_then(|item| list.writers.get(item)) {
            for (item, writer) in list.unread(operations) {
                let (key, what) = because(key, item);
                graph.add(*last, writer, Because::Wrote { key, what });
            }
        }
    }
    for (at, operation) in operations.iter().enumerate() {
        let results = operation.results().unwrap_or_default();
        for (call, result) in operation.calls.iter().zip(results) {
            if let (Some(list), Some(read)) = (lists.get(call.key.as_str()), result.list()) {
                add_read(&mut graph, at, &call.key, (read, list), operations);
            }
        }
    }
    add_real_time(operations, &mut graph);
    graph
}

/// What follows from one read.
fn add_read(
    graph: &mut Graph,
    at: usize,
    key: &str,
    (read, list): (&[Datum], &List<'_>),
    operations: &[&Operation],
) {
    if let Some(item) = read.last()
        && let Some(writer) = list.writers.get(item)
    {
        let (key, what) = because(key, item);
        graph.add(*writer, at, Because::WasRead { key, what });
    }
    let mut missed = |item: &Datum, writer: usize| {
        let (key, what) = because(key, item);
        graph.add(at, writer, Because::Missed { key, what });
    };
    match list.order.get(read.len()) {
        Some(item) => {
            if let Some(writer) = list.writers.get(item) {
                missed(item, *writer);
            }
        }
        None => list.unread(operations).for_each(|(item, writer)| missed(item, writer)),
    }
}

impl List<'_> {
    /// What was put there for sure, and nobody has read.
    fn unread(&self, operations: &[&Operation]) -> impl Iterator<Item = (&Datum, usize)> {
        let all = self.writers.iter().map(|(item, writer)| (*item, *writer));
        all.filter(|(item, writer)| {
            !self.places.contains_key(item) && operations[*writer].results().is_some()
        })
    }
}

/// An edge from whatever was over to whatever began then. Those that follow from others are left
/// out: an operation that began behind another's end speaks for it from its own end on.
fn add_real_time(operations: &[&Operation], graph: &mut Graph) {
    let mut events = Vec::new();
    for (at, operation) in operations.iter().enumerate() {
        if !operation.is_failed() {
            events.push((operation.start.index, at, true));
            if operation.end_index() != u64::MAX {
                events.push((operation.end_index(), at, false));
            }
        }
    }
    events.sort_unstable();
    let mut over: Vec<usize> = Vec::new();
    for (_, at, begins) in events {
        if begins {
            over.iter().for_each(|before| graph.add(*before, at, Because::Earlier));
        } else {
            let start = operations[at].start.index;
            over.retain(|before| operations[*before].end_index() > start);
            over.push(at);
        }
    }
}

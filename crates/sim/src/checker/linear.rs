//! Is there one order of these operations, within real time, that explains every answer?
//!
//! The search of Wing and Gong (1993) with Lowe's memory of what was tried (2017): next is always
//! one of the operations that began before any open one ended. One of unknown outcome never ended,
//! so it may come at any later place, or not at all.
//!
//! Keys that no operation touches together are searched apart: an order of each is enough
//! (Herlihy and Wing 1990, locality). The search is exponential at worst, in the number of
//! operations of unknown outcome above all; past its bound the verdict is `Undecided`.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::model::{Ask, ClockBound, Knowledge, Span, State};
use crate::history::{Call, Datum, Operation, Verb};

/// What came of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none; how far the search came, in words.
    Impossible(String),
    /// The search grew too large.
    Undecided,
}

/// One operation, ready for the search.
struct Step<'a> {
    operation: &'a Operation,
    start: u64,
    end: u64,
    span: Span,
    asks: Vec<Ask<'a>>,
}

/// Which steps have a place already.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Done {
    /// All known steps below this.
    low: usize,
    /// Some known steps above it, ascending.
    ahead: Vec<usize>,
    /// Some unknown ones, ascending.
    unknown: Vec<usize>,
}

/// A place in the search.
struct Frame {
    done: Done,
    state: State,
    /// What may be next, the best last.
    choices: Vec<Choice>,
    /// Successors of the choice before that are not looked at so far.
    rest: Vec<(Done, State)>,
}

#[derive(Clone, Copy, Debug)]
enum Choice {
    Known(usize),
    Unknown(usize),
}

/// Searches for an order of these operations, looking at so many states at most.
pub(super) fn search(
    operations: &[&Operation],
    states_max: usize,
    clock: Option<ClockBound>,
) -> Found {
    let keys = number_keys(operations);
    let orders = orders(operations, &keys);
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for operation in operations {
        let reads = operation.calls.iter().all(|call| call.verb.reads());
        if operation.is_failed() || (operation.results().is_none() && reads) {
            continue;
        }
        let step = step(operation, &keys);
        if step.end == u64::MAX { unknown.push(step) } else { known.push(step) }
    }
    known.sort_by_key(|step| step.start);
    unknown.sort_by_key(|step| step.start);
    let twins = twins(&unknown);
    let knowledge = Knowledge { clock, orders: &orders };
    let search = Search { known, unknown, twins, knowledge, states_max };
    search.run(&keys)
}

fn number_keys<'a>(operations: &[&'a Operation]) -> BTreeMap<&'a str, usize> {
    let mut keys = BTreeMap::new();
    for call in operations.iter().flat_map(|operation| &operation.calls) {
        let next = keys.len();
        keys.entry(call.key.as_str()).or_insert(next);
    }
    keys
}

/// The longest that was read of each key that is only appended to.
fn orders<'a>(
    operations: &[&'a Operation],
    keys: &BTreeMap<&str, usize>,
) -> Vec<Option<&'a [Datum]>> {
    let mut orders: Vec<Option<&[Datum]>> = vec![Some(&[]); keys.len()];
    for operation in operations.iter().filter(|operation| !operation.is_failed()) {
        for (at, call) in operation.calls.iter().enumerate() {
            let order = &mut orders[keys[call.key.as_str()]];
            if !matches!(call.verb, Verb::Append | Verb::Range | Verb::LLen) {
                *order = None;
            }
            let read = operation.results().and_then(|results| results[at].list());
            if let (Verb::Range, Some(read), Some(longest)) = (call.verb, read, &order)
                && read.len() > longest.len()
            {
                *order = Some(read);
            }
        }
    }
    orders
}

fn step<'a>(operation: &'a Operation, keys: &BTreeMap<&str, usize>) -> Step<'a> {
    let ask = |(at, call): (usize, &'a Call)| Ask {
        key: keys[call.key.as_str()],
        call,
        result: operation.results().map(|results| &results[at]),
    };
    Step {
        operation,
        start: operation.start.index,
        end: operation.end_index(),
        span: Span { start: operation.start.time, end: operation.end_time() },
        asks: operation.calls.iter().enumerate().map(ask).collect(),
    }
}

/// Of each unknown step the one before that asks the same: it may as well come first.
fn twins(unknown: &[Step<'_>]) -> Vec<Option<usize>> {
    let mut last: BTreeMap<&[Call], usize> = BTreeMap::new();
    let mut twins = Vec::new();
    for (at, step) in unknown.iter().enumerate() {
        twins.push(last.insert(&step.operation.calls, at));
    }
    twins
}

struct Search<'a> {
    known: Vec<Step<'a>>,
    unknown: Vec<Step<'a>>,
    twins: Vec<Option<usize>>,
    knowledge: Knowledge<'a>,
    states_max: usize,
}

impl Search<'_> {
    fn run(&self, keys: &BTreeMap<&str, usize>) -> Found {
        let mut seen = HashSet::new();
        let done = Done { low: 0, ahead: Vec::new(), unknown: Vec::new() };
        let first = self.frame(done, State::new(keys.len()));
        let mut deepest = (0, first.done.clone(), first.state.clone());
        let mut frames = vec![first];
        while let Some(frame) = frames.last_mut() {
            let Some((done, state)) = frame.rest.pop() else {
                match frame.choices.pop() {
                    None => drop(frames.pop()),
                    Some(choice) => {
                        let (done, states) = self.choose(&frame.done, &frame.state, choice);
                        frame.rest = states.into_iter().map(|one| (done.clone(), one)).collect();
                    }
                }
                continue;
            };
            if !seen.insert(fingerprint(&done, &state)) {
                continue;
            }
            if done.low == self.known.len() {
                return Found::Order;
            }
            if seen.len() > self.states_max {
                return Found::Undecided;
            }
            let depth = done.low + done.ahead.len();
            if depth > deepest.0 {
                deepest = (depth, done.clone(), state.clone());
            }
            frames.push(self.frame(done, state));
        }
        if self.known.is_empty() {
            return Found::Order;
        }
        Found::Impossible(self.explain(&deepest.1, &deepest.2, keys))
    }

    fn frame(&self, done: Done, state: State) -> Frame {
        let choices = self.choices(&done);
        Frame { done, state, choices, rest: Vec::new() }
    }

    /// What may be next, the best last: those that ended first; the unknown when nothing else does.
    fn choices(&self, done: &Done) -> Vec<Choice> {
        let mut first_end = u64::MAX;
        let mut open = Vec::new();
        for (at, step) in self.known.iter().enumerate().skip(done.low) {
            if step.start > first_end {
                break;
            }
            if done.ahead.binary_search(&at).is_err() {
                first_end = first_end.min(step.end);
                open.push(at);
            }
        }
        open.retain(|at| self.known[*at].start < first_end);
        open.sort_by_key(|at| std::cmp::Reverse(self.known[*at].end));
        let is_left = |at: usize| done.unknown.binary_search(&at).is_err();
        let may_come = |at: &usize| {
            let first = self.twins[*at].is_none_or(|twin| !is_left(twin));
            is_left(*at) && first && self.unknown[*at].start < first_end
        };
        let unknown = (0..self.unknown.len()).rev().filter(may_come).map(Choice::Unknown);
        unknown.chain(open.into_iter().map(Choice::Known)).collect()
    }

    fn choose(&self, done: &Done, state: &State, choice: Choice) -> (Done, Vec<State>) {
        let mut done = done.clone();
        let step = match choice {
            Choice::Known(at) => {
                let place = done.ahead.partition_point(|other| *other < at);
                done.ahead.insert(place, at);
                let passed = done.ahead.iter().zip(done.low..).take_while(|(a, b)| **a == *b);
                let passed = passed.count();
                done.ahead.drain(..passed);
                done.low += passed;
                &self.known[at]
            }
            Choice::Unknown(at) => {
                let place = done.unknown.partition_point(|other| *other < at);
                done.unknown.insert(place, at);
                &self.unknown[at]
            }
        };
        let mut states = state.after(&step.asks, step.span, self.knowledge);
        if matches!(choice, Choice::Unknown(_)) {
            // One that changes nothing need not come.
            states.retain(|after| after != state);
        }
        (done, states)
    }

    /// Where the best attempt stood when nothing fit any more.
    fn explain(&self, done: &Done, state: &State, keys: &BTreeMap<&str, usize>) -> String {
        /// More would not be read.
        const SHOWN_MAX: usize = 12;
        let held: Vec<String> =
            keys.iter().map(|(key, at)| format!("{key} holds {}", state.0[*at])).collect();
        let next: Vec<String> = self
            .choices(done)
            .into_iter()
            .rev()
            .take(SHOWN_MAX)
            .map(|choice| match choice {
                Choice::Known(at) => self.known[at].operation.to_string(),
                Choice::Unknown(at) => self.unknown[at].operation.to_string(),
            })
            .collect();
        format!(
            "no order explains these answers: after {} of {}, {}, and none of these leads on:\n    {}",
            done.low + done.ahead.len(),
            self.known.len(),
            held.join(", "),
            next.join("\n    "),
        )
    }
}

/// Equal places have equal fingerprints, and others do not, but for luck of one in 2^128.
fn fingerprint(done: &Done, state: &State) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, done, state).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

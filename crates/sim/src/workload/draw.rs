//! One call after another, by dice: for each type the verbs that change it, about as often as those
//! that look.

use stdx::Rng;

use super::task::{How, Task};
use crate::history::{Call, Datum, Verb};

pub(super) const COUNTERS: u64 = 3;
pub(super) const LISTS: u64 = 4;
pub(super) const ACCOUNTS: u64 = 4;
const FILLERS: u64 = 8;
/// Members and fields: few, so that operations meet.
const MEMBERS: u64 = 4;

/// Where the bank writes down its transfers.
pub(super) const JOURNAL: &str = "bank-journal";

pub(super) fn account(number: u64) -> String {
    format!("bank-{number}")
}

pub(super) fn counter_key(rng: &mut Rng) -> String {
    format!("counter{}", rng.below(COUNTERS))
}

pub(super) fn list(number: u64) -> String {
    format!("list{number}")
}

pub(super) fn list_key(rng: &mut Rng) -> String {
    list(rng.below(LISTS))
}

/// Several calls at once: as a MULTI block or as a script. A single one mostly by itself.
pub(super) fn together(calls: Vec<Call>, rng: &mut Rng) -> Task {
    let how = match rng.below(3) {
        0 if rng.one_in(5) => How::Walk,
        0 => How::Script,
        _ if calls.len() == 1 => How::Plain,
        _ => How::Multi,
    };
    Task::new(how, calls)
}

pub(super) fn counter(rng: &mut Rng) -> Task {
    let key = counter_key(rng);
    Task::plain(if rng.one_in(3) {
        Call::new(Verb::Get, key, vec![])
    } else {
        Call::new(Verb::IncrBy, key, vec![Datum::Int(1)])
    })
}

/// So many bytes that logs and snapshots have some weight. Nobody reads them.
pub(super) fn filler(rng: &mut Rng) -> Task {
    let text = "x".repeat(1 << rng.below(14));
    let key = format!("filler{}", rng.below(FILLERS));
    Task::plain(Call::new(Verb::Set, key, vec![Datum::Text(text)]))
}

pub(super) fn register(rng: &mut Rng, key: String, value: Datum) -> Task {
    if rng.one_in(5) {
        let guard = Call::new(Verb::Guard, key.clone(), vec![Datum::Nil]);
        return Task::new(How::Watch, vec![guard, Call::new(Verb::Set, key, vec![value])]);
    }
    // Recent values only: the others would never be met.
    let recent = Datum::Int((value.int().unwrap_or(1) - rng.below(40) as i64).max(1));
    Task::plain(match rng.below(8) {
        0 | 1 => Call::new(Verb::Get, key, vec![]),
        2 => Call::new(Verb::GetSet, key, vec![value]),
        3 => Call::new(Verb::Del, key, vec![]),
        4 => Call::new(Verb::Cas, key, vec![recent, value]),
        _ => Call::new(Verb::Set, key, vec![value]),
    })
}

/// A register that expires, mostly.
pub(super) fn lease(rng: &mut Rng, key: String, value: Datum) -> Call {
    match rng.below(6) {
        0 => Call::new(Verb::Set, key, vec![value]),
        1 => Call::new(Verb::IncrBy, key, vec![Datum::Int(1)]),
        2 | 3 => Call::new(Verb::Get, key, vec![]),
        _ => {
            let millis = 10 << rng.below(9);
            Call::new(Verb::SetPx, key, vec![value, Datum::Int(millis)])
        }
    }
}

pub(super) fn queue(rng: &mut Rng, key: String, value: Datum) -> Call {
    match rng.below(8) {
        0 => Call::new(Verb::LPop, key, vec![]),
        1 => Call::new(Verb::RPop, key, vec![]),
        2 => Call::new(Verb::LPush, key, vec![value]),
        3 | 4 => {
            let millis = [100, 700, 1_500][rng.below(3) as usize];
            Call::new(Verb::BlPop, key, vec![Datum::Int(millis)])
        }
        _ => Call::new(Verb::Append, key, vec![value]),
    }
}

fn member(rng: &mut Rng) -> Datum {
    Datum::Text(format!("m{}", rng.below(MEMBERS)))
}

pub(super) fn set(rng: &mut Rng, key: String) -> Call {
    match rng.below(6) {
        0 => Call::new(Verb::SPop, key, vec![]),
        1 | 2 => Call::new(Verb::SRem, key, vec![member(rng)]),
        _ => Call::new(Verb::SAdd, key, vec![member(rng)]),
    }
}

pub(super) fn hash(rng: &mut Rng, key: String, value: Datum) -> Call {
    match rng.below(5) {
        0 => Call::new(Verb::HDel, key, vec![member(rng)]),
        1 | 2 => Call::new(Verb::HIncrBy, key, vec![member(rng), Datum::Int(1)]),
        _ => Call::new(Verb::HSet, key, vec![member(rng), value]),
    }
}

pub(super) fn sorted(rng: &mut Rng, key: String) -> Call {
    let score = Datum::Int(rng.below(5) as i64);
    match rng.below(6) {
        0 => Call::new(Verb::ZPopMin, key, vec![]),
        1 => Call::new(Verb::ZRem, key, vec![member(rng)]),
        2 | 3 => Call::new(Verb::ZIncrBy, key, vec![member(rng), score]),
        _ => Call::new(Verb::ZAdd, key, vec![member(rng), score]),
    }
}

/// All keys that `mix` uses: are they there, or gone, or made anew.
fn flock(rng: &mut Rng, name: &str, value: impl FnMut() -> Datum) -> Task {
    let keys = ["register", "queue", "set", "hash", "sorted"];
    let all = |verb| {
        let calls = keys.map(|kind| Call::new(verb, format!("{name}{kind}"), vec![]));
        calls.to_vec()
    };
    match rng.below(3) {
        0 => Task::new(How::Multi, all(Verb::Exists)).names(),
        1 => together(all(Verb::Del), rng),
        _ => together(make(name, value), rng),
    }
}

/// Makes some of the keys that `mix` uses.
pub(super) fn make(name: &str, mut value: impl FnMut() -> Datum) -> Vec<Call> {
    let verbs = [("register", Verb::Set), ("queue", Verb::Append), ("set", Verb::SAdd)];
    let calls = verbs.map(|(kind, verb)| Call::new(verb, format!("{name}{kind}"), vec![value()]));
    calls.to_vec()
}

/// Some calls on keys of several types at once.
pub(super) fn mix(rng: &mut Rng, name: &str, mut value: impl FnMut() -> Datum) -> Task {
    if rng.one_in(3) {
        return flock(rng, name, value);
    }
    let calls = (0..1 + rng.below(4)).map(|_| match rng.below(10) {
        0 => Call::new(Verb::IncrBy, format!("{name}register"), vec![Datum::Int(1)]),
        1 => Call::new(Verb::Set, format!("{name}register"), vec![value()]),
        2 => Call::new(Verb::Append, format!("{name}queue"), vec![value()]),
        3 => Call::new(Verb::LPop, format!("{name}queue"), vec![]),
        4 | 5 => set(rng, format!("{name}set")),
        6 | 7 => hash(rng, format!("{name}hash"), value()),
        _ => sorted(rng, format!("{name}sorted")),
    });
    together(calls.collect(), rng)
}

//! What a server that never fails would answer: a few keys of each type, one call after the other.
//!
//! It is written for this alone, and shares no line with `keyspace`: a mistake would have to be
//! made twice to go unseen. A state that cannot have given an answer has no successor.
//!
//! What expires may be gone, or not, at whichever moment the clocks allow; so a call may have more
//! than one successor.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::history::{Call, Datum, Verb};

/// What a key holds. What is empty is `Nothing`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Held {
    Nothing,
    Plain(Datum, Option<Expiry>),
    List(VecDeque<Datum>),
    Set(BTreeSet<Datum>),
    Hash(BTreeMap<Datum, Datum>),
    Sorted(BTreeMap<Datum, i64>),
}

/// When a key may be gone, and when it must be: nanoseconds of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Expiry {
    pub(super) earliest: u64,
    pub(super) latest: u64,
}

/// How far the clock that expiry goes by may be from the clock of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockBound {
    /// A key is never gone so much before its time, in nanoseconds.
    pub early: u64,
    /// A key is never there so much after its time.
    pub late: u64,
}

/// The time within which an operation took place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The keys, by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State(pub(super) Vec<Held>);

/// One call of an operation, with what it answered if that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) key: usize,
    pub(super) call: &'a Call,
    pub(super) result: Option<&'a Datum>,
}

/// What is known beside the operation itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knowledge<'a> {
    /// Without one, whatever can expire may be gone or there at any moment.
    pub(super) clock: Option<ClockBound>,
    /// Of each key that is only appended to: the longest that was ever read of it. It says where
    /// each item has its place, and saves trying any other.
    pub(super) orders: &'a [Option<&'a [Datum]>],
}

impl State {
    /// No key holds anything.
    pub(super) fn new(keys: usize) -> State {
        State(vec![Held::Nothing; keys])
    }

    /// All states that may follow once these calls were answered so.
    pub(super) fn after(&self, asks: &[Ask<'_>], span: Span, know: Knowledge<'_>) -> Vec<State> {
        let mut states = vec![self.clone()];
        for ask in asks {
            let mut next = Vec::new();
            for state in states {
                state.expand(ask, span, know, &mut next);
            }
            next.dedup();
            states = next;
        }
        states
    }

    fn expand(mut self, ask: &Ask<'_>, span: Span, know: Knowledge<'_>, out: &mut Vec<State>) {
        let held = &self.0[ask.key];
        if let Held::Plain(_, Some(Expiry { earliest, latest })) = held {
            if span.end >= *earliest {
                let mut gone = self.clone();
                gone.0[ask.key] = Held::Nothing;
                gone.expand(ask, span, know, out);
            }
            if span.start > *latest {
                return;
            }
        }
        if let (Verb::SPop, None, Held::Set(members)) = (ask.call.verb, ask.result, held) {
            // Nobody knows which.
            for member in members {
                let mut state = self.clone();
                state.0[ask.key].spop(Some(member));
                out.push(state);
            }
            return;
        }
        if let (Verb::Append, Some(order)) = (ask.call.verb, know.orders[ask.key]) {
            let place = held.len();
            if order.get(place).is_some_and(|item| *item != ask.call.args[0]) {
                return;
            }
        }
        let held = &mut self.0[ask.key];
        let answer = if ask.call.verb == Verb::SetPx {
            let millis = ask.call.args[1].int().unwrap_or(0).max(0) as u64 * 1_000_000;
            *held = Held::Plain(ask.call.args[0].clone(), Some(expiry(millis, span, know.clock)));
            Some(Datum::from("OK"))
        } else if ask.call.verb == Verb::SPop {
            held.spop(ask.result)
        } else {
            held.answer(ask.call)
        };
        let Some(answer) = answer else { return };
        if ask.result.is_none_or(|result| agree(ask.call.verb, result, &answer)) {
            out.push(self);
        }
    }
}

/// Elle's own files have no length behind an append.
fn agree(verb: Verb, told: &Datum, answer: &Datum) -> bool {
    told == answer || (verb == Verb::Append && *told == Datum::Nil)
}

fn expiry(after: u64, set: Span, clock: Option<ClockBound>) -> Expiry {
    match clock {
        None => Expiry { earliest: 0, latest: u64::MAX },
        Some(ClockBound { early, late }) => Expiry {
            earliest: (set.start + after).saturating_sub(early),
            latest: set.end.saturating_add(after).saturating_add(late),
        },
    }
}

impl Held {
    fn len(&self) -> usize {
        match self {
            Held::Nothing => 0,
            Held::Plain(..) => 1,
            Held::List(items) => items.len(),
            Held::Set(members) => members.len(),
            Held::Hash(fields) => fields.len(),
            Held::Sorted(members) => members.len(),
        }
    }

    /// Does the call and gives its answer; `None` if it is of another type.
    pub(super) fn answer(&mut self, call: &Call) -> Option<Datum> {
        let answer = match call.verb {
            Verb::Get
            | Verb::Set
            | Verb::GetSet
            | Verb::Del
            | Verb::Cas
            | Verb::Guard
            | Verb::IncrBy => self.answer_plain(call)?,
            Verb::Append
            | Verb::LPush
            | Verb::LPop
            | Verb::RPop
            | Verb::BlPop
            | Verb::Range
            | Verb::LLen => self.answer_list(call)?,
            Verb::SAdd | Verb::SRem | Verb::SMembers => self.answer_set(call)?,
            Verb::HSet | Verb::HDel | Verb::HGetAll | Verb::HIncrBy => self.answer_hash(call)?,
            Verb::ZAdd | Verb::ZIncrBy | Verb::ZRem | Verb::ZRange | Verb::ZPopMin => {
                self.answer_sorted(call)?
            }
            Verb::Exists => Datum::Int(i64::from(self.len() > 0)),
            Verb::SetPx | Verb::SPop => unreachable!("the state answers these"),
        };
        if self.len() == 0 {
            *self = Held::Nothing;
        }
        Some(answer)
    }

    fn answer_plain(&mut self, call: &Call) -> Option<Datum> {
        if call.verb == Verb::Del {
            let was = std::mem::replace(self, Held::Nothing);
            return Some(Datum::Int(i64::from(was != Held::Nothing)));
        }
        let (value, expiry) = match self {
            Held::Nothing => (Datum::Nil, None),
            Held::Plain(value, expiry) => (value.clone(), *expiry),
            _ if call.verb == Verb::Set => (Datum::Nil, None),
            _ => return None,
        };
        let arg = |at: usize| call.args[at].clone();
        Some(match call.verb {
            Verb::Get => value,
            Verb::Set => {
                *self = Held::Plain(arg(0), None);
                Datum::from("OK")
            }
            Verb::GetSet => {
                *self = Held::Plain(arg(0), None);
                value
            }
            Verb::Cas if value == arg(0) => {
                *self = Held::Plain(arg(1), None);
                Datum::Int(1)
            }
            Verb::Cas => Datum::Int(0),
            Verb::Guard => (value == arg(0)).then_some(Datum::Nil)?,
            Verb::IncrBy => {
                let sum = if value == Datum::Nil { 0 } else { value.int()? } + arg(0).int()?;
                *self = Held::Plain(Datum::Int(sum), expiry);
                Datum::Int(sum)
            }
            _ => unreachable!("the verbs of plain values"),
        })
    }

    fn answer_list(&mut self, call: &Call) -> Option<Datum> {
        if *self == Held::Nothing {
            *self = Held::List(VecDeque::new());
        }
        let Held::List(items) = self else { return None };
        Some(match call.verb {
            Verb::Append => {
                items.push_back(call.args[0].clone());
                Datum::Int(items.len() as i64)
            }
            Verb::LPush => {
                items.push_front(call.args[0].clone());
                Datum::Int(items.len() as i64)
            }
            Verb::LPop | Verb::BlPop => items.pop_front().unwrap_or(Datum::Nil),
            Verb::RPop => items.pop_back().unwrap_or(Datum::Nil),
            Verb::Range => Datum::List(items.iter().cloned().collect()),
            Verb::LLen => Datum::Int(items.len() as i64),
            _ => unreachable!("the verbs of lists"),
        })
    }

    fn answer_set(&mut self, call: &Call) -> Option<Datum> {
        if *self == Held::Nothing {
            *self = Held::Set(BTreeSet::new());
        }
        let Held::Set(members) = self else { return None };
        Some(match call.verb {
            Verb::SAdd => Datum::Int(i64::from(members.insert(call.args[0].clone()))),
            Verb::SRem => Datum::Int(i64::from(members.remove(&call.args[0]))),
            Verb::SMembers => Datum::List(members.iter().cloned().collect()),
            _ => unreachable!("the verbs of sets"),
        })
    }

    /// SPOP gave this; without anything to give, nothing.
    pub(super) fn spop(&mut self, told: Option<&Datum>) -> Option<Datum> {
        let Held::Set(members) = self else {
            return (*self == Held::Nothing).then_some(Datum::Nil);
        };
        let member = told?;
        if !members.remove(member) {
            return None;
        }
        if members.is_empty() {
            *self = Held::Nothing;
        }
        Some(member.clone())
    }

    fn answer_hash(&mut self, call: &Call) -> Option<Datum> {
        if *self == Held::Nothing {
            *self = Held::Hash(BTreeMap::new());
        }
        let Held::Hash(fields) = self else { return None };
        let arg = |at: usize| call.args[at].clone();
        Some(match call.verb {
            Verb::HSet => Datum::Int(i64::from(fields.insert(arg(0), arg(1)).is_none())),
            Verb::HDel => Datum::Int(i64::from(fields.remove(&call.args[0]).is_some())),
            Verb::HIncrBy => {
                let value = fields.get(&call.args[0]).map_or(Some(0), Datum::int)?;
                let sum = Datum::Int(value + call.args[1].int()?);
                fields.insert(arg(0), sum.clone());
                sum
            }
            Verb::HGetAll => {
                let pair = |(field, value): (&Datum, &Datum)| {
                    Datum::List(vec![field.clone(), value.clone()])
                };
                Datum::List(fields.iter().map(pair).collect())
            }
            _ => unreachable!("the verbs of hashes"),
        })
    }

    fn answer_sorted(&mut self, call: &Call) -> Option<Datum> {
        if *self == Held::Nothing {
            *self = Held::Sorted(BTreeMap::new());
        }
        let Held::Sorted(members) = self else { return None };
        let pair =
            |member: &Datum, score: i64| Datum::List(vec![member.clone(), Datum::Int(score)]);
        Some(match call.verb {
            Verb::ZAdd => {
                let score = call.args[1].int()?;
                Datum::Int(i64::from(members.insert(call.args[0].clone(), score).is_none()))
            }
            Verb::ZIncrBy => {
                let score = members.entry(call.args[0].clone()).or_default();
                *score += call.args[1].int()?;
                Datum::Int(*score)
            }
            Verb::ZRem => Datum::Int(i64::from(members.remove(&call.args[0]).is_some())),
            Verb::ZRange => {
                let ranked = ranked(members);
                Datum::List(ranked.into_iter().map(|(member, score)| pair(member, score)).collect())
            }
            Verb::ZPopMin => {
                let first = ranked(members).first().map(|(member, score)| pair(member, *score));
                let Some(Datum::List(popped)) = &first else { return Some(Datum::Nil) };
                members.remove(&popped[0]);
                first?
            }
            _ => unreachable!("the verbs of sorted sets"),
        })
    }
}

/// By score, then by the bytes of the member.
fn ranked(members: &BTreeMap<Datum, i64>) -> Vec<(&Datum, i64)> {
    let mut ranked: Vec<(&Datum, i64)> = members.iter().map(|(m, score)| (m, *score)).collect();
    ranked.sort_by_cached_key(|(member, score)| (*score, member.word()));
    ranked
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |items: Vec<Datum>| Datum::List(items);
        let pairs = |pairs: Vec<(&Datum, Datum)>| {
            list(pairs.into_iter().map(|(one, two)| list(vec![one.clone(), two])).collect())
        };
        match self {
            Held::Nothing => write!(f, "nothing"),
            Held::Plain(value, None) => write!(f, "{value}"),
            Held::Plain(value, Some(_)) => write!(f, "{value} (expires)"),
            Held::List(items) => write!(f, "{}", list(items.iter().cloned().collect())),
            Held::Set(members) => write!(f, "{}", list(members.iter().cloned().collect())),
            Held::Hash(fields) => {
                write!(f, "{}", pairs(fields.iter().map(|(one, two)| (one, two.clone())).collect()))
            }
            Held::Sorted(members) => {
                let ranked = ranked(members).into_iter();
                write!(f, "{}", pairs(ranked.map(|(one, two)| (one, two.into())).collect()))
            }
        }
    }
}

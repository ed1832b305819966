//! Union, intersection and difference of sorted sets; plain sets stand for ones with score 1.

use stdx::Map;
use wire::{Args, Reply};

use super::Zset;
use super::item::{Item, order};
use super::select::{Scores, put_elements, store_items};
use super::sorted::{Direction, Limits};
use crate::context::Context;
use crate::double;
use crate::number::integer;
use crate::reject::Reject;
use crate::str::Str;
use crate::types::Set;
use crate::types::set::parse_limit;
use crate::value::{Typed, Value};

/// What is made of several sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Union,
    Inter,
    Diff,
}

/// What becomes of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Reply,
    Store,
    /// Only its size is asked for.
    Count,
}

/// How the scores of a member are made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn join(self, so_far: f64, score: f64) -> f64 {
        match self {
            Aggregate::Sum => zero_if_nan(so_far + score),
            Aggregate::Min if score < so_far => score,
            Aggregate::Max if score > so_far => score,
            Aggregate::Min | Aggregate::Max => so_far,
        }
    }
}

/// Opposite infinities, and zero times one of them, count as nothing.
fn zero_if_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// One input.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    value: Input<'a>,
    weight: f64,
}

#[derive(Clone, Copy, Debug)]
enum Input<'a> {
    None,
    Set(&'a Set),
    Zset(&'a Zset),
}

impl<'a> Input<'a> {
    fn of(value: &'a Value) -> Option<Input<'a>> {
        Set::of(value).map(Input::Set).or_else(|| Zset::of(value).map(Input::Zset))
    }

    fn len(self) -> usize {
        match self {
            Input::None => 0,
            Input::Set(set) => set.len(),
            Input::Zset(zset) => zset.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Input::None => None,
            Input::Set(set) => set.contains(member).then_some(1.0),
            Input::Zset(zset) => zset.score(member),
        }
    }

    fn is_same(self, other: Input<'_>) -> bool {
        match (self, other) {
            (Input::Set(a), Input::Set(b)) => std::ptr::eq(a, b),
            (Input::Zset(a), Input::Zset(b)) => std::ptr::eq(a, b),
            _ => false,
        }
    }

    /// Visits members and scores, until `visit` says no.
    fn visit(self, mut visit: impl FnMut(&[u8], f64) -> bool) {
        match self {
            Input::None => {}
            Input::Set(set) => {
                let mut buffer = itoa::Buffer::new();
                set.iter().all(|member| visit(member.text(&mut buffer), 1.0));
            }
            Input::Zset(zset) => {
                let mut keys = zset.iter(0..zset.len(), Direction::Forward);
                keys.all(|key| visit(key.member, key.score));
            }
        }
    }
}

/// What is asked for, behind the number of keys.
struct Query<'a> {
    sources: Vec<Source<'a>>,
    aggregate: Aggregate,
    scores: Scores,
    limit: usize,
}

/// Reads `numkeys key [key …]` and the options; a type error comes before one in the options.
fn parse<'a>(
    cx: &'a mut Context<'_>,
    args: Args<'_>,
    at: usize,
    operation: Operation,
    outcome: Outcome,
) -> Result<Query<'a>, Reject> {
    let numkeys = integer(&args[at])?;
    if numkeys < 1 {
        let name = String::from_utf8_lossy(&args[0]).to_lowercase();
        let text = format!("ERR at least 1 input key is needed for '{name}' command");
        return Err(Reject::from(text));
    }
    let keys = args.from(at + 1);
    let numkeys = usize::try_from(numkeys).ok().filter(|count| *count <= keys.len());
    let numkeys = numkeys.ok_or(Reject::Syntax)?;
    let mut live = Vec::with_capacity(numkeys);
    for key in keys.iter().take(numkeys) {
        live.push(match cx.get(key) {
            None => None,
            Some(Value::Set(_) | Value::Zset(_)) => Some(key),
            Some(_) => return Err(Reject::WrongType),
        });
    }
    let db = cx.database();
    let open = |key: Option<&[u8]>| {
        let value = key.and_then(|key| Input::of(&db.get(key)?.value));
        Source { value: value.unwrap_or(Input::None), weight: 1.0 }
    };
    let mut query = Query {
        sources: live.into_iter().map(open).collect(),
        aggregate: Aggregate::Sum,
        scores: Scores::Without,
        limit: usize::MAX,
    };
    query.parse_options(keys.from(numkeys), operation, outcome)?;
    Ok(query)
}

impl Query<'_> {
    fn parse_options(
        &mut self,
        options: Args<'_>,
        operation: Operation,
        outcome: Outcome,
    ) -> Result<(), Reject> {
        let joins = operation != Operation::Diff && outcome != Outcome::Count;
        let mut at = 0;
        while at < options.len() {
            let left = options.len() - at;
            if joins && left > self.sources.len() && options.is(at, "weights") {
                for source in &mut self.sources {
                    at += 1;
                    source.weight = double::parse(&options[at])
                        .ok_or(Reject::text("ERR weight value is not a float"))?;
                }
            } else if joins && left >= 2 && options.is(at, "aggregate") {
                at += 1;
                self.aggregate = match () {
                    () if options.is(at, "sum") => Aggregate::Sum,
                    () if options.is(at, "min") => Aggregate::Min,
                    () if options.is(at, "max") => Aggregate::Max,
                    () => return Err(Reject::Syntax),
                };
            } else if outcome == Outcome::Reply && options.is(at, "withscores") {
                self.scores = Scores::With;
            } else if outcome == Outcome::Count && left >= 2 && options.is(at, "limit") {
                at += 1;
                self.limit = parse_limit(&options[at])?;
            } else {
                return Err(Reject::Syntax);
            }
            at += 1;
        }
        Ok(())
    }

    /// The elements of the result, in any order.
    fn run(&mut self, operation: Operation) -> Vec<Item> {
        if operation != Operation::Diff {
            // The order of sums is that of Redis: from the smallest input to the largest.
            self.sources.sort_by_key(|source| source.value.len());
        }
        match operation {
            Operation::Union => self.union(),
            Operation::Diff => self.diff(),
            Operation::Inter => {
                let mut items = Vec::new();
                self.inter(|member, score| {
                    items.push(Item { score, member: Str::from(member) });
                    true
                });
                items
            }
        }
    }

    /// Visits what is in every source, until `visit` says no.
    fn inter(&self, mut visit: impl FnMut(&[u8], f64) -> bool) {
        let Some((first, others)) = self.sources.split_first() else { return };
        first.value.visit(|member, own| {
            let mut score = zero_if_nan(first.weight * own);
            for other in others {
                let is_same = other.value.is_same(first.value);
                let found = if is_same { Some(own) } else { other.value.score(member) };
                let Some(found) = found else { return true };
                score = self.aggregate.join(score, found * other.weight);
            }
            visit(member, score)
        });
    }

    fn union(&self) -> Vec<Item> {
        let (mut items, mut places) = (Vec::<Item>::new(), Map::<Str, usize>::new());
        for (at, source) in self.sources.iter().enumerate() {
            let is_last = at + 1 == self.sources.len();
            source.value.visit(|member, score| {
                let score = zero_if_nan(source.weight * score);
                match places.get(member) {
                    Some(place) => {
                        let item = &mut items[*place];
                        item.score = self.aggregate.join(item.score, score);
                    }
                    None => {
                        let member = Str::from(member);
                        if !is_last {
                            places.insert(member.clone(), items.len());
                        }
                        items.push(Item { score, member });
                    }
                }
                true
            });
        }
        items
    }

    /// The elements of the first source that are in no other: looked up in each other, or marked
    /// by walking over the others, whichever touches fewer.
    fn diff(&self) -> Vec<Item> {
        let Some((first, others)) = self.sources.split_first() else { return Vec::new() };
        let mut others: Vec<Input<'_>> = others.iter().map(|source| source.value).collect();
        if others.iter().any(|other| other.is_same(first.value)) {
            return Vec::new();
        }
        let mut items = Vec::new();
        // Looking up is the cheaper work for each member, so it is given a lead of two.
        let by_lookup = first.value.len() * (others.len() + 1) / 2;
        let by_walk = first.value.len() + others.iter().map(|other| other.len()).sum::<usize>();
        if by_lookup <= by_walk {
            others.sort_by_key(|other| std::cmp::Reverse(other.len()));
            first.value.visit(|member, score| {
                if !others.iter().any(|other| other.score(member).is_some()) {
                    items.push(Item { score, member: Str::from(member) });
                }
                true
            });
            return items;
        }
        let mut places = Map::<Str, usize>::new();
        first.value.visit(|member, score| {
            places.insert(Str::from(member), items.len());
            items.push(Item { score, member: Str::from(member) });
            true
        });
        let mut keep = vec![true; items.len()];
        for other in others {
            other.visit(|member, _| {
                places.remove(member).into_iter().for_each(|place| keep[place] = false);
                !places.is_empty()
            });
        }
        let mut keep = keep.into_iter();
        items.retain(|_| keep.next() == Some(true));
        items
    }
}

fn sorted(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_unstable_by(|a, b| order(a.key(), b.key()));
    items
}

fn reply_with(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    operation: Operation,
) -> Result<(), Reject> {
    let mut query = parse(cx, args, 1, operation, Outcome::Reply)?;
    let items = sorted(query.run(operation));
    put_elements(reply, items.len(), items.iter().map(Item::key), query.scores);
    Ok(())
}

fn store_with(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    operation: Operation,
) -> Result<(), Reject> {
    let items = sorted(parse(cx, args, 2, operation, Outcome::Store)?.run(operation));
    reply.count(items.len());
    let event = match operation {
        Operation::Union => "zunionstore",
        Operation::Inter => "zinterstore",
        Operation::Diff => "zdiffstore",
    };
    let limits = Limits::of(cx.settings());
    store_items(cx, &args[1], items, limits, event);
    Ok(())
}

pub(super) fn zunion(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply_with(cx, args, reply, Operation::Union)
}

pub(super) fn zinter(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply_with(cx, args, reply, Operation::Inter)
}

pub(super) fn zdiff(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply_with(cx, args, reply, Operation::Diff)
}

pub(super) fn zunionstore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    store_with(cx, args, reply, Operation::Union)
}

pub(super) fn zinterstore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    store_with(cx, args, reply, Operation::Inter)
}

pub(super) fn zdiffstore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    store_with(cx, args, reply, Operation::Diff)
}

pub(super) fn zintercard(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let mut query = parse(cx, args, 1, Operation::Inter, Outcome::Count)?;
    query.sources.sort_by_key(|source| source.value.len());
    let mut count = 0;
    query.inter(|_, _| {
        count += 1;
        count < query.limit
    });
    reply.count(count);
    Ok(())
}

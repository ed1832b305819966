//! Intersection, union and difference of sets, and their forms that store the result.

use wire::{Args, Reply};

use super::basic::put;
use super::{Member, Set};
use crate::context::{Context, notify};
use crate::number::integer;
use crate::reject::Reject;
use crate::value::{Typed, Value};

/// The sets at some keys, in order; what is absent is nothing.
fn open<'a>(cx: &'a mut Context<'_>, keys: Args<'_>) -> Result<Vec<Option<&'a Set>>, Reject> {
    let mut live = Vec::with_capacity(keys.len());
    for key in keys.iter() {
        live.push(cx.read::<Set>(key)?.map(|_| key));
    }
    let db = cx.database();
    Ok(live.into_iter().map(|key| Set::of(&db.get(key?)?.value)).collect())
}

/// Puts a result at `key`, or removes what is there if the result is empty.
pub(in crate::types) fn store(
    cx: &mut Context<'_>,
    key: &[u8],
    result: Option<Value>,
    class: u32,
    event: &str,
) {
    match result {
        Some(value) => {
            cx.insert(key, value);
            cx.notify(class, event, key);
        }
        None => {
            if cx.remove(key).is_some() {
                cx.notify(notify::GENERIC, "del", key);
            }
        }
    }
}

fn store_set(cx: &mut Context<'_>, key: &[u8], set: Set, event: &str, reply: &mut Reply<'_>) {
    reply.count(set.len());
    let result = (!set.is_empty()).then(|| set.wrap());
    store(cx, key, result, notify::SET, event);
}

/// Visits what is in every set, until `visit` says no.
fn intersect<'a>(mut sets: Vec<Option<&'a Set>>, mut visit: impl FnMut(Member<'a>) -> bool) {
    sets.sort_by_key(|set| set.map_or(0, Set::len));
    let Some(sets) = sets.into_iter().collect::<Option<Vec<_>>>() else { return };
    let Some((smallest, others)) = sets.split_first() else { return };
    for member in smallest.iter() {
        let everywhere =
            others.iter().all(|other| std::ptr::eq(*other, *smallest) || other.holds(member));
        if everywhere && !visit(member) {
            return;
        }
    }
}

pub(super) fn sinter(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let sets = open(cx, args.from(1))?;
    let (place, mut count) = (reply.defer(), 0);
    intersect(sets, |member| {
        put(reply, member);
        count += 1;
        true
    });
    reply.fill_set(place, count);
    Ok(())
}

pub(super) fn sintercard(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let numkeys = integer(&args[1]).ok().and_then(|count| usize::try_from(count).ok());
    let Some(numkeys) = numkeys.filter(|count| *count > 0) else {
        return Err(Reject::text("ERR numkeys should be greater than 0"));
    };
    if numkeys > args.len() - 2 {
        return Err(Reject::text("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = usize::MAX;
    let options = args.from(2 + numkeys);
    for at in (0..options.len()).step_by(2) {
        let Some(operand) = options.get(at + 1).filter(|_| options.is(at, "limit")) else {
            return Err(Reject::Syntax);
        };
        limit = parse_limit(operand)?;
    }
    let keys: wire::ArgsBuf = args.from(2).iter().take(numkeys).collect();
    let mut count = 0;
    intersect(open(cx, keys.args())?, |_| {
        count += 1;
        count < limit
    });
    reply.count(count);
    Ok(())
}

/// The operand of LIMIT, where 0 means none.
pub(in crate::types) fn parse_limit(operand: &[u8]) -> Result<usize, Reject> {
    let limit = integer(operand).ok().and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.ok_or_else(|| Reject::text("ERR LIMIT can't be negative"))?;
    Ok(if limit == 0 { usize::MAX } else { limit })
}

pub(super) fn sinterstore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let ints_max = cx.settings().set_max_intset_entries;
    let mut result = Set::default();
    intersect(open(cx, args.from(2))?, |member| {
        result.add(member.text(&mut itoa::Buffer::new()), ints_max);
        true
    });
    store_set(cx, &args[1], result, "sinterstore", reply);
    Ok(())
}

fn unite(cx: &mut Context<'_>, keys: Args<'_>) -> Result<Set, Reject> {
    let ints_max = cx.settings().set_max_intset_entries;
    let mut result = Set::default();
    for member in open(cx, keys)?.into_iter().flatten().flat_map(Set::iter) {
        result.add(member.text(&mut itoa::Buffer::new()), ints_max);
    }
    Ok(result)
}

/// The members of the first set that are in no other. Either each is looked up in all others, or
/// the others are taken out of a copy of the first, whichever touches fewer members.
fn subtract(cx: &mut Context<'_>, keys: Args<'_>) -> Result<Set, Reject> {
    let ints_max = cx.settings().set_max_intset_entries;
    let sets = open(cx, keys)?;
    let mut result = Set::default();
    let Some((Some(first), others)) = sets.split_first() else { return Ok(result) };
    let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
    if others.iter().any(|other| std::ptr::eq(*other, *first)) {
        return Ok(result);
    }
    // Looking up is the cheaper work for each member, so it is given a lead of two.
    let by_lookup = first.len() * (others.len() + 1) / 2;
    let by_removal = first.len() + others.iter().map(|other| other.len()).sum::<usize>();
    let mut buffer = itoa::Buffer::new();
    if by_lookup <= by_removal {
        others.sort_by_key(|other| std::cmp::Reverse(other.len()));
        for member in first.iter().filter(|member| !others.iter().any(|set| set.holds(*member))) {
            result.add(member.text(&mut buffer), ints_max);
        }
        return Ok(result);
    }
    for member in first.iter() {
        result.add(member.text(&mut buffer), ints_max);
    }
    for other in others {
        for member in other.iter() {
            result.remove(member.text(&mut buffer));
        }
        if result.is_empty() {
            break;
        }
    }
    Ok(result)
}

fn put_all(reply: &mut Reply<'_>, set: &Set) {
    reply.set(set.len());
    set.iter().for_each(|member| put(reply, member));
}

pub(super) fn sunion(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    put_all(reply, &unite(cx, args.from(1))?);
    Ok(())
}

pub(super) fn sunionstore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let result = unite(cx, args.from(2))?;
    store_set(cx, &args[1], result, "sunionstore", reply);
    Ok(())
}

pub(super) fn sdiff(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    put_all(reply, &subtract(cx, args.from(1))?);
    Ok(())
}

pub(super) fn sdiffstore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let result = subtract(cx, args.from(2))?;
    store_set(cx, &args[1], result, "sdiffstore", reply);
    Ok(())
}

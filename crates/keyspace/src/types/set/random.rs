//! SPOP and SRANDMEMBER: members drawn by the dice of the operation.

use std::collections::BTreeSet;

use stdx::Rng;
use wire::{Args, Reply};

use super::Set;
use super::basic::{put, shrunk};
use crate::context::Context;
use crate::draw::distinct;
use crate::limits::RANDOM_REPLY_BYTES_MAX;
use crate::number::{at_least, integer};
use crate::reject::Reject;

pub(super) fn spop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    match args.len() {
        2 => pop_one(cx, &args[1], reply),
        3 => pop_many(cx, args, reply),
        _ => Err(Reject::Syntax),
    }
}

fn pop_one(cx: &mut Context<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Reject> {
    let total = cx.read::<Set>(key)?.map_or(0, Set::len);
    if total == 0 {
        reply.null();
        return Ok(());
    }
    let emptied = take(cx, key, 1, reply)?;
    shrunk(cx, key, "spop", emptied);
    Ok(())
}

fn pop_many(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let key = &args[1];
    let count = parse_count(&args[2])?;
    let total = cx.read::<Set>(key)?.map_or(0, Set::len);
    let count = count.min(total);
    reply.set(count);
    if count == 0 {
        return Ok(());
    }
    let emptied = take(cx, key, count, reply)?;
    shrunk(cx, key, "spop", emptied);
    Ok(())
}

/// A count of elements to pop.
pub(in crate::types) fn parse_count(text: &[u8]) -> Result<usize, Reject> {
    at_least(text, 0, "ERR value is out of range, must be positive")
}

/// A count of elements to draw, negative if they may repeat.
pub(in crate::types) fn parse_signed_count(text: &[u8]) -> Result<i64, Reject> {
    let count = integer(text)?;
    if count == i64::MIN {
        let (low, high) = (-i64::MAX, i64::MAX);
        let text = format!("ERR value is out of range, value must between {low} and {high}");
        return Err(Reject::from(text));
    }
    Ok(count)
}

/// Writes and removes so many members; true if none is left.
fn take(
    cx: &mut Context<'_>,
    key: &[u8],
    count: usize,
    reply: &mut Reply<'_>,
) -> Result<bool, Reject> {
    let mut rng = cx.rng.clone();
    let Some(set) = cx.modify::<Set>(key)? else { return Ok(false) };
    let mut taken = Vec::with_capacity(count);
    sample(set, &mut rng, count, |member| {
        put(reply, member);
        taken.push(member.text(&mut itoa::Buffer::new()).to_vec());
    });
    for member in &taken {
        assert!(set.remove(member), "a member that was just seen is there");
    }
    let emptied = set.is_empty();
    cx.rng = rng;
    Ok(emptied)
}

/// Visits `count` different members by lot, or all if there are no more: few of many one by one,
/// else by walking over all.
fn sample<'a>(set: &'a Set, rng: &mut Rng, count: usize, mut visit: impl FnMut(super::Member<'a>)) {
    const FEW: usize = 8;
    if count.saturating_mul(FEW) < set.len() {
        let mut drawn = BTreeSet::new();
        while drawn.len() < count {
            let member = set.draw(rng).expect("a set at a key is not empty");
            if drawn.insert(member.text(&mut itoa::Buffer::new()).to_vec()) {
                visit(member);
            }
        }
        return;
    }
    let mut wanted = distinct(rng, set.len(), count).into_iter().peekable();
    for (place, member) in set.iter().enumerate() {
        if wanted.next_if_eq(&place).is_some() {
            visit(member);
        }
    }
}

pub(super) fn srandmember(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    match args.len() {
        2 => draw_one(cx, &args[1], reply),
        3 => draw_many(cx, args, reply),
        _ => Err(Reject::Syntax),
    }
}

fn draw_one(cx: &mut Context<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Reject> {
    let mut rng = cx.rng.clone();
    match cx.read::<Set>(key)? {
        None => reply.null(),
        Some(set) => set.draw(&mut rng).into_iter().for_each(|member| put(reply, member)),
    }
    cx.rng = rng;
    Ok(())
}

fn draw_many(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let count = parse_signed_count(&args[2])?;
    let mut rng = cx.rng.clone();
    let set = cx.read::<Set>(&args[1])?;
    let Some(set) = set.filter(|_| count != 0) else {
        reply.array(0);
        return Ok(());
    };
    if count > 0 {
        let count = set.len().min(count as usize);
        reply.array(count);
        sample(set, &mut rng, count, |member| put(reply, member));
    } else {
        reply.array(count.unsigned_abs() as usize);
        let start = reply.mark();
        for _ in 0..count.unsigned_abs() {
            set.draw(&mut rng).into_iter().for_each(|member| put(reply, member));
            if reply.mark() - start > RANDOM_REPLY_BYTES_MAX {
                return Err(Reject::text("ERR value is out of range"));
            }
        }
    }
    cx.rng = rng;
    Ok(())
}

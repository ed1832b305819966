//! SPOP and SRANDMEMBER: members drawn by the dice of the operation.

use wire::{Args, Reply};

use super::Set;
use super::basic::{put, shrunk};
use crate::context::Context;
use crate::draw::distinct;
use crate::limits::RANDOM_REPLY_BYTES_MAX;
use crate::number::{integer, parse_i64};
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
    let place = cx.rng.below(total as u64) as usize;
    let emptied = take(cx, key, &[place], reply)?;
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
    let places = distinct(&mut cx.rng, total, count);
    let emptied = take(cx, key, &places, reply)?;
    shrunk(cx, key, "spop", emptied);
    Ok(())
}

/// A count of elements to pop.
pub(in crate::types) fn parse_count(text: &[u8]) -> Result<usize, Reject> {
    let count = parse_i64(text).and_then(|count| usize::try_from(count).ok());
    count.ok_or(Reject::text("ERR value is out of range, must be positive"))
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

/// Writes and removes the members at these places; true if none is left.
fn take(
    cx: &mut Context<'_>,
    key: &[u8],
    places: &[usize],
    reply: &mut Reply<'_>,
) -> Result<bool, Reject> {
    let Some(set) = cx.modify::<Set>(key)? else { return Ok(false) };
    let mut taken = Vec::with_capacity(places.len());
    visit(set, places, |member| {
        put(reply, member);
        taken.push(member.text(&mut itoa::Buffer::new()).to_vec());
    });
    for member in &taken {
        assert!(set.remove(member), "a member that was just seen is there");
    }
    Ok(set.is_empty())
}

/// Visits the members at ascending places: by walking if they are many.
fn visit<'a>(set: &'a Set, places: &[usize], mut visit: impl FnMut(super::Member<'a>)) {
    /// A place costs about as much to find as this many members to walk over.
    const WALK_FACTOR: usize = 8;
    if places.len() * WALK_FACTOR < set.len() {
        places.iter().filter_map(|place| set.nth(*place)).for_each(visit);
        return;
    }
    let mut wanted = places.iter().copied().peekable();
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
        Some(set) => {
            let place = rng.below(set.len() as u64) as usize;
            set.nth(place).into_iter().for_each(|member| put(reply, member));
        }
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
        let places = distinct(&mut rng, set.len(), count as usize);
        reply.array(places.len());
        visit(set, &places, |member| put(reply, member));
    } else {
        reply.array(count.unsigned_abs() as usize);
        let start = reply.mark();
        for _ in 0..count.unsigned_abs() {
            let place = rng.below(set.len() as u64) as usize;
            set.nth(place).into_iter().for_each(|member| put(reply, member));
            if reply.mark() - start > RANDOM_REPLY_BYTES_MAX {
                return Err(Reject::text("ERR value is out of range"));
            }
        }
    }
    cx.rng = rng;
    Ok(())
}

//! ZPOPMIN, ZPOPMAX, ZMPOP and their forms that wait.

use wire::{Args, Reply};

use super::Zset;
use super::item::Item;
use super::remove::shrunk;
use super::sorted::Direction;
use crate::blocking::{deadline, first_with, wait};
use crate::context::Context;
use crate::double;
use crate::reject::Reject;
use crate::types::numbered::ManyPop;
use crate::types::set::parse_count;

/// From which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }
}

/// Takes up to `count` elements from an end of the sorted set at `key`, which exists.
fn take(cx: &mut Context<'_>, key: &[u8], end: End, count: usize) -> Result<Vec<Item>, Reject> {
    let Some(zset) = cx.modify::<Zset>(key)? else { return Ok(Vec::new()) };
    let count = count.min(zset.len());
    let (ranks, direction) = match end {
        End::Min => (0..count, Direction::Forward),
        End::Max => (zset.len() - count..zset.len(), Direction::Reverse),
    };
    let items: Vec<Item> = zset.iter(ranks.clone(), direction).map(Item::from).collect();
    zset.remove_ranks(ranks);
    let emptied = zset.is_empty();
    if !items.is_empty() {
        shrunk(cx, key, end.event(), emptied);
    }
    Ok(items)
}

/// Writes elements one by one, each as a pair or both parts bare.
fn put_items(reply: &mut Reply<'_>, items: &[Item], as_pairs: bool) {
    for item in items {
        if as_pairs {
            reply.array(2);
        }
        reply.bulk(&item.member);
        double::reply(reply, item.score);
    }
}

fn pop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), Reject> {
    if args.len() > 3 {
        return Err(Reject::Syntax);
    }
    let count = args.get(2).map(parse_count).transpose()?;
    cx.read::<Zset>(&args[1])?;
    let items = match count {
        Some(0) => Vec::new(),
        _ => take(cx, &args[1], end, count.unwrap_or(1))?,
    };
    let as_pairs = count.is_some() && reply.is_resp3();
    reply.array(if as_pairs { items.len() } else { items.len() * 2 });
    put_items(reply, &items, as_pairs);
    Ok(())
}

pub(super) fn zpopmin(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    pop(cx, args, reply, End::Min)
}

pub(super) fn zpopmax(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    pop(cx, args, reply, End::Max)
}

/// BZPOPMIN and BZPOPMAX: `key [key …] timeout`.
fn pop_or_wait(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), Reject> {
    let last = args.len() - 1;
    let deadline = deadline(cx, &args[last])?;
    let keys = || args.from(1).iter().take(last - 1);
    match first_with::<Zset>(cx, keys())? {
        Some(key) => {
            let items = take(cx, key, end, 1)?;
            reply.array(1 + items.len() * 2);
            reply.bulk(key);
            put_items(reply, &items, false);
        }
        None => {
            if !wait(cx, args, keys(), deadline) {
                reply.null_array();
            }
        }
    }
    Ok(())
}

pub(super) fn bzpopmin(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    pop_or_wait(cx, args, reply, End::Min)
}

pub(super) fn bzpopmax(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    pop_or_wait(cx, args, reply, End::Max)
}

/// `MIN` or `MAX`.
fn end(word: &[u8]) -> Result<End, Reject> {
    if word.eq_ignore_ascii_case(b"min") {
        Ok(End::Min)
    } else if word.eq_ignore_ascii_case(b"max") {
        Ok(End::Max)
    } else {
        Err(Reject::Syntax)
    }
}

/// Pops from the first key that has a sorted set. False if none has.
fn pop_of_first(
    many: &ManyPop<'_, End>,
    cx: &mut Context<'_>,
    reply: &mut Reply<'_>,
) -> Result<bool, Reject> {
    let Some(key) = first_with::<Zset>(cx, many.keys())? else { return Ok(false) };
    let items = take(cx, key, many.end, many.count)?;
    reply.array(2);
    reply.bulk(key);
    reply.array(items.len());
    put_items(reply, &items, true);
    Ok(true)
}

pub(super) fn zmpop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    if !pop_of_first(&ManyPop::parse(args, 1, end)?, cx, reply)? {
        reply.null_array();
    }
    Ok(())
}

pub(super) fn bzmpop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let many = ManyPop::parse(args, 2, end)?;
    let deadline = deadline(cx, &args[1])?;
    if !pop_of_first(&many, cx, reply)? && !wait(cx, args, many.keys(), deadline) {
        reply.null_array();
    }
    Ok(())
}

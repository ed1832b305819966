//! ZPOPMIN, ZPOPMAX, ZMPOP and their forms that wait.

use wire::{Args, Reply};

use super::Zset;
use super::item::Item;
use super::remove::shrunk;
use super::sorted::Direction;
use crate::blocking::{deadline, first_with, wait};
use crate::context::Context;
use crate::double;
use crate::number::parse_i64;
use crate::reject::Reject;
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

/// `numkeys key [key …] MIN|MAX [COUNT count]`.
#[derive(Clone, Copy, Debug)]
struct Query {
    numkeys: usize,
    end: End,
    count: usize,
}

impl Query {
    /// Reads a query whose number of keys is argument 0.
    fn parse(args: Args<'_>) -> Result<Query, Reject> {
        let numkeys = positive(&args[0], "ERR numkeys should be greater than 0")?;
        let end_at = numkeys.saturating_add(1);
        let end = match () {
            () if args.is(end_at, "min") => End::Min,
            () if args.is(end_at, "max") => End::Max,
            () => return Err(Reject::Syntax),
        };
        let options = args.from(end_at + 1);
        let count = match options.len() {
            0 => 1,
            1 => return Err(Reject::Syntax),
            _ if !options.is(0, "count") => return Err(Reject::Syntax),
            length => {
                let count = positive(&options[1], "ERR count should be greater than 0")?;
                if length > 2 {
                    return Err(Reject::Syntax);
                }
                count
            }
        };
        Ok(Query { numkeys, end, count })
    }
}

fn positive(text: &[u8], otherwise: &'static str) -> Result<usize, Reject> {
    let number = parse_i64(text).filter(|number| *number > 0);
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Reject::text(otherwise))
}

fn put_popped(reply: &mut Reply<'_>, key: &[u8], items: &[Item]) {
    reply.array(2);
    reply.bulk(key);
    reply.array(items.len());
    put_items(reply, items, true);
}

pub(super) fn zmpop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let query = Query::parse(args.from(1))?;
    match first_with::<Zset>(cx, args.from(2).iter().take(query.numkeys))? {
        Some(key) => {
            let items = take(cx, key, query.end, query.count)?;
            put_popped(reply, key, &items);
        }
        None => reply.null_array(),
    }
    Ok(())
}

pub(super) fn bzmpop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let query = Query::parse(args.from(2))?;
    let deadline = deadline(cx, &args[1])?;
    let keys = || args.from(3).iter().take(query.numkeys);
    match first_with::<Zset>(cx, keys())? {
        Some(key) => {
            let items = take(cx, key, query.end, query.count)?;
            put_popped(reply, key, &items);
        }
        None => {
            if !wait(cx, args, keys(), deadline) {
                reply.null_array();
            }
        }
    }
    Ok(())
}

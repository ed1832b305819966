//! ZREM and the ZREMRANGEBY family.

use std::ops::Range;

use wire::{Args, Reply};

use super::Zset;
use super::range::{LexRange, RankRange, ScoreRange};
use super::sorted::Direction;
use crate::context::{Context, notify};
use crate::reject::Reject;

/// Elements were taken out of the sorted set at `key`; an empty one goes.
pub(super) fn shrunk(cx: &mut Context<'_>, key: &[u8], event: &str, emptied: bool) {
    cx.touch(key);
    cx.notify(notify::ZSET, event, key);
    if emptied {
        cx.remove(key);
        cx.notify(notify::GENERIC, "del", key);
    }
}

pub(super) fn zrem(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let key = &args[1];
    let Some(zset) = cx.modify::<Zset>(key)? else {
        reply.int(0);
        return Ok(());
    };
    let removed = args.from(2).iter().filter(|member| zset.remove(member)).count();
    let emptied = zset.is_empty();
    if removed > 0 {
        shrunk(cx, key, "zrem", emptied);
    }
    reply.count(removed);
    Ok(())
}

fn remove_range(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    event: &str,
    find: impl FnOnce(&Zset) -> Range<usize>,
) -> Result<(), Reject> {
    let key = &args[1];
    let Some(zset) = cx.modify::<Zset>(key)? else {
        reply.int(0);
        return Ok(());
    };
    let ranks = find(zset);
    let removed = ranks.len();
    zset.remove_ranks(ranks);
    let emptied = zset.is_empty();
    if removed > 0 {
        shrunk(cx, key, event, emptied);
    }
    reply.count(removed);
    Ok(())
}

pub(super) fn zremrangebyrank(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let range = RankRange::parse(&args[2], &args[3])?;
    remove_range(cx, args, reply, "zremrangebyrank", |zset| range.of(zset.len()))
}

pub(super) fn zremrangebyscore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let range = ScoreRange::parse(&args[2], &args[3])?;
    remove_range(cx, args, reply, "zremrangebyscore", |zset| zset.in_scores(&range))
}

pub(super) fn zremrangebylex(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let range = LexRange::parse(args.at(2), args.at(3))?;
    remove_range(cx, args, reply, "zremrangebylex", |zset| {
        zset.in_members(&range, Direction::Forward)
    })
}

//! What reads one sorted set: counts, scores, ranks and ZSCAN.

use wire::{Args, Reply};

use super::Zset;
use super::range::{LexRange, ScoreRange};
use super::sorted::Direction;
use crate::context::Context;
use crate::cursor::{Scan, parse_cursor};
use crate::double;
use crate::reject::Reject;

pub(super) fn zcard(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply.count(cx.read::<Zset>(&args[1])?.map_or(0, Zset::len));
    Ok(())
}

pub(super) fn zcount(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let range = ScoreRange::parse(&args[2], &args[3])?;
    let zset = cx.read::<Zset>(&args[1])?;
    reply.count(zset.map_or(0, |zset| zset.in_scores(&range).len()));
    Ok(())
}

pub(super) fn zlexcount(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let range = LexRange::parse(args.at(2), args.at(3))?;
    let zset = cx.read::<Zset>(&args[1])?;
    reply.count(zset.map_or(0, |zset| zset.in_members(&range, Direction::Forward).len()));
    Ok(())
}

fn put_score(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => double::reply(reply, score),
        None => reply.null(),
    }
}

pub(super) fn zscore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let zset = cx.read::<Zset>(&args[1])?;
    put_score(reply, zset.and_then(|zset| zset.score(&args[2])));
    Ok(())
}

pub(super) fn zmscore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let zset = cx.read::<Zset>(&args[1])?;
    reply.array(args.len() - 2);
    for member in args.from(2).iter() {
        put_score(reply, zset.and_then(|zset| zset.score(member)));
    }
    Ok(())
}

pub(super) fn zrank(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let zset = cx.read::<Zset>(&args[1])?;
    match zset.and_then(|zset| zset.rank(&args[2])) {
        Some(rank) => reply.count(rank),
        None => reply.null(),
    }
    Ok(())
}

pub(super) fn zrevrank(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let zset = cx.read::<Zset>(&args[1])?;
    match zset.and_then(|zset| Some(zset.len() - 1 - zset.rank(&args[2])?)) {
        Some(rank) => reply.count(rank),
        None => reply.null(),
    }
    Ok(())
}

pub(super) fn zscan(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let cursor = parse_cursor(&args[2])?;
    let Some(zset) = cx.read::<Zset>(&args[1])? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let scan = Scan::parse(args, 3)?;
    let (mut found, mut shown) = (Vec::new(), 0);
    let mut inner = Reply::new(&mut found, reply.proto());
    let next = zset.scan(cursor, scan.count, |key| {
        if scan.wants(key.member) {
            inner.bulk(key.member);
            inner.bulk(zset.scan_text(key.score).as_bytes());
            shown += 2;
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(shown);
    reply.raw(&found);
    Ok(())
}

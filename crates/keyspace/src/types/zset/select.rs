//! ZRANGE, its older forms, and ZRANGESTORE.

use std::ops::Range;

use wire::{Args, Reply};

use super::Zset;
use super::item::{Item, Key};
use super::range::{LexRange, RankRange, ScoreRange};
use super::sorted::{Direction, Limits};
use crate::context::{Context, notify};
use crate::double;
use crate::number::integer;
use crate::reject::Reject;
use crate::types::set::store;
use crate::value::Typed;

/// By what a range is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// Do replies show scores?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scores {
    With,
    Without,
}

/// What the name of a command fixes; the rest is options.
#[derive(Clone, Copy, Debug, Default)]
struct Fixed {
    by: Option<By>,
    direction: Option<Direction>,
    /// ZRANGESTORE.
    stores: bool,
}

/// What is asked for: `key min max [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    bounds: Bounds<'a>,
    direction: Direction,
    offset: i64,
    /// Negative: no limit.
    limit: i64,
    scores: Scores,
}

#[derive(Clone, Copy, Debug)]
enum Bounds<'a> {
    Ranks(RankRange),
    Scores(ScoreRange),
    Members(LexRange<'a>),
}

impl<'a> Query<'a> {
    /// Reads a query whose key is argument 0.
    fn parse(args: Args<'a>, fixed: Fixed) -> Result<Query<'a>, Reject> {
        let (mut by, mut direction) = (fixed.by, fixed.direction);
        let (mut offset, mut limit, mut scores) = (0, -1, Scores::Without);
        let mut at = 3;
        while at < args.len() {
            if !fixed.stores && args.is(at, "withscores") {
                scores = Scores::With;
            } else if args.is(at, "limit") && at + 2 < args.len() {
                (offset, limit) = (integer(&args[at + 1])?, integer(&args[at + 2])?);
                at += 2;
            } else if direction.is_none() && args.is(at, "rev") {
                direction = Some(Direction::Reverse);
            } else if by.is_none() && args.is(at, "bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && args.is(at, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(Reject::Syntax);
            }
            at += 1;
        }
        let by = by.unwrap_or(By::Rank);
        let direction = direction.unwrap_or(Direction::Forward);
        if limit != -1 && by == By::Rank {
            return Err(Reject::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or \
                 BYLEX",
            ));
        }
        if scores == Scores::With && by == By::Lex {
            return Err(Reject::text(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        // A reverse range of values is given from its upper end.
        let (min, max) = match direction {
            Direction::Reverse if by != By::Rank => (args.at(2), args.at(1)),
            _ => (args.at(1), args.at(2)),
        };
        let bounds = match by {
            By::Rank => Bounds::Ranks(RankRange::parse(min, max)?),
            By::Score => Bounds::Scores(ScoreRange::parse(min, max)?),
            By::Lex => Bounds::Members(LexRange::parse(min, max)?),
        };
        Ok(Query { bounds, direction, offset, limit, scores })
    }

    /// The ranks that are asked for.
    fn ranks(&self, zset: &Zset) -> Range<usize> {
        let found = match &self.bounds {
            Bounds::Ranks(range) => {
                let Range { start, end } = range.of(zset.len());
                return match self.direction {
                    Direction::Forward => start..end,
                    Direction::Reverse => zset.len() - end..zset.len() - start,
                };
            }
            Bounds::Scores(range) => zset.in_scores(range),
            Bounds::Members(range) => zset.in_members(range, self.direction),
        };
        // A negative offset is never reached.
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX).min(found.len());
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX).min(found.len() - offset);
        match self.direction {
            Direction::Forward => found.start + offset..found.start + offset + limit,
            Direction::Reverse => found.end - offset - limit..found.end - offset,
        }
    }
}

/// Writes the header of `count` elements: with scores flat in RESP2, and pairs in RESP3.
pub(super) fn put_header(reply: &mut Reply<'_>, count: usize, scores: Scores) {
    let flat = scores == Scores::With && !reply.is_resp3();
    reply.array(if flat { count * 2 } else { count });
}

/// Writes one element.
pub(super) fn put_element(reply: &mut Reply<'_>, key: Key<'_>, scores: Scores) {
    if scores == Scores::Without {
        return reply.bulk(key.member);
    }
    if reply.is_resp3() {
        reply.array(2);
    }
    reply.bulk(key.member);
    double::reply(reply, key.score);
}

/// Writes elements behind their header.
pub(super) fn put_elements<'a>(
    reply: &mut Reply<'_>,
    count: usize,
    keys: impl Iterator<Item = Key<'a>>,
    scores: Scores,
) {
    put_header(reply, count, scores);
    keys.for_each(|key| put_element(reply, key, scores));
}

fn range(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    fixed: Fixed,
) -> Result<(), Reject> {
    let query = Query::parse(args.from(1), fixed)?;
    let Some(zset) = cx.read::<Zset>(&args[1])? else {
        reply.array(0);
        return Ok(());
    };
    let ranks = query.ranks(zset);
    put_elements(reply, ranks.len(), zset.iter(ranks, query.direction), query.scores);
    Ok(())
}

pub(super) fn zrange(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    range(cx, args, reply, Fixed::default())
}

pub(super) fn zrevrange(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    range(cx, args, reply, Fixed::old(By::Rank, Direction::Reverse))
}

pub(super) fn zrangebyscore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    range(cx, args, reply, Fixed::old(By::Score, Direction::Forward))
}

pub(super) fn zrevrangebyscore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    range(cx, args, reply, Fixed::old(By::Score, Direction::Reverse))
}

pub(super) fn zrangebylex(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    range(cx, args, reply, Fixed::old(By::Lex, Direction::Forward))
}

pub(super) fn zrevrangebylex(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    range(cx, args, reply, Fixed::old(By::Lex, Direction::Reverse))
}

impl Fixed {
    fn old(by: By, direction: Direction) -> Fixed {
        Fixed { by: Some(by), direction: Some(direction), stores: false }
    }
}

pub(super) fn zrangestore(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let query = Query::parse(args.from(2), Fixed { stores: true, ..Fixed::default() })?;
    let limits = Limits::of(cx.settings());
    let items: Vec<Item> = match cx.read::<Zset>(&args[2])? {
        Some(zset) => zset.iter(query.ranks(zset), Direction::Forward).map(Item::from).collect(),
        None => Vec::new(),
    };
    reply.count(items.len());
    store_items(cx, &args[1], items, limits, "zrangestore");
    Ok(())
}

/// Puts elements in ascending order at `key`, or removes what is there if there are none.
pub(super) fn store_items(
    cx: &mut Context<'_>,
    key: &[u8],
    items: Vec<Item>,
    limits: Limits,
    event: &str,
) {
    let result = (!items.is_empty()).then(|| Zset::from_sorted(items, limits).wrap());
    store(cx, key, result, notify::ZSET, event);
}

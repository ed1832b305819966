//! ZADD and ZINCRBY.

use wire::{Args, Reply};

use super::Zset;
use super::item::Key;
use super::sorted::Limits;
use crate::context::{Context, notify};
use crate::double;
use crate::reject::Reject;

/// The options of ZADD.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// Only add members.
    nx: bool,
    /// Only change members.
    xx: bool,
    /// Only to a greater score.
    gt: bool,
    /// Only to a lesser score.
    lt: bool,
    /// Count changed members too.
    ch: bool,
    /// Add to the score and reply with it.
    incr: bool,
}

impl Options {
    /// Reads options from argument 2 on; returns where the first score is.
    fn parse(&mut self, args: Args<'_>) -> Result<usize, Reject> {
        let mut at = 2;
        while at < args.len() {
            let option = [
                ("nx", &mut self.nx),
                ("xx", &mut self.xx),
                ("ch", &mut self.ch),
                ("incr", &mut self.incr),
                ("gt", &mut self.gt),
                ("lt", &mut self.lt),
            ]
            .into_iter()
            .find(|(name, _)| args.is(at, name));
            let Some((_, option)) = option else { break };
            *option = true;
            at += 1;
        }
        let values = args.len() - at;
        if values == 0 || values % 2 == 1 {
            return Err(Reject::Syntax);
        }
        if self.nx && self.xx {
            let text = "ERR XX and NX options at the same time are not compatible";
            return Err(Reject::text(text));
        }
        if (self.gt || self.lt) && self.nx || self.gt && self.lt {
            let text = "ERR GT, LT, and/or NX options at the same time are not compatible";
            return Err(Reject::text(text));
        }
        if self.incr && values > 2 {
            let text = "ERR INCR option supports a single increment-element pair";
            return Err(Reject::text(text));
        }
        Ok(at)
    }
}

/// What became of one member.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Added(f64),
    Updated(f64),
    /// It has that score already.
    Same(f64),
    /// The options forbid it.
    Refused,
}

pub(super) fn zadd(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    add(cx, args, Options::default(), reply)
}

pub(super) fn zincrby(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    add(cx, args, Options { incr: true, ..Options::default() }, reply)
}

fn add(
    cx: &mut Context<'_>,
    args: Args<'_>,
    mut options: Options,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let pairs = args.from(options.parse(args)?);
    let mut scores = Vec::with_capacity(pairs.len() / 2);
    for score in pairs.iter().step_by(2) {
        scores.push(double::float(score)?);
    }
    let key = &args[1];
    let (mut added, mut updated, mut last) = (0, 0, Change::Refused);
    // Without a key there is nothing that XX could change.
    if !options.xx || cx.read::<Zset>(key)?.is_some() {
        let limits = Limits::of(cx.settings());
        let zset = cx.modify_or_new::<Zset>(key)?;
        for (score, member) in scores.into_iter().zip(pairs.from(1).iter().step_by(2)) {
            last = put(zset, Key { score, member }, options, limits)?;
            added += usize::from(matches!(last, Change::Added(_)));
            updated += usize::from(matches!(last, Change::Updated(_)));
        }
    }
    match last {
        _ if !options.incr => reply.count(if options.ch { added + updated } else { added }),
        Change::Refused => reply.null(),
        Change::Added(score) | Change::Updated(score) | Change::Same(score) => {
            double::reply(reply, score);
        }
    }
    if added + updated > 0 {
        cx.touch(key);
        cx.notify(notify::ZSET, if options.incr { "zincr" } else { "zadd" }, key);
    }
    Ok(())
}

/// Adds one member or changes its score.
fn put(zset: &mut Zset, key: Key<'_>, options: Options, limits: Limits) -> Result<Change, Reject> {
    let Some(current) = zset.score(key.member) else {
        if options.xx {
            return Ok(Change::Refused);
        }
        zset.insert(key, limits);
        return Ok(Change::Added(key.score));
    };
    if options.nx {
        return Ok(Change::Refused);
    }
    let score = if options.incr { current + key.score } else { key.score };
    if score.is_nan() {
        return Err(Reject::text("ERR resulting score is not a number (NaN)"));
    }
    if options.lt && score >= current || options.gt && score <= current {
        return Ok(Change::Refused);
    }
    if score == current {
        return Ok(Change::Same(score));
    }
    zset.change(Key { score: current, member: key.member }, score);
    Ok(Change::Updated(score))
}

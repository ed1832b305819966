//! ZRANDMEMBER: elements drawn by rank.

use wire::{Args, Reply};

use super::Zset;
use super::item::Key;
use super::select::{Scores, put_element, put_elements, put_header};
use super::sorted::Direction;
use crate::context::Context;
use crate::draw::distinct;
use crate::limits::RANDOM_REPLY_BYTES_MAX;
use crate::reject::Reject;
use crate::types::set::parse_signed_count;

pub(super) fn zrandmember(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    if args.len() == 2 {
        return draw_one(cx, &args[1], reply);
    }
    let count = parse_signed_count(&args[2])?;
    let scores = match args.len() {
        3 => Scores::Without,
        4 if args.is(3, "withscores") => Scores::With,
        _ => return Err(Reject::Syntax),
    };
    if scores == Scores::With && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Reject::text("ERR value is out of range"));
    }
    let mut rng = cx.rng.clone();
    let zset = cx.read::<Zset>(&args[1])?;
    let Some(zset) = zset.filter(|_| count != 0) else {
        reply.array(0);
        return Ok(());
    };
    let total = zset.len();
    if count >= total as i64 {
        put_elements(reply, total, zset.iter(0..total, Direction::Reverse), scores);
    } else if count > 0 {
        let ranks = distinct(&mut rng, total, count as usize);
        put_elements(reply, ranks.len(), at_ranks(zset, &ranks), scores);
    } else {
        let count = count.unsigned_abs() as usize;
        put_header(reply, count, scores);
        let start = reply.mark();
        for _ in 0..count {
            let rank = rng.below(total as u64) as usize;
            at_ranks(zset, &[rank]).for_each(|key| put_element(reply, key, scores));
            if reply.mark() - start > RANDOM_REPLY_BYTES_MAX {
                return Err(Reject::text("ERR value is out of range"));
            }
        }
    }
    cx.rng = rng;
    Ok(())
}

fn draw_one(cx: &mut Context<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Reject> {
    let mut rng = cx.rng.clone();
    match cx.read::<Zset>(key)? {
        None => reply.null(),
        Some(zset) => {
            let rank = rng.below(zset.len() as u64) as usize;
            at_ranks(zset, &[rank]).for_each(|key| reply.bulk(key.member));
        }
    }
    cx.rng = rng;
    Ok(())
}

/// The elements at these ranks.
fn at_ranks<'a>(zset: &'a Zset, ranks: &[usize]) -> impl Iterator<Item = Key<'a>> {
    ranks.iter().flat_map(|rank| zset.iter(*rank..rank + 1, Direction::Forward))
}

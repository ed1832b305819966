//! Commands that return all fields, some, or random ones.

use std::collections::BTreeSet;

use stdx::Rng;
use wire::{Args, Reply};

use super::Hash;
use crate::context::Context;
use crate::cursor::{Scan, parse_cursor};
use crate::draw;
use crate::limits::RANDOM_REPLY_BYTES_MAX;
use crate::number::integer;
use crate::reject::Reject;
use crate::types::packed::Blob;

pub(super) fn hgetall(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let hash = cx.read::<Hash>(&args[1])?;
    reply.map(hash.map_or(0, Hash::len));
    if let Some(hash) = hash {
        hash.each(|field, value| {
            field.reply(reply);
            value.reply(reply);
        });
    }
    Ok(())
}

pub(super) fn hkeys(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let hash = cx.read::<Hash>(&args[1])?;
    reply.array(hash.map_or(0, Hash::len));
    if let Some(hash) = hash {
        hash.each(|field, _| field.reply(reply));
    }
    Ok(())
}

pub(super) fn hvals(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let hash = cx.read::<Hash>(&args[1])?;
    reply.array(hash.map_or(0, Hash::len));
    if let Some(hash) = hash {
        hash.each(|_, value| value.reply(reply));
    }
    Ok(())
}

const OUT_OF_RANGE: Reject = Reject::text("ERR value is out of range");

/// What HRANDFIELD returns of each field.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Field,
    Pair,
}

impl Shape {
    /// The header for `count` fields: RESP3 nests pairs, RESP2 has them flat.
    fn header(self, count: usize, reply: &mut Reply<'_>) {
        let flat = self == Shape::Pair && !reply.is_resp3();
        reply.array(if flat { count * 2 } else { count });
    }

    fn put(self, (field, value): (Blob<'_>, Blob<'_>), reply: &mut Reply<'_>) {
        if self == Shape::Pair && reply.is_resp3() {
            reply.array(2);
        }
        field.reply(reply);
        if self == Shape::Pair {
            value.reply(reply);
        }
    }
}

/// What HRANDFIELD asks for.
struct Draw {
    count: usize,
    /// A negative count: each draw is from all fields.
    repeats: bool,
    shape: Shape,
}

impl Draw {
    /// Nothing if there is no count: one field is wanted, not an array.
    fn parse(args: Args<'_>) -> Result<Option<Draw>, Reject> {
        let Some(count) = args.get(2) else { return Ok(None) };
        let count = integer(count)?;
        if count == i64::MIN {
            return Err(Reject::from(format!(
                "ERR value is out of range, value must between {} and {}",
                -i64::MAX,
                i64::MAX
            )));
        }
        let shape = match args.len() {
            3 => Shape::Field,
            4 if args.is(3, "withvalues") => Shape::Pair,
            _ => return Err(Reject::Syntax),
        };
        if shape == Shape::Pair && count.abs() > i64::MAX / 2 {
            return Err(OUT_OF_RANGE);
        }
        let repeats = count < 0;
        Ok(Some(Draw { count: count.unsigned_abs() as usize, repeats, shape }))
    }

    /// Draws with repetition: the order is random too.
    fn repeated(&self, hash: &Hash, rng: &mut Rng, reply: &mut Reply<'_>) -> Result<(), Reject> {
        self.shape.header(self.count, reply);
        let start = reply.mark();
        let all = hash.packed_pairs();
        for _ in 0..self.count {
            let pair = match &all {
                Some(all) => all[rng.below(all.len() as u64) as usize],
                None => hash.draw(rng),
            };
            self.shape.put(pair, reply);
            if reply.mark() - start > RANDOM_REPLY_BYTES_MAX {
                return Err(OUT_OF_RANGE);
            }
        }
        Ok(())
    }

    /// Draws different fields: few of many one by one, else by walking over all.
    fn distinct(&self, hash: &Hash, rng: &mut Rng, reply: &mut Reply<'_>) {
        const FEW: usize = 8;
        let count = self.count.min(hash.len());
        self.shape.header(count, reply);
        if count * FEW < hash.len() {
            let mut drawn = BTreeSet::new();
            while drawn.len() < count {
                let (field, value) = hash.draw(rng);
                if drawn.insert(field.to_vec()) {
                    self.shape.put((field, value), reply);
                }
            }
            return;
        }
        let mut places = draw::distinct(rng, hash.len(), count).into_iter().peekable();
        let mut at = 0;
        hash.each(|field, value| {
            if places.next_if_eq(&at).is_some() {
                self.shape.put((field, value), reply);
            }
            at += 1;
        });
    }
}

pub(super) fn hrandfield(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let draw = Draw::parse(args)?;
    let mut rng = cx.rng.clone();
    match (cx.read::<Hash>(&args[1])?, draw) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(hash), None) => {
            hash.draw(&mut rng).0.reply(reply);
        }
        (Some(hash), Some(draw)) if draw.repeats => draw.repeated(hash, &mut rng, reply)?,
        (Some(hash), Some(draw)) => draw.distinct(hash, &mut rng, reply),
    }
    // What was drawn here must not be drawn again by the next command of a script.
    cx.rng = rng;
    Ok(())
}

pub(super) fn hscan(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let cursor = parse_cursor(&args[2])?;
    let Some(hash) = cx.read::<Hash>(&args[1])? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let scan = Scan::parse(args, 3)?;
    let (mut found, mut texts) = (0, Vec::new());
    let mut inner = Reply::new(&mut texts, reply.proto());
    let mut digits = itoa::Buffer::new();
    let next = hash.scan(cursor, scan.count, |field, value| {
        if scan.wants(field.text(&mut digits)) {
            field.reply(&mut inner);
            value.reply(&mut inner);
            found += 2;
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(found);
    reply.raw(&texts);
    Ok(())
}

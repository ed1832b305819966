//! Commands on named fields.

use wire::{Args, Reply};

use super::Hash;
use super::fieldmap::Bound;
use crate::context::{Context, notify};
use crate::decimal;
use crate::number::{integer, parse_i64};
use crate::reject::Reject;
use crate::types::packed::Blob;

pub(super) fn hset(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let created = set_all(cx, args, "hset")?;
    reply.count(created);
    Ok(())
}

pub(super) fn hmset(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    set_all(cx, args, "hmset")?;
    reply.ok();
    Ok(())
}

/// Sets fields in pairs and returns how many did not exist.
fn set_all(cx: &mut Context<'_>, args: Args<'_>, name: &str) -> Result<usize, Reject> {
    if args.len() % 2 == 1 {
        return Err(Reject::from(format!("ERR wrong number of arguments for '{name}' command")));
    }
    let (bound, key) = (Bound::of(cx.settings()), args.at(1));
    let created = cx.update_or_new(key, |hash: &mut Hash| {
        let pairs = (2..args.len()).step_by(2);
        pairs.filter(|at| hash.set(&args[*at], &args[at + 1], bound)).count()
    })?;
    cx.notify(notify::HASH, "hset", key);
    Ok(created)
}

pub(super) fn hsetnx(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let (bound, key) = (Bound::of(cx.settings()), args.at(1));
    let hash = cx.modify_or_new::<Hash>(key)?;
    if hash.get(&args[2]).is_some() {
        reply.int(0);
        return Ok(());
    }
    hash.set(&args[2], &args[3], bound);
    reply.int(1);
    cx.touch(key);
    cx.notify(notify::HASH, "hset", key);
    Ok(())
}

fn reply_value(reply: &mut Reply<'_>, value: Option<Blob<'_>>) {
    match value {
        Some(value) => value.reply(reply),
        None => reply.null(),
    }
}

pub(super) fn hget(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let hash = cx.read::<Hash>(&args[1])?;
    reply_value(reply, hash.and_then(|hash| hash.get(&args[2])));
    Ok(())
}

pub(super) fn hmget(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let hash = cx.read::<Hash>(&args[1])?;
    let fields = args.from(2);
    reply.array(fields.len());
    for field in fields.iter() {
        reply_value(reply, hash.and_then(|hash| hash.get(field)));
    }
    Ok(())
}

pub(super) fn hdel(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let key = args.at(1);
    let Some(hash) = cx.modify::<Hash>(key)? else {
        reply.int(0);
        return Ok(());
    };
    let removed = args.from(2).iter().filter(|field| hash.remove(field)).count();
    let left = hash.len();
    reply.count(removed);
    if removed == 0 {
        return Ok(());
    }
    if left == 0 {
        cx.remove(key);
    } else {
        cx.touch(key);
    }
    cx.notify(notify::HASH, "hdel", key);
    if left == 0 {
        cx.notify(notify::GENERIC, "del", key);
    }
    Ok(())
}

pub(super) fn hlen(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply.count(cx.read::<Hash>(&args[1])?.map_or(0, Hash::len));
    Ok(())
}

pub(super) fn hexists(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let value = cx.read::<Hash>(&args[1])?.and_then(|hash| hash.get(&args[2]));
    reply.int(i64::from(value.is_some()));
    Ok(())
}

pub(super) fn hstrlen(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let value = cx.read::<Hash>(&args[1])?.and_then(|hash| hash.get(&args[2]));
    reply.count(value.map_or(0, |value| value.len()));
    Ok(())
}

pub(super) fn hincrby(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let increment = integer(&args[3])?;
    let old = match cx.read::<Hash>(&args[1])?.and_then(|hash| hash.get(&args[2])) {
        None => 0,
        Some(Blob::Int(number)) => number,
        Some(Blob::Bytes(text)) => {
            parse_i64(text).ok_or(Reject::text("ERR hash value is not an integer"))?
        }
    };
    let overflow = Reject::text("ERR increment or decrement would overflow");
    let sum = old.checked_add(increment).ok_or(overflow)?;
    set_one(cx, args, itoa::Buffer::new().format(sum).as_bytes())?;
    reply.int(sum);
    cx.notify(notify::HASH, "hincrby", &args[1]);
    Ok(())
}

pub(super) fn hincrbyfloat(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let increment = decimal::parse(&args[3]).ok_or(Reject::NotFloat)?;
    if increment.is_infinite() {
        return Err(Reject::text("ERR value is NaN or Infinity"));
    }
    let mut digits = itoa::Buffer::new();
    let old = cx.read::<Hash>(&args[1])?.and_then(|hash| hash.get(&args[2]));
    let old = old.unwrap_or(Blob::Int(0));
    let old = decimal::parse(old.text(&mut digits))
        .ok_or(Reject::text("ERR hash value is not a float"))?;
    let overflow = Reject::text("ERR increment would produce NaN or Infinity");
    let sum = old.plus(increment).ok_or(overflow)?.text();
    set_one(cx, args, sum.as_bytes())?;
    reply.bulk(sum.as_bytes());
    cx.notify(notify::HASH, "hincrbyfloat", &args[1]);
    Ok(())
}

/// Sets the field at the second argument.
fn set_one(cx: &mut Context<'_>, args: Args<'_>, value: &[u8]) -> Result<(), Reject> {
    let bound = Bound::of(cx.settings());
    cx.update_or_new(&args[1], |hash: &mut Hash| hash.set(&args[2], value, bound))?;
    Ok(())
}

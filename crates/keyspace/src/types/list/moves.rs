//! Taking from one of several lists, moving between two, and waiting for an element.
//!
//! A call that finds nothing waits (`cx.block`). Once a key is pushed to, the whole call runs again
//! for that key, behind the command, transaction or script that pushed. Inside one of those a call
//! that finds nothing answers as if its time were over.

use stdx::Millis;
use wire::{Args, Reply};

use super::List;
use super::chunk::End;
use super::ends::{bound, pop_many, popped};
use crate::blocking::{deadline, first_with, wait};
use crate::context::{Context, notify};
use crate::reject::Reject;
use crate::types::numbered::ManyPop;

/// `LEFT` or `RIGHT`.
fn end(word: &[u8]) -> Result<End, Reject> {
    if word.eq_ignore_ascii_case(b"left") {
        Ok(End::Left)
    } else if word.eq_ignore_ascii_case(b"right") {
        Ok(End::Right)
    } else {
        Err(Reject::Syntax)
    }
}

/// From which end to which.
#[derive(Clone, Copy)]
struct Way {
    from: End,
    to: End,
}

impl Way {
    fn parse(args: Args<'_>) -> Result<Way, Reject> {
        Ok(Way { from: end(&args[3])?, to: end(&args[4])? })
    }

    const RIGHT_TO_LEFT: Way = Way { from: End::Right, to: End::Left };
}

pub(super) fn lmove(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let way = Way::parse(args)?;
    move_or_null(cx, args, reply, way)
}

pub(super) fn rpoplpush(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    move_or_null(cx, args, reply, Way::RIGHT_TO_LEFT)
}

fn move_or_null(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    way: Way,
) -> Result<(), Reject> {
    if cx.read::<List>(&args[1])?.is_none() {
        reply.null();
        return Ok(());
    }
    move_one(cx, args, reply, way)
}

/// Moves an element of the list at the first key, which is there.
fn move_one(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    way: Way,
) -> Result<(), Reject> {
    let (source, target) = (args.at(1), args.at(2));
    let bound = bound(cx);
    // Nothing is taken if it cannot be put.
    cx.read::<List>(target)?;
    let list = cx.modify::<List>(source)?.expect("the caller has seen a list");
    let element = list.pop(way.from).expect("a list at a key is not empty");
    // If both are the same it is not empty for long: the element comes back to the same list.
    let list = cx.modify_or_new::<List>(target)?;
    list.push(way.to, &element, bound);
    cx.touch(target);
    cx.notify(notify::LIST, way.to.push_event(), target);
    reply.bulk(&element);
    let left = cx.read::<List>(source)?.map_or(0, List::len);
    popped(cx, source, way.from, left);
    Ok(())
}

pub(super) fn blmove(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let way = Way::parse(args)?;
    let deadline = deadline(cx, &args[5])?;
    move_or_wait(cx, args, reply, way, deadline)
}

pub(super) fn brpoplpush(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let deadline = deadline(cx, &args[3])?;
    move_or_wait(cx, args, reply, Way::RIGHT_TO_LEFT, deadline)
}

fn move_or_wait(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    way: Way,
    deadline: Millis,
) -> Result<(), Reject> {
    let source = std::iter::once(args.at(1));
    if first_with::<List>(cx, source.clone())?.is_some() {
        return move_one(cx, args, reply, way);
    }
    if !wait(cx, args, source, deadline) {
        reply.null();
    }
    Ok(())
}

pub(super) fn blpop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    pop_or_wait(cx, args, reply, End::Left)
}

pub(super) fn brpop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    pop_or_wait(cx, args, reply, End::Right)
}

fn pop_or_wait(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), Reject> {
    let last = args.len() - 1;
    let deadline = deadline(cx, &args[last])?;
    let keys = || args.iter().take(last).skip(1);
    let Some(key) = first_with::<List>(cx, keys())? else {
        if !wait(cx, args, keys(), deadline) {
            reply.null_array();
        }
        return Ok(());
    };
    let list = cx.modify::<List>(key)?.expect("a list was just seen at this key");
    reply.array(2);
    reply.bulk(key);
    list.peek(end).expect("a list at a key is not empty").reply(reply);
    list.drop_at(end, 1);
    let left = list.len();
    popped(cx, key, end, left);
    Ok(())
}

/// Pops from the first key that has a list. False if none has.
fn pop_of_first(
    many: &ManyPop<'_, End>,
    cx: &mut Context<'_>,
    reply: &mut Reply<'_>,
) -> Result<bool, Reject> {
    let Some(key) = first_with::<List>(cx, many.keys())? else { return Ok(false) };
    let list = cx.modify::<List>(key)?.expect("a list was just seen at this key");
    reply.array(2);
    reply.bulk(key);
    pop_many(list, many.end, many.count, reply);
    let left = list.len();
    popped(cx, key, many.end, left);
    Ok(true)
}

pub(super) fn lmpop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    if !pop_of_first(&ManyPop::parse(args, 1, end)?, cx, reply)? {
        reply.null_array();
    }
    Ok(())
}

pub(super) fn blmpop(
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

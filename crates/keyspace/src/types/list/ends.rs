//! Pushing and popping at the ends of a list.

use wire::{Args, Reply};

use super::List;
use super::chunk::{Bound, End};
use crate::context::{Context, notify};
use crate::number::at_least;
use crate::reject::Reject;

impl End {
    /// The event of a push at this end.
    pub(super) fn push_event(self) -> &'static str {
        match self {
            End::Left => "lpush",
            End::Right => "rpush",
        }
    }

    /// The event of a pop at this end.
    pub(super) fn pop_event(self) -> &'static str {
        match self {
            End::Left => "lpop",
            End::Right => "rpop",
        }
    }
}

pub(super) fn lpush(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    push(cx, args, reply, End::Left)
}

pub(super) fn rpush(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    push(cx, args, reply, End::Right)
}

pub(super) fn lpushx(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    push_existing(cx, args, reply, End::Left)
}

pub(super) fn rpushx(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    push_existing(cx, args, reply, End::Right)
}

fn push_existing(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), Reject> {
    if cx.read::<List>(&args[1])?.is_none() {
        reply.int(0);
        return Ok(());
    }
    push(cx, args, reply, end)
}

fn push(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), Reject> {
    let bound = bound(cx);
    let key = args.at(1);
    let len = cx.update_or_new(key, |list: &mut List| {
        args.from(2).iter().for_each(|element| list.push(end, element, bound));
        list.len()
    })?;
    reply.count(len);
    cx.notify(notify::LIST, end.push_event(), key);
    Ok(())
}

/// How large the chunks of a list may be.
pub(super) fn bound(cx: &Context<'_>) -> Bound {
    Bound::of(cx.settings().list_max_listpack_size)
}

pub(super) fn lpop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    pop(cx, args, reply, End::Left)
}

pub(super) fn rpop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    pop(cx, args, reply, End::Right)
}

fn pop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), Reject> {
    if args.len() > 3 {
        let name = if end == End::Left { "lpop" } else { "rpop" };
        return Err(Reject::from(format!("ERR wrong number of arguments for '{name}' command")));
    }
    let key = args.at(1);
    let refusal = "ERR value is out of range, must be positive";
    let count = args.get(2).map(|text| at_least(text, 0, refusal)).transpose()?;
    match (cx.modify::<List>(key)?, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.null_array(),
        (Some(_), Some(0)) => reply.array(0),
        (Some(list), None) => {
            list.peek(end).expect("a list at a key is not empty").reply(reply);
            list.drop_at(end, 1);
            let left = list.len();
            popped(cx, key, end, left);
        }
        (Some(list), Some(count)) => {
            pop_many(list, end, count, reply);
            let left = list.len();
            popped(cx, key, end, left);
        }
    }
    Ok(())
}

/// Pops up to `count` elements into an array, in the order in which they leave.
pub(super) fn pop_many(list: &mut List, end: End, count: usize, reply: &mut Reply<'_>) {
    let count = count.min(list.len());
    reply.array(count);
    match end {
        End::Left => list.iter().take(count).for_each(|element| element.reply(reply)),
        End::Right => list.iter().rev().take(count).for_each(|element| element.reply(reply)),
    }
    list.drop_at(end, count);
}

/// What follows from a pop that left so many elements: events, and no list if it is empty.
pub(super) fn popped(cx: &mut Context<'_>, key: &[u8], end: End, left: usize) {
    cx.notify(notify::LIST, end.pop_event(), key);
    shortened(cx, key, left);
}

/// What follows from a removal that left so many elements: an empty list goes.
pub(super) fn shortened(cx: &mut Context<'_>, key: &[u8], left: usize) {
    if left == 0 {
        cx.remove(key);
        cx.notify(notify::GENERIC, "del", key);
    } else {
        cx.touch(key);
    }
}

//! Commands on the members of one set, and SMOVE.

use wire::{Args, Reply};

use super::{Member, Set};
use crate::context::{Context, notify};
use crate::cursor::{Scan, parse_cursor};
use crate::reject::Reject;

pub(super) fn sadd(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let ints_max = cx.settings().set_max_intset_entries;
    let set = cx.modify_or_new::<Set>(&args[1])?;
    let added = args.from(2).iter().filter(|member| set.add(member, ints_max)).count();
    if added > 0 {
        cx.touch(&args[1]);
        cx.notify(notify::SET, "sadd", &args[1]);
    }
    reply.count(added);
    Ok(())
}

pub(super) fn srem(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let Some(set) = cx.modify::<Set>(&args[1])? else {
        reply.int(0);
        return Ok(());
    };
    let removed = args.from(2).iter().filter(|member| set.remove(member)).count();
    let emptied = set.is_empty();
    if removed > 0 {
        shrunk(cx, &args[1], "srem", emptied);
    }
    reply.count(removed);
    Ok(())
}

/// Members were taken out of the set at `key`; an empty one goes.
pub(super) fn shrunk(cx: &mut Context<'_>, key: &[u8], event: &str, emptied: bool) {
    cx.touch(key);
    cx.notify(notify::SET, event, key);
    if emptied {
        cx.remove(key);
        cx.notify(notify::GENERIC, "del", key);
    }
}

pub(super) fn sismember(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let set = cx.read::<Set>(&args[1])?;
    reply.int(i64::from(set.is_some_and(|set| set.contains(&args[2]))));
    Ok(())
}

pub(super) fn smismember(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let set = cx.read::<Set>(&args[1])?;
    reply.array(args.len() - 2);
    for member in args.from(2).iter() {
        reply.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

pub(super) fn scard(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let set = cx.read::<Set>(&args[1])?;
    reply.count(set.map_or(0, Set::len));
    Ok(())
}

pub(super) fn smembers(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let set = cx.read::<Set>(&args[1])?;
    reply.set(set.map_or(0, Set::len));
    set.into_iter().flat_map(Set::iter).for_each(|member| put(reply, member));
    Ok(())
}

/// Writes a member as a bulk string.
pub(super) fn put(reply: &mut Reply<'_>, member: Member<'_>) {
    match member {
        Member::Int(number) => reply.bulk_int(number),
        Member::Text(text) => reply.bulk(text),
    }
}

pub(super) fn smove(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let (source, target, member) = (&args[1], &args[2], &args[3]);
    let ints_max = cx.settings().set_max_intset_entries;
    let Some(set) = cx.get(source) else {
        reply.int(0);
        return Ok(());
    };
    let holds = <Set as crate::value::Typed>::expect(set)?.contains(member);
    cx.read::<Set>(target)?;
    if source == target || !holds {
        reply.int(i64::from(holds));
        return Ok(());
    }
    let Some(set) = cx.modify::<Set>(source)? else { return Ok(()) };
    set.remove(member);
    let emptied = set.is_empty();
    shrunk(cx, source, "srem", emptied);
    if cx.modify_or_new::<Set>(target)?.add(member, ints_max) {
        cx.touch(target);
        cx.notify(notify::SET, "sadd", target);
    }
    reply.int(1);
    Ok(())
}

pub(super) fn sscan(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let cursor = parse_cursor(&args[2])?;
    let Some(set) = cx.read::<Set>(&args[1])? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let scan = Scan::parse(args, 3)?;
    let mut found = Vec::new();
    let (mut shown, mut buffer) = (0, itoa::Buffer::new());
    let mut inner = Reply::new(&mut found, reply.proto());
    let next = set.scan(cursor, scan.count, |member| {
        if scan.wants(member.text(&mut buffer)) {
            put(&mut inner, member);
            shown += 1;
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(shown);
    reply.raw(&found);
    Ok(())
}

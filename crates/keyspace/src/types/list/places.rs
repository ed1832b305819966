//! Looking at, and changing, what stands between the ends of a list.

use wire::{Args, Reply};

use super::List;
use super::chunk::End;
use super::ends::{bound, shortened};
use crate::context::{Context, notify};
use crate::number::{at_least, integer};
use crate::reject::Reject;
use crate::types::packed::Blob;

/// The place that a signed index means: negative ones count from the right end.
fn place(index: i64, len: usize) -> Option<usize> {
    let place = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(place).ok().filter(|place| *place < len)
}

/// The places that two signed indexes span, both included: the first and how many.
fn span(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let from_left = |index: i64| if index < 0 { index + len as i64 } else { index };
    let start = from_left(start).max(0) as usize;
    // Behind the last; nothing is before the first place.
    let stop = (from_left(stop).max(-1).saturating_add(1) as usize).min(len);
    (start, stop.saturating_sub(start))
}

pub(super) fn llen(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply.count(cx.read::<List>(&args[1])?.map_or(0, List::len));
    Ok(())
}

pub(super) fn lrange(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let (start, stop) = (integer(&args[2])?, integer(&args[3])?);
    let Some(list) = cx.read::<List>(&args[1])? else {
        reply.array(0);
        return Ok(());
    };
    let (start, count) = span(start, stop, list.len());
    reply.array(count);
    list.iter_from(start).take(count).for_each(|element| element.reply(reply));
    Ok(())
}

pub(super) fn lindex(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let Some(list) = cx.read::<List>(&args[1])? else {
        reply.null();
        return Ok(());
    };
    let index = integer(&args[2])?;
    match place(index, list.len()).and_then(|place| list.get(place)) {
        Some(element) => element.reply(reply),
        None => reply.null(),
    }
    Ok(())
}

pub(super) fn lset(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let (bound, key) = (bound(cx), args.at(1));
    let list = cx.modify::<List>(key)?.ok_or(Reject::NoKey)?;
    let index = integer(&args[2])?;
    let place = place(index, list.len()).ok_or(Reject::IndexOutOfRange)?;
    list.set(place, &args[3], bound);
    cx.touch(key);
    cx.notify(notify::LIST, "lset", key);
    reply.ok();
    Ok(())
}

pub(super) fn linsert(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let behind = if args.is(2, "after") {
        1
    } else if args.is(2, "before") {
        0
    } else {
        return Err(Reject::Syntax);
    };
    let (bound, key) = (bound(cx), args.at(1));
    let Some(list) = cx.modify::<List>(key)? else {
        reply.int(0);
        return Ok(());
    };
    let pivot = Blob::of(args.at(3));
    let Some(place) = list.iter().position(|element| element.same(&pivot)) else {
        reply.int(-1);
        return Ok(());
    };
    list.insert(place + behind, &args[4], bound);
    reply.count(list.len());
    cx.touch(key);
    cx.notify(notify::LIST, "linsert", key);
    Ok(())
}

pub(super) fn lrem(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let (count, key) = (integer(&args[2])?, args.at(1));
    let Some(list) = cx.modify::<List>(key)? else {
        reply.int(0);
        return Ok(());
    };
    let (most, from) = match count {
        0 => (usize::MAX, End::Left),
        1.. => (count as usize, End::Left),
        _ => (count.unsigned_abs() as usize, End::Right),
    };
    let removed = list.remove_equal(&args[3], most, from);
    let left = list.len();
    if removed > 0 {
        cx.notify(notify::LIST, "lrem", key);
        shortened(cx, key, left);
    }
    reply.count(removed);
    Ok(())
}

pub(super) fn ltrim(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let (start, stop, key) = (integer(&args[2])?, integer(&args[3])?, args.at(1));
    if let Some(list) = cx.modify::<List>(key)? {
        let (start, count) = span(start, stop, list.len());
        if count == 0 {
            list.drop_at(End::Left, usize::MAX);
        } else {
            list.drop_at(End::Right, list.len() - start - count);
            list.drop_at(End::Left, start);
        }
        let left = list.len();
        cx.notify(notify::LIST, "ltrim", key);
        shortened(cx, key, left);
    }
    reply.ok();
    Ok(())
}

/// What LPOS looks for.
struct Search {
    /// The first match that counts, from 1.
    rank: u64,
    from: End,
    /// How many matches are returned at most; 0 for all. Without it a single one.
    count: Option<usize>,
    /// How many elements are looked at.
    depth: usize,
}

impl Search {
    fn parse(args: Args<'_>) -> Result<Search, Reject> {
        let mut search = Search { rank: 1, from: End::Left, count: None, depth: usize::MAX };
        let mut at = 3;
        while at < args.len() {
            let value = args.get(at + 1).ok_or(Reject::Syntax)?;
            if args.is(at, "rank") {
                let rank = integer(value)?;
                if rank == 0 {
                    return Err(Reject::text(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the \
                         second ... or use negative to start from the end of the list",
                    ));
                }
                search.rank = rank.unsigned_abs();
                search.from = if rank < 0 { End::Right } else { End::Left };
            } else if args.is(at, "count") {
                search.count = Some(at_least(value, 0, "ERR COUNT can't be negative")?);
            } else if args.is(at, "maxlen") {
                let depth = at_least(value, 0, "ERR MAXLEN can't be negative")?;
                search.depth = if depth == 0 { usize::MAX } else { depth };
            } else {
                return Err(Reject::Syntax);
            }
            at += 2;
        }
        Ok(search)
    }

    /// Calls `found` with the place of each match that counts.
    fn run(&self, list: &List, needle: &[u8], found: impl FnMut(usize)) {
        let (needle, last) = (Blob::of(needle), list.len() - 1);
        let most = match self.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count,
        };
        let skip = usize::try_from(self.rank - 1).unwrap_or(usize::MAX);
        let matches = |(_, element): &(usize, Blob<'_>)| element.same(&needle);
        let elements = list.iter();
        match self.from {
            End::Left => elements
                .enumerate()
                .take(self.depth)
                .filter(matches)
                .map(|(place, _)| place)
                .skip(skip)
                .take(most)
                .for_each(found),
            End::Right => elements
                .rev()
                .enumerate()
                .take(self.depth)
                .filter(matches)
                .map(|(place, _)| last - place)
                .skip(skip)
                .take(most)
                .for_each(found),
        }
    }
}

pub(super) fn lpos(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let search = Search::parse(args)?;
    let Some(list) = cx.read::<List>(&args[1])? else {
        match search.count {
            Some(_) => reply.array(0),
            None => reply.null(),
        }
        return Ok(());
    };
    if search.count.is_some() {
        let (place, mut matches) = (reply.defer(), 0);
        search.run(list, &args[2], |index| {
            reply.count(index);
            matches += 1;
        });
        reply.fill_array(place, matches);
        return Ok(());
    }
    let mut found = None;
    search.run(list, &args[2], |index| found = Some(index));
    match found {
        Some(index) => reply.count(index),
        None => reply.null(),
    }
    Ok(())
}

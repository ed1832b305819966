//! What looks at streams: XLEN, XRANGE, XREVRANGE, and XREAD, which may wait.

use stdx::Millis;
use wire::{Args, ArgsBuf, Reply};

use super::Stream;
use super::id::Id;
use super::log::Texts;
use crate::context::{Context, OnTimeout, Scope};
use crate::number::{integer, parse_i64};
use crate::receipt;
use crate::reject::Reject;
use crate::value::Typed;

/// Entries that a call that waited gets of a stream, where it gave no COUNT.
const WAITED_COUNT_DEFAULT: usize = 1_000;

fn put_entry(reply: &mut Reply<'_>, (id, texts): (Id, Texts<'_>)) {
    reply.array(2);
    reply.bulk(id.to_string().as_bytes());
    reply.array(texts.len());
    texts.for_each(|text| reply.bulk(text));
}

fn put_entries<'a>(reply: &mut Reply<'_>, entries: impl Iterator<Item = (Id, Texts<'a>)>) {
    let place = reply.defer();
    let mut count = 0;
    for entry in entries {
        put_entry(reply, entry);
        count += 1;
    }
    reply.fill_array(place, count);
}

/// A number of entries: zero if it is negative.
fn parse_count(text: &[u8]) -> Result<usize, Reject> {
    Ok(usize::try_from(integer(text)?.max(0)).unwrap_or(usize::MAX))
}

pub(super) fn xlen(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply.count(cx.read::<Stream>(&args[1])?.map_or(0, Stream::len));
    Ok(())
}

fn range(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    reverse: bool,
) -> Result<(), Reject> {
    let (start, stop) = if reverse { (3, 2) } else { (2, 3) };
    let ids = Id::parse_start(&args[start])?..=Id::parse_stop(&args[stop])?;
    let (mut count, mut at) = (usize::MAX, 4);
    while at < args.len() {
        if at + 1 >= args.len() || !args.is(at, "count") {
            return Err(Reject::Syntax);
        }
        count = parse_count(&args[at + 1])?;
        at += 2;
    }
    match cx.read::<Stream>(&args[1])? {
        None => reply.array(0),
        Some(_) if count == 0 => reply.null_array(),
        Some(stream) if reverse => put_entries(reply, stream.range(ids).rev().take(count)),
        Some(stream) => put_entries(reply, stream.range(ids).take(count)),
    }
    Ok(())
}

pub(super) fn xrange(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    range(cx, args, reply, false)
}

pub(super) fn xrevrange(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    range(cx, args, reply, true)
}

/// `[COUNT n] [BLOCK ms] STREAMS key … id …`.
#[derive(Clone, Copy, Debug)]
struct Query {
    /// No limit if it is zero.
    count: usize,
    /// Until when it may wait.
    deadline: Option<Millis>,
    /// Where the keys begin, and how many there are.
    first: usize,
    keys: usize,
}

impl Query {
    fn parse(cx: &Context<'_>, args: Args<'_>) -> Result<Query, Reject> {
        let (mut count, mut deadline, mut at) = (0, None, 1);
        while at < args.len() {
            let has_more = at + 1 < args.len();
            if has_more && args.is(at, "block") {
                if cx.scope == Scope::Script {
                    let name = String::from_utf8_lossy(&args[0]).into_owned();
                    let why = "command is not allowed with BLOCK option from scripts";
                    return Err(Reject::from(format!("ERR {name} {why}")));
                }
                deadline = Some(parse_block(cx, &args[at + 1])?);
            } else if has_more && args.is(at, "count") {
                count = parse_count(&args[at + 1])?;
            } else if has_more && args.is(at, "streams") {
                let (first, rest) = (at + 1, args.len() - at - 1);
                if rest % 2 == 1 {
                    return Err(Reject::text(
                        "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' \
                         must be specified.",
                    ));
                }
                return Ok(Query { count, deadline, first, keys: rest / 2 });
            } else if args.is(at, "group") && at + 2 < args.len() || args.is(at, "noack") {
                let option = if args.is(at, "noack") { "NOACK" } else { "GROUP" };
                return Err(Reject::from(format!(
                    "ERR The {option} option is only supported by XREADGROUP. You called XREAD \
                     instead."
                )));
            } else {
                return Err(Reject::Syntax);
            }
            at += 2;
        }
        Err(Reject::Syntax)
    }

    fn key<'a>(&self, args: Args<'a>, at: usize) -> &'a [u8] {
        args.at(self.first + at)
    }

    /// The id behind which key number `at` is read.
    fn after(&self, cx: &mut Context<'_>, args: Args<'_>, at: usize) -> Result<Id, Reject> {
        // In a retry another key may hold another type by then: it is not looked at.
        let stream = match cx.scope {
            Scope::Retry => None,
            _ => cx.read::<Stream>(self.key(args, at))?,
        };
        match args.at(self.first + self.keys + at) {
            b"$" => Ok(stream.map(Stream::last).unwrap_or_default()),
            b">" => Err(Reject::text(
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP \
                 <group> <consumer> option.",
            )),
            text => Id::parse(text),
        }
    }

    /// The call with its ids as they are at this moment.
    fn frozen(&self, args: Args<'_>, after: &[Id]) -> ArgsBuf {
        let mut frozen: ArgsBuf = args.range(0, self.first + self.keys).iter().collect();
        after.iter().for_each(|id| frozen.push(id.to_string().as_bytes()));
        frozen
    }
}

fn parse_block(cx: &Context<'_>, text: &[u8]) -> Result<Millis, Reject> {
    let number = parse_i64(text);
    let number = number.ok_or(Reject::text("ERR timeout is not an integer or out of range"))?;
    match u64::try_from(number) {
        Err(_) => Err(Reject::text("ERR timeout is negative")),
        Ok(0) => Ok(Millis::FAR),
        Ok(millis) => Ok(Millis(cx.now().0.saturating_add(millis))),
    }
}

pub(super) fn xread(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let query = Query::parse(cx, args)?;
    let after: Result<Vec<Id>, Reject> =
        (0..query.keys).map(|at| query.after(cx, args, at)).collect();
    let after = after?;
    let (ready, retry) = (cx.ready_key, cx.scope == Scope::Retry);
    let count = match query.count {
        0 if retry => WAITED_COUNT_DEFAULT,
        0 => usize::MAX,
        count => count,
    };
    let mark = reply.mark();
    let place = reply.defer();
    let mut served = 0;
    for (at, after) in after.iter().enumerate() {
        let key = query.key(args, at);
        if retry && ready != Some(key) {
            continue;
        }
        let stream = match cx.get(key).map(Stream::of) {
            Some(Some(stream)) => stream,
            // Who waits for a stream goes on waiting if there is something else now.
            Some(None) if !retry => return Err(Reject::WrongType),
            Some(None) | None => continue,
        };
        let Some(start) = after.next().filter(|id| stream.top().is_some_and(|top| *id <= top))
        else {
            continue;
        };
        if !reply.is_resp3() {
            reply.array(2);
        }
        reply.bulk(key);
        put_entries(reply, stream.range(start..=Id::MAX).take(count));
        served += 1;
    }
    if served > 0 {
        match reply.is_resp3() {
            true => reply.fill_map(place, served),
            false => reply.fill_array(place, served),
        }
        return Ok(());
    }
    reply.rewind(mark);
    match query.deadline {
        Some(deadline) if cx.may_block() => {
            let keys = args.range(query.first, query.first + query.keys);
            let keys = keys.iter().map(<[u8]>::to_vec).collect();
            cx.block(query.frozen(args, &after), keys, deadline, OnTimeout::NullArray);
        }
        _ => reply.null_array(),
    }
    Ok(())
}

/// Where the keys of XREAD are; nowhere if its options make no sense.
pub(super) fn xread_keys(args: Args<'_>) -> Vec<usize> {
    match options(args).last() {
        Some(at) if args.is(at, "streams") => {
            (at + 1..at + 1 + (args.len() - at - 1) / 2).collect()
        }
        _ => Vec::new(),
    }
}

/// Where the timeout of XREAD is, if it has one; the last of several.
pub(crate) fn xread_timeout(args: Args<'_>) -> Option<usize> {
    options(args).filter(|at| args.is(*at, "block")).last().map(|at| at + 1)
}

/// Where the options of XREAD stand, up to STREAMS or to something that is none.
fn options(args: Args<'_>) -> impl Iterator<Item = usize> {
    let has_more = move |at: usize| args.is(at, "block") || args.is(at, "count");
    let next = move |at: &usize| has_more(*at).then_some(at + 2);
    std::iter::successors(Some(1), next).take_while(move |at| *at < args.len())
}

/// A call of XREAD, wrapped or not, with the id that is the last now in place of each `$`.
pub(crate) fn xread_frozen<'a>(
    args: Args<'_>,
    stream: impl Fn(&[u8]) -> Option<&'a Stream>,
) -> ArgsBuf {
    let keys = xread_keys(receipt::bare(args)).len();
    // Its ids are the last words, and its keys those before.
    let ids = args.len() - keys;
    let mut frozen: ArgsBuf = args.range(0, ids).iter().collect();
    for at in ids..args.len() {
        match args.at(at) {
            b"$" => {
                let last = stream(args.at(at - keys)).map(Stream::last).unwrap_or_default();
                frozen.push(last.to_string().as_bytes());
            }
            id => frozen.push(id),
        }
    }
    frozen
}

//! What changes a stream: XADD, XDEL, XTRIM, XSETID.

use wire::{Args, Reply};

use super::Stream;
use super::id::Id;
use crate::context::{Context, notify};
use crate::number::integer;
use crate::reject::Reject;

/// Entries that `~` removes at most, where no LIMIT is given: a hundred of Redis's nodes.
const LIMIT_DEFAULT: u64 = 10_000;

const TWO_STRATEGIES: Reject =
    Reject::text("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");

/// How a stream is cut.
#[derive(Clone, Copy, Debug)]
enum Strategy {
    MaxLen(u64),
    MinId(Id),
}

/// Cuts at its old end.
#[derive(Clone, Copy, Debug)]
struct Trim {
    strategy: Strategy,
    /// Entries that are removed at most.
    limit: u64,
}

impl Trim {
    fn run(self, stream: &mut Stream) -> u64 {
        match self.strategy {
            Strategy::MaxLen(max) => stream.trim(self.limit, |_, len| len as u64 > max),
            Strategy::MinId(min) => stream.trim(self.limit, |first, _| first < min),
        }
    }
}

/// `[NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]]`, as far as it goes.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    strategy: Option<Strategy>,
    approximate: bool,
    limit: Option<u64>,
    no_new_stream: bool,
    /// Where the first argument that is no option stands.
    end: usize,
}

impl Options {
    fn parse(args: Args<'_>, is_add: bool) -> Result<Options, Reject> {
        let mut options = Options { end: 2, ..Options::default() };
        while options.end < args.len() {
            let (at, has_more) = (options.end, options.end + 1 < args.len());
            if has_more && args.is(at, "maxlen") {
                let value = options.threshold(args)?;
                let max = not_negative(value, "ERR The MAXLEN argument must be >= 0.")?;
                options.strategy = Some(Strategy::MaxLen(max));
            } else if has_more && args.is(at, "minid") {
                let value = options.threshold(args)?;
                options.strategy = Some(Strategy::MinId(Id::parse(value)?));
            } else if has_more && args.is(at, "limit") {
                let limit = not_negative(&args[at + 1], "ERR The LIMIT argument must be >= 0.")?;
                options.limit = Some(limit);
                options.end += 2;
            } else if is_add && args.is(at, "nomkstream") {
                options.no_new_stream = true;
                options.end += 1;
            } else if is_add {
                break;
            } else {
                return Err(Reject::Syntax);
            }
        }
        Ok(options)
    }

    /// The value behind MAXLEN or MINID, and behind `=` or `~`.
    fn threshold<'a>(&mut self, args: Args<'a>) -> Result<&'a [u8], Reject> {
        if self.strategy.is_some() {
            return Err(TWO_STRATEGIES);
        }
        let mut at = self.end + 1;
        self.approximate = args.is(at, "~");
        if at + 1 < args.len() && (self.approximate || args.is(at, "=")) {
            at += 1;
        }
        self.end = at + 1;
        Ok(args.at(at))
    }

    fn trim(&self, is_add: bool) -> Result<Option<Trim>, Reject> {
        let refused = |why| Err(Reject::text(why));
        if self.strategy.is_none() && self.limit.is_some_and(|limit| limit > 0) {
            return refused(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            );
        }
        if self.strategy.is_none() && !is_add {
            return refused("ERR syntax error, XTRIM must be called with a trimming strategy");
        }
        if self.limit.is_some() && !self.approximate {
            return refused("ERR syntax error, LIMIT cannot be used without the special ~ option");
        }
        let Some(strategy) = self.strategy else { return Ok(None) };
        let limit = match (self.approximate, self.limit) {
            (false, _) | (true, Some(0)) => u64::MAX,
            (true, limit) => limit.unwrap_or(LIMIT_DEFAULT),
        };
        Ok(Some(Trim { strategy, limit }))
    }
}

fn not_negative(text: &[u8], otherwise: &'static str) -> Result<u64, Reject> {
    u64::try_from(integer(text)?).map_err(|_| Reject::text(otherwise))
}

/// The id that XADD asks for: any (`*`), any of a time (`ms-*`), or exactly one.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Any,
    Of(u64),
    Exactly(Id),
}

impl Wanted {
    fn parse(text: &[u8]) -> Result<Wanted, Reject> {
        if text == b"*" {
            return Ok(Wanted::Any);
        }
        Ok(match Id::parse_new(text)? {
            (ms, None) => Wanted::Of(ms),
            (ms, Some(seq)) => Wanted::Exactly(Id { ms, seq }),
        })
    }

    /// The id behind `last`.
    fn choose(self, last: Id, now: u64) -> Result<Id, Reject> {
        const EXHAUSTED: Reject = Reject::text(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        );
        const NOT_ABOVE: Reject = Reject::text(
            "ERR The ID specified in XADD is equal or smaller than the target stream top item",
        );
        let next = last.next().ok_or(EXHAUSTED)?;
        let id = match self {
            Wanted::Any if now > last.ms => Id { ms: now, seq: 0 },
            Wanted::Any => next,
            Wanted::Of(ms) if ms == last.ms && next.ms == ms => next,
            Wanted::Of(ms) => Id { ms, seq: 0 },
            Wanted::Exactly(id) => id,
        };
        if id > last { Ok(id) } else { Err(NOT_ABOVE) }
    }
}

pub(super) fn xadd(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    const ARITY: Reject = Reject::text("ERR wrong number of arguments for 'xadd' command");
    let options = Options::parse(args, true)?;
    let wanted = args.get(options.end).map(Wanted::parse).transpose()?;
    let trim = options.trim(true)?;
    let wanted = wanted.ok_or(ARITY)?;
    let texts = args.from(options.end + 1);
    if texts.is_empty() || texts.len() % 2 == 1 {
        return Err(ARITY);
    }
    if matches!(wanted, Wanted::Exactly(Id::MIN)) {
        return Err(Reject::text("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let (key, now) = (&args[1], cx.now().0);
    let last = cx.read::<Stream>(key)?.map(Stream::last);
    if last.is_none() && options.no_new_stream {
        reply.null();
        return Ok(());
    }
    let id = wanted.choose(last.unwrap_or_default(), now)?;
    let trimmed = cx.update_or_new(key, |stream: &mut Stream| {
        stream.add(id, texts.iter());
        trim.map_or(0, |trim| trim.run(stream))
    })?;
    reply.bulk(id.to_string().as_bytes());
    cx.notify(notify::STREAM, "xadd", key);
    if trimmed > 0 {
        cx.notify(notify::STREAM, "xtrim", key);
    }
    Ok(())
}

pub(super) fn xtrim(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let trim = Options::parse(args, false)?.trim(false)?;
    let trim = trim.expect("XTRIM without a strategy was refused");
    let key = &args[1];
    let removed = cx.modify::<Stream>(key)?.map_or(0, |stream| trim.run(stream));
    if removed > 0 {
        cx.touch(key);
        cx.notify(notify::STREAM, "xtrim", key);
    }
    reply.int(removed as i64);
    Ok(())
}

pub(super) fn xdel(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let key = &args[1];
    let mut removed = 0;
    if let Some(stream) = cx.modify::<Stream>(key)? {
        let ids: Result<Vec<Id>, Reject> = args.from(2).iter().map(Id::parse).collect();
        removed = ids?.into_iter().filter(|id| stream.delete(*id)).count();
    }
    if removed > 0 {
        cx.touch(key);
        cx.notify(notify::STREAM, "xdel", key);
    }
    reply.count(removed);
    Ok(())
}

pub(super) fn xsetid(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let last = Id::parse(&args[2])?;
    let (mut added, mut max_deleted, mut at) = (None, Id::MIN, 3);
    while at < args.len() {
        let value = args.get(at + 1).ok_or(Reject::Syntax)?;
        if args.is(at, "entriesadded") {
            added = Some(not_negative(value, "ERR entries_added must be positive")?);
        } else if args.is(at, "maxdeletedid") {
            max_deleted = Id::parse(value)?;
            if last < max_deleted {
                return Err(Reject::text(
                    "ERR The ID specified in XSETID is smaller than the provided \
                     max_deleted_entry_id",
                ));
            }
        } else {
            return Err(Reject::Syntax);
        }
        at += 2;
    }
    let key = &args[1];
    let stream = cx.modify::<Stream>(key)?.ok_or(Reject::NoKey)?;
    if stream.top().is_some_and(|top| last < top) {
        return Err(Reject::text(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if added.is_some_and(|added| added < stream.len() as u64) {
        return Err(Reject::text(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    stream.set_last(last, added, max_deleted);
    cx.touch(key);
    cx.notify(notify::STREAM, "xsetid", key);
    reply.ok();
    Ok(())
}

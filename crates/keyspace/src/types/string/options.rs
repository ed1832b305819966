//! The options that SET and GETEX share: conditions, and when the key expires.
//!
//! SET knows NX, XX, GET and KEEPTTL beside the four times, GETEX knows PERSIST. An option that
//! contradicts an earlier one is a syntax error; the same one again is none, and the last counts.

use stdx::Millis;
use wire::Args;

use crate::number::integer;
use crate::reject::Reject;

/// Which command's grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grammar {
    Set,
    GetEx,
}

/// How a time is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// EX: in so many seconds.
    Seconds,
    /// PX: in so many milliseconds.
    Millis,
    /// EXAT: at this second.
    AtSeconds,
    /// PXAT: at this millisecond.
    AtMillis,
}

impl Unit {
    /// Counted from now?
    fn is_relative(self) -> bool {
        matches!(self, Unit::Seconds | Unit::Millis)
    }
}

/// A time as the client gave it, not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry<'a> {
    pub(super) unit: Unit,
    pub(super) text: &'a [u8],
}

impl Expiry<'_> {
    /// The moment that is meant, for the command of this name.
    pub(super) fn moment(self, now: Millis, command: &str) -> Result<Millis, Reject> {
        let value = integer(self.text)?;
        let invalid = || Reject::from(format!("ERR invalid expire time in '{command}' command"));
        if value <= 0 {
            return Err(invalid());
        }
        let scale = if matches!(self.unit, Unit::Seconds | Unit::AtSeconds) { 1_000 } else { 1 };
        let start = if self.unit.is_relative() { now.0 as i64 } else { 0 };
        let moment = value.checked_mul(scale).and_then(|millis| millis.checked_add(start));
        moment.map(|moment| Millis(moment as u64)).ok_or_else(invalid)
    }

    /// Can it lie in the past?
    pub(super) fn is_absolute(self) -> bool {
        !self.unit.is_relative()
    }
}

/// What the options say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options<'a> {
    /// NX: only if the key is not there.
    pub(super) if_absent: bool,
    /// XX: only if the key is there.
    pub(super) if_present: bool,
    /// GET: reply with what was there.
    pub(super) get: bool,
    /// KEEPTTL: leave the expiry as it is.
    pub(super) keep: bool,
    /// PERSIST: drop the expiry.
    pub(super) persist: bool,
    pub(super) expiry: Option<Expiry<'a>>,
}

impl<'a> Options<'a> {
    /// Reads the options in `args`, which begin after the command's fixed arguments.
    pub(super) fn parse(args: Args<'a>, grammar: Grammar) -> Result<Options<'a>, Reject> {
        let mut options = Options::default();
        let is_set = grammar == Grammar::Set;
        let mut at = 0;
        while at < args.len() {
            let timed = options.expiry.is_some();
            if is_set && args.is(at, "nx") && !options.if_present {
                options.if_absent = true;
            } else if is_set && args.is(at, "xx") && !options.if_absent {
                options.if_present = true;
            } else if is_set && args.is(at, "get") {
                options.get = true;
            } else if is_set && args.is(at, "keepttl") && !timed {
                options.keep = true;
            } else if !is_set && args.is(at, "persist") && !timed {
                options.persist = true;
            } else {
                options.expiry = Some(options.parse_expiry(args, at)?);
                at += 1;
            }
            at += 1;
        }
        Ok(options)
    }

    fn parse_expiry(&self, args: Args<'a>, at: usize) -> Result<Expiry<'a>, Reject> {
        let unit = [
            ("ex", Unit::Seconds),
            ("px", Unit::Millis),
            ("exat", Unit::AtSeconds),
            ("pxat", Unit::AtMillis),
        ]
        .into_iter()
        .find(|(word, _)| args.is(at, word))
        .map(|(_, unit)| unit);
        let (Some(unit), Some(text)) = (unit, args.get(at + 1)) else {
            return Err(Reject::Syntax);
        };
        let other = self.expiry.is_some_and(|earlier| earlier.unit != unit);
        if self.keep || self.persist || other {
            return Err(Reject::Syntax);
        }
        Ok(Expiry { unit, text })
    }
}

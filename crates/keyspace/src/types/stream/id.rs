//! What names an entry: a time in milliseconds, and a number among those of the same time.

use crate::reject::Reject;

/// `1526919030474-55`. Ordered as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) ms: u64,
    pub(super) seq: u64,
}

/// The error for anything that is no id.
const INVALID: Reject = Reject::text("ERR Invalid stream ID specified as stream command argument");

impl Id {
    pub(super) const MIN: Id = Id { ms: 0, seq: 0 };
    pub(super) const MAX: Id = Id { ms: u64::MAX, seq: u64::MAX };

    /// The one right behind it.
    pub(super) fn next(self) -> Option<Id> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The one right before it.
    pub(super) fn previous(self) -> Option<Id> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// `ms` or `ms-seq`.
    pub(super) fn parse(text: &[u8]) -> Result<Id, Reject> {
        let (id, _) = parse(text, 0, false)?;
        Ok(id)
    }

    /// As `parse`; nothing for the number in `ms-*`.
    pub(super) fn parse_new(text: &[u8]) -> Result<(u64, Option<u64>), Reject> {
        let (id, seq_given) = parse(text, 0, true)?;
        Ok((id.ms, seq_given.then_some(id.seq)))
    }

    /// An end of an interval: also `-`, `+`, and with `(` in front the id that comes next to it
    /// on the inside.
    pub(super) fn parse_start(text: &[u8]) -> Result<Id, Reject> {
        let (id, excluded) = parse_end(text, 0)?;
        if !excluded {
            return Ok(id);
        }
        id.next().ok_or(Reject::text("ERR invalid start ID for the interval"))
    }

    /// As `parse_start`, for the other end.
    pub(super) fn parse_stop(text: &[u8]) -> Result<Id, Reject> {
        let (id, excluded) = parse_end(text, u64::MAX)?;
        if !excluded {
            return Ok(id);
        }
        id.previous().ok_or(Reject::text("ERR invalid end ID for the interval"))
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

fn parse_end(text: &[u8], missing_seq: u64) -> Result<(Id, bool), Reject> {
    match text {
        b"-" => Ok((Id::MIN, false)),
        b"+" => Ok((Id::MAX, false)),
        [b'(', rest @ ..] if !rest.is_empty() => Ok((parse(rest, missing_seq, false)?.0, true)),
        _ => Ok((parse(text, missing_seq, false)?.0, false)),
    }
}

/// The id, and whether its number is a number.
fn parse(text: &[u8], missing_seq: u64, star: bool) -> Result<(Id, bool), Reject> {
    let (ms, seq) = match text.iter().position(|byte| *byte == b'-') {
        Some(dash) => (&text[..dash], Some(&text[dash + 1..])),
        None => (text, None),
    };
    let ms = digits(ms).ok_or(INVALID)?;
    match seq {
        None => Ok((Id { ms, seq: missing_seq }, true)),
        Some(b"*") if star => Ok((Id { ms, seq: 0 }, false)),
        Some(seq) => Ok((Id { ms, seq: digits(seq).ok_or(INVALID)? }, true)),
    }
}

/// A number without a sign; zeros in front do no harm.
fn digits(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

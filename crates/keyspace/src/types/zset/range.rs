//! Ranges of scores, of members and of ranks, as their texts say them.

use std::ops::Range;

use crate::double;
use crate::number::integer;
use crate::reject::Reject;

/// From a score to a score; either end may be open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ScoreRange {
    min: f64,
    max: f64,
    min_open: bool,
    max_open: bool,
}

impl ScoreRange {
    /// Reads `1.5`, `(1.5`, `inf` and so on.
    pub(super) fn parse(min: &[u8], max: &[u8]) -> Result<ScoreRange, Reject> {
        match (parse_score(min), parse_score(max)) {
            (Some((min, min_open)), Some((max, max_open))) => {
                Ok(ScoreRange { min, max, min_open, max_open })
            }
            _ => Err(Reject::text("ERR min or max is not a float")),
        }
    }

    /// Is a score before the range?
    pub(super) fn is_below(&self, score: f64) -> bool {
        score < self.min || self.min_open && score == self.min
    }

    /// Is a score behind the range?
    pub(super) fn is_above(&self, score: f64) -> bool {
        score > self.max || self.max_open && score == self.max
    }
}

/// As Redis reads a bound: a C string, in which nothing is zero and white space may come first.
fn parse_score(text: &[u8]) -> Option<(f64, bool)> {
    let text = text.split(|byte| *byte == 0).next()?;
    let (text, open) = match text {
        [b'(', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    let scan = double::scan(text);
    (scan.taken == text.len() && !scan.value.is_nan()).then_some((scan.value, open))
}

/// From a member to a member; either end may be open.
#[derive(Clone, Copy, Debug)]
pub(super) struct LexRange<'a> {
    min: LexBound<'a>,
    max: LexBound<'a>,
    min_open: bool,
    max_open: bool,
}

/// An end of a range of members.
#[derive(Clone, Copy, Debug)]
enum LexBound<'a> {
    /// Before all members.
    First,
    Member(&'a [u8]),
    /// Behind all members.
    Last,
}

impl<'a> LexRange<'a> {
    /// Reads `[a`, `(a`, `-` and `+`.
    pub(super) fn parse(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, Reject> {
        match (parse_bound(min), parse_bound(max)) {
            (Some((min, min_open)), Some((max, max_open))) => {
                Ok(LexRange { min, max, min_open, max_open })
            }
            _ => Err(Reject::text("ERR min or max not valid string range item")),
        }
    }

    /// Is a member before the range?
    pub(super) fn is_below(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::First => false,
            LexBound::Member(min) => member < min || self.min_open && member == min,
            LexBound::Last => true,
        }
    }

    /// Is a member behind the range?
    pub(super) fn is_above(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::First => true,
            LexBound::Member(max) => member > max || self.max_open && member == max,
            LexBound::Last => false,
        }
    }
}

fn parse_bound(text: &[u8]) -> Option<(LexBound<'_>, bool)> {
    match text {
        [b'-'] | [b'-', 0, ..] => Some((LexBound::First, true)),
        [b'+'] | [b'+', 0, ..] => Some((LexBound::Last, true)),
        [b'(', member @ ..] => Some((LexBound::Member(member), true)),
        [b'[', member @ ..] => Some((LexBound::Member(member), false)),
        _ => None,
    }
}

/// From a rank to a rank, both counted from the end if negative.
#[derive(Clone, Copy, Debug)]
pub(super) struct RankRange {
    start: i64,
    end: i64,
}

impl RankRange {
    pub(super) fn parse(start: &[u8], end: &[u8]) -> Result<RankRange, Reject> {
        Ok(RankRange { start: integer(start)?, end: integer(end)? })
    }

    /// The ranks that are among `len`.
    pub(super) fn of(self, len: usize) -> Range<usize> {
        let len = len as i64;
        let resolve = |rank: i64| if rank < 0 { len.saturating_add(rank) } else { rank };
        let start = resolve(self.start).max(0);
        let end = resolve(self.end).min(len - 1);
        if start > end { 0..0 } else { start as usize..end as usize + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::{RankRange, parse_score};

    #[test]
    fn bounds_are_read_as_in_redis() {
        for (text, expect) in [
            ("1.5", Some((1.5, false))),
            ("(1.5", Some((1.5, true))),
            ("", Some((0.0, false))),
            ("(", Some((0.0, true))),
            (" 1", Some((1.0, false))),
            ("1\0x", Some((1.0, false))),
            ("-inf", Some((f64::NEG_INFINITY, false))),
            ("1e400", Some((f64::INFINITY, false))),
            ("nan", None),
            ("1 ", None),
            ("x", None),
            ("((1", None),
            ("  ", None),
        ] {
            assert_eq!(parse_score(text.as_bytes()), expect, "{text:?}");
        }
    }

    #[test]
    fn ranks_are_cut_to_what_there_is() {
        for (start, end, expect) in [
            (0, -1, 0..5),
            (1, 2, 1..3),
            (-2, 100, 3..5),
            (-100, 0, 0..1),
            (3, 2, 0..0),
            (5, 9, 0..0),
            (0, -6, 0..0),
            (i64::MIN, i64::MAX, 0..5),
        ] {
            assert_eq!(RankRange { start, end }.of(5), expect, "{start} {end}");
        }
    }
}

//! When two replies to one call are the same.

use wire::ArgsBuf;
use wire::resp::{Decoder, ReplyLimits, Value};

use crate::grammar::Call;
use crate::rows::{ROWS, Rule};

/// How far two times to live may be apart, in milliseconds: the sequence itself takes a while on
/// one side, and none on the other.
const TIME_APART_MAX: u64 = 30_000;

/// The rule for a call, by its name.
pub(crate) fn rule(call: &Call) -> Rule {
    let args: ArgsBuf = call.iter().map(Vec::as_slice).collect();
    let word =
        |at: usize| String::from_utf8_lossy(args.args().get(at).unwrap_or_default()).to_lowercase();
    let (name, both) = (word(0), format!("{} {}", word(0), word(1)));
    if name.starts_with("sort") {
        return sort_rule(call);
    }
    let row = ROWS.iter().find(|row| row.name == both);
    row.or_else(|| ROWS.iter().find(|row| row.name == name)).map_or(Rule::Exact, |row| row.rule)
}

/// Elements that compare alike stand in no order that Redis would promise: those that BY orders as
/// texts, and all if BY names no pattern.
fn sort_rule(call: &Call) -> Rule {
    let place = |wanted: &[u8]| call.iter().position(|word| word.eq_ignore_ascii_case(wanted));
    let Some(pattern) = place(b"by").and_then(|at| call.get(at + 1)) else { return Rule::Exact };
    match (pattern.contains(&b'*'), place(b"alpha").is_some()) {
        (true, false) => Rule::Exact,
        (true, true) => Rule::Unordered,
        (false, _) => Rule::Shape,
    }
}

pub(crate) fn value(bytes: &[u8]) -> Option<Value> {
    Decoder::new(ReplyLimits::default()).decode(bytes).ok()?.map(|(value, _)| value)
}

/// Are the replies the same under this rule?
pub(crate) fn same(rule: Rule, call: &Call, ours: &[u8], theirs: &[u8]) -> bool {
    let is_error = |bytes: &[u8]| bytes.first() == Some(&b'-');
    if ours == theirs {
        return true;
    }
    if rule == Rule::Exact || is_error(ours) || is_error(theirs) || ours.first() != theirs.first() {
        return false;
    }
    let (Some(ours), Some(theirs)) = (value(ours), value(theirs)) else { return false };
    match rule {
        Rule::Exact => false,
        Rule::Unordered => sorted(&ours, 1) == sorted(&theirs, 1),
        Rule::Deep => deep(&ours) == deep(&theirs),
        Rule::Pairs => sorted(&ours, 2) == sorted(&theirs, 2),
        Rule::Time(unit) => near(&ours, &theirs, unit),
        Rule::Shape => true,
        Rule::Random | Rule::Pop => shape(&ours) == shape(&theirs),
        Rule::Scan => same_walk(call, &ours, &theirs),
    }
}

/// Texts of the elements, or of pairs of them, in order.
fn sorted(value: &Value, size: usize) -> Vec<String> {
    let mut texts: Vec<String> = match value {
        Value::Array(items) | Value::Set(items) => {
            items.chunks(size).map(|chunk| format!("{chunk:?}")).collect()
        }
        Value::Map(pairs) => pairs.iter().map(|pair| format!("{pair:?}")).collect(),
        other => vec![format!("{other:?}")],
    };
    texts.sort();
    texts
}

/// The text of a value whose aggregates are sorted.
fn deep(value: &Value) -> String {
    let mut texts: Vec<String> = match value {
        Value::Array(items) | Value::Set(items) => items.iter().map(deep).collect(),
        Value::Map(pairs) => {
            pairs.iter().map(|(name, value)| format!("{}: {}", deep(name), deep(value))).collect()
        }
        other => return format!("{other:?}"),
    };
    texts.sort();
    format!("{texts:?}")
}

fn near(ours: &Value, theirs: &Value, unit: u64) -> bool {
    let (Value::Int(ours), Value::Int(theirs)) = (ours, theirs) else { return false };
    let apart = ours.abs_diff(*theirs).saturating_mul(unit);
    *ours > 0 && *theirs > 0 && apart <= TIME_APART_MAX
}

/// The value without what the dice chose: kinds and lengths.
fn shape(value: &Value) -> String {
    match value {
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            let inner: Vec<String> = items.iter().map(shape).collect();
            format!("[{}]", inner.join(" "))
        }
        Value::Map(pairs) => format!("map of {}", pairs.len()),
        Value::Null => "null".to_owned(),
        Value::Double(_) => "double".to_owned(),
        Value::Int(number) => format!("{number}"),
        _ => "text".to_owned(),
    }
}

/// A walk that took one call on both sides has found the same; else only the cursors' kind counts.
fn same_walk(call: &Call, ours: &Value, theirs: &Value) -> bool {
    let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs) else { return false };
    let ([our_cursor, our_items], [their_cursor, their_items]) = (&ours[..], &theirs[..]) else {
        return false;
    };
    let end = Value::Bulk(b"0".to_vec());
    let begins = call.iter().take(3).any(|word| word == b"0");
    if !begins || *our_cursor != end || *their_cursor != end {
        return matches!(our_cursor, Value::Bulk(_));
    }
    let is_set = call[0].eq_ignore_ascii_case(b"sscan") || call[0].eq_ignore_ascii_case(b"scan");
    let size = if is_set { 1 } else { 2 };
    sorted(our_items, size) == sorted(their_items, size)
}

/// The elements of a reply to a command of chance; `scored` if each has something behind it.
pub(crate) fn elements(value: &Value, scored: bool) -> Vec<Vec<u8>> {
    let text = |item: &Value| match item {
        Value::Bulk(text) => text.clone(),
        Value::Array(pair) => match pair.first() {
            Some(Value::Bulk(text)) => text.clone(),
            _ => format!("{pair:?}").into_bytes(),
        },
        other => format!("{other:?}").into_bytes(),
    };
    match value {
        Value::Array(items) | Value::Set(items) => {
            let flat = scored && !matches!(items.first(), Some(Value::Array(_)));
            items.iter().step_by(if flat { 2 } else { 1 }).map(text).collect()
        }
        Value::Map(pairs) => pairs.iter().map(|(first, _)| text(first)).collect(),
        Value::Null => Vec::new(),
        other => vec![text(other)],
    }
}

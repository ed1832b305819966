//! SORT and SORT_RO: the elements of a list, set or sorted set in an order of the caller's choice.
//!
//! An element is ordered by itself, or by what stands at the key (or in the field of a hash) that
//! BY's pattern makes of it. GET's patterns say what is returned for it. Numbers are compared as
//! doubles, and equal ones by their element; with ALPHA texts are compared by their bytes, which
//! is the collation of C's locale.
//!
//! Where Redis leaves the order of equal weights to its hash tables, ours is that of the table, so
//! it is the same on every replica.

use std::cmp::Ordering;

use wire::{Args, Reply};

use super::List;
use super::zset::Direction;
use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::{Context, Scope, notify};
use crate::double;
use crate::number::integer;
use crate::reject::Reject;
use crate::str::Str;
use crate::value::Value;

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new(
        "sort",
        -2,
        Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS),
        Keys::Find(sort_keys),
        Run::Write(sort),
    )
    .doc(
        Group::Generic,
        "1.0.0",
        "O(N+M*log(M)) in the elements, of which M are returned",
        "Sorts the elements of a list, set or sorted set, and may store them",
    ),
    Command::new(
        "sort_ro",
        -2,
        Flags::READONLY.and(Flags::MOVABLEKEYS),
        Keys::one(1),
        Run::Read(sort_ro),
    )
    .doc(
        Group::Generic,
        "7.0.0",
        "O(N+M*log(M)) in the elements, of which M are returned",
        "Sorts the elements of a list, set or sorted set",
    ),
];

fn sort(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let query = Query::parse(args, May::Store)?;
    let rows = run(cx, &args[1], &query)?;
    match query.store {
        Some(target) => store(cx, target, &rows, reply),
        None => put(&rows, reply),
    }
    Ok(())
}

fn sort_ro(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let query = Query::parse(args, May::Read)?;
    put(&run(cx, &args[1], &query)?, reply);
    Ok(())
}

/// What to return, in order; nothing for a GET that found nothing.
type Rows = Vec<Option<Str>>;

fn put(rows: &Rows, reply: &mut Reply<'_>) {
    reply.array(rows.len());
    rows.iter().for_each(|row| reply.bulk_or_null(row.as_deref()));
}

fn store(cx: &mut Context<'_>, target: &[u8], rows: &Rows, reply: &mut Reply<'_>) {
    if rows.is_empty() {
        if cx.remove(target).is_some() {
            cx.notify(notify::GENERIC, "del", target);
        }
    } else {
        let list = List::of(rows.iter().map(|row| row.as_deref().unwrap_or(b"")), cx.settings());
        cx.insert(target, Value::List(Box::new(list)));
        cx.notify(notify::LIST, "sortstore", target);
    }
    reply.count(rows.len());
}

#[derive(Clone, Copy, PartialEq)]
enum May {
    Read,
    Store,
}

/// What the elements are ordered by.
#[derive(Clone, Copy)]
enum By<'a> {
    Element,
    Pattern(&'a [u8]),
    /// A pattern without a star: the order in which they stand.
    Nothing,
}

/// A parsed call.
struct Query<'a> {
    by: By<'a>,
    alpha: bool,
    descending: bool,
    offset: usize,
    /// Nothing: all.
    count: Option<usize>,
    get: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
}

impl<'a> Query<'a> {
    fn parse(args: Args<'a>, may: May) -> Result<Query<'a>, Reject> {
        let (by, get) = (By::Element, Vec::new());
        let (alpha, descending, offset, count, store) = (false, false, 0, None, None);
        let mut query = Query { by, alpha, descending, offset, count, get, store };
        let mut at = 2;
        while at < args.len() {
            let operand = args.get(at + 1);
            at += match operand {
                _ if args.is(at, "asc") || args.is(at, "desc") => {
                    query.descending = args.is(at, "desc");
                    1
                }
                _ if args.is(at, "alpha") => {
                    query.alpha = true;
                    1
                }
                Some(offset) if args.is(at, "limit") && at + 2 < args.len() => {
                    query.offset = usize::try_from(integer(offset)?).unwrap_or(0);
                    query.count = usize::try_from(integer(&args[at + 2])?).ok();
                    3
                }
                Some(target) if args.is(at, "store") && may == May::Store => {
                    query.store = Some(target);
                    2
                }
                Some(pattern) if args.is(at, "by") => {
                    // Once there is nothing to order by, a later BY does not change that.
                    let nothing = matches!(query.by, By::Nothing) || !pattern.contains(&b'*');
                    query.by = if nothing { By::Nothing } else { By::Pattern(pattern) };
                    2
                }
                Some(pattern) if args.is(at, "get") => {
                    query.get.push(pattern);
                    2
                }
                _ => return Err(Reject::Syntax),
            };
        }
        Ok(query)
    }
}

/// The positions of the key and, if there is one, of the last STORE's target.
fn sort_keys(args: Args<'_>) -> Vec<usize> {
    let (mut keys, mut at) = (vec![1], 2);
    while at < args.len() {
        if args.is(at, "store") && at + 1 < args.len() {
            keys.truncate(1);
            keys.push(at + 1);
        }
        at += match () {
            () if args.is(at, "limit") => 3,
            () if args.is(at, "get") || args.is(at, "by") || args.is(at, "store") => 2,
            () => 1,
        };
    }
    keys
}

fn run(cx: &mut Context<'_>, key: &[u8], query: &Query<'_>) -> Result<Rows, Reject> {
    let (mut elements, kind) = elements(cx, key)?;
    let (mut by, mut alpha) = (query.by, query.alpha);
    // The order of a set means nothing: what is stored, or seen by a script, has one that does.
    let seen_again = query.store.is_some() || cx.scope == Scope::Script;
    if matches!(by, By::Nothing) && kind == Kind::Unordered && seen_again {
        (by, alpha) = (By::Element, true);
    }
    match (by, alpha) {
        (By::Nothing, _) => {
            if query.descending && kind == Kind::Ordered {
                elements.reverse();
            }
        }
        (By::Element, true) => order(&mut elements, query.descending, Str::cmp),
        (By::Pattern(pattern), true) => {
            let weigh = |element: &Str| look_up(cx, pattern, element);
            elements = order_by(elements, weigh, query.descending, |a, b| a.0.cmp(&b.0));
        }
        (By::Element | By::Pattern(_), false) => {
            elements = order_by_number(cx, elements, by, query.descending)?;
        }
    }
    let count = query.count.unwrap_or(usize::MAX);
    let selected: Vec<Str> = elements.into_iter().skip(query.offset).take(count).collect();
    if query.get.is_empty() {
        return Ok(selected.into_iter().map(Some).collect());
    }
    let mut rows = Vec::with_capacity(selected.len() * query.get.len());
    for element in &selected {
        rows.extend(query.get.iter().map(|pattern| look_up(cx, pattern, element)));
    }
    Ok(rows)
}

/// Does the order in which the elements stand mean anything?
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ordered,
    Unordered,
}

fn elements(cx: &mut Context<'_>, key: &[u8]) -> Result<(Vec<Str>, Kind), Reject> {
    let mut digits = itoa::Buffer::new();
    match cx.get(key) {
        None => Ok((Vec::new(), Kind::Ordered)),
        Some(Value::List(list)) => {
            let elements = list.iter().map(|element| Str::from(element.text(&mut digits)));
            Ok((elements.collect(), Kind::Ordered))
        }
        Some(Value::Set(set)) => {
            let elements = set.iter().map(|element| Str::from(element.text(&mut digits)));
            Ok((elements.collect(), Kind::Unordered))
        }
        Some(Value::Zset(zset)) => {
            let elements = zset.iter(0..zset.len(), Direction::Forward);
            Ok((elements.map(|element| Str::from(element.member)).collect(), Kind::Ordered))
        }
        Some(_) => Err(Reject::WrongType),
    }
}

fn order<T>(rows: &mut [T], descending: bool, compare: impl Fn(&T, &T) -> Ordering) {
    rows.sort_by(|a, b| if descending { compare(b, a) } else { compare(a, b) });
}

/// Orders elements by what `weigh` makes of each.
fn order_by<W>(
    elements: Vec<Str>,
    mut weigh: impl FnMut(&Str) -> W,
    descending: bool,
    compare: impl Fn(&(W, Str), &(W, Str)) -> Ordering,
) -> Vec<Str> {
    let mut weighed: Vec<(W, Str)> =
        elements.into_iter().map(|element| (weigh(&element), element)).collect();
    order(&mut weighed, descending, compare);
    weighed.into_iter().map(|(_, element)| element).collect()
}

fn order_by_number(
    cx: &mut Context<'_>,
    elements: Vec<Str>,
    by: By<'_>,
    descending: bool,
) -> Result<Vec<Str>, Reject> {
    let mut all_numbers = true;
    let weigh = |element: &Str| {
        let weight = match by {
            By::Pattern(pattern) => look_up(cx, pattern, element).map(|text| number(&text)),
            By::Element | By::Nothing => Some(number(element)),
        };
        // What BY does not find weighs nothing; what is no number spoils the whole.
        all_numbers &= weight != Some(None);
        weight.flatten().unwrap_or(0.0)
    };
    let elements = order_by(elements, weigh, descending, |(a, first), (b, second)| {
        let weights = a.partial_cmp(b).expect("no weight is NaN");
        weights.then_with(|| first.cmp(second))
    });
    if !all_numbers {
        return Err(Reject::text("ERR One or more scores can't be converted into double"));
    }
    Ok(elements)
}

/// A number as C's `strtod` reads it, up to a zero byte. The empty text is zero.
fn number(text: &[u8]) -> Option<f64> {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    let scan = double::scan(&text[..end]);
    let whole = scan.taken == end && !scan.out_of_range && !scan.value.is_nan();
    whole.then_some(scan.value)
}

/// What a pattern of BY or GET finds for an element: `#` is the element itself, `key_*` a string,
/// `key_*->field` a field of a hash.
fn look_up(cx: &mut Context<'_>, pattern: &[u8], element: &Str) -> Option<Str> {
    if pattern == b"#" {
        return Some(element.clone());
    }
    let star = pattern.iter().position(|&byte| byte == b'*')?;
    let (prefix, postfix) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = postfix.windows(2).position(|two| two == b"->");
    let (postfix, field) = match arrow {
        Some(at) if at + 2 < postfix.len() => (&postfix[..at], Some(&postfix[at + 2..])),
        _ => (postfix, None),
    };
    let key = [prefix, element, postfix].concat();
    let mut digits = itoa::Buffer::new();
    match (cx.get(&key)?, field) {
        (Value::Hash(hash), Some(field)) => {
            hash.get(field).map(|value| Str::from(value.text(&mut digits)))
        }
        (_, Some(_)) => None,
        (value, None) => value.text(&mut digits).ok().map(Str::from),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    /// A client with lists, sets, weights and hashes.
    fn filled() -> Client {
        let mut client = Client::new();
        for line in [
            "rpush numbers 3 1 10 2",
            "rpush words b a C",
            "sadd members 3 1 2",
            "zadd ranked 3 x 1 y 2 z",
            "mset w_1 30 w_2 20 w_3 10 w_10 0",
            "hset h_1 f one",
            "hset h_2 f two",
        ] {
            assert!(!client.run(line).starts_with('-'), "{line}");
        }
        client
    }

    fn sorted(client: &mut Client, line: &str) -> String {
        let reply = client.run(line);
        let shown = |text: &str| text.replace("$-1", "nil");
        let lines = reply.split("\r\n").filter(|text| !text.is_empty()).map(shown);
        lines.filter(|text| !text.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn elements_come_in_the_order_asked_for() {
        let mut client = filled();
        for (line, expect) in [
            ("sort numbers", "1 2 3 10"),
            ("sort numbers desc", "10 3 2 1"),
            ("sort numbers desc asc", "1 2 3 10"),
            ("sort numbers alpha", "1 10 2 3"),
            ("sort numbers limit 1 2", "2 3"),
            ("sort numbers limit -5 2", "1 2"),
            ("sort numbers limit 1 -1", "2 3 10"),
            ("sort numbers limit 9 1", ""),
            ("sort numbers limit 0 0", ""),
            ("sort numbers by nosort", "3 1 10 2"),
            ("sort numbers by nosort desc limit 0 2", "2 10"),
            ("sort numbers by w_*", "10 3 2 1"),
            ("sort numbers by nosort by w_*", "3 1 10 2"),
            ("sort numbers by w_* get #", "10 3 2 1"),
            ("sort numbers by none_*", "1 10 2 3"),
            ("sort words alpha", "C a b"),
            ("sort words", "-ERR One or more scores can't be converted into double"),
            ("sort members desc", "3 2 1"),
            ("sort ranked by nosort", "y z x"),
            ("sort ranked by nosort desc", "x z y"),
            ("sort ranked by nosort desc limit 1 1", "z"),
            ("sort ranked alpha", "x y z"),
            ("sort_ro numbers desc", "10 3 2 1"),
            ("sort nokey", ""),
            ("sort w_1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("sort_ro numbers store x", "-ERR syntax error"),
            ("sort numbers limit 1", "-ERR syntax error"),
            ("sort numbers limit a b", "-ERR value is not an integer or out of range"),
        ] {
            assert_eq!(sorted(&mut client, line), expect, "{line}");
        }
    }

    #[test]
    fn get_looks_up_strings_and_fields() {
        let mut client = filled();
        client.check(
            "sort members get # get h_*->f get w_* get none",
            "*12\r\n$1\r\n1\r\n$3\r\none\r\n$2\r\n30\r\n$-1\r\n\
             $1\r\n2\r\n$3\r\ntwo\r\n$2\r\n20\r\n$-1\r\n$1\r\n3\r\n$-1\r\n$2\r\n10\r\n$-1\r\n",
        );
        client
            .check("sort members by h_*->f alpha desc", "*3\r\n$1\r\n2\r\n$1\r\n1\r\n$1\r\n3\r\n");
    }

    #[test]
    fn a_result_is_stored_as_a_list_and_an_empty_one_deletes() {
        let mut client = filled();
        client.check_all(&[
            ("sort numbers desc store target", ":4\r\n"),
            ("type target", "+list\r\n"),
            ("lrange target 0 1", "*2\r\n$2\r\n10\r\n$1\r\n3\r\n"),
            ("sort members by nosort store target", ":3\r\n"),
            ("lrange target 0 -1", "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n"),
            ("sort numbers get none_* store target", ":4\r\n"),
            ("lindex target 0", "$0\r\n\r\n"),
            ("sort nokey store target", ":0\r\n"),
            ("exists target", ":0\r\n"),
            (
                "command getkeysandflags sort a store b",
                "*2\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n\
                 *2\r\n$1\r\nb\r\n*2\r\n+OW\r\n+update\r\n",
            ),
            ("command getkeys sort a get store store b store c", "*2\r\n$1\r\na\r\n$1\r\nc\r\n"),
        ]);
    }
}

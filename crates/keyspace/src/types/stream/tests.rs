//! What the stream commands answer.

use wire::ArgsBuf;

use crate::op::Origin;
use crate::testing::{Client, shown};

const INVALID: &str = "-ERR Invalid stream ID specified as stream command argument\r\n";
const TOP: &str =
    "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n";

/// Runs a table, and again with a reload before each line.
#[track_caller]
fn check_both(table: &[(&str, &str)]) {
    for reload in [false, true] {
        let mut client = Client::new();
        for (line, expect) in table {
            client.check(line, expect);
            if reload {
                client.reload();
            }
        }
    }
}

/// Entries with one field `f` each: id and value.
fn entries(entries: &[(&str, &str)]) -> String {
    let one = |(id, value): &(&str, &str)| {
        let (id_len, len) = (id.len(), value.len());
        format!("*2\r\n${id_len}\r\n{id}\r\n*2\r\n$1\r\nf\r\n${len}\r\n{value}\r\n")
    };
    let body: String = entries.iter().map(one).collect();
    format!("*{}\r\n{body}", entries.len())
}

#[test]
fn ids_grow_with_the_clock_of_the_log_or_as_they_are_given() {
    check_both(&[
        ("xadd s * f a", "$9\r\n1000000-0\r\n"),
        ("xadd s * f b", "$9\r\n1000000-1\r\n"),
        ("xadd s 1000000-* f c", "$9\r\n1000000-2\r\n"),
        ("xadd s 1000001 f d", "$9\r\n1000001-0\r\n"),
        ("xadd s * f e", "$9\r\n1000001-1\r\n"),
        ("xadd s 1000001-1 f e", TOP),
        ("xadd s 5-* f e", TOP),
        ("xlen s", ":5\r\n"),
        ("xadd t 0-0 f v", "-ERR The ID specified in XADD must be greater than 0-0\r\n"),
        ("xadd t 0-* f v", "$3\r\n0-1\r\n"),
        ("xadd none nomkstream 1 f v", "$-1\r\n"),
        ("xadd t x f v", INVALID),
        ("xadd t - f v", INVALID),
        ("xadd t * f", "-ERR wrong number of arguments for 'xadd' command\r\n"),
        ("xadd t * f v g", "-ERR wrong number of arguments for 'xadd' command\r\n"),
        ("xadd none nomkstream * f v", "$-1\r\n"),
        ("exists none", ":0\r\n"),
        (
            "xadd t 18446744073709551615-18446744073709551615 f v",
            "$41\r\n18446744073709551615-18446744073709551615\r\n",
        ),
        (
            "xadd t * f v",
            "-ERR The stream has exhausted the last possible ID, unable to add more items\r\n",
        ),
        ("type s", "+stream\r\n"),
        ("object encoding s", "$6\r\nstream\r\n"),
        ("set k v", "+OK\r\n"),
        ("xadd k * f v", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("get s", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("copy s s2", ":1\r\n"),
        ("xlen s2", ":5\r\n"),
    ]);
}

#[test]
fn ranges_are_read_from_both_ends() {
    let start = "-ERR invalid start ID for the interval\r\n";
    check_both(&[
        ("xadd s 1-1 f a", "$3\r\n1-1\r\n"),
        ("xadd s 1-2 f b", "$3\r\n1-2\r\n"),
        ("xadd s 2-0 f c", "$3\r\n2-0\r\n"),
        ("xrange s - +", &entries(&[("1-1", "a"), ("1-2", "b"), ("2-0", "c")])),
        ("xrevrange s + -", &entries(&[("2-0", "c"), ("1-2", "b"), ("1-1", "a")])),
        ("xrange s 1 1", &entries(&[("1-1", "a"), ("1-2", "b")])),
        ("xrange s (1-1 (2-0", &entries(&[("1-2", "b")])),
        ("xrevrange s + - count 1", &entries(&[("2-0", "c")])),
        ("xrange s 2 1", "*0\r\n"),
        ("xrange s - + count 0", "*-1\r\n"),
        ("xrange none - +", "*0\r\n"),
        ("xrange s - + count", "-ERR syntax error\r\n"),
        ("xrange s (18446744073709551615-18446744073709551615 +", start),
        ("xrange s - (0-0", "-ERR invalid end ID for the interval\r\n"),
        ("xrange s (- +", INVALID),
        ("xdel s 1-2 9-9", ":1\r\n"),
        ("xdel s nonsense", INVALID),
        ("xdel none nonsense", ":0\r\n"),
        ("xrange s - +", &entries(&[("1-1", "a"), ("2-0", "c")])),
        ("xdel s 1-1 2-0", ":2\r\n"),
        ("xlen s", ":0\r\n"),
        ("exists s", ":1\r\n"),
        ("xadd s 2-0 f d", TOP),
    ]);
}

#[test]
fn a_stream_is_trimmed_by_length_or_by_id() {
    let both =
        "-ERR syntax error, MAXLEN and MINID options at the same time are not compatible\r\n";
    check_both(&[
        ("xadd s 1 f a", "$3\r\n1-0\r\n"),
        ("xadd s 2 f b", "$3\r\n2-0\r\n"),
        ("xadd s maxlen 2 3 f c", "$3\r\n3-0\r\n"),
        ("xrange s - +", &entries(&[("2-0", "b"), ("3-0", "c")])),
        ("xadd s maxlen ~ 10 4 f d", "$3\r\n4-0\r\n"),
        ("xadd s minid = 3 5 f e", "$3\r\n5-0\r\n"),
        ("xlen s", ":3\r\n"),
        ("xtrim s maxlen ~ 0 limit 1", ":1\r\n"),
        (
            "xtrim s maxlen 0 limit 1",
            "-ERR syntax error, LIMIT cannot be used without the special ~ option\r\n",
        ),
        (
            "xtrim s limit 1",
            "-ERR syntax error, LIMIT cannot be used without specifying a trimming strategy\r\n",
        ),
        ("xtrim s maxlen -1", "-ERR The MAXLEN argument must be >= 0.\r\n"),
        ("xtrim s maxlen 1 minid 1", both),
        ("xtrim s nonsense 1", "-ERR syntax error\r\n"),
        ("xtrim s minid 5", ":1\r\n"),
        ("xtrim none maxlen 0", ":0\r\n"),
        ("xadd s maxlen 0 6 f f", "$3\r\n6-0\r\n"),
        ("xlen s", ":0\r\n"),
        ("xsetid s 9-1", "+OK\r\n"),
        ("xadd s 9-1 f g", TOP),
        ("xsetid none 1", "-ERR no such key\r\n"),
        (
            "xsetid s 1 maxdeletedid 2",
            "-ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id\r\n",
        ),
    ]);
}

#[test]
fn several_streams_are_read_behind_given_ids() {
    let mut client = Client::new();
    client.check("xread streams a b 0 0", "*-1\r\n");
    client.check("xadd a 1 f x", "$3\r\n1-0\r\n");
    client.check("xadd b 2 f y", "$3\r\n2-0\r\n");
    let (a, b) = (entries(&[("1-0", "x")]), entries(&[("2-0", "y")]));
    client
        .check("xread streams a b 0 0", &format!("*2\r\n*2\r\n$1\r\na\r\n{a}*2\r\n$1\r\nb\r\n{b}"));
    client.check("xread count 1 streams a b 1 1-9", &format!("*1\r\n*2\r\n$1\r\nb\r\n{b}"));
    client.check("xread streams a $", "*-1\r\n");
    client.check(
        "xread streams a >",
        "-ERR The > ID can be specified only when calling \
        XREADGROUP using the GROUP <group> <consumer> option.\r\n",
    );
    client.check(
        "xread streams a b 0",
        "-ERR Unbalanced XREAD list of streams: for each stream \
        key an ID or '$' must be specified.\r\n",
    );
    client.check("xread count 1 block 2", "-ERR syntax error\r\n");
    client.proto = wire::Proto::Resp3;
    client.check("xread streams a b 0 2", &format!("%1\r\n$1\r\na\r\n{a}"));
}

#[test]
fn all_who_wait_for_a_stream_get_what_comes() {
    let mut client = Client::new();
    client.check("xadd s 1 f old", "$3\r\n1-0\r\n");
    for number in 1..=3 {
        client.origin = Some(Origin { node: 1, number });
        let line = if number == 3 { "block 5 streams s 7" } else { "block 0 streams t s $ $" };
        client.check(&format!("xread {line}"), "");
    }
    client.origin = None;
    client.reload();
    client.check("lpush t x", ":1\r\n");
    client.check("xadd s 2 f new", "$3\r\n2-0\r\n");
    let expect = format!("*1\r\n*2\r\n$1\r\ns\r\n{}", entries(&[("2-0", "new")]));
    let late = |client: &mut Client| -> Vec<(u64, String)> {
        let late = std::mem::take(&mut client.effects.late);
        late.iter().map(|late| (late.origin.number, shown(&late.reply))).collect()
    };
    assert_eq!(late(&mut client), [(1, expect.clone()), (2, expect)]);
    client.now += 5;
    client.tick();
    assert_eq!(late(&mut client), [(3, "*-1\r\n".to_owned())]);
}

#[test]
fn nobody_waits_inside_a_transaction() {
    let mut client = Client::new();
    client.origin = Some(Origin { node: 1, number: 1 });
    let call: ArgsBuf =
        ["xread", "block", "0", "streams", "s", "$"].map(str::as_bytes).into_iter().collect();
    assert_eq!(client.exec(vec![(0, call)]), "*1\r\n*-1\r\n");
}

//! Histories by hand, good and bad ones, and many by dice.

use super::{Rules, Verdict, check};
use crate::history::{self, History};

/// Checks a history in short: a line for each operation, `process start end calls`, where a call is
/// `verb key arguments > result`, calls are parted by `;`, and an end of `-` is an unknown outcome,
/// one with `x` a failure.
fn verdict(text: &str) -> Verdict {
    check(&read(text), &Rules { states_max: 5_000, ..Rules::default() })
}

fn read(text: &str) -> History {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap();
        let (process, start, end, calls) = (word(), word(), word(), word());
        let call = |call: &str, done: bool| {
            let (ask, result) = call.split_once(" > ").unwrap_or((call, "nil"));
            let result = if done { result } else { "nil" };
            let mut words = ask.split_whitespace();
            let (verb, key) = (words.next().unwrap(), words.next().unwrap());
            let args: Vec<&str> = words.collect();
            format!("[:{verb} \"{key}\" {} {result}]", args.join(" "))
        };
        let all = |done| calls.split("; ").map(|one| call(one, done)).collect::<Vec<_>>().join(" ");
        let event = |kind: &str, at: &str, done| {
            let value = all(done);
            format!("{{:process {process} :type :{kind} :value [{value}] :time {at}000000}}")
        };
        lines.push((start.parse().unwrap(), event("invoke", start, false)));
        if let Some(end) = end.strip_prefix('x') {
            lines.push((end.parse().unwrap(), event("fail", end, false)));
        } else if end != "-" {
            lines.push((end.parse().unwrap(), event("ok", end, true)));
        }
    }
    lines.sort();
    let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    history::read(&lines.join("\n")).unwrap()
}

fn good(text: &str) {
    let verdict = verdict(text);
    assert!(verdict.violations.is_empty(), "{}", verdict.violations[0]);
    assert!(verdict.undecided.is_empty());
}

/// Refused, in this class.
fn bad(class: &str, text: &str) {
    let verdict = verdict(text);
    let classes: Vec<&str> = verdict.violations.iter().map(|one| one.class.as_str()).collect();
    assert!(classes.contains(&class), "{classes:?} for {text}");
}

fn impossible(text: &str) {
    bad("linearizability", text);
}

mod elle;
mod random;

#[test]
fn a_read_sees_the_newest_write_and_no_older_one() {
    good("1 1 2 set r 7 > \"OK\"\n 1 3 6 set r 8 > \"OK\"\n 2 4 5 get r > 7\n 2 7 8 get r > 8");
    impossible("1 1 2 set r 7 > \"OK\"\n 1 3 4 set r 8 > \"OK\"\n 2 5 6 get r > 7");
    impossible("1 1 9 set r 7 > \"OK\"\n 2 2 3 get r > 7\n 2 4 5 get r > nil");
    impossible("1 1 2 set r 7 > \"OK\"\n 1 3 4 get r > nil");
}

#[test]
fn what_never_ended_may_take_effect_late_or_not_at_all_but_once() {
    good("1 1 - set r 7\n 2 2 3 get r > nil");
    good("1 1 - set r 7\n 2 2 3 get r > nil\n 2 4 5 set r 8 > \"OK\"\n 2 6 7 get r > 7");
    impossible("1 1 - set r 7\n 2 2 3 get r > 7\n 2 4 5 set r 8 > \"OK\"\n 2 6 7 get r > 7");
    good("1 1 - incrby n 1\n 2 2 - incrby n 1\n 3 3 4 get n > 2");
    impossible("1 1 - incrby n 1\n 2 2 - incrby n 1\n 3 3 4 get n > 3");
}

#[test]
fn what_failed_has_not_happened() {
    good("1 1 x2 set r 7\n 2 3 4 get r > nil");
    impossible("1 1 x2 set r 7\n 2 3 4 get r > 7");
    bad("G1a", "1 1 x2 append l 7\n 2 3 4 r l > [7]");
    impossible("1 1 x2 lpush q 7\n 2 3 4 lpop q > 7");
}

#[test]
fn registers_look_before_they_write() {
    good("1 1 9 getset r 1 > nil\n 2 2 8 cas r 1 2 > 1\n 3 10 11 cas r 1 3 > 0");
    impossible("1 1 2 getset r 1 > nil\n 2 3 9 cas r 1 2 > 1\n 3 4 8 cas r 1 3 > 1");
    impossible("1 1 2 set r 1 > \"OK\"\n 1 3 4 cas r 1 2 > 0");
    good("1 1 2 set r 1 > \"OK\"\n 1 3 4 del r > 1\n 1 5 6 del r > 0\n 1 7 8 get r > nil");
    impossible("1 1 2 set r 1 > \"OK\"\n 1 3 4 del r > 0");
    // Two that watched the same value cannot both have written.
    let one = "1 1 2 set r 1 > \"OK\"\n 1 3 9 guard r 1 > nil; set r 2 > \"OK\"";
    good(one);
    impossible(&format!("{one}\n 2 4 8 guard r 1 > nil; set r 3 > \"OK\""));
    // Of unknown outcome, it may only have happened where its guard holds.
    good("1 1 - guard r nil; set r 5\n 2 2 3 get r > 5");
    impossible("1 1 - guard r 4; set r 5\n 2 2 3 get r > 5");
}

#[test]
fn counters_count_each_increment_once() {
    good("1 1 4 incrby n 1 > 2\n 2 2 3 incrby n 1 > 1\n 1 5 6 get n > 2");
    impossible("1 1 2 incrby n 1 > 1\n 1 3 4 incrby n 1 > 3");
    impossible("1 1 2 incrby n 1 > 1\n 2 1 3 incrby n 1 > 1");
    impossible("1 1 2 incrby n 5 > 5\n 1 3 4 incrby n -2 > 3\n 2 5 6 get n > 5");
    good("1 1 2 incrby n 5 > 5\n 1 3 4 incrby n -2 > 3\n 2 5 6 get n > 3");
}

#[test]
fn queues_hand_out_each_item_once_and_in_order() {
    let two = "1 1 2 append q 1 > 1\n 1 3 4 append q 2 > 2\n";
    good(&format!("{two} 2 5 8 blpop q 700 > 1\n 3 6 7 lpop q > 2\n 3 9 10 blpop q 700 > nil"));
    good(&format!("{two} 1 5 6 lpush q 3 > 3\n 2 7 8 rpop q > 2\n 2 9 10 r q > [3 1]"));
    impossible(&format!("{two} 2 5 8 blpop q 700 > 1\n 3 6 7 blpop q 700 > 1"));
    impossible(&format!("{two} 2 5 6 lpop q > 2"));
    impossible(&format!("{two} 2 5 6 lpop q > nil"));
    impossible(&format!("{two} 2 5 6 lpop q > 1\n 2 7 8 r q > [1 2]"));
    // A client waited, and was woken by what came.
    good("2 1 9 blpop q 700 > 1\n 1 2 3 append q 1 > 1\n 1 4 5 llen q > 0");
    impossible("2 1 9 blpop q 700 > 1\n 3 1 9 blpop q 700 > 1\n 1 2 3 append q 1 > 1");
}

#[test]
fn sets_hashes_and_sorted_sets_keep_what_was_put() {
    good("1 1 2 sadd s \"a\" > 1\n 1 3 4 sadd s \"a\" > 0\n 1 5 6 smembers s > [\"a\"]");
    impossible("1 1 2 sadd s \"a\" > 1\n 1 3 4 sadd s \"a\" > 1");
    impossible("1 1 2 sadd s \"a\" > 1\n 1 3 4 smembers s > []");
    good("1 1 2 sadd s \"a\" > 1\n 1 3 9 sadd s \"b\" > 1\n 2 4 8 spop s > \"b\"");
    impossible("1 1 2 sadd s \"a\" > 1\n 2 3 4 spop s > \"b\"");
    // Nobody knows which one went, and it went once.
    let three = "1 1 2 sadd s \"a\" > 1\n 1 3 4 sadd s \"b\" > 1\n 2 5 - spop s\n";
    good(&format!("{three} 1 6 7 smembers s > [\"b\"]"));
    good(&format!("{three} 1 6 7 smembers s > [\"a\"]"));
    impossible(&format!("{three} 1 6 7 smembers s > []"));
    let hash = "1 1 2 hset h \"f\" 1 > 1\n 1 3 4 hincrby h \"f\" 2 > 3\n";
    good(&format!("{hash} 1 5 6 hgetall h > [[\"f\" 3]]\n 1 7 8 hdel h \"f\" > 1"));
    impossible(&format!("{hash} 1 5 6 hgetall h > [[\"f\" 1]]"));
    impossible(&format!("{hash} 1 5 6 hset h \"f\" 7 > 1"));
    let sorted =
        "1 1 2 zadd z \"b\" 2 > 1\n 1 3 4 zadd z \"a\" 2 > 1\n 1 5 6 zincrby z \"b\" -1 > 1\n";
    good(&format!(
        "{sorted} 1 7 8 zrange z > [[\"b\" 1] [\"a\" 2]]\n 1 9 10 zpopmin z > [\"b\" 1]"
    ));
    impossible(&format!("{sorted} 1 7 8 zpopmin z > [\"a\" 2]"));
    impossible(&format!("{sorted} 1 7 8 zrem z \"a\" > 1\n 1 9 10 zrange z > [[\"a\" 2]]"));
}

#[test]
fn calls_of_one_operation_take_effect_together() {
    let block = "1 1 4 set a 1 > \"OK\"; set b 1 > \"OK\"\n";
    good(&format!("{block} 2 2 3 get a > 1; get b > 1\n 2 5 6 get a > 1"));
    impossible(&format!("{block} 2 2 3 get a > 1; get b > nil"));
    impossible(&format!("{block} 2 2 3 get a > nil\n 2 5 6 get b > nil"));
    // Money neither comes nor goes.
    let bank = "1 1 2 incrby x -5 > -5; incrby y 5 > 5; append log 1 > 1\n";
    good(&format!("{bank} 2 3 4 get x > -5; get y > 5; llen log > 1"));
    impossible(&format!("{bank} 2 3 4 get x > -5; get y > 0; llen log > 1"));
    impossible(&format!("{bank} 2 3 4 get x > nil; get y > nil; llen log > 0"));
}

#[test]
fn what_expires_is_gone_once_and_within_the_bound() {
    let lease = |reads: &str| {
        let history = read(&format!("1 100 101 setpx k 7 50 > \"OK\"\n {reads}"));
        let millis = std::time::Duration::from_millis;
        let rules = [Rules::default(), Rules::default().with_clock(millis(10), millis(20))];
        let [free, bound] = rules.map(|rules| check(&history, &rules).violations.is_empty());
        (free, bound)
    };
    assert_eq!(lease("2 139 145 get k > 7"), (true, true));
    assert_eq!(lease("2 170 172 get k > 7"), (true, true));
    assert_eq!(lease("2 172 173 get k > 7"), (true, false), "too late");
    assert_eq!(lease("2 130 139 get k > nil"), (true, false), "too early");
    assert_eq!(lease("2 130 140 get k > nil"), (true, true));
    assert_eq!(
        lease("2 141 142 get k > nil\n 2 143 144 get k > 7"),
        (false, false),
        "it came back"
    );
    assert_eq!(lease("2 160 161 incrby k 1 > 1"), (true, true));
    assert_eq!(lease("2 160 161 incrby k 1 > 8\n 2 165 166 get k > nil"), (true, true));
    assert_eq!(lease("2 160 161 set k 9 > \"OK\"\n 2 162 163 get k > nil"), (false, false));
}

#[test]
fn a_search_that_grows_too_large_says_so() {
    let lines: Vec<String> = (0..40).map(|n| format!("{n} {n} - set r {n}")).collect();
    let text = format!("{}\n 90 50 51 get r > 77", lines.join("\n"));
    let verdict = verdict(&text);
    assert_eq!((verdict.violations.len(), verdict.undecided.len()), (0, 1));
}

#[test]
fn whoever_waits_gets_what_comes() {
    let woken = |text: &str| {
        let millis = std::time::Duration::from_millis;
        let verdict = check(&read(text), &Rules::default().with_clock(millis(10), millis(10)));
        verdict.violations.is_empty()
    };
    // It waits from 100 on, for 50 ms at least.
    let wait = "2 100 190 blpop q 50 > nil\n";
    assert!(!woken(&format!("{wait} 1 110 120 append q 7 > 1\n 3 200 201 lpop q > 7")));
    assert!(!woken(&format!("{wait} 1 110 120 append q 7 > 1")));
    assert!(woken(&format!("{wait} 1 110 120 append q 7 > 1\n 3 130 131 lpop q > 7")));
    assert!(woken(&format!("{wait} 1 110 145 append q 7 > 1\n 3 200 201 lpop q > 7")), "too late");
    assert!(woken(&format!("{wait} 1 110 - append q 7\n 3 200 201 lpop q > 7")));
    assert!(woken(&format!("{wait} 1 110 120 append q 7 > 1\n 3 115 - lpop q")));
}

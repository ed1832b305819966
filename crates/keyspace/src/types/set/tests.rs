//! What the set commands answer.

use std::collections::BTreeSet;

use proptest::prelude::*;
use stdx::codec::Reader;

use super::Set;
use crate::testing::Client;

/// What can be done to a set.
#[derive(Clone, Debug)]
enum Step {
    Add(Vec<u8>),
    Remove(Vec<u8>),
    Reload,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (-20..60i64).prop_map(|n| n.to_string().into_bytes()),
        2 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => text().prop_map(Step::Add),
        3 => text().prop_map(Step::Remove),
        1 => Just(Step::Reload),
    ]
}

fn members(set: &Set) -> BTreeSet<Vec<u8>> {
    let mut digits = itoa::Buffer::new();
    set.iter().map(|member| member.text(&mut digits).to_vec()).collect()
}

proptest! {
    #[test]
    fn a_set_is_a_set_of_strings_and_an_intset_only_as_long_as_it_may_be(
        steps in proptest::collection::vec(step(), 0..120),
        ints_max in 0..40u64,
    ) {
        let (mut set, mut model) = (Set::default(), BTreeSet::new());
        for step in steps {
            match step {
                Step::Add(member) => {
                    prop_assert_eq!(set.add(&member, ints_max), model.insert(member));
                }
                Step::Remove(member) => {
                    prop_assert_eq!(set.remove(&member), model.remove(&member));
                }
                Step::Reload => {
                    let (mut bytes, before) = (Vec::new(), set.encoding());
                    set.save(&mut bytes);
                    match Set::load(&mut Reader::new(&bytes)) {
                        Ok(loaded) => {
                            prop_assert_eq!(loaded.encoding(), before);
                            set = loaded;
                        }
                        Err(_) => prop_assert!(model.is_empty()),
                    }
                }
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(&members(&set), &model);
            prop_assert!(model.iter().all(|member| set.contains(member)));
            let is_integer = |text: &Vec<u8>| crate::number::parse_i64(text).is_some();
            let may_be = model.len() as u64 <= ints_max && model.iter().all(is_integer);
            prop_assert!(set.encoding() != "intset" || may_be || model.is_empty());
        }
    }
}

#[test]
fn members_are_added_counted_and_removed() {
    for reload in [false, true] {
        for members in [["1", "-2", "70000"], ["a", "b", "c"]] {
            let [x, y, z] = members;
            let mut client = Client::new();
            client.check(&format!("sadd s {x} {y} {x}"), ":2\r\n");
            client.check(&format!("sadd s {x}"), ":0\r\n");
            if reload {
                client.reload();
            }
            client.check(&format!("sismember s {y}"), ":1\r\n");
            client.check(&format!("smismember s {x} {z}"), "*2\r\n:1\r\n:0\r\n");
            client.check("scard s", ":2\r\n");
            client.check(&format!("srem s {x} {y} {z}"), ":2\r\n");
            client.check("scard s", ":0\r\n");
        }
    }
}

#[test]
fn absent_keys_and_other_types_answer_as_in_redis() {
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    let mut client = Client::new();
    client.run("set str x");
    for line in [
        "sadd str a",
        "srem str a",
        "sismember str a",
        "smismember str a",
        "smembers str",
        "scard str",
        "spop str",
        "spop str 1",
        "srandmember str",
        "srandmember str 1",
        "smove str s a",
        "sinter none str",
        "sintercard 2 none str",
        "sinterstore d none str",
        "sunion none str",
        "sunionstore d none str",
        "sdiff none str",
        "sdiffstore d none str",
        "sscan str 0",
    ] {
        client.check(line, wrong);
    }
    client.check_all(&[
        ("srem none a", ":0\r\n"),
        ("sismember none a", ":0\r\n"),
        ("smembers none", "*0\r\n"),
        ("spop none", "$-1\r\n"),
        ("spop none 3", "*0\r\n"),
        ("srandmember none", "$-1\r\n"),
        ("srandmember none 3", "*0\r\n"),
        ("smove none str a", ":0\r\n"),
        ("sscan none 0 nosuch", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("sscan none x", "-ERR invalid cursor\r\n"),
        ("sinter none", "*0\r\n"),
    ]);
    Client::resp3().check_all(&[
        ("smembers none", "~0\r\n"),
        ("spop none 1", "~0\r\n"),
        ("spop none", "_\r\n"),
        ("srandmember none 1", "*0\r\n"),
        ("sunion none", "~0\r\n"),
    ]);
}

#[test]
fn errors_have_the_texts_of_redis() {
    let numkeys = "-ERR numkeys should be greater than 0\r\n";
    let many = "-ERR Number of keys can't be greater than number of args\r\n";
    let limit = "-ERR LIMIT can't be negative\r\n";
    let syntax = "-ERR syntax error\r\n";
    Client::new().check_all(&[
        ("sadd s 1 2 3", ":3\r\n"),
        ("sintercard 0 s", numkeys),
        ("sintercard a s", numkeys),
        ("sintercard 2 s", many),
        ("sintercard 1 s s", syntax),
        ("sintercard 1 s limit", syntax),
        ("sintercard 1 s limit -1", limit),
        ("sintercard 1 s limit a", limit),
        ("sintercard 1 s limit 2", ":2\r\n"),
        ("sintercard 1 s limit 0", ":3\r\n"),
        ("spop s 1 2", syntax),
        ("spop s -1", "-ERR value is out of range, must be positive\r\n"),
        ("spop s x", "-ERR value is out of range, must be positive\r\n"),
        ("srandmember s x", "-ERR value is not an integer or out of range\r\n"),
        ("srandmember s 1 2", syntax),
        (
            "srandmember s -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807\r\n",
        ),
        ("sscan s 0 count 0", syntax),
        ("sscan s 0 count x", "-ERR value is not an integer or out of range\r\n"),
        ("sscan s 0 match", syntax),
        ("sscan s 0 match 2", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\n2\r\n"),
    ]);
}

#[test]
fn the_algebra_of_sets() {
    let mut client = Client::resp3();
    for line in ["sadd a 1 2 3 4", "sadd b 3 4 5", "sadd c 4 9"] {
        client.run(line);
    }
    client.check("sinterstore d a b", ":2\r\n");
    client.check("smembers d", "~2\r\n$1\r\n3\r\n$1\r\n4\r\n");
    client.check("sintercard 3 a b c", ":1\r\n");
    client.check("sdiffstore d a b", ":2\r\n");
    client.check("sdiff a b none", "~2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    client.check("sdiff a a", "~0\r\n");
    client.check("sunionstore d c none", ":2\r\n");
    client.check("sunion c d", "~2\r\n$1\r\n4\r\n$1\r\n9\r\n");
    client.check("sinter a b c", "~1\r\n$1\r\n4\r\n");
    client.check("sinterstore d a none", ":0\r\n");
    client.check("scard d", ":0\r\n");
}

#[test]
fn both_ways_to_subtract_agree() {
    let mut client = Client::new();
    for n in 0..1_000 {
        client.run(&format!("sadd big m{n}"));
        if n % 3 == 0 {
            client.run(&format!("sadd third m{n}"));
        }
    }
    client.run("sadd few m1 m3 m4");
    client.check("sdiffstore d few big", ":0\r\n");
    client.check("sdiffstore d big third few", ":664\r\n");
    client.check("sdiffstore d big few few few few few", ":997\r\n");
}

#[test]
fn moving_a_member() {
    Client::new().check_all(&[
        ("sadd a 1 x", ":2\r\n"),
        ("smove a b x", ":1\r\n"),
        ("smove a b x", ":0\r\n"),
        ("smove a a 1", ":1\r\n"),
        ("smove a a 2", ":0\r\n"),
        ("smove a b 1", ":1\r\n"),
        ("scard a", ":0\r\n"),
        ("scard b", ":2\r\n"),
        ("set str v", "+OK\r\n"),
        ("smove b str 2", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    ]);
}

#[test]
fn events_tell_what_happened() {
    let mut client = Client::new();
    client.shard.settings.notify = !0;
    for line in ["sadd a 1 2", "smove a b 1", "spop a", "srem b 1", "sunionstore c a"] {
        client.run(line);
    }
    let events: Vec<String> = client
        .effects
        .publish
        .iter()
        .filter(|publish| publish.channel.starts_with(b"__keyevent"))
        .map(|p| {
            let channel = String::from_utf8_lossy(&p.channel).replace("__keyevent@0__:", "");
            format!("{channel} {}", String::from_utf8_lossy(&p.message))
        })
        .collect();
    let expect =
        ["new a", "sadd a", "srem a", "new b", "sadd b", "spop a", "del a", "srem b", "del b"];
    assert_eq!(events, expect);
}

#[test]
fn the_encoding_grows_and_never_shrinks() {
    let mut client = Client::new();
    let encoding = |client: &Client| {
        let entry = client.shard.databases()[0].get(b"s").unwrap();
        <super::Set as crate::value::Typed>::of(&entry.value).unwrap().encoding()
    };
    for n in 0..512 {
        client.run(&format!("sadd s {n}"));
    }
    assert_eq!(encoding(&client), "intset");
    client.run("sadd s 512");
    assert_eq!(encoding(&client), "hashtable");
    client.run("srem s 512");
    client.reload();
    assert_eq!(encoding(&client), "hashtable");
    client.check("scard s", ":512\r\n");
}

#[test]
fn random_members_are_fair_and_popped_ones_are_gone() {
    for members in [["0", "1", "2", "3", "4"], ["a", "b", "c", "d", "e"]] {
        let mut client = Client::new();
        client.run(&format!("sadd s {}", members.join(" ")));
        for draw in ["srandmember s", "srandmember s 2", "srandmember s 4", "srandmember s -3"] {
            let replies: String = (0..2_000).map(|_| client.run(draw)).collect();
            let hits = members.map(|m| replies.matches(&format!("\r\n{m}\r\n")).count() as f64);
            let expect = hits.iter().sum::<f64>() / 5.0;
            let chi: f64 = hits.iter().map(|h| (h - expect).powi(2) / expect).sum();
            assert!(chi < 30.0, "{draw}: {hits:?}");
        }
        let mut left = 5;
        for count in [0, 1, 2, 9] {
            let reply = client.run(&format!("spop s {count}"));
            assert!(reply.starts_with(&format!("*{}\r\n", left.min(count))), "{reply}");
            left -= left.min(count);
            client.check("scard s", &format!(":{left}\r\n"));
        }
    }
}

#[test]
fn a_scan_sees_every_member_once() {
    let mut client = Client::new();
    for n in 0..1_000 {
        client.run(&format!("sadd s m{n}"));
    }
    let (mut cursor, mut seen) = ("0".to_string(), Vec::new());
    loop {
        let reply = client.run(&format!("sscan s {cursor} count 50"));
        let words: Vec<&str> = reply.split("\r\n").collect();
        cursor = words[2].to_string();
        seen.extend(words.iter().filter(|word| word.starts_with('m')).map(|w| w.to_string()));
        if cursor == "0" {
            break;
        }
    }
    let total = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((total, seen.len()), (1_000, 1_000));
}

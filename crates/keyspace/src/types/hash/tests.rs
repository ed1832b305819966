//! Claims about hashes: the data structure against a model, the commands as tables of calls.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stdx::codec::Reader;

use super::Hash;
use super::fieldmap::Bound;
use crate::context::notify;
use crate::settings::Settings;
use crate::testing::{Client, shown};

/// What can be done to a hash.
#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Reload,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (-5..20i64).prop_map(|n| n.to_string().into_bytes()),
        3 => proptest::collection::vec(b'a'..b'c', 0..4),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (text(), text()).prop_map(|(field, value)| Step::Set(field, value)),
        2 => text().prop_map(Step::Remove),
        1 => Just(Step::Reload),
    ]
}

fn bound(entries: u64, text: u64) -> Bound {
    Bound::of(&Settings {
        hash_max_listpack_entries: entries,
        hash_max_listpack_value: text,
        ..Settings::default()
    })
}

fn pairs(hash: &Hash) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs = Vec::new();
    hash.each(|field, value| pairs.push((field.to_vec(), value.to_vec())));
    pairs
}

proptest! {
    #[test]
    fn a_hash_is_a_map_of_strings(
        steps in proptest::collection::vec(step(), 0..100),
        entries in 0..40u64,
        longest in 2..40u64,
    ) {
        let bound = bound(entries, longest);
        let (mut hash, mut model) = (Hash::default(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Set(field, value) => {
                    let is_new = hash.set(&field, &value, bound);
                    prop_assert_eq!(is_new, model.insert(field, value).is_none());
                }
                Step::Remove(field) => {
                    prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                }
                Step::Reload => {
                    let (mut bytes, before) = (Vec::new(), pairs(&hash));
                    hash.save(&mut bytes);
                    match Hash::load(&mut Reader::new(&bytes)) {
                        Ok(loaded) => hash = loaded,
                        Err(_) => prop_assert!(model.is_empty()),
                    }
                    prop_assert_eq!(pairs(&hash), before, "the order is part of the state");
                }
            }
            prop_assert_eq!(hash.len(), model.len());
            let found: BTreeMap<_, _> = pairs(&hash).into_iter().collect();
            prop_assert_eq!(&found, &model);
            for (field, value) in pairs(&hash) {
                prop_assert_eq!(hash.get(&field).map(|blob| blob.to_vec()), Some(value));
            }
        }
    }

    #[test]
    fn malformed_bytes_are_refused_and_never_panic(
        texts in proptest::collection::vec((text(), text()), 1..20),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut hash = Hash::default();
        for (field, value) in &texts {
            hash.set(field, value, bound(10, 20));
        }
        let mut bytes = Vec::new();
        hash.save(&mut bytes);
        for cut in 0..bytes.len() {
            prop_assert!(Hash::load(&mut Reader::new(&bytes[..cut])).is_err());
        }
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(hash) = Hash::load(&mut Reader::new(&bytes)) {
            prop_assert!(!hash.is_empty());
            prop_assert_eq!(pairs(&hash).len(), hash.len());
        }
    }
}

#[test]
fn fields_cost_no_more_than_a_tenth_above_redis() {
    // The measure of facts.md: 11 bytes in a listpack, 59 in a table.
    let mut small = Hash::default();
    for n in 0..100 {
        small.set(format!("f{n}").as_bytes(), format!("value{n}").as_bytes(), bound(128, 64));
    }
    assert_eq!(small.encoding(), "listpack");
    assert!(small.memory(5) < 100 * 15, "{}", small.memory(5));
}

#[test]
fn a_hash_becomes_a_table_at_its_bounds_and_stays_one() {
    let mut client = Client::new();
    let encoding = |client: &Client, key: &[u8]| {
        let entry = client.shard.databases()[0].get(key).unwrap();
        match &entry.value {
            crate::Value::Hash(hash) => hash.encoding(),
            other => panic!("{other:?}"),
        }
    };
    for n in 0..512 {
        client.run(&format!("hset h {n} {n}"));
    }
    assert_eq!(encoding(&client, b"h"), "listpack");
    client.run("hset h 512 x");
    assert_eq!(encoding(&client, b"h"), "hashtable");
    for n in 1..=512 {
        client.run(&format!("hdel h {n}"));
    }
    assert_eq!(encoding(&client, b"h"), "hashtable");
    client.check("hgetall h", "*2\r\n$1\r\n0\r\n$1\r\n0\r\n");
    let (long, longer) = ("x".repeat(64), "x".repeat(65));
    client.run(&format!("hset v {long} {long}"));
    assert_eq!(encoding(&client, b"v"), "listpack");
    client.run(&format!("hset v f {longer}"));
    assert_eq!(encoding(&client, b"v"), "hashtable");
    client.run(&format!("hsetnx f {longer} 1"));
    assert_eq!(encoding(&client, b"f"), "hashtable");
    client.reload();
    assert_eq!(encoding(&client, b"f"), "hashtable");
}

#[test]
fn fields_answer_as_in_redis() {
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    let mut client = Client::new();
    client.check_all(&[
        ("hset h a 1 b 2", ":2\r\n"),
        ("hset h a 3 c 4", ":1\r\n"),
        ("hset h a", "-ERR wrong number of arguments for 'hset' command\r\n"),
        ("hset h a 1 b", "-ERR wrong number of arguments for 'hset' command\r\n"),
        ("HMSET h a 1 b", "-ERR wrong number of arguments for 'hmset' command\r\n"),
        ("hmset h d 5 e 6", "+OK\r\n"),
        ("hsetnx h d 7", ":0\r\n"),
        ("hsetnx h f 7", ":1\r\n"),
        ("hget h a", "$1\r\n3\r\n"),
        ("hget h x", "$-1\r\n"),
        ("hget none x", "$-1\r\n"),
        ("hmget h a x b", "*3\r\n$1\r\n3\r\n$-1\r\n$1\r\n2\r\n"),
        ("hmget none a b", "*2\r\n$-1\r\n$-1\r\n"),
        ("hlen h", ":6\r\n"),
        ("hlen none", ":0\r\n"),
        ("hexists h a", ":1\r\n"),
        ("hexists h x", ":0\r\n"),
        ("hexists none x", ":0\r\n"),
        ("hset h t -12345 u text", ":2\r\n"),
        ("hstrlen h t", ":6\r\n"),
        ("hstrlen h u", ":4\r\n"),
        ("hstrlen h x", ":0\r\n"),
        ("hstrlen none x", ":0\r\n"),
        ("hdel h a x b a", ":2\r\n"),
        ("hdel none a", ":0\r\n"),
        ("hkeys h", "*6\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n$1\r\nt\r\n$1\r\nu\r\n"),
        (
            "hvals h",
            "*6\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n$1\r\n7\r\n$6\r\n-12345\r\n$4\r\ntext\r\n",
        ),
        ("hdel h c d e f t", ":5\r\n"),
        ("hgetall h", "*2\r\n$1\r\nu\r\n$4\r\ntext\r\n"),
        ("hdel h u u", ":1\r\n"),
        ("hlen h", ":0\r\n"),
        ("hgetall h", "*0\r\n"),
        ("hkeys h", "*0\r\n"),
        ("set s x", "+OK\r\n"),
        ("hset s a 1", wrong),
        ("hsetnx s a 1", wrong),
        ("hget s a", wrong),
        ("hmget s a", wrong),
        ("hgetall s", wrong),
        ("hdel s a", wrong),
        ("hincrby s a 1", wrong),
        ("hincrbyfloat s a 1", wrong),
        ("hrandfield s", wrong),
        ("hscan s 0", wrong),
    ]);
    let mut client = Client::resp3();
    client.check_all(&[
        ("hgetall h", "%0\r\n"),
        ("hset h a 1", ":1\r\n"),
        ("hgetall h", "%1\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("hget h x", "_\r\n"),
    ]);
}

#[test]
fn numbers_are_added_as_in_redis() {
    let mut client = Client::new();
    client.check_all(&[
        ("hincrby h n 2", ":2\r\n"),
        ("hincrby h n -5", ":-3\r\n"),
        ("hincrby h n x", "-ERR value is not an integer or out of range\r\n"),
        ("hset h t text s \" 11\" f 10.5", ":3\r\n"),
        ("hincrby h t 1", "-ERR hash value is not an integer\r\n"),
        ("hincrby h s 1", "-ERR hash value is not an integer\r\n"),
        ("hincrby h f 1", "-ERR hash value is not an integer\r\n"),
        ("hset h max 9223372036854775807", ":1\r\n"),
        ("hincrby h max 1", "-ERR increment or decrement would overflow\r\n"),
        ("hincrby h max -1", ":9223372036854775806\r\n"),
        ("hincrbyfloat h f 0.1", "$4\r\n10.6\r\n"),
        ("hincrbyfloat h n 1.5", "$4\r\n-1.5\r\n"),
        ("hincrbyfloat h new 2.50", "$3\r\n2.5\r\n"),
        ("hincrbyfloat h new 0.5", "$1\r\n3\r\n"),
        ("hincrby h new 1", ":4\r\n"),
        ("hincrbyfloat h t 1", "-ERR hash value is not a float\r\n"),
        ("hincrbyfloat h s 1", "-ERR hash value is not a float\r\n"),
        ("hincrbyfloat h f x", "-ERR value is not a valid float\r\n"),
        ("hincrbyfloat h f inf", "-ERR value is NaN or Infinity\r\n"),
        ("hincrbyfloat h f nan", "-ERR value is not a valid float\r\n"),
        ("hset h big 1e4932", ":1\r\n"),
        ("hincrbyfloat h big 1e4932", "-ERR increment would produce NaN or Infinity\r\n"),
        ("hexists none x", ":0\r\n"),
    ]);
}

#[test]
fn events_come_in_the_order_of_redis() {
    let mut client = Client::new();
    client.shard.settings.notify = notify::KEYEVENT | notify::HASH | notify::GENERIC;
    for line in [
        "hset h a 1",
        "hmset h b 1",
        "hsetnx h b 1",
        "hsetnx h c 1",
        "hincrby h c 1",
        "hincrbyfloat h c 1",
        "hdel h x",
        "hdel h a b",
        "hdel h c",
    ] {
        client.run(line);
    }
    let events: Vec<String> = client.effects.publish.iter().map(|p| shown(&p.channel)).collect();
    let names: Vec<&str> = events.iter().map(|event| event.rsplit(':').next().unwrap()).collect();
    assert_eq!(names, ["hset", "hset", "hset", "hincrby", "hincrbyfloat", "hdel", "hdel", "del"]);
}

/// The bulk strings of a reply.
fn bulks(reply: &str) -> Vec<String> {
    let lines = reply.split("\r\n").filter(|line| !line.is_empty());
    lines.filter(|line| !line.starts_with(['*', '$'])).map(str::to_string).collect()
}

fn filled(fields: usize) -> Client {
    let mut client = Client::new();
    for n in 0..fields {
        client.run(&format!("hset h field:{n} value:{n}"));
    }
    client
}

#[test]
fn random_fields_have_the_shapes_of_redis() {
    let mut client = Client::new();
    let range = "-ERR value is out of range, value must between -9223372036854775807 and \
                 9223372036854775807\r\n";
    client.run("hset h a 1");
    client.check_all(&[
        ("hrandfield h", "$1\r\na\r\n"),
        ("hrandfield none", "$-1\r\n"),
        ("hrandfield none 1", "*0\r\n"),
        ("hrandfield h 0", "*0\r\n"),
        ("hrandfield h 5", "*1\r\n$1\r\na\r\n"),
        ("hrandfield h -2", "*2\r\n$1\r\na\r\n$1\r\na\r\n"),
        ("hrandfield h 5 withvalues", "*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("hrandfield h -2 WITHVALUES", "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("hrandfield h x", "-ERR value is not an integer or out of range\r\n"),
        ("hrandfield h 1 x", "-ERR syntax error\r\n"),
        ("hrandfield h 1 withvalues x", "-ERR syntax error\r\n"),
        ("hrandfield h -9223372036854775808", range),
        ("hrandfield h -9223372036854770000 withvalues", "-ERR value is out of range\r\n"),
        ("hrandfield h 9223372036854770000 withvalues", "-ERR value is out of range\r\n"),
        ("hrandfield h 9223372036854770000", "*1\r\n$1\r\na\r\n"),
    ]);
    client.proto = wire::Proto::Resp3;
    client.check_all(&[
        ("hrandfield h -2", "*2\r\n$1\r\na\r\n$1\r\na\r\n"),
        ("hrandfield h 2 withvalues", "*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
    ]);
}

#[test]
fn draws_are_distinct_fair_and_from_the_whole_hash() {
    for fields in [20, 1_000] {
        let mut client = filled(fields);
        for count in [1, 5, 19, 150, 999] {
            let mut drawn = bulks(&client.run(&format!("hrandfield h {count}")));
            assert_eq!(drawn.len(), count.min(fields));
            drawn.sort();
            drawn.dedup();
            assert_eq!(drawn.len(), count.min(fields), "{count} of {fields}");
            let drawn = bulks(&client.run(&format!("hrandfield h -{count}")));
            assert_eq!(drawn.len(), count);
            let pairs = bulks(&client.run(&format!("hrandfield h -{count} withvalues")));
            for pair in pairs.chunks(2) {
                assert_eq!(pair[0].replace("field", "value"), pair[1]);
            }
        }
    }
    let mut client = filled(10);
    let mut counts = BTreeMap::new();
    for _ in 0..1_000 {
        for field in bulks(&client.run("hrandfield h 2")) {
            *counts.entry(field).or_insert(0) += 1;
        }
    }
    assert!(counts.values().all(|count| (130..270).contains(count)), "{counts:?}");
}

#[test]
fn a_scan_returns_each_field_and_value_once() {
    for fields in [20, 1_000] {
        let mut client = filled(fields);
        let (mut cursor, mut seen) = ("0".to_string(), BTreeMap::new());
        loop {
            let reply = bulks(&client.run(&format!("hscan h {cursor} count 50")));
            for pair in reply[1..].chunks(2) {
                assert_eq!(seen.insert(pair[0].clone(), pair[1].clone()), None);
            }
            cursor = reply[0].clone();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), fields);
        assert!(seen.iter().all(|(field, value)| field.replace("field", "value") == *value));
    }
    let mut client = Client::new();
    client.run(r#"hset h aa 1 ab 2 b 3 "" 4"#);
    client.check_all(&[
        ("hscan h 0 match a*", "*2\r\n$1\r\n0\r\n*4\r\n$2\r\naa\r\n$1\r\n1\r\n$2\r\nab\r\n$1\r\n2\r\n"),
        ("hscan h 0 match x COUNT 1", "*2\r\n$1\r\n0\r\n*0\r\n"),
        (
            "hscan h 5 match *",
            "*2\r\n$1\r\n0\r\n*8\r\n$2\r\naa\r\n$1\r\n1\r\n$2\r\nab\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n3\r\n$0\r\n\r\n$1\r\n4\r\n",
        ),
        ("hscan none 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("hscan none 0 what", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("hscan none x", "-ERR invalid cursor\r\n"),
        ("hscan h 0 count 0", "-ERR syntax error\r\n"),
        ("hscan h 0 count x", "-ERR value is not an integer or out of range\r\n"),
        ("hscan h 0 type hash", "-ERR syntax error\r\n"),
        ("hscan h 0 match", "-ERR syntax error\r\n"),
    ]);
}

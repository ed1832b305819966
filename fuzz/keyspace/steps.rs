//! Calls whose replies the model knows.

use wire::Proto;
use wire::resp::Value;

use crate::bytes::Bytes;
use crate::client::Client;
use crate::model::{Model, Text, Thing, WrongType, range, text_range};

/// Calls of one input.
const STEPS_MAX: usize = 2_000;

/// Both sides.
struct Pair {
    client: Client,
    model: Model,
}

type Expected = Result<Value, WrongType>;

/// Runs an input.
pub(crate) fn run(bytes: &mut Bytes<'_>) {
    let mut pair = Pair { client: Client::new(Proto::Resp2), model: Model::default() };
    for (name, most) in [
        ("hash-max-listpack-entries", 8),
        ("set-max-intset-entries", 8),
        ("zset-max-listpack-entries", 8),
        ("list-max-listpack-size", 8),
    ] {
        let value = (1 + bytes.below(most)).to_string();
        pair.client.call(&[b"config", b"set", name.as_bytes(), value.as_bytes()]);
    }
    for _ in 0..STEPS_MAX {
        if bytes.is_empty() {
            break;
        }
        pair.step(bytes);
    }
    pair.client.reload();
    pair.client.check();
    pair.compare();
}

fn text(text: impl Into<Vec<u8>>) -> Value {
    Value::Bulk(text.into())
}

fn maybe(found: Option<Text>) -> Value {
    found.map_or(Value::Null, Value::Bulk)
}

fn count(number: usize) -> Value {
    Value::Int(number as i64)
}

fn array(items: impl IntoIterator<Item = Text>) -> Value {
    Value::Array(items.into_iter().map(Value::Bulk).collect())
}

fn key(bytes: &mut Bytes<'_>) -> Text {
    vec![b'k', b'0' + bytes.below(5) as u8]
}

impl Pair {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(8) {
            0 => self.string(bytes),
            1 => self.key(bytes),
            2 => self.list_ends(bytes),
            3 => self.list_places(bytes),
            4 => self.set(bytes),
            5 => self.hash(bytes),
            6 => self.zset(bytes),
            _ => self.time(bytes),
        }
    }

    /// Calls, and compares with what the model says.
    fn same(&mut self, words: &[&[u8]], expected: Expected) {
        let reply = self.client.call(words);
        match expected {
            Ok(expected) => assert_eq!(reply, expected, "{}", shown(words)),
            Err(WrongType) => {
                let wrong = matches!(&reply, Value::Error(text) if text.starts_with("WRONGTYPE"));
                assert!(wrong, "{}: {reply:?}", shown(words));
            }
        }
    }

    fn string(&mut self, bytes: &mut Bytes<'_>) {
        let (key, value) = (key(bytes), bytes.text());
        match bytes.below(6) {
            0 => {
                self.model.keys.insert(key.clone(), (Thing::Str(value.clone()), None));
                self.same(&[b"set", &key, &value], Ok(Value::Status("OK".to_owned())));
            }
            1 => {
                let expected = self.model.string(&key).map(maybe);
                self.same(&[b"get", &key], expected);
            }
            2 => {
                let expected = self.model.string(&key).map(|was| {
                    let joined = [was.unwrap_or_default(), value.clone()].concat();
                    // An empty string is a value, but appending nothing to nothing makes none.
                    let len = joined.len();
                    self.model.put_string(&key, joined);
                    count(len)
                });
                self.same(&[b"append", &key, &value], expected);
            }
            3 => {
                let by = bytes.small();
                let number = |was: Option<Text>| match was {
                    None => Some(0),
                    Some(was) => std::str::from_utf8(&was).ok().and_then(integer),
                };
                match self.model.string(&key).map(number) {
                    Ok(Some(was)) => {
                        self.model.put_string(&key, (was + by).to_string().into_bytes());
                        let by = by.to_string();
                        self.same(
                            &[b"incrby", &key, by.as_bytes()],
                            Ok(Value::Int(was + by_of(&by))),
                        );
                    }
                    Ok(None) => {}
                    Err(wrong) => self.same(&[b"incrby", &key, b"1"], Err(wrong)),
                }
            }
            4 => {
                let expected = self.model.string(&key).map(|was| count(was.map_or(0, |w| w.len())));
                self.same(&[b"strlen", &key], expected);
            }
            _ => {
                let (start, end) = (bytes.small(), bytes.small());
                let expected = self.model.string(&key).map(|was| {
                    let was = was.unwrap_or_default();
                    text(&was[text_range(was.len(), start, end)])
                });
                let (start, end) = (start.to_string(), end.to_string());
                self.same(&[b"getrange", &key, start.as_bytes(), end.as_bytes()], expected);
            }
        }
    }

    fn key(&mut self, bytes: &mut Bytes<'_>) {
        let (first, second) = (key(bytes), key(bytes));
        let there = self.model.keys.contains_key(&first);
        match bytes.below(4) {
            0 => {
                self.model.keys.remove(&first);
                self.same(&[b"del", &first], Ok(Value::Int(i64::from(there))));
            }
            1 if there => {
                let moved = self.model.keys.remove(&first).expect("it is there");
                self.model.keys.insert(second.clone(), moved);
                self.same(&[b"rename", &first, &second], Ok(Value::Status("OK".to_owned())));
            }
            2 if there && first != second => {
                let copied = self.model.keys[&first].clone();
                self.model.keys.insert(second.clone(), copied);
                self.same(&[b"copy", &first, &second, b"replace"], Ok(Value::Int(1)));
            }
            _ => self.same(&[b"exists", &first], Ok(Value::Int(i64::from(there)))),
        }
    }

    fn list_ends(&mut self, bytes: &mut Bytes<'_>) {
        let (key, value) = (key(bytes), bytes.text());
        let (expected, name): (Expected, &[u8]) = match bytes.below(4) {
            0 => (
                self.model.change_list(&key, |list| {
                    list.insert(0, value.clone());
                    count(list.len())
                }),
                b"lpush",
            ),
            1 => (
                self.model.change_list(&key, |list| {
                    list.push(value.clone());
                    count(list.len())
                }),
                b"rpush",
            ),
            2 => {
                let pop = |list: &mut Vec<Text>| (!list.is_empty()).then(|| list.remove(0));
                let expected = self.model.change_list(&key, pop).map(maybe);
                return self.same(&[b"lpop", &key], expected);
            }
            _ => {
                let expected = self.model.change_list(&key, Vec::pop).map(maybe);
                return self.same(&[b"rpop", &key], expected);
            }
        };
        self.same(&[name, &key, &value], expected);
    }

    fn list_places(&mut self, bytes: &mut Bytes<'_>) {
        let (key, value, at) = (key(bytes), bytes.text(), bytes.small());
        let index = at.to_string();
        match bytes.below(4) {
            0 => {
                let end = bytes.small();
                let expected = self
                    .model
                    .list(&key)
                    .map(|list| array(list[range(list.len(), at, end)].iter().cloned()));
                self.same(
                    &[b"lrange", &key, index.as_bytes(), end.to_string().as_bytes()],
                    expected,
                );
            }
            1 => {
                let end = bytes.small();
                let expected = self.model.change_list(&key, |list| {
                    *list = list[range(list.len(), at, end)].to_vec();
                    Value::Status("OK".to_owned())
                });
                self.same(
                    &[b"ltrim", &key, index.as_bytes(), end.to_string().as_bytes()],
                    expected,
                );
            }
            2 => {
                let expected = self.model.change_list(&key, |list| count(remove(list, &value, at)));
                self.same(&[b"lrem", &key, index.as_bytes(), &value], expected);
            }
            _ => {
                let pivot = bytes.text();
                let expected = self.model.change_list(&key, |list| {
                    let place = list.iter().position(|item| *item == pivot);
                    if let Some(place) = place {
                        list.insert(place + 1, value.clone());
                    }
                    match place {
                        _ if list.is_empty() => Value::Int(0),
                        None => Value::Int(-1),
                        Some(_) => count(list.len()),
                    }
                });
                self.same(&[b"linsert", &key, b"after", &pivot, &value], expected);
            }
        }
    }

    fn set(&mut self, bytes: &mut Bytes<'_>) {
        let (key, value) = (key(bytes), bytes.text());
        let change = |yes: bool| Value::Int(i64::from(yes));
        match bytes.below(4) {
            0 => {
                let expected = self.model.change_set(&key, |set| change(set.insert(value.clone())));
                self.same(&[b"sadd", &key, &value], expected);
            }
            1 => {
                let expected = self.model.change_set(&key, |set| change(set.remove(&value)));
                self.same(&[b"srem", &key, &value], expected);
            }
            2 => {
                let expected = self.model.set(&key).map(|set| change(set.contains(&value)));
                self.same(&[b"sismember", &key, &value], expected);
            }
            _ => {
                let expected = self.model.set(&key).map(|set| count(set.len()));
                self.same(&[b"scard", &key], expected);
            }
        }
    }

    fn hash(&mut self, bytes: &mut Bytes<'_>) {
        let (key, field, value) = (key(bytes), bytes.text(), bytes.text());
        let change = |yes: bool| Value::Int(i64::from(yes));
        match bytes.below(4) {
            0 => {
                let expected = self.model.change_hash(&key, |hash| {
                    change(hash.insert(field.clone(), value.clone()).is_none())
                });
                self.same(&[b"hset", &key, &field, &value], expected);
            }
            1 => {
                let expected =
                    self.model.change_hash(&key, |hash| change(hash.remove(&field).is_some()));
                self.same(&[b"hdel", &key, &field], expected);
            }
            2 => {
                let expected = self.model.hash(&key).map(|hash| maybe(hash.get(&field).cloned()));
                self.same(&[b"hget", &key, &field], expected);
            }
            _ => {
                let expected = self.model.hash(&key).map(|hash| count(hash.len()));
                self.same(&[b"hlen", &key], expected);
            }
        }
    }

    fn zset(&mut self, bytes: &mut Bytes<'_>) {
        let (key, member, score) = (key(bytes), bytes.text(), bytes.small());
        let number = score.to_string();
        let change = |yes: bool| Value::Int(i64::from(yes));
        match bytes.below(5) {
            0 => {
                let expected = self
                    .model
                    .change_zset(&key, |zset| change(zset.insert(member.clone(), score).is_none()));
                self.same(&[b"zadd", &key, number.as_bytes(), &member], expected);
            }
            1 => {
                let expected =
                    self.model.change_zset(&key, |zset| change(zset.remove(&member).is_some()));
                self.same(&[b"zrem", &key, &member], expected);
            }
            2 => {
                let expected = self.model.ranked(&key).map(|ranked| {
                    let place = ranked.iter().position(|(text, _)| *text == member);
                    place.map_or(Value::Null, count)
                });
                self.same(&[b"zrank", &key, &member], expected);
            }
            3 => {
                let end = bytes.small();
                let expected = self.model.ranked(&key).map(|ranked| {
                    let chosen = &ranked[range(ranked.len(), score, end)];
                    array(chosen.iter().map(|(text, _)| text.clone()))
                });
                let end = end.to_string();
                self.same(&[b"zrange", &key, number.as_bytes(), end.as_bytes()], expected);
            }
            _ => {
                let most = bytes.small();
                let expected = self.model.ranked(&key).map(|ranked| {
                    let within = ranked.into_iter().filter(|(_, at)| (score..=most).contains(at));
                    array(within.map(|(text, _)| text))
                });
                let most = most.to_string();
                self.same(&[b"zrangebyscore", &key, number.as_bytes(), most.as_bytes()], expected);
            }
        }
    }

    fn time(&mut self, bytes: &mut Bytes<'_>) {
        let key = key(bytes);
        let there = self.model.keys.get(&key).is_some();
        match bytes.below(5) {
            0 => {
                self.client.now += u64::from(bytes.byte());
                self.model.pass(self.client.now);
            }
            1 => {
                let rest = 1 + u64::from(bytes.byte());
                if let Some((_, expires)) = self.model.keys.get_mut(&key) {
                    *expires = Some(self.client.now + rest);
                }
                let expected = Ok(Value::Int(i64::from(there)));
                self.same(&[b"pexpire", &key, rest.to_string().as_bytes()], expected);
            }
            2 => {
                let expected = match self.model.keys.get(&key) {
                    None => -2,
                    Some((_, None)) => -1,
                    Some((_, Some(at))) => (at - self.client.now) as i64,
                };
                self.same(&[b"pttl", &key], Ok(Value::Int(expected)));
            }
            3 => {
                let was = self.model.keys.get_mut(&key).and_then(|(_, expires)| expires.take());
                self.same(&[b"persist", &key], Ok(Value::Int(i64::from(was.is_some()))));
            }
            _ => self.client.reload(),
        }
    }

    /// Everything that is there, and nothing else, and encoded as its size allows.
    fn compare(&mut self) {
        let keys: Vec<(Text, Thing)> =
            self.model.keys.iter().map(|(key, (thing, _))| (key.clone(), thing.clone())).collect();
        assert_eq!(
            self.client.call(&[b"keys", b"*"]).len(),
            keys.len(),
            "the keys are the model's"
        );
        for (key, thing) in keys {
            let (len, expected, words): (usize, Vec<Text>, [&[u8]; 4]) = match thing {
                Thing::Str(value) => {
                    self.same(&[b"get", &key], Ok(text(value)));
                    continue;
                }
                Thing::List(list) => (list.len(), list, [b"lrange", &key, b"0", b"-1"]),
                Thing::Set(set) => {
                    (set.len(), set.into_iter().collect(), [b"smembers", &key, b"", b""])
                }
                Thing::Hash(hash) => {
                    let pairs =
                        hash.iter().flat_map(|(field, value)| [field.clone(), value.clone()]);
                    (hash.len(), pairs.collect(), [b"hgetall", &key, b"", b""])
                }
                Thing::Zset(zset) => {
                    let ranked = self.model.ranked(&key).expect("it is one");
                    let members = ranked.into_iter().map(|(text, _)| text);
                    (zset.len(), members.collect(), [b"zrange", &key, b"0", b"-1"])
                }
            };
            let words = if words[2].is_empty() { &words[..2] } else { &words[..] };
            let Value::Array(items) = self.client.call(words) else { panic!("{}", shown(words)) };
            let mut items: Vec<Text> = items.into_iter().map(bulk).collect();
            let mut expected = expected;
            if words.len() == 2 {
                // In any order; fields stay with their values because the model has each once.
                items.sort();
                expected.sort();
            }
            assert_eq!(items, expected, "{}", shown(words));
            self.check_encoding(&key, len);
        }
    }

    /// A compact encoding is kept up to the number of elements that the settings allow.
    fn check_encoding(&mut self, key: &[u8], len: usize) {
        const LARGEST: usize = 8;
        let Value::Bulk(encoding) = self.client.call(&[b"object", b"encoding", key]) else {
            panic!("a key has an encoding");
        };
        let compact = matches!(encoding.as_slice(), b"listpack" | b"intset");
        let is_list = encoding == b"quicklist" || self.model.list(key).is_ok();
        assert!(!compact || is_list || len <= LARGEST, "{len} elements are not compact");
    }
}

trait Len {
    fn len(&self) -> usize;
}

impl Len for Value {
    fn len(&self) -> usize {
        match self {
            Value::Array(items) => items.len(),
            _ => 0,
        }
    }
}

fn bulk(value: Value) -> Text {
    match value {
        Value::Bulk(text) => text,
        other => panic!("{other:?} is no text"),
    }
}

/// The number that a text is, if it is written as it would be shown.
fn integer(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text && number.abs() < 1 << 40).then_some(number)
}

fn by_of(text: &str) -> i64 {
    text.parse().expect("it was a number")
}

/// Removes up to `most` of a value, from the end if negative, all if zero; how many it were.
fn remove(list: &mut Vec<Text>, value: &[u8], most: i64) -> usize {
    let before = list.len();
    let mut left = if most == 0 { usize::MAX } else { most.unsigned_abs() as usize };
    let mut keep = |item: &Text| {
        let goes = left > 0 && item == value;
        left -= usize::from(goes);
        !goes
    };
    if most < 0 {
        list.reverse();
        list.retain(&mut keep);
        list.reverse();
    } else {
        list.retain(&mut keep);
    }
    before - list.len()
}

fn shown(words: &[&[u8]]) -> String {
    words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

//! What is written is read again; what is cut or changed is refused, and never more than that.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rdb::{Body, Expiry, Item, Key, Kind, Reader, Reason, StreamBody, StreamId, Writer};

type Text = Vec<u8>;

#[derive(Clone, Debug, PartialEq)]
enum Value {
    String(Text),
    List(Vec<Text>),
    Set(Vec<Text>),
    Hash(BTreeMap<Text, Text>),
    SortedSet(Vec<(Text, u64)>),
    Stream(Vec<(StreamId, Vec<Text>)>),
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    key: Text,
    expiry: Option<Expiry>,
    value: Value,
}

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![
        3 => vec(any::<u8>(), 0..20),
        2 => any::<i64>().prop_map(|int| int.to_string().into_bytes()),
        1 => any::<i16>().prop_map(|int| int.to_string().into_bytes()),
        1 => (0u8..20).prop_map(|digit| format!("0{digit}").into_bytes()),
        1 => vec(any::<u8>(), 0..20_000),
    ]
}

fn stream() -> impl Strategy<Value = Value> {
    let fields = prop_oneof![
        vec(text(), 2).prop_map(|mut pair| {
            pair[0] = b"field".to_vec();
            pair
        }),
        vec((text(), text()), 1..4).prop_map(|pairs| pairs
            .into_iter()
            .flat_map(|(field, value)| [field, value])
            .collect()),
    ];
    vec((0u64..1 << 40, any::<u64>(), fields), 0..300).prop_map(|mut entries| {
        entries.sort_by_key(|(ms, seq, _)| (*ms, *seq));
        entries.dedup_by_key(|(ms, seq, _)| (*ms, *seq));
        let entry = |(ms, seq, texts)| (StreamId { ms, seq }, texts);
        Value::Stream(entries.into_iter().map(entry).collect())
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::String),
        vec(text(), 1..50).prop_map(Value::List),
        vec(text(), 1..50).prop_map(Value::Set),
        btree_map(text(), text(), 1..50).prop_map(Value::Hash),
        vec((text(), any::<f64>()), 1..50).prop_map(|members| {
            let bits = |(member, score): (Text, f64)| {
                (member, if score.is_nan() { 0 } else { score.to_bits() })
            };
            Value::SortedSet(members.into_iter().map(bits).collect())
        }),
        stream(),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let expiry = proptest::option::of(any::<i64>().prop_map(Expiry));
    (text(), expiry, value()).prop_map(|(key, expiry, value)| Entry { key, expiry, value })
}

fn write(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.aux(b"redis-ver", b"7.0.15").unwrap();
    writer.function(b"#!lua name=lib\n").unwrap();
    writer.database(3, entries.len() as u64).unwrap();
    for Entry { key, expiry, value } in entries {
        let mut body = Body::default();
        let kind = match value {
            Value::String(text) => {
                writer.string(key, *expiry, text).unwrap();
                continue;
            }
            Value::Stream(entries) => {
                let mut body = StreamBody::default();
                for (id, texts) in entries {
                    body.entry(*id, texts.iter().map(Vec::as_slice));
                }
                let nodes = body.finish();
                writer.stream(key, *expiry, nodes).unwrap();
                writer.body(body.bytes()).unwrap();
                writer.stream_end(body.end()).unwrap();
                continue;
            }
            Value::List(elements) => {
                elements.iter().for_each(|element| body.element(element));
                Kind::List
            }
            Value::Set(members) => {
                members.iter().for_each(|member| body.element(member));
                Kind::Set
            }
            Value::Hash(fields) => {
                fields.iter().for_each(|(field, value)| body.field(field, value));
                Kind::Hash
            }
            Value::SortedSet(members) => {
                members.iter().for_each(|(member, bits)| {
                    body.member(member, f64::from_bits(*bits));
                });
                Kind::SortedSet
            }
        };
        writer.collection(kind, key, *expiry, body.count()).unwrap();
        writer.body(body.bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn begun(key: Key<'_>) -> Entry {
    let value = match key.kind {
        Kind::String => Value::String(Vec::new()),
        Kind::List => Value::List(Vec::new()),
        Kind::Set => Value::Set(Vec::new()),
        Kind::Hash => Value::Hash(BTreeMap::new()),
        Kind::SortedSet => Value::SortedSet(Vec::new()),
        Kind::Stream => Value::Stream(Vec::new()),
        Kind::Module(_) => unreachable!("none was written"),
    };
    Entry { key: key.key.to_vec(), expiry: key.expiry, value }
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, rdb::Error> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some(item) = reader.next()? {
        if let Item::Key(key) = item {
            entries.push(begun(key));
            continue;
        }
        let Some(entry) = entries.last_mut() else { continue };
        match (item, &mut entry.value) {
            (Item::Text(text), Value::String(value)) => value.extend_from_slice(text),
            (Item::Element(element), Value::List(elements) | Value::Set(elements)) => {
                elements.push(element.to_vec());
            }
            (Item::Field { field, value }, Value::Hash(fields)) => {
                fields.insert(field.to_vec(), value.to_vec());
            }
            (Item::Member { member, score }, Value::SortedSet(members)) => {
                members.push((member.to_vec(), score.to_bits()));
            }
            (Item::Entry { id, texts }, Value::Stream(entries)) => {
                entries.push((id, texts.iter().map(<[u8]>::to_vec).collect()));
            }
            (Item::StreamEnd(end), Value::Stream(entries)) => {
                assert_eq!(end.len, entries.len() as u64);
                assert_eq!(end.last, entries.last().map(|(id, _)| *id).unwrap_or_default());
            }
            (Item::KeyEnd, _) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(!reader.is_followed().unwrap());
    Ok(entries)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_written_is_read(entries in vec(entry(), 0..12)) {
        prop_assert_eq!(read(&write(&entries)).unwrap(), entries);
    }

    #[test]
    fn a_dump_that_is_cut_off_is_refused(entries in vec(entry(), 0..4), cut: usize) {
        let dump = write(&entries);
        let error = read(&dump[..cut % dump.len()]).unwrap_err();
        prop_assert!(matches!(error.reason, Reason::Truncated), "{}", error);
        prop_assert!(error.offset <= (cut % dump.len()) as u64);
    }

    #[test]
    fn a_changed_bit_is_seen(entries in vec(entry(), 0..4), place: usize, bit in 0u8..8) {
        let mut dump = write(&entries);
        let place = place % dump.len();
        dump[place] ^= 1 << bit;
        prop_assert!(read(&dump).is_err());
    }

    #[test]
    fn noise_is_refused(noise in vec(any::<u8>(), 0..2000)) {
        let mut dump = b"REDIS0011".to_vec();
        dump.extend_from_slice(&noise);
        // A mark of the end and eight zeros are a dump; nothing panics either way.
        let _ = Reader::new(&dump[..]).next();
        let _ = read_all(&dump);
    }
}

fn read_all(bytes: &[u8]) -> Result<usize, rdb::Error> {
    let (mut reader, mut items) = (Reader::new(bytes), 0);
    while reader.next()?.is_some() {
        items += 1;
    }
    Ok(items)
}

/// What a dump of these bytes, without a checksum, ends with.
fn refusal(head: &[u8], tail: &[u8]) -> (u64, String) {
    let error = read_all(&[head, tail].concat()).unwrap_err();
    (error.offset, error.reason.to_string())
}

#[test]
fn what_is_wrong_is_said_and_where() {
    let refused = |tail: &[u8]| refusal(b"REDIS0011", tail);
    assert_eq!(refused(b""), (9, "the dump is cut off".to_owned()));
    assert_eq!(refused(&[30]), (9, "type 30 is not known".to_owned()));
    assert_eq!(refused(&[8, 0]), (9, "type 8 is not known".to_owned()));
    assert_eq!(
        refused(b"\xff12345678"),
        (18, "the checksum is 629738748d8a22c0 and should be 3837363534333231".to_owned())
    );
    let (at, reason) = refused(b"\x00\x01k\x81\x00\x00\x00\x40\x00\x00\x00\x00");
    assert_eq!((at, reason.as_str()), (21, "a string of 274877906944 bytes is too long"));
    // Half a GiB is promised and not there: it is not allocated either.
    assert_eq!(refused(b"\x00\x01k\x80\x1f\xff\xff\xff!").1, "the dump is cut off");
    assert_eq!(refused(b"\x02\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff").1, "the dump is cut off");
    assert_eq!(
        refused(b"\x04\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff").1,
        "a hash has too many fields"
    );
    assert_eq!(refusal(b"RUBBISH!!", b"").1, "no dump of Redis begins with \"RUBBI\"");
    for (head, who) in [("REDIS0012", "Redis 7.4"), ("VALKEY080", "Valkey 9"), ("REDIS0000", "")] {
        let reason = refusal(head.as_bytes(), b"").1;
        assert!(reason.contains("only 1 to 11 are") && reason.contains(who), "{reason}");
    }
}

/// All items of a dump, as text.
fn story(dump: &[u8]) -> String {
    let (mut reader, mut out) = (Reader::new(dump), String::new());
    let show = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    while let Some(item) = reader.next().unwrap() {
        out += &match item {
            Item::Key(key) => format!("{} {:?} ", show(key.key), key.kind),
            Item::Text(text) | Item::Element(text) => format!("{} ", show(text)),
            Item::Field { field, value } => format!("{}={} ", show(field), show(value)),
            Item::Member { member, score } => format!("{}@{score} ", show(member)),
            Item::Function(code) => format!("function {}", show(code)),
            Item::KeyEnd => "| ".to_owned(),
            other => format!("{other:?} "),
        };
    }
    out
}

#[test]
fn the_encodings_of_old_are_read() {
    // Version 1 has no checksum.
    assert_eq!(story(b"REDIS0001\x00\x01k\x01v\xff"), "k String v | ");
    let scores = b"REDIS0003\x03\x01z\x03\x01a\x031.5\x01b\xfe\x01c\xff\xff";
    assert_eq!(story(scores), "z SortedSet a@1.5 b@inf c@-inf | ");
    let zipmap = b"REDIS0003\x09\x01h\x0b\x01\x03foo\x03\x00bar\xff\xff";
    assert_eq!(story(zipmap), "h Hash foo=bar | ");
    let lzf = b"REDIS0003\x00\x01s\xc3\x05\x0d\x00a\xe0\x03\x00\xff";
    assert_eq!(story(lzf), format!("s String {} | ", "a".repeat(13)));
    let ints = b"REDIS0003\x01\x01l\x03\xc0\xff\xc1\x00\x80\xc2\xff\xff\xff\x7f\xff";
    assert_eq!(story(ints), "l List -1 -32768 2147483647 | ");
    let empty = b"REDIS0003\x02\x01e\x00\xff";
    assert_eq!(story(empty), "e Set | ");
    let function = b"REDIS0010\xf6\x03lib\x03lua\x01\x03say\x04code\xff\0\0\0\0\0\0\0\0";
    assert_eq!(story(function), "function #!lua name=lib\ncode");
    let expiry = b"REDIS0003\xfd\x01\x00\x00\x00\xf8\x05\xf9\x07\x00\x01k\x01v\xff";
    assert_eq!(story(expiry), "k String v | ");
}

#[test]
fn values_of_modules_are_read_past_and_named() {
    let mut dump = b"REDIS0010\xf7\x81".to_vec();
    let characters: [u64; 9] = [17, 30, 9, 18, 14, 13, 62, 17, 11];
    let id = characters.iter().fold(0, |id, bits| id << 6 | bits) << 10 | 3;
    dump.extend_from_slice(&u64::to_be_bytes(id));
    dump.extend_from_slice(b"\x02\x01\x05\x03abc\x00");
    dump.extend_from_slice(b"\x07\x01m\x81");
    dump.extend_from_slice(&u64::to_be_bytes(id));
    dump.extend_from_slice(b"\x01\x05\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\x05\xc0\x07\x00");
    dump.extend_from_slice(b"\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0");
    let id = format!("ModuleId({id})");
    assert_eq!(story(&dump), format!("ModuleAux({id}) m Module({id}) | k String v | "));
    let old = b"REDIS0010\x06\x01m\x05";
    assert!(read_all(old).unwrap_err().to_string().contains("only the module"));
}

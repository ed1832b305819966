//! What a client sees that makes a backup: one node, four shards, no disk.

use std::collections::BTreeMap;

use keyspace::backup::{Item, Walk};
use wire::resp::{Decoder, ReplyLimits, Value};

use super::testing::Stage;

/// What a client hears, as bytes: a part is no text.
fn ask(stage: &mut Stage, client: usize, line: &str) -> Value {
    stage.front.received(stage.moment, client, &mut format!("{line}\r\n").into_bytes());
    stage.settle();
    let out = stage.front.out(client).map(std::mem::take).unwrap_or_default();
    stage.front.sent(client, out.len());
    Decoder::new(ReplyLimits::default()).decode(&out).unwrap().expect("a whole reply").0
}

fn read(stage: &mut Stage, client: usize, shard: usize, offset: usize) -> (bool, Vec<u8>) {
    let reply = ask(stage, client, &format!("synod.backup read b {shard} {offset}"));
    match reply {
        Value::Array(parts) => match <[Value; 2]>::try_from(parts) {
            Ok([Value::Int(last), Value::Bulk(data)]) => (last == 1, data),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn keys_of(bytes: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut walk, mut at, mut keys) = (Walk::default(), 0, BTreeMap::new());
    while at < bytes.len() {
        let (item, used) = walk.next(&bytes[at..]).unwrap();
        at += used;
        if let Item::Record(record) = item {
            keys.insert(record.key.to_vec(), record.value.to_vec());
        }
    }
    keys
}

#[test]
fn a_backup_has_every_shard_as_it_was_when_it_began() {
    let mut stage = Stage::sharded(4);
    let client = stage.open();
    let value = "x".repeat(3_000);
    for n in 0..400 {
        stage.say(client, &format!("set key:{n} {value}"));
    }
    let begun = ask(&mut stage, client, "synod.backup begin b");
    assert!(matches!(&begun, Value::Array(clocks) if clocks.len() == 8), "{begun:?}");
    assert!(stage.say(client, "synod.backup list").starts_with("*4\r\n*3\r\n$1\r\nb\r\n:0\r\n:0"));
    let mut keys = BTreeMap::new();
    for shard in 0..4 {
        let mut bytes = Vec::new();
        loop {
            let (last, data) = read(&mut stage, client, shard, bytes.len());
            assert_eq!(read(&mut stage, client, shard, bytes.len()), (last, data.clone()), "again");
            bytes.extend(data);
            if last {
                break;
            }
            for n in 0..400 {
                stage.say(client, &format!("set key:{n} changed"));
            }
            stage.say(client, "mset more 1 other 2 third 3");
        }
        assert!(bytes.len() > node::limits::BACKUP_PART_BYTES, "there are parts");
        keys.append(&mut keys_of(&bytes));
    }
    assert_eq!(keys.len(), 400);
    assert!(keys.values().all(|kept| kept.ends_with(value.as_bytes())), "nothing changed");
    stage.check_all(&[
        (client, "synod.backup end b", "+OK\r\n"),
        (client, "synod.backup list", "*0\r\n"),
    ]);
}

#[test]
fn a_backup_that_nobody_reads_is_given_up_and_says_so() {
    let mut stage = Stage::new();
    let client = stage.open();
    stage.say(client, "set a 1");
    stage.say(client, "synod.backup begin b");
    stage.say(client, "synod.backup begin other");
    stage.pass(29_000);
    let gone = "-NOBACKUP nothing of 'b' for shard 0 here: ";
    stage.check_all(&[
        (client, "synod.backup list", "*1\r\n*3\r\n$1\r\nb\r\n:0\r\n:0\r\n"),
        (client, "synod.backup read b 1 0", "-ERR there is no such shard\r\n"),
        (client, "synod.backup read b 0 7", &format!("{gone}the next part begins at 0\r\n")),
        (
            client,
            "synod.backup read other 0 0",
            "-NOBACKUP nothing of 'other' for shard 0 here: it did not begin here, or the node was \
             started anew\r\n",
        ),
    ]);
    read(&mut stage, client, 0, 0);
    stage.pass(29_000);
    assert!(stage.say(client, "synod.backup list").starts_with("*1\r\n"), "it was read");
    stage.pass(1_500);
    stage.check_all(&[
        (client, "synod.backup list", "*0\r\n"),
        (client, "synod.backup read b 0 0", &format!("{gone}nobody read it for 30 s\r\n")),
        (client, "multi", "+OK\r\n"),
        (client, "synod.backup begin c", "-ERR Command not allowed inside a transaction\r\n"),
    ]);
}

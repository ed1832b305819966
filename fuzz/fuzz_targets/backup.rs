//! Backups of a shard: what can be walked through is the same however it is cut, and a value that can
//! be read has a type and parts.

#![no_main]

use keyspace::backup::{self, Flaw, Item, Walk};
use libfuzzer_sys::fuzz_target;

/// What stands in these bytes, as it is shown, up to its end or to what makes no sense.
fn walk(data: &[u8], part: usize) -> Vec<String> {
    let (mut walk, mut found, mut at) = (Walk::default(), Vec::new(), 0);
    let mut end = part.min(data.len());
    loop {
        match walk.next(&data[at..end]) {
            Ok((item, used)) => {
                assert!(used > 0 && at + used <= end, "it takes what was given");
                found.push(format!("{item:?}"));
                at += used;
                match item {
                    Item::Record(record) => look_at(record.value),
                    Item::Head(_) => {}
                    Item::End(_) => return found,
                }
            }
            Err(Flaw::Malformed(_)) if end < data.len() => end = (end + part).min(data.len()),
            Err(Flaw::Malformed(_)) => return found,
            Err(flaw) => {
                found.push(flaw.to_string());
                return found;
            }
        }
    }
}

fn look_at(bytes: &[u8]) {
    let Ok(value) = backup::value(bytes) else { return };
    assert_eq!(backup::type_name(bytes), Some(value.type_name()));
    backup::pieces(&value, |_| ());
}

fuzz_target!(|data: &[u8]| {
    let Some((part, data)) = data.split_first() else { return };
    assert_eq!(walk(data, data.len()), walk(data, usize::from(*part).max(1)));
});

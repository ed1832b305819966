//! Dumps of Redis: whatever the bytes are, reading ends in a dump or an error, and however the source
//! cuts them, it ends in the same.
//!
//! The first byte says how many bytes come at a time. The checksum is the last thing that is looked
//! at, so nothing hides behind it.

#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;

/// A source that gives a few bytes at a time.
struct Dribble<'a> {
    rest: &'a [u8],
    step: usize,
}

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.step.min(out.len()).min(self.rest.len());
        let (now, later) = self.rest.split_at(count);
        out[..count].copy_from_slice(now);
        self.rest = later;
        Ok(count)
    }
}

/// Items and bytes of text, and how it ended.
fn read(source: impl Read) -> (u64, usize, String) {
    let (mut reader, mut items, mut bytes) = (rdb::Reader::new(source), 0, 0);
    loop {
        match reader.next() {
            Ok(None) => return (items, bytes, "whole".to_owned()),
            Err(error) => return (items, bytes, error.to_string()),
            Ok(Some(item)) => {
                items += 1;
                bytes += match item {
                    rdb::Item::Key(key) => key.key.len(),
                    rdb::Item::Text(text) | rdb::Item::Element(text) => text.len(),
                    rdb::Item::Field { field, value } => field.len() + value.len(),
                    rdb::Item::Member { member, .. } => member.len(),
                    rdb::Item::Entry { texts, .. } => texts.iter().map(<[u8]>::len).sum(),
                    _ => 0,
                };
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((step, rest)) = data.split_first() else { return };
    let whole = read(rest);
    assert_eq!(read(Dribble { rest, step: usize::from(*step).max(1) }), whole);
});

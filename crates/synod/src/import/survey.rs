//! The first walk through a dump, which changes nothing: is it whole, what is in it, does it fit?
//!
//! A checksum stands at the end, so without this walk a damaged dump would be known only once most of
//! it is written. It costs a few seconds a GiB.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use rdb::{Item, Kind, Reader};

use crate::limits::{CALL_BYTES_MAX, ENTRY_TEXTS_MAX};
use crate::meter::{Meter, mib};

/// What a dump holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// Bytes of the dump.
    pub(super) bytes: u64,
    /// Keys of each database, those that are left out included.
    pub(super) databases: BTreeMap<u64, u64>,
    pub(super) functions: u64,
    /// Keys, counted through the dump from 0, that have more in one piece than a call may have.
    pub(super) too_large: BTreeSet<u64>,
}

/// Walks through the dump. `shown` is what errors call it.
pub(super) fn survey(file: &File, shown: &str) -> Result<Survey, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{shown}: {error}");
    let len = file.metadata().map_err(|error| failed(&error))?.len();
    let mut meter = Meter::new("checking", Some(len));
    let (mut survey, mut reader) = (Survey::default(), Reader::new(file));
    let (mut keys, mut database, mut key_bytes) = (0u64, 0, 0);
    while let Some(item) = reader.next().map_err(|error| failed(&error))? {
        let size = match item {
            Item::Key(key) => {
                keys += 1;
                *survey.databases.entry(database).or_insert(0) += 1;
                key_bytes = key.key.len();
                // A string is written in parts, but for its key.
                if key.kind == Kind::String { 0 } else { key_bytes }
            }
            Item::Database(number) => {
                database = number;
                0
            }
            Item::Function(_) => {
                survey.functions += 1;
                0
            }
            Item::Element(element) => key_bytes + element.len(),
            Item::Field { field, value } => key_bytes + field.len() + value.len(),
            Item::Member { member, .. } => key_bytes + member.len(),
            Item::Entry { texts, .. } if texts.len() > ENTRY_TEXTS_MAX => usize::MAX,
            Item::Entry { texts, .. } => key_bytes + texts.iter().map(<[u8]>::len).sum::<usize>(),
            _ => 0,
        };
        if size > CALL_BYTES_MAX {
            survey.too_large.insert(keys - 1);
        }
        if matches!(item, Item::KeyEnd) && keys.is_multiple_of(1024) {
            let offset = reader.offset();
            meter.update(offset, |seconds| {
                format!("{keys} keys  {:.0} MiB/s", mib(offset) / seconds.max(0.001))
            });
        }
    }
    if reader.is_followed().map_err(|error| failed(&error))? {
        return Err(failed(
            &"bytes follow the end of the dump. If it is the head of an append-only \
                            file, the commands behind it would be missing: let Redis load it, and \
                            import from there",
        ));
    }
    meter.finish();
    survey.bytes = reader.offset();
    Ok(survey)
}

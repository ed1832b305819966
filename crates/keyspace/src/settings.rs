//! Settings that change what the keyspace does. They are part of the state: CONFIG SET of one of
//! them goes through the log, so that every replica has the same.
//!
//! Names, ranges and texts are those of Redis 7.0 (`src/config.c`); the older names with `ziplist`
//! in them mean the same settings.

use stdx::codec::{Malformed, Reader, put_varint};
use wire::Args;

use crate::context::notify;
use crate::number::parse_i64;
use crate::reject::Reject;

/// Sizes up to which a value keeps its compact encoding, and which events are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub hash_max_listpack_entries: u64,
    pub hash_max_listpack_value: u64,
    /// Positive: entries; -1 to -5: 4 to 64 KiB.
    pub list_max_listpack_size: i64,
    pub set_max_intset_entries: u64,
    pub zset_max_listpack_entries: u64,
    pub zset_max_listpack_value: u64,
    /// The classes of `notify-keyspace-events`, as a set of `context::notify` bits.
    pub notify: u32,
    pub list_compress_depth: u64,
    pub proto_max_bulk_len: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            set_max_intset_entries: 512,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            notify: 0,
            list_compress_depth: 0,
            proto_max_bulk_len: crate::limits::STRING_BYTES_MAX as u64,
        }
    }
}

/// How the text of a setting is read.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Integer,
    /// A number of bytes, which may have a unit.
    Memory,
    /// Letters for classes of events.
    Events,
}

/// A setting by name.
struct Row {
    name: &'static str,
    alias: Option<&'static str>,
    kind: Kind,
    min: i64,
    max: i64,
    get: fn(&Settings) -> i64,
    set: fn(&mut Settings, i64),
}

const ROWS: &[Row] = &[
    Row {
        name: "hash-max-listpack-entries",
        alias: Some("hash-max-ziplist-entries"),
        kind: Kind::Integer,
        min: 0,
        max: i64::MAX,
        get: |s| s.hash_max_listpack_entries as i64,
        set: |s, value| s.hash_max_listpack_entries = value as u64,
    },
    Row {
        name: "hash-max-listpack-value",
        alias: Some("hash-max-ziplist-value"),
        kind: Kind::Memory,
        min: 0,
        max: i64::MAX,
        get: |s| s.hash_max_listpack_value as i64,
        set: |s, value| s.hash_max_listpack_value = value as u64,
    },
    Row {
        name: "list-compress-depth",
        alias: None,
        kind: Kind::Integer,
        min: 0,
        max: i32::MAX as i64,
        get: |s| s.list_compress_depth as i64,
        set: |s, value| s.list_compress_depth = value as u64,
    },
    Row {
        name: "list-max-listpack-size",
        alias: Some("list-max-ziplist-size"),
        kind: Kind::Integer,
        min: i32::MIN as i64,
        max: i32::MAX as i64,
        get: |s| s.list_max_listpack_size,
        set: |s, value| s.list_max_listpack_size = value,
    },
    Row {
        name: "notify-keyspace-events",
        alias: None,
        kind: Kind::Events,
        min: 0,
        max: u32::MAX as i64,
        get: |s| i64::from(s.notify),
        set: |s, value| s.notify = value as u32,
    },
    Row {
        name: "proto-max-bulk-len",
        alias: None,
        kind: Kind::Memory,
        min: 1024 * 1024,
        max: i64::MAX,
        get: |s| s.proto_max_bulk_len as i64,
        set: |s, value| s.proto_max_bulk_len = value as u64,
    },
    Row {
        name: "set-max-intset-entries",
        alias: None,
        kind: Kind::Integer,
        min: 0,
        max: i64::MAX,
        get: |s| s.set_max_intset_entries as i64,
        set: |s, value| s.set_max_intset_entries = value as u64,
    },
    Row {
        name: "zset-max-listpack-entries",
        alias: Some("zset-max-ziplist-entries"),
        kind: Kind::Integer,
        min: 0,
        max: i64::MAX,
        get: |s| s.zset_max_listpack_entries as i64,
        set: |s, value| s.zset_max_listpack_entries = value as u64,
    },
    Row {
        name: "zset-max-listpack-value",
        alias: Some("zset-max-ziplist-value"),
        kind: Kind::Memory,
        min: 0,
        max: i64::MAX,
        get: |s| s.zset_max_listpack_value as i64,
        set: |s, value| s.zset_max_listpack_value = value as u64,
    },
];

fn row(name: &str) -> Option<&'static Row> {
    let is = |other: &str| other.eq_ignore_ascii_case(name);
    ROWS.iter().find(|row| is(row.name) || row.alias.is_some_and(is))
}

impl Settings {
    /// The names of all settings of the keyspace, older names included.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ROWS.iter().flat_map(|row| [Some(row.name), row.alias]).flatten()
    }

    /// The value of a setting as CONFIG GET shows it; nothing if this is no setting of the keyspace.
    pub fn get(&self, name: &str) -> Option<String> {
        let row = row(name)?;
        let value = (row.get)(self);
        Some(match row.kind {
            Kind::Events => events_text(value as u32),
            Kind::Integer | Kind::Memory => value.to_string(),
        })
    }

    /// Every setting by its name of today, with its value as CONFIG GET shows it.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        ROWS.iter().filter_map(|row| Some((row.name, self.get(row.name)?)))
    }

    /// Changes a setting. The error is the reason that CONFIG SET gives behind the name.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), String> {
        let Some(row) = row(name) else { return Err("no such setting".to_owned()) };
        let value = match row.kind {
            Kind::Integer => {
                parse_i64(value).ok_or("argument couldn't be parsed into an integer")?
            }
            Kind::Memory => parse_memory(value).ok_or("argument must be a memory value")?,
            Kind::Events => i64::from(
                parse_events(value)
                    .ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?,
            ),
        };
        if !(row.min..=row.max).contains(&value) {
            let Row { min, max, .. } = row;
            return Err(format!("argument must be between {min} and {max} inclusive"));
        }
        (row.set)(self, value);
        Ok(())
    }

    /// These settings with the changes of CONFIG SET: names and values in turn, each name once.
    pub fn with(&self, pairs: Args<'_>) -> Result<Settings, Reject> {
        if pairs.len() % 2 == 1 {
            return Err(Reject::Syntax);
        }
        let failed = |name: &str, reason: &str| {
            let related = format!("possibly related to argument '{name}'");
            Reject::from(format!("ERR CONFIG SET failed ({related}) - {reason}"))
        };
        let mut seen: Vec<String> = Vec::new();
        for at in (0..pairs.len()).step_by(2) {
            let name = String::from_utf8_lossy(&pairs[at]);
            if row(&name).is_none() {
                let problem = "Unknown option or number of arguments for CONFIG SET";
                return Err(Reject::from(format!("ERR {problem} - '{name}'")));
            }
            // An older name counts as another one here.
            if seen.contains(&name.to_lowercase()) {
                return Err(failed(&name, "duplicate parameter"));
            }
            seen.push(name.to_lowercase());
        }
        let mut settings = self.clone();
        for (at, name) in seen.iter().enumerate() {
            let set = settings.set(name, &pairs[at * 2 + 1]);
            set.map_err(|reason| failed(name, &reason))?;
        }
        Ok(settings)
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        for value in [
            self.hash_max_listpack_entries,
            self.hash_max_listpack_value,
            self.list_max_listpack_size as u64,
            self.set_max_intset_entries,
            self.zset_max_listpack_entries,
            self.zset_max_listpack_value,
            u64::from(self.notify),
            self.list_compress_depth,
            self.proto_max_bulk_len,
        ] {
            put_varint(out, value);
        }
    }

    pub(crate) fn load(reader: &mut Reader<'_>) -> Result<Settings, Malformed> {
        Ok(Settings {
            hash_max_listpack_entries: reader.varint()?,
            hash_max_listpack_value: reader.varint()?,
            list_max_listpack_size: reader.varint()? as i64,
            set_max_intset_entries: reader.varint()?,
            zset_max_listpack_entries: reader.varint()?,
            zset_max_listpack_value: reader.varint()?,
            notify: reader.varint()? as u32,
            list_compress_depth: reader.varint()?,
            proto_max_bulk_len: reader.varint()?,
        })
    }
}

/// A number of bytes with a unit: `1kb` is 1024, `1k` is 1000. Too large a number is cut.
pub fn parse_memory(text: &[u8]) -> Option<i64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match &*unit.to_ascii_lowercase() {
        b"" | b"b" => 1,
        b"k" => 1_000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    // No digits are zero, as for C's `strtoull`.
    let number = std::str::from_utf8(number).ok()?;
    let number: u64 = if number.is_empty() { 0 } else { number.parse().ok()? };
    Some(i64::try_from(number.saturating_mul(factor)).unwrap_or(i64::MAX))
}

/// The letters of the classes of events, in the order in which CONFIG GET shows them.
const EVENTS: &[(char, u32)] = &[
    ('g', notify::GENERIC),
    ('$', notify::STRING),
    ('l', notify::LIST),
    ('s', notify::SET),
    ('h', notify::HASH),
    ('z', notify::ZSET),
    ('x', notify::EXPIRED),
    ('e', notify::EVICTED),
    ('t', notify::STREAM),
    ('d', notify::MODULE),
    ('n', notify::NEW),
    ('K', notify::KEYSPACE),
    ('E', notify::KEYEVENT),
    ('m', notify::KEY_MISS),
];

fn parse_events(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |classes, &letter| {
        let class = match letter {
            b'A' => notify::ALL,
            _ => EVENTS.iter().find(|(known, _)| *known == char::from(letter))?.1,
        };
        Some(classes | class)
    })
}

fn events_text(classes: u32) -> String {
    // `A` says all but these, which are named beside it.
    let all = classes & notify::ALL == notify::ALL;
    let beside = notify::KEYSPACE | notify::KEYEVENT | notify::KEY_MISS;
    let shown = |class: u32| classes & class != 0 && (!all || beside & class != 0);
    let letters = EVENTS.iter().filter(|(_, class)| shown(*class)).map(|(letter, _)| *letter);
    all.then_some('A').into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn every_setting_has_its_default_and_takes_it_back() {
        let mut settings = Settings::default();
        for name in Settings::names() {
            let value = settings.get(name).unwrap();
            settings.set(name, value.as_bytes()).unwrap();
        }
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.get("HASH-MAX-ZIPLIST-ENTRIES").unwrap(), "512");
        assert_eq!(settings.get("maxmemory"), None);
    }

    #[test]
    fn event_classes_are_read_and_shown_as_by_redis() {
        let mut settings = Settings::default();
        for (given, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("AKEm", "AKEm"),
            ("KEg$lshzxetd", "AKE"),
            ("Kg$lshzxet", "g$lshzxetK"),
            ("Kg$", "g$K"),
            ("Kn", "nK"),
            ("nA", "A"),
        ] {
            settings.set("notify-keyspace-events", given.as_bytes()).unwrap();
            assert_eq!(settings.get("notify-keyspace-events").unwrap(), shown, "{given}");
        }
        let refused = settings.set("notify-keyspace-events", b"KEq");
        assert_eq!(refused.unwrap_err(), "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_range() {
        let mut settings = Settings::default();
        for (name, value, reason) in [
            (
                "hash-max-listpack-entries",
                "-1",
                "argument must be between 0 and 9223372036854775807 inclusive",
            ),
            (
                "list-max-listpack-size",
                "2147483648",
                "argument must be between -2147483648 and 2147483647 inclusive",
            ),
            (
                "proto-max-bulk-len",
                "1kb",
                "argument must be between 1048576 and 9223372036854775807 inclusive",
            ),
            ("proto-max-bulk-len", "1x", "argument must be a memory value"),
            ("proto-max-bulk-len", "-1", "argument must be a memory value"),
            ("set-max-intset-entries", "1k", "argument couldn't be parsed into an integer"),
        ] {
            assert_eq!(settings.set(name, value.as_bytes()).unwrap_err(), reason, "{name} {value}");
        }
        assert_eq!(settings, Settings::default());
        settings.set("proto-max-bulk-len", b"2MB").unwrap();
        assert_eq!(settings.proto_max_bulk_len, 2 << 20);
    }
}

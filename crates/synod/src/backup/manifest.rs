//! The manifest: what a backup consists of, with the checksum of each part and of itself. It is
//! written last, so a backup without one is none.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// The name of its file.
pub(crate) const NAME: &str = "manifest.json";

/// The format that this code writes and reads.
const FORMAT: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: u64,
    /// The version of Synod that wrote it.
    pub(crate) synod: String,
    /// Names this backup.
    pub(crate) backup: String,
    /// Names the cluster that it is of.
    pub(crate) cluster: String,
    /// How many shards that has.
    pub(crate) shards: usize,
    pub(crate) point: Point,
    /// Keys of all shards.
    pub(crate) keys: u64,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// One for each shard, in their order.
    pub(crate) files: Vec<Part>,
    /// SHA-256 of all that stands before it; see `seal`.
    pub(crate) checksum: String,
}

/// The point of the serialization order that the backup is of, by the clocks of the shards' logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Point {
    pub(crate) unix_ms: u64,
    pub(crate) utc: String,
}

/// The file of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) shard: usize,
    pub(crate) bytes: u64,
    pub(crate) keys: u64,
    pub(crate) sha256: String,
}

/// What a new manifest is made of.
pub(super) struct About {
    pub(super) backup: String,
    pub(super) cluster: String,
    pub(super) unix_ms: u64,
    pub(super) files: Vec<Part>,
}

impl Manifest {
    pub(super) fn new(about: About) -> Manifest {
        let About { backup, cluster, unix_ms, files } = about;
        let mut manifest = Manifest {
            format: FORMAT,
            synod: env!("CARGO_PKG_VERSION").to_owned(),
            backup,
            cluster,
            shards: files.len(),
            point: Point { unix_ms, utc: utc(unix_ms) },
            keys: files.iter().map(|file| file.keys).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            files,
            checksum: String::new(),
        };
        manifest.checksum = manifest.seal();
        manifest
    }

    /// The checksum of everything but itself: of its JSON without white space and with an empty one.
    fn seal(&self) -> String {
        let open = Manifest { checksum: String::new(), ..self.clone() };
        let text = serde_json::to_vec(&open).expect("it is made of text and numbers");
        hex(&Sha256::digest(&text))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("it is made of text and numbers");
        text.push(b'\n');
        text
    }

    /// Reads one, and refuses what does not fit together. The error begins in the middle of a
    /// sentence, behind the name of the file.
    pub(super) fn decode(text: &[u8]) -> Result<Manifest, String> {
        let json: Json = serde_json::from_slice(text)
            .map_err(|error| format!("is no JSON, or is cut off: {error}"))?;
        match json["format"].as_u64() {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(format!(
                    "is of version {other}, which is not known: this is version {FORMAT}"
                ));
            }
            None => return Err("is no manifest of a backup: it names no format".to_owned()),
        }
        let manifest: Manifest =
            serde_json::from_value(json).map_err(|error| format!("is malformed: {error}"))?;
        if manifest.checksum != manifest.seal() {
            return Err("was changed: its checksum is wrong".to_owned());
        }
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let fits = |(at, file): (usize, &Part)| file.shard == at && file.name == file_name(at);
        if self.files.len() != self.shards || !self.files.iter().enumerate().all(fits) {
            return Err("is malformed: it needs a file for each shard, in order".to_owned());
        }
        Ok(())
    }
}

/// The name of a shard's file.
pub(super) fn file_name(shard: usize) -> String {
    format!("shard-{shard:04}.synod")
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// A time for people, in UTC. Hinnant, "chrono-compatible low-level date algorithms".
pub(crate) fn utc(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    // Days since the first of March of the year 0, since a leap day then ends its year.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let part = |shard| Part {
            name: file_name(shard),
            shard,
            bytes: 10,
            keys: 2,
            sha256: "00".to_owned(),
        };
        Manifest::new(About {
            backup: "b".to_owned(),
            cluster: "c".to_owned(),
            unix_ms: 1_700_000_000_123,
            files: vec![part(0), part(1)],
        })
    }

    #[test]
    fn a_manifest_comes_back_and_any_change_of_it_is_seen() {
        let text = String::from_utf8(manifest().encode()).unwrap();
        assert_eq!(Manifest::decode(text.as_bytes()), Ok(manifest()));
        for (from, to, word) in [
            ("\"format\": 1", "\"format\": 2", "of version 2, which is not known"),
            ("\"format\"", "\"other\"", "names no format"),
            ("\"keys\": 4", "\"keys\": 5", "checksum is wrong"),
            ("\"sha256\": \"00\"", "\"sha256\": \"01\"", "checksum is wrong"),
            ("\"shards\"", "\"shard\"", "malformed"),
            ("}\n", "", "cut off"),
        ] {
            assert!(text.contains(from), "{from}");
            let why = Manifest::decode(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(why.contains(word), "{from}: {why}");
        }
        let mut fewer = manifest();
        fewer.files.pop();
        fewer.checksum = fewer.seal();
        assert!(Manifest::decode(&fewer.encode()).unwrap_err().contains("a file for each shard"));
    }

    #[test]
    fn times_are_shown_as_people_read_them() {
        for (unix_ms, expect) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(utc(unix_ms), expect);
        }
    }
}

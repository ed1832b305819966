//! A shard's file as it passes by: its length, its checksum, and whether it is a whole backup of a
//! shard, key by key. The same looks at what is written and at what is read again.

use keyspace::backup::{Flaw, Head, Item, Record, Walk};
use sha2::{Digest, Sha256};

use super::manifest::hex;

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    walk: Walk,
    hash: Sha256,
    /// Bytes that are no whole item yet.
    rest: Vec<u8>,
    bytes: u64,
    keys: u64,
    head: Option<Head>,
    has_ended: bool,
    /// Why the rest makes no sense: it is hashed, and not looked at.
    flaw: Option<String>,
}

/// What has passed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// Keys, and what stands before them; or why it is no backup of a shard.
    pub(crate) content: Result<(u64, Head), String>,
}

impl Scan {
    /// The next bytes of the file; `visit` is given each key, and ends it all by an error.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        mut visit: impl FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        if self.flaw.is_some() {
            return Ok(());
        }
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        while at < self.rest.len() && self.flaw.is_none() {
            if self.has_ended {
                self.flaw = Some("something follows its end".to_owned());
                break;
            }
            let (item, used) = match self.walk.next(&self.rest[at..]) {
                Ok(found) => found,
                // As long as there is more to come it may become whole.
                Err(Flaw::Malformed(_)) => break,
                Err(flaw) => {
                    self.flaw = Some(flaw.to_string());
                    break;
                }
            };
            match item {
                Item::Head(head) => self.head = Some(head),
                Item::Record(record) => {
                    self.keys += 1;
                    visit(record)?;
                }
                Item::End(_) => self.has_ended = true,
            }
            at += used;
        }
        self.rest.drain(..at);
        Ok(())
    }

    /// Keys so far.
    pub(crate) fn keys(&self) -> u64 {
        self.keys
    }

    /// That was all of it.
    pub(crate) fn finish(self) -> Scanned {
        let at = self.bytes - self.rest.len() as u64;
        let content = match (self.flaw, self.head.filter(|_| self.has_ended)) {
            (Some(flaw), _) => Err(flaw),
            (None, Some(head)) => Ok((self.keys, head)),
            (None, None) => Err(format!("it is malformed, or cut off, behind byte {at}")),
        };
        Scanned { bytes: self.bytes, sha256: hex(&self.hash.finalize()), content }
    }
}

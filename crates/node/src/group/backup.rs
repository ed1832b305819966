//! The state of a shard at the point of a backup, kept by the replica that led there, and read by a
//! client part by part.
//!
//! ```text
//! BEGIN applied, by the leader that proposed it ─▶ keeps ─ READ ─▶ part ─ READ ─▶ … ─▶ last ─ END ─▶ gone
//!                                                   └─ nobody reads, or writers are faster ─▶ gone
//! ```
//!
//! Parts are made when they are asked for, so what is held is what the shard's writers changed before
//! its turn, and one part. The part that was given last is kept: a client whose connection broke asks
//! for it again. A new leader changes nothing, since the copy is of a state that is committed; the end
//! of the process does, and so does a snapshot that is installed over this state.
//!
//! What always holds: it is no part of the state of the shard, and no other replica knows of it.

use bytes::Bytes;
use keyspace::{Cut, Saver};
use stdx::Instant;

use super::Group;
use crate::limits::{BACKUP_HELD_BYTES_MAX, BACKUP_IDLE_TIME, BACKUP_PART_BYTES};

/// What a replica keeps for a backup.
#[derive(Debug)]
pub(super) struct Kept {
    id: Vec<u8>,
    /// None once all parts are made.
    saver: Option<Saver>,
    /// Made and not asked for yet.
    ahead: Bytes,
    /// The part that was given last, and where it begins.
    part: Bytes,
    offset: u64,
    /// When it was asked for.
    heard: Instant,
}

/// A part of a shard's backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupPart {
    pub data: Bytes,
    pub last: bool,
}

/// Why there is no such part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBackup {
    /// It did not begin here, was ended, or the node was started anew.
    Unknown,
    /// Nobody read it for too long.
    Idle,
    /// It would take too much memory: the shard is written faster than this is read.
    Behind,
    /// Another state was installed over this one.
    Replaced,
    /// The client asks for another place than the next, or the one before.
    Offset { next: u64 },
}

impl std::fmt::Display for NoBackup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoBackup::Unknown => f.write_str("it did not begin here, or the node was started anew"),
            NoBackup::Idle => {
                write!(f, "nobody read it for {} s", BACKUP_IDLE_TIME.as_secs())
            }
            NoBackup::Behind => f.write_str("the shard is written faster than it is read"),
            NoBackup::Replaced => f.write_str("this replica was behind and took a snapshot"),
            NoBackup::Offset { next } => write!(f, "the next part begins at {next}"),
        }
    }
}

impl Kept {
    fn end(&self) -> u64 {
        self.offset + self.part.len() as u64
    }
}

impl Group {
    /// The backup that this replica keeps the state for, and how many bytes of it were read.
    pub fn backup(&self) -> Option<(&[u8], u64)> {
        self.kept.as_ref().map(|kept| (&*kept.id, kept.end()))
    }

    /// The part of a backup that begins at this place: the next one, or once more the one before.
    pub fn read_backup(
        &mut self,
        now: Instant,
        id: &[u8],
        offset: u64,
    ) -> Result<BackupPart, NoBackup> {
        let Some(kept) = self.kept.as_mut().filter(|kept| kept.id == id) else {
            let gone = self.gone.as_ref().filter(|(gone, _)| gone == id);
            return Err(gone.map_or(NoBackup::Unknown, |(_, why)| *why));
        };
        let next = kept.end();
        if offset != next && offset != kept.offset {
            return Err(NoBackup::Offset { next });
        }
        kept.heard = now;
        if offset == next {
            if let (true, Some(saver)) = (kept.ahead.is_empty(), &mut kept.saver) {
                let mut data = Vec::with_capacity(BACKUP_PART_BYTES * 2);
                if saver.step(&mut self.shard, BACKUP_PART_BYTES, &mut data) {
                    kept.saver = None;
                }
                kept.ahead = Bytes::from(data);
            }
            let length = kept.ahead.len().min(BACKUP_PART_BYTES);
            (kept.part, kept.offset) = (kept.ahead.split_to(length), next);
        }
        let last = kept.saver.is_none() && kept.ahead.is_empty();
        Ok(BackupPart { data: kept.part.clone(), last })
    }

    /// A client has all of it, or wants no more.
    pub fn end_backup(&mut self, id: &[u8]) {
        if self.kept.as_ref().is_some_and(|kept| kept.id == id) {
            self.drop_backup(NoBackup::Unknown);
        }
    }

    /// Keeps the state of a backup that begins.
    pub(super) fn keep_backup(&mut self, now: Instant, cut: Cut) {
        assert!(self.kept.is_none(), "a replica is told to take one backup at a time");
        let Cut { id, saver } = cut;
        let (saver, ahead, part, offset) = (Some(saver), Bytes::new(), Bytes::new(), 0);
        self.kept = Some(Kept { id, saver, ahead, part, offset, heard: now });
    }

    /// Gives it up.
    pub(super) fn drop_backup(&mut self, why: NoBackup) {
        let Some(kept) = self.kept.take() else { return };
        if let Some(saver) = kept.saver {
            saver.abort(&mut self.shard);
        }
        self.gone = Some((kept.id, why));
    }

    /// Gives it up if nobody reads it, or if it takes too much.
    pub(super) fn watch_backup(&mut self, now: Instant) {
        let Some(kept) = &self.kept else { return };
        let waiting = kept.saver.as_ref().map_or(0, |saver| saver.waiting(&self.shard));
        if self.backup_deadline() <= now {
            self.drop_backup(NoBackup::Idle);
        } else if waiting > BACKUP_HELD_BYTES_MAX {
            self.drop_backup(NoBackup::Behind);
        }
    }

    /// When it is given up if nobody reads it.
    pub(super) fn backup_deadline(&self) -> Instant {
        self.kept.as_ref().map_or(Instant::FAR, |kept| kept.heard + BACKUP_IDLE_TIME)
    }
}

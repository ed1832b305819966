//! Taking a snapshot from a peer, piece by piece.

use std::sync::Arc;

use super::format::{Checker, Defect, Meta, VERSION};
use super::stored::{FOLDER, Snapshot};
use super::write::publish;
use crate::disk::{Disk, File};
use crate::{Error, GroupId};

/// What came of a piece.
#[derive(Debug)]
pub enum Progress {
    /// All before this offset is here: send what follows.
    Here(u64),
    /// It is whole, checked and durable. Hand it to [`Snapshots::keep`](super::Snapshots::keep).
    Done(Box<Snapshot>),
}

/// Takes the pieces of one snapshot file after another.
#[derive(Debug)]
pub struct Receiver {
    disk: Arc<dyn Disk>,
    group: GroupId,
    temporary: String,
    file: Option<Box<dyn File>>,
    checker: Checker,
    here: u64,
}

impl Receiver {
    pub(super) fn new(disk: Arc<dyn Disk>, group: GroupId) -> Receiver {
        let temporary = format!("{FOLDER}/{:08}-received.tmp", group.0);
        Receiver { disk, group, temporary, file: None, checker: Checker::default(), here: 0 }
    }

    /// How much is here.
    pub fn here(&self) -> u64 {
        self.here
    }

    /// Takes a piece of the file. Offset 0 begins anew; a piece that is here already, or that does
    /// not follow, changes nothing: the answer says where to go on. `Error::Corrupt` means that the
    /// pieces are no snapshot of this group; all is forgotten, and offset 0 may begin anew.
    pub fn chunk(&mut self, offset: u64, bytes: &[u8], last: bool) -> Result<Progress, Error> {
        if offset == 0 {
            self.begin()?;
        }
        let known = self.here.checked_sub(offset).filter(|known| *known <= bytes.len() as u64);
        let (Some(file), Some(known)) = (&self.file, known) else {
            return Ok(Progress::Here(self.here));
        };
        let piece = &bytes[known as usize..];
        let written = file.write_at(self.here, piece);
        written.map_err(|error| Error::io("write", &self.temporary, error))?;
        let fed = self.checker.feed(piece, &mut |_| {});
        self.here += piece.len() as u64;
        let ours = self.checker.meta.as_ref().is_none_or(|meta| meta.group == self.group);
        let defect = match fed {
            Err(defect) => Some(defect),
            Ok(()) if !ours => Some(Defect::Damaged("it is of another group")),
            Ok(()) => None,
        };
        if let Some(defect) = defect {
            return Err(self.refuse(defect));
        }
        if last { self.end() } else { Ok(Progress::Here(self.here)) }
    }

    /// Forgets what is here.
    pub fn abort(&mut self) {
        self.here = 0;
        self.checker = Checker::default();
        if self.file.take().is_some() {
            // Whatever cannot be removed now is removed at the next start.
            let _ = self.disk.remove(&self.temporary);
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.abort();
        let file = self.disk.create(&self.temporary);
        self.file = Some(file.map_err(|error| Error::io("create", &self.temporary, error))?);
        Ok(())
    }

    fn end(&mut self) -> Result<Progress, Error> {
        let meta: Meta = match self.checker.finish() {
            Ok(meta) => meta.clone(),
            Err(defect) => return Err(self.refuse(defect)),
        };
        let Some(file) = self.file.take() else { return Ok(Progress::Here(0)) };
        let bytes = self.here;
        (self.here, self.checker) = (0, Checker::default());
        publish(&*self.disk, &*file, &self.temporary, &meta)?;
        let seed = meta.encode(&mut Vec::new());
        Ok(Progress::Done(Box::new(Snapshot::open(&*self.disk, meta, seed, bytes)?)))
    }

    fn refuse(&mut self, defect: Defect) -> Error {
        let (path, offset) = (self.disk.describe(&self.temporary), self.checker.offset);
        self.abort();
        match defect {
            Defect::Damaged(reason) => Error::Corrupt { path, offset, reason },
            Defect::Newer(found) => Error::Newer { path, found, known: VERSION },
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.abort();
    }
}

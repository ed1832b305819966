//! Which replicas a data directory holds, and the newest map that its node knew.
//!
//! ```text
//! joined-G    the replica of group G came by a move: it begins with nothing and is told the rest
//! left-G      it was moved away: what is here of it is void
//! map         the newest map; the founders' if there is none
//! ```
//!
//! A founder's replicas have no mark: they begin with the founders as members. So a mark that is
//! missing would be taken for a founder's replica that has never run, which could vote anew; each is
//! durable before anything rests on it. A mark says how far an earlier replica had the log.

use std::io;
use std::sync::Arc;

use consensus::{Index, Term};
use node::Map;
use stdx::codec::{Reader, put_u64};
use storage::disk::Disk;
use storage::{Error, GroupId};

use crate::repair::Refusal;
use crate::sealed;

const MAP_FILE: &str = "map";

/// How far a replica had the log when it was moved away.
pub type Reached = (Term, Index);

/// What the marks say of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing: it is here if the node founded its group.
    Unmarked,
    /// It came by a move; an earlier one here, if there was any, had come so far.
    Joined(Reached),
    Left(Reached),
}

fn joined(group: GroupId) -> String {
    format!("joined-{}", group.0)
}

fn left(group: GroupId) -> String {
    format!("left-{}", group.0)
}

/// Looks at the marks of a group.
pub fn of(disk: &dyn Disk, group: GroupId) -> Result<Presence, Refusal> {
    if let Some(reached) = read_mark(disk, &left(group))? {
        return Ok(Presence::Left(reached));
    }
    let joined = read_mark(disk, &joined(group))?;
    Ok(joined.map_or(Presence::Unmarked, Presence::Joined))
}

/// A replica comes: from now on what is saved of it counts.
pub fn join(disk: &dyn Disk, group: GroupId) -> Result<(), Refusal> {
    let reached = read_mark(disk, &left(group))?.unwrap_or_default();
    put_mark(disk, &joined(group), reached).map_err(|error| failed("mark", error))?;
    remove_mark(disk, &left(group)).map_err(|error| failed("remove", error))
}

/// A replica goes: what is saved of it is void.
pub fn leave(disk: &dyn Disk, group: GroupId, reached: Reached) -> Result<(), Error> {
    let left =
        put_mark(disk, &left(group), reached).and_then(|()| remove_mark(disk, &joined(group)));
    left.map_err(|source| Error::io("mark", "left", source))
}

fn failed(action: &'static str, source: io::Error) -> Refusal {
    Refusal::Disk(Error::io(action, "a mark", source))
}

fn put_mark(disk: &dyn Disk, mark: &str, (term, index): Reached) -> io::Result<()> {
    let mut body = Vec::new();
    put_u64(&mut body, term.0);
    put_u64(&mut body, index.0);
    sealed::write(disk, mark, &body)
}

fn read_mark(disk: &dyn Disk, mark: &str) -> Result<Option<Reached>, Refusal> {
    /// A checksum, a term, an index.
    const BYTES: usize = 20;
    let bytes = sealed::read(disk, mark, BYTES).map_err(|error| failed("read", error))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let reached = sealed::body(&bytes).and_then(|body| {
        let mut reader = Reader::new(body);
        Some((Term(reader.u64().ok()?), Index(reader.u64().ok()?)))
    });
    let damaged = || Refusal::Broken(format!("the file {mark} is damaged"));
    reached.map(Some).ok_or_else(damaged)
}

fn remove_mark(disk: &dyn Disk, mark: &str) -> io::Result<()> {
    match disk.remove(mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.and_then(|()| disk.sync_folder("")),
    }
}

/// Writes the map down.
pub fn keep_map(disk: &dyn Disk, map: &Map) -> io::Result<()> {
    let mut body = Vec::new();
    map.encode(&mut body);
    sealed::write(disk, MAP_FILE, &body)
}

/// The map that was written down. A damaged one is as good as none: the others know a newer one.
pub fn kept_map(disk: &dyn Disk) -> io::Result<Option<Arc<Map>>> {
    /// Far more than any map takes.
    const BYTES_MAX: usize = 4 * 1024 * 1024;
    let bytes = sealed::read(disk, MAP_FILE, BYTES_MAX)?.unwrap_or_default();
    let map = sealed::body(&bytes).and_then(|body| Map::decode(body).ok());
    Ok(map.map(Arc::new))
}

#[cfg(test)]
mod tests {
    use storage::disk::SimDisk;

    use super::*;

    #[test]
    fn marks_outlive_a_crash_and_the_last_word_counts() {
        let disk = SimDisk::new(1);
        let (group, nothing) = (GroupId(7), Reached::default());
        let look = |group| of(&disk, group).unwrap();
        assert_eq!(look(group), Presence::Unmarked);
        join(&disk, group).unwrap();
        disk.crash();
        assert_eq!(look(group), Presence::Joined(nothing));
        let reached = (Term(3), Index(40));
        leave(&disk, group, reached).unwrap();
        disk.crash();
        assert_eq!(look(group), Presence::Left(reached));
        assert_eq!(look(GroupId(8)), Presence::Unmarked);
        join(&disk, group).unwrap();
        assert_eq!(look(group), Presence::Joined(reached), "it may have acknowledged as much");
        disk.flip("joined-7", 9, 3);
        assert!(matches!(of(&disk, group), Err(Refusal::Broken(_))));
    }

    #[test]
    fn the_map_is_kept() {
        let disk = SimDisk::new(1);
        assert_eq!(kept_map(&disk).unwrap(), None);
        let founders = [("a:1".to_owned(), [1; 16])];
        let map = Map::founding(node::Shards::new(4).unwrap(), 3, &founders).unwrap();
        keep_map(&disk, &map).unwrap();
        disk.crash();
        assert_eq!(kept_map(&disk).unwrap().as_deref(), Some(&map));
    }
}

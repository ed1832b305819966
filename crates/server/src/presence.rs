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
//! durable before anything rests on it.

use std::io;
use std::sync::Arc;

use node::Map;
use stdx::codec::{Reader, put_u32};
use storage::GroupId;
use storage::disk::Disk;

const MAP_FILE: &str = "map";
const MAP_TEMPORARY: &str = "map.new";

/// What the marks say of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing: it is here if the node founded its group.
    Unmarked,
    Joined,
    Left,
}

fn joined(group: GroupId) -> String {
    format!("joined-{}", group.0)
}

fn left(group: GroupId) -> String {
    format!("left-{}", group.0)
}

/// Looks at the marks of a group.
pub fn of(disk: &dyn Disk, group: GroupId) -> io::Result<Presence> {
    let names = disk.list("")?;
    let has = |mark: String| names.contains(&mark);
    Ok(match (has(left(group)), has(joined(group))) {
        (true, _) => Presence::Left,
        (false, true) => Presence::Joined,
        (false, false) => Presence::Unmarked,
    })
}

/// A replica comes: from now on what is saved of it counts.
pub fn join(disk: &dyn Disk, group: GroupId) -> io::Result<()> {
    put_mark(disk, &joined(group))?;
    remove_mark(disk, &left(group))
}

/// A replica goes: what is saved of it is void.
pub fn leave(disk: &dyn Disk, group: GroupId) -> io::Result<()> {
    put_mark(disk, &left(group))?;
    remove_mark(disk, &joined(group))
}

fn put_mark(disk: &dyn Disk, mark: &str) -> io::Result<()> {
    disk.create(mark)?.sync()?;
    disk.sync_folder("")
}

fn remove_mark(disk: &dyn Disk, mark: &str) -> io::Result<()> {
    match disk.remove(mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.and_then(|()| disk.sync_folder("")),
    }
}

/// Writes the map down.
pub fn keep_map(disk: &dyn Disk, map: &Map) -> io::Result<()> {
    let (mut body, mut bytes) = (Vec::new(), Vec::new());
    map.encode(&mut body);
    put_u32(&mut bytes, crc32c::crc32c(&body));
    bytes.extend_from_slice(&body);
    let file = disk.create(MAP_TEMPORARY)?;
    file.write_at(0, &bytes)?;
    file.sync()?;
    disk.rename(MAP_TEMPORARY, MAP_FILE)?;
    disk.sync_folder("")
}

/// The map that was written down. A damaged one is as good as none: the others know a newer one.
pub fn kept_map(disk: &dyn Disk) -> io::Result<Option<Arc<Map>>> {
    /// Far more than any map takes.
    const BYTES_MAX: usize = 4 * 1024 * 1024;
    let file = match disk.open(MAP_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = vec![0; BYTES_MAX];
    let len = file.read_at(0, &mut bytes)?;
    let mut reader = Reader::new(&bytes[..len]);
    let Ok(crc) = reader.u32() else { return Ok(None) };
    let body = &bytes[reader.offset()..len];
    let map = Map::decode(body).ok().filter(|_| crc32c::crc32c(body) == crc);
    Ok(map.map(Arc::new))
}

#[cfg(test)]
mod tests {
    use storage::disk::SimDisk;

    use super::*;

    #[test]
    fn marks_outlive_a_crash_and_the_last_word_counts() {
        let disk = SimDisk::new(1);
        let group = GroupId(7);
        assert_eq!(of(&disk, group).unwrap(), Presence::Unmarked);
        join(&disk, group).unwrap();
        disk.crash();
        assert_eq!(of(&disk, group).unwrap(), Presence::Joined);
        leave(&disk, group).unwrap();
        disk.crash();
        assert_eq!(of(&disk, group).unwrap(), Presence::Left);
        assert_eq!(of(&disk, GroupId(8)).unwrap(), Presence::Unmarked);
        join(&disk, group).unwrap();
        assert_eq!(of(&disk, group).unwrap(), Presence::Joined);
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

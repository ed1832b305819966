//! Small files with a checksum: `CRC32C │ body`. Whole, or not there at all, whenever power fails.

use std::io;

use stdx::codec::{Reader, put_u32};
use stdx::planted;
use storage::disk::Disk;

/// The bytes of a file with this body.
pub(crate) fn seal(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + body.len());
    put_u32(&mut bytes, crc32c::crc32c(body));
    bytes.extend_from_slice(body);
    bytes
}

/// The body in these bytes; nothing if they are damaged.
pub(crate) fn body(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let crc = reader.u32().ok()?;
    let body = &bytes[reader.offset()..];
    (crc32c::crc32c(body) == crc).then_some(body)
}

/// Writes such a file, in the place of one that may be there.
pub(crate) fn write(disk: &dyn Disk, name: &str, body: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.new");
    let file = disk.create(&temporary)?;
    file.write_at(0, &seal(body))?;
    if planted!("mark-without-fsync") {
        return disk.rename(&temporary, name);
    }
    file.sync()?;
    disk.rename(&temporary, name)?;
    disk.sync_folder("")
}

/// The bytes of such a file, which has so many at the most; nothing if there is none.
pub(crate) fn read(disk: &dyn Disk, name: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = vec![0; bytes_max];
    let len = file.read_at(0, &mut bytes)?;
    bytes.truncate(len);
    Ok(Some(bytes))
}

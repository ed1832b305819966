//! Is this a backup, and whole? Everything is read, and nothing is changed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use keyspace::backup::Head;

use super::manifest::{self, Manifest, Part};
use super::scan::Scan;
use crate::meter::{Meter, mib};

/// Bytes that are read from a file in one go.
const READ_BYTES: usize = 256 * 1024;

/// The manifest in a folder.
pub(crate) fn manifest(dir: &Path) -> Result<Manifest, String> {
    let path = dir.join(manifest::NAME);
    match fs::read(&path) {
        Ok(text) => {
            Manifest::decode(&text).map_err(|why| format!("the manifest {} {why}", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "{} is no backup: it has no {}, which is written last",
            dir.display(),
            manifest::NAME
        )),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Reads every file that the manifest names, and compares. Returns what stands at the head of each.
pub(crate) fn verify(dir: &Path, manifest: &Manifest) -> Result<Vec<Head>, String> {
    // What is missing or cut off is known at once.
    for part in &manifest.files {
        check_length(dir, part)?;
    }
    let mut meter = Meter::new("checking", Some(manifest.bytes));
    let (mut heads, mut before) = (Vec::new(), 0);
    for part in &manifest.files {
        let head = check_file(dir, part, |bytes| {
            let at = before + bytes;
            meter.update(at, |seconds| format!("{:.0} MiB/s", mib(at) / seconds.max(0.001)));
        });
        heads.push(head.map_err(|why| format!("{}: {why}", dir.join(&part.name).display()))?);
        before += part.bytes;
    }
    meter.finish();
    Ok(heads)
}

fn check_length(dir: &Path, part: &Part) -> Result<(), String> {
    let path = dir.join(&part.name);
    let bytes = match fs::metadata(&path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!(
                "{} is missing, and the manifest names it: the backup is not whole",
                path.display()
            ));
        }
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    if bytes != part.bytes {
        let how = if bytes < part.bytes { "it is cut off" } else { "something was added" };
        return Err(format!(
            "{} has {bytes} bytes, and {} by the manifest: {how}",
            path.display(),
            part.bytes
        ));
    }
    Ok(())
}

fn check_file(dir: &Path, part: &Part, mut progress: impl FnMut(u64)) -> Result<Head, String> {
    let mut file = File::open(dir.join(&part.name)).map_err(|error| error.to_string())?;
    let (mut buffer, mut scan, mut bytes) = (vec![0; READ_BYTES], Scan::default(), 0);
    loop {
        let count = file.read(&mut buffer).map_err(|error| error.to_string())?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
        scan.feed(&buffer[..count], |_| Ok(()))?;
        progress(bytes);
    }
    let scanned = scan.finish();
    if scanned.sha256 != part.sha256 {
        return Err(format!(
            "its checksum is {}, and {} by the manifest: it is damaged, or another's",
            scanned.sha256, part.sha256
        ));
    }
    let (keys, head) = scanned.content?;
    if keys != part.keys {
        return Err(format!("it has {keys} keys, and {} by the manifest", part.keys));
    }
    Ok(head)
}

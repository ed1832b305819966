//! Where a backup lies: a folder, or a bucket, by what a person wrote.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::manifest;

/// A folder, or a bucket with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Folder(PathBuf),
    /// The whole URL: `s3://bucket/prefix`.
    Bucket(String),
}

impl Place {
    pub(crate) fn parse(text: &str) -> Result<Place, String> {
        match text.split_once("://") {
            None => Ok(Place::Folder(PathBuf::from(text))),
            Some(("s3", rest)) if !rest.is_empty() && !rest.starts_with('/') => {
                Ok(Place::Bucket(text.to_owned()))
            }
            Some(("s3", _)) => Err("the URL names no bucket: s3://BUCKET/PREFIX".to_owned()),
            Some((scheme, _)) => {
                Err(format!("{scheme}:// is not known: give a folder, or s3://BUCKET/PREFIX"))
            }
        }
    }
}

/// Makes a folder that nothing is in, or takes one.
pub(super) fn create(dir: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", dir.display());
    fs::create_dir_all(dir).map_err(failed)?;
    if fs::read_dir(dir).map_err(failed)?.next().is_some() {
        return Err(format!(
            "{} is not empty. Nothing was changed: a backup takes a folder of its own",
            dir.display()
        ));
    }
    Ok(())
}

/// Writes the manifest: after this the backup survives a loss of power, and before this it is none.
pub(super) fn seal(dir: &Path, text: &[u8]) -> Result<(), String> {
    let (place, partial) = (dir.join(manifest::NAME), dir.join("manifest.partial"));
    let write = || -> io::Result<()> {
        let mut file = File::create_new(&partial)?;
        file.write_all(text)?;
        file.sync_all()?;
        // The files that it names have to be found again, too.
        File::open(dir)?.sync_all()?;
        fs::rename(&partial, &place)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error| format!("{}: {error}", place.display()))
}

/// A folder on the way to a bucket or from one, which goes away with its owner.
#[derive(Debug)]
pub(crate) struct Spool(PathBuf);

impl Spool {
    /// Makes one in this folder, or in the system's.
    pub(crate) fn new(dir: Option<&Path>) -> Result<Spool, String> {
        let dir = dir.map_or_else(std::env::temp_dir, Path::to_owned);
        let mut dice = [0; 8];
        getrandom::fill(&mut dice).map_err(|error| error.to_string())?;
        let path = dir.join(format!(".synod-backup-{}", manifest::hex(&dice)));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Spool(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What cannot be removed is seen by its name.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn folders_and_buckets_are_told_apart() {
        assert_eq!(Place::parse("a/b"), Ok(Place::Folder("a/b".into())));
        assert_eq!(Place::parse("s3://b/p"), Ok(Place::Bucket("s3://b/p".to_owned())));
        for bad in ["s3://", "s3:///p", "ftp://h"] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }
}

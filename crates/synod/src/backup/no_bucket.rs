//! Stands where S3 was not built in, and says so.

use std::path::Path;

use super::manifest::Manifest;

/// What a person reads who wants it all the same.
const MISSING: &str = "this synod was built without S3. Build it with `cargo build --release -p \
                       synod --features s3`, or take a folder and copy that";

/// There is none: it cannot be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bucket {}

impl Bucket {
    pub(crate) fn open(_: &str) -> Result<Bucket, String> {
        Err(MISSING.to_owned())
    }

    pub(crate) fn must_be_free(&self) -> Result<(), String> {
        match *self {}
    }

    pub(crate) fn put_files(&self, _: &Path, _: &Manifest) -> Result<(), String> {
        match *self {}
    }

    pub(crate) fn put_manifest(&self, _: &[u8]) -> Result<(), String> {
        match *self {}
    }

    pub(crate) fn get_manifest(&self, _: &Path) -> Result<(), String> {
        match *self {}
    }

    pub(crate) fn get_files(&self, _: &Path, _: &Manifest) -> Result<(), String> {
        match *self {}
    }
}

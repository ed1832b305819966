//! A bucket of S3, or of anything that speaks its protocol: the files of a backup go there from a
//! folder, and come from there into one.
//!
//! Where it is and who may use it is told by the variables of AWS's own tools: `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, and `AWS_ENDPOINT_URL` for another server (with
//! `AWS_ALLOW_HTTP=true`, if it has no TLS).
//!
//! The only async code of the tools: the client of `object_store` is made of it. One thread runs it,
//! and everything here waits for it.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::path::Path;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use tokio::runtime::Runtime;

use super::manifest::{self, Manifest};
use crate::limits::{S3_PART_BYTES_MIN, S3_PARTS_IN_FLIGHT_MAX, S3_PARTS_MAX};
use crate::meter::{Meter, mib};

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Bucket {
    url: String,
    prefix: String,
    store: AmazonS3,
    runtime: Runtime,
}

impl Bucket {
    /// Prepares for a bucket by its URL. Nothing is asked of it yet.
    pub(crate) fn open(url: &str) -> Result<Bucket, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{url}: {error}");
        // Another part of the program may have chosen one already, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(&error))?;
        let rest = url.strip_prefix("s3://").unwrap_or(url);
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let builder = AmazonS3Builder::from_env().with_bucket_name(name);
        let store = builder.build().map_err(|error| failed(&error))?;
        let prefix = prefix.trim_matches('/').to_owned();
        Ok(Bucket { url: url.to_owned(), prefix, store, runtime })
    }

    fn key(&self, name: &str) -> Key {
        Key::from(format!("{}/{name}", self.prefix))
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
        self.runtime.block_on(work).map_err(|error| format!("{}: {error}", self.url))
    }

    /// Refuses a prefix under which something lies.
    pub(crate) fn must_be_free(&self) -> Result<(), String> {
        let prefix = (!self.prefix.is_empty()).then(|| Key::from(&*self.prefix));
        let found = self.wait(self.store.list_with_delimiter(prefix.as_ref()))?;
        match found.objects.first() {
            Some(first) => Err(format!(
                "{} is not empty: it has {}. Nothing was changed: a backup takes a prefix of its own",
                self.url, first.location
            )),
            None => Ok(()),
        }
    }

    /// Sends the files that the manifest names.
    pub(crate) fn put_files(&self, dir: &Path, manifest: &Manifest) -> Result<(), String> {
        let mut meter = Meter::new("sending", Some(manifest.bytes));
        let mut sent = 0;
        for part in &manifest.files {
            let path = dir.join(&part.name);
            let file = File::open(&path);
            let send = async {
                let file = file.as_ref().map_err(|error| error.to_string())?;
                let begun = self.store.put_multipart(&self.key(&part.name)).await;
                let upload = begun.map_err(|error| error.to_string())?;
                let bytes_max = part_bytes(part.bytes);
                let mut upload = WriteMultipart::new_with_chunk_size(upload, bytes_max);
                let fed = feed(file, &mut upload, bytes_max, |bytes| {
                    sent += bytes;
                    let rate = |seconds: f64| mib(sent) / seconds.max(0.001);
                    meter.update(sent, |seconds| format!("{:.0} MiB/s", rate(seconds)));
                });
                if let Err(why) = fed.await {
                    // What was sent so far is of no use to anybody.
                    let _ = upload.abort().await;
                    return Err(why);
                }
                upload.finish().await.map(drop).map_err(|error| error.to_string())
            };
            let sent: Result<(), String> = self.runtime.block_on(send);
            sent.map_err(|why| format!("{} to {}: {why}", path.display(), self.url))?;
        }
        meter.finish();
        Ok(())
    }

    /// Sends the manifest: after this the backup is one.
    pub(crate) fn put_manifest(&self, text: &[u8]) -> Result<(), String> {
        let payload = PutPayload::from(text.to_vec());
        self.wait(self.store.put(&self.key(manifest::NAME), payload)).map(drop)
    }

    /// Fetches the manifest into a folder.
    pub(crate) fn get_manifest(&self, dir: &Path) -> Result<(), String> {
        let fetch = async {
            match self.store.get(&self.key(manifest::NAME)).await {
                Ok(found) => found.bytes().await.map(Some),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let text = self.wait(fetch)?.ok_or_else(|| {
            let name = manifest::NAME;
            format!("{} is no backup: it has no {name}, which is written last", self.url)
        })?;
        let path = dir.join(manifest::NAME);
        std::fs::write(&path, &text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Fetches the files that the manifest names. One that is missing or shorter is found out by
    /// whoever checks them.
    pub(crate) fn get_files(&self, dir: &Path, manifest: &Manifest) -> Result<(), String> {
        let mut meter = Meter::new("fetching", Some(manifest.bytes));
        let mut got = 0;
        for part in &manifest.files {
            let path = dir.join(&part.name);
            let failed = |error: io::Error| format!("{}: {error}", path.display());
            let key = self.key(&part.name);
            let size = match self.runtime.block_on(self.store.head(&key)) {
                Ok(found) => found.size,
                Err(Error::NotFound { .. }) => continue,
                Err(error) => return Err(format!("{}: {error}", self.url)),
            };
            let mut file = File::create_new(&path).map_err(failed)?;
            let mut at = 0;
            while at < size {
                let end = size.min(at + S3_PART_BYTES_MIN as u64);
                let data = self.wait(self.store.get_range(&key, at..end))?;
                file.write_all(&data).map_err(failed)?;
                (at, got) = (end, got + data.len() as u64);
                meter.update(got, |seconds| format!("{:.0} MiB/s", mib(got) / seconds.max(0.001)));
            }
        }
        meter.finish();
        Ok(())
    }
}

/// Sends a file in parts, as many at a time as there may be.
async fn feed(
    file: &File,
    upload: &mut WriteMultipart,
    bytes_max: usize,
    mut progress: impl FnMut(u64),
) -> Result<(), String> {
    loop {
        let mut data = Vec::with_capacity(bytes_max);
        let read = file.take(bytes_max as u64).read_to_end(&mut data);
        read.map_err(|error| error.to_string())?;
        if data.is_empty() {
            return Ok(());
        }
        let room = upload.wait_for_capacity(S3_PARTS_IN_FLIGHT_MAX).await;
        room.map_err(|error| error.to_string())?;
        progress(data.len() as u64);
        upload.put(data.into());
    }
}

/// Bytes of each part of a file: so many that it has no more parts than S3 takes.
fn part_bytes(file_bytes: u64) -> usize {
    let least = file_bytes.div_ceil(S3_PARTS_MAX);
    usize::try_from(least).unwrap_or(usize::MAX).max(S3_PART_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_more_parts_than_s3_takes() {
        for bytes in [0, 1, 1 << 30, 200 << 30, 5 << 40] {
            let part = part_bytes(bytes) as u64;
            assert!(bytes.div_ceil(part) <= S3_PARTS_MAX, "{bytes}");
            assert!(part >= S3_PART_BYTES_MIN as u64);
        }
    }
}

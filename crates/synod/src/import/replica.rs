//! A dump from a live server, received as a replica of it would be: consistent, from one moment.
//!
//! ```text
//! we                           the server
//! REPLCONF capa eof       ─▶   +OK
//! PSYNC ? -1              ─▶   +FULLRESYNC …, later $LENGTH and the dump,
//!                              or $EOF:MARK, the dump and the MARK again
//! ```
//!
//! The dump goes to a file and the connection is closed at its end: the server keeps what is written
//! meanwhile for us no longer than that. What is written after the dump was begun is not in it.
//! Source: `replication.c` of Redis 7.0.15 (`syncWithMaster`, `readSyncBulkPayload`).

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use wire::resp::{Value, encode_call};

use super::source::Server;
use crate::link::Link;
use crate::meter::{Meter, mib};

/// A server that makes a dump says nothing but empty lines, each ten seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of the mark behind a dump whose length was not known.
const MARK_BYTES: usize = 40;

/// How receiving a dump ended.
pub(super) enum Received {
    Whole,
    /// The server does not take us for a replica, in its own words.
    Refused(String),
}

/// Receives a dump of all that `server` holds into `file`.
pub(super) fn receive(server: &Server, file: &mut File) -> Result<Received, String> {
    let mut link = Link::connect(&server.addr, TIMEOUT)?;
    link.authenticate(server.user.as_deref(), server.password.as_deref())?;
    // Without it the server writes the dump to its own disk first. One that does not know it does so.
    link.call(&[b"REPLCONF", b"capa", b"eof"])?;
    let head = match ask(&mut link)? {
        Ok(head) => head,
        Err(refusal) => return Ok(Received::Refused(refusal)),
    };
    match head.strip_prefix("EOF:") {
        Some(mark) if mark.len() == MARK_BYTES => receive_marked(&mut link, mark.as_bytes(), file)?,
        Some(_) => return Err(format!("{}: a dump with no mark", server.addr)),
        None => {
            let len = head.parse().map_err(|_| format!("{}: a dump of '{head}'", server.addr))?;
            receive_len(&mut link, len, file)?;
        }
    }
    Ok(Received::Whole)
}

/// Asks for a dump: what stands behind the `$`, or why there is none.
fn ask(link: &mut Link) -> Result<Result<String, String>, String> {
    let mut refusal = String::new();
    for call in [&[&b"PSYNC"[..], b"?", b"-1"][..], &[b"SYNC"]] {
        let mut bytes = Vec::new();
        encode_call(&mut bytes, call);
        link.send(&bytes)?;
        loop {
            let line = link.line()?;
            match line.as_bytes().first() {
                Some(b'$') => return Ok(Ok(line[1..].to_owned())),
                Some(b'-') => {
                    refusal = line[1..].to_owned();
                    break;
                }
                // Empty lines and +FULLRESYNC: the dump is being made.
                _ => {}
            }
        }
    }
    Ok(Err(refusal))
}

fn receive_len(link: &mut Link, len: u64, file: &mut File) -> Result<(), String> {
    let mut meter = Meter::new("receiving", Some(len));
    let (mut part, mut received) = (Vec::new(), 0);
    while received < len {
        part.clear();
        link.bytes(&mut part)?;
        let wanted = (len - received).min(part.len() as u64) as usize;
        file.write_all(&part[..wanted]).map_err(|error| spool_failed(&error))?;
        received += wanted as u64;
        meter.update(received, |seconds| rate(received, seconds));
    }
    meter.finish();
    Ok(())
}

/// Nothing follows the mark until a replica says that it has got it.
fn receive_marked(link: &mut Link, mark: &[u8], file: &mut File) -> Result<(), String> {
    let mut meter = Meter::new("receiving", None);
    let (mut part, mut received) = (Vec::new(), 0);
    loop {
        link.bytes(&mut part)?;
        if part.ends_with(mark) {
            part.truncate(part.len() - mark.len());
            meter.finish();
            return file.write_all(&part).map_err(|error| spool_failed(&error));
        }
        // The end of what has come may be the beginning of the mark.
        let safe = part.len().saturating_sub(mark.len());
        file.write_all(&part[..safe]).map_err(|error| spool_failed(&error))?;
        part.drain(..safe);
        received += safe as u64;
        meter.update(received, |seconds| rate(received, seconds));
    }
}

fn rate(bytes: u64, seconds: f64) -> String {
    format!("{:.0} MiB  {:.0} MiB/s", mib(bytes), mib(bytes) / seconds.max(0.001))
}

fn spool_failed(error: &std::io::Error) -> String {
    format!("keeping the dump: {error}")
}

/// Is anybody there who lets us in?
pub(super) fn check(server: &Server) -> Result<(), String> {
    let mut link = Link::connect(&server.addr, TIMEOUT)?;
    link.authenticate(server.user.as_deref(), server.password.as_deref())?;
    match link.must(&[b"PING"])? {
        Value::Status(_) => Ok(()),
        _ => Err(format!("{}: no Redis answers", server.addr)),
    }
}

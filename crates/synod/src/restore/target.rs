//! The cluster that is restored into, for all but the keys: is it empty, and what says that it is not
//! whole yet.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wire::resp::Value;

use crate::backup::{Manifest, utc};
use crate::import::Server;
use crate::leaders::Leaders;
use crate::limits::RESTORE_MARK;
use crate::link::Link;

/// Longer than a node lets a request wait.
const TIMEOUT: Duration = Duration::from_secs(30);

/// See the head of the file.
pub(super) struct Target {
    pub(super) link: Link,
    server: Server,
}

impl Target {
    pub(super) fn connect(server: &Server) -> Result<Target, String> {
        let mut link = Link::connect(&server.addr, TIMEOUT)?;
        link.authenticate(server.user.as_deref(), server.password.as_deref())?;
        link.must(&[b"PING"])?;
        Ok(Target { link, server: server.clone() })
    }

    /// Where each key is to be written.
    pub(super) fn leaders(&mut self) -> Result<Leaders, String> {
        Leaders::ask(&mut self.link, self.server.password.as_deref())
    }

    pub(super) fn password(&self) -> Option<&str> {
        self.server.password.as_deref()
    }

    /// Refuses a cluster that holds anything; with `start_over`, other than a part of a restore.
    pub(super) fn check(&mut self, start_over: bool) -> Result<(), String> {
        let addr = self.link.addr().to_owned();
        match (self.link.must(&[b"GET", RESTORE_MARK])?, start_over) {
            (Value::Bulk(_), true) => return Ok(()),
            (Value::Bulk(mark), false) => {
                return Err(format!(
                    "{addr} holds a part of a restore that did not end: {}. Nothing was changed. \
                     With --start-over all that the cluster holds is dropped first",
                    String::from_utf8_lossy(&mark)
                ));
            }
            (_, true) => {
                return Err(format!(
                    "{addr} holds no part of a restore that did not end, so nothing is dropped, and \
                     nothing was changed: leave --start-over out"
                ));
            }
            (_, false) => {}
        }
        self.must_be_empty(0)
    }

    /// Refuses a cluster with more than so many keys in its first database, or with anything else.
    fn must_be_empty(&mut self, but: i64) -> Result<(), String> {
        let addr = self.link.addr().to_owned();
        let failed = |what: String| {
            format!(
                "{addr} {what}. Nothing was changed: a backup is restored into an empty cluster only"
            )
        };
        for database in 0..keyspace::limits::DATABASES {
            self.link.must(&[b"SELECT", database.to_string().as_bytes()])?;
            let allowed = if database == 0 { but } else { 0 };
            match self.link.must(&[b"DBSIZE"])? {
                Value::Int(keys) if keys > allowed => {
                    return Err(failed(format!("has {keys} keys in database {database}")));
                }
                _ => {}
            }
        }
        self.link.must(&[b"SELECT", b"0"])?;
        match self.link.must(&[b"FUNCTION", b"LIST"])? {
            Value::Array(list) if !list.is_empty() => {
                Err(failed(format!("has {} libraries of functions", list.len())))
            }
            _ => Ok(()),
        }
    }

    /// The first write: from here on the cluster says that it is not whole.
    pub(super) fn mark(&mut self, manifest: &Manifest, start_over: bool) -> Result<(), String> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = utc(u64::try_from(since.as_millis()).unwrap_or_default());
        let mark = format!("backup {} of {}, begun at {now}", manifest.backup, manifest.point.utc);
        if start_over {
            // The mark goes with the rest, in one step, and stands again before anything else.
            self.link.must(&[b"FUNCTION", b"FLUSH"])?;
            self.link.must(&[b"MULTI"])?;
            self.link.must(&[b"FLUSHALL"])?;
            self.link.must(&[b"SET", RESTORE_MARK, mark.as_bytes()])?;
            self.link.must(&[b"EXEC"])?;
            return Ok(());
        }
        let set = self.link.must(&[b"SET", RESTORE_MARK, mark.as_bytes(), b"NX"])?;
        if matches!(set, Value::Null) {
            return Err(format!(
                "another restore into {} began a moment ago. Nothing was changed",
                self.link.addr()
            ));
        }
        // Somebody may have written since it was looked at.
        if let Err(why) = self.must_be_empty(1) {
            self.link.must(&[b"DEL", RESTORE_MARK])?;
            return Err(why);
        }
        Ok(())
    }

    /// The last write: it is whole.
    pub(super) fn unmark(&mut self) -> Result<(), String> {
        match self.link.must(&[b"DEL", RESTORE_MARK])? {
            Value::Int(1) => Ok(()),
            _ => Err(format!("{}: somebody has dropped keys meanwhile", self.link.addr())),
        }
    }
}

//! A server process that is gone when its value is: started with its output in a file, killed by
//! its id, its processor time read from `/proc`.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ticks a second in `/proc/PID/stat`: what Linux shows to programs on every machine we run on.
const TICKS_PER_SECOND: u64 = 100;

/// Bytes of output shown when something went wrong.
const LAST_WORDS_MAX: usize = 600;

/// A running server.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it, with its output in `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Process, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let twin = file.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(twin).spawn();
        let child = child.map_err(|error| format!("{name} does not start: {error}"))?;
        Ok(Process { child, log: log.to_owned() })
    }

    /// Has it ended by itself?
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as a crash would, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // It may have ended already, and then there is nothing to do.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }

    /// The processor time of all its threads so far, the kernel's work for it included.
    pub(crate) fn cpu(&self) -> Result<Duration, String> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let ticks = cpu_ticks(&text).ok_or_else(|| format!("{path} has another form"))?;
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }

    /// The end of what it printed.
    pub(crate) fn last_words(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let start = bytes.len().saturating_sub(LAST_WORDS_MAX);
        String::from_utf8_lossy(&bytes[start..]).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// User and system time: the 14th and 15th field; the second, in parentheses, may contain blanks.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Ports that nobody uses at this moment, all different.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let bind = |_| TcpListener::bind("127.0.0.1:0");
    let listeners: Result<Vec<_>, _> = (0..count).map(bind).collect();
    let listeners = listeners.map_err(|error| format!("a free port: {error}"))?;
    let port = |listener: &TcpListener| listener.local_addr().map(|addr| addr.port());
    let ports: Result<Vec<_>, _> = listeners.iter().map(port).collect();
    ports.map_err(|error| format!("a free port: {error}"))
}

#[cfg(test)]
mod tests {
    use super::cpu_ticks;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 8 0 0 12 30 1 2 20 0 4 0 99 1 1";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }
}

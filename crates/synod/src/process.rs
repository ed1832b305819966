//! The process of one node, as its supervisor has it: started, signalled, asked to end.
//!
//! What always holds: a process is signalled through its `Child` only, before it was waited for, so
//! that no signal meets a stranger who has inherited its number. A node ends when its standard
//! input does, so none outlives its supervisor; one that is stopped at that moment is woken and ended
//! by the kernel, because its process group is an orphan then.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A log that is longer than this when its node starts begins anew.
const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How a node is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// Where it listens.
    pub(crate) addr: String,
    /// The addresses of all nodes.
    pub(crate) join: Vec<String>,
    pub(crate) data: PathBuf,
    /// The file that takes what it says.
    pub(crate) log: PathBuf,
    /// The file of the secret.
    pub(crate) secret: PathBuf,
    /// More flags.
    pub(crate) more: Vec<OsString>,
    /// A command that runs the node as its last words, in the same process; empty for none.
    pub(crate) within: Vec<OsString>,
}

impl Launch {
    /// Starts the process.
    pub(crate) fn start(&self) -> io::Result<Process> {
        let log = open_log(&self.log)?;
        let mut command = self.program()?;
        command.arg("serve").arg("--listen").arg(&self.addr).arg("--join").arg(self.join.join(","));
        command.arg("--data").arg(&self.data).arg("--secret-file").arg(&self.secret);
        command.arg("--until-stdin-ends").args(&self.more);
        // What is set for other nodes is not meant for these.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SYNOD_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        // Ctrl-C goes to the supervisor alone, and the nodes end in its order.
        command.process_group(0);
        Ok(Process { child: command.spawn()? })
    }

    /// The program as it runs, even if its file was replaced by a newer one meanwhile.
    fn program(&self) -> io::Result<Command> {
        let running = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
        let program = if running.exists() { running } else { std::env::current_exe()? };
        let Some((first, rest)) = self.within.split_first() else {
            let mut command = Command::new(program);
            command.arg0("synod");
            return Ok(command);
        };
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        Ok(command)
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends a signal, unless it was seen to have ended.
    pub(crate) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process has a number");
        Ok(kill_process(pid, signal)?)
    }

    /// As `kill -9`, and waits for its end.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Asks it to end.
    pub(crate) fn ask_to_end(&mut self) {
        drop(self.child.stdin.take());
        // Whoever cannot be signalled has ended.
        let _ = self.signal(Signal::TERM);
    }

    /// Waits for its end until then, and kills it if that does not come. `None` if it was killed.
    pub(crate) fn end_by(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            match self.child.try_wait() {
                Ok(Some(how)) => return Some(how),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
                _ => {
                    let _ = self.kill();
                    return None;
                }
            }
        }
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|found| found.len() > LOG_BYTES_MAX) {
        fs::remove_file(path)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// What a node said last, or what it panicked about; nothing if that cannot be read.
pub(crate) fn last_words(path: &Path) -> String {
    /// A panic may have its calls below it.
    const TAIL_BYTES: u64 = 64 * 1024;
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.last().copied().unwrap_or_default();
        let panic = lines.iter().rposition(|line| line.contains("panicked at"));
        Ok(match panic {
            // Advice about backtraces closes a panic, and nothing else.
            Some(at) if last.starts_with("note: ") => lines[at..].iter().take(2).copied().collect(),
            _ => last.to_owned(),
        })
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn the_last_words_are_the_last_line_or_the_reason_of_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(last_words(&path), "");
        let panic =
            "thread 'main' panicked at a.rs:1:2:\nthere is no such thing\n  0: b\nnote: run\n";
        std::fs::write(&path, panic).unwrap();
        let said = "thread 'main' panicked at a.rs:1:2:there is no such thing";
        assert_eq!(last_words(&path), said);
        std::fs::write(&path, format!("{panic}error: no space left\n")).unwrap();
        assert_eq!(last_words(&path), "error: no space left");
    }
}

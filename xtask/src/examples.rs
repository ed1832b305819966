//! `cargo xtask examples`: every file of `examples/`, run against three real nodes.
//!
//! A shell script finds the cluster in `SYNOD_HOST` and `SYNOD_PORT`, has 30 seconds, and passes if
//! it exits with 0. The cluster is the same for all of them, and is gone afterwards. It is built as
//! the tests are, so that in CI nothing is compiled twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::systems::{Running, System};
use crate::{ci, tidy};

/// How long an example may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks whether it has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Runs them, in the order of their names.
pub(crate) fn run() -> Result<(), String> {
    let root = tidy::root();
    let scripts = scripts(&root.join("examples"))?;
    if scripts.is_empty() {
        return Err("examples/ holds no script".to_owned());
    }
    if !installed("redis-cli") {
        return Err("the examples need redis-cli: apt-get install redis-tools".to_owned());
    }
    let synod = build(&root)?;
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let running = Running::start(System::Synod3, &synod, directory.path(), 1)?;
    for script in &scripts {
        let name = script.file_name().unwrap_or_default().to_string_lossy();
        run_one(script, &running.addrs[0])
            .map_err(|error| format!("{name}: {error}\n{}", running.last_words()))?;
        eprintln!("example {name}: passed");
    }
    Ok(())
}

fn scripts(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).map_err(failed)?.collect();
    let paths = entries.map_err(failed)?.into_iter().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "sh")).collect();
    paths.sort();
    Ok(paths)
}

/// Is this program there?
pub(crate) fn installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The binary as the tests have it.
pub(crate) fn build(root: &Path) -> Result<PathBuf, String> {
    let mut command = Command::new(ci::program());
    command.current_dir(root).args(["build", "--quiet", "-p", "synod"]);
    ci::finish(&mut command)?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    Ok(target.join("debug/synod"))
}

fn run_one(script: &Path, addr: &str) -> Result<(), String> {
    let (host, port) = addr.rsplit_once(':').ok_or("an address has a port")?;
    let mut command = Command::new("bash");
    command.args(["-eu", "-o", "pipefail"]).arg(script).stdin(Stdio::null());
    command.env("SYNOD_HOST", host).env("SYNOD_PORT", port);
    let mut child = command.spawn().map_err(|error| format!("bash: {error}"))?;
    let begin = Instant::now();
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(status.to_string()),
            None if begin.elapsed() < TIMEOUT => std::thread::sleep(LOOK_INTERVAL),
            None => {
                let _ended = child.kill();
                let _status = child.wait();
                return Err(format!("not done in {} s", TIMEOUT.as_secs()));
            }
        }
    }
}

//! `cargo xtask s3`: a backup to a bucket and back, with a server that speaks S3's protocol.
//!
//! The server is moto, from PyPI, in the version of `tests/s3/requirements.txt`, into `target/s3`; and
//! the binary is built with what is not in the usual one. So this needs the network and a while, and
//! is no part of `cargo xtask ci`. What is not there is a failure, never a pass.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bench::systems::{Running, System};
use crate::examples::installed;
use crate::process::{Process, free_ports};
use crate::{ci, tidy};

/// How long the server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks whether it does.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Builds, installs, and runs the script.
pub(crate) fn run() -> Result<(), String> {
    let root = tidy::root();
    if !installed("python3") {
        let remedy = "apt-get install python3 python3-venv";
        return Err(format!("nothing was checked: python3 is missing: {remedy}"));
    }
    let mut build = Command::new(ci::program());
    build.current_dir(&root).args(["build", "--quiet", "-p", "synod", "--features", "s3"]);
    ci::finish(&mut build)?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let (synod, target) = (target.join("debug/synod"), target.join("s3"));
    let failed = |error: std::io::Error| format!("{}: {error}", target.display());
    fs::create_dir_all(&target).map_err(failed)?;
    let python = target.join("venv/bin/python");
    if !python.exists() {
        ci::finish(Command::new("python3").args(["-m", "venv"]).arg(target.join("venv")))?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    ci::finish(pip.arg(root.join("tests/s3/requirements.txt")))?;

    let port = free_ports(1)?[0];
    let mut server = Command::new(target.join("venv/bin/moto_server"));
    server.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    let server = Process::start(&mut server, &target.join("moto.log"))?;
    wait_until_it_listens(port, server)
        .and_then(|server| check(&root, &synod, &python, port).map(|()| drop(server)))
}

fn wait_until_it_listens(port: u16, mut server: Process) -> Result<Process, String> {
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if server.has_ended() || begin.elapsed() > START_TIMEOUT {
            return Err(format!("moto does not listen: {}", server.last_words()));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(server)
}

fn check(root: &Path, synod: &Path, python: &Path, port: u16) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let spool = directory.path().join("spool");
    fs::create_dir(&spool).map_err(|error| format!("{}: {error}", spool.display()))?;
    let running = Running::start(System::Synod3, synod, directory.path(), 4)?;
    let mut script = Command::new(python);
    script.arg(root.join("tests/s3/backup.py")).env("SYNOD", synod).env("TMPDIR", &spool);
    script.env("SYNOD_ADDR", &running.addrs[0]).env("S3", format!("http://127.0.0.1:{port}"));
    script.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    ci::finish(&mut script).map_err(|error| format!("{error}\n{}", running.last_words()))
}

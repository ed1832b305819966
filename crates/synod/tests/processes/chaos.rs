//! `synod chaos`, on loopback: what it leaves, and that it leaves no process.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{synod, wait_for};

fn start(out: &Path, minutes: &str) -> Child {
    let mut command = synod();
    command.args(["chaos", "--loopback", "--minutes", minutes, "--seed", "7", "--out"]).arg(out);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Processes whose command line names this folder.
fn processes_of(out: &Path) -> Vec<u32> {
    let name = out.to_string_lossy().into_owned();
    let is_of = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let words = fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&words).contains(&name).then_some(pid)
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| is_of(entry.unwrap())).collect()
}

#[test]
fn a_short_round_of_chaos_passes_and_leaves_files_but_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let output = start(&out, "0.1").wait_with_output().unwrap();
    let (said, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("no violation"), "{said}");
    assert!(errors.contains("links cannot be cut"), "{errors}");
    for name in ["history.edn", "history.json", "timeline.svg", "summary.json"] {
        assert!(fs::metadata(out.join(name)).unwrap().len() > 0, "{name}");
    }
    assert!(!out.join("node-1").exists(), "the data are gone");
    assert!(processes_of(&out).is_empty(), "a node runs still");
}

#[test]
fn a_signal_ends_chaos_and_its_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for signal in [Signal::INT, Signal::KILL] {
        let mut child = start(&out, "10");
        let own = child.id();
        wait_for("its nodes", || (processes_of(&out).len() == 4).then_some(()));
        kill_process(Pid::from_raw(own as i32).unwrap(), signal).unwrap();
        wait_for("its end", || child.try_wait().unwrap());
        wait_for("the nodes' end", || processes_of(&out).is_empty().then_some(()));
        if signal == Signal::INT {
            assert!(!out.join("secret").exists());
        }
    }
}

#[test]
fn a_folder_that_holds_something_else_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine"), "kept").unwrap();
    let output = start(dir.path(), "0.1").wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("choose another --out"));
    assert_eq!(fs::read(dir.path().join("mine")).unwrap(), b"kept");
}

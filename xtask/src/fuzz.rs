//! `cargo xtask fuzz TARGET --minutes M`: a target of `fuzz/`, with the compiler that builds the rest.
//!
//! cargo-fuzz does the same with a nightly compiler; here the unstable switches of a stable one are
//! opened with `RUSTC_BOOTSTRAP`. No address sanitizer: what is fuzzed has no `unsafe` of ours.
//! Findings land in `fuzz/artifacts`; what the fuzzer learns stays in `fuzz/work`, beside the small
//! corpus that is committed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::{ci, tidy};

/// Coverage of edges and comparisons, which is what libFuzzer feeds on.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1";

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// A file of fuzz/fuzz_targets, without its ending.
    target: String,
    /// How long.
    #[arg(long, default_value_t = 1)]
    minutes: u32,
}

/// Builds the target and runs it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let fuzz = tidy::root().join("fuzz");
    let name = &options.target;
    if !fuzz.join(format!("fuzz_targets/{name}.rs")).exists() {
        return Err(format!("fuzz/fuzz_targets has no {name}.rs"));
    }
    let host = host()?;
    let target = fuzz.join("target");
    let mut build = Command::new(ci::program());
    build.current_dir(&fuzz).args(["build", "--release", "--target", &host, "--bin", name]);
    build.env("CARGO_TARGET_DIR", &target);
    build.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS);
    ci::finish(&mut build)?;

    let work = folder(fuzz.join("work").join(name))?;
    let artifacts = folder(fuzz.join("artifacts").join(name))?;
    let corpus = folder(fuzz.join("corpus").join(name))?;
    let mut fuzzer = Command::new(target.join(host).join("release").join(name));
    fuzzer.arg(work).arg(corpus).arg("-max_len=16384").arg("-print_final_stats=1");
    fuzzer.arg(format!("-max_total_time={}", options.minutes * 60));
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let dictionary = fuzz.join(format!("{name}.dict"));
    if dictionary.exists() {
        fuzzer.arg(format!("-dict={}", dictionary.display()));
    }
    ci::finish(&mut fuzzer)
}

/// Sees that all targets compile, without a C++ compiler: what is not linked needs no libFuzzer.
pub(crate) fn check() -> Result<(), String> {
    let fuzz = tidy::root().join("fuzz");
    let mut check = Command::new(ci::program());
    check.current_dir(&fuzz).args(["check", "--locked"]);
    check.env("CARGO_TARGET_DIR", fuzz.join("target"));
    check.env("CUSTOM_LIBFUZZER_PATH", fuzz.join("libfuzzer.a"));
    ci::finish(&mut check)
}

fn folder(path: PathBuf) -> Result<PathBuf, String> {
    fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// Naming the target keeps the flags away from build scripts.
fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map_err(|error| format!("rustc -vV: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}

//! `cargo xtask bench`: Synod beside Redis and etcd, on one machine, in one go.
//!
//! Each round starts each system afresh, loads it with `synod bench`, and stops it; a machine that
//! grows slower or faster meanwhile touches all alike. The table shows medians over the rounds.
//! All data lies in the target directory, so that everybody syncs to the same disk.
//!
//! The generator runs on the same processors as the servers. Its cost for each call is in the
//! table, too: where it comes near the server's, throughput says more about it than about them, and
//! the server's processor time for each call is the fairer figure.
//!
//! What cannot be measured is named, and makes the whole fail: a peer that is not installed, a
//! system that does not start, an error reply, a goal that is missed.

mod report;
pub(crate) mod systems;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde::Deserialize;

use report::{Cell, Report, Sample};
use systems::{Running, System};

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// One second for each load in each round, instead of five.
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Only these systems; goals that need another are left out.
    #[arg(long, value_enum, value_delimiter = ',')]
    systems: Vec<System>,
    /// How often everything is repeated.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many shards Synod has.
    #[arg(long, default_value_t = SHARDS)]
    shards: u32,
    /// Use the binary that lies in the target directory.
    #[arg(long)]
    no_build: bool,
}

/// What is asked of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) workload: &'static str,
    pub(crate) clients: u32,
    pub(crate) pipeline: u32,
    pub(crate) value_size: u32,
}

/// Beside Redis: one node, 50 connections.
const REDIS_LOADS: &[Load] = &[
    Load { workload: "set", clients: 50, pipeline: 1, value_size: 64 },
    Load { workload: "incr", clients: 50, pipeline: 1, value_size: 64 },
    Load { workload: "get", clients: 50, pipeline: 1, value_size: 64 },
    Load { workload: "set", clients: 50, pipeline: 16, value_size: 64 },
    Load { workload: "incr", clients: 50, pipeline: 16, value_size: 64 },
    Load { workload: "get", clients: 50, pipeline: 16, value_size: 64 },
];

/// Beside etcd: 64 clients, values of 256 bytes.
const ETCD_LOADS: &[Load] = &[Load { workload: "set", clients: 64, pipeline: 1, value_size: 256 }];

/// HTTP/2 connections that the clients of etcd share: with these etcd does best.
const ETCD_CONNECTIONS: &str = "4";

const KEYS: &str = "100000";

/// As many shards as a cluster has by itself.
const SHARDS: u32 = 16;

/// Load before each measurement, that nobody counts.
const WARMUP_SECONDS: &str = "0.4";

/// Measures, prints, and fails if anything is missing.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if options.rounds == 0 {
        return Err("--rounds must be at least 1".to_owned());
    }
    let bench = Bench::prepare(options)?;
    let mut report = Report::new(options.rounds, bench.seconds());
    for round in 0..options.rounds {
        for system in bench.systems() {
            if report.is_missing(system) {
                continue;
            }
            eprintln!("round {} of {}: {}", round + 1, options.rounds, system.name());
            if let Err(why) = bench.measure(system, &mut report) {
                report.missing(system, why);
            }
        }
    }
    let text = if options.json { report.json() } else { report.text() };
    writeln!(std::io::stdout(), "{text}").map_err(|error| format!("printing: {error}"))?;
    report.verdict()
}

struct Bench<'a> {
    options: &'a Options,
    synod: PathBuf,
    target: PathBuf,
}

impl<'a> Bench<'a> {
    fn prepare(options: &'a Options) -> Result<Bench<'a>, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent")?;
        let target = std::env::var_os("CARGO_TARGET_DIR");
        let target = target.map_or_else(|| root.join("target"), PathBuf::from);
        if !options.no_build {
            let arguments =
                ["build", "--release", "--package", "synod", "--features", "etcd-bench"];
            let status = Command::new("cargo").args(arguments).current_dir(root).status();
            let status = status.map_err(|error| format!("cargo: {error}"))?;
            if !status.success() {
                return Err("synod does not build".to_owned());
            }
        }
        let synod = target.join("release/synod");
        if !synod.exists() {
            return Err(format!("there is no {}: leave out --no-build", synod.display()));
        }
        Ok(Bench { options, synod, target })
    }

    fn systems(&self) -> Vec<System> {
        match self.options.systems.is_empty() {
            true => System::ALL.to_vec(),
            false => self.options.systems.clone(),
        }
    }

    fn seconds(&self) -> f64 {
        if self.options.quick { 1.0 } else { 5.0 }
    }

    /// Starts a system, puts every load on it, and stops it.
    fn measure(&self, system: System, report: &mut Report) -> Result<(), String> {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&self.target);
        let directory = directory.map_err(|error| format!("a directory for data: {error}"))?;
        let shards = self.options.shards;
        let running = Running::start(system, &self.synod, directory.path(), shards)?;
        for load in system.loads() {
            let prepared = self.prepare_load(&running, *load);
            let sample = prepared.and_then(|()| self.sample(&running, *load));
            let sample = sample.map_err(|error| format!("{error}\n{}", running.last_words()))?;
            report.add(Cell::new(system, *load), sample);
        }
        Ok(())
    }

    /// Writes the keys that are to be read, and warms the system up.
    fn prepare_load(&self, running: &Running, load: Load) -> Result<(), String> {
        if load.workload == "get" {
            self.generate(running, load, &["--requests", "1"])?;
        }
        self.generate(running, load, &["--seconds", WARMUP_SECONDS, "--no-fill"]).map(drop)
    }

    fn sample(&self, running: &Running, load: Load) -> Result<Sample, String> {
        let cpu = running.cpu()?;
        let seconds = self.seconds().to_string();
        let generated = self.generate(running, load, &["--seconds", &seconds, "--no-fill"])?;
        let cpu = running.cpu()? - cpu;
        let ended = generated.ops + generated.errors + generated.lost;
        Ok(Sample {
            ops_per_second: generated.ops_per_second,
            p50_us: generated.latency_us.p50,
            p99_us: generated.latency_us.p99,
            cpu_us_per_op: cpu.as_secs_f64() * 1e6 / ended.max(1) as f64,
            generator_us_per_op: generated.generator_cpu_us_per_op,
            errors: generated.errors + generated.lost,
        })
    }

    /// Runs `synod bench` to its end.
    fn generate(&self, running: &Running, load: Load, more: &[&str]) -> Result<Generated, String> {
        let target = if running.system.is_etcd() { "etcd" } else { "redis" };
        let mut command = Command::new(&self.synod);
        command.args(["bench", "--json", "--warmup", "0", "--keys", KEYS, "--target", target]);
        command.args(["--addr", &running.addrs.join(","), "--workload", load.workload]);
        command.args(["--clients", &load.clients.to_string()]);
        command.args(["--pipeline", &load.pipeline.to_string()]);
        command.args(["--value-size", &load.value_size.to_string()]);
        if running.system.is_etcd() {
            command.args(["--connections", ETCD_CONNECTIONS]);
        }
        let output = command.args(more).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("synod bench: {error}"))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let report = String::from_utf8_lossy(&output.stdout);
            return Err(format!("synod bench: {} {}", words.trim(), report.trim()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("synod bench: {error}"))
    }
}

/// What `synod bench --json` prints, as far as it is of interest here.
#[derive(Debug, Deserialize)]
struct Generated {
    ops: u64,
    ops_per_second: f64,
    errors: u64,
    lost: u64,
    latency_us: Latency,
    generator_cpu_us_per_op: f64,
}

#[derive(Debug, Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

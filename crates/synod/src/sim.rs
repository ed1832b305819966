//! `synod sim`: clusters in simulated time, one for each seed, until one of them goes wrong.
//!
//! A seed and a length are the whole of a run: whoever has the same commit gets the same events.
//! `--seed N` replays one, `--trace` tells its story; `--seeds K` runs many on all cores, prints
//! what they brought about, and of each that fails the shortest run that still does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sim::history::Format;
use sim::{Coverage, Report};

use crate::out::print;

/// The commit that this was built from, where whoever built it said so.
const COMMIT: Option<&str> = option_env!("SYNOD_COMMIT");

/// What to simulate.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Replay this seed alone.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Simulated seconds with faults, in each run.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Tell the story of the seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Write what the clients saw into this file: JSON if its name ends so, else EDN.
    #[arg(long, requires = "seed")]
    history: Option<PathBuf>,
    /// Fail if a kind of fault never struck, or a rare branch was never reached, in a short round
    /// too: a round of 100 seeds of 60 seconds always does.
    #[arg(long)]
    all_faults: bool,
}

/// Runs what was asked for; an error if anything went wrong in it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if !(options.seconds.is_finite() && options.seconds > 0.0 && options.seconds < 1e6) {
        return Err("--seconds must be a positive number".to_owned());
    }
    // A panic of the code under test is a finding, and told as one.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = match options.seed {
        Some(seed) => run_one(options, seed),
        None => run_many(options),
    };
    std::panic::set_hook(hook);
    outcome
}

fn of_seed(options: &Options, seed: u64) -> sim::Options {
    let length = Duration::from_secs_f64(options.seconds);
    sim::Options { seed, length, trace: options.trace }
}

fn run_one(options: &Options, seed: u64) -> Result<(), String> {
    let report = sim::run(&of_seed(options, seed));
    if let Some(file) = &options.history {
        let name = file.display().to_string();
        let text = sim::history::write(&report.history, Format::of_name(&name));
        fs::write(file, text).map_err(|error| format!("{name}: {error}"))?;
    }
    let mut text = String::new();
    for line in &report.story {
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(
        text,
        "seed {seed}: {} events, {} operations in {:.1} simulated seconds, trace {:016x}",
        report.events,
        report.operations,
        report.simulated.as_secs_f64(),
        report.trace
    );
    print(&text);
    match report.violation {
        None => Ok(()),
        Some(_) => Err(told(options, seed, &report)),
    }
}

/// What is known of a failure, and how to see it again.
fn told(options: &Options, seed: u64, report: &Report) -> String {
    let Some(violation) = &report.violation else { return format!("seed {seed} passed") };
    let short = sim::shorten(&of_seed(options, seed));
    let (seconds, commit) = (short.length.as_secs_f64(), COMMIT.unwrap_or(server::version::SYNOD));
    format!(
        "seed {seed} at {:.6} s: {}\n  replay: synod sim --seed {seed} --seconds {seconds:.6} \
         --trace    (synod {commit})",
        violation.at.as_secs_f64(),
        violation.what,
    )
}

/// What all threads write into.
#[derive(Default)]
struct Tally {
    coverage: Coverage,
    simulated: Duration,
    operations: u64,
    failures: BTreeMap<u64, Report>,
}

fn run_many(options: &Options) -> Result<(), String> {
    let (next, end) = (AtomicU64::new(options.from), options.from + options.seeds);
    let tally = Mutex::new(Tally::default());
    let began = Instant::now();
    let bar = ProgressBar::new(options.seeds).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {elapsed} of {duration}  {msg}")
            .map_err(|error| error.to_string())?,
    );
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = sim::run(&of_seed(options, seed));
                    note(&tally, seed, report);
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (wall, simulated) = (began.elapsed().as_secs_f64(), tally.simulated.as_secs_f64());
    print(&format!(
        "{}\n{} seeds, {simulated:.0} simulated seconds, {} operations in {wall:.1} s on {threads} \
         threads: {:.0} simulated seconds for each second and thread\n",
        tally.coverage.table(),
        options.seeds,
        tally.operations,
        simulated / wall / threads as f64,
    ));
    conclude(options, &tally)
}

fn note(tally: &Mutex<Tally>, seed: u64, report: Report) {
    let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    tally.coverage.add(&report.coverage);
    tally.simulated += report.simulated;
    tally.operations += report.operations;
    if report.violation.is_some() {
        tally.failures.insert(seed, report);
    }
}

fn conclude(options: &Options, tally: &Tally) -> Result<(), String> {
    /// More are told by their seeds alone: to shorten a run costs some runs.
    const TOLD_MAX: usize = 5;
    /// A round of so many seeds of this length must have brought about everything.
    const LONG_SEEDS: u64 = 100;
    const LONG_SECONDS: f64 = 60.0;
    if !tally.failures.is_empty() {
        let mut text = String::new();
        for (seed, report) in tally.failures.iter().take(TOLD_MAX) {
            let _ = writeln!(text, "{}", told(options, *seed, report));
        }
        let seeds: Vec<u64> = tally.failures.keys().copied().collect();
        return Err(format!("{text}{} seeds failed: {seeds:?}", seeds.len()));
    }
    let is_long = options.seeds >= LONG_SEEDS && options.seconds >= LONG_SECONDS;
    let missing = tally.coverage.missing();
    if (options.all_faults || is_long) && !missing.is_empty() {
        return Err(format!("never seen: {}", missing.join("; ")));
    }
    Ok(())
}

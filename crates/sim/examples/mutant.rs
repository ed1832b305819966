//! Plants one bug and runs seeds until it is seen: what `cargo xtask mutants` runs for each.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sim::{MUTANTS, Options, run};

/// Simulated time with faults, in each run.
const LENGTH: Duration = Duration::from_secs(60);

/// Prints all names; or looks for the one that is given within the given seconds; or, with a third
/// word, tells the story of that seed under it.
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout();
    let [name, budget, seed @ ..] = &words[..] else {
        for mutant in MUTANTS {
            let _ = writeln!(out, "{}\t{}", mutant.name, mutant.story);
        }
        return ExitCode::SUCCESS;
    };
    let known = MUTANTS.iter().any(|mutant| mutant.name == name);
    let Some(seconds) = budget.parse().ok().filter(|_| known) else {
        eprintln!("usage: mutant [NAME SECONDS [SEED]]");
        return ExitCode::FAILURE;
    };
    assert!(stdx::planted::plant(name), "one bug is planted at a time");
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(seed) = seed.first().and_then(|seed| seed.parse().ok()) {
        let report = run(&Options { seed, length: LENGTH, trace: true });
        let _ = writeln!(out, "{}", report.story.join("\n"));
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    let (seeds, caught) = hunt(Duration::from_secs(seconds));
    let (seconds, verdict) = (began.elapsed().as_secs_f64(), caught.as_deref());
    let what = verdict.unwrap_or("not caught").lines().next().unwrap_or_default();
    let _ = writeln!(out, "{seeds}\t{seconds:.1}\t{what}");
    if caught.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs seeds on all cores. How many were run, and the violation that was seen first.
fn hunt(budget: Duration) -> (u64, Option<String>) {
    let (next, done, found) = (AtomicU64::new(1), AtomicU64::new(0), AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            let (next, done, found) = (&next, &done, &found);
            scope.spawn(move || {
                while !found.load(Ordering::Relaxed) && began.elapsed() < budget {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let report = run(&Options { seed, length: LENGTH, trace: false });
                    done.fetch_add(1, Ordering::Relaxed);
                    if let Some(violation) = report.violation {
                        found.store(true, Ordering::Relaxed);
                        let _ = sender.send(format!("seed {seed}: {}", violation.what));
                    }
                }
            });
        }
    });
    (done.into_inner(), receiver.try_recv().ok())
}

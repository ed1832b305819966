//! Plants one bug and runs seeds until it is seen: what `cargo xtask mutants` runs for each. With
//! nothing planted it runs seeds that must all pass.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use sim::{Coverage, MUTANTS, Options, Report, run};

/// That of the product: the other one takes an eighth of a run.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulated time with faults, in each run.
const LENGTH: Duration = Duration::from_secs(60);

/// The same in a hunt: most of what can be seen is seen early.
const LENGTH_OF_HUNT: Duration = Duration::from_secs(30);

const USAGE: &str = "usage: mutant | mutant NAME SECONDS | mutant NAME SECONDS SEED | \
                     mutant --none SEEDS FROM | mutant --tell SEED SECONDS";

/// See [`USAGE`]: all names; the hunt for one; the story of a seed under it; a round without any;
/// the story of a seed without any.
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    std::panic::set_hook(Box::new(|_| {}));
    match words[..] {
        [] => list(),
        ["--none", seeds, from] => match (seeds.parse(), from.parse()) {
            (Ok(seeds), Ok(from)) => round(seeds, from),
            _ => misused(),
        },
        ["--tell", seed, seconds] => match (seed.parse(), seconds.parse()) {
            (Ok(seed), Ok(seconds)) => tell(seed, Duration::from_secs_f64(seconds)),
            _ => misused(),
        },
        [name, seconds, ref seed @ ..] if MUTANTS.iter().any(|one| one.name == name) => {
            assert!(stdx::planted::plant(name), "one bug is planted at a time");
            match (seconds.parse(), seed.first().map(|seed| seed.parse())) {
                (Ok(seconds), None) => hunt(name, Duration::from_secs(seconds)),
                (Ok(_), Some(Ok(seed))) => tell(seed, LENGTH_OF_HUNT),
                _ => misused(),
            }
        }
        _ => misused(),
    }
}

fn misused() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::FAILURE
}

fn print(text: &str) {
    // Whoever does not listen does not need to know.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn list() -> ExitCode {
    for mutant in MUTANTS {
        let kind = if mutant.rare { "rare" } else { "" };
        print(&format!("{}\t{kind}\t{}\t{}\n", mutant.name, mutant.what, mutant.source));
    }
    ExitCode::SUCCESS
}

fn tell(seed: u64, length: Duration) -> ExitCode {
    let report = run(&Options { seed, length, trace: true });
    print(&format!("{}\n", report.story.join("\n")));
    ExitCode::SUCCESS
}

/// Runs these seeds on all cores, and sends what comes of them.
fn start(
    length: Duration,
    seeds: impl Iterator<Item = u64> + Send + 'static,
) -> mpsc::Receiver<(u64, Report)> {
    let seeds = Arc::new(Mutex::new(seeds));
    let (sender, receiver) = mpsc::sync_channel(0);
    for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
        let (sender, seeds) = (sender.clone(), Arc::clone(&seeds));
        thread::spawn(move || {
            loop {
                let seed = seeds.lock().ok().and_then(|mut seeds| seeds.next());
                let Some(seed) = seed else { return };
                let report = run(&Options { seed, length, trace: false });
                if sender.send((seed, report)).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// The first violation ends it. A run that hangs does not hold up the end: it dies with the process.
fn hunt(name: &str, budget: Duration) -> ExitCode {
    let began = Instant::now();
    let theme = MUTANTS.iter().find(|one| one.name == name).and_then(|one| one.theme);
    // Where it is at home, and where it is not.
    let reports = match theme {
        Some(theme) => {
            let seeds = theme.seeds().zip(1..).flat_map(|(one, other)| [one, other]);
            start(LENGTH_OF_HUNT, seeds)
        }
        None => start(LENGTH_OF_HUNT, 1..),
    };
    let mut seeds = 0;
    while let Ok((seed, report)) = reports.recv_timeout(budget.saturating_sub(began.elapsed())) {
        seeds += 1;
        if let Some(violation) = report.violation {
            let what = violation.what.lines().next().unwrap_or_default();
            let (seconds, check) = (began.elapsed().as_secs_f64(), violation.check());
            print(&format!("{seeds}\t{seconds:.1}\t{check}\tseed {seed}: {what}\n"));
            return ExitCode::SUCCESS;
        }
    }
    print(&format!("{seeds}\t{:.1}\t\tnot caught\n", began.elapsed().as_secs_f64()));
    ExitCode::FAILURE
}

/// All must pass, and together bring about every fault.
fn round(seeds: u64, from: u64) -> ExitCode {
    let began = Instant::now();
    let reports = start(LENGTH, from..from + seeds);
    let (mut coverage, mut simulated, mut failed) = (Coverage::default(), Duration::ZERO, 0);
    for (seed, report) in reports {
        coverage.add(&report.coverage);
        simulated += report.simulated;
        if let Some(violation) = report.violation {
            failed += 1;
            print(&format!("seed {seed} at {:?}: {}\n", violation.at, violation.what));
        }
    }
    let missing: Vec<String> = coverage.missing();
    let (wall, simulated) = (began.elapsed().as_secs_f64(), simulated.as_secs_f64());
    let rate = simulated / wall;
    print(&format!(
        "{}\n{seeds} seeds, {simulated:.0} simulated seconds in {wall:.1} s: {rate:.0} a second; \
         {failed} failed; never seen: {missing:?}\n",
        coverage.table()
    ));
    if failed == 0 && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

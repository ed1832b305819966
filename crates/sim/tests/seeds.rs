//! Seeds that every round runs: some dozens of fresh ones, and those that once failed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sim::{Coverage, Mark, Options, Report, run};

fn options(seed: u64, seconds: f64) -> Options {
    Options { seed, length: Duration::from_secs_f64(seconds), trace: false }
}

fn passed(seed: u64, seconds: f64, report: &Report) {
    if let Some(violation) = &report.violation {
        let replay = format!("synod sim --seed {seed} --seconds {seconds} --trace");
        panic!("seed {seed}: {} ({replay})", violation.what);
    }
}

/// Runs seeds on all cores.
fn run_all(seeds: &[(u64, f64)]) -> Coverage {
    let (next, coverage) = (AtomicU64::new(0), Mutex::new(Coverage::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((seed, seconds)) =
                    seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                {
                    let report = run(&options(*seed, *seconds));
                    passed(*seed, *seconds, &report);
                    coverage.lock().expect("no thread panics with it").add(&report.coverage);
                }
            });
        }
    });
    coverage.into_inner().expect("no thread panics with it")
}

#[test]
fn two_runs_of_a_seed_are_the_same_event_by_event() {
    for seed in [1, 2, 3] {
        let (first, second) = (run(&options(seed, 20.0)), run(&options(seed, 20.0)));
        assert!(first.events > 1_000);
        assert_eq!((first.trace, first.events), (second.trace, second.events));
        assert_eq!(first.coverage, second.coverage);
    }
    assert_ne!(run(&options(1, 5.0)).trace, run(&options(2, 5.0)).trace);
}

#[test]
fn a_run_is_the_beginning_of_a_longer_one() {
    let story = |seconds| {
        let mut story = run(&Options { trace: true, ..options(4, seconds) }).story;
        story.retain(|line| !line.contains("VIOLATION"));
        story
    };
    let (short, long) = (story(5.0), story(10.0));
    let common = short.iter().position(|line| line.contains("all faults end")).unwrap();
    assert!(common > 100);
    let differ = (0..common).find(|at| short[*at] != long[*at]);
    assert_eq!(differ, None, "{:?}", differ.map(|at| (&short[at], &long[at])));
}

#[test]
fn seeds_that_once_failed_pass() {
    let text = include_str!("../seeds.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let seeds: Vec<(u64, f64)> = lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut word = || words.next().expect("a seed and its seconds");
            (word().parse().unwrap(), word().parse().unwrap())
        })
        .collect();
    run_all(&seeds);
}

#[test]
fn no_seed_breaks_a_promise() {
    let seeds: Vec<(u64, f64)> = (1_000..1_048).map(|seed| (seed, 30.0)).collect();
    let coverage = run_all(&seeds);
    for mark in [
        Mark::ReadServed,
        Mark::WriteServed,
        Mark::Forwarded,
        Mark::LeaderElected,
        Mark::PowerFailedInCommit,
        Mark::SnapshotInstalled,
        Mark::DigestsCompared,
        Mark::LogCut,
        Mark::AnswerUnknown,
        Mark::NodeCame,
        Mark::ReplicaJoined,
        Mark::NodeRemoved,
        Mark::MajorityServed,
    ] {
        assert!(coverage.count(mark) > 0, "never seen: {}\n{}", mark.title(), coverage.table());
    }
}

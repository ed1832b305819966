//! One seed from its beginning to its verdict, and the shortest run that still fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::coverage::Coverage;
use crate::history::History;
use crate::world::World;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// How long there are faults; then all of them end, and the cluster must recover.
    pub length: Duration,
    /// Keep the story.
    pub trace: bool,
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The time of the world.
    pub at: Duration,
    pub what: String,
}

impl Violation {
    /// Which of the checks has seen it.
    pub fn check(&self) -> &'static str {
        let starts = |prefixes: &[&str]| prefixes.iter().any(|one| self.what.starts_with(one));
        if starts(&["a panic"]) {
            "an assertion"
        } else if starts(&["not recovered"]) {
            "recovery"
        } else if starts(&["the clients"]) {
            "the clients"
        } else {
            "the replicas"
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    pub violation: Option<Violation>,
    /// A hash of every event, in order: equal for equal runs.
    pub trace: u64,
    pub events: u64,
    /// Operations of clients that were answered.
    pub operations: u64,
    pub simulated: Duration,
    pub coverage: Coverage,
    pub story: Vec<String>,
    /// What the clients saw.
    pub history: History,
}

/// Runs a seed. A panic of the code under test is a violation like any other.
pub fn run(options: &Options) -> Report {
    // What this thread did before is not of this run.
    stdx::marks::take();
    let mut world = World::new(options);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let what = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(what)) => Some(what),
        Err(panic) => Some(format!("a panic: {}", text_of(&*panic))),
    };
    let mut report = world.report(what);
    report.coverage.reach(&stdx::marks::take());
    report
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "of an unknown kind".to_owned()
    }
}

/// The shortest length, to a tenth of a second, for which this seed still fails.
pub fn shorten(options: &Options) -> Options {
    let step = Duration::from_millis(100);
    let (mut passes, mut fails) = (Duration::ZERO, options.length);
    while fails - passes > step {
        let length = passes + (fails - passes) / 2;
        let tried = run(&Options { length, trace: false, ..options.clone() });
        if tried.violation.is_some() {
            fails = length;
        } else {
            passes = length;
        }
    }
    Options { length: fails, ..options.clone() }
}

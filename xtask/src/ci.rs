//! `cargo xtask ci`: everything a change must pass, in the order in which it fails soonest.
//!
//! ```text
//! fmt ─▶ tidy ─▶ clippy ─▶ fuzz ─▶ test ─▶ doc ─▶ examples ─▶ chaos ─▶ sim
//! ```
//!
//! It stops at the first step that fails and says which. A step that did nothing is a failure, too:
//! the tests that ran are counted. `--skip` is for the impatient; CI gives no flag.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::{Args, ValueEnum};

use crate::{examples, fuzz, mutants, tidy};

/// How many of the last lines of the tests are repeated at the end.
const CLOSING_LINES: usize = 12;

/// Seeds of the simulator, each of 60 simulated seconds with all faults: about a minute on two cores.
const SIM_SEEDS: u64 = 300;

/// Seconds for each planted bug. Most are seen in one; with a fifth of them missed, all take less
/// than four minutes, so that this and the seeds stay below six.
const MUTANT_BUDGET_SECONDS: u64 = 15;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Leave these steps out.
    #[arg(long, value_enum, value_delimiter = ',')]
    skip: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    Fmt,
    Tidy,
    Clippy,
    /// The fuzz targets compile; `cargo xtask fuzz` runs them.
    Fuzz,
    Test,
    Doc,
    Examples,
    Chaos,
    Sim,
}

const STEPS: &[Step] = &[
    Step::Fmt,
    Step::Tidy,
    Step::Clippy,
    Step::Fuzz,
    Step::Test,
    Step::Doc,
    Step::Examples,
    Step::Chaos,
    Step::Sim,
];

/// Runs every step.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let start = Instant::now();
    let mut closing = Vec::new();
    let mut times = Vec::new();
    for step in STEPS.iter().filter(|step| !options.skip.contains(step)) {
        eprintln!("── {step:?}");
        let begin = Instant::now();
        match step {
            Step::Fmt => cargo(["fmt", "--all", "--check"])?,
            Step::Tidy => tidy::run()?,
            Step::Clippy => {
                cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
            }
            Step::Fuzz => fuzz::check()?,
            Step::Test => closing = test()?,
            Step::Doc => doc()?,
            Step::Examples => examples::run()?,
            // Other misfortunes each time; the seed is printed.
            Step::Chaos => {
                cargo("run -p synod -- chaos --minutes 0.6 --out target/chaos".split(' '))?
            }
            Step::Sim => {
                mutants::run_seeds(SIM_SEEDS)?;
                mutants::run(&mutants::Options::within(MUTANT_BUDGET_SECONDS))?;
            }
        }
        times.push(format!("{step:?} {} s", begin.elapsed().as_secs()));
    }
    eprintln!("── all passed in {} s: {}", start.elapsed().as_secs(), times.join(", "));
    for line in closing {
        eprintln!("{line}");
    }
    Ok(())
}

fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    finish(Command::new(program()).args(args))
}

fn doc() -> Result<(), String> {
    let mut command = Command::new(program());
    command.args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
    finish(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// The cargo that runs us.
pub(crate) fn program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs a command, shown before, to its end.
pub(crate) fn finish(command: &mut Command) -> Result<(), String> {
    let shown = shown(command);
    eprintln!("$ {shown}");
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}")) }
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

/// Runs the tests, shows what they print, and returns the closing lines.
fn test() -> Result<Vec<String>, String> {
    let mut command = Command::new(program());
    command.args(["test", "--workspace", "--no-fail-fast"]).stdout(Stdio::piped());
    let shown = shown(&command);
    eprintln!("$ {shown}");
    let mut child = command.spawn().map_err(|error| format!("{shown}: {error}"))?;
    let output = child.stdout.take().ok_or("cargo's output is not ours")?;
    let mut results = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| format!("{shown}: {error}"))?;
        eprintln!("{line}");
        if line.starts_with("test result:") {
            results.push(line);
        }
    }
    let status = child.wait().map_err(|error| format!("{shown}: {error}"))?;
    let passed = results.iter().filter_map(|line| count(line, "passed")).sum::<u64>();
    let failed = results.iter().filter_map(|line| count(line, "failed")).sum::<u64>();
    if !status.success() {
        return Err(format!("{shown}: {status}, {passed} passed, {failed} failed"));
    }
    if passed == 0 {
        return Err(format!("{shown}: no test was run"));
    }
    let mut closing = results.split_off(results.len().saturating_sub(CLOSING_LINES));
    closing.push(format!("test result: ok. {passed} passed; {failed} failed; of all crates"));
    Ok(closing)
}

/// The number before a word of cargo's result line.
fn count(line: &str, word: &str) -> Option<u64> {
    let before = line.split(&format!(" {word}")).next()?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn results_are_counted_from_cargos_line() {
        let line = "test result: ok. 61 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(count(line, "passed"), Some(61));
        assert_eq!(count(line, "failed"), Some(2));
        assert_eq!(count("test result: odd", "passed"), None);
    }
}

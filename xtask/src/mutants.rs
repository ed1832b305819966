//! `cargo xtask mutants`: bugs are planted in the product, one at a time, and the simulator must
//! see each of them.
//!
//! ```text
//! --list   names, one line each      NAME   one: exit 0 when it is caught      (nothing)   all
//! ```
//!
//! The binary that has them is built once, apart, under the feature `planted` of `sim`; no build
//! that is shipped has it. It hunts on all cores, and ends at the first violation.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use clap::Args;
use comfy_table::Table;

use crate::ci;

/// The part that must be caught, in percent, whatever `--all` says.
const CAUGHT_LEAST: usize = 80;

const HEADER: [&str; 6] = ["planted", "what is wrong then", "from", "seeds", "seconds", "seen by"];

/// Letters of what was seen that a table has room for.
const SEEN_LETTERS_MAX: usize = 70;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Plant this one alone.
    #[arg(conflicts_with = "list")]
    name: Option<String>,
    /// Only say what there is.
    #[arg(long)]
    list: bool,
    /// Look for each for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) budget: u64,
    /// Every one must be caught: without it four in five, and all that are not called rare.
    #[arg(long)]
    pub(crate) all: bool,
    /// Print the table as docs/proof.md has it.
    #[arg(long)]
    markdown: bool,
}

impl Options {
    /// All of them, each within so many seconds.
    pub(crate) fn within(budget: u64) -> Options {
        Options { name: None, list: false, budget, all: false, markdown: false }
    }
}

/// A bug that can be planted.
struct Mutant {
    name: String,
    rare: bool,
    what: String,
    source: String,
}

/// What came of the hunt for one.
struct Hunt {
    caught: bool,
    seeds: String,
    seconds: String,
    check: String,
    seen: String,
}

/// Lists them, or hunts one, or all.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let binary = build()?;
    let mutants = list(&binary)?;
    if options.list {
        for Mutant { name, what, source, .. } in &mutants {
            print(&format!("{name:<27} {what} ({source})\n"));
        }
        return Ok(());
    }
    let Some(name) = &options.name else { return hunt_all(options, &binary, &mutants) };
    let Some(mutant) = mutants.iter().find(|mutant| mutant.name == *name) else {
        return Err(format!("nothing is planted under the name '{name}'; see --list"));
    };
    let Hunt { caught, seeds, seconds, check, seen } = hunt(&binary, name, options.budget)?;
    print(&format!("{name}: {} ({})\n", mutant.what, mutant.source));
    if !caught {
        return Err(format!("'{name}' was not caught: {seeds} seeds, {seconds} s"));
    }
    print(&format!("caught by {check} in {seconds} s, {seeds} seeds run\n{seen}\n"));
    Ok(())
}

/// Runs seeds with nothing planted, in the same binary: none may fail, and each fault must strike.
pub(crate) fn run_seeds(seeds: u64) -> Result<(), String> {
    let mut command = Command::new(build()?);
    ci::finish(command.args(["--none", &seeds.to_string(), "1"]))
}

fn hunt_all(options: &Options, binary: &Path, mutants: &[Mutant]) -> Result<(), String> {
    let began = Instant::now();
    let mut table = Table::new();
    table.set_header(HEADER);
    let mut lines = format!("| {} |\n|{}\n", HEADER.join(" | "), " --- |".repeat(HEADER.len()));
    let (mut missed, mut missed_cheap) = (Vec::new(), Vec::new());
    for Mutant { name, rare, what, source } in mutants {
        let Hunt { caught, seeds, seconds, check, seen } = hunt(binary, name, options.budget)?;
        let seen: String = seen.chars().take(SEEN_LETTERS_MAX).collect();
        eprintln!("{} {name}: {seeds} seeds, {seconds} s: {seen}", if caught { "✓" } else { "✗" });
        let check = if caught { check } else { "nothing".to_owned() };
        let row = [name.as_str(), what, source, &seeds, &seconds, &check];
        table.add_row(row);
        lines.push_str(&format!("| {} |\n", row.join(" | ")));
        if !caught {
            missed.push(name.as_str());
            missed_cheap.extend((!rare).then_some(name.as_str()));
        }
    }
    let caught = mutants.len() - missed.len();
    let seconds = began.elapsed().as_secs();
    let shown = if options.markdown { lines } else { format!("{table}\n") };
    let all = mutants.len();
    print(&format!("{shown}{caught} of {all} planted bugs were caught in {seconds} s\n"));
    if options.all && !missed.is_empty() {
        return Err(format!("not caught: {}", missed.join(", ")));
    }
    if !missed_cheap.is_empty() {
        return Err(format!("not caught, though they are not rare: {}", missed_cheap.join(", ")));
    }
    if caught * 100 < mutants.len() * CAUGHT_LEAST {
        return Err(format!("not enough were caught; not: {}", missed.join(", ")));
    }
    Ok(())
}

/// Builds the binary with the bugs in it, and says where it is.
fn build() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent")?;
    let mut command = Command::new(ci::program());
    command.current_dir(root).args(["build", "--quiet", "--release", "-p", "sim"]);
    ci::finish(command.args(["--features", "planted", "--example", "mutant"]))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    Ok(target.join("release/examples/mutant"))
}

fn list(binary: &Path) -> Result<Vec<Mutant>, String> {
    let output = output(binary, &[])?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let mutant = |line: &str| {
        let mut words = line.splitn(4, '\t').map(str::to_owned);
        let mut word = || words.next().ok_or_else(|| format!("an odd line: {line}"));
        let (name, kind, what, source) = (word()?, word()?, word()?, word()?);
        Ok(Mutant { name, rare: kind == "rare", what, source })
    };
    listed.lines().map(mutant).collect()
}

fn hunt(binary: &Path, name: &str, budget: u64) -> Result<Hunt, String> {
    let output = output(binary, &[name, &budget.to_string()])?;
    let line = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let mut words = line.splitn(4, '\t').map(str::to_owned);
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(seeds), Some(seconds), Some(check), Some(seen)) => {
            Ok(Hunt { caught: output.status.success(), seeds, seconds, check, seen })
        }
        // The process died of it.
        _ => {
            let (seeds, seconds) = ("?".to_owned(), "?".to_owned());
            let (check, seen) = ("its end".to_owned(), output.status.to_string());
            Ok(Hunt { caught: !output.status.success(), seeds, seconds, check, seen })
        }
    }
}

fn output(binary: &Path, arguments: &[&str]) -> Result<Output, String> {
    let output = Command::new(binary).args(arguments).output();
    output.map_err(|error| format!("{}: {error}", binary.display()))
}

#[expect(clippy::print_stdout, reason = "the table is the output of the command")]
fn print(text: &str) {
    print!("{text}");
}

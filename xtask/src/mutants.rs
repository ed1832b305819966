//! `cargo xtask mutants`: bugs are planted in the product, one at a time, and the simulator must
//! see each of them.
//!
//! ```text
//! --list   names and stories        NAME   one: exit 0 when it is caught       (nothing)   all
//! ```
//!
//! The binary that has them is built apart, under the feature `planted` of `sim`; no build that is
//! shipped has it.

use std::process::{Command, Output};

use clap::Args;
use comfy_table::Table;

/// The part that CI must see caught, in percent.
const CAUGHT_LEAST: usize = 80;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Plant this one alone.
    #[arg(conflicts_with = "list")]
    name: Option<String>,
    /// Only say what there is.
    #[arg(long)]
    list: bool,
    /// Look for each for so many seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Every one must be caught.
    #[arg(long)]
    all: bool,
}

/// Lists them, or hunts one, or all.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let listed = text(&mutant(&[])?);
    let mutants: Vec<(&str, &str)> =
        listed.lines().filter_map(|line| line.split_once('\t')).collect();
    if options.list {
        let lines: Vec<String> =
            mutants.iter().map(|(name, story)| format!("{name}: {story}\n")).collect();
        print(&lines.concat());
        return Ok(());
    }
    if let Some(name) = &options.name {
        if !mutants.iter().any(|(known, _)| known == name) {
            return Err(format!("nothing is planted under the name '{name}'; see --list"));
        }
        let (seeds, seconds, what, caught) = hunt(name, options.seconds)?;
        print(&format!("{name}: {what} ({seeds} seeds, {seconds} s)\n"));
        return if caught { Ok(()) } else { Err(format!("'{name}' was not caught")) };
    }
    hunt_all(options, &mutants)
}

fn hunt_all(options: &Options, mutants: &[(&str, &str)]) -> Result<(), String> {
    let mut table = Table::new();
    table.set_header(["planted", "caught", "seeds", "seconds", "by"]);
    let mut missed = Vec::new();
    for (name, _) in mutants {
        let (seeds, seconds, what, caught) = hunt(name, options.seconds)?;
        eprintln!("{} {name} ({seeds} seeds, {seconds} s)", if caught { "✓" } else { "✗" });
        let by: String = what.chars().take(100).collect();
        table.add_row([*name, if caught { "yes" } else { "no" }, &seeds, &seconds, &by]);
        if !caught {
            missed.push(*name);
        }
    }
    print(&format!("{table}\n"));
    let caught = mutants.len() - missed.len();
    let enough = caught * 100 >= mutants.len() * CAUGHT_LEAST;
    if missed.is_empty() || (enough && !options.all) {
        return Ok(());
    }
    Err(format!("{caught} of {} were caught; not: {}", mutants.len(), missed.join(", ")))
}

/// Seeds, seconds, what was seen, and whether anything was.
fn hunt(name: &str, seconds: u64) -> Result<(String, String, String, bool), String> {
    let output = mutant(&[name, &seconds.to_string()])?;
    let line = text(&output);
    let mut words = line.trim_end().splitn(3, '\t').map(str::to_owned);
    let [Some(seeds), Some(seconds), Some(what)] = [words.next(), words.next(), words.next()]
    else {
        return Err(format!("the hunt for '{name}' ended without a word: {}", errors(&output)));
    };
    Ok((seeds, seconds, what, output.status.success()))
}

fn mutant(arguments: &[&str]) -> Result<Output, String> {
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--release", "-p", "sim", "--features", "planted"])
        .args(["--example", "mutant", "--"])
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    let failed = output.stdout.is_empty() && !output.status.success();
    if failed { Err(errors(&output)) } else { Ok(output) }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[expect(clippy::print_stdout, reason = "the table is the output of the command")]
fn print(text: &str) {
    print!("{text}");
}

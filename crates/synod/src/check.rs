//! `synod check`: reads a history and says whether it can have been.
//!
//! A history of ours or of anybody else who writes Jepsen's format, as EDN or as JSON lines; see
//! docs/history.md. It may be that of another store: the checkers know Redis's types, and nothing
//! of Synod.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use sim::checker::{Rules, Verdict, check};
use sim::history;

use crate::out::print;

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The history: a line for each event.
    file: PathBuf,
    /// The clock that expiry goes by is off by so many milliseconds at most: keys must be there
    /// until their time, and gone after it. Without it, a key that expires may be gone at any time.
    #[arg(long)]
    clock_bound_ms: Option<u64>,
    /// Places that the search for an order of one part may look at.
    #[arg(long, default_value_t = Rules::default().states_max)]
    states: usize,
    /// Take a part that could not be decided for a failure.
    #[arg(long)]
    strict: bool,
}

/// Checks; an error if the history cannot have been.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let name = options.file.display();
    let text = fs::read_to_string(&options.file).map_err(|error| format!("{name}: {error}"))?;
    let history = history::read(&text).map_err(|error| format!("{name}: {error}"))?;
    let mut rules = Rules { states_max: options.states, ..Rules::default() };
    if let Some(bound) = options.clock_bound_ms.map(Duration::from_millis) {
        rules = rules.with_clock(bound, bound);
    }
    let began = Instant::now();
    let verdict = check(&history, &rules);
    print(&format!(
        "{} operations on {} parts, {} transactions on lists, checked in {:.1} s\n",
        verdict.operations,
        verdict.parts,
        verdict.transactions,
        began.elapsed().as_secs_f64(),
    ));
    conclude(&verdict, options.strict)
}

/// What there is to say, and whether it is bad.
fn conclude(verdict: &Verdict, strict: bool) -> Result<(), String> {
    let mut text = String::new();
    for keys in &verdict.undecided {
        let _ = writeln!(text, "undecided: {keys} (--states looks further)");
    }
    for violation in &verdict.violations {
        let _ = writeln!(text, "{violation}");
    }
    if !verdict.violations.is_empty() {
        return Err(format!("this cannot have been:\n{text}"));
    }
    if strict && !verdict.undecided.is_empty() {
        return Err(format!("not all was decided:\n{text}"));
    }
    let undecided = verdict.undecided.len();
    print(&text);
    print(match undecided {
        0 => "linearizable, and its transactions are strictly serializable\n",
        _ => "nothing was found that cannot have been\n",
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Options, run};

    fn verdict(text: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.edn");
        std::fs::write(&file, text).unwrap();
        run(&Options { file, clock_bound_ms: None, states: 10_000, strict: true })
    }

    #[test]
    fn a_history_that_can_have_been_passes_and_another_is_told_why() {
        let append = "{:process 1 :type :invoke :value [[:append \"x\" 1]]}\n\
                      {:process 1 :type :ok :value [[:append \"x\" 1]]}\n\
                      {:process 2 :type :invoke :value [[:r \"x\" nil]]}\n";
        let read = |items: &str| format!("{{:process 2 :type :ok :value [[:r \"x\" {items}]]}}");
        assert_eq!(verdict(&format!("{append}{}", read("[1]"))), Ok(()));
        let stale = verdict(&format!("{append}{}", read("[]"))).unwrap_err();
        assert!(stale.contains("G-single in real time"), "{stale}");
        assert!(verdict("{:process 1}").unwrap_err().contains("line 1"));
    }
}

//! The judgement over a history, by the checkers that the simulator has.

use sim::checker::{Rules, check};
use sim::history::History;

/// How many violations are shown whole: one lie is often seen in many places.
const SHOWN_MAX: usize = 5;

/// What cannot have been, and what could not be decided.
pub(super) fn judge(history: &History) -> (Vec<String>, Vec<String>) {
    let verdict = check(history, &Rules::default());
    let count = verdict.violations.len();
    let mut violations: Vec<String> =
        verdict.violations.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if count > SHOWN_MAX {
        violations.push(format!("and {} more", count - SHOWN_MAX));
    }
    (violations, verdict.undecided)
}

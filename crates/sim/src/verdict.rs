//! The last word on a run: its whole history is checked.

use crate::checker::{self, Rules};
use crate::coverage::Mark;
use crate::history::{Datum, Operation, Verb};
use crate::limits::SEARCH_STATES_MAX;
use crate::plan::Evil;
use crate::world::{Checked, World};
use std::time::Duration;

impl World {
    /// Checks what the clients saw.
    pub(crate) fn check_history(&mut self) -> Checked {
        let operations = self.history.operations();
        let expired = operations.iter().filter(|one| saw_expiry(one, operations)).count();
        (0..expired).for_each(|_| self.coverage.hit(Mark::KeyExpired));
        let verdict = checker::check(&self.history, &self.rules());
        verdict.undecided.iter().for_each(|_| self.coverage.hit(Mark::SearchUndecided));
        match verdict.violations.first() {
            None => Ok(()),
            Some(violation) => Err(format!("the clients saw {violation}")),
        }
    }

    /// What is known of the clocks. Where they do not jump, each has drifted by so much at most.
    fn rules(&self) -> Rules {
        let rules = Rules { states_max: SEARCH_STATES_MAX, ..Rules::default() };
        if self.plan.evils.iter().any(|evil| matches!(evil, Evil::Jump | Evil::Strobe)) {
            return rules;
        }
        let drift = self.now / 1_000_000 * u64::from(self.plan.drift_ppm);
        let drift = Duration::from_nanos(drift);
        rules.with_clock(drift, drift + LAG)
    }
}

/// A key that is due is gone for readers when the log's clock has moved, which takes a commit.
const LAG: Duration = Duration::from_secs(20);

/// Did it find nothing where something had been set to expire?
fn saw_expiry(operation: &Operation, all: &[Operation]) -> bool {
    let [call] = operation.calls.as_slice() else { return false };
    if call.verb != Verb::Get || operation.results() != Some(&[Datum::Nil]) {
        return false;
    }
    let sets = |one: &&Operation| one.calls[0].verb == Verb::SetPx && one.calls[0].key == call.key;
    let mut sets = all.iter().filter(sets);
    sets.any(|one| one.end_index() < operation.start.index)
}

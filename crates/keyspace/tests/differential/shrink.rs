//! Makes a failing sequence as short as it can be and still fail.

use crate::run::{Difference, Theirs};
use crate::sequence::Sequence;

/// Runs that shrinking may take, a few milliseconds each.
const RUNS_MAX: usize = 4_000;

pub(crate) struct Shrinker<'a> {
    theirs: &'a mut Theirs,
    best: Sequence,
    difference: Difference,
    runs: usize,
}

/// The shortest sequence found that differs at a call of the same name.
pub(crate) fn shrink(
    theirs: &mut Theirs,
    sequence: Sequence,
    difference: Difference,
) -> (Sequence, Difference) {
    let mut shrinker = Shrinker { theirs, best: sequence, difference, runs: 0 };
    shrinker.cut();
    loop {
        let before = shrinker.size();
        shrinker.drop_calls();
        shrinker.drop_probes();
        shrinker.drop_arguments();
        if shrinker.size() == before || shrinker.runs >= RUNS_MAX {
            return (shrinker.best, shrinker.difference);
        }
    }
}

impl Shrinker<'_> {
    fn size(&self) -> usize {
        let calls = self.best.calls.iter().chain(&self.best.probes);
        calls.map(|call| 1 + call.iter().map(|arg| 1 + arg.len()).sum::<usize>()).sum()
    }

    fn name(sequence: &Sequence, difference: &Difference) -> Vec<u8> {
        let mut calls = sequence.calls.iter().chain(&sequence.probes);
        calls.nth(difference.at).map(|call| call[0].to_ascii_lowercase()).unwrap_or_default()
    }

    /// Keeps the candidate if it still differs where the best one does.
    fn try_one(&mut self, mut candidate: Sequence) -> bool {
        if self.runs >= RUNS_MAX || candidate.calls.is_empty() && candidate.probes.is_empty() {
            return false;
        }
        self.runs += 1;
        let Some(difference) = self.theirs.compare(&candidate) else { return false };
        if Self::name(&candidate, &difference) != Self::name(&self.best, &self.difference) {
            return false;
        }
        cut(&mut candidate, difference.at);
        self.best = candidate;
        self.difference = difference;
        true
    }

    /// What comes after the difference plays no part.
    fn cut(&mut self) {
        let mut candidate = self.best.clone();
        cut(&mut candidate, self.difference.at);
        self.try_one(candidate);
    }

    fn drop_calls(&mut self) {
        let mut size = self.best.calls.len().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            while start < self.best.calls.len() {
                let mut candidate = self.best.clone();
                let end = (start + size).min(candidate.calls.len());
                candidate.calls.drain(start..end);
                if !self.try_one(candidate) {
                    start += size;
                }
            }
            size /= 2;
        }
    }

    fn drop_probes(&mut self) {
        let mut at = 0;
        while at < self.best.probes.len() {
            let mut candidate = self.best.clone();
            candidate.probes.remove(at);
            if !self.try_one(candidate) {
                at += 1;
            }
        }
    }

    fn drop_arguments(&mut self) {
        for at in 0..self.best.calls.len() {
            let mut arg = 1;
            while self.best.calls.get(at).is_some_and(|call| arg < call.len()) {
                let mut candidate = self.best.clone();
                candidate.calls[at].remove(arg);
                if !self.try_one(candidate) {
                    arg += 1;
                }
            }
        }
    }
}

fn cut(sequence: &mut Sequence, at: usize) {
    let calls = sequence.calls.len();
    sequence.calls.truncate(at + 1);
    sequence.probes.truncate((at + 1).saturating_sub(calls));
}

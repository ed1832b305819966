//! Is there one order of all operations on a register that explains every answer?
//!
//! The search of Wing and Gong (1993) with Lowe's memory of what was tried (2017): always one of
//! the operations that began before any open one ended is next. An operation of unknown outcome
//! never ended, so it may come at any later place, or not at all.

use std::collections::BTreeSet;

use crate::limits::SEARCH_STATES_MAX;

/// What a register holds: nothing, or a value that was written once in the run.
pub type Held = Option<u64>;

/// What an operation did, as its answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It answered what it found.
    Read(Held),
    /// It wrote, and did not look.
    Write(Held),
    /// It wrote, and answered what it found.
    Swap { found: Held, wrote: Held },
    /// It wrote because it found this.
    Replace { expected: Held, wrote: Held },
}

/// One operation: between the two moments it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub call: u64,
    /// `u64::MAX` if it never ended.
    pub end: u64,
    pub act: Act,
}

/// What came of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    Impossible,
    /// The search grew too large.
    Undecided,
}

/// Searches for an order. At most 128 operations.
pub fn check(operations: &[Operation]) -> Verdict {
    assert!(operations.len() <= 128, "the set of those done must fit one word");
    let mut operations = operations.to_vec();
    operations.sort_by_key(|operation| operation.call);
    let needed = mask(&operations, |operation| operation.end != u64::MAX);
    let mut search = Search { operations, needed, seen: BTreeSet::new() };
    search.run()
}

struct Search {
    operations: Vec<Operation>,
    /// Those that ended: they must have a place.
    needed: u128,
    seen: BTreeSet<(u128, Held)>,
}

impl Search {
    fn run(&mut self) -> Verdict {
        let mut open = vec![(0u128, None)];
        while let Some((done, held)) = open.pop() {
            if done & self.needed == self.needed {
                return Verdict::Linearizable;
            }
            if self.seen.len() > SEARCH_STATES_MAX {
                return Verdict::Undecided;
            }
            // Those that never ended are tried last, so they are pushed first.
            let mut next = self.next_of(done, held);
            next.sort_by_key(|(at, _)| u64::MAX - self.operations[*at].end);
            for (at, after) in next {
                let state = (done | 1 << at, after);
                if self.seen.insert(state) {
                    open.push(state);
                }
            }
        }
        Verdict::Impossible
    }

    /// The operations that may come next, each with what the register holds after it.
    fn next_of(&self, done: u128, held: Held) -> Vec<(usize, Held)> {
        let is_open = |at: &usize| done & (1 << *at) == 0;
        let open = (0..self.operations.len()).filter(is_open);
        let first_end = open.clone().map(|at| self.operations[at].end).min().unwrap_or(0);
        let may_be_next = |at: &usize| self.operations[*at].call < first_end;
        let after = |at: usize| Some((at, apply(self.operations[at].act, held)?));
        open.filter(may_be_next).filter_map(after).collect()
    }
}

/// What the register holds after this, if it can have happened to one that holds `held`.
fn apply(act: Act, held: Held) -> Option<Held> {
    match act {
        Act::Read(found) => (found == held).then_some(held),
        Act::Write(wrote) => Some(wrote),
        Act::Swap { found, wrote } => (found == held).then_some(wrote),
        Act::Replace { expected, wrote } => (expected == held).then_some(wrote),
    }
}

fn mask(operations: &[Operation], is_in: impl Fn(&Operation) -> bool) -> u128 {
    let bits = operations.iter().enumerate().filter(|(_, operation)| is_in(operation));
    bits.fold(0, |mask, (at, _)| mask | 1 << at)
}

#[cfg(test)]
mod tests {
    use super::{Act, Operation, Verdict, check};

    fn operation(call: u64, end: u64, act: Act) -> Operation {
        Operation { call, end, act }
    }

    const NEVER: u64 = u64::MAX;

    #[test]
    fn a_read_sees_the_newest_write_and_no_older_one() {
        let write = |call, end, value| operation(call, end, Act::Write(Some(value)));
        let read = |call, end, found| operation(call, end, Act::Read(found));
        let fine = [write(1, 2, 7), write(3, 6, 8), read(4, 5, Some(7)), read(7, 8, Some(8))];
        assert_eq!(check(&fine), Verdict::Linearizable);
        let stale = [write(1, 2, 7), write(3, 4, 8), read(5, 6, Some(7))];
        assert_eq!(check(&stale), Verdict::Impossible);
        let back = [write(1, 9, 7), read(2, 3, Some(7)), read(4, 5, None)];
        assert_eq!(check(&back), Verdict::Impossible);
        let lost = [write(1, 2, 7), read(3, 4, None)];
        assert_eq!(check(&lost), Verdict::Impossible);
    }

    #[test]
    fn what_never_ended_may_take_effect_late_or_not_at_all_but_once() {
        let late = operation(1, NEVER, Act::Write(Some(7)));
        let read = |call, end, found| operation(call, end, Act::Read(found));
        let write = operation(4, 5, Act::Write(Some(8)));
        let never = [late, read(2, 3, None)];
        assert_eq!(check(&never), Verdict::Linearizable);
        let later = [late, read(2, 3, None), write, read(6, 7, Some(7))];
        assert_eq!(check(&later), Verdict::Linearizable);
        let twice = [late, read(2, 3, Some(7)), write, read(6, 7, Some(7))];
        assert_eq!(check(&twice), Verdict::Impossible);
    }

    #[test]
    fn swaps_and_replacements_look_before_they_write() {
        let swap = |call, end, found, wrote| operation(call, end, Act::Swap { found, wrote });
        let replace =
            |call, end, expected, wrote| operation(call, end, Act::Replace { expected, wrote });
        let fine = [swap(1, 9, None, Some(1)), replace(2, 8, Some(1), Some(2))];
        assert_eq!(check(&fine), Verdict::Linearizable);
        let both = [
            swap(1, 2, None, Some(1)),
            replace(3, 9, Some(1), Some(2)),
            replace(4, 8, Some(1), Some(3)),
        ];
        assert_eq!(check(&both), Verdict::Impossible);
    }
}

//! A set of integers: sorted, packed, each as wide as the widest needs.
//!
//! What always holds: ascending, each once; a width only grows, as Redis's intset.

/// Sorted integers of one width.
#[derive(Clone, Debug)]
pub(crate) enum Ints {
    Narrow(Vec<i16>),
    Middle(Vec<i32>),
    Wide(Vec<i64>),
}

impl Default for Ints {
    fn default() -> Ints {
        Ints::Narrow(Vec::new())
    }
}

impl Ints {
    pub(crate) fn len(&self) -> usize {
        match self {
            Ints::Narrow(items) => items.len(),
            Ints::Middle(items) => items.len(),
            Ints::Wide(items) => items.len(),
        }
    }

    /// How many bytes the integers take, as wide as they need now: how wide they once were
    /// differs between replicas, and a script may store what it was told.
    pub(crate) fn allocated(&self) -> usize {
        let (first, last) = (self.get(0), self.len().checked_sub(1).and_then(|at| self.get(at)));
        let fit = |fits: fn(i64) -> bool| first.into_iter().chain(last).all(fits);
        let width = match () {
            () if fit(|value| i16::try_from(value).is_ok()) => size_of::<i16>(),
            () if fit(|value| i32::try_from(value).is_ok()) => size_of::<i32>(),
            () => size_of::<i64>(),
        };
        self.len() * width
    }

    /// The integer at place `at`, counted from the smallest.
    pub(crate) fn get(&self, at: usize) -> Option<i64> {
        match self {
            Ints::Narrow(items) => items.get(at).map(|item| i64::from(*item)),
            Ints::Middle(items) => items.get(at).map(|item| i64::from(*item)),
            Ints::Wide(items) => items.get(at).copied(),
        }
    }

    pub(crate) fn contains(&self, value: i64) -> bool {
        self.find(value).is_ok()
    }

    /// Adds an integer; false if it is there.
    pub(crate) fn insert(&mut self, value: i64) -> bool {
        self.widen(value);
        let Err(at) = self.find(value) else { return false };
        match self {
            Ints::Narrow(items) => insert(items, at, value as i16),
            Ints::Middle(items) => insert(items, at, value as i32),
            Ints::Wide(items) => insert(items, at, value),
        }
        true
    }

    /// Takes an integer out; false if it is not there.
    pub(crate) fn remove(&mut self, value: i64) -> bool {
        let Ok(at) = self.find(value) else { return false };
        match self {
            Ints::Narrow(items) => drop(items.remove(at)),
            Ints::Middle(items) => drop(items.remove(at)),
            Ints::Wide(items) => drop(items.remove(at)),
        }
        true
    }

    /// All of them, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = i64> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    fn find(&self, value: i64) -> Result<usize, usize> {
        match self {
            Ints::Narrow(items) => items.binary_search_by_key(&value, |item| i64::from(*item)),
            Ints::Middle(items) => items.binary_search_by_key(&value, |item| i64::from(*item)),
            Ints::Wide(items) => items.binary_search(&value),
        }
    }

    /// Makes room for the width of `value`.
    fn widen(&mut self, value: i64) {
        let narrow = i16::try_from(value).is_ok();
        let middle = i32::try_from(value).is_ok();
        match self {
            Ints::Narrow(_) if narrow => {}
            Ints::Narrow(items) if middle => {
                *self = Ints::Middle(items.iter().map(|item| i32::from(*item)).collect());
            }
            Ints::Middle(_) if middle => {}
            Ints::Wide(_) => {}
            Ints::Narrow(_) | Ints::Middle(_) => *self = Ints::Wide(self.iter().collect()),
        }
    }
}

/// Inserts without the doubling of `Vec`: an eighth of slack is enough to copy seldom.
fn insert<T>(items: &mut Vec<T>, at: usize, value: T) {
    if items.len() == items.capacity() {
        items.reserve_exact(4 + items.len() / 8);
    }
    items.insert(at, value);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Ints;

    fn integer() -> impl Strategy<Value = i64> {
        prop_oneof![
            -9..9i64,
            any::<i16>().prop_map(i64::from),
            any::<i32>().prop_map(i64::from),
            any::<i64>(),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_set_at_every_width(
            steps in prop::collection::vec((any::<bool>(), integer()), 0..200)
        ) {
            let (mut ints, mut model) = (Ints::default(), BTreeSet::new());
            for (add, value) in steps {
                if add {
                    prop_assert_eq!(ints.insert(value), model.insert(value));
                } else {
                    prop_assert_eq!(ints.remove(value), model.remove(&value));
                }
                prop_assert_eq!(ints.contains(value), add);
            }
            prop_assert_eq!(ints.iter().collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
        }
    }
}

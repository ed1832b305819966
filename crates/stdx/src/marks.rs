//! Marks on rare branches, so that a test or the simulator can prove that it came there.
//!
//! `mark!("name")` counts on its own thread that the branch was taken. The product only ever writes:
//! nothing that it does depends on a mark. A name and a counter are all that it costs, and only
//! where things are rare anyway. All names are listed in the simulator, which fails a long round
//! of seeds in which one of them was never reached.
//!
//! TigerBeetle, `src/testing/marks.zig`.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// How often each branch was taken.
pub type Hits = BTreeMap<&'static str, u64>;

thread_local! {
    static HITS: RefCell<Hits> = const { RefCell::new(BTreeMap::new()) };
}

/// The branch of this name was taken.
pub fn hit(name: &'static str) {
    HITS.with_borrow_mut(|hits| *hits.entry(name).or_default() += 1);
}

/// The branches that were taken on this thread since the last call.
pub fn take() -> Hits {
    HITS.take()
}

/// Notes that this rare branch was taken. See the head of `marks.rs`.
#[macro_export]
macro_rules! mark {
    ($name:literal) => {
        $crate::marks::hit($name)
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_taken_is_counted_once_and_by_its_name() {
        crate::marks::take();
        mark!("here");
        mark!("here");
        mark!("there");
        assert_eq!(
            crate::marks::take().into_iter().collect::<Vec<_>>(),
            [("here", 2), ("there", 1)]
        );
        assert!(crate::marks::take().is_empty());
    }
}

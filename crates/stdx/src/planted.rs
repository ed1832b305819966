//! Bugs planted on purpose, so that the checks can be checked.
//!
//! `planted!("name")` is `false`, a constant, in every build that is shipped: only the feature
//! `planted` makes it ask whether this bug was switched on. What each one stands for is told where
//! they are listed, in the simulator.

/// Can bugs be planted in this build?
pub const ENABLED: bool = cfg!(feature = "planted");

#[cfg(feature = "planted")]
static CHOSEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Switches one bug on, for the rest of the process. False if one was chosen before.
#[cfg(feature = "planted")]
pub fn plant(name: &str) -> bool {
    CHOSEN.set(name.to_owned()).is_ok()
}

/// Is this bug switched on?
#[cfg(feature = "planted")]
pub fn is_planted(name: &str) -> bool {
    CHOSEN.get().is_some_and(|chosen| chosen == name)
}

/// Is this bug switched on? Never, in this build.
#[cfg(not(feature = "planted"))]
pub const fn is_planted(_: &str) -> bool {
    false
}

/// Is the bug of this name switched on? See the head of `planted.rs`.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        $crate::planted::ENABLED && $crate::planted::is_planted($name)
    };
}

//! Time as a value: a monotonic instant and a wall clock, both given, never read.
//!
//! The driver reads the clocks of the machine; the simulator invents them. Everything between takes
//! them as arguments, so that a run can be replayed.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point of monotonic time, in nanoseconds since an origin of the driver's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// Further away than any deadline: "never".
    pub const FAR: Instant = Instant(u64::MAX);

    /// Time since `earlier`; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_sub(nanos))
    }
}

/// Wall-clock milliseconds since the Unix epoch, as Redis counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// Later than any deadline: "never".
    pub const FAR: Millis = Millis(u64::MAX);
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

//! The two clocks of the machine, read together.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use node::Moment;
use stdx::Millis;

/// Monotonic time counts from the start of the node, wall time from the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Now, by both.
    pub(crate) fn moment(&self) -> Moment {
        let nanos = self.origin.elapsed().as_nanos();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment {
            // One is the first moment: zero would be "before the start" to some.
            now: stdx::Instant(u64::try_from(nanos).unwrap_or(u64::MAX).saturating_add(1)),
            wall: Millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

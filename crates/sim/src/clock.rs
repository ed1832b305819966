//! A machine's clocks: they drift, and the wall clock jumps.
//!
//! The monotonic clock runs up to half the drift that the replicas are told to bear too fast or too
//! slow, so that two of them never part by more than that. The wall clock is off by as much as
//! chance wants.

use std::time::Duration;

use node::Moment;
use stdx::{Instant, Millis};

/// What the wall clocks of the world show at its beginning.
const EPOCH_MILLIS: u64 = 1_700_000_000_000;

/// See the head of this file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The world's time of the last change of `drift_ppm`, and what this clock showed then.
    since: u64,
    shown: u64,
    drift_ppm: i64,
    wall_off_millis: i64,
}

impl Clock {
    /// A clock that begins with the world.
    pub(crate) fn new() -> Clock {
        Clock { since: 0, shown: 0, drift_ppm: 0, wall_off_millis: 0 }
    }

    fn monotonic(&self, now: u64) -> u64 {
        let passed = i128::from(now - self.since);
        let passed = passed + passed * i128::from(self.drift_ppm) / 1_000_000;
        self.shown + passed as u64
    }

    /// Both clocks, at this time of the world.
    pub(crate) fn moment(&self, now: u64) -> Moment {
        let shown = self.monotonic(now);
        let wall = EPOCH_MILLIS as i64 + (shown / 1_000_000) as i64 + self.wall_off_millis;
        Moment { now: Instant(shown + 1), wall: Millis(wall as u64) }
    }

    /// The time of the world at which this clock shows `instant`, or a little later.
    pub(crate) fn world_time(&self, now: u64, instant: Instant) -> u64 {
        let shown = self.monotonic(now) + 1;
        let wait = i128::from(instant.0.saturating_sub(shown));
        let wait = wait * 1_000_000 / i128::from(1_000_000 + self.drift_ppm) + 1;
        now.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    /// Changes the rate from here on.
    pub(crate) fn drift(&mut self, now: u64, ppm: i64) {
        (self.shown, self.since) = (self.monotonic(now), now);
        self.drift_ppm = ppm;
    }

    /// The wall clock is set.
    pub(crate) fn jump(&mut self, millis: i64) {
        const FAR: i64 = Duration::from_secs(24 * 3600).as_millis() as i64;
        self.wall_off_millis = (self.wall_off_millis + millis).clamp(-FAR, FAR);
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use stdx::Instant;

    #[test]
    fn a_deadline_is_reached_at_the_time_that_the_clock_names() {
        let mut clock = Clock::new();
        for (at, ppm) in [(1_000, 5_000), (70_000, -5_000), (900_000, 0)] {
            clock.drift(at, ppm);
            let deadline = Instant(clock.moment(at).now.0 + 300_000_000);
            let time = clock.world_time(at, deadline);
            assert!(clock.moment(time).now >= deadline);
            assert!(clock.moment(time - 10).now < deadline);
        }
    }
}

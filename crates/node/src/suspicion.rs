//! How regular the words of another node are: a φ accrual failure detector.
//!
//! Each word adds the time since the one before it to a moving mean and variance. φ of a silence is
//! −log10 of how likely one as long is, if times are spread normally: 1 is a chance of a tenth, 3 of a
//! thousandth, 8 of 10⁻⁸.
//!
//! Hayashibara, Défago, Yared, Katayama, "The φ accrual failure detector" (SRDS 2004) §4. Departs from
//! it: the mean and the variance forget by halves where the paper keeps a window, so that a node costs
//! some words of memory; the tail of the normal distribution is the logistic approximation that Akka
//! uses: 0.04 too much at 3, 1 at 8.

use std::time::Duration;

use stdx::Instant;

use crate::limits::{DEVIATION_MIN, HEALTH_INTERVAL, HEALTH_TIMEOUT, STEADY_PHI_MIN, SUSPECT_PHI};

/// See the head of this file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detector {
    heard: Option<Instant>,
    /// Seconds.
    mean: f64,
    variance: f64,
}

impl Default for Detector {
    fn default() -> Detector {
        Detector { heard: None, mean: HEALTH_INTERVAL.as_secs_f64(), variance: 0.0 }
    }
}

impl Detector {
    /// The part of a new sample in the moving mean: half of it is of the last 22 samples, which is
    /// five seconds and a half.
    const WEIGHT: f64 = 1.0 / 32.0;

    /// A word has come.
    pub(crate) fn hear(&mut self, now: Instant) {
        let Some(before) = self.heard.replace(now) else { return };
        let passed = now.since(before);
        // It was dead, or cut off: that says nothing about how it is now.
        if passed >= HEALTH_TIMEOUT * 4 {
            *self = Detector { heard: Some(now), ..Detector::default() };
            return;
        }
        let off = passed.as_secs_f64() - self.mean;
        self.mean += off * Detector::WEIGHT;
        self.variance = (1.0 - Detector::WEIGHT) * (self.variance + Detector::WEIGHT * off * off);
    }

    /// How unlikely a silence of this length is.
    pub(crate) fn phi(&self, silence: Duration) -> f64 {
        let deviation = self.variance.sqrt().max(DEVIATION_MIN.as_secs_f64());
        let off = (silence.as_secs_f64() - self.mean) / deviation;
        let slope = off * (1.5976 + 0.070_566 * off * off);
        // −log10 of 1 / (1 + e^slope), and for a large one of e^−slope.
        if slope > 30.0 {
            slope / std::f64::consts::LN_10
        } else {
            slope.exp().ln_1p() / std::f64::consts::LN_10
        }
    }

    /// Is it so silent that it had better not be given anything, or so irregular that it is likely to
    /// be taken for dead before long?
    pub(crate) fn is_unsteady(&self, now: Instant) -> bool {
        let silence = self.heard.map_or(Duration::ZERO, |heard| now.since(heard));
        self.phi(silence) >= SUSPECT_PHI || self.phi(HEALTH_TIMEOUT) < STEADY_PHI_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A detector that has heard words at these distances, in milliseconds, and when the last was.
    fn heard(distances: impl Iterator<Item = u64>) -> (Detector, Instant) {
        let (mut detector, mut now) = (Detector::default(), Instant(1));
        detector.hear(now);
        for millis in distances {
            now = now + Duration::from_millis(millis);
            detector.hear(now);
        }
        (detector, now)
    }

    #[test]
    fn phi_is_the_tail_of_the_normal_distribution() {
        let detector = Detector { heard: None, mean: 1.0, variance: 0.01 };
        let phi = |off: f64| detector.phi(Duration::from_secs_f64(1.0 + off * 0.1));
        // Of a table: P(x ≥ 0) = 0.5, P(x ≥ 1) = 0.1587, P(x ≥ 2) = 0.0228, P(x ≥ 3) = 0.00135.
        for (off, tail) in [(0.0, 0.5), (1.0, 0.1587), (2.0, 0.0228), (3.0, 0.001_35)] {
            assert!((phi(off) + f64::log10(tail)).abs() < 0.05, "{off}: {}", phi(off));
        }
        let all: Vec<f64> = (0..100).map(|step| phi(f64::from(step) / 2.0)).collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "it only grows: {all:?}");
    }

    #[test]
    fn who_speaks_regularly_is_steady_and_suspected_when_it_falls_silent() {
        let (detector, last) = heard((0..200).map(|round| 240 + round % 3 * 10));
        assert!(!detector.is_unsteady(last + Duration::from_millis(400)));
        assert!(detector.is_unsteady(last + Duration::from_millis(800)));
    }

    #[test]
    fn who_stutters_is_unsteady_until_it_has_spoken_regularly_for_a_while() {
        // It stands still again and again, nearly long enough to be taken for dead, and catches up.
        let stutters = (0..100).map(|round| if round % 5 == 0 { 1_400 } else { 62 });
        let (detector, last) = heard(stutters);
        assert!(detector.is_unsteady(last), "{}", detector.phi(HEALTH_TIMEOUT));
        let (mut detector, mut now) = (detector, last);
        let rounds = (1..1_000).find(|_| {
            now = now + HEALTH_INTERVAL;
            detector.hear(now);
            !detector.is_unsteady(now)
        });
        assert!((4..100).contains(&rounds.expect("it is trusted again")), "{rounds:?}");
    }

    #[test]
    fn who_was_dead_begins_anew() {
        let (mut detector, last) = heard((0..100).map(|_| 250));
        let back = last + Duration::from_secs(3_600);
        detector.hear(back);
        assert!(!detector.is_unsteady(back));
    }
}

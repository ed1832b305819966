//! Zipf's distribution: the n-th most wanted thing is wanted 1/n^theta as often as the first.
//!
//! One power for each draw, after a sum over all things at the start.
//! Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994, as in YCSB.

use stdx::Rng;

/// How uneven: YCSB's constant.
const THETA: f64 = 0.99;

/// Beyond this many things the sum is continued by its integral, which is off by less than 1e-7.
const SUMMED_MAX: u64 = 10_000_000;

/// Draws ranks, zero the most often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zipf {
    count: u64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    /// Ranks below `count`.
    pub(super) fn new(count: u64) -> Zipf {
        let zeta = zeta(count);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - self::zeta(2) / zeta);
        Zipf { count, alpha: 1.0 / (1.0 - THETA), zeta, eta }
    }

    /// Draws one rank.
    pub(super) fn draw(&self, rng: &mut Rng) -> u64 {
        let fraction = rng.fraction();
        let scaled = fraction * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(THETA) {
            return 1.min(self.count - 1);
        }
        let rank = self.count as f64 * (self.eta * fraction - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count - 1)
    }
}

fn zeta(count: u64) -> f64 {
    let summed = count.min(SUMMED_MAX);
    let sum: f64 = (1..=summed).map(|n| (n as f64).powf(-THETA)).sum();
    let integral = |n: u64| (n as f64).powf(1.0 - THETA) / (1.0 - THETA);
    sum + integral(count) - integral(summed)
}

#[cfg(test)]
mod tests {
    use super::Zipf;
    use stdx::Rng;

    #[test]
    fn the_first_is_drawn_twice_as_often_as_the_second_and_nothing_is_out_of_range() {
        for count in [1, 2, 3, 1_000] {
            let (zipf, mut rng) = (Zipf::new(count), Rng::new(1));
            let mut seen = vec![0u32; count as usize];
            for _ in 0..200_000 {
                seen[zipf.draw(&mut rng) as usize] += 1;
            }
            if count > 1 {
                let ratio = f64::from(seen[0]) / f64::from(seen[1]);
                assert!((1.8..2.2).contains(&ratio), "{ratio} with {count}");
            }
        }
    }
}

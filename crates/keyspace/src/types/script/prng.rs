//! The dice behind `math.random`: the 48-bit linear congruential generator of POSIX `lrand48`, as
//! Redis has it, so that a seed gives the same sequence here and there.
//!
//! A script that does not seed it gets a seed from the operation's number: other numbers on each
//! call, equal ones on every replica.

/// A generator.
#[derive(Clone, Debug)]
pub(super) struct Prng {
    state: u64,
}

impl Prng {
    /// The generator of this seed (`srand48`).
    pub(super) fn new(seed: i32) -> Prng {
        Prng { state: u64::from(seed as u32) << 16 | 0x330e }
    }

    /// The next 31 bits.
    pub(super) fn next(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & ((1 << 48) - 1);
        (self.state >> 17) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::Prng;

    #[test]
    fn the_sequence_is_that_of_lrand48() {
        let mut prng = Prng::new(0);
        let drawn: Vec<u32> = (0..5).map(|_| prng.next()).collect();
        assert_eq!(drawn, [366_850_414, 1_610_402_240, 206_956_554, 1_869_309_841, 1_239_749_840]);
    }
}

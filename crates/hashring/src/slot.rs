//! Key to slot, as Redis Cluster: CRC16 (XMODEM) of the key or its `{hash tag}`, modulo 16384.
//!
//! Source: Redis cluster specification, "Key distribution model".

use std::fmt;

/// How many slots a cluster has.
pub const SLOTS: usize = 16_384;

/// A hash bucket of keys: below [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of this number, if there is one.
    pub fn new(number: u16) -> Option<Slot> {
        (usize::from(number) < SLOTS).then_some(Slot(number))
    }

    /// The slot of a key.
    pub fn of(key: &[u8]) -> Slot {
        Slot(crc16(tag(key)) % SLOTS as u16)
    }

    /// Its number.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of a key that is hashed: between the first `{` and the next `}`, if that is not empty.
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let inside = &key[open + 1..];
    match inside.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(close) => &inside[..close],
    }
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = (n as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::Slot;

    #[test]
    fn slots_agree_with_redis() {
        for (key, expect) in [
            ("", 0),
            ("123456789", 12739),
            ("foo", 12182),
            ("bar", 5061),
            ("hello", 866),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
            ("{}x", 10595),
            ("foo{bar", 15278),
        ] {
            assert_eq!(Slot::of(key.as_bytes()).number(), expect, "{key}");
        }
    }

    #[test]
    fn there_are_as_many_slots_as_redis_has() {
        assert_eq!(Slot::new(16_383).map(Slot::number), Some(16_383));
        assert_eq!(Slot::new(16_384), None);
    }
}

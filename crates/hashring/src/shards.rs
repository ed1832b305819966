//! Slot to shard: S shards, a power of two, each a contiguous range of slots.
//!
//! Contiguous, so that CLUSTER SLOTS and CLUSTER SHARDS are one line a shard, whatever happens to
//! nodes; a slot's shard is a shift; and twice the shards are the same ranges, each cut in two. A
//! range is no hot spot of its own: slots are hashes, so keys that are near each other are not.

use std::fmt;
use std::ops::RangeInclusive;

use crate::{Error, SLOTS, Slot};

/// The number of shards of a cluster whose founder names none: enough that five nodes share evenly,
/// few enough that an idle cluster costs nothing.
pub const SHARDS_DEFAULT: usize = 16;

/// The number of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// As an index of what is kept for each shard.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How the slots are cut into shards: decided when a cluster is founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    count: usize,
}

impl Shards {
    /// `count` shards: a power of two, at most one for each slot.
    pub fn new(count: usize) -> Result<Shards, Error> {
        if count.is_power_of_two() && count <= SLOTS {
            Ok(Shards { count })
        } else {
            Err(Error::Shards { shards: count })
        }
    }

    /// How many.
    pub fn count(self) -> usize {
        self.count
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        (0..self.count).map(|shard| ShardId(shard as u16))
    }

    /// The shard that a slot belongs to.
    pub fn of_slot(self, slot: Slot) -> ShardId {
        ShardId((usize::from(slot.number()) / self.slots_each()) as u16)
    }

    /// The shard that a key belongs to.
    pub fn of_key(self, key: &[u8]) -> ShardId {
        self.of_slot(Slot::of(key))
    }

    /// The slots of a shard, the first and the last.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn slots(self, shard: ShardId) -> RangeInclusive<u16> {
        assert!(shard.index() < self.count, "there are {} shards, not shard {shard}", self.count);
        let first = shard.index() * self.slots_each();
        first as u16..=(first + self.slots_each() - 1) as u16
    }

    fn slots_each(self) -> usize {
        SLOTS / self.count
    }
}

impl Default for Shards {
    fn default() -> Shards {
        Shards { count: SHARDS_DEFAULT }
    }
}

#[cfg(test)]
mod tests {
    use super::{ShardId, Shards};
    use crate::{SLOTS, Slot};

    #[test]
    fn every_slot_is_in_the_range_of_its_shard_and_in_no_other() {
        for count in [1, 2, 16, 1_024, SLOTS] {
            let shards = Shards::new(count).unwrap();
            let mut next = 0;
            for shard in shards.iter() {
                let slots = shards.slots(shard);
                assert_eq!(usize::from(*slots.start()), next, "ranges leave no gap");
                next += slots.len();
                for number in [*slots.start(), *slots.end()] {
                    assert_eq!(shards.of_slot(Slot::new(number).unwrap()), shard);
                }
            }
            assert_eq!(next, SLOTS);
        }
    }

    #[test]
    fn twice_the_shards_cut_each_range_in_two() {
        let (few, many) = (Shards::new(16).unwrap(), Shards::new(32).unwrap());
        for shard in few.iter() {
            let (low, high) = (ShardId(shard.0 * 2), ShardId(shard.0 * 2 + 1));
            assert_eq!(few.slots(shard).start(), many.slots(low).start());
            assert_eq!(few.slots(shard).end(), many.slots(high).end());
        }
    }

    #[test]
    fn what_is_no_power_of_two_is_refused() {
        for count in [0, 3, 15, 32_768] {
            let told = Shards::new(count).unwrap_err().to_string();
            assert!(told.contains("a power of two from 1 to 16384"), "{told}");
        }
    }
}

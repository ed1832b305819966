//! Which group keeps a key: slots in equal ranges, one for each group.
//!
//! The number of shards is fixed when a cluster is founded, so a key never changes its shard; only
//! the replicas of a shard move between nodes.

use std::ops::RangeInclusive;

use keyspace::command::{Command, Keys};
use keyspace::cursor::parse_cursor;
use keyspace::slot::{SLOTS, slot};
use wire::Args;

/// How many shards there are, and so where each key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    count: usize,
}

/// Where a call belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// All its keys are in this shard.
    One(usize),
    /// Its keys are in several.
    Several,
    /// It names no key.
    Keyless,
}

impl Shards {
    /// So many: a power of two, at most one for each slot.
    pub fn new(count: usize) -> Option<Shards> {
        let fits = count.is_power_of_two() && count <= SLOTS;
        fits.then_some(Shards { count })
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// The shard of a slot.
    pub fn of_slot(self, slot: u16) -> usize {
        usize::from(slot) * self.count / SLOTS
    }

    /// The shard of a key.
    pub fn of_key(self, key: &[u8]) -> usize {
        self.of_slot(slot(key))
    }

    /// The slots of a shard.
    pub fn slots(self, shard: usize) -> RangeInclusive<u16> {
        let width = SLOTS / self.count;
        (shard * width) as u16..=((shard + 1) * width - 1) as u16
    }

    /// Where the keys of a call are.
    pub(crate) fn home(self, command: &Command, args: Args<'_>) -> Home {
        if let Keys::Range { first, last, .. } = command.keys
            && first == last
            && let Some(key) = args.get(first as usize)
        {
            return Home::One(self.of_key(key));
        }
        if command.name == "scan" {
            // A walk goes through one shard behind the other: its cursor says where it is.
            let cursor = args.get(1).and_then(|text| parse_cursor(text).ok()).unwrap_or_default();
            return Home::One((cursor % self.count as u64) as usize);
        }
        let mut home = Home::Keyless;
        for at in command.key_positions(args) {
            let shard = self.of_key(&args[at]);
            match home {
                Home::Keyless => home = Home::One(shard),
                Home::One(other) if other != shard => return Home::Several,
                _ => {}
            }
        }
        home
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_in_the_range_of_its_shard() {
        for count in [1, 2, 16, 1_024, 16_384] {
            let shards = Shards::new(count).unwrap();
            for slot in 0..SLOTS as u16 {
                assert!(shards.slots(shards.of_slot(slot)).contains(&slot));
            }
        }
        assert_eq!(Shards::new(3), None);
        assert_eq!(Shards::new(32_768), None);
    }

    #[test]
    fn a_call_is_at_home_where_all_its_keys_are() {
        let shards = Shards::new(16).unwrap();
        let home = |words: &[&str]| {
            let args: wire::ArgsBuf = words.iter().map(|word| word.as_bytes()).collect();
            shards.home(keyspace::command::find(args.args()).unwrap(), args.args())
        };
        assert_eq!(home(&["get", "a"]), Home::One(shards.of_key(b"a")));
        assert_eq!(home(&["mset", "{t}1", "x", "{t}2", "y"]), Home::One(shards.of_key(b"t")));
        assert_eq!(home(&["mset", "a", "x", "b", "y", "c", "z"]), Home::Several);
        assert_eq!(home(&["dbsize"]), Home::Keyless);
        assert_eq!(home(&["eval", "return 1", "0"]), Home::Keyless);
    }
}

//! Which shard a call belongs to: the one that has all its keys, if there is one.
//!
//! The number of shards is fixed when a cluster is founded, so a key never changes its shard; only
//! the replicas of a shard move between nodes.

use hashring::{Shards, Slot};
use keyspace::command::{self, Command, Keys};
use keyspace::cursor::parse_cursor;
use keyspace::number::parse_i64;
use wire::Args;

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

/// The place of a key's shard among all.
pub(crate) fn shard_of(shards: Shards, key: &[u8]) -> usize {
    shards.of_key(key).index()
}

/// Where the receipt of a call of SYNOD.IDEM is kept: in the shard of the first key that it names.
pub(crate) fn receipt_home(shards: Shards, args: Args<'_>) -> usize {
    let keys = command::find(args).map(|command| command.key_positions(args));
    let first = keys.and_then(|keys| keys.first().copied());
    first.map_or(0, |at| shard_of(shards, &args[at]))
}

/// Where the keys of a call are.
pub(crate) fn home(shards: Shards, command: &Command, args: Args<'_>) -> Home {
    if let Keys::Range { first, last, .. } = command.keys
        && first == last
        && let Some(key) = args.get(first as usize)
    {
        return Home::One(shard_of(shards, key));
    }
    if command.name == "scan" {
        // A walk goes through one shard behind the other: its cursor says where it is.
        let cursor = args.get(1).and_then(|text| parse_cursor(text).ok()).unwrap_or_default();
        return Home::One((cursor % shards.count() as u64) as usize);
    }
    if command.name == "countkeysinslot" || command.name == "getkeysinslot" {
        let slot = args.get(2).and_then(parse_i64).and_then(|slot| u16::try_from(slot).ok());
        let shard = slot.and_then(Slot::new).map_or(0, |slot| shards.of_slot(slot).index());
        return Home::One(shard);
    }
    let mut home = Home::Keyless;
    for at in command.key_positions(args) {
        let shard = shard_of(shards, &args[at]);
        match home {
            Home::Keyless => home = Home::One(shard),
            Home::One(other) if other != shard => return Home::Several,
            _ => {}
        }
    }
    home
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_at_home_where_all_its_keys_are() {
        let shards = Shards::new(16).unwrap();
        let home = |words: &[&str]| {
            let args: wire::ArgsBuf = words.iter().map(|word| word.as_bytes()).collect();
            home(shards, keyspace::command::find(args.args()).unwrap(), args.args())
        };
        assert_eq!(home(&["get", "a"]), Home::One(shard_of(shards, b"a")));
        assert_eq!(home(&["mset", "{t}1", "x", "{t}2", "y"]), Home::One(shard_of(shards, b"t")));
        assert_eq!(home(&["mset", "a", "x", "b", "y", "c", "z"]), Home::Several);
        assert_eq!(home(&["dbsize"]), Home::Keyless);
        assert_eq!(home(&["eval", "return 1", "0"]), Home::Keyless);
        assert_eq!(home(&["scan", "35"]), Home::One(3));
    }
}

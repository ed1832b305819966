//! Sorted sets: the value with its two encodings, and the commands.
//!
//! ```text
//! sorted ─┬─ packed                    one buffer, while it is small
//!         └─ tree ─┬─ leaves ─ item    elements in order, with counts for ranks
//!                  └─ index            from a member to its leaf
//! ```
//!
//! `range` reads bounds; every range becomes one of ranks, and what follows is the same for all.
//! Commands: `add`, `remove`, `read`, `select` (ranges), `pop`, `random`, `combine` (several sets).

mod add;
mod combine;
mod index;
mod item;
mod leaves;
mod packed;
mod pop;
mod random;
mod range;
mod read;
mod remove;
mod select;
mod sorted;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use sorted::Direction;
pub use sorted::Zset;

use wire::Args;

use super::numbered::numbered_keys;
use crate::command::{Command, Flags, Group, Keys, Run};

const FAST_READ: Flags = Flags::READONLY.and(Flags::FAST);
const FAST_WRITE: Flags = Flags::WRITE.and(Flags::FAST);
const FAST_GROW: Flags = FAST_WRITE.and(Flags::DENYOOM);
const FAST_WAIT: Flags = FAST_WRITE.and(Flags::NOSCRIPT).and(Flags::BLOCKING);
const GROW: Flags = Flags::WRITE.and(Flags::DENYOOM);
const FIND_READ: Flags = Flags::READONLY.and(Flags::MOVABLEKEYS);
const FIND_WRITE: Flags = Flags::WRITE.and(Flags::MOVABLEKEYS);
const FIND_GROW: Flags = GROW.and(Flags::MOVABLEKEYS);
const FIND_WAIT: Flags = FIND_WRITE.and(Flags::BLOCKING);

/// The rows of this folder.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new(
        "bzmpop",
        -5,
        FIND_WAIT,
        Keys::Find(|args| numbered_keys(args, 2)),
        Run::Write(pop::bzmpop),
    )
    .doc(
        Group::SortedSet,
        "7.0.0",
        "O(K) + O(M*log(N)) for K keys and M elements popped of N",
        "Pops elements from an end of the first sorted set that has any, or waits.",
    ),
    Command::new(
        "bzpopmax",
        -3,
        FAST_WAIT,
        Keys::Range { first: 1, last: -2, step: 1 },
        Run::Write(pop::bzpopmax),
    )
    .doc(
        Group::SortedSet,
        "5.0.0",
        "O(log(N)) for N elements",
        "Pops the highest score of the first sorted set that has any, or waits.",
    ),
    Command::new(
        "bzpopmin",
        -3,
        FAST_WAIT,
        Keys::Range { first: 1, last: -2, step: 1 },
        Run::Write(pop::bzpopmin),
    )
    .doc(
        Group::SortedSet,
        "5.0.0",
        "O(log(N)) for N elements",
        "Pops the lowest score of the first sorted set that has any, or waits.",
    ),
    Command::new("zadd", -4, FAST_GROW, Keys::one(1), Run::Write(add::zadd)).doc(
        Group::SortedSet,
        "1.2.0",
        "O(log(N)) for each element, in a set of N",
        "Adds members with scores, or gives members other scores.",
    ),
    Command::new("zcard", 2, FAST_READ, Keys::one(1), Run::Read(read::zcard)).doc(
        Group::SortedSet,
        "1.2.0",
        "O(1)",
        "Counts the members of a sorted set.",
    ),
    Command::new("zcount", 4, FAST_READ, Keys::one(1), Run::Read(read::zcount)).doc(
        Group::SortedSet,
        "2.0.0",
        "O(log(N)) for N elements",
        "Counts the elements with a score in a range.",
    ),
    Command::new(
        "zdiff",
        -3,
        FIND_READ,
        Keys::Find(|args| numbered_keys(args, 1)),
        Run::Read(combine::zdiff),
    )
    .doc(
        Group::SortedSet,
        "6.2.0",
        "O(L + K*log(K)) for L elements in all sets and K in the result",
        "Returns the elements of the first sorted set that are in none of the others.",
    ),
    Command::new(
        "zdiffstore",
        -4,
        FIND_GROW,
        Keys::Find(target_and_numbered_keys),
        Run::Write(combine::zdiffstore),
    )
    .doc(
        Group::SortedSet,
        "6.2.0",
        "O(L + K*log(K)) for L elements in all sets and K in the result",
        "Stores the elements of the first sorted set that are in none of the others.",
    ),
    Command::new("zincrby", 4, FAST_GROW, Keys::one(1), Run::Write(add::zincrby)).doc(
        Group::SortedSet,
        "1.2.0",
        "O(log(N)) for N elements",
        "Adds to the score of a member, which is added if it is not there.",
    ),
    Command::new(
        "zinter",
        -3,
        FIND_READ,
        Keys::Find(|args| numbered_keys(args, 1)),
        Run::Read(combine::zinter),
    )
    .doc(
        Group::SortedSet,
        "6.2.0",
        "O(N*K + M*log(M)) for N in the smallest of K sets and M in the result",
        "Returns the members that are in all of the sorted sets.",
    ),
    Command::new(
        "zintercard",
        -3,
        FIND_READ,
        Keys::Find(|args| numbered_keys(args, 1)),
        Run::Read(combine::zintercard),
    )
    .doc(
        Group::SortedSet,
        "7.0.0",
        "O(N*K) for N elements in the smallest of K sets",
        "Counts the members that are in all of the sorted sets, up to a limit.",
    ),
    Command::new(
        "zinterstore",
        -4,
        FIND_GROW,
        Keys::Find(target_and_numbered_keys),
        Run::Write(combine::zinterstore),
    )
    .doc(
        Group::SortedSet,
        "2.0.0",
        "O(N*K + M*log(M)) for N in the smallest of K sets and M in the result",
        "Stores the members that are in all of the sorted sets.",
    ),
    Command::new("zlexcount", 4, FAST_READ, Keys::one(1), Run::Read(read::zlexcount)).doc(
        Group::SortedSet,
        "2.8.9",
        "O(log(N)) for N elements",
        "Counts the members in a range, where all scores are equal.",
    ),
    Command::new(
        "zmpop",
        -4,
        FIND_WRITE,
        Keys::Find(|args| numbered_keys(args, 1)),
        Run::Write(pop::zmpop),
    )
    .doc(
        Group::SortedSet,
        "7.0.0",
        "O(K) + O(M*log(N)) for K keys and M elements popped of N",
        "Pops elements from an end of the first sorted set that has any.",
    ),
    Command::new("zmscore", -3, FAST_READ, Keys::one(1), Run::Read(read::zmscore)).doc(
        Group::SortedSet,
        "6.2.0",
        "O(N) for N members asked for",
        "Returns the scores of members.",
    ),
    Command::new("zpopmax", -2, FAST_WRITE, Keys::one(1), Run::Write(pop::zpopmax)).doc(
        Group::SortedSet,
        "5.0.0",
        "O(M*log(N)) for M elements popped of N",
        "Removes the elements with the highest scores and returns them.",
    ),
    Command::new("zpopmin", -2, FAST_WRITE, Keys::one(1), Run::Write(pop::zpopmin)).doc(
        Group::SortedSet,
        "5.0.0",
        "O(M*log(N)) for M elements popped of N",
        "Removes the elements with the lowest scores and returns them.",
    ),
    Command::new("zrandmember", -2, Flags::READONLY, Keys::one(1), Run::Read(random::zrandmember))
        .doc(
            Group::SortedSet,
            "6.2.0",
            "O(M*log(N)) for M elements returned of N",
            "Returns random elements of a sorted set.",
        ),
    Command::new("zrange", -4, Flags::READONLY, Keys::one(1), Run::Read(select::zrange)).doc(
        Group::SortedSet,
        "1.2.0",
        "O(log(N) + M) for M elements returned of N",
        "Returns the elements in a range of ranks, scores or members.",
    ),
    Command::new("zrangebylex", -4, Flags::READONLY, Keys::one(1), Run::Read(select::zrangebylex))
        .doc(
            Group::SortedSet,
            "2.8.9",
            "O(log(N) + M) for M elements returned of N",
            "Returns the elements in a range of members, where all scores are equal.",
        ),
    Command::new(
        "zrangebyscore",
        -4,
        Flags::READONLY,
        Keys::one(1),
        Run::Read(select::zrangebyscore),
    )
    .doc(
        Group::SortedSet,
        "1.0.5",
        "O(log(N) + M) for M elements returned of N",
        "Returns the elements in a range of scores.",
    ),
    Command::new(
        "zrangestore",
        -5,
        GROW,
        Keys::Range { first: 1, last: 2, step: 1 },
        Run::Write(select::zrangestore),
    )
    .doc(
        Group::SortedSet,
        "6.2.0",
        "O(log(N) + M) for M elements stored of N",
        "Stores the elements in a range of ranks, scores or members.",
    ),
    Command::new("zrank", 3, FAST_READ, Keys::one(1), Run::Read(read::zrank)).doc(
        Group::SortedSet,
        "2.0.0",
        "O(log(N)) for N elements",
        "Returns how many elements stand before a member.",
    ),
    Command::new("zrem", -3, FAST_WRITE, Keys::one(1), Run::Write(remove::zrem)).doc(
        Group::SortedSet,
        "1.2.0",
        "O(M*log(N)) for M members to remove of N",
        "Removes members from a sorted set, which goes with its last one.",
    ),
    Command::new(
        "zremrangebylex",
        4,
        Flags::WRITE,
        Keys::one(1),
        Run::Write(remove::zremrangebylex),
    )
    .doc(
        Group::SortedSet,
        "2.8.9",
        "O(M*log(N)) for M elements removed of N",
        "Removes the elements in a range of members, where all scores are equal.",
    ),
    Command::new(
        "zremrangebyrank",
        4,
        Flags::WRITE,
        Keys::one(1),
        Run::Write(remove::zremrangebyrank),
    )
    .doc(
        Group::SortedSet,
        "2.0.0",
        "O(M*log(N)) for M elements removed of N",
        "Removes the elements in a range of ranks.",
    ),
    Command::new(
        "zremrangebyscore",
        4,
        Flags::WRITE,
        Keys::one(1),
        Run::Write(remove::zremrangebyscore),
    )
    .doc(
        Group::SortedSet,
        "1.2.0",
        "O(M*log(N)) for M elements removed of N",
        "Removes the elements in a range of scores.",
    ),
    Command::new("zrevrange", -4, Flags::READONLY, Keys::one(1), Run::Read(select::zrevrange)).doc(
        Group::SortedSet,
        "1.2.0",
        "O(log(N) + M) for M elements returned of N",
        "Returns the elements in a range of ranks, from the highest score down.",
    ),
    Command::new(
        "zrevrangebylex",
        -4,
        Flags::READONLY,
        Keys::one(1),
        Run::Read(select::zrevrangebylex),
    )
    .doc(
        Group::SortedSet,
        "2.8.9",
        "O(log(N) + M) for M elements returned of N",
        "Returns the elements in a range of members, from the last one down.",
    ),
    Command::new(
        "zrevrangebyscore",
        -4,
        Flags::READONLY,
        Keys::one(1),
        Run::Read(select::zrevrangebyscore),
    )
    .doc(
        Group::SortedSet,
        "2.2.0",
        "O(log(N) + M) for M elements returned of N",
        "Returns the elements in a range of scores, from the highest down.",
    ),
    Command::new("zrevrank", 3, FAST_READ, Keys::one(1), Run::Read(read::zrevrank)).doc(
        Group::SortedSet,
        "2.0.0",
        "O(log(N)) for N elements",
        "Returns how many elements stand behind a member.",
    ),
    Command::new("zscan", -3, Flags::READONLY, Keys::one(1), Run::Read(read::zscan)).doc(
        Group::SortedSet,
        "2.8.0",
        "O(1) for a call, O(N) for a walk over N elements",
        "Walks over the elements of a sorted set, some with each call.",
    ),
    Command::new("zscore", 3, FAST_READ, Keys::one(1), Run::Read(read::zscore)).doc(
        Group::SortedSet,
        "1.2.0",
        "O(1)",
        "Returns the score of a member.",
    ),
    Command::new(
        "zunion",
        -3,
        FIND_READ,
        Keys::Find(|args| numbered_keys(args, 1)),
        Run::Read(combine::zunion),
    )
    .doc(
        Group::SortedSet,
        "6.2.0",
        "O(N + M*log(M)) for N elements in all sets and M in the result",
        "Returns the members that are in any of the sorted sets.",
    ),
    Command::new(
        "zunionstore",
        -4,
        FIND_GROW,
        Keys::Find(target_and_numbered_keys),
        Run::Write(combine::zunionstore),
    )
    .doc(
        Group::SortedSet,
        "2.0.0",
        "O(N + M*log(M)) for N elements in all sets and M in the result",
        "Stores the members that are in any of the sorted sets.",
    ),
];

/// The places of the keys of a command that stores: the target, then those behind their number.
fn target_and_numbered_keys(args: Args<'_>) -> Vec<usize> {
    let mut keys = numbered_keys(args, 2);
    if !keys.is_empty() {
        keys.insert(0, 1);
    }
    keys
}

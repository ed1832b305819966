//! Majorities: what a set of voters agrees on, and who won a vote.
//!
//! A decision of a joint configuration needs a majority of its voters *and* a majority of those
//! that it is leaving, so that no decision of one side can miss the other. The four questions of a
//! protocol (who leads, what is committed, is a read confirmed, is the quorum still there) are all
//! asked here.
//!
//! An empty set of voters has no opinion: it agrees to anything. So an ordinary configuration is a
//! joint one whose other side is empty.
//!
//! Cost: a few compares for each voter, on the stack for groups of ordinary size.

use std::collections::BTreeSet;

use stdx::planted;

use crate::replica::{Config, NodeId};

/// How a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Enough votes for it, whatever the rest say.
    Won,
    /// Enough votes against it.
    Lost,
    /// Not decided yet.
    Pending,
}

/// The highest number that a quorum of `config` has reached, if each voter has reached `value`.
/// With the indexes that are durable at each voter, this is the commit index. `u64::MAX` if there
/// are no voters.
pub fn agreed(config: &Config, value: impl Fn(NodeId) -> u64) -> u64 {
    majority_value(&config.voters, &value).min(majority_value(&config.outgoing, &value))
}

/// How a vote of `config` stands; `None` is a voter that has not answered.
pub fn tally(config: &Config, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
    let sides = [majority_tally(&config.voters, &vote), majority_tally(&config.outgoing, &vote)];
    match sides {
        [Tally::Lost, _] | [_, Tally::Lost] => Tally::Lost,
        [Tally::Won, Tally::Won] => Tally::Won,
        [Tally::Won, _] if planted!("joint-needs-one-side") => Tally::Won,
        _ => Tally::Pending,
    }
}

/// The highest number that more than half of `voters` have reached.
fn majority_value(voters: &BTreeSet<NodeId>, value: &impl Fn(NodeId) -> u64) -> u64 {
    /// Groups up to this size need no allocation.
    const SMALL: usize = 8;
    let count = voters.len();
    if count == 0 {
        return u64::MAX;
    }
    if count <= SMALL {
        let mut values = [0; SMALL];
        for (slot, voter) in values.iter_mut().zip(voters) {
            *slot = value(*voter);
        }
        return middle(&mut values[..count]);
    }
    let mut values: Vec<u64> = voters.iter().map(|voter| value(*voter)).collect();
    middle(&mut values)
}

/// The value that a majority has reached: of an even number the lower middle.
fn middle(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    let even = planted!("half-is-a-majority");
    let majority = if even { values.len().div_ceil(2) } else { values.len() / 2 + 1 };
    values[values.len() - majority]
}

fn majority_tally(voters: &BTreeSet<NodeId>, vote: &impl Fn(NodeId) -> Option<bool>) -> Tally {
    let majority = voters.len() / 2 + 1;
    let (mut yes, mut open) = (0, 0);
    for voter in voters {
        match vote(*voter) {
            Some(true) => yes += 1,
            Some(false) => {}
            None => open += 1,
        }
    }
    if voters.is_empty() || yes >= majority {
        Tally::Won
    } else if yes + open >= majority {
        Tally::Pending
    } else {
        Tally::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::{Tally, agreed, tally};
    use crate::replica::{Config, NodeId};

    fn config(voters: &[u32], outgoing: &[u32]) -> Config {
        Config {
            voters: voters.iter().copied().map(NodeId).collect(),
            outgoing: outgoing.iter().copied().map(NodeId).collect(),
            ..Config::default()
        }
    }

    #[test]
    fn a_number_is_agreed_when_a_majority_of_each_side_reached_it() {
        let reached = [0, 50, 40, 30, 20, 10];
        for (voters, outgoing, expect) in [
            (&[][..], &[][..], u64::MAX),
            (&[1], &[], 50),
            (&[1, 2], &[], 40),
            (&[1, 2, 3], &[], 40),
            (&[1, 2, 3, 4], &[], 30),
            (&[1, 2, 3, 4, 5], &[], 30),
            (&[1, 2, 3], &[3, 4, 5], 20),
            (&[3, 4, 5], &[1, 2, 3], 20),
            (&[1, 2], &[1], 40),
            (&[1], &[1, 5], 10),
        ] {
            let got = agreed(&config(voters, outgoing), |id| reached[id.0 as usize]);
            assert_eq!(got, expect, "{voters:?} and {outgoing:?}");
        }
    }

    #[test]
    fn a_large_group_counts_like_a_small_one() {
        let many: Vec<u32> = (1..=21).collect();
        assert_eq!(agreed(&config(&many, &[]), |id| u64::from(id.0)), 11);
    }

    #[test]
    fn a_vote_is_won_by_a_majority_of_each_side_and_lost_by_either() {
        // Votes: y, n, or - for silence, of voters 1 to 5.
        let cases = [
            (&[1, 2, 3][..], &[][..], "yy---", Tally::Won),
            (&[1, 2, 3], &[], "y----", Tally::Pending),
            (&[1, 2, 3], &[], "yn---", Tally::Pending),
            (&[1, 2, 3], &[], "ynn--", Tally::Lost),
            (&[1, 2, 3, 4], &[], "yy-n-", Tally::Pending),
            (&[1, 2, 3, 4], &[], "yynn-", Tally::Lost),
            (&[1, 2, 3], &[3, 4, 5], "yy---", Tally::Pending),
            (&[1, 2, 3], &[3, 4, 5], "yy-yy", Tally::Won),
            (&[1, 2, 3], &[3, 4, 5], "yy-nn", Tally::Lost),
            (&[1, 2, 3], &[3, 4, 5], "nn-yy", Tally::Lost),
            (&[], &[], "-----", Tally::Won),
        ];
        for (voters, outgoing, votes, expect) in cases {
            let got =
                tally(&config(voters, outgoing), |id| match votes.as_bytes()[id.0 as usize - 1] {
                    b'y' => Some(true),
                    b'n' => Some(false),
                    _ => None,
                });
            assert_eq!(got, expect, "{voters:?} and {outgoing:?}: {votes}");
        }
    }
}

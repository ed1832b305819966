//! Configurations: who agrees, how one turns into another, and which one holds at an index.
//!
//! ```text
//! {1 2 3} ── enter ──▶ {1 2 4} and {1 2 3} ── leave ──▶ {1 2 4}
//!            (joint: a majority of each is needed)
//! ```
//!
//! A configuration takes effect when its entry is *appended*, and is taken back if that entry is
//! cut off again; [`Configs`] keeps the ones that may still be needed. Every change of voters goes
//! through a joint configuration, also of a single voter: one road, always safe. A voter that
//! becomes a learner is both while the change is joint: it still counts in `outgoing`.
//!
//! Raft paper §6 (joint consensus).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use stdx::codec::{Malformed, Reader, put_varint};

use crate::limits::MEMBERS_MAX;
use crate::replica::{Config, Index, NodeId};

impl Config {
    /// A configuration of voters alone.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Config {
        Config { voters: voters.into_iter().collect(), ..Config::default() }
    }

    /// Is a change under way that needs both majorities?
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Does `node` count in a majority of either side?
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Does `node` receive the log?
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// All that receive the log, in order.
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect()
    }

    /// The configuration that begins the change to `voters` and `learners`: a joint one if the
    /// voters differ. `None` if this one is joint itself or has no voter to agree to it, or if the
    /// wish makes no sense (no voter, a voter that is also a learner, too many).
    pub fn enter(&self, voters: BTreeSet<NodeId>, learners: BTreeSet<NodeId>) -> Option<Config> {
        let sensible = !voters.is_empty()
            && voters.is_disjoint(&learners)
            && voters.len() + learners.len() <= MEMBERS_MAX;
        if self.is_joint() || self.voters.is_empty() || !sensible {
            return None;
        }
        let outgoing = if voters == self.voters { BTreeSet::new() } else { self.voters.clone() };
        Some(Config { voters, outgoing, learners })
    }

    /// The configuration that ends a joint one.
    pub fn leave(&self) -> Config {
        assert!(self.is_joint(), "only a joint configuration can be left");
        Config { outgoing: BTreeSet::new(), ..self.clone() }
    }

    /// Appends the bytes of a configuration.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        for set in [&self.voters, &self.outgoing, &self.learners] {
            put_varint(out, set.len() as u64);
            for node in set {
                put_varint(out, u64::from(node.0));
            }
        }
    }

    /// The bytes of a configuration, as an entry carries them.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        Bytes::from(out)
    }

    /// Reads what `encode_to` wrote, and nothing else: the sets must be sorted, and voters and
    /// learners apart.
    pub fn decode_from(reader: &mut Reader<'_>) -> Result<Config, Malformed> {
        let voters = decode_set(reader)?;
        let outgoing = decode_set(reader)?;
        let learners = decode_set(reader)?;
        if !voters.is_disjoint(&learners) {
            return Err(reader.malformed());
        }
        Ok(Config { voters, outgoing, learners })
    }

    /// The configuration in the data of an entry of kind `Config`.
    pub fn decode(bytes: &[u8]) -> Result<Config, Malformed> {
        let mut reader = Reader::new(bytes);
        let config = Config::decode_from(&mut reader)?;
        if reader.is_empty() { Ok(config) } else { Err(reader.malformed()) }
    }
}

fn decode_set(reader: &mut Reader<'_>) -> Result<BTreeSet<NodeId>, Malformed> {
    let count = reader.length()?;
    if count > MEMBERS_MAX {
        return Err(reader.malformed());
    }
    let mut set = BTreeSet::new();
    for _ in 0..count {
        let node = NodeId(u32::try_from(reader.varint()?).map_err(|_| reader.malformed())?);
        if set.last().is_some_and(|last| *last >= node) {
            return Err(reader.malformed());
        }
        set.insert(node);
    }
    Ok(set)
}

/// The configurations of a log: each holds from its index on, until the next.
#[derive(Clone, Debug)]
pub(crate) struct Configs {
    /// Never empty, ascending. The first is the snapshot's.
    history: Vec<(Index, Arc<Config>)>,
}

impl Configs {
    /// The history of a log behind a snapshot with this configuration.
    pub(crate) fn new(index: Index, config: Config) -> Configs {
        Configs { history: vec![(index, Arc::new(config))] }
    }

    /// The configuration in effect: the newest in the log, committed or not.
    pub(crate) fn current(&self) -> &Arc<Config> {
        &self.newest().1
    }

    /// Where the configuration in effect stands in the log.
    pub(crate) fn index(&self) -> Index {
        self.newest().0
    }

    /// The configuration in effect at `index`, if the history reaches back so far.
    pub(crate) fn at(&self, index: Index) -> Option<&Config> {
        self.history.iter().rev().find(|(from, _)| *from <= index).map(|(_, config)| &**config)
    }

    /// Is `node` a voter of a configuration that may be in force: the one at `commit`, or one
    /// behind it that is not known to be committed?
    pub(crate) fn may_vote(&self, node: NodeId, commit: Index) -> bool {
        let settled = self.history.iter().rposition(|(from, _)| *from <= commit).unwrap_or(0);
        self.history[settled..].iter().any(|(_, config)| config.is_voter(node))
    }

    /// A configuration was appended.
    pub(crate) fn push(&mut self, index: Index, config: Config) {
        assert!(index > self.index(), "configurations are appended in order: {index:?}");
        self.history.push((index, Arc::new(config)));
    }

    /// The log was cut: all at `from` and behind it is taken back.
    pub(crate) fn truncate(&mut self, from: Index) {
        assert!(self.history[0].0 < from, "the snapshot's configuration cannot be cut off");
        self.history.retain(|(index, _)| *index < from);
    }

    /// The log up to `index` went into a snapshot.
    pub(crate) fn compact(&mut self, index: Index) {
        let before = self.history.iter().filter(|(from, _)| *from <= index).count();
        assert!(before > 0, "the history reaches back to the last snapshot");
        self.history.drain(..before - 1);
    }

    fn newest(&self) -> &(Index, Arc<Config>) {
        self.history.last().expect("the history of configurations is never empty")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Configs;
    use crate::replica::{Config, Index, NodeId};

    fn set(nodes: &[u32]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId).collect()
    }

    fn config(voters: &[u32], outgoing: &[u32], learners: &[u32]) -> Config {
        Config { voters: set(voters), outgoing: set(outgoing), learners: set(learners) }
    }

    #[test]
    fn a_change_of_voters_is_joint_and_a_change_of_learners_is_not() {
        let start = config(&[1, 2, 3], &[], &[4]);
        let more = start.enter(set(&[1, 2, 3]), set(&[4, 5]));
        assert_eq!(more, Some(config(&[1, 2, 3], &[], &[4, 5])));
        let swap = start.enter(set(&[2, 3, 4]), set(&[])).expect("a sensible change");
        assert_eq!(swap, config(&[2, 3, 4], &[1, 2, 3], &[]));
        assert_eq!(swap.leave(), config(&[2, 3, 4], &[], &[]));
        let demote = start.enter(set(&[1, 2]), set(&[3, 4])).expect("a sensible change");
        assert_eq!(demote, config(&[1, 2], &[1, 2, 3], &[3, 4]));
        assert!(demote.is_voter(NodeId(3)), "a leaving voter counts until the change ends");
    }

    #[test]
    fn a_senseless_change_is_refused() {
        let start = config(&[1, 2, 3], &[], &[]);
        assert_eq!(start.enter(set(&[]), set(&[4])), None);
        assert_eq!(start.enter(set(&[1, 2]), set(&[2])), None);
        let joint = config(&[1, 2], &[1, 2, 3], &[]);
        assert_eq!(joint.enter(set(&[1]), set(&[])), None, "one change at a time");
        assert_eq!(Config::default().enter(set(&[1]), set(&[])), None, "nobody to agree");
    }

    #[test]
    fn configurations_come_back_and_malformed_ones_are_refused() {
        for config in [
            Config::default(),
            config(&[1], &[], &[]),
            config(&[1, 2, 300], &[1, 2, 3], &[3, 4_000_000_000]),
        ] {
            let bytes = config.encode();
            assert_eq!(Config::decode(&bytes), Ok(config));
            assert!(Config::decode(&bytes[..bytes.len() - 1]).is_err());
        }
        let unsorted = [2, 2, 1, 0, 0];
        let overlap = [1, 1, 0, 1, 1];
        let trailing = [0, 0, 0, 0];
        let huge = [0xff, 0xff, 0xff, 0x7f, 0, 0];
        for bad in [&unsorted[..], &overlap, &trailing, &huge, &[]] {
            assert!(Config::decode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_configuration_holds_from_its_append_until_it_is_cut_off() {
        let mut configs = Configs::new(Index(0), config(&[1], &[], &[]));
        configs.push(Index(5), config(&[1, 2], &[1], &[]));
        configs.push(Index(7), config(&[1, 2], &[], &[]));
        assert_eq!(**configs.current(), config(&[1, 2], &[], &[]));
        assert_eq!(configs.at(Index(6)), Some(&config(&[1, 2], &[1], &[])));
        assert!(!configs.may_vote(NodeId(3), Index(7)));
        configs.push(Index(9), config(&[2], &[], &[]));
        assert!(configs.may_vote(NodeId(1), Index(8)), "its removal is not committed");
        assert!(!configs.may_vote(NodeId(1), Index(9)));
        configs.truncate(Index(7));
        assert_eq!(configs.index(), Index(5));
        configs.compact(Index(6));
        assert_eq!(configs.at(Index(4)), None);
        assert_eq!(configs.at(Index(6)), Some(&config(&[1, 2], &[1], &[])));
    }
}

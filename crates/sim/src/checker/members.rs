//! Who agrees: any two configurations that follow each other must have no quorums apart from
//! each other, whatever the product thinks of how to change from one to the next.

use std::collections::BTreeSet;

use consensus::{Config, Entry, EntryKind, NodeId};

/// What a change of members says, if this entry is one.
pub(super) fn config_of(entry: &Entry) -> Option<Config> {
    let changes = entry.kind == EntryKind::Config;
    changes.then(|| Config::decode(&entry.data).unwrap_or_default())
}

/// Are these a quorum?
pub(crate) fn is_quorum(config: &Config, nodes: &BTreeSet<NodeId>) -> bool {
    let majority =
        |voters: &BTreeSet<NodeId>| voters.intersection(nodes).count() * 2 > voters.len();
    majority(&config.voters) && (config.outgoing.is_empty() || majority(&config.outgoing))
}

/// The newest of these configurations follows the one before it. A node that joins begins with
/// none, and is told.
pub(super) fn check_change(node: u32, configs: &[(u64, Config)]) -> Result<(), String> {
    let [.., (_, before), (index, after)] = configs else { return Ok(()) };
    if before.voters.is_empty() {
        return Ok(());
    }
    match disjoint(before, after) {
        None => Ok(()),
        Some(nodes) => Err(format!(
            "node {node} changes the members at {index} from {before:?} to {after:?}: {nodes:?} \
             are a quorum of the one, and all others of the other"
        )),
    }
}

/// Nodes that are a quorum of `one`, while some of the others are a quorum of `other`.
fn disjoint(one: &Config, other: &Config) -> Option<BTreeSet<NodeId>> {
    let voters = [&one.voters, &one.outgoing, &other.voters, &other.outgoing];
    let all: Vec<NodeId> =
        voters.into_iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
    assert!(all.len() <= 16, "all subsets are looked at");
    (0..1_u32 << all.len()).find_map(|chosen| {
        let side = |chosen: u32| -> BTreeSet<NodeId> {
            let nodes = all.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
            nodes.map(|(_, node)| *node).collect()
        };
        let (these, others) = (side(chosen), side(!chosen));
        (is_quorum(one, &these) && is_quorum(other, &others)).then_some(these)
    })
}

#[cfg(test)]
mod tests {
    use super::disjoint;
    use consensus::{Config, NodeId};

    fn config(voters: &[u32], outgoing: &[u32]) -> Config {
        let set = |nodes: &[u32]| nodes.iter().copied().map(NodeId).collect();
        Config { voters: set(voters), outgoing: set(outgoing), learners: set(&[]) }
    }

    #[test]
    fn quorums_that_do_not_meet_are_found_and_joint_changes_have_none() {
        let (three, other) = (config(&[1, 2, 3], &[]), config(&[3, 4, 5], &[]));
        assert!(disjoint(&three, &other).is_some());
        let joint = config(&[3, 4, 5], &[1, 2, 3]);
        assert_eq!(disjoint(&three, &joint), None);
        assert_eq!(disjoint(&joint, &other), None);
        assert_eq!(disjoint(&three, &config(&[1, 2, 3, 4], &[])), None, "one more is no danger");
        assert!(disjoint(&config(&[1, 2], &[]), &config(&[1, 2, 3, 4, 5], &[])).is_some());
    }
}

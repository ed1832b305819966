//! What always holds, whatever the network and the disks did (Raft paper, figure 3).

use std::collections::BTreeMap;

use consensus::{Config, Entry, EntryKind, NodeId, ReadReady, Replica, SnapshotMeta, Term, Token};

use super::{Cluster, Machine, Node};

#[derive(Default)]
pub(crate) struct Checks {
    leaders: BTreeMap<Term, NodeId>,
    /// What the group has agreed on; `committed[0]` is entry 1.
    pub(crate) committed: Vec<Entry>,
    /// What a read must see, and who was asked.
    reads: BTreeMap<Token, (NodeId, u64)>,
    pub(crate) reads_served: u64,
    pub(crate) reads_refused: u64,
}

impl Checks {
    /// Election safety and leader completeness.
    pub(crate) fn leads(&mut self, id: NodeId, term: Term, node: &Node) {
        match self.leaders.get(&term) {
            Some(leader) => assert_eq!(*leader, id, "two leaders in {term:?}"),
            None => {
                self.leaders.insert(term, id);
                for entry in self.committed.iter().filter(|entry| entry.term < term) {
                    assert!(node.memory.holds(entry), "a leader of {term:?} lacks {entry:?}");
                }
            }
        }
    }

    /// State machine safety; and an entry is durable at a quorum when it is first applied.
    pub(crate) fn applied(
        &mut self,
        id: NodeId,
        entries: &[Entry],
        nodes: &BTreeMap<NodeId, Node>,
    ) {
        for entry in entries {
            let at = entry.index.0 as usize - 1;
            if let Some(known) = self.committed.get(at) {
                assert_eq!(known, entry, "{id:?} applied another entry");
                continue;
            }
            assert_eq!(at, self.committed.len(), "the group agrees in order");
            self.committed.push(entry.clone());
            let config = config_of(&nodes[&id]);
            // A disk that broke after its node acknowledged is counted by a leader of that term.
            let durable = Cluster::quorum_of(&config, |member| {
                let disk = nodes.get(&member).map(|node| &node.disk);
                disk.is_some_and(|disk| disk.faulty || disk.holds(entry))
            });
            assert!(durable, "{entry:?} is committed without a quorum of {config:?}");
        }
    }

    pub(crate) fn installed(&mut self, meta: &SnapshotMeta, machine: &Machine) {
        let last = &self.committed[meta.index.0 as usize - 1];
        assert_eq!(last.term, meta.term, "a snapshot of what was agreed");
        let agreed = self.committed[..meta.index.0 as usize]
            .iter()
            .filter(|entry| entry.kind == EntryKind::Command)
            .map(|entry| &entry.data);
        assert!(agreed.eq(&machine.commands), "a snapshot holds what was agreed");
    }

    pub(crate) fn read_asked(&mut self, token: Token, id: NodeId) {
        self.reads.insert(token, (id, self.committed.len() as u64));
    }

    /// A read misses nothing that anybody knew to be committed when it was asked.
    pub(crate) fn read_ready(&mut self, read: ReadReady) {
        let (id, needs) = self.reads.remove(&read.token).expect("each read is answered once");
        match read.index {
            Some(index) => {
                assert!(index.0 >= needs, "{id:?} read at {index:?}, {needs} was committed");
                self.reads_served += 1;
            }
            None => self.reads_refused += 1,
        }
    }

    pub(crate) fn forget_reads_of(&mut self, id: NodeId) {
        self.reads.retain(|_, (node, _)| *node != id);
    }

    /// Log matching: if two logs have an entry in common, they have all before it in common.
    pub(crate) fn logs_match(&self, nodes: &BTreeMap<NodeId, Node>) {
        let logs: Vec<_> = nodes.values().map(|node| &node.memory.log).collect();
        for (at, left) in logs.iter().enumerate() {
            for right in &logs[at + 1..] {
                let common = left
                    .values()
                    .rev()
                    .find(|entry| right.get(&entry.index.0).is_some_and(|r| r.term == entry.term));
                let Some(common) = common else { continue };
                for (index, entry) in left.range(..=common.index.0) {
                    let other = right.get(index);
                    assert!(other.is_none_or(|other| other == entry), "logs part at {index}");
                }
            }
        }
    }
}

fn config_of(node: &Node) -> Config {
    node.replica.as_ref().expect("it just applied").status().config.as_ref().clone()
}

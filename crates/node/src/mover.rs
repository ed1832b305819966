//! The mover: what the leader of a group does next to bring it where the map wants it.
//!
//! ```text
//! voters {1,2,3}, wanted {1,2,4}:   learner 4 ─▶ it has the log ─▶ joint {1,2,3},{1,2,4} ─▶ {1,2,4}
//!                                   and 3 as a learner, until it owes its clients nothing ─▶ {1,2,4}
//! voters {1,2,3}, wanted {4,5,6}:   the same, but the leader is not among the wanted: first
//!                                   {1,…,6}, then it hands over to one of them, who goes on
//! ```
//!
//! A step is a pure function of what the leader knows, taken again and again until nothing is left
//! to do. So it does not matter who leads, how often it is taken, or what became of the last one.
//!
//! Leaders are evened out here as well: who leads more than its share hands one on.

use std::collections::BTreeSet;

use consensus::{Config, NodeId, Status};
use stdx::{mark, planted};

use crate::limits::MOVE_LAG_MAX;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Configure { voters: BTreeSet<NodeId>, learners: BTreeSet<NodeId> },
    Transfer(NodeId),
}

/// What a leader looks at.
pub(crate) struct Scene<'a> {
    pub(crate) node: NodeId,
    pub(crate) status: &'a Status,
    pub(crate) wanted: &'a BTreeSet<NodeId>,
    pub(crate) alive: &'a dyn Fn(NodeId) -> bool,
    /// Is there nothing that a node's replica, which votes no more, owes to clients?
    pub(crate) may_go: &'a dyn Fn(NodeId) -> bool,
    /// How much a node leads, for its weight; nothing if it is to lead none.
    pub(crate) burden: &'a dyn Fn(NodeId) -> Option<f64>,
    /// A replica may begin to come to a node that has none.
    pub(crate) may_begin: bool,
}

impl Scene<'_> {
    /// Does it have the log, but for what is under way? However short that is, it has acknowledged
    /// some of it: so there is a replica, which votes.
    fn is_near(&self, node: NodeId) -> bool {
        if planted!("voter-without-the-log") {
            return true;
        }
        let near = |matched: u64| matched > 0 && matched + MOVE_LAG_MAX >= self.status.commit.0;
        let matched = self.status.matched.iter().find(|(peer, _)| *peer == node);
        node == self.node || matched.is_some_and(|(_, index)| near(index.0))
    }

    fn is_ready(&self, node: NodeId) -> bool {
        self.is_near(node) && (node == self.node || (self.alive)(node))
    }

    /// Does a replica come that needs the log, to a node that is alive? Who is dead may come back, and
    /// who has the log waits for others that come with it: neither keeps other groups waiting.
    pub(crate) fn is_copying(&self) -> bool {
        let mut coming = self.status.config.learners.intersection(self.wanted);
        coming.any(|node| (self.alive)(*node) && !self.is_near(*node))
    }

    /// The next step; nothing if all is well, or if something has to happen first.
    pub(crate) fn next(&self) -> Option<Step> {
        let Config { voters, outgoing, learners } = &*self.status.config;
        let wanted = self.wanted;
        if !outgoing.is_empty() || wanted.is_empty() || (voters == wanted && learners.is_empty()) {
            return None;
        }
        let coming: BTreeSet<NodeId> = wanted.difference(voters).copied().collect();
        let begins = coming.difference(learners).next().is_some();
        if begins && !self.may_begin {
            return None;
        }
        let may_go = |node: NodeId| (self.may_go)(node) || planted!("leaver-is-not-waited-for");
        let stays = |node: &NodeId| !wanted.contains(node) && !may_go(*node);
        let staying: BTreeSet<NodeId> = learners.iter().copied().filter(stays).collect();
        let learning = coming.union(&staying).copied().collect();
        if *learners != learning {
            return Some(Step::Configure { voters: voters.clone(), learners: learning });
        }
        if voters == wanted {
            mark!("a replica that is to go still owes something");
            return None;
        }
        let ready = wanted.iter().filter(|node| self.is_ready(**node)).count();
        if !coming.iter().all(|node| self.is_near(*node)) || ready <= wanted.len() / 2 {
            return None;
        }
        if wanted.contains(&self.node) {
            let mut leaving: BTreeSet<NodeId> =
                voters.difference(wanted).chain(&staying).copied().collect();
            if planted!("leaves-before-it-is-agreed") {
                leaving.clear();
            }
            return Some(Step::Configure { voters: wanted.clone(), learners: leaving });
        }
        let heirs = wanted.intersection(voters).copied().filter(|node| self.is_ready(*node));
        match self.least_burdened(heirs) {
            Some(heir) => Some(Step::Transfer(heir)),
            None => {
                let voters = voters.union(wanted).copied().collect();
                Some(Step::Configure { voters, learners: staying })
            }
        }
    }

    /// One that is to lead none only if all are.
    fn least_burdened(&self, nodes: impl Iterator<Item = NodeId>) -> Option<NodeId> {
        let burden = |node: &NodeId| (self.burden)(*node).unwrap_or(f64::INFINITY);
        nodes.min_by(|one, other| burden(one).total_cmp(&burden(other)))
    }

    /// Who should lead in this one's place, of those that fit, if one leads so much less that it evens
    /// out.
    pub(crate) fn heir(&self, fits: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let Config { voters, outgoing, .. } = &*self.status.config;
        if !outgoing.is_empty() || voters != self.wanted {
            return None;
        }
        let able = |node: &NodeId| *node != self.node && self.is_ready(*node) && fits(*node);
        let heir = self.least_burdened(voters.iter().copied().filter(able))?;
        let (own, least) = ((self.burden)(self.node), (self.burden)(heir)?);
        // More than one apart, or handing one over would only swap the two.
        own.is_none_or(|own| own - least > 1.0).then_some(heir)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use consensus::{Index, Role, Term};

    use super::*;

    fn nodes(list: &[u32]) -> BTreeSet<NodeId> {
        list.iter().copied().map(NodeId).collect()
    }

    fn status(voters: &[u32], learners: &[u32], matched: &[(u32, u64)]) -> Status {
        let outgoing = BTreeSet::new();
        let config = Config { voters: nodes(voters), outgoing, learners: nodes(learners) };
        let config = Arc::new(config);
        let matched = matched.iter().map(|(node, index)| (NodeId(*node), Index(*index))).collect();
        let (role, leader, faulty) = (Role::Leader, Some(NodeId(1)), false);
        let (commit, last, first) = (Index(1_000), Index(1_001), Index(1));
        let (term, last_term) = (Term(3), Term(3));
        Status { role, term, leader, commit, last, last_term, first, config, faulty, matched }
    }

    fn next(status: &Status, wanted: &[u32]) -> Option<Step> {
        step(status, wanted, &[])
    }

    fn step(status: &Status, wanted: &[u32], owing: &[u32]) -> Option<Step> {
        let (wanted, alive) = (nodes(wanted), |node: NodeId| node.0 != 9);
        let (node, may_begin) = (NodeId(1), true);
        let may_go = |node: NodeId| !owing.contains(&node.0);
        let (wanted, alive, may_go, burden) = (&wanted, &alive, &may_go, &|_| Some(0.0));
        Scene { node, status, wanted, alive, may_go, burden, may_begin }.next()
    }

    #[test]
    fn only_a_replica_that_needs_the_log_and_lives_keeps_other_groups_waiting() {
        let copies = |learners: &[u32], matched: &[(u32, u64)]| {
            let (status, wanted) = (status(&[1, 2, 3], learners, matched), nodes(&[1, 4, 9]));
            let (alive, may_go) = (|node: NodeId| node.0 != 9, |_| true);
            let (node, may_begin) = (NodeId(1), false);
            let (status, wanted, alive, may_go) = (&status, &wanted, &alive, &may_go);
            let burden = &|_| Some(0.0);
            Scene { node, status, wanted, alive, may_go, burden, may_begin }.is_copying()
        };
        assert!(copies(&[4], &[(4, 10)]));
        assert!(!copies(&[4], &[(4, 1_000)]));
        assert!(!copies(&[4, 9], &[(4, 1_000), (9, 0)]), "node 9 is dead");
        assert!(!copies(&[2], &[(2, 10)]), "it is about to go");
    }

    fn configure(voters: &[u32], learners: &[u32]) -> Option<Step> {
        Some(Step::Configure { voters: nodes(voters), learners: nodes(learners) })
    }

    #[test]
    fn a_replica_comes_as_a_learner_and_votes_once_it_has_the_log() {
        let all = [(2, 1_000), (3, 1_000), (4, 1_000)];
        assert_eq!(next(&status(&[1, 2, 3], &[], &all), &[1, 2, 3]), None);
        assert_eq!(next(&status(&[1, 2, 3], &[], &all), &[1, 2, 4]), configure(&[1, 2, 3], &[4]));
        let lags = status(&[1, 2, 3], &[4], &[(2, 1_000), (3, 1_000), (4, 10)]);
        assert_eq!(next(&lags, &[1, 2, 4]), None);
        assert_eq!(next(&lags, &[1, 2, 3]), configure(&[1, 2, 3], &[]), "nobody wants it any more");
        assert_eq!(next(&status(&[1, 2, 3], &[4], &all), &[1, 2, 4]), configure(&[1, 2, 4], &[3]));
    }

    #[test]
    fn a_replica_that_votes_no_more_stays_until_it_owes_nothing() {
        let all = [(2, 1_000), (3, 1_000), (4, 1_000)];
        let out = status(&[1, 2, 4], &[3], &all);
        assert_eq!(step(&out, &[1, 2, 4], &[3]), None);
        assert_eq!(next(&out, &[1, 2, 4]), configure(&[1, 2, 4], &[]));
        // Others come and go meanwhile, and it comes back as it is.
        assert_eq!(step(&out, &[1, 2, 5], &[3]), configure(&[1, 2, 4], &[3, 5]));
        assert_eq!(step(&out, &[1, 2], &[3]), configure(&[1, 2], &[3, 4]));
        assert_eq!(step(&out, &[1, 2, 3, 4], &[3]), configure(&[1, 2, 3, 4], &[]));
    }

    #[test]
    fn a_short_log_makes_nobody_a_voter_who_has_none_of_it() {
        let young = |four: u64| Status {
            commit: Index(10),
            ..status(&[1, 2, 3], &[4], &[(2, 10), (3, 10), (4, four)])
        };
        assert_eq!(next(&young(0), &[1, 2, 4]), None, "it may not even have a replica");
        assert_eq!(next(&young(1), &[1, 2, 4]), configure(&[1, 2, 4], &[3]));
    }

    #[test]
    fn a_leader_that_is_not_wanted_hands_over_before_it_is_taken_out() {
        let all = [(2, 1_000), (3, 1_000), (4, 1_000), (5, 1_000), (6, 1_000)];
        assert_eq!(
            next(&status(&[1, 2, 3], &[4], &all), &[2, 3, 4]),
            Some(Step::Transfer(NodeId(2)))
        );
        let apart = status(&[1, 2, 3], &[4, 5, 6], &all);
        assert_eq!(next(&apart, &[4, 5, 6]), configure(&[1, 2, 3, 4, 5, 6], &[]));
        let grown = status(&[1, 2, 3, 4, 5, 6], &[], &all);
        assert_eq!(next(&grown, &[4, 5, 6]), Some(Step::Transfer(NodeId(4))));
    }

    #[test]
    fn a_leader_that_is_not_wanted_hands_over_to_one_that_leads_little() {
        let (status, wanted) =
            (status(&[1, 2, 3, 5], &[], &[(2, 1_000), (3, 1_000), (5, 1_000)]), nodes(&[2, 3, 5]));
        let heir = |leads: [Option<f64>; 5]| {
            let (node, may_begin, burden) =
                (NodeId(1), true, |node: NodeId| leads[node.0 as usize - 1]);
            let (status, wanted, alive, may_go) = (&status, &wanted, &|_| true, &|_| true);
            Scene { node, status, wanted, alive, may_go, burden: &burden, may_begin }.next()
        };
        let to = |node| Some(Step::Transfer(NodeId(node)));
        assert_eq!(heir([None, Some(3.0), Some(2.0), None, Some(4.0)]), to(3));
        assert_eq!(heir([None, Some(2.0), Some(2.0), None, Some(2.0)]), to(2));
        assert_eq!(heir([None, None, None, None, Some(9.0)]), to(5), "the others are to lead none");
        assert_eq!(heir([None; 5]), to(2));
    }

    #[test]
    fn nobody_is_taken_out_while_those_who_stay_could_not_agree() {
        let all = [(2, 3), (3, 1_000), (9, 1_000)];
        let status = status(&[1, 2, 3, 9], &[], &all);
        assert_eq!(next(&status, &[1, 2, 9]), None, "2 lags and 9 is dead");
        assert_eq!(next(&status, &[1, 3, 9]), configure(&[1, 3, 9], &[2]));
    }

    #[test]
    fn who_leads_more_than_one_more_hands_one_on() {
        let all = [(2, 1_000), (3, 1_000)];
        let status = status(&[1, 2, 3], &[], &all);
        let (wanted, alive) = (nodes(&[1, 2, 3]), |_: NodeId| true);
        let heir = |leads: [Option<f64>; 3], unfit: u32| {
            let (node, may_begin, burden) =
                (NodeId(1), true, |node: NodeId| leads[node.0 as usize - 1]);
            let (status, wanted, alive, may_go) = (&status, &wanted, &alive, &|_| true);
            let scene = Scene { node, status, wanted, alive, may_go, burden: &burden, may_begin };
            scene.heir(|node| node.0 != unfit)
        };
        assert_eq!(heir([Some(3.0), Some(2.0), Some(2.0)], 9), None);
        assert_eq!(heir([Some(4.0), Some(2.0), Some(3.0)], 9), Some(NodeId(2)));
        assert_eq!(heir([Some(5.0), Some(2.0), Some(3.0)], 2), Some(NodeId(3)));
        assert_eq!(heir([None, None, Some(9.0)], 9), Some(NodeId(3)), "1 is to go");
        assert_eq!(heir([Some(4.0), None, None], 9), None, "the others are");
    }
}

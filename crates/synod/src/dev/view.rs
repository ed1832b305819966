//! The state of the cluster, as one of its nodes tells it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::status;

/// A node that does not answer for this long is passed over: it may be stopped.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// Looks over which operations are averaged: nodes hear of each other four times a second, so that
/// one interval between two looks says little.
const LOOKS: usize = 5;

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    pub(super) leader: Option<u64>,
    pub(super) commit: u64,
    pub(super) operations_per_second: f64,
    pub(super) up: usize,
    pub(super) nodes: usize,
}

/// Looks again and again.
#[derive(Debug)]
pub(super) struct Watch {
    addrs: Vec<String>,
    /// The place of the node that answered last: the leader, if possible.
    favourite: usize,
    /// Operations of each process as last heard.
    counts: BTreeMap<u64, u64>,
    looks: VecDeque<(Instant, u64)>,
    operations: u64,
}

impl Watch {
    pub(super) fn new(addrs: &[String]) -> Watch {
        Watch {
            addrs: addrs.to_vec(),
            favourite: 0,
            counts: BTreeMap::new(),
            looks: VecDeque::new(),
            operations: 0,
        }
    }

    /// Asks a node that runs, the last leader first.
    pub(super) fn look(&mut self, running: &[Option<u32>]) -> View {
        let nodes = self.addrs.len();
        let up = running.iter().flatten().count();
        let order = (0..nodes).map(|at| (self.favourite + at) % nodes);
        let mut runs = order.filter(|at| running[*at].is_some());
        let answer = runs.find_map(|at| status::ask(&self.addrs[at], None, ANSWER_TIMEOUT).ok());
        let Some(json) = answer else { return View { up, nodes, ..View::default() } };
        let group = &json["groups"][0];
        let leader = group["leader"].as_u64();
        if let Some(at) = leader.and_then(|id| usize::try_from(id).ok()?.checked_sub(1)) {
            self.favourite = at.min(nodes - 1);
        }
        let commit = group["commit"].as_u64().unwrap_or(0);
        let operations_per_second = self.count(&json, Instant::now());
        View { leader, commit, operations_per_second, up, nodes }
    }

    /// Operations a second, over all nodes.
    fn count(&mut self, json: &Json, now: Instant) -> f64 {
        for node in json["nodes"].as_array().into_iter().flatten() {
            let (Some(pid), Some(count)) = (node["pid"].as_u64(), node["operations"].as_u64())
            else {
                continue;
            };
            let known = self.counts.insert(pid, count).unwrap_or(0);
            self.operations += count.saturating_sub(known);
        }
        self.looks.push_back((now, self.operations));
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        let Some((first, before)) = self.looks.front() else { return 0.0 };
        let seconds = now.duration_since(*first).as_secs_f64();
        if seconds > 0.0 { (self.operations - before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_for_each_process_apart() {
        let mut watch = Watch::new(&["a:1".to_owned()]);
        let state = |pid: u64, count: u64| {
            serde_json::json!({"nodes": [
            {"pid": pid, "operations": count}, {"pid": 9, "operations": 5}]})
        };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        watch.count(&state(1, 100), at(0));
        assert_eq!(watch.count(&state(1, 140), at(1)), 40.0);
        // It was started anew and counts from zero again.
        assert_eq!(watch.count(&state(2, 20), at(2)), 30.0);
    }
}

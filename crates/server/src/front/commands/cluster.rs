//! CLUSTER: the map that cluster-aware clients ask for, so that they go straight to the leaders.
//!
//! Any node serves any key, so the map is advice: a client that follows an old one is served all the
//! same, by one more hop. MOVED is never sent.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use consensus::NodeId;
use keyspace::Reject;
use node::Moment;
use wire::{Args, Reply};

use crate::front::{Flow, Front};

/// A node as clients know it.
struct Member {
    id: NodeId,
    host: String,
    port: u16,
    alive: bool,
}

/// One shard: its slots, and its replicas, the leader first.
struct Part {
    slots: RangeInclusive<u16>,
    leader: Option<NodeId>,
    replicas: Vec<NodeId>,
}

impl Front {
    /// A subcommand that looks at the map.
    pub(super) fn run_cluster(
        &mut self,
        moment: Moment,
        key: usize,
        word: &str,
        args: Args<'_>,
    ) -> Flow {
        let (members, parts) = self.map(moment);
        let own = self.core.node();
        self.answer(key, |reply| {
            match word {
                "info" => reply.bulk(info(&members, &parts).as_bytes()),
                "keyslot" => reply.int(i64::from(hashring::Slot::of(&args[2]).number())),
                "myid" => reply.bulk(name(own).as_bytes()),
                "nodes" => reply.bulk(nodes(own, &members, &parts).as_bytes()),
                "shards" => shards(&members, &parts, reply),
                "slots" => slots(&members, &parts, reply),
                _ => {
                    let text = "ERR this cluster changes its members by itself; see SYNOD HELP";
                    return Err(Reject::text(text));
                }
            }
            Ok(())
        })
    }

    fn map(&self, moment: Moment) -> (Vec<Member>, Vec<Part>) {
        let nodes = self.core.nodes(moment.now).into_iter();
        let members = nodes.map(|(id, health, alive)| {
            let (host, port) = health.addr.rsplit_once(':').unwrap_or(("", "0"));
            let host = host.trim_matches(['[', ']']).to_owned();
            Member { id, host, port: port.parse().unwrap_or_default(), alive }
        });
        let members: Vec<Member> = members.collect();
        let shards = self.core.shards();
        let mut parts: Vec<Part> = Vec::new();
        for (shard, group) in shards.iter().zip(self.core.all()) {
            let (slots, status) = (shards.slots(shard), group.status());
            let replicas: Vec<NodeId> = status.config.voters.iter().copied().collect();
            match parts.last_mut() {
                Some(last) if last.leader == status.leader && last.replicas == replicas => {
                    last.slots = *last.slots.start()..=*slots.end();
                }
                _ => parts.push(Part { slots, leader: status.leader, replicas }),
            }
        }
        (members, parts)
    }
}

impl Part {
    /// The leader, if it is known, and then the others.
    fn in_order(&self) -> impl Iterator<Item = NodeId> {
        let others = self.replicas.iter().copied().filter(|node| Some(*node) != self.leader);
        self.leader.into_iter().chain(others)
    }
}

/// Forty hexadecimal digits, as Redis names its nodes.
fn name(node: NodeId) -> String {
    format!("{:040x}", node.0)
}

fn find(members: &[Member], node: NodeId) -> Option<&Member> {
    members.iter().find(|member| member.id == node)
}

fn info(members: &[Member], parts: &[Part]) -> String {
    let width = |part: &&Part| part.slots.len();
    let served: usize = parts.iter().filter(|part| part.leader.is_some()).map(|p| width(&p)).sum();
    let state = if served == hashring::SLOTS { "ok" } else { "fail" };
    let leaders: std::collections::BTreeSet<_> = parts.iter().filter_map(|p| p.leader).collect();
    let unserved = hashring::SLOTS - served;
    format!(
        "cluster_enabled:1\r\ncluster_state:{state}\r\ncluster_slots_assigned:{}\r\n\
         cluster_slots_ok:{served}\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:{unserved}\r\n\
         cluster_known_nodes:{}\r\ncluster_size:{}\r\ncluster_current_epoch:1\r\n\
         cluster_my_epoch:1\r\n",
        hashring::SLOTS,
        members.len(),
        leaders.len()
    )
}

/// A line for each node: name, address, flags, and the slots that it leads.
fn nodes(own: NodeId, members: &[Member], parts: &[Part]) -> String {
    let mut text = String::new();
    for Member { id, host, port, alive } in members {
        let myself = if *id == own { "myself," } else { "" };
        let failed = if *alive { "" } else { ",fail" };
        let link = if *alive { "connected" } else { "disconnected" };
        let _ = write!(
            text,
            "{} {host}:{port}@{port} {myself}master{failed} - 0 0 1 {link}",
            name(*id)
        );
        for part in parts.iter().filter(|part| part.leader == Some(*id)) {
            let _ = write!(text, " {}-{}", part.slots.start(), part.slots.end());
        }
        text.push('\n');
    }
    text
}

fn slots(members: &[Member], parts: &[Part], reply: &mut Reply<'_>) {
    let served = || parts.iter().filter(|part| part.leader.is_some());
    reply.array(served().count());
    for part in served() {
        let nodes: Vec<&Member> = part.in_order().filter_map(|id| find(members, id)).collect();
        reply.array(2 + nodes.len());
        reply.int(i64::from(*part.slots.start()));
        reply.int(i64::from(*part.slots.end()));
        for Member { id, host, port, .. } in nodes {
            reply.array(4);
            reply.bulk(host.as_bytes());
            reply.int(i64::from(*port));
            reply.bulk(name(*id).as_bytes());
            reply.array(0);
        }
    }
}

fn shards(members: &[Member], parts: &[Part], reply: &mut Reply<'_>) {
    reply.array(parts.len());
    for part in parts {
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(2);
        reply.int(i64::from(*part.slots.start()));
        reply.int(i64::from(*part.slots.end()));
        reply.bulk(b"nodes");
        let nodes: Vec<&Member> = part.in_order().filter_map(|id| find(members, id)).collect();
        reply.array(nodes.len());
        for Member { id, host, port, alive } in nodes {
            let role = if part.leader == Some(*id) { "master" } else { "replica" };
            let health = if *alive { "online" } else { "fail" };
            let texts = [("id", name(*id)), ("ip", host.clone()), ("endpoint", host.clone())];
            reply.map(7);
            for (field, value) in texts {
                reply.bulk(field.as_bytes());
                reply.bulk(value.as_bytes());
            }
            for (field, value) in [("port", i64::from(*port)), ("replication-offset", 0)] {
                reply.bulk(field.as_bytes());
                reply.int(value);
            }
            for (field, value) in [("role", role), ("health", health)] {
                reply.bulk(field.as_bytes());
                reply.bulk(value.as_bytes());
            }
        }
    }
}

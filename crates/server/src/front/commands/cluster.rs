//! CLUSTER: the map that cluster-aware clients ask for, so that they go straight to the leaders; and
//! MOVED, which tells one of them that its map is old.
//!
//! Any node serves any key, so the map is advice: a client that follows an old one is served all the
//! same, by one more hop. Therefore a shard without a leader that is alive is shown as this node's:
//! whoever comes here with its keys waits for the next leader.
//!
//! What Redis Cluster does not know: a node leads some shards and follows in others. It is listed as
//! the master of the former and as a replica of the latter; in CLUSTER NODES, where each node has one
//! line and one role, all are masters.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use consensus::{Index, NodeId, Term};
use hashring::Slot;
use keyspace::Reject;
use keyspace::command::Command;
use node::{GroupId, Kind, Moment, Route};
use wire::{Args, Reply};

use crate::config::Redirects;
use crate::front::client::Session;
use crate::front::{Flow, Front};

/// A node as clients know it.
struct Member {
    id: NodeId,
    host: String,
    port: u16,
    alive: bool,
    /// How far it has applied each group.
    applied: Vec<(GroupId, Index)>,
}

/// One shard, or several that have the same leader and the same replicas.
#[derive(Clone)]
struct Part {
    slots: Vec<RangeInclusive<u16>>,
    groups: Vec<GroupId>,
    /// Who is to be asked: the leader, or else this node.
    head: NodeId,
    /// It is the leader, and alive.
    is_led: bool,
    replicas: Vec<NodeId>,
    term: Term,
}

/// All nodes, and all shards in the order of their slots.
struct Map {
    own: NodeId,
    members: Vec<Member>,
    parts: Vec<Part>,
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
        let laddr = self.client(key).laddr.clone();
        let map = self.map(moment, &laddr);
        if matches!(word, "slots" | "shards") {
            self.client(key).session.asked_map = true;
        }
        self.answer(key, |reply| {
            match word {
                "info" => reply.verbatim("txt", map.info().as_bytes()),
                "keyslot" => reply.int(i64::from(Slot::of(&args[2]).number())),
                "myid" => reply.bulk(name(map.own).as_bytes()),
                "nodes" => reply.verbatim("txt", map.nodes().as_bytes()),
                "shards" => map.shards(reply),
                "slots" => map.slots(reply),
                _ => {
                    let text =
                        "ERR this cluster changes its members by itself; see SYNOD.NODE HELP";
                    return Err(Reject::text(text));
                }
            }
            Ok(())
        })
    }

    /// READONLY and READWRITE: may this node's replicas answer what the client reads? They ask the
    /// leader how far they must have come, so what they say is linearizable.
    pub(super) fn set_readonly(&mut self, key: usize, readonly: bool) -> Flow {
        self.client(key).session.readonly = readonly;
        self.done(key, Ok(()))
    }

    /// The word to a client that looks up the leaders itself and came to another node. One that owes
    /// it nothing yet: what was asked before is on its way from here.
    pub(in crate::front) fn moved(
        &self,
        moment: Moment,
        session: &Session,
        (route, kind): (Route, Kind),
        command: &Command,
        args: Args<'_>,
    ) -> Option<Reject> {
        let asks = match self.config.redirects() {
            Redirects::No => false,
            // A library, not a person who looks around.
            Redirects::Auto => session.asked_map && !session.library.is_empty(),
            Redirects::Yes => true,
        };
        if !asks || kind == Kind::Read && session.readonly {
            return None;
        }
        let leader = self.core.leader_elsewhere(route)?;
        let first = *command.key_positions(args).first()?;
        let slot = Slot::of(&args[first]).number();
        let (_, health, alive) =
            self.core.nodes(moment.now).into_iter().find(|(node, ..)| *node == leader)?;
        let known = alive && !health.addr.is_empty();
        known.then(|| Reject::from(format!("MOVED {slot} {}", health.addr)))
    }

    /// The map as this node knows it. `laddr` is where the client reached it.
    fn map(&self, moment: Moment, laddr: &str) -> Map {
        let own = self.core.node();
        let reached = laddr.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']));
        let members = self.core.nodes(moment.now).into_iter().map(|(id, health, alive)| {
            let (host, port) = health.addr.rsplit_once(':').unwrap_or(("", "0"));
            let mut host = host.trim_matches(['[', ']']);
            if id == own && matches!(host, "0.0.0.0" | "::") {
                host = reached;
            }
            let (host, port) = (host.to_owned(), port.parse().unwrap_or_default());
            Member { id, host, port, alive, applied: health.applied }
        });
        let members: Vec<Member> = members.collect();
        let is_alive = |node: NodeId| find(&members, node).is_some_and(|member| member.alive);
        let shards = self.core.shards();
        let parts = shards.iter().zip(self.core.parts(moment.now)).map(|(shard, part)| {
            let leader = part.leader.filter(|leader| is_alive(*leader));
            Part {
                slots: vec![shards.slots(shard)],
                groups: vec![part.group],
                head: leader.unwrap_or(own),
                is_led: leader.is_some(),
                replicas: part.members.into_iter().collect(),
                term: part.term,
            }
        });
        let parts = parts.collect();
        Map { own, members, parts }
    }
}

impl Map {
    /// `cluster_state` and the numbers around it. A shard without a leader fails.
    fn info(&self) -> String {
        let width = |part: &Part| part.slots.iter().map(ExactSizeIterator::len).sum::<usize>();
        let served: usize = self.parts.iter().filter(|part| part.is_led).map(width).sum();
        let state = if served == hashring::SLOTS { "ok" } else { "fail" };
        let leaders: BTreeSet<_> = self.parts.iter().map(|part| part.head).collect();
        format!(
            "cluster_state:{state}\r\ncluster_slots_assigned:{}\r\ncluster_slots_ok:{served}\r\n\
             cluster_slots_pfail:0\r\ncluster_slots_fail:{}\r\ncluster_known_nodes:{}\r\n\
             cluster_size:{}\r\ncluster_current_epoch:{}\r\ncluster_my_epoch:{}\r\n\
             cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
             total_cluster_links_buffer_limit_exceeded:0\r\n",
            hashring::SLOTS,
            hashring::SLOTS - served,
            self.members.len(),
            leaders.len(),
            self.parts.iter().map(|part| part.term.0).max().unwrap_or_default(),
            self.epoch(self.own),
        )
    }

    /// The newest term in which a node leads anything: it grows with each shard that it wins.
    fn epoch(&self, node: NodeId) -> u64 {
        let led = self.parts.iter().filter(|part| part.head == node && part.is_led);
        led.map(|part| part.term.0).max().unwrap_or_default()
    }

    /// A line for each node: name, address, flags, and the slots that it leads.
    fn nodes(&self) -> String {
        let runs = self.runs();
        let mut text = String::new();
        for Member { id, host, port, alive, .. } in &self.members {
            let myself = if *id == self.own { "myself," } else { "" };
            let failed = if *alive { "" } else { ",fail" };
            let link = if *alive { "connected" } else { "disconnected" };
            let (name, epoch) = (name(*id), self.epoch(*id));
            let _ = write!(
                text,
                "{name} {host}:{port}@{port} {myself}master{failed} - 0 0 {epoch} {link}"
            );
            for slots in runs.iter().filter(|run| run.head == *id).flat_map(|run| &run.slots) {
                let _ = match slots.end() - slots.start() {
                    0 => write!(text, " {}", slots.start()),
                    _ => write!(text, " {}-{}", slots.start(), slots.end()),
                };
            }
            text.push('\n');
        }
        text
    }

    /// A row for each run of slots: its master, and the replicas that are alive.
    fn slots(&self, reply: &mut Reply<'_>) {
        let runs = self.runs();
        reply.array(runs.len());
        for run in runs {
            let slots = &run.slots[0];
            let nodes: Vec<&Member> =
                self.of(&run).filter(|member| member.alive || member.id == run.head).collect();
            reply.array(2 + nodes.len());
            reply.int(i64::from(*slots.start()));
            reply.int(i64::from(*slots.end()));
            for Member { id, host, port, .. } in nodes {
                reply.array(4);
                reply.bulk(host.as_bytes());
                reply.int(i64::from(*port));
                reply.bulk(name(*id).as_bytes());
                reply.map(0);
            }
        }
    }

    /// An element for all slots that have the same master and replicas.
    fn shards(&self, reply: &mut Reply<'_>) {
        let mut parts: Vec<Part> = Vec::new();
        for run in self.runs() {
            match parts.iter_mut().find(|part| part.is_like(&run)) {
                Some(part) => {
                    part.slots.extend(run.slots);
                    part.groups.extend(run.groups);
                }
                None => parts.push(run),
            }
        }
        reply.array(parts.len());
        for part in &parts {
            reply.map(2);
            reply.bulk(b"slots");
            reply.array(2 * part.slots.len());
            for slots in &part.slots {
                reply.int(i64::from(*slots.start()));
                reply.int(i64::from(*slots.end()));
            }
            reply.bulk(b"nodes");
            reply.array(self.of(part).count());
            for member in self.of(part) {
                member.describe(part, reply);
            }
        }
    }

    /// The shards, neighbours that have the same nodes as one.
    fn runs(&self) -> Vec<Part> {
        let mut runs: Vec<Part> = Vec::new();
        for part in &self.parts {
            match runs.last_mut() {
                Some(last) if last.is_like(part) => {
                    last.slots[0] = *last.slots[0].start()..=*part.slots[0].end();
                    last.groups.extend(&part.groups);
                }
                _ => runs.push(part.clone()),
            }
        }
        runs
    }

    /// The nodes of a part, its head first.
    fn of(&self, part: &Part) -> impl Iterator<Item = &Member> {
        let others = part.replicas.iter().copied().filter(|node| *node != part.head);
        let (head, others): (NodeId, Vec<NodeId>) = (part.head, others.collect());
        [head].into_iter().chain(others).filter_map(|node| find(&self.members, node))
    }
}

impl Part {
    /// Has it the same nodes, in the same places?
    fn is_like(&self, other: &Part) -> bool {
        self.head == other.head && self.replicas == other.replicas
    }
}

impl Member {
    /// Its map in CLUSTER SHARDS.
    fn describe(&self, part: &Part, reply: &mut Reply<'_>) {
        let role = if part.head == self.id { "master" } else { "replica" };
        let health = if self.alive { "online" } else { "fail" };
        let mine = self.applied.iter().filter(|(group, _)| part.groups.contains(group));
        let offset: u64 = mine.map(|(_, index)| index.0).sum();
        reply.map(7);
        put_text(reply, "id", &name(self.id));
        put_number(reply, "port", u64::from(self.port));
        put_text(reply, "ip", &self.host);
        put_text(reply, "endpoint", &self.host);
        put_text(reply, "role", role);
        put_number(reply, "replication-offset", offset);
        put_text(reply, "health", health);
    }
}

fn put_text(reply: &mut Reply<'_>, field: &str, value: &str) {
    reply.bulk(field.as_bytes());
    reply.bulk(value.as_bytes());
}

fn put_number(reply: &mut Reply<'_>, field: &str, value: u64) {
    reply.bulk(field.as_bytes());
    reply.int(value as i64);
}

/// Forty hexadecimal digits, as Redis names its nodes.
fn name(node: NodeId) -> String {
    format!("{:040x}", node.0)
}

fn find(members: &[Member], node: NodeId) -> Option<&Member> {
    members.iter().find(|member| member.id == node)
}

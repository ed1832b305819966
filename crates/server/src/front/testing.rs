//! A lone node's front under test: no socket, no disk, an invented clock.
//!
//! One helper knows how a front is driven; the tests are tables of what clients say and hear.

use consensus::{
    Config as Members, Envelope, Index, NodeId, Options, SnapshotMeta, Stored, Term, raft,
};
use keyspace::Shard;
use node::{Core, Event, Founding, GroupId, Health, Map, Message, Moment, Setup, SnapshotOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use stdx::{Instant, Millis};

use super::Front;
use crate::config::Config;

/// A node that leads itself, and the time of day.
pub(crate) struct Stage {
    pub(crate) front: Front,
    pub(crate) moment: Moment,
}

impl Stage {
    /// A node without a password.
    pub(crate) fn new() -> Stage {
        Stage::with(Config::default())
    }

    /// A node with these settings, elected.
    pub(crate) fn with(config: Config) -> Stage {
        Stage::build(config, 1)
    }

    /// A node whose keys are in several shards, elected in all.
    pub(crate) fn sharded(shards: u32) -> Stage {
        Stage::build(Config::default(), shards)
    }

    fn build(config: Config, shards: u32) -> Stage {
        let mut stage = Stage::before_elections(config, shards, &[]);
        let lacks = |group: &node::Group| group.leader().is_none();
        while stage.front.core().members().any(lacks)
            || stage.front.core().member(GroupId::META).is_none_or(lacks)
        {
            stage.moment.now = stage.front.deadline().max(stage.moment.now);
            stage.front.step(stage.moment, Event::Tick);
            stage.settle();
        }
        stage
    }

    /// A node of three that follows node 2 in all shards, and has not heard of node 3.
    pub(crate) fn follower(shards: u32) -> Stage {
        let (own, leader) = (NodeId(1), NodeId(2));
        let mut stage = Stage::before_elections(Config::default(), shards, &[leader, NodeId(3)]);
        let health = Health { addr: "127.0.0.1:2".to_owned(), ..Health::default() };
        stage.hear(leader, Message::Health(health));
        for group in (0..shards).map(GroupId) {
            let message =
                consensus::Message::Heartbeat { commit: Index(0), sequence: 1, hibernate: false };
            let envelope = Envelope { source: leader, target: own, term: Term(1), message };
            stage.hear(leader, Message::Consensus { group, envelope });
        }
        stage
    }

    /// A message of another node.
    pub(crate) fn hear(&mut self, source: NodeId, message: Message) {
        self.front.step(self.moment, Event::Recv { source, message });
        self.settle();
    }

    fn before_elections(config: Config, shards: u32, peers: &[NodeId]) -> Stage {
        let moment = Moment { now: Instant(1_000_000), wall: Millis(1_700_000_000_000) };
        let node = NodeId(1);
        let founding = |id: GroupId| {
            let members = Members::of(peers.iter().copied().chain([node]));
            let snapshot = SnapshotMeta { config: members, ..SnapshotMeta::default() };
            let stored = Stored { snapshot: snapshot.clone(), ..Stored::default() };
            let options = Options::new(node, 7);
            let replica = raft::Replica::new(options, stored, moment.now).unwrap();
            let (replica, shard) = (Box::new(replica), Shard::new());
            let (boot, snapshot_bytes, snapshots) = (1, 0, SnapshotOptions::default());
            Founding { id, node, replica, shard, snapshot, boot, snapshot_bytes, snapshots }
        };
        let count = node::Shards::new(shards as usize).unwrap();
        let founders: Vec<_> =
            (1..=peers.len() + 1).map(|n| (format!("127.0.0.1:{n}"), [n as u8; 16])).collect();
        let core = Core::new(Setup {
            node,
            own: Health { addr: "0.0.0.0:1".to_owned(), ..Health::default() },
            map: Arc::new(Map::founding(count, founders.len() as u32, &founders).unwrap()),
            moves: false,
            replace_after: Duration::ZERO,
            catch_up_rate: 0,
            boot: 1,
            snapshots: SnapshotOptions::default(),
            members: (0..shards).map(GroupId).chain([GroupId::META]).map(founding).collect(),
            past: BTreeMap::new(),
            make: Box::new(|_, _, _| unreachable!("no replica comes to a node under test")),
        });
        Stage { front: Front::new(core, config, moment), moment }
    }

    /// A new client.
    pub(crate) fn open(&mut self) -> usize {
        self.front.open(self.moment, "127.0.0.1:1".into(), "127.0.0.1:2".into()).unwrap()
    }

    /// Turns until nothing moves. Whatever is to be saved is saved at once.
    pub(crate) fn settle(&mut self) {
        while self.turn() {}
    }

    /// One turn. False if nothing was to be saved in it.
    pub(crate) fn turn(&mut self) -> bool {
        let fx = self.front.end_turn(self.moment, node::Proposing::Now);
        fx.send.clear();
        fx.snapshot.clear();
        fx.discarded.clear();
        let saves = std::mem::take(&mut fx.save);
        let saved = !saves.is_empty();
        for save in saves {
            let (group, number) = (save.group, save.number);
            self.front.step(self.moment, Event::Saved { group, number });
        }
        saved
    }

    /// Time passes; what is due happens.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.moment.now = self.moment.now + Duration::from_millis(millis);
        self.moment.wall = Millis(self.moment.wall.0 + millis);
        if self.front.deadline() <= self.moment.now {
            self.front.step(self.moment, Event::Tick);
        }
        self.settle();
    }

    /// A client sends bytes. Returns what it hears.
    pub(crate) fn send(&mut self, client: usize, bytes: &[u8]) -> String {
        self.front.received(self.moment, client, &mut bytes.to_vec());
        self.settle();
        self.heard(client)
    }

    /// What a client has heard since it was last asked.
    pub(crate) fn heard(&mut self, client: usize) -> String {
        let out = self.front.out(client).map(std::mem::take).unwrap_or_default();
        self.front.sent(client, out.len());
        self.settle();
        String::from_utf8_lossy(&out).into_owned()
    }

    /// A client types a line. Returns what it hears.
    pub(crate) fn say(&mut self, client: usize, line: &str) -> String {
        self.send(client, format!("{line}\r\n").as_bytes())
    }

    /// Lines of clients and what each hears at that moment.
    #[track_caller]
    pub(crate) fn check_all(&mut self, table: &[(usize, &str, &str)]) {
        for (at, (client, line, expect)) in table.iter().enumerate() {
            let heard = if line.is_empty() { self.heard(*client) } else { self.say(*client, line) };
            assert_eq!(heard, *expect, "line {at}: {client}> {line}");
        }
    }
}

//! Three cores with a network between them that loses what a test wants lost: what becomes of
//! requests that one of them forwards to another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use consensus::{Config, NodeId, Options, Role, SnapshotMeta, Stored};
use keyspace::Shard;
use node::{
    Call, Called, Core, Effects, Event, Founding, Group, GroupId, Health, Kind, Map, Message,
    Moment, Setup, Shards, SnapshotOptions, Ticket,
};
use stdx::{Instant, Millis};
use wire::{ArgsBuf, Proto};

const NODES: u32 = 3;

/// Cores whose disks are instant. Time passes when a test says so.
struct World {
    millis: u64,
    cores: Vec<Core>,
    wires: VecDeque<(NodeId, NodeId, Message)>,
    /// Nodes that are dead: nothing leaves them, nothing arrives.
    dead: BTreeSet<NodeId>,
    loses: fn(NodeId, &Message) -> bool,
    /// All that was not lost.
    said: Vec<Message>,
    /// Clients let followers answer.
    readonly: bool,
    replies: BTreeMap<(NodeId, Ticket), Vec<u8>>,
}

impl World {
    fn new(loses: fn(NodeId, &Message) -> bool) -> World {
        let cores = (1..=NODES).map(|node| core(NodeId(node))).collect();
        let (wires, dead, replies) = (VecDeque::new(), BTreeSet::new(), BTreeMap::new());
        World { millis: 1, cores, wires, dead, loses, said: Vec::new(), readonly: false, replies }
    }

    fn moment(&self) -> Moment {
        Moment { now: Instant(self.millis * 1_000_000), wall: Millis(self.millis) }
    }

    /// Lets time pass, a millisecond at a time.
    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.millis += 1;
            for node in self.living() {
                self.step(node, Event::Tick);
            }
            self.deliver();
        }
    }

    fn living(&self) -> Vec<NodeId> {
        (1..=NODES).map(NodeId).filter(|node| !self.dead.contains(node)).collect()
    }

    /// Hands over messages until there are none.
    fn deliver(&mut self) {
        while let Some((source, target, message)) = self.wires.pop_front() {
            if !self.dead.contains(&target) {
                self.step(target, Event::Recv { source, message });
            }
        }
    }

    fn step(&mut self, node: NodeId, event: Event) {
        let (moment, mut out) = (self.moment(), Effects::default());
        self.core(node).step(moment, event, &mut out);
        self.finish(node, out);
    }

    /// Ends a turn of a core and does what follows.
    fn finish(&mut self, node: NodeId, mut out: Effects) {
        let moment = self.moment();
        self.core(node).flush(moment, node::Proposing::Now, &mut out);
        let lost = |message: &Message| (self.loses)(node, message);
        let kept: Vec<_> = out.send.into_iter().filter(|(_, message)| !lost(message)).collect();
        self.said.extend(kept.iter().map(|(_, message)| message.clone()));
        self.wires.extend(kept.into_iter().map(|(target, message)| (node, target, message)));
        for (ticket, reply) in out.replies.iter() {
            self.replies.insert((node, ticket), reply.to_vec());
        }
        for save in out.save {
            self.step(node, Event::Saved { group: save.group, number: save.number });
        }
        self.core(node).check();
    }

    fn core(&mut self, node: NodeId) -> &mut Core {
        &mut self.cores[node.0 as usize - 1]
    }

    fn group(&self, node: NodeId) -> &Group {
        self.cores[node.0 as usize - 1].member(GroupId(0)).expect("each has a replica")
    }

    /// Waits for a leader that everybody knows.
    fn elect(&mut self) -> NodeId {
        for _ in 0..5_000 {
            self.run(1);
            let believed: Vec<_> =
                self.living().iter().map(|node| self.group(*node).leader()).collect();
            if let [Some(leader), rest @ ..] = &believed[..]
                && rest.iter().all(|other| other.as_ref() == Some(leader))
                && self.group(*leader).status().role == Role::Leader
            {
                let leader = *leader;
                self.run(100);
                return leader;
            }
        }
        panic!("nobody was elected in five seconds");
    }

    fn follower(&self, leader: NodeId) -> NodeId {
        self.living().into_iter().find(|node| *node != leader).expect("a follower lives")
    }

    /// Calls that one client of a node pipelines; their tickets count from `first`.
    fn pipeline(&mut self, node: NodeId, first: u64, calls: &[(Kind, &[&str])]) {
        let moment = self.moment();
        let mut replica = self.readonly;
        for (at, (kind, args)) in calls.iter().enumerate() {
            let args: ArgsBuf = args.iter().map(|arg| arg.as_bytes()).collect();
            let (ticket, kind, after) = (Ticket(first + at as u64), *kind, at > 0);
            let (db, proto, may_block) = (0, Proto::Resp2, args.args().is(0, "blpop"));
            replica &= kind == Kind::Read;
            let args = args.args();
            let call = Call { ticket, db, proto, kind, after, replica, may_block, args };
            let mut reply = Vec::new();
            let command = keyspace::command::find(args).expect("a known command");
            let core = self.core(node);
            let route = core.route(command, args);
            if core.call(moment, route, call, &mut reply) == Called::Replied {
                self.replies.insert((node, ticket), reply);
            }
        }
        self.finish(node, Effects::default());
        self.deliver();
    }

    fn reply(&self, node: NodeId, ticket: u64) -> &str {
        let reply = self.replies.get(&(node, Ticket(ticket)));
        std::str::from_utf8(reply.expect("the call is answered")).expect("RESP of text")
    }
}

fn core(node: NodeId) -> Core {
    let snapshot =
        SnapshotMeta { config: Config::of((1..=NODES).map(NodeId)), ..SnapshotMeta::default() };
    let stored = Stored { snapshot: snapshot.clone(), ..Stored::default() };
    let options = Options::new(node, u64::from(node.0));
    let replica = consensus::raft::Replica::new(options, stored, Instant(0))
        .expect("an empty log contradicts nothing");
    let (id, shard, boot) = (GroupId(0), Shard::new(), 1);
    let (replica, snapshot_bytes, snapshots) = (Box::new(replica), 0, SnapshotOptions::default());
    let founding = Founding { id, node, replica, shard, snapshot, boot, snapshot_bytes, snapshots };
    let founders: Vec<_> = (1..=NODES).map(|n| (format!("n{n}:1"), [n as u8; 16])).collect();
    let map = Map::founding(Shards::new(1).expect("one is a power of two"), NODES, &founders);
    Core::new(Setup {
        node,
        own: Health::default(),
        map: Arc::new(map.expect("three nodes make a map")),
        moves: false,
        replace_after: Duration::ZERO,
        catch_up_rate: 0,
        boot: 1,
        snapshots,
        members: vec![founding],
        past: BTreeMap::new(),
        make: Box::new(|_, _, _| unreachable!("no replica comes here")),
    })
}

#[test]
fn a_read_whose_answer_is_lost_does_not_see_a_later_write_of_its_client() {
    // The leader's answers never arrive: the writes are known from the log, the read is not.
    let mut world = World::new(|_, message| matches!(message, Message::Answers { .. }));
    let leader = world.elect();
    let follower = world.follower(leader);
    let calls: [(Kind, &[&str]); 4] = [
        (Kind::Write, &["SET", "k", "1"]),
        (Kind::Read, &["GET", "k"]),
        (Kind::Write, &["APPEND", "k", "2"]),
        (Kind::Read, &["GET", "k"]),
    ];
    world.pipeline(follower, 0, &calls);
    world.run(100);
    world.dead.insert(leader);
    world.loses = |_, _| false;
    world.elect();
    world.run(1_000);
    let replies: Vec<&str> = (0..4).map(|ticket| world.reply(follower, ticket)).collect();
    assert_eq!(replies, ["+OK\r\n", "$1\r\n1\r\n", ":2\r\n", "$2\r\n12\r\n"]);
}

#[test]
fn a_gateway_that_dies_before_it_was_heard_of_leaves_no_waiters() {
    // Only what it forwards arrives of what the nodes say about themselves.
    let mut world = World::new(|_, message| matches!(message, Message::Health(_)));
    let leader = world.elect();
    let follower = world.follower(leader);
    world.pipeline(follower, 0, &[(Kind::Write, &["BLPOP", "q", "0"])]);
    world.run(100);
    assert_eq!(world.group(leader).shard().waiters().origins().count(), 1);
    world.dead.insert(follower);
    world.run(3_000);
    assert_eq!(world.group(leader).shard().waiters().origins().count(), 0);
}

#[test]
fn who_waits_goes_on_to_wait_when_the_leader_hands_over_and_those_of_a_dead_one_do_not() {
    let mut world = World::new(|_, _| false);
    let leader = world.elect();
    let follower = world.follower(leader);
    let third = world.living().into_iter().find(|node| ![leader, follower].contains(node));
    let third = third.expect("there are three");
    world.run(300);
    for (node, ticket) in [(leader, 1), (follower, 2), (third, 3)] {
        world.pipeline(node, ticket, &[(Kind::Write, &["BLPOP", "q", "0"])]);
        world.run(10);
    }
    world.step(leader, Event::Transfer { group: GroupId(0), target: follower });
    world.run(50);
    assert!(world.group(follower).leads(), "it was handed over");
    assert_eq!(world.group(follower).shard().waiters().len(), 3, "and nobody was sent away");
    world.pipeline(third, 10, &[(Kind::Write, &["RPUSH", "q", "first"])]);
    world.run(50);
    assert!(world.reply(leader, 1).contains("first"), "the oldest is served by the new leader");
    // Now the leader dies: its own clients are gone, the third node's wait on.
    world.dead.insert(follower);
    world.run(1_200);
    let next = world.elect();
    assert_ne!(next, follower);
    let waits: Vec<u32> =
        world.group(next).shard().waiters().origins().map(|origin| origin.node).collect();
    assert_eq!(waits, [third.0]);
    world.pipeline(next, 20, &[(Kind::Write, &["RPUSH", "q", "second"])]);
    world.run(50);
    assert!(world.reply(third, 3).contains("second"));
}

#[test]
fn waits_end_with_the_connection_of_their_gateway_even_if_they_are_on_their_way() {
    let mut world = World::new(|_, _| false);
    let leader = world.elect();
    let follower = world.follower(leader);
    world.pipeline(follower, 0, &[(Kind::Write, &["BLPOP", "q", "0"])]);
    world.run(10);
    assert_eq!(world.group(leader).shard().waiters().len(), 1);
    // One more is in the log by the time at which the connection ends, and not committed.
    world.loses = |_, message| matches!(message, Message::Consensus { .. });
    world.pipeline(follower, 1, &[(Kind::Write, &["BLPOP", "q", "0"])]);
    world.step(leader, Event::PeerDown(follower));
    world.loses = |_, _| false;
    world.pipeline(leader, 0, &[(Kind::Write, &["RPUSH", "q", "kept"])]);
    world.run(200);
    assert_eq!(world.reply(leader, 0), ":1\r\n", "it serves nobody who may be gone");
    assert_eq!(world.group(leader).shard().waiters().len(), 0);
    // The gateway lives after all, and so do its clients: they are told.
    for ticket in [0, 1] {
        assert!(world.reply(follower, ticket).starts_with("-LOADING "));
    }
}

#[test]
fn subscribers_at_a_node_without_a_replica_hear_what_was_published_through_the_log_once() {
    let mut world = World::new(|_, _| false);
    let leader = world.elect();
    let away = world.follower(leader);
    let publish: [(Kind, &[&str]); 1] =
        [(Kind::Write, &["EVAL", "return redis.call('publish', 'news', 'yes')", "0"])];
    world.pipeline(leader, 0, &publish);
    world.run(500);
    let heard = |world: &World| {
        let messages = world.said.iter();
        messages.filter(|message| matches!(message, Message::Publish(_))).count()
    };
    assert_eq!(heard(&world), 0, "each applies it");
    let voters = world.living().into_iter().filter(|node| *node != away).collect();
    let learners = BTreeSet::new();
    world.step(leader, Event::Configure { group: GroupId(0), voters, learners });
    world.run(500);
    for node in [leader, away] {
        world.pipeline(node, 1, &publish);
        world.run(500);
    }
    assert_eq!(heard(&world), 2, "each goes to one node");
}

#[test]
fn nothing_overtakes_what_was_asked_of_a_replica_that_votes_no_more() {
    let mut world = World::new(|_, message| matches!(message, Message::Forward { .. }));
    let leader = world.elect();
    let follower = world.follower(leader);
    world.pipeline(follower, 0, &[(Kind::Write, &["SET", "k", "first"])]);
    world.loses = |_, _| false;
    let voters = world.living().into_iter().filter(|node| *node != follower).collect();
    let learners = BTreeSet::from([follower]);
    world.step(leader, Event::Configure { group: GroupId(0), voters, learners });
    world.run(500);
    assert!(!world.group(follower).status().config.is_voter(follower));
    world.pipeline(follower, 1, &[(Kind::Write, &["SET", "k", "second"])]);
    world.run(500);
    assert!(world.replies.is_empty(), "the first one is still on its way");
    world.step(follower, Event::PeerUp(leader));
    world.finish(follower, Effects::default());
    world.run(500);
    let replies: Vec<&str> = (0..2).map(|ticket| world.reply(follower, ticket)).collect();
    assert_eq!(replies, ["+OK\r\n", "+OK\r\n"]);
    world.pipeline(leader, 0, &[(Kind::Read, &["GET", "k"])]);
    assert_eq!(world.reply(leader, 0), "$6\r\nsecond\r\n");
}

#[test]
fn a_follower_knows_how_far_it_is_behind_what_its_clients_were_told() {
    let mut world = World::new(|_, _| false);
    let leader = world.elect();
    let follower = world.follower(leader);
    world.pipeline(follower, 0, &[(Kind::Write, &["SET", "k", "v"])]);
    assert_eq!(world.reply(follower, 0), "+OK\r\n");
    assert!(!world.group(follower).is_level(), "it does not know of the commit yet");
    assert!(world.group(leader).is_level());
    world.core(follower).member_mut(GroupId(0)).expect("it has a replica").catch_up();
    world.finish(follower, Effects::default());
    world.deliver();
    assert!(world.group(follower).is_level(), "it asked, and no time has passed");
}

#[test]
fn a_key_whose_time_ended_while_nobody_moved_the_clock_is_gone_for_reads_before_the_first_write() {
    fn nothing(_: NodeId, _: &Message) -> bool {
        false
    }
    fn what_commits(_: NodeId, message: &Message) -> bool {
        let Message::Consensus { envelope, .. } = message else { return false };
        matches!(envelope.message, consensus::Message::AppendReply { .. })
    }
    // The read's turn comes with the write, or while that is still on its way.
    for loses in [nothing, what_commits] {
        let mut world = World::new(nothing);
        let leader = world.elect();
        world.pipeline(leader, 0, &[(Kind::Write, &["SET", "k", "v", "PX", "100"])]);
        world.run(10);
        world.loses = loses;
        world.millis += 3_600_000;
        let calls: [(Kind, &[&str]); 2] =
            [(Kind::Read, &["GET", "k"]), (Kind::Write, &["SET", "other", "v"])];
        world.pipeline(leader, 10, &calls);
        world.loses = nothing;
        world.run(3_000);
        assert_eq!(world.reply(leader, 10), "$-1\r\n");
    }
}

const GET_TWICE: [(Kind, &[&str]); 2] =
    [(Kind::Read, &["GET", "k"]), (Kind::Read, &["STRLEN", "k"])];

#[test]
fn a_follower_answers_reads_itself_with_what_was_acknowledged_before() {
    let mut world = World::new(|_, message| matches!(message, Message::Forward { .. }));
    world.readonly = true;
    let leader = world.elect();
    let follower = world.follower(leader);
    for round in 0..10 {
        world.pipeline(leader, 2 * round, &[(Kind::Write, &["APPEND", "k", "x"])]);
        assert_eq!(world.reply(leader, 2 * round), format!(":{}\r\n", round + 1));
        let behind = world.group(follower).applied();
        assert!(behind < world.group(leader).applied(), "it has not heard of the commit");
        // Nothing is forwarded, and no time passes: the follower asks, and learns of the commit.
        world.pipeline(follower, 2 * round, &GET_TWICE);
        assert_eq!(world.reply(follower, 2 * round + 1), format!(":{}\r\n", round + 1));
    }
}

#[test]
fn one_question_serves_all_reads_of_a_turn() {
    let mut world = World::new(|_, message| matches!(message, Message::Forward { .. }));
    world.readonly = true;
    let leader = world.elect();
    let follower = world.follower(leader);
    world.dead.insert(leader);
    world.pipeline(follower, 0, &GET_TWICE.repeat(50));
    assert_eq!(world.replies.len(), 0, "the leader is dead, and nobody else is asked");
    world.dead.clear();
    world.pipeline(follower, 100, &GET_TWICE.repeat(50));
    assert_eq!(world.reply(follower, 199), ":0\r\n");
    let questions = |message: &&Message| matches!(message, Message::ReadIndex { .. });
    assert_eq!(world.said.iter().filter(questions).count(), 2);
}

#[test]
fn reads_that_nobody_answers_a_question_about_go_to_the_leader() {
    let mut world = World::new(|_, message| matches!(message, Message::ReadReady { .. }));
    world.readonly = true;
    let leader = world.elect();
    let follower = world.follower(leader);
    world.pipeline(leader, 0, &[(Kind::Write, &["SET", "k", "v"])]);
    world.pipeline(follower, 0, &GET_TWICE);
    assert!(!world.replies.contains_key(&(follower, Ticket(0))), "it waits");
    world.run(400);
    assert_eq!(world.reply(follower, 0), "$1\r\nv\r\n");
    assert_eq!(world.reply(follower, 1), ":1\r\n");
}

#[test]
fn reads_on_a_follower_whose_leader_dies_are_answered_under_the_next() {
    let mut world = World::new(|_, message| matches!(message, Message::ReadReady { .. }));
    world.readonly = true;
    let leader = world.elect();
    let follower = world.follower(leader);
    world.pipeline(leader, 0, &[(Kind::Write, &["SET", "k", "v"])]);
    world.pipeline(follower, 0, &GET_TWICE);
    world.dead.insert(leader);
    world.run(2_000);
    assert_eq!(world.reply(follower, 0), "$1\r\nv\r\n");
    assert_eq!(world.reply(follower, 1), ":1\r\n");
}

#[test]
fn a_read_on_a_follower_does_not_see_a_later_write_of_its_client() {
    let mut world = World::new(|_, message| {
        matches!(message, Message::ReadReady { .. } | Message::Answers { .. })
    });
    world.readonly = true;
    let leader = world.elect();
    let follower = world.follower(leader);
    let calls: [(Kind, &[&str]); 3] = [
        (Kind::Read, &["GET", "k"]),
        (Kind::Write, &["APPEND", "k", "2"]),
        (Kind::Write, &["APPEND", "k", "3"]),
    ];
    world.pipeline(follower, 0, &calls);
    world.run(200);
    let replies: Vec<&str> = (0..3).map(|ticket| world.reply(follower, ticket)).collect();
    assert_eq!(replies, ["$-1\r\n", ":1\r\n", ":2\r\n"]);
}

//! A peer that is confused, old or hostile may send anything that decodes. A replica may then agree
//! to nonsense, for Raft trusts its members, but it must not fall over: every message is answered,
//! ignored or followed, and the invariants of the replica itself hold.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Chunk, Config, Conflict, Effects, Entry, EntryKind, Envelope, Event, Index, Message, NodeId,
    Options, Replica, SnapshotMeta, Stored, Term, Token, raft,
};
use stdx::{Instant, Rng};

/// Small numbers meet each other often; a few are huge.
fn number(rng: &mut Rng) -> u64 {
    match rng.below(20) {
        0 => u64::MAX,
        1 => rng.next(),
        2 => u64::MAX - 1,
        _ => rng.below(12),
    }
}

fn index(rng: &mut Rng) -> Index {
    Index(number(rng))
}

fn nodes(rng: &mut Rng) -> BTreeSet<NodeId> {
    (0..rng.below(4)).map(|_| NodeId(rng.below(6) as u32)).collect()
}

fn meta(rng: &mut Rng) -> SnapshotMeta {
    let config = Config { voters: nodes(rng), outgoing: nodes(rng), learners: nodes(rng) };
    SnapshotMeta { index: index(rng), term: Term(number(rng)), config }
}

/// Entries that mostly follow `previous`.
fn entries(rng: &mut Rng, previous: Index, term: Term) -> Vec<Entry> {
    let mut entries = Vec::new();
    for at in 1..=rng.below(4) {
        let odd = rng.one_in(30);
        let index = if odd { index(rng) } else { Index(previous.0.wrapping_add(at)) };
        let term = if rng.one_in(30) { Term(number(rng)) } else { term };
        let (kind, data) = match rng.below(4) {
            0 => (EntryKind::Config, Config { voters: nodes(rng), ..Config::default() }.encode()),
            1 if odd => (EntryKind::Config, Bytes::from_static(b"\xff\xff")),
            2 => (EntryKind::Noop, Bytes::new()),
            _ => (EntryKind::Command, Bytes::from_static(b"x")),
        };
        entries.push(Entry { index, term, kind, data });
    }
    entries
}

fn message(rng: &mut Rng, term: Term) -> Message {
    let flag = |rng: &mut Rng| rng.one_in(2);
    match rng.below(10) {
        0 => Message::Vote {
            pre: flag(rng),
            force: flag(rng),
            last_index: index(rng),
            last_term: Term(number(rng)),
        },
        1 | 2 => Message::VoteReply { pre: flag(rng), granted: rng.below(4) > 0 },
        3 => {
            let previous_index = index(rng);
            let previous_term = if flag(rng) { term } else { Term(number(rng)) };
            let entries = entries(rng, previous_index, term);
            let (commit, held, sequence) = (index(rng), index(rng), number(rng));
            Message::Append { previous_index, previous_term, commit, held, sequence, entries }
        }
        4 => {
            let conflict = Conflict {
                rejected: index(rng),
                hint_index: index(rng),
                hint_term: Term(number(rng)),
            };
            let result = if flag(rng) { Ok(index(rng)) } else { Err(conflict) };
            Message::AppendReply { sequence: number(rng), result }
        }
        5 => {
            let (commit, sequence, hibernate) = (index(rng), number(rng), rng.one_in(2));
            Message::Heartbeat { commit, sequence, hibernate }
        }
        6 => Message::HeartbeatReply { sequence: number(rng) },
        7 => {
            let data = Bytes::from(vec![0; rng.below(3) as usize]);
            let offset = number(rng);
            Message::Snapshot {
                meta: meta(rng),
                offset,
                data,
                last: flag(rng),
                sequence: number(rng),
            }
        }
        8 => Message::SnapshotReply {
            snapshot: index(rng),
            offset: number(rng),
            done: flag(rng),
            refused: flag(rng),
            sequence: number(rng),
        },
        _ => Message::TimeoutNow,
    }
}

/// One replica, and a state machine that keeps what a snapshot must say.
struct Target {
    replica: raft::Replica,
    now: Instant,
    rng: Rng,
    applied: SnapshotMeta,
    saved: u64,
    installing: Option<SnapshotMeta>,
    token: u64,
}

impl Target {
    fn new(seed: u64) -> Target {
        let mut rng = Rng::new(seed);
        let config = Config::of((1..=[1, 3, 4][rng.below(3) as usize]).map(NodeId));
        let snapshot = SnapshotMeta { config, ..SnapshotMeta::default() };
        let stored = Stored { snapshot: snapshot.clone(), ..Stored::default() };
        let options = Options {
            heartbeat_interval: Duration::from_millis(20),
            election_timeout: Duration::from_millis(100),
            inflight_max: 2,
            tail_bytes_max: 200,
            uncommitted_bytes_max: 1_000,
            ..Options::new(NodeId(1), seed)
        };
        let now = Instant(1_000_000);
        let replica = raft::Replica::new(options, stored, now).expect("an empty log is sound");
        Target { replica, now, rng, applied: snapshot, saved: 0, installing: None, token: 0 }
    }

    fn event(&mut self) -> Event {
        self.token += 1;
        let token = Token(self.token);
        let (_, term, leader) = self.replica.standing();
        let rng = &mut self.rng;
        match rng.below(16) {
            0 => Event::Tick,
            1 => Event::Propose { token, data: Bytes::from_static(b"own") },
            2 => Event::Read { token },
            3 => Event::Configure { token, voters: nodes(rng), learners: nodes(rng) },
            4 => Event::Transfer { target: NodeId(rng.below(6) as u32) },
            5 => Event::Flush,
            6 => Event::Saved(self.saved),
            7 => Event::Compact(self.applied.clone()),
            8 => Event::Fetched {
                target: NodeId(rng.below(6) as u32),
                snapshot: self.applied.index,
                offset: number(rng),
                data: Bytes::from_static(b"part"),
                last: rng.one_in(2),
            },
            9 => {
                let snapshot = self.installing.as_ref().map_or(Index(1), |meta| meta.index);
                Event::Installed { snapshot, ok: rng.one_in(2) }
            }
            _ => {
                let term = match rng.below(8) {
                    0 => Term(number(rng)),
                    1 | 2 => Term(term.0 + 1),
                    _ => term,
                };
                let other = NodeId(rng.below(6) as u32);
                let source = leader.filter(|_| rng.one_in(2)).unwrap_or(other);
                let target = NodeId(1);
                Event::Recv(Envelope { source, target, term, message: message(rng, term) })
            }
        }
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(self.rng.below(30));
        let event = self.event();
        let installed = match &event {
            Event::Installed { ok, .. } => self.installing.take().filter(|_| *ok),
            _ => None,
        };
        let mut out = Effects::default();
        self.replica.step(self.now, event, &mut out);
        self.replica.check();
        if let Some(meta) = installed {
            self.applied = meta;
        }
        if !out.save.is_empty() {
            self.saved = out.save_number;
        }
        for entry in &out.apply {
            assert_eq!(entry.index.0, self.applied.index.0 + 1, "each is applied once, in order");
            (self.applied.index, self.applied.term) = (entry.index, entry.term);
            if entry.kind == EntryKind::Config {
                self.applied.config = Config::decode(&entry.data).expect("it was looked at");
            }
        }
        for Chunk { meta, last, .. } in out.install {
            self.installing = last.then_some(meta);
        }
    }
}

#[test]
fn no_message_makes_a_replica_fall_over() {
    for seed in 0..1_000 {
        let mut target = Target::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..1_000 {
                target.step();
            }
        }));
        assert!(run.is_ok(), "seed {seed} failed");
    }
}

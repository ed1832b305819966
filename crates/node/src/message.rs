//! What nodes say to each other, as values and as bytes.
//!
//! ```text
//! message:   kind │ body                         framing, checksum and authentication: the driver
//! forward:   group, term │ request, request …    request: number, flags, retry, length, operation
//! read:      group, term, question  ─▶  group, question, index
//! answers:   group │ answer, answer …            answer: number, length, RESP bytes
//! ```
//!
//! Decoding refuses with `Malformed`; what was decoded is well-formed, not yet believed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Config, Conflict, Entry, EntryKind, Envelope, Index, Message as Speech, NodeId, SnapshotMeta,
    Term,
};
use keyspace::Publish;
use stdx::codec::{Malformed, Reader, put_bytes, put_varint};

use crate::map::Map;

/// One group of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The group that agrees on the map. Shards have lower numbers.
    pub const META: GroupId = GroupId(1 << 16);
}

/// From one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Between the replicas of a group.
    Consensus { group: GroupId, envelope: Envelope },
    /// Requests of the sender's clients, for whoever leads in `term`. Without any, the sender only
    /// wants to know soon what is committed.
    Forward { group: GroupId, term: Term, requests: Vec<Forwarded> },
    /// Answers to forwarded requests, of a state at `applied` or before.
    Answers { group: GroupId, applied: Index, answers: Vec<Answer> },
    /// How far must a replica have come to answer what was read before this was asked? For whoever
    /// leads in `term`.
    ReadIndex { group: GroupId, term: Term, question: u64 },
    /// As far as this.
    ReadReady { group: GroupId, question: u64, index: Index },
    /// For subscribers.
    Publish(Vec<Publish>),
    /// The sender is alive, and how it is.
    Health(Health),
    /// The sender does not lead in that term: who does, as far as it knows.
    Astray { group: GroupId, term: Term, leader: Option<NodeId> },
    /// Who the nodes are: a newer map than the receiver's.
    Map(Arc<Map>),
}

/// A request on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The gateway's number for it, ever growing.
    pub number: u64,
    pub kind: Kind,
    /// The same client has asked for something before that is not answered yet.
    pub after: bool,
    /// Of a guest, which sent it before, to a leader of an earlier term: it may have been applied,
    /// behind this place in the log.
    pub retry: Option<Index>,
    /// An encoded operation (`keyspace::op`) with the gateway's origin.
    pub op: Vec<u8>,
}

/// Does a request go through the log?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
}

/// The reply to a forwarded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub number: u64,
    pub reply: Vec<u8>,
    /// The leader of this term has not taken it. That says nothing of what a later one does: whoever has
    /// asked that one since waits on.
    pub refused: Option<Term>,
}

/// How a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub pid: u32,
    /// Where clients reach it.
    pub addr: String,
    /// Operations of its own clients since it started.
    pub operations: u64,
    /// For each replica that it has: how far it has applied.
    pub applied: Vec<(GroupId, Index)>,
    /// Those of its replicas that it is not to have, and that owe nothing to its clients.
    pub free: Vec<GroupId>,
    /// The groups that it leads.
    pub leads: Vec<Leads>,
    /// The version of the map that it knows.
    pub map: u64,
    /// How long what is asked of it waits for its disk, or for its loop to come to it.
    pub delay: Duration,
    /// Its disk has no room: it takes no writes, and cannot save a vote.
    pub full: bool,
    /// The nodes whose words come so irregularly that they had better not lead.
    pub unsteady: Vec<NodeId>,
    /// The number of its start: what an earlier one asked for nobody waits for any more.
    pub boot: u64,
}

/// A group, as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leads {
    pub group: GroupId,
    pub term: Term,
    /// All who receive its log; nobody, if it does not know yet who was agreed on.
    pub members: BTreeSet<NodeId>,
    /// Bytes of its newest snapshot.
    pub bytes: u64,
}

const CONSENSUS: u8 = 1;
const FORWARD: u8 = 2;
const ANSWERS: u8 = 3;
const PUBLISH: u8 = 4;
const HEALTH: u8 = 5;
const READ_INDEX: u8 = 6;
const READ_READY: u8 = 7;
const ASTRAY: u8 = 8;
const MAP: u8 = 9;

impl Message {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Message::Consensus { group, envelope } => {
                out.push(CONSENSUS);
                put_varint(out, u64::from(group.0));
                put_envelope(out, envelope);
            }
            Message::Forward { group, term, requests } => {
                out.push(FORWARD);
                put_varint(out, u64::from(group.0));
                put_varint(out, term.0);
                put_varint(out, requests.len() as u64);
                for Forwarded { number, kind, after, retry, op } in requests {
                    put_varint(out, *number);
                    let write = u8::from(*kind == Kind::Write);
                    out.push(write | u8::from(*after) << 1 | u8::from(retry.is_some()) << 2);
                    if let Some(floor) = retry {
                        put_varint(out, floor.0);
                    }
                    put_bytes(out, op);
                }
            }
            Message::Answers { group, applied, answers } => {
                out.push(ANSWERS);
                put_varint(out, u64::from(group.0));
                put_varint(out, applied.0);
                put_varint(out, answers.len() as u64);
                for Answer { number, reply, refused } in answers {
                    put_varint(out, *number);
                    put_varint(out, refused.map_or(0, |term| term.0 + 1));
                    put_bytes(out, reply);
                }
            }
            Message::ReadIndex { group, term, question } => {
                out.push(READ_INDEX);
                put_varint(out, u64::from(group.0));
                put_varint(out, term.0);
                put_varint(out, *question);
            }
            Message::ReadReady { group, question, index } => {
                out.push(READ_READY);
                put_varint(out, u64::from(group.0));
                put_varint(out, *question);
                put_varint(out, index.0);
            }
            Message::Publish(list) => {
                out.push(PUBLISH);
                put_varint(out, list.len() as u64);
                for Publish { channel, message, shard } in list {
                    out.push(u8::from(*shard));
                    put_bytes(out, channel);
                    put_bytes(out, message);
                }
            }
            Message::Health(health) => {
                out.push(HEALTH);
                put_health(out, health);
            }
            Message::Astray { group, term, leader } => {
                out.push(ASTRAY);
                put_varint(out, u64::from(group.0));
                put_varint(out, term.0);
                put_varint(out, leader.map_or(0, |node| u64::from(node.0)));
            }
            Message::Map(map) => {
                out.push(MAP);
                map.encode(out);
            }
        }
    }

    /// Reads one message, which must fill `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Message, Malformed> {
        let mut reader = Reader::new(bytes);
        let message = match reader.byte()? {
            CONSENSUS => {
                let group = read_group(&mut reader)?;
                Message::Consensus { group, envelope: read_envelope(&mut reader, bytes)? }
            }
            FORWARD => {
                let group = read_group(&mut reader)?;
                let term = Term(reader.varint()?);
                let requests = reader.list(read_forwarded)?;
                Message::Forward { group, term, requests }
            }
            ANSWERS => {
                let group = read_group(&mut reader)?;
                let applied = Index(reader.varint()?);
                let answers = reader.list(|reader| {
                    let number = reader.varint()?;
                    let refused = reader.varint()?.checked_sub(1).map(Term);
                    Ok(Answer { number, reply: reader.bytes()?.to_vec(), refused })
                })?;
                Message::Answers { group, applied, answers }
            }
            READ_INDEX => Message::ReadIndex {
                group: read_group(&mut reader)?,
                term: Term(reader.varint()?),
                question: reader.varint()?,
            },
            READ_READY => Message::ReadReady {
                group: read_group(&mut reader)?,
                question: reader.varint()?,
                index: Index(reader.varint()?),
            },
            PUBLISH => Message::Publish(reader.list(|reader| {
                let shard = reader.byte()? == 1;
                let channel = reader.bytes()?.to_vec();
                Ok(Publish { channel, message: reader.bytes()?.to_vec(), shard })
            })?),
            HEALTH => Message::Health(read_health(&mut reader)?),
            ASTRAY => {
                let group = read_group(&mut reader)?;
                let term = Term(reader.varint()?);
                let leader = Some(read_node(&mut reader)?).filter(|node| node.0 > 0);
                Message::Astray { group, term, leader }
            }
            MAP => {
                let map = Map::decode(reader.take(reader.remaining())?)?;
                Message::Map(Arc::new(map))
            }
            _ => return Err(reader.malformed()),
        };
        if reader.is_empty() { Ok(message) } else { Err(reader.malformed()) }
    }
}

fn read_group(reader: &mut Reader<'_>) -> Result<GroupId, Malformed> {
    reader.varint32().map(GroupId)
}

fn read_node(reader: &mut Reader<'_>) -> Result<NodeId, Malformed> {
    reader.varint32().map(NodeId)
}

fn read_forwarded(reader: &mut Reader<'_>) -> Result<Forwarded, Malformed> {
    let number = reader.varint()?;
    let flags = reader.byte()?;
    if flags > 7 {
        return Err(reader.malformed());
    }
    let kind = if flags & 1 != 0 { Kind::Write } else { Kind::Read };
    let retry = if flags & 4 != 0 { Some(Index(reader.varint()?)) } else { None };
    Ok(Forwarded { number, kind, after: flags & 2 != 0, retry, op: reader.bytes()?.to_vec() })
}

fn put_health(out: &mut Vec<u8>, health: &Health) {
    put_varint(out, u64::from(health.pid));
    put_bytes(out, health.addr.as_bytes());
    put_varint(out, health.operations);
    put_varint(out, health.applied.len() as u64);
    for (group, index) in &health.applied {
        put_varint(out, u64::from(group.0));
        put_varint(out, index.0);
    }
    put_varint(out, health.free.len() as u64);
    health.free.iter().for_each(|group| put_varint(out, u64::from(group.0)));
    put_varint(out, health.leads.len() as u64);
    for Leads { group, term, members, bytes } in &health.leads {
        put_varint(out, u64::from(group.0));
        put_varint(out, term.0);
        put_varint(out, members.len() as u64);
        members.iter().for_each(|node| put_varint(out, u64::from(node.0)));
        put_varint(out, *bytes);
    }
    put_varint(out, health.map);
    put_varint(out, u64::try_from(health.delay.as_micros()).unwrap_or(u64::MAX));
    out.push(u8::from(health.full));
    put_varint(out, health.unsteady.len() as u64);
    health.unsteady.iter().for_each(|node| put_varint(out, u64::from(node.0)));
    put_varint(out, health.boot);
}

fn read_health(reader: &mut Reader<'_>) -> Result<Health, Malformed> {
    let pid = reader.varint32()?;
    let addr = String::from_utf8_lossy(reader.bytes()?).into_owned();
    let operations = reader.varint()?;
    let applied = reader.list(|reader| Ok((read_group(reader)?, Index(reader.varint()?))))?;
    let free = reader.list(read_group)?;
    let leads = reader.list(|reader| {
        let (group, term) = (read_group(reader)?, Term(reader.varint()?));
        let members = reader.list(read_node)?.into_iter().collect();
        Ok(Leads { group, term, members, bytes: reader.varint()? })
    })?;
    let map = reader.varint()?;
    let delay = Duration::from_micros(reader.varint()?);
    let full = reader.byte()? == 1;
    let unsteady = reader.list(read_node)?;
    let boot = reader.varint()?;
    Ok(Health { pid, addr, operations, applied, free, leads, map, delay, full, unsteady, boot })
}

const VOTE: u8 = 1;
const VOTE_REPLY: u8 = 2;
const APPEND: u8 = 3;
const APPEND_OK: u8 = 4;
const APPEND_CONFLICT: u8 = 5;
const HEARTBEAT: u8 = 6;
const HEARTBEAT_REPLY: u8 = 7;
const SNAPSHOT: u8 = 8;
const SNAPSHOT_REPLY: u8 = 9;
const TIMEOUT_NOW: u8 = 10;

fn put_envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    put_varint(out, u64::from(envelope.source.0));
    put_varint(out, u64::from(envelope.target.0));
    put_varint(out, envelope.term.0);
    match &envelope.message {
        Speech::Vote { pre, force, last_index, last_term } => {
            out.push(VOTE);
            out.push(u8::from(*pre) | u8::from(*force) << 1);
            put_varint(out, last_index.0);
            put_varint(out, last_term.0);
        }
        Speech::VoteReply { pre, granted } => {
            out.push(VOTE_REPLY);
            out.push(u8::from(*pre) | u8::from(*granted) << 1);
        }
        Speech::Append { previous_index, previous_term, commit, held, sequence, entries } => {
            out.push(APPEND);
            put_varint(out, previous_index.0);
            put_varint(out, previous_term.0);
            put_varint(out, commit.0);
            put_varint(out, held.0);
            put_varint(out, *sequence);
            put_varint(out, entries.len() as u64);
            entries.iter().for_each(|entry| put_entry(out, entry));
        }
        Speech::AppendReply { sequence, result: Ok(matched) } => {
            out.push(APPEND_OK);
            put_varint(out, *sequence);
            put_varint(out, matched.0);
        }
        Speech::AppendReply { sequence, result: Err(conflict) } => {
            out.push(APPEND_CONFLICT);
            put_varint(out, *sequence);
            put_varint(out, conflict.rejected.0);
            put_varint(out, conflict.hint_index.0);
            put_varint(out, conflict.hint_term.0);
        }
        Speech::Heartbeat { commit, sequence, hibernate } => {
            out.push(HEARTBEAT);
            put_varint(out, commit.0);
            put_varint(out, *sequence);
            out.push(u8::from(*hibernate));
        }
        Speech::HeartbeatReply { sequence } => {
            out.push(HEARTBEAT_REPLY);
            put_varint(out, *sequence);
        }
        Speech::Snapshot { meta, offset, data, last, sequence } => {
            out.push(SNAPSHOT);
            put_meta(out, meta);
            put_varint(out, *offset);
            out.push(u8::from(*last));
            put_varint(out, *sequence);
            put_bytes(out, data);
        }
        Speech::SnapshotReply { snapshot, offset, done, refused, sequence } => {
            out.push(SNAPSHOT_REPLY);
            put_varint(out, snapshot.0);
            put_varint(out, *offset);
            out.push(u8::from(*done) | u8::from(*refused) << 1);
            put_varint(out, *sequence);
        }
        Speech::TimeoutNow => out.push(TIMEOUT_NOW),
    }
}

fn read_envelope(reader: &mut Reader<'_>, whole: &Bytes) -> Result<Envelope, Malformed> {
    let source = read_node(reader)?;
    let target = read_node(reader)?;
    let term = Term(reader.varint()?);
    let message = match reader.byte()? {
        VOTE => {
            let (pre, force) = read_two(reader)?;
            let last_index = Index(reader.varint()?);
            Speech::Vote { pre, force, last_index, last_term: Term(reader.varint()?) }
        }
        VOTE_REPLY => {
            let (pre, granted) = read_two(reader)?;
            Speech::VoteReply { pre, granted }
        }
        APPEND => Speech::Append {
            previous_index: Index(reader.varint()?),
            previous_term: Term(reader.varint()?),
            commit: Index(reader.varint()?),
            held: Index(reader.varint()?),
            sequence: reader.varint()?,
            entries: reader.list(|reader| read_entry(reader, whole))?,
        },
        APPEND_OK => {
            let sequence = reader.varint()?;
            Speech::AppendReply { sequence, result: Ok(Index(reader.varint()?)) }
        }
        APPEND_CONFLICT => {
            let sequence = reader.varint()?;
            let conflict = Conflict {
                rejected: Index(reader.varint()?),
                hint_index: Index(reader.varint()?),
                hint_term: Term(reader.varint()?),
            };
            Speech::AppendReply { sequence, result: Err(conflict) }
        }
        HEARTBEAT => {
            let (commit, sequence) = (Index(reader.varint()?), reader.varint()?);
            Speech::Heartbeat { commit, sequence, hibernate: reader.byte()? == 1 }
        }
        HEARTBEAT_REPLY => Speech::HeartbeatReply { sequence: reader.varint()? },
        SNAPSHOT => {
            let meta = read_meta(reader)?;
            let offset = reader.varint()?;
            let last = reader.byte()? == 1;
            let sequence = reader.varint()?;
            let data = whole.slice_ref(reader.bytes()?);
            Speech::Snapshot { meta, offset, data, last, sequence }
        }
        SNAPSHOT_REPLY => {
            let snapshot = Index(reader.varint()?);
            let offset = reader.varint()?;
            let (done, refused) = read_two(reader)?;
            Speech::SnapshotReply { snapshot, offset, done, refused, sequence: reader.varint()? }
        }
        TIMEOUT_NOW => Speech::TimeoutNow,
        _ => return Err(reader.malformed()),
    };
    Ok(Envelope { source, target, term, message })
}

fn read_two(reader: &mut Reader<'_>) -> Result<(bool, bool), Malformed> {
    let flags = reader.byte()?;
    if flags > 3 { Err(reader.malformed()) } else { Ok((flags & 1 != 0, flags & 2 != 0)) }
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    put_varint(out, entry.index.0);
    put_varint(out, entry.term.0);
    out.push(kind_byte(entry.kind));
    put_bytes(out, &entry.data);
}

fn read_entry(reader: &mut Reader<'_>, whole: &Bytes) -> Result<Entry, Malformed> {
    let index = Index(reader.varint()?);
    let term = Term(reader.varint()?);
    let kind = reader.byte()?;
    let kind = kind_of(kind).ok_or_else(|| reader.malformed())?;
    Ok(Entry { index, term, kind, data: whole.slice_ref(reader.bytes()?) })
}

/// An entry's kind as logs and messages write it.
pub fn kind_byte(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Command => 0,
        EntryKind::Noop => 1,
        EntryKind::Config => 2,
    }
}

/// What `kind_byte` wrote.
pub fn kind_of(byte: u8) -> Option<EntryKind> {
    match byte {
        0 => Some(EntryKind::Command),
        1 => Some(EntryKind::Noop),
        2 => Some(EntryKind::Config),
        _ => None,
    }
}

/// Appends what a snapshot's file says about itself.
pub fn put_meta(out: &mut Vec<u8>, meta: &SnapshotMeta) {
    put_varint(out, meta.index.0);
    put_varint(out, meta.term.0);
    meta.config.encode_to(out);
}

/// Reads what `put_meta` wrote.
pub fn read_meta(reader: &mut Reader<'_>) -> Result<SnapshotMeta, Malformed> {
    let index = Index(reader.varint()?);
    let term = Term(reader.varint()?);
    Ok(SnapshotMeta { index, term, config: Config::decode_from(reader)? })
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn check(message: Message) {
        let mut out = Vec::new();
        message.encode(&mut out);
        let bytes = Bytes::from(out);
        assert_eq!(Message::decode(&bytes), Ok(message));
        for cut in 0..bytes.len() {
            assert!(Message::decode(&bytes.slice(..cut)).is_err(), "cut at {cut} of {bytes:?}");
        }
    }

    fn speech(message: Speech) -> Message {
        let (source, target) = (NodeId(3), NodeId(900));
        let envelope = Envelope { source, target, term: Term(70_000), message };
        Message::Consensus { group: GroupId(5), envelope }
    }

    #[test]
    fn everything_said_comes_back_and_what_is_cut_short_is_refused() {
        let (last_index, last_term, sequence) = (Index(300), Term(4), 12);
        check(speech(Speech::Vote { pre: true, force: false, last_index, last_term }));
        check(speech(Speech::VoteReply { pre: false, granted: true }));
        check(speech(Speech::AppendReply { sequence, result: Ok(Index(1)) }));
        let conflict = Conflict { rejected: Index(1), hint_index: Index(2), hint_term: Term(3) };
        check(speech(Speech::AppendReply { sequence, result: Err(conflict) }));
        check(speech(Speech::Heartbeat { commit: Index(1 << 40), sequence, hibernate: true }));
        check(speech(Speech::HeartbeatReply { sequence }));
        let nodes = |ids: [u32; 2]| BTreeSet::from(ids.map(NodeId));
        let config =
            Config { voters: nodes([1, 2]), outgoing: nodes([2, 4]), learners: nodes([3, 5]) };
        let meta = SnapshotMeta { index: Index(5), term: Term(1), config };
        let data = Bytes::from_static(b"part");
        check(speech(Speech::Snapshot { meta, offset: 4, data, last: true, sequence }));
        check(speech(Speech::SnapshotReply {
            snapshot: Index(5),
            offset: 8,
            done: false,
            refused: true,
            sequence,
        }));
        check(speech(Speech::TimeoutNow));
        let op = b"op".to_vec();
        let (number, kind, retry) = (1 << 41, Kind::Write, Some(Index(70_000)));
        let requests = vec![Forwarded { number, kind, after: true, retry, op }];
        check(Message::Forward { group: GroupId(0), term: Term(1), requests });
        let answers =
            vec![Answer { number: 6, reply: b"+OK\r\n".to_vec(), refused: Some(Term(0)) }];
        check(Message::Answers { group: GroupId(0), applied: Index(300), answers });
        check(Message::ReadIndex { group: GroupId(9), term: Term(4), question: 1 << 41 });
        check(Message::ReadReady { group: GroupId(9), question: 1 << 41, index: Index(500) });
        let (channel, message) = (b"c".to_vec(), b"m".to_vec());
        check(Message::Publish(vec![Publish { channel, message, shard: true }]));
        let applied = vec![(GroupId(0), Index(7))];
        let addr = "127.0.0.1:7379".to_owned();
        let members = BTreeSet::from([NodeId(2), NodeId(4)]);
        let leads = vec![Leads { group: GroupId::META, term: Term(3), members, bytes: 5 }];
        let (pid, operations, map, delay) = (77, 1 << 33, 12, Duration::from_micros(1_234));
        let (unsteady, boot) = (vec![NodeId(3)], 900);
        let free = vec![GroupId(7)];
        let full = true;
        let health = Health {
            pid,
            addr,
            operations,
            applied,
            free,
            leads,
            map,
            delay,
            full,
            unsteady,
            boot,
        };
        check(Message::Health(health));
        let (group, term) = (GroupId(4), Term(9));
        check(Message::Astray { group, term, leader: None });
        check(Message::Astray { group, term, leader: Some(NodeId(3)) });
        let founders = [("a:1".to_owned(), [1; 16])];
        let map = Map::founding(hashring::Shards::new(2).unwrap(), 3, &founders).unwrap();
        check(Message::Map(Arc::new(map)));
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let kinds = prop_oneof![Just(EntryKind::Command), Just(EntryKind::Config)];
        (any::<u64>(), any::<u64>(), kinds, vec(any::<u8>(), 0..40)).prop_map(
            |(index, term, kind, data)| Entry {
                index: Index(index),
                term: Term(term),
                kind,
                data: data.into(),
            },
        )
    }

    fn nodes() -> impl Strategy<Value = BTreeSet<NodeId>> {
        btree_set(any::<u32>().prop_map(NodeId), 1..5)
    }

    proptest! {
        #[test]
        fn entries_of_any_kind_and_number_come_back(
            numbers: [u64; 5],
            entries in vec(entry(), 0..6),
        ) {
            let [previous, term, commit, held, sequence] = numbers;
            check(speech(Speech::Append {
                previous_index: Index(previous),
                previous_term: Term(term),
                commit: Index(commit),
                held: Index(held),
                sequence,
                entries,
            }));
        }

        #[test]
        fn a_snapshot_comes_back_with_the_members_it_knows(
            numbers: [u64; 4],
            voters in nodes(),
            learner: u32,
            data in vec(any::<u8>(), 0..60),
            last: bool,
        ) {
            let [index, term, offset, sequence] = numbers;
            // Who votes does not learn.
            let learners = BTreeSet::from([NodeId(learner)]);
            let learners = learners.difference(&voters).copied().collect();
            let config = Config { outgoing: voters.clone(), voters, learners };
            let meta = SnapshotMeta { index: Index(index), term: Term(term), config };
            let data = Bytes::from(data);
            check(speech(Speech::Snapshot { meta, offset, data, last, sequence }));
        }

        #[test]
        fn requests_and_answers_of_any_length_come_back(
            number: u64,
            after: bool,
            write: bool,
            texts in vec(vec(any::<u8>(), 0..40), 0..6),
        ) {
            let kind = if write { Kind::Write } else { Kind::Read };
            let retry = after.then_some(Index(number));
            let request = |op: &Vec<u8>| Forwarded { number, kind, after, retry, op: op.clone() };
            let requests = texts.iter().map(request).collect();
            check(Message::Forward { group: GroupId(3), term: Term(number), requests });
            let answer = |reply: &Vec<u8>| Answer { number, reply: reply.clone(), refused: None };
            let answers = texts.iter().map(answer).collect();
            check(Message::Answers { group: GroupId(3), applied: Index(number), answers });
        }
    }

    #[test]
    fn a_wild_count_is_refused_and_reserves_nothing() {
        let mut out = vec![ANSWERS, 0, 0];
        put_varint(&mut out, u64::MAX >> 1);
        assert!(Message::decode(&Bytes::from(out)).is_err());
    }
}

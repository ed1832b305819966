//! What a shard remembers of transactions: part of its state, and in its snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use stdx::codec::{Malformed, Reader, put_bytes, put_varint};
use stdx::{Millis, planted};
use wire::{ArgsBuf, Proto};

use super::TxnId;
use super::codec::{put_id, put_list, read_id};
use super::locks::{Access, Locks, Want};
use super::queue::Queue;
use crate::command;
use crate::db::Entry;
use crate::op::{self, Body, Op, Origin, put_args, read_owned};
use crate::shard::{Publish, Shard};
use crate::snapshot::{put_value, read_value};

/// Everything about transactions in one shard.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(super) locks: Locks,
    pub(super) prepared: BTreeMap<TxnId, Prepared>,
    /// Committed, but perhaps not known to be so everywhere.
    pub(super) committed: BTreeMap<TxnId, Committed>,
    /// A `Prepare` of these that comes late is refused, as is any from below the floor.
    pub(super) aborted: BTreeSet<TxnId>,
    /// Operations that wait for locked keys, by the number of the operation: in order of arrival.
    pub(super) parked: BTreeMap<u64, Parked>,
    /// What the calls among them need.
    queue: Queue,
    /// The present operation has freed something.
    pub(super) freed: bool,
}

/// A transaction that this participant has agreed to.
#[derive(Debug)]
pub(super) struct Prepared {
    pub participants: Vec<u32>,
    pub since: Millis,
    pub wants: Vec<Want>,
    pub stage: Stage,
}

/// What is ready for the commit.
#[derive(Debug)]
pub(super) enum Stage {
    /// The calls have run.
    Overlay { writes: Vec<Write>, replies: Vec<Vec<u8>>, publish: Vec<Publish> },
    /// The calls run when it is committed: the whole shard is locked till then.
    Deferred { proto: Proto, calls: Vec<(u8, ArgsBuf)> },
    /// The calls have run, and change nothing: the whole shard is locked.
    Survey { replies: Vec<Vec<u8>> },
}

/// A key as the transaction leaves it: absent without an entry.
#[derive(Debug)]
pub(super) struct Write {
    pub db: u8,
    pub key: Vec<u8>,
    pub entry: Option<Entry>,
}

#[derive(Debug)]
pub(super) struct Committed {
    pub participants: Vec<u32>,
    pub since: Millis,
    /// Of calls that ran at the commit, for a `Decide` that is repeated.
    pub replies: Vec<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Parked {
    pub op: Op,
    /// Where its reply goes: its own origin, or one that stands for its number.
    pub origin: Origin,
}

impl Parked {
    /// Is it a call that may wait for a key?
    pub(super) fn may_wait(&self) -> bool {
        matches!(&self.op.body, Body::Call { args, .. } if command::may_wait(args.args()))
    }
}

/// How a transaction stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Prepared,
    Committed,
    Aborted,
}

/// A transaction that is not over, to be shown or recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    pub txn: TxnId,
    pub standing: Standing,
    pub participants: Vec<u32>,
    /// The log's clock when it was prepared or committed here.
    pub since: Millis,
    /// Keys that it has locked.
    pub keys: usize,
}

impl Book {
    /// The transactions that have locked anything.
    pub(super) fn holders(&self) -> impl Iterator<Item = TxnId> {
        let locks = |prepared: &Prepared| !prepared.wants.is_empty() || prepared.stage.locks_all();
        self.prepared.iter().filter(move |(_, prepared)| locks(prepared)).map(|(txn, _)| *txn)
    }

    /// Does anything stand in the way of anybody?
    pub(crate) fn is_locking(&self) -> bool {
        !self.locks.is_empty()
    }

    /// Has a transaction locked this key?
    pub(crate) fn has_locked(&self, db: usize, key: &[u8]) -> bool {
        self.locks.has(db as u8, key)
    }

    /// Frees what the transaction has locked.
    pub(super) fn free(&mut self, txn: TxnId, wants: &[Want]) {
        self.locks.free(txn, wants);
        self.freed = true;
    }

    /// Does a call that came before need this?
    pub(super) fn is_queued(&self, want: &Want) -> bool {
        self.queue.obstructs(want)
    }

    /// An operation waits at this place.
    pub(super) fn park(&mut self, number: u64, parked: Parked) {
        self.queue.add(Shard::wants_of_body(&parked.op.body).unwrap_or_default());
        self.parked.insert(number, parked);
    }

    /// It waits no longer.
    pub(super) fn unpark(&mut self, number: u64) -> Option<Parked> {
        let parked = self.parked.remove(&number)?;
        self.queue.remove(Shard::wants_of_body(&parked.op.body).unwrap_or_default());
        Some(parked)
    }

    /// The places of those that are parked. Each is to be taken out and tried, or parked again, in this order:
    /// until then it is in nobody's way.
    pub(super) fn start_over(&mut self) -> Vec<u64> {
        self.queue = Queue::default();
        self.parked.keys().copied().collect()
    }

    /// How many operations are parked.
    pub(crate) fn parked_len(&self) -> usize {
        self.parked.len()
    }

    pub(super) fn standing(&self, txn: TxnId) -> Option<Standing> {
        if self.prepared.contains_key(&txn) {
            Some(Standing::Prepared)
        } else if self.committed.contains_key(&txn) {
            Some(Standing::Committed)
        } else {
            self.aborted.contains(&txn).then_some(Standing::Aborted)
        }
    }

    /// Is there any that is not over?
    pub(crate) fn has_doubts(&self) -> bool {
        !(self.prepared.is_empty() && self.committed.is_empty())
    }

    /// The transactions that are not over, the oldest first.
    pub(crate) fn doubts(&self) -> impl Iterator<Item = Doubt> {
        let prepared = self.prepared.iter().map(|(txn, one)| {
            let (standing, keys) = (Standing::Prepared, one.wants.len());
            let participants = one.participants.clone();
            Doubt { txn: *txn, standing, participants, since: one.since, keys }
        });
        let committed = self.committed.iter().map(|(txn, one)| {
            let (standing, keys) = (Standing::Committed, 0);
            let participants = one.participants.clone();
            Doubt { txn: *txn, standing, participants, since: one.since, keys }
        });
        prepared.chain(committed)
    }

    /// Drops what the transaction's gateway no longer asks for, and what is below the floor.
    pub(super) fn forget_done(&mut self, node: u32, done: &Range<u64>, floor: Millis) {
        let all = planted!("done-below-a-restart");
        let is_done = |number| done.contains(&number) || all && number < done.end;
        self.committed.retain(|txn, _| txn.node != node || !is_done(txn.number));
        while self.aborted.first().is_some_and(|txn| txn.born < floor) {
            self.aborted.pop_first();
        }
    }

    /// Asserts what must always hold.
    pub(crate) fn check(&self) {
        self.locks.holders(|txn| {
            assert!(self.prepared.contains_key(&txn), "an orphan lock of {txn:?}");
        });
        for txn in self.prepared.keys() {
            assert!(!self.committed.contains_key(txn), "{txn:?} is prepared and committed");
            assert!(!self.aborted.contains(txn), "{txn:?} is prepared and aborted");
        }
        for txn in self.committed.keys() {
            assert!(!self.aborted.contains(txn), "{txn:?} is committed and aborted");
        }
        assert!(self.parked.is_empty() || self.is_locking(), "parked with nothing locked");
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        put_varint(out, self.prepared.len() as u64);
        for (txn, prepared) in &self.prepared {
            put_id(out, txn);
            put_prepared(out, prepared);
        }
        put_varint(out, self.committed.len() as u64);
        for (txn, Committed { participants, since, replies }) in &self.committed {
            put_id(out, txn);
            put_list(out, participants, |out, group| put_varint(out, u64::from(*group)));
            put_varint(out, since.0);
            put_list(out, replies, |out, reply| put_bytes(out, reply));
        }
        put_varint(out, self.aborted.len() as u64);
        self.aborted.iter().for_each(|txn| put_id(out, txn));
        put_varint(out, self.parked.len() as u64);
        for (number, Parked { op, origin }) in &self.parked {
            put_varint(out, *number);
            put_varint(out, u64::from(origin.node));
            put_varint(out, origin.number);
            op::put_op(out, op);
        }
    }

    pub(crate) fn load(reader: &mut Reader<'_>) -> Result<Book, Malformed> {
        let mut book = Book::default();
        for _ in 0..reader.length()? {
            let (txn, prepared) = (read_id(reader)?, read_prepared(reader)?);
            let malformed = reader.malformed();
            book.lock(txn, &prepared).ok_or(malformed)?;
            book.prepared.insert(txn, prepared);
        }
        for _ in 0..reader.length()? {
            let txn = read_id(reader)?;
            let participants = reader.list(Reader::varint32)?;
            let since = Millis(reader.varint()?);
            let replies = reader.list(|reader| Ok(reader.bytes()?.to_vec()))?;
            book.committed.insert(txn, Committed { participants, since, replies });
        }
        book.aborted.extend(reader.list(read_id)?);
        for _ in 0..reader.length()? {
            let number = reader.varint()?;
            let origin = Origin { node: reader.varint32()?, number: reader.varint()? };
            let head = op::read_head(reader)?;
            let body = op::read_body(reader, head)?;
            let op = Op { proto: head.proto, origin: head.origin, body };
            book.park(number, Parked { op, origin });
        }
        Ok(book)
    }

    /// Locks what a prepared transaction wants; nothing if somebody is in its way. One that wants
    /// nothing here may have been prepared before another has locked the whole.
    fn lock(&mut self, txn: TxnId, prepared: &Prepared) -> Option<()> {
        if prepared.wants.is_empty() && !prepared.stage.locks_all() {
            return Some(());
        }
        let mut free = true;
        self.locks.obstacles(&prepared.wants, |holder| free &= holder == txn);
        match prepared.stage.locks_all() {
            _ if !free => return None,
            true if !self.locks.is_empty() => return None,
            true => self.locks.lock_whole(txn),
            false => self.locks.lock(txn, &prepared.wants),
        }
        Some(())
    }
}

impl Stage {
    fn locks_all(&self) -> bool {
        !matches!(self, Stage::Overlay { .. })
    }
}

fn put_prepared(out: &mut Vec<u8>, prepared: &Prepared) {
    let Prepared { participants, since, wants, stage } = prepared;
    put_list(out, participants, |out, group| put_varint(out, u64::from(*group)));
    put_varint(out, since.0);
    put_list(out, wants, |out, Want { db, key, access }| {
        out.extend([*db, u8::from(*access == Access::Write)]);
        put_bytes(out, key);
    });
    match stage {
        Stage::Overlay { writes, replies, publish } => {
            out.push(0);
            put_list(out, writes, put_write);
            put_list(out, replies, |out, reply| put_bytes(out, reply));
            put_list(out, publish, |out, Publish { channel, message, shard }| {
                out.push(u8::from(*shard));
                put_bytes(out, channel);
                put_bytes(out, message);
            });
        }
        Stage::Deferred { proto, calls } => {
            out.push(1 + u8::from(*proto == Proto::Resp3));
            put_list(out, calls, |out, (db, args)| put_args(out, *db, args.args()));
        }
        Stage::Survey { replies } => {
            out.push(3);
            put_list(out, replies, |out, reply| put_bytes(out, reply));
        }
    }
}

fn read_prepared(reader: &mut Reader<'_>) -> Result<Prepared, Malformed> {
    let participants = reader.list(Reader::varint32)?;
    let since = Millis(reader.varint()?);
    let wants = reader.list(|reader| {
        let db = reader.byte()?;
        let access = if reader.byte()? == 1 { Access::Write } else { Access::Read };
        Ok(Want { db, key: reader.bytes()?.to_vec(), access })
    })?;
    let stage = match reader.byte()? {
        0 => {
            let writes = reader.list(read_write)?;
            let replies = reader.list(|reader| Ok(reader.bytes()?.to_vec()))?;
            let publish = reader.list(|reader| {
                let shard = reader.byte()? == 1;
                let channel = reader.bytes()?.to_vec();
                Ok(Publish { channel, message: reader.bytes()?.to_vec(), shard })
            })?;
            Stage::Overlay { writes, replies, publish }
        }
        kind @ (1 | 2) => {
            let proto = if kind == 2 { Proto::Resp3 } else { Proto::Resp2 };
            Stage::Deferred { proto, calls: reader.list(read_owned)? }
        }
        3 => Stage::Survey { replies: reader.list(|reader| Ok(reader.bytes()?.to_vec()))? },
        _ => return Err(reader.malformed()),
    };
    Ok(Prepared { participants, since, wants, stage })
}

fn put_write(out: &mut Vec<u8>, Write { db, key, entry }: &Write) {
    out.extend([*db, u8::from(entry.is_some())]);
    put_bytes(out, key);
    if let Some(entry) = entry {
        put_varint(out, entry.expires.0.wrapping_add(1));
        put_value(out, &entry.value);
    }
}

fn read_write(reader: &mut Reader<'_>) -> Result<Write, Malformed> {
    let (db, is_there) = (reader.byte()?, reader.byte()? == 1);
    let key = reader.bytes()?.to_vec();
    let entry = if is_there {
        let expires = Millis(reader.varint()?.wrapping_sub(1));
        // The version is that of the commit.
        Some(Entry { value: read_value(reader)?, version: 0, expires })
    } else {
        None
    };
    Ok(Write { db, key, entry })
}

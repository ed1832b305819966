//! A log entry in the making or under way, and who waits for each of its operations.
//!
//! ```text
//! bytes:   stamp │ op │ op │ op          what goes into the log
//! items:   Op · Read · Op · Op           in the order of arrival; a Read is done between its
//! reads:   op                            neighbours, on this replica alone
//! ```
//!
//! A read that must come after a write of the same client waits here, at its place, and costs the
//! log nothing.

use std::ops::Range;

use consensus::{Index, Term};
use keyspace::op::{self, Body, Op, Origin};
use stdx::codec::Reader;
use stdx::{Instant, Millis};

use crate::message::Kind;
use crate::request::Who;

/// Memory that the buffer of the open batch keeps from one batch to the next.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;

/// Something to do when the entry is applied.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// Applies the next operation of the entry.
    Op(Request),
    /// Runs the call in this range of `reads`.
    Read(Request, Range<usize>),
}

/// Who asked, and this gateway's number for it, by which it keeps its place if it must go again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) who: Who,
    pub(crate) number: u64,
}

/// A request that must go again, because its entry will never be committed.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) request: Request,
    pub(crate) kind: Kind,
    pub(crate) op: Op,
}

/// One entry and those who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: Vec<Item>,
    reads: Vec<u8>,
    /// How many items are operations.
    ops: usize,
    /// One of them may lock keys.
    locks: bool,
    /// Its place in the log, once it was proposed.
    pub(crate) term: Term,
    pub(crate) index: Index,
    /// When its first request came.
    pub(crate) born: Instant,
}

impl Batch {
    /// Does it hold no operation? (It may hold reads.)
    pub(crate) fn has_no_ops(&self) -> bool {
        self.ops == 0
    }

    /// Is there nothing in it?
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes that wait in it.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.reads.len()
    }

    /// Adds an operation, which `put` appends.
    pub(crate) fn push_op(
        &mut self,
        now: Instant,
        request: Request,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        self.open(now);
        put(&mut self.bytes);
        self.items.push(Item::Op(request));
        self.ops += 1;
    }

    /// The operation that was just added may lock keys.
    pub(crate) fn note_locks(&mut self, locks: bool) {
        self.locks |= locks;
    }

    /// May an operation in it lock keys?
    pub(crate) fn locks(&self) -> bool {
        self.locks
    }

    /// Adds a read, which `put` appends.
    pub(crate) fn push_read(
        &mut self,
        now: Instant,
        request: Request,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        self.open(now);
        let start = self.reads.len();
        put(&mut self.reads);
        self.items.push(Item::Read(request, start..self.reads.len()));
    }

    /// Adds a read that is done before everything that is in it.
    pub(crate) fn push_read_first(&mut self, request: Request, op: &[u8]) {
        let start = self.reads.len();
        self.reads.extend_from_slice(op);
        self.items.insert(0, Item::Read(request, start..self.reads.len()));
    }

    /// Writes the stamp and hands out the bytes of the entry, in memory of just their size; the
    /// buffer that they grew in goes to the batch that comes next.
    pub(crate) fn seal(&mut self, stamp: Millis, next: &mut Batch) -> bytes::Bytes {
        self.bytes[..8].copy_from_slice(&stamp.0.to_le_bytes());
        let entry = bytes::Bytes::copy_from_slice(&self.bytes);
        self.bytes.clear();
        next.bytes = std::mem::take(&mut self.bytes);
        next.bytes.shrink_to(BUFFER_BYTES_KEPT);
        entry
    }

    /// The encoded call of a `Read`.
    pub(crate) fn read_at(&self, range: Range<usize>) -> &[u8] {
        &self.reads[range]
    }

    /// Takes it apart: everything in it that a client of this node waits for, as values. `entry`
    /// is what `seal` handed out, or empty if it never did.
    pub(crate) fn take_apart(mut self, entry: &[u8]) -> Vec<Again> {
        let entry = if entry.is_empty() { std::mem::take(&mut self.bytes) } else { entry.to_vec() };
        let mut reader = Reader::new(&entry);
        if !entry.is_empty() {
            op::read_stamp(&mut reader).expect("a batch begins with its stamp");
        }
        let mut again = Vec::new();
        for item in &self.items {
            let (request, kind, op) = match item {
                Item::Op(request) => (*request, Kind::Write, read_op(&mut reader)),
                Item::Read(request, range) => {
                    let mut reader = Reader::new(&self.reads[range.clone()]);
                    (*request, Kind::Read, read_op(&mut reader))
                }
            };
            if let Who::Client(_) = request.who {
                again.push(Again { request, kind, op });
            }
        }
        again
    }

    fn open(&mut self, now: Instant) {
        if self.items.is_empty() {
            self.born = now;
        }
        if self.bytes.is_empty() {
            op::put_stamp(&mut self.bytes, Millis(0));
        }
    }
}

/// Reads an operation of our own making.
pub(crate) fn read_op(reader: &mut Reader<'_>) -> Op {
    let read = |reader: &mut Reader<'_>| {
        let head = op::read_head(reader)?;
        let body: Body = op::read_body(reader, head)?;
        Ok::<_, stdx::codec::Malformed>(Op { proto: head.proto, origin: head.origin, body })
    };
    read(reader).expect("this node encoded the operation itself, or checked it when it came")
}

/// An operation, encoded as this request's.
pub(crate) fn op_from(op: Op, origin: Origin) -> Vec<u8> {
    let mut bytes = Vec::new();
    op::put_op(&mut bytes, &Op { origin: Some(origin), ..op });
    bytes
}

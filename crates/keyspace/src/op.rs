//! Operations: what a log entry of a shard holds, as bytes.
//!
//! ```text
//! entry:  stamp (ms, u64) │ op │ op │ …            one entry for all that arrived in one turn
//! op:     head │ [origin: node, number] │ body     head: bits 0-2 kind, 3 RESP3, 4 has an origin
//! call:   db │ argc │ len, bytes │ len, bytes …
//! txn:    what the transaction is asked of this shard (`txn::codec`)
//! exec:   watches │ (db, version, key) … │ calls │ call …      of kind 1 or 6: of 6,
//!                                                             one that fails undoes all
//! ```
//!
//! An origin names the request of a gateway node, for calls that were forwarded to the leader and
//! for those that may block: their replies come later, and from whichever replica sees it first.

use stdx::Millis;
use stdx::codec::{Malformed, Reader, put_bytes, put_u64, put_varint};
use wire::{Args, ArgsBuf, Proto, Span};

use crate::txn::{Txn, put_txn, read_txn};

/// Who asked: a node of the cluster, and the number that it gave the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    pub node: u32,
    pub number: u64,
}

/// The state in which WATCH saw a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub db: u8,
    pub version: u64,
    pub key: Vec<u8>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    pub proto: Proto,
    pub origin: Option<Origin>,
    pub body: Body,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Call {
        db: u8,
        args: ArgsBuf,
    },
    /// MULTI's queue, unless a watched key has changed. With `rollback` it changes nothing if one of
    /// the calls fails.
    Exec {
        watches: Vec<Watch>,
        calls: Vec<(u8, ArgsBuf)>,
        rollback: bool,
    },
    /// Time has passed: remove what expired, wake who waited long enough.
    Tick,
    /// A blocked client left (`None`) or is told so: CLIENT UNBLOCK with or without ERROR.
    Unblock {
        target: Origin,
        how: Unblock,
    },
    /// Drops blocked calls: those of one node, which is gone, or all, when the leader changes.
    /// Their gateways tell the clients.
    DropWaiters {
        node: Option<u32>,
    },
    /// Something about a transaction over several shards.
    Txn(Box<Txn>),
}

/// How a blocked call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unblock {
    Gone,
    Timeout,
    Error,
}

const CALL: u8 = 0;
const EXEC: u8 = 1;
const TICK: u8 = 2;
const UNBLOCK: u8 = 3;
const DROP_WAITERS: u8 = 4;
const TXN: u8 = 5;
const EXEC_OR_UNDO: u8 = 6;
const KIND_MASK: u8 = 7;
const RESP3: u8 = 1 << 3;
const ORIGIN: u8 = 1 << 4;

/// Begins an entry.
pub fn put_stamp(out: &mut Vec<u8>, stamp: Millis) {
    put_u64(out, stamp.0);
}

/// Appends a call straight from its arguments: the hot path, without an `Op` in between.
pub fn put_call(out: &mut Vec<u8>, proto: Proto, origin: Option<Origin>, db: u8, args: Args<'_>) {
    put_head(out, CALL, proto, origin);
    put_args(out, db, args);
}

/// Appends any operation.
pub fn put_op(out: &mut Vec<u8>, op: &Op) {
    match &op.body {
        Body::Call { db, args } => put_call(out, op.proto, op.origin, *db, args.args()),
        Body::Exec { watches, calls, rollback } => {
            put_head(out, if *rollback { EXEC_OR_UNDO } else { EXEC }, op.proto, op.origin);
            put_varint(out, watches.len() as u64);
            watches.iter().for_each(|watch| put_watch(out, watch));
            put_varint(out, calls.len() as u64);
            calls.iter().for_each(|(db, args)| put_args(out, *db, args.args()));
        }
        Body::Tick => put_head(out, TICK, op.proto, op.origin),
        Body::Unblock { target, how } => {
            put_head(out, UNBLOCK, op.proto, op.origin);
            put_origin(out, *target);
            out.push(*how as u8);
        }
        Body::DropWaiters { node } => {
            put_head(out, DROP_WAITERS, op.proto, op.origin);
            put_varint(out, node.map_or(0, |node| u64::from(node) + 1));
        }
        Body::Txn(txn) => {
            put_head(out, TXN, op.proto, op.origin);
            put_txn(out, txn);
        }
    }
}

fn put_head(out: &mut Vec<u8>, kind: u8, proto: Proto, origin: Option<Origin>) {
    let resp3 = if proto == Proto::Resp3 { RESP3 } else { 0 };
    match origin {
        None => out.push(kind | resp3),
        Some(origin) => {
            out.push(kind | resp3 | ORIGIN);
            put_origin(out, origin);
        }
    }
}

fn put_origin(out: &mut Vec<u8>, origin: Origin) {
    put_varint(out, u64::from(origin.node));
    put_varint(out, origin.number);
}

pub(crate) fn put_watch(out: &mut Vec<u8>, watch: &Watch) {
    out.push(watch.db);
    put_varint(out, watch.version);
    put_bytes(out, &watch.key);
}

pub(crate) fn put_args(out: &mut Vec<u8>, db: u8, args: Args<'_>) {
    out.push(db);
    put_varint(out, args.len() as u64);
    args.iter().for_each(|arg| put_bytes(out, arg));
}

/// The head of an operation, read; the body is still in the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    kind: u8,
    pub proto: Proto,
    pub origin: Option<Origin>,
}

impl Head {
    /// Is it a plain call, to be read with `read_call`?
    pub fn is_call(&self) -> bool {
        self.kind == CALL
    }
}

/// Is this encoded operation a message about a transaction?
pub fn is_txn(op: &[u8]) -> bool {
    op.first().is_some_and(|head| head & KIND_MASK == TXN)
}

/// Reads the stamp of an entry.
pub fn read_stamp(reader: &mut Reader<'_>) -> Result<Millis, Malformed> {
    reader.u64().map(Millis)
}

/// Reads the head of the next operation.
pub fn read_head(reader: &mut Reader<'_>) -> Result<Head, Malformed> {
    let byte = reader.byte()?;
    let proto = if byte & RESP3 != 0 { Proto::Resp3 } else { Proto::Resp2 };
    let origin = if byte & ORIGIN != 0 { Some(read_origin(reader)?) } else { None };
    Ok(Head { kind: byte & KIND_MASK, proto, origin })
}

fn read_origin(reader: &mut Reader<'_>) -> Result<Origin, Malformed> {
    let node = reader.varint()? as u32;
    Ok(Origin { node, number: reader.varint()? })
}

/// Reads the database and the arguments of a call into `spans`, which lie in the reader's slice.
pub fn read_call(reader: &mut Reader<'_>, spans: &mut Vec<Span>) -> Result<u8, Malformed> {
    let db = reader.byte()?;
    let count = reader.length()?;
    spans.clear();
    for _ in 0..count {
        let arg = reader.bytes()?;
        let end = reader.offset() as u32;
        spans.push(Span { start: end - arg.len() as u32, end });
    }
    Ok(db)
}

/// The next operation's database and first argument behind the name, which is a key in most: nothing
/// if there is none, or if it is no call. Reads past the operation then, and not otherwise.
pub fn skim_key<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    read_head(reader).ok().filter(|head| head.is_call())?;
    let db = reader.byte().ok()?;
    let count = reader.length().ok()?;
    let mut key = None;
    for at in 0..count {
        let arg = reader.bytes().ok()?;
        if at == 1 {
            key = Some((db, arg));
        }
    }
    key
}

/// Reads the body of an operation that is not a call, or of any as owned values.
pub fn read_body(reader: &mut Reader<'_>, head: Head) -> Result<Body, Malformed> {
    Ok(match head.kind {
        CALL => {
            let (db, args) = read_owned(reader)?;
            Body::Call { db, args }
        }
        kind @ (EXEC | EXEC_OR_UNDO) => {
            let mut watches = Vec::new();
            for _ in 0..reader.length()? {
                watches.push(read_watch(reader)?);
            }
            let mut calls = Vec::new();
            for _ in 0..reader.length()? {
                calls.push(read_owned(reader)?);
            }
            Body::Exec { watches, calls, rollback: kind == EXEC_OR_UNDO }
        }
        TICK => Body::Tick,
        UNBLOCK => {
            let target = read_origin(reader)?;
            let how = match reader.byte()? {
                0 => Unblock::Gone,
                1 => Unblock::Timeout,
                2 => Unblock::Error,
                _ => return Err(reader.malformed()),
            };
            Body::Unblock { target, how }
        }
        DROP_WAITERS => {
            let node = reader.varint()?.checked_sub(1);
            Body::DropWaiters { node: node.map(|node| node as u32) }
        }
        TXN => Body::Txn(Box::new(read_txn(reader, head.proto)?)),
        _ => return Err(reader.malformed()),
    })
}

pub(crate) fn read_watch(reader: &mut Reader<'_>) -> Result<Watch, Malformed> {
    let db = reader.byte()?;
    let version = reader.varint()?;
    Ok(Watch { db, version, key: reader.bytes()?.to_vec() })
}

pub(crate) fn read_owned(reader: &mut Reader<'_>) -> Result<(u8, ArgsBuf), Malformed> {
    let db = reader.byte()?;
    let count = reader.length()?;
    let mut args = ArgsBuf::new();
    for _ in 0..count {
        args.push(reader.bytes()?);
    }
    Ok((db, args))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::txn::{self, Prepare, TxnId};

    fn check(op: Op) {
        let mut out = Vec::new();
        put_op(&mut out, &op);
        let mut reader = Reader::new(&out);
        let head = read_head(&mut reader).unwrap();
        assert_eq!((head.proto, head.origin), (op.proto, op.origin));
        assert_eq!(read_body(&mut reader, head).unwrap(), op.body);
        assert!(reader.is_empty());
        for cut in 1..out.len() {
            let mut reader = Reader::new(&out[..cut]);
            let read = read_head(&mut reader).and_then(|head| read_body(&mut reader, head));
            assert!(read.is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn every_kind_comes_back_and_a_cut_one_is_refused() {
        let args: ArgsBuf = [&b"set"[..], b"k", b"v"].into_iter().collect();
        let origin = Some(Origin { node: 3, number: 900 });
        let proto = Proto::Resp3;
        check(Op { proto, origin, body: Body::Call { db: 2, args: args.clone() } });
        check(Op { proto, origin: None, body: Body::Call { db: 0, args: args.clone() } });
        let watches = vec![Watch { db: 1, version: 77, key: b"w".to_vec() }];
        for rollback in [false, true] {
            let (watches, calls) = (watches.clone(), vec![(0, args.clone())]);
            check(Op { proto, origin, body: Body::Exec { watches, calls, rollback } });
        }
        let target = Origin { node: 1, number: 5 };
        check(Op { proto, origin, body: Body::Unblock { target, how: Unblock::Error } });
        check(Op { proto, origin, body: Body::DropWaiters { node: None } });
        check(Op { proto, origin: None, body: Body::DropWaiters { node: Some(7) } });
        let txn = TxnId { born: Millis(5), node: 2, number: 900, attempt: 1 };
        let watch = Watch { db: 3, version: 1, key: b"w".to_vec() };
        let prepare = Prepare {
            txn,
            proto,
            participants: vec![1, 300],
            done: 7..899,
            compares: vec![watch],
            calls: vec![(1, [&b"get"[..], b"k"].into_iter().collect())],
            span: txn::Span::Keys,
            rollback: true,
            after: None,
            unbroken: false,
        };
        let forget = Txn::Forget { txns: vec![txn, txn] };
        let whole =
            Prepare { span: txn::Span::Whole, after: Some(txn), unbroken: true, ..prepare.clone() };
        let decide = Txn::Decide { txn, commit: true };
        let all = [Txn::Prepare(prepare), Txn::Prepare(whole), decide, Txn::Fence { txn }, forget];
        for txn in all {
            check(Op { proto, origin, body: Body::Txn(Box::new(txn)) });
        }
    }

    fn call() -> impl Strategy<Value = (u8, ArgsBuf)> {
        let args = vec(vec(any::<u8>(), 0..20), 1..5);
        let owned = |args: Vec<Vec<u8>>| args.iter().map(Vec::as_slice).collect();
        (0..16u8, args.prop_map(owned))
    }

    fn body() -> impl Strategy<Value = Body> {
        let watch = (0..16u8, any::<u64>(), vec(any::<u8>(), 0..20));
        let watch = watch.prop_map(|(db, version, key)| Watch { db, version, key });
        prop_oneof![
            call().prop_map(|(db, args)| Body::Call { db, args }),
            (vec(watch, 0..4), vec(call(), 0..4), any::<bool>())
                .prop_map(|(watches, calls, rollback)| Body::Exec { watches, calls, rollback }),
            Just(Body::Tick),
        ]
    }

    proptest! {
        #[test]
        fn any_operation_comes_back(
            body in body(),
            origin in proptest::option::of((any::<u32>(), any::<u64>())),
            resp3: bool,
        ) {
            let proto = if resp3 { Proto::Resp3 } else { Proto::Resp2 };
            let origin = origin.map(|(node, number)| Origin { node, number });
            check(Op { proto, origin, body });
        }
    }
}

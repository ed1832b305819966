//! Messages about transactions, as bytes in an operation.

use stdx::Millis;
use stdx::codec::{Malformed, Reader, put_varint};
use wire::Proto;

use super::{Prepare, Span, Txn, TxnId};
use crate::op::{put_args, put_watch, read_owned, read_watch};

const PREPARE: u8 = 0;
const DECIDE: u8 = 1;
const FENCE: u8 = 2;
const FORGET: u8 = 3;

/// Flags of a `Prepare`.
const WHOLE: u8 = 1;
const ROLLBACK: u8 = 1 << 1;
const AFTER: u8 = 1 << 2;
const SURVEY: u8 = 1 << 3;
const UNBROKEN: u8 = 1 << 4;

/// Appends a message. The protocol of a `Prepare` is that of its operation.
pub(crate) fn put_txn(out: &mut Vec<u8>, txn: &Txn) {
    match txn {
        Txn::Prepare(prepare) => {
            out.push(PREPARE);
            put_prepare(out, prepare);
        }
        Txn::Decide { txn, commit } => {
            out.push(DECIDE);
            put_id(out, txn);
            out.push(u8::from(*commit));
        }
        Txn::Fence { txn } => {
            out.push(FENCE);
            put_id(out, txn);
        }
        Txn::Forget { txns } => {
            out.push(FORGET);
            put_list(out, txns, put_id);
        }
    }
}

/// Reads what `put_txn` wrote.
pub(crate) fn read_txn(reader: &mut Reader<'_>, proto: Proto) -> Result<Txn, Malformed> {
    Ok(match reader.byte()? {
        PREPARE => Txn::Prepare(read_prepare(reader, proto)?),
        DECIDE => Txn::Decide { txn: read_id(reader)?, commit: read_flag(reader)? },
        FENCE => Txn::Fence { txn: read_id(reader)? },
        FORGET => Txn::Forget { txns: reader.list(read_id)? },
        _ => return Err(reader.malformed()),
    })
}

pub(super) fn put_id(out: &mut Vec<u8>, txn: &TxnId) {
    put_varint(out, txn.born.0);
    put_varint(out, u64::from(txn.node));
    put_varint(out, txn.number);
    put_varint(out, u64::from(txn.attempt));
}

pub(super) fn read_id(reader: &mut Reader<'_>) -> Result<TxnId, Malformed> {
    let born = Millis(reader.varint()?);
    let node = reader.varint32()?;
    let number = reader.varint()?;
    Ok(TxnId { born, node, number, attempt: reader.varint32()? })
}

fn put_prepare(out: &mut Vec<u8>, prepare: &Prepare) {
    let Prepare { txn, proto: _, participants, done, compares, calls, span, .. } = prepare;
    let Prepare { rollback, after, unbroken, .. } = prepare;
    put_id(out, txn);
    put_list(out, participants, |out, group| put_varint(out, u64::from(*group)));
    put_varint(out, done.start);
    put_varint(out, done.end);
    put_list(out, compares, put_watch);
    put_list(out, calls, |out, (db, args)| put_args(out, *db, args.args()));
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let span = flag(*span == Span::Whole, WHOLE) | flag(*span == Span::Survey, SURVEY);
    let after_flags = flag(after.is_some(), AFTER) | flag(*unbroken, UNBROKEN);
    out.push(span | flag(*rollback, ROLLBACK) | after_flags);
    if let Some(after) = after {
        put_id(out, after);
    }
}

fn read_prepare(reader: &mut Reader<'_>, proto: Proto) -> Result<Prepare, Malformed> {
    let txn = read_id(reader)?;
    let participants = reader.list(Reader::varint32)?;
    let done = reader.varint()?..reader.varint()?;
    let compares = reader.list(read_watch)?;
    let calls = reader.list(read_owned)?;
    let flags = reader.byte()?;
    let span = match flags & (WHOLE | SURVEY) {
        0 => Span::Keys,
        WHOLE => Span::Whole,
        SURVEY => Span::Survey,
        _ => return Err(reader.malformed()),
    };
    if flags & !(WHOLE | SURVEY | ROLLBACK | AFTER | UNBROKEN) != 0 {
        return Err(reader.malformed());
    }
    let rollback = flags & ROLLBACK != 0;
    let after = if flags & AFTER != 0 { Some(read_id(reader)?) } else { None };
    let unbroken = flags & UNBROKEN != 0;
    Ok(Prepare { txn, proto, participants, done, compares, calls, span, rollback, after, unbroken })
}

pub(super) fn put_list<T>(out: &mut Vec<u8>, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    put_varint(out, list.len() as u64);
    list.iter().for_each(|item| put(out, item));
}

pub(super) fn read_flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.malformed()),
    }
}

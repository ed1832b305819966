//! Streams: nodes of entries, then what the stream remembers, then its consumer groups.
//!
//! ```text
//! node:   id (16 bytes), listpack     first entry │ entry │ entry …
//! first:  entries, deleted, fields, field 1 … field n, 0
//! entry:  flags, ms, seq after the node's id, [fields, field 1,] value 1, …, length backwards
//! ```
//!
//! An entry whose fields are those of the first has only its values. Deleted entries stay until their
//! node is made anew, and are read past.

use std::io::Read;

use crate::error::Error;
use crate::item::{StreamEnd, StreamId};
use crate::opcode;
use crate::packed::{Form, Packed};
use crate::reader::Found;
use crate::source::Source;
use crate::text::TextBuf;
use crate::value::Input;

/// How far a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// So many nodes are still to come; one may be open.
    Nodes(u64),
    /// So many groups are still to come.
    Groups(u64),
}

/// A stream that is being read.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The type it was written as.
    byte: u8,
    phase: Phase,
    /// Of the open node.
    id: StreamId,
    /// Entries of the open node that are still to come, deleted ones included.
    entries: i64,
    /// The fields of the first entry of the open node.
    fields: TextBuf,
    first: Option<StreamId>,
}

impl Stream {
    /// A stream of a type, with so many nodes.
    pub(crate) fn begin(byte: u8, nodes: u64) -> Stream {
        Stream {
            byte,
            phase: Phase::Nodes(nodes),
            id: StreamId::default(),
            entries: 0,
            fields: TextBuf::default(),
            first: None,
        }
    }

    /// The next part, with its strings in `input.texts`.
    pub(crate) fn next<R: Read>(&mut self, input: &mut Input<R>) -> Result<Found, Error> {
        loop {
            if self.entries > 0 {
                self.entries -= 1;
                let entry = self.entry(&mut input.packed, &mut input.texts);
                if let Some(id) = entry.map_err(|what| input.source.malformed(what))? {
                    self.first.get_or_insert(id);
                    return Ok(Found::Entry(id));
                }
                input.texts.clear();
                continue;
            }
            match self.phase {
                Phase::Nodes(0) => {
                    let end = self.end(&mut input.source)?;
                    self.phase = Phase::Groups(input.source.length()?);
                    return Ok(Found::StreamEnd(end));
                }
                Phase::Nodes(left) => {
                    self.phase = Phase::Nodes(left - 1);
                    self.node(input)?;
                }
                Phase::Groups(0) => return Ok(Found::KeyEnd),
                Phase::Groups(left) => {
                    self.phase = Phase::Groups(left - 1);
                    return self.group(input);
                }
            }
        }
    }

    /// Opens a node and reads its first entry.
    fn node<R: Read>(&mut self, input: &mut Input<R>) -> Result<(), Error> {
        input.source.text(&mut input.texts)?;
        let key = <[u8; 16]>::try_from(input.texts.get(0));
        let key = key.map_err(|_| input.source.malformed("a node of a stream has no id"))?;
        input.texts.clear();
        self.id = id_from(key);
        input.node(Form::Listpack)?;
        self.master(&mut input.packed).map_err(|what| input.source.malformed(what))
    }

    fn master(&mut self, packed: &mut Packed) -> Result<(), &'static str> {
        const WRONG: &str = "a node of a stream contradicts itself";
        let (live, deleted) = (packed.int()?, packed.int()?);
        if live < 0 || deleted < 0 {
            return Err(WRONG);
        }
        self.entries = live.checked_add(deleted).ok_or(WRONG)?;
        self.fields.clear();
        for _ in 0..packed.int()? {
            let field = packed.next()?.ok_or(WRONG)?;
            self.fields.push(field);
        }
        match packed.int()? {
            0 => Ok(()),
            _ => Err(WRONG),
        }
    }

    /// Reads an entry; nothing, if it is deleted.
    fn entry(
        &self,
        packed: &mut Packed,
        texts: &mut TextBuf,
    ) -> Result<Option<StreamId>, &'static str> {
        const WRONG: &str = "a node of a stream ends within an entry";
        let flags = packed.int()?;
        let (ms, seq) = (packed.int()?, packed.int()?);
        if flags & opcode::ENTRY_SAME_FIELDS != 0 {
            for at in 0..self.fields.len() {
                texts.push(crate::packed::Element::Bytes(self.fields.get(at)));
                texts.push(packed.next()?.ok_or(WRONG)?);
            }
        } else {
            for _ in 0..packed.int()? {
                texts.push(packed.next()?.ok_or(WRONG)?);
                texts.push(packed.next()?.ok_or(WRONG)?);
            }
        }
        // How many elements the entry has, for walks from the end.
        packed.int()?;
        let id = StreamId {
            ms: self.id.ms.wrapping_add_signed(ms),
            seq: self.id.seq.wrapping_add_signed(seq),
        };
        Ok((flags & opcode::ENTRY_DELETED == 0).then_some(id))
    }

    fn end<R: Read>(&self, source: &mut Source<R>) -> Result<StreamEnd, Error> {
        let len = source.length()?;
        let last = id(source)?;
        if self.byte == opcode::STREAM {
            let first = self.first.unwrap_or_default();
            return Ok(StreamEnd {
                len,
                last,
                first,
                max_deleted: StreamId::default(),
                added: len,
            });
        }
        Ok(StreamEnd {
            len,
            last,
            first: id(source)?,
            max_deleted: id(source)?,
            added: source.length()?,
        })
    }

    fn group<R: Read>(&self, input: &mut Input<R>) -> Result<Found, Error> {
        let source = &mut input.source;
        source.text(&mut input.texts)?;
        let last = id(source)?;
        if self.byte != opcode::STREAM {
            // How many entries the group has read.
            source.length()?;
        }
        let pending = source.length()?;
        for _ in 0..pending {
            source.array::<16>()?;
            source.u64()?;
            source.length()?;
        }
        let consumers = source.length()?;
        for _ in 0..consumers {
            source.skip_string()?;
            source.u64()?;
            if self.byte == opcode::STREAM_3 {
                source.u64()?;
            }
            for _ in 0..source.length()? {
                source.array::<16>()?;
            }
        }
        Ok(Found::Group { last, pending, consumers })
    }
}

fn id<R: Read>(source: &mut Source<R>) -> Result<StreamId, Error> {
    Ok(StreamId { ms: source.length()?, seq: source.length()? })
}

/// The id that a node has as its key: the highest byte first.
fn id_from(key: [u8; 16]) -> StreamId {
    let number = u128::from_be_bytes(key);
    StreamId { ms: (number >> 64) as u64, seq: number as u64 }
}

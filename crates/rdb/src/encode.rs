//! The bytes of strings and values, in the plain encodings that any Redis since 5 reads.

use crate::item::{StreamEnd, StreamId};
use crate::limits::{STREAM_NODE_BYTES, STREAM_NODE_ENTRIES_MAX};
use crate::opcode;
use crate::packed::listpack::Builder;

/// Appends a length in as few bytes as hold it.
pub(crate) fn put_length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..64 => out.push(length as u8),
        64..16_384 => out.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8]),
        _ => match u32::try_from(length) {
            Ok(short) => {
                out.push(0x80);
                out.extend_from_slice(&short.to_be_bytes());
            }
            Err(_) => {
                out.push(0x81);
                out.extend_from_slice(&length.to_be_bytes());
            }
        },
    }
}

/// Appends a string: as an integer, if it is the text of one of 32 bits.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    const ENCODED: u8 = 0xc0;
    match small_int(text) {
        Some(int) => {
            if let Ok(int) = i8::try_from(int) {
                out.push(ENCODED | opcode::INT8 as u8);
                out.extend_from_slice(&int.to_le_bytes());
            } else if let Ok(int) = i16::try_from(int) {
                out.push(ENCODED | opcode::INT16 as u8);
                out.extend_from_slice(&int.to_le_bytes());
            } else {
                out.push(ENCODED | opcode::INT32 as u8);
                out.extend_from_slice(&int.to_le_bytes());
            }
        }
        None => {
            put_length(out, text.len() as u64);
            out.extend_from_slice(text);
        }
    }
}

/// The integer of which this is the text, if it would be written just so.
fn small_int(text: &[u8]) -> Option<i32> {
    const DIGITS_MAX: usize = 11;
    if text.is_empty() || text.len() > DIGITS_MAX {
        return None;
    }
    let int: i32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (itoa::Buffer::new().format(int).as_bytes() == text).then_some(int)
}

/// The elements of a list, set, hash or sorted set, as they are gathered. Their number stands before
/// them in the dump, so it must be known by then; the bytes may be moved elsewhere meanwhile.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    count: u64,
}

impl Body {
    /// An element of a list or set.
    pub fn element(&mut self, element: &[u8]) {
        put_text(&mut self.bytes, element);
        self.count += 1;
    }

    /// A field of a hash.
    pub fn field(&mut self, field: &[u8], value: &[u8]) {
        put_text(&mut self.bytes, field);
        put_text(&mut self.bytes, value);
        self.count += 1;
    }

    /// A member of a sorted set.
    pub fn member(&mut self, member: &[u8], score: f64) {
        put_text(&mut self.bytes, member);
        self.bytes.extend_from_slice(&score.to_bits().to_le_bytes());
        self.count += 1;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The bytes so far, to be read or moved on.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

/// The nodes of a stream, as its entries are gathered.
#[derive(Debug, Default)]
pub struct StreamBody {
    bytes: Vec<u8>,
    nodes: u64,
    open: Option<Node>,
    first: Option<StreamId>,
    last: StreamId,
    len: u64,
}

/// A node that takes more entries: all but the first differ from it in their ids and values.
#[derive(Debug)]
struct Node {
    id: StreamId,
    fields: Vec<Vec<u8>>,
    /// The entries behind the first, as elements that are yet to be packed.
    pieces: Vec<Piece>,
    bytes: usize,
    entries: u64,
}

#[derive(Debug)]
enum Piece {
    Int(i64),
    Text(Vec<u8>),
}

impl StreamBody {
    /// An entry with fields and values in turn; its id must be above those before.
    pub fn entry<'a>(&mut self, id: StreamId, texts: impl Iterator<Item = &'a [u8]>) {
        let texts: Vec<&[u8]> = texts.collect();
        let size: usize = texts.iter().map(|text| text.len()).sum();
        let is_full = self.open.as_ref().is_some_and(|node| {
            node.entries == STREAM_NODE_ENTRIES_MAX || node.bytes + size >= STREAM_NODE_BYTES
        });
        if is_full {
            self.close();
        }
        let node = self.open.get_or_insert_with(|| Node {
            id,
            fields: texts.iter().step_by(2).map(|field| field.to_vec()).collect(),
            pieces: Vec::new(),
            bytes: 0,
            entries: 0,
        });
        node.entry(id, &texts);
        node.bytes += size;
        self.first.get_or_insert(id);
        self.last = id;
        self.len += 1;
    }

    fn close(&mut self) {
        if let Some(node) = self.open.take() {
            let key = u128::from(node.id.ms) << 64 | u128::from(node.id.seq);
            put_length(&mut self.bytes, 16);
            self.bytes.extend_from_slice(&key.to_be_bytes());
            let packed = node.pack();
            put_length(&mut self.bytes, packed.len() as u64);
            self.bytes.extend_from_slice(&packed);
            self.nodes += 1;
        }
    }

    /// All nodes are whole: how many there are.
    pub fn finish(&mut self) -> u64 {
        self.close();
        self.nodes
    }

    /// The bytes so far, to be read or moved on.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What the stream remembers, as far as its entries show it.
    pub fn end(&self) -> StreamEnd {
        StreamEnd {
            len: self.len,
            last: self.last,
            first: self.first.unwrap_or_default(),
            max_deleted: StreamId::default(),
            added: self.len,
        }
    }
}

impl Node {
    fn entry(&mut self, id: StreamId, texts: &[&[u8]]) {
        let same = texts.iter().step_by(2).eq(self.fields.iter());
        let flags = if same { opcode::ENTRY_SAME_FIELDS } else { 0 };
        let begin = self.pieces.len();
        self.pieces.push(Piece::Int(flags));
        self.pieces.push(Piece::Int(id.ms.wrapping_sub(self.id.ms) as i64));
        self.pieces.push(Piece::Int(id.seq.wrapping_sub(self.id.seq) as i64));
        if !same {
            self.pieces.push(Piece::Int((texts.len() / 2) as i64));
        }
        let (from, step) = if same { (1, 2) } else { (0, 1) };
        let kept = texts.iter().skip(from).step_by(step);
        self.pieces.extend(kept.map(|text| Piece::Text(text.to_vec())));
        let elements = self.pieces.len() - begin;
        self.pieces.push(Piece::Int(elements as i64));
        self.entries += 1;
    }

    /// The listpack of the node.
    fn pack(&self) -> Vec<u8> {
        let mut out = Builder::new();
        out.int(self.entries as i64);
        out.int(0);
        out.int(self.fields.len() as i64);
        self.fields.iter().for_each(|field| out.text(field));
        out.int(0);
        for piece in &self.pieces {
            match piece {
                Piece::Int(int) => out.int(*int),
                Piece::Text(text) => out.text(text),
            }
        }
        out.finish()
    }
}

/// Appends what a stream remembers; it has no consumer groups.
pub(crate) fn put_stream_end(out: &mut Vec<u8>, end: StreamEnd) {
    put_length(out, end.len);
    for id in [end.last, end.first, end.max_deleted] {
        put_length(out, id.ms);
        put_length(out, id.seq);
    }
    put_length(out, end.added);
    put_length(out, 0);
}

//! The parts of one value, however it is encoded.
//!
//! ```text
//! Layout   Plain: strings, one by one │ One: a single node │ Nodes: a count, then nodes
//! Shape    what the elements mean: texts, fields and values, members and scores
//! ```

use std::io::Read;

use crate::error::Error;
use crate::item::{Kind, ModuleId};
use crate::opcode;
use crate::packed::{Element, Form, Packed};
use crate::reader::Found;
use crate::source::Source;
use crate::stream::Stream;
use crate::text::TextBuf;

/// What a reader works with: the bytes to come, the node that is open, the strings of the item.
pub(crate) struct Input<R> {
    pub(crate) source: Source<R>,
    pub(crate) packed: Packed,
    pub(crate) texts: TextBuf,
}

impl<R: Read> Input<R> {
    /// Reads a node and opens it.
    pub(crate) fn node(&mut self, form: Form) -> Result<(), Error> {
        self.source.string(self.packed.buffer())?;
        self.packed.open(form).map_err(|what| self.source.malformed(what))
    }
}

/// Where elements come from.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Plain,
    One(Form),
    Nodes(Form),
    /// Each node says first whether it is a listpack or a single element.
    MarkedNodes,
}

/// How the scores of a sorted set are written.
#[derive(Clone, Copy, Debug)]
enum Scores {
    /// The text of a number behind its length.
    Text,
    Double,
    /// Elements, as the members are.
    Packed,
}

/// A value that is being read.
#[derive(Debug)]
pub(crate) struct Value {
    kind: Kind,
    layout: Layout,
    scores: Scores,
    /// Strings or nodes that are still to come.
    left: u64,
    stream: Option<Box<Stream>>,
}

impl Value {
    /// Begins a value of a type. Nothing, if no version up to 11 has the type.
    pub(crate) fn begin<R: Read>(
        byte: u8,
        input: &mut Input<R>,
    ) -> Option<Result<(Kind, Value), Error>> {
        let (kind, layout, scores) = match byte {
            opcode::STRING => (Kind::String, Layout::Plain, Scores::Packed),
            opcode::LIST => (Kind::List, Layout::Plain, Scores::Packed),
            opcode::SET => (Kind::Set, Layout::Plain, Scores::Packed),
            opcode::ZSET => (Kind::SortedSet, Layout::Plain, Scores::Text),
            opcode::HASH => (Kind::Hash, Layout::Plain, Scores::Packed),
            opcode::ZSET_2 => (Kind::SortedSet, Layout::Plain, Scores::Double),
            opcode::HASH_ZIPMAP => (Kind::Hash, Layout::One(Form::Zipmap), Scores::Packed),
            opcode::LIST_ZIPLIST => (Kind::List, Layout::One(Form::Ziplist), Scores::Packed),
            opcode::SET_INTSET => (Kind::Set, Layout::One(Form::Intset), Scores::Packed),
            opcode::ZSET_ZIPLIST => (Kind::SortedSet, Layout::One(Form::Ziplist), Scores::Packed),
            opcode::HASH_ZIPLIST => (Kind::Hash, Layout::One(Form::Ziplist), Scores::Packed),
            opcode::LIST_QUICKLIST => (Kind::List, Layout::Nodes(Form::Ziplist), Scores::Packed),
            opcode::HASH_LISTPACK => (Kind::Hash, Layout::One(Form::Listpack), Scores::Packed),
            opcode::ZSET_LISTPACK => (Kind::SortedSet, Layout::One(Form::Listpack), Scores::Packed),
            opcode::LIST_QUICKLIST_2 => (Kind::List, Layout::MarkedNodes, Scores::Packed),
            opcode::SET_LISTPACK => (Kind::Set, Layout::One(Form::Listpack), Scores::Packed),
            opcode::STREAM | opcode::STREAM_2 | opcode::STREAM_3 => {
                (Kind::Stream, Layout::Plain, Scores::Packed)
            }
            opcode::MODULE_2 => (Kind::Module(ModuleId(0)), Layout::Plain, Scores::Packed),
            _ => return None,
        };
        let value = Value { kind, layout, scores, left: 0, stream: None };
        Some(value.head(byte, input).map(|value| (value.kind, value)))
    }

    /// Reads what stands before the first element.
    fn head<R: Read>(mut self, byte: u8, input: &mut Input<R>) -> Result<Value, Error> {
        let source = &mut input.source;
        self.left = match (self.kind, self.layout) {
            (Kind::String, _) => 1,
            (Kind::Module(_), _) => {
                self.kind = Kind::Module(ModuleId(source.length()?));
                skip_module(source)?;
                0
            }
            (Kind::Stream, _) => {
                self.stream = Some(Box::new(Stream::begin(byte, source.length()?)));
                0
            }
            (Kind::Hash, Layout::Plain) => {
                let fields = source.length()?;
                fields
                    .checked_mul(2)
                    .ok_or_else(|| source.malformed("a hash has too many fields"))?
            }
            (_, Layout::One(_)) => 1,
            _ => source.length()?,
        };
        Ok(self)
    }

    /// The next part, with its strings in `input.texts`.
    pub(crate) fn next<R: Read>(&mut self, input: &mut Input<R>) -> Result<Found, Error> {
        if let Some(stream) = &mut self.stream {
            return stream.next(input);
        }
        if !self.element(input)? {
            return Ok(Found::KeyEnd);
        }
        match self.kind {
            Kind::String => Ok(Found::Text),
            Kind::List | Kind::Set => Ok(Found::Element),
            Kind::Hash => match self.element(input)? {
                true => Ok(Found::Field),
                false => Err(input.source.malformed("the last field of a hash has no value")),
            },
            Kind::SortedSet => Ok(Found::Member(self.score(input)?)),
            Kind::Stream | Kind::Module(_) => unreachable!("they have no elements"),
        }
    }

    /// Adds the next element to `input.texts`, if there is one.
    fn element<R: Read>(&mut self, input: &mut Input<R>) -> Result<bool, Error> {
        if let Layout::Plain = self.layout {
            if self.left == 0 {
                return Ok(false);
            }
            self.left -= 1;
            input.source.text(&mut input.texts)?;
            return Ok(true);
        }
        loop {
            let next = input.packed.next().map_err(|what| input.source.malformed(what))?;
            if let Some(element) = next {
                input.texts.push(element);
                return Ok(true);
            }
            if self.left == 0 {
                return Ok(false);
            }
            self.left -= 1;
            match self.layout {
                Layout::One(form) | Layout::Nodes(form) => input.node(form)?,
                Layout::Plain => unreachable!("it has no nodes"),
                Layout::MarkedNodes => match input.source.length()? {
                    opcode::NODE_PACKED => input.node(Form::Listpack)?,
                    opcode::NODE_PLAIN => {
                        input.source.text(&mut input.texts)?;
                        return Ok(true);
                    }
                    _ => return Err(input.source.malformed("a node of a list has no known kind")),
                },
            }
        }
    }

    fn score<R: Read>(&mut self, input: &mut Input<R>) -> Result<f64, Error> {
        let score = match self.scores {
            Scores::Double => Some(f64::from_bits(input.source.u64()?)),
            Scores::Text => score_text(&mut input.source)?,
            Scores::Packed => {
                let element = input.packed.next().map_err(|what| input.source.malformed(what))?;
                match element {
                    Some(Element::Int(int)) => Some(int as f64),
                    Some(Element::Bytes(text)) => parse_score(text),
                    None => None,
                }
            }
        };
        score.filter(|score| !score.is_nan()).ok_or_else(|| {
            input.source.malformed("the score of a member is missing or not a number")
        })
    }
}

/// A score as versions before 8 write it.
fn score_text<R: Read>(source: &mut Source<R>) -> Result<Option<f64>, Error> {
    match source.byte()? {
        255 => Ok(Some(f64::NEG_INFINITY)),
        254 => Ok(Some(f64::INFINITY)),
        253 => Ok(None),
        len => {
            let mut text = Vec::new();
            source.take(u64::from(len), &mut text)?;
            Ok(parse_score(&text))
        }
    }
}

fn parse_score(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Reads past a module's value, whose pieces say what they are.
pub(crate) fn skip_module<R: Read>(source: &mut Source<R>) -> Result<(), Error> {
    loop {
        match source.length()? {
            opcode::MODULE_EOF => return Ok(()),
            opcode::MODULE_SINT | opcode::MODULE_UINT => source.length().map(|_| ())?,
            opcode::MODULE_FLOAT => source.array::<4>().map(|_| ())?,
            opcode::MODULE_DOUBLE => source.array::<8>().map(|_| ())?,
            opcode::MODULE_STRING => source.skip_string()?,
            _ => return Err(source.malformed("a piece of a module's value has no known kind")),
        }
    }
}

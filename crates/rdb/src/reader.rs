//! A dump from its first byte to its checksum.

use std::io::Read;

use crate::error::{Error, Reason};
use crate::item::{Expiry, Group, Item, Key, Kind, ModuleId, StreamEnd, StreamId};
use crate::opcode;
use crate::packed::Packed;
use crate::source::Source;
use crate::text::TextBuf;
use crate::value::{Input, Value, skip_module};

/// The newest version that is read: Redis 7.2's and Valkey 8's.
const VERSION_MAX: u32 = 11;

/// Versions that end with a checksum.
const VERSION_WITH_CHECKSUM: u32 = 5;

/// An item without its strings, which lie in `Input::texts` in the order of its fields.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    Aux,
    Function,
    ModuleAux(ModuleId),
    Database(u64),
    Sizes { keys: u64, expires: u64 },
    Key { kind: Kind, expiry: Option<Expiry> },
    Text,
    Element,
    Field,
    Member(f64),
    Entry(StreamId),
    StreamEnd(StreamEnd),
    Group { last: StreamId, pending: u64, consumers: u64 },
    KeyEnd,
    End,
}

#[derive(Debug)]
enum State {
    Head,
    Between,
    Within(Value),
    End,
    Failed,
}

/// Reads a dump. See the head of the crate.
pub struct Reader<R> {
    input: Input<R>,
    version: u32,
    state: State,
}

impl<R: Read> Reader<R> {
    /// A reader of what `source` has from here on. It reads ahead, and needs no buffer below it.
    pub fn new(source: R) -> Reader<R> {
        let input =
            Input { source: Source::new(source), packed: Packed::new(), texts: TextBuf::default() };
        Reader { input, version: 0, state: State::Head }
    }

    /// How many bytes of the dump were read.
    pub fn offset(&self) -> u64 {
        self.input.source.offset()
    }

    /// The version of the format; 0 before the first item.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The next item, and nothing once the dump has ended and its checksum was right. After an error
    /// there is no going on.
    #[expect(clippy::should_implement_trait, reason = "an item borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, Error> {
        self.input.texts.clear();
        match self.step() {
            Ok(found) => Ok(self.item(found)),
            Err(error) => {
                self.state = State::Failed;
                Err(error)
            }
        }
    }

    /// Does the source have more bytes than the dump? Only after its end.
    pub fn is_followed(&mut self) -> Result<bool, Error> {
        assert!(matches!(self.state, State::End), "the dump has not ended");
        Ok(!self.input.source.is_at_end()?)
    }

    fn item(&self, found: Found) -> Option<Item<'_>> {
        let text = |at| self.input.texts.get(at);
        Some(match found {
            Found::Aux => Item::Aux { name: text(0), value: text(1) },
            Found::Function => Item::Function(text(0)),
            Found::ModuleAux(module) => Item::ModuleAux(module),
            Found::Database(number) => Item::Database(number),
            Found::Sizes { keys, expires } => Item::Sizes { keys, expires },
            Found::Key { kind, expiry } => Item::Key(Key { key: text(0), kind, expiry }),
            Found::Text => Item::Text(text(0)),
            Found::Element => Item::Element(text(0)),
            Found::Field => Item::Field { field: text(0), value: text(1) },
            Found::Member(score) => Item::Member { member: text(0), score },
            Found::Entry(id) => Item::Entry { id, texts: self.input.texts.all() },
            Found::StreamEnd(end) => Item::StreamEnd(end),
            Found::Group { last, pending, consumers } => {
                Item::Group(Group { name: text(0), last, pending, consumers })
            }
            Found::KeyEnd => Item::KeyEnd,
            Found::End => return None,
        })
    }

    fn step(&mut self) -> Result<Found, Error> {
        match &mut self.state {
            State::Within(value) => {
                let found = value.next(&mut self.input)?;
                if let Found::KeyEnd = found {
                    self.state = State::Between;
                }
                Ok(found)
            }
            State::Between => self.between(),
            State::Head => {
                self.head()?;
                self.state = State::Between;
                self.between()
            }
            State::End => Ok(Found::End),
            State::Failed => Err(self.input.source.malformed("the dump was given up before")),
        }
    }

    /// `REDIS` and four digits; Valkey 9 writes `VALKEY` and three.
    fn head(&mut self) -> Result<(), Error> {
        let source = &mut self.input.source;
        let magic = source.array::<5>()?;
        if !matches!(&magic, b"REDIS" | b"VALKE") {
            return Err(Error { offset: 0, reason: Reason::Magic(magic) });
        }
        let digits = source.array::<4>()?;
        let digits = match &magic {
            b"REDIS" => &digits[..],
            _ if digits[0] == b'Y' => &digits[1..],
            _ => return Err(Error { offset: 0, reason: Reason::Magic(magic) }),
        };
        let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
        self.version = number.ok_or_else(|| source.malformed("the version is no number"))?;
        match self.version {
            1..=VERSION_MAX if magic == *b"REDIS" => Ok(()),
            version => Err(source.error(Reason::Version(version))),
        }
    }

    /// Reads up to what a visitor should see: a key, something about the dump, the end.
    fn between(&mut self) -> Result<Found, Error> {
        let mut expiry = None;
        loop {
            let source = &mut self.input.source;
            let texts = &mut self.input.texts;
            match source.byte()? {
                opcode::EXPIRETIME => {
                    let seconds = i32::from_le_bytes(source.array()?);
                    expiry = Some(Expiry(i64::from(seconds) * 1000));
                }
                opcode::EXPIRETIME_MS => expiry = Some(Expiry(source.u64()? as i64)),
                opcode::IDLE => source.length().map(|_| ())?,
                opcode::FREQ => source.byte().map(|_| ())?,
                opcode::SELECTDB => return Ok(Found::Database(source.length()?)),
                opcode::RESIZEDB => {
                    let (keys, expires) = (source.length()?, source.length()?);
                    return Ok(Found::Sizes { keys, expires });
                }
                opcode::AUX => {
                    source.text(texts)?;
                    source.text(texts)?;
                    return Ok(Found::Aux);
                }
                opcode::MODULE_AUX => {
                    let module = ModuleId(source.length()?);
                    skip_module(source)?;
                    return Ok(Found::ModuleAux(module));
                }
                opcode::FUNCTION_2 => {
                    source.text(texts)?;
                    return Ok(Found::Function);
                }
                opcode::FUNCTION => return self.old_function(),
                opcode::EOF => return self.end(),
                byte => return self.key(byte, expiry),
            }
        }
    }

    fn key(&mut self, byte: u8, expiry: Option<Expiry>) -> Result<Found, Error> {
        let offset = self.input.source.offset() - 1;
        if byte > opcode::STREAM_3 {
            return Err(Error { offset, reason: Reason::UnknownType(byte) });
        }
        self.input.source.text(&mut self.input.texts)?;
        if byte == opcode::MODULE {
            let module = ModuleId(self.input.source.length()?);
            return Err(Error { offset, reason: Reason::Module(module) });
        }
        let Some(begun) = Value::begin(byte, &mut self.input) else {
            return Err(Error { offset, reason: Reason::UnknownType(byte) });
        };
        let (kind, value) = begun?;
        self.state = State::Within(value);
        Ok(Found::Key { kind, expiry })
    }

    /// A library as the first candidates of Redis 7.0 wrote it: the head of its code stood apart.
    fn old_function(&mut self) -> Result<Found, Error> {
        let source = &mut self.input.source;
        let (mut name, mut engine, mut code) = (Vec::new(), Vec::new(), Vec::new());
        source.string(&mut name)?;
        source.string(&mut engine)?;
        if source.length()? != 0 {
            source.skip_string()?;
        }
        source.string(&mut code)?;
        let bytes = self.input.texts.bytes_mut();
        for part in [b"#!", &engine[..], b" name=", &name, b"\n", &code] {
            bytes.extend_from_slice(part);
        }
        self.input.texts.close();
        Ok(Found::Function)
    }

    /// Compares the checksum; one of zero means that none was computed.
    fn end(&mut self) -> Result<Found, Error> {
        if self.version >= VERSION_WITH_CHECKSUM {
            let source = &mut self.input.source;
            let computed = source.checksum();
            let stored = source.u64()?;
            if stored != 0 && stored != computed {
                return Err(source.error(Reason::Checksum { stored, computed }));
            }
        }
        self.state = State::End;
        Ok(Found::End)
    }
}

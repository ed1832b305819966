//! What a key can hold.

use crate::number::parse_i64;
use crate::reject::Reject;
use crate::str::{Buffer, Str};
use crate::types::{Hash, List, Set, Stream, Zset};

/// A value of one of Redis's types. 24 bytes; what is larger stands behind a pointer.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string that is a canonical 64-bit integer.
    Int(i64),
    Str(Str),
    /// A string that was changed in place; Redis calls it raw, however short it is.
    Buffer(Box<Buffer>),
    List(Box<List>),
    Set(Box<Set>),
    Hash(Box<Hash>),
    Zset(Box<Zset>),
    Stream(Box<Stream>),
}

const _: () = assert!(size_of::<Value>() == 24);

/// The longest string that Redis keeps in one piece with its header.
const EMBEDDED_BYTES_MAX: usize = 44;

impl Value {
    /// A string as it is kept: an integer if it is one.
    pub fn string(text: &[u8]) -> Value {
        parse_i64(text).map_or_else(|| Value::Str(Str::from(text)), Value::Int)
    }

    /// Becomes this string, as `Value::string` keeps it.
    pub fn assign(&mut self, text: &[u8]) {
        match (parse_i64(text), &mut *self) {
            (Some(number), _) => *self = Value::Int(number),
            (None, Value::Str(old)) => old.assign(text),
            (None, _) => *self = Value::Str(Str::from(text)),
        }
    }

    /// The bytes of a string, WRONGTYPE if it is none. `digits` holds those of an integer.
    pub fn text<'a>(&'a self, digits: &'a mut itoa::Buffer) -> Result<&'a [u8], Reject> {
        match self {
            Value::Int(number) => Ok(digits.format(*number).as_bytes()),
            Value::Str(text) => Ok(text),
            Value::Buffer(buffer) => Ok(buffer),
            _ => Err(Reject::WrongType),
        }
    }

    /// The string as a buffer, to change in place; WRONGTYPE if it is none.
    pub fn buffer_mut(&mut self) -> Result<&mut Buffer, Reject> {
        let buffer = match self {
            Value::Int(number) => Buffer::from(number.to_string().into_bytes()),
            Value::Str(text) => Buffer::from(std::mem::take(text)),
            Value::Buffer(buffer) => return Ok(buffer),
            _ => return Err(Reject::WrongType),
        };
        *self = Value::Buffer(Box::new(buffer));
        let Value::Buffer(buffer) = self else { unreachable!("it was just made one") };
        Ok(buffer)
    }

    /// The encoding that OBJECT ENCODING gives for a string; nothing for other types.
    pub fn string_encoding(&self) -> Option<&'static str> {
        match self {
            Value::Int(_) => Some("int"),
            Value::Str(text) if text.len() <= EMBEDDED_BYTES_MAX => Some("embstr"),
            Value::Str(_) | Value::Buffer(_) => Some("raw"),
            _ => None,
        }
    }

    /// The encoding that OBJECT ENCODING gives.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Int(_) | Value::Str(_) | Value::Buffer(_) => {
                self.string_encoding().expect("a string has one")
            }
            Value::List(list) => list.encoding(),
            Value::Set(set) => set.encoding(),
            Value::Hash(hash) => hash.encoding(),
            Value::Zset(zset) => zset.encoding(),
            Value::Stream(stream) => stream.encoding(),
        }
    }

    /// About how many bytes it takes beside the 24 of itself; of a collection up to `samples`
    /// elements are looked at and stand for the others.
    pub fn heap_bytes(&self, samples: usize) -> usize {
        match self {
            Value::Int(_) => 0,
            Value::Str(text) => text.heap_bytes(),
            Value::Buffer(buffer) => size_of::<Buffer>() + buffer.len(),
            Value::List(list) => list.memory(),
            Value::Hash(hash) => hash.memory(samples),
            Value::Set(set) => set.memory(samples),
            Value::Zset(zset) => zset.memory(samples),
            Value::Stream(stream) => stream.memory(samples),
        }
    }

    /// Reads the memory behind it, so that whoever comes next need not wait for that. The number means
    /// nothing.
    pub(crate) fn touch(&self) -> usize {
        let first = |text: &[u8]| text.first().map_or(0, |byte| usize::from(*byte));
        match self {
            Value::Int(_) => 0,
            Value::Str(text) => first(text),
            Value::Buffer(buffer) => first(buffer),
            Value::List(list) => list.len(),
            Value::Hash(hash) => hash.len(),
            Value::Set(set) => set.len(),
            Value::Zset(zset) => zset.len(),
            Value::Stream(stream) => stream.len(),
        }
    }

    /// Are there commands that wait for values of this type?
    pub fn can_be_waited_for(&self) -> bool {
        matches!(self, Value::List(_) | Value::Zset(_) | Value::Stream(_))
    }

    /// The name that TYPE gives.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Int(_) | Value::Str(_) | Value::Buffer(_) => "string",
            Value::List(_) => "list",
            Value::Set(_) => "set",
            Value::Hash(_) => "hash",
            Value::Zset(_) => "zset",
            Value::Stream(_) => "stream",
        }
    }
}

/// A type that stands in a `Value`, for `Context::read`, `write` and `write_or_new`.
pub trait Typed: Sized + Default {
    /// The value as this type.
    fn of(value: &Value) -> Option<&Self>;
    /// The value as this type, to change.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// As a value.
    fn wrap(self) -> Value;

    /// As `of`, refused as WRONGTYPE.
    fn expect(value: &Value) -> Result<&Self, Reject> {
        Self::of(value).ok_or(Reject::WrongType)
    }

    /// As `of_mut`, refused as WRONGTYPE.
    fn expect_mut(value: &mut Value) -> Result<&mut Self, Reject> {
        Self::of_mut(value).ok_or(Reject::WrongType)
    }
}

macro_rules! typed {
    ($type:ty, $variant:ident) => {
        impl Typed for $type {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
            fn wrap(self) -> Value {
                Value::$variant(Box::new(self))
            }
        }
    };
}

typed!(List, List);
typed!(Set, Set);
typed!(Hash, Hash);
typed!(Zset, Zset);
typed!(Stream, Stream);

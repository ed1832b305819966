//! What a key can hold.

use crate::reject::Reject;
use crate::str::Str;
use crate::types::{Hash, List, Set, Zset};

/// A value of one of Redis's types. 24 bytes; what is larger stands behind a pointer.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string that is a canonical 64-bit integer.
    Int(i64),
    Str(Str),
    List(Box<List>),
    Set(Box<Set>),
    Hash(Box<Hash>),
    Zset(Box<Zset>),
}

const _: () = assert!(size_of::<Value>() == 24);

impl Value {
    /// The name that TYPE gives.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Int(_) | Value::Str(_) => "string",
            Value::List(_) => "list",
            Value::Set(_) => "set",
            Value::Hash(_) => "hash",
            Value::Zset(_) => "zset",
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

//! What a dump is made of.

use std::fmt;

use crate::text::Texts;

/// The next thing in a dump. Between a `Key` and its `KeyEnd` are the parts of one value, of the
/// kind that the key names; everything else stands outside.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// Something about the dump: a name and a value.
    Aux { name: &'a [u8], value: &'a [u8] },
    /// The source code of a library of functions.
    Function(&'a [u8]),
    /// What a module keeps beside the keys; it was read past.
    ModuleAux(ModuleId),
    /// The keys that follow are in this database.
    Database(u64),
    /// About how many keys the database has, and how many of them expire.
    Sizes { keys: u64, expires: u64 },
    /// A key begins.
    Key(Key<'a>),
    /// The value of a string.
    Text(&'a [u8]),
    /// The next element of a list or a set.
    Element(&'a [u8]),
    /// A field of a hash.
    Field { field: &'a [u8], value: &'a [u8] },
    /// A member of a sorted set.
    Member { member: &'a [u8], score: f64 },
    /// An entry of a stream: fields and values in turn.
    Entry { id: StreamId, texts: Texts<'a> },
    /// What a stream remembers beside its entries; after them.
    StreamEnd(StreamEnd),
    /// A consumer group of a stream, after its end. Who waits for what was read past.
    Group(Group<'a>),
    /// The value is whole.
    KeyEnd,
}

/// A key and what is said about it before its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key<'a> {
    pub key: &'a [u8],
    pub kind: Kind,
    pub expiry: Option<Expiry>,
}

/// When a key ends: Unix time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry(pub i64);

/// Types of values, however they are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Stream,
    /// Of a module: it has no parts, and was read past.
    Module(ModuleId),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::String => f.write_str("string"),
            Kind::List => f.write_str("list"),
            Kind::Set => f.write_str("set"),
            Kind::SortedSet => f.write_str("sorted set"),
            Kind::Hash => f.write_str("hash"),
            Kind::Stream => f.write_str("stream"),
            Kind::Module(module) => write!(f, "{module} of a module"),
        }
    }
}

/// The name of a module's type, nine characters in 54 bits, and its version in the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleId(pub u64);

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARACTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for place in (0..9).rev() {
            let bits = self.0 >> (10 + 6 * place) & 63;
            write!(f, "{}", char::from(CHARACTERS[bits as usize]))?;
        }
        Ok(())
    }
}

/// Names an entry of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// What a stream remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamEnd {
    /// How many entries it has.
    pub len: u64,
    /// The last id that was given.
    pub last: StreamId,
    /// The first entry that is there.
    pub first: StreamId,
    /// The highest id that was deleted.
    pub max_deleted: StreamId,
    /// How many entries were ever added.
    pub added: u64,
}

/// A consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    pub name: &'a [u8],
    /// The last id that was delivered.
    pub last: StreamId,
    /// Entries that were delivered and not acknowledged.
    pub pending: u64,
    pub consumers: u64,
}

#[cfg(test)]
mod tests {
    use super::ModuleId;

    #[test]
    fn a_module_is_named() {
        // `ReJSON-RL` with version 3, as the module registers itself.
        let characters: [u64; 9] = [17, 30, 9, 18, 14, 13, 62, 17, 11];
        let id = characters.iter().fold(0, |id, bits| id << 6 | bits) << 10 | 3;
        assert_eq!(ModuleId(id).to_string(), "ReJSON-RL");
    }
}

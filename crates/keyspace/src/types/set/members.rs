//! The value of a set: packed integers while all members are integers and few, then a table.

use stdx::Rng;
use stdx::codec::{Malformed, Reader, put_bytes, put_varint};

use super::ints::Ints;
use crate::dict::Dict;
use crate::number::parse_i64;
use crate::str::Str;

/// Members, each once.
#[derive(Clone, Debug)]
pub struct Set(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Ints(Ints),
    Table(Dict<()>),
}

/// One member, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    Int(i64),
    Text(&'a [u8]),
}

impl<'a> Member<'a> {
    /// The member as text; `buffer` holds it if it is kept as a number.
    pub fn text<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Member::Int(number) => buffer.format(number).as_bytes(),
            Member::Text(text) => text,
        }
    }
}

impl Default for Set {
    fn default() -> Set {
        Set(Repr::Ints(Ints::default()))
    }
}

impl Set {
    /// How many members there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Ints(ints) => ints.len(),
            Repr::Table(table) => table.len(),
        }
    }

    /// Is it empty?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes of memory it takes, itself included. Of a table up to `samples` members
    /// are looked at and stand for the others.
    pub fn memory(&self, samples: usize) -> usize {
        let inner = match &self.0 {
            Repr::Ints(ints) => ints.allocated(),
            Repr::Table(dict) => {
                let entry = size_of::<u64>() + size_of::<Str>();
                let looked_at = dict.len().min(samples).max(1);
                let heap = |(member, ()): (&Str, &())| member.heap_bytes();
                let texts: usize = dict.iter().take(looked_at).map(heap).sum();
                dict.len() * entry + texts * dict.len() / looked_at
            }
        };
        size_of::<Set>() + inner
    }

    /// The name that OBJECT ENCODING gives.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Ints(_) => "intset",
            Repr::Table(_) => "hashtable",
        }
    }

    /// Is this a member?
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Repr::Ints(ints) => parse_i64(member).is_some_and(|number| ints.contains(number)),
            Repr::Table(table) => table.contains(member),
        }
    }

    /// As `contains`, for a member of another set.
    pub fn holds(&self, member: Member<'_>) -> bool {
        match (&self.0, member) {
            (Repr::Ints(ints), Member::Int(number)) => ints.contains(number),
            _ => self.contains(member.text(&mut itoa::Buffer::new())),
        }
    }

    /// Adds a member; false if it is there. With more than `ints_max` members the integers become
    /// a table, and with a member that is no integer at once.
    pub fn add(&mut self, member: &[u8], ints_max: u64) -> bool {
        match &mut self.0 {
            Repr::Table(table) => {
                let fresh = !table.contains(member);
                if fresh {
                    table.insert(member, ());
                }
                fresh
            }
            Repr::Ints(ints) => match parse_i64(member) {
                Some(number) => {
                    let fresh = ints.insert(number);
                    if fresh && ints.len() as u64 > ints_max {
                        self.spread();
                    }
                    fresh
                }
                None => {
                    self.spread();
                    self.add(member, ints_max)
                }
            },
        }
    }

    /// Takes a member out; false if it is not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Ints(ints) => parse_i64(member).is_some_and(|number| ints.remove(number)),
            Repr::Table(table) => table.remove(member).is_some(),
        }
    }

    /// All members, in an order that is the same for equal sets.
    pub fn iter(&self) -> impl Iterator<Item = Member<'_>> {
        let (ints, table) = match &self.0 {
            Repr::Ints(ints) => (Some(ints.iter().map(Member::Int)), None),
            Repr::Table(table) => (None, Some(table.iter().map(|(key, _)| Member::Text(key)))),
        };
        ints.into_iter().flatten().chain(table.into_iter().flatten())
    }

    /// A member by lot, each with the same chance.
    pub fn draw(&self, rng: &mut Rng) -> Option<Member<'_>> {
        match &self.0 {
            Repr::Ints(_) if self.is_empty() => None,
            Repr::Ints(ints) => ints.get(rng.below(self.len() as u64) as usize).map(Member::Int),
            Repr::Table(table) => table.draw(rng).map(|(key, ())| Member::Text(key)),
        }
    }

    /// Visits about `count` members from `cursor` on and returns the next cursor, 0 at the end.
    /// Integers come all at once.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Member<'_>)) -> u64 {
        match &self.0 {
            Repr::Ints(ints) => {
                ints.iter().for_each(|number| visit(Member::Int(number)));
                0
            }
            Repr::Table(table) => table.scan(cursor, count, |key, ()| visit(Member::Text(key))),
        }
    }

    /// Turns the integers into a table.
    fn spread(&mut self) {
        let Repr::Ints(ints) = &self.0 else { return };
        let mut table = Dict::new();
        let mut buffer = itoa::Buffer::new();
        for number in ints.iter() {
            table.insert(buffer.format(number).as_bytes(), ());
        }
        self.0 = Repr::Table(table);
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::Ints(ints) => {
                out.push(INTS);
                put_varint(out, ints.len() as u64);
                ints.iter().for_each(|number| put_varint(out, zigzag(number)));
            }
            Repr::Table(table) => {
                out.push(TABLE);
                put_varint(out, table.len() as u64);
                table.iter().for_each(|(key, _)| put_bytes(out, key));
            }
        }
    }

    pub(crate) fn load(reader: &mut Reader<'_>) -> Result<Set, Malformed> {
        let (kind, count) = (reader.byte()?, reader.length()?);
        let mut repr = match kind {
            INTS => Repr::Ints(Ints::default()),
            TABLE => Repr::Table(Dict::new()),
            _ => return Err(reader.malformed()),
        };
        for _ in 0..count {
            let fresh = match &mut repr {
                Repr::Ints(ints) => ints.insert(unzigzag(reader.varint()?)),
                Repr::Table(table) => table.insert(reader.bytes()?, ()).is_none(),
            };
            if !fresh {
                return Err(reader.malformed());
            }
        }
        if count == 0 { Err(reader.malformed()) } else { Ok(Set(repr)) }
    }
}

const INTS: u8 = 0;
const TABLE: u8 = 1;

/// Small numbers of both signs become small numbers.
fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn unzigzag(code: u64) -> i64 {
    (code >> 1) as i64 ^ -((code & 1) as i64)
}

#[cfg(test)]
mod tests {
    use stdx::codec::Reader;

    use super::Set;

    #[test]
    fn bytes_of_any_kind_are_refused_or_loaded_but_never_panic() {
        let mut whole = Vec::new();
        let mut set = Set::default();
        for member in ["1", "-70000", "9223372036854775807", "-9223372036854775808"] {
            set.add(member.as_bytes(), 512);
        }
        set.save(&mut whole);
        let loaded = Set::load(&mut Reader::new(&whole)).unwrap();
        assert_eq!(loaded.iter().collect::<Vec<_>>(), set.iter().collect::<Vec<_>>());
        for cut in 0..whole.len() {
            assert!(Set::load(&mut Reader::new(&whole[..cut])).is_err(), "cut at {cut}");
        }
        assert!(Set::load(&mut Reader::new(&[0, 2, 4, 4])).is_err(), "a member twice");
        assert!(Set::load(&mut Reader::new(&[0, 0])).is_err(), "an empty set");
        let mut rng = stdx::Rng::new(3);
        for _ in 0..10_000 {
            let bytes: Vec<u8> = (0..rng.below(24)).map(|_| rng.below(8) as u8).collect();
            let _ = Set::load(&mut Reader::new(&bytes));
        }
    }
}

//! Byte strings packed one behind the other: the small form of lists and hashes.
//!
//! ```text
//! 0nnnnnnn                        the integer n, 0 to 127
//! 10llllll  bytes                 a string of l bytes, 0 to 63
//! 1100llll  llllllll  bytes       a string of l bytes, up to 4,095
//! 11010000  l (4 bytes)  bytes    a string of l bytes
//! 1110nnnn  bytes                 an integer in n bytes (1 to 8), two's complement, little-endian
//! ```
//!
//! What always holds: a string that is a canonical integer is stored as one, in its shortest form.
//! So two strings are equal if and only if their packed bytes are.
//!
//! Bytes from outside never get here undecoded: a snapshot holds plain strings.
//! The idea is that of Redis's listpack, `src/listpack.c`; the bytes are others.

use wire::Reply;

use crate::number::parse_i64;

const SHORT: u8 = 0x80;
const MIDDLE: u8 = 0xc0;
const LONG: u8 = 0xd0;
const INT: u8 = 0xe0;

/// A string as it stands in packed bytes.
#[derive(Clone, Copy, Debug)]
pub enum Blob<'a> {
    /// A string that is a canonical integer.
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Blob<'a> {
    /// The form in which a string is packed.
    pub fn of(text: &'a [u8]) -> Blob<'a> {
        parse_i64(text).map_or(Blob::Bytes(text), Blob::Int)
    }

    /// The string; the buffer is for the digits of an integer.
    pub fn text<'b>(&self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Blob::Int(number) => buffer.format(*number).as_bytes(),
            Blob::Bytes(bytes) => bytes,
        }
    }

    /// The string, owned.
    pub fn to_vec(&self) -> Vec<u8> {
        self.text(&mut itoa::Buffer::new()).to_vec()
    }

    /// The length of the string.
    pub fn len(&self) -> usize {
        self.text(&mut itoa::Buffer::new()).len()
    }

    /// Is it the empty string?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replies with it as a bulk string.
    pub(crate) fn reply(&self, reply: &mut Reply<'_>) {
        match self {
            Blob::Int(number) => reply.bulk_int(*number),
            Blob::Bytes(bytes) => reply.bulk(bytes),
        }
    }

    /// Is it the same string? Both come from `of` or from packed bytes.
    pub(crate) fn same(&self, other: &Blob<'_>) -> bool {
        match (self, other) {
            (Blob::Int(a), Blob::Int(b)) => a == b,
            (Blob::Bytes(a), Blob::Bytes(b)) => a == b,
            _ => false,
        }
    }

    /// How many bytes it takes when packed.
    pub(crate) fn packed_len(&self) -> usize {
        match self {
            Blob::Int(0..=127) => 1,
            Blob::Int(number) => 1 + int_bytes(*number),
            Blob::Bytes(bytes) => string_head(bytes.len()) + bytes.len(),
        }
    }

    /// Packs it into `out`, which is `packed_len` long.
    pub(crate) fn pack(&self, out: &mut [u8]) {
        match self {
            Blob::Int(number @ 0..=127) => out[0] = *number as u8,
            Blob::Int(number) => {
                let count = int_bytes(*number);
                out[0] = INT | count as u8;
                out[1..].copy_from_slice(&number.to_le_bytes()[..count]);
            }
            Blob::Bytes(bytes) => {
                let head = string_head(bytes.len());
                match head {
                    1 => out[0] = SHORT | bytes.len() as u8,
                    2 => {
                        out[0] = MIDDLE | (bytes.len() >> 8) as u8;
                        out[1] = bytes.len() as u8;
                    }
                    _ => {
                        out[0] = LONG;
                        out[1..5].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
                    }
                }
                out[head..].copy_from_slice(bytes);
            }
        }
    }

    /// The first string of packed bytes, and how many bytes it takes.
    pub(crate) fn unpack(packed: &'a [u8]) -> (Blob<'a>, usize) {
        let first = packed[0];
        let (head, len) = match first {
            0..SHORT => return (Blob::Int(i64::from(first)), 1),
            SHORT..MIDDLE => (1, usize::from(first & 0x3f)),
            MIDDLE..LONG => (2, usize::from(first & 0x0f) << 8 | usize::from(packed[1])),
            LONG..INT => {
                let mut len = [0; 4];
                len.copy_from_slice(&packed[1..5]);
                (5, u32::from_le_bytes(len) as usize)
            }
            INT.. => {
                let count = usize::from(first & 0x0f);
                return (Blob::Int(read_int(&packed[1..=count])), 1 + count);
            }
        };
        (Blob::Bytes(&packed[head..head + len]), head + len)
    }
}

fn string_head(len: usize) -> usize {
    match len {
        0..64 => 1,
        64..4096 => 2,
        _ => 5,
    }
}

/// The fewest bytes that hold a number in two's complement.
fn int_bytes(number: i64) -> usize {
    let sign_bits = if number < 0 { number.leading_ones() } else { number.leading_zeros() };
    (64 - sign_bits as usize) / 8 + 1
}

fn read_int(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|top| top & 0x80 != 0);
    let mut all = if negative { [0xff; 8] } else { [0; 8] };
    all[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(all)
}

/// Makes `new` bytes of room at `at` in place of `old`, and returns it; what is behind moves.
/// The buffer grows by a quarter and not by doubling: most packed values never grow again.
pub(crate) fn gap(bytes: &mut Vec<u8>, at: usize, old: usize, new: usize) -> &mut [u8] {
    let (end, len) = (at + old, bytes.len());
    assert!(end <= len, "what is replaced must be there: {end} > {len}");
    if new > old {
        grow(bytes, new - old);
        bytes.resize(len + new - old, 0);
    }
    bytes.copy_within(end..len, at + new);
    if new < old {
        bytes.truncate(len + new - old);
    }
    &mut bytes[at..at + new]
}

/// Has room for `more` bytes.
pub(crate) fn grow(bytes: &mut Vec<u8>, more: usize) {
    const STEP: usize = 8;
    if bytes.capacity() - bytes.len() < more {
        bytes.reserve_exact(more.max(bytes.len() / 4 + STEP));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Blob, gap};

    #[track_caller]
    fn check(text: &[u8], packed_len: usize) {
        let blob = Blob::of(text);
        assert_eq!(blob.packed_len(), packed_len, "{text:?}");
        let mut packed = vec![0xaa; packed_len + 3];
        blob.pack(&mut packed[..packed_len]);
        let (read, len) = Blob::unpack(&packed);
        assert_eq!((read.to_vec().as_slice(), len), (text, packed_len));
        assert!(read.same(&blob));
    }

    #[test]
    fn short_strings_and_integers_cost_one_byte_or_two_more() {
        for (text, packed_len) in [
            ("", 1),
            ("0", 1),
            ("127", 1),
            ("128", 3),
            ("-1", 2),
            ("-128", 2),
            ("-129", 3),
            ("32767", 3),
            ("32768", 4),
            ("9223372036854775807", 9),
            ("-9223372036854775808", 9),
            ("9223372036854775808", 20),
            ("007", 4),
            ("a", 2),
        ] {
            check(text.as_bytes(), packed_len);
        }
        for (len, head) in [(63, 1), (64, 2), (4_095, 2), (4_096, 5), (100_000, 5)] {
            check(&vec![b'x'; len], head + len);
        }
    }

    proptest! {
        #[test]
        fn any_string_comes_back(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let len = Blob::of(&text).packed_len();
            check(&text, len);
        }

        #[test]
        fn any_integer_comes_back(number: i64) {
            let text = number.to_string();
            let len = Blob::of(text.as_bytes()).packed_len();
            prop_assert!(len <= 9);
            check(text.as_bytes(), len);
        }

        #[test]
        fn a_gap_moves_what_is_behind(
            start in proptest::collection::vec(any::<u8>(), 0..40),
            at in 0usize..40,
            old in 0usize..40,
            new in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let at = at.min(start.len());
            let old = old.min(start.len() - at);
            let (mut bytes, mut model) = (start.clone(), start);
            gap(&mut bytes, at, old, new.len()).copy_from_slice(&new);
            model.splice(at..at + old, new);
            prop_assert_eq!(bytes, model);
        }
    }
}

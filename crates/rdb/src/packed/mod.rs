//! Small collections that Redis keeps in one piece of memory and dumps as they are.
//!
//! Four formats, one view: elements in a row, each a byte string or an integer. A hash is fields and
//! values in turn, a sorted set members and scores in turn.
//!
//! What always holds: the length in the head is that of the whole, the end mark is its last byte, and
//! a number of elements in the head is that of the elements. Who says otherwise is damaged.

mod intset;
pub(crate) mod listpack;
mod ziplist;
mod zipmap;

/// An element as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element<'a> {
    Bytes(&'a [u8]),
    Int(i64),
}

/// The format of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Listpack,
    Ziplist,
    Zipmap,
    Intset,
}

/// What its head says about a node.
struct Head {
    /// Where the first element begins.
    first: usize,
    /// How many there are, where it is small enough to be said.
    count: Option<usize>,
}

/// An element and where the next one begins; nothing at the end mark.
type Next<'a> = Result<Option<(Element<'a>, usize)>, &'static str>;

/// A node and a place in it.
#[derive(Debug)]
pub(crate) struct Packed {
    form: Form,
    bytes: Vec<u8>,
    at: usize,
    count: Option<usize>,
    met: usize,
    is_open: bool,
}

impl Packed {
    /// No node.
    pub(crate) fn new() -> Packed {
        Packed {
            form: Form::Listpack,
            bytes: Vec::new(),
            at: 0,
            count: None,
            met: 0,
            is_open: false,
        }
    }

    /// The buffer for the bytes of the next node, empty. `open` follows.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.bytes.shrink_to(crate::limits::READ_AHEAD_BYTES);
        self.is_open = false;
        &mut self.bytes
    }

    /// What lies in the buffer is a node.
    pub(crate) fn open(&mut self, form: Form) -> Result<(), &'static str> {
        let head = match form {
            Form::Listpack => listpack::head(&self.bytes),
            Form::Ziplist => ziplist::head(&self.bytes),
            Form::Zipmap => zipmap::head(&self.bytes),
            Form::Intset => intset::head(&self.bytes),
        }?;
        (self.form, self.at, self.count, self.met) = (form, head.first, head.count, 0);
        self.is_open = true;
        Ok(())
    }

    /// The next element, and nothing once all were met.
    pub(crate) fn next(&mut self) -> Result<Option<Element<'_>>, &'static str> {
        if !self.is_open {
            return Ok(None);
        }
        let next = match self.form {
            Form::Listpack => listpack::next(&self.bytes, self.at),
            Form::Ziplist => ziplist::next(&self.bytes, self.at),
            // Every other element has unused bytes behind it.
            Form::Zipmap => zipmap::next(&self.bytes, self.at, self.met % 2 == 1),
            Form::Intset => intset::next(&self.bytes, self.at),
        }?;
        match next {
            Some((element, at)) => {
                self.at = at;
                self.met += 1;
                Ok(Some(element))
            }
            None if self.count.is_some_and(|count| count != self.met) => {
                Err("a packed value has not as many elements as it says")
            }
            None => {
                self.is_open = false;
                Ok(None)
            }
        }
    }

    /// The next element, which is an integer.
    pub(crate) fn int(&mut self) -> Result<i64, &'static str> {
        match self.next()? {
            Some(Element::Int(int)) => Ok(int),
            Some(Element::Bytes(_)) => Err("a node has a string in the place of an integer"),
            None => Err("a node ends too early"),
        }
    }
}

const SHORT: &str = "a packed value is cut off";

/// The `len` bytes from `at` on and where they end.
fn slice(bytes: &[u8], at: usize, len: usize) -> Result<(&[u8], usize), &'static str> {
    let end = at.checked_add(len).ok_or(SHORT)?;
    Ok((bytes.get(at..end).ok_or(SHORT)?, end))
}

/// A signed integer of `len` bytes, the lowest first.
fn int(bytes: &[u8], at: usize, len: usize) -> Result<(i64, usize), &'static str> {
    let (digits, end) = slice(bytes, at, len)?;
    let mut wide = [0; 8];
    wide[8 - len..].copy_from_slice(digits);
    Ok((i64::from_le_bytes(wide) >> (64 - 8 * len), end))
}

/// An unsigned number of four bytes, the lowest first.
fn u32_le(bytes: &[u8], at: usize) -> Result<usize, &'static str> {
    let (digits, _) = slice(bytes, at, 4)?;
    Ok(digits.iter().rev().fold(0, |number, &digit| number << 8 | usize::from(digit)))
}

/// The end mark, if it is the last byte.
fn at_end(bytes: &[u8], at: usize) -> Result<bool, &'static str> {
    match bytes.get(at) {
        Some(255) if at + 1 == bytes.len() => Ok(true),
        Some(255) => Err("a packed value goes on after its end"),
        Some(_) => Ok(false),
        None => Err(SHORT),
    }
}

#[cfg(test)]
mod tests {
    use super::{Element, Form, Packed};

    fn elements(form: Form, bytes: &[u8]) -> Result<Vec<String>, &'static str> {
        let mut packed = Packed::new();
        packed.buffer().extend_from_slice(bytes);
        packed.open(form)?;
        let mut found = Vec::new();
        while let Some(element) = packed.next()? {
            found.push(match element {
                Element::Bytes(text) => String::from_utf8_lossy(text).into_owned(),
                Element::Int(int) => format!("#{int}"),
            });
        }
        Ok(found)
    }

    #[track_caller]
    fn check(form: Form, bytes: &[u8], expect: &[&str]) {
        assert_eq!(elements(form, bytes).as_deref(), Ok(expect.map_owned().as_slice()));
        for cut in 0..bytes.len() {
            assert!(elements(form, &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn a_ziplist_is_walked() {
        // The example in the head of ziplist.c, and a string added as it says there.
        let two = [0x0f, 0, 0, 0, 0x0c, 0, 0, 0, 2, 0, 0, 0xf3, 2, 0xf6, 0xff];
        check(Form::Ziplist, &two, &["#2", "#5"]);
        let mut three = two[..14].to_vec();
        three.extend_from_slice(b"\x02\x0bHello World\xff");
        three[0] = three.len() as u8;
        three[8] = 3;
        check(Form::Ziplist, &three, &["#2", "#5", "Hello World"]);
    }

    #[test]
    fn every_integer_of_a_ziplist_is_read() {
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, 5, 0];
        bytes.extend_from_slice(b"\x00\xc0\x00\x80\xfe\x04\x00\x00\x00\xd0\xff\xff\xff\xff");
        bytes.extend_from_slice(b"\x06\xe0\x00\x00\x00\x00\x00\x00\x00\x80\x0a\xf0\x00\x00\x80");
        bytes.extend_from_slice(b"\x05\xfe\x80\xff");
        bytes[0] = bytes.len() as u8;
        let expect = ["#-32768", "#-1", "#-9223372036854775808", "#-8388608", "#-128"];
        check(Form::Ziplist, &bytes, &expect);
    }

    #[test]
    fn a_zipmap_is_walked() {
        let example = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world..\xff";
        check(Form::Zipmap, example, &["foo", "bar", "hello", "world"]);
        let long = b"\x01\xfe\x03\x00\x00\x00foo\x01\x00!\xff";
        check(Form::Zipmap, long, &["foo", "!"]);
    }

    #[test]
    fn an_intset_is_walked() {
        let bytes = b"\x02\x00\x00\x00\x03\x00\x00\x00\xff\xff\x00\x00\xff\x7f";
        check(Form::Intset, bytes, &["#-1", "#0", "#32767"]);
        let wide = b"\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80";
        check(Form::Intset, wide, &["#-9223372036854775808"]);
        assert!(elements(Form::Intset, b"\x03\x00\x00\x00\x00\x00\x00\x00").is_err());
    }

    #[test]
    fn a_listpack_that_is_no_listpack_is_refused() {
        let good = b"\x0d\x00\x00\x00\x02\x00\x05\x01\x82hi\x03\xff";
        check(Form::Listpack, good, &["#5", "hi"]);
        for (at, byte) in [(0, 0x0c), (4, 3), (6, 0xff), (8, 0xf5), (12, 0)] {
            let mut bad = good.to_vec();
            bad[at] = byte;
            assert!(elements(Form::Listpack, &bad).is_err(), "byte {at}");
        }
    }
}

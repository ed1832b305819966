//! Replies: RESP2 or RESP3, appended to the caller's buffer.
//!
//! A command says what it means (a map, a double, nothing) and this file says it in the client's
//! protocol. What RESP2 has no word for takes the form that Redis gives it there: a map is a flat
//! array, a double a bulk string, a boolean an integer.
//! Source: Redis serialization protocol specification, RESP2 and RESP3.

/// Which protocol the client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    #[default]
    Resp2,
    Resp3,
}

/// Writes one client's replies.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    proto: Proto,
}

/// The place of an array header whose length is not known yet.
#[derive(Debug)]
#[must_use = "the header is missing until it is filled"]
pub struct Deferred {
    offset: usize,
}

impl<'a> Reply<'a> {
    /// A writer at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>, proto: Proto) -> Reply<'a> {
        Reply { out, proto }
    }

    /// The client's protocol, for commands whose shape depends on it.
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Does the client speak RESP3?
    pub fn is_resp3(&self) -> bool {
        self.proto == Proto::Resp3
    }

    /// Where the buffer ends, to come back to with `rewind`.
    pub fn mark(&self) -> usize {
        self.out.len()
    }

    /// Takes back all that was written since `mark`.
    pub fn rewind(&mut self, mark: usize) {
        self.out.truncate(mark);
    }

    /// What was written since `mark`.
    pub fn since(&self, mark: usize) -> &[u8] {
        &self.out[mark..]
    }

    /// `+OK`
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string, such as `QUEUED`; it must not contain a line break.
    pub fn status(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error: its code and text, without the dash. Line breaks become spaces, but for those at
    /// the end, which are cut.
    pub fn error(&mut self, message: &str) {
        self.out.push(b'-');
        let clean = |byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte };
        self.out.extend(message.trim_end_matches(['\r', '\n']).bytes().map(clean));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn int(&mut self, value: i64) {
        self.number(b':', value);
    }

    /// A count, as an integer.
    pub fn count(&mut self, value: usize) {
        self.int(value as i64);
    }

    /// A byte string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.number(b'$', bytes.len() as i64);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A byte string that holds a number in decimal.
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A byte string or nothing.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Nothing: `$-1` or `_`.
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Nothing, where an array would stand: `*-1` or `_`.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The header of an array of `len` replies, which the caller writes next.
    pub fn array(&mut self, len: usize) {
        self.number(b'*', len as i64);
    }

    /// The header of a map of `len` pairs; in RESP2 an array of twice that.
    pub fn map(&mut self, len: usize) {
        if self.is_resp3() { self.number(b'%', len as i64) } else { self.array(len * 2) }
    }

    /// The header of a set; in RESP2 an array.
    pub fn set(&mut self, len: usize) {
        self.number(if self.is_resp3() { b'~' } else { b'*' }, len as i64);
    }

    /// The header of a push message; in RESP2 an array.
    pub fn push(&mut self, len: usize) {
        self.number(if self.is_resp3() { b'>' } else { b'*' }, len as i64);
    }

    /// A truth value; in RESP2 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        match (self.is_resp3(), value) {
            (true, true) => self.out.extend_from_slice(b"#t\r\n"),
            (true, false) => self.out.extend_from_slice(b"#f\r\n"),
            (false, value) => self.int(i64::from(value)),
        }
    }

    /// A double, whose text the caller chose (Redis's rules differ by command); in RESP2 a bulk.
    pub fn double(&mut self, text: &str) {
        if self.is_resp3() { self.line(b',', text.as_bytes()) } else { self.bulk(text.as_bytes()) }
    }

    /// A number of any size in decimal; in RESP2 a bulk.
    pub fn big_number(&mut self, text: &str) {
        if self.is_resp3() { self.line(b'(', text.as_bytes()) } else { self.bulk(text.as_bytes()) }
    }

    /// Text for people (`format` has three letters, such as `txt`); in RESP2 a bulk.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        assert!(format.len() == 3, "a verbatim format has three letters");
        if !self.is_resp3() {
            return self.bulk(text);
        }
        self.number(b'=', text.len() as i64 + 4);
        self.out.extend_from_slice(format.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Leaves room for an array header: write the elements, count them, then `fill_array`.
    pub fn defer(&mut self) -> Deferred {
        Deferred { offset: self.out.len() }
    }

    /// Puts the array header in front of the elements that were written since `defer`.
    pub fn fill_array(&mut self, place: Deferred, len: usize) {
        self.fill(place, b'*', len);
    }

    /// As `fill_array`, for a set.
    pub fn fill_set(&mut self, place: Deferred, len: usize) {
        let sigil = if self.is_resp3() { b'~' } else { b'*' };
        self.fill(place, sigil, len);
    }

    /// As `fill_array`, for a map of `len` pairs.
    pub fn fill_map(&mut self, place: Deferred, len: usize) {
        if self.is_resp3() { self.fill(place, b'%', len) } else { self.fill(place, b'*', len * 2) }
    }

    /// Bytes that are RESP already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn fill(&mut self, place: Deferred, sigil: u8, len: usize) {
        let end = self.out.len();
        self.number(sigil, len as i64);
        let header = self.out.len() - end;
        self.out[place.offset..].rotate_right(header);
    }

    fn line(&mut self, sigil: u8, text: &[u8]) {
        self.out.push(sigil);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    fn number(&mut self, sigil: u8, value: i64) {
        self.out.push(sigil);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::{Proto, Reply};

    fn check(write: impl Fn(&mut Reply<'_>), resp2: &str, resp3: &str) {
        for (proto, expect) in [(Proto::Resp2, resp2), (Proto::Resp3, resp3)] {
            let mut out = Vec::new();
            write(&mut Reply::new(&mut out, proto));
            assert_eq!(String::from_utf8_lossy(&out), expect, "{proto:?}");
        }
    }

    #[test]
    fn each_kind_has_its_form_in_each_protocol() {
        check(|r| r.null(), "$-1\r\n", "_\r\n");
        check(|r| r.null_array(), "*-1\r\n", "_\r\n");
        check(|r| r.map(2), "*4\r\n", "%2\r\n");
        check(|r| r.set(2), "*2\r\n", "~2\r\n");
        check(|r| r.double("1.5"), "$3\r\n1.5\r\n", ",1.5\r\n");
        check(|r| r.boolean(true), ":1\r\n", "#t\r\n");
        check(|r| r.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
        check(|r| r.error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n");
    }

    #[test]
    fn a_deferred_header_stands_before_its_elements() {
        let write = |r: &mut Reply<'_>| {
            r.int(1);
            let place = r.defer();
            r.int(2);
            r.int(3);
            r.fill_array(place, 2);
        };
        check(write, ":1\r\n*2\r\n:2\r\n:3\r\n", ":1\r\n*2\r\n:2\r\n:3\r\n");
    }
}

//! Workloads: which calls are made, and on which keys.
//!
//! The bytes of a call are written once, as a template; making one is a copy and twelve digits, so
//! that the generator costs little beside the server it measures.

use clap::ValueEnum;
use stdx::Rng;
use wire::resp::encode_call;

use super::options::{Distribution, Options};
use super::zipf::Zipf;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    Set,
    Get,
    Incr,
    /// GET and SET in the proportion of --read-percent.
    Mixed,
}

impl Workload {
    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Workload::Set => "set",
            Workload::Get => "get",
            Workload::Incr => "incr",
            Workload::Mixed => "mixed",
        }
    }

    /// Does it read what must have been written before?
    pub(super) fn reads(self) -> bool {
        matches!(self, Workload::Get | Workload::Mixed)
    }
}

/// One call to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Set(u64),
    Get(u64),
    Incr(u64),
}

/// Draws calls.
#[derive(Debug)]
pub(super) struct Calls {
    workload: Workload,
    read_percent: u64,
    keys: u64,
    zipf: Option<Zipf>,
    rng: Rng,
}

impl Calls {
    pub(super) fn new(options: &Options, workload: Workload) -> Calls {
        let keys = options.keys.get();
        let zipf = (options.distribution == Distribution::Zipf).then(|| Zipf::new(keys));
        let (read_percent, rng) = (u64::from(options.read_percent), Rng::new(options.seed));
        Calls { workload, read_percent, keys, zipf, rng }
    }

    /// The next call.
    pub(super) fn draw(&mut self) -> Call {
        let key = self.draw_key();
        match self.workload {
            Workload::Set => Call::Set(key),
            Workload::Get => Call::Get(key),
            Workload::Incr => Call::Incr(key),
            Workload::Mixed if self.rng.below(100) < self.read_percent => Call::Get(key),
            Workload::Mixed => Call::Set(key),
        }
    }

    /// The wanted keys of Zipf's distribution are strewn over all, or they would be neighbours.
    fn draw_key(&mut self) -> u64 {
        match &self.zipf {
            None => self.rng.below(self.keys),
            Some(zipf) => {
                let rank = zipf.draw(&mut self.rng);
                stdx::hash_bytes(0, &rank.to_le_bytes()) % self.keys
            }
        }
    }
}

/// Digits in the name of a key.
const KEY_DIGITS: usize = 12;

/// The name of a key, 16 bytes long.
pub(super) fn key_name(key: u64) -> Vec<u8> {
    format!("key:{key:0KEY_DIGITS$}").into_bytes()
}

/// A value of `size` bytes that no compression makes much smaller.
pub(super) fn value(size: u32) -> Vec<u8> {
    let mut rng = Rng::new(u64::from(size));
    (0..size).map(|_| b' ' + 1 + rng.below(90) as u8).collect()
}

/// Writes calls as RESP.
#[derive(Debug)]
pub(super) struct Encoder {
    set: Template,
    get: Template,
    incr: Template,
}

#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    /// Where the digits of the key are.
    digits: usize,
}

impl Encoder {
    pub(super) fn new(value_size: u32) -> Encoder {
        let (key, counter) = (key_name(0), b"counter:000000000000");
        Encoder {
            set: Template::new(&[b"SET", &key, &value(value_size)]),
            get: Template::new(&[b"GET", &key]),
            incr: Template::new(&[b"INCR", counter]),
        }
    }

    /// Appends the bytes of a call.
    pub(super) fn encode(&self, call: Call, out: &mut Vec<u8>) {
        match call {
            Call::Set(key) => self.set.fill(key, out),
            Call::Get(key) => self.get.fill(key, out),
            Call::Incr(key) => self.incr.fill(key, out),
        }
    }
}

impl Template {
    fn new(args: &[&[u8]]) -> Template {
        let (mut bytes, mut head) = (Vec::new(), Vec::new());
        encode_call(&mut bytes, args);
        encode_call(&mut head, &args[..2]);
        // The head's line break ends where the key does; both begin with equally long headers.
        Template { bytes, digits: head.len() - 2 - KEY_DIGITS }
    }

    fn fill(&self, mut key: u64, out: &mut Vec<u8>) {
        let start = out.len() + self.digits;
        out.extend_from_slice(&self.bytes);
        for digit in out[start..start + KEY_DIGITS].iter_mut().rev() {
            *digit = b'0' + (key % 10) as u8;
            key /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Encoder};

    #[test]
    fn a_template_is_filled_with_the_digits_of_the_key() {
        let (encoder, mut out) = (Encoder::new(3), Vec::new());
        encoder.encode(Call::Get(42), &mut out);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000042\r\n");
        out.clear();
        encoder.encode(Call::Set(7), &mut out);
        let text = String::from_utf8(out.clone()).unwrap();
        assert!(text.starts_with("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000007\r\n$3\r\n"), "{text}");
        out.clear();
        encoder.encode(Call::Incr(999_999), &mut out);
        assert_eq!(out, b"*2\r\n$4\r\nINCR\r\n$20\r\ncounter:000000999999\r\n");
    }
}

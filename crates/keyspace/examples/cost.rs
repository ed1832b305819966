//! What a key costs: run this before and after a change to the table, to strings or to dispatch.
//! `cargo run --release -p keyspace --example cost` prints the bytes of each of a million keys of
//! 16 bytes with values of 64, and the nanoseconds of a SET, GET and INCR through
//! `Shard::apply_call`: on keys that are in the cache, and on keys drawn from all of them. Then what a
//! part of a snapshot takes.
#![expect(clippy::print_stdout, reason = "it is a report")]
#![expect(clippy::disallowed_types, reason = "it measures time, which the crate itself must not")]

use std::time::Instant;

use keyspace::{Asker, Effects, Saver, Shard};
use stdx::{Millis, Rng};
use wire::{Args, Proto, Span};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u64 = 1_000_000;
const CACHED: u64 = 1_000;
const CALLS: u64 = 10_000;
const ROUNDS: u64 = 300;
/// As nodes make them.
const PART_BYTES: usize = 128 << 10;

/// One call whose key is rewritten in place, as if a parser had just found it in a buffer.
struct Call {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Call {
    fn new(name: &str, prefix: &str, value: Option<&str>) -> Call {
        let key = format!("{prefix}:{:012}", 0);
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        for word in [Some(name), Some(key.as_str()), value].into_iter().flatten() {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(word.as_bytes());
            spans.push(Span { start, end: bytes.len() as u32 });
        }
        Call { bytes, spans }
    }

    fn run(&mut self, shard: &mut Shard, number: u64, reply: &mut Vec<u8>) {
        let (mut rest, end) = (number, self.spans[1].end as usize);
        for digit in self.bytes[end - 12..end].iter_mut().rev() {
            (*digit, rest) = (b'0' + (rest % 10) as u8, rest / 10);
        }
        reply.clear();
        let asker = Asker { db: 0, proto: Proto::Resp2, origin: None };
        let args = Args::new(&self.bytes, &self.spans);
        shard.apply_call(Millis(1), asker, args, reply, &mut Effects::default());
    }
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4_096
}

fn main() {
    let (mut shard, mut reply) = (Shard::new(), Vec::new());
    let mut set = Call::new("set", "key", Some(&"v".repeat(64)));
    let before = resident_bytes();
    (0..KEYS).for_each(|number| set.run(&mut shard, number, &mut reply));
    println!("{} bytes a key", (resident_bytes() - before) / KEYS);
    let mut incr = Call::new("incr", "num", None);
    (0..KEYS).for_each(|number| incr.run(&mut shard, number, &mut reply));
    let get = Call::new("get", "key", None);
    let mut rng = Rng::new(1);
    for (name, mut call) in [("SET", set), ("GET", get), ("INCR", incr)] {
        // The best round is the one that the machine's other work disturbed least.
        let mut nanos = |keys: u64| {
            let round = |_| {
                let start = Instant::now();
                (0..CALLS).for_each(|_| call.run(&mut shard, rng.below(keys), &mut reply));
                start.elapsed().as_nanos() as u64 / CALLS
            };
            (0..ROUNDS).map(round).min().unwrap_or_default()
        };
        let (cached, all) = (nanos(CACHED), nanos(KEYS));
        println!("{name:4} {cached:4} ns in the cache, {all:4} ns over all keys");
    }
    let (mut saver, mut part) = (Saver::begin(&mut shard), Vec::new());
    let (mut nanos, mut is_done) = (Vec::new(), false);
    while !is_done {
        part.clear();
        let start = Instant::now();
        is_done = saver.step(&mut shard, PART_BYTES, &mut part);
        nanos.push(start.elapsed().as_nanos() as u64);
    }
    nanos.sort_unstable();
    println!(
        "{} us for a part of a snapshot, of {PART_BYTES} bytes",
        nanos[nanos.len() / 2] / 1_000
    );
}

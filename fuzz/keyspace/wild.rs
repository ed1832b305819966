//! Any calls at all: each has one reply, and what they leave can be saved, loaded and measured.

use keyspace::command;
use wire::Proto;

use crate::bytes::Bytes;
use crate::client::Client;

/// Calls of one input; scripts may take long.
const CALLS_MAX: usize = 64;

/// Words that options begin with, so that the fuzzer need not guess them.
const WORDS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2",
    "100",
    "*",
    "nx",
    "xx",
    "gt",
    "ch",
    "incr",
    "get",
    "px",
    "ex",
    "keepttl",
    "withscores",
    "limit",
    "byscore",
    "bylex",
    "rev",
    "-inf",
    "+inf",
    "(1",
    "[a",
    "-",
    "+",
    "count",
    "match",
    "left",
    "right",
    "before",
    "weights",
    "aggregate",
    "min",
    "max",
    "store",
    "by",
    "alpha",
    "asc",
    "streams",
    "maxlen",
    "~",
    "=",
    "minid",
    "u8",
    "i16",
    "set",
    "incrby",
    "overflow",
    "sat",
    "wrap",
    "and",
    "not",
    "replace",
    "db",
    "encoding",
    "usage",
    "samples",
    "1-1",
    "5-*",
    "k0",
    "k1",
    "k2",
    "k3",
    "return redis.call(unpack(ARGV))",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "nan",
    "3.5",
    "rank",
    "maxlen",
    "idx",
    "len",
    "block",
    "fields",
    "load",
    "list",
];

/// Runs an input.
pub(crate) fn run(bytes: &mut Bytes<'_>) {
    let proto = if bytes.below(2) == 0 { Proto::Resp2 } else { Proto::Resp3 };
    let mut client = Client::new(proto);
    let table = command::all();
    for _ in 0..CALLS_MAX {
        if bytes.is_empty() {
            break;
        }
        let row = table[(bytes.below(256) * 256 + bytes.below(256)) % table.len()];
        let mut words = vec![row.name.as_bytes().to_vec()];
        for at in 0..bytes.below(10) {
            let word = match bytes.below(4) {
                0 => vec![b'k', b'0' + bytes.below(4) as u8],
                1 if at == 0 && !row.subcommands.is_empty() => {
                    let sub = bytes.below(row.subcommands.len());
                    row.subcommands[sub].name.as_bytes().to_vec()
                }
                1 | 2 => WORDS[bytes.below(WORDS.len())].as_bytes().to_vec(),
                _ => bytes.text(),
            };
            words.push(word);
        }
        client.now += bytes.below(4) as u64;
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        client.call(&words);
    }
    client.reload();
    client.check();
}

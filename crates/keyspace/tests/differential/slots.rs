//! What stands in the slots of templates: keys, values, numbers and bounds, with a taste for edges.
//!
//! Pools are small, so that calls meet each other's keys and members. No key ever expires while a
//! sequence runs, but by `px 1` and a rest after it: the two clocks are not the same.

use stdx::Rng;

use crate::grammar::Call;
use crate::script;

/// Keys: three of each type, and one that usually is none.
pub(crate) const KEYS: &[&str] = &[
    "s1", "s2", "s3", "h1", "h2", "h3", "l1", "l2", "l3", "t1", "t2", "t3", "z1", "z2", "z3", "x1",
    "x2", "none",
];

/// Sorted sets whose members all have the score 0, which the order of texts needs. No other
/// command changes them.
pub(crate) const ALIKE: &[&str] = &["y1", "y2"];

const MEMBERS: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "aa",
    "ab",
    "B",
    "",
    "0",
    "1",
    "2",
    "3",
    "-5",
    "007",
    "10",
    "127",
    "128",
    "-129",
    "32768",
    "70000",
    "-8388609",
    "16777216",
    "2147483648",
    "9999999999",
    "1.5",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "a b",
    "long-member-1",
];

const FLOATS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "10",
    "1.5",
    "-2.25",
    "0.1",
    "3.2",
    "-0",
    "1e-5",
    "1e17",
    "1e20",
    "5e-324",
    "100000",
    "4503599627370497",
    "9007199254740993",
    "1.7976931348623157e308",
    "0.30000000000000004",
    "3.0e3",
    "+5",
    ".5",
    "5.",
    "123456789012345678",
    "1e-7",
];

const BAD_NUMBERS: &[&str] =
    &["", " 1", "1 ", "x", "1x", "nan", "inf", "-inf", "+inf", "0x10", "1e400", "--1", "1.5.1"];

const INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "5",
    "100",
    "-100",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775806",
    "9223372036854775808",
    "-0",
    "+1",
    "01",
    "1.0",
];

const PATTERNS: &[&str] = &[
    "*", "*", "*", "?1", "[st]*", "[^a-c]*", "*1", "a*", "\\*", "[", "[a-", "[^", "a", "**b*", "?",
    "", "[z-a]*", "*[12]", "\\", "x\\",
];

const IDS: &[&str] = &[
    "0",
    "1",
    "1-1",
    "1-2",
    "2-0",
    "2-5",
    "3",
    "5-1",
    "5-5",
    "7-0",
    "9-9",
    "10",
    "0-0",
    "0-1",
    "18446744073709551615",
    "18446744073709551615-18446744073709551615",
    "5-18446744073709551615",
];

const BAD_IDS: &[&str] =
    &["", "x", "1-", "-1", "1-x", "1-1-1", "(1", "-", "+", "$", ">", "*", "1-*"];

/// The dice, and what the argument before them was.
pub(crate) struct Slots {
    pub(crate) rng: Rng,
    /// How many keys the last `$keys` gave, for `$weights`.
    keys: usize,
    /// The calls that `$call` wraps.
    pub(crate) inner: Vec<Call>,
}

impl Slots {
    pub(crate) fn new(seed: u64) -> Slots {
        Slots { rng: Rng::new(seed), keys: 0, inner: Vec::new() }
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.rng.below(from.len() as u64) as usize]
    }

    fn text(&mut self, from: &[&str]) -> Vec<u8> {
        self.pick(from).as_bytes().to_vec()
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.rng.below((high - low + 1) as u64) as i64
    }

    fn number(&mut self, low: i64, high: i64) -> Vec<u8> {
        self.between(low, high).to_string().into_bytes()
    }

    /// Adds the arguments of a slot.
    pub(crate) fn fill(&mut self, slot: &str, call: &mut Call) {
        let arg = match slot {
            "k" => self.text(KEYS),
            "str" => self.key('s'),
            "hash" => self.key('h'),
            "list" => self.key('l'),
            "set" => self.key('t'),
            "zset" => self.key('z'),
            "stream" => self.key('x'),
            // SORT turns a sorted set into a skip list, whose scores ZSCAN writes differently.
            "sortable" if self.rng.one_in(16) => self.text(&["s1", "h1", "none"]),
            "sortable" => self.text(&["l1", "l2", "l3", "t1", "t2", "t3", "y1", "y2"]),
            "alike" if self.rng.one_in(16) => self.text(&["s1", "l1", "none"]),
            "alike" => self.text(ALIKE),
            "by" => self.text(&["s*", "h*->a", "h1->*"]),
            "sort" => return self.sort(call),
            "v" => self.value(),
            "m" => self.member(),
            "whole" => self.number(-20, 70_000),
            "int" => self.integer(),
            "num" => self.small(),
            // The smallest integer has no opposite, and Redis 7.0 takes it for one that is met at once.
            "rank" => self.one_of(&["1", "2", "3", "-1", "-2", "9223372036854775807"], &["0", "x"]),
            "idx" => self.index(),
            "count" => self.count(),
            "float" | "score" => self.float(),
            "min" => self.bound(),
            "lex" => self.lex(),
            "ttl" => self.ttl(1),
            "pttl" => self.ttl(1_000),
            "at" => self.moment(1),
            "pat" => self.moment(1_000),
            "db" => self.database(),
            "side" => self.text(&["left", "right", "LEFT", "Right"]),
            "timeout" => self.timeout(),
            "type" => self.text(&["string", "list", "set", "zset", "hash", "stream", "x", "LIST"]),
            "pattern" => self.text(PATTERNS),
            "cursor" => self.cursor(),
            "bit" => self.one_of(&["0", "1"], &["2", "-1", "x", ""]),
            "bits" => self.one_of(
                &["u1", "u8", "u4", "i8", "i16", "u63", "i64", "i5", "u31", "U8"],
                &["u64", "i65", "u0", "i0", "x", "u", "8", "-8"],
            ),
            "bitat" => self
                .one_of(&["0", "1", "#0", "#1", "#2", "7", "100", "#33"], &["#", "-1", "x", "#-1"]),
            "bitoffset" => self.bit_offset(),
            "offset" => self
                .one_of(&["0", "1", "2", "5", "10", "100", "3000"], &["-1", "x", "536870912", ""]),
            "newid" => self.new_id(),
            "id" => self.id(),
            "from" => self.range_id("-"),
            "to" => self.range_id("+"),
            "about" => return self.about(call),
            "weights" => return self.weights(call),
            "call" => return self.wrapped(call),
            "anycall" => return self.wrapped(call),
            "sha" => script::sha(self),
            "function" => self.text(script::FUNCTIONS),
            "library" => self.text(script::LIBRARIES),
            "code" => script::library(self),
            _ => match slot.split_once(':') {
                Some(("keys", kind)) => return self.keys(kind, call),
                Some(("script", kind)) => script::text(self, kind),
                _ => panic!("there is no slot ${slot}"),
            },
        };
        call.push(arg);
    }

    /// Mostly a key of this type.
    fn key(&mut self, kind: char) -> Vec<u8> {
        if self.rng.one_in(16) {
            return self.text(KEYS);
        }
        let number = if kind == 'x' { self.between(1, 2) } else { self.between(1, 3) };
        format!("{kind}{number}").into_bytes()
    }

    /// The number of keys, and the keys.
    fn keys(&mut self, kind: &str, call: &mut Call) {
        self.keys = 1 + self.rng.below(3) as usize;
        let told = match self.rng.below(40) {
            0 => "0".to_owned(),
            1 => "-1".to_owned(),
            2 => "x".to_owned(),
            3 => (self.keys + 1).to_string(),
            4 => "9223372036854775807".to_owned(),
            _ => self.keys.to_string(),
        };
        call.push(told.into_bytes());
        for _ in 0..self.keys {
            let kind = match kind {
                "list" => 'l',
                "set" => 't',
                "zset" => 'z',
                // Sorted sets, and sets among them.
                _ => *self.pick(&['z', 'z', 't']),
            };
            let key = self.key(kind);
            call.push(key);
        }
    }

    fn weights(&mut self, call: &mut Call) {
        if !self.rng.one_in(3) {
            return;
        }
        call.push(b"weights".to_vec());
        let count = if self.rng.one_in(20) { self.keys + 1 } else { self.keys };
        for _ in 0..count {
            let weight = self.float();
            call.push(weight);
        }
    }

    fn sort(&mut self, call: &mut Call) {
        // Without `alpha` most elements are no numbers, which is an error.
        let words: &[&str] = match self.rng.below(8) {
            0 => &[],
            1 => &["desc"],
            2 | 3 => &["alpha"],
            4 => &["alpha", "desc"],
            5 => &["by", "nosort*"],
            6 => &["by", "h*->a"],
            _ => &["by", "s*"],
        };
        call.extend(words.iter().map(|word| word.as_bytes().to_vec()));
        if self.rng.one_in(3) {
            let args = [b"limit".to_vec(), self.small(), self.small()];
            call.extend(args);
        }
        for _ in 0..self.rng.below(3) {
            let pattern = self.text(&["#", "s*", "h1->*", "h*->1", "none", "l*"]);
            call.extend([b"get".to_vec(), pattern]);
        }
    }

    fn about(&mut self, call: &mut Call) {
        // `~` trims by whole nodes, whose sizes are Redis's own business.
        if self.rng.one_in(2) {
            call.push(b"=".to_vec());
        }
    }

    /// A call that a script makes, or COMMAND looks at.
    fn wrapped(&mut self, call: &mut Call) {
        let inner = self.inner.pop().unwrap_or_else(|| vec![b"ping".to_vec()]);
        call.extend(inner);
    }

    fn one_of(&mut self, good: &[&str], bad: &[&str]) -> Vec<u8> {
        if self.rng.one_in(12) { self.text(bad) } else { self.text(good) }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.below(24) {
            0 => vec![b'x'; 44],
            1 => vec![b'y'; 45],
            2 => vec![b'z'; 64],
            3 => vec![b'w'; 65],
            4 => vec![b'v'; 300],
            5 => vec![b'u'; 5_000],
            6 => b"bin\x00\xff\r\n".to_vec(),
            7 | 8 => self.float(),
            9 | 10 => self.integer(),
            11 => self.number(-70_000, 70_000),
            _ => self.member(),
        }
    }

    fn member(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0 => vec![b'm'; 64 + self.rng.below(2) as usize],
            1 => vec![b'M'; 8],
            2 => format!("m{}", self.rng.below(400)).into_bytes(),
            3 => self.number(0, 300),
            _ => self.text(MEMBERS),
        }
    }

    fn integer(&mut self) -> Vec<u8> {
        match self.rng.below(16) {
            0 => self.text(BAD_NUMBERS),
            1 | 2 => self.text(INTEGERS),
            _ => self.number(-20, 300),
        }
    }

    /// A count or an offset that is not large, mostly good.
    fn small(&mut self) -> Vec<u8> {
        match self.rng.below(40) {
            0 => self.text(BAD_NUMBERS),
            1 => self.text(INTEGERS),
            2..=5 => self.number(-3, -1),
            _ => self.number(0, 6),
        }
    }

    fn index(&mut self) -> Vec<u8> {
        match self.rng.below(40) {
            0 => self.text(BAD_NUMBERS),
            1 => self.text(INTEGERS),
            2..=14 => self.number(-6, -1),
            15..=20 => self.number(5, 200),
            _ => self.number(0, 5),
        }
    }

    /// For commands of chance and of walks.
    fn count(&mut self) -> Vec<u8> {
        match self.rng.below(16) {
            0 => self.one_of(&["0", "x", ""], &["1.5"]),
            1..=3 => self.number(-5, -1),
            4..=8 => b"1000".to_vec(),
            _ => self.number(1, 12),
        }
    }

    fn float(&mut self) -> Vec<u8> {
        match self.rng.below(24) {
            0 => self.text(BAD_NUMBERS),
            1 => self.text(INTEGERS),
            2 => format!("{}", self.rng.fraction() * 200.0 - 100.0).into_bytes(),
            3 | 4 => self.text(&["inf", "-inf", "+inf", "Infinity"]),
            5..=12 => self.number(-10, 10),
            _ => self.text(FLOATS),
        }
    }

    fn bound(&mut self) -> Vec<u8> {
        let number = match self.rng.below(4) {
            0 => self.text(&["-inf", "+inf", "inf"]),
            1 => self.float(),
            _ => self.number(-6, 10),
        };
        if self.rng.one_in(4) { [b"(", &*number].concat() } else { number }
    }

    fn lex(&mut self) -> Vec<u8> {
        match self.rng.below(16) {
            0 => self.text(&["", "a", "[", "(", "--", "++", "-x", "x"]),
            1..=4 => b"-".to_vec(),
            5..=8 => b"+".to_vec(),
            _ => {
                let open = self.text(&["[", "("]);
                [open, self.member()].concat()
            }
        }
    }

    fn ttl(&mut self, unit: i64) -> Vec<u8> {
        match self.rng.below(16) {
            0 => self.text(BAD_NUMBERS),
            1 => self.text(&[
                "0",
                "-1",
                "-1000",
                "9223372036854775807",
                "-9223372036854775808",
                "9223372036854775",
            ]),
            _ => (self.between(1, 9) * 10_000 * unit).to_string().into_bytes(),
        }
    }

    fn moment(&mut self, unit: i64) -> Vec<u8> {
        match self.rng.below(16) {
            0 => self.text(BAD_NUMBERS),
            1 => self.text(&[
                "0",
                "-1",
                "1",
                "1000",
                "9223372036854775807",
                "-9223372036854775808",
                "9223372036854775",
            ]),
            _ => ((4_102_444_800 + self.between(0, 3) * 1_000) * unit).to_string().into_bytes(),
        }
    }

    fn database(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0 => self.text(&["-1", "16", "x", "", "99999999999", "15"]),
            1..=4 => self.text(&["1", "2"]),
            _ => b"0".to_vec(),
        }
    }

    /// Never so long that a sequence takes long, and never for ever.
    fn timeout(&mut self) -> Vec<u8> {
        self.one_of(&["0.001"], &["x", "-1", "", "nan", "1e400"])
    }

    fn cursor(&mut self) -> Vec<u8> {
        // One out of range would leave an `errno` behind, and the next SORT of Redis would see it.
        self.one_of(&["0"], &["x", "", " 0", "-1", "0x0"])
    }

    fn bit_offset(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => self.text(&["-1", "x", "4294967296", "9223372036854775808", ""]),
            1 => self.number(1_000, 20_000),
            _ => self.number(0, 70),
        }
    }

    fn new_id(&mut self) -> Vec<u8> {
        match self.rng.below(16) {
            0 => self.text(&["", "x", "0-0", "1-", "5-x", "1-1-1", "-", "+", "$"]),
            1 | 2 => format!("{}-*", self.between(0, 9)).into_bytes(),
            3 => self.text(&["0", "0-1", "18446744073709551615-18446744073709551615"]),
            4..=8 => format!("{}-{}", self.between(1, 9), self.between(0, 9)).into_bytes(),
            _ => format!("{}-{}", self.between(1, 4_000), self.between(0, 9)).into_bytes(),
        }
    }

    fn id(&mut self) -> Vec<u8> {
        match self.rng.below(16) {
            0 => self.text(BAD_IDS),
            1..=5 => self.text(IDS),
            _ => format!("{}-{}", self.between(0, 12), self.between(0, 9)).into_bytes(),
        }
    }

    fn range_id(&mut self, end: &str) -> Vec<u8> {
        match self.rng.below(8) {
            0 => [b"(".to_vec(), self.id()].concat(),
            1..=3 => self.id(),
            4 => self.text(&["-", "+"]),
            _ => end.as_bytes().to_vec(),
        }
    }
}

//! The clients: what they ask, in real bytes, and what they make of the answers.
//!
//! ```text
//! register  SET · GET · GETSET · DEL · WATCH, GET, MULTI, SET, EXEC      a search for an order
//! counter   INCR · GET                                                   versions
//! list      RPUSH · LRANGE                                               versions
//! set       SADD · SREM · SMEMBERS                                       each member by itself
//! queue     RPUSH · BLPOP                                                each item once
//! filler    SET of many bytes                                            nothing
//! bank      MULTI, INCRBY, INCRBY, RPUSH, EXEC · MULTI, GET …, EXEC      versions, then a replay
//! ```
//!
//! A client never repeats an operation by itself. Whatever it does not know to have happened, or
//! not, stays unknown in the history.

use stdx::Rng;
use wire::resp::{Value, encode_call};

use crate::limits::{REGISTER_OPS_MAX, REGISTER_UNKNOWN_MAX};

/// Accounts of the bank.
pub(crate) const ACCOUNTS: u64 = 4;

/// Where the bank writes down its transfers.
const JOURNAL: &str = "{bank}journal";

/// One thing that a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Set {
        key: String,
        value: u64,
    },
    Get {
        key: String,
    },
    GetSet {
        key: String,
        value: u64,
    },
    Del {
        key: String,
    },
    /// Writes if nobody else has since the read, whose result is known once the read was answered.
    Cas {
        key: String,
        value: u64,
        expected: Option<Option<u64>>,
    },
    Incr {
        key: String,
    },
    Count {
        key: String,
    },
    Push {
        key: String,
        item: u64,
    },
    Range {
        key: String,
    },
    Add {
        key: String,
        item: u64,
    },
    Remove {
        key: String,
        item: u64,
    },
    Members {
        key: String,
    },
    Enqueue {
        key: String,
        item: u64,
    },
    Take {
        key: String,
    },
    Left {
        key: String,
    },
    Transfer {
        source: u64,
        target: u64,
        amount: i64,
        item: u64,
    },
    Audit,
    Journal,
    /// Writes so many bytes that nobody reads: logs and snapshots must have some weight.
    Fill {
        place: u64,
        bytes: usize,
    },
}

/// What a client learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Int(i64),
    Value(Option<u64>),
    Ids(Vec<u64>),
    Done,
    /// The transaction did not happen, for somebody else wrote.
    Aborted,
    /// The balances, and how many transfers they come of.
    Balances(Vec<i64>, u64),
    /// The server says that it did not happen.
    Refused,
    /// It may have happened, or may still happen.
    Unknown,
}

/// What to do after the replies have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send more, and wait for so many replies.
    Ask(Vec<u8>, usize),
    End(Outcome),
}

fn call(out: &mut Vec<u8>, words: &[&str]) {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    encode_call(out, &words);
}

impl Op {
    /// The first bytes, and how many replies they bring.
    pub(crate) fn ask(&self) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        let text = |number: u64| number.to_string();
        let mut replies = 1;
        match self {
            Op::Set { key, value } => call(&mut out, &["SET", key, &text(*value)]),
            Op::Get { key } | Op::Count { key } => call(&mut out, &["GET", key]),
            Op::GetSet { key, value } => call(&mut out, &["GETSET", key, &text(*value)]),
            Op::Del { key } => call(&mut out, &["DEL", key]),
            Op::Cas { key, .. } => {
                call(&mut out, &["WATCH", key]);
                call(&mut out, &["GET", key]);
                replies = 2;
            }
            Op::Incr { key } => call(&mut out, &["INCR", key]),
            Op::Push { key, item } | Op::Enqueue { key, item } => {
                call(&mut out, &["RPUSH", key, &text(*item)]);
            }
            Op::Range { key } | Op::Left { key } => call(&mut out, &["LRANGE", key, "0", "-1"]),
            Op::Add { key, item } => call(&mut out, &["SADD", key, &text(*item)]),
            Op::Remove { key, item } => call(&mut out, &["SREM", key, &text(*item)]),
            Op::Members { key } => call(&mut out, &["SMEMBERS", key]),
            Op::Take { key } => call(&mut out, &["BLPOP", key, "0.7"]),
            Op::Journal => call(&mut out, &["LRANGE", JOURNAL, "0", "-1"]),
            Op::Fill { place, bytes } => {
                call(&mut out, &["SET", &format!("filler{place}"), &"x".repeat(*bytes)]);
            }
            Op::Transfer { source, target, amount, item } => {
                call(&mut out, &["MULTI"]);
                call(&mut out, &["INCRBY", &account(*source), &(-amount).to_string()]);
                call(&mut out, &["INCRBY", &account(*target), &amount.to_string()]);
                call(&mut out, &["RPUSH", JOURNAL, &text(*item)]);
                call(&mut out, &["EXEC"]);
                replies = 5;
            }
            Op::Audit => {
                call(&mut out, &["MULTI"]);
                (0..ACCOUNTS).for_each(|number| call(&mut out, &["GET", &account(number)]));
                call(&mut out, &["LLEN", JOURNAL]);
                call(&mut out, &["EXEC"]);
                replies = ACCOUNTS as usize + 3;
            }
        }
        (out, replies)
    }

    /// All replies to what was asked have come. The error is an answer that no server may give.
    pub(crate) fn answered(&mut self, replies: &[Value]) -> Result<Next, String> {
        let last = replies.last().ok_or("an operation without a reply")?;
        for reply in replies {
            if let Value::Error(text) = reply {
                return self.failed(text).map(Next::End);
            }
        }
        let odd = || format!("an odd answer to {self:?}: {replies:?}");
        let outcome = match (&*self, last) {
            (Op::Set { .. } | Op::Fill { .. }, Value::Status(_)) => Outcome::Done,
            (Op::Get { .. } | Op::GetSet { .. }, value) => {
                Outcome::Value(number_or_nothing(value).ok_or_else(odd)?)
            }
            (Op::Count { .. }, value) => {
                let count = number_or_nothing(value).ok_or_else(odd)?;
                Outcome::Int(count.unwrap_or(0) as i64)
            }
            (Op::Cas { expected: Some(_), .. }, Value::Null) => Outcome::Aborted,
            (Op::Cas { expected: Some(_), .. }, Value::Array(_)) => Outcome::Done,
            (Op::Cas { expected: None, .. }, value) => {
                let found = number_or_nothing(value).ok_or_else(odd)?;
                return Ok(self.write_if(found));
            }
            (Op::Take { .. }, Value::Null) => Outcome::Value(None),
            (Op::Take { .. }, Value::Array(pair)) if pair.len() == 2 => {
                Outcome::Value(Some(number(&pair[1]).ok_or_else(odd)?))
            }
            (
                Op::Range { .. } | Op::Left { .. } | Op::Journal | Op::Members { .. },
                Value::Array(items) | Value::Set(items),
            ) => Outcome::Ids(items.iter().map(number).collect::<Option<_>>().ok_or_else(odd)?),
            (Op::Transfer { .. }, Value::Array(items)) if items.len() == 3 => {
                let ints = items.iter().map(integer).collect::<Option<Vec<_>>>();
                let ints = ints.ok_or_else(odd)?;
                Outcome::Balances(ints[..2].to_vec(), ints[2] as u64)
            }
            (Op::Audit, Value::Array(items)) if items.len() == ACCOUNTS as usize + 1 => {
                let ints: Option<Vec<_>> = items.iter().map(integer).collect();
                let mut ints = ints.ok_or_else(odd)?;
                let version = ints.pop().unwrap_or(0) as u64;
                Outcome::Balances(ints, version)
            }
            (_, Value::Int(number)) => Outcome::Int(*number),
            _ => return Err(odd()),
        };
        Ok(Next::End(outcome))
    }

    fn write_if(&mut self, found: Option<u64>) -> Next {
        let Op::Cas { key, value, expected } = self else { unreachable!("only Cas has two parts") };
        *expected = Some(found);
        let mut out = Vec::new();
        call(&mut out, &["MULTI"]);
        call(&mut out, &["SET", key, &value.to_string()]);
        call(&mut out, &["EXEC"]);
        Next::Ask(out, 3)
    }

    /// What an error says about the whole operation.
    fn failed(&self, text: &str) -> Result<Outcome, String> {
        let refused = ["LOADING", "TRYAGAIN", "DISKFULL", "UNBLOCKED", "EXECABORT"];
        if text.starts_with("UNKNOWN") {
            // The first part of a Cas only reads.
            let reads = matches!(self, Op::Cas { expected: None, .. });
            return Ok(if reads { Outcome::Refused } else { Outcome::Unknown });
        }
        if refused.iter().any(|code| text.starts_with(code)) {
            return Ok(Outcome::Refused);
        }
        Err(format!("an odd error for {self:?}: {text}"))
    }

    /// Does it change nothing?
    pub(crate) fn reads(&self) -> bool {
        use Op::{Audit, Count, Get, Journal, Left, Members, Range};
        matches!(
            self,
            Get { .. }
                | Count { .. }
                | Range { .. }
                | Members { .. }
                | Left { .. }
                | Audit
                | Journal
        )
    }
}

fn account(number: u64) -> String {
    format!("{{bank}}{number}")
}

fn number(value: &Value) -> Option<u64> {
    let Value::Bulk(text) = value else { return None };
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn number_or_nothing(value: &Value) -> Option<Option<u64>> {
    if *value == Value::Null { Some(None) } else { number(value).map(Some) }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Null => Some(0),
        Value::Bulk(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// A register in use.
#[derive(Clone, Debug)]
struct Register {
    key: String,
    ops: usize,
    unknown: usize,
}

/// Draws what the clients do next.
#[derive(Debug)]
pub(crate) struct Workload {
    next_item: u64,
    registers: Vec<Register>,
    retired: Vec<String>,
    next_register: u64,
    /// How likely each family is, of 100; the rest are registers.
    weights: [u64; 6],
}

const COUNTERS: u64 = 3;
const LISTS: u64 = 3;
const SETS: u64 = 2;
const REGISTERS: usize = 4;
const FILLERS: u64 = 8;

impl Workload {
    pub(crate) fn new(rng: &mut Rng) -> Workload {
        let mut weights = [0; 6];
        weights.iter_mut().for_each(|weight| *weight = rng.below(16));
        let mut workload = Workload {
            next_item: 0,
            registers: Vec::new(),
            retired: Vec::new(),
            next_register: 0,
            weights,
        };
        for _ in 0..REGISTERS {
            let register = workload.new_register();
            workload.registers.push(register);
        }
        workload
    }

    fn new_register(&mut self) -> Register {
        self.next_register += 1;
        Register { key: format!("register{}", self.next_register), ops: 0, unknown: 0 }
    }

    fn item(&mut self) -> u64 {
        self.next_item += 1;
        self.next_item
    }

    /// What a client does next. One that only reads is never stuck behind a write of its own, so
    /// it sees whatever a leader without followers still shows.
    pub(crate) fn draw(&mut self, rng: &mut Rng, reads: bool) -> Op {
        if reads {
            return match rng.below(4) {
                0 => Op::Count { key: format!("counter{}", rng.below(COUNTERS)) },
                1 => Op::Range { key: format!("list{}", rng.below(LISTS)) },
                _ => self.draw_read(rng),
            };
        }
        let mut dice = rng.below(100);
        for (family, weight) in self.weights.into_iter().enumerate() {
            if dice < weight {
                return self.draw_of(family, rng);
            }
            dice -= weight;
        }
        self.draw_register(rng)
    }

    fn draw_of(&mut self, family: usize, rng: &mut Rng) -> Op {
        let reads = rng.one_in(3);
        match family {
            0 => {
                let key = format!("counter{}", rng.below(COUNTERS));
                if reads { Op::Count { key } } else { Op::Incr { key } }
            }
            1 => {
                let key = format!("list{}", rng.below(LISTS));
                if reads { Op::Range { key } } else { Op::Push { key, item: self.item() } }
            }
            2 => {
                let key = format!("set{}", rng.below(SETS));
                match (reads, self.next_item) {
                    (true, _) => Op::Members { key },
                    (_, newest) if newest > 0 && rng.one_in(3) => {
                        Op::Remove { key, item: newest - rng.below(newest.min(30)) }
                    }
                    _ => Op::Add { key, item: self.item() },
                }
            }
            3 => {
                let key = "queue".to_owned();
                if rng.one_in(2) {
                    Op::Take { key }
                } else {
                    Op::Enqueue { key, item: self.item() }
                }
            }
            4 if reads => Op::Audit,
            4 => {
                let source = rng.below(ACCOUNTS);
                let target = (source + 1 + rng.below(ACCOUNTS - 1)) % ACCOUNTS;
                let amount = rng.below(100) as i64;
                Op::Transfer { source, target, amount, item: self.item() }
            }
            _ => Op::Fill { place: rng.below(FILLERS), bytes: 1 << rng.below(14) },
        }
    }

    fn draw_read(&mut self, rng: &mut Rng) -> Op {
        let at = self.use_register(rng);
        Op::Get { key: self.registers[at].key.clone() }
    }

    /// One of the registers, with room for an operation.
    fn use_register(&mut self, rng: &mut Rng) -> usize {
        let at = rng.below(REGISTERS as u64) as usize;
        let Register { ops, unknown, .. } = self.registers[at];
        if ops >= REGISTER_OPS_MAX || unknown >= REGISTER_UNKNOWN_MAX {
            let new = self.new_register();
            let old = std::mem::replace(&mut self.registers[at], new);
            self.retired.push(old.key);
        }
        self.registers[at].ops += 1;
        at
    }

    fn draw_register(&mut self, rng: &mut Rng) -> Op {
        let at = self.use_register(rng);
        let key = self.registers[at].key.clone();
        match rng.below(8) {
            0..3 => Op::Get { key },
            3 => Op::GetSet { key, value: self.item() },
            4 if rng.one_in(2) => Op::Del { key },
            5 => Op::Cas { key, value: self.item(), expected: None },
            _ => Op::Set { key, value: self.item() },
        }
    }

    /// An operation will never be answered.
    pub(crate) fn note_unknown(&mut self, op: &Op) {
        let (Op::Set { key, .. } | Op::GetSet { key, .. } | Op::Del { key } | Op::Cas { key, .. }) =
            op
        else {
            return;
        };
        if let Some(register) = self.registers.iter_mut().find(|one| one.key == *key) {
            register.unknown += 1;
        }
    }

    /// Reads of everything that was ever written, for the end.
    pub(crate) fn last_reads(&self) -> Vec<Op> {
        let registers = self.registers.iter().map(|register| &register.key);
        let mut reads: Vec<Op> =
            registers.chain(&self.retired).map(|key| Op::Get { key: key.clone() }).collect();
        reads.extend((0..COUNTERS).map(|n| Op::Count { key: format!("counter{n}") }));
        reads.extend((0..LISTS).map(|n| Op::Range { key: format!("list{n}") }));
        reads.extend((0..SETS).map(|n| Op::Members { key: format!("set{n}") }));
        reads.extend([Op::Left { key: "queue".to_owned() }, Op::Audit, Op::Journal]);
        reads
    }
}

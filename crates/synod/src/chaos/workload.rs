//! What the clients do next: drawn from a seed, over keys that are given up before their histories
//! grow too long to be searched.
//!
//! ```text
//! registers     GET · SET · GETSET · DEL · compare-and-set by a script, or by WATCH and EXEC
//! counters      INCRBY · GET
//! lists         MULTI with RPUSH and LRANGE over several keys
//! bank          MULTI: from one account to another, and into the journal · MULTI: all accounts
//! queues        RPUSH · BLPOP
//! ```

use std::collections::BTreeSet;

use sim::history::{Call, Datum, Verb};
use stdx::Rng;

/// Operations on a key, after which another takes its place.
const KEY_OPERATIONS_MAX: u64 = 120;

/// As many may be open for ever on one key: each doubles the search for an order.
const KEY_UNKNOWN_MAX: u64 = 5;

const REGISTERS: usize = 4;
const COUNTERS: usize = 2;
const LISTS: u64 = 4;
const QUEUES: usize = 2;
const ACCOUNTS: u64 = 4;

/// Transfers in one bank.
const BANK_OPERATIONS_MAX: u64 = 400;

/// Operations that one generation of lists takes: they are in transactions together.
const LISTS_OPERATIONS_MAX: u64 = 300;

/// How long a client waits for an item of a queue.
const QUEUE_WAIT_MS: i64 = 700;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// These calls, as one transaction if there are several.
    Calls(Vec<Call>),
    /// WATCH and GET the key, then MULTI, SET, EXEC.
    Replace { key: String, value: Datum },
}

impl Task {
    /// What the history has, as long as no more is known.
    pub(super) fn calls(&self) -> Vec<Call> {
        match self {
            Task::Calls(calls) => calls.clone(),
            Task::Replace { key, value } => vec![Call::new(Verb::Set, key, vec![value.clone()])],
        }
    }
}

/// Keys of one family that are in use.
#[derive(Debug)]
struct Family {
    name: &'static str,
    /// The generation of each.
    keys: Vec<Use>,
    operations_max: u64,
    generations: u64,
}

/// How much a key was used.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    generation: u64,
    operations: u64,
    unknown: u64,
}

impl Family {
    fn new(name: &'static str, keys: usize, operations_max: u64) -> Family {
        let of = |at: usize| Use { generation: at as u64, ..Use::default() };
        let generations = keys as u64;
        Family { name, keys: (0..keys).map(of).collect(), operations_max, generations }
    }

    /// A key to use now, and its place.
    fn draw(&mut self, dice: &mut Rng) -> (usize, String) {
        let at = dice.below(self.keys.len() as u64) as usize;
        let used = &mut self.keys[at];
        used.operations += 1;
        if used.operations > self.operations_max || used.unknown >= KEY_UNKNOWN_MAX {
            *used = Use { generation: self.generations, operations: 1, unknown: 0 };
            self.generations += 1;
        }
        (at, format!("{}{}", self.name, used.generation))
    }

    fn note_unknown(&mut self, key: &str) {
        let Some(number) = key.strip_prefix(self.name) else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        for used in self.keys.iter_mut().filter(|used| used.generation == number) {
            used.unknown += 1;
        }
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Workload {
    dice: Rng,
    next_value: i64,
    registers: Family,
    /// What each register was last seen or set to: worth comparing with.
    last: Vec<Datum>,
    counters: Family,
    queues: Family,
    /// Lists and the bank change all their keys at once, since transactions tie them together.
    lists: Family,
    bank: Family,
    /// Everything that was ever used, for the reads at the end.
    read: BTreeSet<(Verb, String)>,
}

impl Workload {
    pub(super) fn new(seed: u64) -> Workload {
        Workload {
            // Another sequence than that of the faults.
            dice: Rng::new(seed ^ 0x9e37_79b9_7f4a_7c15),
            next_value: 0,
            registers: Family::new("register", REGISTERS, KEY_OPERATIONS_MAX),
            last: vec![Datum::Nil; REGISTERS],
            counters: Family::new("counter", COUNTERS, KEY_OPERATIONS_MAX * 4),
            queues: Family::new("queue", QUEUES, KEY_OPERATIONS_MAX * 2),
            lists: Family::new("list", 1, LISTS_OPERATIONS_MAX),
            bank: Family::new("bank", 1, BANK_OPERATIONS_MAX),
            read: BTreeSet::new(),
        }
    }

    /// Draws what is done next.
    pub(super) fn draw(&mut self) -> Task {
        match self.dice.below(20) {
            0..7 => self.draw_register(),
            7..10 => self.draw_counter(),
            10..14 => self.draw_lists(),
            14..17 => self.draw_bank(),
            _ => self.draw_queue(),
        }
    }

    /// Draws something that only looks.
    pub(super) fn draw_look(&mut self) -> Task {
        match self.dice.below(8) {
            0..4 => {
                let (_, key) = self.registers.draw(&mut self.dice);
                self.will_read(Verb::Get, &key);
                Task::Calls(vec![Call::new(Verb::Get, key, vec![])])
            }
            4 => {
                let (_, key) = self.counters.draw(&mut self.dice);
                self.will_read(Verb::Get, &key);
                Task::Calls(vec![Call::new(Verb::Get, key, vec![])])
            }
            5 | 6 => {
                let (_, generation) = self.lists.draw(&mut self.dice);
                let list = |at| Call::new(Verb::Range, format!("{generation}-{at}"), vec![]);
                let calls: Vec<Call> = (0..LISTS).map(list).collect();
                calls.iter().for_each(|call| self.will_read(Verb::Range, &call.key));
                Task::Calls(calls)
            }
            _ => {
                let (_, bank) = self.bank.draw(&mut self.dice);
                self.audit(&bank)
            }
        }
    }

    fn value(&mut self) -> Datum {
        self.next_value += 1;
        Datum::Int(self.next_value)
    }

    fn will_read(&mut self, verb: Verb, key: &str) {
        if !self.read.contains(&(verb, key.to_owned())) {
            self.read.insert((verb, key.to_owned()));
        }
    }

    fn draw_register(&mut self) -> Task {
        let (at, key) = self.registers.draw(&mut self.dice);
        self.will_read(Verb::Get, &key);
        let value = self.value();
        let call = match self.dice.below(12) {
            0..5 => Call::new(Verb::Get, key, vec![]),
            5..7 => Call::new(Verb::Set, key, vec![value.clone()]),
            7 => Call::new(Verb::GetSet, key, vec![value.clone()]),
            8 if self.dice.one_in(2) => Call::new(Verb::Del, key, vec![]),
            8..10 if self.last[at] != Datum::Nil => {
                let expected = std::mem::replace(&mut self.last[at], value.clone());
                return Task::Calls(vec![Call::new(Verb::Cas, key, vec![expected, value])]);
            }
            _ => return Task::Replace { key, value },
        };
        if !call.args.is_empty() {
            self.last[at] = value;
        }
        Task::Calls(vec![call])
    }

    fn draw_counter(&mut self) -> Task {
        let (_, key) = self.counters.draw(&mut self.dice);
        self.will_read(Verb::Get, &key);
        Task::Calls(vec![match self.dice.below(3) {
            0 => Call::new(Verb::Get, key, vec![]),
            _ => Call::new(Verb::IncrBy, key, vec![Datum::Int(1)]),
        }])
    }

    /// Up to four calls on the lists of one generation.
    fn draw_lists(&mut self) -> Task {
        let (_, generation) = self.lists.draw(&mut self.dice);
        let count = 1 + self.dice.below(4);
        let mut calls = Vec::new();
        for _ in 0..count {
            let key = format!("{generation}-{}", self.dice.below(LISTS));
            self.will_read(Verb::Range, &key);
            calls.push(match self.dice.below(2) {
                0 => Call::new(Verb::Range, key, vec![]),
                _ => Call::new(Verb::Append, key, vec![self.value()]),
            });
        }
        Task::Calls(calls)
    }

    fn draw_bank(&mut self) -> Task {
        let (_, bank) = self.bank.draw(&mut self.dice);
        let audit = self.audit(&bank);
        if self.dice.one_in(3) {
            return audit;
        }
        let account = |number: u64| format!("{bank}-{number}");
        let journal = format!("{bank}-journal");
        let source = self.dice.below(ACCOUNTS);
        let target = (source + 1 + self.dice.below(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + self.dice.below(9) as i64;
        Task::Calls(vec![
            Call::new(Verb::IncrBy, account(source), vec![Datum::Int(-amount)]),
            Call::new(Verb::IncrBy, account(target), vec![Datum::Int(amount)]),
            Call::new(Verb::Append, journal, vec![self.value()]),
        ])
    }

    /// All accounts at one moment, and how many transfers there were.
    fn audit(&mut self, bank: &str) -> Task {
        let account = |number: u64| format!("{bank}-{number}");
        let journal = format!("{bank}-journal");
        self.will_read(Verb::Range, &journal);
        let look = |number| Call::new(Verb::Get, account(number), vec![]);
        let mut calls: Vec<Call> = (0..ACCOUNTS).map(look).collect();
        calls.iter().for_each(|call| self.will_read(Verb::Get, &call.key));
        calls.push(Call::new(Verb::LLen, journal, vec![]));
        Task::Calls(calls)
    }

    fn draw_queue(&mut self) -> Task {
        let (_, key) = self.queues.draw(&mut self.dice);
        self.will_read(Verb::Range, &key);
        Task::Calls(vec![match self.dice.below(2) {
            0 => Call::new(Verb::BlPop, key, vec![Datum::Int(QUEUE_WAIT_MS)]),
            _ => Call::new(Verb::Append, key, vec![self.value()]),
        }])
    }

    /// The outcome of something on these keys will never be known.
    pub(super) fn note_unknown(&mut self, calls: &[Call]) {
        for call in calls {
            let families = [&mut self.registers, &mut self.counters, &mut self.queues];
            for family in families {
                family.note_unknown(&call.key);
            }
            let generation = call.key.split('-').next().unwrap_or_default();
            self.lists.note_unknown(generation);
            self.bank.note_unknown(generation);
        }
    }

    /// Everything that was written, to be read once more.
    pub(super) fn reads(&self) -> Vec<Call> {
        self.read.iter().map(|(verb, key)| Call::new(*verb, key.clone(), vec![])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_the_whole_of_a_workload_and_every_key_is_read_at_the_end() {
        let mut workload = Workload::new(3);
        let draw = |workload: &mut Workload, at: usize| match at % 4 {
            0 => workload.draw_look(),
            _ => workload.draw(),
        };
        let tasks: Vec<Task> = (0..3000).map(|at| draw(&mut workload, at)).collect();
        let mut again = Workload::new(3);
        assert!((0..3000).all(|at| tasks[at] == draw(&mut again, at)));
        let read: BTreeSet<String> = workload.reads().into_iter().map(|call| call.key).collect();
        for call in tasks.iter().flat_map(Task::calls) {
            assert!(read.contains(&call.key), "{} is never read", call.key);
        }
    }

    #[test]
    fn a_key_with_many_unknown_outcomes_is_given_up() {
        let mut workload = Workload::new(3);
        let call = Call::new(Verb::Get, "register0", vec![]);
        for _ in 0..KEY_UNKNOWN_MAX {
            workload.note_unknown(std::slice::from_ref(&call));
        }
        let tasks: Vec<Call> = (0..100).flat_map(|_| workload.draw_register().calls()).collect();
        assert!(tasks.iter().all(|call| call.key != "register0"));
        assert!(tasks.iter().any(|call| call.key == "register1"));
    }
}

//! The clients' work: what is asked of which keys, so that every type is under contention and every
//! answer can be held against the others.
//!
//! ```text
//! for the whole run                              for some dozens of operations, then a fresh key
//! counter  INCR · GET                            register  SET GET GETSET DEL CAS, WATCH … EXEC
//! list     transactions of RPUSH and LRANGE      lease     SET PX · GET · SET · INCRBY
//! bank     transfers, audits, a journal          queue     RPUSH LPUSH LPOP RPOP BLPOP LRANGE
//! filler   SET of many bytes, never read         set, hash, sorted; and `mix`: all types at once
//! ```
//!
//! Keys for the whole run show what is lost over a long time, and have checks that stay cheap.
//! The others are searched, which is dear for many operations of unknown outcome.

mod draw;
mod looks;
mod task;

use stdx::Rng;

use crate::history::{Call, Datum, Outcome, Verb};
use crate::limits::{KEY_OPERATIONS_MAX, KEY_UNKNOWN_MAX};
use draw::{ACCOUNTS, COUNTERS, JOURNAL, LISTS, account};
pub use task::{How, Next, Said, Task};

/// Keys that are used for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Register,
    Lease,
    Queue,
    Set,
    Hash,
    Sorted,
    /// One key of each of the others but queues and leases, touched together.
    Mix,
}

const KINDS: [Kind; 7] =
    [Kind::Register, Kind::Lease, Kind::Queue, Kind::Set, Kind::Hash, Kind::Sorted, Kind::Mix];

/// A key in use, or some that are used together.
#[derive(Clone, Debug)]
struct Slot {
    kind: Kind,
    name: String,
    operations: usize,
    unknown: usize,
}

impl Slot {
    /// What it looks like in the end.
    fn read(&self) -> Task {
        let read = |verb, key: &str| Call::new(verb, key, vec![]);
        let key = &self.name;
        match self.kind {
            Kind::Register | Kind::Lease => Task::plain(read(Verb::Get, key)),
            Kind::Queue => Task::plain(read(Verb::Range, key)),
            Kind::Set => Task::plain(read(Verb::SMembers, key)),
            Kind::Hash => Task::plain(read(Verb::HGetAll, key)),
            Kind::Sorted => Task::plain(read(Verb::ZRange, key)),
            Kind::Mix => Task::new(
                How::Multi,
                vec![
                    read(Verb::Get, &format!("{key}register")),
                    read(Verb::Range, &format!("{key}queue")),
                    read(Verb::SMembers, &format!("{key}set")),
                    read(Verb::HGetAll, &format!("{key}hash")),
                    read(Verb::ZRange, &format!("{key}sorted")),
                ],
            ),
        }
    }
}

/// How likely what is, of the sum of all: drawn for each run.
#[derive(Clone, Copy, Debug)]
struct Weights {
    counter: u64,
    list: u64,
    bank: u64,
    filler: u64,
    kinds: [u64; KINDS.len()],
}

/// Draws what clients do next. One for all clients of a run.
#[derive(Debug)]
pub struct Workload {
    next_value: i64,
    next_name: u64,
    slots: Vec<Slot>,
    retired: Vec<Slot>,
    weights: Weights,
    /// Some tasks have ids, and are tried again.
    repeats: bool,
    /// Some MULTI blocks are undone.
    undoes: bool,
}

/// Slots of each kind that are in use at a time.
const SLOTS: usize = 2;

impl Workload {
    /// A workload with weights of its own.
    pub fn new(rng: &mut Rng) -> Workload {
        let mut weight = || 1 + rng.below(8);
        let weights = Weights {
            counter: weight(),
            list: 2 * weight(),
            bank: weight(),
            filler: weight(),
            kinds: std::array::from_fn(|_| weight()),
        };
        let (slots, retired) = (Vec::new(), Vec::new());
        let (repeats, undoes) = (false, false);
        let mut workload =
            Workload { next_value: 0, next_name: 0, slots, retired, weights, repeats, undoes };
        for kind in KINDS.into_iter().flat_map(|kind| [kind; SLOTS]) {
            let slot = workload.new_slot(kind);
            workload.slots.push(slot);
        }
        workload
    }

    fn new_slot(&mut self, kind: Kind) -> Slot {
        self.next_name += 1;
        let number = self.next_name;
        let name = match kind {
            Kind::Mix => format!("mix{number}-"),
            kind => format!("{kind:?}{number}").to_lowercase(),
        };
        Slot { kind, name, operations: 0, unknown: 0 }
    }

    /// A register that nobody uses but whoever asked for it. It is read in the end, too.
    pub fn fresh_key(&mut self) -> String {
        let slot = self.new_slot(Kind::Register);
        let name = slot.name.clone();
        self.retired.push(slot);
        name
    }

    /// A wait for a key that nobody else uses.
    pub fn wait(&mut self) -> Task {
        let slot = self.new_slot(Kind::Queue);
        let wait = Call::new(Verb::BlPop, slot.name.clone(), vec![Datum::Int(1_500)]);
        self.retired.push(slot);
        Task::plain(wait)
    }

    /// A queue that nobody uses but whoever asked for it, of a name that fits. It is read in the end, too.
    pub fn fresh_queue(&mut self, fits: impl Fn(&str) -> bool) -> String {
        loop {
            let slot = self.new_slot(Kind::Queue);
            let name = slot.name.clone();
            if fits(&name) {
                self.retired.push(slot);
                return name;
            }
        }
    }

    /// A write to a queue, which shows if it is done twice.
    pub fn push(&mut self, queue: &str) -> Task {
        Task::plain(Call::new(Verb::Append, queue, vec![self.value()]))
    }

    /// A write that shows if it is done twice.
    pub fn append(&mut self, rng: &mut Rng) -> Task {
        Task::plain(Call::new(Verb::Append, draw::list_key(rng), vec![self.value()]))
    }

    /// The same, to this list, and a read of it.
    pub fn append_to(&mut self, list: u64) -> [Task; 2] {
        let key = draw::list(list % LISTS);
        let append = Call::new(Verb::Append, key.clone(), vec![self.value()]);
        [append, Call::new(Verb::Range, key, vec![])].map(Task::plain)
    }

    /// The same, to all lists at once: keys that are in several shards, if there are any.
    pub fn append_to_all(&mut self, how: How) -> Task {
        let append = |list| {
            let [append, _] = self.append_to(list);
            append.calls
        };
        Task::new(how, (0..LISTS).flat_map(append).collect())
    }

    /// Makes keys that were not there, in several shards, if there are any.
    pub fn make_keys(&mut self) -> Task {
        let slot = self.new_slot(Kind::Mix);
        let name = slot.name.clone();
        self.retired.push(slot);
        Task::new(How::Multi, draw::make(&name, || self.value()))
    }

    /// Money goes from one account to another: keys that are in several shards, if there are any.
    pub fn transfer(&mut self, rng: &mut Rng) -> Task {
        Task::new(How::Multi, self.draw_transfer(rng))
    }

    /// From here on, most of what is asked is of the few keys that are there for the whole run.
    pub fn contend(&mut self) {
        (self.weights.list, self.weights.bank) = (60, 60);
    }

    /// A value that nobody else writes.
    pub fn value(&mut self) -> Datum {
        self.next_value += 1;
        Datum::Int(self.next_value)
    }

    /// Gives ids to some tasks from here on.
    pub fn repeat(&mut self) {
        self.repeats = true;
    }

    /// Lets some MULTI blocks fail from here on.
    pub fn undo(&mut self) {
        self.undoes = true;
    }

    /// What a client does next. Some of what changes anything has an id.
    pub fn draw(&mut self, rng: &mut Rng, reads: bool) -> Task {
        let mut task = self.draw_task(rng, reads);
        if self.repeats && task.takes_id() && rng.one_in(3) {
            self.next_name += 1;
            task.id = Some(format!("once{}", self.next_name));
        }
        if self.undoes && task.how == How::Multi && !task.reads() && rng.one_in(8) {
            task.how = How::Rollback;
        }
        task
    }

    /// One that only reads is never stuck behind a write of its own, so
    /// it sees whatever a leader without followers still shows.
    fn draw_task(&mut self, rng: &mut Rng, reads: bool) -> Task {
        let Weights { counter, list, bank, filler, kinds } = self.weights;
        if reads {
            return self.draw_read(rng);
        }
        let mut dice = rng.below(counter + list + bank + filler + kinds.iter().sum::<u64>());
        let mut is_it = |weight: u64| {
            let is_it = dice < weight;
            dice = dice.saturating_sub(weight);
            is_it
        };
        if is_it(counter) {
            return draw::counter(rng);
        }
        if is_it(list) {
            return self.draw_list(rng);
        }
        if is_it(bank) {
            return self.draw_bank(rng);
        }
        if is_it(filler) {
            return draw::filler(rng);
        }
        let kind = KINDS.into_iter().zip(kinds).find(|(_, weight)| is_it(*weight));
        self.draw_slot(kind.map_or(Kind::Register, |(kind, _)| kind), rng)
    }

    fn draw_read(&mut self, rng: &mut Rng) -> Task {
        match rng.below(4) {
            0 => Task::plain(Call::new(Verb::Get, draw::counter_key(rng), vec![])),
            1 => Task::plain(Call::new(Verb::Range, draw::list_key(rng), vec![])),
            _ => {
                let at = rng.below(self.slots.len() as u64) as usize;
                self.use_slot(at);
                self.slots[at].read()
            }
        }
    }

    /// Counts an operation on a slot, and puts another in its place if it has had enough.
    fn use_slot(&mut self, at: usize) {
        let Slot { kind, operations, unknown, .. } = self.slots[at];
        if operations >= KEY_OPERATIONS_MAX || unknown >= KEY_UNKNOWN_MAX {
            let new = self.new_slot(kind);
            let old = std::mem::replace(&mut self.slots[at], new);
            self.retired.push(old);
        }
        self.slots[at].operations += 1;
    }

    fn draw_slot(&mut self, kind: Kind, rng: &mut Rng) -> Task {
        let first = self.slots.iter().position(|slot| slot.kind == kind).unwrap_or(0);
        let at = first + rng.below(SLOTS as u64) as usize;
        self.use_slot(at);
        if rng.one_in(5) {
            return self.slots[at].read();
        }
        let (kind, key) = (self.slots[at].kind, self.slots[at].name.clone());
        let value = self.value();
        match kind {
            Kind::Register => draw::register(rng, key, value),
            Kind::Mix => draw::mix(rng, &key, || {
                self.next_value += 1;
                Datum::Int(self.next_value)
            }),
            Kind::Lease => Task::plain(draw::lease(rng, key, value)),
            Kind::Queue => Task::plain(draw::queue(rng, key, value)),
            Kind::Set => Task::plain(draw::set(rng, key)),
            Kind::Hash => Task::plain(draw::hash(rng, key, value)),
            Kind::Sorted => Task::plain(draw::sorted(rng, key)),
        }
    }

    fn draw_list(&mut self, rng: &mut Rng) -> Task {
        let calls = (0..1 + rng.below(4)).map(|_| {
            let key = draw::list_key(rng);
            if rng.one_in(2) {
                Call::new(Verb::Range, key, vec![])
            } else {
                Call::new(Verb::Append, key, vec![self.value()])
            }
        });
        draw::together(calls.collect(), rng).between_reads()
    }

    fn draw_bank(&mut self, rng: &mut Rng) -> Task {
        if rng.one_in(3) {
            return audit(rng);
        }
        draw::together(self.draw_transfer(rng), rng).between_reads()
    }

    fn draw_transfer(&mut self, rng: &mut Rng) -> Vec<Call> {
        let source = rng.below(ACCOUNTS);
        let target = (source + 1 + rng.below(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = rng.below(100) as i64;
        let add = |number, by| Call::new(Verb::IncrBy, account(number), vec![Datum::Int(by)]);
        let note = Call::new(Verb::Append, JOURNAL, vec![self.value()]);
        vec![add(source, -amount), add(target, amount), note]
    }

    /// An operation ended: whatever may still take effect makes its keys dearer to check.
    pub fn note(&mut self, task: &Task, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Unknown(_)) || task.reads() {
            return;
        }
        let key = &task.calls[0].key;
        let is_of = |slot: &&mut Slot| match slot.kind {
            Kind::Mix => key.starts_with(&slot.name),
            _ => *key == slot.name,
        };
        if let Some(slot) = self.slots.iter_mut().find(is_of) {
            slot.unknown += 1;
        }
    }

    /// Reads of everything that was ever written, for the end.
    pub fn last_reads(&self) -> Vec<Task> {
        let mut reads: Vec<Task> = self.slots.iter().chain(&self.retired).map(Slot::read).collect();
        let key = |verb, key: String| Task::plain(Call::new(verb, key, vec![]));
        reads.extend((0..COUNTERS).map(|n| key(Verb::Get, format!("counter{n}"))));
        reads.extend((0..LISTS).map(|n| key(Verb::Range, draw::list(n))));
        let mut rng = Rng::new(0);
        reads.extend([audit(&mut rng), key(Verb::Range, JOURNAL.to_owned())]);
        reads
    }
}

fn audit(rng: &mut Rng) -> Task {
    let mut calls: Vec<Call> =
        (0..ACCOUNTS).map(|number| Call::new(Verb::Get, account(number), vec![])).collect();
    calls.push(Call::new(Verb::LLen, JOURNAL, vec![]));
    draw::together(calls, rng)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{KEY_UNKNOWN_MAX, Outcome, Rng, Workload};

    #[test]
    fn every_verb_is_drawn_and_every_key_is_read_in_the_end() {
        let mut rng = Rng::new(1);
        let mut workload = Workload::new(&mut rng);
        let (mut verbs, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..20_000 {
            let task = workload.draw(&mut rng, false);
            for call in &task.calls {
                verbs.insert(call.verb);
                keys.insert(call.key.clone());
            }
            assert!(!task.ask().is_empty());
        }
        assert_eq!(verbs.len(), 29);
        let reads = workload.last_reads();
        let read: BTreeSet<String> =
            reads.iter().flat_map(|task| &task.calls).map(|call| call.key.clone()).collect();
        keys.retain(|key| !key.starts_with("filler"));
        assert!(keys.is_subset(&read), "{:?}", keys.difference(&read));
    }

    #[test]
    fn a_key_with_many_unknown_outcomes_is_left_alone() {
        let mut rng = Rng::new(2);
        let mut workload = Workload::new(&mut rng);
        for _ in 0..5_000 {
            let task = workload.draw(&mut rng, false);
            workload.note(&task, &Outcome::Unknown(String::new()));
        }
        assert!(workload.retired.len() > 100);
        assert!(workload.retired.iter().all(|slot| slot.unknown <= KEY_UNKNOWN_MAX));
    }
}

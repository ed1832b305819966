//! A sequence: settings, random calls, and a look at everything that they left.

use keyspace::command::{self, Command, Flags, Group};
use wire::{ArgsBuf, Proto};

use crate::compare;
use crate::grammar::{self, Call, Node};
use crate::rows::{ROWS, Row, Rule};
use crate::slots::{ALIKE, KEYS, Slots};

/// What both sides are asked, from an empty shard on.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    pub(crate) proto: Proto,
    /// Are keyspace events compared, too? Else reads go past the log, as those of a leader do.
    pub(crate) events: bool,
    pub(crate) calls: Vec<Call>,
    /// Asked when all calls are done.
    pub(crate) probes: Vec<Call>,
}

/// The rows with their templates read.
pub(crate) struct Generator {
    rows: Vec<Ready>,
}

struct Ready {
    row: &'static Row,
    command: &'static Command,
    templates: Vec<Vec<Node>>,
}

/// The row of the table of commands for a name such as `object encoding`.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    let args: ArgsBuf = name.split(' ').map(str::as_bytes).collect();
    command::find(args.args())
}

impl Generator {
    pub(crate) fn new() -> Generator {
        let ready = |row: &'static Row| {
            let command = find(row.name).unwrap_or_else(|| panic!("no command {}", row.name));
            let templates = row.templates.iter().map(|text| grammar::parse(text)).collect();
            Ready { row, command, templates }
        };
        Generator { rows: ROWS.iter().map(ready).collect() }
    }

    /// The sequence of this seed.
    pub(crate) fn sequence(&self, seed: u64, length: usize) -> Sequence {
        let mut slots = Slots::new(seed);
        let proto = if slots.rng.one_in(2) { Proto::Resp3 } else { Proto::Resp2 };
        let events = slots.rng.one_in(2);
        let mut calls = settings(&mut slots);
        let menu = self.menu(&mut slots);
        while calls.len() < length {
            self.step(&menu, &mut slots, &mut calls);
        }
        calls.push(vec![b"exec".to_vec()]);
        calls.push(vec![b"select".to_vec(), b"0".to_vec()]);
        // Redis does not tell who watches of an XSETID.
        if calls.iter().flatten().any(|word| word.eq_ignore_ascii_case(b"xsetid")) {
            calls.retain(|call| !call[0].eq_ignore_ascii_case(b"watch"));
        }
        Sequence { proto, events, calls, probes: probes() }
    }

    /// The commands of this sequence, each as often as its weight says: those of all groups, or
    /// of one or two, so that their keys grow.
    fn menu(&self, slots: &mut Slots) -> Vec<&Ready> {
        const DATA: &[Group] =
            &[Group::String, Group::List, Group::Set, Group::Hash, Group::SortedSet, Group::Stream];
        let (first, second) = (*slots.pick(DATA), *slots.pick(DATA));
        let all = slots.rng.one_in(3);
        let mut menu = Vec::new();
        for ready in &self.rows {
            let group = ready.command.group;
            let group = if group == Group::Bitmap { Group::String } else { group };
            let wanted = all || group == first || group == second;
            let weight = match DATA.contains(&group) {
                true if wanted => ready.row.weight,
                true => 0,
                // The rest comes along, but seldom.
                false => ready.row.weight.div_ceil(4),
            };
            menu.extend((0..weight).map(|_| ready));
        }
        menu
    }

    fn step(&self, menu: &[&Ready], slots: &mut Slots, calls: &mut Vec<Call>) {
        let ready = *slots.pick(menu);
        if slots.rng.one_in(60) {
            return expire(slots, calls);
        }
        slots.inner = vec![self.inner(slots, ready.row.name.starts_with("command"))];
        let mut call = self.call(ready, slots);
        let inert =
            ready.command.flags.has(Flags::BLOCKING) || ready.row.name.starts_with("script");
        let inert = inert || call.iter().any(|arg| ALIKE.iter().any(|key| arg == key.as_bytes()));
        if slots.rng.one_in(20) && !inert {
            disturb(&mut call, slots);
        }
        // What the dice choose in EXEC, one side cannot tell the other.
        let last = |name: &[u8]| calls.iter().rposition(|call| call[0].eq_ignore_ascii_case(name));
        let queued = last(b"multi") > last(b"exec");
        if ready.row.rule != Rule::Pop || !queued {
            calls.push(call);
        }
    }

    fn call(&self, ready: &Ready, slots: &mut Slots) -> Call {
        let mut call = Call::new();
        for word in ready.row.name.split(' ') {
            call.push(grammar::any_case(word, &mut slots.rng));
        }
        let template = slots.pick(&ready.templates);
        grammar::fill(template, slots, &mut call);
        call
    }

    /// A call for a script or for COMMAND. A script's reply is compared byte for byte.
    fn inner(&self, slots: &mut Slots, any: bool) -> Call {
        loop {
            let ready = slots.pick(&self.rows);
            let group = ready.command.group;
            let alone = matches!(group, Group::Scripting | Group::Transactions | Group::Connection);
            let call = self.call(ready, slots);
            let exact = compare::rule(&call) == Rule::Exact;
            let alone =
                alone || matches!(ready.command.name, "dbsize" | "getkeys" | "getkeysandflags");
            if any || exact && !alone {
                return call;
            }
        }
    }
}

/// Lets a key come to its end: both clocks pass it while the server rests.
fn expire(slots: &mut Slots, calls: &mut Vec<Call>) {
    let key = slots.pick(KEYS).as_bytes().to_vec();
    // The rest must not be queued.
    calls.push(vec![b"exec".to_vec()]);
    calls.push(vec![b"pexpire".to_vec(), key.clone(), b"1".to_vec()]);
    calls.push(vec![b"debug".to_vec(), b"sleep".to_vec(), b"0.003".to_vec()]);
    // A key that nobody has looked at since is still counted, on one side or the other.
    calls.push(vec![b"persist".to_vec(), key]);
}

/// Makes a call a little wrong.
fn disturb(call: &mut Call, slots: &mut Slots) {
    const ODD: &[&str] =
        &["", "x", "-1", "nan", "limit", "0", "withscores", "9223372036854775808", "get", "store"];
    let at = 1 + slots.rng.below(call.len() as u64) as usize;
    match slots.rng.below(4) {
        0 if call.len() > 1 => drop(call.remove(at.min(call.len() - 1))),
        1 => {
            let odd = slots.pick(ODD).as_bytes().to_vec();
            call.insert(at, odd);
        }
        2 if call.len() > 1 => {
            let twice = call[at.min(call.len() - 1)].clone();
            call.push(twice);
        }
        _ => {
            let odd = slots.pick(ODD).as_bytes().to_vec();
            let at = at.min(call.len() - 1);
            if at > 0 {
                call[at] = odd;
            }
        }
    }
}

/// Sizes up to which compact encodings are kept, small enough to be passed.
fn settings(slots: &mut Slots) -> Vec<Call> {
    const SETTINGS: &[(&str, &[&str])] = &[
        ("hash-max-listpack-entries", &["512", "0", "4", "16"]),
        ("hash-max-listpack-value", &["64", "0", "4", "1000"]),
        ("set-max-intset-entries", &["512", "0", "4", "16"]),
        ("zset-max-listpack-entries", &["128", "0", "4", "16"]),
        ("zset-max-listpack-value", &["64", "0", "4", "1000"]),
        ("list-max-listpack-size", &["-2", "1", "4", "-1", "-5"]),
    ];
    let mut calls = Vec::new();
    for (name, values) in SETTINGS {
        if slots.rng.one_in(2) {
            let value = slots.pick(values);
            let words = ["config", "set", name, value];
            calls.push(words.iter().map(|word| word.as_bytes().to_vec()).collect());
        }
    }
    calls
}

/// Everything that can be seen of every key: type, encoding, time to live, content.
fn probes() -> Vec<Call> {
    let mut probes = Vec::new();
    let mut add = |line: &str| {
        probes.push(line.split(' ').map(|word| word.as_bytes().to_vec()).collect());
    };
    for db in [1, 2, 0] {
        add(&format!("select {db}"));
        add("keys *");
        let keys = if db == 0 { [KEYS, ALIKE].concat() } else { Vec::new() };
        for key in keys {
            add(&format!("type {key}"));
            add(&format!("object encoding {key}"));
            add(&format!("pttl {key}"));
            add(&format!("get {key}"));
            add(&format!("lrange {key} 0 -1"));
            add(&format!("smembers {key}"));
            add(&format!("hgetall {key}"));
            add(&format!("zrange {key} 0 -1 withscores"));
            add(&format!("xrange {key} - +"));
        }
    }
    add("dbsize");
    probes
}

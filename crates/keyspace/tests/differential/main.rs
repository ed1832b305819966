//! The keyspace against a real redis-server: random calls of every command of the table, one after the
//! other, on both; each reply is compared, and after each sequence all that can be seen of each key.
//!
//! ```text
//! seed ─▶ Sequence ─┬▶ redis-server, pipelined ─▶ replies ─┐
//!                   └▶ Shard, in this process  ─▶ replies ─┴▶ the first difference ─▶ shrunk ─▶ shown
//! ```
//!
//! `SYNOD_DIFFERENTIAL_COMMANDS` says how many calls are made, `SYNOD_DIFFERENTIAL_SEED` which ones.
//! Without a redis-server on the path the test says so and passes.
//!
//! Not compared: what a session answers (CLIENT, SUBSCRIBE …), several clients at a time, and the
//! moments at which keys expire.

mod compare;
mod grammar;
mod ours;
mod rows;
mod run;
mod script;
mod sequence;
mod shrink;
mod slots;
mod theirs;

use std::collections::BTreeSet;
use std::io::Write;

use keyspace::command;

use crate::rows::{EXCEPTIONS, ROWS};
use crate::run::{Difference, Theirs};
use crate::sequence::{Generator, Sequence};

/// Calls of one sequence, probes not counted.
const SEQUENCE_CALLS: usize = 300;

/// Calls of `cargo test`: a few seconds.
const COMMANDS_DEFAULT: usize = 60_000;

/// Differences after which the test ends.
const DIFFERENCES_MAX: usize = 12;

fn number(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Tells what must be seen, although the test passes: what `eprintln` says is kept back then.
fn say(text: &str) {
    let mut stderr = std::io::stderr();
    stderr.write_all(format!("{text}\n").as_bytes()).expect("somebody listens");
}

/// A difference that comes back: a millisecond may be over on one side only, once.
fn again_and_again(theirs: &mut Theirs, sequence: &Sequence) -> Option<Difference> {
    let first = theirs.compare(sequence)?;
    let comes_back = (0..2).all(|_| theirs.compare(sequence).is_some());
    comes_back.then_some(first)
}

#[test]
fn every_command_of_the_table_is_called_or_named_with_its_reason() {
    let excused = |name: &str| EXCEPTIONS.iter().any(|(known, _)| *known == name);
    let called = |name: &str| ROWS.iter().any(|row| row.name == name);
    for command in command::all() {
        if excused(&format!("{} *", command.name)) {
            continue;
        }
        let subcommands = command.subcommands.iter();
        let mut names: Vec<_> =
            subcommands.map(|sub| format!("{} {}", command.name, sub.name)).collect();
        if names.is_empty() {
            names.push(command.name.to_owned());
        }
        for name in names {
            let both = called(&name) && excused(&name);
            assert!(!both, "{name} is called, and has a reason not to be");
            assert!(called(&name) || excused(&name), "{name} has no row and no reason: rows.rs");
        }
    }
    for (name, _) in EXCEPTIONS {
        let name = name.trim_end_matches(" *");
        assert!(sequence::find(name).is_some(), "{name} is excused and does not exist");
    }
}

#[test]
fn random_calls_have_the_replies_and_leave_the_state_of_redis() {
    let Some(server) = theirs::Server::start() else {
        say("SKIPPED: no redis-server on the path, nothing was compared with it. \
             On Debian and Ubuntu: apt-get install redis-server");
        return;
    };
    let commands = number("SYNOD_DIFFERENTIAL_COMMANDS", COMMANDS_DEFAULT);
    let first = number("SYNOD_DIFFERENTIAL_SEED", 1) as u64;
    let mut theirs = Theirs::new(&server);
    let generator = Generator::new();
    let (mut done, mut seed) = (0, first);
    let (mut stories, mut seen) = (Vec::new(), BTreeSet::new());
    while done < commands && stories.len() < DIFFERENCES_MAX {
        let sequence = generator.sequence(seed, SEQUENCE_CALLS);
        done += sequence.calls.len() + sequence.probes.len();
        if let Some(difference) = again_and_again(&mut theirs, &sequence) {
            let (sequence, difference) = shrink::shrink(&mut theirs, sequence, difference);
            let story = run::story(&sequence, &difference);
            // One of each kind is enough.
            let calls = sequence.calls.iter().chain(&sequence.probes);
            let kind = calls.last().map(|call| call[0].to_ascii_lowercase());
            if seen.insert(kind) {
                say(&format!("seed {seed}:\n{story}"));
                stories.push(story);
            }
        }
        seed += 1;
    }
    say(&format!("{done} calls of seeds {first} to {} compared with Redis", seed - 1));
    assert!(stories.is_empty(), "{} differences, told above", stories.len());
}

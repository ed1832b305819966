//! Counters for INFO.
//!
//! Calls are counted by command. What a script calls is the script's; calls in MULTI are counted
//! when they are queued, and their errors are not theirs. How long a command took is not measured:
//! that would take two looks at the clock for each, which is more than most of them take.

use std::collections::BTreeMap;
use std::fmt::Write;

use keyspace::command::{self, Command};
use stdx::Map;
use wire::Args;

use super::Flow;
use crate::limits::ERROR_CODES_MAX;

/// The name of a command: its container's, and its own. Of one without a container, both are its own.
pub(crate) type Name = (&'static str, &'static str);

/// The name of what these arguments call.
pub(crate) fn name(command: &'static Command, args: Args<'_>) -> Name {
    match args.is(0, command.name) {
        true => (command.name, command.name),
        false => (command::find_name(&args[0]).map_or("", |row| row.name), command.name),
    }
}

/// What came of the calls of a command.
#[derive(Clone, Debug)]
struct Calls {
    name: Name,
    taken: u64,
    refused: u64,
    failed: u64,
}

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) connections: u64,
    pub(crate) rejected: u64,
    pub(crate) commands: u64,
    pub(crate) errors: u64,
    /// By the word that an error begins with, as many words as are worth to keep apart.
    pub(crate) errors_by_code: BTreeMap<String, u64>,
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
    calls: Vec<Calls>,
    /// Where in `calls` a command stands.
    places: Map<Name, u16>,
    /// The newest of them: most calls are of the same command as the one before.
    last: u16,
}

impl Stats {
    /// The number of a command, which it keeps.
    pub(crate) fn place(&mut self, name: Name) -> u16 {
        if self.calls.get(usize::from(self.last)).is_some_and(|calls| calls.name == name) {
            return self.last;
        }
        // The table of commands has some hundred rows.
        let next = self.calls.len() as u16;
        self.last = *self.places.get_or_insert_with(name, || next);
        if self.last == next {
            self.calls.push(Calls { name, taken: 0, refused: 0, failed: 0 });
        }
        self.last
    }

    /// The name of the command with this number.
    pub(super) fn name_at(&self, place: u16) -> Name {
        self.calls[usize::from(place)].name
    }

    /// A command that may be unknown was called; it is counted once its turn has come.
    pub(super) fn note_call(&mut self, place: Option<u16>, flow: Flow) {
        if !matches!(flow, Flow::Next | Flow::Refused) {
            return;
        }
        self.commands += 1;
        if let Some(calls) = place.and_then(|place| self.calls.get_mut(usize::from(place))) {
            calls.taken += u64::from(flow == Flow::Next);
            calls.refused += u64::from(flow == Flow::Refused);
        }
    }

    /// A command was answered.
    pub(crate) fn note_reply(&mut self, place: u16, reply: &[u8]) {
        if reply.first() != Some(&b'-') {
            return;
        }
        self.note_error(reply);
        if let Some(calls) = self.calls.get_mut(usize::from(place)) {
            calls.failed += 1;
        }
    }

    /// Counts an error.
    pub(crate) fn note_error(&mut self, reply: &[u8]) {
        if reply.is_empty() {
            return;
        }
        self.errors += 1;
        let end = reply.iter().position(|byte| matches!(byte, b' ' | b'\r'));
        let code = String::from_utf8_lossy(&reply[1..end.unwrap_or(reply.len())]).into_owned();
        if self.errors_by_code.len() < ERROR_CODES_MAX || self.errors_by_code.contains_key(&code) {
            *self.errors_by_code.entry(code).or_default() += 1;
        }
    }

    /// Counts from zero again. Commands keep their numbers.
    pub(crate) fn reset(&mut self) {
        let (mut calls, places) =
            (std::mem::take(&mut self.calls), std::mem::take(&mut self.places));
        for calls in &mut calls {
            (calls.taken, calls.refused, calls.failed) = (0, 0, 0);
        }
        *self = Stats { calls, places, ..Stats::default() };
    }

    /// The lines of INFO's `commandstats`, in the order of the names.
    pub(crate) fn put_commands(&self, out: &mut String) {
        let counted = |calls: &&Calls| calls.taken + calls.refused + calls.failed > 0;
        let mut calls: Vec<&Calls> = self.calls.iter().filter(counted).collect();
        calls.sort_by_key(|calls| calls.name);
        for Calls { name: (container, name), taken, refused, failed } in calls {
            let full =
                if container == name { (*name).to_owned() } else { format!("{container}|{name}") };
            let _ = write!(
                out,
                "cmdstat_{full}:calls={taken},usec=0,usec_per_call=0.00,\
                 rejected_calls={refused},failed_calls={failed}\r\n"
            );
        }
    }
}

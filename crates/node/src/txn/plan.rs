//! How calls over several shards are taken apart, and their replies put together.
//!
//! | a call | is |
//! | --- | --- |
//! | with all keys in one shard | one piece |
//! | MSET, DEL, UNLINK | a piece for each shard that has any of its keys |
//! | that names no key and writes (FLUSHALL, SCRIPT LOAD …), DBSIZE, KEYS | a piece for every shard |
//! | that names no key and reads something that all shards have | one piece, anywhere |
//! | any other over several shards, and what may touch keys that it does not name | run at the gateway |
//!
//! What names no key and comes with one of the last row runs at the gateway too.

use std::collections::BTreeMap;

use keyspace::command::{self, Command, Run};
use wire::resp::{elements, is_null};
use wire::{Args, ArgsBuf};

use hashring::Shards;

use crate::route::{Home, home, shard_of};

/// How calls are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// Each piece in its shard, which locks the keys.
    Pieces,
    /// The same, with every shard locked as a whole.
    Whole,
    /// At the gateway, on a scratch.
    Scratch,
}

/// How the replies of a call's pieces make its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Merge {
    /// Any of them: they are alike.
    First,
    /// The sum of numbers.
    Sum,
    /// One array of all elements.
    Concat,
    /// One that is not null.
    Some,
    /// An array with the highest number of each place.
    Most,
}

/// All calls of a transaction, taken apart.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) mode: Mode,
    /// For each shard its pieces: the call that it is of, and what is called.
    pub(super) pieces: BTreeMap<usize, Vec<(usize, u8, ArgsBuf)>>,
    merges: Vec<Merge>,
    /// A call that can't run on a scratch, which knows keys and nothing else of a shard.
    pub(super) misfit: Option<String>,
    /// Draws among answers that are equally good.
    dice: u64,
}

impl Plan {
    /// With this number to draw by.
    pub(super) fn with_dice(self, dice: u64) -> Plan {
        Plan { dice, ..self }
    }

    /// Takes calls apart; each has passed `check_call`.
    pub(super) fn of(shards: Shards, calls: &[(u8, ArgsBuf)]) -> Plan {
        let mut plan = Plan {
            mode: Mode::Pieces,
            pieces: BTreeMap::new(),
            merges: Vec::with_capacity(calls.len()),
            misfit: None,
            dice: 0,
        };
        let mut anywhere = Vec::new();
        for (at, (db, args)) in calls.iter().enumerate() {
            let args = args.args();
            let Some(command) = command::find(args) else { unreachable!("calls are checked") };
            if is_beside_keys(args) {
                let words = args.range(0, 2).iter().map(String::from_utf8_lossy);
                plan.misfit = Some(words.collect::<Vec<_>>().join(" ").to_uppercase());
            }
            if command::roams(args) {
                plan.mode = Mode::Scratch;
                plan.merges.push(Merge::First);
                continue;
            }
            match home(shards, command, args) {
                Home::One(shard) => plan.put(shard, at, *db, args, Merge::First),
                Home::Several => plan.split(shards, at, *db, args),
                Home::Keyless => match everywhere(command) {
                    Some(merge) => {
                        plan.mode = plan.mode.max(Mode::Whole);
                        for shard in 0..shards.count() {
                            plan.piece(shard, at, *db, args.iter().collect());
                        }
                        plan.merges.push(merge);
                    }
                    None => {
                        anywhere.push((at, *db, args));
                        plan.merges.push(Merge::First);
                    }
                },
            }
        }
        // What can run anywhere runs where something else does.
        let shard = plan.pieces.keys().next().copied().unwrap_or_default();
        for (at, db, args) in anywhere {
            plan.piece(shard, at, db, args.iter().collect());
        }
        plan.pieces.values_mut().for_each(|pieces| pieces.sort_by_key(|(at, ..)| *at));
        plan
    }

    fn put(&mut self, shard: usize, at: usize, db: u8, args: Args<'_>, merge: Merge) {
        self.piece(shard, at, db, args.iter().collect());
        self.merges.push(merge);
    }

    fn piece(&mut self, shard: usize, at: usize, db: u8, args: ArgsBuf) {
        self.pieces.entry(shard).or_default().push((at, db, args));
    }

    fn split(&mut self, shards: Shards, at: usize, db: u8, args: Args<'_>) {
        let (step, merge) = if args.is(0, "mset") && args.len() % 2 == 1 {
            (2, Merge::First)
        } else if args.is(0, "del") || args.is(0, "unlink") {
            (1, Merge::Sum)
        } else {
            self.mode = Mode::Scratch;
            self.merges.push(Merge::First);
            return;
        };
        let mut pieces: BTreeMap<usize, ArgsBuf> = BTreeMap::new();
        for from in (1..args.len()).step_by(step) {
            let shard = shard_of(shards, &args[from]);
            let piece = pieces.entry(shard).or_insert_with(|| [&args[0]].into_iter().collect());
            args.range(from, from + step).iter().for_each(|arg| piece.push(arg));
        }
        for (shard, piece) in pieces {
            self.piece(shard, at, db, piece);
        }
        self.merges.push(merge);
    }

    /// The replies of all calls, from those of the pieces of each shard.
    pub(super) fn merge(&self, replies: &BTreeMap<usize, Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
        let mut of_call: Vec<Vec<&[u8]>> = vec![Vec::new(); self.merges.len()];
        for (shard, pieces) in &self.pieces {
            let Some(replies) = replies.get(shard) else { continue };
            for ((at, ..), reply) in pieces.iter().zip(replies) {
                of_call[*at].push(reply);
            }
        }
        self.merges
            .iter()
            .zip(of_call)
            .map(|(merge, parts)| merged((*merge, self.dice), &parts))
            .collect()
    }
}

/// How a call that names no key runs in every shard; nothing if one is enough.
fn everywhere(command: &Command) -> Option<Merge> {
    match (command.name, command.run) {
        ("dbsize", _) => Some(Merge::Sum),
        // SYNOD.BACKUP BEGIN.
        ("keys", _) | ("begin", Run::Write(_)) => Some(Merge::Concat),
        ("randomkey", _) => Some(Merge::Some),
        // SCRIPT EXISTS, in MULTI.
        ("exists", _) => Some(Merge::Most),
        // CONFIG SET.
        (_, Run::Write(_)) | ("set", Run::Session(_)) => Some(Merge::First),
        _ => None,
    }
}

/// Does this call concern scripts, functions or settings and no key, or whole databases as such?
fn is_beside_keys(args: Args<'_>) -> bool {
    let is = |name| args.is(0, name);
    is("script") || is("function") || is("swapdb") || is("config") && args.is(1, "set")
}

/// Does this call, alone, need more than one shard, though it names no key?
pub(crate) fn is_everywhere(command: &Command) -> bool {
    everywhere(command).is_some()
}

/// Does this call concern every shard as a whole? It runs when all has been decided.
pub fn concerns_all(command: &Command, args: Args<'_>) -> bool {
    is_everywhere(command) && !command::roams(args) && command.key_positions(args).is_empty()
}

fn merged((merge, dice): (Merge, u64), parts: &[&[u8]]) -> Vec<u8> {
    // An error of one is an error of the call: all were given the same words.
    let error = parts.iter().find(|part| part.first() == Some(&b'-'));
    let first = error.or_else(|| parts.first()).map(|part| part.to_vec()).unwrap_or_default();
    if error.is_some() {
        return first;
    }
    match merge {
        Merge::First => first,
        Merge::Some => {
            // Each was drawn by dice, but a shard with one key has no choice.
            let some: Vec<&&[u8]> = parts.iter().filter(|part| !is_null(part)).collect();
            let drawn = stdx::hash_bytes(dice, &parts.concat());
            let at = drawn.checked_rem(some.len() as u64);
            at.map_or(first, |at| some[at as usize].to_vec())
        }
        Merge::Sum => {
            let number = |part: &&[u8]| {
                let digits = part.get(1..).map(<[u8]>::trim_ascii).unwrap_or_default();
                std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i64>().ok())
            };
            format!(":{}\r\n", parts.iter().filter_map(number).sum::<i64>()).into_bytes()
        }
        Merge::Most => {
            let rows = parts.iter().map(|part| elements(part).unwrap_or_default());
            let most = rows.reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| a.max(b)).collect());
            let most = most.unwrap_or_default();
            [format!("*{}\r\n", most.len()).as_bytes(), &most.concat()].concat()
        }
        Merge::Concat => {
            let elements: Vec<&[u8]> =
                parts.iter().filter_map(|part| elements(part)).flatten().collect();
            let mut out = format!("*{}\r\n", elements.len()).into_bytes();
            elements.iter().for_each(|element| out.extend_from_slice(element));
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &str) -> (u8, ArgsBuf) {
        (0, words.split(' ').map(str::as_bytes).collect())
    }

    fn plan(calls: &[&str]) -> Plan {
        let calls: Vec<_> = calls.iter().map(|words| call(words)).collect();
        Plan::of(Shards::new(16).unwrap(), &calls)
    }

    #[test]
    fn calls_fall_apart_by_their_keys_and_keep_their_order_in_a_shard() {
        let plan = plan(&["set a 1", "mset a 2 b 3 c 4", "get a", "del b a"]);
        assert_eq!(plan.mode, Mode::Pieces);
        let shards = Shards::new(16).unwrap();
        let of = |key: &[u8]| {
            let pieces = &plan.pieces[&shard_of(shards, key)];
            let words = |args: &ArgsBuf| {
                let words = args.args().iter().map(|arg| String::from_utf8_lossy(arg).into_owned());
                words.collect::<Vec<_>>().join(" ")
            };
            pieces.iter().map(|(at, _, args)| format!("{at} {}", words(args))).collect::<Vec<_>>()
        };
        assert_eq!(of(b"a"), ["0 set a 1", "1 mset a 2", "2 get a", "3 del a"]);
        assert_eq!(of(b"b"), ["1 mset b 3", "3 del b"]);
        assert_eq!(of(b"c"), ["1 mset c 4"]);
    }

    #[test]
    fn replies_are_put_together_as_one_server_would_give_them() {
        let plan = plan(&["dbsize", "keys *", "flushall", "script exists x y", "time"]);
        assert_eq!((plan.mode, plan.pieces.len()), (Mode::Whole, 16));
        let one = ":3\r\n *1\r\n$1\r\na\r\n +OK\r\n *2\r\n:0\r\n:1\r\n *0\r\n";
        let one: Vec<Vec<u8>> = one.split(' ').map(|reply| reply.as_bytes().to_vec()).collect();
        let replies = (0..16).map(|shard| (shard, one.clone())).collect();
        let merged = plan.merge(&replies);
        assert_eq!(merged[0], b":48\r\n");
        assert!(merged[1].starts_with(b"*16\r\n$1\r\na\r\n$1"));
        assert_eq!(merged[2], b"+OK\r\n");
        assert_eq!(merged[3], b"*2\r\n:0\r\n:1\r\n");
    }

    #[test]
    fn what_depends_on_data_elsewhere_runs_at_the_gateway() {
        assert_eq!(plan(&["rename a b"]).mode, Mode::Scratch);
        assert_eq!(plan(&["sort {a}l by w_*"]).mode, Mode::Scratch);
        assert_eq!(plan(&["sort {a}l"]).mode, Mode::Pieces);
        assert_eq!(plan(&["set a 1", "eval 1 1 a"]).mode, Mode::Scratch);
        assert_eq!(plan(&["msetnx a 1 b 2"]).mode, Mode::Scratch);
    }
}

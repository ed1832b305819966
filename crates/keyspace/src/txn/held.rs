//! Reads outside the log that met a locked key, or one that a parked call needs. They wait here, on
//! this replica alone, and run at their places among the calls that are parked.
//!
//! No part of the state: who loads a snapshot has none.

use std::collections::BTreeSet;

use wire::{Args, ArgsBuf};

use super::locks::{Access, Want};
use crate::command::{self, Flags};
use crate::context::Asker;
use crate::limits::PARKED_MAX;
use crate::shard::{Effects, Outcome, Shard};

/// A read that waits.
#[derive(Debug)]
pub(crate) struct Held {
    /// It runs before what is parked here, and behind what is parked before.
    pub(super) place: u64,
    number: u64,
    asker: Asker,
    args: ArgsBuf,
}

impl Shard {
    /// A read that was [`Outcome::Locked`] waits; its reply will be in [`Effects::reads`], under this number.
    /// False if too many wait.
    pub fn hold(&mut self, number: u64, asker: Asker, args: Args<'_>) -> bool {
        let has_room = self.held.len() < PARKED_MAX;
        if has_room {
            let place = self.next_place();
            self.held.push(Held { place, number, asker, args: args.iter().collect() });
        }
        has_room
    }

    /// A call was run. Takes out those of these reads that need a key which it may have changed: they wait for
    /// another, which did not keep the call.
    pub fn take_overtaken(&mut self, early: &[u64], db: u8, args: Args<'_>) -> Vec<u64> {
        let (mut changed, mut reads) = (Vec::new(), Vec::new());
        Shard::wants_of(db, args, &mut changed);
        changed.retain(|want| want.access == Access::Write);
        let writes = command::find(args).is_some_and(|command| command.flags.has(Flags::WRITE));
        let overtakes = |held: &mut Held| {
            reads.clear();
            Shard::wants_of(held.asker.db as u8, held.args.args(), &mut reads);
            let is_changed = |read: &Want| {
                changed.iter().any(|want| (want.db, &want.key) == (read.db, &read.key))
            };
            // What writes and names no key may change any.
            early.contains(&held.number)
                && (writes && changed.is_empty() || reads.iter().any(is_changed))
        };
        self.held.extract_if(.., overtakes).map(|held| held.number).collect()
    }

    /// Nobody waits for these any more.
    pub fn let_go(&mut self, numbers: &BTreeSet<u64>) {
        self.held.retain(|held| !numbers.contains(&held.number));
    }

    /// Something was taken out that was parked: what is parked from now on may have its place.
    pub(super) fn close_ranks(&mut self) {
        let next = self.next_place();
        self.held.iter_mut().for_each(|held| held.place = held.place.min(next));
    }

    /// Runs a read, by the log's clock, if it can go on.
    pub(super) fn try_held(&mut self, held: Held, effects: &mut Effects) {
        let Held { number, asker, ref args, .. } = held;
        let mut reply = Vec::new();
        match self.read(self.clock, number, asker, args.args(), true, &mut reply) {
            Outcome::Locked => self.held.push(held),
            Outcome::Replied => effects.reads.push((number, reply)),
            _ => unreachable!("no key is due by the log's own clock"),
        }
    }
}

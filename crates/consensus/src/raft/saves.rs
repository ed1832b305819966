//! What is on its way to the disk, and the messages that must not be seen before it is there.
//!
//! Saves are numbered; a `step` that saves anything opens one save. A message names the save that
//! backs it and is held until that one is done. Only this file lets a held message go, so "persist
//! before send" is structure.

use crate::limits::HELD_MAX;
use crate::replica::{Effects, Envelope, Record};

/// The saves of a replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Saves {
    /// The newest save.
    number: u64,
    /// All saves up to here are done.
    done: u64,
    /// Did the current step open `number`?
    open: bool,
    /// Messages and the saves that back them.
    held: Vec<(u64, Envelope)>,
}

impl Saves {
    /// A new step begins.
    pub(super) fn begin_step(&mut self) {
        self.open = false;
    }

    /// Adds a record to the save of this step and returns its number.
    pub(super) fn push(&mut self, record: Record, out: &mut Effects) -> u64 {
        if !self.open {
            self.open = true;
            self.number += 1;
        }
        out.save.push(record);
        out.save_number = self.number;
        self.number
    }

    /// The newest save: a message that it backs is backed by everything.
    pub(super) fn newest(&self) -> u64 {
        self.number
    }

    /// Is this save durable?
    pub(super) fn is_done(&self, save: u64) -> bool {
        save <= self.done
    }

    /// Sends a message once `save` is done. Past the limit it is dropped, as a network might.
    pub(super) fn send_after(&mut self, save: u64, envelope: Envelope, out: &mut Effects) {
        assert!(save <= self.number, "a message can only wait for a save that was asked for");
        if self.is_done(save) {
            out.send.push(envelope);
        } else if self.held.len() < HELD_MAX {
            self.held.push((save, envelope));
        }
    }

    /// All saves up to `save` are done: lets go the messages that waited for them.
    pub(super) fn finish(&mut self, save: u64, out: &mut Effects) {
        assert!(save <= self.number, "save {save} was never asked for");
        self.done = self.done.max(save);
        let done = self.done;
        out.send.extend(self.held.extract_if(.., |(save, _)| *save <= done).map(|held| held.1));
    }
}

#[cfg(test)]
mod tests {
    use super::Saves;
    use crate::replica::{Effects, Envelope, Message, NodeId, Record, Term};

    fn message(sequence: u64) -> Envelope {
        let message = Message::HeartbeatReply { sequence };
        Envelope { source: NodeId(1), target: NodeId(2), term: Term(1), message }
    }

    #[test]
    fn a_message_waits_for_its_save_and_no_longer() {
        let (mut saves, mut out) = (Saves::default(), Effects::default());
        let vote = Record::Vote { term: Term(1), vote: None };
        saves.begin_step();
        assert_eq!(saves.push(vote.clone(), &mut out), 1);
        assert_eq!(saves.push(vote.clone(), &mut out), 1, "one save for each step");
        saves.begin_step();
        assert_eq!(saves.push(vote, &mut out), 2);
        saves.send_after(0, message(0), &mut out);
        saves.send_after(2, message(2), &mut out);
        saves.send_after(1, message(1), &mut out);
        assert_eq!(out.send, [message(0)]);
        saves.finish(1, &mut out);
        assert_eq!(out.send, [message(0), message(1)]);
        saves.finish(2, &mut out);
        saves.finish(1, &mut out);
        assert_eq!(out.send, [message(0), message(1), message(2)]);
    }
}

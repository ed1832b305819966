//! Connections to the target, a thread each, that send batches and look at every reply.
//!
//! ```text
//! loader ─ batch ─▶ channel of one ─▶ lane: send, then wait for the batch before
//! ```
//!
//! What always holds: the calls of one key are sent on one lane, in order. A lane ends with its first
//! error reply or failure, and the loader with it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hashring::Shards;
use wire::resp::{Decoder, ReplyLimits, Value};

use super::calls::{Batch, Strings};
use crate::limits::{BATCHES_IN_FLIGHT_MAX, IN_FLIGHT_BYTES_MAX};
use crate::link::Link;

/// Longer than a node lets a request wait.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a key that an error shows.
const SHOWN_BYTES: usize = 100;

/// Room for bytes in flight, which all lanes share.
#[derive(Debug, Default)]
struct Room {
    used: Mutex<usize>,
    freed: Condvar,
}

impl Room {
    /// Takes room, if there is enough. A batch beyond all room takes all of it.
    fn try_take(&self, bytes: usize) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = *used + share(bytes) <= IN_FLIGHT_BYTES_MAX;
        if fits {
            *used += share(bytes);
        }
        fits
    }

    /// Waits for room. Only for a lane with nothing in flight: those that have will give theirs back.
    fn take(&self, bytes: usize) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |used: &mut usize| *used + share(bytes) > IN_FLIGHT_BYTES_MAX;
        let used = self.freed.wait_while(used, is_full);
        *used.unwrap_or_else(PoisonError::into_inner) += share(bytes);
    }

    fn give_back(&self, bytes: usize) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) -= share(bytes);
        self.freed.notify_all();
    }
}

fn share(bytes: usize) -> usize {
    bytes.min(IN_FLIGHT_BYTES_MAX)
}

struct Lane {
    inbox: SyncSender<Batch>,
    thread: JoinHandle<Result<(), String>>,
    /// The database that its last batch left it in.
    database: u64,
}

/// All connections, and which of them is used.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    at: usize,
    pub(crate) batch: Batch,
}

impl Lanes {
    /// Opens connections, to one address after the other.
    pub(crate) fn open(
        addrs: &[String],
        password: Option<&str>,
        count: u32,
        shards: Option<Shards>,
    ) -> Result<Lanes, String> {
        let room = Arc::new(Room::default());
        let open = |at: u32| {
            let room = room.clone();
            let addr = &addrs[at as usize % addrs.len()];
            let mut link = Link::connect(addr, TIMEOUT)?;
            link.authenticate(None, password)?;
            let (inbox, outbox) = sync_channel(1);
            let thread = std::thread::spawn(move || {
                let mut in_flight = VecDeque::new();
                let ended = run(&mut link, &outbox, &room, &mut in_flight);
                // The others must not wait for what a lane that failed has taken.
                in_flight.iter().for_each(|batch| room.give_back(batch.bytes.len()));
                ended
            });
            Ok(Lane { inbox, thread, database: 0 })
        };
        let lanes: Result<Vec<Lane>, String> = (0..count.max(1)).map(open).collect();
        Ok(Lanes { lanes: lanes?, at: 0, batch: Batch::new(Strings::new(shards)) })
    }

    /// A key of this database begins: it may go to another lane than those before.
    pub(crate) fn begin_key(&mut self, database: u64) -> Result<(), String> {
        if self.batch.is_full() {
            self.send()?;
            self.at = (self.at + 1) % self.lanes.len();
        }
        let lane = &mut self.lanes[self.at];
        if lane.database != database {
            lane.database = database;
            self.batch.write_strings();
            self.batch.call(&[b"SELECT", database.to_string().as_bytes()]);
        }
        Ok(())
    }

    /// Within a key: sends what is enough for a batch, on the lane of the key.
    pub(crate) fn send_full(&mut self) -> Result<(), String> {
        if self.batch.is_full() { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), String> {
        let (batch, strings) = std::mem::take(&mut self.batch).close();
        self.batch = Batch::new(strings);
        if batch.calls == 0 || self.lanes[self.at].inbox.send(batch).is_ok() {
            return Ok(());
        }
        let lane = self.lanes.swap_remove(self.at);
        self.at = 0;
        drop(lane.inbox);
        Err(end(lane.thread).err().unwrap_or_else(|| "a connection ended".to_owned()))
    }

    /// Sends the rest and waits for all replies.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        self.send()?;
        let threads: Vec<_> = self.lanes.into_iter().map(|lane| lane.thread).collect();
        threads.into_iter().try_for_each(end)
    }
}

fn end(thread: JoinHandle<Result<(), String>>) -> Result<(), String> {
    thread.join().unwrap_or_else(|_| Err("a thread of the import panicked".to_owned()))
}

/// A lane: returns once the loader has no more and every reply was good. What is left in `in_flight`
/// has room.
fn run(
    link: &mut Link,
    outbox: &Receiver<Batch>,
    room: &Room,
    in_flight: &mut VecDeque<Batch>,
) -> Result<(), String> {
    loop {
        let next = match in_flight.is_empty() {
            true => outbox.recv().map_err(|_| TryRecvError::Disconnected),
            false => outbox.try_recv(),
        };
        match next {
            Ok(batch) => {
                if !room.try_take(batch.bytes.len()) {
                    while !in_flight.is_empty() {
                        settle_first(link, room, in_flight)?;
                    }
                    room.take(batch.bytes.len());
                }
                in_flight.push_back(batch);
                let batch = in_flight.back().expect("it was just put there");
                link.send(&batch.bytes)?;
                if in_flight.len() < BATCHES_IN_FLIGHT_MAX {
                    continue;
                }
            }
            Err(TryRecvError::Disconnected) if in_flight.is_empty() => return Ok(()),
            Err(_) => {}
        }
        settle_first(link, room, in_flight)?;
    }
}

/// Waits for the replies of the batch that was sent first.
fn settle_first(
    link: &mut Link,
    room: &Room,
    in_flight: &mut VecDeque<Batch>,
) -> Result<(), String> {
    let batch = in_flight.front().expect("a batch is in flight");
    settle(link, batch)?;
    room.give_back(batch.bytes.len());
    in_flight.pop_front();
    Ok(())
}

/// Waits for the replies of a batch.
fn settle(link: &mut Link, batch: &Batch) -> Result<(), String> {
    for call in 0..batch.calls {
        if let Value::Error(text) = link.reply()? {
            return Err(format!("{}: {}: {text}", link.addr(), describe(batch, call)));
        }
    }
    Ok(())
}

/// The name and the key of a call in a batch.
fn describe(batch: &Batch, call: u32) -> String {
    let (mut decoder, mut at) = (Decoder::new(ReplyLimits::default()), 0);
    for number in 0..=call {
        let Ok(Some((value, len))) = decoder.decode(&batch.bytes[at..]) else { break };
        at += len;
        if let (Value::Array(args), true) = (value, number == call) {
            let show = |arg: &Value| match arg {
                Value::Bulk(text) => {
                    String::from_utf8_lossy(&text[..text.len().min(SHOWN_BYTES)]).into_owned()
                }
                _ => String::new(),
            };
            return args.iter().take(2).map(show).collect::<Vec<_>>().join(" ");
        }
    }
    "a call".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::calls::Batch;
    use super::describe;

    #[test]
    fn the_call_that_failed_is_named() {
        let mut batch = Batch::default();
        batch.call(&[b"SET", b"a", b"1"]);
        batch.call(&[b"RPUSH", b"list", b"1", b"2"]);
        assert_eq!(describe(&batch, 1), "RPUSH list");
    }
}

//! The connections to the target, and which of them takes which key.
//!
//! ```text
//! loader ─ key ─▶ home: the leader of its shard ─ batch ─▶ channel of one ─▶ lane: send, then wait for
//!                                                                           the batch before
//! ```
//!
//! What always holds: the calls of one key are sent on one lane, in order. A lane ends with its first
//! error reply or failure that does not pass, and the loader with it.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::calls::{Batch, Strings};
use super::lane::{Lane, Room, Route};
use crate::leaders::Leaders;

/// A lane, as the loader has it.
struct Inbox {
    sender: SyncSender<Batch>,
    thread: JoinHandle<Result<(), String>>,
    /// The database that the batch which is being made leaves it in.
    database: u64,
}

/// The lanes to one node, which of them is used, and what is to be sent on it next.
struct Home {
    lanes: Vec<Inbox>,
    at: usize,
    batch: Batch,
    /// A part of the present key was sent.
    in_parts: bool,
}

/// All lanes, and where the key goes that is being written.
pub(crate) struct Lanes {
    leaders: Leaders,
    homes: Vec<Home>,
    at: usize,
}

impl Lanes {
    /// Opens so many connections at the least, as many to each leader.
    pub(crate) fn open(
        leaders: Leaders,
        password: Option<&str>,
        count: u32,
    ) -> Result<Lanes, String> {
        let room = Arc::new(Room::default());
        let open = |addr: &String| {
            let route = Route::of(&leaders, addr, password);
            let lane = Lane::open(route, room.clone())?;
            let (sender, outbox) = sync_channel(1);
            let thread = thread::spawn(move || lane.run(&outbox));
            Ok(Inbox { sender, thread, database: 0 })
        };
        let each = (count as usize).div_ceil(leaders.addrs.len()).max(1);
        let homes = leaders.addrs.iter().map(|addr| {
            let lanes: Result<Vec<Inbox>, String> = (0..each).map(|_| open(addr)).collect();
            let batch = Batch::new(Strings::new(leaders.shards), 0);
            Ok(Home { lanes: lanes?, at: 0, batch, in_parts: false })
        });
        let homes = homes.collect::<Result<Vec<Home>, String>>()?;
        Ok(Lanes { leaders, homes, at: 0 })
    }

    /// A key of this database begins.
    pub(crate) fn begin_key(&mut self, database: u64, key: &[u8]) {
        self.at = self.leaders.of_key(key);
        self.homes[self.at].select(database);
    }

    /// Where the calls of that key are put.
    pub(crate) fn batch(&mut self) -> &mut Batch {
        &mut self.homes[self.at].batch
    }

    /// Within a key: sends what is enough for a batch, on the lane of the key.
    pub(crate) fn send_full(&mut self) -> Result<(), String> {
        let home = &mut self.homes[self.at];
        if !home.batch.is_full() {
            return Ok(());
        }
        home.in_parts = true;
        home.send(home.at)
    }

    /// The key ends: the next may go on another lane.
    pub(crate) fn end_key(&mut self) -> Result<(), String> {
        let home = &mut self.homes[self.at];
        let next = (home.at + 1) % home.lanes.len();
        let was_sent = std::mem::take(&mut home.in_parts);
        if was_sent || home.batch.is_full() { home.send(next) } else { Ok(()) }
    }

    /// Sends the rest and waits for all replies.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        self.homes.iter_mut().try_for_each(|home| home.send(home.at))?;
        let lanes = self.homes.into_iter().flat_map(|home| home.lanes);
        let threads: Vec<_> = lanes.map(|lane| lane.thread).collect();
        threads.into_iter().try_for_each(end)
    }
}

impl Home {
    /// What comes is of this database.
    fn select(&mut self, database: u64) {
        let lane = &mut self.lanes[self.at];
        if lane.database != database {
            lane.database = database;
            self.batch.write_strings();
            self.batch.call(&[b"SELECT", database.to_string().as_bytes()]);
        }
    }

    /// Sends the batch; the next one goes on that lane.
    fn send(&mut self, next: usize) -> Result<(), String> {
        let (batch, strings) = std::mem::take(&mut self.batch).close();
        let at = std::mem::replace(&mut self.at, next);
        self.batch = Batch::new(strings, self.lanes[next].database);
        if batch.calls == 0 || self.lanes[at].sender.send(batch).is_ok() {
            return Ok(());
        }
        let lane = self.lanes.swap_remove(at);
        self.at = 0;
        drop(lane.sender);
        Err(end(lane.thread).err().unwrap_or_else(|| "a connection ended".to_owned()))
    }
}

fn end(thread: JoinHandle<Result<(), String>>) -> Result<(), String> {
    thread.join().unwrap_or_else(|_| Err("a thread of the import panicked".to_owned()))
}

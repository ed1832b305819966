//! One connection to the target, with a thread of its own, that sends batches and looks at every reply.
//!
//! If the node goes, or says that it could not do it in time, the batches whose replies are missing are
//! sent again to another node, if that is right: the old one may still run them, late.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wire::resp::{Decoder, ReplyLimits, Value};

use super::calls::Batch;
use crate::leaders::{self, Leaders};
use crate::limits::{BATCHES_IN_FLIGHT_MAX, IN_FLIGHT_BYTES_MAX, LANE_PAUSE, LANE_RETRY_TIME};
use crate::link::Link;

/// Longer than a node lets a request wait.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How replies begin that say: not now. The second leaves open whether it was done.
const NOT_NOW: [&str; 4] = ["LOADING ", "UNKNOWN ", "TRYAGAIN ", "DISKFULL "];

/// Bytes of a key that an error shows.
const SHOWN_BYTES: usize = 100;

/// Room for bytes in flight, which all lanes share.
#[derive(Debug, Default)]
pub(super) struct Room {
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

/// Where a lane may go, the best first.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    addrs: Vec<String>,
    /// Of what cluster they have to be, if it has a name.
    cluster: Option<String>,
    password: Option<String>,
}

impl Route {
    /// To this address, or else to any other node.
    pub(crate) fn of(leaders: &Leaders, addr: &str, password: Option<&str>) -> Route {
        let (cluster, password) = (leaders.cluster.clone(), password.map(str::to_owned));
        Route { addrs: leaders.from(addr), cluster, password }
    }

    /// A connection to the first that is there, and its place.
    pub(crate) fn connect_any(&self) -> Result<(usize, Link), String> {
        let connect = |at| self.connect(at).map(|link| (at, link));
        let others = || (1..self.addrs.len()).find_map(|at| connect(at).ok());
        connect(0).or_else(|why| others().ok_or(why))
    }

    fn connect(&self, at: usize) -> Result<Link, String> {
        let addr = &self.addrs[at % self.addrs.len()];
        let mut link = leaders::connect(addr, self.password.as_deref(), self.cluster.as_deref())?;
        link.wait_for(TIMEOUT)?;
        Ok(link)
    }
}

/// Why a batch was not done.
enum Failure {
    /// The connection broke, or the node said: not now.
    Passing(String),
    Refused(String),
}

/// See the head of this file.
pub(super) struct Lane {
    route: Route,
    /// Which of the addresses it is at.
    at: usize,
    link: Link,
    room: Arc<Room>,
    /// Has room.
    in_flight: VecDeque<Batch>,
    /// Since when nothing was done any more.
    failing: Option<Instant>,
}

impl Lane {
    pub(super) fn open(route: Route, room: Arc<Room>) -> Result<Lane, String> {
        let (at, link) = route.connect_any()?;
        Ok(Lane { route, at, link, room, in_flight: VecDeque::new(), failing: None })
    }

    /// Returns once the loader has no more and every reply was good.
    pub(super) fn run(mut self, outbox: &Receiver<Batch>) -> Result<(), String> {
        let ended = self.send_all(outbox);
        // The others must not wait for what a lane that failed has taken.
        self.in_flight.iter().for_each(|batch| self.room.give_back(batch.bytes.len()));
        ended
    }

    fn send_all(&mut self, outbox: &Receiver<Batch>) -> Result<(), String> {
        loop {
            let next = match self.in_flight.is_empty() {
                true => outbox.recv().map_err(|_| TryRecvError::Disconnected),
                false => outbox.try_recv(),
            };
            match next {
                Ok(batch) => {
                    if !self.room.try_take(batch.bytes.len()) {
                        while !self.in_flight.is_empty() {
                            self.settle_first()?;
                        }
                        self.room.take(batch.bytes.len());
                    }
                    let sent = self.link.send(&batch.bytes);
                    self.in_flight.push_back(batch);
                    sent.or_else(|why| self.recover(Failure::Passing(why)))?;
                    if self.in_flight.len() < BATCHES_IN_FLIGHT_MAX {
                        continue;
                    }
                }
                Err(TryRecvError::Disconnected) if self.in_flight.is_empty() => return Ok(()),
                Err(_) => {}
            }
            self.settle_first()?;
        }
    }

    /// Waits for the replies of the batch that was sent first.
    fn settle_first(&mut self) -> Result<(), String> {
        while let Err(failure) = self.settle() {
            self.recover(failure)?;
        }
        let batch = self.in_flight.pop_front().expect("it was settled");
        self.room.give_back(batch.bytes.len());
        self.failing = None;
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Failure> {
        let batch = self.in_flight.front().expect("a batch is in flight");
        for call in 0..batch.calls {
            if let Value::Error(text) = self.link.reply().map_err(Failure::Passing)? {
                let why = format!("{}: {}: {text}", self.link.addr(), describe(batch, call));
                let passes = NOT_NOW.iter().any(|begin| text.starts_with(begin));
                return Err(if passes { Failure::Passing(why) } else { Failure::Refused(why) });
            }
        }
        Ok(())
    }

    /// Sends again what is in flight, over a new connection, if that is right and helps soon.
    fn recover(&mut self, failure: Failure) -> Result<(), String> {
        let why = match failure {
            Failure::Passing(why) if self.in_flight.iter().all(|batch| batch.may_be_repeated()) => {
                why
            }
            Failure::Passing(why) | Failure::Refused(why) => return Err(why),
        };
        let since = *self.failing.get_or_insert_with(Instant::now);
        while since.elapsed() < LANE_RETRY_TIME {
            thread::sleep(LANE_PAUSE);
            self.at += 1;
            if self.send_again().is_ok() {
                return Ok(());
            }
        }
        Err(why)
    }

    fn send_again(&mut self) -> Result<(), String> {
        self.link = self.route.connect(self.at)?;
        let first = self.in_flight.front().expect("something is missing");
        self.link.must(&[b"SELECT", first.database().to_string().as_bytes()])?;
        self.in_flight.iter().try_for_each(|batch| self.link.send(&batch.bytes))
    }
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

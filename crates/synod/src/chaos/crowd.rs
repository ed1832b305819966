//! The clients together, and the book in which they write what they did.
//!
//! Each has a thread and one operation open at a time.
//!
//! *Writers* talk to one node until that fails them, and then to another. Some are patient enough to
//! hear what a node says after ten seconds, most are not. *Readers* stay with one node: whoever
//! writes to a leader that was cut off waits, and would never see that it still answers reads. One
//! for each node reads all the time; the others seldom, so that one of them asks a stopped leader
//! in the middle of its pause, when another leads and has written.
//!
//! One more client, the *filler*, writes large values that nobody checks, so that logs roll over and
//! snapshots weigh something; while a disk is full it writes more, so that the disk is needed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sim::history::{Call, Datum, History, Outcome, Verb};
use stdx::Rng;

use super::client::{Client, Told};
use super::progress::Progress;
use super::workload::{Task, Workload};

/// Longer than a node lets a request wait.
const PATIENCE: Duration = Duration::from_secs(13);

/// What most clients have.
const IMPATIENCE: Duration = Duration::from_secs(2);

/// Between two operations of a client, on average.
const THINK: Duration = Duration::from_millis(20);

/// The same of a client that reads seldom.
const THINK_SELDOM: Duration = Duration::from_millis(500);

/// Clients of each kind, for each node.
const WRITERS: usize = 3;
const SELDOM: usize = 4;

/// Between two tries to reach a node.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

const FILLER_KEYS: u64 = 64;
const FILLER_BYTES: usize = 32 * 1024;
const FILLER_INTERVAL: Duration = Duration::from_millis(150);

/// While a disk is full: the log's spare segments must be used up before that is felt.
const FLOOD_BYTES: usize = 512 * 1024;

/// How many odd answers are kept.
const ODD_MAX: usize = 20;

/// What all clients write into.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) history: History,
    pub(super) workload: Workload,
    /// Answers that no node may give.
    pub(super) odd: Vec<String>,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Crowd<'a> {
    pub(super) addrs: &'a [String],
    pub(super) book: Mutex<Book>,
    pub(super) began: Instant,
    pub(super) stop: AtomicBool,
    /// The filler hurries.
    pub(super) flood: &'a AtomicBool,
    pub(super) progress: &'a Progress,
}

/// What a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Writer,
    /// Reads from this node, with so much time between.
    Reader(usize, Duration),
}

impl Crowd<'_> {
    /// How many clients there are, the filler not among them.
    pub(super) fn clients(&self) -> u64 {
        (self.addrs.len() * (1 + WRITERS + SELDOM)) as u64
    }

    fn role(&self, process: u64) -> Role {
        let nodes = self.addrs.len();
        let (round, node) = (process as usize / nodes, process as usize % nodes);
        match round {
            0 => Role::Reader(node, THINK),
            1..=SELDOM => Role::Reader(node, THINK_SELDOM),
            _ => Role::Writer,
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn with_book<T>(&self, act: impl FnOnce(&mut Book) -> T) -> T {
        act(&mut self.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// One client, until it is told to stop.
    pub(super) fn client(&self, process: u64, seed: u64) {
        let mut dice = Rng::new(seed ^ (process + 1).wrapping_mul(0x9e37_79b9));
        let patience = if process.is_multiple_of(3) { PATIENCE } else { IMPATIENCE };
        let (role, nodes) = (self.role(process), self.addrs.len() as u64);
        let mut connected: Option<Client> = None;
        while !self.stopped() {
            let Some(client) = &mut connected else {
                let node = match role {
                    Role::Writer => dice.below(nodes) as usize,
                    Role::Reader(node, _) => node,
                };
                connected = Client::connect(&self.addrs[node], patience).ok();
                if connected.is_none() {
                    thread::sleep(RETRY_INTERVAL);
                }
                continue;
            };
            let (task, think) = match role {
                Role::Writer => (self.with_book(|book| book.workload.draw()), THINK),
                Role::Reader(_, think) => (self.with_book(|book| book.workload.draw_look()), think),
            };
            self.operate(client, process, &task);
            if client.broken || dice.one_in(200) {
                connected = None;
            }
            thread::sleep(think.mul_f64(dice.fraction() * 2.0));
        }
    }

    /// Does one thing and writes it down. True if it happened.
    pub(super) fn operate(&self, client: &mut Client, process: u64, task: &Task) -> bool {
        let number = self.with_book(|book| book.history.begin(process, self.now(), task.calls()));
        let Told { outcome, calls, odd } = client.perform(task);
        let happened = matches!(outcome, Outcome::Ok(_));
        if happened {
            self.progress.answered.fetch_add(1, Ordering::Relaxed);
        }
        self.with_book(|book| {
            if matches!(outcome, Outcome::Unknown(_)) {
                book.workload.note_unknown(&task.calls());
            }
            if let Some(calls) = calls {
                book.history.amend(number, calls);
            }
            book.history.end(number, self.now(), outcome);
            if book.odd.len() < ODD_MAX {
                book.odd.extend(odd);
            }
        });
        happened
    }

    /// Writes what is only weight.
    pub(super) fn filler(&self) {
        let value = |bytes| Datum::Text("x".repeat(bytes));
        let (small, large) = (value(FILLER_BYTES), value(FLOOD_BYTES));
        let (mut next, mut connected) = (0, None);
        while !self.stopped() {
            let Some(client) = &mut connected else {
                let addr = &self.addrs[next as usize % self.addrs.len()];
                next += 1;
                connected = Client::connect(addr, IMPATIENCE).ok();
                thread::sleep(RETRY_INTERVAL);
                continue;
            };
            let key = format!("filler{}", next % FILLER_KEYS);
            next += 1;
            let flooding = self.flood.load(Ordering::Acquire);
            let value = if flooding { &large } else { &small };
            let set = Call::new(Verb::Set, key, vec![value.clone()]);
            let told = client.perform(&Task::Calls(vec![set]));
            let happened = matches!(told.outcome, Outcome::Ok(_));
            if client.broken {
                connected = None;
            }
            if !(flooding && happened) {
                thread::sleep(FILLER_INTERVAL);
            }
        }
    }
}

//! The load on a RESP server: one thread, one event loop, no waiting.
//!
//! ```text
//!           ┌─ closed: a client with nothing in flight sends its next pipeline
//! poll ─▶ event ─▶ replies counted ─▶ more calls ─▶ poll …
//!           └─ open: the calls that are due go to clients with room, in turn
//! ```
//!
//! What always holds: a call is counted once: as success, error or lost. What the schedule had due
//! before the end and no client had room for is lost, too.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use wire::resp::Value;

use super::connection::Connection;
use super::options::{Options, Stop};
use super::progress::Progress;
use super::tally::{Measured, Tally, own_cpu};
use super::workload::{Call, Calls, Encoder, Workload};
use crate::link::Link;

/// The schedule is kept to this: calls that are due closer together share one waking.
const SCHEDULE_STEP_NS: u64 = 50_000;

/// How long the last replies may take, once no more calls are made.
const GRACE_NS: u64 = 5_000_000_000;

/// Between two tries to connect again.
const RETRY_NS: u64 = 100_000_000;

/// How long all connections together may take at the start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the loop sleeps at most, so that the progress bar moves and the end is seen.
const POLL_MAX: Duration = Duration::from_millis(50);

/// Keys that are written with one pipeline before a workload that reads.
const FILL_BATCH: u64 = 512;

const TIMER: Token = Token(usize::MAX);

/// Loads the server and returns what was measured.
pub(super) fn run(options: &Options, workload: Workload) -> Result<Measured, String> {
    let addrs = resolve(&options.addr)?;
    let failed = |error: io::Error| format!("{}: {error}", options.addr[0]);
    let mut link = probe(options)?;
    if workload.reads() && !options.no_fill {
        fill(&mut link, options)?;
    }
    drop(link);
    let mut load = Load::new(options, workload, addrs).map_err(failed)?;
    load.connect_all().map_err(failed)?;
    load.run().map_err(failed)
}

fn resolve(names: &[String]) -> Result<Vec<SocketAddr>, String> {
    let resolve = |name: &String| {
        let mut found = name.to_socket_addrs().map_err(|error| format!("{name}: {error}"))?;
        found.next().ok_or_else(|| format!("{name}: no address"))
    };
    names.iter().map(resolve).collect()
}

/// Connects, shows the password, and sees that RESP is spoken there.
fn probe(options: &Options) -> Result<Link, String> {
    let mut link = Link::connect(&options.addr[0], CONNECT_TIMEOUT)?;
    link.authenticate(None, options.password.as_deref())?;
    link.must(&[b"PING"])?;
    Ok(link)
}

/// Writes every key.
fn fill(link: &mut Link, options: &Options) -> Result<(), String> {
    let (encoder, keys) = (Encoder::new(options.value_size), options.keys.get());
    let mut out = Vec::new();
    for first in (0..keys).step_by(FILL_BATCH as usize) {
        let batch = first..keys.min(first + FILL_BATCH);
        out.clear();
        batch.clone().for_each(|key| encoder.encode(Call::Set(key), &mut out));
        link.send(&out)?;
        for _ in batch {
            if let Value::Error(text) = link.reply()? {
                return Err(format!("filling {}: {text}", link.addr()));
            }
        }
    }
    Ok(())
}

/// A place for a connection.
struct Client {
    connection: Option<Connection>,
    /// Which of the addresses comes next.
    addr: usize,
    /// When to try again, while there is no connection.
    retry_ns: u64,
}

/// The timetable of an open load.
struct Schedule {
    /// Nanoseconds between two calls.
    interval: f64,
    /// How many calls were made.
    made: u64,
    timer: OwnedFd,
    /// The timer is set to ring by then.
    armed_ns: u64,
}

impl Schedule {
    fn due_ns(&self) -> u64 {
        (self.made as f64 * self.interval) as u64
    }
}

struct Load<'a> {
    options: &'a Options,
    addrs: Vec<SocketAddr>,
    poll: Poll,
    clients: Vec<Client>,
    /// Clients without a connection.
    down: usize,
    begin: Instant,
    calls: Calls,
    encoder: Encoder,
    schedule: Option<Schedule>,
    /// The client that an open load looks at next.
    turn: usize,
    /// How many more calls may be made.
    left: u64,
    /// No call that begins, or is due, after this is made.
    stop_ns: u64,
    in_flight: usize,
    last_reply_ns: u64,
    tally: Tally,
    progress: Progress,
}

impl<'a> Load<'a> {
    fn new(
        options: &'a Options,
        workload: Workload,
        addrs: Vec<SocketAddr>,
    ) -> io::Result<Load<'a>> {
        let poll = Poll::new()?;
        let schedule = options.rate.map(|rate| make_schedule(rate, &poll)).transpose()?;
        let client =
            |n: u32| Client { connection: None, addr: n as usize % addrs.len(), retry_ns: 0 };
        let clients: Vec<Client> = (0..options.clients).map(client).collect();
        let left = match options.stop() {
            Stop::After(_) => u64::MAX,
            Stop::Requests(requests) => requests,
        };
        Ok(Load {
            options,
            addrs,
            poll,
            down: clients.len(),
            clients,
            begin: Instant::now(),
            calls: Calls::new(options, workload),
            encoder: Encoder::new(options.value_size),
            schedule,
            turn: 0,
            left,
            stop_ns: u64::MAX,
            in_flight: 0,
            last_reply_ns: 0,
            tally: Tally::new(0),
            progress: Progress::new(options, workload),
        })
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Makes all connections before the first call.
    fn connect_all(&mut self) -> io::Result<()> {
        (0..self.clients.len()).try_for_each(|index| self.connect(index))?;
        let mut events = Events::with_capacity(1024);
        let begin = Instant::now();
        while self.clients.iter().any(|client| is_connecting(client.connection.as_ref())) {
            if begin.elapsed() > CONNECT_TIMEOUT {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.poll.poll(&mut events, Some(POLL_MAX))?;
            for event in &events {
                let client = self.clients.get_mut(event.token().0);
                if let Some(connection) = client.and_then(|client| client.connection.as_mut())
                    && connection.connecting
                    && connection.finish_connecting()?
                {
                    connection.flush()?;
                }
            }
        }
        Ok(())
    }

    /// Begins a connection to the client's next address.
    fn connect(&mut self, index: usize) -> io::Result<()> {
        let client = &mut self.clients[index];
        let mut stream = TcpStream::connect(self.addrs[client.addr])?;
        client.addr = (client.addr + 1) % self.addrs.len();
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(index), both)?;
        client.connection = Some(Connection::new(stream, self.options.password.as_deref()));
        self.down -= 1;
        Ok(())
    }

    fn run(&mut self) -> io::Result<Measured> {
        let mut events = Events::with_capacity(1024);
        let (mut from_ns, mut cpu) = (0, own_cpu());
        let mut measuring = false;
        self.begin = Instant::now();
        self.work_all();
        loop {
            let now = self.now();
            if !measuring && now >= self.options.warmup().as_nanos() as u64 {
                (measuring, from_ns, cpu) = (true, now, own_cpu());
                self.tally = Tally::new(now);
                if let Stop::After(duration) = self.options.stop() {
                    self.stop_ns = now + duration.as_nanos() as u64;
                }
            }
            if self.is_over(now) {
                break;
            }
            self.progress.update(now.saturating_sub(from_ns), self.tally.ended());
            match self.poll.poll(&mut events, Some(POLL_MAX)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                if event.token() != TIMER {
                    self.handle(event.token().0, event.is_readable(), event.is_writable());
                }
            }
            self.reconnect();
            self.work_open();
        }
        let own_cpu = own_cpu() - cpu;
        self.progress.finish();
        self.count_lost();
        let end_ns = match self.options.stop() {
            Stop::After(_) => self.last_reply_ns.max(self.stop_ns),
            Stop::Requests(_) => self.last_reply_ns,
        };
        let elapsed = Duration::from_nanos(end_ns.saturating_sub(from_ns));
        Ok(Measured { tally: self.tally.clone(), elapsed, own_cpu })
    }

    /// Is every call made and ended, or the patience for the last ones at its end?
    fn is_over(&self, now: u64) -> bool {
        let all_made = self.left == 0
            || match &self.schedule {
                None => now >= self.stop_ns,
                Some(schedule) => schedule.due_ns() >= self.stop_ns,
            };
        let patience = match self.left {
            0 => self.last_reply_ns.saturating_add(GRACE_NS),
            _ => self.stop_ns.saturating_add(GRACE_NS),
        };
        (all_made && self.in_flight == 0) || now >= patience
    }

    fn count_lost(&mut self) {
        self.tally.lost += self.in_flight as u64;
        if let Some(schedule) = &self.schedule {
            let due = (self.stop_ns as f64 / schedule.interval) as u64;
            if self.stop_ns != u64::MAX {
                self.tally.lost += due.saturating_sub(schedule.made);
            }
        }
    }

    fn handle(&mut self, index: usize, readable: bool, writable: bool) {
        if self.try_handle(index, readable, writable).is_err() {
            self.drop_connection(index);
        }
    }

    fn try_handle(&mut self, index: usize, readable: bool, writable: bool) -> io::Result<()> {
        let Some(connection) = self.clients[index].connection.as_mut() else { return Ok(()) };
        if connection.connecting {
            if !connection.finish_connecting()? {
                return Ok(());
            }
            connection.flush()?;
            return self.work(index);
        }
        if writable {
            connection.flush()?;
        }
        if readable {
            let begin = self.begin;
            let clock = || begin.elapsed().as_nanos() as u64;
            let ended = connection.receive(clock, &mut self.tally)?;
            if ended > 0 {
                self.in_flight -= ended;
                self.last_reply_ns = clock();
                return self.work(index);
            }
        }
        Ok(())
    }

    /// Whatever was in flight may have happened.
    fn drop_connection(&mut self, index: usize) {
        let retry_ns = self.now() + RETRY_NS;
        let client = &mut self.clients[index];
        let Some(connection) = client.connection.take() else { return };
        client.retry_ns = retry_ns;
        self.down += 1;
        self.tally.lost += connection.in_flight() as u64;
        // Not a subtraction: `receive` may have ended some before it met the error.
        self.in_flight = self.in_flight_elsewhere();
    }

    fn in_flight_elsewhere(&self) -> usize {
        let connections = self.clients.iter().filter_map(|client| client.connection.as_ref());
        connections.map(Connection::in_flight).sum()
    }

    fn reconnect(&mut self) {
        if self.down == 0 {
            return;
        }
        let now = self.now();
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            if client.connection.is_none() && client.retry_ns <= now {
                client.retry_ns = now + RETRY_NS;
                // It is tried again until the run ends; its calls are then missing in the sum.
                let _unreachable = self.connect(index);
            }
        }
    }

    /// The first calls of all clients of a closed load.
    fn work_all(&mut self) {
        for index in 0..self.clients.len() {
            if self.work(index).is_err() {
                self.drop_connection(index);
            }
        }
        self.work_open();
    }

    /// A closed load: the client's next pipeline, if it waits for nothing.
    fn work(&mut self, index: usize) -> io::Result<()> {
        if self.schedule.is_some() || self.left == 0 {
            return Ok(());
        }
        let now = self.now();
        let Some(connection) = self.clients[index].connection.as_mut() else { return Ok(()) };
        if now >= self.stop_ns || connection.in_flight() > 0 || connection.connecting {
            return Ok(());
        }
        let count = u64::from(self.options.pipeline).min(self.left);
        for _ in 0..count {
            let call = self.calls.draw();
            connection.push(now, |out| self.encoder.encode(call, out));
        }
        self.left = self.left.saturating_sub(count);
        self.in_flight += count as usize;
        connection.flush()
    }

    /// An open load: the calls that are due, as far as there is room for them.
    fn work_open(&mut self) {
        let now = self.now();
        let Some(mut schedule) = self.schedule.take() else { return };
        let mut touched = Vec::new();
        let mut due = schedule.due_ns();
        while due <= now && due < self.stop_ns && self.left > 0 {
            let Some(index) = self.client_with_room() else { break };
            let connection = self.clients[index].connection.as_mut().expect("it has room");
            let call = self.calls.draw();
            connection.push(due, |out| self.encoder.encode(call, out));
            touched.push(index);
            (self.in_flight, self.left) = (self.in_flight + 1, self.left - 1);
            schedule.made += 1;
            due = schedule.due_ns();
        }
        if due > now && schedule.armed_ns < due {
            schedule.armed_ns = due.max(now + SCHEDULE_STEP_NS);
            arm(&schedule.timer, schedule.armed_ns - now);
        }
        self.schedule = Some(schedule);
        for index in touched {
            let connection = self.clients[index].connection.as_mut();
            if connection.is_some_and(|connection| connection.flush().is_err()) {
                self.drop_connection(index);
            }
        }
    }

    fn client_with_room(&mut self) -> Option<usize> {
        let (count, pipeline) = (self.clients.len(), self.options.pipeline as usize);
        for step in 0..count {
            let index = (self.turn + step) % count;
            let connection = self.clients[index].connection.as_ref();
            if connection.is_some_and(|c| !c.connecting && c.in_flight() < pipeline) {
                self.turn = index + 1;
                return Some(index);
            }
        }
        None
    }
}

fn is_connecting(connection: Option<&Connection>) -> bool {
    connection.is_some_and(|connection| connection.connecting)
}

fn make_schedule(rate: f64, poll: &Poll) -> io::Result<Schedule> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let fd = timer.as_raw_fd();
    poll.registry().register(&mut SourceFd(&fd), TIMER, Interest::READABLE)?;
    Ok(Schedule { interval: 1e9 / rate, made: 0, timer, armed_ns: 0 })
}

/// Lets the timer ring once, after so many nanoseconds. Setting it again makes an old ring void.
fn arm(timer: &OwnedFd, nanos: u64) {
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let after = Timespec {
        tv_sec: (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as i64,
    };
    let value = Itimerspec { it_interval: zero, it_value: after };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &value)
        .expect("a timer of our own takes a valid time");
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use clap::Parser as _;
    use wire::resp::{Limits, Parsed, Parser};

    use super::{Options, Workload, run};

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    /// A server that answers PING and refuses every third of the other calls; of a connection with
    /// more than `patience` calls it says nothing more and hangs up.
    fn serve(patience: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                std::thread::spawn(move || answer(stream, patience));
            }
        });
        addr
    }

    fn answer(mut stream: TcpStream, patience: usize) {
        let (mut parser, mut input, mut chunk) = (Parser::new(), Vec::new(), [0; 4096]);
        let mut calls = 0;
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            input.extend_from_slice(&chunk[..count]);
            let mut out = Vec::new();
            while let Ok(Parsed::Complete { consumed }) =
                parser.parse(&input, &Limits::AUTHENTICATED)
            {
                calls += usize::from(!parser.args(&input).is(0, "ping"));
                let refuse = calls > 0 && calls % 3 == 0;
                out.extend_from_slice(if refuse { b"-ERR no\r\n" } else { b"+OK\r\n" });
                input.drain(..consumed);
                if calls > patience {
                    return;
                }
            }
            stream.write_all(&out).unwrap();
        }
    }

    fn options(addr: SocketAddr, more: &str) -> Options {
        let line = format!("bench --json --addr {addr} {more}");
        Cli::parse_from(line.split_whitespace()).options
    }

    #[test]
    fn every_call_is_counted_once_and_an_error_is_no_success() {
        let addr = serve(usize::MAX);
        for more in ["--rate 30000", "--pipeline 7", "--pipeline 1"] {
            let options = options(addr, &format!("--clients 4 --requests 1200 {more}"));
            let tally = run(&options, Workload::Set).unwrap().tally;
            assert_eq!((tally.ended(), tally.lost), (1200, 0), "{more}");
            assert_eq!(tally.errors["ERR no"], tally.failed());
            assert!((396..=400).contains(&tally.failed()), "{} with {more}", tally.failed());
        }
    }

    #[test]
    fn a_broken_connection_loses_what_was_in_flight_and_is_made_again() {
        let addr = serve(50);
        let options = options(addr, "--clients 1 --requests 200 --pipeline 10");
        let tally = run(&options, Workload::Incr).unwrap().tally;
        assert_eq!(tally.ended(), 200);
        assert_eq!(tally.lost, 30, "of each six pipelines the last one is lost");
    }
}

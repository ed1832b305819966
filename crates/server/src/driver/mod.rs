//! The driver: the loop of one thread that owns the clients' sockets, the links and the core.
//!
//! ```text
//!            ┌───────────────────────── one turn ──────────────────────────┐
//! epoll ─▶ read ─▶ front ─▶ end_turn ─▶ save ▶ log thread   send ▶ links   out ▶ sockets
//!   ▲                                     │
//!   └──── waker ◀── Saved, Loaded … ◀─────┘
//! ```
//!
//! This is the only place that reads the clock: after the bytes of a client, so that a lease that
//! holds at that moment held when the request was already there.

mod clock;
mod disk;
mod peers;
mod socket;
mod vitals;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use keyspace::Shard;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use node::{Event, Map, Moment, Proposing, Save};
use socket2::{SockRef, TcpKeepalive};
use storage::disk::Disk;

use crate::arrivals::Arrivals;
use crate::front::Front;
use crate::limits::{KEEPALIVE, PEER_ACKNOWLEDGE_TIMEOUT, PEER_READ_BYTES, READ_BYTES};
use crate::links::PREAMBLE;
pub(crate) use clock::Clock;
pub use disk::{LogThread, SnapshotThread};
use peers::Birth;
pub use peers::{PeerOptions, Peers};
pub(crate) use peers::{answer_call, call, nonce};
use socket::{Moved, Socket};

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// Tokens of sockets: their place in the table, behind the two above.
const FIRST_SOCKET: usize = 2;

/// Events taken from the kernel in one turn.
const EVENTS_MAX: usize = 1024;

/// How long a node that stops waits for another to lead in its place.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// How long after a snapshot, which makes the log short, free memory is given back.
const GIVE_BACK_AFTER: Duration = Duration::from_millis(500);

/// What a node ends with that is no member any more.
pub(crate) const TAKEN_OUT: &str =
    "this node was taken out of the cluster; its data directory is of no more use";

/// How often the kernel is asked about this process.
const VITALS_INTERVAL: Duration = Duration::from_secs(1);

/// What other threads tell the loop.
#[derive(Debug)]
pub enum Notice {
    Core(Event),
    /// A connection to or from a peer, its handshake done.
    Linked(peers::Linked),
    /// The machine failed: the node must stop at once.
    Fatal(String),
}

/// The way to the loop from other threads: a channel, and a waker once the loop sleeps.
#[derive(Clone, Debug)]
pub struct Notifier {
    sender: mpsc::Sender<Notice>,
    waker: Arc<Waker>,
    /// The waker was pulled and not yet answered: one system call is enough.
    pulled: Arc<AtomicBool>,
}

impl Notifier {
    /// Sends a notice; a loop that has ended does not mind.
    pub fn send(&self, notice: Notice) {
        if self.sender.send(notice).is_ok() && !self.pulled.swap(true, Ordering::AcqRel) {
            // It fails only if the loop is gone.
            let _ = self.waker.wake();
        }
    }
}

/// Whose socket it is.
#[derive(Debug)]
enum Owner {
    /// Just accepted: the first byte tells.
    Unknown,
    Client(usize),
    /// A link from this peer: frames come in.
    PeerIn {
        node: u32,
        input: Vec<u8>,
    },
    /// A link to this peer: frames go out.
    PeerOut(u32),
}

#[derive(Debug)]
struct Connection {
    socket: Socket,
    owner: Owner,
}

/// Why the loop ended.
#[derive(Debug)]
pub enum Ended {
    /// A client or a signal asked for it.
    Shutdown,
    /// The machine failed.
    Fatal(String),
}

/// See the head of this file.
#[derive(Debug)]
pub struct Driver {
    poll: Poll,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Where each client's connection is.
    by_client: Vec<usize>,
    front: Front,
    clock: Clock,
    notices: Receiver<Notice>,
    pulled: Arc<AtomicBool>,
    notifier: Notifier,
    /// Connections that have more to read than one go took.
    unread: Vec<usize>,
    /// Where clients' bytes are read to; what makes no whole command is copied out of it.
    scratch: Vec<u8>,
    /// A connection could not be accepted, for want of a file descriptor: the kernel will not
    /// mention again that it waits.
    accept_again: bool,
    log: LogThread,
    /// What the turns since the last time ask the log for.
    saves: Vec<Save>,
    snapshots: SnapshotThread,
    peers: Peers,
    disk: Arc<dyn Disk>,
    arrivals: Arrivals,
    stop: Arc<AtomicBool>,
    next_vitals: stdx::Instant,
    /// Since when the node is about to stop.
    stopping: Option<stdx::Instant>,
    give_back: fn(),
    /// When to do so; a while after the start, and after each snapshot.
    give_back_at: stdx::Instant,
}

/// The channel to a loop that is yet to be made.
pub struct Channel {
    poll: Poll,
    notices: Receiver<Notice>,
    pub notifier: Notifier,
    pub(crate) clock: Clock,
}

impl Channel {
    /// A poll and the way to wake it.
    pub fn new() -> io::Result<Channel> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, notices) = mpsc::channel();
        let pulled = Arc::new(AtomicBool::new(false));
        let notifier = Notifier { sender, waker, pulled };
        Ok(Channel { poll, notices, notifier, clock: Clock::new() })
    }

    /// The time of the loop to be.
    pub fn moment(&self) -> Moment {
        self.clock.moment()
    }
}

/// What a loop works with.
pub struct Parts {
    pub listener: std::net::TcpListener,
    pub front: Front,
    pub log: LogThread,
    pub snapshots: SnapshotThread,
    pub peers: Peers,
    /// The data directory.
    pub disk: Arc<dyn Disk>,
    /// Set from outside (a signal) to end the loop.
    pub stop: Arc<AtomicBool>,
    /// Gives free memory back to the system.
    pub give_back: fn(),
}

impl Driver {
    /// A loop that is ready to run.
    pub fn new(channel: Channel, parts: Parts) -> io::Result<Driver> {
        let Channel { poll, notices, notifier, clock } = channel;
        let Parts { listener, front, log, snapshots, peers, disk, stop, give_back } = parts;
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let pulled = notifier.pulled.clone();
        Ok(Driver {
            poll,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            by_client: Vec::new(),
            front,
            clock,
            notices,
            pulled,
            notifier,
            unread: Vec::new(),
            scratch: Vec::with_capacity(READ_BYTES),
            accept_again: false,
            log,
            saves: Vec::new(),
            snapshots,
            peers,
            disk,
            arrivals: Arrivals::default(),
            stop,
            next_vitals: stdx::Instant(0),
            stopping: None,
            give_back,
            give_back_at: stdx::Instant(GIVE_BACK_AFTER.as_nanos() as u64),
        })
    }

    /// Runs until something ends it.
    pub fn run(mut self) -> io::Result<Ended> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let timeout = self.timeout();
            self.take_events(&mut events, timeout)?;
            if let Some(ended) = self.hear() {
                return Ok(ended);
            }
            self.turn(Proposing::Later);
            if self.front.core().has_proposal() {
                // Whoever was just answered and asks again at once is in the same entry: at 50
                // clients that halves the number of entries, and each costs two threads a wake-up.
                self.take_events(&mut events, Duration::ZERO)?;
                if let Some(ended) = self.hear() {
                    return Ok(ended);
                }
                self.turn(Proposing::Now);
            }
            // The others first: their disks then work at the same time.
            self.flush_peers();
            self.log.save(&mut self.saves);
            if self.may_end() {
                self.front.end_all_trains();
                self.flush_clients();
                self.log.close();
                return Ok(Ended::Shutdown);
            }
        }
    }

    /// Waits for sockets up to `timeout`, and reads what there is.
    fn take_events(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        for event in &*events {
            match event.token() {
                LISTENER => self.accept(),
                WAKER => {}
                Token(token) => {
                    let at = token - FIRST_SOCKET;
                    if event.is_read_closed() {
                        self.note_ending(at);
                    }
                    self.ready(at, event.is_readable() || event.is_read_closed());
                    if event.is_writable() || event.is_write_closed() {
                        self.writable(at);
                    }
                }
            }
        }
        for at in std::mem::take(&mut self.unread) {
            self.ready(at, true);
        }
        if self.accept_again {
            self.accept();
        }
        Ok(())
    }

    /// Was the node told to stop, and has it handed on what it leads? Then its clients elsewhere do
    /// not have to wait for an election.
    fn may_end(&mut self) -> bool {
        if !self.front.wants_shutdown() && !self.stop.load(Ordering::Acquire) {
            return false;
        }
        let moment = self.clock.moment();
        let Some(since) = self.stopping else {
            self.stopping = Some(moment.now);
            self.front.step(moment, Event::Leave);
            return !self.front.core().is_needed();
        };
        !self.front.core().is_needed() || moment.now.since(since) >= LEAVE_TIMEOUT
    }

    fn timeout(&self) -> Duration {
        /// A signal must be seen soon, even if nothing else happens.
        const SLEEP_MAX: Duration = Duration::from_millis(50);
        if !self.unread.is_empty() || self.front.core().is_busy() {
            return Duration::ZERO;
        }
        let moment = self.clock.moment();
        self.front.deadline().since(moment.now).min(SLEEP_MAX)
    }

    /// Takes what other threads have to say.
    fn hear(&mut self) -> Option<Ended> {
        self.pulled.store(false, Ordering::Release);
        loop {
            match self.notices.try_recv() {
                Ok(Notice::Core(event)) => {
                    let moment = self.clock.moment();
                    if matches!(event, Event::PartWritten { last: true, .. } | Event::Loaded { .. })
                    {
                        self.give_back_at = moment.now + GIVE_BACK_AFTER;
                    }
                    self.front.step(moment, event);
                }
                Ok(Notice::Linked(linked)) => self.link(linked),
                Ok(Notice::Fatal(reason)) => return Some(Ended::Fatal(reason)),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
            }
        }
    }

    /// Ends a turn: time, effects, output.
    fn turn(&mut self, proposing: Proposing) {
        let moment = self.clock.moment();
        // It does nothing before its time, and to ask when that is costs as much.
        self.front.step(moment, Event::Tick);
        if self.give_back_at <= moment.now {
            self.give_back_at = stdx::Instant::FAR;
            (self.give_back)();
        }
        if self.next_vitals <= moment.now {
            self.next_vitals = moment.now + VITALS_INTERVAL;
            vitals::refresh(&mut self.front.vitals);
            self.front.count_operations(VITALS_INTERVAL);
        }
        let fx = self.front.end_turn(moment, proposing);
        if let Err(error) = self.arrivals.admit(moment.now, &*self.disk, fx) {
            self.notifier.send(Notice::Fatal(error.to_string()));
            return;
        }
        let (map, discarded) = (fx.map.take(), std::mem::take(&mut fx.discarded));
        self.saves.append(&mut fx.save);
        // A snapshot makes the log shorter: not before that has all that came until then.
        if !fx.snapshot.is_empty() {
            self.log.save(&mut self.saves);
        }
        for job in fx.snapshot.drain(..) {
            self.snapshots.run(job);
        }
        for (target, message) in fx.send.drain(..) {
            self.peers.send(target, &message);
        }
        for group in std::mem::take(&mut fx.repaired) {
            let done = crate::repair::done(&*self.disk, storage::GroupId(group.0));
            if done {
                eprintln!("synod: the replica of shard {} is repaired", group.0);
            }
        }
        self.flush_clients();
        if let Some(map) = map {
            self.follow(&map);
        }
        if !discarded.is_empty() {
            discard(discarded);
            self.give_back_at = moment.now + GIVE_BACK_AFTER;
        }
    }

    /// Sends what the turns since the last time have for the peers: what was passed on in the first and
    /// what was proposed in the second go together, for each send wakes the other node up.
    fn flush_peers(&mut self) {
        for at in self.peers.take_overfull() {
            self.drop_connection(at);
        }
        for node in self.peers.take_dirty() {
            self.flush_peer(node);
        }
    }

    /// The map has changed. What is on the disk only says where to begin: an older one would do.
    fn follow(&mut self, map: &Arc<Map>) {
        if let Err(error) = crate::presence::keep_map(&*self.disk, map) {
            eprintln!("synod: the map was not written down: {error}");
        }
        if !map.members().contains_key(&self.front.core().node()) {
            self.notifier.send(Notice::Fatal(TAKEN_OUT.to_owned()));
        }
        self.peers.follow(map, &self.notifier);
        let gone = |connection: &Connection| {
            let (Owner::PeerIn { node, .. } | Owner::PeerOut(node)) = connection.owner else {
                return false;
            };
            !map.members().contains_key(&consensus::NodeId(node))
        };
        for at in 0..self.connections.len() {
            if self.connections[at].as_ref().is_some_and(gone) {
                self.drop_connection(at);
            }
        }
    }

    fn accept(&mut self) {
        self.accept_again = false;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.welcome(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // No file descriptor is free: the others go on, and this one is tried again.
                Err(_) => {
                    self.accept_again = true;
                    return;
                }
            }
        }
    }

    /// A connection that has said nothing yet. Those that never do count, too.
    fn welcome(&mut self, mut stream: TcpStream) {
        if self.connections.len() - self.free.len() >= self.front.connections_max() {
            self.front.note_rejected();
            return reject(&mut stream);
        }
        let _ = stream.set_nodelay(true);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        self.add(stream, Owner::Unknown);
    }

    /// Puts a connection into the table; what it has to say is read when the kernel says so.
    fn add(&mut self, stream: TcpStream, owner: Owner) -> Option<usize> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let mut socket = Socket::new(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(at + FIRST_SOCKET);
        if self.poll.registry().register(&mut socket.stream, token, interest).is_err() {
            self.free.push(at);
            return None;
        }
        self.connections[at] = Some(Connection { socket, owner });
        Some(at)
    }

    fn drop_connection(&mut self, at: usize) {
        let Some(mut connection) = self.connections[at].take() else { return };
        let _ = self.poll.registry().deregister(&mut connection.socket.stream);
        self.free.push(at);
        match connection.owner {
            Owner::Client(key) => self.front.close(self.clock.moment(), key),
            Owner::PeerOut(node) => self.peers.lost(node, at),
            Owner::PeerIn { node, .. } => {
                let peer = consensus::NodeId(node);
                self.front.step(self.clock.moment(), Event::PeerDown(peer));
            }
            Owner::Unknown => {}
        }
    }

    fn note_ending(&mut self, at: usize) {
        if let Some(Some(connection)) = self.connections.get_mut(at) {
            connection.socket.ending = true;
        }
    }

    /// The kernel says that there is something to read.
    fn ready(&mut self, at: usize, readable: bool) {
        let Some(Some(connection)) = self.connections.get_mut(at) else { return };
        connection.socket.readable |= readable;
        if !connection.socket.readable {
            return;
        }
        match connection.owner {
            Owner::Unknown => self.identify(at),
            Owner::Client(key) => self.read_client(at, key),
            Owner::PeerIn { .. } => self.read_peer(at),
            Owner::PeerOut(_) => self.read_nothing(at),
        }
    }

    /// Looks at the first byte of a new connection.
    fn identify(&mut self, at: usize) {
        let Some(connection) = self.connections[at].as_mut() else { return };
        let mut first = [0];
        match connection.socket.stream.peek(&mut first) {
            Ok(1) if first[0] == PREAMBLE[0] => self.hand_over(at),
            Ok(1) => self.become_client(at),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.socket.readable = false;
            }
            _ => self.drop_connection(at),
        }
    }

    /// A node calls: the handshake is done on a thread of its own.
    fn hand_over(&mut self, at: usize) {
        let Some(mut connection) = self.connections[at].take() else { return };
        let _ = self.poll.registry().deregister(&mut connection.socket.stream);
        self.free.push(at);
        self.peers.accept(connection.socket.stream.into(), self.notifier.clone());
    }

    fn become_client(&mut self, at: usize) {
        let Some(connection) = self.connections[at].as_mut() else { return };
        let shown = |addr: io::Result<SocketAddr>| addr.map(|a| a.to_string()).unwrap_or_default();
        let stream = &mut connection.socket.stream;
        let (addr, laddr) = (shown(stream.peer_addr()), shown(stream.local_addr()));
        let Some(key) = self.front.open(self.clock.moment(), addr, laddr) else {
            reject(stream);
            return self.drop_connection(at);
        };
        connection.owner = Owner::Client(key);
        if self.by_client.len() <= key {
            self.by_client.resize(key + 1, 0);
        }
        self.by_client[key] = at;
        self.read_client(at, key);
    }

    fn read_client(&mut self, at: usize, key: usize) {
        let Some(connection) = self.connections[at].as_mut() else { return };
        if !self.front.wants_input(key) {
            return;
        }
        let moved = connection.socket.read(&mut self.scratch);
        if !matches!(moved, Moved::Closed | Moved::Ended) {
            self.front.received(self.clock.moment(), key, &mut self.scratch);
        }
        self.scratch.clear();
        match moved {
            Moved::Closed => self.drop_connection(at),
            Moved::Ended => self.client_ended(at, key),
            Moved::Some(_) => {}
            Moved::More(_) => self.unread.push(at),
        }
    }

    /// A client sends no more. What it has sent is answered yet, as far as it can be.
    fn client_ended(&mut self, at: usize, key: usize) {
        let Some(connection) = self.connections[at].as_mut() else { return };
        connection.socket.readable = false;
        let is_done = connection.socket.unsent() == 0 && self.front.ended(key);
        if is_done {
            self.drop_connection(at);
        }
    }

    fn read_peer(&mut self, at: usize) {
        let Some(connection) = self.connections[at].as_mut() else { return };
        let Owner::PeerIn { node, input } = &mut connection.owner else { return };
        input.reserve(PEER_READ_BYTES);
        let moved = connection.socket.read(input);
        let (messages, damaged) = peers::take_messages(input);
        let source = consensus::NodeId(*node);
        let moment = self.clock.moment();
        for message in messages {
            self.front.step(moment, Event::Recv { source, message });
        }
        match moved {
            _ if damaged => self.drop_connection(at),
            Moved::Closed | Moved::Ended => self.drop_connection(at),
            Moved::More(_) => self.unread.push(at),
            Moved::Some(_) => {}
        }
    }

    /// A link carries nothing towards its dialer: whatever is read is its end.
    fn read_nothing(&mut self, at: usize) {
        let Some(connection) = self.connections[at].as_mut() else { return };
        if connection.socket.read(&mut Vec::with_capacity(1)) != Moved::Some(0) {
            self.drop_connection(at);
        }
    }

    fn writable(&mut self, at: usize) {
        let Some(Some(connection)) = self.connections.get_mut(at) else { return };
        connection.socket.writable = true;
        match connection.owner {
            Owner::Client(key) => self.flush_client(key),
            Owner::PeerOut(node) => self.flush_peer(node),
            Owner::Unknown | Owner::PeerIn { .. } => {}
        }
    }

    /// Sends all clients what they are owed.
    fn flush_clients(&mut self) {
        for key in self.front.take_dirty() {
            self.flush_client(key);
        }
    }

    /// Sends a client what it is owed, and closes it if that was the last.
    fn flush_client(&mut self, key: usize) {
        let at = self.by_client[key];
        let Some(connection) = self.connections[at].as_mut() else { return };
        if !matches!(connection.owner, Owner::Client(owner) if owner == key) {
            return;
        }
        if self.front.is_cut_off(key) {
            return self.drop_connection(at);
        }
        let Some(out) = self.front.out(key) else { return };
        let moved = connection.socket.write(out);
        let all = connection.socket.unsent() == 0;
        let readable = connection.socket.readable;
        match moved {
            Moved::Closed | Moved::Ended => return self.drop_connection(at),
            Moved::Some(count) | Moved::More(count) => self.front.sent(key, count),
        }
        if all && self.front.is_closing(key) {
            self.drop_connection(at);
        } else if readable && self.front.wants_input(key) {
            self.unread.push(at);
        }
    }

    fn flush_peer(&mut self, node: u32) {
        let Some((at, out)) = self.peers.outgoing(node) else { return };
        let Some(connection) = self.connections[at].as_mut() else { return };
        if connection.socket.write(out) == Moved::Closed {
            self.drop_connection(at);
        }
    }

    /// A handshake is done: the link is part of the loop.
    fn link(&mut self, linked: peers::Linked) {
        let peers::Linked { node, instance, stream, outgoing } = linked;
        let (moment, peer) = (self.clock.moment(), consensus::NodeId(node));
        let alive = self.front.core().is_alive(moment.now, peer);
        let birth = self.peers.meet(node, instance, alive);
        if birth == Birth::Twin {
            if outgoing {
                self.peers.redial(node);
            }
            return;
        }
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(PEER_ACKNOWLEDGE_TIMEOUT));
        let owner =
            if outgoing { Owner::PeerOut(node) } else { Owner::PeerIn { node, input: Vec::new() } };
        let Some(at) = self.add(TcpStream::from_std(stream), owner) else { return };
        if outgoing && let Some(old) = self.peers.linked(node, at) {
            self.drop_connection(old);
        }
        if birth == Birth::Reborn {
            self.front.step(moment, Event::PeerReborn(peer));
        }
        self.front.step(moment, Event::PeerUp(peer));
        if outgoing {
            self.flush_peer(node);
        } else {
            self.ready(at, true);
        }
    }
}

/// Drops states on a thread of their own, which gives way to those that clients wait for.
fn discard(states: Vec<Shard>) {
    let run = move || {
        disk::give_way();
        drop(states);
    };
    // Where no thread can be started they are dropped at once, with the function that they are in.
    let _ = thread::Builder::new().name("discard".to_owned()).spawn(run);
}

/// Tells a connection that it is one too many. It is closed without waiting for the word to arrive.
fn reject(stream: &mut TcpStream) {
    let _ = io::Write::write(stream, b"-ERR max number of clients reached\r\n");
}

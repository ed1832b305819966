//! The other nodes: dialing them, answering their calls, and the frames that wait for each.
//!
//! Dialing and handshakes block, so each has a thread; the loop gets a finished connection.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use consensus::NodeId;
use node::{Event, Map, Message};

use super::{Notice, Notifier};
use crate::limits::{
    DIAL_TIMEOUT, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, PEER_OUT_BYTES_MAX, REDIAL_INTERVAL,
};
use crate::links::{self, About, Frame, HandshakeError, Hello, Id, PREAMBLE, Purpose};

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Linked {
    pub node: u32,
    pub instance: Id,
    pub stream: TcpStream,
    /// Did this node dial?
    pub outgoing: bool,
}

/// What links are made with.
#[derive(Clone, Debug)]
pub struct PeerOptions {
    pub secret: Vec<u8>,
    pub about: About,
}

/// The same, for all threads; the map in it changes.
type Shared = Arc<Mutex<PeerOptions>>;

fn look(shared: &Shared) -> PeerOptions {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

#[derive(Debug)]
struct Peer {
    /// The connection that the loop has, if any.
    connection: Option<usize>,
    /// Frames to send over it.
    out: Vec<u8>,
    /// Wakes the thread that dials.
    redial: Sender<()>,
    instance: Option<Id>,
    /// Starts before that one: their processes are over, or had better be.
    former: VecDeque<Id>,
    /// How often another process that goes by its name was turned away.
    twins: u32,
}

/// Which start of a peer it is that a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Birth {
    Known,
    Reborn,
    /// Another process with the same number is alive, or has taken its place: somebody runs a copy of a
    /// data directory. Two that vote by one name could elect two leaders.
    Twin,
}

/// Starts of a peer that are remembered when another one has followed.
const FORMER_MAX: usize = 16;

/// A node that was just started anew may be turned away some times, before its former links are seen to
/// be broken. One that calls so often, each tenth of a second, is another process.
const TWINS_TOLD: u32 = 50;

/// See the head of this file.
#[derive(Debug)]
pub struct Peers {
    options: Shared,
    peers: BTreeMap<u32, Peer>,
    dirty: Vec<u32>,
    overfull: Vec<usize>,
    handshakes: Arc<AtomicUsize>,
}

impl Peers {
    /// Begins to dial every other member.
    pub fn new(options: PeerOptions, notifier: &Notifier) -> Peers {
        let map = options.about.map.clone();
        let options = Arc::new(Mutex::new(options));
        let handshakes = Arc::new(AtomicUsize::new(0));
        let (peers, dirty, overfull) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut peers = Peers { options, peers, dirty, overfull, handshakes };
        if let Some(map) = map {
            peers.follow(&map, notifier);
        }
        peers
    }

    /// The members are those of this map: dials who has come, forgets who has left.
    pub(super) fn follow(&mut self, map: &Arc<Map>, notifier: &Notifier) {
        let own = {
            let mut options =
                self.options.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            options.about.map = Some(map.clone());
            options.about.node
        };
        self.peers.retain(|node, _| map.members().contains_key(&NodeId(*node)));
        for (id, member) in map.members() {
            if id.0 == own || self.peers.contains_key(&id.0) {
                continue;
            }
            let (redial, calls) = mpsc::channel();
            let (node, addr, options) = (id.0, member.addr.clone(), self.options.clone());
            let dialer = Dialer { node, addr, options };
            let notifier = notifier.clone();
            let run = move || dialer.run(&calls, &notifier);
            if thread::Builder::new().name(format!("dial-{node}")).spawn(run).is_err() {
                // The next map, or the next start, tries again; the others dial here.
                continue;
            }
            let _ = redial.send(());
            self.peers.insert(node, Peer::new(redial));
        }
    }

    /// Queues a message. Without a connection it is lost: the protocols above expect that, and
    /// repair it when there is one again. So a peer that does not read loses its connection.
    pub(super) fn send(&mut self, target: NodeId, message: &Message) {
        let Some(peer) = self.peers.get_mut(&target.0) else { return };
        let Some(connection) = peer.connection else { return };
        if peer.out.len() > PEER_OUT_BYTES_MAX {
            self.overfull.push(connection);
            return;
        }
        if peer.out.is_empty() {
            self.dirty.push(target.0);
        }
        links::put_frame(&mut peer.out, |out| message.encode(out));
    }

    /// Takes the connections to peers that do not read.
    pub(super) fn take_overfull(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.overfull)
    }

    /// Takes the peers that have something to be sent.
    pub(super) fn take_dirty(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.dirty)
    }

    /// The connection to a peer, and what to send over it.
    pub(super) fn outgoing(&mut self, node: u32) -> Option<(usize, &mut Vec<u8>)> {
        let peer = self.peers.get_mut(&node)?;
        Some((peer.connection?, &mut peer.out))
    }

    /// The loop has a connection to this peer. Returns the one that it replaces.
    pub(super) fn linked(&mut self, node: u32, at: usize) -> Option<usize> {
        let peer = self.peers.get_mut(&node)?;
        peer.out.clear();
        peer.connection.replace(at).filter(|old| *old != at)
    }

    /// A connection to this peer broke: it is dialed again, unless another one stands.
    pub(super) fn lost(&mut self, node: u32, at: usize) {
        if let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.connection == Some(at)) {
            peer.connection = None;
            peer.out.clear();
            let _ = peer.redial.send(());
        }
    }

    /// A link leads to this start of a peer. `alive`: the peer, whichever it is, was heard lately.
    pub(super) fn meet(&mut self, node: u32, instance: Id, alive: bool) -> Birth {
        let Some(peer) = self.peers.get_mut(&node) else { return Birth::Known };
        let birth = peer.meet(instance, alive);
        if birth == Birth::Twin {
            peer.twins += 1;
            if peer.twins == TWINS_TOLD {
                eprintln!(
                    "synod: two processes run as node {node}, with copies of one data directory; the \
                     second is not let in: stop it"
                );
            }
        }
        birth
    }

    /// Dials a peer again.
    pub(super) fn redial(&self, node: u32) {
        if let Some(peer) = self.peers.get(&node) {
            let _ = peer.redial.send(());
        }
    }

    /// Answers a call, on a thread of its own.
    pub(super) fn accept(&self, stream: TcpStream, notifier: Notifier) {
        let (options, handshakes) = (self.options.clone(), self.handshakes.clone());
        if handshakes.fetch_add(1, Ordering::AcqRel) >= HANDSHAKES_MAX {
            handshakes.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let answer = move || {
            for notice in answer_peer(stream, &look(&options)).into_iter().flatten() {
                notifier.send(notice);
            }
            handshakes.fetch_sub(1, Ordering::AcqRel);
        };
        // Without a thread the call is lost, and comes again.
        let _ = thread::Builder::new().name("handshake".to_owned()).spawn(answer);
    }
}

impl Peer {
    fn new(redial: Sender<()>) -> Peer {
        let (out, former) = (Vec::new(), VecDeque::new());
        Peer { connection: None, out, redial, instance: None, former, twins: 0 }
    }

    fn meet(&mut self, instance: Id, alive: bool) -> Birth {
        let Some(known) = self.instance.filter(|known| *known != instance) else {
            self.instance = Some(instance);
            return Birth::Known;
        };
        if alive || self.former.contains(&instance) {
            return Birth::Twin;
        }
        self.former.push_back(known);
        if self.former.len() > FORMER_MAX {
            self.former.pop_front();
        }
        (self.instance, self.twins) = (Some(instance), 0);
        Birth::Reborn
    }
}

/// Answers a call of another node.
pub(crate) fn answer_call(
    stream: &mut TcpStream,
    options: &PeerOptions,
) -> Result<Hello, HandshakeError> {
    set_timeouts(stream)?;
    let mut preamble = [0; PREAMBLE.len()];
    stream.read_exact(&mut preamble)?;
    if preamble != PREAMBLE {
        return Err(HandshakeError::NotANode);
    }
    links::accept(stream, &options.secret, &options.about, nonce())
}

/// Answers a call of another node: with what the loop has to know of it.
fn answer_peer(
    mut stream: TcpStream,
    options: &PeerOptions,
) -> Result<Vec<Notice>, HandshakeError> {
    let Hello { purpose, about, .. } = answer_call(&mut stream, options)?;
    let ours = &options.about;
    let mut notices: Vec<Notice> = newer_map(ours, &about).into_iter().collect();
    let About { instance, identity, cluster, node, list, .. } = about;
    let Some(map) = ours.map.as_ref().filter(|_| ours.is_member()) else { return Ok(notices) };
    if purpose == Purpose::Join {
        let came = list.into_iter().next().map(|addr| Event::Came { addr, identity });
        return Ok(came.map(Notice::Core).into_iter().collect());
    }
    // Another process that goes by the name of a member, or one that was taken out, is none.
    let known = map.members().get(&NodeId(node)).and_then(|member| member.identity);
    let is_peer = cluster == ours.cluster && node != ours.node && known == Some(identity);
    if purpose == Purpose::Link && is_peer {
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        notices.push(Notice::Linked(Linked { node, instance, stream, outgoing: false }));
    }
    Ok(notices)
}

/// The map that another node of the cluster showed, if it is newer than that of this one. The node may
/// have been down while members came and went, and so know nobody that it could hear of the change
/// otherwise; or it was taken out meanwhile. The map must know both for who they are.
fn newer_map(ours: &About, theirs: &About) -> Option<Notice> {
    let map = theirs.map.as_ref()?;
    let version = ours.map.as_ref().map_or(0, |map| map.version());
    let is_newer = ours.cluster == theirs.cluster && map.version() > version;
    let known = |about: &About| map.members().get(&NodeId(about.node)).map(|one| one.identity);
    let of_theirs = known(theirs) == Some(Some(theirs.identity));
    let of_ours = known(ours).is_none_or(|identity| identity == Some(ours.identity));
    let holds = ours.is_member() && is_newer && of_theirs && of_ours;
    holds.then(|| Notice::Core(Event::Shown { map: map.clone() }))
}

/// Calls an address.
pub(crate) fn call(
    addr: &str,
    options: &PeerOptions,
    purpose: Purpose,
) -> Result<(About, TcpStream), HandshakeError> {
    let mut last = None;
    for addr in addr.to_socket_addrs()? {
        match TcpStream::connect_timeout(&addr, DIAL_TIMEOUT) {
            Ok(mut stream) => {
                set_timeouts(&stream)?;
                let PeerOptions { secret, about } = options;
                let theirs = links::dial(&mut stream, secret, purpose, about, nonce())?;
                return Ok((theirs, stream));
            }
            Err(error) => last = Some(error),
        }
    }
    let none = || std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    Err(HandshakeError::Io(last.unwrap_or_else(none)))
}

fn set_timeouts(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    stream.set_write_timeout(Some(HANDSHAKE_TIMEOUT))
}

/// Fresh bytes that nobody can guess.
pub(crate) fn nonce<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    bytes
}

/// A thread that dials one peer whenever it is told to.
struct Dialer {
    node: u32,
    addr: String,
    options: Shared,
}

impl Dialer {
    fn run(&self, calls: &mpsc::Receiver<()>, notifier: &Notifier) {
        let last_complaint = Mutex::new(String::new());
        let mut rest = std::time::Instant::now();
        while calls.recv().is_ok() {
            // A link that broke at once is no reason to hurry.
            thread::sleep(rest.saturating_duration_since(std::time::Instant::now()));
            while let Err(error) = self.dial(notifier) {
                self.complain(&last_complaint, &error);
                match calls.recv_timeout(REDIAL_INTERVAL) {
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    Ok(()) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                }
            }
            rest = std::time::Instant::now() + REDIAL_INTERVAL;
        }
    }

    fn dial(&self, notifier: &Notifier) -> Result<(), HandshakeError> {
        let options = look(&self.options);
        let (about, stream) = call(&self.addr, &options, Purpose::Link)?;
        if !about.is_member() {
            return Err(HandshakeError::NoMember);
        }
        if about.cluster != options.about.cluster {
            return Err(HandshakeError::OtherCluster);
        }
        if let Some(notice) = newer_map(&options.about, &about) {
            notifier.send(notice);
        }
        if about.node != self.node {
            return Err(HandshakeError::OtherNode(about.node));
        }
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        let (node, instance) = (self.node, about.instance);
        notifier.send(Notice::Linked(Linked { node, instance, stream, outgoing: true }));
        Ok(())
    }

    /// Says why a peer cannot be reached, once for each reason. One that is not there yet, or not
    /// a member yet, is no reason.
    fn complain(&self, last: &Mutex<String>, error: &HandshakeError) {
        if matches!(error, HandshakeError::Io(_) | HandshakeError::NoMember) {
            return;
        }
        let text = format!("node {} at {}: {error}", self.node, self.addr);
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last != text {
            eprintln!("synod: {text}");
            *last = text;
        }
    }
}

/// Takes all whole messages out of a link's bytes; true if the link is damaged.
pub(super) fn take_messages(input: &mut Vec<u8>) -> (Vec<Message>, bool) {
    let (mut messages, mut places, mut whole_end) = (Vec::new(), Vec::new(), 0);
    loop {
        match links::first_frame(&input[whole_end..]) {
            Frame::Partial => break,
            Frame::Damaged => return (messages, true),
            Frame::Whole { start, end } => {
                places.push(whole_end + start..whole_end + end);
                whole_end += end;
            }
        }
    }
    if whole_end == 0 {
        return (messages, false);
    }
    // Copied once, into memory of just that size: all entries in it share it for as long as a
    // follower may need one of them.
    let whole = Bytes::copy_from_slice(&input[..whole_end]);
    input.drain(..whole_end);
    for place in places {
        match Message::decode(&whole.slice(place)) {
            Ok(message) => messages.push(message),
            Err(_) => return (messages, true),
        }
    }
    (messages, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_away_is_shown_the_map_even_by_a_node_that_is_not_in_its_own() {
        let founders = [("a:1".to_owned(), [1; 16]), ("b:1".to_owned(), [2; 16])];
        let old = Map::founding(node::Shards::new(1).unwrap(), 2, &founders).unwrap();
        let (addr, zone) = ("c:1".to_owned(), hashring::Zone::default());
        let invite = node::Change::Invite { addr, weight: 1, zone, replaces: None };
        let come = node::Change::Come { addr: "c:1".to_owned(), identity: [3; 16] };
        let new = old.changed(&invite).unwrap().changed(&come).unwrap();
        let about = |node: u32, map: &Map| About {
            instance: [node as u8; 16],
            identity: [node as u8; 16],
            cluster: [9; 16],
            node,
            list: Vec::new(),
            shards: 1,
            replicas: 2,
            map: Some(Arc::new(map.clone())),
        };
        let shown = |ours: &About, theirs: &About| match newer_map(ours, theirs) {
            Some(Notice::Core(Event::Shown { map })) => Some(map.version()),
            Some(other) => panic!("{other:?}"),
            None => None,
        };
        assert_eq!(shown(&about(1, &old), &about(3, &new)), Some(new.version()));
        assert_eq!(shown(&about(3, &new), &about(1, &old)), None);
        assert_eq!(shown(&about(1, &old), &about(2, &old)), None);
        let stranger = About { cluster: [8; 16], ..about(3, &new) };
        assert_eq!(shown(&about(1, &old), &stranger), None, "of another cluster");
        let liar = About { identity: [7; 16], ..about(3, &new) };
        assert_eq!(shown(&about(1, &old), &liar), None, "it is not who it says");
        let reborn = About { identity: [7; 16], ..about(1, &old) };
        assert_eq!(shown(&reborn, &about(3, &new)), None, "this is not who the map means");
        let drain = node::Change::Drain { node: NodeId(2) };
        let without = new.changed(&drain).unwrap();
        let without = without.changed(&node::Change::Remove { node: NodeId(2) }).unwrap();
        let taken_out = shown(&about(2, &old), &about(3, &without));
        assert_eq!(taken_out, Some(without.version()), "it is to hear that it is in it no more");
    }

    #[test]
    fn a_second_process_of_a_node_is_let_in_when_the_first_is_silent_and_then_instead_of_it() {
        let mut peer = Peer::new(mpsc::channel().0);
        let (first, second, third) = ([1; 16], [2; 16], [3; 16]);
        assert_eq!(peer.meet(first, false), Birth::Known);
        assert_eq!(peer.meet(first, true), Birth::Known, "links break and are made anew");
        assert_eq!(peer.meet(second, true), Birth::Twin);
        assert_eq!(peer.meet(second, false), Birth::Reborn);
        assert_eq!(peer.meet(first, true), Birth::Twin);
        assert_eq!(peer.meet(first, false), Birth::Twin, "it has been replaced for good");
        assert_eq!(peer.meet(third, false), Birth::Reborn);
    }
}

//! The founding: nodes that are given the same list of addresses become one cluster. And later
//! ones: a node that was invited joins one that is there.
//!
//! ```text
//! every node      probes all addresses; the one that answers with its own identity is itself
//! the first       (by the sorted list) sees all of them fresh, names the cluster, writes it down
//! the others      see a member whose map counts their identity among the founders, and follow
//! a later one     asks a member to be taken in, until the map counts it among the members
//! ```
//!
//! A founder's number is the place of its address in the sorted list, so the order in which the
//! addresses are given does not matter. A later node gets the number with which it was invited.
//!
//! What always holds: a node votes only as a founder that has never run before, or from its own
//! data. Its identity is written down before it is shown to others, so that one that dies in the
//! middle is known when it comes back. One whose data is gone has another identity than the map
//! says, and is refused: what it forgot may have been counted.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use node::Map;
use stdx::codec::Reader;

use crate::driver::{PeerOptions, answer_call, call, nonce};
use crate::limits::HANDSHAKES_MAX;
use crate::limits::SHARDS_DEFAULT;
use crate::links::{About, HandshakeError, Id, Purpose};
use crate::sealed;

/// How long to wait between two rounds of probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// How long a founding may take before the operator is told what it waits for.
const QUIET_TIME: Duration = Duration::from_secs(3);

/// The file that says which cluster a node belongs to and who its members are.
const MEMBERS_FILE: &str = "members";

/// The file with the identity that a node draws before it is a member.
const IDENTITY_FILE: &str = "founder";

/// Why a node cannot become a member.
#[derive(Debug)]
pub enum Refused {
    /// Two nodes were given different lists.
    ListsDiffer {
        ours: Vec<String>,
        theirs: Vec<String>,
    },
    /// Two nodes were given different numbers of shards, or this cluster has another one.
    ShardsDiffer {
        ours: u32,
        theirs: u32,
    },
    /// The numbers of shards or replicas are such that no map has them.
    NoMap(hashring::Error),
    /// None of the addresses leads to this node.
    NotListed {
        list: Vec<String>,
    },
    /// The cluster knows this node, but its data is gone.
    DataGone {
        node: u32,
    },
    /// The file of members is damaged.
    Damaged(String),
    Io(std::io::Error),
    /// A signal ended the wait.
    Stopped,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::ListsDiffer { ours, theirs } => write!(
                f,
                "the nodes were given different lists of members: here {}, there {}",
                ours.join(","),
                theirs.join(",")
            ),
            Refused::ShardsDiffer { ours, theirs } => write!(
                f,
                "this node was told to have {ours} shards, and the cluster has {theirs}: the number \
                 is set when a cluster is founded, the same on each node"
            ),
            Refused::NoMap(error) => write!(f, "{error}"),
            Refused::NotListed { list } => write!(
                f,
                "none of the addresses to join leads back to this node: {}; to found a cluster its \
                 own address must be among them, and to join one a node of it must answer there",
                list.join(",")
            ),
            Refused::DataGone { node } => write!(
                f,
                "the cluster exists and knows this address as node {node}, but the data directory \
                 here is empty. A voter that has forgotten its votes could lose data, so it does \
                 not start. Restore its data directory, or replace it by a new node at another \
                 address: synod node replace {node} HOST:PORT"
            ),
            Refused::Damaged(path) => write!(f, "{path} is damaged"),
            Refused::Io(error) => write!(f, "{error}"),
            Refused::Stopped => write!(f, "stopped while waiting for the other nodes"),
        }
    }
}

impl std::error::Error for Refused {}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Refused::Io(error)
    }
}

/// What was written down at the founding, if this node belongs to a cluster already.
pub fn recall(dir: &Path) -> Result<Option<About>, Refused> {
    let path = dir.join(MEMBERS_FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Refused::Io(error)),
    };
    let damaged = || Refused::Damaged(path.display().to_string());
    let body = sealed::body(&bytes).ok_or_else(damaged)?;
    About::decode(&mut Reader::new(body)).map(Some).map_err(|_| damaged())
}

/// Which replicas a new cluster's shards have, if nobody says: what survives one failure.
const REPLICAS_DEFAULT: u32 = 3;

/// Writes down who the members are: durable before the node acts as one.
fn remember(dir: &Path, about: &About) -> std::io::Result<()> {
    let mut body = Vec::new();
    about.encode(&mut body);
    write_durably(dir, MEMBERS_FILE, &sealed::seal(&body))
}

fn write_durably(dir: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let (path, temporary) = (dir.join(name), dir.join("founding.new"));
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, &path)?;
    std::fs::File::open(dir)?.sync_all()
}

/// The identity of this directory: the same however often the node is started before it is a member.
fn identity_of(dir: &Path) -> Result<Id, Refused> {
    let path = dir.join(IDENTITY_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => {
            Id::try_from(bytes.as_slice()).map_err(|_| Refused::Damaged(path.display().to_string()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let identity = nonce();
            write_durably(dir, IDENTITY_FILE, &identity)?;
            Ok(identity)
        }
        Err(error) => Err(Refused::Io(error)),
    }
}

/// The map of a cluster that begins.
fn first_map(shards: u32, replicas: u32, founders: &[(String, Id)]) -> Result<Arc<Map>, Refused> {
    let shards = node::Shards::new(shards as usize).map_err(Refused::NoMap)?;
    Map::founding(shards, replicas, founders).map(Arc::new).map_err(Refused::NoMap)
}

/// A cluster of this node alone.
pub fn found_alone(dir: &Path, wish: Wish<'_>) -> Result<About, Refused> {
    let (cluster, instance, identity) = (nonce(), nonce(), nonce());
    let shards = wish.shards.unwrap_or(SHARDS_DEFAULT);
    let replicas = wish.replicas.unwrap_or(REPLICAS_DEFAULT);
    let map = Some(first_map(shards, replicas, &[(wish.own.to_owned(), identity)])?);
    let (node, list) = (1, Vec::new());
    let about = About { instance, identity, cluster, node, list, shards, replicas, map };
    remember(dir, &about)?;
    Ok(about)
}

/// Finds the others and becomes a member. Calls are answered on `listener` meanwhile.
pub fn found(
    dir: &Path,
    listener: &TcpListener,
    wish: Wish<'_>,
    secret: &[u8],
    stop: &AtomicBool,
) -> Result<About, Refused> {
    let identity = identity_of(dir)?;
    let mut list = wish.list.to_vec();
    list.sort();
    list.dedup();
    let (shards, replicas) = (wish.shards.unwrap_or_default(), wish.replicas.unwrap_or_default());
    let about = About { identity, list, shards, replicas, ..About::default() };
    let shared = Arc::new(Shared {
        options: Mutex::new(PeerOptions { secret: secret.to_vec(), about }),
        other_list: Mutex::new(None),
        answering: AtomicUsize::new(0),
        done: AtomicBool::new(false),
    });
    listener.set_nonblocking(true)?;
    thread::scope(|scope| {
        scope.spawn(|| answer_calls(listener, &shared));
        let found = probe_until_found(dir, &shared, wish.own, stop);
        shared.done.store(true, Ordering::Release);
        found
    })
}

/// What the operator wants of a cluster that is founded or joined.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The address under which others reach this node.
    pub own: &'a str,
    /// The addresses of all founders, or of members of a cluster.
    pub list: &'a [String],
    pub shards: Option<u32>,
    pub replicas: Option<u32>,
}

/// What the thread that probes and those that answer share.
struct Shared {
    options: Mutex<PeerOptions>,
    /// The list of a caller that was given another one: both must refuse, or the one that saw it
    /// first would be gone, and the other would wait for it.
    other_list: Mutex<Option<Vec<String>>>,
    /// Calls that are being answered.
    answering: AtomicUsize,
    done: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn answer_calls(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.done.load(Ordering::Acquire) {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        if shared.answering.fetch_add(1, Ordering::AcqRel) >= HANDSHAKES_MAX {
            shared.answering.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        // On a thread of its own, which nobody waits for: a caller may say nothing for long.
        let own = shared.clone();
        let answer = move || {
            own.answer(stream);
            own.answering.fetch_sub(1, Ordering::AcqRel);
        };
        if thread::Builder::new().name("handshake".to_owned()).spawn(answer).is_err() {
            shared.answering.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Shared {
    /// Whoever it is comes again; a client that calls this early is cut off.
    fn answer(&self, mut stream: TcpStream) {
        let options = lock(&self.options).clone();
        let Ok(hello) = answer_call(&mut stream, &options) else { return };
        let about = hello.about;
        if !about.is_member() && !options.about.is_member() && about.list != options.about.list {
            *lock(&self.other_list) = Some(about.list);
        }
    }
}

fn probe_until_found(
    dir: &Path,
    shared: &Shared,
    own: &str,
    stop: &AtomicBool,
) -> Result<About, Refused> {
    let (begun, mut notes) = (Instant::now(), Notes::default());
    loop {
        let ours = lock(&shared.options).clone();
        let answers = probe_all(&ours, &mut notes);
        if let Some(theirs) = lock(&shared.other_list).take()
            && !answers.iter().flatten().any(About::is_member)
        {
            return Err(Refused::ListsDiffer { ours: ours.about.list, theirs });
        }
        match decide(&ours.about, own, &answers)? {
            Verdict::Found(about) => {
                remember(dir, &about)?;
                // A member that loses its data must not pass for one that has never run.
                std::fs::remove_file(dir.join(IDENTITY_FILE))?;
                lock(&shared.options).about = (*about).clone();
                return Ok(*about);
            }
            Verdict::Asks(addr) => ask_to_join(&ours, &answers, &addr, &mut notes),
            Verdict::Waits => {}
        }
        if begun.elapsed() >= QUIET_TIME {
            notes.note_missing(&ours.about.list, &answers);
        }
        if stop.load(Ordering::Acquire) {
            return Err(Refused::Stopped);
        }
        thread::sleep(PROBE_INTERVAL);
    }
}

/// Asks a member to be taken in. Whether it was, the next round of probes sees.
fn ask_to_join(ours: &PeerOptions, answers: &[Option<About>], addr: &str, notes: &mut Notes) {
    let is_member = |about: &Option<About>| about.as_ref().is_some_and(About::is_member);
    let Some(at) = answers.iter().position(is_member) else { return };
    let map = answers[at].as_ref().and_then(|about| about.map.as_ref());
    if map.is_some_and(|map| map.by_addr(addr).is_none()) {
        notes.note_uninvited(addr);
        return;
    }
    let about = About { list: vec![addr.to_owned()], ..ours.about.clone() };
    let asking = PeerOptions { secret: ours.secret.clone(), about };
    // Nobody answers to it but the map.
    let _ = call(&ours.about.list[at], &asking, Purpose::Join);
}

/// Calls every address; nothing for one that does not answer.
fn probe_all(ours: &PeerOptions, notes: &mut Notes) -> Vec<Option<About>> {
    let mut probe = |addr: &String| match call(addr, ours, Purpose::Probe) {
        Ok((about, _)) => Some(about),
        Err(HandshakeError::WrongSecret) => {
            notes.note_secret(addr);
            None
        }
        Err(_) => None,
    };
    ours.about.list.iter().map(&mut probe).collect()
}

/// What the operator was told while the founding lasts, so that it is said once.
#[derive(Default)]
struct Notes {
    missing: Vec<String>,
    secrets: Vec<String>,
    uninvited: bool,
}

impl Notes {
    /// Which of the two secrets is wrong nobody here can know, so neither node gives up: the
    /// operator starts the wrong one anew.
    fn note_secret(&mut self, addr: &str) {
        if !self.secrets.iter().any(|known| known == addr) {
            self.secrets.push(addr.to_owned());
            eprintln!("synod: the node at {addr} has another cluster secret; waiting for the same");
        }
    }

    fn note_uninvited(&mut self, addr: &str) {
        if !std::mem::replace(&mut self.uninvited, true) {
            eprintln!("synod: waiting to be taken in: synod node add {addr}");
        }
    }

    fn note_missing(&mut self, members: &[String], answers: &[Option<About>]) {
        let silent = members.iter().zip(answers).filter(|(_, answer)| answer.is_none());
        let missing: Vec<String> = silent.map(|(addr, _)| addr.clone()).collect();
        if missing != self.missing && !missing.is_empty() {
            eprintln!("synod: waiting for the nodes at {}", missing.join(", "));
        }
        self.missing = missing;
    }
}

/// What the answers mean.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// This node is a member, as this says.
    Found(Box<About>),
    /// There is a cluster, which is to take in the node at this address.
    Asks(String),
    /// It is too early to say.
    Waits,
}

fn decide(ours: &About, own: &str, answers: &[Option<About>]) -> Result<Verdict, Refused> {
    let present: Vec<&About> = answers.iter().flatten().collect();
    let differs = |about: &&&About| about.shards != ours.shards && about.shards > 0;
    if let Some(other) = present.iter().find(differs).filter(|_| ours.shards > 0) {
        return Err(Refused::ShardsDiffer { ours: ours.shards, theirs: other.shards });
    }
    let place = answers
        .iter()
        .position(|answer| answer.as_ref().is_some_and(|about| about.identity == ours.identity));
    let newest = |about: &&&About| about.map.as_ref().map_or(0, |map| map.version());
    let members = present.iter().filter(|about| about.is_member());
    if let Some(member) = members.max_by_key(newest) {
        return follow(ours, place.map_or(own, |at| &ours.list[at]), member);
    }
    if let Some(other) = present.iter().find(|about| about.list != ours.list) {
        let (ours, theirs) = (ours.list.clone(), other.list.clone());
        return Err(Refused::ListsDiffer { ours, theirs });
    }
    if present.len() < answers.len() {
        return Ok(Verdict::Waits);
    }
    let place = place.ok_or_else(|| Refused::NotListed { list: ours.list.clone() })?;
    if place > 0 {
        return Ok(Verdict::Waits);
    }
    let identities = present.iter().map(|about| about.identity);
    let founders: Vec<(String, Id)> = ours.list.iter().cloned().zip(identities).collect();
    let wished = |of: fn(&About) -> u32, default| {
        let most = present.iter().map(|about| of(about)).max();
        most.filter(|most| *most > 0).unwrap_or(default)
    };
    let shards = wished(|about| about.shards, SHARDS_DEFAULT);
    let replicas = wished(|about| about.replicas, REPLICAS_DEFAULT);
    let map = Some(first_map(shards, replicas, &founders)?);
    let (cluster, node) = (nonce(), 1);
    Ok(Verdict::Found(Box::new(About { cluster, node, shards, replicas, map, ..ours.clone() })))
}

/// There is a cluster: this node, at this address, is a founder of it, or one that was invited.
fn follow(ours: &About, own: &str, member: &About) -> Result<Verdict, Refused> {
    let map = member.map.as_ref().expect("a member knows the map");
    let mut members = map.members().iter();
    if let Some((node, _)) = members.find(|(_, known)| known.identity == Some(ours.identity)) {
        let About { cluster, shards, replicas, map, .. } = member.clone();
        let node = node.0;
        return Ok(Verdict::Found(Box::new(About {
            cluster,
            node,
            shards,
            replicas,
            map,
            ..ours.clone()
        })));
    }
    match map.by_addr(own) {
        Some((node, known)) if known.identity.is_some() => Err(Refused::DataGone { node: node.0 }),
        _ => Ok(Verdict::Asks(own.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(number: u8) -> About {
        let list = vec!["a:1".to_owned(), "b:1".to_owned()];
        About { identity: [number; 16], list, ..About::default() }
    }

    fn found(ours: &About, answers: &[Option<About>]) -> About {
        match decide(ours, "c:1", answers).unwrap() {
            Verdict::Found(about) => *about,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_of_the_list_founds_once_all_are_there_and_the_others_follow() {
        let (first, second) = (fresh(1), fresh(2));
        let early = decide(&first, "a:1", &[Some(first.clone()), None]).unwrap();
        assert_eq!(early, Verdict::Waits);
        let all = [Some(first.clone()), Some(second.clone())];
        let may_not = decide(&second, "b:1", &all).unwrap();
        assert_eq!(may_not, Verdict::Waits, "only the first may name the cluster");
        let founded = found(&first, &all);
        assert_eq!((founded.node, founded.map.as_ref().unwrap().members().len()), (1, 2));
        let joined = found(&second, &[Some(founded.clone()), None]);
        assert_eq!((joined.node, joined.cluster), (2, founded.cluster));
        assert_eq!(joined.identity, second.identity);
    }

    #[test]
    fn a_node_that_lost_its_data_is_refused() {
        let (first, second, reborn) = (fresh(1), fresh(2), fresh(3));
        let all = [Some(first.clone()), Some(second)];
        let founded = found(&first, &all);
        let refused = decide(&reborn, "x:1", &[Some(founded), Some(reborn.clone())]);
        assert!(matches!(refused, Err(Refused::DataGone { node: 2 })), "{refused:?}");
    }

    #[test]
    fn a_later_node_asks_until_the_map_counts_it_in() {
        let (first, second, late) = (fresh(1), fresh(2), fresh(3));
        let founded = found(&first, &[Some(first.clone()), Some(second)]);
        let answers = [Some(founded.clone()), None];
        let asks = Verdict::Asks("c:1".to_owned());
        assert_eq!(decide(&late, "c:1", &answers).unwrap(), asks);
        let (addr, zone, weight) = ("c:1".to_owned(), hashring::Zone::default(), 1);
        let invite = node::Change::Invite { addr: addr.clone(), weight, zone, replaces: None };
        let map = founded.map.as_ref().unwrap().changed(&invite).unwrap();
        let with = |map: Map| [None, Some(About { map: Some(Arc::new(map)), ..founded.clone() })];
        assert_eq!(decide(&late, "c:1", &with(map.clone())).unwrap(), asks);
        let come = node::Change::Come { addr, identity: [3; 16] };
        let map = map.changed(&come).unwrap();
        assert_eq!(found(&late, &with(map.clone())).node, 3);
        let other = decide(&fresh(4), "c:1", &with(map));
        assert!(matches!(other, Err(Refused::DataGone { node: 3 })), "{other:?}");
    }

    #[test]
    fn a_node_that_is_started_again_before_it_is_a_member_has_the_same_identity() {
        let dir = tempfile::tempdir().unwrap();
        let first = identity_of(dir.path()).unwrap();
        assert_eq!(identity_of(dir.path()).unwrap(), first);
        std::fs::write(dir.path().join(IDENTITY_FILE), b"half").unwrap();
        assert!(matches!(identity_of(dir.path()), Err(Refused::Damaged(_))));
    }

    #[test]
    fn different_lists_and_a_list_without_this_node_are_refused() {
        let first = fresh(1);
        let other = About { list: vec!["x:1".to_owned()], ..fresh(2) };
        let differ = decide(&first, "a:1", &[Some(first.clone()), Some(other)]);
        assert!(matches!(differ, Err(Refused::ListsDiffer { .. })), "{differ:?}");
        let strangers = [Some(fresh(8)), Some(fresh(9))];
        let unlisted = decide(&first, "a:1", &strangers);
        assert!(matches!(unlisted, Err(Refused::NotListed { .. })), "{unlisted:?}");
    }

    #[test]
    fn the_number_of_shards_is_agreed_on() {
        let with = |instance, shards| About { shards, ..fresh(instance) };
        let (first, other) = (with(1, 16), with(2, 0));
        let about = found(&first, &[Some(first.clone()), Some(other)]);
        assert_eq!((about.shards, about.map.as_ref().unwrap().shards().count()), (16, 16));
        let (mute, wishing) = (fresh(1), with(2, 4));
        let about = found(&mute, &[Some(mute.clone()), Some(wishing.clone())]);
        assert_eq!(about.shards, 4, "one that was not told takes what the other was told");
        let answers = [Some(first.clone()), Some(wishing)];
        let refused = decide(&first, "a:1", &answers).unwrap_err();
        assert!(matches!(refused, Refused::ShardsDiffer { ours: 16, theirs: 4 }));
    }

    #[test]
    fn members_are_remembered_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert!(recall(dir.path()).unwrap().is_none());
        let (own, list, shards, replicas) = ("a:1", &[][..], Some(4), None);
        let about = found_alone(dir.path(), Wish { own, list, shards, replicas }).unwrap();
        assert_eq!(recall(dir.path()).unwrap().unwrap(), about);
        let path = dir.path().join(MEMBERS_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(recall(dir.path()), Err(Refused::Damaged(_))));
    }
}

//! The founding: nodes that are given the same list of addresses become one cluster.
//!
//! ```text
//! every node      probes all addresses; the one that answers with its own instance is itself
//! the first       (by the sorted list) sees all of them fresh, names the cluster, writes it down
//! the others      see a member that counts their instance among the founders, and join
//! ```
//!
//! A node's number is the place of its address in the sorted list, so the order in which the
//! addresses are given does not matter.
//!
//! What always holds: a node votes only as a founder that has never run before, or from its own
//! data. A founder's instance is written down before it is shown to others, so that one that dies
//! in the middle of the founding is known when it comes back. One whose data is gone is not among the founders by its new instance, and is refused: what
//! it forgot may have been counted.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use stdx::codec::{Reader, put_u32};

use crate::driver::{PeerOptions, answer_call, call, nonce};
use crate::limits::HANDSHAKES_MAX;
use crate::limits::SHARDS_DEFAULT;
use crate::links::{About, HandshakeError, Id, Purpose};

/// How long to wait between two rounds of probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// How long a founding may take before the operator is told what it waits for.
const QUIET_TIME: Duration = Duration::from_secs(3);

/// The file that says which cluster a node belongs to and who its members are.
const MEMBERS_FILE: &str = "members";

/// The file with the instance that a founder goes by until it is a member.
const FOUNDER_FILE: &str = "founder";

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
            Refused::NotListed { list } => write!(
                f,
                "none of the addresses to join leads back to this node: {}; its own address must \
                 be among them",
                list.join(",")
            ),
            Refused::DataGone { node } => write!(
                f,
                "the cluster exists and knows this address as node {node}, but the data directory \
                 here is empty. A voter that has forgotten its votes could lose data, so it does \
                 not start. Restore its data directory"
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
    let mut reader = Reader::new(&bytes);
    let crc = reader.u32().map_err(|_| damaged())?;
    if crc32c::crc32c(&bytes[reader.offset()..]) != crc {
        return Err(damaged());
    }
    About::decode(&mut reader).map(Some).map_err(|_| damaged())
}

/// Writes down who the members are: durable before the node acts as one.
fn remember(dir: &Path, about: &About) -> std::io::Result<()> {
    let mut body = Vec::new();
    about.encode(&mut body);
    let mut bytes = Vec::new();
    put_u32(&mut bytes, crc32c::crc32c(&body));
    bytes.extend_from_slice(&body);
    write_durably(dir, MEMBERS_FILE, &bytes)
}

fn write_durably(dir: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let (path, temporary) = (dir.join(name), dir.join("founding.new"));
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, &path)?;
    std::fs::File::open(dir)?.sync_all()
}

/// The instance of this directory as a founder: the same however often the node is started before
/// it is a member.
fn founder(dir: &Path) -> Result<Id, Refused> {
    let path = dir.join(FOUNDER_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => {
            Id::try_from(bytes.as_slice()).map_err(|_| Refused::Damaged(path.display().to_string()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let instance = nonce();
            write_durably(dir, FOUNDER_FILE, &instance)?;
            Ok(instance)
        }
        Err(error) => Err(Refused::Io(error)),
    }
}

/// A cluster of this node alone.
pub fn found_alone(
    dir: &Path,
    addr: &str,
    instance: Id,
    shards: Option<u32>,
) -> Result<About, Refused> {
    let (cluster, members) = (nonce(), vec![addr.to_owned()]);
    let (node, founders) = (1, vec![instance]);
    let shards = shards.unwrap_or(SHARDS_DEFAULT);
    let about = About { instance, cluster, node, members, founders, shards };
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
    let instance = founder(dir)?;
    let mut members = wish.list.to_vec();
    members.sort();
    members.dedup();
    let shards = wish.shards.unwrap_or_default();
    let about = About { instance, members, shards, ..About::default() };
    let shared = Arc::new(Shared {
        options: Mutex::new(PeerOptions { secret: secret.to_vec(), about }),
        other_list: Mutex::new(None),
        answering: AtomicUsize::new(0),
        done: AtomicBool::new(false),
    });
    listener.set_nonblocking(true)?;
    thread::scope(|scope| {
        scope.spawn(|| answer_calls(listener, &shared));
        let found = probe_until_found(dir, &shared, stop);
        shared.done.store(true, Ordering::Release);
        found
    })
}

/// What the operator wants of a cluster that is founded.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The addresses of all members.
    pub list: &'a [String],
    pub shards: Option<u32>,
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
        if hello.about.members != options.about.members {
            *lock(&self.other_list) = Some(hello.about.members);
        }
    }
}

fn probe_until_found(dir: &Path, shared: &Shared, stop: &AtomicBool) -> Result<About, Refused> {
    let (begun, mut notes) = (Instant::now(), Notes::default());
    loop {
        let ours = lock(&shared.options).clone();
        let answers = probe_all(&ours, &mut notes);
        if let Some(theirs) = lock(&shared.other_list).take() {
            return Err(Refused::ListsDiffer { ours: ours.about.members, theirs });
        }
        if let Some(about) = decide(&ours.about, &answers)? {
            remember(dir, &about)?;
            // A member that loses its data must not pass for a founder.
            std::fs::remove_file(dir.join(FOUNDER_FILE))?;
            lock(&shared.options).about = about.clone();
            return Ok(about);
        }
        if begun.elapsed() >= QUIET_TIME {
            notes.note_missing(&ours.about.members, &answers);
        }
        if stop.load(Ordering::Acquire) {
            return Err(Refused::Stopped);
        }
        thread::sleep(PROBE_INTERVAL);
    }
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
    ours.about.members.iter().map(&mut probe).collect()
}

/// What the operator was told while the founding lasts, so that it is said once.
#[derive(Default)]
struct Notes {
    missing: Vec<String>,
    secrets: Vec<String>,
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

    fn note_missing(&mut self, members: &[String], answers: &[Option<About>]) {
        let silent = members.iter().zip(answers).filter(|(_, answer)| answer.is_none());
        let missing: Vec<String> = silent.map(|(addr, _)| addr.clone()).collect();
        if missing != self.missing && !missing.is_empty() {
            eprintln!("synod: waiting for the nodes at {}", missing.join(", "));
        }
        self.missing = missing;
    }
}

/// What the answers mean; nothing if it is too early to say.
fn decide(ours: &About, answers: &[Option<About>]) -> Result<Option<About>, Refused> {
    let present: Vec<&About> = answers.iter().flatten().collect();
    if let Some(other) = present.iter().find(|about| about.members != ours.members) {
        let (ours, theirs) = (ours.members.clone(), other.members.clone());
        return Err(Refused::ListsDiffer { ours, theirs });
    }
    let differs = |about: &&&About| about.shards != ours.shards && about.shards > 0;
    if let Some(other) = present.iter().find(differs).filter(|_| ours.shards > 0) {
        return Err(Refused::ShardsDiffer { ours: ours.shards, theirs: other.shards });
    }
    let place = answers
        .iter()
        .position(|answer| answer.as_ref().is_some_and(|about| about.instance == ours.instance));
    let unlisted = || Refused::NotListed { list: ours.members.clone() };
    if let Some(member) = present.iter().find(|about| about.is_member()) {
        let founder = member.founders.iter().position(|founder| *founder == ours.instance);
        return match (founder, place) {
            (Some(at), _) => Ok(Some(About {
                instance: ours.instance,
                node: at as u32 + 1,
                ..(*member).clone()
            })),
            (None, Some(at)) => Err(Refused::DataGone { node: at as u32 + 1 }),
            (None, None) if present.len() == answers.len() => Err(unlisted()),
            (None, None) => Ok(None),
        };
    }
    if present.len() < answers.len() {
        return Ok(None);
    }
    let place = place.ok_or_else(unlisted)?;
    if place > 0 {
        return Ok(None);
    }
    let founders = present.iter().map(|about| about.instance).collect();
    let wished = present.iter().map(|about| about.shards).max().filter(|shards| *shards > 0);
    let shards = wished.unwrap_or(SHARDS_DEFAULT);
    let (instance, members) = (ours.instance, ours.members.clone());
    Ok(Some(About { instance, cluster: nonce(), node: 1, members, founders, shards }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(instance: u8) -> About {
        let members = vec!["a:1".to_owned(), "b:1".to_owned()];
        About { instance: [instance; 16], members, ..About::default() }
    }

    #[test]
    fn the_first_of_the_list_founds_once_all_are_there_and_the_others_follow() {
        let (first, second) = (fresh(1), fresh(2));
        assert_eq!(decide(&first, &[Some(first.clone()), None]).unwrap(), None);
        let all = [Some(first.clone()), Some(second.clone())];
        assert_eq!(decide(&second, &all).unwrap(), None, "only the first may name the cluster");
        let founded = decide(&first, &all).unwrap().unwrap();
        assert_eq!((founded.node, founded.founders.len()), (1, 2));
        let joined = decide(&second, &[Some(founded.clone()), None]).unwrap().unwrap();
        assert_eq!((joined.node, joined.cluster), (2, founded.cluster));
        assert_eq!(joined.instance, second.instance);
    }

    #[test]
    fn a_node_that_lost_its_data_is_refused() {
        let (first, second, reborn) = (fresh(1), fresh(2), fresh(3));
        let all = [Some(first.clone()), Some(second)];
        let founded = decide(&first, &all).unwrap().unwrap();
        let refused = decide(&reborn, &[Some(founded), Some(reborn.clone())]);
        assert!(matches!(refused, Err(Refused::DataGone { node: 2 })), "{refused:?}");
    }

    #[test]
    fn a_founder_that_is_started_again_before_it_is_a_member_goes_by_the_same_instance() {
        let dir = tempfile::tempdir().unwrap();
        let first = founder(dir.path()).unwrap();
        assert_eq!(founder(dir.path()).unwrap(), first);
        std::fs::write(dir.path().join(FOUNDER_FILE), b"half").unwrap();
        assert!(matches!(founder(dir.path()), Err(Refused::Damaged(_))));
    }

    #[test]
    fn different_lists_and_a_list_without_this_node_are_refused() {
        let first = fresh(1);
        let other = About { members: vec!["x:1".to_owned()], ..fresh(2) };
        let differ = decide(&first, &[Some(first.clone()), Some(other)]);
        assert!(matches!(differ, Err(Refused::ListsDiffer { .. })), "{differ:?}");
        let strangers = [Some(fresh(8)), Some(fresh(9))];
        let unlisted = decide(&first, &strangers);
        assert!(matches!(unlisted, Err(Refused::NotListed { .. })), "{unlisted:?}");
        let founded = |about: About| Some(About { cluster: [1; 16], ..about });
        let members = [founded(fresh(8)), founded(fresh(9))];
        let late = decide(&first, &members);
        assert!(matches!(late, Err(Refused::NotListed { .. })), "{late:?}");
        assert_eq!(decide(&first, &[members[0].clone(), None]).unwrap(), None);
    }

    #[test]
    fn the_number_of_shards_is_agreed_on() {
        let with = |instance, shards| About { shards, ..fresh(instance) };
        let (first, other) = (with(1, 16), with(2, 0));
        let about = decide(&first, &[Some(first.clone()), Some(other)]).unwrap().unwrap();
        assert_eq!(about.shards, 16);
        let (mute, wishing) = (fresh(1), with(2, 4));
        let about = decide(&mute, &[Some(mute.clone()), Some(wishing.clone())]).unwrap().unwrap();
        assert_eq!(about.shards, 4, "one that was not told takes what the other was told");
        let answers = [Some(first.clone()), Some(wishing)];
        let refused = decide(&first, &answers).unwrap_err();
        assert!(matches!(refused, Refused::ShardsDiffer { ours: 16, theirs: 4 }));
    }

    #[test]
    fn members_are_remembered_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert!(recall(dir.path()).unwrap().is_none());
        let about = found_alone(dir.path(), "a:1", [5; 16], Some(4)).unwrap();
        assert_eq!(recall(dir.path()).unwrap().unwrap(), about);
        let path = dir.path().join(MEMBERS_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(recall(dir.path()), Err(Refused::Damaged(_))));
    }
}

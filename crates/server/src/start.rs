//! Starting a node: its directory, its cluster, its log, its loop.
//!
//! Everything that could make the node lie is checked before it answers its first client: whose
//! data this is, whether all of it is there, and who the members are.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use consensus::{Entry, Index, NodeId, Options, SnapshotMeta, Stored, Term};
use keyspace::{Loader, Shard};
use node::{Core, Founding, GroupId, Health, message};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use storage::disk::{Disk, RealDisk};
use storage::home::{ClusterId, Home, Identity};
use storage::store::{Found, Store};

use crate::config::{Config, Redirects};
use crate::driver::{
    Channel, Driver, Ended, LogThread, Parts, PeerOptions, Peers, SnapshotThread, nonce,
};
use crate::founding::{self, Wish};
use crate::front::Front;
use crate::keeper::snapshot_meta;
use crate::limits::OTHER_FILES_MAX;
use crate::links::About;
use crate::repair::{self, Refusal};
use node::limits::SNAPSHOT_STEP_BYTES;

/// The group that keeps the keys.
pub const GROUP: GroupId = GroupId(0);

/// How a node is to run.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    pub listen: String,
    /// The addresses of all members, this one's among them; empty for a node alone.
    pub join: Vec<String>,
    pub data: PathBuf,
    pub secret: Vec<u8>,
    pub password: Vec<u8>,
    pub clients_max: usize,
    pub election_timeout: Duration,
    pub heartbeat_interval: Duration,
    pub clock_drift_ppm: u32,
    /// How many shards a new cluster has.
    pub shards: Option<u32>,
    pub redirects: Redirects,
    /// Gives free memory back to the system: called when much was freed.
    pub give_back: fn(),
}

/// Runs a node until it is told to stop. The error is a sentence for the operator.
pub fn run(options: NodeOptions, stop: Arc<AtomicBool>) -> Result<Ended, String> {
    std::fs::create_dir_all(&options.data)
        .map_err(|error| format!("{}: {error}", options.data.display()))?;
    let disk: Arc<dyn Disk> =
        Arc::new(RealDisk::new(&options.data).map_err(|error| error.to_string())?);
    let mut home = Home::open(disk.clone()).map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(&options.listen)
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let about = join(&options, &listener, &home, &stop)?;
    let identity = Identity {
        cluster: ClusterId(u128::from_le_bytes(about.cluster)),
        node: storage::home::NodeId(about.node),
    };
    home.claim(identity).map_err(|error| error.to_string())?;
    let (mut store, mut found) = Store::open(disk.clone(), storage::wal::Options::default())
        .map_err(|error| error.to_string())?;
    let mut faulty = BTreeSet::new();
    for shard in 0..about.shards {
        let (members, group) = (about.members.len(), storage::GroupId(shard));
        let diagnosis = repair::prepare(&*disk, members, group, &mut store, &mut found);
        let diagnosis = diagnosis.map_err(|refusal| refusal.to_string())?;
        if let Some(news) = &diagnosis.news {
            eprintln!("synod: {news}");
        }
        faulty.extend(diagnosis.faulty.then_some(GroupId(shard)));
    }
    let channel = Channel::new().map_err(|error| error.to_string())?;
    let core = core(&options, &about, &found, faulty, home.boots(), &channel)?;
    let parts = parts(&options, disk, about, store, core, listener, &channel, stop);
    let ended = Driver::new(channel, parts).and_then(Driver::run);
    drop(home);
    ended.map_err(|error| format!("the event loop failed: {error}"))
}

/// Finds out which cluster this node belongs to, and as whom.
fn join(
    options: &NodeOptions,
    listener: &TcpListener,
    home: &Home,
    stop: &AtomicBool,
) -> Result<About, String> {
    let instance = nonce();
    let known = founding::recall(&options.data).map_err(|error| error.to_string())?;
    let about = match known {
        Some(about) => {
            if !options.join.is_empty() && options.join != about.members {
                return Err(format!(
                    "this node belongs to the cluster of {}, and was told to join {}",
                    about.members.join(","),
                    options.join.join(",")
                ));
            }
            let own = about.node as usize;
            let place = about.members.iter().position(|member| *member == options.listen);
            if let Some(other) = place.map(|at| at + 1).filter(|other| *other != own) {
                return Err(format!(
                    "{} belongs to node {own} of the cluster, at {}, and this address is that of \
                     node {other}",
                    options.data.display(),
                    about.members[own - 1]
                ));
            }
            if let Some(ours) = options.shards.filter(|ours| *ours != about.shards) {
                let refused = founding::Refused::ShardsDiffer { ours, theirs: about.shards };
                return Err(refused.to_string());
            }
            About { instance, ..about }
        }
        None if home.identity().is_some() => {
            let dir = options.data.display();
            return Err(format!("{dir} belongs to a node, but its list of members is gone"));
        }
        None if options.join.len() < 2 => {
            let addr = options.join.first().unwrap_or(&options.listen);
            founding::found_alone(&options.data, addr, instance, options.shards)
                .map_err(|error| error.to_string())?
        }
        None => {
            let wish = Wish { list: &options.join, shards: options.shards };
            let about = founding::found(&options.data, listener, wish, &options.secret, stop)
                .map_err(|error| error.to_string())?;
            About { instance, ..about }
        }
    };
    Ok(about)
}

/// The core, with what was found on the disk.
fn core(
    options: &NodeOptions,
    about: &About,
    found: &Found,
    faulty: BTreeSet<GroupId>,
    boot: u64,
    channel: &Channel,
) -> Result<Core, String> {
    let node = NodeId(about.node);
    let raft = Options {
        heartbeat_interval: options.heartbeat_interval,
        election_timeout: options.election_timeout,
        clock_drift_ppm: options.clock_drift_ppm,
        ..Options::new(node, u64::from_le_bytes(nonce()))
    };
    let addr = about.members[about.node as usize - 1].clone();
    let own = Health { pid: std::process::id(), addr, ..Health::default() };
    let founders: BTreeSet<NodeId> = (1..=about.members.len() as u32).map(NodeId).collect();
    let peers = founders.iter().copied().filter(|other| *other != node).collect();
    let (shards, snapshot_step_bytes) = (about.shards, SNAPSHOT_STEP_BYTES);
    let told = Restore { raft, founders, peers, shards, faulty, boot, own, snapshot_step_bytes };
    restore(told, found, channel.moment().now).map_err(|refusal| refusal.to_string())
}

/// What a core is told at its start, beside what is on its disk.
#[derive(Debug)]
pub struct Restore {
    pub raft: Options,
    /// Who agreed when the groups began; nobody, for a node that joins them and waits to be told.
    pub founders: BTreeSet<NodeId>,
    /// The other nodes of the cluster.
    pub peers: Vec<NodeId>,
    /// The keys are in so many groups.
    pub shards: u32,
    /// Those that are to be repaired by their peers; see `repair`.
    pub faulty: BTreeSet<GroupId>,
    pub boot: u64,
    pub own: Health,
    /// Bytes of a snapshot made in one turn.
    pub snapshot_step_bytes: usize,
}

/// The core that this disk is the memory of.
pub fn restore(restore: Restore, found: &Found, now: stdx::Instant) -> Result<Core, Refusal> {
    let node = restore.raft.node;
    let groups: Result<Vec<Founding>, Refusal> = (0..restore.shards)
        .map(|shard| restore_group(&restore, GroupId(shard), found, now))
        .collect();
    Ok(Core::new(node, &restore.peers, restore.own, groups?))
}

/// One group of it.
fn restore_group(
    restore: &Restore,
    id: GroupId,
    found: &Found,
    now: stdx::Instant,
) -> Result<Founding, Refusal> {
    let broken = |why: String| Refusal::Broken(why);
    let Restore { raft, founders, faulty, boot, snapshot_step_bytes, .. } = restore;
    let config = consensus::Config::of(founders.iter().copied());
    let group = found.groups.get(&storage::GroupId(id.0));
    let mut snapshot = SnapshotMeta { config, ..SnapshotMeta::default() };
    let mut shard = Shard::new();
    if let Some(kept) = group.and_then(|group| group.snapshot.as_ref()) {
        let bytes = kept.load_all().map_err(Refusal::Disk)?;
        shard = Loader::load(&bytes).map_err(|e| broken(format!("the snapshot is {e}")))?;
        let meta = snapshot_meta(kept);
        snapshot = meta.ok_or_else(|| broken("the snapshot does not say what it is of".into()))?;
    }
    let faulty = faulty.contains(&id);
    let mut stored = Stored { snapshot: snapshot.clone(), faulty, ..Stored::default() };
    if let Some(group) = group {
        (stored.term, stored.vote) = (Term(group.term), group.vote.map(NodeId));
        stored.entries = entries(group, snapshot.term).map_err(broken)?;
    }
    // Groups that draw different timeouts have their leaders on different nodes.
    let seed = raft.seed.wrapping_add(u64::from(id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let tail_bytes_max = raft.tail_bytes_max / restore.shards as usize;
    let (node, options) = (raft.node, Options { seed, tail_bytes_max, ..raft.clone() });
    let replica = consensus::raft::Replica::new(options, stored, now)
        .map_err(|why| broken(format!("the log on the disk contradicts itself: {why:?}")))?;
    let (replica, boot, snapshot_step_bytes) = (Box::new(replica), *boot, *snapshot_step_bytes);
    Ok(Founding { id, node, replica, shard, snapshot, boot, snapshot_step_bytes })
}

/// The entries behind the snapshot. Those that a crash left beside a snapshot that was installed
/// over them are older than it, and void: what a leader had at the snapshot's index is committed,
/// so whatever rightly follows it is of its term or a later one.
pub fn entries(group: &storage::store::Stored, snapshot_term: Term) -> Result<Vec<Entry>, String> {
    if group.entries.first().is_some_and(|entry| entry.term < snapshot_term.0) {
        return Ok(Vec::new());
    }
    let entry = |entry: &storage::wal::Entry| {
        let kind = message::kind_of(entry.kind).ok_or("an entry is of an unknown kind")?;
        let (index, term) = (Index(entry.index), Term(entry.term));
        Ok(Entry { index, term, kind, data: entry.data.clone() })
    };
    group.entries.iter().map(entry).collect()
}

#[expect(clippy::too_many_arguments, reason = "everything that a loop is made of")]
fn parts(
    options: &NodeOptions,
    disk: Arc<dyn Disk>,
    about: About,
    store: Store,
    core: Core,
    listener: TcpListener,
    channel: &Channel,
    stop: Arc<AtomicBool>,
) -> Parts {
    let mut config = Config::default();
    config.dir = options.data.display().to_string();
    config.port = listener.local_addr().map_or(0, |addr| addr.port());
    config.set_password(&options.password);
    config.set_redirects(options.redirects);
    config.set_clients_max(make_room_for(options.clients_max));
    let mut front = Front::new(core, config, channel.moment());
    front.run_id = nonce::<20>().iter().map(|byte| format!("{byte:02x}")).collect();
    front.cluster = about.cluster.iter().map(|byte| format!("{byte:02x}")).collect();
    front.vitals.pid = std::process::id();
    let log = LogThread::start(store.wal, channel.notifier.clone());
    let snapshots = SnapshotThread::start(store.snapshots, &log, channel.notifier.clone());
    let secret = options.secret.clone();
    let peers = Peers::new(PeerOptions { secret, about }, &channel.notifier);
    let give_back = options.give_back;
    Parts { listener, front, log, snapshots, peers, disk, stop, give_back }
}

/// Has the system allow as many open files as the clients need, and says how many clients it will
/// be if it does not.
fn make_room_for(clients: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let needed = clients as u64 + OTHER_FILES_MAX;
    if limit.current.is_some_and(|current| current < needed) {
        let current = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
        // What has become of it is looked at, whether or not this worked.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit });
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed >= needed {
        return clients;
    }
    let fewer = allowed.saturating_sub(OTHER_FILES_MAX).max(1) as usize;
    eprintln!(
        "synod: the system allows {allowed} open files, so {fewer} clients at a time, not {clients}"
    );
    fewer
}

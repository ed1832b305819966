//! Starting a node: its directory, its cluster, its log, its loop.
//!
//! Everything that could make the node lie is checked before it answers its first client: whose
//! data this is, whether all of it is there, and who the members are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use consensus::{Entry, Index, NodeId, Options, SnapshotMeta, Stored, Term};
use keyspace::{Loader, Shard};
use node::{Core, Founding, GroupId, Health, Maker, Map, Past, Setup, SnapshotOptions, message};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stdx::planted;
use storage::disk::{Disk, RealDisk};
use storage::home::{ClusterId, Home, Identity};
use storage::store::{Found, Store};

use crate::config::{Config, Redirects};
use crate::driver::{
    Channel, Driver, Ended, LogThread, Parts, PeerOptions, Peers, SnapshotThread, TAKEN_OUT, nonce,
};
use crate::founding::{self, Wish};
use crate::front::Front;
use crate::keeper::snapshot_meta;
use crate::limits::{HIBERNATE_AFTER, OTHER_FILES_MAX};
use crate::links::About;
use crate::presence::{self, Presence, Reached};
use crate::repair::{self, Refusal};

/// The group of the first shard.
pub const GROUP: GroupId = GroupId(0);

/// How a node is to run.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    pub listen: String,
    /// Where clients and other nodes reach it, if that is not where it listens.
    pub advertise: Option<String>,
    /// The addresses of all founders, this one's among them, or of members of a cluster that is
    /// to take it in; empty for a node alone.
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
    /// How many replicas each of them is to have.
    pub replicas: Option<u32>,
    /// A node that is dead for so long is given up, and what it held is held by others; zero: never.
    pub replace_after: Duration,
    /// Bytes of snapshots for followers that are read in a second; 0: as fast as it goes.
    pub catch_up_rate: u64,
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
    let map = newest_map(&*disk, &about)?;
    if !map.members().contains_key(&NodeId(about.node)) {
        return Err(TAKEN_OUT.to_owned());
    }
    let present = present(&*disk, &about, &mut store, &mut found);
    let present = present.map_err(|refusal| refusal.to_string())?;
    let mut faulty = BTreeSet::new();
    for group in present.here.keys() {
        let peers = map.members().len() - 1;
        let stored = storage::GroupId(group.0);
        let diagnosis = repair::prepare(&*disk, peers, stored, &mut store, &mut found);
        let diagnosis = diagnosis.map_err(|refusal| refusal.to_string())?;
        if let Some(news) = &diagnosis.news {
            eprintln!("synod: {news}");
        }
        faulty.extend(diagnosis.faulty.then_some(*group));
    }
    let channel = Channel::new().map_err(|error| error.to_string())?;
    let about = About { map: Some(map), ..about };
    let core = core(&options, &about, &found, (present, faulty), home.boots(), &channel)?;
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
    let own = options.advertise.as_ref().unwrap_or(&options.listen);
    let (list, shards, replicas) = (&options.join[..], options.shards, options.replicas);
    let wish = Wish { own, list, shards, replicas };
    let known = founding::recall(&options.data).map_err(|error| error.to_string())?;
    let about = match known {
        Some(about) => {
            check_known(options, own, &about)?;
            about
        }
        None if home.identity().is_some() => {
            let dir = options.data.display();
            return Err(format!("{dir} belongs to a node, but its list of members is gone"));
        }
        None if options.join.is_empty() || options.join == [own.clone()] => {
            founding::found_alone(&options.data, wish).map_err(|error| error.to_string())?
        }
        None => founding::found(&options.data, listener, wish, &options.secret, stop)
            .map_err(|error| error.to_string())?,
    };
    Ok(About { instance: nonce(), ..about })
}

/// Is what this node is told now what it was told when it became a member?
fn check_known(options: &NodeOptions, own: &str, about: &About) -> Result<(), String> {
    let map = about.map.as_ref().ok_or("the list of members says nothing of the cluster")?;
    let addrs: Vec<&str> = map.members().values().map(|member| member.addr.as_str()).collect();
    let known = |addr: &String| addrs.contains(&addr.as_str()) || about.list.contains(addr);
    if !options.join.is_empty() && !options.join.iter().any(known) {
        return Err(format!(
            "this node belongs to the cluster of {}, and was told to join {}",
            addrs.join(","),
            options.join.join(",")
        ));
    }
    let strangers: Vec<&str> =
        options.join.iter().filter(|addr| !known(addr)).map(String::as_str).collect();
    if !strangers.is_empty() {
        eprintln!(
            "synod: {} is no member of this node's cluster, whatever --join says: nodes come by \
             `synod node add`",
            strangers.join(", ")
        );
    }
    if let Some((other, _)) = map.by_addr(own).filter(|(other, _)| other.0 != about.node) {
        let ours = map.members().get(&NodeId(about.node));
        return Err(format!(
            "{} belongs to node {} of the cluster, at {}, and this address is that of node {}",
            options.data.display(),
            about.node,
            ours.map_or("an address that is gone", |member| member.addr.as_str()),
            other.0
        ));
    }
    if let Some(ours) = options.shards.filter(|ours| *ours != about.shards) {
        let refused = founding::Refused::ShardsDiffer { ours, theirs: about.shards };
        return Err(refused.to_string());
    }
    Ok(())
}

/// The newest map on the disk.
pub fn newest_map(disk: &dyn Disk, about: &About) -> Result<Arc<Map>, String> {
    let kept = presence::kept_map(disk).map_err(|error| error.to_string())?;
    let first = about.map.clone().ok_or("the list of members says nothing of the cluster")?;
    Ok(kept.filter(|kept| kept.version() > first.version()).unwrap_or(first))
}

/// Which replicas a directory holds.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// Each with who agreed when it began; nobody, where it came by a move.
    pub here: BTreeMap<GroupId, BTreeSet<NodeId>>,
    /// How far earlier ones had the log that were moved away.
    pub reached: BTreeMap<GroupId, Reached>,
}

/// The replicas that this directory holds. What is left of those that were moved away goes for good,
/// but for their votes.
pub fn present(
    disk: &dyn Disk,
    about: &About,
    store: &mut Store,
    found: &mut Found,
) -> Result<Present, Refusal> {
    let first = about.map.as_ref();
    let first = first.ok_or_else(|| Refusal::Broken("there is no map".to_owned()))?;
    let mut present = Present::default();
    for group in first.groups() {
        let stored = storage::GroupId(group.0);
        match presence::of(disk, stored)? {
            Presence::Unmarked => match founders_of(first, group) {
                Some(founders) if founders.contains(&NodeId(about.node)) => {
                    present.here.insert(group, founders);
                }
                _ => repair::acquit(store, found, stored)?,
            },
            Presence::Joined(reached) => {
                present.here.insert(group, BTreeSet::new());
                present.reached.insert(group, reached);
            }
            Presence::Left(reached) => {
                let cleared = store.wal.reset_group(stored).and_then(|()| store.wal.commit());
                let cleared = cleared.and_then(|()| store.snapshots.forget(stored));
                cleared.map_err(Refusal::Disk)?;
                present.reached.insert(group, reached);
                repair::forget(found, stored)?;
            }
        }
    }
    Ok(present)
}

/// The nodes that founded a group, if the map is still theirs.
fn founders_of(map: &Map, group: GroupId) -> Option<BTreeSet<NodeId>> {
    (map.version() == 1).then(|| map.wanted_in(group))
}

/// The core, with what was found on the disk.
fn core(
    options: &NodeOptions,
    about: &About,
    found: &Found,
    (present, faulty): (Present, BTreeSet<GroupId>),
    boot: u64,
    channel: &Channel,
) -> Result<Core, String> {
    let node = NodeId(about.node);
    let raft = Options {
        heartbeat_interval: options.heartbeat_interval,
        election_timeout: options.election_timeout,
        clock_drift_ppm: options.clock_drift_ppm,
        hibernate_after: Some(HIBERNATE_AFTER),
        ..Options::new(node, u64::from_le_bytes(nonce()))
    };
    let map = about.map.clone().ok_or("there is no map")?;
    let member = map.members().get(&node);
    let addr = member.map_or_else(|| options.listen.clone(), |member| member.addr.clone());
    let own = Health { pid: std::process::id(), addr, ..Health::default() };
    let (moves, replace_after) = (true, options.replace_after);
    let told = Restore {
        raft,
        map,
        moves,
        replace_after,
        catch_up_rate: options.catch_up_rate,
        present,
        faulty,
        boot,
        own,
        snapshots: SnapshotOptions::default(),
    };
    restore(told, found, channel.moment().now).map_err(|refusal| refusal.to_string())
}

/// What a core is told at its start, beside what is on its disk.
#[derive(Debug)]
pub struct Restore {
    pub raft: Options,
    pub map: Arc<Map>,
    pub moves: bool,
    pub replace_after: Duration,
    /// Bytes of snapshots for followers that are read in a second; 0: as fast as it goes.
    pub catch_up_rate: u64,
    /// The replicas that are here.
    pub present: Present,
    /// Those that are to be repaired by their peers; see `repair`.
    pub faulty: BTreeSet<GroupId>,
    pub boot: u64,
    pub own: Health,
    pub snapshots: SnapshotOptions,
}

/// The core that this disk is the memory of.
pub fn restore(restore: Restore, found: &Found, now: stdx::Instant) -> Result<Core, Refusal> {
    let members: Result<Vec<Founding>, Refusal> = restore
        .present
        .here
        .keys()
        .map(|group| restore_group(&restore, *group, found, now))
        .collect();
    let members = members?;
    let mut past = BTreeMap::new();
    let Present { here, reached } = &restore.present;
    for group in restore.map.groups().filter(|group| !here.contains_key(group)) {
        let stored = found.groups.get(&storage::GroupId(group.0));
        let vote = stored.map(|stored| (Term(stored.term), stored.vote.map(NodeId)));
        let vote = vote.filter(|_| !planted!("vote-leaves-with-the-data"));
        let (term, vote) = vote.unwrap_or_default();
        let reached = reached.get(&group).copied().unwrap_or_default();
        past.insert(group, Past { term, vote, reached });
    }
    let Restore { raft, map, moves, boot, own, snapshots, .. } = restore;
    let (replace_after, catch_up_rate) = (restore.replace_after, restore.catch_up_rate);
    let (node, shards) = (raft.node, map.shards().count());
    let make: Maker = Box::new(move |group, stored, now| {
        let options = options_of(&raft, shards, group);
        let replica = consensus::raft::Replica::new(options, stored, now);
        Box::new(replica.expect("an empty log contradicts nothing"))
    });
    Ok(Core::new(Setup {
        node,
        own,
        map,
        moves,
        replace_after,
        catch_up_rate,
        boot,
        snapshots,
        members,
        past,
        make,
    }))
}

/// The settings of a group's replica.
fn options_of(raft: &Options, shards: usize, group: GroupId) -> Options {
    // Groups that draw different timeouts have their leaders on different nodes.
    let seed = raft.seed.wrapping_add(u64::from(group.0).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let tail_bytes_max = raft.tail_bytes_max / shards;
    Options { seed, tail_bytes_max, ..raft.clone() }
}

/// One group of it.
fn restore_group(
    restore: &Restore,
    id: GroupId,
    found: &Found,
    now: stdx::Instant,
) -> Result<Founding, Refusal> {
    let broken = |why: String| Refusal::Broken(why);
    let Restore { raft, present, faulty, boot, snapshots, .. } = restore;
    let config = consensus::Config::of(present.here[&id].iter().copied());
    let group = found.groups.get(&storage::GroupId(id.0));
    let mut snapshot = SnapshotMeta { config, ..SnapshotMeta::default() };
    let (mut shard, mut snapshot_bytes) = (Shard::new(), 0);
    if let Some(kept) = group.and_then(|group| group.snapshot.as_ref()) {
        let bytes = kept.load_all().map_err(Refusal::Disk)?;
        shard = Loader::load(&bytes).map_err(|e| broken(format!("the snapshot is {e}")))?;
        snapshot_bytes = kept.bytes();
        let meta = snapshot_meta(kept);
        snapshot = meta.ok_or_else(|| broken("the snapshot does not say what it is of".into()))?;
    }
    let faulty = faulty.contains(&id);
    let reached = present.reached.get(&id).copied().unwrap_or_default();
    let mut stored = Stored { snapshot: snapshot.clone(), faulty, reached, ..Stored::default() };
    if let Some(group) = group {
        (stored.term, stored.vote) = (Term(group.term), group.vote.map(NodeId));
        stored.entries = entries(group, snapshot.term).map_err(broken)?;
    }
    let (node, options) = (raft.node, options_of(raft, restore.map.shards().count(), id));
    let replica = consensus::raft::Replica::new(options, stored, now)
        .map_err(|why| broken(format!("the log on the disk contradicts itself: {why:?}")))?;
    let (replica, boot, snapshots) = (Box::new(replica), *boot, *snapshots);
    Ok(Founding { id, node, replica, shard, snapshot, boot, snapshot_bytes, snapshots })
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
    let snapshots =
        SnapshotThread::start(store.snapshots, disk.clone(), &log, channel.notifier.clone());
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

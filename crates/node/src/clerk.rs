//! The clerk: brings changes of the map through the meta group.
//!
//! ```text
//! change ─▶ version of the key ─▶ the map ─▶ Map::changed ─▶ SET, if the version is still that
//!              ▲                                                   │ no
//!              └───────────────────────────────────────────────────┘
//! ```
//!
//! The map is one key of an ordinary group, so durability, order and failover are those of any
//! other key. Before the first change the key is not there, and the map is the founders'.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use keyspace::op::Watch;
use stdx::mark;
use wire::resp::{Decoder, ReplyLimits, Value};
use wire::{ArgsBuf, Proto};

use crate::effects::Effects;
use crate::map::{Change, Map, Refusal};
use crate::message::Kind;
use crate::request::{Asked, Call, Exec, Moment, Ticket};
use crate::seat::Seat;

/// The key of the map in the meta group.
pub(crate) const MAP_KEY: &[u8] = b"map";

/// Marks the tickets of the clerk, beside the mark of the coordinator's.
const CLERK: u64 = Ticket::OWN | 1 << 62;

/// How often a change is tried that meets others.
const TRIES_MAX: u32 = 16;

/// A change on its way.
#[derive(Debug)]
struct Job {
    /// Who waits for it.
    ticket: Option<Ticket>,
    change: Change,
    tries: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Version,
    Value { version: u64 },
    Write { map: Arc<Map> },
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Clerk {
    jobs: BTreeMap<u64, Job>,
    next: u64,
    ready: VecDeque<(u64, Vec<u8>)>,
}

impl Clerk {
    /// Does this ticket belong to the clerk?
    pub(crate) fn owns(ticket: Ticket) -> bool {
        ticket != Ticket::NOBODY && ticket.0 & CLERK == CLERK
    }

    /// Is anything asked of the meta group?
    pub(crate) fn waits(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Was anything answered?
    pub(crate) fn has_heard(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Begins a change, unless the very same is under way and nobody waits for this one.
    pub(crate) fn begin(
        &mut self,
        moment: Moment,
        ticket: Option<Ticket>,
        change: Change,
        meta: &mut Seat,
    ) {
        let same = |job: &Job| job.change == change;
        if ticket.is_none() && self.jobs.values().any(same) {
            return;
        }
        self.read_version(moment, Job { ticket, change, tries: 0, stage: Stage::Version }, meta);
    }

    /// The meta group has answered.
    pub(crate) fn answered(&mut self, ticket: Ticket, reply: &[u8]) {
        self.ready.push_back((ticket.0 & !CLERK, reply.to_vec()));
    }

    /// Works on all answers. `own` is the map that this node knows. Returns the newest map that was
    /// agreed on.
    pub(crate) fn pump(
        &mut self,
        moment: Moment,
        own: &Map,
        meta: &mut Seat,
        out: &mut Effects,
    ) -> Option<Arc<Map>> {
        let mut newest = None;
        while let Some((number, reply)) = self.ready.pop_front() {
            let Some(job) = self.jobs.remove(&number) else { continue };
            if reply.first() == Some(&b'-') {
                tell(&job, &reply, out);
                continue;
            }
            let value = Decoder::new(ReplyLimits::default()).decode(&reply);
            let Ok(Some((value, _))) = value else { unreachable!("a group answers in RESP") };
            newest = self.heard(moment, job, value, own, meta, out).or(newest);
        }
        newest
    }

    fn heard(
        &mut self,
        moment: Moment,
        mut job: Job,
        value: Value,
        own: &Map,
        meta: &mut Seat,
        out: &mut Effects,
    ) -> Option<Arc<Map>> {
        match (std::mem::replace(&mut job.stage, Stage::Version), value) {
            (Stage::Version, Value::Array(versions)) => {
                let [Value::Int(version)] = versions[..] else { return None };
                job.stage = Stage::Value { version: version as u64 };
                self.ask(moment, job, &[b"get", MAP_KEY], meta);
            }
            (Stage::Value { version }, value) => {
                let stored = match &value {
                    Value::Bulk(bytes) => Map::decode(bytes).ok(),
                    _ => (own.version() == 1).then(|| own.clone()),
                };
                let Some(stored) = stored else {
                    tell(&job, b"-TRYAGAIN this node does not know the map yet\r\n", out);
                    return None;
                };
                match stored.changed(&job.change) {
                    Ok(map) => self.write(moment, job, version, map, meta),
                    Err(refusal) => tell_refusal(&job, &refusal, out),
                }
            }
            (Stage::Write { map }, Value::Array(_)) => {
                tell(&job, format!(":{}\r\n", map.version()).as_bytes(), out);
                return Some(map);
            }
            (Stage::Write { .. }, _) if job.tries < TRIES_MAX => {
                mark!("a change of the map met another");
                job.tries += 1;
                self.read_version(moment, job, meta);
            }
            _ => tell(&job, b"-TRYAGAIN others change the map all the time\r\n", out),
        }
        None
    }

    fn read_version(&mut self, moment: Moment, job: Job, meta: &mut Seat) {
        self.ask(moment, job, &[b"synod.versions", MAP_KEY], meta);
    }

    fn ask(&mut self, moment: Moment, job: Job, words: &[&[u8]], meta: &mut Seat) {
        let (ticket, args) = (self.keep(job), words.iter().copied().collect::<ArgsBuf>());
        let (db, proto, kind, after, may_block) = (0, Proto::Resp2, Kind::Read, false, false);
        let (replica, args) = (false, args.args());
        let call = Call { ticket, db, proto, kind, after, may_block, replica, args };
        let mut reply = Vec::new();
        if meta.call(moment, call, &mut reply) == Asked::Replied {
            self.answered(ticket, &reply);
        }
    }

    fn write(&mut self, moment: Moment, mut job: Job, version: u64, map: Map, meta: &mut Seat) {
        let mut bytes = Vec::new();
        map.encode(&mut bytes);
        job.stage = Stage::Write { map: Arc::new(map) };
        let (ticket, proto) = (self.keep(job), Proto::Resp2);
        let watches = vec![Watch { db: 0, key: MAP_KEY.to_vec(), version }];
        let set: ArgsBuf = [&b"set"[..], MAP_KEY, &bytes].into_iter().collect();
        let (calls, rollback) = (vec![(0, set)], false);
        meta.exec(moment, Exec { ticket, proto, watches, calls, rollback });
    }

    fn keep(&mut self, job: Job) -> Ticket {
        self.next += 1;
        self.jobs.insert(self.next, job);
        Ticket(CLERK | self.next)
    }
}

fn tell(job: &Job, reply: &[u8], out: &mut Effects) {
    if let Some(ticket) = job.ticket {
        out.replies.put(ticket, reply);
    }
}

fn tell_refusal(job: &Job, refusal: &Refusal, out: &mut Effects) {
    tell(job, format!("-ERR {refusal}\r\n").as_bytes(), out);
}

//! Carries the schedule out, and writes down when each fault began and ended.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::ground::Ground;
use super::network::End;
use super::nodes::Nodes;
use super::progress::Progress;
use super::schedule::{Aim, Fault, Kind, Schedule};
use crate::status;

/// How often the processes are looked at.
const STEP: Duration = Duration::from_millis(50);

/// How long a node may take to say who leads: it may be stopped.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

/// A fault that took place, in nanoseconds of the run.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) kind: Kind,
    /// In words, with the nodes.
    pub(super) what: String,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// A fault that is at work.
#[derive(Debug)]
struct Active {
    fault: Fault,
    victims: Vec<usize>,
    span: usize,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Nemesis<'a> {
    pub(super) ground: &'a Ground,
    pub(super) nodes: Nodes<'a>,
    pub(super) spans: Vec<Span>,
    pub(super) began: Instant,
    pub(super) stop: &'a AtomicBool,
    /// The filler is to hurry; see `crowd`.
    pub(super) flood: &'a AtomicBool,
    pub(super) progress: &'a Progress,
}

impl Nemesis<'_> {
    /// Makes trouble until then, or until a signal ends it; when it returns, all is whole again.
    pub(super) fn run(&mut self, schedule: &mut Schedule, until: Instant) -> Result<(), String> {
        while Instant::now() < until && !self.stopped() {
            let step = schedule.next_step();
            self.nodes.full.clear();
            let mut active = Vec::new();
            for fault in step.faults {
                active.push(self.begin(fault)?);
            }
            self.wait(step.hold, until)?;
            for one in active {
                self.end(one)?;
            }
            self.progress.calm();
            self.wait(step.rest, until)?;
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(super) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn wait(&mut self, length: Duration, until: Instant) -> Result<(), String> {
        let end = (Instant::now() + length).min(until);
        while Instant::now() < end && !self.stopped() {
            self.nodes.watch()?;
            self.progress.draw();
            thread::sleep(STEP.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// The node that leads, as the first that answers has it.
    pub(super) fn leader(&self) -> Option<usize> {
        let ask = |addr: &String| status::ask(addr, None, ANSWER_TIMEOUT).ok();
        let leader = |addr| ask(addr)?["groups"][0]["leader"].as_u64();
        let leader = self.ground.addrs.iter().find_map(leader)?;
        usize::try_from(leader).ok()?.checked_sub(1).filter(|at| *at < self.ground.addrs.len())
    }

    fn victims(&self, fault: &Fault) -> Vec<usize> {
        let victims = match &fault.aim {
            Aim::Nodes(nodes) => nodes.clone(),
            Aim::Leader => vec![self.leader().unwrap_or(0)],
        };
        if fault.kind != Kind::Disk {
            return victims;
        }
        // Not every disk can be filled.
        let small = self.ground.disks.nodes();
        let hit: Vec<usize> = victims.iter().copied().filter(|at| small.contains(at)).collect();
        if hit.is_empty() { vec![small[victims[0] % small.len()]] } else { hit }
    }

    fn begin(&mut self, fault: Fault) -> Result<Active, String> {
        let victims = self.victims(&fault);
        let leads = fault.aim == Aim::Leader;
        let what = describe(&fault, &victims, leads);
        let (start, kind) = (self.now(), fault.kind);
        self.progress.fault(start, &what);
        self.spans.push(Span { kind, what, start, end: start });
        let ground = self.ground;
        match kind {
            Kind::Kill => victims.iter().for_each(|node| self.nodes.kill(*node)),
            Kind::Restart => self.nodes.end(&victims),
            Kind::Pause => victims.iter().for_each(|node| self.nodes.signal(*node, Signal::STOP)),
            Kind::Cut | Kind::OneWay | Kind::Split => self.cut(&fault, &victims)?,
            Kind::Links => self.cut_ways(&fault.ways)?,
            Kind::Slow => {
                if let Some(network) = &ground.network {
                    victims.iter().try_for_each(|node| network.slow(*node))?;
                }
            }
            Kind::Disk => {
                victims.iter().try_for_each(|node| ground.disks.fill(*node))?;
                self.nodes.full.extend(&victims);
                self.flood.store(true, Ordering::Release);
            }
            Kind::Snapshot => victims.iter().for_each(|node| snapshot(&ground.addrs[*node])),
            Kind::Move => victims.iter().for_each(|node| self.operate("DRAIN", *node)),
        }
        Ok(Active { fault, victims, span: self.spans.len() - 1 })
    }

    fn end(&mut self, active: Active) -> Result<(), String> {
        let Active { fault, victims, span } = active;
        let ground = self.ground;
        match fault.kind {
            Kind::Kill | Kind::Restart => {
                victims.iter().try_for_each(|node| self.nodes.start(*node))?;
            }
            Kind::Pause => victims.iter().for_each(|node| self.nodes.signal(*node, Signal::CONT)),
            Kind::Cut | Kind::OneWay | Kind::Split | Kind::Links => {
                ground.network.as_ref().map_or(Ok(()), |network| network.heal())?;
            }
            Kind::Slow => {
                if let Some(network) = &ground.network {
                    victims.iter().try_for_each(|node| network.hasten(*node))?;
                }
            }
            Kind::Disk => {
                victims.iter().try_for_each(|node| ground.disks.clear(*node))?;
                self.flood.store(false, Ordering::Release);
            }
            Kind::Snapshot => {}
            Kind::Move => {
                victims.iter().for_each(|node| self.operate("KEEP", *node));
                ask_first(&ground.addrs, &["SYNOD.REBALANCE"]);
            }
        }
        self.spans[span].end = self.now();
        Ok(())
    }

    /// What an operator asks of the first node that answers. It may be refused, if too few nodes
    /// would be left, or may not be heard: either is a day like others.
    fn operate(&self, word: &str, node: usize) {
        let id = (node + 1).to_string();
        ask_first(&self.ground.addrs, &["SYNOD.NODE", word, &id]);
    }

    /// Between the victims and all others. If everybody is a victim, between everybody.
    fn cut(&self, fault: &Fault, victims: &[usize]) -> Result<(), String> {
        let Some(network) = &self.ground.network else { return Ok(()) };
        let inner: BTreeSet<usize> = victims.iter().copied().collect();
        let all = self.ground.addrs.len();
        let everybody = inner.len() == all;
        for victim in &inner {
            let mut others: Vec<End> = (0..all)
                .filter(|other| other != victim && (everybody || !inner.contains(other)))
                .map(End::Node)
                .collect();
            if fault.kind == Kind::Cut && fault.twist {
                others.push(End::Clients);
            }
            let victim = End::Node(*victim);
            for other in others {
                let both = fault.kind != Kind::OneWay;
                let (deaf, mute) = (both || fault.twist, both || !fault.twist);
                if deaf {
                    network.cut(other, victim)?;
                }
                if mute {
                    network.cut(victim, other)?;
                }
            }
        }
        Ok(())
    }

    fn cut_ways(&self, ways: &[(usize, usize)]) -> Result<(), String> {
        let Some(network) = &self.ground.network else { return Ok(()) };
        ways.iter().try_for_each(|(one, other)| network.cut(End::Node(*one), End::Node(*other)))
    }
}

fn describe(fault: &Fault, victims: &[usize], leads: bool) -> String {
    let numbers: Vec<String> = victims.iter().map(|node| (node + 1).to_string()).collect();
    let nodes = match (leads, fault.kind) {
        (true, Kind::Disk) | (false, _) => format!("node {}", numbers.join(", ")),
        (true, _) => format!("node {}, which leads", numbers.join(", ")),
    };
    if fault.kind == Kind::Links {
        let ways = fault.ways.iter().map(|(one, other)| format!("{}→{}", one + 1, other + 1));
        return format!("links {}", ways.collect::<Vec<_>>().join(", "));
    }
    let how = match (fault.kind, fault.twist) {
        (Kind::Cut, true) => " and its clients",
        (Kind::Split, _) => " from the others",
        (Kind::OneWay, true) => ", which hears nobody",
        (Kind::OneWay, false) => ", which nobody hears",
        _ => "",
    };
    format!("{} {nodes}{how}", fault.kind.name())
}

/// Asks a node for a snapshot. One that is down or has one under way takes none, which is fine.
fn snapshot(addr: &str) {
    let _ = ask(addr, ANSWER_TIMEOUT, &["SYNOD", "SNAPSHOT"]);
}

/// Asks the first node that answers.
fn ask_first(addrs: &[String], words: &[&str]) {
    let answers = |error: &redis::RedisError| !error.is_io_error();
    for addr in addrs {
        match ask(addr, ANSWER_TIMEOUT, words) {
            Err(error) if !answers(&error) => {}
            _ => return,
        }
    }
}

/// Asks a node, which may take so long to let us in, and as long to answer.
pub(super) fn ask(addr: &str, timeout: Duration, words: &[&str]) -> redis::RedisResult<()> {
    let client = redis::Client::open(format!("redis://{addr}"))?;
    let mut connection = client.get_connection_with_timeout(timeout)?;
    connection.set_read_timeout(Some(timeout))?;
    let mut call = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        call.arg(word);
    });
    call.exec(&mut connection)
}

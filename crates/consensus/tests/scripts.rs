//! Golden scripts: stories of a small group, for people to read. What a script shows is written by
//! the run (`UPDATE_GOLDENFILES=1`), reviewed, and from then on compared.
//!
//! | command | what it does |
//! | --- | --- |
//! | `cluster nodes=N [voters="1 2 3"] [limits]` | a fresh group; limits: append, inflight, tail, chunk, uncommitted, drift |
//! | `timeout N` | time passes until something is due at node N, and only N is told |
//! | `pass MS` | time passes; whatever is due happens, but no message arrives |
//! | `run MS` | time passes and messages arrive after a millisecond |
//! | `deliver [A B]` | the messages under way (from A to B) arrive; what they cause does not yet |
//! | `settle [quiet]` | messages arrive until there are none; `quiet` shows outcomes only |
//! | `elect N` | node N stands and wins, quietly |
//! | `drop [A B]`, `repeat A B` | messages are lost, or come twice |
//! | `stash A B`, `unstash` | messages are held back, and come late |
//! | `cut A B [one-way]`, `isolate N`, `heal` | messages are lost from now on |
//! | `disk N manual`, `save N [one]`, `install N [refuse]` | the disk works when told |
//! | `crash N`, `restart N` | what was not durable is lost |
//! | `wipe N` | the node starts again with an empty disk |
//! | `corrupt N` | the log of a node that is down is lost, and the disk knows it |
//! | `propose N DATA`, `read N`, `flush N`, `transfer N M`, `compact N` | events |
//! | `configure N voters="1 2" [learners="3"]` | another event |
//! | `status` | who is what |

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use consensus::{Config, Envelope, Event, NodeId, Options, Replica, Role, Token};
use goldenscript::{Argument, Command};
use support::Cluster;
use support::story::{config, message, name};

const MS: u64 = 1_000_000;

type Outcome = Result<(), Box<dyn Error>>;

struct Runner {
    cluster: Cluster,
    cuts: BTreeSet<(NodeId, NodeId)>,
    stash: Vec<Envelope>,
    manual: BTreeSet<NodeId>,
    token: u64,
}

impl Runner {
    fn new() -> Runner {
        Runner {
            cluster: Cluster::new(),
            cuts: BTreeSet::new(),
            stash: Vec::new(),
            manual: BTreeSet::new(),
            token: 0,
        }
    }

    fn build(&mut self, command: &Command) -> Outcome {
        let mut args = command.consume_args();
        let nodes: u32 = args.take_key("nodes").unwrap_or("3").parse()?;
        let all: Vec<u32> = (1..=nodes).collect();
        let voters = match args.take_key("voters") {
            Some(list) => ids(list)?,
            None => all.iter().copied().map(NodeId).collect(),
        };
        let mut limit = |name: &str, default: usize| -> Result<usize, Box<dyn Error>> {
            Ok(args.take_key(name).map_or(Ok(default), str::parse)?)
        };
        let limits = Options {
            heartbeat_interval: Duration::from_millis(20),
            election_timeout: Duration::from_millis(100),
            clock_drift_ppm: u32::try_from(limit("drift", 100_000)?)?,
            append_bytes_max: limit("append", 1_000)?,
            inflight_max: limit("inflight", 4)?,
            tail_bytes_max: limit("tail", 100_000)?,
            chunk_bytes_max: limit("chunk", 1_000)?,
            uncommitted_bytes_max: limit("uncommitted", 10_000)?,
            ..Options::new(NodeId(0), 0)
        };
        args.reject_next()?;
        *self = Runner::new();
        for id in all.into_iter().map(NodeId) {
            let options = Options { node: id, seed: u64::from(id.0), ..limits.clone() };
            let known =
                if voters.contains(&id) { Config::of(voters.clone()) } else { Config::default() };
            self.cluster.add(options, known);
        }
        Ok(())
    }

    /// Disks that are not told otherwise work at once.
    fn disks(&mut self) {
        loop {
            let mut busy = self.cluster.serve_fetches();
            for id in self.cluster.ids() {
                if !self.manual.contains(&id) && self.cluster.is_up(id) {
                    busy |= self.cluster.save_all(id);
                    busy |= self.cluster.install(id, true);
                }
            }
            if !busy {
                return;
            }
        }
    }

    fn step(&mut self, id: NodeId, event: Event) {
        self.cluster.step(id, event);
        self.disks();
    }

    fn next_token(&mut self) -> Token {
        self.token += 1;
        Token(self.token)
    }

    fn tick_due(&mut self) {
        for id in self.cluster.ids() {
            let up = self.cluster.is_up(id);
            if up && self.cluster.replica(id).deadline() <= self.cluster.clock(id) {
                self.step(id, Event::Tick);
            }
        }
    }

    fn timeout(&mut self, id: NodeId) -> Outcome {
        let deadline = self.cluster.replica(id).deadline();
        if deadline == stdx::Instant::FAR {
            return Err("nothing is ever due here".into());
        }
        self.cluster.now = self.cluster.now.max(self.cluster.true_time(id, deadline));
        self.step(id, Event::Tick);
        Ok(())
    }

    fn arrive(&mut self, envelope: Envelope) {
        let way = (envelope.source, envelope.target);
        let up = self.cluster.nodes.contains_key(&way.1) && self.cluster.is_up(way.1);
        let lost = self.cuts.contains(&way) || !up;
        let note = if lost { " (lost)" } else { "" };
        self.cluster.story.push(format!("{}{note}", message(&envelope)));
        if !lost {
            self.cluster.deliver(envelope);
            self.disks();
        }
    }

    fn deliver(&mut self, way: Option<(NodeId, NodeId)>) {
        for envelope in self.take(way) {
            self.arrive(envelope);
        }
    }

    fn take(&mut self, way: Option<(NodeId, NodeId)>) -> Vec<Envelope> {
        let on_way = |e: &mut Envelope| way.is_none_or(|way| way == (e.source, e.target));
        self.cluster.network.extract_if(.., on_way).collect()
    }

    fn settle(&mut self) {
        for _ in 0..1_000 {
            if self.cluster.network.is_empty() {
                return;
            }
            self.deliver(None);
        }
        panic!("the messages never end");
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.cluster.now += MS;
            self.deliver(None);
            self.tick_due();
        }
    }

    fn elect(&mut self, id: NodeId) -> Outcome {
        // The others must have forgotten the last leader.
        self.cluster.now += 100 * MS;
        self.timeout(id)?;
        self.settle();
        match self.cluster.replica(id).standing().0 {
            Role::Leader => Ok(()),
            role => Err(format!("it became a {role:?}").into()),
        }
    }

    fn status(&mut self) {
        for id in self.cluster.ids() {
            let line = if self.cluster.is_up(id) {
                let status = self.cluster.replica(id).status();
                let leader = status.leader.map_or_else(|| "nobody".to_owned(), name);
                let matched: Vec<String> = status
                    .matched
                    .iter()
                    .map(|(id, index)| format!("{}:{}", name(*id), index.0))
                    .collect();
                let matched = if matched.is_empty() {
                    String::new()
                } else {
                    format!(" has {}", matched.join(" "))
                };
                format!(
                    "{} {:?} term={} leader={leader} first={} commit={} last={} {}{matched}",
                    name(id),
                    status.role,
                    status.term.0,
                    status.first.0,
                    status.commit.0,
                    status.last.0,
                    config(&status.config),
                )
            } else {
                format!("{} is down", name(id))
            };
            self.cluster.story.push(line);
        }
    }

    fn isolate(&mut self, id: NodeId) {
        for other in self.cluster.ids() {
            self.cuts.insert((id, other));
            self.cuts.insert((other, id));
        }
    }

    /// The commands that feed one event.
    fn event(&mut self, command: &Command) -> Outcome {
        let mut args = command.consume_args();
        let id = NodeId(args.next_pos().ok_or("which node?")?.parse()?);
        match command.name.as_str() {
            "propose" => {
                let data = args.next_pos().ok_or("what?")?.to_owned();
                let token = self.next_token();
                self.step(id, Event::Propose { token, data: data.into() });
            }
            "read" => {
                let token = self.next_token();
                self.step(id, Event::Read { token });
            }
            "configure" => {
                let voters = ids(args.take_key("voters").ok_or("which voters?")?)?;
                let learners = args.take_key("learners").map(ids).transpose()?;
                let (token, learners) = (self.next_token(), learners.unwrap_or_default());
                self.step(id, Event::Configure { token, voters, learners });
            }
            "transfer" => {
                let target = NodeId(args.next_pos().ok_or("to whom?")?.parse()?);
                self.step(id, Event::Transfer { target });
            }
            "flush" => self.step(id, Event::Flush),
            "compact" => self.cluster.compact(id),
            "tick" => self.step(id, Event::Tick),
            other => return Err(format!("no command {other}").into()),
        }
        args.reject_next()
    }

    /// The commands about one node and its disk.
    fn node(&mut self, command: &Command) -> Outcome {
        let mut args = command.consume_args();
        let id = NodeId(args.next_pos().ok_or("which node?")?.parse()?);
        let word = args.next_pos().unwrap_or_default();
        args.reject_next()?;
        match (command.name.as_str(), word) {
            ("timeout", "") => self.timeout(id)?,
            ("elect", "") => self.elect(id)?,
            ("isolate", "") => self.isolate(id),
            ("disk", "manual") => drop(self.manual.insert(id)),
            ("disk", "auto") => {
                self.manual.remove(&id);
                self.disks();
            }
            ("save", "") => {
                self.cluster.save_all(id);
                self.disks();
            }
            ("save", "one") => {
                self.cluster.save_one(id);
                self.disks();
            }
            ("install", "") => drop(self.cluster.install(id, true)),
            ("install", "refuse") => drop(self.cluster.install(id, false)),
            ("wipe", "") => {
                let options = self.cluster.nodes[&id].options.clone();
                self.cluster.add(options, Config::default());
            }
            ("corrupt", "") => self.cluster.corrupt(id, 0),
            ("crash", "") => self.cluster.crash(id),
            ("restart", "") => {
                self.cluster.restart(id);
                self.disks();
            }
            (name, word) => return Err(format!("no command {name} {word}").into()),
        }
        Ok(())
    }

    /// The commands about messages.
    fn traffic(&mut self, command: &Command) -> Outcome {
        let mut args = command.consume_args();
        let mut ends = [None, None];
        for end in &mut ends {
            *end = args.next_pos().map(str::parse).transpose()?.map(NodeId);
        }
        let way = ends[0].zip(ends[1]);
        let one_way = args.next_pos().is_some_and(|word| word == "one-way");
        args.reject_next()?;
        match (command.name.as_str(), way) {
            ("deliver", way) => self.deliver(way),
            ("drop", way) => drop(self.take(way)),
            ("repeat", Some(way)) => {
                let twice = self.take(Some(way));
                self.cluster.network.extend(twice.iter().chain(&twice).cloned());
            }
            ("stash", way) => {
                let late = self.take(way);
                self.stash.extend(late);
            }
            ("cut", Some((source, target))) => {
                self.cuts.insert((source, target));
                if !one_way {
                    self.cuts.insert((target, source));
                }
            }
            (name, _) => return Err(format!("no command {name} like this").into()),
        }
        Ok(())
    }

    fn dispatch(&mut self, command: &Command) -> Outcome {
        match command.name.as_str() {
            "cluster" => self.build(command)?,
            "deliver" | "drop" | "repeat" | "stash" | "cut" => self.traffic(command)?,
            "timeout" | "elect" | "isolate" | "disk" | "save" | "install" | "wipe" | "corrupt"
            | "crash" | "restart" => {
                self.node(command)?;
            }
            "unstash" => self.cluster.network.append(&mut self.stash),
            "heal" => self.cuts.clear(),
            "settle" => self.settle(),
            "status" => self.status(),
            "pass" | "run" => {
                let mut args = command.consume_args();
                let ms: u64 = args.next_pos().ok_or("how long?")?.parse()?;
                if command.name == "run" {
                    self.run(ms);
                } else {
                    for _ in 0..ms {
                        self.cluster.now += MS;
                        self.tick_due();
                    }
                }
            }
            _ => self.event(command)?,
        }
        self.cluster.check_all();
        Ok(())
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(
        &mut self,
        command: &Command,
        _context: &goldenscript::Context,
    ) -> Result<String, Box<dyn Error>> {
        let mut command = command.clone();
        let quiet = Argument::Positional("quiet".to_owned());
        let before = command.args.len();
        command.args.retain(|arg| *arg != quiet);
        let quiet = command.args.len() < before;
        let elect = command.name == "elect";
        self.dispatch(&command)?;
        let story = std::mem::take(&mut self.cluster.story);
        let work = [" → ", " saves ", " keeps ", " fetches "];
        let lines = story.iter().filter(|line| match (elect, quiet) {
            (true, _) => line.contains(" leads "),
            (_, true) => !work.iter().any(|it| line.contains(it)),
            _ => true,
        });
        Ok(lines.map(|line| format!("{line}\n")).collect())
    }
}

fn ids(list: &str) -> Result<BTreeSet<NodeId>, Box<dyn Error>> {
    list.split_whitespace().map(|id| Ok(NodeId(id.parse()?))).collect()
}

/// Runs every script of a folder, each under its own name in what is printed.
fn run_folder(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(folder);
    let mut scripts: BTreeMap<String, std::path::PathBuf> = BTreeMap::new();
    for file in std::fs::read_dir(&folder).expect("the folder of scripts is there") {
        let path = file.expect("its files can be listed").path();
        scripts.insert(path.display().to_string(), path);
    }
    assert!(!scripts.is_empty(), "a folder of scripts holds some");
    let mut failed = Vec::new();
    for (name, path) in scripts {
        let run = || goldenscript::run(&mut Runner::new(), &path);
        match std::panic::catch_unwind(run) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("{name}: {error}")),
            Err(_) => failed.push(format!("{name}: it tells another story")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn what_every_protocol_does() {
    run_folder("common");
}

#[test]
fn what_raft_does() {
    run_folder("raft");
}

//! `synod node` and `synod rebalance`: who the nodes of a cluster are, and what they hold.
//!
//! A change is agreed on at once; what has to move for it moves by itself. These commands stay until
//! that is done, and show how far it is; whoever ends them early changes nothing.

mod list;
mod progress;

use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use wire::resp::Value;

use crate::link::Link;
use list::{Node, nodes};
use progress::watch;

/// How long a node may take to answer: longer than it lets a request wait.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long a node may take to say that it belongs to a cluster.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two looks at whether a node has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Which cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// Any node of the cluster
    #[arg(long, default_value = "127.0.0.1:7379", value_name = "HOST:PORT", global = true)]
    addr: String,
    /// The password, if the cluster has one
    #[arg(long, env = "SYNOD_PASSWORD", hide_env_values = true, global = true)]
    password: Option<String>,
}

impl Target {
    fn connect(&self) -> Result<Link, String> {
        let mut link = Link::connect(&self.addr, TIMEOUT)?;
        link.authenticate(None, self.password.as_deref())?;
        Ok(link)
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Invite a node, wait until it has come, and give it its share.
    Add {
        /// Where it will be reached: what it is started with as --listen or --advertise
        node: String,
        #[command(flatten)]
        kind: Kind,
        /// Do not wait for it, and move nothing: see `synod rebalance`
        #[arg(long)]
        no_wait: bool,
    },
    /// Have a node hold nothing, and wait until it does not: it can be stopped then.
    Drain { id: u32 },
    /// Have a node that was drained, or lost, take its share again at the next rebalance.
    Keep { id: u32 },
    /// Show the nodes, what they hold and what they ought to.
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget a node that holds nothing. Its process ends.
    Remove { id: u32 },
    /// Have a new node take the place of one, which may be dead.
    Replace {
        /// The node that goes
        id: u32,
        /// Where the new one will be reached
        node: String,
        #[command(flatten)]
        kind: Kind,
    },
    /// Change the weight or the zone of a node; `synod rebalance` then moves what follows from it.
    Set {
        id: u32,
        #[command(flatten)]
        kind: Kind,
    },
}

/// What is said of a node.
#[derive(Args, Clone, Debug)]
struct Kind {
    /// How much it takes, beside others
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// What it may fail together with: a rack, a room
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
}

impl Kind {
    fn words(&self) -> Vec<String> {
        let weight = self.weight.iter().flat_map(|n| ["weight".to_owned(), n.to_string()]);
        let zone = self.zone.iter().flat_map(|zone| ["zone".to_owned(), zone.clone()]);
        weight.chain(zone).collect()
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Rebalance {
    #[command(flatten)]
    target: Target,
    /// Show what would move, and move nothing
    #[arg(long)]
    dry_run: bool,
    /// How many replicas each shard is to have from now on
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
}

/// Runs `synod node`.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut link = options.target.connect()?;
    match &options.command {
        Command::Add { node, kind, no_wait } => add(&mut link, node, kind, *no_wait),
        Command::Drain { id } => {
            change(&mut link, &["drain".to_owned(), id.to_string()])?;
            watch(&mut link, "drain")?;
            say(&format!("node {id} holds nothing: it can be stopped, and removed"))
        }
        Command::Keep { id } => {
            change(&mut link, &["keep".to_owned(), id.to_string()])?;
            say(&format!("node {id} takes its share again; `synod rebalance` gives it to it"))
        }
        Command::List { json } => list::run(&mut link, *json),
        Command::Remove { id } => {
            change(&mut link, &["remove".to_owned(), id.to_string()])?;
            say(&format!("node {id} is no member any more"))
        }
        Command::Replace { id, node, kind } => {
            let replaces = ["replaces".to_owned(), id.to_string()];
            invite(&mut link, node, kind, &replaces)?;
            wait_for(&mut link, node)?;
            watch(&mut link, "replace")?;
            say(&format!("{node} holds what node {id} held: `synod node remove {id}` forgets it"))
        }
        Command::Set { id, kind } => {
            let words = kind.words();
            if words.is_empty() {
                return Err("give --weight or --zone".to_owned());
            }
            let set = ["set".to_owned(), id.to_string()];
            change(&mut link, &[&set[..], &words].concat())?;
            say("`synod rebalance` moves what follows from it")
        }
    }
}

/// Runs `synod rebalance`.
pub(crate) fn rebalance(options: &Rebalance) -> Result<(), String> {
    let mut link = options.target.connect()?;
    let replicas = options.replicas.map(|n| n.to_string());
    let mut words: Vec<&[u8]> = vec![b"SYNOD.REBALANCE"];
    if options.dry_run {
        words.push(b"DRYRUN");
    }
    if let Some(replicas) = &replicas {
        words.extend([&b"REPLICAS"[..], replicas.as_bytes()]);
    }
    match ask_to_rebalance(&mut link, &words)? {
        Some(Value::Array(moves)) => return say(&list::moves(&moves)),
        Some(_) => watch(&mut link, "rebalance")?,
        None => {}
    }
    say(list::IN_PLACE)
}

/// What the cluster says to it; nothing if there is nothing to move.
fn ask_to_rebalance(link: &mut Link, words: &[&[u8]]) -> Result<Option<Value>, String> {
    match link.call(words)? {
        Value::Error(text) if text.contains(list::IN_PLACE) => Ok(None),
        Value::Error(text) => Err(bare(&text)),
        value => Ok(Some(value)),
    }
}

fn add(link: &mut Link, node: &str, kind: &Kind, no_wait: bool) -> Result<(), String> {
    invite(link, node, kind, &[])?;
    if no_wait {
        return Ok(());
    }
    wait_for(link, node)?;
    ask_to_rebalance(link, &[b"SYNOD.REBALANCE"])?;
    watch(link, "rebalance")?;
    say(&format!("{node} has its share"))
}

fn invite(link: &mut Link, node: &str, kind: &Kind, more: &[String]) -> Result<(), String> {
    refuse_member_elsewhere(link, node)?;
    let add = ["add".to_owned(), node.to_owned()];
    change(link, &[&add[..], &kind.words(), more].concat())?;
    say(&format!("{node} may come: synod serve --listen {node} --join {} --data DIR", link.addr()))
}

/// Who serves at this address already, and not in this cluster, would never come. Whoever does not
/// answer, or not to these, may.
fn refuse_member_elsewhere(link: &mut Link, node: &str) -> Result<(), String> {
    let Ok(theirs) = Link::connect(node, PROBE_TIMEOUT).and_then(|mut link| nodes(&mut link))
    else {
        return Ok(());
    };
    let (own, count) = (link.addr().to_owned(), theirs.len());
    if nodes(link)?.iter().any(|one| theirs.iter().any(|other| one.addr == other.addr)) {
        return Ok(());
    }
    Err(format!(
        "{node} belongs to another cluster, of {count} nodes, than {own}: one that is to come begins \
         with an empty directory, and --join"
    ))
}

/// Waits until the node that was invited to this address has come.
fn wait_for(link: &mut Link, node: &str) -> Result<(), String> {
    let came = |one: &Node| one.addr == node && one.standing != "invited";
    while !nodes(link)?.iter().any(came) {
        thread::sleep(LOOK_INTERVAL);
    }
    say(&format!("{node} has come"))
}

fn change(link: &mut Link, words: &[String]) -> Result<(), String> {
    let words = words.iter().map(String::as_bytes);
    let words: Vec<&[u8]> = [&b"SYNOD.NODE"[..]].into_iter().chain(words).collect();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match link.call(&words)? {
            // Nothing was changed: somebody is being elected, or others change the map, too.
            Value::Error(text) if text.starts_with("TRYAGAIN ") && Instant::now() < deadline => {
                thread::sleep(LOOK_INTERVAL);
            }
            Value::Error(text) => return Err(bare(&text)),
            _ => return Ok(()),
        }
    }
}

/// An error without the code that has no meaning.
fn bare(text: &str) -> String {
    text.strip_prefix("ERR ").unwrap_or(text).to_owned()
}

fn say(text: &str) -> Result<(), String> {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "{}", text.trim_end()).map_err(|error| error.to_string())
}

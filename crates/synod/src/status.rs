//! `synod status`: the cluster as one of its nodes sees it.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::Value as Json;
use wire::resp::Value;

use crate::link::Link;

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Any node of the cluster
    #[arg(long, default_value = "127.0.0.1:7379", value_name = "HOST:PORT")]
    addr: String,
    /// The password, if the cluster has one
    #[arg(long, env = "SYNOD_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Print what the node says as JSON
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let json = ask(&options.addr, options.password.as_deref(), TIMEOUT)?;
    let mut out = std::io::stdout().lock();
    let text = if options.json { format!("{json}\n") } else { table(&json) };
    out.write_all(text.as_bytes()).map_err(|error| error.to_string())
}

/// The status that the node at `addr` gives, if each step takes it no longer than `timeout`.
pub(crate) fn ask(addr: &str, password: Option<&str>, timeout: Duration) -> Result<Json, String> {
    let mut link = Link::connect(addr, timeout)?;
    link.authenticate(None, password)?;
    let reply = link.must(&[b"SYNOD", b"STATUS"])?;
    let Value::Bulk(text) = reply else { return Err(format!("{addr}: no Synod node answers")) };
    serde_json::from_slice(&text).map_err(|error| format!("{addr}: {error}"))
}

/// For people.
fn table(json: &Json) -> String {
    let mut out = String::new();
    let list = |name: &str| json[name].as_array().cloned().unwrap_or_default();
    for node in list("nodes") {
        let alive = if node["alive"].as_bool() == Some(true) { "alive" } else { "DOWN" };
        out.push_str(&format!(
            "node {}  {:21}  pid {:7}  {alive:5}  leads {}  {} operations\n",
            node["id"],
            node["addr"].as_str().unwrap_or("?"),
            node["pid"],
            node["leads"],
            node["operations"]
        ));
    }
    for group in list("groups") {
        let leader = group["leader"].as_u64();
        let leader = leader.map_or_else(|| "none".to_owned(), |id| format!("node {id}"));
        let rests = if group["hibernates"] == true { "  hibernates" } else { "" };
        out.push_str(&format!(
            "group {}  leader {leader}  term {}  commit {}  applied {}{rests}\n",
            group["id"], group["term"], group["commit"], group["applied"]
        ));
    }
    out
}

//! `synod dev`: a whole cluster on this machine, for whoever wants to try it or to work on it.
//!
//! ```text
//! supervisor ─┬─ node 1   a real process each: kill it, stop it, attach to it
//!             ├─ node 2   its data in DIR/node-2, what it says in DIR/node-2.log
//!             └─ node 3   it ends when its standard input does, so none outlives the supervisor
//! ```
//!
//! One thread: it looks after the processes, asks one of them for the state of the cluster and
//! shows what has changed. It never speaks for the cluster, and never touches a process that it
//! did not start.

mod ground;
mod nodes;
mod screen;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::settings::PORT;
use ground::Ground;
use nodes::{Happened, Nodes};
use screen::Screen;
use view::Watch;

/// How often the processes are looked at.
const STEP: Duration = Duration::from_millis(100);

/// How often the cluster is asked for its state.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How many nodes; 3 survive the loss of one, 5 of two
    #[arg(long, default_value_t = 3, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// The port of the first node; the others follow it
    #[arg(long, default_value_t = PORT, value_name = "PORT")]
    port: u16,
    /// Where the nodes keep their data; a second start finds it again
    #[arg(long, default_value = "./synod-data", value_name = "DIR")]
    data: PathBuf,
    /// Seconds before a node that ended is started again; 0: never
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    restart_after: u32,
}

/// Runs the cluster until a signal ends it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in
        [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
    {
        signal_hook::flag::register(signal, stop.clone()).map_err(|error| error.to_string())?;
    }
    let ground = Ground::prepare(options.nodes, options.port, &options.data)?;
    let restart_after = match options.restart_after {
        0 => None,
        seconds => Some(Duration::from_secs(u64::from(seconds))),
    };
    let mut nodes = Nodes::start(&ground, restart_after)?;
    let mut screen = Screen::new(&ground, options.restart_after);
    let outcome = supervise(&mut nodes, &mut screen, &stop);
    screen.part("ending all nodes");
    nodes.stop();
    outcome
}

/// Looks after the nodes until it is told to stop.
fn supervise(nodes: &mut Nodes, screen: &mut Screen, stop: &AtomicBool) -> Result<(), String> {
    let mut watch = Watch::new(nodes.addrs());
    let mut next_look = Instant::now();
    for happened in nodes.started() {
        screen.happened(&happened);
    }
    while !stop.load(Ordering::Acquire) {
        for happened in nodes.tend()? {
            screen.happened(&happened);
            if let Happened::Ended { .. } = happened
                && !nodes.may_go_on()
            {
                return Err("no node runs, and --restart-after 0 starts none again".to_owned());
            }
        }
        if next_look <= Instant::now() {
            screen.show(&watch.look(&nodes.running()));
            next_look = Instant::now() + LOOK_INTERVAL;
        }
        thread::sleep(STEP);
    }
    Ok(())
}

//! `synod serve`: one node.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use server::driver::Ended;
use server::start::NodeOptions;

use crate::settings::{Checked, Settings};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// A TOML file with settings of the same names
    #[arg(long, env = "SYNOD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Stop when standard input ends: for a node that another process watches over
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    /// A bug that this node is to have
    #[cfg(feature = "planted")]
    #[arg(long, hide = true)]
    plant: Option<String>,
}

/// Runs a node until a signal or a client ends it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    #[cfg(feature = "planted")]
    if let Some(name) = &options.plant {
        if !sim::MUTANTS.iter().any(|mutant| mutant.name == name) {
            return Err(format!("no bug has the name '{name}'; see `cargo xtask mutants --list`"));
        }
        stdx::planted::plant(name);
    }
    let file = options.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let checked = options.settings.clone().over(file).check()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).map_err(|error| error.to_string())?;
    }
    if options.until_stdin_ends {
        stop_with_stdin(stop.clone());
    }
    match server::start::run(node_options(checked), stop)? {
        Ended::Shutdown => Ok(()),
        Ended::Fatal(reason) => Err(format!("the node stops: {reason}")),
    }
}

fn stop_with_stdin(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        // Whether it ends or breaks: nobody watches any more.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        stop.store(true, Ordering::Release);
    });
}

fn node_options(checked: Checked) -> NodeOptions {
    NodeOptions {
        listen: checked.listen,
        join: checked.join,
        data: checked.data,
        secret: checked.secret,
        password: checked.password,
        clients_max: checked.maxclients,
        election_timeout: checked.election_timeout,
        heartbeat_interval: checked.heartbeat_interval,
        clock_drift_ppm: checked.clock_drift_ppm,
        shards: checked.shards,
        redirects: checked.redirects,
        replicas: checked.replicas,
        advertise: checked.advertise,
        replace_after: checked.replace_after,
        catch_up_rate: checked.catch_up_rate,
        give_back: crate::allocator::give_back,
    }
}

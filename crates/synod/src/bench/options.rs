//! What a person can ask of `synod bench`.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::workload::Workload;

/// The protocol of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// RESP: Synod, Redis and the like.
    Redis,
    /// etcd's API version 3 over gRPC.
    Etcd,
}

/// Which keys are asked for how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    Uniform,
    /// A few are asked for most of the time (theta 0.99, as in YCSB).
    Zipf,
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    After(Duration),
    Requests(u64),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Where the server listens; several share the clients evenly.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:7379")]
    pub(crate) addr: Vec<String>,
    #[arg(long, value_enum, default_value = "redis")]
    pub(crate) target: Target,
    /// What to do; several are done in turn.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "set,get")]
    pub(crate) workload: Vec<Workload>,
    /// Connections that work side by side.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) clients: u32,
    /// Calls that a client sends before it waits for their replies.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) pipeline: u32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=536_870_912))]
    pub(crate) value_size: u32,
    /// How many keys there are.
    #[arg(long, default_value = "100000")]
    pub(crate) keys: NonZeroU64,
    #[arg(long, value_enum, default_value = "uniform")]
    pub(crate) distribution: Distribution,
    /// Of the calls of `mixed`, how many in a hundred are reads.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) read_percent: u8,
    /// How long to measure.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Stop after this many calls instead.
    #[arg(long, conflicts_with = "seconds")]
    pub(crate) requests: Option<NonZeroU64>,
    /// Seconds of load before measuring begins. None with --requests.
    #[arg(long, default_value_t = 0.5)]
    pub(crate) warmup: f64,
    /// Calls a second, on a schedule: time runs from when each was due.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Do not write all keys before a workload that reads.
    #[arg(long)]
    pub(crate) no_fill: bool,
    /// Sent with AUTH by each connection.
    #[arg(long, env = "SYNOD_PASSWORD", hide_env_values = true)]
    pub(crate) password: Option<String>,
    /// HTTP/2 connections that the clients of etcd share; as many as clients if not given.
    #[arg(long)]
    pub(crate) connections: Option<u32>,
    /// Equal seeds ask for equal keys in equal order.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print one JSON object for each workload.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Options {
    /// Refuses what no single option shows to be wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        let time = |name: &str, seconds: f64| match (0.0..=86_400.0).contains(&seconds) {
            true => Ok(()),
            false => Err(format!("--{name} must lie between 0 and 86400, not {seconds}")),
        };
        time("seconds", self.seconds)?;
        time("warmup", self.warmup)?;
        if self.rate.is_some_and(|rate| !(0.01..=1e8).contains(&rate)) {
            return Err("--rate must lie between 0.01 and 100000000".to_owned());
        }
        if self.target == Target::Etcd {
            if self.rate.is_some() || self.pipeline > 1 {
                return Err("--rate and --pipeline are for RESP only".to_owned());
            }
            if self.workload.contains(&Workload::Incr) {
                return Err("etcd has no increment: use set, get or mixed".to_owned());
            }
        }
        Ok(())
    }

    /// When a run ends.
    pub(crate) fn stop(&self) -> Stop {
        match self.requests {
            Some(requests) => Stop::Requests(requests.get()),
            None => Stop::After(Duration::from_secs_f64(self.seconds)),
        }
    }

    /// How long to load before measuring.
    pub(crate) fn warmup(&self) -> Duration {
        match self.requests {
            Some(_) => Duration::ZERO,
            None => Duration::from_secs_f64(self.warmup),
        }
    }
}

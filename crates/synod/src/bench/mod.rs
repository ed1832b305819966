//! `synod bench`: a load generator.
//!
//! Two ways to load, which answer two questions:
//!
//! - *Closed* (the default): each client sends a pipeline of calls, waits for all the replies, and
//!   sends the next. How much can the server do? While it stalls, nobody asks, so a stall counts
//!   once for each client and the percentiles flatter (coordinated omission).
//! - *Open* (`--rate`): calls are due on a schedule that the server cannot slow down, and the time
//!   of each runs from when it was due, whether or not it could be sent then. How long does a user
//!   wait at this load? A stall counts for everybody who would have come meanwhile.
//!
//! One thread: it shares the machine with the server, so what counts is its own cost per call,
//! which the report shows. An error reply is never a success; a call whose connection broke is
//! *lost*: nobody knows whether it happened.

mod connection;
#[cfg(feature = "etcd-bench")]
mod etcd;
mod options;
mod progress;
mod report;
mod resp;
mod tally;
mod workload;
mod zipf;

pub(crate) use options::Options;

use std::io::Write;

use options::Target;
use report::Report;
use tally::Measured;
use workload::Workload;

/// Runs each workload in turn and prints what was measured.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    options.check()?;
    let mut succeeded = true;
    for workload in &options.workload {
        let measured = measure(options, *workload)?;
        let report = Report::new(options, *workload, &measured);
        let text = if options.json { report.json() } else { report.text() };
        writeln!(std::io::stdout(), "{text}").map_err(|error| format!("printing: {error}"))?;
        succeeded &= measured.tally.succeeded() > 0;
    }
    match succeeded {
        true => Ok(()),
        false => Err("not one call succeeded".to_owned()),
    }
}

fn measure(options: &Options, workload: Workload) -> Result<Measured, String> {
    match options.target {
        Target::Redis => resp::run(options, workload),
        #[cfg(feature = "etcd-bench")]
        Target::Etcd => etcd::run(options, workload),
        #[cfg(not(feature = "etcd-bench"))]
        Target::Etcd => {
            Err("this synod was built without HTTP/2, which etcd's gRPC needs: build it \
                             with `--features etcd-bench`, or use `cargo xtask bench`"
                .to_owned())
        }
    }
}

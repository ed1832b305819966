//! The progress bar: how far, and how many calls a second. Nothing is drawn without a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::options::{Options, Stop};
use super::workload::Workload;

/// Between two drawings. Drawing takes some 50 us.
const DRAW_INTERVAL_NS: u64 = 200_000_000;

/// A bar on the standard error output.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    stop: Stop,
    drawn_ns: u64,
    drawn_calls: u64,
}

impl Progress {
    pub(super) fn new(options: &Options, workload: Workload) -> Progress {
        let stop = options.stop();
        let length = match stop {
            Stop::After(duration) => duration.as_millis() as u64,
            Stop::Requests(requests) => requests,
        };
        let target = match options.json {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let style = ProgressStyle::with_template("{prefix:6} {wide_bar} {percent:>3} %  {msg:>16}")
            .expect("the template is constant");
        let bar = ProgressBar::with_draw_target(Some(length), target).with_style(style);
        bar.set_prefix(workload.name());
        Progress { bar, stop, drawn_ns: 0, drawn_calls: 0 }
    }

    /// So many calls have ended by this time of the run.
    pub(super) fn update(&mut self, elapsed_ns: u64, calls: u64) {
        let since = elapsed_ns.saturating_sub(self.drawn_ns);
        if since < DRAW_INTERVAL_NS || self.bar.is_hidden() {
            return;
        }
        let rate = calls.saturating_sub(self.drawn_calls) as f64 * 1e9 / since as f64;
        self.bar.set_message(format!("{rate:.0} ops/s"));
        self.bar.set_position(match self.stop {
            Stop::After(_) => Duration::from_nanos(elapsed_ns).as_millis() as u64,
            Stop::Requests(_) => calls,
        });
        (self.drawn_ns, self.drawn_calls) = (elapsed_ns, calls);
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

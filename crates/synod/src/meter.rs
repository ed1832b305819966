//! A progress bar: how far, how fast, how long yet. Nothing is drawn without a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two drawings.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// A bar on the standard error output.
#[derive(Debug)]
pub(crate) struct Meter {
    bar: ProgressBar,
    begin: Instant,
    drawn: Instant,
}

impl Meter {
    /// A bar for a piece of work, whose whole length may not be known.
    pub(crate) fn new(name: &'static str, length: Option<u64>) -> Meter {
        let (bar, template) = match length {
            Some(length) => (
                ProgressBar::new(length),
                "{prefix:9} {wide_bar} {percent:>3} %  {msg}  {eta_precise} left",
            ),
            None => (ProgressBar::new_spinner(), "{prefix:9} {spinner} {msg}"),
        };
        let style = ProgressStyle::with_template(template).expect("the template is constant");
        let bar = bar.with_style(style);
        bar.set_prefix(name);
        let now = Instant::now();
        Meter { bar, begin: now, drawn: now }
    }

    /// The work is at this place; the message is made if it is shown. It is given the seconds since
    /// the beginning.
    pub(crate) fn update(&mut self, position: u64, message: impl FnOnce(f64) -> String) {
        if self.bar.is_hidden() || self.drawn.elapsed() < DRAW_INTERVAL {
            return;
        }
        self.drawn = Instant::now();
        self.bar.set_message(message(self.begin.elapsed().as_secs_f64()));
        self.bar.set_position(position);
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// Bytes for people.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

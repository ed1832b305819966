//! How far the run is and what is going on; without a terminal a line for each fault.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    terminal: bool,
    began: Instant,
    /// Operations that were answered.
    pub(super) answered: AtomicU64,
    current: Mutex<String>,
}

impl Progress {
    pub(super) fn new(length: Duration, began: Instant) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let target = match terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} s  {wide_msg}")
            .expect("the template is constant");
        let bar = ProgressBar::with_draw_target(Some(length.as_secs()), target).with_style(style);
        let (answered, current) = (AtomicU64::new(0), Mutex::new("calm".to_owned()));
        Progress { bar, terminal, began, answered, current }
    }

    /// A fault begins.
    pub(super) fn fault(&self, at: u64, what: &str) {
        self.say(what);
        if !self.terminal {
            eprintln!("{:6.1} s  {what}", at as f64 / 1e9);
        }
    }

    /// No fault is at work.
    pub(super) fn calm(&self) {
        self.say("calm");
    }

    /// What goes on, in words.
    pub(super) fn say(&self, what: &str) {
        what.clone_into(
            &mut self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        self.draw();
    }

    pub(super) fn draw(&self) {
        if !self.terminal {
            return;
        }
        let current = self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let answered = self.answered.load(Ordering::Relaxed);
        self.bar.set_position(self.began.elapsed().as_secs());
        self.bar.set_message(format!("{answered} answered  {current}"));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

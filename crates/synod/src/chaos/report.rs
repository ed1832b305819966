//! What a run has shown: the verdict, the figures, and the files that it leaves.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;
use sim::history::{self, Format, History};

use super::ground::Ground;
use super::nemesis::Span;
use super::schedule::Kind;
use super::timeline::Timeline;
use super::{svg, verdict};

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Report {
    seed: u64,
    nodes: usize,
    ground: String,
    spans: Vec<Span>,
    kinds: Vec<Kind>,
    history: History,
    timeline: Timeline,
    pub(super) violations: Vec<String>,
    /// What the checkers could not decide in their bounds.
    undecided: Vec<String>,
}

impl Report {
    /// Checks the history. `end` is when the last fault ended, in nanoseconds of the run.
    pub(super) fn new(
        seed: u64,
        ground: &Ground,
        spans: Vec<Span>,
        history: History,
        mut violations: Vec<String>,
        (end, kinds): (u64, Vec<Kind>),
    ) -> Report {
        let timeline = Timeline::new(&history, end);
        let (found, undecided) = verdict::judge(&history);
        violations.extend(found);
        let (nodes, ground) = (ground.addrs.len(), ground.describe());
        Report { seed, nodes, ground, spans, kinds, history, timeline, violations, undecided }
    }

    /// Faults of each kind that took place.
    fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts: BTreeMap<_, _> = self.kinds.iter().map(|kind| (kind.name(), 0)).collect();
        for span in &self.spans {
            *counts.entry(span.kind.name()).or_default() += 1;
        }
        counts
    }

    /// Writes the files.
    pub(super) fn save(&self, out: &Path) -> Result<(), String> {
        let title = format!(
            "synod chaos: seed {}, {} nodes, {} answered, {} refused, {} unknown, {} violations",
            self.seed,
            self.nodes,
            self.timeline.total.answered,
            self.timeline.total.refused,
            self.timeline.total.unknown,
            self.violations.len()
        );
        let files = [
            ("history.edn", history::write(&self.history, Format::Edn)),
            ("history.json", history::write(&self.history, Format::Json)),
            ("timeline.svg", svg::draw(&self.timeline, &self.spans, &title)),
            ("summary.json", format!("{:#}\n", self.json())),
        ];
        for (name, text) in files {
            let path = out.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    fn json(&self) -> serde_json::Value {
        let total = &self.timeline.total;
        let span = |span: &Span| {
            json!({"kind": span.kind.name(), "what": span.what,
            "start_s": seconds(span.start), "end_s": seconds(span.end)})
        };
        json!({
            "seed": self.seed,
            "nodes": self.nodes,
            "ground": self.ground,
            "seconds": self.timeline.slices.len(),
            "answered": total.answered,
            "refused": total.refused,
            "unknown": total.unknown,
            "p50_us": total.p50,
            "p99_us": total.p99,
            "available_percent": self.timeline.available(),
            "longest_silence_s": seconds(self.timeline.silence.0),
            "faults": self.spans.iter().map(span).collect::<Vec<_>>(),
            "violations": self.violations,
            "undecided": self.undecided,
        })
    }

    /// For people.
    pub(super) fn text(&self, out: &Path) -> String {
        let Timeline { slices, total, silence, .. } = &self.timeline;
        let counts: Vec<String> =
            self.counts().iter().map(|(name, count)| format!("{name} {count}")).collect();
        let mut text = self.timeline.sparkline(&self.spans);
        let letters: Vec<String> =
            self.kinds.iter().map(|kind| format!("{} {}", kind.letter(), kind.name())).collect();
        let _ = writeln!(text, "  {}, · calm\n", letters.join(", "));
        let _ = writeln!(text, "seed {}: {} nodes, {}", self.seed, self.nodes, self.ground);
        let _ = writeln!(text, "{} s of faults: {}", slices.len(), counts.join(", "));
        let _ = writeln!(
            text,
            "operations: {} answered (median {:.1} ms, 99 % within {:.0} ms), {} refused, {} unknown",
            total.answered,
            total.p50 as f64 / 1e3,
            total.p99 as f64 / 1e3,
            total.refused,
            total.unknown
        );
        let (length, at) = (seconds(silence.0), seconds(silence.1));
        let during: Vec<&str> = self
            .spans
            .iter()
            .filter(|span| span.start <= silence.1 + silence.0 && span.end >= silence.1)
            .map(|span| span.what.as_str())
            .collect();
        let during = if during.is_empty() { "calm".to_owned() } else { during.join("; ") };
        let _ = writeln!(
            text,
            "somebody was answered in {:.1} % of all seconds; the longest silence: {length:.1} s at \
             {at:.1} s ({during})",
            self.timeline.available()
        );
        for undecided in &self.undecided {
            let _ = writeln!(text, "not decided: {undecided}");
        }
        for violation in &self.violations {
            let _ = writeln!(text, "VIOLATION: {violation}");
        }
        let operations = self.history.operations().len();
        let verdict = if self.violations.is_empty() { "no violation" } else { "VIOLATIONS" };
        let out = out.display();
        let _ = writeln!(text, "{operations} operations checked: {verdict}. Files: {out}");
        text
    }
}

fn seconds(nanos: u64) -> f64 {
    (nanos as f64 / 1e6).round() / 1e3
}

//! The timeline as a picture: answers, refusals and unknown outcomes in each second, the times that
//! answers took, and below them what was done to the nodes.

use std::fmt::Write as _;

use super::nemesis::Span;
use super::schedule::Kind;
use super::timeline::{Slice, Timeline};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const PANEL: f64 = 170.0;
const GAP: f64 = 40.0;
const LANE: f64 = 18.0;

/// Times are drawn on a logarithmic scale between these, in microseconds.
const MICROS: (f64, f64) = (100.0, 20_000_000.0);

const STYLE: &str = "text{font:12px sans-serif;fill:#333}.t{font:bold 13px sans-serif}\
    .g{stroke:#ddd}.a{fill:#3b8a5a}.r{fill:#e0a030}.u{fill:#c0392b}\
    .m{fill:none;stroke:#2c6fbb;stroke-width:1.5}.x{fill:none;stroke:#b05fbf;stroke-width:1}";

/// Where a time is, from left to right.
struct Scale {
    seconds: f64,
}

impl Scale {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + seconds / self.seconds * (WIDTH - LEFT - RIGHT)
    }
}

/// Draws it.
pub(super) fn draw(timeline: &Timeline, spans: &[Span], title: &str) -> String {
    let scale = Scale { seconds: timeline.slices.len() as f64 };
    let first = 50.0;
    let second = first + PANEL + GAP;
    let lanes = second + PANEL + GAP;
    let height = lanes + LANE * Kind::ALL.len() as f64 + 30.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\"><style>{STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    );
    text(&mut out, LEFT, 24.0, "t", title);
    shade(&mut out, &scale, spans, first, lanes - GAP / 2.0 - first);
    bars(&mut out, &scale, &timeline.slices, first);
    times(&mut out, &scale, &timeline.slices, second);
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        let y = lanes + at as f64 * LANE;
        text(&mut out, 8.0, y + LANE - 6.0, "", kind.name());
        for span in spans.iter().filter(|span| span.kind == kind) {
            block(&mut out, &scale, span, y, LANE - 4.0, 0.85);
        }
    }
    let step = [1.0, 5.0, 10.0, 30.0, 60.0, 300.0]
        .into_iter()
        .find(|step| scale.seconds / step <= 20.0)
        .unwrap_or(600.0);
    let mut at = 0.0;
    while at <= scale.seconds {
        text(&mut out, scale.x(at) - 8.0, height - 8.0, "", &format!("{at:.0} s"));
        at += step;
    }
    out.push_str("</svg>\n");
    out
}

fn text(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = escape(text);
    let _ = write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn line(out: &mut String, y: f64) {
    let right = WIDTH - RIGHT;
    let _ =
        write!(out, "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" class=\"g\"/>");
}

/// The times of faults, behind the curves.
fn shade(out: &mut String, scale: &Scale, spans: &[Span], top: f64, height: f64) {
    for span in spans {
        block(out, scale, span, top, height, 0.10);
    }
}

fn block(out: &mut String, scale: &Scale, span: &Span, y: f64, height: f64, opacity: f64) {
    let of = |time: u64| scale.x((time as f64 / 1e9).min(scale.seconds));
    let (x, width) = (of(span.start), (of(span.end) - of(span.start)).max(1.5));
    let _ = write!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
         fill=\"{}\" opacity=\"{opacity}\"><title>{}</title></rect>",
        colour(span.kind),
        escape(&span.what)
    );
}

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Kill => "#c0392b",
        Kind::Restart => "#d98880",
        Kind::Pause => "#8e44ad",
        Kind::Cut => "#1f618d",
        Kind::OneWay => "#5dade2",
        Kind::Split => "#2874a6",
        Kind::Links => "#aed6f1",
        Kind::Slow => "#b7950b",
        Kind::Disk => "#6e5f4b",
        Kind::Snapshot => "#7f8c8d",
        Kind::Move => "#16a085",
    }
}

/// Answers, refusals and unknown outcomes, one upon another.
fn bars(out: &mut String, scale: &Scale, slices: &[Slice], top: f64) {
    let sum = |slice: &Slice| slice.answered + slice.refused + slice.unknown;
    let most = slices.iter().map(sum).max().unwrap_or(0).max(1) as f64;
    text(out, LEFT, top - 6.0, "", "operations a second: answered, refused (amber), unknown (red)");
    for share in [0.0, 0.5, 1.0] {
        let y = top + PANEL * (1.0 - share);
        line(out, y);
        text(out, 8.0, y + 4.0, "", &format!("{:.0}", most * share));
    }
    for (second, slice) in slices.iter().enumerate() {
        let (x, mut y) = (scale.x(second as f64), top + PANEL);
        let width = (scale.x(second as f64 + 1.0) - x - 0.2).max(0.3);
        for (class, count) in [("a", slice.answered), ("r", slice.refused), ("u", slice.unknown)] {
            let height = count as f64 / most * PANEL;
            if count > 0 {
                y -= height;
                let _ = write!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
                     class=\"{class}\"/>"
                );
            }
        }
    }
}

fn times(out: &mut String, scale: &Scale, slices: &[Slice], top: f64) {
    text(out, LEFT, top - 6.0, "", "time to an answer: median (blue) and 99th percentile (purple)");
    let share = |micros: f64| {
        let micros = micros.clamp(MICROS.0, MICROS.1);
        (micros / MICROS.0).ln() / (MICROS.1 / MICROS.0).ln()
    };
    let y = |micros: f64| top + PANEL * (1.0 - share(micros));
    for (micros, name) in [
        (1e2, "0.1 ms"),
        (1e3, "1 ms"),
        (1e4, "10 ms"),
        (1e5, "0.1 s"),
        (1e6, "1 s"),
        (1e7, "10 s"),
    ] {
        line(out, y(micros));
        text(out, 8.0, y(micros) + 4.0, "", name);
    }
    for (class, of) in [("m", (|slice| slice.p50) as fn(&Slice) -> u64), ("x", |slice| slice.p99)] {
        let mut points = String::new();
        for (second, slice) in slices.iter().enumerate() {
            // Where nobody was answered the curve is broken.
            let begins = points.is_empty() || slices[second - 1].answered == 0;
            if slice.answered > 0 {
                let letter = if begins { 'M' } else { 'L' };
                let (x, y) = (scale.x(second as f64 + 0.5), y(of(slice) as f64));
                let _ = write!(points, "{letter}{x:.1} {y:.1}");
            }
        }
        let _ = write!(out, "<path d=\"{points}\" class=\"{class}\"/>");
    }
}

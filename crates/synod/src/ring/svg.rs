//! The circle as a drawing: outside, thin, who owns which stretch of it; within, a band for each
//! replica of a shard, the leader's outermost; a legend.
//!
//! Colours are Okabe and Ito's (2002), which people with any kind of colour vision tell apart. Past
//! eight nodes they come again hatched, then dotted, and so forth; the legend has all.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use hashring::NodeId;

use super::scene::{Change, Row, Scene};

const COLOURS: [&str; 8] =
    ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999"];

/// The middle of the circle.
const MIDDLE: f64 = 280.0;

/// The band of the nodes' arcs.
const ARCS: (f64, f64) = (246.0, 260.0);

/// The bands of replicas lie between these.
const BANDS: (f64, f64) = (110.0, 240.0);

/// Where the legend begins, and how high one line of it is.
const LEGEND: (f64, f64) = (580.0, 24.0);

/// Past so many shards they are not numbered and have no gaps.
const NUMBERED_MAX: usize = 64;

/// Up to so many shards each replica is marked with its node's number.
const NAMED_MAX: usize = 32;

/// The drawing. Replicas that a change brought are framed.
pub(super) fn draw(scene: &Scene, change: Option<&Change>) -> String {
    let rows = scene.rows();
    let height = (2.0 * MIDDLE).max(90.0 + LEGEND.1 * (rows.len() as f64 + 3.0));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1010 {height}\" width=\"1010\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n<style>.moved{{stroke:\
         #000;stroke-width:2.5}}.name{{text-anchor:middle;font-size:11px;paint-order:stroke;stroke:\
         #fff;stroke-width:3}}</style>\n<defs>\n"
    );
    for node in COLOURS.len()..rows.len() {
        out.push_str(&pattern(node));
    }
    out.push_str("</defs>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n");
    arcs(&mut out, scene, &rows);
    bands(&mut out, scene, &rows, change);
    middle(&mut out, scene);
    legend(&mut out, &rows, change);
    out.push_str("</svg>\n");
    out
}

/// What a node is painted with: by its place among the nodes.
fn paint(node: usize) -> String {
    if node < COLOURS.len() { COLOURS[node].to_owned() } else { format!("url(#n{node})") }
}

fn pattern(node: usize) -> String {
    let colour = COLOURS[node % COLOURS.len()];
    let round = node / COLOURS.len();
    let size = 5 + round / 2 * 3;
    let shape = if round % 2 == 1 {
        format!("<path d=\"M0 0H{size}\" stroke=\"#000\" stroke-width=\"2\"/>")
    } else {
        "<circle cx=\"2\" cy=\"2\" r=\"1.2\" fill=\"#000\"/>".to_owned()
    };
    format!(
        "<pattern id=\"n{node}\" width=\"{size}\" height=\"{size}\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect width=\"{size}\" height=\"{size}\" \
         fill=\"{colour}\"/>{shape}</pattern>\n"
    )
}

fn place(rows: &[Row], id: NodeId) -> usize {
    rows.iter().position(|row| row.id == id).unwrap_or(0)
}

fn arcs(out: &mut String, scene: &Scene, rows: &[Row]) {
    let mut start = 0.0;
    for (end, id) in scene.ring.arcs() {
        let path = sector(ARCS, (start, end));
        let _ = writeln!(out, "<path d=\"{path}\" fill=\"{}\"/>", paint(place(rows, id)));
        start = end;
    }
}

fn bands(out: &mut String, scene: &Scene, rows: &[Row], change: Option<&Change>) {
    let (shards, replicas) = (scene.placement.shards().count(), scene.placement.replicas());
    let thick = (BANDS.1 - BANDS.0) / replicas as f64;
    let gap = if shards > NUMBERED_MAX { 0.0 } else { 0.0012 };
    // What is framed is drawn last, so that no neighbour covers its frame.
    let (mut framed, mut names) = (String::new(), String::new());
    for (shard, set) in scene.placement.iter() {
        let leader = scene.leaders[shard.index()];
        let followers = set.iter().copied().filter(|id| *id != leader);
        let (start, end) = (shard.index() as f64, shard.index() as f64 + 1.0);
        let part = (start / shards as f64 + gap, end / shards as f64 - gap);
        for (band, id) in [leader].into_iter().chain(followers).enumerate() {
            let outer = BANDS.1 - band as f64 * thick;
            let path = sector((outer - thick + 2.0, outer), part);
            let moved = change.is_some_and(|change| change.brought(shard, id));
            let class = if moved { " class=\"moved\"" } else { "" };
            let role = if band == 0 { "leads" } else { "follows" };
            let _ = writeln!(
                if moved { &mut framed } else { &mut *out },
                "<path d=\"{path}\" fill=\"{}\"{class}><title>shard {shard}: node {id} {role}\
                 </title></path>",
                paint(place(rows, id)),
            );
            if shards <= NAMED_MAX {
                let (x, y) = at(outer - thick / 2.0 + 1.0, (part.0 + part.1) / 2.0);
                let y = y + 4.0;
                let _ =
                    writeln!(names, "<text class=\"name\" x=\"{x:.1}\" y=\"{y:.1}\">{id}</text>");
            }
        }
    }
    out.push_str(&framed);
    out.push_str(&names);
}

fn middle(out: &mut String, scene: &Scene) {
    let shards = scene.placement.shards().count();
    if shards <= NUMBERED_MAX {
        for shard in 0..shards {
            let (x, y) = at(BANDS.0 - 13.0, (shard as f64 + 0.5) / shards as f64);
            let size = if shards > 32 { 8 } else { 11 };
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"{size}\" text-anchor=\"middle\" \
                 fill=\"#333\">{shard}</text>",
                y + 4.0
            );
        }
    }
    let lines = [
        format!("{} nodes", scene.ring.len()),
        format!("{shards} shards"),
        format!("{} replicas", scene.placement.replicas()),
    ];
    for (line, y) in lines.iter().zip([-14.0, 6.0, 26.0]) {
        let _ = writeln!(
            out,
            "<text x=\"{MIDDLE}\" y=\"{}\" font-size=\"16\" text-anchor=\"middle\">{line}</text>",
            MIDDLE + y
        );
    }
}

fn legend(out: &mut String, rows: &[Row], change: Option<&Change>) {
    let mut y = 50.0;
    let columns = [26.0, 90.0, 215.0, 275.0, 345.0, 405.0];
    let mut line = |y: f64, cells: [String; 6], weight: &str| {
        for (number, (cell, x)) in cells.iter().zip(columns).enumerate() {
            let anchor = if number < 2 { "start" } else { "end" };
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{y}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\">{cell}\
                 </text>",
                LEGEND.0 + x
            );
        }
    };
    let head = ["node", "zone", "weight", "circle", "replicas", "leads"].map(str::to_owned);
    line(y, head, "bold");
    for row in rows {
        y += LEGEND.1;
        let cells = [
            row.id.to_string(),
            row.zone.as_str().chars().take(12).collect(),
            row.weight.to_string(),
            format!("{:.1}%", 100.0 * row.circle),
            row.replicas.to_string(),
            row.leads.to_string(),
        ];
        line(y, cells, "normal");
    }
    for node in 0..rows.len() {
        let _ = writeln!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"16\" height=\"16\" fill=\"{}\" stroke=\"#666\"/>",
            LEGEND.0,
            50.0 + LEGEND.1 * (node as f64 + 1.0) - 13.0,
            paint(node)
        );
    }
    let mut notes = vec![
        "outermost: who owns which stretch of the circle",
        "bands: who leads a shard, then who follows",
    ];
    if change.is_some() {
        notes.push("framed: moved there by the change");
    }
    for note in notes {
        y += LEGEND.1 + 2.0;
        let x = LEGEND.0;
        let _ =
            writeln!(out, "<text x=\"{x}\" y=\"{y}\" font-size=\"12\" fill=\"#333\">{note}</text>");
    }
}

/// Where a part of the way round is, at a distance from the middle; the top is 0, clockwise.
fn at(radius: f64, part: f64) -> (f64, f64) {
    let angle = TAU * part;
    (MIDDLE + radius * angle.sin(), MIDDLE - radius * angle.cos())
}

/// The outline of a piece of a band, between two radii and two parts of the way round.
fn sector((inner, outer): (f64, f64), (start, end): (f64, f64)) -> String {
    // An arc that ends where it starts would be none.
    let end = end.min(start + 0.999_9);
    let large = u8::from(end - start > 0.5);
    let (a, b) = (at(outer, start), at(outer, end));
    let (c, d) = (at(inner, end), at(inner, start));
    format!(
        "M{:.2} {:.2}A{outer:.2} {outer:.2} 0 {large} 1 {:.2} {:.2}L{:.2} {:.2}A{inner:.2} \
         {inner:.2} 0 {large} 0 {:.2} {:.2}Z",
        a.0, a.1, b.0, b.1, c.0, c.1, d.0, d.1
    )
}

//! Tables for a terminal, and a picture made of letters.

use std::fmt::Write as _;

use hashring::{NodeId, Slot, Spread};

use super::scene::{Change, Row, Scene};

/// How wide the picture is.
const COLUMNS: usize = 64;

/// Nodes, how even they are, and the picture.
pub(super) fn scene(scene: &Scene) -> String {
    let (shards, replicas) = (scene.placement.shards(), scene.placement.replicas());
    let mut out = String::new();
    let limit = scene.ring.zone_limit(replicas).unwrap_or(replicas);
    let _ = writeln!(
        out,
        "{} nodes, {} shards of {} slots, {replicas} replicas; a zone holds a shard {limit}× at \
         most\n",
        scene.ring.len(),
        shards.count(),
        hashring::SLOTS / shards.count(),
    );
    let rows = scene.rows();
    out.push_str(&nodes(&rows));
    out.push('\n');
    out.push_str(&spreads(&rows, scene));
    out.push('\n');
    out.push_str(&picture(scene, &rows));
    out
}

fn nodes(rows: &[Row]) -> String {
    let zones = rows.iter().map(|row| row.zone.as_str().len()).max().unwrap_or(0).max(4);
    let mut out = format!(
        "node  {:zones$}  weight  points  circle  replicas    fair  leads          keys\n",
        "zone"
    );
    for row in rows {
        let _ = writeln!(
            out,
            "{:>4}  {:zones$}  {:>6}  {:>6}  {:>5.1}%  {:>8}  {:>6.1}  {:>5}  {:>12}",
            row.id,
            row.zone,
            row.weight,
            row.points,
            100.0 * row.circle,
            row.replicas,
            row.fair,
            row.leads,
            grouped(row.keys),
        );
    }
    out
}

/// How even things are, each beside what would be fair.
fn spreads(rows: &[Row], scene: &Scene) -> String {
    let weights: f64 = rows.iter().map(|row| f64::from(row.weight)).sum();
    let part = |row: &Row| f64::from(row.weight) / weights;
    let shards = scene.placement.shards().count() as f64;
    let keys = scene.keys.iter().sum::<u64>() as f64;
    let lines: [(&str, Spread); 4] = [
        ("circle", Spread::of(rows.iter().map(|row| (row.circle, part(row))))),
        ("replicas", Spread::of(rows.iter().map(|row| (row.replicas as f64, row.fair)))),
        ("leads", Spread::of(rows.iter().map(|row| (row.leads as f64, part(row) * shards)))),
        ("keys", Spread::of(rows.iter().map(|row| (row.keys as f64, row.fair * keys / shards)))),
    ];
    let mut out = "spread    most/fair  stddev\n".to_owned();
    for (name, spread) in lines {
        let _ = writeln!(out, "{name:<8}  {:>9.3}  {:>6.3}", spread.max, spread.deviation);
    }
    out
}

/// The circle unrolled, by who owns it; below it who holds and leads each shard.
fn picture(scene: &Scene, rows: &[Row]) -> String {
    let letter = |id: NodeId| {
        let place = rows.iter().position(|row| row.id == id).unwrap_or(0);
        char::from(b"123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[place % 61])
    };
    let mut out = "circle  ".to_owned();
    let step = hashring::SLOTS / COLUMNS;
    for column in 0..COLUMNS {
        let slot = Slot::new((column * step + step / 2) as u16);
        out.extend(slot.and_then(|slot| scene.ring.owner(slot)).map(letter));
    }
    let shards = scene.placement.shards().count();
    let each = shards.div_ceil(COLUMNS);
    out.push_str(if each == 1 {
        "\nshards  █ leads, ▒ follows\n"
    } else {
        "\nshards  █ ▓ ▒ ░: holds all, many, some, few of those in a column\n"
    });
    for row in rows {
        let _ = write!(out, "node {}  ", letter(row.id));
        for column in 0..shards.div_ceil(each) {
            let range = column * each..(column + 1) * each;
            let sign =
                if each == 1 { single(scene, row.id, column) } else { many(scene, row.id, range) };
            // A shard is as wide as its slots.
            for _ in 0..(COLUMNS / shards).max(1) {
                out.push(sign);
            }
        }
        out.push('\n');
    }
    out
}

fn single(scene: &Scene, node: NodeId, shard: usize) -> char {
    let shard = hashring::ShardId(shard as u16);
    if scene.leaders[shard.index()] == node {
        '█'
    } else if scene.placement.of(shard).contains(&node) {
        '▒'
    } else {
        '·'
    }
}

fn many(scene: &Scene, node: NodeId, shards: std::ops::Range<usize>) -> char {
    let count = shards.len();
    let holds =
        |shard: &usize| scene.placement.of(hashring::ShardId(*shard as u16)).contains(&node);
    match (shards.filter(holds).count() * 4).div_ceil(count) {
        4 => '█',
        3 => '▓',
        2 => '▒',
        1 => '░',
        _ => '·',
    }
}

/// What moves, beside the least.
pub(super) fn change(change: &Change) -> String {
    let named = |ids: &[NodeId]| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        format!("node{} {}", if ids.len() == 1 { "" } else { "s" }, ids.join(", "))
    };
    let (ids, verb) = if change.went.is_empty() {
        (&change.came, if change.came.len() == 1 { "comes" } else { "come" })
    } else {
        (&change.went, "goes")
    };
    let least_keys = change.keys as f64 / change.replicas as f64 * change.replicas_least as f64;
    let mut out =
        format!("{:<24}       moved       least     of all\n", format!("{} {verb}", named(ids)));
    let mut line = |what: &str, moved: u64, least: Option<u64>, all: u64| {
        let least = least.map_or_else(|| "-".to_owned(), grouped);
        let percent = if all == 0 { 0.0 } else { 100.0 * moved as f64 / all as f64 };
        let _ = writeln!(out, "{what:<24}{:>12}{least:>12}{percent:>10.1}%", grouped(moved));
    };
    let wide = |count: usize| count as u64;
    let (moved, least) = (change.replicas_moved, change.replicas_least);
    line("replicas", wide(moved), Some(wide(least)), wide(change.replicas));
    line("keys, in all replicas", change.keys_moved, Some(least_keys as u64), change.keys);
    line("shards touched", wide(change.shards_touched), None, wide(change.shards));
    line("leaders", wide(change.leaders_moved), None, wide(change.shards));
    out
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}

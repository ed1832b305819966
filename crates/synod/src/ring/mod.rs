//! `synod ring`: who holds what, and what would move, in a cluster that runs or before there is one.
//!
//! With `--addr` a node is asked for the nodes, who holds each shard now, and who leads it. Else nodes,
//! weights, zones and shards are told, and the placement is the one that a cluster of them would make.
//! With `--add` or `--remove` it is shown as it is afterwards, beside what had to move and the least
//! that any placement could do.
//!
//! - [`scene`]: nodes, placement, leaders, keys, and the change.
//! - [`running`]: the scene of a cluster that runs.
//! - [`text`]: tables, and a picture made of letters.
//! - [`svg`]: the circle.

mod running;
mod scene;
mod svg;
mod text;

use std::path::PathBuf;

use clap::Args;

use scene::{Change, Scene};

use crate::out::print;

/// What to show.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Show the cluster of this node as it is now
    #[arg(long, value_name = "HOST:PORT")]
    #[arg(conflicts_with_all = ["nodes", "weights", "zones", "shards", "replicas"])]
    addr: Option<String>,
    /// The password, if the cluster has one
    #[arg(long, env = "SYNOD_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// How many nodes there are
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    nodes: u32,
    /// The weight of each node, in order, as 1,1,2; all 1 if not said
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    weights: Vec<u32>,
    /// The failure zone of each node, in order, as a,a,b; one for all if not said
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    zones: Vec<String>,
    /// How many shards the slots are cut into: a power of two
    #[arg(long, default_value_t = hashring::SHARDS_DEFAULT, value_name = "COUNT")]
    shards: usize,
    /// How many nodes hold each shard
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    replicas: usize,
    /// So many nodes come
    #[arg(long, value_name = "COUNT", conflicts_with = "remove")]
    add: Option<u32>,
    /// The weight of each node that comes
    #[arg(long, default_value_t = 1, value_name = "WEIGHT", requires = "add")]
    add_weight: u32,
    /// The zone of the nodes that come; else each comes to the zone with the fewest
    #[arg(long, value_name = "ZONE", requires = "add")]
    add_zone: Option<String>,
    /// This node goes
    #[arg(long, value_name = "NODE")]
    remove: Option<u32>,
    /// How many keys to look up
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    keys: u64,
    /// Draw the circle into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Shows it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let before = match &options.addr {
        Some(addr) => running::scene(addr, options.password.as_deref(), options.keys)?,
        None => Scene::new(options)?,
    };
    let after = match changed(options, &before)? {
        Some(ring) => Some(before.next(ring)?),
        None => None,
    };
    let change = after.as_ref().map(|after| Change::between(&before, after)).transpose()?;
    let shown = after.as_ref().unwrap_or(&before);
    let mut out = text::scene(shown);
    if let Some(change) = &change {
        out.push('\n');
        out.push_str(&text::change(change));
    }
    print(&out);
    if let Some(path) = &options.svg {
        let drawing = svg::draw(shown, change.as_ref());
        std::fs::write(path, drawing).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// The ring after the change that was asked for.
fn changed(options: &Options, before: &Scene) -> Result<Option<hashring::Ring>, String> {
    let told = |error: hashring::Error| error.to_string();
    let mut ring = before.ring.clone();
    if let Some(node) = options.remove {
        ring.remove(hashring::NodeId(node)).map_err(told)?;
    }
    let last = before.ring.nodes().last().map_or(0, |(id, _)| id.0);
    for number in 1..=options.add.unwrap_or(0) {
        let zone = match &options.add_zone {
            Some(name) => hashring::Zone::new(name).map_err(told)?,
            None => scene::emptiest_zone(&ring),
        };
        let node = hashring::Node::new(options.add_weight, zone).map_err(told)?;
        ring.add(hashring::NodeId(last.saturating_add(number)), node).map_err(told)?;
    }
    Ok((ring != before.ring).then_some(ring))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Change, Options, Scene, changed, svg, text};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &str) -> Options {
        Line::parse_from(["ring"].into_iter().chain(line.split_whitespace())).options
    }

    fn told(line: &str) -> String {
        let options = options(line);
        let outcome = Scene::new(&options).and_then(|before| {
            changed(&options, &before)?.map(|ring| before.next(ring)).transpose()
        });
        outcome.map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_node_that_comes_is_shown_with_its_moves_beside_the_least() {
        let options = options("--nodes 5 --zones a,a,b,b,c --add 1 --keys 20000");
        let before = Scene::new(&options).unwrap();
        let after = before.next(changed(&options, &before).unwrap().unwrap()).unwrap();
        let change = Change::between(&before, &after).unwrap();
        assert_eq!((change.replicas_moved, change.replicas_least), (8, 8));
        assert_eq!(after.ring.node(hashring::NodeId(6)).unwrap().zone().as_str(), "c");
        assert!(text::change(&change).contains("node 6 comes"));
        let shown = text::scene(&after);
        assert!(shown.contains("6 nodes, 16 shards of 1024 slots, 3 replicas"), "{shown}");
        let drawing = svg::draw(&after, Some(&change));
        assert!(drawing.starts_with("<svg") && drawing.ends_with("</svg>\n"));
        assert_eq!(drawing.matches("class=\"moved\"").count(), 8);
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for (line, word) in [
            ("--nodes 3 --weights 1,2", "2 weights for 3 nodes"),
            ("--nodes 3 --zones a", "1 zones for 3 nodes"),
            ("--nodes 3 --weights 1,0,1", "weight 0 would hold nothing"),
            ("--nodes 2", "3 replicas of a shard need as many nodes, and there are 2"),
            ("--nodes 3 --remove 3", "3 replicas of a shard need as many nodes"),
            ("--nodes 4 --remove 9", "node 9 is not on the ring"),
            ("--shards 17", "a power of two"),
            ("--nodes 2000", "the ring is full"),
        ] {
            assert!(told(line).contains(word), "{line}: {}", told(line));
        }
    }
}

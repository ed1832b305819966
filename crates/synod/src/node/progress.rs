//! How far a move is: replicas, bytes, how long yet.

use std::thread;
use std::time::{Duration, Instant};

use super::list::{fields, number};
use crate::link::Link;
use crate::meter::{Meter, mib};

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// After so long without any progress it is said what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is not yet where the map wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    /// Groups whose members are not yet those that the map wants.
    groups: u64,
    /// Replicas that are to come, and to go.
    add: u64,
    remove: u64,
    bytes: u64,
}

impl Left {
    fn steps(self) -> u64 {
        self.groups + self.add + self.remove
    }
}

/// Waits until everything is where the map wants it.
pub(super) fn watch(link: &mut Link, name: &'static str) -> Result<(), String> {
    let first = look(link)?;
    let mut meter = Meter::new(name, Some(first.steps()));
    let (mut all, mut last, mut moved, mut told) = (first, first, Instant::now(), false);
    loop {
        let left = look(link)?;
        if left.groups == 0 {
            meter.finish();
            return Ok(());
        }
        if left != last {
            (last, moved, told) = (left, Instant::now(), false);
        }
        if left.steps() > all.steps() {
            all = left;
        }
        if moved.elapsed() >= PATIENCE && !std::mem::replace(&mut told, true) {
            eprintln!(
                "synod: nothing has moved for {} s: {} groups are not settled; `synod node list` \
                 shows whether a node is down",
                PATIENCE.as_secs(),
                left.groups
            );
        }
        meter.update(all.steps() - left.steps(), |_| {
            format!(
                "{} shards, {} replicas, {:.0} MiB to go",
                left.groups,
                left.add,
                mib(left.bytes)
            )
        });
        thread::sleep(LOOK_INTERVAL);
    }
}

fn look(link: &mut Link) -> Result<Left, String> {
    let told = fields(&link.must(&[b"SYNOD.REBALANCE", b"STATUS"])?);
    let of = |name: &str| u64::try_from(number(&told, name)).unwrap_or_default();
    Ok(Left {
        groups: of("groups-to-settle"),
        add: of("replicas-to-add"),
        remove: of("replicas-to-remove"),
        bytes: of("bytes-to-copy"),
    })
}

//! Snapshots of a shard: a malformed one is refused, and one that loads is saved and loads again.

#![no_main]

use keyspace::{Loader, Saver, Shard};
use libfuzzer_sys::fuzz_target;

fn save(shard: &mut Shard) -> Vec<u8> {
    let mut out = Vec::new();
    let mut saver = Saver::begin(shard);
    while !saver.step(shard, 4096, &mut out) {}
    out
}

fuzz_target!(|data: &[u8]| {
    let Ok(mut shard) = Loader::load(data) else { return };
    let first = save(&mut shard);
    let mut again = Loader::load(&first).expect("what was saved can be loaded");
    assert_eq!(first.len(), save(&mut again).len(), "nothing is lost on the way");
});

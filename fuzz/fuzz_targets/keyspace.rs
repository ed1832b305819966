//! Calls on a shard: those of a small set have the replies of a model that is nothing but std's
//! collections, and any call at all leaves a shard that can be saved, loaded and measured.
//!
//! The first byte says which of the two; see `model` and `wild`.

#![no_main]

#[path = "../keyspace/bytes.rs"]
mod bytes;
#[path = "../keyspace/client.rs"]
mod client;
#[path = "../keyspace/model.rs"]
mod model;
#[path = "../keyspace/steps.rs"]
mod steps;
#[path = "../keyspace/wild.rs"]
mod wild;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes = bytes::Bytes::new(data);
    match bytes.below(2) {
        0 => steps::run(&mut bytes),
        _ => wild::run(&mut bytes),
    }
});

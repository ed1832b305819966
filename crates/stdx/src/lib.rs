//! What std lacks, and no domain word: time as a value, seeded dice, a codec, a fixed-hash map.
//!
//! Everything here is pure. The deterministic crates take time and chance as arguments, and these
//! are the types of those arguments.

pub mod codec;
mod map;
pub mod marks;
pub mod planted;
mod rng;
mod time;

pub use map::{Map, hash_bytes};
pub use rng::Rng;
pub use time::{Instant, Millis};

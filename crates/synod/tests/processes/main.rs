//! What holds when real processes are killed, stopped and started again.
//!
//! One binary for all of it, so that it is linked once and the tests share the cores.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backup;
mod blocking;
mod chaos;
mod client;
mod cluster;
mod crowd;
mod dev;
mod durability;
mod failover;
mod founding;
mod membership;
mod messages;
mod moving;
mod order;
mod restart;

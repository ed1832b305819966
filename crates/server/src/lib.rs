//! The server: clients and peers over TCP, the disk, and the loop that drives a node's core.
//!
//! ```text
//! front    all clients, without sockets: sessions, pipelines, pub/sub      deterministic
//! driver   one thread: epoll, sockets of clients and peers, the clock
//! keeper   saves into the log, jobs into snapshots, without threads          deterministic
//! links    connections between nodes: handshake, frames
//! ```
//!
//! The thread that owns the groups also owns the clients' sockets, so a read is answered without a
//! hop between threads. The front is pure, so that the simulator drives the same sessions.

pub mod arrivals;
pub mod config;
pub mod driver;
pub mod founding;
mod front;
pub mod keeper;
pub mod limits;
pub mod links;
pub mod presence;
pub mod repair;
mod sealed;
pub mod start;
pub mod version;

pub use front::{Front, Vitals};

//! A node without its sockets and disks: the groups that it runs, as one deterministic machine.
//!
//! ```text
//! client ─ Call ─▶ Core ─▶ Seat ─▶ Group ─▶ consensus::Replica ─▶ Effects: save · snapshot · send · replies
//! peer ─ Message ─▶  ▲                                       │
//!                    └──────── Event::Saved, Loaded … ◀──────┘  by the driver
//! ```
//!
//! Time is an argument, chance is seeded, and nothing here does I/O: the server's driver and the
//! simulator are two worlds around the same core.
//!
//! Not here: sessions and RESP (`server`), what commands mean (`keyspace`), agreement (`consensus`).

mod batch;
mod clerk;
mod core;
mod effects;
mod gateway;
mod group;
mod guest;
mod latency;
pub mod limits;
pub mod map;
mod memo;
pub mod message;
mod mover;
mod request;
mod rests;
mod route;
mod seat;
mod seats;
mod suspicion;
mod throttle;
mod txn;

pub use core::{Core, Event, Maker, Part, Peer, Route, Setup};
pub use effects::{Effects, Pace, Save, SnapshotJob};
pub use group::{BackupPart, Founding, Group, NoBackup, SnapshotOptions, SnapshotState};
pub use hashring::Shards;
pub use map::{Change, Identity, Map, Member, Standing};
pub use message::{GroupId, Health, Kind, Message};
pub use request::{Call, Called, Exec, Moment, Proposing, Replies, Ticket, Waiting};
pub use rests::Rests;
pub use seat::{Past, Seat};
pub use txn::concerns_all;

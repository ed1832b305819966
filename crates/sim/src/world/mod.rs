//! The world: one queue of events, one clock, and everything that happens in it.
//!
//! ```text
//! state   takes the next event, and gives it to:
//!   life    a node starts, falls, comes back          turn   what its driver does with an event
//!   disk    saves and snapshots take their time       link   messages, connections
//!   end     faults end, everything is read            (clients, nemesis: beside this folder)
//! ```
//!
//! A node that is paused gets its events when it wakes, in their order. All dice of the world are
//! one, so the order of the queue is the whole story.

mod disk;
mod end;
mod event;
mod life;
mod link;
mod state;
mod turn;

pub(crate) use event::What;
pub(crate) use state::{Phase, World};

/// The error is a sentence on what must not be.
pub(crate) type Checked = Result<(), String>;

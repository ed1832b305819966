//! The checkers: what must hold of the replicas after each step, and of what the clients saw.
//!
//! `replicas` looks inside: it mirrors each log from the records that are handed to the disk.
//! `history` looks from outside: it knows only what was asked, what was answered, and in which
//! order. Neither knows how the other decides, so a bug has to fool both.

pub(crate) mod history;
pub mod register;
pub(crate) mod replicas;
pub mod versions;

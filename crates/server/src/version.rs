//! What the server says it is.

/// The version of Redis whose commands and replies these are. Clients decide by it.
pub const REDIS: &str = "7.0.15";

/// The version of Synod.
pub const SYNOD: &str = env!("CARGO_PKG_VERSION");

//! The server commands: not built yet.

use crate::command::Command;

pub(crate) const COMMANDS: &[Command] = &[];

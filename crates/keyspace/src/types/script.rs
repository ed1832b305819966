//! The script type: not built yet.

use stdx::codec::{Malformed, Reader};

use crate::command::Command;

/// Placeholder of its owner.
#[derive(Clone, Debug, Default)]
pub struct Scripts;

impl Scripts {
    pub(crate) fn save(&self, _out: &mut Vec<u8>) {}

    pub(crate) fn load(_reader: &mut Reader<'_>) -> Result<Scripts, Malformed> {
        Ok(Scripts)
    }
}

pub(crate) const COMMANDS: &[Command] = &[];

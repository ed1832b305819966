//! The list type: not built yet.

use stdx::codec::{Malformed, Reader};

use crate::command::Command;

/// Placeholder of its owner.
#[derive(Clone, Debug, Default)]
pub struct List;

impl List {
    pub(crate) fn save(&self, _out: &mut Vec<u8>) {}

    pub(crate) fn load(_reader: &mut Reader<'_>) -> Result<List, Malformed> {
        Ok(List)
    }
}

pub(crate) const COMMANDS: &[Command] = &[];

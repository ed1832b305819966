//! The hash type: not built yet.

use stdx::codec::{Malformed, Reader};

use crate::command::Command;

/// Placeholder of its owner.
#[derive(Clone, Debug, Default)]
pub struct Hash;

impl Hash {
    pub(crate) fn save(&self, _out: &mut Vec<u8>) {}

    pub(crate) fn load(_reader: &mut Reader<'_>) -> Result<Hash, Malformed> {
        Ok(Hash)
    }
}

pub(crate) const COMMANDS: &[Command] = &[];

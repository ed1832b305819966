//! Why a dump cannot be read, and where.

use std::fmt;
use std::io;

use crate::item::ModuleId;

/// Reading stopped.
#[derive(Debug)]
pub struct Error {
    /// Bytes of the dump that were read before.
    pub offset: u64,
    pub reason: Reason,
}

/// What stopped it.
#[derive(Debug)]
pub enum Reason {
    /// The source itself failed.
    Io(io::Error),
    /// The source ended before the dump did.
    Truncated,
    /// Its first bytes are not those of a dump.
    Magic([u8; 5]),
    /// A version that this reader does not know.
    Version(u32),
    /// What was read is not what was written.
    Checksum { stored: u64, computed: u64 },
    /// A type of value or a mark that no version up to 11 has.
    UnknownType(u8),
    /// A value of the first form of modules, whose end only the module knows.
    Module(ModuleId),
    /// A string with more bytes than any may have.
    TooLong(u64),
    /// The bytes contradict themselves.
    Malformed(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Io(error) => write!(f, "{error}"),
            Reason::Truncated => write!(f, "the dump is cut off"),
            Reason::Magic(found) => {
                let found = String::from_utf8_lossy(found);
                write!(f, "no dump of Redis begins with {found:?}")
            }
            Reason::Version(version) => {
                write!(f, "version {version} of the format{} is not known, only 1 to 11 are", {
                    match version {
                        12.. if *version < 80 => " (Redis 7.4 or later)",
                        80.. => " (Valkey 9 or later)",
                        _ => "",
                    }
                })
            }
            Reason::Checksum { stored, computed } => {
                write!(f, "the checksum is {computed:016x} and should be {stored:016x}")
            }
            Reason::UnknownType(byte) => write!(f, "type {byte} is not known"),
            Reason::Module(module) => {
                write!(f, "only the module {module} can find the end of this value")
            }
            Reason::TooLong(len) => write!(f, "a string of {len} bytes is too long"),
            Reason::Malformed(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for Error {}

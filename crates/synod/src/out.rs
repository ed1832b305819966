//! What a command prints. Whoever has stopped to listen, as `head` does, does not need the rest.

use std::io::Write as _;

/// Prints the output of a command.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

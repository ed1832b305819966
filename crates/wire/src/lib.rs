//! Protocols: bytes to values and back.

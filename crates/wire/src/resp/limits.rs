//! How much a peer may send before it is told to stop.

/// Arguments of one command: Redis's bound of old, and eight MiB of spans.
const ARGS_MAX: usize = 1024 * 1024;

/// Bytes of one argument: Redis's `proto-max-bulk-len`.
const BULK_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Bytes of an inline command, or of a line that says a length: Redis's `PROTO_INLINE_MAX_SIZE`.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one command: Redis's `client-query-buffer-limit`. Spans count in 32 bits.
const COMMAND_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Arguments of one command before AUTH: HELLO with all its options has eight.
const UNAUTHENTICATED_ARGS_MAX: usize = 10;

/// Bytes of one argument before AUTH.
const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16 * 1024;

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub args_max: usize,
    pub bulk_bytes_max: usize,
    pub line_bytes_max: usize,
    /// Of one whole command; below 4 GiB.
    pub command_bytes_max: usize,
    /// Of a client that has not shown a password yet: nothing, if it has or needs none.
    pub unauthenticated: Option<Unauthenticated>,
}

/// The narrower limits before AUTH, which have error texts of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unauthenticated {
    pub args_max: usize,
    pub bulk_bytes_max: usize,
}

impl Limits {
    /// For a client that may do anything.
    pub const AUTHENTICATED: Limits = Limits {
        args_max: ARGS_MAX,
        bulk_bytes_max: BULK_BYTES_MAX,
        line_bytes_max: LINE_BYTES_MAX,
        command_bytes_max: COMMAND_BYTES_MAX,
        unauthenticated: None,
    };

    /// For a client that has yet to show a password.
    pub const UNAUTHENTICATED: Limits = Limits {
        unauthenticated: Some(Unauthenticated {
            args_max: UNAUTHENTICATED_ARGS_MAX,
            bulk_bytes_max: UNAUTHENTICATED_BULK_BYTES_MAX,
        }),
        ..Limits::AUTHENTICATED
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::AUTHENTICATED
    }
}

const _: () = assert!(COMMAND_BYTES_MAX < u32::MAX as usize, "a span counts in 32 bits");
const _: () = assert!(BULK_BYTES_MAX < COMMAND_BYTES_MAX);

/// What a client accepts from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Arrays within arrays.
    pub depth_max: usize,
    /// Bytes of one whole reply.
    pub bytes_max: usize,
}

impl Default for ReplyLimits {
    /// COMMAND's reply is five deep, and hiredis accepts nine; a value may be 512 MiB.
    fn default() -> Self {
        ReplyLimits { depth_max: 32, bytes_max: COMMAND_BYTES_MAX }
    }
}

//! Sockets, sessions and threads: translates, submits, replies.

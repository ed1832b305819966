//! Redis's dump files: what is in one, read and written as a stream.
//!
//! ```text
//! impl Read ─▶ Source ─▶ Reader ─▶ Item, Item, Item …     key, its parts, end of the key
//!                        packed/    (ziplists, listpacks …)
//! impl Write ◀─ Writer ◀─ Body                            plain encodings, version 10
//! ```
//!
//! A reader holds one string and one packed node at a time, so a dump of any size is read in the
//! memory of its largest string. Items borrow from the reader: look at one before asking for the
//! next.
//!
//! What always holds: whatever the bytes are, a reader returns an [`Error`] that tells the offset,
//! and allocates no more than a small multiple of what it was given. What a reader cannot turn into
//! items (values of modules, who waits in consumer groups) it reads past and names.
//!
//! Not here: files, sockets, the clock; RESP, although the values of DUMP are encoded alike.
//! Source: `src/rdb.h`, `rdb.c`, `listpack.c`, `ziplist.c`, `zipmap.c`, `intset.h`, `t_stream.c` of
//! Redis 7.0.15; the two types of version 11 after Redis 7.2.

mod checksum;
mod encode;
mod error;
mod item;
pub mod limits;
mod lzf;
mod opcode;
mod packed;
mod reader;
mod source;
mod stream;
mod text;
mod value;
mod writer;

pub use encode::{Body, StreamBody};
pub use error::{Error, Reason};
pub use item::{Expiry, Group, Item, Key, Kind, ModuleId, StreamEnd, StreamId};
pub use reader::Reader;
pub use text::Texts;
pub use writer::Writer;

//! Operations of a log entry: what can be read can be written, and is read again as it was.

#![no_main]

use keyspace::op::{self, Op};
use libfuzzer_sys::fuzz_target;
use stdx::codec::Reader;

fn read(reader: &mut Reader<'_>) -> Option<Op> {
    let head = op::read_head(reader).ok()?;
    if head.is_call() {
        // The same call without copies: both ways must agree.
        let mut spans = Vec::new();
        let mut twin = reader.clone();
        let db = op::read_call(&mut twin, &mut spans);
        assert_eq!(db.is_ok(), op::read_body(&mut reader.clone(), head).is_ok(), "both agree");
    }
    let body = op::read_body(reader, head).ok()?;
    Some(Op { proto: head.proto, origin: head.origin, body })
}

fuzz_target!(|data: &[u8]| {
    let mut reader = Reader::new(data);
    if op::read_stamp(&mut reader).is_err() {
        return;
    }
    while let Some(op) = read(&mut reader) {
        let mut out = Vec::new();
        op::put_op(&mut out, &op);
        let again = read(&mut Reader::new(&out)).expect("what was written can be read");
        assert_eq!(format!("{op:?}"), format!("{again:?}"), "nothing changes on the way");
    }
});

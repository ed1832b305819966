//! Messages between nodes: what can be read can be written, and is read again as it was.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use node::Message;

fuzz_target!(|data: &[u8]| {
    let Ok(message) = Message::decode(&Bytes::copy_from_slice(data)) else { return };
    let mut out = Vec::new();
    message.encode(&mut out);
    let again = Message::decode(&Bytes::from(out)).expect("what was written can be read");
    assert_eq!(format!("{message:?}"), format!("{again:?}"), "nothing changes on the way");
});

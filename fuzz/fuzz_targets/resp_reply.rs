//! A server's bytes, as our load generator and tests read them: any cut gives the same values.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::resp::{Decoder, Malformed, ReplyLimits, Scanner, Value};

/// The values, in text since a double may be no number, how many bytes are left, the error.
type Story = (Vec<String>, usize, Option<Malformed>);

fn decode(bytes: &[u8], cuts: &[u8]) -> Story {
    let mut decoder = Decoder::new(ReplyLimits::default());
    let (mut start, mut end) = (0, 0);
    let mut cuts = cuts.iter().cycle();
    let mut values = Vec::new();
    loop {
        match decoder.decode(&bytes[start..end]) {
            Ok(Some((value, len))) => {
                assert!(0 < len && start + len <= end, "a reply lies in the buffer");
                check_scanner(&bytes[start..start + len], &value);
                values.push(format!("{value:?}"));
                start += len;
            }
            Ok(None) if end == bytes.len() => return (values, bytes.len() - start, None),
            Ok(None) => {
                let step = cuts.next().map_or(bytes.len(), |cut| usize::from(*cut) + 1);
                end = (end + step).min(bytes.len());
            }
            Err(error) => return (values, 0, Some(error)),
        }
    }
}

/// The scanner, which builds nothing, says the same of the same bytes.
fn check_scanner(bytes: &[u8], value: &Value) {
    let mut scanner = Scanner::new(ReplyLimits::default());
    let scanned = scanner.scan(bytes).expect("the decoder understood it").expect("it is whole");
    assert_eq!(scanned.len, bytes.len(), "both find one end");
    assert_eq!(scanned.is_error(), matches!(value, Value::Error(_)), "both see an error");
}

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_at_checked(4) else { return };
    let whole = decode(rest, &[]);
    assert_eq!(whole, decode(rest, head), "cuts change nothing");
    assert_eq!(whole, decode(rest, &[0]), "one byte at a time changes nothing");
});

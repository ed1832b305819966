//! A client's bytes: however they are cut into reads, the same commands come out, or the same error.
//!
//! The first bytes of the input say where to cut, the rest is what the client sends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::resp::{Limits, Parsed, Parser, ProtocolError};

/// Everything that was understood: each command's arguments, how many bytes are left, the error.
type Story = (Vec<Vec<Vec<u8>>>, usize, Option<ProtocolError>);

/// Commands looked at; an input of a megabyte of line breaks proves nothing more.
const COMMANDS_MAX: usize = 4096;

fn parse(bytes: &[u8], cuts: &[u8], limits: &Limits) -> Story {
    let mut parser = Parser::new();
    let (mut start, mut end) = (0, 0);
    let mut cuts = cuts.iter().cycle();
    let mut commands = Vec::new();
    loop {
        match parser.parse(&bytes[start..end], limits) {
            Ok(Parsed::Complete { consumed }) => {
                assert!(0 < consumed && start + consumed <= end, "a command lies in the buffer");
                let args = parser.args(&bytes[start..end]);
                assert!(!args.is_empty(), "a command has a name");
                commands.push(args.iter().map(<[u8]>::to_vec).collect());
                start += consumed;
            }
            Ok(Parsed::Blank { consumed }) => {
                assert!(0 < consumed && start + consumed <= end, "a blank lies in the buffer");
                start += consumed;
            }
            Ok(Parsed::Incomplete) => {
                assert!(parser.wanted() <= limits.command_bytes_max + 2, "room is asked in bounds");
                if end == bytes.len() {
                    return (commands, bytes.len() - start, None);
                }
                let step = cuts.next().map_or(bytes.len(), |cut| usize::from(*cut) + 1);
                end = (end + step).min(bytes.len());
            }
            Err(error) => {
                error.encode(&mut Vec::new());
                return (commands, 0, Some(error));
            }
        }
        if commands.len() == COMMANDS_MAX {
            return (commands, 0, None);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_at_checked(4) else { return };
    for limits in [Limits::AUTHENTICATED, Limits::UNAUTHENTICATED] {
        let whole = parse(rest, &[], &limits);
        assert_eq!(whole, parse(rest, head, &limits), "cuts change nothing");
        assert_eq!(whole, parse(rest, &[0], &limits), "one byte at a time changes nothing");
    }
});

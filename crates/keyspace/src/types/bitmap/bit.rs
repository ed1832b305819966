//! Single bits, and what all commands on bits share: offsets, and a string that is long enough.

use wire::{Args, Reply};

use crate::context::{Context, notify};
use crate::limits::STRING_BYTES_MAX;
use crate::number::parse_i64;
use crate::reject::Reject;
use crate::str::Buffer;
use crate::value::Value;

/// An offset that lies within the longest string.
pub(super) fn offset(cx: &Context<'_>, text: &[u8]) -> Result<u64, Reject> {
    checked_offset(cx, parse_i64(text))
}

/// As `offset`; `#n` stands for the place of the n-th of many integers, each of `width` bits.
pub(super) fn offset_of_field(cx: &Context<'_>, text: &[u8], width: u32) -> Result<u64, Reject> {
    match text.strip_prefix(b"#") {
        // Redis multiplies without a check, too: a product that wraps is some other offset.
        Some(rest) => checked_offset(cx, parse_i64(rest).map(|n| n.wrapping_mul(i64::from(width)))),
        None => offset(cx, text),
    }
}

fn checked_offset(cx: &Context<'_>, offset: Option<i64>) -> Result<u64, Reject> {
    let bytes_max = (STRING_BYTES_MAX as u64).min(cx.settings().proto_max_bulk_len);
    let within = offset.and_then(|offset| u64::try_from(offset).ok());
    let text = "ERR bit offset is not an integer or out of range";
    within.filter(|offset| offset >> 3 < bytes_max).ok_or_else(|| Reject::text(text))
}

/// Lets `change` work on the string at `key`, which reaches to `last_bit` at least, and says
/// whether it had to grow for that. The key is touched if it grew or if `change` says so.
pub(super) fn with_bits<T>(
    cx: &mut Context<'_>,
    key: &[u8],
    last_bit: u64,
    change: impl FnOnce(&mut Buffer, Grew) -> (T, Changed),
) -> Result<(T, Changed), Reject> {
    let len = (last_bit >> 3) as usize + 1;
    if !cx.exists(key) {
        let mut buffer = Buffer::zeroed(len);
        let result = change(&mut buffer, Grew(true));
        cx.insert(key, Value::Buffer(Box::new(buffer)));
        return Ok(result);
    }
    let value = cx.get_mut(key).expect("the key was there just before");
    let buffer = value.buffer_mut()?;
    let grew = buffer.len() < len;
    buffer.grow(len);
    let (result, changed) = change(buffer, Grew(grew));
    if grew || changed.0 {
        cx.touch(key);
    }
    Ok((result, changed))
}

/// Did the string grow, or come into being?
#[derive(Clone, Copy, Debug)]
pub(super) struct Grew(pub(super) bool);

/// Did the command change what Redis tells as an event?
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed(pub(super) bool);

pub(super) fn set_bit(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let offset = offset(cx, &args[2])?;
    let wanted = match &args[3] {
        b"0" => false,
        b"1" => true,
        _ => return Err(Reject::text("ERR bit is not an integer or out of range")),
    };
    let (was, changed) = with_bits(cx, &args[1], offset, |bits, grew| {
        let was = bit(bits, offset);
        let mask = 0x80 >> (offset & 7);
        let byte = &mut bits[(offset >> 3) as usize];
        *byte = if wanted { *byte | mask } else { *byte & !mask };
        (was, Changed(grew.0 || was != wanted))
    })?;
    if changed.0 {
        cx.notify(notify::STRING, "setbit", &args[1]);
    }
    reply.int(i64::from(was));
    Ok(())
}

pub(super) fn get_bit(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let offset = offset(cx, &args[2])?;
    let mut digits = itoa::Buffer::new();
    let text = cx.get(&args[1]).map(|value| value.text(&mut digits)).transpose()?;
    reply.int(i64::from(bit(text.unwrap_or_default(), offset)));
    Ok(())
}

/// One bit; clear behind the end.
fn bit(bytes: &[u8], offset: u64) -> bool {
    bytes.get((offset >> 3) as usize).is_some_and(|byte| byte & (0x80 >> (offset & 7)) != 0)
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    #[test]
    fn bits_are_set_and_read() {
        Client::new().check_all(&[
            ("setbit k 1 1", ":0\r\n"),
            ("get k", "$1\r\n@\r\n"),
            ("setbit k 1 1", ":1\r\n"),
            ("setbit k 2 1", ":0\r\n"),
            ("setbit k 1 0", ":1\r\n"),
            ("get k", "$1\r\n \r\n"),
            ("getbit k 2", ":1\r\n"),
            ("getbit k 3", ":0\r\n"),
            ("getbit k 10000", ":0\r\n"),
            ("getbit none 0", ":0\r\n"),
            ("set n 1", "+OK\r\n"),
            ("getbit n 2", ":1\r\n"),
            ("setbit n 6 1", ":0\r\n"),
            ("get n", "$1\r\n3\r\n"),
            ("setbit z 20 0", ":0\r\n"),
            ("strlen z", ":3\r\n"),
        ]);
    }

    #[test]
    fn offsets_and_bits_out_of_range_are_refused() {
        let offset = "-ERR bit offset is not an integer or out of range\r\n";
        let bit = "-ERR bit is not an integer or out of range\r\n";
        Client::new().check_all(&[
            ("setbit k 4294967296 1", offset),
            ("setbit k -1 1", offset),
            ("setbit k x 2", offset),
            ("getbit k #1", offset),
            ("setbit k 0 2", bit),
            ("setbit k 0 -1", bit),
            ("setbit k 0 01", bit),
            ("getbit k 4294967295", ":0\r\n"),
        ]);
    }

    #[test]
    fn only_a_change_is_counted_as_one() {
        let mut client = Client::new();
        let mut changes = |line: &str| {
            let before = client.shard.changes();
            client.run(line);
            client.shard.changes() - before
        };
        for (line, expect) in [
            ("setbit a 0 0", 1),
            ("setbit a 0 0", 0),
            ("setbit a 0 1", 1),
            ("setbit a 90 0", 1),
            ("bitfield b set i5 0 0", 1),
            ("bitfield b set i5 0 0", 0),
            ("bitfield b incrby i5 0 1", 1),
            ("bitfield b set i5 90 0", 1),
            ("getbit b 0", 0),
        ] {
            assert_eq!(changes(line), expect, "{line}");
        }
    }

    #[test]
    fn an_event_tells_only_of_a_change() {
        let mut client = Client::new();
        client.shard.settings.notify = u32::MAX;
        let mut events = |line: &str| {
            client.effects.publish.clear();
            client.run(line);
            client.effects.publish.iter().filter(|p| p.message == b"setbit").count()
        };
        assert_eq!(events("setbit k 3 0"), 1);
        assert_eq!(events("setbit k 3 0"), 0);
        assert_eq!(events("setbit k 9 0"), 1);
        assert_eq!(events("setbit k 9 1"), 1);
        assert_eq!(events("bitfield k set u8 0 0"), 0);
        assert_eq!(events("bitfield k set u8 0 1 set u8 8 1"), 1);
        assert_eq!(events("bitfield k overflow fail set u8 80 300"), 0);
    }
}

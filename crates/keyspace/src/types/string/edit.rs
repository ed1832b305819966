//! Parts of a value in: APPEND and SETRANGE. What they change is kept in a buffer from then on.

use wire::{Args, Reply};

use crate::context::{Context, notify};
use crate::limits::STRING_BYTES_MAX;
use crate::number::integer;
use crate::reject::Reject;
use crate::str::Buffer;
use crate::value::Value;

pub(super) fn append(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let (key, more) = (args.at(1), args.at(2));
    let len_max = len_max(cx);
    let len = cx.update(key, |value| {
        let len = value.text(&mut itoa::Buffer::new())?.len();
        check_len(len, more.len(), len_max)?;
        value.buffer_mut()?.append(more);
        Ok(len + more.len())
    })?;
    if len.is_none() {
        cx.insert(key, Value::string(more));
    }
    cx.notify(notify::STRING, "append", key);
    reply.count(len.unwrap_or(more.len()));
    Ok(())
}

pub(super) fn set_range(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let (key, patch) = (args.at(1), args.at(3));
    let offset = integer(&args[2])?;
    let Ok(offset) = usize::try_from(offset) else {
        return Err(Reject::text("ERR offset is out of range"));
    };
    if patch.is_empty() {
        let mut digits = itoa::Buffer::new();
        let text = cx.get(key).map(|value| value.text(&mut digits)).transpose()?;
        reply.count(text.unwrap_or_default().len());
        return Ok(());
    }
    let len_max = len_max(cx);
    let len = cx.update(key, |value| {
        value.text(&mut itoa::Buffer::new())?;
        check_len(offset, patch.len(), len_max)?;
        let buffer = value.buffer_mut()?;
        buffer.write(offset, patch);
        Ok(buffer.len())
    })?;
    let len = match len {
        Some(len) => len,
        None => {
            check_len(offset, patch.len(), len_max)?;
            let mut buffer = Buffer::zeroed(offset + patch.len());
            buffer.write(offset, patch);
            cx.insert(key, Value::Buffer(Box::new(buffer)));
            offset + patch.len()
        }
    };
    cx.notify(notify::STRING, "setrange", key);
    reply.count(len);
    Ok(())
}

/// How long a string may become.
fn len_max(cx: &Context<'_>) -> usize {
    STRING_BYTES_MAX.min(cx.settings().proto_max_bulk_len as usize)
}

fn check_len(len: usize, more: usize, len_max: usize) -> Result<(), Reject> {
    let total = len.checked_add(more).filter(|total| *total <= len_max);
    total.map(|_| ()).ok_or(Reject::TooLong)
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    fn encoding(client: &Client, key: &str) -> &'static str {
        let entry = client.shard.dbs[0].get(key.as_bytes()).unwrap();
        entry.value.string_encoding().unwrap()
    }

    #[test]
    fn what_was_changed_in_place_is_raw_and_stays_so() {
        let mut client = Client::new();
        for (line, expect) in [
            ("set k 12", "int"),
            ("set k abc", "embstr"),
            ("set k 01234567890123456789012345678901234567890123", "embstr"),
            ("set k 012345678901234567890123456789012345678901234", "raw"),
            ("set k 12", "int"),
            ("setrange k 0 \"\"", "int"),
            ("setrange k 0 2", "raw"),
            ("set k 12", "int"),
            ("append k 3", "raw"),
            ("incr k", "int"),
            ("incrbyfloat k 1", "embstr"),
            ("set k 12", "int"),
            ("setbit k 6 0", "raw"),
            ("set k 12", "int"),
            ("bitfield k get u8 0", "int"),
            ("bitfield k incrby u8 0 1", "raw"),
            ("bitop not k k", "raw"),
        ] {
            client.run(line);
            assert_eq!(encoding(&client, "k"), expect, "{line}");
        }
        client.run("append fresh 12");
        assert_eq!(encoding(&client, "fresh"), "int");
        client.run("append fresh 34");
        client.reload();
        assert_eq!(encoding(&client, "fresh"), "raw");
        client.check("get fresh", "$4\r\n1234\r\n");
    }

    #[test]
    fn appended_and_overwritten_bytes_are_there() {
        Client::new().check_all(&[
            ("append k foo", ":3\r\n"),
            ("append k \"\"", ":3\r\n"),
            ("append k 100", ":6\r\n"),
            ("get k", "$6\r\nfoo100\r\n"),
            ("setrange k 8 bar", ":11\r\n"),
            ("get k", "$11\r\nfoo100\\x00\\x00bar\r\n"),
            ("setrange k 0 F", ":11\r\n"),
            ("getrange k 0 2", "$3\r\nFoo\r\n"),
            ("setrange none 5 \"\"", ":0\r\n"),
            ("get none", "$-1\r\n"),
            ("setrange new 1 foo", ":4\r\n"),
            ("get new", "$4\r\n\\x00foo\r\n"),
        ]);
    }

    #[test]
    fn a_string_cannot_grow_over_the_limit() {
        let long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
        let mut client = Client::new();
        client.check_all(&[
            ("setrange k -1 x", "-ERR offset is out of range\r\n"),
            ("setrange k x x", "-ERR value is not an integer or out of range\r\n"),
            ("setrange k 536870908 world", long),
            ("setrange k 9223372036854775807 a", long),
            ("set k hello", "+OK\r\n"),
            ("setrange k 536870908 world", long),
        ]);
        client.shard.settings.proto_max_bulk_len = 8;
        client.check("append k worl", long);
        client.check("append k wor", ":8\r\n");
        client.check("setbit k 64 1", "-ERR bit offset is not an integer or out of range\r\n");
    }
}

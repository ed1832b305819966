//! Values out: whole, in part, or with a change of their expiry.

use stdx::Millis;
use wire::{Args, Reply};

use super::options::{Grammar, Options};
use crate::context::{Context, notify};
use crate::number::integer;
use crate::reject::Reject;
use crate::value::Value;

pub(super) fn get(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply_old(cx, &args[1], reply)
}

/// Replies with the string at `key`, or nothing; WRONGTYPE if it is none.
pub(super) fn reply_old(
    cx: &mut Context<'_>,
    key: &[u8],
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    match cx.get(key) {
        None => reply.null(),
        Some(Value::Str(text)) => reply.bulk(text),
        Some(value) => reply.bulk(value.text(&mut itoa::Buffer::new())?),
    }
    Ok(())
}

pub(super) fn mget(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply.array(args.len() - 1);
    cx.for_keys(args, 1, 1, |cx, at| {
        let mut digits = itoa::Buffer::new();
        reply.bulk_or_null(cx.get(&args[at]).and_then(|value| value.text(&mut digits).ok()));
    });
    Ok(())
}

pub(super) fn str_len(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let mut digits = itoa::Buffer::new();
    let text = cx.get(&args[1]).map(|value| value.text(&mut digits)).transpose()?;
    reply.count(text.unwrap_or_default().len());
    Ok(())
}

pub(super) fn get_del(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply_old(cx, &args[1], reply)?;
    if cx.remove(&args[1]).is_some() {
        cx.notify(notify::GENERIC, "del", &args[1]);
    }
    Ok(())
}

pub(super) fn get_ex(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let options = Options::parse(args.from(2), Grammar::GetEx)?;
    let key = args.at(1);
    reply_old(cx, key, reply)?;
    let Some(before) = cx.expires(key) else { return Ok(()) };
    if let Some(expiry) = options.expiry {
        let moment = expiry.moment(cx.now(), "getex")?;
        if expiry.is_absolute() && moment <= cx.now() {
            cx.remove(key);
            cx.notify(notify::GENERIC, "del", key);
        } else {
            cx.set_expires(key, moment);
            cx.notify(notify::GENERIC, "expire", key);
        }
    } else if options.persist && before != Millis::FAR {
        cx.set_expires(key, Millis::FAR);
        cx.notify(notify::GENERIC, "persist", key);
    }
    Ok(())
}

pub(super) fn get_range(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let (start, end) = (integer(&args[2])?, integer(&args[3])?);
    let mut digits = itoa::Buffer::new();
    let text = cx.get(&args[1]).map(|value| value.text(&mut digits)).transpose()?;
    reply.bulk(part(text.unwrap_or_default(), start, end));
    Ok(())
}

/// The bytes from `start` to `end`, both counted; negative ones count from the end.
fn part(text: &[u8], start: i64, end: i64) -> &[u8] {
    let len = text.len() as i64;
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let from_end = |at: i64| if at < 0 { (at.saturating_add(len)).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end { b"" } else { &text[start as usize..=end as usize] }
}

#[cfg(test)]
mod tests {
    use super::part;
    use crate::testing::Client;

    #[test]
    fn parts_are_cut_as_in_redis() {
        for (start, end, expect) in [
            (0, 3, "Hell"),
            (0, -1, "Hello World"),
            (-4, -1, "orld"),
            (5, 3, ""),
            (5, 5_000, " World"),
            (-5_000, 10_000, "Hello World"),
            (-1, -2, ""),
            (0, 0, "H"),
            (0, -100, "H"),
            (i64::MIN, i64::MAX, "Hello World"),
            (i64::MAX, i64::MIN, ""),
            (11, 20, ""),
        ] {
            assert_eq!(part(b"Hello World", start, end), expect.as_bytes(), "{start} {end}");
        }
        assert_eq!(part(b"", 0, -1), b"");
    }

    #[test]
    fn values_of_other_types_are_refused_or_nothing() {
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        let mut client = Client::new();
        let list = crate::value::Value::List(Box::default());
        client.run("set s 1");
        let entry = crate::db::Entry { value: list, version: 0, expires: stdx::Millis::FAR };
        client.shard.dbs[0].insert(b"l", entry);
        for line in [
            "get l",
            "strlen l",
            "getrange l 0 1",
            "getdel l",
            "getex l",
            "getset l 1",
            "incr l",
            "incrbyfloat l 1",
            "append l x",
            "setrange l 0 x",
            "set l v get",
            "setbit l 0 1",
            "getbit l 0",
            "bitcount l",
            "bitpos l 1",
            "bitop or x s l",
            "bitfield l get u8 0",
            "bitfield_ro l get u8 0",
            "bitfield l set u8 0 1",
        ] {
            client.check(line, wrong);
        }
        client.check("lcs l s", "-ERR The specified keys must contain string values\r\n");
        client.check("mget l s", "*2\r\n$-1\r\n$1\r\n1\r\n");
        client.check("getex l ex nonsense", wrong);
        client.check("set l v", "+OK\r\n");
    }

    #[test]
    fn getex_changes_only_the_expiry() {
        let mut client = Client::new();
        client.check_all(&[
            ("getex none ex 0", "$-1\r\n"),
            ("set k v", "+OK\r\n"),
            ("getex k nosuch", "-ERR syntax error\r\n"),
            ("getex k keepttl", "-ERR syntax error\r\n"),
            ("getex k persist ex 1", "-ERR syntax error\r\n"),
            ("getex k ex 1", "$1\r\nv\r\n"),
            ("getex k persist", "$1\r\nv\r\n"),
        ]);
        client.now += 5_000;
        client.check("getex k px 100", "$1\r\nv\r\n");
        client.now += 200;
        client.check("get k", "$-1\r\n");
        client.run("set k v");
        client.check("getex k exat 1", "$1\r\nv\r\n");
        client.check("get k", "$-1\r\n");
    }

    #[test]
    fn getdel_and_the_rest_of_the_readers_answer() {
        Client::new().check_all(&[
            ("set k -555", "+OK\r\n"),
            ("strlen k", ":4\r\n"),
            ("strlen none", ":0\r\n"),
            ("getrange k 1 2", "$2\r\n55\r\n"),
            ("substr k 0 0", "$1\r\n-\r\n"),
            ("getrange none 0 -1", "$0\r\n\r\n"),
            ("getrange none x 0", "-ERR value is not an integer or out of range\r\n"),
            ("getdel k", "$4\r\n-555\r\n"),
            ("getdel k", "$-1\r\n"),
        ]);
    }
}

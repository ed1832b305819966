//! SCAN: the walk over all keys.
//!
//! A cursor is a place on a table's circle of hashes (see `dict`), so it means the same on every
//! replica and each key that stays is returned exactly once.

use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::Context;
use crate::cursor::{Scan, parse_cursor};
use crate::reject::Reject;

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] =
    &[Command::new("scan", -2, Flags::READONLY, Keys::None, Run::Read(scan)).doc(
        Group::Generic,
        "2.8.0",
        "O(1) for a call, O(N) in the keys for the whole walk",
        "Walks the keys of the database, some at a time",
    )];

fn scan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let (shard, count) = cx.shard_of();
    // The low bits of a cursor say which shard the walk is in: it goes from one to the next.
    let cursor = parse_cursor(&args[1])? / count;
    let options = Scan::parse_typed(args, 2)?;
    let now = cx.now();
    let mut seen = Vec::new();
    let next = cx.database().dict().scan(cursor, options.count, |key, entry| {
        if !options.wants(key) {
            return;
        }
        let live = entry.expires > now;
        let fits = |name: &[u8]| name.eq_ignore_ascii_case(entry.value.type_name().as_bytes());
        // An expired key is met like any other access meets it, and is not returned.
        if !live || options.type_name.is_none_or(fits) {
            seen.push((key.clone(), live));
        }
    });
    let next = match next {
        0 => (shard + 1) % count,
        next => next * count + shard,
    };
    seen.retain(|(key, live)| *live || cx.exists(key));
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(seen.len());
    for (key, _) in &seen {
        reply.bulk(key);
        cx.database().met(key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    /// Walks the database and returns all names, sorted.
    fn walk(client: &mut Client, options: &str) -> Vec<String> {
        let (mut cursor, mut names) = ("0".to_owned(), Vec::new());
        loop {
            let reply = client.run(&format!("scan {cursor} {options}"));
            let mut lines = reply.split("\r\n").filter(|line| !line.starts_with(['*', '$']));
            cursor = lines.next().unwrap().to_owned();
            names.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
            if cursor == "0" {
                names.sort();
                return names;
            }
        }
    }

    #[test]
    fn a_walk_returns_every_key_that_matches_once() {
        let mut client = Client::new();
        for n in 0..500 {
            client.run(&format!("set key:{n} v"));
        }
        let all = walk(&mut client, "");
        assert_eq!(all.len(), 500);
        assert_eq!(all, {
            let mut once = all.clone();
            once.dedup();
            once
        });
        assert_eq!(walk(&mut client, "count 1000").len(), 500);
        assert_eq!(walk(&mut client, "match key:1? count 7").len(), 10);
        assert_eq!(walk(&mut client, "type STRING").len(), 500);
        assert_eq!(walk(&mut client, "type nosuch").len(), 0);
    }

    #[test]
    fn bad_options_are_refused() {
        Client::new().check_all(&[
            ("scan x", "-ERR invalid cursor\r\n"),
            ("scan 0 count", "-ERR syntax error\r\n"),
            ("scan 0 count 0", "-ERR syntax error\r\n"),
            ("scan 0 count -5", "-ERR syntax error\r\n"),
            ("scan 0 count x", "-ERR value is not an integer or out of range\r\n"),
            ("scan 0 nosuch 1", "-ERR syntax error\r\n"),
            ("scan 99999999999999999", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ]);
    }
}

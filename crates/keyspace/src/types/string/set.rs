//! Whole values in: SET and its older relatives.

use stdx::Millis;
use wire::{Args, Reply};

use super::get::reply_old;
use super::options::{Expiry, Grammar, Options, Unit};
use crate::context::{Context, notify};
use crate::reject::Reject;

pub(super) fn set(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    if args.len() == 3 {
        put(cx, args.at(1), args.at(2), Millis::FAR);
        reply.ok();
        return Ok(());
    }
    let options = Options::parse(args.from(3), Grammar::Set)?;
    let moment = options.expiry.map(|expiry| expiry.moment(cx.now(), "set")).transpose()?;
    let key = args.at(1);
    if options.get {
        reply_old(cx, key, reply)?;
    }
    let before = cx.expires(key);
    if options.if_absent && before.is_some() || options.if_present && before.is_none() {
        if !options.get {
            reply.null();
        }
        return Ok(());
    }
    let kept = before.filter(|_| options.keep);
    put(cx, key, args.at(2), moment.or(kept).unwrap_or(Millis::FAR));
    if moment.is_some() {
        cx.notify(notify::GENERIC, "expire", key);
    }
    if !options.get {
        reply.ok();
    }
    Ok(())
}

pub(super) fn set_nx(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let absent = !cx.exists(&args[1]);
    if absent {
        put(cx, &args[1], &args[2], Millis::FAR);
    }
    reply.int(i64::from(absent));
    Ok(())
}

pub(super) fn set_ex(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let expiry = Expiry { unit: Unit::Seconds, text: args.at(2) };
    set_expiring(cx, args, reply, expiry.moment(cx.now(), "setex")?)
}

pub(super) fn pset_ex(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let expiry = Expiry { unit: Unit::Millis, text: args.at(2) };
    set_expiring(cx, args, reply, expiry.moment(cx.now(), "psetex")?)
}

fn set_expiring(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    moment: Millis,
) -> Result<(), Reject> {
    put(cx, &args[1], &args[3], moment);
    cx.notify(notify::GENERIC, "expire", &args[1]);
    reply.ok();
    Ok(())
}

pub(super) fn get_set(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    reply_old(cx, &args[1], reply)?;
    put(cx, &args[1], &args[2], Millis::FAR);
    Ok(())
}

pub(super) fn mset(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    check_pairs(args, "ERR wrong number of arguments for 'mset' command")?;
    put_pairs(cx, args);
    reply.ok();
    Ok(())
}

pub(super) fn mset_nx(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    check_pairs(args, "ERR wrong number of arguments for 'msetnx' command")?;
    let absent = (1..args.len()).step_by(2).all(|at| !cx.exists(&args[at]));
    if absent {
        put_pairs(cx, args);
    }
    reply.int(i64::from(absent));
    Ok(())
}

fn check_pairs(args: Args<'_>, otherwise: &'static str) -> Result<(), Reject> {
    if args.len() % 2 == 1 { Ok(()) } else { Err(Reject::text(otherwise)) }
}

fn put_pairs(cx: &mut Context<'_>, args: Args<'_>) {
    cx.for_keys(args, 1, 2, |cx, at| put(cx, &args[at], &args[at + 1], Millis::FAR));
}

fn put(cx: &mut Context<'_>, key: &[u8], text: &[u8], expires: Millis) {
    cx.insert_string(key, text, expires);
    cx.notify(notify::STRING, "set", key);
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    const SYNTAX: &str = "-ERR syntax error\r\n";

    #[test]
    fn set_obeys_its_conditions() {
        Client::new().check_all(&[
            ("set k 1 xx", "$-1\r\n"),
            ("set k 1 nx", "+OK\r\n"),
            ("set k 2 NX", "$-1\r\n"),
            ("set k 2 XX", "+OK\r\n"),
            ("set k 3 nx get", "$1\r\n2\r\n"),
            ("get k", "$1\r\n2\r\n"),
            ("set k 3 xx get", "$1\r\n2\r\n"),
            ("set k 4 get get", "$1\r\n3\r\n"),
            ("set new 1 get xx", "$-1\r\n"),
            ("set new 1 get nx", "$-1\r\n"),
            ("get new", "$1\r\n1\r\n"),
            ("setnx k 9", ":0\r\n"),
            ("setnx other 9", ":1\r\n"),
            ("getset k abc", "$1\r\n4\r\n"),
            ("getset none abc", "$-1\r\n"),
        ]);
        Client::resp3().check_all(&[("set k 1 xx", "_\r\n"), ("set k 1 get", "_\r\n")]);
    }

    #[test]
    fn contradicting_options_are_a_syntax_error() {
        for options in [
            "nx xx",
            "xx nx",
            "ex 1 px 1",
            "px 1 exat 1",
            "ex 1 keepttl",
            "keepttl pxat 1",
            "persist",
            "ex",
            "nosuch",
            "ex 1 px",
        ] {
            Client::new().check(&format!("set k v {options}"), SYNTAX);
        }
        for options in ["nx nx", "ex 1 ex 2", "keepttl keepttl", "get ex 5 nx"] {
            let reply = Client::new().run(&format!("set k v {options}"));
            assert!(!reply.starts_with('-'), "{options}: {reply}");
        }
    }

    #[test]
    fn times_out_of_range_are_refused_with_the_name_of_the_command() {
        let not_integer = "-ERR value is not an integer or out of range\r\n";
        let mut client = Client::new();
        for time in ["0", "-1", "9223372036854775807"] {
            for name in ["set", "setex", "psetex", "getex"] {
                let expect = format!("-ERR invalid expire time in '{name}' command\r\n");
                client.run("set g 1");
                match name {
                    "set" => client.check(&format!("set k v ex {time}"), &expect),
                    "getex" => client.check(&format!("getex g ex {time}"), &expect),
                    _ => client.check(&format!("{name} k {time} v"), &expect),
                }
            }
        }
        client
            .check("set k v ex 9223372036854775", "-ERR invalid expire time in 'set' command\r\n");
        client.check("set k v pxat 9223372036854775807", "+OK\r\n");
        client.check("set k v ex x", not_integer);
        client.check("setex k x v", not_integer);
    }

    #[test]
    fn a_value_expires_when_it_was_told_to() {
        let mut client = Client::new();
        let start = client.now;
        client.run("set ex v ex 2");
        client.run("set px v px 2000");
        client.run("set exat v exat 1002");
        client.run("set pxat v pxat 1002000");
        client.run("setex setex 2 v");
        client.run("psetex psetex 2000 v");
        client.run("set kept v ex 2");
        client.run("set kept w keepttl");
        client.run("set dropped v ex 2");
        client.run("set dropped w");
        let keys = ["ex", "px", "exat", "pxat", "setex", "psetex", "kept"];
        client.now = start + 1_999;
        keys.iter().for_each(|key| client.check(&format!("strlen {key}"), ":1\r\n"));
        client.now = start + 2_001;
        keys.iter().for_each(|key| client.check(&format!("strlen {key}"), ":0\r\n"));
        client.check("get dropped", "$1\r\nw\r\n");
        client.check("set past v exat 1", "+OK\r\n");
        client.check("get past", "$-1\r\n");
    }

    #[test]
    fn several_keys_are_set_together_or_not_at_all() {
        Client::new().check_all(&[
            ("mset a 1 b 2", "+OK\r\n"),
            ("mset a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n"),
            ("mset a", "-ERR wrong number of arguments for 'mset' command\r\n"),
            ("msetnx a 1 b", "-ERR wrong number of arguments for 'msetnx' command\r\n"),
            ("msetnx c 1 a 2", ":0\r\n"),
            ("mget a b c", "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n"),
            ("msetnx c 1 c 2", ":1\r\n"),
            ("get c", "$1\r\n2\r\n"),
        ]);
    }

    #[test]
    fn an_expired_key_is_gone_before_it_is_set_anew() {
        let mut client = Client::new();
        client.shard.settings.notify = u32::MAX;
        client.run("set k v px 10");
        client.now += 20;
        client.effects.publish.clear();
        client.check("set k w", "+OK\r\n");
        let events = client.effects.publish.iter().filter(|p| p.channel.starts_with(b"__keyspace"));
        let events: Vec<&[u8]> = events.map(|publish| publish.message.as_slice()).collect();
        assert_eq!(events, [&b"expired"[..], b"new", b"set"]);
        client.check("get k", "$1\r\nw\r\n");
    }
}

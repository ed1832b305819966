//! When keys expire: EXPIRE and its kind, TTL and its kind, PERSIST.
//!
//! Time is that of the log entry, so every replica agrees on what has expired.

use stdx::Millis;
use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::{Context, notify};
use crate::number::integer;
use crate::reject::Reject;

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new("expire", -3, Flags::WRITE.and(Flags::FAST), Keys::one(1), Run::Write(expire))
        .doc(Group::Generic, "1.0.0", "O(1)", "Lets a key expire in so many seconds"),
    Command::new("expireat", -3, Flags::WRITE.and(Flags::FAST), Keys::one(1), Run::Write(expireat))
        .doc(Group::Generic, "1.2.0", "O(1)", "Lets a key expire at a Unix time in seconds"),
    Command::new(
        "expiretime",
        2,
        Flags::READONLY.and(Flags::FAST),
        Keys::one(1),
        Run::Read(expiretime),
    )
    .doc(
        Group::Generic,
        "7.0.0",
        "O(1)",
        "Tells the Unix time in seconds at which a key expires",
    ),
    Command::new("persist", 2, Flags::WRITE.and(Flags::FAST), Keys::one(1), Run::Write(persist))
        .doc(Group::Generic, "2.2.0", "O(1)", "Lets a key live for ever"),
    Command::new("pexpire", -3, Flags::WRITE.and(Flags::FAST), Keys::one(1), Run::Write(pexpire))
        .doc(Group::Generic, "2.6.0", "O(1)", "Lets a key expire in so many milliseconds"),
    Command::new(
        "pexpireat",
        -3,
        Flags::WRITE.and(Flags::FAST),
        Keys::one(1),
        Run::Write(pexpireat),
    )
    .doc(Group::Generic, "2.6.0", "O(1)", "Lets a key expire at a Unix time in milliseconds"),
    Command::new(
        "pexpiretime",
        2,
        Flags::READONLY.and(Flags::FAST),
        Keys::one(1),
        Run::Read(pexpiretime),
    )
    .doc(
        Group::Generic,
        "7.0.0",
        "O(1)",
        "Tells the Unix time in milliseconds at which a key expires",
    ),
    Command::new("pttl", 2, Flags::READONLY.and(Flags::FAST), Keys::one(1), Run::Read(pttl)).doc(
        Group::Generic,
        "2.6.0",
        "O(1)",
        "Tells in how many milliseconds a key expires",
    ),
    Command::new("ttl", 2, Flags::READONLY.and(Flags::FAST), Keys::one(1), Run::Read(ttl)).doc(
        Group::Generic,
        "1.0.0",
        "O(1)",
        "Tells in how many seconds a key expires",
    ),
];

#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Millis,
}

/// What the time in the call, or in the reply, counts from.
#[derive(Clone, Copy, PartialEq)]
enum Base {
    Now,
    Epoch,
}

fn expire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    set_expiry(cx, args, reply, Unit::Seconds, Base::Now)
}

fn expireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    set_expiry(cx, args, reply, Unit::Seconds, Base::Epoch)
}

fn pexpire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    set_expiry(cx, args, reply, Unit::Millis, Base::Now)
}

fn pexpireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    set_expiry(cx, args, reply, Unit::Millis, Base::Epoch)
}

fn ttl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    tell_expiry(cx, args, reply, Unit::Seconds, Base::Now)
}

fn pttl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    tell_expiry(cx, args, reply, Unit::Millis, Base::Now)
}

fn expiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    tell_expiry(cx, args, reply, Unit::Seconds, Base::Epoch)
}

fn pexpiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    tell_expiry(cx, args, reply, Unit::Millis, Base::Epoch)
}

fn set_expiry(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    unit: Unit,
    base: Base,
) -> Result<(), Reject> {
    let key = &args[1];
    let conditions = Conditions::parse(args)?;
    let when = instant(cx.now(), args, unit, base)?;
    let allowed = cx.expires(key).is_some_and(|current| conditions.allow(current, when));
    if !allowed {
        reply.int(0);
        return Ok(());
    }
    if when <= cx.now().0 as i64 {
        cx.remove(key);
        cx.notify(notify::GENERIC, "del", key);
    } else {
        cx.set_expires(key, Millis(when as u64));
        cx.notify(notify::GENERIC, "expire", key);
    }
    reply.int(1);
    Ok(())
}

/// The time that the call names, in milliseconds since the epoch; it may lie before that.
fn instant(now: Millis, args: Args<'_>, unit: Unit, base: Base) -> Result<i64, Reject> {
    let overflow = || {
        let name = String::from_utf8_lossy(&args[0]).to_lowercase();
        Reject::from(format!("ERR invalid expire time in '{name}' command"))
    };
    let given = integer(&args[2])?;
    let millis = match unit {
        Unit::Seconds => given.checked_mul(1_000).ok_or_else(overflow)?,
        Unit::Millis => given,
    };
    match base {
        Base::Now => millis.checked_add(now.0 as i64).ok_or_else(overflow),
        Base::Epoch => Ok(millis),
    }
}

/// NX, XX, GT and LT: when a new expiry may take the place of what is there.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Conditions, Reject> {
        let mut conditions = Conditions::default();
        for word in args.from(3).iter() {
            let flag = match &*word.to_ascii_lowercase() {
                b"nx" => &mut conditions.nx,
                b"xx" => &mut conditions.xx,
                b"gt" => &mut conditions.gt,
                b"lt" => &mut conditions.lt,
                _ => {
                    let word = String::from_utf8_lossy(word);
                    return Err(Reject::from(format!("ERR Unsupported option {word}")));
                }
            };
            *flag = true;
        }
        let Conditions { nx, xx, gt, lt } = conditions;
        if nx && (xx || gt || lt) {
            return Err(Reject::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if gt && lt {
            return Err(Reject::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// A key that does not expire counts as one that expires at the end of time.
    fn allow(&self, current: Millis, when: i64) -> bool {
        let forever = current == Millis::FAR;
        let current = current.0 as i64;
        !(self.nx && !forever
            || self.xx && forever
            || self.gt && (forever || when <= current)
            || self.lt && !forever && when >= current)
    }
}

fn tell_expiry(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    unit: Unit,
    base: Base,
) -> Result<(), Reject> {
    const NO_KEY: i64 = -2;
    const NO_EXPIRY: i64 = -1;
    let now = cx.now();
    reply.int(match cx.expires(&args[1]) {
        None => NO_KEY,
        Some(Millis::FAR) => NO_EXPIRY,
        Some(Millis(at)) => {
            let millis = if base == Base::Now { at.saturating_sub(now.0) } else { at };
            match unit {
                Unit::Millis => millis as i64,
                Unit::Seconds => (millis as i64).saturating_add(500) / 1_000,
            }
        }
    });
    Ok(())
}

fn persist(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let key = &args[1];
    let persists = cx.expires(key).is_some_and(|at| at != Millis::FAR);
    if persists {
        cx.set_expires(key, Millis::FAR);
        cx.notify(notify::GENERIC, "persist", key);
    }
    reply.int(i64::from(persists));
    Ok(())
}

#[cfg(test)]
mod tests {
    use stdx::Millis;

    use crate::testing::Client;

    #[test]
    fn an_expiry_is_set_told_and_dropped() {
        let mut client = Client::new();
        client.check_all(&[
            ("ttl k", ":-2\r\n"),
            ("expire k 10", ":0\r\n"),
            ("set k v", "+OK\r\n"),
            ("ttl k", ":-1\r\n"),
            ("persist k", ":0\r\n"),
            ("expire k 10", ":1\r\n"),
            ("ttl k", ":10\r\n"),
            ("pttl k", ":10000\r\n"),
            ("expiretime k", ":1010\r\n"),
            ("pexpiretime k", ":1010000\r\n"),
            ("pexpire k 1499", ":1\r\n"),
            ("ttl k", ":1\r\n"),
            ("expireat k 1002", ":1\r\n"),
            ("pttl k", ":2000\r\n"),
            ("pexpireat k 1000001", ":1\r\n"),
            ("pttl k", ":1\r\n"),
            ("persist k", ":1\r\n"),
            ("pttl k", ":-1\r\n"),
            ("pexpire k 5", ":1\r\n"),
        ]);
        client.now += 5;
        client.check_all(&[("get k", "$-1\r\n"), ("ttl k", ":-2\r\n"), ("persist k", ":0\r\n")]);
    }

    #[test]
    fn a_time_that_is_past_deletes() {
        Client::new().check_all(&[
            ("set k v", "+OK\r\n"),
            ("expire k -1", ":1\r\n"),
            ("exists k", ":0\r\n"),
            ("set k v", "+OK\r\n"),
            ("pexpireat k 1000000", ":1\r\n"),
            ("exists k", ":0\r\n"),
            ("set k v", "+OK\r\n"),
            ("pexpireat k -9223372036854775808", ":1\r\n"),
            ("exists k", ":0\r\n"),
        ]);
    }

    #[test]
    fn times_out_of_range_are_refused_in_the_order_of_redis() {
        Client::new().check_all(&[
            ("expire k x", "-ERR value is not an integer or out of range\r\n"),
            ("expire k x zz", "-ERR Unsupported option zz\r\n"),
            ("EXPIRE k 9223372036854776", "-ERR invalid expire time in 'expire' command\r\n"),
            ("expireat k -9223372036854776", "-ERR invalid expire time in 'expireat' command\r\n"),
            ("pexpire k 9223372036854775807", "-ERR invalid expire time in 'pexpire' command\r\n"),
            ("pexpireat k 9223372036854775807", ":0\r\n"),
            (
                "expire k 1 nx gt",
                "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n",
            ),
            (
                "expire k 1 xx gt lt",
                "-ERR GT and LT options at the same time are not compatible\r\n",
            ),
        ]);
    }

    #[test]
    fn conditions_compare_with_what_is_there() {
        Client::new().check_all(&[
            ("set k v", "+OK\r\n"),
            ("expire k 100 xx", ":0\r\n"),
            ("expire k 100 gt", ":0\r\n"),
            ("expire k 100 nx", ":1\r\n"),
            ("expire k 100 nx", ":0\r\n"),
            ("expire k 100 gt", ":0\r\n"),
            ("expire k 200 xx gt", ":1\r\n"),
            ("expire k 200 lt", ":0\r\n"),
            ("expire k 50 lt", ":1\r\n"),
            ("persist k", ":1\r\n"),
            ("expire k 50 lt", ":1\r\n"),
            ("ttl k", ":50\r\n"),
        ]);
    }

    #[test]
    fn a_tick_removes_what_is_due_and_says_so() {
        let mut client = Client::new();
        client.check("config set notify-keyspace-events Ex", "+OK\r\n");
        client.check_all(&[
            ("set a 1", "+OK\r\n"),
            ("set b 1", "+OK\r\n"),
            ("pexpire a 100", ":1\r\n"),
            ("pexpire b 200", ":1\r\n"),
        ]);
        assert_eq!(client.shard.next_due(), Some(Millis(1_000_100)));
        client.now += 100;
        client.tick();
        assert_eq!(client.shard.next_due(), Some(Millis(1_000_200)));
        assert_eq!(client.shard.databases()[0].len(), 1);
        assert_eq!(client.effects.publish.len(), 1);
        assert_eq!(client.effects.publish[0].message, b"a");
    }

    #[test]
    fn a_watch_sees_a_key_expire_but_not_an_expired_one_removed() {
        let mut client = Client::new();
        client.check_all(&[("set a 1", "+OK\r\n"), ("pexpire a 100", ":1\r\n")]);
        let version = |client: &Client| client.shard.version(Millis(0), 0, b"a");
        let alive = version(&client);
        client.now += 100;
        client.check("echo x", "$1\r\nx\r\n");
        let expired = version(&client);
        assert_ne!(alive, expired);
        client.tick();
        assert_eq!(version(&client), expired);
        client.check("exists a", ":0\r\n");
        assert_eq!(version(&client), expired);
    }
}

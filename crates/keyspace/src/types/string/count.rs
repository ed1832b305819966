//! Numbers: INCR and its relatives.

use wire::{Args, Reply};

use crate::context::{Context, notify};
use crate::decimal;
use crate::number::{integer, parse_i64};
use crate::reject::Reject;
use crate::str::Str;
use crate::value::Value;

pub(super) fn incr(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    add(cx, &args[1], 1, reply)
}

pub(super) fn decr(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    add(cx, &args[1], -1, reply)
}

pub(super) fn incr_by(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    add(cx, &args[1], integer(&args[2])?, reply)
}

pub(super) fn decr_by(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let less = integer(&args[2])?.checked_neg();
    let more = less.ok_or(Reject::text("ERR decrement would overflow"))?;
    add(cx, &args[1], more, reply)
}

/// Adds to the integer at `key`, in place if it is kept as one.
fn add(cx: &mut Context<'_>, key: &[u8], more: i64, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let sum = cx.update(key, |value| {
        let number = match value {
            Value::Int(number) => *number,
            _ => parse_i64(value.text(&mut itoa::Buffer::new())?).ok_or(Reject::NotInteger)?,
        };
        let overflow = Reject::text("ERR increment or decrement would overflow");
        let sum = number.checked_add(more).ok_or(overflow)?;
        *value = Value::Int(sum);
        Ok(sum)
    })?;
    if sum.is_none() {
        cx.insert(key, Value::Int(more));
    }
    cx.notify(notify::STRING, "incrby", key);
    reply.int(sum.unwrap_or(more));
    Ok(())
}

pub(super) fn incr_by_float(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let (key, more) = (args.at(1), args.at(2));
    let sum = cx.update(key, |value| {
        let sum = decimal::add(value.text(&mut itoa::Buffer::new())?, more)?;
        *value = Value::Str(Str::from(sum.as_bytes()));
        Ok(sum)
    })?;
    let sum = match sum {
        Some(sum) => sum,
        None => {
            let sum = decimal::add(b"0", more)?;
            cx.insert(key, Value::Str(Str::from(sum.as_bytes())));
            sum
        }
    };
    cx.notify(notify::STRING, "incrbyfloat", key);
    reply.bulk(sum.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
    const NOT_FLOAT: &str = "-ERR value is not a valid float\r\n";
    const OVERFLOW: &str = "-ERR increment or decrement would overflow\r\n";

    #[test]
    fn integers_are_counted_up_and_down() {
        Client::new().check_all(&[
            ("incr n", ":1\r\n"),
            ("incr n", ":2\r\n"),
            ("decr n", ":1\r\n"),
            ("incrby n 17179869184", ":17179869185\r\n"),
            ("decrby n 17179869186", ":-1\r\n"),
            ("decrby fresh 5", ":-5\r\n"),
            ("get n", "$2\r\n-1\r\n"),
            ("append t 1", ":1\r\n"),
            ("append t 0", ":2\r\n"),
            ("incr t", ":11\r\n"),
        ]);
    }

    #[test]
    fn what_is_no_integer_or_would_overflow_is_refused() {
        Client::new().check_all(&[
            ("set s \" 11\"", "+OK\r\n"),
            ("incr s", NOT_INTEGER),
            ("incrby n x", NOT_INTEGER),
            ("incrby n 9223372036854775808", NOT_INTEGER),
            ("decrby n -9223372036854775808", "-ERR decrement would overflow\r\n"),
            ("get n", "$-1\r\n"),
            ("set n 9223372036854775807", "+OK\r\n"),
            ("incr n", OVERFLOW),
            ("incrby n 1", OVERFLOW),
            ("set n -9223372036854775808", "+OK\r\n"),
            ("decr n", OVERFLOW),
            ("incrby n -1", OVERFLOW),
            ("get n", "$20\r\n-9223372036854775808\r\n"),
        ]);
    }

    #[test]
    fn fractions_are_summed() {
        Client::new().check_all(&[
            ("incrbyfloat f 1.5", "$3\r\n1.5\r\n"),
            ("incrbyfloat f 1.5", "$1\r\n3\r\n"),
            ("incr f", ":4\r\n"),
            ("incrbyfloat f -5.1", "$4\r\n-1.1\r\n"),
            ("incrbyfloat fresh 3e3", "$4\r\n3000\r\n"),
            ("incrbyfloat f x", NOT_FLOAT),
            ("incrbyfloat f +inf", "-ERR increment would produce NaN or Infinity\r\n"),
            ("incrbyfloat none x", NOT_FLOAT),
            ("get none", "$-1\r\n"),
            ("set s \"\"", "+OK\r\n"),
            ("incrbyfloat s 1", NOT_FLOAT),
            ("set s \" 1\"", "+OK\r\n"),
            ("incrbyfloat s 1", NOT_FLOAT),
        ]);
    }

    #[test]
    fn counting_keeps_the_expiry() {
        let mut client = Client::new();
        client.run("set n 1 px 100");
        client.check("incr n", ":2\r\n");
        client.check("incrbyfloat n 1", "$1\r\n3\r\n");
        client.check("append n 0", ":2\r\n");
        client.now += 200;
        client.check("incr n", ":1\r\n");
    }
}

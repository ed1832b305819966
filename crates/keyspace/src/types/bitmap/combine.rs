//! BITOP: strings combined bit by bit. Short ones count as followed by zeros.

use wire::{Args, Reply};

use crate::context::{Context, notify};
use crate::reject::Reject;
use crate::str::Buffer;
use crate::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    And,
    Or,
    Xor,
    Not,
}

impl Op {
    fn parse(args: Args<'_>) -> Result<Op, Reject> {
        let words = [("and", Op::And), ("or", Op::Or), ("xor", Op::Xor), ("not", Op::Not)];
        let named = words.into_iter().find(|(word, _)| args.is(1, word));
        let (_, op) = named.ok_or(Reject::Syntax)?;
        if op == Op::Not && args.len() != 4 {
            return Err(Reject::text("ERR BITOP NOT must be called with a single source key."));
        }
        Ok(op)
    }

    /// Takes one more source into the result, which is as long as the longest.
    fn take(self, result: &mut [u8], source: &[u8]) {
        let (covered, rest) = result.split_at_mut(source.len());
        let pairs = covered.iter_mut().zip(source);
        match self {
            Op::And => {
                pairs.for_each(|(byte, other)| *byte &= other);
                rest.fill(0);
            }
            Op::Or => pairs.for_each(|(byte, other)| *byte |= other),
            Op::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
            Op::Not => unreachable!("NOT has a single source"),
        }
    }
}

pub(super) fn bit_op(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let op = Op::parse(args)?;
    let target = args.at(2);
    let mut len = 0;
    for key in args.from(3).iter() {
        let mut digits = itoa::Buffer::new();
        if let Some(value) = cx.get(key) {
            len = len.max(value.text(&mut digits)?.len());
        }
    }
    if len > 0 {
        let result = combine(cx, op, args.from(3), len)?;
        cx.insert(target, Value::Buffer(Box::new(Buffer::from(result))));
        cx.notify(notify::STRING, "set", target);
    } else if cx.remove(target).is_some() {
        cx.notify(notify::GENERIC, "del", target);
    }
    reply.count(len);
    Ok(())
}

fn combine(cx: &mut Context<'_>, op: Op, keys: Args<'_>, len: usize) -> Result<Vec<u8>, Reject> {
    let mut result = vec![0; len];
    for (n, key) in keys.iter().enumerate() {
        let mut digits = itoa::Buffer::new();
        let source = cx.get(key).map(|value| value.text(&mut digits)).transpose()?;
        let source = source.unwrap_or_default();
        if n == 0 {
            result[..source.len()].copy_from_slice(source);
        } else {
            op.take(&mut result, source);
        }
    }
    if op == Op::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    #[test]
    fn strings_are_combined_and_short_ones_padded() {
        let mut client = Client::new();
        client.run("mset a \"\\xaa\\x0f\\xff\" b \"\\xcc\\xff\"");
        client.check_all(&[
            ("bitop and t a b", ":3\r\n"),
            ("get t", "$3\r\n\\x88\u{f}\\x00\r\n"),
            ("bitop OR t a b none", ":3\r\n"),
            ("get t", "$3\r\n\\xee\\xff\\xff\r\n"),
            ("bitop xor t b a", ":3\r\n"),
            ("get t", "$3\r\nf\\xf0\\xff\r\n"),
            ("bitop not a a", ":3\r\n"),
            ("get a", "$3\r\nU\\xf0\\x00\r\n"),
            ("bitop and t none a", ":3\r\n"),
            ("get t", "$3\r\n\\x00\\x00\\x00\r\n"),
            ("bitop or t none", ":0\r\n"),
            ("get t", "$-1\r\n"),
            ("bitop not t a b", "-ERR BITOP NOT must be called with a single source key.\r\n"),
            ("bitop nand t a b", "-ERR syntax error\r\n"),
            ("bitop and t", "-ERR wrong number of arguments for 'bitop' command\r\n"),
        ]);
    }
}

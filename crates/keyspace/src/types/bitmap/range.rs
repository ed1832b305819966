//! Counting and searching bits within a range: BITCOUNT and BITPOS.

use std::ops::Range;

use wire::{Args, Reply};

use crate::context::Context;
use crate::number::{integer, parse_i64};
use crate::reject::Reject;

/// What a range counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

fn unit(args: Args<'_>, at: usize) -> Result<Unit, Reject> {
    if args.len() <= at || args.is(at, "byte") {
        Ok(Unit::Byte)
    } else if args.is(at, "bit") {
        Ok(Unit::Bit)
    } else {
        Err(Reject::Syntax)
    }
}

/// The bits from `start` to `end`, both counted; negative ones count from the end of the string.
/// Empty if there are none.
fn bits(len: usize, start: i64, end: i64, unit: Unit) -> Range<u64> {
    let scale = if unit == Unit::Byte { 8 } else { 1 };
    let total = len as i64 * 8 / scale;
    let from_end = |at: i64| if at < 0 { at.saturating_add(total).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(total - 1));
    if start > end { 0..0 } else { (start * scale) as u64..((end + 1) * scale) as u64 }
}

pub(super) fn bit_count(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let mut digits = itoa::Buffer::new();
    let Some(value) = cx.get(&args[1]) else {
        reply.int(0);
        return Ok(());
    };
    let text = value.text(&mut digits)?;
    let range = match args.len() {
        2 => 0..text.len() as u64 * 8,
        4 | 5 => {
            let (start, end) = (integer(&args[2])?, integer(&args[3])?);
            if start < 0 && end < 0 && start > end {
                0..0
            } else {
                bits(text.len(), start, end, unit(args, 4)?)
            }
        }
        _ => return Err(Reject::Syntax),
    };
    reply.int(count(text, range) as i64);
    Ok(())
}

fn count(bytes: &[u8], range: Range<u64>) -> u64 {
    if range.is_empty() {
        return 0;
    }
    let (first, last) = ((range.start >> 3) as usize, ((range.end - 1) >> 3) as usize);
    let before = (bytes[first] & !after_mask(range.start)).count_ones();
    let behind = (bytes[last] & behind_mask(range.end)).count_ones();
    count_ones(&bytes[first..=last]) - u64::from(before) - u64::from(behind)
}

/// The bits of its byte from this one on.
fn after_mask(bit: u64) -> u8 {
    0xff >> (bit & 7)
}

/// The bits behind the range that ends before `end`, in the byte of its last bit.
fn behind_mask(end: u64) -> u8 {
    0x7f >> ((end - 1) & 7)
}

fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: u64 =
        words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

pub(super) fn bit_pos(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let wanted = match parse_i64(&args[2]).ok_or(Reject::NotInteger)? {
        0 => false,
        1 => true,
        _ => return Err(Reject::text("ERR The bit argument must be 1 or 0.")),
    };
    let mut digits = itoa::Buffer::new();
    let Some(value) = cx.get(&args[1]) else {
        reply.int(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let text = value.text(&mut digits)?;
    let range = match args.len() {
        3 => 0..text.len() as u64 * 8,
        4..=6 => {
            let start = integer(&args[3])?;
            let unit = unit(args, 5)?;
            let end = args.get(4).map(integer).transpose()?;
            bits(text.len(), start, end.unwrap_or(-1), unit)
        }
        _ => return Err(Reject::Syntax),
    };
    // Behind the end of a string all bits are clear, unless the end was named.
    let behind = !wanted && args.len() <= 4 && !range.is_empty();
    let end = range.end as i64;
    let found = position(text, range, wanted).map(|at| at as i64);
    reply.int(found.unwrap_or(if behind { end } else { -1 }));
    Ok(())
}

/// The first bit of the range that is as wanted.
fn position(bytes: &[u8], range: Range<u64>, wanted: bool) -> Option<u64> {
    if range.is_empty() {
        return None;
    }
    // Turned so that a set bit is wanted.
    let flip = if wanted { 0 } else { 0xff };
    let (first, last) = ((range.start >> 3) as usize, ((range.end - 1) >> 3) as usize);
    let head = (bytes[first] ^ flip) & after_mask(range.start);
    let at = if head != 0 {
        first as u64 * 8 + u64::from(head.leading_zeros())
    } else {
        let skipped = first + 1;
        let byte = skipped + first_other(&bytes[skipped..=last.max(first)], flip)?;
        byte as u64 * 8 + u64::from((bytes[byte] ^ flip).leading_zeros())
    };
    (at < range.end).then_some(at)
}

/// The first byte that is not `same`, eight at a time.
fn first_other(bytes: &[u8], same: u8) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    let skipped = words.iter().take_while(|word| **word == [same; 8]).count() * 8;
    bytes[skipped..].iter().position(|byte| *byte != same).map(|at| skipped + at)
}

#[cfg(test)]
mod tests {
    use super::{Unit, bits, count, position};
    use crate::testing::Client;

    #[test]
    fn ranges_agree_with_a_walk_bit_by_bit() {
        let mut rng = stdx::Rng::new(7);
        for _ in 0..2_000 {
            let len = rng.below(40) as usize;
            let fill = [0x00, 0xff, rng.next() as u8][rng.below(3) as usize];
            let mut bytes = vec![fill; len];
            for _ in 0..rng.below(3) {
                if let Some(byte) = bytes.get_mut(rng.below(41) as usize) {
                    *byte = rng.next() as u8;
                }
            }
            let mut bound = || rng.below(len as u64 * 20 + 2) as i64 - len as i64 * 10;
            let range = bits(len, bound(), bound(), Unit::Bit);
            let bit = |at: u64| bytes[(at >> 3) as usize] & (0x80 >> (at & 7)) != 0;
            let expect = range.clone().filter(|at| bit(*at)).count() as u64;
            assert_eq!(count(&bytes, range.clone()), expect, "{bytes:?} {range:?}");
            for wanted in [false, true] {
                let expect = range.clone().find(|at| bit(*at) == wanted);
                assert_eq!(position(&bytes, range.clone(), wanted), expect, "{bytes:?} {range:?}");
            }
        }
    }

    #[test]
    fn bits_are_counted() {
        let syntax = "-ERR syntax error\r\n";
        let mut client = Client::new();
        client.run("set k foobar");
        client.check_all(&[
            ("bitcount k", ":26\r\n"),
            ("bitcount none", ":0\r\n"),
            ("bitcount none x y z", ":0\r\n"),
            ("bitcount k 0 0", ":4\r\n"),
            ("bitcount k 1 1 byte", ":6\r\n"),
            ("bitcount k 5 30 BIT", ":17\r\n"),
            ("bitcount k 0 -1", ":26\r\n"),
            ("bitcount k -2 -1", ":7\r\n"),
            ("bitcount k -1 -2 nosuch", ":0\r\n"),
            ("bitcount k 0 -5 bit", ":25\r\n"),
            ("bitcount k 1000 10", ":0\r\n"),
            ("bitcount k 0", syntax),
            ("bitcount k 0 1 nosuch", syntax),
            ("bitcount k 0 1 bit more", syntax),
            ("bitcount k x 1", "-ERR value is not an integer or out of range\r\n"),
        ]);
    }

    #[test]
    fn the_first_bit_is_found() {
        Client::new().check_all(&[
            ("bitpos none 0", ":0\r\n"),
            ("bitpos none 1", ":-1\r\n"),
            ("bitpos none 2", "-ERR The bit argument must be 1 or 0.\r\n"),
            ("bitpos none x", "-ERR value is not an integer or out of range\r\n"),
            ("set k \"\\xff\\xf0\\x00\"", "+OK\r\n"),
            ("bitpos k 0", ":12\r\n"),
            ("bitpos k 1 2", ":-1\r\n"),
            ("bitpos k 0 0 0", ":-1\r\n"),
            ("bitpos k 1 1", ":8\r\n"),
            ("bitpos k 0 0 11 bit", ":-1\r\n"),
            ("bitpos k 0 0 12 bit", ":12\r\n"),
            ("bitpos k 1 -24 -1 bit", ":0\r\n"),
            ("bitpos k 1 5 3", ":-1\r\n"),
            ("bitpos k 0 0 1 nosuch", "-ERR syntax error\r\n"),
            ("bitpos k 0 0 1 bit more", "-ERR syntax error\r\n"),
            ("set k \"\\xff\\xff\"", "+OK\r\n"),
            ("bitpos k 0", ":16\r\n"),
            ("bitpos k 0 1", ":16\r\n"),
            ("bitpos k 0 0 -1", ":-1\r\n"),
            ("bitpos k 0 7", ":-1\r\n"),
            ("set k \"\"", "+OK\r\n"),
            ("bitpos k 0", ":-1\r\n"),
            ("bitpos k 1", ":-1\r\n"),
        ]);
    }
}

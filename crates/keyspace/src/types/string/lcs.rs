//! LCS: the longest subsequence that two strings have in common.
//!
//! The textbook table: a cell for each pair of prefixes holds the length of their longest common
//! subsequence, and a walk from the last cell back to the first finds one of that length. Which of
//! several is found, and how it falls into ranges, is as Redis walks: where both ways are equal,
//! it drops the last byte of the second string.

use wire::{Args, Reply};

use crate::context::Context;
use crate::number::integer;
use crate::reject::Reject;
use crate::value::Value;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    len: bool,
    ranges: bool,
    with_match_len: bool,
    match_len_min: u64,
}

pub(super) fn lcs(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let a = operand(cx, &args[1])?;
    let b = operand(cx, &args[2])?;
    let options = parse(args.from(3))?;
    let cells_max = cx.settings().proto_max_bulk_len as usize / size_of::<u32>();
    let table = Table::build(&a, &b, cells_max)?;
    let len = table.at(a.len(), b.len());
    if options.ranges {
        reply.map(2);
        reply.bulk(b"matches");
        reply_ranges(&table, &a, &b, options, reply);
        reply.bulk(b"len");
        reply.int(i64::from(len));
    } else if options.len {
        reply.int(i64::from(len));
    } else {
        let mut common: Vec<u8> = table.walk(&a, &b).map(|(i, _)| a[i]).collect();
        common.reverse();
        reply.bulk(&common);
    }
    Ok(())
}

fn operand(cx: &mut Context<'_>, key: &[u8]) -> Result<Vec<u8>, Reject> {
    let mut digits = itoa::Buffer::new();
    let text = cx.get(key).map(|value: &Value| value.text(&mut digits)).transpose();
    let other = |_| Reject::text("ERR The specified keys must contain string values");
    Ok(text.map_err(other)?.unwrap_or_default().to_vec())
}

fn parse(args: Args<'_>) -> Result<Options, Reject> {
    let mut options = Options::default();
    let mut at = 0;
    while at < args.len() {
        if args.is(at, "idx") {
            options.ranges = true;
        } else if args.is(at, "len") {
            options.len = true;
        } else if args.is(at, "withmatchlen") {
            options.with_match_len = true;
        } else if args.is(at, "minmatchlen") && at + 1 < args.len() {
            at += 1;
            options.match_len_min = u64::try_from(integer(&args[at])?).unwrap_or(0);
        } else {
            return Err(Reject::Syntax);
        }
        at += 1;
    }
    if options.len && options.ranges {
        let text = "ERR If you want both the length and indexes, please just use IDX.";
        return Err(Reject::text(text));
    }
    Ok(options)
}

/// The lengths of the longest common subsequences of all pairs of prefixes.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn build(a: &[u8], b: &[u8], cells_max: usize) -> Result<Table, Reject> {
        let width = b.len() + 1;
        let count = width.saturating_mul(a.len() + 1);
        if count > cells_max {
            let text =
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
            return Err(Reject::text(text));
        }
        let mut cells = vec![0; count];
        for (i, byte) in a.iter().enumerate() {
            let (above, row) = cells[i * width..(i + 2) * width].split_at_mut(width);
            fill_row(above, row, *byte, b);
        }
        Ok(Table { cells, width })
    }

    /// The length for the first `i` bytes of one and the first `j` of the other.
    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    /// The places of the common bytes in both strings, the last pair first.
    fn walk<'a>(&'a self, a: &'a [u8], b: &'a [u8]) -> impl Iterator<Item = (usize, usize)> + 'a {
        let (mut i, mut j) = (a.len(), b.len());
        std::iter::from_fn(move || {
            while i > 0 && j > 0 {
                if a[i - 1] == b[j - 1] {
                    (i, j) = (i - 1, j - 1);
                    return Some((i, j));
                }
                if self.at(i - 1, j) > self.at(i, j - 1) {
                    i -= 1;
                } else {
                    j -= 1;
                }
            }
            None
        })
    }
}

fn fill_row(above: &[u32], row: &mut [u32], byte: u8, b: &[u8]) {
    for (j, other) in b.iter().enumerate() {
        row[j + 1] = if byte == *other { above[j] + 1 } else { above[j + 1].max(row[j]) };
    }
}

/// Writes the runs of common bytes that are adjacent in both strings, the last run first.
fn reply_ranges(table: &Table, a: &[u8], b: &[u8], options: Options, reply: &mut Reply<'_>) {
    let place = reply.defer();
    let mut count = 0;
    let mut write = |(i, j): (usize, usize), len: usize| {
        if (len as u64) < options.match_len_min {
            return;
        }
        count += 1;
        reply.array(2 + usize::from(options.with_match_len));
        for start in [i, j] {
            reply.array(2);
            reply.count(start);
            reply.count(start + len - 1);
        }
        if options.with_match_len {
            reply.count(len);
        }
    };
    let mut run: Option<((usize, usize), usize)> = None;
    for (i, j) in table.walk(a, b) {
        run = match run {
            Some((start, len)) if start == (i + 1, j + 1) => Some(((i, j), len + 1)),
            other => {
                if let Some((start, len)) = other {
                    write(start, len);
                }
                Some(((i, j), 1))
            }
        };
    }
    if let Some((start, len)) = run {
        write(start, len);
    }
    reply.fill_array(place, count);
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    #[test]
    fn the_longest_common_subsequence_is_found_in_each_form() {
        let mut client = Client::new();
        client.run("mset a ohmytext b mynewtext");
        client.check_all(&[
            ("lcs a b", "$6\r\nmytext\r\n"),
            ("lcs a b len", ":6\r\n"),
            ("lcs a none", "$0\r\n\r\n"),
            ("lcs a none len", ":0\r\n"),
            ("lcs none none idx", "*4\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n"),
            ("lcs a b nosuch", "-ERR syntax error\r\n"),
            ("lcs a b minmatchlen", "-ERR syntax error\r\n"),
            ("lcs a b minmatchlen x", "-ERR value is not an integer or out of range\r\n"),
            (
                "lcs a b idx len",
                "-ERR If you want both the length and indexes, please just use IDX.\r\n",
            ),
            (
                "lcs a b idx",
                "*4\r\n$7\r\nmatches\r\n*2\r\n*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n\
                 *2\r\n*2\r\n:2\r\n:3\r\n*2\r\n:0\r\n:1\r\n$3\r\nlen\r\n:6\r\n",
            ),
            (
                "lcs a b idx minmatchlen 4 withmatchlen",
                "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n\
                 $3\r\nlen\r\n:6\r\n",
            ),
        ]);
    }

    #[test]
    fn a_table_over_the_limit_is_refused() {
        let mut client = Client::new();
        client.run("mset a ohmytext b mynewtext");
        client.shard.settings.proto_max_bulk_len = 359;
        let text = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        client.check("lcs a b", &format!("-{text}\r\n"));
        client.shard.settings.proto_max_bulk_len = 360;
        client.check("lcs a b", "$6\r\nmytext\r\n");
    }
}

//! Calls that say how many keys they name: `numkeys key [key …]`, and what LMPOP and ZMPOP have
//! behind that.

use wire::Args;

use crate::number::at_least;
use crate::reject::Reject;

/// The places of the keys behind their number, which stands at `at`; none if it does not fit.
pub(super) fn numbered_keys(args: Args<'_>, at: usize) -> Vec<usize> {
    let count = args.get(at).and_then(crate::number::parse_i64).unwrap_or(0);
    let first = at + 1;
    match usize::try_from(count) {
        Ok(count) if count <= args.len().saturating_sub(first) => (first..first + count).collect(),
        _ => Vec::new(),
    }
}

/// `numkeys key [key …] END [COUNT count]`: takes up to `count` from an end of the first key that
/// has something.
#[derive(Clone, Copy, Debug)]
pub(super) struct ManyPop<'a, End> {
    keys: Args<'a>,
    pub(super) end: End,
    pub(super) count: usize,
}

impl<'a, End> ManyPop<'a, End> {
    /// Reads it from the number of keys at `at` on; `end` knows the words for the ends.
    pub(super) fn parse(
        args: Args<'a>,
        at: usize,
        end: impl FnOnce(&[u8]) -> Result<End, Reject>,
    ) -> Result<ManyPop<'a, End>, Reject> {
        let numkeys = at_least(args.at(at), 1, "ERR numkeys should be greater than 0")?;
        let end_at = numkeys.saturating_add(at + 1);
        let end = end(args.get(end_at).ok_or(Reject::Syntax)?)?;
        let options = args.from(end_at + 1);
        let count = match options.get(1) {
            None if options.is_empty() => 1,
            Some(count) if options.is(0, "count") => {
                at_least(count, 1, "ERR count should be greater than 0")?
            }
            _ => return Err(Reject::Syntax),
        };
        if options.len() > 2 {
            return Err(Reject::Syntax);
        }
        Ok(ManyPop { keys: args.range(at + 1, end_at), end, count })
    }

    /// The keys, in their order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a, End> {
        self.keys.iter()
    }
}

#[cfg(test)]
mod tests {
    use wire::ArgsBuf;

    use super::*;

    fn parsed(line: &str) -> Result<(Vec<String>, bool, usize), Reject> {
        let args: ArgsBuf = line.split(' ').map(str::as_bytes).collect();
        let end = |word: &[u8]| match word {
            b"up" => Ok(true),
            b"down" => Ok(false),
            _ => Err(Reject::Syntax),
        };
        let many = ManyPop::parse(args.args(), 1, end)?;
        let keys = many.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        Ok((keys, many.end, many.count))
    }

    #[test]
    fn the_number_says_where_the_keys_end() {
        let keys = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(parsed("pop 1 a up"), Ok((keys(&["a"]), true, 1)));
        assert_eq!(parsed("pop 2 a up down COUNT 7"), Ok((keys(&["a", "up"]), false, 7)));
        for line in [
            "pop 1 a",
            "pop 2 a up",
            "pop 1 a sideways",
            "pop 1 a up count",
            "pop 1 a up limit 1",
            "pop 1 a up count 1 count 2",
            "pop 9223372036854775807 a up",
        ] {
            assert_eq!(parsed(line), Err(Reject::Syntax), "{line}");
        }
        let numkeys = Reject::text("ERR numkeys should be greater than 0");
        assert_eq!(parsed("pop 0 a up"), Err(numkeys.clone()));
        assert_eq!(parsed("pop a a up"), Err(numkeys));
        let count = Reject::text("ERR count should be greater than 0");
        assert_eq!(parsed("pop 1 a up count 0 and more"), Err(count));
    }
}

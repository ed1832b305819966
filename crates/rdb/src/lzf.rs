//! LibLZF's compression, as it is read: runs of literal bytes and references to what was read.
//!
//! ```text
//! 000LLLLL                    L+1 literal bytes follow
//! LLLooooo oooooooo           L+2 bytes from o+1 back, for L from 1 to 6
//! 111ooooo LLLLLLLL oooooooo  L+9 bytes from o+1 back
//! ```
//!
//! Source: `lzf_d.c`.

use crate::limits::LZF_RATIO_MAX;

/// Appends the `len` bytes that `packed` stands for.
pub(crate) fn unpack(packed: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
    const SHORT: &str = "a compressed string is cut off";
    let start = out.len();
    out.reserve(len.min(packed.len().saturating_mul(LZF_RATIO_MAX)));
    let mut rest = packed;
    while let Some((&control, tail)) = rest.split_first() {
        rest = tail;
        if control < 32 {
            let (run, tail) = rest.split_at_checked(usize::from(control) + 1).ok_or(SHORT)?;
            out.extend_from_slice(run);
            rest = tail;
        } else {
            let mut count = usize::from(control >> 5) + 2;
            if count == 9 {
                let (&more, tail) = rest.split_first().ok_or(SHORT)?;
                count += usize::from(more);
                rest = tail;
            }
            let (&low, tail) = rest.split_first().ok_or(SHORT)?;
            rest = tail;
            let back = usize::from(control & 31) << 8 | usize::from(low);
            let from = out.len().checked_sub(back + 1).filter(|from| *from >= start);
            let from = from.ok_or("a compressed string refers to what is before it")?;
            copy(out, from, count);
        }
        if out.len() - start > len {
            return Err("a compressed string is longer than it said");
        }
    }
    match out.len() - start == len {
        true => Ok(()),
        false => Err("a compressed string is shorter than it said"),
    }
}

/// Appends `count` bytes from `from` on, some of which may only come to be by copying.
fn copy(out: &mut Vec<u8>, from: usize, count: usize) {
    let distance = out.len() - from;
    let mut missing = count;
    while missing > 0 {
        let part = missing.min(distance);
        out.extend_from_within(from..from + part);
        missing -= part;
    }
}

#[cfg(test)]
mod tests {
    use super::unpack;

    fn unpacked(packed: &[u8], len: usize) -> Result<Vec<u8>, &'static str> {
        let mut out = b"before".to_vec();
        unpack(packed, len, &mut out).map(|()| out.split_off(6))
    }

    #[test]
    fn runs_and_references_are_followed() {
        assert_eq!(unpacked(b"\x02abc", 3).unwrap(), b"abc");
        // Six bytes from three back: half of them are copies of copies.
        assert_eq!(unpacked(b"\x02abc\x80\x02", 9).unwrap(), b"abcabcabc");
        assert_eq!(unpacked(b"\x00a\xe0\x03\x00", 13).unwrap(), vec![b'a'; 13]);
        assert_eq!(unpacked(b"", 0).unwrap(), b"");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (packed, len) in [
            (&b"\x02ab"[..], 3),
            (b"\x02abc", 2),
            (b"\x02abc", 4),
            (b"\x02abc\x80", 9),
            (b"\x02abc\xe0\x01", 9),
            (b"\x02abc\x80\x03", 9),
            (b"\x20\x00", 3),
        ] {
            assert!(unpacked(packed, len).is_err(), "{packed:?}");
        }
        assert!(unpacked(b"\x00a", usize::MAX).is_err(), "and nothing huge is reserved for it");
    }
}

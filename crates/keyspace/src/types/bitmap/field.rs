//! BITFIELD: integers of 1 to 64 bits anywhere in a string, the highest bit first.
//!
//! A call is read as a whole before anything happens; then its operations run in order. What does
//! not fit an integer wraps around, stays at the nearest bound, or fails, as the last OVERFLOW
//! before the operation says.

use wire::{Args, Reply};

use super::bit::{Changed, Grew, offset_of_field, with_bits};
use crate::context::{Context, notify};
use crate::number::{integer, parse_i64};
use crate::reject::Reject;
use crate::str::Buffer;

/// What becomes of a number that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// The width of an integer, and whether it has a sign. Unsigned ones have 63 bits at most.
#[derive(Clone, Copy, Debug)]
struct Type {
    signed: bool,
    width: u32,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

#[derive(Clone, Copy, Debug)]
struct Op {
    kind: Type,
    offset: u64,
    action: Action,
    overflow: Overflow,
}

impl Op {
    fn last_bit(&self) -> u64 {
        self.offset + u64::from(self.kind.width) - 1
    }

    fn writes(&self) -> bool {
        !matches!(self.action, Action::Get)
    }
}

pub(super) fn bit_field(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let ops = parse(cx, args)?;
    let Some(last_bit) = ops.iter().filter(|op| op.writes()).map(Op::last_bit).max() else {
        return read(cx, args, &ops, reply);
    };
    let (_, changed) = with_bits(cx, &args[1], last_bit, |bits, grew| {
        reply.array(ops.len());
        let mut changed = false;
        for op in &ops {
            changed |= run(op, bits, grew, reply);
        }
        ((), Changed(changed))
    })?;
    if changed.0 {
        cx.notify(notify::STRING, "setbit", &args[1]);
    }
    Ok(())
}

pub(super) fn bit_field_ro(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let ops = parse(cx, args)?;
    if ops.iter().any(Op::writes) {
        return Err(Reject::text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read(cx, args, &ops, reply)
}

fn read(
    cx: &mut Context<'_>,
    args: Args<'_>,
    ops: &[Op],
    reply: &mut Reply<'_>,
) -> Result<(), Reject> {
    let mut digits = itoa::Buffer::new();
    let text = cx.get(&args[1]).map(|value| value.text(&mut digits)).transpose()?;
    reply.array(ops.len());
    for op in ops {
        reply.int(op.kind.load(text.unwrap_or_default(), op.offset));
    }
    Ok(())
}

/// Runs one operation and says whether it changed something.
fn run(op: &Op, bits: &mut Buffer, grew: Grew, reply: &mut Reply<'_>) -> bool {
    let old = op.kind.load(bits, op.offset);
    let exact = match op.action {
        Action::Get => {
            reply.int(old);
            return false;
        }
        Action::Set(value) => op.kind.exact_set(value),
        Action::Add(more) => i128::from(old) + i128::from(more),
    };
    let Some(new) = op.kind.fit(exact, op.overflow) else {
        reply.null();
        return false;
    };
    op.kind.store(bits, op.offset, new);
    reply.int(if matches!(op.action, Action::Set(_)) { old } else { new });
    grew.0 || old != new
}

fn parse(cx: &Context<'_>, args: Args<'_>) -> Result<Vec<Op>, Reject> {
    let (mut ops, mut overflow, mut at) = (Vec::new(), Overflow::Wrap, 2);
    while at < args.len() {
        let more = args.len() - at - 1;
        let word = |word: &str, needs: usize| args.is(at, word) && more >= needs;
        if word("overflow", 1) {
            overflow = parse_overflow(args, at + 1)?;
            at += 2;
            continue;
        }
        let (get, set) = (word("get", 2), word("set", 3));
        if !get && !set && !word("incrby", 3) {
            return Err(Reject::Syntax);
        }
        let kind = parse_type(&args[at + 1])?;
        let offset = offset_of_field(cx, &args[at + 2], kind.width)?;
        let action = if get {
            Action::Get
        } else {
            let value = integer(&args[at + 3])?;
            if set { Action::Set(value) } else { Action::Add(value) }
        };
        ops.push(Op { kind, offset, action, overflow });
        at += if get { 3 } else { 4 };
    }
    Ok(ops)
}

fn parse_overflow(args: Args<'_>, at: usize) -> Result<Overflow, Reject> {
    let words = [("wrap", Overflow::Wrap), ("sat", Overflow::Saturate), ("fail", Overflow::Fail)];
    let named = words.into_iter().find(|(word, _)| args.is(at, word));
    let unknown = Reject::text("ERR Invalid OVERFLOW type specified");
    named.map(|(_, overflow)| overflow).ok_or(unknown)
}

fn parse_type(text: &[u8]) -> Result<Type, Reject> {
    let (signed, width_max) = match text.first() {
        Some(b'i') => (true, 64),
        Some(b'u') => (false, 63),
        _ => (false, 0),
    };
    let width = text.get(1..).and_then(parse_i64).filter(|width| (1..=width_max).contains(width));
    let invalid = Reject::text(
        "ERR Invalid bitfield type. Use something like i16 u8. \
         Note that u64 is not supported but i64 is.",
    );
    width.map(|width| Type { signed, width: width as u32 }).ok_or(invalid)
}

impl Type {
    fn min(self) -> i128 {
        if self.signed { -(1 << (self.width - 1)) } else { 0 }
    }

    fn max(self) -> i128 {
        (1 << (self.width - u32::from(self.signed))) - 1
    }

    /// What SET means by a number. A negative one for an unsigned integer is as large as can be; so
    /// is one so low that its distance from the largest overflows 64 bits in Redis's check.
    fn exact_set(self, value: i64) -> i128 {
        let exact = i128::from(value);
        let too_far = self.width < 64 && self.max() - exact > i128::from(i64::MAX);
        if !self.signed && value < 0 || self.signed && too_far { exact + (1 << 64) } else { exact }
    }

    /// The number that is kept; nothing if it does not fit and must.
    fn fit(self, exact: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = (self.min(), self.max());
        if (min..=max).contains(&exact) {
            return Some(exact as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.wrap(exact as u64)),
            Overflow::Saturate => Some(exact.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }

    /// The lowest bits, as an integer of this type.
    fn wrap(self, bits: u64) -> i64 {
        let unused = 64 - self.width;
        let high = bits << unused;
        if self.signed { (high as i64) >> unused } else { (high >> unused) as i64 }
    }

    /// The integer at an offset; the bits behind the end of the string are clear.
    fn load(self, bytes: &[u8], offset: u64) -> i64 {
        let at = (offset >> 3) as usize;
        let mut window = [0; 16];
        let there = bytes.get(at..).unwrap_or_default();
        let there = &there[..there.len().min(9)];
        window[..there.len()].copy_from_slice(there);
        let behind = 128 - (offset & 7) as u32 - self.width;
        self.wrap((u128::from_be_bytes(window) >> behind) as u64)
    }

    /// Writes an integer at an offset, where the string is long enough.
    fn store(self, bytes: &mut [u8], offset: u64, value: i64) {
        let at = (offset >> 3) as usize;
        let last = ((offset + u64::from(self.width) - 1) >> 3) as usize;
        let there = &mut bytes[at..=last];
        let mut window = [0; 16];
        window[..there.len()].copy_from_slice(there);
        let behind = 128 - (offset & 7) as u32 - self.width;
        let mask = ((1u128 << self.width) - 1) << behind;
        let old = u128::from_be_bytes(window) & !mask;
        let new = (value as u128) << behind & mask;
        there.copy_from_slice(&(old | new).to_be_bytes()[..there.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::{Overflow, Type};
    use crate::testing::Client;

    #[test]
    fn integers_of_every_width_come_back_from_every_offset_and_harm_no_neighbour() {
        let mut rng = stdx::Rng::new(3);
        for width in 1..=64 {
            for offset in 0..16 {
                let kind = Type { signed: width == 64 || rng.one_in(2), width };
                let fill = if rng.one_in(2) { 0 } else { 0xff };
                let mut bytes = [fill; 12];
                let value = kind.wrap(rng.next());
                kind.store(&mut bytes, offset, value);
                assert_eq!(kind.load(&bytes, offset), value, "{kind:?} at {offset}");
                kind.store(&mut bytes, offset, kind.wrap(if fill == 0 { 0 } else { u64::MAX }));
                assert_eq!(bytes, [fill; 12], "{kind:?} at {offset}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_wraps_saturates_or_fails() {
        let cases = [
            (false, 8, 256, Some(0), Some(255), None),
            (false, 8, -1, Some(255), Some(0), None),
            (true, 8, 128, Some(-128), Some(127), None),
            (true, 8, -129, Some(127), Some(-128), None),
            (true, 8, -128, Some(-128), Some(-128), Some(-128)),
            (true, 64, i128::from(i64::MAX) + 1, Some(i64::MIN), Some(i64::MAX), None),
            (false, 63, 1 << 63, Some(0), Some(i64::MAX), None),
            (true, 1, 1, Some(-1), Some(0), None),
        ];
        for (signed, width, exact, wrap, saturate, fail) in cases {
            let kind = Type { signed, width };
            assert_eq!(kind.fit(exact, Overflow::Wrap), wrap, "{kind:?} {exact}");
            assert_eq!(kind.fit(exact, Overflow::Saturate), saturate, "{kind:?} {exact}");
            assert_eq!(kind.fit(exact, Overflow::Fail), fail, "{kind:?} {exact}");
        }
    }

    #[test]
    fn operations_run_in_order() {
        Client::new().check_all(&[
            ("bitfield k", "*0\r\n"),
            ("get k", "$-1\r\n"),
            ("bitfield k get u8 0 get i64 100", "*2\r\n:0\r\n:0\r\n"),
            ("get k", "$-1\r\n"),
            ("bitfield k set u8 0 255 get i8 0 incrby u4 #1 1", "*3\r\n:0\r\n:-1\r\n:0\r\n"),
            ("get k", "$1\r\n\\xf0\r\n"),
            ("bitfield k set i8 0 -100 get u8 0", "*2\r\n:-16\r\n:156\r\n"),
            ("bitfield k overflow sat incrby u8 0 500", "*1\r\n:255\r\n"),
            ("bitfield k overflow fail incrby u8 0 1 get u8 0", "*2\r\n$-1\r\n:255\r\n"),
            ("bitfield k overflow sat set u8 0 -1", "*1\r\n:255\r\n"),
            ("bitfield_ro k get u8 0 overflow wrap", "*1\r\n:255\r\n"),
            ("bitfield k overflow sat set i8 0 -9223372036854775680", "*1\r\n:-1\r\n"),
            ("bitfield k get i8 0", "*1\r\n:-128\r\n"),
            ("bitfield k overflow sat set i8 0 -9223372036854775681", "*1\r\n:-128\r\n"),
            ("bitfield k get i8 0", "*1\r\n:127\r\n"),
            ("bitfield n set u8 #2 7", "*1\r\n:0\r\n"),
            ("strlen n", ":3\r\n"),
            ("set d 1", "+OK\r\n"),
            ("bitfield d get u8 0 get u8 4", "*2\r\n:49\r\n:16\r\n"),
        ]);
    }

    #[test]
    fn what_is_not_of_the_grammar_is_refused() {
        let kind = "-ERR Invalid bitfield type. Use something like i16 u8. \
                    Note that u64 is not supported but i64 is.\r\n";
        let syntax = "-ERR syntax error\r\n";
        let offset = "-ERR bit offset is not an integer or out of range\r\n";
        Client::new().check_all(&[
            ("bitfield k get u64 0", kind),
            ("bitfield k get i65 0", kind),
            ("bitfield k get u0 0", kind),
            ("bitfield k get x8 0", kind),
            ("bitfield k get \"\" 0", kind),
            ("bitfield k get u8", syntax),
            ("bitfield k set u8 0", syntax),
            ("bitfield k nosuch", syntax),
            ("bitfield k overflow", syntax),
            ("bitfield k overflow nosuch", "-ERR Invalid OVERFLOW type specified\r\n"),
            ("bitfield k get u8 -1", offset),
            ("bitfield k get u8 #x", offset),
            ("bitfield k get u8 4294967296", offset),
            ("bitfield k set u8 0 x", "-ERR value is not an integer or out of range\r\n"),
            ("bitfield_ro k set u8 0 1", "-ERR BITFIELD_RO only supports the GET subcommand\r\n"),
        ]);
    }
}

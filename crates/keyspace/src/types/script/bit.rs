//! The `bit` library: operations on 32-bit integers.
//! Behaviour: Lua BitOp 1.0.2, as Redis bundles it.

use mlua::{Lua, MultiValue, Table};

use super::arguments::Arguments;

/// The table of the library.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let unary = |name: &str, op: fn(u32) -> u32| {
        let function = move |lua: &Lua, values: MultiValue| {
            Ok(signed(op(bits(Arguments::new(lua, &values), 1)?)))
        };
        table.raw_set(name, lua.create_function(function)?)
    };
    unary("tobit", |bits| bits)?;
    unary("bnot", |bits| !bits)?;
    unary("bswap", u32::swap_bytes)?;
    let fold = |name: &str, op: fn(u32, u32) -> u32| {
        let function = move |lua: &Lua, values: MultiValue| {
            let args = Arguments::new(lua, &values);
            let first = bits(args, 1)?;
            let folded = (2..=args.len()).rev().try_fold(first, |so_far, number| {
                bits(args, number).map(|next| op(so_far, next))
            })?;
            Ok(signed(folded))
        };
        table.raw_set(name, lua.create_function(function)?)
    };
    fold("band", |a, b| a & b)?;
    fold("bor", |a, b| a | b)?;
    fold("bxor", |a, b| a ^ b)?;
    let shift = |name: &str, op: fn(u32, u32) -> u32| {
        let function = move |lua: &Lua, values: MultiValue| {
            let args = Arguments::new(lua, &values);
            Ok(signed(op(bits(args, 1)?, bits(args, 2)? & 31)))
        };
        table.raw_set(name, lua.create_function(function)?)
    };
    shift("lshift", |bits, by| bits << by)?;
    shift("rshift", |bits, by| bits >> by)?;
    shift("arshift", |bits, by| ((bits as i32) >> by) as u32)?;
    shift("rol", u32::rotate_left)?;
    shift("ror", u32::rotate_right)?;
    table.raw_set("tohex", lua.create_function(tohex)?)?;
    Ok(table)
}

fn signed(bits: u32) -> i64 {
    i64::from(bits as i32)
}

/// The low 32 bits of a number, rounded to the nearest integer: adding 2^52 + 2^51 leaves them at
/// the end of the fraction.
fn bits(args: Arguments<'_>, number: usize) -> mlua::Result<u32> {
    const SHIFTER: f64 = 6_755_399_441_055_744.0;
    Ok((args.number(number)? + SHIFTER).to_bits() as u32)
}

fn tohex(lua: &Lua, values: MultiValue) -> mlua::Result<String> {
    let args = Arguments::new(lua, &values);
    let value = bits(args, 1)?;
    let digits = if args.get(2).is_none() { 8 } else { bits(args, 2)? as i32 };
    let count = digits.unsigned_abs().min(8) as usize;
    let text = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    Ok(text[8 - count..].to_owned())
}

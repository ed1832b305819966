//! The `cmsgpack` library: Lua values to MessagePack and back.
//! Behaviour: Salvatore Sanfilippo's lua-cmsgpack 0.4.0, as Redis bundles it.

use mlua::{BString, Lua, MultiValue, Table, Value};

use super::arguments::Arguments;
use super::number::to_i64;
use super::pack::RESULTS_MAX;
use super::raise::{Raise, at_caller};
use crate::limits::JSON_DEPTH_MAX;

/// Tables nested deeper are packed as nil: a circle of references ends there.
const NESTING_MAX: usize = 16;

/// The table of the library.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", lua.create_function(pack)?)?;
    table.raw_set("unpack", lua.create_function(unpack)?)?;
    table.raw_set("unpack_one", lua.create_function(unpack_one)?)?;
    table.raw_set("unpack_limit", lua.create_function(unpack_limit)?)?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(table)
}

fn pack(lua: &Lua, values: MultiValue) -> mlua::Result<BString> {
    if values.is_empty() {
        return Err(Arguments::new(lua, &values).bad(0, "MessagePack pack needs input."));
    }
    let mut out = Vec::new();
    values.iter().try_for_each(|value| put(lua, &mut out, value, 0))?;
    Ok(BString::from(out))
}

fn put(lua: &Lua, out: &mut Vec<u8>, value: &Value, level: usize) -> mlua::Result<()> {
    match value {
        Value::String(text) => put_bytes(out, &text.as_bytes()),
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => put_number(out, *number as f64),
        Value::Number(number) => put_number(out, *number),
        Value::Table(table) if level < NESTING_MAX => return put_table(lua, out, table, level),
        _ => out.push(0xc0),
    }
    Ok(())
}

fn put_table(lua: &Lua, out: &mut Vec<u8>, table: &Table, level: usize) -> mlua::Result<()> {
    let (mut count, mut max, mut is_array) = (0, 0, true);
    let mut by_address = false;
    for pair in table.pairs::<Value, Value>() {
        let (key, _) = pair?;
        match key {
            Value::Integer(index @ 1..=0x7fff_ffff) => max = max.max(index),
            Value::Integer(_) | Value::Number(_) | Value::String(_) | Value::Boolean(_) => {
                is_array = false;
            }
            _ => (is_array, by_address) = (false, true),
        }
        count += 1;
    }
    if is_array && max == count {
        let length = table.raw_len();
        put_head(out, length, [0x90, 0xdc, 0xdd]);
        for index in 1..=length {
            let value: Value = table.get(index)?;
            put(lua, out, &value, level + 1)?;
        }
        return Ok(());
    }
    if by_address && count > 1 {
        let text = "a table with tables or functions as keys has no order that is the same on \
                    every replica";
        return Err(at_caller(lua, text));
    }
    put_head(out, count as usize, [0x80, 0xde, 0xdf]);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        put(lua, out, &key, level + 1)?;
        put(lua, out, &value, level + 1)?;
    }
    Ok(())
}

/// The head of an array or map: a small one's count is in its first byte.
fn put_head(out: &mut Vec<u8>, count: usize, [small, medium, large]: [u8; 3]) {
    match count {
        0..=15 => out.push(small | count as u8),
        16..=0xffff => {
            out.push(medium);
            out.extend_from_slice(&(count as u16).to_be_bytes());
        }
        _ => {
            out.push(large);
            out.extend_from_slice(&(count as u32).to_be_bytes());
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, number: f64) {
    let integer = to_i64(number);
    if integer as f64 == number {
        return put_integer(out, integer);
    }
    let short = number as f32;
    if f64::from(short) == number {
        out.push(0xca);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn put_integer(out: &mut Vec<u8>, number: i64) {
    match number {
        -32..=0x7f => out.push(number as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
        -0x80..=-33 => out.extend_from_slice(&[0xd0, number as u8]),
        0x100..=0xffff | -0x8000..=-0x81 => {
            out.push(if number < 0 { 0xd1 } else { 0xcd });
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff | -0x8000_0000..=-0x8001 => {
            out.push(if number < 0 { 0xd2 } else { 0xce });
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(if number < 0 { 0xd3 } else { 0xcf });
            out.extend_from_slice(&(number as u64).to_be_bytes());
        }
    }
}

fn unpack(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    unpack_some(lua, Arguments::new(lua, &values), 0, 0)
}

fn unpack_one(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let args = Arguments::new(lua, &values);
    let offset = args.integer_or(2, 0)?;
    unpack_some(lua, args, 1, offset)
}

fn unpack_limit(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let args = Arguments::new(lua, &values);
    let (limit, offset) = (args.integer(2)?, args.integer_or(3, 0)?);
    unpack_some(lua, args, limit, offset)
}

/// Unpacks up to `limit` values from `offset` on, the next offset before them (-1 at the end); all
/// values and no offset if both are zero.
fn unpack_some(
    lua: &Lua,
    args: Arguments<'_>,
    limit: i64,
    offset: i64,
) -> mlua::Result<MultiValue> {
    let text = args.string(1)?;
    let text = text.as_bytes();
    if offset < 0 || limit < 0 {
        // The second number is the length of the input in Redis too.
        let (offset, limit) = (offset as i32, text.len() as i32);
        let text =
            format!("Invalid request to unpack with offset of {offset} and limit of {limit}.");
        return Err(at_caller(lua, &text));
    }
    let Some(rest) = usize::try_from(offset).ok().and_then(|offset| text.get(offset..)) else {
        let text = format!("Start offset {offset} greater than input length {}.", text.len());
        return Err(at_caller(lua, &text));
    };
    let all = limit == 0 && offset == 0;
    let limit = if all { i64::from(i32::MAX) } else { limit };
    let mut cursor = Cursor { lua, rest };
    let mut results = Vec::new();
    while !cursor.rest.is_empty() && (results.len() as i64) < limit {
        if results.len() >= RESULTS_MAX {
            return Err(too_many(lua));
        }
        let value = cursor.value(0).map_err(|broken| broken.error(lua))?;
        results.push(value);
    }
    if !all {
        let left = cursor.rest.len();
        let next = if left == 0 { -1 } else { (text.len() - left) as i64 };
        results.insert(0, Value::Integer(next));
    }
    Ok(MultiValue::from_vec(results))
}

fn too_many(lua: &Lua) -> mlua::Error {
    let text = "stack overflow (too many return values at once; use unpack_one or unpack_limit \
                instead.)";
    at_caller(lua, text)
}

/// Why unpacking stopped.
enum Broken {
    Short,
    Format,
    Deep,
    /// A key that no table can have.
    Key(&'static str),
    Lua(mlua::Error),
}

impl Broken {
    fn error(self, lua: &Lua) -> mlua::Error {
        match self {
            Broken::Short => at_caller(lua, "Missing bytes in input."),
            Broken::Format => at_caller(lua, "Bad data format in input."),
            Broken::Deep => too_many(lua),
            Broken::Key(text) => Raise::Text(text.into()).into(),
            Broken::Lua(error) => error,
        }
    }
}

impl From<mlua::Error> for Broken {
    fn from(error: mlua::Error) -> Broken {
        Broken::Lua(error)
    }
}

struct Cursor<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Broken::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        self.take(N)?.try_into().map_err(|_| Broken::Short)
    }

    /// An unsigned number of some bytes, the highest first.
    fn unsigned(&mut self, bytes: usize) -> Result<u64, Broken> {
        Ok(self.take(bytes)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn value(&mut self, depth: i32) -> Result<Value, Broken> {
        let first = self.take(1)?[0];
        Ok(match first {
            0x00..=0x7f | 0xe0..=0xff => Value::Integer(i64::from(first as i8)),
            0x80..=0x8f => self.map(usize::from(first & 15), depth)?,
            0x90..=0x9f => self.list(usize::from(first & 15), depth)?,
            0xa0..=0xbf => self.text(usize::from(first & 31))?,
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Boolean(first == 0xc3),
            0xca => Value::Number(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Value::Number(f64::from_be_bytes(self.array()?)),
            0xcc => Value::Integer(self.unsigned(1)? as i64),
            0xcd => Value::Integer(self.unsigned(2)? as i64),
            0xce => Value::Integer(self.unsigned(4)? as i64),
            // The unsigned ones beyond the signed range come out negative, as in Redis.
            0xcf | 0xd3 => Value::Integer(self.unsigned(8)? as i64),
            0xd0 => Value::Integer(i64::from(self.unsigned(1)? as i8)),
            0xd1 => Value::Integer(i64::from(self.unsigned(2)? as i16)),
            0xd2 => Value::Integer(i64::from(self.unsigned(4)? as i32)),
            0xd9 => self.sized(1, Cursor::text)?,
            0xda => self.sized(2, Cursor::text)?,
            0xdb => self.sized(4, Cursor::text)?,
            0xdc => self.sized(2, |cursor, length| cursor.list(length, depth))?,
            0xdd => self.sized(4, |cursor, length| cursor.list(length, depth))?,
            0xde => self.sized(2, |cursor, length| cursor.map(length, depth))?,
            0xdf => self.sized(4, |cursor, length| cursor.map(length, depth))?,
            _ => return Err(Broken::Format),
        })
    }

    fn sized(
        &mut self,
        bytes: usize,
        read: impl FnOnce(&mut Cursor<'a>, usize) -> Result<Value, Broken>,
    ) -> Result<Value, Broken> {
        let length = self.unsigned(bytes)? as usize;
        read(self, length)
    }

    fn text(&mut self, length: usize) -> Result<Value, Broken> {
        let text = self.take(length)?;
        Ok(Value::String(self.lua.create_string(text)?))
    }

    fn list(&mut self, length: usize, depth: i32) -> Result<Value, Broken> {
        let depth = deeper(depth)?;
        let table = self.lua.create_table()?;
        for index in 1..=length {
            let value = self.value(depth)?;
            table.raw_set(index, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, length: usize, depth: i32) -> Result<Value, Broken> {
        let depth = deeper(depth)?;
        let table = self.lua.create_table()?;
        for _ in 0..length {
            let (key, value) = (self.value(depth)?, self.value(depth)?);
            match key {
                Value::Nil => return Err(Broken::Key("table index is nil")),
                Value::Number(number) if number.is_nan() => {
                    return Err(Broken::Key("table index is NaN"));
                }
                key => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }
}

fn deeper(depth: i32) -> Result<i32, Broken> {
    if depth < JSON_DEPTH_MAX { Ok(depth + 1) } else { Err(Broken::Deep) }
}

//! The `struct` library: numbers and strings to packed bytes and back.
//! Behaviour: Roberto Ierusalimschy's `struct` 0.2, as Redis bundles it, on a 64-bit little-endian
//! machine: the bytes are the same on any other.

use mlua::{BString, IntoLua, Lua, MultiValue, Table, Value};

use super::arguments::Arguments;
use super::number::to_i64;
use super::raise::at_caller;
use crate::limits::SCRIPT_MEMORY_BYTES_MAX;

const INTEGER_BYTES_MAX: usize = 32;
const ALIGN_DEFAULT: i32 = 8;

/// The table of the library.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", lua.create_function(pack)?)?;
    table.raw_set("unpack", lua.create_function(unpack)?)?;
    table.raw_set("size", lua.create_function(size)?)?;
    Ok(table)
}

/// A walk over a format: which option comes next, in which byte order and alignment.
struct Format<'a> {
    lua: &'a Lua,
    args: Arguments<'a>,
    text: Vec<u8>,
    at: usize,
    big_endian: bool,
    align: usize,
}

/// An option that stands for a field.
struct Field {
    option: u8,
    size: usize,
}

impl<'a> Format<'a> {
    fn new(lua: &'a Lua, args: Arguments<'a>) -> mlua::Result<Format<'a>> {
        let text = args.string(1)?.as_bytes().to_vec();
        let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        let text = text[..end].to_vec();
        Ok(Format { lua, args, text, at: 0, big_endian: false, align: 1 })
    }

    /// The next option and its size.
    fn next(&mut self) -> mlua::Result<Option<Field>> {
        let Some(&option) = self.text.get(self.at) else { return Ok(None) };
        self.at += 1;
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.count(1)? as usize,
            b'i' | b'I' => {
                let size = self.count(4)? as usize;
                if size > INTEGER_BYTES_MAX {
                    let text =
                        format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}");
                    return Err(at_caller(self.lua, &text));
                }
                size
            }
            _ => 0,
        };
        Ok(Some(Field { option, size }))
    }

    /// The number at this place of the format.
    fn count(&mut self, default: i32) -> mlua::Result<i32> {
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let mut value: i32 = 0;
        for &digit in &self.text[self.at..self.at + digits] {
            value = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(i32::from(digit - b'0')))
                .ok_or_else(|| at_caller(self.lua, "integral size overflow"))?;
        }
        self.at += digits;
        Ok(value)
    }

    /// How many bytes stand before a field that begins at `position`.
    fn padding(&self, position: usize, field: &Field) -> usize {
        if field.size == 0 || field.option == b'c' {
            return 0;
        }
        let size = field.size.min(self.align);
        size.wrapping_sub(position & (size - 1)) & (size - 1)
    }

    /// An option that changes the walk.
    fn control(&mut self, option: u8) -> mlua::Result<()> {
        match option {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let align = self.count(ALIGN_DEFAULT)?;
                if align <= 0 || align & (align - 1) != 0 {
                    let text = format!("alignment {align} is not a power of 2");
                    return Err(at_caller(self.lua, &text));
                }
                self.align = align as usize;
            }
            other => {
                let problem = format!("invalid format option '{}'", char::from(other));
                return Err(self.args.bad(1, &problem));
            }
        }
        Ok(())
    }

    /// The bytes of a number in this byte order, from those in little-endian.
    fn ordered(&self, mut little: Vec<u8>) -> Vec<u8> {
        if self.big_endian {
            little.reverse();
        }
        little
    }
}

fn pack(lua: &Lua, values: MultiValue) -> mlua::Result<BString> {
    let args = Arguments::new(lua, &values);
    let mut format = Format::new(lua, args)?;
    let (mut out, mut number) = (Vec::new(), 2);
    while let Some(field) = format.next()? {
        let padding = format.padding(out.len(), &field);
        if out.len() + padding + field.size > SCRIPT_MEMORY_BYTES_MAX {
            return Err(at_caller(lua, "not enough memory"));
        }
        out.resize(out.len() + padding, 0);
        match field.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let value = integer_of(args.number(number)?);
                let bytes = (0..field.size)
                    .map(|at| if at < 8 { (value >> (at * 8)) as u8 } else { 0 })
                    .collect();
                out.extend(format.ordered(bytes));
                number += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let value = args.number(number)? as f32;
                out.extend(format.ordered(value.to_le_bytes().to_vec()));
                number += 1;
            }
            b'd' => {
                let value = args.number(number)?;
                out.extend(format.ordered(value.to_le_bytes().to_vec()));
                number += 1;
            }
            b'c' | b's' => {
                let text = args.string(number)?;
                let text = text.as_bytes();
                number += 1;
                let size = if field.size == 0 { text.len() } else { field.size };
                if text.len() < size {
                    return Err(args.bad(number, "string too short"));
                }
                out.extend_from_slice(&text[..size]);
                if field.option == b's' {
                    out.push(0);
                }
            }
            option => format.control(option)?,
        }
    }
    Ok(BString::from(out))
}

/// As C casts a double to an integer of 64 bits, signed if it is negative.
fn integer_of(value: f64) -> u64 {
    if value < 0.0 {
        to_i64(value) as u64
    } else if value < 18_446_744_073_709_551_616.0 {
        value as u64
    } else {
        0
    }
}

fn unpack(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let args = Arguments::new(lua, &values);
    let mut format = Format::new(lua, args)?;
    let data = args.string(2)?;
    let data = data.as_bytes();
    let first = args.integer_or(3, 1)?;
    if first == 0 {
        return Err(args.bad(3, "offset must be 1 or greater"));
    }
    // A negative offset is a huge one, as in C, and so beyond any data.
    let mut at = usize::try_from(first - 1).unwrap_or(usize::MAX / 2);
    let short = || args.bad(2, "data string too short");
    let mut results: Vec<Value> = Vec::new();
    while let Some(Field { option, mut size }) = format.next()? {
        at += format.padding(at, &Field { option, size });
        let field = data.get(at..).and_then(|rest| rest.get(..size)).ok_or_else(short)?;
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let bytes = format.ordered(field.to_vec());
                results.push(Value::Number(read_integer(&bytes, option.is_ascii_lowercase())));
            }
            b'x' => {}
            b'f' => {
                let bytes = format.ordered(field.to_vec());
                let bytes: [u8; 4] = bytes.try_into().map_err(|_| short())?;
                results.push(Value::Number(f64::from(f32::from_le_bytes(bytes))));
            }
            b'd' => {
                let bytes = format.ordered(field.to_vec());
                let bytes: [u8; 8] = bytes.try_into().map_err(|_| short())?;
                results.push(Value::Number(f64::from_le_bytes(bytes)));
            }
            b'c' => {
                if size == 0 {
                    let Some(Value::Number(count)) = results.pop() else {
                        return Err(at_caller(lua, "format 'c0' needs a previous size"));
                    };
                    size = usize::try_from(to_i64(count)).map_err(|_| short())?;
                }
                let text = data[at..].get(..size).ok_or_else(short)?;
                results.push(BString::from(text).into_lua(lua)?);
            }
            b's' => {
                let Some(end) = data[at..].iter().position(|&byte| byte == 0) else {
                    return Err(at_caller(lua, "unfinished string in data"));
                };
                results.push(BString::from(&data[at..at + end]).into_lua(lua)?);
                size = end + 1;
            }
            option => format.control(option)?,
        }
        at += size;
        if results.len() >= RESULTS_MAX {
            return Err(at_caller(lua, "stack overflow (too many results)"));
        }
    }
    results.push(Value::Integer(at as i64 + 1));
    Ok(MultiValue::from_vec(results))
}

/// Values that one call can return: somewhat less than Lua's C stack has slots.
pub(super) const RESULTS_MAX: usize = 7_900;

/// An integer from its bytes in little-endian; those above the eighth fall out at the top.
fn read_integer(bytes: &[u8], signed: bool) -> f64 {
    let value = bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if !signed {
        return value as f64;
    }
    let shift = 64usize.saturating_sub(bytes.len() * 8) as u32;
    if bytes.is_empty() { 0.0 } else { ((value << shift) as i64 >> shift) as f64 }
}

fn size(lua: &Lua, values: MultiValue) -> mlua::Result<i64> {
    let args = Arguments::new(lua, &values);
    let mut format = Format::new(lua, args)?;
    let mut position = 0usize;
    while let Some(field) = format.next()? {
        position += format.padding(position, &field);
        match field {
            Field { option: b's', .. } => {
                return Err(args.bad(1, "option 's' has no fixed size"));
            }
            Field { option: b'c', size: 0 } => {
                return Err(args.bad(1, "option 'c0' has no fixed size"));
            }
            Field { option, .. } if !option.is_ascii_alphanumeric() => format.control(option)?,
            _ => {}
        }
        position += field.size;
    }
    Ok(position as i64)
}

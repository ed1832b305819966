//! Values between RESP and Lua, both ways, with the conversions that Redis documents.
//!
//! A command that a script calls writes its reply as RESP, which becomes Lua values here; what the
//! script returns becomes RESP. Nested tables are walked with a stack of our own: as deep as Lua's
//! C stack would allow in Redis, and to the same depth.

use mlua::{BString, Lua, Table, Value};
use wire::{Deferred, Reply};

use super::number::{format_g, to_i64};

/// Slots of Lua's C stack: what Redis's recursion ends at (`LUAI_MAXCSTACK`).
const STACK_SLOTS: usize = 8_000;

/// Slots that Redis wants free before it converts a value.
const STACK_SLOTS_WANTED: usize = 4;

/// Slots in use when it begins: the error handler and the value.
const STACK_SLOTS_FIRST: usize = 2;

/// A reply of a command, read from its bytes.
#[derive(Debug)]
pub(super) struct ReplyReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> ReplyReader<'a> {
    /// A reader of one complete reply.
    pub(super) fn new(bytes: &'a [u8]) -> ReplyReader<'a> {
        ReplyReader { bytes, at: 0 }
    }

    /// The reply as a Lua value. Errors are tables with `err`.
    pub(super) fn read(&mut self, lua: &Lua) -> mlua::Result<Value> {
        let sigil = self.bytes.get(self.at).copied().unwrap_or(b'_');
        self.at += 1;
        let line = self.line();
        match sigil {
            b':' => Ok(Value::Integer(count_of(line))),
            b'$' => match count_of(line) {
                ..0 => Ok(Value::Boolean(false)),
                length => string(lua, self.take(length as usize)),
            },
            b'+' => field(lua, "ok", line),
            b'-' => {
                let table = lua.create_table()?;
                table.raw_set("err", BString::from(line))?;
                table.raw_set("ignore_error_stats_update", true)?;
                Ok(Value::Table(table))
            }
            b'*' | b'>' => match count_of(line) {
                ..0 => Ok(Value::Boolean(false)),
                length => self.array(lua, length as usize),
            },
            b'%' => self.map(lua, count_of(line) as usize),
            b'~' => self.set(lua, count_of(line) as usize),
            b'#' => Ok(Value::Boolean(line == b"t")),
            b',' => {
                let text = String::from_utf8_lossy(line);
                let table = lua.create_table()?;
                table.raw_set("double", text.parse().unwrap_or(f64::NAN))?;
                Ok(Value::Table(table))
            }
            b'(' => field(lua, "big_number", line),
            b'=' => self.verbatim(lua, count_of(line) as usize),
            _ => Ok(Value::Nil),
        }
    }

    fn array(&mut self, lua: &Lua, length: usize) -> mlua::Result<Value> {
        let table = lua.create_table_with_capacity(length, 0)?;
        for at in 1..=length {
            let value = self.read(lua)?;
            table.raw_set(at, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, lua: &Lua, length: usize) -> mlua::Result<Value> {
        let map = lua.create_table_with_capacity(0, length)?;
        for _ in 0..length {
            let (key, value) = (self.read(lua)?, self.read(lua)?);
            if !key.is_nil() {
                map.raw_set(key, value)?;
            }
        }
        let table = lua.create_table()?;
        table.raw_set("map", map)?;
        Ok(Value::Table(table))
    }

    fn set(&mut self, lua: &Lua, length: usize) -> mlua::Result<Value> {
        let set = lua.create_table_with_capacity(0, length)?;
        for _ in 0..length {
            let key = self.read(lua)?;
            if !key.is_nil() {
                set.raw_set(key, true)?;
            }
        }
        let table = lua.create_table()?;
        table.raw_set("set", set)?;
        Ok(Value::Table(table))
    }

    fn verbatim(&mut self, lua: &Lua, length: usize) -> mlua::Result<Value> {
        let text = self.take(length);
        let (format, text) = text.split_at(text.len().min(4));
        let parts = lua.create_table()?;
        parts.raw_set("string", BString::from(text))?;
        parts.raw_set("format", BString::from(&format[..format.len().min(3)]))?;
        let table = lua.create_table()?;
        table.raw_set("verbatim_string", parts)?;
        Ok(Value::Table(table))
    }

    /// The rest of the line.
    fn line(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|&byte| byte == b'\r').unwrap_or(rest.len());
        self.at += end + 2;
        &rest[..end]
    }

    /// That many bytes, and the line break behind them.
    fn take(&mut self, length: usize) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = &rest[..length.min(rest.len())];
        self.at += length + 2;
        taken
    }
}

fn count_of(line: &[u8]) -> i64 {
    crate::number::parse_i64(line).unwrap_or_default()
}

fn string(lua: &Lua, bytes: &[u8]) -> mlua::Result<Value> {
    lua.create_string(bytes).map(Value::String)
}

fn field(lua: &Lua, name: &str, bytes: &[u8]) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set(name, BString::from(bytes))?;
    Ok(Value::Table(table))
}

/// A table that is being written: its elements, the next of them, and where its header goes.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    next: usize,
    written: usize,
    place: Deferred,
    /// Slots of Lua's stack that Redis would have in use at this table.
    slots: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Array,
    /// Keys and values in turn.
    Map,
    Set,
}

/// Writes what a script returned. `resp3`: the script chose RESP3 for itself.
pub(super) fn write_value(
    lua: &Lua,
    value: Value,
    resp3: bool,
    reply: &mut Reply<'_>,
) -> mlua::Result<()> {
    let mut frames: Vec<Frame> = Vec::new();
    // The elements of the innermost frame; those of the others wait in a table, because Lua keeps
    // no more than some thousand values for us.
    let mut elements: Option<Table> = None;
    let mut outer: Option<Table> = None;
    let mut slots = STACK_SLOTS_FIRST;
    let mut pending = Some(value);
    loop {
        if let Some(value) = pending.take() {
            if slots + STACK_SLOTS_WANTED > STACK_SLOTS {
                reply.error("ERR reached lua stack limit");
            } else if let Some((kind, table)) = write_or_open(lua, value, resp3, reply)? {
                if let Some(elements) = elements.replace(table) {
                    let outer = match &outer {
                        Some(outer) => outer,
                        None => outer.insert(lua.create_table()?),
                    };
                    outer.raw_set(frames.len(), elements)?;
                }
                let place = reply.defer();
                frames.push(Frame { kind, next: 1, written: 0, place, slots });
            }
        }
        let (Some(frame), Some(table)) = (frames.last_mut(), &elements) else { return Ok(()) };
        let value: Value = table.raw_get(frame.next)?;
        if !value.is_nil() {
            slots = frame.slots + frame.slots_of_next();
            frame.next += 1;
            frame.written += 1;
            pending = Some(value);
            continue;
        }
        let Frame { kind, written, place, .. } = frames.pop().expect("it was just looked at");
        match kind {
            Kind::Array => reply.fill_array(place, written),
            Kind::Map => reply.fill_map(place, written / 2),
            Kind::Set => reply.fill_set(place, written),
        }
        elements = match (&outer, frames.len()) {
            (Some(outer), depth @ 1..) => outer.raw_get(depth)?,
            _ => None,
        };
    }
}

impl Frame {
    /// Slots of Lua's stack that Redis adds for the next element.
    fn slots_of_next(&self) -> usize {
        match self.kind {
            Kind::Array => 1,
            Kind::Map if self.next % 2 == 1 => 4,
            Kind::Map | Kind::Set => 3,
        }
    }
}

/// Writes a value that has no elements, or gives the elements of one that has.
fn write_or_open(
    lua: &Lua,
    value: Value,
    resp3: bool,
    reply: &mut Reply<'_>,
) -> mlua::Result<Option<(Kind, Table)>> {
    match value {
        Value::String(text) => reply.bulk(&text.as_bytes()),
        Value::Integer(number) => reply.int(number),
        Value::Number(number) => reply.int(to_i64(number)),
        Value::Boolean(value) if resp3 => reply.boolean(value),
        Value::Boolean(true) => reply.int(1),
        Value::Table(table) => return write_or_open_table(lua, table, reply),
        _ => reply.null(),
    }
    Ok(None)
}

fn write_or_open_table(
    lua: &Lua,
    table: Table,
    reply: &mut Reply<'_>,
) -> mlua::Result<Option<(Kind, Table)>> {
    if let Value::String(_) = table.raw_get::<Value>("err")? {
        let text: BString = table.raw_get("err")?;
        write_error(reply, &text);
    } else if let Value::String(text) = table.raw_get::<Value>("ok")? {
        write_line(reply, b'+', &text.as_bytes());
    } else if let Some(number) = number_at(&table, "double")? {
        write_double(reply, number);
    } else if let Value::String(text) = table.raw_get::<Value>("big_number")? {
        let digits: Vec<u8> = text.as_bytes().iter().map(|byte| one_line(*byte)).collect();
        if reply.is_resp3() { write_line(reply, b'(', &digits) } else { reply.bulk(&digits) }
    } else if let Some((format, text)) = verbatim_at(&table)? {
        write_verbatim(reply, &format, &text);
    } else if let Value::Table(map) = table.raw_get::<Value>("map")? {
        let elements = lua.create_table()?;
        map.for_each(|key: Value, value: Value| {
            elements.raw_push(key)?;
            elements.raw_push(value)
        })?;
        return Ok(Some((Kind::Map, elements)));
    } else if let Value::Table(set) = table.raw_get::<Value>("set")? {
        let elements = lua.create_table()?;
        set.for_each(|key: Value, _: Value| elements.raw_push(key))?;
        return Ok(Some((Kind::Set, elements)));
    } else {
        return Ok(Some((Kind::Array, table)));
    }
    Ok(None)
}

fn number_at(table: &Table, name: &str) -> mlua::Result<Option<f64>> {
    Ok(match table.raw_get::<Value>(name)? {
        Value::Integer(number) => Some(number as f64),
        Value::Number(number) => Some(number),
        _ => None,
    })
}

fn verbatim_at(table: &Table) -> mlua::Result<Option<(BString, BString)>> {
    let Value::Table(parts) = table.raw_get::<Value>("verbatim_string")? else { return Ok(None) };
    match (parts.raw_get::<Value>("format")?, parts.raw_get::<Value>("string")?) {
        (Value::String(format), Value::String(text)) => {
            Ok(Some((BString::from(&*format.as_bytes()), BString::from(&*text.as_bytes()))))
        }
        _ => Ok(None),
    }
}

fn write_double(reply: &mut Reply<'_>, number: f64) {
    reply.double(&format_g(number, 17));
}

fn write_verbatim(reply: &mut Reply<'_>, format: &[u8], text: &[u8]) {
    if !reply.is_resp3() {
        return reply.bulk(text);
    }
    let mut letters = [b' '; 3];
    let shown = format.iter().take_while(|byte| **byte != 0).take(3);
    letters.iter_mut().zip(shown).for_each(|(letter, byte)| *letter = *byte);
    let head = format!("={}\r\n", text.len() + 4);
    reply.raw(&[head.as_bytes(), &letters, b":", text, b"\r\n"].concat());
}

/// Writes an error whose text, code first, may be any bytes.
pub(super) fn write_error(reply: &mut Reply<'_>, text: &[u8]) {
    let breaks = text.iter().rev().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    write_line(reply, b'-', &text[..text.len() - breaks]);
}

/// A line up to the first zero byte, its line breaks as spaces.
fn write_line(reply: &mut Reply<'_>, sigil: u8, text: &[u8]) {
    let mut line = vec![sigil];
    line.extend(text.iter().take_while(|byte| **byte != 0).map(|byte| one_line(*byte)));
    line.extend_from_slice(b"\r\n");
    reply.raw(&line);
}

fn one_line(byte: u8) -> u8 {
    if byte == b'\r' || byte == b'\n' { b' ' } else { byte }
}

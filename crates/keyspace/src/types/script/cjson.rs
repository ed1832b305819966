//! The `cjson` library: Lua values to JSON and back.
//! Behaviour: Mark Pulford's lua-cjson 2.1.0, as Redis bundles it.
//!
//! Its options hold for one script: each begins with the defaults, or a replica that joins later
//! would have others. Nesting is limited to `JSON_DEPTH_MAX` whatever the options say.

use std::sync::{Arc, Mutex, MutexGuard};

use mlua::{BString, Lua, MultiValue, Table, Value};

use super::arguments::{Arguments, type_name};
use super::json_text::{Parser, Token, put_string};
use super::number::format_g;
use super::raise::at_caller;
use crate::limits::{JSON_DEPTH_MAX, SCRIPT_MEMORY_BYTES_MAX};

/// The options.
#[derive(Clone, Debug)]
pub(super) struct Config {
    sparse_convert: i32,
    sparse_ratio: i32,
    sparse_safe: i32,
    encode_max_depth: i32,
    decode_max_depth: i32,
    /// 0: an error; 1: as they are; 2: as null.
    encode_invalid_numbers: i32,
    decode_invalid_numbers: i32,
    encode_keep_buffer: i32,
    encode_number_precision: i32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            sparse_convert: 0,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_max_depth: 1_000,
            decode_max_depth: 1_000,
            encode_invalid_numbers: 0,
            decode_invalid_numbers: 1,
            encode_keep_buffer: 1,
            encode_number_precision: 14,
        }
    }
}

type Shared = Arc<Mutex<Config>>;

fn lock(config: &Shared) -> MutexGuard<'_, Config> {
    config.lock().expect("nothing panics while it holds the options")
}

/// A table of the library on these options.
pub(super) fn table(lua: &Lua, config: &Shared) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let shared = Arc::clone(config);
    let encode = move |lua: &Lua, values: MultiValue| {
        let config = lock(&shared).clone();
        encode(lua, &values, &config)
    };
    table.raw_set("encode", lua.create_function(encode)?)?;
    let shared = Arc::clone(config);
    let decode = move |lua: &Lua, values: MultiValue| {
        let config = lock(&shared).clone();
        decode(lua, &values, &config)
    };
    table.raw_set("decode", lua.create_function(decode)?)?;
    put_options(lua, &table, config)?;
    let new = |lua: &Lua, _: MultiValue| table_of_its_own(lua);
    table.raw_set("new", lua.create_function(new)?)?;
    table.raw_set("null", Value::NULL)?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok(table)
}

fn table_of_its_own(lua: &Lua) -> mlua::Result<Table> {
    table(lua, &Shared::default())
}

fn put_options(lua: &Lua, table: &Table, config: &Shared) -> mlua::Result<()> {
    let put = |name: &str, count: usize, set: OptionSetter| {
        let shared = Arc::clone(config);
        let function = move |lua: &Lua, values: MultiValue| {
            let args = Arguments::new(lua, &values);
            if args.len() > count {
                return Err(args.bad(count + 1, "found too many arguments"));
            }
            let mut config = lock(&shared).clone();
            let shown = set(lua, args, &mut config);
            // What was set before an argument was refused stays set.
            *lock(&shared) = config;
            shown
        };
        table.raw_set(name, lua.create_function(function)?)
    };
    put("encode_sparse_array", 3, |lua, args, config| {
        let convert = choice(lua, args, 1, &mut config.sparse_convert, SWITCH)?;
        let ratio = number(args, 2, &mut config.sparse_ratio, 0..=i32::MAX)?;
        let safe = number(args, 3, &mut config.sparse_safe, 0..=i32::MAX)?;
        Ok(MultiValue::from_vec(vec![convert, ratio, safe]))
    })?;
    put("encode_max_depth", 1, |_, args, config| {
        one(number(args, 1, &mut config.encode_max_depth, 1..=i32::MAX))
    })?;
    put("decode_max_depth", 1, |_, args, config| {
        one(number(args, 1, &mut config.decode_max_depth, 1..=i32::MAX))
    })?;
    put("encode_number_precision", 1, |_, args, config| {
        one(number(args, 1, &mut config.encode_number_precision, 1..=14))
    })?;
    put("encode_keep_buffer", 1, |lua, args, config| {
        one(choice(lua, args, 1, &mut config.encode_keep_buffer, SWITCH))
    })?;
    put("encode_invalid_numbers", 1, |lua, args, config| {
        let names = &["off", "on", "null"];
        one(choice(lua, args, 1, &mut config.encode_invalid_numbers, names))
    })?;
    put("decode_invalid_numbers", 1, |lua, args, config| {
        one(choice(lua, args, 1, &mut config.decode_invalid_numbers, SWITCH))
    })
}

type OptionSetter = fn(&Lua, Arguments<'_>, &mut Config) -> mlua::Result<MultiValue>;

const SWITCH: &[&str] = &["off", "on"];

fn one(value: mlua::Result<Value>) -> mlua::Result<MultiValue> {
    value.map(|value| MultiValue::from_vec(vec![value]))
}

fn number(
    args: Arguments<'_>,
    at: usize,
    setting: &mut i32,
    range: std::ops::RangeInclusive<i32>,
) -> mlua::Result<Value> {
    if !args.is_nil(at) {
        let value = args.integer(at)? as i32;
        if !range.contains(&value) {
            let (low, high) = range.into_inner();
            return Err(args.bad(1, &format!("expected integer between {low} and {high}")));
        }
        *setting = value;
    }
    Ok(Value::Integer(i64::from(*setting)))
}

fn choice(
    lua: &Lua,
    args: Arguments<'_>,
    at: usize,
    setting: &mut i32,
    names: &[&str],
) -> mlua::Result<Value> {
    match args.get(at) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(value)) => *setting = i32::from(*value),
        Some(_) => {
            let name = args.string(at)?.to_string_lossy();
            let Some(index) = names.iter().position(|known| *known == name) else {
                return Err(args.bad(at, &format!("invalid option '{name}'")));
            };
            *setting = index as i32;
        }
    }
    match *setting {
        0 => Ok(Value::Boolean(false)),
        1 => Ok(Value::Boolean(true)),
        other => lua.create_string(names[other as usize]).map(Value::String),
    }
}

fn encode(lua: &Lua, values: &MultiValue, config: &Config) -> mlua::Result<BString> {
    let args = Arguments::new(lua, values);
    if args.len() != 1 {
        return Err(args.bad(1, "expected 1 argument"));
    }
    let mut encoder = Encoder { lua, config, out: Vec::new() };
    encoder.put(&values[0], 0)?;
    Ok(BString::from(encoder.out))
}

struct Encoder<'a> {
    lua: &'a Lua,
    config: &'a Config,
    out: Vec<u8>,
}

impl Encoder<'_> {
    fn put(&mut self, value: &Value, depth: i32) -> mlua::Result<()> {
        if self.out.len() > SCRIPT_MEMORY_BYTES_MAX {
            return Err(super::raise::Raise::Stop(super::raise::Limit::Memory).into());
        }
        match value {
            Value::String(text) => put_string(&mut self.out, &text.as_bytes()),
            Value::Integer(number) => self.put_number(*number as f64)?,
            Value::Number(number) => self.put_number(*number)?,
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Nil => self.out.extend_from_slice(b"null"),
            null if *null == Value::NULL => self.out.extend_from_slice(b"null"),
            Value::Table(table) => self.put_table(table, depth + 1)?,
            other => return Err(self.refuse(other, "type not supported")),
        }
        Ok(())
    }

    fn put_number(&mut self, number: f64) -> mlua::Result<()> {
        if !number.is_finite() {
            match self.config.encode_invalid_numbers {
                0 => return Err(self.refuse(&Value::Number(number), "must not be NaN or Inf")),
                1 if number.is_nan() => {
                    self.out.extend_from_slice(b"nan");
                    return Ok(());
                }
                1 => {}
                _ => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
            }
        }
        let precision = self.config.encode_number_precision as usize;
        self.out.extend_from_slice(format_g(number, precision).as_bytes());
        Ok(())
    }

    fn put_table(&mut self, table: &Table, depth: i32) -> mlua::Result<()> {
        if depth > self.config.encode_max_depth || depth > JSON_DEPTH_MAX {
            let text = format!("Cannot serialise, excessive nesting ({depth})");
            return Err(at_caller(self.lua, &text));
        }
        match self.array_length(table)? {
            Some(length @ 1..) => self.put_array(table, length, depth),
            _ => self.put_object(table, depth),
        }
    }

    /// The largest index, if all keys are indices and not too many are missing.
    fn array_length(&self, table: &Table) -> mlua::Result<Option<i64>> {
        let (mut max, mut items) = (0, 0);
        for pair in table.pairs::<Value, Value>() {
            let (key, _) = pair?;
            let Value::Integer(index @ 1..) = key else { return Ok(None) };
            max = max.max(index);
            items += 1;
        }
        let Config { sparse_ratio, sparse_safe, sparse_convert, .. } = *self.config;
        let ratio = i64::from(sparse_ratio);
        if ratio > 0 && max > items * ratio && max > i64::from(sparse_safe) {
            if sparse_convert == 0 {
                let text = "Cannot serialise table: excessively sparse array";
                return Err(at_caller(self.lua, text));
            }
            return Ok(None);
        }
        Ok(Some(max))
    }

    fn put_array(&mut self, table: &Table, length: i64, depth: i32) -> mlua::Result<()> {
        self.out.push(b'[');
        for index in 1..=length {
            if index > 1 {
                self.out.push(b',');
            }
            let value: Value = table.raw_get(index)?;
            self.put(&value, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn put_object(&mut self, table: &Table, depth: i32) -> mlua::Result<()> {
        self.out.push(b'{');
        let mut first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !first {
                self.out.push(b',');
            }
            first = false;
            match &key {
                Value::String(text) => put_string(&mut self.out, &text.as_bytes()),
                Value::Integer(number) => self.put_number_key(*number as f64)?,
                Value::Number(number) => self.put_number_key(*number)?,
                other => return Err(self.refuse(other, "table key must be a number or string")),
            }
            self.out.push(b':');
            self.put(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn put_number_key(&mut self, number: f64) -> mlua::Result<()> {
        self.out.push(b'"');
        self.put_number(number)?;
        self.out.push(b'"');
        Ok(())
    }

    fn refuse(&self, value: &Value, problem: &str) -> mlua::Error {
        at_caller(self.lua, &format!("Cannot serialise {}: {problem}", type_name(value)))
    }
}

fn decode(lua: &Lua, values: &MultiValue, config: &Config) -> mlua::Result<Value> {
    let args = Arguments::new(lua, values);
    if args.len() != 1 {
        return Err(args.bad(1, "expected 1 argument"));
    }
    let text = args.string(1)?;
    let text = text.as_bytes();
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(at_caller(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let parser = Parser::new(&text, config.decode_invalid_numbers != 0);
    let mut decoder = Decoder { lua, config, parser };
    let token = decoder.parser.next();
    let value = decoder.value(token, 0)?;
    match decoder.parser.next() {
        Token::End => Ok(value),
        token => Err(decoder.unexpected("the end", &token)),
    }
}

struct Decoder<'a> {
    lua: &'a Lua,
    config: &'a Config,
    parser: Parser<'a>,
}

impl Decoder<'_> {
    fn value(&mut self, token: Token, depth: i32) -> mlua::Result<Value> {
        match token {
            Token::String(text) => self.lua.create_string(text).map(Value::String),
            Token::Number(number) => Ok(Value::Number(number)),
            Token::Boolean(value) => Ok(Value::Boolean(value)),
            Token::Null => Ok(Value::NULL),
            Token::ObjectBegin => self.object(depth + 1),
            Token::ArrayBegin => self.array(depth + 1),
            token => Err(self.unexpected("value", &token)),
        }
    }

    fn object(&mut self, depth: i32) -> mlua::Result<Value> {
        self.descend(depth)?;
        let table = self.lua.create_table()?;
        let mut token = self.parser.next();
        if matches!(token, Token::ObjectEnd) {
            return Ok(Value::Table(table));
        }
        loop {
            let Token::String(key) = token else {
                return Err(self.unexpected("object key string", &token));
            };
            match self.parser.next() {
                Token::Colon => {}
                token => return Err(self.unexpected("colon", &token)),
            }
            let next = self.parser.next();
            let value = self.value(next, depth)?;
            table.raw_set(BString::from(key), value)?;
            match self.parser.next() {
                Token::ObjectEnd => return Ok(Value::Table(table)),
                Token::Comma => token = self.parser.next(),
                token => return Err(self.unexpected("comma or object end", &token)),
            }
        }
    }

    fn array(&mut self, depth: i32) -> mlua::Result<Value> {
        self.descend(depth)?;
        let table = self.lua.create_table()?;
        let mut token = self.parser.next();
        if matches!(token, Token::ArrayEnd) {
            return Ok(Value::Table(table));
        }
        for index in 1.. {
            let value = self.value(token, depth)?;
            table.raw_set(index, value)?;
            match self.parser.next() {
                Token::ArrayEnd => break,
                Token::Comma => token = self.parser.next(),
                token => return Err(self.unexpected("comma or array end", &token)),
            }
        }
        Ok(Value::Table(table))
    }

    fn descend(&self, depth: i32) -> mlua::Result<()> {
        if depth <= self.config.decode_max_depth && depth <= JSON_DEPTH_MAX {
            return Ok(());
        }
        let at = self.parser.offset();
        let text = format!("Found too many nested data structures ({depth}) at character {at}");
        Err(at_caller(self.lua, &text))
    }

    fn unexpected(&self, expected: &str, token: &Token) -> mlua::Error {
        let (found, at) = (token.name(), self.parser.token_offset() + 1);
        let text = format!("Expected {expected} but found {found} at character {at}");
        at_caller(self.lua, &text)
    }
}

//! The arguments of a function that Lua calls, with the errors of Lua's own libraries.

use mlua::{Lua, LuaString, MultiValue, Value};

use super::raise::bad_argument;

/// Arguments, counted from 1 as error messages count them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arguments<'a> {
    lua: &'a Lua,
    values: &'a MultiValue,
}

impl<'a> Arguments<'a> {
    /// The arguments of the function that is running.
    pub(super) fn new(lua: &'a Lua, values: &'a MultiValue) -> Arguments<'a> {
        Arguments { lua, values }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The argument at `number`.
    pub(super) fn get(&self, number: usize) -> Option<&'a Value> {
        self.values.get(number - 1)
    }

    /// Is it absent, or nil?
    pub(super) fn is_nil(&self, number: usize) -> bool {
        self.get(number).is_none_or(Value::is_nil)
    }

    /// A number, or a string that holds one.
    pub(super) fn number(&self, number: usize) -> mlua::Result<f64> {
        match self.get(number) {
            Some(Value::Integer(value)) => Ok(*value as f64),
            Some(Value::Number(value)) => Ok(*value),
            Some(text @ Value::String(_)) => self
                .lua
                .coerce_number(text.clone())?
                .ok_or_else(|| self.wrong_type(number, "number")),
            _ => Err(self.wrong_type(number, "number")),
        }
    }

    /// A number without its fraction.
    pub(super) fn integer(&self, number: usize) -> mlua::Result<i64> {
        self.number(number).map(super::number::to_i64)
    }

    /// As `integer`, or `default` if absent.
    pub(super) fn integer_or(&self, number: usize, default: i64) -> mlua::Result<i64> {
        if self.is_nil(number) { Ok(default) } else { self.integer(number) }
    }

    /// A string, or a number as one.
    pub(super) fn string(&self, number: usize) -> mlua::Result<LuaString> {
        let value = self.get(number).cloned().unwrap_or(Value::Nil);
        self.lua.coerce_string(value)?.ok_or_else(|| self.wrong_type(number, "string"))
    }

    /// An error about an argument.
    pub(super) fn bad(&self, number: usize, problem: &str) -> mlua::Error {
        bad_argument(self.lua, number, problem)
    }

    fn wrong_type(&self, number: usize, expected: &str) -> mlua::Error {
        let got = self.get(number).map_or("no value", type_name);
        self.bad(number, &format!("{expected} expected, got {got}"))
    }
}

/// The name that `type` gives.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

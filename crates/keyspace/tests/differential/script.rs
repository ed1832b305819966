//! Scripts and libraries that the random calls use.

use crate::slots::Slots;

/// Names of functions, one of which no library has.
pub(crate) const FUNCTIONS: &[&str] = &["call", "call", "call", "pcall", "value", "nosuch"];

/// Names of libraries, one of which is none.
pub(crate) const LIBRARIES: &[&str] = &["one", "two", "nosuch", "bad name"];

const CALL: &str = "return redis.call(unpack(ARGV))";
const PCALL: &str = "local r = redis.pcall(unpack(ARGV)) if type(r) == 'table' and r['err'] then \
                     return {r['err'], r} end return r";
const RESP3: &str = "redis.setresp(3) return redis.call(unpack(ARGV))";
const FLAGS: &str = "#!lua flags=allow-oom\nreturn redis.call(unpack(ARGV))";

/// Values as Lua has them, and how a reply shows them.
const VALUES: &[&str] = &[
    "return 1",
    "return -3.99",
    "return {1,2,{3,'x',false,true},nil,5}",
    "return 'text'",
    "return true",
    "return false",
    "return nil",
    "return {}",
    "return {ok='fine'}",
    "return {err='ERR bad'}",
    "return {err='without code'}",
    "return redis.status_reply('yes')",
    "return redis.error_reply('no')",
    "return redis.error_reply('-CODE no')",
    "return {double=3.5}",
    "return {map={a=1}}",
    "return {set={a=true}}",
    "return {big_number='12345678901234567890'}",
    "return {verbatim_string={format='txt',string='hello'}}",
    "redis.setresp(3) return {double=3.5}",
    "redis.setresp(3) return true",
    "redis.setresp(3) return nil",
    "redis.setresp(4)",
    "error('raised')",
    "error({err='raised'})",
    "return undefined_variable",
    "syntax error here",
    "return #KEYS + #ARGV",
    "return redis.sha1hex('x')",
    "return tostring(1e15) .. ' ' .. tostring(0.1) .. ' ' .. 2^53 .. ' ' .. tostring(-0/1)",
    "return cjson.encode({1,2,{a=1.5},'x',true,cjson.null})",
    "return cjson.encode(cjson.decode('[1,1e3,\"\\\\u00e9\",{\"a\":[]}]'))",
    "return cmsgpack.pack({1,-1,'x',{a=1},1.5,true})",
    "return {struct.unpack('>I2', struct.pack('>I2', 258))}",
    "return {bit.band(255, 15), bit.tohex(255), bit.bnot(0)}",
    "return string.format('%5.2f|%d|%s|%q', 3.14159, 42, 'x', 'q')",
    "redis.call('set', 's1', 'by script') return redis.call('get', 's1')",
    "local t = {} for i = 1, 5 do t[i] = redis.call('rpush', 'l1', i) end return t",
    "redis.call('incr', 's1') redis.call('lpush', 's1', 'x')",
    "return redis.pcall('nosuch')",
    "return redis.call('get')",
    "return redis.call()",
    "return redis.call('multi')",
    "return redis.call('incr', {})",
    "return {1, 2, 3, [5] = 4}",
    "return math.floor(3.7) + string.len('abc')",
    "return 2^63",
    "return -2^63",
    "return 1/0",
    "return redis.call('zrange', 'z1', 0, -1, 'withscores')",
    "return redis.call('hincrbyfloat', 'h1', 'a', '1.5')",
    "redis.setresp(3) return redis.call('zscore', 'z1', 'a')",
    "redis.setresp(3) return type(redis.call('hgetall', 'h1'))",
    "return type(redis.call('get', 'none'))",
];

/// The text of a script of this kind.
pub(crate) fn text(slots: &mut Slots, kind: &str) -> Vec<u8> {
    let text = match kind {
        "call" => CALL,
        "pcall" => PCALL,
        "resp3" => RESP3,
        "flags" => FLAGS,
        _ => slots.pick(VALUES),
    };
    text.as_bytes().to_vec()
}

/// The name of a script that may have been loaded, or never was.
pub(crate) fn sha(slots: &mut Slots) -> Vec<u8> {
    // Those of CALL and of "return 1", and two that are no names.
    const NAMES: &[&str] = &[
        "3c44b7a40779a5c68a6e3920550ff76660a813aa",
        "e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
        "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB",
        "ffffffffffffffffffffffffffffffffffffffff",
        "short",
    ];
    slots.pick(NAMES).as_bytes().to_vec()
}

/// The code of a library.
pub(crate) fn library(slots: &mut Slots) -> Vec<u8> {
    const CODES: &[&str] = &[
        "#!lua name=one\nredis.register_function('call', function(k, a) return redis.call(unpack(a)) end)\n\
         redis.register_function{function_name='value', callback=function() return {1,'x'} end, \
         flags={'no-writes'}, description='gives a value'}",
        "#!lua name=two\nredis.register_function('pcall', function(k, a) return redis.pcall(unpack(a)) end)",
        "#!lua name=two\nredis.register_function('call', function() return 2 end)",
        "#!lua name=bad name\nreturn 1",
        "#!lua\nreturn 1",
        "no shebang",
        "#!lua name=one\nreturn 1",
        "#!lua name=one\nsyntax error",
        "#!lua name=one\nredis.call('ping')",
        "#!python name=one\n",
        "#!lua name=one nosuch=1\n",
    ];
    slots.pick(CODES).as_bytes().to_vec()
}

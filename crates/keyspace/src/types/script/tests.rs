//! What scripts and functions answer, as Redis 7.0.15 does.

use crate::testing::Client;

const SHA_PLACE: &str = "<sha>";

/// Calls EVAL with one script and no keys, and compares; the digest in an error is left out.
#[track_caller]
fn check(client: &mut Client, script: &str, expect: &str) {
    let reply = client.call(&[b"eval", script.as_bytes(), b"0"]);
    assert_eq!(without_digest(&crate::testing::shown(&reply)), expect, "{script}");
}

fn without_digest(reply: &str) -> String {
    let Some(at) = reply.find("script: ") else { return reply.to_owned() };
    let (head, tail) = reply.split_at(at + 8);
    if tail.len() > 40 && tail[..40].bytes().all(|byte| byte.is_ascii_hexdigit()) {
        format!("{head}{SHA_PLACE}{}", &tail[40..])
    } else {
        reply.to_owned()
    }
}

#[track_caller]
fn check_all(table: &[(&str, &str)]) {
    let mut client = Client::new();
    for (script, expect) in table {
        check(&mut client, script, expect);
    }
}

#[test]
fn values_become_replies() {
    check_all(&[
        ("return 'hello'", "$5\r\nhello\r\n"),
        ("return 100.5", ":100\r\n"),
        ("return -0.9", ":0\r\n"),
        ("return true", ":1\r\n"),
        ("return false", "$-1\r\n"),
        ("return", "$-1\r\n"),
        ("return {ok='fine'}", "+fine\r\n"),
        ("return {err='ERR this is an error'}", "-ERR this is an error\r\n"),
        ("return {1,2,3,'ciao',{1,2}}", "*5\r\n:1\r\n:2\r\n:3\r\n$4\r\nciao\r\n*2\r\n:1\r\n:2\r\n"),
        ("return {1,nil,3}", "*1\r\n:1\r\n"),
        ("return {}", "*0\r\n"),
        ("return _G", "*0\r\n"),
        ("return {double=3.141}", "$5\r\n3.141\r\n"),
        ("return {big_number='123\\r\\n123'}", "$8\r\n123  123\r\n"),
        ("return {map={a=1}}", "*2\r\n$1\r\na\r\n:1\r\n"),
        ("return {set={a=true}}", "*1\r\n$1\r\na\r\n"),
        ("return {verbatim_string={format='txt',string='hi'}}", "$2\r\nhi\r\n"),
        (
            "return print",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'print' script: <sha>, on @user_script:1.\r\n",
        ),
        ("return 'hello' --trailing comment", "$5\r\nhello\r\n"),
        ("local a = {}; setmetatable(a,{__index=function() foo() end}) return a", "*0\r\n"),
        (
            "return {redis.error_reply('MY_ERR custom'), redis.status_reply('fine')}",
            "*2\r\n-MY_ERR custom\r\n+fine\r\n",
        ),
        ("return redis.error_reply('')", "-ERR \r\n"),
        ("return redis.sha1hex('')", "$40\r\nda39a3ee5e6b4b0d3255bfef95601890afd80709\r\n"),
    ]);
}

#[test]
fn commands_are_called_and_their_replies_become_values() {
    check_all(&[
        ("return redis.call('set','k','v')", "+OK\r\n"),
        ("return redis.call('get','k')", "$1\r\nv\r\n"),
        (
            "local v = redis.call('get','nokey') return {type(v), v == false}",
            "*2\r\n$7\r\nboolean\r\n:1\r\n",
        ),
        (
            "local v = redis.call('set','k',9007199254740991) return redis.call('get','k')",
            "$16\r\n9007199254740991\r\n",
        ),
        ("redis.call('set','k',3.5) return redis.call('get','k')", "$3\r\n3.5\r\n"),
        (
            "local t = redis.pcall('nosuch') return t.err",
            "$44\r\nERR Unknown Redis command called from script\r\n",
        ),
    ]);
}

#[test]
fn errors_say_what_and_where() {
    check_all(&[
        (
            "return redis.call('nosuch')",
            "-ERR Unknown Redis command called from script script: <sha>, on @user_script:1.\r\n",
        ),
        (
            "redis.call('get','a','b')",
            "-ERR Wrong number of args calling Redis command from script script: <sha>, on @user_script:1.\r\n",
        ),
        (
            "\nreturn redis.call('eval','return 1', '0')",
            "-ERR This Redis command is not allowed from script script: <sha>, on @user_script:2.\r\n",
        ),
        (
            "return redis.call()",
            "-ERR Please specify at least one argument for this redis lib call script: <sha>, on @user_script:1.\r\n",
        ),
        (
            "return redis.call('get', {})",
            "-ERR Lua redis lib command arguments must be strings or integers script: <sha>, on @user_script:1.\r\n",
        ),
        ("return redis.pcall('nosuch')", "-ERR Unknown Redis command called from script\r\n"),
        (
            "a = 10",
            "-ERR user_script:1: Attempt to modify a readonly table script: <sha>, on @user_script:1.\r\n",
        ),
        (
            "return a",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'a' script: <sha>, on @user_script:1.\r\n",
        ),
        ("error('x')", "-ERR user_script:1: x script: <sha>, on @user_script:1.\r\n"),
        ("error({err='MY code'})", "-MY code script: <sha>, on @user_script:1.\r\n"),
        (
            "return 1 +",
            "-ERR Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'\r\n",
        ),
        (
            "local s, e = pcall(function() return foo end) return e",
            "$75\r\nuser_script:1: Script attempted to access nonexistent global variable 'foo'\r\n",
        ),
        (
            "local s, e = pcall(redis.call, 'nosuch') return {tostring(s), e}",
            "*2\r\n$5\r\nfalse\r\n$44\r\nERR Unknown Redis command called from script\r\n",
        ),
        (
            "return nil .. 'a'",
            "-ERR user_script:1: attempt to concatenate a nil value script: <sha>, on @user_script:1.\r\n",
        ),
        ("redis.sha1hex()", "-ERR wrong number of arguments script: <sha>, on @user_script:1.\r\n"),
    ]);
}

#[test]
fn libraries_of_lua_behave_as_bundled_with_redis() {
    check_all(&[
        (r#"return cjson.encode({1,2,x=3})"#, "$19\r\n{\"1\":1,\"2\":2,\"x\":3}\r\n"),
        (
            r#"return cjson.encode({[1]=1,[100]=2})"#,
            "-ERR user_script:1: Cannot serialise table: excessively sparse array script: <sha>, on @user_script:1.\r\n",
        ),
        (r#"return cjson.encode(1/3)"#, "$16\r\n0.33333333333333\r\n"),
        (r#"return cjson.decode('[1,{"a":null}]')[2].a == cjson.null"#, ":1\r\n"),
        (
            r#"return cjson.decode('{"a"')"#,
            "-ERR user_script:1: Expected colon but found T_END at character 5 script: <sha>, on @user_script:1.\r\n",
        ),
        (
            r#"return cjson.decode(string.rep('[',1001)..string.rep(']',1001))"#,
            "-ERR user_script:1: Found too many nested data structures (1001) at character 1001 script: <sha>, on @user_script:1.\r\n",
        ),
        (r#"local t = {} t.t = t return #cmsgpack.pack(t)"#, ":49\r\n"),
        (
            r#"return {cmsgpack.unpack(cmsgpack.pack(1, -200, {3}, 'x', true, 0.5))}"#,
            "*6\r\n:1\r\n:-200\r\n*1\r\n:3\r\n$1\r\nx\r\n:1\r\n:0\r\n",
        ),
        (r#"return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3), 2)}"#, "*3\r\n:2\r\n:1\r\n:2\r\n"),
        (
            r#"return cmsgpack.unpack('\204')"#,
            "-ERR user_script:1: Missing bytes in input. script: <sha>, on @user_script:1.\r\n",
        ),
        (
            r#"return {struct.unpack('>hs', struct.pack('>hs', -2, 'ab'))}"#,
            "*3\r\n:-2\r\n$2\r\nab\r\n:6\r\n",
        ),
        (
            r#"return struct.pack('i33', 1)"#,
            "-ERR user_script:1: integral size 33 is larger than limit of 32 script: <sha>, on @user_script:1.\r\n",
        ),
        (
            r#"return {bit.bnot(0), bit.bxor(1,2), bit.tohex(255,4), bit.rol(1,31)}"#,
            "*4\r\n:-1\r\n:3\r\n$4\r\n00ff\r\n:-2147483648\r\n",
        ),
    ]);
}

#[test]
fn a_nested_reply_ends_where_the_stack_of_redis_would() {
    let mut client = Client::new();
    let nested = "*1\r\n".repeat(7_995);
    check(
        &mut client,
        "local a = {} local b = {a} a[1] = b return a",
        &format!("{nested}-ERR reached lua stack limit\r\n"),
    );
}

#[test]
fn nothing_of_a_script_is_left_for_the_next() {
    check_all(&[
        (
            "redis.call = 1",
            "-ERR user_script:1: Attempt to modify a readonly table script: <sha>, on @user_script:1.\r\n",
        ),
        (
            "rawset(_G, 'x', 1)",
            "-ERR Attempt to modify a readonly table script: <sha>, on @user_script:1.\r\n",
        ),
        (
            "table.insert(redis, 1)",
            "-ERR Attempt to modify a readonly table script: <sha>, on @user_script:1.\r\n",
        ),
        (
            "getmetatable('').__index = {}",
            "-ERR user_script:1: Attempt to modify a readonly table script: <sha>, on @user_script:1.\r\n",
        ),
        (
            "getmetatable(_G).__index = {}",
            "-ERR user_script:1: Attempt to modify a readonly table script: <sha>, on @user_script:1.\r\n",
        ),
        (
            "loadstring('x = 1')()",
            "-ERR [string \"x = 1\"]:1: Attempt to modify a readonly table script: <sha>, on x = 1:1.\r\n",
        ),
        ("cjson.encode_max_depth(1) return 1", ":1\r\n"),
        ("return cjson.encode_max_depth()", ":1000\r\n"),
        ("return tostring({}) == tostring({})", "$-1\r\n"),
        ("return tostring({})", "$21\r\ntable: 0x000000000001\r\n"),
        (
            "for k in pairs({[{}]=1, a=2}) do end",
            "-ERR a table with tables or functions as keys has no order that is the same on every replica script: <sha>, on @user_script:1.\r\n",
        ),
        (
            "return loadstring(string.dump(function() return 1 end))()",
            "-ERR user_script:1: attempt to call a nil value script: <sha>, on @user_script:1.\r\n",
        ),
    ]);
}

#[test]
fn a_script_without_end_is_stopped_and_the_next_one_runs() {
    check_all(&[
        (
            "while true do end",
            "-ERR Script stopped after 50000000 steps script: <sha>, on @user_script:1.\r\n",
        ),
        (
            "local f = function() while true do end end while true do pcall(f) end",
            "-ERR Script stopped after 50000000 steps script: <sha>, on @user_script:1.\r\n",
        ),
        ("return 1", ":1\r\n"),
    ]);
    let mut client = Client::new();
    let reply = client.run(r#"eval "local s = 'x' while true do s = s .. s end" 0"#);
    assert!(reply.starts_with("-ERR Script stopped because it used"), "{reply}");
    let reply =
        client.run(r#"eval "local s = 'x' while true do pcall(string.rep, s, 2^28) end" 0"#);
    assert!(reply.starts_with("-ERR Script stopped because it used"), "{reply}");
    client.check(r#"eval "return 1" 0"#, ":1\r\n");
}

#[test]
fn dice_differ_between_calls_and_agree_between_replicas() {
    let draw = |client: &mut Client| client.run(r#"eval "return tostring(math.random())" 0"#);
    let (mut one, mut other) = (Client::new(), Client::new());
    let first = draw(&mut one);
    assert_eq!(first, draw(&mut other));
    let second = draw(&mut one);
    assert_ne!(first, second);
    other.reload();
    assert_eq!(second, draw(&mut other));
    let seeded = "math.randomseed(10) return {math.random(100), math.random(5, 10)}";
    check(&mut one, seeded, "*2\r\n:88\r\n:9\r\n");
}

#[test]
fn scripts_are_found_by_digest_until_they_are_flushed() {
    let mut client = Client::new();
    const SHA: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    let upper = SHA.to_uppercase();
    client.check_all(&[
        (&format!("evalsha {SHA} 0"), "-NOSCRIPT No matching script. Please use EVAL.\r\n"),
        ("evalsha short 0", "-NOSCRIPT No matching script. Please use EVAL.\r\n"),
        (r#"script load "return 1""#, &format!("$40\r\n{SHA}\r\n")),
        (&format!("evalsha {upper} 0"), ":1\r\n"),
        (&format!("script exists {SHA} x"), "*2\r\n:1\r\n:0\r\n"),
        (r#"eval "return 1" -1"#, "-ERR Number of keys can't be negative\r\n"),
        (r#"eval "return 1" 1"#, "-ERR Number of keys can't be greater than number of args\r\n"),
        (r#"eval "return {KEYS[1],ARGV[1]}" 1 a b"#, "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("script kill", "-NOTBUSY No scripts in execution right now.\r\n"),
    ]);
    client.reload();
    client.check(&format!("evalsha {SHA} 0"), ":1\r\n");
    client.check("script flush async", "+OK\r\n");
    client.check(&format!("script exists {SHA}"), "*1\r\n:0\r\n");
    client.check(&format!("evalsha {SHA} 0"), "-NOSCRIPT No matching script. Please use EVAL.\r\n");
}

#[test]
fn a_script_that_may_not_write_is_refused_when_it_does() {
    Client::new().check_all(&[
        (
            r#"eval_ro "return redis.pcall('set','k','v')" 0"#,
            "-ERR Write commands are not allowed from read-only scripts.\r\n",
        ),
        (
            r##"eval "#!lua flags=no-writes\nreturn redis.pcall('set','k','v')" 0"##,
            "-ERR Write commands are not allowed from read-only scripts.\r\n",
        ),
        (
            r##"eval_ro "#!lua\nreturn 1" 0"##,
            "-ERR Can not execute a script with write flag using *_ro command.\r\n",
        ),
        (r#"eval_ro "return redis.call('get','k')" 0"#, "$-1\r\n"),
    ]);
}

#[test]
fn functions_are_kept_listed_called_and_dropped() {
    let mut client = Client::new();
    let load = r##"function load "#!lua name=lib\nlocal n = 0\nredis.register_function{function_name='f', callback=function(keys, args) n = n + 1 return {n, keys[1], args[1]} end, flags={'no-writes'}}""##;
    client.check_all(&[
        (load, "$3\r\nlib\r\n"),
        (load, "-ERR Library 'lib' already exists\r\n"),
        ("fcall f 1 a b", "*3\r\n:1\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("fcall_ro F 1 a b", "*3\r\n:1\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("fcall g 0", "-ERR Function not found\r\n"),
        ("fcall f x", "-ERR Bad number of keys provided\r\n"),
        ("function stats", "*4\r\n$14\r\nrunning_script\r\n$-1\r\n$7\r\nengines\r\n*2\r\n$3\r\nLUA\r\n*4\r\n$15\r\nlibraries_count\r\n:1\r\n$15\r\nfunctions_count\r\n:1\r\n"),
        (r##"function load "#!lua name=a\nreturn math.random()""##, "-ERR Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable 'math'\r\n"),
        (r##"function load "#!lua name=a\nwhile true do end""##, "-ERR Error registering functions: ERR FUNCTION LOAD timeout\r\n"),
        (r##"function load "#!lua name=a\nredis.register_function('f', function() end)""##, "-ERR Function f already exists\r\n"),
        (r##"function load "#!lua name=b\nredis.register_function('g', function() return redis.call('nosuch') end)""##, "$1\r\nb\r\n"),
        ("fcall g 0", "-ERR Unknown Redis command called from script script: g, on @user_function:2.\r\n"),
        ("function list libraryname l*", "*1\r\n*6\r\n$12\r\nlibrary_name\r\n$3\r\nlib\r\n$6\r\nengine\r\n$3\r\nLUA\r\n$9\r\nfunctions\r\n*1\r\n*6\r\n$4\r\nname\r\n$1\r\nf\r\n$11\r\ndescription\r\n$-1\r\n$5\r\nflags\r\n*1\r\n+no-writes\r\n"),
    ]);
    client.reload();
    client.check_all(&[
        ("fcall f 1 a b", "*3\r\n:1\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("function delete lib", "+OK\r\n"),
        ("fcall f 0", "-ERR Function not found\r\n"),
        ("function flush", "+OK\r\n"),
        ("function list", "*0\r\n"),
    ]);
}

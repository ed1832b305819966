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

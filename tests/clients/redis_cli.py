"""redis-cli, unchanged: bulk loading, both protocols, and the modes in which people look around."""

import os
import pty
import subprocess
import time

from check import HOST, PORT, claim, note

KEYS = 100_000


def cli(*args, stdin="", seconds=60):
    """What it prints; its errors too."""
    command = ["redis-cli", "-h", HOST, "-p", str(PORT), *args]
    run = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds)
    return (run.stdout + run.stderr).strip()


def for_a_while(*args, seconds=1.5):
    """What a mode that never ends prints meanwhile, on a terminal: elsewhere it would be buffered."""
    command = ["redis-cli", "-h", HOST, "-p", str(PORT), *args]
    terminal, inside = pty.openpty()
    process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    time.sleep(seconds)
    process.terminate()
    process.wait()
    printed = os.read(terminal, 65_536).decode()
    os.close(terminal)
    return printed


def everyday():
    claim("SET and GET", [cli("set", "k", "v"), cli("get", "k")] == ["OK", "v"])
    claim("HELLO 3", "proto 3" in cli("-3", "hello"))
    cli("hset", "h", "f", "v")
    claim("a map of RESP3", cli("-3", "--no-raw", "hgetall", "h") == '1# "f" => "v"')
    claim("and of RESP2", cli("-2", "--no-raw", "hgetall", "h") == '1) "f"\n2) "v"')
    lines = "multi\nincr n\nincr n\nexec\nselect 3\nget k\n"
    wanted = "OK\nQUEUED\nQUEUED\n1\n2\nOK"
    claim("a session of lines", cli(stdin=lines).strip() == wanted)
    claim("EVAL", cli("eval", "return {KEYS[1], ARGV[1]}", "1", "a", "b") == "a\nb")
    claim("-x", cli("-x", "set", "from-stdin", stdin="text") == "OK" and cli("get", "from-stdin") == "text")
    claim("help is there", "SET" in cli("command", "docs", "set").upper())


def bulk():
    commands = "".join(f"SET bulk:{i} value-{i}\r\n" for i in range(KEYS))
    printed = cli("--pipe", stdin=commands)
    claim("--pipe takes 100,000 commands", f"errors: 0, replies: {KEYS}" in printed)
    claim("--scan finds them", len(cli("--scan", "--pattern", "bulk:*").splitlines()) == KEYS)
    cli("rpush", "biglist", *[str(i) for i in range(500)])
    printed = cli("--bigkeys")
    claim("--bigkeys", 'Biggest   list found "biglist" has 500 items' in printed.replace("'", ""))
    claim("--memkeys", "biglist" in cli("--memkeys"))


def looking_around():
    claim("--stat", "keys" in for_a_while("--stat", "-i", "0.3"))
    printed = cli("--latency", "--raw", "-i", "1")
    claim("--latency", len(printed.split()) >= 4)
    note(f"--latency: min, max, average in ms and samples: {' '.join(printed.split()[:4])}")
    printed = cli("monitor")
    claim("MONITOR gives a clean error", printed.startswith("ERR"))
    claim("and the connection lives on", cli(stdin="monitor\nping\n").splitlines()[-1] == "PONG")
    claim("--rdb and --replica are refused", "ERR" in cli("sync") and "ERR" in cli("psync", "?", "-1"))


version = subprocess.run(["redis-cli", "--version"], capture_output=True, text=True).stdout.strip()
print(f"    {version}")
cli("flushall")
everyday()
bulk()
looking_around()

"""redis-py, unchanged, with both protocols: what its users do every day."""

import threading
import time

import redis
from redis.lock import Lock

from check import HOST, PORT, claim


def strings_and_types(r):
    r.set("s", "v", ex=100)
    claim("strings, expiry", r.get("s") == "v" and 95 < r.ttl("s") <= 100)
    claim("counters", [r.incr("n"), r.incrby("n", 5), r.decr("n")] == [1, 6, 5])
    claim("floats", r.incrbyfloat("f", 1.25) == 1.25 and r.incrbyfloat("f", 1) == 2.25)
    claim("SET with options", r.set("s", "w", nx=True) is None and r.set("s", "w", get=True) == "v")
    r.hset("h", mapping={"a": 1, "b": 2})
    claim("hashes", r.hgetall("h") == {"a": "1", "b": "2"} and r.hincrby("h", "a", 2) == 3)
    r.rpush("l", *range(10))
    claim("lists", r.lrange("l", 0, 2) == ["0", "1", "2"] and r.lpop("l", 2) == ["0", "1"])
    r.sadd("set", "x", "y")
    claim("sets", r.smembers("set") == {"x", "y"} and r.sismember("set", "x") == 1)
    r.zadd("z", {"one": 1, "two": 2.5})
    scores = [tuple(pair) for pair in r.zrange("z", 0, -1, withscores=True)]
    claim("sorted sets", scores == [("one", 1.0), ("two", 2.5)] and r.zscore("z", "two") == 2.5)
    try:
        r.incr("h")
        claim("a wrong type is an error", False)
    except redis.ResponseError as error:
        claim("a wrong type is an error", "WRONGTYPE" in str(error))


def pipelines(r):
    pipe = r.pipeline(transaction=False)
    for i in range(5000):
        pipe.set(f"pipe:{i}", i)
    claim("a pipeline of 5,000", all(pipe.execute()))
    claim("MULTI and EXEC", r.pipeline().incr("tx").incr("tx").get("tx").execute() == [1, 2, "2"])
    found = set(r.scan_iter("pipe:*", count=500))
    claim("scan_iter finds every key", found == {f"pipe:{i}" for i in range(5000)})
    claim("a big value", r.set("big", "x" * 5_000_000) and len(r.get("big")) == 5_000_000)


def watch(connect):
    """Eight threads add to one number, each with WATCH, and try again when somebody was faster."""
    connect().set("watched", 0)

    def add(pipe):
        value = int(pipe.get("watched"))
        pipe.multi()
        pipe.set("watched", value + 1)

    def work():
        own = connect()
        for _ in range(25):
            own.transaction(add, "watched")

    threads = [threading.Thread(target=work) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    claim("no lost update under WATCH", connect().get("watched") == "200")


def pubsub(r):
    p = r.pubsub(ignore_subscribe_messages=True)
    p.subscribe("news")
    p.psubscribe("n?ws.*")
    while not (r.pubsub_numsub("news")[0][1] and r.pubsub_numpat()):
        p.get_message(timeout=0.05)
    r.publish("news", "hello")
    r.publish("news.now", "world")
    got, end = [], time.monotonic() + 5
    while len(got) < 2 and time.monotonic() < end:
        message = p.get_message(timeout=1)
        if message:
            got.append((message["type"], message["channel"], message["data"]))
    wanted = [("message", "news", "hello"), ("pmessage", "news.now", "world")]
    claim("publish and subscribe", got == wanted)
    p.close()


def blocking(r, connect):
    claim("BLPOP with nothing to pop", r.blpop("nothing", timeout=0.1) is None)
    for pop, wanted in [
        (lambda: connect().blpop(["q1", "q2"], timeout=5), ["q2", "job"]),
        (lambda: connect().blmove("q2", "done", 5), "job"),
        (lambda: connect().bzpopmin("q2", timeout=5), ["q2", "job", 3.0]),
    ]:
        got = []
        thread = threading.Thread(target=lambda: got.append(pop()))
        thread.start()
        while r.info("clients")["blocked_clients"] == 0:
            time.sleep(0.01)
        r.zadd("q2", {"job": 3}) if wanted[-1] == 3.0 else r.rpush("q2", "job")
        thread.join()
        got = list(got[0]) if isinstance(got[0], (tuple, list)) else got[0]
        claim(f"a blocked client gets {wanted}", got == wanted)


def scripts(r):
    script = r.register_script("return {KEYS[1], redis.call('INCRBY', KEYS[1], ARGV[1])}")
    r.script_flush()
    claim("EVALSHA, loaded on demand", script(["counted"], [5]) == ["counted", 5])
    claim("in a pipeline", r.script_exists(script.sha) == [True])
    pipe = r.pipeline()
    script(["counted"], [1], client=pipe)
    claim("in a transaction", pipe.execute() == [["counted", 6]])


def locks(r, connect):
    lock = r.lock("lock", timeout=5)
    claim("a lock is taken", lock.acquire(blocking=False))
    other = Lock(connect(), "lock", timeout=5, blocking_timeout=0.1)
    claim("once", not other.acquire())
    claim("and extended", lock.extend(10) and r.pttl("lock") > 10_000)
    lock.release()
    claim("and released", other.acquire() and other.owned())
    other.release()


def administration(r):
    r.client_setname("me")
    names = [client["name"] for client in r.client_list()]
    claim("CLIENT LIST", "me" in names and r.client_getname() == "me" and r.client_id() > 0)
    info = r.info()
    claim("INFO", info["redis_version"].startswith("7.0.") and info["role"] == "master")
    claim("CONFIG GET", r.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"})
    claim("COMMAND", r.command_count() > 200 and "get" in r.command())
    claim("TIME, DBSIZE, TYPE", r.time()[0] > 0 and r.dbsize() > 0 and r.type("z") == "zset")
    claim("other databases", r.ping() and r.object("encoding", "n") == "int")


for protocol in (2, 3):
    def connect():
        return redis.Redis(HOST, PORT, protocol=protocol, decode_responses=True)

    print(f"    redis-py {redis.__version__}, RESP{protocol}")
    client = connect()
    client.flushall()
    strings_and_types(client)
    pipelines(client)
    watch(connect)
    pubsub(client)
    blocking(client, connect)
    scripts(client)
    locks(client, connect)
    administration(client)
raw = redis.Redis(HOST, PORT, db=3)
claim("bytes without decoding, database 3", raw.set("b", b"\xff\r\n") and raw.get("b") == b"\xff\r\n")

"""redis-py's RedisCluster, unchanged, on a cluster of sixteen shards: it goes straight to the leaders, and
goes on when a node dies while it writes. redis-cli -c and redis-benchmark --cluster beside it.
"""

import collections
import subprocess
import threading
import time

import redis
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster
from redis.exceptions import RedisClusterException

from check import HOST, NODES, PORT, ask, claim, eventually, note

SECONDS = 8


def cluster(**options):
    nodes = [ClusterNode(host, port) for host, port in NODES]
    return RedisCluster(startup_nodes=nodes, decode_responses=True, **options)


def plain(host=HOST, port=PORT):
    return redis.Redis(host, port, decode_responses=True)


def calls(command):
    """How often each node was called."""
    stats = [plain(*node).info("commandstats") for node in NODES]
    return [each.get(f"cmdstat_{command}", {}).get("calls", 0) for each in stats]


def leaders(node):
    """The master of each range of slots, as a node tells it."""
    rows = plain(*node).execute_command("CLUSTER", "SLOTS")
    return {(row[0], row[1]): (row[2][0], row[2][1]) for row in rows}


def settled():
    """The leaders, once they have been the same for a while."""
    before = None
    while before != (shown := leaders(NODES[0])):
        before = shown
        time.sleep(1)
    return shown


def straight():
    plain().flushall()
    shown, before = settled(), [calls("set"), calls("get")]
    rc = cluster()
    owners = {slot: NODES.index(node) for (first, last), node in shown.items() for slot in range(first, last + 1)}
    wanted = [0, 0, 0]
    for i in range(1000):
        rc.set(f"k{i}", i)
        wanted[owners[rc.keyslot(f"k{i}")]] += 1
    came = [after - was for after, was in zip(calls("set"), before[0])]
    claim(f"{wanted} of 1,000 writes went straight to their leaders, {came} came", came == wanted)
    claim("they are read", all(rc.get(f"k{i}") == str(i) for i in range(1000)))
    came = [after - was for after, was in zip(calls("get"), before[1])]
    claim("from where they were written", came == wanted)
    pipe = rc.pipeline()
    for i in range(1000):
        pipe.incr(f"k{i}")
    claim("a pipeline over all of them", pipe.execute() == [i + 1 for i in range(1000)])
    claim("DBSIZE, KEYS and SCAN", (rc.dbsize(), len(rc.keys("k*")), len(list(rc.scan_iter("k*")))) == (1000,) * 3)
    moved = [plain(*node).info("errorstats").get("errorstat_MOVED", {}).get("count", 0) for node in NODES]
    claim("without MOVED", sum(moved) == 0)
    return rc


def together(rc):
    pipe = rc.pipeline(transaction=True)
    claim("MULTI in one slot", pipe.set("{t}a", 1).incr("{t}a").execute() in ([True, 2], ["OK", 2]))
    try:
        rc.mget("a", "b")
        claim("MGET over slots is refused by the client itself", False)
    except RedisClusterException:
        claim("MGET over slots is refused by the client itself")
    claim("and not by Synod", plain().mset({"a": 1, "b": 2}) and plain().mget("a", "b") == ["1", "2"])
    script = rc.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
    claim("scripts", script(keys=["n"], args=[7]) == 7)
    listener = rc.pubsub()
    listener.subscribe("channel")
    listener.get_message(timeout=5)
    rc.publish("channel", "text")
    claim("pub/sub", listener.get_message(timeout=5)["data"] == "text")


def tools():
    def cli(*args):
        command = ["redis-cli", "-c", "-h", HOST, "-p", str(PORT), *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()

    claim("redis-cli -c", [cli("set", f"cli{i}", str(i)) for i in range(9)] == ["OK"] * 9)
    claim("and what it wrote", [cli("get", f"cli{i}") for i in range(9)] == [str(i) for i in range(9)])
    plain().config_set("cluster-redirects", "yes")
    claim("redis-cli -c follows MOVED", [cli("get", f"cli{i}") for i in range(9)] == [str(i) for i in range(9)])
    plain().config_set("cluster-redirects", "auto")
    if len(set(leaders(NODES[0]).values())) == 1:
        return note("redis-benchmark takes no cluster whose slots are all at one node, as they are at the moment")
    command = ["redis-benchmark", "--cluster", "-h", HOST, "-p", str(PORT), "-n", "20000", "-t", "set,get", "-q"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    said = run.stdout + run.stderr
    done = run.returncode == 0 and "SET:" in said and "GET:" in said and "rror" not in said
    claim(f"redis-benchmark --cluster{'' if done else said[-500:]}", done)


def replicas(rc):
    """With READONLY replicas answer, and each read sees what was acknowledged before it."""
    before = calls("get")
    reader = cluster(load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN)
    for i in range(1000):
        rc.set("fresh", i)
        if reader.get("fresh") != str(i):
            claim("a read from a replica is as fresh as one from the leader", False)
    claim("a read from a replica is as fresh as one from the leader")
    spread = [after - was for after, was in zip(calls("get"), before)]
    claim(f"the nodes answered {spread} of 1,000 reads", min(spread) > 200)


def failover():
    """Writes to all shards without pause; kills a node that leads some of them."""
    errors, added, over = collections.Counter(), [], threading.Event()
    victim = collections.Counter(leaders(NODES[0]).values()).most_common(1)[0][0]
    longest = [0.0, 0.0]

    def write(thread):
        own, last = cluster(), time.monotonic()
        for number in range(thread, 10_000_000, 2):
            if over.is_set():
                return
            try:
                own.set(f"added:{number}", number)
                added.append(number)
            except redis.RedisError as error:
                errors[f"{type(error).__name__}: {error}"[:100]] += 1
                time.sleep(0.05)
            longest[thread] = max(longest[thread], time.monotonic() - last)
            last = time.monotonic()

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(2)]
    [thread.start() for thread in threads]
    time.sleep(2)
    ask(f"kill {victim[0]}:{victim[1]}")
    witness = next(node for node in NODES if node != victim)
    eventually("the map names other leaders", 5, lambda: victim not in leaders(witness).values())
    time.sleep(SECONDS - 2)
    over.set()
    [thread.join() for thread in threads]
    r = plain(*witness)
    lost = [number for number in added if r.get(f"added:{number}") is None]
    claim(f"none of {len(added)} acknowledged writes is lost", not lost)
    for text, count in errors.items():
        note(f"{count} times: {text}")
    claim("no error reached the program", not errors)
    note(f"longest time without an answer: {max(longest) * 1000:.0f} ms")


print(f"    redis-py {redis.__version__}, RedisCluster")
client = straight()
together(client)
tools()
replicas(client)
failover()

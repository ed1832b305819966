"""What redis-py sees when a node dies: how long nothing is answered, which errors reach the program,
and that nothing that was acknowledged is lost.

Argument: `leader` kills the leader, a node that this client does not talk to, and the client has
the settings that it comes with; `own` kills the very node that it talks to, and the client tries
again for longer.
"""

import collections
import sys
import threading
import time

import redis

from check import HOST, PORT, ask, claim, connect, note

SECONDS = 8
OWN = sys.argv[1] == "own"
errors = collections.Counter()
added, popped, pushed = [], [], []
over = threading.Event()


def client():
    return connect(patient=OWN, decode_responses=True)


def attempt(call):
    """Calls; notes an error that redis-py did not deal with by itself."""
    try:
        return call()
    except redis.RedisError as error:
        errors[f"{type(error).__name__}: {error}"[:80]] += 1
        time.sleep(0.05)


def write(longest):
    """Adds one number after the other to a set."""
    own, last = client(), time.monotonic()
    for number in range(1_000_000):
        if over.is_set():
            return
        if attempt(lambda: own.sadd("added", number)) is not None:
            added.append(str(number))
        longest[0] = max(longest[0], time.monotonic() - last)
        last = time.monotonic()


def push():
    own = client()
    for number in range(1_000_000):
        if over.is_set():
            return
        if attempt(lambda: own.rpush("queue", number)):
            pushed.append(str(number))
        time.sleep(0.25)


def pop():
    """Waits for what is pushed, four times a second: mostly it is blocked when the node dies."""
    own = client()
    while not over.is_set():
        got = attempt(lambda: own.blpop("queue", timeout=1))
        if got:
            popped.append(got[1])


print(f"    redis-py {redis.__version__}, kills {sys.argv[1]}")
longest = [0.0]
threads = [threading.Thread(target=work) for work in (lambda: write(longest), push, pop)]
[thread.start() for thread in threads]
time.sleep(2)
ask(f"kill {HOST}:{PORT}" if OWN else "kill leader")
time.sleep(SECONDS - 2)
over.set()
[thread.join() for thread in threads]
r = client()
claim(f"none of {len(added)} acknowledged writes is lost", set(added) <= r.smembers("added"))
claim("no error reached the program", not errors)
note(f"longest time without an answer: {longest[0] * 1000:.0f} ms")
left = r.lrange("queue", 0, -1)
if OWN:
    # A push that is tried again may count twice; a pop whose reply was cut off is gone, as with Redis.
    note(f"{len(pushed)} elements pushed, {len(popped)} popped, {len(left)} left")
else:
    claim(f"each of {len(pushed)} elements was popped once, in order", popped + left == pushed)

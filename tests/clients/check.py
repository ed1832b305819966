"""What the Python scripts share: where the cluster is, claims, and asking the harness for trouble.

The harness (`cargo xtask clients`) sets the addresses, reads what a script prints, and obeys lines
that begin with `@`.
"""

import os
import time

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

# A node that does not lead when the script starts, and all nodes.
HOST, PORT = os.environ["SYNOD_ADDR"].split(":")
PORT = int(PORT)
NODES = [(host, int(port)) for host, port in (a.split(":") for a in os.environ["SYNOD_ADDRS"].split(","))]


def connect(db=0, patient=True, **options):
    """A client of the node at hand. redis-py gives up after ten attempts in about two seconds; a
    patient one goes on for about fifteen, so that its node may come back."""
    if patient:
        options["retry"] = Retry(ExponentialWithJitterBackoff(cap=1, base=0.01), 30)
    return redis.Redis(HOST, PORT, db=db, **options)


def claim(text, holds=True):
    """Prints a claim, or fails with it."""
    if not holds:
        raise SystemExit(f"FAILED: {text}")
    print(f"  ok  {text}", flush=True)


def note(text):
    """Prints a figure or an observation."""
    print(f"      {text}", flush=True)


def ask(order):
    """Asks the harness: `kill leader` or `kill HOST:PORT`; each is started again after two seconds."""
    print(f"@{order}", flush=True)


def eventually(text, seconds, condition, otherwise=lambda: ""):
    """Waits until `condition` holds; if it never does, `otherwise` tells more."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"FAILED: {text}, not within {seconds} s {otherwise()}")
        time.sleep(0.02)
    claim(text)

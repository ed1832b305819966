"""Celery, unchanged, with Synod as its broker and its result backend: 1,000 jobs of every kind, while
a node is killed in their midst. Every job adds itself to a set; in the end none may be missing.

Argument: `leader` kills the leader, a node that Celery does not talk to; `own` kills the very node
that Celery talks to, and its broker URL names all nodes. Then the one job may be gone that BRPOP had
taken out for the connection that broke, and with it the rest of its chain: so it is with any server.
"""

import os
import subprocess
import sys
import time

import celery
import redis
from celery import chain, chord, group

from check import HOST, NODES, PORT, ask, claim, connect, eventually, note

OWN = "own" in sys.argv or os.environ.get("SYNOD_KILLS") == "own"
BROKERS = [f"redis://{host}:{port}/1" for host, port in ([(HOST, PORT)] + (NODES if OWN else []))]

CHAIN = 5

app = celery.Celery("celery_jobs", broker=";".join(BROKERS), backend=f"redis://{HOST}:{PORT}/2")
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 30},
    task_acks_late=True,
    result_backend_always_retry=True,
)
store = connect()


def done(job):
    store.sadd("celery:done", job)


@app.task
def record(job):
    done(job)
    return 1


@app.task
def step(total, job):
    done(job)
    return total + 1


@app.task
def total(values, job):
    done(job)
    return sum(values)


@app.task(bind=True, max_retries=5)
def stubborn(self, job):
    """Fails twice before it succeeds."""
    store.hincrby("celery:attempts", job, 1)
    if self.request.retries < 2:
        raise self.retry(countdown=0.5)
    done(job)
    return self.request.retries


def submit():
    """1,000 jobs; gives what is to be waited for, each with the result that it must have."""
    wanted = []
    for i in range(30):
        head = [record.s(f"chord:{i}:{j}") for j in range(9)]
        wanted.append((chord(head)(total.s(f"chord:{i}:end")), 9))
    for i in range(60):
        links = [record.s(f"chain:{i}:0")] + [step.s(f"chain:{i}:{j}") for j in range(1, CHAIN)]
        wanted.append((chain(links)(), CHAIN))
    for i in range(60):
        wanted.append((stubborn.delay(f"retry:{i}"), 2))
        wanted.append((record.apply_async((f"countdown:{i}",), countdown=1 + i % 6), 1))
    wanted.append((group(record.s(f"group:{i}") for i in range(280))(), [1] * 280))
    return wanted


def left(wanted):
    """What has no result, and what the broker still holds, for the report of a failure."""
    broker = connect(1)
    open_results = [result.id for result, _ in wanted if not result.ready()]
    queued, unacknowledged = broker.llen("celery"), broker.hlen("unacked")
    return f"{store.scard('celery:done')} done, {len(open_results)} of {len(wanted)} results open, " \
        f"{queued} jobs queued, {unacknowledged} not acknowledged"


def is_idle():
    """Does the broker hold nothing, for three seconds?"""
    broker, looks = connect(1), 0
    while looks < 30 and not broker.llen("celery") and not broker.hlen("unacked"):
        looks += 1
        time.sleep(0.1)
    return looks == 30


def main():
    store.delete("celery:done", "celery:attempts")
    print(f"    Celery {celery.__version__}, redis-py {redis.__version__}, kills {sys.argv[1]}")
    command = ["-m", "celery", "-A", "celery_jobs", "worker", "--concurrency", "4", "-l", "warning"]
    log = open(os.environ["SYNOD_LOG"], "w")
    environment = dict(os.environ, SYNOD_KILLS=sys.argv[1])
    worker = subprocess.Popen([sys.executable] + command, stdout=log, stderr=log, env=environment)
    try:
        begin = time.monotonic()
        wanted = submit()
        eventually("200 jobs are done", 60, lambda: store.scard("celery:done") >= 200)
        ask(f"kill {HOST}:{PORT}" if OWN else "kill leader")
        all_run = lambda: store.scard("celery:done") >= 1000
        settled = (lambda: all_run() or is_idle()) if OWN else all_run
        eventually("all jobs were run", 150, settled, lambda: left(wanted))
        gone = 1000 - store.scard("celery:done")
        claim(f"{gone} of 1,000 jobs are gone", gone <= (CHAIN if OWN else 0))
        ended = [(result.get(timeout=60), w) for result, w in wanted if not gone or result.ready()]
        claim("every chord, chain, retry and group has its result", all(r == w for r, w in ended))
        attempts = store.hvals("celery:attempts")
        claim("retries were made", len(attempts) == 60 and all(int(a) >= 3 for a in attempts))
        note(f"{time.monotonic() - begin:.1f} s in all")
        for result, _ in wanted:
            result.forget()
        claim("the worker lived through it", worker.poll() is None)
    finally:
        worker.terminate()
        worker.wait(30)


if __name__ == "__main__":
    main()

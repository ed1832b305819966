"""Celery, unchanged, with Synod as its broker and its result backend: 1,000 jobs of every kind, while
a node is killed in their midst. Every job adds itself to a set; in the end none may be missing.

Argument: `leader` kills the leader, a node that Celery does not talk to: nothing may be missing. `own`
kills the very node that Celery talks to, and its broker URL names all nodes. Then Celery itself drops
a few jobs (docs/clients.md says which, and how many on Redis), with what depends on them: the rest of a
chain, the end of a chord. A worker that ends by itself is started again, as a supervisor would.
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
    # Without the second, jobs whose time is over are looked for every 100 s.
    broker_transport_options={"visibility_timeout": 30, "unacked_restore_throttle": 1},
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


class Worker:
    """Celery's worker, which is started again when it has ended."""

    COMMAND = ["-m", "celery", "-A", "celery_jobs", "worker", "--concurrency", "4", "-l", "warning"]

    def __init__(self):
        self.log = open(os.environ["SYNOD_LOG"], "w")
        self.starts = 0
        self.start()

    def start(self):
        environment = dict(os.environ, SYNOD_KILLS=sys.argv[1])
        command = [sys.executable] + self.COMMAND
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)
        self.starts += 1

    def look(self):
        """Starts it again if it has ended. Says so, for it should not."""
        if self.process.poll() is not None:
            note(f"the worker ended by itself, with {self.process.returncode}; it is started again")
            self.start()

    def end(self):
        self.process.terminate()
        self.process.wait(30)


def outcome(result):
    """What a job came to; an error is a value here."""
    try:
        return result.get(timeout=60)
    except Exception as error:
        return error


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
    worker = Worker()
    try:
        begin = time.monotonic()
        wanted = submit()
        eventually("200 jobs are done", 60, lambda: store.scard("celery:done") >= 200)
        ask(f"kill {HOST}:{PORT}" if OWN else "kill leader")
        all_run = lambda: store.scard("celery:done") >= 1000
        settled = lambda: worker.look() or all_run() or OWN and is_idle()
        eventually("all jobs were run", 150, settled, lambda: left(wanted))
        gone = 1000 - store.scard("celery:done")
        claim(f"{gone} of 1,000 jobs are gone", gone <= (CHAIN if OWN else 0))
        ended = [(outcome(result), w) for result, w in wanted if not gone or result.ready()]
        failed = [value for value, _ in ended if isinstance(value, Exception)]
        [note(f"a job failed: {error}") for error in failed]
        claim(f"{len(failed)} results are errors", len(failed) <= (CHAIN if OWN else 0))
        right = all(value == w for value, w in ended if not isinstance(value, Exception))
        claim("every other chord, chain, retry and group that is done has its result", right)
        attempts = store.hvals("celery:attempts")
        tries = [int(count) for count in attempts if int(count) >= 3]
        claim("retries were made", len(tries) >= 60 - gone)
        note(f"{time.monotonic() - begin:.1f} s in all")
        for result, _ in wanted:
            result.forget()
        claim("the worker lived through it", OWN or worker.starts == 1)
    finally:
        worker.end()


if __name__ == "__main__":
    main()

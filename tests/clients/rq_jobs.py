"""RQ, unchanged: 1,000 jobs, a tenth of which fail at first, while a node is killed in their midst. Every
job adds itself to a set; in the end none may be missing.

Argument: `leader` kills the leader, a node that RQ does not talk to; `own` kills the very node that
RQ talks to, and its connections try again until the node is back.
"""

import os
import subprocess
import sys
import time

import redis
import rq

from check import HOST, PORT, ask, claim, connect, eventually, note


def record(job):
    connect().sadd("rq:done", job)
    return job


def stubborn(job):
    """Fails at its first attempt."""
    if connect().hincrby("rq:attempts", job, 1) == 1:
        raise RuntimeError("once more")
    return record(job)


def submit(queue):
    """1,000 jobs: 900 in one go, 100 that need another try. None depends on another: RQ 3.0.0 forgets
    some of those with any server, Redis included, until its maintenance finds them."""
    prepared = [queue.prepare_data(record, (f"many:{i}",)) for i in range(900)]
    jobs = queue.enqueue_many(prepared)
    for i in range(100):
        jobs.append(queue.enqueue(stubborn, f"retry:{i}", retry=rq.Retry(max=3)))
    return jobs


def left(store, jobs):
    """What became of the jobs that were not run, for the report of a failure."""
    done = {job.decode() for job in store.smembers("rq:done")}
    return [(job.args, job.get_status().value) for job in jobs if job.args[0] not in done]


def work():
    """A worker that runs jobs in its own process: a fork for each of 1,000 jobs measures forks."""
    connection = connect()
    rq.SimpleWorker([rq.Queue("default", connection=connection)], connection=connection).work()


def main():
    store = connect()
    store.flushdb()
    print(f"    RQ {rq.__version__}, redis-py {redis.__version__}, kills {sys.argv[1]}")
    log = open(os.environ["SYNOD_LOG"], "w")
    command = [sys.executable, "-c", "import rq_jobs; rq_jobs.work()"]
    workers = [subprocess.Popen(command, stdout=log, stderr=log) for _ in range(3)]
    try:
        begin = time.monotonic()
        import rq_jobs  # so that jobs are named as the workers know them

        jobs = rq_jobs.submit(rq.Queue("default", connection=store))
        eventually("200 jobs are done", 60, lambda: store.scard("rq:done") >= 200)
        ask(f"kill {HOST}:{PORT}" if sys.argv[1] == "own" else "kill leader")
        all_run = lambda: store.scard("rq:done") >= 1000
        eventually("all 1,000 jobs were run", 120, all_run, lambda: left(store, jobs))
        ends = lambda: all(job.get_status(refresh=True) == "finished" for job in jobs)
        eventually("and are recorded as finished", 60, ends)
        note(f"{time.monotonic() - begin:.1f} s in all")
        claim("the workers lived through it", all(worker.poll() is None for worker in workers))
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(30)


if __name__ == "__main__":
    main()

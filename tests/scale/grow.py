#!/usr/bin/env python3
"""A cluster of three nodes grows to five and shrinks again under load: what do its clients notice?

    tests/scale/grow.py --synod target/release/synod --load 95

First the load that three nodes can bear is measured, by `synod bench` without a rate: half SET and half
GET of values of 200 bytes, on the three old nodes. Then so much of it in a hundred is asked for at that rate while
two nodes are added, stay for a while, and are drained. Every second is shown with what the three
nodes answered in it, and at the end what no client should have heard: errors.

Five nodes on the processors of three do less than those: `--processors 0.25` gives each a quarter of
one and no more, as on a machine of its own (control groups: it takes root).
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from cluster import SECRET, Cluster, parser_of, ports

NODES, SHARDS, KEYS = 3, 16, 200_000
# Long enough for snapshots to be taken in it.
PEAK_SECONDS = 15
# How long the load runs before the first move, between moves, and after the last.
CALM_SECONDS = 6


def bench(options, cluster, *more):
    addrs = [word for port in cluster.ports[:NODES] for word in ("--addr", f"127.0.0.1:{port}")]
    command = [options.synod, "bench", *addrs, "--workload", "mixed", "--read-percent", "50"]
    command += ["--clients", str(options.clients), "--pipeline", str(options.pipeline)]
    command += ["--keys", str(KEYS), "--value-size", "200", "--json", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result(process):
    text, _ = process.communicate()
    if process.returncode:
        sys.exit(f"the load failed: {text}")
    return json.loads(text.splitlines()[-1])


class Counter(threading.Thread):
    """Counts, second by second, the calls that the old nodes have answered."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.seconds, self.notes, self.ends = [], {}, False
        self.links = [socket.create_connection(("127.0.0.1", port)) for port in cluster.ports[:NODES]]
        self.files = [link.makefile("rwb") for link in self.links]

    def calls(self):
        total = 0
        for file in self.files:
            file.write(b"INFO stats\r\n")
            file.flush()
            body = file.read(int(file.readline()[1:]) + 2).decode()
            total += int(body.split("total_commands_processed:")[1].split("\r")[0])
        return total

    def run(self):
        before, then = self.calls(), time.monotonic()
        while not self.ends:
            time.sleep(1)
            # The answer may take a while, and shows what was when it was given.
            after, now = self.calls(), time.monotonic()
            self.seconds.append((after - before) / (now - then))
            then, before = now, after

    def note(self, text):
        self.notes[len(self.seconds)] = text


def command(options, cluster, *words):
    addr = f"127.0.0.1:{cluster.ports[0]}"
    said = subprocess.run([options.synod, *words, "--addr", addr], capture_output=True, text=True)
    if said.returncode:
        sys.exit(f"synod {' '.join(words)}: {said.stdout}{said.stderr}")
    return said.stdout


def number_of(options, cluster, port):
    nodes = json.loads(command(options, cluster, "node", "list", "--json"))
    return str(next(node["id"] for node in nodes if node["addr"].endswith(f":{port}")))


def move(options, cluster, counter):
    """Grows, waits, shrinks."""
    added = ports(2)
    for port in added:
        counter.note("a node is added")
        cluster.start(port, ["--join", f"127.0.0.1:{cluster.ports[0]}", *SECRET])
        command(options, cluster, "node", "add", f"127.0.0.1:{port}")
    counter.note("five nodes")
    time.sleep(CALM_SECONDS)
    for port in added:
        counter.note("a node is drained")
        number = number_of(options, cluster, port)
        command(options, cluster, "node", "drain", number)
        command(options, cluster, "node", "remove", number)
    counter.note("three nodes")


def run(options, directory):
    with Cluster(options.synod, NODES, SHARDS, directory, options.processors) as cluster:
        peak = result(bench(options, cluster, "--seconds", str(PEAK_SECONDS)))["ops_per_second"]
        rate = peak * options.load / 100
        print(f"peak {peak:,.0f} calls a second, load {rate:,.0f}")
        load = bench(options, cluster, "--rate", str(rate), "--no-fill", "--seconds", str(options.seconds))
        counter = Counter(cluster)
        time.sleep(1)
        counter.start()
        time.sleep(CALM_SECONDS)
        move(options, cluster, counter)
        told = result(load)
        counter.ends = True
        counter.join()
        # The last second or two are those in which the load ended.
        shown = counter.seconds[: max(counter.notes) + CALM_SECONDS]
        for second, calls in enumerate(shown):
            note = counter.notes.get(second, "")
            print(f"{second:4} s  {calls:10,.0f}  {calls / rate * 100:4.0f} %  {note}")
        worst = min(shown)
        print(f"worst second {worst:,.0f}, {100 - worst / rate * 100:.0f} % below the load; errors {told['errors']}")
        for text, count in told["errors_by_text"].items():
            print(f"  {count} x {text}")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--load", type=float, default=95, help="in a hundred of the peak")
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--pipeline", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=45)
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="grow-", dir=options.directory)
    try:
        run(options, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A cluster of three nodes grows to five and shrinks again under load: what do its clients notice?

    tests/scale/grow.py --synod target/release/synod --load 95

First the load that three nodes can bear is measured, by `synod bench` without a rate: half SET and half
GET of values of 200 bytes, on the three old nodes; then what five can bear, for on the processors of three
they do less, whatever moves. Then so much of the lesser in a hundred is asked for at that rate while
two nodes are added, stay for a while, and are drained. Every second is shown with the calls
that were answered in it, and at the end what no client should have heard: errors.

`--processors 0.25` gives each node a quarter of a processor and no more (control groups: it takes root).
The kernel gives such a share in pieces, 1.25 ms in each 5 then: who waits for several nodes waits for
several pieces, and what is measured is how they happen to lie.
"""

import json
import shutil
import subprocess
import sys
import tempfile
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


def command(options, cluster, *words):
    addr = f"127.0.0.1:{cluster.ports[0]}"
    said = subprocess.run([options.synod, *words, "--addr", addr], capture_output=True, text=True)
    if said.returncode:
        sys.exit(f"synod {' '.join(words)}: {said.stdout}{said.stderr}")
    return said.stdout


def number_of(options, cluster, port):
    nodes = json.loads(command(options, cluster, "node", "list", "--json"))
    return str(next(node["id"] for node in nodes if node["addr"].endswith(f":{port}")))


def grow(options, cluster, note):
    """Two nodes more: their ports."""
    added = ports(2)
    for port in added:
        note("a node is added")
        cluster.start(port, ["--join", f"127.0.0.1:{cluster.ports[0]}", *SECRET])
        command(options, cluster, "node", "add", f"127.0.0.1:{port}")
    note("five nodes")
    return added


def shrink(options, cluster, added, note):
    for port in added:
        note("a node is drained")
        number = number_of(options, cluster, port)
        command(options, cluster, "node", "drain", number)
        command(options, cluster, "node", "remove", number)
    note("three nodes")


def peaks(options, cluster):
    """Calls a second that three nodes answer, and five."""
    seconds = ["--seconds", str(PEAK_SECONDS)]
    three = result(bench(options, cluster, *seconds))["ops_per_second"]
    added = grow(options, cluster, lambda _: None)
    five = result(bench(options, cluster, "--no-fill", *seconds))["ops_per_second"]
    shrink(options, cluster, added, lambda _: None)
    return three, five


def run(options, directory):
    with Cluster(options.synod, NODES, SHARDS, directory, options.processors) as cluster:
        three, five = peaks(options, cluster)
        rate = min(three, five) * options.load / 100
        print(f"three nodes {three:,.0f} calls a second, five {five:,.0f}, load {rate:,.0f}")
        begun, notes = time.monotonic(), {}
        limits = ["--warmup", "0", "--seconds", str(options.seconds)]
        load = bench(options, cluster, "--rate", str(rate), "--no-fill", *limits)

        def note(text):
            notes.setdefault(int(time.monotonic() - begun), []).append(text)

        time.sleep(CALM_SECONDS)
        added = grow(options, cluster, note)
        time.sleep(CALM_SECONDS)
        shrink(options, cluster, added, note)
        told = result(load)
    # What was late was answered behind the end.
    seconds = told["ops_by_second"][: options.seconds]
    for second, calls in enumerate(seconds):
        print(f"{second:4} s  {calls:10,}  {calls / rate * 100:4.0f} %  {', '.join(notes.get(second, []))}")
    if max(notes) + CALM_SECONDS > len(seconds):
        sys.exit("the load ended before the moves: --seconds")
    worst = min(seconds)
    print(f"worst second {worst:,}, {100 - worst / rate * 100:.0f} % below the load; errors {told['errors']}, lost {told['lost']}")
    for text, count in told["errors_by_text"].items():
        print(f"  {count} x {text}")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--load", type=float, default=95, help="in a hundred of the lesser peak")
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--pipeline", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="grow-", dir=options.directory)
    try:
        run(options, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()

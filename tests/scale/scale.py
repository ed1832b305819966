#!/usr/bin/env python3
"""Throughput and processor time for each call, against the number of shards and of nodes.

    tests/scale/scale.py --synod target/release/synod --svg docs/scale.svg

Real processes on loopback, real disks, redis-benchmark as the generator (it is Redis's, so install
redis-tools). Each round starts every cluster afresh, so whatever else the machine does meanwhile
touches all alike; the table and the picture show medians over the rounds. Nodes and generator share
the processors: what the nodes took of them for each call, from /proc, says more than the
throughput.

Nodes that share two processors do less the more they are. With `--processors 0.25` each node gets a
quarter of one and no more, as on a machine of its own (control groups: it takes root).

MSET writes two keys by chance: on S shards they lie on two of them in (S-1)/S of the calls.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from cluster import Cluster, parser_of

SHARDS = (1, 4, 16, 64)
NODES = (1, 3, 5)
KEY, VALUE = "key:{}:__rand_int__", "v" * 64
LOADS = {
    "SET": ["set", KEY.format("a"), VALUE],
    "GET": ["get", KEY.format("a")],
    "MSET": ["mset", KEY.format("a"), VALUE, KEY.format("b"), VALUE],
}


def load(cluster, arguments, calls, clients):
    """Calls a second, and microseconds of processor time of the nodes for each."""
    before, began, share = cluster.cpu(), time.monotonic(), len(cluster.ports)
    running = []
    for port in cluster.ports:
        command = ["redis-benchmark", "-p", str(port), "-n", str(calls // share)]
        command += ["-c", str(max(clients // share, 1)), "-r", "100000", "-q", *arguments]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    if any([each.wait() for each in running]):
        sys.exit(f"redis-benchmark {' '.join(arguments[:1])} failed")
    seconds, done = time.monotonic() - began, calls // share * share
    return done / seconds, (cluster.cpu() - before) / done * 1e6


def measure(options):
    samples = {}
    for number in range(options.rounds):
        for nodes in NODES:
            for shards in SHARDS:
                directory = tempfile.mkdtemp(prefix="scale-", dir=options.directory)
                print(f"round {number + 1}: {nodes} nodes, {shards} shards", file=sys.stderr)
                try:
                    with Cluster(options.synod, nodes, shards, directory, options.processors) as cluster:
                        for name, arguments in LOADS.items():
                            load(cluster, arguments, options.calls // 5, options.clients)
                            result = load(cluster, arguments, options.calls, options.clients)
                            samples.setdefault((name, nodes, shards), []).append(result)
                finally:
                    shutil.rmtree(directory, ignore_errors=True)
    median = lambda values: tuple(statistics.median(column) for column in zip(*values))
    return {cell: median(values) for cell, values in samples.items()}


def table(medians):
    head = " | ".join(f"{name}/s, CPU" for name in LOADS)
    print(f"| nodes | shards | {head} |")
    print("| --- " * (len(LOADS) + 2) + "|")
    for nodes in NODES:
        for shards in SHARDS:
            cells = [medians[name, nodes, shards] for name in LOADS]
            texts = " | ".join(f"{rate:,.0f}, {cpu:.0f} us" for rate, cpu in cells)
            print(f"| {nodes} | {shards} | {texts} |")


COLOURS = {1: "#3b8a5a", 3: "#2c6fbb", 5: "#c0392b"}
WIDTH, HEIGHT, GAP, LEFT, TOP = 260, 170, 70, 70, 60


def panel(out, x, y, title, lines):
    """Shards from left to right, each twice as far as it has doubled; a line for each node count."""
    top = max(value for line in lines.values() for value in line) * 1.1
    out.append(f'<text x="{x}" y="{y - 10}" class="t">{title}</text>')
    for part in range(5):
        height = y + HEIGHT - part * HEIGHT / 4
        out.append(f'<path class="g" d="M{x} {height:.1f}h{WIDTH}"/>')
        label = f"{top * part / 4:,.0f}"
        out.append(f'<text x="{x - 6}" y="{height + 4:.1f}" text-anchor="end">{label}</text>')
    step = WIDTH / (len(SHARDS) - 1)
    for at, shards in enumerate(SHARDS):
        place = x + at * step
        out.append(f'<text x="{place:.1f}" y="{y + HEIGHT + 18}" text-anchor="middle">{shards}</text>')
    for nodes, line in lines.items():
        points = [(x + at * step, y + HEIGHT * (1 - value / top)) for at, value in enumerate(line)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        colour = COLOURS[nodes]
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for px, py in points:
            out.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>')


def draw(medians, path):
    width = LEFT + len(LOADS) * (WIDTH + GAP)
    height = TOP + 2 * (HEIGHT + GAP) + 20
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">',
        "<style>text{font:12px sans-serif;fill:#333}.t{font:bold 13px sans-serif}"
        ".g{stroke:#ddd}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for at, nodes in enumerate(NODES):
        x = LEFT + at * 110
        out.append(f'<path d="M{x} 20h24" stroke="{COLOURS[nodes]}" stroke-width="2"/>')
        out.append(f'<text x="{x + 30}" y="24">{nodes} node{"s" * (nodes > 1)}</text>')
    for column, name in enumerate(LOADS):
        x = LEFT + column * (WIDTH + GAP)
        for row, what in enumerate(("calls a second", "us of CPU of all nodes for each call")):
            lines = {n: [medians[name, n, s][row] for s in SHARDS] for n in NODES}
            panel(out, x, TOP + row * (HEIGHT + GAP), f"{name}: {what}", lines)
    out.append(f'<text x="{LEFT}" y="{height - 8}">against the number of shards</text></svg>\n')
    with open(path, "w") as file:
        file.write("\n".join(out))


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--svg", help="where to draw")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--clients", type=int, default=60)
    options = parser.parse_args()
    medians = measure(options)
    table(medians)
    if options.svg:
        draw(medians, options.svg)


if __name__ == "__main__":
    main()

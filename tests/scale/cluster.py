"""Clusters of real processes on loopback, each node with a processor of its own if so wished."""

import argparse
import os
import socket
import subprocess
import sys
import time

START_SECONDS = 60
# Elections are patient, lest a machine that is busy with other things has them all the time.
PATIENCE = ["--election-timeout-ms", "2000", "--heartbeat-interval-ms", "100"]
SECRET = ["--secret", "scale"]
TICK = os.sysconf("SC_CLK_TCK")

# A node that has used up its share of a period stands still for the rest of it: short ones, lest that
# looks like a fault.
PERIOD_US = 5_000
# The kernel's least share of a period.
QUOTA_US_MIN = 1_000
CGROUP_1, CGROUP_2 = "/sys/fs/cgroup/cpu", "/sys/fs/cgroup"


class Share:
    """So much of a processor for a process, by the kernel's control groups, and before whoever has no
    share. It takes root."""

    def __init__(self, pid, processors):
        first = os.path.isdir(CGROUP_1)
        self.folder = f"{CGROUP_1 if first else CGROUP_2}/synod-scale-{pid}"
        period = max(PERIOD_US, int(QUOTA_US_MIN / processors) + 1)
        quota = max(QUOTA_US_MIN, int(period * processors))
        try:
            os.mkdir(self.folder)
            if first:
                self.put("cpu.cfs_period_us", period)
                self.put("cpu.cfs_quota_us", quota)
                self.put("cpu.shares", 262_144)
            else:
                self.put("cpu.max", f"{quota} {period}")
                self.put("cpu.weight", 10_000)
            self.put("cgroup.procs", pid)
        except OSError as error:
            sys.exit(f"--processors needs root and control groups for cpu: {error}")

    def put(self, name, value):
        with open(f"{self.folder}/{name}", "w") as file:
            file.write(str(value))

    def end(self):
        """When its process has ended."""
        os.rmdir(self.folder)


class Cluster:
    """Nodes that serve, until the end of a `with`."""

    def __init__(self, synod, nodes, shards, directory, processors=None):
        self.synod, self.directory, self.processors = synod, directory, processors
        self.ports, self.processes, self.shares = [], [], []
        founders = ports(nodes)
        addrs = ",".join(f"127.0.0.1:{port}" for port in founders)
        for port in founders:
            joins = ["--join", addrs, *SECRET] if nodes > 1 else []
            self.start(port, ["--shards", str(shards), *joins])

    def start(self, port, options):
        """One more process, of which nobody waits that it serves."""
        command = [self.synod, "serve", "--listen", f"127.0.0.1:{port}", *PATIENCE, *options]
        command += ["--data", f"{self.directory}/node-{port}"]
        with open(f"{self.directory}/log-{port}", "wb") as log:
            process = subprocess.Popen([*self.place(), *command], stdout=log, stderr=log)
        if self.processors:
            self.shares.append(Share(process.pid, self.processors))
        self.ports.append(port)
        self.processes.append(process)

    def place(self):
        """Where the next one runs, if it has a share: on one processor, for what is left of a slice that one
        has taken from the share is lost to the others."""
        if not self.processors:
            return []
        processors = sorted(os.sched_getaffinity(0))
        return ["taskset", "-c", str(processors[len(self.processes) % len(processors)])]

    def __enter__(self):
        until = time.monotonic() + START_SECONDS
        for port in self.ports:
            # Keys of all shards, so that each has a leader that this node knows.
            while not all(answers(port, f"ready:{key}") for key in range(64)):
                if time.monotonic() > until:
                    self.__exit__()
                    sys.exit(f"the node on port {port} does not serve after {START_SECONDS} s")
                time.sleep(0.1)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        for share in self.shares:
            share.end()

    def cpu(self):
        """Seconds of processor time that all nodes have taken."""
        ticks = 0
        for process in self.processes:
            with open(f"/proc/{process.pid}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICK


def parser_of(about):
    """What both measurements are told."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--synod", default="target/release/synod")
    parser.add_argument("--processors", type=float, help="for each node; shared by all if not given")
    parser.add_argument("--directory", help="where data goes, for it lies on the disk to measure")
    return parser


def ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    taken = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return taken


def answers(port, key):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(f"SET {key} 1\r\n".encode())
            return connection.recv(64).startswith(b"+OK")
    except OSError:
        return False

"""A backup to a bucket and back, against a server that speaks S3's protocol.

`cargo xtask s3` runs it: SYNOD is the binary, SYNOD_ADDR a node of a cluster of its own, S3 the server.
"""

import os
import socket
import subprocess
import sys

import boto3

SYNOD, ADDR, S3 = os.environ["SYNOD"], os.environ["SYNOD_ADDR"], os.environ["S3"]
KEYS, VALUE = 4_000, "v" * 10_000
ACCESS = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
PLACE = "s3://backups/some/where"


class Client:
    """RESP, as much of it as is needed here."""

    def __init__(self):
        host, port = ADDR.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.input = self.socket.makefile("rb")

    def send(self, *args):
        parts = [f"*{len(args)}\r\n"] + [f"${len(arg)}\r\n{arg}\r\n" for arg in args]
        self.socket.sendall("".join(parts).encode())

    def reply(self):
        line = self.input.readline().rstrip(b"\r\n").decode()
        if line[0] == "-":
            raise RuntimeError(line)
        if line[0] == "$":
            size = int(line[1:])
            return None if size < 0 else self.input.read(size + 2)[:-2].decode()
        return line[1:]

    def call(self, *args):
        self.send(*args)
        return self.reply()


def synod(*args):
    env = dict(os.environ, AWS_ENDPOINT_URL=S3, AWS_ALLOW_HTTP="true", **ACCESS)
    return subprocess.run([SYNOD, *args], env=env, capture_output=True, text=True, timeout=120)


def done(*args):
    result = synod(*args)
    assert result.returncode == 0, f"{args}: {result.stderr}"
    return result.stdout


def refused(word, *args):
    result = synod(*args)
    assert result.returncode != 0, f"{args} was done: {result.stdout}"
    assert word in result.stderr, f"{args}: {word} is not in {result.stderr}"
    assert client.call("DBSIZE") == "0", f"{args}: something was changed"


s3 = boto3.client(
    "s3",
    endpoint_url=S3,
    region_name="us-east-1",
    aws_access_key_id="me",
    aws_secret_access_key="secret",
)
s3.create_bucket(Bucket="backups")
client = Client()
# Whoever started the cluster has tried whether it takes writes.
client.call("FLUSHALL")
for first in range(0, KEYS, 100):
    for n in range(first, first + 100):
        client.send("SET", f"key:{n}", f"{VALUE}{n}")
    for n in range(100):
        client.reply()

print(done("backup", PLACE, "--from", ADDR).strip())
objects = {o["Key"]: o["Size"] for o in s3.list_objects_v2(Bucket="backups")["Contents"]}
files = [name for name in objects if "/shard-" in name]
assert "some/where/manifest.json" in objects and len(files) == len(objects) - 1, objects
assert max(objects.values()) > 8 * 1024 * 1024, "no file has several parts"
done("backup", PLACE, "--check")
print("ok   a backup goes to a bucket, in several parts, and is whole there")

client.call("FLUSHALL")
refused("is not empty", "backup", PLACE, "--from", ADDR)
refused("is no backup", "restore", "s3://backups/nowhere", "--into", ADDR)
refused("nosuchbucket", "restore", "s3://nosuchbucket/x", "--into", ADDR)
name = files[0]
whole = s3.get_object(Bucket="backups", Key=name)["Body"].read()
for content, word in [
    (None, "is missing"),
    (whole[:-100], "it is cut off"),
    (whole[:1000] + b"X" + whole[1001:], "it is damaged"),
]:
    s3.delete_object(Bucket="backups", Key=name)
    if content is not None:
        s3.put_object(Bucket="backups", Key=name, Body=content)
    refused(word, "restore", PLACE, "--into", ADDR)
s3.put_object(Bucket="backups", Key=name, Body=whole)
print("ok   what is missing, cut off or damaged is refused, and nothing is changed")

print(done("restore", PLACE, "--into", ADDR).strip())
assert client.call("DBSIZE") == str(KEYS)
for n in range(0, KEYS, 37):
    assert client.call("GET", f"key:{n}") == f"{VALUE}{n}", n
left = [name for name in os.listdir(os.environ["TMPDIR"]) if name.startswith(".synod-backup")]
assert not left, left
print("ok   a backup comes back from a bucket, and nothing is left on the way")
sys.exit(0)

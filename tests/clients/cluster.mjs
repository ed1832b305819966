// ioredis's Cluster, unchanged, on a cluster of sixteen shards: it goes straight to the leaders, and goes on
// when a node dies while it writes. It has the settings that it comes with.

import { createRequire } from "node:module";

const require = createRequire(`${process.env.SYNOD_NPM}/package.json`);
const { Cluster, Redis } = require("ioredis");
const nodes = process.env.SYNOD_ADDRS.split(",").map((addr) => {
  const [host, port] = addr.split(":");
  return { host, port: Number(port) };
});
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function claim(text, holds = true) {
  console.log(holds ? `  ok  ${text}` : `FAILED: ${text}`);
  if (!holds) process.exit(1);
}

function connect(options = {}) {
  const cluster = new Cluster(nodes, options);
  cluster.on("error", () => {});
  return cluster;
}

// The address of the master of each range of slots, as a node tells it.
async function leaders(node) {
  const redis = new Redis(node);
  const rows = await redis.cluster("SLOTS");
  redis.disconnect();
  return rows.map(([, , [host, port]]) => `${host}:${port}`);
}

console.log(`    ioredis ${require("ioredis/package.json").version}, Cluster`);
const cluster = connect();
const keys = Array.from({ length: 1000 }, (_, i) => `io${i}`);
await Promise.all(keys.map((key, i) => cluster.set(key, i)));
const read = await Promise.all(keys.map((key) => cluster.get(key)));
claim("1,000 keys over all shards", read.every((value, i) => value === String(i)));
const pipeline = cluster.pipeline();
for (let i = 0; i < 50; i++) pipeline.incr(`{tag}${i}`);
claim("a pipeline in one slot", (await pipeline.exec()).every(([error, value]) => !error && value === 1));
claim("MULTI in one slot", JSON.stringify(await cluster.multi().set("{t}a", 1).incr("{t}a").exec()) === '[[null,"OK"],[null,2]]');
const refused = await cluster.mget("a", "b", "c").then(() => "served", (error) => error.message);
claim(`MGET over slots: ${refused}`);
cluster.defineCommand("add", { numberOfKeys: 1, lua: "return redis.call('incrby', KEYS[1], ARGV[1])" });
claim("defineCommand", (await cluster.add("n", 7)) === 7);
const replicas = connect({ scaleReads: "slave" });
for (let i = 0; i < 500; i++) {
  await cluster.set("fresh", i);
  if ((await replicas.get("fresh")) !== String(i)) claim("scaleReads: what is read is fresh", false);
}
claim("scaleReads: what is read is fresh");
replicas.disconnect();

const errors = new Map();
const added = [];
let over = false;
let longest = 0;

async function write() {
  let last = performance.now();
  for (let number = 0; !over; number++) {
    try {
      await cluster.set(`added:${number}`, number);
      added.push(number);
    } catch (error) {
      errors.set(error.message, (errors.get(error.message) ?? 0) + 1);
      await pause(50);
    }
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }
}

const writer = write();
await pause(2000);
const shown = await leaders(nodes[0]);
const victim = shown.sort((a, b) => shown.filter((x) => x === b).length - shown.filter((x) => x === a).length)[0];
console.log(`@kill ${victim}`);
await pause(6000);
over = true;
await writer;
const kept = await Promise.all(added.map((number) => cluster.get(`added:${number}`)));
claim(`none of ${added.length} acknowledged writes is lost`, kept.every((value) => value !== null));
for (const [message, count] of errors) console.log(`      ${count} times: ${message}`);
claim("no error reached the program", errors.size === 0);
console.log(`      longest time without an answer: ${longest.toFixed(0)} ms`);
cluster.disconnect();
process.exit(0);

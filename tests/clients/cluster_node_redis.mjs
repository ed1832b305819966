// node-redis's createCluster, unchanged, on a cluster of sixteen shards: a short tour, with replicas and
// without, and a node that dies while it writes.

import { createRequire } from "node:module";

const require = createRequire(`${process.env.SYNOD_NPM}/package.json`);
const { createCluster } = require("redis");
const addrs = process.env.SYNOD_ADDRS.split(",");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function claim(text, holds = true) {
  console.log(holds ? `  ok  ${text}` : `FAILED: ${text}`);
  if (!holds) process.exit(1);
}

async function connect(options) {
  const cluster = createCluster({ rootNodes: addrs.map((addr) => ({ url: `redis://${addr}` })), ...options });
  cluster.on("error", () => {});
  cluster.on("node-error", () => {});
  return cluster.connect();
}

console.log(`    node-redis ${require("redis/package.json").version}, createCluster`);
const cluster = await connect({});
const keys = Array.from({ length: 500 }, (_, i) => `nr${i}`);
await Promise.all(keys.map((key, i) => cluster.set(key, String(i))));
const read = await Promise.all(keys.map((key) => cluster.get(key)));
claim("500 keys over all shards", read.every((value, i) => value === String(i)));
claim("MULTI in one slot", JSON.stringify(await cluster.multi().set("{t}a", "1").incr("{t}a").exec()) === '["OK",2]');
claim("EVAL", (await cluster.eval("return redis.call('get', KEYS[1])", { keys: ["nr7"] })) === "7");
const replicas = await connect({ useReplicas: true });
for (let i = 0; i < 300; i++) {
  await cluster.set("fresh", String(i));
  if ((await replicas.get("fresh")) !== String(i)) claim("useReplicas: what is read is fresh", false);
}
claim("useReplicas: what is read is fresh");
await replicas.close();

const errors = new Map();
const added = [];
let over = false;
let longest = 0;

async function write() {
  let last = performance.now();
  for (let number = 0; !over; number++) {
    try {
      await cluster.set(`added:${number}`, String(number));
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
console.log(`@kill ${addrs[0]}`);
await pause(6000);
over = true;
await writer;
const kept = await Promise.all(added.map((number) => cluster.get(`added:${number}`)));
claim(`none of ${added.length} acknowledged writes is lost`, kept.every((value) => value !== null));
for (const [message, count] of errors) console.log(`      ${count} times: ${message}`);
// It does not repeat what was under way when a connection broke.
claim("no other error reached the program", [...errors.keys()].every((text) => text === "Socket closed unexpectedly"));
console.log(`      longest time without an answer: ${longest.toFixed(0)} ms`);
process.exit(0);

// What ioredis sees when a node dies: how long nothing is answered, which errors reach the program,
// and that nothing that was acknowledged is lost. It has the settings that it comes with.
//
// Argument: `leader` kills the leader, a node that this client does not talk to; `own` kills the very
// node that it talks to.

import { createRequire } from "node:module";

const require = createRequire(`${process.env.SYNOD_NPM}/package.json`);
const { Redis } = require("ioredis");
const own = process.argv[2] === "own";
const [host, port] = process.env.SYNOD_ADDR.split(":");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

console.log(`    ioredis ${require("ioredis/package.json").version}, kills ${process.argv[2]}`);
const errors = new Map();
const added = [];
let over = false;
let longest = 0;

function connect() {
  const redis = new Redis({ host, port: Number(port) });
  redis.on("error", () => {}); // Broken connections: ioredis makes new ones by itself.
  return redis;
}

async function attempt(call) {
  try {
    return await call();
  } catch (error) {
    errors.set(error.message, (errors.get(error.message) ?? 0) + 1);
    await pause(50);
  }
}

async function write() {
  const redis = connect();
  let last = performance.now();
  for (let number = 0; !over; number++) {
    if ((await attempt(() => redis.sadd("added", number))) !== undefined) added.push(String(number));
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }
  return redis;
}

async function wait() {
  const redis = connect();
  while (!over) await attempt(() => redis.blpop("nothing", 1));
  return redis;
}

const workers = [write(), wait()];
await pause(2000);
console.log(own ? `@kill ${host}:${port}` : "@kill leader");
await pause(6000);
over = true;
const [redis, waiter] = await Promise.all(workers);
const kept = new Set(await redis.smembers("added"));
const lost = added.filter((number) => !kept.has(number));
console.log(`      longest time without an answer: ${longest.toFixed(0)} ms`);
for (const [message, count] of errors) console.log(`      ${count} times: ${message}`);
// ioredis hands on what a blocked call is told when the leader changes.
const others = [...errors.keys()].filter((message) => !message.startsWith("LOADING the leader has changed"));
const failed = lost.length > 0 || others.length > 0;
console.log(failed ? `FAILED: ${lost.length} writes lost, other errors: ${others}` : `  ok  none of ${added.length} acknowledged writes is lost`);
waiter.disconnect();
redis.disconnect();
process.exit(failed ? 1 : 0);

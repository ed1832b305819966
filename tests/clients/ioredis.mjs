// ioredis and node-redis, unchanged, with both protocols: what their users do every day.

import { createRequire } from "node:module";

// The packages lie in the harness's folder, not beside this file.
const require = createRequire(`${process.env.SYNOD_NPM}/package.json`);
const { Redis } = require("ioredis");
const nodeRedis = require("redis");
const version = (name) => require(`${name}/package.json`).version;
const [host, port] = process.env.SYNOD_ADDR.split(":");

function claim(text, got, wanted = true) {
  if (JSON.stringify(got) !== JSON.stringify(wanted)) {
    console.log(`FAILED: ${text}: ${JSON.stringify(got)} instead of ${JSON.stringify(wanted)}`);
    process.exit(1);
  }
  console.log(`  ok  ${text}`);
}

async function blocked(redis, count) {
  while (!(await redis.info("clients")).includes(`blocked_clients:${count}\r\n`)) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function types(r) {
  claim("strings, expiry", [await r.set("s", "v", "EX", 100), await r.get("s")], ["OK", "v"]);
  claim("counters", [await r.incr("n"), await r.incrby("n", 5), await r.decr("n")], [1, 6, 5]);
  await r.hset("h", { a: 1, b: 2 });
  claim("hashes", { ...(await r.hgetall("h")) }, { a: "1", b: "2" });
  await r.rpush("l", 1, 2, 3);
  claim("lists", await r.lrange("l", 0, -1), ["1", "2", "3"]);
  await r.zadd("z", 1, "one", 2.5, "two");
  claim("sorted sets", await r.zrange("z", 0, -1), ["one", "two"]);
  claim("buffers", (await r.getBuffer("s")).equals(Buffer.from("v")));
  const wrong = await r.incr("h").catch((error) => error.message);
  claim("a wrong type is an error", wrong.startsWith("WRONGTYPE"));
}

async function batches(r, options) {
  const pipeline = r.pipeline();
  for (let i = 0; i < 5000; i++) pipeline.set(`pipe:${i}`, i);
  const replies = await pipeline.exec();
  claim("a pipeline of 5,000", replies.every(([error, reply]) => !error && reply === "OK"));
  const multi = await r.multi().incr("tx").incr("tx").get("tx").exec();
  claim("MULTI and EXEC", multi, [[null, 1], [null, 2], [null, "2"]]);
  const other = new Redis(options);
  await r.watch("tx");
  await other.set("tx", 9);
  claim("WATCH sees another's write", await r.multi().set("tx", 1).exec(), null);
  const auto = new Redis({ ...options, enableAutoPipelining: true });
  const many = await Promise.all(Array.from({ length: 500 }, (_, i) => auto.get(`pipe:${i}`)));
  claim("autopipelining", many.every((value, i) => value === String(i)));
  const found = new Set();
  for await (const keys of r.scanStream({ match: "pipe:*", count: 500 })) keys.forEach((k) => found.add(k));
  claim("scanStream finds every key", found.size, 5000);
  other.disconnect();
  auto.disconnect();
}

async function scripts(r) {
  r.defineCommand("addTwice", {
    numberOfKeys: 1,
    lua: "redis.call('INCRBY', KEYS[1], ARGV[1]) return redis.call('INCRBY', KEYS[1], ARGV[1])",
  });
  await r.script("FLUSH");
  claim("a custom command, loaded on demand", await r.addTwice("scripted", 5), 10);
  const piped = await r.pipeline().addTwice("scripted", 1).get("scripted").exec();
  claim("in a pipeline", piped, [[null, 12], [null, "12"]]);
}

async function waiting(r, options) {
  const waiter = new Redis(options);
  claim("BLPOP with nothing to pop", await waiter.blpop("nothing", 0.1), null);
  const popped = waiter.blpop("q", 5);
  await blocked(r, 1);
  await r.rpush("q", "job");
  claim("a blocked client is served", await popped, ["q", "job"]);
  const read = waiter.xread("BLOCK", 5000, "STREAMS", "stream", "$");
  await blocked(r, 1);
  await r.xadd("stream", "7-1", "f", "v");
  // ioredis hands on RESP3's map as it comes.
  const streams = await read;
  claim("XREAD BLOCK", JSON.stringify(streams).includes('"7-1",["f","v"]'));
  waiter.disconnect();
}

async function pubsub(r, options) {
  const sub = new Redis(options);
  const got = [];
  const both = new Promise((resolve) => {
    const note = (...message) => got.push(message) === 2 && resolve();
    sub.on("message", note);
    sub.on("pmessage", note);
  });
  await sub.subscribe("news");
  await sub.psubscribe("n?ws.*");
  await r.publish("news", "hello");
  await r.publish("news.now", "world");
  await both;
  claim("publish and subscribe", got, [["news", "hello"], ["n?ws.*", "news.now", "world"]]);
  sub.disconnect();
}

for (const protocol of [2, 3]) {
  console.log(`    ioredis ${version("ioredis")}, RESP${protocol}`);
  const options = { host, port: Number(port), protocol };
  const redis = new Redis(options);
  await redis.flushall();
  await types(redis);
  await batches(redis, options);
  await scripts(redis);
  await waiting(redis, options);
  await pubsub(redis, options);
  redis.disconnect();
}

for (const RESP of [2, 3]) {
  console.log(`    node-redis ${version("redis")}, RESP${RESP}`);
  const client = nodeRedis.createClient({ url: `redis://${host}:${port}`, RESP });
  await client.connect();
  await client.flushAll();
  await client.hSet("h", { a: "1" });
  claim("hashes", { ...(await client.hGetAll("h")) }, { a: "1" });
  claim("MULTI and EXEC", await client.multi().incr("tx").get("tx").exec(), [1, "1"]);
  const keys = [];
  for await (const found of client.scanIterator()) keys.push(...found);
  claim("scanIterator", keys.sort(), ["h", "tx"]);
  const sub = client.duplicate();
  await sub.connect();
  const message = new Promise((resolve) => sub.subscribe("news", resolve).then(() => client.publish("news", "hi")));
  claim("publish and subscribe", await message, "hi");
  await sub.close();
  await client.close();
}
process.exit(0);

/** The buckets that all nodes share: as in ../buckets.ts, but Redis keeps the number, and goes by its own clock. */
import type { Redis } from "ioredis";
import { microseconds } from "../buckets.ts";
import type { Quota } from "../bus.ts";
import type { Names } from "./names.ts";

/**
 * Takes from the bucket and gives 0, or the microseconds until it will hold as much. Arguments: microseconds in which
 * an empty bucket is full, and those in which what is taken comes back. The key expires when the bucket is full.
 *
 * Redis' clock may be set back, so that a bucket would be emptier than empty: it is taken for empty then.
 */
const SPEND = `
local time = redis.call("TIME")
local now = time[1] * 1000000 + time[2]
local most = now + ARGV[1]
local before = math.min(math.max(tonumber(redis.call("GET", KEYS[1])) or now, now), most)
local after = before + ARGV[2]
if after > most then return after - most end
if after <= now then redis.call("DEL", KEYS[1])
else redis.call("SET", KEYS[1], string.format("%.0f", after), "PX", math.ceil((after - now) / 1000)) end
return 0`;

/** Sends a command to the server that has a key. */
type Send = <T>(key: string, send: (redis: Redis) => Promise<T>) => Promise<T>;

/** See `Bus.spend`; rejects as `send` does. */
export async function spend(
  send: Send,
  names: Names,
  bucket: string,
  quota: Quota,
  count: number,
): Promise<number> {
  const key = names.bucket(bucket);
  const [within, cost] = [microseconds(quota, quota.size), microseconds(quota, count)];
  const wait = await send(key, (redis) => redis.eval(SPEND, 1, key, within, cost)) as number;
  return Math.ceil(wait / 1_000);
}

/**
 * The buckets that all nodes share: as in ../buckets.ts, but Redis keeps the number, and goes by its own
 * clock.
 */
import type { Redis } from "ioredis";
import { incrementMicros } from "../gcra.ts";
import type { RateLimit } from "../bus.ts";

/**
 * Takes from the bucket and gives 0, or the microseconds until it will hold as much; and 1 behind that if the
 * key was not what nodes write, a string that expires, and so counted as missing. Arguments: microseconds in
 * which an empty bucket is full, and those in which what is taken comes back. The key expires when the bucket
 * is full.
 *
 * Redis' clock may be set back, so that a bucket would be emptier than empty: it is taken for empty then.
 */
const TRY_CONSUME = `
local time = redis.call("TIME")
local now = time[1] * 1000000 + time[2]
local most = now + ARGV[1]
local kind = redis.call("TYPE", KEYS[1]).ok
local said = kind == "string" and redis.call("PTTL", KEYS[1]) >= 0 and tonumber(redis.call("GET", KEYS[1]))
local foreign = (kind == "none" or said and said == said) and 0 or 1
local before = math.min(math.max(foreign == 0 and said or now, now), most)
local after = before + ARGV[2]
if after > most then return {after - most, foreign} end
if after <= now then redis.call("DEL", KEYS[1])
else redis.call("SET", KEYS[1], string.format("%.0f", after), "PX", math.ceil((after - now) / 1000)) end
return {0, foreign}`;

/** Sends a command to the server that has a key. */
type SendCommand = <T>(key: string, send: (redis: Redis) => Promise<T>) => Promise<T>;

/** What came of {@link tryConsume}. */
export interface ConsumeResult {
  /** As `Bus.spend` has it. */
  readonly waitMs: number;
  /** Whether the key was one that no node has written. */
  readonly isForeign: boolean;
}

/** See `Bus.spend`: takes from the bucket that the key holds. Rejects as `send` does. */
export async function tryConsume(
  send: SendCommand,
  key: string,
  limit: RateLimit,
  count: number,
): Promise<ConsumeResult> {
  const [periodMicros, costMicros] = [incrementMicros(limit, limit.burst), incrementMicros(limit, count)];
  const reply = await send(key, (redis) => redis.eval(TRY_CONSUME, 1, key, periodMicros, costMicros));
  const [waitMicros, foreign] = reply as [number, number];
  return { waitMs: Math.ceil(waitMicros / 1_000), isForeign: foreign === 1 };
}

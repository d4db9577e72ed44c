/** The token buckets that all nodes share: as in gcra.ts, but Redis has the numbers and the clock. */
import { incrementMicros } from "../gcra.ts";
import type { RateLimit } from "../bus.ts";
import type { SendCommand } from "./redis_connections.ts";

/**
 * Takes tokens. Returns 0, or the microseconds until the bucket holds enough. Also returns 1 if the key was
 * not written by a node, which writes strings that expire; such a key counts as missing. Arguments:
 * microseconds in which an empty bucket becomes full, and microseconds in which the taken tokens are
 * refilled. The key expires when the bucket is full.
 *
 * The clock of Redis may be set back, and a bucket would then be emptier than empty. It counts as empty.
 */
const TRY_CONSUME = `
local time = redis.call("TIME")
local now = time[1] * 1000000 + time[2]
local max = now + ARGV[1]
local kind = redis.call("TYPE", KEYS[1]).ok
local stored = kind == "string" and redis.call("PTTL", KEYS[1]) >= 0 and tonumber(redis.call("GET", KEYS[1]))
local foreign = (kind == "none" or stored and stored == stored) and 0 or 1
local tat = math.min(math.max(foreign == 0 and stored or now, now), max) + ARGV[2]
if tat > max then return {tat - max, foreign} end
if tat <= now then redis.call("DEL", KEYS[1])
else redis.call("SET", KEYS[1], string.format("%.0f", tat), "PX", math.ceil((tat - now) / 1000)) end
return {0, foreign}`;

/** The result of {@link tryConsume}. */
export interface ConsumeResult {
  /** The result of `Bus.tryConsume`. */
  readonly waitMs: number;
  /** Whether the key was one that no node has written. */
  readonly isForeign: boolean;
}

/** Takes tokens from the bucket at `key`, as `Bus.tryConsume` does. Rejects as `send` does. */
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

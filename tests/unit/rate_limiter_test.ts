/** The rates of clients: exactly the configured ones, at once and over time. */
import { assert, assertEquals } from "@std/assert";
import { defaults } from "../../lib/config/config.ts";
import {
  committedForSession,
  committedForUnauthenticated,
  RateLimiter,
  RateLimiters,
  sharedForSessions,
  sharedForUnauthenticated,
} from "../../lib/server/limits/rate_limiter.ts";
import { TokenBucket } from "../../lib/server/limits/token_bucket.ts";

const config = {
  ...defaults(),
  messageRate: 10,
  messageBurst: 20,
  byteRate: 1_000,
  byteBurst: 4_000,
  sharedRate: 100,
  unauthenticatedRate: 2,
  maxFrame: 2_000,
};

/** Polices a request that may be rejected. Returns the milliseconds until it would be accepted. */
function waitFor(limiter: RateLimiter, cost: number, bytes: number, now: number): number {
  return limiter.police(cost, bytes, now, true).retryAfterMs;
}

/** Returns how many requests of this cost are accepted before the first red one. */
function accepted(limiter: RateLimiter, cost: number, now: number): number {
  let count = 0;
  while (waitFor(limiter, cost, 0, now) === 0) count++;
  return count;
}

/** Returns the limiter of a session that has a committed rate only. */
const committedOnly = () => new RateLimiter(committedForSession(config)!);

Deno.test("token bucket: gives its burst at once, then so many a second, and says exactly when there is more", () => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 20 });
  for (let at = 0; at < 20; at++) assertEquals(bucket.tryConsume(1, 0), 0, `${at}`);
  assertEquals(bucket.tryConsume(1, 0), 100);
  assertEquals(bucket.tryConsume(1, 99), 1, "a refusal takes nothing");
  assertEquals(bucket.tryConsume(1, 100), 0);
  assertEquals(bucket.tryConsume(1, 100), 100);
  assertEquals(bucket.tryConsume(20, 2_099), 1);
  assertEquals(bucket.tryConsume(20, 2_100), 0, "full again");
  assertEquals(bucket.tryConsume(20, 100_000), 0);
  assertEquals(bucket.tryConsume(1, 100_000), 100, "it never holds more than the burst");
});

Deno.test("token bucket: holds nothing until its debt is settled", () => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 20 });
  bucket.consume(50);
  assertEquals(bucket.timeUntil(0, 0), 3_000);
  assertEquals(bucket.tryConsume(1, 3_000), 100);
  assertEquals(bucket.tryConsume(1, 3_100), 0);
});

Deno.test("rate limiter: a session has its committed rate, and then the shared rate with all others", () => {
  const shared = sharedForSessions(config)!;
  const [alice, bob] = [1, 2].map(() => new RateLimiter(committedForSession(config)!, shared));
  assertEquals(accepted(alice!, 1, 0), 20 + 20, "a fifth of a second's worth at once");
  assertEquals(waitFor(alice!, 1, 0, 0), 100, "the time until its committed rate allows one");
  assertEquals(accepted(bob!, 1, 0), 20, "a greedy session leaves others their committed rate");
  assertEquals(accepted(bob!, 5, 1_000), 2 + 4);
});

Deno.test("rate limiter: yellow below three quarters of the burst, until that has filled up", () => {
  const limiter = new RateLimiter(committedForSession(config)!, sharedForSessions(config)!);
  const color = (cost: number, bytes: number, now: number) => limiter.police(cost, bytes, now, true).color;
  for (let at = 0; at < 5; at++) assertEquals(color(1, 0, 0), "green", "a quarter of it");
  assertEquals(color(1, 0, 0), "yellow");
  for (let now = 100; now < 2_000; now += 100) {
    assertEquals(color(1, 0, now), "yellow", "at exactly its committed rate it stays yellow");
  }
  assertEquals(color(1, 0, 2_100), "green");
  assertEquals(color(0, 1_001, 2_100), "yellow", "bytes count as well");
});

Deno.test("rate limiter: yellow for what the shared rate pays, and red beyond both", () => {
  const limiter = new RateLimiter(committedForSession(config)!, sharedForSessions(config)!);
  const colors = Array.from({ length: 41 }, () => limiter.police(1, 0, 0, true).color);
  assertEquals(colors.slice(20, 40), new Array<string>(20).fill("yellow"));
  assertEquals(colors[40], "red");
});

Deno.test("rate limiter: frequent logins are told apart from a connection that drops now and then", () => {
  const limiter = committedOnly();
  for (let at = 0; at < 2; at++) assert(!limiter.isLoginRateExceeded(0));
  assert(limiter.isLoginRateExceeded(0));
  assert(limiter.isLoginRateExceeded(1_999));
  assert(!limiter.isLoginRateExceeded(2_000));
  assertEquals(accepted(limiter, 1, 0), 20, "logins take nothing of the message rate");
});

Deno.test("rate limiter: a session without a shared rate has its committed rate and no more", () => {
  assertEquals(sharedForSessions({ ...config, sharedRate: 0 }), undefined);
  const limiter = committedOnly();
  assertEquals(accepted(limiter, 1, 0), 20);
  assertEquals(waitFor(limiter, 1, 0, 0), 100);
  assertEquals(waitFor(limiter, 1, 0, 100), 0);
});

Deno.test("rate limiter: a request is accepted when all of its bytes are there, and is told exactly when", () => {
  const limiter = committedOnly();
  assertEquals(waitFor(limiter, 1, 4_000, 0), 0, "all of the burst");
  assertEquals(waitFor(limiter, 1, 1_500, 0), 1_500);
  assertEquals(waitFor(limiter, 1, 1_500, 1_499), 1, "to be rejected takes nothing of it");
  assertEquals(waitFor(limiter, 1, 1_500, 1_500), 0, "a client that waits as told is accepted");
  assertEquals(waitFor(limiter, 1, 4_000, 5_499), 1);
  assertEquals(waitFor(limiter, 1, 4_000, 5_500), 0, "the largest request, too");
});

Deno.test("rate limiter: the shared rate helps with bytes, even with more at once than the committed burst", () => {
  const limiter = new RateLimiter(committedForSession(config)!, sharedForSessions(config)!);
  assertEquals(waitFor(limiter, 1, 40_000, 0), 0);
  assertEquals(waitFor(limiter, 1, 4_000, 0), 0, "the committed bytes were not touched");
});

Deno.test("rate limiter: a red request that may not be rejected is taken on credit, with a pause for its debt", () => {
  const limiter = new RateLimiter(committedForUnauthenticated(config)!);
  assertEquals(accepted(limiter, 1, 0), 10, "five seconds' worth");
  const verdict = { color: "red", pauseMs: 500, retryAfterMs: 500 };
  assertEquals(limiter.police(1, 0, 0, false), verdict);
  assertEquals(limiter.police(1, 0, 500, false), verdict, "the long-run rate is the committed one");
  assertEquals(limiter.police(1, 0, 500, false).pauseMs, 1_000);
});

Deno.test("rate limiter: unauthenticated clients share a tenth of the shared rate", () => {
  const shared = sharedForUnauthenticated(config)!;
  const [one, other] = [1, 2].map(() => new RateLimiter(committedForUnauthenticated(config)!, shared));
  assertEquals(accepted(one!, 1, 0), 10 + 2);
  assertEquals(accepted(other!, 1, 0), 10);
});

Deno.test("rate limiter: a rejection pauses only a flood, and more for large requests", () => {
  const rejected = (limiter: RateLimiter, bytes: number, now: number) => {
    const { color, pauseMs } = limiter.police(1_000, bytes, now, true);
    assertEquals(color, "red");
    return pauseMs;
  };
  const limiter = committedOnly();
  for (let at = 0; at < 32; at++) assertEquals(rejected(limiter, 100, 0), 0);
  assertEquals(rejected(limiter, 100, 0), 200);
  assertEquals(rejected(limiter, 100, 0), 400, "each of a flood waits longer");
  assertEquals(rejected(limiter, 100, 600), 0);
  const large = committedOnly();
  for (let at = 0; at < 2; at++) assertEquals(rejected(large, 65_536, 0), 0);
  assertEquals(rejected(large, 65_536, 0), 3_200, "64 KiB cost as much as sixteen of the smallest");
});

Deno.test("rate limiter: the next request waits for what was charged afterwards, within a bound", () => {
  const limiter = committedOnly();
  limiter.charge(18, 0, 0);
  assertEquals(accepted(limiter, 1, 0), 2);
  limiter.charge(10, 0, 0);
  assertEquals(waitFor(limiter, 1, 0, 0), 1_100, "those ten, and this one");
  const replied = committedOnly();
  replied.charge(0, 4_000, 0);
  replied.charge(0, 3_000, 0);
  assertEquals(waitFor(replied, 1, 0, 0), 3_000);
  replied.charge(0, 3_000, 0);
  replied.charge(0, 100_000, 0);
  assertEquals(waitFor(replied, 1, 0, 0), 6_000, "beyond four seconds of debt nothing more is charged");
});

Deno.test("rate limiter: two of the largest messages are accepted whatever is configured", () => {
  const limiter = new RateLimiter(committedForSession({ ...config, byteBurst: 1_024 })!);
  assertEquals(waitFor(limiter, 1, 2_000, 0), 0);
  assertEquals(waitFor(limiter, 1, 2_000, 0), 0);
  assertEquals(waitFor(limiter, 1, 1, 0), 1);
});

Deno.test("rate limiters: a user has one, however often it logs in; the least recently used is evicted", () => {
  const limiters = new RateLimiters({ ...config, sharedRate: 0 }, 2);
  assertEquals(accepted(limiters.forUser(1)!, 1, 0), 20);
  assertEquals(accepted(limiters.forUser(1)!, 1, 0), 0);
  assertEquals(accepted(limiters.forUser(2)!, 1, 0), 20);
  limiters.forUser(1); // makes user 2 the least recently used
  limiters.forUser(3);
  assertEquals(accepted(limiters.forUser(1)!, 1, 0), 0);
  assertEquals(accepted(limiters.forUser(2)!, 1, 0), 20, "evicted");
  assertEquals(accepted(limiters.forUnauthenticated()!, 1, 0), 10);
  assertEquals(accepted(limiters.forUnauthenticated()!, 1, 0), 10, "each connection has its own");
});

Deno.test("rate limiters: no limits where none are configured", () => {
  const limiters = new RateLimiters({ ...config, messageRate: 0, unauthenticatedRate: 0 });
  assertEquals([limiters.forUser(1), limiters.forUnauthenticated()], [undefined, undefined]);
});

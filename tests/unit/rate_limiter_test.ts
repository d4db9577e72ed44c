/** How much a client may ask for: exactly what is configured, at once and over time. */
import { assert, assertEquals } from "@std/assert";
import { defaults } from "../../lib/config/config.ts";
import {
  RateLimiter,
  RateLimiters,
  RequestByteBuckets,
  TokenBucket,
} from "../../lib/server/limits/rate_limiter.ts";

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

/** How many requests of this cost are taken before the first that isn't. */
function taken(allowance: RateLimiter, cost: number, now: number): number {
  let count = 0;
  while (allowance.tryConsume(cost, 0, now) === 0) count++;
  return count;
}

/** A session that has nothing but its own. */
const alone = () => new RateLimiter(RequestByteBuckets.forSession(config)!);

Deno.test("a bucket gives its burst at once, then so many a second, and says exactly when there is more", () => {
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

Deno.test("a bucket that is overdrawn holds nothing until that is made up for", () => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 20 });
  bucket.consume(50);
  assertEquals(bucket.timeUntil(0, 0), 3_000);
  assertEquals(bucket.tryConsume(1, 3_000), 100);
  assertEquals(bucket.tryConsume(1, 3_100), 0);
});

Deno.test("a session has its own, and then what is spare, which it shares with the others", () => {
  const spare = RequestByteBuckets.sharedForSessions(config)!;
  const [alice, bob] = [1, 2].map(() => new RateLimiter(RequestByteBuckets.forSession(config)!, spare));
  assertEquals(taken(alice!, 1, 0), 20 + 20, "a fifth of a second's worth at once");
  assertEquals(alice!.tryConsume(1, 0, 0), 100, "that is when it has its own again");
  assertEquals(taken(bob!, 1, 0), 20, "a greedy one leaves the others what is theirs");
  assertEquals(taken(bob!, 5, 1_000), 2 + 4);
});

Deno.test("who has made use of more than a quarter is busy, until that has been made up for", () => {
  const allowance = new RateLimiter(
    RequestByteBuckets.forSession(config)!,
    RequestByteBuckets.sharedForSessions(config)!,
  );
  for (let at = 0; at < 5; at++) allowance.tryConsume(1, 0, 0);
  assert(!allowance.exceedsCommitted, "a quarter of it");
  allowance.tryConsume(1, 0, 0);
  assert(allowance.exceedsCommitted);
  for (let now = 100; now < 2_000; now += 100) {
    allowance.tryConsume(1, 0, now);
    assert(allowance.exceedsCommitted, "who goes on as fast as it may stays busy");
  }
  allowance.tryConsume(1, 0, 2_100);
  assert(!allowance.exceedsCommitted);
  allowance.tryConsume(0, 1_001, 2_100);
  assert(allowance.exceedsCommitted, "bytes count as well");
});

Deno.test("who logs in again and again is told apart from who has lost a connection now and then", () => {
  const allowance = alone();
  for (let at = 0; at < 2; at++) assert(!allowance.isLoginRateExceeded(0));
  assert(allowance.isLoginRateExceeded(0));
  assert(allowance.isLoginRateExceeded(1_999));
  assert(!allowance.isLoginRateExceeded(2_000));
  assertEquals(taken(allowance, 1, 0), 20, "it costs nothing of what may be sent");
});

Deno.test("a session without a spare bucket has its own and no more", () => {
  assertEquals(RequestByteBuckets.sharedForSessions({ ...config, sharedRate: 0 }), undefined);
  const allowance = alone();
  assertEquals(taken(allowance, 1, 0), 20);
  assertEquals(allowance.tryConsume(1, 0, 0), 100);
  assertEquals(allowance.tryConsume(1, 0, 100), 0);
});

Deno.test("bytes: a request is taken when all of its bytes are there, and it says exactly when that is", () => {
  const allowance = alone();
  assertEquals(allowance.tryConsume(1, 4_000, 0), 0, "all of the burst");
  assertEquals(allowance.tryConsume(1, 1_500, 0), 1_500);
  assertEquals(allowance.tryConsume(1, 1_500, 1_499), 1, "to be refused costs nothing of it");
  assertEquals(allowance.tryConsume(1, 1_500, 1_500), 0, "who waits as long as told is taken");
  assertEquals(allowance.tryConsume(1, 4_000, 5_499), 1);
  assertEquals(allowance.tryConsume(1, 4_000, 5_500), 0, "the largest too");
});

Deno.test("bytes: what is spare helps as well, also with more at once than its own ever has", () => {
  const allowance = new RateLimiter(
    RequestByteBuckets.forSession(config)!,
    RequestByteBuckets.sharedForSessions(config)!,
  );
  assertEquals(allowance.tryConsume(1, 40_000, 0), 0);
  assertEquals(allowance.tryConsume(1, 4_000, 0), 0, "its own was not touched");
});

Deno.test("what is overdrawn is waited for", () => {
  const allowance = new RateLimiter(RequestByteBuckets.forUnauthenticated(config)!);
  assertEquals(taken(allowance, 1, 0), 10, "five seconds' worth");
  allowance.consumeOnCredit(1, 0);
  assertEquals(allowance.tryConsume(1, 0, 0), 1_000, "the one that was drawn, and this one");
});

Deno.test("strangers have a tenth of what sessions have to share", () => {
  const spare = RequestByteBuckets.sharedForUnauthenticated(config)!;
  const [one, other] = [1, 2].map(() =>
    new RateLimiter(RequestByteBuckets.forUnauthenticated(config)!, spare)
  );
  assertEquals(taken(one!, 1, 0), 10 + 2);
  assertEquals(taken(other!, 1, 0), 10);
});

Deno.test("refusals are free of delay as many as may be on their way, and not for ever", () => {
  const allowance = alone();
  for (let at = 0; at < 32; at++) assertEquals(allowance.chargeRefusal(100, 0), 0);
  assertEquals(allowance.chargeRefusal(100, 0), 200);
  assertEquals(allowance.chargeRefusal(100, 0), 400, "each of a flood waits longer");
  assertEquals(allowance.chargeRefusal(100, 600), 0);
  const large = alone();
  for (let at = 0; at < 2; at++) assertEquals(large.chargeRefusal(65_536, 0), 0);
  assertEquals(
    large.chargeRefusal(65_536, 0),
    3_200,
    "one of 64 KiB is as much work as sixteen of the smallest",
  );
});

Deno.test("what is charged afterwards is waited for, but not for ever", () => {
  const allowance = alone();
  allowance.charge(18, 0, 0);
  assertEquals(taken(allowance, 1, 0), 2);
  allowance.charge(10, 0, 0);
  assertEquals(allowance.tryConsume(1, 0, 0), 1_100, "those ten, and this one");
  const answered = alone();
  answered.charge(0, 4_000, 0);
  answered.charge(0, 3_000, 0);
  assertEquals(answered.tryConsume(1, 0, 0), 3_000);
  answered.charge(0, 3_000, 0);
  answered.charge(0, 100_000, 0);
  assertEquals(answered.tryConsume(1, 0, 0), 6_000, "who owes for over four seconds is charged no more");
});

Deno.test("two of the largest messages are taken whatever is configured", () => {
  const allowance = new RateLimiter(RequestByteBuckets.forSession({ ...config, byteBurst: 1_024 })!);
  assertEquals(allowance.tryConsume(1, 2_000, 0), 0);
  assertEquals(allowance.tryConsume(1, 2_000, 0), 0);
  assertEquals(allowance.tryConsume(1, 1, 0), 1);
});

Deno.test("a user has one allowance, however often it logs in; of very many the oldest is forgotten", () => {
  const allowances = new RateLimiters({ ...config, sharedRate: 0 }, 2);
  assertEquals(taken(allowances.forUser(1)!, 1, 0), 20);
  assertEquals(taken(allowances.forUser(1)!, 1, 0), 0);
  assertEquals(taken(allowances.forUser(2)!, 1, 0), 20);
  allowances.forUser(1); // is not the oldest now
  allowances.forUser(3);
  assertEquals(taken(allowances.forUser(1)!, 1, 0), 0);
  assertEquals(taken(allowances.forUser(2)!, 1, 0), 20, "forgotten");
  assertEquals(taken(allowances.forUnauthenticated()!, 1, 0), 10);
  assertEquals(taken(allowances.forUnauthenticated()!, 1, 0), 10, "each has its own");
});

Deno.test("no limits where none are configured", () => {
  const allowances = new RateLimiters({ ...config, messageRate: 0, unauthenticatedRate: 0 });
  assertEquals([allowances.forUser(1), allowances.forUnauthenticated()], [undefined, undefined]);
});
